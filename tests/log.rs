//! `rr-patch traces log` on recordings of the seeded defects.

use std::fs;

use serde_json::Value;

use crate::defects;
use crate::harness::{Run, command};
use snapbox::str;

fn log(name: &str, options: &[&str]) -> Option<Run> {
    defects::run(name, &[&["traces", "log"], options].concat())
}

fn documents(run: &Run) -> Vec<Value> {
    run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn traces_log_gives_each_line_its_event_time_and_level() {
    let Some(run) = log("evicted", &["--format", "json"]) else { return };
    let lines = documents(&run.exits(0));
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["level"], &lines[1]["level"]), (&"info".into(), &"error".into()));
    assert_eq!(lines[1]["message"], "entry is gone");
    assert!(lines[1]["text"].as_str().unwrap().starts_with("{\"time\":"));
    let number = |line: &Value, key: &str| line[key].as_f64().unwrap();
    assert!(
        number(&lines[0], "event") < number(&lines[1], "event")
            && number(&lines[0], "time") < number(&lines[1], "time")
    );
    assert_eq!(lines[0]["schema"], "rr-patch/log-line/1");
}

#[test]
fn traces_log_joins_what_gos_runtime_writes_a_word_at_a_time() {
    let Some(run) = log("nil-map", &["--level", "fatal"]) else { return };
    run.exits(0).prints(&["fatal    panic: assignment to entry in nil map\n"]);
}

#[test]
fn traces_log_selects_by_expression_and_level() {
    let Some(run) = log("lock-kept", &["--grep", "no such|free", "--level", "error", "--format", "json"]) else {
        return;
    };
    let lines = documents(&run.exits(0));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["error"], "no such host");
}

#[test]
fn traces_log_keeps_its_lines_beside_the_trace_and_makes_damaged_ones_anew() {
    let Some(first) = log("conflict", &["--format", "json"]) else { return };
    let index = defects::trace("conflict").unwrap().join("rr-patch-log.jsonl");
    let kept = fs::read(&index).unwrap();
    let again = log("conflict", &["--format", "json"]).unwrap().exits(0);
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), (first.stdout.as_str(), ""));
    fs::write(&index, &kept[..kept.len() / 2]).unwrap();
    let anew = log("conflict", &["--format", "json"]).unwrap().exits(0).says(&["once for what it wrote"]);
    assert_eq!(anew.stdout, first.stdout);
    assert_eq!(fs::read(&index).unwrap(), kept);
}

#[test]
fn traces_log_refuses_a_trace_that_was_killed_half_way() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("x-0");
    fs::create_dir(&trace).unwrap();
    for name in ["events", "data", "mmaps", "tasks"] {
        fs::write(trace.join(name), "").unwrap();
    }
    fs::write(trace.join("incomplete"), "85\n").unwrap();
    fs::write(trace.join("mmap_copy_1_x"), "x").unwrap();
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    let run = Run::of(tool.args(["traces", "log"]).arg(&trace).output().unwrap()).exits(1);
    run.says_exactly(str![[r#"
error: what `[FOLDER]/x-0` wrote cannot be read
  looked at: `[FOLDER]/x-0`, which is dead
  rr was killed or crashed before it closed the trace: there is `incomplete` in place of `version`, and rr cannot repair it
hint: `rr-patch traces` lists the others
"#]]);
}
