//! `rr-patch apply` where it was before: again, with other options, after edits, failures and crashes, and at once.

use std::fs::{self, File};
use std::path::Path;

use crate::apply::{differing, plain};
use crate::harness::{ADDED, ADDED_UNIX, JOURNAL, PROCESS, STATE, SYSTEM, Tree, copy};
use snapbox::str;

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
