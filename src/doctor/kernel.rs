//! Facts that no file of a host shows: whether its performance counters work, and how much space a folder has. The
//! only module that uses perf_event.

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
    /// Retired conditional branches, by the processor's event number.
    Branches(u64),
    /// Branches by the kernel's generic event, for an unknown processor.
    AnyBranches,
    /// Locked instructions committed by SpecLockMap: AMD's PMCx025 with unit mask 8.
    SpecLockMapCommits,
}

/// The minimum number of conditional branches that the test executes; the same as in rr's test.
pub const BRANCHES: u64 = 500;

/// AMD's PMCx025, unit mask 8, in user mode. rr's own check of Zen uses this number.
const SPEC_LOCK_MAP_COMMITS: u64 = 0x51_0825;

/// Queries to a kernel.
pub trait Kernel: Debug + Send + Sync {
    /// Counts an event in user mode while a workload causes it, on one CPU if `cpu` is given.
    ///
    /// # Errors
    /// The errors of perf_event_open: ENOENT if there is no such counter, EACCES and EPERM if access is denied.
    fn count(&self, event: Event, cpu: Option<usize>) -> io::Result<u64>;

    /// The free bytes for non-root users in the file system of a folder.
    fn free(&self, folder: &Path) -> io::Result<u64>;
}

/// The kernel that we run on.
#[derive(Debug)]
pub struct Here;

impl Kernel for Here {
    fn count(&self, event: Event, cpu: Option<usize>) -> io::Result<u64> {
        // In a separate thread, because the thread is bound to a CPU.
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
    // Pinned, like rr's counters: if another program holds the counter, this results in an error instead of 0.
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

/// Executes more than [`BRANCHES`] conditional branches that the compiler cannot remove.
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

    /// Without a PMU the kernel returns ENOENT; a sandbox may forbid the call.
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
