//! Looking at the build's processes while they run: which of them builds what, how much processor
//! time and memory they use, and which packages take longest.
//!
//! Go can write such a record itself (`-debug-actiongraph`), but each `go build` writes it to the same
//! file, and build.sh starts one for each controller. So the compiler's processes are looked at
//! instead: `-p` in their arguments names the package. What lives for less than a period is missed,
//! and so is never among the slowest.

#![expect(clippy::cast_precision_loss, reason = "ticks of a build are far below 2^52")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use procfs::Current;
use procfs::process::{Process, Stat};
use serde::Serialize;

/// How often the processes are looked at. At twice a second short compilations are missed, and at a
/// hundred times looking costs as much as a small build.
pub const PERIOD: Duration = Duration::from_millis(100);

/// The load of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Seconds since the build began.
    pub at: f64,
    /// Processors in use since the moment before.
    pub cpu: f64,
    /// Resident bytes of all processes; memory that two share counts twice.
    pub memory: u64,
}

/// A process that did one package's work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Work {
    /// `compile`, `link`, `cgo`, …
    pub tool: String,
    pub package: String,
    /// What it was done for: the name of the binary.
    pub of: String,
    pub began: f64,
    pub ended: f64,
    /// Processor seconds.
    pub cpu: f64,
    /// The most resident bytes that were seen.
    pub memory: u64,
}

impl Work {
    pub fn took(&self) -> f64 {
        self.ended - self.began
    }
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct Sampler {
    pub loads: Vec<Load>,
    pub works: Vec<Work>,
    pub peak: u64,
    /// Processor seconds of everything that ran.
    pub cpu: f64,
    /// Binaries that a `go build` was making at the last look.
    pub building: BTreeSet<String>,
    /// What the newest compilation of each binary works on.
    pub packages: BTreeMap<String, String>,
    foreign: HashSet<i32>,
    known: HashMap<i32, Known>,
    /// Processor seconds of groups that have ended.
    past_cpu: f64,
}

/// A process of the group.
#[derive(Debug)]
struct Known {
    started: u64,
    parent: i32,
    role: Role,
    work: Option<usize>,
}

#[derive(Debug)]
enum Role {
    /// A `go build -o NAME`.
    Build(String),
    Other,
}

impl Sampler {
    /// Looks at the processes of a group.
    pub fn look(&mut self, group: i32, began: Instant) {
        let at = began.elapsed().as_secs_f64();
        let tick = 1.0 / procfs::ticks_per_second() as f64;
        let uptime = procfs::Uptime::current().map_or(0.0, |up| up.uptime);
        let mut alive = HashSet::new();
        let (mut memory, mut cpu) = (0, 0.0);
        self.building.clear();
        self.packages.clear();
        let mut newest: BTreeMap<String, f64> = BTreeMap::new();
        let all = pids();
        // Those of others are looked at once: a machine has hundreds of them. A parent mostly has the lower
        // number, and has to be known before its children.
        let mut own: Vec<i32> = all.difference(&self.foreign).copied().collect();
        own.sort_unstable();
        for pid in own {
            let Ok(process) = Process::new(pid) else { continue };
            let Ok(stat) = process.stat() else { continue };
            if stat.pgrp != group {
                self.foreign.insert(pid);
                continue;
            }
            alive.insert(pid);
            memory += stat.rss * procfs::page_size();
            // A process that has ended counts with whoever waited for it.
            let ticks = stat.utime + stat.stime;
            cpu += (ticks as f64 + (stat.cutime + stat.cstime).max(0) as f64) * tick;
            let since = (at - (uptime - stat.starttime as f64 * tick)).clamp(0.0, at);
            self.meet(&process, &stat, since);
            let Some(known) = self.known.get(&pid) else { continue };
            if let Role::Build(name) = &known.role {
                self.building.insert(name.clone());
            }
            if let Some(number) = known.work {
                let work = &mut self.works[number];
                work.ended = at;
                work.cpu = ticks as f64 * tick;
                work.memory = work.memory.max(stat.rss * procfs::page_size());
                let latest = newest.entry(work.of.clone()).or_insert(-1.0);
                if work.began > *latest {
                    *latest = work.began;
                    self.packages.insert(work.of.clone(), format!("{} {}", work.tool, work.package));
                }
            }
        }
        self.foreign.retain(|pid| all.contains(pid));
        self.known.retain(|pid, _| alive.contains(pid));
        self.note(at, cpu, memory);
    }

