//! Rules as files: the built-in ones do what ast-grep's own program does, a folder of them is read with care and takes
//! their place, and the worked example of the book runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rr_patch::patch::go::GoFile;
use rr_patch::patch::rules::{CHANGES, Rules, chaos};
use serde_json::Value;

use crate::harness::{ADDED, JOURNAL, PROCESS, Run, SHAPES, SYSTEM, Tree, command, copy, skip};
use snapbox::str;

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The version of ast-grep's crates, as Cargo.lock has it.
fn version_of(package: &str) -> String {
    let lock = fs::read_to_string(home().join("Cargo.lock")).unwrap();
    let after = lock.split(&format!("\nname = \"{package}\"\nversion = \"")).nth(1).unwrap();
    after.split('"').next().unwrap().to_owned()
}

/// ast-grep's own program, of the same version as its crates.
fn ast_grep() -> Option<OsString> {
    let program = std::env::var_os("AST_GREP").unwrap_or_else(|| "ast-grep".into());
    let found = command(program.to_str().unwrap()).arg("--version").output();
    let expected = format!("ast-grep {}\n", version_of("ast-grep-core"));
    match found {
        Ok(output) if output.stdout == expected.as_bytes() => Some(program),
        other => {
            let found =
                other.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into());
            skip(&["ast-grep"], &format!("not {}: {}", expected.trim(), found.trim()));
            None
        }
    }
}

fn run(program: &OsString, folder: &Path, arguments: &[&str]) -> Run {
    Run::of(command(program.to_str().unwrap()).current_dir(folder).args(arguments).output().unwrap())
}

type Ranges = BTreeMap<(String, String), Vec<(usize, usize)>>;

/// Where ast-grep's program finds each rule, by rule and file.
fn scanned(program: &OsString, tree: &Path, folder: &str) -> Ranges {
    let config = home().join("patches/sgconfig.yml");
    let run = run(
        program,
        tree,
        &["scan", "--config", config.to_str().unwrap(), "--json=compact", "--no-ignore", "hidden", folder],
    );
    let found: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let mut ranges = Ranges::new();
    for one in found.as_array().unwrap() {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        let at = |end: &str| usize::try_from(one["range"]["byteOffset"][end].as_u64().unwrap()).unwrap();
        ranges.entry((text("ruleId"), text("file"))).or_default().push((at("start"), at("end")));
    }
    ranges.values_mut().for_each(|all| all.sort_unstable());
    ranges
}

/// Where rr-patch finds them.
fn matched(tree: &Path, folder: &str, rules: &Rules) -> Ranges {
    let mut ranges = Ranges::new();
    let mut folders = vec![tree.join(folder)];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "go") {
                let name = path.strip_prefix(tree).unwrap().to_str().unwrap().to_owned();
                let file = GoFile::parse(&name, fs::read(&path).unwrap()).unwrap();
                for rule in rules.iter() {
                    let mut found: Vec<_> =
                        rule.ranges(&file).into_iter().map(|range| (range.start, range.end)).collect();
                    found.sort_unstable();
                    if !found.is_empty() {
                        ranges.insert((rule.id.clone(), name.clone()), found);
                    }
                }
            }
        }
    }
    ranges
}

#[test]
fn every_rule_matches_what_ast_grep_s_own_program_matches() {
    let Some(program) = ast_grep() else { return };
    let trees: Vec<Tree> = SHAPES.into_iter().flat_map(|shape| [Tree::bare(shape), Tree::patched(shape)]).collect();
    let mut roots: Vec<PathBuf> = trees.iter().map(|tree| tree.root().to_owned()).collect();
    // A folder of real checkouts, or of what is looked at of them.
    for folder in std::env::var_os("RR_PATCH_CHECKOUTS").iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        roots.extend(Some(folder.unwrap().path()).filter(|path| path.join("pkg/clusterapi").is_dir()));
    }
    let rules = Rules::built_in().unwrap();
    for root in roots {
        let (theirs, ours) = (scanned(&program, &root, "pkg"), matched(&root, "pkg", &rules));
        assert_eq!(ours, theirs, "{}", root.display());
    }
    let some = matched(trees[0].root(), "pkg", &rules);
    assert!(some.len() + 2 >= rules.iter().count(), "the complete fixture has a place for each rule: {some:?}");
}

