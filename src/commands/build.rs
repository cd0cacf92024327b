//! `rr-patch build`: run the installer's own build for debugging.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Recording, Where};
use crate::binary::{Facts, hash, hash_file};
use crate::builder::{Built, Link, Page, Phase, Prepared, Removed, Request, Terraform, View, overlay};
use crate::error::{Error, Shown, plain};
use crate::patch::checkout::{Checkout, Commit};
use crate::patch::hunks::Around;
use crate::patch::journal::{self, About, Seen, carries};
use crate::patch::plan::{How, Plan, Rewrite, diff};
use crate::patch::recognise::{Applied, Found, Marked, Recognised};
use crate::patch::rules::{Options, Site, digest, source_paths};
use crate::provenance::{self, Artefact, Statement};
use crate::sys::process::{Environment, Interrupt, for_child};
use crate::ui::document::Format;
use crate::ui::report::Loose;
use crate::words::{bytes, count, quoted, seconds};

#[derive(Args, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct Build {
    #[command(flatten)]
    pub place: Where,

    /// Build only the providers of these platforms, and the core controller (repeatable)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub platform: Vec<String>,

    /// How many controllers make builds side by side [default: one for four processors, as memory allows]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// How controllers are linked: rr records dynamic ones many times faster
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Link::Auto)]
    pub link: Link,

    /// Where the installer goes [default: bin/openshift-install]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Leave out the control plane's programs, which are downloaded
    #[arg(long)]
    pub skip_envtest: bool,

    /// Leave out Terraform, which revisions before 2025-05 build too [default with --platform]
    #[arg(long)]
    pub skip_terraform: bool,

    /// Leave out `go generate ./data`
    #[arg(long)]
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

    /// Show all that the build prints on a terminal too
    #[arg(long, short)]
    pub verbose: bool,

    /// Build a recording installer, and write nothing to the checkout: Go reads the patched sources from elsewhere
    #[arg(long, conflicts_with = "unpatched")]
    pub overlay: bool,

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

const SCHEMA: &str = "rr-patch/build/1";

impl Build {
    pub fn run(&self, format: Format) -> Result<Loose> {
        let interrupt = Interrupt::hold()?;
        let checkout = self.place.checkout()?;
        let mut request = self.request()?;
        // No apply or revert may be halfway while the build begins; from then on its own lock holds them off.
        let changing = journal::Lock::take(&checkout)?;
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
            eprintln!("note: {}", plain(note));
        }
        if self.dry_run {
            let text = format!("{}nothing was removed or built (--dry-run)\n", prepared.told());
            let data = json!({
                "installer": prepared.installer.in_json(), "removed": prepared.removed, "left_out": prepared.aside,
                "controllers": prepared.to_be_made, "jobs": prepared.jobs, "dry_run": true,
            });
            return Ok(Loose::new(SCHEMA, text, data));
        }
        drop(changing);
        for Removed { path, why } in &prepared.removed {
            eprintln!("removed: {}: {}", path.shown(), plain(why));
        }
        // What the build prints is no part of a JSON document.
        let mut live: Box<dyn Write> = match format {
            Format::Text => Box::new(io::stdout()),
            Format::Json => Box::new(io::stderr()),
        };
        let terminal = io::stderr().is_terminal() && (format == Format::Json || io::stdout().is_terminal());
        let view = if terminal && !self.verbose { View::bars()? } else { View::Lines(&mut live) };
        let built = prepared.run(view)?;
        let page = self.timings.as_ref().map(|page| write_page(&built, page.as_deref())).transpose()?;
        if self.timings.is_none() {
            remove_page(&built)?;
        }
        let statement = self.write_statement(&checkout, patch, &built)?;
        Ok(report(&built, page.as_deref(), statement.as_deref(), !self.unpatched))
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
            clean: self.clean,
            command: std::env::args().collect::<Vec<_>>().join(" "),
        })
    }
}

/// The installer and its programs, a line each: how it is linked, and by which Go.
fn programs(built: &Built) -> String {
    let Some(installer) = &built.installer else {
        return "the result is not for Linux, and was not looked at\n".into();
    };
    let line = |name: &str, facts: &Facts| {
        let linked = match (facts.dynamic, facts.glibc) {
            (false, _) => "static".to_owned(),
            (true, None) => "dynamic".to_owned(),
            (true, Some((major, minor))) => format!("dynamic, glibc {major}.{minor} or newer"),
        };
        format!("  {name:<34} {:<10} {linked}\n", facts.go.as_deref().unwrap_or("not Go"))
    };
    let mut text = String::from("debug information, -N -l and sources are there:\n");
    text.push_str(&line("openshift-install", &installer.facts));
    let mut entries: Vec<_> = installer.entries.iter().filter(|entry| entry.controller()).collect();
    entries.sort_by_key(|entry| &entry.name);
    for (entry, facts) in entries.into_iter().filter_map(|entry| Some((entry, entry.facts()?))) {
        text.push_str(&line(&entry.name, facts));
    }
    text
}

