//! The machine that records and replays: what it is, what runs on it, and whether that works.
//!
//! A host is a root folder plus an environment, and a kernel to ask what no file shows. `/proc`, `/sys` and
//! the programs of a made-up host are read below its folder, so each case that the probes know is a fixture
//! in `fixtures/hosts`. A probe looks at one thing, changes nothing, and makes a [`Finding`] of it.

mod distribution;
mod kernel;
mod machine;
mod named;
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use crate::binary::Facts;
use crate::error::{Error, Shown};
use crate::sys::process::{Answer, End, ask, attend, search_path};

use processor::Processor;

pub use distribution::Distribution;
pub use kernel::{BRANCHES, Event, Kernel};
pub use named::programs;
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
    answers: Arc<Mutex<Answers>>,
}

/// What programs answered: each question is asked once.
type Answers = BTreeMap<(PathBuf, Vec<String>), Answer>;

impl Host {
    /// The machine that we run on.
    pub fn here() -> Self {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        let mut environment: BTreeMap<_, _> = std::env::vars_os().filter_map(named).collect();
        if let Some(path) = search_path() {
            environment.insert("PATH".into(), path.to_owned());
        }
        Self::at("/", environment, Arc::new(kernel::Here))
    }

    /// A host whose files lie below a folder; `PATH` and every other path of its environment are its own.
    pub fn at(root: impl Into<PathBuf>, environment: BTreeMap<String, OsString>, kernel: Arc<dyn Kernel>) -> Self {
        Self { root: root.into(), environment, kernel, answers: Arc::default() }
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
        below.shown()
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

    /// Asks a program of this host, as [`Host::program`] found it, in the host's environment. The same question is
    /// asked once, of a host and of its clones.
    ///
    /// # Errors
    /// A program that cannot be run, or that has not ended after half a minute.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<Answer> {
        let question = (program.to_owned(), arguments.iter().map(|&argument| argument.to_owned()).collect());
        if let Some(answer) = self.answers().get(&question) {
            return Ok(answer.clone());
        }
        let answer = self.run_in(&self.own_environment(), program, arguments)?;
        self.answers().insert(question, answer.clone());
        Ok(answer)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, with more in the environment.
    fn run_with(&self, more: &[(&str, &str)], program: &Path, arguments: &[&str]) -> Result<Answer> {
        let mut environment = self.own_environment();
        environment.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.into())));
        self.run_in(&environment, program, arguments)
    }

    /// Runs a command line of this host's shell at our own terminal, where sudo can ask for a password. All
    /// that it prints goes to stderr. It may install other programs, so all are asked again afterwards.
    ///
    /// # Errors
    /// A shell that cannot be run.
    pub fn attend(&self, command: &str) -> Result<End> {
        self.answers().clear();
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

/// What a finding stands in the way of, where it is out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Concerns {
    Recording,
    Replaying,
    Both,
}

impl Concerns {
    pub fn recording(self) -> bool {
        self != Self::Replaying
    }

    pub fn replaying(self) -> bool {
        self != Self::Recording
    }
}

