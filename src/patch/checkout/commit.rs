//! Commits of the changes that apply makes, and their way back.
//!
//! The commit comes to be where the reference that HEAD names moves from its parent to it. A branch that is made
//! for it is made, and checked out, at the parent before that, and is at the parent again before it goes.
//! So a branch at the commit is one that the user has, one at the parent is one that a killed run
//! left, and what remains to be done is read off HEAD, the branch and the index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, Oid, Repository};
use serde::{Deserialize, Serialize};

use super::index::{self, LockedIndex};
use super::odb::Objects;
use super::{Checkout, Content, open};
use crate::error::{Error, Shown};
use crate::sys::ffi;
use crate::sys::write;

/// A commit of the changes, on top of what was checked out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub id: String,
    pub parent: String,
    /// The branch that was made for it.
    pub branch: Option<String>,
    /// The reference that HEAD named before; nothing where it was detached.
    pub from: Option<String>,
}

/// What became of a commit that is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// HEAD is where it was before, and a branch that was made is gone.
    Gone,
    /// It is part of what is checked out, with other commits on top.
    Below,
    /// Something else is checked out.
    Elsewhere,
}

/// What was taken back of a commit.
#[derive(Debug, PartialEq, Eq)]
pub struct TakenBack {
    pub commit: Undone,
    /// Files, from the top of the work tree, for which the user has staged something else: it stays staged.
    pub staged: Vec<PathBuf>,
}

/// A file as it was and as it is to be.
pub type Change<'a> = (&'a str, Option<&'a Content>, Option<&'a Content>);

/// What is checked out.
struct Head {
    /// The reference that HEAD names; nothing where it is detached.
    name: Option<String>,
    /// Nothing where that reference is not there.
    id: Option<Oid>,
}

impl Head {
    fn of(repository: &Repository) -> Result<Self> {
        let head = repository.find_reference("HEAD").map_err(|error| unread(repository, "HEAD", &error))?;
        let name = head.symbolic_target().ok().flatten().map(str::to_owned);
        Ok(Self { name, id: repository.refname_to_id("HEAD").ok() })
    }
}

impl Commit {
    fn id(&self) -> Result<Oid> {
        Ok(Oid::from_str(&self.id)?)
    }

    fn parent(&self) -> Result<Oid> {
        Ok(Oid::from_str(&self.parent)?)
    }

    /// The reference of the branch that was made for it.
    fn made(&self) -> Option<String> {
        self.branch.as_deref().map(branch_reference)
    }

    /// Where HEAD belongs when the commit is gone: the reference that it named before, if that is still where it was.
    fn home(&self, repository: &Repository) -> Result<Option<String>> {
        let parent = self.parent()?;
        let still = |name: &&String| repository.refname_to_id(name).is_ok_and(|id| id == parent);
        Ok(self.from.as_ref().filter(still).cloned())
    }

    /// Whether a run that was killed left HEAD on the branch that it made, without the commit.
    fn is_half(&self, head: &Head) -> Result<bool> {
        let parent = self.parent()?;
        Ok(self.made().is_some() && head.name == self.made() && head.id.is_none_or(|id| id == parent))
    }
}

/// Commits, written so that nobody sees one before [`Checkout::put_commit`].
impl Checkout {
    fn objects(&self) -> Result<Objects> {
        let repository = if self.git.is_some() { open(&self.top)? } else { None };
        repository.map(Objects::new).ok_or_else(|| {
            Error::refused(format!("`{}` is in no git repository: there is nothing to commit to", self.root.shown()))
                .hint("apply without `--commit`")
                .into()
        })
    }

    /// Where git has a file of the installer.
    fn in_git(&self, path: &str) -> PathBuf {
        self.below_top().join(path)
    }

