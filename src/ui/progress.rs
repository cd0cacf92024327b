//! How far a command is, on stderr: bars on a terminal, and a line now and then elsewhere.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::manners::{Verbosity, verbosity};
use crate::builder::verify::Progress;
use crate::error::plain;
use crate::sys::process::Interrupt;
use crate::words::{count, seconds};

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

/// How many of so many things are done, on a terminal; nothing elsewhere.
pub fn counted(all: usize, what: &str) -> Result<ProgressBar> {
    let bar = ProgressBar::with_draw_target(Some(all as u64), target());
    bar.set_style(ProgressStyle::with_template(&format!("{{bar:30}} {{pos}}/{{len}} {what}"))?);
    Ok(bar)
}
