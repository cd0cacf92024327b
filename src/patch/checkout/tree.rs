//! The tree of one revision: what a folder holds, and what a file does.

use std::path::Path;

use anyhow::Result;
use git2::{ObjectType, Oid, Tree};

use super::{Content, History, Revision};

/// A revision whose folders are looked into.
pub struct Revised<'history> {
    history: &'history History,
    revision: Revision,
    tree: Tree<'history>,
}

impl History {
    /// The tree of a revision.
    pub fn at(&self, revision: &Revision) -> Result<Revised<'_>> {
        let tree = self.objects.tree(self.objects.commit(Oid::from_str(&revision.commit)?)?.tree_id())?;
        Ok(Revised { history: self, revision: revision.clone(), tree })
    }
}

impl Revised<'_> {
    /// What a folder holds: each name, and whether it is a folder. Nothing where there is none.
    pub fn names(&self, folder: &str) -> Result<Vec<(String, bool)>> {
        let below = self.history.below_top().join(folder);
        let Some(entry) = self.history.objects.entry(&self.tree, &below)? else { return Ok(Vec::new()) };
        if entry.kind != Some(ObjectType::Tree) {
            return Ok(Vec::new());
        }
        let tree = self.history.objects.tree(entry.id)?;
        let name = |entry: git2::TreeEntry<'_>| {
            (String::from_utf8_lossy(entry.name_bytes()).into_owned(), entry.kind() == Some(ObjectType::Tree))
        };
        Ok(tree.iter().map(name).collect())
    }

    /// The name that git has for what lies there; nothing where there is nothing.
    pub fn id(&self, path: &str) -> Result<Option<String>> {
        let entry = self.history.objects.entry(&self.tree, &self.history.below_top().join(path))?;
        Ok(entry.map(|entry| entry.id.to_string()))
    }

    /// What a file holds; nothing if it is not there.
    pub fn read(&self, path: &str) -> Result<Option<Content>> {
        let entries = self.history.entries(&self.revision, &[Path::new(path).to_string_lossy().into_owned()])?;
        entries.first().map(|entry| self.history.read(entry, &self.revision)).transpose()
    }
}