    /// Writes a commit of these changes and of nothing else that the user has done. `earlier` is the commit of the
    /// journal, whose branch and staged files a run that was killed may have left.
    ///
    /// # Errors
    /// Files that differ from the commit that is checked out, a branch that is there already, a git
    /// that does not know its user, an index that libgit2 cannot read or another program has locked.
    pub fn prepare_commit(
        &self,
        changes: &[Change],
        message: &str,
        branch: Option<&str>,
        earlier: Option<&Commit>,
    ) -> Result<Commit> {
        ffi::sync_git_writes();
        // libgit2 would read the objects that it puts into a tree or a commit; they are checked here.
        git2::opts::strict_object_creation(false);
        let objects = self.objects()?;
        let repository = objects.repository();
        let left = earlier.map_or_else(Vec::new, |earlier| references(repository, earlier));
        let index = LockedIndex::take(repository, &self.state_dir, &left)?;
        let staged: Vec<_> = changes.iter().map(|(path, ..)| index.entry(&self.in_git(path))).collect();
        drop(index);
        let head = Head::of(repository)?;
        let half = match earlier {
            Some(earlier) if earlier.is_half(&head)? => Some(earlier),
            _ => None,
        };
        let parent = match (head.id, half) {
            (Some(id), _) => id,
            (None, Some(half)) => half.parent()?,
            (None, None) => return Err(nothing_checked_out(&head, "there is no commit on it").into()),
        };
        let parent = objects.commit(parent).map_err(|error| match error.downcast::<git2::Error>() {
            Ok(error) => nothing_checked_out(&head, error.message()).into(),
            Err(error) => error,
        })?;
        let tree = objects.tree(parent.tree_id())?;
        let left = earlier.and_then(|earlier| objects.commit(earlier.id().ok()?).ok());
        let left = left.and_then(|commit| objects.tree(commit.tree_id()).ok());

        let mut builder = TreeUpdateBuilder::new();
        let mut written = BTreeSet::new();
        for ((path, before, after), staged) in changes.iter().zip(staged) {
            let path = self.in_git(path);
            let committed = objects.entry(&tree, &path)?;
            let staged_id = staged.map(|(id, _)| id);
            let (before_id, after_id) = (oid(*before)?, oid(*after)?);
            let left = left.as_ref().map(|left| objects.entry(left, &path)).transpose()?.flatten();
            let ours = staged_id == after_id || (staged_id.is_some() && staged_id == left.map(|entry| entry.id));
            let clean = staged == committed.map(|entry| (entry.id, i64::from(entry.mode)));
            if committed.map(|entry| entry.id) != before_id || !(clean || ours) {
                return Err(Error::refused(format!("`{}` has changes that are not committed", path.shown()))
                    .detail("expected: the file as the checked-out commit has it, since all of it would be committed")
                    .hint(format!("`git diff HEAD -- {0}` shows them: commit them first, or `git stash`", path.shown()))
                    .into());
            }
            match after {
                None => builder.remove(&path),
                Some(content) => {
                    // On a disk without permission bits the committed mode is the true one.
                    let kept = before.is_some_and(|before| before.is_executable() == content.is_executable());
                    let executable = match committed {
                        Some(committed) if kept => committed.mode == i32::from(FileMode::BlobExecutable),
                        _ => content.is_executable(),
                    };
                    let mode = if executable { FileMode::BlobExecutable } else { FileMode::Blob };
                    let blob = repository.blob(&content.bytes).map_err(|error| unwritten(repository, &error))?;
                    written.insert(blob);
                    builder.upsert(&path, blob, mode)
                }
            };
        }
        if let Some(name) = branch {
            let left = earlier.filter(|earlier| earlier.branch.as_deref() == Some(name));
            let at_parent = || repository.refname_to_id(&branch_reference(name)).is_ok_and(|id| id == parent.id());
            if !(left.is_some_and(|left| left.parent == parent.id().to_string()) && at_parent()) {
                refuse_branch(repository, name)?;
            }
        }
        // As git asks: the environment first, then its configuration.
        let who = repository.author_from_env().and_then(|author| Ok((author, repository.committer_from_env()?)));
        let (author, committer) = who.map_err(|error| {
            Error::refused(format!("git does not know who commits: {}", error.message()))
                .hint("`git config user.name NAME` and `git config user.email ADDRESS` tell it")
        })?;
        let tree = builder.create_updated(repository, &tree).map_err(|error| unwritten(repository, &error))?;
        written.insert(tree);
        let tree = objects.tree(tree)?;
        let folders = changes.iter().flat_map(|(path, ..)| {
            let path = self.in_git(path);
            path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>()
        });
        for folder in folders.collect::<BTreeSet<_>>() {
            written.extend(objects.entry(&tree, &folder)?.map(|entry| entry.id));
        }
        let id = repository
            .commit(None, &author, &committer, message, &tree, &[&parent])
            .map_err(|error| unwritten(repository, &error))?;
        written.insert(id);
        objects.sync(&written)?;
        let from = match half {
            Some(half) => half.home(repository)?,
            None => head.name,
        };
        Ok(Commit { id: id.to_string(), parent: parent.id().to_string(), branch: branch.map(str::to_owned), from })
    }

