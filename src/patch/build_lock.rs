//! The build lock: one build at a time in a checkout. It also records that an earlier build did not finish.
//!
//! The lock is a file in the state folder that names its holder. A successful build removes it. If the file exists
//! but is not locked, the last build did not finish, and any file in `cluster-api/bin` newer than the recorded time
//! may be incomplete. Go does not detect this itself: it reads only the build id at the start of a binary, so it
//! considers a truncated binary up to date.

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

/// The name of the lock file in the state folder.
const LOCK: &str = "build.lock";

/// The build that holds the lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// The process group of the build's current command.
    group: Option<i32>,
    command: String,
    /// When the build began, and the start of the part whose files are not yet known to be complete. Both in seconds
    /// since 1970.
    began: f64,
    since: f64,
    /// Whether `go generate` is running.
    generates: bool,
    /// The build ended by itself with an error: what Go wrote is complete, downloads may not be.
    failed: bool,
}

impl Holder {
    fn told(&self) -> String {
        let ago = SystemTime::now().duration_since(moment(self.began)).unwrap_or_default();
        format!("process {}, for {} now: `{}`", self.pid, seconds(ago), self.command)
    }
}

/// An earlier build that did not finish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unfinished {
    pub since: SystemTime,
    /// It was killed, so any of its files may be truncated.
    pub killed: bool,
    pub generated: bool,
}

/// The build lock, held while a build runs.
#[derive(Debug)]
pub struct BuildLock {
    file: File,
    path: PathBuf,
    holder: Holder,
    done: bool,
}

impl BuildLock {
    /// Takes the checkout's build lock. Returns the last build if it did not finish.
    ///
    /// # Errors
    /// Another build holds the lock, or processes of an earlier build still run although its rr-patch has ended.
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
            // If the locked file was removed in the meantime, the lock is worthless: other processes lock the new
            // file.
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
                // Without an unfinished build there is nothing to recover if we crash now.
                lock.done = unfinished.is_none();
                lock.write()?;
                return Ok((lock, unfinished));
            }
        }
    }

    /// Marks the start of writing: files newer than this are not trusted until they are known to be complete.
    pub fn writes(&mut self) -> Result<()> {
        self.done = false;
        self.wrote()?;
        self.sync()
    }

    /// Marks everything written so far as complete.
    pub fn wrote(&mut self) -> Result<()> {
        self.holder.since = unix(SystemTime::now());
        (self.holder.generates, self.holder.failed) = (false, false);
        self.write()
    }

    /// Sets whether `go generate` is running.
    pub fn generates(&mut self, now: bool) -> Result<()> {
        if self.holder.generates == now {
            return Ok(());
        }
        self.holder.generates = now;
        self.write()?;
        if now { self.sync() } else { Ok(()) }
    }

    /// Sets the process group of the current command.
    pub fn works_in(&mut self, group: i32) -> Result<()> {
        self.holder.group = Some(group);
        self.write()
    }

    /// Records that the build ended by itself with an error.
    pub fn failed(&mut self) -> Result<()> {
        self.holder.failed = true;
        self.write()
    }

    /// Records that the build succeeded.
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

    /// Syncs the file. Without the sync, a crash of the machine could restore an older record that distrusts fewer
    /// files.
    fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write `{}`", self.path.shown()))
    }
}

impl Drop for BuildLock {
    fn drop(&mut self) {
        if self.done {
            // If the removal fails, the next build treats this one as unfinished: more work, but correct.
            let _ = write::remove(&self.path);
            let _ = self.path.parent().map(fs::remove_dir);
        }
    }
}

/// Refuses while a build is running, because the files that it reads must not change.
///
/// # Errors
/// A build holds the lock.
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
        None => error.detail("held by: another rr-patch, which has just started").hint("try again in a moment"),
        Some(holder) => error
            .detail(format!("held by: {}", holder.told()))
            .hint(format!("wait for it to end, or end it: `kill {}`", holder.pid)),
    }
}

/// Refuses if the process group of an earlier build still runs: it continues when its rr-patch is killed.
fn refuse_orphans(checkout: &Checkout, group: i32) -> Result<()> {
    let all = procfs::process::all_processes().context("cannot look at the processes of this machine")?;
    let orphan = all.flatten().find(|process| {
        let ours = process.stat().is_ok_and(|stat| stat.pgrp == group && stat.state != 'Z');
        ours && process.cwd().is_ok_and(|folder| folder.starts_with(checkout.root()))
    });
    let Some(orphan) = orphan else { return Ok(()) };
    let command = orphan.cmdline().unwrap_or_default().join(" ");
    Err(Error::refused(format!(
        "an earlier build of `{}` is still running, although its rr-patch has ended",
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

/// The granularity of file times: some file systems store the time of the last kernel tick, which is up to 10 ms old.
pub const TICK: Duration = Duration::from_millis(20);

/// Whether a file was written after `since`, or within one tick before it.
pub fn written_since(path: &Path, since: SystemTime) -> bool {
    fs::metadata(path).and_then(|seen| seen.modified()).is_ok_and(|written| written + TICK >= since)
}
