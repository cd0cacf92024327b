//! `--3way`: a patch that does not fit is merged with the version that it was made from, where the
//! repository has that.

use std::fs;

use crate::harness::{SYSTEM, Tree};
use crate::patch_formats::{NOTES, as_git_does, made_by_git, tree_with_notes};
use snapbox::str;

/// A checkout with `NOTES`, a patch beside it that changes two of its lines, and a commit with another
/// change, of a line next to one of them.
fn moved_on() -> (Tree, Vec<u8>) {
    let tree = tree_with_notes();
    let patch = made_by_git(&tree, &[], |tree| {
        tree.edit(NOTES, "line 10\n", "line ten\n");
        tree.edit(NOTES, "line 20\n", "line 20\nline 20.5\n");
    });
    fs::write(tree.beside("the.patch"), &patch).unwrap();
    tree.edit(NOTES, "line 8\n", "line eight\n");
    tree.edit(NOTES, "line 1\n", "line 0\nline 1\n");
    tree.commit("moved on");
    (tree, patch)
}

#[test]
fn patch_3way_merges_with_what_the_patch_was_made_from_as_git_does() {
    let (tree, patch) = moved_on();
    let run = tree.refuses(&["apply", "--patch", "../the.patch"]);
    run.says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -7,7 +7,7 @@` (line 5 of the patch): expected:
    | line 7
    | line 8
    | line 9
    | line 10
    | line 11
    | line 12
    | line 13
    nearest: line 8, where 6 of them match; line 9 is `line eight`
nothing was written
"#]]);
    as_git_does(&tree, &patch, &["--3way"]).prints(&["docs/notes.txt:11\n", "docs/notes.txt:22\n"]);

    // Where it fits as it is, nothing is merged and no base asked for.
    tree.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    as_git_does(&tree, &patch, &["--3way"]);
}

#[test]
fn patch_3way_that_merges_into_nothing_new_is_refused() {
    let (tree, _) = moved_on();
    tree.edit(NOTES, "line 10\n", "line ten\n");
    tree.edit(NOTES, "line 20\n", "line 20\nline 20.5\n");
    tree.refuses(&["apply", "--3way", "--patch", "../the.patch"]).says_exactly(str![[r#"
error: `the.patch` would change nothing here
nothing was written
"#]]);
}

#[test]
fn patch_3way_with_a_conflict_is_refused_with_the_lines() {
    let (tree, _) = moved_on();
    tree.edit(NOTES, "line 10\n", "line X\n");
    let run = tree.refuses(&["apply", "--3way", "--patch", "../the.patch"]);
    run.says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: a three-way merge has conflicts
    <<<<<<< the checkout
    line X
    =======
    line ten
    >>>>>>> the patch
nothing was written
"#]]);
}

#[test]
fn patch_3way_without_what_the_patch_was_made_from_is_refused_as_without_3way() {
    let (tree, patch) = moved_on();
    let text = String::from_utf8(patch).unwrap();
    let base = text.split("\nindex ").nth(1).unwrap().split("..").next().unwrap();
    let without_index: String = text.split_inclusive('\n').filter(|line| !line.starts_with("index ")).collect();
    let plain = tree.refuses(&["apply", "--patch", "../the.patch"]).stderr;
    let short = |error: &str| -> Vec<String> {
        // A header that is a line shorter moves the hunks in the patch.
        let error = error.replace("(line 4 of the patch)", "(line 5 of the patch)");
        error.lines().filter(|line| !line.starts_with("hint: `--3way`")).map(str::to_owned).collect()
    };
    for (patch, hint) in [
        (
            text.replace(base, "0123abc"),
            "this repository has no blob `0123abc`, which the patch of `docs/notes.txt` was made from",
        ),
        // The name of a commit, and of nothing.
        (text.replace(base, tree.git(&["rev-parse", "HEAD"]).trim()), "this repository has no blob `"),
        (
            text.replace(base, "0000000"),
            "the patch does not say which blob its change of `docs/notes.txt` was made from",
        ),
        (without_index, "the patch does not say which blob "),
        // Another file's: its hunks do not fit there either.
        (
            text.replace(base, tree.git(&["rev-parse", "HEAD:go.mod"]).trim()),
            "the patch of `docs/notes.txt` does not fit blob `",
        ),
    ] {
        fs::write(tree.beside("the.patch"), patch).unwrap();
        let run = tree.refuses(&["apply", "--3way", "--patch", "../the.patch"]);
        assert_eq!(short(&run.stderr), short(&plain));
        run.says(&["hint: `--3way`: ", hint]);
    }
    let without_git = Tree::bare("p2");
    without_git.write(NOTES, tree.text(NOTES));
    fs::write(without_git.beside("the.patch"), text).unwrap();
    without_git.refuses(&["apply", "--3way", "--patch", "../the.patch"]).says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -7,7 +7,7 @@` (line 5 of the patch): expected:
    | line 7
    | line 8
    | line 9
    | line 10
    | line 11
    | line 12
    | line 13
    nearest: line 8, where 6 of them match; line 9 is `line eight`
hint: `--3way`: this repository has no blob `[..]`, which the patch of `docs/notes.txt` was made from
nothing was written
"#]]);
}

#[test]
fn patch_3way_merges_the_shipped_kind_of_patch_into_edited_sources() {
    let tree = Tree::new("p2");
    let patch = tree.prints(&["diff"]);
    fs::write(tree.beside("the.patch"), patch).unwrap();
    // Next to a hunk of it, and within its context.
    tree.edit(SYSTEM, "\t\tch := make(chan struct{})\n", "\t\t// Closed below.\n\t\tch := make(chan struct{})\n");
    let edited = tree.snapshot();
    tree.refuses(&["apply", "--patch", "../the.patch"]);
    tree.rr_patch(&["apply", "--3way", "--patch", "../the.patch", "--verify"]).exits(0);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == edited);
}

#[test]
fn diff_rev_3way_prints_the_patch_made_anew_and_check_asks_only_whether_it_fits() {
    let (tree, patch) = moved_on();
    let before = tree.snapshot();
    fs::write(tree.beside("old.patch"), patch).unwrap();
    let patch = ["--patch", "../old.patch"];
    tree.rr_patch(&[&["diff", "--rev", "HEAD"], &patch[..]].concat()).refuses();
    let anew = tree.prints(&[&["diff", "--rev", "HEAD", "--3way"], &patch[..]].concat());
    assert!(tree.snapshot() == before);
    as_git_does(&tree, anew, &[]);
    tree.rr_patch(&[&["check", "--rev", "HEAD"], &patch[..]].concat()).exits(4);
    tree.rr_patch(&[&["check", "--rev", "HEAD", "--3way"], &patch[..]].concat()).exits(2).says_exactly(str![[r#"
error: `--3way` merges a patch that does not fit, and `check` asks whether it fits
hint: leave it out; `rr-patch diff --3way --rev REV` prints what the merge gives
"#]]);
}

#[test]
fn patch_3way_finds_the_lines_of_hunks_in_what_was_merged() {
    let tree = tree_with_notes();
    let patch = made_by_git(&tree, &[], |tree| {
        tree.edit(NOTES, "line 20\n", "line 20\nagain\n");
        tree.edit(NOTES, "line 29\nline 30\n", "");
    });
    fs::write(tree.beside("the.patch"), patch).unwrap();
    // What the patch adds stands elsewhere too, and the file has become shorter.
    tree.edit(NOTES, "line 2\n", "line 2\nagain\n");
    tree.edit(NOTES, "line 18\n", "line eighteen\n");
    let above = (5..=12).map(|number| ["line ", &number.to_string(), "\n"].concat()).collect::<String>();
    tree.edit(NOTES, &above, "");
    tree.rr_patch(&["apply", "--3way", "--patch", "../the.patch"]).exits(0);
    let text = tree.text(NOTES);
    let again = 1 + text.lines().collect::<Vec<_>>().iter().rposition(|line| *line == "again").unwrap();
    assert_eq!(again, 14);
    tree.rr_patch(&["status"]).exits(0).prints_exactly(str![[r#"
patched: `[FOLDER]/installer`, with the.patch
by:      rr-patch [VERSION] on [..]
patch:   the.patch, git blob [..]

  the.patch        in place      its hunks
                                 docs/notes.txt:14
                                 docs/notes.txt:22

nothing was edited since
"#]]);
}
