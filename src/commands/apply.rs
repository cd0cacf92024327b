//! `rr-patch apply`: make the six changes.

use anyhow::Result;
use clap::Args;

use super::{Changes, GIT, Where};
use crate::builder::verify;
use crate::error::{Error, Shown};
use crate::patch::again::{
    bring_back, clear, edited, edited_since, lock_again, plan_from_originals, refuse_changed_since, refuse_committed,
    same_bytes, undo_left, with_details, without_the_earlier_patch,
};
use crate::patch::checkout::{Checkout, Commit, short};
use crate::patch::journal::{Journal, JournalHeader, JournalLock, Seen, State, kept, refuse_odd_modes};
use crate::patch::plan::{PatchSource, Plan, Rewrite, changes, reversed};
use crate::patch::recognise::{Marked, Recognised};
use crate::patch::transaction::{Carrying, Failure, KeptEdit, carry_out, sweep};
use crate::sys::process::Interrupt;
use crate::ui::apply::{Applied, Manner, Outcome, save};
use crate::ui::changes::message;
use crate::ui::document::Report;
use crate::ui::progress::Verifying;

const EXAMPLES: &str = "\
Examples:
  rr-patch apply                                # the checkout around the current folder
  rr-patch apply ~/src/installer --dry-run      # say what would change
  rr-patch apply --verify                       # have Go compile it, or take it back
  rr-patch apply --controllers all --rr /opt/rr/bin/rr
  rr-patch apply --commit --branch recording    # so that builds are not -dirty
  rr-patch apply --patch mine.patch --3way";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Apply {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten)]
    pub changes: Changes,

    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Ask the checkout's own Go: gofmt, go vet and go build of what was touched, or take it back
    #[arg(long)]
    pub verify: bool,

    /// Commit the changes too, so that builds are not `-dirty` (git's hooks do not run)
    #[arg(long, help_heading = GIT)]
    pub commit: bool,

    /// Make a branch for that commit, and check it out
    #[arg(long, value_name = "NAME", requires = "commit", help_heading = GIT)]
    pub branch: Option<String>,
}

