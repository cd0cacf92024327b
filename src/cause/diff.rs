//! Where the logs of a good and a bad run of one program part.
//!
//! Goroutines write in another order in each run, so a line that both wrote, only elsewhere, has moved; it is no
//! difference. The first line that only one run wrote is the one that counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use similar::DiffOp;

use super::alike::alike;
use crate::patch::hunks::by_line;
use crate::rr::log::Line;

/// How long the alignment may take. After that it is still right, and may be longer than it need be.
const TIME: Duration = Duration::from_secs(10);

/// Lines of which at least one run lacks one, by their places in the two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The first line here that only the good run wrote.
    pub good: Option<usize>,
    /// The first line here that only the bad run wrote.
    pub bad: Option<usize>,
    /// Where each run goes on: the place after the last line that both wrote in the same order.
    pub at: (usize, usize),
}

/// Two logs, side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Lines that both wrote in the same order, by their places.
    pub equal: Vec<(usize, usize)>,
    /// Lines that both wrote, in another order.
    pub moved: Vec<(usize, usize)>,
    /// The places where they part, in the order of time.
    pub partings: Vec<Parting>,
    /// How many lines only the good run wrote, and how many only the bad one.
    pub only: (usize, usize),
}

fn bytes(lines: &[String]) -> Vec<&[u8]> {
    lines.iter().map(String::as_bytes).collect()
}

/// Aligns two logs.
pub fn compare(good: &[Line], bad: &[Line]) -> Comparison {
    let good: Vec<String> = good.iter().map(|line| alike(&line.text)).collect();
    let bad: Vec<String> = bad.iter().map(|line| alike(&line.text)).collect();
    let ops = by_line(&bytes(&good), &bytes(&bad), Some(Instant::now() + TIME));
    let mut found = Comparison::default();
    // What the alignment left over, by the text: a text that both runs have there has moved.
    let mut left: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for op in &ops {
        let (old, new) = (op.old_range(), op.new_range());
        if let DiffOp::Equal { .. } = op {
            found.equal.extend(old.zip(new));
            continue;
        }
        old.for_each(|place| left.entry(&good[place]).or_default().0.push(place));
        new.for_each(|place| left.entry(&bad[place]).or_default().1.push(place));
    }
    found.moved = left.values().flat_map(|(old, new)| old.iter().copied().zip(new.iter().copied())).collect();
    found.moved.sort_unstable();
    // Of several lines with one text, the first ones count as moved, and the rest as missing.
    let (mut only_good, mut only_bad) = (Vec::new(), Vec::new());
    for (old, new) in left.values() {
        let pairs = old.len().min(new.len());
        only_good.extend(&old[pairs..]);
        only_bad.extend(&new[pairs..]);
    }
    only_good.sort_unstable();
    only_bad.sort_unstable();
    found.only = (only_good.len(), only_bad.len());
    let first = |places: &[usize], range: std::ops::Range<usize>| {
        places.get(places.partition_point(|&place| place < range.start)).copied().filter(|place| range.contains(place))
    };
    // A deletion and an insertion side by side are one place where the runs part.
    for op in ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        let (old, new) = (op.old_range(), op.new_range());
        let parting = Parting {
            good: first(&only_good, old.clone()),
            bad: first(&only_bad, new.clone()),
            at: (old.start, new.start),
        };
        if parting.good.is_none() && parting.bad.is_none() {
            continue;
        }
        match found.partings.last_mut() {
            Some(last) if touches(&ops, last.at, (old.end, new.end)) => {
                last.good = last.good.or(parting.good);
                last.bad = last.bad.or(parting.bad);
            }
            _ => found.partings.push(parting),
        }
    }
    found
}

/// Whether no equal line is between a place and another one.
fn touches(ops: &[DiffOp], from: (usize, usize), to: (usize, usize)) -> bool {
    !ops.iter().any(|op| {
        matches!(op, DiffOp::Equal { .. })
            && op.old_range().start >= from.0
            && op.old_range().end <= to.0
            && op.new_range().start >= from.1
            && op.new_range().end <= to.1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Stream;

    fn log(texts: &[&str]) -> Vec<Line> {
        let line = |(event, text): (u64, &&str)| Line {
            event,
            time: 0.0,
            pid: 1,
            stream: Stream::Output,
            text: (*text).into(),
        };
        (1..).zip(texts).map(line).collect()
    }

    #[test]
    fn equal_logs_part_nowhere() {
        let found = compare(&log(&["10:00:00 a", "b"]), &log(&["10:00:01 a", "b"]));
        assert_eq!((found.equal.len(), found.partings.len(), found.moved.len()), (2, 0, 0));
    }

    #[test]
    fn lines_that_only_moved_are_told_apart_from_the_first_line_that_is_missing() {
        let good = log(&["start", "worker a", "worker b", "stored 1", "done"]);
        let bad = log(&["start", "worker b", "worker a", "conflict", "done"]);
        let found = compare(&good, &bad);
        assert_eq!(found.moved.len(), 1, "{found:?}");
        let first = found.partings[0];
        assert_eq!((first.good, first.bad), (Some(3), Some(3)), "{found:?}");
        assert_eq!((found.partings.len(), found.only), (1, (1, 1)));
    }

    #[test]
    fn a_line_that_was_written_twice_is_missing_once() {
        let found = compare(&log(&["a", "tick", "b"]), &log(&["tick", "a", "tick", "b"]));
        assert_eq!((found.only, found.moved.len()), ((0, 1), 0));
        let first = found.partings[0];
        assert_eq!((first.good, first.bad, first.at), (None, Some(0), (0, 0)));
    }

    #[test]
    fn a_run_that_ends_early_parts_at_its_end() {
        let found = compare(&log(&["a", "b", "c"]), &log(&["a"]));
        assert_eq!(found.partings, [Parting { good: Some(1), bad: None, at: (1, 1) }]);
    }
}