fn report(built: &Built, page: Option<&Path>, statement: Option<&Path>, patched: bool) -> Loose {
    let mut text = format!("built `{}` in {}; log: {}\n", built.path.shown(), seconds(built.took), built.log.shown());
    if !built.phases.is_empty() {
        let _ = writeln!(text, "\n  {:<24} {:>14} {:>14}", "phase", "began after", "took");
        for phase in &built.phases {
            let told = |s: f64| seconds(Duration::from_secs_f64(s));
            let _ = writeln!(text, "  {:<24} {:>14} {:>14}", phase.name, told(phase.began), told(phase.seconds));
        }
    }
    let processors = built.cpu / built.took.as_secs_f64().max(0.001);
    let _ = writeln!(
        text,
        "\n{} of processor time ({processors:.1} processors), at most {} of memory, {} at once\n",
        seconds(Duration::from_secs_f64(built.cpu)),
        bytes(built.peak_memory),
        count(built.jobs, "controller"),
    );
    text.push_str(&programs(built));
    if !built.serves.is_empty() || !built.lacks.is_empty() {
        let list = |names: &[String]| if names.is_empty() { "no platform".to_owned() } else { names.join(", ") };
        let _ = write!(text, "has the controllers of: {}", list(&built.serves));
        let _ = writeln!(
            text,
            "{}",
            if built.lacks.is_empty() { String::new() } else { format!("; not of: {}", list(&built.lacks)) }
        );
    }
    let embedded: BTreeSet<&str> =
        built.installer.iter().flat_map(|installer| &installer.entries).map(|entry| entry.name.as_str()).collect();
    let lacks_control_plane =
        built.needs_control_plane && !["etcd", "kube-apiserver"].iter().all(|name| embedded.contains(name));
    if lacks_control_plane {
        text.push_str(
            "has no etcd and kube-apiserver of its own: it cannot start the control plane that controllers need\n",
        );
    }
    text.push_str(match built.terraform {
        Some(Terraform::LeftOut) => {
            "has no Terraform: what this revision installs through it, and not by Cluster API, fails\n"
        }
        Some(Terraform::Earlier) => "has the Terraform that an earlier build embedded\n",
        Some(Terraform::Built) | None => "",
    });
    if let Some(statement) = statement {
        let _ = writeln!(text, "where it comes from: {}", statement.shown());
    }
    if let Some(kept) = &built.overlay {
        let _ = writeln!(text, "patched sources, which the checkout does not have: {}", kept.folder.shown());
    }
    if let Some(page) = page {
        let _ = writeln!(text, "timings: {}", page.shown());
    }
    let next = next(built, patched);
    let _ = writeln!(text, "next: `{next}`");
    let embedded = |facts: &Facts, name: &str| {
        json!({
            "name": name, "go": facts.go, "dynamic": facts.dynamic, "glibc": facts.glibc.map(|(a, b)| format!("{a}.{b}")),
            "build_id": facts.build_id, "sha256": facts.sha256, "size": facts.size,
        })
    };
    let programs: Vec<_> = built
        .installer
        .iter()
        .flat_map(|installer| {
            let controllers = installer.entries.iter().filter(|entry| entry.controller());
            let controllers = controllers.filter_map(|entry| Some(embedded(entry.facts()?, &entry.name)));
            [embedded(&installer.facts, "openshift-install")].into_iter().chain(controllers)
        })
        .collect();
    let data = json!({
        "installer": built.path.in_json(), "log": built.log.in_json(), "seconds": built.took.as_secs_f64(), "patched": patched,
        "phases": built.phases, "processor_seconds": built.cpu, "peak_memory": built.peak_memory, "jobs": built.jobs,
        "go": built.go, "programs": programs, "removed": built.removed, "left_out": built.aside,
        "platforms": built.serves, "without": built.lacks, "control_plane": !lacks_control_plane, "timings": page.map(Path::in_json), "next": next,
        "terraform": built.terraform, "overlay": built.overlay.as_ref().map(|kept| kept.folder.in_json()),
        "provenance": statement.map(Path::in_json),
    });
    Loose::new(SCHEMA, text, data)
}

/// What to type next: an installer for another system, or one that records nothing, is only looked at.
fn next(built: &Built, patched: bool) -> String {
    let installer = quoted(&built.path.shown());
    match patched && built.installer.is_some() {
        true => format!("rr-patch record {installer} -- create cluster"),
        false => format!("rr-patch inspect {installer}"),
    }
}

/// The page of an installer, where no other file is named.
fn page_of(built: &Built) -> PathBuf {
    let mut path = built.path.clone().into_os_string();
    path.push(".timings.html");
    path.into()
}

/// Removes the page of an earlier build, which would be taken for that of this one.
fn remove_page(built: &Built) -> Result<()> {
    let path = page_of(built);
    match fs::read(&path) {
        Ok(bytes) if Page::is_one(&bytes) => {
            fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.shown()))
        }
        _ => Ok(()),
    }
}

