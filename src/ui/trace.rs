//! One trace: a row of a list, and all that is known of it.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use super::manners::{Mark, Meaning, begins_or_common};
use crate::error::{Shown, plain_name};
use crate::rr::trace::{self, Backing, FileStatus, Sidecar, State, local, rfc3339};
use crate::words::{bytes, count, quoted, seconds};

/// One trace, as a list has it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Summary {
    /// Its path below the store.
    name: String,
    path: String,
    controller: String,
    state: State,
    /// When the recording began, as RFC 3339 has it.
    started: String,
    ended: Option<String>,
    /// How long it was recorded, as far as is known.
    seconds: Option<f64>,
    /// The bytes of all its files.
    bytes: u64,
    /// The bytes that its removal frees.
    own_bytes: u64,
    /// What `rr-patch record` noted.
    sidecar: Option<Sidecar>,
    #[serde(skip)]
    began: Option<SystemTime>,
}

impl Summary {
    pub fn of(trace: &trace::Trace) -> Self {
        Self {
            name: trace.name.clone(),
            path: trace.path.in_json(),
            controller: trace.controller().to_owned(),
            state: trace.state,
            started: rfc3339(trace.started),
            ended: trace.ended.map(rfc3339),
            seconds: length(trace).map(|length| length.as_secs_f64()),
            bytes: trace.size,
            own_bytes: trace.own,
            sidecar: trace.sidecar.clone(),
            began: Some(trace.started),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn began(&self) -> String {
        self.began.map_or_else(String::new, local)
    }

    /// What stands under [`HEAD`].
    pub(super) fn row(&self) -> [String; 6] {
        [
            plain_name(&self.name),
            plain_name(&self.controller),
            self.began(),
            shown(self.state, self.seconds.map(Duration::from_secs_f64)),
            bytes(self.bytes),
            self.state.word().into(),
        ]
    }
}

/// What stands over rows of traces, and which columns are numbers.
pub(super) const HEAD: [&str; 6] = ["name", "controller", "started", "length", "size", "state"];
pub(super) const NUMBERS: [usize; 2] = [3, 4];
/// Which of them go first on a narrow terminal: the name has the controller's in it, and leads to all else.
pub(super) const SPARED: [usize; 4] = [1, 4, 3, 2];
/// What a state means.
pub(super) const STATES: [(&str, Meaning); 5] = [
    ("complete", Meaning::Good),
    ("recording", Meaning::Doubtful),
    ("starting", Meaning::Doubtful),
    ("dead", Meaning::Bad),
    ("junk", Meaning::Faint),
];

fn length(trace: &trace::Trace) -> Option<Duration> {
    match trace.state {
        State::Recording => trace.started.elapsed().ok(),
        _ => trace.length(),
    }
}

/// How long a trace was recorded; of a dead one the last thing that rr wrote tells how long at least.
pub fn shown_length(trace: &trace::Trace) -> String {
    shown(trace.state, length(trace))
}

fn shown(state: State, length: Option<Duration>) -> String {
    match (state, length) {
        (State::Starting | State::Junk, _) | (_, None) => "-".into(),
        (State::Dead, Some(length)) => format!("> {}", seconds(length)),
        (_, Some(length)) => seconds(length),
    }
}

/// All that is known of one trace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Trace {
    #[serde(flatten)]
    summary: Summary,
    /// Whether a replay needs `-W`; nothing where it is not known.
    software_counters: Option<bool>,
    replayable: bool,
    /// Why no rr can replay it here.
    obstacles: Vec<String>,
    /// What may go wrong.
    warnings: Vec<String>,
    /// What to type next.
    next: Vec<String>,
    /// The names of its files.
    files: Vec<String>,
    /// Nothing where the trace is damaged.
    program: Option<Program>,
    /// Nothing where the trace is not complete.
    header: Option<Header>,
}

/// The recorded program.
#[derive(Debug, Serialize, JsonSchema)]
struct Program {
    /// Its path when it was recorded; not known of an incomplete trace.
    path: Option<String>,
    arguments: Option<Vec<String>>,
    /// How it ended, where rr saw it end.
    end: Option<String>,
    /// How the trace keeps it; nothing where no file of the trace is the program.
    kept: Option<Backing>,
    /// What a debugger would open.
    file: Option<String>,
    /// Whether that file is as it was recorded.
    same: Option<bool>,
    #[serde(skip)]
    still: Option<FileStatus>,
    /// The arguments with odd bytes escaped.
    #[serde(skip)]
    shown_arguments: Option<Vec<String>>,
}

/// What rr noted of the host.
#[derive(Debug, Serialize, JsonSchema)]
struct Header {
    /// rr's own name for the trace.
    uuid: String,
    /// Whether rr had no failure.
    ok: bool,
    /// The CPU that it was bound to.
    cpu: Option<i32>,
    /// Which rr can replay it, as rr counts.
    compatibility: i32,
    cpuid_faulting: bool,
    arch: &'static str,
    host: Option<String>,
    kernel: Option<String>,
}

impl Program {
    fn of(program: trace::Program) -> Self {
        let all = |arguments: &Vec<OsString>, form: fn(&OsString) -> String| arguments.iter().map(form).collect();
        let lossy = |argument: &OsString| argument.to_string_lossy().into_owned();
        Self {
            path: program.path.as_deref().map(Path::in_json),
            arguments: program.arguments.as_ref().map(|arguments| all(arguments, lossy)),
            end: program.end.map(|end| end.to_string()),
            kept: program.kept,
            file: program.file.as_deref().map(Path::in_json),
            same: program.still.as_ref().map(|still| *still == FileStatus::Same),
            still: program.still,
            shown_arguments: program.arguments.as_ref().map(|arguments| all(arguments, Shown::in_json)),
        }
    }
}

impl Header {
    fn of(header: trace::Header) -> Self {
        let trace::Header { uuid, ok, cpu, compatibility, cpuid_faulting, arch, host, kernel } = header;
        Self { uuid, ok, cpu, compatibility, cpuid_faulting, arch, host, kernel }
    }
}

impl Trace {
    /// `option` leads a command to the same traces.
    pub fn of(trace: &trace::Trace, option: &str) -> Self {
        let trace::Check { obstacles, warnings } = trace.check();
        let replayable = obstacles.is_empty();
        let header = if trace.state == State::Complete { trace.header().ok() } else { None };
        Self {
            summary: Summary::of(trace),
            software_counters: trace.software_counters(),
            replayable,
            obstacles,
            warnings,
            next: next(trace, replayable, option),
            files: trace.files.clone(),
            program: trace.program().ok().map(Program::of),
            header: header.map(Header::of),
        }
    }
}

/// What to type next; `option` leads to the same traces.
fn next(trace: &trace::Trace, replayable: bool, option: &str) -> Vec<String> {
    let name = quoted(&trace.name);
    let bundle = quoted(&format!("{}.tar.zst", trace.name.rsplit('/').next().unwrap_or(&trace.name)));
    match trace.state {
        State::Complete if replayable => {
            vec![format!("rr-patch replay{option} {name}"), format!("rr-patch traces{option} pack {name} -o {bundle}")]
        }
        State::Complete => {
            vec![format!("put back what is missing, then `rr-patch traces{option} show {name}` looks again")]
        }
        State::Recording | State::Starting => {
            vec!["end the install, or send SIGTERM to its rr, and let it close the trace".into()]
        }
        State::Dead | State::Junk => vec![format!("rr-patch traces{option} prune {name}")],
    }
}

impl Document for Trace {
    const SCHEMA: &'static str = "rr-patch/trace/1";

