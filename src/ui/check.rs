//! Which revisions of a repository can be patched.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::document::{Document, Report};
use super::manners::{Mark, Meaning, begins_or_common};
use crate::error::{Error, plain};
use crate::patch::checkout::Revision;
use crate::words::count;

/// What became of a set of sources.
pub enum Outcome {
    Fits {
        shape: String,
    },
    Refused {
        why: String,
        details: Vec<String>,
        hints: Vec<String>,
    },
    /// A revision from before there was anything to patch.
    Nothing {
        why: &'static str,
    },
}

impl Outcome {
    pub fn refused(error: &anyhow::Error) -> Self {
        let (details, hints) = error
            .downcast_ref::<Error>()
            .map(|known| (known.details().to_vec(), known.hints().to_vec()))
            .unwrap_or_default();
        Self::Refused { why: error.to_string(), details, hints }
    }
}

/// Which revisions can be patched.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Checked {
    revisions: Vec<Row>,
    /// How many sets of sources they have: many revisions share theirs.
    sets: usize,
    /// How many of the revisions can be patched.
    ok: usize,
    /// How many cannot, those with nothing to patch that were asked for by name among them.
    failed: usize,
    /// How many have nothing to patch: they are from before the installer had such controllers.
    without: usize,
    /// Where each refused set of sources was met first: a revision.
    #[serde(skip)]
    refused: Vec<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    revision: String,
    commit: String,
    /// When it was committed: `2026-06-24`, in UTC.
    date: String,
    /// How its sources look, in the rules' words; empty where they cannot be patched.
    shape: String,
    ok: bool,
    /// `ok`, or why not.
    outcome: String,
    details: Vec<String>,
    hints: Vec<String>,
    /// Whether there is nothing to patch in it.
    #[serde(skip)]
    nothing: bool,
}

impl Document for Checked {
    const SCHEMA: &'static str = "rr-patch/check/1";

    fn marks(&self, line: &str) -> Vec<Mark> {
        let shown = |row: &&Row| line.strip_prefix(row.revision.as_str()).is_some_and(|rest| rest.starts_with("  "));
        if line == "revision" || line.starts_with("revision  ") {
            return vec![(0..line.len(), Meaning::Head)];
        }
        match self.revisions.iter().find(shown) {
            Some(row) => {
                let meaning = match (row.ok, row.nothing) {
                    (true, _) => Meaning::Good,
                    (false, true) => Meaning::Faint,
                    (false, false) => Meaning::Bad,
                };
                vec![(line.len() - row.outcome.len().min(line.len())..line.len(), meaning)]
            }
            None => begins_or_common(line, &[("hint:", Meaning::Command)]),
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.revisions.iter().map(|row| row.revision.chars().count()).max().unwrap_or_default().max(8);
        // The outcome needs room: on a narrow terminal the date goes, then the shape.
        let room = f.width().unwrap_or(usize::MAX).saturating_sub(width + 2);
        let (date_too, shape_too) = (room >= 10 + 2 + 5 + 2 + 20, room >= 5 + 2 + 20);
        let line = |revision: &str, date: &str, shape: &str, outcome: &str| {
            let date = if date_too { format!("  {date:10}") } else { String::new() };
            let shape = if shape_too { format!("  {shape:5}") } else { String::new() };
            format!("{revision:width$}{date}{shape}  {outcome}")
        };
        let outcome = if room >= "outcome".len() { "outcome" } else { "" };
        writeln!(f, "{}", line("revision", "date", "shape", outcome).trim_end())?;
        for Row { revision, date, shape, outcome, .. } in &self.revisions {
            writeln!(f, "{}", line(revision, date, shape, outcome))?;
        }
        for Row { revision, outcome, details, hints, .. } in self.refused.iter().map(|&row| &self.revisions[row]) {
            writeln!(f, "\n{revision}: {outcome}")?;
            for line in details.iter().flat_map(|detail| detail.lines()) {
                writeln!(f, "  {}", plain(line))?;
            }
            hints.iter().try_for_each(|hint| writeln!(f, "  hint: {}", plain(hint)))?;
        }
        let Self { ok, failed, without, .. } = self;
        let (revisions, sets) = (count(self.revisions.len(), "revision"), count(self.sets, "set"));
        writeln!(f, "\n{revisions}, {sets} of sources: {ok} ok, {failed} failed, {without} with nothing to patch")
    }
}

/// `set_of` says which of the sets of sources each revision has; `named` are the revisions that were asked for by name.
pub fn report(revisions: &[Revision], set_of: &[usize], outcomes: &[Outcome], named: &[String]) -> Report<Checked> {
    let mut all = Checked { sets: outcomes.len(), ..Checked::default() };
    let mut refused = BTreeMap::new();
    for (number, (revision, &set)) in revisions.iter().zip(set_of).enumerate() {
        let Revision { name, commit, time } = revision;
        let date = Timestamp::from_second(*time).map_or_else(|_| "?".into(), |at| at.strftime("%Y-%m-%d").to_string());
        let (shape, outcome, details, hints) = match &outcomes[set] {
            Outcome::Fits { shape } => {
                all.ok += 1;
                (shape.as_str(), "ok", &[][..], &[][..])
            }
            Outcome::Refused { why, details, hints } => {
                all.failed += 1;
                refused.entry(set).or_insert(number);
                ("", why.as_str(), details.as_slice(), hints.as_slice())
            }
            Outcome::Nothing { why } => {
                all.without += 1;
                // Asked for by name, it is a failure; a branch from before 2023-11 is none.
                all.failed += usize::from(named.contains(name));
                ("", *why, &[][..], &[][..])
            }
        };
        all.revisions.push(Row {
            revision: name.clone(),
            commit: commit.clone(),
            date,
            shape: shape.into(),
            ok: outcome == "ok",
            outcome: outcome.into(),
            nothing: matches!(outcomes[set], Outcome::Nothing { .. }),
            details: details.to_vec(),
            hints: hints.to_vec(),
        });
    }
    all.refused = refused.into_values().collect();
    let in_order = all.failed == 0;
    Report::in_order(all, in_order)
}