    /// Checks out a commit that was prepared, whose files are in place. Does what remains to be done, where that
    /// was begun before.
    ///
    /// # Errors
    /// A lock of another program, a full disk: HEAD, its reference and the index are then as before.
    pub fn put_commit(&self, commit: &Commit, changes: &[Change]) -> Result<()> {
        let failed = |error| {
            after_writing("the files are patched, but could not be committed", error)
                .hint("`rr-patch apply --commit` tries again; `rr-patch revert` takes the patch back")
        };
        let put = self.move_to(commit, changes).map_err(failed)?;
        let unstaged = |error| {
            after_writing("the files are committed, but not staged", error)
                .hint("`rr-patch apply --commit` stages them; `rr-patch revert` takes the patch back")
        };
        Ok(put.put().and_then(|()| put.release()).map_err(unstaged)?)
    }

    /// Moves HEAD's reference to a commit, and returns the index that belongs to it.
    fn move_to(&self, commit: &Commit, changes: &[Change]) -> Result<LockedIndex> {
        ffi::sync_git_writes();
        let objects = self.objects()?;
        let repository = objects.repository();
        let mut index = LockedIndex::take(repository, &self.state_dir, &references(repository, commit))?;
        let tree = objects.tree(objects.commit(commit.id()?)?.tree_id())?;
        for (path, before, after) in changes {
            let path = self.in_git(path);
            // What the user has staged meanwhile stays.
            if [oid(*before)?, oid(*after)?].contains(&index.staged(&path)) {
                index.stage(&path, objects.entry(&tree, &path)?, &self.top.join(&path))?;
            }
        }
        index.prepare()?;
        let head = Head::of(repository)?;
        if head.id == Some(commit.id()?) {
            return Ok(index);
        }
        if !commit.is_half(&head)? && (head.id != Some(commit.parent()?) || head.name != commit.from) {
            return Err(Error::refused(format!("something else was checked out in `{}` meanwhile", self.top.shown()))
                .detail(format!("expected: commit {}", commit.parent))
                .detail(format!("found: {}", head.id.map_or_else(|| "no commit".into(), |id| format!("commit {id}"))))
                .into());
        }
        if let Err(error) = advance(repository, commit) {
            leave_branch(repository, commit)?;
            return Err(error);
        }
        Ok(index)
    }

    /// Whether a commit is what is checked out.
    pub fn is_at(&self, commit: &Commit) -> bool {
        self.head() == Some(&commit.id)
    }

    /// The branch that is checked out; nothing where HEAD is detached.
    pub fn branch(&self) -> Option<String> {
        let repository = open(&self.root).ok()??;
        let head = repository.find_reference("HEAD").ok()?;
        let name = head.symbolic_target().ok()??;
        name.strip_prefix("refs/heads/").map(str::to_owned)
    }

