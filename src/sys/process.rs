//! Runs child processes and reports how they ended. The only module that uses duct and handles signals.

mod supervised;
mod search;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::error::{Error, Shown};
use crate::words::quoted;

pub use search::search_path;
pub use supervised::{
    Event, ProcessInfo, Streams, SupervisedChild, become_subreaper, descendants, end_descendants, signal,
};

/// Environment variables of a child, in addition to ours.
pub type Environment = BTreeMap<String, String>;

/// The time between SIGTERM and SIGKILL for a process group.
const GRACE: Duration = Duration::from_secs(5);

/// How long writes to a pipe gather before they are read: a pipe holds 64 KiB, so 32 MB a second come through.
const GATHER: Duration = Duration::from_millis(2);

/// The signals that end us and our children.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Guards the signals that we handle. signal-hook does not restore a signal's default action when the handler is
/// removed; without this guard, Ctrl-C would have no effect after the last holder is dropped.
#[derive(Debug)]
struct SignalGuard(Arc<AtomicBool>);

static HOLDERS: AtomicUsize = AtomicUsize::new(0);

impl SignalGuard {
    fn take() -> Result<Self> {
        static GIVEN_BACK: OnceLock<Arc<AtomicBool>> = OnceLock::new();
        let given_back = match GIVEN_BACK.get() {
            Some(flag) => Arc::clone(flag),
            None => {
                let flag = Arc::new(AtomicBool::new(false));
                for signal in ENDING {
                    flag::register_conditional_default(signal, Arc::clone(&flag))
                        .context("cannot watch for signals")?;
                }
                Arc::clone(GIVEN_BACK.get_or_init(|| flag))
            }
        };
        HOLDERS.fetch_add(1, Ordering::SeqCst);
        given_back.store(false, Ordering::SeqCst);
        Ok(Self(given_back))
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        if HOLDERS.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
}

impl End {
    fn of(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Code(code),
            None => Self::Signal(status.signal().unwrap_or_default()),
        }
    }

    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => match signal_hook::low_level::signal_name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
        }
    }
}

/// A program with its arguments and its working folder.
#[derive(Clone, Debug)]
pub struct Child<'a> {
    pub program: &'a str,
    pub arguments: &'a [String],
    pub folder: &'a Path,
    pub environment: &'a Environment,
}

/// What hears of each program that is started.
static WATCHER: OnceLock<fn(&str)> = OnceLock::new();

/// Tells of each program that is started from now on, as a shell would be told to start it. The first call counts.
pub fn watch_starts(watcher: fn(&str)) {
    let _ = WATCHER.set(watcher);
}

fn tell_start(program: &OsStr, arguments: &[impl AsRef<str>]) {
    if let Some(watcher) = WATCHER.get() {
        let program = program.shown();
        let words = [program.as_str()].into_iter().chain(arguments.iter().map(AsRef::as_ref));
        watcher(&words.map(quoted).collect::<Vec<_>>().join(" "));
    }
}

