//! A trace that is open in Delve, or could be opened.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use crate::delve::client::Stop;
use crate::delve::editor::{Configuration, Editor, Moved, SettingsEdit};
use crate::delve::{Ready, ReplayPlan};
use crate::error::{Shown, plain_name};
use crate::rr::trace::Trace;
use crate::words::quoted;

/// A trace that is open in Delve, or could be opened.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Opened {
    /// The trace's name.
    trace: String,
    path: String,
    controller: String,
    delve: Delve,
    rr: Recorder,
    /// What starts Delve.
    command: String,
    /// The editor's configuration; nothing where no editor was named.
    configuration: Option<Written>,
    warnings: Vec<String>,
    /// Set where the sources were moved since the build.
    moved: Option<Mapped>,
    /// Where Delve listens; absent where it was not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Delve's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    /// Where the replay stands, if `--at` named a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    stands: Option<Stands>,
    /// The editor whose configuration was written, and what became of it.
    #[serde(skip)]
    written: Option<(Editor, SettingsEdit)>,
    #[serde(skip)]
    told: Told,
}

/// What was done, and what is to be done by others.
#[derive(Clone, Debug)]
pub enum Told {
    /// Nothing was done: this is the command line.
    Line,
    /// Nothing was done: this is the configuration, and the command lines of a Delve that would `listen`.
    Printed { listen: Option<String> },
    /// The configuration was written, and the editor starts Delve by itself.
    LeftToTheEditor,
    /// Delve listens. `again` is the trace as an argument; `tunnel` is the host that ssh leads to.
    Listening { ready: Ready, again: String, tunnel: Option<String> },
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Delve {
    path: String,
    version: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Recorder {
    path: String,
    version: String,
    /// What Delve tells it.
    flags: Vec<String>,
}

/// A moment of a recording.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Stands {
    /// rr's number of the event.
    event: u64,
    goroutine: i64,
    /// The function of the goroutine's innermost frame; empty where Delve does not know it.
    function: String,
}

/// A file of an editor.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Written {
    path: String,
    /// Under which the editor lists it.
    name: String,
    content: String,
}

/// Where sources are, and where the program has them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Mapped {
    here: String,
    program: String,
}

impl Opened {
    /// Before anything was started; Delve would `listen` there.
    pub fn new(
        trace: &Trace,
        opening: &ReplayPlan,
        moved: Option<&Moved>,
        configuration: Option<&Configuration>,
        listen: Option<&str>,
    ) -> Self {
        Self {
            trace: trace.name.clone(),
            path: trace.path.in_json(),
            controller: trace.controller().to_owned(),
            delve: Delve { path: opening.delve.path.in_json(), version: opening.delve.version.to_string() },
            rr: Recorder {
                path: opening.rr.path.in_json(),
                version: opening.rr.said(),
                flags: opening.rr_flags.clone(),
            },
            command: opening.line(listen),
            configuration: configuration.map(|configuration| Written {
                path: configuration.path.in_json(),
                name: configuration.name.clone(),
                content: String::from_utf8_lossy(&configuration.after).into_owned(),
            }),
            warnings: opening.warnings.clone(),
            moved: moved.map(|moved| Mapped { here: moved.here.in_json(), program: moved.program.in_json() }),
            address: None,
            port: None,
            pid: None,
            stands: None,
            written: None,
            told: Told::Line,
        }
    }

