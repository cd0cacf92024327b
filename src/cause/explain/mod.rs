//! Why a recorded program ended as it did: how it ended, what it said last, who waits for whom, and suspects.
//!
//! Each detector looks for one class of defects, by what the class has in common and never by names of a program. It
//! gives suspects with a weight; the heaviest comes first. What a detector could not find out in the time that there is
//! is no failure of the others.

mod blocked;
mod core;
mod crash;
mod errors;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

pub(super) use errors::is_bad;

use self::core::explain_core;
use crate::binary::Facts;
use crate::cause::credentials;
use crate::cause::own::{Own, named};
use crate::cause::source::Sources;
use crate::delve::at::go_to_write;
use crate::delve::client::{Client, Frame, Goroutine, Load, Variable};
use crate::delve::core::prepare_core;
use crate::delve::{Listen, ReplayPlan, ask, prepare};
use crate::doctor::Host;
use crate::error::Shown;
use crate::rr::log::{Line, Log};
use crate::rr::trace::{Delivered, Timeline, Trace};
use crate::sys::process::End as ProcessEnd;
use crate::words::seconds;

/// How long is looked, beside the opening, the log and one replay to the end.
const TIME: Duration = Duration::from_secs(20);
/// And so many times what that replay took: what runs backwards replays parts of the trace again and again.
const REPLAYS: u32 = 10;
/// So many events before an event its mark is left: rr goes on to where a mark can be, and then looks for one that is in
/// front of the event's own beginning.
const BEFORE: u64 = 4;
/// A replay that takes longer makes people wait: they are told what for.
const LONG: Duration = Duration::from_secs(2);

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// By itself: main returned, os.Exit, log.Fatal.
    Exit,
    /// A panic that nobody recovered.
    Panic,
    /// A fatal error of Go's runtime.
    Fatal,
    /// A signal, other than SIGINT and SIGTERM from outside.
    Signal,
    /// SIGINT or SIGTERM came from outside, whatever the program made of it.
    Stopped,
    /// Go's runtime saw that every goroutine waits.
    Deadlock,
}

/// The end of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct End {
    pub how: How,
    /// Its exit code, if it had one.
    pub code: Option<i32>,
    /// The signal that ended or stopped it, by its number.
    pub signal: Option<i32>,
    /// What Go's runtime said of it.
    pub message: Option<String>,
}

/// A place in the program's own code that may be to blame.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Suspect {
    /// The class of defect: panic, fatal, exit, hang, write, leak, retry, loop, context.
    pub kind: &'static str,
    /// A closure counts as the function around it.
    pub function: String,
    pub file: String,
    /// The line of the call.
    pub line: u64,
    pub goroutine: i64,
    /// The moment that it was seen at; 0 in a core dump, which has only one.
    pub event: u64,
    /// What it did, in a sentence.
    pub why: String,
    /// What was seen.
    pub evidence: Vec<String>,
    /// The command that goes there.
    pub command: String,
    #[serde(skip)]
    pub weight: u32,
}

/// A frame as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShownFrame {
    pub function: String,
    pub file: String,
    pub line: u64,
    /// Arguments and local variables, `name = value`, of the program's own frames.
    pub variables: Vec<String>,
}

/// An error line, and who wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ErrorLine {
    pub event: u64,
    /// Seconds since the recording began.
    pub time: f64,
    pub text: String,
    /// How many lines say the same but for numbers.
    pub times: usize,
    pub goroutine: i64,
    pub stack: Vec<ShownFrame>,
}

/// Goroutines with the same stack.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Group {
    pub count: usize,
    pub goroutines: Vec<i64>,
    /// What they wait for.
    pub waits: String,
    /// The goroutine or function that holds it, as far as that was found.
    pub held_by: Option<String>,
    /// Where they were created.
    pub created: Option<String>,
    pub stack: Vec<ShownFrame>,
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Explanation {
    /// The trace's name, or the core dump's path.
    pub trace: String,
    pub end: End,
    /// The likeliest first.
    pub suspects: Vec<Suspect>,
    /// The last lines of level error and above, the last first.
    pub errors: Vec<ErrorLine>,
    pub goroutines: Vec<Group>,
    /// What could not be found out, and what cannot be trusted.
    pub limits: Vec<String>,
    /// What to type next.
    pub next: Vec<String>,
}

/// One goroutine at the end, with its stack.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub goroutine: Goroutine,
    pub stack: Vec<Frame>,
}

