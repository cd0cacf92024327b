//! `rr-patch record --program`: any program under the recorder, with its own output, signals and exit status.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Run, command, kill};
use crate::recorder::{self, Trace};
use crate::watched::Watched;
use snapbox::str;

/// `rr-patch record --program` with the stand-in in PATH and a store of its own.
fn record(home: &Path, options: &[&str], program: &[&str]) -> Command {
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    let path = format!("{}:{}", recorder::folder().display(), std::env::var("PATH").unwrap());
    tool.env("PATH", path).env("XDG_DATA_HOME", home).current_dir(home);
    tool.args(["record", "--program", "--unchecked"]).args(options).arg("--").args(program);
    tool
}

/// The traces of the one run in a store.
fn traces(home: &Path) -> Vec<(String, Trace)> {
    let runs = fs::read_dir(home.join("rr")).unwrap().map(Result::unwrap);
    let mut runs = runs.filter(|run| run.file_name().to_string_lossy().starts_with("program-"));
    recorder::traces(&runs.next().expect("a folder for the run").path())
}

/// The one trace of the shell, whatever shell it is here.
fn is_whole(home: &Path) -> bool {
    matches!(traces(home).as_slice(), [(_, Trace::Complete)])
}

#[test]
fn record_program_passes_output_and_exit_status_through() {
    let home = tempfile::tempdir().unwrap();
    let run = Run::of(record(home.path(), &[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).output().unwrap());
    let run = run.exits(7).says(&["err\n", "ended with exit status 7", "next: `rr-patch explain program-"]);
    assert_eq!(run.stdout, "out\n");
    assert!(is_whole(home.path()), "{:?}", traces(home.path()));
}

#[test]
fn record_program_gives_one_document_and_keeps_the_programs_output_out_of_it() {
    let home = tempfile::tempdir().unwrap();
    let run = record(home.path(), &["--format", "json"], &["sh", "-c", "echo out; exit 3"]).output().unwrap();
    let document = Run::of(run).exits(3).says(&["out\n"]).json();
    assert_eq!((&document["code"], &document["end"]), (&3.into(), &"exit status 3".into()));
    assert_eq!(document["trace"]["state"], "complete");
}

#[test]
fn record_program_hands_a_signal_to_the_program_once_and_waits_for_rr() {
    for (signal, number) in [("TERM", 15), ("INT", 2)] {
        let home = tempfile::tempdir().unwrap();
        let script = format!(
            "trap 'echo got >> {0}/got; exit 5' {signal}; echo ready; while :; do sleep 0.05; done",
            home.path().display()
        );
        let mut tool = record(home.path(), &[], &["sh", "-c", &script]);
        let mut watched = Watched::start(tool.stdout(Stdio::piped()).stderr(Stdio::piped()));
        watched.until(&["ready"]);
        kill(signal, watched.child.id());
        assert_eq!(watched.child.wait().unwrap().code(), Some(5), "{number}");
        assert_eq!(fs::read_to_string(home.path().join("got")).unwrap(), "got\n");
        assert!(is_whole(home.path()), "{:?}", traces(home.path()));
    }
}

#[test]
fn record_program_says_what_is_missing_before_anything_is_recorded() {
    let home = tempfile::tempdir().unwrap();
    Run::of(record(home.path(), &[], &["no-such-program"]).output().unwrap()).exits(1).says_exactly(str![[r#"
error: cannot record `no-such-program`: it is not in PATH
hint: `rr-patch record --program -- PROGRAM ARGS…`
"#]]);
    Run::of(record(home.path(), &[], &[]).output().unwrap()).exits(2).says_exactly(str![[r#"
error: it is not said which program is to be recorded
  expected: the program and its arguments after `--`
hint: `rr-patch record --program -- PROGRAM ARGS…`
"#]]);
    Run::of(record(home.path(), &["stray"], &["sh"]).output().unwrap()).exits(2).says_exactly(str![[r#"
error: `stray` stands before `--`
  expected: the program and its arguments after `--`
hint: `rr-patch record --program -- PROGRAM ARGS…`
"#]]);
    assert!(!home.path().join("rr").exists());
}
