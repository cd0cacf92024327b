//! `rr-patch check` and `diff --rev`: revisions are read from the object database alone.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use serde_json::Value;

use crate::harness::{PROCESS, Run, SHAPES, SYSTEM, Tree, command, copy, fixtures, kill};
use crate::watched::PATIENCE;
use snapbox::str;

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
    run.prints_exactly(str![[r#"
revision  date        shape  outcome
main      2026-01-01  P1+S6  ok
strange   2026-01-01         this shape of the installer's sources is not understood

strange: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:172`
  looked for: `T := time.After(PS.StopTimeout)`, used only in `case <-T:` in `State.Stop`, once
  found: in lines 172 to 198, nearest to it:
  line 186: `timedOut := time.NewTimer(ps.StopTimeout).C`
  line 194: `return fmt.Errorf("%s did not stop within %s", path.Base(ps.Path), ps.StopTimeout)`
  `pkg/clusterapi/internal/process/process.go:186`
  looked for: no timer and no SIGKILL left in `State.Stop`, as `no-timeouts` promises
  found: `timedOut := time.NewTimer(ps.StopTimeout).C`
  `pkg/clusterapi/internal/process/process.go:191`
  looked for: no signal to the child alone left in `State.Stop`, as `group-signal` promises
  found: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
  `pkg/clusterapi/internal/process/process.go:191`
  looked for: no timer and no SIGKILL left in `State.Stop`, as `no-timeouts` promises
  found: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
  hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule

2 revisions, 2 sets of sources: 1 ok, 1 failed, 0 with nothing to patch
"#]]);
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
    check_in(&clone, &["--rev", "s1"]).exits(0).prints_exactly(str![[r#"
revision   date        shape  outcome
origin/s1  2026-01-01  P1+S1  ok

1 revision, 1 set of sources: 1 ok, 0 failed, 0 with nothing to patch
"#]]);
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
    check_in(&clone, &["--rev", "s1"]).exits(0).prints_exactly(str![[r#"
revision   date        shape  outcome
origin/s1  2026-01-01  P1+S1  ok

1 revision, 1 set of sources: 1 ok, 0 failed, 0 with nothing to patch
"#]]);
    fetch("fork", "theirs");
    check_in(&clone, &["--rev", "theirs"]).exits(0).prints_exactly(str![[r#"
revision     date        shape  outcome
fork/theirs  2026-01-01  P1+S2  ok

1 revision, 1 set of sources: 1 ok, 0 failed, 0 with nothing to patch
"#]]);
    fetch("other", "theirs");
    let run = check_in(&clone, &["--rev", "theirs"]).refuses();
    run.says_exactly(str![[r#"
error: several remotes have a branch `theirs`
  found: fork/theirs
  found: other/theirs
hint: name one of them
nothing was written
"#]]);
    check_in(&clone, &["--rev", "same-as-mian"]).refuses().says_exactly(str![[r#"
error: `same-as-mian` is not a revision of `[FOLDER]/clone/.git/`: revspec 'same-as-mian' not found
hint: did you mean `same-as-main`?
hint: `git rev-parse` takes the same names; a shallow clone lacks the older commits
nothing was written
"#]]);
}

#[test]
fn check_refuses_unknown_revisions_and_asks_which_was_meant() {
    let tree = repository();
    let run = tree.rr_patch(&["check", "--rev", "strnage"]).refuses();
    run.says_exactly(str![[r#"
error: `strnage` is not a revision of `[FOLDER]/installer/.git/`: revspec 'strnage' not found
hint: did you mean `strange`?
hint: `git rev-parse` takes the same names; a shallow clone lacks the older commits
nothing was written
"#]]);
    tree.rr_patch(&["check", "--rev", "nowhere"]).refuses().says_exactly(str![[r#"
error: `nowhere` is not a revision of `[FOLDER]/installer/.git/`: revspec 'nowhere' not found
hint: `git rev-parse` takes the same names; a shallow clone lacks the older commits
nothing was written
"#]]);
    tree.rr_patch(&["check", "--refs", "nothing-like-it"]).refuses().says_exactly(str![[r#"
error: no revision was found
hint: `git for-each-ref` lists the names
nothing was written
"#]]);
    let folder = tempfile::tempdir().unwrap();
    check_in(folder.path(), &["--all"]).refuses().says_exactly(str![[r#"
error: `.` is not in a git repository
hint: revisions are read from a git repository: name a folder in one
nothing was written
"#]]);
}

#[test]
fn check_takes_the_options_of_apply() {
    let tree = repository();
    let run = tree.rr_patch(&["check", "--rev", "main", "--controllers", "vsphere"]).exits(4);
    run.prints_exactly(str![[r#"
revision  date        shape  outcome
main      2026-01-01         this installer has no controller `vsphere`

main: this installer has no controller `vsphere`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
  hint: name some of those, or `providers`, or `all`

1 revision, 1 set of sources: 0 ok, 1 failed, 0 with nothing to patch
"#]]);
    let run = tree.rr_patch(&["check", "--rev", "main", "--controllers", "azrue"]).exits(4);
    run.prints_exactly(str![[r#"
revision  date        shape  outcome
main      2026-01-01         this installer has no controller `azrue`

main: this installer has no controller `azrue`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
  hint: did you mean `azure`?
  hint: name some of those, or `providers`, or `all`

1 revision, 1 set of sources: 0 ok, 1 failed, 0 with nothing to patch
"#]]);
}

#[test]
fn check_reads_bare_and_shallow_repositories() {
    let tree = repository();
    let url = format!("file://{}", tree.root().display());
    for (name, options) in [("bare", &["--bare"][..]), ("shallow", &["--depth=1", "--no-checkout"])] {
        let clone = tree.beside(name);
        tree.git(&[&["clone", "--quiet"], options, &["--branch=main", &url, clone.to_str().unwrap()]].concat());
        check_in(&clone, &["--rev", "HEAD"]).exits(0).prints_exactly(str![[r#"
revision  date        shape  outcome
HEAD      2026-01-01  P1+S6  ok

1 revision, 1 set of sources: 1 ok, 0 failed, 0 with nothing to patch
"#]]);
    }
}

#[test]
fn check_names_the_blob_that_a_partial_clone_lacks() {
    let tree = repository();
    tree.git(&["config", "uploadpack.allowFilter", "true"]);
    let (url, clone) = (format!("file://{}", tree.root().display()), tree.beside("partial"));
    tree.git(&["clone", "--quiet", "--filter=blob:none", "--no-checkout", &url, clone.to_str().unwrap()]);
    let run = check_in(&clone, &["--rev", "HEAD"]).exits(4);
    run.prints_exactly(str![[r#"
revision  date        shape  outcome
HEAD      2026-01-01         `pkg/clusterapi/internal/process/process.go` of `HEAD` is not in this repository: object not found - no match for id ([..])

HEAD: `pkg/clusterapi/internal/process/process.go` of `HEAD` is not in this repository: object not found - no match for id ([..])
  hint: a partial clone leaves blobs out: `git show HEAD:pkg/clusterapi/internal/process/process.go` fetches this one

1 revision, 1 set of sources: 0 ok, 1 failed, 0 with nothing to patch
"#]]);
}

#[test]
fn check_looks_at_all_others_where_one_revision_cannot_be_read() {
    let tree = repository();
    tree.git(&["checkout", "--quiet", "--force", "-b", "linked", "main"]);
    std::fs::remove_file(tree.path(SYSTEM)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.path(SYSTEM)).unwrap();
    tree.commit("a link");
    let run = tree.rr_patch(&["check", "--rev", "linked", "--rev", "main", "--rev", "p2"]).exits(4);
    run.prints_exactly(str![[r#"
revision  date        shape  outcome
linked    2026-01-01         `pkg/clusterapi/system.go` is not a regular file in `linked`
main      2026-01-01  P1+S6  ok
p2        2026-01-01  P2+S6  ok

linked: `pkg/clusterapi/system.go` is not a regular file in `linked`

3 revisions, 3 sets of sources: 2 ok, 1 failed, 0 with nothing to patch
"#]]);
}

#[test]
fn check_says_in_words_that_a_sha256_repository_is_not_read() {
    let tree = Tree::bare("installer");
    tree.git(&["init", "--quiet", "--object-format=sha256"]);
    tree.commit("all");
    tree.rr_patch(&["check", "--rev", "HEAD"]).refuses().says_exactly(str![[r#"
error: the git repository of `[FOLDER]/installer` cannot be read: unknown object format 'sha256'
hint: rr-patch's git library supports only SHA-1 repositories; rr-patch also works in a copy without `.git`
nothing was written
"#]]);
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
    tree.rr_patch(&["diff", "--rev", "old"]).refuses().says_exactly(str![[r#"
error: `pkg/clusterapi/internal/process/process.go` is missing
  expected: the sources of the Cluster API supervisor, which the installer has had since 2023-11
hint: if it was deleted: `git checkout -- pkg/clusterapi/internal/process/process.go`
nothing was written
"#]]);
    assert!(tree.text(SYSTEM).contains("time.After"), "nothing was applied");
}

#[test]
fn check_mode_patch_names_the_hunks_that_do_not_fit() {
    let tree = repository();
    let run = tree.rr_patch(&["check", "--mode", "patch", "--rev", "p2", "--rev", "main"]).exits(4);
    run.prints_exactly(str![[r#"
revision  date        shape  outcome
p2        2026-01-01  -      ok
main      2026-01-01         `rr-debugging.patch` does not fit these sources

main: `rr-debugging.patch` does not fit these sources
  `pkg/clusterapi/internal/process/process.go`: `@@ -91,3 +94,4 @@` (line 14 of the patch): expected:
  | 	ready := make(chan bool)
  | 	timedOut := time.After(ps.StartTimeout)
  | 
  nearest: line 94, where 2 of them match; line 96 is `pollerStopCh := make(stopChannel)`
  `pkg/clusterapi/system.go`: `@@ -304,3 +310,7 @@` (line 65 of the patch): expected:
  | 		StopTimeout:  10 * time.Second,
  | 	}
  | 
  nearest: line 304, where 1 of them matches; line 304 is `StopTimeout:  2 * time.Second,`
  `pkg/clusterapi/internal/process/process_unix.go` does not exist, but line 73 of the patch changes it
  hint: rr-patch's own changes fit these sources: `rr-patch apply` without a patch makes them

2 revisions, 2 sets of sources: 1 ok, 1 failed, 0 with nothing to patch
"#]]);
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
    run.prints_exactly(str![[r#"
revision  date        shape  outcome
p2        2026-01-01         `the.patch` does not fit these sources

p2: `the.patch` does not fit these sources
  `pkg/clusterapi/internal/process/rr_patch.go`: `@@ -1 +0,0 @@` (line 3 of the patch): expected:
  | not its line
  found: none of these in its 366 lines
  hint: rr-patch's own changes fit these sources: `rr-patch apply` without a patch makes them

1 revision, 1 set of sources: 0 ok, 1 failed, 0 with nothing to patch
"#]]);
    write("no patch\n");
    tree.rr_patch(&[&["check", "--rev", "p2"], &patch[..]].concat()).refuses().says_exactly(str![[r#"
error: `the.patch` is not a patch: it changes nothing
  expected: `--- FILE`, `+++ FILE` and hunks that begin with `@@ -`
hint: `git diff` and `diff -u` write such patches
nothing was written
"#]]);
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