impl Apply {
    pub fn run(&self) -> Result<Report<Applied>> {
        let recipe = self.changes.recipe()?;
        let checkout = self.place.checkout()?;
        checkout.refuse_operation_under_way()?;
        let lock = if self.dry_run { None } else { Some(JournalLock::take(&checkout)?) };
        let mut locked = Locked { checkout: &checkout, lock };
        let (journal, found) = match Recognised::find_with(&checkout, recipe.rules())? {
            None => (None, None),
            Some(Recognised::Applied(applied)) => (Some(applied.journal), applied.found),
            Some(Recognised::Marked(marked)) => return self.on_marked(&checkout, &recipe, &marked),
        };
        let mut kept_aside = if self.dry_run { Vec::new() } else { clear(&checkout, journal.as_ref())? };
        let mut about = JournalHeader {
            tool: env!("CARGO_PKG_VERSION").into(),
            base: checkout.head().map(str::to_owned),
            how: recipe.how(),
            commit: None,
        };
        let seen = journal.as_ref().map(|journal| journal.look(&checkout)).transpose()?.unwrap_or_default();
        let plan = match plan_from_originals(&checkout, &seen, &recipe, self.changes.three_way) {
            Ok(plan) => plan,
            Err(error) => return self.without_a_plan(&mut locked, journal.as_ref(), &about, &seen, kept_aside, error),
        };

        refuse_odd_modes(&plan.rewrites)?;
        let unchanged = |journal: &Journal| same_bytes(&journal.plan, &plan) && journal.about.how == about.how;
        let in_place = seen.iter().all(|seen| seen.state == State::Patched);
        let committed = journal.as_ref().and_then(|journal| journal.about.commit.as_ref());
        let in_head = found.as_ref().is_some_and(|found| found.committed);
        let (committed, left) = match committed {
            Some(commit) if checkout.is_at(commit) => (Some(commit), None),
            left => (None, left),
        };
        // A revert that was killed puts originals back, and leaves the commit; a power cut leaves files cut off.
        let whole = seen.iter().all(|seen| matches!(seen.state, State::Original | State::Patched | State::CutOff));
        let wanted = match self.commit {
            true => (committed.is_some() && whole) || (in_head && in_place),
            false => in_place,
        };
        if let Some(journal) = journal.as_ref().filter(|journal| wanted && unchanged(journal)) {
            let report = self.patch_the_rest(&mut locked, journal, &seen, kept_aside)?;
            self.complete_commit(&checkout, journal, committed, left)?;
            return Ok(report);
        }
        if let Some(commit) = committed {
            return Err(Error::refused(format!("the changes are committed already, as {}", short(&commit.id)))
                .hint("`rr-patch revert` takes that commit back; then apply again")
                .into());
        }
        if self.dry_run {
            return Ok(self.would_patch(&checkout, &plan, &about));
        }

        if self.commit {
            refuse_committed(in_head)?;
            let message = message(&about, &plan);
            let commit = checkout.prepare_commit(&changes(&plan), &message, self.branch.as_deref(), left)?;
            about.commit = Some(commit);
        }
        kept_aside.extend(sweep(&checkout, &plan.rewrites, &|_, _| false)?);
        if let (Some(journal), Some(left)) = (&journal, left) {
            undo_left(&checkout, journal, left)?;
        }
        let again = journal.is_some();
        if let Some(journal) = &journal {
            kept_aside.extend(bring_back(&checkout, journal, found.is_some(), &seen)?);
        }
        let begun = Journal::begin(&checkout, plan, about);
        let journal = begun.map_err(|error| if again { without_the_earlier_patch(error) } else { error })?;
        let rewrites = &journal.plan.rewrites;
        let written = carry_out(&checkout, rewrites, Carrying::default()).map(|kept| kept_aside.extend(kept));
        let verified = written.and_then(|()| self.verify(&mut locked, &journal, rewrites));
        if let Err(Failure { error, taken_back }) = verified {
            // Where something could not be taken back the originals are still needed.
            if taken_back {
                journal.end(&checkout, &[])?;
            }
            return Err(if again { without_the_earlier_patch(error) } else { error });
        }
        if let Some(commit) = &journal.about.commit {
            checkout.put_commit(commit, &changes(&journal.plan))?;
        }
        let manner = Manner { again, verified: self.verify, ..self.manner() };
        let applied = Applied::plan(&checkout, &journal.plan, &journal.about, Outcome::Patched, manner);
        let next = vec![self.place.command("build"), self.place.command("revert")];
        Ok(Report::done(applied.keeping(kept_aside).next(next)))
    }

    fn manner(&self) -> Manner {
        Manner { committing: self.commit, branch: self.branch.clone(), ..Manner::default() }
    }

    /// Where patched files were edited, so that they cannot be taken for originals; `planning` is what became of
    /// trying to.
    fn without_a_plan(
        &self,
        locked: &mut Locked,
        journal: Option<&Journal>,
        about: &JournalHeader,
        seen: &[Seen],
        kept_aside: Vec<KeptEdit>,
        planning: anyhow::Error,
    ) -> Result<Report<Applied>> {
        let edited = seen.iter().any(|seen| matches!(seen.state, State::Edited | State::Missing));
        match journal {
            // The edits lie beside the changes. The same changes again leave them as they are.
            Some(journal) if journal.about.how == about.how && kept(journal, seen) && !self.commit => {
                self.patch_the_rest(locked, journal, seen, kept_aside)
            }
            Some(journal) if edited => Err(edited_since(journal, seen, planning)),
            _ => Err(planning),
        }
    }

    /// Completes what an earlier run began: the index of a commit that is checked out, or the locks of one that
    /// is not.
    fn complete_commit(
        &self,
        checkout: &Checkout,
        journal: &Journal,
        committed: Option<&Commit>,
        left: Option<&Commit>,
    ) -> Result<()> {
        match (committed.filter(|_| self.commit), left) {
            _ if self.dry_run => Ok(()),
            (Some(commit), _) => checkout.put_commit(commit, &changes(&journal.plan)),
            (None, Some(left)) => checkout.remove_abandoned_locks(left),
            (None, None) => Ok(()),
        }
    }

    /// What `--dry-run` prints.
    fn would_patch(&self, checkout: &Checkout, plan: &Plan, about: &JournalHeader) -> Report<Applied> {
        Report::done(Applied::plan(checkout, plan, about, Outcome::WouldPatch, self.manner()))
    }

