//! Carries out all rewrites of a plan, or none.
//!
//! First every file is put in place, with its old version beside it. The old versions are removed only when all files
//! are in place and each old version is what was read before. Until then every old file still exists, so a rollback
//! needs neither disk space nor new files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::patch::plan::Rewrite;
use crate::patch::swap::{Folder, Found, Prepared, Put, Verdict, changed, refuse_other_owner};

/// A version that another program saved while rr-patch was writing. It is kept beside its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeptEdit {
    /// The file, from the installer's root.
    pub path: String,
    /// The path of the saved version.
    pub kept_as: String,
}

/// Why the rewrites failed.
#[derive(Debug)]
pub struct Failure {
    pub error: anyhow::Error,
    /// Whether every file was rolled back to its previous version.
    pub taken_back: bool,
}

impl From<anyhow::Error> for Failure {
    /// A failure before anything was put in place.
    fn from(error: anyhow::Error) -> Self {
        Self { error, taken_back: true }
    }
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Options of [`carry_out`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Carrying<'a> {
    /// Whether to sync everything at the end. Not needed if the journal holds both versions of every file.
    pub durable: bool,
    /// The modes of folders, from the installer's root, for folders that must be made again.
    pub folder_modes: &'a [(String, Option<u32>)],
}

/// The open folders of some rewrites, keyed by their paths from the top of the checkout.
type Folders = BTreeMap<PathBuf, Folder>;

/// Carries out all of `rewrites`, or none. Returns the versions that were kept because another program had the file
/// open for writing.
///
/// # Errors
/// A file that differs from `before`, at the start or during the write; a file that another user owns; a write that
/// fails. All files are then rolled back.
pub fn carry_out(checkout: &Checkout, rewrites: &[Rewrite], how: Carrying) -> Result<Vec<KeptEdit>, Failure> {
    let mut places = Places::new(checkout);
    let places: Vec<(PathBuf, &str)> =
        rewrites.iter().map(|rewrite| places.of(&rewrite.path)).collect::<Result<_>>()?;
    let mut folders = Folders::new();
    let mut found = Vec::new();
    for (rewrite, (below, name)) in rewrites.iter().zip(&places) {
        found.push(look(checkout, rewrite, below, name, &mut folders)?);
    }
    let mut made = Vec::new();
    let opened = rewrites.iter().zip(&places).filter(|(rewrite, _)| rewrite.after.is_some());
    for (_, (folder, _)) in opened {
        if let Err(error) = make(checkout, folder, how.folder_modes, &mut folders, &mut made) {
            unmake(checkout, &made);
            return Err(error.into());
        }
    }
    let kept = exchange(rewrites, &places, &found, &folders, how.durable).inspect_err(|_| unmake(checkout, &made))?;
    let removed = remove_emptied(checkout, rewrites, &places);
    if how.durable {
        let above = made.iter().chain(&removed).filter_map(|folder| folder.parent());
        sync_folders(checkout, &folders, above).map_err(|error| Failure { error, taken_back: false })?;
    }
    Ok(kept)
}

fn sync_folders<'a>(checkout: &Checkout, folders: &Folders, above: impl Iterator<Item = &'a Path>) -> Result<()> {
    folders.values().try_for_each(Folder::sync)?;
    for folder in above {
        if let Some(folder) = Folder::open(checkout.top(), folder)? {
            folder.sync()?;
        }
    }
    Ok(())
}

/// Opens a rewrite's folder and compares the file in it with `before`.
fn look(
    checkout: &Checkout,
    rewrite: &Rewrite,
    below: &Path,
    name: &str,
    folders: &mut Folders,
) -> Result<Option<Found>> {
    if !folders.contains_key(below)
        && let Some(folder) = Folder::open(checkout.top(), below)?
    {
        folders.insert(below.to_owned(), folder);
    }
    let found = match folders.get(below) {
        None => None,
        Some(folder) => folder.read(name)?,
    };
    if found.as_ref().map(|found| &found.content) != rewrite.before.as_ref() {
        return Err(changed(Path::new(&rewrite.path)).into());
    }
    found.iter().try_for_each(|found| refuse_other_owner(found, &rewrite.path))?;
    Ok(found)
}

