//! What apply makes of the Go sources, shape by shape: that Go takes it, that it keeps the contract,
//! that it touches no line it need not, and that revert leaves no trace of it.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use crate::end_to_end::real_rr;
use crate::harness::{ADDED, ADDED_UNIX, PROCESS, PROCESS_UNIX, Run, SHAPES, SYSTEM, Tree, skip};

/// Runs `check` on every shape, and names those for which it fails.
#[track_caller]
fn on_every_shape(check: fn(&str)) {
    let failed: Vec<&str> = SHAPES.into_iter().filter(|shape| catch_unwind(|| check(shape)).is_err()).collect();
    assert!(failed.is_empty(), "fails for: {}", failed.join(", "));
}

/// The text of a Go function.
#[track_caller]
fn function<'a>(source: &'a str, name: &str) -> &'a str {
    let head = format!(") {name}(");
    let start = source.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    });
    let (start, _) = start
        .filter(|(_, line)| line.starts_with("func ") && line.contains(&head))
        .last()
        .unwrap_or_else(|| panic!("no function {name}"));
    let end = source[start..].find("\n}\n").unwrap_or(source.len() - start);
    &source[start..start + end]
}

#[test]
fn apply_makes_go_that_is_formatted_and_vetted_on_every_shape() {
    on_every_shape(|shape| {
        let tree = Tree::patched(shape);
        assert_eq!(tree.unformatted(), "");
        tree.go(&["vet", "./pkg/clusterapi/..."], &[]).exits(0);
        if shape == "p2" {
            let process = "./pkg/clusterapi/internal/process";
            tree.go(&["build", process], &[("GOOS", "windows")]).exits(0);
            tree.go(&["vet", process], &[("GOOS", "windows")]).exits(0);
        }
    });
}

#[test]
fn apply_lists_all_six_changes_with_lines_that_exist_on_every_shape() {
    on_every_shape(|shape| {
        let tree = Tree::new(shape);
        let report = tree.rr_patch(&["apply", "--format", "json"]).exits(0).json();
        assert_eq!(report["schema"], "rr-patch/apply/1");
        assert_eq!(report["outcome"], "patched");
        let name = match shape {
            "p2" => "P2+S6".to_owned(),
            "installer" | "s6-renamed" | "s6-second-goroutine" => "P1+S6".to_owned(),
            other => format!("P1+{}", other.to_uppercase()),
        };
        assert_eq!(report["shape"], name);

        let lines_of = |change: &serde_json::Value| -> Vec<String> {
            let sites = change["sites"].as_array().unwrap();
            let line = |site: &serde_json::Value| {
                let text = tree.text(site["path"].as_str().unwrap());
                let number = usize::try_from(site["line"].as_u64().unwrap()).unwrap();
                text.lines().nth(number - 1).unwrap_or_else(|| panic!("{site}: no such line")).to_owned()
            };
            sites.iter().map(line).collect()
        };
        // A line of each change that must be among those it is said to be on.
        let expected = [
            ("group-signal", "syscall.Kill(-ps.Cmd.Process.Pid, syscall.SIGTERM)"),
            ("graceful-cancel", ".Cmd.Cancel = "),
            ("no-timeouts", ".logWhileWaiting("),
            ("exit-log", ".logExit()"),
            ("rr-command", ".startSupervised()"),
            ("whole-trace", "\"RR_COPY_ALL_FILES=1\""),
        ];
        let changes = report["changes"].as_array().unwrap();
        let names: Vec<&str> = changes.iter().map(|change| change["change"].as_str().unwrap()).collect();
        assert_eq!(names, expected.map(|(name, _)| name));
        for (change, (name, text)) in changes.iter().zip(expected) {
            let lines = lines_of(change);
            assert!(lines.iter().any(|line| line.contains(text)), "{name}: `{text}` is none of {lines:#?}");
            assert!(lines.iter().all(|line| !line.trim().is_empty()), "{name}: a blank line in {lines:#?}");
        }
    });
}

