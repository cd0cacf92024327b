//! `rr-patch ci`: recording installers of many branches, built by an engine that people have.

mod pipeline;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::build::Build;
use super::{RECORDING, Recording, Where};
use crate::ci::matrix::{Matrix, Wanted};
use crate::ci::row::{self, Row};
use crate::ci::{artefacts, github, tekton};
use crate::error::{Error, Shown};
use crate::patch::checkout::{Checkout, History};
use crate::ui::ci::{Planned, RowBuilt};
use crate::ui::document::{Format, Report};
use crate::words::{count, quoted};
use pipeline::{ForGithub, ForGitlab, ForProw, ForTekton};

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
            next: vec![format!("rr-patch inspect {}", quoted(&installer))],
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
