//! `rr-patch status`: which changes are in place, and where.

use anyhow::Result;
use clap::Args;

use super::{RulesOf, Where};
use crate::patch::recognise::{Applied, Recognised};
use crate::ui;
use crate::ui::document::Report;

const EXAMPLES: &str = "\
Examples:
  rr-patch status
  rr-patch status ~/src/installer --format json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Status {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten)]
    pub folder: RulesOf,
}

impl Status {
    pub fn run(&self) -> Result<Report<ui::status::Status>> {
        let checkout = self.place.checkout()?;
        Ok(match Recognised::find_with(&checkout, self.folder.read()?.as_ref())? {
            None => ui::status::Status::not_patched(&checkout),
            Some(Recognised::Applied(applied)) => {
                let Applied { journal, found } = *applied;
                ui::status::Status::of(&checkout, &journal, &journal.look(&checkout)?, found.as_ref())
            }
            Some(Recognised::Marked(marked)) => ui::status::Status::marked(&checkout, &marked),
        })
    }
}
