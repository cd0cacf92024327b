//! Runs a program under ptrace(2) and stops it at each system call that changes something below the given
//! folders: before the kernel sees the call, and after it. Whoever looks on may let the call happen, make
//! it fail, or kill the program there. Threads and child processes are followed.
//!
//! `nix` offers ptrace without unsafe code. The registers differ between processors (`registers.rs`), and
//! `calls.rs` says which calls change something and which files they name.

mod calls;
mod registers;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

pub use calls::{Call, Kind};
use registers::Registers;

/// How long a traced command may take. The slowest takes less than a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// The place of a stop: before the kernel carries out the call, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Before,
    After,
}

/// What becomes of the call, or of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Continue,
    /// The call does not happen and returns this error number. Only before the call.
    Fail(i32),
    /// SIGKILL to the program and all that it started. Before the call: it does not happen.
    Kill,
}

/// How a traced program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; nothing where a signal ended it.
    pub code: Option<i32>,
    /// Whether it was killed since it did not end by itself.
    pub hung: bool,
    pub stdout: String,
    pub stderr: String,
}

/// A program under trace.
struct Tracee<'a> {
    below: &'a [&'a Path],
    main: Pid,
    running: HashMap<Pid, Thread>,
    calls: usize,
    look: &'a mut dyn FnMut(Moment, &Call) -> Act,
}

/// A thread of it. A thread that has been stopped before a call is inside that call until its next stop.
#[derive(Default)]
struct Thread {
    inside: Option<Inside>,
    /// Whether calls are looked at: from the program's exec on.
    started: bool,
}

struct Inside {
    call: Option<Call>,
    fails: Option<(i32, Registers)>,
}

/// Whether this machine lets us trace, and why not.
pub fn available() -> Result<(), String> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Err("the tracer knows the registers of x86_64 and aarch64 only".into());
    }
    let folder = std::env::temp_dir();
    match trace(Command::new("true").current_dir(&folder), &folder, &[&folder], &mut |_, _| Act::Continue) {
        Ok(Ended { code: Some(0), .. }) => Ok(()),
        Ok(ended) => Err(format!("a traced `true` ended with {:?}", ended.code)),
        Err(error) => Err(format!("this machine forbids ptrace: {error}")),
    }
}

/// Runs `command` to its end. Calls that change something in one of the folders `below` are shown to
/// `look`. The program's output goes to files in `outside`, since a full pipe would stop it.
pub fn trace(
    command: &Command,
    outside: &Path,
    below: &[&Path],
    look: &mut dyn FnMut(Moment, &Call) -> Act,
) -> io::Result<Ended> {
    let streams = tempfile::Builder::new().prefix("streams-").tempdir_in(outside)?;
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| streams.path().join(name));
    // The program must not run before it is traced, so a shell stops itself in its place.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"kill -STOP $$; exec "$@""#, "sh"]).arg(command.get_program()).args(command.get_args());
    shell.env_clear().stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
    for (name, value) in command.get_envs() {
        value.map(|value| shell.env(name, value));
    }
    if command.get_envs().next().is_none() {
        shell.envs(std::env::vars_os());
    }
    command.get_current_dir().map(|folder| shell.current_dir(folder));
    let _pinned = Pinned::here();
    let mut child = shell.spawn()?;
    let main = Pid::from_raw(child.id().cast_signed());

    let seized = seize(main);
    if let Err(error) = seized {
        child.kill()?;
        child.wait()?;
        return Err(error.into());
    }
    // A program that waits for itself would wait for ever.
    let (done, waiting) = channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
        if late {
            let _ = kill(main, Signal::SIGKILL);
        }
        late
    });
    let mut tracee = Tracee { below, main, running: HashMap::new(), calls: 0, look };
    let code = tracee.drive();
    drop(done);
    let hung = watchdog.join().is_ok_and(|late| late);
    let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Ended { code: code?, hung, stdout: text(&stdout)?, stderr: text(&stderr)? })
}

/// Keeps this thread, and the program that it starts, on one processor: they take turns, and handing over to
/// another processor takes longer than a call.
struct Pinned(Option<CpuSet>);

impl Pinned {
    fn here() -> Self {
        let before = sched_getaffinity(None).ok();
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        let _ = sched_setaffinity(None, &here);
        Self(before)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = sched_setaffinity(None, before);
        }
    }
}

/// Attaches to a child that is stopping itself.
fn seize(pid: Pid) -> nix::Result<()> {
    waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE;
    ptrace::seize(pid, options)?;
    kill(pid, Signal::SIGCONT)
}

