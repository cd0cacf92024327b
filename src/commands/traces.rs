//! `rr-patch traces`: list, show, prune, pack and unpack what rr has recorded.

mod diff;
mod log;
mod visits;

use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::{SECRETS, STORE, duration, store};
use crate::error::{Error, Exit, Shown, plain};
use crate::rr::bundle::{self, LEVELS, Packing, Unpacking};
use crate::rr::trace::{Store, Trace};
use crate::ui;
use crate::ui::bundle::{Packed, Unpacked};
use crate::ui::document::{Report, Ui};
use crate::ui::progress::Bytes;
use crate::ui::traces::Pruned;
use crate::words::quoted;

pub use diff::{DiffLogs, LogsCompared};
pub use log::{LogLine, ShowLog};
pub use visits::{CallsFound, ShowCalls, ShowWrites, WritesFound};

const EXAMPLES: &str = "\
Examples:
  rr-patch traces                               # list them
  rr-patch traces show aws                      # the newest trace of that controller
  rr-patch traces log aws --level error         # red lines, each with its event
  rr-patch traces pack aws -o aws.tar.zst.age --recipient age1KEY";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub struct Traces {
    #[command(subcommand)]
    pub command: Option<What>,

    /// The folder with the traces [default: rr's own]
    #[arg(long, value_name = "DIR", global = true, help_heading = STORE)]
    pub trace_dir: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// List the traces, the newest first; this is what `traces` alone does
    #[command(
        after_help = "Examples:\n  rr-patch traces list\n  rr-patch traces list --trace-dir traces --format json"
    )]
    List,
    /// Say all that is known of one trace, and what to type next
    Show(Show),
    /// Show what a recorded program wrote, each line with its event, time and level
    Log(ShowLog),
    /// Show where the logs of a good and a bad run part, and go there
    Diff(DiffLogs),
    /// Show who wrote some memory, the newest write first
    Writes(ShowWrites),
    /// Show every call of a function with its arguments and results
    Calls(ShowCalls),
    /// Remove traces that cannot be replayed, or those that are named
    Prune(Prune),
    /// Pack complete traces, with all that a replay and a debugger need, into one file for another host
    Pack(Pack),
    /// Verify what `pack` wrote, and put it into the trace folder
    Unpack(Unpack),
}

const SHOW_EXAMPLES: &str = "\
Examples:
  rr-patch traces show aws
  rr-patch traces show ~/.local/share/rr/openshift-install-0";

#[derive(Args, Debug)]
#[command(after_help = SHOW_EXAMPLES)]
pub struct Show {
    /// A trace's name or path, or a controller's name [default: the newest complete one]
    #[arg(default_value = "", hide_default_value = true)]
    pub trace: String,
}

const PRUNE_EXAMPLES: &str = "\
Examples:
  rr-patch traces prune                         # dead and junk ones; it asks
  rr-patch traces prune --keep 3 --older-than 7d --dry-run
  rr-patch traces prune --yes";

#[derive(Args, Debug)]
#[command(after_help = PRUNE_EXAMPLES)]
pub struct Prune {
    /// Remove these traces [default: all that are dead or junk]
    #[arg(value_name = "TRACE")]
    pub traces: Vec<String>,

    /// Remove complete traces too, but the newest N of each controller
    #[arg(long, value_name = "N", conflicts_with = "traces")]
    pub keep: Option<usize>,

    /// Of those, remove only what was started longer ago, like `90m`, `12h` or `7d`
    #[arg(long, value_name = "AGE", value_parser = duration, conflicts_with = "traces")]
    pub older_than: Option<Duration>,

    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

const PACK_EXAMPLES: &str = "\
Examples:
  rr-patch traces pack aws -o aws.tar.zst
  rr-patch traces pack aws vsphere -o both.tar.zst.age --recipient age1KEY";

#[derive(Args, Debug)]
#[command(after_help = PACK_EXAMPLES)]
pub struct Pack {
    /// Traces by name or path, or controllers: of each the newest complete trace
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<String>,

    /// The file to write, like `aws.tar.zst`; an earlier one is replaced
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Encrypt it for the holder of this age key, `age1…` (repeatable)
    #[arg(long, value_name = "KEY", help_heading = SECRETS)]
    pub recipient: Vec<String>,

    /// How hard to compress: 1 is fast, 18 is small
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = level)]
    pub level: i32,
}

const UNPACK_EXAMPLES: &str = "\
Examples:
  rr-patch traces unpack aws.tar.zst
  rr-patch traces unpack aws.tar.zst.age --identity key.txt -C traces";

