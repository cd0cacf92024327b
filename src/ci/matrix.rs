//! Which installers there are to build: a row for each branch and platform, read from the object database.
//!
//! Many branches share their sources. Each set of them is planned once, and each set of platforms read once.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write as _};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::row::{self, Row, platform_in_words};
use crate::builder::Platforms;
use crate::error::Error;
use crate::patch::checkout::{Content, History, Revision, TreeEntry};
use crate::patch::plan::PatchSource;
use crate::patch::rules::{Options, Rules, digest};
use crate::sys::parallel;
use crate::words::count;

/// All that there is to build, and what there is not, each with the reason.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// The version of rr-patch that made it.
    pub tool: String,
    pub rows: Vec<Row>,
    /// Branches that are not built, because they do not fit or lack a platform.
    pub refused: Vec<Refused>,
    /// Rows that were built before, as `--changed-since` says.
    pub skipped: Vec<Row>,
    /// The names of rows beyond the engine's limit: those of the oldest commits.
    pub left_out: Vec<String>,
}

/// A branch that is not built for a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    #[serde(rename = "ref")]
    pub reference: String,
    pub commit: String,
    /// The platform; empty where none would fit.
    pub platform: String,
    pub why: String,
    /// Where, what was expected, what was found.
    pub details: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub refs: Vec<String>,
    /// One row for each; a single one for all where there is none.
    pub platforms: Vec<String>,
    pub options: Options,
    /// The most rows that the engine takes.
    pub limit: usize,
    /// The ids of what was built before.
    pub built: HashSet<String>,
}

/// What is known of a revision before anything is planned.
struct Known {
    revision: Revision,
    /// Which set of sources it has, or why that is not known.
    set: Result<usize, Refused>,
    go: String,
    sums: Vec<String>,
    platforms: Result<Vec<String>, String>,
}

/// The files whose hashes say whether a cache of Go still fits.
const SUMS: [&str; 2] = ["go.sum", "cluster-api/cluster-api/go.sum"];

impl Matrix {
    /// The value of `schema` in its document.
    pub const SCHEMA: &'static str = "rr-patch/ci-matrix/1";

    /// The document, as `--format json` prints it.
    pub fn document(&self) -> Result<String> {
        let mut document = json!({ "schema": Self::SCHEMA });
        if let (Some(all), Value::Object(own)) = (document.as_object_mut(), serde_json::to_value(self)?) {
            all.extend(own);
        }
        Ok(format!("{document:#}\n"))
    }

    /// # Errors
    /// A repository that cannot be read, a glob that matches nothing.
    pub fn of(history: &History, wanted: &Wanted) -> Result<Self> {
        let mut revisions: Vec<Revision> = Vec::new();
        for glob in &wanted.refs {
            revisions.extend(history.matching(glob)?);
        }
        // The newest first, so that a limit leaves the oldest out.
        revisions.sort_by(|one, other| other.time.cmp(&one.time).then_with(|| one.name.cmp(&other.name)));
        revisions.dedup();
        if revisions.is_empty() {
            return Err(Error::refused(format!("no reference matches `{}`", wanted.refs.join("`, `")))
                .hint("`git for-each-ref` lists the names; a glob like `refs/heads/release-*` is matched whole")
                .into());
        }
        let rules = Rules::built_in()?;
        let (known, sets) = read(history, revisions, &rules.source_paths(), wanted);
        let recipe = PatchSource::Structural(wanted.options.clone(), rules);
        let shapes = plan(&sets, &recipe);
        Ok(Self::assemble(&known, &shapes, wanted))
    }

    fn assemble(known: &[Known], shapes: &[Result<String, (String, Vec<String>)>], wanted: &Wanted) -> Self {
        let (rules, options) = (digest(), json!(wanted.options));
        let all = [String::new()];
        let platforms = if wanted.platforms.is_empty() { &all[..] } else { &wanted.platforms };
        let mut matrix = Self { tool: env!("CARGO_PKG_VERSION").into(), ..Self::default() };
        for Known { revision, set, go, sums, platforms: there } in known {
            let Revision { name: reference, commit, .. } = revision;
            let refuse = |platform: &str, why: &str, details: &[String]| Refused {
                reference: reference.clone(),
                commit: commit.clone(),
                platform: platform.to_owned(),
                why: why.to_owned(),
                details: details.to_vec(),
            };
            let shape = match set {
                Err(refused) => {
                    matrix.refused.push(refused.clone());
                    continue;
                }
                Ok(set) => match &shapes[*set] {
                    Ok(shape) => shape,
                    Err((why, details)) => {
                        matrix.refused.push(refuse("", why, details));
                        continue;
                    }
                },
            };
            for platform in platforms {
                match there {
                    Err(why) if !platform.is_empty() => {
                        matrix.refused.push(refuse(platform, why, &[]));
                        continue;
                    }
                    Ok(there) if !platform.is_empty() && !there.contains(platform) => {
                        let known = format!("known: {}", there.join(", "));
                        matrix.refused.push(refuse(platform, "no such platform in this branch", &[known]));
                        continue;
                    }
                    _ => {}
                }
                let row = Row {
                    id: row::id(commit, platform, &rules, &options),
                    reference: reference.clone(),
                    commit: commit.clone(),
                    platform: platform.clone(),
                    go: go.clone(),
                    shape: shape.clone(),
                    rules: rules.clone(),
                    name: row::name(reference, platform, commit),
                    key: row::key(go, platform, &options, sums),
                    options: options.clone(),
                };
                match () {
                    () if wanted.built.contains(&row.id) => matrix.skipped.push(row),
                    () if matrix.rows.len() >= wanted.limit => matrix.left_out.push(row.name),
                    () => matrix.rows.push(row),
                }
            }
        }
        matrix
    }