impl Child<'_> {
    fn expression(&self) -> Result<duct::Expression> {
        Ok(self.plain_expression()?.stdin_null().stderr_to_stdout())
    }

    /// The same expression, with our own streams.
    fn plain_expression(&self) -> Result<duct::Expression> {
        let path = self.environment.get("PATH").map(OsString::from);
        let path = absolute_folders(path.or_else(|| search_path().map(OsStr::to_owned)));
        let program = match self.program.contains('/') {
            true => self.program.into(),
            false => look_up(self.program, &path).ok_or_else(|| self.named(rustix::io::Errno::NOENT.into()))?,
        };
        tell_start(program.as_os_str(), self.arguments);
        let expression = duct::cmd(program, self.arguments).dir(self.folder).unchecked();
        let expression =
            self.environment.iter().fold(expression, |expression, (name, value)| expression.env(name, value));
        Ok(expression.env("PATH", path))
    }

    /// Adds the program's name: duct only reports "No such file or directory".
    fn named(&self, error: io::Error) -> anyhow::Error {
        let text = format!("cannot run `{}`: {error}", self.program);
        match error.kind() {
            io::ErrorKind::NotFound if !self.program.contains('/') => {
                Error::failed(text).hint(format!("install `{}`, or put its folder in PATH", self.program)).into()
            }
            io::ErrorKind::PermissionDenied => {
                Error::failed(text).hint(format!("make it executable: `chmod +x {}`", self.program)).into()
            }
            _ => Error::failed(text).into(),
        }
    }

    /// Runs the child to its end and returns the output of both streams.
    pub fn capture(&self) -> Result<(End, Vec<u8>)> {
        let output = self.expression()?.stdout_capture().run().map_err(|error| self.named(error))?;
        Ok((End::of(output.status), output.stdout))
    }

    /// Runs the child in its own process group and passes its output to `see` as it arrives. SIGINT, SIGTERM or
    /// SIGHUP to us ends the group: with SIGTERM, then with SIGKILL after five seconds or on a second signal. Returns
    /// the signal that ended the run, if any.
    pub fn stream(&self, see: impl FnMut(&[u8]) -> Result<()>) -> Result<(End, Option<i32>)> {
        self.stream_of_group(|_| Ok(()), see)
    }

    /// As [`Child::stream`], with all of its output at its end.
    pub fn gather(&self) -> Result<(End, Option<i32>, Vec<u8>)> {
        let mut said = Vec::new();
        let (end, signal) = self.stream(|bytes| {
            said.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok((end, signal, said))
    }

    /// As [`Child::stream`], with the two streams apart.
    pub fn stream_both(&self, mut see: impl FnMut(Stream, &[u8]) -> Result<()>) -> Result<(End, Option<i32>)> {
        let _ours = SignalGuard::take()?;
        let mut signals = Signals::new(ENDING).context("cannot watch for signals")?;
        let (output, to_output) = io::pipe().context("cannot make a pipe")?;
        let (error, to_error) = io::pipe().context("cannot make a pipe")?;
        // The writing ends are ours for as long as the expression and the handle live.
        let handle = {
            let expression = self.plain_expression()?.stdin_null().stdout_file(to_output).stderr_file(to_error);
            let grouped = expression.before_spawn(|command| {
                command.process_group(0);
                Ok(())
            });
            grouped.start().map_err(|error| self.named(error))?
        };
        let group = handle.pids().first().and_then(|&pid| Pid::from_raw(pid.cast_signed()));
        let received = AtomicI32::new(0);
        let closer = signals.handle();
        let (sender, chunks) = std::sync::mpsc::sync_channel::<(Stream, Vec<u8>)>(64);
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| {
                for signal in signals.forever() {
                    received.store(signal, Ordering::Relaxed);
                    group.map(|group| kill_process_group(group, Signal::KILL));
                }
            });
            for (stream, mut from) in [(Stream::Output, output), (Stream::Error, error)] {
                let sender = sender.clone();
                scope.spawn(move || {
                    let _ = copy(&mut from, &mut |bytes: &[u8]| {
                        sender.send((stream, bytes.to_vec()))?;
                        // A program that writes line by line would wake us, and wait for that, at each of them.
                        std::thread::sleep(GATHER);
                        Ok(())
                    });
                });
            }
            drop(sender);
            let waiter = scope.spawn(move || handle.wait().map(|output| output.status));
            let seen = chunks.iter().try_for_each(|(stream, bytes)| see(stream, &bytes));
            drop(chunks);
            if let Some(group) = group.filter(|_| seen.is_err()) {
                end_group(group);
            }
            closer.close();
            let status = waiter.join().unwrap_or_else(|_| Err(io::Error::other("waiting for it failed")));
            seen.and_then(|()| status.map_err(|error| self.named(error)))
        });
        let signal = received.load(Ordering::Relaxed);
        Ok((End::of(seen?), (signal != 0).then_some(signal)))
    }

    /// Like [`Child::stream`]; `started` is called with the id of the process group.
    pub fn stream_of_group(
        &self,
        started: impl FnOnce(i32) -> Result<()>,
        mut see: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<(End, Option<i32>)> {
        let _ours = SignalGuard::take()?;
        let mut signals = Signals::new(ENDING).context("cannot watch for signals")?;
        let expression = self.expression()?.before_spawn(|command| {
            command.process_group(0);
            Ok(())
        });
        let mut reader = expression.reader().map_err(|error| self.named(error))?;
        let group = reader.pids().first().and_then(|&pid| Pid::from_raw(pid.cast_signed()));
        let received = AtomicI32::new(0);
        let closer = signals.handle();
        let copied = std::thread::scope(|scope| {
            scope.spawn(|| {
                for (count, signal) in (0..).zip(signals.forever()) {
                    received.store(signal, Ordering::Relaxed);
                    let Some(group) = group else { continue };
                    let _ = kill_process_group(group, if count == 0 { Signal::TERM } else { Signal::KILL });
                    if count == 0 {
                        std::thread::spawn(move || {
                            std::thread::sleep(GRACE);
                            let _ = kill_process_group(group, Signal::KILL);
                        });
                    }
                }
            });
            let copied = group.map_or(Ok(()), |group| started(group.as_raw_nonzero().get()));
            let copied = copied.and_then(|()| copy(&mut reader, &mut see));
            // Whatever stopped the copying, no process of the group may outlive us.
            if let Some(group) = group.filter(|_| copied.is_err() || received.load(Ordering::Relaxed) != 0) {
                end_group(group);
            }
            closer.close();
            copied
        });
        copied?;
        let status = reader.try_wait().map_err(|error| self.named(error))?.map(|output| output.status);
        let signal = received.load(Ordering::Relaxed);
        Ok((status.map_or(End::Signal(0), End::of), (signal != 0).then_some(signal)))
    }
}

