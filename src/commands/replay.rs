//! `rr-patch replay`: open a trace in Delve, and lead an editor there.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cause::place::{Known, Place, trace_with};
use crate::delve::client::Client;
use crate::delve::editor::{self, Change, Configuration, Moved, Session, Way, configure, moved};
use crate::delve::{Listen, Opening, Ready, Served, prepare};
use crate::doctor::Host;
use crate::error::{Error, Shown, plain};
use crate::patch::checkout::Checkout;
use crate::rr::bundle::{self, Unpacking};
use crate::rr::trace::{Store, Trace};
use crate::ui::document::Format;
use crate::ui::report::Loose;
use crate::words::{count, quoted};

const SCHEMA: &str = "rr-patch/replay/1";

#[derive(Args, Debug)]
pub struct Replay {
    /// A trace's name or path, a packed one's file, or a controller's name [default: the newest complete trace]
    #[arg(default_value = "", hide_default_value = true)]
    pub trace: String,

    /// The folder with the traces [default: rr's own]
    #[arg(long, value_name = "DIR")]
    pub trace_dir: Option<PathBuf>,

    /// The file with the age key, if the packed trace is encrypted
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,

    /// Listen at this port of the host's own interface; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = 2345)]
    pub port: u16,

    /// Listen at another address; whoever reaches it can run programs as you
    #[arg(long, value_name = "HOST:PORT", value_parser = Listen::parse, conflicts_with = "port")]
    pub listen: Option<Listen>,

    /// Debug on this terminal, and listen nowhere
    #[arg(long, conflicts_with_all = ["port", "listen", "editor"])]
    pub terminal: bool,

    /// Write a configuration for this editor, or merge it with those that there are
    #[arg(long, value_enum)]
    pub editor: Option<Editor>,

    /// The folder that is open in the editor [default: the checkout around the current folder, or that folder]
    #[arg(long, value_name = "DIR", requires = "editor")]
    pub editor_dir: Option<PathBuf>,

    /// Start Delve here and let the editor attach, rather than start Delve itself; GoLand always attaches
    #[arg(long, requires = "editor")]
    pub attach: bool,

    /// Stand there: at an event, at the line that holds a text (part of it as it was written), at start, end or crash.
    /// With a text and no trace, the newest run is looked through
    #[arg(long, value_name = "EVENT|TEXT|start|end|crash", allow_hyphen_values = true)]
    pub at: Option<Place>,

    /// Print the commands and the configuration; run and write nothing
    #[arg(long)]
    pub print: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Editor {
    /// Visual Studio Code: .vscode/launch.json
    Vscode,
    /// GoLand: .run/*.run.xml
    Goland,
    /// Neovim with nvim-dap, which reads .vscode/launch.json
    Nvim,
    /// Zed: .zed/debug.json
    Zed,
}

impl Editor {
    fn kind(self) -> editor::Editor {
        match self {
            Self::Vscode => editor::Editor::VsCode,
            Self::Goland => editor::Editor::GoLand,
            Self::Nvim => editor::Editor::Nvim,
            Self::Zed => editor::Editor::Zed,
        }
    }

    /// How the configuration is started, by its name.
    fn start(self, name: &str) -> String {
        match self {
            Self::Vscode => format!("in Run and Debug, choose `{name}` and press F5"),
            Self::Goland => format!("choose the run configuration `{name}` and debug it"),
            Self::Nvim => format!("`:DapContinue`, then `{name}`: nvim-dap reads .vscode/launch.json"),
            Self::Zed => format!("`debugger: start`, then `{name}`"),
        }
    }
}

impl Replay {
    pub fn run(&self, format: Format) -> Result<Loose> {
        if self.terminal && format == Format::Json {
            return Err(Error::usage("`--terminal` has no JSON form: Delve writes to the terminal itself").into());
        }
        let store = match &self.trace_dir {
            Some(folder) => Store::at(folder.clone()),
            None => Store::of(&|name| std::env::var_os(name)),
        };
        let mut trace = match &self.at {
            Some(Place::Text(text)) if self.trace.is_empty() => trace_with(&store, &Host::here(), text, &mut say)?,
            _ => self.trace(&store)?,
        };
        trace.path = trace.path.canonicalize().with_context(|| format!("cannot read `{}`", trace.path.shown()))?;
        let opening = prepare(&Host::here(), &trace)?;
        for warning in &opening.warnings {
            say(&format!("warning: {warning}"));
        }
        let at = self.at.as_ref().map(|place| place.find(&Host::here(), &trace, &mut say)).transpose()?;
        if self.terminal {
            return self.on_the_terminal(&opening, &trace, at.as_ref());
        }
        let listen = self.listen.unwrap_or_else(|| Listen::loopback(self.port));
        if !listen.is_loopback() {
            say(&format!(
                "warning: whoever can reach {listen} can run programs as you; an ssh tunnel to 127.0.0.1 lets in only you"
            ));
        }
        let moved = opening.program.as_ref().and_then(|facts| facts.sources.main.as_deref()).and_then(|main| {
            let here = self.folder().ok().and_then(|folder| moved(Path::new(main), &folder));
            // A packed trace may have brought its sources.
            here.or_else(|| {
                let sources = bundle::sources(&trace)?;
                let brought = sources.join(main.trim_start_matches('/')).is_dir();
                brought.then(|| Moved { here: sources, program: "/".into() })
            })
        });
        let attach = self.attach || self.at.is_some() || self.editor.is_none_or(|editor| editor == Editor::Goland);
        let configuration = match self.editor {
            None => None,
            Some(editor) => {
                let way = match attach {
                    true => Way::Attach { host: "127.0.0.1".into(), port: listen.port() },
                    false => Way::Replay { trace: trace.path.clone(), rr_flags: opening.rr_flags.clone() },
                };
                if attach && listen.port() == 0 {
                    return Err(
                        Error::usage("an editor cannot be told a port that is not known yet: give `--port N`").into()
                    );
                }
                let session = Session { controller: trace.controller(), way, moved: moved.clone() };
                Some((editor, configure(editor.kind(), &self.folder()?, &session)?))
            }
        };
        // Said again, a name means the same only in the same store.
        let again = if self.trace_dir.is_some() { trace.path.to_string_lossy() } else { trace.name.as_str().into() };
        let talk = Talk { again: quoted(&again), trace: &trace, opening: &opening, moved, listen, configuration, at };
        match (self.print, attach) {
            (true, _) => Ok(talk.printed(attach)),
            (false, false) => talk.written(),
            (false, true) => talk.serve(format),
        }
    }