/// Everything that the detectors share.
pub(super) struct Case<'a> {
    pub client: &'a mut Client,
    pub own: Own,
    pub log: &'a Log,
    pub timeline: &'a Timeline,
    pub end: End,
    /// The last event in which the whole program is there.
    pub last: u64,
    /// The lines that report a failure, as [`errors::reports`] gives them.
    pub reports: Vec<Vec<Line>>,
    /// Who wrote the first line of each of them: the goroutine and its stack, by the line's event.
    pub writers: BTreeMap<u64, (i64, Vec<Frame>)>,
    /// Of a program that was stopped, an event a moment before: who is stuck at the end was stuck then, too.
    pub before: Option<u64>,
    /// The event in which Go's runtime said why it ends the program.
    pub said: Option<u64>,
    pub parked: Vec<Parked>,
    pub suspects: Vec<Suspect>,
    pub errors: Vec<ErrorLine>,
    pub limits: Vec<String>,
    /// Whether values that look like credentials are shown.
    pub values: bool,
    /// Who holds what a goroutine waits for.
    pub holders: Vec<(i64, String)>,
    name: String,
    /// The command that opens a core dump. Of a trace each event has its own.
    opened_by: Option<String>,
}

/// How a program ended, as far as its trace and its lines tell.
///
/// Of one that was stopped, the signal too; of one that Go's runtime ended, the event of its first word on it.
pub fn end(trace: &Trace, log: &Log, timeline: &Timeline) -> Result<(End, Option<Delivered>, Option<u64>)> {
    let program = trace.program()?;
    let (code, killed) = match program.end {
        Some(ProcessEnd::Code(code)) => (Some(code), None),
        Some(ProcessEnd::Signal(number)) => (None, Some(number)),
        None => (None, None),
    };
    let pids: Vec<i32> = log.lines.iter().map(|line| line.pid).collect();
    let outside = |number: i32| [2, 15].contains(&number);
    let first = timeline.signals.iter().find(|signal| {
        outside(signal.number)
            && signal.asynchronous
            && !timeline.is_own(signal.sender)
            && !pids.contains(&signal.sender)
    });
    let said = |start: &str| log.said_by_runtime(&[start]);
    let failed = code == Some(2) || killed == Some(6);
    let fatal = said("fatal error: ").filter(|_| failed);
    let panic = said("panic: ").filter(|_| failed);
    let (how, line, signal) = match (first, fatal, panic) {
        (Some(signal), ..) => (How::Stopped, None, Some(signal.number)),
        (_, Some(line), _) if line.text.contains("all goroutines are asleep") => (How::Deadlock, Some(line), killed),
        (_, Some(line), _) => (How::Fatal, Some(line), killed),
        (_, _, Some(line)) => (How::Panic, Some(line), killed),
        _ if killed.is_some() => (How::Signal, None, killed),
        _ => {
            let quit = said("SIGQUIT: quit").or_else(|| said("SIGABRT: abort")).filter(|_| failed);
            match quit {
                Some(line) => (How::Signal, Some(line), Some(if line.text.starts_with("SIGQUIT") { 3 } else { 6 })),
                None => (How::Exit, None, None),
            }
        }
    };
    let message = line.map(|line| credentials::cut(&line.text).into_owned());
    Ok((End { how, code, signal, message }, first.copied(), line.map(|line| line.event)))
}

