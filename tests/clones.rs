//! Checkouts of every kind that git makes: each is patched, in both modes, or refused in words.

use std::path::Path;

use crate::harness::{ADDED, JOURNAL, PROCESS, Snapshot, Tree, skip};
use snapbox::str;

/// How the changes are found.
const MODES: [&[&str]; 2] = [&["apply"], &["apply", "--mode", "patch"]];

/// Clones a tree into a folder beside it, by the protocol that a network would use.
fn clone(tree: &Tree, options: &[&str], name: &str) {
    let url = format!("file://{}", tree.root().display());
    tree.git(&[&["clone", "--quiet"], options, &[&url, &format!("../{name}")]].concat());
}

/// Asserts that the tool patches the checkout beside the tree in both modes, as it does any other, finds
/// the changes there, and takes them back without a trace that git sees.
#[track_caller]
fn is_patched_in_both_modes(tree: &Tree, name: &str) {
    let folder = format!("../{name}");
    let git = |arguments: &[&str]| tree.git(&[&["-C", &folder], arguments].concat());
    let expected = Tree::patched("p2").snapshot();
    let git_dir = git(&["rev-parse", "--absolute-git-dir"]);
    let before = git(&["status", "--porcelain", "--ignored"]);
    for arguments in MODES {
        tree.rr_patch_in(&folder, arguments).exits(0);
        for (path, (bytes, _)) in &expected {
            let there = tree.beside(name).join(path);
            let same = std::fs::read(&there).is_ok_and(|found| found == *bytes);
            assert!(same || !there.exists(), "{arguments:?}: {}", path.display());
        }
        assert!(tree.beside(name).join(ADDED).exists());
        assert!(Path::new(git_dir.trim()).join("rr-patch/checkout/journal").exists(), "{arguments:?}");
        tree.rr_patch_in(&folder, &["status"]).exits(0).prints(&["nothing was edited since\n"]);
        tree.rr_patch_in(&folder, arguments)
            .exits(0)
            .prints_exactly(str!["`[FOLDER]/[..]` is patched already; nothing to do"]);
        tree.rr_patch_in(&folder, &["revert"]).exits(0);
        assert_eq!(git(&["status", "--porcelain", "--ignored"]), before, "{arguments:?}");
        assert!(!Path::new(git_dir.trim()).join("rr-patch").exists(), "{arguments:?}");
    }
}

#[test]
fn apply_patches_a_shallow_clone() {
    let tree = Tree::new("p2");
    tree.commit("another");
    clone(&tree, &["--depth=1"], "shallow");
    assert_eq!(tree.git(&["-C", "../shallow", "rev-list", "--count", "HEAD"]), "1\n");
    is_patched_in_both_modes(&tree, "shallow");
}

#[test]
fn apply_patches_a_sparse_checkout() {
    let tree = Tree::new("p2");
    clone(&tree, &["--sparse"], "sparse");
    tree.git(&["-C", "../sparse", "sparse-checkout", "set", "pkg", "hack"]);
    assert!(!tree.beside("sparse/cluster-api").exists() && tree.beside("sparse/pkg").exists());
    is_patched_in_both_modes(&tree, "sparse");

    // Without the folder there is no installer to see.
    tree.git(&["-C", "../sparse", "sparse-checkout", "set", "hack"]);
    for arguments in MODES {
        tree.refuses(&[arguments, &["../sparse"]].concat()).says(&["is not an installer checkout\n"]);
    }
}

#[test]
fn apply_in_a_sparse_checkout_refuses_a_patch_of_a_file_that_is_not_checked_out() {
    let tree = Tree::new("p2");
    clone(&tree, &["--sparse"], "sparse");
    tree.git(&["-C", "../sparse", "sparse-checkout", "set", "pkg"]);
    let first = tree.text("hack/build.sh").lines().next().unwrap().to_owned();
    let patch = format!("--- a/hack/build.sh\n+++ b/hack/build.sh\n@@ -1 +1,2 @@\n {first}\n+# more\n");
    std::fs::write(tree.beside("the.patch"), patch).unwrap();
    let run = tree.refuses(&["apply", "../sparse", "--patch", "../the.patch"]);
    run.says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `hack/build.sh` does not exist, but line 1 of the patch changes it
nothing was written
"#]]);
    tree.git(&["-C", "../sparse", "sparse-checkout", "add", "hack"]);
    tree.rr_patch(&["apply", "../sparse", "--patch", "../the.patch"]).exits(0);
}

