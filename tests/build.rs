//! `rr-patch build`: what it hands to build.sh, what it shows, how it fails and how it is ended.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{PROCESS, Tree, kill};

/// A patched tree with a build script of its own.
fn tree(script: &str) -> Tree {
    let tree = Tree::new("installer");
    tree.write("hack/build.sh", format!("#!/bin/sh\n{script}\n"));
    tree.rr_patch(&["apply"]).exits(0);
    tree
}

fn processes_with(marker: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap();
    let lines = entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(marker)).count()
}

#[test]
fn build_runs_the_script_in_the_checkout_for_debugging_with_the_arguments_after_two_dashes() {
    let tree = tree(r#"echo "$MODE|$TAGS|$PWD|$*""#);
    let run = tree.rr_patch_in("pkg", &["build", "--", "-v", "--x=a b"]).exits(0);
    run.prints(&[&format!("dev|release|{}|-v --x=a b\n", tree.root().display()), "bin/openshift-install` in "]);
}

#[test]
fn build_takes_a_checkout_that_is_not_the_current_folder() {
    let tree = tree("pwd");
    let output = tree.tool().current_dir("/").arg("build").arg(tree.root()).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&format!("{}\n", tree.root().display())));
}

#[test]
fn build_env_overrides_the_environment_and_the_defaults() {
    let tree = tree(r#"echo "$MODE|$TAGS|$OUTPUT""#);
    let run = tree.rr_patch(&["build", "--env", "MODE=release", "--env", "TAGS=", "--env", "OUTPUT=out/x"]).exits(0);
    run.prints(&["release||out/x\n", "/out/x` in "]);
    tree.rr_patch(&["build", "--env", "nothing"]).exits(2).says(&["expected NAME=VALUE"]);
}

#[test]
fn build_refuses_an_unpatched_checkout_unless_told() {
    let tree = Tree::new("installer");
    tree.write("hack/build.sh", "#!/bin/sh\necho built\n");
    tree.rr_patch(&["build"]).refuses().says(&["is not patched", "hint: `rr-patch apply`", "--unpatched"]);
    tree.rr_patch(&["build", "--unpatched"]).exits(0).prints(&["built\n"]);
}

#[test]
fn build_refuses_a_checkout_that_is_only_partly_patched() {
    let tree = tree("echo built");
    tree.git(&["checkout", "--", PROCESS]);
    tree.rr_patch(&["build"]).refuses().says(&["only partly patched", &format!("not patched: {PROCESS}")]);
}

#[test]
fn build_takes_a_patched_checkout_with_edits_elsewhere() {
    let tree = tree("echo built");
    tree.write(PROCESS, format!("{}\nfunc added() {{}}\n", tree.text(PROCESS)));
    tree.rr_patch(&["build"]).exits(0).prints(&["built\n"]);
}

#[test]
fn build_refuses_a_checkout_without_the_script_and_names_one_that_is_not_executable() {
    let tree = tree("echo built");
    tree.chmod("hack/build.sh", 0o644);
    tree.rr_patch(&["build"]).exits(1).says(&["cannot run", "chmod +x"]);
    tree.remove("hack/build.sh");
    tree.rr_patch(&["build"]).refuses().says(&["`hack/build.sh` is missing"]);
}

#[test]
fn build_names_the_step_that_failed_with_its_last_lines_the_status_and_the_log() {
    let script = "set -x\necho first\necho compiling aws >&2\nsh -c 'echo broken; exit 7'";
    let run = tree(&format!("{script}\n")).rr_patch(&["build"]).exits(1);
    let run = run.says(&[
        "error: the build failed with exit status 7 after ",
        "in step: sh -c echo broken; exit 7",
        "last lines:",
    ]);
    let run =
        run.says(&["    compiling aws\n", "    broken\n", "log: ", "hint: "]).prints(&["first\n", "compiling aws\n"]);
    let log = run.stderr.lines().find_map(|line| line.trim().strip_prefix("log: ")).unwrap();
    assert!(log.ends_with("/.git/rr-patch/checkout/build.log"), "{log}");
}

#[test]
fn build_keeps_the_log_and_the_one_before() {
    let tree = tree("echo \"$NAME\"");
    for name in ["one", "two"] {
        tree.rr_patch(&["build", "--env", &format!("NAME={name}")]).exits(0);
    }
    assert_eq!(tree.text(".git/rr-patch/checkout/build.log"), "two\n");
    assert_eq!(tree.text(".git/rr-patch/checkout/build.previous.log"), "one\n");
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!(tree.text(".git/rr-patch/checkout/build.log"), "two\n", "revert takes back an apply, not a log");
}

#[test]
fn build_shows_a_line_before_the_next_one_is_there() {
    let tree = tree("echo one\nwhile [ ! -e go-on ]; do sleep 0.02; done\necho two");
    let mut child = tree.tool().arg("build").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    tree.write("go-on", "");
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    assert!(child.wait().unwrap().success());
}

#[test]
fn build_format_json_prints_one_document_and_the_build_on_stderr() {
    let run = tree("echo hello").rr_patch(&["build", "--format", "json"]).exits(0).says(&["hello\n"]);
    let document = run.json();
    assert_eq!(document["schema"], "rr-patch/build/1");
    assert_eq!(document["patched"], true);
    assert!(document["installer"].as_str().unwrap().ends_with("/bin/openshift-install"));
}

/// Starts a build, waits for its children, signals the tool, and returns what it said.
fn interrupted(script: &str, marker: &str, signals: &[&str]) -> (Option<i32>, String, Duration) {
    let tree = tree(script);
    let child = tree.tool().arg("build").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while processes_with(marker) == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "the build did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    for signal in signals {
        kill(signal, child.id());
        std::thread::sleep(Duration::from_millis(200));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(processes_with(marker), 0, "nothing of the build is left");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), began.elapsed())
}

/// A word for command lines that no other run of these tests uses.
fn marker(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

#[test]
fn build_ends_its_whole_process_group_at_ctrl_c_and_says_so() {
    let sleep = marker(4711);
    let (code, said, _) = interrupted(&format!("set -x\n(sleep {sleep}) &\nsleep {sleep}"), &sleep, &["INT"]);
    assert_eq!(code, Some(1));
    let error = "error: the build was interrupted by signal 2 (SIGINT): its process group was ended";
    assert!(said.contains(error), "{said}");
    assert!(said.contains(&format!("in step: sleep {sleep}")), "{said}");
    let sleep = marker(4712);
    let (code, said, _) = interrupted(&format!("sleep {sleep} &\nwait"), &sleep, &["TERM"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("interrupted by signal 15 (SIGTERM)"), "{said}");
}

#[test]
fn build_kills_a_group_that_ignores_sigterm_at_the_second_ctrl_c() {
    let name = marker(4713);
    let script = format!("exec sh -c \"trap '' TERM INT; while :; do sleep 0.1; done\" {name}");
    let (code, said, took) = interrupted(&script, &name, &["INT", "INT"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("interrupted by signal 2 (SIGINT)"), "{said}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}
