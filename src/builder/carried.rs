//! Which changes a checkout carries, for the statement about what is built of it.

use anyhow::Result;
use serde_json::{Value, json};

use crate::binary::hash;
use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::patch::hunks::Around;
use crate::patch::journal::{Seen, carries};
use crate::patch::plan::{AppliedWith, Plan, Rewrite, diff};
use crate::patch::recognise::{Marked, Recognised};
use crate::patch::rules::{Rules, Site};

/// What the checkout carries.
pub struct Patch {
    /// Of the difference that `rr-patch diff` would print, edits made since included.
    pub sha256: String,
    pub options: Value,
}

/// # Errors
/// A refusal where the checkout does not carry the whole patch.
pub fn patch(checkout: &Checkout) -> Result<Patch> {
    let refusal = |message: String| {
        Error::refused(message).hint("`rr-patch apply` patches it; `rr-patch build --unpatched` builds it as it is")
    };
    let journal = match Recognised::find(checkout)? {
        Some(Recognised::Applied(applied)) => applied.journal,
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
    let sha256 = hash(&diff(checkout.below_top(), &plan, Around::Lines(3))?);
    let options = match &journal.about.how {
        AppliedWith::Structural { options } => json!(options),
        classic @ AppliedWith::Classic { .. } => json!(classic),
    };
    Ok(Patch { sha256, options })
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
    let sha256 = hash(&diff(checkout.below_top(), &plan, Around::Lines(3))?);
    Ok(Patch { sha256, options: marked.mark.given.clone() })
}
