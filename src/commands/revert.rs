//! `rr-patch revert`: every byte and mode as before, and later edits kept.

use anyhow::Result;
use clap::Args;

use super::Where;
use crate::error::{Error, Shown as _};
use crate::patch::journal::{Edits, JournalLock, has_leftovers};
use crate::patch::plan::changes;
use crate::patch::recognise::{Applied, Marked, Recognised};
use crate::patch::transaction::{Carrying, carry_out};
use crate::ui::document::Report;
use crate::ui::revert::Reverted;

const EXAMPLES: &str = "\
Examples:
  rr-patch revert                         # every byte as before; edits are kept
  rr-patch revert ~/src/installer --force # also where edits touch the changed lines";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Revert {
    #[command(flatten)]
    pub place: Where,

    /// Where edits touch the changed lines, put the original back and keep the edited file beside it
    #[arg(long)]
    pub force: bool,
}

impl Revert {
    pub fn run(&self) -> Result<Report<Reverted>> {
        let checkout = self.place.checkout()?;
        let nothing = || Ok(Report::done(Reverted::nothing(&checkout)));
        // Where nothing is patched nothing is written, not even a lock, but for what an interrupted run left.
        // Elsewhere another revert may end first.
        if Recognised::find(&checkout)?.is_none() && !has_leftovers(&checkout) && !checkout.has_index_lock() {
            return nothing();
        }
        let _lock = JournalLock::take(&checkout)?;
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

        let reverted = Reverted::of(&checkout, &undo, found.as_ref(), kept, commit.zip(taken_back));
        Ok(Report::done(reverted))
    }
}
