//! The last write of what a failing condition read, by another goroutine or another call than the one that reports.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Case;
use super::errors::reporter;
use crate::cause::own::{is_made, named};
use crate::cause::source::Guard;
use crate::delve::at::go_to_write;
use crate::delve::client::{Client, Frame, Load, Stop, Variable, kind};

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

/// How many times words are watched, four at a time.
const ROUNDS: usize = 4;

/// A word of memory that an expression names.
struct Word {
    expression: String,
    address: u64,
    size: u64,
}

/// What a condition read, as memory.
#[derive(Default)]
struct Memory {
    words: Vec<Word>,
    /// Words of the elements of lists that it read.
    elements: Vec<Word>,
    lookups: Vec<Lookup>,
}

/// A map and the key that was looked up.
struct Lookup {
    map: u64,
    key: Option<String>,
}

/// Words of a line that compares what is with what should be.
const COMPARES: [&str; 22] = [
    "expected",
    "unexpected",
    "want",
    "got ",
    "instead",
    "mismatch",
    "not match",
    "differ",
    "inconsistent",
    "corrupt",
    "wrong",
    "stale",
    "duplicate",
    "twice",
    "drift",
    "should",
    "must be",
    " is not ",
    "!=",
    "out of sync",
    "invariant",
    "lost update",
];

/// How many `return` statements and errors are looked at on the way to where an error was made.
const STEPS: usize = 16;

/// Where the value that an error line reports was looked at: the frame, and the condition in it.
struct Origin {
    frame: Frame,
    goroutine: i64,
    /// The frame's place in the stack.
    place: usize,
    guard: Guard,
}

/// A word that is watched.
struct Watch {
    number: i64,
    address: u64,
    size: u64,
    /// Of a word in a stack, the call that it belongs to: what others wrote there is theirs.
    owner: Option<(String, i64)>,
    /// Its value after the write that is found next.
    after: Option<u64>,
}

/// The last write by others.
struct Found {
    own: Vec<Frame>,
    goroutine: i64,
    event: u64,
    deleted: bool,
    /// Whether there was another value before, that was not only counted up.
    overwritten: bool,
    /// Whether it is a single byte: a flag.
    flag: bool,
}

/// Looks for the last write of what an error line reports.
pub fn look(case: &mut Case, event: u64, text: &str, weight: u32) -> Result<()> {
    let note = |case: &mut Case, what: &str| case.limits.push(format!("the error line of event {event}: {what}"));
    let Some(origin) = origin(case, event, text)? else {
        note(case, "no condition leads to it, or its source is not here");
        return Ok(());
    };
    let Origin { guard, frame, .. } = &origin;
    let found = match last_write(case, &origin, &|stop, first| {
        stop.goroutine == origin.goroutine && first.function == frame.function && first.offset == frame.offset
    })? {
        Ok(found) => found,
        Err(why) => {
            note(case, &format!("`{}` in {}: {why}", guard.condition, named(&frame.function)));
            return Ok(());
        }
    };
    let reads = guard.reads.iter().take(6).cloned().collect::<Vec<_>>().join("`, `");
    let condition = format!("`{}` in {} line {} reads `{reads}`", guard.condition, named(&frame.function), guard.line);
    let act = if found.deleted { "deleted" } else { "wrote" };
    let elsewhere = found.goroutine != origin.goroutine;
    let who = if elsewhere { "in another goroutine" } else { "in another call" };
    let why = format!("{act} last, {who}, what the condition of the error line read");
    let at = (found.goroutine, found.event);
    let when = format!("at {}; the line was written at {}", case.at(at.1), case.at(event));
    // A program that ends after it found a wrong value was brought down by whoever wrote that.
    let text = text.to_lowercase();
    let compares = COMPARES.iter().any(|word| text.contains(word));
    let changed = found.overwritten || found.deleted;
    let decisive = (compares && (elsewhere || changed)) || (changed && elsewhere && !found.flag);
    let weight = if decisive { weight.max(89) } else { weight };
    case.suspect(weight, "write", &found.own[0], at, why).evidence.extend([condition, when]);
    if let Some(caller) = found.own.get(1) {
        case.suspect(weight - 14, "write", caller, at, "called the function that wrote it".into());
    }
    Ok(())
}

