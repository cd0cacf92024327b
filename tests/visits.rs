//! `rr-patch traces writes` and `traces calls` on recordings of the seeded defects.

use std::path::Path;

use serde_json::Value;

use crate::defects;
use crate::delve;
use crate::harness::Run;

/// Runs the tool on a trace, whose path stands between the words.
fn run(name: &str, before: &[&str], after: &[&str]) -> Option<Run> {
    let trace = defects::trace(name)?;
    let mut tool = defects::tool()?;
    tool.args(before).arg(&trace).args(after);
    Some(Run::of(delve::where_it_replays(tool)?.output().unwrap()))
}

fn pairs(list: &Value, keys: [&str; 2]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|entry| (text(&entry[keys[0]]), text(&entry[keys[1]]))).collect()
}

#[test]
fn traces_writes_lists_the_writes_of_a_field_the_newest_first() {
    let options = ["c.phase", "--at", "is not provisioned", "--format", "json"];
    let Some(run) = run("phase-reset", &["traces", "writes"], &options) else { return };
    let found = run.exits(0).json();
    let values = pairs(&found["writes"], ["before", "after"]);
    let expected = [("2", "0"), ("1", "2"), ("0", "1")].map(|(before, after)| (before.to_owned(), after.to_owned()));
    assert_eq!(values, expected);
    assert_eq!(found["writes"][0]["function"], "main.(*cluster).resync");
    let line = found["writes"][0]["line"].as_u64().unwrap();
    assert_eq!(defects::lines("phase-reset", "c.phase = pending"), [line]);
}

#[test]
fn traces_writes_finds_an_element_of_a_map_and_says_what_it_watches() {
    let options = ["s.entries[\"machine-7\"]", "--at", "entry is there"];
    let Some(run) = run("evicted", &["traces", "writes"], &options) else { return };
    run.exits(0).prints(&["note: of a map, the slot", "0 -> 7", "main.(*store).put", "is not seen"]);
    let Some(run) = self::run("evicted", &["traces", "writes"], &["nothing.here", "--at", "entry is there"]) else {
        return;
    };
    run.exits(2).says(&["`nothing.here` names nothing there"]);
}

#[test]
fn traces_calls_lists_each_call_with_arguments_results_and_the_line_before() {
    let options = ["main.(*session).open", "--print", "s.tries", "--format", "json"];
    let Some(run) = run("exit-in-helper", &["traces", "calls"], &options) else { return };
    let found = run.exits(0).json();
    let calls = found["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 3);
    let printed: Vec<&str> = calls.iter().map(|call| call["arguments"][1].as_str().unwrap()).collect();
    assert_eq!(printed, ["s.tries = 0", "s.tries = 1", "s.tries = 2"]);
    assert_eq!(calls[0]["results"][0], "~r0 = nil");
    assert!(calls[2]["results"][0].as_str().unwrap().contains("no credentials"));
    assert_eq!((&calls[0]["log"], &calls[2]["log"]), (&Value::Null, &"session is open".into()));
    assert!(Path::new(calls[0]["file"].as_str().unwrap()).ends_with("exit-in-helper/main.go"));
}

#[test]
fn traces_calls_shows_the_calls_of_several_functions_in_the_order_of_time() {
    let functions = ["main.(*session).open", "main.keepOpen", "--format", "json"];
    let Some(run) = run("exit-in-helper", &["traces", "calls"], &functions) else { return };
    let found = run.exits(0).json();
    let called: Vec<&str> =
        found["calls"].as_array().unwrap().iter().map(|call| call["function"].as_str().unwrap()).collect();
    let (keep, open) = ("main.keepOpen", "main.(*session).open");
    assert_eq!(called, [keep, open, keep, open, keep, open]);
    assert_eq!(found["calls"][1]["results"][0], "~r0 = nil");
}

#[test]
fn traces_calls_asks_for_a_function_that_the_program_has() {
    let Some(run) = run("exit-in-helper", &["traces", "calls"], &["main.nobody"]) else { return };
    run.exits(2).says(&["the program has no function `main.nobody`"]);
}
