//! Whether a machine can record and replay.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::{Document, Report};
use super::manners::{Mark, Meaning, begins_or_common};
use crate::doctor::{Concerns, Finding, Level, SMOKE_TEST};
use crate::words::count;

/// Whether a machine can record and replay.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Examined {
    /// Whether it can do both.
    ready: bool,
    records: bool,
    replays: bool,
    findings: Vec<Finding>,
    /// The commands that `--fix` ran.
    ran: Vec<Ran>,
    /// What to type next.
    next: Vec<String>,
    /// What stands last.
    #[serde(skip)]
    last: &'static str,
}

/// A command that was run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran {
    pub command: String,
    /// How it ended.
    pub end: String,
}

impl Examined {
    /// With the commands that were run before the last look.
    pub fn new(findings: Vec<Finding>, ran: Vec<Ran>) -> Report<Self> {
        // Where even the smoke test could not be made, nothing shows that it works.
        let proven = findings.iter().all(|finding| finding.what != SMOKE_TEST || finding.level != Level::Skipped);
        let free_of = |concerned: fn(Concerns) -> bool| {
            !findings.iter().any(|finding| finding.level == Level::Trouble && concerned(finding.concerns))
        };
        let (records, replays) = (proven && free_of(Concerns::recording), proven && free_of(Concerns::replaying));
        let ready = records && replays;
        Report::in_order(Self { ready, records, replays, findings, ran, next: Vec::new(), last: "" }, ready)
    }

    /// Says that `doctor --fix` runs the commands.
    pub fn with_fix(self) -> Self {
        let last = "`rr-patch doctor --fix` runs the commands marked with $\n";
        Self { next: vec!["rr-patch doctor --fix".into()], last, ..self }
    }

    /// Says that `--fix` has nothing to run.
    pub fn nothing_to_fix(self) -> Self {
        Self { last: "there is nothing here that a command mends\n", ..self }
    }

    fn number(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

impl Document for Examined {
    const SCHEMA: &'static str = "rr-patch/doctor/1";

    fn marks(&self, line: &str) -> Vec<Mark> {
        let words = [
            ("ok ", Meaning::Good),
            ("warning ", Meaning::Doubtful),
            ("NOT OK ", Meaning::Bad),
            ("skipped ", Meaning::Faint),
            ("looked at: ", Meaning::Faint),
            ("ready to ", Meaning::Doubtful),
            ("ready", Meaning::Good),
            ("not shown to be ready", Meaning::Doubtful),
            ("not ready", Meaning::Bad),
        ];
        begins_or_common(line, &words)
    }
}

impl fmt::Display for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or_default();
        let mut advised: Vec<&str> = Vec::new();
        for Finding { what, looked, needed, found, level, fix, advice, .. } in &self.findings {
            let word = match level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Trouble => "NOT OK",
                Level::Skipped => "skipped",
            };
            let needs = if needed.is_empty() { String::new() } else { format!(" (needs {needed})") };
            writeln!(f, "{word:7}  {what:width$}  {found}{needs}")?;
            if *level == Level::Ok {
                continue;
            }
            writeln!(f, "{:9}looked at: {looked}", "")?;
            // Two findings can ask for the same; it is said once.
            for line in advice.iter().filter(|line| !advised.contains(&line.as_str())) {
                writeln!(f, "{:9}{line}", "")?;
            }
            advised.extend(advice.iter().map(String::as_str));
            fix.iter().try_for_each(|command| writeln!(f, "{:9}$ {command}", ""))?;
        }
        let (trouble, skipped) = (self.number(Level::Trouble), self.number(Level::Skipped));
        let word = match (self.records, self.replays, trouble, skipped) {
            (true, true, _, 0) => "ready",
            (true, true, ..) => "ready, as far as could be looked at",
            (false, false, 0, _) => "not shown to be ready",
            (true, false, ..) => "ready to record, and not to replay",
            (false, true, ..) => "ready to replay, and not to record",
            (false, false, ..) => "not ready",
        };
        write!(f, "\n{word}: {}", count(self.findings.len(), "check"))?;
        for (number, what) in
            [(trouble, "not ok"), (self.number(Level::Warning), "with a warning"), (skipped, "skipped")]
        {
            if number > 0 {
                write!(f, ", {number} {what}")?;
            }
        }
        write!(f, "\n{}", self.last)
    }
}
