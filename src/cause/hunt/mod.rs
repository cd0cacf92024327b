//! A hunt: one program, recorded again and again until it fails.
//!
//! ```text
//! next setting ─▶ record ─▶ passed: the trace takes the place of the last good one
//!      ▲                 ├▶ failed: the trace is kept, with those of its kind
//!      └─────────────────┴▶ anything else: the trace is removed
//! ```
//!
//! The traces that are kept stay within a budget. When it is used up, the oldest traces of which there is a later one
//! of the same kind go first; when there is none, the hunt ends.

mod explained;
mod setting;
mod signature;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::error::{Error, Shown};
use crate::rr::record::{Outcome, Stopped};
use crate::rr::trace::{State, Store, Trace};
use crate::words::{ratio, seconds};
use signature::{Heard, Verdict, judge, signature};

pub use explained::{FirstSuspect, explain_kinds};
pub use setting::Setting;
pub use signature::{FailOn, Signature};

/// So many runs in a row without a trace, and something other than chance is wrong.
const UNRECORDED: usize = 3;

/// What a hunt is to do.
#[derive(Debug)]
pub struct Plan {
    /// The folder that gets a folder for each run.
    pub folder: PathBuf,
    /// The most runs; `None` is no limit.
    pub runs: Option<usize>,
    /// So many failing runs are enough; 0 never is.
    pub until: usize,
    /// No run begins later than this after the first one.
    pub time: Option<Duration>,
    /// How long a run may take.
    pub timeout: Option<Duration>,
    /// How many runs go on at the same time.
    pub jobs: usize,
    /// The bytes that the kept traces may take.
    pub disk: u64,
    pub fail_on: Vec<FailOn>,
    /// Never empty.
    pub settings: Vec<Setting>,
}

/// One run that is about to begin.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub number: usize,
    pub setting: &'a Setting,
    /// Where its traces go. The folder is there.
    pub store: &'a Store,
    /// The bytes that its traces may take.
    pub most: u64,
}

/// Records one run. The second argument gets each line of its output.
pub type RecordRun<'a> = dyn Fn(&Attempt, &mut dyn FnMut(&str)) -> Result<Outcome> + Sync + 'a;

/// What a hunt needs from outside.
pub struct Means<'a> {
    pub record: &'a RecordRun<'a>,
    /// Is told how far the hunt is, after each run.
    pub see: &'a (dyn Fn(&Catch) + Sync),
    /// Is told of a new kind of failure, and of what is wrong.
    pub say: &'a (dyn Fn(&str) + Sync),
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// A run whose traces are kept.
#[derive(Debug)]
pub struct Kept {
    pub run: usize,
    pub setting: Setting,
    pub folder: PathBuf,
    /// Those that are complete.
    pub traces: Vec<Trace>,
}

impl Kept {
    /// The bytes that removing it frees.
    fn own(&self) -> u64 {
        self.traces.iter().map(|trace| trace.own).sum()
    }

    pub fn size(&self) -> u64 {
        self.traces.iter().map(|trace| trace.size).sum()
    }

    /// The trace to look into first: of a program that did not end well, or else the largest.
    pub fn main_trace(&self) -> Option<&Trace> {
        let failed =
            |trace: &&Trace| trace.program().ok().and_then(|program| program.end).is_some_and(|end| !end.success());
        self.traces.iter().find(failed).or_else(|| self.traces.iter().max_by_key(|trace| trace.size))
    }

    fn remove(&self) -> Result<()> {
        for trace in &self.traces {
            trace.remove()?;
        }
        remove_folder(&self.folder)
    }
}

/// Failing runs that are alike.
#[derive(Debug)]
pub struct Kind {
    pub signature: Signature,
    /// The numbers of all its runs.
    pub runs: Vec<usize>,
    /// Of some of them the traces. The first one represents the kind.
    pub kept: Vec<Kept>,
    /// What `explain` names first.
    pub suspect: Option<FirstSuspect>,
}

/// Why a hunt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Found,
    AllRuns,
    Time,
    Interrupted,
    /// The budget of disk space, or the space that must stay free, is used up.
    Disk,
    /// A run could not be recorded, or not be cleaned up after.
    Failed,
}

/// What a hunt brought in.
#[derive(Debug, Default)]
pub struct Catch {
    /// Runs that were recorded and judged.
    pub runs: usize,
    pub failed: usize,
    /// Runs that ended in a way that was not asked for.
    pub other: usize,
    /// Runs of which rr left no trace.
    pub unrecorded: usize,
    pub kinds: Vec<Kind>,
    /// The last run that went well.
    pub good: Option<Kept>,
    /// How many runs each setting had, and how many of them failed.
    pub tally: Vec<(Setting, usize, usize)>,
    /// How many traces of failing runs were removed to make room.
    pub dropped: usize,
    pub ending: Option<Ending>,
    pub took: Duration,
}

