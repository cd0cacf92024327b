//! What changes make unreachable, searched in logarithmic time: a function may hold very many uses of one timer.

use std::collections::HashMap;
use std::ops::Range;

use super::RuleMatch;
use crate::patch::go::GoFile;

/// What changes make unreachable: for each file, ranges of which none lies in another, in order.
pub struct Dead<'file>(HashMap<&'file str, Vec<Range<usize>>>);

impl<'file> Dead<'file> {
    pub fn of(fits: &[RuleMatch<'file>]) -> Self {
        let mut all: HashMap<&str, Vec<Range<usize>>> = HashMap::new();
        for fit in fits {
            all.entry(fit.file.path()).or_default().extend(fit.dead.iter().cloned());
        }
        all.values_mut().for_each(|ranges| *ranges = outermost(std::mem::take(ranges)));
        Self(all)
    }

    /// Whether a place is in one of them, and not its beginning.
    pub fn holds(&self, file: &GoFile, at: usize) -> bool {
        self.0.get(file.path()).and_then(|ranges| around(ranges, at)).is_some_and(|range| range.start < at)
    }
}

/// Those of the ranges of nodes that lie in no other one, in order.
pub fn outermost(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut end = 0;
    ranges.retain(|range| {
        let outside = range.end > end;
        end = end.max(range.end);
        outside
    });
    ranges
}

/// The one of [`outermost`] ranges that holds a place.
pub fn around(ranges: &[Range<usize>], at: usize) -> Option<&Range<usize>> {
    let next = ranges.partition_point(|range| range.start <= at);
    ranges[..next].last().filter(|range| range.contains(&at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn around_finds_the_outermost_range_of_a_place() {
        let ranges = outermost(vec![20..30, 4..8, 2..10, 22..24, 2..3]);
        assert_eq!(ranges, [2..10, 20..30]);
        assert_eq!([1, 2, 7, 10, 19, 23, 30].map(|at| around(&ranges, at).map(|range| range.start)), {
            [None, Some(2), Some(2), None, None, Some(20), None]
        });
    }
}
