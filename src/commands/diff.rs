//! `rr-patch diff`: what apply would do or has done, as a patch.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use super::{Changes, Where};
use crate::error::{Error, Shown};
use crate::patch::again::plan_from_originals;
use crate::patch::checkout::History;
use crate::patch::hunks::Around;
use crate::patch::journal::Journal;
use crate::patch::journal::kept;
use crate::patch::plan::diff;
use crate::patch::plan::{AppliedWith, Plan};
use crate::patch::recognise::Recognised;
use crate::patch::rules::Options;
use crate::ui::diff::Patch;
use crate::ui::document::Report;

const EXAMPLES: &str = "\
Examples:
  rr-patch diff > rr.patch                      # `git apply` takes it
  rr-patch diff --rev release-4.20 > rr.patch   # of a revision that is not checked out
  rr-patch diff --context least                 # to fit as many revisions as possible";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Diff {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten)]
    pub changes: Changes,

    /// Print what apply would do to this revision, which need not be checked out
    #[arg(long, value_name = "REV")]
    pub rev: Option<String>,

    /// Lines around each change; `least`: as few as tell its place, to fit as many revisions as possible
    #[arg(long, value_name = "N", default_value = "3", value_parser = around)]
    pub context: Around,
}

fn around(text: &str) -> Result<Around, String> {
    match text {
        "least" => Ok(Around::Least),
        // git takes a hunk without context for one at the file's very end.
        _ => match text.parse() {
            Ok(number @ 1..=1000) => Ok(Around::Lines(number)),
            _ => Err("expected a number from 1 to 1000, or `least`".into()),
        },
    }
}

impl Diff {
    pub fn run(&self) -> Result<Report<Patch>> {
        if let Some(name) = &self.rev {
            return self.of_revision(name);
        }
        let checkout = self.place.checkout()?;
        let recipe = self.changes.recipe()?;
        let journal = match Recognised::find_with(&checkout, recipe.rules())? {
            None => None,
            Some(Recognised::Applied(applied)) => Some(applied.journal),
            Some(Recognised::Marked(marked)) => {
                let message = format!("`{}` is patched, but its originals are not known", checkout.root().shown());
                return Err(marked.explain(Error::refused(message)).into());
            }
        };
        let seen = journal.as_ref().map(|journal| journal.look(&checkout)).transpose()?.unwrap_or_default();
        let anything = recipe.how() == AppliedWith::Structural { options: Options::default() };
        let asked_for = |journal: &&Journal| anything || recipe.how() == journal.about.how;
        let applied = journal.as_ref().filter(asked_for).filter(|journal| kept(journal, &seen));
        if let Some(journal) = applied {
            return self.report(checkout.below_top(), &journal.plan, true);
        }
        self.report(
            checkout.below_top(),
            &plan_from_originals(&checkout, &seen, &recipe, self.changes.three_way)?,
            false,
        )
    }

    fn of_revision(&self, name: &str) -> Result<Report<Patch>> {
        let history = History::open(self.place.repo.as_deref(), self.place.root.as_deref())?;
        let revision = history.revision(name)?;
        let read = |path: &str| {
            let entry = history.entries(&revision, &[path.to_owned()])?.pop();
            entry.map(|entry| history.read(&entry, &revision)).transpose()
        };
        let blobs = |id: &str| history.blob(id);
        let plan = self.changes.recipe()?.plan(&read, self.changes.three_way.then_some(&blobs))?;
        self.report(history.below_top(), &plan, false)
    }

    fn report(&self, below: &Path, plan: &Plan, applied: bool) -> Result<Report<Patch>> {
        let patch = diff(below, plan, self.context)?;
        Ok(Report::done(Patch::new(patch, &plan.shape, applied)))
    }
}
