//! `rr-patch record`: the installer runs, every trace is closed whatever happens, and the report says so.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::end_to_end::{only_wrapped, patched, real_rr};
use crate::harness::{Run, command, copy, kill, skip};
use crate::recorder::{self, Trace};
use crate::watched::{PATIENCE, Watched, processes, processes_with};
use snapbox::str;

const AWS: &str = "cluster-api-provider-aws-0";
const HOLD: (&str, &str) = ("FIXTURE_WORK_SECONDS", "60");
const SECRET: &str = "hunter2";

/// A place for one install of a platform, with what was recorded.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(platform: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("rr-patch-record").tempdir().unwrap();
        fs::create_dir(folder.path().join("install")).unwrap();
        fs::write(folder.path().join("install/metadata.json"), format!("{{\"platform\":\"{platform}\"}}")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a word of the arguments stands for: `@` is the folder of this place.
    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        let install = ["--", "create", "cluster", "--dir", "@/install"];
        arguments.iter().chain(&install).map(|argument| argument.replace('@', folder)).collect()
    }

    /// `rr-patch record` with the stand-in in PATH, rr's own folder here, and a secret in the environment.
    /// Tests run in containers that the checks of a machine may not like.
    fn record(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        self.environment(&mut tool, variables);
        tool.args(["record", "--unchecked"]).args(self.arguments(arguments));
        tool
    }

    fn environment(&self, tool: &mut Command, variables: &[(&str, &str)]) {
        let path = std::env::var("PATH").unwrap();
        tool.current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", recorder::folder().display()))
            .env("XDG_DATA_HOME", self.folder.path())
            .env("RR_STAND_IN_LOG", self.path("calls"))
            .env("FIXTURE_SIGNAL_LOG", self.path("signals"))
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .envs(variables.iter().copied());
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        Run::of(self.record(arguments, variables).output().unwrap())
    }

    /// The folder that this run made below rr's own.
    fn traces(&self) -> PathBuf {
        let entries = fs::read_dir(self.path("rr")).unwrap().map(|entry| entry.unwrap());
        let mut found = entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path());
        let folder = found.next().expect("a folder for the run");
        assert!(found.next().is_none(), "one folder for each run");
        folder
    }

    #[track_caller]
    fn leaves_complete(&self, names: &[&str]) {
        let expected: Vec<_> = names.iter().map(|name| ((*name).to_owned(), Trace::Complete)).collect();
        assert_eq!(recorder::traces(&self.traces()), expected);
        self.leaves_no_process();
    }

    #[track_caller]
    fn leaves_no_process(&self) {
        assert_eq!(processes_with(self.folder.path().to_str().unwrap()), [] as [String; 0]);
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

fn repo() -> &'static str {
    patched().root.to_str().unwrap()
}

/// What a command printed as the next one is run by a shell, as it was printed.
#[test]
fn the_next_step_that_build_prints_records_as_printed() {
    let place = Place::new("aws");
    let tool = Path::new(env!("CARGO_BIN_EXE_rr-patch")).parent().unwrap();
    let mut shell = command("sh");
    place.environment(&mut shell, &[]);
    let path = format!("{}:{}:{}", tool.display(), recorder::folder().display(), std::env::var("PATH").unwrap());
    shell.current_dir(place.path("install")).env("PATH", path).args(["-c", patched().next()]);
    let run = Run::of(shell.output().unwrap());
    if run.stderr.contains("this machine cannot record as it is") {
        skip(&["rr"], &run.stderr);
        return;
    }
    run.exits(0).prints(&["1 trace in `", "`, complete"]);
    place.leaves_complete(&[AWS]);
}

/// A run that goes on.
struct Session(Watched);

impl Session {
    fn start(mut tool: Command) -> Self {
        Self(Watched::start(tool.stdout(Stdio::piped()).stderr(Stdio::piped())))
    }

    fn said(&self) -> String {
        self.0.said()
    }

    #[track_caller]
    fn until(&mut self, part: &str) {
        self.0.until(&[part]);
    }

    fn signal(&self, name: &str) {
        kill(name, self.0.child.id());
    }

    #[track_caller]
    fn ends(&mut self, code: i32) -> String {
        let status = self.0.ends();
        assert_eq!(status.code(), Some(code), "{}", self.said());
        self.said()
    }
}