    /// Whether that commit is checked out, or one that stands on it.
    pub fn stands_on(&self, commit: &Commit) -> bool {
        let below = || {
            let objects = Objects::new(open(&self.top).ok()??);
            objects.descends(Oid::from_str(self.head()?).ok()?, Oid::from_str(&commit.id).ok()?).ok()
        };
        self.is_at(commit) || below() == Some(true)
    }

    /// Removes the locks that an rr-patch left in git's folder when it was killed as it put the commit in place, or took
    /// it back. Only call it with the checkout's lock held.
    pub fn remove_abandoned_locks(&self, commit: &Commit) -> Result<()> {
        let objects = self.objects()?;
        let repository = objects.repository();
        let lock = index::lock_of(&index::path_of(repository));
        index::remove_abandoned(&lock, &references(repository, commit)).map(drop)
    }

    /// The `index.lock` that an rr-patch made, if there is one.
    fn own_index_lock(&self) -> Option<PathBuf> {
        let lock = index::lock_of(&index::path_of(self.objects().ok()?.repository()));
        Some(lock).filter(|lock| index::is_ours(lock))
    }

    /// Whether an `index.lock` is there that an rr-patch made.
    pub fn has_index_lock(&self) -> bool {
        self.own_index_lock().is_some()
    }

    /// Removes the `index.lock` of an rr-patch that was killed before it had a journal, or after it had removed it.
    /// Only call it with the checkout's lock held.
    pub fn remove_abandoned_index_lock(&self) -> Result<()> {
        self.own_index_lock().map_or(Ok(()), |lock| index::remove_abandoned(&lock, &[]).map(drop))
    }

    /// Finds out, before the files are restored, whether a commit can be taken back.
    ///
    /// # Errors
    /// An index that cannot be read, a lock of another program, a broken object.
    pub fn check_undo(&self, commit: &Commit, changes: &[Change]) -> Result<()> {
        let objects = self.objects()?;
        let repository = objects.repository();
        drop(LockedIndex::take(repository, &self.state_dir, &references(repository, commit))?);
        let head = Head::of(repository)?;
        let undone = undone(&objects, commit, &head)?;
        let to = if undone == Undone::Gone { Some(commit.parent()?) } else { head.id };
        if let Some(to) = to {
            let tree = objects.tree(objects.commit(to)?.tree_id())?;
            for (path, ..) in changes {
                objects.entry(&tree, &self.in_git(path))?;
            }
        }
        if undone == Undone::Gone {
            references(repository, commit).iter().try_for_each(|file| index::wait_for_reference(file))?;
            if let Some(name) = head.name {
                index::wait_for_reference(&reference_file(repository, &name))?;
            }
        }
        Ok(())
    }

    /// Takes a commit back, if it is the last one of what is checked out, and what apply staged for it. Does what
    /// remains to be done, where that was begun before.
    pub fn undo_commit(&self, commit: &Commit, changes: &[Change]) -> Result<TakenBack> {
        self.move_back(commit, changes).map_err(|error| {
            after_writing("the files are as before, but the commit could not be taken back", error)
                .hint("`rr-patch revert` tries again")
                .into()
        })
    }

