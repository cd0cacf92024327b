//! Keeps the books: which module may use which, where each package lives, that rules, fixtures,
//! tests and help are complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use rr_patch::cli::Cli;
use rr_patch::patch::rules::{CHANGES, chaos};

use crate::harness::{NEEDS, Run, command, required, skip};

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of that ending below a folder, from the crate's root.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut folders = vec![home().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path.strip_prefix(home()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "there is no {ending} in {folder}");
    found
}

fn text(path: impl AsRef<Path>) -> String {
    let path = home().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a Rust file that are no comments, numbered from 1.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = text(path);
    let lines = text.lines().map(str::to_owned).enumerate().map(|(n, line)| (n + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

/// The same, without the tests at the end of the file.
fn code_before_tests(path: &Path) -> Vec<(usize, String)> {
    code(path).into_iter().take_while(|(_, line)| line != "mod tests {").collect()
}

/// The names of the folders in a folder.
fn folders(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(home().join(folder)).unwrap().map(Result::unwrap);
    let names = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    names.collect()
}

/// The modules that a file declares as public, from the top to the bottom.
fn listed(path: &str) -> Vec<String> {
    text(path).lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.trim_end_matches(';').into())).collect()
}

/// The floors whose own `mod.rs` is a list from the top to the bottom, too.
const LISTS: [&str; 3] = ["patch", "rr", "sys"];

/// The house from the top to the bottom: floors, and `floor::module` for those that are lists themselves.
fn modules() -> Vec<String> {
    let floors = listed("src/lib.rs").into_iter();
    let inside = |floor: String| match LISTS.contains(&floor.as_str()) {
        true => listed(&format!("src/{floor}/mod.rs")).iter().map(|module| format!("{floor}::{module}")).collect(),
        false => vec![floor],
    };
    floors.flat_map(inside).collect()
}

/// The module of the house that a path like `patch::journal::Seen` or `error` begins with.
fn place(modules: &[String], path: &str) -> Option<usize> {
    modules.iter().position(|module| path == module || path.starts_with(&format!("{module}::")))
}

#[test]
fn modules_use_only_those_below_them() {
    let modules = modules();
    let mut wrong = Vec::new();
    for path in files("src", ".rs") {
        let inside = path.strip_prefix("src").unwrap().with_extension("").to_string_lossy().replace('/', "::");
        let is_list = LISTS.iter().any(|floor| inside == format!("{floor}::mod"));
        if ["main", "lib"].contains(&inside.as_str()) || is_list {
            continue;
        }
        let own = place(&modules, &inside).unwrap_or_else(|| panic!("{} is in no list", path.display()));
        for (number, line) in code(&path) {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next().unwrap();
                let at =
                    place(&modules, used).unwrap_or_else(|| panic!("{}:{number}: `crate::{used}`", path.display()));
                if at < own {
                    wrong.push(format!("{}:{number}: `{used}` is above it", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "from the top to the bottom: {}\n{}", modules.join(", "), wrong.join("\n"));
}

#[test]
fn modules_are_in_the_list_of_their_floor() {
    let lists = LISTS.map(|floor| (format!("src/{floor}"), format!("src/{floor}/mod.rs"), vec!["mod".to_owned()]));
    let top = ("src".to_owned(), "src/lib.rs".to_owned(), vec!["lib".to_owned(), "main".to_owned()]);
    for (folder, list, others) in lists.into_iter().chain([top]) {
        let depth = Path::new(&folder).components().count();
        let name = |path: &PathBuf| {
            path.components().nth(depth).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
        };
        let found: BTreeSet<String> = files(&folder, ".rs").iter().map(name).collect();
        assert_eq!(found, listed(&list).into_iter().chain(others).collect(), "{list}");
    }
}

/// Where a package may be used. One without a row here may be used nowhere; `*` is anywhere.
const HOMES: [(&str, &[&str]); 42] = [
    ("age", &["src/rr/bundle/"]),
    ("anstream", &["src/ui/manners.rs"]),
    ("anstyle", &["src/ui/manners.rs"]),
    ("anyhow", &["*"]),
    ("ast_grep_config", &["src/patch/rules/"]),
    ("ast_grep_core", &["src/patch/go.rs", "src/patch/go/", "src/patch/rules.rs", "src/patch/rules/"]),
    ("brotli", &["src/rr/trace/stream.rs"]),
    ("bytesize", &["src/commands/hunt.rs", "src/commands/record.rs", "src/rr/record/", "src/words.rs"]),
    ("capnp", &["src/rr/trace/stream.rs"]),
    (
        "clap",
        &[
            "src/cli.rs",
            "src/main.rs",
            "src/commands/",
            "src/patch/rules.rs",
            "src/ui/document.rs",
            "src/ui/manners.rs",
        ],
    ),
    ("clap_complete", &["src/commands/completions.rs"]),
    ("clap_mangen", &["src/commands/man.rs"]),
    ("duct", &["src/sys/process.rs", "src/sys/process/"]),
    ("flate2", &["src/rr/bundle/elf.rs", "src/patch/checkout/odb.rs"]),
    ("gimli", &["src/binary/", "src/rr/bundle/elf.rs"]),
    ("git2", &["src/patch/checkout", "src/patch/unified.rs"]),
    ("include_dir", &["src/patch/rules.rs", "src/patch/rules/", "src/commands/demo.rs"]),
    ("indicatif", &["src/ui/progress.rs", "src/builder/"]),
    ("jiff", &["src/ui/check.rs", "src/provenance.rs", "src/rr/trace/"]),
    ("jsonc_parser", &["src/delve/editor/jsonc.rs"]),
    ("libc", &["src/sys/ffi.rs"]),
    ("libgit2_sys", &["src/sys/ffi.rs"]),
    ("memchr", &["src/binary/", "src/patch/go.rs", "src/rr/log/"]),
    ("object", &["src/binary/", "src/rr/bundle/elf.rs"]),
    ("perf_event", &["src/doctor/kernel.rs"]),
    ("procfs", &["src/builder/", "src/patch/build_lock.rs"]),
    ("regex", &["src/cause/alike.rs", "src/cause/credentials.rs", "src/cause/hunt/", "src/commands/traces/"]),
    (
        "rustix",
        &[
            "src/sys/process.rs",
            "src/sys/terminal.rs",
            "src/rr/trace/",
            "src/sys/write.rs",
            "src/patch/swap.rs",
            "src/rr/bundle/",
            "src/doctor/kernel.rs",
            "src/builder/",
            "src/sys/process/",
        ],
    ),
    ("schemars", &["*"]),
    ("serde", &["*"]),
    ("serde_saphyr", &["src/patch/rules/"]),
    ("serde_json", &["*"]),
    ("sha2", &["src/binary/", "src/rr/bundle/mod.rs"]),
    ("signal_hook", &["src/sys/process.rs", "src/sys/process/"]),
    ("similar", &["src/cause/diff.rs", "src/patch/hunks.rs"]),
    ("strsim", &["src/error.rs"]),
    ("tar", &["src/rr/bundle/"]),
    (
        "tempfile",
        &[
            "src/rr/bundle/",
            "src/rr/log/",
            "src/delve/mod.rs",
            "src/sys/write.rs",
            "src/builder/verify.rs",
            "src/commands/demo.rs",
            "src/doctor/",
            "src/builder/",
            "src/sys/process/",
        ],
    ),
    ("tree_sitter", &["src/cause/source.rs", "src/cause/source/", "src/patch/go.rs", "src/patch/go/"]),
    ("tree_sitter_go", &["src/cause/source.rs", "src/patch/go.rs", "src/patch/go/"]),
    ("zip", &["src/binary/"]),
    ("zstd", &["src/rr/bundle/"]),
];

#[test]
fn unsafe_code_is_allowed_in_one_file_only() {
    assert!(text("Cargo.toml").contains("\nunsafe_code = \"deny\""));
    let allowing = files("src", ".rs").into_iter().filter(|path| text(path).contains("(unsafe_code)"));
    assert_eq!(allowing.collect::<Vec<_>>(), [Path::new("src/sys/ffi.rs")]);
}

/// The code of a line, without what stands in its strings.
fn without_strings(line: &str) -> String {
    let line = line.replace("\\\\", "").replace("\\\"", "").replace("'\"'", "");
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// The words of a line of code, each with what stands around it.
fn words(line: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = at + line[at..].find(is_word)?;
        let end = line[begin..].find(|c| !is_word(c)).map_or(line.len(), |length| begin + length);
        at = end;
        Some((&line[..begin], &line[begin..end], &line[end..]))
    })
}

/// Whether a word stands where it is declared.
fn is_declared(before: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];
    kinds.contains(&before.trim_end().rsplit([' ', '(']).next().unwrap_or_default())
}

/// Whether a word stands where a function is called or handed on: `name(`, `name::<`, `::name`, or alone as an argument.
fn is_called(before: &str, after: &str) -> bool {
    let argument = before.ends_with([',', '(', ' ']) && !before.ends_with("let ") && after.starts_with([')', ',']);
    after.starts_with('(') || after.starts_with("::<") || before.ends_with("::") || argument
}

/// By the text alone, so that it sees no use of a name that two functions share as that of one only.
#[test]
fn nothing_is_public_that_only_tests_use() {
    let mut code = Vec::new();
    for path in files("src", ".rs") {
        let mut imports = false;
        for (number, line) in code_before_tests(&path) {
            let begins = line.trim_start();
            imports |= begins.starts_with("use ") || begins.starts_with("pub use ");
            if !imports {
                code.push((path.clone(), number, without_strings(&line)));
            }
            imports &= !line.trim_end().ends_with(';');
        }
    }
    let mut used = BTreeSet::new();
    for (_, _, line) in &code {
        for (before, word, after) in words(line).filter(|(before, ..)| !is_declared(before)) {
            let is_type = word.starts_with(char::is_uppercase);
            let of_itself =
                is_type && ["impl ", "for "].iter().any(|head| before.ends_with(head)) && after.starts_with(" {");
            if (is_type && !of_itself) || is_called(before, after) {
                used.insert(word);
            }
        }
    }
    let mut wrong = Vec::new();
    for (path, number, line) in &code {
        let heads = ["pub ", "pub(super) ", "pub(crate) "];
        let Some(declared) = heads.iter().find_map(|head| line.trim_start().strip_prefix(head)) else { continue };
        // A module is used by its path, and a field is no item.
        let item = words(declared).find(|(before, ..)| is_declared(before)).filter(|_| !declared.starts_with("mod "));
        if let Some((_, word, _)) = item.filter(|(_, word, _)| !used.contains(word)) {
            wrong.push(format!("{}:{number}: `{word}`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "only tests use these, or nobody:\n{}", wrong.join("\n"));
}

#[test]
fn no_node_is_asked_for_its_parent_or_its_siblings() {
    // Each of these searches from the root: asked in a loop, that is quadratic. `Piece::ancestors` and
    // `Piece::before` search once.
    let slow = [".parent()", ".prev_sibling(", ".next_sibling(", ".prev_named_sibling(", ".next_named_sibling("];
    for path in files("src/patch/go", ".rs").into_iter().chain(["src/patch/go.rs".into()]) {
        for (number, line) in code(&path) {
            assert!(!slow.iter().any(|call| line.contains(call)), "{}:{number}: {}", path.display(), line.trim());
        }
    }
}

#[test]
fn programs_are_started_in_one_place_which_cleans_path() {
    for path in files("src", ".rs") {
        let starts = |line: &str| {
            (line.contains("Command::new(") && !line.contains("clap::Command::new(")) || line.contains("duct::cmd(")
        };
        let found = code(&path).into_iter().filter(|(_, line)| starts(line));
        let home = ["src/sys/process.rs", "src/sys/process/supervised.rs"].contains(&path.to_str().unwrap());
        for (number, line) in found {
            assert!(home, "{}:{number}: {}: `Child` and `ask` look programs up", path.display(), line.trim());
        }
    }
}

#[test]
fn paths_are_printed_with_their_odd_bytes_escaped() {
    for path in files("src", ".rs") {
        for (number, line) in code_before_tests(&path) {
            let raw = line.contains(".display()");
            assert!(!raw, "{}:{number}: {}: `Shown::shown` escapes", path.display(), line.trim());
        }
    }
}

#[test]
fn errors_of_files_name_the_file() {
    // The calls of std whose errors name no path. Functions that return an `io::Result` leave it to their callers.
    let calls =
        ["fs::", "File::open(", "File::create(", ".metadata()", ".canonicalize()", ".set_permissions(", "entry?"];
    let not_yet = ["src/patch/checkout/commit.rs"];
    let mut wrong = Vec::new();
    for path in files("src", ".rs").into_iter().filter(|path| !not_yet.contains(&path.to_str().unwrap())) {
        let code = code_before_tests(&path);
        let mut returns_io = false;
        let mut statement = String::new();
        for (number, line) in code {
            if line.contains("fn ") || line.contains("|| -> ") {
                returns_io = line.contains("io::Result<") || line.contains("Option<");
            }
            statement.push_str(line.trim());
            if !line.trim_end().ends_with([';', '{', '}']) {
                continue;
            }
            let done = std::mem::take(&mut statement);
            let calls = calls.iter().any(|call| done.contains(call)) && !done.starts_with("use ");
            let named = ["context(", "map_err(", ".ok()", "io::Result<"].iter().any(|how| done.contains(how));
            if calls && done.contains('?') && !named && !returns_io {
                wrong.push(format!("{}:{number}: {done}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these name no path where they fail:\n{}", wrong.join("\n"));
}

/// The packages of a section of Cargo.toml, as Rust names them.
fn packages(section: &str) -> Vec<String> {
    let manifest = text("Cargo.toml");
    let section = manifest.split(&format!("\n[{section}]\n")).nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

/// Whether a line of Rust names a package.
fn uses(line: &str, package: &str) -> bool {
    line.match_indices(package).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + package.len()..];
        let whole = before.is_none_or(|c| !c.is_alphanumeric() && !['_', '.', '"', ':'].contains(&c));
        whole && (after.starts_with("::") || (line.trim_start().starts_with("use ") && !after.starts_with('_')))
    })
}

#[test]
fn packages_are_used_in_their_homes_only() {
    let known: Vec<String> = HOMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(packages("dependencies"), known, "a new package needs a home");
    let mut wrong = Vec::new();
    for (package, homes) in HOMES {
        let mut used = BTreeSet::<&str>::new();
        for path in files("src", ".rs") {
            let at_home = homes.iter().any(|home| *home == "*" || path.to_string_lossy().starts_with(home));
            for (number, line) in code(&path).into_iter().filter(|(_, line)| uses(line, package)) {
                used.extend(homes.iter().filter(|home| path.to_string_lossy().starts_with(**home)));
                if !at_home {
                    wrong.push(format!("{}:{number}: {package} lives in {}", path.display(), homes.join(", ")));
                }
                // Outside the command line only what names the values of an option.
                let derived =
                    ["src/patch/rules.rs", "src/ui/document.rs", "src/ui/manners.rs"].contains(&path.to_str().unwrap());
                if package == "clap" && derived && !(line.starts_with("#[derive(") && line.contains("clap::ValueEnum"))
                {
                    wrong.push(format!("{}:{number}: clap is for derives here", path.display()));
                }
            }
        }
        let empty = homes.iter().filter(|home| **home != "*" && !used.contains(*home));
        wrong.extend(empty.map(|home| format!("{package} is not used in {home}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_change_is_explained_beside_the_rules_and_every_file_of_rules_is_a_change() {
    for (folder, changes) in [("patches/rules", CHANGES.as_slice()), ("patches/chaos/rules", &chaos::CHANGES)] {
        let changes: BTreeSet<String> = changes.iter().map(|(name, _)| (*name).to_owned()).collect();
        let readme = text(format!("{folder}/README.md"));
        for change in &changes {
            assert!(readme.contains(&format!("* **{change}.** ")), "{change}");
        }
        for path in files(folder, "") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let known = name.strip_suffix(".yml").is_some_and(|name| changes.contains(name));
            assert!(known || name == "README.md", "{}: what is it?", path.display());
        }
    }
}

#[test]
fn every_rule_belongs_to_the_change_that_its_file_is_named_after_and_has_snippets() {
    let folders = ["patches", "patches/chaos"];
    let all =
        folders.map(|folder| files(&format!("{folder}/rules"), ".yml").into_iter().map(move |path| (folder, path)));
    for (folder, path) in all.into_iter().flatten() {
        let change = path.file_stem().unwrap().to_str().unwrap();
        for rule in text(&path).split("\n---\n") {
            assert!(rule.contains(&format!("\n  change: {change}\n")), "{}: {rule}", path.display());
            let id = rule.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
            let snippets = text(format!("{folder}/tests/{id}-test.yml"));
            assert!(snippets.contains("\nvalid:\n  - ") && snippets.contains("\ninvalid:\n  - "), "{id}");
            assert!(home().join(format!("{folder}/tests/__snapshots__/{id}-snapshot.yml")).is_file(), "{id}");
            let complete = rule.contains("\n  times: 0\n")
                || rule.ends_with("\n  times: 0")
                || rule.contains("\nnote: ") && rule.contains("\n  near: ");
            assert!(complete, "{}: {rule}", path.display());
        }
    }
}

#[test]
fn every_shape_of_fixtures_has_a_readme() {
    for shape in folders("fixtures/shapes") {
        let readme = text(format!("fixtures/shapes/{shape}/README.md"));
        assert!(readme.starts_with("# ") && readme.lines().count() > 2, "{shape}");
    }
    for folder in folders("fixtures").into_iter().filter(|folder| folder != "shapes") {
        assert!(text(format!("fixtures/{folder}/README.md")).starts_with("# "), "{folder}");
    }
}

#[test]
fn every_file_of_tests_is_listed_in_main_rs_and_says_what_it_is_about() {
    let mut listed = BTreeSet::new();
    let mut listing = vec![PathBuf::from("tests/main.rs"), PathBuf::from("tests/torture/main.rs")];
    while let Some(path) = listing.pop() {
        let folder = path.parent().unwrap();
        let mut at = None;
        for line in text(&path).lines() {
            if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
                let plain = folder.join(name).with_extension("rs");
                let own = if home().join(&plain).exists() { plain } else { folder.join(name).join("mod.rs") };
                listing.push(at.take().unwrap_or(own));
            }
            let elsewhere = line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]"));
            at = elsewhere.map(|name| match name.strip_prefix("../") {
                Some(above) => folder.parent().unwrap().join(above),
                None => folder.join(name),
            });
        }
        listed.insert(path);
    }
    let found: BTreeSet<PathBuf> = files("tests", ".rs").into_iter().collect();
    assert_eq!(listed, found);
    for path in files("tests", ".rs").into_iter().chain(files("src", ".rs")) {
        let first = text(&path).lines().next().unwrap_or_default().to_owned();
        assert!(first.starts_with("//! ") || path.ends_with("src/main.rs"), "{}: {first}", path.display());
    }
}

#[test]
fn tests_are_named_after_what_they_show() {
    for path in files("tests", ".rs") {
        let text = text(&path);
        for head in text.split("#[test]\n").skip(1) {
            let name = head.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            assert!(!name.starts_with("test_") && name.matches('_').count() >= 3, "{}: {name}", path.display());
        }
    }
}

/// A skip that only prints is not seen: cargo shows nothing of a test that passes.
#[test]
fn tests_that_end_early_are_counted_as_skipped() {
    let counts = [
        "skip(&[",
        "= delve::delve() else",
        "= delve() else",
        "= checkers::",
        "= cores::",
        "= documents(&place",
        "= ast_grep() else",
        "= bytes_read(tool) else",
        "delve::where_it_replays(",
        "= defects::run(",
        "= dump(",
        "= record(folder",
        "= ask(&[",
        "= ask(arguments, &trace) else",
        "= play(conversation) else",
        "= answered_from(tool, &transcript) else",
        "= record(conversation, &to) else",
        "= defects::tool() else",
        "= explain(&dump",
        "= refused(&text",
        "defects::trace(",
        "= stack_at(",
        "= log(",
        "= run(",
        "= hunt(",
        "= ask(",
        "= self::run(",
        "rr_patch_while_busy(",
        "record_on_a_disk_of(",
    ];
    let mut wrong = Vec::new();
    // This file holds the words that are looked for.
    for path in files("tests", ".rs").into_iter().filter(|path| !path.ends_with("house.rs")) {
        let text = text(&path);
        for test in text.split("#[test]\n").skip(1) {
            // A function ends at the first brace in the first column.
            let lines: Vec<&str> = test.lines().take_while(|line| *line != "}").collect();
            for (at, line) in lines.iter().enumerate() {
                if line.trim() == "return;" || line.contains("else { return }") {
                    let counted = lines[at.saturating_sub(4)..=at]
                        .iter()
                        .any(|line| counts.iter().any(|call| line.contains(call)));
                    if !counted {
                        wrong.push(format!("{}: {}: `{}`", path.display(), lines[0], line.trim()));
                    }
                }
            }
        }
        let prints = "eprintln!(\"skipped";
        if text.contains(prints) && !path.ends_with("harness.rs") {
            wrong.push(format!("{}: `{prints}`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "use `skip` of tests/harness.rs:\n{}", wrong.join("\n"));
}

/// Another run of this test binary, for one test that lacks a program: its PATH is empty.
fn lacking(variables: &[(&str, &str)]) -> Run {
    let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
    tests.env_clear().env("PATH", "/nonexistent").envs(variables.iter().copied());
    let name = "traces::traces_prune_takes_yes_and_no_for_an_answer_on_a_terminal";
    Run::of(tests.args(["--exact", name]).output().unwrap())
}

#[test]
fn a_skipped_test_is_noted_once_and_fails_where_rr_patch_require_names_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skipped");
    let noted = [("RR_PATCH_SKIPPED", file.to_str().unwrap()), ("RR_PATCH_REQUIRE", "rr,dlv")];
    lacking(&noted).exits(0).prints(&["test result: ok. 1 passed"]);
    let line = "traces::traces_prune_takes_yes_and_no_for_an_answer_on_a_terminal: no `script` makes a terminal here \
                (terminal)\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), line);
    let run = lacking(&[("RR_PATCH_REQUIRE", "rr,terminal")]).exits(101);
    run.prints(&["RR_PATCH_REQUIRE asks for [\"terminal\"]", "no `script` makes a terminal here"]);
}

#[test]
fn rr_patch_require_names_only_what_a_test_may_need() {
    let unknown: Vec<_> = required().into_iter().filter(|name| !NEEDS.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "RR_PATCH_REQUIRE: {unknown:?} is not among {}", NEEDS.join(", "));
}

#[test]
fn no_file_of_src_is_longer_than_a_reader_can_bear() {
    for path in files("src", ".rs") {
        let lines = text(&path).lines().count();
        assert!(lines <= 700, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_is_left_to_be_done_in_the_code() {
    let forbidden = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!("), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for path in ["src", "tests", "benches"].iter().flat_map(|folder| files(folder, ".rs")) {
        for (number, line) in text(&path).lines().enumerate() {
            if forbidden.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn help(arguments: &[&str]) -> String {
    let output = command(env!("CARGO_BIN_EXE_rr-patch")).args(arguments).output().unwrap();
    let run = Run::of(output).exits(0);
    assert_eq!(run.stderr, "", "{arguments:?}");
    run.stdout
}

/// The subcommands that the help lists.
fn subcommands() -> Vec<String> {
    let help = help(&["--help"]);
    let list = help.split("\nCommands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    list.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

#[test]
fn help_lists_the_files_of_commands() {
    let mut listed = subcommands();
    listed.sort();
    let files = files("src/commands", ".rs");
    // What a command is made of lies in a folder of its name.
    let files = files.iter().filter(|path| path.parent() == Some(Path::new("src/commands")));
    let names = files.map(|path| path.file_stem().unwrap().to_str().unwrap());
    assert_eq!(listed, names.filter(|name| *name != "mod").collect::<Vec<_>>());
}

/// The entries of the lists of options and arguments: the head, and what is said of it.
fn entries(help: &str) -> Vec<(String, Vec<String>)> {
    let mut entries: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in help.lines() {
        let indent = line.len() - line.trim_start().len();
        match indent {
            _ if line.is_empty() => {}
            0 => inside = line.ends_with(':') && !["Commands:", "Examples:", "Environment:"].contains(&line),
            _ if !inside => {}
            1..=6 => entries.push((line.trim().to_owned(), Vec::new())),
            _ => entries.last_mut().unwrap().1.push(line.trim().to_owned()),
        }
    }
    entries
}

#[test]
fn help_describes_every_option_and_ends_no_description_with_a_full_stop() {
    let mut seen = 0;
    let calls: Vec<Vec<String>> =
        [vec![]].into_iter().chain(subcommands().into_iter().map(|name| vec![name])).collect();
    for call in calls {
        let arguments: Vec<&str> = call.iter().map(String::as_str).chain(["--help"]).collect();
        let text = help(&arguments);
        let summary = text.lines().next().unwrap();
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{arguments:?}: {summary}");
        for (head, said) in entries(&text) {
            seen += 1;
            let description: Vec<&String> =
                said.iter().take_while(|line| !line.starts_with('[') && !line.ends_with("values:")).collect();
            assert!(!description.is_empty(), "{arguments:?}: {head} has no description");
            assert!(!description.last().unwrap().ends_with('.'), "{arguments:?}: {head}: {description:?}");
            assert!(description[0].starts_with(char::is_uppercase), "{arguments:?}: {head}: {description:?}");
            for value in said.iter().filter(|line| line.starts_with("- ")) {
                let told = value.split_once(':').map(|(_, told)| told.trim()).unwrap_or_default();
                assert!(!told.is_empty() && !told.ends_with('.'), "{arguments:?}: {head}: {value}");
            }
        }
    }
    assert!(seen > 30, "only {seen} options were found");
}

/// A command with those above it, for each command and each of its own.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    let mut program = Cli::command();
    program.build();
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), program)];
    while let Some((path, command)) = open.pop() {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
            open.push((path.iter().cloned().chain([below.get_name().to_owned()]).collect(), below.clone()));
        }
        found.push((path, command));
    }
    assert!(found.len() > 30, "{}", found.len());
    found
}

/// The examples below a command's help, each as the words that a shell would make of it.
fn examples(of: &clap::Command) -> Vec<Vec<String>> {
    let help = of.get_after_help().map(ToString::to_string).unwrap_or_default();
    let part = help.split("\n\n").find_map(|part| part.strip_prefix("Examples:\n")).unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for line in part.lines() {
        assert!(line.starts_with("  rr-patch") && line.len() <= 90, "{line}");
        // A shell knows the words. What follows `|` or `>` is for other programs.
        let line = line.split(" | ").next().unwrap().split(" > ").next().unwrap();
        let script = line.replacen("  rr-patch", "printf '%s\\0' rr-patch", 1);
        let said = Run::of(command("sh").args(["-c", &script]).output().unwrap()).exits(0).stdout;
        all.push(said.split_terminator('\0').map(str::to_owned).collect());
    }
    all
}

#[test]
fn help_of_every_command_has_examples_that_are_understood() {
    let mut wrong = Vec::new();
    for (path, command) in commands() {
        let examples = examples(&command);
        if examples.is_empty() {
            wrong.push(format!("{}: no example in its after_help", path.join(" ")));
        }
        for (number, words) in examples.into_iter().enumerate() {
            if number == 0 && words[1..].get(..path.len()) != Some(&path[..]) {
                wrong.push(format!("{}: the first example is of another command: {words:?}", path.join(" ")));
            }
            if let Err(error) = Cli::try_parse_from(&words) {
                wrong.push(format!("{words:?}: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn help_puts_the_options_of_long_lists_under_headings() {
    for (path, command) in commands() {
        let shown = command.get_arguments().filter(|option| !option.is_positional() && !option.is_hide_set());
        let (with, without): (Vec<_>, Vec<_>) = shown.partition(|option| option.get_help_heading().is_some());
        assert!(without.len() <= 10, "{path:?}: {} under `Options`, {} under headings", without.len(), with.len());
    }
}

/// One word for one thing: an option has the same letter and takes the same kind of value wherever it is.
#[test]
fn options_of_one_name_have_one_letter_and_what_asks_takes_yes() {
    let mut letters = std::collections::BTreeMap::<String, BTreeSet<Option<char>>>::new();
    for (path, command) in commands() {
        for option in command.get_arguments() {
            let Some(long) = option.get_long() else { continue };
            letters.entry(long.to_owned()).or_default().insert(option.get_short());
            let other = ["assume-yes", "no-confirm", "skip-checks", "ignore-checks", "allow-unpatched", "no-check"];
            assert!(!other.contains(&long), "{path:?}: --{long}: we say --yes, --force, --unpatched, --unchecked");
        }
    }
    // `man` takes a folder where others take the file that they are about.
    letters.remove("output");
    let odd: Vec<_> = letters.iter().filter(|(_, letters)| letters.len() > 1).collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert_eq!(letters["yes"], BTreeSet::from([Some('y')]));
}

#[test]
fn help_lists_every_variable_that_is_read() {
    let listed: BTreeSet<&str> = rr_patch::cli::ENVIRONMENT.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed.len(), rr_patch::cli::ENVIRONMENT.len());
    let shown = help(&["--help"]);
    assert!(listed.iter().all(|name| shown.contains(&format!("\n  {name} "))), "{shown}");
    let mut read = BTreeSet::new();
    for path in files("src", ".rs") {
        for (_, line) in code_before_tests(&path) {
            for call in [
                "variable(\"",
                "var(\"",
                "var_os(\"",
                "or_environment(&self.refs, \"",
                "or_environment(&self.platform, \"",
            ] {
                read.extend(between(&line, call, "\"").into_iter().map(str::to_owned));
            }
        }
    }
    // Known by a name of its own, or read by a library.
    read.extend(["DELVE_RR_REPLAY_FLAGS", "NO_COLOR", "CLICOLOR_FORCE", "TERM", "XDG_CACHE_HOME"].map(str::to_owned));
    // A mark of a container's, PATH's folder.
    read.retain(|name| !["container", "PWD"].contains(&name.as_str()));
    assert_eq!(read.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed);
}

#[test]
fn help_lists_subcommands_without_a_trailing_full_stop() {
    let text = help(&["--help"]);
    let list = text.split("\nCommands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for line in list.lines() {
        assert!(line.split_whitespace().count() > 2 && !line.ends_with('.'), "{line}");
    }
}

#[test]
fn help_tells_the_exit_codes() {
    let text = help(&["--help"]);
    for code in ["0 done", "1 could not", "2 usage", "3 refused, nothing was written", "4 ran"] {
        assert!(text.contains(code), "{code} is not in\n{text}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    let shown = help(&["--version"]);
    // A release build names its commit: tests/version.rs.
    let expected = format!("rr-patch {} (", env!("CARGO_PKG_VERSION"));
    let target = format!(", {}-unknown-linux-", std::env::consts::ARCH);
    assert!(shown.starts_with(&expected) && shown.contains(&target) && shown.ends_with(")\n"), "{shown}");
}

/// The pages that people read, from the crate's root.
fn pages() -> Vec<PathBuf> {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from);
    files("docs", ".md").into_iter().chain(top).collect()
}

/// What stands between `open` and `close` in a text, each time.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| Some(rest.split_once(close)?.0)).collect()
}

#[test]
fn pages_link_only_to_what_is_there() {
    let mut seen = 0;
    for page in pages() {
        let text = text(&page);
        for link in between(&text, "](", ")").into_iter().filter(|link| !link.contains("://") && !link.starts_with('#'))
        {
            let file = link.split('#').next().unwrap();
            let target = home().join(&page).parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link}", page.display());
            // mdbook knows no files beside its own.
            let of_the_book = page.starts_with("docs").then(|| target.canonicalize().unwrap());
            let docs = home().join("docs").canonicalize().unwrap();
            assert!(of_the_book.is_none_or(|file| file.starts_with(&docs)), "{}: {link} is outside", page.display());
            seen += 1;
        }
        // A path of ours in code is one that is there: `patches/rules/<change>/` stands for any.
        for code in between(&text, "`", "`").into_iter().filter(|code| !code.contains([' ', '<', '*', '\n'])) {
            if ["src/", "tests/", "fixtures/", "patches/", "scripts/", "docs/"].iter().any(|top| code.starts_with(top))
            {
                assert!(home().join(code).exists(), "{}: `{code}`", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 12, "only {seen} links were found");
}

#[test]
fn the_book_lists_every_page() {
    let summary = text("docs/SUMMARY.md");
    let listed: BTreeSet<PathBuf> =
        between(&summary, "](", ")").into_iter().map(|page| Path::new("docs").join(page)).collect();
    let written: BTreeSet<PathBuf> =
        files("docs", ".md").into_iter().filter(|page| !page.ends_with("SUMMARY.md")).collect();
    assert_eq!(listed, written);
    for page in written {
        assert!(text(&page).starts_with("# "), "{}", page.display());
    }
    if !Run::of(command("sh").args(["-c", "command -v mdbook"]).output().unwrap()).stdout.starts_with('/') {
        skip(&["mdbook"], "mdbook is not installed");
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let mut mdbook = command("mdbook");
    Run::of(mdbook.arg("build").arg(home()).arg("--dest-dir").arg(folder.path()).output().unwrap()).exits(0);
    assert!(folder.path().join("explanation/architecture.html").is_file());
}

#[test]
fn the_architecture_page_lists_the_floors_from_the_top_to_the_bottom() {
    let page = text("docs/explanation/architecture.md");
    let table = page.split("\n## Floors\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let floors: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(floors, listed("src/lib.rs"));
}

#[test]
fn the_exit_codes_are_the_same_everywhere() {
    let rows = |path: &str| -> Vec<String> {
        let page = text(path);
        let table = page.split("| code | meaning |\n").nth(1).unwrap();
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        rows.filter_map(|row| Some(row.split('|').nth(1)?.trim().to_owned())).collect()
    };
    assert_eq!(rows("README.md"), rows("docs/reference/exit-codes.md"));
    assert_eq!(rows("README.md")[1..], ["0", "1", "2", "3", "4", "130"]);
}

#[test]
fn pipelines_compile_the_tool_with_the_rust_that_it_needs() {
    let needed =
        text("Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().replace('"', "");
    let mut images = 0;
    for path in files("src/ci", "") {
        for image in text(&path).split("library/rust:").skip(1) {
            images += 1;
            assert!(image.starts_with(&format!("{needed}-")), "{}: {}", path.display(), image.lines().next().unwrap());
        }
    }
    assert!(images >= 4, "{images}");
}