#[derive(Args, Debug)]
#[command(after_help = UNPACK_EXAMPLES)]
pub struct Unpack {
    /// What `pack` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Unpack into a folder below DIR [default: the trace folder]
    #[arg(long, short = 'C', value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// The name of that folder [default: the file's, without its ending]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The file with the age key, if it is encrypted
    #[arg(long, value_name = "FILE", help_heading = SECRETS)]
    pub identity: Option<PathBuf>,
}

fn level(text: &str) -> Result<i32, String> {
    let (least, most) = (LEVELS.start(), LEVELS.end());
    let level = text.parse().ok().filter(|level| LEVELS.contains(level));
    level.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

impl Traces {
    /// Prints the result of the subcommand.
    pub fn run(&self, ui: Ui) -> Result<Exit> {
        let store = store(self.trace_dir.as_deref());
        match &self.command {
            None | Some(What::List) => ui.show(&Report::done(ui::traces::Traces::of(&store, &store.look()?))),
            Some(What::Show(show)) => {
                ui.show(&Report::done(ui::trace::Trace::of(&store.find(&show.trace)?, &self.option())))
            }
            Some(What::Log(log)) => log.run(&store, ui).map(|()| Exit::Done),
            Some(What::Diff(diff)) => ui.show(&diff.run(&store)?),
            Some(What::Writes(writes)) => ui.show(&writes.run(&store)?),
            Some(What::Calls(calls)) => ui.show(&calls.run(&store)?),
            Some(What::Prune(prune)) => ui.show(&prune.run(&store)?),
            Some(What::Pack(pack)) => ui.show(&pack.run(&store)?),
            Some(What::Unpack(unpack)) => ui.show(&unpack.run(&store, &self.option())?),
        }
    }

    /// `--trace-dir` as it was given, for a command that is to find the same traces.
    fn option(&self) -> String {
        self.trace_dir
            .as_ref()
            .map_or_else(String::new, |folder| format!(" --trace-dir {}", quoted(&folder.to_string_lossy())))
    }
}

impl Prune {
    fn run(&self, store: &Store) -> Result<Report<Pruned>> {
        let (chosen, live) = match self.traces.is_empty() {
            true => store.removable(self.keep, self.older_than)?,
            false => (store.to_be_removed(&self.traces)?, Vec::new()),
        };
        let pruned = Pruned::chosen(store, &chosen, &live);
        if self.dry_run {
            return Ok(Report::done(pruned));
        }
        if !chosen.is_empty() && !self.yes {
            confirm(&pruned.about(None), &format!("remove {}?", pruned.amount()))?;
        }
        store.sweep()?;
        Ok(pruned.removed(chosen.iter().map(|trace| (trace.name.clone(), trace.remove())).collect()))
    }
}

/// Asks on a terminal; elsewhere nobody could answer.
fn confirm(about: &str, question: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Error::refused(format!("cannot ask without a terminal: {question}"))
            .detail(about)
            .hint("--yes removes them without asking; --dry-run only says which")
            .into());
    }
    let mut stderr = io::stderr();
    write!(stderr, "{}\n{} [y/N] ", plain(about), plain(question))
        .and_then(|()| stderr.flush())
        .context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::refused("not confirmed").into()),
    }
}

impl Pack {
    fn run(&self, store: &Store) -> Result<Report<Packed>> {
        let mut traces: Vec<Trace> = Vec::new();
        for name in &self.traces {
            let trace = store.find(name)?;
            if traces.iter().all(|known| known.path != trace.path) {
                traces.push(trace);
            }
        }
        let progress = Bytes::new()?;
        let mut show = |done, all| progress.show(done, all);
        let packing = Packing { level: self.level, recipients: &self.recipient, progress: &mut show };
        let packed = bundle::pack(&traces, &self.output, packing);
        let outcome = format!("`{}` was not written; the traces are as they were", self.output.shown());
        let head = progress.end(packed, &outcome)?;
        let size = self.output.metadata().map(|seen| seen.len()).unwrap_or_default();
        Ok(Report::done(Packed::new(&self.output, size, !self.recipient.is_empty(), head)))
    }
}

impl Unpack {
    fn run(&self, store: &Store, option: &str) -> Result<Report<Unpacked>> {
        let progress = Bytes::new()?;
        let mut show = |done, all| progress.show(done, all);
        let folder = self.directory.as_deref().unwrap_or(store.root());
        let unpacking =
            Unpacking { folder, name: self.name.as_deref(), identity: self.identity.as_deref(), progress: &mut show };
        let unpacked = bundle::unpack(&self.file, unpacking);
        let outcome = format!("nothing of `{}` is left in `{}`", self.file.shown(), folder.shown());
        let unpacked = progress.end(unpacked, &outcome)?;
        Ok(Report::done(Unpacked::new(unpacked, self.directory.is_some(), option)))
    }
}
