//! The probes for installed software: rr, Delve, Go, and the programs to be recorded.

use std::path::{Path, PathBuf};

use super::Concerns::{self, Both, Recording, Replaying};
use super::Probe::{self, Always, Perhaps};
use super::distribution::{RR_PACKAGES, install_delve};
use super::machine::c_library_version;
use super::programs::{delve_for, go_of};
use super::{CheckContext, Delve, Finding, Program, Recorder, Version, delve_takes_go, delve_takes_rr};
use super::{oldest_delve_for, recorder};
use crate::error::{Error, Shown};

/// The recorder, in the order of the report.
pub const RECORDER: [(Concerns, Probe); 2] = [(Both, Always(rr)), (Recording, Perhaps(options))];

/// The debugger, in the order of the report.
pub const DEBUGGER: [(Concerns, Probe); 5] = [
    (Replaying, Always(delve)),
    (Replaying, Always(delve_and_rr)),
    (Replaying, Always(delve_and_go)),
    (Replaying, Perhaps(delve_and_dwarf)),
    (Replaying, Perhaps(rr_for_delve)),
];

/// The oldest rr that forwards SIGTERM to the recorded program; older versions kill it.
const OLDEST_RR: Version = Version(5, 6, 0);

/// An error with its details, on one line.
fn said(error: &anyhow::Error) -> String {
    let details = error.downcast_ref::<Error>().map(Error::details).unwrap_or_default();
    std::iter::once(error.to_string()).chain(details.iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// How the recorder was selected, and where it was searched.
fn looked_for(examination: &CheckContext) -> String {
    match (&examination.question.rr, examination.host.variable("RR_PATCH_RECORD")) {
        (Some(program), _) => format!("--rr {program}"),
        (None, Some(told)) if told.trim() != "off" => "RR_PATCH_RECORD, PATH".into(),
        _ => "PATH".into(),
    }
}

fn install_rr(examination: &CheckContext, finding: Finding) -> Finding {
    let (commands, note) = examination.distribution.install_rr();
    let finding = finding.fix(commands);
    note.into_iter().fold(finding, Finding::advise).advise(RR_PACKAGES)
}

fn rr(examination: &CheckContext) -> Finding {
    let finding = Finding::new("rr", looked_for(examination), format!("{OLDEST_RR} or newer"));
    match &examination.recorder {
        Err(error) if examination.host.program("rr").is_some() => finding
            .trouble(said(error))
            .advise("give rr's path with --rr or in RR_PATCH_RECORD, or correct the one that is given"),
        Err(error) => install_rr(examination, finding.trouble(said(error))),
        Ok(rr) => {
            let found = format!("{}, {}", rr.said(), examination.host.shown(&rr.path));
            if rr.version < OLDEST_RR {
                let finding = finding.trouble(found);
                install_rr(examination, finding.advise("rr before 5.6.0 kills the controller at SIGTERM"))
            } else if examination.host.variable("RUNNING_UNDER_RR").is_some() {
                finding
                    .trouble(format!("{found}; this shell itself runs under rr"))
                    .advise("rr does not record inside a recording: start again from another shell")
            } else if records_nothing(examination) {
                finding
                    .warning(format!("{found}; RR_PATCH_RECORD=off, so a patched installer records nothing"))
                    .advise("type: unset RR_PATCH_RECORD")
            } else {
                finding.ok(found)
            }
        }
    }
}

/// Whether the environment turns recording off.
fn records_nothing(examination: &CheckContext) -> bool {
    examination.question.records()
        && examination.host.variable("RR_PATCH_RECORD").is_some_and(|told| told.trim() == "off")
}

/// The options that rr gets from a patched installer or from RR_PATCH_RECORD.
fn options_passed(examination: &CheckContext, rr: &Recorder) -> Vec<String> {
    if rr.arguments.is_empty() {
        let avx512 = examination.processor.has("cpuid_fault").then_some("--disable-avx-512");
        return ["--wait", "--bind-to-cpu"].into_iter().chain(avx512).map(str::to_owned).collect();
    }
    let long =
        rr.arguments.iter().take_while(|argument| *argument != "--").filter(|argument| argument.starts_with("--"));
    long.map(|argument| argument.split('=').next().unwrap_or_default().to_owned()).collect()
}

fn options(examination: &CheckContext) -> Option<Finding> {
    let rr = examination.recorder.as_ref().ok()?;
    let passed = options_passed(examination, rr);
    let software = rr.counts_in_software();
    let mut needed: Vec<&str> =
        passed.iter().map(String::as_str).filter(|option| *option != "--software-counters").collect();
    if software {
        needed.push("-W");
    }
    let looked = if software { "`rr help record`, `rr -W -N`" } else { "`rr help record`" };
    let all = if needed.is_empty() { "none".into() } else { needed.join(", ") };
    let finding = Finding::new("options of rr", looked, all);
    if rr.options.is_empty() {
        return Some(finding.skipped("`rr help record` lists no options"));
    }
    let known = |option: &&&str| if **option == "-W" { rr.software_counters } else { rr.options.contains(**option) };
    let lacking: Vec<&str> = needed.iter().filter(|option| !known(option)).copied().collect();
    Some(match lacking.as_slice() {
        [] => finding.ok("all of them"),
        _ if rr.arguments.is_empty() => {
            install_rr(examination, finding.trouble(format!("it does not support {}", lacking.join(", "))))
        }
        _ => finding
            .trouble(format!("it does not support {}", lacking.join(", ")))
            .advise("RR_PATCH_RECORD uses them: correct it, or name an rr that supports them"),
    })
}

impl CheckContext<'_> {
    /// The paths at which `go install` may have put a `dlv`.
    fn installed_delves(&self) -> impl Iterator<Item = PathBuf> {
        let folders = [("GOBIN", ""), ("GOPATH", "bin"), ("HOME", "go/bin")];
        let place = |(name, below): (&str, &str)| Some(Path::new(&self.host.variable(name)?).join(below).join("dlv"));
        folders.into_iter().filter_map(place)
    }

    /// Whether `go install` would replace this Delve.
    fn installs_over(&self, delve: &Delve) -> bool {
        self.installed_delves().any(|place| self.host.locate(place) == delve.path)
    }
}

/// A `dlv` that `go install` made, in a folder outside PATH.
fn stray_delve(examination: &CheckContext) -> Option<PathBuf> {
    examination.installed_delves().find_map(|place| examination.host.program(place.to_str()?))
}

/// The newest Go version among the programs to debug, or that of this host, which would build them.
fn go_in_use(examination: &CheckContext) -> Option<(Version, &'static str)> {
    let built = examination.question.programs.iter().filter_map(Program::go).max();
    built.map(|go| (go, "the controllers")).or_else(|| examination.go.map(|go| (go, "`go version`")))
}

fn install_delve_for(examination: &CheckContext, finding: Finding) -> Finding {
    let go = go_in_use(examination).map(|(go, _)| go);
    let version = delve_for(go, examination.recorder.as_ref().ok());
    let command = install_delve(version);
    let place = "`go install` puts it into $(go env GOPATH)/bin, which must be in PATH";
    let finding = match examination.go {
        Some(_) => finding.fix([command]),
        None => {
            finding.advise(format!("install Go, as new as the installer's go.mod asks for, and then type: {command}"))
        }
    };
    match &examination.delve {
        // The folder of the old Delve comes first in PATH.
        Ok(old) if !examination.installs_over(old) => finding
            .advise(format!(
                "`go install` leaves {} where it is, so its own folder must come first in PATH:",
                examination.host.shown(&old.path)
            ))
            .advise("export PATH=\"$(go env GOPATH)/bin:$PATH\""),
        _ => finding.advise(place),
    }
}

fn delve(examination: &CheckContext) -> Finding {
    let host = examination.host;
    let finding = Finding::new("Delve", "PATH", "dlv");
    match &examination.delve {
        Ok(delve) => finding.ok(format!("{}, {}", delve.version, host.shown(&delve.path))),
        Err(error) => match stray_delve(examination) {
            Some(stray) => {
                let folder = stray.parent().map(|folder| host.shown(folder)).unwrap_or_default();
                finding
                    .trouble(format!("{}, whose folder is not in PATH", host.shown(&stray)))
                    .advise(format!("type: export PATH=\"$PATH:{folder}\""))
            }
            None => install_delve_for(examination, finding.trouble(said(error))),
        },
    }
}

/// The rr and the Delve of Debian 13. This Delve is older than that rr and uses the old format.
const DEBIAN_13: (Version, Version) = (Version(5, 9, 0), Version(1, 24, 0));

fn delve_and_rr(examination: &CheckContext) -> Finding {
    let finding = Finding::new("Delve for this rr", "`dlv version`, `rr --version`", "a Delve that supports rr");
    let (Ok(delve), Ok(rr)) = (&examination.delve, &examination.recorder) else {
        let missing = if examination.delve.is_err() { "Delve" } else { "rr" };
        return finding.skipped(format!("{missing} is missing"));
    };
    let needed = oldest_delve_for(rr)
        .map_or_else(|_| "a Delve that supports this rr's version".into(), |v| format!("{v} or newer"));
    let finding = Finding { needed, ..finding };
    match delve_takes_rr(delve.version, rr) {
        Ok(()) => finding.ok(format!("{} with rr {}", delve.version, rr.said())),
        // No other Delve would work either.
        Err(why) if rr.extra.is_some() && rr.version >= Version(5, 9, 0) => finding.trouble(why).advise(RR_PACKAGES),
        Err(why) if rr.extra.is_some() => install_delve_for(examination, finding.trouble(why)),
        Err(_) => {
            let pair = (rr.version, delve.version) == DEBIAN_13;
            let whose = if pair { ", as Debian 13 packages them: they do not work together" } else { "" };
            let found = format!("{} with rr {}{whose}", delve.version, rr.said());
            install_delve_for(examination, finding.trouble(found))
        }
    }
}

fn delve_and_go(examination: &CheckContext) -> Finding {
    let Some((go, looked)) = go_in_use(examination) else {
        let finding = Finding::new("Delve for this Go", "`go version`", "a Delve that supports it");
        return finding.skipped("no Go was found, and no controllers were named");
    };
    let finding = Finding::new(
        "Delve for this Go",
        format!("`dlv version`, {looked}"),
        format!("one that supports Go {}.{}", go.0, go.1),
    );
    let Ok(delve) = &examination.delve else { return finding.skipped("Delve is missing") };
    match delve_takes_go(delve.version, (go.0, go.1)) {
        Ok(()) => finding.ok(delve.version.to_string()),
        Err(why) => install_delve_for(examination, finding.trouble(why)),
    }
}

/// Go 1.25 and newer write DWARF 5. Delve can read it if Delve itself was built with Go 1.25 or newer
/// (go-delve/delve#3943).
fn delve_and_dwarf(examination: &CheckContext) -> Option<Finding> {
    const SINCE: Version = Version(1, 25, 0);
    let (go, _) = go_in_use(examination)?;
    let delve: &Delve = examination.delve.as_ref().ok()?;
    if go < SINCE || delve.version < Version(1, 24, 2) {
        return None;
    }
    let finding = Finding::new("Go of Delve", "`go version dlv`", "1.25 or newer, for DWARF 5");
    Some(match go_of(examination.host, &delve.path) {
        None => finding.skipped("no Go was found"),
        Some(built) if built >= SINCE => finding.ok(format!("{}.{}", built.0, built.1)),
        Some(built) => install_delve_for(examination, finding.trouble(format!("{}.{}", built.0, built.1))),
    })
}

/// Delve starts the `rr` in PATH, even if another rr made the recording.
fn rr_for_delve(examination: &CheckContext) -> Option<Finding> {
    let rr = examination.recorder.as_ref().ok()?;
    let host = examination.host;
    let finding =
        Finding::new("rr for Delve", "PATH", format!("an `rr` that can replay what {} records", host.shown(&rr.path)));
    if host.program("rr").as_ref() == Some(&rr.path) {
        return None;
    }
    let folder = rr.path.parent().map(|folder| host.shown(folder)).unwrap_or_default();
    let advise = |finding: Finding| {
        if rr.path.file_name().is_some_and(|name| name == "rr") {
            finding.advise(format!("type: export PATH=\"{folder}:$PATH\""))
        } else {
            finding.advise(format!("put a link named rr to {} first in PATH", host.shown(&rr.path)))
        }
    };
    Some(match recorder(host, Some("rr")) {
        Err(error) => advise(finding.trouble(said(&error))),
        Ok(other) => {
            let found = format!("{}, {}", other.said(), host.shown(&other.path));
            if other.version < rr.version {
                advise(finding.trouble(format!("{found}, which is older")))
            } else if rr.counts_in_software() && !other.software_counters {
                advise(finding.trouble(format!("{found}, which does not support -W")))
            } else {
                finding.ok(found)
            }
        }
    })
}

/// Whether a program can be recorded here and debugged afterwards.
pub fn program(examination: &CheckContext, program: &Program) -> Finding {
    let facts = &program.facts;
    let dynamic = facts.glibc.map_or(String::new(), |(major, minor)| format!(", glibc {major}.{minor}"));
    let finding = Finding::new(&program.name, program.file.shown(), format!("debug information{dynamic}"));
    let mut lacks: Vec<String> = Vec::new();
    let mut remedies: Vec<String> = Vec::new();
    for (what, remedy) in facts.lacks(crate::binary::REBUILD) {
        lacks.push(what);
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    if let (Some((major, minor)), Some(here)) = (facts.glibc, c_library_version(examination))
        && (here.0, here.1) < (major, minor)
    {
        lacks.push(format!("does not start with the glibc {}.{} of this host", here.0, here.1));
        remedies.push("build it on this host, or without cgo (CGO_ENABLED=0)".into());
    }
    if let (Ok(delve), Some(go)) = (&examination.delve, program.go())
        && let Err(why) = delve_takes_go(delve.version, (go.0, go.1))
    {
        lacks.push(format!("needs another Delve: {why}"));
    }
    if lacks.is_empty() {
        return finding.ok(facts.go.clone().unwrap_or_default());
    }
    remedies.into_iter().fold(finding.trouble(lacks.join("; ")), Finding::advise)
}
