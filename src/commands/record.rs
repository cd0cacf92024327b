//! `rr-patch record`: run a patched installer, and stay until the traces of its controllers are closed.

mod program;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use clap::Args;

use crate::binary::{REBUILD, Scanned};
use crate::doctor::{
    CheckRequest, Finding, Host, LEAST_FREE, Level, RECORDER, Recorder, Recording, Software, delve, recording,
};
use crate::error::{Error, Exit, Shown};
use crate::patch::checkout::Checkout;
use crate::patch::go::holds;
use crate::patch::recognise::Recognised;
use crate::rr::record::{
    Free, Outcome, Room, Run, Stopped, Subject, commit, counts_in_software, flags, folder_below, install_dir,
    make_latest, remote,
};
use crate::rr::trace::{Sidecar, State, Store, Trace};
use crate::sys::process::{Environment, Interrupt, Streams};
use crate::ui::document::{Format, Report};
use crate::ui::record::Recorded;
use crate::words::{bytes, quoted};

/// Reading an installer of more bytes takes its time, and whoever waits is told.
const LARGE: u64 = 100 << 20;

/// Examples, and what the general exit codes mean here.
const EXAMPLES: &str = "\
Examples:
  rr-patch record -- create cluster --dir cluster
  rr-patch record ~/src/installer --min-free 5GiB -- create cluster --dir cluster
  rr-patch record --program -- ./controller --kubeconfig kubeconfig  # any program

Exit codes: 0 the installer ended with 0, and every trace is complete; 1 could not; 3 not started:
it would record nothing, this machine cannot record, or there is too little room for traces;
4 the installer failed (its own status is in the message) or was stopped because the disk was almost
full, or a trace is not complete, or there is none; 130 stopped by Ctrl-C or SIGTERM, and every
trace is closed.";

pub use program::RecordedProgram;

const USAGE: &str = "rr-patch record [OPTIONS] [REPO|BINARY] -- <ARGS>...
       rr-patch record [OPTIONS] --program -- <PROGRAM> [ARGS]...";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub struct Record {
    /// The installer, or a folder of the checkout whose bin/openshift-install it is [default: the current folder]
    #[arg(value_name = "REPO|BINARY")]
    pub installer: Option<PathBuf>,

    /// Record the program that stands after `--`, and no installer; the exit status is the program's
    #[arg(long, conflicts_with = "unpatched")]
    pub program: bool,

    /// Put the traces into this folder [default: a new one for this run below rr's own]
    #[arg(long, value_name = "DIR")]
    pub trace_dir: Option<PathBuf>,

    /// Stop, with every trace closed, when less than this is free where the traces go, like 500MiB; 0 never
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(LEAST_FREE), value_parser = size)]
    pub min_free: ByteSize,

    /// Run an installer that does not carry rr-patch's changes
    #[arg(long)]
    pub unpatched: bool,

    /// Start the installer although doctor's checks say that this machine cannot record
    #[arg(long)]
    pub unchecked: bool,

    /// Arguments of the installer that `--` does not stand before. It is not guessed where they begin.
    #[arg(hide = true, allow_hyphen_values = true)]
    pub strays: Vec<String>,

    /// What the installer is to do, like `create cluster --dir D`
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

const MAKE_ROOM: &str = "`rr-patch traces prune` removes old traces; `--trace-dir DIR` puts them elsewhere; `--min-free SIZE` sets the limit";

pub(super) fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "expected a size like 500MiB or 2G, or 0".into())
}

/// Where revisions until 2025 choose between Terraform and Cluster API.
const CHOICES: [&str; 2] = ["pkg/types/installconfig.go", "pkg/asset/manifests/capiutils/helpers.go"];

const CHOOSE_CLUSTER_API: &str = "\
    this revision installs some platforms through Terraform, where no controller runs;\n\
    in install-config.yaml `featureSet: CustomNoUpgrade` and `featureGates: [\"ClusterAPIInstall=true\"]` choose \
    Cluster API\n";

/// Whether this revision's installer asks a feature gate for Cluster API.
fn chooses_by_feature_gate(checkout: &Checkout) -> bool {
    CHOICES.iter().any(|path| {
        let content = checkout.read(path).ok().flatten();
        content.is_some_and(|content| holds(&content.bytes, b"FeatureGateClusterAPIInstall"))
    })
}

/// Tells on stderr what we do among the lines of the installer. That nobody reads it is no failure.
fn say(line: &str) {
    super::say(&format!("rr-patch: {line}"));
}

