//! `rr-patch traces`: list, show, prune, pack and unpack what rr has recorded.

mod log;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::error::{Error, Shown, plain, plain_name};
use crate::rr::bundle::{self, HEAD as BUNDLE_HEAD, Head, LEVELS, Packing, Unpacked, Unpacking};
use crate::rr::trace::{Kept, Listing, Program, State, Still, Store, Trace, local, rfc3339};
use crate::sys::process::Interrupt;
use crate::ui::document::{Format, Ui};
use crate::ui::report::Loose;
use crate::words::{bytes, count, quoted, seconds};

pub use log::{LogLine, ShowLog};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Traces {
    #[command(subcommand)]
    pub command: Option<What>,

    /// The folder with the traces [default: rr's own]
    #[arg(long, value_name = "DIR", global = true)]
    pub trace_dir: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// List the traces, the newest first; this is what `traces` alone does
    List,
    /// Say all that is known of one trace, and what to type next
    Show(Show),
    /// Show what a recorded program wrote, each line with its event, time and level
    Log(ShowLog),
    /// Remove traces that cannot be replayed, or those that are named
    Prune(Prune),
    /// Pack complete traces, with all that a replay and a debugger need, into one file for another host
    Pack(Pack),
    /// Verify what `pack` wrote, and put it into the trace folder
    Unpack(Unpack),
}

#[derive(Args, Debug)]
pub struct Show {
    /// A trace's name or path, or a controller's name [default: the newest complete one]
    #[arg(default_value = "", hide_default_value = true)]
    pub trace: String,
}

#[derive(Args, Debug)]
pub struct Prune {
    /// Remove these traces [default: all that are dead or junk]
    #[arg(value_name = "TRACE")]
    pub traces: Vec<String>,

    /// Remove complete traces too, but the newest N of each controller
    #[arg(long, value_name = "N", conflicts_with = "traces")]
    pub keep: Option<usize>,

    /// Of those, remove only what was started longer ago, like `90m`, `12h` or `7d`
    #[arg(long, value_name = "AGE", value_parser = age, conflicts_with = "traces")]
    pub older_than: Option<Duration>,

    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Args, Debug)]
pub struct Pack {
    /// Traces by name or path, or controllers: of each the newest complete trace
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<String>,

    /// The file to write, like `aws.tar.zst`; an earlier one is replaced
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Encrypt it for the holder of this age key, `age1…` (repeatable)
    #[arg(long, value_name = "KEY")]
    pub recipient: Vec<String>,

    /// How hard to compress: 1 is fast, 18 is small
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = level)]
    pub level: i32,
}

