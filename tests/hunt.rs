//! `rr-patch hunt`: runs are recorded until one fails, and only what is worth looking at is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::defects;
use crate::delve;
use crate::end_to_end::installer;
use crate::harness::{Run, Tree, command, fixtures, kill};
use crate::recorder::{self, Trace};
use crate::watched::{Watched, processes_with};
use snapbox::str;

/// A place with a store of its own.
struct Place {
    folder: tempfile::TempDir,
}

/// What counts the runs in the file `count`: `$n` is the number of the run.
const COUNT: &str = "n=$(($(cat count 2>/dev/null || echo 0) + 1)); echo $n > count; ";

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("rr-patch-hunt").tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `rr-patch hunt` with the stand-in in PATH, at a shell script that counts its runs.
    fn hunt(&self, options: &[&str], script: &str) -> Command {
        let mut tool = self.tool(options);
        tool.args(["--", "sh", "-c", &format!("{COUNT}{script}")]);
        tool
    }

    fn tool(&self, options: &[&str]) -> Command {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        let path = format!("{}:{}", recorder::folder().display(), std::env::var("PATH").unwrap());
        tool.env("PATH", path).env("XDG_DATA_HOME", self.folder.path()).env("RR_STAND_IN_LOG", self.path("calls"));
        tool.current_dir(self.folder.path()).args(["hunt", "--unchecked", "--no-explain"]).args(options);
        tool
    }

    fn run(&self, options: &[&str], script: &str) -> Run {
        Run::of(self.hunt(options, script).output().unwrap())
    }

    fn document(&self, code: i32, options: &[&str], script: &str) -> Value {
        let _ = fs::remove_file(self.path("count"));
        self.run(&[options, &["--format", "json"]].concat(), script).exits(code).json()
    }

    /// The runs whose traces are there, all complete.
    fn kept(&self) -> Vec<String> {
        let Ok(hunts) = fs::read_dir(self.path("rr")) else { return Vec::new() };
        let hunts = hunts.flatten().filter(|hunt| hunt.file_name().to_string_lossy().starts_with("hunt-"));
        let mut runs: Vec<PathBuf> =
            hunts.flat_map(|hunt| fs::read_dir(hunt.path()).unwrap()).map(|run| run.unwrap().path()).collect();
        runs.retain(|run| run.is_dir());
        runs.sort();
        for run in &runs {
            let traces = recorder::traces(run);
            let complete =
                traces.iter().filter(|(name, _)| name != "install").all(|(_, state)| *state == Trace::Complete);
            assert!(complete, "{traces:?}");
        }
        runs.iter().map(|run| run.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }
}

#[test]
fn hunt_ends_at_the_first_failing_run_and_keeps_it_with_the_last_good_one() {
    let place = Place::new();
    let run = place.run(&["--runs", "10"], "echo run $n; [ $n != 3 ] || { echo error: lost item $n; exit 7; }");
    run.exits(0).prints(&[
        "1 failure in 3 runs: 1 run failed (33 %)",
        "1. 1 of 3 (33 %), exit status 7: error: lost item 3",
        "run 3, plain: trace `hunt-",
        "a good run: run 2, ",
        "next: `rr-patch explain hunt-",
        "next: `rr-patch traces diff hunt-",
    ]);
    assert_eq!(place.kept(), ["run-002", "run-003"]);
    let latest = fs::read_link(place.path("rr/latest-trace")).unwrap();
    assert!(latest.to_string_lossy().contains("/run-003/"), "{}", latest.display());
}

#[test]
fn hunt_groups_failures_by_how_they_ended_and_what_they_said_but_for_times_and_ids() {
    let place = Place::new();
    let script = "case $((n % 3)) in 1) echo panic: at 0x$n; exit 2;; 2) echo 10:00:0$n no room; exit 1;; esac";
    let found = place.document(0, &["--runs", "8", "--until", "0"], script);
    assert_eq!((&found["runs"], &found["failed"], &found["ended"]), (&8.into(), &6.into(), &"runs".into()));
    let failures = found["failures"].as_array().unwrap();
    let lines: Vec<&str> = failures.iter().map(|failure| failure["line"].as_str().unwrap()).collect();
    assert_eq!(lines, ["panic: at 0x1", "10:00:02 no room"]);
    assert_eq!((&failures[0]["count"], &failures[0]["how"]), (&3.into(), &"exit status 2".into()));
    assert_eq!(failures[0]["kept"].as_array().unwrap().len(), 3);
    assert_eq!(found["good"]["run"], 6);
}