/// The facts about a recording that are known before it begins.
fn noted(host: &Host, recorder: &Recorder, environment: &Environment) -> Sidecar {
    Sidecar {
        tool: format!("rr-patch {}", env!("CARGO_PKG_VERSION")),
        rr_version: recorder.said(),
        software_counters: counts_in_software(recorder, environment),
        flags: flags(recorder, environment),
        delve_version: delve(host).ok().map(|delve| delve.version.to_string()),
        ..Sidecar::default()
    }
}

/// Where the output of what is recorded goes: it must stay out of a document on our stdout.
fn streams(format: Format) -> Streams {
    if format == Format::Json { Streams::OursWithoutOutput } else { Streams::Ours }
}

/// What is recorded, and what is known of the recording before it begins.
#[derive(Debug)]
pub(super) struct Prepared {
    pub program: PathBuf,
    pub recorder: Recorder,
    pub environment: Environment,
    pub sidecar: Sidecar,
    /// Whether it, or a controller of the installer, was built with the chaos overlay.
    pub chaos: bool,
}

/// Makes the folder of a store with the mode that rr gives its own.
pub(super) fn make_folder(store: &Store) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(store.root());
    made.with_context(|| format!("cannot make the trace folder `{}`", store.root().shown()))
}

impl Record {
    pub fn run(&self, format: Format) -> Result<Report<Recorded>> {
        self.refuse_without_dashes()?;
        let interrupt = Interrupt::hold()?;
        let (own, store) = self.stores("install")?;
        let host = Host::here();
        let (prepared, checkout) = self.prepared_installer(&host)?;
        let room = self.room(&host, &store)?;
        interrupt.check("the installer was not started")?;
        make_folder(&store)?;
        say(&format!("traces go to `{}`", store.root().shown()));
        let installer = prepared.program.clone();
        let run = Run {
            installer: &installer,
            arguments: &self.arguments,
            store: &store,
            environment: &prepared.environment,
            folder: None,
            streams: streams(format),
            sidecar: prepared.sidecar,
            room,
            subject: Subject::Installer,
            limits: None,
        };
        let outcome = run.start(&mut say, &mut |_| {})?;
        let complete = outcome.traces.iter().filter(|trace| trace.state == State::Complete);
        self.settle(&own, &store, &outcome, complete.max_by_key(|trace| trace.started))?;
        match outcome.stopped {
            Some(Stopped::NoRoom(_)) => say(&format!("hint: {MAKE_ROOM}")),
            None if !outcome.end.success() => say(&format!("error: the installer ended with {}", outcome.end)),
            _ => {}
        }
        let by_name = Some(&own).filter(|_| self.trace_dir.is_none());
        let Report { result, exit } = Recorded::new(&installer, by_name, &store, &outcome);
        let result = match outcome.traces.is_empty() && checkout.as_ref().is_some_and(chooses_by_feature_gate) {
            true => result.because(CHOOSE_CLUSTER_API),
            false => result,
        };
        Ok(Report { result, exit })
    }

    /// The installer as it will be started, and the checkout that it was built in if that is known.
    ///
    /// # Errors
    /// A refusal, since nothing was started yet.
    pub(super) fn prepared_installer(&self, host: &Host) -> Result<(Prepared, Option<Checkout>)> {
        let (installer, checkout) = self.installer()?;
        let size = fs::metadata(&installer).map_or(0, |seen| seen.len());
        if size > LARGE {
            say(&format!("looking into `{}` ({})", installer.shown(), bytes(size)));
        }
        let scanned = Scanned::open(&installer)?;
        self.refuse_unpatched(&installer, &scanned)?;
        warn_of_what_delve_would_lack(&scanned);
        let (recorder, environment) = self.recorder(host, checkout.as_ref())?;
        let sidecar = Sidecar {
            installer_commit: commit(&installer),
            installer_remote: checkout.as_ref().and_then(remote),
            ..noted(host, &recorder, &environment)
        };
        let chaos = scanned.controllers().unwrap_or_default().iter().any(|(_, facts)| facts.chaos);
        Ok((Prepared { program: installer, recorder, environment, sidecar, chaos }, checkout))
    }

