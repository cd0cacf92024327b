//! `--patch` with hostile input: each is refused with its own message, and nothing is written anywhere.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{Run, Tree};
use crate::patch_formats::{NOTES, tree_with_notes};

/// Has the tool refuse a patch, and asserts that nothing beside the checkout is written either.
#[track_caller]
fn refused(tree: &Tree, patch: impl AsRef<[u8]>) -> Run {
    fs::write(tree.beside("the.patch"), patch).unwrap();
    refused_as(tree, &["--patch", "../the.patch"])
}

#[track_caller]
fn refused_as(tree: &Tree, options: &[&str]) -> Run {
    // Names, modes and sizes of all, times of files: a lock comes and goes in git's folder.
    let list = || {
        let files = tree.run("find", &["..", "-type", "f", "-printf", "%p %m %s %T@\n"], &[]).exits(0).stdout;
        let others = tree.run("find", &["..", "!", "-type", "f", "-printf", "%p %m %l\n"], &[]).exits(0).stdout;
        files + &others
    };
    let before = list();
    let run = tree.refuses(&[&["apply"], options].concat());
    let after = list();
    let news: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    assert!(after == before, "refused, and yet written: {news:#?}");
    run
}

/// A patch of a name, with a change that fits `NOTES`.
fn of(name: &str) -> String {
    format!("--- a/{name}\n+++ b/{name}\n{HUNK}")
}

/// A patch that adds a file.
fn adding(name: &str) -> String {
    format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+hostile\n")
}

const HUNK: &str = "@@ -1,3 +1,4 @@\n line 1\n+hostile\n line 2\n line 3\n";

// Names.

#[test]
fn patch_names_with_control_characters_are_refused() {
    let tree = tree_with_notes();
    for (written, shown) in [
        ("\"a/docs/notes.txt\\n\"", "docs/notes.txt\\n"),
        ("\"a/docs/notes.txt\\015\"", "docs/notes.txt\\r"),
        ("\"a/docs/notes.txt\\000\"", "docs/notes.txt\\0"),
        ("\"a/docs\\000/notes.txt\"", "docs\\0/notes.txt"),
        ("\"a/docs/\\033[2Jnotes.txt\"", "docs/\\u{1b}[2Jnotes.txt"),
        ("\"a/docs/\\tnotes.txt\"", "docs/\\tnotes.txt"),
        ("a/docs/notes.txt\0", "docs/notes.txt\\0"),
        ("a/docs/\0notes.txt", "docs/\\0notes.txt"),
        ("a/docs/\x07notes.txt", "docs/\\u{7}notes.txt"),
        ("a/docs/notes.txt\x7f", "docs/notes.txt\\u{7f}"),
    ] {
        refused(&tree, format!("--- {written}\n+++ {written}\n{HUNK}")).says(&[
            &format!(
                "error: `the.patch` cannot be applied: the name \"{shown}\", with a control character in line 1\n"
            ),
            "expected: the path of a file below the installer's root\n",
        ]);
    }
}

#[test]
fn patch_names_in_gits_folder_or_ours_are_refused_however_they_are_spelt() {
    let tree = tree_with_notes();
    for name in [
        ".git/hooks/post-checkout",
        ".git/config",
        ".git",
        ".GIT/hooks/x",
        ".Git/x",
        ".git./hooks/x",
        ".git /x",
        ".git . /x",
        ".git:stream/x",
        ".git::$INDEX_ALLOCATION/x",
        ".git\\hooks\\x",
        "git~1/hooks/x",
        "GIT~2/x",
        ".g\u{200c}it/x",
        "\u{feff}.git/x",
        ".gi\u{202e}t/x",
        "docs/.git/config",
        "docs/deep/.GIT/x",
        ".rr-patch/checkout/journal",
        ".RR-Patch/x",
        "docs/.rr-patch-x",
    ] {
        for patch in
            [of(name), adding(name), format!("diff --git a/{name} b/{name}\nold mode 100644\nnew mode 100755\n")]
        {
            refused(&tree, patch).says(&[&format!(
                "error: `the.patch` cannot be applied: `{name}`, in git's own folder or rr-patch's, in line 1\n"
            )]);
        }
        let moved = format!("diff --git a/{NOTES} b/{name}\nrename from {NOTES}\nrename to {name}\n");
        refused(&tree, moved).says(&["in git's own folder or rr-patch's, in line 1\n"]);
    }
    // What only looks like it.
    for name in [".github/x", ".gitignored", "git/x", "docs/.gitkeep", "rr-patch/x", "git-1/x"] {
        fs::write(tree.beside("the.patch"), adding(name)).unwrap();
        tree.rr_patch(&["apply", "--dry-run", "--patch", "../the.patch"]).exits(0);
    }
}

