//! `rr-patch inspect`, and the reading of programs below it: what Go built with which flags, what an
//! installer embeds, and everything that is no such thing. `witness.go` reads the same by Go's own packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rr_patch::binary::{self, Facts, Installer, Scanned};
use rr_patch::patch::rules::Options;
use rr_patch::provenance::{Artefact, Built, Statement, path_of};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::end_to_end::patched;
use crate::harness::{Run, Tree, command, skip};
use snapbox::str;

const INSTALLER: &str = "bin/openshift-install";
const ZIP: &str = "pkg/clusterapi/mirror/cluster-api.zip";
const DEBUG: [&str; 2] = ["-gcflags", "all=-N -l"];
const RELEASE: [&str; 2] = ["-ldflags", "-s -w"];

/// A folder of small Go programs.
struct Programs(TempDir);

impl Programs {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rr-patch-test").tempdir().unwrap();
        fs::write(folder.path().join("go.mod"), "module example.com/small/cluster-api-small\n\ngo 1.24\n").unwrap();
        let main = "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tfmt.Println(\"hello\")\n}\n";
        fs::write(folder.path().join("main.go"), main).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Builds the program under that name.
    #[track_caller]
    fn build(&self, name: &str, flags: &[&str], cgo: bool) -> PathBuf {
        let mut go = command("go");
        go.current_dir(self.0.path()).env("GOPROXY", "off").env("CGO_ENABLED", if cgo { "1" } else { "0" });
        Run::of(go.arg("build").args(flags).args(["-o", name, "."]).output().unwrap()).exits(0);
        self.path(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

fn embedded(installer: &Path) -> anyhow::Result<Vec<(String, Facts)>> {
    Scanned::open(installer)?.controllers()
}

#[test]
fn inspect_without_a_file_opens_what_the_checkout_built() {
    let built = &patched().root;
    let inspect = |folder: &Path, arguments: &[&str]| {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        Run::of(tool.current_dir(folder).arg("inspect").args(arguments).output().unwrap())
    };
    let named = inspect(built, &[built.join(INSTALLER).to_str().unwrap()]);
    let found = inspect(&built.join("pkg"), &[]);
    assert_eq!((found.code, found.stdout), (named.code, named.stdout.clone()));
    let found = inspect(Path::new("/"), &[built.to_str().unwrap()]);
    assert_eq!((found.code, found.stdout), (named.code, named.stdout));
    let run = Tree::new("installer").rr_patch(&["inspect"]).refuses();
    run.says_exactly(str![[r#"
error: `[FOLDER]/installer/bin/openshift-install` is not built
hint: `rr-patch build` makes it; `rr-patch inspect FILE` opens one from elsewhere
nothing was written
"#]]);
}

fn inspect(path: &Path) -> Run {
    Run::of(command(env!("CARGO_BIN_EXE_rr-patch")).arg("inspect").arg(path).output().unwrap())
}

fn inspect_json(path: &Path) -> (i32, Value) {
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    let run = Run::of(tool.args(["inspect", "--format", "json"]).arg(path).output().unwrap());
    let document = run.json();
    assert_eq!(document["schema"], "rr-patch/inspect/1");
    (run.code, document)
}

/// What Go's own packages read in a program, or in each file of a zip.
#[track_caller]
fn witness(path: &Path) -> Vec<Value> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/witness.go");
    let run = Run::of(command("go").arg("run").arg(source).arg(path).output().unwrap()).exits(0);
    // No document of ours, so without a schema.
    serde_json::from_str(&run.stdout).unwrap()
}

/// Asserts that the facts are what the witness says.
#[track_caller]
fn agree(name: &str, facts: &Value, witness: &Value) {
    assert_eq!(facts["size"], witness["size"], "{name}");
    assert_eq!(facts["sha256"], witness["sha256"], "{name}");
    assert_eq!(facts["go"], witness["go"], "{name}");
    assert_eq!(facts["package"], witness["package"], "{name}");
    assert_eq!(facts["dwarf"], witness["dwarf"], "{name}");
    assert_eq!(facts["stripped"] == false, witness["symbols"] == true, "{name}");
    assert_eq!(facts["dynamic"], witness["dynamic"], "{name}");
    if witness["dwarf"] == true {
        assert_eq!(facts["optimised"] == false, witness["unoptimised"] == true, "{name}");
        let all_here = facts["sources"]["named"] == facts["sources"]["here"];
        assert_eq!(all_here, witness["sources"] == true, "{name}: {}", facts["sources"]);
    }
}

#[track_caller]
fn agrees_with_the_witness(path: &Path) -> Facts {
    let facts = Facts::read(path).unwrap();
    agree(&path.display().to_string(), &json!(facts), &witness(path)[0]);
    assert_eq!(Facts::of(&fs::read(path).unwrap()).unwrap(), facts, "in memory as on disk");
    facts
}

/// The patched fixture's installer with these zips in its mirror, built without the controllers.
fn installer_with(tree: &Tree, zips: &[(&str, &[u8])]) -> PathBuf {
    for (name, bytes) in zips {
        tree.write(&format!("pkg/clusterapi/mirror/{name}"), bytes);
    }
    let arguments = [&["build", "-mod=vendor", "-o", INSTALLER], &DEBUG[..], &["./cmd/openshift-install"]].concat();
    tree.go(&arguments, &[("CGO_ENABLED", "0")]).exits(0);
    tree.path(INSTALLER)
}

/// A zip that `zip` makes of files under these names.
fn zipped(files: &[(&str, &[u8])], options: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let names = files.iter().map(|(name, _)| *name);
    let mut zip = command("zip");
    zip.current_dir(folder.path()).args([options, "made.zip"]).args(names);
    Run::of(zip.output().unwrap()).exits(0);
    fs::read(folder.path().join("made.zip")).unwrap()
}

fn names(installer: &Installer) -> Vec<&str> {
    installer.entries.iter().map(|entry| entry.name.as_str()).collect()
}

/// Where a patched tree's own build went, as a statement beside the installer.
fn state(installer: &Path) -> PathBuf {
    let read = Installer::read(installer).unwrap();
    let environment = BTreeMap::from([("MODE".to_owned(), "dev".to_owned())]);
    let built = Built {
        base: Some("0123456789abcdef0123456789abcdef01234567".into()),
        remote: Some("https://someone:secret@example.com/o/installer".into()),
        patched_commit: None,
        branch: None,
        patch: Some(binary::hash(b"a patch set")),
        rules: None,
        chaos: None,
        overlay: None,
        options: json!(Options { bind_to_cpu: None, ..Options::default() }),
        platforms: &["aws".to_owned()],
        arguments: &[],
        environment: &environment,
        tool: "1.2.3",
        go: Some("go1.26.8".into()),
        artefacts: Artefact::all(installer, &read),
        phases: vec![],
        byproducts: vec![],
        started: SystemTime::UNIX_EPOCH,
        finished: SystemTime::now(),
    };
    let path = path_of(installer);
    Statement::new(&built).write(&path).unwrap();
    path
}

#[test]
fn inspect_says_of_a_built_installer_what_go_says_of_it_and_of_each_controller() {
    let tree = Tree::patched("installer");
    tree.run("./hack/build.sh", &[], &[("MODE", "dev"), ("TAGS", "release")]).exits(0);
    let commit = tree.git(&["rev-parse", "HEAD"]);
    let run = inspect(&tree.path(INSTALLER)).exits(0).prints(&[&format!("  commit:    {commit}")]);
    run.prints_exactly(str![[r#"
`[FOLDER]/installer/bin/openshift-install` is a recording installer, and Delve can debug it and its 4 controllers
  module:    github.com/openshift/installer ([..])
  version:   [..]
  commit:    [..]
  built:     by whom, nothing says: `openshift-install.rr-patch.json` is not beside it

program [..]
openshift-install [..]
cluster-api [..]
cluster-api-provider-aws [..]
cluster-api-provider-azure [..]
cluster-api-provider-azureaso [..]
etcd (not built here) [..]
"#]]);

    let (code, said) = inspect_json(&tree.path(INSTALLER));
    assert_eq!((code, &said["recording"], &said["in_order"]), (0, &json!(true), &json!(true)), "{said:#}");
    let programs = said["programs"].as_array().unwrap();
    let witnesses = [witness(&tree.path(INSTALLER)), witness(&tree.path(ZIP))].concat();
    assert_eq!(programs.len(), 6);
    assert_eq!(witnesses.len(), 6);
    for (program, witness) in programs.iter().zip(&witnesses) {
        let name = program["name"].as_str().unwrap();
        assert!(witness["name"].as_str().unwrap().ends_with(name), "{name}");
        match name {
            "etcd" => assert_eq!((&program["facts"], &program["built"]), (&Value::Null, &json!(false))),
            _ => agree(name, &program["facts"], witness),
        }
    }
    let embedded = embedded(&tree.path(INSTALLER)).unwrap();
    assert_eq!(embedded.len(), 4);
    assert!(embedded.iter().all(|(name, facts)| name.starts_with("cluster-api") && facts.dwarf));
    assert!(Scanned::open(&tree.path(INSTALLER)).unwrap().patch().whole());
}

#[test]
fn inspect_finds_the_stripped_controllers_that_a_release_build_left_in_a_debug_build() {
    let tree = Tree::patched("installer");
    for mode in ["release", "dev"] {
        tree.run("./hack/build.sh", &[], &[("MODE", mode), ("TAGS", "release")]).exits(0);
    }
    let run = inspect(&tree.path(INSTALLER)).exits(4);
    run.prints(&[
        "is a recording installer, but 8 things are not in order\n",
        "  cluster-api-provider-azureaso has no debug information: it was linked with `-s -w`, as a release is\n",
        "    `rr-patch build --clean` rebuilds it for debugging\n",
    ]);
    let (_, said) = inspect_json(&tree.path(INSTALLER));
    let findings = said["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["program"].as_str().unwrap().starts_with("cluster-api")), "{said:#}");

    // Stripped itself, it still says that it carries the patch.
    tree.run("./hack/build.sh", &[], &[("MODE", "release"), ("TAGS", "release")]).exits(0);
    assert!(Scanned::open(&tree.path(INSTALLER)).unwrap().patch().whole());
    let (_, said) = inspect_json(&tree.path(INSTALLER));
    assert_eq!((&said["recording"], &said["programs"][0]["facts"]["dwarf"]), (&json!(true), &json!(false)));
}

#[test]
fn inspect_says_that_an_installer_does_not_record_or_only_in_part() {
    let tree = Tree::new("installer");
    let run = inspect(&installer_with(&tree, &[])).exits(4);
    run.prints_exactly(str![[r#"
`[FOLDER]/installer/bin/openshift-install` is an installer that does not record; 2 things are not in order
  module:    github.com/openshift/installer ([..])
  version:   [..]
  commit:    [..]
  built:     by whom, nothing says: `openshift-install.rr-patch.json` is not beside it

program [..]
openshift-install [..]

not in order:
  openshift-install does not carry rr-patch's change: it starts its controllers without a recorder
    `rr-patch apply` patches a checkout, `rr-patch build` builds it
  openshift-install embeds no controllers: no zip in it names one
    `rr-patch build` builds and embeds them; a plain `go build` does not
"#]]);
    tree.rr_patch(&["apply"]).exits(0);
    tree.edit("pkg/clusterapi/system.go", "process.AwaitAll(&c.supervisor)", "");
    let run = inspect(&installer_with(&tree, &[])).exits(4);
    run.prints_exactly(str![[r#"
`[FOLDER]/installer/bin/openshift-install` is an installer that does not record; 2 things are not in order
  module:    github.com/openshift/installer ([..])
  version:   [..]
  commit:    [..]
  built:     by whom, nothing says: `openshift-install.rr-patch.json` is not beside it

program [..]
openshift-install [..]

not in order:
  openshift-install carries only a part of rr-patch's change: it lacks AwaitAll
    `rr-patch status` shows what was edited since apply; restore the changes and build again
  openshift-install embeds no controllers: no zip in it names one
    `rr-patch build` builds and embeds them; a plain `go build` does not
"#]]);
}

#[test]
fn facts_are_those_that_go_itself_reads_for_every_way_to_build() {
    let programs = Programs::new();
    let debug = agrees_with_the_witness(&programs.build("debug", &DEBUG, false));
    assert_eq!(debug.lacks(""), []);
    assert_eq!((debug.optimised, debug.dynamic, debug.stripped, debug.glibc), (Some(false), false, false, None));
    let id = Run::of(command("go").args(["tool", "buildid"]).arg(programs.path("debug")).output().unwrap()).stdout;
    assert_eq!(debug.build_id.as_deref(), Some(id.trim()));
    assert_eq!(debug.sources.main.as_deref(), programs.0.path().canonicalize().unwrap().to_str());

    let plain = agrees_with_the_witness(&programs.build("plain", &[], false));
    assert_eq!((plain.dwarf, plain.optimised), (true, Some(true)));
    assert!(plain.lacks("")[0].0.contains("without `-N -l`"), "{:?}", plain.lacks(""));

    let flags = [&DEBUG[..], &RELEASE].concat();
    let stripped = agrees_with_the_witness(&programs.build("stripped", &flags, false));
    assert_eq!((stripped.dwarf, stripped.stripped, stripped.optimised), (false, true, Some(false)));
    assert!(stripped.lacks("")[0].0.contains("linked with `-s -w`"), "{:?}", stripped.lacks(""));

    // The flags of the main package only: what it imports is optimised, and Delve says so of each frame.
    let half = Facts::read(&programs.build("half", &["-gcflags", "-N -l"], false)).unwrap();
    assert_eq!((half.units.go - half.units.optimised, half.optimised), (1, Some(true)));

    let flags = [&DEBUG[..], &["-trimpath"]].concat();
    let trimmed = Facts::read(&programs.build("trimmed", &flags, false)).unwrap();
    assert_eq!((trimmed.sources.named, trimmed.sources.relative > 0), (0, true), "{:?}", trimmed.sources);
    inspect(&programs.path("trimmed")).exits(0).prints_exactly(str![[r#"
`[FOLDER]/trimmed` is a controller that Delve can debug
  module:    example.com/small/cluster-api-small ([..])
  version:   (devel)

program [..]
trimmed [..]

note: trimmed: [..] sources are named without their folder, as -trimpath does: Delve needs `config substitute-path`
"#]]);

    let flags = [&DEBUG[..], &["-ldflags", "-compressdwarf=false"]].concat();
    let plain = agrees_with_the_witness(&programs.build("uncompressed", &flags, false));
    assert_eq!(plain.lacks(""), []);
}

#[test]
fn facts_tell_the_first_source_that_is_gone_and_that_is_no_fault() {
    let programs = Programs::new();
    let path = programs.build("debug", &DEBUG, false);
    fs::remove_file(programs.path("main.go")).unwrap();
    let facts = Facts::read(&path).unwrap();
    assert_eq!(facts.sources.named - facts.sources.here, 1);
    assert!(facts.sources.missing.unwrap().ends_with("/main.go"));
    inspect(&path).exits(0).prints_exactly(str![[r#"
`[FOLDER]/debug` is a controller that Delve can debug
  module:    example.com/small/cluster-api-small ([..])
  version:   (devel)

program [..]
debug [..]

note: debug: 1 of [..] sources are not on this host, the first is `[FOLDER]/main.go`: tell Delve where they are, `config substitute-path FROM TO`
"#]]);
}

#[test]
fn facts_of_a_program_built_with_cgo_name_its_loader_and_glibc() {
    let compiler = Run::of(command("go").args(["env", "CC"]).output().unwrap()).exits(0).stdout;
    if !command("sh").args(["-c", "command -v \"$0\"", compiler.trim()]).output().unwrap().status.success() {
        skip(&["cc"], &format!("there is no C compiler `{}`", compiler.trim()));
        return;
    }
    let programs = Programs::new();
    let main = "package main\n\nimport (\n\t\"fmt\"\n\t\"net\"\n)\n\nfunc main() {\n\tfmt.Println(net.LookupHost(\"localhost\"))\n}\n";
    programs.write("main.go", main.as_bytes());
    let facts = agrees_with_the_witness(&programs.build("dynamic", &DEBUG, true));
    assert!(facts.dynamic && facts.interpreter.is_some(), "{facts:?}");
    assert_eq!(facts.sources.relative, 0, "what cgo made up is no source");
    assert_eq!(facts.lacks(""), []);

    let read = command("readelf").arg("-V").arg(programs.path("dynamic")).output();
    let Ok(read) = read else {
        skip(&["readelf"], "there is no readelf: only the comparison with it");
        return;
    };
    let said = Run::of(read).exits(0).stdout;
    let versions = said.split("GLIBC_").skip(1).map(|rest| {
        let number = rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap();
        let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap());
        (parts.next().unwrap(), parts.next().unwrap())
    });
    assert_eq!(facts.glibc, versions.max());
    assert!(facts.glibc.is_some(), "{said}");

    assert!(!Facts::read(&programs.build("static", &DEBUG, false)).unwrap().dynamic);
}

#[test]
fn inspect_of_a_controller_by_itself_says_whether_delve_can_debug_it() {
    let programs = Programs::new();
    let run = inspect(&programs.build("cluster-api-small", &DEBUG, false)).exits(0);
    run.prints_exactly(str![[r#"
`[FOLDER]/cluster-api-small` is a controller that Delve can debug
  module:    example.com/small/cluster-api-small ([..])
  version:   (devel)

program [..]
cluster-api-small [..]
"#]]);
    let run = inspect(&programs.build("cluster-api-small", &RELEASE, false)).exits(4);
    run.prints_exactly(str![[r#"
`[FOLDER]/cluster-api-small` is a controller, and 2 things are not in order
  module:    example.com/small/cluster-api-small ([..])
  version:   (devel)

program [..]
cluster-api-small [..]

not in order:
  cluster-api-small has no debug information: it was linked with `-s -w`, as a release is
    `rr-patch build --clean` rebuilds it for debugging
  cluster-api-small was compiled without `-gcflags 'all=-N -l'`
    `rr-patch build --clean` rebuilds it for debugging
"#]]);
}

#[test]
fn inspect_of_a_program_that_go_did_not_build_says_so() {
    let run = inspect(Path::new(env!("CARGO_BIN_EXE_rr-patch"))).exits(4);
    run.prints(&["is neither an installer nor a controller", "rr-patch is not a Go program"]);
}

#[test]
fn inspect_refuses_what_is_no_program_and_says_what_it_found() {
    let programs = Programs::new();
    inspect(&programs.path("main.go")).refuses().says_exactly(str![[r#"
error: `[FOLDER]/main.go` is no ELF program
  expected: a program for Linux, which begins with `\x7fELF`
  found: it begins with `package main\n\nim`
nothing was written
"#]]);
    inspect(&programs.write("empty", b"")).refuses().says_exactly(str![[r#"
error: `[FOLDER]/empty` is no ELF program
  expected: a program for Linux, which begins with `\x7fELF`
  found: an empty file
nothing was written
"#]]);
    inspect(programs.0.path()).refuses().says_exactly(str![[r#"
error: `[FOLDER]` is not a regular file
hint: name an installer, a controller, or the file `….rr-patch.json` beside an installer
nothing was written
"#]]);
    inspect(&programs.path("nothing"))
        .exits(1)
        .says_exactly(str!["error: cannot open `[FOLDER]/nothing`: No such file or directory (os error 2)"]);
    let pipe = programs.path("pipe");
    assert!(command("mkfifo").arg(&pipe).status().unwrap().success());
    inspect(&pipe).refuses().says_exactly(str![[r#"
error: `[FOLDER]/pipe` is not a regular file
hint: name an installer, a controller, or the file `….rr-patch.json` beside an installer
nothing was written
"#]]);
    for (text, says) in [
        (
            "{",
            str![[r#"
error: `[FOLDER]/x.rr-patch.json` is not a statement of `rr-patch build`
  expected: an in-toto statement `https://in-toto.io/Statement/v1` with a predicate `https://slsa.dev/provenance/v1`
  found: EOF while parsing an object at line 1 column 1
hint: `rr-patch inspect INSTALLER` reads an installer that has no such file beside it
nothing was written
"#]],
        ),
        (
            "{}",
            str![[r#"
error: `[FOLDER]/x.rr-patch.json` is not a statement of `rr-patch build`
  expected: an in-toto statement `https://in-toto.io/Statement/v1` with a predicate `https://slsa.dev/provenance/v1`
  found: `_type` is null
hint: `rr-patch inspect INSTALLER` reads an installer that has no such file beside it
nothing was written
"#]],
        ),
        (
            r#"{"_type": "https://in-toto.io/Statement/v1", "predicateType": "x"}"#,
            str![[r#"
error: `[FOLDER]/x.rr-patch.json` is not a statement of `rr-patch build`
  expected: an in-toto statement `https://in-toto.io/Statement/v1` with a predicate `https://slsa.dev/provenance/v1`
  found: `predicateType` is "x"
hint: `rr-patch inspect INSTALLER` reads an installer that has no such file beside it
nothing was written
"#]],
        ),
        (
            "{\"\": \"\\ud800\"}",
            str![[r#"
error: `[FOLDER]/x.rr-patch.json` is not a statement of `rr-patch build`
  expected: an in-toto statement `https://in-toto.io/Statement/v1` with a predicate `https://slsa.dev/provenance/v1`
  found: unexpected end of hex escape at line 1 column 13
hint: `rr-patch inspect INSTALLER` reads an installer that has no such file beside it
nothing was written
"#]],
        ),
    ] {
        inspect(&programs.write("x.rr-patch.json", text.as_bytes())).refuses().says_exactly(says);
    }
}

#[test]
fn inspect_says_of_a_program_that_is_cut_off_that_it_is_wherever_it_ends() {
    let programs = Programs::new();
    let whole = fs::read(programs.build("whole", &DEBUG, false)).unwrap();
    for end in [4, 17, 63, 64, 400, 5000, whole.len() / 3, whole.len() - 100] {
        let run = inspect(&programs.write("half", &whole[..end])).exits(1);
        assert!(
            run.stderr.contains("is not a complete ELF program") && run.stderr.contains("hint: "),
            "{end}: {}",
            run.stderr
        );
    }
    let run = inspect(&programs.write("half", &whole[..whole.len() / 2])).exits(1);
    run.says_exactly(str![[r#"
error: `[FOLDER]/half` is not a complete ELF program
  truncated: a segment ends at byte [..], and the file at [..]
hint: copy or build it again
"#]]);
}

#[test]
fn facts_of_a_damaged_program_are_an_error_or_no_debug_information_and_never_a_panic() {
    let programs = Programs::new();
    let mut seen = 0;
    for flags in [&DEBUG[..], &[DEBUG[0], DEBUG[1], "-ldflags", "-compressdwarf=false"]] {
        let whole = fs::read(programs.build("whole", flags, false)).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 60) {
            let mut damaged = whole.clone();
            let end = (at + 4096).min(damaged.len());
            damaged[at..end].fill(0xa5);
            match Facts::of(&damaged) {
                Err(_) => seen += 1,
                Ok(facts) => seen += usize::from(facts.dwarf_error.is_some() && !facts.dwarf),
            }
        }
    }
    // Of 120 places; a program of Go 1.24 has 18 that matter, one of Go 1.26 has more.
    assert!(seen > 10, "{seen}");
}

#[test]
fn inspect_finds_the_controllers_among_other_zips_and_chance_signatures() {
    let programs = Programs::new();
    let program = fs::read(programs.build("small", &DEBUG, false)).unwrap();
    let stripped = fs::read(programs.build("stripped", &RELEASE, false)).unwrap();
    let controllers = zipped(&[("cluster-api", &program), ("etcd", &stripped), ("notes", b"a text")], "-1q");
    let others = zipped(&[("terraform-provider-aws", &stripped)], "-0q");
    // The last record of a zip whose directory is elsewhere, twice, and signatures by themselves.
    let mut chance = [b"PK\x05\x06PK\x01\x02PK\x03\x04", &b"PK\x05\x06"[..]].concat();
    chance.extend_from_slice(&controllers[controllers.len() - 22..]);
    chance.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x01\0\0\0\xff\xff\xff\xff\0\0");
    // Records to which everything fits but the first file, or the first entry of the directory.
    for (file, entry) in [(b"PK\x03\x04", b"PK\x01\x00"), (b"PK\x03\x00", b"PK\x01\x02")] {
        let directory = [&entry[..], &[0; 42], b"cluster-api"].concat();
        let size = u8::try_from(directory.len()).unwrap();
        let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &[size, 0, 0, 0][..], &[4, 0, 0, 0, 0, 0]].concat();
        chance.extend([&file[..], &directory, &end].concat());
    }
    // A zip within a zip, stored: what it holds is no part of the installer.
    let nested = zipped(&[("inner.zip", &zipped(&[("cluster-api-inner", b"x")], "-0q"))], "-0q");

    let tree = Tree::patched("installer");
    let files: [(&str, &[u8]); 4] =
        [("a.zip", &others), ("b", &chance), ("c.zip", &nested), ("cluster-api.zip", &controllers)];
    let path = installer_with(&tree, &files);
    let installer = Installer::read(&path).unwrap();
    let wanted = ["cluster-api", "etcd", "notes"];
    assert_eq!(names(&installer), wanted);
    assert_eq!(installer.findings("x", false), [], "what was not built here is not judged");
    let facts: Vec<Option<Facts>> = installer.entries.iter().map(|entry| entry.facts().cloned()).collect();
    assert!(facts.contains(&Some(Facts::of(&program).unwrap())));
    assert_eq!(embedded(&path).unwrap().len(), 1);

    // Two zips of controllers are both told of.
    let second = zipped(&[("cluster-api-provider-two", &stripped)], "-0q");
    let path = installer_with(&tree, &[("second.zip", &second)]);
    let run = inspect(&path).exits(4);
    run.prints(&["cluster-api-provider-two has no debug information", "\ncluster-api  "]);
}

#[test]
fn inspect_says_of_a_zip_that_lies_about_a_size_what_is_wrong_with_which_controller() {
    let programs = Programs::new();
    let program = fs::read(programs.build("small", &DEBUG, false)).unwrap();
    let honest = zipped(&[("cluster-api", &program), ("cluster-api-two", &program)], "-1q");
    let size = u32::try_from(program.len()).unwrap();
    let directory = u32::from_le_bytes(honest[honest.len() - 6..honest.len() - 2].try_into().unwrap()) as usize;
    let tree = Tree::patched("installer");
    for (claimed, why) in [
        (size - 1, "larger"),
        (size + 1, &*format!("but it has {size}")),
        (0xffff_fff0, "the zip says that it has 4294967280 bytes"),
    ] {
        let mut lying = honest.clone();
        for at in [22, directory + 24] {
            assert_eq!(lying[at..at + 4], size.to_le_bytes(), "the size of the first file is at {at}");
            lying[at..at + 4].copy_from_slice(&claimed.to_le_bytes());
        }
        let path = installer_with(&tree, &[("cluster-api.zip", &lying)]);
        let run = inspect(&path).exits(4);
        run.prints(&["but 1 thing is not in order", "  cluster-api cannot be used: ", why]);
        let error = embedded(&path).unwrap_err();
        assert!(error.to_string().contains("`cluster-api` inside"), "{error}");
    }

    // Other bytes than those that were packed: the checksum says so.
    let mut damaged = honest.clone();
    let middle = directory / 4;
    damaged[middle..middle + 64].fill(0);
    let run = inspect(&installer_with(&tree, &[("cluster-api.zip", &damaged)])).exits(4);
    run.prints(&["  cluster-api cannot be used: "]);

    // A program that was cut off before it was packed.
    let half = zipped(&[("cluster-api", &program[..program.len() / 2])], "-1q");
    let run = inspect(&installer_with(&tree, &[("cluster-api.zip", &half)])).exits(4);
    run.prints(&["  cluster-api cannot be used: truncated: "]);
    let text = zipped(&[("cluster-api", b"#!/bin/sh\n")], "-1q");
    let run = inspect(&installer_with(&tree, &[("cluster-api.zip", &text)])).exits(4);
    run.prints(&["  cluster-api is no ELF program\n"]);
}

#[test]
fn inspect_verifies_the_statement_beside_an_installer_and_says_when_the_two_disagree() {
    let programs = Programs::new();
    let program = fs::read(programs.build("small", &DEBUG, false)).unwrap();
    let zip = zipped(&[("cluster-api", &program)], "-1q");
    let tree = Tree::patched("installer");
    let path = installer_with(&tree, &[("cluster-api.zip", &zip)]);
    let statement = state(&path);
    let parts = [
        "is a recording installer, and Delve can debug it and its 1 controller\n",
        "commit:    0123456789abcdef0123456789abcdef01234567\n",
        "built:     by rr-patch 1.2.3 at 1970-01-01T00:00:00Z; `openshift-install.rr-patch.json` fits it\n",
        "source:    git+https://example.com/o/installer@0123456789abcdef0123456789abcdef01234567\n",
        "options:   --bind-to-cpu none\n",
        "platforms: aws\n",
    ];
    inspect(&path).exits(0).prints(&parts);
    inspect(&statement).exits(0).prints(&parts);

    // The same installer, built again.
    let other = zipped(&[("cluster-api", &program), ("notes", b"x")], "-1q");
    installer_with(&tree, &[("cluster-api.zip", &other)]);
    for given in [&path, &statement] {
        let run = inspect(given).exits(4);
        run.prints(&[
            "is a recording installer, but 1 thing is not in order",
            "`openshift-install.rr-patch.json` is not about it",
            "  openshift-install is not what `openshift-install.rr-patch.json` describes: sha256 ",
            "one of the two is from another build",
        ]);
    }

    // A statement that tells another story of what is embedded.
    let mut told: Value = serde_json::from_slice(&fs::read(state(&path)).unwrap()).unwrap();
    told["subject"][1]["digest"]["sha256"] = json!("0".repeat(64));
    fs::write(&statement, told.to_string()).unwrap();
    inspect(&path).exits(4).prints(&["  cluster-api is not what `openshift-install.rr-patch.json` describes"]);
    fs::write(&statement, "{}").unwrap();
    inspect(&path).exits(4).prints_exactly(str![[r#"
`[FOLDER]/installer/bin/openshift-install` is a recording installer, but 1 thing is not in order
  module:    github.com/openshift/installer ([..])
  version:   [..]
  commit:    [..]
  built:     by whom, nothing says: `openshift-install.rr-patch.json` is not beside it

program [..]
openshift-install [..]
cluster-api [..]
notes (not built here) [..]

not in order:
  openshift-install `[FOLDER]/installer/bin/openshift-install.rr-patch.json` is not a statement of `rr-patch build`
    move `[FOLDER]/installer/bin/openshift-install.rr-patch.json` away, or build again
"#]]);

    // The statement by itself says what it says, and that nothing was verified.
    state(&path);
    fs::remove_file(&path).unwrap();
    let run = inspect(&statement).exits(4);
    run.prints(&["is not beside `", "nothing could be verified", "\ncluster-api ", "could not be compared"]);
}
