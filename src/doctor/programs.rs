//! The versions of rr, Delve and Go, and which of them work together.
//!
//! rr's output for debuggers changed in 5.8.0 and 5.9.0, and Delve followed. The Go versions that a Delve supports
//! are in its `pkg/goversion/compat.go`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Host;
use crate::error::Error;

/// A version, reduced to its first three numbers for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Finds the first version number in a text; a missing third number counts as 0.
    pub fn find(text: &str) -> Option<Self> {
        let numbers = |word: &str| -> Option<Self> {
            let mut parts = word.trim_start_matches("go").splitn(3, '.').map(|part| {
                let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
                part[..end].parse::<u32>().ok()
            });
            let (first, second) = (parts.next()??, parts.next()??);
            Some(Self(first, second, parts.next().flatten().unwrap_or(0)))
        };
        text.split(|c: char| c.is_whitespace() || [',', '(', ')', '-', 'v'].contains(&c)).find_map(numbers)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A recorder: rr, or a program that behaves like it.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub path: PathBuf,
    pub version: Version,
    /// The text after the version: a build may put its commit there, in releases it is empty.
    pub extra: Option<String>,
    /// The long options in the output of `rr help record`, such as `--wait`.
    pub options: BTreeSet<String>,
    /// Whether it supports software counters (`-W`), which need no PMU.
    pub software_counters: bool,
    /// The arguments from `RR_PATCH_RECORD` after the program.
    pub arguments: Vec<String>,
}

impl Recorder {
    /// The version as rr printed it.
    pub fn said(&self) -> String {
        self.extra.as_ref().map_or_else(|| self.version.to_string(), |extra| format!("{} {extra}", self.version))
    }

    /// Whether this is a build of rr's main branch after 5.9.0, which still calls itself 5.9.0. Detected by an option
    /// from November 2025.
    pub fn is_from_main(&self) -> bool {
        self.options.contains("--no-preload")
    }

    /// Whether `RR_PATCH_RECORD` enables software counters.
    pub fn counts_in_software(&self) -> bool {
        self.arguments.iter().any(|argument| ["-W", "--software-counters"].contains(&argument.as_str()))
    }
}

/// The words of `RR_PATCH_RECORD`, split as a patched installer splits them.
fn told(host: &Host) -> Vec<String> {
    let words = host.variable("RR_PATCH_RECORD").unwrap_or_default();
    let words = words.split_whitespace().map(str::to_owned);
    // Before a command line it means: or start the controllers plainly.
    words.enumerate().filter(|(at, word)| *at > 0 || word != "if-possible").map(|(_, word)| word).collect()
}

/// The recorder that a patched installer would start here: `program`, or the one in `RR_PATCH_RECORD`, or the `rr` in
/// PATH.
///
/// # Errors
/// A program that does not exist, or does not behave like rr.
pub fn recorder(host: &Host, program: Option<&str>) -> Result<Recorder> {
    let told = told(host);
    let (name, arguments, source) = match (program, told.as_slice()) {
        (Some(program), _) => (program, &[][..], ""),
        (None, [program, arguments @ ..]) if !(program == "off" && arguments.is_empty()) => {
            (program.as_str(), arguments, ", which RR_PATCH_RECORD names,")
        }
        _ => ("rr", &[][..], ""),
    };
    let path = host.program(name).ok_or_else(|| {
        let place = if name.contains('/') { "" } else { " in PATH" };
        Error::failed(format!("the recorder `{name}`{source} was not found{place}"))
            .hint("`rr-patch doctor` says how to install rr; RR_PATCH_RECORD can name another recorder")
    })?;
    // rr 5.6 and older do not mistake `--version` for a program to record.
    let answer = host.run(&path, &["--version"])?;
    let not_rr = || {
        let first = answer.stdout.lines().chain(answer.stderr.lines()).next().unwrap_or("nothing").to_owned();
        Error::failed(format!("`{}` does not behave like rr", host.shown(&path)))
            .detail("expected from `--version`: rr version 5.9.0")
            .detail(format!("found: {first} ({})", answer.end))
    };
    let printed = answer.stdout.strip_prefix("rr version ").filter(|_| answer.end.success()).ok_or_else(not_rr)?;
    let mut words = printed.lines().next().unwrap_or_default().splitn(2, ' ');
    let version = words.next().and_then(Version::find).ok_or_else(not_rr)?;
    let extra = words.next().map(str::trim).filter(|extra| !extra.is_empty()).map(str::to_owned);
    // Side by side: every replay waits for the answers.
    let (options, software_counters) = std::thread::scope(|scope| {
        let options = scope.spawn(|| host.run(&path, &["help", "record"]));
        // An rr without software counters rejects `-W` as an invalid option and exits with 1.
        let software_counters = host.run(&path, &["-W", "-N"]);
        (options.join().expect("no thread panics"), software_counters)
    });
    let (options, software_counters) = (options?.stdout, software_counters?.end.success());
    let options = options.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-');
    let options = options.filter(|word| word.len() > 3 && word.starts_with("--")).map(str::to_owned).collect();
    Ok(Recorder { path, version, extra, options, software_counters, arguments: arguments.to_vec() })
}

