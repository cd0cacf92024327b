//! `rr-patch hunt`: record a program again and again until it fails, and keep the runs that did.

mod installer;
mod test;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use bytesize::ByteSize;
use clap::Args;

use super::duration;
use super::record::{Prepared, Record, make_folder, size};
use crate::cause::hunt::{Attempt, Catch, Ending, FailOn, Means, Plan, Setting, explain_kinds, hunt};
use crate::doctor::{Host, LEAST_FREE};
use crate::error::{Error, render};
use crate::rr::record::{Limits, Outcome, Room, Run, Subject, folder_below, make_latest};
use crate::rr::trace::Store;
use crate::sys::process::{Environment, Interrupt, Streams};
use crate::ui::document::Report;
use crate::ui::hunt::{Hunted, Named};
use crate::ui::progress::Hunting;
use crate::words::quoted;
use installer::Installer;

/// A program that takes longer hangs. Go's own tests are given ten minutes, and rr runs one thread at a time.
const TIMEOUT: Duration = Duration::from_secs(600);

const EXAMPLES: &str = "\
Examples:
  rr-patch hunt -- ./controller --kubeconfig kubeconfig
  rr-patch hunt --runs 50 --fail-on 'lost [0-9]+ items' -- ./queue
  rr-patch hunt --test ./pkg/queue -run TestReAdd --runs 200
  rr-patch hunt --installer bin/openshift-install -- create cluster --dir cluster

Exit codes: 0 what was asked for was found; 1 could not; 3 not started: this machine cannot record, or there is
too little room; 4 not found, and the result says how rare it is at most; 130 stopped by Ctrl-C or
SIGTERM, with the summary of what was found until then.";

const USAGE: &str = "rr-patch hunt [OPTIONS] -- <PROGRAM> [ARGS]...
       rr-patch hunt [OPTIONS] --test <PACKAGE> [-run RE] [-- <ARGS>...]
       rr-patch hunt [OPTIONS] --installer <PATH> -- <ARGS>...";

const PROGRAM: &str = "What is recorded";
const FAILURES: &str = "What a failure is";
const WHEN: &str = "When it ends";

#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub struct Hunt {
    /// Build the tests of this package with the chaos overlay and for debugging, and run them; `-run RE`, `-short`
    /// and the like are passed on to them
    #[arg(long, value_name = "PACKAGE", conflicts_with = "installer", help_heading = PROGRAM)]
    pub test: Option<String>,

    /// Run this patched installer, and record every controller; each run works on a copy of the folder that its own
    /// `--dir` names, and what a run created is destroyed after it
    #[arg(long, value_name = "PATH", help_heading = PROGRAM)]
    pub installer: Option<PathBuf>,

    /// At most so many runs; 0 sets no limit
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = WHEN)]
    pub runs: usize,

    /// End when so many runs have failed; 0 goes on to the last run
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = WHEN)]
    pub until: usize,

    /// Begin no run later than this, like `90s`, `30m` or `8h`
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = WHEN)]
    pub time: Option<Duration>,

    /// Record so many runs at the same time
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    pub jobs: usize,

    /// A run fails with this exit status, or with a line that this regular expression fits (repeatable) [default:
    /// any status but 0]
    #[arg(long, value_name = "CODE|REGEX", value_parser = FailOn::parse, help_heading = FAILURES)]
    pub fail_on: Vec<FailOn>,

    /// A run that takes longer fails: it is stopped so that its trace closes; 0s never [default: 10m, and no limit
    /// for an installer]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = FAILURES)]
    pub timeout: Option<Duration>,

    /// Keep traces of so many bytes at most
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::gib(10), value_parser = size, help_heading = WHEN)]
    pub disk: ByteSize,

    /// Use these settings only, in turn: a value of RR_PATCH_CHAOS like 1/4 or ranks, `rr` for rr's own --chaos,
    /// `cores=N` for rr's --num-cores, several of these with `+` between them, or `off` (repeatable) [default: some]
    #[arg(long, value_name = "SETTING", value_parser = Setting::parse)]
    pub chaos: Vec<Setting>,

    /// Group failures by how they ended and what they said last, without asking explain
    #[arg(long, help_heading = FAILURES)]
    pub no_explain: bool,

    /// Put the hunt's folder into this one [default: rr's own]
    #[arg(long, value_name = "DIR")]
    pub trace_dir: Option<PathBuf>,

    /// Stop, with every trace closed, when less than this is free where the traces go, like 500MiB; 0 never
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(LEAST_FREE), value_parser = size, help_heading = WHEN)]
    pub min_free: ByteSize,

    /// Run an installer that does not carry rr-patch's changes
    #[arg(long, requires = "installer")]
    pub unpatched: bool,

    /// Begin although doctor's checks say that this machine cannot record
    #[arg(long)]
    pub unchecked: bool,

    /// Options of `go test`, which begin with one dash.
    #[arg(hide = true, allow_hyphen_values = true)]
    pub strays: Vec<String>,

    /// What is run, or what the test binary or the installer is given
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

