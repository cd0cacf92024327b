//! The book: its reference is made from the command line and from the schemas, and what it shows of a console is run.
//!
//! `RR_PATCH_BLESS=1 cargo test --test rr-patch -- book::` writes the reference.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use rr_patch::cli::{Cli, ENVIRONMENT};

use crate::harness::{Run, Tree, command, copy, fixtures};
use crate::streams::Layout;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn help(words: &[&str]) -> String {
    let run = Run::of(command(env!("CARGO_BIN_EXE_rr-patch")).args(words).arg("--help").output().unwrap());
    run.exits(0).stdout
}

/// The page of a command and of those below it, as `--help` has them.
fn page(of: &clap::Command) -> String {
    let name = of.get_name();
    let mut text = format!("# `rr-patch {name}`\n\n```text\n{}```\n", help(&[name]));
    for below in of.get_subcommands().filter(|below| below.get_name() != "help") {
        let below = below.get_name();
        text.push_str(&format!("\n## `rr-patch {name} {below}`\n\n```text\n{}```\n", help(&[name, below])));
    }
    text
}

fn environment() -> String {
    let rows: Vec<String> = ENVIRONMENT.iter().map(|(name, says)| format!("| `{name}` | {says} |\n")).collect();
    format!(
        "# Environment\n\nWhat rr-patch reads, the recorder's and the debugger's variables among it. `rr-patch --help` lists the \
         same.\n\n| variable | meaning |\n| --- | --- |\n{}\n`hack/build.sh` reads its own (MODE, TAGS, GOFLAGS and others): \
         `rr-patch build --env NAME=VALUE` sets them.\n",
        rows.concat()
    )
}

fn schemas() -> String {
    let tool =
        |words: &[&str]| Run::of(command(env!("CARGO_BIN_EXE_rr-patch")).args(words).output().unwrap()).exits(0).stdout;
    let mut text =
        "# Documents\n\nWhat `--format json` prints. `rr-patch schema NAME` prints a document's JSON Schema; the same \
                    files lie in `docs/schemas/`.\n\n| document | what it is | schema |\n| --- | --- | --- |\n"
            .to_owned();
    for name in tool(&["schema"]).lines() {
        let schema: serde_json::Value = serde_json::from_str(&tool(&["schema", name])).unwrap();
        let what = schema["description"].as_str().unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        let file = name.trim_start_matches("rr-patch/").replace('/', "-");
        text.push_str(&format!("| `{name}` | {what} | [{file}.json](../schemas/{file}.json) |\n"));
    }
    text
}

#[test]
fn reference_is_what_the_command_line_and_the_schemas_say() {
    let program = Cli::command();
    let commands: Vec<_> = program.get_subcommands().filter(|one| one.get_name() != "help").collect();
    let mut pages: Vec<(PathBuf, String)> =
        commands.iter().map(|one| (docs().join(format!("reference/cli/{}.md", one.get_name())), page(one))).collect();
    pages.push((docs().join("reference/cli/rr-patch.md"), format!("# `rr-patch`\n\n```text\n{}```\n", help(&[]))));
    pages.push((docs().join("reference/environment.md"), environment()));
    pages.push((docs().join("reference/documents.md"), schemas()));

    // The commands' lines of the book's list, between others.
    let file = docs().join("SUMMARY.md");
    let summary = fs::read_to_string(&file).unwrap();
    let is_command = |line: &&str| line.contains("](reference/cli/") && line.starts_with("  ");
    let first = summary.lines().position(|line| is_command(&line)).unwrap_or(usize::MAX);
    let lines: Vec<String> =
        commands.iter().map(|one| format!("  - [rr-patch {0}](reference/cli/{0}.md)\n", one.get_name())).collect();
    let lines = lines.concat();
    let mut whole = String::new();
    for (number, line) in summary.lines().enumerate() {
        match is_command(&line) {
            true if number == first => whole.push_str(&lines),
            true => {}
            false => whole.push_str(&format!("{line}\n")),
        }
    }
    pages.push((file, whole));

    let folder = docs().join("reference/cli");
    if std::env::var_os("RR_PATCH_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        pages.iter().for_each(|(path, text)| fs::write(path, text).unwrap());
    }
    for (path, text) in &pages {
        let found = fs::read_to_string(path).unwrap_or_default();
        let bless = "`RR_PATCH_BLESS=1 cargo test --test rr-patch -- book::` writes it";
        assert!(found == *text, "{}: {bless}", path.display());
    }
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        assert!(pages.iter().any(|(path, _)| *path == entry), "{}: of no command", entry.display());
    }
}

/// A block of a page that shows a console.
struct Block {
    line: usize,
    text: String,
    /// Why it is not run, if it is not.
    exempt: Option<String>,
}

