//! A torture program: what the tool does to a checkout when it is killed, when a system call fails, when
//! an editor saves at the wrong moment, when many run at once, when files are cut short, when power fails.
//!
//! ```text
//! scripts/torture                               everything, in at most ten minutes on two processors
//! scripts/torture --short                       one kill sweep of apply and revert, in seconds
//! scripts/torture --only apply --only revert    these scenarios
//! scripts/torture --only apply --point eio:17   one point, with all that was printed
//! scripts/torture --seed 7                      another sample, where not everything is tried
//! scripts/torture --seconds 1800                everything on a slower machine
//! ```
//!
//! A *scenario* (`scenario.rs`) is a checkout of the fixtures, a command, and what a user does next. A
//! *point* (`points.rs`) is one disturbance of that command at one of its system calls; `tracer.rs` stops
//! the tool there with ptrace(2), so a point is met exactly and can be repeated. `checks.rs` says what must
//! hold afterwards: every byte of the originals and of the user's edits in its place or in `FILE.edited`,
//! no temporary file or made folder after the next command, git's index, references and HEAD as they should
//! be, the exit codes of the contract, no panic, and "nothing was written" only where a snapshot proves it.
//!
//! It prints counts per scenario and disturbance, and ends with 1 if anything was not right. Without
//! arguments it is the short form, since a plain `cargo test` runs it too.

#[allow(dead_code, reason = "tests/main.rs uses the rest")]
#[path = "../harness.rs"]
mod harness;
#[allow(dead_code, reason = "tests/main.rs uses the rest")]
#[path = "../streams.rs"]
mod streams;

mod adds;
mod checks;
mod crowd;
mod cuts;
mod points;
mod power;
mod random;
mod report;
mod sandbox;
mod saves;
mod scenario;
#[allow(dead_code, reason = "tests/durability.rs uses the rest")]
mod tracer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use checks::{Prepared, Trial};
use points::Point;
use power::FileSystem;
use random::Random;
use report::Report;
use scenario::{SCENARIOS, Scenario};

/// Disturbs the tool at its system calls, and checks what comes of it
#[derive(Parser)]
struct Arguments {
    /// Everything: what scripts/torture runs
    #[arg(long)]
    whole: bool,

    /// One kill sweep of apply and one of revert
    #[arg(long)]
    short: bool,

    /// Only this scenario (repeatable)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Only this point of it, like `kill-before:17`, with all that was printed (repeatable)
    #[arg(long, value_name = "POINT")]
    point: Vec<Point>,

    /// Only disturbances of this column of the report, like `power` (repeatable)
    #[arg(long, value_name = "COLUMN")]
    kind: Vec<String>,

    /// The tool to torture, if not the one that was built with this program: an earlier version, say
    #[arg(long, value_name = "FILE")]
    tool: Option<PathBuf>,

    /// What is sampled is chosen by this
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Points that are not begun by then are left out, and counted
    #[arg(long, value_name = "N", default_value_t = 570)]
    seconds: u64,

    /// How many points are tried at once
    #[arg(long)]
    jobs: Option<usize>,

    /// Where the checkouts are made [default: a file system in memory, or the folder for temporary files]
    #[arg(long)]
    folder: Option<PathBuf>,

    /// How many violations of a kind are shown
    #[arg(long, default_value_t = 3)]
    show: usize,

    /// Print the calls of the chosen scenarios
    #[arg(long)]
    list: bool,

    /// Names of tests, which cargo hands to every test program
    #[arg(hide = true)]
    filter: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = |scenario: &&Scenario| match arguments.only.is_empty() {
        true if arguments.whole && !arguments.short => true,
        true => ["apply", "revert"].contains(&scenario.name),
        false => arguments.only.iter().any(|name| name == scenario.name),
    };
    let scenarios: Vec<&'static Scenario> = SCENARIOS.iter().filter(chosen).collect();
    if scenarios.is_empty() || !arguments.filter.is_empty() {
        println!(
            "no scenario of that name; there are: {}",
            SCENARIOS.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")
        );
        return ExitCode::from(if arguments.only.is_empty() { 0 } else { 2 });
    }
    if let Some(tool) = &arguments.tool {
        sandbox::torture(tool.canonicalize().expect("the tool is there"));
    }
    if let Err(why) = tracer::available() {
        println!("skipped: {why}");
        return ExitCode::SUCCESS;
    }
    let whole = arguments.whole && !arguments.short || !arguments.only.is_empty();
    if whole {
        power::with_own_mounts();
    }
    let folder = tempfile::Builder::new().prefix("rr-patch-torture-").tempdir_in(place(&arguments)).unwrap();
    let base = folder.path().canonicalize().unwrap();
    println!("torture: {} scenarios in `{}`, seed {}", scenarios.len(), base.display(), arguments.seed);
    // A check that fails itself says so where it is counted.
    std::panic::set_hook(Box::new(|_| {}));
    let report = run(&arguments, &scenarios, &base, whole);
    print!("{}", report.text(arguments.show));
    ExitCode::from(u8::from(report.bad() > 0))
}

