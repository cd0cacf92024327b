//! Runs an installer with recorded controllers, and waits until each trace is closed.
//!
//! rr writes the header of a trace only when it closes the trace, so killing rr makes the trace useless. The rules
//! follow from this: the installer gets one stop request only; rr is never signalled while it can still close its
//! trace; and if an installer dies early, its leftover recordings are ended by ending the recorded program, because
//! rr closes its trace when the program has exited.
//!
//! ```text
//! rr-patch record ── openshift-install ─┬─ rr record ── cluster-api-provider-aws
//!       │                               └─ …                 each rr holds the lock of its trace
//!       └─ adopts the orphans of the installer
//! ```

mod noted;
mod interrupt_policy;
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use crate::binary::Facts;
use crate::error::Shown;
use crate::rr::trace::{Sidecar, Store, Trace, rfc3339, rfc3339_exact};
use crate::sys::process::{
    Child, End, Environment, Event, Streams, SupervisedChild, become_subreaper, descendants, end_descendants,
    for_child, signal,
};
use crate::words::{bytes, seconds};
use interrupt_policy::{InterruptPolicy, Step};

pub use noted::{commit, counts_in_software, flags, install_dir, remote};
pub use room::{Free, Room};

const INTERRUPT: i32 = 2;
const KILL: i32 = 9;
const TERMINATE: i32 = 15;

/// The interval between searches for recorders.
const LOOK: Duration = Duration::from_millis(200);
/// The interval between checks of free space when little is left: 25 MB at 500 MB/s.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(50);
/// How long rr may take to start the program that it records.
const STARTING: Duration = Duration::from_secs(5);
/// The interval between messages about what rr-patch is waiting for.
const NOTICE: Duration = Duration::from_secs(10);
/// How long a recorded controller may take to shut down, if the installer has ended without stopping it.
const SHUTDOWN: Duration = Duration::from_secs(30);
/// How long rr may take to close a trace after its program has exited. rr's own limit after a SIGTERM is 10 s;
/// writing the last blocks of a large trace to a slow disk takes longer.
const CLOSING: Duration = Duration::from_secs(60);
/// How long the installer may take to end after all processes that it waits for have exited.
const GIVING_UP: Duration = Duration::from_secs(10);

/// The configuration of one installer run.
#[derive(Debug)]
pub struct Run<'a> {
    pub installer: &'a Path,
    pub arguments: &'a [String],
    /// The store for the recorders' traces.
    pub store: &'a Store,
    /// Variables in addition to ours and the trace folder.
    pub environment: &'a Environment,
    /// The folder in which it runs; `None` is the current one.
    pub folder: Option<&'a Path>,
    /// Where its output goes. Captured output is given to the caller line by line.
    pub streams: Streams,
    /// The fields of every trace's sidecar that are known before the recording.
    pub sidecar: Sidecar,
    /// The free space that must remain on the disk of the traces.
    pub room: Room,
    pub subject: Subject,
    /// The limits of a run that nobody watches; `None` for one that only its user ends.
    pub limits: Option<Limits>,
}

/// The limits of a run that is one of many. Whatever stops it, it ends in a limited time, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take.
    pub time: Option<Duration>,
    /// How many bytes its traces may take.
    pub size: u64,
    /// Whether other runs go on at the same time. Their processes are left alone.
    pub shared: bool,
}

/// What runs, which decides who gets a signal that asks us to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An installer that starts recorders. It is asked to stop, and asks its controllers.
    Installer,
    /// rr itself. It ignores SIGINT, and counts down at SIGTERM: only the program that it records gets a signal, the
    /// one that we got.
    Program,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Installer => "the installer",
            Self::Program => "the program",
        }
    }

    /// How long it may take to end once it was asked to, if nobody watches.
    fn grace(self) -> Duration {
        match self {
            Self::Installer => Duration::from_secs(120),
            Self::Program => Duration::from_secs(10),
        }
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    pub end: End,
    /// How many stop requests we got.
    pub asked: usize,
    /// Why the installer was stopped; `None` if it ended by itself.
    pub stopped: Option<Stopped>,
    /// The traces of this run only, sorted by name.
    pub traces: Vec<Trace>,
    /// Whether a recorder had to be killed.
    pub lost: bool,
    pub took: Duration,
}

/// Why an installer was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// By a signal to us, for example Ctrl-C.
    Asked,
    /// Too little free space for the traces; with the number of free bytes.
    NoRoom(u64),
    /// It took longer than its limit.
    TimedOut,
    /// Its traces took more than their limit.
    TooLarge,
}