/// Who changed last what waiters look at before they wait, and told nobody.
pub fn changed(case: &mut Case, goroutine: i64, stack: &[Frame], waiters: &[i64]) -> Result<Option<(Frame, i64, u64)>> {
    let Some((place, frame)) = case.own.of(stack).first().map(|(place, frame)| (*place, (*frame).clone())) else {
        return Ok(None);
    };
    let guard = Case::sources(&frame).and_then(|sources| {
        sources.loop_guard(&frame.file, frame.line).or_else(|| sources.guard(&frame.file, frame.line))
    });
    let Some(guard) = guard else { return Ok(None) };
    let origin = Origin { frame, goroutine, place, guard };
    let found = last_write(case, &origin, &|stop, _| waiters.contains(&stop.goroutine))?;
    Ok(found.ok().map(|found| (found.own[0].clone(), found.goroutine, found.event)))
}

/// Goes to where what an error line reports was looked at: through the `return` statements that brought an error there,
/// or to where an error with that text was made.
fn origin(case: &mut Case, event: u64, text: &str) -> Result<Option<Origin>> {
    let stop = go_to_write(case.client, event)?;
    let goroutine = stop.goroutine;
    let stack = case.client.stack(goroutine, None)?;
    let own: Vec<(usize, Frame)> = case.own.of(&stack).into_iter().map(|(at, frame)| (at, frame.clone())).collect();
    let frames: Vec<Frame> = own.iter().map(|(_, frame)| frame.clone()).collect();
    let Some(mut frame) = reporter(&frames) else { return Ok(None) };
    let sources = Case::sources(&frame);
    let mut guard = sources.as_ref().and_then(|sources| sources.guard(&frame.file, frame.line));
    let next = frames.iter().position(|other| *other == frame).and_then(|at| frames.get(at + 1));
    // A helper that looks only at what it was given says nothing: its caller gave it that.
    if let (Some(caller), Some(true)) = (next, guard.as_ref().map(|guard| guard.only_parameters)) {
        let of_caller = Case::sources(caller).and_then(|sources| {
            sources.guard(&caller.file, caller.line).or_else(|| sources.arguments(&caller.file, caller.line))
        });
        if let Some(of_caller) = of_caller {
            (frame, guard) = (caller.clone(), Some(of_caller));
        }
    }
    let conditional = guard.is_some();
    let guard = guard.or_else(|| sources.and_then(|sources| sources.arguments(&frame.file, frame.line)));
    let Some(guard) = guard else { return Ok(None) };
    if !conditional && let Some(origin) = made(case, event, text)? {
        return Ok(Some(origin));
    }
    if let Some(origin) = returned(case, goroutine, &frame, &guard)? {
        return Ok(Some(origin));
    }
    if about_error(&guard)
        && let Some(origin) = made(case, event, text)?
    {
        return Ok(Some(origin));
    }
    // The stack may have moved since the condition was looked at: what writes a line needs more of it.
    go_to_write(case.client, event)?;
    let breakpoint = case.client.break_in(&frame.file, guard.line);
    let back = case.client.back();
    breakpoint.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    if back.is_ok_and(|stop| stop.goroutine == goroutine && stop.function == frame.function) {
        return Ok(Some(Origin { frame, goroutine, place: 0, guard }));
    }
    go_to_write(case.client, event)?;
    let place = stack.iter().position(|other| *other == frame).unwrap_or_default();
    Ok(Some(Origin { frame, goroutine, place, guard }))
}

fn about_error(guard: &Guard) -> bool {
    guard.reads.iter().any(|read| read.to_lowercase().ends_with("err") || read.to_lowercase().ends_with("error"))
        || guard.condition.contains("err")
}