    /// Asks Go, if that was asked for, and takes back what was `done` if Go says no or a signal ends the asking.
    ///
    /// The checkout is not locked while Go works, so what others did meanwhile is looked at afterwards: their
    /// changes are not taken back.
    fn verify(&self, locked: &mut Locked, journal: &Journal, done: &[Rewrite]) -> Result<(), Failure> {
        if !self.verify {
            return Ok(());
        }
        let left = |error: Error| Failure { error: error.into(), taken_back: false };
        let interrupt = Interrupt::hold()?;
        let checkout = locked.checkout;
        drop(locked.lock.take());
        let asked = verify::verify(checkout, &journal.plan, &interrupt, &mut Verifying::begin().as_callback());
        let again = lock_again(checkout).map(|lock| locked.lock = Some(lock));
        let as_left = match done {
            // There is nothing to take back; a commit needs the lock all the same.
            [] if self.commit => again,
            [] => Ok(()),
            done => again.and_then(|()| refuse_changed_since(checkout, journal, done)),
        };
        let Err(error) = asked else {
            let error = Error::failed("Go has nothing against the changes, but the checkout was changed meanwhile");
            let status = "`rr-patch status` says what is in place";
            return as_left.map_err(|why| left(with_details(error, &why).hint(status)));
        };
        // What made Go end matters more than what it said then.
        let ended = |outcome: &str| match interrupt.check(outcome).map_err(anyhow::Error::downcast) {
            Err(Ok(interrupted)) => interrupted,
            _ => error.detail(outcome),
        };
        match as_left {
            _ if done.is_empty() => {
                Err(left(ended("nothing was written; the checkout was patched before, and still is")))
            }
            Err(why) => {
                let revert = "`rr-patch revert` takes them back, and keeps what was edited since";
                Err(left(with_details(ended("the changes were not taken back"), &why).hint(revert)))
            }
            Ok(()) => {
                let carrying = Carrying { durable: true, folder_modes: &journal.folders };
                let kept = carry_out(checkout, &reversed(done), carrying)?;
                let error = kept.iter().map(save).fold(ended("the changes were taken back"), Error::detail);
                Err(Failure { error: error.into(), taken_back: true })
            }
        }
    }

    /// On a tree that says it is patched, and whose originals are not known.
    fn on_marked(&self, checkout: &Checkout, recipe: &PatchSource, marked: &Marked) -> Result<Report<Applied>> {
        let root = checkout.root().shown();
        let asked_for = match recipe {
            PatchSource::Structural(options, _) => marked.is(options),
            PatchSource::Classic(_) => false,
        };
        if asked_for && marked.open.is_empty() && !self.commit {
            return Ok(Report::done(Applied::marked(checkout, marked)));
        }
        let state = if marked.open.is_empty() { "patched in another way" } else { "partly patched" };
        Err(marked.explain(Error::refused(format!("`{root}` is {state}, and its originals are not known"))).into())
    }

    /// Applied before with these options, and edited since beside the changes: only files that have
    /// their original bytes again, or were cut off, are patched.
    fn patch_the_rest(
        &self,
        locked: &mut Locked,
        journal: &Journal,
        seen: &[Seen],
        mut kept_aside: Vec<KeptEdit>,
    ) -> Result<Report<Applied>> {
        let checkout = locked.checkout;
        let unpatched = seen.iter().filter(|seen| matches!(seen.state, State::Original | State::CutOff));
        let done: Vec<Rewrite> =
            unpatched.map(|seen| Rewrite { before: seen.current.clone(), ..seen.rewrite.clone() }).collect();
        let edited = edited(seen).map(|seen| seen.rewrite.path.clone()).collect();
        let outcome = match (done.is_empty(), self.dry_run) {
            (true, _) => Outcome::Unchanged,
            (false, true) => Outcome::WouldPatch,
            (false, false) => Outcome::Patched,
        };
        if !self.dry_run {
            kept_aside.extend(carry_out(checkout, &done, Carrying::default()).map_err(anyhow::Error::from)?);
            self.verify(locked, journal, &done)?;
        }
        let applied = Applied::rest(checkout, &journal.plan, &journal.about, outcome, edited);
        Ok(Report::done(applied.keeping(kept_aside)))
    }
}

/// A checkout, and its lock while that is held.
struct Locked<'a> {
    checkout: &'a Checkout,
    lock: Option<JournalLock>,
}
