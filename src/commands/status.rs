//! `rr-patch status`: which changes are in place, and where.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{RulesOf, Where};
use crate::error::Shown as _;
use crate::patch::checkout::Checkout;
use crate::patch::recognise::{Applied, Marked, Recognised};
use crate::patch::rules::Options;
use crate::ui::report::{self, Loose};

#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten)]
    pub folder: RulesOf,
}

const SCHEMA: &str = "rr-patch/status/1";

impl Status {
    pub fn run(&self) -> Result<Loose> {
        let checkout = self.place.checkout()?;
        Ok(match Recognised::find_with(&checkout, self.folder.read()?.as_ref())? {
            None => {
                let text = format!("`{}` is not patched: `rr-patch apply` does it\n", checkout.root().shown());
                Loose::new(SCHEMA, text, json!({ "patched": false, "root": checkout.root().in_json() }))
            }
            Some(Recognised::Applied(applied)) => {
                let Applied { journal, found } = *applied;
                let originals = found.as_ref().map(|found| (found.commit.as_str(), &found.merged[..]));
                report::status(&checkout, &journal, &journal.look(&checkout)?, originals)
            }
            Some(Recognised::Marked(marked)) => of_marked(&checkout, &marked),
        })
    }
}

/// A tree whose originals are not known: what its sources say of it.
fn of_marked(checkout: &Checkout, marked: &Marked) -> Loose {
    let Marked { mark, open, why, needs, nearest: _ } = marked;
    let state = if open.is_empty() { "patched" } else { "partly patched" };
    let mut text = format!("{state}: `{}`\n", checkout.root().shown());
    let _ = writeln!(text, "by:      rr-patch {}\nknown:   by its sources", mark.tool);
    match &mark.options {
        Some(options) => text.push_str(&report::recording(options)),
        None => {
            let _ = writeln!(text, "options: {}", mark.given);
        }
    }
    if !open.is_empty() {
        text.push_str("\nnot patched:\n");
    }
    for site in open {
        let _ = writeln!(text, "  {:<16} {}:{}", site.change, site.path, site.line);
    }
    text.push_str("\nthe originals are not known, so `rr-patch revert` is refused:\n");
    for line in why.iter().chain(needs) {
        let _ = writeln!(text, "  {line}");
    }
    let data = json!({
        "patched": open.is_empty(), "state": state, "root": checkout.root().in_json(), "tool": mark.tool, "options": mark.given,
        "command": mark.options.as_ref().map(Options::command), "not_patched": open, "originals": null,
        "why": why, "needs": needs,
    });
    let report = Loose::new(SCHEMA, text, data);
    if open.is_empty() { report } else { report.found() }
}
