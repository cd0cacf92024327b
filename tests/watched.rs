//! Processes that go on while a test looks at them.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::{command, kill};

/// How long anything may take before a test gives up. The slowest waits for a log line that comes
/// after ten seconds.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long a stream may stay open when the process has ended: one that outlives it may have inherited it,
/// and whether one does is not asked here.
const CLOSING: Duration = Duration::from_secs(10);

/// All processes of this machine, each with its command line, spaces between the words.
pub fn processes() -> impl Iterator<Item = (u32, String)> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    })
}

/// The command lines of those that name a folder or another word.
pub fn processes_with(word: &str) -> Vec<String> {
    processes().map(|(_, line)| line).filter(|line| line.contains(word)).collect()
}

/// One whose words are read as they come.
pub struct Watched {
    pub child: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Watched {
    /// Starts a program, and reads those of its streams that are piped.
    pub fn start(program: &mut Command) -> Self {
        let child = program.spawn().unwrap();
        let mut watched = Self { child, said: Arc::default(), readers: Vec::new() };
        if let Some(stdout) = watched.child.stdout.take() {
            watched.read(stdout);
        }
        if let Some(stderr) = watched.child.stderr.take() {
            watched.read(stderr);
        }
        watched
    }

    /// Starts a program in a session of its own whose terminal its streams are. What is written to the file
    /// is what somebody types there.
    pub fn on_a_terminal(program: &Command) -> (Self, File) {
        Self::on_a_terminal_of(program, 0)
    }

    /// The same, with a terminal of so many columns; 0 is one that does not know.
    pub fn on_a_terminal_of(program: &Command, columns: u16) -> (Self, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = || File::options().read(true).write(true).open(&name).unwrap();
        let mut session = command("setsid");
        session.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        program.get_envs().for_each(|(name, value)| {
            session.env(name, value.unwrap_or_default());
        });
        program.get_current_dir().map(|folder| session.current_dir(folder));
        let mut watched = Self::start(session.stdin(terminal()).stdout(terminal()).stderr(terminal()));
        let keys = File::from(master);
        watched.read(keys.try_clone().unwrap());
        (watched, keys)
    }

    /// Reads another stream that it writes to.
    pub fn read(&mut self, mut stream: impl Read + Send + 'static) {
        let said = Arc::clone(&self.said);
        self.readers.push(thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                said.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        }));
    }

    /// What it has said so far on all streams.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said all of these.
    #[track_caller]
    pub fn until(&mut self, parts: &[&str]) {
        let began = Instant::now();
        loop {
            // In this order: what it said before it ended is all that it will have said.
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                self.hear_all();
            }
            let said = self.said();
            if parts.iter().all(|part| said.contains(part)) {
                return;
            }
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "no {parts:?} ({ended:?}) in:\n{said}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it ends, and until all that it said was read.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end:\n{}", self.said());
            }
            thread::sleep(Duration::from_millis(20));
        };
        self.hear_all();
        status
    }

    fn hear_all(&self) {
        let began = Instant::now();
        while !self.readers.iter().all(JoinHandle::is_finished) && began.elapsed() < CLOSING {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Starts a program and stops it (SIGSTOP) in the middle of what is to be seen. A loaded machine may run it
/// to its end before this thread looks again: then it is started anew.
#[track_caller]
pub fn stopped_at_work<T>(mut start: impl FnMut() -> Child, mut seen: impl FnMut() -> Option<T>) -> (Child, T) {
    for _ in 0..20 {
        let mut child = start();
        while seen().is_none() && child.try_wait().unwrap().is_none() {}
        if child.try_wait().unwrap().is_some() {
            continue;
        }
        kill("STOP", child.id());
        // Stopped means all of its threads. It is left to be waited for.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(Pid::from_child(&child)), options).unwrap().unwrap();
        match seen() {
            Some(found) if status.stopped() => return (child, found),
            _ => {
                kill("CONT", child.id());
                child.wait().unwrap();
            }
        }
    }
    panic!("it always ended before it was seen at work");
}
