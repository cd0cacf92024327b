//! What was there before: the originals, kept durably in `<git dir>/rr-patch/` before the first
//! write.
//!
//! One file holds a line of JSON and then the bytes of every file before and after. Nothing is
//! recorded about how far a write came: a file that equals `before` is untouched, one that equals
//! `after` is patched, any other was edited since. So a crash at any point needs no special case,
//! and neither does `git stash` or `git checkout` between two calls.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::build::refuse_while_building;
use crate::checkout::{Checkout, Commit, Content, conflict_lines, merge};
use crate::error::Error;
use crate::plan::{How, Plan, Rewrite, folders};
use crate::rules::Site;
use crate::write;

/// The version of the journal's format that this build writes and the newest that it reads.
const FORMAT: u32 = 1;

/// An apply that is in place, or was.
#[derive(Debug)]
pub struct Journal {
    pub plan: Plan,
    pub about: About,
    path: PathBuf,
}

/// Who applied what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of rr-patch.
    pub tool: String,
    /// The commit that was checked out.
    pub base: Option<String>,
    #[serde(flatten)]
    pub how: How,
    /// The commit that was made of it, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

/// What became of a file since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As before the apply.
    Original,
    /// As the apply left it.
    Patched,
    /// Neither.
    Edited,
    /// The beginning of what it was or became: a crash cut off the write, or an editor emptied it.
    CutOff,
    /// Gone, though both before and after there was one.
    Missing,
}

/// A file of the journal as it is now.
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
    about: About,
    shape: String,
    sites: Vec<Site>,
    files: Vec<Entry>,
}

/// What every format of the journal says, past and to come.
#[derive(Deserialize)]
struct Version {
    format: u32,
    tool: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
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

/// Held while something is written, so that two calls at once cannot mix.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    _file: File,
}

/// A state folder that holds nothing but the lock goes with it: after a refusal or a revert, a tree
/// without git is as it was.
impl Drop for Lock {
    fn drop(&mut self) {
        let only_lock =
            |mut entries: fs::ReadDir| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOCK));
        if fs::read_dir(&self.folder).is_ok_and(only_lock) {
            // Another checkout's state may lie beside it, and another rr-patch may have just begun:
            // then the folders stay.
            let _ = fs::remove_file(self.folder.join(LOCK));
            let _ = fs::remove_dir(&self.folder);
            let _ = self.folder.parent().map(fs::remove_dir);
        }
    }
}

impl Lock {
    /// Takes the checkout's lock.
    ///
    /// # Errors
    /// Another rr-patch holds it, or a build reads the files that would change.
    pub fn take(checkout: &Checkout) -> Result<Self> {
        let path = checkout.state_dir().join(LOCK);
        let mut tries = 0;
        loop {
            let opened = fs::create_dir_all(checkout.state_dir())
                .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path));
            let file = match opened {
                // The holder has just ended and is removing the folders: mkdir finds one, or opening
                // does not. Whatever says so for longer is no such race.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
                        && tries < 100 =>
                {
                    tries += 1;
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
                file => file.with_context(|| format!("cannot open `{}`", path.display()))?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::refused(format!(
                        "another rr-patch is changing `{}`",
                        checkout.root().display()
                    ))
                    .detail(format!("found: a lock on `{}`", path.display()))
                    .hint("wait for it to end; the lock goes with its process")
                    .into());
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock `{}`", path.display()));
                }
            }
            // A lock on a file that was removed meanwhile is no lock: others take the new file's.
            let held = file.metadata()?.ino();
            if fs::metadata(&path).is_ok_and(|found| found.ino() == held) {
                let lock = Self { folder: checkout.state_dir().to_owned(), _file: file };
                refuse_while_building(checkout)?;
                return Ok(lock);
            }
        }
    }
}

/// The file in the state folder that is locked.
const LOCK: &str = "lock";

impl Journal {
    fn path_of(checkout: &Checkout) -> PathBuf {
        checkout.state_dir().join("journal")
    }

