//! What must hold after a disturbance, whatever it was: the right exit codes, no panic, and by the user's
//! next command a tree as if nothing had happened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::Run;
use crate::sandbox::{Difference, Place, World};
use crate::scenario::{Exact, FollowUp, PRUNE, Scenario, Step};
use crate::tracer::{Call, Ended};

/// A scenario whose tree was made, with the worlds that undisturbed commands lead to.
pub struct Prepared {
    pub scenario: &'static Scenario,
    pub template: Place,
    /// The tree before the command, and after it.
    pub before: World,
    pub after: World,
    /// The tree after each step of each follow-up.
    expected: Vec<Vec<World>>,
    /// Where copies are made.
    folder: PathBuf,
    copies: AtomicUsize,
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    pub kind: String,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)
    }
}

impl Prepared {
    /// Makes the scenario's tree and runs its commands undisturbed. What is wrong then is wrong without any
    /// disturbance.
    pub fn new(scenario: &'static Scenario, folder: &Path) -> (Self, Trial) {
        let folder = folder.join(scenario.name);
        let (template, restored) = scenario.prepare(&folder.join("template"));
        let before = template.world();
        let mut prepared = Self {
            scenario,
            after: before.clone(),
            before,
            template,
            expected: Vec::new(),
            folder,
            copies: AtomicUsize::new(0),
        };
        let done = prepared.copy();
        let mut trial = Trial::default();
        trial.ended("undisturbed", &done.run(scenario.command), &[0]);
        prepared.after = done.world();
        for follow_up in scenario.follow_ups {
            let place = prepared.another(&done);
            let mut worlds = Vec::new();
            for step in follow_up.steps {
                trial.ended(&format!("undisturbed, then {}", step.name()), &place.run(step.arguments), step.codes);
                worlds.push(place.world());
            }
            prepared.expected.push(worlds);
        }
        if let Some(restored) = restored {
            for (follow_up, worlds) in scenario.follow_ups.iter().zip(&prepared.expected) {
                let last = worlds.last().unwrap_or(&prepared.after);
                trial.same(&format!("undisturbed, then {}", follow_up.name), last, &restored);
            }
        }
        (prepared, trial)
    }

    /// A copy of the tree before the command.
    pub fn copy(&self) -> Place {
        self.another(&self.template)
    }

    pub fn another(&self, place: &Place) -> Place {
        place.copy(self.new_folder())
    }

    /// The tree when all is reverted.
    pub fn restored(&self) -> Option<&World> {
        self.expected.first().and_then(|worlds| worlds.last())
    }