    /// The trace that is meant. A packed one is unpacked into the store first, unless that was done before.
    fn trace(&self, store: &Store) -> Result<Trace> {
        let file = Path::new(&self.trace);
        if !file.is_file() {
            return store.find(&self.trace);
        }
        let folder = store.root().join(bundle::target_name(file, None)?);
        let traces = if folder.is_dir() {
            say(&format!("`{}` was unpacked before: `{}`", file.shown(), folder.shown()));
            Store::at(folder.clone()).traces()?
        } else {
            let unpacking = Unpacking {
                folder: store.root(),
                name: None,
                identity: self.identity.as_deref(),
                progress: &mut |_, _| Ok(()),
            };
            let traces = bundle::unpack(file, unpacking)?.traces;
            say(&format!("verified and unpacked `{}` into `{}`", file.shown(), folder.shown()));
            traces
        };
        match <[Trace; 1]>::try_from(traces) {
            Ok([trace]) => Ok(trace),
            Err(traces) => {
                let error = Error::usage(format!("`{}` holds {}", file.shown(), count(traces.len(), "trace")));
                let paths = traces.iter().map(|trace| trace.path.shown());
                let error = paths.fold(error, Error::detail);
                Err(error.hint("name one of them: `rr-patch replay PATH`").into())
            }
        }
    }

    fn on_the_terminal(&self, opening: &Opening, trace: &Trace, at: Option<&Known>) -> Result<Loose> {
        if self.print {
            return Ok(Loose::new(SCHEMA, format!("{}\n", opening.line(None)), Value::Null));
        }
        say(&format!(
            "`{}`: `continue` runs, `rev next` goes back, `rewind` to the start, `exit` leaves; \
             `[rr PID EVENT]` stands before what the program printed when it was recorded",
            trace.name
        ));
        opening.interact(&at.map_or_else(Vec::new, Known::commands))?;
        Ok(Loose::said())
    }

    /// The editor's folder.
    fn folder(&self) -> Result<PathBuf> {
        let folder = match &self.editor_dir {
            Some(folder) => folder.clone(),
            None => match Checkout::discover(None, None) {
                Ok(checkout) => checkout.root().to_owned(),
                Err(_) => ".".into(),
            },
        };
        folder.canonicalize().map_err(|error| {
            Error::usage(format!("`{}` is not a folder: {error}", folder.shown()))
                .hint("`--editor-dir DIR` names the folder that is open in the editor")
                .into()
        })
    }
}

/// What is not a result goes to stderr; that nobody reads it is no failure.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(line));
}

/// Everything there is to say about one opening.
struct Talk<'a> {
    trace: &'a Trace,
    /// The trace as an argument.
    again: String,
    opening: &'a Opening,
    moved: Option<Moved>,
    listen: Listen,
    configuration: Option<(Editor, Configuration)>,
    /// Where Delve is to stand.
    at: Option<Known>,
}

