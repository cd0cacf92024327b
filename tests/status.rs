//! `rr-patch status`: which changes are in place and where, and what became of the files since.

use serde_json::{Value, json};

use crate::harness::{ADDED, ADDED_UNIX, PROCESS, STATE, SYSTEM, Tree};

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
    run.prints(&[
        &format!("patched: `{}`, shape P1+S6\n", tree.root().display()),
        &format!("by:      rr-patch {} on {}\n", env!("CARGO_PKG_VERSION"), &tree.git(&["rev-parse", "HEAD"])[..12]),
        "options: the defaults\n",
        "records: rr record --wait --disable-avx-512 --bind-to-cpu=0 <controller>\n",
        "\nnothing was edited since\n",
    ]);
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
    run.prints(&[
        &format!("by:      rr-patch {}\n", env!("CARGO_PKG_VERSION")),
        "options: --controllers aws,cluster-api --rr /opt/rr/bin/rr --rr-arg=--chaos --bind-to-cpu none \
         --avx512 keep --signal rr\n",
        "records: /opt/rr/bin/rr record --wait --chaos <controller>\n",
    ]);
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
    tree.rr_patch(&["status"]).exits(0).prints(&[
        "\nsince then:\n",
        &format!("  {PROCESS} was edited since apply: `rr-patch revert` keeps such edits\n"),
        &format!("  {SYSTEM} was edited since apply"),
    ]);
}

#[test]
fn status_says_which_changed_line_was_edited_or_is_gone() {
    let tree = Tree::patched("installer");
    let line = 1 + tree.text(PROCESS).lines().position(|line| line.contains(".Cmd.Cancel = ")).unwrap();
    tree.edit(PROCESS, "ps.Cmd.Cancel = ps.terminate", "ps.Cmd.Cancel = nil");
    tree.rr_patch(&["status"]).exits(4).prints(&[
        &format!("partly patched: `{}`, shape P1+S6\n", tree.root().display()),
        "  graceful-cancel  NOT whole     cancelling sends that SIGTERM",
        &format!("{PROCESS}:{line} is gone or edited\n"),
        "  no-timeouts      in place      ",
    ]);
    let report = json_of(&tree);
    assert_eq!((&report["state"], &report["patched"]), (&json!("partly patched"), &json!(false)));
    let cancel = &report["changes"][1];
    assert_eq!((&cancel["change"], &cancel["in_place"]), (&json!("graceful-cancel"), &json!(false)));
    assert_eq!(cancel["sites"][0], json!({"path": PROCESS, "line": null}));
    assert_eq!(report["changes"][2]["in_place"], true);

    // The only place of a change: nothing of it is left.
    tree.edit(ADDED, "\tps.Env = append(ps.Env, \"RR_COPY_ALL_FILES=1\")\n", "");
    tree.rr_patch(&["status"]).exits(4).prints(&["  whole-trace      NOT in place  ", &format!("{ADDED}:")]);
}

#[test]
fn status_notes_files_that_have_their_original_bytes_again_or_are_gone() {
    let tree = Tree::patched("installer");
    tree.git(&["checkout", "--quiet", "--", SYSTEM]);
    tree.remove(ADDED_UNIX);
    tree.remove(PROCESS);
    tree.rr_patch(&["status"]).exits(4).prints(&[
        &format!("  {SYSTEM} has its original bytes: `rr-patch apply` patches it again\n"),
        &format!("  {ADDED_UNIX} was removed since: `rr-patch apply` adds it again\n"),
        &format!("  {PROCESS} was deleted since apply\n"),
        "  rr-command       NOT whole     ",
    ]);
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
