//! `rr-patch apply`: make the six changes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Changes, Where, plan_from_originals};
use crate::builder::verify::{self, Progress};
use crate::error::{Error, Shown, plain};
use crate::patch::checkout::{Checkout, Commit, Content, short};
use crate::patch::journal::{About, Journal, Lock, Seen, State, carries, kept, refuse_odd_modes};
use crate::patch::plan::{How, Plan, Recipe, Rewrite, changes, reversed};
use crate::patch::recognise::{Marked, Recognised};
use crate::patch::transaction::{Carrying, Failure, Kept, carry_out, sweep};
use crate::patch::unified::Label;
use crate::sys::process::Interrupt;
use crate::ui::report::{self, Loose};
use crate::words::{count, seconds};

#[derive(Args, Debug)]
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
    #[arg(long)]
    pub commit: bool,

    /// Make a branch for that commit, and check it out
    #[arg(long, value_name = "NAME", requires = "commit")]
    pub branch: Option<String>,
}

impl Apply {
    pub fn run(&self) -> Result<Loose> {
        let recipe = self.changes.recipe()?;
        let checkout = self.place.checkout()?;
        checkout.refuse_operation_under_way()?;
        let lock = if self.dry_run { None } else { Some(Lock::take(&checkout)?) };
        let mut locked = Locked { checkout: &checkout, lock };
        let (journal, found) = match Recognised::find_with(&checkout, recipe.rules())? {
            None => (None, None),
            Some(Recognised::Applied(applied)) => (Some(applied.journal), applied.found),
            Some(Recognised::Marked(marked)) => return self.on_marked(&checkout, &recipe, &marked),
        };
        let mut kept_aside = if self.dry_run { Vec::new() } else { clear(&checkout, journal.as_ref())? };
        let mut about = About {
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
        let mut committed = String::new();
        if let Some(commit) = &journal.about.commit {
            checkout.put_commit(commit, &changes(&journal.plan))?;
            let on = self.branch.as_ref().map_or(String::new(), |name| format!(" on the new branch `{name}`"));
            committed = format!("committed as {}{on}\n", short(&commit.id));
        }
        let text = format!(
            "{} `{}`, {}:\n{}{}{}{}{committed}next: `{}`; `{}` takes it back\n",
            if again { "patched again" } else { "patched" },
            checkout.root().shown(),
            report::by(&journal.about.how, &journal.plan),
            report::sites(&journal.plan),
            files(&journal.plan),
            notes_of(&kept_aside),
            if self.verify { "gofmt, go vet and go build have nothing to say against it\n" } else { "" },
            self.place.command("build"),
            self.place.command("revert"),
        );
        let mut data = data(&checkout, &journal.plan, &journal.about, "patched");
        add_kept(&mut data, &kept_aside);
        Ok(Loose::new(SCHEMA, text, data))
    }

    /// Where patched files were edited, so that they cannot be taken for originals; `planning` is what became of
    /// trying to.
    fn without_a_plan(
        &self,
        locked: &mut Locked,
        journal: Option<&Journal>,
        about: &About,
        seen: &[Seen],
        kept_aside: Vec<Kept>,
        planning: anyhow::Error,
    ) -> Result<Loose> {
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
    fn would_patch(&self, checkout: &Checkout, plan: &Plan, about: &About) -> Loose {
        let text = format!(
            "would patch{} `{}`, {}:\n{}{}nothing was written (--dry-run); `rr-patch diff` shows the lines\n",
            if self.commit { " and commit" } else { "" },
            checkout.root().shown(),
            report::by(&about.how, plan),
            report::sites(plan),
            files(plan)
        );
        Loose::new(SCHEMA, text, data(checkout, plan, about, "would patch"))
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
        let asked = verify::verify(checkout, &journal.plan, &interrupt, &mut View::new().as_callback());
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
                let error = kept.iter().map(note_kept).fold(ended("the changes were taken back"), Error::detail);
                Err(Failure { error: error.into(), taken_back: true })
            }
        }
    }

