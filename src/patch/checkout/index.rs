//! Reads and writes git's index under git's own lock, and handles the locks of references.
//!
//! libgit2 takes `index.lock` only while writing, and then writes the index as it read it earlier. An entry that `git
//! add` wrote in between is lost. libgit2 does not sync the index either. Therefore the lock is taken here, before
//! the index is read, and libgit2 edits a copy.
//!
//! Our `index.lock` contains a line of text, and the process that made it holds an flock(2) on it. If it is not
//! locked, its process was killed, and the next run removes the file.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use git2::{Index, IndexEntry, IndexTime, Oid, Repository};

use super::odb::TreeEntry;
use crate::error::{Error, Shown};
use crate::sys::write;
use crate::words::quoted;

/// The content of our lock file. A real index begins with `DIRC`.
const MARK: &str = "rr-patch is writing git's index; if it was killed, its next run removes this file\n";

/// How long to wait for a lock of another program. An editor that runs `git status` holds the index lock for some
/// milliseconds; git itself waits 100 ms for a reference.
const PATIENCE_INDEX: Duration = Duration::from_secs(1);
const PATIENCE_REFERENCE: Duration = Duration::from_millis(100);

/// How long a reference's lock must stay unchanged before it counts as left by a killed rr-patch.
const ABANDONED: Duration = Duration::from_secs(1);

/// The index, locked with `index.lock`.
pub struct LockedIndex {
    path: PathBuf,
    copy: PathBuf,
    index: Index,
    changed: bool,
    lock: IndexLock,
    references: Vec<PathBuf>,
}

/// An `index.lock` that this process made.
struct IndexLock {
    path: PathBuf,
    marker: File,
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl LockedIndex {
    /// Locks the index and reads it. `references` may still be locked by an earlier rr-patch that was killed.
    ///
    /// # Errors
    /// A lock of another program; an index that libgit2 cannot read.
    pub fn take(repository: &Repository, state_dir: &Path, references: &[PathBuf]) -> Result<Self> {
        let path = path_of(repository);
        let lock = IndexLock::take(&path, state_dir, references)?;
        let copy = state_dir.join(format!("{}index", write::TEMPORARY));
        for left in [copy.clone(), lock_of(&copy)] {
            write::remove(&left)?;
        }
        match fs::metadata(&path) {
            Ok(seen) => {
                fs::copy(&path, &copy)
                    .and_then(|_| File::options().write(true).open(&copy))
                    // libgit2 compares this time with those of the entries, to find entries that may have changed in
                    // the same tick.
                    .and_then(|file| file.set_modified(seen.modified()?))
                    .with_context(|| format!("cannot copy `{}` to `{}`", path.shown(), copy.shown()))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.shown())),
        }
        let opened = Index::open(&copy).and_then(|mut index| repository.set_index(&mut index).map(|()| index));
        let index = opened.map_err(|error| {
            let _ = fs::remove_file(&copy);
            unread(&path, &error)
        })?;
        Ok(Self { path, copy, index, changed: false, lock, references: references.to_vec() })
    }

    /// The staged version of a path: the blob and its mode.
    pub fn entry(&self, path: &Path) -> Option<(Oid, i64)> {
        self.index.get_path(path, 0).map(|entry| (entry.id, i64::from(entry.mode)))
    }

    /// The staged blob of a path.
    pub fn staged(&self, path: &Path) -> Option<Oid> {
        self.entry(path).map(|(id, _)| id)
    }

    /// Stages `entry` as the version of `path`, or its removal.
    pub fn stage(&mut self, path: &Path, entry: Option<TreeEntry>, file: &Path) -> Result<()> {
        let staged = self.index.get_path(path, 0);
        let same = |staged: &IndexEntry, entry: TreeEntry| {
            staged.id == entry.id && i64::from(staged.mode) == i64::from(entry.mode)
        };
        let staging = || format!("cannot stage `{}` in `{}`", path.shown(), self.path.shown());
        match (staged, entry) {
            (None, None) => return Ok(()),
            (Some(staged), Some(entry)) if same(&staged, entry) => return Ok(()),
            (Some(_), None) => self.index.remove_path(path).with_context(staging)?,
            (staged, Some(entry)) => {
                let flags = staged.map_or(0, |staged| staged.flags);
                self.index.add(&index_entry(path, entry, file, flags)?).with_context(staging)?;
            }
        }
        self.changed = true;
        Ok(())
    }