/// The debugger.
#[derive(Clone, Debug)]
pub struct Delve {
    pub path: PathBuf,
    pub version: Version,
}

/// The `dlv` in PATH.
///
/// # Errors
/// There is none, or it does not print its version.
pub fn delve(host: &Host) -> Result<Delve> {
    let path = host.program("dlv").ok_or_else(|| {
        Error::failed("Delve (`dlv`) was not found in PATH").hint("`rr-patch doctor` says how to install it")
    })?;
    let answer = host.run(&path, &["version"])?;
    let version = answer.stdout.lines().find_map(|line| Version::find(line.strip_prefix("Version:")?));
    match version.filter(|_| answer.end.success()) {
        Some(version) => Ok(Delve { path, version }),
        None => Err(Error::failed(format!("`{}` does not behave like Delve", host.shown(&path)))
            .detail("expected from `version`: a line like `Version: 1.27.1`")
            .detail(format!("found: {} ({})", answer.stdout.lines().next().unwrap_or("nothing"), answer.end))
            .into()),
    }
}

/// The oldest Delve that understands this rr, or the reason why there is none.
///
/// rr 5.8.0 changed the line with the debugger's command (go-delve/delve#3705) and the format of its own command
/// packet (#3718). From 5.9.0 on, rr's output no longer shows the packet's format, so Delve decides by the version
/// (#3921).
pub fn oldest_delve_for(rr: &Recorder) -> Result<Version, String> {
    match rr.version {
        version if version < Version(5, 8, 0) => Ok(Version(1, 20, 0)),
        version if version < Version(5, 9, 0) => Ok(Version(1, 23, 0)),
        // Delve accepts only three numbers, and treats any other version as an old rr.
        _ if rr.extra.is_some() => Err(format!(
            "no Delve supports the version `{}`: Delve treats this rr as older than 5.8, and the replay fails; an \
             rr that prints only `rr version {}` is needed (built without EXTRA_VERSION_STRING)",
            rr.said(),
            rr.version
        )),
        _ => Ok(Version(1, 24, 1)),
    }
}

/// Checks whether a Delve can replay recordings of this rr.
///
/// # Errors
/// The reason why it cannot, with the required version.
pub fn delve_takes_rr(delve: Version, rr: &Recorder) -> Result<(), String> {
    let oldest = oldest_delve_for(rr)?;
    if delve < oldest {
        return Err(format!("Delve {delve} cannot replay with rr {}: {oldest} or newer is needed", rr.said()));
    }
    // From this version on Delve decides by rr's version; before, by rr's output.
    if rr.extra.is_some() && rr.version >= Version(5, 8, 0) && delve >= Version(1, 24, 1) {
        return Err(format!(
            "Delve {delve} does not support the version `{}` of this rr: 1.23.0 to 1.24.0 is needed, or an rr that \
             prints only `rr version {}`",
            rr.said(),
            rr.version
        ));
    }
    Ok(())
}

/// For each Delve version, the oldest and the newest Go that it supports. Valid up to the next row.
const GO_FOR_DELVE: [(Version, u32, u32); 13] = [
    (Version(1, 7, 0), 15, 17),
    (Version(1, 8, 0), 16, 18),
    (Version(1, 9, 0), 16, 19),
    (Version(1, 9, 1), 17, 19),
    (Version(1, 20, 0), 18, 20),
    (Version(1, 21, 0), 18, 21),
    (Version(1, 21, 1), 19, 21),
    (Version(1, 22, 0), 19, 22),
    (Version(1, 23, 0), 21, 23),
    (Version(1, 24, 0), 21, 24),
    (Version(1, 25, 1), 22, 25),
    (Version(1, 26, 0), 24, 26),
    (Version(1, 27, 0), 25, 27),
];

