//! Recognises a patched checkout by its sources, without a journal: another clone of a branch, a branch that was
//! checked out again, a rebased commit, a patch that git applied.
//!
//! The added file names the version and the options that made it. The originals are in git: HEAD, its parent, or the
//! nearest ancestor to which the same changes give the current files. If the files have other edits too, those are
//! merged into the originals. A result counts only if applying the changes to it gives the current files again, byte
//! for byte. A revert is therefore never a guess.
//!
//! A checkout with a matching journal never gets here. In an unpatched checkout the search ends after one look for
//! the added file.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use anyhow::Result;

use crate::error::Error;
use crate::patch::checkout::{Ancestors, Checkout, Content, merge, short};
use crate::patch::go::GoFile;
use crate::patch::journal::{Journal, JournalHeader, Seen, State, carries};
use crate::patch::plan::{AppliedWith, Plan, structural};
use crate::patch::rules::{self, MARKED, Mark, Options, Rules, Site};

/// The most candidate sets of originals that are tried.
const SETS: usize = 64;

/// A patched checkout, with or without its originals.
#[derive(Debug)]
pub enum Recognised {
    /// The originals are known.
    Applied(Box<Applied>),
    /// The sources are patched, but the originals are not known.
    Marked(Box<Marked>),
}

/// Changes with known originals.
#[derive(Debug)]
pub struct Applied {
    pub journal: Journal,
    /// Where the originals were found; `None` if a journal holds them.
    pub found: Option<Found>,
}

/// Originals that were found in git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub commit: String,
    /// Files whose originals are those of the commit with later edits merged in.
    pub merged: Vec<String>,
    /// Whether HEAD contains the files as they are now.
    pub committed: bool,
}

/// A patched tree whose originals are not known.
#[derive(Debug)]
pub struct Marked {
    pub mark: Mark,
    /// Whether the added file is the one that this build adds, or that of a folder of rules.
    pub current: bool,
    /// Places that apply would still change. If there are any, the tree is only partly patched.
    pub open: Vec<Site>,
    /// Why the originals are not known, and how to make them available.
    pub why: Vec<String>,
    pub needs: Vec<String>,
    /// The changes to the sources of the commit that is nearest to the current files.
    pub nearest: Option<Applied>,
}

impl Recognised {
    /// Recognises a patched checkout; `None` if it is not patched.
    ///
    /// # Errors
    /// An unusable journal, a file that cannot be read.
    pub fn find(checkout: &Checkout) -> Result<Option<Self>> {
        Self::find_with(checkout, None)
    }

    /// The same, where it may have been patched by `given` rules.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn find_with(checkout: &Checkout, given: Option<&Arc<Rules>>) -> Result<Option<Self>> {
        let mark = read_mark(checkout);
        let (mut newest, mut of_another) = (None, None);
        for journal in Journal::all(checkout)? {
            let seen = journal.look(checkout)?;
            if is_in_place(&journal, &seen) {
                if is_of_another(&journal, &seen, mark.as_ref()) {
                    of_another = of_another.or(Some(journal));
                    continue;
                }
                let edited = seen.iter().any(|seen| seen.state == State::Edited);
                return Ok(Some(
                    match mark.filter(|_| edited).map(|mark| by_sources(checkout, mark, given)).transpose()? {
                        // For example a rebased commit: its originals give the current files without any edits.
                        Some(Self::Applied(applied)) if applied.is_exact() => Self::Applied(applied),
                        _ => journal.into(),
                    },
                ));
            }
            if journal.is_newest(checkout) {
                newest = Some(journal);
            }
        }
        // Saving an older version of a file may bring back the options of another apply. They count only if the
        // sources confirm them.
        Ok(match (mark.map(|mark| by_sources(checkout, mark, given)).transpose()?, of_another) {
            (Some(Self::Marked(_)), Some(journal)) => Some(journal.into()),
            (Some(found), _) => Some(found),
            (None, journal) => journal.or(newest).map(Self::from),
        })
    }

    /// The options with which this checkout was patched, if its sources or its journal name them.
    pub fn options(checkout: &Checkout) -> Option<Options> {
        let of_journal = || match Journal::all(checkout).ok()?.into_iter().next()?.about.how {
            AppliedWith::Structural { options } => Some(options),
            AppliedWith::Classic { .. } => None,
        };
        read_mark(checkout).and_then(|mark| mark.options).or_else(of_journal)
    }
}

