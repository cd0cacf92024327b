//! `rr-patch demo`: the whole way on a small installer in a temporary folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use include_dir::{Dir, DirEntry, include_dir};

use super::{Changes, Where, apply::Apply, revert::Revert};
use crate::builder::{Prepared, Request, View};
use crate::delve::prepare;
use crate::doctor::{CheckRequest, Finding, Host, Level, Purpose, RECORDER, Recording, SMOKE_TEST, examine, recording};
use crate::error::Shown as _;
use crate::error::{Error, render};
use crate::patch::checkout::Checkout;
use crate::rr::trace::{State, Store, Trace};
use crate::sys::process::{Child, Environment};
use crate::ui;
use crate::ui::demo::Demonstrated;
use crate::ui::document::{Document as _, Format, Report};
use crate::ui::stage::{Stage, Steps, Ticker};
use crate::ui::trace::shown_length;
use crate::words::{bytes, seconds};

static INSTALLER: Dir = include_dir!("$CARGO_MANIFEST_DIR/fixtures/installer");
static STAND_IN: Dir = include_dir!("$CARGO_MANIFEST_DIR/fixtures/recorder");

/// Where the replay stops: the provider answers a request.
const BREAKPOINT: &str = "github.com/openshift/installer/cluster-api/controller.(*controller).work";

/// What Delve is told.
const DIALOGUE: [&str; 6] = ["continue", "print c.name", "next", "rev next", "print c.name", "exit"];

const EXAMPLES: &str = "\
Examples:
  rr-patch demo
  rr-patch demo --keep                          # look at the installer and its traces";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Demo {
    /// Keep the folder, with the installer and its traces
    #[arg(long)]
    pub keep: bool,
}

/// What the demo came to.
#[derive(Default)]
struct Shown {
    /// The command line of the recorder where it was not the default one; nothing of a stand-in.
    recorder: Option<String>,
    stand_in: bool,
    traces: Vec<Trace>,
    /// Whether Delve stopped at the breakpoint.
    replayed: bool,
}

impl Demo {
    pub fn run(&self, format: Format) -> Result<Report<Demonstrated>> {
        let mut folder = tempfile::Builder::new()
            .prefix("rr-patch-demo-")
            .tempdir()
            .with_context(|| format!("cannot make a folder in `{}`", std::env::temp_dir().shown()))?;
        folder.disable_cleanup(self.keep);
        let mut stage = Stage::new(format)?;
        let result = play(folder.path(), &mut stage);
        let kept = self.keep.then(|| folder.path().to_owned());
        let result = result.with_context(|| match &kept {
            Some(folder) => format!("the demo in `{}`", folder.shown()),
            None => "the demo (`--keep` leaves its folder to look at)".into(),
        });
        let ended = match &kept {
            Some(folder) => format!("what the demo had started is ended; kept: {}", folder.shown()),
            None => "what the demo had started is ended, and its folder is removed".into(),
        };
        let shown = stage.interrupt.instead(result, &ended)?;
        let Shown { recorder, stand_in, traces, replayed } = shown;
        let by = if stand_in { ui::demo::Recorder::StandIn } else { ui::demo::Recorder::Rr };
        Ok(Report::done(Demonstrated::new(by, recorder, &traces, replayed, kept.as_deref())))
    }
}

