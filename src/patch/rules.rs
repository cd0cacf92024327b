//! The structural rules: what they look for, what they put there, how often they must fit.
//!
//! A rule is a folder under `patches/rules/`, named after the change it makes. Its `match.scm` holds
//! tree-sitter patterns; the capture names say what becomes of a node:
//!
//! ```text
//! @replace.NAME   the text of section NAME in replace.go takes its place
//! @after.NAME     the section follows it on lines of its own, at its indentation
//! @before.NAME    the section goes above it, and above the comments on it
//! @never          a name whose value never comes: a `case` that receives from it is dead from then
//!                 on, and an `if` that tests it and only calls (a log line); another use is not understood
//! @outwait.NAME   the section goes above the `select` of this `case`, which is dead from then on;
//!                 `$awaited` is the channel of its only other case, which something must close
//! @found          (in a `forbid` pattern) what must not be left of the file once it is patched
//! ```
//!
//! and `#set!` says what its text is `like` (`*` is any bytes of a line, at the end all the rest; several
//! are parted by ` | `), and where and how often it must fit: `site` (its name), `file`, `in` (functions), `times` (`1`
//! if not said, or `0-1`), `with` (only where that other site fits), `imports` (packages its text
//! needs), `looked-for` and `near` (for the message when it does not fit). `$name` in a section is
//! the text of the capture of that name, or what the function calls its parameter of type `*name`;
//! `$receiver` is what it calls its receiver or first parameter. Zero fits or two are a refusal, never silence.
//!
//! The patterns are kept shallow, and what an expression says is left to `like`: tree-sitter takes a
//! third of a millisecond to compile a shallow pattern, two for a deep one, and one more for the
//! regular expressions of a dozen `#match?`.
//!
//! What this cannot know is types: a rule goes by names and forms. `apply --verify` asks Go.

#[cfg(test)]
mod cost;
mod dead;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::OnceLock;

use anyhow::Result;
use include_dir::{Dir, include_dir};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::patch::edit::{Edit, splice};
use crate::patch::go::{GoFile, Match, Pattern, SyntaxNode, holds as contains, like, occurrences};

pub use digest::digest;
pub use support::{MARKED, Mark};

mod digest;
mod support;

use dead::{Dead, around, outermost};

static PATCHES: Dir = include_dir!("$CARGO_MANIFEST_DIR/patches");

/// The folder of the files that rules name by their last element, but for `system.go`.
const PROCESS: &str = "pkg/clusterapi/internal/process/";

/// The files without which there is nothing to patch.
pub const REQUIRED: [&str; 2] = ["pkg/clusterapi/internal/process/process.go", "pkg/clusterapi/system.go"];

/// Files that some shapes have.
pub const OPTIONAL: [&str; 2] =
    ["pkg/clusterapi/internal/process/process_unix.go", "pkg/clusterapi/internal/process/process_windows.go"];

/// The classic patch that this build carries, and its name.
pub fn shipped_patch() -> (&'static str, &'static [u8]) {
    const NAME: &str = "rr-debugging.patch";
    (NAME, PATCHES.get_file(NAME).map_or(&[], |file| file.contents()))
}

/// All files of which a plan depends: what the rules are for, what they add, and what names the
/// controllers.
pub fn source_paths() -> Vec<String> {
    let read = REQUIRED.into_iter().chain(OPTIONAL).chain([PROVIDERS]).map(str::to_owned);
    read.chain(support::paths()).collect()
}

/// Where the installer lists its providers.
pub const PROVIDERS: &str = "pkg/clusterapi/providers.go";

/// The six changes of the contract, in its order, each with what it does in a line.
pub const CHANGES: [(&str, &str); 6] = [
    ("group-signal", "SIGTERM goes to the process group, once"),
    ("graceful-cancel", "cancelling sends that SIGTERM, never SIGKILL"),
    ("no-timeouts", "no timer ends a process or the wait for one"),
    ("exit-log", "every exit is logged once, with code or signal"),
    ("rr-command", "the chosen controllers run under the recorder"),
    ("whole-trace", "the trace keeps its own copy of the program"),
];

