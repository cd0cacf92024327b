//! The journal: the original files, stored durably in `<git dir>/rr-patch/` before the first write.
//!
//! The same paths can have different originals on different branches. `begin` keeps the previous journal under
//! another name if its originals differ from the new ones and git does not have them.
//!
//! A journal is one file: a line of JSON, then the bytes of every file before and after. It does not record progress.
//! A file that equals `before` is not patched yet, a file that equals `after` is patched, any other file was edited.
//! Therefore neither a kill at any point nor `git stash` or `git checkout` between two calls needs special handling.
//!
//! A crash of the machine does need it: only the journal is synced, so files that apply wrote may be truncated. The
//! journal stores the boot id. A truncated version counts as crash damage only if the machine was restarted after the
//! journal was written; within one boot it counts as an edit.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Shown};
use crate::patch::build_lock::refuse_while_building;
use crate::patch::checkout::{Checkout, Commit, Content, conflict_lines, merge};
use crate::patch::hunks::line_now;
use crate::patch::plan::{AppliedWith, Plan, Rewrite};
use crate::patch::rules::Site;
use crate::patch::transaction::{self, KeptEdit, folder_modes};
use crate::sys::write;

/// The version of the journal format that this build writes, and the newest one that it reads.
const FORMAT: u32 = 1;

/// The record of one apply, which may be partly or fully reverted by now.
#[derive(Debug)]
pub struct Journal {
    pub plan: Plan,
    pub about: JournalHeader,
    /// The folders of the files, from the installer's root, with their modes before the apply; `None` for a folder
    /// that did not exist.
    pub folders: Vec<(String, Option<u32>)>,
    path: PathBuf,
    /// When the journal was written; set only if the machine was restarted after that.
    crash_after: Option<SystemTime>,
}

/// The options of an apply, and the version of rr-patch that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHeader {
    /// The version of rr-patch.
    pub tool: String,
    /// The commit that was checked out.
    pub base: Option<String>,
    #[serde(flatten)]
    pub how: AppliedWith,
    /// The commit that apply made of the changes, if `--commit` was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

/// The state of a file compared with the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Equal to the file before the apply.
    Original,
    /// Equal to the file after the apply.
    Patched,
    /// Neither of the two.
    Edited,
    /// Truncated by a crash of the machine: a prefix of the file before or after the apply.
    CutOff,
    /// Missing, although the journal has it both before and after.
    Missing,
}

/// The current version of one of the journal's files.
#[derive(Debug)]
pub struct Seen<'journal> {
    pub rewrite: &'journal Rewrite,
    pub current: Option<Content>,
    pub state: State,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    #[serde(flatten)]
    about: JournalHeader,
    shape: String,
    sites: Vec<Site>,
    files: Vec<FileEntry>,
    /// The boot id when the journal was written; journals of version 0.1 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    folders: Vec<(String, Option<u32>)>,
}

/// The fields that every format of the journal has, older and newer ones.
#[derive(Deserialize)]
struct Version {
    format: u32,
    tool: String,
}

#[derive(Serialize, Deserialize)]
struct FileEntry {
    path: String,
    before: Option<Blob>,
    after: Option<Blob>,
}

#[derive(Serialize, Deserialize)]
struct Blob {
    length: usize,
    mode: u32,
    hash: String,
}

/// The checkout's lock: it prevents two rr-patch processes from writing at the same time.
#[derive(Debug)]
pub struct JournalLock {
    folder: PathBuf,
    _file: File,
}

/// Dropping the lock also removes a state folder that holds nothing else, so that a refusal or a revert leaves a tree
/// without git unchanged.
impl Drop for JournalLock {
    fn drop(&mut self) {
        let only_lock =
            |mut entries: fs::ReadDir| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOCK));
        if fs::read_dir(&self.folder).is_ok_and(only_lock) {
            // The folders stay if they hold the state of another checkout or if another rr-patch has just started.
            let _ = fs::remove_file(self.folder.join(LOCK));
            let _ = fs::remove_dir(&self.folder);
            let _ = self.folder.parent().map(fs::remove_dir);
        }
    }
}

