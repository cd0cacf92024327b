//! `rr-patch explain`: how a recorded program ended, what it said last, who waits for whom, and who is to blame; or as
//! much of that as a core dump tells.

mod html;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{SECRETS, STORE, duration, say, store};
use crate::cause::explain::{ErrorLine, Explanation, Group, How, ShownFrame, Suspect, examine, examine_core};
use crate::doctor::Host;
use crate::error::{Error, Shown, plain};
use crate::sys::write::replace;
use crate::ui::document::{Document, Report};
use crate::ui::manners::{Mark, Meaning, begins_or_common};
use crate::words::count;

const EXAMPLES: &str = "\
Examples:
  rr-patch explain                              # the newest complete trace
  rr-patch explain aws --html aws.html
  rr-patch explain core.1234 --program ./controller";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Explain {
    /// A trace's name or path, a controller's name, or a core dump [default: the newest complete trace]
    #[arg(default_value = "", hide_default_value = true, value_name = "TRACE|CORE")]
    pub trace: String,

    /// The program that wrote the core dump [default: the one that the core dump names]
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,

    /// Look for at most so long [default: 20 s, and ten times what one replay takes]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub time: Option<Duration>,

    /// The folder with the traces [default: rr's own]
    #[arg(long, value_name = "DIR", help_heading = STORE)]
    pub trace_dir: Option<PathBuf>,

    /// Write one page of HTML that loads nothing into this file, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Show values that look like credentials, too
    #[arg(long, help_heading = SECRETS)]
    pub values: bool,
}

impl Document for Explanation {
    const SCHEMA: &'static str = "rr-patch/explain/1";

    fn marks(&self, line: &str) -> Vec<Mark> {
        let whole = line.len() - line.trim_start().len()..line.len();
        let well = matches!(self.end.how, How::Exit) && self.end.code == Some(0);
        let ended = if well { Meaning::Good } else { Meaning::Bad };
        let is_text = |error: &ErrorLine| line.trim_start() == plain(error.text.as_str());
        match line {
            "suspects" | "last error lines" | "goroutines at the end" => vec![(whole, Meaning::Head)],
            _ if line.starts_with('`') => vec![(whole, ended)],
            _ if line.starts_with("    ") && self.errors.iter().any(is_text) => vec![(whole, Meaning::Bad)],
            // `1. function  file:line`
            _ if line.starts_with("  ")
                && line.trim_start().starts_with(|c: char| c.is_ascii_digit())
                && line.contains(". ") =>
            {
                let end = line.find("  (").unwrap_or(line.len());
                vec![(whole.start..end, Meaning::Doubtful)]
            }
            _ => begins_or_common(line, &[("held by ", Meaning::Doubtful), ("note:", Meaning::Doubtful)]),
        }
    }
}

impl Explain {
    pub fn run(&self) -> Result<Report<Explanation>> {
        let store = store(self.trace_dir.as_deref());
        let host = Host::here();
        let file = Path::new(&self.trace);
        // Traces are folders.
        let explanation = if file.is_file() && (self.program.is_some() || store.find(&self.trace).is_err()) {
            examine_core(&host, file, self.program.as_deref(), self.values, &mut say)?
        } else if self.program.is_some() {
            return Err(Error::usage("`--program` names the program of a core dump")
                .detail(format!("looked at: `{}`, which is no file", file.shown()))
                .into());
        } else {
            examine(&host, &store.find(&self.trace)?, self.time, self.values, &mut say)?
        };
        let Some(explanation) = explanation else {
            return Err(Error::interrupted("interrupted: nothing was found out yet").into());
        };
        if let Some(file) = &self.html {
            let page = html::page(&explanation, &head(&explanation));
            replace(file, page.as_bytes(), 0o600)?;
            say(&format!("wrote `{}`", file.shown()));
        }
        Ok(Report::done(explanation))
    }
}

/// How the program ended, in a line.
fn head(Explanation { trace, end, .. }: &Explanation) -> String {
    let how = match end.how {
        How::Exit => "ended by itself",
        How::Panic => "panicked",
        How::Fatal => "was ended by a fatal error of Go's runtime",
        How::Signal => "was ended by a signal",
        How::Stopped => "was stopped from outside",
        How::Deadlock => "was ended by Go's runtime: every goroutine waited",
    };
    let code = end.code.map_or(String::new(), |code| format!(", exit status {code}"));
    let signal = end.signal.map_or(String::new(), |signal| format!(", signal {signal}"));
    format!("`{trace}` {how}{code}{signal}")
}

fn frames(f: &mut fmt::Formatter<'_>, stack: &[ShownFrame]) -> fmt::Result {
    for ShownFrame { function, file, line, variables } in stack.iter().take(24) {
        writeln!(f, "      {function}  {file}:{line}")?;
        variables.iter().try_for_each(|variable| writeln!(f, "          {variable}"))?;
    }
    Ok(())
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { end, suspects, errors, goroutines, limits, next, .. } = self;
        writeln!(f, "{}", head(self))?;
        end.message.iter().try_for_each(|message| writeln!(f, "  {message}"))?;
        writeln!(f, "\nsuspects")?;
        if suspects.is_empty() {
            writeln!(f, "  none was found")?;
        }
        for (number, suspect) in suspects.iter().enumerate() {
            let Suspect { kind, function, file, line, goroutine, why, evidence, command, .. } = suspect;
            writeln!(f, "  {}. {function}  {file}:{line}  ({kind}, goroutine {goroutine})", number + 1)?;
            writeln!(f, "     {why}")?;
            evidence.iter().try_for_each(|line| writeln!(f, "     {line}"))?;
            writeln!(f, "     `{command}`")?;
        }
        if !errors.is_empty() {
            writeln!(f, "\nlast error lines")?;
        }
        for line in errors {
            writeln!(
                f,
                "  event {}, {:.3} s, {}, goroutine {}",
                line.event,
                line.time,
                count(line.times, "time"),
                line.goroutine
            )?;
            writeln!(f, "    {}", line.text)?;
            frames(f, &line.stack)?;
        }
        writeln!(f, "\ngoroutines at the end")?;
        for Group { count: members, goroutines, waits, held_by, created, stack } in goroutines {
            let ids: Vec<String> = goroutines.iter().take(10).map(ToString::to_string).collect();
            writeln!(f, "  {} ({}): waits for {waits}", count(*members, "goroutine"), ids.join(", "))?;
            held_by.iter().try_for_each(|by| writeln!(f, "    held by {by}"))?;
            created.iter().try_for_each(|created| writeln!(f, "    created by {created}"))?;
            frames(f, stack)?;
        }
        limits.iter().try_for_each(|limit| writeln!(f, "\nnote: {limit}"))?;
        next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}
