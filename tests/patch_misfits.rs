//! `--patch` where a patch does not fit: which hunk, where, what was expected, what is there, and what to do.

use std::fs;

use crate::harness::{Run, Tree};
use crate::patch_formats::{NOTES, tree_with, tree_with_notes};
use snapbox::str;

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
        refused(&tree, patch).says_exactly(str![[r#"
error: `the.patch` would change nothing here
nothing was written
"#]]);
        tree.rr_patch(&["status"])
            .prints_exactly(str!["`[FOLDER]/installer` is not patched: `rr-patch apply` does it"]);
    }
    // Two that cancel each other.
    fs::write(tree.beside("1.patch"), of_notes("@@ -1,2 +1,3 @@\n line 1\n+more\n line 2\n")).unwrap();
    fs::write(tree.beside("2.patch"), of_notes("@@ -1,3 +1,2 @@\n line 1\n-more\n line 2\n")).unwrap();
    tree.refuses(&["apply", "--patch", "../1.patch", "--patch", "../2.patch"]).says_exactly(str![[r#"
error: `1.patch, 2.patch` would change nothing here
nothing was written
"#]]);
}

#[test]
fn patch_misfit_names_file_hunk_line_expected_lines_and_the_nearest_place() {
    let tree = tree_with_notes();
    let hunk = "@@ -4,5 +4,6 @@ a heading\n line 4\n line 5\n-line five and a half\n+x\n+y\n line 6\n \n";
    let run = refused(&tree, of_notes(&format!("@@ -1,2 +1,3 @@\n line 1\n+0\n line 2\n{hunk}")));
    run.says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -4,5 +4,6 @@` (line 7 of the patch): expected:
    | line 4
    | line 5
    | line five and a half
    | line 6
    | 
    nearest: line 4, where 2 of them match; line 6 is `line 6`
nothing was written
"#]]);
    let long: String = (1..40).map(|number| [" line ", &number.to_string(), "\n"].concat()).collect();
    let run = refused(&tree, of_notes(&format!("@@ -1,39 +1,40 @@\n{long}+x\n")));
    run.says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -1,39 +1,40 @@` (line 3 of the patch): expected:
    | line 1
    | line 2
    | line 3
    | line 4
    | line 5
    | line 6
    | line 7
    | line 8
    | line 9
    | line 10
    | line 11
    | line 12
    | … and 27 more lines
    nearest: line 1, where 30 of them match; the file ends there
nothing was written
"#]]);
}

#[test]
fn patch_misfit_says_what_differs_in_the_nearest_place() {
    let tree = tree_with_notes();
    for (hunk, says) in [
        // Moved, and changed there.
        (
            "@@ -4,3 +4,3 @@\n line 20\n-line 21b\n+x\n line 22\n",
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -4,3 +4,3 @@` (line 3 of the patch): expected:
    | line 20
    | line 21b
    | line 22
    nearest: line 20, where 2 of them match; line 21 is `line 21`
nothing was written
"#]],
        ),
        (
            "@@ -4,3 +4,3 @@\n   line 20\n-line 21\n+x\n \tline 22\n",
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -4,3 +4,3 @@` (line 3 of the patch): expected:
    |   line 20
    | line 21
    | 	line 22
    nearest: line 20, where 3 of them match; line 20 differs in white space only
nothing was written
"#]],
        ),
        (
            "@@ -4,3 +4,3 @@\n line 20\r\n-line 21\r\n+x\r\n line 22\r\n",
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -4,3 +4,3 @@` (line 3 of the patch): expected:
    | line 20
    | line 21
    | line 22
    nearest: line 20, where 3 of them match; line 20 has another line end (CR LF, or no newline)
nothing was written
"#]],
        ),
        (
            "@@ -29,3 +29,3 @@\n line 29\n line 30\n-line 31\n+x\n",
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -29,3 +29,3 @@` (line 3 of the patch): expected:
    | line 29
    | line 30
    | line 31
    nearest: line 29, where 2 of them match; the file ends there
nothing was written
"#]],
        ),
        (
            "@@ -4,2 +4,2 @@\n nothing\n-like it\n+x\n",
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -4,2 +4,2 @@` (line 3 of the patch): expected:
    | nothing
    | like it
    found: none of these in its 30 lines
nothing was written
"#]],
        ),
        (
            "@@ -4,2 +4,2 @@\n \n-\n+x\n",
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -4,2 +4,2 @@` (line 3 of the patch): expected:
    | 
    | 
    found: none of these in its 30 lines
nothing was written
"#]],
        ),
    ] {
        refused(&tree, of_notes(hunk)).says_exactly(says);
    }
}

#[test]
fn patch_names_every_hunk_and_file_that_does_not_fit() {
    let tree = tree_with(&[(NOTES, crate::patch_formats::notes().as_bytes()), ("docs/other.txt", b"other\n")]);
    let bad = |line: usize| format!("@@ -{line},2 +{line},2 @@\n line {line}\n-bad\n+x\n");
    let good = "@@ -10,2 +10,2 @@\n line 10\n-line 11\n+x\n";
    let missing = "--- a/docs/none.txt\n+++ b/docs/none.txt\n@@ -1 +1 @@\n-x\n+y\n";
    let there = "--- /dev/null\n+++ b/docs/other.txt\n@@ -0,0 +1 @@\n+new\n";
    let run = refused(&tree, format!("{missing}{}{}{good}{}{there}", of_notes(""), bad(3), bad(20)));
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("  `")).collect();
    assert_eq!(
        lines,
        [
            "  `docs/none.txt` does not exist, but line 1 of the patch changes it",
            "  `docs/notes.txt`: `@@ -3,2 +3,2 @@` (line 8 of the patch): expected:",
            "  `docs/notes.txt`: `@@ -20,2 +20,2 @@` (line 16 of the patch): expected:",
            "  `docs/other.txt` exists already, but line 20 of the patch adds it",
        ]
    );
    let deleted = "--- a/docs/notes.txt\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-line 1\n-line 2\n";
    refused(&tree, deleted).says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: line 1 of the patch deletes it, but it has lines that the patch does not have
nothing was written
"#]]);
}

#[test]
fn patch_hunk_that_fits_several_places_is_refused_with_their_lines() {
    let tree = tree_with(&[(NOTES, "a\nb\nc\n".repeat(30).as_bytes())]);
    let hunk = |line: usize| of_notes(&format!("@@ -{line},3 +{line},4 @@\n a\n+x\n b\n c\n"));
    refused(&tree, hunk(2))
        .says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -2,3 +2,4 @@` (line 3 of the patch): it fits 30 places, the first in line 1 and the last in line 88
nothing was written
"#]]);
    let two = format!("{}d\n", "a\nb\nc\n".repeat(2));
    tree.write(NOTES, two);
    refused(&tree, hunk(3)).says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -3,3 +3,4 @@` (line 3 of the patch): it fits 2 places, the first in line 1 and the last in line 4
nothing was written
"#]]);
    // Behind the hunk above it there is one only.
    let both = "@@ -1,2 +1,3 @@\n a\n+x\n b\n@@ -3,2 +4,3 @@\n a\n+y\n b\n";
    fs::write(tree.beside("the.patch"), of_notes(both)).unwrap();
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
    assert_eq!(tree.text(NOTES), "a\nx\nb\nc\na\ny\nb\nc\nd\n");
}

#[test]
fn patch_hunk_without_context_is_refused() {
    let tree = tree_with_notes();
    for (header, lines) in [("@@ -4,0 +5 @@", "+x\n"), ("@@ -0,0 +1,2 @@", "+x\n+y\n"), ("@@ -30,0 +31 @@", "+x\n")] {
        let patch = format!("diff --git a/{NOTES} b/{NOTES}\n{}", of_notes(&format!("{header}\n{lines}")));
        refused(&tree, patch).says_exactly(format!(
            "error: `the.patch` does not fit these sources\n  \
             `{NOTES}`: `{header}` (line 4 of the patch): it has no context lines: make the patch with some\n\
             nothing was written"
        ));
    }
}

#[test]
fn patch_that_is_applied_already_is_refused_with_a_hint() {
    let tree = tree_with_notes();
    let adding = "--- /dev/null\n+++ b/docs/new.txt\n@@ -0,0 +1,2 @@\n+1\n+2\n";
    let change = of_notes("@@ -1,3 +1,3 @@\n line 1\n-line 2\n+x\n line 3\n@@ -9,2 +9,3 @@\n line 9\n+y\n line 10\n");
    for (patch, says) in [
        (
            adding.to_owned(),
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/new.txt` exists already, but line 1 of the patch adds it
hint: it seems to be applied already: the reversed patch fits
nothing was written
"#]],
        ),
        (
            change.clone(),
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -1,3 +1,3 @@` (line 3 of the patch): expected:
    | line 1
    | line 2
    | line 3
    nearest: line 1, where 2 of them match; line 2 is `x`
  `docs/notes.txt`: `@@ -9,2 +9,3 @@` (line 8 of the patch): expected:
    | line 9
    | line 10
    nearest: line 9, where 1 of them matches; line 10 is `y`
hint: it seems to be applied already: the reversed patch fits
nothing was written
"#]],
        ),
        (
            change + adding,
            str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -1,3 +1,3 @@` (line 3 of the patch): expected:
    | line 1
    | line 2
    | line 3
    nearest: line 1, where 2 of them match; line 2 is `x`
  `docs/notes.txt`: `@@ -9,2 +9,3 @@` (line 8 of the patch): expected:
    | line 9
    | line 10
    nearest: line 9, where 1 of them matches; line 10 is `y`
  `docs/new.txt` exists already, but line 12 of the patch adds it
hint: it seems to be applied already: the reversed patch fits
nothing was written
"#]],
        ),
    ] {
        fs::write(tree.beside("the.patch"), &patch).unwrap();
        tree.git(&["apply", "../the.patch"]);
        refused(&tree, &patch).says_exactly(says);
        tree.git(&["apply", "--reverse", "../the.patch"]);
    }
    // Others' lines in its places are no sign of that.
    tree.write("docs/new.txt", "3\n");
    refused(&tree, adding).says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/new.txt` exists already, but line 1 of the patch adds it
nothing was written
"#]]);
    // The same patch, applied by the tool, is only there.
    tree.remove("docs/new.txt");
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
    tree.rr_patch(&["apply", "--patch", "../the.patch"])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
    // The originals of another patch are those below it.
    fs::write(tree.beside("other.patch"), adding.replace("+2", "+3")).unwrap();
    tree.rr_patch(&["apply", "--patch", "../other.patch"]).exits(0).prints_exactly(str![[r#"
patched again `[FOLDER]/installer`, with other.patch:
  other.patch      its hunks
                     docs/new.txt:1
  adds    docs/new.txt
next: `rr-patch build`; `rr-patch revert` takes it back
"#]]);
    assert_eq!(tree.text("docs/new.txt"), "1\n3\n");
}

#[test]
fn status_finds_a_hunk_that_removed_the_end_of_a_file() {
    let tree = tree_with_notes();
    fs::write(tree.beside("the.patch"), of_notes("@@ -28,3 +28 @@\n line 28\n-line 29\n-line 30\n")).unwrap();
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
    tree.rr_patch(&["status"]).exits(0).prints_exactly(str![[r#"
patched: `[FOLDER]/installer`, with the.patch
by:      rr-patch [VERSION] on [..]
patch:   the.patch, git blob [..]

  the.patch        in place      its hunks
                                 docs/notes.txt:28

nothing was edited since
"#]]);
    tree.edit(NOTES, "line 2\n", "line 2\nmy own\n");
    tree.rr_patch(&["status"]).exits(0).prints_exactly(str![[r#"
patched: `[FOLDER]/installer`, with the.patch
by:      rr-patch [VERSION] on [..]
patch:   the.patch, git blob [..]

  the.patch        in place      its hunks
                                 docs/notes.txt:29

since then:
  docs/notes.txt was edited since apply: `rr-patch revert` keeps such edits
"#]]);
}

#[test]
fn patch_that_leaves_no_go_is_refused_where_there_was_go_before() {
    let tree = Tree::new("p2");
    let name = "pkg/version/version.go";
    tree.write(name, "package version\n\nfunc One() int {\n\treturn 1\n}\n");
    let hunk = "@@ -2,4 +2,5 @@\n \n func One() int {\n+\tif true {\n \treturn 1\n }\n";
    let patch = format!("--- a/{name}\n+++ b/{name}\n{hunk}");
    refused(&tree, &patch).says_exactly(str![[r#"
error: with the patch, `pkg/version/version.go:3:16` is not valid Go
  found: `func One() int {`, of which a `{` is not closed
hint: a hunk may fit in the wrong place, or the patch may be incomplete
nothing was written
"#]]);
    refused(&tree, "--- /dev/null\n+++ b/pkg/new.go\n@@ -0,0 +1 @@\n+packag new\n").says_exactly(str![[r#"
error: with the patch, `pkg/new.go:1:1` is not valid Go
  found: `packag new`
hint: a hunk may fit in the wrong place, or the patch may be incomplete
nothing was written
"#]]);
    // What was none before need be none after: the patch may mend one of two faults.
    tree.write(name, "package version\n\nfunc One() int {\n\treturn 1\n}\n\nfunc (\n");
    fs::write(tree.beside("the.patch"), &patch).unwrap();
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
}

#[test]
fn patch_on_files_that_were_edited_since_is_refused_without_a_word_of_the_patch() {
    let tree = tree_with_notes();
    fs::write(tree.beside("the.patch"), of_notes("@@ -1,2 +1,2 @@\n-line 1\n+line one\n line 2\n")).unwrap();
    fs::write(tree.beside("2.patch"), of_notes("@@ -1,2 +1,2 @@\n-line 1\n+line 1.0\n line 2\n")).unwrap();
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
    tree.edit(NOTES, "line 20\n", "line twenty\n");
    tree.refuses(&["apply", "--patch", "../2.patch"]).says_exactly(str![[r#"
error: patched files were edited since, so they cannot be patched in another way
  edited: docs/notes.txt
hint: `rr-patch revert` merges the edits into the originals; then apply again
nothing was written
"#]]);
    tree.rr_patch(&["revert"]).exits(0);
    tree.rr_patch(&["apply", "--patch", "../2.patch"]).exits(0);
    assert!(tree.text(NOTES).contains("line 1.0\n") && tree.text(NOTES).contains("line twenty\n"));
}
