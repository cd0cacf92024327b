//! Parses a patch: the output of git and of `diff -u`, also after changes by mail programs and editors.

use std::path::{Component, Path};

use super::{FilePatch, Hunk, Line};
use crate::error::Error;
use crate::words::count;

/// The header of a file, before its hunks.
#[derive(Default)]
struct Header {
    line: usize,
    /// The text after `diff --git`.
    git: Option<String>,
    /// From the `---` and `+++` lines.
    old: Option<Name>,
    new: Option<Name>,
    /// From the `rename` and `copy` lines, where names have no `a/` or `b/` prefix.
    from: Option<String>,
    to: Option<String>,
    copies: bool,
    added: bool,
    deleted: bool,
    executable: Option<bool>,
    base: Option<String>,
}

/// The name in a `---` or `+++` line.
#[derive(Clone, PartialEq)]
enum Name {
    /// `/dev/null`: the file does not exist on this side.
    Nothing,
    File(String),
}

/// The error text for a `diff --git` line that is ambiguous.
const APART: &str = "ambiguous names";
const GIT_LINE: &str = "`diff --git a/FILE b/FILE`";

struct Reader<'patch> {
    name: &'patch str,
    strip: usize,
    lines: Vec<&'patch [u8]>,
    /// The index of the current line, from 0.
    at: usize,
}

/// Parses all changes of a patch, file by file.
pub fn files(name: &str, bytes: &[u8], strip: usize) -> Result<Vec<FilePatch>, Error> {
    let mut reader = Reader { name, strip, lines: super::lines_of(bytes), at: 0 };
    let (mut files, mut header) = (Vec::new(), Header::default());
    while let Some(&line) = reader.lines.get(reader.at) {
        let next = reader.lines.get(reader.at + 1).copied().unwrap_or_default();
        if let Some(names) = line.strip_prefix(b"diff --git ") {
            files.extend(reader.finish(std::mem::take(&mut header), Vec::new())?);
            header = Header { line: reader.at + 1, git: Some(reader.text(names)?), ..Header::default() };
        } else if line.starts_with(b"--- ") && next.starts_with(b"+++ ") {
            // Without a `diff --git` line, the next file begins here.
            if header.git.is_none() || header.new.is_some() {
                files.extend(reader.finish(std::mem::take(&mut header), Vec::new())?);
                header.line = reader.at + 1;
            }
            header.old = Some(reader.side(&line[4..])?);
            reader.at += 1;
            header.new = Some(reader.side(&next[4..])?);
        } else if line.starts_with(b"@@ -") {
            if header.new.is_none() {
                return Err(reader.refuse("a hunk without a file name", "`--- FILE` and `+++ FILE` above it"));
            }
            let hunks = reader.hunks()?;
            files.extend(reader.finish(std::mem::take(&mut header), hunks)?);
            continue;
        } else if line.starts_with(b"@@@") {
            return Err(reader.refuse("a merge's diff, which has two old sides", "a diff against a single commit"));
        } else if line.starts_with(b"GIT binary patch") || line.starts_with(b"Binary files ") {
            return Err(reader.refuse("a binary change", "changes of text files only"));
        } else if header.git.is_none() || header.new.is_some() || !reader.extended(line, &mut header)? {
            // Any other line ends the file's header: the next header line may belong to another file.
            files.extend(reader.finish(std::mem::take(&mut header), Vec::new())?);
        }
        reader.at += 1;
    }
    files.extend(reader.finish(header, Vec::new())?);
    if files.is_empty() {
        return Err(Error::refused(format!("`{name}` is not a patch: it changes nothing"))
            .detail("expected: `--- FILE`, `+++ FILE` and hunks that begin with `@@ -`")
            .hint("`git diff` and `diff -u` write such patches"));
    }
    Ok(files)
}

