//! `--patch`: every form of a patch that `git apply` takes does what git makes of it.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{PROCESS, Run, Snapshot, Tree, copy};
use snapbox::str;

/// The file that most patches of these tests change.
pub(crate) const NOTES: &str = "docs/notes.txt";

/// `line 1` to `line 30`.
pub(crate) fn notes() -> String {
    (1..=30).map(|number| ["line ", &number.to_string(), "\n"].concat()).collect()
}

/// A git checkout with these files too.
pub(crate) fn tree_with(files: &[(&str, &[u8])]) -> Tree {
    let tree = Tree::new("p2");
    files.iter().for_each(|(name, bytes)| tree.write(name, bytes));
    tree.commit("more files");
    tree
}

/// A git checkout with `NOTES`.
pub(crate) fn tree_with_notes() -> Tree {
    tree_with(&[(NOTES, notes().as_bytes())])
}

/// Brings the tree back to its last commit.
pub(crate) fn reset(tree: &Tree) {
    tree.git(&["reset", "--quiet", "--hard"]);
    tree.git(&["clean", "--quiet", "--force", "-d"]);
}

/// What `git diff` prints for a change, which is then taken back.
pub(crate) fn made_by_git(tree: &Tree, options: &[&str], change: impl Fn(&Tree)) -> Vec<u8> {
    change(tree);
    tree.git(&["add", "--all"]);
    let arguments = [&["diff", "--cached"], options].concat();
    let output = crate::harness::command("git").current_dir(tree.root()).args(&arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    reset(tree);
    output.stdout
}

/// All folders of a tree but git's own.
fn folders(tree: &Tree) -> String {
    tree.run("find", &[".", "-name", ".git", "-prune", "-o", "-type", "d", "-print"], &[]).exits(0).stdout
}

/// Lets git apply a patch and take it back.
#[track_caller]
fn by_git(tree: &Tree, options: &[&str]) -> Snapshot {
    let before = tree.snapshot();
    tree.git(&[&["apply", "--whitespace=nowarn"], options, &["../the.patch"]].concat());
    let after = tree.snapshot();
    assert!(after != before, "git changes nothing");
    reset(tree);
    assert!(tree.snapshot() == before, "only committed files can be brought back");
    after
}

/// Asserts that the tool makes of a patch what git makes of it, finds it in place then, prints it as a
/// patch to the same effect, and takes it back without a trace. Gives what apply said.
#[track_caller]
pub(crate) fn as_git_does(tree: &Tree, patch: impl AsRef<[u8]>, options: &[&str]) -> Run {
    fs::write(tree.beside("the.patch"), &patch).unwrap();
    let shown = String::from_utf8_lossy(patch.as_ref()).into_owned();
    let before = (tree.snapshot(), folders(tree));
    let expected = by_git(tree, options);
    let arguments = [&["apply", "--patch", "../the.patch"], options].concat();
    let would = tree.prints(&[&["diff", "--patch", "../the.patch"], options].concat());
    let run = tree.rr_patch(&arguments).exits(0);
    let found = tree.snapshot();
    for name in expected.keys().chain(found.keys()) {
        let text = |files: &Snapshot| {
            files.get(name).map(|(bytes, mode)| format!("{mode:o} {}", String::from_utf8_lossy(bytes)))
        };
        assert!(
            expected.get(name) == found.get(name),
            "{shown}\n{} is {:?}, and git makes {:?} of it",
            name.display(),
            text(&found),
            text(&expected)
        );
    }
    tree.rr_patch(&arguments).exits(0).prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
    tree.rr_patch(&["status"]).exits(0).prints(&["patch:   the.patch, git blob ", "nothing was edited since\n"]);
    assert!(tree.prints(&["diff"]) == would, "{shown}\nthe same before and after");
    tree.rr_patch(&["revert"]).exits(0);
    assert!(before.0 == tree.snapshot() && tree.state().is_empty(), "{shown}\nrevert leaves something");
    assert_eq!(before.1, folders(tree), "{shown}\na folder is left over, or gone");

    fs::write(tree.beside("the.patch"), would).unwrap();
    assert!(by_git(tree, &[]) == expected, "{shown}\nwhat diff prints is something else");
    run
}

/// A change of two lines of `NOTES`, far from each other.
fn two_places(tree: &Tree) {
    tree.edit(NOTES, "line 5\n", "line five\n");
    tree.edit(NOTES, "line 20\n", "line 20\nline 20 and a half\n");
}

// Who writes patches, and how.

#[test]
fn patch_from_git_diff_with_any_of_its_options_is_applied_as_git_does() {
    let tree = tree_with_notes();
    for options in [
        &[][..],
        &["--full-index"],
        &["--unified=1"],
        &["--unified=20"],
        &["--stat", "--patch"],
        &["--raw", "--patch", "--summary"],
        &["--src-prefix=old/", "--dst-prefix=new/"],
        &["--patience", "--inter-hunk-context=30"],
        &["--binary"],
        &["--minimal", "--function-context"],
    ] {
        let patch = made_by_git(&tree, options, two_places);
        as_git_does(&tree, patch, &[]).prints(&[NOTES]);
    }
}

#[test]
fn patch_from_git_show_and_git_log_is_applied_without_what_is_said_around_it() {
    let tree = tree_with_notes();
    two_places(&tree);
    tree.commit("two places\n\n--- not a name\n+not a line\n diff --git not/a new/file\n\nindex of nothing");
    let shown = tree.git(&["show", "HEAD"]);
    let logged = tree.git(&["log", "--patch", "-1", "--stat", "--format=fuller"]);
    let raw = tree.git(&["log", "--patch", "-1", "--format=%B"]);
    tree.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    for patch in [shown, logged, raw] {
        as_git_does(&tree, patch, &[]);
    }
}

#[test]
fn patch_from_git_format_patch_is_applied_with_its_mail_and_signature() {
    let tree = tree_with_notes();
    tree.edit(NOTES, "line 29\n", "line 29\n- a line of dashes\n-- \n");
    tree.edit(NOTES, "line 30\n", "");
    tree.write("docs/more.txt", "more\n");
    tree.commit("notes and more");
    tree.write("docs/third.txt", "third\n");
    tree.commit("a third file: caf\u{e9}");
    let one = tree.git(&["format-patch", "--stdout", "-1", "HEAD~1"]);
    let both = tree.git(&["format-patch", "--stdout", "-2"]);
    let attached = tree.git(&["format-patch", "--stdout", "--signature=-- \n+ not a line", "-1"]);
    assert!(one.contains("\n-- \n2.") && one.starts_with("From "), "{one}");
    tree.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    for patch in [one, both, attached] {
        as_git_does(&tree, patch, &[]);
    }
}

/// What the program `diff` prints for a folder `old` and a folder `new`.
fn made_by_diff(tree: &Tree, options: &[&str], change: impl Fn(&Tree)) -> String {
    change(tree);
    copy(&tree.path("docs"), &tree.beside("new/docs"));
    reset(tree);
    copy(&tree.path("docs"), &tree.beside("old/docs"));
    let run = tree.run("diff", &[options, &["../old", "../new"]].concat(), &[("TZ", "UTC")]).exits(1);
    ["old", "new"].iter().for_each(|name| fs::remove_dir_all(tree.beside(name)).unwrap());
    run.stdout
}

#[test]
fn patch_from_diff_u_is_applied_as_git_does() {
    let tree = tree_with(&[(NOTES, notes().as_bytes()), ("docs/a b.txt", b"one\ntwo\nthree\n")]);
    let change = |tree: &Tree| {
        two_places(tree);
        tree.write("docs/a b.txt", "one\n2\nthree");
    };
    for options in [&["-ru"][..], &["-rup"], &["-rU1"], &["-rU9"]] {
        let patch = made_by_diff(&tree, options, change);
        assert!(patch.contains("\n--- ../old/docs/notes.txt\t"), "{patch}");
        as_git_does(&tree, &patch, &["-p2"]);
        as_git_does(&tree, patch.replace("../old", "old").replace("../new", "new"), &[]);
    }
}

#[test]
fn patch_from_diff_n_adds_and_deletes_files_by_their_times_in_any_zone() {
    let tree = tree_with(&[(NOTES, notes().as_bytes()), ("docs/gone.txt", b"gone\n"), ("docs/empty.txt", b"x\n")]);
    tree.git(&["config", "core.whitespace", "-trailing-space"]);
    let change = |tree: &Tree| {
        two_places(tree);
        tree.write("docs/more/new.txt", "new\n");
        tree.remove("docs/gone.txt");
        tree.write("docs/empty.txt", "");
    };
    let patch = made_by_diff(&tree, &["-ruN"], change);
    let utc = "\t1970-01-01 00:00:00.000000000 +0000\n";
    assert_eq!(patch.matches(utc).count(), 2, "{patch}");
    for zone in ["1970-01-01 00:00:00 +0000", "1970-01-01 05:30:00.000000000 +0530", "1969-12-31 19:00:00.0 -0500"] {
        as_git_does(&tree, patch.replace(utc, &format!("\t{zone}\n")), &["-p2"]);
        assert!(tree.path("docs/empty.txt").exists(), "it becomes empty, and stays");
    }
    // A moment later is no sign of anything: what is deleted is then only emptied.
    for zone in ["1970-01-01 00:00:01 +0000", "1970-01-01 05:30:00 +0000", "1970-01-01", "1970-01-01 00:00:00 x"] {
        as_git_does(&tree, patch.replace(utc, &format!("\t{zone}\n")), &["-p2"]);
    }
}

#[test]
fn patch_in_the_words_of_other_tools_is_applied_as_git_does() {
    let tree = tree_with_notes();
    let hunk = "@@ -1,3 +1,3 @@\n line 1\n-line 2\n+line two\n line 3\n";
    for (head, options) in [
        // Subversion, Mercurial, an editor's own; without a time, with one behind blanks.
        (
            "Index: docs/notes.txt\n=====\n--- docs/notes.txt\t(revision 7)\n+++ docs/notes.txt\t(working copy)\n",
            &["-p0"][..],
        ),
        (
            "diff -r 0c1 docs/notes.txt\n--- a/docs/notes.txt\tThu Jan 01 2026\n+++ b/docs/notes.txt\tFri Jan 02 2026\n",
            &[],
        ),
        ("--- a/docs/notes.txt\n+++ b/docs/notes.txt\n", &["-p1"]),
        ("--- \"a/docs/notes.txt\"\n+++ \"b/docs/not\\145s.txt\"\n", &[]),
    ] {
        as_git_does(&tree, format!("{head}{hunk}"), options);
    }
    // A file that is added, or was empty before; one that becomes empty.
    let tree = tree_with(&[("docs/empty.txt", b""), ("docs/two.txt", b"1\n2\n")]);
    for name in ["docs/new.txt", "docs/empty.txt"] {
        let patch = format!("--- {name}\t(nonexistent)\n+++ {name}\t(working copy)\n@@ -0,0 +1,2 @@\n+1\n+2\n");
        as_git_does(&tree, patch, &["-p0"]);
    }
    as_git_does(&tree, "--- docs/two.txt\n+++ docs/two.txt\n@@ -1,2 +0,0 @@\n-1\n-2\n", &["-p0"]);
    fs::write(tree.beside("the.patch"), "--- docs/two.txt\n+++ docs/two.txt\n@@ -0,0 +1 @@\n+1\n").unwrap();
    tree.refuses(&["apply", "--patch", "../the.patch", "-p0"]).says(&["`docs/two.txt` exists already, but line 1 "]);
}

#[test]
fn patch_whose_blank_context_lines_lost_their_space_is_applied_as_git_does() {
    let tree = Tree::new("p2");
    let patch = String::from_utf8(tree.prints(&["diff"])).unwrap();
    let of_process = patch.split("diff --git ").find(|part| part.starts_with(&format!("a/{PROCESS}"))).unwrap();
    let stripped = format!("diff --git {of_process}").replace("\n \n", "\n\n").replace("\n \n", "\n\n");
    assert!(stripped.matches("\n\n").count() > 5 && !stripped.contains("\n \n"));
    let all = patch.replace("\n \n", "\n\n").replace("\n \n", "\n\n");
    // Without what it needs from the other files it is still Go.
    as_git_does(&tree, stripped, &[]);
    as_git_does(&tree, all, &[]);
}

// Which patches, from where.

#[test]
fn patch_names_lose_as_many_folders_as_p_says() {
    let tree = tree_with_notes();
    for (options, prefixes) in [
        (["-p0"], ["--no-prefix"; 2]),
        (["-p1"], ["--src-prefix=a/", "--dst-prefix=b/"]),
        (["-p2"], ["--src-prefix=a/x/", "--dst-prefix=b/x/"]),
        (["-p4"], ["--src-prefix=a/x/y/z/", "--dst-prefix=b/x/y/z/"]),
    ] {
        let patch = made_by_git(&tree, &prefixes, |tree| {
            two_places(tree);
            tree.write("docs/new.txt", "new\n");
            tree.chmod("hack/build.sh", 0o644);
        });
        as_git_does(&tree, patch, &options);
    }
}

#[test]
fn patch_with_another_number_of_folders_is_refused_with_the_p_that_fits() {
    let tree = tree_with_notes();
    for (name, given, fits) in [
        ("docs/notes.txt", "1", "0"),
        ("a/docs/notes.txt", "0", "1"),
        ("a/installer/docs/notes.txt", "1", "2"),
        ("a/x/y/docs/notes.txt", "1", "3"),
    ] {
        let patch = format!("--- {name}\n+++ {name}\n@@ -1,2 +1,2 @@\n-line 1\n+line one\n line 2\n");
        fs::write(tree.beside("the.patch"), patch).unwrap();
        tree.refuses(&["apply", "--patch", "../the.patch", "-p", given])
            .says(&["does not exist, but line 1 of the patch", "hint: `docs/notes.txt` exists: try `-p "])
            .says(&[&format!("try `-p {fits}`\n")]);
        tree.rr_patch(&["diff", "--patch", "../the.patch", "-p", fits]).exits(0);
    }
    tree.refuses(&["apply", "--patch", "../the.patch", "-p", "9"])
        .says(&["which has 4 folders, and `-p 9` strips 9, in line 1\n", "hint: `-p 4` strips fewer"]);
}

#[test]
fn patches_are_applied_in_their_order_each_on_top_of_the_one_before() {
    let tree = tree_with_notes();
    let first = made_by_git(&tree, &[], two_places);
    let second = |tree: &Tree| {
        // Above the places of the first, right below one of them, between them, and below all.
        tree.edit(NOTES, "line 1\n", "line 0\nline 0.5\nline 1\n");
        tree.edit(NOTES, "line 7\n", "line 7\nline 7.5\n");
        tree.edit(NOTES, "line 16\n", "");
        tree.edit(NOTES, "line 26\n", "line twenty-six\n");
    };
    fs::write(tree.beside("1.patch"), &first).unwrap();
    let on_top = made_by_git(&tree, &["HEAD"], |tree| {
        two_places(tree);
        second(tree);
    });
    two_places(&tree);
    tree.commit("the first");
    fs::write(tree.beside("2.patch"), made_by_git(&tree, &[], second)).unwrap();
    tree.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let before = tree.snapshot();
    fs::write(tree.beside("the.patch"), on_top).unwrap();
    let expected = by_git(&tree, &[]);

    let both = ["--patch", "../1.patch", "--patch", "../2.patch"];
    tree.rr_patch(&[&["apply"], &both[..]].concat()).exits(0).prints_exactly(str![[r#"
patched `[FOLDER]/installer`, with 1.patch, 2.patch:
  1.patch          its hunks
                     docs/notes.txt:7
                     docs/notes.txt:23
  2.patch          its hunks
                     docs/notes.txt:1
                     docs/notes.txt:10
                     docs/notes.txt:19
                     docs/notes.txt:29
  changes docs/notes.txt
next: `rr-patch build`; `rr-patch revert` takes it back
"#]]);
    assert!(tree.snapshot() == expected);
    tree.rr_patch(&[&["apply"], &both[..]].concat())
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
    let report = tree.rr_patch(&["status", "--format", "json"]).exits(0).json();
    let names: Vec<&Value> = report["patches"].as_array().unwrap().iter().map(|patch| &patch["name"]).collect();
    assert_eq!(names, ["1.patch", "2.patch"]);
    let text = tree.text(NOTES);
    let lines: Vec<&str> = text.lines().collect();
    let places = |number: usize| -> Vec<&str> {
        let sites = report["changes"][number]["sites"].as_array().unwrap().iter();
        sites.map(|site| lines[usize::try_from(site["line"].as_u64().unwrap()).unwrap() - 1]).collect()
    };
    assert_eq!(places(0), ["line five", "line 20 and a half"], "{text}");
    assert_eq!(places(1), ["line 0", "line 7.5", "line 17", "line twenty-six"], "{text}");

    // One of them again, from the original; then none.
    tree.rr_patch(&["apply", "--patch", "../1.patch"]).exits(0).prints_exactly(str![[r#"
patched again `[FOLDER]/installer`, with 1.patch:
  1.patch          its hunks
                     docs/notes.txt:5
                     docs/notes.txt:21
  changes docs/notes.txt
next: `rr-patch build`; `rr-patch revert` takes it back
"#]]);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before && tree.state().is_empty());
}

#[test]
fn patch_that_needs_the_one_before_it_is_refused_alone() {
    let tree = tree_with_notes();
    let head = "--- a/docs/notes.txt\n+++ b/docs/notes.txt\n";
    fs::write(tree.beside("1.patch"), format!("{head}@@ -1,2 +1,2 @@\n-line 1\n+line one\n line 2\n")).unwrap();
    fs::write(tree.beside("2.patch"), format!("{head}@@ -1,2 +1,2 @@\n-line one\n+line 1.0\n line 2\n")).unwrap();
    let run = tree.refuses(&["apply", "--patch", "../2.patch", "--patch", "../1.patch"]);
    run.says_exactly(str![[r#"
error: `2.patch` does not fit these sources
  `docs/notes.txt`: `@@ -1,2 +1,2 @@` (line 3 of the patch): expected:
    | line one
    | line 2
    nearest: line 1, where 1 of them matches; line 1 is `line 1`
nothing was written
"#]]);
    tree.rr_patch(&["apply", "--patch", "../1.patch", "--patch", "../2.patch"]).exits(0);
    assert!(tree.text(NOTES).starts_with("line 1.0\nline 2\n"));
}

#[test]
fn patch_is_read_from_standard_input() {
    let tree = tree_with_notes();
    let patch = made_by_git(&tree, &[], two_places);
    let mut child = tree
        .tool()
        .args(["apply", "--patch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&patch).unwrap();
    let run = Run::of(child.wait_with_output().unwrap()).exits(0);
    run.prints_exactly(str![[r#"
patched `[FOLDER]/installer`, with standard input:
  standard input   its hunks
                     docs/notes.txt:5
                     docs/notes.txt:21
  changes docs/notes.txt
next: `rr-patch build`; `rr-patch revert` takes it back
"#]]);
    tree.rr_patch(&["status"]).prints_exactly(str![[r#"
patched: `[FOLDER]/installer`, with standard input
by:      rr-patch [VERSION] on [..]
patch:   standard input, git blob [..]

  standard input   in place      its hunks
                                 docs/notes.txt:5
                                 docs/notes.txt:21

nothing was edited since
"#]]);
    tree.rr_patch(&["revert"]).exits(0);
    // The harness gives nothing to read.
    tree.refuses(&["apply", "--patch", "-"]).says_exactly(str![[r#"
error: `standard input` is not a patch: it changes nothing
  expected: `--- FILE`, `+++ FILE` and hunks that begin with `@@ -`
hint: `git diff` and `diff -u` write such patches
nothing was written
"#]]);
}

// What patches do.

#[test]
fn patch_adds_and_deletes_files_as_git_does() {
    let tree = tree_with(&[
        (NOTES, notes().as_bytes()),
        ("docs/empty.txt", b""),
        ("docs/deep/er/only.txt", b"the only file\n"),
        ("docs/end.txt", b"no newline"),
    ]);
    let changes: [fn(&Tree); 9] = [
        |tree| tree.write("docs/new.txt", "one\ntwo\n"),
        |tree| tree.write("docs/new.txt", "no newline"),
        |tree| tree.write("docs/new/folder/new.txt", "new\n"),
        |tree| tree.write("docs/new-and-empty.txt", ""),
        |tree| {
            tree.write("docs/run.sh", "#!/bin/sh\n");
            tree.chmod("docs/run.sh", 0o755);
        },
        |tree| tree.remove(NOTES),
        |tree| tree.remove("docs/empty.txt"),
        |tree| tree.remove("docs/deep/er/only.txt"),
        |tree| tree.remove("docs/end.txt"),
    ];
    for change in changes {
        as_git_does(&tree, made_by_git(&tree, &["--no-renames"], change), &[]);
    }
    let all = made_by_git(&tree, &["--no-renames"], |tree| {
        changes[1..8].iter().for_each(|change| change(tree));
        tree.write("docs/end.txt", "a newline\n");
    });
    let run = as_git_does(&tree, all, &[]);
    run.prints(&["  adds    docs/new.txt\n", "  changes docs/end.txt\n", "  removes docs/notes.txt\n"]);
}

#[test]
fn patch_renames_and_copies_files_as_git_does() {
    let tree = tree_with(&[(NOTES, notes().as_bytes()), ("docs/other.txt", "other\n".repeat(9).as_bytes())]);
    let rename = |tree: &Tree| {
        fs::create_dir_all(tree.path("notes/old")).unwrap();
        fs::rename(tree.path(NOTES), tree.path("notes/old/a b.txt")).unwrap();
    };
    let copy = |tree: &Tree, name: &str| fs::copy(tree.path(NOTES), tree.path(name)).unwrap();
    let whole = made_by_git(&tree, &["-M"], rename);
    assert!(String::from_utf8_lossy(&whole).contains("\nsimilarity index 100%\nrename from docs/notes.txt\n"));
    let changed = made_by_git(&tree, &["-M"], |tree| {
        rename(tree);
        tree.edit("notes/old/a b.txt", "line 2\n", "");
        tree.chmod("notes/old/a b.txt", 0o755);
    });
    let copies = made_by_git(&tree, &["-C", "--find-copies-harder"], |tree| {
        copy(tree, "docs/1.txt");
        copy(tree, "docs/2.txt");
        two_places(tree);
        copy(tree, "docs/3.txt");
    });
    let text = String::from_utf8_lossy(&copies).into_owned();
    assert_eq!(text.matches("\ncopy from docs/notes.txt\n").count(), 3, "{text}");
    let copied_and_renamed = made_by_git(&tree, &["-C", "--find-copies-harder"], |tree| {
        copy(tree, "docs/0.txt");
        rename(tree);
    });
    for patch in [whole, changed, copies, copied_and_renamed] {
        as_git_does(&tree, patch, &[]);
    }
    let below = made_by_git(&tree, &["-M", "--src-prefix=a/x/", "--dst-prefix=b/x/"], rename);
    let below =
        String::from_utf8(below).unwrap().replace(" from docs", " from x/docs").replace(" to notes", " to x/notes");
    as_git_does(&tree, &below, &["-p2"]);
    tree.refuses(&["apply", "--patch", "../the.patch", "-p3"]);
    fs::write(tree.beside("the.patch"), below).unwrap();
    tree.refuses(&["apply", "--patch", "../the.patch"])
        .says(&["`x/docs/notes.txt` does not exist, but line 1 ", "hint: `docs/notes.txt` exists: try `-p 2`\n"]);
}

#[test]
fn patch_changes_modes_as_git_does() {
    let tree = tree_with(&[(NOTES, notes().as_bytes()), ("docs/run.sh", b"#!/bin/sh\n")]);
    tree.chmod("docs/run.sh", 0o755);
    tree.commit("a program");
    let changes: [fn(&Tree); 4] = [
        |tree| tree.chmod(NOTES, 0o755),
        |tree| tree.chmod("docs/run.sh", 0o644),
        |tree| {
            two_places(tree);
            tree.chmod(NOTES, 0o755);
        },
        |tree| tree.write("docs/run.sh", "#!/bin/sh\ntrue\n"),
    ];
    for change in changes {
        as_git_does(&tree, made_by_git(&tree, &[], change), &[]);
    }
}

#[test]
fn patch_keeps_the_rest_of_a_mode_that_it_changes() {
    let tree = tree_with_notes();
    let patch = made_by_git(&tree, &[], |tree| tree.chmod(NOTES, 0o755));
    fs::write(tree.beside("the.patch"), patch).unwrap();
    for (before, after) in [(0o644, 0o755), (0o640, 0o750), (0o600, 0o700), (0o2664, 0o2775)] {
        tree.chmod(NOTES, before);
        tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
        let mode = || tree.snapshot()[std::path::Path::new(NOTES)].1 & 0o7777;
        assert_eq!(mode(), after, "from {before:o}");
        tree.rr_patch(&["revert"]).exits(0);
        assert_eq!(mode(), before);
    }
}

#[test]
fn patch_keeps_ends_of_files_and_bytes_that_are_no_text() {
    let cases: [(&str, &[u8], &[u8]); 17] = [
        ("a newline goes", b"a\nb\nc\n", b"a\nb\nc"),
        ("a newline comes", b"a\nb\nc", b"a\nb\nc\n"),
        ("no newline before and after", b"a\nb\nc", b"a\nB\nc"),
        ("the last line changes", b"a\nb\nc", b"a\nb\nC"),
        ("a line more", b"a\nb\nc", b"a\nb\nc\nd"),
        ("a line less", b"a\nb\nc\nd", b"a\nb\nc"),
        ("all goes but a newline", b"a", b"\n"),
        ("an empty file gets a line", b"", b"a\n"),
        ("a file becomes empty", b"a\nb\n", b""),
        ("CRLF", b"a\r\nb\r\nc\r\nd\r\n", b"a\r\nB\r\nc\r\nd\r\n"),
        ("one CRLF", b"a\nb\r\nc\n", b"a\nb\nc\n"),
        ("CRLF and no newline", b"a\r\nb\r\nc", b"a\r\nB\r\nc"),
        ("a CR alone", b"a\rb\nc\n", b"a\rb\nd\rc\n"),
        ("blank lines", b"\n\n\na\n\n\n", b"\n\n\nb\n\n\n"),
        ("like a patch", b"--- a\n+++ b\n@@ -1 +1 @@\n\\ x\n", b"-- a\n++ b\n@@ -1 +1 @@\n\\ y\n"),
        ("dashes", b"-- a\n-- b\n", b"-- a\n-- \n-- b\n"),
        ("no UTF-8", b"\xff\xfe\ncaf\xe9\nx\n", b"\xff\xfe\ncaf\xe8\nx\n"),
    ];
    let tree = tree_with(&cases.map(|(name, before, _)| (name, before)));
    let patch =
        made_by_git(&tree, &["--text"], |tree| cases.iter().for_each(|(name, _, after)| tree.write(name, after)));
    as_git_does(&tree, patch, &[]);
}

#[test]
fn patch_names_in_quotes_are_read_as_git_writes_them() {
    let names =
        ["docs/a b.txt", "docs/t\u{e4}st.txt", "docs/\"q\".txt", "docs/back\\slash.txt", "docs/ a/ .txt", "docs/-- a"];
    let notes = notes();
    let tree = tree_with(&names.map(|name| (name, notes.as_bytes())));
    let changes: [fn(&Tree, &str); 3] = [
        |tree, name| tree.edit(name, "line 2\n", ""),
        |tree, name| tree.write(&format!("{name}.new"), "new\n"),
        |tree, name| tree.remove(name),
    ];
    for quotes in ["true", "false"] {
        tree.git(&["config", "core.quotePath", quotes]);
        for change in changes {
            let patch = made_by_git(&tree, &[], |tree| names.iter().for_each(|name| change(tree, name)));
            as_git_does(&tree, patch, &[]);
        }
    }
}

// Where hunks go.

#[test]
fn patch_hunks_are_found_where_the_file_has_grown_or_shrunk_above() {
    let tree = tree_with_notes();
    let patch = made_by_git(&tree, &[], two_places);
    for change in [
        (|tree: &Tree| tree.edit(NOTES, "line 1\n", "line 0.1\nline 0.2\nline 0.3\nline 1\n")) as fn(&Tree),
        |tree| tree.edit(NOTES, "line 12\n", "line 12\n\n\n\nline 12.5\n"),
        |tree| tree.edit(NOTES, "line 1\n", ""),
        |tree| {
            tree.edit(NOTES, "line 1\n", "0\n0\n0\n0\nline 1\n");
            tree.edit(NOTES, "line 12\nline 13\nline 14\n", "");
        },
        |tree| tree.edit(NOTES, "line 30\n", "line 30\nline 31\n"),
    ] {
        change(&tree);
        tree.commit("grown");
        as_git_does(&tree, &patch, &[]);
        tree.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
}

#[test]
fn patch_hunk_goes_to_the_line_that_it_names_though_it_fits_others_too() {
    let tree = tree_with(&[(NOTES, "a\nb\nc\n".repeat(10).as_bytes())]);
    for line in [1, 4, 13, 28] {
        let patch = format!("--- a/{NOTES}\n+++ b/{NOTES}\n@@ -{line},3 +{line},4 @@\n a\n+x\n b\n c\n");
        let run = as_git_does(&tree, patch, &[]);
        run.prints(&[&format!("{NOTES}:{}\n", line + 1)]);
    }
}
