//! The structural rules: what they look for, what they put there, how often they must fit.
//!
//! A rule is a document of YAML in ast-grep's rule language, in a file under `rules/`; `patches/rules/README.md` shows
//! one and explains the keys of `metadata`, which say what ast-grep does not. A rule with `fix` replaces what it
//! matches, one with `metadata.add` puts lines before or after it, and one with `times: 0` names what must not be left
//! once all changes are made. Metavariables of the pattern stand for the source's own names in both texts. A rule
//! that fits nowhere, or twice, is a refusal, never silence.
//!
//! Only the function that a rule is `inside` of is searched: a whole file takes three times as long.
//!
//! What this cannot know is types: a rule goes by names and forms. `apply --verify` asks Go.

#[cfg(test)]
mod cost;
mod dead;
mod explain;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use ast_grep_core::matcher::MatcherExt as _;
use ast_grep_core::meta_var::MetaVariable;
use include_dir::{Dir, include_dir};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Shown};
use crate::patch::edit::{Edit, splice};
use crate::patch::go::{GoFile, SyntaxNode, holds as contains};

pub use digest::digest;
pub use load::Rule;
pub use support::{MARKED, Mark};

pub mod chaos;
mod digest;
mod load;
pub mod snippets;
mod support;

use dead::Dead;
use explain::{Mismatch, left_behind, misfits, not_installer};
use load::{Place, Times};

static PATCHES: Dir = include_dir!("$CARGO_MANIFEST_DIR/patches");

/// The folder of the files that are added.
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

/// What `rr-patch rules export` writes: the rules, their snippets, and what makes a project of ast-grep of them.
pub fn exported() -> Vec<(&'static Path, &'static [u8])> {
    let mut folders: Vec<&Dir> =
        ["rules", "tests", "chaos/rules", "chaos/tests"].into_iter().filter_map(|name| PATCHES.get_dir(name)).collect();
    let mut files: Vec<_> = PATCHES.get_file("sgconfig.yml").into_iter().collect();
    while let Some(folder) = folders.pop() {
        files.extend(folder.files());
        folders.extend(folder.dirs());
    }
    let mut files: Vec<_> = files.into_iter().map(|file| (file.path(), file.contents())).collect();
    files.sort();
    files
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
    /// The digest of the folder of rules that was used in place of those that rr-patch carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
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
            rules: None,
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

/// A set of rules: those that this build carries, or those of a folder.
#[derive(Debug)]
pub struct Rules {
    all: Vec<Rule>,
    digest: Option<String>,
    /// The folder below `patches/` that holds the files which come with the changes.
    support: &'static str,
}

/// One match of one rule.
struct Match<'file> {
    rule: &'file Rule,
    at: SyntaxNode<'file>,
    /// What each metavariable stands for.
    captures: HashMap<String, SyntaxNode<'file>>,
}

impl Rules {
    /// The rules that this build carries, read at the first call.
    pub fn built_in() -> Result<Arc<Self>> {
        static RULES: OnceLock<Arc<Rules>> = OnceLock::new();
        Self::carried_once(&RULES, "rules", "support", &CHANGES)
    }

    fn carried_once(
        once: &OnceLock<Arc<Self>>,
        rules: &str,
        support: &'static str,
        changes: &[(&str, &str)],
    ) -> Result<Arc<Self>> {
        if let Some(rules) = once.get() {
            return Ok(Arc::clone(rules));
        }
        let rules = Self::carried(rules, support, changes)?;
        Ok(Arc::clone(once.get_or_init(|| rules)))
    }

    /// The rules by which earlier versions made the changes that they left in a tree, the newest first.
    pub fn earlier() -> Result<Vec<Arc<Self>>> {
        const ALL: [(&str, &str); 1] = [("earlier/0.1/rules", "earlier/0.1/support")];
        ALL.iter().map(|(rules, support)| Self::carried(rules, support, &CHANGES)).collect()
    }

    fn carried(rules: &str, support: &'static str, changes: &[(&str, &str)]) -> Result<Arc<Self>> {
        let files = PATCHES.get_dir(rules).into_iter().flat_map(Dir::files).filter(|file| is_rule(file.path()));
        let text = |file: &include_dir::File| {
            let path = Path::new("patches").join(file.path()).shown();
            Some((path, file.contents_utf8()?.to_owned()))
        };
        let files: Vec<(String, String)> = files.filter_map(text).collect();
        let changes: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
        Ok(Arc::new(Self { support, ..Self::load(&files, &changes, true)? }))
    }

    /// Whether the file [`MARKED`] of a tree is the one that comes with these rules.
    pub fn made(&self, marked: &[u8], options: &Options, mark: &Mark) -> bool {
        let lines = |bytes: &[u8]| bytes.iter().copied().filter(|&byte| byte != b'\r').collect::<Vec<u8>>();
        let added = support::render(self.support, options, mark, false);
        added.iter().any(|(path, text)| path == MARKED && text.as_bytes() == lines(marked))
    }

