//! `rr-patch apply`: make the six changes.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Changes, Where, plan_from_originals};
use crate::checkout::Checkout;
use crate::error::Error;
use crate::journal::{About, Journal, Lock, Seen, State, carry_out};
use crate::patchfile::Label;
use crate::plan::{How, Plan, Rewrite, reversed};
use crate::report::{self, Report, kept, short};
use crate::verify;

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
    pub fn run(&self) -> Result<Report> {
        let recipe = self.changes.recipe()?;
        let checkout = self.place.checkout()?;
        checkout.refuse_operation_under_way()?;
        let _lock = if self.dry_run { None } else { Some(Lock::take(&checkout)?) };
        let journal = Journal::load(&checkout)?;
        let mut about = About {
            tool: env!("CARGO_PKG_VERSION").into(),
            base: checkout.head().map(str::to_owned),
            how: recipe.how(),
            commit: None,
        };
        let seen = journal.as_ref().map(|journal| journal.look(&checkout)).transpose()?.unwrap_or_default();
        let plan = match plan_from_originals(&checkout, &seen, &recipe, self.changes.three_way) {
            Ok(plan) => plan,
            Err(error) => {
                let edited = seen.iter().any(|seen| matches!(seen.state, State::Edited | State::Missing));
                return match &journal {
                    // The edits lie beside the changes. The same changes again leave them as they are.
                    Some(journal) if journal.about.how == about.how && kept(journal, &seen) && !self.commit => {
                        self.patch_the_rest(&checkout, journal, &seen)
                    }
                    Some(journal) if edited => Err(edited_since(journal, &seen, error)),
                    _ => Err(error),
                };
            }
        };

        let unchanged = |journal: &Journal| journal.plan.rewrites == plan.rewrites && journal.about.how == about.how;
        let in_place = seen.iter().all(|seen| seen.state == State::Patched);
        let committed = journal.as_ref().and_then(|journal| journal.about.commit.as_ref());
        let committed = committed.filter(|commit| checkout.is_at(commit));
        let wanted = !self.commit || committed.is_some();
        if let Some(journal) = journal.as_ref().filter(|journal| in_place && wanted && unchanged(journal)) {
            if !self.dry_run {
                self.verify(&checkout, journal, &[])?;
            }
            let text = format!("`{}` is patched already; nothing to do\n", checkout.root().display());
            return Ok(Report::new(SCHEMA, text, data(&checkout, &journal.plan, &journal.about, "unchanged")));
        }
        if let Some(commit) = committed {
            return Err(Error::refused(format!("the changes are committed already, as {}", short(&commit.id)))
                .hint("`rr-patch revert` takes that commit back; then apply again")
                .into());
        }
        if self.dry_run {
            let text = format!(
                "would patch{} `{}`, {}:\n{}{}nothing was written (--dry-run); `rr-patch diff` shows the lines\n",
                if self.commit { " and commit" } else { "" },
                checkout.root().display(),
                report::by(&about.how, &plan),
                report::sites(&plan),
                files(&plan)
            );
            return Ok(Report::new(SCHEMA, text, data(&checkout, &plan, &about, "would patch")));
        }

        if self.commit {
            let changes: Vec<_> =
                plan.rewrites.iter().map(|r| (r.path.as_str(), r.before.as_ref(), r.after.as_ref())).collect();
            let commit = checkout.prepare_commit(&changes, &message(&about, &plan), self.branch.as_deref())?;
            about.commit = Some(commit);
        }
        // The new journal must not be written over originals that are not yet in place.
        let again = journal.is_some();
        carry_out(&checkout, &taken_back(&seen))?;
        let journal = Journal::begin(&checkout, plan, about)?;
        let rewrites = &journal.plan.rewrites;
        if let Err(error) = carry_out(&checkout, rewrites).and_then(|()| self.verify(&checkout, &journal, rewrites)) {
            // Where something could not be taken back the originals are still needed.
            if journal.look(&checkout)?.iter().all(|seen| seen.state == State::Original) {
                journal.end(&checkout)?;
            }
            return Err(error);
        }
        let mut committed = String::new();
        if let Some(commit) = &journal.about.commit {
            let paths: Vec<&str> = rewrites.iter().map(|rewrite| rewrite.path.as_str()).collect();
            checkout.put_commit(commit, &paths).map_err(|error| {
                Error::failed(format!("the files are patched, but could not be committed: {error:#}"))
                    .hint("`rr-patch apply --commit` tries again; `rr-patch revert` takes the patch back")
            })?;
            let on = self.branch.as_ref().map_or(String::new(), |name| format!(" on the new branch `{name}`"));
            committed = format!("committed as {}{on}\n", short(&commit.id));
        }
        let text = format!(
            "{} `{}`, {}:\n{}{}{}{committed}next: `rr-patch build`; `rr-patch revert` takes it back\n",
            if again { "patched again" } else { "patched" },
            checkout.root().display(),
            report::by(&journal.about.how, &journal.plan),
            report::sites(&journal.plan),
            files(&journal.plan),
            if self.verify { "gofmt, go vet and go build have nothing to say against it\n" } else { "" },
        );
        Ok(Report::new(SCHEMA, text, data(&checkout, &journal.plan, &journal.about, "patched")))
    }

    /// Asks Go, if that was asked for, and takes back what was `done` if Go says no.
    fn verify(&self, checkout: &Checkout, journal: &Journal, done: &[Rewrite]) -> Result<()> {
        if !self.verify {
            return Ok(());
        }
        let Err(error) = verify::verify(checkout, &journal.plan, &progress) else { return Ok(()) };
        if done.is_empty() {
            return Err(error.detail("nothing was written; the checkout was patched before, and still is").into());
        }
        carry_out(checkout, &reversed(done))?;
        Err(error.detail("the changes were taken back").into())
    }

    /// Applied before with these options, and edited since beside the changes: only files that have
    /// their original bytes again are patched.
    fn patch_the_rest(&self, checkout: &Checkout, journal: &Journal, seen: &[Seen]) -> Result<Report> {
        let original = seen.iter().filter(|seen| seen.state == State::Original);
        let done: Vec<Rewrite> = original.map(|seen| seen.rewrite.clone()).collect();
        let edited: Vec<&str> = edited(seen).map(|seen| seen.rewrite.path.as_str()).collect();
        let (said, outcome) = match (done.is_empty(), self.dry_run) {
            (true, _) => (" is patched already; nothing to do", "unchanged"),
            (false, true) => (" would be patched where it has original bytes again", "would patch"),
            (false, false) => (" is patched where it had original bytes again", "patched"),
        };
        if !self.dry_run {
            carry_out(checkout, &done)?;
            self.verify(checkout, journal, &done)?;
        }
        let text =
            format!("`{}`{said}\nedited since, and left as it is: {}\n", checkout.root().display(), edited.join(", "));
        Ok(Report::new(SCHEMA, text, data(checkout, &journal.plan, &journal.about, outcome)))
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

/// Says on stderr what runs now.
fn progress(asked: &str) {
    eprintln!("verifying: {asked}");
}

/// What takes back those files that are still as the last apply left them. Others hold bytes that
/// are the new originals: another branch was checked out.
fn taken_back(seen: &[Seen]) -> Vec<Rewrite> {
    let ours = seen.iter().filter(|seen| matches!(seen.state, State::Patched | State::CutOff));
    let back = |Seen { rewrite, current, .. }: &Seen| Rewrite {
        path: rewrite.path.clone(),
        before: current.clone(),
        after: rewrite.before.clone(),
    };
    ours.map(back).collect()
}

/// The files that are neither as before the apply nor as it left them.
fn edited<'a, 'journal>(seen: &'a [Seen<'journal>]) -> impl Iterator<Item = &'a Seen<'journal>> {
    seen.iter().filter(|seen| !matches!(seen.state, State::Original | State::Patched))
}

/// Why patched files that were edited cannot be patched again; `planning` is what became of trying to
/// take them for originals.
fn edited_since(journal: &Journal, seen: &[Seen], planning: anyhow::Error) -> anyhow::Error {
    // Sources of another branch, say: what is not understood in them is what matters.
    if edited(seen).any(|seen| !report::carries(journal, seen)) {
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
        "outcome": outcome, "root": checkout.root(), "base": about.base, "tool": about.tool,
        "changes": report::changes(plan), "files": files,
    });
    report::add_how(&mut data, &about.how, plan);
    data["commit"] = json!(about.commit);
    data
}