impl Applied {
    /// Whether the originals are those of a commit, without any edits beside the changes.
    fn is_exact(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.merged.is_empty())
    }
}

impl From<Journal> for Recognised {
    fn from(journal: Journal) -> Self {
        Self::Applied(Box::new(Applied { journal, found: None }))
    }
}

impl Marked {
    /// Adds to an error why the originals are not known.
    pub fn explain(&self, error: Error) -> Error {
        let found = format!("found: `{MARKED}` of rr-patch {}", self.mark.tool);
        let error = self.why.iter().cloned().fold(error.detail(found), Error::detail);
        self.needs.iter().cloned().fold(error, Error::hint)
    }

    /// Whether this build makes the same changes with these options.
    pub fn is(&self, options: &Options) -> bool {
        self.current && self.mark.tool == env!("CARGO_PKG_VERSION") && self.mark.options.as_ref() == Some(options)
    }
}

/// Whether the changes in the files are those of the journal, with or without other edits.
fn is_in_place(journal: &Journal, seen: &[Seen]) -> bool {
    let has_sites = |seen: &Seen| journal.plan.sites.iter().any(|site| site.path == seen.rewrite.path);
    seen.iter().any(|seen| match seen.state {
        State::Patched | State::CutOff => true,
        State::Edited => has_sites(seen) && carries(journal, seen),
        State::Original | State::Missing => false,
    })
}

/// Whether the added file names another apply than the journal.
fn is_of_another(journal: &Journal, seen: &[Seen], mark: Option<&Mark>) -> bool {
    let added = seen.iter().find(|seen| seen.rewrite.path == MARKED);
    let same = |mark: &Mark| match (&journal.about.how, &mark.options) {
        (AppliedWith::Structural { options }, Some(found)) => journal.about.tool == mark.tool && options == found,
        _ => false,
    };
    added.is_some_and(|added| added.state == State::Edited) && mark.is_some_and(|mark| !same(mark))
}

fn mark_is_there(checkout: &Checkout) -> bool {
    fs::symlink_metadata(checkout.locate(MARKED)).is_ok_and(|seen| seen.is_file())
}

/// Reads the mark of the added file. An unreadable file has no mark; code that needs the file reports the error.
fn read_mark(checkout: &Checkout) -> Option<Mark> {
    if !mark_is_there(checkout) {
        return None;
    }
    Mark::read(&fs::read(checkout.locate(MARKED)).ok()?, |path| fs::read(checkout.locate(path)).ok())
}

fn by_sources(checkout: &Checkout, mark: Mark, given: Option<&Arc<Rules>>) -> Result<Recognised> {
    let rules = match mark.options.as_ref().and_then(|options| options.rules.as_deref()) {
        None => Some(made_by(checkout, &mark)?),
        Some(digest) => given.filter(|given| given.digest() == Some(digest)).cloned(),
    };
    let mut now = BTreeMap::new();
    for path in rules
        .as_ref()
        .map_or_else(|| Rules::built_in().map(|rules| rules.source_paths()), |rules| Ok(rules.source_paths()))?
    {
        if let Some(content) = checkout.read(&path)? {
            now.insert(path, content);
        }
    }
    let found = match (&mark.options, &rules) {
        (Some(options), Some(rules)) => Search { checkout, mark: &mark, options, rules, now: &now }.run()?,
        (Some(options), None) => Err(Unknown {
            why: vec![format!("it was made by rules of a folder, {}", options.rules.as_deref().unwrap_or_default())],
            needs: vec!["name that folder: `rr-patch status --rules DIR`".into()],
            nearest: None,
        }),
        (None, _) => Err(Unknown {
            why: vec![format!("this rr-patch, {}, does not support its options", env!("CARGO_PKG_VERSION"))],
            needs: vec![format!("use rr-patch {}, which made it, to revert it", mark.tool)],
            nearest: None,
        }),
    };
    Ok(match found {
        Ok(applied) => Recognised::Applied(Box::new(applied)),
        Err(Unknown { why, needs, nearest }) => {
            // Another version, and other rules, may change other places.
            let same = mark.tool == env!("CARGO_PKG_VERSION");
            let current = rules.as_ref().is_some_and(|rules| rules.is_current());
            let open = rules.filter(|_| same).map(|rules| open_places(&now, &rules)).transpose()?.unwrap_or_default();
            Recognised::Marked(Box::new(Marked { mark, current, open, why, needs, nearest }))
        }
    })
}

