//! Commits the changes of an apply, and undoes such commits.
//!
//! The reference that HEAD names is moved from the parent to the new commit in one step. A branch for the commit is
//! created and checked out at the parent before that step; on undo it is moved back to the parent before it is
//! removed. So a branch at the commit was completed, and a branch at the parent is left over from a killed run. The
//! remaining work can always be derived from HEAD, the branch and the index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, Oid, Repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::index::{self, LockedIndex};
use super::odb::Objects;
use super::{Checkout, Content, open};
use crate::error::{Error, Shown};
use crate::sys::ffi;
use crate::sys::write;

/// A commit of the changes on top of the commit that was checked out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    pub id: String,
    pub parent: String,
    /// The branch that was created for it.
    pub branch: Option<String>,
    /// The reference that HEAD named before; `None` if it was detached.
    pub from: Option<String>,
}

/// The result of undoing a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// HEAD is where it was before, and a created branch is removed.
    Gone,
    /// The commit is an ancestor of HEAD: there are other commits on top of it.
    Below,
    /// Another commit is checked out.
    Elsewhere,
}

/// What was undone of a commit.
#[derive(Debug, PartialEq, Eq)]
pub struct TakenBack {
    pub commit: Undone,
    /// Files, from the top of the work tree, that the user has staged since. They stay staged.
    pub staged: Vec<PathBuf>,
}

/// The path of a file, with its content before and after.
pub type FileEdit<'a> = (&'a str, Option<&'a Content>, Option<&'a Content>);

/// The state of HEAD.
struct Head {
    /// The reference that HEAD names; `None` if it is detached.
    name: Option<String>,
    /// `None` if that reference does not exist.
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

    /// The reference of the branch that was created for the commit.
    fn made(&self) -> Option<String> {
        self.branch.as_deref().map(branch_reference)
    }

    /// The reference that HEAD returns to when the commit is undone: the one that it named before, if it is still at
    /// the parent.
    fn home(&self, repository: &Repository) -> Result<Option<String>> {
        let parent = self.parent()?;
        let still = |name: &&String| repository.refname_to_id(name).is_ok_and(|id| id == parent);
        Ok(self.from.as_ref().filter(still).cloned())
    }

    /// Whether a killed run left HEAD on the branch that it created, without the commit.
    fn is_half(&self, head: &Head) -> Result<bool> {
        let parent = self.parent()?;
        Ok(self.made().is_some() && head.name == self.made() && head.id.is_none_or(|id| id == parent))
    }
}

/// Commits, which stay invisible until [`Checkout::put_commit`].
impl Checkout {
    fn objects(&self) -> Result<Objects> {
        let repository = if self.git.is_some() { open(&self.top)? } else { None };
        repository.map(Objects::new).ok_or_else(|| {
            Error::refused(format!("`{}` is not in a git repository: there is nothing to commit to", self.root.shown()))
                .hint("apply without `--commit`")
                .into()
        })
    }

    /// The path of an installer file in the git repository.
    fn in_git(&self, path: &str) -> PathBuf {
        self.below_top().join(path)
    }