impl JournalLock {
    /// Takes the checkout's lock.
    ///
    /// # Errors
    /// Another rr-patch holds it, or a build reads the files that would change.
    pub fn take(checkout: &Checkout) -> Result<Self> {
        let folder = checkout.state_dir();
        let path = folder.join(LOCK);
        let mut tries = 0;
        loop {
            let opened = fs::create_dir_all(folder)
                .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path));
            let file = match opened {
                // The previous holder may be removing the folders right now: then mkdir fails with AlreadyExists or
                // open with NotFound. If the error persists, it has another cause.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
                        && tries < 100 =>
                {
                    tries += 1;
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists) => {
                    return Err(Error::refused(format!("cannot make the folder `{}`", folder.shown()))
                        .detail("found: a file in its place, or in that of a folder above it")
                        .hint("move that file away: rr-patch keeps the originals in this folder")
                        .into());
                }
                file => file.with_context(|| format!("cannot open `{}`", path.shown()))?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::refused(format!("another rr-patch is changing `{}`", checkout.root().shown()))
                        .detail(format!("found: a lock on `{}`", path.shown()))
                        .hint("wait for it to end; the lock is released when its process ends")
                        .into());
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock `{}`", path.shown()));
                }
            }
            // If the locked file was removed in the meantime, the lock is worthless: other processes lock the new
            // file.
            let held = file.metadata().with_context(|| format!("cannot look at `{}`", path.shown()))?.ino();
            if fs::metadata(&path).is_ok_and(|found| found.ino() == held) {
                let lock = Self { folder: folder.to_owned(), _file: file };
                refuse_while_building(checkout)?;
                write::sweep(folder);
                return Ok(lock);
            }
        }
    }
}

/// Whether the state folder holds files of a run that was killed before it wrote the journal, or after it removed it.
pub fn has_leftovers(checkout: &Checkout) -> bool {
    let Ok(entries) = fs::read_dir(checkout.state_dir()) else { return false };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.iter().all(|name| name == LOCK) || names.iter().any(|name| write::is_temporary(name))
}

/// The lock file in the state folder.
const LOCK: &str = "lock";

/// The prefix of the names of older journals, which a newer journal with other originals replaced. The newest journal
/// is named `journal`, as in version 0.1.
const KEPT: &str = "journal-";

/// Each file that existed before the apply, with its git blob id.
fn originals(plan: &Plan) -> Result<BTreeMap<&str, String>> {
    let there = plan.rewrites.iter().filter_map(|rewrite| Some((&*rewrite.path, rewrite.before.as_ref()?)));
    there.map(|(path, before)| Ok((path, before.hash()?))).collect()
}

impl Journal {
    fn path_of(checkout: &Checkout) -> PathBuf {
        checkout.state_dir().join("journal")
    }