/// The newest Delve from which [`GO_FOR_DELVE`] was read.
const NEWEST_DELVE: Version = Version(1, 27, 1);

/// Checks whether a Delve supports programs of this Go. If both are newer than the table, they are assumed to work.
///
/// # Errors
/// The reason why it does not, with the required version.
pub fn delve_takes_go(delve: Version, go: (u32, u32)) -> Result<(), String> {
    let (major, minor) = go;
    if major != 1 {
        return Err(format!(
            "Go {major}.{minor} is not known to rr-patch; Delve {NEWEST_DELVE} supports Go 1.25 to 1.27"
        ));
    }
    let Some((_, oldest, newest)) = GO_FOR_DELVE.iter().rev().find(|(since, ..)| *since <= delve) else {
        return Err(format!("Delve {delve} is too old: 1.20.0 or newer is needed"));
    };
    let known = delve <= NEWEST_DELVE;
    if minor < *oldest {
        let last = GO_FOR_DELVE.iter().rposition(|(_, oldest, _)| *oldest <= minor);
        let before = last.and_then(|at| GO_FOR_DELVE.get(at + 1)).map(|(since, ..)| since);
        let needed = before.map_or(String::new(), |since| format!("; one before {since} is needed"));
        return Err(format!(
            "Go 1.{minor} is too old for Delve {delve}, which supports Go 1.{oldest} to 1.{newest}{needed}"
        ));
    }
    if minor > *newest && known {
        let first = GO_FOR_DELVE.iter().find(|(_, _, newest)| *newest >= minor).map(|(since, ..)| since);
        let needed = first.map_or_else(
            || format!("; one newer than {NEWEST_DELVE} is needed"),
            |since| format!("; {since} or newer is needed"),
        );
        return Err(format!(
            "Delve {delve} is too old for Go 1.{minor}: it supports Go 1.{oldest} to 1.{newest}{needed}"
        ));
    }
    Ok(())
}

/// The last release for each row of [`GO_FOR_DELVE`] that Go modules still offer.
const DELVES: [Version; 6] =
    [NEWEST_DELVE, Version(1, 26, 3), Version(1, 25, 2), Version(1, 25, 0), Version(1, 24, 1), Version(1, 23, 1)];

/// The newest Delve that supports this Go and this rr; the newest of all if neither is known.
pub fn delve_for(go: Option<Version>, rr: Option<&Recorder>) -> Version {
    let takes = |delve: &&Version| {
        go.is_none_or(|go| delve_takes_go(**delve, (go.0, go.1)).is_ok())
            && rr.is_none_or(|rr| delve_takes_rr(**delve, rr).is_ok())
    };
    DELVES.iter().find(takes).copied().unwrap_or(NEWEST_DELVE)
}

/// The version of the `go` in PATH; `None` if there is none. Never a toolchain that Go would download.
pub fn go(host: &Host) -> Option<Version> {
    let answer = host.run_with(&[("GOTOOLCHAIN", "local")], &host.program("go")?, &["version"]).ok()?;
    Version::find(answer.stdout.split(" go").nth(1)?).filter(|_| answer.end.success())
}