/// A condition that looks at values, in the innermost own frame of where the program stands.
fn condition_here(case: &mut Case, stop: &Stop) -> Result<Option<Origin>> {
    let stack = case.client.stack(stop.goroutine, None)?;
    let Some((place, frame)) = case.own.of(&stack).first().map(|(place, frame)| (*place, (*frame).clone())) else {
        return Ok(None);
    };
    let guard = Case::sources(&frame).and_then(|sources| sources.guard(&frame.file, frame.line));
    let guard = guard.filter(|guard| !about_error(guard) || (guard.returns.is_empty() && guard.call.is_none()));
    Ok(guard.map(|guard| Origin { frame, goroutine: stop.goroutine, place, guard }))
}

/// Back through the `return` statements that gave a condition its value, within the call that looked at it.
fn returned(case: &mut Case, goroutine: i64, frame: &Frame, guard: &Guard) -> Result<Option<Origin>> {
    let breakpoints: Vec<i64> =
        guard.returns.iter().filter_map(|(file, line)| case.client.break_in(file, *line)).collect();
    if breakpoints.is_empty() {
        return Ok(None);
    }
    let mut seen: Vec<(String, u64)> = Vec::new();
    let mut origin = None;
    for _ in 0..STEPS {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        if stop.goroutine != goroutine && !guard.received {
            continue;
        }
        let stack = case.client.stack(stop.goroutine, None)?;
        let within = guard.received
            || stack.iter().any(|other| (&other.function, other.offset) == (&frame.function, frame.offset));
        let place = (stop.file.clone(), stop.line);
        if !within || seen.contains(&place) {
            break;
        }
        seen.push(place);
        origin = condition_here(case, &stop)?;
        if origin.is_some() {
            break;
        }
    }
    breakpoints.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    Ok(origin)
}

/// Back to where an error or a text was made that stands in the line, in whatever goroutine.
fn made(case: &mut Case, event: u64, text: &str) -> Result<Option<Origin>> {
    go_to_write(case.client, event)?;
    let makers = [("fmt.Errorf", "format"), ("errors.New", "text"), ("fmt.Sprintf", "format")];
    let breakpoints: Vec<i64> = makers.iter().filter_map(|(maker, _)| case.client.break_at(maker, None)).collect();
    let mut origin = None;
    for _ in 0..STEPS {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        let Some((_, argument)) = makers.iter().find(|(maker, _)| stop.function == *maker) else { continue };
        let load = Load { text: 400, ..Load::LITTLE };
        let format = case.client.eval(stop.goroutine, 0, argument, load).map(|format| format.value).unwrap_or_default();
        if !says(text, &format) {
            continue;
        }
        origin = condition_here(case, &stop)?;
        if origin.is_some() {
            break;
        }
    }
    breakpoints.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    Ok(origin)
}