    /// The journal of this checkout, if something was applied.
    ///
    /// # Errors
    /// One that a newer version wrote, or that is damaged: it is left alone.
    pub fn load(checkout: &Checkout) -> Result<Option<Self>> {
        let path = Self::path_of(checkout);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        };
        parse(&path, &bytes).map(Some)
    }

    /// Makes the originals in `plan` durable.
    pub fn begin(checkout: &Checkout, plan: Plan, about: About) -> Result<Self> {
        let path = Self::path_of(checkout);
        write::sweep(checkout.state_dir());
        write::replace(&path, &serialise(&plan, &about)?, 0o600)?;
        Ok(Self { plan, about, path })
    }

    /// Forgets the originals, after they are back in place: durably first, since nothing else has
    /// them.
    pub fn end(self, checkout: &Checkout) -> Result<()> {
        for rewrite in &self.plan.rewrites {
            let path = checkout.locate(&rewrite.path);
            if path.is_file() {
                write::sync(&path)?;
            }
        }
        for folder in folders(&self.plan.rewrites).into_iter().map(|folder| checkout.root().join(folder)) {
            if folder.is_dir() {
                write::sync(&folder)?;
            }
        }
        write::remove(&self.path)?;
        self.path.parent().map_or(Ok(()), write::sync)
    }

    /// Looks at each file, in the order of the plan.
    pub fn look(&self, checkout: &Checkout) -> Result<Vec<Seen<'_>>> {
        let mut seen = Vec::new();
        for rewrite in &self.plan.rewrites {
            let current = checkout.read(&rewrite.path)?;
            let state = state(rewrite, current.as_ref());
            seen.push(Seen { rewrite, current, state });
        }
        Ok(seen)
    }

    /// The plan that brings the originals back, with what was edited since merged into them.
    ///
    /// # Errors
    /// Edits that touch what the apply changed: with the lines. With `force` those files get their
    /// originals back, and the edited version a name of its own beside it.
    pub fn undo(&self, checkout: &Checkout, force: bool) -> Result<Undo> {
        let mut undo = Undo { rewrites: Vec::new(), merged: Vec::new(), backups: Vec::new() };
        let mut conflicts = Vec::new();
        for Seen { rewrite: Rewrite { path, before, after }, current, state } in self.look(checkout)? {
            let mut target = before.clone();
            match state {
                State::Original => continue,
                State::Patched | State::CutOff => {}
                State::Missing if force => {}
                State::Missing => {
                    conflicts.push(format!("`{path}` was deleted since"));
                    continue;
                }
                State::Edited => match merged(after.as_ref(), current.as_ref(), before.as_ref())? {
                    Ok(bytes) => {
                        undo.merged.push(path.clone());
                        target = before.as_ref().map(|before| Content { bytes, mode: before.mode });
                    }
                    Err(lines) if !force => {
                        conflicts.push(format!("`{path}`{lines}"));
                        continue;
                    }
                    Err(_) => {
                        let backup = free_name(checkout, path)?;
                        undo.rewrites.push(Rewrite { path: backup.clone(), before: None, after: current.clone() });
                        undo.backups.push((path.clone(), backup));
                    }
                },
            }
            undo.rewrites.push(Rewrite { path: path.clone(), before: current, after: target });
        }
        if conflicts.is_empty() {
            return Ok(undo);
        }
        let error = conflicts
            .into_iter()
            .fold(Error::refused("edits made since apply touch the lines that it changed"), Error::detail);
        Err(error
            .hint("undo those edits, or `rr-patch revert --force`, which keeps the edited version beside the original")
            .into())
    }
}

/// How the originals come back.
#[derive(Debug)]
pub struct Undo {
    pub rewrites: Vec<Rewrite>,
    /// Files whose later edits were kept.
    pub merged: Vec<String>,
    /// Files whose edited version was put aside, and where.
    pub backups: Vec<(String, String)>,
}

/// Writes what `rewrites` say, all of it or nothing.
///
/// # Errors
/// A file that is no longer what it is taken for; a write that fails, after what was written is taken
/// back.
pub fn carry_out(checkout: &Checkout, rewrites: &[Rewrite]) -> Result<()> {
    for Rewrite { path, before, .. } in rewrites {
        if checkout.read(path)? != *before {
            return Err(Error::refused(format!("`{path}` changed while rr-patch was looking at it"))
                .hint("run the command again")
                .into());
        }
    }
    for folder in folders(rewrites).into_iter().map(|folder| checkout.root().join(folder)) {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        write::sweep(&folder);
    }
    // All that can fail for want of space or permission fails here, before anything is replaced.
    let mut prepared = Vec::new();
    for Rewrite { path, after, .. } in rewrites {
        let new =
            after.as_ref().map(|Content { bytes, mode }| write::Prepared::new(&checkout.locate(path), bytes, *mode));
        prepared.push(new.transpose()?);
    }
    for (done, (rewrite, prepared)) in rewrites.iter().zip(prepared).enumerate() {
        let put = match prepared {
            Some(prepared) => prepared.put(),
            None => write::remove(&checkout.locate(&rewrite.path)),
        };
        if let Err(error) = put {
            return Err(take_back(checkout, &rewrites[..done], &error).into());
        }
    }
    // As in git, a folder goes with its last file. The root has others: at least the folder that marks it.
    for path in rewrites.iter().filter(|rewrite| rewrite.after.is_none()).map(|rewrite| Path::new(&rewrite.path)) {
        let above = path.ancestors().skip(1).take_while(|folder| !folder.as_os_str().is_empty());
        let _ = above.map(|folder| fs::remove_dir(checkout.root().join(folder))).take_while(Result::is_ok).last();
    }
    // Nothing is synced here: the journal is, and holds both versions. After a crash a file is the old
    // one, the new one, or cut off, and the journal knows all three.
    Ok(())
}

