//! Who wrote this, and who called that: each moment with its goroutine, its place and the log line before it.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cause::credentials;
use crate::cause::own::{is_made, named};
use crate::cause::place::Known;
use crate::delve::client::{Client, Load, Stop, UNREADABLE, Variable, kind};
use crate::error::{Error, plain_name};
use crate::rr::log::Log;

/// More writes or calls than this are not gathered.
const MOST: usize = 2000;

/// A write of a memory word.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Written {
    pub event: u64,
    pub goroutine: i64,
    pub function: String,
    pub file: String,
    pub line: u64,
    /// The value before the write, and after it.
    pub before: String,
    pub after: String,
    /// The log line before it.
    pub log: Option<String>,
    /// Whether the memory was made then. What was written there before was something else, and is left out.
    pub made: bool,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Called {
    pub event: u64,
    pub goroutine: i64,
    /// The function that was called.
    pub function: String,
    /// Where it was called.
    pub caller: String,
    pub file: String,
    pub line: u64,
    /// Its arguments, and what was asked to be printed: `name = value`.
    pub arguments: Vec<String>,
    /// What it returned, as far as the call ended before the trace did.
    pub results: Vec<String>,
    /// The log line before it.
    pub log: Option<String>,
}

/// What is shown of a value.
fn shown(variable: &Variable, values: bool) -> String {
    if values { variable.shown() } else { credentials::hidden(variable) }
}

fn line_before(log: &Log, event: u64, values: bool) -> Option<String> {
    let line = log.before(event)?;
    Some(if values { line.text.clone() } else { credentials::cut(&line.text).into_owned() })
}

/// The memory that an expression names, found at a place of the trace.
pub struct Memory {
    /// What is watched, so that it can be evaluated anywhere.
    expression: String,
    address: u64,
    size: u64,
    /// What there is to know about it.
    pub note: Option<String>,
}

/// Finds the memory of an expression in a frame of the program that stands at a place.
///
/// # Errors
/// An expression that names nothing there, or more than a debugger's register watches.
pub fn memory(client: &mut Client, stop: &Stop, expression: &str, own: &dyn Fn(usize) -> bool) -> Result<Memory> {
    let depth = client.stack(stop.goroutine, None)?.len();
    // The innermost own frame that knows it.
    let frames = (0..depth).filter(|frame| own(*frame)).chain(0..1);
    let mut said = None;
    for frame in frames {
        match client.eval(stop.goroutine, frame, expression, Load::LITTLE) {
            Ok(variable) => return of_variable(client, (stop.goroutine, frame), &variable, expression),
            Err(error) => said = said.or(Some(error)),
        }
    }
    let error = Error::usage(format!("`{}` names nothing there", plain_name(expression)));
    let error = said.iter().fold(error, |error, said| error.detail(format!("Delve: {said:#}")));
    Err(error.hint("`--at LINE` names a moment at which it is known").into())
}

fn of_variable(client: &mut Client, scope: (i64, usize), variable: &Variable, expression: &str) -> Result<Memory> {
    let made = |address: u64, size: u64, kind: &str, note: Option<String>| Memory {
        expression: format!("*(*{kind})({address:#x})"),
        address,
        size,
        note,
    };
    let place = variable.address;
    let element = expression.ends_with(']').then(|| {
        "of a map, the slot that holds the element now is watched: writes before the map moved it are not seen"
            .to_owned()
    });
    let in_map = element.filter(|_| {
        let base = expression.rsplit_once('[').map_or("", |(base, _)| base);
        client.eval(scope.0, scope.1, base, Load::LITTLE).is_ok_and(|base| base.kind == kind::MAP)
    });
    if place <= 0x1000 || (0xbeef << 48..0xbef0 << 48).contains(&place) {
        return Err(Error::usage(format!("`{}` is in no memory that can be watched", plain_name(expression))).into());
    }
    Ok(match (variable.kind, variable.size()) {
        (kind::STRING, _) => made(place, 8, "uintptr", Some("of a text, the address of its bytes is watched".into())),
        (kind::SLICE, _) => made(place + 8, 8, "int", Some("of a slice, its length is watched".into())),
        (kind::INTERFACE, _) => {
            made(place + 8, 8, "uintptr", Some("of an interface, its value's address is watched".into()))
        }
        (_, Some(size)) => {
            let of = match variable.kind {
                kind::POINTER | kind::CHAN | kind::MAP | 19 | 26 => "uintptr",
                _ => variable.of.as_str(),
            };
            // A type of the program's own is known to Delve by its whole name.
            let of = if of.contains('/') { format!("uint{}", size * 8) } else { of.to_owned() };
            made(place, size, &of, in_map)
        }
        _ => {
            return Err(Error::usage(format!(
                "`{}` is a {}: too large to be watched",
                plain_name(expression),
                variable.of
            ))
            .hint("name one of its fields or elements")
            .into());
        }
    })
}

