//! `rr-patch explain` on core dumps of the seeded defects: the real Delve, and no recorder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::defects::{self, is};
use crate::delve;
use crate::harness::{Run, command, kill, skip};
use snapbox::str;

/// A core dump: its folder, its file, and the program if the dump does not name it.
pub struct Dump {
    _folder: TempDir,
    path: PathBuf,
    program: Option<PathBuf>,
}

/// Whether the kernel writes a core dump into the folder of the program.
fn kernel_dumps() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let uses_pid = fs::read_to_string("/proc/sys/kernel/core_uses_pid").unwrap_or_default();
    pattern.trim() == "core" && uses_pid.trim() == "0"
}

/// Lets a program crash; where it does not by itself, SIGQUIT makes Go crash it after a while.
pub fn of(program: &Path, quits: Option<Duration>) -> Option<Dump> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("core");
    if kernel_dumps() {
        let mut shell = command("sh");
        shell.current_dir(folder.path()).env("GOTRACEBACK", "crash").stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = shell.args(["-c", "ulimit -c unlimited && exec \"$0\""]).arg(program).spawn().unwrap();
        if let Some(after) = quits {
            std::thread::sleep(after);
            kill("QUIT", child.id());
        }
        let status = child.wait().unwrap();
        assert!(status.core_dumped(), "{} left no core dump: {status}", program.display());
        return Some(Dump { _folder: folder, path, program: None });
    }
    if quits.is_some() {
        skip(&["core"], "the kernel writes no core dump into the folder of a program (core_pattern)");
        return None;
    }
    // Delve stops at panics and fatal errors, and writes a dump of its own.
    let commands = folder.path().join("commands");
    fs::write(&commands, format!("continue\ndump {}\nexit -c\n", path.display())).unwrap();
    let mut dlv = Command::new(delve::delve()?);
    dlv.args(["exec", "--allow-non-terminal-interactive=true", "--init"]).arg(&commands).arg(program);
    let output = dlv.stdin(Stdio::null()).output().unwrap();
    assert!(path.is_file(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(Dump { _folder: folder, path, program: Some(program.to_owned()) })
}

fn dump(name: &str, quits: Option<Duration>) -> Option<Dump> {
    of(&defects::programs().join(name), quits)
}

/// The tool, with Delve in PATH.
fn tool() -> Option<Command> {
    let dlv = delve::delve()?;
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    let path = std::env::var("PATH").unwrap();
    tool.env("PATH", format!("{}:{path}", dlv.parent().unwrap().display()));
    Some(tool)
}

pub fn explain(dump: &Dump, options: &[&str]) -> Option<Run> {
    let mut tool = tool()?;
    tool.arg("explain").arg(&dump.path).args(options);
    dump.program.iter().for_each(|program| {
        tool.arg("--program").arg(program);
    });
    Some(Run::of(tool.output().unwrap()))
}

#[test]
fn explain_names_who_raised_what_ended_a_core_dump_or_who_holds_a_lock() {
    for name in ["nil-map", "raised-again", "unlocked-twice", "lock-cycle"] {
        let Some(dump) = dump(name, None) else { return };
        let Some(run) = explain(&dump, &["--format", "json"]) else { return };
        let (found, wanted) = (run.exits(0).json(), defects::wanted(name));
        assert_eq!(found["end"]["how"], wanted["end"]["how"], "{name}: {found}");
        let of = wanted["suspects"].as_array().unwrap();
        let first = &found["suspects"][0];
        assert!(is(name, first, &of[0]) || (wanted["any_order"] == true && is(name, first, &of[1])), "{name}: {first}");
        for wanted in of {
            assert!(
                found["suspects"].as_array().unwrap().iter().take(3).any(|suspect| is(name, suspect, wanted)),
                "{name}"
            );
        }
        assert!(found["limits"][0].as_str().unwrap().contains("one moment"), "{name}: {found}");
    }
}

#[test]
fn explain_shows_the_frames_and_locals_of_a_core_dump() {
    let Some(dump) = dump("nil-map", None) else { return };
    let Some(run) = explain(&dump, &[]) else { return };
    run.exits(0).prints(&[
        "panicked",
        "panic: assignment to entry in nil map",
        "1. main.(*machine).setCondition",
        "main.reconcile",
        "m = &{name:",
    ]);
    let Some(run) = explain(&dump, &["--format", "json"]) else { return };
    let found = run.exits(0).json();
    let groups = found["goroutines"].as_array().unwrap();
    let frames = groups.iter().flat_map(|group| group["stack"].as_array().unwrap());
    let own: Vec<&Value> = frames.filter(|frame| frame["function"] == "main.(*machine).setCondition").collect();
    assert_eq!(own.len(), 1, "{found}");
    assert!(
        own[0]["variables"].as_array().unwrap().iter().any(|shown| shown.as_str().unwrap().starts_with("m = ")),
        "{found}"
    );
}

#[test]
fn explain_groups_the_goroutines_of_a_core_dump_and_finds_the_leak() {
    let Some(dump) = dump("watchers", Some(Duration::from_millis(1200))) else { return };
    let Some(run) = explain(&dump, &["--format", "json"]) else { return };
    let (found, wanted) = (run.exits(0).json(), defects::wanted("watchers"));
    assert_eq!((&found["end"]["how"], &found["end"]["signal"]), (&Value::from("signal"), &Value::from(3)), "{found}");
    assert!(is("watchers", &found["suspects"][0], &wanted["suspects"][0]), "{found}");
    let group = &found["goroutines"][0];
    assert!(group["count"].as_u64().unwrap() > 8 && group["waits"] == "one of several channels", "{group}");
    assert!(group["created"].as_str().unwrap().starts_with("main.reconcile "), "{group}");
}

#[test]
fn explain_says_who_holds_the_lock_of_a_core_dump() {
    let Some(dump) = dump("lock-cycle", None) else { return };
    let Some(run) = explain(&dump, &[]) else { return };
    run.exits(0).prints(&[
        "every goroutine waited",
        "by its source, which goroutine",
        "held by goroutine",
        "which took it in main.",
    ]);
}

#[test]
fn explain_refuses_what_is_not_a_core_dump_is_cut_off_or_belongs_to_another_program() {
    let Some(dump) = dump("nil-map", None) else { return };
    let folder = tempfile::tempdir().unwrap();
    let refused = |file: &Path, program: Option<&Path>| {
        let mut tool = tool()?;
        tool.arg("explain").arg(file);
        program.into_iter().for_each(|program| {
            tool.arg("--program").arg(program);
        });
        Some(Run::of(tool.output().unwrap()).exits(1))
    };
    let text = folder.path().join("text");
    fs::write(&text, "no core at all\n").unwrap();
    let Some(run) = refused(&text, None) else { return };
    run.says_exactly(str![[r#"
error: `[FOLDER]/text` is not a core dump
  expected: an ELF file of type core, of a 64-bit process
  found: a file that begins with `no core at all\n`
hint: GOTRACEBACK=crash and `ulimit -c unlimited` make a Go program that crashes write one; /proc/sys/kernel/core_pattern says where
"#]]);
    refused(&defects::programs().join("nil-map"), None)
        .unwrap().says_exactly(str![[r#"
error: `[TARGET]/defects/bin/nil-map` is not a core dump
  expected: an ELF file of type core, of a 64-bit process
  found: an ELF file of type 2
hint: GOTRACEBACK=crash and `ulimit -c unlimited` make a Go program that crashes write one; /proc/sys/kernel/core_pattern says where
"#]]);

    let cut = folder.path().join("cut");
    let bytes = fs::read(&dump.path).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    refused(&cut, dump.program.as_deref()).unwrap().says(&["cut` is cut off", "found: "]);
    fs::write(&cut, &bytes[..40]).unwrap();
    refused(&cut, None).unwrap().says_exactly(str![[r#"
error: `[FOLDER]/cut` is not a core dump
  expected: an ELF file of type core, of a 64-bit process
  found: Invalid ELF header size or alignment
hint: GOTRACEBACK=crash and `ulimit -c unlimited` make a Go program that crashes write one; /proc/sys/kernel/core_pattern says where
"#]]);

    if dump.program.is_none() {
        let other = defects::programs().join("lock-cycle");
        refused(&dump.path, Some(&other)).unwrap().says_exactly(str![[r#"
error: `[TARGET]/defects/bin/lock-cycle` is not the program that wrote `[FOLDER]/core`
  looked at: the beginning of the file, and of the same file in the core dump's memory
  the core dump names `[TARGET]/defects/bin/nil-map`
hint: a program that was built anew is another one; `--program PATH` names it
"#]]);
    }
    refused(&dump.path, Some(Path::new("/nowhere/program"))).unwrap().says_exactly(str![[r#"
error: the program that wrote `[FOLDER]/core` is missing: `/nowhere/program`
hint: `--program PATH` names it
"#]]);
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    refused(&dump.path, Some(&script)).unwrap();
}

#[test]
fn explain_of_a_core_dump_needs_delve() {
    let Some(dump) = dump("nil-map", None) else { return };
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.env("PATH", "/nowhere").arg("explain").arg(&dump.path);
    dump.program.iter().for_each(|program| {
        tool.arg("--program").arg(program);
    });
    Run::of(tool.output().unwrap()).exits(1).says_exactly(str![[r#"
error: Delve (`dlv`) was not found in PATH
hint: `rr-patch doctor` says how to install it
"#]]);
}

#[test]
fn explain_takes_a_program_only_with_a_core_dump() {
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.args(["explain", "/nowhere/core", "--program", "/bin/true"]);
    Run::of(tool.output().unwrap()).exits(2).says_exactly(str![[r#"
error: `--program` names the program of a core dump
  looked at: `/nowhere/core`, which is no file
"#]]);
}