#[test]
fn patch_that_takes_a_file_for_a_folder_is_refused() {
    let tree = tree_with_notes();
    let below = |name: &str| format!("error: `{name}` is a file: nothing can lie below it\n");
    let expected = |name: &str| format!("  expected: a folder, for `{name}`\n");
    refused(&tree, adding("docs/notes.txt/x")).says(&[&below(NOTES), &expected("docs/notes.txt/x")]);
    refused(&tree, adding("docs/notes.txt/x/y")).says(&[&below(NOTES)]);
    for patch in [adding("docs/new") + &adding("docs/new/x"), adding("docs/new/x") + &adding("docs/new")] {
        refused(&tree, patch).says(&[&below("docs/new"), &expected("docs/new/x")]);
    }
    // One after the other.
    let moved = format!("diff --git a/{NOTES} b/x\nrename from {NOTES}\nrename to x\n");
    refused(&tree, adding("docs/notes.txt/x") + &moved).says(&[&below(NOTES)]);
    // And the other way round.
    refused(&tree, adding("docs")).says(&["error: `docs` is not a regular file\n", "  found: a folder\n"]);
}

// Hunks.

#[test]
fn patch_that_would_run_two_lines_together_is_refused() {
    let tree = tree_with_notes();
    let no_newline = "\\ No newline at end of file\n";
    for hunk in [
        format!("@@ -4,2 +4,3 @@\n line 4\n+x\n{no_newline} line 5\n"),
        format!("@@ -4,2 +4,3 @@\n line 4\n{no_newline}+x\n line 5\n"),
        format!("@@ -4,2 +4,3 @@\n line 4\n+x\n{no_newline}+y\n-line 5\n"),
        format!("@@ -4,2 +4,1 @@\n-line 4\n{no_newline}-line 5\n+x\n"),
    ] {
        refused(&tree, format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunk}")).says(&[
            "cannot be applied: a line without a newline, and more lines after it in line 3\n",
            "expected: `\\ No newline at end of file` at the end only\n",
        ]);
    }
    let hunk = format!("@@ -4,2 +4,3 @@\n line 4\n line 5\n+x\n{no_newline}");
    refused(&tree, format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunk}")).says(&[
        "nearest: line 4, where 2 of them stand; the patch ends the file without a newline there, and it goes on\n",
    ]);
}

#[test]
fn patch_hunks_out_of_order_or_over_one_another_are_refused() {
    let tree = tree_with_notes();
    // Where an overlapping hunk could still find a place of its own.
    tree.write("docs/twice.txt", format!("{0}other\n{0}", tree.text(NOTES).replace("line 2\n", "line two\n")));
    tree.write("docs/twice.txt", tree.text("docs/twice.txt").replacen("line two", "line 2", 1));
    let hunk = |line: usize, text: &str| {
        format!("@@ -{line},3 +{line},4 @@\n line {line}\n line {}\n+{text}\n line {}\n", line + 1, line + 2)
    };
    for (above, below) in [(10, 5), (5, 5), (5, 6), (5, 7), (2, 3), (1, 1)] {
        for name in [NOTES, "docs/twice.txt"] {
            let patch = format!("--- a/{name}\n+++ b/{name}\n{}{}", hunk(above, "x"), hunk(below, "y"));
            refused(&tree, patch).says(&[
                "cannot be applied: a hunk that is not below the one before it in line 8\n",
                "expected: hunks in the order of the file, none over another\n",
            ]);
        }
    }
    fs::write(tree.beside("the.patch"), format!("--- a/{NOTES}\n+++ b/{NOTES}\n{}{}", hunk(5, "x"), hunk(8, "y")))
        .unwrap();
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
}