/// What is run again and again.
struct Quarry {
    prepared: Prepared,
    subject: Subject,
    arguments: Vec<String>,
    /// The folder that it runs in.
    folder: Option<PathBuf>,
    installer: Option<Installer>,
    timeout: Option<Duration>,
}

impl Hunt {
    pub fn run(&self) -> Result<Report<Hunted>> {
        self.with_later_options()?.begin()
    }

    fn begin(&self) -> Result<Report<Hunted>> {
        self.refuse_strays()?;
        let interrupt = Interrupt::hold()?;
        let host = Host::here();
        let own = Store::of(&|name| std::env::var_os(name));
        let top = match &self.trace_dir {
            Some(folder) => Store::at(std::path::absolute(folder)?),
            None => own.clone(),
        };
        let folder = folder_below(&top, "hunt", SystemTime::now());
        let store = Store::at(folder.clone());
        let record = self.record(&folder);
        record.room(&host, &store)?;
        let quarry = self.quarry(&record, &host, &folder)?;
        interrupt.check("nothing was run")?;
        make_folder(&store)?;
        let plan = self.plan(&quarry, folder);
        let progress = Hunting::begin(plan.runs);
        let say = |line: &str| progress.say(line);
        if !quarry.prepared.chaos && self.chaos.is_empty() {
            say(
                "it does not carry the chaos overlay, so only rr disturbs it: `rr-patch chaos overlay` makes one, `--test` and `build --chaos` build with it",
            );
        }
        say(&format!("traces of failing runs are kept in `{}`", crate::error::Shown::shown(store.root())));
        let means = Means {
            record: &|attempt, hear| self.attempt(&quarry, &host, &say, attempt, hear),
            see: &|caught| progress.see(caught),
            say: &say,
            interrupted: &|| interrupt.came(),
        };
        let caught = hunt(&plan, &means);
        progress.end();
        let (mut caught, failed) = caught?;
        if let Some(error) = &failed {
            eprint!("{}", render(error));
        }
        if !self.no_explain && caught.ending != Some(Ending::Interrupted) {
            let kinds = std::mem::take(&mut caught.kinds);
            caught.kinds = explain_kinds(&host, kinds, &|| interrupt.came(), &mut |line| say(line));
        }
        let by_name = Some(&own).filter(|_| self.trace_dir.is_none());
        if by_name.is_some() {
            latest(&own, &caught)?;
        }
        Ok(Hunted::new(self.command(), &store, &Named { own: by_name }, self.until, &caught))
    }

    /// The options that `record` has too.
    fn record(&self, folder: &Path) -> Record {
        Record {
            installer: self.installer.clone(),
            program: self.installer.is_none(),
            trace_dir: Some(folder.to_owned()),
            min_free: self.min_free,
            unpatched: self.unpatched,
            unchecked: self.unchecked,
            strays: Vec::new(),
            arguments: self.arguments.clone(),
        }
    }

    fn quarry(&self, record: &Record, host: &Host, folder: &Path) -> Result<Quarry> {
        if let Some(package) = &self.test {
            return self.test_quarry(record, host, package, folder);
        }
        if self.installer.is_some() {
            record.refuse_without_dashes()?;
            self.refuse_options_of_rr()?;
            let (prepared, _) = record.prepared_installer(host)?;
            let installer = Installer::of(&self.arguments)?;
            let arguments = self.arguments.clone();
            let timeout = self.timeout.filter(|limit| !limit.is_zero());
            let (subject, installer) = (Subject::Installer, Some(installer));
            return Ok(Quarry { prepared, subject, arguments, folder: None, installer, timeout });
        }
        let (program, arguments) = record.program_and_arguments()?;
        let arguments = arguments.to_vec();
        let prepared = record.prepared_program(host, program)?;
        let (subject, timeout) = (Subject::Program, self.timeout());
        Ok(Quarry { prepared, subject, arguments, folder: None, installer: None, timeout })
    }

