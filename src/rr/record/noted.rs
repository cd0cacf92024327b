//! What is noted of a recording before it begins: how rr is told to count, what was built from what.

use std::path::{Path, PathBuf};

use crate::doctor::{RECORDER, Recorder};
use crate::patch::checkout::Checkout;
use crate::sys::process::{Child, Environment, for_child};

/// The folder that the installer works in, as it is told by its own `--dir`.
pub fn install_dir(arguments: &[String]) -> PathBuf {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--dir" {
            return arguments.next().map_or_else(|| ".".into(), PathBuf::from);
        }
        if let Some(folder) = argument.strip_prefix("--dir=") {
            return folder.into();
        }
    }
    ".".into()
}

/// Whether rr counts in software.
pub fn counts_in_software(recorder: &Recorder, environment: &Environment) -> bool {
    recorder.counts_in_software() || flags(recorder, environment).iter().any(|flag| flag == "-W")
}

/// The recorder's options as far as they are known before it runs.
pub fn flags(recorder: &Recorder, environment: &Environment) -> Vec<String> {
    let words = match environment.get(RECORDER) {
        Some(line) => line.split_whitespace().skip(1).map(str::to_owned).collect(),
        None => recorder.arguments.clone(),
    };
    words.into_iter().filter(|word| word != "record").collect()
}

/// The commit that an installer was built from, as it says itself.
pub fn commit(installer: &Path) -> Option<String> {
    let arguments = ["version".to_owned()];
    let none = Environment::new();
    let child = Child {
        program: for_child(installer).ok()?,
        arguments: &arguments,
        folder: Path::new("/"),
        environment: &none,
    };
    let (_, said) = child.capture().ok().filter(|(end, _)| end.success())?;
    let said = String::from_utf8_lossy(&said).into_owned();
    said.lines().find_map(|line| Some(line.strip_prefix("built from commit ")?.trim().to_owned()))
}

/// Where the checkout was cloned from, without who cloned it.
pub fn remote(checkout: &Checkout) -> Option<String> {
    let arguments = ["config", "--get", "remote.origin.url"].map(str::to_owned);
    let none = Environment::new();
    let child = Child { program: "git", arguments: &arguments, folder: checkout.root(), environment: &none };
    let (_, said) = child.capture().ok().filter(|(end, _)| end.success())?;
    Some(without_user(String::from_utf8_lossy(&said).trim()))
}

/// A URL without the name and the password that may stand in it.
fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit('@').next().unwrap_or(host);
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_noted_without_who_may_read_it() {
        assert_eq!(without_user("https://me:s3cret@example.com/a/b@c"), "https://example.com/a/b@c");
        assert_eq!(without_user("git@example.com:a/b"), "git@example.com:a/b");
        assert_eq!(without_user("ssh://git@example.com"), "ssh://example.com");
    }

    #[test]
    fn the_folder_of_the_install_is_read_from_the_installers_own_arguments() {
        let dir = |line: &str| install_dir(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(dir("create cluster --dir a"), Path::new("a"));
        assert_eq!(dir("create cluster --dir=/b --log-level debug"), Path::new("/b"));
        assert_eq!(dir("create cluster"), Path::new("."));
    }
}
