//! `rr-patch doctor`: every host of `fixtures/hosts`, mending one, and the machine that the tests run on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use rr_patch::cli::{Cli, Command};
use rr_patch::doctor::{
    CheckRequest, Event, Finding, Host, Kernel, Level, Purpose, delve, examine, recorder, recording,
};
use rr_patch::ui::doctor::Examined;
use rr_patch::ui::document::Report;
use tempfile::TempDir;

use crate::delve;
use crate::harness::{Run, command, copy, fixtures, skip, write_program};
use snapbox::str;

/// A host of `fixtures/hosts` in a folder of its own.
struct Case {
    _folder: TempDir,
    root: PathBuf,
    host: Host,
}

/// What the fixture's `kernel` file says.
#[derive(Debug)]
struct Answers(BTreeMap<String, String>);

impl Answers {
    fn get(&self, name: &str) -> io::Result<u64> {
        let answer = self.0.get(name).unwrap_or_else(|| panic!("`kernel` says nothing of {name}"));
        match answer.as_str() {
            "EPERM" => Err(io::Error::from_raw_os_error(1)),
            "ENOENT" => Err(io::Error::from_raw_os_error(2)),
            "EACCES" => Err(io::Error::from_raw_os_error(13)),
            "ENOSYS" => Err(io::Error::from_raw_os_error(38)),
            number => Ok(number.parse().unwrap()),
        }
    }
}

impl Kernel for Answers {
    fn count(&self, event: Event, _: Option<usize>) -> io::Result<u64> {
        self.get(match event {
            Event::Branches(_) | Event::AnyBranches => "branches",
            Event::SpecLockMapCommits => "spec-lock-map",
        })
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(self.get("free")? << 20)
    }
}

/// The pairs of a fixture's file, or of that of `fedora`.
fn pairs(name: &str, file: &str) -> BTreeMap<String, String> {
    let hosts = fixtures().join("hosts");
    let text = fs::read_to_string(hosts.join(name).join(file));
    let text = text.unwrap_or_else(|_| fs::read_to_string(hosts.join("fedora").join(file)).unwrap());
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    text.lines().map(|line| pair(line).unwrap_or_else(|| panic!("{name}/{file}: {line}"))).collect()
}

/// The files that a README.md holds: a block of code with a path behind its language is one.
fn files(readme: &str) -> Vec<(String, String)> {
    let blocks = readme.split("\n```text /").skip(1).map(|block| block.split_once('\n').unwrap());
    blocks.map(|(path, rest)| (path.to_owned(), rest.split("```\n").next().unwrap().to_owned())).collect()
}

impl Case {
    fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("rr-patch-host").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let case = fixtures().join("hosts").join(name);
        copy(&fixtures().join("hosts/fedora/root"), &root);
        for absent in fs::read_to_string(case.join("absent")).unwrap_or_default().lines() {
            fs::remove_file(root.join(absent)).unwrap_or_else(|error| panic!("{name}: {absent}: {error}"));
        }
        if case.join("root").exists() {
            copy(&case.join("root"), &root);
        }
        for (path, text) in files(&fs::read_to_string(case.join("README.md")).unwrap()) {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let environment = pairs(name, "environment").into_iter().map(|(key, value)| (key, OsString::from(value)));
        let host = Host::at(&root, environment.collect(), Arc::new(Answers(pairs(name, "kernel"))));
        Self { _folder: folder, root, host }
    }

    /// What `rr-patch` with these arguments says of the host.
    fn visit(&self, arguments: &[&str]) -> anyhow::Result<Report<Examined>> {
        let words = ["rr-patch", "doctor"].iter().chain(arguments);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Doctor(doctor) => doctor.visit(&self.host),
            other => panic!("{other:?}"),
        }
    }

    fn finds(&self, arguments: &[&str], what: &str) -> serde_json::Value {
        let report = self.visit(arguments).unwrap();
        let findings = data(&report)["findings"].as_array().unwrap().clone();
        findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("no {what}")).clone()
    }
}

fn quick(host: &Host, purpose: Purpose) -> Vec<Finding> {
    examine(host, &CheckRequest { purpose: Some(purpose), ..CheckRequest::default() }, false)
}

fn text(report: &Report<Examined>) -> String {
    report.result.to_string()
}

fn data(report: &Report<Examined>) -> serde_json::Value {
    serde_json::to_value(&report.result).unwrap()
}