impl Reader<'_> {
    fn refuse(&self, found: &str, expected: &str) -> Error {
        self.refuse_line(self.at + 1, found, expected)
    }

    fn refuse_line(&self, line: usize, found: &str, expected: &str) -> Error {
        Error::refused(format!("`{}` cannot be applied: {found} in line {line}", self.name))
            .detail(format!("expected: {expected}"))
    }

    fn text(&self, bytes: &[u8]) -> Result<String, Error> {
        let text =
            std::str::from_utf8(bytes).map_err(|_| self.refuse("a name that is not UTF-8", "a name in UTF-8"))?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// The name in a `---` or `+++` line: quoted as git does, or up to the tab before the time.
    fn side(&self, rest: &[u8]) -> Result<Name, Error> {
        let text = self.text(rest)?;
        let (name, time) = match text.starts_with('"') {
            true => self.unquote(&text)?,
            false => text.split_once('\t').map_or((text.clone(), ""), |(name, time)| (name.to_owned(), time)),
        };
        Ok(if name == "/dev/null" || is_epoch(time) { Name::Nothing } else { Name::File(name) })
    }

    /// A name in double quotes, and the rest of the text.
    fn unquote<'a>(&self, text: &'a str) -> Result<(String, &'a str), Error> {
        let bad = || self.refuse("a quoted name that does not end", "a name in double quotes, as git writes it");
        let mut bytes = Vec::new();
        let mut rest = text.strip_prefix('"').ok_or_else(bad)?.as_bytes();
        loop {
            match rest {
                [b'"', ..] => break,
                [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                    bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                    rest = &rest[4..];
                }
                [b'\\', escaped, ..] => {
                    bytes.push(match escaped {
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'a' => 7,
                        b'b' => 8,
                        b'f' => 12,
                        b'v' => 11,
                        other => *other,
                    });
                    rest = &rest[2..];
                }
                [byte, ..] => {
                    bytes.push(*byte);
                    rest = &rest[1..];
                }
                [] => return Err(bad()),
            }
        }
        let after = &text[text.len() - rest.len() + 1..];
        let name = String::from_utf8(bytes).map_err(|_| self.refuse("a name that is not UTF-8", "a name in UTF-8"))?;
        Ok((name, after))
    }

    /// Parses a line between `diff --git` and `---`. Returns false if it is not a header line.
    fn extended(&self, line: &[u8], header: &mut Header) -> Result<bool, Error> {
        const KNOWN: [&str; 11] = [
            "old mode ",
            "new mode ",
            "new file mode ",
            "deleted file mode ",
            "rename from ",
            "rename to ",
            "copy from ",
            "copy to ",
            "similarity index ",
            "dissimilarity index ",
            "index ",
        ];
        if !KNOWN.iter().any(|known| line.starts_with(known.as_bytes())) {
            return Ok(false);
        }
        let text = self.text(line)?;
        let name = |rest: &str| Ok(if rest.starts_with('"') { self.unquote(rest)?.0 } else { rest.to_owned() });
        for (key, what) in [("new file mode ", true), ("deleted file mode ", false)] {
            if let Some(mode) = text.strip_prefix(key) {
                header.executable = what.then(|| self.executable(mode)).transpose()?;
                self.executable(mode)?;
                *(if what { &mut header.added } else { &mut header.deleted }) = true;
            }
        }
        if let Some(mode) = text.strip_prefix("new mode ") {
            header.executable = Some(self.executable(mode)?);
        } else if let Some(mode) = text.strip_prefix("old mode ") {
            self.executable(mode)?;
        } else if let Some(rest) = text.strip_prefix("rename from ") {
            header.from = Some(name(rest)?);
        } else if let Some(rest) = text.strip_prefix("copy from ") {
            header.from = Some(name(rest)?);
            header.copies = true;
        } else if let Some(rest) = text.strip_prefix("rename to ").or(text.strip_prefix("copy to ")) {
            header.to = Some(name(rest)?);
        } else if let Some(rest) = text.strip_prefix("index ") {
            let (blobs, mode) = rest.split_once(' ').unwrap_or((rest, "100644"));
            self.executable(mode)?;
            let base = blobs.split("..").next().unwrap_or_default();
            let usable =
                base.len() >= 4 && base.bytes().all(|b| b.is_ascii_hexdigit()) && base.bytes().any(|b| b != b'0');
            header.base = usable.then(|| base.to_owned());
        }
        Ok(true)
    }

    /// Whether the mode is that of an executable file. Refuses anything but a regular file.
    fn executable(&self, mode: &str) -> Result<bool, Error> {
        let regular = "the mode of a regular file, 100644 or 100755";
        match mode.trim() {
            "100644" | "100664" => Ok(false),
            "100755" | "100775" => Ok(true),
            "120000" => Err(self.refuse("a symlink (mode 120000)", regular)),
            "160000" => Err(self.refuse("a submodule (mode 160000)", regular)),
            other => Err(self.refuse(&format!("the mode {other:?}"), regular)),
        }
    }

    /// Parses the hunks of one file.
    fn hunks(&mut self) -> Result<Vec<Hunk>, Error> {
        let mut hunks: Vec<Hunk> = Vec::new();
        while self.lines.get(self.at).is_some_and(|line| line.starts_with(b"@@ -")) {
            let hunk = self.hunk()?;
            // A hunk that only adds lines starts after the line in its header.
            let first = |hunk: &Hunk| hunk.start + usize::from(hunk.side(b'+').is_empty());
            if hunks.last().is_some_and(|above| first(above) + above.side(b'+').len() > first(&hunk)) {
                let found = "a hunk that is not after the previous one";
                return Err(self.refuse_line(hunk.line, found, "hunks in the order of the file, without overlaps"));
            }
            hunks.push(hunk);
        }
        Ok(hunks)
    }

    fn hunk(&mut self) -> Result<Hunk, Error> {
        let line = self.at + 1;
        let text = String::from_utf8_lossy(self.lines[self.at]).into_owned();
        let counts = |text: &str| -> Option<(usize, usize)> {
            let (start, count) = text.split_once(',').unwrap_or((text, "1"));
            // Signed and very large numbers are rejected.
            let number =
                |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
            Some((number(start)? as usize, number(count)? as usize))
        };
        let ranges = text.strip_prefix("@@ -").and_then(|rest| rest.split_once(" @@"));
        let ranges = ranges.and_then(|(ranges, _)| ranges.split_once(" +"));
        let parsed = ranges.and_then(|(old, new)| Some((counts(old)?, counts(new)?)));
        let Some(((start, mut old), (_, mut new))) = parsed else {
            return Err(self.refuse("a hunk's header that cannot be read", "`@@ -LINE,COUNT +LINE,COUNT @@`"));
        };
        let said = format!("{old} old and {new} new lines, as its header says");
        let header = format!("{} @@", text.split(" @@").next().unwrap_or_default());
        self.at += 1;
        let mut lines: Vec<Line> = Vec::new();
        while old > 0 || new > 0 || self.lines.get(self.at).is_some_and(|line| line.starts_with(b"\\")) {
            let short = || self.refuse_line(line, "a hunk that ends too early", &said);
            let raw = *self.lines.get(self.at).ok_or_else(short)?;
            let (sign, text) = match raw {
                // Mail programs and editors remove the space from an empty context line.
                b"\n" | b"\r\n" => (b' ', raw),
                [sign @ (b' ' | b'+' | b'-'), text @ ..] => (*sign, text),
                [b'\\', ..] => {
                    let last = lines.last_mut().ok_or_else(short)?;
                    last.text.truncate(last.text.strip_suffix(b"\n").map_or(last.text.len(), <[u8]>::len));
                    self.at += 1;
                    continue;
                }
                _ => return Err(short()),
            };
            // libgit2 splits or drops a line that contains NUL.
            if text.contains(&0) {
                return Err(self.refuse("a NUL", "changes of text files only"));
            }
            let (of_old, of_new) = (usize::from(sign != b'+'), usize::from(sign != b'-'));
            if of_old > old || of_new > new {
                return Err(self.refuse("more lines than the hunk's header says", &said));
            }
            (old, new) = (old - of_old, new - of_new);
            let mut text = text.to_vec();
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            lines.push(Line { sign, text });
            self.at += 1;
        }
        // The signature line `-- ` at the end of `git format-patch` output looks like a removed line. Empty lines may
        // be context.
        let blank = |line: &&&[u8]| line.trim_ascii_end().is_empty() && !line.starts_with(b" ");
        let end = self.at + self.lines[self.at..].iter().take_while(blank).count();
        let after = self.lines.get(end).copied().unwrap_or_default();
        let next_file = after.starts_with(b"--- ") && self.lines.get(end + 1).is_some_and(|l| l.starts_with(b"+++ "));
        if matches!(after, [b'+' | b'-' | b' ', ..]) && !next_file && after.trim_ascii_end() != b"--" {
            return Err(self.refuse_line(end + 1, "more lines than the hunk's header says", &said));
        }
        let goes_on = |(n, line): (usize, &Line)| {
            let same_side = |other: &Line| other.sign == line.sign || other.sign == b' ' || line.sign == b' ';
            !line.text.ends_with(b"\n") && lines[n + 1..].iter().any(same_side)
        };
        if lines.iter().enumerate().any(goes_on) {
            let found = "a line without a newline, and more lines after it";
            return Err(self.refuse_line(line, found, "`\\ No newline at end of file` at the end only"));
        }
        if lines.iter().all(|line| line.sign == b' ') {
            return Err(self.refuse_line(line, "a hunk that changes nothing", "lines that begin with + or -"));
        }
        Ok(Hunk { line, header, start, lines })
    }

    /// Builds the entry of a file after all its lines were read; `None` if no file was begun.
    fn finish(&self, header: Header, hunks: Vec<Hunk>) -> Result<Option<FilePatch>, Error> {
        let line = header.line;
        let moved = header.from.as_deref().zip(header.to.as_deref());
        self.refuse_contradictions(&header)?;
        let (written, old, new) = if let Some((from, to)) = moved {
            // These names have no `a/` and `b/` prefix, so one element less is stripped.
            let whole = |name: &str| self.path(name, self.strip.saturating_sub(1), line);
            (format!("a/{from}"), Some(whole(from)?), Some(whole(to)?))
        } else {
            let (old, new) = match (&header.git, &header.old, &header.new) {
                (_, Some(old), Some(new)) => (old.clone(), new.clone()),
                (Some(git), ..) => self.names(git, line)?,
                (None, ..) => return Ok(None),
            };
            if header.old.is_some() && hunks.is_empty() {
                return Err(self.refuse_line(line, "a file without a hunk", "`@@ -` below `+++ FILE`"));
            }
            let written = match (&old, &new) {
                (_, Name::File(name)) | (Name::File(name), Name::Nothing) => name.clone(),
                (Name::Nothing, Name::Nothing) => {
                    return Err(self.refuse_line(line, "`/dev/null` on both sides", "a file on one"));
                }
            };
            let strip = |name: &str| self.path(name, self.strip, line);
            let path = strip(&written)?;
            let both = header.git.is_some() && old != Name::Nothing && new != Name::Nothing;
            if let Name::File(old) = &old
                && both
                && strip(old)? != path
            {
                let expected = "the same name on both sides, or `rename from` and `rename to`";
                return Err(self.refuse_line(line, "two names", expected));
            }
            let added = header.added || old == Name::Nothing;
            let deleted = header.deleted || new == Name::Nothing;
            (written, (!added).then(|| path.clone()), (!deleted).then_some(path))
        };
        let idle = hunks.is_empty() && header.executable.is_none() && moved.is_none() && old == new;
        if idle {
            return Err(self.refuse_line(line, "a file that does not change", "hunks, or a new mode"));
        }
        // Without a `diff --git` line, a missing file and an empty one look the same.
        let may_add = header.git.is_none() && hunks.len() == 1 && hunks[0].start == 0;
        Ok(Some(FilePatch {
            line,
            written,
            old,
            new,
            may_add,
            copies: header.copies,
            executable: header.executable,
            base: header.base,
            hunks,
        }))
    }

    /// Refuses a header whose lines name different files: a change would be lost.
    fn refuse_contradictions(&self, header: &Header) -> Result<(), Error> {
        let refuse = |found: &str, expected: &str| Err(self.refuse_line(header.line, found, expected));
        if header.added && header.deleted {
            return refuse("a file that is new and deleted", "one of the two");
        }
        if header.from.is_some() != header.to.is_some() {
            return refuse(
                "a file that moves with only one name",
                "`rename from` and `rename to`, or `copy from` and `copy to`",
            );
        }
        if let (Some(git), Some(from), Some(to)) = (&header.git, &header.from, &header.to) {
            let same = match git.contains('"') {
                true => {
                    let (first, second) = self.both_names(git, header.line)?;
                    [(first, from), (second, to)].iter().all(|(one, other)| one.ends_with(other.as_str()))
                }
                false => git.strip_suffix(to.as_str()).is_some_and(|rest| rest.contains(&format!("{from} "))),
            };
            if !same {
                return refuse("names that differ from those below it", "the names of `from` and `to`");
            }
        }
        let (Some(git), Some(old), Some(new)) = (&header.git, &header.old, &header.new) else { return Ok(()) };
        let same = match (old, new) {
            // Quoted names can be split; unquoted names can only be compared.
            _ if git.contains('"') => {
                let (first, second) = self.both_names(git, header.line)?;
                let same = |one: &Name, other: String| *one == Name::Nothing || *one == Name::File(other);
                same(old, first) && same(new, second)
            }
            (Name::File(old), Name::File(new)) => *git == format!("{old} {new}"),
            (Name::File(old), Name::Nothing) => git.starts_with(&format!("{old} ")),
            (Name::Nothing, Name::File(new)) => git.ends_with(&format!(" {new}")),
            (Name::Nothing, Name::Nothing) => true,
        };
        if same { Ok(()) } else { refuse("names that differ from those below it", "the names of `---` and `+++`") }
    }

    /// The names in a `diff --git` line, used if no other line has them. They must be quoted, or equal except for the
    /// first folder.
    fn names(&self, git: &str, line: usize) -> Result<(Name, Name), Error> {
        let (old, new) = self.both_names(git, line)?;
        let tail = |name: &str| name.split_once('/').map(|(_, tail)| tail.to_owned());
        if old != new && tail(&old) != tail(&new) {
            return Err(self.refuse_line(line, APART, GIT_LINE));
        }
        Ok((Name::File(old), Name::File(new)))
    }

    fn both_names(&self, git: &str, line: usize) -> Result<(String, String), Error> {
        let bad = || self.refuse_line(line, APART, GIT_LINE);
        if git.starts_with('"') {
            let (old, rest) = self.unquote(git)?;
            let rest = rest.trim_start();
            return Ok((old, if rest.starts_with('"') { self.unquote(rest)?.0 } else { rest.to_owned() }));
        }
        if let Some((old, _)) = git.split_once(" \"") {
            return Ok((old.to_owned(), self.unquote(&git[old.len() + 1..])?.0));
        }
        let (old, new) = git.split_at_checked(git.len() / 2).ok_or_else(bad)?;
        Ok((old.to_owned(), new.strip_prefix(' ').ok_or_else(bad)?.to_owned()))
    }

    /// Converts a name to a path relative to the installer's root.
    fn path(&self, name: &str, strip: usize, line: usize) -> Result<String, Error> {
        let parts: Vec<&str> = name.split('/').collect();
        let refuse = |found: String| self.refuse_line(line, &found, "the path of a file below the installer's root");
        if name.starts_with('/') {
            return Err(refuse(format!("the absolute path `{name}`")));
        }
        if parts.len() <= strip {
            let folders = parts.len() - 1;
            let found = format!("`{name}`, which has {}, and `-p {strip}` strips {strip},", count(folders, "folder"));
            return Err(refuse(found).hint(format!("`-p {folders}` strips fewer")));
        }
        let path = parts[strip..].join("/");
        let normal = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !normal || parts[strip..].iter().any(|part| part.is_empty() || *part == ".") {
            return Err(refuse(format!("`{name}`, which leaves the checkout or is not plain,")));
        }
        if path.contains(|c: char| c.is_control()) {
            return Err(refuse(format!("the name {path:?}, with a control character")));
        }
        if path.len() > LONGEST_PATH || parts.iter().any(|part| part.len() > LONGEST_NAME) {
            let begin: String = path.chars().take(40).collect();
            return Err(refuse(format!("`{begin}…`, a path of {} bytes,", path.len())));
        }
        if parts[strip..].iter().any(|part| is_state(part)) {
            return Err(refuse(format!("`{path}`, in git's own folder or rr-patch's,")));
        }
        Ok(path)
    }
}