    /// The journals of this checkout: the one of the newest apply, then the older ones, newest first.
    ///
    /// # Errors
    /// A journal that a newer version wrote, or a damaged one. It is not changed.
    pub fn all(checkout: &Checkout) -> Result<Vec<Self>> {
        let mut journals: Vec<Self> = Self::read(&Self::path_of(checkout))?.into_iter().collect();
        let names = fs::read_dir(checkout.state_dir()).into_iter().flatten().flatten();
        let mut kept: Vec<(Option<SystemTime>, PathBuf)> = names
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(KEPT.as_bytes()))
            .map(|entry| (entry.metadata().and_then(|seen| seen.modified()).ok(), entry.path()))
            .collect();
        kept.sort_by(|one, other| other.cmp(one));
        for (_, path) in kept {
            journals.extend(Self::read(&path)?);
        }
        Ok(journals)
    }

    fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.shown())),
        };
        parse(path, &bytes).map(Some)
    }

    /// Whether this is the journal of the newest apply.
    pub fn is_newest(&self, checkout: &Checkout) -> bool {
        self.path == Self::path_of(checkout)
    }

    /// A journal for changes that were recognised in the sources. Nothing is written before [`Journal::begin`].
    pub fn found(checkout: &Checkout, plan: Plan, about: JournalHeader) -> Self {
        let folders = folder_modes(checkout, &plan.rewrites);
        Self { plan, about, folders, path: Self::path_of(checkout), crash_after: None }
    }

    /// Writes this journal durably. Call it before any of the files changes.
    pub fn adopt(self, checkout: &Checkout) -> Result<Self> {
        Self::begin(checkout, self.plan, self.about)
    }

    /// Writes a journal with the originals in `plan` durably.
    pub fn begin(checkout: &Checkout, plan: Plan, about: JournalHeader) -> Result<Self> {
        let path = Self::path_of(checkout);
        let folders = folder_modes(checkout, &plan.rewrites);
        let others = Self::all(checkout)?;
        let first = !path.exists();
        if let Some(newest) = others.iter().find(|other| other.is_newest(checkout)) {
            newest.keep_beside(checkout, &plan)?;
        }
        write::replace(&path, &serialise(&plan, &about, &folders)?, 0o600)?;
        if first {
            // The parents of the journal's folder may be new too.
            for above in checkout.state_dir().ancestors().skip(1).take(2) {
                write::sync(above)?;
            }
        }
        // By now the originals of these journals are in the new journal or in git.
        for other in others.iter().filter(|other| !other.is_newest(checkout)) {
            if originals(&other.plan)? == originals(&plan)? || other.is_in_git(checkout)? {
                write::remove(&other.path)?;
            }
        }
        Ok(Self { plan, about, folders, path, crash_after: None })
    }

    /// Keeps this journal under another name before `next` replaces it, if the originals differ: then they belong to
    /// another branch. Not needed if the base commit has all originals.
    fn keep_beside(&self, checkout: &Checkout, next: &Plan) -> Result<()> {
        let own = originals(&self.plan)?;
        if own == originals(next)? || self.is_in_git(checkout)? {
            return Ok(());
        }
        let name = Content { bytes: serde_json::to_vec(&own)?, mode: 0 }.hash()?;
        let path = checkout.state_dir().join(format!("{KEPT}{name}"));
        let bytes = fs::read(&self.path).with_context(|| format!("cannot read `{}`", self.path.shown()))?;
        write::replace(&path, &bytes, 0o600)
    }

    /// Whether the base commit has all originals. Then they can be found without a journal.
    fn is_in_git(&self, checkout: &Checkout) -> Result<bool> {
        let Some(base) = &self.about.base else { return Ok(false) };
        for Rewrite { path, before, .. } in &self.plan.rewrites {
            if let Some(before) = before
                && !checkout.has(base, path, before)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the journal after the originals are back in place. The files are synced first, because nothing else
    /// holds the originals. `backups` are the files with edited versions.
    pub fn end(self, checkout: &Checkout, backups: &[&str]) -> Result<()> {
        let files = self.plan.rewrites.iter().map(|rewrite| rewrite.path.as_str());
        transaction::sync(checkout, files.chain(backups.iter().copied()))?;
        transaction::remove_made_folders(checkout, &self.folders);
        write::remove(&self.path)?;
        self.path.parent().map_or(Ok(()), write::sync)
    }

    /// Removes the temporary files of an interrupted run. Returns the versions that somebody had saved, which are
    /// kept.
    pub fn sweep(&self, checkout: &Checkout) -> Result<Vec<KeptEdit>> {
        let known = |rewrite: &Rewrite, bytes: &[u8]| {
            let mut versions = [&rewrite.before, &rewrite.after].into_iter().flatten();
            versions.any(|version| self.crash_after.is_some() && begins(version, bytes))
                || is_merged(checkout, rewrite, bytes).unwrap_or(false)
        };
        transaction::sweep(checkout, &self.plan.rewrites, &known)
    }

    /// Compares each file with the journal, in the order of the plan.
    pub fn look(&self, checkout: &Checkout) -> Result<Vec<Seen<'_>>> {
        let mut seen = Vec::new();
        for rewrite in &self.plan.rewrites {
            let current = checkout.read(&rewrite.path)?;
            let state = self.state(checkout, rewrite, current.as_ref());
            seen.push(Seen { rewrite, current, state });
        }
        Ok(seen)
    }

    /// The state of a file whose current content is `current`.
    fn state(&self, checkout: &Checkout, rewrite: &Rewrite, current: Option<&Content>) -> State {
        let same = |content: &Option<Content>| content.as_ref().map(|c| &c.bytes) == current.map(|c| &c.bytes);
        match current {
            _ if same(&rewrite.after) => State::Patched,
            _ if same(&rewrite.before) => State::Original,
            Some(current) if self.was_cut_off(checkout, rewrite, current) => State::CutOff,
            Some(_) => State::Edited,
            None => State::Missing,
        }
    }

    /// Whether the machine was restarted after the journal was written and the file is a prefix of one of the
    /// journal's versions. A file with a later modification time was shortened by somebody else, before or after the
    /// restart.
    fn was_cut_off(&self, checkout: &Checkout, rewrite: &Rewrite, current: &Content) -> bool {
        let Some(journal_written) = self.crash_after else { return false };
        let is_beginning = [&rewrite.before, &rewrite.after].into_iter().flatten().any(|v| begins(v, &current.bytes));
        let written = || fs::metadata(checkout.locate(&rewrite.path)).and_then(|seen| seen.modified()).ok();
        is_beginning && written().is_some_and(|written| written <= journal_written + LONGEST_APPLY)
    }

    /// The plan that restores the originals, with later edits merged into them.
    ///
    /// # Errors
    /// With [`Edits::Merge`], edits that touch lines which apply changed. The error shows the lines.
    pub fn undo(&self, checkout: &Checkout, edits: Edits) -> Result<Undo> {
        let force = edits != Edits::Merge;
        let mut undo = Undo { rewrites: Vec::new(), merged: Vec::new(), backups: Vec::new() };
        let (mut conflicts, mut deleted) = (Vec::new(), 0);
        for seen in self.look(checkout)? {
            let mut target = seen.original();
            let Seen { rewrite: Rewrite { path, before, after }, current, state } = seen;
            match state {
                State::Original => continue,
                State::Patched | State::CutOff => {}
                State::Missing if force => {}
                State::Missing => {
                    conflicts.push(format!("`{path}` was deleted since"));
                    deleted += 1;
                    continue;
                }
                State::Edited => match edits.merged(after.as_ref(), current.as_ref(), before.as_ref())? {
                    Ok(bytes) => {
                        undo.merged.push(path.clone());
                        target = target.map(|original| Content { bytes, mode: original.mode });
                    }
                    Err(lines) if !force => {
                        conflicts.push(format!("`{path}`{lines}"));
                        continue;
                    }
                    Err(_) => {
                        // The backup has the mode of the edited file, the restored file its original mode.
                        target.clone_from(before);
                        let (backup, is_there) = backup_name(checkout, path, current.as_ref())?;
                        if !is_there {
                            undo.rewrites.push(Rewrite { path: backup.clone(), before: None, after: current.clone() });
                        }
                        undo.backups.push((path.clone(), backup));
                    }
                },
            }
            undo.rewrites.push(Rewrite { path: path.clone(), before: current, after: target });
        }
        if conflicts.is_empty() {
            return Ok(undo);
        }
        let (what, hint) = if deleted == conflicts.len() {
            (
                "files that apply changed were deleted since",
                "`rr-patch revert --force` brings them back as they were before apply",
            )
        } else {
            (
                "edits made since apply touch the lines that it changed",
                "undo those edits, or `rr-patch revert --force`, which keeps the edited version beside the original",
            )
        };
        Err(conflicts.into_iter().fold(Error::refused(what), Error::detail).hint(hint).into())
    }
}

