//! Panics, Go's fatal errors, and exits: the program's own frame that raised it.

use anyhow::Result;

use super::{Case, How};
use crate::delve::client::{Frame, Load};

/// How many panics before the last one are looked at.
const PANICS: usize = 8;

pub fn look(case: &mut Case) -> Result<()> {
    match case.end.how {
        How::Panic | How::Fatal => raised(case),
        How::Exit if case.end.code != Some(0) => exited(case),
        _ => Ok(()),
    }
}

/// Frames from the outermost panic on: what a recovered panic unwound is still above it.
fn raiser(stack: &[Frame]) -> &[Frame] {
    let panicked = stack.iter().rposition(|frame| frame.function == "runtime.gopanic");
    &stack[panicked.map_or(0, |place| place + 1)..]
}

fn raised(case: &mut Case) -> Result<()> {
    // Past its first word the runtime may write a long time, and a run backwards over all of it can miss the beginning.
    case.client.restart(case.said.unwrap_or(case.last))?;
    // Delve itself stops at both: `unrecovered-panic` and `runtime-fatal-throw`.
    let mut stop = case.client.back()?;
    // A fatal error is told after it was raised: the first stop on the way back may be deeper in the same call.
    for _ in 0..4 {
        let stack = case.client.stack(stop.goroutine, None).unwrap_or_default();
        if stop.breakpoint.is_none() || !case.own.of(&stack).is_empty() {
            break;
        }
        stop = case.client.back()?;
    }
    let stack = case.client.stack(stop.goroutine, Some(Load::LITTLE))?;
    // Without debug information Delve knows neither files nor inlined calls; the runtime printed both.
    let bare = case.own.of(&stack).iter().all(|(_, frame)| frame.file.is_empty());
    let stack = if bare { printed(case).unwrap_or(stack) } else { stack };
    let again = suspects(case, &stack, (stop.goroutine, stop.event));
    if case.end.how == How::Panic {
        earlier_panics(case, again.max(1))?;
    }
    Ok(())
}

/// The stack that Go's runtime printed when it ended the program.
fn printed(case: &Case) -> Option<Vec<Frame>> {
    let said = case.said?;
    let lines = case.log.lines.iter().filter(|line| line.event >= said).map(|line| line.text.as_str());
    let mut lines = lines.skip_while(|line| !line.starts_with("goroutine ")).skip(1);
    let mut frames = Vec::new();
    while let Some(call) = lines.next().filter(|call| !call.is_empty() && !call.starts_with("created by ")) {
        // `main.(*T).run(0xc000012345, ...)`, and `	/src/main.go:12 +0x1d` below it.
        let place = lines.next()?.trim().split(' ').next()?;
        let (file, line) = place.rsplit_once(':')?;
        let function = call.rsplit_once('(').map_or(call, |(function, _)| function);
        let function = if function == "panic" { "runtime.gopanic" } else { function };
        frames.push(Frame {
            function: function.to_owned(),
            file: file.to_owned(),
            line: line.parse().ok()?,
            ..Frame::default()
        });
    }
    Some(frames).filter(|frames| !case.own.of(frames).is_empty())
}

/// The suspects of a core dump, by the stack of the thread that ended the process.
pub fn standing(case: &mut Case, stack: &[Frame]) -> Result<()> {
    if matches!(case.end.how, How::Panic | How::Fatal) {
        let goroutine = case.client.state()?.goroutine;
        suspects(case, stack, (goroutine, case.last));
    }
    Ok(())
}

/// Names the frames that raised what ended the program, and says how many panics were under way.
fn suspects(case: &mut Case, stack: &[Frame], at: (i64, u64)) -> usize {
    let kind = if case.end.how == How::Panic { "panic" } else { "fatal" };
    let message = case.end.message.clone().unwrap_or_default();
    let first = raiser(stack);
    let mut own: Vec<Frame> = case.own.of(first).into_iter().map(|(_, frame)| frame.clone()).collect();
    if message.contains("stack overflow") {
        own.drain(..recursion(&own));
    }
    let again = stack.iter().filter(|frame| frame.function == "runtime.gopanic").count();
    if let Some(frame) = own.first() {
        let when = (at.1 > 0).then(|| format!("{} when the program ended", case.at(at.1)));
        case.suspect(100, kind, frame, at, format!("raised `{message}`")).evidence.extend(when);
    }
    if let Some(caller) = own.get(1) {
        case.suspect(92, kind, caller, at, "called the function that raised it".into());
    }
    if again > 1
        && let Some((_, frame)) = case.own.of(stack).first()
    {
        let frame = (*frame).clone();
        case.suspect(94, kind, &frame, at, "panicked again while the first panic was handled".into());
    }
    again
}

/// Where the call stands that repeats: what ran out of stack may have been anything below it.
fn recursion(own: &[Frame]) -> usize {
    let times = |frame: &Frame| {
        own.iter().filter(|other| (&other.function, other.line) == (&frame.function, frame.line)).count()
    };
    let most = own.iter().map(times).max().unwrap_or_default();
    own.iter().position(|frame| 2 * times(frame) > most).unwrap_or_default()
}

/// Panics that were recovered before and raised again: those whose value is in the last one.
fn earlier_panics(case: &mut Case, known: usize) -> Result<()> {
    let Some(breakpoint) = case.client.break_at("runtime.gopanic", None) else { return Ok(()) };
    let mut last: Option<String> = None;
    for number in 0..PANICS {
        let stop = case.client.back()?;
        if stop.exited || stop.function != "runtime.gopanic" {
            break;
        }
        let value = case.client.eval(stop.goroutine, 0, "e", Load { depth: 2, text: 400, elements: 8 });
        let value = value.map(|value| value.shown()).unwrap_or_default();
        let text = value.trim_matches(['&', '"']).to_owned();
        let message = case.end.message.clone().unwrap_or_default();
        let again =
            last.as_ref().is_some_and(|last| !text.is_empty() && (last.contains(&text) || message.contains(&text)))
                || (last.is_some() && message.contains("runtime error: ") && value.contains("boundsError"));
        if number >= known && again {
            let stack = case.client.stack(stop.goroutine, Some(Load::LITTLE))?;
            let own = case.own.of(raiser(&stack)).first().map(|(_, frame)| (*frame).clone());
            if let Some(frame) = own {
                let why = "raised it first: it was recovered, and raised again".to_owned();
                case.suspect(104, "panic", &frame, (stop.goroutine, stop.event), why);
            }
        }
        last.get_or_insert(text);
    }
    case.client.clear(breakpoint);
    Ok(())
}

fn exited(case: &mut Case) -> Result<()> {
    case.client.restart(case.last)?;
    let breakpoint = case.client.break_at("os.Exit", None);
    let mut stop = case.client.forward()?;
    if stop.function != "os.Exit" {
        case.client.restart(case.last)?;
        stop = case.client.back()?;
    }
    if stop.function == "os.Exit" {
        let stack = case.client.stack(stop.goroutine, Some(Load::LITTLE))?;
        let own: Vec<Frame> = case.own.of(&stack).into_iter().map(|(_, frame)| frame.clone()).collect();
        let code = case.end.code.unwrap_or_default();
        let whys =
            [format!("ended the program with exit status {code}"), "called the helper that ended the program".into()];
        for ((frame, why), weight) in own.iter().zip(whys).zip([88, 87]) {
            case.suspect(weight, "exit", frame, (stop.goroutine, stop.event), why);
        }
    }
    breakpoint.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    Ok(())
}
