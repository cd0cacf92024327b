//! What `rr-patch ci` prints, checked and run by the engines' own code: actionlint and act, gitlab-ci-local, Tekton's Go
//! types, in-toto's. What an engine would fetch from elsewhere has a stand-in, and so has cargo: it would compile this tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::checkers;
use crate::ci::{files, fork, is_complete};
use crate::harness::{Run, Tree, command, copy, write_program};
use crate::recorder::{self, Trace, traces};

/// Actions that a workflow uses, and what stands in for each. `STORE` is the folder that all of them share.
const ACTIONS: [(&str, &str, &str); 7] = [
    (
        "actions/cache@55cc8345863c7cc4c66a329aec7e433d2d1c52a9",
        "",
        "name: cache
inputs: { path: { required: true }, key: { required: true }, restore-keys: { required: false } }
outputs: { cache-hit: { value: '${{ steps.restore.outputs.cache-hit }}' } }
runs:
  using: composite
  steps:
    - id: restore
      shell: sh
      env: { P: '${{ inputs.path }}', K: '${{ inputs.key }}' }
      run: |
        # A cache of Go that fits: that of these tests.
        if [ \"$P\" = go-cache ]; then ln -s \"$TEST_GOCACHE\" go-cache; fi
        if [ -e \"$STORE/cache/$K\" ]; then cp -R \"$STORE/cache/$K\" \"$P\"; echo cache-hit=true >>\"$GITHUB_OUTPUT\"; fi
",
    ),
    (
        "actions/cache@55cc8345863c7cc4c66a329aec7e433d2d1c52a9",
        "restore",
        "name: restore
inputs: { path: { required: true }, key: { required: true }, restore-keys: { required: false } }
runs:
  using: composite
  steps:
    - shell: sh
      env: { P: '${{ inputs.path }}', K: '${{ inputs.restore-keys }}' }
      run: |
        for found in \"$STORE/cache/$K\"*; do [ ! -e \"$found\" ] || cp \"$found\" \"$P\"; done
",
    ),
    (
        "actions/cache@55cc8345863c7cc4c66a329aec7e433d2d1c52a9",
        "save",
        "name: save
inputs: { path: { required: true }, key: { required: true } }
runs:
  using: composite
  steps:
    - shell: sh
      env: { P: '${{ inputs.path }}', K: '${{ inputs.key }}' }
      run: mkdir -p \"$STORE/cache\" && cp -R \"$P\" \"$STORE/cache/$K\"
",
    ),
    (
        "actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02",
        "",
        "name: upload
inputs: { name: { required: true }, path: { required: true }, if-no-files-found: { required: false }, retention-days: { required: false } }
runs:
  using: composite
  steps:
    - shell: sh
      env: { P: '${{ inputs.path }}', N: '${{ inputs.name }}' }
      run: |
        mkdir -p \"$STORE/artifacts/$N\"
        for one in $P; do
          if [ -d \"$one\" ]; then cp -R \"$one/.\" \"$STORE/artifacts/$N\"; else cp --parents \"$one\" \"$STORE/artifacts/$N\"; fi
        done
",
    ),
    (
        "actions/download-artifact@d3f86a106a0bac45b974a628896c90dbdf5c8093",
        "",
        "name: download
inputs: { name: { required: true }, path: { required: true } }
runs:
  using: composite
  steps:
    - shell: sh
      env: { P: '${{ inputs.path }}', N: '${{ inputs.name }}' }
      # As the real one does it: nothing is executable any more.
      run: mkdir -p \"$P\" && cp -R \"$STORE/artifacts/$N/.\" \"$P\" && find \"$P\" -type f -exec chmod a-x {} +
",
    ),
    (
        "actions/setup-go@d35c59abb061a4a6fb18e82ac0862c26744d6ab5",
        "",
        "name: go
inputs: { go-version: { required: true }, cache: { required: false } }
runs: { using: composite, steps: [{ shell: sh, run: go version }] }
",
    ),
    (
        "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6",
        "",
        "name: attest
inputs: { subject-checksums: { required: true } }
runs:
  using: composite
  steps:
    - shell: sh
      env: { C: '${{ inputs.subject-checksums }}' }
      run: cd \"$(dirname \"$C\")\" && sha256sum --check \"$(basename \"$C\")\" >>\"$STORE/attested\"
",
    ),
];

/// A fork, and a place where an engine runs with a cargo that hands out this tool and counts how often.
struct Place {
    fork: Tree,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { fork: fork(), folder: tempfile::Builder::new().prefix("rr-patch-ci").tempdir().unwrap() };
        for name in ["bin", "home", "store", "repository"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        let cargo = place.path("bin/cargo");
        let tool = env!("CARGO_BIN_EXE_rr-patch");
        let root = "while [ \"$1\" != --root ]; do shift; done; mkdir -p \"$2/bin\"";
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>'{}'\n{root}; cp '{tool}' \"$2/bin/rr-patch\"\n",
            place.path("compiled").display()
        );
        write_program(&cargo, script);
        assert!(command("chmod").arg("+x").arg(&cargo).status().unwrap().success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the engine is told: two platforms of all branches of the fork.
    fn making<'a>(&'a self, engine: &'a str) -> Vec<&'a str> {
        let remote = self.fork.root().to_str().unwrap();
        vec![engine, "--remote", remote, "--platform", "aws,azure", "--tool", "https://example.com/o/rr-patch"]
    }

    /// A program with the stand-ins first in its PATH, in the repository of the pipeline.
    fn engine(&self, program: &Path) -> Command {
        let mut engine = command(program.to_str().unwrap());
        let path = std::env::var("PATH").unwrap();
        engine.current_dir(self.path("repository")).env("PATH", format!("{}:{path}", self.path("bin").display()));
        engine.env("HOME", self.path("home")).env("STORE", self.path("store"));
        let cache =
            engine.get_envs().find(|(name, _)| *name == "GOCACHE").and_then(|(_, value)| value).unwrap().to_owned();
        engine.env("TEST_GOCACHE", cache);
        engine
    }

    /// The options of act that have stand-ins taken for actions, which it would fetch.
    fn actions(&self) -> Vec<String> {
        let mut options = Vec::new();
        for (action, below, text) in ACTIONS {
            let name = action.split('@').next().unwrap();
            let folder = self.path("actions").join(name);
            fs::create_dir_all(folder.join(below)).unwrap();
            fs::write(folder.join(below).join("action.yml"), text).unwrap();
            if below.is_empty() {
                options.push(format!("--local-repository={action}={}", folder.display()));
            }
        }
        options
    }

    /// Makes a repository of what is in its folder.
    fn commit(&self) {
        for arguments in [
            &["init", "--quiet"][..],
            &["add", "--all"],
            &["commit", "--quiet", "--message", "pipeline"],
            &["remote", "add", "origin", "https://example.com/o/pipelines.git"],
        ] {
            let mut git = command("git");
            Run::of(git.current_dir(self.path("repository")).args(arguments).output().unwrap()).exits(0);
        }
    }

    /// How often the tool was compiled.
    fn compiled(&self) -> usize {
        fs::read_to_string(self.path("compiled")).map_or(0, |text| text.lines().count())
    }

    /// The rows that there are to build: branch and name.
    fn rows(&self) -> Vec<(String, String)> {
        let matrix =
            self.fork.rr_patch(&["ci", "matrix", "--platform", "aws,azure", "--format", "json"]).exits(0).json();
        let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
        matrix["rows"].as_array().unwrap().iter().map(|row| (text(row, "ref"), text(row, "name"))).collect()
    }

    /// Asserts that there are artefacts of each row, whose provenance in-toto's own code takes, and that the hostile name
    /// was no command anywhere.
    #[track_caller]
    fn has_all(&self, folder: impl Fn(&str) -> PathBuf) {
        let rows = self.rows();
        assert_eq!(rows.len(), 4);
        for (reference, name) in &rows {
            let folder = folder(name);
            is_complete(&folder, reference);
            if let Some(checker) = checkers::checker("intoto") {
                let mut checker = command(checker.to_str().unwrap());
                let statement = folder.join("openshift-install.rr-patch.json");
                Run::of(checker.arg(statement).output().unwrap()).exits(0).prints(&["valid: "]);
            }
        }
        let mut find = command("find");
        let found = find.arg(self.folder.path()).arg(self.fork.root()).args([
            "-name",
            "*pwned*",
            "-not",
            "-path",
            "*/x--touch*",
        ]);
        let found = Run::of(found.args(["-not", "-path", "*/refs/*", "-not", "-path", "*/logs/*"]).output().unwrap())
            .exits(0)
            .stdout;
        let of_rows = |line: &&str| !rows.iter().any(|(_, name)| line.contains(name.as_str()));
        assert_eq!(found.lines().filter(of_rows).collect::<Vec<_>>(), <[&str; 0]>::default());
        assert_eq!(self.compiled(), 1, "the tool is compiled once");
    }
}

/// Asserts that an installer starts its controller under the recorder's stand-in, and that the trace is complete.
#[track_caller]
fn records(installer: &Path, platform: &str, names: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("install");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("metadata.json"), format!("{{\"platform\":\"{platform}\"}}")).unwrap();
    let mut install = command(installer.to_str().unwrap());
    let path = std::env::var("PATH").unwrap();
    install.args(["create", "cluster", "--dir", place.to_str().unwrap()]);
    install
        .env("PATH", format!("{}:{path}", recorder::folder().display()))
        .env("_RR_TRACE_DIR", folder.path().join("traces"));
    Run::of(install.output().unwrap()).exits(0);
    let expected: Vec<_> = names.iter().map(|name| ((*name).to_owned(), Trace::Complete)).collect();
    assert_eq!(traces(&folder.path().join("traces")), expected);
}

#[test]
fn workflows_and_the_action_are_as_actionlint_wants_them() {
    let Some(actionlint) = checkers::actionlint() else { return };
    let tree = Tree::bare("installer");
    let making = ["github", "--remote", "/x/y", "--tool", "/t"];
    for (number, arguments) in
        [&making[..], &[&making[..], &["--attest"]].concat(), &["github", "--reusable"]].iter().enumerate()
    {
        for (_, text) in files(&tree, arguments) {
            let file = tree.beside(&format!("{number}.yml"));
            fs::write(&file, text).unwrap();
            Run::of(command(actionlint.to_str().unwrap()).arg("-no-color").arg(&file).output().unwrap()).exits(0);
        }
    }
}

#[test]
fn workflows_of_the_repository_are_as_actionlint_wants_them_and_pin_what_they_use() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let mut uses = 0;
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap();
        for action in text.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("uses: ")) {
            uses += 1;
            let pin = action.split('@').nth(1).unwrap_or_default().split(' ').next().unwrap();
            let pinned = pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(pinned && action.contains(" # v"), "{}: {action}", file.display());
        }
        let Some(actionlint) = checkers::actionlint() else { return };
        Run::of(command(actionlint.to_str().unwrap()).arg("-no-color").arg(&file).output().unwrap()).exits(0);
    }
    assert!(uses > 8, "{uses}");
}

