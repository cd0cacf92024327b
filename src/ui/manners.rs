//! Terminal manners: colours, width, and how much is said beside results.
//!
//! Colours follow words and never replace them: [`Document::marks`](super::document::Document::marks) finds the words of
//! a line that mean something, after all that a terminal would act on was escaped, and [`paint`] colours these.

use std::io::{self, IsTerminal};
use std::ops::Range;
use std::sync::OnceLock;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use crate::sys::terminal;

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR says no; CLICOLOR_FORCE asks for them elsewhere too
    #[default]
    Auto,
    /// Into files and pipes too
    Always,
    /// Nowhere
    Never,
}

/// How much is said beside results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Results, questions, warnings and errors.
    Quiet,
    #[default]
    Normal,
    /// Also each program that is started.
    Verbose,
}

static VERBOSITY: OnceLock<Verbosity> = OnceLock::new();

/// Settles both for the rest of the process. The first call counts.
pub fn settle(colour: Colour, verbosity: Verbosity) {
    match colour {
        Colour::Auto => ColorChoice::Auto,
        Colour::Always => ColorChoice::Always,
        Colour::Never => ColorChoice::Never,
    }
    .write_global();
    let _ = VERBOSITY.set(verbosity);
}

pub fn verbosity() -> Verbosity {
    VERBOSITY.get().copied().unwrap_or_default()
}

/// Whether what goes to standard output is coloured.
pub fn colours_on_stdout() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Whether what goes to standard error is coloured.
pub fn colours_on_stderr() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// The columns that text on standard output is laid out for: those of the terminal, 40 at least. `None` for a file or a
/// pipe, where lines are as long as they are.
pub fn columns() -> Option<usize> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| terminal::columns(&stdout)).flatten().map(|columns| columns.max(40))
}

/// What a part of a line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Good,
    Doubtful,
    Bad,
    /// Of little interest.
    Faint,
    /// A heading.
    Head,
    /// To be typed.
    Command,
}

impl Meaning {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Doubtful => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Head => Style::new().bold(),
            Self::Command => AnsiColor::Cyan.on_default(),
        }
    }
}

/// A part of a line, by its bytes, and its meaning.
pub type Mark = (Range<usize>, Meaning);

/// The mark of the first of these words that the line begins with, after its indentation.
pub fn begins(line: &str, words: &[(&str, Meaning)]) -> Option<Mark> {
    let at = line.len() - line.trim_start().len();
    let (word, meaning) = words.iter().find(|(word, _)| line[at..].starts_with(word))?;
    Some((at..at + word.trim_end().len(), *meaning))
}

/// As [`begins`], and what [`common`] marks in all other lines.
pub fn begins_or_common(line: &str, words: &[(&str, Meaning)]) -> Vec<Mark> {
    begins(line, words).map_or_else(|| common(line), |mark| vec![mark])
}

/// The mark of the first of these words that is a cell of a table's row: two spaces or an end of the line around it.
pub fn cell(line: &str, words: &[(&str, Meaning)]) -> Option<Mark> {
    let whole = |at: usize, word: &str| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        (before.is_empty() || before.ends_with("  ")) && (after.is_empty() || after.starts_with("  "))
    };
    words.iter().find_map(|(word, meaning)| {
        let (at, _) = line.match_indices(word).find(|(at, _)| whole(*at, word))?;
        Some((at..at + word.len(), *meaning))
    })
}

/// What lines of every result mean: what is to be typed, warnings, hints.
pub fn common(line: &str) -> Vec<Mark> {
    let whole = |meaning| vec![(line.len() - line.trim_start().len()..line.len(), meaning)];
    match line.trim_start() {
        command if command.starts_with("$ ") || command.starts_with("export ") => whole(Meaning::Command),
        next if next.starts_with("next: ") => quotations(line),
        text if text.starts_with("`rr-patch ") && text.ends_with('`') && line.starts_with(' ') => {
            whole(Meaning::Command)
        }
        _ => begins(line, &[("error:", Meaning::Bad), ("warning:", Meaning::Doubtful), ("hint:", Meaning::Command)])
            .into_iter()
            .collect(),
    }
}

/// What stands between backquotes in a line.
fn quotations(line: &str) -> Vec<Mark> {
    let quotes: Vec<usize> = line.match_indices('`').map(|(at, _)| at).collect();
    quotes.chunks_exact(2).map(|pair| (pair[0]..pair[1] + 1, Meaning::Command)).collect()
}

/// Lays a text out for so many columns, and colours it. The lines' ends stay as they are.
pub fn paint(text: &str, columns: Option<usize>, colour: bool, marks: impl Fn(&str) -> Vec<Mark>) -> String {
    let mut out = String::with_capacity(text.len());
    for whole in text.split_inclusive('\n') {
        let line = whole.trim_end_matches('\n');
        let (pieces, indent) = pieces(line, columns.unwrap_or(usize::MAX));
        let marks = if colour { marks(line) } else { Vec::new() };
        for (number, piece) in pieces.into_iter().enumerate() {
            if number > 0 {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
            }
            paint_piece(&mut out, line, piece, &marks);
        }
        out.push_str(&whole[line.len()..]);
    }
    out
}

