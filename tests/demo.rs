//! `rr-patch demo`: which recorder it uses, what it claims, the replay in the end, and how it ends when
//! it is interrupted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::delve;
use crate::end_to_end::real_rr;
use crate::harness::{Run, command, kill, skip, write_program};
use crate::recorder;
use crate::watched::{Watched, processes_with};

/// The demo, with these folders first in a PATH that has no rr and no Delve of its own.
fn demo(first: &[&Path], variables: &[(&str, &str)]) -> Run {
    Run::of(demo_command(first, variables).output().unwrap())
}

fn demo_command(first: &[&Path], variables: &[(&str, &str)]) -> Command {
    let path = std::env::var_os("PATH").unwrap();
    let others = std::env::split_paths(&path);
    let others = others.filter(|folder| !folder.join("rr").exists() && !folder.join("dlv").exists());
    let path = std::env::join_paths(first.iter().map(|&folder| folder.to_owned()).chain(others)).unwrap();
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.arg("demo").env("PATH", path).envs(variables.iter().copied());
    tool
}

const BREAKPOINT: &str = "> [Breakpoint 1] github.com/openshift/installer/cluster-api/controller.(*controller).work()";

#[test]
fn demo_calls_its_stand_in_one_and_claims_nothing_more_of_it() {
    let run = demo(&[], &[("RR_PATCH_RECORD", "no-such-recorder record --wait")]).exits(0).prints(&[
        "the recorder `no-such-recorder`, which RR_PATCH_RECORD names, was not found in PATH",
        "so a stand-in takes its place: it keeps rr's contract on signals and files, and records nothing\n",
        "/stand-in/rr record --wait",
        "level=info msg=\"Fixture cluster complete\"",
        "[5/7] What the stand-in left",
        "cluster-api-provider-aws-0: no signal cut it off; it holds no recording\n",
        "all 17 files are as they were\n",
        "and back: left out, since nothing was recorded\n",
        "go install github.com/go-delve/delve/cmd/dlv@v",
        "\nshown with a stand-in: nothing was recorded, and nothing replayed\n",
    ]);
    assert!(!run.stdout.contains("can be replayed") && !run.stdout.contains(BREAKPOINT), "{}", run.stdout);
}

#[test]
fn demo_records_with_what_rr_patch_record_names_and_says_what_a_replay_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    // As one that can replay `true`.
    let rr = folder.path().join("rr");
    let stand_in = recorder::folder().join("rr");
    let asked = folder.path().join("asked");
    let note = format!("echo \"$*\" >> {}", asked.display());
    write_program(&rr, format!("#!/bin/sh\n{note}\n[ \"$1\" = replay ] || exec {} \"$@\"\n", stand_in.display()));
    fs::set_permissions(&rr, fs::Permissions::from_mode(0o755)).unwrap();
    let line = format!("{} record -W --wait", rr.display());
    let variables = [("RR_PATCH_RECORD", line.as_str()), ("RR_STAND_IN_LOG", calls.to_str().unwrap())];
    demo(&[], &variables).exits(0).prints(&[
        &format!("recorder: {}, rr 5.9.0 (RR_PATCH_RECORD=\"{line}\")", rr.display()),
        "[5/7] The trace, which rr has closed\n",
        "cluster-api-provider-aws-0: complete, ",
        // It is a stand-in all the same, and its trace no rr's.
        "and back: left out\n    error: `cluster-api-provider-aws-0` cannot be replayed\n",
        "\n    Delve: Delve (`dlv`) was not found in PATH\n",
        "$ go install github.com/go-delve/delve/cmd/dlv@v",
        "\nrecorded, and not replayed\n",
    ]);
    let calls = fs::read_to_string(calls).unwrap();
    let provider = calls.lines().find(|call| call.contains("/cluster-api-provider-aws "));
    assert!(provider.is_some_and(|call| call.contains(" record -W --wait /")), "{calls}");
    let asked = fs::read_to_string(asked).unwrap();
    for question in ["--version", "help record", "-W -N"] {
        assert_eq!(asked.lines().filter(|line| *line == question).count(), 1, "rr {question}:\n{asked}");
    }
}

#[test]
fn demo_ends_with_a_replay_to_a_breakpoint_where_rr_and_delve_are_there() {
    let Some(dlv) = delve::delve() else { return };
    let Some((rr, Some(options))) = real_rr() else {
        skip(&["rr"], "no rr of this machine can record here");
        return;
    };
    // Without RR_PATCH_RECORD it finds out by itself whether it takes -W.
    let demo = demo_command(&[dlv.parent().unwrap(), rr.parent().unwrap()], &[]);
    let Some(mut demo) = delve::where_it_replays(demo) else { return };
    let run = Run::of(demo.output().unwrap()).exits(0).prints(&[
        &format!("recorder: {}, rr ", rr.display()),
        "cluster-api-provider-aws-0: complete, ",
        BREAKPOINT,
        "=> 157:\tfunc (c *controller) work(",
        "\"cluster-api-provider-aws\"\n",
        "\nrecorded, and replayed to a breakpoint and back\n",
    ]);
    assert_eq!(
        run.stdout.contains("RR_PATCH_RECORD=\"rr record -W --wait\""),
        options.contains(&"-W"),
        "{}",
        run.stdout
    );
}

/// A demo with its temporary folder in another one, in a step where it is to be interrupted.
fn interrupted(folder: &Path, arguments: &[&str], until: &str) -> Watched {
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.arg("demo").args(arguments).env("TMPDIR", folder).env("FIXTURE_WORK_SECONDS", "60");
    tool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = Watched::start(&mut tool);
    demo.until(&[until]);
    demo
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn demo_that_is_interrupted_ends_what_it_started_and_removes_its_folder() {
    for (signal, name, until) in
        [("INT", "signal 2 (SIGINT)", "+ go build "), ("TERM", "signal 15 (SIGTERM)", "Holding for 60 seconds")]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = interrupted(folder.path(), &[], until);
        kill(signal, demo.child.id());
        let code = demo.ends().code();
        let said = demo.said();
        assert_eq!(code, Some(130), "{said}");
        let ended = format!("interrupted by {name}: what the demo had started is ended, and its folder is removed");
        // What is printed comes on two streams, which are read side by side.
        assert!(
            said.lines().any(|line| line == ended) && !said.lines().any(|line| line.starts_with("error:")),
            "{said}"
        );
        assert_eq!(processes_with(folder.path().to_str().unwrap()), [] as [String; 0]);
        // Go makes work folders of its own.
        let left: Vec<_> = names(folder.path()).into_iter().filter(|name| name.starts_with("rr-patch")).collect();
        assert_eq!(left, [] as [String; 0]);
    }
}

#[test]
fn demo_keep_that_is_interrupted_keeps_its_folder_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = interrupted(folder.path(), &["--keep"], "[3/");
    kill("INT", demo.child.id());
    assert_eq!(demo.ends().code(), Some(130), "{}", demo.said());
    let said = demo.said();
    let kept = said.lines().find_map(|line| Some(line.strip_prefix("interrupted by ")?.split_once("kept: ")?.1));
    let kept = kept.unwrap_or_else(|| panic!("{said}"));
    assert!(Path::new(kept).join("installer").is_dir(), "{kept}");
}
