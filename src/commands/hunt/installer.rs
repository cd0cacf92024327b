//! The runs of an installer: each works on a copy of its folder, and what a run has created is destroyed after it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::error::{Error, Shown};
use crate::rr::record::install_dir;
use crate::rr::trace::Store;
use crate::sys::process::{Child, Environment, for_child};
use crate::words::quoted;

/// The name of the copy, in the folder of a run.
const COPY: &str = "install";

/// What an installer writes when it begins to create something, and what it destroys it by.
const METADATA: &str = "metadata.json";

/// The folder of an install.
pub struct Installer {
    folder: PathBuf,
}

impl Installer {
    /// # Errors
    /// A folder that is not there.
    pub fn of(arguments: &[String]) -> Result<Self> {
        let folder = install_dir(arguments);
        match folder.is_dir() {
            true => Ok(Self { folder }),
            false => Err(Error::refused(format!("`{}` is not a folder", folder.shown()))
                .detail("looked at: the installer's own `--dir`; expected: the folder with install-config.yaml")
                .detail("each run works on a copy of it")
                .into()),
        }
    }

    /// Copies the folder for a run, and gives the installer's arguments that name the copy.
    pub fn arguments_of(&self, arguments: &[String], store: &Store) -> Result<Vec<String>> {
        let copy = store.root().join(COPY);
        copy_folder(&self.folder, &copy)?;
        Ok(with_folder(arguments, for_child(&copy)?))
    }

    /// Destroys what a run has created: the copy alone knows it, and may be removed after this.
    ///
    /// # Errors
    /// An installer that fails at it. The copy stays where it is.
    pub fn destroy(&self, installer: &Path, store: &Store, say: &dyn Fn(&str)) -> Result<()> {
        let copy = store.root().join(COPY);
        if !copy.join(METADATA).is_file() || self.folder.join(METADATA).is_file() {
            return Ok(());
        }
        let arguments = ["destroy", "cluster", "--dir", for_child(&copy)?].map(str::to_owned);
        let command =
            format!("{} {}", quoted(&installer.shown()), arguments.each_ref().map(|word| quoted(word)).join(" "));
        say(&format!("destroying what this run has created: `{command}`"));
        let none = Environment::new();
        let child =
            Child { program: for_child(installer)?, arguments: &arguments, folder: Path::new("."), environment: &none };
        let (end, signal, said) = child.gather()?;
        if end.success() && signal.is_none() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let last: Vec<&str> = said.lines().rev().take(8).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(Error::failed("what a run has created may still be there: its folder is kept, and the hunt has ended")
            .detail(format!("`{command}` ended with {end}"))
            .detail(last.join("\n"))
            .hint(format!("`{command}`"))
            .into())
    }
}

/// The arguments of an installer, with another folder to work in.
fn with_folder(arguments: &[String], folder: &str) -> Vec<String> {
    let mut line: Vec<String> = Vec::new();
    let (mut given, mut named) = (arguments.iter(), false);
    while let Some(argument) = given.next() {
        match argument.strip_prefix("--dir") {
            Some("") => {
                given.next();
                line.extend(["--dir".to_owned(), folder.to_owned()]);
                named = true;
            }
            Some(rest) if rest.starts_with('=') => {
                line.push(format!("--dir={folder}"));
                named = true;
            }
            _ => line.push(argument.clone()),
        }
    }
    if !named {
        line.extend(["--dir".to_owned(), folder.to_owned()]);
    }
    line
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make the folder `{}`", to.shown()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.shown()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read `{}`", from.shown()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("cannot copy `{}`", source.shown()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_is_told_the_copy_of_the_folder() {
        let told = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            with_folder(&words, "/copy").join(" ")
        };
        assert_eq!(told("create cluster --dir d -v"), "create cluster --dir /copy -v");
        assert_eq!(told("create cluster --dir=d"), "create cluster --dir=/copy");
        assert_eq!(told("create cluster"), "create cluster --dir /copy");
    }
}
