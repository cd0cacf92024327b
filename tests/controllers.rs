//! The controllers that `rr-patch build` embeds, with the fixture's real make, zip and Go: none that is
//! stripped, stale, cut off or not asked for. What is embedded is looked at with Go's own packages.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::harness::{Run, Tree, command, copy, kill};
use snapbox::str;

const BIN: &str = "cluster-api/bin";
const ALL: [&str; 4] =
    ["cluster-api", "cluster-api-provider-aws", "cluster-api-provider-azure", "cluster-api-provider-azureaso"];

/// Prints what a zip inside a file holds: name, whether DWARF and symbols are in it, how it is linked and
/// its gcflags. `debug/elf`, `debug/buildinfo` and `archive/zip` share no code with the tool.
const LOOK: &str = r#"package main

import (
	"archive/zip"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"os"
)

func main() {
	packed, err := os.ReadFile(os.Args[1])
	check(err)
	if len(os.Args) > 2 {
		installer, err := os.ReadFile(os.Args[2])
		check(err)
		if !bytes.Contains(installer, packed) {
			panic("the installer does not embed this zip")
		}
	}
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	check(err)
	for _, entry := range archive.File {
		file, err := entry.Open()
		check(err)
		content, err := io.ReadAll(file)
		check(err)
		program, err := elf.NewFile(bytes.NewReader(content))
		if err != nil {
			fmt.Printf("%s other\n", entry.Name)
			continue
		}
		_, dwarf := program.DWARF()
		_, symbols := program.Symbols()
		info, err := buildinfo.Read(bytes.NewReader(content))
		check(err)
		flags := ""
		for _, setting := range info.Settings {
			if setting.Key == "-gcflags" {
				flags = setting.Value
			}
		}
		linked := "static"
		if program.Section(".interp") != nil {
			linked = "dynamic"
		}
		fmt.Printf("%s dwarf=%v symbols=%v %s %s\n", entry.Name,
			dwarf == nil && program.Section(".debug_info") != nil || program.Section(".zdebug_info") != nil, symbols == nil, linked, flags)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
"#;

/// What the zip that an installer embeds holds, by name.
fn embedded(tree: &Tree) -> BTreeMap<String, String> {
    static LOOKER: OnceLock<PathBuf> = OnceLock::new();
    let looker = LOOKER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("look");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("main.go"), LOOK).unwrap();
        let program = folder.join("look");
        let built = command("go").current_dir(&folder).arg("build").arg("-o").arg(&program).arg("main.go").output();
        Run::of(built.unwrap()).exits(0);
        program
    });
    let zip = tree.path("pkg/clusterapi/mirror/cluster-api.zip");
    let look = command(looker.to_str().unwrap()).arg(zip).arg(tree.path("bin/openshift-install")).output().unwrap();
    let said = Run::of(look).exits(0).stdout;
    said.lines().map(|line| line.split_once(' ').unwrap()).map(|(name, is)| (name.into(), is.into())).collect()
}

const DEBUGGABLE: &str = "dwarf=true symbols=true static all=-N -l";
const DYNAMIC: &str = "dwarf=true symbols=true dynamic all=-N -l";

/// All controllers, each as described.
fn all(is: &str) -> BTreeMap<String, String> {
    ALL.iter().map(|name| ((*name).to_owned(), is.to_owned())).collect()
}

fn bin(tree: &Tree, name: &str) -> PathBuf {
    let folder = fs::read_dir(tree.path(BIN)).unwrap().map(|entry| entry.unwrap());
    let folder = folder.map(|entry| entry.path()).find(|path| !path.ends_with(".rr-patch-aside")).unwrap();
    folder.join(name)
}

