//! By what failing runs are told apart, before anybody looks into a trace: how each ended, and the line that says most.

use std::collections::VecDeque;
use std::path::Path;

use regex::Regex;

use crate::cause::alike::alike;
use crate::cause::credentials;
use crate::cause::explain::is_bad;
use crate::rr::log::{Level, understand};
use crate::rr::record::{Outcome, Stopped};
use crate::sys::process::End;

/// How many of the last lines of a run are looked at.
const LINES: usize = 400;

/// What makes a run a failing one.
#[derive(Clone, Debug)]
pub enum FailOn {
    /// This exit status; 128 and the number of the signal that ended it.
    Code(i32),
    /// A line of its output.
    Line(Regex),
}

impl FailOn {
    /// # Errors
    /// What is neither a status nor a regular expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<u8>() {
            Ok(code) => Ok(Self::Code(code.into())),
            Err(_) => Regex::new(text).map(Self::Line).map_err(|error| error.to_string()),
        }
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Failed,
    Passed,
    /// It ended in a way that was not asked for.
    Other,
}

/// What a run prints, as far as it tells runs apart.
#[derive(Debug, Default)]
pub struct Heard {
    lines: VecDeque<String>,
    /// The first line that Go's runtime ends a program with.
    crash: Option<String>,
    /// The first line that was asked for.
    wanted: Option<String>,
}

/// How a failing run ended, and what it said of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub how: String,
    /// The line as it was written, without what looks like a credential.
    pub line: Option<String>,
    /// The line without what differs each time.
    key: Option<String>,
}

impl Signature {
    /// Whether two runs failed in the same way, as far as this shows.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.how, &self.key) == (&other.how, &other.key)
    }
}

impl Heard {
    pub fn add(&mut self, line: &str, fail_on: &[FailOn]) {
        let wanted = |on: &FailOn| matches!(on, FailOn::Line(pattern) if pattern.is_match(line));
        if self.wanted.is_none() && fail_on.iter().any(wanted) {
            self.wanted = Some(line.to_owned());
        }
        if self.crash.is_none() && understand(line).level == Some(Level::Fatal) {
            self.crash = Some(line.to_owned());
        }
        self.lines.push_back(line.to_owned());
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    /// The last lines, for a run that came to nothing.
    pub fn last(&self, number: usize) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(number)).cloned().collect()
    }

    /// The line that says most about the end: that of Go's runtime, the one that was asked for, the last that a test
    /// reports, the last that tells of an error, the last at all.
    fn telling(&self) -> Option<&str> {
        let last =
            |wanted: &dyn Fn(&str) -> bool| self.lines.iter().rev().map(String::as_str).find(|line| wanted(line));
        let summary = |line: &str| {
            ["FAIL", "ok  \t", "PASS", "exit status ", "--- FAIL: "].iter().any(|start| line.starts_with(start))
        };
        (self.crash.as_deref())
            .or(self.wanted.as_deref())
            .or_else(|| last(&is_report_of_a_test))
            .or_else(|| last(&|line| !summary(line) && is_bad(line)))
            .or_else(|| last(&|line| line.starts_with("--- FAIL: ")))
            .or_else(|| last(&|line| !line.trim().is_empty() && !summary(line)))
    }
}

