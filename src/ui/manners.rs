//! Terminal manners: colours, width, and how much is said beside results.
//!
//! Colours follow words and never replace them: [`Document::marks`](super::document::Document::marks) finds the words of
//! a line that mean something, after all that a terminal would act on was escaped, and [`paint`] colours these.

use std::io::{self, IsTerminal};
use std::ops::Range;
use std::os::fd::AsFd;
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
    columns_of(&io::stdout())
}

/// The same for standard error.
pub fn columns_of_stderr() -> Option<usize> {
    columns_of(&io::stderr())
}

fn columns_of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    stream.is_terminal().then(|| terminal::columns(stream)).flatten().map(|columns| columns.max(40))
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
    let lead = spaces(line);
    let whole = |meaning| vec![(lead..line.len(), meaning)];
    match &line[lead..] {
        _ if is_command(line) => whole(Meaning::Command),
        text if text.starts_with("export ") => whole(Meaning::Command),
        next if next.starts_with("next: ") => quotations(line),
        text if lead > 0 && text.starts_with("`rr-patch ") && text.ends_with('`') => whole(Meaning::Command),
        _ => begins(line, &[("error:", Meaning::Bad), ("warning:", Meaning::Doubtful), ("hint:", Meaning::Command)])
            .into_iter()
            .collect(),
    }
}

/// Whether a line is a command to be typed: `$ make`, or an indented `rr-patch replay aws`.
fn is_command(line: &str) -> bool {
    let text = line.trim_start_matches(' ');
    text.starts_with("$ ") || text.len() < line.len() && text.starts_with("rr-patch ")
}

/// What stands between backquotes in a line.
fn quotations(line: &str) -> Vec<Mark> {
    let quotes: Vec<usize> = line.match_indices('`').map(|(at, _)| at).collect();
    quotes.chunks_exact(2).map(|pair| (pair[0]..pair[1] + 1, Meaning::Command)).collect()
}

/// Lays a text out for so many columns, and colours it. The lines' ends stay as they are.
pub fn paint(text: &str, columns: Option<usize>, colour: bool, marks: impl Fn(&str) -> Vec<Mark>) -> String {
    paint_hanging(text, columns, None, colour, marks)
}

