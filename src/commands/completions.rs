//! `rr-patch completions`: what a shell needs to complete the command line.

use std::fmt;

use clap::{Args, Command};
use clap_complete::{Shell, generate};
use schemars::JsonSchema;
use serde::Serialize;

use crate::ui::document::{Document, Report};

const EXAMPLES: &str = "\
Examples:
  rr-patch completions bash > ~/.local/share/bash-completion/completions/rr-patch
  rr-patch completions zsh > ~/.zfunc/_rr-patch";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell that completes
    #[arg(value_enum)]
    pub shell: Shell,
}

/// What a shell is to read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Script {
    /// `bash`, `elvish`, `fish`, `powershell` or `zsh`.
    shell: String,
    script: String,
}

impl Document for Script {
    const SCHEMA: &'static str = "rr-patch/completions/1";
    const EXACT: bool = true;
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.script)
    }
}

impl Completions {
    pub fn run(&self, command: &mut Command) -> Report<Script> {
        let mut script = Vec::new();
        generate(self.shell, command, "rr-patch", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        Report::done(Script { shell: self.shell.to_string(), script })
    }
}
