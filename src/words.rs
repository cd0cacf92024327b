//! The only words for durations, counts and what is typed into a shell.

use std::time::Duration;

/// A duration for people.
pub fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", took.as_secs() / 60, took.as_secs() % 60),
        whole => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// `1 file`, `2 files`.
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// A word for a shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_grow_into_minutes_and_hours() {
        let shown: Vec<_> = [1.25, 61.0, 7325.0].map(|s| seconds(Duration::from_secs_f64(s))).into();
        assert_eq!(shown, ["1.2 s", "1 min 01 s", "2 h 02 min"]);
    }
}
