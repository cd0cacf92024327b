//! Bad input of every kind: each is refused with its own message, code 3, and nothing written.

use std::fs;

use crate::harness::{ADDED, ADDED_UNIX, JOURNAL, PROCESS, PROCESS_UNIX, STATE, SYSTEM, Tree, copy, fixtures, skip};
use snapbox::data::Inline;
use snapbox::{IntoData, str};

/// Every command that looks at a checkout.
const COMMANDS: [&[&str]; 6] =
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
error: `pkg/clusterapi/system.go:1:1` is not valid Go
  found: `// Package clusterapi runs a local control plane with the cluster API`
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
error: `pkg/clusterapi/internal/process/process_unix.go:21:2` is not valid Go
  found: `return ps.Cmd.Process.Signal(syscall.SIGTERM)`
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
    let tree = Tree::new("installer");
    tree.edit(
        SYSTEM,
        "\tc.cancel = cancel\n",
        "<<<<<<< HEAD\n\tc.cancel = cancel\n=======\n\tc.stop = cancel\n>>>>>>> side\n",
    );
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go:79:1` is not valid Go
  found: `<<<<<<< HEAD`
hint: `gofmt -l pkg/clusterapi/system.go` says more; mend the file, or get it back with `git checkout -- pkg/clusterapi/system.go`
nothing was written
"#]]);
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

// Shapes that are not understood.

/// Asserts that a change to one file makes it a shape that is not understood, and what is said.
#[track_caller]
fn not_understood(shape: &str, file: &str, old: &str, new: &str, says: impl IntoData) {
    let tree = Tree::new(shape);
    tree.edit(file, old, new);
    tree.refuses(&["apply"]).says_exactly(says);
    assert!(!tree.path(STATE).exists());
}

#[test]
fn apply_refuses_another_kind_of_timer_in_start() {
    not_understood(
        "installer",
        PROCESS,
        "\ttimedOut := time.After(ps.StartTimeout)\n",
        "\ttimer := time.NewTimer(ps.StartTimeout)\n\ttimedOut := timer.C\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:80`
    looked for: `T := time.After(PS.StartTimeout)`, used only in `case <-T:` in `State.Start`, once
    found: in lines 80 to 136, nearest to it:
    line 95: `timer := time.NewTimer(ps.StartTimeout)`
    line 134: `return fmt.Errorf("%s was not healthy within %s", path.Base(ps.Path), ps.StartTimeout)`
  `pkg/clusterapi/internal/process/process.go:95`
    looked for: no timer and no SIGKILL left in `State.Start`, as `no-timeouts` promises
    found: `timer := time.NewTimer(ps.StartTimeout)`
  `pkg/clusterapi/internal/process/process.go:132`
    looked for: no signal to the child alone left in `State.Start`, as `group-signal` promises
    found: `ps.Cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_a_second_wait_in_teardown() {
    not_understood(
        "installer",
        SYSTEM,
        "\t\t\tc.wg.Wait()\n",
        "\t\t\tc.wg.Wait()\n\t\t\tc.wg.Wait()\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:170`
    looked for: `C.wg.Wait()` in `system.Teardown`, once
    found: 2 such places:
    pkg/clusterapi/system.go:184: `c.wg.Wait()`
    pkg/clusterapi/system.go:185: `c.wg.Wait()`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_a_stop_without_a_signal() {
    not_understood(
        "installer",
        PROCESS,
        "if err := ps.Cmd.Process.Signal(syscall.SIGTERM); err != nil {\n\t\treturn fmt.Errorf(\"cannot send SIGTERM",
        "if err := ps.ask(); err != nil {\n\t\treturn fmt.Errorf(\"cannot ask",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:172`
    looked for: `PS.Cmd.Process.Signal(syscall.SIGTERM)` in `State.Stop`, once
    found: in lines 172 to 198, nearest to it:
    line 191: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_a_use_of_the_timer_outside_its_case() {
    not_understood(
        "installer",
        PROCESS,
        "\ttimedOut := time.After(ps.StartTimeout)\n",
        "\ttimedOut := time.After(ps.StartTimeout)\n\tgo watch(timedOut)\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:96`
    looked for: `T := time.After(PS.StartTimeout)`, used only in `case <-T:` in `State.Start`, once, and no other use of `timedOut`
    found: `go watch(timedOut)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_an_extra_sigkill_in_stop() {
    for (kill, says) in [
        (
            "ps.Cmd.Process.Signal(syscall.SIGKILL)",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:186`
    looked for: no signal to the child alone left in `State.Stop`, as `group-signal` promises
    found: `ps.Cmd.Process.Signal(syscall.SIGKILL)`
  `pkg/clusterapi/internal/process/process.go:186`
    looked for: no timer and no SIGKILL left in `State.Stop`, as `no-timeouts` promises
    found: `ps.Cmd.Process.Signal(syscall.SIGKILL)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            "syscall.Kill(ps.Cmd.Process.Pid, syscall.SIGKILL)",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:186`
    looked for: no timer and no SIGKILL left in `State.Stop`, as `no-timeouts` promises
    found: `syscall.Kill(ps.Cmd.Process.Pid, syscall.SIGKILL)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
    ] {
        not_understood(
            "installer",
            PROCESS,
            "\ttimedOut := time.After(ps.StopTimeout)\n",
            &format!("\t{kill}\n\ttimedOut := time.After(ps.StopTimeout)\n"),
            says,
        );
    }
}

#[test]
fn apply_refuses_other_ways_to_give_up() {
    for (file, before, added, says) in [
        (
            PROCESS,
            "\tps.waitDone = make(chan struct{})\n",
            "\tps.Cmd.WaitDelay = time.Second\n",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:103`
    looked for: no timer and no SIGKILL left in `State.Start`, as `no-timeouts` promises
    found: `ps.Cmd.WaitDelay = time.Second`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            PROCESS,
            "\tps.waitDone = make(chan struct{})\n",
            "\ttime.AfterFunc(time.Minute, ps.giveUp)\n",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:103`
    looked for: no timer and no SIGKILL left in `State.Start`, as `no-timeouts` promises
    found: `time.AfterFunc(time.Minute, ps.giveUp)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            PROCESS,
            "\tps.waitDone = make(chan struct{})\n",
            "\tctx, done := context.WithTimeout(ctx, time.Minute)\n\tdefer done()\n",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:103`
    looked for: no timer and no SIGKILL left in `State.Start`, as `no-timeouts` promises
    found: `ctx, done := context.WithTimeout(ctx, time.Minute)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            SYSTEM,
            "\t\tch := make(chan struct{})\n",
            "\t\ttick := time.NewTicker(time.Second)\n",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:182`
    looked for: no timer and no SIGKILL left in `system.Teardown`, as `no-timeouts` promises
    found: `tick := time.NewTicker(time.Second)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            SYSTEM,
            "\t\tch := make(chan struct{})\n",
            "\t\tlate, stop := context.WithDeadline(context.Background(), c.end)\n",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:182`
    looked for: no timer and no SIGKILL left in `system.Teardown`, as `no-timeouts` promises
    found: `late, stop := context.WithDeadline(context.Background(), c.end)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
    ] {
        not_understood("installer", file, before, &format!("{added}{before}"), says);
    }
}