/// Refuses a journal in which a file has a mode that rr-patch cannot have written.
pub fn refuse_odd_modes(rewrites: &[Rewrite]) -> Result<()> {
    for rewrite in rewrites {
        let mode = |content: &Option<Content>| content.as_ref().map(|content| content.mode);
        if !are_regular(mode(&rewrite.before), mode(&rewrite.after))
            && let Some(content) = rewrite.before.as_ref().or(rewrite.after.as_ref())
        {
            return Err(Error::refused(format!("`{}` has the mode {:o}", rewrite.path, content.mode))
                .detail("expected: a source file without set-user-ID and sticky bits")
                .hint(format!("`chmod {:o} {}`", content.mode & 0o777, rewrite.path))
                .into());
        }
    }
    Ok(())
}

impl Seen<'_> {
    /// The file before the apply. A mode that was changed since then counts as an edit and is preserved.
    pub fn original(&self) -> Option<Content> {
        let mut original = self.rewrite.before.clone()?;
        if let (Some(current), Some(after)) = (&self.current, &self.rewrite.after)
            && current.mode != after.mode
        {
            original.mode = current.mode;
        }
        Some(original)
    }

    /// The current number of a line of the patched file, or `None` if the line was edited or removed. Both numbers
    /// start at 1.
    pub fn line_now(&self, line: usize) -> Option<usize> {
        match (self.state, &self.current, &self.rewrite.after) {
            (State::Patched, ..) => Some(line),
            (State::Edited, Some(now), Some(after)) => line_now(&after.bytes, &now.bytes, line),
            _ => None,
        }
    }
}

/// Whether a plan can have these modes before and after: permission bits, and the set-group-ID bit if the file
/// already has it. Source files never have set-user-ID or sticky bits.
fn are_regular(before: Option<u32>, after: Option<u32>) -> bool {
    let mut modes = before.into_iter().chain(after);
    modes.all(|mode| mode & !0o2777 == 0 && (mode & 0o2000 == 0 || before.is_some_and(|old| old & 0o2000 != 0)))
}

