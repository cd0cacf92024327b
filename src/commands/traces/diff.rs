//! `rr-patch traces diff`: where the logs of a good and a bad run part, and the commands that go there.

use std::fmt;

use anyhow::Result;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cause::credentials;
use crate::cause::diff::{Comparison, Parting, compare};
use crate::commands::{SECRETS, say};
use crate::doctor::Host;
use crate::rr::log::{Line, Log};
use crate::rr::trace::{Store, Trace};
use crate::ui::document::{Document, Report};
use crate::words::{count, quoted};

/// How many places and moved lines a document lists.
const LISTED: usize = 20;

const EXAMPLES: &str = "\
Examples:
  rr-patch traces diff hunt-queue/run-007/queue-0 hunt-queue/run-012/queue-0";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DiffLogs {
    /// The trace of a run that went well, by its name or path
    pub good: String,

    /// The trace of a run that failed
    pub bad: String,

    /// Show so many lines before the first difference
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub before: usize,

    /// Show values that look like credentials, too
    #[arg(long, help_heading = SECRETS)]
    pub values: bool,
}

/// The logs of two runs, aligned. Times, process ids, addresses, ports and generated names count as equal.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LogsCompared {
    good: ComparedTrace,
    bad: ComparedTrace,
    /// How many lines both wrote in the same order.
    equal: usize,
    /// How many lines both wrote in another order.
    moved: usize,
    /// How many lines only the good run wrote.
    only_good: usize,
    /// How many lines only the bad run wrote.
    only_bad: usize,
    /// The last lines that both wrote before the first difference.
    before: Vec<LinePair>,
    /// The places where the runs part, the first one first; at most 20. Lines that only moved are none.
    differences: Vec<Difference>,
    /// The first lines that only moved, at most 20.
    moved_lines: Vec<LinePair>,
    /// What to type next: the commands that go to the first difference, or else to the first line that moved.
    next: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ComparedTrace {
    /// The trace's name.
    trace: String,
    /// How many lines its program wrote.
    lines: usize,
}

/// A line as one run wrote it.
#[derive(Debug, Serialize, JsonSchema)]
struct WrittenLine {
    /// The event of the write: `replay --at EVENT` goes there.
    event: u64,
    /// Seconds since the recording began.
    time: f64,
    text: String,
}

/// A line that both runs wrote.
#[derive(Debug, Serialize, JsonSchema)]
struct LinePair {
    good: WrittenLine,
    bad: WrittenLine,
}

/// A place where the runs part.
#[derive(Debug, Serialize, JsonSchema)]
struct Difference {
    /// The first line here that only the good run wrote.
    good: Option<WrittenLine>,
    /// The first line here that only the bad run wrote.
    bad: Option<WrittenLine>,
}

impl Document for LogsCompared {
    const SCHEMA: &'static str = "rr-patch/traces-diff/1";
}

impl fmt::Display for WrittenLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, time, text } = self;
        write!(f, "{event:>8}  {time:>9.3}  {text}")
    }
}

impl fmt::Display for LogsCompared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { good, bad, equal, moved, only_good, only_bad, .. } = self;
        for (word, side) in [("good", good), ("bad ", bad)] {
            writeln!(f, "{word}  `{}`, {}", side.trace, count(side.lines, "line"))?;
        }
        if only_good + only_bad + moved == 0 {
            writeln!(f, "the logs are equal but for times, ids, addresses, ports and generated names")?;
            return self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"));
        }
        let same = format!("{} equal, {moved} moved", count(*equal, "line"));
        writeln!(f, "{same}, {only_good} only in the good run, {only_bad} only in the bad one")?;
        match self.differences.first() {
            Some(first) => {
                writeln!(f, "\nthe first difference")?;
                self.before.iter().try_for_each(|pair| writeln!(f, "       {}", pair.bad))?;
                let side = |f: &mut fmt::Formatter<'_>, word: &str, line: &Option<WrittenLine>| match line {
                    Some(line) => writeln!(f, "{word} {line}"),
                    None => writeln!(f, "{word} (no line that the other did not write too)"),
                };
                side(f, "- good", &first.good)?;
                side(f, "+ bad ", &first.bad)?;
            }
            None => writeln!(f, "\nno line is missing: some only moved")?,
        }
        if let Some(LinePair { good, bad }) = self.moved_lines.first() {
            writeln!(f, "\nthe first line that moved")?;
            writeln!(f, "  good {good}\n  bad  {bad}")?;
        }
        writeln!(f)?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}

impl DiffLogs {
    pub fn run(&self, store: &Store) -> Result<Report<LogsCompared>> {
        let host = Host::here();
        let read = |name: &str| -> Result<(Trace, Vec<Line>)> {
            let trace = store.find(name)?;
            let lines = Log::of(&host, &trace, &mut say)?.lines;
            Ok((trace, lines))
        };
        let (good, bad) = (read(&self.good)?, read(&self.bad)?);
        let found = compare(&good.1, &bad.1);
        Ok(Report::done(self.compared(&good, &bad, &found)))
    }

    fn compared(&self, good: &(Trace, Vec<Line>), bad: &(Trace, Vec<Line>), found: &Comparison) -> LogsCompared {
        let line = |line: &Line| WrittenLine {
            event: line.event,
            time: (line.time * 1e6).round() / 1e6,
            text: if self.values { line.text.clone() } else { credentials::cut(&line.text).into_owned() },
        };
        let pair = |&(old, new): &(usize, usize)| LinePair { good: line(&good.1[old]), bad: line(&bad.1[new]) };
        let difference = |parting: &Parting| Difference {
            good: parting.good.map(|place| line(&good.1[place])),
            bad: parting.bad.map(|place| line(&bad.1[place])),
        };
        let first = found.partings.first();
        let before = first.map_or_else(Vec::new, |first| {
            let until = |pair: &&(usize, usize)| pair.0 < first.at.0;
            let equal: Vec<_> = found.equal.iter().filter(until).collect();
            equal[equal.len().saturating_sub(self.before)..].iter().map(|place| pair(place)).collect()
        });
        let go = |name: &str, event: u64| format!("rr-patch replay {} --at {event}", quoted(name));
        // Where one run wrote nothing more of its own, the line that it wrote there or last is the moment to look at.
        let near = |lines: &[Line], own: Option<usize>, at: usize| {
            own.or((at < lines.len()).then_some(at))
                .and_then(|place| lines.get(place))
                .or(lines.last())
                .map(|l| l.event)
        };
        let events = match (first, found.moved.first()) {
            (Some(first), _) => [near(&good.1, first.good, first.at.0), near(&bad.1, first.bad, first.at.1)],
            (None, Some(&(old, new))) => [Some(good.1[old].event), Some(bad.1[new].event)],
            (None, None) => [None, None],
        };
        let names = [&self.good, &self.bad];
        let mut next: Vec<String> =
            names.iter().zip(events).filter_map(|(name, event)| Some(go(name, event?))).collect();
        if next.is_empty() {
            next.push(format!("rr-patch explain {}", quoted(&self.bad)));
        }
        LogsCompared {
            good: ComparedTrace { trace: good.0.name.clone(), lines: good.1.len() },
            bad: ComparedTrace { trace: bad.0.name.clone(), lines: bad.1.len() },
            equal: found.equal.len(),
            moved: found.moved.len(),
            only_good: found.only.0,
            only_bad: found.only.1,
            before,
            differences: found.partings.iter().take(LISTED).map(difference).collect(),
            moved_lines: found.moved.iter().take(LISTED).map(pair).collect(),
            next,
        }
    }
}
