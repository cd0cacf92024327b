//! What a job leaves: a folder with the installer, what is said of it, and the sums of all files.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::row::Row;
use crate::binary::hash_file;
use crate::error::{Error, Shown};
use crate::provenance;
use crate::sys::process::{Child, Environment, for_child};

/// The installer's name in the folder.
pub const INSTALLER: &str = "openshift-install";

/// The sums, as `sha256sum --check` takes them.
const SUMS: &str = "SHA256SUMS";

/// The predicate of the statement alone, for who signs it.
const PREDICATE: &str = "predicate.json";

/// Fetches the commit of a row, and nothing else, into a new work tree.
///
/// # Errors
/// A folder that is there, a remote that does not have the commit.
pub fn fetch(row: &Row, remote: &str, folder: &Path) -> Result<()> {
    if folder.exists() {
        return Err(Error::refused(format!("`{}` is there already", folder.shown()))
            .hint("`--work DIR` takes a folder that is not there yet; `--checkout DIR` builds one that is")
            .into());
    }
    let place = for_child(folder)?;
    git(&["init", "--quiet", "--", place])?;
    git(&["-C", place, "remote", "add", "--", "origin", remote])?;
    git(&["-C", place, "fetch", "--quiet", "--depth=1", "--no-tags", "origin", &row.commit])?;
    git(&["-C", place, "-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", &row.commit])
}

fn git(arguments: &[&str]) -> Result<()> {
    let words: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let environment = Environment::from([("GIT_TERMINAL_PROMPT".into(), "0".into())]);
    let (end, said) =
        Child { program: "git", arguments: &words, folder: Path::new("."), environment: &environment }.capture()?;
    if end.success() {
        return Ok(());
    }
    let asked: Vec<&str> =
        arguments.iter().copied().skip_while(|word| *word == "-C" || word.contains('/')).take(2).collect();
    Err(Error::failed(format!("`git {}` ended with {end}", asked.join(" ")))
        .detail(String::from_utf8_lossy(&said).trim_end().to_owned())
        .hint("`git fetch` from the same remote says the same; a branch may have been moved since the matrix was made")
        .into())
}

/// Writes what belongs beside a built installer, and gives the names of all files in its folder.
pub fn complete(folder: &Path) -> Result<Vec<String>> {
    let statement = provenance::path_of(&folder.join(INSTALLER));
    let text = fs::read(&statement).with_context(|| format!("cannot read `{}`", statement.shown()))?;
    let statement: Value = serde_json::from_slice(&text)?;
    write(&folder.join(PREDICATE), format!("{:#}\n", statement["predicate"]).as_bytes())?;
    let mut names = Vec::new();
    list(folder, Path::new(""), &mut names)?;
    names.sort();
    names.retain(|name| name != SUMS);
    let mut sums = String::new();
    for name in &names {
        sums.push_str(&format!("{}  {name}\n", hash_file(&folder.join(name))?.0));
    }
    write(&folder.join(SUMS), sums.as_bytes())?;
    names.push(SUMS.into());
    Ok(names)
}

fn list(root: &Path, below: &Path, names: &mut Vec<String>) -> Result<()> {
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.shown()))? {
        let entry = entry.with_context(|| format!("cannot read `{}`", folder.shown()))?;
        let name = below.join(entry.file_name());
        match entry.path().is_dir() {
            true => list(root, &name, names)?,
            false => names.push(for_child(&name)?.to_owned()),
        }
    }
    Ok(())
}

/// Writes a file, and the folders above it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.shown()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.shown()))
}

/// Adds to a file of the engine's, like that in `$GITHUB_OUTPUT`.
pub fn append(path: &PathBuf, text: &str) -> Result<()> {
    let opened = File::options().append(true).create(true).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.shown()))
}