/// What stands after the channel where Teardown waits.
const WAIT: &str = " // However long it takes: the timer below starts when this is over.";

/// A function without the `case` that waits for a timer, and that case. It is dead where the timer's
/// channel never delivers, or where `<-CH` stands above the `select` whose other case is `<-CH`.
fn without_dead_cases(body: &str) -> (String, String) {
    let lines: Vec<&str> = body.lines().collect();
    let timer = lines
        .iter()
        .find_map(|line| line.trim().split_once(" <-chan time.Time // Stays nil: ")?.0.strip_prefix("var "));
    let dead = |at: usize| match timer {
        Some(timer) => lines[at].trim() == format!("case <-{timer}:"),
        None => {
            let select = lines[..at].iter().rposition(|line| line.trim() == "select {").unwrap();
            let awaited = lines[..select].iter().rev().find_map(|line| line.trim().strip_suffix(WAIT)).unwrap();
            let other = format!("case {awaited}:");
            lines[at].trim().starts_with("case <-time.After(") && lines[select..].iter().any(|l| l.trim() == other)
        }
    };
    let start = (0..lines.len()).find(|&at| lines[at].trim().starts_with("case ") && dead(at));
    let Some(start) = start else { return (body.into(), String::new()) };
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let end = start + 1 + lines[start + 1..].iter().position(|l| indentation(l) <= indentation(lines[start])).unwrap();
    ([&lines[..start], &lines[end..]].concat().join("\n"), lines[start..end].join("\n"))
}

#[test]
fn apply_keeps_the_contract_in_start_stop_and_teardown_of_every_shape() {
    on_every_shape(|shape| {
        let tree = Tree::new(shape);
        let places = [(PROCESS, "Start"), (PROCESS, "Stop"), (SYSTEM, "Teardown")];
        for (file, name) in places {
            let source = tree.text(file);
            assert!(function(&source, name).contains("time.After("), "{name} has a timer before");
        }
        tree.rr_patch(&["apply"]).exits(0);
        let (process, system) = (tree.text(PROCESS), tree.text(SYSTEM));
        for (file, name) in places {
            let source = tree.text(file);
            let body = function(&source, name);
            // What is left of them stands in a `case` that cannot be chosen.
            let (alive, dead) = without_dead_cases(body);
            assert!(!dead.is_empty(), "{name} lost its `case`:\n{body}");
            for gone in ["SIGKILL", "killProcess", ".Kill()", "time.After", "time.NewTimer", "WaitDelay"] {
                assert!(!alive.contains(gone), "{name} still has {gone}:\n{body}");
            }
        }

        let start = function(&process, "Start");
        let at = |text: &str| start.find(text).unwrap_or_else(|| panic!("Start lacks `{text}`:\n{start}"));
        assert!(at("exec.CommandContext(") < at(".Cmd.Cancel = "));
        assert!(at(".Cmd.Cancel = ") < at(".startSupervised()"));
        assert!(at(".startSupervised()") < at(".Cmd.Wait()"));
        assert!(at(".Cmd.Wait()") < at(".logExit()"));
        assert!(at(".logExit()") < at(".exited = true\n\t}()"), "the exit is logged before anyone is told of it");
        assert!(!without_dead_cases(function(&process, "Stop")).0.contains(".Process.Signal("));

        let teardown = function(&system, "Teardown");
        assert!(teardown.find("process.AwaitAll(&") < teardown.find(".wg.Wait()"));
        assert_eq!(teardown.contains(".supervisor.Cancel()"), teardown.contains(".Lock()"));
        if let Some(lock) = teardown.find(".Lock()") {
            assert!(teardown.find(".supervisor.Cancel()").unwrap() < lock);
            assert!(function(&system, "Run").contains(".supervisor.SetCancel("));
        }
        assert!(function(&system, "runController").contains(".EnableRecording(&"));
        if shape == "p2" {
            assert!(
                tree.text(PROCESS_UNIX).contains("func stopProcess(ps *State) error {\n\treturn ps.terminate()\n}")
            );
        }

        assert!(tree.text(ADDED_UNIX).contains("syscall.Kill(-ps.Cmd.Process.Pid, syscall.SIGTERM)"));
        let added = tree.text(ADDED);
        assert!(added.contains("append(ps.Env, \"RR_COPY_ALL_FILES=1\")"));
        let command = r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#;
        assert!(added.contains(command), "{added}");
        assert!(!format!("{added}{}", tree.text(ADDED_UNIX)).contains("SIGKILL\n"));
    });
}