    /// On a tree that says it is patched, and whose originals are not known.
    fn on_marked(&self, checkout: &Checkout, recipe: &Recipe, marked: &Marked) -> Result<Loose> {
        let root = checkout.root().shown();
        let asked_for = match recipe {
            Recipe::Structural(options, _) => marked.is(options),
            Recipe::Classic(_) => false,
        };
        if asked_for && marked.open.is_empty() && !self.commit {
            let text = format!("`{root}` is patched already, as its sources say; nothing to do\n");
            let data = json!({
                "outcome": "unchanged", "root": checkout.root().in_json(), "base": null, "tool": marked.mark.tool,
                "options": marked.mark.given, "changes": [], "files": [], "commit": null,
            });
            return Ok(Loose::new(SCHEMA, text, data));
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
        mut kept_aside: Vec<Kept>,
    ) -> Result<Loose> {
        let checkout = locked.checkout;
        let unpatched = seen.iter().filter(|seen| matches!(seen.state, State::Original | State::CutOff));
        let done: Vec<Rewrite> =
            unpatched.map(|seen| Rewrite { before: seen.current.clone(), ..seen.rewrite.clone() }).collect();
        let edited: Vec<&str> = edited(seen).map(|seen| seen.rewrite.path.as_str()).collect();
        let (said, outcome) = match (done.is_empty(), self.dry_run) {
            (true, _) => (" is patched already; nothing to do", "unchanged"),
            (false, true) => (" would be patched where it has original bytes again", "would patch"),
            (false, false) => (" is patched where it had original bytes again", "patched"),
        };
        if !self.dry_run {
            kept_aside.extend(carry_out(checkout, &done, Carrying::default()).map_err(anyhow::Error::from)?);
            self.verify(locked, journal, &done)?;
        }
        let mut text = format!("`{}`{said}\n", checkout.root().shown());
        if !edited.is_empty() {
            text.push_str(&format!("edited since, and left as it is: {}\n", edited.join(", ")));
        }
        text.push_str(&notes_of(&kept_aside));
        let mut data = data(checkout, &journal.plan, &journal.about, outcome);
        add_kept(&mut data, &kept_aside);
        Ok(Loose::new(SCHEMA, text, data))
    }
}

const SCHEMA: &str = "rr-patch/apply/1";

/// A commit's message: who made it, of what, and how to be rid of it.
fn message(about: &About, plan: &Plan) -> String {
    let what = match &about.how {
        How::Structural { options } => match report::options(options) {
            given if given.is_empty() => "Options: the defaults".into(),
            given => format!("Options: {given}"),
        },
        How::Classic { patches } => {
            let line = |label: &Label| format!("Patch: {}, git blob {}", label.name, label.hash);
            patches.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    };
    format!(
        "Run Cluster API controllers under rr record\n\nMade by rr-patch {}, {}.\n{what}\nBase: {}\n\n`rr-patch revert` takes it back.\n",
        about.tool,
        report::by(&about.how, plan),
        about.base.as_deref().unwrap_or("none")
    )
}

/// A checkout, and its lock while that is held.
struct Locked<'a> {
    checkout: &'a Checkout,
    lock: Option<Lock>,
}

/// What Go is at, on stderr: a line for each command, and below it how many packages were compiled. On a terminal
/// that is drawn again and again; elsewhere it comes every now and then.
struct View {
    bar: ProgressBar,
    began: Instant,
    said: Instant,
}

impl View {
    const NOTICE: Duration = Duration::from_secs(30);

    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {elapsed}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { bar, began: Instant::now(), said: Instant::now() }
    }

