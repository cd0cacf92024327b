//! `rr-patch check` and `diff --rev`: revisions are read from the object database alone.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use serde_json::Value;

use crate::harness::{PROCESS, Run, SHAPES, SYSTEM, Tree, command, copy, fixtures, kill};
use crate::watched::PATIENCE;

/// A repository with a branch for each shape, one from before the supervisor, and one whose sources
/// are not understood; `main` is checked out, and then edited.
fn repository() -> Tree {
    let tree = Tree::new("installer");
    for shape in &SHAPES[1..] {
        tree.git(&["checkout", "--quiet", "-b", shape, "main"]);
        copy(&fixtures().join("shapes").join(shape), tree.root());
        tree.commit(shape);
    }
    tree.git(&["checkout", "--quiet", "-b", "same-as-main", "main"]);
    tree.git(&["checkout", "--quiet", "-b", "strange", "main"]);
    tree.edit(PROCESS, "timedOut := time.After(ps.StopTimeout)", "timedOut := time.NewTimer(ps.StopTimeout).C");
    tree.commit("strange");
    tree.git(&["checkout", "--quiet", "--orphan", "old", "main"]);
    tree.git(&["rm", "--quiet", "-r", "--force", "pkg"]);
    tree.commit("old");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.write(PROCESS, "not Go at all");
    tree
}

fn row<'a>(report: &'a Value, revision: &str) -> &'a Value {
    let rows = report["revisions"].as_array().unwrap();
    rows.iter().find(|row| row["revision"] == revision).unwrap_or_else(|| panic!("no {revision} in {report:#}"))
}

fn check_in(folder: &std::path::Path, arguments: &[&str]) -> Run {
    let mut tool: Command = command(env!("CARGO_BIN_EXE_rr-patch"));
    Run::of(tool.current_dir(folder).arg("check").args(arguments).output().unwrap())
}

