//! Checkouts in a state in which nothing is written: a journal that cannot be read, a state folder that cannot be made,
//! and git halfway through something.

use std::fs;

use snapbox::data::Inline;
use snapbox::str;

use crate::harness::{JOURNAL, STATE, Tree};
use crate::refusals::COMMANDS;

// The journal.

/// A patched tree whose journal is changed.
fn with_journal(change: impl Fn(Vec<u8>) -> Vec<u8>) -> Tree {
    let tree = Tree::patched("installer");
    tree.write(JOURNAL, change(tree.read(JOURNAL)));
    tree
}

#[test]
fn every_command_refuses_a_journal_from_a_newer_version() {
    let tree = with_journal(|journal| {
        let end = journal.iter().position(|&b| b == b'\n').unwrap();
        let mut header: serde_json::Value = serde_json::from_slice(&journal[..end]).unwrap();
        header["format"] = 99.into();
        header["tool"] = "9.1.0".into();
        header["files"] = "in another form".into();
        [header.to_string().as_bytes(), &journal[end..]].concat()
    });
    for arguments in COMMANDS.into_iter().chain([&["build"][..], &["apply", "--controllers", "all"]]) {
        tree.refuses(arguments).says_exactly(str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` was written by a newer rr-patch, 9.1.0
  expected: format 1; found: format 99
hint: use rr-patch 9.1.0 or newer on this checkout
nothing was written
"#]]);
    }
}

#[test]
fn every_command_refuses_a_damaged_journal() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(Inline, Damage); 7] = [
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: it has no first line
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |_| Vec::new(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: it has no first line
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |journal| journal[..40].to_vec(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: expected value at line 1 column 1
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |journal| [b"garbage\n", &journal[..]].concat(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: missing field `shape` at line 1 column 30
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |_| b"{\"format\": 1, \"tool\": \"0.1.0\"}\n".to_vec(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: it is truncated
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |journal| journal[..journal.len() - 1].to_vec(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: it is truncated
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |journal| journal[..=journal.iter().position(|&b| b == b'\n').unwrap()].to_vec(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: a file in it does not have the hash that it should have
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |mut journal| {
                let last = journal.len() - 2;
                journal[last] ^= 1;
                journal
            },
        ),
    ];
    for (says, damage) in damages {
        let tree = with_journal(damage);
        for arguments in COMMANDS.into_iter().chain([&["build"][..]]) {
            tree.refuses(arguments).says_exactly(says.clone());
        }
    }
}

#[test]
fn every_command_says_that_the_journal_cannot_be_read() {
    let tree = Tree::patched("installer");
    tree.remove(JOURNAL);
    fs::create_dir(tree.path(JOURNAL)).unwrap();
    let before = tree.snapshot();
    for arguments in COMMANDS.into_iter().chain([&["build"][..]]) {
        tree.rr_patch(arguments).exits(1).says_exactly(str![
            "error: cannot read `[FOLDER]/installer/.git/rr-patch/checkout/journal`: Is a directory (os error 21)"
        ]);
    }
    assert!(tree.snapshot() == before && tree.path(JOURNAL).is_dir());
}

#[test]
fn a_file_in_the_place_of_the_state_folder_is_refused() {
    for place in [STATE, ".git/rr-patch/checkout"] {
        let tree = Tree::new("p2");
        tree.write(place, "a file");
        let before = tree.snapshot();
        tree.rr_patch(&["apply"]).exits(3).says_exactly(str![[r#"
error: cannot make the folder `[FOLDER]/installer/.git/rr-patch/checkout`
  found: a file in its place, or in that of a folder above it
hint: move that file away: rr-patch keeps the originals in this folder
nothing was written
"#]]);
        assert!(tree.snapshot() == before && tree.text(place) == "a file");
    }
}

// Git halfway through something.

/// A checkout in which this git command has stopped at a conflict.
fn stopped(command: &[&str]) -> Tree {
    let tree = Tree::new("installer");
    let changed = |text: &str| {
        tree.write("README.md", format!("{text}\n"));
        tree.commit(text);
    };
    tree.git(&["checkout", "--quiet", "-b", "side"]);
    changed("of the side branch");
    tree.git(&["format-patch", "--quiet", "-1", "--output-directory", ".."]);
    tree.git(&["checkout", "--quiet", "main"]);
    changed("of the main branch");
    changed("of the main branch, too");
    assert_ne!(tree.run("git", command, &[]).code, 0, "{command:?} stops");
    tree
}

#[track_caller]
fn refuses_while(what: &str, command: &[&str]) {
    let tree = stopped(command);
    for arguments in [&["apply"][..], &["apply", "--dry-run"], &["apply", "--controllers", "all"]] {
        tree.refuses(arguments).says_exactly(format!(
            "error: a {what} is in progress in `[FOLDER]/installer`\n\
             hint: finish it first: `git {what} --continue` or `git {what} --abort`\n\
             nothing was written"
        ));
    }
    assert!(!tree.path(STATE).exists());
    tree.git(&[what, "--abort"]);
    tree.rr_patch(&["apply"]).exits(0);
}

#[test]
fn apply_refuses_while_a_merge_is_in_progress() {
    refuses_while("merge", &["merge", "side"]);
}

#[test]
fn apply_refuses_while_a_rebase_is_in_progress() {
    refuses_while("rebase", &["rebase", "side"]);
    refuses_while("rebase", &["rebase", "--apply", "side"]);
}

#[test]
fn apply_refuses_while_a_cherry_pick_is_in_progress() {
    refuses_while("cherry-pick", &["cherry-pick", "side"]);
}

#[test]
fn apply_refuses_while_a_revert_is_in_progress() {
    refuses_while("revert", &["revert", "--no-edit", "HEAD~1"]);
}

#[test]
fn apply_refuses_while_an_am_is_in_progress() {
    refuses_while("am", &["am", "../0001-of-the-side-branch.patch"]);
}

#[test]
fn apply_refuses_a_merge_in_a_linked_worktree_only_there() {
    let tree = Tree::new("installer");
    tree.git(&["worktree", "add", "--quiet", "-b", "linked", "../linked"]);
    tree.commit("on the main branch");
    tree.git(&["-C", "../linked", "commit", "--quiet", "--allow-empty", "--message", "on the other"]);
    tree.git(&["-C", "../linked", "merge", "--quiet", "--no-commit", "--no-ff", "main"]);
    tree.refuses(&["apply", "../linked"]).says_exactly(str![[r#"
error: a merge is in progress in `[FOLDER]/linked`
hint: finish it first: `git merge --continue` or `git merge --abort`
nothing was written
"#]]);
    tree.rr_patch(&["apply"]).exits(0);
}

#[test]
fn apply_refuses_a_merge_around_a_vendored_installer() {
    let tree = Tree::vendored("third_party/installer");
    tree.git(&["checkout", "--quiet", "-b", "side"]);
    tree.commit("on a side branch");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.git(&["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    tree.refuses(&["apply", "third_party/installer"]).says_exactly(str![[r#"
error: a merge is in progress in `[FOLDER]/outer`
hint: finish it first: `git merge --continue` or `git merge --abort`
nothing was written
"#]]);
}
