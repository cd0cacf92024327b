//! Who waits for whom: locks and their holders, wait groups and channels that nobody serves any more, goroutines that
//! pile up, and a goroutine that never waits.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{Case, How, Parked, writes};
use crate::cause::own::named;
use crate::delve::client::{Frame, Goroutine, Load};

/// So many goroutines with one wait and one origin are a leak.
const PILE: usize = 8;
/// How many changes of a lock's word are looked at: each waiter makes one.
const CHANGES: usize = 60;
/// How many ends of goroutines are looked at.
const ENDS: usize = 80;
/// How many things that are waited for are looked into.
const OBJECTS: usize = 4;

/// What a goroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Mutex,
    Writer,
    Reader,
    Group,
    Condition,
    Receive,
    Send,
    Select,
}

/// The functions in which they wait, and the parameter that says for what.
const WAITS: [(&str, &str, Wait); 9] = [
    ("sync.(*RWMutex).Lock", "rw", Wait::Writer),
    ("sync.(*RWMutex).RLock", "rw", Wait::Reader),
    ("sync.(*Mutex).Lock", "m", Wait::Mutex),
    ("sync.(*WaitGroup).Wait", "wg", Wait::Group),
    ("sync.(*Cond).Wait", "c", Wait::Condition),
    ("runtime.chanrecv", "c", Wait::Receive),
    ("runtime.chansend", "c", Wait::Send),
    ("runtime.selectgo", "", Wait::Select),
    ("runtime.block", "", Wait::Select),
];

/// The wait of a stack, and the address of what is waited for. A lock within another one counts as the inner one.
fn wait(stack: &[Frame]) -> Option<(Wait, u64)> {
    stack.iter().take(12).find_map(|frame| {
        let (_, parameter, wait) = WAITS.iter().find(|(function, ..)| *function == frame.function)?;
        let object = frame.arguments.iter().find(|argument| argument.name == *parameter);
        Some((
            *wait,
            object.map_or(0, |object| if object.target() != 0 { object.target() } else { number(&object.value) }),
        ))
    })
}

fn number(text: &str) -> u64 {
    text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16)).unwrap_or_default()
}

/// What a goroutine waits for, in words.
pub fn waits(goroutine: &Goroutine, stack: &[Frame]) -> String {
    let has = |function: &str| stack.iter().any(|frame| frame.function.starts_with(function));
    let word = match wait(stack) {
        Some((Wait::Mutex, _)) => "a mutex",
        Some((Wait::Writer, _)) => "a lock for writing",
        Some((Wait::Reader, _)) => "a lock for reading",
        Some((Wait::Group, _)) => "a wait group",
        Some((Wait::Condition, _)) => "a condition",
        Some((Wait::Receive, _)) => "a channel to receive from",
        Some((Wait::Send, _)) => "a channel to send to",
        Some((Wait::Select, _)) => "one of several channels",
        None if has("time.Sleep") => "time to pass",
        None if has("internal/poll.") => "input or output",
        None if goroutine.status == 2 || goroutine.status == 1 => "nothing: it runs",
        None if goroutine.status == 3 => "a system call",
        None => "the runtime",
    };
    word.to_owned()
}

pub fn look(case: &mut Case) -> Result<()> {
    let piled = leaks(case);
    if !matches!(case.end.how, How::Deadlock | How::Stopped | How::Signal) {
        return Ok(());
    }
    let mut objects: Objects = BTreeMap::new();
    for parked in case.parked.iter().filter(|parked| !piled.contains(&parked.goroutine.id)) {
        let Some((wait, address)) = wait(&parked.stack) else { continue };
        if !case.own.of(&parked.stack).is_empty() && wait != Wait::Select && address != 0 {
            objects.entry((wait, address)).or_default().push(parked.clone());
        }
    }
    let objects: Vec<_> = stuck_before(case, objects)?.into_iter().collect();
    for ((wait, address), waiters) in objects.iter().take(2 * OBJECTS) {
        if matches!(wait, Wait::Mutex | Wait::Writer | Wait::Reader) {
            holder(case, *wait, *address, waiters)?;
        }
    }
    // Who waits for a lock explains who waits for what it was to send.
    let locks = case.suspects.iter().any(|suspect| suspect.kind == "hang");
    let served: Vec<_> = objects.iter().filter(|((wait, _), _)| *wait >= Wait::Group).collect();
    // Who piles up explains what the rest waits for.
    let looked_at = if !piled.is_empty() {
        0
    } else if locks {
        1
    } else {
        OBJECTS
    };
    for ((wait, address), waiters) in served.into_iter().take(looked_at) {
        if waiters.len() < PILE {
            unserved(case, *wait, *address, waiters, locks)?;
        }
    }
    if case.end.how == How::Deadlock {
        let waiting: Vec<(i64, Frame)> = case
            .parked
            .iter()
            .filter_map(|parked| Some((parked.goroutine.id, case.own.of(&parked.stack).first()?.1.clone())))
            .take(3)
            .collect();
        for (goroutine, frame) in waiting {
            let at = (goroutine, case.last);
            case.suspect(50, "hang", &frame, at, "waits for what nobody brings".into());
        }
    }
    Ok(())
}