    /// # Errors
    /// A file that is no matrix.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self, Error> {
        let refused = |why: String| {
            Error::refused(format!("`{name}` is no matrix"))
                .detail(format!("found: {why}"))
                .hint("`rr-patch ci matrix --format json` prints one")
        };
        let value: Value = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        match value["schema"].as_str() {
            Some(schema) if schema == Self::SCHEMA => {
                serde_json::from_value(value).map_err(|error| refused(error.to_string()))
            }
            Some(schema) => Err(refused(format!("the schema `{}`", schema.escape_debug()))),
            None => Err(refused("JSON without a `schema`".into())),
        }
    }

    /// The ids of all that it says is built: its rows, and those that were built before it.
    pub fn built(&self) -> HashSet<String> {
        self.rows.iter().chain(&self.skipped).map(|row| row.id.clone()).collect()
    }

    /// The tables in Markdown, for a job's summary.
    pub fn markdown(&self) -> String {
        let mut text = format!("## Recording installers\n\n{}\n", self.counts());
        if !self.rows.is_empty() {
            text.push_str("\n| branch | platform | commit | Go | shape |\n| --- | --- | --- | --- | --- |\n");
        }
        for Row { reference, platform, commit, go, shape, .. } in &self.rows {
            let cells =
                [cell(reference), cell(platform_in_words(platform)), cell(&commit[..12]), cell(go), cell(shape)];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        if !self.refused.is_empty() {
            text.push_str("\n### Not built\n\n| branch | platform | why |\n| --- | --- | --- |\n");
        }
        for Refused { reference, platform, why, details, .. } in &self.refused {
            let why = [why.as_str()].into_iter().chain(details.iter().map(String::as_str)).collect::<Vec<_>>();
            let cells = [cell(reference), cell(platform_in_words(platform)), cell(&why.join("; "))];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        if !self.left_out.is_empty() {
            let _ = writeln!(text, "\nLeft out, beyond the engine's limit: {}", cell(&self.left_out.join(", ")));
        }
        text
    }

    fn counts(&self) -> String {
        format!(
            "{} to build, {} not, {} built before, {} beyond the limit",
            count(self.rows.len(), "installer"),
            self.refused.len(),
            self.skipped.len(),
            self.left_out.len()
        )
    }
}

/// A cell of a Markdown table: nothing in it is markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            c if c.is_ascii_punctuation() && !"-.,:/+=".contains(c) => out.push_str(&format!("&#{};", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.reference.chars().count()).max().unwrap_or_default().max(6);
        writeln!(f, "{:width$}  {:10}  {:12}  {:8}  shape", "branch", "platform", "commit", "go")?;
        for Row { reference, platform, commit, go, shape, .. } in &self.rows {
            let platform = platform_in_words(platform);
            writeln!(f, "{reference:width$}  {platform:10}  {:12}  {go:8}  {shape}", &commit[..12])?;
        }
        for Refused { reference, platform, why, details, .. } in &self.refused {
            let of = if platform.is_empty() { String::new() } else { format!(" for {platform}") };
            writeln!(f, "\nnot built: {reference}{of}: {why}")?;
            details.iter().flat_map(|detail| detail.lines()).try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        self.left_out.iter().try_for_each(|name| writeln!(f, "\nleft out, beyond the limit: {name}"))?;
        writeln!(f, "\n{}", self.counts())
    }
}

/// The files of a revision that are to be patched.
type Sources = BTreeMap<String, Content>;