    /// The rules of a folder: each `.yml` of the folder `rules` in it. `changes` are the names of the changes to which
    /// they may belong.
    ///
    /// # Errors
    /// A folder without rules, a document that is no rule.
    pub fn read(folder: &Path, changes: &[&str]) -> Result<Self> {
        let inside = folder.join("rules");
        let entries = fs::read_dir(&inside).map_err(|error| {
            Error::refused(format!("there are no rules in `{}`: {error}", folder.shown()))
                .detail(format!("expected: files like `{}`", inside.join("no-timeouts.yml").shown()))
                .hint("`rr-patch rules export DIR` writes those that rr-patch carries")
        })?;
        let mut paths: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_rule(path)).collect();
        paths.sort();
        let mut texts = Vec::new();
        for path in &paths {
            texts.push(fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.shown()))?);
        }
        let names = paths.iter().map(|path| path.file_name().unwrap_or_default().as_encoded_bytes());
        let digest = digest::of(names.zip(texts.iter().map(String::as_bytes)));
        let files: Vec<(String, String)> = paths.iter().map(Shown::shown).zip(texts).collect();
        if files.is_empty() {
            return Err(Error::refused(format!("there are no rules in `{}`", inside.shown()))
                .hint("`rr-patch rules export DIR` writes those that rr-patch carries")
                .into());
        }
        Ok(Self { digest: Some(format!("sha256:{digest}")), ..Self::parse(&files, changes)? })
    }

    /// The rules of some files, each a name and its text.
    ///
    /// # Errors
    /// A document that is no rule: with its file, line and column.
    pub fn parse(files: &[(String, String)], changes: &[&str]) -> Result<Self> {
        Self::load(files, changes, false)
    }

    fn load(files: &[(String, String)], changes: &[&str], tried: bool) -> Result<Self> {
        let (mut rules, mut scopes) = (Vec::new(), load::Scopes::new());
        for (name, text) in files {
            rules.extend(load::rules(name, text, changes, tried, &mut scopes)?);
        }
        load::refuse_duplicates(&rules)?;
        if let Some(rule) =
            rules.iter().find(|rule| rule.with.as_ref().is_some_and(|with| !rules.iter().any(|one| one.id == *with)))
        {
            let with = rule.with.as_deref().unwrap_or_default();
            return Err(Error::refused(format!(
                "the rule `{}` is `with` a rule `{with}`, which is not there",
                rule.id
            ))
            .into());
        }
        rules.sort_by_key(|rule| changes.iter().position(|change| *change == rule.change));
        Ok(Self { all: rules, digest: None, support: "support" })
    }

    /// What tells a folder's rules from others: the SHA-256 of its files' names and bytes. Nothing for those that
    /// rr-patch carries.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter()
    }

    /// The files that the rules are for, and what [`REQUIRED`] and [`OPTIONAL`] name.
    pub fn files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = REQUIRED.into_iter().chain(OPTIONAL).collect();
        for file in self.all.iter().flat_map(|rule| &rule.files) {
            if !files.contains(&file.as_str()) {
                files.push(file);
            }
        }
        files
    }

    /// All files on which a plan depends: what the rules are for, what names the controllers, what is added.
    pub fn source_paths(&self) -> Vec<String> {
        let read = self.files().into_iter().chain([PROVIDERS]).map(str::to_owned);
        read.chain(support::paths()).collect()
    }

    /// Whether these are not the rules of an earlier version.
    pub fn is_current(&self) -> bool {
        self.support == "support"
    }

    /// Whether a file is added by the changes, and not read to plan them.
    pub fn adds(&self, path: &str) -> bool {
        support::paths().any(|added| added == path)
    }

    /// All matches in a file, in the order of the source.
    fn matches<'file>(&'file self, file: &'file GoFile) -> Vec<Match<'file>> {
        let here: Vec<&Rule> =
            self.all.iter().filter(|rule| rule.files.iter().any(|path| path == file.path())).collect();
        let whole: Vec<&Rule> = here.iter().copied().filter(|rule| rule.scope.is_none()).collect();
        let mut all = search(file, &file.grep(), &whole);
        let mut scopes: Vec<&load::Scope> = Vec::new();
        for scope in here.iter().filter_map(|rule| rule.scope.as_ref()) {
            if !scopes.iter().any(|known| Arc::ptr_eq(known, scope)) {
                scopes.push(scope);
            }
        }
        for node in file.grep().children() {
            let around: Vec<_> = scopes.iter().filter(|scope| scope.match_node(node.clone()).is_some()).collect();
            let is_around = |scope: &load::Scope| around.iter().any(|one| Arc::ptr_eq(one, scope));
            let wanted: Vec<&Rule> =
                here.iter().copied().filter(|rule| rule.scope.as_ref().is_some_and(is_around)).collect();
            all.extend(search(file, &node, &wanted));
        }
        all.sort_by_key(|one| one.at.range().start);
        all
    }
}

