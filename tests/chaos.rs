//! `rr-patch chaos overlay` and `build --chaos`: Go's own library, changed so that goroutines yield where they meet.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{Run, Tree, command, copy, fixtures, skip, write_program};
use snapbox::str;

/// What the Go in PATH says of itself.
fn go_env(name: &str) -> String {
    Run::of(command("go").args(["env", name]).output().unwrap()).exits(0).stdout.trim_end().to_owned()
}

/// A module of programs, and beside it a chaos overlay of the Go in PATH.
fn programs() -> Tree {
    let tree = Tree::holding(&fixtures().join("hunt"), "");
    tree.rr_patch(&["chaos", "overlay", "-o", "../chaos"]).exits(0);
    tree
}

fn flags(tree: &Tree) -> String {
    format!("-overlay={}", tree.beside("chaos/overlay.json").display())
}

/// One operation for each place that yields, again and again, while another goroutine waits for its turn.
const MEETINGS: &str = r#"package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

func main() {
	var mu sync.Mutex
	var rw sync.RWMutex
	var wg sync.WaitGroup
	cond := sync.NewCond(&mu)
	c, never := make(chan int, 1), make(chan int)
	meet := map[string]func(){
		"lock":       func() { mu.Lock(); mu.Unlock() },
		"read-lock":  func() { rw.RLock(); rw.RUnlock() },
		"write-lock": func() { rw.Lock(); rw.Unlock() },
		"send":       func() { c <- 1; select { case <-c: default: } },
		"receive":    func() { select { case c <- 1: default: }; <-c },
		"receive-ok": func() { select { case c <- 1: default: }; _, _ = <-c },
		"select":     func() { select { case c <- 1: case <-never: }; select { case <-c: case <-never: } },
		"try":        func() { select { case c <- 1: default: }; select { case <-c: default: } },
		"close":      func() { close(make(chan int)) },
		"add":        func() { wg.Add(1); wg.Done() },
		"wait":       func() { wg.Wait() },
		"once":       func() { new(sync.Once).Do(func() {}) },
		"signal":     func() { cond.Signal() },
		"broadcast":  func() { cond.Broadcast() },
		"go":         func() { go func() {}() },
	}
	for _, name := range os.Args[1:] {
		var ran atomic.Bool
		go ran.Store(true)
		for range 200 {
			meet[name]()
		}
		fmt.Println(name, ran.Load())
		for !ran.Load() {
			runtime.Gosched()
		}
	}
}
"#;

const NAMES: [&str; 15] = [
    "lock",
    "read-lock",
    "write-lock",
    "send",
    "receive",
    "receive-ok",
    "select",
    "try",
    "close",
    "add",
    "wait",
    "once",
    "signal",
    "broadcast",
    "go",
];

/// Builds that program, and says what it printed for a value of the variable.
#[track_caller]
fn meets_asleep_and_awake(tree: &Tree, environment: &[(&str, &str)]) {
    tree.write("meetings/main.go", MEETINGS);
    let flags = flags(tree);
    let environment = [&[("GOFLAGS", flags.as_str())], environment].concat();
    tree.run("go", &["build", "-o", "meet", "./meetings"], &environment).exits(0);
    let run = |program: &str, arguments: &[&str], environment: &[(&str, &str)]| {
        let environment = [&[("GOMAXPROCS", "1")], environment].concat();
        tree.run(tree.path(program).to_str().unwrap(), arguments, &environment)
    };
    let all = |ran: bool| NAMES.map(|name| format!("{name} {ran}\n")).concat();
    let awake = run("meet", &NAMES, &[("RR_PATCH_CHAOS", "1/1")]).exits(0);
    assert_eq!(awake.stdout, all(true));
    for how in [&[][..], &[("RR_PATCH_CHAOS", "")], &[("RR_PATCH_CHAOS", "off")], &[("RR_PATCH_CHAOS", "0")]] {
        // On a busy machine Go itself may take the processor from the program, now and then.
        let printed: Vec<String> = (0..6).map(|_| run("meet", &NAMES, how).exits(0).stdout).collect();
        assert!(printed.contains(&all(false)), "{how:?}: {printed:?}");
    }
}

#[test]
fn a_program_with_the_overlay_yields_at_every_meeting_when_it_is_awake_and_at_none_asleep() {
    meets_asleep_and_awake(&programs(), &[]);
}