    fn note(&mut self, at: f64, cpu: f64, memory: u64) {
        let before = self.loads.last().map_or(0.0, |load| load.at);
        let total = (self.past_cpu + cpu).max(self.cpu);
        let used = if at > before { (total - self.cpu) / (at - before) } else { 0.0 };
        self.cpu = total;
        self.peak = self.peak.max(memory);
        self.loads.push(Load { at, cpu: used, memory });
    }

    /// The group has ended: another one's processor time comes on top.
    pub fn next_group(&mut self) {
        self.past_cpu = self.cpu;
        self.known.clear();
        self.building.clear();
        self.packages.clear();
    }

    /// Learns what a process is, the first time it is seen, and again when it has become another one.
    fn meet(&mut self, process: &Process, stat: &Stat, began: f64) {
        let known = self.known.get(&process.pid());
        // Between fork and exec a process has its parent's command line.
        let settled = known.is_some_and(|known| known.started == stat.starttime && known.work.is_some())
            || known.is_some_and(|known| matches!(known.role, Role::Build(_)));
        if settled {
            return;
        }
        let arguments = process.cmdline().unwrap_or_default();
        let role = build_of(&arguments).map_or(Role::Other, Role::Build);
        let of = self.binary_of(stat.ppid);
        let work = work_of(&arguments).zip(of).map(|((tool, package), of)| {
            let package = package.unwrap_or_else(|| of.clone());
            self.works.push(Work { tool, package, of, began, ended: began, cpu: 0.0, memory: 0 });
            self.works.len() - 1
        });
        self.known.insert(process.pid(), Known { started: stat.starttime, parent: stat.ppid, role, work });
    }

    /// The binary of the `go build` that a process descends from.
    fn binary_of(&self, mut pid: i32) -> Option<String> {
        // compile, gcc, cc1 and as lie at most a few generations below it.
        for _ in 0..6 {
            let known = self.known.get(&pid)?;
            if let Role::Build(name) = &known.role {
                return Some(name.clone());
            }
            pid = known.parent;
        }
        None
    }

    /// The works that took longest.
    pub fn slowest(&self, count: usize) -> Vec<&Work> {
        let mut works: Vec<&Work> = self.works.iter().collect();
        works.sort_by(|a, b| b.took().total_cmp(&a.took()));
        works.truncate(count);
        works
    }
}

/// All processes of this machine.
fn pids() -> HashSet<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The name of what a `go build -o PATH` makes.
fn build_of(arguments: &[String]) -> Option<String> {
    let mut words = arguments.iter();
    let program = file_name(words.next()?);
    if program != "go" || words.next()? != "build" {
        return None;
    }
    after(arguments, "-o").map(|path| file_name(path).to_owned())
}

/// The tool of Go's that runs, and for which package, as far as its arguments tell.
fn work_of(arguments: &[String]) -> Option<(String, Option<String>)> {
    let program = file_name(arguments.first()?);
    match program {
        "compile" | "asm" => {
            // Asked only for their version, they do nothing.
            let package = after(arguments, "-p")?;
            Some((program.to_owned(), Some(package.to_owned())))
        }
        "link" => after(arguments, "-o").map(|_| (program.to_owned(), None)),
        "cgo" => Some((program.to_owned(), after(arguments, "-importpath").map(str::to_owned))),
        _ => None,
    }
}

fn after<'a>(arguments: &'a [String], option: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == option)?;
    arguments.get(at + 1).map(String::as_str)
}

fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}