/// The longest time between writing the journal and writing the last of its files.
const LONGEST_APPLY: Duration = Duration::from_secs(60);

/// How a revert handles later edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edits {
    /// Merge them into the originals.
    Merge,
    /// Merge them where possible; otherwise restore the original and save the edited version beside it under a name
    /// of its own.
    MergeOrKeep,
    /// Save every edited version that has the changes beside the original. Used when it is not certain that the file
    /// was edited from these originals.
    Keep,
}

impl Edits {
    fn merged(
        self,
        after: Option<&Content>,
        edited: Option<&Content>,
        before: Option<&Content>,
    ) -> Result<Result<Vec<u8>, String>> {
        let merged = merged(after, edited, before)?;
        let unpatched = |bytes: &Vec<u8>| edited.is_some_and(|edited| edited.bytes == *bytes);
        Ok(merged
            .and_then(|bytes| if self != Self::Keep || unpatched(&bytes) { Ok(bytes) } else { Err(String::new()) }))
    }
}

/// The writes that restore the originals.
#[derive(Debug)]
pub struct Undo {
    pub rewrites: Vec<Rewrite>,
    /// Files whose later edits were merged.
    pub merged: Vec<String>,
    /// Files whose edited version was saved under another name, with that name.
    pub backups: Vec<(String, String)>,
}

impl Undo {
    /// The rewrites of the journal's own files, without those of the backups.
    pub fn reverted(&self) -> impl Iterator<Item = &Rewrite> {
        self.rewrites.iter().filter(|rewrite| !self.backups.iter().any(|(_, name)| *name == rewrite.path))
    }
}

/// Whether `part` is a prefix of `whole`, possibly followed by zeros: some file systems leave zeros after a crash.
fn begins(whole: &Content, part: &[u8]) -> bool {
    let end = part.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    whole.bytes.starts_with(&part[..end])
}

/// The kernel's boot id; `None` if /proc is not mounted.
fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// When the kernel started, accurate to about a second.
fn boot_time() -> Option<SystemTime> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(seconds).ok()?)
}

/// Whether a plan can have this path: below the installer's root and outside git's own folder.
fn is_plain(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    let plain = |part: Component| matches!(part, Component::Normal(name) if !name.eq_ignore_ascii_case(".git"));
    parts.peek().is_some() && parts.all(plain)
}

/// The original with the later edits, or the lines that both changed.
fn merged(
    after: Option<&Content>,
    edited: Option<&Content>,
    before: Option<&Content>,
) -> Result<Result<Vec<u8>, String>> {
    let (Some(after), Some(edited), Some(before)) = (after, edited, before) else {
        return Ok(Err(": a file that apply added was edited since".into()));
    };
    let outcome = merge(&after.bytes, &edited.bytes, &before.bytes, ["edited since apply", "original"])?;
    Ok(outcome.map_err(|text| conflict_lines(&text)))
}

/// Whether a killed revert made one of two versions from the other. The two are the file in place and the bytes that
/// it stashed: one is the edited version, the other the original with those edits merged in.
fn is_merged(checkout: &Checkout, rewrite: &Rewrite, aside: &[u8]) -> Result<bool> {
    let (Some(current), Some(before)) = (checkout.read(&rewrite.path)?, &rewrite.before) else { return Ok(false) };
    let aside = Content { bytes: aside.to_vec(), mode: current.mode };
    let gives = |edited: &Content, other: &Content| -> Result<bool> {
        let merged = merged(rewrite.after.as_ref(), Some(edited), Some(before))?;
        Ok(merged.is_ok_and(|bytes| bytes == other.bytes))
    };
    Ok(gives(&aside, &current)? || gives(&current, &aside)?)
}

/// The name under which the edited version of `path` is saved: a free name, or one that already holds this version
/// because a revert was killed. The name must not end in `.go`, because Go would compile it.
fn backup_name(checkout: &Checkout, path: &str, edited: Option<&Content>) -> Result<(String, bool)> {
    let mut name = format!("{path}.edited");
    let mut number = 1;
    while let Some(found) = checkout.read(&name)? {
        if Some(&found) == edited {
            return Ok((name, true));
        }
        number += 1;
        name = format!("{path}.edited-{number}");
    }
    Ok((name, false))
}