#[derive(Args, Debug)]
pub struct Unpack {
    /// What `pack` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Unpack into a folder below DIR [default: the trace folder]
    #[arg(long, short = 'C', value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// The name of that folder [default: the file's, without its ending]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The file with the age key, if it is encrypted
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

fn level(text: &str) -> Result<i32, String> {
    let (least, most) = (LEVELS.start(), LEVELS.end());
    let level = text.parse().ok().filter(|level| LEVELS.contains(level));
    level.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

/// An age in one unit.
fn age(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and `s`, `m`, `h`, `d` or `w`, like 7d".to_owned();
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        Some('w') => 7 * 24 * 60 * 60,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(expected)
}

impl Traces {
    pub fn run(&self, format: Format) -> Result<Loose> {
        let store = match &self.trace_dir {
            Some(folder) => Store::at(folder.clone()),
            None => Store::of(&|name| std::env::var_os(name)),
        };
        match &self.command {
            None | Some(What::List) => list(&store),
            Some(What::Show(show)) => Ok(self::show(&store.find(&show.trace)?, &self.option())),
            Some(What::Log(log)) => log.run(&store, Ui { format }).map(|()| Loose::said()),
            Some(What::Prune(prune)) => prune.run(&store),
            Some(What::Pack(pack)) => pack.run(&store),
            Some(What::Unpack(unpack)) => unpack.run(&store, &self.option()),
        }
    }

    /// `--trace-dir` as it was given, for a command that is to find the same traces.
    fn option(&self) -> String {
        self.trace_dir
            .as_ref()
            .map_or_else(String::new, |folder| format!(" --trace-dir {}", quoted(&folder.to_string_lossy())))
    }
}

fn length(trace: &Trace) -> Option<Duration> {
    match trace.state {
        State::Recording => trace.started.elapsed().ok(),
        _ => trace.length(),
    }
}

/// Of a dead one the last thing that rr wrote tells how long it was recorded at least.
pub(super) fn shown_length(trace: &Trace) -> String {
    match (trace.state, length(trace)) {
        (State::Starting | State::Junk, _) | (_, None) => "-".into(),
        (State::Dead, Some(length)) => format!("> {}", seconds(length)),
        (_, Some(length)) => seconds(length),
    }
}

fn row(trace: &Trace) -> [String; 6] {
    [
        plain_name(&trace.name),
        plain_name(trace.controller()),
        local(trace.started),
        shown_length(trace),
        bytes(trace.size),
        trace.state.word().into(),
    ]
}

/// Rows under a head, each column as wide as its widest; sizes and lengths to the right.
pub(super) fn table(head: [&str; 6], rows: &[[String; 6]]) -> String {
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).chain([head[n].len()]).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [head.map(str::to_owned)].iter().chain(rows) {
        let cell = |n: usize| match n {
            3 | 4 => format!("{:>1$}", row[n], widths[n]),
            _ => format!("{:1$}", row[n], widths[n]),
        };
        let _ = writeln!(text, "{}", std::array::from_fn::<_, 6, _>(cell).join("  ").trim_end());
    }
    text
}

const HEAD: [&str; 6] = ["name", "controller", "started", "length", "size", "state"];

fn data(trace: &Trace) -> Value {
    json!({
        "name": trace.name, "path": trace.path.in_json(), "controller": trace.controller(), "state": trace.state,
        "started": rfc3339(trace.started), "ended": trace.ended.map(rfc3339),
        "seconds": length(trace).map(|length| length.as_secs_f64()),
        "bytes": trace.size, "own_bytes": trace.own, "sidecar": trace.sidecar,
    })
}

fn list(store: &Store) -> Result<Loose> {
    let Listing { traces, unreadable } = store.look()?;
    let mut text = String::new();
    if traces.is_empty() {
        let _ = writeln!(text, "no traces in `{}`", store.root().shown());
    } else {
        text.push_str(&table(HEAD, &traces.iter().map(row).collect::<Vec<_>>()));
        let mut states: BTreeMap<State, usize> = BTreeMap::new();
        traces.iter().for_each(|trace| *states.entry(trace.state).or_default() += 1);
        let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {}", state.word())).collect();
        let size = bytes(traces.iter().map(|trace| trace.size).sum());
        let root = store.root().shown();
        let _ = writeln!(text, "\n{}, {size}, in `{root}`: {}", count(traces.len(), "trace"), states.join(", "));
    }
    for (path, why) in &unreadable {
        let _ = writeln!(text, "cannot be read: `{}`: {}", plain_name(&path.in_json()), plain_name(why));
    }
    let unreadable: Vec<Value> =
        unreadable.iter().map(|(path, why)| json!({ "path": path.in_json(), "why": why })).collect();
    let data = json!({
        "root": store.root().in_json(), "traces": traces.iter().map(data).collect::<Vec<_>>(), "unreadable": unreadable,
    });
    Ok(Loose::new("rr-patch/traces/1", text, data))
}

/// `name: value` lines, the values under each other.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        let name = if name.is_empty() { String::new() } else { format!("{name}:") };
        let _ = writeln!(self.0, "  {name:<12}{}", plain_name(value.as_ref()));
    }
}

