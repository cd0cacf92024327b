//! What `apply` did, or would do.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::changes::{Change, Origin, Places, by, root};
use super::document::Document;
use crate::error::plain_name;
use crate::patch::checkout::{Checkout, Commit, short};
use crate::patch::journal::JournalHeader;
use crate::patch::plan::{Plan, Rewrite};
use crate::patch::recognise::Marked;
use crate::patch::transaction::KeptEdit;

/// What `apply` did, or would do.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Applied {
    outcome: Outcome,
    /// The installer's folder.
    root: String,
    /// The commit that was checked out; nothing outside git.
    base: Option<String>,
    /// The version of rr-patch that made the changes.
    tool: String,
    changes: Vec<Change>,
    files: Vec<File>,
    #[serde(flatten)]
    with: Origin,
    /// The commit of the changes.
    commit: Option<Commit>,
    /// Saves of other programs that came while rr-patch wrote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept: Vec<KeptEdit>,
    /// What to type next.
    next: Vec<String>,
    /// What only the text tells.
    #[serde(skip)]
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Files were written.
    Patched,
    /// `--dry-run`: files would be written.
    #[serde(rename = "would patch")]
    WouldPatch,
    /// The changes were there.
    Unchanged,
}

#[derive(Debug, Serialize, JsonSchema)]
struct File {
    /// From the installer's root.
    path: String,
    added: bool,
    removed: bool,
}

#[derive(Debug)]
enum Told {
    /// All places and files of a plan.
    Plan { by: String, manner: Manner },
    /// Only files that had their original bytes again were looked at; these were edited.
    Rest { edited: Vec<String> },
    /// The sources say that they are patched as was asked for.
    Marked,
}

/// How a plan was carried out.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// There was an earlier patch.
    pub again: bool,
    /// A commit was asked for.
    pub committing: bool,
    /// The new branch of that commit.
    pub branch: Option<String>,
    /// Go has nothing to say against it.
    pub verified: bool,
}

impl File {
    fn all(plan: &Plan) -> Vec<Self> {
        let file = |rewrite: &Rewrite| Self {
            path: rewrite.path.clone(),
            added: rewrite.before.is_none(),
            removed: rewrite.after.is_none(),
        };
        plan.rewrites.iter().map(file).collect()
    }
}

impl Applied {
    fn of(checkout: &Checkout, plan: &Plan, about: &JournalHeader, outcome: Outcome, told: Told) -> Self {
        Self {
            outcome,
            root: root(checkout),
            base: about.base.clone(),
            tool: about.tool.clone(),
            changes: Change::all(plan),
            files: File::all(plan),
            with: Origin::of(&about.how, plan),
            commit: about.commit.clone(),
            kept: Vec::new(),
            next: Vec::new(),
            told,
        }
    }

    /// Of a whole plan.
    pub fn plan(checkout: &Checkout, plan: &Plan, about: &JournalHeader, outcome: Outcome, manner: Manner) -> Self {
        Self::of(checkout, plan, about, outcome, Told::Plan { by: by(&about.how, plan), manner })
    }

    /// Applied before with these options; `edited` files are left as they are.
    pub fn rest(
        checkout: &Checkout,
        plan: &Plan,
        about: &JournalHeader,
        outcome: Outcome,
        edited: Vec<String>,
    ) -> Self {
        Self::of(checkout, plan, about, outcome, Told::Rest { edited })
    }

    /// Patched already, as the sources say, and nothing else knows.
    pub fn marked(checkout: &Checkout, marked: &Marked) -> Self {
        Self {
            outcome: Outcome::Unchanged,
            root: root(checkout),
            base: None,
            tool: marked.mark.tool.clone(),
            changes: Vec::new(),
            files: Vec::new(),
            with: Origin::given(&marked.mark.given),
            commit: None,
            kept: Vec::new(),
            next: Vec::new(),
            told: Told::Marked,
        }
    }

    pub fn keeping(self, kept: Vec<KeptEdit>) -> Self {
        Self { kept, ..self }
    }

    pub fn next(self, next: Vec<String>) -> Self {
        Self { next, ..self }
    }
}

impl Document for Applied {
    const SCHEMA: &'static str = "rr-patch/apply/1";
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = plain_name(&self.root);
        match &self.told {
            Told::Marked => writeln!(f, "`{root}` is patched already, as its sources say; nothing to do"),
            Told::Rest { edited } => self.rest_text(f, &root, edited),
            Told::Plan { by, manner } => self.plan_text(f, &root, by, manner),
        }
    }
}

impl Applied {
    fn rest_text(&self, f: &mut fmt::Formatter<'_>, root: &str, edited: &[String]) -> fmt::Result {
        let state = match self.outcome {
            Outcome::Unchanged => "is patched already; nothing to do",
            Outcome::WouldPatch => "would be patched where it has original bytes again",
            Outcome::Patched => "is patched where it had original bytes again",
        };
        writeln!(f, "`{root}` {state}")?;
        if !edited.is_empty() {
            writeln!(f, "edited since, and left as it is: {}", edited.join(", "))?;
        }
        write!(f, "{}", Saves(&self.kept))
    }

    fn plan_text(&self, f: &mut fmt::Formatter<'_>, root: &str, by: &str, manner: &Manner) -> fmt::Result {
        let Manner { again, committing, branch, verified } = manner;
        let done = match (self.outcome, again, committing) {
            (Outcome::WouldPatch, _, true) => "would patch and commit",
            (Outcome::WouldPatch, _, false) => "would patch",
            (_, true, _) => "patched again",
            (_, false, _) => "patched",
        };
        writeln!(f, "{done} `{root}`, {by}:")?;
        fmt::Display::fmt(&Places(&self.changes), f)?;
        for File { path, added, removed } in &self.files {
            let word = match (added, removed) {
                (true, _) => "adds   ",
                (_, true) => "removes",
                _ => "changes",
            };
            writeln!(f, "  {word} {path}")?;
        }
        if self.outcome == Outcome::WouldPatch {
            return writeln!(f, "nothing was written (--dry-run); `rr-patch diff` shows the lines");
        }
        write!(f, "{}", Saves(&self.kept))?;
        if *verified {
            writeln!(f, "gofmt, go vet and go build have nothing to say against it")?;
        }
        if let Some(commit) = &self.commit {
            let on = branch.as_ref().map_or(String::new(), |name| format!(" on the new branch `{name}`"));
            writeln!(f, "committed as {}{on}", short(&commit.id))?;
        }
        match self.next.as_slice() {
            [build, revert] => writeln!(f, "next: `{build}`; `{revert}` takes it back"),
            _ => Ok(()),
        }
    }
}

/// Says where saved versions are that came while rr-patch wrote.
pub struct Saves<'a>(pub &'a [KeptEdit]);

impl fmt::Display for Saves<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|kept| writeln!(f, "{}", save(kept)))
    }
}

/// The same of one, without its line end.
pub fn save(KeptEdit { path, kept_as }: &KeptEdit) -> String {
    format!("`{path}` was being saved by another program: that version is kept as `{kept_as}`")
}
