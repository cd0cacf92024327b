//! `rr-patch chaos`: Go's own scheduler shuffles what a program does.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::builder::make_chaos;
use crate::error::{Error, Exit, Shown};
use crate::patch::rules::chaos;
use crate::ui::chaos::Written;
use crate::ui::document::{Report, Ui};

#[derive(Args, Debug)]
pub struct ChaosCommand {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Subcommand, Debug)]
pub enum Action {
    /// Write an overlay for `go build` and `go test`, by which goroutines yield where they meet
    Overlay(Overlay),
}

#[derive(Args, Debug)]
pub struct Overlay {
    /// The folder that it is written into
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,

    /// The go program that builds [default: go, for the module of the current folder]
    #[arg(long, value_name = "PATH")]
    pub go: Option<PathBuf>,

    /// Use the rules of a folder that `rr-patch rules export` wrote
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
}

impl ChaosCommand {
    pub fn run(&self, ui: Ui) -> Result<Exit> {
        match &self.action {
            Action::Overlay(overlay) => ui.show(&overlay.run()?),
        }
    }
}

impl Overlay {
    fn run(&self) -> Result<Report<Written>> {
        let rules = chaos::rules(self.rules.as_deref())?;
        let go = self.go.as_deref().unwrap_or(Path::new("go"));
        let into = std::path::absolute(&self.output)?;
        let blank = into.to_str().is_none_or(|name| name.contains(char::is_whitespace));
        if blank {
            return Err(Error::usage(format!("GOFLAGS cannot name a file in `{}`", into.shown()))
                .detail("expected: a path without blanks, in UTF-8")
                .hint("choose another folder")
                .into());
        }
        let made = make_chaos(crate::sys::process::for_child(go)?, Path::new("."), &rules, &into)?;
        Ok(Report::done(Written::new(&made, crate::sys::process::for_child(&made.list)?)))
    }
}
