//! The machine that records and replays: what it is, what runs on it, and whether that works.
//!
//! A host is a root folder plus an environment, and a kernel to ask what no file shows. `/proc`, `/sys` and
//! the programs of a made-up host are read below its folder, so each case that the probes know is a fixture
//! in `fixtures/hosts`. A probe looks at one thing, changes nothing, and makes a [`Finding`] of it.

mod distribution;
mod kernel;
mod machine;
mod processor;
mod programs;
mod smoke;
mod software;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::binary::Facts;
use crate::error::Error;
use crate::process::{Answer, End, ask, attend, search_path};

use processor::Processor;

pub use distribution::Distribution;
pub use kernel::{BRANCHES, Event, Kernel};
pub use programs::{Delve, Recorder, Version, delve, delve_takes_go, delve_takes_rr, oldest_delve_for, recorder};
pub use smoke::SMOKE_TEST;

/// What must be free where traces go. rr aborts at a full disk, and the trace is lost; this is enough to
/// close the traces of all controllers of an installer.
pub const LEAST_FREE: u64 = 1 << 30;

/// How long a program may think about a question. rr's own limit for closing a trace is 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    environment: BTreeMap<String, OsString>,
    kernel: Arc<dyn Kernel>,
}

impl Host {
    /// The machine that we run on.
    pub fn here() -> Self {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        let mut environment: BTreeMap<_, _> = std::env::vars_os().filter_map(named).collect();
        if let Some(path) = search_path() {
            environment.insert("PATH".into(), path.to_owned());
        }
        Self { root: "/".into(), environment, kernel: Arc::new(kernel::Here) }
    }

    /// A host whose files lie below a folder; `PATH` and every other path of its environment are its own.
    pub fn at(root: impl Into<PathBuf>, environment: BTreeMap<String, OsString>, kernel: Arc<dyn Kernel>) -> Self {
        Self { root: root.into(), environment, kernel }
    }

    /// The same host with a variable set.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
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

    /// The bytes that are free for others than root in the file system of a folder.
    pub fn free(&self, folder: &Path) -> io::Result<u64> {
        self.kernel.free(&self.locate(folder))
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

    /// A field of `/proc/self/status`: of us, and so of what we start.
    fn status(&self, name: &str) -> Option<String> {
        let status = self.read("/proc/self/status")?;
        let mut fields = status.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
    }

    fn is_root(&self) -> bool {
        self.status("Uid").and_then(|ids| Some(ids.split_whitespace().nth(1)? == "0")).unwrap_or(false)
    }

    /// Whether what we start has a capability, by its number.
    fn capable(&self, capability: u32) -> bool {
        let effective = self.status("CapEff").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
        effective.is_some_and(|mask| mask & 1 << capability != 0)
    }

    /// What shows that this host is a container.
    fn container(&self) -> Option<&'static str> {
        let marks = ["/run/.containerenv", "/.dockerenv"];
        let mark = marks.into_iter().find(|mark| self.locate(mark).exists());
        mark.or_else(|| self.variable("container").map(|_| "the variable `container`"))
    }

    /// A number that stands alone in a file.
    fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.trim().parse().ok()
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

    /// The same, with more in the environment.
    fn run_with(&self, more: &[(&str, &str)], program: &Path, arguments: &[&str]) -> Result<Answer> {
        let mut environment = self.own_environment();
        environment.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.into())));
        self.run_in(&environment, program, arguments)
    }

    /// Runs a command line of this host's shell at our own terminal, where sudo can ask for a password. All
    /// that it prints goes to stderr.
    ///
    /// # Errors
    /// A shell that cannot be run.
    pub fn attend(&self, command: &str) -> Result<End> {
        attend(Path::new("/bin/sh"), &["-c", command], &self.own_environment())
            .map_err(|error| Error::failed(format!("cannot run `{command}`: {error}")).into())
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
            // A relative folder is one of ours, and no program of the host is looked for there.
            let folders: Vec<PathBuf> = std::env::split_paths(path)
                .map(|folder| if folder.is_absolute() { self.locate(folder) } else { folder })
                .collect();
            // Only a folder with a colon in its name cannot be joined.
            *path = std::env::join_paths(folders).unwrap_or_else(|_| path.clone());
        }
        environment
    }
}

/// How a thing was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, with something to know about.
    Warning,
    /// It will not work.
    Trouble,
    /// It could not be looked at.
    Skipped,
}

/// What was looked at, and how it is.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub what: String,
    /// Where it was looked at.
    pub looked: String,
    pub needed: String,
    pub found: String,
    pub level: Level,
    /// The commands that mend it, in their order.
    pub fix: Vec<String>,
    /// What no command of ours can do, in words.
    pub advice: Vec<String>,
}