/// The Go version that built a program, read with the `go` in PATH.
pub fn go_of(host: &Host, program: &Path) -> Option<Version> {
    let path = program.to_str()?;
    let answer = host.run_with(&[("GOTOOLCHAIN", "local")], &host.program("go")?, &["version", path]).ok()?;
    Version::find(answer.stdout.rsplit(": go").next()?).filter(|_| answer.end.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rr(version: Version, extra: Option<&str>) -> Recorder {
        Recorder {
            path: "/usr/bin/rr".into(),
            version,
            extra: extra.map(str::to_owned),
            options: BTreeSet::new(),
            software_counters: false,
            arguments: Vec::new(),
        }
    }

    #[test]
    fn versions_are_found_in_what_programs_print_and_compare_by_number() {
        let found = |text| Version::find(text).map(|version| version.to_string());
        assert_eq!(found("rr version 5.9.0 "), Some("5.9.0".into()));
        assert_eq!(found("5.9.0 1a2b3c"), Some("5.9.0".into()));
        assert_eq!(found("go version go1.26.8 linux/amd64"), Some("1.26.8".into()));
        assert_eq!(found("go1.24rc1"), Some("1.24.0".into()));
        assert_eq!(found("6.12.0-55.el10.x86_64"), Some("6.12.0".into()));
        assert_eq!(found("Version: v1.27.1"), Some("1.27.1".into()));
        assert_eq!(found("no number"), None);
        assert!(Version(1, 9, 1) < Version(1, 20, 0));
    }

    #[test]
    fn delve_takes_an_rr_from_the_release_that_learned_its_form() {
        let takes = |delve, rr: &Recorder| delve_takes_rr(delve, rr);
        assert_eq!(takes(Version(1, 20, 2), &rr(Version(5, 6, 0), None)), Ok(()));
        assert_eq!(takes(Version(1, 20, 2), &rr(Version(5, 7, 0), Some("abc"))), Ok(()));
        assert_eq!(takes(Version(1, 23, 0), &rr(Version(5, 8, 0), None)), Ok(()));
        assert!(takes(Version(1, 22, 1), &rr(Version(5, 8, 0), None)).unwrap_err().contains("1.23.0 or newer"));
        assert!(takes(Version(1, 24, 0), &rr(Version(5, 9, 0), None)).unwrap_err().contains("1.24.1 or newer"));
        assert_eq!(takes(Version(1, 24, 1), &rr(Version(5, 9, 0), None)), Ok(()));
        assert_eq!(takes(Version(1, 27, 1), &rr(Version(5, 9, 0), None)), Ok(()));
    }

    #[test]
    fn delve_does_not_take_an_rr_with_a_suffix_after_its_version() {
        for delve in [Version(1, 23, 1), Version(1, 24, 1), Version(1, 27, 1)] {
            let why = delve_takes_rr(delve, &rr(Version(5, 9, 0), Some("1a2b3c"))).unwrap_err();
            assert!(why.contains("no Delve supports the version `5.9.0 1a2b3c`"), "{why}");
        }
        let suffixed = rr(Version(5, 8, 0), Some("1a2b3c"));
        assert_eq!(delve_takes_rr(Version(1, 24, 0), &suffixed), Ok(()));
        assert!(delve_takes_rr(Version(1, 24, 1), &suffixed).unwrap_err().contains("1.23.0 to 1.24.0"));
    }

    #[test]
    fn delve_for_a_go_and_an_rr_is_the_newest_that_takes_both() {
        let (rr, go) = (rr(Version(5, 9, 0), None), |minor| Some(Version(1, minor, 4)));
        assert_eq!(delve_for(None, None), NEWEST_DELVE);
        assert_eq!(delve_for(go(26), Some(&rr)), NEWEST_DELVE);
        assert_eq!(delve_for(go(24), Some(&rr)), Version(1, 26, 3));
        assert_eq!(delve_for(go(22), Some(&rr)), Version(1, 25, 2));
        assert_eq!(delve_for(go(21), Some(&rr)), Version(1, 25, 0));
    }

    #[test]
    fn delve_takes_the_go_versions_of_its_release() {
        let ends = [
            (Version(1, 20, 2), 18, 20),
            (Version(1, 22, 1), 19, 22),
            (Version(1, 25, 0), 21, 24),
            (Version(1, 25, 2), 22, 25),
            (Version(1, 26, 3), 24, 26),
            (Version(1, 27, 1), 25, 27),
        ];
        for (delve, oldest, newest) in ends {
            assert_eq!(delve_takes_go(delve, (1, oldest)), Ok(()));
            assert_eq!(delve_takes_go(delve, (1, newest)), Ok(()));
            assert!(delve_takes_go(delve, (1, oldest - 1)).unwrap_err().contains("too old for Delve"));
            assert!(delve_takes_go(delve, (1, newest + 1)).unwrap_err().contains("is too old for Go"));
        }
        let why = |delve, go| delve_takes_go(delve, go).unwrap_err();
        assert!(why(Version(1, 20, 2), (1, 26)).contains("1.26.0 or newer is needed"));
        assert!(why(Version(1, 27, 1), (1, 24)).contains("one before 1.27.0 is needed"));
        assert!(why(Version(1, 27, 1), (1, 28)).contains("one newer than 1.27.1 is needed"));
        assert_eq!(delve_takes_go(Version(1, 29, 0), (1, 29)), Ok(()));
        assert!(why(Version(1, 6, 0), (1, 20)).contains("Delve 1.6.0 is too old"));
    }
}
