//! The fixture installer, built for real and run with the recorder stand-in: every way to end an
//! install leaves complete traces and no process, and the tests can fail: with only the command
//! line changed the traces are lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{Run, SYSTEM, command, copy, fixtures, kill, skip};
use crate::recorder::{self, Trace, traces};
use crate::watched::{Watched, processes_with};

/// A built installer: a tree of its own under the target folder, since a build takes a while.
pub struct Build {
    pub root: PathBuf,
    /// What the build printed.
    said: String,
}

impl Build {
    fn tree(name: &str, shape: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("end-to-end").join(name);
        let _ = fs::remove_dir_all(&root);
        copy(&fixtures().join("installer"), &root);
        if shape != "installer" {
            copy(&fixtures().join("shapes").join(shape), &root);
        }
        Self { root, said: String::new() }
    }

    fn rr_patch(&self, arguments: &[&str]) -> Run {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        Run::of(tool.current_dir(&self.root).args(arguments).output().unwrap())
    }

    /// The controllers are the same for all, and make finds them made.
    fn with_controllers(self, of: &Self) -> Self {
        copy(&of.root.join("cluster-api/bin"), &self.root.join("cluster-api/bin"));
        self
    }

    /// The command that the build says is next.
    pub fn next(&self) -> &str {
        let line = self.said.lines().find_map(|line| line.strip_prefix("next: `")?.strip_suffix('`'));
        line.unwrap_or_else(|| panic!("no next: in {}", self.said))
    }

    fn build(self, arguments: &[&str]) -> Self {
        let version = ["--env", "SOURCE_GIT_COMMIT=0", "--env", "BUILD_VERSION=fixture", "--env", "SKIP_ENVTEST=y"];
        let said = self.rr_patch(&[&["build"][..], &version, arguments].concat()).exits(0).stdout;
        Self { said, ..self }
    }
}

/// The fixture, patched with the defaults.
pub fn patched() -> &'static Build {
    static BUILD: OnceLock<Build> = OnceLock::new();
    BUILD.get_or_init(|| {
        let build = Build::tree("patched", "installer");
        build.rr_patch(&["apply", "."]).exits(0);
        build.build(&[])
    })
}

/// An installer of the fixture, built for other tests: a patched one, or one that is not.
pub fn installer(with_patch: bool) -> PathBuf {
    let build = if with_patch { patched() } else { only_wrapped() };
    build.root.join("bin/openshift-install")
}

/// The fixture as it is, but for the command line: what a hand would do first.
pub fn only_wrapped() -> &'static Build {
    static BUILD: OnceLock<Build> = OnceLock::new();
    BUILD.get_or_init(|| {
        let build = Build::tree("only-wrapped", "installer").with_controllers(patched());
        let path = build.root.join(SYSTEM);
        let text = fs::read_to_string(&path).unwrap();
        let wrap = "\tif ct.Provider != nil {\n\t\tct.Args = append([]string{\"record\", \"--wait\", \"--bind-to-cpu=0\", ct.Path}, ct.Args...)\n\t\tct.Path = \"rr\"\n\t}\n";
        let before = "\tpr := &process.State{";
        assert_eq!(text.matches(before).count(), 1);
        fs::write(&path, text.replace(before, &format!("{wrap}{before}"))).unwrap();
        build.build(&["--unpatched"])
    })
}

/// Every controller recorded, and only the recorder signalled.
pub fn signal_rr() -> &'static Build {
    static BUILD: OnceLock<Build> = OnceLock::new();
    BUILD.get_or_init(|| {
        let build = Build::tree("signal-rr", "installer").with_controllers(patched());
        build.rr_patch(&["apply", "--signal", "rr", "--controllers", "all"]).exits(0);
        build.build(&[])
    })
}

/// An install that runs.
struct Install {
    folder: tempfile::TempDir,
    process: Watched,
}

/// An install that has ended.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    log: String,
    traces: Vec<(String, Trace)>,
    folder: tempfile::TempDir,
}

/// Starts an install of a platform with variables for it.
fn install(build: &Build, platform: &str, variables: &[(&str, &str)]) -> Install {
    let folder = tempfile::Builder::new().prefix("rr-patch-install").tempdir().unwrap();
    let place = folder.path().join("install");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("metadata.json"), format!("{{\"platform\":\"{platform}\"}}")).unwrap();
    let mut installer = command(build.root.join("bin/openshift-install").to_str().unwrap());
    let path = std::env::var("PATH").unwrap();
    installer
        .args(["create", "cluster", "--dir", place.to_str().unwrap()])
        .env("PATH", format!("{}:{path}", recorder::folder().display()))
        .env("_RR_TRACE_DIR", folder.path().join("traces"))
        .env("RR_STAND_IN_LOG", folder.path().join("calls"))
        .env("FIXTURE_SIGNAL_LOG", folder.path().join("signals"))
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Install { folder, process: Watched::start(&mut installer) }
}

