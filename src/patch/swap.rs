//! Putting a file in the place of another so that nobody's save is lost.
//!
//! An editor may save at any moment: after a file was read, and before a new version replaces it. A
//! plain rename would drop that save. So the two files change places (`RENAME_EXCHANGE`), what came out
//! is compared with what was read, and is put back if it differs. A file that came out and that an
//! editor still holds open for writing (a lease tells) is kept as `NAME.edited`: what the editor writes
//! later goes there.
//!
//! | name in the folder | what it is | what becomes of it if it is found later |
//! | --- | --- | --- |
//! | `.rr-patch-new-…` | a new version that is being written | it goes |
//! | `.rr-patch-swap-NAME` | a whole new version of NAME, and after the exchange what NAME was | it goes if the journal has its bytes; else it becomes `NAME.edited` |
//!
//! Folders are opened once, by handle and without following links (`openat2`), so that a folder which
//! is swapped for a link meanwhile leads nowhere.
//!
//! Where a file system cannot exchange two files (NFS, some FUSE file systems), the old file gets a second
//! name by a hard link and the new one is renamed over the first. A save that is itself a rename and
//! falls between those two calls is lost there; one that writes in place is kept.

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

/// A folder of the checkout, by handle.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether the file system exchanges two files in one step; false once it has refused.
    exchanges: Cell<bool>,
}

/// A regular file of a folder.
#[derive(Debug)]
pub struct Found {
    pub content: Content,
    file: File,
}

/// The new version of a file, whole, beside it. Dropped, it goes.
#[derive(Debug)]
pub struct Prepared<'folder> {
    folder: &'folder Folder,
    name: String,
    file: Option<File>,
}

/// What a step put in place, with what is needed to take it back.
#[derive(Debug)]
pub struct Put<'folder> {
    folder: &'folder Folder,
    name: &'folder str,
    before: Option<&'folder Content>,
    after: Option<&'folder Content>,
    old: Old,
}

/// Where the file went that was in the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    /// There was none.
    None,
    /// It has our name for swaps.
    Aside,
    /// The file system could give it no second name: it is gone.
    Gone,
}

/// Whether what came out of a place is what was read there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// The same bytes, but some program has the file open for writing.
    Held,
    /// Somebody saved another version meanwhile.
    Saved,
}

fn swap_name(name: &str) -> String {
    let name = format!("{TEMPORARY}swap-{name}");
    // A name may have 255 bytes; longer ones lose their end.
    let end = (0..=name.len().min(255)).rev().find(|&end| name.is_char_boundary(end));
    name[..end.unwrap_or_default()].to_owned()
}

impl Folder {
    /// Opens the folder `below` the `top` of the checkout; nothing where there is none.
    ///
    /// # Errors
    /// A link in its way: links are resolved before, so one that is met here was put there meanwhile.
    pub fn open(top: &Path, below: &Path) -> Result<Option<Self>> {
        let path = top.join(below);
        match beneath(top, below) {
            Ok(fd) => Ok(Some(Self { fd, path, exchanges: Cell::new(true) })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => {
                Err(Error::refused(format!("`{}` is no longer the folder that it was", path.shown()))
                    .detail("found: a link in its place, which rr-patch does not follow")
                    .hint("run the command again once nothing else changes the checkout")
                    .into())
            }
            Err(error) => Err(error).with_context(|| format!("cannot open the folder `{}`", path.shown())),
        }
    }

    /// Makes the folder `name` in this one.
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

    /// Removes the folder `name` in this one, if it is empty; says whether it did.
    pub fn remove_empty(&self, name: &OsStr) -> bool {
        unlinkat(&self.fd, name, AtFlags::REMOVEDIR).is_ok()
    }

    /// Makes durable which names the folder holds.
    pub fn sync(&self) -> Result<()> {
        retry_on_intr(|| rustix::fs::fsync(&self.fd))
            .with_context(|| format!("cannot sync the folder `{}`", self.path.shown()))
    }

    /// The regular file of that name; nothing where there is none.
    ///
    /// # Errors
    /// Something else in its place.
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

    /// Writes the new version of a file beside it: with the mode given, and with the group, the access
    /// list and the attributes of `like`.
    ///
    /// # Errors
    /// A full disk, a folder that cannot be written, an attribute that cannot be kept.
    pub fn prepare(&self, name: &str, new: &Content, like: Option<&Found>, durable: bool) -> Result<Prepared<'_>> {
        let path = self.path.join(name);
        let (mut file, written) = self.create().with_context(|| format!("cannot write `{}`", path.shown()))?;
        let mut prepared = Prepared { folder: self, name: written, file: None };
        file.write_all(&new.bytes).with_context(|| format!("cannot write `{}`", path.shown()))?;
        if let Some(like) = like {
            keep_attributes(&like.file, &file, &path)?;
        }
        // The access list comes first: a mode that is set after it narrows its mask, as `chmod` does.
        retry_on_intr(|| fchmod(&file, Mode::from_raw_mode(new.mode)))
            .with_context(|| format!("cannot set the mode of `{}`", path.shown()))?;
        if durable {
            file.sync_all().with_context(|| format!("cannot sync the new version of `{}`", path.shown()))?;
        }
        let whole = swap_name(name);
        self.rename_new(&prepared.name, &whole).map_err(|error| match error {
            Errno::EXIST => anyhow::Error::from(
                Error::failed(format!("`{}` is in the way", self.path.join(&whole).shown()))
                    .hint("move it away: an earlier rr-patch was ended while it wrote, and it could not be cleared"),
            ),
            error => anyhow::Error::from(error).context(format!("cannot write `{}`", path.shown())),
        })?;
        prepared.name = whole;
        prepared.file = Some(file);
        Ok(prepared)
    }

