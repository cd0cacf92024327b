//! Commits of the changes that apply makes, and their way back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use git2::build::TreeUpdateBuilder;
use git2::{FileMode, IndexEntry, IndexTime, Oid, Repository};
use serde::{Deserialize, Serialize};

use super::{Checkout, Content, open};
use crate::error::Error;

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
#[derive(Debug, PartialEq, Eq)]
pub enum Undone {
    /// HEAD is where it was before, and a branch that was made is gone.
    Gone,
    /// It is part of what is checked out, with other commits on top.
    Below,
    /// Something else is checked out.
    Elsewhere,
}

/// A file as it was and as it is to be.
pub type Change<'a> = (&'a str, Option<&'a Content>, Option<&'a Content>);

/// Commits, written so that nobody sees one before [`Checkout::put_commit`].
impl Checkout {
    fn repository(&self) -> Result<Repository> {
        let repository = if self.git.is_some() { open(&self.top)? } else { None };
        repository.ok_or_else(|| {
            Error::refused(format!("`{}` is in no git repository: there is nothing to commit to", self.root.display()))
                .hint("apply without `--commit`")
                .into()
        })
    }

    /// Where git has a file of the installer.
    fn in_git(&self, path: &str) -> PathBuf {
        self.below_top().join(path)
    }

    /// Writes a commit of these changes and of nothing else that the user has done.
    ///
    /// # Errors
    /// Files that differ from the commit that is checked out, a branch that is there already, a git
    /// that does not know its user, an index that libgit2 cannot read.
    pub fn prepare_commit(&self, changes: &[Change], message: &str, branch: Option<&str>) -> Result<Commit> {
        let repository = self.repository()?;
        let head = repository.head().and_then(|head| head.peel_to_commit()).map_err(|error| {
            Error::refused(format!("nothing is checked out to commit to: {}", error.message()))
                .hint("`git log` says whether there is a commit")
        })?;
        let index = repository.index().map_err(|error| index_unread(&error))?;
        let tree = head.tree()?;
        let mut builder = TreeUpdateBuilder::new();
        for (path, before, after) in changes {
            let path = self.in_git(path);
            let committed = tree.get_path(&path).ok().map(|entry| entry.id());
            let staged = index.get_path(&path, 0).map(|entry| entry.id);
            let before = before.map(Content::oid).transpose()?;
            if committed != before || staged != committed {
                return Err(Error::refused(format!("`{}` has changes that are not committed", path.display()))
                    .detail("expected: the file as the checked-out commit has it, since all of it would be committed")
                    .hint(format!(
                        "`git diff HEAD -- {0}` shows them: commit them first, or `git stash`",
                        path.display()
                    ))
                    .into());
            }
            match after {
                None => builder.remove(&path),
                Some(content) => {
                    let mode = if content.is_executable() { FileMode::BlobExecutable } else { FileMode::Blob };
                    builder.upsert(&path, repository.blob(&content.bytes)?, mode)
                }
            };
        }
        if let Some(name) = branch {
            refuse_branch(&repository, name)?;
        }
        // As git asks: the environment first, then its configuration.
        let who = repository.author_from_env().and_then(|author| Ok((author, repository.committer_from_env()?)));
        let (author, committer) = who.map_err(|error| {
            Error::refused(format!("git does not know who commits: {}", error.message()))
                .hint("`git config user.name NAME` and `git config user.email ADDRESS` tell it")
        })?;
        let tree = repository.find_tree(builder.create_updated(&repository, &tree)?)?;
        let id = repository.commit(None, &author, &committer, message, &tree, &[&head])?;
        let from = repository.find_reference("HEAD")?.symbolic_target().ok().flatten().map(str::to_owned);
        Ok(Commit { id: id.to_string(), parent: head.id().to_string(), branch: branch.map(str::to_owned), from })
    }

