//! `rr-patch apply --verify`: Go is asked as the build would ask it, and what it refuses is taken back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{PROCESS, Run, STATE, SYSTEM, Tree, cache_with_go, kill, write_program};
use crate::watched::{PATIENCE, Watched, processes_with};
use snapbox::str;
/// A type error that only Go sees.
const BROKEN: &str = "package clusterapi\n\nvar broken int = \"text\"\n";
#[test]
fn apply_verify_asks_go_and_says_so() {
    for shape in ["installer", "p2"] {
        let tree = Tree::new(shape);
        tree.rr_patch(&["apply", "--verify"]).exits(0).prints(&["gofmt, go vet and go build have nothing to say"]);
    }
    let tree = Tree::patched("installer");
    tree.rr_patch(&["apply", "--verify"])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
}

#[test]
fn apply_verify_works_for_a_vendored_installer() {
    let tree = Tree::vendored("third_party/installer");
    tree.rr_patch(&["apply", "--verify", "--root", "third_party/installer"]).exits(0);
}

#[test]
fn apply_verify_that_fails_takes_everything_back_and_shows_what_go_says() {
    for tree in [Tree::new("installer"), Tree::bare("installer")] {
        tree.write("pkg/clusterapi/broken.go", BROKEN);
        let before = (tree.snapshot(), tree.state());
        let run = tree.rr_patch(&["apply", "--verify"]).exits(1);
        assert_eq!(run.stdout, "");
        run.says_exactly(str![[r#"
verifying: [..]gofmt -l pkg/clusterapi/internal/process/process.go pkg/clusterapi/system.go pkg/clusterapi/internal/process/rr_patch.go pkg/clusterapi/internal/process/rr_patch_unix.go
verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process
error: Go does not take the patched files: `CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process` says
...
    vet: pkg/clusterapi/broken.go:3:18: cannot use "text"[..]
  the changes were taken back
hint: if the same command says it of the unpatched checkout too, mend that first; else apply without --verify and look at `rr-patch diff`
"#]]);
        assert!(before == (tree.snapshot(), tree.state()));
        assert!(!tree.path(STATE).exists() && !tree.path(".rr-patch").exists());
        tree.rr_patch(&["apply"]).exits(0).prints(&["patched `"]);
    }
}

#[test]
fn apply_verify_asks_for_windows_where_the_unpatched_source_compiled_for_it() {
    let tree = Tree::new("p2");
    let broken = BROKEN.replace("clusterapi", "process");
    tree.write("pkg/clusterapi/internal/process/broken_windows.go", broken);
    let before = tree.snapshot();
    tree.rr_patch(&["apply", "--verify"]).exits(1).says_exactly(str![[r#"
verifying: [..]gofmt -l pkg/clusterapi/internal/process/process.go pkg/clusterapi/system.go pkg/clusterapi/internal/process/process_unix.go pkg/clusterapi/internal/process/rr_patch.go pkg/clusterapi/internal/process/rr_patch_unix.go pkg/clusterapi/internal/process/rr_patch_windows.go
verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process
verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor go build -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process
verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor GOOS=windows go build -gcflags 'all=-N -l' ./pkg/clusterapi/internal/process
error: Go does not take the patched files: `CGO_ENABLED=0 GOFLAGS=-mod=vendor GOOS=windows go build -gcflags 'all=-N -l' ./pkg/clusterapi/internal/process` says
...
    pkg/clusterapi/internal/process/broken_windows.go:3:18: [..]
  the changes were taken back
hint: if the same command says it of the unpatched checkout too, mend that first; else apply without --verify and look at `rr-patch diff`
"#]]);
    assert!(tree.snapshot() == before);
}

#[test]
fn apply_verify_does_not_hold_it_against_us_that_a_file_was_not_formatted_before() {
    let tree = Tree::new("installer");
    tree.edit(SYSTEM, "c.componentDir = filepath", "c.componentDir   =   filepath");
    tree.rr_patch(&["apply", "--verify"]).exits(0);
    assert_eq!(tree.unformatted(), format!("{SYSTEM}\n"));
}

#[test]
fn apply_verify_without_go_takes_everything_back_and_names_the_program() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    let run =
        crate::harness::Run::of(tree.tool().args(["apply", "--verify"]).env("PATH", "/nonexistent").output().unwrap());
    run.exits(1).says_exactly(str![[r#"
verifying: gofmt -l pkg/clusterapi/internal/process/rr_patch.go pkg/clusterapi/internal/process/rr_patch_unix.go
error: cannot run `gofmt`: No such file or directory (os error 2)
  the changes were taken back
hint: install `gofmt`, or put its folder in PATH
"#]]);
    assert!(tree.snapshot() == before);
    assert!(!tree.path(STATE).exists());
}

#[test]
fn apply_verify_finds_the_go_that_set_up_put_into_the_cache() {
    let tree = Tree::new("installer");
    let cache = cache_with_go();
    let mut tool = tree.tool();
    tool.args(["apply", "--verify"]).envs([("PATH", "/nonexistent"), ("CGO_ENABLED", "0")]);
    let run = Run::of(tool.env("XDG_CACHE_HOME", cache.path()).output().unwrap());
    run.exits(0).prints(&["gofmt, go vet and go build have nothing to say"]);
}

/// A build of the same checkout finds in Go's cache what was compiled for `--verify`.
#[test]
fn apply_verify_compiles_as_the_build_does_so_that_it_repeats_nothing() {
    let (tree, cache) = (Tree::new("installer"), tempfile::tempdir().unwrap());
    // The controllers are another matter: only the installer itself is built.
    let nothing = "build_controllers() { :; }\nadd_envtest() { :; }\npack_controllers() { :; }\n";
    tree.write("hack/build-cluster-api.sh", nothing);
    let variables = [("GOCACHE", cache.path().to_str().unwrap()), ("GOPROXY", "off")];
    let build = || -> BTreeSet<String> {
        let mode = [("MODE", "dev"), ("TAGS", "release"), ("OUTPUT", "out")];
        let run = tree.run("sh", &["./hack/build.sh", "-v"], &[&variables[..], &mode].concat()).exits(0);
        tree.remove("out");
        run.stderr.lines().filter(|line| !line.starts_with('+')).map(str::to_owned).collect()
    };
    let apply = |options: &[&str]| Run::of(tree.tool().arg("apply").args(options).envs(variables).output().unwrap());
    let package = |name: &str| format!("github.com/openshift/installer/pkg/clusterapi{name}");

    // Without the file that `go generate` makes, package data and those that use it are compiled again.
    let run = apply(&["--verify"]).exits(0);
    run.says(&["verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/"]);
    let again = build();
    assert!(again.contains("github.com/openshift/installer/cmd/openshift-install"), "{again:?}");
    for known in ["runtime", "net/http", &package("/internal/process")] {
        assert!(!again.contains(known), "{known} is compiled again: {again:?}");
    }
    // With it, nothing that was verified is.
    let run = apply(&["--controllers", "all", "--verify"]).exits(0);
    run.says(&["go build -gcflags 'all=-N -l' -tags release ./pkg/"]);
    let again = build();
    assert!(!again.contains(&package("/internal/process")) && !again.contains(&package("")), "{again:?}");
    apply(&["--rr-arg=--chaos"]).exits(0);
    let again = build();
    assert!(again.contains(&package("/internal/process")) && again.contains(&package("")), "unverified: {again:?}");
}

/// A `go` that waits before it vets until it is let go on, first in PATH.
struct WaitingGo {
    folder: tempfile::TempDir,
}

impl WaitingGo {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::var("PATH").unwrap();
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = vet ]; then\n\ttouch '{0}/waits'\n\twhile [ ! -e '{0}/on' ]; do sleep 0.05; done\nfi\n\
             PATH='{path}' exec go \"$@\"\n",
            folder.path().display()
        );
        write_program(&folder.path().join("go"), script);
        fs::set_permissions(folder.path().join("go"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// Starts `apply --verify` in a tree, and returns when Go waits.
    fn apply(&self, tree: &Tree) -> Watched {
        let mut tool = tree.tool();
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        tool.args(["apply", "--verify"]).env("PATH", path).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut apply = Watched::start(&mut tool);
        let began = Instant::now();
        while !self.folder.path().join("waits").exists() {
            assert!(apply.child.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE, "{}", apply.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        apply
    }

    fn go_on(&self) {
        fs::write(self.folder.path().join("on"), "").unwrap();
    }
}

#[test]
fn apply_verify_takes_the_patch_back_when_it_is_interrupted_and_says_so() {
    for signal in ["INT", "TERM"] {
        let tree = Tree::new("installer");
        let before = tree.snapshot();
        let go = WaitingGo::new();
        let mut apply = go.apply(&tree);
        assert!(tree.snapshot() != before, "the patch is in place while Go looks at it");
        kill(signal, apply.child.id());
        assert_eq!(apply.ends().code(), Some(130), "{}", apply.said());
        let said = apply.said();
        assert!(said.contains(&format!("(SIG{signal}): the changes were taken back\n")), "{said}");
        assert!(!said.contains("error:"), "{said}");
        assert!(tree.snapshot() == before);
        assert!(!tree.path(STATE).exists());
        assert_eq!(processes_with(go.folder.path().to_str().unwrap()), [] as [String; 0]);
    }
}

#[test]
fn apply_verify_does_not_hold_the_checkout_while_go_works() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    let go = WaitingGo::new();
    let mut apply = go.apply(&tree);
    tree.rr_patch(&["revert"]).exits(0);
    tree.rr_patch(&["apply", "--controllers", "all"]).exits(0);
    let theirs = tree.snapshot();
    go.go_on();
    assert_eq!(apply.ends().code(), Some(1), "{}", apply.said());
    let said = apply.said();
    assert!(said.contains("but the checkout was changed meanwhile\n  another rr-patch has changed it"), "{said}");
    assert!(tree.snapshot() == theirs && theirs != before, "what others applied is theirs");
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn apply_verify_does_not_take_back_what_was_edited_meanwhile() {
    let tree = Tree::new("installer");
    tree.write("pkg/clusterapi/broken.go", BROKEN);
    let before = tree.snapshot();
    let go = WaitingGo::new();
    let mut apply = go.apply(&tree);
    let edited = format!("{}\n// mine\n", tree.text(PROCESS));
    tree.write(PROCESS, &edited);
    go.go_on();
    assert_eq!(apply.ends().code(), Some(1), "{}", apply.said());
    let said = apply.said();
    let parts = [
        "broken.go:3:18",
        "the changes were not taken back\n  changed meanwhile: ",
        PROCESS,
        "hint: `rr-patch revert` takes them back",
    ];
    for part in parts {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!(tree.text(PROCESS), edited);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.text(PROCESS).ends_with("\n// mine\n") && tree.snapshot().len() == before.len());
}

#[test]
fn apply_verify_that_fails_on_other_options_leaves_the_originals() {
    let tree = Tree::new("installer");
    tree.write("pkg/clusterapi/broken.go", BROKEN);
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    tree.rr_patch(&["apply", "--controllers", "all", "--verify"]).exits(1).says_exactly(str![[r#"
verifying: [..]gofmt -l pkg/clusterapi/internal/process/process.go pkg/clusterapi/system.go pkg/clusterapi/internal/process/rr_patch.go pkg/clusterapi/internal/process/rr_patch_unix.go
verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process
error: Go does not take the patched files: `CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process` says
...
    vet: pkg/clusterapi/broken.go:3:18: cannot use "text"[..]
  the changes were taken back
  the earlier patch was taken back before this one was begun
hint: if the same command says it of the unpatched checkout too, mend that first; else apply without --verify and look at `rr-patch diff`
"#]]);
    assert!(tree.snapshot() == before);
    assert!(!tree.path(STATE).exists());
}

#[test]
fn apply_verify_that_fails_on_a_tree_that_is_patched_already_says_the_truth_about_what_was_taken_back() {
    let tree = Tree::new("installer");
    tree.write("pkg/clusterapi/broken.go", BROKEN);
    let (before, patched) = (tree.snapshot(), {
        tree.rr_patch(&["apply"]).exits(0);
        tree.snapshot()
    });
    let run = tree.rr_patch(&["apply", "--verify"]).exits(1).says_exactly(str![[r#"
verifying: [..]gofmt -l pkg/clusterapi/internal/process/process.go pkg/clusterapi/system.go pkg/clusterapi/internal/process/rr_patch.go pkg/clusterapi/internal/process/rr_patch_unix.go
verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process
error: Go does not take the patched files: `CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process` says
...
    vet: pkg/clusterapi/broken.go:3:18: cannot use "text"[..]
  nothing was written; the checkout was patched before, and still is
hint: if the same command says it of the unpatched checkout too, mend that first; else apply without --verify and look at `rr-patch diff`
"#]]);
    let says_so = run.stderr.contains("the changes were taken back");
    assert!(tree.snapshot() == if says_so { before } else { patched }, "says so: {says_so}");
}

#[test]
fn apply_verify_asks_go_about_a_patched_file_that_was_edited_since() {
    let tree = Tree::patched("installer");
    tree.write(SYSTEM, format!("{}\nvar broken int = \"text\"\n", tree.text(SYSTEM)));
    tree.rr_patch(&["apply", "--verify"]).exits(1).says_exactly(str![[r#"
verifying: [..]gofmt -l pkg/clusterapi/internal/process/process.go pkg/clusterapi/system.go pkg/clusterapi/internal/process/rr_patch.go pkg/clusterapi/internal/process/rr_patch_unix.go
verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process
error: Go does not take the patched files: `CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process` says
...
    vet: pkg/clusterapi/system.go:335:18: cannot use "text"[..]
  nothing was written; the checkout was patched before, and still is
hint: if the same command says it of the unpatched checkout too, mend that first; else apply without --verify and look at `rr-patch diff`
"#]]);
    assert!(tree.text(SYSTEM).ends_with("\nvar broken int = \"text\"\n"), "the edit is kept");
}
