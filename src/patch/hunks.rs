//! Compares two texts line by line: hunks in git's format, and the new number of a line. The only module that aligns
//! lines with the similar crate.

use std::time::Instant;

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::{DiffOp, DiffTag, group_diff_ops};

/// How many unchanged lines a hunk shows around a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    Lines(usize),
    /// The fewest lines that make the hunk's place unique in the file, so that the hunk fits as many revisions as
    /// possible.
    Least,
}

/// The most lines on each side for [`Around::Least`].
const MOST_AROUND: usize = 12;

/// The hunks of a file, each as bytes. (similar's own writer supports only one number of context lines for both
/// sides, and replaces bytes that are not UTF-8 by U+FFFD.)
pub fn hunks(old: &[u8], new: &[u8], around: Around) -> Vec<Vec<u8>> {
    let (old, new) = (&lines(old)[..], &lines(new)[..]);
    let radius = if let Around::Lines(number) = around { number } else { 1 };
    let mut hunks = Vec::new();
    let mut free = 0;
    let groups = group_diff_ops(by_line(old, new, None), radius);
    for (number, group) in groups.iter().enumerate() {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        // The start of the next hunk: hunks must not overlap.
        let next = groups.get(number + 1).and_then(|next| next.first()).map_or(old.len(), |op| op.old_range().start);
        let (mut from, mut to) = (first.old_range().start, last.old_range().end);
        let (mut new_from, mut new_to) = (first.new_range().start, last.new_range().end);
        let (mut above, mut below) = (0, 0);
        let unique = |from: usize, to: usize| {
            let side = &old[from..to];
            (0..=old.len() - side.len()).filter(|&at| old[at..].starts_with(side)).take(2).count() < 2
        };
        while around == Around::Least && from < to && !unique(from, to) {
            if from > free && above < MOST_AROUND {
                (from, new_from, above) = (from - 1, new_from - 1, above + 1);
            } else if to < next && below < MOST_AROUND {
                (to, new_to, below) = (to + 1, new_to + 1, below + 1);
            } else {
                break;
            }
        }
        free = to;
        let range = |start: usize, end: usize| match end - start {
            0 => format!("{start},0"),
            1 => format!("{}", start + 1),
            count => format!("{},{count}", start + 1),
        };
        let mut hunk = format!("@@ -{} +{} @@\n", range(from, to), range(new_from, new_to)).into_bytes();
        let mut put = |sign: u8, line: &[u8]| {
            hunk.push(sign);
            hunk.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                hunk.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        };
        old[from..from + above].iter().for_each(|line| put(b' ', line));
        for op in group {
            if op.tag() == DiffTag::Equal {
                old[op.old_range()].iter().for_each(|line| put(b' ', line));
            } else {
                old[op.old_range()].iter().for_each(|line| put(b'-', line));
                new[op.new_range()].iter().for_each(|line| put(b'+', line));
            }
        }
        old[to - below..to].iter().for_each(|line| put(b' ', line));
        hunks.push(hunk);
    }
    hunks
}

/// The number in `new` of a line of `old`, or `None` if the line was edited or removed. Both numbers start at 1.
pub fn line_now(old: &[u8], new: &[u8], line: usize) -> Option<usize> {
    let index = line - 1;
    let operations = by_line(&lines(old), &lines(new), None);
    let same = operations.iter().find(|op| op.tag() == DiffTag::Equal && op.old_range().contains(&index))?;
    Some(same.new_range().start + (index - same.old_range().start) + 1)
}

/// Splits lines as git counts them. similar's own function also splits at a lone CR, which makes the counts in the
/// hunk headers wrong for git.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&b| b == b'\n').collect()
}

/// What became of the lines. After the deadline the answer is still right, and may be longer than it need be.
///
/// One algorithm and one type of line for the whole crate: similar's own choice among six compiles all of them, once
/// for each type, which is a twelfth of this crate.
pub fn by_line(old: &[&[u8]], new: &[&[u8]], deadline: Option<Instant>) -> Vec<DiffOp> {
    let mut operations = Compact::new(Replace::new(Capture::new()), old, new);
    let Ok(()) = myers::diff_deadline(&mut operations, old, 0..old.len(), new, 0..new.len(), deadline);
    operations.into_inner().into_inner().into_ops()
}

/// A path as git writes it in a patch: quoted if it has bytes that would end the line.
pub fn quoted(side: &str, path: &str) -> String {
    if !path.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        return format!("{side}{path}");
    }
    let escaped: String = path.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
        text
    });
    format!("\"{side}{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_leaves_plain_paths_and_escapes_the_others() {
        assert_eq!(quoted("a/", "pkg/a b.go"), "a/pkg/a b.go");
        assert_eq!(quoted("a/", "p\"\n\u{e9}"), r#""a/p\"\012\303\251""#);
    }
}
