//! Opens a trace in Delve: the prerequisites of a replay, the server, and explanations of failures.
//!
//! ```text
//! Trace ─ prepare ─▶ Opening ─ serve ────▶ dlv replay --headless ─▶ rr replay     (for other clients)
//!                           └─ interact ─▶ dlv replay             ─▶ rr replay    (at this terminal)
//! ```
//!
//! Delve runs the `rr` in PATH, and takes options for it from `DELVE_RR_REPLAY_FLAGS` (see its
//! `pkg/proc/gdbserial/rr.go`). It listens before it has opened the trace. An open port is therefore not a sign of
//! success; only a response is.

pub mod at;
pub mod client;
pub mod core;
pub mod editor;
mod explain;
mod port;
mod rpc;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal::{INTERRUPT, TERMINATE};

use crate::binary::Facts;
use crate::doctor::{
    Delve, Host, Recorder, Version, allow_perf_events, delve, delve_takes_go, delve_takes_rr, install_delve_for,
    recorder,
};
use crate::error::{Error, Shown};
use crate::rr::replay::counters;
use crate::rr::trace::{FileStatus, Trace};
use crate::sys::process::{
    Child, End, Environment, Event, ProcessInfo, Streams, SupervisedChild, become_subreaper, end_descendants, for_child,
};
use crate::words::quoted;

use client::Client;
pub use explain::{Cause, Circumstances, explain};
pub use port::Listen;

/// The environment variable with options for Delve's `rr replay`.
pub const FLAGS: &str = "DELVE_RR_REPLAY_FLAGS";

/// Delve 1.27 and some older versions refuse to run if stderr is not a terminal. Ours is a pipe, because the output
/// of Delve and rr explains failures. Delve has this option since 1.6.1.
const ANY_STREAMS: &str = "--allow-non-terminal-interactive=true";

/// How long Delve may take to end after SIGINT, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// The interval between messages that the trace is still being opened.
const NOTICE: Duration = Duration::from_secs(10);
/// How many of the last lines a failure shows.
const LAST_LINES: usize = 12;

mod signal {
    //! The signals that end a Delve, by their numbers on Linux.
    pub const INTERRUPT: i32 = 2;
    pub const TERMINATE: i32 = 15;
}

/// A trace that can be opened, and the options for it.
#[derive(Debug)]
pub struct ReplayPlan {
    pub trace: PathBuf,
    pub delve: Delve,
    pub rr: Recorder,
    /// The options for rr, including the user's own.
    pub rr_flags: Vec<String>,
    /// The folder of the rr to use, if it is not the one in PATH.
    rr_folder: Option<PathBuf>,
    /// The commands that set `perf_event_paranoid` for Delve, or advice in words.
    allow_perf_events: Result<Vec<String>, String>,
    /// Warnings to print before the replay starts.
    pub warnings: Vec<String>,
    /// The facts about the recorded program.
    pub program: Option<Facts>,
}

