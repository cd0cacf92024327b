//! After the build: what came out is opened and has to be what was asked for. A build can go through
//! and still be worth nothing for debugging, and then that should be known now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;

use crate::binary::{Facts, Finding, Installer, REBUILD};
use crate::error::{Error, Shown};
use crate::patch::build_lock::written_since;

/// What an installer has to be.
pub struct Expected<'a> {
    pub installer: &'a Path,
    /// When its build began.
    pub began: SystemTime,
    /// It has to carry the patch.
    pub patched: bool,
    /// The Go that builds the installer.
    pub go: &'a str,
    /// The controllers that it has to embed, each with the Go that builds it.
    pub controllers: BTreeMap<String, String>,
    /// Sources that the installer names and that are not here: those that an overlay added.
    pub absent: Vec<String>,
    /// Controllers have the chaos overlay: the sources that they name and that are not here, since it added them.
    pub chaos: Option<Vec<String>>,
}

/// The remedy for an installer that was linked without debug information just now.
const FLAGS: &str = "leave `-s` and `-w` out of LDFLAGS and GOFLAGS, then build again";

/// # Errors
/// Whatever is missing, all at once.
pub fn prove(expected: &Expected) -> Result<Installer> {
    let path = expected.installer;
    let shown = path.shown();
    if !path.is_file() {
        return Err(Error::failed(format!("hack/build.sh went through, and yet there is no installer at `{shown}`"))
            .hint("`--output FILE` says where it goes; what the build printed says where it went")
            .into());
    }
    if !written_since(path, expected.began) {
        return Err(Error::failed(format!("hack/build.sh went through, and yet `{shown}` is from an earlier build"))
            .hint(format!("`rm {shown}`, then build again"))
            .into());
    }
    let installer = Installer::read(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut findings = installer.findings(&name, !expected.patched);
    let told_to_strip = installer
        .facts
        .settings
        .get("-ldflags")
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "-s" || flag == "-w"));
    for finding in findings.iter_mut().filter(|finding| told_to_strip && finding.program == name) {
        FLAGS.clone_into(&mut finding.remedy);
    }
    let of_chaos = expected.chaos.as_deref().unwrap_or_default();
    let of_installer =
        if installer.facts.chaos { [&expected.absent, of_chaos].concat() } else { expected.absent.clone() };
    findings.extend(beyond(&name, &installer.facts, expected.go, &of_installer));
    let controllers: Vec<_> = installer.entries.iter().filter(|entry| entry.controller()).collect();
    for (name, go) in &expected.controllers {
        match controllers.iter().find(|entry| entry.name == *name) {
            None => findings.push(finding(name, "is not in the installer".into(), REBUILD)),
            Some(entry) => {
                let facts = entry.facts().into_iter();
                findings.extend(facts.clone().flat_map(|facts| beyond(name, facts, go, of_chaos)));
                let plain = facts.filter(|facts| facts.chaos != expected.chaos.is_some());
                let with = if expected.chaos.is_some() { "without" } else { "with" };
                findings.extend(plain.map(|_| finding(name, format!("was built {with} the chaos overlay"), REBUILD)));
            }
        }
    }
    if findings.is_empty() {
        return Ok(installer);
    }
    let mut error = Error::failed(format!("`{shown}` was built, and is not fit for debugging"));
    let mut hints = BTreeSet::new();
    for Finding { program, what, .. } in &findings {
        error = error.detail(format!("{program}: it {what}"));
    }
    for Finding { remedy, .. } in findings.iter().filter(|finding| hints.insert(&finding.remedy)) {
        error = error.hint(remedy);
    }
    Err(error.into())
}

/// What a program made on this host just now has to have beyond what it needs to be debugged anywhere.
fn beyond(name: &str, facts: &Facts, go: &str, absent: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !facts.dwarf {
        return findings;
    }
    if facts.stripped {
        findings.push(finding(name, "is stripped of its symbols".into(), REBUILD));
    }
    let release = |version: &str| version.split_whitespace().next().unwrap_or_default().to_owned();
    let built = facts.go.as_deref().unwrap_or_default();
    if release(built) != release(go) {
        findings.push(finding(name, format!("was built with {built}, and {go} was to build it"), REBUILD));
    }
    let sources = &facts.sources;
    if sources.named == 0 && sources.relative > 0 {
        let remedy = "leave `-trimpath` out of GOFLAGS, then build again";
        findings.push(finding(
            name,
            "names its sources without their folders, so that Delve finds none".into(),
            remedy,
        ));
    } else if let Some(missing) = &sources.missing
        && (sources.named - sources.here > absent.len() || !absent.contains(missing))
    {
        let (gone, all) = (sources.named - sources.here, sources.named);
        findings.push(finding(
            name,
            format!("names {gone} of {all} sources that are not here, like `{missing}`"),
            REBUILD,
        ));
    }
    findings
}

fn finding(program: &str, what: String, remedy: &str) -> Finding {
    Finding { program: program.to_owned(), what, remedy: remedy.to_owned() }
}
