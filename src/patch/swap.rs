//! Replaces a file by another without losing a save of another program.
//!
//! An editor can save at any moment, also between reading the old version and replacing it. A plain rename would lose
//! that save. Therefore the two files are exchanged (`RENAME_EXCHANGE`); the file that was replaced is compared with
//! what was read, and put back if it differs. If another program still has it open for writing (detected with a
//! lease), it is kept as `NAME.edited`, because later writes of that program go to it.
//!
//! Two kinds of temporary files lie in the folder. A later run may find them:
//!
//! * `.rr-patch-new-…` is an incomplete new version. The run removes it.
//! * `.rr-patch-swap-NAME` is the complete new version of NAME before the exchange, and the old version after it.
//!   The run removes it if the journal has its bytes; otherwise it becomes `NAME.edited`.
//!
//! Each folder is opened once, by file descriptor and without following links (`openat2`), so that replacing a folder
//! by a link has no effect.
//!
//! Some file systems cannot exchange two files (NFS, some FUSE file systems). There the old file gets a second name
//! by a hard link, and the new file is renamed over the first name. A save is lost if it is itself a rename and falls
//! between those two calls; a save that writes in place is kept.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, XattrFlags, fchmod, fchown, fgetxattr, flistxattr,
    fsetxattr, fstat, linkat, mkdirat, open, openat, openat2, renameat, renameat_with, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Gid, geteuid};

use crate::error::{Error, Shown};
use crate::patch::checkout::Content;
use crate::sys::ffi;
use crate::sys::write::TEMPORARY;

/// An open folder of the checkout.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether the file system supports exchanging two files; false after the first failure.
    exchanges: Cell<bool>,
}

/// A regular file in a folder.
#[derive(Debug)]
pub struct Found {
    pub content: Content,
    file: File,
}

/// The complete new version of a file, beside the file. It is removed when dropped.
#[derive(Debug)]
pub struct Prepared<'folder> {
    folder: &'folder Folder,
    name: String,
    file: Option<File>,
}

/// A file that was put in place, with everything needed to roll it back.
#[derive(Debug)]
pub struct Put<'folder> {
    folder: &'folder Folder,
    name: &'folder str,
    before: Option<&'folder Content>,
    after: Option<&'folder Content>,
    old: Old,
}

/// Where the replaced file is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    /// There was no file.
    None,
    /// It has the stash name.
    Stash,
    /// It is gone: the file system could not give it a second name.
    Gone,
}

/// Whether the replaced file is what was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// The same bytes, but another program has the file open for writing.
    Held,
    /// Another program saved another version.
    Saved,
}

fn swap_name(name: &str) -> String {
    let name = format!("{TEMPORARY}swap-{name}");
    // A file name has at most 255 bytes; a longer one is truncated.
    let end = (0..=name.len().min(255)).rev().find(|&end| name.is_char_boundary(end));
    name[..end.unwrap_or_default()].to_owned()
}