#[test]
fn the_overlay_fits_older_releases_of_go_and_their_patch_releases() {
    // Where the user's Go keeps toolchains. A test has no home.
    let modules = std::process::Command::new("go").args(["env", "GOMODCACHE"]).output().unwrap().stdout;
    let modules = String::from_utf8(modules).unwrap().trim_end().to_owned();
    let tree = Tree::holding(&fixtures().join("hunt"), "");
    for (version, compiled) in
        [("go1.24.1", true), ("go1.24.9", false), ("go1.25.0", false), ("go1.25.5", true), ("go1.26.0", false)]
    {
        let environment = [("GOTOOLCHAIN", version), ("GOMODCACHE", modules.as_str())];
        let asked = tree.run("go", &["version"], &environment);
        if !asked.stdout.contains(version) {
            skip(&["toolchains"], &format!("{version} cannot be had: {}", asked.stderr));
            continue;
        }
        let mut tool = tree.tool();
        tool.envs(environment).args(["chaos", "overlay", "-o", "../chaos", "--format", "json"]);
        let document = Run::of(tool.output().unwrap()).exits(0).json();
        assert_eq!((document["go"].as_str(), document["sites"].as_array().unwrap().len()), (Some(version), 26));
        // Since 1.25 Go takes no overlay of what lies in the module cache under its name there.
        let set = document["environment"].as_object().unwrap();
        assert!(set["GOROOT"].as_str().unwrap().ends_with(&format!("/chaos/goroot-{version}")), "{set:?}");
        if compiled {
            let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
            meets_asleep_and_awake(&tree, &[&environment[..], &set].concat());
            let built = tree.go(&["version", "meet"], &[]).exits(0);
            built.prints(&[&format!("meet: {version}\n")]);
        }
    }
}

#[test]
fn ranks_and_mixed_ways_find_what_plain_runs_do_not_and_leave_correct_programs_alone() {
    let tree = programs();
    let flags = flags(&tree);
    tree.run("go", &["build", "-o", "bin/", "./lost-update", "./correct-update"], &[("GOFLAGS", &flags)]).exits(0);
    for how in ["3/4", "ranks", "mix"] {
        let run = |program: &str| tree.run(tree.path(program).to_str().unwrap(), &[], &[("RR_PATCH_CHAOS", how)]);
        // A run fails two times in five at least.
        assert!((0..60).any(|_| run("bin/lost-update").code == 1), "{how}");
        (0..5).for_each(|_| drop(run("bin/correct-update").exits(0)));
    }
}

#[test]
fn chaos_that_is_no_chaos_ends_the_program_and_says_what_is_expected() {
    let tree = programs();
    tree.run("go", &["build", "-o", "once", "./correct-close"], &[("GOFLAGS", &flags(&tree))]).exits(0);
    for how in ["1/0", "5/4", "0/4", "1/", "/4", "1/4/4", "often", "1/4 ", "1/10000000"] {
        let run = tree.run(tree.path("once").to_str().unwrap(), &[], &[("RR_PATCH_CHAOS", how)]).exits(2);
        let expected = "is neither a fraction such as 1/4, nor one of ranks, mix, off\n";
        assert_eq!(run.stderr, format!("rr-patch: RR_PATCH_CHAOS={how} {expected}"));
    }
}

#[test]
fn chaos_overlay_says_what_changes_and_how_to_use_it() {
    let tree = Tree::holding(&fixtures().join("hunt"), "");
    let run = tree.rr_patch(&["chaos", "overlay", "-o", "../chaos"]).exits(0);
    let (goroot, version) = (go_env("GOROOT"), go_env("GOVERSION"));
    let list = tree.beside("chaos/overlay.json");
    let list = list.display();
    let expected = format!(
        "wrote `{list}`: 8 files of {version} in `{goroot}` changed, 3 files added

  scheduler    3 places  the scheduler shuffles what it runs next, and a new goroutine may run first
  channels     7 places  a goroutine may yield after a send or a receive, and around a close
  select       2 places  a goroutine may yield before and after a select
  mutex        4 places  a goroutine may yield before it locks a mutex, and when it has unlocked it
  sync        10 places  a goroutine may yield at RWMutex, WaitGroup, Once and Cond

GOFLAGS=-overlay={list}

what is built with it behaves as ever until its environment asks for chaos:
  RR_PATCH_CHAOS=1/4   a goroutine yields at one of four places where goroutines meet
  RR_PATCH_CHAOS=mix   each run is shuffled in another way

next: `GOFLAGS=-overlay={list} go build -o PROGRAM .`
next: `RR_PATCH_CHAOS=1/4 ./PROGRAM`
next: `RR_PATCH_CHAOS=mix GOFLAGS=-overlay={list} go test -count 20 ./...`
"
    );
    assert_eq!(run.stdout, expected);
    // It may be made again where it lies, and with written out rules.
    let again = tree.rr_patch(&["chaos", "overlay", "-o", "../chaos", "--format", "json"]).exits(0).json();
    tree.rr_patch(&["rules", "export", "../ours"]).exits(0);
    let ours = ["chaos", "overlay", "-o", "../by-ours", "--rules", "../ours", "--format", "json"];
    let ours = tree.rr_patch(&ours).exits(0).json();
    assert_eq!(again["sites"], ours["sites"]);
    assert_ne!(again["rules"], ours["rules"]);
}