/// All steps.
fn play(folder: &Path, stage: &mut Stage) -> Result<Shown> {
    let installer = folder.join("installer");
    stage.step("A small installer of our own, in the shape of the real one")?;
    lay_out(&INSTALLER, &installer)?;
    let before = contents(&installer)?;
    stage.show(format!("{} files in {}", before.len(), installer.shown()))?;

    let place = Where { repo: Some(installer.clone()), root: None };
    stage.step("rr-patch apply: six changes, by structure")?;
    let apply = Apply {
        place: place.clone(),
        changes: Changes::default(),
        dry_run: false,
        verify: false,
        commit: false,
        branch: None,
    };
    stage.show(apply.run()?.result.text())?;

    stage.step("rr-patch build: MODE=dev TAGS=release ./hack/build.sh (a minute or two if Go's cache is cold)")?;
    let checkout = Checkout::discover(Some(&installer), None)?;
    // The folder is in no repository, where build.sh looks for a version.
    let version = [("SOURCE_GIT_COMMIT", "demo"), ("BUILD_VERSION", "demo"), ("SKIP_ENVTEST", "y")];
    let version = version.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let ticker = Ticker::start(stage, "compiling");
    let mut live = Steps { stage, line: Vec::new() };
    let request = Request { environment: version.into(), patched: true, command: "demo".into(), ..Request::default() };
    let built = Prepared::new(&checkout, &request)?.run(View::Lines(&mut live))?;
    drop(ticker);
    stage.show(format!("built {} in {}", built.path.shown(), seconds(built.took)))?;

    stage.step("The installer runs: it starts a core controller and one provider, which is to be recorded")?;
    let recorder = Recorder::choose(folder, stage)?;
    let traces = run(folder, &built.path, &recorder, stage)?;

    stage.step(match recorder.stand_in {
        true => "What the stand-in left: it was not killed, so rr would have closed its trace here",
        false => "The trace, which rr has closed",
    })?;
    for trace in &traces {
        let Trace { name, state, size, .. } = trace;
        stage.show(match recorder.stand_in {
            true => format!("{name}: no signal cut it off; it holds no recording"),
            false => format!("{name}: {}, {}, {}", state.word(), shown_length(trace), bytes(*size)),
        })?;
    }

    stage.step("rr-patch revert: every byte as before")?;
    stage.show(Revert { place, force: false }.run()?.result.text())?;
    let after = contents(&installer)?;
    if let Some((path, _)) = before.iter().find(|file| !after.contains(file)) {
        return Err(Error::failed(format!("`{}` is not as it was", path.shown())).into());
    }
    stage.show(format!("all {} files are as they were", before.len()))?;

    let replayed = replay(folder, &recorder, &traces, stage)?;
    let Recorder { line, stand_in, .. } = recorder;
    Ok(Shown { recorder: line.filter(|_| !stand_in), stand_in, traces, replayed })
}

/// What records the provider.
struct Recorder {
    /// The machine, as the installer is to see it.
    host: Host,
    /// What RR_PATCH_RECORD is set to, where it is not as it was found.
    line: Option<String>,
    stand_in: bool,
}

impl Recorder {
    /// The recorder that `rr-patch record` would use, if it records here; or else the stand-in.
    fn choose(folder: &Path, stage: &mut Stage) -> Result<Self> {
        let here = Host::here();
        let found = here.variable(RECORDER);
        let told = found.as_ref().map_or(String::new(), |line| format!(" ({RECORDER}=\"{line}\")"));
        let why = if found.as_ref().is_some_and(|line| line.trim() == "off") {
            format!("{RECORDER} is `off`; after `unset {RECORDER}` the demo records, if this machine can")
        } else {
            let ticker = Ticker::start(stage, "trying to record");
            match recording(&here, &CheckRequest::default()) {
                Err(error) => render(&error).trim_end().to_owned(),
                Ok(Recording { recorder, software, .. }) => {
                    // Where there are no other counters, `record` sets it too.
                    let line = software.map(|software| software.line);
                    let host = line.iter().fold(here.clone(), |host, line| host.with(RECORDER, line));
                    let path = recorder.path.shown();
                    match try_to_record(&host) {
                        Ok(()) => {
                            drop(ticker);
                            let set = line.as_ref().map_or(told, |line| format!(" ({RECORDER}=\"{line}\")"));
                            stage.show(format!(
                                "recorder: {path}, rr {}{set}; it has recorded and replayed `true`",
                                recorder.said()
                            ))?;
                            return Ok(Self { host, line, stand_in: false });
                        }
                        Err(trouble) => format!("{path}{told} cannot record here: {trouble}"),
                    }
                }
            }
        };
        stage.show(&why)?;
        stage
            .show("so a stand-in takes its place: it keeps rr's contract on signals and files, and records nothing")?;
        let source = folder.join("stand-in");
        lay_out(&STAND_IN, &source)?;
        let (arguments, none) = (["build", "-o", "rr", "."].map(str::to_owned), Environment::new());
        let build = Child { program: "go", arguments: &arguments, folder: &source, environment: &none };
        let (end, said) = build.capture()?;
        if !end.success() {
            return Err(Error::failed("the recorder stand-in does not build")
                .detail(String::from_utf8_lossy(&said))
                .into());
        }
        let line = format!("{} record --wait", source.join("rr").shown());
        Ok(Self { host: here, line: Some(line), stand_in: true })
    }
}

