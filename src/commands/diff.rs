//! `rr-patch diff`: what apply would do or has done, as a patch.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Recording, Where, plan_from_originals};
use crate::checkout::History;
use crate::journal::{Journal, State};
use crate::plan::{Plan, structural};
use crate::report::{self, Report};
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
        let applied = match &journal {
            Some(journal) if options == Options::default() || options == journal.about.options => {
                let states = journal.states(&checkout)?;
                let mut pairs = journal.plan.rewrites.iter().zip(&states);
                pairs.all(|(rewrite, state)| *state == State::Original || report::carries(journal, rewrite, state))
            }
            _ => false,
        };
        let plan = match journal {
            Some(journal) if applied => journal.plan,
            journal => plan_from_originals(&checkout, journal.as_ref(), &options)?,
        };
        report(checkout.below_top(), &plan, applied)
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
    let without = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let text = report::diff(below, plan, std::io::stdout().is_terminal() && !without)?;
    let patch = String::from_utf8_lossy(&report::diff(below, plan, false)?).into_owned();
    Ok(Report::new("rr-patch/diff/1", text, json!({ "applied": applied, "shape": plan.shape, "patch": patch })))
}