#[test]
fn github_workflow_builds_every_branch_that_fits_under_act_and_only_what_is_new_the_next_time() {
    let Some(act) = checkers::act() else { return };
    let place = Place::new();
    fs::create_dir_all(place.path("repository/.github/workflows")).unwrap();
    for (name, text) in files(&place.fork, &place.making("github")) {
        fs::write(place.path("repository/.github/workflows").join(name), text).unwrap();
    }
    place.commit();
    let options = place.actions();
    let run = || {
        let mut act = place.engine(&act);
        act.args(["workflow_dispatch", "-P", "ubuntu-latest=-self-hosted", "--container-daemon-socket", "-"]);
        for name in ["STORE", "TEST_GOCACHE"] {
            let value = act.get_envs().find(|(known, _)| *known == name).unwrap().1.unwrap().to_owned();
            act.arg("--env").arg(format!("{name}={}", value.to_str().unwrap()));
        }
        Run::of(act.args(&options).output().unwrap())
    };
    let first = run().exits(0);
    // act shows an annotation as the runner would take it.
    assert!(first.stdout.contains("broken is not built"), "{}", first.stdout);
    let artifacts = |name: &str| place.path("store/artifacts").join(name);
    place.has_all(artifacts);
    for (_, name) in place.rows() {
        let (platform, names) = match name.contains("-aws-") {
            true => ("aws", &["cluster-api-provider-aws-0"][..]),
            false => ("azure", &["cluster-api-provider-azure-0", "cluster-api-provider-azureaso-0"][..]),
        };
        records(&artifacts(&name).join("openshift-install"), platform, names);
    }
    // Nothing is new: nothing is built. Then one branch is.
    fs::remove_dir_all(place.path("store/artifacts")).unwrap();
    let second = run().exits(0);
    assert!(!second.stdout.contains("ci build"), "{}", second.stdout);
    place.fork.write("README.md", "changed\n");
    place.fork.commit("a commit on main");
    run().exits(0);
    let mut names: Vec<_> =
        fs::read_dir(place.path("store/artifacts")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let of_main = place.rows().into_iter().filter(|(of, _)| of == "main");
    let mut expected: Vec<std::ffi::OsString> = of_main.map(|(_, name)| name.into()).collect();
    expected.push("rr-patch".into());
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn release_workflow_under_act_publishes_for_a_tag_of_the_version_what_was_packaged_tried_and_attested() {
    let Some(act) = checkers::act() else { return };
    let place = Place::new();
    let repository = place.path("repository");
    for folder in [".github/workflows", "scripts"] {
        fs::create_dir_all(repository.join(folder)).unwrap();
    }
    for file in ["Cargo.toml", ".github/workflows/release.yml"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), repository.join(file)).unwrap();
    }
    // What compiles, installs or publishes says that it was called.
    let stand_in = |path: PathBuf, more: &str| {
        let script = format!("#!/bin/sh\necho \"${{0##*/}} $*\" >>\"$STORE/called\"\n{more}\n");
        write_program(&path, script);
        assert!(command("chmod").arg("+x").arg(&path).status().unwrap().success());
    };
    let dist =
        "mkdir -p target/dist && cd target/dist && echo deb >x.deb && echo rpm >x.rpm && sha256sum -- * >../SUMS";
    stand_in(repository.join("scripts/package"), &format!("{dist} && mv ../SUMS SHA256SUMS"));
    stand_in(repository.join("scripts/try-deb"), "");
    stand_in(place.path("bin/sudo"), "exec \"$@\"");
    for program in ["apt-get", "cargo", "gh"] {
        stand_in(place.path("bin").join(program), "");
    }
    place.commit();
    let options = place.actions();
    let store = place.path("store");
    // What was called for an event and a reference, and the exit code.
    let run = |event: &str, reference: &str| {
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(&store).unwrap();
        let file = place.path("event.json");
        fs::write(&file, format!("{{\"ref\": \"{reference}\"}}")).unwrap();
        let mut act = place.engine(&act);
        act.args([event, "-P", "ubuntu-latest=-self-hosted", "--container-daemon-socket", "-", "--eventpath"]);
        act.arg(file).arg("--env").arg(format!("STORE={}", store.display())).args(&options);
        let run = Run::of(act.output().unwrap());
        let called = fs::read_to_string(store.join("called")).unwrap_or_default();
        // act itself asks gh for a token.
        let aside = |line: &&str| ["sudo", "apt-get", "cargo", "gh auth"].iter().any(|name| line.starts_with(name));
        let called: Vec<String> = called.lines().filter(|line| !aside(line)).map(str::to_owned).collect();
        (called, run)
    };
    let version = env!("CARGO_PKG_VERSION");
    let (called, tagged) = run("push", &format!("refs/tags/v{version}"));
    let tagged = tagged.exits(0);
    assert_eq!(called[..2], ["package ", "try-deb target/dist/x.deb"], "{}", tagged.stdout);
    assert!(tagged.stdout.contains("Cargo.toml names no repository"), "{}", tagged.stdout);
    let release = format!("gh release create v{version} --repo ");
    assert!(called[2].starts_with(&release) && called[2].ends_with(" -- SHA256SUMS x.deb x.rpm"), "{called:?}");
    assert_eq!(fs::read_to_string(store.join("attested")).unwrap(), "x.deb: OK\nx.rpm: OK\n");

    let (called, other) = run("push", "refs/tags/v9.9.9");
    assert_eq!((called, other.exits(1).code), (Vec::new(), 1), "a tag of another version is packaged");
    let (called, by_hand) = run("workflow_dispatch", "refs/heads/main");
    by_hand.exits(0);
    assert_eq!(called, ["package ", "try-deb target/dist/x.deb"], "without a tag nothing is published");
}

