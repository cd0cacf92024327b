//! What looking into a trace costs over what rr and Delve take by themselves. In pairs, in turn, of recordings of the
//! programs in fixtures/defects: `traces log` that makes its lines anew; a replay until Delve answers; `replay --at`.
//! Then the same of one program that writes many lines, with the most memory that rr-patch has at once.
//!
//! ```text
//! RR_PATCH_RECORD="rr record -W --wait" DELVE_RR_REPLAY_FLAGS=-W cargo bench --bench cause   # without counters
//! RR_PATCH_BENCH_LINES=20000 cargo bench --bench cause                                       # else 200,000
//! ```
//!
//! The limits: a tenth more than rr alone, a tenth more than Delve alone, 200 MB of memory. Delve's peer of `--at EVENT`
//! is its own `restart EVENT`, which stands in the system call of a write, where no stack can be unwound.

#![expect(clippy::cast_precision_loss, reason = "sizes and times are small")]

#[expect(dead_code, reason = "the other benchmarks need more of it")]
mod common;
#[path = "common/peak.rs"]
mod peak;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Rounds of each program.
const ROUNDS: usize = 2;
/// The lines that `traces log` keeps beside a trace.
const INDEX: &str = "rr-patch-log.jsonl";

const MANY_LINES: &str = r#"package main

import (
	"log/slog"
	"os"
	"strconv"
)

func main() {
	lines, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	for n := range lines {
		log.Info("reconciling the machine", "namespace", "openshift-machine-api", "name", "worker-0", "generation", n)
	}
}
"#;

fn main() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for name in ["rr", "dlv"] {
        if !std::env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
            println!("no `{name}` in PATH: nothing is measured");
            return;
        }
    }
    if cfg!(debug_assertions) {
        println!("not optimised: rr-patch's own share is larger than in a release");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let programs = build(folder.path());
    let mut traces = Vec::new();
    for (program, stop) in &programs {
        match record(folder.path(), program, &[], stop.as_ref()) {
            Ok(trace) => traces.push(trace),
            Err(why) if traces.is_empty() => {
                println!("nothing can be recorded here, and nothing is measured: {why}");
                return;
            }
            Err(why) => panic!("{}: {why}", program.display()),
        }
    }
    println!("{} traces, {ROUNDS} rounds of each", traces.len());
    logs(&traces);
    openings(&traces);
    places(&traces);
    many_lines(folder.path());
}

/// The seeded programs, built for debugging; and what stops each, if it does not end by itself.
fn build(folder: &Path) -> Vec<(PathBuf, Option<(Signal, f64)>)> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/defects");
    let bin = folder.join("bin");
    fs::create_dir(&bin).expect("a folder");
    go(&sources, &bin, "./...");
    let mut programs: Vec<PathBuf> =
        fs::read_dir(&bin).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    programs.sort();
    let stop = |program: &Path| {
        let wanted = sources.join(program.file_name()?).join("want.json");
        let wanted: Value = serde_json::from_slice(&fs::read(wanted).ok()?).expect("want.json is JSON");
        let signal = format!("SIG{}", wanted["stop"]["signal"].as_str()?);
        Some((signal.parse().expect("a signal"), wanted["stop"]["after"].as_f64()?))
    };
    programs.into_iter().map(|program| (program.clone(), stop(&program))).collect()
}

fn go(sources: &Path, output: &Path, packages: &str) {
    let mut go = Command::new("go");
    common::run(go.current_dir(sources).args(["build", "-gcflags=all=-N -l", "-o"]).arg(output).arg(packages), &[0]);
}

fn tool(arguments: &[&str]) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_rr-patch"));
    tool.args(arguments);
    tool
}

/// The trace of a program, or what was said when none was left.
fn record(folder: &Path, program: &Path, arguments: &[&str], stop: Option<&(Signal, f64)>) -> Result<PathBuf, String> {
    let name = program.file_name().expect("a name").to_string_lossy();
    let store = folder.join("traces").join(&*name);
    let words = tempfile::tempfile().expect("a temporary file");
    let mut recording = tool(&["record", "--program", "--unchecked", "--trace-dir"]);
    recording.arg(&store).arg("--").arg(program).args(arguments);
    let mut child = recording
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(words.try_clone().expect("the same file again"))
        .spawn()
        .expect("rr-patch is there");
    let trace = store.join(format!("{name}-0"));
    if let Some((signal, after)) = stop {
        let began = Instant::now();
        let runs = || fs::metadata(trace.join("incomplete")).is_ok_and(|seen| seen.len() > 0);
        while !runs() && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs_f64(*after));
        // It may have ended.
        let _ = kill(pid(&child), *signal);
    }
    child.wait().expect("our own child");
    if trace.join("version").is_file() { Ok(trace) } else { Err(peak::text(words)) }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().expect("a process's number"))
}

