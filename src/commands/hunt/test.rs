//! The tests of a Go package, built once with the chaos overlay and for debugging.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, FromArgMatches};

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
        Ok(Quarry { prepared, subject, arguments, folder: Some(folder), installer: None, timeout })
    }

    /// The options of `go test` among the words before `--`, as the test binary takes them.
    fn test_arguments(&self) -> Result<Vec<String>> {
        let (mut arguments, _) = split(&self.strays)?;
        if !arguments.iter().any(|argument| argument.starts_with("-test.count")) {
            arguments.push("-test.count=1".into());
        }
        Ok(arguments)
    }

    /// With our own options that stand after those of `go test`: once one of these has come, clap takes all that
    /// follows for more of them.
    pub(super) fn with_later_options(&self) -> Result<Self> {
        let mut whole = self.clone();
        if self.test.is_none() {
            return Ok(whole);
        }
        let (arguments, rest) = split(&self.strays)?;
        whole.strays.clear();
        let command = Self::augment_args_for_update(clap::Command::new("hunt").no_binary_name(true));
        // What was given before must not go back to its default.
        let command = command.mut_args(|arg| match arg.get_id() == "strays" {
            true => arg.allow_hyphen_values(false),
            false => arg.default_value(clap::builder::Resettable::Reset),
        });
        let matches =
            command.try_get_matches_from(&rest).and_then(|mut matches| whole.update_from_arg_matches_mut(&mut matches));
        matches.map_err(|error| {
            let said = error.to_string();
            let first = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Error::usage(first)
                .detail(format!("options of `go test` that are known: -{}", OPTIONS.join(", -")))
                .hint("what stands after `--` is passed on as it is, like `-- -test.v`")
        })?;
        if let Some(stray) = whole.strays.first() {
            return Err(Error::usage(format!("`{stray}` stands before `--`"))
                .detail("expected: one package, and options of `go test` and of `hunt`")
                .hint("what stands after `--` is passed on as it is, like `-- -test.v`")
                .into());
        }
        whole.strays = arguments;
        Ok(whole)
    }
}

/// Splits words into the options of `go test`, as the test binary takes them, and all others.
fn split(words: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut arguments, mut rest) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.push(word.clone());
            rest.extend(words.cloned());
            break;
        }
        let name = word.strip_prefix('-').filter(|name| !name.starts_with('-'));
        let name = name.map(|name| name.trim_start_matches("test."));
        let (name, value) = match name.and_then(|name| name.split_once('=')) {
            Some((name, value)) => (Some(name), Some(value.to_owned())),
            None => (name, None),
        };
        let Some(name) = name.filter(|name| OPTIONS.contains(name)) else {
            rest.push(word.clone());
            continue;
        };
        let alone = ["failfast", "short", "v"].contains(&name);
        let value = match value {
            None if !alone => {
                Some(words.next().cloned().ok_or_else(|| Error::usage(format!("`{word}` lacks its value")))?)
            }
            value => value,
        };
        arguments.push(value.map_or_else(|| format!("-test.{name}"), |value| format!("-test.{name}={value}")));
    }
    Ok((arguments, rest))
}

/// The folder of a package: its tests read files beside them.
fn folder_of(package: &str) -> Result<PathBuf> {
    let said = go(&["list", "-f", "{{.Dir}}", package], &Environment::new())?;
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
    go(&["test", "-c", &list, "-gcflags=all=-N -l", "-o", for_child(&binary)?, package], &overlay.environment)?;
    if !binary.is_file() {
        return Err(Error::failed(format!("`{package}` has no tests")).into());
    }
    Ok(binary)
}

/// What go prints.
///
/// # Errors
/// A go that fails, with what it said.
fn go(arguments: &[&str], environment: &Environment) -> Result<String> {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let child = Child { program: "go", arguments: &arguments, folder: Path::new("."), environment };
    let (end, signal, said) = child.gather()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_of_go_test_are_passed_on_under_the_names_that_a_test_binary_takes() {
        let (arguments, rest) = split(&words("-run TestX$ -v -cpu=1,2 -test.short")).unwrap();
        assert_eq!(arguments, ["-test.run=TestX$", "-test.v", "-test.cpu=1,2", "-test.short"]);
        assert!(rest.is_empty());
        assert!(split(&words("-run")).is_err());
    }

    #[test]
    fn our_own_options_may_stand_after_those_of_go_test() {
        let (arguments, rest) = split(&words("-run TestX --runs 7 --jobs=2")).unwrap();
        assert_eq!((arguments.join(" "), rest.join(" ")), ("-test.run=TestX".into(), "--runs 7 --jobs=2".into()));
        let (arguments, rest) = split(&words("-short -- -run x")).unwrap();
        assert_eq!((arguments.join(" "), rest.join(" ")), ("-test.short".into(), "-- -run x".into()));
    }
}