/// The same at one moment, without a history: who waits with a lock taken holds it, by the sources.
pub fn look_at_moment(case: &mut Case) {
    let piled = leaks(case);
    if !matches!(case.end.how, How::Deadlock | How::Signal) {
        return;
    }
    let mut waiting: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for parked in &case.parked {
        if let Some((Wait::Mutex | Wait::Writer | Wait::Reader, address)) = wait(&parked.stack)
            && address != 0
        {
            waiting.entry(address).or_default().push(parked.goroutine.id.to_string());
        }
    }
    let mut cases = 0;
    for parked in case.parked.clone() {
        let (id, own) = (parked.goroutine.id, case.own.of(&parked.stack));
        if own.is_empty() || piled.contains(&id) || from_a_timer(case, &parked) {
            continue;
        }
        for (place, frame) in &own {
            let taken = Case::sources(frame).map_or_else(Vec::new, |sources| sources.taken(&frame.file, frame.line));
            for (lock, line) in taken {
                let Some(address) = held(case, id, *place, &lock, &waiting) else { continue };
                let ids = &waiting[&address];
                let why = format!(
                    "holds `{lock}`, by its source, which {}, and waits for {} itself in line {}",
                    waited(ids),
                    waits(&parked.goroutine, &parked.stack),
                    frame.line
                );
                let by = format!("goroutine {id}, which took it in {} line {line}", named(&frame.function));
                let waiters = ids.iter().filter_map(|waiter| waiter.parse().ok());
                case.holders.extend(waiters.map(|waiter| (waiter, by.clone())));
                let middle = waiting.values().any(|ids| ids.contains(&id.to_string()));
                let taking = Frame { line, ..(*frame).clone() };
                case.suspect(if middle { 89 } else { 91 }, "hang", &taking, (id, case.last), why);
                case.suspect(80, "hang", frame, (id, case.last), "waits here while it holds the lock".into());
                cases += 1;
            }
        }
        let waits = waits(&parked.goroutine, &parked.stack);
        let (_, frame) = own[0];
        let runs = parked.goroutine.status == 2;
        let why = if runs { "was running here".to_owned() } else { format!("waits here for {waits}") };
        let kind = if runs { "loop" } else { "hang" };
        // Who waits for a group waits for the others.
        let for_others = matches!(super::blocked::wait(&parked.stack), Some((Wait::Group, _)));
        let weight = if runs {
            60
        } else if for_others {
            45
        } else {
            50
        };
        if cases < 12 {
            case.suspect(weight, kind, frame, (id, case.last), why);
        }
    }
}

fn from_a_timer(case: &mut Case, parked: &Parked) -> bool {
    let sleeps = parked.stack.iter().any(|frame| frame.function == "time.Sleep");
    sleeps || wait(&parked.stack).is_some_and(|(wait, address)| from_outside(case, wait, address, &parked.stack))
}

/// The lock that an expression names in a frame, where somebody waits for it: itself, what it points to, or a field of
/// either.
fn held(
    case: &mut Case,
    goroutine: i64,
    place: usize,
    lock: &str,
    waiting: &BTreeMap<u64, Vec<String>>,
) -> Option<u64> {
    let load = Load { depth: 2, ..Load::LITTLE };
    let variable = case.client.eval(goroutine, place, lock, load).ok()?;
    let targets = variable.children.iter().chain(variable.children.iter().flat_map(|child| &child.children));
    let all = std::iter::once(&variable).chain(targets);
    all.map(|variable| variable.address).find(|address| waiting.contains_key(address))
}

