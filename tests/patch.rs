//! `--mode patch`: the shipped rr-debugging.patch says what the structural changes say, and goes the same
//! way through apply, status, diff and revert.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{ADDED, PROCESS, PROCESS_UNIX, STATE, SYSTEM, Tree};
use snapbox::str;

const NAME: &str = "rr-debugging.patch";

fn shipped() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("patches").join(NAME)).unwrap()
}

/// How the shipped patch is made anew, from the crate's folder.
const RENEW: &str = r#"d=$(mktemp -d) && cp -r fixtures/installer/. fixtures/shapes/p2/. "$d" && cargo run --quiet -- diff --context least "$d" >"$d.patch" && cp "$d.patch" patches/rr-debugging.patch"#;

/// A patch without its context, its hunks' headers and the names of blobs.
fn changes(patch: &[u8]) -> Vec<String> {
    let text = String::from_utf8(patch.to_vec()).unwrap();
    let lines = text.lines().filter(|line| ![" ", "@@ ", "index "].iter().any(|start| line.starts_with(start)));
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_shipped_patch_says_what_diff_prints_for_the_newest_shape() {
    let tree = Tree::new("p2");
    let (found, expected) = (changes(&shipped()), changes(&tree.prints(&["diff", "--context", "least"])));
    let differs = found.iter().zip(&expected).find(|(one, other)| one != other);
    assert!(found == expected, "{differs:?}; a changed rule? Then renew the shipped patch:\n{RENEW}");
    assert!(found.len() > 100);
}

#[test]
fn the_shipped_patch_is_taken_by_git_apply() {
    let (tree, other) = (Tree::new("p2"), Tree::patched("p2"));
    fs::write(tree.beside(NAME), shipped()).unwrap();
    tree.git(&["apply", "--index", "../rr-debugging.patch"]);
    assert!(tree.snapshot() == other.snapshot());
}

/// What apply says of the shipped patch, between its first line and its last.
const BY_THE_SHIPPED_PATCH: &str = "\
\x20 rr-debugging.patch its hunks
                       pkg/clusterapi/internal/process/process.go:33
                       pkg/clusterapi/internal/process/process.go:87
                       pkg/clusterapi/internal/process/process.go:95
                       pkg/clusterapi/internal/process/process.go:106
                       pkg/clusterapi/internal/process/process.go:115
                       pkg/clusterapi/internal/process/process.go:179
                       pkg/clusterapi/internal/process/process.go:189
                       pkg/clusterapi/system.go:64
                       pkg/clusterapi/system.go:82
                       pkg/clusterapi/system.go:174
                       pkg/clusterapi/system.go:188
                       pkg/clusterapi/system.go:196
                       pkg/clusterapi/system.go:312
                       pkg/clusterapi/internal/process/process_unix.go:20
                       pkg/clusterapi/internal/process/rr_patch.go:1
                       pkg/clusterapi/internal/process/rr_patch_unix.go:1
                       pkg/clusterapi/internal/process/rr_patch_windows.go:1
  changes pkg/clusterapi/internal/process/process.go
  changes pkg/clusterapi/system.go
  changes pkg/clusterapi/internal/process/process_unix.go
  adds    pkg/clusterapi/internal/process/rr_patch.go
  adds    pkg/clusterapi/internal/process/rr_patch_unix.go
  adds    pkg/clusterapi/internal/process/rr_patch_windows.go
";

#[test]
fn apply_mode_patch_gives_byte_for_byte_what_structural_apply_gives() {
    let (tree, other) = (Tree::new("p2"), Tree::patched("p2"));
    let before = tree.snapshot();
    let run = tree.rr_patch(&["apply", "--mode", "patch"]).exits(0);
    run.prints_exactly(format!("patched `[FOLDER]/installer`, with rr-debugging.patch:\n{BY_THE_SHIPPED_PATCH}next: `rr-patch build`; `rr-patch revert` takes it back"));
    assert!(tree.snapshot() == other.snapshot());
    tree.go(&["vet", "./pkg/clusterapi/..."], &[]).exits(0);

    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before && !tree.path(STATE).exists());
}

