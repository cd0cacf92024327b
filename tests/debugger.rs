//! The debugger stand-in keeps Delve's contract on ports, clients and signals; so do the tests that use it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::harness::{Run, command, copy, fixtures, kill};
use crate::recorder;
use snapbox::str;

/// A folder that holds the stand-in under the name `dlv`, to be put first in PATH.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debugger");
        let _ = fs::remove_dir_all(&folder);
        copy(&fixtures().join("debugger"), &folder.join("src"));
        let built = command("go").current_dir(folder.join("src")).args(["build", "-o", "../bin/dlv", "."]).status();
        assert!(built.unwrap().success(), "go build of the debugger stand-in");
        folder.join("bin")
    })
}

/// Asks the Delve at an address something, and returns its answer.
pub fn ask(address: &str, method: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    writeln!(stream, "{{\"method\":\"RPCServer.{method}\",\"params\":[{{}}],\"id\":7}}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

fn dlv(arguments: &[&str]) -> Command {
    let mut dlv = command(folder().join("dlv").to_str().unwrap());
    dlv.args(arguments).env("PATH", format!("{}:/usr/bin:/bin", recorder::folder().display()));
    dlv
}

fn complete_trace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("version"), "85\n").unwrap();
    folder
}

#[test]
fn the_debugger_stand_in_has_no_command_replay_without_rr() {
    let run = Run::of(dlv(&["replay", "x"]).env("PATH", "/nonexistent").output().unwrap()).exits(1);
    run.says_exactly(str![[r#"
Error: unknown command "replay" for "dlv"
Run 'dlv --help' for usage.
"#]]);
}

#[test]
fn the_debugger_stand_in_answers_when_the_trace_is_open_and_ends_its_rr_at_sigint() {
    let trace = complete_trace();
    let mut child =
        dlv(&["replay", "--headless", trace.path().to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("API server listening at: ").unwrap();
    assert!(ask(address, "GetVersion").contains("Version: 1.27.1"));
    kill("INT", child.id());
    assert!(child.wait().unwrap().success());
    // rr has the other end of the pipe.
    assert_eq!(lines.last().unwrap().unwrap(), "what the recorded program had printed");
}

#[test]
fn the_debugger_stand_in_says_eof_where_rr_refuses_a_trace() {
    let trace = tempfile::tempdir().unwrap();
    let run = Run::of(dlv(&["replay", "--headless", trace.path().to_str().unwrap()]).output().unwrap()).exits(1);
    run.prints(&["API server listening at: "]).says_exactly(str![[r#"

rr: Trace file `[FOLDER]/incomplete' found.
rr recording terminated abnormally and the trace is incomplete.

EOF
"#]]);
}