fn show(trace: &Trace, option: &str) -> Loose {
    let check = trace.check();
    let replayable = check.obstacles.is_empty();
    let verdict = if replayable { "it can be replayed" } else { "it cannot be replayed" };
    let mut lines = Lines(format!("{}: {}, {verdict}\n", plain_name(&trace.name), trace.state.word()));
    lines.add("path", trace.path.in_json());
    lines.add("controller", trace.controller());
    lines.add("started", local(trace.started));
    lines.add("length", shown_length(trace));
    let shared = if trace.own < trace.size {
        format!(", {} of them in hard links", bytes(trace.size - trace.own))
    } else {
        String::new()
    };
    lines.add("size", format!("{} in {}{shared}", bytes(trace.size), count(trace.files.len(), "file")));

    let program = trace.program().ok();
    if let Some(program) = &program {
        show_program(&mut lines, trace, program);
    }
    let header = if trace.state == State::Complete { trace.header().ok() } else { None };
    if let Some(header) = &header {
        let host = header.host.as_deref().unwrap_or("a host that rr did not note");
        let kernel = header.kernel.as_ref().map(|kernel| format!(", kernel {kernel}")).unwrap_or_default();
        let cpu = header.cpu.map_or("no CPU".into(), |cpu| format!("CPU {cpu}"));
        lines.add("recorded", format!("on {host} ({}{kernel}), bound to {cpu}", header.arch));
        let faulting = if header.cpuid_faulting {
            "with CPUID faulting"
        } else {
            "without CPUID faulting: it replays on such a CPU only"
        };
        lines.add("", faulting);
        lines.add("rr's id", &header.uuid);
    }
    show_sidecar(&mut lines, trace);
    for obstacle in &check.obstacles {
        lines.add("not", obstacle);
    }
    for warning in &check.warnings {
        lines.add("warning", warning);
    }
    let next = next(trace, replayable, option);
    let mut text = lines.0;
    text.push_str("next:\n");
    next.iter().for_each(|line| {
        let _ = writeln!(text, "  {}", plain_name(line));
    });
    let mut all = data(trace);
    all["software_counters"] = json!(trace.software_counters());
    all["replayable"] = json!(replayable);
    all["obstacles"] = json!(check.obstacles);
    all["warnings"] = json!(check.warnings);
    all["next"] = json!(next);
    all["files"] = json!(trace.files);
    all["program"] = program.map_or(Value::Null, |program| {
        let lossy = |text: &std::ffi::OsString| text.to_string_lossy().into_owned();
        json!({
            "path": program.path.as_deref().map(Path::in_json), "arguments": program.arguments.map(|all| all.iter().map(lossy).collect::<Vec<_>>()),
            "end": program.end.map(|end| end.to_string()), "kept": program.kept, "file": program.file.as_deref().map(Path::in_json),
            "same": program.still.map(|still| still == Still::Same),
        })
    });
    all["header"] = header.map_or(Value::Null, |header| {
        json!({
            "uuid": header.uuid, "ok": header.ok, "cpu": header.cpu, "compatibility": header.compatibility,
            "cpuid_faulting": header.cpuid_faulting, "arch": header.arch, "host": header.host, "kernel": header.kernel,
        })
    });
    Loose::new("rr-patch/trace/1", text, all)
}

fn show_program(lines: &mut Lines, trace: &Trace, program: &Program) {
    match (&program.path, &program.arguments) {
        (Some(path), Some(arguments)) => {
            lines.add("program", path.in_json());
            let arguments: Vec<_> = arguments.iter().skip(1).map(Shown::in_json).collect();
            lines.add("arguments", if arguments.is_empty() { "none".into() } else { arguments.join(" ") });
        }
        _ => lines.add("program", "not known: rr writes it down when it closes a trace"),
    }
    let file = program.file.as_ref().map(Shown::shown).unwrap_or_default();
    match (program.kept, &program.still) {
        (Some(Kept::Path), Some(Still::Missing)) => lines.add("kept", "only as a path, and there is nothing any more"),
        (Some(Kept::Path), Some(Still::Changed(how))) => {
            lines.add("kept", format!("only as a path, and what is there was changed: {how}"));
        }
        (Some(Kept::Path), _) => lines.add("kept", "only as a path, where it still is as it was"),
        (Some(kept), still) => {
            lines.add("kept", format!("as {}: `{file}`", kept.says()));
            match still {
                Some(Still::Changed(how)) => lines.add("", format!("changed since: {how}")),
                Some(Still::Missing) => lines.add("", "which is gone"),
                _ => {}
            }
        }
        (None, _) if trace.state == State::Complete => {
            lines.add("kept", format!("for the replay only; a debugger is given `{file}`"));
        }
        (None, _) => lines.add("kept", "not in the trace"),
    }
    match (program.end, trace.state) {
        (Some(end), _) => lines.add("ended", format!("with {end}")),
        (None, State::Complete) => lines.add("ended", "not seen by rr: it was still running"),
        _ => {}
    }
}

