//! `--patch` where a patch does not fit: which hunk, where, what was expected, what is there, and what to do.

use std::fs;

use crate::harness::{Run, Tree};
use crate::patch_formats::{NOTES, tree_with_notes};

/// Has the tool refuse a patch, and says what it says.
#[track_caller]
fn refused(tree: &Tree, patch: impl AsRef<[u8]>) -> Run {
    fs::write(tree.beside("the.patch"), patch).unwrap();
    let run = tree.refuses(&["apply", "--patch", "../the.patch"]);
    assert_eq!(tree.refuses(&["diff", "--patch", "../the.patch"]).stderr, run.stderr, "diff says the same");
    run
}

/// A patch of `NOTES` with these hunks.
fn of_notes(hunks: &str) -> String {
    format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunks}")
}

#[test]
fn patch_that_would_change_nothing_is_refused_and_not_remembered() {
    let tree = tree_with_notes();
    let head = format!("diff --git a/{NOTES} b/{NOTES}\n");
    for patch in [
        of_notes("@@ -1,3 +1,3 @@\n line 1\n-line 2\n+line 2\n line 3\n"),
        format!("{head}old mode 100755\nnew mode 100644\n"),
    ] {
        refused(&tree, patch).says(&["error: `the.patch` would change nothing here\n"]);
        tree.rr_patch(&["status"]).prints(&["is not patched"]);
    }
    // Two that cancel each other.
    fs::write(tree.beside("1.patch"), of_notes("@@ -1,2 +1,3 @@\n line 1\n+more\n line 2\n")).unwrap();
    fs::write(tree.beside("2.patch"), of_notes("@@ -1,3 +1,2 @@\n line 1\n-more\n line 2\n")).unwrap();
    tree.refuses(&["apply", "--patch", "../1.patch", "--patch", "../2.patch"])
        .says(&["error: `1.patch, 2.patch` would change nothing here\n"]);
}
