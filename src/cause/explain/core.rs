//! What a core dump tells: one moment, without a history. Who holds a lock is read from the sources of those who wait
//! with one taken.

use anyhow::Result;

use super::{Case, End, Explanation, How, blocked, crash};
use crate::cause::credentials;
use crate::delve::client::{Client, Frame, Load, Variable, kind};
use crate::delve::core::CorePlan;
use crate::error::Shown;
use crate::rr::log::Log;
use crate::rr::trace::Timeline;

/// Looks into a core dump that is open in Delve.
pub(super) fn explain_core(plan: &CorePlan, client: &mut Client, values: bool) -> Result<Explanation> {
    client.allow(super::TIME);
    let (log, timeline) = (Log { lines: Vec::new(), not_kept: None }, Timeline::default());
    let stack = client.stack(0, Some(Load::SHOWN))?;
    let end = end(&stack, plan.core.signal);
    let case = Case::of(client, Some(&plan.facts), &log, &timeline, end, plan.path.shown(), values);
    let mut case = Case { opened_by: Some(plan.line()), ..case };
    case.limits.push(
        "a core dump holds one moment: no lines of a log, no earlier writes, and holders of locks only as far as the \
         sources of those who wait tell; a recording (`rr-patch record`) tells all of that"
            .into(),
    );
    case.limits.extend(plan.warnings.iter().cloned());
    case.trust(Some(&plan.facts));
    case.attempt("the goroutines", Case::gather_goroutines);
    case.attempt("how it crashed", |case| crash::standing(case, &stack));
    blocked::look_at_moment(&mut case);
    Ok(case.finish())
}

/// How a process ended, by the stack of the thread that ended it.
fn end(stack: &[Frame], signal: Option<i32>) -> End {
    let frame = |names: &[&str]| stack.iter().find(|frame| names.contains(&frame.function.as_str()));
    let argument = |frame: &Frame, name: &str| frame.arguments.iter().find(|argument| argument.name == name).cloned();
    let last = [
        "runtime.crash",
        "runtime.fatalpanic",
        "runtime.fatalthrow",
        "runtime.dieFromSignal",
        "runtime.fatal",
        "runtime.throw",
    ];
    let crashed = frame(&last).is_some();
    let thrown = frame(&["runtime.throw", "runtime.fatal", "runtime.fatalthrow"]);
    let panicked = frame(&["runtime.fatalpanic"]).and(frame(&["runtime.gopanic"]));
    let (how, message, signal) = if let Some(panicked) = panicked.filter(|_| crashed) {
        let value = argument(panicked, "e").map(|value| credential_free(&value));
        (How::Panic, Some(format!("panic: {}", value.unwrap_or_else(|| "(its value is not there)".into()))), signal)
    } else if let Some(thrown) = thrown.filter(|_| crashed) {
        let text = frame(&["runtime.throw", "runtime.fatal"]).and_then(|frame| argument(frame, "s"));
        let deadlock = frame(&["runtime.checkdead"]).is_some();
        let text = text.map(|text| text.value).filter(|text| !text.is_empty());
        let text = text.unwrap_or_else(|| match frame(&["runtime.newstack"]) {
            Some(_) => "stack overflow".into(),
            None => format!("raised in {}", thrown.function),
        });
        (if deadlock { How::Deadlock } else { How::Fatal }, Some(format!("fatal error: {text}")), signal)
    } else {
        // Go's own handler got it first, where GOTRACEBACK=crash made the dump.
        let handled = frame(&["runtime.sighandler"]).and_then(|frame| argument(frame, "sig"));
        let number = handled.and_then(|number| number.value.parse().ok()).filter(|number| *number > 0 && *number < 65);
        let number = number.or(signal);
        (How::Signal, number.is_none().then(|| "the process went on: no signal ended it".to_owned()), number)
    };
    End { how, code: None, signal, message }
}

fn credential_free(value: &Variable) -> String {
    let inner = if value.kind == kind::INTERFACE { value.children.first().unwrap_or(value) } else { value };
    let text = credentials::hidden(value);
    // A plain text says it itself; of anything else its type is part of what it says.
    if inner.kind == kind::STRING { inner.value.clone() } else { format!("{} {text}", inner.of) }
}
