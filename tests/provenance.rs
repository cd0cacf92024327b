//! The statement about a build: valid by the specifications, complete, and without a secret.
//!
//! The schema in `slsa-provenance.schema.json` is ours, written from the specifications' text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rr_patch::binary::{self, Facts};
use rr_patch::provenance::{self, Artefact, Built, Kept, Overlaid, Phase, Statement};
use serde_json::{Value, json};

use crate::checkers;
use crate::harness::command;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn statement(built: &Built) -> Value {
    json!(Statement::new(built))
}

fn schema() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slsa-provenance.schema.json");
    let schema = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// What the schema has against a document.
fn errors(document: &Value) -> Vec<String> {
    schema().iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn artefact(name: &str, facts: Option<Facts>) -> Artefact {
    Artefact { name: name.into(), sha256: binary::hash(name.as_bytes()), size: 4711, facts }
}

fn environment() -> BTreeMap<String, String> {
    let variables = [
        ("MODE", "dev"),
        ("SKIP_ENVTEST", "y"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("OPENSHIFT_PULL_SECRET", "hunter3"),
        ("GOPROXY", "https://me:hunter4@example.com"),
        ("MAKEFLAGS", "-j2 PROVSUBDIRS=aws TOKEN=hunter5"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What an overlay build keeps.
fn overlay() -> &'static Kept {
    static OVERLAY: OnceLock<Kept> = OnceLock::new();
    OVERLAY.get_or_init(|| {
        let file = Overlaid { path: "pkg/x.go".into(), sha256: binary::hash(b"package x"), added: true };
        let folder = "/somewhere/openshift-install.rr-patch.sources".into();
        Kept { folder, root: "/checkout".into(), files: vec![file] }
    })
}

fn built<'a>(environment: &'a BTreeMap<String, String>, platforms: &'a [String]) -> Built<'a> {
    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_250);
    // A program with everything that facts can hold.
    let facts = Facts::read(Path::new(env!("CARGO_BIN_EXE_rr-patch"))).unwrap();
    Built {
        base: Some(COMMIT.into()),
        patched_commit: Some(COMMIT.replace('0', "f")),
        branch: Some("release-4.19".into()),
        remote: Some("https://me:hunter6@Example.com/o/installer.git".into()),
        patch: Some(binary::hash(b"a patch set")),
        rules: Some(binary::hash(b"rules")),
        chaos: Some(binary::hash(b"chaos")),
        overlay: Some(overlay()),
        options: json!({ "controllers": ["providers"], "bind_to_cpu": 0 }),
        platforms,
        arguments: platforms,
        environment,
        tool: "1.2.3",
        go: Some("go1.26.8".into()),
        artefacts: vec![
            artefact("openshift-install", Some(facts.clone())),
            artefact("cluster-api", Some(facts)),
            artefact("etcd", None),
        ],
        phases: vec![Phase { name: "cluster-api-provider-aws".into(), started, seconds: 1.5 }],
        byproducts: vec![("build.log".into(), "text/plain", binary::hash(b"a log"))],
        started,
        finished: started + Duration::from_secs(61),
    }
}

#[test]
fn statement_of_a_build_is_valid_by_the_specifications() {
    let environment = environment();
    let document = statement(&built(&environment, &["aws".to_owned()]));
    assert_eq!(errors(&document), <[String; 0]>::default(), "{document:#}");
    let definition = &document["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["platforms"], json!(["aws"]));
    let told = json!({ "MODE": "dev", "SKIP_ENVTEST": "y", "PROVSUBDIRS": "aws" });
    assert_eq!(definition["externalParameters"]["environment"], told);
    assert_eq!(
        definition["resolvedDependencies"][0],
        json!({
            "name": "installer", "uri": format!("git+https://example.com/o/installer.git@{COMMIT}"),
            "digest": { "gitCommit": COMMIT }, "annotations": { "branch": "release-4.19" },
        })
    );
    let run = &document["predicate"]["runDetails"];
    assert_eq!(run["metadata"]["startedOn"], "2026-01-01T00:00:00Z");
    assert_eq!(run["metadata"]["finishedOn"], "2026-01-01T00:01:01Z");
    assert_eq!(document["subject"][2]["annotations"], json!({ "size": 4711, "embeddedIn": "openshift-install" }));
}

#[test]
fn statements_are_valid_by_the_code_of_the_specifications_authors() {
    let Some(checker) = checkers::checker("intoto") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (environment, nothing) = (environment(), BTreeMap::new());
    let known = built(&environment, &[]);
    let little = Built {
        base: None,
        patched_commit: None,
        patch: None,
        rules: None,
        chaos: None,
        overlay: None,
        phases: vec![],
        byproducts: vec![],
        environment: &nothing,
        ..known.clone()
    };
    let mut wrong = statement(&known);
    wrong["predicate"]["buildDefinition"]["buildType"] = json!("");
    for (name, document, valid) in
        [("known", statement(&known), true), ("little", statement(&little), true), ("wrong", wrong, false)]
    {
        let file = folder.path().join(name);
        fs::write(&file, document.to_string()).unwrap();
        let run = command(checker.to_str().unwrap()).arg(&file).output().unwrap();
        assert_eq!(run.status.success(), valid, "{name}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn statement_of_a_build_of_which_little_is_known_is_valid_too() {
    let nothing = BTreeMap::new();
    let known = built(&nothing, &[]);
    let little = Built {
        base: None,
        remote: None,
        patch: None,
        patched_commit: None,
        branch: None,
        rules: None,
        chaos: None,
        overlay: None,
        options: Value::Null,
        go: None,
        artefacts: vec![artefact("x", None), artefact("x", None), artefact("x", None)],
        phases: vec![],
        byproducts: vec![],
        ..known
    };
    let document = statement(&little);
    assert_eq!(errors(&document), <[String; 0]>::default(), "{document:#}");
    let names: Vec<&Value> = document["subject"].as_array().unwrap().iter().map(|subject| &subject["name"]).collect();
    assert_eq!(names, ["x", "x (2)", "x (3)"], "names are unique");
    let known = Built { remote: Some("../somewhere".into()), base: Some(COMMIT.into()), ..little };
    assert_eq!(errors(&statement(&known)), <[String; 0]>::default());
}

#[test]
fn statement_holds_no_secret_and_no_variable_that_does_not_change_the_build() {
    let environment = environment();
    let text = statement(&built(&environment, &[])).to_string();
    for word in ["hunter", "SECRET", "GOPROXY", "TOKEN", "MAKEFLAGS"] {
        assert!(!text.contains(word), "{word} is in {text}");
    }
}

#[test]
fn schema_refuses_what_the_specifications_forbid() {
    let environment = environment();
    let valid = statement(&built(&environment, &[]));
    assert!(errors(&valid).is_empty());
    let wrong: [(&str, Value); 14] = [
        ("/_type", json!("https://in-toto.io/Statement/v0.1")),
        ("/predicateType", json!("https://slsa.dev/provenance/v0.2")),
        ("/subject", json!([])),
        ("/subject/0/digest", json!({})),
        ("/subject/0/digest/sha256", json!("ABC")),
        ("/subject/0", json!({ "name": "x", "uri": "urn:a:b" })),
        ("/predicate/buildDefinition/buildType", json!("not a uri")),
        ("/predicate/buildDefinition/externalParameters", Value::Null),
        ("/predicate/buildDefinition/resolvedDependencies/0", json!({ "name": "neither" })),
        ("/predicate/buildDefinition/resolvedDependencies/0/uri", json!("git+https://Example.com/x")),
        ("/predicate/runDetails/builder/version", json!({ "go": 1 })),
        ("/predicate/runDetails/metadata/startedOn", json!("2026-01-01T00:00:00+01:00")),
        ("/predicate/runDetails/metadata/finishedOn", json!(1_767_225_600)),
        ("/predicate/runDetails/byproducts/0", json!({ "name": "phases", "annotations": {} })),
    ];
    for (place, value) in wrong {
        let mut document = valid.clone();
        *document.pointer_mut(place).unwrap_or_else(|| panic!("{place} is not there")) = value;
        assert!(!errors(&document).is_empty(), "{place}");
    }
    for place in ["/predicate/buildDefinition/buildType", "/predicate/runDetails/builder/id"] {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let mut document = valid.clone();
        document.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        assert!(!errors(&document).is_empty(), "{place}");
    }
}

#[test]
fn read_gives_back_what_was_written_and_refuses_another_statement() {
    let folder = tempfile::tempdir().unwrap();
    let path = provenance::path_of(&folder.path().join("openshift-install"));
    assert_eq!(path.file_name().unwrap(), "openshift-install.rr-patch.json");
    let environment = environment();
    let built = built(&environment, &[]);
    let written = Statement::new(&built);
    written.write(&path).unwrap();
    let read = provenance::read(&path).unwrap();
    assert_eq!(read, written);
    assert_eq!((read.base(), read.version("go")), (Some(COMMIT), Some("go1.26.8")));
    assert_eq!(read.patch(), built.patch.as_deref());
    assert_eq!((read.rules(), read.branch()), (built.rules.as_deref(), Some("release-4.19")));
    assert_eq!(read.patched_commit(), built.patched_commit.as_deref());
    assert_eq!(read.overlay(), Some(Kept { folder: "openshift-install.rr-patch.sources".into(), ..overlay().clone() }));
    assert_eq!(read.phases(), [("cluster-api-provider-aws", 1.5)]);
    assert_eq!(read.installer().facts(), built.artefacts[0].facts);
    assert_eq!(read.subject[1].sha256(), Some(binary::hash(b"cluster-api").as_str()));

    let valid = statement(&built);
    for (place, value, why) in [
        ("/_type", json!("x"), "`_type` is \"x\""),
        ("/predicateType", Value::Null, "`predicateType` is null"),
        ("/predicate/buildDefinition/buildType", json!("urn:x:y"), "a build of another type: `urn:x:y`"),
        ("/subject", json!([]), "no subject"),
        ("/subject/0/digest", json!({ "sha512": "x" }), "a subject without a sha256"),
    ] {
        let mut document = valid.clone();
        *document.pointer_mut(place).unwrap() = value;
        fs::write(&path, document.to_string()).unwrap();
        let error = rr_patch::error::render(&provenance::read(&path).unwrap_err());
        assert!(error.contains(&format!("found: {why}")) && error.ends_with("nothing was written\n"), "{error}");
    }
}
