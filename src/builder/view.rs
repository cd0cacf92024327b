//! What a person sees while it builds: on a terminal the phases that go on, with their times and what
//! is compiled for each; anywhere else the lines as they come.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::phases::Phases;
use super::sample::Sampler;
use crate::words::{bytes, seconds};

/// How a build shows itself.
pub enum View<'a> {
    /// All that it prints.
    Lines(&'a mut dyn Write),
    /// A few lines of a terminal, drawn anew.
    Bars(Bars),
}

/// The lines of a terminal.
pub struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    last: ProgressBar,
    open: BTreeMap<String, ProgressBar>,
    told: usize,
    /// How many controllers are to be made.
    controllers: usize,
}

impl View<'_> {
    /// The view on a terminal.
    pub fn bars() -> Result<Self> {
        let all = MultiProgress::new();
        let bar = |template: &str| -> Result<ProgressBar> {
            Ok(all.add(ProgressBar::new_spinner().with_style(ProgressStyle::with_template(template)?)))
        };
        let (head, last) = (bar("{spinner} {msg}")?, bar("  {wide_msg:.dim}")?);
        Ok(Self::Bars(Bars { all, head, last, open: BTreeMap::new(), told: 0, controllers: 0 }))
    }

    /// Shows what the build has printed.
    pub fn print(&mut self, bytes: &[u8]) -> Result<()> {
        let Self::Lines(live) = self else { return Ok(()) };
        match live.write_all(bytes).and_then(|()| live.flush()) {
            // Who reads us has gone away; the log still tells.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context("cannot show the build"),
        }
    }
}

impl Bars {
    /// The same for so many controllers.
    pub fn of(self, controllers: usize) -> Self {
        Self { controllers, ..self }
    }

    /// Draws the state of things.
    pub fn draw(&mut self, phases: &Phases, sampler: &Sampler) {
        for phase in phases.done.iter().skip(self.told) {
            let took = seconds(std::time::Duration::from_secs_f64(phase.seconds));
            let _ = self.all.println(format!("  {:<24} {took}", phase.name));
        }
        self.told = phases.done.len();
        let load = sampler.loads.last();
        self.head.set_message(format!(
            "building, {} so far; {} of {} controllers; {:.1} processors, {} of memory",
            seconds(phases.elapsed()),
            phases.made,
            self.controllers,
            load.map_or(0.0, |load| load.cpu),
            bytes(load.map_or(0, |load| load.memory)),
        ));
        self.head.tick();
        self.last.set_message(phases.last_line().to_owned());
        let now = phases.elapsed().as_secs_f64();
        self.open.retain(|name, bar| {
            let goes_on = phases.open.iter().any(|open| &open.name == name);
            if !goes_on {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            goes_on
        });
        for open in &phases.open {
            let bar = self.open.entry(open.name.clone()).or_insert_with(|| {
                let style = ProgressStyle::with_template("  {wide_msg}").unwrap_or(ProgressStyle::default_spinner());
                self.all.insert_before(&self.last, ProgressBar::new_spinner().with_style(style))
            });
            let so_far = seconds(std::time::Duration::from_secs_f64((now - open.began).max(0.0)));
            bar.set_message(format!("{:<24} {so_far:<14} {}", open.name, open.works_on));
            bar.tick();
        }
    }

    /// Leaves only the phases that were.
    pub fn end(&mut self, phases: &Phases, sampler: &Sampler) {
        self.draw(phases, sampler);
        self.all.clear().unwrap_or_default();
        for bar in [&self.head, &self.last].into_iter().chain(self.open.values()) {
            bar.finish_and_clear();
        }
    }
}
