//! Terminal manners: colours, widths, and how much is said beside results.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Run, Tree, command, copy, fixtures};
use crate::streams::Layout;
use crate::watched::Watched;

/// What a command shows on a terminal of so many columns, with a terminal's name as people have it.
fn shown(tool: &mut Command, columns: u16) -> String {
    tool.env("TERM", "xterm-256color").env("PAGER", "cat");
    let (mut watched, keys) = Watched::on_a_terminal_of(tool, columns);
    watched.ends();
    let said = watched.said();
    drop(keys);
    said.replace("\r\n", "\n")
}

/// A text without the sequences that colour it; there are no others.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split("\u{1b}[");
    out.push_str(parts.next().unwrap());
    for part in parts {
        let (codes, rest) = part.split_once('m').unwrap_or_else(|| panic!("{part:?} sets no colour"));
        assert!(codes.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'), "{codes:?}");
        out.push_str(rest);
    }
    assert!(!out.contains('\u{1b}'), "{out:?}");
    out
}

/// A store of traces, and the folder that it is in.
fn store() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().canonicalize().unwrap().join("rr");
    copy(&fixtures().join("traces").join(Layout::Rr59.name()), &store);
    (folder, store)
}

/// A checkout with branches that fit, that do not, and with a long name.
fn branches() -> Tree {
    let tree = Tree::patched("installer");
    tree.git(&["stash", "--quiet", "--include-untracked"]);
    tree.git(&["branch", "a-branch-whose-name-is-as-long-as-those-of-people-are"]);
    tree.git(&["checkout", "--quiet", "-b", "other"]);
    tree.edit("pkg/clusterapi/system.go", "package clusterapi", "package clusterapi // }{");
    tree.remove("pkg/clusterapi/internal/process/process.go");
    tree.commit("without the supervisor");
    tree
}

/// The commands whose text is for people, ready to run where they have something to show.
fn commands(tree: &Tree, store: &std::path::Path) -> Vec<(&'static str, Command)> {
    let tool = |arguments: &[&str]| {
        let mut tool = tree.tool();
        // Without the bar that shows how far it is.
        tool.args(arguments).arg("--quiet").env("_RR_TRACE_DIR", store);
        tool
    };
    vec![
        ("doctor", tool(&["doctor", "--quick"])),
        ("check", tool(&["check", "--all"])),
        ("status", tool(&["status"])),
        ("apply", tool(&["apply", "--dry-run"])),
        ("traces", tool(&["traces"])),
        ("traces show", tool(&["traces", "show", "cluster-api-provider-aws-0"])),
        ("traces prune", tool(&["traces", "prune", "--dry-run"])),
    ]
}

#[test]
fn text_fits_terminals_of_60_80_and_120_columns_and_keeps_every_word() {
    let (_folder, store) = store();
    let tree = branches();
    let patched = Tree::patched("installer");
    // The other tree lacks a file, so that apply refuses it.
    let here = commands(&tree, &store).into_iter().filter(|(name, _)| *name != "apply");
    let all = here.chain(commands(&patched, &store).into_iter().filter(|(name, _)| ["status", "apply"].contains(name)));
    for (name, mut tool) in all {
        let piped = Run::of(tool.output().unwrap());
        let piped = piped.stdout + &piped.stderr;
        assert!(!piped.contains('\u{1b}'), "{name}: a pipe gets no colours\n{piped}");
        for columns in [60, 80, 120] {
            let text = plain(&shown(&mut tool, columns));
            let fits = |line: &&str| {
                // A command is not broken, nor is a word that fits into no line.
                let widest = line.split_whitespace().map(|word| word.chars().count()).max().unwrap_or_default();
                let text = line.trim_start();
                line.chars().count() <= usize::from(columns)
                    || widest + 4 > usize::from(columns)
                    || ["$ ", "rr-patch ", "`rr-patch ", "`git "].iter().any(|command| text.starts_with(command))
            };
            let wide: Vec<&str> = text.lines().filter(|line| !fits(line)).collect();
            assert!(wide.is_empty(), "{name} at {columns}:\n{}\nin\n{text}", wide.join("\n"));
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let (here, there) = (words(&text), words(&piped));
            // Tables leave columns out; every other text is the same, word for word.
            match ["check", "traces", "traces prune"].contains(&name) {
                true => assert!(here.iter().all(|word| there.contains(word)), "{name} at {columns}:\n{text}"),
                // How much room there is may change between two looks.
                false if name == "doctor" => assert_eq!(here.len(), there.len(), "{name} at {columns}:\n{text}"),
                false => assert_eq!(here, there, "{name} at {columns}"),
            }
        }
    }
}

