//! The places of a trace that can be asked for: an event, a line that was written, the start, the end, the crash.

use std::str::FromStr;

use anyhow::Result;

use crate::cause::credentials;
use crate::delve::at::{ENDS, go_to_write};
use crate::delve::client::{Client, Stop};
use crate::doctor::Host;
use crate::error::{Error, plain_name};
use crate::rr::log::Log;
use crate::rr::trace::{Store, Timeline, Trace};

/// Where to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Event(u64),
    /// Part of a line that the program wrote.
    Text(String),
    /// In front of `main.main`.
    Start,
    /// The last moment in which the whole program is there.
    End,
    /// Where Go ended the program: a panic, a fatal error, an exit.
    Crash,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "start" => Self::Start,
            "end" => Self::End,
            "crash" => Self::Crash,
            _ if text.trim().is_empty() => return Err("expected an event, a text, start, end or crash".into()),
            _ => text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Event),
        })
    }
}

/// A place that is known by its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// A write.
    Written(u64),
    Event(u64),
    Start,
    /// The end, and the event of the runtime's first word on why it ends the program.
    Crash(u64, Option<u64>),
}

impl Place {
    /// Finds the place in a trace.
    ///
    /// # Errors
    /// A text that stands nowhere, or several times; an event that is not in the trace.
    pub fn find(&self, host: &Host, trace: &Trace, say: &mut dyn FnMut(&str)) -> Result<Known> {
        let end = |timeline: &Timeline| timeline.end();
        match self {
            Self::Start => Ok(Known::Start),
            Self::End => Ok(Known::Event(end(trace.timeline()?))),
            Self::Crash => {
                let log = Log::of(host, trace, say)?;
                let said = log.said_by_runtime(&["panic: ", "fatal error: "]).map(|line| line.event);
                Ok(Known::Crash(end(trace.timeline()?), said))
            }
            Self::Event(event) => {
                let timeline = trace.timeline()?;
                if *event == 0 || *event > timeline.last {
                    return Err(Error::usage(format!("`{}` has no event {event}", trace.name))
                        .detail(format!("expected: 1 to {}", timeline.last))
                        .hint("`rr-patch traces log` shows the events of what was written")
                        .into());
                }
                let written = Log::of(host, trace, say)?.lines.binary_search_by_key(event, |line| line.event).is_ok();
                Ok(if written { Known::Written(*event) } else { Known::Event(*event) })
            }
            Self::Text(text) => {
                let log = Log::of(host, trace, say)?;
                match log.with_text(text).as_slice() {
                    [] => Err(nowhere(text, &trace.name).into()),
                    [line] => Ok(Known::Written(line.event)),
                    lines => {
                        let shown = plain_name(text);
                        let error =
                            Error::usage(format!("`{shown}` stands in {} lines of `{}`", lines.len(), trace.name));
                        let places = lines.iter().take(20).map(|line| {
                            format!("event {:>8}, {:>9.3} s: {}", line.event, line.time, credentials::cut(&line.text))
                        });
                        let error = places.fold(error, Error::detail);
                        Err(error.hint("`--at EVENT` names one of them").into())
                    }
                }
            }
        }
    }
}

fn nowhere(text: &str, trace: &str) -> Error {
    Error::failed(format!("no line of `{trace}` holds `{}`", plain_name(text)))
        .hint("`rr-patch traces log` shows all lines")
}

/// The trace of the newest run in which a text stands.
///
/// # Errors
/// No trace of it has the text, or several have it.
pub fn trace_with(store: &Store, host: &Host, text: &str, say: &mut dyn FnMut(&str)) -> Result<Trace> {
    let newest = store.find("")?;
    let run = newest.path.parent().map(std::path::Path::to_owned);
    let mut with = Vec::new();
    let all = store.traces()?.into_iter().filter(|trace| trace.path.parent().map(std::path::Path::to_owned) == run);
    // Traces that lie in the store itself belong to no run.
    let own = run.as_deref() == store.root().canonicalize().ok().as_deref() || run.as_deref() == Some(store.root());
    for trace in
        all.filter(|trace| !own || trace.path == newest.path).filter(|trace| trace.check().obstacles.is_empty())
    {
        if !Log::of(host, &trace, say)?.with_text(text).is_empty() {
            with.push(trace);
        }
    }
    match <[Trace; 1]>::try_from(with) {
        Ok([trace]) => Ok(trace),
        Err(with) if with.is_empty() => Err(nowhere(text, &newest.name).into()),
        Err(with) => {
            let error = Error::usage(format!("{} traces of the newest run hold `{}`", with.len(), plain_name(text)));
            let error = with.iter().fold(error, |error, trace| error.detail(trace.name.clone()));
            Err(error.hint("name one of them: `rr-patch replay TRACE --at TEXT`").into())
        }
    }
}

impl Known {
    /// Goes there.
    ///
    /// # Errors
    /// A program that has no such moment.
    pub fn stand(&self, client: &mut Client) -> Result<Stop> {
        match self {
            Self::Written(event) => go_to_write(client, *event),
            Self::Event(event) => {
                client.restart(*event)?;
                client.state()
            }
            Self::Start => {
                let breakpoint = client.break_at("main.main", None);
                let stop = client.forward();
                breakpoint.into_iter().for_each(|breakpoint| client.clear(breakpoint));
                stop
            }
            Self::Crash(end, said) => {
                client.restart(said.unwrap_or(*end))?;
                let breakpoints: Vec<i64> = ENDS.iter().filter_map(|end| client.break_at(end, None)).collect();
                // An exit comes after the last event, and all else before it.
                let mut stop = if said.is_some() { client.back()? } else { client.forward()? };
                if stop.exited || stop.breakpoint.is_none() {
                    client.restart(*end)?;
                    stop = client.back()?;
                }
                breakpoints.into_iter().for_each(|breakpoint| client.clear(breakpoint));
                if stop.breakpoint.is_some() {
                    return Ok(stop);
                }
                Err(Error::failed("the program did not end in a panic, a fatal error or an exit of its own")
                    .hint("`--at end` stands at its last moment")
                    .into())
            }
        }
    }

    /// The same as commands of Delve's terminal.
    pub fn commands(&self) -> Vec<String> {
        let with = |functions: &[&str], steps: &[String]| {
            let named: Vec<(String, &str)> =
                functions.iter().enumerate().map(|(n, function)| (format!("rrpatch{n}"), *function)).collect();
            let set = named.iter().map(|(name, function)| format!("break {name} {function}"));
            let clear = named.iter().map(|(name, _)| format!("clear {name}"));
            set.chain(steps.iter().cloned()).chain(clear).collect()
        };
        let writers = ["syscall.write", "runtime.gwrite"];
        match self {
            Self::Written(event) => with(&writers, &[format!("restart {event}"), "rewind".into()]),
            Self::Event(event) => vec![format!("restart {event}")],
            Self::Start => with(&["main.main"], &["continue".into()]),
            // Delve stops at panics and fatal errors without a breakpoint of ours.
            Self::Crash(_, Some(said)) => with(&[], &[format!("restart {said}"), "rewind".into()]),
            Self::Crash(end, None) => with(&["os.Exit"], &[format!("restart {end}"), "continue".into()]),
        }
    }
}