#[test]
fn patch_hunks_whose_counts_lie_are_refused() {
    let tree = tree_with_notes();
    let body = " line 1\n+hostile\n line 2\n line 3\n";
    let lies = ["a line more than its hunk has in line ", "a hunk that ends too early in line 3\n"];
    let [more, early] = lies;
    let unread = "a hunk's header that cannot be read in line 3\n";
    for (header, says) in [
        ("-1,2 +1,3", more),
        ("-1,3 +1,3", more),
        ("-1,2 +1,4", more),
        ("-1,0 +1,1", more),
        ("-1 +1", more),
        ("-1,4 +1,5", early),
        ("-1,3 +1,5", early),
        ("-1,4294967295 +1,4294967295", early),
        ("-4294967295,4 +4294967295,5", early),
        ("-1,4294967296 +1,4", unread),
        ("-1,3 +1,99999999999999999999999", unread),
        ("-99999999999999999999999,3 +1,4", unread),
        ("--1,3 +1,4", unread),
        ("-1,-3 +1,4", unread),
        ("-1,3 +1,+4", unread),
        ("-1,3 +-1,4", unread),
        ("-1,3 1,4", unread),
        ("-1,3", unread),
        ("-,3 +1,4", unread),
        ("-1, +1,4", unread),
        ("-1;3 +1;4", unread),
        ("-0x1,3 +0x1,4", unread),
        ("-1,3,3 +1,4", unread),
    ] {
        for after in ["", "-- \n2.39.5\n", "diff --git a/x b/x\nnew file mode 100644\n"] {
            let patch = format!("--- a/{NOTES}\n+++ b/{NOTES}\n@@ {header} @@\n{body}{after}");
            let run = refused(&tree, patch);
            // A mail's signature may be taken for one more line that goes.
            let any = !after.is_empty() && lies.contains(&says) && lies.iter().any(|lie| run.stderr.contains(lie));
            assert!(any || run.stderr.contains(says), "{header}, {after:?}: {}", run.stderr);
        }
    }
    for header in ["@@ -1,3 +1,4", "@@ -1,3 +1,4@@", "@@ -"] {
        refused(&tree, format!("--- a/{NOTES}\n+++ b/{NOTES}\n{header}\n{body}")).says(&[unread]);
    }
    // Blank lines may be context that has lost its space, so what follows them counts too.
    for rest in ["\n+more\n", "\n\n line 4\n", "\r\n-line 4\n"] {
        let run = refused(&tree, of(NOTES) + rest);
        run.says(&[more, "expected: 3 old and 4 new lines, as its header says\n"]);
    }
}

#[test]
fn patch_names_that_no_file_can_have_are_refused() {
    let tree = tree_with_notes();
    for name in ["n".repeat(256), format!("docs/{}", "n".repeat(300)), format!("docs/{}n", "d/".repeat(2000))] {
        for patch in [adding(&name), of(&name)] {
            refused(&tree, patch).says(&[
                &format!(
                    "error: `the.patch` cannot be applied: `{}…`, a path of {} bytes, in line 1\n",
                    &name[..40],
                    name.len()
                ),
                "expected: the path of a file below the installer's root\n",
            ]);
        }
    }
}

// Size.

#[test]
fn patch_with_very_many_hunks_or_files_ends_soon() {
    let tree = tree_with_notes();
    tree.write(NOTES, "other\n".repeat(2000));
    let hunks: String =
        (1..200_000).fold(String::new(), |text, line| text + &format!("@@ -{line} +{line} @@\n-line\n+x\n"));
    let files: String = (0..20_000).fold(String::new(), |text, number| {
        text + &format!("diff --git a/docs/{number} b/docs/{number}\nold mode 100644\nnew mode 100755\n")
    });
    for (patch, says) in [
        (format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunks}"), "`@@ -20 +20 @@` (line 60 of the patch): expected:"),
        (files.clone() + &files, "changes `docs/0` twice, in lines 1 and 60001 of it"),
        (files, "`docs/19` is not there, which line 58 of the patch wants to change\n  and more\n"),
    ] {
        fs::write(tree.beside("the.patch"), patch).unwrap();
        let began = Instant::now();
        tree.refuses(&["apply", "--patch", "../the.patch"]).says(&[says]);
        assert!(began.elapsed() < Duration::from_secs(20), "{says}: {:?}", began.elapsed());
    }
}