/// A running recorder.
#[derive(Clone, Debug)]
struct Recorder {
    pid: i32,
    trace: PathBuf,
}

/// The state of a run.
struct Watch<'a> {
    run: &'a Run<'a>,
    say: &'a mut dyn FnMut(&str),
    hear: &'a mut dyn FnMut(&str),
    /// Traces that already existed. They do not belong to this run.
    before: BTreeSet<PathBuf>,
    /// The options with which each trace's recorder was started.
    flags: BTreeMap<PathBuf, Vec<String>>,
    asked: usize,
    stopped: Option<Stopped>,
    lost: bool,
}

impl Run<'_> {
    /// Runs the installer to its end and waits until every trace is closed. `hear` gets each line of captured output.
    ///
    /// # Errors
    /// An installer that cannot be started; a trace folder that cannot be made or read.
    pub fn start(&self, say: &mut dyn FnMut(&str), hear: &mut dyn FnMut(&str)) -> Result<Outcome> {
        become_subreaper()?;
        let began = Instant::now();
        let before = self.store.traces()?.into_iter().map(|trace| trace.path).collect();
        let mut environment = self.environment.clone();
        environment.insert("_RR_TRACE_DIR".into(), for_child(self.store.root())?.to_owned());
        let program = for_child(self.installer)?;
        let folder = match self.folder {
            Some(folder) => folder.to_owned(),
            None => std::env::current_dir().context("there is no current folder")?,
        };
        let child = Child { program, arguments: self.arguments, folder: &folder, environment: &environment };
        let mut supervised = SupervisedChild::start(&child, self.streams)?;
        let mut watch =
            Watch { run: self, say, hear, before, flags: BTreeMap::new(), asked: 0, stopped: None, lost: false };
        let end = watch.until_the_end(&mut supervised);
        // The installer has ended, so Ctrl-C may go to our original group again.
        supervised.unshield();
        watch.close(&supervised);
        supervised.remaining_output().iter().for_each(|line| (watch.hear)(line));
        let Watch { asked, stopped, lost, flags, before, say, .. } = watch;
        let traces = self.note(&before, &flags, say)?;
        Ok(Outcome { end, asked, stopped, traces, lost, took: began.elapsed() })
    }

    /// Returns the traces of this run, and writes a sidecar into each.
    fn note(
        &self,
        before: &BTreeSet<PathBuf>,
        flags: &BTreeMap<PathBuf, Vec<String>>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Trace>> {
        let mut traces = self.store.traces()?;
        traces.retain(|trace| !before.contains(&trace.path));
        traces.sort_by(|a, b| a.name.cmp(&b.name));
        for trace in &mut traces {
            let program = trace.program().ok();
            let sidecar = Sidecar {
                controller: trace.controller().to_owned(),
                flags: flags.get(&trace.path).cloned().unwrap_or_else(|| self.sidecar.flags.clone()),
                go_version: program.as_ref().and_then(|program| Facts::read(program.file.as_deref()?).ok()?.go),
                started: Some(rfc3339_exact(trace.started)),
                ended: trace.ended.map(rfc3339_exact),
                exit: program.and_then(|program| program.end).map(|end| end.to_string()),
                ..self.sidecar.clone()
            };
            // For example a full disk. Reporting the traces is more important.
            if let Err(error) = sidecar.write(&trace.path) {
                say(&format!("warning: cannot write the sidecar of `{}`: {error:#}", trace.name));
            }
            trace.sidecar = Some(sidecar);
        }
        Ok(traces)
    }
}

