//! `rr-patch inspect`: is this a recording installer, of what, and can Delve debug it?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::binary::{Content, Entry, Facts, Finding, Installer, Patch, REBUILD, REBUILD_OTHER, first_bytes};
use crate::error::{Error, Shown};
use crate::patch::checkout::{Checkout, short};
use crate::patch::rules::Options;
use crate::provenance::{self, Kept, Statement};
use crate::ui::report::{Loose, options};
use crate::words::count;

#[derive(Args, Debug)]
pub struct Inspect {
    /// An installer, a controller, the file that `rr-patch build` left beside an installer, or a folder of the
    /// checkout whose bin/openshift-install is meant [default: the current folder]
    pub file: Option<PathBuf>,
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Installer,
    Controller,
    Program,
}

/// A line of the table.
struct Row {
    name: String,
    /// Whether it has to be in order: what was downloaded need not.
    judged: bool,
    facts: Option<Facts>,
}

/// The file beside an installer, and whether it is about that installer.
struct Beside {
    path: PathBuf,
    statement: Statement,
    fits: Option<bool>,
}

impl Inspect {
    pub fn run(&self) -> Result<Loose> {
        let file = &self.file()?;
        let is_text = first_bytes(file)?.trim_ascii_start().starts_with(b"{");
        if !is_text {
            return inspect(file, None);
        }
        let statement = provenance::read(file)?;
        let installer = file.with_file_name(&statement.installer().name);
        let beside = Beside { path: file.clone(), statement, fits: None };
        if installer.is_file() { inspect(&installer, Some(beside)) } else { Ok(from_statement(&installer, &beside)) }
    }
}

impl Inspect {
    /// The file that is meant: where a checkout's build puts its installer, if no file is named.
    fn file(&self) -> Result<PathBuf> {
        let checkout = match &self.file {
            None => Checkout::discover(None, None)?,
            Some(file) if !file.is_dir() => return Ok(file.clone()),
            // Any other folder is refused as what it is.
            Some(folder) => match Checkout::discover(Some(folder), None) {
                Ok(checkout) => checkout,
                Err(_) => return Ok(folder.clone()),
            },
        };
        let installer = checkout.locate("bin/openshift-install");
        if !installer.is_file() {
            return Err(Error::refused(format!("`{}` is not built", installer.shown()))
                .hint("`rr-patch build` makes it; `rr-patch inspect FILE` opens one from elsewhere")
                .into());
        }
        Ok(installer)
    }
}

/// Reads a program, and compares it with what the file beside it says.
fn inspect(file: &Path, beside: Option<Beside>) -> Result<Loose> {
    let name = file_name(file);
    let installer = Installer::read(file)?;
    let kind = kind(&installer);
    let mut findings = match kind {
        Kind::Installer => installer.findings(&name, false),
        Kind::Controller | Kind::Program => {
            let rebuild = if kind == Kind::Controller { REBUILD } else { REBUILD_OTHER };
            let lacks = installer.facts.lacks(rebuild).into_iter();
            lacks.map(|(what, remedy)| Finding { program: name.clone(), what, remedy }).collect()
        }
    };
    let mut beside = match beside {
        None => read_beside(file, &name, &mut findings),
        given => given,
    };
    if let Some(beside) = &mut beside {
        let disagreements = compare(&name, &installer, beside);
        beside.fits = Some(disagreements.is_empty());
        findings.extend(disagreements);
    }
    let said =
        Said { name: &name, kind, patch: Some(&installer.patch), rows: rows(&name, &installer), findings, beside };
    Ok(said.report(file))
}

/// What the statement itself says, where the installer that it is about is not there.
fn from_statement(installer: &Path, beside: &Beside) -> Loose {
    let name = file_name(installer);
    let mut rows = Vec::new();
    let mut findings = vec![Finding {
        program: name.clone(),
        what: format!("is not beside `{}`, so that nothing could be verified", beside.path.shown()),
        remedy: "put both into one folder, under the names that they were built with".into(),
    }];
    for (number, subject) in beside.statement.subject.iter().enumerate() {
        let facts = subject.facts();
        let judged = number == 0 || Entry::is_controller(&subject.name);
        let lacks = facts.iter().filter(|_| judged).flat_map(|facts| facts.lacks(REBUILD));
        findings.extend(lacks.map(|(what, remedy)| Finding { program: subject.name.clone(), what, remedy }));
        rows.push(Row { name: subject.name.clone(), judged, facts });
    }
    let beside = Beside { path: beside.path.clone(), statement: beside.statement.clone(), fits: None };
    let said = Said { name: &name, kind: Kind::Installer, patch: None, rows, findings, beside: Some(beside) };
    said.report(installer)
}

