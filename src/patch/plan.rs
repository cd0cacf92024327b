//! Plans changes: every file with its bytes before and after. This module reads files and never writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::patch::checkout::{Content, FileEdit};
use crate::patch::go::GoFile;
use crate::patch::hunks::{Around, hunks, quoted};
use crate::patch::rules::{self, Mark, Options, PROVIDERS, REQUIRED, Rules, Site};
use crate::patch::unified::{Blobs, Label, PatchFile};

/// The change of one file. Without `before` the file is added, without `after` it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Relative to the installer's root.
    pub path: String,
    pub before: Option<Content>,
    pub after: Option<Content>,
}

/// A set of changes, and the places in the sources that they change.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rewrites: Vec<Rewrite>,
    pub sites: Vec<Site>,
    pub shape: String,
}

/// The changes to apply.
#[derive(Clone, Debug)]
pub enum PatchSource {
    Structural(Options, Arc<Rules>),
    /// Classic patches, in the order in which they are applied.
    Classic(Vec<PatchFile>),
}

/// The applied changes, as the journal records them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AppliedWith {
    Classic { patches: Vec<Label> },
    Structural { options: Options },
}

impl PatchSource {
    pub fn how(&self) -> AppliedWith {
        match self {
            Self::Structural(options, _) => AppliedWith::Structural { options: options.clone() },
            Self::Classic(patches) => {
                AppliedWith::Classic { patches: patches.iter().map(|one| one.label.clone()).collect() }
            }
        }
    }

    /// The rules that it follows.
    pub fn rules(&self) -> Option<&Arc<Rules>> {
        match self {
            Self::Structural(_, rules) => Some(rules),
            Self::Classic(_) => None,
        }
    }

    /// Plans the changes to the sources that `read` returns. With `blobs`, classic patches that do not fit are
    /// merged.
    pub fn plan(&self, read: Source, blobs: Option<Blobs>) -> Result<Plan> {
        match self {
            Self::Structural(options, rules) => structural(read, options, &Mark::new(options), rules),
            Self::Classic(patches) => classic(patches, read, blobs).map_err(|error| match error.downcast::<Error>() {
                // This costs as much as applying, but it runs only when the patch does not fit.
                Ok(error) if changes_the_same(patches) && fits_structurally(read) => error
                    .hint("rr-patch's own changes fit these sources: `rr-patch apply` without a patch makes them")
                    .into(),
                Ok(error) => error.into(),
                Err(error) => error,
            }),
        }
    }
}

/// Whether the patches change what rr-patch's own changes do.
fn changes_the_same(patches: &[PatchFile]) -> bool {
    patches.iter().flat_map(PatchFile::paths).any(|path| REQUIRED.contains(&path))
}

/// Whether the changes that rr-patch carries fit.
fn fits_structurally(read: Source) -> bool {
    let options = Options::default();
    Rules::built_in().is_ok_and(|rules| structural(read, &options, &Mark::new(&options), &rules).is_ok())
}

/// Reads a file of one version of the sources; `None` if there is no such file.
pub type Source<'a> = &'a dyn Fn(&str) -> Result<Option<Content>>;

/// Plans the structural changes to the sources that `read` returns. The added file carries `mark`.
///
/// # Errors
/// A missing file, Go with syntax errors, code that no rule matches, an existing file in the place of an added one, a
/// controller that the installer does not have.
pub fn structural(read: Source, options: &Options, mark: &Mark, rules: &Rules) -> Result<Plan> {
    let contents = read_sources(read, rules)?;
    let files: Vec<GoFile> =
        contents.iter().map(|(path, content)| GoFile::parse(path, content.bytes.clone())).collect::<Result<_>>()?;
    check_controllers(read, options)?;
    let patched = rules::apply(rules, &files, options, mark)?;

    let mut rewrites = Vec::new();
    for (path, bytes) in patched.files {
        let before = files.iter().position(|file| file.path() == path).map(|n| contents[n].1.clone());
        if before.is_none() && read(&path)?.is_some() {
            return Err(Error::refused(format!("`{path}` exists already, but rr-patch would add it"))
                .detail("found: a file that rr-patch's journal does not know")
                .hint(format!("if it is left over from an earlier patch, remove it: `rm {path}`"))
                .into());
        }
        let mode = before.as_ref().map_or(0o644, |content| content.mode);
        rewrites.push(Rewrite { path, before, after: Some(Content { bytes, mode }) });
    }
    Ok(Plan { rewrites, sites: patched.sites, shape: patched.shape })
}

