//! One disturbance of one command: what it is called, and how it is carried out.

use std::fmt;
use std::str::FromStr;

use nix::libc;

use crate::checks::{Prepared, Trial};
use crate::power::{FileSystem, Flush};
use crate::random::Random;
use crate::saves::Way;
use crate::tracer::{Act, Call, Kind, Moment, trace};
use crate::{adds, crowd, cuts, power, saves};

/// A disturbance at one system call of a scenario's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub trouble: Trouble,
    /// The number of the call, from 1; of the cut, or of the round.
    pub number: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// SIGKILL before the call, or after it.
    Kill(Moment),
    /// The call fails with this error.
    Fail(Failure),
    /// From this call on the disk is full: whatever needs room fails until the command has ended.
    Full,
    /// An editor saves at the call.
    Save(Way, Moment),
    /// A user stages a file at the call.
    Add(Moment),
    /// A file was cut short before.
    Cut,
    /// Many processes at once.
    Crowd,
    /// The power fails after the call.
    Power(FileSystem, Flush),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Io,
    NoSpace,
    Interrupted,
}

/// All disturbances, the column of the report that counts them, and the name of a point.
const TROUBLES: [(Trouble, &str, &str); 20] = [
    (Trouble::Kill(Moment::Before), "kill", "kill-before"),
    (Trouble::Kill(Moment::After), "kill", "kill-after"),
    (Trouble::Fail(Failure::Io), "eio", "eio"),
    (Trouble::Fail(Failure::NoSpace), "enospc", "enospc"),
    (Trouble::Fail(Failure::Interrupted), "eintr", "eintr"),
    (Trouble::Full, "full", "full"),
    (Trouble::Save(Way::Rename, Moment::Before), "save", "save-by-rename-before"),
    (Trouble::Save(Way::Rename, Moment::After), "save", "save-by-rename-after"),
    (Trouble::Save(Way::InPlace, Moment::Before), "save", "save-in-place-before"),
    (Trouble::Save(Way::InPlace, Moment::After), "save", "save-in-place-after"),
    (Trouble::Save(Way::Held, Moment::Before), "save", "opened-before"),
    (Trouble::Save(Way::Held, Moment::After), "save", "opened-after"),
    (Trouble::Add(Moment::Before), "add", "git-add-before"),
    (Trouble::Add(Moment::After), "add", "git-add-after"),
    (Trouble::Cut, "cut", "cut"),
    (Trouble::Crowd, "crowd", "crowd"),
    (Trouble::Power(FileSystem::Ext4, Flush::Nothing), "power", "power-ext4"),
    (Trouble::Power(FileSystem::Ext4, Flush::Journal), "power", "power-ext4-names-only"),
    (Trouble::Power(FileSystem::Xfs, Flush::Nothing), "power", "power-xfs"),
    (Trouble::Power(FileSystem::Xfs, Flush::Journal), "power", "power-xfs-names-only"),
];

/// The columns of the report.
pub const COLUMNS: [&str; 10] = ["kill", "eio", "enospc", "eintr", "full", "save", "add", "cut", "crowd", "power"];

/// How many calls of a scenario are made to fail in one way, to be saved or staged at in one way, and to be
/// the last before a power failure. Kills are never sampled.
const FAILURES: usize = 40;
const SAVES: usize = 24;
const ADDS: usize = 20;
const POWER: [(FileSystem, usize); 2] = [(FileSystem::Ext4, 10), (FileSystem::Xfs, 4)];
/// How many times many processes run at once.
const ROUNDS: usize = 4;

impl Trouble {
    pub fn column(self) -> &'static str {
        TROUBLES.iter().find(|(trouble, ..)| *trouble == self).map_or("", |(_, column, _)| column)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TROUBLES.iter().find(|(trouble, ..)| *trouble == self.trouble).map_or("", |(.., name)| name);
        write!(f, "{name}:{}", self.number)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').ok_or("expected a disturbance and a number, like eio:7")?;
        let known = TROUBLES.iter().find(|(.., known)| *known == name);
        let names = || TROUBLES.map(|(.., name)| name).join(", ");
        let (trouble, ..) = *known.ok_or_else(|| format!("`{name}` is none of {}", names()))?;
        let number = number.parse().ok().filter(|&number| number > 0);
        Ok(Self { trouble, number: number.ok_or("the number is 1 or more")? })
    }
}