#[test]
fn record_runs_the_checkouts_installer_and_reports_each_controllers_trace() {
    let place = Place::new("azure");
    let run = place.run(&[repo()], &[]).exits(0);
    let run = run.says(&["Fixture cluster complete", "rr-patch: traces go to `"]);
    let folder = place.traces();
    assert!(folder.file_name().unwrap().to_str().unwrap().starts_with("install-2"), "{}", folder.display());
    place.leaves_complete(&["cluster-api-provider-azure-0", "cluster-api-provider-azureaso-0"]);
    let next = format!("next: `rr-patch replay {}/cluster-api", folder.file_name().unwrap().to_str().unwrap());
    run.prints(&[&next]).prints_exactly(str![[r#"
controller                     state     exit [..] trace
cluster-api-provider-azure     complete  not known [..] cluster-api-provider-azure-0
cluster-api-provider-azureaso  complete  not known [..] cluster-api-provider-azureaso-0

the installer ended with exit status 0 after [..] s
2 traces in `[FOLDER]/rr/install-[..]`, complete
next: `rr-patch replay install-[..]/cluster-api-provider-azure-0`
"#]]);
    let latest = fs::read_link(place.path("rr/latest-trace")).unwrap();
    assert!(place.path("rr").join(latest).join("version").is_file(), "whoever replays the latest gets one of these");
}

#[test]
fn record_notes_in_each_trace_how_it_was_made_and_no_value_of_the_environment() {
    let place = Place::new("aws");
    let line = format!("rr record -W --env=TOKEN={SECRET} --wait");
    let run = place.run(&[repo()], &[("RR_PATCH_RECORD", &line)]).exits(0);
    let trace = place.traces().join(AWS);
    let sidecar = fs::read_to_string(trace.join("rr-patch.json")).unwrap();
    let noted: serde_json::Value = serde_json::from_str(&sidecar).unwrap();
    assert_eq!(noted["controller"], "cluster-api-provider-aws");
    assert_eq!(noted["rr_version"], "5.9.0");
    assert_eq!(noted["software_counters"], true);
    assert_eq!(noted["flags"], serde_json::json!(["-W", "--env=TOKEN=…", "--wait"]));
    assert_eq!(noted["installer_commit"], "0", "as the fixture is built");
    assert_eq!(noted["tool"], format!("rr-patch {}", env!("CARGO_PKG_VERSION")));
    // The stand-in logs what it was started with: the value is there. The installer's own log has it too.
    assert!(place.text("calls").contains(SECRET));
    for text in [&sidecar, &run.stdout, &run.stderr.lines().filter(|line| !line.starts_with("level=")).collect()] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn record_takes_a_binary_and_a_trace_folder_of_ones_own() {
    let place = Place::new("aws");
    let binary = patched().root.join("bin/openshift-install");
    let run = place.run(&[binary.to_str().unwrap(), "--trace-dir", "@/mine"], &[]).exits(0);
    assert_eq!(recorder::traces(&place.path("mine")), [(AWS.to_owned(), Trace::Complete)]);
    run.prints_exactly(str![[r#"
controller                state     exit [..] trace
cluster-api-provider-aws  complete  not known [..] cluster-api-provider-aws-0

the installer ended with exit status 0 after [..] s
1 trace in `[FOLDER]/mine`, complete
next: `rr-patch replay [FOLDER]/mine/cluster-api-provider-aws-0`
"#]]);
    assert!(!place.path("rr").exists(), "rr's own folder is none of its business");
    // A second run into the same folder speaks of its own trace only.
    let run = place.run(&[binary.to_str().unwrap(), "--trace-dir", "@/mine"], &[]).exits(0);
    run.prints_exactly(str![[r#"
controller                state     exit [..] trace
cluster-api-provider-aws  complete  not known [..] cluster-api-provider-aws-1

the installer ended with exit status 0 after [..] s
1 trace in `[FOLDER]/mine`, complete
next: `rr-patch replay [FOLDER]/mine/cluster-api-provider-aws-1`
"#]]);
}

#[test]
fn record_ends_with_4_when_the_installer_fails_and_still_reports_the_traces() {
    let place = Place::new("aws");
    let run = place.run(&[repo()], &[("FIXTURE_BEHAVIOUR", "cluster-api-provider-aws=exit-early")]).exits(4);
    run.says(&["rr-patch: error: the installer ended with exit status 1"]).prints_exactly(str![[r#"
controller                state     exit [..] trace
cluster-api-provider-aws  complete  not known [..] cluster-api-provider-aws-0

the installer ended with exit status 1 after [..] s
1 trace in `[FOLDER]/rr/install-[..]`, complete
next: `rr-patch replay install-[..]/cluster-api-provider-aws-0`
"#]]);
    place.leaves_complete(&[AWS]);
}

#[test]
fn record_ends_with_4_when_a_trace_is_lost_or_nothing_was_recorded() {
    let place = Place::new("aws");
    let wrapped = only_wrapped().root.to_str().unwrap();
    let run = place.run(&[wrapped, "--unpatched"], &[]).exits(4);
    run.prints_exactly(str![[r#"
controller                state  exit [..] trace
cluster-api-provider-aws  dead   not known [..] cluster-api-provider-aws-0

the installer ended with exit status 0 after [..] s
1 trace in `[FOLDER]/rr/install-[..]`, of which 0 can be replayed
"#]]);
    place.leaves_no_process();

    let place = Place::new("aws");
    let run = place.run(&[repo()], &[("RR_PATCH_RECORD", "env FIXTURE_NOT_RECORDED=1")]).refuses();
    assert!(run.stderr.contains("does not behave like rr"), "{}", run.stderr);
    let plain = Place::new("none");
    let script = plain.path("openshift-install");
    copy(Path::new("/bin/true"), &script);
    let run = plain.run(&["@/openshift-install", "--unpatched"], &[]).exits(4);
    run.prints_exactly(str![[r#"
the installer ended with exit status 0 after [..] s
nothing was recorded: what the installer printed says whether it came to that
"#]]);
    assert!(fs::read_dir(plain.path("rr")).unwrap().next().is_none(), "no empty folder is left");
}

#[test]
fn record_says_how_cluster_api_is_chosen_where_nothing_was_recorded_for_want_of_it() {
    let tree = crate::harness::Tree::new("installer");
    fs::create_dir(tree.path("bin")).unwrap();
    copy(Path::new("/bin/true"), &tree.path("bin/openshift-install"));
    let chooses = "`featureSet: CustomNoUpgrade` and `featureGates: [\"ClusterAPIInstall=true\"]` choose Cluster API\n";
    let record = || Place::new("none").run(&[tree.root().to_str().unwrap(), "--unpatched"], &[]).exits(4);
    assert!(!record().stdout.contains(chooses), "this revision has no choice");
    tree.write("pkg/types/installconfig.go", "package types\n\nvar _ = features.FeatureGateClusterAPIInstall\n");
    record().prints_exactly(str![[r#"
the installer ended with exit status 0 after [..] s
nothing was recorded: what the installer printed says whether it came to that
this revision installs some platforms through Terraform, where no controller runs;
in install-config.yaml `featureSet: CustomNoUpgrade` and `featureGates: ["ClusterAPIInstall=true"]` choose Cluster API
"#]]);
}

#[test]
fn record_refuses_an_installer_that_would_record_nothing() {
    let place = Place::new("aws");
    place.run(&["@"], &[]).exits(3).says_exactly(str![[r#"
error: `[FOLDER]` is not an installer checkout
  expected: a folder `pkg/clusterapi` in it, or in a folder above
hint: name one: `rr-patch COMMAND PATH`; an installer vendored inside another checkout: `--root PATH`
nothing was written
"#]]);
    let wrapped = only_wrapped().root.to_str().unwrap();
    place.run(&[wrapped], &[]).refuses().says_exactly(str![[r#"
error: `[TARGET]/end-to-end/only-wrapped/bin/openshift-install` is not patched: it would record nothing
  expected: the functions that rr-patch adds to package process
hint: `rr-patch apply`, then `rr-patch build`; `rr-patch inspect` says what an installer is
hint: `--unpatched` runs it all the same, say with a patch that was made by hand
nothing was written
"#]]);
    place.run(&[repo()], &[("RR_PATCH_RECORD", "off")]).exits(2).says_exactly(str![[r#"
error: RR_PATCH_RECORD is `off`: nothing would be recorded
hint: `unset RR_PATCH_RECORD`, or run the installer itself
"#]]);
    let tree = crate::harness::Tree::patched("installer");
    let run = place.run(&[tree.root().to_str().unwrap()], &[]).refuses();
    run.says_exactly(str![[r#"
error: `[FOLDER]/installer/bin/openshift-install` is not built
  expected: an installer that `rr-patch build` made
hint: `rr-patch build` makes it; `rr-patch record BINARY -- …` runs one from elsewhere
nothing was written
"#]]);
    assert!(!place.path("rr").exists());
}

#[test]
fn record_does_not_start_where_the_machine_cannot_record() {
    let place = Place::new("aws");
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    place.environment(&mut tool, &[("PATH", "/nonexistent")]);
    tool.arg("record").args(place.arguments(&[repo()]));
    let run = Run::of(tool.output().unwrap()).refuses();
    run.says_exactly(str![[r#"
error: the recorder `rr` was not found in PATH
hint: `rr-patch doctor` says how to install rr; RR_PATCH_RECORD can name another recorder
nothing was written
"#]]);
    assert!(!place.path("install/cluster-api").exists() && !place.path("rr").exists());
}

#[test]
fn record_chooses_software_counters_where_the_machine_has_no_others() {
    let place = Place::new("aws");
    let run = place.run(&[repo()], &[]).exits(0);
    let chosen = run.stderr.contains("rr-patch: RR_PATCH_RECORD=\"rr record -W --wait\", since ");
    assert_eq!(place.text("calls").contains("record -W --wait"), chosen, "{}", run.stderr);
    let sidecar = fs::read_to_string(place.traces().join(AWS).join("rr-patch.json")).unwrap();
    assert_eq!(sidecar.contains("\"software_counters\": true"), chosen, "{sidecar}");
    // Without that, nothing is chosen on any machine.
    let place = Place::new("aws");
    let run = place.run(&[repo()], &[("RR_STAND_IN_COUNTERS", "hardware")]).exits(0);
    assert!(!run.stderr.contains("rr-patch: RR_PATCH_RECORD="), "{}", run.stderr);
}

#[test]
fn record_format_json_prints_one_document_and_the_installer_on_stderr() {
    let place = Place::new("aws");
    let run = place.run(&["--format", "json", repo()], &[]).exits(0);
    let document = run.json();
    assert_eq!(document["schema"], "rr-patch/record/1");
    assert_eq!(document["end"], "exit status 0");
    assert_eq!(document["traces"][0]["state"], "complete");
    assert_eq!(document["traces"][0]["controller"], "cluster-api-provider-aws");
    assert!(document["next"].as_str().unwrap().starts_with("rr-patch replay install-"));
    run.says(&["Fixture cluster complete"]);
}

#[test]
fn record_passes_one_sigint_on_and_waits_for_the_traces() {
    for signal in ["INT", "TERM", "HUP"] {
        let place = Place::new("aws");
        let mut session = Session::start(place.record(&[repo()], &[HOLD]));
        session.until("Holding for");
        session.signal(signal);
        let said = session.ends(130);
        assert!(!said.contains("error:"), "{said}");
        assert!(said.contains("1 trace in `") && said.contains("`, complete"), "it says what was closed: {said}");
        assert_eq!(said.matches("Got signal \\\"interrupt\\\", cleaning up").count(), 1, "{said}");
        assert!(said.contains(&format!("(SIG{signal}): the installer stops its controllers")), "{said}");
        assert!(said.contains("the installer ended, as it was asked to, with exit status 8"), "{said}");
        place.leaves_complete(&[AWS]);
    }
}

#[test]
fn record_answers_a_second_request_with_what_is_lost_and_only_a_later_third_ends_the_controllers() {
    let place = Place::new("aws");
    // The core controller is not recorded, and the installer waits for it; the recorder kills the other one after 5 s.
    let slow = ("FIXTURE_BEHAVIOUR", "cluster-api=slow-stop:80,cluster-api-provider-aws=stubborn");
    let mut session = Session::start(place.record(&[repo()], &[HOLD, slow]));
    session.until("Holding for");
    session.signal("INT");
    session.until("another request shows what an immediate end would lose");
    for _ in 0..3 {
        session.signal("INT");
        std::thread::sleep(Duration::from_millis(300));
    }
    session.until("a third request");
    let said = session.said();
    assert!(said.contains(&format!("still being recorded: {AWS}")), "{said}");
    assert_eq!(said.matches("a third request").count(), 1, "impatience is not answered again: {said}");
    assert!(!said.contains("killing the controllers now"), "nor carried out: {said}");
    session.until("ended with signal: killed");
    std::thread::sleep(Duration::from_secs(2));
    session.signal("INT");
    session.until("killing the controllers now");
    let said = session.ends(130);
    assert!(said.contains("the installer did not end by itself, and is killed"), "{said}");
    assert!(said.contains("with signal 9 (SIGKILL)"), "{said}");
    place.leaves_complete(&[AWS]);
}

#[test]
fn record_closes_the_traces_of_a_third_request_while_controllers_still_run() {
    let place = Place::new("aws");
    let stubborn = ("FIXTURE_BEHAVIOUR", "cluster-api-provider-aws=stubborn");
    let mut session = Session::start(place.record(&[repo()], &[HOLD, stubborn]));
    session.until("Holding for");
    // Each one when the one before was answered: two at once are one.
    session.signal("INT");
    session.until("another request shows what an immediate end would lose");
    session.signal("INT");
    session.until("a third request");
    std::thread::sleep(Duration::from_millis(2100));
    session.signal("INT");
    session.until("ended with signal: killed");
    let said = session.ends(130);
    assert!(said.contains("killing the controllers now"), "{said}");
    assert!(said.contains("aws infrastructure provider (pid") && said.contains("ended with signal: killed"), "{said}");
    place.leaves_complete(&[AWS]);
}

/// The installer's process.
fn installer_of(place: &Place) -> u32 {
    let wanted = format!("cluster --dir {}", place.path("install").display());
    let installer =
        processes().find(|(_, line)| line.contains("bin/openshift-install create") && line.contains(&wanted));
    installer.expect("the installer runs").0
}

#[test]
fn record_closes_the_traces_of_an_installer_that_was_killed() {
    let place = Place::new("azure");
    let slow = ("FIXTURE_BEHAVIOUR", "cluster-api-provider-azure=slow-stop:1");
    let mut session = Session::start(place.record(&[repo()], &[HOLD, slow]));
    session.until("Holding for");
    kill("KILL", installer_of(&place));
    let said = session.ends(4);
    assert!(said.contains("the installer has ended and left recordings behind: "), "{said}");
    assert!(said.contains("with signal 9 (SIGKILL)"), "{said}");
    place.leaves_complete(&["cluster-api-provider-azure-0", "cluster-api-provider-azureaso-0"]);
    let signals = place.text("signals");
    for controller in ["cluster-api-provider-azure ", "cluster-api-provider-azureaso "] {
        assert_eq!(signals.lines().filter(|line| line.starts_with(controller)).count(), 1, "{signals}");
    }
}

#[test]
fn record_leaves_a_trace_that_knows_its_needs_even_if_it_is_killed_itself() {
    let place = Place::new("aws");
    let line = ("RR_PATCH_RECORD", "rr record -W --wait");
    let mut session = Session::start(place.record(&[repo()], &[HOLD, line]));
    session.until("Holding for");
    let sidecar = place.traces().join(AWS).join("rr-patch.json");
    let began = Instant::now();
    while !sidecar.exists() {
        assert!(began.elapsed() < PATIENCE, "{}", session.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let installer = installer_of(&place);
    session.signal("KILL");
    let noted: serde_json::Value = serde_json::from_str(&fs::read_to_string(&sidecar).unwrap()).unwrap();
    assert_eq!((&noted["software_counters"], &noted["controller"]), (&true.into(), &"cluster-api-provider-aws".into()));
    // The installer knows how to close its traces.
    kill("INT", installer);
    while !place.traces().join(AWS).join("version").exists() {
        assert!(began.elapsed() < PATIENCE, "the trace is not closed");
        std::thread::sleep(Duration::from_millis(20));
    }
    while fs::metadata(format!("/proc/{installer}/exe")).is_ok() {
        assert!(began.elapsed() < PATIENCE, "the installer does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A session on a terminal of its own: a shell runs the tool, then reads a line.
fn on_a_terminal(place: &Place, variables: &[(&str, &str)]) -> (Session, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = || File::options().read(true).write(true).open(&name).unwrap();
    let mut tool = command("setsid");
    place.environment(&mut tool, variables);
    let script = "trap : INT; \"$@\"; echo \"status $?\"; read -r line; echo \"the shell read $line\"";
    tool.args(["--ctty", "--wait", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_rr-patch"), "record", "--unchecked"]);
    tool.args(place.arguments(&[repo()])).stdin(terminal()).stdout(terminal()).stderr(terminal());
    let mut session = Session(Watched::start(&mut tool));
    let master: OwnedFd = master;
    let master = File::from(master);
    session.0.read(master.try_clone().unwrap());
    (session, master)
}

#[test]
fn record_on_a_terminal_lets_one_ctrl_c_through_and_shields_the_installer_from_the_next() {
    let place = Place::new("aws");
    let slow = ("FIXTURE_BEHAVIOUR", "cluster-api=slow-stop:4");
    let (mut session, mut keys) = on_a_terminal(&place, &[HOLD, slow]);
    session.until("Holding for");
    keys.write_all(b"\x03").unwrap();
    session.until("another request shows what an immediate end would lose");
    for _ in 0..3 {
        keys.write_all(b"\x03").unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    session.until("status 130");
    keys.write_all(b"a line\n").unwrap();
    let said = session.ends(0);
    assert_eq!(said.matches("Got signal").count(), 1, "{said}");
    assert!(said.contains("a third request"), "{said}");
    // A second SIGINT would have ended the installer at once, with 1.
    assert!(said.contains("the installer ended, as it was asked to, with exit status 8"), "{said}");
    assert!(said.contains("the shell read a line"), "the terminal is the shell's again: {said}");
    place.leaves_complete(&[AWS]);
}

#[test]
fn record_on_a_terminal_passes_on_a_signal_that_the_terminal_did_not_send() {
    let place = Place::new("aws");
    let (mut session, mut keys) = on_a_terminal(&place, &[HOLD]);
    session.until("Holding for");
    let wanted = format!("{} record --unchecked {}", env!("CARGO_BIN_EXE_rr-patch"), repo());
    let install = place.path("install").display().to_string();
    let tool = processes().find(|(_, line)| line.starts_with(&wanted) && line.contains(&install));
    kill("INT", tool.expect("the tool runs").0);
    session.until("status 130");
    keys.write_all(b"\n").unwrap();
    let said = session.ends(0);
    assert_eq!(said.matches("Got signal").count(), 1, "{said}");
    assert!(said.contains("with exit status 8"), "{said}");
    place.leaves_complete(&[AWS]);
}

#[test]
fn record_that_is_interrupted_before_the_installer_starts_says_so_and_leaves_nothing() {
    let place = Place::new("aws");
    let log = place.path("calls");
    // The tool asks the recorder before it starts the installer, and this one takes its time to answer.
    let recorder = place.path("slow/rr");
    fs::create_dir(place.path("slow")).unwrap();
    let script = format!(
        "#!/bin/sh\necho asked >> {}\nsleep 2\nexec {}/rr \"$@\"\n",
        log.display(),
        recorder::folder().display()
    );
    crate::harness::write_program(&recorder, script);
    fs::set_permissions(&recorder, fs::Permissions::from_mode(0o755)).unwrap();
    for signal in ["INT", "TERM"] {
        fs::write(&log, "").unwrap();
        let line = format!("{} record --wait", recorder.display());
        let mut session = Session::start(place.record(&[repo()], &[("RR_PATCH_RECORD", &line)]));
        let began = Instant::now();
        while !place.text("calls").contains("asked") {
            assert!(began.elapsed() < PATIENCE, "{}", session.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        session.signal(signal);
        let said = session.ends(130);
        assert!(said.contains(&format!("(SIG{signal}): the installer was not started\n")), "{said}");
        assert!(!said.contains("error:"), "{said}");
        assert!(!place.path("install/cluster-api").exists() && !place.path("rr").exists());
    }
}

#[test]
fn record_ends_with_4_when_ctrl_c_costs_a_trace() {
    let place = Place::new("aws");
    let wrapped = only_wrapped().root.to_str().unwrap();
    let mut session = Session::start(place.record(&[wrapped, "--unpatched"], &[HOLD]));
    session.until("Holding for");
    session.signal("INT");
    let said = session.ends(4);
    assert!(said.contains("1 trace in `") && said.contains("of which 0 can be replayed"), "{said}");
}

#[test]
fn record_explains_that_two_dashes_must_stand_before_the_installers_arguments() {
    let place = Place::new("aws");
    let record = |arguments: &[&str]| {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        place.environment(&mut tool, &[]);
        Run::of(tool.arg("record").args(arguments).output().unwrap()).exits(2)
    };
    for (arguments, stray, hint) in [
        (&["create", "cluster"][..], "create cluster", "rr-patch record -- create cluster"),
        (
            &["create", "cluster", "--dir", "a b"],
            "create cluster --dir 'a b'",
            "rr-patch record -- create cluster --dir 'a b'",
        ),
        (&["install", "create", "cluster"], "create cluster", "rr-patch record install -- create cluster"),
        (
            &["--unpatched", "install", "create", "--dir", "d", "--", "x"],
            "create --dir d -- x",
            "rr-patch record install -- create --dir d -- x",
        ),
    ] {
        let expected =
            format!("error: `--` must stand before the installer's own arguments: `{stray}`\nhint: `{hint}`\n");
        assert_eq!(record(arguments).stderr, expected);
    }
    let run = record(&["install"]).says_exactly(str![[r#"
error: it is not said what the installer is to do
  expected: the installer's own arguments after `--`
hint: `rr-patch record install -- create cluster --dir DIR`
"#]]);
    run.says_exactly(str![[r#"
error: it is not said what the installer is to do
  expected: the installer's own arguments after `--`
hint: `rr-patch record install -- create cluster --dir DIR`
"#]]);
    let run = record(&["install", "--unpatch", "--", "create"]).says_exactly(str![[r#"
error: unexpected argument '--unpatch' found
hint: a similar argument exists: '--unpatched'
hint: to pass '--unpatch' as a value, use '-- --unpatch'
"#]]);
    run.says_exactly(str![[r#"
error: unexpected argument '--unpatch' found
hint: a similar argument exists: '--unpatched'
hint: to pass '--unpatch' as a value, use '-- --unpatch'
"#]]);
}

/// The command lines that stand between backquotes after `next:`, or in the lines after it.
fn next(stdout: &str) -> Vec<String> {
    let after = stdout.split("next:").nth(1).expect(stdout);
    after
        .lines()
        .map(|line| line.trim().trim_matches('`').to_owned())
        .filter(|line| line.starts_with("rr-patch "))
        .collect()
}

/// Runs a printed command as it was printed, with `--print` where it would go on.
fn printed(place: &Place, line: &str, variables: &[(&str, &str)]) -> Run {
    let line = line.replacen("rr-patch", &format!("'{}'", env!("CARGO_BIN_EXE_rr-patch")), 1);
    let line = if line.contains(" replay ") { format!("{line} --print") } else { line };
    let mut shell = command("sh");
    place.environment(&mut shell, variables);
    let path = format!("{}:{}:/usr/bin:/bin", crate::debugger::folder().display(), recorder::folder().display());
    Run::of(shell.args(["-c", &line]).env("PATH", path).env("HOME", place.path("home")).output().unwrap())
}

#[test]
fn next_lines_of_record_and_traces_run_as_they_are_printed() {
    let place = Place::new("aws");
    copy(&crate::harness::fixtures().join("traces/5.9"), &place.path("my traces"));
    copy(&crate::harness::fixtures().join("traces/5.9"), &place.path("rr"));
    let traces = |arguments: &[&str]| {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        place.environment(&mut tool, &[]);
        Run::of(tool.arg("traces").args(arguments).output().unwrap())
    };
    let mut seen = 0;
    for option in [&[][..], &["--trace-dir", "my traces"]] {
        for name in ["cluster-api-provider-aws-0", "cluster-api-provider-vsphere-0", "cluster-api-provider-aws-1"] {
            let run = traces(&[option, &["show", name]].concat()).exits(0);
            for line in next(&run.stdout) {
                assert_eq!(line.contains("--trace-dir 'my traces'"), !option.is_empty(), "{line}");
                let line = if line.contains("prune") { format!("{line} --yes") } else { line };
                let run = printed(&place, &line, &[]).exits(0);
                if line.contains(" replay ") {
                    let root = if option.is_empty() { place.path("rr") } else { place.path("my traces") };
                    run.prints(&[root.join(name).to_str().unwrap()]);
                }
                seen += 1;
            }
        }
        let run =
            traces(&[option, &["unpack", "cluster-api-provider-aws-0.tar.zst", "--name", "back"]].concat()).exits(0);
        for line in next(&run.stdout) {
            printed(&place, &line, &[]).exits(0).prints(&["back/cluster-api-provider-aws-0"]);
            seen += 1;
        }
    }
    assert_eq!(seen, 8, "replay, pack and prune, and replay of what was unpacked, twice");
}

#[test]
fn record_names_a_provider_in_its_next_line_and_not_the_core_controller() {
    let tree = crate::end_to_end::signal_rr().root.to_str().unwrap();
    let place = Place::new("aws");
    let run = place.run(&[tree], &[]).exits(0).prints_exactly(str![[r#"
controller                state     exit [..] trace
cluster-api               complete  not known [..] cluster-api-0
cluster-api-provider-aws  complete  not known [..] cluster-api-provider-aws-0

the installer ended with exit status 0 after [..] s
2 traces in `[FOLDER]/rr/install-[..]`, complete
next: `rr-patch replay install-[..]/cluster-api-provider-aws-0`
"#]]);
    let line = next(&run.stdout).pop().unwrap();
    assert!(line.ends_with(AWS), "{line}");
    let place = Place::new("aws");
    let run = place.run(&[tree, "--trace-dir", "@/my traces"], &[]).exits(0);
    let line = next(&run.stdout).pop().unwrap();
    assert_eq!(line, format!("rr-patch replay '{}'", place.path("my traces").join(AWS).display()));
}

/// `rr-patch record` with its traces on a file system of that size, and the traces that were there in the end.
/// Nothing where this machine does not let us mount.
fn record_on_a_disk_of(
    size: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Option<(Run, Vec<(String, Trace)>)> {
    let place = Place::new("aws");
    fs::create_dir(place.path("disk")).unwrap();
    // Whoever looks later sees no mount, so that a list of the files is made before it goes.
    let script = "mount -t tmpfs -o size=\"$0\" tmpfs disk || exit 99; \"$@\"; code=$?; \
                  for trace in disk/*-0; do [ -d \"$trace\" ] || continue; mkdir -p \"seen/$trace\"; \
                  for file in incomplete version; do \
                  if [ -e \"$trace/$file\" ]; then cp \"$trace/$file\" \"seen/$trace/$file\"; fi; done; done; exit $code";
    let mut shell = command("unshare");
    place.environment(&mut shell, &[&[HOLD], variables].concat());
    shell.args(["--mount", "sh", "-c", script, size, env!("CARGO_BIN_EXE_rr-patch"), "record", "--unchecked"]);
    shell.args(place.arguments(&[&["--trace-dir", "@/disk", repo()], arguments].concat()));
    let run = Run::of(shell.output().unwrap());
    // unshare itself ends with 1, and says so under its own name.
    if run.code == 99 || run.stderr.starts_with("unshare:") {
        skip(&["mount"], &format!("nobody may mount a small file system here: {}", run.stderr));
        return None;
    }
    place.leaves_no_process();
    Some((run, recorder::traces(&place.path("seen/disk"))))
}

const GROWS: (&str, &str) = ("RR_STAND_IN_GROWS", "12000000");

#[test]
fn record_stops_the_installer_and_closes_the_traces_before_the_disk_is_full() {
    // Without a limit the disk gets full, and the trace is lost.
    let variables = [("RR_STAND_IN_GROWS", "80000000"), ("FIXTURE_WORK_SECONDS", "8")];
    let Some((run, traces)) = record_on_a_disk_of("32m", &["--min-free", "0"], &variables) else { return };
    assert_eq!(traces, [(AWS.to_owned(), Trace::Incomplete)], "{}", run.stderr);
    // There is no room for the sidecar either, and the report comes all the same.
    run.exits(4).says(&["cannot write the sidecar of `cluster-api-provider-aws-0`"]).prints(&["of which 0 can be"]);

    let (run, traces) = record_on_a_disk_of("128m", &["--min-free", "64MiB"], &[GROWS]).unwrap();
    assert_eq!(traces, [(AWS.to_owned(), Trace::Complete)], "{}", run.stderr);
    let run = run.exits(4);
    assert_eq!(run.stderr.matches("Got signal \\\"interrupt\\\", cleaning up").count(), 1, "{}", run.stderr);
    assert!(!run.stderr.contains("error:"), "{}", run.stderr);
    let run = run.says(&[
        " MiB free on the file system of `",
        "/disk`, less than 64.0 MiB (--min-free): the installer stops its controllers, and rr closes their traces\n",
        "rr-patch: hint: `rr-patch traces prune` removes old traces; `--trace-dir DIR` puts them elsewhere; \
         `--min-free SIZE` sets the limit\n",
    ]);
    run.prints_exactly(str![[r#"
controller                state     exit [..] trace
cluster-api-provider-aws  complete  not known [..] cluster-api-provider-aws-0

the installer ended, stopped because the disk was almost full, with exit status 8 after [..] s
1 trace in `[FOLDER]/disk`, complete
next: `rr-patch replay [FOLDER]/disk/cluster-api-provider-aws-0`
"#]]);
}

#[test]
fn record_ends_the_controllers_where_they_are_when_the_disk_is_almost_full() {
    let stubborn = ("FIXTURE_BEHAVIOUR", "cluster-api-provider-aws=stubborn");
    let arguments = ["--min-free", "64MiB", "--format", "json"];
    let Some((run, traces)) = record_on_a_disk_of("128m", &arguments, &[GROWS, stubborn]) else { return };
    assert_eq!(traces, [(AWS.to_owned(), Trace::Complete)], "{}", run.stderr);
    let run = run.exits(4).says(&["(--min-free): killing the controllers now; rr closes their traces\n"]);
    let document = run.json();
    let free = document["stopped_with_bytes_free"].as_u64().unwrap();
    assert!((1 << 20..64 << 20).contains(&free), "{free}");
    assert_eq!(document["asked_to_stop"], 0);
}

#[test]
fn record_does_not_start_where_there_is_no_room_for_traces() {
    let Some((run, traces)) = record_on_a_disk_of("8m", &[], &[]) else { return };
    let run = run.refuses();
    let run = run.says(&["error: there is not enough room for traces: the installer was not started\n"]);
    run.says_exactly(str![[r#"
...
error: there is not enough room for traces: the installer was not started
  found: 8.0 MiB free on the file system of `[FOLDER]/disk`, less than 1.0 GiB (--min-free)
  rr aborts at a full disk, and the trace is lost
hint: `rr-patch traces prune` removes old traces; `--trace-dir DIR` puts them elsewhere; `--min-free SIZE` sets the limit
nothing was written
"#]]);
    assert_eq!(traces, []);
    let run = Place::new("aws").run(&["--min-free", "many"], &[]).exits(2);
    run.says_exactly(str![[r#"
error: invalid value 'many' for '--min-free <SIZE>': expected a size like 500MiB or 2G, or 0

For more information, try '--help'.
"#]]);
}

#[test]
fn record_with_a_real_rr_notes_how_each_controller_ended() {
    let Some((rr, Some(options))) = real_rr() else {
        skip(&["rr"], "no rr of this machine can record here");
        return;
    };
    let place = Place::new("aws");
    let line = format!("{} record {} --wait", rr.display(), options.join(" "));
    let run = place.run(&[repo()], &[("RR_PATCH_RECORD", &line)]).exits(0);
    run.prints(&["  complete  exit status 0  "]);
    let sidecar = fs::read_to_string(place.traces().join(AWS).join("rr-patch.json")).unwrap();
    let noted: serde_json::Value = serde_json::from_str(&sidecar).unwrap();
    assert_eq!(noted["exit"], "exit status 0");
    assert_eq!(noted["software_counters"], options.contains(&"-W"));
    assert!(noted["go_version"].as_str().unwrap().starts_with("go1."), "{sidecar}");
    place.leaves_complete(&[AWS]);
}