/// What `apply` was told about the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `providers`, `all`, or names of controllers.
    pub controllers: Vec<String>,
    /// The recorder, if it is not looked up in PATH at run time.
    pub rr: Option<String>,
    /// More arguments for `rr record`.
    pub rr_args: Vec<String>,
    /// The CPU for `--bind-to-cpu`.
    pub bind_to_cpu: Option<u32>,
    pub avx512: Avx512,
    pub signal: Signal,
}

/// What becomes of `--disable-avx-512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Avx512 {
    /// Pass --disable-avx-512 where the CPU that runs the controllers can do it
    Auto,
    /// Always pass it
    Disable,
    /// Never pass it
    Keep,
}

/// Who gets the SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// The whole process group
    Group,
    /// Only the recorder, which forwards it (rr 5.6 and later)
    Rr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: vec!["providers".into()],
            rr: None,
            rr_args: Vec::new(),
            bind_to_cpu: Some(0),
            avx512: Avx512::Auto,
            signal: Signal::Group,
        }
    }
}

impl Options {
    /// The recorder's command line, up to the program that it records.
    pub fn command(&self) -> Vec<String> {
        let mut command = vec![self.rr.clone().unwrap_or_else(|| "rr".into()), "record".into(), "--wait".into()];
        if self.avx512 != Avx512::Keep {
            command.push("--disable-avx-512".into());
        }
        command.extend(self.bind_to_cpu.map(|cpu| format!("--bind-to-cpu={cpu}")));
        command.extend(self.rr_args.iter().cloned());
        command
    }
}

/// A place that a change touched, in the patched file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    pub change: String,
    pub path: String,
    /// From 1.
    pub line: usize,
}

/// What the rules made of a set of sources.
pub struct Patched {
    /// Path and new bytes of every file that changes or is added.
    pub files: Vec<(String, Vec<u8>)>,
    pub sites: Vec<Site>,
    pub shape: String,
}

/// The rules that this build carries: one query, since compiling takes as long as all the rest.
pub struct Rules {
    pattern: Pattern,
    /// The change that each of the query's patterns belongs to.
    changes: Vec<&'static str>,
    /// The sections of each change's replace.go.
    sections: HashMap<&'static str, HashMap<String, String>>,
}

