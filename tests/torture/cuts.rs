//! Files cut short: a patched file that is a beginning of what apply wrote is an edit as long as the machine
//! has not gone down, and a journal that is cut short is refused.

use std::fs;
use std::path::PathBuf;

use crate::checks::{Prepared, Trial};
use crate::sandbox::{Entry, Place};

/// A file, and how much of it is left.
struct Cut {
    name: PathBuf,
    left: Vec<u8>,
    journal: bool,
}

/// All cuts of a patched tree.
fn cuts(prepared: &Prepared) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let before = prepared.before.entries.iter();
    for (name, entry) in before.filter(|(path, entry)| prepared.after.entries.get(*path) != Some(entry)) {
        let Entry::File { bytes, .. } = entry else { continue };
        let last_function = bytes.windows(6).rposition(|part| part == b"\nfunc ").map_or(0, |at| at + 1);
        for length in [0, 1, bytes.len() / 2, last_function, bytes.len() - 1] {
            cuts.push(Cut { name: name.clone(), left: bytes[..length].to_vec(), journal: false });
        }
    }
    for name in journals(&prepared.template) {
        let bytes = fs::read(prepared.template.tree().join(&name)).unwrap();
        let header = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(1);
        for length in [0, 1, header / 2, header, header + 1, bytes.len() / 2, bytes.len() - 1] {
            cuts.push(Cut { name: name.clone(), left: bytes[..length].to_vec(), journal: true });
        }
        let mut flipped = bytes;
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        cuts.push(Cut { name, left: flipped, journal: true });
    }
    cuts
}

/// The journals of a tree, below it.
fn journals(place: &Place) -> Vec<PathBuf> {
    let folder = PathBuf::from(".git/rr-patch/checkout");
    let entries = fs::read_dir(place.tree().join(&folder)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with("journal"));
    names.map(|name| folder.join(name)).collect()
}

pub fn count(prepared: &Prepared) -> usize {
    cuts(prepared).len()
}

/// Cuts a file, and checks what the next commands make of it.
pub fn run(prepared: &Prepared, number: usize) -> Option<Trial> {
    let cut = cuts(prepared).into_iter().nth(number - 1)?;
    let place = prepared.copy();
    fs::write(place.tree().join(&cut.name), &cut.left).unwrap();
    let mut trial = Trial::default();
    trial.log.push(format!("{} is cut to {} bytes", cut.name.display(), cut.left.len()));
    match cut.journal {
        true => journal(&mut trial, prepared, &cut, &place),
        false => file(&mut trial, prepared, &cut, &place),
    }
    let at = format!(" [{} cut to {} bytes]", cut.name.display(), cut.left.len());
    trial.found.iter_mut().for_each(|violation| violation.what.push_str(&at));
    Some(trial)
}

fn file(trial: &mut Trial, prepared: &Prepared, cut: &Cut, place: &Place) {
    trial.ended("`status`", &place.run(&["status"]), &[0, 4]);
    let cut_tree = place.world();
    let run = place.run(&["revert"]);
    trial.ended("`revert`", &run, &[0, 3]);
    let mut now = place.world();
    if run.code == 3 {
        trial.promise("`revert`", &run.stderr, 3, &now, &cut_tree);
        let run = place.run(&["revert", "--force"]);
        trial.ended("`revert --force`", &run, &[0]);
        now = place.world();
        // The edit has the name that was printed.
        if !cut.left.is_empty() && !now.keeps_beside(&cut.name, &cut.left) {
            trial.violation("an edit is lost", "`revert --force` keeps no edited version");
        }
        return;
    }
    let original = prepared.restored().and_then(|world| world.entries.get(&cut.name));
    let silent = now.entries.get(&cut.name) == original && !now.keeps_beside(&cut.name, &cut.left);
    if silent {
        trial.violation("an edit is taken for a crash", "`revert` ended with 0 and gave the original back");
    }
}

fn journal(trial: &mut Trial, prepared: &Prepared, cut: &Cut, place: &Place) {
    // A patched tree may also be known by its sources: then nothing depends on the journal.
    let status = place.run(&["status"]);
    trial.ended("`status`", &status, &[0, 1, 3, 4]);
    for arguments in [&["apply"][..], &["apply", "--signal", "rr"], &["revert", "--force"], &["revert"]] {
        let place = prepared.another(place);
        let name = format!("`{}`", arguments.join(" "));
        let run = place.run(arguments);
        trial.ended(&name, &run, &[0, 3]);
        let now = place.world();
        if run.code == 3 {
            trial.promise(&name, &run.stderr, 3, &now, &prepared.before);
            let left = fs::read(place.tree().join(&cut.name)).unwrap_or_default();
            if left != cut.left {
                trial.violation("a damaged journal is overwritten", name);
            }
        } else if arguments[0] == "revert"
            && let Some(restored) = prepared.restored()
        {
            trial.same(&name, &now, restored);
        } else {
            // What was applied can be taken back.
            trial.ended(&format!("{name}, then `revert`"), &place.run(&["revert"]), &[0]);
            if let Some(restored) = prepared.restored() {
                trial.same(&format!("{name}, then `revert`"), &place.world(), restored);
            }
        }
    }
}
