//! What is asked of traces that are odd: without debug information, optimised, of a program that wrote nothing, still
//! being recorded, or killed half way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Run, command, copy, fixtures, kill};
use crate::{defects, delve};

/// A program of one file, built with these flags.
fn build(folder: &Path, source: &str, flags: &[&str]) -> PathBuf {
    fs::write(folder.join("go.mod"), "module example.com/edge\n\ngo 1.25\n").unwrap();
    fs::write(folder.join("main.go"), source).unwrap();
    let program = folder.join("edge");
    let mut go = command("go");
    go.current_dir(folder).arg("build").args(flags).arg("-o").arg(&program).arg(".");
    Run::of(go.output().unwrap()).exits(0);
    program
}

/// Records a program to its end; nothing where no recorder works.
fn record(folder: &Path, program: &Path) -> Option<PathBuf> {
    let store = folder.join("traces");
    let mut tool = defects::tool()?;
    tool.args(["record", "--program", "--unchecked", "--trace-dir"]).arg(&store).arg("--").arg(program);
    tool.output().unwrap();
    let trace = store.join("edge-0");
    assert!(trace.join("version").is_file());
    Some(trace)
}

fn ask(arguments: &[&str], trace: &Path) -> Option<Run> {
    let mut tool = defects::tool()?;
    tool.args(arguments).arg(trace);
    Some(Run::of(delve::where_it_replays(tool)?.output().unwrap()))
}

fn nil_map() -> String {
    fs::read_to_string(fixtures().join("defects/nil-map/main.go")).unwrap()
}

#[test]
fn a_program_without_debug_information_has_a_log_and_suspects_from_gos_own_tables() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), &nil_map(), &["-ldflags=-s -w"]);
    let Some(trace) = record(folder.path(), &program) else { return };
    ask(&["traces", "log"], &trace).unwrap().exits(0).prints(&["panic: assignment to entry in nil map"]);
    let Some(run) = ask(&["explain", "--format", "json"], &trace) else { return };
    let found = run.exits(0).json();
    assert_eq!(found["end"]["how"], "panic");
    assert!(found["limits"][0].as_str().unwrap().contains("no debug information"), "{found}");
    assert_eq!(found["suspects"][0]["function"], "main.(*machine).setCondition", "{found}");
}

#[test]
fn explain_says_what_cannot_be_trusted_of_an_optimised_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), &nil_map(), &[]);
    let Some(trace) = record(folder.path(), &program) else { return };
    let Some(run) = ask(&["explain"], &trace) else { return };
    run.exits(0)
        .prints(&["1. main.(*machine).setCondition", "note: the program was optimised: variables may be missing"]);
}

#[test]
fn a_program_that_wrote_nothing_has_an_empty_log_and_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "package main\n\nfunc main() {}\n", &["-gcflags=all=-N -l"]);
    let Some(trace) = record(folder.path(), &program) else { return };
    ask(&["traces", "log"], &trace).unwrap().exits(0).says(&["edge-0` wrote nothing"]);
    let Some(run) = ask(&["explain"], &trace) else { return };
    run.exits(0).prints(&["ended by itself, exit status 0", "none was found"]);
}

#[test]
fn a_trace_that_is_being_recorded_or_was_killed_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let source = "package main\n\nimport \"time\"\n\nfunc main() { println(\"up\"); time.Sleep(time.Hour) }\n";
    let program = build(folder.path(), source, &["-gcflags=all=-N -l"]);
    let store = folder.path().join("traces");
    let Some(mut tool) = defects::tool() else { return };
    tool.args(["record", "--program", "--unchecked", "--trace-dir"]).arg(&store).arg("--").arg(&program);
    let mut child = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let trace = store.join("edge-0");
    let began = Instant::now();
    while !trace.join("incomplete").metadata().is_ok_and(|seen| seen.len() > 0) {
        assert!(began.elapsed() < Duration::from_secs(30), "rr did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    for arguments in [&["traces", "log"][..], &["explain"], &["replay", "--at", "up"]] {
        ask(arguments, &trace).unwrap().exits(1).says(&["cannot be re", "which is recording"]);
    }
    kill("TERM", child.id());
    child.wait().unwrap();

    // As if rr had been killed: its header was never written.
    let dead = folder.path().join("dead-0");
    copy(&trace, &dead);
    fs::remove_file(dead.join("version")).unwrap();
    fs::write(dead.join("incomplete"), "85\n").unwrap();
    for arguments in [&["traces", "log"][..], &["explain"], &["replay", "--at", "up"]] {
        ask(arguments, &dead).unwrap().exits(1).says(&["cannot be re", "which is dead"]);
    }
}

#[test]
fn a_program_built_from_a_vendored_module_has_suspects_as_an_installers_controllers_have() {
    let folder = tempfile::tempdir().unwrap();
    let vendored = folder.path().join("vendor/example.com/controller");
    fs::create_dir_all(&vendored).unwrap();
    fs::write(vendored.join("main.go"), nil_map()).unwrap();
    let modules = "# example.com/controller v1.0.0\n## explicit; go 1.25\nexample.com/controller\n";
    fs::write(folder.path().join("vendor/modules.txt"), modules).unwrap();
    let module = "module example.com/all\n\ngo 1.25\n\nrequire example.com/controller v1.0.0\n";
    fs::write(folder.path().join("go.mod"), module).unwrap();
    let program = folder.path().join("edge");
    let mut go = command("go");
    go.current_dir(folder.path()).args(["build", "-mod=vendor", "-gcflags=all=-N -l", "-o"]);
    Run::of(go.arg(&program).arg("./vendor/example.com/controller").output().unwrap()).exits(0);
    let Some(trace) = record(folder.path(), &program) else { return };
    let Some(run) = ask(&["explain", "--format", "json"], &trace) else { return };
    let found = run.exits(0).json();
    assert_eq!(found["suspects"][0]["function"], "main.(*machine).setCondition", "{found}");
}

/// Objects that were used and are garbage lie where the last one is made.
const REUSED: &str = r#"package main

import (
	"fmt"
	"runtime"
)

type object struct {
	number int
	rest   [1000]int
}

var kept *object

func fill(from int) {
	for n := range 4000 {
		kept = &object{number: from + n}
	}
}

func main() {
	fill(1)
	runtime.GC()
	fill(10000)
	kept.number = 7
	fmt.Println("it is made")
}
"#;

#[test]
fn traces_writes_ends_where_the_memory_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), REUSED, &["-gcflags=all=-N -l"]);
    let Some(trace) = record(folder.path(), &program) else { return };
    let Some(mut tool) = defects::tool() else { return };
    tool.args(["traces", "writes"]).arg(&trace).args(["main.kept.number", "--at", "it is made", "--format", "json"]);
    let Some(mut tool) = delve::where_it_replays(tool) else { return };
    let found = Run::of(tool.output().unwrap()).exits(0).json();
    let writes = found["writes"].as_array().unwrap();
    assert_eq!((&writes[0]["after"], &writes[1]["after"]), (&"7".into(), &"13999".into()), "{found}");
    assert_eq!(
        (writes.len(), &writes[2]["made"]),
        (3, &true.into()),
        "what lay there before was something else: {found}"
    );
}
