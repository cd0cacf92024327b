//! Fifty processes at once on one checkout: each does its work or says that another is at it, and a revert
//! at the end gives the originals back.

use std::process::{Child, Stdio};

use crate::checks::{Prepared, Trial};
use crate::harness::Run;
use crate::random::Random;

const PROCESSES: usize = 50;

const COMMANDS: [&[&str]; 7] = [
    &["apply"],
    &["apply", "--signal", "rr"],
    &["revert"],
    &["revert", "--force"],
    &["status"],
    &["apply", "--commit"],
    &["diff"],
];

pub fn run(prepared: &Prepared, round: usize, seed: u64) -> Trial {
    let place = prepared.copy();
    let mut random = Random::new(seed.wrapping_add(round as u64));
    let chosen: Vec<&[&str]> = (0..PROCESSES).map(|_| COMMANDS[random.below(COMMANDS.len())]).collect();
    let start = |arguments: &&[&str]| -> Child {
        place.tool(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // What they print fits into a pipe.
    let children: Vec<Child> = chosen.iter().map(start).collect();
    let mut trial = Trial::default();
    for (arguments, child) in chosen.iter().zip(children) {
        let run = Run::of(child.wait_with_output().unwrap());
        // Git's own lock may be held by one that is ending.
        let codes: &[i32] = if arguments[0] == "status" { &[0, 4] } else { &[0, 3] };
        trial.ended(&format!("one of {PROCESSES}, `{}`", arguments.join(" ")), &run, codes);
    }
    trial.ended("then `revert`", &place.run(&["revert"]), &[0]);
    if let Some(restored) = prepared.restored() {
        trial.same("then `revert`", &place.world(), restored);
    }
    for stray in place.strays_in_state() {
        trial.violation("stray file", format!("then `revert`: {stray}"));
    }
    for lock in place.git_locks() {
        trial.violation("git lock left", format!("then `revert`: {}", lock.display()));
    }
    let fsck = place.run_git(&["fsck", "--strict", "--no-dangling"]);
    if fsck.code != 0 {
        trial.violation("git fsck", fsck.stdout + &fsck.stderr);
    }
    trial
}
