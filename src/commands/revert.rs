//! `rr-patch revert`: every byte and mode as before, and later edits kept.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Where;
use super::apply::{add_kept, notes_of};
use crate::error::{Error, Shown as _};
use crate::patch::checkout::{Commit, TakenBack, Undone, short};
use crate::patch::journal::{Edits, Lock, has_leftovers};
use crate::patch::plan::changes;
use crate::patch::recognise::{Applied, Found, Marked, Recognised};
use crate::patch::transaction::{Carrying, carry_out};
use crate::ui::report::Loose;
use crate::words::count;

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
    pub fn run(&self) -> Result<Loose> {
        let checkout = self.place.checkout()?;
        let nothing = || {
            let text = format!("`{}` is not patched; nothing to do\n", checkout.root().shown());
            let data = json!({ "outcome": "unchanged", "root": checkout.root().in_json(), "files": [] });
            Ok(Loose::new(SCHEMA, text, data))
        };
        // Where nothing is patched nothing is written, not even a lock, but for what an interrupted run left.
        // Elsewhere another revert may end first.
        if Recognised::find(&checkout)?.is_none() && !has_leftovers(&checkout) && !checkout.has_index_lock() {
            return nothing();
        }
        let _lock = Lock::take(&checkout)?;
        let mut edits = if self.force { Edits::MergeOrKeep } else { Edits::Merge };
        let Applied { journal, found } = match Recognised::find(&checkout)? {
            None => {
                checkout.remove_abandoned_index_lock()?;
                return nothing();
            }
            Some(Recognised::Applied(applied)) => *applied,
            Some(Recognised::Marked(marked)) => match *marked {
                // Originals from which the changes give only some of what is there: all else is kept beside them.
                Marked { nearest: Some(nearest), .. } if self.force => {
                    edits = Edits::Keep;
                    nearest
                }
                marked => {
                    let message = format!("`{}` is patched, but its originals are not known", checkout.root().shown());
                    return Err(marked.explain(Error::refused(message)).into());
                }
            },
        };
        let mut kept = journal.sweep(&checkout)?;
        let undo = journal.undo(&checkout, edits)?;
        let commit = journal.about.commit.clone();
        if let Some(commit) = &commit {
            checkout.check_undo(commit, &changes(&journal.plan))?;
        }
        // Originals that were found in git get a journal first, so that a revert that is killed can be completed.
        let journal = if found.is_some() { journal.adopt(&checkout)? } else { journal };
        let carrying = Carrying { durable: true, folder_modes: &journal.folders };
        match carry_out(&checkout, &undo.rewrites, carrying) {
            Ok(aside) => kept.extend(aside),
            Err(failure) => {
                if failure.taken_back && found.is_some() {
                    journal.end(&checkout, &[])?;
                }
                return Err(failure.into());
            }
        }
        let taken_back =
            commit.as_ref().map(|commit| checkout.undo_commit(commit, &changes(&journal.plan))).transpose()?;
        let backups: Vec<&str> = undo.backups.iter().map(|(_, backup)| backup.as_str()).collect();
        journal.end(&checkout, &backups)?;

        let reverted = count(undo.reverted().count(), "file");
        let mut text = format!("reverted `{}`: {reverted}\n", checkout.root().shown());
        let mut files = Vec::new();
        for rewrite in undo.reverted() {
            let edited = found.iter().flat_map(|found| &found.merged);
            let merged = undo.merged.iter().chain(edited).any(|path| *path == rewrite.path);
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
        if let Some(Found { commit, committed, .. }) = &found {
            let _ = writeln!(text, "the originals are those of {}", short(commit));
            if *committed {
                text.push_str("the commit of the changes stays: commit the files that came back\n");
            }
        }
        if let (Some(Commit { id, branch, .. }), Some(TakenBack { commit, staged })) = (commit, &taken_back) {
            for path in staged {
                let _ = writeln!(text, "  `{}` has staged edits, which stay staged", path.shown());
            }
            let short = short(&id);
            let _ = match (commit, branch) {
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
            "outcome": "reverted", "root": checkout.root().in_json(), "files": files,
            "commit_gone": taken_back.map(|taken_back| taken_back.commit == Undone::Gone),
        });
        add_kept(&mut data, &kept);
        Ok(Loose::new(SCHEMA, text, data))
    }
}
