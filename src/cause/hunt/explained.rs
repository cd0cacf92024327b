//! Merges kinds of failures of which `explain` names the same line first.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use super::Kind;
use crate::cause::explain::examine;
use crate::doctor::{Host, delve};
use crate::error::Shown;

/// How many kinds are looked into: each takes some seconds.
const KINDS: usize = 8;
/// After this no other trace is opened.
const TIME: Duration = Duration::from_secs(120);

/// The line of a program's own code that `explain` blames first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FirstSuspect {
    /// The class of defect, as `explain` calls it.
    pub kind: String,
    pub function: String,
    pub file: String,
    pub line: u64,
    /// What it did, in a sentence.
    pub why: String,
}

impl FirstSuspect {
    fn is(&self, other: &Self) -> bool {
        (&self.kind, &self.function, &self.file, self.line) == (&other.kind, &other.function, &other.file, other.line)
    }
}

/// Asks `explain` about one trace of each kind, the most frequent kinds first, and merges those with one answer. Says
/// why where it cannot ask.
pub fn explain_kinds(
    host: &Host,
    mut kinds: Vec<Kind>,
    interrupted: &dyn Fn() -> bool,
    say: &mut dyn FnMut(&str),
) -> Vec<Kind> {
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.runs.len()));
    if kinds.is_empty() {
        return kinds;
    }
    if let Err(error) = delve(host) {
        say(&format!("failures are grouped by how they ended and what they said last: {error:#}"));
        return kinds;
    }
    let began = Instant::now();
    for kind in kinds.iter_mut().take(KINDS) {
        if interrupted() || began.elapsed() > TIME {
            break;
        }
        let Some(trace) = kind.kept.first().and_then(|kept| kept.main_trace()) else { continue };
        say(&format!("asking explain about `{}`", trace.path.shown()));
        match examine(host, trace, None, false, &mut |_| {}) {
            Ok(Some(found)) => {
                // Every failing test ends in the main function that Go makes for a test binary.
                let mut suspects = found.suspects.iter().filter(|suspect| !suspect.file.ends_with("_testmain.go"));
                kind.suspect = suspects.next().map(|suspect| FirstSuspect {
                    kind: suspect.kind.to_owned(),
                    function: suspect.function.clone(),
                    file: suspect.file.clone(),
                    line: suspect.line,
                    why: suspect.why.clone(),
                });
            }
            Ok(None) => break,
            Err(error) => say(&format!("`{}` was not explained: {error:#}", trace.path.shown())),
        }
    }
    merged(kinds)
}

/// The kinds, those with the same suspect in one.
fn merged(kinds: Vec<Kind>) -> Vec<Kind> {
    let mut merged: Vec<Kind> = Vec::new();
    for kind in kinds {
        let same = |known: &&mut Kind| match (&known.suspect, &kind.suspect) {
            (Some(known), Some(suspect)) => known.is(suspect),
            _ => false,
        };
        match merged.iter_mut().find(same) {
            Some(known) => {
                known.runs.extend(kind.runs);
                known.runs.sort_unstable();
                known.kept.extend(kind.kept);
            }
            None => merged.push(kind),
        }
    }
    merged.sort_by_key(|kind| std::cmp::Reverse(kind.runs.len()));
    merged
}
