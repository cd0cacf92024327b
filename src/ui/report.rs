//! Results as text or as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::document::{Format, Ui};
use crate::error::{Exit, Shown, is_active, plain_bytes};
use crate::patch::checkout::{Checkout, Content, short};
use crate::patch::journal::{About, Journal, Seen, State};
use crate::patch::plan::{How, Plan};
use crate::patch::rules::{CHANGES, Options};
use crate::patch::unified::Label;

/// What a command has to say.
#[derive(Debug)]
pub struct Loose {
    /// For people. Bytes, since a diff carries the bytes of the files.
    pub text: Vec<u8>,
    /// For programs. [`Loose::print`] adds `schema`.
    pub data: Value,
    /// The `schema` of `data`: its name and version.
    pub schema: &'static str,
    /// [`Exit::Done`], or [`Exit::Found`] where something is not in order.
    pub exit: Exit,
    /// Whether the text is printed to the byte.
    pub exact: bool,
}

impl Loose {
    pub fn new(schema: &'static str, text: impl Into<Vec<u8>>, data: Value) -> Self {
        Self { text: text.into(), data, schema, exit: Exit::Done, exact: false }
    }

    /// Nothing more: what there was to say was printed when it was known.
    pub fn said() -> Self {
        Self::new("", Vec::new(), Value::Null)
    }

    /// The same, where something was found that is not in order.
    pub fn found(self) -> Self {
        Self { exit: Exit::Found, ..self }
    }

    /// The same, printed to the byte: for text that is a file, or that is escaped already.
    pub fn exact(self) -> Self {
        Self { exact: true, ..self }
    }

