//! `rr-patch ci`: recording installers of many branches, built by an engine that people have.

use std::collections::HashSet;
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::build::Build;
use super::{RECORDING, Recording, Where};
use crate::ci::matrix::{Matrix, Wanted};
use crate::ci::row::{self, Row, platform_in_words};
use crate::ci::{Files, Pipeline, artefacts, github, gitlab, prow, tekton};
use crate::error::{Error, Shown};
use crate::patch::checkout::{Checkout, History};
use crate::ui::document::{Document, Format, Report};
use crate::words::count;

const EXAMPLES: &str = "\
Examples:
  rr-patch ci matrix --refs 'refs/heads/release-*' --platform aws,vsphere
  rr-patch ci github --remote URL --tool URL -o .github/workflows";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Ci {
    #[command(subcommand)]
    pub command: Step,
}

#[derive(Subcommand, Debug)]
pub enum Step {
    /// Say which installers there are to build: a row for each branch and platform that fits
    Matrix(MakeMatrix),
    /// Build one row: fetch its commit, build it with an overlay, and collect what came out
    Build(BuildRow),
    /// Print a workflow for GitHub Actions
    Github(ForGithub),
    /// Print a pipeline for GitLab CI
    Gitlab(ForGitlab),
    /// Print tasks and a pipeline for Tekton
    Tekton(ForTekton),
    /// Print a configuration of ci-operator for each branch
    Prow(ForProw),
}

/// The heading of the options of [`Which`].
const WHICH: &str = "Which installers";

/// Which branches and platforms.
#[derive(Args, Debug, Clone)]
pub struct Which {
    /// Globs of references (repeatable) [default: $RR_PATCH_REFS, or else refs/heads/*]
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub refs: Vec<String>,

    /// A platform for which each branch is built (repeatable) [default: $RR_PATCH_PLATFORMS, or else all in one installer]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub platform: Vec<String>,
}

impl Which {
    fn refs(&self) -> Vec<String> {
        let given = or_environment(&self.refs, "RR_PATCH_REFS");
        if given.is_empty() { vec!["refs/heads/*".into()] } else { given }
    }

    fn platforms(&self) -> Vec<String> {
        or_environment(&self.platform, "RR_PATCH_PLATFORMS")
    }
}

fn or_environment(given: &[String], name: &str) -> Vec<String> {
    let words = |text: String| text.split(',').map(|word| word.trim().to_owned()).collect();
    let list: Vec<String> = if given.is_empty() { variable(name).map_or(Vec::new(), words) } else { given.to_vec() };
    list.into_iter().filter(|word| !word.is_empty()).collect()
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

const MATRIX_EXAMPLES: &str = "\
Examples:
  rr-patch ci matrix --refs 'refs/heads/release-*' --platform aws,vsphere
  rr-patch ci matrix installer.git --document matrix.json --changed-since built.json";

#[derive(Args, Debug)]
#[command(after_help = MATRIX_EXAMPLES)]
pub struct MakeMatrix {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten, next_help_heading = WHICH)]
    pub which: Which,

    #[command(flatten, next_help_heading = RECORDING)]
    pub recording: Recording,

    /// The most rows that the engine takes; those of the oldest commits are left out, and named
    #[arg(long, value_name = "N", default_value_t = github::LIMIT)]
    pub limit: usize,

    /// Skip what was built before: rows of the matrix in this file with the same commit, tool and options
    #[arg(long, value_name = "FILE")]
    pub changed_since: Option<PathBuf>,

    /// Write the matrix as JSON into a file too
    #[arg(long, value_name = "FILE")]
    pub document: Option<PathBuf>,

    /// Write the numbers of all rows into a file, as a result of Tekton's
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,

    /// Write the tables in Markdown into a file
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

/// A matrix, and what GitHub's runner is to make of it, if it asked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Planned {
    #[serde(flatten)]
    matrix: Matrix,
    #[serde(skip)]
    for_runner: Option<String>,
}

impl Document for Planned {
    const SCHEMA: &'static str = Matrix::SCHEMA;
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.for_runner {
            Some(lines) => f.write_str(lines),
            None => self.matrix.fmt(f),
        }
    }
}

