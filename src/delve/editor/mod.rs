//! Configurations that let an editor debug a trace, merged into what its user already has.
//!
//! | editor | file | what it does |
//! | --- | --- | --- |
//! | VS Code | `.vscode/launch.json` | starts `dlv dap` itself (mode `replay`), or attaches |
//! | nvim-dap | the same file, which it reads | the same |
//! | Zed | `.zed/debug.json` | the same |
//! | GoLand | `.run/<name>.run.xml` | attaches to a Delve that listens |
//!
//! A path in the trace's program and one in the editor's folder differ where sources moved: a debug
//! adapter's `substitutePath` maps `from` the editor's folder `to` the program's path, which is the
//! opposite of the command line's (Delve's `Documentation/api/dap` and `Documentation/cli/substitutepath.md`).

mod goland;
mod jsonc;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::error::{Error, Shown};
use crate::sys::write::replace;
use jsonc::{Entry, Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Editor {
    VsCode,
    GoLand,
    Nvim,
    Zed,
}

/// How an editor comes to the trace.
#[derive(Clone, Debug)]
pub enum Way {
    /// It starts Delve itself, with these flags for `rr replay`.
    Replay { trace: PathBuf, rr_flags: Vec<String> },
    /// It connects to a Delve that listens there.
    Attach { host: String, port: u16 },
}

/// A folder of the editor, and where the program has its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub here: PathBuf,
    pub program: PathBuf,
}

/// What an editor is to be told.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    pub controller: &'a str,
    pub way: Way,
    pub moved: Option<Moved>,
}

/// A configuration and the file that is to hold it.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The file, behind links if there are any.
    pub path: PathBuf,
    /// Under which name the editor lists it.
    pub name: String,
    before: Option<Vec<u8>>,
    pub after: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created,
    Merged,
    /// The file already said it all.
    None,
}

impl Session<'_> {
    /// The name under which the editor lists it: one for each controller and way, so that a newer
    /// trace takes the place of an older one.
    fn name(&self) -> String {
        match self.way {
            Way::Replay { .. } => format!("Replay {} (rr-patch)", self.controller),
            Way::Attach { .. } => format!("Attach to the replay of {} (rr-patch)", self.controller),
        }
    }

    /// What Delve's debug adapter is told, in the order in which it is written.
    fn adapter(&self) -> Vec<(&'static str, Value)> {
        let mut entries = match &self.way {
            Way::Replay { trace, rr_flags } => {
                let mut entries =
                    vec![("request", json!("launch")), ("mode", json!("replay")), ("traceDirPath", json!(trace))];
                if !rr_flags.is_empty() {
                    entries.push(("env", json!({ "DELVE_RR_REPLAY_FLAGS": rr_flags.join(" ") })));
                }
                entries
            }
            Way::Attach { .. } => vec![("request", json!("attach")), ("mode", json!("remote"))],
        };
        // Without it a client lets the recording run to its end at once.
        entries.push(("stopOnEntry", json!(true)));
        if let Some(Moved { here, program }) = &self.moved {
            entries.push(("substitutePath", json!([{ "from": here, "to": program }])));
        }
        entries
    }

    fn vscode(&self) -> Entry {
        let mut entries = vec![("name", json!(self.name())), ("type", json!("go"))];
        if let Way::Attach { host, port } = &self.way {
            // The other adapter does not register breakpoints in a replay (golang/vscode-go#1243).
            entries.extend([("debugAdapter", json!("dlv-dap")), ("host", json!(host)), ("port", json!(port))]);
        }
        entries.extend(self.adapter());
        Entry { label: "name", entries }
    }

    fn zed(&self) -> Entry {
        let mut entries = vec![("label", json!(self.name())), ("adapter", json!("Delve"))];
        if let Way::Attach { host, port } = &self.way {
            // With it Zed starts no Delve of its own.
            entries.push(("tcp_connection", json!({ "host": host, "port": port })));
        }
        entries.extend(self.adapter());
        Entry { label: "label", entries }
    }
}

/// The configuration for a folder that is open in an editor, merged with what its file holds.
///
/// # Errors
/// A file that does not parse, by line and column, or that has another form than its editor gives it.
pub fn configure(editor: Editor, folder: &Path, session: &Session<'_>) -> Result<Configuration> {
    let name = session.name();
    let path = match editor {
        Editor::VsCode | Editor::Nvim => folder.join(".vscode/launch.json"),
        Editor::Zed => folder.join(".zed/debug.json"),
        Editor::GoLand => goland::path(folder, session.controller),
    };
    // What is renamed onto a link takes the link's place.
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
    /// Writes the file, unless it says it all already.
    pub fn write(&self) -> Result<Change> {
        if self.before.as_ref() == Some(&self.after) {
            return Ok(Change::None);
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.shown()))?;
        }
        let mode = fs::metadata(&self.path).map_or(0o644, |seen| std::os::unix::fs::MetadataExt::mode(&seen) & 0o777);
        replace(&self.path, &self.after, mode)?;
        Ok(if self.before.is_some() { Change::Merged } else { Change::Created })
    }
}

/// Where the sources of a program lie below a folder, if they are there and were elsewhere when it
/// was built: `main` is the folder of its main package as the debug information names it.
pub fn moved(main: &Path, folder: &Path) -> Option<Moved> {
    let parts: Vec<_> = main.components().collect();
    // The longest tail that this folder has too; one part alone is no sign.
    (1..parts.len().saturating_sub(1))
        .find_map(|cut| {
            let tail: PathBuf = parts[cut..].iter().collect();
            let program: PathBuf = parts[..cut].iter().collect();
            let found = folder.join(&tail).is_dir();
            found.then(|| Moved { here: folder.into(), program })
        })
        .filter(|moved| moved.here != moved.program)
}

/// A refusal: the file is not what its editor makes of it.
fn refusal(path: &Path, place: &str, expected: &str, found: &str) -> anyhow::Error {
    Error::refused(format!("`{}{place}` cannot be merged with", path.shown()))
        .detail(format!("expected: {expected}"))
        .detail(format!("found: {found}"))
        .hint("mend the file in the editor, or let `--print` show what to put into it")
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
