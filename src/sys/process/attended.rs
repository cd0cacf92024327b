//! A child that is stayed with: what it says, how it ends, and each signal to us as one event after
//! the other; and whatever it leaves behind.
//!
//! A terminal sends Ctrl-C to every process of its foreground group, so that a child that shares the
//! terminal gets it without us. [`Attended::shield`] changes that: from then on it reaches us alone.

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

use super::{Child, End, absolute_folders, look_up};

/// How long a process may take to go with the one that it belongs to, as the program that rr replays does.
const GOING: Duration = Duration::from_millis(500);

/// Where the streams of a child lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// To our own.
    Ours,
    /// To our own, but what it prints goes where our errors go.
    OursWithoutOutput,
    /// To our own, but for the errors, which are heard and shown.
    OursButErrors,
    /// What it prints is heard, and nothing is typed.
    Heard,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line that the child printed, without its end.
    Said(String),
    /// A signal to us. The terminal has sent it to the child too if that shares its foreground.
    Signal { number: i32, shared: bool },
    /// The child has ended.
    Ended(End),
    /// Nothing, for as long as was waited.
    Nothing,
}

/// A child that runs.
pub struct Attended {
    handle: Arc<duct::Handle>,
    events: Receiver<Event>,
    signals: Handle,
    /// Nothing where the child has a process group of its own.
    terminal: Option<Terminal>,
}

impl Attended {
    /// Starts a child. It shares our process group where the terminal sends its signals to that, and
    /// has one of its own otherwise, so that it gets a signal only from us.
    pub fn start(child: &Child<'_>, streams: Streams) -> Result<Self> {
        let mut signals =
            SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
        let closer = signals.handle();
        let terminal = match streams {
            Streams::Heard => None,
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
            Streams::Heard => {
                let (reader, writer) = io::pipe().context("cannot make a pipe")?;
                let second = writer.try_clone().context("cannot make a pipe")?;
                (expression.stdin_null().stdout_file(writer).stderr_file(second), Some(reader))
            }
        };
        let handle = Arc::new(expression.start().map_err(|error| child.named(error))?);
        // The writing end is ours for as long as the expression lives.
        drop(expression);
        if let Some(reader) = reader {
            hear(reader, streams == Streams::OursButErrors, sender.clone());
        }
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
        Ok(Self { handle, events, signals: closer, terminal })
    }

    /// What happens next, if anything does in that time.
    pub fn next(&self, within: Duration) -> Event {
        match self.events.recv_timeout(within) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Event::Nothing,
        }
    }

    pub fn pid(&self) -> i32 {
        self.handle.pids().first().map_or(0, |pid| pid.cast_signed())
    }

    /// From now on the terminal's Ctrl-C reaches us and not the child. Says whether it is so, and it
    /// always is where the child has a process group of its own.
    pub fn shield(&mut self) -> bool {
        let Some(terminal) = &mut self.terminal else { return true };
        // Whoever started us would wake the group that we have left, and not us.
        self.signals.add_signal(SIGTSTP).is_ok() && terminal.take()
    }

    /// Undoes [`Attended::shield`].
    pub fn unshield(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.give_back();
        }
    }

    /// Gives the terminal back to a child that was stopped because it wanted it. Says whether it was.
    pub fn unshield_if_stopped(&mut self) -> bool {
        let pid = self.pid();
        let stopped = self.terminal.as_ref().is_some_and(|terminal| terminal.helper.is_some())
            && Relative::read(pid).is_some_and(|relative| relative.state == 'T');
        if stopped {
            self.unshield();
            signal(pid, Signal::CONT.as_raw());
        }
        stopped
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.signals.close();
        self.unshield();
    }
}

/// Hands on each line, and shows it as it comes if that is wanted.
fn hear(reader: impl Read + Send + 'static, show: bool, sender: Sender<Event>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if show {
                let _ = io::stderr().write_all(&line);
            }
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            let _ = sender.send(Event::Said(text));
            line.clear();
        }
    });
}

/// The terminal that we are in the foreground of.
struct Terminal {
    tty: File,
    /// The group that it was given with.
    group: Pid,
    /// The leader of the group that we went into. It waits for the end of its input.
    helper: Option<std::process::Child>,
}

impl Terminal {
    /// Ours, if its signals go to our process group.
    fn foreground() -> Option<Self> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        let group = getpgrp();
        (tcgetpgrp(&tty).ok()? == group).then_some(Self { tty, group, helper: None })
    }

    /// Goes into another group and makes that the foreground, so that the one we leave is in the
    /// background. We may lead that one, so somebody else has to lead the other; and the terminal is
    /// handed over first, since a group in the background is stopped for trying.
    fn take(&mut self) -> bool {
        // The leader of a session cannot leave its group.
        if self.helper.is_some() || getsid(None).is_ok_and(|session| session == getpid()) {
            return self.helper.is_some();
        }
        let path = absolute_folders(std::env::var_os("PATH"));
        let mut helper = Command::new(look_up("sh", &path).unwrap_or_else(|| "/bin/sh".into()));
        helper.env("PATH", path);
        helper.args(["-c", "trap '' INT QUIT TSTP HUP; echo; read -r _"]).process_group(0);
        helper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut helper) = helper.spawn() else { return false };
        // It says a word once no signal can end it.
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
            // The group may be empty: then a shell waits for us that takes the terminal by itself.
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

/// From now on, what a child of ours leaves behind is ours. Without it an orphan would be the
/// system's, and nobody's to end.
pub fn adopt() -> Result<()> {
    set_child_subreaper(Some(getpid())).context("cannot take charge of what the program leaves behind")
}

/// A process that we started, or that one of those started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relative {
    pub pid: i32,
    pub parent: i32,
    pub name: String,
    state: char,
}

impl Relative {
    fn read(pid: i32) -> Option<Self> {
        // The name is in parentheses and may hold any byte, so that the last one counts.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        let (head, tail) = stat.rsplit_once(')')?;
        let mut fields = tail.split_ascii_whitespace();
        let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse().ok()?);
        Some(Self { pid, parent, name: head.split_once('(')?.1.into(), state })
    }
}

/// All that live, each after its parent.
pub fn descendants() -> Vec<Relative> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut children: BTreeMap<i32, Vec<Relative>> = BTreeMap::new();
    for relative in pids.filter_map(Relative::read).filter(|relative| !['Z', 'X'].contains(&relative.state)) {
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

/// Sends a signal by its number. A process that is gone is no error.
pub fn signal(pid: i32, number: i32) {
    if let (Some(pid), Some(signal)) = (Pid::from_raw(pid), Signal::from_named_raw(number)) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends all that is left of what we started: SIGTERM, and SIGKILL for those that remain after that
/// time. Returns what there was beyond those that were about to go.
pub fn end_descendants(within: Duration) -> Vec<Relative> {
    let left = remaining_after(GOING);
    left.iter().for_each(|relative| signal(relative.pid, SIGTERM));
    let mut remaining = remaining_after(within);
    while !remaining.is_empty() {
        remaining.iter().for_each(|relative| signal(relative.pid, Signal::KILL.as_raw()));
        thread::sleep(Duration::from_millis(20));
        remaining = descendants();
    }
    left
}

/// Those that still live after that time, or nothing as soon as none does.
fn remaining_after(within: Duration) -> Vec<Relative> {
    let began = Instant::now();
    loop {
        let remaining = descendants();
        if remaining.is_empty() || began.elapsed() > within {
            return remaining;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