/// Both, whichever comes first: that one may find the machine in another state.
fn pair<T, U>(ours_first: bool, ours: impl FnOnce() -> T, theirs: impl FnOnce() -> U) -> (T, U) {
    if ours_first {
        let ours = ours();
        (ours, theirs())
    } else {
        let theirs = theirs();
        (ours(), theirs)
    }
}

/// Every trace in every round; and whether ours comes first.
fn turns(traces: &[PathBuf]) -> impl Iterator<Item = (&PathBuf, bool)> {
    let turns = (0..ROUNDS).flat_map(|round| traces.iter().enumerate().map(move |turn| (round, turn)));
    turns.map(|(round, (number, trace))| (trace, (round + number) % 2 == 0))
}

/// Most of the traces are small: the difference says what is the same for each trace, however large.
fn show(times: Vec<(f64, f64)>, rows: [&str; 3]) {
    let differences = times.iter().map(|(ours, theirs)| ours - theirs).collect();
    let ratios = times.iter().map(|(ours, theirs)| ours / theirs).collect();
    let (ours, theirs) = times.into_iter().unzip();
    common::table([(rows[0], ours), (rows[1], theirs), ("difference, s", differences), (rows[2], ratios)]);
}

fn log_anew(trace: &Path) -> (f64, u64) {
    let _ = fs::remove_file(trace.join(INDEX));
    let took = peak::run(tool(&["traces", "log"]).arg(trace));
    assert!(trace.join(INDEX).is_file(), "{} has no {INDEX}: `traces log` keeps none", trace.display());
    took
}

fn replay_alone(trace: &Path) -> f64 {
    let mut rr = Command::new("rr");
    let flags = std::env::var("DELVE_RR_REPLAY_FLAGS").unwrap_or_default();
    peak::run(rr.arg("replay").args(flags.split_whitespace()).args(["-M", "-a"]).arg(trace)).0
}

fn logs(traces: &[PathBuf]) {
    let times = turns(traces).map(|(trace, first)| pair(first, || log_anew(trace).0, || replay_alone(trace))).collect();
    show(times, ["traces log, anew, s", "rr -M replay -a, s", "ratio, limit 1.10"]);
}

/// A Delve that serves a trace, started by rr-patch or by itself.
struct Served {
    child: Child,
    address: String,
    words: File,
}

impl Served {
    fn start(command: &mut Command, address: String) -> Self {
        let words = tempfile::tempfile().expect("a temporary file");
        let to = |words: &File| words.try_clone().expect("the same file again");
        let child = command.stdin(Stdio::null()).stdout(to(&words)).stderr(to(&words)).spawn();
        Self { child: child.expect("the program is there"), address, words }
    }

