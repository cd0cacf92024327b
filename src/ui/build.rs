//! What `build` made, or would make.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use crate::binary::Facts;
use crate::builder::{self, Phase, Prepared, Removed, Terraform};
use crate::error::{Shown, plain_name};
use crate::patch::rules::chaos::awake;
use crate::words::{bytes, count, quoted, seconds};

/// What `build` made, or with `--dry-run` would make.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Built {
    Made(Box<Made>),
    Planned(Planned),
}

/// `--dry-run`: nothing was removed or built.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Planned {
    /// Where the installer would be.
    installer: String,
    removed: Vec<Removed>,
    /// Controllers that lie there, and would not be embedded.
    left_out: Vec<String>,
    /// Those that would be made.
    controllers: Vec<String>,
    /// How many of them at once.
    jobs: usize,
    /// Always true.
    dry_run: bool,
    /// The lines that people get.
    #[serde(skip)]
    text: String,
}

/// What was built.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    installer: String,
    /// What the build printed.
    log: String,
    seconds: f64,
    patched: bool,
    phases: Vec<Phase>,
    processor_seconds: f64,
    /// The most bytes that all processes held in memory at a time.
    peak_memory: u64,
    /// How many controllers were made at once.
    jobs: usize,
    /// The Go that built it.
    go: String,
    /// The installer and its controllers; none where it is for another system than Linux.
    programs: Vec<Program>,
    removed: Vec<Removed>,
    /// Controllers that lie there, and are not embedded.
    left_out: Vec<String>,
    /// The platforms that it can install by Cluster API.
    platforms: Vec<String>,
    /// Those that it lacks a provider for.
    without: Vec<String>,
    /// Whether it has the control plane that the controllers need.
    control_plane: bool,
    /// The page of `--timings`.
    timings: Option<String>,
    /// What to type next.
    next: String,
    /// What became of Terraform, where the checkout builds it.
    terraform: Option<Terraform>,
    /// The folder of the patched sources that were read from an overlay.
    overlay: Option<String>,
    /// The SHA-256 of the rules of the chaos overlay, where controllers were built with it.
    chaos: Option<String>,
    /// The file that says where the installer comes from.
    provenance: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Program {
    name: String,
    go: Option<String>,
    dynamic: bool,
    /// The oldest glibc that it runs with: `2.34`.
    glibc: Option<String>,
    build_id: Option<String>,
    sha256: String,
    size: u64,
}

impl Program {
    fn new(name: &str, facts: &Facts) -> Self {
        Self {
            name: name.to_owned(),
            go: facts.go.clone(),
            dynamic: facts.dynamic,
            glibc: facts.glibc.map(|(major, minor)| format!("{major}.{minor}")),
            build_id: facts.build_id.clone(),
            sha256: facts.sha256.clone(),
            size: facts.size,
        }
    }

    fn all(built: &builder::Built) -> Vec<Self> {
        let Some(installer) = &built.installer else { return Vec::new() };
        let controllers = installer.entries.iter().filter(|entry| entry.controller());
        let controllers = controllers.filter_map(|entry| Some(Self::new(&entry.name, entry.facts()?)));
        [Self::new("openshift-install", &installer.facts)].into_iter().chain(controllers).collect()
    }
}

impl Built {
    pub fn planned(prepared: &Prepared) -> Self {
        Self::Planned(Planned {
            installer: prepared.installer.in_json(),
            removed: prepared.removed.clone(),
            left_out: prepared.aside.clone(),
            controllers: prepared.to_be_made.clone(),
            jobs: prepared.jobs,
            dry_run: true,
            text: prepared.told(),
        })
    }

    /// With the page of `--timings` and the provenance statement, where they were written.
    pub fn made(built: &builder::Built, page: Option<&Path>, statement: Option<&Path>, patched: bool) -> Self {
        let embedded: BTreeSet<&str> =
            built.installer.iter().flat_map(|installer| &installer.entries).map(|entry| entry.name.as_str()).collect();
        let control_plane =
            !built.needs_control_plane || ["etcd", "kube-apiserver"].iter().all(|name| embedded.contains(name));
        Self::Made(Box::new(Made {
            installer: built.path.in_json(),
            log: built.log.in_json(),
            seconds: built.took.as_secs_f64(),
            patched,
            phases: built.phases.clone(),
            processor_seconds: built.cpu,
            peak_memory: built.peak_memory,
            jobs: built.jobs,
            go: built.go.clone(),
            programs: Program::all(built),
            removed: built.removed.clone(),
            left_out: built.aside.clone(),
            platforms: built.serves.clone(),
            without: built.lacks.clone(),
            control_plane,
            timings: page.map(Path::in_json),
            next: next(built, patched),
            terraform: built.terraform,
            overlay: built.overlay.as_ref().map(|kept| kept.folder.in_json()),
            chaos: built.chaos.clone(),
            provenance: statement.map(Path::in_json),
        }))
    }
}