type Objects = BTreeMap<(Wait, u64), Vec<Parked>>;

/// Of what is waited for, that which was waited for a moment before, too: the rest may be on its way.
fn stuck_before(case: &mut Case, mut objects: Objects) -> Result<Objects> {
    let Some(before) = case.before.filter(|_| !objects.is_empty()) else { return Ok(objects) };
    case.client.restart(before)?;
    let mut gone = Vec::new();
    for (key, waiters) in &objects {
        let mut waited_then = false;
        for waiter in waiters.iter().take(3) {
            let stack = case.client.stack(waiter.goroutine.id, Some(Load::LITTLE)).unwrap_or_default();
            waited_then |= wait(&stack) == Some(*key);
        }
        if !waited_then {
            gone.push(*key);
        }
    }
    objects.retain(|key, _| !gone.contains(key));
    Ok(objects)
}

/// Finds who has a lock: the last change of its word from free to taken.
fn holder(case: &mut Case, wait: Wait, address: u64, waiters: &[Parked]) -> Result<()> {
    // Of a lock for readers and writers the writers' own mutex comes first, then two semaphores, then the number of
    // readers. A reader waits for a writer, which may wait for readers itself; then that one tells.
    let of_readers = wait == Wait::Writer;
    let word = if of_readers { address + 16 } else { address };
    case.client.restart(case.last)?;
    let watch = case.client.watch(word, 4)?;
    let mut released: BTreeMap<i64, usize> = BTreeMap::new();
    let mut found = None;
    for _ in 0..CHANGES {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        let stack = case.client.stack(stop.goroutine, None)?;
        if of_readers {
            let has = |function: &str| stack.iter().take(6).any(|frame| frame.function == function);
            if has("sync.(*RWMutex).RUnlock") {
                *released.entry(stop.goroutine).or_default() += 1;
            } else if has("sync.(*RWMutex).RLock") || has("sync.(*RWMutex).TryRLock") {
                match released.get_mut(&stop.goroutine).filter(|count| **count > 0) {
                    Some(count) => *count -= 1,
                    None => {
                        found = Some((stop, stack));
                        break;
                    }
                }
            }
            continue;
        }
        let before = case.client.eval(-1, 0, &format!("*(*uint32)({word:#x})"), Load::LITTLE)?;
        if number(&before.value) & 1 == 0 {
            found = Some((stop, stack));
            break;
        }
    }
    case.client.clear(watch);
    let Some((stop, stack)) = found else { return Ok(()) };
    let own: Vec<Frame> = case.own.of(&stack).into_iter().map(|(_, frame)| frame.clone()).collect();
    let Some(frame) = own.first() else { return Ok(()) };
    let now = case.parked.iter().find(|parked| parked.goroutine.id == stop.goroutine).cloned();
    let where_now = now.as_ref().and_then(|now| {
        let (_, frame) = *case.own.of(&now.stack).first()?;
        Some((frame.clone(), waits(&now.goroutine, &now.stack)))
    });
    let still = now.as_ref().is_some_and(|now| {
        now.stack.iter().any(|other| other.function == frame.function)
            && super::blocked::wait(&now.stack).is_none_or(|(_, object)| object != address)
    });
    let ids: Vec<String> = waiters.iter().map(|parked| parked.goroutine.id.to_string()).collect();
    let mut why = format!("took the lock that {} and never gave it back", waited(&ids));
    if let Some((frame, waits)) = where_now.as_ref().filter(|_| still) {
        why = format!("holds the lock that {}, and waits for {waits} itself in line {}", waited(&ids), frame.line);
    }
    let by = format!("goroutine {}, which took it in {} line {}", stop.goroutine, named(&frame.function), frame.line);
    case.holders.extend(waiters.iter().map(|parked| (parked.goroutine.id, by.clone())));
    let taken = format!("taken at {}", case.at(stop.event));
    let at = (stop.goroutine, stop.event);
    // One who holds a lock and waits for another one is in the middle of the chain, or in a cycle.
    let middle = now
        .as_ref()
        .and_then(|now| super::blocked::wait(&now.stack))
        .is_some_and(|(wait, object)| object != address && matches!(wait, Wait::Mutex | Wait::Writer | Wait::Reader));
    let weight = if middle { 89 } else { 91 };
    case.suspect(weight, "hang", frame, at, why).evidence.push(taken);
    if let Some((stands, waits)) = where_now.filter(|_| still) {
        let why = format!("waits here for {waits} while it holds the lock");
        case.suspect(80, "hang", &stands, (stop.goroutine, case.last), why);
    }
    if let Some(caller) = own.get(1) {
        case.suspect(70, "hang", caller, at, "called the function that holds the lock".into());
    }
    Ok(())
}