/// The points of a scenario whose command makes these calls.
pub fn of(prepared: &Prepared, calls: &[Call], systems: &[FileSystem], seed: u64) -> Vec<Point> {
    let scenario = prepared.scenario;
    let mut random = Random::new(seed);
    let at = |wanted: &dyn Fn(&Call) -> bool| -> Vec<usize> {
        calls.iter().filter(|call| wanted(call)).map(|call| call.number).collect()
    };
    let mut points = Vec::new();
    for (trouble, ..) in TROUBLES {
        let numbers = match trouble {
            Trouble::Kill(_) => at(&|_| true),
            Trouble::Fail(_) => random.sample(at(&|_| true), FAILURES),
            Trouble::Full => random.sample(at(&needs_room), FAILURES),
            Trouble::Save(..) => random.sample(at(&|call| saves::applies(scenario, call)), SAVES),
            Trouble::Add(_) => random.sample(at(&|call| adds::applies(scenario, call)), ADDS),
            Trouble::Cut if scenario.name == "revert" => (1..=cuts::count(prepared)).collect(),
            Trouble::Crowd if scenario.name == "apply" => (1..=ROUNDS).collect(),
            Trouble::Cut | Trouble::Crowd => Vec::new(),
            Trouble::Power(system, _) if !systems.contains(&system) => Vec::new(),
            Trouble::Power(system, _) => {
                let count = POWER.iter().find(|(known, _)| *known == system).map_or(0, |(_, count)| *count);
                let mut numbers = at(&power::applies);
                // The end of a command is when most is said to be safe.
                let last = numbers.pop();
                random.sample(numbers, count).into_iter().chain(last).collect()
            }
        };
        points.extend(numbers.into_iter().map(|number| Point { trouble, number }));
    }
    points
}

/// A kill before each call and after the last, and nothing else.
pub fn kills(calls: &[Call]) -> Vec<Point> {
    let at = |moment, call: &Call| Point { trouble: Trouble::Kill(moment), number: call.number };
    let before = calls.iter().map(|call| at(Moment::Before, call));
    before.chain(calls.last().map(|call| at(Moment::After, call))).collect()
}

impl Failure {
    fn number(self) -> i32 {
        match self {
            Self::Io => libc::EIO,
            Self::NoSpace => libc::ENOSPC,
            Self::Interrupted => libc::EINTR,
        }
    }
}

/// The calls of the scenario's command that change something, when nothing disturbs it.
pub fn calls(prepared: &Prepared) -> Vec<Call> {
    let place = prepared.copy();
    let mut calls = Vec::new();
    let mut look = |moment, call: &Call| {
        if moment == Moment::After {
            calls.push(call.clone());
        }
        Act::Continue
    };
    trace(&place.tool(prepared.scenario.command), place.base(), &[&place.tree()], &mut look).unwrap();
    calls.sort_by_key(|call| call.number);
    calls
}

impl Point {
    /// Makes the disturbance, and checks what comes of it. Nothing if the command ended before the call.
    pub fn run(self, prepared: &Prepared, seed: u64) -> Option<Trial> {
        match self.trouble {
            Trouble::Kill(_) | Trouble::Fail(_) | Trouble::Full => self.at_call(prepared),
            Trouble::Save(way, at) => saves::run(prepared, way, at, self.number),
            Trouble::Add(at) => adds::run(prepared, at, self.number),
            Trouble::Cut => cuts::run(prepared, self.number),
            Trouble::Crowd => Some(crowd::run(prepared, self.number, seed)),
            Trouble::Power(system, flush) => power::cut(prepared, system, flush, self.number),
        }
    }

    fn at_call(self, prepared: &Prepared) -> Option<Trial> {
        let place = prepared.copy();
        let mut reached: Option<Call> = None;
        let mut look = |moment: Moment, call: &Call| {
            let here = call.number == self.number;
            if here && reached.is_none() {
                reached = Some(call.clone());
            }
            match self.trouble {
                Trouble::Kill(at) if here && at == moment => Act::Kill,
                Trouble::Fail(failure) if here && moment == Moment::Before => Act::Fail(failure.number()),
                Trouble::Full if call.number >= self.number && moment == Moment::Before && needs_room(call) => {
                    Act::Fail(libc::ENOSPC)
                }
                _ => Act::Continue,
            }
        };
        let command = place.tool(prepared.scenario.command);
        let ended = trace(&command, place.base(), &[&place.tree()], &mut look).unwrap();
        let reached = reached?;
        let mut trial = Trial::default();
        trial.log.push(format!("{self} of {}: {reached}", prepared.scenario.name));
        match self.trouble {
            Trouble::Kill(_) => trial.log.push(format!("{}{}", ended.stdout, ended.stderr)),
            _ => {
                let removal = matches!(reached.kind, Kind::Unlink | Kind::RemoveFolder);
                trial.failed(prepared, &ended, &place, removal);
            }
        }
        trial.follow(prepared, place);
        Some(trial.at(&reached))
    }
}

/// Whether a call fails on a full disk.
fn needs_room(call: &Call) -> bool {
    matches!(call.kind, Kind::Open | Kind::Write | Kind::Link | Kind::MakeFolder)
}