/// Reads every revision, and every set of sources once.
fn read(history: &History, revisions: Vec<Revision>, paths: &[String], wanted: &Wanted) -> (Vec<Known>, Vec<Sources>) {
    let sums: Vec<String> = SUMS
        .iter()
        .map(|path| (*path).to_owned())
        .chain(wanted.platforms.iter().map(|name| format!("cluster-api/providers/{name}/go.sum")))
        .chain(["go.mod".to_owned()])
        .collect();
    let mut numbers: BTreeMap<Vec<TreeEntry>, usize> = BTreeMap::new();
    let mut sets: Vec<Sources> = Vec::new();
    let mut go: BTreeMap<String, String> = BTreeMap::new();
    let mut platforms: BTreeMap<String, Result<Vec<String>, String>> = BTreeMap::new();
    let known = revisions.into_iter().map(|revision| {
        let mut of = || -> Result<usize> {
            let entries = history.entries(&revision, paths)?;
            if let Some(number) = numbers.get(&entries) {
                return Ok(*number);
            }
            let read = |entry: &TreeEntry| Ok((entry.path.clone(), history.read(entry, &revision)?));
            let set: Sources = entries.iter().map(read).collect::<Result<_>>()?;
            sets.push(set);
            numbers.insert(entries, sets.len() - 1);
            Ok(sets.len() - 1)
        };
        let set = of().map_err(|error| Refused {
            reference: revision.name.clone(),
            commit: revision.commit.clone(),
            platform: String::new(),
            why: error.to_string(),
            details: error.downcast_ref::<Error>().map_or(Vec::new(), |known| known.details().to_vec()),
        });
        let entries = history.entries(&revision, &sums).unwrap_or_default();
        let module = entries.iter().find(|entry| entry.path == "go.mod");
        let go = module.map_or_else(String::new, |entry| {
            let read = || history.read(entry, &revision).map(|content| go_of(&content.bytes)).unwrap_or_default();
            go.entry(entry.blob.clone()).or_insert_with(read).clone()
        });
        let names = match wanted.platforms.is_empty() || set.is_err() {
            true => Ok(Vec::new()),
            false => platforms_of(history, &revision, &mut platforms),
        };
        let sums = entries.iter().filter(|entry| entry.path != "go.mod").map(|entry| entry.blob.clone()).collect();
        Known { set, go, sums, platforms: names, revision }
    });
    let known = known.collect();
    (known, sets)
}

fn platforms_of(
    history: &History,
    revision: &Revision,
    known: &mut BTreeMap<String, Result<Vec<String>, String>>,
) -> Result<Vec<String>, String> {
    let tree = history.at(revision).map_err(|error| error.to_string())?;
    let key = Platforms::key(&tree).map_err(|error| error.to_string())?;
    let read = || {
        let names = Platforms::of(&tree).map(|platforms| platforms.needs.into_keys().collect());
        names.map_err(|error| error.to_string())
    };
    known.entry(key).or_insert_with(read).clone()
}

/// Plans every set, on all processors: the shape, or why it does not fit.
fn plan(sets: &[Sources], recipe: &PatchSource) -> Vec<Result<String, (String, Vec<String>)>> {
    let one = |set: &Sources| match recipe.plan(&|path| Ok(set.get(path).cloned()), None) {
        Ok(plan) => Ok(plan.shape),
        Err(_) if set.is_empty() => Err(("no Cluster API supervisor in it".to_owned(), Vec::new())),
        Err(error) => {
            let details = error.downcast_ref::<Error>().map_or(Vec::new(), |known| known.details().to_vec());
            Err((error.to_string(), details))
        }
    };
    parallel::map(sets.len(), usize::MAX, || (), |(), number| one(&sets[number]))
}

/// The Go that a go.mod asks for: its line `toolchain`, or else `go`.
fn go_of(module: &[u8]) -> String {
    let text = String::from_utf8_lossy(module);
    let line = |word: &str| {
        text.lines().find_map(|line| Some(line.trim().strip_prefix(word)?.strip_prefix(' ')?.trim().to_owned()))
    };
    let toolchain = line("toolchain").and_then(|name| name.strip_prefix("go").map(str::to_owned));
    let version = toolchain.or_else(|| line("go")).unwrap_or_default();
    version.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_is_that_of_the_toolchain_line_or_of_the_go_line() {
        assert_eq!(go_of(b"module x\n\ngo 1.24.0\n\ntoolchain go1.25.3\n"), "1.25.3");
        assert_eq!(go_of(b"module x\ngo 1.22 // why\n"), "1.22");
        assert_eq!(go_of(b"module x\n"), "");
    }

    #[test]
    fn cells_hold_no_markup() {
        assert_eq!(cell("a|b`<x>\n[y](z)"), "a&#124;b&#96;&#60;x&#62; &#91;y&#93;&#40;z&#41;");
        assert_eq!(cell("release-4.19"), "release-4.19");
    }
}
