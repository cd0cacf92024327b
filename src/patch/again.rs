//! An apply to a checkout that an earlier one has patched: what is original, what was edited since, and what of the
//! earlier one is taken back first.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::checkout::{Checkout, Commit, Content};
use super::journal::{Journal, JournalLock, Seen, State, carries};
use super::plan::{PatchSource, Plan, Rewrite, changes};
use super::transaction::{Carrying, KeptEdit, carry_out};
use super::unified::PatchFile;
use crate::error::Error;

/// The plan for a checkout as it would be without what its journal knows: the originals where the
/// journal has them, the files on disk otherwise.
///
/// # Errors
/// A file that was edited since it was patched.
pub fn plan_from_originals(checkout: &Checkout, seen: &[Seen], recipe: &PatchSource, three_way: bool) -> Result<Plan> {
    if let PatchSource::Classic(patches) = recipe {
        // A patch comes from anywhere: it gets to no file by way of a link, not even within the checkout.
        patches.iter().flat_map(PatchFile::paths).try_for_each(|path| checkout.refuse_links(path))?;
    }
    let read = |path: &str| match seen.iter().find(|seen| seen.rewrite.path == path) {
        None => checkout.read(path),
        Some(seen) if matches!(seen.state, State::Patched | State::CutOff) => Ok(seen.original()),
        Some(seen) => Ok(seen.current.clone()),
    };
    let blobs = |id: &str| checkout.blob(id);
    recipe.plan(&read, three_way.then_some(&blobs))
}

/// Takes the lock again after it was given up. Another rr-patch may hold it for a moment; a build holds it for long.
pub fn lock_again(checkout: &Checkout) -> Result<JournalLock> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        if let Ok(lock) = JournalLock::take(checkout) {
            return Ok(lock);
        }
        thread::sleep(Duration::from_millis(100));
    }
    JournalLock::take(checkout)
}

/// # Errors
/// What is not as this apply left it.
pub fn refuse_changed_since(checkout: &Checkout, journal: &Journal, done: &[Rewrite]) -> Result<()> {
    let now = Journal::all(checkout)?;
    let same = |now: &Journal| same_bytes(&now.plan, &journal.plan) && now.about == journal.about;
    if !now.iter().any(same) {
        return Err(Error::failed("another rr-patch has changed it").into());
    }
    let ours = |path: &str| done.iter().any(|rewrite| rewrite.path == path);
    let changed: Vec<_> = journal.look(checkout)?.into_iter().filter(|seen| ours(&seen.rewrite.path)).collect();
    let changed = changed.iter().filter(|seen| seen.state != State::Patched);
    let changed: Vec<String> = changed.map(|seen| format!("changed meanwhile: {}", seen.rewrite.path)).collect();
    if changed.is_empty() { Ok(()) } else { Err(Error::failed(changed.join("\n")).into()) }
}

/// An error with what another one says under it.
pub fn with_details(error: Error, why: &anyhow::Error) -> Error {
    let details = why.downcast_ref::<Error>().map(Error::details).unwrap_or_default();
    let lines = format!("{why:#}").lines().map(str::to_owned).collect::<Vec<_>>();
    lines.into_iter().chain(details.iter().cloned()).fold(error, Error::detail)
}

/// Brings the originals back, durably: the new journal must not be written over originals that are not yet in
/// place. Originals that were found in git get a journal of their own first.
pub fn bring_back(checkout: &Checkout, journal: &Journal, found: bool, seen: &[Seen]) -> Result<Vec<KeptEdit>> {
    if found {
        Journal::begin(checkout, journal.plan.clone(), journal.about.clone())?;
    }
    Ok(carry_out(checkout, &taken_back(seen), Carrying { durable: true, folder_modes: &journal.folders })?)
}

/// Takes back a commit that an earlier run began and did not finish: the new journal will not know of it.
pub fn undo_left(checkout: &Checkout, journal: &Journal, left: &Commit) -> Result<()> {
    let changes = changes(&journal.plan);
    checkout.check_undo(left, &changes)?;
    checkout.undo_commit(left, &changes)?;
    Ok(())
}

/// Refuses a second commit on top of one that another clone made.
pub fn refuse_committed(in_head: bool) -> Result<(), Error> {
    match in_head {
        true => Err(Error::refused("the changes are committed already, with other options or by another version")
            .hint("`rr-patch revert` brings the originals back; commit them, then apply again")),
        false => Ok(()),
    }
}

/// What takes back those files that are still as the last apply left them. Others hold bytes that
/// are the new originals: another branch was checked out.
pub fn taken_back(seen: &[Seen]) -> Vec<Rewrite> {
    let ours = seen.iter().filter(|seen| matches!(seen.state, State::Patched | State::CutOff));
    let back =
        |seen: &Seen| Rewrite { path: seen.rewrite.path.clone(), before: seen.current.clone(), after: seen.original() };
    ours.map(back).collect()
}

/// Whether two plans make the same bytes of the same bytes. A mode that was changed since is no other plan.
pub fn same_bytes(one: &Plan, other: &Plan) -> bool {
    let bytes = |plan: &Plan| -> Vec<_> {
        let of = |content: &Option<Content>| content.as_ref().map(|content| content.bytes.clone());
        let after = |rewrite: &Rewrite| {
            let mut bytes = of(&rewrite.after)?;
            // Git may have given an added file other line ends than apply does.
            if rewrite.before.is_none() {
                bytes.retain(|&byte| byte != b'\r');
            }
            Some(bytes)
        };
        plan.rewrites.iter().map(|r| (r.path.clone(), of(&r.before), after(r))).collect()
    };
    bytes(one) == bytes(other)
}

/// A failure to patch again: the earlier patch was taken back for it, so something was written.
pub fn without_the_earlier_patch(error: anyhow::Error) -> anyhow::Error {
    let failed = match error.downcast::<Error>() {
        Ok(known) => known.as_failure(),
        Err(error) => Error::failed(format!("{error:#}")),
    };
    failed.detail("the earlier patch was taken back before this one was begun").into()
}

/// Removes or keeps what an interrupted run left.
pub fn clear(checkout: &Checkout, journal: Option<&Journal>) -> Result<Vec<KeptEdit>> {
    if journal.is_none_or(|journal| journal.about.commit.is_none()) {
        checkout.remove_abandoned_index_lock()?;
    }
    journal.map_or(Ok(Vec::new()), |journal| journal.sweep(checkout))
}

/// The files that are neither as before the apply nor as it left them, nor cut off.
pub fn edited<'a, 'journal>(seen: &'a [Seen<'journal>]) -> impl Iterator<Item = &'a Seen<'journal>> {
    seen.iter().filter(|seen| matches!(seen.state, State::Edited | State::Missing))
}

/// Why patched files that were edited cannot be patched again; `planning` is what became of trying to
/// take them for originals.
pub fn edited_since(journal: &Journal, seen: &[Seen], planning: anyhow::Error) -> anyhow::Error {
    // Sources of another branch, say: what is not understood in them is what matters.
    if edited(seen).any(|seen| !carries(journal, seen)) {
        return planning;
    }
    edited(seen)
        .fold(
            Error::refused("patched files were edited since, so they cannot be patched in another way"),
            |error, seen| error.detail(format!("edited: {}", seen.rewrite.path)),
        )
        .hint("`rr-patch revert` merges the edits into the originals; then apply again")
        .into()
}