#[test]
fn the_action_builds_the_checkout_of_a_job_under_act_whatever_its_branch_is_called() {
    let Some(act) = checkers::act() else { return };
    let place = Place::new();
    let repository = place.path("repository");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/installer"), &repository);
    let write = |name: &str, text: &str| {
        fs::create_dir_all(repository.join(name).parent().unwrap()).unwrap();
        fs::write(repository.join(name), text).unwrap();
    };
    write(
        "the-action/action.yml",
        &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("action.yml")).unwrap(),
    );
    let workflow = "on: workflow_dispatch
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      # act has its own for this one.
      - uses: actions/checkout@v4
      - id: action
        uses: ./the-action
        with: { platform: aws, branch: 'x$(touch${IFS}pwned);y', output: 'out put' }
      - env: { INSTALLER: '${{ steps.action.outputs.installer }}' }
        run: cp -R \"$(dirname \"$INSTALLER\")\" \"$STORE/built\"
";
    write(".github/workflows/x.yml", workflow);
    place.commit();
    let mut act = place.engine(&act);
    act.args(["workflow_dispatch", "-P", "ubuntu-latest=-self-hosted", "--container-daemon-socket", "-"]);
    let run = Run::of(act.arg("--env").arg(format!("STORE={}", place.path("store").display())).output().unwrap());
    run.exits(0);
    let built = place.path("store/built");
    let mut inspect = command(env!("CARGO_BIN_EXE_rr-patch"));
    let said = Run::of(inspect.arg("inspect").arg(built.join("openshift-install")).output().unwrap()).exits(0);
    said.prints(&["is a recording installer", "overlaid:", "branch:    x$(touch${IFS}pwned);y"]);
    assert!(built.join("openshift-install.timings.html").is_file());
}