/// Maps files to their folders, as paths from the top of the checkout with links resolved.
struct Places<'checkout> {
    checkout: &'checkout Checkout,
    /// A cache: many files share a folder, and resolving one looks at every folder above it.
    known: BTreeMap<String, PathBuf>,
}

impl<'checkout> Places<'checkout> {
    fn new(checkout: &'checkout Checkout) -> Self {
        Self { checkout, known: BTreeMap::new() }
    }

    /// The folder of a file, from the top, and the file's name.
    fn of<'path>(&mut self, path: &'path str) -> Result<(PathBuf, &'path str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some(known) = self.known.get(folder) {
            return Ok((known.clone(), name));
        }
        let real = resolved(&self.checkout.locate(folder))?;
        let Ok(below) = real.strip_prefix(self.checkout.top()) else {
            return Err(Error::refused(format!("`{path}` leaves the checkout"))
                .detail(format!("found: its folder is `{}`", real.shown()))
                .into());
        };
        self.known.insert(folder.to_owned(), below.to_owned());
        Ok((below.to_owned(), name))
    }
}

/// Resolves links in a folder's path, as far as the path exists.
fn resolved(folder: &Path) -> Result<PathBuf> {
    match folder.canonicalize() {
        Ok(real) => Ok(real),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            match (folder.parent(), folder.file_name()) {
                (Some(above), Some(name)) => Ok(resolved(above)?.join(name)),
                _ => Ok(folder.to_owned()),
            }
        }
        Err(error) => Err(error).with_context(|| format!("cannot look at `{}`", folder.shown())),
    }
}

/// Makes a folder and its missing parents, and adds their paths from the top to `made`.
fn make(
    checkout: &Checkout,
    below: &Path,
    modes: &[(String, Option<u32>)],
    folders: &mut Folders,
    made: &mut Vec<PathBuf>,
) -> Result<()> {
    if folders.contains_key(below) {
        return Ok(());
    }
    let path = checkout.top().join(below);
    let gone = || {
        Error::refused(format!("`{}` is not a folder", path.shown()))
            .hint("run the command again when no other program changes the checkout")
    };
    let folder = match Folder::open(checkout.top(), below)? {
        Some(folder) => folder,
        None => {
            let (above, name) = below.parent().zip(below.file_name()).ok_or_else(gone)?;
            make(checkout, above, modes, folders, made)?;
            let above = folders.get(above).ok_or_else(gone)?;
            let known = modes.iter().find(|(folder, _)| checkout.below_top().join(folder) == below);
            above.make(name, known.and_then(|(_, mode)| *mode))?;
            made.push(below.to_owned());
            Folder::open(checkout.top(), below)?.ok_or_else(gone)?
        }
    };
    folders.insert(below.to_owned(), folder);
    Ok(())
}

/// Removes the folders in `made` if they are empty, the last one first.
fn unmake(checkout: &Checkout, made: &[PathBuf]) {
    for folder in made.iter().rev() {
        remove_folder(checkout, folder);
    }
}

/// Removes a folder, given by its path from the top, if it is empty. Returns whether it did.
fn remove_folder(checkout: &Checkout, folder: &Path) -> bool {
    let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else { return false };
    matches!(Folder::open(checkout.top(), above), Ok(Some(above)) if above.remove_empty(name))
}

/// Removes the folders that did not exist before an apply and are empty now.
pub fn remove_made_folders(checkout: &Checkout, modes: &[(String, Option<u32>)]) {
    // The list is sorted by name, so a folder comes before its subfolders.
    for (folder, _) in modes.iter().rev().filter(|(_, mode)| mode.is_none()) {
        if let Ok(real) = resolved(&checkout.locate(folder))
            && let Ok(below) = real.strip_prefix(checkout.top())
        {
            remove_folder(checkout, below);
        }
    }
}

