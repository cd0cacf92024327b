//! An editor saves while the tool is at work: the save must be in its place or in `FILE.edited`, whatever
//! the tool's exit code.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::checks::{Prepared, Trial};
use crate::harness::Run;
use crate::sandbox::{EDITED, Entry, Place, World};
use crate::scenario::Scenario;
use crate::tracer::{Act, Call, Kind, Moment, trace};

/// How the editor saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It writes a new file and renames that over the old one.
    Rename,
    /// It empties the file and writes it.
    InPlace,
    /// It opens the file, and writes when the command has ended.
    Held,
}

/// What a save adds to the file.
const SAVED: &str = "\n// saved by an editor\n";

/// Whether a save at this call is worth a try: at a call that opens, moves or removes a file of the tree.
pub fn applies(scenario: &Scenario, call: &Call) -> bool {
    let kind = matches!(call.kind, Kind::Rename | Kind::Exchange | Kind::Unlink | Kind::Link | Kind::Open);
    let in_git = call.paths.iter().any(|path| path.components().any(|part| part.as_os_str() == ".git"));
    scenario.patches() && kind && !in_git
}

/// Saves a file when the command is at the call, and checks what becomes of the save.
pub fn run(prepared: &Prepared, way: Way, at: Moment, number: usize) -> Option<Trial> {
    let place = prepared.copy();
    let tree = place.tree();
    let changed = changed(prepared);
    let mut saved: Option<(PathBuf, Call)> = None;
    let mut held = None;
    let mut look = |moment: Moment, call: &Call| {
        if call.number == number && moment == at && saved.is_none() {
            let name = chosen(call, &tree, &changed, number);
            let loaded = loaded(prepared, &tree, &name);
            match way {
                Way::Rename => {
                    fs::write(tree.join("new-version"), loaded).unwrap();
                    fs::rename(tree.join("new-version"), tree.join(&name)).unwrap();
                }
                Way::InPlace => fs::write(tree.join(&name), loaded).unwrap(),
                Way::Held => {
                    let file = File::options().write(true).create(true).truncate(false).open(tree.join(&name));
                    held = Some((file.unwrap(), loaded));
                }
            }
            saved = Some((name, call.clone()));
        }
        Act::Continue
    };
    let command = place.tool(prepared.scenario.command);
    let ended = trace(&command, place.base(), &[&tree], &mut look).unwrap();
    let (name, call) = saved?;
    if let Some((mut file, loaded)) = held {
        file.set_len(0).unwrap();
        file.write_all(&loaded).unwrap();
    }
    let mut trial = Trial::default();
    trial.log.push(format!("a save of {} at {call}", name.display()));
    let run = Run { code: ended.code.unwrap_or(-1), stdout: ended.stdout, stderr: ended.stderr };
    trial.ended("the command", &run, &[0, 1, 3]);
    let now = place.world();
    if !survives(&mut trial, "the command", &now, &name, run.code) {
        return Some(trial.at(&call));
    }
    let said = run.stdout.contains(EDITED) || run.stderr.contains(EDITED);
    if !now.has(&name, SAVED) && !said {
        trial.violation(
            "a save kept elsewhere and not mentioned",
            format!("{} at exit code {}", name.display(), run.code),
        );
    }
    if run.code == 3 {
        trial.promise("the command", &run.stderr, 3, &others(now, &name), &others(prepared.before.clone(), &name));
    }
    finish(&mut trial, prepared, &place, &name);
    Some(trial.at(&call))
}

/// What the user does next: revert, by force if need be. The save stays, and all other files are right.
fn finish(trial: &mut Trial, prepared: &Prepared, place: &Place, name: &Path) {
    trial.ended("then `status`", &place.run(&["status"]), &[0, 4]);
    let before = place.world();
    let run = place.run(&["revert"]);
    trial.ended("then `revert`", &run, &[0, 3]);
    if run.code == 3 {
        trial.promise("then `revert`", &run.stderr, 3, &place.world(), &before);
        trial.ended("then `revert --force`", &place.run(&["revert", "--force"]), &[0]);
    }
    let now = place.world();
    survives(trial, "then `revert`", &now, name, run.code);
    if let Some(restored) = prepared.restored() {
        trial.same("then `revert`", &others(now, name), &others(restored.clone(), name));
    }
    for stray in place.strays_in_state() {
        trial.violation("stray file", format!("then `revert`: {stray}"));
    }
}

fn survives(trial: &mut Trial, when: &str, now: &World, name: &Path, code: i32) -> bool {
    let there = now.holds(name, SAVED);
    if !there {
        let stray = now.entries.iter().find(|(_, entry)| entry.contains(SAVED)).map(|(path, _)| path.display());
        let found = stray.map_or("nowhere".to_owned(), |path| format!("only in {path}"));
        trial.violation(
            "a save is lost",
            format!("{when} ended with {code}, and what was saved to {} is {found}", name.display()),
        );
    }
    there
}

/// A tree without a file and its edited versions, and without the folders that hold nothing else.
fn others(mut world: World, file: &Path) -> World {
    let name = file.to_string_lossy().into_owned();
    world.entries.retain(|path, _| !path.to_string_lossy().starts_with(&name));
    for folder in file.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        if !world.entries.keys().any(|path| path != folder && path.starts_with(folder)) {
            world.entries.remove(folder);
        }
    }
    if let Some(git) = &mut world.git {
        git.status.retain(|line| !line.contains(&name));
    }
    world
}

/// The files that the command changes and that are there before it.
fn changed(prepared: &Prepared) -> Vec<PathBuf> {
    let before = prepared.before.entries.iter();
    let changed = before.filter(|(path, entry)| {
        matches!(entry, Entry::File { .. }) && prepared.after.entries.get(*path) != Some(entry)
    });
    changed.map(|(path, _)| path.clone()).collect()
}

/// The file that the call is about; any other where it is about a temporary file.
fn chosen(call: &Call, tree: &Path, changed: &[PathBuf], number: usize) -> PathBuf {
    let names = call.paths.iter().filter_map(|path| path.strip_prefix(tree).ok());
    let about = names.into_iter().find(|name| changed.iter().any(|path| path == name));
    about.map_or_else(|| changed[number % changed.len()].clone(), Path::to_owned)
}

/// What an editor has that read the file before the command: with its own line.
fn loaded(prepared: &Prepared, tree: &Path, name: &Path) -> Vec<u8> {
    let mut bytes = match prepared.before.entries.get(name) {
        Some(Entry::File { bytes, .. }) => bytes.clone(),
        _ => fs::read(tree.join(name)).unwrap_or_default(),
    };
    bytes.extend(SAVED.as_bytes());
    bytes
}