fn waited(ids: &[String]) -> String {
    match ids {
        [one] => format!("goroutine {one} waits for"),
        _ => format!("goroutines {} wait for", ids[..ids.len().min(10)].join(", ")),
    }
}

/// A goroutine that ended: its number, and its last own line.
struct Ended {
    goroutine: i64,
    event: u64,
    frame: Frame,
}

/// Who should have served what is waited for: those who did before, or who were started for it, and have ended.
fn unserved(case: &mut Case, wait: Wait, address: u64, waiters: &[Parked], locks: bool) -> Result<()> {
    case.client.restart(case.last)?;
    let service: &[&str] = match wait {
        Wait::Group => &["sync.(*WaitGroup).Add"],
        Wait::Condition => &["sync.(*Cond).Signal", "sync.(*Cond).Broadcast"],
        Wait::Send => &["runtime.chanrecv"],
        _ => {
            if from_outside(case, wait, address, &waiters[0].stack) {
                return Ok(());
            }
            &["runtime.chansend"]
        }
    };
    let parameter = match wait {
        Wait::Group => "wg",
        _ => "c",
    };
    let condition = format!("uintptr({parameter}) == {address}");
    let mut breakpoints: Vec<i64> =
        service.iter().filter_map(|function| case.client.break_at(function, Some(&condition))).collect();
    breakpoints.extend(case.client.break_at("runtime.goexit1", None));
    let mut served: Vec<i64> = Vec::new();
    let mut starters: Vec<String> = Vec::new();
    let mut ended: Vec<Ended> = Vec::new();
    for _ in 0..ENDS {
        let stop = case.client.back()?;
        if stop.exited || stop.breakpoint.is_none() {
            break;
        }
        if stop.function == "runtime.goexit1" {
            if ended.iter().all(|known| known.goroutine != stop.goroutine) {
                ended.extend(last_line(case, stop.goroutine, stop.event)?);
            }
            continue;
        }
        let stack = case.client.stack(stop.goroutine, None)?;
        if wait == Wait::Group && !stack.iter().take(4).any(|frame| frame.function == "sync.(*WaitGroup).Done") {
            starters.extend(case.own.of(&stack).first().map(|(_, frame)| named(&frame.function)));
            continue;
        }
        served.push(stop.goroutine);
        // The last few who served a channel are enough; each member of a group counts.
        if wait != Wait::Group && served.len() >= 3 {
            break;
        }
    }
    breakpoints.into_iter().for_each(|breakpoint| case.client.clear(breakpoint));
    let what = match wait {
        Wait::Group => "the wait group",
        Wait::Condition => "the condition",
        _ => "the channel",
    };
    let ids: Vec<String> = waiters.iter().map(|parked| parked.goroutine.id.to_string()).collect();
    // Those who served a channel before and have gone; or members of a group that went without a word.
    let base = if locks { 72 } else { 86 };
    let mut added = 0;
    for Ended { goroutine, event, frame } in &ended {
        let served_before = served.contains(goroutine);
        let guilty = match wait {
            Wait::Group => !served_before,
            _ => served_before || served.is_empty(),
        };
        if guilty && added < 4 {
            let why = match (wait, served_before) {
                (Wait::Group, _) => format!("ended without telling {what} that {}", waited(&ids)),
                (_, true) => format!("served {what} that {}, and ended without closing it", waited(&ids)),
                _ => format!("ended, and nobody ever served {what} that {}", waited(&ids)),
            };
            let evidence = format!("ended at {}", case.at(*event));
            case.suspect(base - added, "hang", frame, (*goroutine, *event), why).evidence.push(evidence);
            added += 1;
        }
    }
    if wait == Wait::Condition {
        silent_change(case, waiters, &ids, base + 2)?;
    }
    // Those who live, and are stuck elsewhere.
    case.client.restart(case.last)?;
    let idle = idle(case);
    let stuck: Vec<(i64, Frame, String)> = case
        .parked
        .iter()
        .filter(|parked| waiters.iter().all(|waiter| waiter.goroutine.id != parked.goroutine.id))
        .filter(|parked| !idle.contains(&parked.goroutine.id))
        .filter(|parked| {
            super::blocked::wait(&parked.stack).is_some_and(|(other, object)| (other, object) != (wait, address))
        })
        .filter(|parked| wait == Wait::Group || served.is_empty() || served.contains(&parked.goroutine.id))
        .filter_map(|parked| {
            let frame = case.own.of(&parked.stack).first()?.1.clone();
            Some((parked.goroutine.id, frame, waits(&parked.goroutine, &parked.stack)))
        })
        .take(3)
        .collect();
    for (goroutine, frame, waits) in stuck {
        let why = format!("waits for {waits}, and {} {what}", waited(&ids));
        let weight = base - 2 - added;
        case.suspect(weight, "hang", &frame, (goroutine, case.last), why);
        added += 1;
    }
    Ok(())
}

