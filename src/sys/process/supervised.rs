//! A supervised child process: its output, its end and the signals to us arrive as a sequence of events. Descendants
//! that it leaves behind are supervised too.
//!
//! A terminal sends Ctrl-C to every process of its foreground group, so a child in our group gets the signal without
//! us. After [`SupervisedChild::shield`] only we get it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpgrp, getpid, getsid, kill_process, set_child_subreaper, setpgid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::backend::Handle;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::{Child, End, SignalGuard, absolute_folders, look_up};

/// How long a helper process may take to exit after the process that it belongs to. Example: the program that rr
/// replays.
const GOING: Duration = Duration::from_millis(500);

/// How long the reader of captured output may take after the last writer has ended.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Where the child's streams are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// To our own streams.
    Ours,
    /// To our own streams, but its stdout goes to our stderr.
    OursWithoutOutput,
    /// To our own streams, but its stderr is captured and also shown.
    OursButErrors,
    /// Stdout and stderr are captured; stdin is empty.
    Captured,
}

/// An event of a supervised child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line of captured output, without its line end.
    Output(String),
    /// A signal to us. `shared` means that the terminal has also sent it to the child.
    Signal { number: i32, shared: bool },
    /// The child has ended.
    Ended(End),
    /// No event within the waiting time.
    Nothing,
}

/// A running child.
pub struct SupervisedChild {
    handle: Arc<duct::Handle>,
    events: Receiver<Event>,
    signals: Handle,
    /// Without it a signal would end us where an earlier child gave its own back.
    _ours: SignalGuard,
    /// The thread that reads captured output.
    reader: Option<thread::JoinHandle<()>>,
    /// `None` if the child has its own process group.
    terminal: Option<Terminal>,
}

impl SupervisedChild {
    /// Starts a child. If we are in the foreground of a terminal, the child shares our process group. Otherwise it
    /// gets its own, and receives signals only from us.
    pub fn start(child: &Child<'_>, streams: Streams) -> Result<Self> {
        let ours = SignalGuard::take()?;
        let mut signals =
            SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
        let closer = signals.handle();
        let terminal = match streams {
            Streams::Captured => None,
            _ => Terminal::foreground(),
        };
        let mut expression = child.plain_expression()?;
        if terminal.is_none() {
            expression = expression.before_spawn(|command| {
                command.process_group(0);
                Ok(())
            });
        }
        let (sender, events) = channel();
        let (expression, reader) = match streams {
            Streams::Ours => (expression, None),
            Streams::OursWithoutOutput => (expression.stdout_to_stderr(), None),
            Streams::OursButErrors => {
                let (reader, writer) = io::pipe().context("cannot make a pipe")?;
                (expression.stderr_file(writer), Some(reader))
            }
            Streams::Captured => {
                let (reader, writer) = io::pipe().context("cannot make a pipe")?;
                let second = writer.try_clone().context("cannot make a pipe")?;
                (expression.stdin_null().stdout_file(writer).stderr_file(second), Some(reader))
            }
        };
        let handle = Arc::new(expression.start().map_err(|error| child.named(error))?);
        // The expression keeps the writing end of the pipe open.
        drop(expression);
        let reader = reader.map(|reader| hear(reader, streams == Streams::OursButErrors, sender.clone()));
        let (watched, ended) = (Arc::clone(&handle), sender.clone());
        thread::spawn(move || {
            let end = watched.wait().map_or(End::Signal(0), |output| End::of(output.status));
            let _ = ended.send(Event::Ended(end));
        });
        let shared = terminal.is_some();
        thread::spawn(move || {
            for origin in signals.forever().filter(|origin| origin.signal != SIGTSTP) {
                let shared = shared && matches!(origin.cause, Cause::Kernel);
                let _ = sender.send(Event::Signal { number: origin.signal, shared });
            }
        });
        Ok(Self { handle, events, signals: closer, _ours: ours, reader, terminal })
    }

    /// Waits up to `within` for the next event.
    pub fn next(&self, within: Duration) -> Event {
        match self.events.recv_timeout(within) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Event::Nothing,
        }
    }

    /// The captured lines that were not given as events, once every process that may write has ended. Waits at most
    /// for [`LAST_LINES`] for them.
    pub fn remaining_output(&self) -> Vec<String> {
        let began = Instant::now();
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && began.elapsed() < LAST_LINES {
            thread::sleep(Duration::from_millis(2));
        }
        let line = |event| match event {
            Event::Output(line) => Some(line),
            Event::Signal { .. } | Event::Ended(_) | Event::Nothing => None,
        };
        self.events.try_iter().filter_map(line).collect()
    }

    pub fn pid(&self) -> i32 {
        self.handle.pids().first().map_or(0, |pid| pid.cast_signed())
    }

    /// Detaches the child from the terminal's Ctrl-C: from now on only we get it. Returns whether this worked; it is
    /// always true for a child with its own process group.
    pub fn detach_from_terminal(&mut self) -> bool {
        let Some(terminal) = &mut self.terminal else { return true };
        // A shell continues a stopped job by its original process group, which we have left. Therefore SIGTSTP is
        // caught.
        self.signals.add_signal(SIGTSTP).is_ok() && terminal.take()
    }

    /// Undoes [`SupervisedChild::shield`].
    pub fn unshield(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.give_back();
        }
    }

    /// Gives the terminal back to a child that was stopped because it used the terminal. Returns whether this was the
    /// case.
    pub fn unshield_if_stopped(&mut self) -> bool {
        let pid = self.pid();
        let stopped = self.terminal.as_ref().is_some_and(|terminal| terminal.helper.is_some())
            && ProcessInfo::read(pid).is_some_and(|relative| relative.state == 'T');
        if stopped {
            self.unshield();
            signal(pid, Signal::CONT.as_raw());
        }
        stopped
    }
}

