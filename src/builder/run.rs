//! The build itself: make for dynamic controllers, build.sh for all the rest, both watched.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::chaos::Library;
use super::clean::{self, ZIP};
use super::controllers::{Linked, Removed, Stash};
use super::overlay::{self, Overlay};
use super::phases::{Phase, Phases};
use super::prepare::Prepared;
use super::prerequisites::ROOM;
use super::prerequisites::value;
use super::revision::Terraform;
use super::sample::{PERIOD, Sampler};
use super::script::SCRIPT;
use super::timings::Page;
use super::verification::{Expected, prove};
use super::view::{Bars, View};
use crate::binary::Installer;
use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::patch::plan::Plan;
use crate::patch::rules::chaos::digest_of;
use crate::provenance::Kept;
use crate::sys::process::{Child, End, Environment, Interrupt, for_child};
use crate::sys::write;
use crate::words::seconds;

/// A build that went through, and whose result holds what it should.
#[derive(Debug)]
pub struct Built {
    /// The installer, as far as `OUTPUT` and `build.sh` say where it goes.
    pub path: PathBuf,
    pub log: PathBuf,
    pub began: SystemTime,
    pub took: Duration,
    pub phases: Vec<Phase>,
    /// What is in it; nothing for another system than Linux.
    pub installer: Option<Installer>,
    pub removed: Vec<Removed>,
    pub aside: Vec<String>,
    /// What all processes held in memory at the worst moment, added up.
    pub peak_memory: u64,
    /// Processor seconds.
    pub cpu: f64,
    pub jobs: usize,
    /// What became of Terraform, where build.sh knows of it.
    pub terraform: Option<Terraform>,
    pub go: String,
    pub providers: Vec<String>,
    /// The platforms that it can install by Cluster API, and those that it lacks a provider for.
    pub serves: Vec<String>,
    pub lacks: Vec<String>,
    /// The sources start a control plane of their own.
    pub needs_control_plane: bool,
    /// What was set for build.sh and make.
    pub environment: Environment,
    /// The overlaid sources, where there are some.
    pub overlay: Option<Kept>,
    /// The SHA-256 of the rules of the chaos overlay, where controllers were built with it.
    pub chaos: Option<String>,
    sampler: Sampler,
}