    /// Checks out a commit that was prepared, whose files are in place.
    pub fn put_commit(&self, commit: &Commit, paths: &[&str]) -> Result<()> {
        let repository = self.repository()?;
        let id = Oid::from_str(&commit.id)?;
        let parent = Oid::from_str(&commit.parent)?;
        self.stage(&repository, paths, id)?;
        let log = "rr-patch: apply --commit";
        let moved = match (&commit.branch, &commit.from) {
            (Some(name), _) => repository
                .reference(&branch_reference(name), id, false, log)
                .and_then(|_| repository.set_head(&branch_reference(name))),
            (None, Some(from)) => repository.reference_matching(from, id, true, parent, log).map(drop),
            (None, None) => repository.set_head_detached(id),
        };
        if let Err(error) = moved {
            self.stage(&repository, paths, parent)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Whether a commit is what is checked out.
    pub fn is_at(&self, commit: &Commit) -> bool {
        self.head() == Some(&commit.id)
    }

    /// Takes a commit back, if it is the last one of what is checked out.
    pub fn undo_commit(&self, commit: &Commit, paths: &[&str]) -> Result<Undone> {
        let repository = self.repository()?;
        let (id, parent) = (Oid::from_str(&commit.id)?, Oid::from_str(&commit.parent)?);
        let head = repository.head()?.peel_to_commit()?.id();
        if head != id {
            let below = repository.graph_descendant_of(head, id).unwrap_or(false);
            return Ok(if below { Undone::Below } else { Undone::Elsewhere });
        }
        let log = "rr-patch: revert";
        let now = repository.find_reference("HEAD")?.symbolic_target().ok().flatten().map(str::to_owned);
        let made = commit.branch.as_deref().map(branch_reference);
        match (&now, &commit.from) {
            // On the branch that was made: back to where apply was called.
            (Some(now), Some(from)) if made.as_ref() == Some(now) => {
                repository.set_head(from)?;
                if repository.head()?.peel_to_commit()?.id() != parent {
                    repository.set_head_detached(parent)?;
                }
            }
            (Some(now), _) if made.as_ref() != Some(now) => {
                repository.reference_matching(now, parent, true, id, log)?;
            }
            _ => repository.set_head_detached(parent)?,
        }
        if let Some(mut branch) = made.and_then(|name| repository.find_reference(&name).ok())
            && branch.target() == Some(id)
        {
            branch.delete()?;
        }
        self.stage(&repository, paths, parent)?;
        Ok(Undone::Gone)
    }

    /// Gives the index a commit's version of these files. Git looks at the files themselves later.
    fn stage(&self, repository: &Repository, paths: &[&str], commit: Oid) -> Result<()> {
        let tree = repository.find_commit(commit)?.tree()?;
        let mut index = repository.index().map_err(|error| index_unread(&error))?;
        for path in paths {
            let path = self.in_git(path);
            let Ok(entry) = tree.get_path(&path) else {
                index.remove_path(&path)?;
                continue;
            };
            let on_disk = fs::read(self.top.join(&path)).ok();
            let same = on_disk.map(|bytes| Oid::hash_object(git2::ObjectType::Blob, &bytes)).transpose()?;
            if same == Some(entry.id()) {
                index.add_path(&path)?;
            } else {
                index.add(&unseen(&path, entry.id(), entry.filemode())?)?;
            }
        }
        index.write().context("cannot write git's index")
    }
}

/// An index entry of a file that git is to look at again.
fn unseen(path: &Path, id: Oid, mode: i32) -> Result<IndexEntry> {
    let time = IndexTime::new(0, 0);
    Ok(IndexEntry {
        ctime: time,
        mtime: time,
        dev: 0,
        ino: 0,
        mode: u32::try_from(mode)?,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_os_str().as_encoded_bytes().to_vec(),
    })
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

fn index_unread(error: &git2::Error) -> Error {
    Error::refused(format!("git's index cannot be read: {}", error.message())).hint(
        "rr-patch's git library knows neither a sparse nor a split index: `git sparse-checkout reapply --no-sparse-index`, or apply without `--commit`",
    )
}
