//! What a recorded program wrote, line by line, each with the event that began it.
//!
//! `rr replay -M -a` replays a trace without a debugger and puts `[rr PID EVENT]` before each write to standard output
//! and to standard error. One write may hold several lines, or part of one; Go's runtime writes a word at a time. The
//! lines are kept in the trace's folder, so that rr replays it for them only once.
//!
//! Weak spot: a program that prints `[rr PID EVENT]` itself, with the number of a later write of its own, splits its
//! line there.

mod forms;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::doctor::{Host, recorder};
use crate::error::{Error, Shown};
use crate::rr::replay::counters;
use crate::rr::trace::{Timeline, Trace};
use crate::sys::process::{Child, Environment, Stream, for_child};

pub use forms::{Form, Level, Output, understand, unwrapped, without_colours};

/// The file beside the trace's own. rr leaves files alone that it does not know.
const INDEX: &str = "rr-patch-log.jsonl";

const SCHEMA: &str = "rr-patch/log-index/1";

/// What rr writes before a write.
const MARK: &[u8] = b"[rr ";

/// Which trace an index was made of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    schema: String,
    /// rr's own name for the trace.
    uuid: String,
    /// The size of its stream `events`: a trace that was packed and unpacked has another one.
    events: u64,
    /// How many lines follow.
    lines: usize,
}

/// One line that a recorded program wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The event of the write that began it.
    pub event: u64,
    /// When that was, in seconds since the recording began.
    pub time: f64,
    /// The process that wrote it.
    pub pid: i32,
    /// Where to.
    pub stream: Stream,
    /// The line without its end; what is not UTF-8 is replaced by U+FFFD.
    pub text: String,
}

/// The lines of a trace.
#[derive(Debug)]
pub struct Log {
    pub lines: Vec<Line>,
    /// Why the lines could not be kept beside the trace.
    pub not_kept: Option<String>,
}

impl Log {
    /// Reads the index, or makes it.
    ///
    /// # Errors
    /// A trace that is not complete; no rr that can replay it; an rr that fails at it.
    pub fn of(host: &Host, trace: &Trace, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let check = trace.check();
        if !check.obstacles.is_empty() {
            let error = Error::failed(format!("what `{}` wrote cannot be read", trace.name)).detail(format!(
                "looked at: `{}`, which is {}",
                trace.path.shown(),
                trace.state.word()
            ));
            let error = check.obstacles.into_iter().fold(error, Error::detail);
            return Err(error.hint("`rr-patch traces` lists the others").into());
        }
        let events = fs::metadata(trace.path.join("events")).map_or(0, |seen| seen.len());
        let mut head = Head { schema: SCHEMA.into(), uuid: trace.header()?.uuid, events, lines: 0 };
        if let Some(lines) = kept(&trace.path, &head) {
            return Ok(Self { lines, not_kept: None });
        }
        say(&format!("replaying `{}` once for what it wrote", trace.name));
        let lines = replayed(host, trace)?;
        head.lines = lines.len();
        let not_kept = keep(&trace.path, &head, &lines).err().map(|error| format!("{error:#}"));
        Ok(Self { lines, not_kept })
    }

    /// The last line that Go's runtime itself wrote and that begins with one of these: it writes them a word at a time,
    /// so that they are no line of a logger. What ends a program stands among its last lines.
    pub fn said_by_runtime(&self, starts: &[&str]) -> Option<&Line> {
        let said = |line: &&Line| {
            starts.iter().any(|start| line.text.starts_with(start)) && understand(&line.text).form == Form::Runtime
        };
        self.lines.iter().rev().take(4000).find(said)
    }

    /// The lines that hold a text, which may have been copied from the installer's own log.
    pub fn with_text(&self, text: &str) -> Vec<&Line> {
        let find = |text: &str| {
            let colourless = without_colours(text);
            let of = |line: &&Line| line.text.contains(text) || without_colours(&line.text).contains(&*colourless);
            self.lines.iter().filter(of).collect::<Vec<_>>()
        };
        let found = find(text);
        match unwrapped(text) {
            Some(inner) if found.is_empty() => find(inner.trim_end()),
            _ => found,
        }
    }

    /// The last line that was begun before an event.
    pub fn before(&self, event: u64) -> Option<&Line> {
        self.lines[..self.lines.partition_point(|line| line.event < event)].last()
    }
}