    /// Writes a commit with these changes only, without other changes of the user. `earlier` is the commit in the
    /// journal: a killed run may have left its branch and its staged files.
    ///
    /// # Errors
    /// Files that differ from HEAD, a branch that already exists, no user name in git's configuration, an index that
    /// libgit2 cannot read or that another program has locked.
    pub fn prepare_commit(
        &self,
        changes: &[FileEdit],
        message: &str,
        branch: Option<&str>,
        earlier: Option<&Commit>,
    ) -> Result<Commit> {
        ffi::sync_git_writes();
        // In strict mode libgit2 reads every object that is put into a tree or a commit. They are checked here
        // instead.
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
            (None, None) => return Err(nothing_checked_out(&head, "it has none yet").into()),
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
                    // On a file system without permission bits, the committed mode is the correct one.
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
        // The same order as git: first the environment, then the configuration.
        let who = repository.author_from_env().and_then(|author| Ok((author, repository.committer_from_env()?)));
        let (author, committer) = who.map_err(|error| {
            Error::refused(format!("git does not know who commits: {}", error.message()))
                .hint("`git config user.name NAME` and `git config user.email ADDRESS` set it")
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

    /// Checks out a prepared commit, after its files were written. If an earlier run was interrupted, only the
    /// remaining steps are done.
    ///
    /// # Errors
    /// A lock of another program, a full disk. HEAD, its reference and the index are then unchanged.
    pub fn put_commit(&self, commit: &Commit, changes: &[FileEdit]) -> Result<()> {
        let failed = |error| {
            after_writing("the files are patched, but could not be committed", error)
                .hint("`rr-patch apply --commit` tries again; `rr-patch revert` reverts it")
        };
        let put = self.move_to(commit, changes).map_err(failed)?;
        let unstaged = |error| {
            after_writing("the files are committed, but not staged", error)
                .hint("`rr-patch apply --commit` stages them; `rr-patch revert` reverts it")
        };
        Ok(put.put().and_then(|()| put.release()).map_err(unstaged)?)
    }

    /// Moves HEAD's reference to a commit, and returns the updated index, still locked.
    fn move_to(&self, commit: &Commit, changes: &[FileEdit]) -> Result<LockedIndex> {
        ffi::sync_git_writes();
        let objects = self.objects()?;
        let repository = objects.repository();
        let mut index = LockedIndex::take(repository, &self.state_dir, &references(repository, commit))?;
        let tree = objects.tree(objects.commit(commit.id()?)?.tree_id())?;
        for (path, before, after) in changes {
            let path = self.in_git(path);
            // A file that the user has staged in the meantime stays staged.
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
            return Err(Error::refused(format!(
                "another commit was checked out in `{}` in the meantime",
                self.top.shown()
            ))
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

    /// Whether this commit is checked out.
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

    /// Removes the git locks of an rr-patch that was killed while it checked out or undid the commit. Call it only
    /// while holding the checkout's lock.
    pub fn remove_abandoned_locks(&self, commit: &Commit) -> Result<()> {
        let objects = self.objects()?;
        let repository = objects.repository();
        let lock = index::lock_of(&index::path_of(repository));
        index::remove_abandoned(&lock, &references(repository, commit)).map(drop)
    }

    /// The path of an `index.lock` that rr-patch made; `None` if there is none.
    fn own_index_lock(&self) -> Option<PathBuf> {
        let lock = index::lock_of(&index::path_of(self.objects().ok()?.repository()));
        Some(lock).filter(|lock| index::is_ours(lock))
    }

    /// Whether there is an `index.lock` that rr-patch made.
    pub fn has_index_lock(&self) -> bool {
        self.own_index_lock().is_some()
    }

    /// Removes the `index.lock` of an rr-patch that was killed before it wrote the journal or after it removed it.
    /// Call it only while holding the checkout's lock.
    pub fn remove_abandoned_index_lock(&self) -> Result<()> {
        self.own_index_lock().map_or(Ok(()), |lock| index::remove_abandoned(&lock, &[]).map(drop))
    }

    /// Checks whether a commit can be undone, before the files are restored.
    ///
    /// # Errors
    /// An index that cannot be read, a lock of another program, a broken object.
    pub fn check_undo(&self, commit: &Commit, changes: &[FileEdit]) -> Result<()> {
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

    /// Undoes a commit if it is the last one on HEAD, and unstages what apply staged for it. If an earlier run was
    /// interrupted, only the remaining steps are done.
    pub fn undo_commit(&self, commit: &Commit, changes: &[FileEdit]) -> Result<TakenBack> {
        self.move_back(commit, changes).map_err(|error| {
            after_writing("the files are as before, but the commit could not be undone", error)
                .hint("`rr-patch revert` tries again")
                .into()
        })
    }

    fn move_back(&self, commit: &Commit, changes: &[FileEdit]) -> Result<TakenBack> {
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
            // The branch is reset first: as long as HEAD is at the commit, the next run can see that the undo is
            // unfinished.
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

/// The result of undoing the commit now.
fn undone(objects: &Objects, commit: &Commit, head: &Head) -> Result<Undone> {
    let (id, parent) = (commit.id()?, commit.parent()?);
    let on_branch = commit.made().is_some_and(|made| objects.repository().refname_to_id(&made) == Ok(id));
    match head.id {
        Some(head) if head == id => Ok(Undone::Gone),
        // It was already undone, or never completed. If a branch is at the commit, the user has put it there.
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

/// Moves the reference that HEAD names, or will name, from the parent to the commit.
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

/// Moves HEAD back to where it was before the branch was created, and removes the branch unless it is at the commit.
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
    // A branch that an earlier run removed can also come back after a power failure.
    sync_reference(repository, &made)
}

/// Moves a reference from `from` to `to`. Fails if it is not at `from`.
fn move_reference(repository: &Repository, name: &str, from: Oid, to: Oid, log: &str) -> Result<()> {
    let file = reference_file(repository, name);
    index::wait_for_reference(&file)?;
    repository.reference_matching(name, to, true, from, log).map_err(|error| unmoved(&file, &error))?;
    sync_reference(repository, name)
}

/// Points HEAD to a reference, or to a commit (detached).
fn set_head(repository: &Repository, name: Option<&str>, id: Oid) -> Result<()> {
    let file = reference_file(repository, "HEAD");
    index::wait_for_reference(&file)?;
    let set = name.map_or_else(|| repository.set_head_detached(id), |name| repository.set_head(name));
    Ok(set.map_err(|error| unmoved(&file, &error))?)
}

/// Syncs a reference. libgit2 syncs the file and its folder, but neither a new folder nor a removal.
fn sync_reference(repository: &Repository, name: &str) -> Result<()> {
    let file = reference_file(repository, name);
    let all = repository.commondir().join("refs");
    let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(&all));
    folders.filter(|folder| folder.is_dir()).try_for_each(write::sync)
}

/// The files of the references that a commit moves, unless they are packed.
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

/// A linked worktree has its own HEAD, but shares the branches.
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
            .hint("`git check-ref-format --branch NAME` checks a name"));
    }
    match repository.find_reference(&branch_reference(name)) {
        Ok(_) => Err(Error::refused(format!("the branch `{name}` exists already"))
            .hint("choose another name, or apply without `--branch` while it is checked out")),
        Err(_) => Ok(()),
    }
}

fn nothing_checked_out(head: &Head, why: &str) -> Error {
    let name = head.name.as_deref().unwrap_or("HEAD");
    Error::refused(format!("there is no commit to build on: `{name}`: {why}"))
        .hint("`git log` shows whether there is a commit")
}

fn unread(repository: &Repository, name: &str, error: &git2::Error) -> Error {
    let file = reference_file(repository, name);
    Error::refused(format!("`{}` cannot be read: {}", file.shown(), error.message()))
        .hint("`git status` shows whether git itself can read it")
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

/// A failure after something was written, so it is not a refusal any more.
fn after_writing(message: &str, error: anyhow::Error) -> Error {
    let failed = Error::failed(format!("{message}: {error:#}"));
    let Some(known) = error.downcast_ref::<Error>() else { return failed };
    let failed = known.details().iter().fold(failed, Error::detail);
    known.hints().iter().fold(failed, Error::hint)
}