    fn marks(&self, line: &str) -> Vec<Mark> {
        let verdict = if self.replayable { Meaning::Good } else { Meaning::Bad };
        let what = ["it can be replayed", "it cannot be replayed"].into_iter().find_map(|what| {
            let at = line.find(what).filter(|_| !line.starts_with(' '))?;
            Some(vec![(at..at + what.len(), verdict)])
        });
        let words = [("not:", Meaning::Bad), ("warning:", Meaning::Doubtful)];
        what.unwrap_or_else(|| begins_or_common(line, &words))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { name, path, controller, state, bytes: size, own_bytes, .. } = &self.summary;
        let verdict = if self.replayable { "it can be replayed" } else { "it cannot be replayed" };
        writeln!(f, "{}: {}, {verdict}", plain_name(name), state.word())?;
        line(f, "path", path)?;
        line(f, "controller", controller)?;
        line(f, "started", self.summary.began())?;
        line(f, "length", shown(*state, self.summary.seconds.map(Duration::from_secs_f64)))?;
        let shared = match own_bytes < size {
            true => format!(", {} of them in hard links", bytes(size - own_bytes)),
            false => String::new(),
        };
        line(f, "size", format!("{} in {}{shared}", bytes(*size), count(self.files.len(), "file")))?;
        if let Some(program) = &self.program {
            self.program(f, program)?;
        }
        if let Some(header) = &self.header {
            header.lines(f)?;
        }
        self.sidecar(f)?;
        self.obstacles.iter().try_for_each(|obstacle| line(f, "not", obstacle))?;
        self.warnings.iter().try_for_each(|warning| line(f, "warning", warning))?;
        writeln!(f, "next:")?;
        self.next.iter().try_for_each(|next| writeln!(f, "  {}", plain_name(next)))
    }
}

/// `name: value`, the values under each other.
fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl AsRef<str>) -> fmt::Result {
    let name = if name.is_empty() { String::new() } else { format!("{name}:") };
    writeln!(f, "  {name:<12}{}", plain_name(value.as_ref()))
}