    /// Writes it, with what a terminal would act on escaped: names of files and folders, and what other programs say,
    /// are in it. A reader that has gone away is no failure.
    pub fn print(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let written = match format {
            Format::Text if self.exact => out.write_all(&self.text),
            Format::Text => out.write_all(plain_bytes(&self.text).as_bytes()),
            Format::Json if self.data.is_null() => Ok(()),
            Format::Json => {
                let mut document = json!({ "schema": self.schema });
                if let (Some(all), Value::Object(data)) = (document.as_object_mut(), &self.data) {
                    all.extend(data.clone());
                }
                // Line ends stand between the values, never in them.
                let escape = |c: char| match is_active(c) && c != '\n' {
                    true => format!("\\u{:04x}", u32::from(c)),
                    false => c.into(),
                };
                writeln!(out, "{}", format!("{document:#}").chars().map(escape).collect::<String>())
            }
        };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

impl Ui {
    pub fn loose(&self, report: &Loose) -> anyhow::Result<Exit> {
        report.print(self.format, &mut io::stdout())?;
        Ok(report.exit)
    }
}

/// How a plan came about, in a few words.
pub fn by(how: &How, plan: &Plan) -> String {
    match how {
        How::Structural { .. } => format!("shape {}", plan.shape),
        How::Classic { .. } => format!("with {}", plan.shape),
    }
}

/// The same for programs.
pub fn add_how(data: &mut Value, how: &How, plan: &Plan) {
    match how {
        How::Structural { options } => (data["shape"], data["options"]) = (json!(plan.shape), json!(options)),
        How::Classic { patches } => data["patches"] = json!(patches),
    }
}

/// The names of a plan's changes and what each does: those of the rules, or a patch's hunks.
fn named(plan: &Plan) -> Vec<(&str, &'static str)> {
    let known = |change: &str| CHANGES.iter().find(|(name, _)| *name == change);
    let mut named: Vec<(&str, &str)> = Vec::new();
    for site in &plan.sites {
        if !named.iter().any(|(name, _)| *name == site.change) {
            named.push(known(&site.change).map_or((&site.change, "its hunks"), |known| *known));
        }
    }
    named
}

/// How wide a column of their names is.
fn width(plan: &Plan) -> usize {
    plan.sites.iter().map(|site| site.change.chars().count()).max().unwrap_or_default().max(16)
}

/// The places of all changes, a line each, under the name of the change.
pub fn sites(plan: &Plan) -> String {
    let mut text = String::new();
    let width = width(plan);
    for (change, does) in named(plan) {
        let _ = writeln!(text, "  {change:<width$} {does}");
        for site in plan.sites.iter().filter(|site| site.change == change) {
            let _ = writeln!(text, "  {:<width$}   {}:{}", "", site.path, site.line);
        }
    }
    text
}

/// The changes with their places, for programs.
pub fn changes(plan: &Plan) -> Value {
    let of = |change: &str| {
        plan.sites.iter().filter(|s| s.change == change).map(|s| json!({"path": s.path, "line": s.line})).collect()
    };
    named(plan).into_iter().map(|(change, _)| json!({ "change": change, "sites": Value::Array(of(change)) })).collect()
}

/// The options as the command line that gives them; nothing for the defaults.
pub fn options(options: &Options) -> String {
    let standard = Options::default();
    let value = |v: Value| v.as_str().unwrap_or_default().to_owned();
    let mut words = Vec::new();
    if options.controllers != standard.controllers {
        words.push(format!("--controllers {}", options.controllers.join(",")));
    }
    words.extend(options.rr.iter().map(|rr| format!("--rr {rr}")));
    words.extend(options.rr_args.iter().map(|arg| format!("--rr-arg={arg}")));
    if options.bind_to_cpu != standard.bind_to_cpu {
        words.push(format!("--bind-to-cpu {}", options.bind_to_cpu.map_or("none".into(), |cpu| cpu.to_string())));
    }
    if options.avx512 != standard.avx512 {
        words.push(format!("--avx512 {}", value(json!(options.avx512))));
    }
    if options.signal != standard.signal {
        words.push(format!("--signal {}", value(json!(options.signal))));
    }
    words.extend(options.rules.iter().map(|digest| format!("--rules {digest}")));
    words.join(" ")
}

/// Originals that no journal holds: the commit that has them, and the files in which edits lie beside the
/// changes.
pub type Originals<'a> = (&'a str, &'a [String]);

/// The lines of a status: which changes are in place, and what was edited since.
pub fn status(checkout: &Checkout, journal: &Journal, seen: &[Seen], found: Option<Originals>) -> Loose {
    let About { tool, base, how, commit } = &journal.about;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "by:      rr-patch {tool}{}",
        base.as_ref().map_or(String::new(), |base| format!(" on {}", short(base)))
    );
    if let Some((commit, _)) = found {
        let _ = writeln!(text, "known:   by its sources; `{}` has the originals", short(commit));
    }
    if let Some(commit) = commit {
        let gone = if checkout.is_at(commit) { "" } else { ", which is not what is checked out" };
        let _ = writeln!(text, "commit:  {}{gone}", short(&commit.id));
    }
    match how {
        How::Structural { options } => text.push_str(&recording(options)),
        How::Classic { patches } => {
            for Label { name, hash } in patches {
                let _ = writeln!(text, "patch:   {name}, git blob {}", short(hash));
            }
        }
    }
    text.push('\n');

    let (lines, changes, state) = in_place(&journal.plan, seen);
    text.push_str(&lines);

    let mut files = Vec::new();
    let mut notes = String::new();
    for Seen { rewrite, current, state } in seen {
        let word = match state {
            State::Patched => "patched",
            State::Original => "original",
            State::Edited => "edited",
            State::CutOff => "cut off",
            State::Missing => "missing",
        };
        let mode = |content: &Option<Content>| content.as_ref().map(|content| content.mode);
        let note = match state {
            State::Patched if mode(current) != mode(&rewrite.after) => {
                Some("has another mode than apply left it with: `rr-patch revert` brings the original one back")
            }
            State::Patched => None,
            State::Original if rewrite.before.is_none() => Some("was removed since: `rr-patch apply` adds it again"),
            State::Original => Some("has its original bytes: `rr-patch apply` patches it again"),
            State::Edited => Some("was edited since apply: `rr-patch revert` keeps such edits"),
            State::CutOff => Some("is cut off: `rr-patch apply` or `rr-patch revert` makes it whole"),
            State::Missing => Some("was deleted since apply"),
        };
        if let Some(note) = note {
            let _ = writeln!(notes, "  {} {note}", rewrite.path);
        }
        files.push(json!({ "path": rewrite.path, "state": word, "added": rewrite.before.is_none() }));
    }
    for path in found.iter().flat_map(|(_, merged)| merged.iter()) {
        let _ = writeln!(notes, "  {path} was edited beside the changes: `rr-patch revert` keeps such edits");
    }
    if notes.is_empty() {
        text.push_str("\nnothing was edited since\n");
    } else {
        let _ = write!(text, "\nsince then:\n{notes}");
    }
    let text = format!("{state}: `{}`, {}\n{text}", checkout.root().shown(), by(how, &journal.plan));
    let mut data = json!({
        "patched": seen.iter().all(|seen| seen.state == State::Patched), "state": state,
        "root": checkout.root().in_json(), "tool": tool, "base": base, "commit": commit, "changes": changes, "files": files,
        "originals": found.map(|(commit, merged)| json!({ "commit": commit, "merged": merged })),
    });
    add_how(&mut data, how, &journal.plan);
    if let How::Structural { options } = how {
        data["command"] = json!(options.command());
    }
    let report = Loose::new("rr-patch/status/1", text, data);
    if state == "partly patched" { report.found() } else { report }
}

/// The lines of the changes and their places, the same for programs, and what state that is.
fn in_place(plan: &Plan, seen: &[Seen]) -> (String, Vec<Value>, &'static str) {
    let mut text = String::new();
    let mut changes = Vec::new();
    let (mut whole, mut any) = (0, false);
    let width = width(plan);
    for (change, does) in named(plan) {
        let mut places = Vec::new();
        for site in plan.sites.iter().filter(|site| site.change == change) {
            let file = seen.iter().find(|seen| seen.rewrite.path == site.path);
            places.push((site, file.and_then(|seen| seen.line_now(site.line))));
        }
        let gone = places.iter().filter(|(_, now)| now.is_none()).count();
        let mark = match gone {
            0 => "in place",
            n if n == places.len() => "NOT in place",
            _ => "NOT whole",
        };
        whole += usize::from(gone == 0);
        any |= gone < places.len();
        let _ = writeln!(text, "  {change:<width$} {mark:<13} {does}");
        for (site, now) in &places {
            let _ = match now {
                Some(line) => writeln!(text, "  {:<width$} {:<13} {}:{line}", "", "", site.path),
                None => writeln!(text, "  {:<width$} {:<13} {}:{} is gone or edited", "", "", site.path, site.line),
            };
        }
        let sites: Vec<Value> = places.iter().map(|(site, now)| json!({"path": site.path, "line": now})).collect();
        changes.push(json!({ "change": change, "in_place": gone == 0, "sites": sites }));
    }
    let state = match whole {
        _ if whole == changes.len() => "patched",
        0 if any => "edited",
        0 => "not patched",
        _ => "partly patched",
    };
    (text, changes, state)
}

/// How controllers are recorded with these options.
pub fn recording(given: &Options) -> String {
    let shown = options(given);
    let shown = if shown.is_empty() { "the defaults" } else { &shown };
    format!("options: {shown}\nrecords: {} <controller>\n", given.command().join(" "))
}

/// A patch to be read at a terminal: what the terminal would act on is escaped, so that it fits no file that holds such
/// bytes. The colours are git's own: bold for the head of a file, cyan for that of a hunk.
pub fn for_terminal(patch: &[u8], colour: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(patch.len());
    for line in patch.split_inclusive(|&b| b == b'\n') {
        let end = if line.ends_with(b"\r\n") { 2 } else { usize::from(line.ends_with(b"\n")) };
        let (body, end) = line.split_at(line.len() - end);
        let body = plain_bytes(body);
        let code = match line {
            _ if !colour => None,
            [b'-', b'-', b'-', b' ', ..] | [b'+', b'+', b'+', b' ', ..] => Some("1"),
            [b'@', ..] => Some("36"),
            [b'-', ..] => Some("31"),
            [b'+', ..] => Some("32"),
            [b' ' | b'\\', ..] => None,
            _ => Some("1"),
        };
        match code {
            None => out.extend_from_slice(body.as_bytes()),
            Some(code) => out.extend_from_slice(format!("\x1b[{code}m{body}\x1b[m").as_bytes()),
        }
        out.extend_from_slice(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_shown_as_the_words_that_give_them() {
        assert_eq!(options(&Options::default()), "");
        let given = Options { bind_to_cpu: None, rr_args: vec!["--chaos".into()], ..Options::default() };
        assert_eq!(options(&given), "--rr-arg=--chaos --bind-to-cpu none");
    }
}