impl Rule {
    /// Where it matches in a file: byte ranges, in the order of the source.
    pub fn ranges(&self, file: &GoFile) -> Vec<Range<usize>> {
        let functions = file.grep().children().filter(|node| self.is_inside(node)).collect::<Vec<_>>();
        let nodes = if self.scope.is_none() { vec![file.grep()] } else { functions };
        nodes.iter().flat_map(|node| search(file, node, &[self])).map(|one| one.at.range()).collect()
    }

    /// The last function of a file in which it looks; the whole file where it names none.
    fn function<'file>(&self, file: &'file GoFile) -> Option<SyntaxNode<'file>> {
        match self.scope {
            None => Some(file.root()),
            Some(_) => file.grep().children().filter(|node| self.is_inside(node)).last().map(|node| file.piece(&node)),
        }
    }

    fn is_inside(&self, node: &ast_grep_core::Node<crate::patch::go::GoSource>) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope.match_node(node.clone()).is_some())
    }

    fn is_optional(&self) -> bool {
        self.times == Times::AtMostOnce
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Rule").field("id", &self.id).finish_non_exhaustive()
    }
}

fn is_rule(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yml")
}

/// The matches of some rules within a node.
fn search<'file>(
    file: &'file GoFile,
    within: &ast_grep_core::Node<'file, crate::patch::go::GoSource>,
    rules: &[&'file Rule],
) -> Vec<Match<'file>> {
    let mut all = Vec::new();
    if rules.is_empty() {
        return all;
    }
    for node in within.dfs() {
        for rule in rules {
            let Some(found) = rule.core.match_node(node.clone()) else { continue };
            let env = found.get_env();
            let captures = env.get_matched_variables().filter_map(|variable| match variable {
                MetaVariable::Capture(name, _) => Some((name.clone(), file.piece(env.get_match(&name)?))),
                _ => None,
            });
            all.push(Match { rule, at: file.piece(found.get_node()), captures: captures.collect() });
        }
    }
    all
}

/// One place where one rule fits.
struct RuleMatch<'file> {
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
    let mut patched = Patched { shape: shape(sources), ..rewritten(rules, sources, &|| not_installer(sources))? };
    let windows = sources.iter().any(|file| file.path() == OPTIONAL[1]);
    add_support(support::render(rules.support, options, mark, windows), &mut patched);
    patched.sites.sort_by_key(|site| CHANGES.iter().position(|(name, _)| *name == site.change));
    Ok(patched)
}

/// What rules make of the files of `sources` that they change. `refusal` says what the sources are not, should they not
/// be understood.
fn rewritten(rules: &Rules, sources: &[GoFile], refusal: &dyn Fn() -> Error) -> Result<Patched> {
    let fits = fits(rules, sources, refusal)?;
    let mut patched = Patched { files: Vec::new(), sites: Vec::new(), shape: String::new() };
    for file in sources {
        let here: Vec<&RuleMatch> = fits.iter().filter(|fit| fit.file.path() == file.path()).collect();
        if !here.is_empty() {
            rewrite(file, &here, &mut patched)?;
        }
    }
    Ok(patched)
}

/// The places that a change would still be made to, in sources that may be patched: change, path, line.
pub fn unpatched(rules: &Rules, sources: &[GoFile]) -> Result<Vec<Site>> {
    let mut fits = Vec::new();
    for file in sources {
        for one in rules.matches(file).into_iter().filter(|one| one.rule.times != Times::Never) {
            fits.extend(fit(file, one)?);
        }
    }
    let present = |with: &String| fits.iter().any(|fit| fit.rule().id == *with);
    let open = fits.iter().filter(|fit| fit.repeated.is_none() && fit.rule().with.as_ref().is_none_or(present));
    let site = |fit: &RuleMatch| Site {
        change: fit.rule().change.clone(),
        path: fit.file.path().into(),
        line: fit.one.at.line(),
    };
    Ok(open.map(site).collect())
}

