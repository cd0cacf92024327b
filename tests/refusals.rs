//! Paths, checkouts and files that cannot be patched: each is refused with its own message, code 3, and nothing
//! written.

use std::fs;

use crate::harness::{ADDED, PROCESS, PROCESS_UNIX, STATE, SYSTEM, Tree, copy, fixtures, skip};
use snapbox::str;

/// Every command that looks at a checkout.
pub const COMMANDS: [&[&str]; 6] =
    [&["apply"], &["apply", "--dry-run"], &["diff"], &["status"], &["revert"], &["revert", "--force"]];

// The place.

#[test]
fn apply_refuses_a_folder_that_is_no_checkout() {
    let tree = Tree::new("installer");
    fs::create_dir(tree.beside("empty")).unwrap();
    let empty = tree.beside("empty");
    for arguments in COMMANDS {
        tree.refuses(&[arguments, &["../empty"]].concat()).says_exactly(str![[r#"
error: `[FOLDER]/empty` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it, or in a folder above
hint: name one: `rr-patch COMMAND PATH`; an installer vendored inside another checkout: `--root PATH`
nothing was written
"#]]);
    }
    assert_eq!(fs::read_dir(empty).unwrap().count(), 0);
}

#[test]
fn apply_refuses_the_checkout_of_something_else() {
    let tree = Tree::vendored("third_party/installer");
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `[FOLDER]/outer` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it, or in a folder above
hint: name one: `rr-patch COMMAND PATH`; an installer vendored inside another checkout: `--root PATH`
nothing was written
"#]]);
    assert!(!tree.path(STATE).exists());
}

#[test]
fn apply_does_not_look_for_an_installer_above_the_top_of_a_checkout() {
    let tree = Tree::new("installer");
    fs::create_dir(tree.path("other")).unwrap();
    tree.git(&["-C", "other", "init", "--quiet"]);
    tree.refuses(&["apply", "other"]).says_exactly(str![[r#"
error: `[FOLDER]/installer/other` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it, or in a folder above
hint: name one: `rr-patch COMMAND PATH`; an installer vendored inside another checkout: `--root PATH`
nothing was written
"#]]);
}

#[test]
fn apply_refuses_a_path_that_does_not_exist() {
    let tree = Tree::new("installer");
    for arguments in COMMANDS {
        tree.refuses(&[arguments, &["no/such"]].concat()).says_exactly(str![[r#"
error: `no/such` is not a checkout: No such file or directory (os error 2)
hint: name the folder of an openshift/installer checkout: `rr-patch COMMAND PATH`
nothing was written
"#]]);
    }
}

#[test]
fn apply_refuses_a_bare_repository() {
    let tree = Tree::new("installer");
    tree.git(&["clone", "--quiet", "--bare", ".", "../bare.git"]);
    for arguments in COMMANDS {
        tree.refuses(&[arguments, &["../bare.git"]].concat()).says_exactly(str![[r#"
error: `[FOLDER]/bare.git` is a bare repository: it has no files to patch
hint: make a work tree of it: `git worktree add ../installer`
nothing was written
"#]]);
    }
    assert!(!tree.beside("bare.git/rr-patch").exists());
}

#[test]
fn apply_refuses_a_checkout_that_git_does_not_trust() {
    let tree = Tree::new("installer");
    if tree.run("chown", &["-R", "12345", "."], &[]).code != 0 {
        skip(&["chown"], "files can be given to nobody else here");
        return;
    }
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: git does not trust `[FOLDER]/installer`: another user owns it
hint: if you trust it: `git config --global --add safe.directory [FOLDER]/installer`
nothing was written
"#]]);
}

#[test]
fn apply_root_refuses_what_is_no_installer_below_the_top() {
    let tree = Tree::vendored("third_party/installer");
    for (root, says) in [
        (
            "third_party",
            str![[r#"
error: `[FOLDER]/outer/third_party` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it
hint: `--root` takes the installer's folder, relative to the top of the checkout
nothing was written
"#]],
        ),
        (
            "no/such",
            str![[r#"
error: `[FOLDER]/outer/no/such` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it
hint: `--root` takes the installer's folder, relative to the top of the checkout
nothing was written
"#]],
        ),
        (
            "third_party/installer/go.mod",
            str![[r#"
error: `[FOLDER]/outer/third_party/installer/go.mod` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it
hint: `--root` takes the installer's folder, relative to the top of the checkout
nothing was written
"#]],
        ),
        (
            "..",
            str![[r#"
error: `[FOLDER]/outer/..` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it
hint: `--root` takes the installer's folder, relative to the top of the checkout
nothing was written
"#]],
        ),
        (
            "/etc",
            str![[r#"
error: `/etc` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it
hint: `--root` takes the installer's folder, relative to the top of the checkout
nothing was written
"#]],
        ),
    ] {
        tree.refuses(&["apply", "--root", root]).says_exactly(says);
    }
    // One that is an installer, but in no folder of this checkout.
    copy(&fixtures().join("installer"), &tree.beside("elsewhere"));
    tree.refuses(&["apply", "--root", "../elsewhere"]).says_exactly(str![[r#"
error: `[FOLDER]/outer/../elsewhere` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it
hint: `--root` takes the installer's folder, relative to the top of the checkout
nothing was written
"#]]);
    tree.link("link", "../elsewhere");
    tree.refuses(&["apply", "--root", "link"]).says_exactly(str![[r#"
error: `[FOLDER]/outer/link` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it
hint: `--root` takes the installer's folder, relative to the top of the checkout
nothing was written
"#]]);
}

// The files.

#[test]
fn apply_refuses_when_a_file_is_missing() {
    for file in [PROCESS, SYSTEM] {
        let tree = Tree::new("installer");
        tree.remove(file);
        for arguments in [&["apply"][..], &["apply", "--dry-run"], &["diff"]] {
            tree.refuses(arguments).says_exactly(format!(
                "error: `{file}` is missing\n  \
                 expected: the sources of the Cluster API supervisor, which the installer has had since 2023-11\n\
                 hint: if it was deleted: `git checkout -- {file}`\n\
                 nothing was written"
            ));
        }
        assert!(!tree.path(STATE).exists());
    }
}

#[test]
fn apply_refuses_a_p2_checkout_whose_unix_part_is_missing() {
    let tree = Tree::new("p2");
    tree.remove(PROCESS_UNIX);
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:170`
    looked for: `PS.Cmd.Process.Signal(syscall.SIGTERM)` in `State.Stop`, once
    found: nothing like it in lines 170 to 196
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]]);
}

#[test]
fn apply_refuses_go_that_does_not_parse_and_says_where() {
    for (shape, file, before, bad, says) in [
        (
            "installer",
            PROCESS,
            "\tready := make(chan bool)\n",
            "\tx := = 1\n",
            str![[r#"
error: `pkg/clusterapi/internal/process/process.go:95:7` is not valid Go
  found: `x := = 1`
hint: `gofmt -l pkg/clusterapi/internal/process/process.go` says more; mend the file, or get it back with `git checkout -- pkg/clusterapi/internal/process/process.go`
nothing was written
"#]],
        ),
        (
            "installer",
            SYSTEM,
            "\tlcp := &localControlPlane{}\n",
            "\tif lcp {{\n",
            str![[r#"
error: `pkg/clusterapi/system.go:73:49` is not valid Go
  found: `func (c *system) Run(ctx context.Context) error {`, of which a `{` is not closed
hint: `gofmt -l pkg/clusterapi/system.go` says more; mend the file, or get it back with `git checkout -- pkg/clusterapi/system.go`
nothing was written
"#]],
        ),
        (
            "p2",
            PROCESS_UNIX,
            "func stopProcess(ps *State) error {\n",
            "\treturn (\n",
            str![[r#"
error: `pkg/clusterapi/internal/process/process_unix.go:20:9` is not valid Go
  found: `return (`, of which a `(` is not closed
hint: `gofmt -l pkg/clusterapi/internal/process/process_unix.go` says more; mend the file, or get it back with `git checkout -- pkg/clusterapi/internal/process/process_unix.go`
nothing was written
"#]],
        ),
    ] {
        let tree = Tree::new(shape);
        tree.edit(file, before, &format!("{before}{bad}"));
        tree.refuses(&["apply"]).says_exactly(says);
    }
}

#[test]
fn apply_says_line_and_column_of_go_that_does_not_parse() {
    let tree = Tree::new("installer");
    tree.edit(PROCESS, "\tready := make(chan bool)\n", "\tready := = make(chan bool)\n");
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/internal/process/process.go:94:11` is not valid Go
  found: `ready := = make(chan bool)`
hint: `gofmt -l pkg/clusterapi/internal/process/process.go` says more; mend the file, or get it back with `git checkout -- pkg/clusterapi/internal/process/process.go`
nothing was written
"#]]);
}

#[test]
fn apply_refuses_a_file_with_conflict_markers() {
    for (ours, theirs) in [("\tc.cancel = cancel\n", "\tc.stop = cancel\n"), ("\tif ours {\n", "\tif theirs {\n")] {
        let tree = Tree::new("installer");
        let conflict = format!("<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> side\n");
        tree.edit(SYSTEM, "\tc.cancel = cancel\n", &conflict);
        tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go:79:1` is not valid Go
  found: `<<<<<<< HEAD`, a conflict of a merge that is not resolved
hint: `gofmt -l pkg/clusterapi/system.go` says more; mend the file, or get it back with `git checkout -- pkg/clusterapi/system.go`
nothing was written
"#]]);
    }
}

#[test]
fn apply_refuses_a_symlink_where_a_file_should_be() {
    for file in [PROCESS, SYSTEM] {
        for target in ["../../../../elsewhere.go", "sibling.go", "/nonexistent/file.go"] {
            let tree = Tree::new("installer");
            let beside = tree.path(file).parent().unwrap().join(target);
            if let Some(Ok(folder)) = beside.parent().map(fs::canonicalize) {
                fs::copy(tree.path(file), folder.join(beside.file_name().unwrap())).unwrap();
            }
            tree.remove(file);
            tree.link(file, target);
            tree.refuses(&["apply"]).says_exactly(format!(
                "error: `{file}` is a symlink, where a file should be\n  \
                 found: `{file}` -> `{target}`\n\
                 hint: replace the link by the file, or run rr-patch in the checkout that the link points to\n\
                 nothing was written"
            ));
        }
    }
}

#[test]
fn apply_refuses_a_folder_link_that_leaves_the_checkout() {
    for tree in [Tree::new("installer"), Tree::bare("installer")] {
        for folder in ["pkg/clusterapi/internal", "pkg/clusterapi", "pkg"] {
            let outside = tree.beside("outside");
            fs::rename(tree.path(folder), &outside).unwrap();
            tree.link(folder, &outside);
            let before = fs::read_to_string(walk(&outside, "process.go")).unwrap();
            tree.refuses(&["apply"]).says_exactly(format!(
                "error: `{PROCESS}` leaves the checkout by the symlink `{folder}`\n  \
                 found: `{folder}` -> `[FOLDER]/outside`\n\
                 hint: replace the link by the file, or run rr-patch in the checkout that the link points to\n\
                 nothing was written"
            ));
            assert_eq!(fs::read_to_string(walk(&outside, "process.go")).unwrap(), before);
            tree.remove(folder);
            fs::rename(&outside, tree.path(folder)).unwrap();
        }
    }
}

/// The first file of that name below a folder.
fn walk(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false if entry.file_name() == name => return entry.path(),
                false => {}
            }
        }
    }
    panic!("no {name} in {}", folder.display());
}

#[test]
fn apply_refuses_a_folder_or_a_pipe_where_a_file_should_be() {
    let tree = Tree::new("installer");
    tree.remove(SYSTEM);
    fs::create_dir(tree.path(SYSTEM)).unwrap();
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` is not a regular file
  found: a folder
nothing was written
"#]]);

    fs::remove_dir(tree.path(SYSTEM)).unwrap();
    tree.run("mkfifo", &[SYSTEM], &[]).exits(0);
    // No snapshot: to read a pipe is to wait for ever.
    tree.rr_patch(&["apply"]).refuses().says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` is not a regular file
  found: a special file
nothing was written
"#]]);
}

#[test]
fn apply_refuses_a_file_of_the_users_where_one_would_be_added() {
    let tree = Tree::new("installer");
    tree.write(ADDED, "package process\n\n// mine\n");
    for arguments in [&["apply"][..], &["apply", "--dry-run"], &["diff"]] {
        tree.refuses(arguments).says_exactly(str![[r#"
error: `pkg/clusterapi/internal/process/rr_patch.go` exists already, but rr-patch would add it
  found: a file that rr-patch's journal does not know
hint: if it is left over from an earlier patch, remove it: `rm pkg/clusterapi/internal/process/rr_patch.go`
nothing was written
"#]]);
    }
}

#[test]
fn apply_refuses_a_folder_or_a_link_where_a_file_would_be_added() {
    let tree = Tree::new("installer");
    fs::create_dir(tree.path(ADDED)).unwrap();
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/internal/process/rr_patch.go` is not a regular file
  found: a folder
nothing was written
"#]]);
    fs::remove_dir(tree.path(ADDED)).unwrap();
    tree.link(ADDED, "/nonexistent/rr_patch.go");
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/internal/process/rr_patch.go` is a symlink, where a file should be
  found: `pkg/clusterapi/internal/process/rr_patch.go` -> `/nonexistent/rr_patch.go`
hint: replace the link by the file, or run rr-patch in the checkout that the link points to
nothing was written
"#]]);
}