#[test]
fn hunt_says_how_rare_a_failure_is_at_most_when_it_finds_none() {
    let place = Place::new();
    let run = place.run(&["--runs", "5"], "true").exits(4);
    run.prints(&["not once in 5 runs: below 45 % at 95 %", "a good run: run 5"]);
    assert_eq!(place.kept(), ["run-005"]);
}

#[test]
fn hunt_takes_a_status_or_a_line_for_a_failure_if_it_is_told_to() {
    let place = Place::new();
    let script = "case $n in 1) exit 1;; 2) echo lost 3 items;; 3) exit 9;; esac";
    let found =
        place.document(0, &["--runs", "4", "--until", "0", "--fail-on", "lost [0-9]", "--fail-on", "9"], script);
    assert_eq!((&found["failed"], &found["other"]), (&2.into(), &1.into()));
    let lines: Vec<&Value> = found["failures"].as_array().unwrap().iter().map(|failure| &failure["line"]).collect();
    assert_eq!(lines, [&Value::from("lost 3 items"), &Value::Null]);
    place.run(&["--fail-on", "("], "true").exits(2).says_exactly(str![[r#"
error: invalid value '(' for '--fail-on <CODE|REGEX>': regex parse error:
    (
    ^
error: unclosed group

For more information, try '--help'.
"#]]);
}

#[test]
fn hunt_ends_a_run_that_hangs_so_that_its_trace_closes_and_counts_it() {
    let place = Place::new();
    let run = place.run(&["--runs", "3", "--timeout", "1s"], "[ $n != 2 ] || sleep 60");
    run.exits(0).prints(&["1 of 2 (50 %), no end after 1.0 s"]).says(&["no end after 1.0 s: the program has got it"]);
    assert_eq!(place.kept(), ["run-001", "run-002"]);
}

#[test]
fn hunt_kills_what_does_not_heed_its_end_and_rr_closes_the_trace() {
    let place = Place::new();
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let run = place.run(&["--runs", "1", "--timeout", "1s"], script).exits(0);
    run.says(&["killing what is recorded"]).prints(&["1 of 1 (100 %), no end after 1.0 s"]);
    assert_eq!(place.kept(), ["run-001"]);
    assert_eq!(processes_with(place.folder.path().to_str().unwrap()), [] as [String; 0]);
}

#[test]
fn hunt_removes_the_oldest_duplicates_when_its_budget_is_used_up() {
    let place = Place::new();
    let one = place.document(0, &["--runs", "1"], "exit 3")["disk"].as_u64().unwrap();
    let place = Place::new();
    let budget = (one * 7 / 2).to_string();
    let run = place.run(&["--runs", "6", "--until", "0", "--disk", &budget], "exit 3").exits(0);
    run.prints(&["6 runs failed (100 %)", "to stay within --disk"]).says(&["the disk budget is used up"]);
    assert_eq!(place.kept(), ["run-001", "run-005", "run-006"]);
}

#[test]
fn hunt_ends_when_its_budget_holds_no_more_different_failures() {
    let place = Place::new();
    let letters = "exit_with() { exit $n; }; exit_with";
    let one = place.document(0, &["--runs", "1"], letters)["disk"].as_u64().unwrap();
    let place = Place::new();
    let budget = (one * 7 / 2).to_string();
    let found = place.document(0, &["--runs", "9", "--until", "0", "--disk", &budget], letters);
    assert_eq!((&found["ended"], &found["runs"]), (&"disk".into(), &3.into()));
    assert!(found["disk"].as_u64().unwrap() <= one * 7 / 2, "{found:#}");
}

#[test]
fn hunt_stops_a_run_whose_trace_outgrows_the_budget() {
    let place = Place::new();
    let mut tool = place.hunt(&["--disk", "1MB"], "sleep 60");
    let began = Instant::now();
    let run = Run::of(tool.env("RR_STAND_IN_GROWS", "4000000").output().unwrap()).exits(4);
    run.says(&["its traces take more than"]).prints(&["ended because there is no room for another trace"]);
    assert!(began.elapsed() < Duration::from_secs(30) && place.kept().is_empty());
}

#[test]
fn hunt_ends_at_ctrl_c_with_the_summary_and_every_trace_closed() {
    for number in ["INT", "TERM"] {
        let place = Place::new();
        let mut tool = place.hunt(&["--until", "0"], "case $n in 1) exit 5;; 3) touch third; sleep 60;; esac");
        let mut watched = Watched::start(tool.stdout(Stdio::piped()).stderr(Stdio::piped()));
        wait_for(&place.path("third"));
        kill(number, watched.child.id());
        assert_eq!(watched.child.wait().unwrap().code(), Some(130));
        watched.until(&["1 failure in 2 runs: 1 run failed (50 %)", "ended as it was asked to"]);
        assert_eq!(place.kept(), ["run-001", "run-002"]);
        assert_eq!(processes_with(place.folder.path().to_str().unwrap()), [] as [String; 0]);
    }
}

#[test]
fn hunt_on_a_terminal_shows_how_far_it_is_and_ends_at_ctrl_c() {
    use std::io::Write;
    let place = Place::new();
    let mut tool = place.hunt(&["--until", "0"], "case $n in 1) exit 5;; 4) touch fourth; sleep 60;; esac");
    let (mut watched, mut keys) = Watched::on_a_terminal(tool.env("TERM", "xterm"));
    watched.until(&["3 of 100 runs, 1 failed (33 %), "]);
    wait_for(&place.path("fourth"));
    keys.write_all(b"\x03").unwrap();
    watched.until(&["1 failure in 3 runs", "ended as it was asked to"]);
    assert_eq!(watched.child.wait().unwrap().code(), Some(130));
    assert_eq!(place.kept(), ["run-001", "run-003"]);
}

fn wait_for(file: &Path) {
    let began = Instant::now();
    while !file.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn hunt_changes_the_settings_from_run_to_run_and_wakes_the_overlay_by_them_alone() {
    let place = Place::new();
    let settings = ["--runs", "4", "--chaos", "1/4", "--chaos", "off", "--chaos", "rr", "--chaos", "rr+ranks"];
    let mut tool = place.hunt(&settings, "echo $RR_PATCH_CHAOS >> said");
    Run::of(tool.env("RR_PATCH_CHAOS", "1/2").output().unwrap()).exits(4).prints(&["RR_PATCH_CHAOS=ranks, rr --chaos"]);
    assert_eq!(fs::read_to_string(place.path("said")).unwrap(), "1/4\noff\noff\nranks\n");
    let calls = fs::read_to_string(place.path("calls")).unwrap();
    let calls: Vec<bool> = calls
        .lines()
        .filter(|line| line.contains(" record "))
        .map(|line| line.split(" sh -c").next().unwrap().contains("--chaos"))
        .collect();
    // The first call of all may be a trial of the recorder.
    assert_eq!(calls[calls.len() - 4..], [false, false, true, true], "{calls:?}");
}

#[test]
fn hunt_records_several_runs_at_the_same_time_without_ending_those_of_others() {
    let place = Place::new();
    let script = "echo x >> all; sleep 1; [ $(wc -l < all) -lt 6 ]";
    let found = place.document(0, &["--runs", "6", "--jobs", "3", "--until", "0"], script);
    assert_eq!((&found["runs"], &found["unrecorded"]), (&6.into(), &0.into()), "{found:#}");
    assert_eq!(fs::read_to_string(place.path("all")).unwrap().lines().count(), 6);
}

#[test]
fn hunt_gives_up_when_rr_leaves_no_trace() {
    let place = Place::new();
    let run = place.run(&["--runs", "9"], "echo about to go; kill -9 $PPID; sleep 5").exits(1);
    let run = run.says(&["run 1 left no complete trace, signal 9", ": about to go\n"]);
    run.says(&["rr left no complete trace 3 times in a row", "about to go", "hint: `rr-patch doctor`"]);
    assert_eq!(fs::read_dir(place.path("rr")).map_or(0, Iterator::count), 0, "the hunt's folder is gone, too");
}

#[test]
fn hunt_tells_what_it_found_before_an_error_ended_it() {
    let place = Place::new();
    let script = "[ $n -lt 3 ] && exit 2; kill -9 $PPID; sleep 5";
    let run = place.run(&["--runs", "9", "--until", "0"], script).exits(1);
    run.says(&["rr left no complete trace 3 times in a row"]).prints(&["1 failure in 2 runs", "ended by the error"]);
    assert_eq!(place.kept(), ["run-001", "run-002"]);
}

#[test]
fn hunt_says_what_is_wrong_with_its_command_line_before_anything_runs() {
    let place = Place::new();
    let run = |words: &[&str]| Run::of(place.tool(words).output().unwrap()).exits(2);
    run(&[]).says_exactly(str![[r#"
error: it is not said which program is to be recorded
  expected: the program and its arguments after `--`
hint: `rr-patch record --program -- PROGRAM ARGS…`
"#]]);
    run(&["make", "test"]).says_exactly(str![[r#"
error: `--` must stand before what is run: `make test`
hint: `rr-patch hunt -- make test`
"#]]);
    run(&["--test", "./x", "--nonsense"]).says_exactly(str![[r#"
error: unexpected argument '--nonsense' found
  options of `go test` that are known: -run, -skip, -bench, -benchtime, -count, -cpu, -failfast, -fuzz, -parallel, -short, -shuffle, -v
hint: what stands after `--` is passed on as it is, like `-- -test.v`
"#]]);
    run(&["--test", "./x", "-run", "X", "stray"]).says_exactly(str![[r#"
error: `stray` stands before `--`
  expected: one package, and options of `go test` and of `hunt`
hint: what stands after `--` is passed on as it is, like `-- -test.v`
"#]]);
    run(&["--test", "x", "--installer", "y"]).says_exactly(str![[r#"
error: the argument '--test <PACKAGE>' cannot be used with '--installer <PATH>'

Usage: rr-patch hunt [OPTIONS] -- <PROGRAM> [ARGS]...
       rr-patch hunt [OPTIONS] --test <PACKAGE> [-run RE] [-- <ARGS>...]
       rr-patch hunt [OPTIONS] --installer <PATH> -- <ARGS>...

For more information, try '--help'.
"#]]);
    let rr = run(&["--installer", "y", "--chaos", "rr+1/4", "--", "create", "cluster"]);
    rr.says_exactly(str![[r#"
error: `--chaos` asks for `RR_PATCH_CHAOS=1/4, rr --chaos` of an installer
  an installer starts its recorders itself: options of rr in a setting do not reach them
hint: give them for every run: `RR_PATCH_RECORD="rr record --wait --chaos" rr-patch hunt …`
"#]]);
    run(&["--chaos", "5/4", "--", "true"]).says_exactly(str![[r#"
error: invalid value '5/4' for '--chaos <SETTING>': expected a value of RR_PATCH_CHAOS (a fraction like 1/4, `ranks` or `mix`), `rr`, `cores=N` or `off`, with `+` between them

For more information, try '--help'.
"#]]);
    run(&["--time", "soon", "--", "true"]).says_exactly(str![[r#"
error: invalid value 'soon' for '--time <TIME>': expected a number and `s`, `m`, `h`, `d` or `w`, like 7d

For more information, try '--help'.
"#]]);
    assert!(!place.path("rr").exists());
}

#[test]
fn hunt_records_every_controller_of_an_installer_and_keeps_the_traces_of_a_run_together() {
    let place = Place::new();
    fs::create_dir(place.path("install")).unwrap();
    fs::write(place.path("install/metadata.json"), "{\"platform\":\"aws\"}").unwrap();
    let repo = installer(true);
    let mut tool = place.tool(&["--runs", "2", "--fail-on", "Fixture cluster complete", "--format", "json"]);
    tool.args(["--installer", repo.to_str().unwrap(), "--", "create", "cluster", "--dir", "install"]);
    let found = Run::of(tool.output().unwrap()).exits(0).json();
    assert_eq!(found["failures"][0]["kept"][0]["traces"], 1, "{found:#}");
    assert_eq!(place.kept(), ["run-001"]);
    let folder = PathBuf::from(found["failures"][0]["kept"][0]["folder"].as_str().unwrap());
    assert!(folder.join("cluster-api-provider-aws-0/version").is_file());
    assert!(folder.join("install/metadata.json").is_file(), "each run works on a copy");
}

/// An installer that starts a recorder itself, writes what it would be destroyed by, and notes what it destroys.
const INSTALLER: &str = r#"package main

import (
	"fmt"
	"os"
	"os/exec"
)

func main() {
	if len(os.Args) < 5 {
		return
	}
	folder := os.Args[4]
	if os.Args[1] == "destroy" {
		if os.Getenv("FAIL_TO_DESTROY") != "" {
			fmt.Println("the cloud does not answer")
			os.Exit(3)
		}
		log, _ := os.OpenFile("destroyed", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		fmt.Fprintln(log, folder)
		return
	}
	if err := os.WriteFile(folder+"/metadata.json", []byte("{}"), 0o600); err != nil {
		panic(err)
	}
	if out, err := exec.Command("rr", "record", "/bin/true").CombinedOutput(); err != nil {
		panic(string(out))
	}
}
"#;

#[test]
fn hunt_destroys_what_each_run_of_an_installer_has_created_and_ends_where_that_fails() {
    let place = Place::new();
    for (name, content) in [("go.mod", "module m\n\ngo 1.24\n"), ("main.go", INSTALLER), ("d/install-config.yaml", "x")]
    {
        fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        fs::write(place.path(name), content).unwrap();
    }
    let mut go = command("go");
    Run::of(go.current_dir(place.folder.path()).args(["build", "-o", "installer", "."]).output().unwrap()).exits(0);
    let tool = |place: &Place| {
        let mut tool = place.tool(&["--runs", "2", "--unpatched", "--installer", "./installer"]);
        tool.args(["--", "create", "cluster", "--dir", "d"]);
        tool
    };
    Run::of(tool(&place).output().unwrap()).exits(4).prints(&["not once in 2 runs"]).says_exactly(str![[r#"
...
rr-patch: destroying what this run has created: `[FOLDER]/installer destroy cluster --dir [FOLDER]/rr/hunt-[..]/run-001/install`
rr-patch: destroying what this run has created: `[FOLDER]/installer destroy cluster --dir [FOLDER]/rr/hunt-[..]/run-002/install`
"#]]);
    let destroyed = fs::read_to_string(place.path("destroyed")).unwrap();
    let folders: Vec<&str> = destroyed.lines().collect();
    assert!(folders.len() == 2 && folders[0].ends_with("run-001/install"), "{destroyed}");
    assert!(!place.path("d/metadata.json").exists(), "each run works on a copy");
    assert_eq!(place.kept(), ["run-002"]);
    let run = Run::of(tool(&place).env("FAIL_TO_DESTROY", "1").output().unwrap()).exits(1);
    run.says_exactly(str![[r#"
...
rr-patch: destroying what this run has created: `[FOLDER]/installer destroy cluster --dir [FOLDER]/rr/hunt-[..]/run-001/install`
error: what a run has created may still be there: its folder is kept, and the hunt has ended
  `[FOLDER]/installer destroy cluster --dir [FOLDER]/rr/hunt-[..]/run-001/install` ended with exit status 3
  the cloud does not answer
hint: `[FOLDER]/installer destroy cluster --dir [FOLDER]/rr/hunt-[..]/run-001/install`
"#]]);
    assert!(place.kept().contains(&"run-001".to_owned()), "{:?}", place.kept());
}

#[test]
fn hunt_builds_the_tests_of_a_package_once_and_runs_them_in_its_folder() {
    let place = Place::new();
    let module = place.path("module");
    fs::create_dir_all(module.join("queue/testdata")).unwrap();
    fs::write(module.join("go.mod"), "module example.com/m\n\ngo 1.24\n").unwrap();
    fs::write(module.join("queue/testdata/beside"), "x").unwrap();
    let test = r#"package queue

import (
	"os"
	"testing"
)

func TestOther(t *testing.T) { t.Fatal("was not asked for") }

func TestBeside(t *testing.T) {
	if _, err := os.ReadFile("testdata/beside"); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("RR_PATCH_CHAOS") == "1/2" {
		t.Error("lost an item")
	}
}
"#;
    fs::write(module.join("queue/queue_test.go"), test).unwrap();
    let mut tool = place.tool(&["--format", "json", "--test", "./queue", "-run", "TestBeside", "--runs", "4"]);
    tool.args(["--chaos", "off", "--chaos", "1/2", "--", "-test.parallel=3"]).current_dir(&module);
    let found = Run::of(tool.output().unwrap()).exits(0).json();
    assert_eq!((&found["runs"], &found["failed"]), (&2.into(), &1.into()), "{found:#}");
    assert_eq!(found["failures"][0]["line"], "queue_test.go:15: lost an item");
    let calls = fs::read_to_string(place.path("calls")).unwrap();
    let line = calls.lines().rfind(|line| line.contains(" record ")).unwrap();
    assert!(line.contains("-test.run=TestBeside -test.count=1 -test.timeout=600s -test.parallel=3"), "{line}");
    assert!(line.ends_with("RR_COPY_ALL_FILES=unset"), "the program stays where it is: {line}");
}

/// The programs of `fixtures/hunt`, built with the overlay and for debugging.
fn programs() -> (Tree, PathBuf) {
    let tree = Tree::holding(&fixtures().join("hunt"), "programs");
    tree.rr_patch_in("programs", &["chaos", "overlay", "-o", "../chaos"]).exits(0);
    let overlay = format!("-overlay={}", tree.path("chaos/overlay.json").display());
    let bin = tree.beside("bin");
    fs::create_dir(&bin).unwrap();
    let programs = tree.path("programs");
    let go = ["-C", programs.to_str().unwrap(), "build", &overlay, "-gcflags=all=-N -l", "-o"];
    tree.go(&[&go[..], &[bin.to_str().unwrap(), "./..."]].concat(), &[]).exits(0);
    (tree, bin)
}

/// Hunts a program with the real recorder; nothing where there is none.
fn hunt(program: &Path, traces: &Path, options: &[&str]) -> Option<Value> {
    let mut tool = defects::tool()?;
    tool.args(["hunt", "--unchecked", "--format", "json", "--timeout", "60s"])
        .args(options)
        .arg("--trace-dir")
        .arg(traces);
    let run = Run::of(delve::where_it_replays(tool)?.arg("--").arg(program).output().unwrap());
    assert!([0, 4].contains(&run.code), "{}: {}", program.display(), run.stderr);
    Some(run.json())
}

#[test]
fn hunt_finds_seven_of_the_eight_seeded_defects_within_fifty_runs_and_none_in_correct_programs() {
    let (_tree, bin) = programs();
    let traces = tempfile::tempdir().unwrap();
    let names = |correct: bool| {
        let entries = fs::read_dir(&bin).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.filter(move |name| name.starts_with("correct-") == correct).collect::<Vec<_>>()
    };
    let mut missed = Vec::new();
    for name in names(false) {
        let options = ["--runs", "50", "--no-explain"];
        let Some(found) = hunt(&bin.join(&name), traces.path(), &options) else { return };
        if found["failed"] == 0 {
            missed.push(name);
        }
    }
    assert!(missed.len() < 2, "{missed:?}");
    for name in names(true) {
        let Some(found) = hunt(&bin.join(&name), traces.path(), &["--runs", "8", "--no-explain"]) else { return };
        assert_eq!((&found["runs"], &found["failed"]), (&8.into(), &0.into()), "{name}: {found:#}");
    }
}

#[test]
fn hunt_names_the_line_that_explain_blames_and_leads_to_the_good_and_the_bad_run() {
    let (_tree, bin) = programs();
    let traces = tempfile::tempdir().unwrap();
    let options = ["--runs", "50", "--until", "2"];
    let Some(found) = hunt(&bin.join("double-close"), traces.path(), &options) else { return };
    let failures = found["failures"].as_array().unwrap();
    assert_eq!((failures.len(), &failures[0]["count"]), (1, &2.into()), "{found:#}");
    assert_eq!(failures[0]["suspect"]["function"], "main.(*stream).close", "{found:#}");
    assert_eq!(failures[0]["suspect"]["kind"], "panic");
    let next = found["next"][0].as_str().unwrap();
    assert_eq!(next, format!("rr-patch explain {}", failures[0]["kept"][0]["trace"].as_str().unwrap()));
}