#[test]
fn apply_touches_no_line_that_it_need_not_on_every_shape() {
    on_every_shape(|shape| {
        let tree = Tree::patched(shape);
        // Lines added and removed. What goes makes way for the same statement in other words.
        let expected = match shape {
            "p2" => [(PROCESS, 10, 4), (PROCESS_UNIX, 1, 1), (SYSTEM, 10, 0)].as_slice(),
            "s1" | "s2" => &[(PROCESS, 11, 5), (SYSTEM, 8, 0)],
            _ => &[(PROCESS, 11, 5), (SYSTEM, 10, 0)],
        };
        let expected: Vec<String> =
            expected.iter().map(|(path, added, removed)| format!("{added}\t{removed}\t{path}")).collect();
        let changed = |options: &[&str]| tree.git(&[&["diff", "--numstat"], options].concat());
        assert_eq!(changed(&[]).lines().collect::<Vec<_>>(), expected);
        assert_eq!(changed(&["-w"]), changed(&[]), "no line differs by white space only");

        let mut added = vec![ADDED, ADDED_UNIX];
        added.extend((shape == "p2").then_some("pkg/clusterapi/internal/process/rr_patch_windows.go"));
        let untracked = tree.git(&["ls-files", "--others"]);
        assert_eq!(untracked.lines().collect::<Vec<_>>(), added);
    });
}

#[test]
fn revert_restores_every_shape_byte_for_byte_and_leaves_nothing_over() {
    on_every_shape(|shape| {
        for tree in [Tree::new(shape), Tree::bare(shape)] {
            let before = (tree.snapshot(), folders(&tree));
            tree.rr_patch(&["apply"]).exits(0);
            assert!(tree.snapshot() != before.0);
            tree.rr_patch(&["revert"]).exits(0);
            assert!(tree.snapshot() == before.0, "a file is not as it was");
            assert_eq!(folders(&tree), before.1, "a folder is left over, or gone");
            assert!(!tree.path(".git/rr-patch").exists());
        }
    });
}

/// All folders of a tree but git's own.
fn folders(tree: &Tree) -> Vec<String> {
    let found = tree.run("find", &[".", "-name", ".git", "-prune", "-o", "-type", "d", "-print"], &[]).exits(0).stdout;
    let mut folders: Vec<String> = found.lines().map(str::to_owned).collect();
    folders.sort();
    folders
}

/// A change to a file's bytes that has nothing to do with ours: it makes no difference whether the
/// one or the other comes first.
pub(crate) type Variation = (&'static str, fn(&str, Vec<u8>) -> Vec<u8>);

pub(crate) const VARIATIONS: [Variation; 9] = [
    ("CRLF line ends", |_, bytes| replaced(&bytes, b"\n", b"\r\n")),
    ("one CRLF in a file of LF", |_, bytes| replaced(&bytes, b"\n)\n", b"\n)\r\n")),
    ("no final newline", |_, mut bytes| {
        assert_eq!(bytes.pop(), Some(b'\n'));
        bytes
    }),
    ("CRLF line ends and no final newline", |_, bytes| {
        let mut bytes = replaced(&bytes, b"\n", b"\r\n");
        bytes.truncate(bytes.len() - 2);
        bytes
    }),
    ("blank lines at the end", |_, bytes| [&bytes[..], b"\n\n\n"].concat()),
    ("invalid UTF-8 in a comment", |_, bytes| replaced(&bytes, b"\nimport (", b"\n// \xff\xfe caf\xe9\xa0\nimport (")),
    ("another alphabet", |_, bytes| {
        replaced(&bytes, b"\nimport (", "\n// 録画 \u{1f3ac} ё\u{2028}\nimport (".as_bytes())
    }),
    ("a function of one's own", |_, bytes| [&bytes[..], b"\nfunc extra() int {\n\treturn 1\n}\n"].concat()),
    ("statements of one's own", |path, bytes| match path {
        SYSTEM => replaced(&bytes, b"\tplatform, err := ", b"\tlogrus.Debug(\"local\")\n\tplatform, err := "),
        PROCESS => replaced(&bytes, b"\tready := make(", b"\tlogrus.Debug(\"local\")\n\tready := make("),
        _ => bytes,
    }),
];

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    out.extend_from_slice(rest);
    assert!(out != bytes, "the variation changes something");
    out
}

