//! Running the installer's own `hack/build.sh`, and saying what became of it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::checkout::Checkout;
use crate::error::Error;
use crate::process::{Child, Environment};

/// The script, as the installer's documents call it.
const SCRIPT: &str = "hack/build.sh";

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 20;

/// A build that went through.
#[derive(Debug)]
pub struct Built {
    /// The installer, as far as `OUTPUT` and `build.sh` say where it goes.
    pub installer: PathBuf,
    pub log: PathBuf,
    pub took: Duration,
}

/// Builds a debuggable installer: `MODE=dev` keeps the DWARF and turns optimisation off, `release`
/// embeds the data. `environment` comes on top of that.
///
/// # Errors
/// A checkout without the script; a build that failed, with the step, its last lines and how it
/// ended; one that was interrupted, after its whole process group has ended.
pub fn build(
    checkout: &Checkout,
    arguments: &[String],
    environment: &Environment,
    live: &mut dyn Write,
) -> Result<Built> {
    if checkout.read(SCRIPT)?.is_none() {
        return Err(Error::refused("`hack/build.sh` is missing")
            .detail(format!("expected: the installer's build script in `{}`", checkout.root().display()))
            .hint("`git checkout -- hack` brings it back")
            .into());
    }
    let mut complete = Environment::from([("MODE".into(), "dev".into()), ("TAGS".into(), "release".into())]);
    complete.extend(environment.clone());

    let log = log_path(checkout)?;
    let mut file = File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
    let mut steps = Steps::default();
    let began = Instant::now();
    // Whole, since duct takes a relative path from where we are and not from where the child runs.
    let script = checkout.locate(SCRIPT).to_string_lossy().into_owned();
    let child = Child { program: &script, arguments, folder: checkout.root(), environment: &complete };
    let (end, signal) = child.stream(|bytes| {
        steps.see(bytes);
        file.write_all(bytes).with_context(|| format!("cannot write `{}`", log.display()))?;
        match live.write_all(bytes).and_then(|()| live.flush()) {
            // Who reads us has gone away; the log still tells.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context("cannot show the build"),
        }
    })?;
    let took = began.elapsed();
    steps.finish();

    if let Some(signal) = signal {
        let name = signal_name(signal);
        return Err(Error::failed(format!("the build was interrupted by {name}: its process group was ended"))
            .detail(format!("in step: {}", steps.current()))
            .detail(format!("log: {}", log.display()))
            .hint("`rr-patch build` starts it again; Go's cache keeps what was compiled")
            .into());
    }
    if !end.success() {
        let mut error = Error::failed(format!("the build failed with {end} after {}", seconds(took)))
            .detail(format!("in step: {}", steps.current()));
        if let Some(target) = &steps.target {
            error = error.detail(format!("make said: {target}"));
        }
        return Err(error
            .detail(format!("last lines:\n{}", steps.last_lines()))
            .detail(format!("log: {}", log.display()))
            .hint("mend what the last lines name, then run `rr-patch build` again")
            .into());
    }
    let output = complete.get("OUTPUT").cloned().or_else(|| std::env::var("OUTPUT").ok());
    let installer = checkout.root().join(output.unwrap_or_else(|| "bin/openshift-install".into()));
    Ok(Built { installer, log, took })
}

/// A duration for people.
pub fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", took.as_secs() / 60, took.as_secs() % 60),
        whole => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// The log of this build; that of the one before stays beside it.
fn log_path(checkout: &Checkout) -> Result<PathBuf> {
    let folder = checkout.state_dir();
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let log = folder.join("build.log");
    match fs::rename(&log, folder.join("build.previous.log")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context("cannot keep the previous build's log")
        }
        _ => Ok(log),
    }
}

fn signal_name(signal: i32) -> String {
    crate::process::End::Signal(signal).to_string()
}

/// The build's progress, read from what it prints: build.sh runs with `set -x`, so a line that
/// begins with `+ ` names the command that runs now.
#[derive(Default)]
struct Steps {
    partial: Vec<u8>,
    step: Option<String>,
    target: Option<String>,
    last: VecDeque<String>,
}

impl Steps {
    fn see(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        if self.partial.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        if let Some(step) = line.strip_prefix("+ ") {
            self.step = Some(step.to_owned());
        }
        if line.starts_with("make") && line.contains("***") {
            self.target = self.target.take().or_else(|| Some(line.clone()));
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn current(&self) -> String {
        self.step.clone().unwrap_or_else(|| format!("./{SCRIPT}"))
    }

    fn last_lines(&self) -> String {
        self.last.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_name_the_traced_command_and_makes_target_across_chunks() {
        let mut steps = Steps::default();
        for chunk in [
            "+ make -C clus",
            "ter-api all\n++ go env GOOS\ncd x; go build\n",
            "make: *** [Makefile:3: bin/x] Error 1\npart",
        ] {
            steps.see(chunk.as_bytes());
        }
        steps.finish();
        assert_eq!(steps.current(), "make -C cluster-api all");
        assert_eq!(steps.target.as_deref(), Some("make: *** [Makefile:3: bin/x] Error 1"));
        assert!(steps.last_lines().ends_with("\npart"));
    }

    #[test]
    fn seconds_grow_into_minutes_and_hours() {
        let shown: Vec<_> = [1.25, 61.0, 7325.0].map(|s| seconds(Duration::from_secs_f64(s))).into();
        assert_eq!(shown, ["1.2 s", "1 min 01 s", "2 h 02 min"]);
    }
}
