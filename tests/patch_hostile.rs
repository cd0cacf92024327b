//! `--patch` with hostile input: each is refused with its own message, and nothing is written anywhere.

use std::fs;

use crate::harness::{Run, Tree, command};
use crate::patch_formats::{NOTES, made_by_git, tree_with, tree_with_notes};
use snapbox::str;

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

/// All that is said of a patch that cannot be applied to any sources.
fn cannot_be_applied(wrong: &str, expected: &str) -> String {
    format!("error: `the.patch` cannot be applied: {wrong}\n  expected: {expected}\nnothing was written")
}

const PATH: &str = "the path of a file below the installer's root";
const MODE: &str = "the mode of a regular file, 100644 or 100755";
const TEXT: &str = "changes of text files only";

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
        let wrong = format!("the name \"{shown}\", with a control character in line 1");
        refused(&tree, format!("--- {written}\n+++ {written}\n{HUNK}")).says_exactly(cannot_be_applied(&wrong, PATH));
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
        let wrong = format!("`{name}`, in git's own folder or rr-patch's, in line 1");
        for patch in
            [of(name), adding(name), format!("diff --git a/{name} b/{name}\nold mode 100644\nnew mode 100755\n")]
        {
            refused(&tree, patch).says_exactly(cannot_be_applied(&wrong, PATH));
        }
        let moved = format!("diff --git a/{NOTES} b/{name}\nrename from {NOTES}\nrename to {name}\n");
        refused(&tree, moved).says_exactly(cannot_be_applied(&wrong, PATH));
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
    refused(&tree, adding("docs/notes.txt/x")).says_exactly(str![[r#"
error: `docs/notes.txt` is a file: nothing can lie below it
  expected: a folder, for `docs/notes.txt/x`
nothing was written
"#]]);
    refused(&tree, adding("docs/notes.txt/x/y")).says_exactly(str![[r#"
error: `docs/notes.txt` is a file: nothing can lie below it
  expected: a folder, for `docs/notes.txt/x/y`
nothing was written
"#]]);
    for patch in [adding("docs/new") + &adding("docs/new/x"), adding("docs/new/x") + &adding("docs/new")] {
        refused(&tree, patch).says_exactly(str![[r#"
error: `docs/new` is a file: nothing can lie below it
  expected: a folder, for `docs/new/x`
nothing was written
"#]]);
    }
    // One after the other.
    let moved = format!("diff --git a/{NOTES} b/x\nrename from {NOTES}\nrename to x\n");
    refused(&tree, adding("docs/notes.txt/x") + &moved).says_exactly(str![[r#"
error: `docs/notes.txt` is a file: nothing can lie below it
  expected: a folder, for `docs/notes.txt/x`
nothing was written
"#]]);
    // And the other way round.
    refused(&tree, adding("docs")).says_exactly(str![[r#"
error: `docs` is not a regular file
  found: a folder
nothing was written
"#]]);
}

#[test]
fn patch_names_that_leave_the_checkout_are_refused() {
    let tree = tree_with_notes();
    fs::write(tree.beside("outside.txt"), tree.text(NOTES)).unwrap();
    let outside = tree.beside("outside.txt").display().to_string();
    let not_plain = |name: &str| format!("`{name}`, which leaves the checkout or is not plain,");
    for (name, shown) in [
        (outside.as_str(), "the absolute path `[FOLDER]/outside.txt`".into()),
        ("/etc/passwd", "the absolute path `/etc/passwd`".into()),
        ("//etc/passwd", "the absolute path `//etc/passwd`".into()),
        ("a/../../outside.txt", not_plain("a/../../outside.txt")),
        ("a/..", not_plain("a/..")),
        ("a/docs/../../outside.txt", not_plain("a/docs/../../outside.txt")),
        ("a//etc/passwd", not_plain("a//etc/passwd")),
        ("a/docs//notes.txt", not_plain("a/docs//notes.txt")),
        ("a/./docs/notes.txt", not_plain("a/./docs/notes.txt")),
        ("a/docs/notes.txt/", not_plain("a/docs/notes.txt/")),
        ("a/docs/notes.txt/.", not_plain("a/docs/notes.txt/.")),
        ("a/", not_plain("a/")),
        ("notes.txt", "`notes.txt`, which has 0 folders, and `-p 1` strips 1,".into()),
    ] {
        let hint = if name == "notes.txt" { "\nhint: `-p 0` strips fewer" } else { "" };
        let says = || cannot_be_applied(&format!("{shown} in line 1"), &format!("{PATH}{hint}"));
        let git = format!("diff --git {name} {name}\n");
        refused(&tree, format!("--- {name}\n+++ {name}\n{HUNK}")).says_exactly(says());
        refused(&tree, format!("--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+hostile\n")).says_exactly(says());
        refused(&tree, format!("{git}old mode 100644\nnew mode 100755\n")).says_exactly(says());
        refused(&tree, format!("--- \"{}\"\n+++ {name}\n{HUNK}", name.replace('.', "\\056"))).says_exactly(says());
    }
    for name in ["../outside.txt", "/etc/passwd", "docs/../../outside.txt"] {
        for words in ["rename", "copy"] {
            let git = |from: &str, to: &str| format!("diff --git a/{from} b/{to}\n");
            let says = || cannot_be_applied(&format!("[..]{name}[..] in line 1"), PATH);
            refused(&tree, format!("{}{words} from {NOTES}\n{words} to {name}\n", git(NOTES, name)))
                .says_exactly(says());
            refused(&tree, format!("{}{words} from {name}\n{words} to docs/x\n", git(name, "docs/x")))
                .says_exactly(says());
        }
    }
    // What goes is not what stays: the rest of these names is plain.
    for (name, strip) in [("../docs/notes.txt", "-p1"), ("../../docs/notes.txt", "-p2")] {
        fs::write(tree.beside("the.patch"), format!("--- {name}\n+++ {name}\n{HUNK}")).unwrap();
        tree.rr_patch(&["apply", "--dry-run", "--patch", "../the.patch", strip]).exits(0);
    }
}

#[test]
fn patch_names_that_go_through_a_symlink_are_refused() {
    let tree = tree_with_notes();
    let notes = tree.text(NOTES);
    fs::create_dir(tree.beside("outside")).unwrap();
    fs::write(tree.beside("outside/notes.txt"), &notes).unwrap();
    tree.link("inside", "docs");
    tree.link("out", "../outside");
    tree.link("docs/leaf.txt", "notes.txt");
    tree.link("docs/out.txt", "../../outside/notes.txt");
    tree.link("docs/dangling.txt", "../../outside/none.txt");
    tree.link("loop", "loop");
    for (name, link) in [
        ("inside/notes.txt", "inside"),
        ("out/notes.txt", "out"),
        ("out/deep/er/notes.txt", "out"),
        ("docs/leaf.txt", "docs/leaf.txt"),
        ("docs/out.txt", "docs/out.txt"),
        ("docs/dangling.txt", "docs/dangling.txt"),
        ("loop/notes.txt", "loop"),
    ] {
        let target = fs::read_link(tree.path(link)).unwrap();
        let says = || {
            format!(
                "error: `{name}` goes through the symlink `{link}`\n  \
                 found: `{link}` -> `{}`\n\
                 hint: use the file's real path in the patch\n\
                 nothing was written",
                target.display()
            )
        };
        let move_here = format!("diff --git a/{NOTES} b/{name}\nrename from {NOTES}\nrename to {name}\n");
        let move_away = format!("diff --git a/{name} b/docs/x\nrename from {name}\nrename to docs/x\n");
        let delete = format!("--- a/{name}\n+++ /dev/null\n@@ -1 +0,0 @@\n-line 1\n");
        for patch in [of(name), adding(name), move_here, move_away, delete] {
            refused(&tree, patch).says_exactly(says());
        }
        // diff looks at the same files.
        tree.refuses(&["diff", "--patch", "../the.patch"]).says_exactly(says());
    }
    assert_eq!(fs::read_to_string(tree.beside("outside/notes.txt")).unwrap(), notes);
}

#[test]
fn patch_that_moves_or_copies_onto_a_file_is_refused() {
    let tree = tree_with_notes();
    for (words, to) in [("rename", "hack/build.sh"), ("copy", "hack/build.sh"), ("copy", NOTES)] {
        let patch = format!("diff --git a/{NOTES} b/{to}\n{words} from {NOTES}\n{words} to {to}\n");
        refused(&tree, patch).says_exactly(format!(
            "error: `the.patch` does not fit these sources\n  \
             `{to}` exists already, but line 1 of the patch adds it\n\
             nothing was written"
        ));
    }
    refused(&tree, format!("diff --git a/{NOTES} b/docs\nrename from {NOTES}\nrename to docs\n")).says_exactly(str![[
        r#"
error: `docs` is not a regular file
  found: a folder
nothing was written
"#
    ]]);
}

#[test]
fn patch_that_changes_a_file_twice_is_refused_with_both_lines() {
    let tree = tree_with_notes();
    let other = "@@ -20,2 +20,3 @@\n line 20\n+more\n line 21\n";
    let name = NOTES;
    let git = format!("diff --git a/{name} b/{name}\n");
    let moved = format!("diff --git a/{name} b/x\nrename from {name}\nrename to x\n");
    let spelt = format!("--- \"a/docs/not\\145s.txt\"\n+++ \"b/docs/not\\145s.txt\"\n{other}");
    for (patch, path, lines) in [
        (of(name) + &of(name), name, "1 and 8"),
        (of(name) + &format!("--- a/{name}\n+++ b/{name}\n{other}"), name, "1 and 8"),
        (of(name) + &spelt, name, "1 and 8"),
        (format!("{git}old mode 100644\nnew mode 100755\n{git}{}", of(name)), name, "1 and 4"),
        (moved.clone() + &git + &of(name), name, "1 and 4"),
        (git + &of(name) + &moved, name, "1 and 9"),
        (moved + "diff --git a/x b/x\ndeleted file mode 100644\n", "x", "1 and 4"),
        (adding("docs/new") + &adding("docs/new"), "docs/new", "1 and 5"),
    ] {
        refused(&tree, patch).says_exactly(format!(
            "error: `the.patch` changes `{path}` twice, in lines {lines} of it\n\
             hint: make it two patches: several `--patch` are applied in their order\n\
             nothing was written"
        ));
    }
}

// Modes, and what is no text.

#[test]
fn patch_with_the_mode_of_a_symlink_or_a_submodule_is_refused() {
    let tree = tree_with_notes();
    let git = format!("diff --git a/{NOTES} b/{NOTES}\n");
    for (mode, shown) in [
        ("120000", "a symlink (mode 120000)"),
        ("160000", "a submodule (mode 160000)"),
        ("040000", "the mode \"040000\""),
        ("104755", "the mode \"104755\""),
        ("0100644", "the mode \"0100644\""),
        ("100666", "the mode \"100666\""),
        ("", "the mode \"\""),
        ("a mode", "the mode \"a mode\""),
    ] {
        for (head, line) in [
            (format!("diff --git a/docs/link b/docs/link\nnew file mode {mode}\n"), 2),
            (format!("{git}deleted file mode {mode}\n"), 2),
            (format!("{git}old mode {mode}\nnew mode 100644\n"), 2),
            (format!("{git}old mode 100644\nnew mode {mode}\n"), 3),
            (format!("{git}index 1234567..89abcde {mode}\n"), 2),
            (
                format!(
                    "{git}similarity index 100%\nold mode 100644\nnew mode {mode}\nrename from {NOTES}\nrename to docs/x\n"
                ),
                4,
            ),
        ] {
            for body in [of(NOTES), String::new()] {
                refused(&tree, format!("{head}{body}"))
                    .says_exactly(cannot_be_applied(&format!("{shown} in line {line}"), MODE));
            }
        }
    }
}

#[test]
fn patch_that_is_binary_or_a_merges_is_refused() {
    let tree = tree_with(&[("docs/picture", b"\0\x01\x02")]);
    let change = |tree: &Tree| tree.write("docs/picture", b"\0\x03\x04");
    let literal = made_by_git(&tree, &["--binary"], change);
    let differ = made_by_git(&tree, &[], change);
    assert!(String::from_utf8_lossy(&literal).contains("\nGIT binary patch\n"));
    for patch in [literal, differ, b"Binary files old/x and new/x differ\n".to_vec()] {
        let run = refused(&tree, patch);
        run.says_exactly(cannot_be_applied("a binary change in line [..]", TEXT));
    }

    // A merge's own diff, of a conflict that was solved in a third way.
    tree.write(NOTES, "one\n");
    tree.commit("one");
    tree.git(&["checkout", "--quiet", "-b", "side"]);
    tree.write(NOTES, "side\n");
    tree.commit("side");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.write(NOTES, "main\n");
    tree.commit("main");
    assert_eq!(tree.run("git", &["merge", "--quiet", "side"], &[]).code, 1);
    tree.write(NOTES, "both\n");
    tree.commit("merge");
    let combined = tree.git(&["show", "HEAD"]);
    assert!(combined.contains("\n@@@ -1,1 -1,1 +1,1 @@@\n"), "{combined}");
    refused(&tree, combined).says_exactly(str![[r#"
error: `the.patch` cannot be applied: a merge's diff, which has two old sides in line [..]
  expected: a diff against a single commit
nothing was written
"#]]);
}

// What is no patch.

#[test]
fn patch_that_is_none_is_refused() {
    let tree = tree_with_notes();
    let text = b"Dear all,\n\nplease find the patch attached.\n".to_vec();
    for bytes in [
        Vec::new(),
        b"\n".to_vec(),
        text,
        vec![0; 100_000],
        vec![0xff; 1000],
        b"--- a/x\n".to_vec(),
        b"diff -u a b\n".to_vec(),
    ] {
        refused(&tree, bytes).says_exactly(str![[r#"
error: `the.patch` is not a patch: it changes nothing
  expected: `--- FILE`, `+++ FILE` and hunks that begin with `@@ -`
hint: `git diff` and `diff -u` write such patches
nothing was written
"#]]);
    }
}

#[test]
fn patch_that_is_a_folder_or_missing_is_refused() {
    let tree = tree_with_notes();
    for (name, why) in [
        ("docs", "Is a directory (os error 21)"),
        ("none.patch", "No such file or directory (os error 2)"),
        ("docs/notes.txt/x", "Not a directory (os error 20)"),
    ] {
        let says = || {
            format!(
                "error: cannot read the patch `{name}`: {why}\n\
                 hint: `--patch` takes a file; without it `--mode patch` applies the shipped one\n\
                 nothing was written"
            )
        };
        refused_as(&tree, &["--patch", name]).says_exactly(says());
        tree.refuses(&["diff", "--patch", name]).says_exactly(says());
        tree.rr_patch(&["check", "--rev", "HEAD", "--patch", name]).refuses().says_exactly(says());
    }
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
        refused(&tree, format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunk}")).says_exactly(str![[r#"
error: `the.patch` cannot be applied: a line without a newline, and more lines after it in line 3
  expected: `\ No newline at end of file` at the end only
nothing was written
"#]]);
    }
    let hunk = format!("@@ -4,2 +4,3 @@\n line 4\n line 5\n+x\n{no_newline}");
    refused(&tree, format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunk}")).says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -4,2 +4,3 @@` (line 3 of the patch): expected:
    | line 4
    | line 5
    nearest: line 4, where 2 of them match; the patch ends the file there without a newline, but the file continues
nothing was written
"#]]);
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
            refused(&tree, patch).says_exactly(str![[r#"
error: `the.patch` cannot be applied: a hunk that is not after the previous one in line 8
  expected: hunks in the order of the file, without overlaps
nothing was written
"#]]);
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
    let lies = ["more lines than the hunk's header says in line ", "a hunk that ends too early in line 3\n"];
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
        refused(&tree, format!("--- a/{NOTES}\n+++ b/{NOTES}\n{header}\n{body}")).says_exactly(cannot_be_applied(
            "a hunk's header that cannot be read in line 3",
            "`@@ -LINE,COUNT +LINE,COUNT @@`",
        ));
    }
    // Blank lines may be context that has lost its space, so what follows them counts too.
    for rest in ["\n+more\n", "\n\n line 4\n", "\r\n-line 4\n"] {
        let run = refused(&tree, of(NOTES) + rest);
        let wrong = "more lines than the hunk's header says in line [..]";
        run.says_exactly(cannot_be_applied(wrong, "3 old and 4 new lines, as its header says"));
    }
}

#[test]
fn patch_names_that_no_file_can_have_are_refused() {
    let tree = tree_with_notes();
    for name in ["n".repeat(256), format!("docs/{}", "n".repeat(300)), format!("docs/{}n", "d/".repeat(2000))] {
        for patch in [adding(&name), of(&name)] {
            let wrong = format!("`{}…`, a path of {} bytes, in line 1", &name[..40], name.len());
            refused(&tree, patch).says_exactly(cannot_be_applied(&wrong, PATH));
        }
    }
}

// Size.

#[test]
fn patch_that_is_huge_or_has_no_end_is_refused_without_reading_it_all() {
    let tree = tree_with_notes();
    let huge = fs::File::create(tree.beside("huge.patch")).unwrap();
    huge.set_len(100 << 20).unwrap();
    tree.run("mkfifo", &["../pipe"], &[]).exits(0);
    let limit = |name: &str| {
        format!(
            "error: the patch `{name}` is larger than 16 MiB\n  \
             expected: a patch of some source files\n\
             hint: `git apply` knows no such limit\n\
             nothing was written"
        )
    };
    for name in ["../huge.patch", "/dev/zero", "../pipe"] {
        let mut writer = (name == "../pipe").then(|| {
            // A writer without an end: it goes when nobody reads any more.
            command("sh").args(["-c", "yes ' a line' >../pipe"]).current_dir(tree.root()).spawn().unwrap()
        });
        // 500 MB of address space hold the program and twice the limit, and not the patch.
        let script = "ulimit -v 500000; exec \"$@\"";
        let run = tree.run("sh", &["-c", script, "sh", env!("CARGO_BIN_EXE_rr-patch"), "apply", "--patch", name], &[]);
        run.refuses().says_exactly(limit(name));
        if let Some(writer) = &mut writer {
            assert!(!writer.wait().unwrap().success(), "nobody reads on");
        }
    }
    // As much as is taken, and a byte more.
    let padding = |bytes: usize| " ".repeat(bytes - of(NOTES).len() - 1) + "\n" + &of(NOTES);
    fs::write(tree.beside("the.patch"), padding(16 << 20)).unwrap();
    tree.rr_patch(&["apply", "--dry-run", "--patch", "../the.patch"]).exits(0);
    refused(&tree, padding((16 << 20) + 1)).says_exactly(limit("../the.patch"));
}

#[test]
fn patch_with_very_many_hunks_or_files_is_refused_for_the_first_few() {
    let tree = tree_with_notes();
    tree.write(NOTES, "other\n".repeat(2000));
    let hunks: String =
        (1..200_000).fold(String::new(), |text, line| text + &format!("@@ -{line} +{line} @@\n-line\n+x\n"));
    let files: String = (0..20_000).fold(String::new(), |text, number| {
        text + &format!("diff --git a/docs/{number} b/docs/{number}\nold mode 100644\nnew mode 100755\n")
    });
    let deep: String = (0..2000).fold(String::new(), |text, number| {
        let name = format!("{}{number}", "d/".repeat(1000));
        text + &format!("diff --git a/{name} b/{name}\nold mode 100644\nnew mode 100755\n")
    });
    for (patch, says) in [
        (deep, "d/19` does not exist, but line 58 of the patch changes it\n  and more\n"),
        (format!("--- a/{NOTES}\n+++ b/{NOTES}\n{hunks}"), "`@@ -20 +20 @@` (line 60 of the patch): expected:"),
        (files.clone() + &files, "changes `docs/0` twice, in lines 1 and 60001 of it"),
        (files, "`docs/19` does not exist, but line 58 of the patch changes it\n  and more\n"),
    ] {
        fs::write(tree.beside("the.patch"), patch).unwrap();
        tree.refuses(&["apply", "--patch", "../the.patch"]).says(&[says]);
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
    let run = run.says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `docs/notes.txt`: `@@ -1,2 +1,2 @@` (line 3 of the patch): expected:
    | line 1
    | \u{1b}[2J\u{1b}]0;title\u{7}\rline 2\u{9b}1A
    nearest: line 1, where 1 of them matches; line 2 is `\u{1b}[31m`
nothing was written
"#]]);
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
        refused(&tree, patch).says_exactly(cannot_be_applied(&format!("a NUL in line {line}"), TEXT));
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
    let other = ("names that differ from those below it in line 1", "the names of `---` and `+++`");
    let moved = ("names that differ from those below it in line 1", "the names of `from` and `to`");
    let both = ("a file that is new and deleted in line 1", "one of the two");
    let one_name = (
        "a file that moves with only one name in line 1",
        "`rename from` and `rename to`, or `copy from` and `copy to`",
    );
    let unchanged = ("a file that does not change in line 1", "hunks, or a new mode");
    let nowhere = ("`/dev/null` on both sides in line 1", "a file on one");
    let ambiguous = ("ambiguous names in line 1", "`diff --git a/FILE b/FILE`");
    let no_hunk = ("a file without a hunk in line 1", "`@@ -` below `+++ FILE`");
    let no_name = ("a hunk without a file name in line 1", "`--- FILE` and `+++ FILE` above it");
    let unquoted = ("a quoted name that does not end in line 9", "a name in double quotes, as git writes it");
    for (patch, (wrong, expected)) in [
        // A change of a mode that belongs to another file than the hunks.
        (head("a/hack/build.sh", "b/hack/build.sh") + "old mode 100644\nnew mode 100755\n" + &of(NOTES), other),
        (head("a/x", "b/x") + "deleted file mode 100644\n" + &of(NOTES), other),
        (head("a/docs/notes.txt", "b/x") + &of(NOTES), other),
        (head("a/x", "b/docs/notes.txt") + &adding("docs/x"), other),
        (head("\"a/x\"", "\"b/x\"") + &of(NOTES), other),
        (head("a/docs/notes.txt", "\"b/x\"") + &of(NOTES), other),
        (head("a/docs/notes.txt", "\"b/docs/notes.txt") + &of(NOTES), unquoted),
        (same.clone() + "deleted file mode 100644\nnew file mode 100644\n", both),
        (same.clone() + "new file mode 100644\ndeleted file mode 100644\n", both),
        (same.clone() + "rename from docs/notes.txt\n" + &of(NOTES), one_name),
        (same.clone() + "copy to docs/notes.txt\n", one_name),
        (same.clone(), unchanged),
        (same.clone() + "old mode 100644\n", unchanged),
        (same + "--- /dev/null\n+++ /dev/null\n" + HUNK, nowhere),
        (head("a/b c", "d"), ambiguous),
        (head("a/x", "b/y") + "new mode 100755\n", ambiguous),
        (String::from("--- /dev/null\n+++ /dev/null\n") + HUNK, nowhere),
        (String::from("--- a/docs/notes.txt\n+++ b/docs/notes.txt\n"), no_hunk),
        (head("a/x", "b/x") + "new file mode 100644\n--- /dev/null\n+++ b/x\n", no_hunk),
        (head("a/x", "b/x") + "copy from docs/notes.txt\ncopy to docs/new.txt\n", moved),
        (head("a/docs/notes.txt", "b/x") + "copy from docs/notes.txt\ncopy to docs/new.txt\n", moved),
        (head("\"a/x\"", "b/y") + "rename from docs/notes.txt\nrename to y\n", moved),
        (HUNK.to_owned(), no_name),
        // What another line parts belongs to no file, or to another one.
        (head("a/hack/build.sh", "b/hack/build.sh") + "2iff --git a/x b/x\nnew mode 100755\n", unchanged),
        (format!("--- a/{NOTES}\n+++ b/{NOTES}\n\n{HUNK}"), no_hunk),
        (head("a/x", "b/x") + &format!("new file mode 100644\n--- /dev/null\n+++ b/x\n\n{HUNK}"), no_hunk),
    ] {
        refused(&tree, &patch).says_exactly(cannot_be_applied(wrong, expected));
    }
}