/// Syncs cost nothing in memory, and no point depends on them but those of power failures.
fn place(arguments: &Arguments) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = || rustix::fs::statvfs(memory).is_ok_and(|seen| seen.f_bavail * seen.f_frsize > 512 << 20);
    match &arguments.folder {
        Some(folder) => folder.clone(),
        None if memory.is_dir() && room() => memory.to_owned(),
        None => std::env::temp_dir(),
    }
}

fn run(arguments: &Arguments, scenarios: &[&'static Scenario], base: &Path, whole: bool) -> Report {
    let start = Instant::now();
    let jobs = arguments.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(2, usize::from));
    let mut report = Report::default();
    let mut systems = Vec::new();
    for system in [FileSystem::Ext4, FileSystem::Xfs].into_iter().filter(|_| whole) {
        match power::available(system, base) {
            Ok(()) => systems.push(system),
            Err(why) => report.skipped.push(why),
        }
    }
    let report = Mutex::new(report);
    let prepared: Mutex<Vec<(usize, Prepared, Vec<Point>)>> = Mutex::default();
    in_parallel(jobs, scenarios.len(), &|n| {
        let scenario = scenarios[n];
        let made = catch_unwind(AssertUnwindSafe(|| {
            let (made, trial) = Prepared::new(scenario, base);
            let calls = points::calls(&made);
            if arguments.list {
                calls.iter().for_each(|call| println!("{} {:3} {call}", scenario.name, call.number));
            }
            (made, trial, calls)
        }));
        match made {
            Ok((made, trial, calls)) => {
                let points = match (arguments.point.is_empty(), whole) {
                    (false, _) => arguments.point.clone(),
                    (true, true) => points::of(&made, &calls, &systems, arguments.seed),
                    (true, false) => points::kills(&calls),
                };
                let wanted = |point: &Point| {
                    arguments.kind.is_empty() || arguments.kind.iter().any(|name| name == point.trouble.column())
                };
                let points = points.into_iter().filter(wanted).collect();
                report.lock().unwrap().add(scenario.name, "none", "none:0", &trial.found);
                prepared.lock().unwrap().push((n, made, points));
            }
            Err(panic) => report.lock().unwrap().add(scenario.name, "none", "none:0", &broken(&*panic).found),
        }
    });
    let mut prepared = prepared.into_inner().unwrap();
    prepared.sort_by_key(|(n, ..)| *n);
    let mut all: Vec<(&Prepared, Point)> =
        prepared.iter().flat_map(|(_, made, points)| points.iter().map(move |point| (made, *point))).collect();
    // Where the time does not reach, some points of every scenario are left out, and not whole scenarios.
    Random::new(arguments.seed).shuffle(&mut all);
    let left_out = AtomicUsize::new(0);
    in_parallel(jobs, all.len(), &|n| {
        let (prepared, point) = all[n];
        if start.elapsed() > Duration::from_secs(arguments.seconds) {
            left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let trial = catch_unwind(AssertUnwindSafe(|| point.run(prepared, arguments.seed)));
        let trial = trial.unwrap_or_else(|panic| Some(broken(&*panic)));
        let mut report = report.lock().unwrap();
        let name = prepared.scenario.name;
        match trial {
            Some(trial) => {
                if !arguments.point.is_empty() {
                    println!("{}", trial.log.join("\n"));
                }
                report.add(name, point.trouble.column(), &point.to_string(), &trial.found);
            }
            None => report.skipped.push(format!("{point} of {name}: the command ended before that call")),
        }
    });
    let mut report = report.into_inner().unwrap();
    match left_out.into_inner() {
        0 => {}
        count => report.skipped.push(format!("{count} points: the time of {} s was over", arguments.seconds)),
    }
    println!("{} s", start.elapsed().as_secs());
    report
}

/// A check that could not be made.
fn broken(panic: &(dyn std::any::Any + Send)) -> Trial {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let mut trial = Trial::default();
    trial.violation("the check itself failed", text.unwrap_or("for no known reason"));
    trial
}

/// Calls `work` with each number below `count`, so many at once.
fn in_parallel(jobs: usize, count: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..jobs.min(count) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    work(n);
                }
            });
        }
    });
}