    /// With what was done, and is to be done by others.
    pub fn telling(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// With what became of the editor's configuration.
    pub fn written(self, written: Option<(Editor, SettingsEdit)>) -> Self {
        Self { written, ..self }
    }

    /// With the place where the replay stands.
    pub fn standing(self, stop: Option<&Stop>) -> Self {
        let stands =
            stop.map(|stop| Stands { event: stop.event, goroutine: stop.goroutine, function: stop.function.clone() });
        Self { stands, ..self }
    }

    /// Delve listens. `again` is the trace as an argument, and `tunnel` the host that ssh leads to, if one is needed.
    pub fn listening(self, ready: &Ready, again: &str, tunnel: Option<String>) -> Self {
        Self {
            address: Some(ready.address.clone()),
            port: Some(ready.port),
            pid: Some(ready.pid),
            told: Told::Listening { ready: ready.clone(), again: again.to_owned(), tunnel },
            ..self
        }
    }

    /// `--print`: nothing was run and nothing written.
    fn printed(&self, f: &mut fmt::Formatter<'_>, listen: Option<&str>) -> fmt::Result {
        if let Some(Written { path, content, .. }) = &self.configuration {
            write!(f, "# {}\n{content}", plain_name(path))?;
        }
        match listen {
            Some(listen) => writeln!(f, "{}\n{} connect {listen}", self.command, quoted(&self.delve.path)),
            None => Ok(()),
        }
    }

    /// What became of the editor's configuration.
    fn configured(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some((editor, change)), Some(Written { path, name, .. })) = (self.written, &self.configuration) else {
            return Ok(());
        };
        let path = plain_name(path);
        match change {
            SettingsEdit::Created => writeln!(f, "wrote `{path}`")?,
            SettingsEdit::Merged => writeln!(f, "merged into `{path}`: all else in it is as it was")?,
            SettingsEdit::None => writeln!(f, "`{path}` holds it already")?,
        }
        writeln!(f, "  start:   {}", start(editor, name))?;
        let Some(Mapped { here, program }) = &self.moved else { return Ok(()) };
        let (program, here) = (plain_name(program), plain_name(here));
        let by = if editor == Editor::GoLand { " by GoLand itself, or not at all" } else { "" };
        writeln!(f, "  sources: built in `{program}`, mapped to `{here}`{by}")
    }

    /// How to get to a Delve that listens.
    fn connect(&self, f: &mut fmt::Formatter<'_>, ready: &Ready, again: &str, tunnel: Option<&str>) -> fmt::Result {
        let Ready { address, port, delve, .. } = ready;
        writeln!(f, "`{}` is open in Delve {delve} at {address}", self.trace)?;
        let mut line = |what: &str, how: &str| writeln!(f, "  {what:<9} {how}");
        line("terminal", &format!("dlv connect {address}"))?;
        if let Some(Mapped { here, program }) = &self.moved {
            let (program, here) = (plain_name(program), plain_name(here));
            line("", &format!("then: config substitute-path {program} {here}"))?;
        }
        let again = |editor: &str| format!("rr-patch replay {again} --editor {editor} --attach --print");
        line("VS Code", &format!("attach to 127.0.0.1:{port}: `{}` shows the configuration", again("vscode")))?;
        line("nvim-dap", "the same file as VS Code's")?;
        line("Zed", &format!("attach to 127.0.0.1:{port}: `{}`", again("zed")))?;
        line("GoLand", &format!("a Go Remote configuration with host 127.0.0.1 and port {port}"))?;
        if let Some(host) = tunnel {
            line("remote", &format!("ssh -N -L {port}:{address} {host}    and connect to 127.0.0.1:{port} there"))?;
        }
        line("begin", "break main.main, continue, and back again: rev next, rewind")?;
        writeln!(f, "Ctrl-C ends it")
    }
}

/// How the configuration is started, by its name.
fn start(editor: Editor, name: &str) -> String {
    match editor {
        Editor::VsCode => format!("in Run and Debug, choose `{name}` and press F5"),
        Editor::GoLand => format!("choose the run configuration `{name}` and debug it"),
        Editor::Nvim => format!("`:DapContinue`, then `{name}`: nvim-dap reads .vscode/launch.json"),
        Editor::Zed => format!("`debugger: start`, then `{name}`"),
    }
}

impl Document for Opened {
    const SCHEMA: &'static str = "rr-patch/replay/1";
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.told {
            Told::Line => writeln!(f, "{}", self.command),
            Told::Printed { listen } => self.printed(f, listen.as_deref()),
            Told::LeftToTheEditor => {
                self.configured(f)?;
                let (delve, rr) = (&self.delve.version, plain_name(&self.rr.path));
                writeln!(
                    f,
                    "  needs:   dlv {delve} and `{rr}` in the editor's PATH; `--attach` starts Delve here instead"
                )
            }
            Told::Listening { ready, again, tunnel } => {
                self.connect(f, ready, again, tunnel.as_deref())?;
                if let Some(Stands { event, goroutine, function }) = &self.stands {
                    let function = if function.is_empty() { "?" } else { function };
                    writeln!(f, "  stands at event {event} in goroutine {goroutine}: {function}")?;
                }
                self.configured(f)
            }
        }
    }
}