/// Checks all prerequisites of a replay without starting it.
///
/// # Errors
/// Problems that would make Delve fail without a clear message, or hang, as an older Delve does with a newer rr.
pub fn prepare(host: &Host, trace: &Trace) -> Result<ReplayPlan> {
    let check = trace.check();
    if !check.obstacles.is_empty() {
        let error = Error::failed(format!("`{}` cannot be replayed", trace.name)).detail(format!(
            "looked at: `{}`, which is {}",
            trace.path.shown(),
            trace.state.word()
        ));
        let error = check.obstacles.into_iter().fold(error, Error::detail);
        return Err(error
            .hint("`rr-patch traces` lists the others; `rr-patch record` makes one that is complete")
            .into());
    }
    let mut warnings = check.warnings;
    let rr = recorder(host, None).map_err(|error| match error.downcast::<Error>() {
        Ok(error) => error.hint("Delve has no command `replay` if `rr` is not in PATH").into(),
        Err(error) => error,
    })?;
    let delve = delve(host)?;
    delve_takes_rr(delve.version, &rr).map_err(|why| {
        Error::failed(why)
            .detail(format!("found: `{}`, and rr {} at `{}`", delve.path.shown(), rr.said(), rr.path.shown()))
            .hint(format!(
                "`{}` installs one that does; its folder must come first in PATH",
                install_delve_for(host, &rr)
            ))
    })?;
    let program = facts(trace, &mut warnings)?;
    if let Some(go) = program.as_ref().and_then(|facts| Version::find(facts.go.as_deref()?)) {
        delve_takes_go(delve.version, (go.0, go.1)).map_err(|why| {
            Error::failed(why)
                .detail(format!("found: `{}`; the recorded program was built with Go {go}", delve.path.shown()))
                .hint("`go install github.com/go-delve/delve/cmd/dlv@vVERSION` installs a given one")
        })?;
    }
    let rr_flags = flags(host, trace, &rr)?;
    if let Some(recorded) = trace.sidecar.as_ref().and_then(|sidecar| Version::find(&sidecar.rr_version))
        && recorded > rr.version
    {
        warnings
            .push(format!("recorded with rr {recorded}, and this is {}: an older rr may not understand it", rr.said()));
    }
    // Delve looks for `rr` and for no other name.
    let found = host.program("rr");
    let rr_folder = rr.path.parent().filter(|_| found.as_ref() != Some(&rr.path)).map(Path::to_owned);
    let allow_perf_events = allow_perf_events(host);
    let trace = trace.path.clone();
    Ok(ReplayPlan { trace, delve, rr, rr_flags, rr_folder, allow_perf_events, warnings, program })
}

/// The facts about the program, if it can be read. Problems for debugging become warnings.
fn facts(trace: &Trace, warnings: &mut Vec<String>) -> Result<Option<Facts>> {
    let program = trace.program()?;
    let Some(file) = program.file else { return Ok(None) };
    if program.still == Some(FileStatus::Missing) || !file.exists() {
        return Err(Error::failed(format!("the recorded program is missing: `{}`", file.shown()))
            .detail("the trace has no copy of it, and a replay needs it")
            .hint("put the same file back; a patched installer sets RR_COPY_ALL_FILES, so that its traces are complete")
            .into());
    }
    let facts = match Facts::read(&file) {
        Ok(facts) => facts,
        Err(error) => {
            warnings.push(format!("the recorded program could not be read: {error:#}"));
            return Ok(None);
        }
    };
    if !facts.dwarf {
        warnings.push(
            "the program has no debug information (it was linked with -s -w): Delve shows no sources and no variables, \
             and supports only breakpoints on functions; `rr-patch build` makes an installer that can be debugged"
                .into(),
        );
    } else if facts.optimised == Some(true) {
        warnings.push("the program was optimised: variables will be missing; `rr-patch build` turns that off".into());
    }
    Ok(Some(facts))
}

/// The user's own options, and `-W` if the trace was recorded with it.
fn flags(host: &Host, trace: &Trace, rr: &Recorder) -> Result<Vec<String>> {
    let mut flags: Vec<String> =
        host.variable(FLAGS).map_or_else(Vec::new, |text| text.split_whitespace().map(str::to_owned).collect());
    let given = flags.iter().any(|flag| ["-W", "--software-counters"].contains(&flag.as_str()));
    if let Some(option) = counters(trace, rr)?
        && !given
    {
        flags.insert(0, option.into());
    }
    Ok(flags)
}

/// How rr replays the recorded output of the program. rr prints it to its own output, mixed with lines of Delve and
/// rr, and it must not be mistaken for those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordedOutput {
    /// rr does not print it.
    LeftOut,
    /// rr prints `[rr PID EVENT]` before each write.
    Marked,
}

/// The prefix of a marked write.
const MARK: &str = "[rr ";

impl RecordedOutput {
    /// The options of rr that affect this.
    const FLAGS: [&str; 4] = ["-q", "--no-redirect-output", "-M", "--mark-stdio"];

    fn flag(self) -> &'static str {
        match self {
            Self::LeftOut => "-q",
            Self::Marked => "-M",
        }
    }
}

/// The address at which Delve serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub address: String,
    pub port: u16,
    pub delve: String,
    pub pid: i32,
}