impl Catch {
    /// The bytes that the kept traces take.
    pub fn disk(&self) -> u64 {
        let failing = self.kinds.iter().flat_map(|kind| &kind.kept);
        failing.chain(&self.good).map(Kept::own).sum()
    }
}

/// The state that the workers share.
struct Hunt<'a> {
    plan: &'a Plan,
    means: &'a Means<'a>,
    began: Instant,
    /// How many runs have begun.
    begun: usize,
    /// The bytes of the largest run so far.
    largest: u64,
    unrecorded_in_a_row: usize,
    caught: Catch,
    failed: Option<anyhow::Error>,
}

/// Records until what was asked for is found, or until there is no more to be done. An error that ended the hunt comes
/// with what was found before it.
///
/// # Errors
/// A first run that cannot be started, an rr that leaves no trace several times in a row.
pub fn hunt(plan: &Plan, means: &Means<'_>) -> Result<(Catch, Option<anyhow::Error>)> {
    let shared = Mutex::new(Hunt {
        plan,
        means,
        began: Instant::now(),
        begun: 0,
        largest: 0,
        unrecorded_in_a_row: 0,
        caught: Catch {
            tally: plan.settings.iter().fold(Vec::new(), |mut tally, setting| {
                if !tally.iter().any(|(known, ..)| known == setting) {
                    tally.push((setting.clone(), 0, 0));
                }
                tally
            }),
            ..Catch::default()
        },
        failed: None,
    });
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| while work(&shared, plan, means) {});
        }
    });
    let mut hunt = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    hunt.caught.took = hunt.began.elapsed();
    // What an error has left may be all that knows what a run has created.
    let entries = fs::read_dir(&plan.folder).into_iter().flatten().flatten();
    if !entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("run-")) {
        remove_folder(&plan.folder)?;
    }
    match hunt.failed {
        Some(error) if hunt.caught.runs == 0 => Err(error),
        failed => {
            if failed.is_some() {
                hunt.caught.ending = Some(Ending::Failed);
            }
            Ok((hunt.caught, failed))
        }
    }
}

fn lock<'m, 'a>(shared: &'m Mutex<Hunt<'a>>) -> MutexGuard<'m, Hunt<'a>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One run. Says whether another one may begin.
fn work(shared: &Mutex<Hunt<'_>>, plan: &Plan, means: &Means<'_>) -> bool {
    let Some((number, setting, most)) = lock(shared).next() else { return false };
    let store = Store::at(plan.folder.join(format!("run-{number:03}")));
    let mut heard = Heard::default();
    let attempt = Attempt { number, setting: &setting, store: &store, most };
    let outcome = (means.record)(&attempt, &mut |line| heard.add(line, &plan.fail_on));
    let mut hunt = lock(shared);
    let added = outcome.and_then(|outcome| hunt.add(number, &setting, store.root(), &outcome, &heard));
    if let Err(error) = added {
        hunt.failed.get_or_insert(error);
        return false;
    }
    hunt.caught.took = hunt.began.elapsed();
    (means.see)(&hunt.caught);
    true
}

