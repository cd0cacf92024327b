//! `rr-patch man`: the manual pages, made from the command line's own help.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_mangen::{Man as Page, generate_to};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Error, Shown, plain_name};
use crate::ui::document::{Document, Report};

const EXAMPLES: &str = "\
Examples:
  rr-patch man apply | man -l -
  rr-patch man --output ~/.local/share/man/man1";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Man {
    /// The command that the page is about [default: rr-patch itself]
    pub command: Option<String>,

    /// Write the pages of rr-patch and of all its commands into a folder, as `rr-patch-COMMAND.1`
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub output: Option<PathBuf>,
}

/// A manual page, or where all of them are.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Manual {
    /// The folder that the pages were written into.
    folder: Option<String>,
    /// The page, in roff.
    page: Option<String>,
}

impl Document for Manual {
    const SCHEMA: &'static str = "rr-patch/man/1";
    // A page is a file, and the folder's name has its odd characters escaped.
    const EXACT: bool = true;
}

impl fmt::Display for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.page.iter().try_for_each(|page| f.write_str(page))?;
        self.folder.iter().try_for_each(|folder| writeln!(f, "wrote the manual pages into `{}`", plain_name(folder)))
    }
}

/// Without the commands `help`, whose pages would say what the others say.
fn without_help(program: Command) -> Command {
    program.disable_help_subcommand(true).mut_subcommands(without_help)
}

impl Man {
    pub fn run(&self, program: Command) -> Result<Report<Manual>> {
        let mut program = without_help(program);
        // Gives each command its full name.
        program.build();
        if let Some(folder) = &self.output {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.shown()))?;
            generate_to(program, folder)
                .with_context(|| format!("cannot write the manual pages into `{}`", folder.shown()))?;
            return Ok(Report::done(Manual { folder: Some(folder.in_json()), page: None }));
        }
        let about = match &self.command {
            None => program,
            Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
                let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
                Error::usage(format!("rr-patch has no command `{name}`"))
                    .did_you_mean(name, names.iter().copied())
                    .hint(format!("it has: {}", names.join(", ")))
            })?,
        };
        let mut page = Vec::new();
        Page::new(about).render(&mut page).context("cannot make the manual page")?;
        let page = String::from_utf8_lossy(&page).into_owned();
        Ok(Report::done(Manual { folder: None, page: Some(page) }))
    }
}