#[test]
fn apply_and_revert_keep_every_byte_of_files_that_vary() {
    let mut failed = Vec::new();
    for shape in ["installer", "p2"] {
        let files = if shape == "p2" { &[PROCESS, SYSTEM, PROCESS_UNIX][..] } else { &[PROCESS, SYSTEM] };
        let plain = Tree::patched(shape);
        for (name, vary) in VARIATIONS {
            let kept = catch_unwind(|| {
                let tree = Tree::bare(shape);
                for file in files {
                    tree.write(file, vary(file, tree.read(file)));
                }
                let before = tree.snapshot();
                tree.rr_patch(&["apply"]).exits(0);
                for file in files {
                    let (found, expected) = (tree.read(file), vary(file, plain.read(file)));
                    let (shown, wanted) = (String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
                    assert!(found == expected, "{file}, found:\n{shown}\nexpected:\n{wanted}");
                }
                if name == "CRLF line ends" {
                    tree.go(&["vet", "./pkg/clusterapi/..."], &[]).exits(0);
                }
                tree.rr_patch(&["revert"]).exits(0);
                assert!(tree.snapshot() == before, "revert gives back the bytes that were there");
            });
            if kept.is_err() {
                failed.push(format!("{name} ({shape})"));
            }
        }
    }
    assert!(failed.is_empty(), "fails for: {}", failed.join(", "));
}

#[test]
fn apply_and_revert_keep_the_modes_of_files() {
    for shape in ["installer", "p2"] {
        let files = if shape == "p2" { &[PROCESS, SYSTEM, PROCESS_UNIX][..] } else { &[PROCESS, SYSTEM] };
        for (mode, other) in [(0o755, 0o600), (0o600, 0o755), (0o444, 0o2664)] {
            let tree = Tree::new(shape);
            tree.chmod(files[0], mode);
            tree.chmod(files[1], other);
            files[2..].iter().for_each(|file| tree.chmod(file, 0o640));
            let before = tree.snapshot();
            tree.rr_patch(&["apply"]).exits(0);
            let after = tree.snapshot();
            for file in files {
                let mode_in = |files: &crate::harness::Snapshot| files[std::path::Path::new(file)].1;
                assert_eq!(mode_in(&before), mode_in(&after), "{shape}: {file} {mode:o} {other:o}");
            }
            tree.rr_patch(&["revert"]).exits(0);
            assert!(tree.snapshot() == before, "{shape}: {mode:o} {other:o}");
        }
    }
}

/// Statements that a rule looks for: what they begin with, in which file.
const STATEMENTS: [(&str, &str); 11] = [
    (PROCESS, "ps.Cmd = exec.CommandContext("),
    (PROCESS, "timedOut := time.After(ps.StartTimeout)"),
    (PROCESS, "if err := ps.Cmd.Start()"),
    (PROCESS, "err := ps.Cmd.Wait()"),
    (PROCESS, "if done, err := ps.Exited()"),
    (PROCESS, "timedOut := time.After(ps.StopTimeout)"),
    (PROCESS, "ps.waitDone = make("),
    (SYSTEM, "c.cancel = cancel"),
    (SYSTEM, "c.wg.Wait()"),
    (SYSTEM, "pr := &process.State{"),
    (SYSTEM, "if c.lcp == nil {\n\t\treturn\n\t}\n\tdefer os.RemoveAll("),
];

#[test]
fn apply_keeps_comments_around_the_statements_that_it_looks_for() {
    for shape in ["installer", "p2"] {
        for comment in ["// A note of ours.", "/* A note of ours. */", "/* A note\n\t   of ours. */"] {
            let tree = Tree::new(shape);
            for (file, statement) in STATEMENTS {
                let indented = tree.text(file).split(statement).next().unwrap().rsplit('\n').next().unwrap().to_owned();
                tree.edit(file, statement, &format!("{comment}\n{indented}{statement}"));
            }
            tree.edit(
                PROCESS,
                "timedOut := time.After(ps.StopTimeout)\n",
                "timedOut := time.After(ps.StopTimeout) // and here\n",
            );
            tree.edit(SYSTEM, "c.wg.Wait()\n", "c.wg.Wait() // and here\n");
            tree.run("gofmt", &["-w", PROCESS, SYSTEM], &[]).exits(0);
            let before = tree.snapshot();
            tree.rr_patch(&["apply"]).exits(0);
            let both = format!("{}{}", tree.text(PROCESS), tree.text(SYSTEM));
            assert_eq!(both.matches("of ours.").count(), STATEMENTS.len(), "{shape}, {comment}");
            assert_eq!(both.matches("// and here").count(), 2, "{shape}, {comment}");
            assert_eq!(tree.unformatted(), "", "{shape}, {comment}");
            tree.rr_patch(&["revert"]).exits(0);
            assert!(tree.snapshot() == before, "{shape}, {comment}");
        }
    }
}

/// Puts the tests that lie beside the added Go beside it in the tree.
fn add_go_tests(tree: &Tree) {
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/patches/support")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with("_test.go") {
            tree.write(&format!("pkg/clusterapi/internal/process/{name}"), fs::read(&path).unwrap());
        }
    }
}