impl Finding {
    fn new(what: impl Into<String>, looked: impl Into<String>, needed: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            looked: looked.into(),
            needed: needed.into(),
            found: String::new(),
            level: Level::Ok,
            fix: Vec::new(),
            advice: Vec::new(),
        }
    }

    fn is(self, level: Level, found: impl Into<String>) -> Self {
        Self { level, found: found.into(), ..self }
    }

    fn ok(self, found: impl Into<String>) -> Self {
        self.is(Level::Ok, found)
    }

    fn warning(self, found: impl Into<String>) -> Self {
        self.is(Level::Warning, found)
    }

    fn trouble(self, found: impl Into<String>) -> Self {
        self.is(Level::Trouble, found)
    }

    fn skipped(self, found: impl Into<String>) -> Self {
        self.is(Level::Skipped, found)
    }

    fn fix(mut self, commands: impl IntoIterator<Item = String>) -> Self {
        self.fix.extend(commands);
        self
    }

    fn advise(mut self, line: impl Into<String>) -> Self {
        self.advice.push(line.into());
        self
    }
}

/// What a host is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Record,
    Replay,
}

/// A program that is to be recorded.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    /// The file that it is, or is embedded in.
    pub file: PathBuf,
    pub facts: Facts,
}

impl Program {
    /// The Go that built it.
    fn go(&self) -> Option<Version> {
        Version::find(self.facts.go.as_deref()?)
    }
}

/// What is asked about a host.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The recorder, where it is not the one that the environment leads to.
    pub rr: Option<String>,
    /// The folder that the installer works in.
    pub install_dir: Option<PathBuf>,
    pub programs: Vec<Program>,
    /// What must be free where traces go; [`LEAST_FREE`] where nothing else was asked for.
    pub least_free: Option<u64>,
    /// Both, where there is none.
    pub purpose: Option<Purpose>,
}

impl Question {
    fn records(&self) -> bool {
        self.purpose != Some(Purpose::Replay)
    }

    fn replays(&self) -> bool {
        self.purpose != Some(Purpose::Record)
    }
}

/// A host with what several probes want to know of it.
struct Examination<'a> {
    host: &'a Host,
    question: &'a Question,
    recorder: Result<Recorder>,
    delve: Result<Delve>,
    /// The Go in PATH.
    go: Option<Version>,
    processor: Processor,
    distribution: Distribution,
}

/// Looks at one thing.
#[derive(Clone, Copy)]
enum Probe {
    Always(fn(&Examination) -> Finding),
    /// Where there is such a thing on a host.
    Perhaps(fn(&Examination) -> Option<Finding>),
}

use Probe::{Always, Perhaps};

impl Probe {
    fn look(self, examination: &Examination) -> Option<Finding> {
        match self {
            Always(look) => Some(look(examination)),
            Perhaps(look) => look(examination),
        }
    }
}

/// Which purposes a probe is for.
#[derive(Clone, Copy)]
enum For {
    Recording,
    Replaying,
    Both,
}

const PROBES: [(For, Probe); 21] = [
    (For::Both, Always(software::rr)),
    (For::Recording, Perhaps(software::options)),
    (For::Both, Always(machine::processor)),
    (For::Recording, Always(machine::cpu)),
    (For::Both, Always(machine::counters)),
    (For::Both, Perhaps(machine::spec_lock_map)),
    (For::Both, Perhaps(machine::freeze_on_smi)),
    (For::Both, Always(machine::paranoid)),
    (For::Recording, Perhaps(machine::cpuid_faulting)),
    (For::Both, Always(machine::ptrace_scope)),
    (For::Both, Always(machine::sandbox)),
    (For::Both, Always(machine::kernel)),
    (For::Recording, Perhaps(software::c_library)),
    (For::Recording, Always(machine::trace_folder)),
    (For::Recording, Always(machine::room)),
    (For::Recording, Perhaps(machine::install_folder)),
    (For::Replaying, Always(software::delve)),
    (For::Replaying, Always(software::delve_and_rr)),
    (For::Replaying, Always(software::delve_and_go)),
    (For::Replaying, Perhaps(software::delve_and_dwarf)),
    (For::Replaying, Perhaps(software::rr_for_delve)),
];

/// Looks at all that a question asks for; `smoke` also records and replays a tiny program.
pub fn examine(host: &Host, question: &Question, smoke: bool) -> Vec<Finding> {
    let examination = Examination::of(host, question);
    let wanted = |purposes: For| match purposes {
        For::Recording => question.records(),
        For::Replaying => question.replays(),
        For::Both => true,
    };
    let probes = PROBES.iter().filter(|(purposes, _)| wanted(*purposes));
    let mut findings: Vec<Finding> = probes.filter_map(|(_, probe)| probe.look(&examination)).collect();
    findings.extend(question.programs.iter().map(|program| software::program(&examination, program)));
    if smoke {
        findings.push(smoke::test(&examination));
    }
    findings
}

/// What `record` and `replay` ask before they start.
pub fn quick(host: &Host, purpose: Purpose) -> Vec<Finding> {
    examine(host, &Question { purpose: Some(purpose), ..Question::default() }, false)
}

impl<'a> Examination<'a> {
    fn of(host: &'a Host, question: &'a Question) -> Self {
        Self {
            recorder: recorder(host, question.rr.as_deref()),
            delve: delve(host),
            go: programs::go(host),
            processor: Processor::read(&host.read("/proc/cpuinfo").unwrap_or_default()),
            distribution: Distribution::of(host),
            host,
            question,
        }
    }

    /// Whether recordings count branches in software and need no PMU.
    fn counts_in_software(&self) -> bool {
        self.recorder.as_ref().is_ok_and(|rr| rr.software_counters && rr.counts_in_software())
    }
}