/// The rules that patched a tree, by its added file; the current ones if no known rules made that file.
fn made_by(checkout: &Checkout, mark: &Mark) -> Result<Arc<Rules>> {
    let current = Rules::built_in()?;
    let (Some(options), Some(marked)) = (&mark.options, checkout.read(MARKED)?) else { return Ok(current) };
    if current.made(&marked.bytes, options, mark) {
        return Ok(current);
    }
    let earlier = Rules::earlier()?;
    Ok(earlier.into_iter().find(|rules| rules.made(&marked.bytes, options, mark)).unwrap_or(current))
}

/// The places that are not patched. Sources with syntax errors are left to the compiler.
fn open_places(now: &Files, rules: &Rules) -> Result<Vec<Site>> {
    let files = rules.files().into_iter().filter_map(|path| Some((path, now.get(path)?)));
    let files: Vec<GoFile> = files.filter_map(|(path, now)| GoFile::parse(path, now.bytes.clone()).ok()).collect();
    rules::unpatched(rules, &files)
}

type Files = BTreeMap<String, Content>;

/// The search for the originals of the current files.
struct Search<'a> {
    checkout: &'a Checkout,
    mark: &'a Mark,
    options: &'a Options,
    rules: &'a Rules,
    now: &'a Files,
}

/// The changes to one candidate set of originals, compared with the current files.
struct Trial {
    plan: Plan,
    merged: Vec<String>,
    /// Files that the changes do not explain.
    differs: Vec<String>,
}

/// Why the originals are not known, how to make them available, and the nearest candidate.
#[derive(Debug, Default)]
struct Unknown {
    why: Vec<String>,
    needs: Vec<String>,
    nearest: Option<Applied>,
}