/// One of a child's output streams.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Output,
    Error,
}

/// Keeps the absolute folders of a PATH, for our own searches and for children. `.`, an empty element and a relative
/// folder mean the current folder. For make, its scripts and Go that is the checkout, so anybody who can write there
/// could choose the programs that run.
fn absolute_folders(path: Option<OsString>) -> OsString {
    const STANDARD: &str = "/usr/local/bin:/usr/bin:/bin";
    let absolute = path.iter().flat_map(env::split_paths).filter(|folder| folder.is_absolute());
    // Joining fails only if a folder's name contains a colon, which no element of a PATH can.
    let joined = env::join_paths(absolute).unwrap_or_default();
    // An empty PATH also means the current folder.
    if joined.is_empty() { STANDARD.into() } else { joined }
}

/// Finds a program by a name without a slash.
fn look_up(name: &str, path: &OsStr) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| path.metadata().is_ok_and(|seen| seen.is_file() && seen.permissions().mode() & 0o111 != 0);
    env::split_paths(path).map(|folder| folder.join(name)).find(is_program)
}

/// Converts a path to text for a child's arguments or environment.
///
/// # Errors
/// A path that is not UTF-8: a conversion would change it.
pub fn for_child(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::failed(format!("cannot pass `{}` to another program: its name is not UTF-8", path.shown()))
            .hint("rename the folder, or choose another one")
            .into()
    })
}

/// An environment with a PATH that never uses the current folder.
fn with_search_path(environment: &BTreeMap<String, OsString>) -> BTreeMap<String, OsString> {
    let mut environment = environment.clone();
    environment.insert("PATH".into(), absolute_folders(environment.get("PATH").cloned()));
    environment
}