fn kind(installer: &Installer) -> Kind {
    let package = installer.facts.package.as_deref().unwrap_or_default();
    let embeds = installer.entries.iter().any(Entry::controller);
    if embeds || !installer.patch.found.is_empty() || package.ends_with("/cmd/openshift-install") {
        Kind::Installer
    } else if package.rsplit('/').next().is_some_and(Entry::is_controller) {
        Kind::Controller
    } else {
        Kind::Program
    }
}

/// The statement beside a program. One that cannot be read is a finding, none at all is not.
fn read_beside(file: &Path, name: &str, findings: &mut Vec<Finding>) -> Option<Beside> {
    let path = provenance::path_of(file);
    if !path.is_file() {
        return None;
    }
    match provenance::read(&path) {
        Ok(statement) => Some(Beside { path, statement, fits: None }),
        Err(error) => {
            findings.push(Finding {
                program: name.to_owned(),
                what: error.to_string(),
                remedy: format!("move `{}` away, or build again", path.shown()),
            });
            None
        }
    }
}

/// Where a program is not what its statement says.
fn compare(name: &str, installer: &Installer, beside: &Beside) -> Vec<Finding> {
    let finding = |program: &str, said: &str, found: &str| Finding {
        program: program.to_owned(),
        what: format!(
            "is not what `{}` describes: sha256 {} there, {} here",
            file_name(&beside.path),
            short(said),
            short(found)
        ),
        remedy: "one of the two is from another build: build again, or copy both together".into(),
    };
    let said = beside.statement.installer().sha256().unwrap_or_default();
    if said != installer.facts.sha256 {
        return vec![finding(name, said, &installer.facts.sha256)];
    }
    let mut findings = Vec::new();
    for entry in &installer.entries {
        let subject = beside.statement.subject.iter().find(|subject| subject.name == entry.name);
        let said = subject.and_then(|subject| subject.sha256()).unwrap_or("none");
        if let Some((found, _)) = entry.digest().filter(|(found, _)| *found != said) {
            findings.push(finding(&entry.name, said, found));
        }
    }
    findings
}

/// An installer and what it embeds, as lines of the table.
fn rows(name: &str, installer: &Installer) -> Vec<Row> {
    let mut rows = vec![Row { name: name.to_owned(), judged: true, facts: Some(installer.facts.clone()) }];
    rows.extend(installer.entries.iter().map(|entry| Row {
        name: entry.name.clone(),
        judged: entry.controller(),
        facts: match &entry.content {
            Content::Program(facts) => Some((**facts).clone()),
            Content::Other { .. } | Content::Broken(_) => None,
        },
    }));
    rows
}

/// The table of an installer's programs, for whoever built it.
pub fn programs(name: &str, installer: &Installer) -> String {
    table(&rows(name, installer))
}

