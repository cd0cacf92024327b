//! Which changes a checkout carries, for the statement about what is built of it.

use anyhow::Result;
use serde_json::{Value, json};

use crate::binary::hash;
use crate::error::{Error, Shown};
use crate::patch::checkout::{Checkout, Commit};
use crate::patch::hunks::Around;
use crate::patch::journal::{JournalHeader, Seen, carries};
use crate::patch::plan::{AppliedWith, Plan, Rewrite, diff};
use crate::patch::recognise::{Applied, Found, Marked, Recognised};
use crate::patch::rules::{Rules, Site, digest};

/// What the checkout carries.
#[derive(Default)]
pub struct Patch {
    /// Of the difference that `rr-patch diff` would print, edits made since included.
    pub sha256: Option<String>,
    pub options: Value,
    /// Of the rules that this build carries, where they made the changes.
    pub rules: Option<String>,
    /// The commit of the changes, where they are one.
    pub commit: Option<Commit>,
}

impl Patch {
    /// What a plan of these rules changes.
    pub fn of(checkout: &Checkout, plan: &Plan, options: Value) -> Result<Self> {
        let sha256 = hash(&diff(checkout.below_top(), plan, Around::Lines(3))?);
        Ok(Self { sha256: Some(sha256), options, rules: Some(digest()), commit: None })
    }
}

/// # Errors
/// A refusal where the checkout does not carry the whole patch.
pub fn patch(checkout: &Checkout) -> Result<Patch> {
    let refusal = |message: String| {
        Error::refused(message).hint("`rr-patch apply` patches it; `rr-patch build --unpatched` builds it as it is")
    };
    let Applied { journal, found } = match Recognised::find(checkout)? {
        Some(Recognised::Applied(applied)) => *applied,
        Some(Recognised::Marked(marked)) => return of_marked(checkout, &marked, refusal),
        None => {
            let root = checkout.root().shown();
            return Err(refusal(format!("`{root}` is not patched: its installer would record nothing")).into());
        }
    };
    let seen = journal.look(checkout)?;
    let undone: Vec<&str> =
        seen.iter().filter(|seen| !carries(&journal, seen)).map(|seen| seen.rewrite.path.as_str()).collect();
    if !undone.is_empty() {
        let error = refusal(format!("`{}` is only partly patched", checkout.root().shown()));
        return Err(undone.into_iter().fold(error, |error, path| error.detail(format!("not patched: {path}"))).into());
    }
    let now = |seen: &Seen| Rewrite { after: seen.current.clone(), ..seen.rewrite.clone() };
    let plan = Plan { rewrites: seen.iter().map(now).collect(), ..journal.plan.clone() };
    let structural = matches!(&journal.about.how, AppliedWith::Structural { .. });
    let options = match &journal.about.how {
        AppliedWith::Structural { options } => json!(options),
        classic @ AppliedWith::Classic { .. } => json!(classic),
    };
    let patch = Patch::of(checkout, &plan, options)?;
    // Rules of another version are not known here.
    let ours = structural && journal.about.tool == env!("CARGO_PKG_VERSION");
    Ok(Patch {
        rules: rules_of(&patch.options).or(patch.rules.filter(|_| ours)),
        commit: commit_of(checkout, &journal.about, found.as_ref()),
        ..patch
    })
}

/// The digest of the folder of rules that the options name.
fn rules_of(options: &Value) -> Option<String> {
    Some(options.get("rules")?.as_str()?.trim_start_matches("sha256:").to_owned())
}

/// The commit of the changes that is checked out, or stands below what is.
fn commit_of(checkout: &Checkout, about: &JournalHeader, found: Option<&Found>) -> Option<Commit> {
    let head = checkout.head()?.to_owned();
    let of_journal = about.commit.clone().filter(|commit| checkout.stands_on(commit));
    let of_git = found.filter(|found| found.committed && found.commit != head);
    of_journal
        .or_else(|| of_git.map(|found| Commit { id: head, parent: found.commit.clone(), branch: None, from: None }))
}

/// A checkout whose originals are not known: its patch set is its sources, whole.
fn of_marked(checkout: &Checkout, marked: &Marked, refusal: impl Fn(String) -> Error) -> Result<Patch> {
    if !marked.open.is_empty() {
        let error = refusal(format!("`{}` is only partly patched", checkout.root().shown()));
        let place = |site: &Site| format!("not patched: {}:{}, {}", site.path, site.line, site.change);
        return Err(marked.open.iter().map(place).fold(error, Error::detail).into());
    }
    let mut rewrites = Vec::new();
    for path in Rules::built_in()?.source_paths() {
        let after = checkout.read(&path)?;
        rewrites.extend(after.map(|after| Rewrite { path, before: None, after: Some(after) }));
    }
    let plan = Plan { rewrites, sites: Vec::new(), shape: String::new() };
    let patch = Patch::of(checkout, &plan, marked.mark.given.clone())?;
    let ours = marked.mark.tool == env!("CARGO_PKG_VERSION");
    Ok(Patch { rules: rules_of(&patch.options).or(patch.rules.filter(|_| ours)), ..patch })
}
