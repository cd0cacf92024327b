//! `rr-patch build`: run the installer's own build for debugging.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{PARTS, Recording, Where, say};
use crate::binary::hash_file;
use crate::builder::{
    Built, Link, Patch, Phase, Prepared, Removed, Request, View, overlay, patch, remove_page, write_page,
};
use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::patch::journal;
use crate::patch::rules::{Options, chaos};
use crate::provenance::{self, Artefact, Statement};
use crate::sys::process::{Environment, Interrupt, for_child};
use crate::ui;
use crate::ui::document::{Format, Report};
use crate::ui::manners::{Verbosity, verbosity};

const EXAMPLES: &str = "\
Examples:
  rr-patch build --platform aws                 # one provider, and the core controller
  rr-patch build ~/src/installer --platform aws,vsphere --jobs 2 --timings
  rr-patch build --overlay                      # leave the checkout as it is
  rr-patch build --env GOTMPDIR=/var/tmp --skip-envtest";

#[derive(Args, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
#[command(after_help = EXAMPLES)]
pub struct Build {
    #[command(flatten)]
    pub place: Where,

    /// Build only the providers of these platforms, and the core controller (repeatable)
    #[arg(long, help_heading = PARTS, value_name = "NAME", value_delimiter = ',')]
    pub platform: Vec<String>,

    /// How many controllers make builds side by side [default: one for four processors, as memory allows]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// How controllers are linked: rr records dynamic ones many times faster
    #[arg(long, help_heading = PARTS, value_enum, value_name = "HOW", default_value_t = Link::Auto)]
    pub link: Link,

    /// Where the installer goes [default: bin/openshift-install]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Leave out the control plane's programs, which are downloaded
    #[arg(long, help_heading = PARTS)]
    pub skip_envtest: bool,

    /// Leave out Terraform, which revisions before 2025-05 build too [default with --platform]
    #[arg(long, help_heading = PARTS)]
    pub skip_terraform: bool,

    /// Leave out `go generate ./data`
    #[arg(long, help_heading = PARTS)]
    pub skip_generation: bool,

    /// Set a variable for build.sh (repeatable); MODE=dev is set, and TAGS=release unless set here
    #[arg(long, value_name = "K=V", value_parser = assignment)]
    pub env: Vec<(String, String)>,

    /// Remove first what earlier builds made: controllers, their zip, the installer
    #[arg(long)]
    pub clean: bool,

    /// Say what would be removed and built, and do neither
    #[arg(long)]
    pub dry_run: bool,

    /// Write a page that shows where the time went [default: the installer's name with .timings.html]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub timings: Option<Option<PathBuf>>,

    /// Build a recording installer, and write nothing to the checkout: Go reads the patched sources from elsewhere
    #[arg(long, conflicts_with = "unpatched")]
    pub overlay: bool,

    /// Build controllers whose goroutines yield where they meet, once RR_PATCH_CHAOS asks for it
    #[arg(long)]
    pub chaos: bool,

    #[command(flatten, next_help_heading = "How to record, with --overlay")]
    pub recording: Recording,

    /// The branch that is checked out, for the provenance of a build with a detached HEAD
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,

    /// Build a checkout that is not patched
    #[arg(long)]
    pub unpatched: bool,

    /// Arguments for build.sh
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

impl ValueEnum for Link {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Dynamic, Self::Static]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto").help("Dynamically where there is a C compiler for the target"),
            Self::Dynamic => PossibleValue::new("dynamic").help("By make and cgo, before build.sh finds them made"),
            Self::Static => PossibleValue::new("static").help("As build.sh does it"),
        })
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