#[test]
fn chaos_overlay_changes_the_lines_that_it_names_and_moves_none() {
    let tree = Tree::holding(&fixtures().join("hunt"), "");
    let document = tree.rr_patch(&["chaos", "overlay", "-o", "../chaos", "--format", "json"]).exits(0).json();
    let sources = PathBuf::from(go_env("GOROOT")).join("src");
    let made = tree.beside("chaos").join(go_env("GOVERSION"));
    let sites: BTreeSet<(String, u64)> = document["sites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|site| (site["path"].as_str().unwrap().to_owned(), site["line"].as_u64().unwrap()))
        .collect();
    let names: BTreeSet<&String> = sites.iter().map(|(name, _)| name).collect();
    for name in names {
        let (before, after) = (fs::read(sources.join(name)).unwrap(), fs::read(made.join(name)).unwrap());
        let (before, after): (Vec<_>, Vec<_>) =
            (before.split(|&byte| byte == b'\n').collect(), after.split(|&byte| byte == b'\n').collect());
        assert_eq!(before.len(), after.len(), "{name}");
        for (number, (before, after)) in (1..).zip(before.into_iter().zip(after)) {
            assert_eq!(before != after, sites.contains(&(name.clone(), number)), "{name}:{number}");
        }
    }
}

#[test]
fn the_fast_paths_of_locks_are_still_inlined() {
    let tree = programs();
    let flags = flags(&tree);
    let run = tree.run("go", &["build", "-gcflags=-m", "sync", "internal/sync"], &[("GOFLAGS", &flags)]).exits(0);
    for function in ["(*Mutex).Lock", "(*Mutex).Unlock", "(*RWMutex).RLock", "(*RWMutex).RUnlock", "(*Once).Do"] {
        assert!(run.stderr.contains(&format!("can inline {function}\n")), "{function}");
    }
    tree.run("go", &["vet", "sync", "internal/sync"], &[("GOFLAGS", &flags)]).exits(0);
}

/// A `go` that gives the answers of `go env` for this folder.
fn go_of(tree: &Tree, version: &str, goroot: &Path) -> String {
    let program = tree.beside("go-of");
    let answers = serde_json::json!({ "GOVERSION": version, "GOROOT": goroot }).to_string();
    write_program(&program, format!("#!/bin/sh\ncat <<'E'\n{answers}\nE\n"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program.display().to_string()
}

#[test]
fn chaos_overlay_refuses_a_file_of_go_that_it_does_not_fit_with_file_and_line() {
    let tree = Tree::bare("installer");
    let (sources, goroot) = (PathBuf::from(go_env("GOROOT")).join("src"), tree.beside("other-go"));
    for folder in ["internal/sync", "sync"] {
        copy(&sources.join(folder), &goroot.join("src").join(folder));
    }
    fs::create_dir_all(goroot.join("src/runtime")).unwrap();
    for name in ["runtime/chan.go", "runtime/proc.go", "runtime/select.go"] {
        fs::copy(sources.join(name), goroot.join("src").join(name)).unwrap();
    }
    let go = go_of(&tree, "go1.26.99", &goroot);
    let arguments = ["chaos", "overlay", "-o", "../chaos", "--go", &go];
    tree.rr_patch(&arguments).exits(0).prints(&["8 files of go1.26.99 in `"]);
    fs::remove_dir_all(tree.beside("chaos")).unwrap();

    let path = goroot.join("src/runtime/chan.go");
    let text = fs::read_to_string(&path).unwrap();
    let old = "\tchansend(c, elem, true, ";
    let line = text.lines().position(|line| line.starts_with(old)).unwrap() + 1;
    fs::write(&path, text.replace(old, "\tchansendNow(c, elem, true, ")).unwrap();
    let run = tree.refuses(&arguments);
    run.says(&[
        &format!("error: the chaos overlay does not fit go1.26.99 in `{}`\n", goroot.display()),
        &format!("`runtime/chan.go:{}`\n", line - 1),
        "looked for: `chansend(…)` in `chansend1`, once\n",
        "found: nothing like it in lines ",
        "hint: for a newer Go: `rr-patch rules export DIR`, mend `DIR/chaos/rules`",
    ]);
    fs::write(&path, text.replace(old, "\tchansend(c, elem, true, )")).unwrap();
    tree.refuses(&arguments).says(&[&format!("`runtime/chan.go:{line}:")]);
    fs::remove_file(&path).unwrap();
    tree.refuses(&arguments).says(&["/other-go/src/runtime/chan.go`: No such file or directory"]);
    assert!(!tree.beside("chaos").exists());

    let old = go_of(&tree, "go1.24", &goroot);
    tree.refuses(&["chaos", "overlay", "-o", "../chaos", "--go", &old]).says(&["of go1.24 does not find added files"]);
}

#[test]
fn chaos_overlay_refuses_a_folder_of_something_else_and_one_that_goflags_cannot_name() {
    let tree = Tree::bare("installer");
    tree.refuses(&["chaos", "overlay", "-o", "pkg"]).says_exactly(str![[r#"
error: `[FOLDER]/installer/pkg` holds something else than a chaos overlay
hint: name a folder that is not there yet, or one of an earlier `rr-patch chaos overlay`
nothing was written
"#]]);
    let run = tree.rr_patch(&["chaos", "overlay", "-o", "../a folder"]).exits(2);
    assert!(run.stderr.contains("GOFLAGS cannot name a file in `"), "{}", run.stderr);
    assert!(!tree.beside("a folder").exists());
}

/// Builds, and says which programs of the installer have the overlay.
#[track_caller]
fn built(tree: &Tree, arguments: &[&str]) -> (String, Vec<String>) {
    let fixed = ["build", "--skip-envtest", "--platform=aws"];
    let run = tree.rr_patch(&[&fixed, arguments].concat()).exits(0);
    let document = tree.rr_patch(&["inspect", "bin/openshift-install", "--format", "json"]).exits(0).json();
    let programs = document["programs"].as_array().unwrap().iter();
    let with = programs.filter(|program| program["facts"]["chaos"] == true);
    let names = with.map(|program| program["name"].as_str().unwrap().to_owned()).collect();
    let says = format!("{}{}", run.stdout, run.stderr);
    let chaos = arguments.contains(&"--chaos");
    assert_eq!(document["provenance"]["chaos"].as_str().map(str::len), chaos.then_some(64));
    assert_eq!(says.contains("controllers have the chaos overlay, which sleeps until"), chaos, "{says}");
    let text = tree.rr_patch(&["inspect", "bin/openshift-install"]).exits(0).stdout;
    assert_eq!(text.contains("cluster-api-provider-aws: built with the chaos overlay"), chaos, "{text}");
    (says, names)
}

#[test]
fn build_with_chaos_makes_controllers_anew_and_one_without_makes_them_plain_again() {
    let tree = Tree::new("installer");
    let (_, with) = built(&tree, &["--link=static", "--overlay", "--chaos"]);
    assert!(with.contains(&"cluster-api".to_owned()) && with.contains(&"cluster-api-provider-aws".to_owned()));
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
    assert!(!tree.path(".git/rr-patch/checkout/overlay").exists());
    tree.rr_patch(&["apply"]).exits(0);
    let (says, without) = built(&tree, &["--link=static"]);
    assert_eq!(without, Vec::<String>::new());
    assert!(says.contains("cluster-api-provider-aws: it was built with the chaos overlay\n"), "{says}");
    let dry = tree.rr_patch(&["build", "--platform=aws", "--chaos", "--dry-run"]).exits(0);
    dry.prints(&[
        "would remove cluster-api/bin/linux_amd64/cluster-api-provider-aws: it was built without the chaos overlay\n",
        &format!("would overlay 11 files of {}'s library, for chaos\n", go_env("GOVERSION")),
    ]);
}

#[test]
fn build_with_chaos_leaves_the_installer_itself_plain_where_make_links_controllers() {
    if !Path::new("/usr/bin/cc").exists() {
        return skip(&["cc"], "there is no C compiler");
    }
    let tree = Tree::patched("installer");
    let (_, with) = built(&tree, &["--link=dynamic", "--chaos"]);
    assert_eq!(with, ["cluster-api", "cluster-api-provider-aws"]);
}
