//! `rr-patch man`: the manual pages, made from the command line's own help.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_mangen::{Man as Page, generate_to};
use serde_json::json;

use crate::error::{Error, Shown};
use crate::ui::report::Report;

#[derive(Args, Debug)]
pub struct Man {
    /// The command that the page is about [default: rr-patch itself]
    pub command: Option<String>,

    /// Write the pages of rr-patch and of all its commands into a folder, as `rr-patch-COMMAND.1`
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub output: Option<PathBuf>,
}

const SCHEMA: &str = "rr-patch/man/1";

impl Man {
    pub fn run(&self, mut program: Command) -> Result<Report> {
        // Gives each command its full name.
        program.build();
        if let Some(folder) = &self.output {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.shown()))?;
            generate_to(program, folder)
                .with_context(|| format!("cannot write the manual pages into `{}`", folder.shown()))?;
            let text = format!("wrote the manual pages into `{}`\n", folder.shown());
            return Ok(Report::new(SCHEMA, text, json!({ "folder": folder.in_json(), "page": null })));
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
        let data = json!({ "folder": null, "page": String::from_utf8_lossy(&page) });
        Ok(Report::new(SCHEMA, page, data).exact())
    }
}
