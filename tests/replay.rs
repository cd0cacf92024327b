//! `rr-patch replay`: Delve is started, waited for and ended; what fails is met with its cause; editors
//! get their configurations. Delve and rr are stand-ins but for the tests that say otherwise.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rr_patch::doctor::{Host, allow_perf_events};
use rr_patch::rr::trace::Sidecar;
use serde_json::{Value, json};

use crate::debugger::{self, ask};
use crate::delve;
use crate::end_to_end::{patched, real_rr};
use crate::harness::{Run, command, copy, fixtures, kill, skip};
use crate::recorder;
use crate::streams::{self, Layout, program};
use crate::watched::{Watched, processes_with};
use snapbox::str;

const AWS: &str = "cluster-api-provider-aws";
const PATIENCE: Duration = Duration::from_secs(60);

/// A store of traces, and a folder that an editor has open.
struct Desk {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Desk {
    /// With the traces of the fixture of rr 5.9.
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rr-patch-replay").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        copy(&fixtures().join("traces/5.9"), &root.join("rr"));
        fs::create_dir(root.join("open")).unwrap();
        // Its program is gone: it would be the newest.
        let vsphere = "cluster-api-provider-vsphere-0";
        fs::create_dir(root.join("gone")).unwrap();
        fs::rename(root.join("rr").join(vsphere), root.join("gone").join(vsphere)).unwrap();
        Self { _folder: folder, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// A complete trace of a program that lies in it as a copy.
    fn trace_of(&self, name: &str, file: &Path) -> PathBuf {
        let trace = self.path("rr").join(name);
        fs::create_dir_all(&trace).unwrap();
        let copied = format!("mmap_copy_3_{AWS}");
        fs::copy(file, trace.join(&copied)).unwrap();
        of_a_current_go(&trace.join(&copied));
        streams::complete(&trace, Layout::Rr59, &[file.to_str().unwrap()], &[program(file, &copied)]);
        trace
    }

    fn note(&self, name: &str, software_counters: bool, rr_version: &str) {
        let sidecar =
            Sidecar { controller: AWS.into(), software_counters, rr_version: rr_version.into(), ..Sidecar::default() };
        sidecar.write(&self.path("rr").join(name)).unwrap();
    }

    /// `rr-patch replay` in the editor's folder with the stand-ins in PATH.
    fn replay(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        let path = format!("{}:{}:/usr/bin:/bin", debugger::folder().display(), recorder::folder().display());
        tool.current_dir(self.path("open"))
            .env("PATH", path)
            .env("_RR_TRACE_DIR", self.path("rr"))
            // A real Delve makes its folder there.
            .env("HOME", self.path("home"))
            .env("DLV_STAND_IN_LOG", self.path("calls"))
            .envs(variables.iter().copied())
            .arg("replay")
            .args(arguments);
        tool
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        Run::of(self.replay(arguments, variables).output().unwrap())
    }

    fn serve(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
        self.serve_by(self.replay(&[&["--port", "0"], arguments].concat(), variables))
    }

    fn serve_by(&self, mut tool: Command) -> Server {
        let mut child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Server { child, lines, shown: String::new(), store: self.path("rr") }
    }
}

/// A replay that serves.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    shown: String,
    store: PathBuf,
}

impl Server {
    /// Reads what is shown up to a line that begins so, and returns that. The trace is open then.
    #[track_caller]
    fn until(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                let output = Run::of(
                    std::mem::replace(&mut self.child, Command::new("true").spawn().unwrap())
                        .wait_with_output()
                        .unwrap(),
                );
                panic!("no `{start}` in\n{}\nstderr:\n{}", self.shown, output.stderr);
            }
            self.shown.push_str(&line);
            if line.starts_with(start) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Waits until the trace is open, and returns the address.
    #[track_caller]
    fn address(&mut self) -> String {
        let line = self.until("`");
        self.until("Ctrl-C ends it");
        line.rsplit(' ').next().unwrap().to_owned()
    }

    #[track_caller]
    fn ends(mut self, code: i32) -> Run {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let run = Run::of(self.child.wait_with_output().unwrap()).exits(code);
        assert_eq!(of_trace(&self.store), [] as [String; 0], "{}", run.stderr);
        run
    }
}

/// The command lines of processes that name a store.
fn of_trace(store: &Path) -> Vec<String> {
    processes_with(store.to_str().unwrap())
}

/// The provider that the fixture's build made, with its debug information.
fn provider() -> PathBuf {
    let mut folders = vec![patched().root.join("cluster-api/bin")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false if entry.ends_with(AWS) => return entry,
                false => {}
            }
        }
    }
    panic!("the fixture's build made no {AWS}")
}

/// Makes a program one of a Go that the stand-in's Delve, 1.27.1, supports: Debian 13's Go 1.24 is too old for that.
fn of_a_current_go(program: &Path) {
    if delve::go_minor() < 25 {
        let mut bytes = fs::read(program).unwrap();
        let old = format!("go1.{}", delve::go_minor()).into_bytes();
        let places: Vec<usize> = (0..bytes.len() - old.len()).filter(|&at| bytes[at..].starts_with(&old)).collect();
        places.iter().for_each(|&at| bytes[at..at + old.len()].copy_from_slice(b"go1.26"));
        fs::write(program, bytes).unwrap();
    }
}

#[test]
fn replay_opens_the_newest_complete_trace_and_says_how_to_connect() {
    let desk = Desk::new();
    let mut server = desk.serve(&[], &[]);
    let address = server.address();
    let opened = format!("`{AWS}-0` is open in Delve 1.27.1 at {address}\n");
    for part in [opened.as_str(), "dlv connect 127.0.0.1:", "VS Code", "GoLand", "Zed", "nvim-dap", "ssh -N -L "] {
        assert!(server.shown.contains(part), "{part} is not in\n{}", server.shown);
    }
    assert!(ask(&address, "GetVersion").contains("1.27.1"), "clients come and go");
    kill("INT", server.child.id());
    server.ends(0).says(&["Delve has ended, and its rr with it"]);
    let trace = desk.path("rr").join(format!("{AWS}-0"));
    let call = format!(
        "replay --listen=127.0.0.1:0 --headless=true --api-version=2 --accept-multiclient {} DELVE_RR_REPLAY_FLAGS=-q\n",
        trace.display()
    );
    assert!(desk.text("calls").ends_with(&call), "{}", desk.text("calls"));
}

