//! `rr-patch doctor`: whether this machine can record and replay, and the commands where it cannot.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::doctor::{CheckRequest, Host, commands, examine, programs};
use crate::error::Error;
use crate::ui::doctor::{Examined, Ran};
use crate::ui::document::Report;
use crate::words::count;

const EXAMPLES: &str = "\
Examples:
  rr-patch doctor                               # records and replays a small program
  rr-patch doctor --fix                         # shows commands, asks, runs them
  rr-patch doctor --quick --format json
  rr-patch doctor bin/openshift-install         # can its controllers be debugged?";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
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
    #[arg(long, short, requires = "fix")]
    pub yes: bool,
}

impl Doctor {
    pub fn run(&self) -> Result<Report<Examined>> {
        self.visit(&Host::here())
    }

    /// The same, for any host.
    pub fn visit(&self, host: &Host) -> Result<Report<Examined>> {
        let programs = self.programs.iter().map(|path| programs(path)).collect::<Result<Vec<_>>>()?.concat();
        let question =
            CheckRequest { rr: self.rr.clone(), install_dir: self.dir.clone(), programs, ..CheckRequest::default() };
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