impl MakeMatrix {
    /// For GitHub's runner the outputs and the summary go into the files that it names, or else to standard output.
    pub fn run(&self, for_github: bool) -> Result<Report<Planned>> {
        let history = History::open(self.place.repo.as_deref(), self.place.root.as_deref())?;
        let built = self.changed_since.as_deref().map_or(Ok(HashSet::new()), built_before)?;
        let (refs, platforms) = (self.which.refs(), self.which.platforms());
        let options = self.recording.options();
        let matrix = Matrix::of(&history, &Wanted { refs, platforms, options, limit: self.limit, built })?;
        if let Some(file) = &self.document {
            artefacts::write(file, matrix.document()?.as_bytes())?;
        }
        if let Some(file) = &self.ids {
            artefacts::write(file, tekton::ids(&matrix).as_bytes())?;
        }
        if let Some(file) = &self.summary {
            artefacts::write(file, matrix.markdown().as_bytes())?;
        }
        let mut for_runner = None;
        if for_github {
            let mut lines = github::annotations(&matrix);
            match variable("GITHUB_OUTPUT") {
                Some(file) => artefacts::append(&file.into(), &github::outputs(&matrix))?,
                None => lines.push_str(&github::outputs(&matrix)),
            }
            if let Some(file) = variable("GITHUB_STEP_SUMMARY") {
                artefacts::append(&file.into(), &matrix.markdown())?;
            }
            for_runner = Some(lines);
        }
        // Branches that do not fit are never in the way of the others; where there are no others, that is found.
        let some = !matrix.rows.is_empty() || !matrix.skipped.is_empty();
        Ok(Report::in_order(Planned { matrix, for_runner }, some))
    }
}

/// What the matrix in a file says is built. The first run has no such file.
fn built_before(file: &Path) -> Result<HashSet<String>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Matrix::parse(&bytes, &file.shown())?.built()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", file.shown())),
    }
}

const ROW_EXAMPLES: &str = "\
Examples:
  rr-patch ci build --matrix matrix.json --id 0 --remote URL
  rr-patch ci build                             # the row in $RR_PATCH_ROW";

#[derive(Args, Debug)]
#[command(after_help = ROW_EXAMPLES)]
pub struct BuildRow {
    /// The row, as the matrix has it [default: $RR_PATCH_ROW]
    #[arg(long, value_name = "JSON", conflicts_with = "matrix")]
    pub row: Option<String>,

    /// Take the row from the matrix in this file
    #[arg(long, value_name = "FILE", requires = "id")]
    pub matrix: Option<PathBuf>,

    /// The number of the row in the matrix
    #[arg(long, value_name = "N", requires = "matrix")]
    pub id: Option<usize>,

    /// Where the installer's branches are [default: $RR_PATCH_REMOTE]
    #[arg(long, value_name = "URL")]
    pub remote: Option<String>,

    /// Build this checkout, whatever it is at, and fetch nothing
    #[arg(long, value_name = "DIR", conflicts_with = "work")]
    pub checkout: Option<PathBuf>,

    /// A folder for the work tree, which is not there yet
    #[arg(long, value_name = "DIR", default_value = "installer")]
    pub work: PathBuf,

    /// Where the folder of artefacts goes
    #[arg(long, short, value_name = "DIR", default_value = "artefacts")]
    pub output: PathBuf,

    /// Leave out the control plane's programs, which are downloaded
    #[arg(long)]
    pub skip_envtest: bool,
}

/// What was built of a row.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RowBuilt {
    #[serde(rename = "ref")]
    reference: String,
    commit: String,
    /// Empty for all.
    platform: String,
    /// The folder of artefacts.
    folder: String,
    /// What is in it.
    files: Vec<String>,
    next: Vec<String>,
}

impl Document for RowBuilt {
    const SCHEMA: &'static str = "rr-patch/ci-build/1";
}

impl fmt::Display for RowBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platform = platform_in_words(&self.platform);
        writeln!(f, "built {} of `{}` for {platform}: `{}`", self.commit, self.reference, self.folder)?;
        self.files.iter().try_for_each(|file| writeln!(f, "  {file}"))?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}

