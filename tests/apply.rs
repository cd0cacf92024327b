//! `rr-patch apply`: where it finds the checkout, what it writes there, and what it says of it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::harness::{ADDED, ADDED_UNIX, JOURNAL, PROCESS, STATE, SYSTEM, Snapshot, Tree, copy};
use snapbox::str;

/// What the defaults make of the fixture.
pub fn plain() -> Snapshot {
    static PLAIN: OnceLock<Snapshot> = OnceLock::new();
    PLAIN.get_or_init(|| Tree::patched("installer").snapshot()).clone()
}

/// Files whose bytes differ, or that are in one of them only.
pub fn differing(a: &Snapshot, b: &Snapshot) -> Vec<String> {
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
