//! What `revert` took back.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::apply::Saves;
use super::changes::root;
use super::document::Document;
use crate::error::{Shown, plain_name};
use crate::patch::checkout::{Checkout, Commit, TakenBack, Undone, short};
use crate::patch::journal::Undo;
use crate::patch::recognise::Found;
use crate::patch::transaction::KeptEdit;
use crate::words::count;

/// What `revert` took back.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Reverted {
    Changes(Box<Changes>),
    Nothing(Nothing),
}

/// Nothing is patched.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Nothing {
    outcome: Unchanged,
    /// The installer's folder.
    root: String,
    /// None.
    files: [File; 0],
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Unchanged {
    /// There was nothing to take back.
    Unchanged,
}

/// Changes were taken back.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Changes {
    outcome: Outcome,
    /// The installer's folder.
    root: String,
    files: Vec<File>,
    /// Whether the commit of the changes is gone; nothing where there was none.
    commit_gone: Option<bool>,
    /// Saves of other programs that came while rr-patch wrote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept: Vec<KeptEdit>,
    /// The commit whose originals these are, where git had them, and whether it is one of the changes.
    #[serde(skip)]
    found: Option<(String, bool)>,
    #[serde(skip)]
    taken_back: Option<(Commit, TakenBack)>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Reverted,
}

#[derive(Debug, Serialize, JsonSchema)]
struct File {
    /// From the installer's root.
    path: String,
    done: Done,
    /// Where its edited version is.
    backup: Option<String>,
    #[serde(skip)]
    merged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Done {
    Restored,
    /// What was edited since is kept.
    Merged,
    Removed,
}

impl Reverted {
    /// Nothing is patched.
    pub fn nothing(checkout: &Checkout) -> Self {
        Self::Nothing(Nothing { outcome: Unchanged::Unchanged, root: root(checkout), files: [] })
    }

    /// What was `undo`ne, with originals that may have been `found` in git, and what became of the commit of the changes.
    pub fn of(
        checkout: &Checkout,
        undo: &Undo,
        found: Option<&Found>,
        kept: Vec<KeptEdit>,
        taken_back: Option<(Commit, TakenBack)>,
    ) -> Self {
        let mut files = Vec::new();
        for rewrite in undo.reverted() {
            let edited = found.iter().flat_map(|found| &found.merged);
            let merged = undo.merged.iter().chain(edited).any(|path| *path == rewrite.path);
            let backup = undo.backups.iter().find(|(path, _)| *path == rewrite.path).map(|(_, backup)| backup.clone());
            let done = match (&rewrite.after, merged) {
                (None, _) => Done::Removed,
                (_, true) => Done::Merged,
                _ => Done::Restored,
            };
            files.push(File { path: rewrite.path.clone(), done, backup, merged });
        }
        Self::Changes(Box::new(Changes {
            outcome: Outcome::Reverted,
            root: root(checkout),
            files,
            commit_gone: taken_back.as_ref().map(|(_, taken_back)| taken_back.commit == Undone::Gone),
            kept,
            found: found.map(|found| (found.commit.clone(), found.committed)),
            taken_back,
        }))
    }
}

impl Document for Reverted {
    const SCHEMA: &'static str = "rr-patch/revert/1";
}

impl fmt::Display for Reverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changes(changes) => changes.fmt(f),
            Self::Nothing(Nothing { root, .. }) => {
                writeln!(f, "`{}` is not patched; nothing to do", plain_name(root))
            }
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = plain_name(&self.root);
        writeln!(f, "reverted `{root}`: {}", count(self.files.len(), "file"))?;
        for File { path, done, backup, merged } in &self.files {
            let word = match done {
                Done::Removed => "removed ",
                Done::Merged => "merged  ",
                Done::Restored => "restored",
            };
            write!(f, "  {word} {path}")?;
            match (backup, merged) {
                (Some(backup), _) => writeln!(f, "; the edited version is {backup}")?,
                (None, true) => writeln!(f, "; what was edited since is kept")?,
                (None, false) => writeln!(f)?,
            }
        }
        write!(f, "{}", Saves(&self.kept))?;
        if let Some((commit, committed)) = &self.found {
            writeln!(f, "the originals are those of {}", short(commit))?;
            if *committed {
                writeln!(f, "the commit of the changes stays: commit the files that came back")?;
            }
        }
        let Some((Commit { id, branch, .. }, TakenBack { commit, staged })) = &self.taken_back else { return Ok(()) };
        for path in staged {
            writeln!(f, "  `{}` has staged edits, which stay staged", path.shown())?;
        }
        let short = short(id);
        match (commit, branch) {
            (Undone::Gone, Some(branch)) => writeln!(f, "commit {short} is gone, and branch `{branch}` with it"),
            (Undone::Gone, None) => writeln!(f, "commit {short} is gone"),
            (Undone::Below, _) => writeln!(
                f,
                "commit {short} has others on top and stays: commit the files that came back, or `git checkout -- .` and `git revert {short}`"
            ),
            (Undone::Elsewhere, Some(branch)) => {
                writeln!(f, "commit {short} is not checked out and stays: `git branch -D {branch}` drops it")
            }
            (Undone::Elsewhere, None) => writeln!(f, "commit {short} is not checked out and stays"),
        }
    }
}