impl Watch<'_> {
    /// Supervises the installer until it ends.
    fn until_the_end(&mut self, supervised: &mut SupervisedChild) -> End {
        let mut patience = InterruptPolicy::default();
        let began = Instant::now();
        let (mut stopped_at, mut stopping_since) = (None::<Instant>, None::<Instant>);
        let mut now = None::<Instant>;
        let (mut looked, mut pause) = (None::<Instant>, Duration::ZERO);
        loop {
            match supervised.next(pause) {
                Event::Ended(end) => return end,
                Event::Output(line) => {
                    (self.hear)(&line);
                    // A program that prints without end must not keep us from looking at its limits.
                    if looked.is_some_and(|looked| looked.elapsed() < LOOK) {
                        continue;
                    }
                }
                Event::Nothing => {}
                Event::Signal { number, shared } => {
                    self.asked += 1;
                    match patience.step(Instant::now()) {
                        Step::Stop => {
                            stopped_at = Some(Instant::now());
                            self.stopped = Some(Stopped::Asked);
                            self.stop(supervised, shared, number, &End::Signal(number).to_string());
                        }
                        Step::Tell => self.tell_what_is_lost(),
                        Step::Ignore => {}
                        Step::Now => {
                            (self.say)("killing the controllers now; rr closes their traces");
                            now = Some(Instant::now());
                            self.end_recorded();
                        }
                    }
                }
            }
            let room = self.run.room.look();
            pause = if room == Free::Enough { LOOK } else { LOOK_FOR_ROOM };
            match room {
                Free::Little(free) | Free::Least(free) if self.stopped.is_none() => {
                    // This counts as the first stop request, so the next signal is the second.
                    patience.step(Instant::now());
                    stopped_at = Some(Instant::now());
                    self.stopped = Some(Stopped::NoRoom(free));
                    let number = if self.run.subject == Subject::Program { TERMINATE } else { INTERRUPT };
                    self.stop(supervised, false, number, &self.run.room.describe(free));
                }
                Free::Least(free) if now.is_none() && !self.recorders().is_empty() => {
                    let room = self.run.room.describe(free);
                    (self.say)(&format!("{room}: killing the controllers now; rr closes their traces"));
                    now = Some(Instant::now());
                    self.end_recorded();
                }
                _ => {}
            }
            if looked.is_some_and(|looked| looked.elapsed() < LOOK) {
                continue;
            }
            looked = Some(Instant::now());
            self.look();
            if let Some(limits) = self.run.limits {
                if let Some((why, stopped)) = self.exceeded(&limits, began).filter(|_| self.stopped.is_none()) {
                    patience.step(Instant::now());
                    self.stopped = Some(stopped);
                    let number = if self.run.subject == Subject::Program { TERMINATE } else { INTERRUPT };
                    self.stop(supervised, false, number, &why);
                }
                if self.stopped.is_some() {
                    let since = *stopping_since.get_or_insert_with(Instant::now);
                    if now.is_none() && since.elapsed() > self.run.subject.grace() && !self.recorders().is_empty() {
                        (self.say)("it does not end: killing what is recorded; rr closes its trace");
                        now = Some(Instant::now());
                        self.end_recorded();
                    }
                }
                // Nobody is there who could decide to wait longer.
                if now.is_some_and(|since| since.elapsed() > CLOSING) {
                    (self.say)("rr does not close its trace, and is killed: the trace is lost");
                    self.lost = true;
                    self.recorders().iter().for_each(|recorder| signal(recorder.pid, KILL));
                    now = Some(Instant::now());
                }
            }
            if supervised.unshield_if_stopped() {
                (self.say)(&format!("{} needs the terminal, and has it again", self.run.subject.name()));
            }
            if now.is_some_and(|since| since.elapsed() > GIVING_UP) && self.recorders().is_empty() {
                (self.say)(&format!("{} did not end by itself, and is killed", self.run.subject.name()));
                signal(supervised.pid(), KILL);
                now = None;
            }
            if let Some(since) = &mut stopped_at
                && since.elapsed() > NOTICE
            {
                *since = Instant::now();
                self.still_waiting(self.run.subject.name());
            }
        }
    }

    /// Why a run must end by its limits.
    fn exceeded(&self, limits: &Limits, began: Instant) -> Option<(String, Stopped)> {
        if let Some(time) = limits.time.filter(|time| began.elapsed() > *time) {
            return Some((format!("no end after {}", seconds(time)), Stopped::TimedOut));
        }
        // A recorder that has just started its program is two processes with one trace.
        let traces: BTreeSet<PathBuf> = self.recorders().into_iter().map(|recorder| recorder.trace).collect();
        let size: u64 = traces.iter().map(|trace| size_of(trace)).sum();
        (size > limits.size).then(|| (format!("its traces take more than {}", bytes(limits.size)), Stopped::TooLarge))
    }

    /// Asks the installer to stop, unless the terminal has already done so. It must get only one SIGINT: a second one
    /// ends it at once.
    fn stop(&mut self, supervised: &mut SupervisedChild, done: bool, number: i32, why: &str) {
        if self.run.subject == Subject::Program {
            if !done {
                self.signal_program(supervised, number);
            }
            supervised.detach_from_terminal();
            (self.say)(&format!("{why}: the program has got it; rr closes the trace when the program has ended"));
            return;
        }
        if !done {
            signal(supervised.pid(), INTERRUPT);
        }
        let detached = supervised.detach_from_terminal();
        (self.say)(&format!("{why}: the installer stops its controllers, and rr closes their traces"));
        match detached {
            true => (self.say)("this can take a minute; another request shows what an immediate end would lose"),
            false => (self.say)("this can take a minute: another Ctrl-C would end the installer at once"),
        }
    }

    /// Sends a signal to the program that rr records, once there is one.
    fn signal_program(&self, supervised: &SupervisedChild, number: i32) {
        let began = Instant::now();
        while began.elapsed() < STARTING {
            let programs = descendants().into_iter().filter(|relative| relative.parent == supervised.pid());
            let mut programs = programs.filter(|_| !self.recorders().is_empty()).peekable();
            if programs.peek().is_some() {
                return programs.for_each(|relative| signal(relative.pid, number));
            }
            std::thread::sleep(LOOK_FOR_ROOM);
        }
        // It records nothing yet, so that nothing is lost with it.
        signal(supervised.pid(), TERMINATE);
    }

    fn tell_what_is_lost(&mut self) {
        let recording = self.recorders();
        if recording.is_empty() {
            (self.say)("every trace is closed; the installer is still tearing down what it has started");
        } else if self.run.subject == Subject::Program {
            (self.say)(
                "still being recorded; asked a third time, after two seconds and within thirty, the program is killed",
            );
            return;
        } else {
            let names: Vec<String> = recording.iter().map(|recorder| name(&recorder.trace)).collect();
            (self.say)(&format!("still being recorded: {}", names.join(", ")));
        }
        (self.say)(
            "a third request, after 2 s and within 30 s, kills the controllers at once: \
             their shutdown is not recorded, and the installer cannot tear down what it needs them for",
        );
    }

    fn still_waiting(&mut self, whom: &str) {
        let names: Vec<String> = self.recorders().iter().map(|recorder| name(&recorder.trace)).collect();
        let recording =
            if names.is_empty() { String::new() } else { format!("; being recorded: {}", names.join(", ")) };
        (self.say)(&format!("waiting for {whom}{recording}"));
    }

    /// Writes a sidecar with the options of each new recorder, while its process can be inspected. If we are killed
    /// later, the trace still has the data that a replay needs.
    fn look(&mut self) {
        for Recorder { pid, trace } in self.recorders() {
            if self.flags.contains_key(&trace) {
                continue;
            }
            let flags = flags_of(pid, &trace);
            if let Ok(known) = Trace::open(&trace) {
                let controller = known.controller().to_owned();
                let sidecar = Sidecar { controller, flags: flags.clone(), ..self.run.sidecar.clone() };
                // If this fails, the final sidecar is written at the end, and that failure is reported.
                let _ = sidecar.write(&trace);
            }
            self.flags.insert(trace, flags);
        }
    }

    /// Our descendants that are recording a trace.
    fn recorders(&self) -> Vec<Recorder> {
        let root = self.run.store.root();
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let holds = |pid: i32| {
            let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
            let mut held = files.filter_map(|file| fs::read_link(file.path()).ok());
            held.find_map(|link| {
                let trace = link.parent()?;
                let marked = link.file_name()? == "incomplete" && trace.starts_with(&root);
                marked.then(|| trace.to_owned())
            })
        };
        descendants()
            .into_iter()
            .filter_map(|relative| Some(Recorder { pid: relative.pid, trace: holds(relative.pid)? }))
            .collect()
    }

    /// Kills the recorded programs, but not their recorders. rr then closes its trace at once.
    fn end_recorded(&self) {
        self.signal_recorded(KILL);
    }

    fn signal_recorded(&self, number: i32) {
        let mut recorders: BTreeSet<i32> = self.recorders().into_iter().map(|recorder| recorder.pid).collect();
        // Each process comes after its parent.
        for relative in descendants() {
            if !recorders.contains(&relative.pid) && recorders.contains(&relative.parent) {
                signal(relative.pid, number);
                recorders.insert(relative.pid);
            }
        }
    }

    /// Waits until no recorder is left, and returns true. Returns false on a stop request, after `within`, or, with
    /// `while_room`, if too little disk space is left.
    fn wait_for_recorders(&mut self, supervised: &SupervisedChild, within: Duration, while_room: bool) -> bool {
        let (began, mut said) = (Instant::now(), Instant::now());
        while !self.recorders().is_empty() {
            let room = || !while_room || !matches!(self.run.room.look(), Free::Least(_));
            if began.elapsed() > within || !room() {
                return false;
            }
            match supervised.next(LOOK) {
                Event::Signal { .. } => {
                    self.asked += 1;
                    return false;
                }
                Event::Output(line) => (self.hear)(&line),
                Event::Ended(_) | Event::Nothing => {}
            }
            self.look();
            if said.elapsed() > NOTICE {
                said = Instant::now();
                self.still_waiting("rr");
            }
        }
        true
    }

    /// Ends the recordings that the installer has left behind: each recorded program first, so that its recorder ends
    /// by itself.
    fn close(&mut self, supervised: &SupervisedChild) {
        let left: Vec<String> = self.recorders().iter().map(|recorder| name(&recorder.trace)).collect();
        if !left.is_empty() {
            (self.say)(&format!("the installer has ended and left recordings behind: {}", left.join(", ")));
            self.signal_recorded(TERMINATE);
            if !self.wait_for_recorders(supervised, SHUTDOWN, true) {
                (self.say)("killing the controllers; rr closes their traces");
                self.signal_recorded(KILL);
                // From here on only the time limit ends the wait, because killing rr would lose the trace.
                let began = Instant::now();
                while began.elapsed() < CLOSING && !self.wait_for_recorders(supervised, CLOSING, false) {
                    (self.say)("rr is still closing a trace: waiting, because ending rr would lose it");
                }
                self.lost = !self.recorders().is_empty();
            }
        }
        let root = self.run.store.root().as_os_str().as_bytes();
        let variable = [b"_RR_TRACE_DIR=", root].concat();
        let shared = self.run.limits.is_some_and(|limits| limits.shared);
        end_descendants(GIVING_UP, &|relative| !shared || has_variable(relative.pid, &variable));
    }
}

