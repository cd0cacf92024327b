//! Bad input of every kind: each is refused with its own message, code 3, and nothing written.

use std::fs;

use crate::harness::{ADDED, ADDED_UNIX, JOURNAL, PROCESS, PROCESS_UNIX, STATE, SYSTEM, Tree, copy, fixtures, skip};

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
        tree.refuses(&[arguments, &["../empty"]].concat()).says(&[
            &format!("error: `{}` is not an installer checkout\n", empty.display()),
            "expected: a folder `pkg/clusterapi` in it, or in a folder above\n",
            "hint: name one: `rr-patch COMMAND PATH`; an installer vendored inside another checkout: `--root PATH`\n",
        ]);
    }
    assert_eq!(fs::read_dir(empty).unwrap().count(), 0);
}

#[test]
fn apply_refuses_the_checkout_of_something_else() {
    let tree = Tree::vendored("third_party/installer");
    tree.refuses(&["apply"]).says(&["is not an installer checkout\n", "`--root PATH`\n"]);
    assert!(!tree.path(STATE).exists());
}

#[test]
fn apply_does_not_look_for_an_installer_above_the_top_of_a_checkout() {
    let tree = Tree::new("installer");
    fs::create_dir(tree.path("other")).unwrap();
    tree.git(&["-C", "other", "init", "--quiet"]);
    tree.refuses(&["apply", "other"])
        .says(&[&format!("error: `{}` is not an installer", tree.path("other").display())]);
}

#[test]
fn apply_refuses_a_path_that_does_not_exist() {
    let tree = Tree::new("installer");
    for arguments in COMMANDS {
        tree.refuses(&[arguments, &["no/such"]].concat()).says(&[
            "error: `no/such` is not a checkout: No such file or directory",
            "hint: name the folder of an openshift/installer checkout",
        ]);
    }
}