/// Records and replays a tiny program, or says why that does not work.
fn try_to_record(host: &Host) -> Result<(), String> {
    let question = CheckRequest { purpose: Some(Purpose::Record), ..CheckRequest::default() };
    match examine(host, &question, true).into_iter().find(|finding| finding.what == SMOKE_TEST) {
        Some(Finding { level: Level::Ok, .. }) => Ok(()),
        finding => Err(finding.map_or_else(String::new, |finding| finding.found)),
    }
}

/// Runs the installer, and returns its traces.
fn run(folder: &Path, installer: &Path, recorder: &Recorder, stage: &mut Stage) -> Result<Vec<Trace>> {
    let (install, store) = (folder.join("install"), Store::at(folder.join("traces")));
    fs::create_dir(&install)
        .and_then(|()| fs::write(install.join("metadata.json"), "{\"platform\":\"aws\"}\n"))
        .with_context(|| format!("cannot write into `{}`", install.shown()))?;
    let arguments = ["create", "cluster", "--dir", &install.to_string_lossy()].map(str::to_owned);
    let mut environment =
        Environment::from([("_RR_TRACE_DIR".to_owned(), store.root().to_string_lossy().into_owned())]);
    if let Some(line) = &recorder.line {
        environment.insert(RECORDER.into(), line.clone());
    }
    let program = installer.to_string_lossy();
    let child = Child { program: &program, arguments: &arguments, folder, environment: &environment };
    let (end, _) = child.stream(|text| stage.show(text))?;
    if !end.success() {
        return Err(Error::failed(format!("the installer ended with {end}")).into());
    }
    let traces = store.traces()?;
    if traces.is_empty() {
        return Err(Error::failed("the installer left no trace").into());
    }
    match traces.iter().find(|trace| trace.state != State::Complete) {
        Some(trace) => Err(Error::failed(format!("the trace `{}` is {}", trace.name, trace.state.word())).into()),
        None => Ok(traces),
    }
}