    fn as_callback(&mut self) -> impl FnMut(Progress) {
        |progress| match progress {
            Progress::Asks(asked) => {
                self.bar.suspend(|| eprintln!("verifying: {}", plain(asked)));
                self.bar.set_message("");
                self.bar.enable_steady_tick(Duration::from_millis(200));
                (self.began, self.said) = (Instant::now(), Instant::now());
            }
            Progress::Compiled(packages, last) => {
                let compiled = format!("{} compiled, the last: {last}", count(packages, "package"));
                if self.bar.is_hidden() && self.said.elapsed() > Self::NOTICE {
                    eprintln!("verifying: {compiled}, after {}", seconds(self.began.elapsed()));
                    self.said = Instant::now();
                }
                self.bar.set_message(compiled);
            }
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Takes the lock again after it was given up. Another rr-patch may hold it for a moment; a build holds it for long.
fn lock_again(checkout: &Checkout) -> Result<Lock> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        if let Ok(lock) = Lock::take(checkout) {
            return Ok(lock);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Lock::take(checkout)
}

/// # Errors
/// What is not as this apply left it.
fn refuse_changed_since(checkout: &Checkout, journal: &Journal, done: &[Rewrite]) -> Result<()> {
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
fn with_details(error: Error, why: &anyhow::Error) -> Error {
    let details = why.downcast_ref::<Error>().map(Error::details).unwrap_or_default();
    let lines = format!("{why:#}").lines().map(str::to_owned).collect::<Vec<_>>();
    lines.into_iter().chain(details.iter().cloned()).fold(error, Error::detail)
}

/// Brings the originals back, durably: the new journal must not be written over originals that are not yet in
/// place. Originals that were found in git get a journal of their own first.
fn bring_back(checkout: &Checkout, journal: &Journal, found: bool, seen: &[Seen]) -> Result<Vec<Kept>> {
    if found {
        Journal::begin(checkout, journal.plan.clone(), journal.about.clone())?;
    }
    Ok(carry_out(checkout, &taken_back(seen), Carrying { durable: true, folder_modes: &journal.folders })?)
}

/// Takes back a commit that an earlier run began and did not finish: the new journal will not know of it.
fn undo_left(checkout: &Checkout, journal: &Journal, left: &Commit) -> Result<()> {
    let changes = changes(&journal.plan);
    checkout.check_undo(left, &changes)?;
    checkout.undo_commit(left, &changes)?;
    Ok(())
}

/// Refuses a second commit on top of one that another clone made.
fn refuse_committed(in_head: bool) -> Result<(), Error> {
    match in_head {
        true => Err(Error::refused("the changes are committed already, with other options or by another version")
            .hint("`rr-patch revert` brings the originals back; commit them, then apply again")),
        false => Ok(()),
    }
}

/// What takes back those files that are still as the last apply left them. Others hold bytes that
/// are the new originals: another branch was checked out.
fn taken_back(seen: &[Seen]) -> Vec<Rewrite> {
    let ours = seen.iter().filter(|seen| matches!(seen.state, State::Patched | State::CutOff));
    let back =
        |seen: &Seen| Rewrite { path: seen.rewrite.path.clone(), before: seen.current.clone(), after: seen.original() };
    ours.map(back).collect()
}

/// Whether two plans make the same bytes of the same bytes. A mode that was changed since is no other plan.
fn same_bytes(one: &Plan, other: &Plan) -> bool {
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
fn without_the_earlier_patch(error: anyhow::Error) -> anyhow::Error {
    let failed = match error.downcast::<Error>() {
        Ok(known) => known.as_failure(),
        Err(error) => Error::failed(format!("{error:#}")),
    };
    failed.detail("the earlier patch was taken back before this one was begun").into()
}

/// Says where saved versions are that came while rr-patch wrote.
pub fn notes_of(kept: &[Kept]) -> String {
    kept.iter().map(|kept| note_kept(kept) + "\n").collect()
}

/// The same for programs; nothing where nothing was kept.
pub fn add_kept(data: &mut serde_json::Value, kept: &[Kept]) {
    if !kept.is_empty() {
        data["kept"] = kept.iter().map(|kept| json!({ "path": kept.path, "kept_as": kept.kept_as })).collect();
    }
}

fn note_kept(Kept { path, kept_as }: &Kept) -> String {
    format!("`{path}` was being saved by another program: that version is kept as `{kept_as}`")
}

/// Removes or keeps what an interrupted run left.
fn clear(checkout: &Checkout, journal: Option<&Journal>) -> Result<Vec<Kept>> {
    if journal.is_none_or(|journal| journal.about.commit.is_none()) {
        checkout.remove_abandoned_index_lock()?;
    }
    journal.map_or(Ok(Vec::new()), |journal| journal.sweep(checkout))
}

/// The files that are neither as before the apply nor as it left them, nor cut off.
fn edited<'a, 'journal>(seen: &'a [Seen<'journal>]) -> impl Iterator<Item = &'a Seen<'journal>> {
    seen.iter().filter(|seen| matches!(seen.state, State::Edited | State::Missing))
}

/// Why patched files that were edited cannot be patched again; `planning` is what became of trying to
/// take them for originals.
fn edited_since(journal: &Journal, seen: &[Seen], planning: anyhow::Error) -> anyhow::Error {
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

/// The files that change, a line each.
fn files(plan: &Plan) -> String {
    let word = |r: &Rewrite| match (&r.before, &r.after) {
        (None, _) => "adds   ",
        (_, None) => "removes",
        _ => "changes",
    };
    let line = |r: &Rewrite| format!("  {} {}\n", word(r), r.path);
    plan.rewrites.iter().map(line).collect()
}

fn data(checkout: &Checkout, plan: &Plan, about: &About, outcome: &str) -> serde_json::Value {
    let files: Vec<_> = plan
        .rewrites
        .iter()
        .map(|r| json!({"path": r.path, "added": r.before.is_none(), "removed": r.after.is_none()}))
        .collect();
    let mut data = json!({
        "outcome": outcome, "root": checkout.root().in_json(), "base": about.base, "tool": about.tool,
        "changes": report::changes(plan), "files": files,
    });
    report::add_how(&mut data, &about.how, plan);
    data["commit"] = json!(about.commit);
    data
}
