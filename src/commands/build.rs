//! `rr-patch build`: run the installer's own build for debugging.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Where;
use crate::build::{build, seconds};
use crate::checkout::Checkout;
use crate::error::Error;
use crate::journal::Journal;
use crate::process::Environment;
use crate::report::{Format, Report, carries};

#[derive(Args, Debug)]
pub struct Build {
    #[command(flatten)]
    pub place: Where,

    /// Set a variable for build.sh (repeatable); MODE=dev and TAGS=release unless set here
    #[arg(long, value_name = "K=V", value_parser = assignment)]
    pub env: Vec<(String, String)>,

    /// Build a checkout that is not patched
    #[arg(long)]
    pub unpatched: bool,

    /// Arguments for build.sh
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

impl Build {
    pub fn run(&self, format: Format) -> Result<Report> {
        let checkout = self.place.checkout()?;
        if !self.unpatched {
            refuse_unpatched(&checkout)?;
        }
        let environment: Environment = self.env.iter().cloned().collect();
        // What the build prints is no part of a JSON document.
        let mut live: Box<dyn Write> = match format {
            Format::Text => Box::new(io::stdout()),
            Format::Json => Box::new(io::stderr()),
        };
        let built = build(&checkout, &self.arguments, &environment, &mut live)?;
        let text =
            format!("built `{}` in {}; log: {}\n", built.installer.display(), seconds(built.took), built.log.display());
        let data = json!({
            "installer": built.installer, "log": built.log, "seconds": built.took.as_secs_f64(), "patched": !self.unpatched,
        });
        Ok(Report::new("rr-patch/build/1", text, data))
    }
}

fn refuse_unpatched(checkout: &Checkout) -> Result<()> {
    let refusal = |message: String| {
        Error::refused(message).hint("`rr-patch apply` patches it; `rr-patch build --unpatched` builds it as it is")
    };
    let Some(journal) = Journal::load(checkout)? else {
        return Err(refusal(format!(
            "`{}` is not patched: its installer would record nothing",
            checkout.root().display()
        ))
        .into());
    };
    let seen = journal.look(checkout)?;
    let undone: Vec<&str> =
        seen.iter().filter(|seen| !carries(&journal, seen)).map(|seen| seen.rewrite.path.as_str()).collect();
    if undone.is_empty() {
        return Ok(());
    }
    let error = refusal(format!("`{}` is only partly patched", checkout.root().display()));
    Err(undone.into_iter().fold(error, |error, path| error.detail(format!("not patched: {path}"))).into())
}