/// The same, where what does not fit into a line goes on at the column `hang`, below text that has no columns of its
/// own.
pub fn paint_hanging(
    text: &str,
    columns: Option<usize>,
    hang: Option<usize>,
    colour: bool,
    marks: impl Fn(&str) -> Vec<Mark>,
) -> String {
    let mut out = String::with_capacity(text.len());
    for whole in text.split_inclusive('\n') {
        let line = whole.trim_end_matches('\n');
        let marks = if colour { marks(line) } else { Vec::new() };
        for (number, (indent, piece)) in pieces(line, columns.unwrap_or(usize::MAX), hang).into_iter().enumerate() {
            if number > 0 {
                out.push('\n');
            }
            out.push_str(&" ".repeat(indent));
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

/// The indentation of a line whose only word fits into the terminal there and not where it was.
const OUTDENT: usize = 4;
/// The columns that text needs to be readable under the head of its column.
const READABLE: usize = 24;

/// The pieces of a line that fit into so many columns, each with its indentation. A word is not broken, a quotation only
/// where it fits nowhere, a command never: it could not be copied any more. A cell is broken only if no line has room for
/// it.
fn pieces(line: &str, columns: usize, hang: Option<usize>) -> Vec<(usize, Range<usize>)> {
    let lead = spaces(line);
    if width(line) <= columns || is_command(line) {
        return vec![(0, 0..line.len())];
    }
    let has_cells = hang.is_none();
    let hang = hang.unwrap_or_else(|| hanging(line, columns)).min(columns - columns / 4);
    let (mut pieces, mut piece, mut indent) = (Vec::new(), lead..lead, lead);
    let mut at = lead;
    while at < line.len() {
        let end = at + word(&line[at..], columns - hang);
        let overflows = |end: usize| indent + width(&line[piece.start..end]) > columns;
        let fits_below = |end: usize, hang: usize| hang + width(&line[at..end]) <= columns;
        let cell = at + line[at..].find("  ").unwrap_or(line.len() - at);
        let begins_cell = has_cells && line[..at].ends_with("  ") && width(&line[..at]) > hang;
        let breaks = overflows(end) && (fits_below(end, hang.min(OUTDENT)) || quotes_command(&line[at..]))
            || begins_cell && overflows(cell) && fits_below(cell, hang);
        if breaks && !piece.is_empty() {
            pieces.push((indent, piece));
            (piece, indent) = (at..end, hang);
        }
        piece.end = end;
        at = end + spaces(&line[end..]);
    }
    pieces.push((indent, piece));
    for (indent, piece) in &mut pieces {
        let width = width(&line[piece.clone()]);
        if *indent + width > columns && OUTDENT + width <= columns {
            *indent = OUTDENT.min(*indent);
        }
    }
    pieces
}

/// How many bytes of a text must stand together: a word, a command in quotes, or a quotation that fits into a line.
fn word(text: &str, room: usize) -> usize {
    let word = |from: usize| text[from..].find(' ').map_or(text.len(), |length| from + length);
    let end = word(0);
    let opens = text[..end].matches('`').count() % 2 == 1;
    let closed = text[end..].find('`').filter(|_| opens).map(|close| word(end + close));
    closed.filter(|closed| quotes_command(text) || width(&text[..*closed]) <= room).unwrap_or(end)
}

/// Whether a text begins with a command in quotes.
fn quotes_command(text: &str) -> bool {
    text.starts_with("`rr-patch ") || text.starts_with("`git ")
}

/// The column at which a line goes on: that of its last cell, if its text can be read there; else that of the text after
/// a short mark like `ok` or the number of a list, or the line's indentation and two. Never that of a cell between these:
/// it would read as that one's.
fn hanging(line: &str, columns: usize) -> usize {
    let lead = spaces(line);
    let cells = line.match_indices("  ").map(|(at, gap)| at + gap.len() + spaces(&line[at + gap.len()..]));
    let mut cells = cells.filter(|at| *at > lead && *at < line.len());
    let (first, last) = (cells.next(), cells.last());
    let readable = |at: &usize| {
        let room = columns.saturating_sub(width(&line[..*at]));
        let mut words = line[*at..].split(' ').map(width);
        room >= READABLE && words.all(|width| width <= room)
    };
    let mark = first.map(|at| width(&line[..at])).filter(|column| *column <= columns / 6);
    // `1. text` goes on below the text.
    let number = line[lead..].bytes().take_while(u8::is_ascii_digit).count();
    let item = (number > 0 && line[lead + number..].starts_with(". ")).then_some(lead + number + 2);
    last.or(first).filter(readable).map(|at| width(&line[..at])).or(mark).or(item).unwrap_or(lead + 2)
}

/// The columns of a text.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// How many spaces a text begins with.
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
        let shown = laid_out("ok       rr   5.9.0, which is the newest one", 40);
        assert_eq!(shown, ["ok       rr   5.9.0, which is the newest", "              one"]);
        assert_eq!(laid_out("a line that fits", 16), ["a line that fits"]);
        assert_eq!(laid_out("a-word-that-is-longer-than-the-terminal is", 12).len(), 2);
    }

    #[test]
    fn lines_whose_last_column_is_too_narrow_go_on_below_a_mark_or_the_indentation_and_below_no_other_column() {
        let shown = laid_out("other     2026-01-01  here is a sentence that says why not", 40);
        assert_eq!(shown, ["other     2026-01-01", "  here is a sentence that says why not"]);
        let shown = laid_out("other     2026-01-01  here is a sentence that says why it does not", 40);
        assert_eq!(shown, ["other     2026-01-01  here is a sentence", "  that says why it does not"]);
        let shown = laid_out("no   a-long-name-of-a-check  this is what was found, with all of its words", 42);
        assert_eq!(shown, ["no   a-long-name-of-a-check  this is what", "     was found, with all of its words"]);
    }

    #[test]
    fn cells_stay_whole_where_a_line_has_room_for_them() {
        let shown = laid_out("  1. main.resync  /work/src/main.go:32  (write, goroutine 6)", 50);
        assert_eq!(shown, ["  1. main.resync  /work/src/main.go:32", "     (write, goroutine 6)"]);
        let shown = laid_out("      poll.Write  /usr/local/go/src/internal/poll/fd.go:374", 50);
        assert_eq!(shown, ["      poll.Write", "        /usr/local/go/src/internal/poll/fd.go:374"]);
    }

    #[test]
    fn words_too_wide_for_their_place_move_to_the_left_or_stay_where_they_are() {
        assert_eq!(laid_out("              /a/path/that/is/long.go:12", 32), ["    /a/path/that/is/long.go:12"]);
        let nowhere = "  path:  /a/path/that/is/longer/than/any/line.go";
        assert_eq!(laid_out(nowhere, 40), [nowhere]);
    }

    #[test]
    fn quotations_are_broken_only_where_they_fit_nowhere_and_commands_never() {
        assert_eq!(laid_out("next: `rr-patch replay aws`", 25), ["next:", "  `rr-patch replay aws`"]);
        assert_eq!(laid_out("next: `rr-patch replay aws`", 16), ["next:", "  `rr-patch replay aws`"]);
        assert_eq!(laid_out("what: `some other words`", 16), ["what: `some", "  other words`"]);
        for command in ["  $ a command that is long", "  rr-patch replay a-long-name"] {
            assert_eq!(laid_out(command, 16), [command]);
        }
    }

    #[test]
    fn colours_are_put_around_words_and_nothing_else_changes() {
        let marks = |line: &str| begins(line, &[("NOT OK", Meaning::Bad)]).into_iter().collect();
        let painted = paint("NOT OK  rr is missing\nok\n", Some(18), true, marks);
        assert_eq!(painted, "\u{1b}[1m\u{1b}[31mNOT OK\u{1b}[0m\n  rr is missing\nok\n");
        assert_eq!(cell("a  dead  b", &[("dead", Meaning::Bad)]), Some((3..7, Meaning::Bad)));
        assert_eq!(cell("a deadly  b", &[("dead", Meaning::Bad)]), None);
    }
}