/// The longest path that a patch may contain, in bytes. Linux allows 4096 for the full path, including the final NUL.
const LONGEST_PATH: usize = 2048;

/// The longest file name that Linux allows, in bytes.
const LONGEST_NAME: usize = 255;

/// Whether a time is the Unix epoch, as `diff` prints it in any time zone. `diff -N` uses it for a missing file.
fn is_epoch(time: &str) -> bool {
    let mut words = time.split_whitespace();
    let (Some(date), Some(clock), Some(zone)) = (words.next(), words.next(), words.next()) else { return false };
    let minutes = |hours: &str, minutes: &str| Some(hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?);
    let (Some((sign, zone)), Some((clock, seconds))) = (zone.split_at_checked(1), clock.rsplit_once(':')) else {
        return false;
    };
    let zone = zone.replace(':', "");
    let ahead = zone.split_at_checked(2).and_then(|(hours, rest)| minutes(hours, rest));
    let shown = clock.split_once(':').and_then(|(hours, rest)| minutes(hours, rest));
    let (Some(ahead), Some(shown)) = (ahead, shown) else { return false };
    let day = match date {
        "1970-01-01" => 0,
        "1969-12-31" => -24 * 60,
        _ => return false,
    };
    day + shown == if sign == "-" { -ahead } else { ahead } && seconds.bytes().all(|b| matches!(b, b'0' | b'.'))
}

/// Whether a folder is git's own or rr-patch's, in any spelling that a file system may treat as equal. Files with
/// rr-patch's prefix would be removed as leftovers of a crash.
fn is_state(part: &str) -> bool {
    let ignored =
        |c: char| c == '\u{feff}' || ('\u{200b}'..='\u{200f}').contains(&c) || ('\u{202a}'..='\u{206f}').contains(&c);
    let plain: String = part.chars().filter(|c| !ignored(*c)).collect();
    let plain = plain.split([':', '\\']).next().unwrap_or_default().trim_end_matches(['.', ' ']).to_lowercase();
    plain == ".git" || plain.starts_with("git~") || plain.starts_with(".rr-patch")
}
