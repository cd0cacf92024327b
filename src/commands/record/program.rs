//! `rr-patch record --program`: any program under rr, with the same store, checks and sidecar as a controller.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Prepared, Record, make_folder, noted, say, streams};
use crate::binary::{Facts, REBUILD_OTHER};
use crate::doctor::{Host, Recorder};
use crate::error::{Error, Exit, Shown, plain_name};
use crate::rr::record::{Outcome, Run, Stopped, Subject, flags};
use crate::rr::trace::{State, Store, Trace};
use crate::sys::process::{End, Environment, Interrupt, for_child};
use crate::ui::document::{Document, Format, Ui};
use crate::words::{bytes, quoted, seconds};

/// What rr sets aside for a whole trace: without it a test binary in a temporary folder is gone when it is needed.
const COPY_ALL_FILES: &str = "RR_COPY_ALL_FILES";

/// A program that was recorded.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RecordedProgram {
    /// The file that ran.
    program: String,
    /// Its arguments.
    arguments: Vec<String>,
    /// How it ended, as `exit status N` or `signal N (NAME)`.
    end: String,
    /// The exit code of this command: the program's own, or 128 and the number of the signal that ended it.
    code: u8,
    /// How long it ran.
    seconds: f64,
    /// How often this command was asked to stop.
    asked_to_stop: usize,
    /// The folder that the trace is in.
    folder: String,
    /// The trace, if rr made one.
    trace: Option<RecordedTrace>,
    /// What to type next.
    next: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RecordedTrace {
    /// Its name in the trace folder.
    name: String,
    path: String,
    /// `complete`, unless rr failed or was killed.
    state: String,
    /// The bytes of all its files.
    size: u64,
}

impl Document for RecordedProgram {
    const SCHEMA: &'static str = "rr-patch/record-program/1";
}

impl fmt::Display for RecordedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = seconds(std::time::Duration::try_from_secs_f64(self.seconds).unwrap_or_default());
        writeln!(f, "`{}` ended with {} after {took}", self.program.shown(), self.end)?;
        match &self.trace {
            None => writeln!(f, "nothing was recorded: what rr printed says why")?,
            Some(trace) => {
                let RecordedTrace { name, state, size, .. } = trace;
                writeln!(f, "trace `{}`, {state}, {}", plain_name(name), bytes(*size))?;
            }
        }
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}

impl Record {
    /// Runs the program to its end, and gives the exit code. What there is to say goes to standard error: standard
    /// output is the program's.
    ///
    /// # Errors
    /// A program that is not found, a machine that cannot record, too little room for a trace.
    pub fn run_program(&self, format: Format) -> Result<u8> {
        let (program, arguments) = self.program_and_arguments()?;
        let interrupt = Interrupt::hold()?;
        let (own, store) = self.stores("program")?;
        let here = Host::here();
        let room = self.room(&here, &store)?;
        let prepared = self.prepared_program(&here, program)?;
        let line = prepared.program_line(&[], arguments)?;
        interrupt.check("the program was not started")?;
        make_folder(&store)?;
        let program = prepared.program.clone();
        let run = Run {
            installer: &prepared.recorder.path,
            arguments: &line,
            store: &store,
            environment: &prepared.environment,
            folder: None,
            streams: streams(format),
            sidecar: prepared.sidecar,
            room,
            subject: Subject::Program,
            limits: None,
        };
        let outcome = run.start(&mut say, &mut |_| {})?;
        // rr itself is the first of its traces; a program that starts others is in the same one.
        let latest = outcome.traces.first().filter(|trace| trace.state == State::Complete);
        self.settle(&own, &store, &outcome, latest)?;
        let result = self.recorded(&program, arguments, &store, &own, &outcome);
        match format {
            Format::Text => result.to_string().lines().for_each(say),
            Format::Json => Ui { format }.print(&result)?,
        }
        Ok(result.code)
    }

    /// A program as it will be recorded.
    ///
    /// # Errors
    /// A machine that cannot record it.
    pub(in crate::commands) fn prepared_program(&self, host: &Host, program: PathBuf) -> Result<Prepared> {
        warn_of_what_delve_would_lack(&program);
        let (recorder, mut environment) = self.recorder(host, None)?;
        environment.entry(COPY_ALL_FILES.into()).or_insert_with(|| "1".into());
        let sidecar = noted(host, &recorder, &environment);
        let chaos = Facts::read(&program).is_ok_and(|facts| facts.chaos);
        Ok(Prepared { program, recorder, environment, sidecar, chaos })
    }