/// The result of a short command.
#[derive(Clone, Debug)]
pub struct Answer {
    pub end: End,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { end: End::of(output.status), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// Runs a program with only this environment and without a terminal, and returns its output. Returns `None` if it
/// took longer than `within`; its process group is then killed.
///
/// # Errors
/// A program that cannot be started.
pub fn ask(
    program: &Path,
    arguments: &[&str],
    environment: &BTreeMap<String, OsString>,
    within: Duration,
) -> io::Result<Option<Answer>> {
    tell_start(program.as_os_str(), arguments);
    let expression = duct::cmd(program, arguments)
        .full_env(with_search_path(environment))
        .stdin_null()
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        });
    let handle = expression.start()?;
    if let Some(output) = handle.wait_timeout(within)? {
        return Ok(Some(Answer::of(output)));
    }
    for pid in handle.pids() {
        if let Some(group) = Pid::from_raw(pid.cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let _ = handle.wait();
    Ok(None)
}

/// Runs a program at our terminal with only this environment. Its stdout goes to our stderr.
pub fn attend(program: &Path, arguments: &[&str], environment: &BTreeMap<String, OsString>) -> io::Result<End> {
    tell_start(program.as_os_str(), arguments);
    let expression =
        duct::cmd(program, arguments).full_env(with_search_path(environment)).stdout_to_stderr().unchecked();
    Ok(End::of(expression.run()?.status))
}

/// Shows a text in the user's pager, `PAGER` or else `less`, on our terminal. Says whether there is one.
pub fn page(text: &str) -> Result<bool> {
    let told = env::var("PAGER").unwrap_or_else(|_| "less".into());
    let words: Vec<&str> = told.split_whitespace().collect();
    let Some((program, arguments)) = words.split_first() else { return Ok(false) };
    let path = absolute_folders(search_path().map(OsStr::to_owned));
    let program = if program.contains('/') { Some((*program).into()) } else { look_up(program, &path) };
    let Some(program) = program else { return Ok(false) };
    // As git has it: leave at once where all fits, keep colours, leave the text where it is.
    let less = env::var("LESS").unwrap_or_else(|_| "FRX".into());
    let shown = duct::cmd(program, arguments).env("LESS", less).stdin_bytes(text).unchecked().run();
    shown.context("cannot run the pager that PAGER names")?;
    Ok(true)
}

fn copy(reader: &mut impl Read, see: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => see(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read what the child prints"),
        }
    }
}

/// Sends SIGTERM to the members of a group, and SIGKILL after the grace time.
fn end_group(group: Pid) {
    let _ = kill_process_group(group, Signal::TERM);
    for _ in 0..GRACE.as_millis() / 50 {
        if test_kill_process_group(group).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = kill_process_group(group, Signal::KILL);
}

/// A termination signal, recorded until the code can handle it.
#[derive(Debug)]
pub struct Interrupt {
    received: Arc<AtomicUsize>,
    _ours: SignalGuard,
}

impl Interrupt {
    /// From now on no signal ends us, however many arrive. For code that runs children, which must be ended first.
    pub fn hold() -> Result<Self> {
        let (received, ours) = (Arc::new(AtomicUsize::new(0)), SignalGuard::take()?);
        for signal in ENDING {
            let number = signal.cast_unsigned() as usize;
            flag::register_usize(signal, Arc::clone(&received), number).context("cannot watch for signals")?;
        }
        Ok(Self { received, _ours: ours })
    }

    /// Like [`Interrupt::hold`], but a second signal ends us at once.
    pub fn watch() -> Result<Self> {
        for signal in ENDING {
            let again = Arc::new(AtomicBool::new(false));
            // The order matters: the handler of the first signal enables the one that ends us on the second signal.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))
                .and_then(|_| flag::register(signal, again))
                .context("cannot watch for signals")?;
        }
        Self::hold()
    }

    /// Whether a signal has arrived.
    pub fn came(&self) -> bool {
        self.received.load(Ordering::Relaxed) != 0
    }

    /// # Errors
    /// A signal has arrived. The error states the `outcome` of the interrupted work.
    pub fn check(&self, outcome: &str) -> Result<()> {
        match self.received.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => {
                let end = End::Signal(i32::try_from(signal).unwrap_or_default());
                Err(Error::interrupted(format!("interrupted by {end}: {outcome}")).into())
            }
        }
    }

    /// Replaces an error that occurred after a signal arrived, because the signal caused it. The new error states the
    /// `outcome` of the interrupted work.
    pub fn instead<T>(&self, result: Result<T>, outcome: &str) -> Result<T> {
        result.or_else(|error| self.check(outcome).and(Err(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str, within: Duration) -> Option<Answer> {
        let environment = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into()), ("NAME".into(), "value".into())]);
        ask(Path::new("/bin/sh"), &["-c", script], &environment, within).unwrap()
    }

    #[test]
    fn ask_returns_both_streams_and_the_end_in_just_the_environment_given() {
        let answer = shell("echo $NAME $HOME; echo no >&2; exit 3", Duration::from_secs(20)).unwrap();
        assert_eq!((answer.end, answer.stdout.as_str(), answer.stderr.as_str()), (End::Code(3), "value\n", "no\n"));
    }

    #[test]
    fn absolute_folders_leave_the_current_folder_out() {
        let kept = |path: &str| absolute_folders(Some(path.into())).into_string().unwrap();
        assert_eq!(kept(".:/usr/bin::bin:./x:/bin:"), "/usr/bin:/bin");
        assert_eq!(kept("."), "/usr/local/bin:/usr/bin:/bin");
        assert_eq!(absolute_folders(None), "/usr/local/bin:/usr/bin:/bin");
    }

    #[test]
    fn ask_ends_a_whole_group_that_takes_too_long() {
        let began = Instant::now();
        assert!(shell("sleep 20 & sleep 20", Duration::from_millis(100)).is_none());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