#[test]
fn replay_waits_until_the_trace_is_open_and_not_for_the_port() {
    let desk = Desk::new();
    let began = Instant::now();
    let mut server = desk.serve(&[], &[("DLV_STAND_IN_SECONDS", "2")]);
    server.address();
    assert!(began.elapsed() >= Duration::from_secs(2), "it listens at once, and opens the trace later");
    kill("TERM", server.child.id());
    server.ends(0);
}

#[test]
fn replay_ends_at_a_signal_while_delve_still_opens_the_trace() {
    let desk = Desk::new();
    let began = Instant::now();
    let server = desk.serve(&[], &[("DLV_STAND_IN_SECONDS", "50")]);
    while !desk.text("calls").contains("headless") {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    kill("INT", server.child.id());
    server.ends(0);
}

#[test]
fn replay_ends_the_rr_that_an_old_delve_leaves_behind() {
    let desk = Desk::new();
    let mut server = desk.serve(&[], &[("DLV_STAND_IN", "leaves-rr")]);
    server.address();
    kill("INT", server.child.id());
    server.ends(0).says(&["ended processes that Delve left behind: rr ("]);
}

#[test]
fn replay_ends_a_delve_that_is_deaf_to_sigint_and_kills_one_that_hears_nothing() {
    let desk = Desk::new();
    let mut server = desk.serve(&[], &[("DLV_STAND_IN", "deaf")]);
    server.address();
    // The second is impatience: SIGTERM at once.
    kill("INT", server.child.id());
    std::thread::sleep(Duration::from_millis(200));
    kill("INT", server.child.id());
    server.ends(0);
    let mut server = desk.serve(&[], &[("DLV_STAND_IN", "killed")]);
    server.address();
    for _ in 0..3 {
        kill("INT", server.child.id());
        std::thread::sleep(Duration::from_millis(200));
    }
    server.ends(1).says(&["error: Delve had to be killed"]);
}

#[test]
fn replay_ends_when_a_client_ends_delve() {
    let desk = Desk::new();
    let mut server = desk.serve(&[], &[]);
    let address = server.address();
    ask(&address, "Detach");
    server.ends(0).says(&["a client has ended Delve"]);
}

#[test]
fn replay_format_json_prints_one_document_as_soon_as_the_trace_is_open() {
    let desk = Desk::new();
    desk.note(&format!("{AWS}-0"), true, "5.9.0");
    let mut server = desk.serve(&["aws", "--format", "json"], &[]);
    server.until("}");
    let document: Value = serde_json::from_str(&server.shown).unwrap();
    assert_eq!(document["schema"], "rr-patch/replay/1");
    assert_eq!(document["trace"], format!("{AWS}-0"));
    assert_eq!(document["rr"]["flags"], json!(["-W"]));
    assert!(ask(document["address"].as_str().unwrap(), "GetVersion").contains("1.27.1"));
    kill("INT", server.child.id());
    assert_eq!(server.ends(0).stdout, "", "and nothing after it");
}

#[test]
fn replay_print_shows_the_commands_and_runs_nothing() {
    let desk = Desk::new();
    desk.note(&format!("{AWS}-0"), true, "5.9.0");
    let run = desk.run(&["--print", "--port", "4711"], &[("DELVE_RR_REPLAY_FLAGS", "-q")]).exits(0);
    let dlv = debugger::folder().join("dlv");
    let trace = desk.path("rr").join(format!("{AWS}-0"));
    let expected = format!(
        "DELVE_RR_REPLAY_FLAGS='-W -q' {0} replay --listen=127.0.0.1:4711 --headless=true --api-version=2 \
         --accept-multiclient {1}\n{0} connect 127.0.0.1:4711\n",
        dlv.display(),
        trace.display()
    );
    assert_eq!(run.stdout, expected);
    let run = desk.run(&["--print", "--terminal"], &[]).exits(0);
    assert_eq!(run.stdout, format!("DELVE_RR_REPLAY_FLAGS=-W {} replay {}\n", dlv.display(), trace.display()));
    assert!(!desk.text("calls").contains("replay"), "{}", desk.text("calls"));
}

#[test]
fn replay_terminal_gives_delve_the_terminal() {
    let desk = Desk::new();
    let mut tool = desk.replay(&["--terminal", "aws"], &[]);
    let mut child = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"break main.main\nexit\n").unwrap();
    let run = Run::of(child.wait_with_output().unwrap()).exits(0);
    run.prints(&["(dlv) the stand-in was told: break main.main\n"]).says(&["`rev next` goes back"]);
    assert_eq!(of_trace(&desk.path("rr")), [] as [String; 0]);
    desk.run(&["--terminal"], &[("DLV_STAND_IN", "says:could not read debug info")]).exits(1).says(&[
        "could not read debug info\n",
        "error: the recorded program has no debug information",
        "hint: ",
    ]);
    desk.run(&["--terminal", "--format", "json"], &[]).exits(2).says(&["has no JSON form"]);
    desk.run(&["--terminal", "--port", "1"], &[]).exits(2);
}

/// Among Delve's lines and rr's, those that the recorded program printed would be taken for theirs.
#[test]
fn replay_leaves_out_what_the_program_printed_or_marks_it_on_a_terminal() {
    let desk = Desk::new();
    let mut server = desk.serve(&[], &[]);
    server.address();
    kill("INT", server.child.id());
    let run = server.ends(0);
    assert!(!run.stderr.contains("the recorded program had printed"), "{}", run.stderr);
    // Whoever asks rr for something else gets that.
    let mut server = desk.serve(&[], &[("DELVE_RR_REPLAY_FLAGS", "--mark-stdio")]);
    server.address();
    kill("INT", server.child.id());
    server.ends(0);
    assert!(desk.text("calls").ends_with(" DELVE_RR_REPLAY_FLAGS=--mark-stdio\n"), "{}", desk.text("calls"));
    let (mut session, mut keys) = Watched::on_a_terminal(&desk.replay(&["--terminal", "aws"], &[]));
    session.until(&["`[rr PID EVENT]` stands before", "(dlv) "]);
    keys.write_all(b"exit\n").unwrap();
    assert!(session.ends().success(), "{}", session.said());
    session.until(&["[rr 4711 12]what the recorded program had printed"]);
}