/// The files that the rules change.
fn read_sources<'a>(read: Source, rules: &'a Rules) -> Result<Vec<(&'a str, Content)>> {
    let mut contents = Vec::new();
    for path in rules.files() {
        match read(path)? {
            Some(content) => contents.push((path, content)),
            None if REQUIRED.contains(&path) => {
                return Err(Error::refused(format!("`{path}` is missing"))
                    .detail("expected: the sources of the Cluster API supervisor, which the installer has had since 2023-11")
                    .hint(format!("if it was deleted: `git checkout -- {path}`"))
                    .into());
            }
            None => {}
        }
    }
    Ok(contents)
}

/// Checks the names of the controllers. A misspelt name would record nothing, and the user would notice it only after
/// the install.
fn check_controllers(read: Source, options: &Options) -> Result<()> {
    if options.controllers.iter().all(|chosen| ["providers", "all"].contains(&chosen.as_str())) {
        return Ok(());
    }
    let path = PROVIDERS;
    let Some(Ok(providers)) = read(path)?.map(|content| GoFile::parse(path, content.bytes)) else { return Ok(()) };
    let names = rules::provider_names(&providers);
    if names.is_empty() {
        return Ok(());
    }
    for chosen in &options.controllers {
        let short = chosen.strip_prefix("cluster-api-provider-").unwrap_or(chosen);
        let short = short.strip_suffix(" infrastructure provider").unwrap_or(short);
        let core = ["cluster-api", "cluster api"].contains(&chosen.to_lowercase().as_str());
        let known = names.iter().any(|name| name.eq_ignore_ascii_case(short));
        if !known && !core && !["providers", "all"].contains(&chosen.as_str()) {
            return Err(Error::refused(format!("this installer has no controller `{chosen}`"))
                .detail(format!("found in {path}: {}, and the core controller `cluster-api`", names.join(", ")))
                .did_you_mean(short, names.iter().map(String::as_str).chain(["providers", "all", "cluster-api"]))
                .hint("name some of those, or `providers`, or `all`")
                .into());
        }
    }
    Ok(())
}

/// Plans classic patches for the sources that `read` returns, each on top of the one before.
///
/// # Errors
/// The errors of [`PatchFile::apply`], and Go that has syntax errors only after the patch.
pub fn classic(patches: &[PatchFile], read: Source, blobs: Option<Blobs>) -> Result<Plan> {
    let mut now: BTreeMap<String, Option<Content>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut sites: Vec<Site> = Vec::new();
    for patch in patches {
        let current = |path: &str| now.get(path).map_or_else(|| read(path), |known| Ok(known.clone()));
        let earlier = sites.len();
        for change in patch.apply(&current, blobs)? {
            for site in sites[..earlier].iter_mut().filter(|site| site.path == change.path) {
                let moved: isize = change.shifts.iter().filter(|(at, _)| *at <= site.line).map(|(_, by)| by).sum();
                site.line = site.line.saturating_add_signed(moved);
            }
            let lines = change.lines.into_iter();
            sites.extend(lines.map(|line| Site { change: patch.label.name.clone(), path: change.path.clone(), line }));
            if !now.contains_key(&change.path) {
                order.push(change.path.clone());
            }
            now.insert(change.path, change.after);
        }
    }
    refuse_files_below_files(&now, read)?;
    let mut rewrites = Vec::new();
    for path in order {
        let (before, after) = (read(&path)?, now.remove(&path).flatten());
        if before != after {
            still_go(&path, before.as_ref(), after.as_ref())?;
            rewrites.push(Rewrite { path, before, after });
        }
    }
    let names: Vec<&str> = patches.iter().map(|patch| patch.label.name.as_str()).collect();
    if rewrites.is_empty() {
        return Err(Error::refused(format!("`{}` would change nothing here", names.join(", "))).into());
    }
    let left: BTreeSet<&str> = rewrites.iter().filter(|r| r.after.is_some()).map(|r| r.path.as_str()).collect();
    sites.retain(|site| left.contains(site.path.as_str()));
    Ok(Plan { rewrites, sites, shape: names.join(", ") })
}

