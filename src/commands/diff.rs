//! `rr-patch diff`: what apply would do or has done, as a patch.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Recording, Where, plan_from_originals};
use crate::checkout::History;
use crate::journal::Journal;
use crate::plan::{Plan, structural};
use crate::report::{self, Report, kept};
use crate::rules::Options;

#[derive(Args, Debug)]
pub struct Diff {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten)]
    pub recording: Recording,

    /// Print what apply would do to this revision, which need not be checked out
    #[arg(long, value_name = "REV")]
    pub rev: Option<String>,
}

impl Diff {
    pub fn run(&self) -> Result<Report> {
        if let Some(name) = &self.rev {
            return self.of_revision(name);
        }
        let checkout = self.place.checkout()?;
        let journal = Journal::load(&checkout)?;
        let options = self.recording.options();
        let seen = journal.as_ref().map(|journal| journal.look(&checkout)).transpose()?.unwrap_or_default();
        let asked_for = |journal: &&Journal| options == Options::default() || options == journal.about.options;
        let applied = journal.as_ref().filter(asked_for).filter(|journal| kept(journal, &seen));
        if let Some(journal) = applied {
            return report(checkout.below_top(), &journal.plan, true);
        }
        report(checkout.below_top(), &plan_from_originals(&checkout, &seen, &options)?, false)
    }

    fn of_revision(&self, name: &str) -> Result<Report> {
        let history = History::open(self.place.repo.as_deref(), self.place.root.as_deref())?;
        let revision = history.revision(name)?;
        let read = |path: &str| {
            let entry = history.entries(&revision, &[path.to_owned()])?.pop();
            entry.map(|entry| history.read(&entry, &revision)).transpose()
        };
        report(history.below_top(), &structural(&read, &self.recording.options())?, false)
    }
}

fn report(below: &Path, plan: &Plan, applied: bool) -> Result<Report> {
    let patch = report::diff(below, plan, false)?;
    let without = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let data = json!({ "applied": applied, "shape": plan.shape, "patch": String::from_utf8_lossy(&patch) });
    let text = match std::io::stdout().is_terminal() && !without {
        true => report::diff(below, plan, true)?,
        false => patch,
    };
    Ok(Report::new("rr-patch/diff/1", text, data))
}
