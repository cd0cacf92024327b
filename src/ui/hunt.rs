//! What a hunt brought in.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::{Document, Report};
use super::table::Table;
use crate::cause::hunt::{Catch, Ending, FirstSuspect, Kept, Kind, Setting, bound};
use crate::error::{Exit, Shown, plain_name};
use crate::rr::trace::Store;
use crate::words::{bytes, count, percent, quoted, ratio, seconds, share};

/// What a hunt brought in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Hunted {
    /// What was run, as it was given.
    command: String,
    /// The folder that holds a folder for each kept run.
    folder: String,
    /// How many runs were recorded and judged.
    runs: usize,
    failed: usize,
    /// Runs that ended in a way that `--fail-on` does not name.
    other: usize,
    /// Runs of which rr left no trace; they count for nothing.
    unrecorded: usize,
    /// How many failing runs were asked for; 0 for as many as there are.
    until: usize,
    /// `found`, `runs`, `time`, `interrupted`, `disk` or `failed`: why it ended.
    ended: &'static str,
    seconds: f64,
    /// What the kept traces take, in bytes.
    disk: u64,
    /// How many traces of failing runs were removed to make room; of each failure one is kept.
    dropped: usize,
    /// The different failures, the most frequent first.
    failures: Vec<ShownKind>,
    /// The last run that went well.
    good: Option<ShownRun>,
    /// What each setting came to.
    settings: Vec<Tally>,
    /// Where nothing failed: with a confidence of 95 % it fails in less than this part of such runs.
    below: Option<f64>,
    /// What to type next.
    next: Vec<String>,
}

/// Failing runs that are alike.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownKind {
    count: usize,
    /// The part of all runs.
    rate: f64,
    /// How these runs ended.
    how: String,
    /// What the first of them said of that.
    line: Option<String>,
    /// What `explain` names first, where a trace was explained.
    suspect: Option<FirstSuspect>,
    /// Those whose traces are kept; the first one was explained.
    kept: Vec<ShownRun>,
    /// The command that looks into the first one.
    command: String,
}

/// A run whose traces are kept.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct ShownRun {
    /// The number of the run, from 1.
    run: usize,
    setting: Setting,
    /// The folder with all its traces.
    folder: String,
    /// The trace to look into first, by the name that other commands take.
    trace: String,
    /// How many traces the run has.
    traces: usize,
    /// The bytes of all of them.
    size: u64,
}

/// What a setting came to.
#[derive(Debug, Serialize, JsonSchema)]
struct Tally {
    setting: Setting,
    runs: usize,
    failed: usize,
}

/// How traces are called where the result is read.
pub struct Named<'a> {
    /// rr's own store, if the traces may be called by their names in it.
    pub own: Option<&'a Store>,
}

impl Named<'_> {
    fn run(&self, kept: &Kept) -> ShownRun {
        let path = kept.main_trace().map_or(&kept.folder, |trace| &trace.path);
        let name = self.own.and_then(|own| path.strip_prefix(own.root()).ok()).unwrap_or(path);
        ShownRun {
            run: kept.run,
            setting: kept.setting.clone(),
            folder: kept.folder.in_json(),
            trace: name.in_json(),
            traces: kept.traces.len(),
            size: kept.size(),
        }
    }

    fn kind(&self, kind: &Kind, runs: usize) -> ShownKind {
        let kept: Vec<ShownRun> = kind.kept.iter().map(|kept| self.run(kept)).collect();
        ShownKind {
            count: kind.runs.len(),
            rate: ratio(kind.runs.len(), runs),
            how: kind.signature.how.clone(),
            line: kind.signature.line.clone(),
            suspect: kind.suspect.clone(),
            command: kept.first().map_or_else(String::new, |kept| format!("rr-patch explain {}", quoted(&kept.trace))),
            kept,
        }
    }
}

