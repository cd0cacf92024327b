//! `rr-patch apply`: where it finds the checkout, what a second call does, what its options change,
//! and that a failure of any kind takes everything back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::harness::{
    ADDED, ADDED_UNIX, JOURNAL, PROCESS, Run, STATE, SYSTEM, Snapshot, Tree, cache_with_go, copy, kill, write_program,
};
use crate::watched::{PATIENCE, Watched, processes_with};
use snapbox::str;

/// A type error that only Go sees.
const BROKEN: &str = "package clusterapi\n\nvar broken int = \"text\"\n";

/// What the defaults make of the fixture.
fn plain() -> Snapshot {
    static PLAIN: OnceLock<Snapshot> = OnceLock::new();
    PLAIN.get_or_init(|| Tree::patched("installer").snapshot()).clone()
}

/// Files whose bytes differ, or that are in one of them only.
fn differing(a: &Snapshot, b: &Snapshot) -> Vec<String> {
    let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
    names.filter(|name| a.get(*name) != b.get(*name)).map(|name| name.display().to_string()).collect()
}

#[test]
fn apply_without_a_path_patches_the_checkout_that_holds_the_current_folder() {
    for folder in [".", "pkg", "pkg/clusterapi/internal/process", "hack"] {
        let tree = Tree::new("installer");
        let run = tree.rr_patch_in(folder, &["apply"]).exits(0);
        run.prints_exactly(str![[r#"
patched `[FOLDER]/installer`, shape P1+S6:
  group-signal     SIGTERM goes to the process group, once
                     pkg/clusterapi/internal/process/process.go:187
                     pkg/clusterapi/internal/process/rr_patch_unix.go:29
  graceful-cancel  cancelling sends that SIGTERM, never SIGKILL
                     pkg/clusterapi/internal/process/process.go:88
                     pkg/clusterapi/system.go:82
                     pkg/clusterapi/system.go:174
  no-timeouts      no timer ends a process or the wait for one
                     pkg/clusterapi/internal/process/process.go:98
                     pkg/clusterapi/internal/process/process.go:99
                     pkg/clusterapi/internal/process/process.go:191
                     pkg/clusterapi/internal/process/process.go:192
                     pkg/clusterapi/system.go:64
                     pkg/clusterapi/system.go:188
                     pkg/clusterapi/system.go:196
  exit-log         every exit is logged once, with code or signal
                     pkg/clusterapi/internal/process/process.go:117
                     pkg/clusterapi/internal/process/process.go:181
                     pkg/clusterapi/internal/process/rr_patch.go:365
  rr-command       the chosen controllers run under the recorder
                     pkg/clusterapi/internal/process/process.go:34
                     pkg/clusterapi/internal/process/process.go:108
                     pkg/clusterapi/system.go:312
                     pkg/clusterapi/internal/process/rr_patch.go:168
  whole-trace      the trace keeps its own copy of the program
                     pkg/clusterapi/internal/process/rr_patch.go:136
  changes pkg/clusterapi/internal/process/process.go
  changes pkg/clusterapi/system.go
  adds    pkg/clusterapi/internal/process/rr_patch.go
  adds    pkg/clusterapi/internal/process/rr_patch_unix.go
next: `rr-patch build`; `rr-patch revert` takes it back
"#]]);
        assert!(tree.snapshot() == plain(), "from {folder}");
    }
}

#[test]
fn apply_takes_a_path_from_anywhere() {
    for (folder, path) in [("..", "installer"), ("..", "installer/pkg/clusterapi"), ("hack", "../pkg"), (".", SYSTEM)] {
        let tree = Tree::new("installer");
        tree.rr_patch_in(folder, &["apply", path]).exits(0);
        assert!(tree.snapshot() == plain(), "{path} from {folder}");
        tree.rr_patch_in("..", &["apply", tree.root().to_str().unwrap()])
            .exits(0)
            .prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
    }
}

#[test]
fn apply_keeps_its_state_in_the_git_folder_and_nothing_else_appears() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    assert_eq!(differing(&before, &tree.snapshot()), [PROCESS, SYSTEM, ADDED, ADDED_UNIX]);
    assert!(tree.path(JOURNAL).is_file());
    assert_eq!(tree.git(&["status", "--porcelain", "--", ".rr-patch"]), "");
}

#[test]
fn apply_patches_a_linked_worktree_and_leaves_the_main_one_alone() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.git(&["worktree", "add", "--quiet", "--detach", "../linked"]);
    tree.rr_patch_in("../linked", &["apply"]).exits(0);
    assert!(tree.snapshot() == before);
    assert!(!tree.path(STATE).exists());
    assert!(tree.path(".git/worktrees/linked/rr-patch/checkout/journal").is_file());
    assert!(
        fs::read_to_string(tree.beside("linked").join(SYSTEM)).unwrap().contains("process.AwaitAll(&c.supervisor)")
    );

    tree.rr_patch(&["status"])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is not patched: `rr-patch apply` does it"]);
    tree.rr_patch_in("../linked", &["status"]).exits(0).prints(&["patched: "]);
    tree.rr_patch_in("../linked", &["revert"]).exits(0);
    assert_eq!(tree.git(&["-C", "../linked", "status", "--porcelain"]), "");
    assert!(!tree.path(".git/worktrees/linked/rr-patch").exists());
}

#[test]
fn apply_patches_a_submodule_and_keeps_its_state_in_the_submodules_git_folder() {
    let tree = Tree::new("installer");
    fs::create_dir(tree.beside("super")).unwrap();
    tree.git(&["-C", "../super", "init", "--quiet"]);
    let add = ["-C", "../super", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    tree.git(&[&add[..], &[tree.root().to_str().unwrap(), "deps/installer"]].concat());
    tree.rr_patch_in("../super/deps/installer/pkg", &["apply"]).exits(0);
    assert!(tree.beside("super/.git/modules/deps/installer/rr-patch/checkout/journal").is_file());
    assert_eq!(tree.git(&["-C", "../super/deps/installer", "diff", "--name-only"]), format!("{PROCESS}\n{SYSTEM}\n"));
    tree.rr_patch_in("../super/deps/installer", &["revert"]).exits(0);
    assert_eq!(tree.git(&["-C", "../super/deps/installer", "status", "--porcelain"]), "");
}

#[test]
fn apply_patches_a_tree_without_git() {
    let tree = Tree::bare("installer");
    tree.rr_patch_in("pkg/clusterapi", &["apply"]).exits(0);
    let mut patched = tree.snapshot();
    patched.retain(|name, _| !name.starts_with(".rr-patch"));
    assert!(patched == plain());
    tree.rr_patch(&["apply"]).exits(0).prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
}

#[test]
fn apply_root_patches_an_installer_vendored_below_the_top() {
    let below = "third_party/installer";
    for folder in [".", "third_party", "third_party/installer/pkg"] {
        let tree = Tree::vendored(below);
        let run = tree.rr_patch_in(folder, &["apply", "--root", below]).exits(0);
        run.prints(&[&format!("patched `{}/{below}`", tree.root().display())]);
        let expected: Snapshot =
            plain().into_iter().map(|(name, content)| (Path::new(below).join(name), content)).collect();
        assert!(tree.snapshot() == expected, "from {folder}");
        tree.rr_patch(&["revert", "--root", below]).exits(0);
        assert_eq!(tree.git(&["status", "--porcelain"]), "");
    }
}

#[test]
fn apply_inside_a_vendored_installer_finds_it_without_root() {
    let tree = Tree::vendored("third_party/installer");
    tree.rr_patch_in("third_party/installer/pkg", &["apply"]).exits(0);
    tree.rr_patch(&["status", "--root", "third_party/installer"]).exits(0).prints(&["patched: "]);
    tree.rr_patch(&["revert", "third_party/installer"]).exits(0);
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
}

#[test]
fn apply_root_keeps_two_vendored_installers_apart() {
    let tree = Tree::vendored("third_party/a");
    copy(&tree.path("third_party/a"), &tree.path("third_party/b%2Fc"));
    tree.commit("another");
    for root in ["third_party/a", "third_party/b%2Fc"] {
        tree.rr_patch(&["apply", "--root", root]).exits(0);
    }
    tree.rr_patch(&["revert", "--root", "third_party/a"]).exits(0);
    tree.rr_patch(&["status", "--root", "third_party/a"])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/outer/third_party/a` is not patched: `rr-patch apply` does it"]);
    tree.rr_patch(&["status", "--root", "third_party/b%2Fc"]).exits(0).prints(&["patched: "]);
    tree.rr_patch(&["revert", "--root", "third_party/b%2Fc"]).exits(0);
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
    assert!(!tree.path(STATE).exists());
}

#[test]
fn apply_follows_a_folder_link_that_stays_inside_the_checkout() {
    let tree = Tree::new("installer");
    fs::rename(tree.path("pkg"), tree.path("sources")).unwrap();
    tree.link("pkg", "sources");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    assert!(tree.text(&SYSTEM.replacen("pkg", "sources", 1)).contains("process.AwaitAll(&c.supervisor)"));
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn apply_dry_run_writes_nothing() {
    for tree in [Tree::new("p2"), Tree::bare("p2")] {
        let before = (tree.snapshot(), tree.state());
        tree.rr_patch(&["apply", "--dry-run"]).exits(0).prints_exactly(str![[r#"
would patch `[FOLDER]/installer`, shape P2+S6:
  group-signal     SIGTERM goes to the process group, once
                     pkg/clusterapi/internal/process/process_unix.go:20
                     pkg/clusterapi/internal/process/rr_patch_unix.go:29
  graceful-cancel  cancelling sends that SIGTERM, never SIGKILL
                     pkg/clusterapi/internal/process/process.go:87
                     pkg/clusterapi/system.go:82
                     pkg/clusterapi/system.go:174
  no-timeouts      no timer ends a process or the wait for one
                     pkg/clusterapi/internal/process/process.go:95
                     pkg/clusterapi/internal/process/process.go:96
                     pkg/clusterapi/internal/process/process.go:189
                     pkg/clusterapi/internal/process/process.go:190
                     pkg/clusterapi/system.go:64
                     pkg/clusterapi/system.go:188
                     pkg/clusterapi/system.go:196
  exit-log         every exit is logged once, with code or signal
                     pkg/clusterapi/internal/process/process.go:115
                     pkg/clusterapi/internal/process/process.go:179
                     pkg/clusterapi/internal/process/rr_patch.go:365
  rr-command       the chosen controllers run under the recorder
                     pkg/clusterapi/internal/process/process.go:33
                     pkg/clusterapi/internal/process/process.go:106
                     pkg/clusterapi/system.go:312
                     pkg/clusterapi/internal/process/rr_patch.go:168
  whole-trace      the trace keeps its own copy of the program
                     pkg/clusterapi/internal/process/rr_patch.go:136
  changes pkg/clusterapi/internal/process/process.go
  changes pkg/clusterapi/system.go
  changes pkg/clusterapi/internal/process/process_unix.go
  adds    pkg/clusterapi/internal/process/rr_patch.go
  adds    pkg/clusterapi/internal/process/rr_patch_unix.go
  adds    pkg/clusterapi/internal/process/rr_patch_windows.go
nothing was written (--dry-run); `rr-patch diff` shows the lines
"#]]);
        let report = tree.rr_patch(&["apply", "--dry-run", "--format", "json"]).exits(0).json();
        assert_eq!(report["outcome"], "would patch");
        assert!(before == (tree.snapshot(), tree.state()));
        assert!(!tree.path(STATE).exists() && !tree.path(".rr-patch").exists());
    }
}

#[test]
fn apply_dry_run_with_other_options_on_a_patched_tree_writes_nothing() {
    let tree = Tree::patched("installer");
    let before = (tree.snapshot(), tree.state(), tree.times());
    tree.rr_patch(&["apply", "--dry-run", "--controllers", "all"]).exits(0).prints(&["would patch `"]);
    assert!(before == (tree.snapshot(), tree.state(), tree.times()));
}

#[test]
fn apply_again_with_the_same_options_changes_nothing() {
    let options = ["apply", "--controllers", "aws,azure", "--rr-arg=--chaos", "--bind-to-cpu", "none"];
    let tree = Tree::new("installer");
    tree.rr_patch(&options).exits(0);
    let before = (tree.snapshot(), tree.state(), tree.times());
    let run = tree.rr_patch(&options).exits(0);
    assert_eq!(run.stdout, format!("`{}` is patched already; nothing to do\n", tree.root().display()));
    let report = tree.rr_patch(&[&options[..], &["--format", "json"]].concat()).exits(0).json();
    assert_eq!(report["outcome"], "unchanged");
    assert!(before == (tree.snapshot(), tree.state(), tree.times()));
}

#[test]
fn apply_again_with_other_options_starts_from_the_originals() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply", "--controllers", "all", "--signal", "rr"]).exits(0);
    tree.rr_patch(&["apply", "--bind-to-cpu", "3"]).exits(0).prints(&["patched again `"]);
    tree.rr_patch(&["apply"]).exits(0).prints(&["patched again `"]);
    assert!(tree.snapshot() == plain(), "as if applied once");
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

/// The line of `rr_patch.go` that holds what the options make of the recorder's command line.
fn command_line(options: &[&str]) -> String {
    let tree = Tree::new("installer");
    tree.rr_patch(&[&["apply"], options].concat()).exits(0);
    assert_eq!(tree.unformatted(), "", "{options:?}");
    let added = tree.text(ADDED);
    added.lines().find_map(|line| line.trim().strip_prefix("recordCommand = ")).unwrap().to_owned()
}

#[test]
fn apply_options_make_the_recorders_command_line() {
    for (options, expected) in [
        (&[][..], r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#),
        (&["--rr", "rr-5.8"], r#"[]string{"rr-5.8", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#),
        (
            &["--rr", "/opt/my rr/bin/rr"],
            r#"[]string{"/opt/my rr/bin/rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#,
        ),
        (&["--bind-to-cpu", "17"], r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=17"}"#),
        (&["--bind-to-cpu", "none"], r#"[]string{"rr", "record", "--wait", "--disable-avx-512"}"#),
        (&["--avx512", "disable"], r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#),
        (&["--avx512", "keep"], r#"[]string{"rr", "record", "--wait", "--bind-to-cpu=0"}"#),
        (
            &["--rr-arg=--chaos", "--rr-arg", "-n", "--rr-arg", "--num-cores=1", "--bind-to-cpu=none"],
            r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--chaos", "-n", "--num-cores=1"}"#,
        ),
    ] {
        assert_eq!(command_line(options), expected, "{options:?}");
    }
}

#[test]
fn apply_rr_arg_is_handed_on_as_it_is() {
    let mut changed = Vec::new();
    for (argument, literal) in [
        (r#"--a="b" \c"#, r#""--a=\"b\" \\c""#),
        ("é\u{1f3ac}`%s`", "\"é\u{1f3ac}`%s`\""),
        ("two\nlines\tand a tab", r#""two\nlines\tand a tab""#),
        ("$HOME", r#""$HOME""#),
        ("$avx512_auto", r#""$avx512_auto""#),
        ("$signal_recorder_only $record_controllers", r#""$signal_recorder_only $record_controllers""#),
        ("", r#""""#),
    ] {
        let line = command_line(&[&format!("--rr-arg={argument}")]);
        if !line.ends_with(&format!(", {literal}}}")) {
            changed.push(format!("{argument:?} became {line}"));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

#[test]
fn apply_avx512_says_in_the_added_file_whether_the_cpu_is_asked() {
    for (given, expected) in [("auto", true), ("disable", false), ("keep", false)] {
        let tree = Tree::new("installer");
        tree.rr_patch(&["apply", "--avx512", given]).exits(0);
        let line = format!("\tavx512Auto = {expected}\n");
        assert!(tree.text(ADDED).contains(&line), "--avx512 {given}");
    }
}

#[test]
fn apply_signal_says_in_the_added_file_who_is_signalled() {
    for (given, expected) in [("group", false), ("rr", true)] {
        let tree = Tree::new("installer");
        tree.rr_patch(&["apply", "--signal", given]).exits(0);
        let line = format!("\nconst signalRecorderOnly = {expected}\n");
        assert!(tree.text(ADDED_UNIX).contains(&line), "--signal {given}");
        assert_eq!(tree.unformatted(), "");
    }
}

#[test]
fn apply_controllers_are_in_the_added_file() {
    for (given, expected) in [
        ("providers", r#"{"providers"}"#),
        ("all", r#"{"all"}"#),
        ("aws", r#"{"aws"}"#),
        ("aws,azureaso, cluster-api", r#"{"aws", "azureaso", "cluster-api"}"#),
        ("cluster-api-provider-azure", r#"{"cluster-api-provider-azure"}"#),
        ("aws infrastructure provider", r#"{"aws infrastructure provider"}"#),
        ("Cluster API", r#"{"Cluster API"}"#),
    ] {
        let tree = Tree::new("installer");
        tree.rr_patch(&["apply", "--controllers", given]).exits(0);
        let line = format!("\trecordControllers = []string{expected}\n");
        assert!(tree.text(ADDED).contains(&line), "--controllers {given}");
    }
}

#[test]
fn apply_controllers_refuses_a_name_that_the_installer_does_not_have() {
    let tree = Tree::new("installer");
    for (given, says) in [
        (
            "awss",
            str![[r#"
error: this installer has no controller `awss`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
hint: did you mean `aws`?
hint: name some of those, or `providers`, or `all`
nothing was written
"#]],
        ),
        (
            "aws,gcp",
            str![[r#"
error: this installer has no controller `gcp`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
hint: name some of those, or `providers`, or `all`
nothing was written
"#]],
        ),
        (
            "cluster-api-provider-gcp",
            str![[r#"
error: this installer has no controller `cluster-api-provider-gcp`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
hint: name some of those, or `providers`, or `all`
nothing was written
"#]],
        ),
    ] {
        tree.refuses(&["apply", "--controllers", given]).says_exactly(says);
    }
}

#[test]
fn apply_options_that_make_no_sense_are_usage_errors() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    for (options, says) in [
        (
            &["--rr", "bin/rr"][..],
            str![[r#"
error: invalid value 'bin/rr' for '--rr <PATH>': expected an absolute path, or a name to look up in PATH: the installer may run anywhere

For more information, try '--help'.
"#]],
        ),
        (
            &["--rr", "./rr"],
            str![[r#"
error: invalid value './rr' for '--rr <PATH>': expected an absolute path, or a name to look up in PATH: the installer may run anywhere

For more information, try '--help'.
"#]],
        ),
        (
            &["--rr", ""],
            str![[r#"
error: invalid value '' for '--rr <PATH>': expected a program

For more information, try '--help'.
"#]],
        ),
        (
            &["--bind-to-cpu", "first"],
            str![[r#"
error: invalid value 'first' for '--bind-to-cpu <N>': expected a CPU's number, or `none`

For more information, try '--help'.
"#]],
        ),
        (
            &["--bind-to-cpu=-1"],
            str![[r#"
error: invalid value '-1' for '--bind-to-cpu <N>': expected a CPU's number, or `none`

For more information, try '--help'.
"#]],
        ),
        (
            &["--avx512", "maybe"],
            str![[r#"
error: invalid value 'maybe' for '--avx512 <AVX512>'
  [possible values: auto, disable, keep]

For more information, try '--help'.
"#]],
        ),
        (
            &["--signal", "kill"],
            str![[r#"
error: invalid value 'kill' for '--signal <SIGNAL>'
  [possible values: group, rr]

For more information, try '--help'.
"#]],
        ),
        (
            &["--controllers", ""],
            str![[r#"
error: invalid value '' for '--controllers <WHICH>': expected `providers`, `all`, or the name of a controller

For more information, try '--help'.
"#]],
        ),
        (
            &["--controllers", "aws,,azure"],
            str![[r#"
error: invalid value '' for '--controllers <WHICH>': expected `providers`, `all`, or the name of a controller

For more information, try '--help'.
"#]],
        ),
        (
            &["--format", "xml"],
            str![[r#"
error: invalid value 'xml' for '--format <FORMAT>'
  [possible values: text, json]

For more information, try '--help'.
"#]],
        ),
        (
            &["--no-such-option"],
            str![[r#"
error: unexpected argument '--no-such-option' found

  tip: to pass '--no-such-option' as a value, use '-- --no-such-option'

Usage: rr-patch apply [OPTIONS] [REPO]

For more information, try '--help'.
"#]],
        ),
        (
            &["one", "two"],
            str![[r#"
error: unexpected argument 'two' found

Usage: rr-patch apply [OPTIONS] [REPO]

For more information, try '--help'.
"#]],
        ),
    ] {
        let run = tree.rr_patch(&[&["apply"], options].concat()).exits(2).says_exactly(says);
        assert_eq!(run.stdout, "", "{options:?}");
    }
    assert!(tree.snapshot() == before);
    assert!(!tree.path(STATE).exists());
}

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

/// They are typed where this one was, whatever folder that is.
#[test]
fn the_next_steps_that_apply_prints_run_as_printed() {
    let tree = Tree::vendored("third_party/it's here");
    let before = tree.snapshot();
    let tool = Path::new(env!("CARGO_BIN_EXE_rr-patch")).parent().unwrap();
    let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap());
    let above = [tree.root().to_str().unwrap(), "--root", "third_party/it's here"];
    for place in [&["third_party/it's here"][..], &above, &["--root", "third_party/it's here"]] {
        let run = tree.rr_patch(&[&["apply"], place].concat()).exits(0);
        let next = run.stdout.lines().find_map(|line| line.strip_prefix("next: `")).unwrap();
        let (build, rest) = next.split_once("`; `").unwrap();
        let revert = rest.strip_suffix("` takes it back").unwrap();
        let build = tree.run("sh", &["-c", &format!("{build} --dry-run --link static")], &[("PATH", &path)]);
        build.exits(0).prints_exactly(str![[r#"
would build cluster-api, cluster-api-provider-aws, cluster-api-provider-azure, cluster-api-provider-azureaso ([..]), and `[FOLDER]/outer/third_party/it's here/bin/openshift-install` with go1.[..]
nothing was removed or built (--dry-run)
"#]]);
        tree.run("sh", &["-c", revert], &[("PATH", &path)]).exits(0);
        assert!(tree.snapshot() == before, "{place:?}");
    }
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

#[test]
fn apply_after_git_stash_patches_again() {
    for stash in [&["stash", "--quiet"][..], &["stash", "--quiet", "--include-untracked"]] {
        let tree = Tree::new("installer");
        let before = tree.snapshot();
        tree.rr_patch(&["apply"]).exits(0);
        tree.git(stash);
        tree.rr_patch(&["apply"]).exits(0).prints(&["patched again"]);
        assert!(tree.snapshot() == plain(), "{stash:?}");
        tree.rr_patch(&["revert"]).exits(0);
        assert!(tree.snapshot() == before, "{stash:?}");
    }
}

#[test]
fn apply_after_git_checkout_of_one_file_patches_it_again() {
    for gone in [PROCESS, SYSTEM, ADDED, ADDED_UNIX] {
        let tree = Tree::new("installer");
        let before = tree.snapshot();
        tree.rr_patch(&["apply"]).exits(0);
        match gone {
            PROCESS | SYSTEM => drop(tree.git(&["checkout", "--quiet", "--", gone])),
            added => tree.remove(added),
        }
        tree.rr_patch(&["apply"]).exits(0).prints(&["patched again"]);
        assert!(tree.snapshot() == plain(), "{gone}");
        tree.rr_patch(&["revert"]).exits(0);
        assert!(tree.snapshot() == before, "{gone}");
    }
}

#[test]
fn apply_on_another_branch_takes_its_sources_as_the_originals() {
    let tree = Tree::new("installer");
    tree.git(&["checkout", "--quiet", "-b", "older"]);
    copy(&crate::harness::fixtures().join("shapes/s1"), tree.root());
    tree.commit("older sources");
    let older = tree.snapshot();
    tree.git(&["checkout", "--quiet", "main"]);

    tree.rr_patch(&["apply"]).exits(0);
    tree.git(&["checkout", "--quiet", "--force", "older"]);
    let report = tree.rr_patch(&["apply", "--format", "json"]).exits(0).json();
    assert_eq!(report["shape"], "P1+S1");
    assert_eq!(report["base"], tree.git(&["rev-parse", "HEAD"]).trim());
    assert!(tree.snapshot() == Tree::patched("s1").snapshot());
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == older);
}

#[test]
fn apply_on_another_branch_refuses_sources_that_it_does_not_understand() {
    for (old, new, says) in [
        (
            ") runController(",
            ") startController(",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:1`
    looked for: a parameter `CT *controller` and `PR := &process.State{…}` in `System.runController`, once
    found: no function `System.runController`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            "lcp := &localControlPlane{}\n",
            "lcp := = &localControlPlane{}\n",
            str![[r#"
error: `pkg/clusterapi/system.go:89:9` is not valid Go
  found: `lcp := = &localControlPlane{}`
hint: `gofmt -l pkg/clusterapi/system.go` says more; mend the file, or get it back with `git checkout -- pkg/clusterapi/system.go`
nothing was written
"#]],
        ),
    ] {
        let tree = Tree::new("installer");
        tree.git(&["checkout", "--quiet", "-b", "newer"]);
        tree.edit(SYSTEM, old, new);
        tree.commit("newer sources");
        tree.git(&["checkout", "--quiet", "main"]);
        tree.rr_patch(&["apply"]).exits(0);
        tree.git(&["checkout", "--quiet", "--force", "newer"]);
        tree.refuses(&["apply"]).says_exactly(says);
    }
}

#[test]
fn apply_with_the_same_options_keeps_an_edit_elsewhere_in_a_patched_file() {
    for (file, old, new) in [
        (SYSTEM, "lcp := &localControlPlane{}", "lcp := &localControlPlane{} // local"),
        (PROCESS, "ready := make(chan bool)", "ready := make(chan bool) // local"),
        (ADDED, "// What `rr-patch apply` was told.", "// local"),
    ] {
        let tree = Tree::patched("installer");
        tree.edit(file, old, new);
        let before = (tree.snapshot(), tree.state(), tree.times());
        let run = tree.rr_patch(&["apply"]).exits(0);
        run.prints_exactly(format!(
            "`[FOLDER]/installer` is patched already; nothing to do\nedited since, and left as it is: {file}"
        ));
        assert!(before == (tree.snapshot(), tree.state(), tree.times()), "{file}");
    }
}

#[test]
fn apply_with_the_same_options_keeps_an_edit_and_patches_what_has_original_bytes_again() {
    let tree = Tree::patched("installer");
    tree.edit(PROCESS, "ready := make(chan bool)", "ready := make(chan bool) // local");
    let edited = tree.read(PROCESS);
    tree.git(&["checkout", "--quiet", "--", SYSTEM]);
    tree.remove(ADDED);
    tree.rr_patch(&["apply", "--dry-run"]).exits(0).prints_exactly(str![[r#"
`[FOLDER]/installer` would be patched where it has original bytes again
edited since, and left as it is: pkg/clusterapi/internal/process/process.go
"#]]);
    tree.rr_patch(&["apply"]).exits(0).prints_exactly(str![[r#"
`[FOLDER]/installer` is patched where it had original bytes again
edited since, and left as it is: pkg/clusterapi/internal/process/process.go
"#]]);
    let mut expected = plain();
    expected.get_mut(Path::new(PROCESS)).unwrap().0.clone_from(&edited);
    assert_eq!(differing(&expected, &tree.snapshot()), [""; 0]);
}

#[test]
fn apply_with_other_options_refuses_a_patched_file_that_was_edited_since() {
    for (file, old, new) in [
        (SYSTEM, "lcp := &localControlPlane{}", "lcp := &localControlPlane{} // local"),
        (ADDED, "// What `rr-patch apply` was told.", "// local"),
    ] {
        let tree = Tree::patched("installer");
        tree.edit(file, old, new);
        tree.refuses(&["apply", "--controllers", "all"]).says_exactly(format!(
            "error: patched files were edited since, so they cannot be patched in another way\n  \
             edited: {file}\n\
             hint: `rr-patch revert` merges the edits into the originals; then apply again\n\
             nothing was written"
        ));
    }
}

#[test]
fn apply_after_a_revert_that_kept_an_edit_has_both() {
    let tree = Tree::patched("installer");
    tree.edit(SYSTEM, "lcp := &localControlPlane{}", "lcp := &localControlPlane{} // local");
    tree.rr_patch(&["revert"]).exits(0);
    tree.rr_patch(&["apply", "--controllers", "all"]).exits(0);
    let system = tree.text(SYSTEM);
    assert!(system.contains("{} // local") && system.contains("process.AwaitAll(&c.supervisor)"));
}

#[test]
fn apply_refuses_a_patched_tree_that_has_lost_a_file_since() {
    let tree = Tree::patched("installer");
    tree.remove(SYSTEM);
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` is missing
  expected: the sources of the Cluster API supervisor, which the installer has had since 2023-11
hint: if it was deleted: `git checkout -- pkg/clusterapi/system.go`
nothing was written
"#]]);
}

#[test]
fn apply_takes_everything_back_when_a_file_cannot_be_replaced() {
    for (tree, busy) in
        [(Tree::new("installer"), SYSTEM), (Tree::bare("installer"), SYSTEM), (Tree::new("p2"), PROCESS)]
    {
        let before = tree.snapshot();
        let Some(run) = tree.rr_patch_while_busy(busy, &["apply"]) else { return };
        run.exits(1).says_exactly(format!(
            "error: cannot write `[FOLDER]/installer/{busy}`: Device or resource busy (os error 16)\n  \
             all changes were rolled back"
        ));
        assert!(tree.snapshot() == before);
        assert!(!tree.path(STATE).exists() && !tree.path(".rr-patch").exists());
        tree.rr_patch(&["apply"]).exits(0).prints(&["patched `"]);
    }
}

#[test]
fn apply_with_other_options_that_cannot_replace_a_file_leaves_a_tree_that_revert_restores() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    let Some(run) = tree.rr_patch_while_busy(SYSTEM, &["apply", "--controllers", "all"]) else { return };
    run.exits(1).says_exactly(str![[r#"
error: cannot write `[FOLDER]/installer/pkg/clusterapi/system.go`: Device or resource busy (os error 16)
  all changes were rolled back
"#]]);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn apply_removes_what_a_crash_left_of_its_own_temporary_files() {
    let tree = Tree::new("installer");
    tree.write("pkg/clusterapi/.rr-patch-Ab12Cd", "half a file");
    tree.write("pkg/clusterapi/internal/process/.rr-patch-Ef34Gh", "half a file");
    tree.rr_patch(&["apply"]).exits(0);
    assert_eq!(differing(&plain(), &tree.snapshot()), [""; 0]);
}

#[test]
fn apply_completes_what_a_crash_left_half_done() {
    // The journal was written, and one file: the moment at which a crash hurts most.
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    tree.git(&["checkout", "--quiet", "--", SYSTEM]);
    tree.remove(ADDED);
    tree.remove(ADDED_UNIX);
    let half = tree.snapshot();
    tree.rr_patch(&["status"]).exits(0).prints(&["NOT in place"]);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);

    let tree = Tree::patched("installer");
    tree.git(&["checkout", "--quiet", "--", SYSTEM]);
    tree.remove(ADDED);
    tree.remove(ADDED_UNIX);
    assert!(tree.snapshot() == half);
    tree.rr_patch(&["apply", "--controllers", "all"]).exits(0);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn apply_works_during_a_bisection() {
    let tree = Tree::new("installer");
    tree.commit("another");
    tree.commit("and another");
    tree.git(&["bisect", "start", "HEAD", "HEAD~2"]);
    tree.rr_patch(&["apply"]).exits(0);
    assert!(tree.snapshot() == plain());
}

#[test]
fn apply_and_revert_refuse_while_another_rr_patch_holds_the_lock() {
    for tree in [Tree::new("installer"), Tree::patched("installer")] {
        let folder = tree.path(STATE).join("checkout");
        fs::create_dir_all(&folder).unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        let patched = tree.path(JOURNAL).exists();
        let says = "error: another rr-patch is changing `[FOLDER]/installer`\n  \
                    found: a lock on `[FOLDER]/installer/.git/rr-patch/checkout/lock`\n\
                    hint: wait for it to end; the lock is released when its process ends\n\
                    nothing was written";
        tree.refuses(&["apply"]).says_exactly(says);
        if patched {
            tree.refuses(&["revert"]).says_exactly(says);
        }
        // Whoever only looks need not wait.
        for look in ["status", "diff"] {
            tree.rr_patch(&[look]).exits(0);
        }
        tree.rr_patch(&["apply", "--dry-run"]).exits(0);

        // Closing the file would leave the lock to whatever child another test has forked and not yet executed.
        lock.unlock().unwrap();
        tree.rr_patch(&["apply"]).exits(0);
        tree.rr_patch(&["revert"]).exits(0);
        assert!(!tree.path(STATE).exists());
    }
}

#[test]
fn apply_ten_at_once_leave_one_whole_patch() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    let run = |n: usize| tree.tool().args(["apply", "--bind-to-cpu", &n.to_string()]).output().unwrap().status;
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..10).map(|n| scope.spawn(move || run(n))).collect();
        let codes: Vec<_> = calls.into_iter().map(|call| call.join().unwrap().code().unwrap()).collect();
        assert!(codes.contains(&0), "{codes:?}");
        assert!(codes.iter().all(|code| [0, 3].contains(code)), "{codes:?}");
    });
    let report = tree.rr_patch(&["status", "--format", "json"]).exits(0).json();
    assert_eq!(report["patched"], true);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn format_json_gives_one_document_with_a_schema_for_every_command() {
    let tree = Tree::new("installer");
    for (arguments, schema) in [
        (&["status"][..], "rr-patch/status/1"),
        (&["diff"], "rr-patch/diff/1"),
        (&["revert"], "rr-patch/revert/1"),
        (&["apply", "--dry-run"], "rr-patch/apply/1"),
        (&["apply"], "rr-patch/apply/1"),
        (&["apply"], "rr-patch/apply/1"),
        (&["diff"], "rr-patch/diff/1"),
        (&["status"], "rr-patch/status/1"),
        (&["revert"], "rr-patch/revert/1"),
    ] {
        let before = tree.rr_patch(&[&["--format", "json"], arguments].concat()).exits(0);
        assert_eq!(before.json()["schema"], schema, "{arguments:?}");
        assert_eq!(before.stderr, "", "{arguments:?}");
        assert!(before.stdout.ends_with("}\n"), "{arguments:?}");
    }
}

#[test]
fn format_json_of_apply_says_what_the_text_says() {
    let tree = Tree::new("installer");
    let report = tree.rr_patch(&["apply", "--controllers", "all", "--format", "json"]).exits(0).json();
    assert_eq!(report["root"], tree.root().to_str().unwrap());
    assert_eq!(report["base"], tree.git(&["rev-parse", "HEAD"]).trim());
    assert_eq!(report["tool"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["options"]["controllers"], serde_json::json!(["all"]));
    let file = |path: &str, added: bool| serde_json::json!({"path": path, "added": added, "removed": false});
    let files = [file(PROCESS, false), file(SYSTEM, false), file(ADDED, true), file(ADDED_UNIX, true)];
    assert_eq!(report["files"], serde_json::json!(files));
}
