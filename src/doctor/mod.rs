//! Examines the machine that records and replays: its hardware, its software, and whether recording works.
//!
//! A host is a root folder, an environment, and a kernel for facts that no file shows. For a test host, `/proc`,
//! `/sys` and the programs are read below its root folder, so each case of the probes is a fixture in
//! `fixtures/hosts`. A probe examines one thing, changes nothing, and returns a [`Finding`].

mod distribution;
mod folders;
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

/// The minimum free space for traces, in bytes. When the disk is full, rr aborts and the trace is lost; this is
/// enough to close the traces of all controllers of an installer.
pub const LEAST_FREE: u64 = 1 << 30;

/// The time limit for a program that is queried. rr's own limit for closing a trace is 10 s.
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

    /// A host with its files below the folder `root`. `PATH` and all other paths in its environment are relative to
    /// it.
    pub fn at(root: impl Into<PathBuf>, environment: BTreeMap<String, OsString>, kernel: Arc<dyn Kernel>) -> Self {
        Self { root: root.into(), environment, kernel, answers: Arc::default() }
    }

    /// The same host with a variable set.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// The real path of a path of this host.
    pub fn locate(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path as this host names it.
    pub fn shown(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).map_or_else(|_| path.to_owned(), |below| Path::new("/").join(below));
        below.shown()
    }

    /// The free bytes for non-root users in the file system of a folder.
    pub fn free(&self, folder: &Path) -> io::Result<u64> {
        self.kernel.free(&self.locate(folder))
    }

    /// The text of a file of the host; `None` if it cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read(self.locate(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A variable of the host's environment; `None` if it is empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value = self.environment.get(name)?.to_string_lossy().into_owned();
        (!value.is_empty()).then_some(value)
    }

    /// A field of `/proc/self/status`. Our child processes inherit it.
    fn status(&self, name: &str) -> Option<String> {
        let status = self.read("/proc/self/status")?;
        let mut fields = status.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
    }

    fn is_root(&self) -> bool {
        self.status("Uid").and_then(|ids| Some(ids.split_whitespace().nth(1)? == "0")).unwrap_or(false)
    }

    /// Whether our child processes have a capability, given by its number.
    fn capable(&self, capability: u32) -> bool {
        let effective = self.status("CapEff").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
        effective.is_some_and(|mask| mask & 1 << capability != 0)
    }

    /// The sign that this host is a container.
    fn container(&self) -> Option<&'static str> {
        let marks = ["/run/.containerenv", "/.dockerenv"];
        let mark = marks.into_iter().find(|mark| self.locate(mark).exists());
        mark.or_else(|| self.variable("container").map(|_| "the variable `container`"))
    }

    /// The number in a file that contains nothing else.
    fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.trim().parse().ok()
    }

    /// Finds a program of this host, by its `PATH` or by the path itself.
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

    /// Runs a program of this host, as found by [`Host::program`], in the host's environment. The same command line
    /// runs once, for a host and all its clones.
    ///
    /// # Errors
    /// A program that cannot be started, or that has not ended after half a minute.
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

    /// Like [`Host::run`], with additional variables.
    fn run_with(&self, more: &[(&str, &str)], program: &Path, arguments: &[&str]) -> Result<Answer> {
        let mut environment = self.own_environment();
        environment.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.into())));
        self.run_in(&environment, program, arguments)
    }

    /// Runs a command line in this host's shell at our terminal, so that sudo can ask for a password. All its output
    /// goes to stderr. It may install programs, so later questions run again.
    ///
    /// # Errors
    /// A shell that cannot be started.
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

    /// The host's environment, with a `PATH` to its own programs.
    fn own_environment(&self) -> BTreeMap<String, OsString> {
        let mut environment = self.environment.clone();
        if let Some(path) = environment.get_mut("PATH") {
            // A relative folder would be one of ours, so no program of the host is searched there.
            let folders: Vec<PathBuf> = std::env::split_paths(path)
                .map(|folder| if folder.is_absolute() { self.locate(folder) } else { folder })
                .collect();
            // Joining fails only if a folder's name contains a colon.
            *path = std::env::join_paths(folders).unwrap_or_else(|_| path.clone());
        }
        environment
    }
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, with a limitation.
    Warning,
    /// It does not work.
    Trouble,
    /// It could not be examined.
    Skipped,
}

/// The activity that a problem prevents.
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

/// The result of a probe.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    pub what: String,
    /// Where the probe looked.
    pub looked: String,
    pub needed: String,
    pub found: String,
    pub level: Level,
    pub concerns: Concerns,
    /// The commands that fix the problem, in order.
    pub fix: Vec<String>,
    /// Advice for problems that no command fixes.
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

    /// Marks the problem as one that prevents only replays.
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

/// What a host is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Record,
    Replay,
}

/// A program that will be recorded.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    /// The program's file, or the installer that embeds it.
    pub file: PathBuf,
    pub facts: Facts,
}

impl Program {
    /// The Go version that built it.
    fn go(&self) -> Option<Version> {
        Version::find(self.facts.go.as_deref()?)
    }
}