    fn move_back(&self, commit: &Commit, changes: &[Change]) -> Result<TakenBack> {
        ffi::sync_git_writes();
        let objects = self.objects()?;
        let repository = objects.repository();
        let mut index = LockedIndex::take(repository, &self.state_dir, &references(repository, commit))?;
        let head = Head::of(repository)?;
        let undone = undone(&objects, commit, &head)?;
        let (id, parent) = (commit.id()?, commit.parent()?);
        let to = if undone == Undone::Gone { Some(parent) } else { head.id };
        let tree = to.map(|to| objects.tree(objects.commit(to)?.tree_id())).transpose()?;
        let mut staged = Vec::new();
        for (path, before, after) in changes {
            let path = self.in_git(path);
            let was = tree.as_ref().map(|tree| objects.entry(tree, &path)).transpose()?.flatten();
            let (before, after) = (oid(*before)?, oid(*after)?);
            let is_original = was.map(|was| was.id) == before;
            match index.staged(&path) {
                now if now == after && is_original => index.stage(&path, was, &self.top.join(&path))?,
                now if now == was.map(|was| was.id) => {}
                _ => staged.push(path),
            }
        }
        index.prepare()?;
        if head.id == Some(id) {
            // The branch first: as long as HEAD is at the commit, the next run knows that it is to go.
            let made = commit.made().filter(|made| repository.refname_to_id(made).is_ok_and(|at| at == id));
            let named = head.name.clone().filter(|name| Some(name) != made.as_ref());
            for name in made.iter().chain(&named) {
                move_reference(repository, name, id, parent, "rr-patch: revert")?;
            }
            if head.name.is_none() {
                set_head(repository, None, parent)?;
            }
        }
        index.put()?;
        if undone == Undone::Gone {
            leave_branch(repository, commit)?;
        }
        index.release()?;
        Ok(TakenBack { commit: undone, staged })
    }
}

/// What becomes of a commit that is taken back now.
fn undone(objects: &Objects, commit: &Commit, head: &Head) -> Result<Undone> {
    let (id, parent) = (commit.id()?, commit.parent()?);
    let on_branch = commit.made().is_some_and(|made| objects.repository().refname_to_id(&made) == Ok(id));
    match head.id {
        Some(head) if head == id => Ok(Undone::Gone),
        // It was taken back, or never came to be. A branch that is at the commit is the user's choice.
        Some(head) if head == parent && !on_branch => Ok(Undone::Gone),
        None if commit.is_half(head)? => Ok(Undone::Gone),
        Some(head) => match objects.descends(head, id) {
            Ok(true) => Ok(Undone::Below),
            Err(error) if error.is::<Error>() => Err(error),
            _ => Ok(Undone::Elsewhere),
        },
        None => Ok(Undone::Elsewhere),
    }
}

/// Moves the reference that HEAD names, or is to name, from the commit's parent to the commit.
fn advance(repository: &Repository, commit: &Commit) -> Result<()> {
    let (id, parent) = (commit.id()?, commit.parent()?);
    let log = "rr-patch: apply --commit";
    let Some(made) = commit.made() else {
        return match &commit.from {
            Some(from) => move_reference(repository, from, parent, id, log),
            None => set_head(repository, None, id),
        };
    };
    let file = reference_file(repository, &made);
    match repository.refname_to_id(&made) {
        Ok(found) if found == parent => {}
        _ => {
            index::wait_for_reference(&file)?;
            repository.reference(&made, parent, false, log).map_err(|error| unmoved(&file, &error))?;
            sync_reference(repository, &made)?;
        }
    }
    set_head(repository, Some(&made), parent)?;
    move_reference(repository, &made, parent, id, log)
}

/// Puts HEAD back where it was before a branch was made for the commit, and removes that branch, if it is not at the
/// commit.
fn leave_branch(repository: &Repository, commit: &Commit) -> Result<()> {
    let parent = commit.parent()?;
    if commit.is_half(&Head::of(repository)?)? {
        set_head(repository, commit.home(repository)?.as_deref(), parent)?;
    }
    let Some(made) = commit.made() else { return Ok(()) };
    if repository.refname_to_id(&made) == Ok(parent) {
        let file = reference_file(repository, &made);
        for file in [&file, &repository.commondir().join("packed-refs")] {
            index::wait_for_reference(file)?;
        }
        let deleted = repository.find_reference(&made).and_then(|mut branch| branch.delete());
        deleted.map_err(|error| unmoved(&file, &error))?;
    }
    // One that an earlier run removed may come back after a power cut too.
    sync_reference(repository, &made)
}

/// Moves a reference that is at `from`.
fn move_reference(repository: &Repository, name: &str, from: Oid, to: Oid, log: &str) -> Result<()> {
    let file = reference_file(repository, name);
    index::wait_for_reference(&file)?;
    repository.reference_matching(name, to, true, from, log).map_err(|error| unmoved(&file, &error))?;
    sync_reference(repository, name)
}