/// Runs tests of the added Go in a checkout that was patched with these options.
fn go_test(options: &[&str], tests: &str, expected: &[(&str, &str)]) -> Run {
    let tree = Tree::new("installer");
    tree.rr_patch(&[&["apply"], options].concat()).exits(0);
    add_go_tests(&tree);
    tree.go(&["test", "-v", "-count=1", "-run", tests, "./pkg/clusterapi/internal/process"], expected)
}

const RECORD: &str = "rr record --wait --bind-to-cpu=0";
const RECORD_WITHOUT_AVX512: &str = "rr record --wait --disable-avx-512 --bind-to-cpu=0";
const PROVIDERS: &str = "cluster-api-provider-aws cluster-api-provider-azure cluster-api-provider-azureaso";

#[test]
fn apply_adds_go_whose_own_tests_pass_on_every_shape() {
    on_every_shape(|shape| {
        let tree = Tree::patched(shape);
        add_go_tests(&tree);
        let run = tree.go(&["test", "-count=1", "./pkg/clusterapi/internal/process"], &[]);
        assert_eq!(run.code, 0, "{shape}:\n{}{}", run.stdout, run.stderr);
        assert_eq!(tree.unformatted(), "", "{shape}");
    });
}

#[test]
fn apply_adds_go_that_decides_what_is_recorded_and_signals_once() {
    let expected = [
        ("WANT_FAULTING", RECORD_WITHOUT_AVX512),
        ("WANT_OTHER", RECORD),
        ("WANT_SIGNALLED", "leader member"),
        ("WANT_CHOSEN", PROVIDERS),
    ];
    let run = go_test(&[], ".", &expected).exits(0);
    run.prints(&[
        "--- PASS: TestIfPossible/no_ptrace",
        "--- PASS: TestIfPossible/possible",
        "--- SKIP: TestIfPossibleHere",
    ]);
}