impl Drop for SupervisedChild {
    fn drop(&mut self) {
        self.signals.close();
        self.unshield();
    }
}

/// Sends each line as an event, and prints it to stderr if `show` is set.
fn hear(reader: impl Read + Send + 'static, show: bool, sender: Sender<Event>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if show {
                let _ = io::stderr().write_all(&line);
            }
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            let _ = sender.send(Event::Output(text));
            line.clear();
        }
    })
}

/// The terminal, while we are in its foreground.
struct Terminal {
    tty: File,
    /// The original foreground process group.
    group: Pid,
    /// The leader of the new process group. It exits when its stdin is closed.
    helper: Option<std::process::Child>,
}

impl Terminal {
    /// The controlling terminal, if our process group is in its foreground.
    fn foreground() -> Option<Self> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let group = getpgrp();
        (tcgetpgrp(&tty).ok()? == group).then_some(Self { tty, group, helper: None })
    }

    /// Moves us into a new process group and makes that the foreground group, so that our old group is in the
    /// background. We may be the leader of the old group, so a helper process leads the new one. The terminal is
    /// handed over before we move, because a background group is stopped if it tries to take the terminal.
    fn take(&mut self) -> bool {
        // A session leader cannot leave its group.
        if self.helper.is_some() || getsid(None).is_ok_and(|session| session == getpid()) {
            return self.helper.is_some();
        }
        let path = absolute_folders(std::env::var_os("PATH"));
        let mut helper = Command::new(look_up("sh", &path).unwrap_or_else(|| "/bin/sh".into()));
        helper.env("PATH", path);
        helper.args(["-c", "trap '' INT QUIT TSTP HUP; echo; read -r _"]).process_group(0);
        helper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut helper) = helper.spawn() else { return false };
        // The helper prints a line when it ignores all signals.
        let ready = helper.stdout.as_mut().is_some_and(|stdout| stdout.read_exact(&mut [0]).is_ok());
        let group = Pid::from_raw(helper.id().cast_signed()).filter(|_| ready);
        let taken =
            group.is_some_and(|group| tcsetpgrp(&self.tty, group).is_ok() && setpgid(None, Some(group)).is_ok());
        self.helper = Some(helper);
        if !taken {
            self.end_helper();
        }
        taken
    }

    fn give_back(&mut self) {
        if self.helper.is_some() {
            // The group may be empty. Then a shell is waiting for us and takes the terminal back itself.
            if tcsetpgrp(&self.tty, self.group).is_ok() {
                let _ = setpgid(None, Some(self.group));
            }
            self.end_helper();
        }
    }

    fn end_helper(&mut self) {
        if let Some(mut helper) = self.helper.take() {
            drop(helper.stdin.take());
            let _ = helper.wait();
        }
    }
}

/// Makes us the reaper of orphaned descendants. Without this, init would adopt them and nobody would end them.
pub fn become_subreaper() -> Result<()> {
    set_child_subreaper(Some(getpid())).context("cannot become the parent of orphaned processes")
}

/// A descendant of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    pub pid: i32,
    pub parent: i32,
    pub name: String,
    state: char,
}

impl ProcessInfo {
    fn read(pid: i32) -> Option<Self> {
        // The name is in parentheses and may contain any byte, so search for the last parenthesis.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        let (head, tail) = stat.rsplit_once(')')?;
        let mut fields = tail.split_ascii_whitespace();
        let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse().ok()?);
        Some(Self { pid, parent, name: head.split_once('(')?.1.into(), state })
    }
}

/// All living descendants, each after its parent.
pub fn descendants() -> Vec<ProcessInfo> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut children: BTreeMap<i32, Vec<ProcessInfo>> = BTreeMap::new();
    for relative in pids.filter_map(ProcessInfo::read).filter(|relative| !['Z', 'X'].contains(&relative.state)) {
        children.entry(relative.parent).or_default().push(relative);
    }
    let mut found = children.remove(&getpid().as_raw_nonzero().get()).unwrap_or_default();
    let mut next = 0;
    while let Some(relative) = found.get(next) {
        found.extend(children.remove(&relative.pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Sends a signal by its number. It is not an error if the process has ended.
pub fn signal(pid: i32, number: i32) {
    if let (Some(pid), Some(signal)) = (Pid::from_raw(pid), Signal::from_named_raw(number)) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends the descendants that are `ours`: SIGTERM, then SIGKILL for those that still live after `within`. Returns those
/// that had to be signalled; processes that were just exiting are not counted.
pub fn end_descendants(within: Duration, ours: &dyn Fn(&ProcessInfo) -> bool) -> Vec<ProcessInfo> {
    let left = remaining_after(GOING, ours);
    left.iter().for_each(|relative| signal(relative.pid, SIGTERM));
    let mut remaining = remaining_after(within, ours);
    while !remaining.is_empty() {
        remaining.iter().for_each(|relative| signal(relative.pid, Signal::KILL.as_raw()));
        thread::sleep(Duration::from_millis(20));
        remaining = remaining_after(Duration::ZERO, ours);
    }
    left
}

/// The descendants that are `ours` and still live after `within`. Returns early if there are none.
fn remaining_after(within: Duration, ours: &dyn Fn(&ProcessInfo) -> bool) -> Vec<ProcessInfo> {
    let began = Instant::now();
    loop {
        let mut remaining = descendants();
        remaining.retain(ours);
        if remaining.is_empty() || began.elapsed() > within {
            return remaining;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