    /// An installer starts its recorders itself, so options of rr in a setting would do nothing.
    fn refuse_options_of_rr(&self) -> Result<(), Error> {
        match self.chaos.iter().find(|setting| **setting != setting.without_options()) {
            None => Ok(()),
            Some(setting) => Err(Error::usage(format!("`--chaos` asks for `{setting}` of an installer"))
                .detail("an installer starts its recorders itself: options of rr in a setting do not reach them")
                .hint("give them for every run: `RR_PATCH_RECORD=\"rr record --wait --chaos\" rr-patch hunt …`")),
        }
    }

    /// How long a program may run.
    fn timeout(&self) -> Option<Duration> {
        Some(self.timeout.unwrap_or(TIMEOUT)).filter(|limit| !limit.is_zero())
    }

    fn plan(&self, quarry: &Quarry, folder: PathBuf) -> Plan {
        let mut settings =
            if self.chaos.is_empty() { Setting::cycle(quarry.prepared.chaos) } else { self.chaos.clone() };
        // An installer starts its recorders itself, with a command line of its own.
        if quarry.subject == Subject::Installer {
            settings.iter_mut().for_each(|setting| *setting = setting.without_options());
        }
        Plan {
            folder,
            runs: (self.runs > 0).then_some(self.runs),
            until: self.until,
            time: self.time,
            timeout: quarry.timeout,
            jobs: self.jobs.max(1),
            disk: self.disk.0,
            fail_on: self.fail_on.clone(),
            settings,
        }
    }

    /// Records one run.
    fn attempt(
        &self,
        quarry: &Quarry,
        host: &Host,
        say: &dyn Fn(&str),
        attempt: &Attempt,
        hear: &mut dyn FnMut(&str),
    ) -> Result<Outcome> {
        let Quarry { prepared, subject, folder, installer, timeout, .. } = quarry;
        make_folder(attempt.store)?;
        let mut environment: Environment = prepared.environment.clone();
        environment.extend([attempt.setting.variable()]);
        // The recorders of all runs keep off each other's processors.
        let lock = attempt.store.root().parent().map(|folder| folder.join("cpu_lock"));
        if let Some(lock) = lock.as_ref().and_then(|lock| lock.to_str()) {
            environment.insert("_RR_CPU_LOCK_FILE".into(), lock.to_owned());
        }
        let more = attempt.setting.options();
        let (start, line) = match installer {
            Some(installer) => (&prepared.program, installer.arguments_of(&quarry.arguments, attempt.store)?),
            None => (&prepared.recorder.path, prepared.program_line(&more, &quarry.arguments)?),
        };
        let run = Run {
            installer: start,
            arguments: &line,
            store: attempt.store,
            environment: &environment,
            folder: folder.as_deref(),
            streams: Streams::Captured,
            sidecar: prepared.sidecar.clone(),
            room: Room::new(host.clone(), attempt.store.root().to_owned(), self.min_free),
            subject: *subject,
            limits: Some(Limits { time: *timeout, size: attempt.most, shared: self.jobs > 1 }),
        };
        let outcome = run.start(&mut |line| say(line), hear)?;
        if let Some(installer) = installer {
            installer.destroy(&prepared.program, attempt.store, say)?;
        }
        Ok(outcome)
    }

    /// # Errors
    /// A word before `--` that nothing is known of.
    fn refuse_strays(&self) -> Result<()> {
        let Some(stray) = self.strays.first().filter(|_| self.test.is_none()) else { return Ok(()) };
        let words: Vec<String> = self.strays.iter().chain(&self.arguments).map(|word| quoted(word)).collect();
        let error = match stray.starts_with('-') {
            true => Error::usage(format!("`{stray}` is no option of `hunt`"))
                .hint("options of `go test` belong to `--test PACKAGE`; those of a program stand after `--`"),
            false => Error::usage(format!("`--` must stand before what is run: `{}`", words.join(" ")))
                .hint(format!("`rr-patch hunt -- {}`", words.join(" "))),
        };
        Err(error.into())
    }

    /// What is run, as it was given.
    fn command(&self) -> String {
        let test = self.test.iter().flat_map(|package| ["--test", package]).map(str::to_owned);
        let installer = self.installer.iter().map(|path| path.to_string_lossy().into_owned());
        let words = test.chain(installer).chain(self.strays.iter().cloned()).chain(self.arguments.iter().cloned());
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    }
}

/// Makes a failing run, or else the good one, what rr replays by default.
fn latest(own: &Store, caught: &Catch) -> Result<()> {
    let failing = caught.kinds.first().and_then(|kind| kind.kept.first());
    match failing.or(caught.good.as_ref()).and_then(|kept| kept.main_trace()) {
        Some(trace) => make_latest(own, trace),
        None => Ok(()),
    }
}