/// Whether a process was started with a variable, `NAME=VALUE`, in its environment.
fn has_variable(pid: i32, variable: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| all.split(|&byte| byte == 0).any(|one| one == variable))
}

/// The bytes that the files of a trace take so far.
fn size_of(trace: &Path) -> u64 {
    let files = fs::read_dir(trace).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|seen| seen.len()).sum()
}

fn name(trace: &Path) -> String {
    trace.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The options of a running recorder: its arguments between `record` and the program. The trace has the program's
/// name.
fn flags_of(pid: i32, trace: &Path) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|&byte| byte == 0).skip(1);
    let words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    options(&words, &name(trace))
}

fn options(words: &[String], trace: &str) -> Vec<String> {
    let program = trace.rsplit_once('-').map_or(trace, |(program, _)| program);
    let is_program =
        |word: &String| Path::new(word).file_name().is_some_and(|name| name.as_bytes() == program.as_bytes());
    let until = words.iter().position(is_program).unwrap_or(0);
    words[..until].iter().filter(|word| !["record", "--"].contains(&word.as_str())).cloned().collect()
}

/// The trace folder of one run, in rr's own store. The name contains the time, so the newest folder sorts last.
pub fn folder_below(store: &Store, what: &str, now: SystemTime) -> PathBuf {
    let stamp: String =
        rfc3339(now).chars().filter(char::is_ascii_alphanumeric).take("20261122T105300".len()).collect();
    let mut folder = store.root().join(format!("{what}-{stamp}"));
    let mut number = 1;
    while folder.exists() {
        number += 1;
        folder.set_file_name(format!("{what}-{stamp}.{number}"));
    }
    folder
}

