//! Writes our own files atomically: to a temporary file beside the target, which is then renamed. No reader sees a
//! partial file, and a crash leaves either the old file or the new one. `swap` writes the files of the checkout,
//! which other programs also write.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use crate::error::Shown;

/// The prefix of our temporary files. Go ignores files that begin with a dot.
pub const TEMPORARY: &str = ".rr-patch-";

/// Replaces `path` with `bytes` and `mode` (the permission bits): writes a temporary file, syncs and renames it, and
/// syncs the folder.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || -> io::Result<NamedTempFile> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder_of(path))?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    // Renaming to a folder fails, and renaming to a link replaces the link: both are correct.
    let put = write().and_then(|file| file.persist(path).map_err(|error| error.error));
    put.with_context(|| format!("cannot write `{}`", path.shown()))?;
    sync(folder_of(path))
}

/// Renames only if `to` does not exist. A plain rename would replace a file or an empty folder.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems do not support an atomic rename without replacement.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_err() => fs::rename(from, to),
        other => Ok(other?),
    }
}

/// Removes `path`. It is not an error if the file does not exist.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.shown()))
        }
        _ => Ok(()),
    }
}

/// Syncs the content of a file, or the entries of a folder.
pub fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.with_context(|| format!("cannot sync `{}`", path.shown()))
}

/// Removes our temporary files that a crash left in `folder`. Call it only while holding the lock that guards all our
/// writes.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if is_temporary(&entry.file_name()) {
            // A leftover file does no harm: names are never reused.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The prefix of an unfinished file or folder that a command creates in a user's folder: `.rr-patch-KIND-PID-`. The
/// command holds an flock(2) on it until it is complete.
pub fn unfinished(kind: &str) -> String {
    format!("{TEMPORARY}{kind}-{}-", std::process::id())
}

/// Removes unfinished files of this kind that killed commands left. Locked ones are in use and stay.
pub fn sweep_unfinished(folder: &Path, kind: &str) {
    let prefix = format!("{TEMPORARY}{kind}-");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(left) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
        // A new file may not be locked yet. Version 0.1 had no process id in the name.
        let process = left.split_once('-').and_then(|(process, _)| process.parse::<u32>().ok());
        let gone = process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists());
        let old = |seen: fs::Metadata| seen.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNLOCKED));
        let free = |file: File| file.try_lock().is_ok();
        if (gone || entry.metadata().is_ok_and(old)) && File::open(entry.path()).is_ok_and(free) {
            // A leftover file does no harm.
            let _ = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }
}

/// How long a new file may exist before it is locked.
const UNLOCKED: Duration = Duration::from_secs(60);

/// Whether this is the name of one of our temporary files.
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn remove_accepts_a_missing_file_and_says_what_it_cannot_remove() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(remove(&path).unwrap_err().to_string(), format!("cannot remove `{}`", path.display()));
    }

    #[test]
    fn sweep_removes_temporary_files_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".rr-patch-a1b2", "rr-patch", ".rr", "file"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(folder.path());
        assert_eq!(names(folder.path()), [".rr", "file", "rr-patch"]);
    }

    #[test]
    fn sweep_unfinished_leaves_what_is_locked_or_new_or_of_another_kind() {
        let folder = tempfile::tempdir().unwrap();
        let ours = unfinished("pack");
        assert_eq!(ours, format!(".rr-patch-pack-{}-", std::process::id()));
        // No process has this number: the kernel's limit is 2^22.
        let gone = ".rr-patch-pack-4194305-";
        let locked = File::create(folder.path().join(format!("{gone}locked"))).unwrap();
        locked.lock().unwrap();
        for name in [format!("{gone}left"), format!("{ours}new"), ".rr-patch-unpack-4194305-left".into()] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join(format!("{gone}folder"))).unwrap();
        // Names of version 0.1 tell no process, only their age.
        fs::write(folder.path().join(".rr-patch-pack-fresh"), "").unwrap();
        let old = File::create(folder.path().join(".rr-patch-pack-old")).unwrap();
        old.set_modified(std::time::SystemTime::now() - 2 * UNLOCKED).unwrap();
        sweep_unfinished(folder.path(), "pack");
        let others = [".rr-patch-pack-fresh", ".rr-patch-unpack-4194305-left"].map(str::to_owned);
        let mut kept = [[format!("{ours}new"), format!("{gone}locked")], others].concat();
        kept.sort();
        assert_eq!(names(folder.path()), kept);
    }
}
