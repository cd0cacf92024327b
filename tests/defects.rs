//! The seeded defects: built once, and recorded once each by `record --program` where a real recorder works.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;

use crate::delve;
use crate::end_to_end::real_rr;
use crate::harness::{Run, command, copy, fixtures, kill, skip};

/// The names of all of them.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(fixtures().join("defects")).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What is expected of one.
pub fn wanted(name: &str) -> Value {
    let path = fixtures().join("defects").join(name).join("want.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The lines of a defect's source that hold a text, from 1.
pub fn lines(name: &str, text: &str) -> Vec<u64> {
    let source = fs::read_to_string(fixtures().join("defects").join(name).join("main.go")).unwrap();
    (1..).zip(source.lines()).filter(|(_, line)| line.contains(text)).map(|(number, _)| number).collect()
}

/// Whether a suspect is the one that is wanted: its function, and its line where the source tells it.
pub fn is(name: &str, suspect: &Value, wanted: &Value) -> bool {
    let line = suspect["line"].as_u64().unwrap();
    suspect["function"] == wanted["function"]
        && wanted["source"].as_str().is_none_or(|text| lines(name, text).contains(&line))
}

/// A folder with a program for each of them, built for debugging.
pub fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("defects");
        let _ = fs::remove_dir_all(&folder);
        copy(&fixtures().join("defects"), &folder.join("src"));
        fs::create_dir(folder.join("bin")).unwrap();
        let mut go = command("go");
        go.current_dir(folder.join("src")).args(["build", "-gcflags=all=-N -l", "-o", "../bin/", "./..."]);
        Run::of(go.output().unwrap()).exits(0);
        folder.join("bin")
    })
}

/// rr-patch where the real recorder and the real Delve are found, and Delve replays. Nothing, with a word why, where
/// one of them is missing.
pub fn tool() -> Option<Command> {
    static RR: OnceLock<Option<(PathBuf, &'static [&'static str])>> = OnceLock::new();
    let rr = RR.get_or_init(|| real_rr().and_then(|(path, options)| Some((path, options?))));
    let Some((rr, options)) = rr else {
        skip(&["rr"], "no rr of this machine can record here");
        return None;
    };
    let dlv = delve::delve()?;
    let folders = [dlv.parent().unwrap(), rr.parent().unwrap()].map(|folder| folder.display().to_string()).join(":");
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.env("PATH", format!("{folders}:{}", std::env::var("PATH").unwrap()));
    tool.env("RR_PATCH_RECORD", format!("rr record {} --wait", options.join(" ")));
    Some(tool)
}

/// The trace of a defect, recorded once; nothing where [`tool`] has nothing.
pub fn trace(name: &str) -> Option<PathBuf> {
    type Slot = Arc<OnceLock<Option<PathBuf>>>;
    static TRACES: OnceLock<Mutex<BTreeMap<String, Slot>>> = OnceLock::new();
    let slot = Arc::clone(TRACES.get_or_init(Mutex::default).lock().unwrap().entry(name.to_owned()).or_default());
    slot.get_or_init(|| record(name)).clone()
}

fn record(name: &str) -> Option<PathBuf> {
    let mut tool = tool()?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("defects/traces").join(name);
    let _ = fs::remove_dir_all(&folder);
    let wanted = wanted(name);
    tool.args(["record", "--program", "--unchecked", "--trace-dir"]).arg(&folder).arg("--").arg(programs().join(name));
    let mut child = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    if let Some(stop) = wanted["stop"].as_object() {
        // rr takes a moment to start.
        let began = std::time::Instant::now();
        while !has_begun(&folder) && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs_f64(stop["after"].as_f64().unwrap()));
        kill(stop["signal"].as_str().unwrap(), child.id());
    }
    child.wait().unwrap();
    let trace = folder.join(format!("{name}-0"));
    assert!(trace.join("version").is_file(), "{} is not complete", trace.display());
    Some(trace)
}

fn has_begun(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.path().join("incomplete").metadata().is_ok_and(|seen| seen.len() > 0))
}

/// Runs the tool on a trace of a defect; nothing where there is none.
pub fn run(name: &str, arguments: &[&str]) -> Option<Run> {
    let trace = trace(name)?;
    let mut tool = tool()?;
    tool.args(arguments).arg(&trace);
    Some(Run::of(delve::where_it_replays(tool)?.output().unwrap()))
}

#[test]
fn every_defect_has_a_class_an_end_and_suspects_whose_lines_are_there() {
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    for name in names() {
        let wanted = wanted(&name);
        *classes.entry(wanted["class"].as_str().unwrap().to_owned()).or_default() += 1;
        assert!(wanted["end"]["how"].is_string(), "{name}");
        for suspect in wanted["suspects"].as_array().unwrap() {
            let text = suspect["source"].as_str();
            assert!(text.is_none_or(|text| !lines(&name, text).is_empty()), "{name}: {suspect}");
        }
    }
    assert!(classes.values().sum::<usize>() >= 20);
    assert!(classes["leak"] >= 2 && classes["retry"] >= 2 && classes["context"] >= 2 && classes["wrong result"] >= 2);
}