fn cases() -> Vec<String> {
    let entries = fs::read_dir(fixtures().join("hosts")).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn doctor_says_of_every_host_of_the_fixtures_what_is_expected() {
    let write = std::env::var_os("RR_PATCH_EXPECTED").is_some_and(|word| word == "write");
    let mut wrong = Vec::new();
    for name in cases() {
        let folder = fixtures().join("hosts").join(&name);
        assert!(fs::read_to_string(folder.join("README.md")).unwrap().starts_with("# "), "{name} has no README.md");
        let expected = fs::read_to_string(folder.join("expected.txt")).unwrap_or_default();
        let line = expected.lines().next().unwrap_or("$ rr-patch doctor").to_owned();
        let arguments: Vec<&str> = line.strip_prefix("$ rr-patch doctor").unwrap().split_whitespace().collect();
        let report = Case::new(&name).visit(&arguments).unwrap();
        let found = format!("{line}\n{}exit code {}\n", text(&report), report.exit as u8);
        if write {
            fs::write(folder.join("expected.txt"), &found).unwrap();
        } else if found != expected {
            wrong.push(format!("{name}: expected\n{expected}\nfound\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn doctor_leaves_no_level_and_no_check_without_a_fixture() {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in cases() {
        let report = Case::new(&name).visit(&[]).unwrap();
        for finding in data(&report)["findings"].as_array().unwrap() {
            let what = finding["what"].as_str().unwrap().to_owned();
            seen.entry(what).or_default().insert(finding["level"].as_str().unwrap().to_owned());
        }
    }
    // What cannot go wrong, or is no more than a note, has no trouble to show.
    let harmless = [
        "installation folder",
        "C library",
        "kernel",
        "CPUID faulting",
        "sandbox",
        "freeze_on_smi",
        "options of rr",
        "kptr_restrict",
    ];
    for (what, levels) in &seen {
        assert!(levels.contains("ok"), "{what} is in order on no host");
        assert!(levels.contains("trouble") || harmless.contains(&what.as_str()), "{what} is out of order on no host");
    }
    assert!(seen.len() > 18, "{seen:?}");
}

#[test]
fn doctor_fix_sets_what_is_set_wrong_and_looks_again() {
    let case = Case::new("paranoid-2");
    let before = case.visit(&["--quick"]).unwrap();
    assert_eq!(before.exit as u8, 4);
    assert!(text(&before).ends_with("`rr-patch doctor --fix` runs the commands marked with $\n"), "{}", text(&before));
    let report = case.visit(&["--fix", "--yes"]).unwrap();
    assert_eq!(report.exit as u8, 0, "{}", text(&report));
    assert_eq!(data(&report)["ready"], true);
    assert_eq!(data(&report)["ran"].as_array().unwrap().len(), 2);
    let setting = fs::read_to_string(case.root.join("etc/sysctl.d/60-rr-patch-perf.conf")).unwrap();
    assert_eq!(setting, "kernel.perf_event_paranoid = 1\n");
    assert_eq!(case.visit(&["--quick"]).unwrap().exit as u8, 0, "and it stays so");
}

#[test]
fn doctor_fix_installs_what_is_missing_and_records_with_it() {
    let report = Case::new("centos-without-rr").visit(&["--fix", "--yes"]).unwrap();
    assert_eq!(report.exit as u8, 0, "{}", text(&report));
    let data = data(&report);
    let ran: Vec<&str> = data["ran"].as_array().unwrap().iter().map(|ran| ran["command"].as_str().unwrap()).collect();
    assert_eq!(ran, ["sudo dnf install -y epel-release", "sudo dnf install -y rr"]);
    assert!(text(&report).contains("recorded and replayed"), "{}", text(&report));
}

#[test]
fn doctor_fix_says_which_command_failed_and_that_it_is_still_not_ready() {
    let report = Case::new("rhel-without-rr").visit(&["--fix", "--yes", "--quick"]).unwrap();
    assert_eq!(report.exit as u8, 4);
    let data = data(&report);
    let ran = data["ran"].as_array().unwrap();
    let end =
        |word: &str| ran.iter().find(|ran| ran["command"].as_str().unwrap().contains(word)).unwrap()["end"].clone();
    assert_eq!(end("dnf install -y rr"), "exit status 1");
    assert_eq!(end("sysctl -p"), "exit status 0", "one that fails leaves the others their chance");
    assert!(text(&report).contains("ok       perf_event_paranoid   1 "), "{}", text(&report));
}

#[test]
fn doctor_fix_runs_nothing_where_there_is_nobody_to_ask() {
    let case = Case::new("paranoid-2");
    // The tests have no terminal at their standard input; where one has, it is asked, and this says nothing.
    if io::IsTerminal::is_terminal(&io::stdin()) {
        skip(&["no-terminal"], "standard input is a terminal");
        return;
    }
    let error = case.visit(&["--fix"]).unwrap_err();
    assert_eq!(rr_patch::error::exit(&error) as u8, 2);
    assert!(rr_patch::error::render(&error).contains("hint: `--yes`"));
    assert!(!case.root.join("etc/sysctl.d/60-rr-patch-perf.conf").exists());
    assert!(Cli::try_parse_from(["rr-patch", "doctor", "--yes"]).is_err(), "--yes is for --fix");
}

#[test]
fn doctor_quick_runs_nothing_under_the_recorder() {
    let case = Case::new("vm-without-pmu");
    assert!(!text(&case.visit(&["--quick"]).unwrap()).contains("smoke test"));
    let smoke = case.finds(&[], "smoke test");
    assert_eq!(smoke["level"], "trouble");
    assert!(smoke["found"].as_str().unwrap().contains("Unable to open performance counter"), "{smoke}");
}

#[test]
fn doctor_rr_names_another_recorder() {
    let case = Case::new("other-recorder");
    assert_eq!(case.finds(&["--quick", "--rr", "/usr/bin/rr"], "rr")["found"], "5.8.0, /usr/bin/rr");
    let missing = case.finds(&["--quick", "--rr", "/opt/none/rr"], "rr");
    assert_eq!(missing["level"], "trouble");
    assert!(missing["found"].as_str().unwrap().contains("`/opt/none/rr` was not found"), "{missing}");
}

/// `record` starts an installer on a host if and only if doctor says that it is ready to record.
#[test]
fn doctor_says_ready_to_record_of_exactly_the_hosts_where_record_starts() {
    let mut ready = BTreeMap::new();
    for name in cases() {
        let case = Case::new(&name);
        let starts = recording(&case.host, &CheckRequest::default()).is_ok_and(|recording| {
            let mut findings = recording.findings.iter();
            findings.all(|finding| finding.level != Level::Trouble)
        });
        let report = case.visit(&["--quick"]).unwrap();
        assert_eq!(data(&report)["records"], starts, "{name}: {}", text(&report));
        *ready.entry(starts).or_insert(0) += 1;
    }
    assert!(ready[&true] > 5 && ready[&false] > 5, "{ready:?}");
    let chosen =
        recording(&Case::new("vm-software-counters").host, &CheckRequest::default()).unwrap().software.unwrap();
    assert_eq!(chosen.line, "rr record -W --wait");
    assert!(chosen.why[0].starts_with("performance counters: none"), "{chosen:?}");
}

/// What record and replay ask: each what it needs, and nothing of the other.
#[test]
fn quick_asks_for_one_purpose_what_that_purpose_needs() {
    let troubles = |name: &str, purpose| -> Vec<String> {
        let findings = quick(&Case::new(name).host, purpose).into_iter();
        findings.filter(|finding| finding.level == Level::Trouble).map(|finding| finding.what).collect()
    };
    assert_eq!(troubles("fedora", Purpose::Record), [] as [String; 0]);
    assert_eq!(troubles("fedora", Purpose::Replay), [] as [String; 0]);
    assert_eq!(troubles("full-disk", Purpose::Record), ["room for traces"]);
    assert_eq!(troubles("full-disk", Purpose::Replay), [] as [String; 0]);
    assert_eq!(troubles("too-little-room", Purpose::Record), ["room for traces"]);
    assert_eq!(troubles("little-room", Purpose::Record), [] as [String; 0]);
    assert_eq!(troubles("old-delve", Purpose::Record), [] as [String; 0]);
    assert_eq!(troubles("old-delve", Purpose::Replay), ["Delve for this rr"]);
    // rr 5.9 records at 2 on a newer kernel; Delve does not replay.
    assert_eq!(troubles("paranoid-2", Purpose::Record), [] as [String; 0]);
    assert_eq!(troubles("paranoid-2", Purpose::Replay), ["perf_event_paranoid"]);
    assert_eq!(troubles("paranoid-4", Purpose::Record), ["perf_event_paranoid"]);
    assert_eq!(troubles("vm-without-pmu", Purpose::Record), ["performance counters"]);
    assert_eq!(troubles("vm-software-counters-told", Purpose::Record), [] as [String; 0]);
}

#[test]
fn recorder_and_delve_of_a_host_are_those_that_its_environment_leads_to() {
    let host = Case::new("other-recorder");
    let rr = recorder(&host.host, None).unwrap();
    assert_eq!(rr.path, host.root.join("opt/rr/bin/rr"));
    assert!(rr.software_counters && rr.counts_in_software());
    assert_eq!(rr.arguments, ["record", "-W", "--wait"]);
    assert!(rr.options.contains("--wait") && !rr.options.contains("--no-preload"));
    assert_eq!(delve(&host.host).unwrap().version.to_string(), "1.27.1");
    let suffixed = recorder(&Case::new("rr-from-git").host, None).unwrap();
    assert_eq!((suffixed.said().as_str(), suffixed.is_from_main()), ("5.9.0 1a2b3c4d", true));
}

/// The tool on this machine, with this PATH.
fn here(path: &str, arguments: &[&str]) -> Run {
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.env("PATH", path).arg("doctor").args(arguments);
    Run::of(tool.output().unwrap())
}

fn found<'a>(document: &'a serde_json::Value, what: &str) -> &'a serde_json::Value {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("no {what}: {document:#}"))
}

/// Debian's rr, say: whether it can record here is a matter of the machine, and doctor must agree with it.
#[test]
fn doctor_agrees_with_the_rr_of_this_machine_on_whether_it_records() {
    let path = std::env::var("PATH").unwrap();
    let Some(rr) = std::env::split_paths(&path).map(|folder| folder.join("rr")).find(|path| path.is_file()) else {
        skip(&["rr"], "there is no rr on this machine");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let record = |options: &[&str]| {
        let trace = folder.path().join(format!("trace{}", options.len()));
        let mut record = command(rr.to_str().unwrap());
        record.arg("record").args(options).arg("-o").arg(&trace).arg("true").output().unwrap()
    };
    // `record` takes software counters where the machine has no others.
    let recorded = Some(record(&[])).filter(|run| run.status.success()).unwrap_or_else(|| record(&["-W"]));
    let document = here(&path, &["--format", "json"]).json();
    assert_eq!(document["schema"], "rr-patch/doctor/1");
    let smoke = found(&document, "smoke test");
    if recorded.status.success() {
        assert_eq!(smoke["level"], "ok", "{smoke}");
    } else {
        is_refused_with_a_cause(&document, smoke, &recorded.stderr);
    }
}

/// What doctor reports where this machine's rr refused to record.
fn is_refused_with_a_cause(document: &serde_json::Value, smoke: &serde_json::Value, said: &[u8]) {
    eprintln!("this machine's rr cannot record: {}", String::from_utf8_lossy(said));
    assert_eq!(smoke["level"], "trouble", "{smoke}");
    assert!(smoke["found"].as_str().unwrap().starts_with("`rr record` ended with "), "{smoke}");
    // rr tells one cause and ends; doctor names each that it can see.
    let causes = ["processor", "performance counters", "perf_event_paranoid", "ptrace_scope", "SpecLockMap"];
    let findings = document["findings"].as_array().unwrap();
    let of_machine = |finding: &&serde_json::Value| causes.contains(&finding["what"].as_str().unwrap());
    let named = findings.iter().filter(of_machine).filter(|finding| finding["level"] == "trouble").count();
    assert!(named > 0, "rr refused, and no check says why: {document:#}");
    assert_eq!(document["ready"], false);
    if !Path::new("/sys/bus/event_source/devices/cpu").exists()
        && !Path::new("/sys/bus/event_source/devices/cpu_core").exists()
    {
        let counters = found(document, "performance counters");
        assert_ne!(counters["level"], "ok", "there is no PMU here: {counters}");
        let advice = counters["advice"].to_string();
        assert!(advice.contains("RR_PATCH_RECORD") && advice.contains("record -W --wait"), "{advice}");
    }
}

#[test]
fn doctor_reads_the_version_of_a_real_delve_and_of_the_go_that_built_it() {
    let Some(dlv) = delve::delve() else { return };
    let path = format!("{}:{}", dlv.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let document = here(&path, &["--quick", "--format", "json"]).json();
    let delve = found(&document, "Delve");
    assert_eq!(delve["level"], "ok", "{delve}");
    assert_eq!(delve["found"], format!("{}, {}", delve::version(), dlv.display()));
    assert_eq!(found(&document, "Delve for this Go")["level"], "ok");
    // It matters only where Go writes DWARF 5.
    if delve::go_minor() < 25 {
        assert!(!document.to_string().contains("\"Go of Delve\""), "{document:#}");
    } else {
        let built = found(&document, "Go of Delve");
        assert!(["ok", "trouble"].contains(&built["level"].as_str().unwrap()), "{built}");
    }
}

#[test]
fn doctor_without_rr_and_delve_says_how_to_install_them() {
    let empty = tempfile::tempdir().unwrap();
    let run = here(empty.path().to_str().unwrap(), &["--quick"]).exits(4);
    run.prints(&["NOT OK   rr  ", "the recorder `rr` was not found in PATH", "dlv@v", "\nnot ready: "]);
}

#[test]
fn doctor_looks_into_the_programs_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("go.mod"), "module example.com/tiny\n\ngo 1.24\n").unwrap();
    fs::write(folder.path().join("main.go"), "package main\n\nfunc main() { println(1) }\n").unwrap();
    let programs = folder.path().join("programs");
    for (name, flags) in [("whole", ["-gcflags=all=-N -l", "-ldflags="]), ("stripped", ["-gcflags=", "-ldflags=-s -w"])]
    {
        let mut go = command("go");
        go.current_dir(folder.path()).env("CGO_ENABLED", "0").env("GOPROXY", "off");
        go.arg("build").args(flags).arg("-o").arg(programs.join(name));
        assert!(go.status().unwrap().success(), "go build of {name}");
    }
    fs::write(programs.join("README"), "no program\n").unwrap();
    let document =
        here(&std::env::var("PATH").unwrap(), &["--quick", "--format", "json", programs.to_str().unwrap()]).json();
    let stripped = found(&document, "stripped");
    assert_eq!(stripped["level"], "trouble", "{stripped}");
    assert!(stripped["found"].as_str().unwrap().contains("has no debug information"), "{stripped}");
    // The Delve of this machine, where there is one, need not take its Go.
    let whole = found(&document, "whole")["found"].as_str().unwrap().to_owned();
    assert!(whole.starts_with("go1.") || whole.starts_with("needs another Delve"), "{whole}");
    let empty = tempfile::tempdir().unwrap();
    let run = here("/usr/bin", &[empty.path().to_str().unwrap()]).exits(1);
    run.says_exactly(str![[r#"
error: `[FOLDER]` holds no programs
hint: an installer's controllers are in cluster-api/bin/<os>_<architecture>
"#]]);
}

/// The trace of a smoke test keeps the environment that it was recorded in.
#[test]
fn doctor_keeps_the_environment_out_of_the_trace_of_its_smoke_test() {
    let case = Case::new("fedora");
    let log = case.root.join("environment-of-rr");
    let rr = fs::read_to_string(case.root.join("usr/bin/rr")).unwrap();
    let spy = rr.replacen("#!/bin/sh\n", &format!("#!/bin/sh\n[ \"$1\" != record ] || set >{}\n", log.display()), 1);
    write_program(&case.root.join("usr/bin/rr"), spy);
    let mut environment: BTreeMap<String, OsString> =
        pairs("fedora", "environment").into_iter().map(|(key, value)| (key, value.into())).collect();
    environment.insert("AWS_SECRET_ACCESS_KEY".into(), "not-to-be-kept".into());
    let host = Host::at(&case.root, environment, Arc::new(Answers(pairs("fedora", "kernel"))));
    let Command::Doctor(doctor) = Cli::try_parse_from(["rr-patch", "doctor"]).unwrap().command else { panic!() };
    assert_eq!(doctor.visit(&host).unwrap().exit as u8, 0);
    let kept = fs::read_to_string(log).unwrap();
    assert!(kept.contains("HOME=") && !kept.contains("not-to-be-kept"), "{kept}");
}

/// A finding of the library is what the JSON document carries.
#[test]
fn findings_say_what_where_needed_found_and_what_to_do() {
    let findings: Vec<Finding> = quick(&Case::new("paranoid-2").host, Purpose::Replay);
    let paranoid = findings.iter().find(|finding| finding.what == "perf_event_paranoid").unwrap();
    assert_eq!(paranoid.looked, "/proc/sys/kernel/perf_event_paranoid");
    assert_eq!(paranoid.fix.len(), 2);
    let data = serde_json::to_value(paranoid).unwrap();
    for key in ["what", "looked", "needed", "found", "level", "fix", "advice"] {
        assert!(!data[key].is_null(), "{key}");
    }
}
