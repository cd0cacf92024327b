//! What rr-patch 0.1 left behind is still reverted, recognised, replayed and unpacked. The files are in
//! `fixtures/upgrade/0.1`, and no later version makes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rr_patch::patch::checkout::Content;
use rr_patch::patch::plan::structural;
use rr_patch::patch::rules::{Mark, Options, Rules};
use rr_patch::rr::trace::{Sidecar, Trace};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::end_to_end::patched;
use crate::harness::{PROCESS, Run, SHAPES, STATE, SYSTEM, Snapshot, Tree, command, copy, fixtures, kill};
use crate::watched::Watched;
use crate::{debugger, recorder};
use snapbox::str;

const AWS: &str = "cluster-api-provider-aws";

fn golden(name: &str) -> PathBuf {
    fixtures().join("upgrade/0.1").join(name)
}

/// A state in which 0.1 left a checkout.
struct Left {
    tree: Tree,
    /// The tree before 0.1 changed it.
    before: Snapshot,
    arguments: &'static [&'static str],
}

impl Left {
    /// The checkout of that time, and over it what `fixtures/upgrade/0.1/make` packed.
    fn new(state: &str) -> Self {
        let below = if state == "below" { "third_party/installer" } else { "" };
        let tree = Tree::holding(&golden("checkout"), below);
        // These bring a git folder of their own.
        if !["no-git", "committed", "branch"].contains(&state) {
            tree.git(&["init", "--quiet", "--initial-branch=main"]);
            tree.commit("the fixture");
        }
        if state == "classic" {
            copy(&golden("shape-p2"), tree.root());
            tree.commit("the shape");
        }
        let before = tree.snapshot();
        let packed = File::open(golden(&format!("states/{state}.tar.zst"))).unwrap();
        tar::Archive::new(zstd::Decoder::new(packed).unwrap()).unpack(tree.root()).unwrap();
        let arguments: &[&str] = if state == "below" { &["--root", "third_party/installer"] } else { &[] };
        Self { tree, before, arguments }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.tree.rr_patch(&[arguments, self.arguments].concat())
    }

    /// Asserts that every file has its bytes and mode of before 0.1, and that today's code agrees.
    #[track_caller]
    fn is_as_before(&self) {
        let now = self.tree.snapshot();
        let names = |files: &Snapshot| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&now), names(&self.before));
        assert!(now == self.before, "a file is not as it was");
        self.run(&["status"]).prints_exactly(str!["`[FOLDER]/[..]installer` is not patched: `rr-patch apply` does it"]);
    }
}

/// All changes in place.
const WHOLE: [&str; 5] = ["applied", "options", "no-git", "below", "classic"];

/// What a kill left of an apply and of a revert.
const KILLED: [&str; 9] = [
    "apply-killed-2",
    "apply-killed-3",
    "apply-killed-4",
    "apply-killed-5",
    "revert-killed-renameat-1",
    "revert-killed-renameat-2",
    "revert-killed-unlink-1",
    "revert-killed-unlink-2",
    "revert-killed-unlink-3",
];