/// Points rr's `latest-trace` to a trace in a folder below the store, as if rr had recorded it in the store itself.
/// Otherwise a replay of the latest trace would use an older one.
pub fn make_latest(store: &Store, trace: &Trace) -> Result<()> {
    let Ok(below) = trace.path.strip_prefix(store.root()) else { return Ok(()) };
    let link = store.root().join("latest-trace");
    // Only rr's own link may be replaced.
    if link.symlink_metadata().is_ok_and(|seen| !seen.is_symlink()) {
        return Ok(());
    }
    let fresh = store.root().join(format!(".latest-trace.{}", std::process::id()));
    let made = std::os::unix::fs::symlink(below, &fresh).and_then(|()| fs::rename(&fresh, &link));
    made.with_context(|| format!("cannot set `{}`", link.shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_what_stands_before_the_program_that_names_the_trace() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let line = words("record -W --wait -o /t/aws --bind-to-cpu 0 /i/cluster-api-provider-aws -v=2 --wait");
        let found = options(&line, "cluster-api-provider-aws-0");
        assert_eq!(found.join(" "), "-W --wait -o /t/aws --bind-to-cpu 0");
        assert_eq!(options(&words("record --wait sh"), "cluster-api-0"), [] as [String; 0]);
    }

    #[test]
    fn each_run_has_a_folder_of_its_own_that_sorts_by_time() {
        let store = Store::at("/nonexistent".into());
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        assert_eq!(folder_below(&store, "install", at), Path::new("/nonexistent/install-20261118T110640"));
    }
}