fn table(rows: &[Row]) -> String {
    let head = ["program", "go", "DWARF", "-N -l", "symbols", "linked", "sources here", "build id"];
    let mut lines = vec![head.map(str::to_owned)];
    for Row { name, judged, facts } in rows {
        let cells = match facts {
            None => [name.as_str(), "-", "-", "-", "-", "-", "-", "-"].map(str::to_owned),
            Some(facts) => cells(name, facts),
        };
        lines.push(cells);
        if !judged && let Some(last) = lines.last_mut().and_then(|cells| cells.first_mut()) {
            last.push_str(" (not built here)");
        }
    }
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for cells in &lines {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

fn cells(name: &str, facts: &Facts) -> [String; 8] {
    let dwarf = match (facts.dwarf, &facts.dwarf_error, facts.dwarf_version) {
        (true, _, version) => version.map_or("yes".into(), |version| version.to_string()),
        (false, Some(_), _) => "unreadable".into(),
        (false, None, _) => "none".into(),
    };
    let plain = match facts.optimised {
        Some(false) => "yes",
        Some(true) => "no",
        None => "?",
    };
    let sources = match &facts.sources {
        sources if sources.named == 0 && sources.relative > 0 => format!("? ({} without a folder)", sources.relative),
        sources if sources.named == 0 => "-".into(),
        sources if sources.here == sources.named => format!("all {}", sources.named),
        sources => format!("{} of {}", sources.here, sources.named),
    };
    let id = facts.gnu_build_id.as_deref().or(facts.build_id.as_deref());
    [
        name.into(),
        facts.go.clone().unwrap_or_else(|| "-".into()),
        dwarf,
        plain.into(),
        if facts.stripped { "none" } else { "yes" }.into(),
        linked(facts),
        sources,
        id.map_or("-".into(), |id| short(id).to_owned()),
    ]
}

fn linked(facts: &Facts) -> String {
    match facts.glibc {
        Some((major, minor)) => format!("dynamic, glibc {major}.{minor}"),
        None if facts.dynamic => "dynamic".into(),
        None => "static".into(),
    }
}

/// All that there is to say.
struct Said<'a> {
    name: &'a str,
    kind: Kind,
    /// None where only a statement was read.
    patch: Option<&'a Patch>,
    rows: Vec<Row>,
    findings: Vec<Finding>,
    beside: Option<Beside>,
}

impl Said<'_> {
    fn report(&self, file: &Path) -> Loose {
        let mut text = format!("`{}` {}\n", file.shown(), self.verdict());
        for (label, line) in self.origin() {
            let _ = writeln!(text, "  {:<10} {line}", format!("{label}:"));
        }
        let _ = write!(text, "\n{}", table(&self.rows));
        let notes = self.notes();
        if !notes.is_empty() {
            text.push('\n');
        }
        for note in &notes {
            let _ = writeln!(text, "note: {note}");
        }
        if !self.findings.is_empty() {
            let _ = writeln!(text, "\nnot in order:");
        }
        for Finding { program, what, remedy } in &self.findings {
            let _ = writeln!(text, "  {program} {what}\n    {remedy}");
        }
        let report = Loose::new("rr-patch/inspect/1", text, self.data(file, &notes));
        if self.findings.is_empty() { report } else { report.found() }
    }

    fn verdict(&self) -> String {
        let controllers = self.rows.iter().skip(1).filter(|row| row.judged).count();
        let recording = self.recording();
        let wrong = count(self.findings.len(), "thing");
        let are = if self.findings.len() == 1 { "is" } else { "are" };
        match (self.kind, self.findings.is_empty()) {
            (Kind::Installer, true) => {
                format!("is a recording installer, and Delve can debug it and its {}", count(controllers, "controller"))
            }
            (Kind::Installer, false) if recording == Some(true) => {
                format!("is a recording installer, but {wrong} {are} not in order")
            }
            (Kind::Installer, false) if recording == Some(false) => {
                format!("is an installer that does not record; {wrong} {are} not in order")
            }
            (Kind::Installer, false) => {
                format!("is not there; this is what was written of it; {wrong} {are} not in order")
            }
            (Kind::Controller, true) => "is a controller that Delve can debug".into(),
            (Kind::Controller, false) => format!("is a controller, and {wrong} {are} not in order"),
            (Kind::Program, true) => {
                "is a Go program that Delve can debug, but neither an installer nor a controller".into()
            }
            (Kind::Program, false) => {
                format!("is neither an installer nor a controller, and {wrong} {are} not in order")
            }
        }
    }

    fn recording(&self) -> Option<bool> {
        self.patch.map(Patch::whole)
    }

    /// What it was built from, and how.
    fn origin(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let facts = self.rows.first().and_then(|row| row.facts.as_ref());
        if let Some(facts) = facts {
            let module = facts.module.as_deref().or(facts.package.as_deref());
            lines.extend(module.map(|module| ("module", format!("{module} ({})", facts.architecture))));
            let version = facts.linked("version.Raw").or(facts.version.clone());
            lines.extend(version.map(|version| ("version", version)));
            lines.extend(self.commit().map(|commit| ("commit", commit)));
        }
        match &self.beside {
            Some(Beside { path, statement, fits }) => {
                let (started, _) = statement.times();
                let fits = match fits {
                    Some(true) => "fits it",
                    Some(false) => "is not about it",
                    None => "could not be compared",
                };
                let by = statement.version("rr-patch").unwrap_or("?");
                lines.push(("built", format!("by rr-patch {by} at {started}; `{}` {fits}", file_name(path))));
                lines.extend(statement.source().map(|source| ("source", source.to_owned())));
                lines.extend(statement.branch().map(|branch| ("branch", branch.to_owned())));
                let patched = statement.patch().map_or("unpatched".into(), |hash| format!("set {}", short(hash)));
                let rules = statement.rules().map_or(String::new(), |hash| format!(", by the rules {}", short(hash)));
                let commit = statement.patched_commit();
                let commit = commit.map_or(String::new(), |commit| format!(", in commit {}", short(commit)));
                lines.push(("patch", format!("{patched}{rules}{commit}")));
                lines.extend(statement.overlay().map(|Kept { folder, files, .. }| {
                    let files = count(files.len(), "file");
                    (
                        "overlaid",
                        format!("{files} that the commit does not have, kept in `{}` beside it", folder.shown()),
                    )
                }));
                lines.push(("options", said_options(statement.parameter("options"))));
                let platforms = words(statement.parameter("platforms"));
                lines.push(("platforms", if platforms.is_empty() { "all".into() } else { platforms }));
            }
            None if self.kind == Kind::Installer => {
                let path = file_name(&provenance::path_of(Path::new(self.name)));
                lines.push(("built", format!("by whom, nothing says: `{path}` is not beside it")));
            }
            None => {}
        }
        lines
    }

    /// The commit, from whoever knows it: the statement, the installer's own version, Go.
    fn commit(&self) -> Option<String> {
        let said = self.beside.as_ref().filter(|beside| beside.fits != Some(false));
        let said = said.and_then(|beside| beside.statement.base().map(str::to_owned));
        let facts = self.rows.first().and_then(|row| row.facts.as_ref());
        said.or_else(|| facts?.linked("version.Commit")).or_else(|| facts?.settings.get("vcs.revision").cloned())
    }

    /// What is worth knowing, and no fault.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for Row { name, facts, .. } in self.rows.iter().filter(|row| row.judged) {
            let Some(Facts { sources, dwarf: true, .. }) = facts else { continue };
            if let Some(missing) = &sources.missing {
                let (gone, all) = (sources.named - sources.here, sources.named);
                notes.push(format!(
                    "{name}: {gone} of {all} sources are not on this host, the first is `{missing}`: \
                     tell Delve where they are, `config substitute-path FROM TO`"
                ));
            }
            if sources.relative > 0 {
                notes.push(format!(
                    "{name}: {} are named without their folder, as -trimpath does: Delve needs `config substitute-path`",
                    count(sources.relative, "source")
                ));
            }
        }
        if let Some(Kept { folder, root, files }) = self.beside.as_ref().and_then(|beside| beside.statement.overlay()) {
            let pairs = files.iter().map(|file| {
                let from = Path::new(&root).join(&file.path).shown();
                format!("\n  config substitute-path {from} {}", folder.join(&file.path).shown())
            });
            notes.push(format!("in Delve, beside the installer:{}", pairs.collect::<String>()));
        }
        notes
    }

    fn data(&self, file: &Path, notes: &[String]) -> Value {
        let rows = self
            .rows
            .iter()
            .map(|Row { name, judged, facts }| json!({ "name": name, "built": judged, "facts": facts }));
        let findings = self
            .findings
            .iter()
            .map(|Finding { program, what, remedy }| json!({ "program": program, "what": what, "remedy": remedy }));
        let beside = self.beside.as_ref().map(|Beside { path, statement, fits }| {
            let (started, finished) = statement.times();
            json!({
                "path": path.in_json(), "fits": fits, "tool": statement.version("rr-patch"), "source": statement.source(),
                "commit": statement.base(), "branch": statement.branch(), "patched_commit": statement.patched_commit(),
                "overlay": statement.overlay(),
                "patch": statement.patch(), "rules": statement.rules(), "started": started, "finished": finished,
                "options": statement.parameter("options"), "platforms": statement.parameter("platforms"),
                "arguments": statement.parameter("arguments"), "environment": statement.parameter("environment"),
                "phases": statement.phases().iter().map(|(name, seconds)| json!({ "name": name, "seconds": seconds })).collect::<Vec<_>>(),
            })
        });
        let facts = self.rows.first().and_then(|row| row.facts.as_ref());
        json!({
            "file": file.in_json(),
            "kind": match self.kind { Kind::Installer => "installer", Kind::Controller => "controller", Kind::Program => "program" },
            "recording": self.recording(),
            "patch": self.patch.map(|patch| json!({ "found": patch.found, "missing": patch.missing })),
            "version": facts.and_then(|facts| facts.linked("version.Raw").or(facts.version.clone())),
            "commit": self.commit(),
            "in_order": self.findings.is_empty(),
            "programs": rows.collect::<Vec<_>>(),
            "provenance": beside,
            "findings": findings.collect::<Vec<_>>(),
            "notes": notes,
        })
    }
}

/// What apply was told, as the command line that says it.
fn said_options(given: &Value) -> String {
    match serde_json::from_value::<Options>(given.clone()) {
        Ok(given) => Some(options(&given)).filter(|text| !text.is_empty()).unwrap_or_else(|| "the defaults".into()),
        Err(_) if given.is_null() => "none".into(),
        Err(_) => given.to_string(),
    }
}

fn words(list: &Value) -> String {
    let words = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
