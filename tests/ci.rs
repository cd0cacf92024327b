//! `rr-patch ci`: the matrix, a row that is built, and the pipelines as far as they can be looked at without an engine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{PROCESS, Run, Tree, command};
use snapbox::str;

/// A name that git takes, and that runs a command where a script expands it.
pub const HOSTILE: &str = "x$(touch${IFS}pwned);y";

/// A fork: `main`, a branch with a hostile name, and one that does not fit.
pub fn fork() -> Tree {
    let tree = Tree::new("installer");
    tree.git(&["checkout", "--quiet", "-b", HOSTILE]);
    tree.write("README.md", "another branch\n");
    tree.commit("another branch");
    tree.git(&["checkout", "--quiet", "-b", "broken", "main"]);
    let signal = "if err := ps.Cmd.Process.Signal(syscall.SIGTERM)";
    tree.edit(PROCESS, signal, &signal.replace("SIGTERM", "SIGHUP"));
    tree.commit("does not fit");
    tree.git(&["checkout", "--quiet", "main"]);
    // As the usual servers have it: a commit may be asked for by its name.
    tree.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    tree
}

fn matrix(tree: &Tree, arguments: &[&str]) -> Value {
    tree.rr_patch(&[&["ci", "matrix", "--format", "json"], arguments].concat()).exits(0).json()
}

fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn matrix_has_a_row_for_each_branch_and_platform_that_fits_and_says_why_others_do_not() {
    let tree = fork();
    let before = (tree.snapshot(), tree.state());
    let all = matrix(&tree, &["--platform", "aws,azure,gcp"]);
    assert!(before == (tree.snapshot(), tree.state()));
    let rows = all["rows"].as_array().unwrap();
    let pairs: BTreeSet<_> =
        rows.iter().map(|row| (row["ref"].as_str().unwrap(), row["platform"].as_str().unwrap())).collect();
    assert_eq!(pairs, [("main", "aws"), ("main", "azure"), (HOSTILE, "aws"), (HOSTILE, "azure")].into());
    let main = rows.iter().find(|row| row["ref"] == "main").unwrap();
    assert_eq!(main["commit"].as_str(), Some(tree.git(&["rev-parse", "main"]).trim()));
    assert_eq!((main["go"].as_str(), main["shape"].as_str()), (Some("1.24"), Some("P1+S6")));
    assert_eq!(main["rules"].as_str().map(str::len), Some(64));

    let refused = all["refused"].as_array().unwrap();
    let broken = refused.iter().find(|one| one["ref"] == "broken").unwrap();
    assert!(broken["details"][0].as_str().unwrap().contains(PROCESS), "{broken}");
    let gcp: Vec<_> = refused.iter().filter(|one| one["platform"] == "gcp").collect();
    assert_eq!(gcp.len(), 2);
    assert_eq!(gcp[0]["why"], "no such platform in this branch");
    assert_eq!(gcp[0]["details"][0], "known: aws, azure");

    // None at all is found; a glob that matches nothing is refused.
    tree.rr_patch(&["ci", "matrix", "--refs", "refs/heads/broken"]).exits(4);
    tree.refuses(&["ci", "matrix", "--refs", "refs/heads/nothing"]).says_exactly(str![[r#"
error: no reference matches `refs/heads/nothing`
hint: `git for-each-ref` lists the names; a glob like `refs/heads/release-*` is matched whole
nothing was written
"#]]);
}

#[test]
fn matrix_keys_differ_by_platform_options_go_and_go_sum_and_by_nothing_else() {
    let tree = fork();
    let key = |arguments: &[&str]| {
        matrix(&tree, &[&["--refs", "refs/heads/main"], arguments].concat())["rows"][0]["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = key(&["--platform", "aws"]);
    assert_ne!(key(&["--platform", "azure"]), first);
    assert_ne!(key(&["--platform", "aws", "--controllers", "all"]), first);
    tree.write("README.md", "changed\n");
    tree.commit("nothing of Go");
    assert_eq!(key(&["--platform", "aws"]), first);
    tree.write("go.sum", "a line\n");
    tree.commit("a dependency");
    let other = key(&["--platform", "aws"]);
    assert_ne!(other, first);
    assert_eq!(other.rsplit_once('-').unwrap().0, first.rsplit_once('-').unwrap().0, "caches of before help");
}

#[test]
fn matrix_caps_at_the_limit_and_names_what_it_left_out() {
    let tree = fork();
    let all = matrix(&tree, &["--platform", "aws,azure", "--limit", "3"]);
    assert_eq!(all["rows"].as_array().unwrap().len(), 3);
    let left_out = all["left_out"].as_array().unwrap();
    assert_eq!(left_out.len(), 1);
    let run = tree.rr_patch(&["ci", "matrix", "--platform", "aws,azure", "--limit", "3"]).exits(0);
    run.prints(&[&format!("left out, beyond the limit: {}", left_out[0].as_str().unwrap())]);
}

#[test]
fn matrix_skips_what_was_built_until_the_commit_or_the_options_change() {
    let tree = fork();
    let file = tree.beside("built.json");
    let file = file.to_str().unwrap();
    let since = ["--refs", "refs/heads/main", "--platform", "aws", "--changed-since", file];
    let first = matrix(&tree, &[&since[..], &["--document", file]].concat());
    assert_eq!((names(&first["rows"], "ref").len(), names(&first["skipped"], "ref").len()), (1, 0), "no such file yet");
    // What was skipped is still built the time after that.
    for _ in 0..2 {
        let again = matrix(&tree, &[&since[..], &["--document", file]].concat());
        assert_eq!((names(&again["rows"], "ref").len(), names(&again["skipped"], "ref").len()), (0, 1));
    }
    assert_eq!(names(&matrix(&tree, &[&since[..], &["--signal", "rr"]].concat())["rows"], "ref").len(), 1);
    tree.commit("a new commit");
    assert_eq!(names(&matrix(&tree, &since)["rows"], "ref").len(), 1);
    fs::write(file, "{}").unwrap();
    tree.refuses(&[&["ci", "matrix"], &since[..]].concat()).says_exactly(str![[r#"
error: `[FOLDER]/built.json` is no matrix
  found: JSON without a `schema`
hint: `rr-patch ci matrix --format json` prints one
nothing was written
"#]]);
}

#[test]
fn matrix_for_github_writes_outputs_and_summary_and_prints_annotations() {
    let tree = fork();
    let (output, summary) = (tree.beside("output"), tree.beside("summary"));
    let mut tool = tree.tool();
    tool.args(["ci", "matrix", "--format", "github"])
        .env("GITHUB_OUTPUT", &output)
        .env("GITHUB_STEP_SUMMARY", &summary);
    let run = Run::of(tool.env("RR_PATCH_PLATFORMS", "aws").output().unwrap()).exits(0);
    assert!(run.stdout.starts_with("::warning title=broken is not built::"), "{}", run.stdout);
    assert_eq!(run.stdout.lines().count(), 1);
    let outputs = fs::read_to_string(output).unwrap();
    assert!(outputs.starts_with("matrix={\"include\":[") && outputs.ends_with("\nrows=2\n"), "{outputs}");
    let summary = fs::read_to_string(summary).unwrap();
    assert!(summary.contains("| main | aws | ") && summary.contains("### Not built"), "{summary}");
    assert!(summary.contains("x&#36;&#40;touch&#36;&#123;IFS&#125;pwned&#41;&#59;y"), "{summary}");
    tree.rr_patch(&["status", "--format", "github"]).exits(2).says_exactly(str![[r#"
error: `--format github` is for `rr-patch ci matrix`
hint: `--format json` gives every result as a document
"#]]);
}

#[test]
fn build_of_a_row_fetches_its_commit_and_collects_what_came_out() {
    let tree = fork();
    let rows = matrix(&tree, &["--platform", "aws"]);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("matrix.json");
    fs::write(&file, rows.to_string()).unwrap();
    let hostile = names(&rows["rows"], "ref").iter().position(|name| name == HOSTILE).unwrap();
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.current_dir(place.path()).env("RR_PATCH_REMOTE", tree.root());
    tool.args(["ci", "build", "--format", "json", "--matrix", "matrix.json", "--id", &hostile.to_string()]);
    let built = Run::of(tool.output().unwrap()).exits(0).json();
    assert_eq!(built["ref"], HOSTILE);
    let folder = place.path().join(built["folder"].as_str().unwrap());
    assert_eq!(folder.file_name().unwrap().to_str(), rows["rows"][hostile]["name"].as_str());
    is_complete(&folder, HOSTILE);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3, "matrix.json, installer, artefacts");
    // Nothing is fetched into a folder that is there.
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.current_dir(place.path()).args(["ci", "build", "--matrix", "matrix.json", "--id", "0"]);
    let run = Run::of(tool.env("RR_PATCH_REMOTE", tree.root()).output().unwrap()).refuses();
    run.says_exactly(str![[r#"
error: `installer` is there already
hint: `--work DIR` takes a folder that is not there yet; `--checkout DIR` builds one that is
nothing was written
"#]]);
}

/// Asserts that a folder of artefacts has all that it should, and that the sums fit.
#[track_caller]
pub fn is_complete(folder: &Path, reference: &str) {
    let mut sums = command("sha256sum");
    Run::of(sums.current_dir(folder).args(["--check", "--strict", "SHA256SUMS"]).output().unwrap()).exits(0);
    let summed = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    for name in [
        "openshift-install",
        "openshift-install.rr-patch.json",
        "openshift-install.timings.html",
        "predicate.json",
        "build.log",
    ] {
        assert!(summed.lines().any(|line| line.ends_with(&format!("  {name}"))), "{name} is not in\n{summed}");
    }
    let mut inspect = command(env!("CARGO_BIN_EXE_rr-patch"));
    inspect.current_dir(folder).args(["inspect", "openshift-install", "--format", "json"]);
    let said: Value = serde_json::from_slice(&inspect.output().unwrap().stdout).unwrap();
    assert_eq!((&said["recording"], &said["in_order"]), (&true.into(), &true.into()), "{said:#}");
    assert_eq!(said["provenance"]["branch"], reference);
    assert_eq!(said["provenance"]["fits"], true);
}

#[test]
fn pipelines_need_a_remote_and_a_tool_and_take_nothing_that_is_expanded() {
    let tree = Tree::bare("installer");
    let run = tree.rr_patch(&["ci", "github"]).exits(2);
    run.says_exactly(str![[r#"
error: nothing says where the installer's branches are
hint: `--remote URL` says it
"#]]);
    tree.rr_patch(&["ci", "tekton", "--remote", "/x/y"]).exits(2).says_exactly(str![[r#"
error: nothing says where a pipeline gets rr-patch from
hint: `--tool URL` says it
"#]]);
    let run = tree.rr_patch(&["ci", "gitlab", "--remote", "/x/$(id)", "--tool", "/t"]).exits(2);
    run.says_exactly(str![[r#"
error: a pipeline cannot hold `/x/$(id)`
  expected: a value without `$` and without line ends, which engines expand
hint: a glob like `*` matches the name of a branch that has such a character
"#]]);
}

/// The lines of a pipeline's scripts: what is in a block scalar after `run:`, `script:` or `commands:`.
fn uses(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")).collect()
}

#[test]
fn actions_are_pinned_by_hash_and_permissions_are_read_only_unless_a_job_attests() {
    let tree = Tree::bare("installer");
    let making = ["ci", "github", "--remote", "/x/y", "--tool", "/t"];
    for arguments in [&making[..], &[&making[..], &["--attest"]].concat(), &["ci", "github", "--reusable"]] {
        let text = tree.rr_patch(arguments).exits(0).stdout;
        assert!(uses(&text).len() > 5, "{text}");
        for action in uses(&text) {
            let hash = action.split('@').nth(1).unwrap().split(' ').next().unwrap();
            assert!(hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{action}");
        }
        assert!(text.contains("\npermissions:\n  contents: read\n"), "{text}");
        let writes = text.lines().filter(|line| line.trim().ends_with(": write")).count();
        assert_eq!(writes, if text.contains("actions/attest@") { 2 } else { 0 });
    }
}

#[test]
fn the_reusable_workflow_in_the_repository_is_the_one_that_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows/build.yml");
    let text = Tree::bare("installer").rr_patch(&["ci", "github", "--reusable"]).exits(0).stdout;
    if std::env::var_os("RR_PATCH_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "RR_PATCH_BLESS=1 writes it");
}

/// What a pipeline's files are called, and what is in them.
pub fn files(tree: &Tree, arguments: &[&str]) -> Vec<(PathBuf, String)> {
    let made = tree.rr_patch(&[&["ci", "--format", "json"], arguments].concat()).exits(0).json();
    let file = |file: &Value| (file["name"].as_str().unwrap().into(), file["text"].as_str().unwrap().to_owned());
    made["files"].as_array().unwrap().iter().map(file).collect()
}

#[test]
fn prow_has_a_configuration_of_its_own_for_each_branch_under_a_plain_name() {
    let tree = fork();
    let matrix = tree.beside("matrix.json");
    fs::write(&matrix, tree.rr_patch(&["ci", "matrix", "--format", "json", "--platform", "aws,azure"]).exits(0).stdout)
        .unwrap();
    let remote = ["--remote", "https://example.com/openshift/installer.git", "--tool", "/t"];
    let files = files(&tree, &[&["prow", "--matrix", matrix.to_str().unwrap()], &remote[..]].concat());
    let names: Vec<_> = files.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0], "openshift-installer-main__rr-patch.yaml");
    assert!(names[1].starts_with("openshift-installer-x--touch--IFS-pwned--y-"), "{}", names[1]);
    for (_, text) in &files {
        assert_eq!(text.matches("RUN rr-patch ci build").count(), 2, "{text}");
        assert!(text.contains("  org: \"openshift\"\n  repo: \"installer\"\n"), "{text}");
        // Outside of the metadata, which no shell reads, nothing of the hostile name is left.
        assert!(!text.split("zz_generated_metadata").next().unwrap().contains("$(touch"), "{text}");
    }
}
