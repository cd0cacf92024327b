//! `apply --commit`: what is committed, by whom, where HEAD is then, and how revert takes it back.

use std::fs;
use std::thread;

use crate::harness::{ADDED, PROCESS, Run, SYSTEM, Snapshot, Tree, command};
use snapbox::str;

fn head(tree: &Tree) -> String {
    tree.git(&["rev-parse", "HEAD"]).trim().to_owned()
}

fn branch(tree: &Tree) -> String {
    tree.git(&["branch", "--show-current"]).trim().to_owned()
}

fn status(tree: &Tree) -> String {
    tree.git(&["status", "--porcelain"])
}

/// All references but HEAD, and where they point.
fn references(tree: &Tree) -> String {
    tree.git(&["for-each-ref"])
}

#[test]
fn apply_commits_the_changes_alone_so_that_builds_are_not_dirty() {
    let tree = Tree::new("installer");
    let base = head(&tree);
    tree.rr_patch(&["apply", "--commit", "--controllers", "all"]).exits(0).prints(&["\ncommitted as "]);
    assert_eq!(tree.git(&["rev-parse", "HEAD^"]).trim(), base);
    assert_eq!(branch(&tree), "main");
    assert_eq!(status(&tree), "");
    assert!(!tree.git(&["describe", "--always", "--dirty"]).contains("dirty"));
    assert_eq!(
        tree.git(&["show", "--format=", "--name-status"]),
        format!("M\t{PROCESS}\nA\t{ADDED}\nA\t{}\nM\t{SYSTEM}\n", crate::harness::ADDED_UNIX)
    );
    assert_eq!(tree.git(&["log", "-1", "--format=%an <%ae>"]), "a <a@example.com>\n");
    let message = tree.git(&["log", "-1", "--format=%B"]);
    let expected = format!(
        "Run Cluster API controllers under rr record\n\nMade by rr-patch {}, shape P1+S6.\n\
         Options: --controllers all\nBase: {base}\n\n`rr-patch revert` takes it back.\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(message.trim_end(), expected.trim_end());
    tree.rr_patch(&["status"]).exits(0).prints(&[&format!("commit:  {}\n", &head(&tree)[..12])]);
    tree.git(&["fsck", "--strict"]);
}

#[test]
fn apply_leaves_what_else_was_staged_or_edited_out_of_its_commit() {
    let tree = Tree::new("installer");
    tree.write("notes.txt", "mine\n");
    tree.git(&["add", "notes.txt"]);
    tree.edit("hack/build.sh", "set -ex\n", "set -eux\n");
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    assert_eq!(status(&tree), " M hack/build.sh\nA  notes.txt\n");
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!(status(&tree), " M hack/build.sh\nA  notes.txt\n");
}

#[test]
fn revert_takes_the_commit_and_its_branch_back() {
    for (arguments, says) in [
        (
            &["apply", "--commit"][..],
            str![[r#"
reverted `[FOLDER]/installer`: 6 files
  restored pkg/clusterapi/internal/process/process.go
  restored pkg/clusterapi/system.go
  restored pkg/clusterapi/internal/process/process_unix.go
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
  removed  pkg/clusterapi/internal/process/rr_patch_windows.go
commit [..] is gone
"#]],
        ),
        (
            &["apply", "--commit", "--branch", "debug/rr"],
            str![[r#"
reverted `[FOLDER]/installer`: 6 files
  restored pkg/clusterapi/internal/process/process.go
  restored pkg/clusterapi/system.go
  restored pkg/clusterapi/internal/process/process_unix.go
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
  removed  pkg/clusterapi/internal/process/rr_patch_windows.go
commit [..] is gone, and branch `debug/rr` with it
"#]],
        ),
    ] {
        let tree = Tree::new("p2");
        let before = (tree.snapshot(), references(&tree), head(&tree));
        tree.rr_patch(arguments).exits(0);
        assert_eq!(branch(&tree), arguments.get(3).copied().unwrap_or("main"));
        assert!(tree.snapshot() != before.0);
        tree.rr_patch(&["revert"]).exits(0).prints_exactly(says);
        assert!(tree.snapshot() == before.0, "a file is not as it was");
        assert_eq!((references(&tree), head(&tree), branch(&tree)), (before.1, before.2, "main".into()));
        assert_eq!(status(&tree), "");
    }
}

#[test]
fn revert_takes_the_commit_back_where_nothing_is_on_a_branch() {
    let tree = Tree::new("installer");
    tree.git(&["checkout", "--quiet", "--detach"]);
    let base = head(&tree);
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    assert_eq!((tree.git(&["rev-parse", "HEAD^"]).trim(), branch(&tree).as_str()), (base.as_str(), ""));
    assert_eq!(tree.git(&["rev-parse", "main"]).trim(), base);
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!((head(&tree), branch(&tree), status(&tree)), (base, String::new(), String::new()));
}

#[test]
fn revert_keeps_edits_made_on_top_of_the_commit() {
    let tree = Tree::new("installer");
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    tree.write(SYSTEM, format!("{}\n// mine\n", tree.text(SYSTEM)));
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!(status(&tree), format!(" M {SYSTEM}\n"));
    assert!(tree.git(&["diff"]).contains("\n+// mine\n"));
    assert_eq!(tree.git(&["diff", "--numstat"]), format!("2\t0\t{SYSTEM}\n"));
}

#[test]
fn revert_leaves_a_commit_that_has_others_on_top() {
    let tree = Tree::new("installer");
    let original = tree.text(PROCESS);
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    let made = &head(&tree)[..12];
    tree.write("more.txt", "more\n");
    tree.commit("more");
    let top = head(&tree);
    let run = tree.rr_patch(&["revert"]).exits(0).prints(&[&format!("commit {made} has others on top and stays")]);
    run.prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 4 files
  restored pkg/clusterapi/internal/process/process.go
  restored pkg/clusterapi/system.go
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
commit [..] has others on top and stays: commit the files that came back, or `git checkout -- .` and `git revert [..]`
"#]]);
    assert_eq!((head(&tree), tree.text(PROCESS)), (top, original));
    assert_eq!(status(&tree).lines().count(), 4, "the originals are back as edits:\n{}", status(&tree));
}

#[test]
fn revert_leaves_a_commit_that_is_not_checked_out() {
    let tree = Tree::new("installer");
    tree.rr_patch(&["apply", "--commit", "--branch", "rr"]).exits(0);
    let made = head(&tree);
    tree.git(&["checkout", "--quiet", "main"]);
    tree.rr_patch(&["status"]).exits(0).prints(&[", which is not what is checked out\n"]);
    tree.rr_patch(&["revert"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 0 files
commit [..] is not checked out and stays: `git branch -D rr` drops it
"#]]);
    assert_eq!(tree.git(&["rev-parse", "rr"]).trim(), made);
    assert_eq!(status(&tree), "");
}

#[test]
fn apply_commits_what_was_patched_before_and_a_classic_patch_too() {
    let tree = Tree::patched("p2");
    let patched = tree.snapshot();
    tree.rr_patch(&["apply", "--commit"]).exits(0).prints(&["\ncommitted as "]);
    assert!(tree.snapshot() == patched);
    tree.rr_patch(&["apply", "--commit"])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
    tree.refuses(&["apply", "--signal", "rr"]).says_exactly(str![[r#"
error: the changes are committed already, as [..]
hint: `rr-patch revert` takes that commit back; then apply again
nothing was written
"#]]);
    tree.rr_patch(&["revert"]).exits(0);
    tree.rr_patch(&["apply", "--mode", "patch", "--commit"]).exits(0);
    let message = tree.git(&["log", "-1", "--format=%B"]);
    assert!(message.contains("with rr-debugging.patch.\nPatch: rr-debugging.patch, git blob "), "{message}");
    assert_eq!(status(&tree), "");
}

#[test]
fn apply_commits_in_a_linked_worktree_and_below_the_top() {
    let tree = Tree::new("installer");
    tree.git(&["worktree", "add", "--quiet", "../linked"]);
    let linked = |arguments: &[&str]| {
        Run::of(tree.tool().current_dir(tree.beside("linked")).args(arguments).output().unwrap()).exits(0)
    };
    linked(&["apply", "--commit"]);
    assert_eq!(tree.git(&["-C", "../linked", "status", "--porcelain"]), "");
    assert_eq!(tree.git(&["rev-parse", "linked^"]), tree.git(&["rev-parse", "main"]));
    linked(&["revert"]);
    assert_eq!(tree.git(&["rev-parse", "linked"]), tree.git(&["rev-parse", "main"]));

    let tree = Tree::vendored("third_party/installer");
    tree.rr_patch(&["apply", "--root", "third_party/installer", "--commit"]).exits(0);
    assert_eq!(status(&tree), "");
    assert!(tree.git(&["show", "--format=", "--name-only"]).contains(&format!("third_party/installer/{PROCESS}\n")));
}

#[test]
fn apply_refuses_to_commit_edits_that_were_there_before() {
    for stage in [false, true] {
        let tree = Tree::new("installer");
        tree.write(SYSTEM, format!("{}\n// mine\n", tree.text(SYSTEM)));
        if stage {
            tree.git(&["add", SYSTEM]);
        }
        tree.refuses(&["apply", "--commit"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` has changes that are not committed
  expected: the file as the checked-out commit has it, since all of it would be committed
hint: `git diff HEAD -- pkg/clusterapi/system.go` shows them: commit them first, or `git stash`
nothing was written
"#]]);
        tree.rr_patch(&["apply"]).exits(0);
    }
    // Staged, and put back on disk.
    let tree = Tree::new("installer");
    let original = tree.text(SYSTEM);
    tree.write(SYSTEM, format!("{original}\n// mine\n"));
    tree.git(&["add", SYSTEM]);
    tree.write(SYSTEM, original);
    tree.refuses(&["apply", "--commit"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` has changes that are not committed
  expected: the file as the checked-out commit has it, since all of it would be committed
hint: `git diff HEAD -- pkg/clusterapi/system.go` shows them: commit them first, or `git stash`
nothing was written
"#]]);
}

#[test]
fn apply_refuses_a_branch_that_cannot_be_made() {
    let tree = Tree::new("installer");
    tree.git(&["branch", "taken"]);
    tree.refuses(&["apply", "--commit", "--branch", "taken"]).says_exactly(str![[r#"
error: the branch `taken` exists already
hint: choose another name, or apply without `--branch` while it is checked out
nothing was written
"#]]);
    tree.refuses(&["apply", "--commit", "--branch", "no..pe"]).says_exactly(str![[r#"
error: `no..pe` cannot be the name of a branch
hint: `git check-ref-format --branch NAME` checks a name
nothing was written
"#]]);
    tree.rr_patch(&["apply", "--branch", "x"]).exits(2).says_exactly(str![[r#"
error: the following required arguments were not provided:
  --commit

Usage: rr-patch apply --commit --branch <NAME> [REPO]

For more information, try '--help'.
"#]]);
}

#[test]
fn apply_refuses_to_commit_where_git_cannot() {
    let bare = Tree::bare("installer");
    bare.refuses(&["apply", "--commit"]).says_exactly(str![[r#"
error: `[FOLDER]/installer` is not in a git repository: there is nothing to commit to
hint: apply without `--commit`
nothing was written
"#]]);

    let unborn = Tree::bare("installer");
    unborn.git(&["init", "--quiet"]);
    unborn.refuses(&["apply", "--commit"]).says_exactly(str![[r#"
error: there is no commit to build on: `refs/heads/[..]`: it has none yet
hint: `git log` shows whether there is a commit
nothing was written
"#]]);

    let tree = Tree::new("installer");
    let mut nobody = tree.tool();
    for name in ["NAME", "EMAIL"] {
        nobody.env_remove(format!("GIT_AUTHOR_{name}")).env_remove(format!("GIT_COMMITTER_{name}"));
    }
    let run = Run::of(nobody.args(["apply", "--commit"]).output().unwrap()).refuses();
    run.says_exactly(str![[r#"
error: git does not know who commits: config value 'user.name' was not found
hint: `git config user.name NAME` and `git config user.email ADDRESS` set it
nothing was written
"#]]);

    tree.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "pkg"]);
    tree.refuses(&["apply", "--commit"]).says_exactly(str![[r#"
error: git's index cannot be read: unsupported mandatory extension: 'sdir'
  found: `[FOLDER]/installer/.git/index`
hint: rr-patch's git library does not support a sparse index: `git sparse-checkout reapply --no-sparse-index` converts it
nothing was written
"#]]);
    tree.rr_patch(&["apply"]).exits(0);
}

#[test]
fn apply_says_what_to_do_where_the_reference_cannot_be_moved() {
    let tree = Tree::new("installer");
    let base = head(&tree);
    fs::write(tree.path(".git/refs/heads/main.lock"), "").unwrap();
    tree.rr_patch(&["apply", "--commit"]).exits(1).says_exactly(str![[r#"
error: the files are patched, but could not be committed: git's lock `[FOLDER]/installer/.git/refs/heads/main.lock` exists
  expected: no such file; git makes it while it writes, and leaves it behind if it is killed
hint: wait until no git is running in this repository, then: `rm [FOLDER]/installer/.git/refs/heads/main.lock`
hint: `rr-patch apply --commit` tries again; `rr-patch revert` reverts it
"#]]);
    assert_eq!(head(&tree), base);
    fs::remove_file(tree.path(".git/refs/heads/main.lock")).unwrap();
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    assert_eq!((tree.git(&["rev-parse", "HEAD^"]).trim(), status(&tree).as_str()), (base.as_str(), ""));
}

#[test]
fn apply_commits_nothing_that_go_refuses_or_that_is_only_tried() {
    let tree = Tree::new("installer");
    let before = (references(&tree), tree.snapshot());
    tree.rr_patch(&["apply", "--commit", "--dry-run"]).exits(0).prints(&["would patch and commit `"]);
    assert!((references(&tree), tree.snapshot()) == before);

    tree.write("pkg/clusterapi/broken.go", "package clusterapi\n\nvar x int = \"no\"\n");
    tree.commit("broken");
    let before = (references(&tree), tree.snapshot());
    let run = tree.tool().env("GOPROXY", "off").args(["apply", "--commit", "--verify"]).output().unwrap();
    Run::of(run).exits(1).says_exactly(str![[r#"
verifying: [..]gofmt -l pkg/clusterapi/internal/process/process.go pkg/clusterapi/system.go pkg/clusterapi/internal/process/rr_patch.go pkg/clusterapi/internal/process/rr_patch_unix.go
verifying: CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process
error: Go does not take the patched files: `CGO_ENABLED=0 GOFLAGS=-mod=vendor go vet -gcflags 'all=-N -l' ./pkg/clusterapi ./pkg/clusterapi/internal/process` says
...
    vet: pkg/clusterapi/broken.go:3:13: cannot use "no"[..]
  the changes were taken back
hint: if the same command says it of the unpatched checkout too, mend that first; else apply without --verify and look at `rr-patch diff`
"#]]);
    assert!((references(&tree), tree.snapshot()) == before);
    assert_eq!(status(&tree), "");
    // git itself agrees that nothing is left to clean up.
    assert!(command("git").current_dir(tree.root()).args(["diff", "--quiet", "HEAD"]).status().unwrap().success());
}

/// The tree, what HEAD names, all references, the index, and what git says of the tree.
type Everything = (Snapshot, String, String, String, String);

fn everything(tree: &Tree) -> Everything {
    let name = tree.text(".git/HEAD");
    (tree.snapshot(), name, references(tree), tree.git(&["ls-files", "--stage"]), status(tree))
}

/// Files in git's folder that nobody should find after a command.
fn left_behind(tree: &Tree) -> String {
    tree.run("find", &[".git", "-name", "*.lock", "-o", "-name", ".rr-patch-*", "-o", "-name", "rr-patch"], &[]).stdout
}

/// A state, the options of the apply that led there, and the git commands after it.
type Killed = (&'static str, &'static [&'static str], &'static [&'static [&'static str]]);

/// What a process that was killed leaves, by the git commands that lead there after a whole `apply --commit`. `P` stands
/// for the parent of the commit.
const KILLED: [Killed; 10] = [
    ("committed, not yet staged", &[], &[&["read-tree", "P"]]),
    ("staged, not yet committed, as version 0.1 did it", &[], &[&["update-ref", "refs/heads/main", "P"]]),
    ("restored, still committed", &[], &[&["restore", "--source=P", "--worktree", "pkg"]]),
    (
        "restored, no longer committed, still staged",
        &[],
        &[&["restore", "--source=P", "--worktree", "pkg"], &["update-ref", "refs/heads/main", "P"]],
    ),
    ("on the branch, without the commit", BRANCH, &[&["update-ref", "refs/heads/debug/rr", "P"], &["read-tree", "P"]]),
    ("on the branch, no longer committed, still staged", BRANCH, &[&["update-ref", "refs/heads/debug/rr", "P"]]),
    (
        "back from the branch, which is still there",
        BRANCH,
        &[
            &["restore", "--source=P", "--staged", "--worktree", "pkg"],
            &["update-ref", "refs/heads/debug/rr", "P"],
            &["symbolic-ref", "HEAD", "refs/heads/main"],
        ],
    ),
    (
        "the branch made, and not yet checked out",
        BRANCH,
        &[
            &["read-tree", "P"],
            &["update-ref", "refs/heads/debug/rr", "P"],
            &["symbolic-ref", "HEAD", "refs/heads/main"],
        ],
    ),
    ("on a branch that is gone", BRANCH, &[&["update-ref", "-d", "refs/heads/debug/rr"]]),
    ("detached, staged, not yet committed", DETACHED, &[&["update-ref", "--no-deref", "HEAD", "P"]]),
];

const BRANCH: &[&str] = &["--branch", "debug/rr"];
const DETACHED: &[&str] = &["(detached)"];

/// A tree in such a state, what was there before, and the arguments that led there.
fn killed(options: &'static [&str], steps: &[&[&str]]) -> (Tree, Everything, Vec<&'static str>) {
    let tree = Tree::new("p2");
    let mut arguments = vec!["apply", "--commit"];
    match options == DETACHED {
        true => drop(tree.git(&["checkout", "--quiet", "--detach"])),
        false => arguments.extend(options),
    }
    let before = everything(&tree);
    let parent = head(&tree);
    tree.rr_patch(&arguments).exits(0);
    for step in steps {
        let step: Vec<String> = step.iter().map(|word| word.replace('P', &parent)).collect();
        tree.git(&step.iter().map(String::as_str).collect::<Vec<_>>());
    }
    (tree, before, arguments)
}

#[test]
fn revert_takes_back_what_a_killed_apply_or_revert_left() {
    for (state, options, steps) in KILLED {
        let (tree, before, _) = killed(options, steps);
        tree.rr_patch(&["revert"]).exits(0);
        assert!(everything(&tree) == before, "{state}: {:?}", (status(&tree), references(&tree), branch(&tree)));
        assert_eq!(left_behind(&tree), "", "{state}");
    }
}

#[test]
fn apply_commits_after_an_apply_or_a_revert_that_was_killed() {
    for (state, options, steps) in KILLED {
        let (tree, before, arguments) = killed(options, steps);
        let parent = before.2.split(' ').next().unwrap();
        let patched = tree.rr_patch(&arguments);
        assert_eq!(patched.code, 0, "{state}: {}", patched.stderr);
        assert_eq!((tree.git(&["rev-parse", "HEAD^"]).trim(), status(&tree).as_str()), (parent, ""), "{state}");
        let on = if options == BRANCH { "debug/rr" } else { "main" };
        assert_eq!(branch(&tree), if options == DETACHED { "" } else { on }, "{state}");
        tree.rr_patch(&["revert"]).exits(0);
        assert!(everything(&tree) == before, "{state}: {:?}", (status(&tree), references(&tree), branch(&tree)));
    }
}

#[test]
fn apply_without_a_commit_takes_back_what_a_killed_revert_left() {
    for (state, options, steps) in KILLED.into_iter().filter(|(state, ..)| state.contains("still staged")) {
        let (tree, before, _) = killed(options, steps);
        tree.rr_patch(&["apply", "--signal", "rr"]).exits(0);
        assert_eq!((tree.git(&["diff", "--cached"]), references(&tree)), (String::new(), before.2.clone()), "{state}");
        tree.rr_patch(&["revert"]).exits(0);
        assert!(everything(&tree) == before, "{state}");
    }
}

#[test]
fn locks_that_a_killed_rr_patch_left_are_removed_and_those_of_git_are_not() {
    let ours = "rr-patch is writing git's index; if it was killed, its next run removes this file\n";
    for arguments in [&["revert"][..], &["apply"], &["apply", "--commit"]] {
        let tree = Tree::new("installer");
        let before = everything(&tree);
        tree.rr_patch(&["apply", "--commit"]).exits(0);
        tree.git(&["update-ref", "refs/heads/main", "HEAD^"]);
        tree.write(".git/index.lock", ours);
        tree.write(".git/refs/heads/main.lock", "");
        tree.rr_patch(arguments).exits(0);
        assert_eq!(tree.run("find", &[".git", "-name", "*.lock"], &[]).stdout, "", "{arguments:?}");
        if arguments != ["revert"] {
            tree.rr_patch(&["revert"]).exits(0);
        }
        assert!(everything(&tree) == before, "{arguments:?}");
    }

    let tree = Tree::new("installer");
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    for lock in [".git/index.lock", ".git/refs/heads/main.lock"] {
        tree.write(lock, "");
        let path = tree.path(lock);
        tree.refuses(&["revert"]).says_exactly(format!(
            "error: git's lock `[FOLDER]/installer/{lock}` exists\n  \
             expected: no such file; git makes it while it writes, and leaves it behind if it is killed\n\
             hint: wait until no git is running in this repository, then: `rm [FOLDER]/installer/{lock}`\n\
             nothing was written"
        ));
        fs::remove_file(path).unwrap();
    }
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!((status(&tree), left_behind(&tree)), (String::new(), String::new()));
}

#[test]
fn apply_can_be_repeated_after_a_lock_of_git() {
    let tree = Tree::new("installer");
    let before = everything(&tree);
    tree.write(".git/index.lock", "");
    let lock = tree.path(".git/index.lock");
    tree.refuses(&["apply", "--commit"]).says_exactly(str![[r#"
error: git's lock `[FOLDER]/installer/.git/index.lock` exists
  expected: no such file; git makes it while it writes, and leaves it behind if it is killed
hint: wait until no git is running in this repository, then: `rm [FOLDER]/installer/.git/index.lock`
nothing was written
"#]]);
    fs::remove_file(lock).unwrap();

    // These locks are met after the files are patched, and everything else is as before.
    for (lock, options) in
        [(".git/refs/heads/main.lock", &[][..]), (".git/refs/heads/debug/rr.lock", BRANCH), (".git/HEAD.lock", BRANCH)]
    {
        let arguments = [&["apply", "--commit"], options].concat();
        tree.write(lock, "");
        let path = tree.path(lock);
        tree.rr_patch(&arguments).exits(1).says_exactly(format!(
            "error: the files are patched, but could not be committed: \
             git's lock `[FOLDER]/installer/{lock}` exists\n  \
             expected: no such file; git makes it while it writes, and leaves it behind if it is killed\n\
             hint: wait until no git is running in this repository, then: `rm [FOLDER]/installer/{lock}`\n\
             hint: `rr-patch apply --commit` tries again; `rr-patch revert` reverts it"
        ));
        assert_eq!((references(&tree), tree.git(&["diff", "--cached"])), (before.2.clone(), String::new()), "{lock}");
        fs::remove_file(path).unwrap();
        tree.rr_patch(&arguments).exits(0);
        assert_eq!(status(&tree), "", "{lock}");
        tree.rr_patch(&["revert"]).exits(0);
        assert!(everything(&tree) == before, "{lock}");
    }
}

#[test]
fn an_index_that_cannot_be_read_is_refused_before_anything_is_written() {
    let tree = Tree::new("installer");
    let before = everything(&tree);
    tree.git(&["update-index", "--split-index"]);
    tree.refuses(&["apply", "--commit"]).says_exactly(str![[r#"
error: git's index cannot be read: unsupported mandatory extension: 'link'
  found: `[FOLDER]/installer/.git/index`
hint: rr-patch's git library does not support a split index: `git update-index --no-split-index` converts it
nothing was written
"#]]);
    tree.git(&["update-index", "--no-split-index"]);
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    tree.git(&["update-index", "--split-index"]);
    tree.refuses(&["revert"]).says_exactly(str![[r#"
error: git's index cannot be read: unsupported mandatory extension: 'link'
  found: `[FOLDER]/installer/.git/index`
hint: rr-patch's git library does not support a split index: `git update-index --no-split-index` converts it
nothing was written
"#]]);
    tree.git(&["update-index", "--no-split-index"]);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(everything(&tree) == before);
}

#[test]
fn revert_leaves_staged_edits_of_its_files_and_names_them() {
    let tree = Tree::new("installer");
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    tree.write(SYSTEM, format!("{}\n// mine\n", tree.text(SYSTEM)));
    tree.git(&["add", SYSTEM]);
    let staged = tree.git(&["rev-parse", &format!(":{SYSTEM}")]);
    tree.rr_patch(&["revert"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 4 files
  restored pkg/clusterapi/internal/process/process.go
  merged   pkg/clusterapi/system.go; what was edited since is kept
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
  `pkg/clusterapi/system.go` has staged edits, which stay staged
commit [..] is gone
"#]]);
    assert_eq!(tree.git(&["rev-parse", &format!(":{SYSTEM}")]), staged);
    assert_eq!(tree.git(&["diff", "--cached", "--name-only"]), format!("{SYSTEM}\n"));
    assert_eq!(tree.git(&["diff", "--numstat", "HEAD"]), format!("2\t0\t{SYSTEM}\n"));
}

#[test]
fn a_staged_mode_is_a_change_that_is_not_committed() {
    let tree = Tree::new("installer");
    tree.git(&["update-index", "--chmod=+x", SYSTEM]);
    tree.refuses(&["apply", "--commit"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` has changes that are not committed
  expected: the file as the checked-out commit has it, since all of it would be committed
hint: `git diff HEAD -- pkg/clusterapi/system.go` shows them: commit them first, or `git stash`
nothing was written
"#]]);
}

#[test]
fn a_file_that_git_adds_meanwhile_stays_in_the_index() {
    let tree = Tree::new("installer");
    // The longer the index, the more time lies between reading and writing it.
    for number in 0..3000 {
        fs::write(tree.path(&format!("cmd/{number}.txt")), "").unwrap();
    }
    tree.commit("many files");
    let add = |number: usize| {
        let name = format!("added-{number}.txt");
        tree.write(&name, "");
        // git does not wait for the index's lock.
        while !command("git").current_dir(tree.root()).args(["add", &name]).output().unwrap().status.success() {}
    };
    thread::scope(|scope| {
        let adding = scope.spawn(|| (0..60).for_each(add));
        while !adding.is_finished() {
            tree.rr_patch(&["apply", "--commit"]).exits(0);
            tree.rr_patch(&["revert"]).exits(0);
        }
    });
    let added = tree.git(&["ls-files", "added-*.txt"]);
    assert_eq!(added.lines().count(), 60, "some were lost:\n{added}");
    tree.git(&["fsck", "--strict"]);
}

#[test]
fn a_lock_that_a_killed_run_left_without_a_journal_goes() {
    let left = "rr-patch is writing git's index; if it was killed, its next run removes this file\n";
    for command in ["revert", "apply"] {
        let tree = Tree::new("p2");
        let before = tree.snapshot();
        tree.write(".git/index.lock", left);
        tree.rr_patch(&[command]).exits(0);
        assert!(!tree.path(".git/index.lock").exists(), "{command}");
        tree.rr_patch(&["revert"]).exits(0);
        assert_eq!(tree.snapshot(), before, "{command}");
        // git's own stays.
        tree.write(".git/index.lock", "DIRC");
        tree.rr_patch(&[command]).exits(0);
        assert_eq!(tree.text(".git/index.lock"), "DIRC", "{command}");
    }
}

#[test]
fn apply_commit_writes_files_again_that_a_power_cut_emptied() {
    let tree = Tree::new("p2");
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    let whole = tree.snapshot();
    tree.write(PROCESS, "");
    tree.write(ADDED, "");
    tree.reboot();
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    assert_eq!(tree.snapshot(), whole);
}