impl Hunt<'_> {
    /// The next run, unless the hunt is over.
    fn next(&mut self) -> Option<(usize, Setting, u64)> {
        let Plan { runs, until, time, .. } = *self.plan;
        if self.failed.is_some() || self.caught.ending.is_some() {
            return None;
        }
        let ending = match () {
            () if (self.means.interrupted)() => Some(Ending::Interrupted),
            () if until > 0 && self.caught.failed >= until => Some(Ending::Found),
            () if runs.is_some_and(|runs| self.begun >= runs) => Some(Ending::AllRuns),
            () if time.is_some_and(|time| self.began.elapsed() > time) => Some(Ending::Time),
            () if !self.make_room() => Some(Ending::Disk),
            () => None,
        };
        if ending.is_some() {
            self.caught.ending = ending;
            return None;
        }
        let setting = self.plan.settings[self.begun % self.plan.settings.len()].clone();
        self.begun += 1;
        Some((self.begun, setting, self.plan.disk.saturating_sub(self.caught.disk()).max(1)))
    }

    /// Whether the budget has room for one more run of each worker, after duplicates were removed if need be.
    fn make_room(&mut self) -> bool {
        let need = self.largest.saturating_mul(self.plan.jobs.max(1) as u64);
        let mut dropped = 0;
        while self.caught.disk().saturating_add(need) > self.plan.disk {
            // The first trace of a kind represents it.
            let later = |kind: &Kind| kind.kept.get(1).map(|kept| kept.run);
            let kinds = self.caught.kinds.iter_mut();
            let Some(kind) = kinds.filter(|kind| kind.kept.len() > 1).min_by_key(|kind| later(kind)) else { break };
            let oldest = kind.kept.remove(1);
            if let Err(error) = oldest.remove() {
                (self.means.say)(&format!("warning: `{}` was not removed: {error:#}", oldest.folder.shown()));
            }
            dropped += 1;
        }
        if dropped > 0 && self.caught.dropped == 0 {
            (self.means.say)(
                "the disk budget is used up: the oldest traces of failures that are kept twice are removed",
            );
        }
        self.caught.dropped += dropped;
        self.caught.disk().saturating_add(need) <= self.plan.disk
    }

    /// Judges a run, and keeps its traces or removes them.
    fn add(&mut self, run: usize, setting: &Setting, folder: &Path, outcome: &Outcome, heard: &Heard) -> Result<()> {
        let traces: Vec<Trace> =
            outcome.traces.iter().filter(|trace| trace.state == State::Complete).cloned().collect();
        let kept = Kept { run, setting: setting.clone(), folder: folder.to_owned(), traces };
        match outcome.stopped {
            Some(Stopped::Asked) => {
                self.caught.ending = Some(Ending::Interrupted);
                return remove_folder(folder);
            }
            Some(Stopped::NoRoom(_) | Stopped::TooLarge) => {
                self.caught.ending = Some(Ending::Disk);
                return remove_folder(folder);
            }
            Some(Stopped::TimedOut) | None => {}
        }
        if kept.traces.is_empty() {
            self.caught.unrecorded += 1;
            self.unrecorded_in_a_row += 1;
            let last = heard.last(1).first().map_or(String::new(), |line| format!(": {line}"));
            (self.means.say)(&format!("run {run} left no complete trace, {}{last}", outcome.end));
            remove_folder(folder)?;
            return match self.unrecorded_in_a_row < UNRECORDED {
                true => Ok(()),
                false => Err(unrecorded(outcome, heard).into()),
            };
        }
        self.unrecorded_in_a_row = 0;
        self.largest = self.largest.max(kept.own());
        let verdict = judge(outcome, heard, &self.plan.fail_on);
        self.caught.runs += 1;
        if let Some((_, runs, failed)) = self.caught.tally.iter_mut().find(|(known, ..)| known == setting) {
            *runs += 1;
            *failed += usize::from(verdict == Verdict::Failed);
        }
        match verdict {
            Verdict::Failed => self.keep(kept, outcome, heard),
            // The trace of an earlier run that may end later, with more than one worker.
            Verdict::Passed if self.caught.good.as_ref().is_some_and(|good| good.run > run) => kept.remove()?,
            Verdict::Passed => {
                if let Some(older) = self.caught.good.replace(kept) {
                    older.remove()?;
                }
            }
            Verdict::Other => {
                self.caught.other += 1;
                kept.remove()?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, kept: Kept, outcome: &Outcome, heard: &Heard) {
        self.caught.failed += 1;
        let limit = self.plan.timeout.map(seconds);
        let signature = signature(outcome, heard, limit.as_deref());
        let run = kept.run;
        match self.caught.kinds.iter_mut().find(|kind| kind.signature.is_like(&signature)) {
            Some(kind) => {
                kind.runs.push(run);
                kind.kept.push(kept);
            }
            None => {
                let line = signature.line.as_ref().map_or(String::new(), |line| format!(": {line}"));
                (self.means.say)(&format!("run {run} failed, {}{line}", signature.how));
                self.caught.kinds.push(Kind { signature, runs: vec![run], kept: vec![kept], suspect: None });
            }
        }
    }
}

fn unrecorded(outcome: &Outcome, heard: &Heard) -> Error {
    let error = Error::failed(format!("rr left no complete trace {UNRECORDED} times in a row"))
        .detail(format!("the last run ended with {}", outcome.end));
    let last = heard.last(8);
    let error = if last.is_empty() { error } else { error.detail(last.join("\n")) };
    error.hint(
        "`rr-patch doctor` looks at what a recording needs; `rr-patch record --program -- …` shows all that rr says",
    )
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", folder.shown()))
        }
        _ => Ok(()),
    }
}

/// The rate that a failure is below with a confidence of 95 %, when it did not happen once in so many runs.
pub fn bound(runs: usize) -> f64 {
    // With a higher rate, so many good runs in a row would happen less than one time in twenty.
    match runs {
        0 => 1.0,
        runs => 1.0 - 0.05_f64.powf(ratio(1, runs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_what_was_not_seen_is_that_of_the_rule_of_three() {
        let shown = [1, 60, 200].map(|runs| format!("{:.1} %", bound(runs) * 100.0));
        assert_eq!(shown, ["95.0 %", "4.9 %", "1.5 %"]);
    }
}
