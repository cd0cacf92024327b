//! The ancestors of HEAD, nearest first, without those that have the same installer files as a nearer one.

use std::collections::{HashSet, VecDeque};

use anyhow::Result;
use git2::Oid;

use super::odb::Objects;
use super::{Checkout, Content, MARK, absent, open};

/// The most commits that are searched; this takes about a fifth of a second.
const COMMITS: usize = 5_000;

/// Iterates over HEAD, its parents, their parents and so on. Skips a commit if its `pkg/clusterapi` was already seen.
pub struct Ancestors<'checkout> {
    checkout: &'checkout Checkout,
    objects: Objects,
    queue: VecDeque<Oid>,
    known: HashSet<Oid>,
    folders: HashSet<Oid>,
    looked_at: usize,
    more: bool,
}

impl Checkout {
    /// The commits from HEAD on; `None` without a repository or before the first commit.
    pub fn ancestors(&self) -> Result<Option<Ancestors<'_>>> {
        let Some(head) = self.head().map(Oid::from_str).transpose()? else { return Ok(None) };
        let Some(repository) = open(&self.top)? else { return Ok(None) };
        Ok(Some(Ancestors {
            checkout: self,
            objects: Objects::new(repository),
            queue: VecDeque::from([head]),
            known: HashSet::from([head]),
            folders: HashSet::new(),
            looked_at: 0,
            more: false,
        }))
    }

    /// Whether a commit of this repository has these bytes at `path`.
    pub fn has(&self, commit: &str, path: &str, content: &Content) -> Result<bool> {
        let Some(repository) = self.git.as_ref().map(|_| open(&self.top)).transpose()?.flatten() else {
            return Ok(false);
        };
        let objects = Objects::new(repository);
        let Ok(commit) = Oid::from_str(commit).map_err(Into::into).and_then(|id| objects.commit(id)) else {
            return Ok(false);
        };
        let tree = objects.tree(commit.tree_id());
        let entry = tree.and_then(|tree| objects.entry(&tree, &self.below_top().join(path))).ok().flatten();
        // The blob must be in this repository. In a partial clone it may be missing.
        let stored = entry.filter(|entry| objects.blob(entry.id).is_ok());
        Ok(match stored {
            Some(entry) => entry.id == content.oid()?,
            None => false,
        })
    }

    /// Whether the clone is shallow, so that older commits are missing.
    pub fn is_shallow(&self) -> bool {
        self.git.is_some() && open(&self.top).is_ok_and(|repository| repository.is_some_and(|one| one.is_shallow()))
    }
}

impl Ancestors<'_> {
    /// The number of commits that were searched.
    pub fn looked_at(&self) -> usize {
        self.looked_at
    }

    /// Whether the search stopped at the limit.
    pub fn were_more(&self) -> bool {
        self.more
    }

    /// Reads the file at `path` in the commit; `None` if it is not a regular file.
    ///
    /// # Errors
    /// A file that a partial clone does not have.
    pub fn read(&self, commit: &str, path: &str) -> Result<Option<Content>> {
        let tree = self.objects.tree(self.objects.commit(Oid::from_str(commit)?)?.tree_id())?;
        let found = self.objects.entry(&tree, &self.checkout.below_top().join(path));
        let Some(entry) = found.map_err(|error| absent(path, commit, error))? else { return Ok(None) };
        if entry.kind != Some(git2::ObjectType::Blob) || entry.mode == 0o120_000 {
            return Ok(None);
        }
        let bytes = self.objects.blob(entry.id).map_err(|error| absent(path, commit, error))?;
        Ok(Some(Content { bytes, mode: u32::try_from(entry.mode)? & 0o7777 }))
    }

    /// The object id of the installer's files, if this repository has the commit and its trees.
    fn folder(&self, commit: &git2::Commit) -> Option<Oid> {
        let tree = self.objects.tree(commit.tree_id()).ok()?;
        Some(self.objects.entry(&tree, &self.checkout.below_top().join(MARK)).ok()??.id)
    }
}

impl Iterator for Ancestors<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while let Some(id) = self.queue.pop_front() {
            if self.looked_at == COMMITS {
                self.more = true;
                return None;
            }
            // A shallow clone does not have the parents of its oldest commits.
            let Ok(commit) = self.objects.commit(id) else { continue };
            self.looked_at += 1;
            self.queue.extend(commit.parent_ids().filter(|parent| self.known.insert(*parent)));
            if let Some(folder) = self.folder(&commit)
                && self.folders.insert(folder)
            {
                return Some(id.to_string());
            }
        }
        None
    }
}
