//! `rr-patch doctor`: whether this machine can record and replay, and the commands where it cannot.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::binary::{Facts, Installer, first_bytes};
use crate::doctor::{Finding, Host, Program, Question, examine};
use crate::error::{Error, Shown};
use crate::ui::doctor::{Examined, Ran};
use crate::ui::document::Report;
use crate::words::count;

#[derive(Args, Debug)]
pub struct Doctor {
    /// Controllers, folders of them, or an installer that embeds them: can they be debugged?
    #[arg(value_name = "PROGRAM")]
    pub programs: Vec<PathBuf>,

    /// Use this recorder, rather than what RR_PATCH_RECORD or PATH leads to
    #[arg(long, value_name = "PATH")]
    pub rr: Option<String>,

    /// The folder that openshift-install gets by its own --dir [default: the current folder]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Record and replay nothing: only look
    #[arg(long)]
    pub quick: bool,

    /// Show the commands that mend what is not in order, ask, run them, and look again
    #[arg(long)]
    pub fix: bool,

    /// Run the commands without asking
    #[arg(long, requires = "fix")]
    pub yes: bool,
}

impl Doctor {
    pub fn run(&self) -> Result<Report<Examined>> {
        self.visit(&Host::here())
    }

    /// The same, for any host.
    pub fn visit(&self, host: &Host) -> Result<Report<Examined>> {
        let programs = self.programs.iter().map(|path| programs(path)).collect::<Result<Vec<_>>>()?.concat();
        let question = Question { rr: self.rr.clone(), install_dir: self.dir.clone(), programs, ..Question::default() };
        let findings = examine(host, &question, !self.quick);
        let commands = commands(&findings);
        if self.fix && !commands.is_empty() && self.agreed(&commands)? {
            let ran = run(host, &commands)?;
            return Ok(Examined::new(examine(host, &question, !self.quick), ran));
        }
        let Report { result, exit } = Examined::new(findings, Vec::new());
        let result = match (commands.is_empty(), self.fix) {
            (true, true) => result.nothing_to_fix(),
            (true, false) => result,
            (false, _) => result.with_fix(),
        };
        Ok(Report { result, exit })
    }

    fn agreed(&self, commands: &[String]) -> Result<bool> {
        eprintln!("{} would be run:", count(commands.len(), "command"));
        commands.iter().for_each(|command| eprintln!("  {command}"));
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            return Err(Error::usage(
                "`doctor --fix` asks before it runs anything, and there is no terminal to ask at",
            )
            .hint("`--yes` runs the commands without asking; without `--fix` they are only shown")
            .into());
        }
        eprint!("run them? [y/N] ");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }
}

/// The program, those of a folder, or the controllers that an installer embeds.
fn programs(path: &Path) -> Result<Vec<Program>> {
    if path.is_dir() {
        let entries = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
        let mut files = entries.with_context(|| format!("cannot read `{}`", path.shown()))?;
        files.retain(|file| file.is_file() && first_bytes(file).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")));
        files.sort();
        if files.is_empty() {
            return Err(Error::failed(format!("`{}` holds no programs", path.shown()))
                .hint("an installer's controllers are in cluster-api/bin/<os>_<architecture>")
                .into());
        }
        return Ok(files.iter().map(|file| programs(file)).collect::<Result<Vec<_>>>()?.concat());
    }
    let installer = Installer::read(path)?;
    let of = |name: &str, facts: Facts| Program { name: name.to_owned(), file: path.to_owned(), facts };
    let controllers = installer.entries.iter().filter(|entry| entry.controller());
    let embedded: Vec<Program> =
        controllers.filter_map(|entry| Some(of(&entry.name, entry.facts()?.clone()))).collect();
    if embedded.is_empty() {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        return Ok(vec![of(&name, installer.facts)]);
    }
    Ok(embedded)
}

/// The commands of all findings, each once, in their order.
fn commands(findings: &[Finding]) -> Vec<String> {
    findings.iter().flat_map(|finding| &finding.fix).fold(Vec::new(), |mut all, command| {
        if !all.contains(command) {
            all.push(command.clone());
        }
        all
    })
}

/// Runs them all: one that fails leaves the others their chance, and the second look tells.
fn run(host: &Host, commands: &[String]) -> Result<Vec<Ran>> {
    let mut ran = Vec::new();
    for command in commands {
        eprintln!("+ {command}");
        let end = host.attend(command)?;
        if !end.success() {
            eprintln!("  ended with {end}");
        }
        ran.push(Ran { command: command.clone(), end: end.to_string() });
    }
    Ok(ran)
}
