//! What every command shares: errors as documents, completions, manual pages.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Run, Tree, command, schema_path};
use snapbox::str;

fn rr_patch(arguments: &[&str]) -> Run {
    Run::of(command(env!("CARGO_BIN_EXE_rr-patch")).args(arguments).output().unwrap())
}

#[test]
fn errors_are_documents_where_results_are() {
    let tree = Tree::bare("p2");
    tree.remove("pkg/clusterapi/system.go");
    let run = tree.rr_patch(&["apply", "--format", "json"]).exits(3);
    let document = run.json();
    assert_eq!(document["schema"], "rr-patch/error/1");
    assert_eq!((&document["kind"], &document["exit"]), (&json!("refused"), &json!(3)));
    // The same words as those for people.
    let told = document["message"].as_str().unwrap();
    assert!(run.stderr.starts_with(&format!("error: {told}\n")), "{}", run.stderr);
    for key in ["details", "hints"] {
        for line in document[key].as_array().unwrap() {
            let first = line.as_str().unwrap().lines().next().unwrap();
            assert!(run.stderr.contains(first), "{first} is not in\n{}", run.stderr);
        }
    }
}

#[test]
fn a_command_line_that_is_not_understood_is_a_document_too() {
    let expected = |message: &str| json!({"schema": "rr-patch/error/1", "kind": "usage", "message": message, "details": [], "hints": [], "exit": 2});
    for arguments in [&["aply", "--format", "json"][..], &["--format=json", "aply"]] {
        let run = rr_patch(arguments).exits(2);
        assert_eq!(run.json(), expected("unrecognized subcommand 'aply'"), "{arguments:?}");
    }
    assert_eq!(rr_patch(&["aply"]).exits(2).stdout, "");
    assert!(rr_patch(&["--help", "--format", "json"]).exits(0).stdout.contains("Usage: "));
}

#[test]
fn completions_are_what_the_shell_takes() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = rr_patch(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("apply") && script.contains("dry-run"), "{shell}");
        assert_eq!(rr_patch(&["completions", shell, "--format", "json"]).exits(0).json()["script"], script, "{shell}");
    }
    let script = rr_patch(&["completions", "bash"]).stdout;
    let mut bash = command("bash");
    let completes =
        "COMP_WORDS=(rr-patch rev) COMP_CWORD=1; _rr__patch rr-patch rev rr-patch; echo \"${COMPREPLY[@]}\"";
    let mut child = bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{script}\n{completes}\n").as_bytes()).unwrap();
    let run = Run::of(child.wait_with_output().unwrap()).exits(0);
    assert_eq!(run.stdout, "revert\n");
}

#[test]
fn manual_pages_have_every_option_of_the_help() {
    let folder = TempDir::new().unwrap();
    rr_patch(&["man", "--output", folder.path().to_str().unwrap()]).exits(0);
    let page = rr_patch(&["man"]).exits(0).stdout;
    assert_eq!(fs::read_to_string(folder.path().join("rr-patch.1")).unwrap(), page);
    let help = rr_patch(&["apply", "--help"]).exits(0).stdout;
    let page = rr_patch(&["man", "apply"]).exits(0).stdout;
    let options: Vec<&str> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert!(options.len() > 10, "{help}");
    for option in options {
        let name = option.trim_end_matches([',', '`', '.', ';', ':', ')']).split('=').next().unwrap();
        assert!(page.contains(&name.replace('-', "\\-")), "{name} is not in\n{page}");
    }
    assert!(folder.path().join("rr-patch-traces.1").is_file());
    let help =
        fs::read_dir(folder.path()).unwrap().any(|page| page.unwrap().path().to_str().unwrap().contains("-help"));
    assert!(!help, "a page of a command `help` says what others say");
    rr_patch(&["man", "aply"]).exits(2).says_exactly(str![[r#"
error: rr-patch has no command `aply`
hint: did you mean `apply`?
hint: it has: apply, [..]
"#]]);
}

/// `RR_PATCH_BLESS=1 cargo test the_schemas` writes them.
#[test]
fn the_schemas_are_those_of_the_types() {
    let listed = rr_patch(&["schema"]).exits(0).stdout;
    let bless = std::env::var_os("RR_PATCH_BLESS").is_some();
    for name in listed.lines() {
        let derived = rr_patch(&["schema", name]).exits(0).stdout;
        let path = schema_path(name);
        if bless {
            fs::write(&path, &derived).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), derived, "{}", path.display());
    }
    let folder = schema_path("rr-patch/check/1").parent().unwrap().to_owned();
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let strays: Vec<_> = files.iter().filter(|file| !listed.lines().any(|name| schema_path(name) == **file)).collect();
    assert!(strays.is_empty(), "{strays:?}");
}

#[test]
fn a_schema_that_is_not_there_is_asked_for_by_a_name_like_it() {
    rr_patch(&["schema", "rr-patch/chek/1"]).exits(2).says_exactly(str![[r#"
error: no document is called `rr-patch/chek/1`
hint: did you mean `rr-patch/check/1`?
hint: `rr-patch schema` lists their names
"#]]);
}