/// Refuses a path that is both a file and a folder, even one after the other: all files are written before any is
/// removed.
fn refuse_files_below_files(now: &BTreeMap<String, Option<Content>>, read: Source) -> Result<(), Error> {
    let mut folders: BTreeSet<&Path> = BTreeSet::new();
    for path in now.iter().filter(|(_, after)| after.is_some()).map(|(path, _)| path) {
        for folder in Path::new(path).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            if !folders.insert(folder) {
                break;
            }
            let name = folder.to_string_lossy();
            // A folder in that place is correct; `read` returns an error for it.
            if now.get(&*name).is_some_and(Option::is_some) || matches!(read(&name), Ok(Some(_))) {
                return Err(Error::refused(format!("`{name}` is a file: nothing can lie below it"))
                    .detail(format!("expected: a folder, for `{path}`")));
            }
        }
    }
    Ok(())
}

/// Refuses Go that has syntax errors only after the patch: then a hunk fitted in the wrong place.
fn still_go(path: &str, before: Option<&Content>, after: Option<&Content>) -> Result<()> {
    let parse = |content: &Content| GoFile::parse(path, content.bytes.clone()).map(drop);
    match after.filter(|_| Path::new(path).extension().is_some_and(|ending| ending == "go")).map(parse) {
        Some(Err(error)) if before.is_none_or(|before| parse(before).is_ok()) => match error.downcast::<Error>() {
            // The hint of the parse error is about the file on disk, which is correct.
            Ok(error) => {
                let refused = Error::refused(format!("with the patch, {error}"))
                    .hint("a hunk may fit in the wrong place, or the patch may be incomplete");
                Err(error.details().iter().cloned().fold(refused, Error::detail).into())
            }
            Err(error) => Err(error),
        },
        _ => Ok(()),
    }
}

/// The changes in the form that `Checkout::prepare_commit` takes.
pub fn changes(plan: &Plan) -> Vec<FileEdit<'_>> {
    plan.rewrites.iter().map(|r| (r.path.as_str(), r.before.as_ref(), r.after.as_ref())).collect()
}

/// The same changes with `before` and `after` exchanged.
pub fn reversed(rewrites: &[Rewrite]) -> Vec<Rewrite> {
    let turn = |rewrite: &Rewrite| Rewrite {
        path: rewrite.path.clone(),
        before: rewrite.after.clone(),
        after: rewrite.before.clone(),
    };
    rewrites.iter().map(turn).collect()
}

/// The folders with changed files, relative to the installer's root.
pub fn folders(rewrites: &[Rewrite]) -> Vec<&Path> {
    let mut folders: Vec<&Path> = rewrites.iter().filter_map(|rewrite| Path::new(&rewrite.path).parent()).collect();
    folders.sort();
    folders.dedup();
    folders
}

/// A patch for `git apply`. It has the exact bytes of the files, including those that a terminal would interpret; the
/// code that prints to a terminal escapes them. The installer is the folder `below` the top of the work tree.
pub fn diff(below: &Path, plan: &Plan, around: Around) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for Rewrite { path, before, after } in &plan.rewrites {
        if before == after {
            continue;
        }
        let path = below.join(path).to_string_lossy().into_owned();
        let hash = |content: &Option<Content>| content.as_ref().map_or(Ok("0".repeat(40)), Content::hash);
        let mode = |content: &Option<Content>| content.as_ref().map(Content::git_mode);
        let mut head = format!("diff --git {} {}\n", quoted("a/", &path), quoted("b/", &path));
        match (mode(before), mode(after)) {
            (None, Some(mode)) => head.push_str(&format!("new file mode {mode}\n")),
            (Some(mode), None) => head.push_str(&format!("deleted file mode {mode}\n")),
            (Some(old), Some(new)) if old != new => head.push_str(&format!("old mode {old}\nnew mode {new}\n")),
            _ => {}
        }
        let same_mode =
            mode(before).filter(|old| mode(after) == Some(old)).map_or(String::new(), |mode| format!(" {mode}"));
        let bytes = |content: &'_ Option<Content>| content.as_ref().map_or(Vec::new(), |c| c.bytes.clone());
        let (old, new) = (bytes(before), bytes(after));
        if old != new {
            head.push_str(&format!("index {}..{}{same_mode}\n", hash(before)?, hash(after)?));
            let name =
                |content: &Option<Content>, side| content.as_ref().map_or("/dev/null".into(), |_| quoted(side, &path));
            head.push_str(&format!("--- {}\n+++ {}\n", name(before, "a/"), name(after, "b/")));
        }
        out.extend_from_slice(head.as_bytes());
        out.extend(hunks(&old, &new, around).into_iter().flatten());
    }
    Ok(out)
}
