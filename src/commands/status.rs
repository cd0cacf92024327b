//! `rr-patch status`: which changes are in place, and where.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Where;
use crate::journal::Journal;
use crate::report::{self, Report};

#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    pub place: Where,
}

const SCHEMA: &str = "rr-patch/status/1";

impl Status {
    pub fn run(&self) -> Result<Report> {
        let checkout = self.place.checkout()?;
        let Some(journal) = Journal::load(&checkout)? else {
            let text = format!("`{}` is not patched: `rr-patch apply` does it\n", checkout.root().display());
            return Ok(Report::new(SCHEMA, text, json!({ "patched": false, "root": checkout.root() })));
        };
        let (text, data) = report::status(&checkout, &journal, &journal.look(&checkout)?);
        Ok(Report::new(SCHEMA, text, data))
    }
}