impl BuildRow {
    pub fn run(&self) -> Result<Report<RowBuilt>> {
        let mut row = self.row()?;
        let work = match &self.checkout {
            Some(checkout) => {
                let head = Checkout::discover(Some(checkout), None)?.head().map(str::to_owned);
                row.commit = head.ok_or_else(|| {
                    Error::refused(format!("`{}` has no commit", checkout.shown())).hint("leave `--checkout` out")
                })?;
                row.name = row::name(&row.reference, &row.platform, &row.commit);
                checkout.clone()
            }
            None => {
                let remote = self.remote.clone().or_else(|| variable("RR_PATCH_REMOTE"));
                let remote = remote.ok_or_else(|| {
                    Error::usage("nothing says where the installer's branches are").hint("`--remote URL`")
                })?;
                artefacts::fetch(&row, &remote, &self.work)?;
                self.work.clone()
            }
        };
        let folder = self.output.join(&row.name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.shown()))?;
        let build = Build {
            place: Where { repo: Some(work.clone()), root: None },
            platform: Some(row.platform.clone()).filter(|platform| !platform.is_empty()).into_iter().collect(),
            output: Some(folder.join(artefacts::INSTALLER)),
            skip_envtest: self.skip_envtest,
            timings: Some(None),
            overlay: true,
            recording: row.options()?.into(),
            branch: Some(row.reference.clone()),
            ..Build::default()
        };
        // Its document is no part of ours; what it prints as it goes is on standard error.
        build.run(Format::Json)?;
        let log = Checkout::discover(Some(&work), None)?.state_dir().join("build.log");
        let text = fs::read(&log).with_context(|| format!("cannot read `{}`", log.shown()))?;
        artefacts::write(&folder.join("build.log"), &text)?;
        let files = artefacts::complete(&folder)?;
        let installer = folder.join(artefacts::INSTALLER).shown();
        Ok(Report::done(RowBuilt {
            reference: row.reference,
            commit: row.commit,
            platform: row.platform,
            folder: folder.in_json(),
            files,
            next: vec![format!("rr-patch inspect {installer}")],
        }))
    }

    fn row(&self) -> Result<Row> {
        let Some((file, number)) = self.matrix.as_ref().zip(self.id) else {
            let text = self.row.clone().or_else(|| variable("RR_PATCH_ROW"));
            let text = text.ok_or_else(|| {
                Error::usage("no row is given").hint("`--row JSON`, $RR_PATCH_ROW, or `--matrix FILE --id N`")
            })?;
            return Ok(Row::decode(&text)?);
        };
        let bytes = fs::read(file).with_context(|| format!("cannot read `{}`", file.shown()))?;
        let matrix = Matrix::parse(&bytes, &file.shown())?;
        let row = matrix.rows.get(number).ok_or_else(|| {
            Error::usage(format!("`{}` has no row {number}", file.shown()))
                .hint(format!("it has {}", count(matrix.rows.len(), "row")))
        })?;
        Ok(Row::decode(&row.encoded())?)
    }
}

/// What a pipeline is made from.
#[derive(Args, Debug, Clone)]
pub struct Making {
    /// Where the installer's branches are: a URL that git takes
    #[arg(long, value_name = "URL")]
    pub remote: Option<String>,

    #[command(flatten, next_help_heading = WHICH)]
    pub which: Which,

    /// Where the sources of rr-patch are: a URL that cargo takes
    #[arg(long, value_name = "URL")]
    pub tool: Option<String>,

    /// Which revision of them [default: that of this version]
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,

    /// When it runs, as cron has it, in UTC
    #[arg(long, value_name = "CRON", default_value = "17 3 * * *")]
    pub schedule: String,

    /// How many days artefacts are kept
    #[arg(long, value_name = "N", default_value_t = 14)]
    pub days: u16,

    /// Where jobs run: a label of GitHub's runners, a tag of GitLab's
    #[arg(long, value_name = "NAME")]
    pub runner: Option<String>,

    /// A program that Go asks for what other runners have compiled: the value of GOCACHEPROG (Go 1.24 and later)
    #[arg(long, value_name = "COMMAND")]
    pub cache_program: Option<String>,

    /// Write the files into this folder, and not to standard output
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

impl Making {
    fn pipeline(&self) -> Result<Pipeline, Error> {
        let need = |value: &Option<String>, what: &str, option: &str| {
            value.clone().ok_or_else(|| Error::usage(what).hint(format!("`{option} URL` says it")))
        };
        let pipeline = Pipeline {
            remote: need(&self.remote, "nothing says where the installer's branches are", "--remote")?,
            refs: self.which.refs(),
            platforms: self.which.platforms(),
            tool: need(&self.tool, "nothing says where a pipeline gets rr-patch from", "--tool")?,
            ..self.without_places()
        };
        pipeline.check().map(|()| pipeline)
    }

    fn without_places(&self) -> Pipeline {
        Pipeline {
            remote: String::new(),
            refs: Vec::new(),
            platforms: Vec::new(),
            tool: String::new(),
            revision: self.revision.clone().unwrap_or_else(|| format!("v{}", env!("CARGO_PKG_VERSION"))),
            schedule: self.schedule.clone(),
            days: self.days,
            runner: self.runner.clone(),
            cache_program: self.cache_program.clone(),
        }
    }