#[test]
fn every_rule_of_the_chaos_overlay_matches_what_ast_grep_s_own_program_matches() {
    let Some(program) = ast_grep() else { return };
    let tree = Tree::bare("installer");
    let goroot = Run::of(command("go").args(["env", "GOROOT"]).output().unwrap()).exits(0).stdout;
    let rules = chaos::rules(None).unwrap();
    for name in rules.iter().flat_map(|rule| &rule.files) {
        tree.write(&format!("go/{name}"), fs::read(Path::new(goroot.trim_end()).join("src").join(name)).unwrap());
    }
    let (theirs, ours) = (scanned(&program, tree.root(), "go"), matched(tree.root(), "go", &rules));
    assert_eq!(ours, theirs);
    assert_eq!(ours.values().map(Vec::len).sum::<usize>(), rules.iter().count());
}

#[test]
fn ast_grep_tests_the_rules_that_are_written_out() {
    let Some(program) = ast_grep() else { return };
    let tree = Tree::bare("installer");
    tree.rr_patch(&["rules", "export", "out"]).exits(0);
    run(&program, &tree.path("out"), &["test"]).exits(0).prints(&["test result: ok. 43 passed; 0 failed"]);
}

#[test]
fn ast_grep_has_one_version_wherever_it_is_named() {
    let version = version_of("ast-grep-core");
    assert_eq!(version_of("ast-grep-config"), version);
    let manifest = fs::read_to_string(home().join("Cargo.toml")).unwrap();
    for package in ["ast-grep-config", "ast-grep-core"] {
        assert!(manifest.contains(&format!("\n{package} = \"={version}\"\n")), "{package}");
    }
    let mut named = 0;
    for file in ["CONTRIBUTING.md", "scripts/test"] {
        let text = fs::read_to_string(home().join(file)).unwrap();
        for found in text.split("ast-grep-cli==").skip(1) {
            let found = found.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap().trim_end_matches('.');
            assert_eq!(found, version, "{file}");
            named += 1;
        }
    }
    assert!(named > 0, "no file says how to install it");
}