/// What to type next: an installer for another system, or one that records nothing, is only looked at.
fn next(built: &builder::Built, patched: bool) -> String {
    let installer = quoted(&built.path.shown());
    match patched && built.installer.is_some() {
        true => format!("rr-patch record {installer} -- create cluster"),
        false => format!("rr-patch inspect {installer}"),
    }
}

impl Document for Built {
    const SCHEMA: &'static str = "rr-patch/build/1";
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(made) => made.fmt(f),
            Self::Planned(planned) => writeln!(f, "{}nothing was removed or built (--dry-run)", planned.text),
        }
    }
}

fn time(seconds: f64) -> String {
    self::seconds(Duration::from_secs_f64(seconds))
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "built `{}` in {}; log: {}",
            plain_name(&self.installer),
            time(self.seconds),
            plain_name(&self.log)
        )?;
        if !self.phases.is_empty() {
            writeln!(f, "\n  {:<24} {:>14} {:>14}", "phase", "began after", "took")?;
        }
        for Phase { name, began, seconds } in &self.phases {
            writeln!(f, "  {name:<24} {:>14} {:>14}", time(*began), time(*seconds))?;
        }
        let processors = self.processor_seconds / self.seconds.max(0.001);
        writeln!(
            f,
            "\n{} of processor time ({processors:.1} processors), at most {} of memory, {} at once\n",
            time(self.processor_seconds),
            bytes(self.peak_memory),
            count(self.jobs, "controller"),
        )?;
        self.programs(f)?;
        self.contents(f)?;
        if let Some(statement) = &self.provenance {
            writeln!(f, "where it comes from: {}", plain_name(statement))?;
        }
        if let Some(folder) = &self.overlay {
            writeln!(f, "patched sources, which the checkout does not have: {}", plain_name(folder))?;
        }
        if self.chaos.is_some() {
            writeln!(f, "controllers have the chaos overlay, which sleeps until `{}` is set", awake("1/4"))?;
        }
        if let Some(page) = &self.timings {
            writeln!(f, "timings: {}", plain_name(page))?;
        }
        writeln!(f, "next: `{}`", self.next)
    }
}

impl Made {
    /// The installer and its controllers, a line each: how it is linked, and by which Go.
    fn programs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((installer, controllers)) = self.programs.split_first() else {
            return writeln!(f, "the result is not for Linux, and was not looked at");
        };
        writeln!(f, "debug information, -N -l and sources are there:")?;
        let mut controllers: Vec<_> = controllers.iter().collect();
        controllers.sort_by_key(|program| &program.name);
        [installer].into_iter().chain(controllers).try_for_each(|program| {
            let linked = match (program.dynamic, &program.glibc) {
                (false, _) => "static".to_owned(),
                (true, None) => "dynamic".to_owned(),
                (true, Some(glibc)) => format!("dynamic, glibc {glibc} or newer"),
            };
            writeln!(f, "  {:<34} {:<10} {linked}", program.name, program.go.as_deref().unwrap_or("not Go"))
        })
    }

    fn contents(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.platforms.is_empty() || !self.without.is_empty() {
            let list = |names: &[String]| if names.is_empty() { "no platform".to_owned() } else { names.join(", ") };
            let without = match self.without.is_empty() {
                true => String::new(),
                false => format!("; not of: {}", list(&self.without)),
            };
            writeln!(f, "has the controllers of: {}{without}", list(&self.platforms))?;
        }
        if !self.control_plane {
            writeln!(
                f,
                "has no etcd and kube-apiserver of its own: it cannot start the control plane that controllers need"
            )?;
        }
        match self.terraform {
            Some(Terraform::LeftOut) => {
                writeln!(f, "has no Terraform: what this revision installs through it, and not by Cluster API, fails")
            }
            Some(Terraform::Earlier) => writeln!(f, "has the Terraform that an earlier build embedded"),
            Some(Terraform::Built) | None => Ok(()),
        }
    }
}
