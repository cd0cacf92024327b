//! How far a command is, on stderr: bars on a terminal, and a line now and then elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::manners::{Verbosity, verbosity};
use crate::builder::verify::Progress;
use crate::cause::hunt::Catch;
use crate::error::plain;
use crate::sys::process::Interrupt;
use crate::words::{bytes, count, seconds, share};

/// Where bars are drawn: nowhere with `--quiet`.
fn target() -> ProgressDrawTarget {
    if verbosity() == Verbosity::Quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// What Go is at, on stderr: a line for each command, and below it how many packages were compiled. On a terminal
/// that is drawn again and again; elsewhere it comes every now and then.
pub struct Verifying {
    bar: ProgressBar,
    began: Instant,
    said: Instant,
}

impl Verifying {
    const NOTICE: Duration = Duration::from_secs(30);

    pub fn begin() -> Self {
        let bar = ProgressBar::with_draw_target(None, target());
        let style = ProgressStyle::with_template("{spinner} {elapsed}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { bar, began: Instant::now(), said: Instant::now() }
    }

    pub fn as_callback(&mut self) -> impl FnMut(Progress) {
        |progress| match progress {
            Progress::Asks(asked) => {
                if verbosity() != Verbosity::Quiet {
                    self.bar.suspend(|| eprintln!("verifying: {}", plain(asked)));
                }
                self.bar.set_message("");
                self.bar.enable_steady_tick(Duration::from_millis(200));
                (self.began, self.said) = (Instant::now(), Instant::now());
            }
            Progress::Compiled(packages, last) => {
                let compiled = format!("{} compiled, the last: {last}", count(packages, "package"));
                if self.bar.is_hidden() && verbosity() != Verbosity::Quiet && self.said.elapsed() > Self::NOTICE {
                    eprintln!("verifying: {compiled}, after {}", seconds(self.began.elapsed()));
                    self.said = Instant::now();
                }
                self.bar.set_message(compiled);
            }
        }
    }
}

impl Drop for Verifying {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar of bytes on a terminal; nothing elsewhere. A signal stops what it shows.
pub struct Bytes {
    bar: ProgressBar,
    interrupt: Interrupt,
}

impl Bytes {
    pub fn new() -> Result<Self> {
        let bar = ProgressBar::with_draw_target(Some(0), target());
        bar.set_style(ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?);
        Ok(Self { bar, interrupt: Interrupt::watch()? })
    }

    pub fn show(&self, done: u64, all: u64) -> Result<()> {
        self.bar.set_length(all);
        self.bar.set_position(done);
        self.interrupt.check("stopped between two pieces")
    }

    /// Takes the bar away, and gives what came of it, or the interruption with its outcome.
    pub fn end<T>(self, done: Result<T>, outcome: &str) -> Result<T> {
        self.bar.finish_and_clear();
        self.interrupt.instead(done, outcome)
    }
}

/// How far a hunt is: a bar on a terminal, and a line now and then elsewhere.
pub struct Hunting {
    bar: ProgressBar,
    runs: Option<usize>,
    said: Mutex<Instant>,
}

impl Hunting {
    const NOTICE: Duration = Duration::from_secs(30);

    pub fn begin(runs: Option<usize>) -> Self {
        let bar = ProgressBar::with_draw_target(runs.map(|runs| runs as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(match runs {
            Some(_) => "{bar:24} {elapsed}  {msg}",
            None => "{spinner} {elapsed}  {msg}",
        });
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(500));
        let hunting = Self { bar, runs, said: Mutex::new(Instant::now()) };
        hunting.bar.set_message("the first run");
        hunting
    }

    pub fn see(&self, caught: &Catch) {
        let runs = match self.runs {
            Some(all) => format!("{} of {}", caught.runs, count(all, "run")),
            None => count(caught.runs, "run"),
        };
        let Catch { failed, .. } = caught;
        let rate = share(*failed, caught.runs);
        let line = format!("{runs}, {failed} failed ({rate}), {}", bytes(caught.disk()));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bar.is_hidden() && said.elapsed() > Self::NOTICE {
            eprintln!("rr-patch: {line}, after {}", seconds(caught.took));
            *said = Instant::now();
        }
        self.bar.set_position((caught.runs + caught.unrecorded) as u64);
        self.bar.set_message(line);
    }

    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("rr-patch: {}", plain(line)));
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// How many of so many things are done, on a terminal; nothing elsewhere.
pub fn counted(all: usize, what: &str) -> Result<ProgressBar> {
    let bar = ProgressBar::with_draw_target(Some(all as u64), target());
    bar.set_style(ProgressStyle::with_template(&format!("{{bar:30}} {{pos}}/{{len}} {what}"))?);
    Ok(bar)
}
