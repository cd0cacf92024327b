//! The last write of what a failing condition read, by another goroutine or another call than the one that reports.

use anyhow::Result;

use super::Case;
use super::errors::reporter;
use crate::cause::own::named;
use crate::delve::at::go_to_write;
use crate::delve::client::{Client, Frame, Load, Variable, kind};

/// x86-64 has four registers for watchpoints.
const WATCHED: usize = 4;
/// How many writes are looked at.
const WRITES: usize = 60;

/// Functions that write to a map, and whether they take an element away.
const MAPS: [(&str, bool); 8] = [
    ("runtime.mapassign_faststr", false),
    ("runtime.mapdelete_faststr", true),
    ("runtime.mapassign_fast64", false),
    ("runtime.mapdelete_fast64", true),
    ("runtime.mapassign_fast32", false),
    ("runtime.mapdelete_fast32", true),
    ("runtime.mapdelete", true),
    ("runtime.mapclear", true),
];

/// A map and the key that was looked up.
struct Lookup {
    map: u64,
    key: Option<String>,
}

pub fn look(case: &mut Case, event: u64, weight: u32) -> Result<()> {
    let stop = go_to_write(case.client, event)?;
    let goroutine = stop.goroutine;
    let stack = case.client.stack(goroutine, None)?;
    let own: Vec<Frame> = case.own.of(&stack).into_iter().map(|(_, frame)| frame.clone()).collect();
    let Some(frame) = reporter(&own) else { return Ok(()) };
    let Some(place) = stack.iter().position(|other| *other == frame) else { return Ok(()) };
    let note = |case: &mut Case, what: &str| {
        let frame = named(&frame.function);
        case.limits.push(format!("the error line of event {event}, written in {frame}: {what}"));
    };
    let Some(guard) = Case::sources(&frame).and_then(|sources| sources.guard(&frame.file, frame.line)) else {
        note(case, "no condition leads to it, or its source is not here");
        return Ok(());
    };
    // The stack may have moved since the condition was looked at: what writes a line needs more of it.
    let breakpoint = case.client.break_in(&frame.file, guard.line);
    let back = case.client.back();
    breakpoint.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    let there = back.is_ok_and(|stop| stop.goroutine == goroutine && stop.function == frame.function);
    let place = if there {
        0
    } else {
        go_to_write(case.client, event)?;
        place
    };
    let mut words: Vec<(String, u64, u64)> = Vec::new();
    let mut lookups: Vec<Lookup> = Vec::new();
    // Fields and elements before plain names: those are mostly the call's own.
    let (plain, paths): (Vec<&String>, Vec<&String>) =
        guard.reads.iter().partition(|read| read.chars().all(|c| c.is_alphanumeric() || c == '_'));
    // What a call holds itself, it has written itself.
    let full = case.client.stack(goroutine, Some(Load::LITTLE))?;
    let held: Vec<&str> = full.get(place).map_or_else(Vec::new, |frame| {
        frame.arguments.iter().chain(&frame.locals).map(|variable| variable.name.as_str()).collect()
    });
    for read in paths.into_iter().chain(plain).filter(|read| !held.contains(&read.as_str())) {
        gather(case.client, goroutine, place, read, &mut words, &mut lookups);
    }
    if words.is_empty() && lookups.is_empty() {
        note(case, &format!("nothing of `{}` is in memory: {}", guard.condition, guard.reads.join(", ")));
        return Ok(());
    }
    // Nothing that the reporting call's own frame holds: it is written by that call.
    let mut breakpoints = Vec::new();
    let mut watched = Vec::new();
    for (expression, address, size) in words {
        if watched.len() < WATCHED
            && let Ok(watch) = case.client.watch(address, size)
        {
            watched.push(expression);
            breakpoints.push(watch);
        }
    }
    if !lookups.is_empty() {
        breakpoints.extend(MAPS.iter().filter_map(|(function, _)| case.client.break_at(function, None)));
    }
    let found = back_to_write(case, goroutine, &frame, &lookups)?;
    breakpoints.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    let Some((own, at, deleted)) = found else {
        note(case, &format!("no other call wrote what `{}` read: {}", guard.condition, watched.join(", ")));
        return Ok(());
    };
    let reads = guard.reads.iter().take(6).cloned().collect::<Vec<_>>().join("`, `");
    let condition = format!("`{}` in {} line {} reads `{reads}`", guard.condition, named(&frame.function), guard.line);
    let act = if deleted { "deleted" } else { "wrote" };
    let who = if at.0 == goroutine { "in another call" } else { "in another goroutine" };
    let why = format!("{act} last, {who}, what the condition of the error line read");
    let when = format!("at {}; the line was written at {}", case.at(at.1), case.at(event));
    case.suspect(weight, "write", &own[0], at, why).evidence.extend([condition, when]);
    if let Some(caller) = own.get(1) {
        case.suspect(weight - 14, "write", caller, at, "called the function that wrote it".into());
    }
    Ok(())
}