/// Whether a line may hold what a format makes: the words between its verbs, in their order.
fn says(line: &str, format: &str) -> bool {
    let mut rest = line;
    for (number, part) in format.split('%').enumerate() {
        // The verb itself, and its flags.
        let flags = |c: char| "+#-. ".contains(c) || c.is_ascii_digit();
        let part = if number == 0 { part } else { part.trim_start_matches(flags).get(1..).unwrap_or_default() };
        for word in part.split('"').map(str::trim).filter(|word| word.len() > 2) {
            match rest.split_once(word) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
    }
    format.split('%').any(|part| part.trim().len() > 3)
}

/// The last write of what a condition read, but for those that are to be passed over; or why there is none.
fn last_write(
    case: &mut Case,
    origin: &Origin,
    passed: &dyn Fn(&Stop, &Frame) -> bool,
) -> Result<std::result::Result<Found, String>> {
    let Origin { frame, goroutine, place, guard } = origin;
    let mut memory = Memory::default();
    // Fields and elements before plain names: those are mostly the call's own.
    let (plain, paths): (Vec<&String>, Vec<&String>) =
        guard.reads.iter().partition(|read| read.chars().all(|c| c.is_alphanumeric() || c == '_'));
    for read in paths.into_iter().chain(plain) {
        gather(case.client, *goroutine, *place, read, &mut memory);
    }
    let stack = case.client.stack(*goroutine, Some(Load { depth: 2, ..Load::LITTLE }))?;
    let range = case.client.stack_range(*goroutine, &stack);
    // The call that a word in the goroutine's stack belongs to, by its place.
    let owner = |address: u64| {
        let range = range.as_ref().filter(|range| range.contains(&address))?;
        let below = |frame: &Frame| range.end.checked_add_signed(frame.offset).is_some_and(|end| address < end);
        stack.iter().position(below)
    };
    // What the call itself holds, it has written itself, and deeper calls are over. Its arguments are copies, though they
    // are kept in the frame of its caller.
    let arguments: &[Variable] = stack.get(*place).map_or(&[], |frame| &frame.arguments);
    let shared = |word: &Word| {
        owner(word.address)
            .is_none_or(|of| of > *place && !arguments.iter().any(|argument| argument.covers(word.address)))
    };
    memory.words.retain(shared);
    memory.elements.retain(shared);
    if memory.words.is_empty() && memory.lookups.is_empty() {
        return Ok(Err(format!("nothing of it is in memory that others share: {}", guard.reads.join(", "))));
    }
    memory.elements.retain(|word| memory.words.iter().all(|known| known.address != word.address));
    let names: BTreeSet<&str> = memory.words.iter().map(|word| word.expression.as_str()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let mark = case.client.mark()?;
    let mut best: Option<Found> = None;
    // Where the words themselves were only given their first values, another element of the same list may be wrong.
    let rounds = memory.words.chunks(WATCHED).chain(memory.elements.chunks(WATCHED)).take(ROUNDS);
    for (number, words) in rounds.enumerate() {
        if number > 0 {
            case.client.again(mark)?;
        }
        let mut watched: Vec<Watch> = Vec::new();
        for Word { expression: _, address, size } in words {
            if let Ok(number) = case.client.watch(*address, *size) {
                let owner = owner(*address).map(|of| (stack[of].function.clone(), stack[of].offset));
                let after = case.client.word(*address, *size);
                watched.push(Watch { number, address: *address, size: *size, owner, after });
            }
        }
        let lookups: &[Lookup] = if number == 0 { &memory.lookups } else { &[] };
        let mut breakpoints = Vec::new();
        if !lookups.is_empty() {
            breakpoints.extend(MAPS.iter().filter_map(|(function, _)| case.client.break_at(function, None)));
        }
        let found = back_to_write(case, &mut watched, lookups, passed);
        breakpoints.extend(watched.iter().map(|watch| watch.number));
        breakpoints.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
        if let Some(found) = found? {
            let decisive = found.overwritten || found.deleted;
            if decisive || best.is_none() {
                best = Some(found);
            }
            if decisive {
                break;
            }
        }
        if case.client.share_left() < 0.25 {
            break;
        }
    }
    case.client.unmark(mark);
    let none = || format!("no other call wrote what it read: {names}; looked from {}", named(&frame.function));
    Ok(best.ok_or_else(none))
}

fn back_to_write(
    case: &mut Case,
    watched: &mut Vec<Watch>,
    lookups: &[Lookup],
    passed: &dyn Fn(&Stop, &Frame) -> bool,
) -> Result<Option<Found>> {
    for _ in 0..WRITES {
        if watched.is_empty() && lookups.is_empty() {
            break;
        }
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
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
        let is_made = is_made(&stack[..own.first().map_or(stack.len(), |(place, _)| *place)]);
        let mut change = None;
        if let Some(at) = watched.iter().position(|watch| Some(watch.number) == stop.number) {
            let watch = &mut watched[at];
            let before = case.client.word(watch.address, watch.size);
            change = Some((before, std::mem::replace(&mut watch.after, before), watch.size));
            let foreign = watch.owner.as_ref().is_some_and(|(function, offset)| {
                !stack.iter().any(|frame| (&frame.function, frame.offset) == (function, *offset))
            });
            if foreign || is_made {
                let over = watched.remove(at);
                case.client.clear(over.number);
                continue;
            }
        }
        let Some((_, first)) = own.first() else { continue };
        if is_made || passed(&stop, first) {
            continue;
        }
        let counted = |before: u64, after: u64| after == before.wrapping_add(1) || before == after.wrapping_add(1);
        let overwritten = matches!(change, Some((Some(before), Some(after), _))
            if before != 0 && before != after && !counted(before, after));
        return Ok(Some(Found {
            own: own.into_iter().map(|(_, frame)| frame.clone()).collect(),
            goroutine: stop.goroutine,
            event: stop.event,
            deleted: map.is_some_and(|(_, deletes)| *deletes),
            overwritten,
            flag: matches!(change, Some((_, _, 1))),
        }));
    }
    Ok(None)
}

/// The words of a value that can be watched: its address in memory, aligned.
fn words_of(variable: &Variable, expression: &str) -> Vec<Word> {
    let parts: Vec<(u64, u64)> = match variable.kind {
        kind::STRING | kind::SLICE => vec![(variable.address, 8), (variable.address + 8, 8)],
        kind::INTERFACE => vec![(variable.address + 8, 8)],
        _ => variable.size().map(|size| (variable.address, size)).into_iter().collect(),
    };
    // Delve has addresses of its own for what is in no memory.
    let in_memory = |address: u64| address > 0x1000 && !(0xbeef << 48..0xbef0 << 48).contains(&address);
    let whole = parts.into_iter().filter(|(address, size)| in_memory(*address) && address.is_multiple_of(*size));
    whole.map(|(address, size)| Word { expression: expression.to_owned(), address, size }).collect()
}

fn add(words: &mut Vec<Word>, variable: &Variable, expression: &str) {
    for word in words_of(variable, expression) {
        if words.iter().all(|known| known.address != word.address) {
            words.push(word);
        }
    }
}

/// Finds where in memory the value of an expression is.
fn gather(client: &mut Client, goroutine: i64, frame: usize, read: &str, memory: &mut Memory) {
    let load = Load { depth: 2, text: 64, elements: 64 };
    let Memory { words, elements, lookups } = memory;
    // An element of what is ranged over is found by its value.
    if let Some((over, name)) = read.split_once("[…]") {
        let (Ok(all), Ok(one)) = (client.eval(goroutine, frame, over, load), client.eval(goroutine, frame, name, load))
        else {
            return;
        };
        if let Some(element) = all.children.iter().find(|element| element.shown() == one.shown()) {
            match element.kind {
                kind::STRUCT => element.children.iter().for_each(|field| add(words, field, read)),
                kind::POINTER => {
                    let fields = element.children.iter().flat_map(|target| &target.children);
                    fields.for_each(|field| add(words, field, read));
                }
                _ => add(words, element, read),
            }
        }
        return;
    }
    if let Some((base, key)) = read.strip_suffix(']').and_then(|read| read.rsplit_once('['))
        && let Ok(map) = client.eval(goroutine, frame, base, Load::LITTLE)
        && map.kind == kind::MAP
    {
        let key = client.eval(goroutine, frame, key, Load::LITTLE).ok().map(|key| key.shown());
        if let Some(map) = client.word(map.address, 8) {
            lookups.push(Lookup { map, key });
        }
    }
    let Ok(variable) = client.eval(goroutine, frame, read, load) else { return };
    match variable.kind {
        kind::STRUCT => variable.children.iter().for_each(|field| add(words, field, read)),
        // What a pointer leads to is read with it, where nothing is said of its fields.
        _ => add(words, &variable, read),
    }
    if [kind::SLICE, 17].contains(&variable.kind) {
        for element in &variable.children {
            let first = if element.kind == kind::STRUCT { element.children.first() } else { Some(element) };
            elements.extend(first.and_then(|first| words_of(first, read).into_iter().next()));
        }
    }
}