/// What was looked at, and how it is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    pub what: String,
    /// Where it was looked at.
    pub looked: String,
    pub needed: String,
    pub found: String,
    pub level: Level,
    pub concerns: Concerns,
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
            concerns: Concerns::Both,
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

    /// Stands in the way of a replay only.
    fn of_replays(self) -> Self {
        Self { concerns: Concerns::Replaying, ..self }
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

/// The commands of all findings, each once, in their order.
pub fn commands(findings: &[Finding]) -> Vec<String> {
    findings.iter().flat_map(|finding| &finding.fix).fold(Vec::new(), |mut all, command| {
        if !all.contains(command) {
            all.push(command.clone());
        }
        all
    })
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

/// The variable that a patched installer takes its recorder from.
pub const RECORDER: &str = "RR_PATCH_RECORD";

/// Counting in software, where rr knows it and cannot use the machine's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Software {
    /// The value of [`RECORDER`] that asks for it.
    pub line: String,
    /// What stands against the machine's counters.
    pub why: Vec<String>,
}

/// How `record` records here.
#[derive(Clone, Debug)]
pub struct Recording {
    pub recorder: Recorder,
    /// Set where rr has to be told to count in software.
    pub software: Option<Software>,
    pub findings: Vec<Finding>,
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
    /// Set where [`Examination::recorder`] was told to count in software since nothing else works.
    software: Option<Software>,
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

const PROBES: [(Concerns, Probe); 22] = [
    (Concerns::Both, Always(software::rr)),
    (Concerns::Recording, Perhaps(software::options)),
    (Concerns::Both, Always(machine::processor)),
    (Concerns::Recording, Always(machine::cpu)),
    (Concerns::Both, Always(machine::counters)),
    (Concerns::Both, Perhaps(machine::spec_lock_map)),
    (Concerns::Both, Perhaps(machine::freeze_on_smi)),
    (Concerns::Both, Always(machine::paranoid)),
    (Concerns::Both, Perhaps(machine::kernel_pointers)),
    (Concerns::Recording, Perhaps(machine::cpuid_faulting)),
    (Concerns::Both, Always(machine::ptrace_scope)),
    (Concerns::Both, Always(machine::sandbox)),
    (Concerns::Both, Always(machine::kernel)),
    (Concerns::Recording, Perhaps(software::c_library)),
    (Concerns::Recording, Always(machine::trace_folder)),
    (Concerns::Recording, Always(machine::room)),
    (Concerns::Recording, Perhaps(machine::install_folder)),
    (Concerns::Replaying, Always(software::delve)),
    (Concerns::Replaying, Always(software::delve_and_rr)),
    (Concerns::Replaying, Always(software::delve_and_go)),
    (Concerns::Replaying, Perhaps(software::delve_and_dwarf)),
    (Concerns::Replaying, Perhaps(software::rr_for_delve)),
];

/// Looks at all that a question asks for; `smoke` also records and replays a tiny program.
pub fn examine(host: &Host, question: &Question, smoke: bool) -> Vec<Finding> {
    let examination = Examination::of(host, question);
    let mut findings = examination.look();
    findings.extend(question.programs.iter().map(|program| software::program(&examination, program)));
    if smoke {
        findings.push(smoke::test(&examination));
    }
    findings
}

/// The recorder that `record` starts here, how, and what was found of the machine: the same that
/// [`examine`] goes by.
///
/// # Errors
/// No recorder, or one that does not answer as rr does.
pub fn recording(host: &Host, question: &Question) -> Result<Recording> {
    let question = Question { purpose: Some(Purpose::Record), ..question.clone() };
    let examination = Examination::of(host, &question);
    let findings = examination.look();
    Ok(Recording { recorder: examination.recorder?, software: examination.software, findings })
}

/// What lets Delve replay where `perf_event_paranoid` is above 1: commands, or words where none helps.
pub fn allow_perf_events(host: &Host) -> Result<Vec<String>, String> {
    machine::allow_perf_events(&Distribution::of(host))
}

/// What installs a Delve for a recorder and the Go in PATH.
pub fn install_delve_for(host: &Host, rr: &Recorder) -> String {
    distribution::install_delve(programs::delve_for(programs::go(host), Some(rr)))
}

impl<'a> Examination<'a> {
    fn of(host: &'a Host, question: &'a Question) -> Self {
        let mut examination = Self {
            recorder: recorder(host, question.rr.as_deref()),
            software: None,
            delve: delve(host),
            go: programs::go(host),
            processor: Processor::read(&host.read("/proc/cpuinfo").unwrap_or_default()),
            distribution: Distribution::of(host),
            host,
            question,
        };
        examination.choose_counters();
        examination
    }

    /// The probes that the question's purpose needs.
    fn look(&self) -> Vec<Finding> {
        let wanted = |concerns: Concerns| {
            concerns.recording() && self.question.records() || concerns.replaying() && self.question.replays()
        };
        self.findings_of(wanted).collect()
    }

    fn findings_of(&self, wanted: impl Fn(Concerns) -> bool) -> impl Iterator<Item = Finding> {
        let probes = PROBES.iter().filter(move |(concerns, _)| wanted(*concerns));
        probes.filter_map(|(concerns, probe)| {
            let finding = probe.look(self)?;
            // A probe may know more exactly what it stands in the way of.
            let concerns = if finding.concerns == Concerns::Both { *concerns } else { finding.concerns };
            Some(Finding { concerns, ..finding })
        })
    }

    /// Tells a recorder to count in software if that removes what stands against a recording, and nobody
    /// has chosen a command line.
    fn choose_counters(&mut self) {
        let told = self.host.variable(RECORDER).is_some();
        let Ok(rr) = self.recorder.as_ref().cloned() else { return };
        if told || !rr.software_counters {
            return;
        }
        let obstacles = |examination: &Self| -> Vec<String> {
            let found = examination.findings_of(Concerns::recording);
            let trouble = found.filter(|finding| finding.level == Level::Trouble && finding.concerns.recording());
            trouble.map(|finding| format!("{}: {}", finding.what, finding.found)).collect()
        };
        let why = obstacles(self);
        if why.is_empty() {
            return;
        }
        let program = self.question.rr.clone().unwrap_or_else(|| "rr".into());
        let words = ["record", "-W", "--wait"];
        self.recorder = Ok(Recorder { arguments: words.map(str::to_owned).into(), ..rr.clone() });
        let left = obstacles(self);
        let why: Vec<String> = why.into_iter().filter(|obstacle| !left.contains(obstacle)).collect();
        match why.is_empty() {
            true => self.recorder = Ok(rr),
            false => self.software = Some(Software { line: format!("{program} {}", words.join(" ")), why }),
        }
    }

    /// Whether recordings count branches in software and need no PMU.
    fn counts_in_software(&self) -> bool {
        self.recorder.as_ref().is_ok_and(|rr| rr.software_counters && rr.counts_in_software())
    }
}