#[test]
fn gitlab_pipeline_builds_every_branch_that_fits_under_gitlab_ci_local() {
    let Some(program) = checkers::gitlab_ci_local() else { return };
    let place = Place::new();
    for (name, text) in files(&place.fork, &place.making("gitlab")) {
        fs::write(place.path("repository").join(name), text).unwrap();
    }
    place.commit();
    let mut engine = place.engine(Path::new("node"));
    engine.arg(program).args(["--force-shell-executor", "--variable", "CI_PIPELINE_SOURCE=web"]);
    let cache = engine.get_envs().find(|(name, _)| *name == "TEST_GOCACHE").unwrap().1.unwrap().to_owned();
    let run = Run::of(engine.arg("--variable").arg(format!("GOCACHE={}", cache.to_str().unwrap())).output().unwrap());
    let run = run.exits(0).prints(&["broken"]);
    assert!(!run.stdout.contains("FAIL"), "{}", run.stdout);
    place.has_all(|name| place.path("repository/.gitlab-ci-local/artifacts").join(name).join("artefacts").join(name));
    assert!(place.path("repository/built.json").is_file(), "a job remembers what was built");
}

/// The documents of a YAML file, by the code of the engine's authors.
fn documents(place: &Place, text: &str) -> Option<Vec<Value>> {
    let checker = checkers::checker("yaml")?;
    let file = place.path("documents.yaml");
    fs::write(&file, text).unwrap();
    let run = Run::of(command(checker.to_str().unwrap()).arg(file).output().unwrap()).exits(0);
    Some(serde_json::from_str(&run.stdout).unwrap())
}