/// `    queue_test.go:41: lost an item`, indented as package testing does.
fn is_report_of_a_test(line: &str) -> bool {
    let place = line.strip_prefix("    ").and_then(|line| line.trim_start().split_once(": "));
    place.and_then(|(place, _)| place.rsplit_once(':')).is_some_and(|(file, number)| {
        Path::new(file).extension().is_some_and(|ending| ending == "go")
            && !file.contains(' ')
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Judges a run that was not stopped for another reason than its time.
pub fn judge(outcome: &Outcome, heard: &Heard, fail_on: &[FailOn]) -> Verdict {
    if outcome.stopped == Some(Stopped::TimedOut) {
        return Verdict::Failed;
    }
    let code = match outcome.end {
        End::Code(code) => code,
        End::Signal(number) => 128 + number,
    };
    let asked = |on: &FailOn| matches!(on, FailOn::Code(wanted) if *wanted == code);
    match (fail_on.is_empty(), outcome.end.success()) {
        (true, true) => Verdict::Passed,
        (true, false) => Verdict::Failed,
        _ if heard.wanted.is_some() || fail_on.iter().any(asked) => Verdict::Failed,
        (false, true) => Verdict::Passed,
        (false, false) => Verdict::Other,
    }
}

/// The signature of a failing run.
pub fn signature(outcome: &Outcome, heard: &Heard, limit: Option<&str>) -> Signature {
    // A program that hangs may be anywhere: its last line says little, and goroutines say more.
    let hangs = outcome.stopped == Some(Stopped::TimedOut);
    let line = heard.telling().filter(|_| !hangs).map(|line| line.trim().to_owned());
    let how = match limit {
        Some(limit) if hangs => format!("no end after {limit}"),
        _ => outcome.end.to_string(),
    };
    let key = line.as_deref().map(alike);
    Signature { how, key, line: line.map(|line| credentials::cut(&line).into_owned()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn heard(lines: &[&str], fail_on: &[FailOn]) -> Heard {
        let mut heard = Heard::default();
        lines.iter().for_each(|line| heard.add(line, fail_on));
        heard
    }

    fn outcome(end: End, stopped: Option<Stopped>) -> Outcome {
        Outcome { end, asked: 0, stopped, traces: Vec::new(), lost: false, took: Duration::ZERO }
    }

    fn line(lines: &[&str]) -> Option<String> {
        signature(&outcome(End::Code(1), None), &heard(lines, &[]), None).line
    }

    #[test]
    fn the_line_that_says_most_is_that_of_the_runtime_of_a_test_or_of_an_error() {
        let of = |lines: &[&str]| line(lines).unwrap_or_default();
        assert_eq!(of(&["begin", "panic: x", "", "goroutine 1 [running]:", "exit status 2"]), "panic: x");
        let test =
            ["=== RUN   TestX", "--- FAIL: TestX (0.01s)", "    x_test.go:41: lost an item", "FAIL", "exit status 1"];
        assert_eq!(of(&test), "x_test.go:41: lost an item");
        assert_eq!(of(&["error: no room", "bye"]), "error: no room");
        assert_eq!(of(&["--- FAIL: TestX (0.01s)", "FAIL"]), "--- FAIL: TestX (0.01s)");
        assert_eq!(of(&["one", "two", ""]), "two");
        assert_eq!(line(&[]), None);
    }

    #[test]
    fn a_line_is_shown_without_what_looks_like_a_credential() {
        assert_eq!(
            line(&["error: login with password=hunter2 failed"]).unwrap(),
            "error: login with password=[cut] failed"
        );
    }

    #[test]
    fn runs_that_differ_in_times_and_addresses_only_failed_in_the_same_way() {
        let of = |text: &str| signature(&outcome(End::Code(2), None), &heard(&[text], &[]), None);
        assert!(of("panic: at 0xc000012").is_like(&of("panic: at 0xc000099")));
        assert!(!of("panic: a").is_like(&of("panic: b")));
    }

    #[test]
    fn a_run_fails_by_its_status_unless_a_status_or_a_line_is_asked_for() {
        let judged = |end, lines: &[&str], on: &[&str]| {
            let on: Vec<FailOn> = on.iter().map(|text| FailOn::parse(text).unwrap()).collect();
            judge(&outcome(end, None), &heard(lines, &on), &on)
        };
        assert_eq!(judged(End::Code(1), &[], &[]), Verdict::Failed);
        assert_eq!(judged(End::Code(0), &["lost 1"], &[]), Verdict::Passed);
        assert_eq!(judged(End::Code(0), &["lost 1"], &["lost [0-9]"]), Verdict::Failed);
        assert_eq!(judged(End::Code(1), &[], &["2"]), Verdict::Other);
        assert_eq!(judged(End::Signal(6), &[], &["134", "lost"]), Verdict::Failed);
    }

    #[test]
    fn a_run_that_does_not_end_fails_whatever_it_prints() {
        let stopped = outcome(End::Signal(15), Some(Stopped::TimedOut));
        assert_eq!(judge(&stopped, &heard(&["error: x"], &[]), &[FailOn::Code(3)]), Verdict::Failed);
        let signature = signature(&stopped, &heard(&["error: x"], &[]), Some("5.0 s"));
        assert_eq!((signature.how.as_str(), signature.line), ("no end after 5.0 s", None));
    }
}