/// Opens a trace in Delve, looks into it, and ends Delve. `None` if a signal to us ended Delve before that. `time` is how
/// long is looked at most, where the length of a replay shall not decide.
///
/// # Errors
/// A trace that cannot be replayed here, a Delve or an rr that fails at it.
pub fn examine(
    host: &Host,
    trace: &Trace,
    time: Option<Duration>,
    values: bool,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Explanation>> {
    let opening = prepare(host, trace)?;
    let log = Log::of(host, trace, say)?;
    let timeline = trace.timeline()?;
    say(&format!("looking into `{}` with Delve {}", trace.name, opening.delve.version));
    let mut look = |client: &mut Client| explain(trace, &opening, client, (&log, timeline), (time, values), say);
    ask(&mut look, &mut |ready| opening.serve(&Listen::loopback(0), ready, &mut |_| {}))
}

/// The same for a core dump. `program` is the one that wrote it, where that is not the one that the core dump names.
///
/// # Errors
/// A file that is no core dump of such a program, a Delve that fails at it.
pub fn examine_core(
    host: &Host,
    file: &Path,
    program: Option<&Path>,
    values: bool,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Explanation>> {
    let plan = prepare_core(host, file, program)?;
    let (core, program) = (file.shown(), plan.program.shown());
    say(&format!("looking into `{core}` of `{program}` with Delve {}", plan.delve.version));
    let mut look = |client: &mut Client| explain_core(&plan, client, values);
    ask(&mut look, &mut |ready| plan.serve(ready, &mut |_| {}))
}

/// Looks into a trace that is open in Delve.
fn explain(
    trace: &Trace,
    opening: &ReplayPlan,
    client: &mut Client,
    (log, timeline): (&Log, &Timeline),
    (time, values): (Option<Duration>, bool),
    say: &mut dyn FnMut(&str),
) -> Result<Explanation> {
    let facts = opening.program.as_ref();
    let (end, stopped, said) = end(trace, log, timeline)?;
    let case = Case::of(client, facts, log, timeline, end, trace.name.clone(), values);
    // What a program does once it was asked to stop hides what it was asked to stop for.
    let last = stopped.map_or_else(|| timeline.end(), |signal| signal.event.saturating_sub(2).max(1));
    let reports = errors::reports(log, case.end.how, last);
    let mut case = Case { last, before: stopped.map(|signal| signal.before), said, reports, ..case };
    case.trust(facts);
    let began = Instant::now();
    case.attempt("the events that matter", Case::visit);
    let replay = began.elapsed();
    let time = time.unwrap_or(TIME + REPLAYS * replay);
    case.client.allow(time);
    if replay > LONG {
        let (replay, time) = (seconds(replay), seconds(time));
        say(&format!("a replay to the end takes {replay}: this may take up to {time} more (`--time`)"));
    }
    let attempts: [(&str, Detector); 5] = [
        ("the goroutines at the end", |case| case.gather_at_the_end()),
        ("how it crashed", crash::look),
        ("what it said last", errors::look),
        ("who waits for whom", blocked::look),
        ("which loop does not end", blocked::look_for_loops),
    ];
    for (what, detector) in attempts {
        if replay > LONG {
            say(&format!("looking at {what}"));
        }
        case.attempt(what, detector);
    }
    Ok(case.finish())
}

/// Looks for one class of defects.
type Detector = for<'a, 'b> fn(&'a mut Case<'b>) -> Result<()>;

impl<'a> Case<'a> {
    /// A case of which nothing is known yet.
    fn of(
        client: &'a mut Client,
        facts: Option<&Facts>,
        log: &'a Log,
        timeline: &'a Timeline,
        end: End,
        name: String,
        values: bool,
    ) -> Self {
        Self {
            client,
            own: facts.map(Own::of_program).unwrap_or_default(),
            log,
            timeline,
            end,
            last: 0,
            reports: Vec::new(),
            writers: BTreeMap::new(),
            before: None,
            said: None,
            parked: Vec::new(),
            suspects: Vec::new(),
            errors: Vec::new(),
            limits: Vec::new(),
            values,
            holders: Vec::new(),
            name,
            opened_by: None,
        }
    }

    fn attempt(&mut self, what: &str, detector: impl FnOnce(&mut Self) -> Result<()>) {
        if self.client.left().is_zero() {
            self.limits.push(format!("{what}: there was no time left to look"));
        } else if let Err(error) = detector(self) {
            self.limits.push(format!("{what}: {error:#}"));
        }
    }

    /// Says what cannot be trusted, by how the program was built.
    fn trust(&mut self, facts: Option<&Facts>) {
        if facts.is_some_and(|facts| !facts.dwarf) {
            self.limits.push(
                "the program has no debug information: stacks come from Go's own tables, variables are missing".into(),
            );
        } else if facts.is_some_and(|facts| facts.optimised == Some(true)) {
            self.limits.push("the program was optimised: variables may be missing or out of date, and inlined calls have no frame of their own".into());
        }
    }

    /// Visits the events that the detectors go to, in ascending order: one replay. Each leaves a mark, and rr begins
    /// every later way to an event at the nearest mark, and not at the start of the trace.
    fn visit(&mut self) -> Result<()> {
        let mut events: BTreeSet<u64> = self
            .reports
            .iter()
            .flat_map(|lines| lines.first().into_iter().chain(lines.last()))
            .map(|line| line.event)
            .collect();
        events.extend(self.before.into_iter().chain(self.said).chain([self.last]));
        events.extend(blocked::moments(self));
        for event in events {
            if self.reports.iter().any(|lines| lines[0].event == event) {
                if let Ok(stop) = go_to_write(self.client, event)
                    && !stop.exited
                {
                    let stack = self.client.stack(stop.goroutine, Some(Load::SHOWN))?;
                    self.writers.insert(event, (stop.goroutine, stack));
                }
            } else {
                self.client.restart(event.saturating_sub(BEFORE).max(1))?;
            }
            // Without a mark the way is only longer.
            let _ = self.client.mark();
        }
        Ok(())
    }

    /// The goroutines at the end of a trace. A core dump has no other moment.
    fn gather_at_the_end(&mut self) -> Result<()> {
        self.client.restart(self.last)?;
        self.gather_goroutines()
    }

    fn gather_goroutines(&mut self) -> Result<()> {
        let goroutines = self.client.goroutines()?;
        // A thousand stacks say no more than the first hundred of them.
        for goroutine in goroutines.into_iter().take(400) {
            let few = self.parked.len() < 60;
            let stack = self.client.stack(goroutine.id, few.then_some(Load::LITTLE))?;
            self.parked.push(Parked { goroutine, stack });
        }
        Ok(())
    }

    pub fn suspect(
        &mut self,
        weight: u32,
        kind: &'static str,
        frame: &Frame,
        at: (i64, u64),
        why: String,
    ) -> &mut Suspect {
        let (goroutine, event) = at;
        let place = self.suspects.len();
        let command = match &self.opened_by {
            Some(command) => command.clone(),
            None => format!("rr-patch replay {} --at {event}", crate::words::quoted(&self.name)),
        };
        self.suspects.push(Suspect {
            kind,
            function: named(&frame.function),
            file: frame.file.clone(),
            line: frame.line,
            goroutine,
            event,
            why,
            evidence: Vec::new(),
            command,
            weight,
        });
        &mut self.suspects[place]
    }

    /// A value as it may be shown.
    fn shown_value(&self, variable: &Variable) -> String {
        if self.values {
            return variable.shown();
        }
        credentials::hidden(variable)
    }

    pub fn shown(&self, stack: &[Frame]) -> Vec<ShownFrame> {
        let frame = |frame: &Frame| ShownFrame {
            function: frame.function.clone(),
            file: frame.file.clone(),
            line: frame.line,
            variables: match self.own.is(frame) {
                false => Vec::new(),
                true => {
                    // What the compiler made for itself tells nobody anything.
                    let all = frame.arguments.iter().chain(&frame.locals);
                    let all = all.filter(|variable| !variable.name.starts_with(['.', '~']));
                    all.map(|variable| {
                        let value: String = self.shown_value(variable).chars().take(300).collect();
                        format!("{} = {value}", variable.name)
                    })
                    .collect()
                }
            },
        };
        stack.iter().map(frame).collect()
    }

    pub fn cut(&self, text: &str) -> String {
        if self.values { text.to_owned() } else { credentials::cut(text).into_owned() }
    }

    /// The time of an event, for people.
    pub fn at(&self, event: u64) -> String {
        format!("event {event}, {:.3} s after the start", self.timeline.seconds(event))
    }

    pub fn sources(frame: &Frame) -> Option<Sources> {
        Sources::around(&frame.file)
    }

    fn finish(mut self) -> Explanation {
        self.suspects.sort_by_key(|suspect| std::cmp::Reverse(suspect.weight));
        let mut suspects: Vec<Suspect> = Vec::new();
        for suspect in std::mem::take(&mut self.suspects) {
            let same = |known: &&mut Suspect| (&known.function, known.line) == (&suspect.function, suspect.line);
            match suspects.iter_mut().find(same) {
                Some(known) if known.why == suspect.why || known.evidence.contains(&suspect.why) => {}
                Some(known) => known.evidence.push(suspect.why),
                None => suspects.push(suspect),
            }
        }
        suspects.truncate(12);
        for suspect in &mut suspects {
            suspect.why = self.cut(&suspect.why);
            suspect.evidence.iter_mut().for_each(|line| *line = self.cut(line));
        }
        let limits = self.limits.iter().map(|limit| self.cut(limit)).collect();
        let goroutines = self.groups();
        let name = crate::words::quoted(&self.name);
        let mut next: Vec<String> = suspects.first().map(|suspect| suspect.command.clone()).into_iter().collect();
        match self.opened_by {
            Some(command) => next = vec![command],
            None => next.push(format!("rr-patch traces log {name}")),
        }
        Explanation { trace: self.name, end: self.end, suspects, errors: self.errors, goroutines, limits, next }
    }

    /// Goroutines by their stacks, the largest group first, as pprof shows them.
    fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<(Vec<(&str, u64)>, Group)> = Vec::new();
        for Parked { goroutine, stack } in &self.parked {
            let key: Vec<(&str, u64)> = stack.iter().map(|frame| (frame.function.as_str(), frame.line)).collect();
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, group)) => {
                    group.count += 1;
                    group.goroutines.push(goroutine.id);
                }
                None => {
                    let created = &goroutine.created;
                    let group = Group {
                        count: 1,
                        goroutines: vec![goroutine.id],
                        waits: blocked::waits(goroutine, stack),
                        held_by: self.holders.iter().find(|(id, _)| *id == goroutine.id).map(|(_, by)| by.clone()),
                        // The runtime itself creates the first one.
                        created: (!created.function.is_empty() && !created.function.starts_with("runtime."))
                            .then(|| format!("{} {}:{}", named(&created.function), created.file, created.line)),
                        stack: self.shown(stack),
                    };
                    groups.push((key, group));
                }
            }
        }
        let mut groups: Vec<Group> = groups.into_iter().map(|(_, group)| group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}
