//! What the program said was wrong: who wrote it, how often, and what led there.

use anyhow::Result;

use super::{Case, ErrorLine, How, writes};
use crate::cause::own::named;
use crate::delve::at::go_to_write;
use crate::delve::client::{Frame, Load, Variable, kind};
use crate::rr::log::{Form, Level, Line, Log, understand};

/// How many different error lines are looked into.
const LINES: usize = 3;
/// So often an error repeats before it counts as a storm.
const STORM: usize = 8;
/// How many errors that are made on the way to a line are looked at.
const MADE: usize = 12;
/// So much less a suspect weighs that is not of the program's own code.
const LIBRARY: u32 = 40;
/// How many cancelled contexts are looked at.
const CANCELLED: usize = 60;

/// Words of a line without a level that reports a failure.
const BAD_WORDS: [&str; 16] = [
    "error",
    "fail",
    "cannot",
    "could not",
    "unable",
    "mismatch",
    "unexpected",
    "inconsistent",
    "wrong",
    "invalid",
    "lost",
    "conflict",
    "canceled",
    "cancelled",
    "deadline exceeded",
    "refused",
];

/// Whether a line reports a failure that is the program's own.
pub fn is_bad(line: &str) -> bool {
    let said = understand(line);
    if said.form == Form::Runtime {
        return false;
    }
    match said.level {
        Some(level) => level >= Level::Error,
        None => {
            let text = line.to_lowercase();
            BAD_WORDS.iter().any(|word| text.contains(word)) && !text.starts_with('\t') && !text.contains("goroutine ")
        }
    }
}

/// A line without what differs each time: numbers, and times.
fn key(line: &Line) -> String {
    let said = understand(&line.text);
    let text = match said.message {
        Some(message) => format!("{message} {} {}", said.error.unwrap_or_default(), said.object.unwrap_or_default()),
        None => line.text.clone(),
    };
    let mut key = String::new();
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if key.ends_with('#') => {}
            true => key.push('#'),
            false => key.push(c),
        }
    }
    key
}

/// The lines that report a failure before an event, or at all where none is before it: those that say the same together,
/// the last of them first, and as many kinds as are looked into.
pub fn reports(log: &Log, how: How, last: u64) -> Vec<Vec<Line>> {
    let mut groups: Vec<(String, Vec<Line>)> = Vec::new();
    let mut bad: Vec<Line> = log.lines.iter().filter(|line| is_bad(&line.text)).cloned().collect();
    if bad.is_empty() {
        // A warning is better than nothing.
        let warning = |line: &&Line| understand(&line.text).level == Some(Level::Warning);
        bad = log.lines.iter().filter(warning).cloned().collect();
    }
    // What a program says once it was asked to stop is rarely what it was asked to stop for.
    if how == How::Stopped && bad.iter().any(|line| line.event <= last) {
        bad.retain(|line| line.event <= last);
    }
    for line in bad.iter().rev() {
        let key = key(line);
        let room = groups.len() < LINES;
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, lines)) => lines.push(line.clone()),
            None if room => groups.push((key, vec![line.clone()])),
            None => {}
        }
    }
    groups.into_iter().map(|(_, lines)| lines).collect()
}

pub fn look(case: &mut Case) -> Result<()> {
    for (number, lines) in std::mem::take(&mut case.reports).iter().enumerate() {
        let line = &lines[0];
        let Some((goroutine, stack)) = case.writers.remove(&line.event) else { continue };
        let entry = ErrorLine {
            event: line.event,
            time: line.time,
            text: case.cut(&line.text),
            times: lines.len(),
            goroutine,
            stack: case.shown(&stack),
        };
        case.errors.push(entry);
        // Nothing of the program's own may stand on the way to a line: a library that it started runs by itself.
        let known = case.suspects.len();
        case.own.libraries = case.own.of(&stack).is_empty();
        let blamed = blame(case, number, lines, &stack, goroutine);
        let libraries = std::mem::take(&mut case.own.libraries);
        blamed?;
        if libraries {
            for suspect in &mut case.suspects[known..] {
                // What goes wrong again and again says more than what went wrong once, whoever wrote it.
                if suspect.kind != "retry" {
                    suspect.weight = suspect.weight.saturating_sub(LIBRARY);
                }
                suspect.evidence.push("none of the program's own functions led there, only those of libraries".into());
            }
        }
        if case.client.share_left() < 0.3 {
            break;
        }
    }
    Ok(())
}