impl Rules {
    /// The rules, compiled at the first call.
    pub fn get() -> Result<&'static Self> {
        static RULES: OnceLock<Rules> = OnceLock::new();
        match RULES.get() {
            Some(rules) => Ok(rules),
            None => Self::load().map(|rules| RULES.get_or_init(|| rules)),
        }
    }

    fn load() -> Result<Self> {
        let (mut query, mut changes, mut all) = (String::new(), Vec::new(), HashMap::new());
        for (change, _) in CHANGES {
            let text = |name: &str| {
                let file = PATCHES.get_file(format!("rules/{change}/{name}"));
                file.and_then(|file| file.contents_utf8()).unwrap_or_default()
            };
            let patterns = text("match.scm");
            query.push_str(patterns);
            changes.extend(patterns.lines().filter(|line| line.starts_with("((")).map(|_| change));
            all.insert(change, sections(text("replace.go")));
        }
        let pattern = Pattern::compile("patches/rules", &query)?;
        if pattern.count() != changes.len() {
            return Err(Error::failed(
                "in patches/rules every pattern begins a line with `((`, and no other line does",
            )
            .into());
        }
        Ok(Self { pattern, changes, sections: all })
    }

    fn property(&self, pattern: usize, key: &str) -> Option<&str> {
        self.pattern.property(pattern, key)
    }

    /// The words of a property that is a list.
    fn words(&self, pattern: usize, key: &str) -> impl Iterator<Item = &str> {
        self.property(pattern, key).unwrap_or_default().split(' ').filter(|word| !word.is_empty())
    }

    /// All matches of patterns for `file` in the functions that they name.
    fn matches<'file>(&'file self, file: &'file GoFile) -> Vec<Match<'file>> {
        let of_file = |pattern| self.words(pattern, "file").any(|name| name == base(file.path()));
        let here: Vec<usize> = (0..self.changes.len()).filter(|&pattern| of_file(pattern)).collect();
        let functions: BTreeSet<&str> = here.iter().flat_map(|&pattern| self.words(pattern, "in")).collect();
        let mut all = Vec::new();
        for name in functions {
            let Some(function) = file.function(name) else { continue };
            let of_function = |&pattern: &usize| self.words(pattern, "in").any(|word| word == name);
            let wanted: Vec<usize> = here.iter().copied().filter(of_function).collect();
            let Some(touching) = self.places(&wanted, function) else { continue };
            let found = file.matches(&self.pattern, function, touching).into_iter();
            let is_like = |one: &Match| {
                let first = one.captures.first();
                first.is_some_and(|(_, piece)| self.globs(one.pattern).any(|glob| like(piece.bytes(), glob.as_bytes())))
            };
            all.extend(found.filter(|one| wanted.contains(&one.pattern) && is_like(one)));
        }
        all
    }

    fn globs(&self, pattern: usize) -> impl Iterator<Item = &str> {
        self.property(pattern, "like").unwrap_or_default().split(" | ")
    }

    /// The part of a function outside of which none of these patterns can fit: from the first to the
    /// last place that holds the longest word of a glob. Walking the tree takes far longer than that
    /// search, and in a long function most of it is spared.
    fn places(&self, patterns: &[usize], function: SyntaxNode) -> Option<Range<usize>> {
        let (bytes, start) = (function.bytes(), function.range().start);
        let longest = |glob: &'_ str| glob.split('*').max_by_key(|part| part.len()).unwrap_or_default().to_owned();
        let mut touching: Option<Range<usize>> = None;
        for needle in patterns.iter().flat_map(|&pattern| self.globs(pattern)).map(longest) {
            for at in occurrences(bytes, needle.as_bytes()) {
                let place = start + at..start + at + needle.len();
                let known = touching.get_or_insert(place.clone());
                *known = known.start.min(place.start)..known.end.max(place.end);
            }
        }
        touching
    }
}

/// One place where one pattern fits.
struct RuleMatch<'file> {
    site: String,
    change: &'static str,
    with: Option<String>,
    file: &'file GoFile,
    edits: Vec<Edit>,
    /// Where else a name stands whose value never comes.
    uses: Vec<Range<usize>>,
    /// What can no longer be reached.
    dead: Vec<Range<usize>>,
    /// The text that would be added, where its function holds it already.
    repeated: Option<String>,
    one: Match<'file>,
}

/// Applies all rules to `sources`, which hold the files of [`REQUIRED`] and those of [`OPTIONAL`]
/// that exist. What it adds carries `mark`.
///
/// # Errors
/// A refusal that lists every place that is not understood: where, what was looked for, what was
/// found.
pub fn apply(rules: &Rules, sources: &[GoFile], options: &Options, mark: &Mark) -> Result<Patched> {
    let fits = fits(rules, sources)?;
    let mut patched = Patched { files: Vec::new(), sites: Vec::new(), shape: shape(sources) };
    for file in sources {
        let here: Vec<&RuleMatch> = fits.iter().filter(|fit| fit.file.path() == file.path()).collect();
        if !here.is_empty() {
            rewrite(file, &here, &mut patched)?;
        }
    }
    let windows = sources.iter().any(|file| file.path() == OPTIONAL[1]);
    add_support(support::render(options, mark, windows), &mut patched);
    patched.sites.sort_by_key(|site| CHANGES.iter().position(|(name, _)| *name == site.change));
    Ok(patched)
}

/// The places that a change would still be made to, in sources that may be patched: change, path, line.
pub fn unpatched(rules: &Rules, sources: &[GoFile]) -> Result<Vec<Site>> {
    let mut fits = Vec::new();
    for file in sources {
        for one in rules.matches(file) {
            if let Some(site) = rules.property(one.pattern, "site") {
                fits.extend(fit(rules, site, file, one)?);
            }
        }
    }
    let present = |with: &String| fits.iter().any(|fit| fit.site == *with);
    let open = fits.iter().filter(|fit| fit.repeated.is_none() && fit.with.as_ref().is_none_or(present));
    let site = |fit: &RuleMatch| Site {
        change: fit.change.into(),
        path: fit.file.path().into(),
        line: fit.one.captures[0].1.line(),
    };
    Ok(open.map(site).collect())
}