#[test]
fn replay_asks_which_trace_or_controller_was_meant() {
    let desk = Desk::new();
    desk.run(&["asw"], &[]).exits(1).says_exactly(str![[r#"
error: no trace `asw`, and no complete one of such a controller, is in `[FOLDER]/rr`
hint: `rr-patch traces` lists all; `--trace-dir DIR` names another folder
hint: did you mean `aws`?
"#]]);
    let run = desk.run(&["cluster-api-provider-aws-9"], &[]).exits(1);
    run.says_exactly(str![[r#"
error: no trace `cluster-api-provider-aws-9`, and no complete one of such a controller, is in `[FOLDER]/rr`
hint: `rr-patch traces` lists all; `--trace-dir DIR` names another folder
hint: did you mean `cluster-api-provider-aws-1`?
"#]]);
    desk.run(&["nutanix"], &[]).exits(1).says_exactly(str![[r#"
error: no trace `nutanix`, and no complete one of such a controller, is in `[FOLDER]/rr`
hint: `rr-patch traces` lists all; `--trace-dir DIR` names another folder
"#]]);
}

/// Delve wants all of its streams to be terminals, and says so; the stand-in keeps that.
#[test]
fn replay_terminal_on_a_terminal_comes_to_the_prompt() {
    let desk = Desk::new();
    let (mut session, mut keys) = Watched::on_a_terminal(&desk.replay(&["--terminal", "aws"], &[]));
    session.until(&["`rev next` goes back", "(dlv) "]);
    keys.write_all(b"break main.main\nexit\n").unwrap();
    assert!(session.ends().success(), "{}", session.said());
    session.until(&["the stand-in was told: break main.main"]);
    assert_eq!(of_trace(&desk.path("rr")), [] as [String; 0]);
    // What the debugger prints where its errors go is shown, and explained.
    let failing = desk.replay(&["--terminal"], &[("DLV_STAND_IN", "says:could not read debug info")]);
    let (mut session, _keys) = Watched::on_a_terminal(&failing);
    assert_eq!(session.ends().code(), Some(1), "{}", session.said());
    session.until(&["could not read debug info\r\n", "error: the recorded program has no debug information"]);
}

/// A real Delve gets past its own look at the terminal, and asks the stand-in of rr for the trace.
#[test]
fn replay_terminal_satisfies_a_real_delves_check_of_its_terminal() {
    let Some(dlv) = delve::delve() else { return };
    let desk = Desk::new();
    let path = format!("{}:{}:/usr/bin:/bin", dlv.parent().unwrap().display(), recorder::folder().display());
    let log = desk.path("rr-calls");
    let variables = [("PATH", path.as_str()), ("RR_STAND_IN_LOG", log.to_str().unwrap())];
    let Some(tool) = delve::where_it_replays(desk.replay(&["--terminal", "aws"], &variables)) else { return };
    let (mut session, _keys) = Watched::on_a_terminal(&tool);
    let began = Instant::now();
    while !desk.text("rr-calls").contains(" replay --dbgport=0 ") && session.child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "{}", session.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    // There is nobody at the address that the stand-in gives, and Delve goes on to look there.
    kill("TERM", session.child.id());
    session.ends();
    let (asked, said) = (desk.text("rr-calls"), session.said());
    assert!(!said.contains("is not a terminal"), "{said}");
    assert!(asked.contains(" replay --dbgport=0 "), "{asked}\n{said}");
    assert_eq!(of_trace(&desk.path("rr")), [] as [String; 0]);
}

/// The prompt of a real Delve over a real recording, typed at.
#[test]
fn replay_terminal_answers_bt_and_quit_over_a_real_recording() {
    let Some(dlv) = delve::delve() else { return };
    let Some((rr, Some(options))) = real_rr() else {
        skip(&["rr"], "no rr of this machine can record here");
        return;
    };
    let desk = Desk::new();
    let trace = desk.path("recorded");
    let mut record = command(rr.to_str().unwrap());
    record.arg("record").args(options).arg("-o").arg(&trace).arg(provider()).arg("--help");
    let recorded = Run::of(record.output().unwrap());
    assert!(trace.join("version").is_file(), "{}{}", recorded.stdout, recorded.stderr);
    let path = format!("{}:{}:/usr/bin:/bin", dlv.parent().unwrap().display(), rr.parent().unwrap().display());
    let flags = options.join(" ");
    let variables = [("PATH", path.as_str()), ("DELVE_RR_REPLAY_FLAGS", flags.as_str()), ("TERM", "dumb")];
    let replay = desk.replay(&["--terminal", trace.to_str().unwrap()], &variables);
    let Some(tool) = delve::where_it_replays(replay) else { return };
    let (mut session, mut keys) = Watched::on_a_terminal(&tool);
    session.until(&["(dlv) "]);
    keys.write_all(b"break main.main\ncontinue\n").unwrap();
    session.until(&["> [Breakpoint 1] main.main()"]);
    keys.write_all(b"bt\n").unwrap();
    session.until(&["in main.main", "in runtime.main"]);
    keys.write_all(b"quit\n").unwrap();
    assert!(session.ends().success(), "{}", session.said());
    assert_eq!(of_trace(&trace), [] as [String; 0]);
}

#[test]
fn replay_says_who_has_the_port() {
    let desk = Desk::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = desk.run(&["--port", &port], &[]).exits(1);
    run.says_exactly(format!(
        "warning: the recorded program could not be read: \
         `[FOLDER]/rr/cluster-api-provider-aws-0/mmap_copy_3_cluster-api-provider-aws` is no ELF program\n\
         error: port {port} is taken\n  \
         by: [..] (pid {})\n\
         hint: `--port 0` chooses a free port, `--port N` another one",
        std::process::id()
    ));
    // Taken between our look and Delve's own.
    let said = [("DLV_STAND_IN", "says:couldn't start listener: listen tcp 127.0.0.1:1: bind: address already in use")];
    drop(taken);
    // Another test may have it by now, and then it is our look that says so.
    let taken = format!("{port} is taken\n");
    desk.run(&["--port", &port], &said).exits(1).says(&[&taken, "hint: `--port 0` chooses a free port"]);
    let taken = "error: another program took the port that was free a moment ago\n";
    desk.run(&["--port", "0"], &said).exits(1).says(&[taken, "hint: run the same command again\n"]);
}

#[test]
fn replay_listens_elsewhere_only_when_told_and_warns_of_it() {
    let desk = Desk::new();
    let run = desk.run(&["--print", "--listen", ":4711"], &[]).exits(0);
    run.says_exactly(str![[r#"
warning: the recorded program could not be read: `[FOLDER]/rr/cluster-api-provider-aws-0/mmap_copy_3_cluster-api-provider-aws` is no ELF program
warning: whoever can reach 0.0.0.0:4711 can run programs as you; an ssh tunnel to 127.0.0.1 lets in only you
"#]]).prints_exactly(str![[r#"
[TARGET]/debugger/bin/dlv replay --listen=0.0.0.0:4711 --headless=true --api-version=2 --accept-multiclient [FOLDER]/rr/cluster-api-provider-aws-0
[TARGET]/debugger/bin/dlv connect 0.0.0.0:4711
"#]]);
    let run = desk.run(&["--print", "--listen", "[::1]:4711"], &[]).exits(0);
    assert!(!run.stderr.contains("whoever"), "{}", run.stderr);
    desk.run(&["--listen", "4711"], &[]).exits(2).says_exactly(str![[r#"
error: invalid value '4711' for '--listen <HOST:PORT>': expected HOST:PORT, like 127.0.0.1:2345 or [::1]:2345, and not `4711`

For more information, try '--help'.
"#]]);
    desk.run(&["--listen", ":1", "--port", "1"], &[]).exits(2);
}

#[test]
fn replay_does_not_begin_with_a_trace_that_cannot_be_replayed() {
    let desk = Desk::new();
    for (trace, says) in [
        (
            "cluster-api-provider-aws-1",
            str![[r#"
error: `cluster-api-provider-aws-1` cannot be replayed
  looked at: `[FOLDER]/rr/cluster-api-provider-aws-1`, which is dead
  rr was killed or crashed before it closed the trace: there is `incomplete` in place of `version`, and rr cannot repair it
hint: `rr-patch traces` lists the others; `rr-patch record` makes one that is complete
"#]],
        ),
        (
            "cluster-api-provider-azure-0",
            str![[r#"
error: `cluster-api-provider-azure-0` cannot be replayed
  looked at: `[FOLDER]/rr/cluster-api-provider-azure-0`, which is junk
  rr failed at its start: nothing was recorded
hint: `rr-patch traces` lists the others; `rr-patch record` makes one that is complete
"#]],
        ),
        (
            "no-such-program-0",
            str![[r#"
error: `no-such-program-0` cannot be replayed
  looked at: `[FOLDER]/rr/no-such-program-0`, which is junk
  its program could not be started: nothing was recorded
hint: `rr-patch traces` lists the others; `rr-patch record` makes one that is complete
"#]],
        ),
        (
            "../gone/cluster-api-provider-vsphere-0",
            str![[r#"
error: `[FOLDER]/gone/cluster-api-provider-vsphere-0` cannot be replayed
  looked at: `[FOLDER]/gone/cluster-api-provider-vsphere-0`, which is complete
  `/nonexistent/cluster-api/cluster-api-provider-vsphere` is missing, and the trace has only its path
hint: `rr-patch traces` lists the others; `rr-patch record` makes one that is complete
"#]],
        ),
        (
            "gcp",
            str![[r#"
error: no trace `gcp`, and no complete one of such a controller, is in `[FOLDER]/rr`
  `cluster-api-provider-gcp-0` is starting
hint: `rr-patch traces` lists all; `--trace-dir DIR` names another folder
"#]],
        ),
    ] {
        desk.run(&[trace], &[]).exits(1).says_exactly(says);
    }
    assert_eq!(desk.text("calls"), "", "Delve was not asked");
}

#[test]
fn replay_says_that_rr_or_delve_is_missing() {
    let desk = Desk::new();
    let only = |folder: &Path| [("PATH", folder.to_str().unwrap().to_owned())];
    let without_rr = only(debugger::folder());
    let run = desk.run(&[], &[("PATH", &without_rr[0].1)]).exits(1);
    run.says_exactly(str![[r#"
error: the recorder `rr` was not found in PATH
hint: `rr-patch doctor` says how to install rr; RR_PATCH_RECORD can name another recorder
hint: Delve has no command `replay` if `rr` is not in PATH
"#]]);
    let without_delve = only(recorder::folder());
    let run = desk.run(&[], &[("PATH", &without_delve[0].1)]).exits(1);
    run.says_exactly(str![[r#"
error: Delve (`dlv`) was not found in PATH
hint: `rr-patch doctor` says how to install it
"#]]);
}

#[test]
fn replay_does_not_begin_with_a_delve_that_is_too_old() {
    let desk = Desk::new();
    // Debian's, which hangs on what rr 5.9 prints.
    let run = desk.run(&[], &[("DLV_STAND_IN_VERSION", "1.20.2")]).exits(1);
    run.says_exactly(str![[r#"
error: Delve 1.20.2 cannot replay with rr 5.9.0: 1.24.1 or newer is needed
  found: `[TARGET]/debugger/bin/dlv`, and rr 5.9.0 at `[TARGET]/recorder/bin/rr`
hint: `go install github.com/go-delve/delve/cmd/dlv@v1.27.1` installs one that does; its folder must come first in PATH
"#]]);
    desk.trace_of("newer-0", &provider());
    let run = desk.run(&["newer-0"], &[("DLV_STAND_IN_VERSION", "1.24.1")]).exits(1);
    run.says(&["Delve 1.24.1 is too old for Go 1.", "the recorded program was built with Go 1.", "hint: `go install "]);
    assert!(!desk.text("calls").contains("replay"), "{}", desk.text("calls"));
}

#[test]
fn replay_adds_w_for_a_trace_that_was_recorded_with_software_counters() {
    let desk = Desk::new();
    desk.note(&format!("{AWS}-0"), true, "5.9.0");
    let mut server = desk.serve(&[], &[]);
    server.address();
    kill("INT", server.child.id());
    server.ends(0);
    assert!(desk.text("calls").ends_with("DELVE_RR_REPLAY_FLAGS=-W -q\n"), "{}", desk.text("calls"));
    let run = desk.run(&[], &[("RR_STAND_IN_COUNTERS", "hardware")]).exits(1);
    run.says_exactly(str![[r#"
error: this trace was recorded with software counters (`rr record -W`)
  rr 5.9.0 at `[TARGET]/recorder/bin/rr` has none, and cannot replay it
hint: put the rr that recorded it first in PATH
"#]]);
    // Set by hand for a trace that does not know it, and by a recorder that has none.
    desk.note(&format!("{AWS}-0"), false, "5.9.0");
    let variables = [("RR_STAND_IN_COUNTERS", "hardware"), ("DELVE_RR_REPLAY_FLAGS", "-W")];
    desk.run(&["--port", "0"], &variables)
        .exits(1)
        .says(&["delve: Invalid option -W", "error: rr 5.9.0 has no software counters"]);
}

#[test]
fn replay_uses_the_recorder_that_rr_patch_record_names() {
    let desk = Desk::new();
    let elsewhere = desk.path("elsewhere/rr");
    fs::create_dir(elsewhere.parent().unwrap()).unwrap();
    copy(&recorder::folder().join("rr"), &elsewhere);
    let line = format!("{} record -W --wait", elsewhere.display());
    let run = desk.run(&["--print"], &[("RR_PATCH_RECORD", &line)]).exits(0);
    run.prints_exactly(str![[r#"
PATH=[FOLDER]/elsewhere:"$PATH" DELVE_RR_REPLAY_FLAGS=-W [TARGET]/debugger/bin/dlv replay --listen=127.0.0.1:2345 --headless=true --api-version=2 --accept-multiclient [FOLDER]/rr/cluster-api-provider-aws-0
[TARGET]/debugger/bin/dlv connect 127.0.0.1:2345
"#]]);
}

/// What Delve or rr say, as seen or as in their sources, and the cause. The other texts are in the
/// tests of `src/replay/explain.rs`.
#[test]
fn replay_meets_what_rr_and_delve_say_with_the_cause() {
    let desk = Desk::new();
    let by_rr = [
        (
            "[FATAL src/ReplaySession.cc:252:ReplaySession()] Trace was recorded on a machine that defines ticks differently\nto this machine; replay will not work.",
            "error: the trace was recorded with software counters, but rr was started without -W",
            "hint: set DELVE_RR_REPLAY_FLAGS=-W",
        ),
        (
            "Trace was recorded on a machine with different CPUID values and CPUID faulting is not enabled; replay will not work.",
            "error: the trace was recorded on a CPU with other CPUID values",
            "hint: replay it on the machine that recorded it",
        ),
        (
            "[FATAL src/util.cc:1:stat()] Failed to stat /i/aws: replay is impossible",
            "error: `/i/aws` is missing, and the trace has no copy of it",
            "hint: put the same file back",
        ),
        (
            "Unable to open performance counter with 'perf_event_open'; are hardware perf events available?",
            "error: rr cannot use this machine's performance counters",
            "hint: `rr-patch doctor`",
        ),
    ];
    for (said, error, hint) in by_rr {
        let run = desk.run(&["--port", "0"], &[("RR_STAND_IN_REPLAY_SAYS", said)]).exits(1);
        let first = format!("delve: {}", said.lines().next().unwrap());
        run.says(&[&first, "delve: EOF", error, hint, "Delve ended with exit status 1", "last lines:"]);
    }
    let by_delve = [
        ("rr needs /proc/sys/kernel/perf_event_paranoid <= 1, but it is 2", "at 1 or less, and it is 2", "sysctl -w"),
        ("Failed to parse debugger request", "does not understand the output of rr 5.9.0", "go install"),
        ("a word that nobody knows", "Delve could not open the trace", "rr-patch doctor"),
    ];
    for (said, error, hint) in by_delve {
        let run = desk.run(&["--port", "0"], &[("DLV_STAND_IN", &format!("says:{said}"))]).exits(1);
        run.says(&[&format!("delve: {said}"), error, hint]);
    }
}

#[test]
fn replay_warns_of_a_program_without_debug_information() {
    let desk = Desk::new();
    let stripped = desk.path("stripped");
    let build = ["build", "-ldflags", "-s -w", "-o", stripped.to_str().unwrap(), "."];
    let mut go = command("go");
    assert!(go.current_dir(fixtures().join("debugger")).args(build).status().unwrap().success());
    desk.trace_of("stripped-0", &stripped);
    let run = desk.run(&["stripped-0", "--print"], &[]).exits(0);
    run.says_exactly(str!["warning: the program has no debug information (it was linked with -s -w): Delve shows no sources and no variables, and supports only breakpoints on functions; `rr-patch build` makes an installer that can be debugged"]);
    desk.trace_of("whole-0", &provider());
    let run = desk.run(&["whole-0", "--print"], &[]).exits(0);
    assert_eq!(run.stderr, "", "a program that can be debugged needs no warning");
}

#[test]
fn replay_unpacks_a_packed_trace_and_finds_it_again() {
    let desk = Desk::new();
    desk.trace_of("packed-0", &provider());
    let mut pack = command(env!("CARGO_BIN_EXE_rr-patch"));
    let bundle = desk.path("packed.tar.zst");
    pack.env("_RR_TRACE_DIR", desk.path("rr")).args(["traces", "pack", "packed-0", "-o", bundle.to_str().unwrap()]);
    Run::of(pack.output().unwrap()).exits(0);
    let file = bundle.to_str().unwrap();
    let elsewhere = [("_RR_TRACE_DIR", desk.path("other").to_str().unwrap().to_owned())];
    let elsewhere = [(elsewhere[0].0, elsewhere[0].1.as_str())];
    let run = desk.run(&[file, "--print"], &elsewhere).exits(0);
    run.says_exactly(str!["verified and unpacked `[FOLDER]/packed.tar.zst` into `[FOLDER]/other/packed`"]).prints_exactly(str![[r#"
[TARGET]/debugger/bin/dlv replay --listen=127.0.0.1:2345 --headless=true --api-version=2 --accept-multiclient [FOLDER]/other/packed/packed-0
[TARGET]/debugger/bin/dlv connect 127.0.0.1:2345
"#]]);
    let run = desk.run(&[file, "--print"], &elsewhere).exits(0);
    run.says_exactly(str!["`[FOLDER]/packed.tar.zst` was unpacked before: `[FOLDER]/other/packed`"]).prints_exactly(str![[r#"
[TARGET]/debugger/bin/dlv replay --listen=127.0.0.1:2345 --headless=true --api-version=2 --accept-multiclient [FOLDER]/other/packed/packed-0
[TARGET]/debugger/bin/dlv connect 127.0.0.1:2345
"#]]);
    // The sources that it brought are offered, since the folder in the editor has none.
    let run = desk.run(&[file, "--print", "--editor", "vscode"], &elsewhere).exits(0);
    run.prints(&["\"to\": \"/\"", "/packed/sources\""]);
    let wrong = desk.path("open/notes.tar.zst");
    fs::write(&wrong, "no bundle").unwrap();
    desk.run(&[wrong.to_str().unwrap()], &elsewhere).exits(3);
}

#[test]
fn replay_editor_writes_a_configuration_that_opens_the_trace() {
    let desk = Desk::new();
    desk.note(&format!("{AWS}-0"), true, "5.9.0");
    let run = desk.run(&["--editor", "vscode"], &[]).exits(0);
    run.prints_exactly(str![[r#"
wrote `[FOLDER]/open/.vscode/launch.json`
  start:   in Run and Debug, choose `Replay cluster-api-provider-aws (rr-patch)` and press F5
  needs:   dlv 1.27.1 and `[TARGET]/recorder/bin/rr` in the editor's PATH; `--attach` starts Delve here instead
"#]]);
    let expected = json!({
        "version": "0.2.0",
        "configurations": [{
            "name": format!("Replay {AWS} (rr-patch)"), "type": "go", "request": "launch", "mode": "replay",
            "traceDirPath": desk.path("rr").join(format!("{AWS}-0")), "env": { "DELVE_RR_REPLAY_FLAGS": "-W" },
            "stopOnEntry": true,
        }],
    });
    let written = desk.text("open/.vscode/launch.json");
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
    assert!(written.ends_with("}\n") && written.contains("\n  \"configurations\": [\n    {\n"), "{written}");
    let run = desk.run(&["--editor", "nvim"], &[]).exits(0);
    run.prints_exactly(str![[r#"
`[FOLDER]/open/.vscode/launch.json` holds it already
  start:   `:DapContinue`, then `Replay cluster-api-provider-aws (rr-patch)`: nvim-dap reads .vscode/launch.json
  needs:   dlv 1.27.1 and `[TARGET]/recorder/bin/rr` in the editor's PATH; `--attach` starts Delve here instead
"#]]);
    assert_eq!(desk.text("open/.vscode/launch.json"), written);
    assert!(!desk.text("calls").contains("headless"), "the editor starts Delve");
}

#[test]
fn replay_editor_keeps_all_that_the_file_has_byte_for_byte() {
    let desk = Desk::new();
    let theirs = "// mine\r\n{\r\n\t\"version\": \"0.2.0\", // keep\r\n\t\"configurations\": [\r\n\t\t/* first */ { \"name\" : \"Launch\", \"type\": \"go\", },\r\n\t\t// last\r\n\t],\r\n}\r\n";
    desk.write("open/.vscode/launch.json", theirs);
    desk.run(&["--editor", "vscode"], &[]).exits(0).prints_exactly(str![[r#"
merged into `[FOLDER]/open/.vscode/launch.json`: all else in it is as it was
  start:   in Run and Debug, choose `Replay cluster-api-provider-aws (rr-patch)` and press F5
  needs:   dlv 1.27.1 and `[TARGET]/recorder/bin/rr` in the editor's PATH; `--attach` starts Delve here instead
"#]]);
    let merged = desk.text("open/.vscode/launch.json");
    let (start, end) = theirs.split_at(theirs.find("\t\t// last").unwrap());
    let added = merged.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)).expect(&merged);
    assert!(added.starts_with("\t\t{\r\n\t\t\t\"name\": \"Replay ") && added.ends_with("\t\t},\r\n"), "{added:?}");
    desk.run(&["--editor", "vscode"], &[]).exits(0).prints_exactly(str![[r#"
`[FOLDER]/open/.vscode/launch.json` holds it already
  start:   in Run and Debug, choose `Replay cluster-api-provider-aws (rr-patch)` and press F5
  needs:   dlv 1.27.1 and `[TARGET]/recorder/bin/rr` in the editor's PATH; `--attach` starts Delve here instead
"#]]);
    assert_eq!(desk.text("open/.vscode/launch.json"), merged);
    // A newer trace of the same controller takes the place of the older one.
    let newer = desk.path("rr/newer");
    fs::create_dir_all(&newer).unwrap();
    copy(&fixtures().join(format!("traces/5.9/{AWS}-0")), &newer.join(format!("{AWS}-0")));
    desk.run(&[newer.join(format!("{AWS}-0")).to_str().unwrap(), "--editor", "vscode"], &[]).exits(0);
    let again = desk.text("open/.vscode/launch.json");
    assert_eq!(again, merged.replace(&format!("/rr/{AWS}-0"), &format!("/rr/newer/{AWS}-0")));
}

#[test]
fn replay_editor_refuses_a_file_that_does_not_parse_by_line_and_column() {
    let desk = Desk::new();
    let broken = "{\n  \"configurations\": [\n    { \"name\" \"x\" }\n  ]\n}\n";
    desk.write("open/.vscode/launch.json", broken);
    let run = desk.run(&["--editor", "vscode"], &[]).refuses();
    run.says_exactly(str![[r#"
warning: the recorded program could not be read: `[FOLDER]/rr/cluster-api-provider-aws-0/mmap_copy_3_cluster-api-provider-aws` is no ELF program
error: `[FOLDER]/open/.vscode/launch.json:3:14` cannot be merged with
  expected: JSON, with comments and trailing commas if you like
  found: Expected colon after the string or word in object property
hint: correct the file in the editor; `--print` shows what to add
nothing was written
"#]]);
    assert_eq!(desk.text("open/.vscode/launch.json"), broken);
    desk.write("open/.zed/debug.json", "{}");
    desk.run(&["--editor", "zed"], &[]).refuses().says_exactly(str![[r#"
warning: the recorded program could not be read: `[FOLDER]/rr/cluster-api-provider-aws-0/mmap_copy_3_cluster-api-provider-aws` is no ELF program
error: `[FOLDER]/open/.zed/debug.json` cannot be merged with
  expected: a list of configurations
  found: something else
hint: correct the file in the editor; `--print` shows what to add
nothing was written
"#]]);
    assert_eq!(desk.text("open/.zed/debug.json"), "{}");
    desk.write(&format!("open/.run/rr-patch {AWS}.run.xml"), "<component/>");
    desk.run(&["--editor", "goland", "--port", "4711"], &[]).refuses();
}

#[test]
fn replay_editor_writes_through_a_link_and_leaves_it_one() {
    let desk = Desk::new();
    desk.write("dotfiles/launch.json", "{}\n");
    fs::create_dir_all(desk.path("open/.vscode")).unwrap();
    std::os::unix::fs::symlink(desk.path("dotfiles/launch.json"), desk.path("open/.vscode/launch.json")).unwrap();
    desk.run(&["--editor", "vscode"], &[]).exits(0);
    assert!(desk.path("open/.vscode/launch.json").is_symlink());
    assert!(desk.text("dotfiles/launch.json").contains("traceDirPath"));
}

#[test]
fn replay_editor_print_shows_the_configuration_and_writes_nothing() {
    let desk = Desk::new();
    let run = desk.run(&["--editor", "zed", "--print"], &[]).exits(0);
    run.prints_exactly(str![[r##"
# [FOLDER]/open/.zed/debug.json
[
  {
    "label": "Replay cluster-api-provider-aws (rr-patch)",
    "adapter": "Delve",
    "request": "launch",
    "mode": "replay",
    "traceDirPath": "[FOLDER]/rr/cluster-api-provider-aws-0",
    "stopOnEntry": true
  }
]
"##]]);
    let run = desk.run(&["--editor", "goland", "--print"], &[]).exits(0);
    run.prints_exactly(str![[r##"
# [FOLDER]/open/.run/rr-patch cluster-api-provider-aws.run.xml
<component name="ProjectRunConfigurationManager">
  <configuration default="false" name="Attach to the replay of cluster-api-provider-aws (rr-patch)" type="GoRemoteDebugConfigurationType" factoryName="Go Remote" port="2345">
    <option name="disconnectOption" value="LEAVE" />
    <disconnect value="LEAVE" />
    <method v="2" />
  </configuration>
</component>
[TARGET]/debugger/bin/dlv replay --listen=127.0.0.1:2345 --headless=true --api-version=2 --accept-multiclient [FOLDER]/rr/cluster-api-provider-aws-0
[TARGET]/debugger/bin/dlv connect 127.0.0.1:2345
"##]]);
    assert_eq!(fs::read_dir(desk.path("open")).unwrap().count(), 0);
}

#[test]
fn replay_editor_attach_starts_delve_and_writes_where_it_listens() {
    let desk = Desk::new();
    desk.run(&["--editor", "goland", "--port", "0"], &[]).exits(2).says_exactly(str![[r#"
warning: the recorded program could not be read: `[FOLDER]/rr/cluster-api-provider-aws-0/mmap_copy_3_cluster-api-provider-aws` is no ELF program
error: an editor cannot be told a port that is not known yet: give `--port N`
"#]]);
    for (editor, path, parts) in [
        ("vscode", "open/.vscode/launch.json".to_owned(), ["\"mode\": \"remote\"", "\"debugAdapter\": \"dlv-dap\""]),
        ("zed", "open/.zed/debug.json".to_owned(), ["\"tcp_connection\": {", "\"mode\": \"remote\""]),
        (
            "goland",
            format!("open/.run/rr-patch {AWS}.run.xml"),
            ["Go Remote", "<option name=\"disconnectOption\" value=\"LEAVE\" />"],
        ),
    ] {
        // Free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut tool = desk.replay(&["--editor", editor, "--attach", "--port", &port], &[]);
        let mut child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = Server { child, lines, shown: String::new(), store: desk.path("rr") };
        let opened = server.until("`");
        assert!(opened.ends_with(&format!(" at 127.0.0.1:{port}")), "{opened}");
        server.until("  start: ");
        let written = desk.text(&path);
        let port = if editor == "goland" { format!("port=\"{port}\"") } else { format!("\"port\": {port}") };
        for part in parts.iter().copied().chain([port.as_str()]) {
            assert!(written.contains(part), "{part} is not in\n{written}");
        }
        kill("INT", server.child.id());
        server.ends(0);
    }
}

#[test]
fn replay_editor_maps_the_sources_to_a_checkout_that_is_elsewhere() {
    let desk = Desk::new();
    desk.trace_of("moved-0", &provider());
    copy(&fixtures().join("installer"), &desk.path("open"));
    desk.run(&["moved-0", "--editor", "vscode"], &[]).exits(0).prints_exactly(str![[r#"
wrote `[FOLDER]/open/.vscode/launch.json`
  start:   in Run and Debug, choose `Replay moved (rr-patch)` and press F5
  sources: built in `[TARGET]/end-to-end/patched`, mapped to `[FOLDER]/open`
  needs:   dlv 1.27.1 and `[TARGET]/recorder/bin/rr` in the editor's PATH; `--attach` starts Delve here instead
"#]]);
    let written: Value = serde_json::from_str(&desk.text("open/.vscode/launch.json")).unwrap();
    let mapped = &written["configurations"][0]["substitutePath"];
    assert_eq!(*mapped, json!([{ "from": desk.path("open"), "to": patched().root.canonicalize().unwrap() }]));
    // Where they were built, nothing is to be mapped.
    let built = patched().root.to_str().unwrap();
    let run = desk.run(&["moved-0", "--editor", "vscode", "--editor-dir", built, "--print"], &[]).exits(0);
    assert!(!run.stdout.contains("substitutePath"), "{}", run.stdout);
    desk.run(&["--editor", "vscode", "--editor-dir", "../nowhere"], &[]).exits(2).says_exactly(str![[r#"
error: `../nowhere` is not a folder: No such file or directory (os error 2)
hint: `--editor-dir DIR` names the folder that is open in the editor
"#]]);
}

/// doctor and replay know one way to set it.
#[test]
fn replay_says_of_perf_event_paranoid_what_doctor_says() {
    let desk = Desk::new();
    let says = ("DLV_STAND_IN", "says:rr needs /proc/sys/kernel/perf_event_paranoid <= 1, but it is 2");
    let run = desk.run(&["--port", "0"], &[says]).exits(1).says(&["at 1 or less, and it is 2"]);
    let hints = match allow_perf_events(&Host::here()) {
        Ok(commands) => commands.iter().map(|command| format!("hint: `{command}`\n")).collect(),
        Err(words) => vec![format!("hint: {words}\n")],
    };
    let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
    run.says(&hints);
}

/// One call of a real Delve's.
fn call(address: &str, method: &str, parameters: Value) -> Value {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = json!({ "method": format!("RPCServer.{method}"), "params": [parameters], "id": 1 });
    writeln!(stream, "{request}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
    answer["result"].clone()
}

/// A real Delve and the rr of this machine, where one of them refuses: no PMU, or perf_event_paranoid at 2.
#[test]
fn a_real_delve_and_rr_that_cannot_replay_here_are_met_with_a_cause() {
    let Some(dlv) = delve::delve() else { return };
    let Some((rr, None)) = real_rr() else {
        skip(&["refusing-rr"], "no rr of this machine refuses to record here");
        return;
    };
    let desk = Desk::new();
    let path = format!("{}:{}", dlv.parent().unwrap().display(), rr.parent().unwrap().display());
    let run = desk.run(&["--port", "0"], &[("PATH", &path)]).exits(1);
    assert!(!run.stderr.contains("Delve could not open the trace"), "{}", run.stderr);
    run.says(&["\nerror: ", "Delve ended with exit status 1", "\nhint: "]);
}

/// The whole way with real programs: recorded, opened, stopped at a breakpoint in a controller, and back.
#[test]
fn a_real_recording_is_replayed_to_a_breakpoint_and_back() {
    let Some(dlv) = delve::delve() else { return };
    let Some((rr, Some(options))) = real_rr() else {
        skip(&["rr"], "no rr of this machine can record here");
        return;
    };
    if delve::where_it_replays(command("true")).is_none() {
        return;
    }
    let desk = Desk::new();
    let place = desk.path("install");
    desk.write("install/metadata.json", "{\"platform\":\"aws\"}");
    let line = format!("{} record {} --wait", rr.display(), options.join(" "));
    let path = format!("{}:{}:/usr/bin:/bin", dlv.parent().unwrap().display(), rr.parent().unwrap().display());
    let variables = [("PATH", path.as_str()), ("RR_PATCH_RECORD", line.as_str())];
    let store = desk.path("rr");
    let mut record = command(env!("CARGO_BIN_EXE_rr-patch"));
    record.envs(variables).arg("record").arg(patched().root.join("bin/openshift-install"));
    record
        .args(["--unchecked", "--trace-dir", store.to_str().unwrap(), "--", "create", "cluster", "--dir"])
        .arg(&place);
    Run::of(record.output().unwrap()).exits(0);

    // Without RR_PATCH_RECORD: the trace itself says whether it needs -W.
    let replay = desk.replay(&["--port", "0"], &variables[..1]);
    let mut server = desk.serve_by(delve::where_it_replays(replay).unwrap());
    let address = server.address();
    let work = "github.com/openshift/installer/cluster-api/controller.(*controller).work";
    call(&address, "CreateBreakpoint", json!({ "Breakpoint": { "functionName": work, "line": -1 } }));
    let stopped = call(&address, "Command", json!({ "name": "continue" }));
    let place = &stopped["State"]["currentThread"];
    assert_eq!(place["function"]["name"], work, "{stopped}");
    let line = place["line"].as_i64().unwrap();
    let there = call(&address, "Command", json!({ "name": "next" }));
    assert!(there["State"]["currentThread"]["line"].as_i64().unwrap() > line, "{there}");
    let back = call(&address, "Command", json!({ "name": "reverseNext" }));
    assert_eq!(back["State"]["currentThread"]["line"], line, "{back}");
    let scope = json!({ "Scope": { "GoroutineID": -1 }, "Expr": "c.name", "Cfg": { "MaxStringLen": 64 } });
    assert_eq!(call(&address, "Eval", scope)["Variable"]["value"], AWS);
    kill("INT", server.child.id());
    server.ends(0).says(&["Delve has ended, and its rr with it"]);
}