/// The environment variable from which a patched installer takes its recorder.
pub const RECORDER: &str = "RR_PATCH_RECORD";

/// Software counters, for an rr that supports them on a machine without usable counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Software {
    /// The value of [`RECORDER`] that enables them.
    pub line: String,
    /// Why the machine's counters are not usable.
    pub why: Vec<String>,
}

/// How `record` records on this host.
#[derive(Clone, Debug)]
pub struct Recording {
    pub recorder: Recorder,
    /// Set if rr must use software counters.
    pub software: Option<Software>,
    pub findings: Vec<Finding>,
}

/// The subject of an examination.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// The recorder, if it is not the one from the environment.
    pub rr: Option<String>,
    /// The installer's work folder.
    pub install_dir: Option<PathBuf>,
    pub programs: Vec<Program>,
    /// The minimum free space for traces in bytes; by default [`LEAST_FREE`].
    pub least_free: Option<u64>,
    /// Recording or replaying; `None` means both.
    pub purpose: Option<Purpose>,
}

impl CheckRequest {
    fn records(&self) -> bool {
        self.purpose != Some(Purpose::Replay)
    }

    fn replays(&self) -> bool {
        self.purpose != Some(Purpose::Record)
    }
}

/// A host, with the facts that several probes need.
struct CheckContext<'a> {
    host: &'a Host,
    question: &'a CheckRequest,
    recorder: Result<Recorder>,
    /// Set if [`CheckContext::recorder`] uses software counters because nothing else works.
    software: Option<Software>,
    delve: Result<Delve>,
    /// The version of the Go in PATH.
    go: Option<Version>,
    processor: Processor,
    distribution: Distribution,
}

/// A check of one thing.
#[derive(Clone, Copy)]
enum Probe {
    Always(fn(&CheckContext) -> Finding),
    /// A check that does not apply to every host.
    Perhaps(fn(&CheckContext) -> Option<Finding>),
}

impl Probe {
    fn look(self, examination: &CheckContext) -> Option<Finding> {
        match self {
            Self::Always(look) => Some(look(examination)),
            Self::Perhaps(look) => look(examination),
        }
    }
}

/// All probes, in the order of the report.
const PROBES: [&[(Concerns, Probe)]; 4] =
    [&software::RECORDER, &machine::PROBES, &folders::PROBES, &software::DEBUGGER];

/// Runs the probes for a question. With `smoke`, it also records and replays a tiny program.
pub fn examine(host: &Host, question: &CheckRequest, smoke: bool) -> Vec<Finding> {
    let examination = CheckContext::of(host, question);
    let mut findings = examination.look();
    findings.extend(question.programs.iter().map(|program| software::program(&examination, program)));
    if smoke {
        findings.push(smoke::test(&examination));
    }
    findings
}

/// The recorder that `record` would start here, its mode, and the findings about the machine. Uses the same rules as
/// [`examine`].
///
/// # Errors
/// No recorder, or one that does not behave like rr.
pub fn recording(host: &Host, question: &CheckRequest) -> Result<Recording> {
    let question = CheckRequest { purpose: Some(Purpose::Record), ..question.clone() };
    let examination = CheckContext::of(host, &question);
    let findings = examination.look();
    Ok(Recording { recorder: examination.recorder?, software: examination.software, findings })
}

/// The commands that let Delve replay if `perf_event_paranoid` is above 1, or advice in words if no command helps.
pub fn allow_perf_events(host: &Host) -> Result<Vec<String>, String> {
    machine::allow_perf_events(&Distribution::of(host))
}

/// The command that installs a Delve for this recorder and the Go in PATH.
pub fn install_delve_for(host: &Host, rr: &Recorder) -> String {
    distribution::install_delve(programs::delve_for(programs::go(host), Some(rr)))
}

impl<'a> CheckContext<'a> {
    fn of(host: &'a Host, question: &'a CheckRequest) -> Self {
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

    /// The findings of the probes for the question's purpose.
    fn look(&self) -> Vec<Finding> {
        let wanted = |concerns: Concerns| {
            concerns.recording() && self.question.records() || concerns.replaying() && self.question.replays()
        };
        self.findings_of(wanted).collect()
    }

    fn findings_of(&self, wanted: impl Fn(Concerns) -> bool) -> impl Iterator<Item = Finding> {
        let probes = PROBES.into_iter().flatten().filter(move |(concerns, _)| wanted(*concerns));
        probes.filter_map(|(concerns, probe)| {
            let finding = probe.look(self)?;
            // A probe may set a narrower value itself.
            let concerns = if finding.concerns == Concerns::Both { *concerns } else { finding.concerns };
            Some(Finding { concerns, ..finding })
        })
    }

    /// Switches the recorder to software counters if this removes the problems of a recording and the user has not
    /// set a command line.
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

    /// Whether recordings use software counters, so that no PMU is needed.
    fn counts_in_software(&self) -> bool {
        self.recorder.as_ref().is_ok_and(|rr| rr.software_counters && rr.counts_in_software())
    }
}