/// Why a serving Delve ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// Because of a signal to us.
    Stopped,
    /// A client ended it.
    ByClient,
}

impl ReplayPlan {
    /// The environment for a Delve whose output we do not read.
    pub fn environment(&self) -> Environment {
        self.environment_with(&self.rr_flags)
    }

    /// The environment for a Delve whose output we read, so that recorded output is not mistaken for Delve's. Options
    /// that the user has set are not changed.
    fn environment_for(&self, output: RecordedOutput) -> Environment {
        let mut flags = self.rr_flags.clone();
        if !flags.iter().any(|flag| RecordedOutput::FLAGS.contains(&flag.as_str())) {
            flags.push(output.flag().into());
        }
        self.environment_with(&flags)
    }

    /// Delve's variables in addition to ours.
    fn environment_with(&self, rr_flags: &[String]) -> Environment {
        let mut environment = Environment::new();
        if !rr_flags.is_empty() {
            environment.insert(FLAGS.into(), rr_flags.join(" "));
        }
        if let Some(folder) = &self.rr_folder {
            let path = std::env::var("PATH").unwrap_or_default();
            environment.insert("PATH".into(), format!("{}:{path}", folder.shown()));
        }
        environment
    }

    /// Delve's arguments: to serve clients at `listen`, or to use this terminal.
    pub fn arguments(&self, listen: Option<&str>) -> Vec<String> {
        let mut arguments = vec!["replay".to_owned()];
        if let Some(listen) = listen {
            let server = ["--headless=true", "--api-version=2", "--accept-multiclient"];
            arguments.push(format!("--listen={listen}"));
            arguments.extend(server.map(str::to_owned));
        }
        arguments.push(self.trace.to_string_lossy().into_owned());
        arguments
    }

    /// The same arguments as a command line for a shell.
    pub fn line(&self, listen: Option<&str>) -> String {
        let mut words = Vec::new();
        if let Some(folder) = &self.rr_folder {
            words.push(format!("PATH={}:\"$PATH\"", quoted(&folder.to_string_lossy())));
        }
        if !self.rr_flags.is_empty() {
            words.push(format!("{FLAGS}={}", quoted(&self.rr_flags.join(" "))));
        }
        words.push(quoted(&self.delve.path.to_string_lossy()));
        words.extend(self.arguments(listen).iter().map(|argument| quoted(argument)));
        words.join(" ")
    }

