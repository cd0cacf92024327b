//! `rr-patch build`: what it needs, what it hands to build.sh, what it shows, how it fails and how it is
//! ended. build.sh is one of our own here, and its installer was built before.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::end_to_end::installer;
use crate::harness::{PROCESS, Run, Tree, cache_with_go, command, kill, skip, write_program};
use crate::watched::processes_with;
use snapbox::str;

/// A patched tree with a build script of its own, and no Makefile for controllers.
fn scripted(script: &str) -> Tree {
    let tree = Tree::new("installer");
    tree.write("hack/build.sh", format!("#!/bin/sh\n{script}\n"));
    tree.remove("cluster-api/Makefile");
    tree.rr_patch(&["apply"]).exits(0);
    tree
}

/// One whose script goes through: in the end it puts a good installer where it should be.
fn tree(script: &str) -> Tree {
    let good = installer(true);
    let put = "out=${OUTPUT:-bin/openshift-install}; mkdir -p \"$(dirname \"$out\")\"";
    scripted(&format!("{script}\n{put} && cp '{}' \"$out\"", good.display()))
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
    let run = tree.rr_patch(&["build", "--env", "TAGS=", "--env", "OUTPUT=out/x"]).exits(0);
    run.prints(&["dev||out/x\n", "/out/x` in "]);
    tree.rr_patch(&["build", "--env", "nothing"]).exits(2).says_exactly(str![[r#"
error: invalid value 'nothing' for '--env <K=V>': expected NAME=VALUE

For more information, try '--help'.
"#]]);
}

#[test]
fn build_refuses_an_unpatched_checkout_unless_told() {
    let tree = tree("echo built");
    tree.rr_patch(&["revert"]).exits(0);
    tree.rr_patch(&["build"]).refuses().says_exactly(str![[r#"
error: `[FOLDER]/installer` is not patched: its installer would record nothing
hint: `rr-patch apply` patches it; `rr-patch build --unpatched` builds it as it is
nothing was written
"#]]);
    tree.rr_patch(&["build", "--unpatched"]).exits(0).prints(&["built\n"]);
}

#[test]
fn build_refuses_a_checkout_that_is_only_partly_patched() {
    let tree = tree("echo built");
    tree.git(&["checkout", "--", PROCESS]);
    tree.rr_patch(&["build"]).refuses().says_exactly(str![[r#"
error: `[FOLDER]/installer` is only partly patched
  not patched: pkg/clusterapi/internal/process/process.go
hint: `rr-patch apply` patches it; `rr-patch build --unpatched` builds it as it is
nothing was written
"#]]);
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
    tree.refuses(&["build"]).says_exactly(str![[r#"
error: `hack/build.sh` is not executable
hint: make it so: `chmod +x [FOLDER]/installer/hack/build.sh`
nothing was written
"#]]);
    tree.remove("hack/build.sh");
    tree.rr_patch(&["build"]).refuses().says_exactly(str![[r#"
error: `hack/build.sh` is missing
  expected: the installer's build script in `[FOLDER]/installer`
hint: `git checkout -- hack` brings it back
nothing was written
"#]]);
}

#[test]
fn build_names_the_step_that_failed_with_its_last_lines_the_status_and_the_log() {
    let script = "set -x\necho first\necho compiling aws >&2\nsh -c 'echo broken; exit 7'";
    let run = scripted(script).rr_patch(&["build"]).exits(1);
    let run = run.says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
error: the build failed with exit status 7 after [..] s
  in step: sh -c echo broken; exit 7
  last lines:
    + echo first
    first
    + echo compiling aws
    compiling aws
    + sh -c echo broken; exit 7
    broken
  log: [FOLDER]/installer/.git/rr-patch/checkout/build.log
hint: mend what the last lines name, then run `rr-patch build` again
"#]]);
    let run =
        run.says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
error: the build failed with exit status 7 after [..] s
  in step: sh -c echo broken; exit 7
  last lines:
    + echo first
    first
    + echo compiling aws
    compiling aws
    + sh -c echo broken; exit 7
    broken
  log: [FOLDER]/installer/.git/rr-patch/checkout/build.log
hint: mend what the last lines name, then run `rr-patch build` again
"#]]).prints_exactly(str![[r#"
+ echo first
first
+ echo compiling aws
compiling aws
+ sh -c echo broken; exit 7
broken
"#]]);
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
    let mut child = tree.tool().arg("build").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    tree.write("go-on", "");
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    assert!(child.wait().unwrap().success());
}

#[test]
fn build_format_json_prints_one_document_and_the_build_on_stderr() {
    let run = tree("echo hello").rr_patch(&["build", "--format", "json"]).exits(0).says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
hello
"#]]);
    let document = run.json();
    assert_eq!(document["schema"], "rr-patch/build/1");
    assert_eq!(document["patched"], true);
    assert!(document["installer"].as_str().unwrap().ends_with("/bin/openshift-install"));
}

/// Starts a build, waits for so many children, signals the tool, and returns what it said.
fn interrupted(script: &str, (marker, children): (&str, usize), signals: &[&str]) -> (Option<i32>, String, Duration) {
    let tree = scripted(script);
    let child = tree.tool().arg("build").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while processes_with(marker).len() < children {
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
    assert_eq!(processes_with(marker), [] as [String; 0], "nothing of the build is left");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), began.elapsed())
}

/// A word for command lines that no other run of these tests uses.
fn marker(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

#[test]
fn build_ends_its_whole_process_group_at_ctrl_c_and_says_so() {
    let sleep = marker(4711);
    let (code, said, _) = interrupted(&format!("(sleep {sleep}) &\nset -x\nsleep {sleep}"), (&sleep, 2), &["INT"]);
    assert_eq!(code, Some(130));
    let expected = "the build was interrupted by signal 2 (SIGINT): its process group was ended\n";
    assert!(said.contains(expected) && !said.contains("error:"), "{said}");
    assert!(said.contains(&format!("in step: sleep {sleep}")), "{said}");
    let sleep = marker(4712);
    let (code, said, _) = interrupted(&format!("sleep {sleep} &\nwait"), (&sleep, 1), &["TERM"]);
    assert_eq!(code, Some(130));
    assert!(said.contains("interrupted by signal 15 (SIGTERM)"), "{said}");
}

#[test]
fn build_kills_a_group_that_ignores_sigterm_at_the_second_ctrl_c() {
    let name = marker(4713);
    let script = format!("exec sh -c \"trap '' TERM INT; while :; do sleep 0.1; done\" {name}");
    // Without the second one it would take five seconds each time; a loaded machine may need as long once.
    let soon = (0..4).any(|_| {
        let (code, said, took) = interrupted(&script, (&name, 1), &["INT", "INT"]);
        assert_eq!(code, Some(130));
        assert!(said.contains("interrupted by signal 2 (SIGINT)"), "{said}");
        took < Duration::from_secs(5)
    });
    assert!(soon, "it waited for the end of the grace time");
}

#[test]
fn build_that_is_interrupted_before_it_begins_removes_and_builds_nothing() {
    let tree = tree("echo built");
    let (asked, programs) = (tree.beside("asked"), tree.beside("slow"));
    let path = std::env::var_os("PATH").unwrap();
    let go = std::env::split_paths(&path).map(|folder| folder.join("go")).find(|file| file.is_file()).unwrap();
    fs::create_dir(&programs).unwrap();
    let script = format!("#!/bin/sh\ntouch '{}'\nsleep 1\nexec '{}' \"$@\"\n", asked.display(), go.display());
    write_program(&programs.join("go"), script);
    fs::set_permissions(programs.join("go"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = tree.snapshot();
    let mut tool = tree.tool();
    tool.arg("build").env("PATH", format!("{}:{}", programs.display(), path.display()));
    let child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while !asked.exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "Go was not asked");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill("TERM", child.id());
    let run = Run::of(child.wait_with_output().unwrap()).exits(130);
    let expected = "interrupted by signal 15 (SIGTERM): nothing was removed or built\n";
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", expected));
    assert!(tree.snapshot() == before);
    tree.rr_patch(&["build"]).exits(0);
}

/// A folder with some of the programs that are in PATH.
fn path_with(tree: &Tree, programs: &[&str]) -> String {
    let folder = tree.beside("programs");
    fs::create_dir_all(&folder).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for program in programs {
        let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
        symlink(found.unwrap_or_else(|| panic!("no {program} in PATH")), folder.join(program)).unwrap();
    }
    folder.to_string_lossy().into_owned()
}

#[test]
fn build_names_all_that_is_missing_at_once_with_the_command_that_installs_it() {
    let tree = Tree::patched("installer");
    tree.edit("hack/build.sh", "minimum_go_version=1.23", "minimum_go_version=99.1");
    let path = path_with(&tree, &["go", "git", "sed"]);
    let run = tree.rr_patch(&["build", "--link", "dynamic", "--env", &format!("PATH={path}")]).refuses();
    let run = run.says(&["error: this machine lacks what the build needs", "needed: `make`, which hack/build.sh runs"]);
    let run = run.says(&["needed: `zip`, which hack/build-cluster-api.sh runs", "found: it is not in PATH", "fix: "]);
    let run = run.says(&["needed: Go 99.1 or newer, as hack/build.sh states", "found: go1."]);
    let run = run.says(&["needed: a C compiler with the C library's headers, for `--link dynamic`"]);
    assert!(!run.stderr.contains("`git`") && !run.stderr.contains("`curl`"), "{}", run.stderr);
    if fs::read_to_string("/etc/os-release").unwrap_or_default().contains("debian") {
        run.says(&["apt-get install make`", "apt-get install zip`", "apt-get install gcc libc6-dev`"]);
    }
}

/// Go keeps what it compiles in its work folder until it links: a build of ten controllers was over after 19
/// minutes, for want of room that nobody had told of.
#[test]
fn build_finds_the_go_that_set_up_put_into_the_cache() {
    let tree = Tree::patched("installer");
    let cache = cache_with_go();
    let build = |variables: &[(&str, &str)]| {
        let mut tool = tree.tool();
        tool.args(["build", "--dry-run", "--skip-envtest", "--link", "static"]).env("PATH", "/nonexistent");
        Run::of(tool.envs(variables.iter().copied()).output().unwrap()).refuses()
    };
    build(&[]).says(&["needed: `make`", "needed: Go "]);
    let run = build(&[("XDG_CACHE_HOME", cache.path().to_str().unwrap())]).says(&["needed: `make`"]);
    assert!(!run.stderr.contains("needed: Go "), "{}", run.stderr);
}

#[test]
fn build_tells_how_much_room_a_cold_build_needs_in_go_s_work_folder_too() {
    let tree = Tree::patched("installer");
    tree.write("pkg/large/large.go", format!("package large\n{}", "// Nothing.\n".repeat(1 << 20)));
    let folder = tree.beside("work");
    fs::create_dir_all(&folder).unwrap();
    let on_a_disk_of = |size: &str, script: &str| {
        let script = format!("mount -t tmpfs -o size={size} tmpfs \"$0\" && {script}");
        let mut shell = command("unshare");
        shell.current_dir(tree.root()).args(["--mount", "sh", "-c", &script]).arg(&folder);
        let work = format!("GOTMPDIR={}", folder.display());
        shell.args([env!("CARGO_BIN_EXE_rr-patch"), "build", "--dry-run", "--skip-envtest", "--env", &work]);
        Run::of(shell.output().unwrap())
    };
    if on_a_disk_of("1m", "true").code != 0 {
        skip(&["mount"], "nobody may mount a small file system here");
        return;
    }
    let run = on_a_disk_of("4g", "exec \"$@\"").exits(0);
    assert!(!run.stderr.contains("cold build"), "{}", run.stderr);
    // It holds what is linked, and not what is compiled before that.
    let run = on_a_disk_of("150m", "exec \"$@\"").exits(0);
    let run = run.says(&["note: a cold build needs about ", &format!("on the file system of `{}`", folder.display())]);
    run.says(&[
        "what one `go build` of it compiles, in Go's work folder",
        "150.0 MiB are free",
        "`--env GOTMPDIR=DIR`",
    ]);
    on_a_disk_of("30m", "exec \"$@\"").exits(3).says(&["for Go's work folder)", "30.0 MiB are free"]);
}

#[test]
fn build_that_ran_out_of_room_says_how_to_make_some() {
    let run = scripted("echo 'compile: writing output: no space left on device'; exit 1").rr_patch(&["build"]).exits(1);
    run.says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
error: the build failed with exit status 1 after [..] s
  in step: ./hack/build.sh
  last lines:
    compile: writing output: no space left on device
  log: [FOLDER]/installer/.git/rr-patch/checkout/build.log
hint: make room, for example with `go clean -cache`; `--platform` builds fewer controllers; `--env GOTMPDIR=DIR` puts Go's work folder elsewhere
hint: mend what the last lines name, then run `rr-patch build` again
"#]]);
}

#[test]
fn build_without_go_says_so_and_how_to_get_it() {
    let tree = Tree::patched("installer");
    let path = path_with(&tree, &["make", "git", "sed", "zip"]);
    let run = tree.refuses(&["build", "--env", &format!("PATH={path}")]);
    let run = run.says(&["needed: Go 1.23 or newer, as hack/build.sh states", "cannot run `go`"]);
    assert!(!run.stderr.contains("`zip`"), "{}", run.stderr);
}

#[test]
fn build_needs_curl_only_where_envtest_is_fetched() {
    let tree = tree("if [ \"$SKIP_ENVTEST\" != y ]; then curl --version; fi");
    let path = path_with(&tree, &["go", "make", "git", "sh", "cp", "mkdir", "dirname"]);
    let path = format!("PATH={path}");
    tree.refuses(&["build", "--env", &path]).says(&["needed: `curl`, which hack/build.sh runs", "`--skip-envtest`"]);
    tree.rr_patch(&["build", "--skip-envtest", "--env", &path]).exits(0);
}

#[test]
fn build_takes_no_mode_that_cannot_be_debugged() {
    let run = tree("echo built").rr_patch(&["build", "--env", "MODE=release"]).exits(2);
    run.says_exactly(str![[r#"
error: `MODE=release` makes an installer that cannot be debugged
hint: leave MODE out: rr-patch sets MODE=dev; for another mode run hack/build.sh itself
"#]]);
}

#[test]
fn build_hands_its_options_on_as_the_variables_of_build_sh_and_make() {
    let tree = tree("echo \"$SKIP_ENVTEST|$SKIP_GENERATION|$OUTPUT|$MAKEFLAGS|$GOCACHEPROG|$CGO_ENABLED\"");
    let options = ["--skip-envtest", "--skip-generation", "--jobs", "3", "--platform", "azure", "--output", "x/y"];
    let run = tree.rr_patch_in("pkg", &[&["build", "--env", "MAKEFLAGS=k"], &options[..]].concat()).exits(0);
    let output = tree.path("pkg/x/y");
    run.prints(&[&format!("y|y|{}|-j3 -k PROVSUBDIRS=azure\\ azureaso||\n", output.display())]);
    let mut tool = tree.tool();
    tool.args(["build", "--env", "MAKEFLAGS=-j7"]).env("GOCACHEPROG", "").env("SKIP_ENVTEST", "n");
    Run::of(tool.output().unwrap()).exits(0).prints(&["n|||-j7||\n"]);
}

#[test]
fn build_refuses_a_platform_that_is_not_known_and_lists_those_that_are() {
    let run = tree("echo built").refuses(&["build", "--platform", "aws,vsphere", "--platform", "nutanix"]);
    let run = run.says_exactly(str![[r#"
error: no such platform in this checkout: `vsphere`, `nutanix`
  known: aws (built from aws)
  known: azure (built from azure, azureaso)
hint: platforms that Cluster API does not install, like baremetal or none, need no provider
nothing was written
"#]]);
    run.says_exactly(str![[r#"
error: no such platform in this checkout: `vsphere`, `nutanix`
  known: aws (built from aws)
  known: azure (built from azure, azureaso)
hint: platforms that Cluster API does not install, like baremetal or none, need no provider
nothing was written
"#]]);
}

#[test]
fn build_dry_run_says_what_it_would_do_and_does_nothing() {
    let tree = Tree::patched("installer");
    tree.write("cluster-api/bin/.keep", "");
    let before = tree.snapshot();
    let run = tree.rr_patch(&["build", "--dry-run", "--platform", "aws", "--link", "static"]).exits(0);
    run.prints_exactly(str![[r#"
would build cluster-api, cluster-api-provider-aws (statically linked, [..]), and `[FOLDER]/installer/bin/openshift-install` with go1.[..]
nothing was removed or built (--dry-run)
"#]]);
    assert!(before == tree.snapshot(), "something was written");
}

#[test]
fn build_is_the_only_one_of_its_checkout_and_names_itself_to_others() {
    let tree = tree("echo begun\nwhile [ ! -e go-on ]; do sleep 0.02; done");
    let mut first =
        tree.tool().args(["build", "--skip-envtest"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    let held = format!("held by: process {}, for ", first.id());
    let kill = format!("or end it: `kill {}`", first.id());
    for arguments in [&["build"][..], &["build", "--dry-run"], &["apply"], &["revert"]] {
        let run = tree.rr_patch(arguments).refuses();
        run.says(&["is being built", &held, "build --skip-envtest`", &kill]);
    }
    tree.rr_patch(&["status"]).exits(0);
    tree.write("go-on", "");
    lines.for_each(drop);
    assert!(first.wait().unwrap().success());
    tree.rr_patch(&["build"]).exits(0);
}

#[test]
fn build_is_refused_while_the_processes_of_a_killed_one_still_run() {
    let sleep = marker(4714);
    let tree = scripted(&format!("echo begun\nsleep {sleep}"));
    let mut first = tree.tool().arg("build").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    kill("KILL", first.id());
    first.wait().unwrap();
    let run = tree.rr_patch(&["build"]).refuses();
    let run = run.says(&[
        "an earlier build of",
        "is still running, although its rr-patch has ended",
        "hint: wait for it to end",
    ]);
    let group: i32 = run.stderr.split("`kill -- -").nth(1).unwrap().split('`').next().unwrap().parse().unwrap();
    let ended = std::process::Command::new("sh").args(["-c", &format!("kill -s KILL -- -{group}")]).status().unwrap();
    assert!(ended.success());
    tree.write("hack/build.sh", "#!/bin/sh\necho again\n");
    tree.rr_patch(&["build"]).exits(1).prints_exactly(str!["again"]).says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
error: hack/build.sh went through, and yet there is no installer at `[FOLDER]/installer/bin/openshift-install`
hint: `--output FILE` says where it goes; what the build printed says where it went
"#]]);
}

#[test]
fn build_fails_where_the_script_leaves_no_installer_or_an_old_one() {
    let tree = scripted("echo built");
    tree.rr_patch(&["build"]).exits(1).says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
error: hack/build.sh went through, and yet there is no installer at `[FOLDER]/installer/bin/openshift-install`
hint: `--output FILE` says where it goes; what the build printed says where it went
"#]]);
    fs::create_dir_all(tree.path("bin")).unwrap();
    fs::copy(installer(true), tree.path("bin/openshift-install")).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    tree.rr_patch(&["build"]).exits(1).says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
error: hack/build.sh went through, and yet `[FOLDER]/installer/bin/openshift-install` is from an earlier build
hint: `rm [FOLDER]/installer/bin/openshift-install`, then build again
"#]]);
}

#[test]
fn build_fails_where_the_installer_does_not_carry_the_patch() {
    let tree = scripted(&format!("mkdir -p bin; cp '{}' bin/openshift-install", installer(false).display()));
    let run = tree.rr_patch(&["build"]).exits(1);
    let run = run
        .says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
error: `[FOLDER]/installer/bin/openshift-install` was built, and is not fit for debugging
  openshift-install: it does not carry rr-patch's change: it starts its controllers without a recorder
hint: `rr-patch apply` patches a checkout, `rr-patch build` builds it
"#]]);
    run.says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: the checkout has no cluster-api/Makefile
error: `[FOLDER]/installer/bin/openshift-install` was built, and is not fit for debugging
  openshift-install: it does not carry rr-patch's change: it starts its controllers without a recorder
hint: `rr-patch apply` patches a checkout, `rr-patch build` builds it
"#]]);
    tree.rr_patch(&["build", "--unpatched"]).exits(0);
}

#[test]
fn build_timings_writes_one_page_that_loads_nothing() {
    let tree = tree("set -x\nzip --version >/dev/null 2>&1\nsleep 0.3\necho '<&>' >/dev/null");
    tree.rr_patch(&["build", "--timings"]).exits(0).prints(&["timings: ", "bin/openshift-install.timings.html\n"]);
    let page = tree.text("bin/openshift-install.timings.html");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    for part in ["<svg ", "Processors in use", "Memory", "Slowest packages", "<td>zip</td>", "</style>"] {
        assert!(page.contains(part), "{part}");
    }
    for link in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(link), "the page has `{link}`");
    }
    tree.rr_patch_in("pkg", &["build", "--timings=here.html"]).exits(0);
    assert!(tree.path("pkg/here.html").is_file());
    assert!(tree.path("bin/openshift-install.timings.html").is_file(), "who named another page keeps this one");
}

#[test]
fn build_leaves_no_timings_page_of_an_earlier_build_beside_the_installer() {
    let tree = tree("");
    tree.rr_patch(&["build", "--timings"]).exits(0);
    tree.rr_patch(&["build"]).exits(0);
    assert!(!tree.path("bin/openshift-install.timings.html").exists());
    // What is no such page is nobody's to remove.
    tree.write("bin/openshift-install.timings.html", "mine\n");
    tree.rr_patch(&["build"]).exits(0);
    assert_eq!(tree.text("bin/openshift-install.timings.html"), "mine\n");
}

#[test]
fn build_asks_which_platform_was_meant() {
    let tree = Tree::patched("installer");
    let run = tree.rr_patch(&["build", "--platform", "awz"]).refuses();
    run.says_exactly(str![[r#"
error: no such platform in this checkout: `awz`
  known: aws (built from aws)
  known: azure (built from azure, azureaso)
hint: did you mean `aws`?
hint: platforms that Cluster API does not install, like baremetal or none, need no provider
nothing was written
"#]]);
}

#[test]
fn build_on_a_terminal_shows_phases_and_leaves_the_lines_to_the_log() {
    let tree = tree("set -x\nzip --version\nsleep 0.5\necho an-ordinary-line");
    let tool = env!("CARGO_BIN_EXE_rr-patch");
    let terminal = |options: &str| {
        let mut script = command("script");
        script.args([
            "--quiet",
            "--return",
            "--command",
            &format!("stty cols 100; {tool} build {options}"),
            "/dev/null",
        ]);
        let mut child = script.current_dir(tree.root()).env("TERM", "xterm").stdout(Stdio::piped()).spawn().ok()?;
        let mut shown = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut shown).unwrap();
        assert!(child.wait().unwrap().success());
        Some(String::from_utf8_lossy(&shown).into_owned())
    };
    let Some(shown) = terminal("") else {
        skip(&["terminal"], "no script(1) here makes a terminal");
        return;
    };
    for part in ["building, ", " so far; 0 of 4 controllers; ", "processors, ", "  zip ", "built `"] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    assert!(!shown.contains("\nan-ordinary-line"), "{shown}");
    assert!(tree.text(".git/rr-patch/checkout/build.log").contains("\nan-ordinary-line\n"));
    let shown = terminal("--verbose").unwrap();
    assert!(shown.contains("an-ordinary-line\r\n") && !shown.contains("processors, "), "{shown}");
}