/// Every place that changes.
fn fits<'file>(rules: &'file Rules, sources: &'file [GoFile]) -> Result<Vec<RuleMatch<'file>>> {
    let (mut fits, mut forbidden) = (Vec::new(), Vec::new());
    let mut places: HashMap<&str, usize> = HashMap::new();
    for file in sources {
        for one in rules.matches(file) {
            match rules.property(one.pattern, "site") {
                Some(site) => {
                    let count = places.entry(site).or_default();
                    *count += 1;
                    if *count <= MOST_PLACES {
                        fits.extend(fit(rules, site, file, one)?);
                    }
                }
                None => forbidden.push((file, one)),
            }
        }
    }
    // A signal inside a dead `case` is not a place of its own.
    let dead = Dead::of(&fits);
    fits.retain(|fit| !dead.holds(fit.file, fit.one.captures[0].1.range().start));

    let dead = Dead::of(&fits);
    let mut trouble = misfits(rules, sources, &fits, &places);
    let left = forbidden.iter().filter_map(|(file, one)| left_behind(rules, file, one, &fits, &dead));
    trouble.extend(left.take(MOST_PLACES));
    if !trouble.is_empty() {
        return Err(not_understood(trouble, sources).into());
    }
    let present: Vec<String> = fits.iter().map(|fit| fit.site.clone()).collect();
    fits.retain(|fit| fit.with.as_ref().is_none_or(|with| present.contains(with)));
    Ok(fits)
}

/// More places than this for one site are counted, and refused, without a closer look at each: it takes time in
/// proportion to the function that the place lies in.
const MOST_PLACES: usize = 12;

/// Makes the changes of one file.
fn rewrite(file: &GoFile, fits: &[&RuleMatch], patched: &mut Patched) -> Result<()> {
    let edits: Vec<Edit> = fits.iter().flat_map(|fit| fit.edits.iter().cloned()).collect();
    let (bytes, placed) =
        splice(file.bytes(), &edits).map_err(|error| error.detail(format!("in `{}`", file.path())))?;
    let after = file.parse_edited(bytes, &edits)?;
    let made = fits.iter().flat_map(|fit| fit.edits.iter().map(|edit| (fit.change, edit)));
    let mut sites: Vec<Site> = made
        .zip(placed)
        .map(|((change, edit), span)| Site {
            change: change.into(),
            path: file.path().into(),
            line: after.line_of(span.start + blank_lead(&edit.text)),
        })
        .collect();
    sites.sort_by_key(|site| site.line);
    patched.sites.append(&mut sites);
    patched.files.push((file.path().to_owned(), after.into_bytes()));
    Ok(())
}

/// Adds the files that come with the changes. A comment `rr-patch: CHANGE` in them marks a place of
/// that change: its own line, or the one below a comment that has a line of its own.
fn add_support(files: Vec<(String, String)>, patched: &mut Patched) {
    for (path, text) in files {
        for (number, line) in (1..).zip(text.lines()) {
            let Some((code, change)) = line.split_once("rr-patch: ") else { continue };
            if let Some((change, _)) = CHANGES.iter().find(|(name, _)| *name == change) {
                let below = usize::from(code.trim_start().starts_with("//"));
                patched.sites.push(Site { change: (*change).into(), path: path.clone(), line: number + below });
            }
        }
        patched.files.push((path, text.into_bytes()));
    }
}