    fn circumstances(&self, listen: Option<&Listen>) -> Circumstances<'_> {
        Circumstances {
            rr: &self.rr,
            delve: self.delve.version,
            software: self.rr_flags.iter().any(|flag| flag == "-W"),
            listen: listen.copied(),
            allow_perf_events: self.allow_perf_events.clone(),
            // Only a failure needs it: Go is asked for its version.
            install_delve: install_delve_for(&Host::here(), &self.rr),
        }
    }

    fn start(&self, arguments: &[String], streams: Streams) -> Result<SupervisedChild> {
        let output = match streams {
            Streams::Captured => RecordedOutput::LeftOut,
            _ => RecordedOutput::Marked,
        };
        become_subreaper()?;
        let program = for_child(&self.delve.path)?;
        for_child(&self.trace)?;
        let folder = std::env::current_dir().unwrap_or_else(|_| "/".into());
        SupervisedChild::start(
            &Child { program, arguments, folder: &folder, environment: &self.environment_for(output) },
            streams,
        )
    }

    /// Serves clients until a client or a signal to us ends the session. `ready` is called when the trace is open;
    /// `say` prints messages in the meantime.
    ///
    /// # Errors
    /// The failure of Delve or rr, with its cause and the remedy.
    pub fn serve(
        &self,
        listen: &Listen,
        ready: &mut dyn FnMut(&Ready) -> Result<()>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Served> {
        let supervised = self.start(&self.arguments(Some(&listen.to_string())), Streams::Captured)?;
        serve_from(supervised, listen, ready, say, &|end, lines| self.failure(end, lines, Some(listen)))
    }

    /// Runs Delve at this terminal, with these as its first commands.
    ///
    /// # Errors
    /// The same as for [`ReplayPlan::serve`].
    pub fn interact(&self, first: &[String]) -> Result<()> {
        let mut arguments = self.arguments(None);
        // Delve reads them once, when it has opened the trace.
        let mut commands = tempfile::NamedTempFile::new().context("cannot make a file for Delve's first commands")?;
        if !first.is_empty() {
            commands
                .write_all(format!("{}\n", first.join("\n")).as_bytes())
                .context("cannot write Delve's first commands")?;
            arguments.insert(1, format!("--init={}", for_child(commands.path())?));
        }
        arguments.insert(1, ANY_STREAMS.to_owned());
        let supervised = self.start(&arguments, Streams::OursButErrors)?;
        let mut lines = Vec::new();
        let end = loop {
            match supervised.next(NOTICE) {
                Event::Ended(end) => break end,
                Event::Output(line) if line.starts_with(MARK) => {}
                Event::Output(line) => keep(&mut lines, line),
                // Delve handles Ctrl-C itself: it pauses a running program. The terminal has already sent it to
                // Delve.
                Event::Signal { shared: true, .. } | Event::Nothing => {}
                Event::Signal { number, .. } => crate::sys::process::signal(supervised.pid(), number),
            }
        };
        // The last lines may arrive after the end of the process.
        while let Event::Output(line) = supervised.next(Duration::from_millis(100)) {
            keep(&mut lines, line);
        }
        end_descendants(GRACE, &|_| true);
        if end.success() { Ok(()) } else { Err(self.failure(end, &lines, None)) }
    }

    /// Explains a failure from the output of Delve and rr.
    fn failure(&self, end: End, lines: &[String], listen: Option<&Listen>) -> anyhow::Error {
        let circumstances = self.circumstances(listen);
        let Cause { what, hints } = explain(lines, &circumstances);
        let error = Error::failed(what)
            .detail(format!("looked at: `{}`", self.line(listen.map(ToString::to_string).as_deref())))
            .detail(format!("Delve ended with {end}"));
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        let error = if last.is_empty() { error } else { error.detail(format!("last lines:\n{}", last.join("\n"))) };
        hints.into_iter().fold(error, Error::hint).into()
    }
}

type OnReady<'a> = dyn FnMut(&Ready) -> Result<()> + 'a;

/// Asks a Delve that `serve` starts, and ends it. `None` if a signal to us ended it before it was asked.
///
/// # Errors
/// A Delve that does not start, one that is still busy when it is to end, and what the question finds wrong.
pub fn ask<T>(
    question: &mut dyn FnMut(&mut Client) -> Result<T>,
    serve: &mut dyn FnMut(&mut OnReady) -> Result<Served>,
) -> Result<Option<T>> {
    let mut result = None;
    let served = serve(&mut |ready: &Ready| {
        let mut client = Client::connect(&ready.address)?;
        result = Some(question(&mut client));
        // One that is still busy does not listen: it is ended by signals.
        if client.left().is_zero() {
            return Err(Error::failed("Delve is still busy").into());
        }
        client.end();
        Ok(())
    });
    match result {
        Some(result) => result.map(Some),
        None => served.map(|_| None),
    }
}

/// Serves clients from a Delve that was started, until a client or a signal to us ends the session.
fn serve_from(
    supervised: SupervisedChild,
    listen: &Listen,
    ready: &mut dyn FnMut(&Ready) -> Result<()>,
    say: &mut dyn FnMut(&str),
    failure: &dyn Fn(End, &[String]) -> anyhow::Error,
) -> Result<Served> {
    let mut session = Session::new(say);
    let outcome = session.open(&supervised).and_then(|opened| match opened {
        Opened::Ready { address, delve } => {
            let port = Listen::parse(&address).map_or(listen.port(), |listen| listen.port());
            ready(&Ready { address, port, delve, pid: supervised.pid() })?;
            session.ready = true;
            session.until_the_end(&supervised)
        }
        Opened::Ended(end) => Ok(Some(end)),
        Opened::Stopped => Ok(None),
    });
    let ended = session.close(&supervised, outcome.as_ref().is_ok_and(Option::is_some));
    let left = end_descendants(GRACE, &|_| true);
    drop(supervised);
    match outcome? {
        None => {
            said_what_was_left(&left, session.say);
            if ended { Ok(Served::Stopped) } else { Err(Error::failed("Delve had to be killed").into()) }
        }
        Some(end) if session.ready && end.success() => {
            said_what_was_left(&left, session.say);
            Ok(Served::ByClient)
        }
        Some(end) => Err(failure(end, &session.lines)),
    }
}