/// Asks the added Go whether it can record with the rr that is here, where a container's filter forbids this system call.
fn asked_here(rr: &Path, options: &[&str], denied: Option<&str>, possible: bool, reason: &str) {
    let variable = format!("if-possible {} record {} --wait", rr.display(), options.join(" "));
    let mut expected = vec![
        ("RR_PATCH_RECORD", variable.as_str()),
        ("WANT_POSSIBLE", if possible { "true" } else { "false" }),
        ("WANT_REASON", reason),
    ];
    expected.extend(denied.map(|number| ("RR_PATCH_TEST_DENY", number)));
    go_test(&[], "TestIfPossibleHere", &expected).exits(0).prints(&["--- PASS: TestIfPossibleHere"]);
}

const NOT_POSSIBLE: &str = "Nothing is recorded, since recording is not possible here: a trial recording by ";

#[test]
fn if_possible_records_where_a_real_rr_can_and_not_where_a_filter_forbids_ptrace_or_counters() {
    let Some((rr, Some(options))) = real_rr() else {
        skip(&["rr"], "no rr of this machine can record here");
        return;
    };
    asked_here(&rr, options, None, true, "");
    // ptrace, and perf_event_open without which rr has no counters.
    for number in ["101", "298"] {
        asked_here(&rr, options, Some(number), false, NOT_POSSIBLE);
    }
}

#[test]
fn if_possible_starts_plainly_where_a_real_rr_finds_no_counters() {
    let Some((rr, None)) = real_rr() else {
        skip(&["refusing-rr"], "no rr of this machine refuses to record here");
        return;
    };
    asked_here(&rr, &[], None, false, NOT_POSSIBLE);
}

#[test]
fn apply_avx512_disable_passes_the_option_on_every_cpu() {
    let expected = [("WANT_FAULTING", RECORD_WITHOUT_AVX512), ("WANT_OTHER", RECORD_WITHOUT_AVX512)];
    go_test(&["--avx512", "disable"], "TestAvx512", &expected).exits(0).prints(&["--- PASS: TestAvx512"]);
}

#[test]
fn apply_avx512_keep_passes_the_option_on_no_cpu() {
    let expected = [("WANT_FAULTING", RECORD), ("WANT_OTHER", RECORD)];
    go_test(&["--avx512", "keep"], "TestAvx512", &expected).exits(0).prints(&["--- PASS: TestAvx512"]);
}

#[test]
fn apply_signal_rr_signals_only_the_recorder() {
    let expected = [("WANT_SIGNALLED", "leader")];
    go_test(&["--signal", "rr"], "TestTerminate", &expected)
        .exits(0)
        .prints(&["--- PASS: TestTerminate ", "--- PASS: TestTerminateWhatIsGone"]);
}

#[test]
fn apply_controllers_all_records_the_core_controller_too() {
    go_test(&["--controllers", "all"], "TestBaked", &[("WANT_CHOSEN", &format!("cluster-api {PROVIDERS}"))])
        .exits(0)
        .prints(&["--- PASS: TestBaked"]);
}

#[test]
fn apply_controllers_records_whatever_name_it_does_not_refuse() {
    let mut lost = Vec::new();
    for (name, chosen) in [("AWS", "cluster-api-provider-aws"), ("Cluster-API", "cluster-api")] {
        let options = ["--controllers", name];
        let refused = Tree::new("installer").rr_patch(&[&["apply", "--dry-run"], &options[..]].concat()).code == 3;
        if !refused && go_test(&options, "TestBaked", &[("WANT_CHOSEN", chosen)]).code != 0 {
            lost.push(name);
        }
    }
    assert!(lost.is_empty(), "taken, and yet nothing is recorded: {}", lost.join(", "));
}

#[test]
fn shapes_are_all_the_folders_of_fixtures() {
    let mut folders: Vec<String> = fs::read_dir(crate::harness::fixtures().join("shapes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .chain(["installer".to_owned()])
        .collect();
    folders.sort();
    let mut shapes = SHAPES;
    shapes.sort_unstable();
    assert_eq!(folders, shapes);
}