#[test]
fn errors_are_broken_between_words_on_terminals_and_nowhere_else() {
    let tree = branches();
    tree.git(&["checkout", "--quiet", "other"]);
    let mut tool = tree.tool();
    tool.args(["apply", "--quiet"]);
    let piped = Run::of(tool.output().unwrap()).exits(3).stderr;
    assert!(piped.lines().any(|line| line.chars().count() > 60), "{piped}");
    let text = plain(&shown(&mut tool, 60));
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 60 && !line.contains('`')).collect();
    assert!(wide.is_empty(), "{}\nin\n{text}", wide.join("\n"));
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), piped.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn check_goes_on_with_a_reason_in_its_own_column_or_on_a_line_of_its_own() {
    let tree = branches();
    let mut tool = tree.tool();
    tool.args(["check", "--quiet", "--all"]);
    let at = |columns, tool: &mut Command| {
        let text = plain(&shown(tool, columns));
        let from = text.lines().skip_while(|line| !line.starts_with("other"));
        from.take_while(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let why = "`pkg/clusterapi/internal/process/process.go`";
    let outcome = " ".repeat(74);
    assert_eq!(at(120, &mut tool), [format!("{:55}{:19}{why}", "other", "2026-01-01"), format!("{outcome}is missing")]);
    assert_eq!(at(80, &mut tool), ["other".into(), format!("  {why} is missing")]);
}

#[test]
fn check_leaves_out_the_date_and_then_the_shape_before_it_breaks_words() {
    let tree = Tree::new("installer");
    let long = "a-branch-whose-name-is-as-long-as-those-of-people-are";
    tree.git(&["branch", long]);
    let mut tool = tree.tool();
    tool.args(["check", "--quiet", "--rev", "main", "--rev", long]);
    let at = |columns, tool: &mut Command| plain(&shown(tool, columns)).lines().take(3).collect::<Vec<_>>().join("\n");
    let wide = |text: &str| format!("{text:53}");
    assert_eq!(
        at(120, &mut tool),
        format!(
            "{}  date        shape  outcome\n{}  2026-01-01  P1+S6  ok\n{long}  2026-01-01  P1+S6  ok",
            wide("revision"),
            wide("main")
        )
    );
    assert_eq!(at(80, &mut tool), format!("{}  outcome\n{}  ok\n{long}  ok", wide("revision"), wide("main")));
    assert_eq!(at(60, &mut tool), format!("revision\n{}  ok\n{long}  ok", wide("main")));
}

#[test]
fn traces_leaves_out_columns_that_others_imply_on_a_narrow_terminal() {
    let (_folder, store) = store();
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.arg("traces").env("_RR_TRACE_DIR", &store);
    let heads: Vec<String> = [120, 80, 60]
        .map(|columns| {
            plain(&shown(&mut tool, columns)).lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .into();
    assert_eq!(heads[0], "name controller started length size state");
    assert_eq!(heads[1], "name started length size state");
    assert_eq!(heads[2], "name state");
}

#[test]
fn colours_come_on_terminals_and_where_they_are_asked_for() {
    let (_folder, store) = store();
    let coloured = |variables: &[(&str, &str)], arguments: &[&str], terminal: bool| {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        tool.args(["traces", "list"]).args(arguments).env("_RR_TRACE_DIR", &store).envs(variables.iter().copied());
        let text = if terminal { shown(&mut tool, 80) } else { Run::of(tool.output().unwrap()).exits(0).stdout };
        assert!(plain(&text).contains("complete"), "{text}");
        text.contains('\u{1b}')
    };
    assert!(coloured(&[], &[], true));
    assert!(!coloured(&[], &[], false));
    assert!(!coloured(&[("NO_COLOR", "1")], &[], true));
    assert!(coloured(&[("NO_COLOR", "1")], &["--color", "always"], true));
    assert!(coloured(&[("CLICOLOR_FORCE", "1")], &[], false));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1")], &["--color=never"], false));
    assert!(coloured(&[], &["--color=always"], false));
    assert!(!coloured(&[("CLICOLOR", "0")], &[], true));
}

#[test]
fn colours_mark_words_that_say_the_same_without_them() {
    let (_folder, store) = store();
    let tree = branches();
    let patched = Tree::patched("installer");
    for (name, word, tree) in [
        ("doctor", "ok", &tree),
        ("check", "ok", &tree),
        ("status", "patched:", &patched),
        ("status", "in place", &patched),
        ("traces", "complete", &tree),
        ("traces", "dead", &tree),
        ("traces show", "it can be replayed", &tree),
    ] {
        let mut tool = commands(tree, &store).into_iter().find(|(known, _)| *known == name).unwrap().1;
        let text = Run::of(tool.args(["--color", "always"]).output().unwrap()).stdout;
        let painted = text.split("\u{1b}[").any(|part| part.split_once('m').is_some_and(|(_, rest)| rest == word));
        assert!(painted, "{name}: `{word}` has no colour of its own in\n{text:?}");
        assert!(plain(&text).contains(word), "{name}");
    }
}

#[test]
fn names_of_files_cannot_colour_or_move_anything() {
    let tree = Tree::new("installer");
    tree.git(&["branch", "ordinary"]);
    let odd = "\u{9b}31mred";
    fs::create_dir(tree.path(odd)).unwrap();
    let text = Run::of(tree.tool().args(["status", odd, "--color", "always"]).output().unwrap());
    let all = text.stdout + &text.stderr;
    assert!(!plain(&all).contains('\u{9b}'), "{all:?}");
}

#[test]
fn help_takes_color_never_and_errors_are_coloured_on_terminals() {
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    assert!(!shown(tool.args(["--color", "never", "--help"]), 80).contains('\u{1b}'));
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    assert!(shown(tool.args(["man", "aply"]), 80).contains("m\u{1b}[31merror:\u{1b}[0m "), "an error in red");
}

#[test]
fn quiet_leaves_only_results_and_verbose_names_each_program() {
    let tree = Tree::patched("installer");
    let run = |arguments: &[&str]| tree.rr_patch(arguments).exits(0);
    let (quiet, normal) = (run(&["build", "--dry-run", "-q"]), run(&["build", "--dry-run"]));
    let verbose = run(&["build", "--dry-run", "-v"]);
    assert_eq!(quiet.stdout, normal.stdout);
    assert_eq!(quiet.stderr, "");
    let go = verbose.stderr.lines().any(|line| line.starts_with("+ /") && line.contains("/go "));
    assert!(go, "{}", verbose.stderr);
    assert!(!normal.stderr.contains("+ /"), "{}", normal.stderr);
    tree.rr_patch(&["status", "-q", "-v"]).exits(2);
}