impl Folder {
    /// Opens the folder `below` the `top` of the checkout; `None` if it does not exist.
    ///
    /// # Errors
    /// A link in the path. Links are resolved before, so this one was made in the meantime.
    pub fn open(top: &Path, below: &Path) -> Result<Option<Self>> {
        let path = top.join(below);
        match beneath(top, below) {
            Ok(fd) => Ok(Some(Self { fd, path, exchanges: Cell::new(true) })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => {
                Err(Error::refused(format!("the folder `{}` was replaced", path.shown()))
                    .detail("found: a link in its place, which rr-patch does not follow")
                    .hint("run the command again when no other program changes the checkout")
                    .into())
            }
            Err(error) => Err(error).with_context(|| format!("cannot open the folder `{}`", path.shown())),
        }
    }

    /// Makes the folder `name` in this folder.
    pub fn make(&self, name: &OsStr, mode: Option<u32>) -> Result<()> {
        let path = self.path.join(name);
        let created = retry_on_intr(|| mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)));
        created.with_context(|| format!("cannot make the folder `{}`", path.shown()))?;
        if let Some(mode) = mode {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let changed = openat(&self.fd, name, flags, Mode::empty())
                .and_then(|folder| fchmod(folder, Mode::from_raw_mode(mode)));
            changed.with_context(|| format!("cannot set the mode of the folder `{}`", path.shown()))?;
        }
        Ok(())
    }

    /// Removes the folder `name` in this folder if it is empty. Returns whether it did.
    pub fn remove_empty(&self, name: &OsStr) -> bool {
        unlinkat(&self.fd, name, AtFlags::REMOVEDIR).is_ok()
    }

    /// Syncs the folder's entries.
    pub fn sync(&self) -> Result<()> {
        retry_on_intr(|| rustix::fs::fsync(&self.fd))
            .with_context(|| format!("cannot sync the folder `{}`", self.path.shown()))
    }

    /// The regular file with this name; `None` if there is none.
    ///
    /// # Errors
    /// Anything else with this name.
    pub fn read(&self, name: &str) -> Result<Option<Found>> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match retry_on_intr(|| openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(Error::refused(format!("`{}` is a symlink, where a file should be", path.shown())).into());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot open `{}`", path.shown())),
        };
        let mut file = File::from(fd);
        let seen = file.metadata().with_context(|| format!("cannot look at `{}`", path.shown()))?;
        if !seen.is_file() {
            return Err(Error::refused(format!("`{}` is not a regular file", path.shown())).into());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read `{}`", path.shown()))?;
        Ok(Some(Found { content: Content { bytes, mode: seen.mode() & 0o7777 }, file }))
    }

    /// Writes the new version of a file beside it, with the mode of `new` and with the group, the access list and the
    /// attributes of `like`.
    ///
    /// # Errors
    /// A full disk, a folder that cannot be written, an attribute that cannot be copied.
    pub fn prepare(&self, name: &str, new: &Content, like: Option<&Found>, durable: bool) -> Result<Prepared<'_>> {
        let path = self.path.join(name);
        let (mut file, written) = self.create().with_context(|| format!("cannot write `{}`", path.shown()))?;
        let mut prepared = Prepared { folder: self, name: written, file: None };
        file.write_all(&new.bytes).with_context(|| format!("cannot write `{}`", path.shown()))?;
        if let Some(like) = like {
            keep_attributes(&like.file, &file, &path)?;
        }
        // The access list is set before the mode: setting the mode afterwards narrows the list's mask, as `chmod`
        // does.
        retry_on_intr(|| fchmod(&file, Mode::from_raw_mode(new.mode)))
            .with_context(|| format!("cannot set the mode of `{}`", path.shown()))?;
        if durable {
            file.sync_all().with_context(|| format!("cannot sync the new version of `{}`", path.shown()))?;
        }
        let whole = swap_name(name);
        self.rename_new(&prepared.name, &whole).map_err(|error| match error {
            Errno::EXIST => anyhow::Error::from(
                Error::failed(format!("`{}` is in the way", self.path.join(&whole).shown()))
                    .hint("move it away: it is left over from an interrupted rr-patch and could not be removed"),
            ),
            error => anyhow::Error::from(error).context(format!("cannot write `{}`", path.shown())),
        })?;
        prepared.name = whole;
        prepared.file = Some(file);
        Ok(prepared)
    }

    /// Creates a file with a new name.
    fn create(&self) -> Result<(File, String)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for number in 0..1000 {
            let name = format!("{TEMPORARY}new-{}-{number}", std::process::id());
            match retry_on_intr(|| openat(&self.fd, &name, flags, Mode::from_raw_mode(0o600))) {
                Ok(fd) => return Ok((File::from(fd), name)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists).into())
    }

    /// Renames within the folder, but never over an existing file.
    fn rename_new(&self, from: &str, to: &str) -> rustix::io::Result<()> {
        match retry_on_intr(|| renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE)) {
            // NFS and some FUSE file systems do not support this. A hard link also fails if the new name exists.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match retry_on_intr(|| linkat(&self.fd, from, &self.fd, to, AtFlags::empty())) {
                    Ok(()) => retry_on_intr(|| unlinkat(&self.fd, from, AtFlags::empty())),
                    Err(Errno::EXIST) => Err(Errno::EXIST),
                    // Hard links are not supported either: look first, then rename.
                    Err(_) if self.has(to) => Err(Errno::EXIST),
                    Err(_) => retry_on_intr(|| renameat(&self.fd, from, &self.fd, to)),
                }
            }
            other => other,
        }
    }

    fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn unlink(&self, name: &str) -> Result<()> {
        match retry_on_intr(|| unlinkat(&self.fd, name, AtFlags::empty())) {
            Err(Errno::NOENT) => Ok(()),
            other => other.with_context(|| format!("cannot remove `{}`", self.path.join(name).shown())),
        }
    }

    /// Renames an edited version durably to the first free name of `NAME.edited`, `NAME.edited-2`, …. The name must
    /// not end in `.go`, because Go would compile it.
    fn keep(&self, from: &str, name: &str) -> Result<String> {
        let path = self.path.join(name);
        let found = self.read(from)?;
        if let Some(found) = &found {
            found.sync().with_context(|| format!("cannot sync `{}`", self.path.join(from).shown()))?;
        }
        // A version that no program writes to any more is not stored twice: a backup may hold it already.
        let closed = found.as_ref().filter(|found| !ffi::is_open_for_writing(&found.file).unwrap_or(true));
        let mut number = 1;
        loop {
            let kept = match number {
                1 => format!("{name}.edited"),
                number => format!("{name}.edited-{number}"),
            };
            match self.rename_new(from, &kept) {
                Ok(()) => {
                    self.sync()?;
                    return Ok(kept);
                }
                Err(Errno::EXIST) => {
                    let there = self.read(&kept).ok().flatten().map(|found| found.content.bytes);
                    if there.is_some() && there.as_ref() == closed.map(|found| &found.content.bytes) {
                        self.unlink(from)?;
                        return Ok(kept);
                    }
                    number += 1;
                }
                Err(error) => {
                    let from = self.path.join(from);
                    let where_to = format!("cannot keep `{}` as `{}.edited`", from.shown(), path.shown());
                    return Err(error).context(where_to);
                }
            }
        }
    }

    /// Removes the temporary files of an interrupted run. `known` tells whether the journal has these bytes for this
    /// name, and can allow for bytes that a crash of the machine truncated. Returns what was kept: the file's name,
    /// and the new name of its edited version.
    ///
    /// Call it only while holding the lock that guards all our writes.
    pub fn sweep(&self, known: &dyn Fn(&str, &[u8]) -> bool) -> Result<Vec<(String, String)>> {
        let mut kept = Vec::new();
        let listing =
            Dir::read_from(&self.fd).with_context(|| format!("cannot list the folder `{}`", self.path.shown()))?;
        for entry in listing {
            let entry = entry.with_context(|| format!("cannot list the folder `{}`", self.path.shown()))?;
            let Some(left) = entry.file_name().to_bytes().strip_prefix(TEMPORARY.as_bytes()) else { continue };
            let Ok(whole) = entry.file_name().to_str() else { continue };
            let Some(name) = left.strip_prefix(b"swap-") else {
                // Version 0.1 used only names of this kind, and only for new versions.
                let old = left.len() == 6 && left.iter().all(u8::is_ascii_alphanumeric);
                if left.starts_with(b"new-") || old {
                    self.unlink(whole)?;
                }
                continue;
            };
            if entry.file_type() == FileType::Directory {
                continue;
            }
            let name = String::from_utf8_lossy(name).into_owned();
            let ours = self.read(whole)?.is_none_or(|found| {
                let bytes = &found.content.bytes;
                (known(&name, bytes) || self.is_copy(&name, bytes))
                    && !ffi::is_open_for_writing(&found.file).unwrap_or(false)
            });
            if ours {
                self.unlink(whole)?;
            } else {
                let edited = self.keep(whole, &name)?;
                kept.push((name, edited));
            }
        }
        Ok(kept)
    }

    /// Whether `name` is a name for an edited version of a file, and these bytes exist elsewhere too: in the file's
    /// place, in a stash, or in a kept version.
    fn is_copy(&self, name: &str, bytes: &[u8]) -> bool {
        let Some((file, number)) = name.rsplit_once(".edited") else { return false };
        let numbered = number.strip_prefix('-').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let has = |name: &str| matches!(self.read(name), Ok(Some(found)) if found.content.bytes == bytes);
        (number.is_empty() || numbered) && (has(file) || has(&swap_name(file)) || has(name))
    }

    /// Exchanges two names; false if the file system does not support it.
    fn exchange(&self, one: &str, other: &str) -> rustix::io::Result<bool> {
        if !self.exchanges.get() {
            return Ok(false);
        }
        match retry_on_intr(|| renameat_with(&self.fd, one, &self.fd, other, RenameFlags::EXCHANGE)) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                self.exchanges.set(false);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Found {
    /// Syncs the file's content.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // If the removal fails, the next command removes the file.
            let _ = self.folder.unlink(&self.name);
        }
    }
}

