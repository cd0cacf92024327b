//! Writes configurations with which an editor debugs a trace, merged into the user's existing files.
//!
//! | editor | file | what it does |
//! | --- | --- | --- |
//! | VS Code | `.vscode/launch.json` | starts `dlv dap` itself (mode `replay`), or attaches |
//! | nvim-dap | the same file, which it reads | the same |
//! | Zed | `.zed/debug.json` | the same |
//! | GoLand | `.run/<name>.run.xml` | attaches to a listening Delve |
//!
//! If the sources were moved, the paths in the program differ from those in the editor's folder. A debug adapter's
//! `substitutePath` maps `from` the editor's folder `to` the program's path, which is the opposite direction of the
//! command line's (Delve's `Documentation/api/dap` and `Documentation/cli/substitutepath.md`).

mod goland;
mod jsonc;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::error::{Error, Shown};
use crate::sys::write::replace;
use jsonc::{Configured, Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Editor {
    VsCode,
    GoLand,
    Nvim,
    Zed,
}

/// How an editor opens the trace.
#[derive(Clone, Debug)]
pub enum LaunchMode {
    /// The editor starts Delve itself, with these flags for `rr replay`.
    Replay { trace: PathBuf, rr_flags: Vec<String> },
    /// The editor connects to a listening Delve.
    Attach { host: String, port: u16 },
}

/// A folder of the editor, and the corresponding folder in the program's debug information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub here: PathBuf,
    pub program: PathBuf,
}

/// The data for an editor's configuration.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    pub controller: &'a str,
    pub way: LaunchMode,
    pub moved: Option<Moved>,
}

/// A configuration and its file.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The file, with links resolved.
    pub path: PathBuf,
    /// The name in the editor's list.
    pub name: String,
    before: Option<Vec<u8>>,
    pub after: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsEdit {
    Created,
    Merged,
    /// The file was already up to date.
    None,
}

impl Session<'_> {
    /// The name in the editor's list. It depends on the controller and the launch mode, so a newer trace replaces an
    /// older one.
    fn name(&self) -> String {
        match self.way {
            LaunchMode::Replay { .. } => format!("Replay {} (rr-patch)", self.controller),
            LaunchMode::Attach { .. } => format!("Attach to the replay of {} (rr-patch)", self.controller),
        }
    }

    /// The settings for Delve's debug adapter, in the order in which they are written.
    fn adapter(&self) -> Vec<(&'static str, Value)> {
        let mut entries = match &self.way {
            LaunchMode::Replay { trace, rr_flags } => {
                let mut entries =
                    vec![("request", json!("launch")), ("mode", json!("replay")), ("traceDirPath", json!(trace))];
                if !rr_flags.is_empty() {
                    entries.push(("env", json!({ "DELVE_RR_REPLAY_FLAGS": rr_flags.join(" ") })));
                }
                entries
            }
            LaunchMode::Attach { .. } => vec![("request", json!("attach")), ("mode", json!("remote"))],
        };
        // Without this, a client immediately runs the recording to its end.
        entries.push(("stopOnEntry", json!(true)));
        if let Some(Moved { here, program }) = &self.moved {
            entries.push(("substitutePath", json!([{ "from": here, "to": program }])));
        }
        entries
    }

    fn vscode(&self) -> Configured {
        let mut entries = vec![("name", json!(self.name())), ("type", json!("go"))];
        if let LaunchMode::Attach { host, port } = &self.way {
            // The other adapter does not set breakpoints in a replay (golang/vscode-go#1243).
            entries.extend([("debugAdapter", json!("dlv-dap")), ("host", json!(host)), ("port", json!(port))]);
        }
        entries.extend(self.adapter());
        Configured { label: "name", entries }
    }

    fn zed(&self) -> Configured {
        let mut entries = vec![("label", json!(self.name())), ("adapter", json!("Delve"))];
        if let LaunchMode::Attach { host, port } = &self.way {
            // With this, Zed does not start its own Delve.
            entries.push(("tcp_connection", json!({ "host": host, "port": port })));
        }
        entries.extend(self.adapter());
        Configured { label: "label", entries }
    }
}

/// The configuration for a folder that is open in an editor, merged with the existing file.
///
/// # Errors
/// A file that does not parse, with line and column, or that does not have the structure that its editor uses.
pub fn configure(editor: Editor, folder: &Path, session: &Session<'_>) -> Result<Configuration> {
    let name = session.name();
    let path = match editor {
        Editor::VsCode | Editor::Nvim => folder.join(".vscode/launch.json"),
        Editor::Zed => folder.join(".zed/debug.json"),
        Editor::GoLand => goland::path(folder, session.controller),
    };
    // Renaming onto a link would replace the link.
    let path = path.canonicalize().unwrap_or(path);
    let before = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.with_context(|| format!("cannot read `{}`", path.shown()))?),
    };
    let after = match editor {
        Editor::VsCode | Editor::Nvim => {
            jsonc::merge(&path, before.as_deref(), Place::Under("configurations"), &session.vscode())?
        }
        Editor::Zed => jsonc::merge(&path, before.as_deref(), Place::Whole, &session.zed())?,
        Editor::GoLand => goland::file(&path, before.as_deref(), &name, &session.way)?,
    };
    Ok(Configuration { path, name, before, after })
}

impl Configuration {
    /// Writes the file, unless it is already up to date.
    pub fn write(&self) -> Result<SettingsEdit> {
        if self.before.as_ref() == Some(&self.after) {
            return Ok(SettingsEdit::None);
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.shown()))?;
        }
        let mode = fs::metadata(&self.path).map_or(0o644, |seen| std::os::unix::fs::MetadataExt::mode(&seen) & 0o777);
        replace(&self.path, &self.after, mode)?;
        Ok(if self.before.is_some() { SettingsEdit::Merged } else { SettingsEdit::Created })
    }
}

/// Finds the sources of a program below a folder, if they are there and were elsewhere during the build. `main` is
/// the folder of its main package in the debug information.
pub fn moved(main: &Path, folder: &Path) -> Option<Moved> {
    let parts: Vec<_> = main.components().collect();
    // The longest common suffix of the path is used; a single element is not enough.
    (1..parts.len().saturating_sub(1))
        .find_map(|cut| {
            let tail: PathBuf = parts[cut..].iter().collect();
            let program: PathBuf = parts[..cut].iter().collect();
            let found = folder.join(&tail).is_dir();
            found.then(|| Moved { here: folder.into(), program })
        })
        .filter(|moved| moved.here != moved.program)
}

/// A refusal: the file does not have the structure that its editor uses.
fn refusal(path: &Path, place: &str, expected: &str, found: &str) -> anyhow::Error {
    Error::refused(format!("`{}{place}` cannot be merged with", path.shown()))
        .detail(format!("expected: {expected}"))
        .detail(format!("found: {found}"))
        .hint("correct the file in the editor; `--print` shows what to add")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_finds_the_folder_by_the_longest_tail_that_it_has_too() {
        let here = &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/installer");
        let found = moved(Path::new("/build/installer/cluster-api/providers/aws"), here);
        assert_eq!(found, Some(Moved { here: here.into(), program: "/build/installer".into() }));
        assert_eq!(moved(&here.join("cluster-api/providers/aws"), here), None, "they did not move");
        assert_eq!(moved(Path::new("/build/elsewhere/aws"), here), None, "they are not here");
    }
}