#[test]
fn apply_patches_a_partial_clone_without_fetching_anything() {
    let tree = Tree::new("p2");
    tree.git(&["config", "uploadpack.allowFilter", "true"]);
    // An older version of a file, which no checkout has asked for yet.
    let older = tree.git(&["rev-parse", &format!("HEAD:{PROCESS}")]);
    let patch = tree.prints(&["diff"]);
    tree.edit(PROCESS, "\tready := make(chan bool)\n", "\tvar more int\n\t_ = more\n\tready := make(chan bool)\n");
    tree.commit("newer");
    clone(&tree, &["--filter=blob:none"], "partial");
    let missing = || tree.git(&["-C", "../partial", "rev-list", "--objects", "--all", "--missing=print"]);
    assert!(missing().contains(&format!("?{older}")), "the older version is not there");
    let before = missing();
    let expected = tree.rr_patch(&["apply"]).exits(0);
    drop(expected);
    let (by_tree, folder) = (tree.snapshot(), "../partial");
    tree.rr_patch_in(folder, &["apply"]).exits(0);
    let same = |files: &Snapshot| {
        files.iter().all(|(path, (bytes, _))| std::fs::read(tree.beside("partial").join(path)).unwrap() == *bytes)
    };
    assert!(same(&by_tree));
    tree.rr_patch_in(folder, &["revert"]).exits(0);

    // What a merge would start from is named, and left to git to fetch.
    std::fs::write(tree.beside("the.patch"), patch).unwrap();
    let merge = ["apply", "--3way", "--patch", "../the.patch"];
    let run = tree.rr_patch_in(folder, &merge).refuses();
    let run = run.says(&[&format!("hint: `--3way`: this repository has no blob `{}`", older.trim())]);
    run.says_exactly(str![[r#"
error: `the.patch` does not fit these sources
  `pkg/clusterapi/internal/process/process.go`: `@@ -89,7 +92,8 @@` (line 22 of the patch): expected:
    | 	setSysProcAttr(ps.Cmd)
    | 
    | 	ready := make(chan bool)
    | 	timedOut := time.After(ps.StartTimeout)
    | 
    | 	pollerStopCh := make(stopChannel)
    | 	if ps.HealthCheck != nil {
    nearest: line 91, where 4 of them match; line 91 is `var more int`
hint: `--3way`: this repository has no blob `[..]`, which the patch of `pkg/clusterapi/internal/process/process.go` was made from
hint: rr-patch's own changes fit these sources: `rr-patch apply` without a patch makes them
nothing was written
"#]]);
    assert_eq!(missing(), before, "nothing is fetched");
    tree.git(&["-C", folder, "cat-file", "-e", older.trim()]);
    tree.rr_patch_in(folder, &merge).exits(0);
    assert!(same(&by_tree), "the merge gives what the structural changes give");
}

#[test]
fn apply_patches_a_linked_worktree_in_both_modes() {
    let tree = Tree::new("p2");
    tree.git(&["worktree", "add", "--quiet", "--detach", "../linked"]);
    is_patched_in_both_modes(&tree, "linked");
    tree.rr_patch_in("../linked", &["apply", "--mode", "patch"]).exits(0);
    assert!(!tree.path(JOURNAL).exists());
    tree.rr_patch(&["status"]).exits(0).prints(&["is not patched"]);
}

#[test]
fn apply_says_in_words_that_a_sha256_repository_is_not_read() {
    let tree = Tree::bare("p2");
    if tree.run("git", &["init", "--quiet", "--object-format=sha256"], &[]).code != 0 {
        skip(&["git-sha256"], "this git knows no SHA-256");
        return;
    }
    tree.commit("all");
    for arguments in MODES.into_iter().chain([&["diff"][..], &["status"], &["revert"], &["apply", "--dry-run"]]) {
        tree.refuses(arguments).says_exactly(str![[r#"
error: the git repository of `[FOLDER]/installer` cannot be read: unknown object format 'sha256'
hint: rr-patch's git library supports only SHA-1 repositories; rr-patch also works in a copy without `.git`
nothing was written
"#]]);
    }
    // As the hint says.
    std::fs::remove_dir_all(tree.path(".git")).unwrap();
    for arguments in MODES {
        tree.rr_patch(arguments).exits(0);
        assert!(tree.path(ADDED).exists());
    }
}

#[test]
fn apply_refuses_a_bare_repository_in_both_modes() {
    let tree = Tree::new("p2");
    clone(&tree, &["--bare"], "bare.git");
    for arguments in MODES {
        tree.refuses(&[arguments, &["../bare.git"]].concat()).says_exactly(str![[r#"
error: `[FOLDER]/bare.git` is a bare repository: it has no files to patch
hint: make a work tree of it: `git worktree add ../installer`
nothing was written
"#]]);
    }
    tree.git(&["-C", "../bare.git", "worktree", "add", "--quiet", "../installer-2"]);
    is_patched_in_both_modes(&tree, "installer-2");
}