    /// Writes the new index beside the old one and syncs it. Errors for lack of space occur here.
    pub fn prepare(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let failed = || format!("cannot write `{}`", self.copy.shown());
        self.index.write().with_context(failed)?;
        if let Ok(seen) = fs::metadata(&self.path) {
            fs::set_permissions(&self.copy, seen.permissions()).with_context(failed)?;
        }
        write::sync(&self.copy)
    }

    /// Puts the new index in place. It is durable after the lock was [released](Self::release).
    pub fn put(&self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        fs::rename(&self.copy, &self.path).with_context(|| format!("cannot write `{}`", self.path.shown()))
    }

    /// Releases the lock, and removes locks of references that libgit2 failed to remove without reporting it.
    pub fn release(self) -> Result<()> {
        remove_left(&self.references, &self.lock.marker, &self.lock.path)?;
        let folder = self.path.parent().map(Path::to_owned);
        drop(self);
        folder.map_or(Ok(()), |folder| write::sync(&folder))
    }
}

impl Drop for LockedIndex {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.copy);
    }
}

impl IndexLock {
    fn take(index: &Path, state_dir: &Path, references: &[PathBuf]) -> Result<Self> {
        let (marker, name) = marker(state_dir)?;
        let path = lock_of(index);
        let made = Self::make(&path, &name, references);
        // The marker now has the lock's name too.
        write::remove(&name)?;
        made.map(|()| Self { path, marker })
    }

    fn make(path: &Path, marker: &Path, references: &[PathBuf]) -> Result<()> {
        let begun = Instant::now();
        loop {
            // Both calls are atomic and fail if the lock exists. Not every file system supports both.
            let made = fs::hard_link(marker, path).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                _ => write::rename_new(marker, path),
            });
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.with_context(|| format!("cannot make `{}`", path.shown())),
            }
            if !remove_abandoned(path, references)? {
                if begun.elapsed() > PATIENCE_INDEX {
                    return Err(held(path).into());
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Creates the file that becomes `index.lock`, locked by this process. Returns it with its path.
fn marker(state_dir: &Path) -> Result<(File, PathBuf)> {
    let path = state_dir.join(format!("{}lock", write::TEMPORARY));
    write::remove(&path)?;
    let made = File::options().write(true).create_new(true).open(&path).and_then(|mut file| {
        file.lock()?;
        file.write_all(MARK.as_bytes())?;
        // The file must be recognisable as ours after a power failure.
        file.sync_all()?;
        Ok(file)
    });
    made.map(|file| (file, path.clone())).with_context(|| format!("cannot write `{}`", path.shown()))
}

/// Removes git locks that a killed rr-patch left. Call it only while holding the checkout's lock.
///
/// Returns whether `index.lock` is gone.
pub fn remove_abandoned(lock: &Path, references: &[PathBuf]) -> Result<bool> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", lock.shown())),
    };
    if !has_mark(&file).with_context(|| format!("cannot read `{}`", lock.shown()))? {
        return Ok(false);
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock `{}`", lock.shown()));
        }
    }
    remove_left(references, &file, lock)?;
    if fs::metadata(lock).is_ok_and(|seen| file.metadata().is_ok_and(|held| held.ino() == seen.ino())) {
        write::remove(lock)?;
    }
    Ok(true)
}

