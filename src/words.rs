//! Formats durations, sizes, counts and shell words. Other modules use only these functions.

use std::time::Duration;

use bytesize::ByteSize;

/// A duration for people.
pub fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", took.as_secs() / 60, took.as_secs() % 60),
        whole => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// A number of bytes, for example `7 B` or `1.5 GiB`.
pub fn bytes(number: u64) -> String {
    ByteSize(number).to_string()
}

/// A count with its noun: `1 file`, `2 files`.
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// A part of a whole in percent: `2.5 %`, `40 %`.
pub fn share(part: usize, whole: usize) -> String {
    percent(ratio(part, whole))
}

/// A part of a whole, from 0 to 1; 0 of nothing.
pub fn ratio(part: usize, whole: usize) -> f64 {
    let number = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    if whole == 0 { 0.0 } else { number(part) / number(whole) }
}

/// A share from 0 to 1 in percent, with a digit after the point where it is small.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// An abbreviated commit id, blob id or hash.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A text in HTML: nothing in it is markup.
pub fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A word quoted for a shell.
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

    #[test]
    fn small_shares_have_a_digit_after_the_point() {
        assert_eq!([share(1, 40), share(4, 10), share(0, 7), share(0, 0)], ["2.5 %", "40 %", "0 %", "0 %"]);
    }

    #[test]
    fn bytes_grow_into_larger_units() {
        assert_eq!([7, 2048, 3 << 29, 5 << 40].map(bytes), ["7 B", "2.0 KiB", "1.5 GiB", "5.0 TiB"]);
    }
}