#[test]
fn apply_refuses_other_ways_to_kill() {
    for (file, before, added, says) in [
        (
            PROCESS,
            "\ttimedOut := time.After(ps.StopTimeout)\n",
            "\tps.Cmd.Process.Kill()\n",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:186`
    looked for: no timer and no SIGKILL left in `State.Stop`, as `no-timeouts` promises
    found: `ps.Cmd.Process.Kill()`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            PROCESS,
            "\ttimedOut := time.After(ps.StopTimeout)\n",
            "\tps.Cmd.Process.Signal(os.Kill)\n",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:186`
    looked for: no signal to the child alone left in `State.Stop`, as `group-signal` promises
    found: `ps.Cmd.Process.Signal(os.Kill)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            PROCESS,
            "\ttimedOut := time.After(ps.StopTimeout)\n",
            "\tps.Cmd.Process.Signal(syscall.SIGINT)\n",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:186`
    looked for: no signal to the child alone left in `State.Stop`, as `group-signal` promises
    found: `ps.Cmd.Process.Signal(syscall.SIGINT)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
    ] {
        not_understood("installer", file, before, &format!("{added}{before}"), says);
    }
}

#[test]
fn apply_refuses_a_second_case_with_a_timer_in_teardown() {
    let case = "\t\tcase <-time.After(5 * time.Second):\n";
    not_understood(
        "installer",
        SYSTEM,
        case,
        &format!("\t\tcase <-time.After(c.patience):\n\t\t\tlogrus.Warn(\"so late\")\n{case}"),
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:170`
    looked for: `select { case <-CH: … case <-time.After(…): … }` and `close(CH)` in `system.Teardown`, once
    found: in lines 170 to 202, nearest to it:
    line 194: `case <-time.After(c.patience):`
    line 196: `case <-time.After(5 * time.Second):`
  `pkg/clusterapi/system.go:194`
    looked for: no timer and no SIGKILL left in `system.Teardown`, as `no-timeouts` promises
    found: `case <-time.After(c.patience):`
  `pkg/clusterapi/system.go:196`
    looked for: no timer and no SIGKILL left in `system.Teardown`, as `no-timeouts` promises
    found: `case <-time.After(5 * time.Second):`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_a_teardown_that_gives_up_in_no_known_way() {
    not_understood(
        "installer",
        SYSTEM,
        "\t\tcase <-time.After(5 * time.Second):\n",
        "\t\tcase <-c.patience():\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:170`
    looked for: `select { case <-CH: … case <-time.After(…): … }` and `close(CH)` in `system.Teardown`, once
    found: nothing like it in lines 170 to 200
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_a_teardown_whose_channel_is_not_closed() {
    not_understood(
        "installer",
        SYSTEM,
        "\t\t\tclose(ch)\n",
        "\t\t\tch <- struct{}{}\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:170`
    looked for: `select { case <-CH: … case <-time.After(…): … }` and `close(CH)` in `system.Teardown`, once
    found: in lines 170 to 200, nearest to it:
    line 194: `case <-time.After(5 * time.Second):`
  `pkg/clusterapi/system.go:194`
    looked for: no timer and no SIGKILL left in `system.Teardown`, as `no-timeouts` promises
    found: `case <-time.After(5 * time.Second):`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_sources_that_carry_its_changes_without_a_journal() {
    let tree = Tree::patched("installer");
    fs::remove_dir_all(tree.path(STATE)).unwrap();
    // The file that only gains lines, alone: nothing that a rule looks for has gone from it.
    tree.git(&["checkout", "--quiet", "--", "pkg/clusterapi/internal"]);
    tree.remove(ADDED);
    tree.remove(ADDED_UNIX);
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:175`
    looked for: `C.Lock()` at most once in `system.Teardown`, not patched yet
    found: `c.supervisor.Cancel()` is there already
  `pkg/clusterapi/system.go:81`
    looked for: `C.cancel = CANCEL` in `system.Run`, once, not patched yet
    found: `c.supervisor.SetCancel(cancel)` is there already
  `pkg/clusterapi/system.go:200`
    looked for: `select { case <-CH: … case <-time.After(…): … }` and `close(CH)` in `system.Teardown`, once, not patched yet
    found: `<-ch // However long it takes: the timer below starts when this is over.` is there already
  `pkg/clusterapi/system.go:189`
    looked for: `C.wg.Wait()` in `system.Teardown`, once, not patched yet
    found: `process.AwaitAll(&c.supervisor)` is there already
  `pkg/clusterapi/system.go:62`
    looked for: a field `lcp` in `type system struct` in `system`, once, not patched yet
    found: `supervisor process.Supervisor // Waits for all processes that were started.` is there already
  `pkg/clusterapi/system.go:304`
    looked for: a parameter `CT *controller` and `PR := &process.State{…}` in `system.runController`, once, not patched yet
    found: `// The recorder takes the controller's place on the command line, if the controller was chosen.` is there already
hint: rr-patch's changes are in these files, but not in its journal: get the originals back with `git checkout -- pkg/clusterapi`
nothing was written
"#]]);
}

#[test]
fn apply_refuses_a_renamed_function() {
    for (file, name, says) in [
        (
            SYSTEM,
            "runController",
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
            SYSTEM,
            "Teardown",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:1`
    looked for: `select { case <-CH: … case <-time.After(…): … }` and `close(CH)` in `System.Teardown`, once
    found: no function `System.Teardown`
  `pkg/clusterapi/system.go:1`
    looked for: `C.wg.Wait()` in `System.Teardown`, once
    found: no function `System.Teardown`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            PROCESS,
            "Stop",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:1`
    looked for: `PS.Cmd.Process.Signal(syscall.SIGTERM)` in `State.Stop stopProcess`, once
    found: no function `State.Stop` or `stopProcess`
  `pkg/clusterapi/internal/process/process.go:1`
    looked for: `T := time.After(PS.StopTimeout)`, used only in `case <-T:` in `State.Stop`, once
    found: no function `State.Stop`
  `pkg/clusterapi/internal/process/process.go:1`
    looked for: `if DONE, ERR := PS.Exited(); DONE {`, with ERR used only in `if ERR != nil {…}` that does nothing but log in `State.Stop`, once
    found: no function `State.Stop`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
        (
            PROCESS,
            "Start",
            str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:1`
    looked for: `PS.Cmd = exec.CommandContext(…)` in `State.Start`, once
    found: no function `State.Start`
  `pkg/clusterapi/internal/process/process.go:1`
    looked for: `T := time.After(PS.StartTimeout)`, used only in `case <-T:` in `State.Start`, once
    found: no function `State.Start`
  `pkg/clusterapi/internal/process/process.go:1`
    looked for: `ERR := PS.Cmd.Wait()` in `State.Start`, once
    found: no function `State.Start`
  `pkg/clusterapi/internal/process/process.go:1`
    looked for: `if ERR := PS.Cmd.Start(); ERR != nil {` in `State.Start`, once
    found: no function `State.Start`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
        ),
    ] {
        not_understood("installer", file, &format!(") {name}("), &format!(") {name}Renamed("), says);
    }
}

#[test]
fn apply_refuses_a_controller_that_is_handed_over_in_another_way() {
    not_understood(
        "installer",
        SYSTEM,
        "runController(ctx context.Context, ct *controller) error {\n",
        "runController(ctx context.Context, ct *Controller) error {\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:260`
    looked for: a parameter `CT *controller` and `PR := &process.State{…}` in `system.runController`, once
    found: in lines 260 to 323, nearest to it:
    line 298: `pr := &process.State{`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_a_package_that_is_imported_under_another_name() {
    not_understood(
        "installer",
        SYSTEM,
        "\t\"github.com/openshift/installer/pkg/clusterapi/internal/process\"\n",
        "\tproc \"github.com/openshift/installer/pkg/clusterapi/internal/process\"\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:1`
    looked for: an import of `github.com/openshift/installer/pkg/clusterapi/internal/process` under its own name, for what follows `C.wg.Wait()` in `system.Teardown`, once
    found: none
  `pkg/clusterapi/system.go:1`
    looked for: an import of `github.com/openshift/installer/pkg/clusterapi/internal/process` under its own name, for what follows a field `lcp` in `type system struct` in `system`, once
    found: none
  `pkg/clusterapi/system.go:1`
    looked for: an import of `github.com/openshift/installer/pkg/clusterapi/internal/process` under its own name, for what follows a parameter `CT *controller` and `PR := &process.State{…}` in `system.runController`, once
    found: none
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_a_failed_exit_whose_error_is_used_otherwise() {
    not_understood(
        "installer",
        PROCESS,
        "\"%s had already ended: %v\", path.Base(ps.Path), err)\n\t\t}\n\t\treturn nil\n",
        "\"%s had already ended: %v\", path.Base(ps.Path), err)\n\t\t}\n\t\treturn err\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:180`
    looked for: `if DONE, ERR := PS.Exited(); DONE {`, with ERR used only in `if ERR != nil {…}` that does nothing but log in `State.Stop`, once, and no other use of `err`
    found: `return err`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_a_failed_exit_that_is_more_than_warned_of() {
    not_understood(
        "installer",
        PROCESS,
        "\t\t\tlogrus.Warnf(\"%s had already ended: %v\", path.Base(ps.Path), err)\n",
        "\t\t\treturn fmt.Errorf(\"%s had already ended: %w\", path.Base(ps.Path), err)\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:177`
    looked for: `if DONE, ERR := PS.Exited(); DONE {`, with ERR used only in `if ERR != nil {…}` that does nothing but log in `State.Stop`, once, and no other use of `err`
    found: `if err != nil {`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_p2_with_an_extra_kill_in_stop() {
    not_understood(
        "p2",
        PROCESS,
        "\ttimedOut := time.After(ps.StopTimeout)\n",
        "\tkillProcess(ps)\n\ttimedOut := time.After(ps.StopTimeout)\n",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:184`
    looked for: no SIGKILL left in `State.Stop`, as `no-timeouts` promises
    found: `killProcess(ps)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_refuses_p2_whose_stop_process_does_something_else() {
    not_understood(
        "p2",
        PROCESS_UNIX,
        "return ps.Cmd.Process.Signal(syscall.SIGTERM)",
        "return ps.Cmd.Process.Signal(os.Interrupt)",
        str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process_unix.go:19`
    looked for: `PS.Cmd.Process.Signal(syscall.SIGTERM)` in `stopProcess`, once
    found: in lines 19 to 21, nearest to it:
    line 20: `return ps.Cmd.Process.Signal(os.Interrupt)`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]],
    );
}

#[test]
fn apply_lists_every_place_that_is_not_understood_at_once() {
    let tree = Tree::new("installer");
    tree.edit(PROCESS, "time.After(ps.StopTimeout)", "ps.patience()");
    tree.edit(SYSTEM, "pr := &process.State{", "pr := process.New(process.State{");
    tree.edit(SYSTEM, "\t\tStopTimeout:  2 * time.Second,\n\t}\n", "\t\tStopTimeout:  2 * time.Second,\n\t})\n");
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:172`
    looked for: `T := time.After(PS.StopTimeout)`, used only in `case <-T:` in `State.Stop`, once
    found: in lines 172 to 198, nearest to it:
    line 194: `return fmt.Errorf("%s did not stop within %s", path.Base(ps.Path), ps.StopTimeout)`
  `pkg/clusterapi/system.go:260`
    looked for: a parameter `CT *controller` and `PR := &process.State{…}` in `system.runController`, once
    found: in lines 260 to 323, nearest to it:
    line 298: `pr := process.New(process.State{`
  `pkg/clusterapi/internal/process/process.go:191`
    looked for: no signal to the child alone left in `State.Stop`, as `group-signal` promises
    found: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
  `pkg/clusterapi/internal/process/process.go:191`
    looked for: no timer and no SIGKILL left in `State.Stop`, as `no-timeouts` promises
    found: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]]);
}

#[test]
fn apply_refuses_two_statements_on_one_line() {
    let tree = Tree::new("installer");
    tree.edit(SYSTEM, "\tc.cancel = cancel\n", "\tc.cancel = cancel; logrus.Debug(\"local\")\n");
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go:79` shares a line with other code
hint: `gofmt -w pkg/clusterapi/system.go` gives every statement its own
nothing was written
"#]]);
}

// Patches that are there already.

#[test]
fn apply_refuses_a_hand_made_patch_and_says_how_to_take_it_out() {
    let tree = Tree::new("installer");
    let signal = "if err := ps.Cmd.Process.Signal(syscall.SIGTERM); err != nil {";
    let ours = "if err := syscall.Kill(-ps.Cmd.Process.Pid, syscall.SIGTERM); err != nil {";
    tree.edit(PROCESS, signal, ours);
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:172`
    looked for: `PS.Cmd.Process.Signal(syscall.SIGTERM)` in `State.Stop`, once
    found: in lines 172 to 198, nearest to it:
    line 191: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
hint: a hand-made rr patch seems to be in place: take it out first, `git apply -R docs/dev/rr-debugging.patch`
nothing was written
"#]]);

    // Only the command line, and a Teardown that returns at once.
    let tree = Tree::new("installer");
    let command = "\tct.Args = append([]string{\"record\", \"--wait\", ct.Path}, ct.Args...)\n\tct.Path = \"rr\"\n";
    tree.edit(SYSTEM, "\tpr := &process.State{\n", &format!("{command}\tpr := &process.State{{\n"));
    tree.edit(SYSTEM, "\t\t\tc.wg.Wait()\n", "");
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:170`
    looked for: `C.wg.Wait()` in `system.Teardown`, once
    found: nothing like it in lines 170 to 199
hint: a hand-made rr patch seems to be in place: take it out first, `git apply -R docs/dev/rr-debugging.patch`
nothing was written
"#]]);
}

#[test]
fn apply_refuses_our_own_changes_without_a_journal_and_without_their_added_file() {
    let tree = Tree::patched("installer");
    fs::remove_dir_all(tree.path(STATE)).unwrap();
    tree.remove(ADDED);
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:177`
    looked for: `PS.Cmd.Process.Signal(syscall.SIGTERM)` in `State.Stop`, once
    found: in lines 177 to 204, nearest to it:
    line 197: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
  `pkg/clusterapi/internal/process/process.go:87`
    looked for: `PS.Cmd = exec.CommandContext(…)` in `State.Start`, once, not patched yet
    found: `ps.Cmd.Cancel = ps.terminate` is there already
  `pkg/clusterapi/system.go:175`
    looked for: `C.Lock()` at most once in `system.Teardown`, not patched yet
    found: `c.supervisor.Cancel()` is there already
  `pkg/clusterapi/system.go:81`
    looked for: `C.cancel = CANCEL` in `system.Run`, once, not patched yet
    found: `c.supervisor.SetCancel(cancel)` is there already
  `pkg/clusterapi/internal/process/process.go:82`
    looked for: `T := time.After(PS.StartTimeout)`, used only in `case <-T:` in `State.Start`, once
    found: in lines 82 to 140, nearest to it:
    line 138: `return fmt.Errorf("%s was not healthy within %s", path.Base(ps.Path), ps.StartTimeout)`
  `pkg/clusterapi/internal/process/process.go:177`
    looked for: `T := time.After(PS.StopTimeout)`, used only in `case <-T:` in `State.Stop`, once
    found: in lines 177 to 204, nearest to it:
    line 200: `return fmt.Errorf("%s did not stop within %s", path.Base(ps.Path), ps.StopTimeout)`
  `pkg/clusterapi/system.go:200`
    looked for: `select { case <-CH: … case <-time.After(…): … }` and `close(CH)` in `system.Teardown`, once, not patched yet
    found: `<-ch // However long it takes: the timer below starts when this is over.` is there already
  `pkg/clusterapi/system.go:189`
    looked for: `C.wg.Wait()` in `system.Teardown`, once, not patched yet
    found: `process.AwaitAll(&c.supervisor)` is there already
  `pkg/clusterapi/system.go:62`
    looked for: a field `lcp` in `type system struct` in `system`, once, not patched yet
    found: `supervisor process.Supervisor // Waits for all processes that were started.` is there already
  `pkg/clusterapi/internal/process/process.go:116`
    looked for: `ERR := PS.Cmd.Wait()` in `State.Start`, once, not patched yet
    found: `ps.logExit()` is there already
  `pkg/clusterapi/internal/process/process.go:177`
    looked for: `if DONE, ERR := PS.Exited(); DONE {`, with ERR used only in `if ERR != nil {…}` that does nothing but log in `State.Stop`, once
    found: nothing like it in lines 177 to 204
  `pkg/clusterapi/internal/process/process.go:82`
    looked for: `if ERR := PS.Cmd.Start(); ERR != nil {` in `State.Start`, once
    found: in lines 82 to 140, nearest to it:
    line 82: `func (ps *State) Start(ctx context.Context, stdout io.Writer, stderr io.Writer) (err error) {`
  `pkg/clusterapi/system.go:304`
    looked for: a parameter `CT *controller` and `PR := &process.State{…}` in `system.runController`, once, not patched yet
    found: `// The recorder takes the controller's place on the command line, if the controller was chosen.` is there already
  `pkg/clusterapi/internal/process/process.go:34`
    looked for: a first field in `type State struct` in `State`, once, not patched yet
    found: `supervision supervision // How it is recorded and waited for.` is there already
  `pkg/clusterapi/internal/process/process.go:136`
    looked for: no signal to the child alone left in `State.Start`, as `group-signal` promises
    found: `ps.Cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck`
  `pkg/clusterapi/internal/process/process.go:197`
    looked for: no signal to the child alone left in `State.Stop`, as `group-signal` promises
    found: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
  `pkg/clusterapi/internal/process/process.go:197`
    looked for: no timer and no SIGKILL left in `State.Stop`, as `no-timeouts` promises
    found: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
hint: rr-patch's changes are in these files, but not in its journal: get the originals back with `git checkout -- pkg/clusterapi`
nothing was written
"#]]);
    tree.rr_patch(&["status"])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is not patched: `rr-patch apply` does it"]);

    // What the hint says helps, but for the added files.
    tree.git(&["checkout", "--quiet", "--", "pkg/clusterapi"]);
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/internal/process/rr_patch_unix.go` exists already, but rr-patch would add it
  found: a file that rr-patch's journal does not know
hint: if it is left over from an earlier patch, remove it: `rm pkg/clusterapi/internal/process/rr_patch_unix.go`
nothing was written
"#]]);
}

// The journal.

/// A patched tree whose journal is changed.
fn with_journal(change: impl Fn(Vec<u8>) -> Vec<u8>) -> Tree {
    let tree = Tree::patched("installer");
    tree.write(JOURNAL, change(tree.read(JOURNAL)));
    tree
}

#[test]
fn every_command_refuses_a_journal_from_a_newer_version() {
    let tree = with_journal(|journal| {
        let end = journal.iter().position(|&b| b == b'\n').unwrap();
        let mut header: serde_json::Value = serde_json::from_slice(&journal[..end]).unwrap();
        header["format"] = 99.into();
        header["tool"] = "9.1.0".into();
        header["files"] = "in another form".into();
        [header.to_string().as_bytes(), &journal[end..]].concat()
    });
    for arguments in COMMANDS.into_iter().chain([&["build"][..], &["apply", "--controllers", "all"]]) {
        tree.refuses(arguments).says_exactly(str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` was written by a newer rr-patch, 9.1.0
  expected: format 1; found: format 99
hint: use rr-patch 9.1.0 or newer on this checkout
nothing was written
"#]]);
    }
}

#[test]
fn every_command_refuses_a_damaged_journal() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(Inline, Damage); 7] = [
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: it has no first line
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |_| Vec::new(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: it has no first line
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |journal| journal[..40].to_vec(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: expected value at line 1 column 1
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |journal| [b"garbage\n", &journal[..]].concat(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: missing field `shape` at line 1 column 30
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |_| b"{\"format\": 1, \"tool\": \"0.1.0\"}\n".to_vec(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: it is truncated
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |journal| journal[..journal.len() - 1].to_vec(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: it is truncated
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |journal| journal[..=journal.iter().position(|&b| b == b'\n').unwrap()].to_vec(),
        ),
        (
            str![[r#"
error: the journal `[FOLDER]/installer/.git/rr-patch/checkout/journal` is damaged: a file in it does not have the hash that it should have
hint: it holds the originals: keep a copy, get the files back with `git checkout -- pkg/clusterapi`, then remove it
nothing was written
"#]],
            |mut journal| {
                let last = journal.len() - 2;
                journal[last] ^= 1;
                journal
            },
        ),
    ];
    for (says, damage) in damages {
        let tree = with_journal(damage);
        for arguments in COMMANDS.into_iter().chain([&["build"][..]]) {
            tree.refuses(arguments).says_exactly(says.clone());
        }
    }
}

// Git halfway through something.

/// A checkout in which this git command has stopped at a conflict.
fn stopped(command: &[&str]) -> Tree {
    let tree = Tree::new("installer");
    let changed = |text: &str| {
        tree.write("README.md", format!("{text}\n"));
        tree.commit(text);
    };
    tree.git(&["checkout", "--quiet", "-b", "side"]);
    changed("of the side branch");
    tree.git(&["format-patch", "--quiet", "-1", "--output-directory", ".."]);
    tree.git(&["checkout", "--quiet", "main"]);
    changed("of the main branch");
    changed("of the main branch, too");
    assert_ne!(tree.run("git", command, &[]).code, 0, "{command:?} stops");
    tree
}

#[track_caller]
fn refuses_while(what: &str, command: &[&str]) {
    let tree = stopped(command);
    for arguments in [&["apply"][..], &["apply", "--dry-run"], &["apply", "--controllers", "all"]] {
        tree.refuses(arguments).says_exactly(format!(
            "error: a {what} is in progress in `[FOLDER]/installer`\n\
             hint: finish it first: `git {what} --continue` or `git {what} --abort`\n\
             nothing was written"
        ));
    }
    assert!(!tree.path(STATE).exists());
    tree.git(&[what, "--abort"]);
    tree.rr_patch(&["apply"]).exits(0);
}

#[test]
fn apply_refuses_while_a_merge_is_in_progress() {
    refuses_while("merge", &["merge", "side"]);
}

#[test]
fn apply_refuses_while_a_rebase_is_in_progress() {
    refuses_while("rebase", &["rebase", "side"]);
    refuses_while("rebase", &["rebase", "--apply", "side"]);
}

#[test]
fn apply_refuses_while_a_cherry_pick_is_in_progress() {
    refuses_while("cherry-pick", &["cherry-pick", "side"]);
}

#[test]
fn apply_refuses_while_a_revert_is_in_progress() {
    refuses_while("revert", &["revert", "--no-edit", "HEAD~1"]);
}

#[test]
fn apply_refuses_while_an_am_is_in_progress() {
    refuses_while("am", &["am", "../0001-of-the-side-branch.patch"]);
}

#[test]
fn apply_refuses_a_merge_in_a_linked_worktree_only_there() {
    let tree = Tree::new("installer");
    tree.git(&["worktree", "add", "--quiet", "-b", "linked", "../linked"]);
    tree.commit("on the main branch");
    tree.git(&["-C", "../linked", "commit", "--quiet", "--allow-empty", "--message", "on the other"]);
    tree.git(&["-C", "../linked", "merge", "--quiet", "--no-commit", "--no-ff", "main"]);
    tree.refuses(&["apply", "../linked"]).says_exactly(str![[r#"
error: a merge is in progress in `[FOLDER]/linked`
hint: finish it first: `git merge --continue` or `git merge --abort`
nothing was written
"#]]);
    tree.rr_patch(&["apply"]).exits(0);
}

#[test]
fn apply_refuses_a_merge_around_a_vendored_installer() {
    let tree = Tree::vendored("third_party/installer");
    tree.git(&["checkout", "--quiet", "-b", "side"]);
    tree.commit("on a side branch");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.git(&["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    tree.refuses(&["apply", "third_party/installer"]).says_exactly(str![[r#"
error: a merge is in progress in `[FOLDER]/outer`
hint: finish it first: `git merge --continue` or `git merge --abort`
nothing was written
"#]]);
}