/// Removes locks of references that were made while we held `index.lock` and were left behind. libgit2 makes them,
/// without our text in them. A lock counts as left behind if it is not older than our `index.lock` and nobody changes
/// it.
fn remove_left(references: &[PathBuf], file: &File, lock: &Path) -> Result<()> {
    let ours = file.metadata().and_then(|seen| seen.modified());
    let ours = ours.with_context(|| format!("cannot look at `{}`", lock.shown()))?;
    for reference in references.iter().map(|reference| lock_of(reference)) {
        let begun = Instant::now();
        while let Some((inode, modified)) = identity(&reference)
            && modified >= ours
        {
            if begun.elapsed() > ABANDONED {
                if identity(&reference) == Some((inode, modified)) {
                    write::remove(&reference)?;
                }
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Whether this lock exists and was made by rr-patch.
pub fn is_ours(lock: &Path) -> bool {
    File::open(lock).and_then(|file| has_mark(&file)).unwrap_or(false)
}

fn has_mark(file: &File) -> io::Result<bool> {
    let mut text = Vec::new();
    file.take(MARK.len() as u64 + 1).read_to_end(&mut text)?;
    Ok(text == MARK.as_bytes())
}

fn identity(path: &Path) -> Option<(u64, SystemTime)> {
    let seen = fs::symlink_metadata(path).ok()?;
    Some((seen.ino(), seen.modified().ok()?))
}

/// The index of a repository. If it is a link, git writes to the link's target, and so do we.
pub fn path_of(repository: &Repository) -> PathBuf {
    let path = repository.path().join("index");
    path.canonicalize().unwrap_or(path)
}

pub fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Waits until the lock of a reference is removed.
///
/// # Errors
/// The lock still exists after the waiting time.
pub fn wait_for_reference(file: &Path) -> Result<(), Error> {
    let lock = lock_of(file);
    let begun = Instant::now();
    while lock.symlink_metadata().is_ok() {
        if begun.elapsed() > PATIENCE_REFERENCE {
            return Err(held(&lock));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The error for a lock that another program holds or left behind.
pub fn held(lock: &Path) -> Error {
    Error::refused(format!("git's lock `{}` exists", lock.shown()))
        .detail("expected: no such file; git makes it while it writes, and leaves it behind if it is killed")
        .hint(format!("wait until no git is running in this repository, then: `rm {}`", quoted(&lock.shown())))
}

/// The error for an index that libgit2 cannot read.
fn unread(path: &Path, error: &git2::Error) -> Error {
    let message = error.message();
    let found =
        Error::refused(format!("git's index cannot be read: {message}")).detail(format!("found: `{}`", path.shown()));
    let hint =
        |kind, command| format!("rr-patch's git library does not support a {kind} index: `{command}` converts it");
    match message {
        _ if message.contains("extension: 'link'") => found.hint(hint("split", "git update-index --no-split-index")),
        _ if message.contains("extension: 'sdir'") => {
            found.hint(hint("sparse", "git sparse-checkout reapply --no-sparse-index"))
        }
        _ => found.hint("`git status` shows whether git itself can read it"),
    }
}

/// The index entry of a file. If the file differs from the blob, the entry has no times and git compares the file
/// again.
fn index_entry(path: &Path, entry: TreeEntry, file: &Path, flags: u16) -> Result<IndexEntry> {
    // Read the times before the content: a later write changes them.
    let seen = fs::symlink_metadata(file).ok().filter(fs::Metadata::is_file);
    let bytes = seen.as_ref().and_then(|_| fs::read(file).ok());
    let same = bytes.map(|bytes| Oid::hash_object(git2::ObjectType::Blob, &bytes)).transpose()? == Some(entry.id);
    let seen = seen.filter(|_| same);
    let seen = seen.as_ref();
    // The index stores the low 32 bits of each value.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as git does")]
    let low = |value: i64| value as u32;
    let unsigned = |value: fn(&fs::Metadata) -> u64| seen.map_or(0, |seen| low(value(seen).cast_signed()));
    let time = |seconds: fn(&fs::Metadata) -> i64, nanoseconds: fn(&fs::Metadata) -> i64| {
        let part = |value: fn(&fs::Metadata) -> i64| seen.map_or(0, |seen| low(value(seen)));
        IndexTime::new(part(seconds).cast_signed(), part(nanoseconds))
    };
    Ok(IndexEntry {
        ctime: time(MetadataExt::ctime, MetadataExt::ctime_nsec),
        mtime: time(MetadataExt::mtime, MetadataExt::mtime_nsec),
        dev: unsigned(MetadataExt::dev),
        ino: unsigned(MetadataExt::ino),
        mode: u32::try_from(entry.mode)?,
        uid: seen.map_or(0, MetadataExt::uid),
        gid: seen.map_or(0, MetadataExt::gid),
        file_size: unsigned(MetadataExt::size),
        id: entry.id,
        // Preserves the user's `--assume-unchanged`.
        flags: flags & ASSUME_UNCHANGED,
        flags_extended: 0,
        path: path.as_os_str().as_bytes().to_vec(),
    })
}

const ASSUME_UNCHANGED: u16 = 0x8000;