/// Removes folders that lost their last file, as git does. The root is never empty: it holds at least the folder that
/// marks it.
fn remove_emptied(checkout: &Checkout, rewrites: &[Rewrite], places: &[(PathBuf, &str)]) -> Vec<PathBuf> {
    let mut removed = Vec::new();
    for (_, (folder, _)) in rewrites.iter().zip(places).filter(|(rewrite, _)| rewrite.after.is_none()) {
        let emptied = folder.ancestors().take_while(|folder| checkout.top().join(folder) != checkout.root());
        removed.extend(emptied.take_while(|folder| remove_folder(checkout, folder)).map(Path::to_owned));
    }
    removed
}

/// Prepares every new version, exchanges them all, and then removes the old versions if they are what was read.
fn exchange(
    rewrites: &[Rewrite],
    places: &[(PathBuf, &str)],
    found: &[Option<Found>],
    folders: &Folders,
    durable: bool,
) -> Result<Vec<KeptEdit>, Failure> {
    // Every step that can fail for lack of space or permission comes here, before anything is replaced.
    let mut prepared: Vec<Option<(&Folder, Option<Prepared>)>> = Vec::new();
    for ((rewrite, (below, name)), found) in rewrites.iter().zip(places).zip(found) {
        let folder = folders.get(below);
        prepared.push(match (folder, &rewrite.after) {
            (Some(folder), Some(after)) => Some((folder, Some(folder.prepare(name, after, found.as_ref(), durable)?))),
            (Some(folder), None) => Some((folder, None)),
            (None, _) => None,
        });
    }
    let mut done: Vec<(&Rewrite, Put)> = Vec::new();
    for ((rewrite, (_, name)), prepared) in rewrites.iter().zip(places).zip(prepared) {
        let Some((folder, prepared)) = prepared else { continue };
        match Put::in_place(folder, name, rewrite.before.as_ref(), rewrite.after.as_ref(), prepared) {
            Ok(put) => done.push((rewrite, put)),
            Err(error) => return Err(take_back(&done, error)),
        }
    }
    let mut verdicts = Vec::new();
    for (rewrite, put) in &done {
        match put.verdict() {
            Ok(Verdict::Saved) => return Err(take_back(&done, changed(Path::new(&rewrite.path)).into())),
            Ok(verdict) => verdicts.push(verdict),
            Err(error) => return Err(take_back(&done, error)),
        }
    }
    let mut kept = Vec::new();
    for (ended, ((rewrite, put), verdict)) in done.iter().zip(verdicts).enumerate() {
        match put.finish(verdict) {
            Ok(None) => {}
            Ok(Some(name)) => kept.push(KeptEdit { path: rewrite.path.clone(), kept_as: beside(&rewrite.path, &name) }),
            // Once an old version is removed, only the journal holds it.
            Err(error) if ended == 0 => return Err(take_back(&done, error)),
            Err(error) => {
                let error = error.context("the files are written, but not all of their old versions could be removed");
                return Err(Failure { error, taken_back: false });
            }
        }
    }
    Ok(kept)
}

/// The path of another name in the folder of `path`.
pub fn beside(path: &str, name: &str) -> String {
    path.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}

