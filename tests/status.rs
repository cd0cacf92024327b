//! `rr-patch status`: which changes are in place and where, and what became of the files since.

use serde_json::{Value, json};

use crate::harness::{ADDED, ADDED_UNIX, PROCESS, STATE, SYSTEM, Tree};
use snapbox::str;

/// The sites of a report: change, path, line.
fn sites(report: &Value) -> Vec<(String, String, Option<u64>)> {
    let mut all = Vec::new();
    for change in report["changes"].as_array().unwrap() {
        for site in change["sites"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            all.push((text(&change["change"]), text(&site["path"]), site["line"].as_u64()));
        }
    }
    all
}

/// A status as JSON, which ends with the code that its state stands for.
fn json_of(tree: &Tree) -> Value {
    let run = tree.rr_patch(&["status", "--format", "json"]);
    let report = run.json();
    run.exits(if report["state"] == "partly patched" { 4 } else { 0 });
    report
}

#[test]
fn status_of_a_tree_that_is_not_patched_says_so_and_writes_nothing() {
    for tree in [Tree::new("installer"), Tree::bare("installer")] {
        let before = tree.snapshot();
        let run = tree.rr_patch(&["status"]).exits(0);
        let root = tree.root().display();
        assert_eq!(run.stdout, format!("`{root}` is not patched: `rr-patch apply` does it\n"));
        assert_eq!(run.stderr, "");
        let expected = json!({"schema": "rr-patch/status/1", "patched": false, "root": tree.root()});
        assert_eq!(json_of(&tree), expected);
        assert!(tree.snapshot() == before && !tree.path(STATE).exists());
    }
}