/// The lines of an index, if it is of this trace and whole.
fn kept(trace: &Path, expected: &Head) -> Option<Vec<Line>> {
    let mut file = BufReader::new(File::open(trace.join(INDEX)).ok()?);
    let mut line = String::new();
    file.read_line(&mut line).ok()?;
    let head: Head = serde_json::from_str(&line).ok()?;
    if (&head.schema, &head.uuid, head.events) != (&expected.schema, &expected.uuid, expected.events) {
        return None;
    }
    let lines: Vec<Line> = file.lines().map(|line| serde_json::from_str(&line.ok()?).ok()).collect::<Option<_>>()?;
    (lines.len() == head.lines).then_some(lines)
}

/// Writes the index, for nobody else to read: log lines may hold what nobody else should see.
fn keep(trace: &Path, head: &Head, lines: &[Line]) -> Result<()> {
    let path = trace.join(INDEX);
    let failed = || format!("cannot write `{}`", path.shown());
    let fresh = tempfile::Builder::new().prefix(".rr-patch-").tempfile_in(trace).with_context(failed)?;
    let mut to = BufWriter::new(fresh.as_file());
    let mut put = |value: serde_json::Result<Vec<u8>>| -> Result<()> {
        to.write_all(&value.with_context(failed)?).with_context(failed)?;
        to.write_all(b"\n").with_context(failed)
    };
    put(serde_json::to_vec(head))?;
    lines.iter().try_for_each(|line| put(serde_json::to_vec(line)))?;
    to.flush().with_context(failed)?;
    drop(to);
    fresh.persist(&path).map(|_| ()).with_context(failed)
}

/// Has rr replay the trace, and reads its events meanwhile.
fn replayed(host: &Host, trace: &Trace) -> Result<Vec<Line>> {
    let rr = recorder(host, None)?;
    let mut arguments: Vec<String> = counters(trace, &rr)?.into_iter().map(str::to_owned).collect();
    arguments.splice(0..0, ["replay".to_owned()]);
    arguments.extend(["-M", "-a"].map(str::to_owned));
    arguments.push(for_child(&trace.path)?.to_owned());
    let folder: PathBuf = "/".into();
    let none = Environment::new();
    let child = Child { program: for_child(&rr.path)?, arguments: &arguments, folder: &folder, environment: &none };
    let mut streams: BTreeMap<Stream, Marked> = BTreeMap::new();
    let (timeline, ended) = std::thread::scope(|scope| {
        let timeline = scope.spawn(|| trace.timeline());
        let ended = child.stream_both(|stream, bytes| {
            streams.entry(stream).or_default().add(bytes);
            Ok(())
        });
        let timeline = timeline.join().unwrap_or_else(|_| Err(Error::failed("reading the events failed").into()));
        (timeline, ended)
    });
    let (timeline, (end, signal)) = (timeline?, ended?);
    if let Some(number) = signal {
        return Err(Error::interrupted(format!("interrupted by signal {number}: nothing was kept")).into());
    }
    let marked: Vec<(Stream, Writes)> =
        streams.into_iter().map(|(stream, marked)| (stream, marked.finish(timeline))).collect();
    if !end.success() {
        let said: Vec<String> =
            marked.iter().flat_map(|(_, writes)| writes.unmarked.lines().map(str::to_owned)).collect();
        let last = said[said.len().saturating_sub(8)..].join("\n");
        return Err(Error::failed(format!("rr could not replay `{}`", trace.name))
            .detail(format!("`{} {}` ended with {end}", rr.path.shown(), arguments.join(" ")))
            .detail(if last.is_empty() { "it said nothing".into() } else { last })
            .hint("`rr-patch doctor` looks at what a replay needs")
            .into());
    }
    let mut lines: Vec<Line> = Vec::new();
    for (stream, writes) in marked {
        lines.extend(writes.lines.into_iter().map(|(event, pid, text)| Line {
            event,
            time: timeline.seconds(event),
            pid,
            stream,
            text: String::from_utf8_lossy(&text).into_owned(),
        }));
    }
    lines.sort_by_key(|line| line.event);
    Ok(lines)
}

/// One of rr's output streams, as it comes.
#[derive(Debug, Default)]
struct Marked {
    bytes: Vec<u8>,
}

/// What was in it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Writes {
    /// Event, process and text of each line.
    lines: Vec<(u64, i32, Vec<u8>)>,
    /// What rr itself said before the first write.
    unmarked: String,
}

impl Marked {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn finish(self, timeline: &Timeline) -> Writes {
        split(&self.bytes, &|event| timeline.is_write(event))
    }
}