/// The blocks of a page that show the tool at work. One that is not run says why: `<!-- exempt: WHY -->` before it.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    let mut before = String::new();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            if !line.is_empty() {
                line.clone_into(&mut before);
            }
            continue;
        };
        let inside: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let why = before.strip_prefix("<!-- exempt: ").and_then(|why| why.strip_suffix(" -->"));
        if kind == "console" || inside.iter().any(|line| line.starts_with("$ rr-patch")) {
            let text = inside.join("\n");
            blocks.push(Block { line: number + 1, text, exempt: why.map(str::to_owned) });
        }
        before.clear();
    }
    blocks
}

fn pages() -> Vec<PathBuf> {
    let mut found = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")];
    let mut folders = vec![docs()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|ending| ending == "md") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// Whether a text is as a block shows it: a line `...` stands for any lines, `[..]` for any part of a line.
fn is_as_shown(text: &str, shown: &[&str]) -> bool {
    fn lines(text: &[&str], shown: &[&str]) -> bool {
        match shown.split_first() {
            None => text.is_empty(),
            Some((&"...", rest)) => (0..=text.len()).any(|skipped| lines(&text[skipped..], rest)),
            Some((first, rest)) => {
                text.split_first().is_some_and(|(line, below)| fits(line, first) && lines(below, rest))
            }
        }
    }
    fn fits(line: &str, shown: &str) -> bool {
        match shown.split_once("[..]") {
            None => line == shown,
            Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
                rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(&rest[at..], after))
            }),
        }
    }
    lines(&text.lines().collect::<Vec<_>>(), shown)
}

/// Runs the blocks of a page one after the other: HOME has `src/installer`, a checkout where they run, and `traces`.
fn run(page: &Path, blocks: &[Block]) {
    let tree = Tree::new("installer");
    let home = tree.beside("home");
    fs::create_dir_all(home.join("src")).unwrap();
    fs::create_dir_all(home.join("bin")).unwrap();
    symlink(tree.root(), home.join("src/installer")).unwrap();
    symlink(env!("CARGO_BIN_EXE_rr-patch"), home.join("bin/rr-patch")).unwrap();
    copy(&fixtures().join("traces").join(Layout::Rr59.name()), &home.join("traces"));
    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());
    for block in blocks {
        let mut lines = block.text.lines().peekable();
        while let Some(typed) = lines.next() {
            let place = format!("{}:{}: `{typed}`", page.display(), block.line);
            let typed = typed.strip_prefix("$ ").unwrap_or_else(|| panic!("{place} is no command"));
            let code = lines.next_if(|line| line.starts_with("? ")).map_or(0, |line| line[2..].parse().unwrap());
            let shown: Vec<&str> = std::iter::from_fn(|| lines.next_if(|line| !line.starts_with("$ "))).collect();
            let mut shell = command("sh");
            shell.args(["-c", &format!("exec 2>&1; {typed}")]).current_dir(tree.root());
            shell.env("PATH", &path).env("HOME", &home).env("_RR_TRACE_DIR", home.join("traces"));
            let run = Run::of(shell.output().unwrap());
            assert_eq!(run.code, code, "{place}\n{}", run.stdout);
            assert!(
                is_as_shown(&run.stdout, &shown),
                "{place} prints\n{}and the page shows\n{}",
                run.stdout,
                shown.join("\n")
            );
        }
    }
}

#[test]
fn console_blocks_of_pages_print_what_is_shown() {
    let (mut seen, mut exempt) = (0, Vec::new());
    for page in pages() {
        let blocks = blocks(&fs::read_to_string(&page).unwrap());
        let (left, to_run): (Vec<Block>, Vec<Block>) = blocks.into_iter().partition(|block| block.exempt.is_some());
        exempt.extend(left.iter().map(|block| format!("{}:{}", page.display(), block.line)));
        seen += to_run.len();
        run(&page, &to_run);
    }
    println!("{seen} blocks were run; exempt:\n{}", exempt.join("\n"));
    assert!(seen >= 8, "{seen}");
    // Those that need a recording: `tests/defects.rs` makes such, and others hold their output.
    assert!(exempt.len() <= 10, "{} blocks are not run:\n{}", exempt.len(), exempt.join("\n"));
}

#[test]
fn shown_lines_stand_for_others_only_where_they_say_so() {
    assert!(is_as_shown("a\nb\nc\n", &["a", "...", "c"]) && is_as_shown("a\n", &["a", "..."]));
    assert!(is_as_shown("a 12 b\n", &["a [..] b"]) && !is_as_shown("a 12 c\n", &["a [..] b"]));
    assert!(!is_as_shown("a\nb\n", &["a"]) && !is_as_shown("a\n", &["a", "b"]));
}
