//! `rr-patch ci github`, `gitlab`, `tekton` and `prow`: ready pipelines.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::{WHICH, Which};
use crate::ci::matrix::Matrix;
use crate::ci::{Files, Pipeline, artefacts, github, gitlab, prow, tekton};
use crate::error::{Error, Shown};
use crate::ui::ci::{Made, MadeFile};
use crate::ui::document::Report;

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