/// Who changed what the waiters of a condition look at, and woke nobody, or not all of them.
fn silent_change(case: &mut Case, waiters: &[Parked], ids: &[String], weight: u32) -> Result<()> {
    let waiting: Vec<i64> = waiters.iter().map(|parked| parked.goroutine.id).collect();
    case.client.restart(case.last)?;
    if let Some((frame, goroutine, event)) = writes::changed(case, waiting[0], &waiters[0].stack, &waiting)? {
        let why = format!("changed last what {} before waiting, and did not wake all of them", looked(ids));
        let when = format!("at {}", case.at(event));
        case.suspect(weight, "hang", &frame, (goroutine, event), why).evidence.push(when);
    }
    Ok(())
}

fn looked(ids: &[String]) -> String {
    match ids {
        [one] => format!("goroutine {one} looks at"),
        _ => format!("goroutines {} look at", ids[..ids.len().min(10)].join(", ")),
    }
}

/// Goroutines whose wait ends from outside of the program's goroutines.
fn idle(case: &mut Case) -> BTreeSet<i64> {
    let waiting: Vec<(i64, Wait, u64, Vec<Frame>)> = case
        .parked
        .iter()
        .filter_map(|parked| {
            let (wait, address) = wait(&parked.stack)?;
            Some((parked.goroutine.id, wait, address, parked.stack.clone()))
        })
        .collect();
    let outside = waiting.iter().filter(|(_, wait, address, stack)| from_outside(case, *wait, *address, stack));
    outside.map(|(goroutine, ..)| *goroutine).collect()
}

/// Whether what is waited for comes from no goroutine of the program: a timer, a signal, or the end of a context.
fn from_outside(case: &mut Case, wait: Wait, address: u64, stack: &[Frame]) -> bool {
    if wait != Wait::Receive || address == 0 {
        return false;
    }
    let timer = case.client.eval(-1, 0, &format!("(*runtime.hchan)({address:#x}).timer"), Load::LITTLE);
    if timer.is_ok_and(|timer| timer.target() != 0) {
        return true;
    }
    let notified = case.client.eval(-1, 0, "os/signal.handlers.m", Load { elements: 64, ..Load::LITTLE });
    if notified.is_ok_and(|all| all.children.iter().step_by(2).any(|channel| channel.target() == address)) {
        return true;
    }
    let own = case.own.of(stack).first().map(|(_, frame)| (*frame).clone());
    own.is_some_and(|frame| {
        Case::sources(&frame)
            .is_some_and(|sources| sources.line(&frame.file, frame.line).is_some_and(|line| line.contains(".Done()")))
    })
}

/// The last line of its own that a goroutine ran: it stands where Go ends it.
fn last_line(case: &mut Case, goroutine: i64, event: u64) -> Result<Option<Ended>> {
    let mut outside = false;
    for _ in 0..24 {
        let stop = case.client.instruction_back()?;
        let frame = Frame { function: stop.function, file: stop.file, line: stop.line, ..Frame::default() };
        // What Go wraps around a function of a `go` statement returns after it.
        if case.own.is(&frame) && !frame.function.contains(".gowrap") {
            return Ok(Some(Ended { goroutine, event, frame }));
        }
        outside |= !frame.function.starts_with("runtime.") && !frame.function.contains(".gowrap");
        if outside {
            break;
        }
    }
    Ok(None)
}