/// Runs a script as a container would: with `sh`, and with the values of its environment, which alone are replaced.
#[track_caller]
fn run_step(place: &Place, folder: &Path, script: &str, environment: &[&Value], values: &[(&str, &str)]) {
    assert!(
        !script.contains("$(params") && !script.contains("$(tasks") && !script.contains("$(workspaces"),
        "{script}"
    );
    let mut shell = place.engine(Path::new("sh"));
    shell.current_dir(folder).args(["-c", script]);
    for variable in environment.iter().flat_map(|list| list.as_array().into_iter().flatten()) {
        let value = variable["value"].as_str().unwrap();
        let value =
            values.iter().fold(value.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value));
        assert!(!value.contains("$("), "{value}");
        shell.env(variable["name"].as_str().unwrap(), value);
    }
    Run::of(shell.output().unwrap()).exits(0);
}

#[test]
fn tekton_pipeline_is_valid_by_its_own_types_and_its_steps_build_every_branch_that_fits() {
    let Some(checker) = checkers::checker("tekton") else { return };
    let place = Place::new();
    let text = files(&place.fork, &place.making("tekton")).remove(0).1;
    let shared = place.path("shared");
    fs::create_dir(&shared).unwrap();
    let Some(documents) = documents(&place, &text) else { return };
    let run = Run::of(command(checker.to_str().unwrap()).arg(place.path("documents.yaml")).output().unwrap()).exits(0);
    let valid = "Task rr-patch-plan\nTask rr-patch-build\nTask rr-patch-remember\nPipeline rr-patch\n";
    assert_eq!(run.stdout, valid);

    let named = |name: &str| documents.iter().find(|one| one["metadata"]["name"] == name).unwrap();
    let rows = place.path("rows");
    let mut values: Vec<(String, String)> = Vec::new();
    for param in named("rr-patch")["spec"]["params"].as_array().unwrap() {
        let name = format!("params.{}", param["name"].as_str().unwrap());
        values.push((name, param["default"].as_str().unwrap().to_owned()));
    }
    values.push(("workspaces.shared.path".into(), shared.to_str().unwrap().into()));
    values.push(("results.rows.path".into(), rows.to_str().unwrap().into()));
    let steps = |task: &str, more: &[(&str, &str)]| {
        let task = &named(task)["spec"];
        let values: Vec<(&str, &str)> =
            values.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(more.iter().copied()).collect();
        for step in task["steps"].as_array().unwrap() {
            let environment = [&task["stepTemplate"]["env"], &step["env"]];
            run_step(&place, &shared, step["script"].as_str().unwrap(), &environment, &values);
        }
    };
    steps("rr-patch-plan", &[]);
    let ids: Vec<String> = serde_json::from_slice(&fs::read(&rows).unwrap()).unwrap();
    assert_eq!(ids, ["0", "1", "2", "3"]);
    // Go's cache in the workspace is warm.
    let cache = place
        .engine(Path::new("sh"))
        .get_envs()
        .find(|(name, _)| *name == "TEST_GOCACHE")
        .unwrap()
        .1
        .unwrap()
        .to_owned();
    std::os::unix::fs::symlink(cache, shared.join("go-cache")).unwrap();
    for id in &ids {
        steps("rr-patch-build", &[("params.id", id)]);
    }
    place.has_all(|name| shared.join("artefacts").join(name));
    steps("rr-patch-remember", &[("params.built", "Succeeded"), ("params.days", "14")]);
    assert!(shared.join("built.json").is_file());
    steps("rr-patch-plan", &[]);
    assert_eq!(fs::read_to_string(&rows).unwrap(), "[]");
    assert_eq!(place.compiled(), 1, "a later run finds the tool");
}

