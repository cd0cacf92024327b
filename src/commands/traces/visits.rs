//! `rr-patch traces writes` and `rr-patch traces calls`: who wrote this, and who called that.

use std::fmt;

use anyhow::Result;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cause::own::Own;
use crate::cause::place::Place;
use crate::cause::visits::{Called, Written, calls, memory, writes};
use crate::commands::{SECRETS, say};
use crate::delve::client::Client;
use crate::delve::{Listen, ReplayPlan, ask, prepare};
use crate::doctor::Host;
use crate::error::Error;
use crate::rr::log::Log;
use crate::rr::trace::{Store, Trace};
use crate::ui::document::{Document, Report};
use crate::words::count;

const WRITES_EXAMPLES: &str = "\
Examples:
  rr-patch traces writes aws 'c.status.phase' --at \"Reconciler error\"
  rr-patch traces writes aws 'm[\"key\"]' --at end --last 5";

#[derive(Args, Debug)]
#[command(after_help = WRITES_EXAMPLES)]
pub struct ShowWrites {
    /// A trace's name or path, or a controller's name
    pub trace: String,

    /// What was written: a variable, a field, an element, like `c.status.phase` or `m["key"]`
    #[arg(value_name = "EXPR")]
    pub expression: String,

    /// The moment at which the expression is known: an event, a text of a line, start, end or crash
    #[arg(long, value_name = "EVENT|TEXT|end|crash")]
    pub at: Place,

    /// At most so many writes, the newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub last: usize,

    /// Show values that look like credentials, too
    #[arg(long, help_heading = SECRETS)]
    pub values: bool,
}

const CALLS_EXAMPLES: &str = "\
Examples:
  rr-patch traces calls aws main.run
  rr-patch traces calls aws 'main.(*T).run' --print t.name";

#[derive(Args, Debug)]
#[command(after_help = CALLS_EXAMPLES)]
pub struct ShowCalls {
    /// A trace's name or path, or a controller's name
    pub trace: String,

    /// The functions, like `main.run`, or `main.(*T).run` for a method; calls of several are shown in the order of time
    #[arg(value_name = "FUNCTION", required = true)]
    pub functions: Vec<String>,

    /// Print this expression at each call, too (repeatable)
    #[arg(long, value_name = "EXPR")]
    pub print: Vec<String>,

    /// Show values that look like credentials, too
    #[arg(long, help_heading = SECRETS)]
    pub values: bool,
}

/// The writes of some memory.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WritesFound {
    trace: String,
    expression: String,
    /// The event that it was looked back from.
    event: u64,
    /// The newest first. A write of the value that was there before is not among them.
    writes: Vec<Written>,
    /// What is watched, where that is not all of the expression's value.
    note: Option<String>,
    /// What to type next.
    next: Vec<String>,
}

/// The calls of some functions.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CallsFound {
    trace: String,
    /// The functions that were asked for.
    functions: Vec<String>,
    /// In the order of time.
    calls: Vec<Called>,
    /// What to type next.
    next: Vec<String>,
}

impl Document for WritesFound {
    const SCHEMA: &'static str = "rr-patch/writes/1";
}

impl Document for CallsFound {
    const SCHEMA: &'static str = "rr-patch/calls/1";
}

impl fmt::Display for WritesFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = count(self.writes.len(), "write");
        writeln!(f, "{found} of `{}` before event {}, the newest first", self.expression, self.event)?;
        self.note.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        for Written { event, goroutine, function, file, line, before, after, log, made } in &self.writes {
            match made {
                true => writeln!(f, "  event {event}, goroutine {goroutine}: the memory is made")?,
                false => writeln!(f, "  event {event}, goroutine {goroutine}: {before} -> {after}")?,
            }
            writeln!(f, "    {function}  {file}:{line}")?;
            log.iter().try_for_each(|log| writeln!(f, "    after: {log}"))?;
        }
        writeln!(
            f,
            "a write of the value that was there already is not seen: `rr-patch traces calls` shows who was called"
        )?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}

impl fmt::Display for CallsFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of `{}`", count(self.calls.len(), "call"), self.functions.join("`, `"))?;
        for Called { event, goroutine, function, caller, file, line, arguments, results, log } in &self.calls {
            let which = if self.functions.len() > 1 { format!("{function}, ") } else { String::new() };
            writeln!(f, "  {which}event {event}, goroutine {goroutine}, by {caller}  {file}:{line}")?;
            writeln!(f, "    {}", arguments.join(", "))?;
            if !results.is_empty() {
                writeln!(f, "    returned {}", results.join(", "))?;
            }
            log.iter().try_for_each(|log| writeln!(f, "    after: {log}"))?;
        }
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}

/// Opens a trace, asks, and ends Delve.
fn asked<T>(opening: &ReplayPlan, question: &mut dyn FnMut(&mut Client) -> Result<T>) -> Result<T> {
    let answer = ask(question, &mut |ready| opening.serve(&Listen::loopback(0), ready, &mut |_| {}))?;
    answer.ok_or_else(|| Error::interrupted("interrupted: nothing was found out yet").into())
}

fn open(host: &Host, store: &Store, name: &str) -> Result<(Trace, ReplayPlan, Log)> {
    let trace = store.find(name)?;
    let opening = prepare(host, &trace)?;
    opening.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let log = Log::of(host, &trace, &mut say)?;
    Ok((trace, opening, log))
}

impl ShowWrites {
    pub fn run(&self, store: &Store) -> Result<Report<WritesFound>> {
        let host = Host::here();
        let (trace, opening, log) = open(&host, store, &self.trace)?;
        let known = self.at.find(&host, &trace, &mut say)?;
        let own = opening.program.as_ref().map(Own::of_program).unwrap_or_default();
        let (event, note, writes) = asked(&opening, &mut |client| {
            let stop = known.stand(client)?;
            let stack = client.stack(stop.goroutine, None)?;
            let is_own = |frame: usize| stack.get(frame).is_some_and(|frame| own.is(frame));
            let memory = memory(client, &stop, &self.expression, &is_own)?;
            let found = writes(client, &memory, &log, self.last, self.values)?;
            Ok((stop.event, memory.note, found))
        })?;
        let name = crate::words::quoted(&self.trace);
        let next = writes.first().map(|write| format!("rr-patch replay {name} --at {}", write.event));
        let next = next.into_iter().collect();
        let expression = self.expression.clone();
        Ok(Report::done(WritesFound { trace: trace.name, expression, event, writes, note, next }))
    }
}

impl ShowCalls {
    pub fn run(&self, store: &Store) -> Result<Report<CallsFound>> {
        let (trace, opening, log) = open(&Host::here(), store, &self.trace)?;
        let calls = asked(&opening, &mut |client| calls(client, &self.functions, &self.print, &log, self.values))?;
        let name = crate::words::quoted(&self.trace);
        let next = calls.last().map(|call| format!("rr-patch replay {name} --at {}", call.event)).into_iter().collect();
        Ok(Report::done(CallsFound { trace: trace.name, functions: self.functions.clone(), calls, next }))
    }
}
