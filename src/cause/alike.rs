//! Lines of two runs of one program differ in what no run can repeat: times, process ids, addresses, generated names.
//! [`alike`] replaces these, so that what is left is what the program did.
//!
//! Weak spot: a number that only counts up, like an id of the program's own, is kept, since most numbers are results.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::rr::log::without_colours;

/// The letters and digits of Kubernetes' generated names: no vowels, and nothing that looks like another.
const GENERATED: &str = "bcdfghjklmnpqrstvwxz2456789";

/// A pattern, and what stands for its matches. `$1` is what the first group matched.
type Rule = (LazyLock<Option<Regex>>, &'static str);

macro_rules! rule {
    ($pattern:expr, $instead:expr) => {
        (LazyLock::new(|| Regex::new($pattern).ok()), $instead)
    };
}

/// In this order: a later pattern would match a part of what an earlier one replaces.
static RULES: [Rule; 13] = [
    rule!(r"^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ", "$1<time> <pid> "),
    rule!(
        r"\b\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?Z\b| ?[+-]\d\d:?\d\d\b)?(?: [A-Z]{3,4}\b)?(?: m=[+-][\d.]+)?",
        "<time>"
    ),
    rule!(r#"("(?:ts|time|timestamp)"\s*:\s*)\d+(?:\.\d+)?(?:e\+?\d+)?"#, "$1<time>"),
    rule!(r"\b\d\d:\d\d:\d\d(?:\.\d+)?\b", "<time>"),
    rule!(r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", "<uuid>"),
    rule!(r"\b0x[0-9a-fA-F]+\b", "<hex>"),
    rule!(r"\b(?:[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{32})\b", "<hash>"),
    rule!(r"\b(goroutine |goid[=:] ?|gp[=:] ?)\d+\b", "$1<n>"),
    rule!(r#"(?i)\b(pid"?[=: ] ?"?)\d+\b"#, "$1<pid>"),
    rule!(r"((?:\b\d{1,3}(?:\.\d{1,3}){3}|\blocalhost|\[[0-9a-fA-F:]*\])):\d{2,5}\b", "$1:<port>"),
    rule!(r#"(?i)\b(port"?[=: ] ?"?)\d{2,5}\b"#, "$1<port>"),
    rule!(r"(?:\b|-)(?:\d+(?:\.\d+)?(?:h|m|s|ms|µs|us|ns))+\b", "<duration>"),
    // Resource versions, ids and the names of temporary folders.
    rule!(r"\d{6,}", "<n>"),
];

/// `-` and what Kubernetes makes: five characters, or eight to ten of a replica set.
static SUFFIX: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"-([{GENERATED}]{{8,10}}|[{GENERATED}]{{5}})\b")).ok());

/// The line as another run would have written it.
pub fn alike(line: &str) -> String {
    let mut text = without_colours(line).trim_end().to_owned();
    for (pattern, instead) in &RULES {
        if let Some(pattern) = &**pattern {
            text = pattern.replace_all(&text, *instead).into_owned();
        }
    }
    let suffix = |found: &Captures| match is_generated(&found[1]) {
        true => "-<name>".to_owned(),
        false => found[0].to_owned(),
    };
    match &*SUFFIX {
        Some(pattern) => pattern.replace_all(&text, suffix).into_owned(),
        None => text,
    }
}

/// One in five of the short ones has no digit. `https` is the one word of many names that looks like them.
fn is_generated(suffix: &str) -> bool {
    suffix != "https" && (suffix.len() == 5 || suffix.bytes().any(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn same(one: &str, other: &str) {
        assert_eq!(alike(one), alike(other));
    }

    #[track_caller]
    fn differ(one: &str, other: &str) {
        assert_ne!(alike(one), alike(other));
    }

    #[test]
    fn what_no_run_can_repeat_is_equal() {
        same(
            r#"I1124 10:00:00.000001       1 main.go:33] "Created" pod="a/web-7d4b9c6f8-x2k9z""#,
            r#"I1125 11:30:59.999999    4711 main.go:33] "Created" pod="a/web-64567bbcc9-5qw4l""#,
        );
        same(
            "2026-11-24T10:00:00.123Z\tINFO\tlistening on 127.0.0.1:43211 after 1.5s",
            "2026-11-24T10:07:09Z\tINFO\tlistening on 127.0.0.1:80 after 20ms",
        );
        same(r#"{"ts":1795000000.25,"msg":"x"}"#, r#"{"ts":1.7950001e+09,"msg":"x"}"#);
        same("main.f(0xc000012340, 0x1)", "main.f(0xc000099990, 0x2)");
        same("goroutine 17 [chan receive, 2 minutes]:", "goroutine 9 [chan receive, 2 minutes]:");
        same("uid 3f2b8c1e-0d4a-4a6b-9f10-aabbccddeeff", "uid 00000000-0d4a-4a6b-9f10-aabbccddeeff");
        same("in /tmp/TestX123456789/001, pid=17", "in /tmp/TestX999999/001, pid=4711");
        same("\u{1b}[31mred\u{1b}[0m", "red");
    }

    #[test]
    fn results_attempts_names_and_places_are_not_equal() {
        differ("attempt 3 of 5", "attempt 4 of 5");
        differ("main.go:33: lost", "main.go:34: lost");
        differ("machine worker-0 is ready", "machine worker-1 is ready");
        differ("state=ready", "state=failed");
        differ("scheme-https", "scheme-w5kz2");
        differ("10.0.0.1:80", "10.0.0.2:80");
    }

    #[test]
    fn every_pattern_compiles() {
        assert!(RULES.iter().all(|(pattern, _)| pattern.is_some()) && SUFFIX.is_some());
    }
}