#[test]
fn status_says_which_changes_are_in_place_and_where() {
    let tree = Tree::new("installer");
    let applied = tree.rr_patch(&["apply", "--format", "json"]).exits(0).json();
    let before = (tree.snapshot(), tree.state(), tree.times());
    let run = tree.rr_patch(&["status"]).exits(0);
    let head = &tree.git(&["rev-parse", "HEAD"])[..12];
    run.prints(&[&format!("by:      rr-patch {} on {head}\n", env!("CARGO_PKG_VERSION"))]).prints_exactly(str![[r#"
patched: `[FOLDER]/installer`, shape P1+S6
by:      rr-patch [VERSION] on [..]
options: the defaults
records: rr record --wait --disable-avx-512 --bind-to-cpu=0 <controller>

  group-signal     in place      SIGTERM goes to the process group, once
                                 pkg/clusterapi/internal/process/process.go:187
                                 pkg/clusterapi/internal/process/rr_patch_unix.go:29
  graceful-cancel  in place      cancelling sends that SIGTERM, never SIGKILL
                                 pkg/clusterapi/internal/process/process.go:88
                                 pkg/clusterapi/system.go:82
                                 pkg/clusterapi/system.go:174
  no-timeouts      in place      no timer ends a process or the wait for one
                                 pkg/clusterapi/internal/process/process.go:98
                                 pkg/clusterapi/internal/process/process.go:99
                                 pkg/clusterapi/internal/process/process.go:191
                                 pkg/clusterapi/internal/process/process.go:192
                                 pkg/clusterapi/system.go:64
                                 pkg/clusterapi/system.go:188
                                 pkg/clusterapi/system.go:196
  exit-log         in place      every exit is logged once, with code or signal
                                 pkg/clusterapi/internal/process/process.go:117
                                 pkg/clusterapi/internal/process/process.go:181
                                 pkg/clusterapi/internal/process/rr_patch.go:365
  rr-command       in place      the chosen controllers run under the recorder
                                 pkg/clusterapi/internal/process/process.go:34
                                 pkg/clusterapi/internal/process/process.go:108
                                 pkg/clusterapi/system.go:312
                                 pkg/clusterapi/internal/process/rr_patch.go:168
  whole-trace      in place      the trace keeps its own copy of the program
                                 pkg/clusterapi/internal/process/rr_patch.go:136

nothing was edited since
"#]]);
    let report = json_of(&tree);
    assert_eq!(report["patched"], true);
    assert_eq!(sites(&report), sites(&applied), "where apply said that they are");

    let text = tree.rr_patch(&["status"]).stdout;
    let places: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("pkg/")).collect();
    let expected: Vec<String> =
        sites(&report).iter().map(|(_, path, line)| format!("{path}:{}", line.unwrap())).collect();
    assert_eq!(places, expected);
    assert_eq!(text.matches(" in place  ").count(), 6);
    assert!(before == (tree.snapshot(), tree.state(), tree.times()), "status only looks");
}

#[test]
fn status_says_with_which_options() {
    let tree = Tree::bare("installer");
    let options =
        ["--controllers", "aws,cluster-api", "--rr", "/opt/rr/bin/rr", "--rr-arg=--chaos", "--bind-to-cpu", "none"];
    let more = ["--avx512", "keep", "--signal", "rr"];
    tree.rr_patch(&[&["apply"], &options[..], &more].concat()).exits(0);
    let run = tree.rr_patch(&["status"]).exits(0);
    run.prints_exactly(str![[r#"
patched: `[FOLDER]/installer`, shape P1+S6
by:      rr-patch [VERSION]
options: --controllers aws,cluster-api --rr /opt/rr/bin/rr --rr-arg=--chaos --bind-to-cpu none --avx512 keep --signal rr
records: /opt/rr/bin/rr record --wait --chaos <controller>

  group-signal     in place      SIGTERM goes to the process group, once
                                 pkg/clusterapi/internal/process/process.go:187
                                 pkg/clusterapi/internal/process/rr_patch_unix.go:29
  graceful-cancel  in place      cancelling sends that SIGTERM, never SIGKILL
                                 pkg/clusterapi/internal/process/process.go:88
                                 pkg/clusterapi/system.go:82
                                 pkg/clusterapi/system.go:174
  no-timeouts      in place      no timer ends a process or the wait for one
                                 pkg/clusterapi/internal/process/process.go:98
                                 pkg/clusterapi/internal/process/process.go:99
                                 pkg/clusterapi/internal/process/process.go:191
                                 pkg/clusterapi/internal/process/process.go:192
                                 pkg/clusterapi/system.go:64
                                 pkg/clusterapi/system.go:188
                                 pkg/clusterapi/system.go:196
  exit-log         in place      every exit is logged once, with code or signal
                                 pkg/clusterapi/internal/process/process.go:117
                                 pkg/clusterapi/internal/process/process.go:181
                                 pkg/clusterapi/internal/process/rr_patch.go:365
  rr-command       in place      the chosen controllers run under the recorder
                                 pkg/clusterapi/internal/process/process.go:34
                                 pkg/clusterapi/internal/process/process.go:108
                                 pkg/clusterapi/system.go:312
                                 pkg/clusterapi/internal/process/rr_patch.go:168
  whole-trace      in place      the trace keeps its own copy of the program
                                 pkg/clusterapi/internal/process/rr_patch.go:136

nothing was edited since
"#]]);
    let report = json_of(&tree);
    let expected = json!({
        "controllers": ["aws", "cluster-api"], "rr": "/opt/rr/bin/rr", "rr_args": ["--chaos"], "bind_to_cpu": null,
        "avx512": "keep", "signal": "rr",
    });
    assert_eq!(report["options"], expected);
    assert_eq!(report["command"], json!(["/opt/rr/bin/rr", "record", "--wait", "--chaos"]));
    assert_eq!(report["base"], Value::Null);
}

#[test]
fn status_gives_the_lines_as_they_are_after_edits_elsewhere() {
    let tree = Tree::patched("installer");
    let before = sites(&json_of(&tree));
    tree.edit(PROCESS, "\nimport (\n", "\n// One.\n// Two.\n// Three.\n\nimport (\n");
    // A line less in Run, and between Teardown and runController one more: what lies between moves up.
    let removed = 1 + tree.text(SYSTEM).lines().position(|line| line.contains("// Teardown cancels")).unwrap() as u64;
    tree.edit(SYSTEM, "\t// Teardown cancels this context.\n", "");
    tree.edit(
        SYSTEM,
        "// CleanEtcd removes what etcd stored.\n",
        "// CleanEtcd removes what etcd stored:\n// all of it.\n",
    );

    let report = json_of(&tree);
    assert_eq!(report["patched"], false);
    let line_of = |text: &str| 1 + tree.text(SYSTEM).lines().position(|line| line.contains(text)).unwrap() as u64;
    let clean_etcd = line_of("// CleanEtcd removes");
    for ((change, path, old), (_, _, new)) in before.iter().zip(sites(&report)) {
        let (old, new) = (old.unwrap(), new.unwrap_or_else(|| panic!("{change} {path} is lost")));
        let expected = match path.as_str() {
            PROCESS => old + 4,
            SYSTEM if (removed..clean_etcd).contains(&old) => old - 1,
            _ => old,
        };
        assert_eq!(new, expected, "{change} {path}:{old}");
    }
    for change in report["changes"].as_array().unwrap() {
        assert_eq!(change["in_place"], true, "{change}");
    }
    tree.rr_patch(&["status"]).exits(0).prints_exactly(str![[r#"
patched: `[FOLDER]/installer`, shape P1+S6
by:      rr-patch [VERSION] on [..]
options: the defaults
records: rr record --wait --disable-avx-512 --bind-to-cpu=0 <controller>

  group-signal     in place      SIGTERM goes to the process group, once
                                 pkg/clusterapi/internal/process/process.go:191
                                 pkg/clusterapi/internal/process/rr_patch_unix.go:29
  graceful-cancel  in place      cancelling sends that SIGTERM, never SIGKILL
                                 pkg/clusterapi/internal/process/process.go:92
                                 pkg/clusterapi/system.go:81
                                 pkg/clusterapi/system.go:173
  no-timeouts      in place      no timer ends a process or the wait for one
                                 pkg/clusterapi/internal/process/process.go:102
                                 pkg/clusterapi/internal/process/process.go:103
                                 pkg/clusterapi/internal/process/process.go:195
                                 pkg/clusterapi/internal/process/process.go:196
                                 pkg/clusterapi/system.go:64
                                 pkg/clusterapi/system.go:187
                                 pkg/clusterapi/system.go:195
  exit-log         in place      every exit is logged once, with code or signal
                                 pkg/clusterapi/internal/process/process.go:121
                                 pkg/clusterapi/internal/process/process.go:185
                                 pkg/clusterapi/internal/process/rr_patch.go:365
  rr-command       in place      the chosen controllers run under the recorder
                                 pkg/clusterapi/internal/process/process.go:38
                                 pkg/clusterapi/internal/process/process.go:112
                                 pkg/clusterapi/system.go:312
                                 pkg/clusterapi/internal/process/rr_patch.go:168
  whole-trace      in place      the trace keeps its own copy of the program
                                 pkg/clusterapi/internal/process/rr_patch.go:136

since then:
  pkg/clusterapi/internal/process/process.go was edited since apply: `rr-patch revert` keeps such edits
  pkg/clusterapi/system.go was edited since apply: `rr-patch revert` keeps such edits
"#]]);
}

#[test]
fn status_says_which_changed_line_was_edited_or_is_gone() {
    let tree = Tree::patched("installer");
    tree.edit(PROCESS, "ps.Cmd.Cancel = ps.terminate", "ps.Cmd.Cancel = nil");
    tree.rr_patch(&["status"]).exits(4).prints_exactly(str![[r#"
partly patched: `[FOLDER]/installer`, shape P1+S6
by:      rr-patch [VERSION] on [..]
options: the defaults
records: rr record --wait --disable-avx-512 --bind-to-cpu=0 <controller>

  group-signal     in place      SIGTERM goes to the process group, once
                                 pkg/clusterapi/internal/process/process.go:187
                                 pkg/clusterapi/internal/process/rr_patch_unix.go:29
  graceful-cancel  NOT whole     cancelling sends that SIGTERM, never SIGKILL
                                 pkg/clusterapi/internal/process/process.go:88 is gone or edited
                                 pkg/clusterapi/system.go:82
                                 pkg/clusterapi/system.go:174
  no-timeouts      in place      no timer ends a process or the wait for one
                                 pkg/clusterapi/internal/process/process.go:98
                                 pkg/clusterapi/internal/process/process.go:99
                                 pkg/clusterapi/internal/process/process.go:191
                                 pkg/clusterapi/internal/process/process.go:192
                                 pkg/clusterapi/system.go:64
                                 pkg/clusterapi/system.go:188
                                 pkg/clusterapi/system.go:196
  exit-log         in place      every exit is logged once, with code or signal
                                 pkg/clusterapi/internal/process/process.go:117
                                 pkg/clusterapi/internal/process/process.go:181
                                 pkg/clusterapi/internal/process/rr_patch.go:365
  rr-command       in place      the chosen controllers run under the recorder
                                 pkg/clusterapi/internal/process/process.go:34
                                 pkg/clusterapi/internal/process/process.go:108
                                 pkg/clusterapi/system.go:312
                                 pkg/clusterapi/internal/process/rr_patch.go:168
  whole-trace      in place      the trace keeps its own copy of the program
                                 pkg/clusterapi/internal/process/rr_patch.go:136

since then:
  pkg/clusterapi/internal/process/process.go was edited since apply: `rr-patch revert` keeps such edits
"#]]);
    let report = json_of(&tree);
    assert_eq!((&report["state"], &report["patched"]), (&json!("partly patched"), &json!(false)));
    let cancel = &report["changes"][1];
    assert_eq!((&cancel["change"], &cancel["in_place"]), (&json!("graceful-cancel"), &json!(false)));
    assert_eq!(cancel["sites"][0], json!({"path": PROCESS, "line": null}));
    assert_eq!(report["changes"][2]["in_place"], true);

    // The only place of a change: nothing of it is left.
    tree.edit(ADDED, "\tps.Env = append(ps.Env, \"RR_COPY_ALL_FILES=1\")\n", "");
    tree.rr_patch(&["status"]).exits(4).prints_exactly(str![[r#"
partly patched: `[FOLDER]/installer`, shape P1+S6
by:      rr-patch [VERSION] on [..]
options: the defaults
records: rr record --wait --disable-avx-512 --bind-to-cpu=0 <controller>

  group-signal     in place      SIGTERM goes to the process group, once
                                 pkg/clusterapi/internal/process/process.go:187
                                 pkg/clusterapi/internal/process/rr_patch_unix.go:29
  graceful-cancel  NOT whole     cancelling sends that SIGTERM, never SIGKILL
                                 pkg/clusterapi/internal/process/process.go:88 is gone or edited
                                 pkg/clusterapi/system.go:82
                                 pkg/clusterapi/system.go:174
  no-timeouts      in place      no timer ends a process or the wait for one
                                 pkg/clusterapi/internal/process/process.go:98
                                 pkg/clusterapi/internal/process/process.go:99
                                 pkg/clusterapi/internal/process/process.go:191
                                 pkg/clusterapi/internal/process/process.go:192
                                 pkg/clusterapi/system.go:64
                                 pkg/clusterapi/system.go:188
                                 pkg/clusterapi/system.go:196
  exit-log         in place      every exit is logged once, with code or signal
                                 pkg/clusterapi/internal/process/process.go:117
                                 pkg/clusterapi/internal/process/process.go:181
                                 pkg/clusterapi/internal/process/rr_patch.go:364
  rr-command       in place      the chosen controllers run under the recorder
                                 pkg/clusterapi/internal/process/process.go:34
                                 pkg/clusterapi/internal/process/process.go:108
                                 pkg/clusterapi/system.go:312
                                 pkg/clusterapi/internal/process/rr_patch.go:167
  whole-trace      NOT in place  the trace keeps its own copy of the program
                                 pkg/clusterapi/internal/process/rr_patch.go:136 is gone or edited

since then:
  pkg/clusterapi/internal/process/process.go was edited since apply: `rr-patch revert` keeps such edits
  pkg/clusterapi/internal/process/rr_patch.go was edited since apply: `rr-patch revert` keeps such edits
"#]]);
}

#[test]
fn status_notes_files_that_have_their_original_bytes_again_or_are_gone() {
    let tree = Tree::patched("installer");
    tree.git(&["checkout", "--quiet", "--", SYSTEM]);
    tree.remove(ADDED_UNIX);
    tree.remove(PROCESS);
    tree.rr_patch(&["status"]).exits(4).prints_exactly(str![[r#"
partly patched: `[FOLDER]/installer`, shape P1+S6
by:      rr-patch [VERSION] on [..]
options: the defaults
records: rr record --wait --disable-avx-512 --bind-to-cpu=0 <controller>

  group-signal     NOT in place  SIGTERM goes to the process group, once
                                 pkg/clusterapi/internal/process/process.go:187 is gone or edited
                                 pkg/clusterapi/internal/process/rr_patch_unix.go:29 is gone or edited
  graceful-cancel  NOT in place  cancelling sends that SIGTERM, never SIGKILL
                                 pkg/clusterapi/internal/process/process.go:88 is gone or edited
                                 pkg/clusterapi/system.go:82 is gone or edited
                                 pkg/clusterapi/system.go:174 is gone or edited
  no-timeouts      NOT in place  no timer ends a process or the wait for one
                                 pkg/clusterapi/internal/process/process.go:98 is gone or edited
                                 pkg/clusterapi/internal/process/process.go:99 is gone or edited
                                 pkg/clusterapi/internal/process/process.go:191 is gone or edited
                                 pkg/clusterapi/internal/process/process.go:192 is gone or edited
                                 pkg/clusterapi/system.go:64 is gone or edited
                                 pkg/clusterapi/system.go:188 is gone or edited
                                 pkg/clusterapi/system.go:196 is gone or edited
  exit-log         NOT whole     every exit is logged once, with code or signal
                                 pkg/clusterapi/internal/process/process.go:117 is gone or edited
                                 pkg/clusterapi/internal/process/process.go:181 is gone or edited
                                 pkg/clusterapi/internal/process/rr_patch.go:365
  rr-command       NOT whole     the chosen controllers run under the recorder
                                 pkg/clusterapi/internal/process/process.go:34 is gone or edited
                                 pkg/clusterapi/internal/process/process.go:108 is gone or edited
                                 pkg/clusterapi/system.go:312 is gone or edited
                                 pkg/clusterapi/internal/process/rr_patch.go:168
  whole-trace      in place      the trace keeps its own copy of the program
                                 pkg/clusterapi/internal/process/rr_patch.go:136

since then:
  pkg/clusterapi/internal/process/process.go was deleted since apply
  pkg/clusterapi/system.go has its original bytes: `rr-patch apply` patches it again
  pkg/clusterapi/internal/process/rr_patch_unix.go was removed since: `rr-patch apply` adds it again
"#]]);
    let report = json_of(&tree);
    assert_eq!(report["patched"], false);
    let file = |path: &str, state: &str, added: bool| json!({"path": path, "state": state, "added": added});
    let expected = [
        file(PROCESS, "missing", false),
        file(SYSTEM, "original", false),
        file(ADDED, "patched", true),
        file(ADDED_UNIX, "original", true),
    ];
    assert_eq!(report["files"], json!(expected));
}

#[test]
fn status_after_git_stash_says_that_nothing_is_in_place() {
    let tree = Tree::patched("installer");
    tree.git(&["stash", "--quiet", "--include-untracked"]);
    let run = tree.rr_patch(&["status"]).exits(0);
    assert_eq!(run.stdout.matches(" NOT in place ").count(), 6, "{}", run.stdout);
    assert!(run.stdout.starts_with("not patched: `"), "{}", run.stdout);
    assert_eq!(json_of(&tree)["state"], "not patched");
    tree.git(&["stash", "pop", "--quiet"]);
    tree.rr_patch(&["status"]).exits(0).prints(&["\nnothing was edited since\n"]);
}
