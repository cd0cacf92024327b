//! `rr-patch traces`, and rr's trace store by rr's own rules.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rr_patch::rr::trace::{Sidecar, Store, Trace};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Run, command, copy, fixtures, skip};
use crate::streams::{self, Layout, program};
use crate::watched::stopped_at_work;
use snapbox::{IntoData, str};

const AWS: &str = "cluster-api-provider-aws";

/// The tool with a trace folder.
pub fn tool(store: &Path, arguments: &[&str]) -> Command {
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.current_dir(store.parent().unwrap()).arg("traces").args(arguments).env("_RR_TRACE_DIR", store);
    tool
}

fn traces(store: &Path, arguments: &[&str]) -> Run {
    Run::of(tool(store, arguments).output().unwrap())
}

/// A copy of the fixture of a layout: the folder, and the store in it. Which trace is newest, and so listed first,
/// is as `cp` has it: texts of several traces are compared `unordered`.
fn fixture(layout: Layout) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().canonicalize().unwrap().join("rr");
    copy(&fixtures().join("traces").join(layout.name()), &store);
    (folder, store)
}

/// Sets the times of all files of a trace, and so when it was recorded. The time of birth cannot be set.
fn since(trace: &Path, age: Duration) {
    for entry in fs::read_dir(trace).unwrap().map(Result::unwrap) {
        let file = File::options().append(true).open(entry.path()).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
}

fn states(listing: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let traces = listing["traces"].as_array().unwrap().iter();
    let mut states: Vec<_> = traces.map(|trace| (text(&trace["name"]), text(&trace["state"]))).collect();
    states.sort();
    states
}

fn of<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn fixtures_of_traces_are_what_their_builder_makes() {
    for layout in Layout::ALL {
        let kept = fixtures().join("traces").join(layout.name());
        let made = tempfile::tempdir().unwrap();
        streams::store(made.path(), layout);
        if std::env::var_os("RR_PATCH_WRITE_FIXTURES").is_some() {
            let _ = fs::remove_dir_all(&kept);
            copy(made.path(), &kept);
        }
        let mut folders = vec![PathBuf::new()];
        while let Some(below) = folders.pop() {
            let names = |root: &Path| {
                let entries = fs::read_dir(root.join(&below)).unwrap().map(|entry| entry.unwrap().file_name());
                entries.collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(names(&kept), names(made.path()), "{}", below.display());
            for name in names(&kept).into_iter().map(|name| below.join(name)) {
                match kept.join(&name).is_dir() {
                    true => folders.push(name),
                    false => assert!(
                        fs::read(kept.join(&name)).unwrap() == fs::read(made.path().join(&name)).unwrap(),
                        "{}: RR_PATCH_WRITE_FIXTURES=1 writes it anew",
                        name.display()
                    ),
                }
            }
        }
    }
}

fn root(variables: &[(&str, &str)]) -> PathBuf {
    let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
    Store::of(&variable).root().to_owned()
}

#[test]
fn traces_are_looked_for_where_rr_has_its_store() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let (set, data) = (("HOME", home.path().to_str().unwrap()), at("data"));
    let data = ("XDG_DATA_HOME", data.to_str().unwrap());
    assert_eq!(root(&[]), Path::new("/tmp/rr"));
    assert_eq!(root(&[set]), at(".local/share/rr"));
    fs::create_dir(at(".rr")).unwrap();
    assert_eq!(root(&[set]), at(".rr"), "an old store, and no new one");
    assert_eq!(root(&[set, data]), at(".rr"));
    fs::create_dir_all(at("data/rr")).unwrap();
    assert_eq!(root(&[set, data]), at("data/rr"));
    assert_eq!(root(&[set, ("_RR_TRACE_DIR", "/x/y")]), Path::new("/x/y"));
    assert_eq!(root(&[("XDG_DATA_HOME", "")]), Path::new("/rr"), "as rr joins them");
}

#[test]
fn traces_list_knows_every_state_of_both_layouts_and_nothing_else() {
    for layout in Layout::ALL {
        let (_folder, store) = fixture(layout);
        symlink("no-longer-there-7", store.join("latest-trace")).unwrap();
        let listing = traces(&store, &["--format", "json"]).exits(0).json();
        assert_eq!(listing["schema"], "rr-patch/traces/1");
        let expected = [
            ("cluster-api-provider-aws-0", "complete"),
            ("cluster-api-provider-aws-1", "dead"),
            ("cluster-api-provider-azure-0", "junk"),
            ("cluster-api-provider-gcp-0", "starting"),
            ("cluster-api-provider-vsphere-0", "complete"),
            ("no-such-program-0", "junk"),
        ];
        assert_eq!(states(&listing), of(&expected), "{layout:?}");
        assert_eq!(listing["unreadable"].as_array().unwrap().len(), 0);
        // A `latest-trace` that leads to a trace does not count it twice.
        fs::remove_file(store.join("latest-trace")).unwrap();
        symlink("cluster-api-provider-aws-1", store.join("latest-trace")).unwrap();
        let run = traces(&store, &["list"]).exits(0);
        run.prints_exactly(
            str![[r#"
name                            controller [..] started [..] length [..] size  state
no-such-program-0               no-such-program [..] junk
cluster-api-provider-vsphere-0  cluster-api-provider-vsphere [..] complete
cluster-api-provider-gcp-0      cluster-api-provider-gcp [..] starting
cluster-api-provider-azure-0    cluster-api-provider-azure [..] junk
cluster-api-provider-aws-1      cluster-api-provider-aws [..] dead
cluster-api-provider-aws-0      cluster-api-provider-aws [..] complete

6 traces, [..], in `[FOLDER]/rr`: 1 starting, 2 complete, 1 dead, 2 junk
"#]]
            .unordered(),
        );
    }
}

#[test]
fn traces_list_looks_into_the_folder_of_a_run_and_through_links() {
    let (folder, store) = fixture(Layout::Rr59);
    fs::create_dir(store.join("run-7")).unwrap();
    fs::rename(store.join("cluster-api-provider-aws-0"), store.join("run-7/cluster-api-provider-aws-0")).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(store.join("cluster-api-provider-aws-1"), &elsewhere).unwrap();
    symlink(&elsewhere, store.join("linked-0")).unwrap();
    let listing = traces(&store, &["--format", "json"]).exits(0).json();
    let states = states(&listing);
    assert!(states.contains(&("run-7/cluster-api-provider-aws-0".into(), "complete".into())), "{states:?}");
    assert!(states.contains(&("linked-0".into(), "dead".into())), "{states:?}");
    traces(&store, &["show", "aws"]).exits(0).prints(&["run-7/cluster-api-provider-aws-0: complete"]);
}

#[test]
fn traces_list_takes_a_trace_that_is_locked_by_another_process_for_a_recording() {
    let (_folder, store) = fixture(Layout::Rr56);
    let name = "cluster-api-provider-aws-1";
    let marker = File::options().read(true).write(true).open(store.join(name).join("incomplete")).unwrap();
    let state = || traces(&store, &["show", name, "--format", "json"]).exits(0).json()["state"].clone();
    assert_eq!(state(), "dead");
    flock(&marker, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(state(), "recording");
    // Looking has not taken the lock away.
    assert_eq!(state(), "recording");
    // rr writes the header and renames it, the lock still held.
    fs::rename(store.join(name).join("incomplete"), store.join(name).join("version")).unwrap();
    fs::write(store.join(name).join("tasks"), streams::tasks(Layout::Rr56, &["x"], 0)).unwrap();
    assert_eq!(state(), "complete");
}

#[test]
fn traces_list_leaves_the_lock_alone_that_rr_is_about_to_take() {
    let (_folder, store) = fixture(Layout::Rr56);
    let marker = File::open(store.join("cluster-api-provider-gcp-0/incomplete")).unwrap();
    // Whoever asked for the lock would wait for us, and rr gives up if it cannot have it at once.
    flock(&marker, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert!(
        states(&traces(&store, &["--format", "json"]).json())
            .contains(&("cluster-api-provider-gcp-0".into(), "starting".into()))
    );
}

#[test]
fn traces_list_names_what_cannot_be_read_and_goes_on() {
    let (_folder, store) = fixture(Layout::Rr59);
    for (name, obstacle) in [("cluster-api-provider-aws-0", "version"), ("cluster-api-provider-azure-0", "incomplete")]
    {
        fs::remove_file(store.join(name).join(obstacle)).unwrap();
        fs::create_dir(store.join(name).join(obstacle)).unwrap();
    }
    let run = traces(&store, &["list"]).exits(0);
    run.prints_exactly(str![[r#"
name                            controller [..] started [..] length [..] size  state
no-such-program-0               no-such-program [..] junk
cluster-api-provider-vsphere-0  cluster-api-provider-vsphere [..] complete
cluster-api-provider-gcp-0      cluster-api-provider-gcp [..] starting
cluster-api-provider-aws-1      cluster-api-provider-aws [..] dead

4 traces, [..], in `[FOLDER]/rr`: 1 starting, 1 complete, 1 dead, 1 junk
cannot be read: `[FOLDER]/rr/cluster-api-provider-aws-0`: `[FOLDER]/rr/cluster-api-provider-aws-0/version` is not a file
cannot be read: `[FOLDER]/rr/cluster-api-provider-azure-0`: `[FOLDER]/rr/cluster-api-provider-azure-0/incomplete` is not a file
"#]].unordered());
}

#[test]
fn traces_list_of_a_store_that_is_not_there_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let run = traces(&folder.path().join("rr"), &[]).exits(0);
    run.prints_exactly(str!["no traces in `[FOLDER]/rr`"]);
    let elsewhere = fixtures().join("traces/5.6");
    traces(&folder.path().join("rr"), &["--trace-dir", elsewhere.to_str().unwrap()]).exits(0).prints(&["6 traces"]);
}

#[test]
fn traces_list_shows_no_control_characters_of_names() {
    let (_folder, store) = fixture(Layout::Rr59);
    fs::rename(store.join("cluster-api-provider-aws-0"), store.join("a\u{1b}[31m\n-0")).unwrap();
    traces(&store, &[]).exits(0).prints_exactly(
        str![[r#"
name                            controller [..] started [..] length [..] size  state
no-such-program-0               no-such-program [..] junk
cluster-api-provider-vsphere-0  cluster-api-provider-vsphere [..] complete
cluster-api-provider-gcp-0      cluster-api-provider-gcp [..] starting
cluster-api-provider-azure-0    cluster-api-provider-azure [..] junk
cluster-api-provider-aws-1      cluster-api-provider-aws [..] dead
a\u{1b}[31m\n-0                 a\u{1b}[31m\n [..] complete

6 traces, [..], in `[FOLDER]/rr`: 1 starting, 2 complete, 1 dead, 2 junk
"#]]
        .unordered(),
    );
}

#[test]
fn traces_show_tells_program_arguments_end_and_host_of_a_complete_trace() {
    for (layout, prints) in [
        (
            Layout::Rr56,
            str![[r#"
cluster-api-provider-aws-0: complete, it can be replayed
  path:       [FOLDER]/rr/cluster-api-provider-aws-0
  controller: cluster-api-provider-aws
  started:    20[..]
  length:     [..] s
  size:       [..] B in 6 files
  program:    /opt/installer/cluster-api/cluster-api-provider-aws
  arguments:  --leader-elect=false -v=2
  kept:       as a copy in the trace: `[FOLDER]/rr/cluster-api-provider-aws-0/mmap_copy_3_cluster-api-provider-aws`
  ended:      with exit status 7
  recorded:   on a host that rr did not note (x86_64), bound to CPU 2
              without CPUID faulting: it replays on such a CPU only
  rr's id:    5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a
  by:         not by `rr-patch record`: which rr it was is not known
              nothing in it tells of software counters (-W)
next:
  rr-patch replay cluster-api-provider-aws-0
  rr-patch traces pack cluster-api-provider-aws-0 -o cluster-api-provider-aws-0.tar.zst
"#]],
        ),
        (
            Layout::Rr59,
            str![[r#"
cluster-api-provider-aws-0: complete, it can be replayed
  path:       [FOLDER]/rr/cluster-api-provider-aws-0
  controller: cluster-api-provider-aws
  started:    20[..]
  length:     [..] s
  size:       [..] B in 6 files
  program:    /opt/installer/cluster-api/cluster-api-provider-aws
  arguments:  --leader-elect=false -v=2
  kept:       as a copy in the trace: `[FOLDER]/rr/cluster-api-provider-aws-0/mmap_copy_3_cluster-api-provider-aws`
  ended:      with exit status 7
  recorded:   on recorder (x86_64, kernel 6.12.0), bound to CPU 2
              without CPUID faulting: it replays on such a CPU only
  rr's id:    5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a
  by:         not by `rr-patch record`: which rr it was is not known
              nothing in it tells of software counters (-W)
next:
  rr-patch replay cluster-api-provider-aws-0
  rr-patch traces pack cluster-api-provider-aws-0 -o cluster-api-provider-aws-0.tar.zst
"#]],
        ),
    ] {
        let (_folder, store) = fixture(layout);
        traces(&store, &["show", "cluster-api-provider-aws-0"]).exits(0).prints_exactly(prints);
    }
}

#[test]
fn traces_show_says_why_a_trace_cannot_be_replayed_and_what_to_type() {
    let (_folder, store) = fixture(Layout::Rr59);
    for (name, why, next) in [
        (
            "cluster-api-provider-aws-1",
            "rr was killed or crashed before it closed the trace",
            "traces prune cluster-api-provider-aws-1",
        ),
        ("cluster-api-provider-azure-0", "rr failed at its start", "traces prune cluster-api-provider-azure-0"),
        ("no-such-program-0", "its program could not be started", "traces prune no-such-program-0"),
        ("cluster-api-provider-gcp-0", "it is starting, or failed at its start", "send SIGTERM to its rr"),
        (
            "cluster-api-provider-vsphere-0",
            "cluster-api-provider-vsphere` is missing, and the trace has only its path",
            "put back what is missing",
        ),
    ] {
        traces(&store, &["show", name]).exits(0).prints(&[": ", ", it cannot be replayed\n", why, next]);
    }
    fs::write(store.join("cluster-api-provider-aws-0/mmaps"), [4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])
        .unwrap();
    let run = traces(&store, &["show", "cluster-api-provider-aws-0"]).exits(0);
    run.prints_exactly(str![[r#"
cluster-api-provider-aws-0: complete, it cannot be replayed
  path:       [FOLDER]/rr/cluster-api-provider-aws-0
  controller: cluster-api-provider-aws
  started:    20[..]
  length:     [..] s
  size:       470 B in 6 files
  recorded:   on recorder (x86_64, kernel 6.12.0), bound to CPU 2
              without CPUID faulting: it replays on such a CPU only
  rr's id:    5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a
  by:         not by `rr-patch record`: which rr it was is not known
              nothing in it tells of software counters (-W)
  not:        it is damaged: cannot read the stream `mmaps` of the trace `[FOLDER]/rr/cluster-api-provider-aws-0`: not a message of rr: Failed: a block claims to hold 4294967295 bytes in 4
next:
  put back what is missing, then `rr-patch traces show cluster-api-provider-aws-0` looks again
"#]]);
}

#[test]
fn traces_show_compares_the_original_as_rr_would() {
    let folder = tempfile::tempdir().unwrap();
    let (store, binary) = (folder.path().join("rr"), folder.path().join(AWS));
    fs::write(&binary, b"a program").unwrap();
    let (path, hard) = (binary.to_str().unwrap(), format!("mmap_hardlink_3_{AWS}"));
    streams::complete(&store.join("path-0"), Layout::Rr59, &[path], &[program(&binary, path)]);
    streams::complete(&store.join("hard-0"), Layout::Rr59, &[path], &[program(&binary, &hard)]);
    fs::hard_link(&binary, store.join("hard-0").join(&hard)).unwrap();
    traces(&store, &["show", "path-0"]).exits(0).prints(&["only as a path, where it still is as it was", "it can be"]);
    traces(&store, &["show", "hard-0"]).exits(0).prints(&["as a hard link in the trace: `", "B of them in hard links"]);
    // Overwritten in place: the hard link has the new bytes too.
    fs::write(&binary, b"another program").unwrap();
    traces(&store, &["show", "path-0"]).exits(0).prints(&["what is there was changed: size 9 is 15 now"]);
    traces(&store, &["show", "hard-0"]).exits(0).prints(&["changed since: size 9 is 15 now", "warning: "]);
    fs::remove_file(&binary).unwrap();
    traces(&store, &["show", "path-0"]).exits(0).prints(&["it cannot be replayed", "there is nothing any more"]);
    let hard = traces(&store, &["show", "hard-0", "--format", "json"]).exits(0).json();
    assert_eq!((&hard["replayable"], &hard["program"]["kept"]), (&true.into(), &"hard-link".into()));
}

#[test]
fn traces_show_tells_what_the_sidecar_notes_and_no_value_of_the_environment() {
    let (_folder, store) = fixture(Layout::Rr59);
    let trace = store.join("cluster-api-provider-aws-0");
    let sidecar = Sidecar {
        tool: "rr-patch 9".into(),
        controller: "the-controller".into(),
        rr_version: "5.9.0".into(),
        software_counters: true,
        flags: ["-W", "--env=TOKEN=s3cret", "-v", "KEY=s3cret", "--wait"].map(str::to_owned).into(),
        started: Some("2026-01-02T03:04:05Z".into()),
        ended: Some("2026-01-02T04:04:05Z".into()),
        exit: Some("exit status 0".into()),
        ..Sidecar::default()
    };
    sidecar.write(&trace).unwrap();
    let written = fs::read_to_string(trace.join("rr-patch.json")).unwrap();
    assert!(written.contains("TOKEN=") && !written.contains("s3cret"), "{written}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(trace.join("rr-patch.json")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let run = traces(&store, &["show", "the-controller"]).exits(0);
    run.prints(&[
        "controller: the-controller\n",
        "length:     1 h 00 min\n",
        "by:         rr-patch 9, with rr 5.9.0, with software counters: it replays with -W only\n",
        "flags:      -W --env=TOKEN=… -v KEY=… --wait\n",
    ]);
    let trace = Trace::open(&trace).unwrap();
    assert_eq!((trace.controller(), trace.software_counters()), ("the-controller", Some(true)));
    // One that somebody else wrote is a warning, and no more.
    fs::write(trace.path.join("rr-patch.json"), b"{\"schema\": \"rr-patch/sidecar/9\"}").unwrap();
    let run = traces(&store, &["show", "cluster-api-provider-aws-0"]).exits(0);
    run.prints(&["it can be replayed", "warning:", "is not a sidecar of this version"]);
}

#[test]
fn traces_show_finds_traces_by_path_name_and_controller() {
    let (_folder, store) = fixture(Layout::Rr59);
    let name = |arguments: &[&str]| {
        traces(&store, &[arguments, &["--format", "json"]].concat()).exits(0).json()["name"].clone()
    };
    // The newest: its files are older than those of the other complete one.
    since(&store.join("cluster-api-provider-vsphere-0"), Duration::from_secs(3600));
    assert_eq!(name(&["show"]), "cluster-api-provider-aws-0");
    assert_eq!(name(&["show", AWS]), "cluster-api-provider-aws-0");
    assert_eq!(name(&["show", "vsphere"]), "cluster-api-provider-vsphere-0");
    assert_eq!(name(&["show", "cluster-api-provider-aws-1"]), "cluster-api-provider-aws-1");
    assert_eq!(name(&["show", "rr/cluster-api-provider-aws-1"]), "cluster-api-provider-aws-1");
    let run = traces(&store, &["show", "azure"]).exits(1);
    run.says_exactly(str![[r#"
error: no trace `azure`, and no complete one of such a controller, is in `[FOLDER]/rr`
  `cluster-api-provider-azure-0` is junk
hint: `rr-patch traces` lists all; `--trace-dir DIR` names another folder
"#]]);
    traces(&store, &["show", "./nothing"]).exits(1).says_exactly(str![[r#"
error: `./nothing` is not a trace
  expected: a folder with a file `version` or `incomplete`
hint: `rr-patch traces` lists the traces; `--trace-dir DIR` names another folder
"#]]);
}

#[test]
fn traces_prune_removes_what_is_dead_or_junk_and_nothing_else() {
    for layout in Layout::ALL {
        let (folder, store) = fixture(layout);
        let original = folder.path().join("original");
        fs::write(&original, b"linked").unwrap();
        fs::hard_link(&original, store.join("cluster-api-provider-aws-1/mmap_hardlink_9_original")).unwrap();
        symlink("cluster-api-provider-aws-1", store.join("latest-trace")).unwrap();
        let run = traces(&store, &["prune", "--dry-run"]).exits(0);
        run.prints_exactly(
            str![[r#"
name                          controller [..] started [..] length [..] size  state
no-such-program-0             no-such-program [..] junk
cluster-api-provider-azure-0  cluster-api-provider-azure [..] junk
cluster-api-provider-aws-1    cluster-api-provider-aws [..] dead
left alone, since rr is at them: cluster-api-provider-gcp-0

would remove 3 traces, [..]
"#]]
            .unordered(),
        );
        assert!(store.join("cluster-api-provider-aws-1").is_dir());
        let report = traces(&store, &["prune", "--yes", "--format", "json"]).exits(0).json();
        assert_eq!(report["removed"].as_array().unwrap().len(), 3, "{report:#}");
        assert_eq!(report["live"], serde_json::json!(["cluster-api-provider-gcp-0"]));
        let kept = ["cluster-api-provider-aws-0", "cluster-api-provider-gcp-0", "cluster-api-provider-vsphere-0"];
        let left = states(&traces(&store, &["--format", "json"]).json());
        assert_eq!(left.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), kept);
        assert_eq!(fs::read(&original).unwrap(), b"linked", "only the link is gone");
        assert!(store.join("latest-trace").symlink_metadata().is_err(), "as `rr rm` does");
        assert!(store.join("cpu_lock").is_file() && store.join("notes").is_dir());
        traces(&store, &["prune", "--yes"]).exits(0).prints_exactly(str![[r#"
nothing to remove in `[FOLDER]/rr`
left alone, since rr is at them: cluster-api-provider-gcp-0
"#]]);
    }
}

#[test]
fn traces_prune_asks_and_refuses_where_nobody_can_answer() {
    let (_folder, store) = fixture(Layout::Rr59);
    let run = traces(&store, &["prune"]).refuses();
    run.says_exactly(
        str![[r#"
error: cannot ask without a terminal: remove 3 traces, [..]?
  name                          controller [..] started [..] length [..] size  state
    no-such-program-0             no-such-program [..] junk
    cluster-api-provider-azure-0  cluster-api-provider-azure [..] junk
    cluster-api-provider-aws-1    cluster-api-provider-aws [..] dead
    left alone, since rr is at them: cluster-api-provider-gcp-0
hint: --yes removes them without asking; --dry-run only says which
nothing was written
"#]]
        .unordered(),
    );
    assert_eq!(states(&traces(&store, &["--format", "json"]).json()).len(), 6);
}

/// The `script` of util-linux is a terminal that answers what it is told.
#[test]
fn traces_prune_takes_yes_and_no_for_an_answer_on_a_terminal() {
    let probe =
        command("script").args(["-qec", "true", "/dev/null"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        skip(&["terminal"], "no `script` makes a terminal here");
        return;
    }
    let (folder, store) = fixture(Layout::Rr59);
    for (answer, left) in [("n", 6), ("", 6), ("y", 3)] {
        let input = folder.path().join("answer");
        fs::write(&input, format!("{answer}\n")).unwrap();
        let line = format!("{} traces prune; echo code $?", env!("CARGO_BIN_EXE_rr-patch"));
        let mut script = command("script");
        script.args(["-qec", &line, "/dev/null"]).env("_RR_TRACE_DIR", &store).env("SHELL", "/bin/sh");
        let run = Run::of(script.stdin(File::open(&input).unwrap()).output().unwrap());
        let (code, said) = if left == 3 { ("code 0", "removed 3 traces") } else { ("code 3", "not confirmed") };
        run.prints(&["remove 3 traces, ", "[y/N]", said, code]);
        assert_eq!(states(&traces(&store, &["--format", "json"]).json()).len(), left, "answer {answer:?}");
    }
}

#[test]
fn traces_prune_never_touches_a_trace_that_rr_is_at() {
    let (_folder, store) = fixture(Layout::Rr59);
    let (name, before) = ("cluster-api-provider-aws-1", 6);
    let marker = File::open(store.join(name).join("incomplete")).unwrap();
    flock(&marker, FlockOperation::NonBlockingLockExclusive).unwrap();
    traces(&store, &["prune", "--yes", name]).refuses().says_exactly(str![[r#"
error: `cluster-api-provider-aws-1` is recording
  rr still writes to it
hint: end the install, or send SIGTERM to its rr; then the trace is complete
nothing was written
"#]]);
    traces(&store, &["prune", "--yes", "cluster-api-provider-gcp-0"]).refuses().says_exactly(str![[r#"
error: `cluster-api-provider-gcp-0` is starting
  rr still writes to it
hint: end the install, or send SIGTERM to its rr; then the trace is complete
nothing was written
"#]]);
    traces(&store, &["prune", "--yes"]).exits(0).prints_exactly(
        str![[r#"
name                          controller [..] started [..] length [..] size  state
no-such-program-0             no-such-program [..] junk
cluster-api-provider-azure-0  cluster-api-provider-azure [..] junk
left alone, since rr is at them: cluster-api-provider-gcp-0, cluster-api-provider-aws-1

removed 2 traces, [..]
"#]]
        .unordered(),
    );
    assert_eq!(states(&traces(&store, &["--format", "json"]).json()).len(), before - 2);
    // Taken between the look and the removal: the lock is asked for again. Closing the file would leave the lock to
    // whatever child another test has forked and not yet executed.
    flock(&marker, FlockOperation::Unlock).unwrap();
    let dead = Trace::open(&store.join(name)).unwrap();
    let marker = File::open(store.join(name).join("incomplete")).unwrap();
    flock(&marker, FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = dead.remove().unwrap_err();
    assert!(error.to_string().contains("is in use"), "{error:#}");
    assert_eq!(fs::read_dir(&dead.path).unwrap().count(), 6);
}

#[test]
fn traces_prune_leaves_a_trace_alone_that_became_another_since_the_look() {
    let (_folder, store) = fixture(Layout::Rr59);
    let path = store.join("cluster-api-provider-aws-1");
    let dead = Trace::open(&path).unwrap();
    fs::rename(path.join("incomplete"), path.join("version")).unwrap();
    fs::write(path.join("tasks"), streams::tasks(Layout::Rr59, &["x"], 0)).unwrap();
    let error = dead.remove().unwrap_err();
    assert!(error.to_string().ends_with("is complete now"), "{error:#}");
    fs::rename(&path, store.join("moved")).unwrap();
    symlink(store.join("moved"), &path).unwrap();
    let error = dead.remove().unwrap_err();
    assert!(error.to_string().ends_with("is a link"), "{error:#}");
    assert!(store.join("moved/data").is_file());
}

#[test]
fn traces_prune_keeps_the_newest_of_each_controller_and_removes_by_age() {
    let (_folder, store) = fixture(Layout::Rr59);
    for number in 2..5 {
        let path = store.join(format!("{AWS}-{number}"));
        copy(&store.join("cluster-api-provider-aws-0"), &path);
        since(&path, Duration::from_secs(number * 24 * 3600));
    }
    let chosen = |arguments: &[&str]| {
        let all = [&["prune", "--dry-run", "--format", "json"], arguments].concat();
        let report = traces(&store, &all).exits(0).json();
        let mut names: Vec<String> = report["chosen"]
            .as_array()
            .unwrap()
            .iter()
            .map(|trace| trace["name"].as_str().unwrap().to_owned())
            .collect();
        names.retain(|name| name.starts_with(AWS));
        names.sort();
        names
    };
    assert_eq!(chosen(&[]), ["cluster-api-provider-aws-1"], "a complete one only if asked for");
    assert_eq!(chosen(&["--keep", "2"]), [1, 3, 4].map(|n| format!("{AWS}-{n}")));
    assert_eq!(chosen(&["--keep", "0", "--older-than", "60h"]), [3, 4].map(|n| format!("{AWS}-{n}")));
    assert_eq!(chosen(&["--older-than", "1w"]), [] as [String; 0]);
    assert_eq!(chosen(&[&format!("{AWS}-0")]), [format!("{AWS}-0")]);
    traces(&store, &["prune", "--older-than", "soon"]).exits(2).says_exactly(str![[r#"
error: invalid value 'soon' for '--older-than <AGE>': expected a number and `s`, `m`, `h`, `d` or `w`, like 7d

For more information, try '--help'.
"#]]);
    traces(&store, &["prune", "--keep", "1", "x"]).exits(2);
}

#[test]
fn traces_prune_that_is_killed_leaves_each_trace_whole_or_gone() {
    const FILES: usize = 500;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("rr");
    let names = || -> Vec<String> {
        fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let start = || {
        for number in 0..3 {
            let path = store.join(format!("{AWS}-{number}"));
            streams::dead(&path, AWS);
            (0..FILES).for_each(|n| drop(File::create(path.join(format!("mmap_copy_{n}_x"))).unwrap()));
        }
        tool(&store, &["prune", "--yes"]).stdout(Stdio::null()).spawn().unwrap()
    };
    let (mut tool, _) = stopped_at_work(start, || names().into_iter().find(|name| name.starts_with('.')));
    tool.kill().unwrap();
    tool.wait().unwrap();
    let left = names();
    for name in &left {
        let files = fs::read_dir(store.join(name)).unwrap().count();
        assert!(name.starts_with(".rr-patch-removed-") || files == FILES + 6, "{name} has {files} files");
    }
    assert!(left.iter().any(|name| name.starts_with('.')), "it was killed at work: {left:?}");
    let whole = left.iter().filter(|name| !name.starts_with('.')).count();
    assert_eq!(states(&traces(&store, &["--format", "json"]).json()).len(), whole, "what is gone is listed nowhere");
    // The next one clears up.
    traces(&store, &["prune", "--yes"]).exits(0);
    assert_eq!(names(), [] as [String; 0]);
}
