//! Counts the nodes that the rules look at: twice as long a source may cost twice as much.

use super::*;
use crate::patch::go::VISITS;

/// The sources of the complete fixture, with `process.go` changed.
fn sources(change: impl Fn(String) -> String) -> Vec<GoFile> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/installer");
    let file = |path: &str| {
        let text = std::fs::read_to_string(folder.join(path)).unwrap();
        GoFile::parse(path, if path == REQUIRED[0] { change(text) } else { text }.into_bytes()).unwrap()
    };
    REQUIRED.map(file).into()
}

/// How many nodes are looked at from parsing to the patched sources, or to a refusal.
fn visits(change: impl Fn(String) -> String) -> usize {
    // They are read once, and count for nothing.
    let rules = Rules::built_in().unwrap();
    VISITS.set(0);
    let sources = sources(change);
    let options = Options::default();
    let _ = apply(&rules, &sources, &options, &Mark::new(&options));
    VISITS.get()
}

#[track_caller]
fn grows_with_the_source(change: impl Fn(String, usize) -> String) {
    let [none, some, twice] = [0, 1_000, 2_000].map(|number| visits(|text| change(text, number)));
    // The first hundred may be looked at more closely than all that follow.
    let (first, second) = (some - none, twice - some);
    assert!(second <= first * 11 / 10 + 100, "1,000 more cost {first} nodes, and another 1,000 cost {second}");
}

/// The text with `line`, which may hold `#` for a number, put `times` before the line that holds `mark`.
fn before_line(text: String, mark: &str, line: &str, times: usize) -> String {
    let at = text.find(mark).unwrap();
    let at = text[..at].rfind('\n').unwrap() + 1;
    let lines: String = (0..times).map(|number| line.replace('#', &number.to_string()) + "\n").collect();
    [&text[..at], &lines, &text[at..]].concat()
}

#[test]
fn comments_and_functions_at_the_top_are_looked_at_once() {
    grows_with_the_source(|text, times| text + &"\n// c\n".repeat(times));
    grows_with_the_source(|text, times| before_line(text, "func (ps *State) Start", "// c", times));
    grows_with_the_source(|text, times| before_line(text, "func (ps *State) Start", "func f#() {}", times));
}

#[test]
fn comments_above_a_place_are_looked_at_once() {
    for mark in ["ps.Cmd.Start()", "time.After(ps.StartTimeout)", "exec.CommandContext("] {
        grows_with_the_source(|text, times| before_line(text, mark, "// c", times));
    }
}

#[test]
fn statements_and_uses_of_a_timer_are_looked_at_once() {
    let mark = "if err := ps.Cmd.Start()";
    grows_with_the_source(|text, times| before_line(text, mark, "\tx# := 1", times));
    grows_with_the_source(|text, times| before_line(text, mark, "\tt# := time.After(ps.StartTimeout)", times));
    let timer = |text: String, line: &str, times| {
        let name =
            text.split(" := time.After(ps.StartTimeout)").next().unwrap().rsplit('\t').next().unwrap().to_owned();
        before_line(text, "time.After(ps.StartTimeout)\n", &line.replace("NAME", &name), times)
    };
    grows_with_the_source(|text, times| timer(text, "\tif NAME != nil { println() }", times));
    grows_with_the_source(|text, times| timer(text, "\tf(NAME)", times));
    grows_with_the_source(|text, times| timer(text, "\tselect { case <-NAME: println() }", times));
}
