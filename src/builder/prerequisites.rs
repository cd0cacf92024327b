//! What a build needs, looked for before it begins: a missing program should be known at once, with
//! all others, and not after an hour.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::doctor::{Distribution, Host};
use crate::error::{Error, Shown};
use crate::sys::process::Environment;
use crate::words::bytes;

use super::script::{SCRIPT, Scripts, version};
use super::toolchain::Toolchain;

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

/// Looks for the programs that the scripts run.
pub fn programs(scripts: &Scripts, environment: &Environment, host: &Host, distribution: &Distribution) -> Vec<Need> {
    let can_skip = scripts.say("SKIP_ENVTEST");
    let skips = can_skip && is_set(environment, "SKIP_ENVTEST");
    let mut needs = Vec::new();
    for (program, dnf, apt) in PROGRAMS {
        let fetches = FETCH.contains(&program);
        let runs = if program == "make" { Some(SCRIPT) } else { scripts.that_runs(program) };
        let Some(script) = runs.filter(|_| !(fetches && skips)) else { continue };
        if host.program(program).is_none() {
            let or = match fetches && can_skip {
                true => "; or `--skip-envtest`, for an installer without its own control plane",
                false => "",
            };
            needs.push(Need {
                what: format!("`{program}`, which {script} runs"),
                found: "it is not in PATH".into(),
                fix: format!("{}{or}", distribution.install(dnf, apt)),
            });
        }
    }
    needs
}

/// Whether Go is there, and as new as build.sh wants it.
pub fn go(scripts: &Scripts, toolchain: &anyhow::Result<Toolchain>, distribution: &Distribution) -> Option<Need> {
    let minimum = scripts.minimum_go();
    let wanted = minimum.as_ref().map_or("1.20", |(_, text)| text);
    let what = match &minimum {
        Some((_, text)) => format!("Go {text} or newer, as {SCRIPT} states"),
        None => "`go`".into(),
    };
    let fix = distribution.install_go(wanted);
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
pub fn c_compiler(why: String, distribution: &Distribution) -> Need {
    let install = distribution.install("gcc glibc-devel", "gcc libc6-dev");
    Need {
        what: "a C compiler with the C library's headers, for `--link dynamic`".into(),
        found: why,
        fix: format!("{install}; or `--link static`, where recording is slower"),
    }
}

/// What to do where a file system is too small.
pub const ROOM: &str = "make room, for example with `go clean -cache`; `--platform` builds fewer controllers; \
                        `--env GOTMPDIR=DIR` puts Go's work folder elsewhere";

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
                    folder.shown(),
                    parts.join(", ")
                ),
                found: format!("{} are free", bytes(free)),
                fix: ROOM.into(),
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

/// Whether a switch of the scripts is set: they take `y` and nothing else.
pub fn is_set(environment: &Environment, name: &str) -> bool {
    value(environment, name).is_some_and(|value| value == "y")
}

/// A variable of the build's environment.
pub fn value(environment: &Environment, name: &str) -> Option<String> {
    environment.get(name).cloned().or_else(|| env::var(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

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
