//! The changes of a plan, how they came about, and the options that they were made with.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Shown;
use crate::patch::checkout::Checkout;
use crate::patch::journal::JournalHeader;
use crate::patch::plan::{AppliedWith, Plan};
use crate::patch::rules::{CHANGES, Options};
use crate::patch::unified::Label;

/// How the changes came about.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Origin {
    /// How the sources looked, in the rules' words; absent of a patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<String>,
    /// The options of `apply`; absent of a patch. Another version of rr-patch may have other ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Value>,
    /// The patches, in their order; absent of structural changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    patches: Option<Vec<Label>>,
}

impl Origin {
    pub fn of(how: &AppliedWith, plan: &Plan) -> Self {
        match how {
            AppliedWith::Structural { options } => {
                Self { shape: Some(plan.shape.clone()), options: Some(json!(options)), patches: None }
            }
            AppliedWith::Classic { patches } => Self { patches: Some(patches.clone()), ..Self::default() },
        }
    }

    /// Of a tree that is known by its sources only: what its mark says.
    pub fn given(options: &Value) -> Self {
        Self { options: Some(options.clone()), ..Self::default() }
    }
}

/// How a plan came about, in a few words.
pub fn by(how: &AppliedWith, plan: &Plan) -> String {
    match how {
        AppliedWith::Structural { .. } => format!("shape {}", plan.shape),
        AppliedWith::Classic { .. } => format!("with {}", plan.shape),
    }
}

/// One change, and where it is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Change {
    #[serde(rename = "change")]
    name: String,
    sites: Vec<Place>,
    #[serde(skip)]
    does: &'static str,
}

/// A place in a patched file.
#[derive(Debug, Serialize, JsonSchema)]
struct Place {
    /// From the installer's root.
    path: String,
    /// From 1.
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

impl Change {
    pub fn all(plan: &Plan) -> Vec<Self> {
        let place = |path: &str, line| Place { path: path.to_owned(), line };
        let sites = |change: &str| {
            plan.sites.iter().filter(|site| site.change == change).map(|site| place(&site.path, site.line)).collect()
        };
        let one = |(change, does): (&str, _)| Self { name: change.to_owned(), sites: sites(change), does };
        named(plan).into_iter().map(one).collect()
    }
}

/// The places of all changes, a line each, under the name of the change.
pub struct Places<'a>(pub &'a [Change]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = width(self.0.iter().map(|change| change.name.as_str()));
        let indent = indent(f, width + 5, self.0.iter().flat_map(|change| &change.sites).map(ToString::to_string));
        for Change { name, does, sites } in self.0 {
            writeln!(f, "  {name:<width$} {does}")?;
            sites.iter().try_for_each(|site| writeln!(f, "{:indent$}{site}", ""))?;
        }
        Ok(())
    }
}

/// The names of a plan's changes and what each does: those of the rules, or a patch's hunks.
pub(super) fn named(plan: &Plan) -> Vec<(&str, &'static str)> {
    let known = |change: &str| CHANGES.iter().find(|(name, _)| *name == change);
    let mut named: Vec<(&str, &str)> = Vec::new();
    for site in &plan.sites {
        if !named.iter().any(|(name, _)| *name == site.change) {
            named.push(known(&site.change).map_or((&site.change, "its hunks"), |known| *known));
        }
    }
    named
}

/// How wide a column of their names is.
pub(super) fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or_default().max(16)
}

/// How far places are indented: `below` the words about their change, or little where a terminal is too narrow for the
/// widest of them there.
pub(super) fn indent(f: &fmt::Formatter<'_>, below: usize, places: impl Iterator<Item = String>) -> usize {
    let widest = places.map(|place| place.chars().count()).max().unwrap_or_default();
    if f.width().is_some_and(|columns| below + widest > columns) { 4 } else { below }
}

/// The options as the command line that gives them; nothing for the defaults.
pub fn options(options: &Options) -> String {
    let standard = Options::default();
    let value = |v: Value| v.as_str().unwrap_or_default().to_owned();
    let mut words = Vec::new();
    if options.controllers != standard.controllers {
        words.push(format!("--controllers {}", options.controllers.join(",")));
    }
    words.extend(options.rr.iter().map(|rr| format!("--rr {rr}")));
    words.extend(options.rr_args.iter().map(|arg| format!("--rr-arg={arg}")));
    if options.bind_to_cpu != standard.bind_to_cpu {
        words.push(format!("--bind-to-cpu {}", options.bind_to_cpu.map_or("none".into(), |cpu| cpu.to_string())));
    }
    if options.avx512 != standard.avx512 {
        words.push(format!("--avx512 {}", value(json!(options.avx512))));
    }
    if options.signal != standard.signal {
        words.push(format!("--signal {}", value(json!(options.signal))));
    }
    words.extend(options.rules.iter().map(|digest| format!("--rules {digest}")));
    words.join(" ")
}

/// A commit's message: who made it, of what, and how to be rid of it.
pub fn message(about: &JournalHeader, plan: &Plan) -> String {
    let what = match &about.how {
        AppliedWith::Structural { options } => match self::options(options) {
            given if given.is_empty() => "Options: the defaults".into(),
            given => format!("Options: {given}"),
        },
        AppliedWith::Classic { patches } => {
            let line = |label: &Label| format!("Patch: {}, git blob {}", label.name, label.hash);
            patches.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    };
    format!(
        "Run Cluster API controllers under rr record\n\nMade by rr-patch {}, {}.\n{what}\nBase: {}\n\n`rr-patch revert` takes it back.\n",
        about.tool,
        by(&about.how, plan),
        about.base.as_deref().unwrap_or("none")
    )
}

/// The installer's root of a checkout, as JSON has it.
pub(super) fn root(checkout: &Checkout) -> String {
    checkout.root().in_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_shown_as_the_words_that_give_them() {
        assert_eq!(options(&Options::default()), "");
        let given = Options { bind_to_cpu: None, rr_args: vec!["--chaos".into()], ..Options::default() };
        assert_eq!(options(&given), "--rr-arg=--chaos --bind-to-cpu none");
    }
}
