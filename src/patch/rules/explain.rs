//! Why sources are not understood: each place, what was looked for there, and what was found.

use std::collections::HashMap;

use super::dead::{Dead, around, outermost};
use super::load::Times;
use super::{MOST_PLACES, Match, RuleMatch, Rules, base};
use crate::error::Error;
use crate::patch::go::{GoFile, holds as contains};

/// A place that is not understood: where, what was looked for, what was found.
pub struct Mismatch {
    at: String,
    looked_for: String,
    found: String,
}

/// `places` is how many there are for each site, those counted that were not looked at.
pub fn misfits(rules: &Rules, sources: &[GoFile], fits: &[RuleMatch], places: &HashMap<&str, usize>) -> Vec<Mismatch> {
    let mut trouble = Vec::new();
    for rule in rules.iter().filter(|rule| rule.times != Times::Never) {
        let here: Vec<&RuleMatch> = fits.iter().filter(|fit| fit.rule().id == rule.id).collect();
        // The last of the files that exists: where a shape moved a function out, it is there.
        let mut files = rule.files.iter().filter_map(|path| sources.iter().find(|file| file.path() == path));
        let Some(file) = files.next_back() else { continue };
        let function = rule.function(file);
        let name = match (&function, &rule.scope) {
            (Some(function), Some(_)) => function.function_name().unwrap_or_else(|| rule.functions.clone()),
            (_, Some(_)) => rule.functions.clone(),
            (_, None) => base(file.path()).to_owned(),
        };
        let looked_for =
            || format!("{} in `{name}`{}", rule.looked_for, if rule.is_optional() { "" } else { ", once" });
        let all = places.get(rule.id.as_str()).copied().unwrap_or_default();
        let count = if all > MOST_PLACES { all } else { here.len() };
        if count == 1 || (count == 0 && rule.is_optional()) {
            trouble.extend(here.iter().filter_map(|fit| leftover(fit, looked_for())));
            trouble.extend(here.iter().filter_map(|fit| repetition(fit, looked_for())));
            trouble.extend(here.iter().flat_map(|fit| missing_imports(fit, &rule.imports, looked_for())));
            continue;
        }
        let found = match (&function, count) {
            (None, _) => format!("no function `{}`", name.replace(' ', "` or `")),
            (Some(function), 0) => {
                let near = (function.line()..)
                    .zip(function.bytes().split(|&byte| byte == b'\n'))
                    .filter(|(_, line)| contains(line, rule.near.as_bytes()))
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
                    let line = fit.one.at.line();
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
        at: format!("{}:{}", fit.file.path(), fit.one.at.line()),
        looked_for: format!("{looked_for}, not patched yet"),
        found: format!("`{text}` is there already"),
    })
}

fn missing_imports(fit: &RuleMatch, imports: &[String], looked_for: String) -> Vec<Mismatch> {
    let missing = imports.iter().filter(|path| !fit.file.imports(path));
    missing
        .map(|path| Mismatch {
            at: format!("{}:1", fit.file.path()),
            looked_for: format!("an import of `{path}` under its own name, for what follows {looked_for}"),
            found: "none".into(),
        })
        .collect()
}

/// What must not be there once all changes are made, unless it is dead.
pub fn left_behind(file: &GoFile, one: &Match, fits: &[RuleMatch], dead: &Dead) -> Option<Mismatch> {
    let at = one.at.range().start;
    let mut edits = fits.iter().filter(|fit| fit.file.path() == file.path()).flat_map(|fit| &fit.edits);
    if dead.holds(file, at) || edits.any(|edit| edit.range.contains(&at)) {
        return None;
    }
    Some(Mismatch {
        at: format!("{}:{}", file.path(), one.at.line()),
        looked_for: format!(
            "no {} left in `{}`, as `{}` promises",
            one.rule.message,
            one.at.function_name().unwrap_or_default(),
            one.rule.change
        ),
        found: format!("`{}`", file.line(one.at.line()).trim()),
    })
}

impl Mismatch {
    /// The refusal with this place in it.
    pub fn told(error: Error, Self { at, looked_for, found }: Self) -> Error {
        error.detail(format!("`{at}`\nlooked for: {looked_for}\nfound: {found}"))
    }
}

/// The refusal of an installer's sources, with what may be the matter with them.
pub fn not_installer(sources: &[GoFile]) -> Error {
    let error = Error::refused("this shape of the installer's sources is not understood");
    let has = |needle: &[u8]| sources.iter().any(|file| contains(file.bytes(), needle));
    if has(b"process.Supervisor") || has(b"CancelRunWith(") || has(b".logWhileWaiting(") {
        error.hint("rr-patch's changes are in these files, but not in its journal: get the originals back with `git checkout -- pkg/clusterapi`")
    } else if has(b"syscall.Kill(-") || has(b"\"record\",") {
        error.hint(
            "a hand-made rr patch seems to be in place: take it out first, `git apply -R docs/dev/rr-debugging.patch`",
        )
    } else {
        error.hint("a newer release? see \"A new installer release\" in rr-patch's README for how to mend a rule")
    }
}
