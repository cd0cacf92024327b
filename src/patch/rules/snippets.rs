//! Snippets of Go that rules must match, and others that they must not, as `ast-grep test` reads them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{PATCHES, Rules};
use crate::error::{Error, Shown as _};
use crate::patch::go::GoFile;

/// The snippets for one rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snippets {
    id: String,
    /// What the rule must not match.
    #[serde(default)]
    valid: Vec<String>,
    /// What it must match.
    #[serde(default)]
    invalid: Vec<String>,
}

/// What became of a rule's snippets.
pub struct Trial {
    pub rule: String,
    /// How many snippets were tried.
    pub snippets: usize,
    /// What is not as it should be, a line each.
    pub wrong: Vec<String>,
}

/// Tries rules on the snippets in `tests` of a folder, or on those that rr-patch carries in a folder of that name.
///
/// # Errors
/// A file that cannot be read, or that holds no snippets.
pub fn try_out(rules: &Rules, folder: Option<&Path>, carried: &str) -> Result<Vec<Trial>> {
    let mut all: Vec<(String, Snippets)> = Vec::new();
    for (name, text) in texts(folder, carried)? {
        let read = |error: serde_saphyr::Error| {
            let at = error.location().map_or(String::new(), |at| format!(":{}:{}", at.line(), at.column()));
            Error::refused(format!("`{name}{at}` holds no snippets: {}", error.without_snippet()))
        };
        let found: Vec<Snippets> = serde_saphyr::from_multiple(&text).map_err(read)?;
        all.extend(found.into_iter().map(|snippets| (name.clone(), snippets)));
    }
    let mut trials: Vec<Trial> =
        rules.iter().map(|rule| Trial { rule: rule.id.clone(), snippets: 0, wrong: Vec::new() }).collect();
    for (name, Snippets { id, valid, invalid }) in all {
        let Some((rule, trial)) = rules.iter().zip(&mut trials).find(|(rule, _)| rule.id == id) else {
            let wrong = vec![format!("`{name}` is for a rule that is not there")];
            trials.push(Trial { rule: id, snippets: 0, wrong });
            continue;
        };
        for (snippet, expected) in valid.iter().map(|one| (one, false)).chain(invalid.iter().map(|one| (one, true))) {
            trial.snippets += 1;
            let first = snippet.lines().next().unwrap_or_default();
            match GoFile::parse(&name, snippet.clone().into_bytes()) {
                Err(error) => trial.wrong.push(format!("the snippet `{first}` …: {error}")),
                Ok(file) if rule.ranges(&file).is_empty() == expected => trial.wrong.push(match expected {
                    true => format!("it does not match the invalid snippet `{first}` …"),
                    false => format!("it matches the valid snippet `{first}` …"),
                }),
                Ok(_) => {}
            }
        }
    }
    for trial in trials.iter_mut().filter(|trial| trial.snippets == 0 && trial.wrong.is_empty()) {
        trial.wrong.push("it has no snippets".into());
    }
    Ok(trials)
}

/// Name and text of each file of snippets.
fn texts(folder: Option<&Path>, carried: &str) -> Result<Vec<(String, String)>> {
    let Some(folder) = folder else {
        let files = PATCHES.get_dir(carried).into_iter().flat_map(include_dir::Dir::files);
        let text = |file: &include_dir::File| Some((file.path().shown(), file.contents_utf8()?.to_owned()));
        return Ok(files.filter_map(text).collect());
    };
    let folder = folder.join("tests");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read the snippets of `{}`", folder.shown()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.shown()))?;
        Ok((path.shown(), text))
    };
    paths.into_iter().map(read).collect()
}