fn show_sidecar(lines: &mut Lines, trace: &Trace) {
    let Some(sidecar) = &trace.sidecar else {
        lines.add("by", "not by `rr-patch record`: which rr it was is not known");
        match trace.software_counters() {
            Some(_) => lines.add("", "its events are those of software counters: a replay needs such an rr, and -W"),
            None if trace.state == State::Complete => lines.add("", "nothing in it tells of software counters (-W)"),
            None => {}
        }
        return;
    };
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".into());
    let counters = if sidecar.software_counters { ", with software counters: it replays with -W only" } else { "" };
    lines.add("by", format!("{}, with rr {}{counters}", sidecar.tool, sidecar.rr_version));
    lines.add("flags", if sidecar.flags.is_empty() { "none".into() } else { sidecar.flags.join(" ") });
    lines.add("go", known(&sidecar.go_version));
    lines.add("delve", known(&sidecar.delve_version));
    lines.add("installer", known(&sidecar.installer_commit));
    if let Some(exit) = &sidecar.exit {
        lines.add("rr ended", exit);
    }
}

/// What to type next; `option` leads to the same traces.
fn next(trace: &Trace, replayable: bool, option: &str) -> Vec<String> {
    let name = quoted(&trace.name);
    let bundle = quoted(&format!("{}.tar.zst", trace.name.rsplit('/').next().unwrap_or(&trace.name)));
    match trace.state {
        State::Complete if replayable => {
            vec![format!("rr-patch replay{option} {name}"), format!("rr-patch traces{option} pack {name} -o {bundle}")]
        }
        State::Complete => {
            vec![format!("put back what is missing, then `rr-patch traces{option} show {name}` looks again")]
        }
        State::Recording | State::Starting => {
            vec!["end the install, or send SIGTERM to its rr, and let it close the trace".into()]
        }
        State::Dead | State::Junk => vec![format!("rr-patch traces{option} prune {name}")],
    }
}

impl Prune {
    fn run(&self, store: &Store) -> Result<Loose> {
        let (chosen, live) = self.choose(store)?;
        let freed: u64 = chosen.iter().map(|trace| trace.own).sum();
        let mut text = String::new();
        if chosen.is_empty() {
            let _ = writeln!(text, "nothing to remove in `{}`", store.root().shown());
        } else {
            text.push_str(&table(HEAD, &chosen.iter().map(row).collect::<Vec<_>>()));
        }
        let names = |traces: &[Trace]| traces.iter().map(|trace| trace.name.clone()).collect::<Vec<_>>();
        let report = |text: String, removed: &[String], failed: Vec<Value>, freed: u64| {
            let data = json!({
                "root": store.root().in_json(), "chosen": chosen.iter().map(data).collect::<Vec<_>>(), "removed": removed,
                "failed": failed, "freed_bytes": freed, "dry_run": self.dry_run, "live": names(&live),
            });
            Loose::new("rr-patch/traces-prune/1", text, data)
        };
        if !live.is_empty() {
            let _ = writeln!(text, "left alone, since rr is at them: {}", names(&live).join(", "));
        }
        if self.dry_run {
            if !chosen.is_empty() {
                let _ = writeln!(text, "\nwould remove {}, {}", count(chosen.len(), "trace"), bytes(freed));
            }
            return Ok(report(text, &[], Vec::new(), freed));
        }
        if !chosen.is_empty() && !self.yes {
            confirm(&text, &format!("remove {}, {}?", count(chosen.len(), "trace"), bytes(freed)))?;
        }
        store.sweep()?;
        let (mut removed, mut failed, mut freed) = (Vec::new(), Vec::new(), 0);
        for trace in &chosen {
            match trace.remove() {
                Ok(bytes) => {
                    removed.push(trace.name.clone());
                    freed += bytes;
                }
                Err(error) => {
                    let _ = writeln!(text, "{}: {error:#}", plain_name(&trace.name));
                    failed.push(json!({ "name": trace.name, "why": format!("{error:#}") }));
                }
            }
        }
        if !chosen.is_empty() {
            let _ = writeln!(text, "\nremoved {}, {}", count(removed.len(), "trace"), bytes(freed));
        }
        let all = failed.is_empty();
        let report = report(text, &removed, failed, freed);
        Ok(if all { report } else { report.found() })
    }