/// Every place that changes.
fn fits<'file>(
    rules: &'file Rules,
    sources: &'file [GoFile],
    refusal: &dyn Fn() -> Error,
) -> Result<Vec<RuleMatch<'file>>> {
    let (mut fits, mut forbidden) = (Vec::new(), Vec::new());
    let mut places: HashMap<&str, usize> = HashMap::new();
    for file in sources {
        for one in rules.matches(file) {
            if one.rule.times == Times::Never {
                forbidden.push((file, one));
                continue;
            }
            let count = places.entry(&one.rule.id).or_default();
            *count += 1;
            if *count <= MOST_PLACES {
                fits.extend(fit(file, one)?);
            }
        }
    }
    // A signal inside a dead `case` is not a place of its own, but what makes a case dead may lie in it.
    let dead = Dead::of(&fits);
    fits.retain(|fit| fit.rule().dead.is_some() || !dead.holds(fit.file, fit.one.at.range().start));

    let dead = Dead::of(&fits);
    let mut trouble = misfits(rules, sources, &fits, &places);
    let left = forbidden.iter().filter_map(|(file, one)| left_behind(file, one, &fits, &dead));
    trouble.extend(left.take(MOST_PLACES));
    if !trouble.is_empty() {
        return Err(trouble.into_iter().fold(refusal(), Mismatch::told).into());
    }
    let present: Vec<String> = fits.iter().map(|fit| fit.rule().id.clone()).collect();
    fits.retain(|fit| fit.rule().with.as_ref().is_none_or(|with| present.contains(with)));
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
    let made = fits.iter().flat_map(|fit| fit.edits.iter().map(|edit| (&fit.rule().change, edit)));
    let mut sites: Vec<Site> = made
        .zip(placed)
        .map(|((change, edit), span)| Site {
            change: change.clone(),
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
pub fn provider_names(providers: &GoFile) -> Vec<String> {
    let mut names = providers.strings_given_to("infrastructureProvider");
    names.dedup();
    names
}

impl<'file> RuleMatch<'file> {
    fn rule(&self) -> &'file Rule {
        self.one.rule
    }
}

/// What a match would do; nothing if a name that its text needs is not there.
fn fit<'file>(file: &'file GoFile, one: Match<'file>) -> Result<Option<RuleMatch<'file>>> {
    let rule = one.rule;
    let (mut edits, mut uses, mut dead, mut repeated) = (Vec::new(), Vec::new(), Vec::new(), None);
    if let Some(add) = &rule.add {
        let at = one.at.statement();
        let crowded = || {
            Error::refused(format!("`{}:{}` shares a line with other code", file.path(), one.at.line()))
                .hint(format!("`gofmt -w {}` gives every statement its own", file.path()))
        };
        let Range { start, end } = at.range();
        let place = match add.place {
            Place::After => at.whole_lines().map(|lines| lines.end),
            Place::Before => at.whole_lines_with_comments_above().map(|lines| lines.start),
            Place::Ahead => Some(start),
            Place::Behind => Some(end),
        };
        let place = place.ok_or_else(crowded)?;
        let Some(text) = fill(&add.text, &one) else { return Ok(None) };
        let first = text.trim_start().lines().next().unwrap_or_default();
        if contains(at.declaration().bytes(), first.as_bytes()) {
            repeated = Some(first.to_owned());
        }
        let text = match add.place {
            Place::Before | Place::After => laid_out(&text, true, &at, file),
            Place::Ahead => format!("{text}; ").into_bytes(),
            Place::Behind => format!("; {text}").into_bytes(),
        };
        edits.push(Edit { range: place..place, text });
    }
    if let Some(fix) = &rule.fix {
        let Some(text) = fill(fix, &one) else { return Ok(None) };
        edits.push(Edit { range: one.at.range(), text: laid_out(&text, false, &one.at, file) });
    }
    dead.extend(rule.dead.as_ref().and_then(|name| one.captures.get(name)).map(SyntaxNode::range));
    if let Some(name) = rule.never.as_ref().and_then(|never| one.captures.get(never)) {
        let found = name.uses_in_scope();
        dead.extend(found.tests);
        uses = found.places;
    }
    Ok(Some(RuleMatch { file, edits, uses, dead, repeated, one }))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Puts names of the source in place of metavariables; nothing if one of them is not there.
fn fill(text: &str, one: &Match) -> Option<String> {
    substitute(text, |name| one.captures.get(name).map(SyntaxNode::text))
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

/// A text with the indentation and the line ends of the file; `lines` if it stands on lines of its own.
fn laid_out(text: &str, lines: bool, piece: &SyntaxNode, file: &GoFile) -> Vec<u8> {
    let (indentation, line_end) = (piece.indentation(), file.line_end());
    let mut out = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 && !lines {
            out.extend_from_slice(line_end.as_bytes());
        }
        if !line.is_empty() && (n > 0 || lines) {
            out.extend_from_slice(&indentation);
        }
        out.extend_from_slice(line.as_bytes());
        if lines {
            out.extend_from_slice(line_end.as_bytes());
        }
    }
    out
}

/// How many bytes of a text come before its first word.
fn blank_lead(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_whitespace()).count()
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
