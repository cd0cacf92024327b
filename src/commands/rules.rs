//! `rr-patch rules`: the rules that find the places to change, as files to edit, and whether they do what their
//! snippets say.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::RulesOf;
use crate::error::{Error, Exit, Shown};
use crate::patch::rules::snippets::{Trial, try_out};
use crate::patch::rules::{Rules, chaos, exported};
use crate::sys::write;
use crate::ui::document::{Document, Report, Ui};
use crate::words::{count, quoted};

#[derive(Args, Debug)]
pub struct RulesCommand {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Subcommand, Debug)]
pub enum Action {
    /// Write the built-in rules and their snippets into a new folder, to be edited and named by `--rules`
    Export {
        /// The folder, which must be empty or not there yet
        dir: PathBuf,
    },
    /// Try rules on their snippets of Go: those that they must match, and those that they must not
    Test {
        /// A folder of rules [default: the built-in ones]
        dir: Option<PathBuf>,
    },
}

impl RulesCommand {
    pub fn run(&self, ui: Ui) -> Result<Exit> {
        match &self.action {
            Action::Export { dir } => ui.show(&export(dir)?),
            Action::Test { dir } => ui.show(&test(dir.as_deref())?),
        }
    }
}

/// Where the built-in rules were written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Exported {
    folder: String,
    /// The files, below the folder.
    files: Vec<String>,
    /// What to type next.
    next: Vec<String>,
}

impl Document for Exported {
    const SCHEMA: &'static str = "rr-patch/rules-export/1";
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "wrote {} into `{}`", count(self.files.len(), "file"), self.folder)?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}

fn export(dir: &Path) -> Result<Report<Exported>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder `{}`", dir.shown()))?;
    let mut entries = fs::read_dir(dir).with_context(|| format!("cannot read the folder `{}`", dir.shown()))?;
    if entries.next().is_some() {
        return Err(Error::refused(format!("`{}` is not empty", dir.shown()))
            .hint("name a folder that is not there yet: nothing is written over")
            .into());
    }
    let mut files = Vec::new();
    for (name, bytes) in exported() {
        let path = dir.join(name);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.shown()))?;
        write::replace(&path, bytes, 0o644)?;
        files.push(name.shown());
    }
    let folder = quoted(&dir.shown());
    let next = vec![format!("rr-patch rules test {folder}"), format!("rr-patch apply --rules {folder}")];
    Ok(Report::done(Exported { folder: dir.in_json(), files, next }))
}

/// Whether rules match what they must, and nothing that they must not.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tested {
    /// The digest of the folder; nothing for the built-in rules.
    digest: Option<String>,
    rules: Vec<TestedRule>,
    /// How many snippets were tried.
    snippets: usize,
    /// Whether every snippet did what it should, and every rule has one.
    passed: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct TestedRule {
    rule: String,
    snippets: usize,
    /// What is not as it should be, a line each.
    wrong: Vec<String>,
}

impl Document for Tested {
    const SCHEMA: &'static str = "rr-patch/rules-test/1";
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TestedRule { rule, snippets, wrong } in &self.rules {
            let state = if wrong.is_empty() { "ok" } else { "WRONG" };
            writeln!(f, "{state:5}  {rule}: {}", count(*snippets, "snippet"))?;
            wrong.iter().try_for_each(|line| writeln!(f, "       {line}"))?;
        }
        let failed = self.rules.iter().filter(|rule| !rule.wrong.is_empty()).count();
        let (rules, snippets) = (count(self.rules.len(), "rule"), count(self.snippets, "snippet"));
        writeln!(f, "\n{rules}, {snippets}: {failed} wrong")
    }
}

fn test(dir: Option<&Path>) -> Result<Report<Tested>> {
    let folder = RulesOf { rules: dir.map(Path::to_owned) };
    let rules = folder.read()?.map_or_else(Rules::built_in, Ok)?;
    let mut trials = try_out(&rules, dir, "tests")?;
    // A folder that an earlier version wrote has none of these.
    if dir.is_none_or(|dir| chaos::folder_in(dir).is_dir()) {
        trials.extend(try_out(&*chaos::rules(dir)?, dir.map(chaos::folder_in).as_deref(), "chaos/tests")?);
    }
    let passed = trials.iter().all(|trial| trial.wrong.is_empty());
    let result = Tested {
        digest: rules.digest().map(str::to_owned),
        snippets: trials.iter().map(|trial| trial.snippets).sum(),
        rules: trials.into_iter().map(|Trial { rule, snippets, wrong }| TestedRule { rule, snippets, wrong }).collect(),
        passed,
    };
    Ok(Report::in_order(result, passed))
}