fn written(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// Builds with build.sh itself, as a user without the tool does.
fn by_hand(tree: &Tree, environment: &[(&str, &str)]) {
    let environment = [&[("SKIP_ENVTEST", "y")], environment].concat();
    tree.run("hack/build.sh", &[], &environment).exits(0);
}

/// A patched tree with controllers that were built before. A build takes a while, and they are the same
/// for every tree.
fn built() -> Tree {
    static FIRST: OnceLock<Tree> = OnceLock::new();
    let first = FIRST.get_or_init(|| {
        let tree = Tree::patched("installer");
        build(&tree, &[]);
        tree
    });
    let tree = Tree::patched("installer");
    copy(&first.path(BIN), &tree.path(BIN));
    tree
}

/// Asserts that another build would find nothing to remove and no controller to build.
#[track_caller]
fn trusts_all(tree: &Tree) {
    let run = tree.rr_patch(&[&STATIC[..], &["--dry-run"]].concat()).exits(0);
    assert!(run.stdout.starts_with("would build no controller (statically linked, "), "{}", run.stdout);
}

const STATIC: [&str; 4] = ["build", "--skip-envtest", "--link", "static"];

#[track_caller]
fn build(tree: &Tree, options: &[&str]) -> Run {
    tree.rr_patch(&[&STATIC[..], options].concat()).exits(0)
}

#[test]
fn a_build_after_a_release_build_embeds_controllers_that_can_be_debugged() {
    let tree = Tree::patched("installer");
    by_hand(&tree, &[("MODE", "release")]);
    let stripped = embedded(&tree);
    assert!(ALL.iter().all(|name| stripped[*name].starts_with("dwarf=false symbols=false")), "{stripped:?}");
    // What the tool is for: with build.sh alone they stay.
    by_hand(&tree, &[("MODE", "dev")]);
    assert_eq!(embedded(&tree), stripped);

    let run = build(&tree, &[]);
    for name in ALL {
        let line = format!("{name}: it has no debug information: it was built with `-s -w`\n");
        assert!(run.stderr.contains(&line), "{line} is not in\n{}", run.stderr);
    }
    assert_eq!(embedded(&tree), all(DEBUGGABLE));
    trusts_all(&tree);
}

#[test]
fn a_build_links_controllers_dynamically_where_there_is_a_c_compiler_and_says_which_glibc() {
    let tree = built();
    let run = tree.rr_patch(&["build", "--skip-envtest", "--link", "dynamic"]).exits(0);
    let run =
        run.says_exactly(str![[r#"
removed: cluster-api/bin/linux_[..]/cluster-api: it is linked statically: recording it would take many times as long
removed: cluster-api/bin/linux_[..]/cluster-api-provider-aws: it is linked statically: recording it would take many times as long
removed: cluster-api/bin/linux_[..]/cluster-api-provider-azure: it is linked statically: recording it would take many times as long
removed: cluster-api/bin/linux_[..]/cluster-api-provider-azureaso: it is linked statically: recording it would take many times as long
"#]]);
    assert_eq!(embedded(&tree), all(DYNAMIC));
    // build.sh, which exports CGO_ENABLED=0, found them made.
    let (_, script) = run.stdout.split_once("+ make -C cluster-api all\n").unwrap();
    assert!(script.contains("Nothing to be done for 'all'"), "{script}");
    let aws = run.stdout.lines().rfind(|line| line.trim().starts_with("cluster-api-provider-aws ")).unwrap();
    assert!(aws.contains("dynamic, glibc 2."), "{aws}");
    assert!(run.stdout.contains("  openshift-install "), "{}", run.stdout);

    let json = tree.rr_patch(&["build", "--skip-envtest", "--format", "json"]).exits(0).json();
    assert_eq!(json["removed"], serde_json::json!([]), "auto is the same where there is a compiler");
    let phases: Vec<&str> = json["phases"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(phases, ["zip", "generate", "installer"]);
    assert!(json["peak_memory"].as_u64().unwrap() > 10 << 20, "{json}");
    assert_eq!(json["programs"].as_array().unwrap().len(), 5);

    let run = tree.rr_patch(&["build", "--skip-envtest", "--env", "CGO_ENABLED=0"]).exits(0);
    run.says_exactly(str![[r#"
note: controllers are linked statically, and recording them takes many times as long: CGO_ENABLED=0 is set
removed: cluster-api/bin/linux_[..]/cluster-api: it was built with cgo, and is asked for without
removed: cluster-api/bin/linux_[..]/cluster-api-provider-aws: it was built with cgo, and is asked for without
removed: cluster-api/bin/linux_[..]/cluster-api-provider-azure: it was built with cgo, and is asked for without
removed: cluster-api/bin/linux_[..]/cluster-api-provider-azureaso: it was built with cgo, and is asked for without
removed: pkg/clusterapi/mirror/cluster-api.zip: `zip` adds to it, and what is no longer built would stay
"#]]);
    assert_eq!(embedded(&tree), all(DEBUGGABLE));
}

#[test]
fn a_build_writes_where_the_installer_comes_from_and_inspect_reads_it() {
    let tree = built();
    for (given, options) in [(&["apply"][..], "the defaults"), (&["apply", "--signal", "rr"], "--signal rr")] {
        tree.rr_patch(given).exits(0);
        build(&tree, &[]);
        tree.rr_patch(&["inspect", "bin/openshift-install"]).exits(0).prints(&[
            "`bin/openshift-install` is a recording installer, and Delve can debug it and its 4 controllers\n",
            "`openshift-install.rr-patch.json` fits it\n",
            &format!("  options:   {options}\n"),
        ]);
    }
}

#[test]
fn a_build_without_a_c_compiler_says_that_recording_will_be_slow() {
    let tree = Tree::patched("installer");
    let run = tree.rr_patch(&["build", "--skip-envtest", "--env", "CC=no-such-compiler"]).exits(0);
    run.says_exactly(str!["note: controllers are linked statically, and recording them takes many times as long: `no-such-compiler` is not there; [..]gcc[..]"]);
    assert_eq!(embedded(&tree), all(DEBUGGABLE));
}

#[test]
fn build_platform_embeds_its_providers_only_and_keeps_the_others_for_later() {
    let tree = Tree::patched("installer");
    // As the installer has it: in quotes the pattern removes nothing, and `zip` adds to what is there.
    tree.edit("hack/build-cluster-api.sh", "rm -f \"${controllers_zip}\"", "rm -f \"${controllers_zip%/*}/*.zip\"");
    let run = build(&tree, &["--platform", "azure"]);
    run.prints(&["has the controllers of: azure; not of: aws\n", "  azureaso  ", "  installer  "]);
    let names: Vec<String> = embedded(&tree).into_keys().collect();
    assert_eq!(names, ["cluster-api", "cluster-api-provider-azure", "cluster-api-provider-azureaso"]);

    build(&tree, &[]);
    assert_eq!(embedded(&tree), all(DEBUGGABLE));
    let azure = bin(&tree, "cluster-api-provider-azure");
    let before = (written(&azure), written(&bin(&tree, "cluster-api")));
    let run = build(&tree, &["--platform", "aws"]).prints(&["has the controllers of: aws; not of: azure\n"]);
    assert!(run.stderr.contains("cluster-api.zip: `zip` adds to it"), "{}", run.stderr);
    assert_eq!(embedded(&tree).into_keys().collect::<Vec<_>>(), ["cluster-api", "cluster-api-provider-aws"]);
    assert_eq!(before, (written(&azure), written(&bin(&tree, "cluster-api"))), "they are back, as they were");
    assert!(!tree.path(BIN).join(".rr-patch-aside").exists());
    trusts_all(&tree);
}

#[test]
fn build_jobs_lets_make_build_providers_side_by_side() {
    let tree = Tree::patched("installer");
    let json = tree.rr_patch(&[&STATIC[..], &["--jobs", "4", "--clean", "--format", "json"]].concat()).exits(0).json();
    assert_eq!(json["jobs"], 4);
    let phases = json["phases"].as_array().unwrap();
    let of = |name: &str| {
        let phase = phases.iter().find(|phase| phase["name"] == name).unwrap_or_else(|| panic!("{name}: {json:#}"));
        (phase["began"].as_f64().unwrap(), phase["seconds"].as_f64().unwrap())
    };
    let (first, last) = (of("cluster-api"), of("azureaso"));
    assert!(last.0 < first.0 + first.1, "the last began after the first had ended: {json:#}");
}

/// What a build would remove, a line each.
fn would_remove(tree: &Tree, options: &[&str]) -> String {
    let said = tree.rr_patch(&[&STATIC[..], &["--dry-run"], options].concat()).exits(0).stdout;
    said.split_inclusive('\n').filter(|line| line.starts_with("would remove ")).collect()
}

#[test]
fn a_controller_that_is_older_than_a_source_is_built_anew() {
    let tree = built();
    assert_eq!(would_remove(&tree, &[]), "");
    let change = |path: &str| {
        // What is written in the same tick as the controllers is not newer.
        std::thread::sleep(Duration::from_millis(30));
        tree.write(path, tree.text(path) + "\n");
    };
    change("cluster-api/providers/aws/main.go");
    let said = would_remove(&tree, &[]);
    let expected = "cluster-api-provider-aws: `cluster-api/providers/aws/main.go` is newer, by ";
    assert!(said.contains(expected) && !said.contains("provider-azure"), "{said}");
    // A module that go.mod replaces by a folder is a source too.
    change("cluster-api/controller/controller.go");
    let said = would_remove(&tree, &[]);
    assert_eq!(said.matches("`cluster-api/controller/controller.go` is newer").count(), 4, "{said}");
    // What is removed is newer than nothing, but its folder is.
    let path = "cluster-api/providers/azure/extra.go";
    tree.write(path, "package main\n");
    tree.remove(path);
    let said = would_remove(&tree, &[]);
    assert!(said.contains("a file was added to `cluster-api/providers/azure` or removed from it"), "{said}");
}

/// `go build` reads only the build id in its head, and calls what is cut off up to date.
#[test]
fn what_is_cut_off_is_built_anew() {
    let tree = built();
    build(&tree, &[]);
    for path in [bin(&tree, "cluster-api-provider-aws"), tree.path("bin/openshift-install")] {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }
    let said = build(&tree, &[]).stderr;
    assert!(said.contains("cluster-api-provider-aws: it is no whole program: truncated: "), "{said}");
    assert!(said.contains("removed: bin/openshift-install: it is no whole program\n"), "{said}");
    assert_eq!(embedded(&tree), all(DEBUGGABLE));
    // What is no program was left by no build.
    tree.write("bin/notes", "the user's own");
    assert_eq!(would_remove(&tree, &["--output", "bin/notes"]), "");
}

#[test]
fn a_controller_with_other_flags_or_of_no_provider_is_removed() {
    let tree = built();
    let go = |provider: &str, flags: &[&str]| {
        let (mut go, to) = (command("go"), bin(&tree, &format!("cluster-api-provider-{provider}")));
        let go = go.current_dir(tree.path("cluster-api/providers").join(provider)).env("CGO_ENABLED", "0");
        Run::of(go.args(["build", "-o"]).arg(to).args(flags).output().unwrap()).exits(0);
    };
    go("aws", &["-trimpath", "-gcflags=all=-N -l"]);
    go("azure", &[]);
    fs::copy(bin(&tree, "cluster-api"), bin(&tree, "cluster-api-provider-gone")).unwrap();
    let said = would_remove(&tree, &[]);
    for expected in [
        "cluster-api-provider-aws: it was built with -trimpath, and GOFLAGS builds without -trimpath\n",
        "cluster-api-provider-azure: it was built with optimisation: without `-gcflags=all=-N -l`\n",
        "cluster-api-provider-gone: this checkout has no such provider\n",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn an_edit_while_a_controller_is_built_is_seen_by_the_next_build() {
    let tree = Tree::patched("installer");
    let script = tree.text("hack/build-cluster-api.sh");
    tree.edit(
        "hack/build-cluster-api.sh",
        "make -C cluster-api all",
        "make -C cluster-api all\n\ttouch cluster-api/providers/aws/main.go",
    );
    build(&tree, &[]);
    tree.write("hack/build-cluster-api.sh", script);
    let said = would_remove(&tree, &[]);
    assert!(said.contains("cluster-api-provider-aws: `cluster-api/providers/aws/main.go` is newer"), "{said}");
}

#[test]
fn a_build_that_fails_says_which_controller_and_leaves_the_others() {
    let tree = Tree::patched("installer");
    tree.write("cluster-api/providers/azure/broken.go", "package main\n\nvar x int = \"text\"\n");
    let run = tree.rr_patch(&STATIC).exits(1);
    run.says(&["the build failed with exit status ", "make said: make", "provider-azure", "broken.go:3"]);
    fs::remove_file(tree.path("cluster-api/providers/azure/broken.go")).unwrap();
    let core = written(&bin(&tree, "cluster-api"));
    // What make made is whole; what was added is gone, and its folder says so.
    assert!(!would_remove(&tree, &[]).contains("cluster-api: "), "{}", would_remove(&tree, &[]));
    assert_eq!(core, written(&bin(&tree, "cluster-api")));
}

/// What a killed build leaves: everything may be half of something, whatever its head says.
#[test]
fn a_build_after_one_that_was_killed_trusts_nothing_that_was_written_meanwhile() {
    let tree = built();
    let script = tree.text("hack/build-cluster-api.sh");
    let meanwhile = "make -C cluster-api all\n\tmkdir -p bin\n\ttouch \"${controllers_dir}/cluster-api-provider-aws\" \"${controllers_dir}/envtest.tar.gz\" bin/openshift-install\n\tprintf half >pkg/clusterapi/mirror/ziAbC123\n\ttouch begun\n\tsleep 60";
    tree.edit("hack/build-cluster-api.sh", "make -C cluster-api all", meanwhile);
    let mut child = tree.tool().args(STATIC).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !tree.path("begun").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the build did not come that far");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill("INT", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    tree.write("hack/build-cluster-api.sh", script);
    let said = build(&tree, &[]).stderr;
    let ended = "an earlier build was ended while it wrote this";
    for name in ["cluster-api-provider-aws", "envtest.tar.gz", "openshift-install"] {
        assert!(said.contains(&format!("{name}: {ended}\n")), "{name}: {said}");
    }
    assert!(said.contains("mirror/ziAbC123: `zip` was ended while it wrote this\n"), "{said}");
    assert!(!said.contains("provider-azure"), "{said}");
    assert_eq!(embedded(&tree), all(DEBUGGABLE));
    trusts_all(&tree);
}

#[test]
fn controllers_that_wait_aside_come_back_after_a_kill() {
    let tree = built();
    let script = tree.text("hack/build.sh");
    // Untraced: a shell that still prints when who reads it has been killed is ended by SIGPIPE.
    let waits = "{ set +x; } 2>/dev/null\necho begun\nexec sleep 60";
    tree.edit("hack/build.sh", "export CGO_ENABLED=0", waits);
    let mut tool = tree.tool();
    tool.args(STATIC).args(["--platform", "aws"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = tool.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "begun"), "the build did not come that far");
    assert!(!bin(&tree, "cluster-api-provider-azure").exists());
    kill("KILL", child.id());
    child.wait().unwrap();
    let said = tree.rr_patch(&STATIC).refuses().stderr;
    let group = said.split("`kill -- ").nth(1).unwrap().split('`').next().unwrap();
    Run::of(command("sh").args(["-c", &format!("kill -s KILL -- {group}")]).output().unwrap()).exits(0);
    tree.write("hack/build.sh", script);
    trusts_all(&tree);
    assert!(bin(&tree, "cluster-api-provider-azure").exists());
}

#[test]
fn build_clean_removes_what_is_generated_and_nothing_else() {
    let tree = built();
    build(&tree, &[]);
    fs::write(bin(&tree, "etcd"), "downloaded").unwrap();
    tree.write("bin/notes.txt", "the user's own");
    let run = tree.rr_patch(&[&STATIC[..], &["--clean", "--dry-run"]].concat()).exits(0);
    let run = run.prints_exactly(str![[r#"
would remove pkg/clusterapi/mirror/cluster-api.zip: --clean
would remove cluster-api/bin/linux_[..]/cluster-api: --clean
would remove cluster-api/bin/linux_[..]/cluster-api-provider-aws: --clean
would remove cluster-api/bin/linux_[..]/cluster-api-provider-azure: --clean
would remove cluster-api/bin/linux_[..]/cluster-api-provider-azureaso: --clean
would remove bin/openshift-install: --clean
would remove bin/openshift-install.rr-patch.json: --clean
would build cluster-api, cluster-api-provider-aws, cluster-api-provider-azure, cluster-api-provider-azureaso ([..]), and `[FOLDER]/installer/bin/openshift-install` with go1.[..]
nothing was removed or built (--dry-run)
"#]]);
    run.prints_exactly(str![[r#"
would remove pkg/clusterapi/mirror/cluster-api.zip: --clean
would remove cluster-api/bin/linux_[..]/cluster-api: --clean
would remove cluster-api/bin/linux_[..]/cluster-api-provider-aws: --clean
would remove cluster-api/bin/linux_[..]/cluster-api-provider-azure: --clean
would remove cluster-api/bin/linux_[..]/cluster-api-provider-azureaso: --clean
would remove bin/openshift-install: --clean
would remove bin/openshift-install.rr-patch.json: --clean
would build cluster-api, cluster-api-provider-aws, cluster-api-provider-azure, cluster-api-provider-azureaso ([..]), and `[FOLDER]/installer/bin/openshift-install` with go1.[..]
nothing was removed or built (--dry-run)
"#]]);
    assert_eq!(embedded(&tree), all(DEBUGGABLE), "--dry-run removes nothing");
    let run = build(&tree, &["--clean"]);
    assert_eq!(run.stderr.matches(": --clean\n").count(), 7, "{}", run.stderr);
    assert_eq!(tree.text("bin/notes.txt"), "the user's own");
    assert_eq!(fs::read_to_string(bin(&tree, "etcd")).unwrap(), "downloaded");
    let mut expected = all(DEBUGGABLE);
    expected.insert("etcd".into(), "other".into());
    assert_eq!(embedded(&tree), expected);
}

#[test]
fn build_fails_with_the_reason_where_the_linker_was_told_to_strip() {
    let tree = Tree::patched("installer");
    let run = tree.rr_patch(&[&STATIC[..], &["--env", "LDFLAGS=-s -w"]].concat()).exits(1);
    let run = run.says_exactly(str![[r#"
error: `[FOLDER]/installer/bin/openshift-install` was built, and is not fit for debugging
  openshift-install: it has no debug information: it was linked with `-s -w`, as a release is
hint: leave `-s` and `-w` out of LDFLAGS and GOFLAGS, then build again
"#]]);
    run.says_exactly(str![[r#"
error: `[FOLDER]/installer/bin/openshift-install` was built, and is not fit for debugging
  openshift-install: it has no debug information: it was linked with `-s -w`, as a release is
hint: leave `-s` and `-w` out of LDFLAGS and GOFLAGS, then build again
"#]]);
}

/// A tree whose scripts are as those of early 2024: controllers only on request, Terraform first, and no
/// way around envtest.
fn older() -> Tree {
    let tree = built();
    let steps = "if [ \"${SKIP_TERRAFORM}\" != y ]; then\n\tmake -C terraform all\nfi\n\
                 if [ -n \"${OPENSHIFT_INSTALL_CLUSTER_API}\" ]; then\n\
                 \tbuild_controllers\n\tadd_envtest\n\tpack_controllers\nfi\n";
    tree.edit("hack/build.sh", "build_controllers\nadd_envtest\npack_controllers\n", steps);
    tree.edit("hack/build-cluster-api.sh", "if [ \"${SKIP_ENVTEST:-n}\" = y ]; then\n\t\treturn 0\n\tfi\n", ":\n");
    let make = "all: bin/terraform-provider-ignition bin/terraform\n\
                bin/terraform-provider-%:\n\tcd providers/$* && go build -mod=readonly -o ../../$@ .\n\
                bin/terraform:\n\tcd terraform && go build -mod=readonly -o ../$@ .\n";
    tree.write("terraform/Makefile", make);
    for folder in ["terraform/providers/ignition", "terraform/terraform"] {
        tree.write(&format!("{folder}/go.mod"), "module stand-in\n\ngo 1.23\n");
        tree.write(&format!("{folder}/main.go"), "package main\n\nfunc main() {}\n");
    }
    tree
}

fn phases(json: &serde_json::Value) -> Vec<&str> {
    json["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect()
}

#[test]
fn a_build_of_an_older_revision_asks_its_scripts_for_the_controllers() {
    let tree = older();
    by_hand(&tree, &[("MODE", "dev"), ("SKIP_TERRAFORM", "y")]);
    assert!(!tree.path("pkg/clusterapi/mirror/cluster-api.zip").exists(), "by themselves they embed none");

    let run = build(&tree, &["--skip-terraform"]);
    let run = run.says_exactly(str![[r#"
note: OPENSHIFT_INSTALL_CLUSTER_API=y is set: without it hack/build.sh of this revision builds no controllers
note: the scripts of this revision know no SKIP_ENVTEST: they download etcd and kube-apiserver all the same
"#]]);
    let run = run.says_exactly(str![[r#"
note: OPENSHIFT_INSTALL_CLUSTER_API=y is set: without it hack/build.sh of this revision builds no controllers
note: the scripts of this revision know no SKIP_ENVTEST: they download etcd and kube-apiserver all the same
"#]]);
    run.prints(&["has no Terraform: what this revision installs through it, and not by Cluster API, fails\n"]);
    let mut zip = embedded(&tree);
    assert_eq!(zip.remove("etcd").as_deref(), Some("other"));
    assert_eq!(zip, all(DEBUGGABLE));
    let statement: serde_json::Value = serde_json::from_str(&tree.text("bin/openshift-install.rr-patch.json")).unwrap();
    let told = statement["predicate"]["buildDefinition"].to_string();
    assert!(told.contains("\"OPENSHIFT_INSTALL_CLUSTER_API\":\"y\""), "{told}");
}

#[test]
fn a_build_of_an_older_revision_builds_terraform_unless_told_and_never_for_a_platform() {
    let tree = older();
    let json = build(&tree, &["--format", "json"]).says(&[
        "note: hack/build.sh of this revision builds Terraform and its providers (1) too, and they run no controller: \
         `--skip-terraform`",
    ]);
    let json = json.json();
    assert_eq!(phases(&json), ["terraform ignition", "terraform", "zip", "generate", "installer"]);
    assert_eq!(json["terraform"], "built");
    let dry = build(&tree, &["--dry-run"]);
    assert!(dry.stdout.contains("reckoned for each), Terraform and its providers, and `"), "{}", dry.stdout);

    tree.remove("terraform/bin/terraform");
    let run = build(&tree, &["--platform", "aws", "--format", "json"]);
    let run = run.says(&["note: Terraform is left out with --platform, since it runs no controller; `--env SKIP_TERR"]);
    let json = run.json();
    assert_eq!((phases(&json), &json["terraform"]), (vec!["zip", "generate", "installer"], &"left-out".into()));
    let told = build(&tree, &["--platform", "aws", "--env", "SKIP_TERRAFORM=n", "--format", "json"]).json();
    assert_eq!(phases(&told), ["terraform", "zip", "generate", "installer"]);

    tree.write("pkg/terraform/providers/mirror/terraform/terraform", "a program");
    build(&tree, &["--skip-terraform"]).prints(&["has the Terraform that an earlier build embedded\n"]);

    let newer = built();
    assert_eq!(build(&newer, &["--skip-terraform", "--format", "json"]).json()["terraform"], serde_json::json!(null));
}

#[test]
fn a_build_refuses_at_once_an_older_revision_that_starts_no_controller() {
    let tree = older();
    let main = tree.text("cmd/openshift-install/main.go");
    tree.write("cmd/openshift-install/main.go", "package main\n\nfunc main() {}\n");
    tree.refuses(&["build", "--skip-terraform"]).says_exactly(str![[r#"
error: nothing in the installer of this revision starts controllers
  expected: a call of `clusterapi.System()` in what `./cmd/openshift-install` is built from
  found: none in the whole checkout
hint: take a later revision: those since 2024-05 can all install by Cluster API
hint: `rr-patch build --unpatched` builds this one all the same
nothing was written
"#]]);
    tree.write("pkg/infrastructure/capi/capi.go", main.replacen("package main", "package capi", 1));
    tree.refuses(&["build", "--skip-terraform"]).says_exactly(str![[r#"
error: nothing in the installer of this revision starts controllers
  expected: a call of `clusterapi.System()` in what `./cmd/openshift-install` is built from
  found: `pkg/infrastructure/capi/capi.go` calls it, and is not built with TAGS=release
hint: take a later revision: those since 2024-05 can all install by Cluster API
hint: `rr-patch build --unpatched` builds this one all the same
nothing was written
"#]]);
    assert!(!tree.path("bin/openshift-install").exists());
    // Where scripts need no asking, Cluster API is in use, and nobody waits for a list of packages.
    let newer = built();
    newer.write("cmd/openshift-install/main.go", "package main\n\nfunc main() {}\n");
    newer.rr_patch(&["build", "--skip-envtest", "--dry-run"]).exits(0);
}
