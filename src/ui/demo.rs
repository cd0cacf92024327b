//! What the demo came to.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use crate::error::{Shown, plain_name};
use crate::rr::trace::Trace;

/// What the demo came to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Demonstrated {
    recorder: Recorder,
    /// The recorder's command line, where it was not the default one.
    command_line: Option<String>,
    /// The traces' names.
    traces: Vec<String>,
    /// Whether Delve stopped at the breakpoint.
    replayed: bool,
    /// What `--keep` left.
    folder: Option<String>,
    /// What to type next.
    next: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Recorder {
    Rr,
    /// Nothing was recorded.
    StandIn,
}

/// What to type on a checkout of one's own.
const ON_YOUR_OWN: [&str; 5] = [
    "rr-patch apply PATH",
    "rr-patch build PATH",
    "rr-patch record PATH -- create cluster",
    "rr-patch replay",
    "rr-patch revert PATH",
];

impl Demonstrated {
    /// `kept` is the folder that stays.
    pub fn new(
        recorder: Recorder,
        command_line: Option<String>,
        traces: &[Trace],
        replayed: bool,
        kept: Option<&Path>,
    ) -> Self {
        let next = match (kept, traces.first()) {
            (Some(_), Some(trace)) if recorder == Recorder::Rr => {
                vec![format!("rr-patch replay {}", trace.path.shown())]
            }
            (Some(_), _) => Vec::new(),
            (None, _) => ON_YOUR_OWN.map(str::to_owned).into(),
        };
        Self {
            recorder,
            command_line,
            traces: traces.iter().map(|trace| trace.name.clone()).collect(),
            replayed,
            folder: kept.map(Path::in_json),
            next,
        }
    }
}

impl Document for Demonstrated {
    const SCHEMA: &'static str = "rr-patch/demo/1";
}

impl fmt::Display for Demonstrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let came_to = match (self.recorder, self.replayed) {
            (Recorder::StandIn, _) => "shown with a stand-in: nothing was recorded, and nothing replayed",
            (Recorder::Rr, false) => "recorded, and not replayed",
            (Recorder::Rr, true) => "recorded, and replayed to a breakpoint and back",
        };
        writeln!(f, "\n{came_to}")?;
        let commands: Vec<String> = self.next.iter().map(|next| format!("`{next}`")).collect();
        match &self.folder {
            Some(folder) => {
                writeln!(f, "kept: {}", plain_name(folder))?;
                commands.iter().try_for_each(|command| writeln!(f, "next: {command}"))
            }
            None => writeln!(f, "on your own checkout: {}", commands.join(", ")),
        }
    }
}
