//! `rr-patch check`: which revisions of a repository can be patched, without a checkout of any.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use clap::Args;

use super::{Changes, Where};
use crate::error::Error;
use crate::patch::checkout::{Content, History, Revision, TreeEntry};
use crate::patch::plan::PatchSource;
use crate::patch::unified::PatchFile;
use crate::sys::process::Interrupt;
use crate::ui::check::{Checked, Outcome, report};
use crate::ui::document::Report;
use crate::ui::progress::counted;
use crate::words::count;

const EXAMPLES: &str = "\
Examples:
  rr-patch check                                # HEAD
  rr-patch check --rev release-4.20 --rev v4.19.0
  rr-patch check ~/src/installer --refs 'release-*'
  rr-patch check --all --patch mine.patch       # which branches a patch fits";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    #[command(flatten)]
    pub place: Where,

    /// A revision, as git takes it, or a remote's branch by its own name (repeatable) [default: HEAD]
    #[arg(long, value_name = "REV")]
    pub rev: Vec<String>,

    /// All references that match, like `refs/heads/*` or `release-*` (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub refs: Vec<String>,

    /// All branches, local and remote
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    pub changes: Changes,
}

/// The files of a revision that are to be patched.
type SourceSet = BTreeMap<String, Content>;

impl Check {
    pub fn run(&self) -> Result<Report<Checked>> {
        let interrupt = Interrupt::watch()?;
        let history = History::open(self.place.repo.as_deref(), self.place.root.as_deref())?;
        let asked_for = self.named(&history)?;
        let names: Vec<String> = asked_for.iter().map(|revision| revision.name.clone()).collect();
        let revisions = self.revisions(&history, asked_for)?;
        if revisions.is_empty() {
            return Err(Error::refused("no revision was found").hint("`git for-each-ref` lists the names").into());
        }
        // Many branches share their sources: each set is read and planned once.
        let recipe = self.changes.recipe()?;
        if self.changes.three_way {
            return Err(Error::usage("`--3way` merges a patch that does not fit, and `check` asks whether it fits")
                .hint("leave it out; `rr-patch diff --3way --rev REV` prints what the merge gives")
                .into());
        }
        let paths = match &recipe {
            PatchSource::Structural(_, rules) => rules.source_paths(),
            PatchSource::Classic(patches) => patches.iter().flat_map(PatchFile::paths).map(str::to_owned).collect(),
        };
        let mut sets: BTreeMap<Vec<TreeEntry>, usize> = BTreeMap::new();
        let mut sources: Vec<Result<SourceSet>> = Vec::new();
        let mut set_of = Vec::new();
        for revision in &revisions {
            let read = count(set_of.len(), "revision");
            interrupt.check(&format!("{read} of {} had been read; nothing was written", revisions.len()))?;
            // One revision that cannot be read does not keep the others from being looked at.
            let entries = history.entries(revision, &paths);
            let known = entries.as_ref().ok().and_then(|entries| sets.get(entries).copied());
            set_of.push(known.unwrap_or(sources.len()));
            if known.is_none() {
                let read = |entry: &TreeEntry| Ok((entry.path.clone(), history.read(entry, revision)?));
                sources.push(entries.and_then(|entries| {
                    let set = entries.iter().map(read).collect();
                    sets.insert(entries, sources.len());
                    set
                }));
            }
        }
        let outcomes = plan_all(&sources, &recipe, &interrupt)?;
        Ok(report(&revisions, &set_of, &outcomes, &names))
    }

    /// Those that were named, or HEAD where none was asked for in any way.
    fn named(&self, history: &History) -> Result<Vec<Revision>> {
        if self.rev.is_empty() && self.refs.is_empty() && !self.all {
            return Ok(vec![history.revision("HEAD")?]);
        }
        self.rev.iter().map(|name| history.revision(name)).collect()
    }

    fn revisions(&self, history: &History, mut revisions: Vec<Revision>) -> Result<Vec<Revision>> {
        let all = ["refs/heads/*", "refs/remotes/*"].map(str::to_owned);
        for glob in self.refs.iter().chain(all.iter().filter(|_| self.all)) {
            revisions.extend(history.matching(glob)?);
        }
        Ok(revisions)
    }
}

/// Plans every set of sources, on all processors.
fn plan_all(sources: &[Result<SourceSet>], recipe: &PatchSource, interrupt: &Interrupt) -> Result<Vec<Outcome>> {
    let bar = counted(sources.len(), "sets of sources")?;
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((number, set)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, sources.get(n)?)))
            && !interrupt.came()
        {
            let outcome = set.as_ref().map_or_else(Outcome::refused, |set| plan(set, recipe));
            outcomes.lock().expect("no thread panics").push((number, outcome));
            bar.inc(1);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(sources.len());
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    bar.finish_and_clear();
    let mut outcomes = outcomes.into_inner().expect("no thread panics");
    let (tried, all) = (outcomes.len(), count(sources.len(), "set"));
    interrupt.check(&format!("{tried} of {all} of sources had been tried; nothing was written"))?;
    outcomes.sort_by_key(|(number, _)| *number);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

fn plan(set: &SourceSet, recipe: &PatchSource) -> Outcome {
    let structural = matches!(recipe, PatchSource::Structural(..));
    match recipe.plan(&|path| Ok(set.get(path).cloned()), None) {
        Ok(plan) => Outcome::Fits { shape: if structural { plan.shape } else { "-".into() } },
        // Not before it was tried: a patch may do without any file that is there.
        Err(_) if set.is_empty() && structural => Outcome::Nothing { why: "no Cluster API supervisor in it" },
        Err(_) if set.is_empty() => Outcome::Nothing { why: "none of the files to be patched in it" },
        Err(error) => Outcome::refused(&error),
    }
}