impl Hunted {
    pub fn new(command: String, folder: &Store, named: &Named<'_>, until: usize, caught: &Catch) -> Report<Self> {
        let Catch { runs, failed, other, unrecorded, kinds, good, tally, dropped, ending, took } = caught;
        let failures: Vec<ShownKind> = kinds.iter().map(|kind| named.kind(kind, *runs)).collect();
        let good = good.as_ref().map(|good| named.run(good));
        let first = failures.first().and_then(|kind| kind.kept.first());
        let mut next: Vec<String> = Vec::new();
        if let Some(first) = first {
            let bad = quoted(&first.trace);
            next.push(format!("rr-patch explain {bad}"));
            next.extend(good.iter().map(|good| format!("rr-patch traces diff {} {bad}", quoted(&good.trace))));
            next.push(format!("rr-patch replay {bad}"));
        }
        let exit = match ending {
            Some(Ending::Interrupted) => Exit::Interrupted,
            Some(Ending::Failed) => Exit::Failed,
            _ if *failed >= until.max(1) => Exit::Done,
            _ => Exit::Found,
        };
        let result = Self {
            command,
            folder: folder.root().in_json(),
            runs: *runs,
            failed: *failed,
            other: *other,
            unrecorded: *unrecorded,
            until,
            ended: match ending {
                Some(Ending::Found) | None => "found",
                Some(Ending::AllRuns) => "runs",
                Some(Ending::Time) => "time",
                Some(Ending::Interrupted) => "interrupted",
                Some(Ending::Disk) => "disk",
                Some(Ending::Failed) => "failed",
            },
            seconds: took.as_secs_f64(),
            disk: caught.disk(),
            dropped: *dropped,
            failures,
            good,
            settings: tally
                .iter()
                .filter(|(_, runs, _)| *runs > 0)
                .map(|(setting, runs, failed)| Tally { setting: setting.clone(), runs: *runs, failed: *failed })
                .collect(),
            below: (*failed == 0 && *runs > 0).then(|| bound(*runs)),
            next,
        };
        Report { result, exit }
    }

    fn head(&self) -> String {
        let (runs, kinds) = (count(self.runs, "run"), self.failures.len());
        match (self.failed, self.below) {
            (0, Some(below)) => format!("not once in {runs}: below {} at 95 %", percent(below)),
            (0, None) => "no run came to its end".into(),
            (failed, _) => {
                let kinds = if kinds == 1 { "1 failure".into() } else { format!("{kinds} different failures") };
                format!("{kinds} in {runs}: {} failed ({})", count(failed, "run"), share(failed, self.runs))
            }
        }
    }
}

impl Document for Hunted {
    const SCHEMA: &'static str = "rr-patch/hunt/1";
}

impl fmt::Display for ShownRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.traces > 1 { format!(", with {} beside it", self.traces - 1) } else { String::new() };
        let Self { run, setting, trace, size, .. } = self;
        write!(f, "run {run}, {setting}: trace `{}`{more}, {}", plain_name(trace), bytes(*size))
    }
}

impl fmt::Display for Hunted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = seconds(Duration::try_from_secs_f64(self.seconds).unwrap_or_default());
        writeln!(f, "{}, after {took}", self.head())?;
        for (number, kind) in (1..).zip(&self.failures) {
            let ShownKind { count, how, line, suspect, kept, command, .. } = kind;
            let line = line.as_ref().map_or(String::new(), |line| format!(": {}", plain_name(line)));
            writeln!(f, "  {number}. {count} of {} ({}), {how}{line}", self.runs, share(*count, self.runs))?;
            if let Some(FirstSuspect { kind, function, file, line, why }) = suspect {
                writeln!(f, "     {function}  {file}:{line}  ({kind})")?;
                writeln!(f, "     {why}")?;
            }
            kept.first().iter().try_for_each(|kept| writeln!(f, "     {kept}"))?;
            writeln!(f, "     `{command}`")?;
        }
        self.good.iter().try_for_each(|good| writeln!(f, "  a good run: {good}"))?;
        if self.settings.len() > 1 {
            let rows: Vec<_> = self.settings.iter().map(Tally::row).collect();
            let head = ["setting", "runs", "failed"];
            write!(f, "{}", Table { head, rows: &rows, right: &[1, 2], spared: &[] }.within(None))?;
        }
        if self.other > 0 {
            writeln!(f, "{} ended in another way than --fail-on names", count(self.other, "run"))?;
        }
        if self.unrecorded > 0 {
            writeln!(f, "{} left no trace, and count for nothing", count(self.unrecorded, "run"))?;
        }
        if self.dropped > 0 {
            writeln!(
                f,
                "{} of failures that are kept were removed to stay within --disk",
                count(self.dropped, "trace")
            )?;
        }
        match self.ended {
            "disk" => {
                let kept = bytes(self.disk);
                writeln!(
                    f,
                    "ended because there is no room for another trace: {kept} are kept, and --disk sets the limit"
                )?;
            }
            "failed" => writeln!(f, "ended by the error that is on standard error")?,
            "interrupted" => writeln!(f, "ended as it was asked to; every trace is closed")?,
            _ => {}
        }
        if self.below.is_some() {
            writeln!(f, "that is a bound for these settings: more runs lower it, other settings may find it sooner")?;
        }
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}

impl Tally {
    fn row(&self) -> [String; 3] {
        [self.setting.to_string(), self.runs.to_string(), self.failed.to_string()]
    }
}