impl Build {
    pub fn run(&self, format: Format) -> Result<Report<ui::build::Built>> {
        let interrupt = Interrupt::hold()?;
        let checkout = self.place.checkout()?;
        let mut request = self.request()?;
        // No apply or revert may be halfway while the build begins; from then on its own lock holds them off.
        let changing = journal::JournalLock::take(&checkout)?;
        let patch = match (self.unpatched, self.overlay) {
            (true, _) => None,
            (false, false) => Some(patch(&checkout)?),
            (false, true) => {
                let plan = request.overlay.insert(overlay::plan(&checkout, &self.recording.options())?);
                Some(Patch::of(&checkout, plan, json!(self.recording.options()))?)
            }
        };
        let nothing = "nothing was removed or built";
        let prepared = interrupt.instead(Prepared::new(&checkout, &request), nothing)?;
        interrupt.check(nothing)?;
        for note in &prepared.notes {
            say(&format!("note: {note}"));
        }
        if self.dry_run {
            return Ok(Report::done(ui::build::Built::planned(&prepared)));
        }
        drop(changing);
        for Removed { path, why } in &prepared.removed {
            say(&format!("removed: {}: {why}", path.shown()));
        }
        // What the build prints is no part of a JSON document.
        let mut live: Box<dyn Write> = match format {
            Format::Text => Box::new(io::stdout()),
            Format::Json => Box::new(io::stderr()),
        };
        let terminal = io::stderr().is_terminal() && (format == Format::Json || io::stdout().is_terminal());
        let view = if terminal && verbosity() != Verbosity::Verbose { View::bars()? } else { View::Lines(&mut live) };
        let built = prepared.run(view)?;
        let page = self.timings.as_ref().map(|page| write_page(&built, page.as_deref())).transpose()?;
        if self.timings.is_none() {
            remove_page(&built)?;
        }
        let statement = self.write_statement(&checkout, patch, &built)?;
        let made = ui::build::Built::made(&built, page.as_deref(), statement.as_deref(), !self.unpatched);
        Ok(Report::done(made))
    }

    /// Writes where the installer comes from into a file beside it.
    fn write_statement(&self, checkout: &Checkout, patch: Option<Patch>, built: &Built) -> Result<Option<PathBuf>> {
        let Some(installer) = &built.installer else { return Ok(None) };
        let mut environment: Environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        environment.extend(built.environment.clone());
        if !self.platform.is_empty() {
            environment.insert("PROVSUBDIRS".into(), built.providers.join(" "));
        }
        let phase = |phase: &Phase| provenance::Phase {
            name: phase.name.clone(),
            started: built.began + Duration::from_secs_f64(phase.began),
            seconds: phase.seconds,
        };
        let Patch { sha256, options, rules, commit } = patch.unwrap_or_default();
        let from = commit.as_ref().and_then(|commit| commit.from.as_deref()?.strip_prefix("refs/heads/"));
        let statement = Statement::new(&provenance::Built {
            base: commit.as_ref().map(|commit| commit.parent.clone()).or_else(|| checkout.head().map(str::to_owned)),
            patched_commit: commit.as_ref().and_then(|_| checkout.head().map(str::to_owned)),
            branch: self.branch.clone().or_else(|| from.map(str::to_owned)).or_else(|| checkout.branch()),
            remote: checkout.remote(),
            patch: sha256,
            rules,
            chaos: built.chaos.clone(),
            options,
            overlay: built.overlay.as_ref(),
            platforms: &self.platform,
            arguments: &self.arguments,
            environment: &environment,
            tool: env!("CARGO_PKG_VERSION"),
            go: Some(built.go.clone()),
            artefacts: Artefact::all(&built.path, installer),
            phases: built.phases.iter().map(phase).collect(),
            byproducts: vec![("build.log".into(), "text/plain", hash_file(&built.log)?.0)],
            started: built.began,
            finished: built.began + built.took,
        });
        let beside = provenance::path_of(&built.path);
        statement.write(&beside)?;
        Ok(Some(beside))
    }

    fn request(&self) -> Result<Request> {
        if !self.overlay && self.recording.options() != Options::default() {
            return Err(Error::usage("how to record is chosen by `rr-patch apply`, or with `--overlay`")
                .hint("leave it out, or add `--overlay`")
                .into());
        }
        let mut environment: Environment = self.env.iter().cloned().collect();
        if let Some(output) = &self.output {
            // build.sh runs in the checkout; the user may not.
            let output = std::path::absolute(output)
                .with_context(|| format!("`--output` takes a file, and not `{}`", output.shown()))?;
            environment.insert("OUTPUT".into(), for_child(&output)?.to_owned());
        }
        for (set, name) in [
            (self.skip_envtest, "SKIP_ENVTEST"),
            (self.skip_terraform, "SKIP_TERRAFORM"),
            (self.skip_generation, "SKIP_GENERATION"),
        ] {
            if set {
                environment.insert(name.into(), "y".into());
            }
        }
        Ok(Request {
            arguments: self.arguments.clone(),
            environment,
            platforms: self.platform.iter().map(|name| name.trim().to_owned()).collect(),
            jobs: self.jobs.map(usize::from),
            link: self.link,
            patched: !self.unpatched,
            overlay: None,
            chaos: self.chaos.then(|| chaos::rules(None)).transpose()?,
            clean: self.clean,
            command: std::env::args().collect::<Vec<_>>().join(" "),
        })
    }
}