/// Opens the trace in Delve, stops at a breakpoint in the provider and goes back. Where this machine lacks
/// something for that, what it lacks is shown.
fn replay(folder: &Path, recorder: &Recorder, traces: &[Trace], stage: &mut Stage) -> Result<bool> {
    let what = "rr-patch replay: the provider once more, in Delve, up to a breakpoint and back";
    if recorder.stand_in {
        stage.step(&format!("{what}: left out, since nothing was recorded"))?;
        missing(&recorder.host, None, stage)?;
        return Ok(false);
    }
    let provider = traces.iter().find(|trace| trace.controller().contains("provider")).unwrap_or(&traces[0]);
    let opening = match prepare(&recorder.host, provider) {
        Ok(opening) => opening,
        Err(error) => {
            stage.step(&format!("{what}: left out"))?;
            stage.show(render(&error))?;
            missing(&recorder.host, Some(Purpose::Replay), stage)?;
            return Ok(false);
        }
    };
    stage.step(what)?;
    let script = folder.join("dialogue");
    let head = format!("config source-list-line-count 1\nbreak {BREAKPOINT}\n");
    fs::write(&script, head + &DIALOGUE.join("\n") + "\n")
        .with_context(|| format!("cannot write `{}`", script.shown()))?;
    stage.show(format!("{}\nbreak {BREAKPOINT}, then {}", opening.line(None), DIALOGUE.join(", ")))?;
    let mut arguments = opening.arguments(None);
    let scripted = ["--allow-non-terminal-interactive=true", "--init", &script.to_string_lossy()].map(str::to_owned);
    arguments.splice(1..1, scripted);
    let mut environment = opening.environment();
    // No colours.
    environment.insert("TERM".into(), "dumb".into());
    let program = opening.delve.path.to_string_lossy().into_owned();
    let child = Child { program: &program, arguments: &arguments, folder, environment: &environment };
    let mut said = Vec::new();
    let ticker = Ticker::start(stage, "replaying");
    let (end, _) = child.stream(|text| {
        said.extend_from_slice(text);
        Ok(())
    })?;
    drop(ticker);
    let said = String::from_utf8_lossy(&said);
    stage.show(said.as_bytes())?;
    // Once forwards, and once more on the way back.
    let stops = said.lines().filter(|line| line.starts_with("> [Breakpoint 1]") && line.contains(BREAKPOINT)).count();
    if end.success() && stops >= 2 {
        return Ok(true);
    }
    let troubles = troubles(&recorder.host, Some(Purpose::Replay));
    if troubles.is_empty() {
        let error = Error::failed(format!("Delve did not stop at `{BREAKPOINT}` twice, and ended with {end}"));
        return Err(error.detail(format!("looked at: `{}`", opening.line(None))).into());
    }
    stage.show("not replayed:")?;
    missing(&recorder.host, Some(Purpose::Replay), stage)?;
    Ok(false)
}

/// What `rr-patch doctor` finds wrong.
fn troubles(host: &Host, purpose: Option<Purpose>) -> Vec<Finding> {
    let findings = examine(host, &CheckRequest { purpose, ..CheckRequest::default() }, false);
    findings.into_iter().filter(|finding| finding.level == Level::Trouble).collect()
}

/// Shows what a purpose lacks here, and what to type.
fn missing(host: &Host, purpose: Option<Purpose>, stage: &mut Stage) -> Result<()> {
    let mut shown: Vec<String> = Vec::new();
    for Finding { what, found, fix, advice, .. } in troubles(host, purpose) {
        stage.show(format!("{what}: {found}"))?;
        for line in fix
            .into_iter()
            .map(|command| format!("  $ {command}"))
            .chain(advice.into_iter().map(|line| format!("  {line}")))
        {
            if !shown.contains(&line) {
                stage.show(&line)?;
                shown.push(line);
            }
        }
    }
    stage.show("`rr-patch doctor` says more, and `rr-patch doctor --fix` types it")
}

fn lay_out(from: &Dir, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make `{}`", to.shown()))?;
    for entry in from.entries() {
        let name = entry.path().file_name().unwrap_or_default();
        match entry {
            DirEntry::Dir(folder) => lay_out(folder, &to.join(name))?,
            DirEntry::File(file) => {
                let path = to.join(name);
                fs::write(&path, file.contents()).with_context(|| format!("cannot write `{}`", path.shown()))?;
                // A build carries no modes.
                if path.extension().is_some_and(|extension| extension == "sh") {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                        .with_context(|| format!("cannot make `{}` executable", path.shown()))?;
                }
            }
        }
    }
    Ok(())
}

/// Every Go file below a folder.
fn contents(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    let unreadable = || format!("cannot read `{}`", folder.shown());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            files.extend(contents(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "go")
            && !path.ends_with("manifest_generated.go")
        {
            let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.shown()))?;
            files.push((path, bytes));
        }
    }
    files.sort();
    Ok(files)
}