fn serialise(plan: &Plan, about: &JournalHeader, folders: &[(String, Option<u32>)]) -> Result<Vec<u8>> {
    let blob = |content: &Option<Content>| -> Result<Option<Blob>> {
        content.as_ref().map(|c| Ok(Blob { length: c.bytes.len(), mode: c.mode, hash: c.hash()? })).transpose()
    };
    let entry = |r: &Rewrite| Ok(FileEntry { path: r.path.clone(), before: blob(&r.before)?, after: blob(&r.after)? });
    let header = Header {
        format: FORMAT,
        about: about.clone(),
        shape: plan.shape.clone(),
        sites: plan.sites.clone(),
        files: plan.rewrites.iter().map(entry).collect::<Result<_>>()?,
        boot: boot_id(),
        folders: folders.to_owned(),
    };
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    for content in plan.rewrites.iter().flat_map(|rewrite| [&rewrite.before, &rewrite.after]).flatten() {
        bytes.extend_from_slice(&content.bytes);
    }
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Journal> {
    let damaged = |why: &str| {
        Error::refused(format!("the journal `{}` is damaged: {why}", path.shown()))
            .hint("it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it")
    };
    let end = bytes.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("it has no first line"))?;
    let version: Version = serde_json::from_slice(&bytes[..end]).map_err(|error| damaged(&error.to_string()))?;
    if version.format > FORMAT {
        let Version { format, tool } = version;
        return Err(Error::refused(format!("the journal `{}` was written by a newer rr-patch, {tool}", path.shown()))
            .detail(format!("expected: format {FORMAT}; found: format {format}"))
            .hint(format!("use rr-patch {tool} or newer on this checkout"))
            .into());
    }
    let header: Header = serde_json::from_slice(&bytes[..end]).map_err(|error| damaged(&error.to_string()))?;
    let mut rest = &bytes[end + 1..];
    let mut take = |blob: Option<Blob>| -> Result<Option<Content>> {
        let Some(Blob { length, mode, hash }) = blob else { return Ok(None) };
        let (bytes, tail) = rest.split_at_checked(length).ok_or_else(|| damaged("it is truncated"))?;
        rest = tail;
        let content = Content { bytes: bytes.to_vec(), mode };
        if content.hash()? != hash {
            return Err(damaged("a file in it does not have the hash that it should have").into());
        }
        Ok(Some(content))
    };
    let mut rewrites = Vec::new();
    for FileEntry { path, before, after } in header.files {
        if !is_plain(&path) {
            return Err(damaged(&format!("it has the invalid path `{}`", path.escape_debug())).into());
        }
        let modes = [&before, &after].map(|blob| blob.as_ref().map(|blob| blob.mode));
        if !are_regular(modes[0], modes[1]) {
            let shown = modes.into_iter().flatten().map(|mode| format!("{mode:o}")).collect::<Vec<_>>().join(" and ");
            return Err(damaged(&format!("`{}` in it has the invalid modes {shown}", path.escape_debug())).into());
        }
        rewrites.push(Rewrite { path, before: take(before)?, after: take(after)? });
    }
    if let Some((folder, _)) =
        header.folders.iter().find(|(folder, mode)| !is_plain(folder) || mode.is_some_and(|mode| mode & !0o7777 != 0))
    {
        return Err(damaged(&format!("it has the invalid folder `{}`", folder.escape_debug())).into());
    }
    let written = fs::metadata(path).and_then(|seen| seen.modified()).ok();
    let crashed = match &header.boot {
        Some(boot) => boot_id().is_some_and(|now| now != *boot),
        // Version 0.1 stored no boot id. The journal's modification time is used instead.
        None => written.zip(boot_time()).is_some_and(|(written, boot)| written < boot),
    };
    let plan = Plan { rewrites, sites: header.sites, shape: header.shape };
    Ok(Journal {
        plan,
        about: header.about,
        folders: header.folders,
        path: path.to_owned(),
        crash_after: written.filter(|_| crashed),
    })
}

/// Whether a file still has every change, whatever else was edited in it. The file of another branch, for example,
/// also counts as edited and does not have the changes.
pub fn carries(journal: &Journal, seen: &Seen) -> bool {
    let mut sites = journal.plan.sites.iter().filter(|site| site.path == seen.rewrite.path);
    match seen.state {
        State::Patched => true,
        State::Edited => sites.all(|site| seen.line_now(site.line).is_some()),
        State::Original | State::CutOff | State::Missing => false,
    }
}

/// Whether every change is still in place after later edits, ignoring files that have their original bytes again.
pub fn kept(journal: &Journal, seen: &[Seen]) -> bool {
    seen.iter().all(|seen| seen.state == State::Original || carries(journal, seen))
}
