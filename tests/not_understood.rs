//! Sources of shapes that rr-patch does not understand: each place is named, with what was expected there, and
//! nothing is written.

use std::fs;

use snapbox::{IntoData, str};

use crate::harness::{ADDED, ADDED_UNIX, PROCESS, PROCESS_UNIX, STATE, SYSTEM, Tree};

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