    fn report(&self, engine: &'static str, files: Files, next: &str) -> Result<Report<Made>> {
        if let Some(folder) = &self.output {
            files.iter().try_for_each(|(name, text)| artefacts::write(&folder.join(name), text.as_bytes()))?;
        }
        let written = self.output.as_ref().map(Shown::in_json);
        let files = files.into_iter().map(|(name, text)| MadeFile { name, text }).collect();
        Ok(Report::done(Made { engine, files, written, next: vec![next.into()] }))
    }
}

const GITHUB_EXAMPLES: &str = "\
Examples:
  rr-patch ci github --remote URL --tool URL --attest -o pipeline";

#[derive(Args, Debug)]
#[command(after_help = GITHUB_EXAMPLES)]
pub struct ForGithub {
    #[command(flatten)]
    pub making: Making,

    /// Let GitHub sign the statement about each installer: its jobs need `id-token: write`
    #[arg(long)]
    pub attest: bool,

    /// Make the workflow that others call, whose values are inputs
    #[arg(long)]
    pub reusable: bool,
}

const GITLAB_EXAMPLES: &str = "\
Examples:
  rr-patch ci gitlab --remote URL --tool URL -o pipeline";

#[derive(Args, Debug)]
#[command(after_help = GITLAB_EXAMPLES)]
pub struct ForGitlab {
    #[command(flatten)]
    pub making: Making,

    /// Make the child pipeline of the matrix in this file
    #[arg(long, value_name = "FILE")]
    pub matrix: Option<PathBuf>,
}

const TEKTON_EXAMPLES: &str = "\
Examples:
  rr-patch ci tekton --remote URL --tool URL -o pipeline";

#[derive(Args, Debug)]
#[command(after_help = TEKTON_EXAMPLES)]
pub struct ForTekton {
    #[command(flatten)]
    pub making: Making,
}

const PROW_EXAMPLES: &str = "\
Examples:
  rr-patch ci prow --remote URL --tool URL --matrix matrix.json -o pipeline";

#[derive(Args, Debug)]
#[command(after_help = PROW_EXAMPLES)]
pub struct ForProw {
    #[command(flatten)]
    pub making: Making,

    /// The matrix whose branches get a configuration each: `rr-patch ci matrix --format json`
    #[arg(long, value_name = "FILE")]
    pub matrix: PathBuf,
}

/// A pipeline.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    /// `github`, `gitlab`, `tekton` or `prow`.
    engine: &'static str,
    files: Vec<MadeFile>,
    /// The folder that they were written to.
    written: Option<String>,
    next: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MadeFile {
    name: String,
    text: String,
}

impl Document for Made {
    const SCHEMA: &'static str = "rr-patch/ci-pipeline/1";
    // It is a file.
    const WRAPS: bool = false;
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(folder) = &self.written else {
            let texts = self.files.iter().map(|file| file.text.as_str()).collect::<Vec<_>>();
            return f.write_str(&texts.join("---\n"));
        };
        self.files.iter().try_for_each(|file| writeln!(f, "wrote {folder}/{}", file.name))?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: {next}"))
    }
}

impl ForGithub {
    pub fn run(&self) -> Result<Report<Made>> {
        let files = match self.reusable {
            true => github::reusable(&self.making.without_places()),
            false => github::workflow(&self.making.pipeline()?, self.attest),
        };
        self.making.report("github", files, "commit it as .github/workflows/ of any repository")
    }
}

impl ForGitlab {
    pub fn run(&self) -> Result<Report<Made>> {
        let Making { days, runner, cache_program, .. } = &self.making;
        let Some(file) = &self.matrix else {
            let files = gitlab::pipeline(&self.making.pipeline()?);
            return self.making.report("gitlab", files, "commit it, and make a schedule as it says");
        };
        let bytes = fs::read(file).with_context(|| format!("cannot read `{}`", file.shown()))?;
        let matrix = Matrix::parse(&bytes, &file.shown())?;
        let files = gitlab::child(&matrix, *days, runner.as_deref(), cache_program.as_deref());
        self.making.report("gitlab", files, "let a job trigger it")
    }
}

impl ForTekton {
    pub fn run(&self) -> Result<Report<Made>> {
        let files = tekton::pipeline(&self.making.pipeline()?);
        self.making.report("tekton", files, "`kubectl apply -f` it, with a claim and a service account `rr-patch`")
    }
}

impl ForProw {
    pub fn run(&self) -> Result<Report<Made>> {
        let bytes = fs::read(&self.matrix).with_context(|| format!("cannot read `{}`", self.matrix.shown()))?;
        let matrix = Matrix::parse(&bytes, &self.matrix.shown())?;
        let files = prow::configurations(&self.making.pipeline()?, &matrix)?;
        self.making.report("prow", files, "put them into ci-operator/config of openshift/release, then `make update`")
    }
}