/// The names by which `--controllers` can choose, as far as `providers.go` tells them.
pub fn provider_names(providers: &GoFile) -> Result<Vec<String>> {
    let pattern = Pattern::compile(
        "providers",
        r#"((call_expression function: (_) @_f arguments: (argument_list (interpreted_string_literal) @name))
            (#eq? @_f "infrastructureProvider"))"#,
    )?;
    let mut names: Vec<String> = providers
        .matches(&pattern, providers.root(), 0..usize::MAX)
        .iter()
        .filter_map(|one| capture(one, "name").map(|piece| piece.text().trim_matches('"').to_owned()))
        .collect();
    names.dedup();
    Ok(names)
}

/// `// site: NAME` begins a section; the blank lines at its end are not part of it.
fn sections(text: &str) -> HashMap<String, String> {
    let mut sections: HashMap<String, String> = HashMap::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("// site: ") {
            name = Some(next.trim().to_owned());
        } else if let Some(name) = &name {
            let section = sections.entry(name.clone()).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    sections.values_mut().for_each(|section| section.truncate(section.trim_end().len()));
    sections
}

/// What a match would do; nothing if a name that its text needs is not there.
fn fit<'file>(rules: &Rules, site: &str, file: &'file GoFile, one: Match<'file>) -> Result<Option<RuleMatch<'file>>> {
    let with = rules.property(one.pattern, "with").map(str::to_owned);
    let change = rules.changes[one.pattern];
    let (mut edits, mut uses, mut dead, mut repeated) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (name, piece) in &one.captures {
        let (act, section) = name.split_once('.').unwrap_or((name, ""));
        let crowded = || {
            Error::refused(format!("`{}:{}` shares a line with other code", file.path(), piece.line()))
                .hint(format!("`gofmt -w {}` gives every statement its own", file.path()))
        };
        let above = |piece: &SyntaxNode| {
            let lines = piece.whole_lines_with_comments_above().ok_or_else(crowded)?;
            Ok::<_, Error>(lines.start..lines.start)
        };
        let mut awaited = None;
        let (at, range) = match act {
            "replace" => (*piece, piece.range()),
            "after" => (*piece, piece.whole_lines().map(|lines| lines.end..lines.end).ok_or_else(crowded)?),
            "before" => (*piece, above(piece)?),
            "outwait" => {
                let Some((select, channel)) = piece.only_other_case() else { return Ok(None) };
                dead.push(piece.range());
                awaited = Some(channel);
                (select, above(&select)?)
            }
            "never" => {
                let found = piece.uses_in_scope();
                dead.extend(found.tests);
                uses = found.places;
                continue;
            }
            _ => continue,
        };
        let text = rules.sections[change].get(section);
        let text =
            text.ok_or_else(|| Error::failed(format!("rule `{change}` has no section `{section}` in replace.go")))?;
        let Some(text) = fill(text, &one, awaited.as_deref()) else { return Ok(None) };
        let first = text.trim_start().lines().next().unwrap_or_default();
        if act != "replace" && at.function().is_some_and(|function| contains(function.bytes(), first.as_bytes())) {
            repeated = Some(first.to_owned());
        }
        edits.push(Edit { range, text: laid_out(&text, act, &at, file) });
    }
    Ok(Some(RuleMatch { site: site.to_owned(), change, with, file, edits, uses, dead, repeated, one }))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Puts names of the source in place of `$name`; nothing if one of them is not there.
fn fill(section: &str, one: &Match, awaited: Option<&str>) -> Option<String> {
    let at = one.captures.first().map(|(_, piece)| piece)?;
    substitute(section, |name| match name {
        "receiver" => at.receiver_name(),
        "awaited" => awaited.map(str::to_owned),
        _ => capture(one, name).map(SyntaxNode::text).or_else(|| at.parameter_name(name)),
    })
}

/// Puts values in place of `$name`, in one pass: a value may hold a dollar sign. Nothing if a name has
/// no value.
fn substitute(text: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        out.push_str(&value(name)?);
        out.push_str(rest);
    }
    Some(out)
}

/// A section as lines of the file: its indentation, its line ends.
fn laid_out(text: &str, act: &str, piece: &SyntaxNode, file: &GoFile) -> Vec<u8> {
    let (indentation, line_end) = (piece.indentation(), file.line_end());
    let mut out = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 && act == "replace" {
            out.extend_from_slice(line_end.as_bytes());
        }
        if !line.is_empty() && (n > 0 || act != "replace") {
            out.extend_from_slice(&indentation);
        }
        out.extend_from_slice(line.as_bytes());
        if act != "replace" {
            out.extend_from_slice(line_end.as_bytes());
        }
    }
    out
}

/// How many bytes of a text come before its first word.
fn blank_lead(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_whitespace()).count()
}

