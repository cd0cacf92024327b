//! `rr-patch completions`: what a shell needs to complete the command line.

use clap::{Args, Command};
use clap_complete::{Shell, generate};
use serde_json::json;

use crate::ui::report::Report;

#[derive(Args, Debug)]
pub struct Completions {
    /// The shell that completes
    #[arg(value_enum)]
    pub shell: Shell,
}

const SCHEMA: &str = "rr-patch/completions/1";

impl Completions {
    pub fn run(&self, command: &mut Command) -> Report {
        let mut script = Vec::new();
        generate(self.shell, command, "rr-patch", &mut script);
        let data = json!({ "shell": self.shell.to_string(), "script": String::from_utf8_lossy(&script) });
        Report::new(SCHEMA, script, data).exact()
    }
}
