//! `rr-patch schema`: what the documents of `--format json` look like.

use std::fmt;

use anyhow::Result;
use clap::Args;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::completions::Script;
use super::man::Manual;
use super::record::RecordedProgram;
use super::rules::{Exported, Tested};
use super::traces::{CallsFound, LogLine, LogsCompared, WritesFound};
use crate::cause::explain::Explanation;
use crate::error::Error;
use crate::ui::apply::Applied;
use crate::ui::build::Built;
use crate::ui::bundle::{Packed, Unpacked};
use crate::ui::chaos::Written;
use crate::ui::check::Checked;
use crate::ui::ci::{Made, Planned, RowBuilt};
use crate::ui::demo::Demonstrated;
use crate::ui::diff::Patch;
use crate::ui::doctor::Examined;
use crate::ui::document::{Document, Failure, Report, schema};
use crate::ui::hunt::Hunted;
use crate::ui::inspect::Inspected;
use crate::ui::record::Recorded;
use crate::ui::replay::Opened;
use crate::ui::revert::Reverted;
use crate::ui::status::Status;
use crate::ui::trace::Trace;
use crate::ui::traces::{Pruned, Traces};

/// The name of a document, and what makes its schema.
type Entry = (&'static str, fn() -> Schema);

/// Every document that a command prints.
const DOCUMENTS: &[Entry] = &[
    entry::<Applied>(),
    entry::<Built>(),
    entry::<Written>(),
    entry::<Checked>(),
    entry::<RowBuilt>(),
    entry::<Planned>(),
    entry::<Made>(),
    entry::<Script>(),
    entry::<Demonstrated>(),
    entry::<Patch>(),
    entry::<Examined>(),
    entry::<Explanation>(),
    entry::<Failure>(),
    entry::<Hunted>(),
    entry::<Inspected>(),
    entry::<LogLine>(),
    entry::<LogsCompared>(),
    entry::<Manual>(),
    entry::<Recorded>(),
    entry::<CallsFound>(),
    entry::<WritesFound>(),
    entry::<RecordedProgram>(),
    entry::<Opened>(),
    entry::<Reverted>(),
    entry::<Exported>(),
    entry::<Tested>(),
    entry::<Schemas>(),
    entry::<Status>(),
    entry::<Trace>(),
    entry::<Traces>(),
    entry::<Packed>(),
    entry::<Pruned>(),
    entry::<Unpacked>(),
];

const fn entry<T: Document>() -> Entry {
    (T::SCHEMA, schema::<T>)
}

const EXAMPLES: &str = "\
Examples:
  rr-patch schema                               # list them
  rr-patch schema rr-patch/check/1";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PrintSchema {
    /// The `schema` of a document, like `rr-patch/check/1` [default: list them]
    pub name: Option<String>,
}

/// The schemas, or the names of all that there are.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Schemas {
    /// The names of all documents.
    names: Vec<&'static str>,
    /// The JSON Schema of the one that was named.
    document: Option<Schema>,
}

impl Document for Schemas {
    const SCHEMA: &'static str = "rr-patch/schema/1";
}

impl fmt::Display for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.document {
            Some(document) => writeln!(f, "{:#}", document.as_value()),
            None => self.names.iter().try_for_each(|name| writeln!(f, "{name}")),
        }
    }
}

impl PrintSchema {
    pub fn run(&self) -> Result<Report<Schemas>> {
        let names: Vec<&str> = DOCUMENTS.iter().map(|(name, _)| *name).collect();
        let document = match &self.name {
            None => None,
            Some(asked) => {
                let known = DOCUMENTS.iter().find(|(name, _)| name == asked).ok_or_else(|| {
                    Error::usage(format!("no document is called `{asked}`"))
                        .did_you_mean(asked, names.iter().copied())
                        .hint("`rr-patch schema` lists their names")
                })?;
                Some(known.1())
            }
        };
        Ok(Report::done(Schemas { names, document }))
    }
}
