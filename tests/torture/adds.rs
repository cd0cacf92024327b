//! A user stages a file while the tool commits or takes a commit back: what git took stays in the index.

use std::fs;

use crate::checks::{Prepared, Trial};
use crate::harness::Run;
use crate::sandbox::Place;
use crate::scenario::Scenario;
use crate::tracer::{Act, Call, Moment, trace};

/// A file that the fixture has not.
const NOTES: &str = "notes.txt";

/// Whether `git add` at this call is worth a try: at a call in the git folder of a command that commits.
pub fn applies(scenario: &Scenario, call: &Call) -> bool {
    scenario.commits() && call.paths.iter().any(|path| path.components().any(|part| part.as_os_str() == ".git"))
}

/// Stages a file when the command is at the call, and checks that it stays staged.
pub fn run(prepared: &Prepared, at: Moment, number: usize) -> Option<Trial> {
    let place = prepared.copy();
    fs::write(place.path(NOTES), "mine\n").unwrap();
    let mut reached = None;
    let mut look = |moment: Moment, call: &Call| {
        if call.number == number && moment == at && reached.is_none() {
            // Git refuses where the index is locked, and says so to its user.
            reached = Some((call.clone(), place.run_git(&["add", NOTES]).code == 0));
        }
        Act::Continue
    };
    let command = place.tool(prepared.scenario.command);
    let ended = trace(&command, place.base(), &[&place.tree()], &mut look).unwrap();
    let (call, added) = reached?;
    let mut trial = Trial::default();
    trial.log.push(format!("`git add` at {call}, {}", if added { "done" } else { "refused by git" }));
    let run = Run { code: ended.code.unwrap_or(-1), stdout: ended.stdout, stderr: ended.stderr };
    trial.ended("the command", &run, &[0, 1, 3]);
    staged(&mut trial, &place, added, "the command");
    trial.ended("then `revert`", &place.run(&["revert"]), &[0]);
    staged(&mut trial, &place, added, "then `revert`");
    place.run_git(&["rm", "--quiet", "--cached", "--ignore-unmatch", NOTES]);
    fs::remove_file(place.path(NOTES)).unwrap();
    if let Some(restored) = prepared.restored() {
        trial.same("then `revert`", &place.world(), restored);
    }
    Some(trial.at(&call))
}

fn staged(trial: &mut Trial, place: &Place, added: bool, when: &str) {
    if added && place.git(&["ls-files", NOTES]).is_empty() {
        trial.violation("a staged file is gone from the index", when);
    }
}