impl Trace {
    fn program(&self, f: &mut fmt::Formatter<'_>, program: &Program) -> fmt::Result {
        match (&program.path, &program.shown_arguments) {
            (Some(path), Some(arguments)) => {
                line(f, "program", path)?;
                let arguments = arguments.get(1..).unwrap_or_default();
                line(f, "arguments", if arguments.is_empty() { "none".into() } else { arguments.join(" ") })?;
            }
            _ => line(f, "program", "not known: rr writes it down when it closes a trace")?,
        }
        let file = program.file.as_deref().map(plain_name).unwrap_or_default();
        let complete = self.summary.state == State::Complete;
        match (program.kept, &program.still) {
            (Some(Backing::Path), Some(FileStatus::Missing)) => {
                line(f, "kept", "only as a path, and there is nothing any more")?;
            }
            (Some(Backing::Path), Some(FileStatus::Changed(how))) => {
                line(f, "kept", format!("only as a path, and what is there was changed: {how}"))?;
            }
            (Some(Backing::Path), _) => line(f, "kept", "only as a path, where it still is as it was")?,
            (Some(kept), still) => {
                line(f, "kept", format!("as {}: `{file}`", kept.says()))?;
                match still {
                    Some(FileStatus::Changed(how)) => line(f, "", format!("changed since: {how}"))?,
                    Some(FileStatus::Missing) => line(f, "", "which is gone")?,
                    _ => {}
                }
            }
            (None, _) if complete => line(f, "kept", format!("for the replay only; a debugger is given `{file}`"))?,
            (None, _) => line(f, "kept", "not in the trace")?,
        }
        match &program.end {
            Some(end) => line(f, "ended", format!("with {end}")),
            None if complete => line(f, "ended", "not seen by rr: it was still running"),
            None => Ok(()),
        }
    }

    fn sidecar(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(sidecar) = &self.summary.sidecar else {
            line(f, "by", "not by `rr-patch record`: which rr it was is not known")?;
            return match self.software_counters {
                Some(_) => line(f, "", "its events are those of software counters: a replay needs such an rr, and -W"),
                None if self.summary.state == State::Complete => {
                    line(f, "", "nothing in it tells of software counters (-W)")
                }
                None => Ok(()),
            };
        };
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".into());
        let counters = if sidecar.software_counters { ", with software counters: it replays with -W only" } else { "" };
        line(f, "by", format!("{}, with rr {}{counters}", sidecar.tool, sidecar.rr_version))?;
        line(f, "flags", if sidecar.flags.is_empty() { "none".into() } else { sidecar.flags.join(" ") })?;
        line(f, "go", known(&sidecar.go_version))?;
        line(f, "delve", known(&sidecar.delve_version))?;
        line(f, "installer", known(&sidecar.installer_commit))?;
        sidecar.exit.iter().try_for_each(|exit| line(f, "rr ended", exit))
    }
}

impl Header {
    fn lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or("a host that rr did not note");
        let kernel = self.kernel.as_ref().map(|kernel| format!(", kernel {kernel}")).unwrap_or_default();
        let cpu = self.cpu.map_or("no CPU".into(), |cpu| format!("CPU {cpu}"));
        line(f, "recorded", format!("on {host} ({}{kernel}), bound to {cpu}", self.arch))?;
        let faulting = match self.cpuid_faulting {
            true => "with CPUID faulting",
            false => "without CPUID faulting: it replays on such a CPU only",
        };
        line(f, "", faulting)?;
        line(f, "rr's id", &self.uuid)
    }
}