#[test]
fn prow_configurations_have_the_structure_of_ci_operator_s_and_their_steps_build_and_collect() {
    let place = Place::new();
    let matrix = place.path("matrix.json");
    fs::write(
        &matrix,
        place.fork.rr_patch(&["ci", "matrix", "--platform", "aws,azure", "--format", "json"]).exits(0).stdout,
    )
    .unwrap();
    let artefacts = place.path("artefacts");
    let all = files(&place.fork, &[&place.making("prow")[..], &["--matrix", matrix.to_str().unwrap()]].concat());
    assert_eq!(all.len(), 2);
    for (_, text) in all {
        let Some(documents) = documents(&place, &text) else { return };
        let [configuration] = documents.as_slice() else { panic!("{text}") };
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(configuration), ["build_root", "images", "resources", "tests", "zz_generated_metadata"]);
        // Images are items of a list since 2026; a list alone is refused.
        assert_eq!(keys(&configuration["images"]), ["items"]);
        let image = &configuration["images"]["items"][0];
        assert_eq!(keys(image), ["dockerfile_literal", "optional", "to"]);
        assert_eq!(keys(&configuration["zz_generated_metadata"]), ["branch", "org", "repo", "variant"]);
        let test = &configuration["tests"][0];
        assert_eq!(keys(test), ["as", "cron", "steps"]);
        let step = &test["steps"]["test"][0];
        assert_eq!(keys(step), ["as", "commands", "from", "grace_period", "resources", "timeout"]);
        assert_eq!(step["from"], image["to"]);
        assert_ne!(test["as"], image["to"], "images and tests share their names");

        // The build of the image, in the sources of the branch.
        let branch = configuration["zz_generated_metadata"]["branch"].as_str().unwrap();
        place.fork.git(&["checkout", "--quiet", branch, "--"]);
        let mut environment: Vec<(&str, &str)> = Vec::new();
        for line in image["dockerfile_literal"].as_str().unwrap().lines() {
            if let Some((name, value)) = line.strip_prefix("ENV ").and_then(|rest| rest.split_once('=')) {
                // ENV takes what is in single quotes as it is.
                let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap();
                assert!(!value.contains('\''), "{line}");
                environment.push((name, value));
            }
            let here = |script: &str| {
                script
                    .replace("/artefacts", artefacts.to_str().unwrap())
                    .replace("/tool", place.path("tool").to_str().unwrap())
            };
            if let Some(script) = line.strip_prefix("RUN ").filter(|script| !script.starts_with("apt-get")) {
                let mut shell = place.engine(Path::new("sh"));
                let path = shell.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
                let path = format!("{}:{}", place.path("tool/bin").display(), path.to_str().unwrap());
                shell.current_dir(place.fork.root()).env("PATH", path).envs(environment.iter().copied());
                Run::of(shell.args(["-c", &here(script)]).output().unwrap()).exits(0);
            }
        }
        assert_eq!(place.fork.git(&["status", "--porcelain"]), "");
        let uploaded = place.path("uploaded");
        let _ = fs::remove_dir_all(&uploaded);
        fs::create_dir(&uploaded).unwrap();
        let script = step["commands"].as_str().unwrap().replace("/artefacts", artefacts.to_str().unwrap());
        let mut shell = place.engine(Path::new("sh"));
        Run::of(shell.env("ARTIFACT_DIR", &uploaded).args(["-c", &script]).output().unwrap()).exits(0);
    }
    // Each configuration has a stage that compiles the tool.
    fs::write(place.path("compiled"), "once\n").unwrap();
    place.has_all(|name| artefacts.join(name));
}

#[test]
fn a_cache_program_that_runners_share_spares_the_second_one_all_that_the_first_compiled() {
    let Some(program) = checkers::cache_program() else { return };
    let tree = Tree::new("installer");
    let place = tempfile::tempdir().unwrap();
    let shared = place.path().join("shared");
    let with = format!("{} --cache-dir {}", program.display(), shared.display());
    let build = |runner: &str| {
        let mut tool = tree.tool();
        tool.args(["build", "--overlay", "--clean", "--platform", "aws", "--link", "static", "--skip-envtest"]);
        tool.env("GOCACHE", place.path().join(runner)).env("GOCACHEPROG", &with);
        Run::of(tool.output().unwrap()).exits(0);
        let mut count = command("find");
        Run::of(count.arg(&shared).args(["-type", "f"]).output().unwrap()).exits(0).stdout.lines().count()
    };
    let first = build("first");
    assert!(first > 500, "{first}");
    // Its own cache is empty. What is new is the main package of each program, whose build id names the version.
    let second = build("second");
    assert!(second - first <= 20, "{first} and {second} files");
}