impl Install {
    /// Waits until the log holds all of these.
    #[track_caller]
    fn until(mut self, lines: &[&str]) -> Self {
        self.process.until(lines);
        self
    }

    /// What the terminal sends at Ctrl-C. The controllers are in process groups of their own.
    fn interrupt(self) -> Self {
        kill("INT", self.process.child.id());
        self
    }

    #[track_caller]
    fn end(mut self) -> Ended {
        let status = self.process.ends();
        let (log, traces) = (self.process.said(), traces(&self.folder.path().join("traces")));
        Ended { status, log, traces, folder: self.folder }
    }
}

impl Ended {
    /// Asserts the installer's status, the names of the traces, that all are complete, and that no
    /// process of this install is left.
    #[track_caller]
    fn leaves_complete(self, code: i32, names: &[&str]) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.log);
        let expected: Vec<_> = names.iter().map(|name| ((*name).to_owned(), Trace::Complete)).collect();
        assert_eq!(self.traces, expected, "{}", self.log);
        assert_eq!(self.survivors(), [] as [String; 0], "{}", self.log);
        self
    }

    #[track_caller]
    fn logs(self, lines: &[&str]) -> Self {
        for line in lines {
            assert!(self.log.contains(line), "no `{line}` in:\n{}", self.log);
        }
        self
    }

    /// The command lines of processes that name this install's folder.
    fn survivors(&self) -> Vec<String> {
        processes_with(self.folder.path().to_str().unwrap())
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

const AWS: &str = "cluster-api-provider-aws-0";
const AZURE: [&str; 2] = ["cluster-api-provider-azure-0", "cluster-api-provider-azureaso-0"];
const HOLD: (&str, &str) = ("FIXTURE_WORK_SECONDS", "60");

#[test]
fn with_only_the_command_line_changed_the_traces_are_lost() {
    let success = install(only_wrapped(), "aws", &[]).end();
    assert_eq!(success.traces, [(AWS.to_owned(), Trace::Incomplete)], "{}", success.log);
    let interrupted = install(only_wrapped(), "aws", &[HOLD]).until(&["Holding for"]).interrupt().end();
    assert_eq!(interrupted.traces, [(AWS.to_owned(), Trace::Incomplete)], "{}", interrupted.log);
}

#[test]
fn a_patched_install_that_succeeds_leaves_a_complete_trace_and_logs_every_exit_once() {
    let ended = install(patched(), "aws", &[]).end().leaves_complete(0, &[AWS]);
    let ended = ended.logs(&["20 of 20 work requests answered", "Fixture cluster complete"]);
    for name in ["aws infrastructure provider (pid", "Cluster API (pid"] {
        assert_eq!(ended.log.matches(name).count(), 1, "{name}:\n{}", ended.log);
    }
    // The core controller has no recorder: one SIGTERM, and it ends cleanly.
    let core: Vec<_> = ended.log.lines().filter(|line| line.contains("Cluster API (pid")).collect();
    assert!(core[0].contains("ended with exit status 0 after"), "{core:?}");
    let signals = ended.file("signals");
    assert_eq!(signals.lines().filter(|line| line.starts_with("cluster-api ")).count(), 1, "{signals}");
}

#[test]
fn a_patched_install_keeps_the_program_in_the_trace_after_its_folder_is_gone() {
    let ended = install(patched(), "aws", &[]).end().leaves_complete(0, &[AWS]);
    assert!(!ended.folder.path().join("install/cluster-api").exists(), "Teardown removes it");
    let names: Vec<_> = fs::read_dir(ended.folder.path().join("traces").join(AWS))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("mmap_"))
        .collect();
    assert!(names.iter().any(|name| name.starts_with("mmap_copy_")), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("mmap_hardlink_")), "{names:?}");
}

#[test]
fn a_patched_install_passes_disable_avx_512_only_where_the_cpu_can_do_it() {
    let faulting = fs::read_to_string("/proc/cpuinfo").unwrap().split_whitespace().any(|word| word == "cpuid_fault");
    let ended = install(patched(), "aws", &[]).end().leaves_complete(0, &[AWS]);
    let calls = ended.file("calls");
    assert!(calls.contains("record --wait"), "{calls}");
    assert!(calls.contains("--bind-to-cpu=0"), "{calls}");
    assert_eq!(calls.contains("--disable-avx-512"), faulting, "{calls}");
    assert_eq!(
        ended.log.contains("without --disable-avx-512: this CPU has no CPUID faulting"),
        !faulting,
        "{}",
        ended.log
    );
}

#[test]
fn a_patched_install_leaves_a_complete_trace_at_ctrl_c() {
    install(patched(), "aws", &[HOLD]).until(&["Holding for"]).interrupt().end().leaves_complete(8, &[AWS]);
}