impl Built {
    /// The page that shows where the time went.
    pub fn page(&self, about: Vec<(&'static str, String)>) -> Page<'_> {
        Page {
            title: self.path.shown(),
            about,
            total: self.took,
            processors: thread::available_parallelism().map_or(1, usize::from),
            phases: &self.phases,
            loads: &self.sampler.loads,
            slowest: self.sampler.slowest(SLOWEST),
            works: self.sampler.works.len(),
        }
    }
}

/// How many packages the page lists.
const SLOWEST: usize = 40;

/// What is learnt while the build runs, by the thread that reads and the one that looks.
struct Watch {
    seen: Mutex<(Phases, Sampler)>,
    /// The process group that runs; 0 between two.
    group: AtomicI32,
    log: PathBuf,
}

impl Watch {
    fn seen(&self) -> MutexGuard<'_, (Phases, Sampler)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the processes every now and then, and draws what it sees, until it is told to stop.
    fn look(&self, stopped: &Receiver<()>, mut bars: Option<Bars>) {
        loop {
            let end = !matches!(stopped.recv_timeout(PERIOD), Err(RecvTimeoutError::Timeout));
            let mut seen = self.seen();
            let (phases, sampler) = &mut *seen;
            match self.group.load(Ordering::Relaxed) {
                0 => {}
                group => {
                    sampler.look(group, phases.began());
                    phases.look(&sampler.building, &sampler.packages);
                }
            }
            match (&mut bars, end) {
                (Some(bars), false) => bars.draw(phases, sampler),
                (Some(bars), true) => bars.end(phases, sampler),
                (None, _) => {}
            }
            if end {
                return;
            }
        }
    }
}

/// A program that the build runs, and how it is called.
struct Step<'a> {
    program: &'a str,
    arguments: Vec<String>,
    environment: Environment,
    shown: String,
    /// What else may help where it fails.
    hint: Option<&'a str>,
}

/// The overlay of each step.
struct Overlays {
    make: Option<Overlay>,
    script: Option<Overlay>,
}

impl Prepared<'_> {
    /// Builds, and shows it as `view` says.
    ///
    /// # Errors
    /// A build that failed, with the step, its last lines and how it ended; one that was interrupted,
    /// after its whole process group has ended; one whose result cannot be debugged.
    pub fn run(mut self, view: View) -> Result<Built> {
        let checkout = self.checkout;
        let interrupt = Interrupt::hold()?;
        clean::remove(checkout, &self.removed)?;
        write::remove(&checkout.locate(ZIP))?;
        self.lock.writes()?;
        let aside = Stash::put(checkout, &self.toolchain.target(), &self.aside)?;
        overlay::clear(checkout)?;
        let overlays = self.overlays()?;

        let log = log_path(checkout)?;
        let mut file = File::create(&log).with_context(|| format!("cannot write `{}`", log.shown()))?;
        let seen = Mutex::new((Phases::begin(), Sampler::default()));
        let watch = Watch { seen, group: AtomicI32::new(0), log: log.clone() };
        let (mut lines, bars) = match view {
            View::Lines(live) => (Some(View::Lines(live)), None),
            View::Bars(bars) => (None, Some(bars.of(self.to_be_made.len()))),
        };
        let began = SystemTime::now();
        let steps = self.steps(&overlays)?;
        let mut show = |bytes: &[u8]| {
            file.write_all(bytes).with_context(|| format!("cannot write `{}`", log.shown()))?;
            lines.as_mut().map_or(Ok(()), |lines| lines.print(bytes))
        };
        let (stop, stopped) = channel::<()>();
        let ran = thread::scope(|scope| {
            let watch = &watch;
            let looks = scope.spawn(move || watch.look(&stopped, bars));
            let ran = steps.iter().try_for_each(|step| {
                interrupt.check("no program of the build was running")?;
                self.step(step, watch, &mut show)
            });
            drop(stop);
            let _ = looks.join();
            ran
        });
        let (phases, sampler) = watch.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let took = phases.elapsed();
        drop(aside);
        ran?;
        interrupt.check("the build was over, and what it made was not looked into")?;

        let installer = match self.toolchain.get("GOOS") {
            "linux" => Some(prove(&Expected {
                installer: &self.installer,
                began,
                patched: self.request.patched,
                go: self.toolchain.version(),
                controllers: self.go.clone(),
                absent: overlays.script.as_ref().map_or_else(Vec::new, |overlay| overlay.absent(checkout)),
                chaos: self.request.chaos.is_some().then(|| self.chaos.iter().flat_map(Library::absent).collect()),
            })),
            _ => None,
        };
        // What make and Go wrote is whole, even where it is not what it should be.
        self.lock.finished();
        let installer = installer.transpose()?;
        overlay::forget(&self.installer)?;
        let kept = overlays.script.map(|overlay| overlay.keep(&self.installer, checkout)).transpose()?;
        let (serves, lacks) = self.serves();
        let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Ok(Built {
            providers: self.selected.iter().cloned().collect(),
            serves: names(serves),
            lacks: names(lacks),
            installer,
            overlay: kept.flatten(),
            chaos: self.request.chaos.as_deref().map(digest_of),
            path: self.installer,
            log,
            began,
            took,
            phases: phases.done,
            removed: self.removed,
            aside: self.aside,
            peak_memory: sampler.peak,
            cpu: sampler.cpu,
            jobs: self.jobs,
            terraform: self.terraform,
            go: self.toolchain.version().to_owned(),
            needs_control_plane: self.platforms.control_plane,
            environment: self.environment,
            sampler,
        })
    }

    /// What make and build.sh read in place of other files. Controllers get the chaos overlay from whichever makes them,
    /// and the installer goes without where make does: it is not what is recorded.
    fn overlays(&self) -> Result<Overlays> {
        let (plan, chaos) = (self.request.overlay.as_ref(), self.chaos.as_slice());
        let by_make = self.linking.linked == Linked::Dynamic;
        let of_script = if by_make { &[] } else { chaos };
        let write = |name, plan: Option<&Plan>, chaos: &[_]| match plan.is_some() || !chaos.is_empty() {
            true => Overlay::write(self.checkout, name, plan, chaos).map(Some),
            false => Ok(None),
        };
        let make = if by_make { write("make", None, chaos)? } else { None };
        Ok(Overlays { make, script: write("script", plan, of_script)? })
    }

