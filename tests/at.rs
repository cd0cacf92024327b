//! `rr-patch replay --at`: Delve stands where a line was written.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::defects;
use crate::delve;
use crate::harness::{Run, kill};
use crate::watched::{Watched, processes_with};

/// Opens a trace there, and asks Delve for the stack of its current goroutine.
fn stack_at(name: &str, at: &str) -> Option<Vec<(String, u64)>> {
    let trace = defects::trace(name)?;
    let mut tool = defects::tool()?;
    tool.args(["replay", "--port", "0", "--at", at, "--format", "json"]).arg(&trace);
    let mut tool = delve::where_it_replays(tool)?;
    let mut watched = Watched::start(tool.stdout(Stdio::piped()).stderr(Stdio::piped()));
    watched.until(&["\"address\": \"", "\"warnings\""]);
    let said = watched.said();
    let address = said.split("\"address\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let state = ask(&address, "State", json!({}));
    let goroutine = &state["result"]["State"]["currentGoroutine"]["id"];
    let stack = ask(&address, "Stacktrace", json!({ "Id": goroutine, "Depth": 40 }));
    let frames = stack["result"]["Locations"].as_array().unwrap().iter();
    let frames = frames.map(|frame| {
        (frame["function"]["name"].as_str().unwrap_or_default().to_owned(), frame["line"].as_u64().unwrap())
    });
    let frames = frames.collect();
    kill("INT", watched.child.id());
    let ended = watched.child.wait().unwrap();
    assert!(ended.success(), "{name}: {ended}, {}", watched.said());
    let left = processes_with(trace.to_str().unwrap());
    assert!(left.is_empty(), "{name}: {left:?}");
    Some(frames)
}

fn ask(address: &str, method: &str, parameters: Value) -> Value {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let question = json!({ "method": format!("RPCServer.{method}"), "params": [parameters], "id": 1 });
    stream.write_all(format!("{question}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn replay_at_a_text_stands_in_the_goroutine_and_the_line_that_wrote_it() {
    for (name, text, function, source) in [
        ("evicted", "entry is gone", "main.(*store).check", "slog.Error("),
        ("lock-kept", "no such host", "main.reconciler", "fmt.Fprintf("),
        ("done-forgotten", "job is not valid", "main.probe", "log.Printf("),
    ] {
        let Some(stack) = stack_at(name, text) else { return };
        let line = defects::lines(name, source)[0];
        assert!(stack.contains(&(function.to_owned(), line)), "{name}: {stack:?}");
    }
}

#[test]
fn replay_at_a_line_of_the_runtime_stands_in_the_goroutine_that_panicked() {
    let Some(stack) = stack_at("nil-map", "panic: assignment to entry") else { return };
    let line = defects::lines("nil-map", "m.status.conditions[kind] = value")[0];
    assert!(stack.contains(&("main.(*machine).setCondition".to_owned(), line)), "{stack:?}");
}

#[test]
fn replay_at_a_text_that_stands_several_times_lists_its_places() {
    let Some(run) = defects::run("exit-in-helper", &["replay", "--at", "session is open"]) else { return };
    let run: Run = run.exits(2);
    run.says(&["stands in 2 lines", "event ", "`--at EVENT` names one of them"]);
    let Some(run) = defects::run("exit-in-helper", &["replay", "--at", "never written"]) else { return };
    run.exits(1).says(&["no line of", "holds `never written`"]);
}

#[test]
fn replay_at_crash_stands_where_go_ended_the_program() {
    for (name, end, function, source) in [
        ("nil-map", "runtime.fatalpanic", "main.(*machine).setCondition", "m.status.conditions[kind] = value"),
        ("unlocked-twice", "runtime.fatal", "main.(*cache).drop", "defer c.mu.Unlock()"),
        ("exit-in-helper", "os.Exit", "main.giveUp", "os.Exit(3)"),
    ] {
        let Some(stack) = stack_at(name, "crash") else { return };
        assert!(stack.iter().take(3).any(|(function, _)| function.starts_with(end)), "{name}: {stack:?}");
        let line = defects::lines(name, source)[0];
        let found = stack.iter().any(|(other, at)| other == function && (*at == line || source.starts_with("defer")));
        assert!(found, "{name}: {stack:?}");
    }
}

#[test]
fn replay_at_start_stands_in_front_of_main_and_at_end_in_the_last_whole_moment() {
    let Some(stack) = stack_at("evicted", "start") else { return };
    assert_eq!(stack[0].0, "main.main");
    let Some(stack) = stack_at("lock-cycle", "end") else { return };
    assert!(!stack.is_empty(), "{stack:?}");
}