/// Brings back what was there before a write that failed.
fn take_back(checkout: &Checkout, done: &[Rewrite], error: &anyhow::Error) -> Error {
    let put_back = |rewrite: &Rewrite| match &rewrite.before {
        Some(Content { bytes, mode }) => write::replace(&checkout.locate(&rewrite.path), bytes, *mode),
        None => write::remove(&checkout.locate(&rewrite.path)),
    };
    let stuck: Vec<&str> =
        done.iter().rev().filter(|rewrite| put_back(rewrite).is_err()).map(|r| r.path.as_str()).collect();
    let failure = Error::failed(format!("{error:#}"));
    match stuck.is_empty() {
        true => failure.detail("all changes were taken back"),
        false => failure
            .detail(format!("these could not be taken back: {}", stuck.join(", ")))
            .hint("`rr-patch revert` brings the originals back once the files can be written"),
    }
}

/// What became of a file that now holds `current`.
fn state(rewrite: &Rewrite, current: Option<&Content>) -> State {
    let same = |content: &Option<Content>| content.as_ref().map(|c| &c.bytes) == current.map(|c| &c.bytes);
    let cut_off = |current| [&rewrite.before, &rewrite.after].into_iter().flatten().any(|whole| begins(whole, current));
    match current {
        _ if same(&rewrite.after) => State::Patched,
        _ if same(&rewrite.before) => State::Original,
        Some(current) if cut_off(current) => State::CutOff,
        Some(_) => State::Edited,
        None => State::Missing,
    }
}

/// Whether `part` is a beginning of `whole`, with the zeros after it that some file systems leave.
fn begins(whole: &Content, part: &Content) -> bool {
    let end = part.bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    whole.bytes.starts_with(&part.bytes[..end])
}

/// The original with what was edited since, or the lines that both changed.
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

/// A name beside `path` that is not taken. It must not end in `.go`: Go would compile it.
fn free_name(checkout: &Checkout, path: &str) -> Result<String> {
    let mut name = format!("{path}.edited");
    let mut number = 1;
    while checkout.read(&name)?.is_some() {
        number += 1;
        name = format!("{path}.edited-{number}");
    }
    Ok(name)
}

fn serialise(plan: &Plan, about: &About) -> Result<Vec<u8>> {
    let blob = |content: &Option<Content>| -> Result<Option<Blob>> {
        content.as_ref().map(|c| Ok(Blob { length: c.bytes.len(), mode: c.mode, hash: c.hash()? })).transpose()
    };
    let entry = |r: &Rewrite| Ok(Entry { path: r.path.clone(), before: blob(&r.before)?, after: blob(&r.after)? });
    let header = Header {
        format: FORMAT,
        about: about.clone(),
        shape: plan.shape.clone(),
        sites: plan.sites.clone(),
        files: plan.rewrites.iter().map(entry).collect::<Result<_>>()?,
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
        Error::refused(format!("the journal `{}` is damaged: {why}", path.display()))
            .hint("it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it")
    };
    let end = bytes.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("it has no first line"))?;
    let version: Version = serde_json::from_slice(&bytes[..end]).map_err(|error| damaged(&error.to_string()))?;
    if version.format > FORMAT {
        let Version { format, tool } = version;
        return Err(Error::refused(format!(
            "the journal `{}` was written by a newer rr-patch, {tool}",
            path.display()
        ))
        .detail(format!("expected: format {FORMAT}; found: format {format}"))
        .hint(format!("use rr-patch {tool} or newer on this checkout"))
        .into());
    }
    let header: Header = serde_json::from_slice(&bytes[..end]).map_err(|error| damaged(&error.to_string()))?;
    let mut rest = &bytes[end + 1..];
    let mut take = |blob: Option<Blob>| -> Result<Option<Content>> {
        let Some(Blob { length, mode, hash }) = blob else { return Ok(None) };
        let (bytes, tail) = rest.split_at_checked(length).ok_or_else(|| damaged("it is cut short"))?;
        rest = tail;
        let content = Content { bytes: bytes.to_vec(), mode };
        if content.hash()? != hash {
            return Err(damaged("a file in it does not have the hash that it should have").into());
        }
        Ok(Some(content))
    };
    let mut rewrites = Vec::new();
    for Entry { path, before, after } in header.files {
        rewrites.push(Rewrite { path, before: take(before)?, after: take(after)? });
    }
    let plan = Plan { rewrites, sites: header.sites, shape: header.shape };
    Ok(Journal { plan, about: header.about, path: path.to_owned() })
}
