//! What no file shows of a host: whether its performance counters count, and how much room a folder has.
//! The only module that knows perf_event.

use std::fmt::Debug;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use perf_event::Builder;
use perf_event::events::{Hardware, Raw};
use rustix::thread::CpuSet;

/// An event that a processor can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Conditional branches that were retired, by the processor's own number for them.
    Branches(u64),
    /// Branches by the kernel's name for them, where the processor is not known.
    AnyBranches,
    /// Locked instructions that SpecLockMap committed: AMD's PMCx025 with unit mask 8.
    SpecLockMapCommits,
}

/// How many conditional branches are tried, at least; rr tries as many.
pub const BRANCHES: u64 = 500;

/// AMD's PMCx025, unit mask 8, in user mode: the number that rr's own check of Zen uses.
const SPEC_LOCK_MAP_COMMITS: u64 = 0x51_0825;

/// What is asked of a kernel.
pub trait Kernel: Debug + Send + Sync {
    /// Counts an event, in user mode and on one CPU where one is named, while something happens that causes it.
    ///
    /// # Errors
    /// perf_event_open's own: ENOENT where there is no such counter, EACCES and EPERM where it is forbidden.
    fn count(&self, event: Event, cpu: Option<usize>) -> io::Result<u64>;

    /// The bytes that are free for us in the file system of a folder.
    fn free(&self, folder: &Path) -> io::Result<u64>;
}

/// The kernel that we run on.
#[derive(Debug)]
pub struct Here;

impl Kernel for Here {
    fn count(&self, event: Event, cpu: Option<usize>) -> io::Result<u64> {
        // In a thread of its own, since it is bound to the CPU.
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    if let Some(cpu) = cpu.filter(|cpu| *cpu < CpuSet::MAX_CPU) {
                        let mut only = CpuSet::new();
                        only.set(cpu);
                        rustix::thread::sched_setaffinity(None, &only)?;
                    }
                    count(event)
                })
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
        })
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        let seen = rustix::fs::statvfs(folder)?;
        Ok(seen.f_bavail.saturating_mul(seen.f_frsize))
    }
}

fn count(event: Event) -> io::Result<u64> {
    let mut builder = match event {
        Event::Branches(config) => Builder::new(Raw::new(config)),
        Event::SpecLockMapCommits => Builder::new(Raw::new(SPEC_LOCK_MAP_COMMITS)),
        Event::AnyBranches => Builder::new(Hardware::BRANCH_INSTRUCTIONS),
    };
    // Pinned, as rr's are: a counter that another program holds shows as an error and not as a 0.
    let mut counter = builder.pinned(true).exclude_guest(true).build()?;
    counter.enable()?;
    if event == Event::SpecLockMapCommits {
        let locked = AtomicI32::new(0);
        for _ in 0..BRANCHES {
            black_box(&locked).fetch_add(1, Ordering::SeqCst);
        }
    } else {
        branch();
    }
    counter.disable()?;
    counter.read()
}

/// More than [`BRANCHES`] conditional branches that no compiler can leave out.
#[inline(never)]
fn branch() {
    let mut odd: u32 = black_box(7);
    for _ in 0..black_box(2 * BRANCHES) {
        odd = black_box((odd.wrapping_mul(7) + 2) & 0xff_ffff);
        if odd == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a PMU it counts, without one it says ENOENT; a sandbox may forbid the question.
    #[test]
    fn branches_are_counted_or_the_kernel_says_why_not() {
        match Here.count(Event::AnyBranches, None) {
            Ok(counted) => assert!(counted >= BRANCHES, "{counted}"),
            Err(error) => assert!(error.raw_os_error().is_some(), "{error}"),
        }
    }

    #[test]
    fn room_is_that_of_the_file_system_of_a_folder() {
        assert!(Here.free(&std::env::temp_dir()).unwrap() > 0);
        let missing = tempfile::tempdir().unwrap().path().join("missing");
        assert_eq!(Here.free(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