/// Splits marked writes into lines. A mark counts where its event is a write, and later than that of the mark before.
fn split(bytes: &[u8], is_write: &dyn Fn(u64) -> bool) -> Writes {
    let mut writes = Writes::default();
    let mut open: BTreeMap<i32, (u64, Vec<u8>)> = BTreeMap::new();
    let (mut event, mut pid, mut begin) = (0, 0, 0);
    let mut add = |writes: &mut Writes, event: u64, pid: i32, mut text: &[u8]| {
        if event == 0 {
            writes.unmarked.push_str(&String::from_utf8_lossy(text));
            return;
        }
        while let Some(end) = memchr::memchr(b'\n', text) {
            let (event, mut line) = open.remove(&pid).unwrap_or((event, Vec::new()));
            line.extend_from_slice(&text[..end]);
            line.pop_if(|last| *last == b'\r');
            writes.lines.push((event, pid, line));
            text = &text[end + 1..];
        }
        if !text.is_empty() {
            open.entry(pid).or_insert((event, Vec::new())).1.extend_from_slice(text);
        }
    };
    for at in memmem::find_iter(bytes, MARK) {
        let Some((next_pid, next, length)) = mark(&bytes[at..]) else { continue };
        if at < begin || next <= event || !is_write(next) {
            continue;
        }
        add(&mut writes, event, pid, &bytes[begin..at]);
        (event, pid, begin) = (next, next_pid, at + length);
    }
    add(&mut writes, event, pid, &bytes[begin..]);
    writes.lines.extend(open.into_iter().map(|(pid, (event, line))| (event, pid, line)));
    writes.lines.sort_by_key(|(event, ..)| *event);
    writes
}

/// `[rr PID EVENT]`, and its length.
fn mark(bytes: &[u8]) -> Option<(i32, u64, usize)> {
    let head = &bytes[..bytes.len().min(64)];
    let end = memchr::memchr(b']', head)?;
    let text = std::str::from_utf8(&head[MARK.len()..end]).ok()?;
    let (pid, event) = text.split_once(' ')?;
    Some((pid.parse().ok()?, event.parse().ok()?, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<(u64, String)> {
        let writes = split(bytes, &|event| event.is_multiple_of(2));
        writes.lines.into_iter().map(|(event, _, text)| (event, String::from_utf8_lossy(&text).into_owned())).collect()
    }

    fn expect(bytes: &str, expected: &[(u64, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(event, text)| (*event, (*text).to_owned())).collect();
        assert_eq!(lines(bytes.as_bytes()), expected);
    }

    #[test]
    fn several_lines_of_one_write_and_one_line_of_several_writes_come_out_right() {
        expect("[rr 7 2]a\nb\n[rr 7 4]c", &[(2, "a"), (2, "b"), (4, "c")]);
        expect("[rr 7 2]pa[rr 7 4]ni[rr 7 6]c: x\n[rr 7 8]\n", &[(2, "panic: x"), (8, "")]);
        expect("[rr 7 2]a\nb[rr 7 4]c\nd\n", &[(2, "a"), (2, "bc"), (4, "d")]);
    }

    #[test]
    fn marks_that_are_no_writes_or_go_back_are_part_of_the_line() {
        expect(
            "[rr 7 4]see [rr 7 2] and [rr 7 5]\n[rr 7 6][rr x]\n",
            &[(4, "see [rr 7 2] and [rr 7 5]"), (6, "[rr x]")],
        );
    }

    #[test]
    fn processes_that_share_a_stream_finish_their_own_lines() {
        expect("[rr 7 2]a[rr 8 4]b\n[rr 7 6]c\n", &[(2, "ac"), (4, "b")]);
    }

    #[test]
    fn what_rr_says_before_the_first_write_is_no_line() {
        let writes = split(b"rr: warning\n[rr 7 2]a\n", &|_| true);
        assert_eq!((writes.unmarked.as_str(), writes.lines.len()), ("rr: warning\n", 1));
    }

    #[test]
    fn a_text_is_found_raw_without_colours_and_as_the_installer_wraps_it() {
        let line = |event, text: &str| Line { event, time: 0.0, pid: 1, stream: Stream::Error, text: text.into() };
        let log = Log {
            lines: vec![line(2, r#"E1124 10:00:00.0 1 a.go:3] "no" err="x""#), line(4, "\u{1b}[31mred\u{1b}[0m one")],
            not_kept: None,
        };
        let found = |text: &str| log.with_text(text).iter().map(|line| line.event).collect::<Vec<_>>();
        assert_eq!((found("err="), found("red one"), found("absent")), (vec![2], vec![4], vec![]));
        let pasted = r#"time="2026-11-24T10:00:00Z" level=debug msg="E1124 10:00:00.0 1 a.go:3] \"no\" err=\"x\"""#;
        assert_eq!(found(pasted), [2]);
        assert_eq!((log.before(4).unwrap().event, log.before(2)), (2, None));
    }
}