impl Search<'_> {
    fn run(&self) -> Result<Result<Applied, Unknown>> {
        let Some(mut ancestors) = self.checkout.ancestors()? else {
            return Ok(Err(Unknown {
                why: vec!["no commit is checked out, so git does not have the originals".into()],
                needs: vec![
                    "revert it where it was patched, or in a git checkout that has the commit that was patched".into(),
                ],
                nearest: None,
            }));
        };
        let (mut sets, mut absent, mut refused) = (0, None, None);
        let mut nearest: Option<(String, Plan, Vec<String>)> = None;
        while let Some(commit) = ancestors.next() {
            let originals = match self.originals(&ancestors, &commit) {
                Ok(Some(originals)) => originals,
                Ok(None) => continue,
                Err(error) => {
                    absent.get_or_insert(error);
                    continue;
                }
            };
            if sets == SETS {
                break;
            }
            sets += 1;
            match self.try_out(&originals) {
                Ok(Trial { plan, merged, differs }) if differs.is_empty() => {
                    return Ok(Ok(self.applied(&ancestors, commit, plan, merged)?));
                }
                Ok(Trial { plan, differs, .. }) => {
                    // The content of the added file does not depend on the originals. If it differs, no originals can
                    // match.
                    let hopeless = differs.iter().any(|path| path == MARKED);
                    if nearest.as_ref().is_none_or(|(.., fewest)| differs.len() < fewest.len()) {
                        nearest = Some((commit, plan, differs));
                    }
                    if hopeless {
                        break;
                    }
                }
                Err(error) => {
                    refused.get_or_insert((commit, error));
                }
            }
        }
        let of = nearest.as_ref().map(|(commit, _, differs)| (commit.as_str(), differs.as_slice()));
        let mut unknown = self.unknown(&ancestors, of, absent, refused);
        // Another version may have made other changes.
        if let Some((commit, plan, _)) = nearest.filter(|_| self.mark.tool == env!("CARGO_PKG_VERSION")) {
            unknown.nearest = Some(self.applied(&ancestors, commit, plan, Vec::new())?);
        }
        Ok(Err(unknown))
    }

    fn applied(&self, ancestors: &Ancestors, commit: String, plan: Plan, merged: Vec<String>) -> Result<Applied> {
        let committed = self.is_in(ancestors)?;
        let how = AppliedWith::Structural { options: self.options.clone() };
        let about = JournalHeader { tool: self.mark.tool.clone(), base: Some(commit.clone()), how, commit: None };
        let journal = Journal::found(self.checkout, plan, about);
        Ok(Applied { journal, found: Some(Found { commit, merged, committed }) })
    }

    /// The sources of a commit as a checkout would have them; `None` if the commit itself is patched.
    fn originals(&self, ancestors: &Ancestors, commit: &str) -> Result<Option<Files>> {
        let mut originals = Files::new();
        if ancestors.read(commit, MARKED)?.is_some() {
            return Ok(None);
        }
        for path in self.rules.source_paths() {
            if let Some(stored) = ancestors.read(commit, &path)? {
                let now = self.now.get(&path);
                let bytes = as_checked_out(stored.bytes, now);
                // Git stores only the executable bit, and apply does not change modes.
                originals.insert(path, Content { bytes, mode: now.map_or(stored.mode, |now| now.mode) });
            }
        }
        Ok(Some(originals))
    }

    /// Whether HEAD contains the files as they are now.
    fn is_in(&self, ancestors: &Ancestors) -> Result<bool> {
        let Some(head) = self.checkout.head() else { return Ok(false) };
        for (path, now) in self.now {
            let stored = ancestors.read(head, path)?.map(|stored| as_checked_out(stored.bytes, Some(now)));
            if stored.as_ref() != Some(&now.bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Plans the changes to these sources, with the line ends and modes of the current files.
    fn plan(&self, sources: &Files) -> Result<Plan> {
        let mut plan = structural(&|path| Ok(sources.get(path).cloned()), self.options, self.mark, self.rules)?;
        for rewrite in plan.rewrites.iter_mut().filter(|rewrite| rewrite.before.is_none()) {
            let now = self.now.get(&rewrite.path);
            rewrite.after = rewrite.after.take().map(|after| Content {
                bytes: as_checked_out(after.bytes, now),
                mode: now.map_or(after.mode, |now| now.mode),
            });
        }
        Ok(plan)
    }

    /// Applies the changes to `originals`, and to the originals with the other edits merged in.
    fn try_out(&self, originals: &Files) -> Result<Trial> {
        let plan = self.plan(originals)?;
        let (mut sources, mut merged, mut differs) = (originals.clone(), Vec::new(), Vec::new());
        for path in self.rules.source_paths() {
            let now = self.now.get(&path);
            let Some(rewrite) = plan.rewrites.iter().find(|rewrite| rewrite.path == path) else {
                // A file that the changes read but do not write.
                if !self.rules.adds(&path) {
                    match now {
                        Some(now) => sources.insert(path, now.clone()),
                        None => sources.remove(&path),
                    };
                }
                continue;
            };
            match (&rewrite.before, now, &rewrite.after) {
                (before, now, after) if now == after.as_ref() || now == before.as_ref() => {}
                (Some(before), Some(now), Some(after)) => {
                    match merge(&after.bytes, &now.bytes, &before.bytes, ["edited", "original"])? {
                        Ok(bytes) => {
                            sources.insert(path.clone(), Content { bytes, mode: now.mode });
                            merged.push(path);
                        }
                        Err(_) => differs.push(path),
                    }
                }
                _ => differs.push(path),
            }
        }
        if sources == *originals || !differs.is_empty() {
            return Ok(Trial { plan, merged, differs });
        }
        let Ok(plan) = self.plan(&sources) else { return Ok(Trial { plan, differs: merged.clone(), merged }) };
        let accounted = |path: &String| {
            let rewrite = plan.rewrites.iter().find(|rewrite| rewrite.path == *path);
            let now = self.now.get(path);
            rewrite.is_some_and(|one| now == one.after.as_ref() || now == one.before.as_ref())
        };
        let planned = plan.rewrites.iter().map(|rewrite| &rewrite.path);
        let differs = planned.chain(&merged).filter(|path| !accounted(path)).cloned().collect();
        Ok(Trial { plan, merged, differs })
    }

    /// Why no originals were found.
    fn unknown(
        &self,
        ancestors: &Ancestors,
        nearest: Option<(&str, &[String])>,
        absent: Option<anyhow::Error>,
        refused: Option<(String, anyhow::Error)>,
    ) -> Unknown {
        let (mut why, mut needs) = (Vec::new(), Vec::new());
        let (theirs, ours) = (&self.mark.tool, env!("CARGO_PKG_VERSION"));
        let looked_at = ancestors.looked_at();
        let commits = if looked_at == 1 { "the commit" } else { "the commits" };
        match nearest {
            Some((commit, differs)) => {
                why.push(format!(
                    "the changes to the sources of {} do not give the current content of: {}",
                    short(commit),
                    differs.join(", ")
                ));
                if theirs == ours {
                    needs.push(format!(
                        "`git diff {} -- {}` shows the other edits: undo them",
                        short(commit),
                        differs.join(" ")
                    ));
                    needs.push(format!(
                        "`rr-patch revert --force` restores the files of {}, and keeps files that differ as FILE.edited",
                        short(commit)
                    ));
                }
            }
            None => why
                .push(format!("the sources that were patched are not in {commits} from HEAD on: {looked_at} searched")),
        }
        if theirs != ours {
            why.push(format!("it was made by rr-patch {theirs}, and this is {ours}"));
            needs.push(format!("use rr-patch {theirs} to revert it"));
        }
        if let Some((commit, error)) = refused.filter(|_| nearest.is_none()) {
            why.push(format!("the sources of {} cannot be patched: {error:#}", short(&commit)));
        }
        if let Some(error) = absent {
            why.push(format!("{error:#}"));
            let hints = error.downcast_ref::<Error>().map(|error| error.hints().to_vec()).unwrap_or_default();
            needs.extend(hints);
        }
        if self.checkout.is_shallow() {
            why.push("this is a shallow clone, which lacks the older commits".into());
            needs.push("`git fetch --unshallow`, or `git fetch --deepen=1` if only the commit before is needed".into());
        } else if ancestors.were_more() {
            needs.push(format!(
                "only {looked_at} commits are searched: check out a commit that is nearer to the patched one"
            ));
        } else if nearest.is_none() {
            needs.push(format!(
                "a commit from before the changes has the originals: `git checkout COMMIT -- pkg/clusterapi`, and remove `{MARKED}` and its neighbours `rr_patch_*.go`"
            ));
        }
        Unknown { why, needs, nearest: None }
    }
}

/// Applies the line ends of `core.autocrlf`: with it git checks out other line ends than it stores.
fn as_checked_out(stored: Vec<u8>, now: Option<&Content>) -> Vec<u8> {
    let ends = |bytes: &[u8], end: u8| bytes.iter().filter(|&&byte| byte == end).count();
    let crlf = |bytes: &[u8]| bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    let converted = now.is_some_and(|now| crlf(&now.bytes) > 0 && crlf(&now.bytes) == ends(&now.bytes, b'\n'));
    if !converted || stored.contains(&b'\r') {
        return stored;
    }
    let mut out = Vec::with_capacity(stored.len() + ends(&stored, b'\n'));
    for byte in stored {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}