fn said_what_was_left(left: &[ProcessInfo], say: &mut dyn FnMut(&str)) {
    if !left.is_empty() {
        let names: Vec<String> = left.iter().map(|relative| format!("{} ({})", relative.name, relative.pid)).collect();
        say(&format!("ended processes that Delve left behind: {}", names.join(", ")));
    }
}

fn keep(lines: &mut Vec<String>, line: String) {
    // A replayed program may print without limit. The relevant lines come first or last, so those in the middle are
    // dropped.
    if lines.len() == 400 {
        lines.drain(100..200);
    }
    lines.push(line);
}

enum Opened {
    /// The trace is open, and clients can connect at the address.
    Ready {
        address: String,
        delve: String,
    },
    Ended(End),
    Stopped,
}

/// A serving Delve, from its start to its end.
struct Session<'a> {
    say: &'a mut dyn FnMut(&str),
    lines: Vec<String>,
    ready: bool,
}

impl<'a> Session<'a> {
    fn new(say: &'a mut dyn FnMut(&str)) -> Self {
        Self { say, lines: Vec::new(), ready: false }
    }

    fn heard(&mut self, line: String) {
        (self.say)(&line);
        keep(&mut self.lines, line);
    }

    /// Waits until Delve responds or ends. There is no time limit, because opening a large program takes long.
    fn open(&mut self, supervised: &SupervisedChild) -> Result<Opened> {
        let mut address: Option<String> = None;
        let mut question: Option<rpc::Request> = None;
        let mut said = Instant::now();
        loop {
            match supervised.next(Duration::from_millis(50)) {
                Event::Output(line) => match line.strip_prefix("API server listening at: ") {
                    Some(listens) => address = Some(listens.to_owned()),
                    None => self.heard(line),
                },
                Event::Ended(end) => {
                    while let Event::Output(line) = supervised.next(Duration::from_millis(100)) {
                        self.heard(line);
                    }
                    return Ok(Opened::Ended(end));
                }
                Event::Signal { .. } => return Ok(Opened::Stopped),
                Event::Nothing => {}
            }
            // If connecting fails, Delve is about to end and prints the reason.
            if question.is_none() {
                question = address.as_deref().and_then(|address| rpc::Request::ask(address).ok());
            }
            if let Some(question) = &mut question
                && let Some(delve) = question.answer()?
            {
                return Ok(Opened::Ready { address: question.address.clone(), delve });
            }
            if said.elapsed() > NOTICE {
                (self.say)("Delve is still opening the trace; Ctrl-C ends it");
                said = Instant::now();
            }
        }
    }

    /// Waits until Delve ends; `None` if a signal arrived.
    fn until_the_end(&mut self, supervised: &SupervisedChild) -> Result<Option<End>> {
        loop {
            match supervised.next(NOTICE) {
                Event::Output(line) => self.heard(line),
                Event::Ended(end) => return Ok(Some(end)),
                Event::Signal { .. } => return Ok(None),
                Event::Nothing => {}
            }
        }
    }

    /// Ends Delve, which ends its rr on SIGINT. Returns false if Delve had to be killed.
    fn close(&mut self, supervised: &SupervisedChild, ended: bool) -> bool {
        if ended {
            return true;
        }
        for number in [INTERRUPT, TERMINATE] {
            crate::sys::process::signal(supervised.pid(), number);
            let began = Instant::now();
            while began.elapsed() < GRACE {
                match supervised.next(Duration::from_millis(50)) {
                    Event::Ended(_) => return true,
                    Event::Output(line) => self.heard(line),
                    // A second signal: continue with the next stronger one.
                    Event::Signal { .. } => break,
                    Event::Nothing => {}
                }
            }
        }
        false
    }
}