#[test]
fn apply_mode_patch_dry_run_says_what_would_change_and_writes_nothing() {
    let tree = Tree::new("p2");
    let before = (tree.snapshot(), tree.state());
    let run = tree.rr_patch(&["apply", "--mode", "patch", "--dry-run"]).exits(0);
    run.prints_exactly(format!("would patch `[FOLDER]/installer`, with rr-debugging.patch:\n{BY_THE_SHIPPED_PATCH}nothing was written (--dry-run); `rr-patch diff` shows the lines"));
    assert!(before == (tree.snapshot(), tree.state()));
}

#[test]
fn apply_mode_patch_again_does_nothing() {
    let tree = Tree::new("p2");
    tree.rr_patch(&["apply", "--mode", "patch"]).exits(0);
    let before = (tree.snapshot(), tree.times());
    tree.rr_patch(&["apply", "--mode", "patch"])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
    assert!(before == (tree.snapshot(), tree.times()));
}

#[test]
fn apply_mode_patch_verify_asks_go() {
    let tree = Tree::new("p2");
    let run = tree.rr_patch(&["apply", "--mode", "patch", "--verify"]).exits(0);
    run.prints(&["gofmt, go vet and go build have nothing to say against it\n"]);
}

#[test]
fn apply_mode_patch_works_in_a_vendored_installer_and_without_git() {
    let tree = Tree::bare("p2");
    let before = tree.snapshot();
    tree.rr_patch(&["apply", "--mode", "patch"]).exits(0);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);

    let vendored = Tree::vendored("third_party/installer");
    let patch = Tree::new("installer").prints(&["diff"]);
    fs::write(vendored.beside("ours.patch"), patch).unwrap();
    let before = vendored.snapshot();
    let root = ["--root", "third_party/installer"];
    vendored.rr_patch(&[&["apply", "--patch", "../ours.patch"], &root[..]].concat()).exits(0);
    assert!(vendored.path("third_party/installer").join(ADDED).exists());
    vendored.rr_patch(&[&["revert"], &root[..]].concat()).exits(0);
    assert!(vendored.snapshot() == before);
}

