//! The machine that records and replays: what it is, what runs on it, and whether that works.
//!
//! A host is a root folder plus an environment: `/proc`, `/sys` and the programs of a made-up host
//! are read below its folder, so each case that the probes know is a fixture in `fixtures/hosts`.

mod programs;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::error::Error;
use crate::process::{Answer, ask};

pub use programs::{Delve, Recorder, Version, delve, delve_takes_go, delve_takes_rr, oldest_delve_for, recorder};

/// How long a program may think about a question. rr's own limit for closing a trace is 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    environment: BTreeMap<String, OsString>,
}

impl Host {
    /// The machine that we run on.
    pub fn here() -> Self {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Self { root: "/".into(), environment: std::env::vars_os().filter_map(named).collect() }
    }

    /// A host whose files lie below a folder; `PATH` and every other path of its environment are its own.
    pub fn at(root: impl Into<PathBuf>, environment: BTreeMap<String, OsString>) -> Self {
        Self { root: root.into(), environment }
    }

    /// Where a path of this host lies on the machine that we run on.
    pub fn locate(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path as this host knows it.
    pub fn shown(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).map_or_else(|_| path.to_owned(), |below| Path::new("/").join(below));
        below.display().to_string()
    }

    /// The text of a file of the host; nothing where it is not there or cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read(self.locate(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A variable of the host's environment, unless it is empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value = self.environment.get(name)?.to_string_lossy().into_owned();
        (!value.is_empty()).then_some(value)
    }

    /// Where a program of this host lies: looked up in its `PATH`, or the path itself.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let executable = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|seen| seen.is_file() && seen.permissions().mode() & 0o111 != 0)
        };
        if name.contains('/') {
            return Some(self.locate(name)).filter(executable);
        }
        let path = self.environment.get("PATH")?;
        std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| self.locate(folder).join(name))
            .find(executable)
    }

    /// Runs a program of this host, as [`Host::program`] found it, in the host's environment.
    ///
    /// # Errors
    /// A program that cannot be run, or that has not ended after half a minute.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<Answer> {
        self.run_in(&self.own_environment(), program, arguments)
    }

    fn run_in(&self, environment: &BTreeMap<String, OsString>, program: &Path, arguments: &[&str]) -> Result<Answer> {
        let line = || [&[self.shown(program).as_str()], arguments].concat().join(" ");
        match ask(program, arguments, environment, PATIENCE) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let after = PATIENCE.as_secs();
                Err(Error::failed(format!("`{}` had not ended after {after} s, and was killed", line())).into())
            }
            Err(error) => Err(Error::failed(format!("cannot run `{}`: {error}", line())).into()),
        }
    }

    /// The host's environment, with a `PATH` that leads to its own programs.
    fn own_environment(&self) -> BTreeMap<String, OsString> {
        let mut environment = self.environment.clone();
        if let Some(path) = environment.get_mut("PATH") {
            let folders: Vec<PathBuf> = std::env::split_paths(path).map(|folder| self.locate(folder)).collect();
            // Only a folder with a colon in its name cannot be joined.
            *path = std::env::join_paths(folders).unwrap_or_else(|_| path.clone());
        }
        environment
    }
}
