//! The sidecar: the file `rr-patch.json` in a trace's folder, with data that `rr-patch record` stores because rr does
//! not.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Shown};
use crate::sys::write::replace;

/// The file's name. rr ignores files that it does not know.
pub const SIDECAR: &str = "rr-patch.json";

const SCHEMA: &str = "rr-patch/sidecar/1";

/// The largest file that is read as a sidecar, far more than one needs.
const LARGEST: u64 = 1 << 20;

/// Data that rr does not store in a trace: the versions, the options and the programs of the recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sidecar {
    /// Set by [`Sidecar::write`].
    pub schema: String,
    /// rr-patch's name and version.
    pub tool: String,
    /// The controller's name, which is that of its program.
    pub controller: String,
    /// The output of `rr --version`.
    pub rr_version: String,
    /// Whether rr used software counters (`-W`). Such a trace replays only with `-W`, but rr does not store that.
    pub software_counters: bool,
    pub go_version: Option<String>,
    pub delve_version: Option<String>,
    /// The options of `rr record`. [`Sidecar::write`] removes the values of environment variables.
    pub flags: Vec<String>,
    /// The installer's commit, and the remote that has it.
    pub installer_commit: Option<String>,
    pub installer_remote: Option<String>,
    /// The start and the end of the recording, in RFC 3339 format.
    pub started: Option<String>,
    pub ended: Option<String>,
    /// How the recorded program ended, as text.
    pub exit: Option<String>,
}

impl Sidecar {
    /// Writes the sidecar into a trace. Only the owner can read it.
    pub fn write(&self, trace: &Path) -> Result<()> {
        let sidecar = Self { schema: SCHEMA.into(), flags: without_values(&self.flags), ..self.clone() };
        let mut bytes = serde_json::to_vec_pretty(&sidecar).context("a sidecar cannot be written as JSON")?;
        bytes.push(b'\n');
        replace(&trace.join(SIDECAR), &bytes, 0o600)
    }

    /// Reads the sidecar of a trace; `None` if it has none.
    ///
    /// # Errors
    /// A file with this name that is not a sidecar, or one of a later version.
    pub fn read(trace: &Path) -> Result<Option<Self>> {
        let path = trace.join(SIDECAR);
        match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.shown())),
            Ok(seen) if !seen.is_file() || seen.len() > LARGEST => {
                return Err(Error::failed(format!("`{}` is not a sidecar", path.shown()))
                    .detail(format!("expected: a file of at most {LARGEST} bytes"))
                    .into());
            }
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
            .with_context(|| format!("cannot read `{}`", path.shown()))?;
        let mut sidecar: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::failed(format!("`{}` is not a sidecar: {error}", path.shown())))?;
        if sidecar.schema != SCHEMA {
            return Err(Error::failed(format!("`{}` is not a sidecar of this version", path.shown()))
                .detail(format!("expected: schema {SCHEMA}"))
                .detail(format!("found: schema {:?}", sidecar.schema))
                .into());
        }
        sidecar.flags = without_values(&sidecar.flags);
        Ok(Some(sidecar))
    }
}

/// rr's options without the values of `-v NAME=VALUE` and `--env=NAME=VALUE`.
fn without_values(flags: &[String]) -> Vec<String> {
    let name_of = |text: &str| text.split_once('=').map_or_else(|| text.to_owned(), |(name, _)| format!("{name}=…"));
    let mut value_follows = false;
    let without = flags.iter().map(|flag| {
        if std::mem::take(&mut value_follows) {
            return name_of(flag);
        }
        value_follows = flag == "-v" || flag == "--env";
        // rr accepts `--env=N=V`, `-v=N=V` and `-vN=V`.
        let option = ["--env=", "-v=", "-v"].into_iter().find(|option| flag.starts_with(option) && flag != option);
        option.map_or_else(|| flag.clone(), |option| format!("{option}{}", name_of(&flag[option.len()..])))
    });
    without.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_environment_are_left_out_however_the_option_is_written() {
        let given = ["-W", "--env=A=s3cret=x", "-v", "B=s3cret", "-vC=s3cret", "-v=D=s3cret", "--env", "E", "--wait"];
        let flags: Vec<String> = given.iter().map(|&flag| flag.to_owned()).collect();
        let kept = without_values(&flags);
        assert_eq!(kept, ["-W", "--env=A=…", "-v", "B=…", "-vC=…", "-v=D=…", "--env", "E", "--wait"]);
    }
}