    /// What to remove, and what rr is at.
    fn choose(&self, store: &Store) -> Result<(Vec<Trace>, Vec<Trace>)> {
        if !self.traces.is_empty() {
            let mut named: Vec<Trace> = Vec::new();
            for name in &self.traces {
                let trace = store.named(name)?;
                if trace.state.live() {
                    return Err(Error::refused(format!("`{}` is {}", trace.name, trace.state.word()))
                        .detail("rr still writes to it")
                        .hint("end the install, or send SIGTERM to its rr; then the trace is complete")
                        .into());
                }
                if named.iter().all(|known| known.path != trace.path) {
                    named.push(trace);
                }
            }
            return Ok((named, Vec::new()));
        }
        let old = |trace: &Trace| {
            let age = SystemTime::now().duration_since(trace.started).unwrap_or_default();
            self.older_than.is_none_or(|least| age >= least)
        };
        let mut complete: BTreeMap<String, usize> = BTreeMap::new();
        let (mut chosen, mut live) = (Vec::new(), Vec::new());
        for trace in store.look()?.traces {
            match trace.state {
                State::Starting | State::Recording => live.push(trace),
                State::Dead | State::Junk if old(&trace) => chosen.push(trace),
                State::Complete => {
                    // The newest come first.
                    let newer = complete.entry(trace.controller().to_owned()).or_default();
                    *newer += 1;
                    if self.keep.is_some_and(|keep| *newer > keep) && old(&trace) {
                        chosen.push(trace);
                    }
                }
                State::Dead | State::Junk => {}
            }
        }
        Ok((chosen, live))
    }
}

/// Asks on a terminal; elsewhere nobody could answer.
fn confirm(about: &str, question: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Error::refused(format!("cannot ask without a terminal: {question}"))
            .detail(about)
            .hint("--yes removes them without asking; --dry-run only says which")
            .into());
    }
    let mut stderr = io::stderr();
    write!(stderr, "{}\n{} [y/N] ", plain(about), plain(question))
        .and_then(|()| stderr.flush())
        .context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::refused("not confirmed").into()),
    }
}

/// A bar of bytes on a terminal; nothing elsewhere. A signal stops what it shows.
struct Progress {
    bar: ProgressBar,
    interrupt: Interrupt,
}

impl Progress {
    fn new() -> Result<Self> {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?);
        Ok(Self { bar, interrupt: Interrupt::watch()? })
    }

    fn show(&self, done: u64, all: u64) -> Result<()> {
        self.bar.set_length(all);
        self.bar.set_position(done);
        self.interrupt.check("stopped between two pieces")
    }
}

impl Pack {
    fn run(&self, store: &Store) -> Result<Loose> {
        let mut traces: Vec<Trace> = Vec::new();
        for name in &self.traces {
            let trace = store.find(name)?;
            if traces.iter().all(|known| known.path != trace.path) {
                traces.push(trace);
            }
        }
        let progress = Progress::new()?;
        let mut show = |done, all| progress.show(done, all);
        let packing = Packing { level: self.level, recipients: &self.recipient, progress: &mut show };
        let packed = bundle::pack(&traces, &self.output, packing);
        progress.bar.finish_and_clear();
        let outcome = format!("`{}` was not written; the traces are as they were", self.output.shown());
        let head = progress.interrupt.instead(packed, &outcome)?;
        let size = self.output.metadata().map(|seen| seen.len()).unwrap_or_default();
        Ok(self.report(&head, size))
    }

