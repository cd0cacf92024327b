//! `rr-patch build --overlay`: a recording installer of a checkout to which nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{ADDED, PROCESS, Run, SYSTEM, Tree, command, kill, write_program};
use snapbox::str;

/// What is passed to each real build of the fixture.
const FIXED: [&str; 4] = ["--skip-envtest", "--link", "static", "--platform=aws"];

/// Builds a tree and gives the document that `build` printed.
#[track_caller]
fn build(tree: &Tree, arguments: &[&str]) -> serde_json::Value {
    tree.rr_patch(&[&["build", "--format", "json"], &FIXED[..], arguments].concat()).exits(0).json()
}

/// The sizes of an installer's symbols by their names, as `go tool nm` says them.
fn symbols(tree: &Tree, installer: &str) -> BTreeMap<String, Vec<String>> {
    let mut symbols: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in tree.go(&["tool", "nm", "-size", installer], &[]).exits(0).stdout.lines() {
        // Address, size, kind, name, in columns; names may have blanks.
        let (size, kind_and_name) = line[9..].trim_start().split_once(' ').unwrap();
        symbols.entry(kind_and_name.trim_start().to_owned()).or_default().push(size.to_owned());
    }
    symbols.values_mut().for_each(|sizes| sizes.sort());
    symbols
}

#[test]
fn overlay_builds_what_apply_and_build_do_and_leaves_the_checkout_as_it_was() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    let built = build(&tree, &["--overlay", "--controllers", "all", "--output", "bin/overlaid"]);
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
    for (name, file) in &before {
        assert_eq!(tree.snapshot().get(name), Some(file), "{}", name.display());
    }
    assert!(!tree.path(".git/rr-patch/checkout/overlay").exists());
    assert_eq!(built["patched"], true);

    // What Go and git say of it is that nothing was changed.
    let facts = tree.go(&["version", "-m", "bin/overlaid"], &[]).exits(0).prints(&["vcs.modified=false"]);
    assert!(!facts.stdout.contains("-dirty"), "{}", facts.stdout);

    let kept = Path::new(built["overlay"].as_str().unwrap());
    assert_eq!(kept, tree.path("bin/overlaid.rr-patch.sources"));
    tree.rr_patch(&["status"])
        .exits(0)
        .prints_exactly(str!["`[FOLDER]/installer` is not patched: `rr-patch apply` does it"]);
    let inspected = tree.rr_patch(&["inspect", "bin/overlaid", "--format", "json"]).exits(0).json();
    assert_eq!(inspected["recording"], true);
    let overlay = &inspected["provenance"]["overlay"];
    assert_eq!(overlay["folder"], "overlaid.rr-patch.sources");
    let paths: Vec<&str> =
        overlay["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&SYSTEM) && paths.contains(&ADDED), "{paths:?}");
    assert_eq!(inspected["provenance"]["options"]["controllers"], serde_json::json!(["all"]));
    assert_eq!(inspected["provenance"]["rules"].as_str().map(str::len), Some(64));
    assert_eq!(inspected["provenance"]["branch"], "main");
    tree.rr_patch(&["inspect", "bin/overlaid"]).exits(0).prints(&["overlaid:", "--controllers all", ", by the rules "]);

    tree.rr_patch(&["apply", "--controllers", "all"]).exits(0);
    for path in paths {
        assert!(fs::read(kept.join(path)).unwrap() == tree.read(path), "{path}");
    }
    let of_both = build(&tree, &["--output", "bin/applied"]);
    assert_eq!(of_both["overlay"], serde_json::Value::Null);
    let (one, other) = (symbols(&tree, "bin/overlaid"), symbols(&tree, "bin/applied"));
    assert!(one.len() > 10_000, "{}", one.len());
    let mut differ: BTreeSet<_> =
        one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name)).map(String::as_str).collect();
    // Go before 1.25 keeps the version elsewhere, and its size is rounded.
    differ.remove("D go:buildinfo");
    let of_the_version = ["R github.com/openshift/installer/pkg/version.Raw.str", "R runtime.modinfo.str"];
    assert_eq!(differ, of_the_version.into());
    let patch = |name: &str| {
        tree.rr_patch(&["inspect", name, "--format", "json"]).json()["provenance"]["patch"].as_str().unwrap().to_owned()
    };
    assert_eq!(patch("bin/overlaid"), patch("bin/applied"));
    // A build without an overlay leaves no sources of another build beside its installer.
    build(&tree, &["--output", "bin/overlaid"]);
    assert!(!kept.exists());
}