    /// # Errors
    /// Arguments of the installer without `--` before them, or none at all.
    pub(super) fn refuse_without_dashes(&self) -> Result<()> {
        if self.strays.is_empty() && !self.arguments.is_empty() {
            return Ok(());
        }
        if let Some(option) = self.strays.first().filter(|word| word.starts_with('-')) {
            return Err(unknown_option(option));
        }
        let (place, mut words) = match &self.installer {
            Some(path) if path.exists() => (format!("{} ", quoted(&path.to_string_lossy())), Vec::new()),
            Some(word) => (String::new(), vec![quoted(&word.to_string_lossy())]),
            None => (String::new(), Vec::new()),
        };
        words.extend(self.strays.iter().chain(&self.arguments).map(|word| quoted(word)));
        if words.is_empty() {
            return Err(Error::usage("it is not said what the installer is to do")
                .detail("expected: the installer's own arguments after `--`")
                .hint(format!("`rr-patch record {place}-- create cluster --dir DIR`"))
                .into());
        }
        Err(Error::usage(format!("`--` must stand before the installer's own arguments: `{}`", words.join(" ")))
            .hint(format!("`rr-patch record {place}-- {}`", words.join(" ")))
            .into())
    }

    /// The installer that is meant, and the checkout that it was built in if that is known.
    fn installer(&self) -> Result<(PathBuf, Option<Checkout>)> {
        if let Some(file) = self.installer.as_ref().filter(|path| path.is_file()) {
            let file = file.canonicalize().with_context(|| format!("cannot read `{}`", file.shown()))?;
            let checkout = Checkout::discover(file.parent(), None).ok();
            return executable(file).map(|file| (file, checkout));
        }
        let checkout = Checkout::discover(self.installer.as_deref(), None)?;
        let installer = checkout.locate("bin/openshift-install");
        if !installer.is_file() {
            return Err(Error::refused(format!("`{}` is not built", installer.shown()))
                .detail("expected: an installer that `rr-patch build` made")
                .hint("`rr-patch build` makes it; `rr-patch record BINARY -- …` runs one from elsewhere")
                .into());
        }
        executable(installer).map(|installer| (installer, Some(checkout)))
    }

    /// rr's own store, and the one that the traces go to: `what` is in the name of a new folder.
    pub(super) fn stores(&self, what: &str) -> Result<(Store, Store)> {
        let own = Store::of(&|name| std::env::var_os(name));
        let folder = match &self.trace_dir {
            Some(folder) => std::path::absolute(folder).context("there is no current folder")?,
            None => folder_below(&own, what, SystemTime::now()),
        };
        Ok((own, Store::at(folder)))
    }

    /// Makes `latest` what rr replays by default, if the traces are in rr's own store.
    fn settle(&self, own: &Store, store: &Store, outcome: &Outcome, latest: Option<&Trace>) -> Result<()> {
        if self.trace_dir.is_some() {
            return Ok(());
        }
        match latest {
            Some(trace) => make_latest(own, trace)?,
            // Nothing was recorded: all that rr may have left is its lock file.
            None if outcome.traces.is_empty() => {
                let _ = fs::remove_file(store.root().join("cpu_lock"));
                let _ = fs::remove_dir(store.root());
            }
            None => {}
        }
        Ok(())
    }

    /// The limit for the file system that the traces go to.
    ///
    /// # Errors
    /// One that has less already: the installer would be stopped at once.
    pub(super) fn room(&self, host: &Host, store: &Store) -> Result<Room> {
        let room = Room::new(host.clone(), store.root().to_owned(), self.min_free);
        match room.look() {
            Free::Enough | Free::Near => Ok(room),
            Free::Little(free) | Free::Least(free) => {
                Err(Error::refused("there is not enough room for traces: the installer was not started")
                    .detail(format!("found: {}", room.describe(free)))
                    .detail("rr aborts at a full disk, and the trace is lost")
                    .hint(MAKE_ROOM)
                    .into())
            }
        }
    }

    fn refuse_unpatched(&self, installer: &Path, scanned: &Scanned) -> Result<()> {
        if self.unpatched || scanned.patch().whole() {
            return Ok(());
        }
        Err(Error::refused(format!("`{}` is not patched: it would record nothing", installer.shown()))
            .detail("expected: the functions that rr-patch adds to package process")
            .hint("`rr-patch apply`, then `rr-patch build`; `rr-patch inspect` says what an installer is")
            .hint("`--unpatched` runs it all the same, say with a patch that was made by hand")
            .into())
    }

    /// The recorder that will be started, and what has to be in the environment for that.
    ///
    /// # Errors
    /// A refusal, since nothing was started yet.
    fn recorder(&self, host: &Host, checkout: Option<&Checkout>) -> Result<(Recorder, Environment)> {
        self.find_recorder(host, checkout).map_err(|error| match error.downcast::<Error>() {
            Ok(known) if known.exit == Exit::Failed => known.as_refusal().into(),
            Ok(known) => known.into(),
            Err(other) => other,
        })
    }

