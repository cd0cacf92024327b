//! `rr-patch doctor`: whether this machine can record and replay, and the commands where it cannot.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::binary::{Facts, Installer, first_bytes};
use crate::doctor::{Concerns, Finding, Host, Level, Program, Question, SMOKE_TEST, examine};
use crate::error::{Error, Shown};
use crate::ui::report::Loose;
use crate::words::count;

#[derive(Args, Debug)]
pub struct Doctor {
    /// Controllers, folders of them, or an installer that embeds them: can they be debugged?
    #[arg(value_name = "PROGRAM")]
    pub programs: Vec<PathBuf>,

    /// Use this recorder, rather than what RR_PATCH_RECORD or PATH leads to
    #[arg(long, value_name = "PATH")]
    pub rr: Option<String>,

    /// The folder that openshift-install gets by its own --dir [default: the current folder]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Record and replay nothing: only look
    #[arg(long)]
    pub quick: bool,

    /// Show the commands that mend what is not in order, ask, run them, and look again
    #[arg(long)]
    pub fix: bool,

    /// Run the commands without asking
    #[arg(long, requires = "fix")]
    pub yes: bool,
}

impl Doctor {
    pub fn run(&self) -> Result<Loose> {
        self.visit(&Host::here())
    }

    /// The same, for any host.
    pub fn visit(&self, host: &Host) -> Result<Loose> {
        let programs = self.programs.iter().map(|path| programs(path)).collect::<Result<Vec<_>>>()?.concat();
        let question = Question { rr: self.rr.clone(), install_dir: self.dir.clone(), programs, ..Question::default() };
        let findings = examine(host, &question, !self.quick);
        let commands = commands(&findings);
        let last = match commands.len() {
            0 if self.fix => "there is nothing here that a command mends\n",
            0 => "",
            _ => "`rr-patch doctor --fix` runs the commands marked with $\n",
        };
        if !self.fix || commands.is_empty() || !self.agreed(&commands)? {
            return Ok(report(&findings, &[], last));
        }
        let ends = run(host, &commands)?;
        Ok(report(&examine(host, &question, !self.quick), &ends, ""))
    }

    fn agreed(&self, commands: &[&str]) -> Result<bool> {
        eprintln!("{} would be run:", count(commands.len(), "command"));
        commands.iter().for_each(|command| eprintln!("  {command}"));
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            return Err(Error::usage(
                "`doctor --fix` asks before it runs anything, and there is no terminal to ask at",
            )
            .hint("`--yes` runs the commands without asking; without `--fix` they are only shown")
            .into());
        }
        eprint!("run them? [y/N] ");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }
}

/// The program, those of a folder, or the controllers that an installer embeds.
fn programs(path: &Path) -> Result<Vec<Program>> {
    if path.is_dir() {
        let entries = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
        let mut files = entries.with_context(|| format!("cannot read `{}`", path.shown()))?;
        files.retain(|file| file.is_file() && first_bytes(file).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")));
        files.sort();
        if files.is_empty() {
            return Err(Error::failed(format!("`{}` holds no programs", path.shown()))
                .hint("an installer's controllers are in cluster-api/bin/<os>_<architecture>")
                .into());
        }
        return Ok(files.iter().map(|file| programs(file)).collect::<Result<Vec<_>>>()?.concat());
    }
    let installer = Installer::read(path)?;
    let of = |name: &str, facts: Facts| Program { name: name.to_owned(), file: path.to_owned(), facts };
    let controllers = installer.entries.iter().filter(|entry| entry.controller());
    let embedded: Vec<Program> =
        controllers.filter_map(|entry| Some(of(&entry.name, entry.facts()?.clone()))).collect();
    if embedded.is_empty() {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        return Ok(vec![of(&name, installer.facts)]);
    }
    Ok(embedded)
}

/// The commands of all findings, each once, in their order.
fn commands(findings: &[Finding]) -> Vec<&str> {
    findings.iter().flat_map(|finding| &finding.fix).fold(Vec::new(), |mut all, command| {
        if !all.contains(&command.as_str()) {
            all.push(command);
        }
        all
    })
}

/// Runs them all: one that fails leaves the others their chance, and the second look tells.
fn run(host: &Host, commands: &[&str]) -> Result<Vec<(String, String)>> {
    let mut ends = Vec::new();
    for command in commands {
        eprintln!("+ {command}");
        let end = host.attend(command)?;
        if !end.success() {
            eprintln!("  ended with {end}");
        }
        ends.push(((*command).to_owned(), end.to_string()));
    }
    Ok(ends)
}

fn report(findings: &[Finding], ran: &[(String, String)], last: &str) -> Loose {
    let width = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    let mut told: Vec<&str> = Vec::new();
    for Finding { what, looked, needed, found, level, fix, advice, .. } in findings {
        let word = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Trouble => "NOT OK",
            Level::Skipped => "skipped",
        };
        let needs = if needed.is_empty() { String::new() } else { format!(" (needs {needed})") };
        let _ = writeln!(text, "{word:7}  {what:width$}  {found}{needs}");
        if *level == Level::Ok {
            continue;
        }
        let _ = writeln!(text, "{:9}looked at: {looked}", "");
        // Two findings can ask for the same; it is said once.
        for line in advice.iter().filter(|line| !told.contains(&line.as_str())) {
            let _ = writeln!(text, "{:9}{line}", "");
        }
        told.extend(advice.iter().map(String::as_str));
        for command in fix {
            let _ = writeln!(text, "{:9}$ {command}", "");
        }
    }
    let number = |wanted| findings.iter().filter(|finding| finding.level == wanted).count();
    let (trouble, warnings, skipped) = (number(Level::Trouble), number(Level::Warning), number(Level::Skipped));
    // Where even the smoke test could not be made, nothing shows that it works.
    let proven = findings.iter().all(|finding| finding.what != SMOKE_TEST || finding.level != Level::Skipped);
    let free_of = |concerned: fn(Concerns) -> bool| {
        !findings.iter().any(|finding| finding.level == Level::Trouble && concerned(finding.concerns))
    };
    let (records, replays) = (proven && free_of(Concerns::recording), proven && free_of(Concerns::replaying));
    let ready = records && replays;
    let word = match (records, replays, trouble, skipped) {
        (true, true, _, 0) => "ready",
        (true, true, ..) => "ready, as far as could be looked at",
        (false, false, 0, _) => "not shown to be ready",
        (true, false, ..) => "ready to record, and not to replay",
        (false, true, ..) => "ready to replay, and not to record",
        (false, false, ..) => "not ready",
    };
    let _ = write!(text, "\n{word}: {}", count(findings.len(), "check"));
    for (number, what) in [(trouble, "not ok"), (warnings, "with a warning"), (skipped, "skipped")] {
        if number > 0 {
            let _ = write!(text, ", {number} {what}");
        }
    }
    text.push('\n');
    text.push_str(last);
    let ran: Vec<_> = ran.iter().map(|(command, end)| json!({ "command": command, "end": end })).collect();
    let data = json!({ "ready": ready, "records": records, "replays": replays, "findings": findings, "ran": ran });
    let report = Loose::new("rr-patch/doctor/1", text, data);
    if ready { report } else { report.found() }
}