#[test]
fn apply_refuses_a_bare_repository() {
    let tree = Tree::new("installer");
    tree.git(&["clone", "--quiet", "--bare", ".", "../bare.git"]);
    for arguments in COMMANDS {
        tree.refuses(&[arguments, &["../bare.git"]].concat()).says(&[
            &format!("error: `{}` is a bare repository: it has no files to patch\n", tree.beside("bare.git").display()),
            "hint: make a work tree of it: `git worktree add ../installer`\n",
        ]);
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
    tree.refuses(&["apply"])
        .says(&["error: git does not trust `", "hint: if you trust it: `git config --global --add safe.directory "]);
}

#[test]
fn apply_root_refuses_what_is_no_installer_below_the_top() {
    let tree = Tree::vendored("third_party/installer");
    for root in ["third_party", "no/such", "third_party/installer/go.mod", "..", "/etc"] {
        tree.refuses(&["apply", "--root", root]).says(&[
            "is not an installer checkout\n",
            "expected: a folder `pkg/clusterapi` in it\n",
            "hint: `--root` takes the installer's folder, relative to the top of the checkout\n",
        ]);
    }
    // One that is an installer, but in no folder of this checkout.
    copy(&fixtures().join("installer"), &tree.beside("elsewhere"));
    tree.refuses(&["apply", "--root", "../elsewhere"]).says(&["is not an installer checkout\n"]);
    tree.link("link", "../elsewhere");
    tree.refuses(&["apply", "--root", "link"]).says(&["is not an installer checkout\n"]);
}

// The files.

#[test]
fn apply_refuses_when_a_file_is_missing() {
    for file in [PROCESS, SYSTEM] {
        let tree = Tree::new("installer");
        tree.remove(file);
        for arguments in [&["apply"][..], &["apply", "--dry-run"], &["diff"]] {
            tree.refuses(arguments).says(&[
                &format!("error: `{file}` is missing\n"),
                "expected: the sources of the Cluster API supervisor, which the installer has had since 2023-11\n",
                &format!("hint: if it was deleted: `git checkout -- {file}`\n"),
            ]);
        }
        assert!(!tree.path(STATE).exists());
    }
}

#[test]
fn apply_refuses_a_p2_checkout_whose_unix_part_is_missing() {
    let tree = Tree::new("p2");
    tree.remove(PROCESS_UNIX);
    tree.refuses(&["apply"]).says(&["looked for: `PS.Cmd.Process.Signal(syscall.SIGTERM)` in `State.Stop`, once\n"]);
}

#[test]
fn apply_refuses_go_that_does_not_parse_and_says_where() {
    for (shape, file, before, bad) in [
        ("installer", PROCESS, "\tready := make(chan bool)\n", "\tx := = 1\n"),
        ("installer", SYSTEM, "\tlcp := &localControlPlane{}\n", "\tif lcp {{\n"),
        ("p2", PROCESS_UNIX, "func stopProcess(ps *State) error {\n", "\treturn (\n"),
    ] {
        let tree = Tree::new(shape);
        tree.edit(file, before, &format!("{before}{bad}"));
        let run =
            tree.refuses(&["apply"]).says(&["error: `", "  found: ", &format!("hint: `gofmt -l {file}` says more")]);
        let place = run.stderr.strip_prefix(&format!("error: `{file}:")).unwrap_or_else(|| panic!("{}", run.stderr));
        let (place, rest) = place.split_once('`').unwrap();
        assert!(rest.starts_with(" is not valid Go\n"), "{}", run.stderr);
        let (line, column) = place.split_once(':').unwrap();
        let line: usize = line.parse().unwrap();
        let text = tree.text(file);
        assert!((1..=text.lines().count()).contains(&line), "{place}");
        assert!(column.parse::<usize>().unwrap() >= 1, "{place}");
    }
}

#[test]
fn apply_says_line_and_column_of_go_that_does_not_parse() {
    let tree = Tree::new("installer");
    tree.edit(PROCESS, "\tready := make(chan bool)\n", "\tready := = make(chan bool)\n");
    let line = 1 + tree.text(PROCESS).lines().position(|line| line.contains(":= =")).unwrap();
    tree.refuses(&["apply"]).says(&[
        &format!("error: `{PROCESS}:{line}:11` is not valid Go\n"),
        &format!(
            "hint: `gofmt -l {PROCESS}` says more; mend the file, or get it back with `git checkout -- {PROCESS}`\n"
        ),
    ]);
}

#[test]
fn apply_refuses_a_file_with_conflict_markers() {
    let tree = Tree::new("installer");
    tree.edit(
        SYSTEM,
        "\tc.cancel = cancel\n",
        "<<<<<<< HEAD\n\tc.cancel = cancel\n=======\n\tc.stop = cancel\n>>>>>>> side\n",
    );
    let line = 1 + tree.text(SYSTEM).lines().position(|line| line.starts_with("<<<<<<<")).unwrap();
    tree.refuses(&["apply"]).says(&[&format!("error: `{SYSTEM}:{line}:"), "is not valid Go\n"]);
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
            tree.refuses(&["apply"]).says(&[
                &format!("error: `{file}` is a symlink, where a file should be\n"),
                &format!("  found: `{file}` -> `{target}`\n"),
                "hint: replace the link by the file",
            ]);
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
            tree.refuses(&["apply"]).says(&[
                &format!("error: `{PROCESS}` leaves the checkout by the symlink `{folder}`\n"),
                &format!("  found: `{folder}` -> `{}`\n", outside.display()),
            ]);
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
    let error = format!("error: `{SYSTEM}` is not a regular file\n");
    tree.refuses(&["apply"]).says(&[&error, "  found: a folder\n"]);

    fs::remove_dir(tree.path(SYSTEM)).unwrap();
    tree.run("mkfifo", &[SYSTEM], &[]).exits(0);
    // No snapshot: to read a pipe is to wait for ever.
    tree.rr_patch(&["apply"]).refuses().says(&[&error, "  found: a special file\n"]);
}

#[test]
fn apply_refuses_a_file_of_the_users_where_one_would_be_added() {
    let tree = Tree::new("installer");
    tree.write(ADDED, "package process\n\n// mine\n");
    for arguments in [&["apply"][..], &["apply", "--dry-run"], &["diff"]] {
        tree.refuses(arguments).says(&[
            &format!("error: `{ADDED}` exists already, but rr-patch would add it\n"),
            "found: a file that rr-patch's journal does not know\n",
            &format!("hint: if it is left over from an earlier patch, remove it: `rm {ADDED}`\n"),
        ]);
    }
}

#[test]
fn apply_refuses_a_folder_or_a_link_where_a_file_would_be_added() {
    let tree = Tree::new("installer");
    fs::create_dir(tree.path(ADDED)).unwrap();
    tree.refuses(&["apply"]).says(&[&format!("error: `{ADDED}` is not a regular file\n"), "  found: a folder\n"]);
    fs::remove_dir(tree.path(ADDED)).unwrap();
    tree.link(ADDED, "/nonexistent/rr_patch.go");
    tree.refuses(&["apply"]).says(&[&format!("error: `{ADDED}` is a symlink, where a file should be\n")]);
}

// Shapes that are not understood.

/// Asserts that a change to one file makes it a shape that is not understood, and what is said.
#[track_caller]
fn not_understood(shape: &str, file: &str, old: &str, new: &str, says: &[&str]) {
    let tree = Tree::new(shape);
    tree.edit(file, old, new);
    tree.refuses(&["apply"])
        .says(&["error: this shape of the installer's sources is not understood\n"])
        .says(&["hint: a newer release? see \"A new installer release\" in rr-patch's README for how to mend a rule\n"])
        .says(says);
    assert!(!tree.path(STATE).exists());
}

/// What is said of a place that is not understood, up to what was found there.
fn misfit(file: &str, line: usize, looked_for: &str) -> String {
    format!("  `{file}:{line}`\n    looked for: {looked_for}\n")
}

/// The line, from 1, of a text that stands once in a fixture's file.
#[track_caller]
fn line(shape: &str, file: &str, text: &str) -> usize {
    let of_shape = fixtures().join("shapes").join(shape).join(file);
    let source = fs::read_to_string(of_shape).or_else(|_| fs::read_to_string(fixtures().join("installer").join(file)));
    let source = source.unwrap();
    assert_eq!(source.matches(text).count(), 1, "`{text}` in {file}");
    1 + source[..source.find(text).unwrap()].matches('\n').count()
}

#[test]
fn apply_refuses_another_kind_of_timer_in_start() {
    let at = line("installer", PROCESS, "time.After(ps.StartTimeout)");
    let start = line("installer", PROCESS, ") Start(");
    not_understood(
        "installer",
        PROCESS,
        "\ttimedOut := time.After(ps.StartTimeout)\n",
        "\ttimer := time.NewTimer(ps.StartTimeout)\n\ttimedOut := timer.C\n",
        &[
            &misfit(
                PROCESS,
                start,
                "`T := time.After(PS.StartTimeout)`, used only in `case <-T:` in `State.Start`, once",
            ),
            &format!("    found: in lines {start} to "),
            &format!("    line {at}: `timer := time.NewTimer(ps.StartTimeout)`\n"),
            &format!("  `{PROCESS}:{at}`\n    looked for: no timer and no SIGKILL left in `State.Start`"),
        ],
    );
}

#[test]
fn apply_refuses_a_second_wait_in_teardown() {
    let at = line("installer", SYSTEM, "\t\t\tc.wg.Wait()\n");
    not_understood(
        "installer",
        SYSTEM,
        "\t\t\tc.wg.Wait()\n",
        "\t\t\tc.wg.Wait()\n\t\t\tc.wg.Wait()\n",
        &[
            "    looked for: `C.wg.Wait()` in `system.Teardown`, once\n",
            &format!(
                "    found: 2 such places:\n    {SYSTEM}:{at}: `c.wg.Wait()`\n    {SYSTEM}:{}: `c.wg.Wait()`\n",
                at + 1
            ),
        ],
    );
}

#[test]
fn apply_refuses_a_stop_without_a_signal() {
    let stop = line("installer", PROCESS, ") Stop(");
    not_understood(
        "installer",
        PROCESS,
        "if err := ps.Cmd.Process.Signal(syscall.SIGTERM); err != nil {\n\t\treturn fmt.Errorf(\"cannot send SIGTERM",
        "if err := ps.ask(); err != nil {\n\t\treturn fmt.Errorf(\"cannot ask",
        &[&misfit(PROCESS, stop, "`PS.Cmd.Process.Signal(syscall.SIGTERM)` in `State.Stop`, once"), "    found: "],
    );
}

#[test]
fn apply_refuses_a_use_of_the_timer_outside_its_case() {
    let at = line("installer", PROCESS, "time.After(ps.StartTimeout)") + 1;
    not_understood(
        "installer",
        PROCESS,
        "\ttimedOut := time.After(ps.StartTimeout)\n",
        "\ttimedOut := time.After(ps.StartTimeout)\n\tgo watch(timedOut)\n",
        &[
            &format!("  `{PROCESS}:{at}`\n"),
            "in `State.Start`, once, and no other use of `timedOut`\n    found: `go watch(timedOut)`\n",
        ],
    );
}

#[test]
fn apply_refuses_an_extra_sigkill_in_stop() {
    let at = line("installer", PROCESS, "\ttimedOut := time.After(ps.StopTimeout)\n");
    for kill in ["ps.Cmd.Process.Signal(syscall.SIGKILL)", "syscall.Kill(ps.Cmd.Process.Pid, syscall.SIGKILL)"] {
        not_understood(
            "installer",
            PROCESS,
            "\ttimedOut := time.After(ps.StopTimeout)\n",
            &format!("\t{kill}\n\ttimedOut := time.After(ps.StopTimeout)\n"),
            &[
                &misfit(PROCESS, at, "no timer and no SIGKILL left in `State.Stop`, as `no-timeouts` promises"),
                &format!("    found: `{kill}`\n"),
            ],
        );
    }
}

#[test]
fn apply_refuses_other_ways_to_kill_or_to_give_up() {
    let forbidden = "left in `";
    for (file, before, added) in [
        (PROCESS, "\tps.waitDone = make(chan struct{})\n", "\tps.Cmd.WaitDelay = time.Second\n"),
        (PROCESS, "\tps.waitDone = make(chan struct{})\n", "\ttime.AfterFunc(time.Minute, ps.giveUp)\n"),
        (
            PROCESS,
            "\tps.waitDone = make(chan struct{})\n",
            "\tctx, done := context.WithTimeout(ctx, time.Minute)\n\tdefer done()\n",
        ),
        (PROCESS, "\ttimedOut := time.After(ps.StopTimeout)\n", "\tps.Cmd.Process.Kill()\n"),
        (PROCESS, "\ttimedOut := time.After(ps.StopTimeout)\n", "\tps.Cmd.Process.Signal(os.Kill)\n"),
        (PROCESS, "\ttimedOut := time.After(ps.StopTimeout)\n", "\tps.Cmd.Process.Signal(syscall.SIGINT)\n"),
        (SYSTEM, "\t\tch := make(chan struct{})\n", "\t\ttick := time.NewTicker(time.Second)\n"),
        (
            SYSTEM,
            "\t\tch := make(chan struct{})\n",
            "\t\tlate, stop := context.WithDeadline(context.Background(), c.end)\n",
        ),
    ] {
        let at = line("installer", file, before);
        let found = format!("    found: `{}`\n", added.lines().next().unwrap().trim());
        not_understood(
            "installer",
            file,
            before,
            &format!("{added}{before}"),
            &[&format!("  `{file}:{at}`\n"), forbidden, &found],
        );
    }
}

#[test]
fn apply_refuses_a_second_case_with_a_timer_in_teardown() {
    let case = "\t\tcase <-time.After(5 * time.Second):\n";
    let at = line("installer", SYSTEM, case);
    not_understood(
        "installer",
        SYSTEM,
        case,
        &format!("\t\tcase <-time.After(c.patience):\n\t\t\tlogrus.Warn(\"so late\")\n{case}"),
        &[
            "`select { case <-CH: … case <-time.After(…): … }` and `close(CH)` in `system.Teardown`, once\n",
            "nearest to it:\n",
            &format!("    line {at}: `"),
            &format!("    line {}: `", at + 2),
        ],
    );
}

#[test]
fn apply_refuses_a_teardown_that_gives_up_in_no_known_way() {
    let teardown = line("installer", SYSTEM, ") Teardown() {");
    not_understood(
        "installer",
        SYSTEM,
        "\t\tcase <-time.After(5 * time.Second):\n",
        "\t\tcase <-c.patience():\n",
        &[
            &misfit(
                SYSTEM,
                teardown,
                "`select { case <-CH: … case <-time.After(…): … }` and `close(CH)` in `system.Teardown`, once",
            ),
            "    found: ",
        ],
    );
}

#[test]
fn apply_refuses_a_teardown_whose_channel_is_not_closed() {
    not_understood(
        "installer",
        SYSTEM,
        "\t\t\tclose(ch)\n",
        "\t\t\tch <- struct{}{}\n",
        &["and `close(CH)` in `system.Teardown`, once\n"],
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
    tree.refuses(&["apply"]).says(&[
        "once, not patched yet\n    found: `process.AwaitAll(&c.supervisor)` is there already\n",
        "found: `c.supervisor.Cancel()` is there already\n",
        "found: `<-ch // However long",
        "hint: rr-patch's changes are in these files, but not in its journal",
    ]);
}

#[test]
fn apply_refuses_a_renamed_function() {
    for (file, name) in [(SYSTEM, "runController"), (SYSTEM, "Teardown"), (PROCESS, "Stop"), (PROCESS, "Start")] {
        not_understood(
            "installer",
            file,
            &format!(") {name}("),
            &format!(") {name}Renamed("),
            &[&format!("  `{file}:1`\n"), &format!(".{name}`, once\n    found: no function `"), &format!(".{name}`\n")],
        );
    }
}

#[test]
fn apply_refuses_a_controller_that_is_handed_over_in_another_way() {
    let at = line("installer", SYSTEM, ") runController(");
    not_understood(
        "installer",
        SYSTEM,
        "runController(ctx context.Context, ct *controller) error {\n",
        "runController(ctx context.Context, ct *Controller) error {\n",
        &[&misfit(
            SYSTEM,
            at,
            "a parameter `CT *controller` and `PR := &process.State{…}` in `system.runController`, once",
        )],
    );
}

#[test]
fn apply_refuses_a_package_that_is_imported_under_another_name() {
    not_understood(
        "installer",
        SYSTEM,
        "\t\"github.com/openshift/installer/pkg/clusterapi/internal/process\"\n",
        "\tproc \"github.com/openshift/installer/pkg/clusterapi/internal/process\"\n",
        &[
            &format!(
                "  `{SYSTEM}:1`\n    looked for: an import of `github.com/openshift/installer/pkg/clusterapi/internal/process` under its own name"
            ),
            "    found: none\n",
        ],
    );
}

#[test]
fn apply_refuses_a_failed_exit_whose_error_is_used_otherwise() {
    let at = line("installer", PROCESS, "had already ended") + 2;
    not_understood(
        "installer",
        PROCESS,
        "\"%s had already ended: %v\", path.Base(ps.Path), err)\n\t\t}\n\t\treturn nil\n",
        "\"%s had already ended: %v\", path.Base(ps.Path), err)\n\t\t}\n\t\treturn err\n",
        &[&format!("  `{PROCESS}:{at}`\n"), "and no other use of `err`\n    found: `return err`\n"],
    );
}

#[test]
fn apply_refuses_a_failed_exit_that_is_more_than_warned_of() {
    not_understood(
        "installer",
        PROCESS,
        "\t\t\tlogrus.Warnf(\"%s had already ended: %v\", path.Base(ps.Path), err)\n",
        "\t\t\treturn fmt.Errorf(\"%s had already ended: %w\", path.Base(ps.Path), err)\n",
        &[PROCESS, "State.Stop"],
    );
}

#[test]
fn apply_refuses_p2_with_an_extra_kill_in_stop() {
    let at = line("p2", PROCESS, "\ttimedOut := time.After(ps.StopTimeout)\n");
    not_understood(
        "p2",
        PROCESS,
        "\ttimedOut := time.After(ps.StopTimeout)\n",
        "\tkillProcess(ps)\n\ttimedOut := time.After(ps.StopTimeout)\n",
        &[
            &misfit(PROCESS, at, "no SIGKILL left in `State.Stop`, as `no-timeouts` promises"),
            "    found: `killProcess(ps)`\n",
        ],
    );
}

#[test]
fn apply_refuses_p2_whose_stop_process_does_something_else() {
    let at = line("p2", PROCESS_UNIX, "func stopProcess(");
    not_understood(
        "p2",
        PROCESS_UNIX,
        "return ps.Cmd.Process.Signal(syscall.SIGTERM)",
        "return ps.Cmd.Process.Signal(os.Interrupt)",
        &[
            &misfit(PROCESS_UNIX, at, "`PS.Cmd.Process.Signal(syscall.SIGTERM)` in `stopProcess`, once"),
            &format!("    line {}: `return ps.Cmd.Process.Signal(os.Interrupt)`\n", at + 1),
        ],
    );
}

#[test]
fn apply_lists_every_place_that_is_not_understood_at_once() {
    let tree = Tree::new("installer");
    tree.edit(PROCESS, "time.After(ps.StopTimeout)", "ps.patience()");
    tree.edit(SYSTEM, "pr := &process.State{", "pr := process.New(process.State{");
    tree.edit(SYSTEM, "\t\tStopTimeout:  2 * time.Second,\n\t}\n", "\t\tStopTimeout:  2 * time.Second,\n\t})\n");
    tree.refuses(&["apply"]).says(&[
        "looked for: `T := time.After(PS.StopTimeout)`, used only in",
        "looked for: a parameter `CT *controller` and `PR := &process.State{…}` in",
    ]);
}

#[test]
fn apply_refuses_two_statements_on_one_line() {
    let tree = Tree::new("installer");
    tree.edit(SYSTEM, "\tc.cancel = cancel\n", "\tc.cancel = cancel; logrus.Debug(\"local\")\n");
    let at = 1 + tree.text(SYSTEM).lines().position(|line| line.contains("c.cancel = cancel;")).unwrap();
    tree.refuses(&["apply"]).says(&[
        &format!("error: `{SYSTEM}:{at}` shares a line with other code\n"),
        &format!("hint: `gofmt -w {SYSTEM}` gives every statement its own\n"),
    ]);
}

// Patches that are there already.

#[test]
fn apply_refuses_a_hand_made_patch_and_says_how_to_take_it_out() {
    let hint = "hint: a hand-made rr patch seems to be in place: take it out first, \
                `git apply -R docs/dev/rr-debugging.patch`\n";
    let tree = Tree::new("installer");
    let signal = "if err := ps.Cmd.Process.Signal(syscall.SIGTERM); err != nil {";
    let ours = "if err := syscall.Kill(-ps.Cmd.Process.Pid, syscall.SIGTERM); err != nil {";
    tree.edit(PROCESS, signal, ours);
    tree.refuses(&["apply"]).says(&["is not understood\n", hint]);

    // Only the command line, and a Teardown that returns at once.
    let tree = Tree::new("installer");
    let command = "\tct.Args = append([]string{\"record\", \"--wait\", ct.Path}, ct.Args...)\n\tct.Path = \"rr\"\n";
    tree.edit(SYSTEM, "\tpr := &process.State{\n", &format!("{command}\tpr := &process.State{{\n"));
    tree.edit(SYSTEM, "\t\t\tc.wg.Wait()\n", "");
    tree.refuses(&["apply"]).says(&["is not understood\n", hint]);
}

#[test]
fn apply_refuses_our_own_changes_without_a_journal_and_without_their_added_file() {
    let tree = Tree::patched("installer");
    fs::remove_dir_all(tree.path(STATE)).unwrap();
    tree.remove(ADDED);
    tree.refuses(&["apply"]).says(&[
        "error: this shape of the installer's sources is not understood\n",
        "hint: rr-patch's changes are in these files, but not in its journal: \
         get the originals back with `git checkout -- pkg/clusterapi`\n",
    ]);
    tree.rr_patch(&["status"]).exits(0).prints(&["is not patched"]);

    // What the hint says helps, but for the added files.
    tree.git(&["checkout", "--quiet", "--", "pkg/clusterapi"]);
    tree.refuses(&["apply"]).says(&[
        "exists already, but rr-patch would add it\n",
        "hint: if it is left over from an earlier patch, remove it: `rm ",
    ]);
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
        tree.refuses(arguments).says(&[
            &format!("error: the journal `{}` was written by a newer rr-patch, 9.1.0\n", tree.path(JOURNAL).display()),
            "  expected: format 1; found: format 99\n",
            "hint: use rr-patch 9.1.0 or newer on this checkout\n",
        ]);
    }
}

#[test]
fn every_command_refuses_a_damaged_journal() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(&str, Damage); 7] = [
        ("it has no first line", |_| Vec::new()),
        ("it has no first line", |journal| journal[..40].to_vec()),
        ("expected", |journal| [b"garbage\n", &journal[..]].concat()),
        ("missing field", |_| b"{\"format\": 1, \"tool\": \"0.1.0\"}\n".to_vec()),
        ("it is truncated", |journal| journal[..journal.len() - 1].to_vec()),
        ("it is truncated", |journal| journal[..=journal.iter().position(|&b| b == b'\n').unwrap()].to_vec()),
        ("a file in it does not have the hash that it should have", |mut journal| {
            let last = journal.len() - 2;
            journal[last] ^= 1;
            journal
        }),
    ];
    for (why, damage) in damages {
        let tree = with_journal(damage);
        for arguments in COMMANDS.into_iter().chain([&["build"][..]]) {
            tree.refuses(arguments).says(&[
                &format!("error: the journal `{}` is damaged: ", tree.path(JOURNAL).display()),
                why,
                "hint: it holds the originals: keep a copy, \
                 get the files back with `git checkout -- pkg/clusterapi`, then remove it\n",
            ]);
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
        tree.refuses(arguments).says(&[
            &format!("error: a {what} is in progress in `{}`\n", tree.root().display()),
            &format!("hint: finish it first: `git {what} --continue` or `git {what} --abort`\n"),
        ]);
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
    tree.refuses(&["apply", "../linked"]).says(&["error: a merge is in progress in `"]);
    tree.rr_patch(&["apply"]).exits(0);
}

#[test]
fn apply_refuses_a_merge_around_a_vendored_installer() {
    let tree = Tree::vendored("third_party/installer");
    tree.git(&["checkout", "--quiet", "-b", "side"]);
    tree.commit("on a side branch");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.git(&["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    tree.refuses(&["apply", "third_party/installer"])
        .says(&[&format!("error: a merge is in progress in `{}`\n", tree.root().display())]);
}