    fn find_recorder(&self, host: &Host, checkout: Option<&Checkout>) -> Result<(Recorder, Environment)> {
        let here = match &self.trace_dir {
            Some(folder) => host.clone().with("_RR_TRACE_DIR", &folder.to_string_lossy()),
            None => host.clone(),
        };
        if here.variable(RECORDER).is_some_and(|told| told.trim() == "off") {
            return Err(Error::usage(format!("{RECORDER} is `off`: nothing would be recorded"))
                .hint(format!("`unset {RECORDER}`, or run the installer itself"))
                .into());
        }
        // RR_PATCH_RECORD goes before what was given to `apply --rr`.
        let told = here.variable(RECORDER).is_some();
        let options = checkout.filter(|_| !told).and_then(Recognised::options);
        let question = CheckRequest {
            rr: options.and_then(|options| options.rr),
            install_dir: Some(install_dir(&self.arguments)),
            least_free: Some(self.min_free.0),
            ..CheckRequest::default()
        };
        let Recording { recorder, software, findings } = recording(&here, &question)?;
        self.pass(&findings)?;
        let Some(Software { line, why }) = software else { return Ok((recorder, Environment::new())) };
        say(&format!("{RECORDER}=\"{line}\", since rr cannot use this machine's counters ({})", why.join("; ")));
        Ok((recorder, Environment::from([(RECORDER.to_owned(), line)])))
    }

    /// Says the warnings.
    ///
    /// # Errors
    /// What would not work, each with the commands that mend it.
    fn pass(&self, findings: &[Finding]) -> Result<()> {
        let line = |finding: &Finding| format!("{}: {} (needs {})", finding.what, finding.found, finding.needed);
        let worth_saying = |level: Level| level == Level::Warning || (self.unchecked && level == Level::Trouble);
        for finding in findings.iter().filter(|finding| worth_saying(finding.level)) {
            say(&format!("warning: {}", line(finding)));
        }
        if self.unchecked || trouble(findings).next().is_none() {
            return Ok(());
        }
        let error = Error::refused("this machine cannot record as it is: the installer was not started");
        let error = trouble(findings).fold(error, |error, finding| error.detail(line(finding)));
        let mut hints: Vec<String> = Vec::new();
        for finding in trouble(findings) {
            let commands = finding.fix.iter().map(|command| format!("`{command}`"));
            for hint in finding.advice.iter().cloned().chain(commands) {
                if !hints.contains(&hint) {
                    hints.push(hint);
                }
            }
        }
        let error = hints.into_iter().fold(error, Error::hint);
        let doctor = "`rr-patch doctor` looks at everything, and with --fix runs such commands";
        Err(error.hint(doctor).hint("--unchecked starts the installer all the same").into())
    }
}

/// What clap says of an option that is not known, with the one that may be meant.
fn unknown_option(option: &str) -> anyhow::Error {
    let command = Record::augment_args(clap::Command::default().name("record"));
    let command = command.mut_args(|arg| if arg.get_id() == "strays" { arg.allow_hyphen_values(false) } else { arg });
    let said = command.try_get_matches_from(["record", option]).err().map(|error| error.to_string());
    let said = said.unwrap_or_else(|| format!("error: unexpected argument '{option}' found"));
    let mut lines = said.lines();
    let error = Error::usage(lines.next().unwrap_or_default().trim_start_matches("error: "));
    lines.filter_map(|line| line.trim().strip_prefix("tip: ")).fold(error, Error::hint).into()
}

fn executable(file: PathBuf) -> Result<PathBuf> {
    let mode = fs::metadata(&file).map_or(0, |seen| seen.permissions().mode());
    if mode & 0o111 == 0 {
        return Err(Error::refused(format!("`{}` is not executable", file.shown()))
            .hint(format!("make it so: `chmod +x {}`", quoted(&file.to_string_lossy())))
            .into());
    }
    Ok(file)
}

/// Says which controllers could be recorded and not be debugged. That no controllers were found is for
/// the installer to say.
fn warn_of_what_delve_would_lack(scanned: &Scanned) {
    for (name, facts) in scanned.controllers().unwrap_or_default() {
        for (what, remedy) in facts.lacks(REBUILD) {
            say(&format!("warning: `{name}` {what}: {remedy}"));
        }
    }
}

fn trouble(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.level == Level::Trouble)
}