#[test]
fn every_state_that_0_1_left_has_a_test() {
    let entries =
        fs::read_dir(golden("states")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = entries.map(|name| name.strip_suffix(".tar.zst").unwrap().to_owned()).collect();
    let mut tested = [&WHOLE[..], &KILLED, &["edited", "conflict", "committed", "branch"]].concat();
    found.sort();
    tested.sort_unstable();
    assert_eq!(found, tested);
}

#[test]
fn revert_takes_back_byte_for_byte_what_0_1_applied() {
    for state in WHOLE {
        let left = Left::new(state);
        assert!(left.tree.snapshot() != left.before, "{state}");
        left.run(&["revert"]).exits(0).prints(&["reverted `"]);
        left.is_as_before();
    }
}

#[test]
fn sources_that_0_1_patched_are_known_without_its_journal() {
    for (state, shown) in [
        ("applied", "the defaults"),
        ("below", "the defaults"),
        ("classic", "the defaults"),
        ("branch", "the defaults"),
        (
            "options",
            "--controllers all --rr /opt/rr/bin/rr --rr-arg=--chaos --bind-to-cpu none --avx512 keep --signal rr",
        ),
    ] {
        let without_journal = || {
            let left = Left::new(state);
            fs::remove_dir_all(left.tree.path(STATE)).unwrap();
            left
        };
        let left = without_journal();
        let patched = left.tree.snapshot();
        let status = left.run(&["status"]).exits(0);
        assert!(status.stdout.starts_with("patched: `"), "{state}: {}", status.stdout);
        status.prints(&["by:      rr-patch 0.1.0 on ", "known:   by its sources", &format!("options: {shown}\n")]);
        left.run(&["revert"]).exits(0).prints(&["the originals are those of "]);
        left.is_as_before();

        // Today's changes in place of the old ones, and back.
        let left = without_journal();
        let options: Vec<&str> = if shown == "the defaults" { Vec::new() } else { shown.split(' ').collect() };
        left.run(&[&["apply"], &options[..]].concat()).exits(0).prints(&["patched again `"]);
        assert!(left.tree.snapshot() != patched, "{state}");
        left.run(&["revert"]).exits(0);
        left.is_as_before();
    }
    let left = Left::new("no-git");
    fs::remove_dir_all(left.tree.path(".rr-patch")).unwrap();
    left.run(&["status"]).exits(0).prints(&["patched: `", "by:      rr-patch 0.1.0\n", "the originals are not known"]);
    left.run(&["revert"]).refuses().says(&["no commit is checked out, so git does not have the originals"]);
}

/// Before 0.2 the same changes were made under today's mark, by the rules and the Go of 0.1.
#[test]
fn sources_with_the_go_of_0_1_under_a_mark_are_known_without_a_journal() {
    let earlier = Rules::earlier().unwrap();
    for shape in SHAPES {
        let tree = Tree::new(shape);
        let before = tree.snapshot();
        let options = Options { bind_to_cpu: Some(3), ..Options::default() };
        let read = |path: &str| {
            let bytes = fs::read(tree.path(path)).ok();
            Ok(bytes.map(|bytes| Content { bytes, mode: 0o644 }))
        };
        let plan = structural(&read, &options, &Mark::new(&options), &earlier[0]).unwrap();
        for rewrite in &plan.rewrites {
            tree.write(&rewrite.path, &rewrite.after.as_ref().unwrap().bytes);
        }
        assert!(tree.text(SYSTEM).contains("process.AwaitAll()"));
        let status = tree.rr_patch(&["status"]).exits(0);
        assert!(status.stdout.starts_with("patched: `"), "{shape}: {}", status.stdout);
        status.prints(&["known:   by its sources; `", "options: --bind-to-cpu 3\n"]);
        let patched = tree.snapshot();
        tree.rr_patch(&["apply", "--bind-to-cpu", "3"]).exits(0).prints(&["patched again `"]);
        assert!(tree.snapshot() != patched && tree.text(SYSTEM).contains("process.AwaitAll(&"), "{shape}");
        tree.rr_patch(&["revert"]).exits(0);
        assert!(tree.snapshot() == before, "{shape}");
    }
}

#[test]
fn revert_completes_what_was_killed_in_0_1() {
    for state in KILLED {
        let left = Left::new(state);
        left.run(&["revert"]).exits(0);
        // A file that was to be put in place may lie beside its target; the next command that writes there
        // removes it.
        for path in left.tree.snapshot().keys().filter(|path| path.to_string_lossy().contains("/.rr-patch-")) {
            left.tree.remove(path.to_str().unwrap());
        }
        left.is_as_before();
    }
}

#[test]
fn apply_completes_what_0_1_began_and_revert_takes_all_of_it_back() {
    for state in WHOLE.into_iter().chain(KILLED) {
        let left = Left::new(state);
        let mode: &[&str] = if state == "classic" { &["--mode", "patch"] } else { &[] };
        left.run(&[&["apply"], mode].concat()).exits(0);
        let run = left.run(&["status"]).exits(0).prints(&["nothing was edited since"]);
        assert!(run.stdout.starts_with("patched: `"), "{}", run.stdout);
        left.run(&["revert"]).exits(0).prints(&["reverted `"]);
        left.is_as_before();
    }
}

#[test]
fn status_knows_the_version_the_base_and_the_options_of_what_0_1_applied() {
    let left = Left::new("options");
    // The tests make the same commit as `make` did, by name and dates.
    let base = left.tree.git(&["rev-parse", "HEAD"]);
    let run = left.run(&["status"]).exits(0);
    let run = run.prints(&["patched: `", &format!("rr-patch 0.1.0 on {}\n", &base[..12]), "nothing was edited since"]);
    run.prints(&[
        "options: --controllers all --rr /opt/rr/bin/rr --rr-arg=--chaos --bind-to-cpu none --avx512 keep --signal rr\n",
    ]);
    Left::new("classic").run(&["status"]).exits(0).prints(&["rr-patch 0.1.0 on ", "rr-debugging.patch"]);
}

#[test]
fn revert_keeps_edits_made_since_0_1_applied() {
    let left = Left::new("edited");
    left.run(&["revert"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 4 files
  restored pkg/clusterapi/internal/process/process.go
  merged   pkg/clusterapi/system.go; what was edited since is kept
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
"#]]);
    let mut expected = left.before.clone();
    let system = &mut expected.get_mut(Path::new(SYSTEM)).unwrap().0;
    system.extend_from_slice(b"\n// Written after apply.\nfunc edited() {}\n");
    assert!(left.tree.snapshot() == expected);
}

#[test]
fn revert_refuses_edits_of_what_0_1_changed_and_with_force_keeps_them_beside_the_original() {
    let left = Left::new("conflict");
    let edited = left.tree.read(PROCESS);
    left.tree.refuses(&["revert"]).says_exactly(str![[r#"
error: edits made since apply touch the lines that it changed
  `pkg/clusterapi/internal/process/process.go`
    <<<<<<< edited since apply
    	timedOut := Never(2 * ps.StartTimeout)
    	defer ps.logWhileWaiting("become healthy")()
    =======
    	timedOut := time.After(ps.StartTimeout)
    >>>>>>> original
hint: undo those edits, or `rr-patch revert --force`, which keeps the edited version beside the original
nothing was written
"#]]);
    left.run(&["revert", "--force"]).exits(0);
    let backup = format!("{PROCESS}.edited");
    assert!(left.tree.read(&backup) == edited);
    left.tree.remove(&backup);
    left.is_as_before();
}

#[test]
fn revert_with_force_brings_back_a_file_of_0_1_that_was_cut_off() {
    let left = Left::new("applied");
    let process = left.tree.read(PROCESS);
    left.tree.write(PROCESS, &process[..process.len() / 2]);
    left.run(&["revert", "--force"]).exits(0);
    // Whether it counts as an edit is not asked here. If it does, it is kept.
    let _ = fs::remove_file(left.tree.path(&format!("{PROCESS}.edited")));
    left.is_as_before();
}

#[test]
fn revert_takes_back_the_commit_and_the_branch_that_0_1_made() {
    for state in ["committed", "branch"] {
        let left = Left::new(state);
        let git = |arguments: &[&str]| left.tree.git(arguments).trim().to_owned();
        let (commit, base) = (git(&["rev-parse", "HEAD"]), git(&["rev-parse", "HEAD^"]));
        assert_eq!(git(&["status", "--porcelain"]), "");
        left.run(&["status"]).exits(0).prints(&[&format!("commit:  {}\n", &commit[..12])]);
        left.run(&["revert"]).exits(0).prints(&["\ncommit ", " is gone"]);
        assert_eq!(git(&["for-each-ref"]), format!("{base} commit\trefs/heads/main"));
        assert_eq!(
            (git(&["branch", "--show-current"]), git(&["status", "--porcelain"])),
            ("main".into(), String::new())
        );
        left.is_as_before();
    }
}

/// An installer of today's `build` out of the sources that 0.1 patched.
#[test]
fn build_inspect_and_record_know_an_installer_of_the_sources_that_0_1_patched() {
    let left = Left::new("applied");
    // Made by make, and the same for all.
    copy(&patched().root.join("cluster-api/bin"), &left.tree.path("cluster-api/bin"));
    let build = ["--env", "SOURCE_GIT_COMMIT=0", "--env", "BUILD_VERSION=fixture", "--env", "SKIP_ENVTEST=y"];
    left.run(&[&["build"][..], &build].concat()).exits(0);
    let added = golden("patched/pkg/clusterapi/internal/process/rr_patch.go");
    assert!(left.tree.read(crate::harness::ADDED) == fs::read(added).unwrap(), "it was built as it is");
    let seen = left.run(&["inspect", "bin/openshift-install", "--format", "json"]).exits(0).json();
    assert_eq!(
        (&seen["recording"], &seen["patch"]["missing"], &seen["in_order"]),
        (&json!(true), &json!([]), &json!(true))
    );

    let (traces, install) = (left.tree.beside("traces"), left.tree.beside("install"));
    fs::create_dir(&install).unwrap();
    fs::write(install.join("metadata.json"), "{\"platform\":\"aws\"}").unwrap();
    let mut record = left.tree.tool();
    let path = std::env::var("PATH").unwrap();
    record.env("PATH", format!("{}:{path}", recorder::folder().display()));
    record.args(["record", "--unchecked", "--trace-dir"]).arg(&traces);
    record.args(["--", "create", "cluster", "--dir"]).arg(&install);
    Run::of(record.output().unwrap()).exits(0).prints_exactly(str![[r#"
controller                state     exit [..] trace
cluster-api-provider-aws  complete  not known [..] cluster-api-provider-aws-0

the installer ended with exit status 0 after [..] s
1 trace in `[FOLDER]/traces`, complete
next: `rr-patch replay [FOLDER]/traces/cluster-api-provider-aws-0`
"#]]);
    assert_eq!(recorder::traces(&traces), [(format!("{AWS}-0"), recorder::Trace::Complete)]);
}

#[test]
fn inspect_reads_the_statement_that_0_1_left_beside_an_installer() {
    let statement = golden("build/openshift-install.rr-patch.json");
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    let run = Run::of(tool.args(["inspect", "--format", "json"]).arg(&statement).output().unwrap());
    // The installer is not there, and that is not in order.
    let seen = run.exits(4).json();
    let written: Value = serde_json::from_slice(&fs::read(&statement).unwrap()).unwrap();
    let definition = &written["predicate"]["buildDefinition"];
    let provenance = &seen["provenance"];
    assert_eq!(provenance["tool"], "0.1.0");
    assert_eq!(provenance["commit"], definition["resolvedDependencies"][0]["digest"]["gitCommit"]);
    assert_eq!(provenance["patch"], definition["resolvedDependencies"][1]["digest"]["sha256"]);
    assert_eq!(provenance["options"], definition["externalParameters"]["options"]);
    assert_eq!(provenance["platforms"], json!(["aws"]));
    let programs: Vec<&Value> = seen["programs"].as_array().unwrap().iter().map(|program| &program["name"]).collect();
    assert_eq!(programs, ["openshift-install", "cluster-api", AWS]);
    assert_eq!(seen["programs"][2]["facts"]["optimised"], false);
}

/// A store with the trace that 0.1 wrote its sidecar into.
fn store() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    copy(&golden("trace"), &root.join("rr"));
    (folder, root.join("rr"))
}

#[test]
fn traces_show_what_0_1_noted_of_a_recording() {
    let (_folder, store) = store();
    let sidecar = Sidecar::read(&store.join(format!("{AWS}-0"))).unwrap().unwrap();
    assert_eq!((sidecar.tool.as_str(), sidecar.rr_version.as_str()), ("rr-patch 0.1.0", "5.9.0"));
    assert_eq!((sidecar.controller.as_str(), sidecar.software_counters), (AWS, true));
    assert_eq!(sidecar.flags, ["-W", "--env=TOKEN=…", "--wait"]);
    assert_eq!(sidecar.installer_commit.as_deref(), Some("0"));
    assert_eq!(sidecar.installer_remote.as_deref(), Some("https://git.example/installer"));
    assert!(sidecar.started.is_some() && sidecar.ended.is_some());
    let run = Run::of(crate::traces::tool(&store, &["show", "aws"]).output().unwrap()).exits(0);
    run.prints(&[
        &format!("{AWS}-0: complete, it can be replayed"),
        "rr-patch 0.1.0, with rr 5.9.0, with software counters: it replays with -W only",
        "-W --env=TOKEN=… --wait",
    ]);
}

/// Serves a trace with the stand-ins for Delve and rr, and returns how Delve was started.
#[track_caller]
fn replayed(store: &Path, name: &str) -> String {
    let calls = store.parent().unwrap().join("calls");
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.args(["replay", "--port", "0", name])
        .current_dir(store.parent().unwrap())
        .env("PATH", format!("{}:{}:/usr/bin:/bin", debugger::folder().display(), recorder::folder().display()))
        .env("_RR_TRACE_DIR", store)
        .env("HOME", store.parent().unwrap().join("home"))
        .env("DLV_STAND_IN_LOG", &calls)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut replay = Watched::start(&mut tool);
    replay.until(&[&format!("`{name}` is open in Delve "), "Ctrl-C ends it"]);
    kill("INT", replay.child.id());
    assert_eq!(replay.ends().code(), Some(0), "{}", replay.said());
    fs::read_to_string(calls).unwrap()
}

#[test]
fn replay_takes_the_options_of_a_replay_from_what_0_1_noted() {
    let (_folder, store) = store();
    let calls = replayed(&store, &format!("{AWS}-0"));
    assert!(calls.ends_with(&format!("{AWS}-0 DELVE_RR_REPLAY_FLAGS=-W -q\n")), "{calls}");
}

/// All files below a folder with their SHA-256.
fn sums(folder: &Path) -> BTreeMap<String, String> {
    let mut sums = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let sum = Sha256::digest(fs::read(&path).unwrap());
            let sum = sum.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            sums.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), sum);
        }
    }
    sums
}

/// Unpacks a bundle of 0.1 into a new store, and returns its folder there.
#[track_caller]
fn unpacked(bundle: &str, arguments: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().canonicalize().unwrap().join("rr");
    fs::create_dir(&store).unwrap();
    let file = golden("bundles").join(bundle);
    let arguments = [&["unpack", file.to_str().unwrap(), "--name", "old"], arguments].concat();
    let run = Run::of(crate::traces::tool(&store, &arguments).output().unwrap()).exits(0);
    run.prints(&["verified and unpacked 1 trace into `", &format!("rr-patch replay old/{AWS}-0\n")]);
    (folder, store.join("old"))
}

#[test]
fn traces_unpack_a_bundle_of_0_1_byte_for_byte_and_replay_opens_it() {
    let (_folder, bundle) = unpacked("whole.tar.zst", &[]);
    // By tar and sha256sum, when it was made.
    let listed = fs::read_to_string(golden("bundles/whole.sha256")).unwrap();
    let listed: BTreeMap<String, String> = listed
        .lines()
        .map(|line| line.split_once("  ./").unwrap())
        .map(|(sum, path)| (path.to_owned(), sum.to_owned()))
        .collect();
    let mut found = sums(&bundle);
    found.retain(|path, _| !["rr-patch-bundle.json", "manifest.json"].contains(&path.as_str()));
    assert_eq!(found, listed);
    let trace = Trace::open(&bundle.join(format!("{AWS}-0"))).unwrap();
    assert_eq!(trace.check().obstacles, [] as [String; 0]);
    assert_eq!(rr_patch::rr::bundle::sources(&trace), Some(bundle.join("sources")));
    let calls = replayed(bundle.parent().unwrap(), &format!("old/{AWS}-0"));
    assert!(calls.ends_with("DELVE_RR_REPLAY_FLAGS=-W -q\n"), "{calls}");
}

#[test]
fn traces_unpack_bundles_of_0_1_without_some_sources_and_for_one_reader() {
    let (_folder, gone) = unpacked("sources-gone.tar.zst", &[]);
    let head: Value = serde_json::from_slice(&fs::read(gone.join("rr-patch-bundle.json")).unwrap()).unwrap();
    assert_eq!((&head["sources"]["packed"], head["sources"]["missing"].as_array().unwrap().len()), (&json!(1), 1));
    let key = golden("bundles/key");
    let (_folder, encrypted) = unpacked("encrypted.tar.zst.age", &["--identity", key.to_str().unwrap()]);
    let files = |bundle: &Path| {
        let mut sums = sums(bundle);
        // They say when they were packed.
        sums.retain(|path, _| !["rr-patch-bundle.json", "manifest.json"].contains(&path.as_str()));
        sums
    };
    assert_eq!(files(&encrypted), files(&gone));
}