impl Tracee<'_> {
    /// Lets the program run until all of its processes have ended, and returns its exit code.
    fn drive(&mut self) -> io::Result<Option<i32>> {
        let mut code = None;
        loop {
            // Other threads of this program have children of their own.
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(WaitStatus::Exited(pid, ended)) => {
                    self.running.remove(&pid);
                    code = if pid == self.main { Some(ended) } else { code };
                }
                Ok(WaitStatus::Signaled(pid, ..)) => drop(self.running.remove(&pid)),
                Ok(WaitStatus::PtraceSyscall(pid)) => self.at_call(pid)?,
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        // The next stop is that after execve.
                        let inside = Some(Inside { call: None, fails: None });
                        self.running.insert(pid, Thread { inside, started: true });
                    }
                    self.resume(pid, None)?;
                }
                Ok(WaitStatus::Stopped(pid, signal)) => self.resume(pid, Some(signal))?,
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::ECHILD) => return Ok(code),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn resume(&mut self, pid: Pid, signal: Option<Signal>) -> io::Result<()> {
        // The shell's own calls are of no interest; what the program starts is.
        let started = self.running.values().any(|thread| thread.started);
        let resumed = if started { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) };
        match resumed {
            // It was killed in the meantime.
            Err(nix::errno::Errno::ESRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// A thread stands before or after a call.
    fn at_call(&mut self, pid: Pid) -> io::Result<()> {
        let Ok(entering) = registers::is_entry(pid) else { return Ok(()) };
        let act = if entering { self.before(pid) } else { self.after(pid) };
        match act {
            Ok(Act::Kill) => self.kill(),
            Ok(_) => {}
            Err(nix::errno::Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.resume(pid, None)
    }

    fn before(&mut self, pid: Pid) -> nix::Result<Act> {
        let registers = Registers::of(pid)?;
        let mut call = calls::decode(pid.as_raw(), registers.number(), registers.arguments(), self.below);
        let mut act = Act::Continue;
        let mut fails = None;
        if let Some(call) = &mut call {
            self.calls += 1;
            call.number = self.calls;
            act = (self.look)(Moment::Before, call);
            if act != Act::Continue {
                registers.without_call().set(pid)?;
            }
            if let Act::Fail(errno) = act {
                fails = Some((errno, registers));
            }
        }
        self.running.entry(pid).or_default().inside = Some(Inside { call, fails });
        Ok(act)
    }

    fn after(&mut self, pid: Pid) -> nix::Result<Act> {
        // A new thread's first stop is after the clone that made it.
        let Some(Inside { call, fails }) = self.running.entry(pid).or_default().inside.take() else {
            return Ok(Act::Continue);
        };
        if let Some((errno, before)) = fails {
            Registers::of(pid)?.returning(-i64::from(errno), &before).set(pid)?;
        }
        let Some(mut call) = call else { return Ok(Act::Continue) };
        call.result = Some(Registers::of(pid)?.result());
        Ok((self.look)(Moment::After, &call))
    }

    fn kill(&self) {
        for pid in self.running.keys().chain([&self.main]) {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }
}

/// Makes a process carry out one ioctl(2) on an open folder. No package offers the ioctls that a test needs
/// without unsafe code, but a stopped tracee's registers can be written: the shell asks for the settings of
/// a terminal, and that call is turned into another one.
pub fn ioctl_by_tracee(folder: &Path, request: u64, argument: u32) -> io::Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -STOP $$; test -t 0"]).stdin(File::open(folder)?);
    let mut child = shell.spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let outcome = seize(pid).map_err(io::Error::from).and_then(|()| replace_ioctl(pid, request, argument));
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

fn replace_ioctl(pid: Pid, request: u64, argument: u32) -> io::Result<()> {
    let mut asked = false;
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL))? {
            WaitStatus::PtraceSyscall(_) if asked => {
                return match Registers::of(pid)?.result() {
                    0.. => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(i32::try_from(-errno).unwrap_or(libc::EIO))),
                };
            }
            WaitStatus::PtraceSyscall(_) if registers::is_entry(pid)? => {
                let registers = Registers::of(pid)?;
                let [descriptor, _, address, ..] = registers.arguments();
                if registers.number() == libc::SYS_ioctl && descriptor == 0 {
                    // Where the shell expects the settings there is room for them.
                    ptrace::write(pid, address as *mut _, argument.into())?;
                    registers.with_second_argument(request).set(pid)?;
                    asked = true;
                }
            }
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Err(io::ErrorKind::BrokenPipe.into()),
            _ => {}
        }
        ptrace::syscall(pid, None)?;
    }
}