/// The built-in rules in a folder of the tree.
fn exported(tree: &Tree) -> &'static str {
    tree.rr_patch(&["rules", "export", "../ours"]).exits(0).prints_exactly(str![[r#"
wrote [..] files into `../ours`
next: `rr-patch rules test ../ours`
next: `rr-patch apply --rules ../ours`
"#]]);
    "../ours"
}

#[test]
fn rules_that_are_written_out_and_used_do_what_the_built_in_ones_do() {
    for shape in SHAPES {
        let (tree, other) = (Tree::bare(shape), Tree::patched(shape));
        let folder = exported(&tree);
        tree.rr_patch(&["apply", "--rules", folder]).exits(0);
        for path in [PROCESS, SYSTEM] {
            assert_eq!(tree.text(path), other.text(path), "{shape}: {path}");
        }
        tree.rr_patch(&["revert"]).exits(0);
    }
}

#[test]
fn the_digest_of_a_folder_of_rules_stands_where_the_options_do() {
    let tree = Tree::new("installer");
    let folder = exported(&tree);
    tree.rr_patch(&["apply", "--rules", folder]).exits(0);
    let status = tree.rr_patch(&["status", "--format", "json"]).exits(0).json();
    let digest = status["options"]["rules"].as_str().unwrap().to_owned();
    assert!(digest.starts_with("sha256:") && digest.len() == 7 + 64, "{digest}");
    assert!(tree.text(ADDED).lines().nth(1).unwrap().contains(&format!("\"rules\":\"{digest}\"")));
    assert!(String::from_utf8_lossy(&tree.read(JOURNAL)).contains(&digest));
    tree.rr_patch(&["status"]).exits(0).prints(&[&format!("options: --rules {digest}\n")]);
    tree.rr_patch(&["apply", "--rules", folder])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);

    // Without the journal the folder has to be named: the sources say which one it was.
    fs::remove_dir_all(tree.path(crate::harness::STATE)).unwrap();
    tree.rr_patch(&["status"]).exits(0).prints_exactly(format!(
        "patched: `[FOLDER]/installer`\n\
         by:      rr-patch [VERSION]\n\
         known:   by its sources\n\
         options: --rules {digest}\n\
         records: rr record --wait --disable-avx-512 --bind-to-cpu=0 <controller>\n\
         \n\
         the originals are not known, so `rr-patch revert` is refused:\n  \
         it was made by rules of a folder, {digest}\n  \
         name that folder: `rr-patch status --rules DIR`"
    ));
    tree.rr_patch(&["status", "--rules", folder]).exits(0).prints(&["known:   by its sources; `"]);
    tree.rr_patch(&["apply", "--rules", folder])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
    let file = tree.beside("ours/rules/exit-log.yml");
    fs::write(&file, format!("{}# another\n", fs::read_to_string(&file).unwrap())).unwrap();
    tree.rr_patch(&["status", "--rules", folder]).exits(0).prints_exactly(str![[r#"
patched: `[FOLDER]/installer`
by:      rr-patch [VERSION]
known:   by its sources
options: --rules sha256:[..]
records: rr record --wait --disable-avx-512 --bind-to-cpu=0 <controller>

the originals are not known, so `rr-patch revert` is refused:
  it was made by rules of a folder, sha256:[..]
  name that folder: `rr-patch status --rules DIR`
"#]]);
}

#[test]
fn a_build_says_with_which_rules_it_was_patched() {
    let tree = Tree::new("installer");
    let folder = exported(&tree);
    tree.rr_patch(&["apply", "--rules", folder]).exits(0);
    let digest = tree.rr_patch(&["status", "--format", "json"]).json()["options"]["rules"].clone();
    tree.rr_patch(&["build"]).exits(0);
    let statement: Value = serde_json::from_slice(&tree.read("bin/openshift-install.rr-patch.json")).unwrap();
    assert_eq!(statement["predicate"]["buildDefinition"]["externalParameters"]["options"]["rules"], digest);
}

#[test]
fn check_and_diff_take_a_folder_of_rules() {
    let tree = Tree::new("installer");
    let folder = exported(&tree);
    let plain = tree.rr_patch(&["diff"]).exits(0).stdout;
    let with = tree.rr_patch(&["diff", "--rules", folder]).exits(0).stdout;
    let without_header = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with("+//rr-patch:") && !line.starts_with("index "))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(without_header(&plain), without_header(&with));
    assert!(with.contains("\"rules\":\"sha256:"));
    tree.rr_patch(&["check", "--rules", folder]).exits(0).prints_exactly(str![[r#"
revision  date        shape  outcome
HEAD      2026-01-01  P1+S6  ok

1 revision, 1 set of sources: 1 ok, 0 failed, 0 with nothing to patch
"#]]);
    let file = tree.beside("ours/rules/rr-command.yml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("&process.State", "&process.Other")).unwrap();
    tree.rr_patch(&["check", "--rules", folder]).exits(4).prints_exactly(str![[r#"
revision  date        shape  outcome
HEAD      2026-01-01         this shape of the installer's sources is not understood

HEAD: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:260`
  looked for: a parameter `CT *controller` and `PR := &process.Other{…}` in `system.runController`, once
  found: in lines 260 to 323, nearest to it:
  line 298: `pr := &process.State{`
  hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule

1 revision, 1 set of sources: 0 ok, 1 failed, 0 with nothing to patch
"#]]);
    tree.rr_patch(&["check"]).exits(0);
    tree.rr_patch(&["apply", "--mode", "patch", "--rules", folder]).exits(2).says_exactly(str![[r#"
error: `--rules` is for the structural changes, and not for a patch
hint: leave `--rules` out, or the patch
"#]]);
}

#[test]
fn a_folder_without_rules_is_refused_and_none_is_written_over() {
    let tree = Tree::new("installer");
    fs::create_dir_all(tree.beside("empty/rules")).unwrap();
    for (folder, says) in [
        (
            "../empty",
            str![[r#"
error: there are no rules in `../empty/rules`
hint: `rr-patch rules export DIR` writes those that rr-patch carries
nothing was written
"#]],
        ),
        (
            "../none",
            str![[r#"
error: there are no rules in `../none`: No such file or directory (os error 2)
  expected: files like `../none/rules/no-timeouts.yml`
hint: `rr-patch rules export DIR` writes those that rr-patch carries
nothing was written
"#]],
        ),
    ] {
        tree.refuses(&["apply", "--rules", folder]).says_exactly(says);
    }
    tree.refuses(&["rules", "export", "../empty"]).says_exactly(str![[r#"
error: `../empty` is not empty
hint: name a folder that is not there yet: nothing is written over
nothing was written
"#]]);
}

/// One rule in a folder of its own.
const RULE: &str = "id: exit
language: Go
message: where a process has ended
rule:
  pattern: { context: 'func f() { $ERR := $PS.Cmd.Wait() }', selector: short_var_declaration }
  inside: { kind: method_declaration, has: { field: name, regex: ^Start$ }, stopBy: end }
metadata:
  change: exit-log
  file: pkg/clusterapi/internal/process/process.go
  add: { place: after, text: $PS.log($ERR) }
";

#[test]
fn what_is_wrong_with_a_rule_is_refused_with_file_line_and_column() {
    let changes = CHANGES.map(|(name, _)| name);
    let parsed = |text: &str| Rules::parse(&[("ours.yml".into(), text.to_owned())], &changes);
    parsed(RULE).unwrap();
    for (old, new, says) in [
        ("message:", "mesage:", "`ours.yml:3:1` is no rule: a rule has no key `mesage`"),
        ("  change:", "  chnage:", "`ours.yml:8:3` is no rule: metadata has no key `chnage`"),
        ("stopBy: end", "stopby: end", "is no rule: the rule has no key `stopby`"),
        ("exit-log\n", "exit-logg\n", "`ours.yml:8:11` is no rule: there is no change `exit-logg`"),
        ("place: after", "place: beside", "`ours.yml:10:17` is no rule: place is `beside`"),
        ("place: after", "palce: after", "`ours.yml:10:10` is no rule: `add` has no key `palce`"),
        ("$PS.log($ERR)", "$PS.log($ER)", "`ours.yml:10:30` is no rule: nothing captures `$ER`"),
        ("$PS.log($ERR)", "'$PS.log($ERR'", "`ours.yml:10:30` is no rule: the text `$PS.log($ERR` is not valid Go"),
        (":= $PS.Cmd.Wait() }", ":= = $PS.Cmd.Wait() }", "`ours.yml:5:12` is no rule: the pattern "),
        ("selector: short_var_declaration", "selector: nothing_like_it", "`ours.yml:5:12` is no rule: the pattern "),
        ("kind: method_declaration", "kind: methd", "`ours.yml:5:3` is no rule: "),
        ("regex: ^Start$", "regex: '^(Start$'", "`ours.yml:5:3` is no rule: "),
        ("language: Go", "language: Rust", "is no rule: "),
        ("  add: { place: after, text: $PS.log($ERR) }\n", "", "a rule either changes something"),
        ("  add:", "  times: 2\n  add:", "`ours.yml:10:10` is no rule: times is `2`"),
        ("  add:", "  never: DONE\n  add:", "`ours.yml:10:10` is no rule: `never` is no metavariable"),
        ("  add:", "  with: nobody\n  add:", "the rule `exit` is `with` a rule `nobody`"),
        ("id: exit\n", "id: exit\n\tx: 1\n", "`ours.yml:1:5` is no rule: "),
    ] {
        assert!(RULE.contains(old), "{old}");
        let parsed = parsed(&RULE.replacen(old, new, 1)).map(|_| ());
        let error = parsed.err().unwrap_or_else(|| panic!("`{new}` is taken"));
        assert!(error.to_string().contains(says), "{new}:\n{error}");
    }
    let error = parsed(&format!("{RULE}---\n{RULE}")).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("two rules are called `exit`"), "{error}");
}

#[test]
fn the_rules_that_rr_patch_carries_pass_every_check_of_a_folder() {
    for folder in ["patches", "patches/earlier/0.1"] {
        let rules = Rules::read(&home().join(folder), &CHANGES.map(|(name, _)| name)).unwrap();
        assert!(rules.iter().count() >= 15, "{folder}");
    }
    let rules = chaos::rules(Some(&home().join("patches"))).unwrap();
    assert_eq!(rules.iter().count(), chaos::rules(None).unwrap().iter().count());
}

#[test]
fn rules_test_says_which_snippet_a_rule_fails() {
    let tree = Tree::bare("installer");
    tree.rr_patch(&["rules", "test"]).exits(0).prints(&[
        "ok     start-wait: 4 snippets\n",
        "ok     chaos-lock: 4 snippets\n",
        ": 0 wrong\n",
    ]);
    let folder = exported(&tree);
    let document = tree.rr_patch(&["rules", "test", folder, "--format", "json"]).exits(0).json();
    assert_eq!(document["passed"], true);
    let tests = tree.beside("ours/tests");
    let edit = |name: &str, old: &str, new: &str| {
        let path = tests.join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old));
        fs::write(path, text.replacen(old, new, 1)).unwrap();
    };
    edit("exit-test.yml", "ps.Cmd.Run()", "err := ps.Cmd.Wait()");
    edit("cancel-test.yml", "ps.Cmd = exec.CommandContext(ctx, ps.Path, ps", "ps.Cmd = exec.Command(ctx, ps.Path, ps");
    fs::remove_file(tests.join("record-test.yml")).unwrap();
    edit("supervise-test.yml", "id: supervise", "id: supervised");
    let run = tree.rr_patch(&["rules", "test", folder]).exits(4);
    run.prints(&[
        "WRONG  exit: 3 snippets\n       it matches the valid snippet `func (ps *State) Start(",
        "WRONG  cancel: 4 snippets\n       it does not match the invalid snippet `func",
        "WRONG  record: 0 snippets\n       it has no snippets\n",
        "WRONG  supervised: 0 snippets\n",
    ]);
    edit("exit-test.yml", "valid:", "vaild:");
    tree.refuses(&["rules", "test", folder]).says_exactly(str![[r#"
error: `../ours/tests/exit-test.yml:2:1` holds no snippets: unknown field `vaild`, expected one of id, valid, invalid at line 2, column 1
nothing was written
"#]]);
}

/// The fixture as a release that renames a variable, moves `Start` into another file and adds a goroutine there.
fn newer_release() -> Tree {
    let tree = Tree::bare("installer");
    let system = tree.text(SYSTEM).replace("\twg           sync", "\trunning      sync").replace("c.wg.", "c.running.");
    tree.write(SYSTEM, system);
    let process = tree.text(PROCESS);
    let (begin, end) = (process.find("// Start runs the process").unwrap(), process.find("// Exited tells").unwrap());
    let start = process[begin..end].trim_end();
    let rest = [&process[..begin], &process[end..]].concat().replace("\t\"context\"\n", "").replace("\t\"io\"\n", "");
    tree.write(PROCESS, rest);
    let watchdog = "\tgo func() {
\t\tselect {
\t\tcase <-time.After(ps.StartTimeout):
\t\t\tlogrus.Warnf(\"%s is slow: it is ended\", path.Base(ps.Path))
\t\t\tps.Cmd.Process.Kill() //nolint:errcheck
\t\tcase <-ready:
\t\t}
\t}()
";
    let mark = "\tpollerStopCh := make(stopChannel)\n";
    assert_eq!(start.matches(mark).count(), 1);
    let start = start.replace(mark, &[mark, watchdog].concat());
    let imports: String =
        ["context", "fmt", "io", "os/exec", "path", "syscall", "time", "", "github.com/sirupsen/logrus"]
            .map(|name| if name.is_empty() { "\n".to_owned() } else { format!("\t\"{name}\"\n") })
            .concat();
    tree.write(
        "pkg/clusterapi/internal/process/start.go",
        format!("package process\n\nimport (\n{imports})\n\n{start}\n"),
    );
    tree.git(&["init", "--quiet", "--initial-branch=main"]);
    tree.commit("a newer release");
    assert_eq!(tree.unformatted(), "");
    tree.go(&["vet", "./pkg/clusterapi/..."], &[]).exits(0);
    tree
}

/// The blocks of a page: what follows ``` and the lines up to the next.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let body: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            all.push((kind.to_owned(), body));
        }
    }
    all
}

#[test]
fn the_book_s_example_of_a_new_release_runs_without_cargo() {
    let tree = newer_release();
    // An installed binary, and of the rest only what the page uses.
    let bin = tree.beside("bin");
    fs::create_dir(&bin).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rr-patch"), bin.join("rr-patch")).unwrap();
    for name in ["sh", "sed", "cat", "test", "git", "go", "gofmt"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|folder| folder.join(name))
            .find(|path| path.exists());
        std::os::unix::fs::symlink(fs::canonicalize(found.unwrap()).unwrap(), bin.join(name)).unwrap();
    }
    let page = fs::read_to_string(home().join("docs/how-to/new-release.md")).unwrap();
    let mut printed = String::new();
    let mut commands = 0;
    for (kind, body) in blocks(&page) {
        match kind.as_str() {
            "sh" => {
                let run = tree.run("sh", &["-euc", &body], &[("PATH", bin.to_str().unwrap()), ("GOPROXY", "off")]);
                assert_eq!(run.code, 0, "{body}\n{}{}", run.stdout, run.stderr);
                printed = format!("{}{}", run.stdout, run.stderr);
                commands += 1;
            }
            "text" => assert!(printed.contains(&body), "not printed:\n{body}\nbut:\n{printed}"),
            other => panic!("a block of {other}"),
        }
    }
    assert!(commands >= 7, "{commands}");
    let start = tree.text("pkg/clusterapi/internal/process/start.go");
    for text in ["case <-make(<-chan time.Time):", "ps.Cmd.Cancel = ps.terminate", "ps.logWhileWaiting("] {
        assert_eq!(start.matches(text).count(), 1, "{text} in:\n{start}");
    }
    assert_eq!(tree.unformatted(), "");
    if let Some(program) = ast_grep() {
        run(&program, &tree.path("rules-of-ours"), &["test", "--skip-snapshot-tests"]).exits(0);
    }
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!(tree.git(&["status", "--short"]), "?? rules-of-ours/\n");
}

#[test]
fn copies_of_the_rules_match_in_any_go_file() {
    let tree = Tree::bare("installer");
    copy(&home().join("patches/rules"), &tree.beside("any/rules"));
    let file = tree.beside("any/rules/exit-log.yml");
    let rule = "id: locks\nlanguage: Go\nmessage: a lock\nrule:\n  pattern: { context: 'func f() { $C.Lock() }', selector: call_expression }\n\
                fix: $C.Lock()\nmetadata:\n  change: a-change\n  file: any.go\n";
    fs::remove_dir_all(tree.beside("any/rules")).unwrap();
    fs::create_dir(tree.beside("any/rules")).unwrap();
    fs::write(file, rule).unwrap();
    let rules = Rules::read(&tree.beside("any"), &["a-change"]).unwrap();
    let source = "package any\n\nvar f = func() { mu.Lock() }\n\nfunc g() { mu.Lock(); mu.Unlock() }\n";
    let found = rules.iter().next().unwrap().ranges(&GoFile::parse("any.go", source.into()).unwrap());
    assert_eq!(found.len(), 2);
    assert!(found.into_iter().all(|range| &source[range] == "mu.Lock()"));
}