/// Writes the page of `--timings`.
fn write_page(built: &Built, file: Option<&Path>) -> Result<PathBuf> {
    let path = match file {
        Some(file) => std::path::absolute(file)
            .with_context(|| format!("`--timings` takes a file, and not `{}`", file.shown()))?,
        None => page_of(built),
    };
    let about = vec![
        ("Processor time", seconds(Duration::from_secs_f64(built.cpu))),
        ("Most memory", bytes(built.peak_memory)),
        ("Go", built.go.clone()),
        ("Controllers at once", built.jobs.to_string()),
        ("Platforms", if built.serves.is_empty() { "none".into() } else { built.serves.join(", ") }),
    ];
    fs::write(&path, built.page(about).html()).with_context(|| format!("cannot write `{}`", path.shown()))?;
    Ok(path)
}

/// What the checkout carries.
#[derive(Default)]
struct Patch {
    /// Of the difference that `rr-patch diff` would print, edits made since included.
    sha256: Option<String>,
    options: serde_json::Value,
    /// Of the rules that this build carries, where they made the changes.
    rules: Option<String>,
    /// The commit of the changes, where they are one.
    commit: Option<Commit>,
}

impl Patch {
    fn of(checkout: &Checkout, plan: &Plan, options: serde_json::Value) -> Result<Self> {
        let sha256 = hash(&diff(checkout.below_top(), plan, Around::Lines(3))?);
        Ok(Self { sha256: Some(sha256), options, rules: Some(digest()), commit: None })
    }
}

/// # Errors
/// A refusal where the checkout does not carry the whole patch.
fn patch(checkout: &Checkout) -> Result<Patch> {
    let refusal = |message: String| {
        Error::refused(message).hint("`rr-patch apply` patches it; `rr-patch build --unpatched` builds it as it is")
    };
    let Applied { journal, found } = match Recognised::find(checkout)? {
        Some(Recognised::Applied(applied)) => *applied,
        Some(Recognised::Marked(marked)) => return of_marked(checkout, &marked, refusal),
        None => {
            let root = checkout.root().shown();
            return Err(refusal(format!("`{root}` is not patched: its installer would record nothing")).into());
        }
    };
    let seen = journal.look(checkout)?;
    let undone: Vec<&str> =
        seen.iter().filter(|seen| !carries(&journal, seen)).map(|seen| seen.rewrite.path.as_str()).collect();
    if !undone.is_empty() {
        let error = refusal(format!("`{}` is only partly patched", checkout.root().shown()));
        return Err(undone.into_iter().fold(error, |error, path| error.detail(format!("not patched: {path}"))).into());
    }
    let now = |seen: &Seen| Rewrite { after: seen.current.clone(), ..seen.rewrite.clone() };
    let plan = Plan { rewrites: seen.iter().map(now).collect(), ..journal.plan.clone() };
    let structural = matches!(&journal.about.how, How::Structural { .. });
    let options = match &journal.about.how {
        How::Structural { options } => json!(options),
        classic @ How::Classic { .. } => json!(classic),
    };
    let patch = Patch::of(checkout, &plan, options)?;
    // Rules of another version are not known here.
    let ours = structural && journal.about.tool == env!("CARGO_PKG_VERSION");
    Ok(Patch {
        rules: patch.rules.filter(|_| ours),
        commit: commit_of(checkout, &journal.about, found.as_ref()),
        ..patch
    })
}

/// The commit of the changes that is checked out, or stands below what is.
fn commit_of(checkout: &Checkout, about: &About, found: Option<&Found>) -> Option<Commit> {
    let head = checkout.head()?.to_owned();
    let of_journal = about.commit.clone().filter(|commit| checkout.stands_on(commit));
    let of_git = found.filter(|found| found.committed && found.commit != head);
    of_journal
        .or_else(|| of_git.map(|found| Commit { id: head, parent: found.commit.clone(), branch: None, from: None }))
}

/// A checkout whose originals are not known: its patch set is its sources, whole.
fn of_marked(checkout: &Checkout, marked: &Marked, refusal: impl Fn(String) -> Error) -> Result<Patch> {
    if !marked.open.is_empty() {
        let error = refusal(format!("`{}` is only partly patched", checkout.root().shown()));
        let place = |site: &Site| format!("not patched: {}:{}, {}", site.path, site.line, site.change);
        return Err(marked.open.iter().map(place).fold(error, Error::detail).into());
    }
    let mut rewrites = Vec::new();
    for path in source_paths() {
        let after = checkout.read(&path)?;
        rewrites.extend(after.map(|after| Rewrite { path, before: None, after: Some(after) }));
    }
    let plan = Plan { rewrites, sites: Vec::new(), shape: String::new() };
    let patch = Patch::of(checkout, &plan, marked.mark.given.clone())?;
    let ours = marked.mark.tool == env!("CARGO_PKG_VERSION");
    Ok(Patch { rules: patch.rules.filter(|_| ours), ..patch })
}
