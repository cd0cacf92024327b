//! `rr-patch diff`: what apply would do or has done, as a patch.

use std::io::IsTerminal;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Recording, Where, plan_from_originals};
use crate::journal::{Journal, State};
use crate::report::{self, Report};
use crate::rules::Options;

#[derive(Args, Debug)]
pub struct Diff {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten)]
    pub recording: Recording,
}

impl Diff {
    pub fn run(&self) -> Result<Report> {
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
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let text = report::diff(&checkout, &plan, colour)?;
        let patch = String::from_utf8_lossy(&report::diff(&checkout, &plan, false)?).into_owned();
        Ok(Report::new("rr-patch/diff/1", text, json!({ "applied": applied, "shape": plan.shape, "patch": patch })))
    }
}