    /// The program and its arguments: what stands after `--`.
    pub(in crate::commands) fn program_and_arguments(&self) -> Result<(PathBuf, &[String])> {
        let example = "`rr-patch record --program -- PROGRAM ARGS…`";
        let Some((program, arguments)) = self.arguments.split_first() else {
            return Err(Error::usage("it is not said which program is to be recorded")
                .detail("expected: the program and its arguments after `--`")
                .hint(example)
                .into());
        };
        if let Some(stray) = self.installer.as_ref().map(Shown::shown).or_else(|| self.strays.first().cloned()) {
            return Err(Error::usage(format!("`{}` stands before `--`", plain_name(&stray)))
                .detail("expected: the program and its arguments after `--`")
                .hint(example)
                .into());
        }
        let whole = match program.contains('/') {
            true => std::path::absolute(program).context("there is no current folder")?.to_string_lossy().into_owned(),
            false => program.clone(),
        };
        let path = Host::here().program(&whole).ok_or_else(|| {
            let place = if program.contains('/') { "is not an executable file" } else { "is not in PATH" };
            Error::failed(format!("cannot record `{}`: it {place}", plain_name(program))).hint(example)
        })?;
        let path = path.canonicalize().with_context(|| format!("cannot read `{}`", path.shown()))?;
        Ok((path, arguments))
    }

    fn recorded(
        &self,
        program: &Path,
        arguments: &[String],
        store: &Store,
        own: &Store,
        outcome: &Outcome,
    ) -> RecordedProgram {
        let Outcome { end, asked, stopped, traces, took, .. } = outcome;
        let trace = traces.first();
        let complete = trace.is_some_and(|trace| trace.state == State::Complete);
        let ended = u8::try_from(match end {
            End::Code(code) => *code,
            End::Signal(number) => 128 + number,
        });
        let code = match ended {
            _ if matches!(stopped, Some(Stopped::NoRoom(_))) => Exit::Found as u8,
            Ok(0) if !complete => Exit::Found as u8,
            Ok(code) => code,
            Err(_) => Exit::Failed as u8,
        };
        let name = |trace: &Trace| match trace.path.strip_prefix(own.root()) {
            Ok(below) if self.trace_dir.is_none() => quoted(&below.to_string_lossy()),
            _ => quoted(&trace.path.to_string_lossy()),
        };
        let next = trace.filter(|_| complete).map_or_else(Vec::new, |trace| {
            let name = name(trace);
            ["explain", "traces log", "replay"].map(|command| format!("rr-patch {command} {name}")).to_vec()
        });
        RecordedProgram {
            program: program.in_json(),
            arguments: arguments.to_vec(),
            end: end.to_string(),
            code,
            seconds: took.as_secs_f64(),
            asked_to_stop: *asked,
            folder: store.root().in_json(),
            trace: trace.map(|trace| RecordedTrace {
                name: trace.name.clone(),
                path: trace.path.in_json(),
                state: trace.state.word().to_owned(),
                size: trace.size,
            }),
            next,
        }
    }
}

impl Prepared {
    /// The arguments of a recorder that records the program, with `more` options before it.
    pub(in crate::commands) fn program_line(&self, more: &[String], arguments: &[String]) -> Result<Vec<String>> {
        let mut line = recorder_arguments(&self.recorder, &self.environment);
        line.extend(more.iter().cloned());
        line.push(for_child(&self.program)?.to_owned());
        line.extend(arguments.iter().cloned());
        Ok(line)
    }
}

/// What stands between the recorder and the program.
fn recorder_arguments(recorder: &Recorder, environment: &Environment) -> Vec<String> {
    let known = flags(recorder, environment);
    if known.is_empty() {
        return ["record", "--wait"].map(str::to_owned).to_vec();
    }
    std::iter::once("record".to_owned()).chain(known).collect()
}

/// Says what of the program a debugger would miss. Scripts and programs that Go did not build are recorded too.
fn warn_of_what_delve_would_lack(program: &Path) {
    let Ok(facts) = Facts::read(program) else { return };
    for (what, remedy) in facts.lacks(REBUILD_OTHER) {
        say(&format!("warning: `{}` {what}: {remedy}", program.shown()));
    }
}
