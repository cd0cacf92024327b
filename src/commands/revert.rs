//! `rr-patch revert`: every byte and mode as before, and later edits kept.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Where;
use super::apply::{add_kept, notes_of};
use crate::checkout::{Commit, Undone};
use crate::journal::{Journal, Lock, has_leftovers};
use crate::report::{Report, count, short};
use crate::transaction::{Carrying, carry_out};

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
        let nothing = || {
            let text = format!("`{}` is not patched; nothing to do\n", checkout.root().display());
            let data = json!({ "outcome": "unchanged", "root": checkout.root(), "files": [] });
            Ok(Report::new(SCHEMA, text, data))
        };
        // Without a journal nothing is written, not even a lock, but for what an interrupted run left. With
        // one, another revert may end first.
        if Journal::load(&checkout)?.is_none() && !has_leftovers(&checkout) {
            return nothing();
        }
        let _lock = Lock::take(&checkout)?;
        let Some(journal) = Journal::load(&checkout)? else { return nothing() };
        let mut kept = journal.sweep(&checkout)?;
        let undo = journal.undo(&checkout, self.force)?;
        let carrying = Carrying { durable: true, folder_modes: &journal.folders };
        kept.extend(carry_out(&checkout, &undo.rewrites, carrying).map_err(anyhow::Error::from)?);
        let paths: Vec<&str> = journal.plan.rewrites.iter().map(|rewrite| rewrite.path.as_str()).collect();
        let commit = journal.about.commit.clone();
        let undone = commit.as_ref().map(|commit| checkout.undo_commit(commit, &paths)).transpose()?;
        let backups: Vec<&str> = undo.backups.iter().map(|(_, backup)| backup.as_str()).collect();
        journal.end(&checkout, &backups)?;

        let reverted = count(undo.reverted().count(), "file");
        let mut text = format!("reverted `{}`: {reverted}\n", checkout.root().display());
        let mut files = Vec::new();
        for rewrite in undo.reverted() {
            let merged = undo.merged.contains(&rewrite.path);
            let backup = undo.backups.iter().find(|(path, _)| *path == rewrite.path).map(|(_, backup)| backup);
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
        text.push_str(&notes_of(&kept));
        if let (Some(Commit { id, branch, .. }), Some(undone)) = (commit, &undone) {
            let short = short(&id);
            let _ = match (undone, branch) {
                (Undone::Gone, Some(branch)) => writeln!(text, "commit {short} is gone, and branch `{branch}` with it"),
                (Undone::Gone, None) => writeln!(text, "commit {short} is gone"),
                (Undone::Below, _) => writeln!(
                    text,
                    "commit {short} has others on top and stays: commit the files that came back, or `git checkout -- .` and `git revert {short}`"
                ),
                (Undone::Elsewhere, Some(branch)) => {
                    writeln!(text, "commit {short} is not checked out and stays: `git branch -D {branch}` drops it")
                }
                (Undone::Elsewhere, None) => writeln!(text, "commit {short} is not checked out and stays"),
            };
        }
        let mut data = json!({
            "outcome": "reverted", "root": checkout.root(), "files": files,
            "commit_gone": undone.map(|undone| undone == Undone::Gone),
        });
        add_kept(&mut data, &kept);
        Ok(Report::new(SCHEMA, text, data))
    }
}
