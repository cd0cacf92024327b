//! What a program is, from what it was built, and whether Delve can debug it.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::changes::options;
use super::document::{Document, Report};
use super::table::Table;
use crate::binary::{Content, EmbeddedFile, Facts, Finding, Installer, Kind, Patch};
use crate::error::{Shown, plain_name};
use crate::patch::checkout::short;
use crate::patch::rules::Options;
use crate::patch::rules::chaos::awake;
use crate::provenance::{self, Kept, Statement};
use crate::words::count;

/// What a program is, from what it was built, and whether Delve can debug it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Inspected {
    file: String,
    kind: Kind,
    /// Whether it records; nothing where the program itself is not there.
    recording: Option<bool>,
    /// Nothing where the program itself is not there.
    patch: Option<Patch>,
    version: Option<String>,
    /// The commit that it was built from.
    commit: Option<String>,
    in_order: bool,
    programs: Vec<Program>,
    /// What `rr-patch build` left beside it.
    provenance: Option<Provenance>,
    findings: Vec<Finding>,
    /// What is worth knowing, and no fault.
    notes: Vec<String>,
    /// The file's own name.
    #[serde(skip)]
    name: String,
}

/// The program itself, or one that it embeds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Program {
    pub name: String,
    /// Whether it has to be in order: what was downloaded need not.
    pub built: bool,
    /// Nothing where it could not be read.
    pub facts: Option<Facts>,
}

/// The file beside an installer, and whether it is about that installer.
#[derive(Debug)]
pub struct Beside<'a> {
    pub path: &'a Path,
    pub statement: &'a Statement,
    pub fits: Option<bool>,
}

/// What `rr-patch build` wrote of an installer.
#[derive(Debug, Serialize, JsonSchema)]
struct Provenance {
    path: String,
    /// Whether it is about this installer; nothing where that could not be compared.
    fits: Option<bool>,
    /// The version of rr-patch.
    tool: Option<String>,
    /// Where the sources can be had.
    source: Option<String>,
    /// The commit that was checked out.
    commit: Option<String>,
    /// The branch of that commit.
    branch: Option<String>,
    /// The commit that was built, where that is one of the changes on top of `commit`.
    patched_commit: Option<String>,
    /// The hash of the patch; nothing where it was built unpatched.
    patch: Option<String>,
    /// The hash of the rules that made the patch.
    rules: Option<String>,
    /// The hash of the rules of the chaos overlay; nothing where controllers were built without it.
    chaos: Option<String>,
    /// The sources that are not in that commit; nothing where no overlay was used.
    overlay: Option<Kept>,
    started: String,
    finished: String,
    /// The options of `apply`, or the patches.
    options: Value,
    platforms: Value,
    arguments: Value,
    environment: Value,
    phases: Vec<Phase>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Phase {
    name: String,
    seconds: f64,
}

impl Provenance {
    fn of(Beside { path, statement, fits }: &Beside) -> Self {
        let (started, finished) = statement.times();
        let phase = |(name, seconds): (&str, f64)| Phase { name: name.to_owned(), seconds };
        Self {
            path: path.in_json(),
            fits: *fits,
            tool: statement.version("rr-patch").map(str::to_owned),
            source: statement.source().map(str::to_owned),
            commit: statement.base().map(str::to_owned),
            branch: statement.branch().map(str::to_owned),
            patched_commit: statement.patched_commit().map(str::to_owned),
            patch: statement.patch().map(str::to_owned),
            rules: statement.rules().map(str::to_owned),
            chaos: statement.chaos().map(str::to_owned),
            overlay: statement.overlay(),
            started: started.to_owned(),
            finished: finished.to_owned(),
            options: statement.parameter("options").clone(),
            platforms: statement.parameter("platforms").clone(),
            arguments: statement.parameter("arguments").clone(),
            environment: statement.parameter("environment").clone(),
            phases: statement.phases().into_iter().map(phase).collect(),
        }
    }
}

impl Inspected {
    /// `programs` begins with that of the file. Without a `patch` only a statement was read.
    pub fn new(
        file: &Path,
        kind: Kind,
        patch: Option<&Patch>,
        programs: Vec<Program>,
        beside: Option<&Beside>,
        findings: Vec<Finding>,
    ) -> Report<Self> {
        let facts = programs.first().and_then(|program| program.facts.as_ref());
        let version = facts.and_then(|facts| facts.linked("version.Raw").or(facts.version.clone()));
        // The commit, from whoever knows it: the statement, the installer's own version, Go.
        let stated = beside.filter(|beside| beside.fits != Some(false)).and_then(|beside| beside.statement.base());
        let linked = || facts?.linked("version.Commit").or_else(|| facts?.settings.get("vcs.revision").cloned());
        let commit = stated.map(str::to_owned).or_else(linked);
        let in_order = findings.is_empty();
        let provenance = beside.map(Provenance::of);
        let notes = programs.iter().filter(|program| program.built).flat_map(Program::notes);
        let inspected = Self {
            file: file.in_json(),
            kind,
            recording: patch.map(Patch::whole),
            patch: patch.cloned(),
            version,
            commit,
            in_order,
            findings,
            notes: chaos_of(&programs)
                .into_iter()
                .chain(notes)
                .chain(provenance.iter().filter_map(Provenance::substitutions))
                .collect(),
            provenance,
            programs,
            name: file_name(file),
        };
        Report::in_order(inspected, in_order)
    }