fn capture<'a, 'file>(one: &'a Match<'file>, name: &str) -> Option<&'a SyntaxNode<'file>> {
    one.captures.iter().find(|(found, _)| *found == name).map(|(_, piece)| piece)
}

/// A place that is not understood: where, what was looked for, what was found.
struct Mismatch {
    at: String,
    looked_for: String,
    found: String,
}

/// `places` is how many there are for each site, those counted that were not looked at.
fn misfits(rules: &Rules, sources: &[GoFile], fits: &[RuleMatch], places: &HashMap<&str, usize>) -> Vec<Mismatch> {
    let mut trouble = Vec::new();
    for number in 0..rules.changes.len() {
        let Some(site) = rules.property(number, "site") else { continue };
        let said = |key| rules.property(number, key).unwrap_or_default();
        let optional = said("times") == "0-1";
        let here: Vec<&RuleMatch> = fits.iter().filter(|fit| fit.site == site).collect();
        // The last of the files that exists: where a shape moved a function out, it is there.
        let file = rules
            .words(number, "file")
            .filter_map(|name| sources.iter().rfind(|file| base(file.path()) == name))
            .last();
        let Some(file) = file else { continue };
        let function = rules.words(number, "in").filter_map(|name| file.function(name)).last();
        let name = function.and_then(|function| function.function_name()).unwrap_or_else(|| said("in").to_owned());
        let looked_for = || format!("{} in `{name}`{}", said("looked-for"), if optional { "" } else { ", once" });
        let all = places.get(site).copied().unwrap_or_default();
        let count = if all > MOST_PLACES { all } else { here.len() };
        if count == 1 || (count == 0 && optional) {
            trouble.extend(here.iter().filter_map(|fit| leftover(fit, looked_for())));
            trouble.extend(here.iter().filter_map(|fit| repetition(fit, looked_for())));
            trouble.extend(here.iter().flat_map(|fit| missing_imports(fit, said("imports"), looked_for())));
            continue;
        }
        let found = match (&function, count) {
            (None, _) => format!("no function `{name}`"),
            (Some(function), 0) => {
                let near = (function.line()..)
                    .zip(function.bytes().split(|&byte| byte == b'\n'))
                    .filter(|(_, line)| contains(line, said("near").as_bytes()))
                    .map(|(number, line)| format!("\nline {number}: `{}`", String::from_utf8_lossy(line).trim()));
                match near.take(6).collect::<String>() {
                    lines if lines.is_empty() => {
                        format!("nothing like it in lines {} to {}", function.line(), function.last_line())
                    }
                    lines => format!("in lines {} to {}, nearest to it:{lines}", function.line(), function.last_line()),
                }
            }
            (Some(_), count) => {
                let line = |fit: &&RuleMatch| {
                    let line = fit.one.captures[0].1.line();
                    format!("\n{}:{line}: `{}`", fit.file.path(), fit.file.line(line).trim())
                };
                let more = if all > MOST_PLACES { "\nand others" } else { "" };
                format!("{count} such places:{}{more}", here.iter().map(line).collect::<String>())
            }
        };
        trouble.push(Mismatch {
            at: format!("{}:{}", file.path(), function.map_or(1, |function| function.line())),
            looked_for: looked_for(),
            found,
        });
    }
    trouble
}

/// A use of a name whose value never comes that nothing is known of.
fn leftover(fit: &RuleMatch, looked_for: String) -> Option<Mismatch> {
    let dead = outermost(fit.dead.clone());
    let left = fit.uses.iter().find(|range| around(&dead, range.start).is_none())?;
    let line = fit.file.line_of(left.start);
    let name = String::from_utf8_lossy(&fit.file.bytes()[left.clone()]);
    Some(Mismatch {
        at: format!("{}:{line}", fit.file.path()),
        looked_for: format!("{looked_for}, and no other use of `{name}`"),
        found: format!("`{}`", fit.file.line(line).trim()),
    })
}

