//! An explanation as one page of HTML that loads nothing.

use std::fmt::Write as _;

use crate::cause::explain::{ErrorLine, Explanation, Group, ShownFrame, Suspect};
use crate::error::plain;
use crate::words::{self, html};

const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}\
code,pre{font:13px/1.5 ui-monospace,monospace}pre{overflow-x:auto;background:#8881;padding:.6em}\
li{margin:.6em 0}small{opacity:.7}summary{cursor:pointer}";

/// A text in HTML, with what a terminal would act on escaped too.
fn escaped(text: &str) -> String {
    html(&plain(text))
}

/// A sentence in HTML: what it quotes is code.
fn prose(text: &str) -> String {
    let parts: Vec<String> = text.split('`').map(escaped).collect();
    // Quotes come in pairs; a single one is a character like any other.
    let Some((last, pairs)) = parts.split_last().filter(|_| parts.len() % 2 == 1) else { return parts.join("`") };
    let quoted = |pair: &[String]| format!("{}<code>{}</code>", pair[0], pair[1]);
    pairs.chunks(2).map(quoted).chain([last.clone()]).collect()
}

fn stack(frames: &[ShownFrame]) -> String {
    let mut text = String::new();
    for ShownFrame { function, file, line, variables } in frames {
        let _ = writeln!(text, "{function}  {file}:{line}");
        variables.iter().for_each(|variable| text.push_str(&format!("    {variable}\n")));
    }
    format!("<pre>{}</pre>", escaped(&text))
}

/// The page. `head` says how the program ended.
pub fn page(explanation: &Explanation, head: &str) -> String {
    let Explanation { trace, suspects, errors, goroutines, limits, end, .. } = explanation;
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{0}</title><style>{STYLE}</style><h1>{0}</h1><p>{1}</p>\n",
        escaped(trace),
        prose(head)
    );
    end.message.iter().for_each(|message| page.push_str(&format!("<pre>{}</pre>", escaped(message))));
    page.push_str("<h2>Suspects</h2><ol>\n");
    for Suspect { kind, function, file, line, goroutine, why, evidence, command, .. } in suspects {
        let said: Vec<String> = [why].into_iter().chain(evidence).map(|line| prose(line)).collect();
        let _ = writeln!(
            page,
            "<li><code>{}</code> <small>{}:{line}, {kind}, goroutine {goroutine}</small><br>{}<br><code>{}</code></li>",
            escaped(function),
            escaped(file),
            said.join("<br>"),
            escaped(command)
        );
    }
    page.push_str("</ol><h2>Last error lines</h2>\n");
    for (number, ErrorLine { event, time, text, times, goroutine, stack: frames }) in errors.iter().enumerate() {
        let open = if number == 0 { " open" } else { "" };
        let times = words::count(*times, "time");
        let _ = writeln!(
            page,
            "<details{open}><summary><code>{}</code> <small>event {event}, {time:.3} s, {times}, goroutine {goroutine}</small></summary>{}</details>",
            escaped(text),
            stack(frames)
        );
    }
    page.push_str("<h2>Goroutines at the end</h2>\n");
    for Group { count, waits, held_by, created, stack: frames, .. } in goroutines {
        let more: Vec<String> = [
            held_by.as_ref().map(|by| format!("held by {by}")),
            created.as_ref().map(|created| format!("created by {created}")),
        ]
        .into_iter()
        .flatten()
        .map(|text| escaped(&text))
        .collect();
        let (waits, more) = (escaped(waits), more.join(", "));
        let _ = writeln!(
            page,
            "<details><summary>{count} &times; waits for {waits} <small>{more}</small></summary>{}</details>",
            stack(frames)
        );
    }
    limits.iter().for_each(|limit| page.push_str(&format!("<p>{}</p>\n", prose(limit))));
    page.push_str("</html>\n");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_wrote_is_no_markup() {
        assert_eq!(prose("`a<b` is `c`, not `"), "`a&lt;b` is `c`, not `");
        assert_eq!(prose("`a<b` is c"), "<code>a&lt;b</code> is c");
        assert_eq!(escaped("<script>\"&\u{1b}[31m"), "&lt;script&gt;&quot;&amp;\\u{1b}[31m");
    }
}
