//! `rr-patch traces diff`: where the logs of two recordings part.

use std::path::Path;

use crate::defects;
use crate::harness::Run;

/// The trace of a shell script; nothing where nothing can be recorded.
fn trace(folder: &Path, name: &str, script: &str) -> Option<String> {
    let mut tool = defects::tool()?;
    tool.args(["record", "--program", "--unchecked", "--trace-dir"]).arg(folder.join(name));
    Run::of(tool.args(["--", "sh", "-c", script]).output().unwrap()).exits(0);
    let trace =
        std::fs::read_dir(folder.join(name)).unwrap().flatten().find(|entry| entry.path().join("version").exists());
    Some(trace.expect("a trace").path().display().to_string())
}

fn run(scripts: [&str; 2], options: &[&str]) -> Option<Run> {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (trace(folder.path(), "good", scripts[0])?, trace(folder.path(), "bad", scripts[1])?);
    let mut tool = defects::tool()?;
    Some(Run::of(tool.args(["traces", "diff", &good, &bad]).args(options).output().unwrap()))
}

#[test]
fn traces_diff_names_the_first_line_that_differs_and_goes_there_in_both() {
    let good = "echo pid $$; date +%Y-%m-%dT%H:%M:%SZ; echo a; echo b; echo stored worker-0; echo done";
    let bad = "echo pid $$; echo 2020-01-01T00:00:00Z; echo b; echo a; echo conflict on worker-0; echo done";
    let Some(run) = run([good, bad], &["--format", "json"]) else { return };
    let found = run.exits(0).json();
    assert_eq!((&found["equal"], &found["moved"]), (&4.into(), &1.into()), "{found:#}");
    let first = &found["differences"][0];
    assert_eq!(first["good"]["text"], "stored worker-0", "{found:#}");
    assert_eq!(first["bad"]["text"], "conflict on worker-0", "{found:#}");
    for (side, next) in [("good", 0), ("bad", 1)] {
        let command = found["next"][next].as_str().unwrap();
        assert!(command.ends_with(&format!(" --at {}", first[side]["event"])), "{found:#}");
    }
    let Some(run) = self::run([good, bad], &[]) else { return };
    run.exits(0).prints(&["- good ", "stored worker-0", "+ bad ", "conflict on worker-0", "the first line that moved"]);
}

#[test]
fn traces_diff_says_that_logs_are_equal_but_for_what_no_run_can_repeat() {
    let Some(run) = run(["echo pid $$ at 10:00:00", "echo pid $$ at 11:00:00"], &[]) else { return };
    run.exits(0).prints(&["the logs are equal but for times, ids", "next: `rr-patch explain "]);
}