/// Looks for who is to blame for lines that say the same, the last of them first.
fn blame(case: &mut Case, number: usize, lines: &[Line], stack: &[Frame], goroutine: i64) -> Result<()> {
    let line = &lines[0];
    let text = line.text.to_lowercase();
    let cancelled =
        ["context canceled", "context cancelled", "operation was canceled"].iter().any(|word| text.contains(word));
    let late = text.contains("deadline exceeded");
    let repeats = lines.len() >= STORM;
    let weight = u32::try_from(number).unwrap_or(3);
    if cancelled || late {
        return context(case, line, late, 93 - weight);
    }
    if repeats {
        storm(case, lines, stack, goroutine, 88 - weight)?;
        // It has its suspects; what its first line read is looked into while there is time.
        if case.client.share_left() < 0.6 {
            return Ok(());
        }
    }
    // Of a line that repeats, the first one is nearest to its cause.
    let first = lines.last().unwrap_or(line);
    let quiet = matches!(case.end.how, How::Exit) && case.end.code == Some(0);
    let weight = if repeats {
        74
    } else if quiet {
        90 - weight
    } else {
        83 - weight
    };
    writes::look(case, first.event, &first.text, weight)
}

/// The call whose error repeats: the one that leads to where the error is made.
fn storm(case: &mut Case, lines: &[Line], stack: &[Frame], goroutine: i64, weight: u32) -> Result<()> {
    let (last, first) = (&lines[0], &lines[lines.len() - 1]);
    let took = (last.time - first.time).max(1e-3);
    #[allow(clippy::cast_precision_loss)]
    let every = took / (lines.len() - 1) as f64;
    let rate = if every < 1.0 { format!("{:.1} a second", 1.0 / every) } else { format!("one every {every:.1} s") };
    let said = understand(&last.text);
    let mut evidence = vec![format!(
        "{} times in {took:.1} s, {rate}, the last at {}: {}",
        lines.len(),
        case.at(last.event),
        said.error.or(said.message).unwrap_or_else(|| last.text.clone())
    )];
    if said.controller.is_some() || said.object.is_some() {
        let word = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        evidence.push(format!(
            "controller {}, object {}, {} times",
            word(said.controller),
            word(said.object),
            lines.len()
        ));
    }
    let own: Vec<Frame> = case.own.of(stack).into_iter().map(|(_, frame)| frame.clone()).collect();
    let Some(reporter) = reporter(&own) else { return Ok(()) };
    let at = (goroutine, last.event);
    let call = Case::sources(&reporter).and_then(|sources| sources.guard(&reporter.file, reporter.line)?.call);
    // Known already, should there be no time for the way to where the error is made.
    let reports = Frame { line: call.as_ref().map_or(reporter.line, |call| call.line), ..reporter.clone() };
    case.suspect(weight - 3, "retry", &reports, at, "reports the error that repeats".into())
        .evidence
        .clone_from(&evidence);
    go_to_write(case.client, last.event)?;
    let makers = ["fmt.Errorf", "errors.New", "errors.Join"];
    let breakpoints: Vec<i64> = makers.iter().filter_map(|maker| case.client.break_at(maker, None)).collect();
    let mut origin: Option<Vec<Frame>> = None;
    let mut seen: Vec<(String, u64)> = Vec::new();
    for _ in 0..MADE {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() || stop.event <= lines.get(1).map_or(0, |line| line.event) {
            break;
        }
        if stop.goroutine != at.0 {
            continue;
        }
        let stack = case.client.stack(stop.goroutine, None)?;
        let own: Vec<Frame> = case.own.of(&stack).into_iter().map(|(_, frame)| frame.clone()).collect();
        let place = own.first().map(|frame| (frame.function.clone(), frame.line));
        let inside = own.iter().any(|frame| frame.function == reporter.function);
        let again = place.as_ref().is_some_and(|place| seen.contains(place));
        if !inside || again {
            break;
        }
        seen.extend(place);
        origin = Some(own);
    }
    breakpoints.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    let why = |what: &str| format!("{what} fails again and again");
    match origin.as_deref() {
        Some([made, caller, ..]) if made.function != reporter.function => {
            let what = format!("its call of {}", named(&made.function));
            case.suspect(weight, "retry", caller, at, why(&what)).evidence = evidence;
            case.suspect(weight - 2, "retry", made, at, "makes the error that repeats".into());
        }
        _ => {
            let mut frame = reporter.clone();
            let called = call.as_ref().map_or("what it calls".into(), |call| format!("`{}`", call.text));
            frame.line = call.as_ref().map_or(frame.line, |call| call.line);
            case.suspect(weight, "retry", &frame, at, why(&called)).evidence = evidence;
        }
    }
    Ok(())
}

/// The own frame that reports: the innermost one whose line depends on a condition. Helpers that only write have none.
pub fn reporter(own: &[Frame]) -> Option<Frame> {
    let conditional = own.iter().find(|frame| {
        Case::sources(frame).is_some_and(|sources| {
            sources.guard(&frame.file, frame.line).is_some() || sources.in_loop(&frame.file, frame.line)
        })
    });
    conditional.or(own.first()).cloned()
}