/// Lets HEAD name a reference, or else a commit.
fn set_head(repository: &Repository, name: Option<&str>, id: Oid) -> Result<()> {
    let file = reference_file(repository, "HEAD");
    index::wait_for_reference(&file)?;
    let set = name.map_or_else(|| repository.set_head_detached(id), |name| repository.set_head(name));
    Ok(set.map_err(|error| unmoved(&file, &error))?)
}

/// libgit2 syncs a reference and its folder, but neither a folder that it makes for it nor a removal.
fn sync_reference(repository: &Repository, name: &str) -> Result<()> {
    let file = reference_file(repository, name);
    let all = repository.commondir().join("refs");
    let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(&all));
    folders.filter(|folder| folder.is_dir()).try_for_each(write::sync)
}

/// The files that hold the references which a commit moves, if they are not packed.
fn references(repository: &Repository, commit: &Commit) -> Vec<PathBuf> {
    let names = commit.made().into_iter().chain(commit.from.clone());
    let mut files: Vec<PathBuf> = names.map(|name| reference_file(repository, &name)).collect();
    if commit.branch.is_some() || commit.from.is_none() {
        files.push(reference_file(repository, "HEAD"));
    }
    if commit.branch.is_some() {
        files.push(repository.commondir().join("packed-refs"));
    }
    files
}

/// A linked worktree has a HEAD of its own, and shares the branches.
fn reference_file(repository: &Repository, name: &str) -> PathBuf {
    if name == "HEAD" { repository.path().join(name) } else { repository.commondir().join(name) }
}

fn oid(content: Option<&Content>) -> Result<Option<Oid>> {
    content.map(Content::oid).transpose()
}

fn branch_reference(name: &str) -> String {
    format!("refs/heads/{name}")
}

fn refuse_branch(repository: &Repository, name: &str) -> Result<(), Error> {
    if !git2::Branch::name_is_valid(name).unwrap_or(false) {
        return Err(Error::refused(format!("`{name}` cannot be the name of a branch"))
            .hint("`git check-ref-format --branch NAME` says which can"));
    }
    match repository.find_reference(&branch_reference(name)) {
        Ok(_) => Err(Error::refused(format!("there is a branch `{name}` already"))
            .hint("choose another name, or apply without `--branch` while it is checked out")),
        Err(_) => Ok(()),
    }
}

fn nothing_checked_out(head: &Head, why: &str) -> Error {
    let name = head.name.as_deref().unwrap_or("HEAD");
    Error::refused(format!("nothing is checked out to commit to: `{name}`: {why}"))
        .hint("`git log` says whether there is a commit")
}

fn unread(repository: &Repository, name: &str, error: &git2::Error) -> Error {
    let file = reference_file(repository, name);
    Error::refused(format!("`{}` cannot be read: {}", file.shown(), error.message()))
        .hint("`git status` says whether git itself can read it")
}

fn unwritten(repository: &Repository, error: &git2::Error) -> Error {
    let folder = repository.commondir().join("objects");
    Error::failed(format!("cannot write to `{}`: {}", folder.shown(), error.message()))
}

/// Why a reference could not be moved.
fn unmoved(file: &Path, error: &git2::Error) -> Error {
    match error.code() {
        ErrorCode::Locked => index::held(&index::lock_of(file)),
        _ => Error::failed(format!("cannot write `{}`: {}", file.shown(), error.message())),
    }
}

/// A failure after something was written: no refusal any more.
fn after_writing(message: &str, error: anyhow::Error) -> Error {
    let failed = Error::failed(format!("{message}: {error:#}"));
    let Some(known) = error.downcast_ref::<Error>() else { return failed };
    let failed = known.details().iter().fold(failed, Error::detail);
    known.hints().iter().fold(failed, Error::hint)
}