#[test]
fn patch_lines_that_are_shown_move_no_cursor() {
    let tree = tree_with_notes();
    let hunk = "@@ -1,2 +1,2 @@\n line 1\n-\x1b[2J\x1b]0;title\x07\rline 2\u{9b}1A\n+x\n";
    tree.edit(NOTES, "line 2\n", "\x1b[31m\n");
    tree.commit("colours");
    let run = refused(&tree, format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunk}"));
    let shown = "| \\u{1b}[2J\\u{1b}]0;title\\u{7}\\rline 2\\u{9b}1A\n";
    let run = run.says(&[shown, "line 2 is `\\u{1b}[31m`\n"]);
    let names = refused(&tree, "--- a/../\x1b[31m\n+++ b/../\x1b[31m\n");
    let check = tree.rr_patch(&["check", "--rev", "HEAD", "--patch", "../the.patch"]);
    for text in [run.stderr, names.stderr, check.stdout, check.stderr] {
        assert!(!text.contains(|c: char| c.is_control() && !['\n', '\t'].contains(&c)), "{text:?}");
    }
    fs::write(tree.beside("the.patch"), format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunk}")).unwrap();
    let check = tree.rr_patch(&["check", "--rev", "HEAD", "--patch", "../the.patch"]).exits(4);
    check.prints(&[shown]);
}

#[test]
fn patch_lines_with_a_nul_are_refused_and_other_lines_of_such_a_file_are_not() {
    let tree = tree_with_notes();
    tree.write(NOTES, tree.text(NOTES).replace("line 10\n", "line\x0010\n"));
    for (first, line) in [(8, 7), (9, 6), (7, 8)] {
        let context: Vec<String> =
            (first..first + 4).map(|n| format!(" line {n}\n").replace("line 10", "line\x0010")).collect();
        let patch = format!(
            "--- a/{NOTES}\n+++ b/{NOTES}\n@@ -{first},4 +{first},5 @@\n{}+x\n{}",
            context[0],
            context[1..].concat()
        );
        refused(&tree, patch)
            .says(&[&format!("cannot be applied: a NUL in line {line}\n"), "expected: changes of text files only\n"]);
    }
    fs::write(tree.beside("the.patch"), of(NOTES)).unwrap();
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
    assert!(
        tree.text(NOTES).starts_with("line 1\nhostile\nline 2\n") && tree.text(NOTES).contains("line\x0010\nline 11\n")
    );
}

#[test]
fn patch_headers_that_contradict_themselves_are_refused() {
    let tree = tree_with_notes();
    let head = |a: &str, b: &str| format!("diff --git {a} {b}\n");
    let same = head("a/docs/notes.txt", "b/docs/notes.txt");
    let other = "cannot be applied: other names than below it in line 1\n  expected: the names of `---` and `+++`\n";
    for (patch, says) in [
        // A change of a mode that belongs to another file than the hunks.
        (head("a/hack/build.sh", "b/hack/build.sh") + "old mode 100644\nnew mode 100755\n" + &of(NOTES), other),
        (head("a/x", "b/x") + "deleted file mode 100644\n" + &of(NOTES), other),
        (head("a/docs/notes.txt", "b/x") + &of(NOTES), other),
        (head("a/x", "b/docs/notes.txt") + &adding("docs/x"), other),
        (head("\"a/x\"", "\"b/x\"") + &of(NOTES), other),
        (head("a/docs/notes.txt", "\"b/x\"") + &of(NOTES), other),
        (head("a/docs/notes.txt", "\"b/docs/notes.txt") + &of(NOTES), "a quoted name that does not end in line"),
        (
            same.clone() + "deleted file mode 100644\nnew file mode 100644\n",
            "a file that is new and deleted in line 1\n",
        ),
        (
            same.clone() + "new file mode 100644\ndeleted file mode 100644\n",
            "a file that is new and deleted in line 1\n",
        ),
        (same.clone() + "rename from docs/notes.txt\n" + &of(NOTES), "a file that moves with one name in line 1\n"),
        (same.clone() + "copy to docs/notes.txt\n", "a file that moves with one name in line 1\n"),
        (same.clone(), "a file that does not change in line 1\n"),
        (same.clone() + "old mode 100644\n", "a file that does not change in line 1\n"),
        (same + "--- /dev/null\n+++ /dev/null\n" + HUNK, "`/dev/null` on both sides in line 1\n"),
        (head("a/b c", "d"), "names that cannot be told apart in line 1\n"),
        (head("a/x", "b/y") + "new mode 100755\n", "names that cannot be told apart in line 1\n"),
        (String::from("--- /dev/null\n+++ /dev/null\n") + HUNK, "`/dev/null` on both sides in line 1\n"),
        (String::from("--- a/docs/notes.txt\n+++ b/docs/notes.txt\n"), "a file without a hunk in line 1\n"),
        (HUNK.to_owned(), "a hunk of no file in line 1\n"),
    ] {
        refused(&tree, &patch).says(&["error: `the.patch` cannot be applied: ", says]);
    }
}