/// Whether an interface, or one in a struct, holds something.
fn holds_value(variable: &Variable) -> bool {
    match variable.kind {
        kind::INTERFACE => variable.children.first().is_some_and(|child| child.of != "void" && !child.of.is_empty()),
        _ => variable.children.iter().any(holds_value),
    }
}

/// Who cancelled the context that the line speaks of, or gave it its deadline.
fn context(case: &mut Case, line: &Line, late: bool, weight: u32) -> Result<()> {
    let stop = go_to_write(case.client, line.event)?;
    let goroutine = stop.goroutine;
    // The context that was asked for its error last, in the goroutine that reports it or in the one that it waited for.
    let mut asked = None;
    let breakpoint = case.client.break_at("context.(*cancelCtx).Err", None);
    for _ in 0..20 {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        if stop.goroutine == goroutine {
            asked = case.client.eval(stop.goroutine, 0, "c", Load::LITTLE).ok().map(|c| c.target());
            break;
        }
    }
    breakpoint.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    go_to_write(case.client, line.event)?;
    let breakpoint = case.client.break_at("context.(*cancelCtx).cancel", None);
    let mut fallback: Option<(Frame, (i64, u64))> = None;
    let mut root = None;
    for _ in 0..CANCELLED {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        let stack = case.client.stack(stop.goroutine, Some(Load::LITTLE))?;
        let own = case.own.of(&stack).first().map(|(_, frame)| (*frame).clone());
        let receiver =
            |frame: &Frame| frame.arguments.iter().find(|argument| argument.name == "c").map(Variable::target);
        let this = stack.first().and_then(receiver).unwrap_or_default();
        // Of a cancelled tree the outermost call is the first context.
        let outermost = stack
            .iter()
            .rfind(|frame| frame.function == "context.(*cancelCtx).cancel")
            .and_then(receiver)
            .unwrap_or(this);
        let at = (stop.goroutine, stop.event);
        // Only the first of the calls that cancel a context does anything.
        let again = case.client.eval(stop.goroutine, 0, "c.err", Load { depth: 3, ..Load::LITTLE });
        if again.is_ok_and(|error| holds_value(&error)) {
            continue;
        }
        if asked.is_none_or(|asked| asked == this) {
            match own {
                Some(mut frame) if !late || asked.is_some() => {
                    let deferred = Case::sources(&frame)
                        .and_then(|sources| sources.deferred(&frame.file, frame.line, "context.With"));
                    frame.line = deferred.unwrap_or(frame.line);
                    let (why, when) = ("cancelled the context".to_owned(), format!("at {}", case.at(stop.event)));
                    let reported = format!("reported at {}", case.at(line.event));
                    case.suspect(weight, "context", &frame, at, why).evidence.extend([when, reported]);
                    root = None;
                    fallback = None;
                    break;
                }
                _ => {
                    root = Some((outermost, stop.event));
                    break;
                }
            }
        }
        if fallback.is_none() {
            fallback = own.map(|frame| (frame, at));
        }
    }
    breakpoint.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    if let Some((frame, at)) = fallback.filter(|_| root.is_none()) {
        let when = format!("at {}, the last before the line", case.at(at.1));
        case.suspect(weight - 4, "context", &frame, at, "cancelled a context".into()).evidence.push(when);
    }
    let Some((address, expired)) = root else { return Ok(()) };
    // A timer cancelled it: who made it, with which deadline?
    let breakpoint = case.client.break_at("context.(*cancelCtx).propagateCancel", None);
    for _ in 0..CANCELLED {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        let made = case.client.eval(stop.goroutine, 0, "c", Load::LITTLE).map(|c| c.target()).unwrap_or_default();
        if made != address {
            continue;
        }
        let stack = case.client.stack(stop.goroutine, None)?;
        let own: Vec<Frame> = case.own.of(&stack).into_iter().map(|(_, frame)| frame.clone()).collect();
        if let Some(frame) = own.first() {
            let lasted = case.timeline.seconds(expired) - case.timeline.seconds(stop.event);
            let why = format!("gave the context a deadline that passed after {lasted:.3} s");
            let evidence = [format!("made at {}", case.at(stop.event)), format!("expired at {}", case.at(expired))];
            case.suspect(weight, "context", frame, (stop.goroutine, stop.event), why).evidence.extend(evidence);
        }
        if let Some(caller) = own.get(1) {
            case.suspect(weight - 8, "context", caller, (stop.goroutine, stop.event), "asked for that context".into());
        }
        break;
    }
    breakpoint.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    Ok(())
}
