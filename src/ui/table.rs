//! Rows under a head.

use std::fmt::Write as _;

/// Rows under a head.
pub struct Table<'a, const N: usize> {
    pub head: [&'a str; N],
    pub rows: &'a [[String; N]],
    /// The columns whose cells end under each other.
    pub right: &'a [usize],
    /// The columns that go where there is no room for all, the first one first.
    pub spared: &'a [usize],
}

impl<const N: usize> Table<'_, N> {
    /// The text: each column as wide as its widest cell, and only as many as fit into a terminal's columns.
    pub fn within(&self, columns: Option<usize>) -> String {
        let Self { head, rows, right, spared } = self;
        let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).chain([head[n].len()]).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        let mut shown: Vec<usize> = (0..N).collect();
        let all = |shown: &[usize]| shown.iter().map(|n| widths[*n] + 2).sum::<usize>().saturating_sub(2);
        for column in *spared {
            if columns.is_some_and(|columns| all(&shown) > columns) {
                shown.retain(|n| n != column);
            }
        }
        let mut text = String::new();
        for row in [head.map(str::to_owned)].iter().chain(*rows) {
            let cell = |n: &usize| match right.contains(n) {
                true => format!("{:>1$}", row[*n], widths[*n]),
                false => format!("{:1$}", row[*n], widths[*n]),
            };
            let _ = writeln!(text, "{}", shown.iter().map(cell).collect::<Vec<_>>().join("  ").trim_end());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["bcd".to_owned(), "10".to_owned()]];
        let table = Table { head: ["name", "n"], rows: &rows, right: &[1], spared: &[] };
        assert_eq!(table.within(None), "name   n\na      1\nbcd   10\n");
    }

    #[test]
    fn columns_go_where_there_is_no_room_for_them() {
        let rows = [["a".to_owned(), "1".to_owned(), "x".to_owned()]];
        let table = Table { head: ["name", "n", "why"], rows: &rows, right: &[], spared: &[1, 2] };
        let shown = [12, 11, 8, 1].map(|columns| table.within(Some(columns)));
        assert_eq!(shown[0], "name  n  why\na     1  x\n");
        assert_eq!(shown[1], "name  why\na     x\n");
        assert_eq!((shown[2].as_str(), &shown[3]), ("name\na\n", &shown[2]));
    }
}
