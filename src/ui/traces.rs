//! The traces of a store, and those that were removed.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::{Document, Report};
use super::manners::{Mark, Meaning, cell, common};
use super::table::Table;
use super::trace::{HEAD, NUMBERS, SPARED, STATES, Summary};
use crate::error::{Shown, plain_name};
use crate::rr::trace::{Listing, State, Store, Trace};
use crate::words::{bytes, count};

/// The traces of a store.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Traces {
    /// The store's folder.
    root: String,
    /// The newest first.
    #[serde(rename = "traces")]
    all: Vec<Summary>,
    unreadable: Vec<Unreadable>,
}

/// A folder that could not be read.
#[derive(Debug, Serialize, JsonSchema)]
struct Unreadable {
    path: String,
    why: String,
}

impl Traces {
    pub fn of(store: &Store, listing: &Listing) -> Self {
        let unreadable =
            |(path, why): &(std::path::PathBuf, String)| Unreadable { path: path.in_json(), why: why.clone() };
        Self {
            root: store.root().in_json(),
            all: listing.traces.iter().map(Summary::of).collect(),
            unreadable: listing.unreadable.iter().map(unreadable).collect(),
        }
    }
}

impl Document for Traces {
    const SCHEMA: &'static str = "rr-patch/traces/1";

    fn marks(&self, line: &str) -> Vec<Mark> {
        row_marks(line)
    }
}

/// What a row of traces, or another line, means.
fn row_marks(line: &str) -> Vec<Mark> {
    match cell(line, &STATES) {
        Some(state) => vec![state],
        None if line.starts_with(HEAD[0]) => vec![(0..line.len(), Meaning::Head)],
        None => common(line),
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = plain_name(&self.root);
        if self.all.is_empty() {
            writeln!(f, "no traces in `{root}`")?;
        } else {
            f.write_str(&rows(&self.all, f.width()))?;
            let mut states: BTreeMap<State, usize> = BTreeMap::new();
            self.all.iter().for_each(|trace| *states.entry(trace.state()).or_default() += 1);
            let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {}", state.word())).collect();
            let size = bytes(self.all.iter().map(Summary::bytes).sum());
            writeln!(f, "\n{}, {size}, in `{root}`: {}", count(self.all.len(), "trace"), states.join(", "))?;
        }
        self.unreadable.iter().try_for_each(|Unreadable { path, why }| {
            writeln!(f, "cannot be read: `{}`: {}", plain_name(path), plain_name(why))
        })
    }
}

fn rows(traces: &[Summary], columns: Option<usize>) -> String {
    let rows: Vec<_> = traces.iter().map(Summary::row).collect();
    Table { head: HEAD, rows: &rows, right: &NUMBERS, spared: &SPARED }.within(columns)
}

/// The traces that are to be removed, and what became of them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pruned {
    /// The store's folder.
    root: String,
    /// What was to be removed.
    chosen: Vec<Summary>,
    /// The names of those that are gone.
    removed: Vec<String>,
    failed: Vec<Failed>,
    /// What that freed, or would free.
    freed_bytes: u64,
    dry_run: bool,
    /// The names of those that are still being recorded, and were left alone.
    live: Vec<String>,
}

/// A trace that could not be removed.
#[derive(Debug, Serialize, JsonSchema)]
struct Failed {
    name: String,
    why: String,
}

impl Pruned {
    /// Before anything was removed: what would be.
    pub fn chosen(store: &Store, chosen: &[Trace], live: &[Trace]) -> Self {
        Self {
            root: store.root().in_json(),
            chosen: chosen.iter().map(Summary::of).collect(),
            removed: Vec::new(),
            failed: Vec::new(),
            freed_bytes: chosen.iter().map(|trace| trace.own).sum(),
            dry_run: true,
            live: live.iter().map(|trace| trace.name.clone()).collect(),
        }
    }

    /// What is to be removed, before the question.
    pub fn about(&self, columns: Option<usize>) -> String {
        let mut text = match self.chosen.is_empty() {
            true => format!("nothing to remove in `{}`\n", plain_name(&self.root)),
            false => rows(&self.chosen, columns),
        };
        if !self.live.is_empty() {
            text.push_str(&format!("left alone, since rr is at them: {}\n", self.live.join(", ")));
        }
        text
    }

    /// `2 traces, 1.5 GiB`.
    pub fn amount(&self) -> String {
        let number = if self.dry_run { self.chosen.len() } else { self.removed.len() };
        format!("{}, {}", count(number, "trace"), bytes(self.freed_bytes))
    }

    /// With what became of each trace that was chosen: its name, and the bytes that were freed.
    pub fn removed(self, ends: Vec<(String, anyhow::Result<u64>)>) -> Report<Self> {
        let (mut removed, mut failed, mut freed_bytes) = (Vec::new(), Vec::new(), 0);
        for (name, end) in ends {
            match end {
                Ok(bytes) => {
                    removed.push(name);
                    freed_bytes += bytes;
                }
                Err(error) => failed.push(Failed { name, why: format!("{error:#}") }),
            }
        }
        let all = failed.is_empty();
        Report::in_order(Self { removed, failed, freed_bytes, dry_run: false, ..self }, all)
    }
}

impl Document for Pruned {
    const SCHEMA: &'static str = "rr-patch/traces-prune/1";

    fn marks(&self, line: &str) -> Vec<Mark> {
        row_marks(line)
    }
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.about(f.width()))?;
        self.failed.iter().try_for_each(|Failed { name, why }| writeln!(f, "{}: {why}", plain_name(name)))?;
        match (self.chosen.is_empty(), self.dry_run) {
            (true, _) => Ok(()),
            (false, true) => writeln!(f, "\nwould remove {}", self.amount()),
            (false, false) => writeln!(f, "\nremoved {}", self.amount()),
        }
    }
}