impl<'folder> Put<'folder> {
    /// Puts `prepared` in the place of `before`. The old file is stashed, not removed.
    ///
    /// # Errors
    /// A file where `before` has none, or none where it has one; a rename that fails.
    pub fn in_place(
        folder: &'folder Folder,
        name: &'folder str,
        before: Option<&'folder Content>,
        after: Option<&'folder Content>,
        prepared: Option<Prepared>,
    ) -> Result<Self> {
        let aside = swap_name(name);
        let old = match (before, prepared) {
            (Some(_), Some(mut prepared)) => match folder.exchange(&aside, name) {
                Ok(true) => {
                    // This name now belongs to the old file, so drop must not remove it.
                    prepared.name.clear();
                    Ok(Old::Stash)
                }
                Ok(false) => replace(folder, name, &aside, prepared),
                Err(error) => Err(error),
            },
            (None, Some(mut prepared)) => folder.rename_new(&aside, name).map(|()| {
                prepared.name.clear();
                Old::None
            }),
            (Some(_), None) => folder.rename_new(name, &aside).map(|()| Old::Stash),
            (None, None) => Ok(Old::None),
        };
        let path = folder.path.join(name);
        match old {
            Ok(old) => Ok(Self { folder, name, before, after, old }),
            Err(Errno::EXIST | Errno::NOENT) => Err(changed(&path).into()),
            Err(error) => Err(error).with_context(|| format!("cannot write `{}`", path.shown())),
        }
    }