#[test]
fn a_patched_install_waits_for_an_unhealthy_controller_says_so_and_ends_at_ctrl_c() {
    let variables = [("FIXTURE_BEHAVIOUR", "cluster-api-provider-aws=unhealthy")];
    let notice = "Still waiting for aws infrastructure provider to become healthy after 10s";
    let install = install(patched(), "aws", &variables).until(&[notice]);
    install.interrupt().end().leaves_complete(8, &[AWS]);
}

#[test]
fn a_patched_install_leaves_a_complete_trace_of_a_controller_that_exits_by_itself() {
    let variables = [("FIXTURE_BEHAVIOUR", "cluster-api-provider-aws=exit"), ("FIXTURE_WORK_SECONDS", "1.5")];
    let ended = install(patched(), "aws", &variables).end().leaves_complete(0, &[AWS]);
    ended.logs(&["level=warning", "ended with exit status 3 after"]);
}

#[test]
fn a_patched_install_leaves_complete_traces_when_a_controller_exits_before_it_is_healthy() {
    let variables = [("FIXTURE_BEHAVIOUR", "cluster-api-provider-azureaso=exit-early")];
    let ended = install(patched(), "azure", &variables).end().leaves_complete(1, &AZURE);
    ended.logs(&["azureaso infrastructure provider (pid", "ended with exit status 3 after"]);
}

#[test]
fn a_patched_install_leaves_complete_traces_of_two_providers() {
    install(patched(), "azure", &[]).end().leaves_complete(0, &AZURE);
    install(patched(), "azure", &[HOLD]).until(&["Holding for"]).interrupt().end().leaves_complete(8, &AZURE);
}

#[test]
fn a_patched_install_waits_longer_than_the_stop_timeout_for_a_controller() {
    // StopTimeout is 2 s in the fixture; rr itself gives its tracee 5 s.
    let variables = [HOLD, ("FIXTURE_BEHAVIOUR", "cluster-api=slow-stop:4")];
    let ended = install(patched(), "aws", &variables).until(&["Holding for"]).interrupt().end();
    ended.leaves_complete(8, &[AWS]).logs(&["cluster-api: graceful shutdown complete"]);
}

#[test]
fn a_patched_install_leaves_a_complete_trace_of_a_controller_that_ignores_sigterm() {
    let variables = [HOLD, ("FIXTURE_BEHAVIOUR", "cluster-api-provider-aws=stubborn")];
    let ended = install(patched(), "aws", &variables).until(&["Holding for"]).interrupt().end();
    ended.leaves_complete(8, &[AWS]).logs(&["ended with signal: killed after"]);
}

#[test]
fn apply_signal_rr_and_controllers_all_give_each_controller_exactly_one_sigterm() {
    let ended = install(signal_rr(), "aws", &[HOLD]).until(&["Holding for"]).interrupt().end();
    let ended = ended.leaves_complete(8, &["cluster-api-0", AWS]);
    let signals = ended.file("signals");
    assert_eq!(signals.lines().count(), 2, "{signals}");
    assert_eq!(ended.log.matches("ended with exit status 0 after").count(), 2, "{}", ended.log);
}

#[test]
fn rr_patch_record_off_starts_the_controllers_plainly() {
    let ended = install(patched(), "aws", &[("RR_PATCH_RECORD", "off")]).end().leaves_complete(0, &[]);
    ended.logs(&["RR_PATCH_RECORD is off: aws infrastructure provider runs without a recorder"]);
}

#[test]
fn rr_patch_record_replaces_the_recorders_command_line() {
    let ended =
        install(patched(), "aws", &[("RR_PATCH_RECORD", "rr record -W --wait")]).end().leaves_complete(0, &[AWS]);
    let calls = ended.file("calls");
    assert!(calls.contains("record -W --wait") && !calls.contains("--bind-to-cpu"), "{calls}");
}

#[test]
fn rr_patch_record_if_possible_records_or_starts_plainly_after_one_warning() {
    let refused = ("RR_PATCH_RECORD", "if-possible rr record --no-such-option");
    let ended = install(patched(), "azure", &[refused]).end().leaves_complete(0, &[]);
    assert_eq!(
        ended.log.matches("Nothing is recorded, since recording is not possible here").count(),
        1,
        "{}",
        ended.log
    );
    install(patched(), "aws", &[("RR_PATCH_RECORD", "if-possible")]).end().leaves_complete(0, &[AWS]);
}

#[test]
fn a_recorder_that_is_not_there_is_named_with_its_controller() {
    let ended = install(patched(), "aws", &[("RR_PATCH_RECORD", "no-such-rr record")]).end().leaves_complete(1, &[]);
    ended.logs(&["cannot record aws infrastructure provider: the recorder no-such-rr was not found"]);
}

