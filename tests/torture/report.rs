//! Counts per scenario and disturbance, and what must not be, grouped by kind.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::checks::Violation;
use crate::points::COLUMNS;

/// What came of all points.
#[derive(Default)]
pub struct Report {
    /// Points and those with a violation, by scenario and disturbance.
    rows: Vec<(String, BTreeMap<&'static str, Count>)>,
    /// Violations by scenario and kind: the point of each, and what was seen.
    violations: BTreeMap<(String, String), Vec<(String, String)>>,
    /// What could not be done here, and why.
    pub skipped: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    points: usize,
    bad: usize,
}

impl Report {
    /// Adds a point.
    pub fn add(&mut self, scenario: &str, trouble: &'static str, point: &str, found: &[Violation]) {
        let row = match self.rows.iter().position(|(name, _)| name == scenario) {
            Some(row) => row,
            None => {
                self.rows.push((scenario.to_owned(), BTreeMap::new()));
                self.rows.len() - 1
            }
        };
        let count = self.rows[row].1.entry(trouble).or_default();
        count.points += 1;
        count.bad += usize::from(!found.is_empty());
        for Violation { kind, what } in found {
            let list = self.violations.entry((scenario.to_owned(), kind.clone())).or_default();
            list.push((point.to_owned(), what.clone()));
        }
    }

    pub fn points(&self) -> usize {
        self.rows.iter().flat_map(|(_, counts)| counts.values()).map(|count| count.points).sum()
    }

    pub fn bad(&self) -> usize {
        self.rows.iter().flat_map(|(_, counts)| counts.values()).map(|count| count.bad).sum()
    }

    /// The whole report. Of each kind so many violations are shown.
    pub fn text(&self, shown: usize) -> String {
        let mut text = String::new();
        let width = self.rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("scenario".len());
        let _ = write!(text, "{:width$}", "scenario");
        let used = |name: &&str| self.rows.iter().any(|(_, counts)| counts.contains_key(name));
        let columns = ["none"]
            .iter()
            .chain(&COLUMNS)
            .filter(|name| used(name))
            .map(|name| (*name, name.len().max(7)))
            .collect::<Vec<_>>();
        for (name, wide) in &columns {
            let _ = write!(text, "  {name:>wide$}");
        }
        text.push('\n');
        for (name, counts) in &self.rows {
            let _ = write!(text, "{name:width$}");
            for (column, wide) in &columns {
                let cell = match counts.get(column) {
                    None => "-".to_owned(),
                    Some(Count { points, bad: 0 }) => points.to_string(),
                    Some(Count { points, bad }) => format!("{bad}!/{points}"),
                };
                let _ = write!(text, "  {cell:>wide$}");
            }
            text.push('\n');
        }
        for ((scenario, kind), list) in &self.violations {
            let points = list.iter().map(|(point, _)| point).collect::<std::collections::BTreeSet<_>>().len();
            let _ = writeln!(text, "\n{scenario}: {kind}, at {points} points");
            for (point, what) in list.iter().take(shown) {
                let _ = writeln!(text, "  {what}\n    scripts/torture --only {scenario} --point {point}");
            }
            if list.len() > shown {
                let rest: Vec<&str> = list[shown..].iter().map(|(point, _)| point.as_str()).take(30).collect();
                let _ = writeln!(text, "  and {} more: {}", list.len() - shown, rest.join(" "));
            }
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "\nskipped: {skipped}");
        }
        let _ = writeln!(text, "\n{} points, {} with a violation", self.points(), self.bad());
        text
    }
}