    /// make for dynamic controllers, since build.sh would make them without cgo; then build.sh, whose
    /// own make finds them made.
    fn steps(&self, overlays: &Overlays) -> Result<Vec<Step<'static>>> {
        let tell = |overlay: Option<&Overlay>, environment: &mut Environment| {
            overlay.map_or(Ok(()), |overlay| overlay.tell(environment, self.checkout, &self.toolchain))
        };
        let reach = |environment: &mut Environment| -> Result<()> {
            let path = value(environment, "PATH").unwrap_or_default();
            self.chaos.iter().try_for_each(|library| {
                environment.extend(library.environment(&path)?);
                Ok(())
            })
        };
        let mut steps = Vec::new();
        // Where all are made, build.sh's make has nothing to do either.
        if self.linking.linked == Linked::Dynamic && !self.to_be_made.is_empty() {
            let mut environment = self.environment.clone();
            environment.insert("CGO_ENABLED".into(), "1".into());
            tell(overlays.make.as_ref(), &mut environment)?;
            reach(&mut environment)?;
            let arguments = ["-C", "cluster-api", "all"].map(str::to_owned).to_vec();
            let shown = "MODE=dev CGO_ENABLED=1 make -C cluster-api all".to_owned();
            let hint = Some("`--link static` leaves the controllers to build.sh, without cgo");
            steps.push(Step { program: "make", arguments, environment, shown, hint });
        }
        let mut environment = self.environment.clone();
        tell(overlays.script.as_ref(), &mut environment)?;
        if self.linking.linked != Linked::Dynamic {
            reach(&mut environment)?;
        }
        steps.push(Step {
            program: SCRIPT,
            arguments: self.request.arguments.clone(),
            environment,
            shown: format!("./{SCRIPT}"),
            hint: None,
        });
        Ok(steps)
    }

    /// Runs one program to its end, and says how it failed if it did.
    fn step(&mut self, step: &Step, watch: &Watch, show: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (checkout, log) = (self.checkout, watch.log.shown());
        let began = SystemTime::now();
        // Whole, since duct takes a relative path from where we are and not from where the child runs.
        let script = checkout.locate(SCRIPT);
        let program = if step.program == SCRIPT { for_child(&script)? } else { step.program };
        watch.seen().0.runs(&step.shown);
        let (arguments, environment) = (step.arguments.as_slice(), &step.environment);
        let child = Child { program, arguments, folder: checkout.root(), environment };
        let lock = RefCell::new(&mut self.lock);
        let ran = child.stream_of_group(
            |group| {
                watch.group.store(group, Ordering::Relaxed);
                lock.borrow_mut().works_in(group)
            },
            |bytes| {
                let generates = {
                    let mut seen = watch.seen();
                    seen.0.see(bytes);
                    seen.0.generates()
                };
                lock.borrow_mut().generates(generates)?;
                show(bytes)
            },
        );
        watch.group.store(0, Ordering::Relaxed);
        let mut seen = watch.seen();
        let (phases, sampler) = &mut *seen;
        phases.close(&checkout.locate(&self.controllers.folder()));
        sampler.next_group();
        let took = phases.elapsed();
        let (end, signal) = ran?;
        if let Some(signal) = signal {
            return Err(Error::interrupted(format!(
                "the build was interrupted by {}: its process group was ended",
                End::Signal(signal)
            ))
            .detail(format!("in step: {}", phases.current()))
            .detail(format!("log: {log}"))
            .hint("`rr-patch build` starts it again; Go's cache keeps what was compiled")
            .into());
        }
        if !end.success() {
            // A child that was killed by others may have left half a file.
            if matches!(end, End::Code(_)) {
                self.lock.failed()?;
            }
            let mut error = Error::failed(format!("the build failed with {end} after {}", seconds(took)))
                .detail(format!("in step: {}", phases.current()));
            if let Some(target) = phases.failed_target() {
                error = error.detail(format!("make said: {target}"));
            }
            let last_lines = phases.last_lines();
            error = error.detail(format!("last lines:\n{last_lines}")).detail(format!("log: {log}"));
            if last_lines.contains("no space left on device") {
                error = error.hint(ROOM);
            }
            error = error.hint("mend what the last lines name, then run `rr-patch build` again");
            return Err(step.hint.iter().fold(error, |error, hint| error.hint(*hint)).into());
        }
        self.controllers.date(began)?;
        self.lock.wrote()?;
        Ok(())
    }
}

/// The log of this build; that of the one before stays beside it.
fn log_path(checkout: &Checkout) -> Result<PathBuf> {
    let folder = checkout.state_dir();
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.shown()))?;
    let log = folder.join("build.log");
    match fs::rename(&log, folder.join("build.previous.log")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot keep the previous build's log `{}`", log.shown()))
        }
        _ => Ok(log),
    }
}
