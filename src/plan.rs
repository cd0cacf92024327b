//! What would change: every file with its bytes before and after. Reads, never writes.

use std::path::Path;

use anyhow::Result;

use crate::checkout::Content;
use crate::error::Error;
use crate::go::GoFile;
use crate::rules::{self, OPTIONAL, Options, PROVIDERS, REQUIRED, Rules, Site};

/// One file's change. No `before` is a file to be added, no `after` one to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// From the installer's root.
    pub path: String,
    pub before: Option<Content>,
    pub after: Option<Content>,
}

/// A set of changes, and where in the sources they lie.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rewrites: Vec<Rewrite>,
    pub sites: Vec<Site>,
    pub shape: String,
}

/// Reads a file of some version of the sources; nothing where there is none.
pub type Source<'a> = &'a dyn Fn(&str) -> Result<Option<Content>>;

/// Plans the structural changes to the sources that `read` gives.
///
/// # Errors
/// A file that is missing, Go that does not parse, a shape that is not understood, a file where one
/// would be added, a controller that the installer does not have.
pub fn structural(read: Source, options: &Options) -> Result<Plan> {
    structural_by(&Rules::load()?, read, options)
}

/// As [`structural`], with rules that are used more than once.
pub fn structural_by(rules: &Rules, read: Source, options: &Options) -> Result<Plan> {
    let contents = read_sources(read)?;
    let files: Vec<GoFile> =
        contents.iter().map(|(path, content)| GoFile::parse(path, content.bytes.clone())).collect::<Result<_>>()?;
    check_controllers(read, options)?;
    let patched = rules::apply(rules, &files, options)?;

    let mut rewrites = Vec::new();
    for (path, bytes) in patched.files {
        let before = files.iter().position(|file| file.path() == path).map(|n| contents[n].1.clone());
        if before.is_none() && read(&path)?.is_some() {
            return Err(Error::refused(format!("`{path}` is there already, where a file would be added"))
                .detail("found: a file that rr-patch's journal does not know")
                .hint(format!("if it is left over from an earlier patch, remove it: `rm {path}`"))
                .into());
        }
        let mode = before.as_ref().map_or(0o644, |content| content.mode);
        rewrites.push(Rewrite { path, before, after: Some(Content { bytes, mode }) });
    }
    Ok(Plan { rewrites, sites: patched.sites, shape: patched.shape })
}

/// The files that the rules are for.
fn read_sources(read: Source) -> Result<Vec<(&'static str, Content)>> {
    let mut contents = Vec::new();
    for path in REQUIRED.into_iter().chain(OPTIONAL) {
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

/// A misspelt name would record nothing, and be noticed when the install is over.
fn check_controllers(read: Source, options: &Options) -> Result<()> {
    if options.controllers.iter().all(|chosen| ["providers", "all"].contains(&chosen.as_str())) {
        return Ok(());
    }
    let path = PROVIDERS;
    let Some(Ok(providers)) = read(path)?.map(|content| GoFile::parse(path, content.bytes)) else { return Ok(()) };
    let names = rules::provider_names(&providers)?;
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
                .hint("name some of those, or `providers`, or `all`")
                .into());
        }
    }
    Ok(())
}

/// The same changes backwards.
pub fn reversed(rewrites: &[Rewrite]) -> Vec<Rewrite> {
    let turn = |rewrite: &Rewrite| Rewrite {
        path: rewrite.path.clone(),
        before: rewrite.after.clone(),
        after: rewrite.before.clone(),
    };
    rewrites.iter().map(turn).collect()
}

/// The folders, from the installer's root, in which files change.
pub fn folders(rewrites: &[Rewrite]) -> Vec<&Path> {
    let mut folders: Vec<&Path> = rewrites.iter().filter_map(|rewrite| Path::new(&rewrite.path).parent()).collect();
    folders.sort();
    folders.dedup();
    folders
}
