//! `rr-patch revert`: every byte and mode as before, and later edits kept.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Where;
use crate::journal::{Journal, Lock, carry_out};
use crate::plan::Plan;
use crate::report::{Report, count};

#[derive(Args, Debug)]
pub struct Revert {
    #[command(flatten)]
    pub place: Where,

    /// Where edits touch the changed lines, put the original back and keep the edited file beside it
    #[arg(long)]
    pub force: bool,
}

const SCHEMA: &str = "rr-patch/revert/1";

impl Revert {
    pub fn run(&self) -> Result<Report> {
        let checkout = self.place.checkout()?;
        if Journal::load(&checkout)?.is_none() {
            let text = format!("`{}` is not patched; nothing to do\n", checkout.root().display());
            return Ok(Report::new(
                SCHEMA,
                text,
                json!({ "outcome": "unchanged", "root": checkout.root(), "files": [] }),
            ));
        }
        let _lock = Lock::take(&checkout)?;
        let Some(journal) = Journal::load(&checkout)? else { unreachable!("only the holder of the lock removes it") };
        let undo = journal.undo(&checkout, self.force)?;
        let plan = Plan { rewrites: undo.rewrites, sites: Vec::new(), shape: journal.plan.shape.clone() };
        carry_out(&checkout, &plan)?;
        journal.end()?;

        let mut text = format!("reverted `{}`: {}\n", checkout.root().display(), count(plan.rewrites.len(), "file"));
        let mut files = Vec::new();
        for rewrite in &plan.rewrites {
            let merged = undo.merged.contains(&rewrite.path);
            let backup = undo.backups.iter().find(|(path, _)| *path == rewrite.path).map(|(_, backup)| backup);
            if undo.backups.iter().any(|(_, name)| *name == rewrite.path) {
                continue;
            }
            let word = match (&rewrite.after, merged) {
                (None, _) => "removed ",
                (_, true) => "merged  ",
                _ => "restored",
            };
            let _ = write!(text, "  {word} {}", rewrite.path);
            let _ = match (backup, merged) {
                (Some(backup), _) => writeln!(text, "; the edited version is {backup}"),
                (None, true) => writeln!(text, "; what was edited since is kept"),
                (None, false) => writeln!(text),
            };
            files.push(json!({ "path": rewrite.path, "done": word.trim(), "backup": backup }));
        }
        Ok(Report::new(SCHEMA, text, json!({ "outcome": "reverted", "root": checkout.root(), "files": files })))
    }
}