fn paint_piece(out: &mut String, line: &str, piece: Range<usize>, marks: &[Mark]) {
    let mut at = piece.start;
    for (range, meaning) in marks {
        let (begin, end) = (range.start.clamp(at, piece.end), range.end.clamp(at, piece.end));
        if begin < end {
            let style = meaning.style();
            out.push_str(&line[at..begin]);
            out.push_str(&format!("{style}{}{style:#}", &line[begin..end]));
            at = end;
        }
    }
    out.push_str(&line[at..piece.end]);
}

/// Where a line is broken so that its pieces fit, and the indentation of those after the first: the last column's where
/// that leaves room. A word is not broken, a quotation only where it fits nowhere, a command (`$ ...`) never.
fn pieces(line: &str, columns: usize) -> (Vec<Range<usize>>, usize) {
    let (lead, whole) = (spaces(line), 0..line.len());
    if line.chars().count() <= columns || line[lead..].starts_with("$ ") {
        return (vec![whole], 0);
    }
    let indent = hanging(line, columns);
    let (mut pieces, mut piece, mut room) = (Vec::new(), 0..0, columns);
    let mut at = lead;
    while at < line.len() {
        let end = at + word(&line[at..], columns - indent);
        if !piece.is_empty() && line[piece.start..end].chars().count() > room {
            pieces.push(piece);
            (piece, room) = (at..end, columns - indent);
        }
        piece.end = end;
        at = end + spaces(&line[end..]);
    }
    pieces.push(piece);
    (pieces, indent)
}

/// How many bytes of a text must stand together: a word, or a quotation that fits into a line.
fn word(text: &str, room: usize) -> usize {
    let word = |from: usize| text[from..].find(' ').map_or(text.len(), |length| from + length);
    let end = word(0);
    let opens = text[..end].matches('`').count() % 2 == 1;
    let closed = text[end..].find('`').filter(|_| opens).map(|close| word(end + close));
    closed.filter(|closed| text[..*closed].chars().count() <= room).unwrap_or(end)
}

/// The column at which the last part of a line begins: after its indentation, or the last two spaces.
fn hanging(line: &str, columns: usize) -> usize {
    let lead = line.len() - line.trim_start().len();
    let parts = line.match_indices("  ").map(|(at, _)| line[..at].chars().count() + spaces(&line[at..]));
    let last = parts.filter(|column| *column <= columns / 2).max().unwrap_or(lead);
    if last > lead { last } else { lead + 2 }
}

fn spaces(text: &str) -> usize {
    text.len() - text.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(line: &str, columns: usize) -> Vec<String> {
        paint(line, Some(columns), false, |_| Vec::new()).lines().map(str::to_owned).collect()
    }

    #[test]
    fn long_lines_are_broken_between_words_below_their_last_column() {
        let shown = laid_out("ok       rr   5.9.0, which is the newest one", 26);
        assert_eq!(shown, ["ok       rr   5.9.0, which", "         is the newest one"]);
        let shown = laid_out("ok  rr  5.9.0, which is the newest", 22);
        assert_eq!(shown, ["ok  rr  5.9.0, which", "        is the newest"]);
        assert_eq!(laid_out("a line that fits", 16), ["a line that fits"]);
        assert_eq!(laid_out("a-word-that-is-longer-than-the-terminal is", 12).len(), 2);
    }

    #[test]
    fn quotations_are_broken_only_where_they_fit_nowhere_and_commands_never() {
        assert_eq!(laid_out("next: `rr-patch replay aws`", 24), ["next:", "  `rr-patch replay aws`"]);
        assert_eq!(laid_out("next: `rr-patch replay aws`", 16), ["next: `rr-patch", "  replay aws`"]);
        assert_eq!(laid_out("  $ a command that is long", 16), ["  $ a command that is long"]);
    }

    #[test]
    fn colours_are_put_around_words_and_nothing_else_changes() {
        let marks = |line: &str| begins(line, &[("NOT OK", Meaning::Bad)]).into_iter().collect();
        let painted = paint("NOT OK  rr is missing\nok\n", Some(18), true, marks);
        assert_eq!(painted, "\u{1b}[1m\u{1b}[31mNOT OK\u{1b}[0m  rr is\n        missing\nok\n");
        assert_eq!(cell("a  dead  b", &[("dead", Meaning::Bad)]), Some((3..7, Meaning::Bad)));
        assert_eq!(cell("a deadly  b", &[("dead", Meaning::Bad)]), None);
    }
}