/// Sources that are patched already: most changes only add lines, and would fit a second time.
fn repetition(fit: &RuleMatch, looked_for: String) -> Option<Mismatch> {
    let text = fit.repeated.as_ref()?;
    Some(Mismatch {
        at: format!("{}:{}", fit.file.path(), fit.one.captures[0].1.line()),
        looked_for: format!("{looked_for}, not patched yet"),
        found: format!("`{text}` is there already"),
    })
}

fn missing_imports(fit: &RuleMatch, imports: &str, looked_for: String) -> Vec<Mismatch> {
    let missing = imports.split(' ').filter(|path| !path.is_empty() && !fit.file.imports(path));
    missing
        .map(|path| Mismatch {
            at: format!("{}:1", fit.file.path()),
            looked_for: format!("an import of `{path}` under its own name, for what follows {looked_for}"),
            found: "none".into(),
        })
        .collect()
}

/// What must not be there once all changes are made, unless it is dead.
fn left_behind(rules: &Rules, file: &GoFile, one: &Match, fits: &[RuleMatch], dead: &Dead) -> Option<Mismatch> {
    let piece = capture(one, "found")?;
    let at = piece.range().start;
    let mut edits = fits.iter().filter(|fit| fit.file.path() == file.path()).flat_map(|fit| &fit.edits);
    if dead.holds(file, at) || edits.any(|edit| edit.range.contains(&at)) {
        return None;
    }
    Some(Mismatch {
        at: format!("{}:{}", file.path(), piece.line()),
        looked_for: format!(
            "no {} left in `{}`, as `{}` promises",
            rules.property(one.pattern, "forbid").unwrap_or_default(),
            piece.function_name().unwrap_or_default(),
            rules.changes[one.pattern]
        ),
        found: format!("`{}`", file.line(piece.line()).trim()),
    })
}

fn not_understood(trouble: Vec<Mismatch>, sources: &[GoFile]) -> Error {
    let mut error = Error::refused("this shape of the installer's sources is not understood");
    for Mismatch { at, looked_for, found } in trouble {
        error = error.detail(format!("`{at}`\nlooked for: {looked_for}\nfound: {found}"));
    }
    let has = |needle: &[u8]| sources.iter().any(|file| contains(file.bytes(), needle));
    if has(b"CancelRunWith(") || has(b".logWhileWaiting(") {
        error.hint("rr-patch's changes are in these files, but not in its journal: get the originals back with `git checkout -- pkg/clusterapi`")
    } else if has(b"syscall.Kill(-") || has(b"\"record\",") {
        error.hint(
            "a hand-made rr patch seems to be in place: take it out first, `git apply -R docs/dev/rr-debugging.patch`",
        )
    } else {
        error.hint("a newer release? see \"A new installer release\" in rr-patch's README for how to mend a rule")
    }
}

/// By what the shapes differ: a function, what its text holds, and the name that the README gives
/// to the shape. The last that fits names it; nothing but what a user reads depends on that.
const SHAPES: [(&str, &str, &str); 7] = [
    ("system.go", "func (", "S2"),
    ("system.go", "type System struct", "S1"),
    ("System.Teardown", ".Lock()", "S3"),
    ("System.Teardown", ".logWriter.Close()", "S4"),
    ("System.Teardown", ".EtcdLog.Close()", "S5"),
    ("System.Teardown", ".lcp.Stop()", "S6"),
    ("stopProcess", "(", "P2"),
];

/// The name of the shape, like `P1+S6`.
fn shape(sources: &[GoFile]) -> String {
    let (mut process, mut system) = ("P1", "S?");
    for file in sources {
        for (place, holds, name) in SHAPES {
            let text = match place == base(file.path()) {
                true => Some(file.bytes()),
                false => file.function(place).map(|piece| &file.bytes()[piece.range()]),
            };
            if text.is_some_and(|text| contains(text, holds.as_bytes())) {
                let slot = if name.starts_with('P') { &mut process } else { &mut system };
                *slot = name;
            }
        }
    }
    format!("{process}+{system}")
}