    /// Compares the replaced file with what was read before.
    pub fn verdict(&self) -> Result<Verdict> {
        let (Some(before), Old::Stash) = (self.before, self.old) else { return Ok(Verdict::Same) };
        let aside = swap_name(self.name);
        let Ok(Some(Found { file, .. })) = self.folder.read(&aside) else { return Ok(Verdict::Saved) };
        // The check for writers comes before the read: in this order no write can be missed. A file system without
        // leases counts as having no writers.
        let held = ffi::is_open_for_writing(&file).unwrap_or(false);
        match self.folder.read(&aside)? {
            Some(found) if found.content == *before => Ok(if held { Verdict::Held } else { Verdict::Same }),
            _ => Ok(Verdict::Saved),
        }
    }

    /// Finishes the replacement: removes the old file, or keeps it as `NAME.edited` if another program has it open
    /// for writing. Returns that name.
    pub fn finish(&self, verdict: Verdict) -> Result<Option<String>> {
        let aside = swap_name(self.name);
        match (self.old, verdict) {
            (Old::Stash, Verdict::Same) => self.folder.unlink(&aside).map(|()| None),
            (Old::Stash, _) => self.folder.keep(&aside, self.name).map(Some),
            _ => Ok(None),
        }
    }

    /// Rolls the replacement back: the old file returns with the same inode. Returns the name of a version that
    /// another program saved over ours in the meantime.
    pub fn take_back(&self) -> Result<Option<String>> {
        let Self { folder, name, before, after, old } = self;
        let aside = swap_name(name);
        let path = folder.path.join(name);
        let failed = || format!("cannot roll back `{}`", path.shown());
        let ours_is_aside = match old {
            Old::Stash if after.is_none() => {
                // Another program may have made a new file after ours was removed. Then ours is the older version.
                return match folder.rename_new(&aside, name) {
                    Err(Errno::EXIST) => folder.keep(&aside, name).map(Some),
                    other => other.with_context(failed).map(|()| None),
                };
            }
            Old::Stash => match folder.exchange(&aside, name).with_context(failed)? {
                true => true,
                false => {
                    renameat(&folder.fd, &aside, &folder.fd, *name).with_context(failed)?;
                    false
                }
            },
            Old::None if after.is_some() => folder.rename_new(name, &aside).map(|()| true).with_context(failed)?,
            Old::None => false,
            Old::Gone => {
                let Some(before) = before else { return Ok(None) };
                let mut again = folder.prepare(name, before, folder.read(name)?.as_ref(), true)?;
                renameat(&folder.fd, &again.name, &folder.fd, *name).with_context(failed)?;
                again.name.clear();
                false
            }
        };
        if !ours_is_aside {
            return Ok(None);
        }
        let ours = folder.read(&aside)?.is_none_or(|found| after.is_some_and(|after| found.content == *after));
        if ours { folder.unlink(&aside).map(|()| None) } else { folder.keep(&aside, name).map(Some) }
    }
}

