//! The recorder stand-in keeps rr's contract on signals and trace files; so do the tests that use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::harness::{command, copy, fixtures, kill};

/// What a trace folder says of its trace, by rr's own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trace {
    Complete,
    Incomplete,
}

/// A folder that holds the stand-in under the name `rr`, to be put first in PATH.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recorder");
        let _ = fs::remove_dir_all(&folder);
        copy(&fixtures().join("recorder"), &folder.join("src"));
        let built = command("go").current_dir(folder.join("src")).args(["build", "-o", "../bin/rr", "."]).status();
        assert!(built.unwrap().success(), "go build of the recorder stand-in");
        folder.join("bin")
    })
}

/// The traces under a root, by name.
pub fn traces(root: &Path) -> Vec<(String, Trace)> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut traces: Vec<_> = entries
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| {
            let complete = entry.path().join("version").is_file() && !entry.path().join("incomplete").exists();
            let state = if complete { Trace::Complete } else { Trace::Incomplete };
            (entry.file_name().into_string().unwrap(), state)
        })
        .collect();
    traces.sort();
    traces
}

struct Recording {
    root: tempfile::TempDir,
    child: std::process::Child,
}

/// Starts a recording of a shell script and waits until the script runs.
fn record(script: &str) -> Recording {
    let root = tempfile::tempdir().unwrap();
    let ready = root.path().join("ready");
    let script = format!("{script}\ntouch {}\nwhile :; do sleep 0.05; done", ready.display());
    let mut rr = command(folder().join("rr").to_str().unwrap());
    rr.args(["record", "--wait", "/bin/sh", "-c", &script]).env("_RR_TRACE_DIR", root.path().join("traces"));
    let mut recording = Recording { child: rr.spawn().unwrap(), root };
    while !ready.exists() {
        assert!(recording.child.try_wait().unwrap().is_none(), "the recorded script did not start");
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    recording
}

impl Recording {
    fn signal(mut self, name: &str) -> (Option<i32>, Vec<(String, Trace)>) {
        kill(name, self.child.id());
        let status = self.child.wait().unwrap();
        (status.code(), traces(&self.root.path().join("traces")))
    }
}

#[test]
fn the_stand_in_completes_the_trace_when_its_program_ends_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let mut rr = command(folder().join("rr").to_str().unwrap());
    rr.args(["record", "/bin/sh", "-c", "exit 7"]).env("_RR_TRACE_DIR", root.path());
    assert_eq!(rr.status().unwrap().code(), Some(7), "its status mirrors the program's");
    assert_eq!(traces(root.path()), [("sh-0".to_owned(), Trace::Complete)]);
}

#[test]
fn the_stand_in_forwards_sigterm_and_completes_the_trace() {
    let (code, traces) = record("trap 'exit 5' TERM").signal("TERM");
    assert_eq!((code, traces), (Some(5), vec![("sh-0".to_owned(), Trace::Complete)]));
}

#[test]
fn the_stand_in_ignores_sigint_as_rr_does_and_leaves_an_incomplete_trace_at_sigkill() {
    let recording = record("trap '' INT");
    kill("INT", recording.child.id());
    std::thread::sleep(std::time::Duration::from_millis(100));
    let (code, traces) = recording.signal("KILL");
    assert_eq!((code, traces), (None, vec![("sh-0".to_owned(), Trace::Incomplete)]));
}
