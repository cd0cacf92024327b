//! Rows under a head.

use std::fmt::Write as _;

/// Rows under a head, each column as wide as its widest cell; those that `right` names end under each other.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]], right: &[usize]) -> String {
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).chain([head[n].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [head.map(str::to_owned)].iter().chain(rows) {
        let cell = |n: usize| match right.contains(&n) {
            true => format!("{:>1$}", row[n], widths[n]),
            false => format!("{:1$}", row[n], widths[n]),
        };
        let _ = writeln!(text, "{}", std::array::from_fn::<_, N, _>(cell).join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["bcd".to_owned(), "10".to_owned()]];
        assert_eq!(table(["name", "n"], &rows, &[1]), "name   n\na      1\nbcd   10\n");
    }
}