/// One goroutine of a pile: its number, where it waits, where it was created, and what it waits for.
type Member = (i64, Frame, Frame, String);

/// Goroutines that pile up.
fn leaks(case: &mut Case) -> BTreeSet<i64> {
    let mut piles: BTreeMap<(String, u64, String, u64), Vec<Member>> = BTreeMap::new();
    for Parked { goroutine, stack } in &case.parked {
        let kind = wait(stack).map(|(wait, _)| wait);
        let Some((_, frame)) = case.own.of(stack).first().copied() else { continue };
        if matches!(kind, None | Some(Wait::Mutex | Wait::Writer | Wait::Reader)) {
            continue;
        }
        let created = &goroutine.created;
        let key = (frame.function.clone(), frame.line, created.function.clone(), created.line);
        let entry = (goroutine.id, frame.clone(), created.clone(), waits(goroutine, stack));
        piles.entry(key).or_default().push(entry);
    }
    let mut members = BTreeSet::new();
    for pile in piles.into_values().filter(|pile| pile.len() >= PILE) {
        members.extend(pile.iter().map(|(goroutine, ..)| *goroutine));
        let (goroutine, frame, created, waits) = pile[0].clone();
        let count = pile.len();
        let origin = format!("{} {}:{}", named(&created.function), created.file, created.line);
        let at = (goroutine, case.last);
        let why = format!("{count} goroutines wait here for {waits} at the end");
        let evidence = format!("created by {origin}");
        case.suspect(87, "leak", &frame, at, why).evidence.push(evidence);
        case.suspect(85, "leak", &created, at, format!("created {count} goroutines that never ended"));
    }
    members
}

/// The events at which it is looked who runs: of a program that did not end by itself.
pub fn moments(case: &Case) -> Vec<u64> {
    match case.end.how {
        How::Stopped | How::Signal => case.timeline.samples(4, case.last),
        _ => Vec::new(),
    }
}

/// A goroutine that runs whenever one looks, and the loop that it runs in.
pub fn look_for_loops(case: &mut Case) -> Result<()> {
    let mut samples: Vec<(i64, u64, Vec<Frame>)> = Vec::new();
    // One that is in a system call every time waits there.
    let mut in_calls = 0;
    for event in moments(case) {
        case.client.restart(event)?;
        let running = case.client.goroutines()?.into_iter().filter(|goroutine| [1, 2, 3].contains(&goroutine.status));
        for goroutine in running.collect::<Vec<_>>() {
            let stack = case.client.stack(goroutine.id, None)?;
            if !case.own.of(&stack).is_empty() {
                samples.push((goroutine.id, event, stack));
                in_calls += usize::from(goroutine.status == 3);
            }
        }
    }
    let Some((goroutine, ..)) = samples.first() else { return Ok(()) };
    let goroutine = *goroutine;
    let of: Vec<_> = samples.iter().filter(|(id, ..)| *id == goroutine).collect();
    if of.len() < 3 || in_calls == samples.len() {
        return Ok(());
    }
    // The innermost own frame that is there every time, and stands in a loop.
    let (_, event, stack) = of[of.len() - 1];
    let everywhere = |frame: &Frame| {
        of.iter().all(|(_, _, stack)| {
            stack.iter().any(|other| other.function == frame.function && other.offset == frame.offset)
        })
    };
    let own: Vec<Frame> = case.own.of(stack).into_iter().map(|(_, frame)| frame.clone()).collect();
    let common: Vec<&Frame> = own.iter().filter(|frame| everywhere(frame)).collect();
    let looping = common
        .iter()
        .find(|frame| Case::sources(frame).is_some_and(|sources| sources.in_loop(&frame.file, frame.line)));
    let Some(frame) = looping.or(common.first()).map(|frame| (*frame).clone()) else { return Ok(()) };
    let why = format!("runs without ever waiting: seen in {} of {} looks over the second half", of.len(), 4);
    let evidence =
        format!("in {}", own.iter().map(|frame| named(&frame.function)).collect::<Vec<_>>().join(" called by "));
    case.suspect(84, "loop", &frame, (goroutine, *event), why).evidence.push(evidence);
    if let Some(inner) = own.first().filter(|inner| inner.function != frame.function) {
        case.suspect(70, "loop", inner, (goroutine, *event), "is called again and again".into());
    }
    Ok(())
}