/// The writes of some memory before the place where the program stands, the newest first.
///
/// # Errors
/// A watchpoint that cannot be made.
pub fn writes(client: &mut Client, memory: &Memory, log: &Log, last: usize, values: bool) -> Result<Vec<Written>> {
    let value = |client: &mut Client| {
        let name = memory.expression.clone();
        client.eval(-1, 0, &name, Load::LITTLE).map_or_else(|_| "?".into(), |value| shown(&value, values))
    };
    let mut after = value(client);
    let watch = client.watch(memory.address, memory.size)?;
    let mut writes = Vec::new();
    while writes.len() < last.min(MOST) {
        let stop = client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        let before = value(client);
        // The memory is not the program's yet.
        if before == UNREADABLE {
            break;
        }
        // What copies and clears memory writes on behalf of the function that is named.
        let stack = client.stack(stop.goroutine, None)?;
        let inner = stack.iter().position(|frame| !frame.function.starts_with("runtime."));
        let by = stack.get(inner.unwrap_or_default());
        let made = is_made(&stack[..inner.unwrap_or(stack.len())]);
        let (function, file, line) =
            by.map_or((stop.function, stop.file, stop.line), |by| (by.function.clone(), by.file.clone(), by.line));
        writes.push(Written {
            event: stop.event,
            goroutine: stop.goroutine,
            function: named(&function),
            file,
            line,
            before: before.clone(),
            after: std::mem::replace(&mut after, before),
            log: line_before(log, stop.event, values),
            made,
        });
        if made {
            break;
        }
    }
    client.clear(watch);
    Ok(writes)
}

/// Every call of some functions, in the order of time.
///
/// # Errors
/// A function that the program does not have.
pub fn calls(
    client: &mut Client,
    functions: &[String],
    print: &[String],
    log: &Log,
    values: bool,
) -> Result<Vec<Called>> {
    Known::Start.stand(client)?;
    let mut breakpoints = Vec::new();
    for function in functions {
        breakpoints.push(client.break_at(function, None).ok_or_else(|| {
            Error::usage(format!("the program has no function `{}`", plain_name(function)))
                .hint("a function is named like `main.run`, a method like `main.(*T).run`")
        })?);
    }
    let mut calls: Vec<Called> = Vec::new();
    for function in functions {
        breakpoints.extend(client.break_at_returns(function));
    }
    // Calls that are under way, by their places among the calls.
    let mut open: Vec<usize> = Vec::new();
    while calls.len() < MOST {
        let stop = client.forward()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        let stack = client.stack(stop.goroutine, Some(Load::SHOWN))?;
        let Some(frame) = stack.first() else { break };
        let name = |variable: &Variable| format!("{} = {}", variable.name, shown(variable, values));
        if stop.breakpoint.as_deref().is_some_and(|name| name.starts_with('r')) {
            // The innermost that is under way in this goroutine.
            let ends = |&call: &usize| {
                let Called { goroutine, function, .. } = &calls[call];
                (*goroutine, function) == (stop.goroutine, &frame.function)
            };
            if let Some(at) = open.iter().rposition(ends) {
                let call = open.remove(at);
                calls[call].results = frame.arguments.iter().filter(|argument| argument.result).map(name).collect();
            }
            continue;
        }
        let mut arguments: Vec<String> = frame.arguments.iter().filter(|argument| !argument.result).map(name).collect();
        for expression in print {
            let value = client.eval(stop.goroutine, 0, expression, Load::SHOWN);
            let value = value.map_or_else(
                |error| format!("({error:#})"),
                |value| shown(&Variable { name: expression.clone(), ..value }, values),
            );
            arguments.push(format!("{expression} = {value}"));
        }
        open.push(calls.len());
        let caller = stack.get(1).cloned().unwrap_or_default();
        calls.push(Called {
            event: stop.event,
            goroutine: stop.goroutine,
            function: frame.function.clone(),
            caller: named(&caller.function),
            file: caller.file,
            line: caller.line,
            arguments,
            results: Vec::new(),
            log: line_before(log, stop.event, values),
        });
    }
    breakpoints.into_iter().for_each(|breakpoint| client.clear(breakpoint));
    Ok(calls)
}
