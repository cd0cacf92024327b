//! Which changes are in place, and what was edited since.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::changes::{self, Origin, by, indent, named, root, width};
use super::document::{Document, Report};
use super::manners::{Mark, Meaning, begins, cell, common};
use crate::error::plain_name;
use crate::patch::checkout::{Checkout, Commit, Content, short};
use crate::patch::journal::{Journal, JournalHeader, Seen, State};
use crate::patch::plan::{AppliedWith, Plan};
use crate::patch::recognise::{Found, Marked};
use crate::patch::rules::{Options, Site};
use crate::patch::unified::Label;

/// Which changes are in place, and what was edited since.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Status {
    Known(Box<Known>),
    Unpatched(Unpatched),
}

/// No change was ever made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Unpatched {
    /// Always false.
    patched: bool,
    /// The installer's folder.
    root: String,
}

/// Changes that a journal knows of, or the sources themselves.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Known {
    /// Whether every file is as `apply` leaves it.
    patched: bool,
    state: Whole,
    /// The installer's folder.
    root: String,
    /// The version of rr-patch that made the changes.
    tool: String,
    /// The commit that was checked out when they were made.
    base: Option<String>,
    /// The commit of the changes.
    commit: Option<Commit>,
    changes: Vec<Change>,
    files: Vec<File>,
    /// Where git has the originals; nothing where a journal has them, or where they are not known.
    originals: Option<Originals>,
    #[serde(flatten)]
    with: Origin,
    /// The recorder's command line, up to the program that it records.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    /// Of a tree that is known by its sources only: places that are still to be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_patched: Option<Vec<Site>>,
    /// Of such a tree: why its originals are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Vec<String>>,
    /// What would make them known.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<Vec<String>>,
    #[serde(skip)]
    told: Told,
}

