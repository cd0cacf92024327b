//! `rr-patch explain` on recordings of the seeded defects.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::defects::{self, is};

#[test]
fn explain_names_the_suspects_of_the_seeded_defects_and_how_each_ended() {
    let (mut first, mut three, mut ends) = (0, 0, 0);
    let mut report = String::new();
    for name in defects::names() {
        let wanted = defects::wanted(&name);
        // The recording is no part of what is timed.
        if defects::trace(&name).is_none() {
            return;
        }
        let began = Instant::now();
        let Some(run) = defects::run(&name, &["explain", "--format", "json"]) else { return };
        let took = began.elapsed();
        let found = run.exits(0).json();
        let empty = Vec::new();
        let suspects = found["suspects"].as_array().unwrap_or(&empty);
        let of = wanted["suspects"].as_array().unwrap();
        let among = |wanted: &Value| suspects.iter().take(3).any(|suspect| is(&name, suspect, wanted));
        let leads = suspects.first().is_some_and(|suspect| match wanted["any_order"].as_bool() {
            Some(true) => of.iter().any(|wanted| is(&name, suspect, wanted)) && of.iter().all(among),
            _ => is(&name, suspect, &of[0]),
        });
        let ended = wanted["end"].as_object().unwrap().iter().all(|(key, value)| found["end"][key] == *value);
        first += usize::from(leads);
        three += usize::from(among(&of[0]));
        ends += usize::from(ended);
        let names: Vec<String> = suspects.iter().take(3).map(|s| format!("{}:{}", s["function"], s["line"])).collect();
        report.push_str(&format!(
            "{name}: first {leads}, end {ended} {}, {took:.1?}: {}\n",
            found["end"],
            names.join(" ")
        ));
        assert!(took < Duration::from_secs(30), "{name} took {took:?}");
    }
    let all = defects::names().len();
    assert!(
        first * 20 >= all * 16 && three == all && ends == all,
        "first {first}, among three {three}, ends {ends} of {all}\n{report}"
    );
}

#[test]
fn what_a_program_reports_while_it_stops_is_not_why_it_was_stopped() {
    let Some(run) = defects::run("conflict", &["explain", "--format", "json"]) else { return };
    let found = run.exits(0).json();
    let texts: Vec<&str> =
        found["errors"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert!(texts[0].contains("Reconciler error"), "{texts:?}");
    assert!(!texts.iter().any(|text| text.contains("failed to release the lease")), "{texts:?}");
    assert_eq!(found["suspects"][0]["function"], "main.(*reconciler).reconcile");
}

#[test]
fn explain_writes_a_page_of_html_that_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let Some(run) = defects::run("deferred-cancel", &["explain", "--html", page.to_str().unwrap()]) else { return };
    run.exits(0).says(&["wrote `"]);
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.contains("<code>main.connect</code>"), "{text}");
    assert!(!["<script", "<link", "<img", "src=", "href=", "@import", "url("].iter().any(|word| text.contains(word)));
    assert!(text.contains("&quot;describe failed&quot;"), "{text}");
}

#[test]
fn explain_prints_suspects_errors_and_goroutines_as_text() {
    let Some(run) = defects::run("lock-kept", &["explain"]) else { return };
    run.exits(0).prints(&[
        "was stopped from outside, signal 15",
        "1. main.(*inventory).reserve",
        "took the lock that goroutines",
        "held by goroutine",
        "\"reserve\" err=\"no such host\" host=\"c\"",
        "next: `rr-patch replay ",
    ]);
}
