//! `rr-patch replay`: open a trace in Delve, and lead an editor there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::{DELVE, EDITOR, STORE, say, store};
use crate::cause::place::{Known, Place, trace_with};
use crate::delve::client::Client;
use crate::delve::editor::{self, Configuration, LaunchMode, Moved, Session, SettingsEdit, configure, moved};
use crate::delve::{Listen, Ready, ReplayPlan, Served, prepare};
use crate::doctor::Host;
use crate::error::{Error, Exit, Shown};
use crate::patch::checkout::Checkout;
use crate::rr::bundle::{self, Unpacking};
use crate::rr::trace::{Store, Trace};
use crate::ui::document::{Format, Ui};
use crate::ui::replay::{Opened, Told};
use crate::words::{count, quoted};

const EXAMPLES: &str = "\
Examples:
  rr-patch replay aws                           # the newest trace of that controller
  rr-patch replay aws --terminal                # debug here, and listen nowhere
  rr-patch replay aws --editor vscode           # or goland, nvim, zed
  rr-patch replay aws --at \"Reconciler error\"   # where that line was written
  rr-patch replay aws.tar.zst.age --identity key.txt";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Replay {
    /// A trace's name or path, a packed one's file, or a controller's name [default: the newest complete trace]
    #[arg(default_value = "", hide_default_value = true)]
    pub trace: String,

    /// The folder with the traces [default: rr's own]
    #[arg(long, value_name = "DIR", help_heading = STORE)]
    pub trace_dir: Option<PathBuf>,

    /// The file with the age key, if the packed trace is encrypted
    #[arg(long, value_name = "FILE", help_heading = STORE)]
    pub identity: Option<PathBuf>,

    /// Listen at this port of the host's own interface; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = 2345, help_heading = DELVE)]
    pub port: u16,

    /// Listen at another address; whoever reaches it can run programs as you
    #[arg(long, value_name = "HOST:PORT", value_parser = Listen::parse, conflicts_with = "port", help_heading = DELVE)]
    pub listen: Option<Listen>,

    /// Debug on this terminal, and listen nowhere
    #[arg(long, conflicts_with_all = ["port", "listen", "editor"], help_heading = DELVE)]
    pub terminal: bool,

    /// Write a configuration for this editor, or merge it with those that there are
    #[arg(long, value_enum, value_name = "EDITOR", help_heading = EDITOR)]
    pub editor: Option<Editor>,

    /// The folder that is open in the editor [default: the checkout around the current folder, or that folder]
    #[arg(long, value_name = "DIR", requires = "editor", help_heading = EDITOR)]
    pub editor_dir: Option<PathBuf>,

    /// Start Delve here and let the editor attach, rather than start Delve itself; GoLand always attaches
    #[arg(long, requires = "editor", help_heading = EDITOR)]
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
}

impl Replay {
    /// Prints what is opened as soon as it is.
    pub fn run(&self, ui: Ui) -> Result<Exit> {
        if self.terminal && ui.format == Format::Json {
            return Err(Error::usage("`--terminal` has no JSON form: Delve writes to the terminal itself").into());
        }
        let (host, store) = (Host::here(), store(self.trace_dir.as_deref()));
        let mut trace = match &self.at {
            Some(Place::Text(text)) if self.trace.is_empty() => trace_with(&store, &host, text, &mut say)?,
            _ => self.trace(&store)?,
        };
        trace.path = trace.path.canonicalize().with_context(|| format!("cannot read `{}`", trace.path.shown()))?;
        let opening = prepare(&host, &trace)?;
        for warning in &opening.warnings {
            say(&format!("warning: {warning}"));
        }
        let at = self.at.as_ref().map(|place| place.find(&host, &trace, &mut say)).transpose()?;
        if self.terminal {
            return self.on_the_terminal(&opening, &trace, at.as_ref(), ui);
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
                    true => LaunchMode::Attach { host: "127.0.0.1".into(), port: listen.port() },
                    false => LaunchMode::Replay { trace: trace.path.clone(), rr_flags: opening.rr_flags.clone() },
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
        let talk =
            ReplayReport { again: quoted(&again), trace: &trace, opening: &opening, moved, listen, configuration, at };
        match (self.print, attach) {
            (true, _) => {
                let listen = attach.then(|| listen.to_string());
                ui.print(&talk.opened(listen.as_deref()).telling(Told::Printed { listen }))?;
            }
            (false, false) => ui.print(&talk.opened(None).written(talk.write()?).telling(Told::LeftToTheEditor))?,
            (false, true) => talk.serve(ui)?,
        }
        Ok(Exit::Done)
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

    fn on_the_terminal(&self, opening: &ReplayPlan, trace: &Trace, at: Option<&Known>, ui: Ui) -> Result<Exit> {
        if self.print {
            ui.print(&Opened::new(trace, opening, None, None, None))?;
            return Ok(Exit::Done);
        }
        say(&format!(
            "`{}`: `continue` runs, `rev next` goes back, `rewind` to the start, `exit` leaves; \
             `[rr PID EVENT]` stands before what the program printed when it was recorded",
            trace.name
        ));
        opening.interact(&at.map_or_else(Vec::new, Known::commands))?;
        Ok(Exit::Done)
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

/// Everything there is to say about one opening.
struct ReplayReport<'a> {
    trace: &'a Trace,
    /// The trace as an argument.
    again: String,
    opening: &'a ReplayPlan,
    moved: Option<Moved>,
    listen: Listen,
    configuration: Option<(Editor, Configuration)>,
    /// Where Delve is to stand.
    at: Option<Known>,
}

impl ReplayReport<'_> {
    /// What is opened, by a Delve that is to `listen` there.
    fn opened(&self, listen: Option<&str>) -> Opened {
        let configuration = self.configuration.as_ref().map(|(_, configuration)| configuration);
        Opened::new(self.trace, self.opening, self.moved.as_ref(), configuration, listen)
    }

    /// Writes the configuration, if an editor was named.
    fn write(&self) -> Result<Option<(editor::Editor, SettingsEdit)>> {
        let write = |(editor, configuration): &(Editor, Configuration)| Ok((editor.kind(), configuration.write()?));
        self.configuration.as_ref().map(write).transpose()
    }

    fn serve(&self, ui: Ui) -> Result<()> {
        self.listen.check()?;
        let written = self.write()?;
        say(&format!("opening `{}` in Delve {}", self.trace.name, self.opening.delve.version));
        let mut ready = |ready: &Ready| {
            let at = match &self.at {
                None => None,
                Some(known) => Some(known.stand(&mut Client::connect(&ready.address)?)?),
            };
            let opened = self.opened(Some(&ready.address)).written(written).standing(at.as_ref());
            Ok(ui.print(&opened.listening(ready, &self.again, self.tunnel()))?)
        };
        let served = self.opening.serve(&self.listen, &mut ready, &mut |line| say(&format!("delve: {line}")))?;
        say(match served {
            Served::Stopped => "Delve has ended, and its rr with it",
            Served::ByClient => "a client has ended Delve",
        });
        Ok(())
    }

    /// The name of this host, where a client elsewhere needs a tunnel.
    fn tunnel(&self) -> Option<String> {
        let name = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let host = self.listen.is_loopback().then(name)?;
        Some(if host.is_empty() { "HOST".into() } else { host })
    }
}