#[test]
fn a_recorder_that_refuses_to_record_fails_the_install_and_leaves_no_process() {
    let ended = install(patched(), "aws", &[("RR_PATCH_RECORD", "rr record --no-such-option")]).end();
    ended.leaves_complete(1, &[]).logs(&["Invalid option --no-such-option", "ended with exit status 1 after"]);
}

/// The rr of this machine, if there is one, and what `rr record` and `rr replay` need to work here:
/// nothing, or `-W` (software counters) where a recorder has it and there is no PMU.
pub fn real_rr() -> Option<(PathBuf, Option<&'static [&'static str]>)> {
    let path = std::env::var_os("PATH").unwrap();
    let rr = std::env::split_paths(&path).map(|folder| folder.join("rr")).find(|path| path.is_file())?;
    let works = |options: &&[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let mut probe = command(rr.to_str().unwrap());
        probe.arg("record").args(*options).arg("-o").arg(&trace).arg("true");
        probe.output().unwrap().status.success() && trace.join("version").is_file()
    };
    let options = [&[][..], &["-W"]].into_iter().find(works);
    Some((rr, options))
}

#[test]
fn a_real_rr_that_can_record_here_leaves_traces_that_replay_to_the_end() {
    let Some((rr, Some(options))) = real_rr() else {
        skip(&["rr"], "no rr of this machine can record here");
        return;
    };
    let record = format!("{} record {} --wait", rr.display(), options.join(" "));
    let recorder = ("RR_PATCH_RECORD", record.as_str());
    let ends = [
        install(patched(), "aws", &[recorder]).end().leaves_complete(0, &[AWS]),
        install(patched(), "azure", &[recorder, HOLD])
            .until(&["Holding for"])
            .interrupt()
            .end()
            .leaves_complete(8, &AZURE),
        install(patched(), "aws", &[recorder, ("FIXTURE_BEHAVIOUR", "cluster-api-provider-aws=exit-early")])
            .end()
            .leaves_complete(1, &[AWS]),
    ];
    for ended in ends {
        for (name, _) in &ended.traces {
            let mut replay = command(rr.to_str().unwrap());
            replay.arg("replay").args(options).arg("--autopilot").arg(ended.folder.path().join("traces").join(name));
            let run = Run::of(replay.output().unwrap());
            assert_eq!(run.code, 0, "{name}: {}", run.stderr);
        }
    }
}

/// Debian's rr without a PMU, say: the install must say why it fails, and leave nothing behind.
#[test]
fn a_real_rr_that_refuses_to_record_here_is_heard_in_the_installers_log() {
    let Some((rr, None)) = real_rr() else {
        skip(&["refusing-rr"], "no rr of this machine refuses to record here");
        return;
    };
    let ended = install(patched(), "aws", &[("RR_PATCH_RECORD", &format!("{} record --wait", rr.display()))]).end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert_eq!(ended.survivors(), [] as [String; 0]);
    // Without a PMU, or on a CPU that this rr does not know, or without permission.
    let refusals = ["[FATAL", "rr needs", "perf_event_open"];
    assert!(refusals.iter().any(|refusal| ended.log.contains(refusal)), "{}", ended.log);
    ended.logs(&["aws infrastructure provider (pid", " under /", "in the log at level debug"]);
}

#[test]
fn every_shape_leaves_complete_traces_at_ctrl_c_and_when_a_start_fails() {
    // s1 has another interface than the fixture's main knows; its sources are vetted elsewhere.
    for shape in ["s2", "s3", "s4", "s5", "s6-second-goroutine", "s6-renamed", "p2"] {
        let build = Build::tree(shape, shape).with_controllers(patched());
        build.rr_patch(&["apply"]).exits(0);
        let build = build.build(&[]);
        println!("{shape}: Ctrl-C");
        install(&build, "aws", &[HOLD]).until(&["Holding for"]).interrupt().end().leaves_complete(8, &[AWS]);
        println!("{shape}: Ctrl-C while a controller is not healthy");
        let unhealthy = [("FIXTURE_BEHAVIOUR", "cluster-api-provider-aws=unhealthy")];
        let install_of = install(&build, "aws", &unhealthy).until(&["Recording aws"]);
        std::thread::sleep(Duration::from_millis(300));
        install_of.interrupt().end().leaves_complete(8, &[AWS]);
        println!("{shape}: a controller that exits early");
        // Before s6 nobody but AwaitAll waits for the provider that did start.
        let behaviour = "cluster-api-provider-azureaso=exit-early,cluster-api-provider-azure=slow-stop:1";
        let early = [("FIXTURE_BEHAVIOUR", behaviour)];
        install(&build, "azure", &early).end().leaves_complete(1, &AZURE);
        let _ = fs::remove_dir_all(&build.root);
    }
}