    fn verdict(&self) -> String {
        let controllers = self.programs.iter().skip(1).filter(|program| program.built).count();
        let wrong = count(self.findings.len(), "thing");
        let are = if self.findings.len() == 1 { "is" } else { "are" };
        match (self.kind, self.in_order) {
            (Kind::Installer, true) => {
                format!("is a recording installer, and Delve can debug it and its {}", count(controllers, "controller"))
            }
            (Kind::Installer, false) if self.recording == Some(true) => {
                format!("is a recording installer, but {wrong} {are} not in order")
            }
            (Kind::Installer, false) if self.recording == Some(false) => {
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

    /// What it was built from, and how.
    fn origin(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(facts) = self.programs.first().and_then(|program| program.facts.as_ref()) {
            let module = facts.module.as_deref().or(facts.package.as_deref());
            lines.extend(module.map(|module| ("module", format!("{module} ({})", facts.architecture))));
            lines.extend(self.version.clone().map(|version| ("version", version)));
            lines.extend(self.commit.clone().map(|commit| ("commit", commit)));
        }
        match &self.provenance {
            Some(provenance) => provenance.lines(&mut lines),
            None if self.kind == Kind::Installer => {
                let path = file_name(&provenance::path_of(Path::new(&self.name)));
                lines.push(("built", format!("by whom, nothing says: `{path}` is not beside it")));
            }
            None => {}
        }
        lines
    }
}

impl Provenance {
    /// Where Delve finds the sources that were overlaid, if there are some.
    fn substitutions(&self) -> Option<String> {
        let Kept { folder, root, files } = self.overlay.as_ref()?;
        let pairs = files.iter().map(|file| {
            let from = Path::new(root).join(&file.path).shown();
            format!("\n  config substitute-path {from} {}", folder.join(&file.path).shown())
        });
        Some(format!("in Delve, beside the installer:{}", pairs.collect::<String>()))
    }

    fn lines(&self, lines: &mut Vec<(&'static str, String)>) {
        let fits = match self.fits {
            Some(true) => "fits it",
            Some(false) => "is not about it",
            None => "could not be compared",
        };
        let (by, started) = (self.tool.as_deref().unwrap_or("?"), &self.started);
        let name = file_name(Path::new(&self.path));
        lines.push(("built", format!("by rr-patch {by} at {started}; `{name}` {fits}")));
        lines.extend(self.source.clone().map(|source| ("source", source)));
        lines.extend(self.branch.as_deref().map(|branch| ("branch", plain_name(branch))));
        let patched = self.patch.as_ref().map_or("unpatched".into(), |hash| format!("set {}", short(hash)));
        let rules = self.rules.as_ref().map_or(String::new(), |hash| format!(", by the rules {}", short(hash)));
        let commit = self.patched_commit.as_ref();
        let commit = commit.map_or(String::new(), |commit| format!(", in commit {}", short(commit)));
        lines.push(("patch", format!("{patched}{rules}{commit}")));
        lines.extend(self.overlay.as_ref().map(|Kept { folder, files, .. }| {
            let files = count(files.len(), "file");
            ("overlaid", format!("{files} that the commit does not have, kept in `{}` beside it", folder.shown()))
        }));
        lines.extend(self.chaos.as_ref().map(|hash| ("chaos", format!("controllers, by the rules {}", short(hash)))));
        lines.push(("options", options_of(&self.options)));
        let platforms: Vec<&str> = self.platforms.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        lines.push(("platforms", if platforms.is_empty() { "all".into() } else { platforms.join(" ") }));
    }
}

impl Program {
    /// An installer and what it embeds.
    pub fn all(name: &str, installer: &Installer) -> Vec<Self> {
        let itself = Self { name: name.to_owned(), built: true, facts: Some(installer.facts.clone()) };
        let embedded = |entry: &EmbeddedFile| Self {
            name: entry.name.clone(),
            built: entry.controller(),
            facts: match &entry.content {
                Content::Program(facts) => Some((**facts).clone()),
                Content::Other { .. } | Content::Broken(_) => None,
            },
        };
        [itself].into_iter().chain(installer.entries.iter().map(embedded)).collect()
    }

    fn notes(&self) -> Vec<String> {
        let (name, mut notes) = (&self.name, Vec::new());
        let Some(Facts { sources, dwarf: true, .. }) = &self.facts else { return notes };
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
        notes
    }

    fn row(&self) -> [String; 8] {
        let name = if self.built { self.name.clone() } else { format!("{} (not built here)", self.name) };
        let Some(facts) = &self.facts else {
            return [name.as_str(), "-", "-", "-", "-", "-", "-", "-"].map(str::to_owned);
        };
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
            sources if sources.named == 0 && sources.relative > 0 => {
                format!("? ({} without a folder)", sources.relative)
            }
            sources if sources.named == 0 => "-".into(),
            sources if sources.here == sources.named => format!("all {}", sources.named),
            sources => format!("{} of {}", sources.here, sources.named),
        };
        let id = facts.gnu_build_id.as_deref().or(facts.build_id.as_deref());
        [
            name,
            facts.go.clone().unwrap_or_else(|| "-".into()),
            dwarf,
            plain.into(),
            if facts.stripped { "none" } else { "yes" }.into(),
            linked(facts),
            sources,
            id.map_or("-".into(), |id| short(id).to_owned()),
        ]
    }
}

/// Which programs were built with the chaos overlay.
fn chaos_of(programs: &[Program]) -> Option<String> {
    let with = programs.iter().filter(|program| program.facts.as_ref().is_some_and(|facts| facts.chaos));
    let names: Vec<&str> = with.map(|program| program.name.as_str()).collect();
    let all = names.join(", ");
    let wakes = awake("1/4");
    (!names.is_empty()).then(|| format!("{all}: built with the chaos overlay, which sleeps until `{wakes}` is set"))
}

fn linked(facts: &Facts) -> String {
    match facts.glibc {
        Some((major, minor)) => format!("dynamic, glibc {major}.{minor}"),
        None if facts.dynamic => "dynamic".into(),
        None => "static".into(),
    }
}

/// What apply was told, as the command line that says it.
fn options_of(given: &Value) -> String {
    match serde_json::from_value::<Options>(given.clone()) {
        Ok(given) => Some(options(&given)).filter(|text| !text.is_empty()).unwrap_or_else(|| "the defaults".into()),
        Err(_) if given.is_null() => "none".into(),
        Err(_) => given.to_string(),
    }
}

/// The last element of a path.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Document for Inspected {
    const SCHEMA: &'static str = "rr-patch/inspect/1";
}

impl fmt::Display for Inspected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}` {}", plain_name(&self.file), self.verdict())?;
        for (label, line) in self.origin() {
            writeln!(f, "  {:<10} {line}", format!("{label}:"))?;
        }
        let head = ["program", "go", "DWARF", "-N -l", "symbols", "linked", "sources here", "build id"];
        let rows: Vec<_> = self.programs.iter().map(Program::row).collect();
        let table = Table { head, rows: &rows, right: &[], spared: &[7, 4, 6, 1] };
        write!(f, "\n{}", table.within(f.width()))?;
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        if !self.findings.is_empty() {
            writeln!(f, "\nnot in order:")?;
        }
        self.findings
            .iter()
            .try_for_each(|Finding { program, what, remedy }| writeln!(f, "  {program} {what}\n    {remedy}"))
    }
}