/// How much of the changes is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
enum Whole {
    #[serde(rename = "patched")]
    Patched,
    /// Some changes are in place and others are not.
    #[serde(rename = "partly patched")]
    Partly,
    /// No change is whole.
    #[serde(rename = "edited")]
    Edited,
    #[serde(rename = "not patched")]
    Not,
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patched => "patched",
            Self::Partly => "partly patched",
            Self::Edited => "edited",
            Self::Not => "not patched",
        })
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    #[serde(rename = "change")]
    name: String,
    in_place: bool,
    sites: Vec<Place>,
    #[serde(skip)]
    does: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Place {
    /// From the installer's root.
    path: String,
    /// Where it is now, from 1; nothing where it is gone or edited.
    line: Option<usize>,
    /// Where `apply` left it.
    #[serde(skip)]
    was: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, was } = self;
        match line {
            Some(line) => write!(f, "{path}:{line}"),
            None => write!(f, "{path}:{was} is gone or edited"),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct File {
    /// From the installer's root.
    path: String,
    state: FileState,
    added: bool,
    #[serde(skip)]
    note: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FileState {
    Patched,
    Original,
    Edited,
    /// The beginning of what it was or became, written before the machine went down.
    #[serde(rename = "cut off")]
    CutOff,
    Missing,
}

/// Originals that no journal holds.
#[derive(Debug, Serialize, JsonSchema)]
struct Originals {
    commit: String,
    /// Files in which edits lie beside the changes.
    merged: Vec<String>,
}

/// Who knows of the changes, with what only the text tells.
#[derive(Debug)]
enum Told {
    Journal {
        by: String,
        /// The lines of how the controllers are recorded, or of the patches.
        how: String,
        /// The commit of the changes is not what is checked out.
        elsewhere: bool,
    },
    Sources {
        how: String,
    },
}

impl Status {
    pub fn not_patched(checkout: &Checkout) -> Report<Self> {
        Report::done(Self::Unpatched(Unpatched { patched: false, root: root(checkout) }))
    }

    /// What a journal knows; its originals may have been `found` in git.
    pub fn of(checkout: &Checkout, journal: &Journal, seen: &[Seen], found: Option<&Found>) -> Report<Self> {
        let JournalHeader { tool, base, how, commit } = &journal.about;
        let changes = Change::all(&journal.plan, seen);
        let state = whole(&changes);
        let lines = match how {
            AppliedWith::Structural { options } => recording(options),
            AppliedWith::Classic { patches } => patches.iter().fold(String::new(), |lines, Label { name, hash }| {
                lines + &format!("patch:   {name}, git blob {}\n", short(hash))
            }),
        };
        let command = match how {
            AppliedWith::Structural { options } => Some(options.command()),
            AppliedWith::Classic { .. } => None,
        };
        let known = Known {
            patched: seen.iter().all(|seen| seen.state == State::Patched),
            state,
            root: root(checkout),
            tool: tool.clone(),
            base: base.clone(),
            commit: commit.clone(),
            changes,
            files: seen.iter().map(File::of).collect(),
            originals: found.map(|found| Originals { commit: found.commit.clone(), merged: found.merged.clone() }),
            with: Origin::of(how, &journal.plan),
            command,
            told: Told::Journal {
                by: by(how, &journal.plan),
                how: lines,
                elsewhere: commit.as_ref().is_some_and(|commit| !checkout.is_at(commit)),
            },
            not_patched: None,
            why: None,
            needs: None,
        };
        Report::in_order(Self::Known(Box::new(known)), state != Whole::Partly)
    }

    /// A tree whose originals are not known: what its sources say of it.
    pub fn marked(checkout: &Checkout, marked: &Marked) -> Report<Self> {
        let Marked { mark, open, why, needs, nearest: _, current: _ } = marked;
        let how = match &mark.options {
            Some(options) => recording(options),
            None => format!("options: {}\n", mark.given),
        };
        let known = Known {
            patched: open.is_empty(),
            state: if open.is_empty() { Whole::Patched } else { Whole::Partly },
            root: root(checkout),
            tool: mark.tool.clone(),
            with: Origin::given(&mark.given),
            command: mark.options.as_ref().map(Options::command),
            not_patched: Some(open.clone()),
            why: Some(why.clone()),
            needs: Some(needs.clone()),
            told: Told::Sources { how },
            base: None,
            commit: None,
            changes: Vec::new(),
            files: Vec::new(),
            originals: None,
        };
        Report::in_order(Self::Known(Box::new(known)), open.is_empty())
    }
}

impl Change {
    fn all(plan: &Plan, seen: &[Seen]) -> Vec<Self> {
        let place = |site: &Site| {
            let file = seen.iter().find(|seen| seen.rewrite.path == site.path);
            let line = file.and_then(|seen| seen.line_now(site.line));
            Place { path: site.path.clone(), line, was: site.line }
        };
        let one = |(change, does): (&str, _)| {
            let sites: Vec<Place> = plan.sites.iter().filter(|site| site.change == change).map(place).collect();
            Self { name: change.to_owned(), in_place: sites.iter().all(|site| site.line.is_some()), sites, does }
        };
        named(plan).into_iter().map(one).collect()
    }

    /// How many of its places are gone or edited.
    fn gone(&self) -> usize {
        self.sites.iter().filter(|site| site.line.is_none()).count()
    }
}

fn whole(changes: &[Change]) -> Whole {
    let in_place = changes.iter().filter(|change| change.in_place).count();
    let any = changes.iter().any(|change| change.gone() < change.sites.len());
    match in_place {
        _ if in_place == changes.len() => Whole::Patched,
        0 if any => Whole::Edited,
        0 => Whole::Not,
        _ => Whole::Partly,
    }
}

impl File {
    fn of(Seen { rewrite, current, state }: &Seen) -> Self {
        let mode = |content: &Option<Content>| content.as_ref().map(|content| content.mode);
        let (state, note) = match state {
            State::Patched if mode(current) != mode(&rewrite.after) => (
                FileState::Patched,
                Some("has another mode than apply left it with: `rr-patch revert` brings the original one back"),
            ),
            State::Patched => (FileState::Patched, None),
            State::Original if rewrite.before.is_none() => {
                (FileState::Original, Some("was removed since: `rr-patch apply` adds it again"))
            }
            State::Original => (FileState::Original, Some("has its original bytes: `rr-patch apply` patches it again")),
            State::Edited => (FileState::Edited, Some("was edited since apply: `rr-patch revert` keeps such edits")),
            State::CutOff => {
                (FileState::CutOff, Some("is cut off: `rr-patch apply` or `rr-patch revert` makes it whole"))
            }
            State::Missing => (FileState::Missing, Some("was deleted since apply")),
        };
        Self { path: rewrite.path.clone(), state, added: rewrite.before.is_none(), note }
    }
}

/// How controllers are recorded with these options.
fn recording(given: &Options) -> String {
    let shown = changes::options(given);
    let shown = if shown.is_empty() { "the defaults" } else { &shown };
    format!("options: {shown}\nrecords: {} <controller>\n", given.command().join(" "))
}

impl Document for Status {
    const SCHEMA: &'static str = "rr-patch/status/1";

    fn marks(&self, line: &str) -> Vec<Mark> {
        let heads = [
            ("patched:", Meaning::Good),
            ("partly patched:", Meaning::Bad),
            ("edited:", Meaning::Doubtful),
            ("not patched:", Meaning::Doubtful),
            ("since then:", Meaning::Doubtful),
        ];
        let marks = [("NOT in place", Meaning::Bad), ("NOT whole", Meaning::Bad), ("in place", Meaning::Good)];
        let head = begins(line, &heads).filter(|_| !line.starts_with(' '));
        // A mark stands beside the name of a change, in a cell that may be as wide as the mark.
        let mark = || {
            let (word, meaning) =
                marks.iter().find(|(word, _)| line.starts_with("  ") && line.contains(&format!(" {word} ")))?;
            let at = line.find(word)?;
            Some((at..at + word.len(), *meaning))
        };
        match head.or_else(mark).or_else(|| cell(line, &marks)) {
            Some(mark) => vec![mark],
            None => common(line),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(known) => known.fmt(f),
            Self::Unpatched(Unpatched { root, .. }) => {
                writeln!(f, "`{}` is not patched: `rr-patch apply` does it", plain_name(root))
            }
        }
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, root) = (self.state, plain_name(&self.root));
        match &self.told {
            Told::Journal { by, how, elsewhere } => {
                writeln!(f, "{state}: `{root}`, {by}")?;
                self.of_journal(f, how, *elsewhere)
            }
            Told::Sources { how } => {
                writeln!(f, "{state}: `{root}`")?;
                self.of_sources(f, how)
            }
        }
    }
}

impl Known {
    fn of_journal(&self, f: &mut fmt::Formatter<'_>, how: &str, elsewhere: bool) -> fmt::Result {
        let on = self.base.as_ref().map_or(String::new(), |base| format!(" on {}", short(base)));
        writeln!(f, "by:      rr-patch {}{on}", self.tool)?;
        if let Some(Originals { commit, .. }) = &self.originals {
            writeln!(f, "known:   by its sources; `{}` has the originals", short(commit))?;
        }
        if let Some(commit) = &self.commit {
            let gone = if elsewhere { ", which is not what is checked out" } else { "" };
            writeln!(f, "commit:  {}{gone}", short(&commit.id))?;
        }
        writeln!(f, "{how}")?;
        let width = width(self.changes.iter().map(|change| change.name.as_str()));
        let places = self.changes.iter().flat_map(|change| &change.sites).map(ToString::to_string);
        let indent = indent(f, width + 17, places);
        for one in &self.changes {
            let mark = match one.gone() {
                0 => "in place",
                gone if gone == one.sites.len() => "NOT in place",
                _ => "NOT whole",
            };
            writeln!(f, "  {:<width$} {mark:<13} {}", one.name, one.does)?;
            one.sites.iter().try_for_each(|site| writeln!(f, "{:indent$}{site}", ""))?;
        }
        let noted: Vec<_> = self.files.iter().filter_map(|file| Some((&file.path, file.note?))).collect();
        let merged: Vec<_> = self.originals.iter().flat_map(|originals| &originals.merged).collect();
        if noted.is_empty() && merged.is_empty() {
            return writeln!(f, "\nnothing was edited since");
        }
        writeln!(f, "\nsince then:")?;
        noted.iter().try_for_each(|(path, note)| writeln!(f, "  {path} {note}"))?;
        merged.iter().try_for_each(|path| {
            writeln!(f, "  {path} was edited beside the changes: `rr-patch revert` keeps such edits")
        })
    }

    fn of_sources(&self, f: &mut fmt::Formatter<'_>, how: &str) -> fmt::Result {
        write!(f, "by:      rr-patch {}\nknown:   by its sources\n{how}", self.tool)?;
        let open = self.not_patched.as_deref().unwrap_or_default();
        if !open.is_empty() {
            writeln!(f, "\nnot patched:")?;
        }
        for site in open {
            writeln!(f, "  {:<16} {}:{}", site.change, site.path, site.line)?;
        }
        writeln!(f, "\nthe originals are not known, so `rr-patch revert` is refused:")?;
        self.why.iter().chain(&self.needs).flatten().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