    fn report(&self, head: &Head, size: u64) -> Loose {
        let file = self.output.shown();
        let mut text = format!(
            "packed {} into `{file}`: {} of {}\n",
            count(head.traces.len(), "trace"),
            bytes(size),
            bytes(head.bytes)
        );
        for packed in &head.traces {
            let go = packed.go_version.as_deref().unwrap_or("Go not known");
            let dwarf = if packed.dwarf { "with DWARF" } else { "without DWARF" };
            let _ = writeln!(text, "  {}: `{}`, {go}, {dwarf}", plain_name(&packed.name), plain_name(&packed.path));
        }
        let sources = &head.sources;
        let _ = write!(text, "  {}", count(sources.packed, "source"));
        if !sources.missing.is_empty() {
            let _ = write!(text, ", and {} that are not here, as `{BUNDLE_HEAD}` in it says", sources.missing.len());
        }
        text.push('\n');
        for checkout in &head.checkouts {
            let remote =
                checkout.remote.as_ref().map(|remote| format!(" of {}", plain_name(remote))).unwrap_or_default();
            let _ = writeln!(text, "  of `{}`: commit {}{remote}", checkout.folder.shown(), checkout.commit);
        }
        let mut warnings = head.warnings.clone();
        if sources.newer > 0 {
            warnings.push(format!("{} changed since the recording: lines may not fit", count(sources.newer, "source")));
        }
        if self.recipient.is_empty() {
            warnings.push(
                "it is not encrypted, and a trace holds all that its controller read: cloud credentials too. \
                 `--recipient age1…` encrypts it"
                    .into(),
            );
        }
        for warning in &warnings {
            let _ = writeln!(text, "warning: {}", plain_name(warning));
        }
        let unpack = if self.recipient.is_empty() { "" } else { " --identity KEY" };
        let _ = writeln!(text, "next, on the other host:\n  rr-patch traces unpack {file}{unpack}");
        let data = json!({
            "file": self.output.in_json(), "bytes": size, "encrypted": !self.recipient.is_empty(), "head": head, "warnings": warnings,
        });
        Loose::new("rr-patch/traces-pack/1", text, data)
    }
}

impl Unpack {
    fn run(&self, store: &Store, option: &str) -> Result<Loose> {
        let progress = Progress::new()?;
        let mut show = |done, all| progress.show(done, all);
        let folder = self.directory.as_deref().unwrap_or(store.root());
        let unpacking =
            Unpacking { folder, name: self.name.as_deref(), identity: self.identity.as_deref(), progress: &mut show };
        let unpacked = bundle::unpack(&self.file, unpacking);
        progress.bar.finish_and_clear();
        let outcome = format!("nothing of `{}` is left in `{}`", self.file.shown(), folder.shown());
        Ok(self.report(&progress.interrupt.instead(unpacked, &outcome)?, option))
    }

    fn report(&self, unpacked: &Unpacked, option: &str) -> Loose {
        let Unpacked { folder, head, traces, sources } = unpacked;
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let mut text = format!("verified and unpacked {} into `{}`\n", count(traces.len(), "trace"), whole.shown());
        let mut next = Vec::new();
        let mut shown = Vec::new();
        for (trace, packed) in traces.iter().zip(&head.traces) {
            let check = trace.check();
            let _ = writeln!(
                text,
                "  {}: {}, recorded {}",
                plain_name(&packed.name),
                plain_name(&packed.controller),
                local(trace.started)
            );
            for line in check.obstacles.iter().chain(&check.warnings) {
                let _ = writeln!(text, "    {}", plain_name(line));
            }
            if packed.software_counters == Some(true) {
                text.push_str("    recorded with software counters: a replay needs such an rr, and -W\n");
            }
            if let Some(rr) = &packed.rr_version {
                let _ = writeln!(text, "    recorded by rr {}: replay it with that or a later one", plain_name(rr));
            }
            if packed.program.is_none() {
                let _ = writeln!(text, "    a debugger looks for the program at `{}`", plain_name(&packed.path));
            }
            next.push(match &self.directory {
                None => {
                    let folder = whole.file_name().unwrap_or_default().to_string_lossy();
                    format!("rr-patch replay{option} {}", quoted(&format!("{folder}/{}", packed.name)))
                }
                Some(_) => format!("rr-patch replay {}", quoted(&whole.join(&packed.name).to_string_lossy())),
            });
            shown.push(data(trace));
        }
        let substitute = sources.as_ref().map(|_| whole.join(bundle::SOURCES));
        if let Some(sources) = &substitute {
            let _ = writeln!(text, "  {} below `{}`", count(head.sources.packed, "source"), sources.shown());
            next.push(format!("in Delve: config substitute-path / {}/", sources.shown()));
        }
        text.push_str("next:\n");
        next.iter().for_each(|line| {
            let _ = writeln!(text, "  {}", plain_name(line));
        });
        let data = json!({
            "folder": whole.in_json(), "traces": shown, "sources": substitute.as_deref().map(Path::in_json), "head": head, "next": next,
        });
        Loose::new("rr-patch/traces-unpack/1", text, data)
    }
}
