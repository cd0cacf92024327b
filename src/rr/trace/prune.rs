//! Removes traces: never one that is being recorded, and never partially.
//!
//! The folder is first renamed to a name that begins with a dot, which neither rr nor rr-patch treats as a trace, and
//! then removed. If a crash interrupts the removal, the next command completes it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::content::open;
use super::{State, Store, Trace};
use crate::error::{Error, Shown};
use crate::sys::write::{TEMPORARY, rename_new, sync};

/// The prefix of the folder of a trace that is being removed.
const REMOVED: &str = "removed-";

impl Store {
    /// The traces of these names, each once.
    ///
    /// # Errors
    /// A name that is none, a trace that rr still writes to.
    pub fn to_be_removed(&self, names: &[String]) -> Result<Vec<Trace>> {
        let mut chosen: Vec<Trace> = Vec::new();
        for name in names {
            let trace = self.named(name)?;
            if trace.state.live() {
                return Err(Error::refused(format!("`{}` is {}", trace.name, trace.state.word()))
                    .detail("rr still writes to it")
                    .hint("end the install, or send SIGTERM to its rr; then the trace is complete")
                    .into());
            }
            if chosen.iter().all(|known| known.path != trace.path) {
                chosen.push(trace);
            }
        }
        Ok(chosen)
    }

    /// The traces that cannot be replayed, and with `keep` all but so many of the newest complete ones of each
    /// controller; of these, only what was started longer ago than `older_than`. And the traces that rr is at.
    pub fn removable(&self, keep: Option<usize>, older_than: Option<Duration>) -> Result<(Vec<Trace>, Vec<Trace>)> {
        let old = |trace: &Trace| {
            let age = SystemTime::now().duration_since(trace.started).unwrap_or_default();
            older_than.is_none_or(|least| age >= least)
        };
        let mut complete: BTreeMap<String, usize> = BTreeMap::new();
        let (mut chosen, mut live) = (Vec::new(), Vec::new());
        for trace in self.look()?.traces {
            match trace.state {
                State::Starting | State::Recording => live.push(trace),
                State::Dead | State::Junk if old(&trace) => chosen.push(trace),
                State::Complete => {
                    // The newest come first.
                    let newer = complete.entry(trace.controller().to_owned()).or_default();
                    *newer += 1;
                    if keep.is_some_and(|keep| *newer > keep) && old(&trace) {
                        chosen.push(trace);
                    }
                }
                State::Dead | State::Junk => {}
            }
        }
        Ok((chosen, live))
    }
}

impl Trace {
    /// Removes the trace, and returns the number of bytes that this freed.
    ///
    /// # Errors
    /// A trace that another process is recording, packing or removing, or that was replaced since it was read. The
    /// trace is not changed.
    pub fn remove(&self) -> Result<u64> {
        let refused = |why: &str| Error::refused(format!("`{}` {why}", self.path.shown()));
        let seen = self.path.symlink_metadata().with_context(|| format!("cannot read `{}`", self.path.shown()))?;
        if !seen.is_dir() {
            return Err(refused("is a link").hint("remove the trace by its own path, then the link").into());
        }
        // rr holds its lock on this file from start to end. While we hold the lock, no rr has it or can get it.
        let marker = ["version", "incomplete"].into_iter().find(|name| self.path.join(name).exists());
        let marker = marker.map(|name| open(&self.path, name)).transpose()?;
        if let Some(marker) = &marker {
            lock(marker).map_err(|error| match error {
                Errno::WOULDBLOCK => refused("is in use: rr is recording it, or another rr-patch holds its lock")
                    .hint("try again when that has ended")
                    .into(),
                other => anyhow::Error::from(other).context(format!("cannot lock `{}`", self.path.shown())),
            })?;
        }
        // The decision to remove was based on an earlier read, so check again.
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        let now = Self::look(&self.path, parent, marker.is_some())?;
        match now.map(|now| now.state) {
            Some(state) if state == self.state => {}
            Some(state) => return Err(refused(&format!("is {} now", state.word())).into()),
            None => return Err(refused("is no longer a trace").into()),
        }
        let away = put_away(&self.path, parent)?;
        // If the locked file was replaced in the meantime, the lock does not protect the folder.
        let same = away.symlink_metadata().is_ok_and(|now| (now.dev(), now.ino()) == (seen.dev(), seen.ino()));
        if !same {
            rename_new(&away, &self.path).with_context(|| {
                format!("`{}` was replaced by another folder, which is now `{}`", self.path.shown(), away.shown())
            })?;
            return Err(refused("was replaced in the meantime").into());
        }
        fs::remove_dir_all(&away).with_context(|| {
            format!("`{}` was only partly removed: the rest is in `{}`", self.path.shown(), away.shown())
        })?;
        unlink_latest(&self.path, parent)?;
        Ok(self.own)
    }
}

/// Takes a lock; only another rr-patch that checks the state may hold it for a moment.
fn lock(file: &File) -> rustix::io::Result<()> {
    for _ in 0..20 {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other,
        }
    }
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Renames the folder to a name beside it that begins with a dot.
fn put_away(path: &Path, parent: &Path) -> Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for number in 0..1000 {
        let away = parent.join(format!("{TEMPORARY}{REMOVED}{name}-{number}"));
        match rename_new(path, &away) {
            Ok(()) => {
                sync(parent)?;
                return Ok(away);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot remove `{}`", path.shown())),
        }
    }
    Err(Error::failed(format!(
        "cannot remove `{}`: `{}` has too many partly removed traces",
        path.shown(),
        parent.shown()
    ))
    .into())
}

/// Removes `latest-trace` if it points to the removed trace, as `rr rm` does. The link must point to the trace that
/// was started last. Only rr knows which one that is now, so no new link is made.
fn unlink_latest(removed: &Path, parent: &Path) -> Result<()> {
    let link = parent.join("latest-trace");
    let leads = fs::read_link(&link).is_ok_and(|to| to.file_name() == removed.file_name() && !link.exists());
    if leads { crate::sys::write::remove(&link) } else { Ok(()) }
}

impl Store {
    /// Completes interrupted removals of traces, and returns how many there were.
    pub fn sweep(&self) -> Result<usize> {
        let mut swept = sweep(&self.root)?;
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                swept += sweep(&entry.path())?;
            }
        }
        Ok(swept)
    }
}

fn sweep(folder: &Path) -> Result<usize> {
    let left = format!("{TEMPORARY}{REMOVED}");
    let mut swept = 0;
    // A folder that cannot be read has nothing that could be removed.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(&left) {
            continue;
        }
        let path = entry.path();
        match fs::remove_dir_all(&path) {
            Ok(()) => swept += 1,
            // Another rr-patch is removing it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot remove `{}`", path.shown())),
        }
    }
    Ok(swept)
}
