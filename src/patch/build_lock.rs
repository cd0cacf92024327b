//! One build at a time in a checkout, and what an earlier one left that must not be trusted.
//!
//! The lock is a file in the state folder that says who holds it. It goes when a build went through;
//! left behind and unlocked it says that a build did not, and since when what lies in
//! `cluster-api/bin` may be half of something. Go does not see that by itself: it finds a cut-off
//! binary up to date as long as its head, where the build id is, is whole.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::sys::write;
use crate::words::seconds;

/// The file in the state folder.
const LOCK: &str = "build.lock";

/// Who builds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// The process group of what the build runs.
    group: Option<i32>,
    command: String,
    /// When the build began, and when it began to write what is not yet known to be whole: seconds
    /// since 1970.
    began: f64,
    since: f64,
    /// Whether `go generate` runs.
    generates: bool,
    /// It ended by itself: what Go wrote is whole, what was downloaded may not be.
    failed: bool,
}

impl Holder {
    fn told(&self) -> String {
        let ago = SystemTime::now().duration_since(moment(self.began)).unwrap_or_default();
        format!("process {}, for {} now: `{}`", self.pid, seconds(ago), self.command)
    }
}

/// What an earlier build left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unfinished {
    pub since: SystemTime,
    /// It was ended from outside, so that anything may be cut off.
    pub killed: bool,
    pub generated: bool,
}

/// Held while a build runs.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    holder: Holder,
    done: bool,
}

impl Lock {
    /// Takes the checkout's build lock, and says what the last build left if it did not go through.
    ///
    /// # Errors
    /// Another build holds it, or the processes of one still run though its rr-patch is gone.
    pub fn take(checkout: &Checkout, command: String) -> Result<(Self, Option<Unfinished>)> {
        let folder = checkout.state_dir();
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.shown()))?;
        let path = folder.join(LOCK);
        loop {
            let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = opened.with_context(|| format!("cannot open `{}`", path.shown()))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(checkout, read(&mut file).as_ref()).into()),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock `{}`", path.shown()));
                }
            }
            // A lock on a file that was removed meanwhile is no lock: others take the new file's.
            let inode = file.metadata().with_context(|| format!("cannot look at `{}`", path.shown()))?.ino();
            if fs::metadata(&path).is_ok_and(|found| found.ino() == inode) {
                let left = read(&mut file);
                if let Some(group) = left.as_ref().and_then(|left| left.group) {
                    refuse_orphans(checkout, group)?;
                }
                let now = unix(SystemTime::now());
                let holder = Holder {
                    pid: std::process::id(),
                    group: None,
                    command,
                    began: now,
                    since: left.as_ref().map_or(now, |left| left.since),
                    generates: left.as_ref().is_some_and(|left| left.generates),
                    failed: left.as_ref().is_some_and(|left| left.failed),
                };
                let unfinished = left.map(|left| Unfinished {
                    since: moment(left.since),
                    killed: !left.failed,
                    generated: left.generates,
                });
                let mut lock = Self { file, path, holder, done: false };
                // Without a line of what was left, a crash from here on leaves nothing to distrust.
                lock.done = unfinished.is_none();
                lock.write()?;
                return Ok((lock, unfinished));
            }
        }
    }

    /// From here on the build writes: what is newer is not trusted until it is known to be whole.
    pub fn writes(&mut self) -> Result<()> {
        self.done = false;
        self.wrote()?;
        self.sync()
    }

    /// All that was written until now is whole.
    pub fn wrote(&mut self) -> Result<()> {
        self.holder.since = unix(SystemTime::now());
        (self.holder.generates, self.holder.failed) = (false, false);
        self.write()
    }

    /// Whether `go generate` runs now.
    pub fn generates(&mut self, now: bool) -> Result<()> {
        if self.holder.generates == now {
            return Ok(());
        }
        self.holder.generates = now;
        self.write()?;
        if now { self.sync() } else { Ok(()) }
    }

    /// The process group that does the work now.
    pub fn works_in(&mut self, group: i32) -> Result<()> {
        self.holder.group = Some(group);
        self.write()
    }

    /// The build ended by itself, and did not go through.
    pub fn failed(&mut self) -> Result<()> {
        self.holder.failed = true;
        self.write()
    }

    /// All that was written is whole.
    pub fn finished(&mut self) {
        self.done = true;
    }

    fn write(&mut self) -> Result<()> {
        let text = serde_json::to_string(&self.holder)?;
        self.file
            .rewind()
            .and_then(|()| self.file.set_len(0))
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write `{}`", self.path.shown()))
    }

    /// Makes it outlive a crash. What is then only in memory would tell of less to distrust.
    fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write `{}`", self.path.shown()))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.done {
            // What cannot be removed is read as a build that did not go through: more work, no harm.
            let _ = write::remove(&self.path);
            let _ = self.path.parent().map(fs::remove_dir);
        }
    }
}

/// Refuses while a build runs: what it reads must not change under it.
///
/// # Errors
/// A build holds the checkout.
pub fn refuse_while_building(checkout: &Checkout) -> Result<()> {
    let Ok(mut file) = File::open(checkout.state_dir().join(LOCK)) else { return Ok(()) };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Err(held(checkout, read(&mut file).as_ref()).into()),
        _ => Ok(()),
    }
}

fn held(checkout: &Checkout, holder: Option<&Holder>) -> Error {
    let error = Error::refused(format!("`{}` is being built", checkout.root().shown()));
    match holder {
        None => error.detail("held by: another rr-patch that has only just begun").hint("try again in a moment"),
        Some(holder) => error
            .detail(format!("held by: {}", holder.told()))
            .hint(format!("wait for it to end, or end it: `kill {}`", holder.pid)),
    }
}

/// A build whose rr-patch was killed goes on in its process group.
fn refuse_orphans(checkout: &Checkout, group: i32) -> Result<()> {
    let all = procfs::process::all_processes().context("cannot look at the processes of this machine")?;
    let orphan = all.flatten().find(|process| {
        let ours = process.stat().is_ok_and(|stat| stat.pgrp == group && stat.state != 'Z');
        ours && process.cwd().is_ok_and(|folder| folder.starts_with(checkout.root()))
    });
    let Some(orphan) = orphan else { return Ok(()) };
    let command = orphan.cmdline().unwrap_or_default().join(" ");
    Err(Error::refused(format!(
        "an earlier build of `{}` still runs, though its rr-patch is gone",
        checkout.root().shown()
    ))
    .detail(format!("found: process {} of group {group}: {command}", orphan.pid()))
    .hint(format!("wait for it to end, or end it: `kill -- -{group}`"))
    .into())
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

fn unix(moment: SystemTime) -> f64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn moment(unix: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(unix).unwrap_or_default()
}

/// Some file systems keep the time of the last tick, which is up to 10 ms old.
pub const TICK: Duration = Duration::from_millis(20);

/// Whether a file was written after a moment, or in the tick before.
pub fn written_since(path: &Path, since: SystemTime) -> bool {
    fs::metadata(path).and_then(|seen| seen.modified()).is_ok_and(|written| written + TICK >= since)
}