    pub fn new_folder(&self) -> PathBuf {
        self.folder.join(self.copies.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Step {
    fn name(&self) -> String {
        format!("`{}`", self.arguments.join(" "))
    }
}

/// What was seen of one disturbance.
#[derive(Debug, Default)]
pub struct Trial {
    pub found: Vec<Violation>,
    /// What was done and printed, for somebody who wants to see this one.
    pub log: Vec<String>,
}

impl Trial {
    pub fn violation(&mut self, kind: impl Into<String>, what: impl Into<String>) {
        let (kind, what) = (kind.into(), what.into());
        self.log.push(format!("VIOLATION {kind}: {what}"));
        self.found.push(Violation { kind, what });
    }

    /// Says of each violation at which call it came.
    pub fn at(mut self, call: &Call) -> Self {
        for violation in &mut self.found {
            violation.what = format!("{} [at {call}]", violation.what);
        }
        self
    }

    /// Checks how a command ended.
    pub fn ended(&mut self, when: &str, run: &Run, codes: &[i32]) {
        let Run { code, stdout, stderr } = run;
        self.log.push(format!("-- {when}: exit code {code}\n{stdout}{stderr}"));
        let text = || stderr.trim_end().replace('\n', " | ");
        if *code == 101 || stderr.contains("panicked at") {
            self.violation("panic", format!("{when}: {}", text()));
        } else if *code == 137 {
            self.violation("hung", when);
        } else if !codes.contains(code) {
            self.violation("wrong exit code", format!("{when}: {code}, expected one of {codes:?}: {}", text()));
        }
    }

    /// Checks that two trees are the same.
    pub fn same(&mut self, when: &str, found: &World, expected: &World) {
        for Difference { kind, what } in found.differences(expected) {
            self.violation(kind, format!("{when}: {what}"));
        }
    }

    /// Checks the tree that a disturbed command left: what the user does next must lead to the right end.
    pub fn follow(&mut self, prepared: &Prepared, place: Place) {
        if prepared.scenario.patches() {
            // 4 is "partly patched".
            let status = place.run(&["status"]);
            self.ended("then `status`", &status, &[0, 4]);
        }
        let all = prepared.scenario.follow_ups.iter().zip(&prepared.expected);
        let places = (1..all.len()).map(|_| prepared.another(&place)).collect::<Vec<_>>();
        for ((follow_up, worlds), place) in all.zip(places.into_iter().chain([place])) {
            self.steps(prepared.scenario, follow_up, worlds, &place);
        }
    }

    fn steps(&mut self, scenario: &Scenario, follow_up: &FollowUp, worlds: &[World], place: &Place) {
        let mut done = String::from("then");
        for (step, expected) in follow_up.steps.iter().zip(worlds) {
            done = format!("{done} {}", step.name());
            let run = self.step(place, step, &done);
            if !step.codes.contains(&run.code) {
                return;
            }
            let looked_at = match step.exact {
                Exact::Always => true,
                Exact::OnSuccess => run.code == 0,
                Exact::Never => false,
            };
            if looked_at {
                self.same(&done, &place.world(), expected);
            }
        }
        for stray in place.strays_in_state() {
            self.violation("stray file", format!("{done}: {stray}"));
        }
        for lock in place.git_locks() {
            self.violation("git lock left and not named", format!("{done}: {}", lock.display()));
        }
        if scenario.commits() {
            let fsck = place.run_git(&["fsck", "--strict", "--no-dangling"]);
            if fsck.code != 0 || !fsck.stdout.is_empty() {
                self.violation("git fsck", format!("{done}: {}{}", fsck.stdout, fsck.stderr));
            }
        }
    }

    /// Runs a step. A killed git leaves locks that the user is to remove: the tool must name one, and
    /// succeed when it is gone.
    fn step(&mut self, place: &Place, step: &Step, done: &str) -> Run {
        loop {
            let locks = place.git_locks();
            let before = (!locks.is_empty()).then(|| place.world());
            let run = place.run(step.arguments);
            let named = locks.iter().find(|lock| run.stderr.contains(&*lock.to_string_lossy()));
            let (Some(lock), 1 | 3) = (named, run.code) else {
                self.ended(done, &run, step.codes);
                // It may also be named by a command that needs no lock.
                named.into_iter().for_each(|lock| drop(std::fs::remove_file(lock)));
                return run;
            };
            self.log.push(format!("-- {done}: exit code {}, a lock is named\n{}", run.code, run.stderr));
            if let Some(before) = before {
                self.promise(done, &run.stderr, run.code, &place.world(), &before);
            }
            std::fs::remove_file(lock).unwrap();
        }
    }

    /// Checks the promise of a refusal.
    pub fn promise(&mut self, when: &str, stderr: &str, code: i32, now: &World, before: &World) {
        let promised = stderr.lines().any(|line| line == "nothing was written");
        if code == 3 && !promised {
            self.violation("refusal without its promise", format!("{when}: {}", stderr.trim_end()));
        }
        if promised {
            for Difference { kind, what } in now.differences(before) {
                self.violation("false \"nothing was written\"", format!("{when}: {kind}: {what}"));
            }
        }
    }

    /// Checks a command one of whose calls failed.
    pub fn failed(&mut self, prepared: &Prepared, ended: &Ended, place: &Place, removal: bool) {
        let code = ended.code.unwrap_or(if ended.hung { 137 } else { -1 });
        let run = Run { code, stdout: ended.stdout.clone(), stderr: ended.stderr.clone() };
        // A prune that some traces refuse removes the others, says why, and ends with 4.
        let some_stay = prepared.scenario.command == PRUNE && code == 4;
        self.ended("the command", &run, if some_stay { &[4] } else { &[0, 1, 3] });
        let now = place.world();
        if some_stay {
            if !run.stdout.contains('`') {
                self.violation("error without a path", run.stdout.trim_end().replace('\n', " | "));
            }
            return;
        }
        if code == 0 {
            // What could not be removed is removed by the next command.
            let now = if removal { now.without_temporary() } else { now };
            // A trace whose lock cannot be looked at is left alone, whole.
            let now = match prepared.scenario.command == PRUNE {
                true => now.without_whole_traces(&prepared.before, &prepared.after),
                false => now,
            };
            self.same("the command ended with 0", &now, &prepared.after);
            return;
        }
        self.promise("the command", &run.stderr, code, &now, &prepared.before);
        let first = run.stderr.lines().find(|line| line.starts_with("error: "));
        if !first.is_some_and(|line| line.contains('`') || line.contains('/')) {
            self.violation("error without a path", run.stderr.trim_end().replace('\n', " | "));
        }
    }
}