type Found = (Vec<Frame>, (i64, u64), bool);

fn back_to_write(case: &mut Case, goroutine: i64, reporter: &Frame, lookups: &[Lookup]) -> Result<Option<Found>> {
    for _ in 0..WRITES {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            return Ok(None);
        }
        let map = MAPS.iter().find(|(function, _)| stop.function == *function);
        if let Some((_, deletes)) = map {
            let written =
                case.client.eval(stop.goroutine, 0, "m", Load::LITTLE).map(|m| m.target()).unwrap_or_default();
            let key = case.client.eval(stop.goroutine, 0, "key", Load::LITTLE).ok().map(|key| key.shown());
            let meant = lookups.iter().any(|lookup| {
                lookup.map == written
                    && match (&lookup.key, &key) {
                        (Some(asked), Some(key)) if !key.starts_with('&') => asked == key,
                        _ => *deletes,
                    }
            });
            if !meant {
                continue;
            }
        }
        let stack = case.client.stack(stop.goroutine, None)?;
        let own = case.own.of(&stack);
        let Some((place, first)) = own.first() else { continue };
        // Memory that is made is not written by whoever asks for it.
        let made = ["runtime.mallocgc", "runtime.newobject", "runtime.memclr", "runtime.makeslice", "runtime.newstack"];
        if stack[..*place].iter().any(|frame| made.iter().any(|made| frame.function.starts_with(made))) {
            continue;
        }
        let same_call =
            stop.goroutine == goroutine && first.function == reporter.function && first.offset == reporter.offset;
        if same_call {
            continue;
        }
        let own = own.into_iter().map(|(_, frame)| frame.clone()).collect();
        return Ok(Some((own, (stop.goroutine, stop.event), map.is_some_and(|(_, deletes)| *deletes))));
    }
    Ok(None)
}

/// Finds where in memory the value of an expression is.
fn gather(
    client: &mut Client,
    goroutine: i64,
    frame: usize,
    read: &str,
    words: &mut Vec<(String, u64, u64)>,
    lookups: &mut Vec<Lookup>,
) {
    let mut add = |variable: &Variable| {
        let parts: Vec<(u64, u64)> = match variable.kind {
            kind::STRING | kind::SLICE => vec![(variable.address, 8), (variable.address + 8, 8)],
            kind::INTERFACE => vec![(variable.address + 8, 8)],
            _ => variable.size().map(|size| (variable.address, size)).into_iter().collect(),
        };
        for (address, size) in parts {
            // Delve has addresses of its own for what is in no memory.
            let in_memory = address > 0x1000 && !(0xbeef << 48..0xbef0 << 48).contains(&address);
            if in_memory && address.is_multiple_of(size) && words.iter().all(|(_, known, _)| *known != address) {
                words.push((read.to_owned(), address, size));
            }
        }
    };
    // An element of what is ranged over is found by its value.
    if let Some((over, name)) = read.split_once("[…]") {
        let load = Load { depth: 2, text: 64, elements: 64 };
        let (Ok(all), Ok(one)) = (client.eval(goroutine, frame, over, load), client.eval(goroutine, frame, name, load))
        else {
            return;
        };
        if let Some(element) = all.children.iter().find(|element| element.shown() == one.shown()) {
            match element.kind {
                kind::STRUCT => element.children.iter().for_each(&mut add),
                kind::POINTER => element.children.iter().flat_map(|target| &target.children).for_each(&mut add),
                _ => add(element),
            }
        }
        return;
    }
    if let Some((base, key)) = read.strip_suffix(']').and_then(|read| read.rsplit_once('['))
        && let Ok(map) = client.eval(goroutine, frame, base, Load::LITTLE)
        && map.kind == kind::MAP
    {
        let key = client.eval(goroutine, frame, key, Load::LITTLE).ok().map(|key| key.shown());
        if let Ok(address) = client.eval(goroutine, frame, &format!("*(*uint64)({:#x})", map.address), Load::LITTLE) {
            let map = address.value.parse().unwrap_or_default();
            lookups.push(Lookup { map, key });
        }
    }
    if let Ok(variable) = client.eval(goroutine, frame, read, Load::LITTLE) {
        match variable.kind {
            kind::STRUCT => variable.children.iter().for_each(&mut add),
            // What a pointer leads to is read with it, where nothing is said of its fields.
            _ => add(&variable),
        }
    }
}