/// Rolls back what was put in place before `error`.
fn take_back(done: &[(&Rewrite, Put)], error: anyhow::Error) -> Failure {
    let mut stuck = Vec::new();
    let mut kept = Vec::new();
    for (rewrite, put) in done.iter().rev() {
        match put.take_back() {
            Ok(None) => {}
            Ok(Some(name)) => {
                let name = beside(&rewrite.path, &name);
                kept.push(format!("another program saved `{}` in the meantime: its version is `{name}`", rewrite.path));
            }
            Err(error) => stuck.push(format!("`{}` could not be rolled back: {error:#}", rewrite.path)),
        }
    }
    let taken_back = stuck.is_empty();
    let failure = match error.downcast::<Error>() {
        // Everything was rolled back, so "nothing was written" is true again.
        Ok(refused) if taken_back && kept.is_empty() => return Failure { error: refused.into(), taken_back },
        Ok(refused) => Error::failed(refused.to_string()),
        Err(error) => Error::failed(format!("{error:#}")),
    };
    let failure = kept.into_iter().chain(stuck).fold(failure, Error::detail);
    let failure = match taken_back {
        true => failure.detail("all changes were rolled back"),
        false => failure.hint("`rr-patch revert` restores the originals when the files can be written"),
    };
    Failure { error: failure.into(), taken_back }
}

/// Syncs the content of files and the folders that hold their names; for a missing file, the nearest existing folder.
pub fn sync<'a>(checkout: &Checkout, files: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut places = Places::new(checkout);
    let mut synced = BTreeSet::new();
    for path in files {
        let (below, name) = places.of(path)?;
        let folder = Folder::open(checkout.top(), &below)?;
        // A folder or a link in the file's place holds no bytes of ours.
        if let Some(Ok(Some(found))) = folder.as_ref().map(|folder| folder.read(name)) {
            found.sync().with_context(|| format!("cannot sync `{path}`"))?;
        }
        if !synced.insert(below.clone()) {
            continue;
        }
        for folder in below.ancestors() {
            if let Some(folder) = Folder::open(checkout.top(), folder)? {
                folder.sync()?;
                break;
            }
        }
    }
    Ok(())
}

/// Removes or keeps the temporary files of an interrupted run beside the files of `rewrites`: see [`Folder::sweep`].
/// A file with the bytes of a version in `rewrites`, or with bytes that `known` accepts, is removed.
pub fn sweep(
    checkout: &Checkout,
    rewrites: &[Rewrite],
    known: &dyn Fn(&Rewrite, &[u8]) -> bool,
) -> Result<Vec<KeptEdit>> {
    let mut places = Places::new(checkout);
    let mut swept = BTreeSet::new();
    let mut kept = Vec::new();
    for rewrite in rewrites {
        let (below, _) = places.of(&rewrite.path)?;
        if !swept.insert(below.clone()) {
            continue;
        }
        let Some(folder) = Folder::open(checkout.top(), &below)? else { continue };
        let path = |name: &str| beside(&rewrite.path, name);
        let ours = |name: &str, bytes: &[u8]| {
            // A stash name is truncated if the file's name is too long.
            rewrites.iter().filter(|rewrite| rewrite.path.starts_with(&path(name))).any(|rewrite| {
                let mut versions = [&rewrite.before, &rewrite.after].into_iter().flatten();
                versions.any(|version| version.bytes == bytes) || known(rewrite, bytes)
            })
        };
        let edited = folder.sweep(&ours)?;
        kept.extend(edited.into_iter().map(|(name, edited)| KeptEdit { path: path(&name), kept_as: path(&edited) }));
    }
    Ok(kept)
}

/// The modes of the folders of some files, from the installer's root; `None` for folders that do not exist.
pub fn folder_modes(checkout: &Checkout, rewrites: &[Rewrite]) -> Vec<(String, Option<u32>)> {
    let mut modes = BTreeMap::new();
    for rewrite in rewrites {
        for (end, _) in rewrite.path.match_indices('/').rev() {
            let folder = &rewrite.path[..end];
            if modes.contains_key(folder) {
                break;
            }
            let seen = fs::metadata(checkout.locate(folder)).ok().filter(fs::Metadata::is_dir);
            modes.insert(folder.to_owned(), seen.map(|seen| seen.permissions().mode() & 0o7777));
        }
    }
    modes.into_iter().collect()
}
