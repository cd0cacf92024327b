//! Byte ranges and their replacements. Works on bytes alone and never normalises line ends.

use std::ops::Range;

use crate::error::Error;

/// One replacement. An empty range inserts, an empty text deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub text: Vec<u8>,
}

/// The ranges of the inserted texts in the result, in the order of `edits`.
pub type Placed = Vec<Range<usize>>;

/// Applies all edits at once. Ranges refer to the original `bytes`; insertions at one place keep their order.
///
/// # Errors
/// Two edits that overlap, or one that lies outside `bytes`. This is a defect in the rules, not in the tree, so the
/// message names both ranges.
pub fn splice(bytes: &[u8], edits: &[Edit]) -> Result<(Vec<u8>, Placed), Error> {
    let mut order: Vec<usize> = (0..edits.len()).collect();
    order.sort_by_key(|&n| (edits[n].range.start, edits[n].range.end));
    let mut out = Vec::with_capacity(bytes.len() + edits.iter().map(|e| e.text.len()).sum::<usize>());
    let mut placed = vec![0..0; edits.len()];
    let mut at = 0;
    for n in order {
        let Edit { range, text } = &edits[n];
        if range.start < at || range.end > bytes.len() || range.start > range.end {
            return Err(Error::refused(format!(
                "two changes overlap: one replaces bytes {}..{}, another the bytes up to {at}",
                range.start, range.end
            )));
        }
        out.extend_from_slice(&bytes[at..range.start]);
        placed[n] = out.len()..out.len() + text.len();
        out.extend_from_slice(text);
        at = range.end;
    }
    out.extend_from_slice(&bytes[at..]);
    Ok((out, placed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(range: Range<usize>, text: &str) -> Edit {
        Edit { range, text: text.into() }
    }

    #[test]
    fn splice_inserts_replaces_and_deletes_in_any_order_given() {
        let (out, placed) = splice(b"0123456789", &[edit(8..10, ""), edit(2..4, "ab\u{e9}"), edit(0..0, ">")]).unwrap();
        assert_eq!(out, ">01ab\u{e9}4567".as_bytes());
        assert_eq!(placed, vec![11..11, 3..7, 0..1]);
    }

    #[test]
    fn splice_keeps_the_order_of_insertions_at_one_place() {
        let (out, _) = splice(b"ab", &[edit(1..1, "1"), edit(1..1, "2")]).unwrap();
        assert_eq!(out, b"a12b");
    }

    #[test]
    fn splice_refuses_edits_that_overlap_or_lie_outside() {
        assert!(splice(b"abc", &[edit(0..2, "x"), edit(1..3, "y")]).is_err());
        assert!(splice(b"abc", &[edit(2..4, "x")]).is_err());
    }
}