    /// A file of a new name.
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

    /// Renames within the folder where nothing has the new name yet.
    fn rename_new(&self, from: &str, to: &str) -> rustix::io::Result<()> {
        match retry_on_intr(|| renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE)) {
            // NFS, and some FUSE file systems: a hard link fails too where there is something.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match retry_on_intr(|| linkat(&self.fd, from, &self.fd, to, AtFlags::empty())) {
                    Ok(()) => retry_on_intr(|| unlinkat(&self.fd, from, AtFlags::empty())),
                    Err(Errno::EXIST) => Err(Errno::EXIST),
                    // No hard links either. What remains is to look first.
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

    /// Gives a file that somebody edited the first free name of `NAME.edited`, `NAME.edited-2`, …, durably.
    /// It must not end in `.go`: Go would compile it.
    fn keep(&self, from: &str, name: &str) -> Result<String> {
        let path = self.path.join(name);
        let found = self.read(from)?;
        if let Some(found) = &found {
            found.sync().with_context(|| format!("cannot sync `{}`", self.path.join(from).shown()))?;
        }
        // What nobody writes to any more need not be kept twice: a backup may hold it already.
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

    /// Removes what an interrupted run left in the folder. `known` holds the bytes that the journal
    /// has for each name. Returns what was kept: a name, and the name under which its edited version is
    /// now. `cut_off` allows for bytes that a crash of the machine dropped.
    ///
    /// Only call it with the lock held under which all our writes are made.
    pub fn sweep(&self, known: &dyn Fn(&str, &[u8]) -> bool) -> Result<Vec<(String, String)>> {
        let mut kept = Vec::new();
        let listing =
            Dir::read_from(&self.fd).with_context(|| format!("cannot list the folder `{}`", self.path.shown()))?;
        for entry in listing {
            let entry = entry.with_context(|| format!("cannot list the folder `{}`", self.path.shown()))?;
            let Some(left) = entry.file_name().to_bytes().strip_prefix(TEMPORARY.as_bytes()) else { continue };
            let Ok(whole) = entry.file_name().to_str() else { continue };
            let Some(name) = left.strip_prefix(b"swap-") else {
                // 0.1 had one kind of name, for new versions only.
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

    /// Whether `name` is one for the edited version of a file, and that version is elsewhere too: in the file's
    /// place, put aside, or kept already.
    fn is_copy(&self, name: &str, bytes: &[u8]) -> bool {
        let Some((file, number)) = name.rsplit_once(".edited") else { return false };
        let numbered = number.strip_prefix('-').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let has = |name: &str| matches!(self.read(name), Ok(Some(found)) if found.content.bytes == bytes);
        (number.is_empty() || numbered) && (has(file) || has(&swap_name(file)) || has(name))
    }

    /// Exchanges two names; false where the file system cannot.
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
    /// Makes durable what the file holds.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // What cannot be removed is swept by the next command.
            let _ = self.folder.unlink(&self.name);
        }
    }
}

impl<'folder> Put<'folder> {
    /// Puts a step in place: `prepared` where `before` was. What was there is put aside, not removed.
    ///
    /// # Errors
    /// Another file in a place where none was, or none where one was; a rename that fails.
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
                    // The name is now that of what came out.
                    prepared.name.clear();
                    Ok(Old::Aside)
                }
                Ok(false) => replace(folder, name, &aside, prepared),
                Err(error) => Err(error),
            },
            (None, Some(mut prepared)) => folder.rename_new(&aside, name).map(|()| {
                prepared.name.clear();
                Old::None
            }),
            (Some(_), None) => folder.rename_new(name, &aside).map(|()| Old::Aside),
            (None, None) => Ok(Old::None),
        };
        let path = folder.path.join(name);
        match old {
            Ok(old) => Ok(Self { folder, name, before, after, old }),
            Err(Errno::EXIST | Errno::NOENT) => Err(changed(&path).into()),
            Err(error) => Err(error).with_context(|| format!("cannot write `{}`", path.shown())),
        }
    }

    /// Compares what came out with what was read before.
    pub fn verdict(&self) -> Result<Verdict> {
        let (Some(before), Old::Aside) = (self.before, self.old) else { return Ok(Verdict::Same) };
        let aside = swap_name(self.name);
        let Ok(Some(Found { file, .. })) = self.folder.read(&aside) else { return Ok(Verdict::Saved) };
        // First whether anybody can still write to it, then what it holds: in this order nothing falls
        // between the two. A file system without leases is taken to have no writers.
        let held = ffi::is_open_for_writing(&file).unwrap_or(false);
        match self.folder.read(&aside)? {
            Some(found) if found.content == *before => Ok(if held { Verdict::Held } else { Verdict::Same }),
            _ => Ok(Verdict::Saved),
        }
    }

    /// Ends the step: what came out goes, or is kept as `NAME.edited` if it is still held open. Returns that
    /// name.
    pub fn finish(&self, verdict: Verdict) -> Result<Option<String>> {
        let aside = swap_name(self.name);
        match (self.old, verdict) {
            (Old::Aside, Verdict::Same) => self.folder.unlink(&aside).map(|()| None),
            (Old::Aside, _) => self.folder.keep(&aside, self.name).map(Some),
            _ => Ok(None),
        }
    }

    /// Takes the step back: what was there is there again, to the inode. Returns the name of a version that
    /// was saved over ours meanwhile.
    pub fn take_back(&self) -> Result<Option<String>> {
        let Self { folder, name, before, after, old } = self;
        let aside = swap_name(name);
        let path = folder.path.join(name);
        let failed = || format!("cannot take back `{}`", path.shown());
        let ours_is_aside = match old {
            Old::Aside if after.is_none() => {
                // Somebody may have made a new file where ours was removed: then ours is the older one.
                return match folder.rename_new(&aside, name) {
                    Err(Errno::EXIST) => folder.keep(&aside, name).map(Some),
                    other => other.with_context(failed).map(|()| None),
                };
            }
            Old::Aside => match folder.exchange(&aside, name).with_context(failed)? {
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

/// Puts `prepared` over `name` where the file system cannot exchange the two.
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
    Ok(if linked.is_ok() { Old::Aside } else { Old::Gone })
}

/// The refusal of a file that somebody else changes.
pub fn changed(path: &Path) -> Error {
    Error::refused(format!("`{}` changed while rr-patch was looking at it", path.shown())).hint("run the command again")
}

/// Refuses a file that another user owns: its new version would be ours.
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

/// Opens a folder by its path from the top, through no link.
fn beneath(top: &Path, below: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = retry_on_intr(|| open(top, flags, Mode::empty()))?;
    if below.as_os_str().is_empty() {
        return Ok(base);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match retry_on_intr(|| openat2(&base, below, flags, Mode::empty(), resolve)) {
        // Before Linux 5.6, and under seccomp filters that do not know the call: element by element.
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut here = base;
            for part in below.components() {
                let Component::Normal(part) = part else { return Err(Errno::XDEV) };
                here = match retry_on_intr(|| openat(&here, part, flags | OFlags::NOFOLLOW, Mode::empty())) {
                    // With O_DIRECTORY a link is "not a directory".
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

/// Gives `to` the group, the access list and the extended attributes of `from`.
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
    let mut names = vec![0; 64 * 1024]; // the most that Linux gives: XATTR_LIST_MAX
    let length = match retry_on_intr(|| flistxattr(from, &mut names[..])) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
        Err(error) => return Err(error).with_context(|| cannot("the attributes")),
    };
    let mut value = vec![0; 64 * 1024]; // XATTR_SIZE_MAX
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        let shown = name.to_string_lossy();
        // These are the user's: losing one loses data or opens the file to others. The rest belongs to the
        // system: a label is kept where the policy allows, a signature of the old bytes is no use.
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