impl Talk<'_> {
    fn data(&self, listen: Option<&str>) -> Value {
        let configuration = self.configuration.as_ref().map(|(_, configuration)| {
            json!({
                "path": configuration.path.in_json(), "name": configuration.name,
                "content": String::from_utf8_lossy(&configuration.after),
            })
        });
        json!({
            "trace": self.trace.name, "path": self.trace.path.in_json(), "controller": self.trace.controller(),
            "delve": { "path": self.opening.delve.path.in_json(), "version": self.opening.delve.version.to_string() },
            "rr": { "path": self.opening.rr.path.in_json(), "version": self.opening.rr.said(), "flags": self.opening.rr_flags },
            "command": self.opening.line(listen), "configuration": configuration, "warnings": self.opening.warnings,
            "moved": self.moved.as_ref().map(|moved| json!({ "here": moved.here.in_json(), "program": moved.program.in_json() })),
        })
    }

    /// `--print`: nothing was run and nothing written.
    fn printed(&self, attach: bool) -> Loose {
        let listen = attach.then(|| self.listen.to_string());
        let mut text = String::new();
        if let Some((_, configuration)) = &self.configuration {
            let _ = writeln!(text, "# {}", configuration.path.shown());
            text.push_str(&String::from_utf8_lossy(&configuration.after));
        }
        if let Some(listen) = &listen {
            let _ = writeln!(text, "{}", self.opening.line(Some(listen)));
            let _ = writeln!(text, "{} connect {listen}", quoted(&self.opening.delve.path.to_string_lossy()));
        }
        Loose::new(SCHEMA, text, self.data(listen.as_deref()))
    }

    fn write(&self) -> Result<String> {
        let Some((editor, configuration)) = &self.configuration else { return Ok(String::new()) };
        let path = configuration.path.shown();
        let mut text = match configuration.write()? {
            Change::Created => format!("wrote `{path}`\n"),
            Change::Merged => format!("merged into `{path}`: all else in it is as it was\n"),
            Change::None => format!("`{path}` holds it already\n"),
        };
        let _ = writeln!(text, "  start:   {}", editor.start(&configuration.name));
        if let Some(Moved { here, program }) = &self.moved {
            let _ = writeln!(
                text,
                "  sources: built in `{}`, mapped to `{}`{}",
                program.shown(),
                here.shown(),
                if *editor == Editor::Goland { " by GoLand itself, or not at all" } else { "" }
            );
        }
        Ok(text)
    }

    /// The editor starts Delve by itself.
    fn written(&self) -> Result<Loose> {
        let mut text = self.write()?;
        let rr = self.opening.rr.path.shown();
        let _ = writeln!(
            text,
            "  needs:   dlv {} and `{rr}` in the editor's PATH; `--attach` starts Delve here instead",
            self.opening.delve.version
        );
        Ok(Loose::new(SCHEMA, text, self.data(None)))
    }

    fn serve(&self, format: Format) -> Result<Loose> {
        self.listen.check()?;
        let written = self.write()?;
        say(&format!("opening `{}` in Delve {}", self.trace.name, self.opening.delve.version));
        let mut ready = |ready: &Ready| {
            let stands = match &self.at {
                None => String::new(),
                Some(known) => {
                    let stop = known.stand(&mut Client::connect(&ready.address)?)?;
                    let function = if stop.function.is_empty() { "?" } else { &stop.function };
                    format!("  stands at event {} in goroutine {}: {function}\n", stop.event, stop.goroutine)
                }
            };
            let mut data = self.data(Some(&ready.address));
            data["address"] = json!(ready.address);
            data["port"] = json!(ready.port);
            data["pid"] = json!(ready.pid);
            let text = format!("{}{stands}{written}", self.connect(ready));
            Ok(Loose::new(SCHEMA, text, data).print(format, &mut io::stdout())?)
        };
        let served = self.opening.serve(&self.listen, &mut ready, &mut |line| say(&format!("delve: {line}")))?;
        say(match served {
            Served::Stopped => "Delve has ended, and its rr with it",
            Served::ByClient => "a client has ended Delve",
        });
        Ok(Loose::said())
    }

    /// How to get there.
    fn connect(&self, ready: &Ready) -> String {
        let Ready { address, port, delve, .. } = ready;
        let name = &self.trace.name;
        let mut text = format!("`{name}` is open in Delve {delve} at {address}\n");
        let mut line = |what: &str, how: &str| {
            let _ = writeln!(text, "  {what:<9} {how}");
        };
        line("terminal", &format!("dlv connect {address}"));
        if let Some(Moved { here, program }) = &self.moved {
            line("", &format!("then: config substitute-path {} {}", program.shown(), here.shown()));
        }
        let again = |editor: &str| format!("rr-patch replay {} --editor {editor} --attach --print", self.again);
        line("VS Code", &format!("attach to 127.0.0.1:{port}: `{}` shows the configuration", again("vscode")));
        line("nvim-dap", "the same file as VS Code's");
        line("Zed", &format!("attach to 127.0.0.1:{port}: `{}`", again("zed")));
        line("GoLand", &format!("a Go Remote configuration with host 127.0.0.1 and port {port}"));
        if self.listen.is_loopback() {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = if host.trim().is_empty() { "HOST" } else { host.trim() };
            line("remote", &format!("ssh -N -L {port}:{address} {host}    and connect to 127.0.0.1:{port} there"));
        }
        line("begin", "break main.main, continue, and back again: rev next, rewind");
        text.push_str("Ctrl-C ends it\n");
        text
    }
}
