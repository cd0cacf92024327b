//! Writing a file of our own beside its target and renaming it into place, so that no reader sees a part
//! of it and a crash leaves the old one or the new one. Files of the checkout, which others write too, are for
//! `swap`.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use crate::error::Shown;

/// What our temporary files beside a target begin with. Go ignores files that begin with a dot.
pub const TEMPORARY: &str = ".rr-patch-";

/// Replaces `path` with `bytes` and `mode` (the permission bits): a file beside it, fsync, rename,
/// fsync of the folder.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || -> io::Result<NamedTempFile> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder_of(path))?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    // Renaming onto a folder fails by itself, and onto a link replaces the link.
    let put = write().and_then(|file| file.persist(path).map_err(|error| error.error));
    put.with_context(|| format!("cannot write `{}`", path.shown()))?;
    sync(folder_of(path))
}

/// Renames where nothing is yet: a plain rename replaces a file, and an empty folder too.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot do both at once.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_err() => fs::rename(from, to),
        other => Ok(other?),
    }
}

/// Removes `path`. A file that is not there is no error.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.shown()))
        }
        _ => Ok(()),
    }
}

/// Makes durable what a file holds, or what was renamed and removed in a folder.
pub fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.with_context(|| format!("cannot sync `{}`", path.shown()))
}

/// Removes what a crash left of our own temporary files in `folder`. Only call it with the lock
/// held under which all our writes are made.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if is_temporary(&entry.file_name()) {
            // What cannot be removed is not in the way either: names are never used twice.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What the name of a file or folder begins with that a command makes among those of others, and keeps locked with
/// flock(2) until it is whole: `.rr-patch-KIND-PID-`.
pub fn unfinished(kind: &str) -> String {
    format!("{TEMPORARY}{kind}-{}-", std::process::id())
}

/// Removes what killed commands left of that kind. What is locked is in use.
pub fn sweep_unfinished(folder: &Path, kind: &str) {
    let prefix = format!("{TEMPORARY}{kind}-");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(left) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
        // A new one may not be locked yet. 0.1 put no process into the name.
        let process = left.split_once('-').and_then(|(process, _)| process.parse::<u32>().ok());
        let gone = process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists());
        let old = |seen: fs::Metadata| seen.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNLOCKED));
        let free = |file: File| file.try_lock().is_ok();
        if (gone || entry.metadata().is_ok_and(old)) && File::open(entry.path()).is_ok_and(free) {
            // What cannot be removed is not in the way either.
            let _ = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }
}

/// How long a new file may be without its lock.
const UNLOCKED: Duration = Duration::from_secs(60);

/// Whether a name is that of one of our temporary files.
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