/// Puts `prepared` over `name` on a file system that cannot exchange the two.
fn replace(folder: &Folder, name: &str, aside: &str, mut prepared: Prepared) -> rustix::io::Result<Old> {
    let new = format!("{TEMPORARY}new-{}", std::process::id());
    folder.rename_new(aside, &new)?;
    prepared.name.clone_from(&new);
    let linked = retry_on_intr(|| linkat(&folder.fd, name, &folder.fd, aside, AtFlags::empty()));
    if linked == Err(Errno::NOENT) {
        return Err(Errno::NOENT);
    }
    if let Err(error) = retry_on_intr(|| renameat(&folder.fd, &new, &folder.fd, name)) {
        if linked.is_ok() {
            let _ = unlinkat(&folder.fd, aside, AtFlags::empty());
        }
        return Err(error);
    }
    prepared.name.clear();
    Ok(if linked.is_ok() { Old::Stash } else { Old::Gone })
}

/// The refusal of a file that another program changed.
pub fn changed(path: &Path) -> Error {
    Error::refused(format!("`{}` changed while rr-patch was reading it", path.shown())).hint("run the command again")
}

/// Refuses a file that another user owns, because its new version would belong to us.
pub fn refuse_other_owner(found: &Found, path: &str) -> Result<()> {
    let owner = found.file.metadata().with_context(|| format!("cannot look at `{path}`"))?.uid();
    let us = geteuid().as_raw();
    if owner == us {
        return Ok(());
    }
    Err(Error::refused(format!("`{path}` belongs to another user"))
        .detail(format!("expected: a file of the user {us}, who runs rr-patch; found: one of the user {owner}"))
        .hint("run rr-patch as that user, or `chown` the file")
        .into())
}

/// Opens a folder by its path from the top, without following links.
fn beneath(top: &Path, below: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = retry_on_intr(|| open(top, flags, Mode::empty()))?;
    if below.as_os_str().is_empty() {
        return Ok(base);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match retry_on_intr(|| openat2(&base, below, flags, Mode::empty(), resolve)) {
        // Linux before 5.6, or a seccomp filter that does not allow `openat2`: open one element after the other.
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut here = base;
            for part in below.components() {
                let Component::Normal(part) = part else { return Err(Errno::XDEV) };
                here = match retry_on_intr(|| openat(&here, part, flags | OFlags::NOFOLLOW, Mode::empty())) {
                    // With O_DIRECTORY the kernel reports a link as "not a directory".
                    Err(Errno::NOTDIR) if is_link(&here, part) => return Err(Errno::LOOP),
                    other => other?,
                };
            }
            Ok(here)
        }
        other => other,
    }
}

fn is_link(folder: impl AsFd, name: &OsStr) -> bool {
    let seen = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    seen.is_ok_and(|seen| FileType::from_raw_mode(seen.st_mode) == FileType::Symlink)
}

/// Copies the group, the access list and the extended attributes of `from` to `to`.
fn keep_attributes(from: &File, to: &File, path: &Path) -> Result<()> {
    let cannot = |what: &str| format!("cannot keep {what} of `{}`", path.shown());
    let group = fstat(from).with_context(|| cannot("the group"))?.st_gid;
    if fstat(to).with_context(|| cannot("the group"))?.st_gid != group {
        let kept = retry_on_intr(|| fchown(to, None, Some(Gid::from_raw(group))));
        kept.map_err(|error| {
            Error::failed(format!("{}, {group}: {}", cannot("the group"), io::Error::from(error)))
                .hint("run rr-patch as a user who is in that group, or `chgrp` the file")
        })?;
    }
    let mut names = vec![0; 64 * 1024]; // XATTR_LIST_MAX: the longest list that Linux returns
    let length = match retry_on_intr(|| flistxattr(from, &mut names[..])) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
        Err(error) => return Err(error).with_context(|| cannot("the attributes")),
    };
    let mut value = vec![0; 64 * 1024]; // XATTR_SIZE_MAX
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        let shown = name.to_string_lossy();
        // These attributes belong to the user: losing one loses data or gives others access to the file. The rest
        // belong to the system: a label is copied if the policy allows it, and a signature of the old bytes is
        // useless.
        let users = shown.starts_with("user.") || shown == "system.posix_acl_access";
        if !users && (shown == "security.capability" || shown == "security.ima" || shown == "security.evm") {
            continue;
        }
        let copied = retry_on_intr(|| fgetxattr(from, name, &mut value[..]))
            .and_then(|length| retry_on_intr(|| fsetxattr(to, name, &value[..length], XattrFlags::empty())));
        if users {
            copied.with_context(|| cannot(&format!("the attribute `{shown}`")))?;
        }
    }
    Ok(())
}
