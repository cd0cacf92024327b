//! `rr-patch traces log`: what a recorded program wrote, each line with its event.

use std::fmt;
use std::io::{self, IsTerminal, Write as _};

use anyhow::Result;
use clap::Args;
use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cause::credentials;
use crate::commands::{SECRETS, say};
use crate::doctor::Host;
use crate::error::{Error, plain};
use crate::rr::log::{Form, Level, Line, Log, understand};
use crate::rr::trace::Store;
use crate::sys::process::{Stream, page};
use crate::ui::document::{Document, Format, Ui};
use crate::ui::manners::{Meaning, colours_on_stdout, columns, paint_hanging};

const EXAMPLES: &str = "\
Examples:
  rr-patch traces log aws --level error
  rr-patch traces log aws --grep \"machine.*not found\" --format json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ShowLog {
    /// A trace's name or path, or a controller's name [default: the newest complete one]
    #[arg(default_value = "", hide_default_value = true)]
    pub trace: String,

    /// Show only lines that this regular expression fits
    #[arg(long, value_name = "RE", value_parser = Regex::new)]
    pub grep: Option<Regex>,

    /// Show only lines of this level and above: debug, info, warning, error, fatal
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub level: Option<Level>,

    /// Show values that look like credentials, too
    #[arg(long, help_heading = SECRETS)]
    pub values: bool,
}

fn level(text: &str) -> Result<Level, String> {
    Level::of(text).ok_or_else(|| "expected debug, info, warning, error or fatal".into())
}

/// Whether lines of so many columns have room for the times, too.
fn has_room_for_times(columns: Option<usize>) -> bool {
    columns.is_none_or(|columns| columns >= 72)
}

/// One line that a recorded program wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LogLine {
    /// The event of the write that began it: `replay --at EVENT` goes there.
    event: u64,
    /// Seconds since the recording began.
    time: f64,
    /// As far as the line says; `fatal` ended the program.
    level: Option<Level>,
    /// The line as it was written, without its end.
    text: String,
    /// What it says, without time, level and pairs.
    message: Option<String>,
    /// The object that it is about, like `namespace/name`.
    object: Option<String>,
    /// The controller that it names.
    controller: Option<String>,
    /// The error that it reports.
    error: Option<String>,
    /// The source line that it names, `file:line`.
    source: Option<String>,
    /// The time that stands in it.
    stamp: Option<String>,
    /// The form that was recognised.
    form: Form,
    /// Standard output or standard error.
    stream: Stream,
    /// The process that wrote it.
    pid: i32,
}

impl Document for LogLine {
    const SCHEMA: &'static str = "rr-patch/log-line/1";
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.map_or("", Level::word);
        write!(f, "{:>8}  ", self.event)?;
        if has_room_for_times(f.width()) {
            write!(f, "{:>9.3}  ", self.time)?;
        }
        write!(f, "{level:<7}  {}", self.text)
    }
}

impl LogLine {
    fn of(line: &Line, values: bool) -> Self {
        let shown = |text: String| if values { text } else { credentials::cut(&text).into_owned() };
        let said = understand(&line.text);
        Self {
            event: line.event,
            time: (line.time * 1e6).round() / 1e6,
            level: said.level,
            text: shown(line.text.clone()),
            message: said.message.map(shown),
            object: said.object.map(shown),
            controller: said.controller,
            error: said.error.map(shown),
            source: said.source,
            stamp: said.stamp,
            form: said.form,
            stream: line.stream,
            pid: line.pid,
        }
    }

    /// What the line means; an ordinary one nothing.
    fn meaning(&self) -> Option<Meaning> {
        match self.level? {
            Level::Fatal | Level::Error => Some(Meaning::Bad),
            Level::Warning => Some(Meaning::Doubtful),
            Level::Debug => Some(Meaning::Faint),
            Level::Info => None,
        }
    }
}

/// The lines under a head. On a terminal of so many columns they are broken between words, and a narrow one goes without
/// the times.
fn table(lines: impl Iterator<Item = LogLine>, columns: Option<usize>, colours: bool) -> String {
    let time = if has_room_for_times(columns) { format!("{:>9}  ", "time") } else { String::new() };
    let head = format!("{:>8}  {time}{:<7}  ", "event", "level");
    let put = |line: &str, meaning: Option<Meaning>| {
        let whole = |line: &str| meaning.map(|meaning| (0..line.len(), meaning)).into_iter().collect();
        paint_hanging(&format!("{line}\n"), columns, Some(head.len()), colours, whole)
    };
    let mut text = put(&format!("{head}text"), Some(Meaning::Head));
    for line in lines {
        let shown = match columns {
            Some(columns) => format!("{line:columns$}"),
            None => line.to_string(),
        };
        text.push_str(&put(&plain(&shown), line.meaning()));
    }
    text
}

impl ShowLog {
    /// Prints the lines: text for people, through a pager on a terminal, or a document of JSON for each line.
    pub fn run(&self, store: &Store, ui: Ui) -> Result<()> {
        let trace = store.find(&self.trace)?;
        let log = Log::of(&Host::here(), &trace, &mut say)?;
        if let Some(why) = &log.not_kept {
            say(&format!("warning: the lines were not kept for the next time: {why}"));
        }
        let wanted = |line: &&Line| {
            self.grep.as_ref().is_none_or(|grep| grep.is_match(&line.text))
                && self.level.is_none_or(|least| understand(&line.text).level >= Some(least))
        };
        let lines = log.lines.iter().filter(wanted).map(|line| LogLine::of(line, self.values));
        if ui.format == Format::Json {
            return Ok(ui.print_lines(lines)?);
        }
        if log.lines.is_empty() {
            say(&format!("`{}` wrote nothing", trace.name));
        }
        let text = table(lines, columns(), colours_on_stdout());
        if io::stdout().is_terminal() && page(&text)? {
            return Ok(());
        }
        match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::failed(format!("cannot write to standard output: {error}")).into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_their_text_and_narrow_terminals_get_no_times() {
        let text = "E1124 10:00:00.000000       1 main.go:44] \"cluster is not provisioned\" phase=0";
        let line = Line { event: 554, time: 2.302, stream: Stream::Error, pid: 1, text: text.into() };
        let shown = |columns| table([LogLine::of(&line, false)].into_iter(), columns, false);
        assert_eq!(shown(None), format!("   event       time  level    text\n     554      2.302  error    {text}\n"));
        assert_eq!(
            shown(Some(80)),
            "   event       time  level    text
     554      2.302  error    E1124 10:00:00.000000       1 main.go:44] \"cluster
                              is not provisioned\" phase=0\n"
        );
        assert_eq!(
            shown(Some(60)),
            "   event  level    text
     554  error    E1124 10:00:00.000000       1 main.go:44]
                   \"cluster is not provisioned\" phase=0\n"
        );
    }
}
