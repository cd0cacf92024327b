//! What a command found out, as one value that is text for people and JSON for programs.

use std::fmt;
use std::io::{self, Write};

use anyhow::Result;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::Serialize;
use serde_json::json;

use super::manners::{Mark, colours_on_stdout, columns, common, paint};
use crate::error::{Error, Exit, exit, is_active, plain, plain_bytes};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
}

/// The result of a command: [`fmt::Display`] gives the text for people, [`Serialize`] the document for programs,
/// [`JsonSchema`] what `docs/schemas/` says of the document.
pub trait Document: Serialize + JsonSchema + fmt::Display {
    /// The value of `schema` in the document: its name and version.
    const SCHEMA: &'static str;

    /// Whether the text is printed to the byte: it is a file, or what a terminal would act on is escaped already.
    const EXACT: bool = false;

    /// Whether lines that are longer than the terminal's are broken between words.
    const WRAPS: bool = !Self::EXACT;

    /// The text for people as bytes. Only a document whose text carries bytes of files has more to say here.
    fn text(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// What parts of a line of the text mean, for a terminal with colours.
    fn marks(&self, line: &str) -> Vec<Mark> {
        common(line)
    }
}

/// A result, and the exit code that goes with it.
#[derive(Debug)]
pub struct Report<T> {
    pub result: T,
    /// [`Exit::Done`], or [`Exit::Found`] where something is not in order.
    pub exit: Exit,
}

impl<T: Document> Report<T> {
    /// Done, or nothing to do.
    pub fn done(result: T) -> Self {
        Self { result, exit: Exit::Done }
    }

    /// [`Exit::Found`] unless everything is in order.
    pub fn in_order(result: T, in_order: bool) -> Self {
        Self { result, exit: if in_order { Exit::Done } else { Exit::Found } }
    }
}

/// Where results go, and as what.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    pub format: Format,
}

impl Ui {
    /// Prints what a command ends with, and gives its exit code.
    pub fn show<T: Document>(&self, report: &Report<T>) -> Result<Exit> {
        self.print(&report.result)?;
        Ok(report.exit)
    }

    /// Writes documents of JSON, a line each, for results that may be long and are read as they come. A reader that has
    /// gone away is no failure.
    pub fn print_lines<T: Document>(&self, documents: impl Iterator<Item = T>) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let write = || -> io::Result<()> {
            for document in documents {
                let line = with_schema(&document)?.to_string();
                out.write_all(escaped(&line).as_bytes())?;
                out.write_all(b"\n")?;
            }
            out.flush()
        };
        match write() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Writes a document to standard output. In text, what a terminal would act on is escaped: names of files and
    /// folders, and what other programs say, are in it. A reader that has gone away is no failure.
    pub fn print<T: Document>(&self, document: &T) -> io::Result<()> {
        let bytes = match self.format {
            Format::Text if T::EXACT => document.text(),
            Format::Text => {
                let columns = columns();
                // Tables leave columns out where the width that their formatter has is too narrow.
                let text = match columns {
                    Some(columns) => plain(&format!("{document:columns$}")),
                    None => plain_bytes(&document.text()),
                };
                let marks = |line: &str| document.marks(line);
                paint(&text, columns.filter(|_| T::WRAPS), colours_on_stdout(), marks).into_bytes()
            }
            Format::Json => json(document)?.into_bytes(),
        };
        let mut out = io::stdout().lock();
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// A document as it is printed: `schema` first, a line for each value.
fn json<T: Document>(document: &T) -> serde_json::Result<String> {
    Ok(escaped(&format!("{:#}\n", with_schema(document)?)))
}

fn with_schema<T: Document>(document: &T) -> serde_json::Result<serde_json::Value> {
    let mut all = json!({ "schema": T::SCHEMA });
    if let (Some(all), serde_json::Value::Object(own)) = (all.as_object_mut(), serde_json::to_value(document)?) {
        all.extend(own);
    }
    Ok(all)
}

fn escaped(json: &str) -> String {
    // Line ends stand between the values, never in them.
    let escape = |c: char| match is_active(c) && c != '\n' {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.into(),
    };
    json.chars().map(escape).collect()
}

/// Closes an object that lists its properties: it has no others.
fn close(schema: &mut Schema) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".into(), false.into());
    }
}

/// The JSON Schema of a document.
pub fn schema<T: Document>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize().with_transform(RecursiveTransform(close));
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    schema.insert("title".into(), json!(T::SCHEMA));
    if let Some(properties) = schema.ensure_object().entry("properties").or_insert(json!({})).as_object_mut() {
        properties.insert("schema".into(), json_schema!({ "const": T::SCHEMA }).into());
    }
    if let Some(required) = schema.ensure_object().entry("required").or_insert(json!([])).as_array_mut() {
        required.insert(0, json!("schema"));
    }
    close_the_whole(&mut schema);
    schema
}

/// A document of several forms is closed as a whole: its forms do not list `schema`.
fn close_the_whole(schema: &mut Schema) {
    let forms = schema.get("anyOf").and_then(serde_json::Value::as_array).into_iter().flatten();
    let forms: Vec<String> =
        forms.filter_map(|form| Some(form["$ref"].as_str()?.trim_start_matches('#').into())).collect();
    if forms.is_empty() {
        return;
    }
    schema.remove("additionalProperties");
    schema.insert("unevaluatedProperties".into(), false.into());
    for form in forms {
        if let Some(form) = schema.pointer_mut(&form).and_then(serde_json::Value::as_object_mut) {
            form.remove("additionalProperties");
        }
    }
}

/// Why a command could not do what was asked of it. As text it is printed on standard error.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failure {
    /// `refused`: nothing was written. `failed`: could not. `usage`: the command line is not understood.
    /// `interrupted`: ended by Ctrl-C or SIGTERM.
    kind: &'static str,
    /// What went wrong, in one line.
    message: String,
    /// Where it was seen, what was expected, what was found.
    details: Vec<String>,
    /// What to do, and what to type.
    hints: Vec<String>,
    /// The exit code.
    exit: u8,
}

impl Document for Failure {
    const SCHEMA: &'static str = "rr-patch/error/1";
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    pub fn of(error: &anyhow::Error) -> Self {
        let exit = exit(error);
        let kind = match exit {
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::Interrupted => "interrupted",
            Exit::Done | Exit::Failed | Exit::Found => "failed",
        };
        let known = error.downcast_ref::<Error>();
        Self {
            kind,
            message: format!("{error:#}"),
            details: known.map_or(Vec::new(), |known| known.details().to_vec()),
            hints: known.map_or(Vec::new(), |known| known.hints().to_vec()),
            exit: exit as u8,
        }
    }
}