#[test]
fn overlay_works_where_the_checkout_home_and_tmpdir_have_blanks_and_a_link_leads_there() {
    let tree = Tree::new("installer");
    // As the installer's own script does it.
    tree.edit("hack/build.sh", "go build -gcflags", "# shellcheck disable=SC2086\ngo build ${GOFLAGS} -gcflags");
    tree.commit("expand GOFLAGS");
    let place = tree.beside("a place *");
    fs::rename(tree.root(), &place).unwrap();
    let link = tree.beside("a link");
    std::os::unix::fs::symlink(&place, &link).unwrap();
    let (home, temporary) = (tree.beside("a home"), tree.beside("a tmp"));
    for folder in [&home, &temporary] {
        fs::create_dir(folder).unwrap();
    }
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.current_dir(&link).env("PWD", &link).env("HOME", &home).env("TMPDIR", &temporary);
    let run = Run::of(tool.args(["build", "--overlay"]).args(FIXED).output().unwrap()).exits(0);
    run.prints(&["patched sources, which the checkout does not have: "]);
    let mut git = command("git");
    git.current_dir(&place).args(["status", "--porcelain"]);
    assert_eq!(Run::of(git.output().unwrap()).exits(0).stdout, "");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn overlay_keeps_the_flags_that_are_given_and_those_that_the_script_would_take() {
    let script = "#!/bin/sh\necho \"flags: $GOFLAGS\"\nexit 1\n";
    let tree = Tree::new("installer");
    tree.write("hack/build.sh", script.replace("echo", ": ${GOFLAGS:=-mod=vendor}; echo"));
    tree.rr_patch(&["build", "--overlay", "--link", "static"])
        .exits(1)
        .prints_exactly(str!["flags: -mod=vendor -overlay=/proc/[..]/fd/3"]);
    let run = tree.rr_patch(&["build", "--overlay", "--link", "static", "--env", "GOFLAGS=-mod=mod -v"]).exits(1);
    run.prints_exactly(str!["flags: -mod=mod -v -overlay=/proc/[..]/fd/3"]);
}

#[test]
fn overlay_that_is_killed_or_fails_leaves_nothing_in_the_checkout_and_the_next_build_clears_up() {
    let tree = Tree::new("installer");
    tree.write("hack/build.sh", "#!/bin/sh\necho runs\nexec sleep 60\n");
    tree.commit("a long build");
    let before = tree.snapshot();
    let overlay = tree.path(".git/rr-patch/checkout/overlay");
    for (signal, left) in [("TERM", false), ("KILL", true)] {
        let mut tool = tree.tool();
        tool.args(["build", "--overlay", "--link", "static"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = tool.spawn().unwrap();
        let began = Instant::now();
        while !tree.path(".git/rr-patch/checkout/build.log").exists() || !overlay.join("script").join(SYSTEM).exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "the build did not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        kill(signal, child.id());
        child.wait().unwrap();
        assert_eq!(overlay.exists(), left, "{signal}");
        assert!(tree.snapshot() == before, "{signal}");
        tree.rr_patch(&["status"])
            .prints_exactly(str!["`[FOLDER]/installer` is not patched: `rr-patch apply` does it"]);
    }
    // What a killed rr-patch leaves running is ended first.
    let run = tree.rr_patch(&["build", "--overlay", "--link", "static"]).exits(3);
    let group = run.stderr.split("`kill -- -").nth(1).and_then(|rest| rest.split('`').next()).unwrap().to_owned();
    assert!(command("sh").args(["-c", &format!("kill -- -{group}")]).status().unwrap().success());
    tree.write("hack/build.sh", "#!/bin/sh\nexit 1\n");
    let began = Instant::now();
    while tree.rr_patch(&["build", "--overlay", "--link", "static"]).code == 3 {
        assert!(began.elapsed() < Duration::from_secs(30), "the killed build still runs");
    }
    assert!(!overlay.exists());
}

#[test]
fn overlay_refuses_a_patched_checkout_sources_that_do_not_fit_and_options_without_it() {
    let tree = Tree::patched("installer");
    tree.refuses(&["build", "--overlay"]).says_exactly(str![[r#"
error: `[FOLDER]/installer` is patched already
hint: leave `--overlay` out: `rr-patch build` builds what is there
hint: `rr-patch revert` takes the changes back first
nothing was written
"#]]);
    tree.rr_patch(&["revert"]).exits(0);
    tree.edit(
        PROCESS,
        "if err := ps.Cmd.Process.Signal(syscall.SIGTERM)",
        "if err := ps.Cmd.Process.Signal(syscall.SIGHUP)",
    );
    tree.refuses(&["build", "--overlay"]).says_exactly(str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/internal/process/process.go:172`
    looked for: `PS.Cmd.Process.Signal(syscall.SIGTERM)` in `State.Stop`, once
    found: in lines 172 to 198, nearest to it:
    line 182: `if err := ps.Cmd.Process.Signal(syscall.SIGHUP); err != nil {`
    line 191: `if err := ps.Cmd.Process.Signal(syscall.SIGKILL); err != nil {`
  `pkg/clusterapi/internal/process/process.go:182`
    looked for: no signal to the child alone left in `State.Stop`, as `group-signal` promises
    found: `if err := ps.Cmd.Process.Signal(syscall.SIGHUP); err != nil {`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]]);
    let run = tree.rr_patch(&["build", "--controllers", "all"]).exits(2);
    run.says_exactly(str![[r#"
error: how to record is chosen by `rr-patch apply`, or with `--overlay`
hint: leave it out, or add `--overlay`
"#]]);
}

#[test]
fn overlay_refuses_the_release_of_go_that_does_not_find_added_files() {
    let tree = Tree::new("installer");
    let programs = tree.beside("programs");
    fs::create_dir(&programs).unwrap();
    let path = std::env::var("PATH").unwrap();
    let go = std::env::split_paths(&path).map(|folder| folder.join("go")).find(|file| file.is_file()).unwrap();
    let script = format!("#!/bin/sh\n'{}' \"$@\" | sed 's/\"go1[.0-9]*\"/\"go1.24.0\"/'\n", go.display());
    write_program(&programs.join("go"), script);
    let mut chmod = command("chmod");
    assert!(chmod.args(["+x"]).arg(programs.join("go")).status().unwrap().success());
    let path = format!("PATH={}:{path}", programs.display());
    let run = tree.refuses(&["build", "--overlay", "--link", "static", "--env", &path]);
    run.says_exactly(str![[r#"
error: `go build -overlay` of go1.24.0 does not find added files
  expected: any other release (golang/go issue 71783, fixed in 1.24.1)
hint: `GOTOOLCHAIN=go1.24.1` in the environment, or `--env GOTOOLCHAIN=go1.24.1`, builds with the next one
hint: `rr-patch apply`, then `rr-patch build` without `--overlay` work with this one
nothing was written
"#]]);
}

#[test]
fn overlay_dry_run_writes_nothing() {
    let tree = Tree::new("installer");
    let before = (tree.snapshot(), tree.state());
    let run = tree.rr_patch(&["build", "--overlay", "--dry-run", "--link", "static"]).exits(0);
    run.prints_exactly(str![[r#"
would overlay 4 files of the sources, and write none of them
would build cluster-api, cluster-api-provider-aws, cluster-api-provider-azure, cluster-api-provider-azureaso ([..]), and `[FOLDER]/installer/bin/openshift-install` with go1.[..]
nothing was removed or built (--dry-run)
"#]]);
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
    let after = (tree.snapshot(), tree.state());
    assert!(before == after, "{:?} {:?}", after.0.keys(), after.1.keys());
}

#[test]
fn provenance_names_the_base_commit_beside_the_one_that_apply_made_and_the_branch() {
    let tree = Tree::new("installer");
    let base = tree.git(&["rev-parse", "HEAD"]);
    let provenance = |arguments: &[&str]| {
        build(&tree, arguments);
        let inspected = tree.rr_patch(&["inspect", "--format", "json"]).exits(0).json();
        let field = |name: &str| inspected["provenance"][name].as_str().map(str::to_owned);
        (field("commit"), field("patched_commit"), field("branch"))
    };
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    let made = tree.git(&["rev-parse", "HEAD"]);
    let (base, made) = (Some(base.trim().to_owned()), Some(made.trim().to_owned()));
    assert_ne!(base, made);
    assert_eq!(provenance(&[]), (base.clone(), made.clone(), Some("main".into())));
    // Later commits stand on it.
    tree.commit("mine");
    let mine = Some(tree.git(&["rev-parse", "HEAD"]).trim().to_owned());
    assert_eq!(provenance(&[]), (base.clone(), mine.clone(), Some("main".into())));
    // A clone has no journal, and a detached HEAD no branch.
    tree.git(&["checkout", "--quiet", "--detach", "HEAD"]);
    fs::remove_dir_all(tree.path(".git/rr-patch")).unwrap();
    let branch = Some("release-4.19".to_owned());
    assert_eq!(provenance(&["--branch", "release-4.19"]), (base, mine, branch));
}
