//! The tests of a Go package, built once with the chaos overlay and for debugging.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Hunt, Quarry};
use crate::builder::make_chaos;
use crate::commands::record::Record;
use crate::doctor::Host;
use crate::error::{Error, Shown, plain_bytes};
use crate::patch::rules::chaos;
use crate::rr::record::Subject;
use crate::sys::process::{Child, Environment, for_child};

/// The options of `go test` that its test binary takes too, under the name `-test.NAME`.
const OPTIONS: [&str; 12] =
    ["run", "skip", "bench", "benchtime", "count", "cpu", "failfast", "fuzz", "parallel", "short", "shuffle", "v"];

impl Hunt {
    /// Builds the tests of a package, and finds the folder that they expect to run in.
    pub(super) fn test_quarry(&self, record: &Record, host: &Host, package: &str, hunt: &Path) -> Result<Quarry> {
        // Beside the traces, so that rr need not copy the program into each of them.
        let place = hunt.join(".test");
        fs::create_dir_all(&place).with_context(|| format!("cannot make the folder `{}`", place.shown()))?;
        let own = self.test_arguments()?;
        let built = folder_of(package).and_then(|folder| Ok((build_test(package, &place)?, folder)));
        let (binary, folder) = match built {
            Ok(built) => built,
            Err(error) => {
                let _ = fs::remove_dir_all(hunt);
                return Err(error);
            }
        };
        let mut arguments = own;
        let timeout = self.timeout();
        // Go ends a test that takes too long with the stacks of all goroutines. Where it does not come to that, the
        // run is stopped from outside.
        let limit = timeout.map_or_else(|| "0".into(), |limit| format!("{}s", limit.as_secs().max(1)));
        arguments.push(format!("-test.timeout={limit}"));
        arguments.extend(self.arguments.iter().cloned());
        let mut prepared = record.prepared_program(host, binary)?;
        prepared.environment.remove("RR_COPY_ALL_FILES");
        let timeout = timeout.map(|limit| limit * 2);
        let subject = Subject::Program;
        Ok(Quarry { prepared, subject, arguments, folder: Some(folder), overlay: true, installer: None, timeout })
    }

    /// What was given of `go test`'s own options, as the test binary takes them.
    fn test_arguments(&self) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        let mut count = false;
        let mut words = self.strays.iter();
        while let Some(word) = words.next() {
            let name = word.trim_start_matches('-').trim_start_matches("test.");
            let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
            if !word.starts_with('-') || !OPTIONS.contains(&name) {
                return Err(Error::usage(format!("`{word}` is no option of a test binary that `hunt` knows"))
                    .detail(format!("expected: -{}", OPTIONS.join(", -")))
                    .hint("what stands after `--` is passed on as it is, like `-- -test.v`")
                    .into());
            }
            count |= name == "count";
            let alone = ["failfast", "short", "v"].contains(&name);
            let value = match value {
                Some(value) => Some(value.to_owned()),
                None if alone => None,
                None => Some(words.next().cloned().ok_or_else(|| Error::usage(format!("`{word}` lacks its value")))?),
            };
            arguments.push(value.map_or_else(|| format!("-test.{name}"), |value| format!("-test.{name}={value}")));
        }
        if !count {
            arguments.push("-test.count=1".into());
        }
        Ok(arguments)
    }
}

/// The folder of a package: its tests read files beside them.
fn folder_of(package: &str) -> Result<PathBuf> {
    let said = go(&["list", "-f", "{{.Dir}}", package])?;
    let folders: Vec<&str> = said.lines().filter(|line| Path::new(line).is_dir()).collect();
    match folders.as_slice() {
        [folder] => Ok(PathBuf::from(folder)),
        folders => Err(Error::usage(format!("`{package}` is not one package but {}", folders.len()))
            .hint("`--test` takes one package; `go list` lists those of a pattern")
            .into()),
    }
}

fn build_test(package: &str, place: &Path) -> Result<PathBuf> {
    let rules = chaos::rules(None)?;
    let overlay = make_chaos("go", Path::new("."), &rules, &place.join("overlay"))?;
    let name = package.rsplit('/').find(|part| !part.is_empty() && !part.starts_with('.')).unwrap_or("package");
    let binary = place.join(format!("{name}.test"));
    super::super::say(&format!("rr-patch: building the tests of `{package}` with the chaos overlay"));
    let list = format!("-overlay={}", for_child(&overlay.list)?);
    go(&["test", "-c", &list, "-gcflags=all=-N -l", "-o", for_child(&binary)?, package])?;
    if !binary.is_file() {
        return Err(Error::failed(format!("`{package}` has no tests")).into());
    }
    Ok(binary)
}

/// What go prints.
///
/// # Errors
/// A go that fails, with what it said.
fn go(arguments: &[&str]) -> Result<String> {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let none = Environment::new();
    let mut said = Vec::new();
    let child = Child { program: "go", arguments: &arguments, folder: Path::new("."), environment: &none };
    let (end, signal) = child.stream(|bytes| {
        said.extend_from_slice(bytes);
        Ok(())
    })?;
    if let Some(number) = signal {
        return Err(Error::interrupted(format!("interrupted by signal {number}: nothing was run")).into());
    }
    if !end.success() {
        return Err(Error::failed(format!("`go {}` ended with {end}", arguments.join(" ")))
            .detail(plain_bytes(said.trim_ascii_end()))
            .into());
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}