/// The one change of a status that is a patch: its sites.
#[track_caller]
fn hunks(tree: &Tree) -> Vec<(String, Option<u64>)> {
    let report = tree.rr_patch(&["status", "--format", "json"]).exits(0).json();
    let [change] = &report["changes"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!(change["change"], NAME);
    let sites = change["sites"].as_array().unwrap().iter();
    sites.map(|site| (site["path"].as_str().unwrap().to_owned(), site["line"].as_u64())).collect()
}

#[test]
fn status_names_the_patch_and_the_lines_of_its_hunks() {
    let tree = Tree::new("p2");
    tree.rr_patch(&["apply", "--mode", "patch"]).exits(0);
    let blob = tree.git(&["hash-object", concat!(env!("CARGO_MANIFEST_DIR"), "/patches/rr-debugging.patch")]);
    let run = tree.rr_patch(&["status"]).exits(0);
    run.prints(&[&format!("patch:   {NAME}, git blob {}\n", &blob[..12])]).prints_exactly(str![[r#"
patched: `[FOLDER]/installer`, with rr-debugging.patch
by:      rr-patch [VERSION] on [..]
patch:   rr-debugging.patch, git blob [..]

  rr-debugging.patch in place      its hunks
                                   pkg/clusterapi/internal/process/process.go:33
                                   pkg/clusterapi/internal/process/process.go:87
                                   pkg/clusterapi/internal/process/process.go:95
                                   pkg/clusterapi/internal/process/process.go:106
                                   pkg/clusterapi/internal/process/process.go:115
                                   pkg/clusterapi/internal/process/process.go:179
                                   pkg/clusterapi/internal/process/process.go:189
                                   pkg/clusterapi/system.go:64
                                   pkg/clusterapi/system.go:82
                                   pkg/clusterapi/system.go:174
                                   pkg/clusterapi/system.go:188
                                   pkg/clusterapi/system.go:196
                                   pkg/clusterapi/system.go:312
                                   pkg/clusterapi/internal/process/process_unix.go:20
                                   pkg/clusterapi/internal/process/rr_patch.go:1
                                   pkg/clusterapi/internal/process/rr_patch_unix.go:1
                                   pkg/clusterapi/internal/process/rr_patch_windows.go:1

nothing was edited since
"#]]);
    let report = tree.rr_patch(&["status", "--format", "json"]).exits(0).json();
    assert_eq!(report["patches"], json!([{"name": NAME, "hash": blob.trim()}]));
    assert_eq!((&report["patched"], &report["options"]), (&Value::Bool(true), &Value::Null));

    let hunks = hunks(&tree);
    let text = String::from_utf8(shipped()).unwrap();
    assert_eq!(hunks.len(), text.lines().filter(|line| line.starts_with("@@ ")).count());
    for (path, line) in hunks {
        let line = usize::try_from(line.unwrap()).unwrap();
        let there = tree.text(&path).lines().nth(line - 1).unwrap().to_owned();
        assert!(text.contains(&format!("\n+{there}\n")), "{path}:{line}: {there}");
    }
}

#[test]
fn status_finds_hunks_again_that_an_edit_above_has_moved() {
    let tree = Tree::new("p2");
    tree.rr_patch(&["apply", "--mode", "patch"]).exits(0);
    let before = hunks(&tree);
    tree.edit(PROCESS, "\nimport (\n", "\n// One.\n// Two.\n\nimport (\n");
    for ((path, old), (_, new)) in before.iter().zip(hunks(&tree)) {
        let moved = if path == PROCESS { 3 } else { 0 };
        assert_eq!(new, old.map(|line| line + moved), "{path}:{old:?}");
    }
    tree.rr_patch(&["status"]).prints(&[&format!("  {NAME} in place "), "was edited since apply"]);
}

#[test]
fn status_says_that_an_edited_hunk_is_gone() {
    let tree = Tree::new("p2");
    tree.rr_patch(&["apply", "--mode", "patch"]).exits(0);
    let before = hunks(&tree);
    tree.edit(PROCESS, "\tps.Cmd.Cancel = ps.terminate\n", "\tps.Cmd.Cancel = nil\n");
    let after = hunks(&tree);
    let gone: Vec<_> = before.iter().zip(&after).filter(|(_, (_, now))| now.is_none()).map(|(old, _)| old).collect();
    let [(path, Some(line))] = gone[..] else { panic!("{gone:?}") };
    assert_eq!(path, PROCESS);
    tree.rr_patch(&["status"])
        .exits(0)
        .prints(&[&format!("  {NAME} NOT whole "), &format!("{path}:{line} is gone or edited\n")]);

    for path in [PROCESS, SYSTEM, PROCESS_UNIX] {
        tree.write(path, "package other\n");
    }
    tree.git(&["clean", "--quiet", "--force", "pkg"]);
    tree.rr_patch(&["status"]).exits(0).prints(&[&format!("  {NAME} NOT in place ")]);
}

#[test]
fn diff_mode_patch_prints_what_apply_would_do_and_diff_what_was_applied() {
    let tree = Tree::new("p2");
    let before = (tree.snapshot(), tree.state());
    let would = tree.prints(&["diff", "--mode", "patch"]);
    assert!(before == (tree.snapshot(), tree.state()));
    assert!(would == tree.prints(&["diff"]), "the structural changes are the same ones");
    tree.rr_patch(&["apply", "--mode", "patch"]).exits(0);
    for arguments in [&["diff"][..], &["diff", "--mode", "patch"], &["diff", "--mode", "structural"]] {
        assert!(tree.prints(arguments) == would, "{arguments:?}");
    }
    let report = tree.rr_patch(&["diff", "--format", "json"]).exits(0).json();
    assert_eq!((&report["applied"], &report["shape"]), (&Value::Bool(true), &NAME.into()));
}

#[test]
fn apply_mode_patch_keeps_edits_elsewhere_and_revert_merges_them() {
    let tree = Tree::new("p2");
    tree.edit(PROCESS, "// Package process starts", "// Package process (edited) starts");
    let edited = tree.snapshot();
    tree.rr_patch(&["apply", "--mode", "patch"]).exits(0);
    tree.edit(SYSTEM, "lcp := &localControlPlane{}", "lcp := &localControlPlane{} // local");
    tree.rr_patch(&["apply", "--mode", "patch"]).exits(0).prints_exactly(str![[r#"
`[FOLDER]/installer` is patched already; nothing to do
edited since, and left as it is: pkg/clusterapi/system.go
"#]]);
    tree.rr_patch(&["revert"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 6 files
  restored pkg/clusterapi/internal/process/process.go
  merged   pkg/clusterapi/system.go; what was edited since is kept
  restored pkg/clusterapi/internal/process/process_unix.go
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
  removed  pkg/clusterapi/internal/process/rr_patch_windows.go
"#]]);
    tree.edit(SYSTEM, "lcp := &localControlPlane{} // local", "lcp := &localControlPlane{}");
    assert!(tree.snapshot() == edited);
}

#[test]
fn apply_in_the_other_mode_plans_from_the_originals() {
    let tree = Tree::new("p2");
    let before = tree.snapshot();
    let other = |options: &[&str]| {
        let other = Tree::new("p2");
        other.rr_patch(&[&["apply"], options].concat()).exits(0);
        other.snapshot()
    };
    let (all, plain) = (other(&["--controllers", "all"]), other(&[]));
    assert!(all != plain);
    for (options, expected, says) in [
        (&["--mode", "patch"][..], &plain, "patched `"),
        (&["--controllers", "all"], &all, "patched again `"),
        (&["--mode", "patch"], &plain, "patched again `"),
        (&["--mode", "structural"], &plain, "patched again `"),
    ] {
        tree.rr_patch(&[&["apply"], options].concat()).exits(0).prints(&[says]);
        assert!(tree.snapshot() == *expected, "{options:?}");
    }
    let report = tree.rr_patch(&["status", "--format", "json"]).json();
    assert_eq!((&report["shape"], &report["patches"]), (&"P2+S6".into(), &Value::Null));
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn apply_mode_patch_on_an_older_shape_is_refused_with_the_hint_that_structural_changes_fit() {
    for (shape, says) in [
        (
            "installer",
            str![[r#"
error: `rr-debugging.patch` does not fit these sources
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
nothing was written
"#]],
        ),
        (
            "s1",
            str![[r#"
error: `rr-debugging.patch` does not fit these sources
  `pkg/clusterapi/internal/process/process.go`: `@@ -91,3 +94,4 @@` (line 14 of the patch): expected:
    | 	ready := make(chan bool)
    | 	timedOut := time.After(ps.StartTimeout)
    | 
    nearest: line 94, where 2 of them match; line 96 is `pollerStopCh := make(stopChannel)`
  `pkg/clusterapi/system.go`: `@@ -63,2 +63,4 @@` (line 44 of the patch): expected:
    | 
    | 	wg           sync.WaitGroup
    found: none of these in its 229 lines
  `pkg/clusterapi/system.go`: `@@ -170,2 +173,3 @@` (line 53 of the patch): expected:
    | func (c *system) Teardown() {
    | 	c.Lock()
    found: none of these in its 229 lines
  `pkg/clusterapi/system.go`: `@@ -304,3 +310,7 @@` (line 65 of the patch): expected:
    | 		StopTimeout:  10 * time.Second,
    | 	}
    | 
    nearest: line 210, where 2 of them match; line 212 is `if healthCheckHostPort != "" {`
  `pkg/clusterapi/internal/process/process_unix.go` does not exist, but line 73 of the patch changes it
hint: rr-patch's own changes fit these sources: `rr-patch apply` without a patch makes them
nothing was written
"#]],
        ),
        (
            "s4",
            str![[r#"
error: `rr-debugging.patch` does not fit these sources
  `pkg/clusterapi/internal/process/process.go`: `@@ -91,3 +94,4 @@` (line 14 of the patch): expected:
    | 	ready := make(chan bool)
    | 	timedOut := time.After(ps.StartTimeout)
    | 
    nearest: line 94, where 2 of them match; line 96 is `pollerStopCh := make(stopChannel)`
  `pkg/clusterapi/system.go`: `@@ -304,3 +310,7 @@` (line 65 of the patch): expected:
    | 		StopTimeout:  10 * time.Second,
    | 	}
    | 
    nearest: line 302, where 2 of them match; line 304 is `if healthCheckHostPort != "" {`
  `pkg/clusterapi/internal/process/process_unix.go` does not exist, but line 73 of the patch changes it
hint: rr-patch's own changes fit these sources: `rr-patch apply` without a patch makes them
nothing was written
"#]],
        ),
    ] {
        let tree = Tree::new(shape);
        tree.refuses(&["apply", "--mode", "patch"]).says_exactly(says);
        assert!(!tree.path(STATE).exists());
    }
    // Where they do not, there is no such hint.
    let tree = Tree::new("installer");
    tree.edit(PROCESS, "time.After(ps.StopTimeout)", "ps.patience()");
    tree.refuses(&["apply", "--mode", "patch"]).says_exactly(str![[r#"
error: `rr-debugging.patch` does not fit these sources
  `pkg/clusterapi/internal/process/process.go`: `@@ -91,3 +94,4 @@` (line 14 of the patch): expected:
    | 	ready := make(chan bool)
    | 	timedOut := time.After(ps.StartTimeout)
    | 
    nearest: line 94, where 2 of them match; line 96 is `pollerStopCh := make(stopChannel)`
  `pkg/clusterapi/internal/process/process.go`: `@@ -183,3 +188,4 @@` (line 34 of the patch): expected:
    | 
    | 	timedOut := time.After(ps.StopTimeout)
    | 	select {
    nearest: line 185, where 1 of them matches; line 186 is `timedOut := ps.patience()`
  `pkg/clusterapi/system.go`: `@@ -304,3 +310,7 @@` (line 65 of the patch): expected:
    | 		StopTimeout:  10 * time.Second,
    | 	}
    | 
    nearest: line 304, where 1 of them matches; line 304 is `StopTimeout:  2 * time.Second,`
  `pkg/clusterapi/internal/process/process_unix.go` does not exist, but line 73 of the patch changes it
nothing was written
"#]]);
}

#[test]
fn apply_mode_patch_takes_no_options_that_contradict_it() {
    let tree = Tree::new("p2");
    fs::write(tree.beside(NAME), shipped()).unwrap();
    let patch = ["--patch", "../rr-debugging.patch"];
    let before = (tree.snapshot(), tree.state());
    for recording in [
        &["--controllers", "all"][..],
        &["--rr", "/opt/rr/bin/rr"],
        &["--rr-arg=--chaos"],
        &["--bind-to-cpu", "none"],
        &["--avx512", "keep"],
        &["--signal", "rr"],
    ] {
        for mode in [&["--mode", "patch"][..], &patch] {
            let run = tree.rr_patch(&[&["apply"], mode, recording].concat()).exits(2);
            run.says_exactly(str![[r#"
error: how to record cannot be chosen for a patch: it has a command line of its own
hint: choose when the installer runs: `RR_PATCH_RECORD=…` replaces it; or leave `--mode patch` out
"#]]);
        }
    }
    for arguments in [&["--mode", "structural", "--patch", "../rr-debugging.patch"][..], &["--3way"]] {
        for command in [&["apply"][..], &["diff"], &["check", "--rev", "HEAD"]] {
            let run = tree.rr_patch(&[command, arguments].concat()).exits(2);
            run.says_exactly(str![[r#"
error: the structural changes take neither `--patch` nor `--3way`
hint: leave `--mode structural` out, or the patch
"#]]);
        }
    }
    for mode in ["structural", "patch"] {
        tree.rr_patch(&["apply", "--mode", mode, "-p", "2"]).exits(2).says_exactly(str![[r#"
error: the following required arguments were not provided:
  --patch <FILE>

Usage: rr-patch apply --patch <FILE> --mode <MODE> -p <N> [REPO]

For more information, try '--help'.
"#]]);
    }
    for strip in ["-1", "one", ""] {
        tree.rr_patch(&[&["apply"], &patch[..], &["-p", strip]].concat()).exits(2);
    }
    assert!(before == (tree.snapshot(), tree.state()));
}
