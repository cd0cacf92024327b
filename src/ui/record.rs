//! What an installer recorded.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::{Document, Report};
use super::table::Table;
use super::trace::shown_length;
use crate::builder::CORE;
use crate::error::{Exit, Shown, plain_name};
use crate::rr::record::{Outcome, Stopped};
use crate::rr::trace::{self, State, Store};
use crate::words::{bytes, count, quoted, seconds};

/// What an installer recorded.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recorded {
    installer: String,
    /// How it ended.
    end: String,
    seconds: f64,
    /// How often rr-patch was asked to stop it.
    asked_to_stop: usize,
    /// Set where it was stopped because the disk was almost full: what was free then.
    stopped_with_bytes_free: Option<u64>,
    /// Where the traces are.
    folder: String,
    /// Those of this run.
    traces: Vec<Trace>,
    /// What to type next; nothing where no trace can be replayed.
    next: Option<String>,
    #[serde(skip)]
    asked: bool,
    /// A recorder had to be killed.
    #[serde(skip)]
    lost: bool,
    /// Why there may be no traces, where the checkout is known.
    #[serde(skip)]
    why_none: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Trace {
    controller: String,
    /// Its path below the folder.
    #[serde(rename = "trace")]
    name: String,
    path: String,
    state: State,
    /// In bytes.
    size: u64,
    /// How its recorder ended, where that was seen.
    exit: Option<String>,
    #[serde(skip)]
    length: String,
}

impl Trace {
    fn of(trace: &trace::Trace) -> Self {
        Self {
            controller: trace.controller().to_owned(),
            name: trace.name.clone(),
            path: trace.path.in_json(),
            state: trace.state,
            size: trace.size,
            exit: trace.sidecar.as_ref().and_then(|sidecar| sidecar.exit.clone()),
            length: shown_length(trace),
        }
    }

    fn row(&self) -> [String; 6] {
        [
            plain_name(&self.controller),
            self.state.word().to_owned(),
            self.exit.clone().unwrap_or_else(|| "not known".into()),
            self.length.clone(),
            bytes(self.size),
            plain_name(&self.name),
        ]
    }
}

impl Recorded {
    /// `own` is rr's own store, where the traces may be found by their names.
    pub fn new(installer: &Path, own: Option<&Store>, store: &Store, outcome: &Outcome) -> Report<Self> {
        let Outcome { end, asked, stopped, traces, lost, took } = outcome;
        let complete = traces.iter().filter(|trace| trace.state == State::Complete);
        let recorded = Self {
            installer: installer.in_json(),
            end: end.to_string(),
            seconds: took.as_secs_f64(),
            asked_to_stop: *asked,
            stopped_with_bytes_free: match stopped {
                Some(Stopped::NoRoom(free)) => Some(*free),
                Some(Stopped::Asked | Stopped::TimedOut | Stopped::TooLarge) | None => None,
            },
            folder: store.root().in_json(),
            traces: traces.iter().map(Trace::of).collect(),
            // The core controller has little to say about a platform.
            next: complete.clone().min_by_key(|trace| trace.controller() == CORE).map(|trace| next(trace, own)),
            asked: *stopped == Some(Stopped::Asked),
            lost: *lost,
            why_none: "",
        };
        let exit = match stopped {
            // Ctrl-C that cost a trace is not the end that was asked for.
            _ if complete.count() < traces.len() => Exit::Found,
            Some(Stopped::NoRoom(_)) => Exit::Found,
            Some(Stopped::Asked) if !end.success() => Exit::Interrupted,
            _ if !end.success() || traces.is_empty() => Exit::Found,
            _ => Exit::Done,
        };
        Report { result: recorded, exit }
    }

    /// With what may be the reason that there are no traces.
    pub fn because(self, why_none: &'static str) -> Self {
        Self { why_none, ..self }
    }
}

/// What opens a trace: by its name in rr's own folder, or with the folder that was given.
fn next(trace: &trace::Trace, own: Option<&Store>) -> String {
    let below = own.and_then(|own| trace.path.strip_prefix(own.root()).ok());
    format!("rr-patch replay {}", quoted(&below.unwrap_or(&trace.path).to_string_lossy()))
}

impl Document for Recorded {
    const SCHEMA: &'static str = "rr-patch/record/1";
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.traces.is_empty() {
            let rows: Vec<_> = self.traces.iter().map(Trace::row).collect();
            let head = ["controller", "state", "exit", "length", "size", "trace"];
            // The trace's path is last: it is what is broken off a terminal's line, if anything is.
            let table = Table { head, rows: &rows, right: &[3, 4], spared: &[4, 3, 2] };
            writeln!(f, "{}", table.within(f.width()))?;
        }
        let how = match self.stopped_with_bytes_free {
            Some(_) => ", stopped because the disk was almost full,",
            None if self.asked => ", as it was asked to,",
            None => "",
        };
        let took = seconds(Duration::from_secs_f64(self.seconds));
        writeln!(f, "the installer ended{how} with {} after {took}", self.end)?;
        let complete = self.traces.iter().filter(|trace| trace.state == State::Complete).count();
        let (traces, folder) = (count(self.traces.len(), "trace"), plain_name(&self.folder));
        match self.traces.len() {
            0 => writeln!(f, "nothing was recorded: what the installer printed says whether it came to that")?,
            all if all == complete => writeln!(f, "{traces} in `{folder}`, complete")?,
            _ => {
                let lost = if self.lost { ": a recorder did not close its trace and had to be killed" } else { "" };
                writeln!(f, "{traces} in `{folder}`, of which {complete} can be replayed{lost}")?;
            }
        }
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))?;
        f.write_str(self.why_none)
    }
}