#[test]
fn check_all_tells_of_every_branch_and_plans_the_same_sources_once() {
    let tree = repository();
    let before = tree.snapshot();
    let report = tree.rr_patch(&["check", "--all", "--format", "json"]).exits(4).json();
    assert_eq!(report["schema"], "rr-patch/check/1");
    let shapes = ["P1+S6", "P1+S1", "P1+S2", "P1+S3", "P1+S4", "P1+S5", "P1+S6", "P1+S6", "P2+S6"];
    for (branch, shape) in ["main"].iter().chain(&SHAPES[1..]).zip(shapes) {
        let row = row(&report, branch);
        assert_eq!((&row["ok"], &row["shape"]), (&Value::Bool(true), &Value::from(shape)), "{branch}");
    }
    assert_eq!(row(&report, "main")["date"], "2026-01-01");
    assert_eq!(row(&report, "old")["outcome"], "no Cluster API supervisor in it");
    assert_eq!(row(&report, "strange")["ok"], false);
    // main and same-as-main share theirs; old has none, which is a set too.
    assert_eq!((&report["sets"], &report["failed"], &report["without"]), (&11.into(), &1.into(), &1.into()));
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn check_prints_a_table_and_what_was_not_understood() {
    let tree = repository();
    let run = tree.rr_patch(&["check", "--rev", "main", "--rev", "strange"]).exits(4);
    run.prints(&[
        "revision  date        shape  outcome\nmain      2026-01-01  P1+S6  ok\n",
        "strange   2026-01-01         this shape of the installer's sources is not understood\n",
        "\nstrange: this shape",
        &format!("`{PROCESS}:"),
        "looked for: `T := time.After(PS.StopTimeout)`",
        "time.NewTimer(ps.StopTimeout).C",
        "\n2 revisions, 2 sets of sources: 1 ok, 1 failed, 0 with nothing to patch\n",
    ]);
    tree.rr_patch(&["check", "--rev", "main"]).exits(0);
}

#[test]
fn check_refs_takes_globs_of_whole_names_and_of_their_ends() {
    let tree = repository();
    let names = |glob: &str| {
        let report = tree.rr_patch(&["check", "--refs", glob, "--format", "json"]).exits(0).json();
        let rows = report["revisions"].as_array().unwrap().iter();
        rows.map(|row| row["revision"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("refs/heads/s6*"), ["s6-renamed", "s6-second-goroutine"]);
    assert_eq!(names("p?"), ["p2"]);
}

#[test]
fn check_fails_for_a_revision_without_a_supervisor_only_if_it_was_named() {
    let tree = repository();
    tree.rr_patch(&["check", "--refs", "old"]).exits(0);
    tree.rr_patch(&["check", "--rev", "old"]).exits(4);
}

#[test]
fn check_without_a_revision_checks_head() {
    let tree = repository();
    let report = tree.rr_patch(&["check", "--format", "json"]).exits(0).json();
    assert_eq!(report["revisions"].as_array().unwrap().len(), 1);
    assert_eq!((&row(&report, "HEAD")["ok"], &row(&report, "HEAD")["shape"]), (&true.into(), &"P1+S6".into()));
    tree.git(&["checkout", "--quiet", "--force", "strange"]);
    tree.rr_patch(&["check"]).exits(4).prints(&["HEAD"]);
}

/// As a plain clone has it: one branch of its own, all others on `origin`.
#[test]
fn check_and_diff_find_a_remote_branch_by_its_own_name() {
    let tree = repository();
    let (url, clone) = (format!("file://{}", tree.root().display()), tree.beside("clone"));
    tree.git(&["clone", "--quiet", "--branch=main", &url, clone.to_str().unwrap()]);
    check_in(&clone, &["--rev", "s1"]).exits(0).prints(&["origin/s1", "P1+S1  ok"]);
    let diff = |arguments: &[&str]| {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        Run::of(tool.current_dir(&clone).arg("diff").args(arguments).output().unwrap())
    };
    let wanted = tree.rr_patch(&["diff", "--rev", "s1"]).exits(0).stdout;
    assert_eq!(diff(&["--rev", "s1"]).exits(0).stdout, wanted);
    // A branch from before the supervisor fails where it was named, and it was.
    check_in(&clone, &["--rev", "old"]).exits(4);
    // `origin` goes before other remotes; where it has none, one is a choice and two are not.
    let git = |arguments: &[&str]| {
        let run = Run::of(command("git").current_dir(&clone).args(arguments).output().unwrap());
        assert_eq!(run.code, 0, "{}", run.stderr);
    };
    let fetch = |remote: &str, branch: &str| {
        git(&["fetch", "--quiet", &url, &format!("+refs/heads/s2:refs/remotes/{remote}/{branch}")]);
    };
    git(&["remote", "add", "fork", &url]);
    git(&["remote", "add", "other", &url]);
    fetch("fork", "s1");
    check_in(&clone, &["--rev", "s1"]).exits(0).prints(&["origin/s1", "P1+S1  ok"]);
    fetch("fork", "theirs");
    check_in(&clone, &["--rev", "theirs"]).exits(0).prints(&["fork/theirs", "P1+S2  ok"]);
    fetch("other", "theirs");
    let run = check_in(&clone, &["--rev", "theirs"]).refuses();
    run.says(&["several remotes have a branch `theirs`", "found: fork/theirs", "found: other/theirs"]);
    check_in(&clone, &["--rev", "same-as-mian"]).refuses().says(&["hint: did you mean `same-as-main`?"]);
}

#[test]
fn check_refuses_unknown_revisions_and_asks_which_was_meant() {
    let tree = repository();
    let run = tree.rr_patch(&["check", "--rev", "strnage"]).refuses();
    run.says(&["`strnage` is not a revision of", "hint: did you mean `strange`?\n"]);
    let run = tree.rr_patch(&["check", "--rev", "nowhere"]).refuses();
    assert!(!run.stderr.contains("did you mean"), "{}", run.stderr);
    tree.rr_patch(&["check", "--rev", "nowhere"])
        .refuses()
        .says(&["`nowhere` is not a revision of", "hint: `git rev-parse`"]);
    tree.rr_patch(&["check", "--refs", "nothing-like-it"]).refuses().says(&["no revision was found"]);
    let folder = tempfile::tempdir().unwrap();
    check_in(folder.path(), &["--all"]).refuses().says(&["is not in a git repository"]);
}

#[test]
fn check_takes_the_options_of_apply() {
    let tree = repository();
    let run = tree.rr_patch(&["check", "--rev", "main", "--controllers", "vsphere"]).exits(4);
    run.prints(&["this installer has no controller `vsphere`", "aws, azure, azureaso"]);
    let run = tree.rr_patch(&["check", "--rev", "main", "--controllers", "azrue"]).exits(4);
    run.prints(&["this installer has no controller `azrue`", "hint: did you mean `azure`?"]);
}

#[test]
fn check_reads_bare_and_shallow_repositories() {
    let tree = repository();
    let url = format!("file://{}", tree.root().display());
    for (name, options) in [("bare", &["--bare"][..]), ("shallow", &["--depth=1", "--no-checkout"])] {
        let clone = tree.beside(name);
        tree.git(&[&["clone", "--quiet"], options, &["--branch=main", &url, clone.to_str().unwrap()]].concat());
        check_in(&clone, &["--rev", "HEAD"]).exits(0).prints(&["P1+S6  ok"]);
    }
}

#[test]
fn check_names_the_blob_that_a_partial_clone_lacks() {
    let tree = repository();
    tree.git(&["config", "uploadpack.allowFilter", "true"]);
    let (url, clone) = (format!("file://{}", tree.root().display()), tree.beside("partial"));
    tree.git(&["clone", "--quiet", "--filter=blob:none", "--no-checkout", &url, clone.to_str().unwrap()]);
    let run = check_in(&clone, &["--rev", "HEAD"]).exits(4);
    run.prints(&[
        &format!("`{PROCESS}` of `HEAD` is not in this repository"),
        "\n  hint: a partial clone leaves blobs out",
    ]);
}

#[test]
fn check_looks_at_all_others_where_one_revision_cannot_be_read() {
    let tree = repository();
    tree.git(&["checkout", "--quiet", "--force", "-b", "linked", "main"]);
    std::fs::remove_file(tree.path(SYSTEM)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.path(SYSTEM)).unwrap();
    tree.commit("a link");
    let run = tree.rr_patch(&["check", "--rev", "linked", "--rev", "main", "--rev", "p2"]).exits(4);
    run.prints(&[
        &format!("linked    2026-01-01         `{SYSTEM}` is not a regular file in `linked`\n"),
        "main      2026-01-01  P1+S6  ok\n",
        "p2        2026-01-01  P2+S6  ok\n",
        "\n3 revisions, 3 sets of sources: 2 ok, 1 failed, 0 with nothing to patch\n",
    ]);
}

#[test]
fn check_says_in_words_that_a_sha256_repository_is_not_read() {
    let tree = Tree::bare("installer");
    tree.git(&["init", "--quiet", "--object-format=sha256"]);
    tree.commit("all");
    tree.rr_patch(&["check", "--rev", "HEAD"]).refuses().says(&["supports only SHA-1 repositories"]);
}

#[test]
fn diff_rev_prints_what_diff_does_with_that_revision_checked_out() {
    let tree = repository();
    tree.git(&["checkout", "--quiet", "--", PROCESS]);
    for shape in ["main", "s3", "p2"] {
        let of_revision = tree.rr_patch(&["diff", "--rev", shape]).exits(0).stdout;
        tree.git(&["checkout", "--quiet", shape]);
        assert_eq!(tree.rr_patch(&["diff"]).exits(0).stdout, of_revision, "{shape}");
        tree.write("../change.patch", &of_revision);
        tree.git(&["apply", "--check", "../change.patch"]);
        tree.git(&["checkout", "--quiet", "main"]);
    }
    tree.rr_patch(&["diff", "--rev", "strange"]).refuses().says(&["is not understood"]);
    tree.rr_patch(&["diff", "--rev", "old"]).refuses().says(&[&format!("`{PROCESS}` is missing")]);
    assert!(tree.text(SYSTEM).contains("time.After"), "nothing was applied");
}

#[test]
fn check_mode_patch_names_the_hunks_that_do_not_fit() {
    let tree = repository();
    let run = tree.rr_patch(&["check", "--mode", "patch", "--rev", "p2", "--rev", "main"]).exits(4);
    run.prints(&[
        "p2        2026-01-01  -      ok\n",
        "main      2026-01-01         `rr-debugging.patch` does not fit ",
        &format!("\n  `{PROCESS}`: `@@ -"),
        " of the patch): expected:\n  | ",
        "\n  nearest: line ",
        "\n2 revisions, 2 sets of sources: 1 ok, 1 failed, 0 with nothing to patch\n",
    ]);
    tree.rr_patch(&["check", "--mode", "patch", "--rev", "p2"]).exits(0);
    let report = tree.rr_patch(&["check", "--mode", "patch", "--all", "--format", "json"]).exits(4).json();
    for branch in SHAPES {
        let row = row(&report, if branch == "installer" { "main" } else { branch });
        assert_eq!(row["ok"], branch == "p2", "{row:#}");
        let details = row["details"].as_array().unwrap();
        let hunks = details.iter().filter(|detail| detail.as_str().unwrap().contains("`: `@@ -")).count();
        assert_eq!(hunks > 0, branch != "p2", "{row:#}");
    }
    assert_eq!(row(&report, "old")["outcome"], "none of the files to be patched in it");
    assert_eq!((&report["ok"], &report["without"]), (&1.into(), &1.into()));
}

#[test]
fn check_patch_answers_for_any_patch_and_looks_only_at_its_files() {
    let tree = repository();
    let write = |patch: &str| std::fs::write(tree.beside("the.patch"), patch).unwrap();
    let patch = ["--patch", "../the.patch"];
    write("--- a/hack/build.sh\n+++ b/hack/build.sh\n@@ -1,1 +1,2 @@\n #!/bin/sh\n+# more\n");
    let first = tree.text("hack/build.sh").lines().next().unwrap().to_owned();
    write(&format!("--- a/hack/build.sh\n+++ b/hack/build.sh\n@@ -1 +1,2 @@\n {first}\n+# more\n"));
    let report = tree.rr_patch(&[&["check", "--all", "--format", "json"], &patch[..]].concat()).exits(0).json();
    assert_eq!((&report["sets"], &report["failed"], &report["without"]), (&1.into(), &0.into(), &0.into()));

    // One that only adds a file fits wherever there is none of that name: with no other file in it too.
    write("--- /dev/null\n+++ b/pkg/clusterapi/system.go\n@@ -0,0 +1 @@\n+package clusterapi\n");
    let report = tree.rr_patch(&[&["check", "--all", "--format", "json"], &patch[..]].concat()).exits(4).json();
    assert_eq!((&row(&report, "old")["ok"], &row(&report, "main")["ok"]), (&true.into(), &false.into()));
    let details = row(&report, "main")["details"][0].as_str().unwrap();
    assert_eq!(details, format!("`{SYSTEM}` exists already, but line 1 of the patch adds it"));

    // On top of each other; and one that is no patch at all.
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/patches/rr-debugging.patch");
    write("--- a/pkg/clusterapi/internal/process/rr_patch.go\n+++ /dev/null\n@@ -1 +0,0 @@\n-not its line\n");
    let run = tree.rr_patch(&[&["check", "--rev", "p2", "--patch", shipped], &patch[..]].concat()).exits(4);
    run.prints(&["`the.patch` does not fit ", "  | not its line\n"]);
    write("no patch\n");
    tree.rr_patch(&[&["check", "--rev", "p2"], &patch[..]].concat()).refuses().says(&["`the.patch` is not a patch"]);
}

#[test]
fn check_that_is_interrupted_says_how_far_it_came() {
    let tree = repository();
    let patch = tree.prints(&["diff", "--rev", "main"]);
    for (signal, name) in [("INT", "signal 2 (SIGINT)"), ("TERM", "signal 15 (SIGTERM)")] {
        // It reads the patch before any revision, and is in the middle of that once it has taken the first half.
        let mut tool = tree.tool();
        tool.args(["check", "--all", "--patch", "-"]);
        let mut child = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let (first, second) = patch.split_at(patch.len() / 2);
        stdin.write_all(first).unwrap();
        let began = Instant::now();
        while ioctl_fionread(&stdin).unwrap() > 0 {
            assert!(began.elapsed() < PATIENCE, "it does not read the patch");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill(signal, child.id());
        stdin.write_all(second).unwrap();
        drop(stdin);
        let run = Run::of(child.wait_with_output().unwrap()).exits(130);
        let expected = format!("interrupted by {name}: 0 revisions of 12 had been read; nothing was written\n");
        assert_eq!((run.stdout.as_str(), run.stderr), ("", expected));
    }
}