    /// Asks until there is an answer.
    fn answers(&mut self) {
        while self.ask("State", &json!({ "NonBlocking": true })).is_err() {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                let words = self.words.try_clone().expect("the same file again");
                panic!("a replay ended with {status}: {}", peak::text(words));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn ask(&self, method: &str, parameters: &Value) -> io::Result<Value> {
        let mut stream = TcpStream::connect(&self.address)?;
        let question = json!({ "method": format!("RPCServer.{method}"), "params": [parameters], "id": 1 });
        stream.write_all(format!("{question}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Ends Delve, and rr with it.
    fn end(mut self) {
        // Delve may be gone before it answers.
        let _ = self.ask("Detach", &json!({ "Kill": true }));
        self.child.wait().expect("our own child");
    }
}

/// An address at which nobody listens.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// The seconds until the replay says where it listens and Delve answers there, and the most memory in kB that rr-patch
/// has had by then.
fn ours(trace: &Path, at: Option<u64>) -> (f64, u64) {
    let address = free();
    let began = Instant::now();
    let mut replay = tool(&["replay", "--listen", &address, "--format", "json"]);
    if let Some(event) = at {
        replay.args(["--at", &event.to_string()]);
    }
    let words = tempfile::tempfile().expect("a temporary file");
    let child = replay
        .arg(trace)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(words.try_clone().expect("the same file again"))
        .spawn();
    let mut served = Served { child: child.expect("rr-patch is there"), address, words };
    // It is kept to the end: rr-patch may print more.
    let mut printed = BufReader::new(served.child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.starts_with('}') {
        line.clear();
        let read = printed.read_line(&mut line).expect("text");
        assert!(read > 0, "{replay:?} opened nothing: {}", peak::text(served.words));
    }
    served.answers();
    let took = began.elapsed().as_secs_f64();
    let most = peak::peak(served.child.id());
    served.end();
    (took, most)
}

/// The seconds until Delve, by itself, answers; and until it stands at an event.
fn theirs(trace: &Path, at: Option<u64>) -> f64 {
    let address = free();
    let began = Instant::now();
    let mut delve = Command::new("dlv");
    delve.args(["replay", "--headless", "--api-version=2", "--accept-multiclient", "--listen"]).arg(&address);
    let mut served = Served::start(delve.arg(trace), address);
    served.answers();
    if let Some(event) = at {
        let answer = served.ask("Restart", &json!({ "Position": event.to_string() })).expect("Delve answers");
        assert!(answer["error"].is_null(), "{answer}");
    }
    let took = began.elapsed().as_secs_f64();
    served.end();
    took
}

fn openings(traces: &[PathBuf]) {
    let times = turns(traces).map(|(trace, first)| pair(first, || ours(trace, None).0, || theirs(trace, None)));
    show(times.collect(), ["replay, s", "dlv replay, s", "ratio, limit 1.10"]);
}

/// The events of what was written, from the lines that are kept.
fn written(trace: &Path) -> Vec<u64> {
    let (_, printed) = common::run(tool(&["traces", "log", "--format", "json"]).arg(trace), &[0]);
    let event = |line: &str| serde_json::from_str::<Value>(line).expect("a document")["event"].as_u64();
    String::from_utf8_lossy(&printed).lines().map(|line| event(line).expect("an event")).collect()
}

fn places(traces: &[PathBuf]) {
    let events: Vec<Option<u64>> = traces.iter().map(|trace| written(trace).last().copied()).collect();
    let mut times = Vec::new();
    for (number, (trace, first)) in turns(traces).enumerate() {
        // Some write nothing.
        if let at @ Some(_) = events[number % events.len()] {
            times.push(pair(first, || ours(trace, at).0, || theirs(trace, at)));
        }
    }
    show(times, ["replay --at EVENT, s", "dlv, restart EVENT, s", "ratio"]);
}

fn many_lines(folder: &Path) {
    let lines = std::env::var("RR_PATCH_BENCH_LINES").unwrap_or_else(|_| "200000".into());
    let sources = folder.join("many");
    fs::create_dir(&sources).expect("a folder");
    fs::write(sources.join("main.go"), MANY_LINES).expect("the program can be written");
    fs::write(sources.join("go.mod"), "module many\n\ngo 1.24\n").expect("the module can be written");
    let program = sources.join("many-lines");
    go(&sources, &program, ".");
    let trace = record(folder, &program, &[&lines], None).expect("a trace");
    let files = fs::read_dir(&trace).expect("a folder").map(|file| file.and_then(|file| file.metadata()));
    let size: u64 = files.map(|seen| seen.expect("a file").len()).sum();
    println!("{lines} lines, a trace of {:.0} MB", size as f64 / 1e6);
    let ((seconds, peak), alone) = pair(false, || log_anew(&trace), || replay_alone(&trace));
    let ratio = seconds / alone;
    println!("traces log, anew: {seconds:.2} s, rr -M replay -a: {alone:.2} s, ratio {ratio:.2}, limit 1.10");
    println!("  peak of rr-patch {:.0} MB, limit 200 MB", peak as f64 / 1e3);
    let (seconds, peak) = peak::run(tool(&["traces", "log"]).arg(&trace));
    println!("traces log, kept: {seconds:.2} s, peak of rr-patch {:.0} MB, limit 200 MB", peak as f64 / 1e3);
    let events = written(&trace);
    let (seconds, peak) = ours(&trace, events.get(events.len() / 2).copied());
    println!("replay --at the middle: {seconds:.2} s, peak of rr-patch {:.0} MB, limit 200 MB", peak as f64 / 1e3);
}
