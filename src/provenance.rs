//! The provenance of an installer: an in-toto statement (v1) with SLSA provenance (v1) as its predicate, in a file
//! beside the installer.
//!
//! ```text
//! subject                  the installer and its embedded programs, with the facts about each
//! buildDefinition          the request: options, platforms, arguments, environment
//!   resolvedDependencies   the commit, the patch set on top of it, and the rules that made the patch set
//! runDetails               the builder, the times, and the phases
//! ```
//!
//! The fields and their types follow slsa.dev/spec/v1.0/provenance and in-toto's attestation framework, spec/v1.
//! Nothing is signed, so the file is as trustworthy as its writer. The four URNs below are our own and cannot be
//! resolved; in-toto allows that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::binary::{Facts, Finding, Installer};
use crate::error::{Error, Shown};
use crate::sys::write;
use crate::words::short;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// The build type: a run of the checkout's `hack/build.sh` by `rr-patch build`.
const BUILD: &str = "urn:rr-patch:build:v1";
/// The builder: a user's own host. How trustworthy it is, is unknown.
const BUILDER: &str = "urn:rr-patch:builder:local:v1";
/// The media type of the phases: a list with a name, a start and seconds for each.
const PHASES: &str = "urn:rr-patch:phases:v1";
/// A folder beside the installer and the overlaid sources in it.
const OVERLAY: &str = "urn:rr-patch:overlay:v1";

/// The name of the dependency that is the commit.
const SOURCE: &str = "installer";
const PATCHED_COMMIT: &str = "patched-commit";
const PATCH_SET: &str = "patch-set";
const RULES: &str = "rules";
const CHAOS: &str = "chaos";

/// The variables that affect the build. Other variables are never stored, because an environment contains secrets.
/// Some, such as `SKIP_ENVTEST`, are matched by their prefix.
const TELLING: [&str; 18] = [
    "BUILD_VERSION",
    "CC",
    "CGO_ENABLED",
    "DEFAULT_ARCH",
    "GOAMD64",
    "GOARCH",
    "GOEXPERIMENT",
    "GOFLAGS",
    "GOOS",
    "GOTOOLCHAIN",
    "LDFLAGS",
    "MODE",
    "OPENSHIFT_INSTALL_CLUSTER_API",
    "OUTPUT",
    "PROVSUBDIRS",
    "SOURCE_GIT_COMMIT",
    "SOURCE_GIT_TAG",
    "TAGS",
];
const SKIP: &str = "SKIP_";

/// The largest statement that is read.
const LARGEST: u64 = 16 << 20;

/// The facts about a successful build.
#[derive(Clone, Debug)]
pub struct Built<'a> {
    /// The commit of the installer that was built, below the commit that `apply --commit` made.
    pub base: Option<String>,
    /// The commit that was checked out, if it is the commit that `apply --commit` made, or a descendant of it.
    pub patched_commit: Option<String>,
    /// The branch of the commit that was built.
    pub branch: Option<String>,
    /// The URL of the remote of that commit, from git's configuration.
    pub remote: Option<String>,
    /// The SHA-256 of the patch set; `None` for an unpatched checkout.
    pub patch: Option<String>,
    /// The SHA-256 of the rules that made the changes; `None` for an unpatched checkout or a classic patch.
    pub rules: Option<String>,
    /// The SHA-256 of the rules of the chaos overlay, if controllers were built with it.
    pub chaos: Option<String>,
    /// The options of `rr-patch apply`.
    pub options: Value,
    /// The sources that were read from an overlay, if there was one.
    pub overlay: Option<&'a Kept>,
    /// The requested infrastructure platforms; empty means all.
    pub platforms: &'a [String],
    /// The arguments for build.sh.
    pub arguments: &'a [String],
    /// The environment of the build. This module removes the variables that do not affect it, so the caller need not.
    pub environment: &'a BTreeMap<String, String>,
    /// The version of rr-patch.
    pub tool: &'a str,
    /// The version of Go, for example `go1.26.8`.
    pub go: Option<String>,
    /// The built files; the installer is the first.
    pub artefacts: Vec<Artefact>,
    pub phases: Vec<Phase>,
    /// Other files of the build, such as its log: name, media type, SHA-256.
    pub byproducts: Vec<(String, &'static str, String)>,
    pub started: SystemTime,
    pub finished: SystemTime,
}

/// A built file, or a file embedded in it.
#[derive(Clone, Debug)]
pub struct Artefact {
    pub name: String,
    pub sha256: String,
    pub size: u64,
    /// The facts about it, if it is a program.
    pub facts: Option<Facts>,
}

impl Artefact {
    /// The installer at `path`, and its embedded files.
    pub fn all(path: &Path, installer: &Installer) -> Vec<Self> {
        let Facts { sha256, size, .. } = &installer.facts;
        let facts = Some(installer.facts.clone());
        let mut all = vec![Self { name: file_name(path), sha256: sha256.clone(), size: *size, facts }];
        for entry in &installer.entries {
            if let Some((sha256, size)) = entry.digest() {
                let (name, facts) = (entry.name.clone(), entry.facts().cloned());
                all.push(Self { name, sha256: sha256.to_owned(), size, facts });
            }
        }
        all
    }
}

/// A file of the sources that was read from an overlay, and not from the checkout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overlaid {
    /// From the installer's root, and from the folder that keeps it.
    pub path: String,
    pub sha256: String,
    /// The checkout has no such file.
    pub added: bool,
}

/// The overlaid sources of an installer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// The folder that keeps them; in a statement its name, since it lies beside the installer.
    pub folder: PathBuf,
    /// Where the debug information says they are: the installer's root when it was built.
    pub root: String,
    pub files: Vec<Overlaid>,
}

/// A part of the build.
#[derive(Clone, Debug)]
pub struct Phase {
    pub name: String,
    pub started: SystemTime,
    pub seconds: f64,
}

/// The statement, as stored in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    pub subject: Vec<Descriptor>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: Definition,
    run_details: Run,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    build_type: String,
    external_parameters: Map<String, Value>,
    #[serde(default)]
    internal_parameters: Map<String, Value>,
    #[serde(default)]
    resolved_dependencies: Vec<Descriptor>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    builder: Builder,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    byproducts: Vec<Descriptor>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Builder {
    id: String,
    #[serde(default)]
    version: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    invocation_id: String,
    started_on: String,
    finished_on: String,
}

/// in-toto's ResourceDescriptor: a file or another named resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uri: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    digest: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    media_type: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    annotations: Map<String, Value>,
}

impl Descriptor {
    pub fn sha256(&self) -> Option<&str> {
        self.digest.get("sha256").map(String::as_str)
    }

    /// The facts about the program from the time of the build.
    pub fn facts(&self) -> Option<Facts> {
        serde_json::from_value(self.annotations.get("facts")?.clone()).ok()
    }

    fn hashed(name: &str, algorithm: &str, digest: &str) -> Self {
        let digest = BTreeMap::from([(algorithm.to_owned(), digest.to_owned())]);
        Self { name: name.to_owned(), digest, ..Self::default() }
    }
}

/// The path of the statement about an installer: beside it.
pub fn path_of(installer: &Path) -> PathBuf {
    let mut path = installer.as_os_str().to_owned();
    path.push(".rr-patch.json");
    path.into()
}

/// The folder that keeps the overlaid sources of an installer: beside it, under their names in the checkout.
pub fn sources_of(installer: &Path) -> PathBuf {
    let mut path = installer.as_os_str().to_owned();
    path.push(".rr-patch.sources");
    path.into()
}

impl Statement {
    pub fn new(built: &Built) -> Self {
        let started = time(built.started);
        let invocation = format!("{started}/{}", std::process::id());
        let mut version = BTreeMap::from([("rr-patch".to_owned(), built.tool.to_owned())]);
        version.extend(built.go.iter().map(|go| ("go".to_owned(), go.clone())));
        let phases = built
            .phases
            .iter()
            .map(|phase| json!({ "name": phase.name, "startedOn": time(phase.started), "seconds": phase.seconds }));
        let annotations = Map::from_iter([("phases".to_owned(), Value::Array(phases.collect()))]);
        let mut byproducts =
            vec![Descriptor { name: "phases".into(), uri: PHASES.into(), annotations, ..Descriptor::default() }];
        byproducts.extend(built.byproducts.iter().map(|(name, media_type, sha256)| Descriptor {
            media_type: (*media_type).into(),
            ..Descriptor::hashed(name, "sha256", sha256)
        }));
        byproducts.extend(built.overlay.map(|kept| Descriptor {
            name: "overlay".into(),
            uri: OVERLAY.into(),
            annotations: object(json!({ "folder": file_name(&kept.folder), "root": kept.root, "files": kept.files })),
            ..Descriptor::default()
        }));
        Self {
            kind: STATEMENT.into(),
            subject: subjects(&built.artefacts),
            predicate_type: PREDICATE.into(),
            predicate: Predicate {
                build_definition: Definition {
                    build_type: BUILD.into(),
                    external_parameters: object(json!({
                        "options": built.options,
                        "platforms": built.platforms,
                        "arguments": built.arguments,
                        "environment": telling(built.environment),
                        "overlay": built.overlay.is_some(),
                        "chaos": built.chaos.is_some(),
                    })),
                    internal_parameters: object(json!({ "tool": built.tool, "go": built.go })),
                    resolved_dependencies: dependencies(built),
                },
                run_details: Run {
                    builder: Builder { id: BUILDER.into(), version },
                    metadata: Metadata {
                        invocation_id: invocation,
                        started_on: started,
                        finished_on: time(built.finished),
                    },
                    byproducts,
                },
            },
        }
    }

    /// Writes the statement atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{:#}\n", json!(self));
        write::replace(path, text.as_bytes(), 0o644)
    }

    /// The subject for the installer itself.
    pub fn installer(&self) -> &Descriptor {
        // `read` refuses a statement without a subject, and `new` always gets one.
        &self.subject[0]
    }

    /// The commit that was built.
    pub fn base(&self) -> Option<&str> {
        self.dependency(SOURCE)?.digest.get("gitCommit").map(String::as_str)
    }

    /// The URI of that commit.
    pub fn source(&self) -> Option<&str> {
        self.dependency(SOURCE).map(|source| source.uri.as_str()).filter(|uri| !uri.is_empty())
    }

    /// The branch of that commit.
    pub fn branch(&self) -> Option<&str> {
        self.dependency(SOURCE)?.annotations.get("branch")?.as_str()
    }

    /// The commit of the changes on top of it, or a descendant of that.
    pub fn patched_commit(&self) -> Option<&str> {
        self.dependency(PATCHED_COMMIT)?.digest.get("gitCommit").map(String::as_str)
    }

    /// The hash of the rules that made the changes.
    pub fn rules(&self) -> Option<&str> {
        self.dependency(RULES)?.sha256()
    }

    /// The hash of the rules of the chaos overlay; `None` if controllers were built without it.
    pub fn chaos(&self) -> Option<&str> {
        self.dependency(CHAOS)?.sha256()
    }

    /// The overlaid sources; their folder is beside the installer.
    pub fn overlay(&self) -> Option<Kept> {
        let all = &self.predicate.run_details.byproducts;
        let annotations = all.iter().find(|one| one.uri == OVERLAY)?.annotations.clone();
        serde_json::from_value(Value::Object(annotations)).ok()
    }

    /// The hash of the patch set; `None` if an unpatched checkout was built.
    pub fn patch(&self) -> Option<&str> {
        self.dependency(PATCH_SET)?.sha256()
    }

    /// A part of the request: `options`, `platforms`, `arguments` or `environment`.
    pub fn parameter(&self, name: &str) -> &Value {
        self.predicate.build_definition.external_parameters.get(name).unwrap_or(&Value::Null)
    }

    /// The version of `rr-patch` or `go`.
    pub fn version(&self, program: &str) -> Option<&str> {
        self.predicate.run_details.builder.version.get(program).map(String::as_str)
    }

    /// The start and the end of the build.
    pub fn times(&self) -> (&str, &str) {
        let Metadata { started_on, finished_on, .. } = &self.predicate.run_details.metadata;
        (started_on, finished_on)
    }

    /// The phases: name and seconds.
    pub fn phases(&self) -> Vec<(&str, f64)> {
        let byproducts = self.predicate.run_details.byproducts.iter();
        let lists =
            byproducts.filter(|one| one.uri == PHASES).filter_map(|one| one.annotations.get("phases")?.as_array());
        lists.flatten().filter_map(|phase| Some((phase["name"].as_str()?, phase["seconds"].as_f64()?))).collect()
    }

    /// Where an installer of that name is not what the statement, in the file `path`, says.
    pub fn disagreements(&self, path: &Path, name: &str, installer: &Installer) -> Vec<Finding> {
        let finding = |program: &str, said: &str, found: &str| Finding {
            program: program.to_owned(),
            what: format!(
                "is not what `{}` describes: sha256 {} there, {} here",
                path.file_name().unwrap_or_default().to_string_lossy(),
                short(said),
                short(found)
            ),
            remedy: "one of the two is from another build: build again, or copy both together".into(),
        };
        let said = self.installer().sha256().unwrap_or_default();
        if said != installer.facts.sha256 {
            return vec![finding(name, said, &installer.facts.sha256)];
        }
        let mut findings = Vec::new();
        for entry in &installer.entries {
            let subject = self.subject.iter().find(|subject| subject.name == entry.name);
            let said = subject.and_then(|subject| subject.sha256()).unwrap_or("none");
            if let Some((found, _)) = entry.digest().filter(|(found, _)| *found != said) {
                findings.push(finding(&entry.name, said, found));
            }
        }
        findings
    }

    fn dependency(&self, name: &str) -> Option<&Descriptor> {
        self.predicate.build_definition.resolved_dependencies.iter().find(|one| one.name == name)
    }
}

/// Reads the statement in a file.
///
/// # Errors
/// A refusal if rr-patch did not write it.
pub fn read(path: &Path) -> Result<Statement> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.shown()))?;
    let mut bytes = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read `{}`", path.shown()))?;
    parse(&bytes).map_err(|why| {
        Error::refused(format!("`{}` is not a statement of `rr-patch build`", path.shown()))
            .detail(format!("expected: an in-toto statement `{STATEMENT}` with a predicate `{PREDICATE}`"))
            .detail(format!("found: {why}"))
            .hint("`rr-patch inspect INSTALLER` reads an installer that has no such file beside it")
            .into()
    })
}

fn parse(bytes: &[u8]) -> Result<Statement, String> {
    if bytes.len() as u64 > LARGEST {
        return Err(format!("more than {LARGEST} bytes"));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    for (field, expected) in [("_type", STATEMENT), ("predicateType", PREDICATE)] {
        if value[field] != expected {
            return Err(format!("`{field}` is {}", value[field]));
        }
    }
    let statement: Statement = serde_json::from_value(value).map_err(|error| error.to_string())?;
    match &statement.predicate.build_definition.build_type {
        other if other != BUILD => Err(format!("a build of another type: `{other}`")),
        _ if statement.subject.iter().any(|one| one.sha256().is_none()) => Err("a subject without a sha256".into()),
        _ if statement.subject.is_empty() => Err("no subject".into()),
        _ => Ok(statement),
    }
}

/// The artefacts with unique names, and the facts about each.
fn subjects(artefacts: &[Artefact]) -> Vec<Descriptor> {
    let mut names = BTreeSet::new();
    let mut subjects: Vec<Descriptor> = Vec::with_capacity(artefacts.len());
    for Artefact { name, sha256, size, facts } in artefacts {
        let free = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name} ({n})") });
        let Some(unique) = free.into_iter().find(|name| !names.contains(name)) else { continue };
        names.insert(unique.clone());
        let mut annotations = Map::from_iter([("size".to_owned(), json!(size))]);
        annotations.extend(subjects.first().map(|installer| ("embeddedIn".to_owned(), json!(installer.name))));
        annotations.extend(facts.as_ref().map(|facts| ("facts".to_owned(), json!(facts))));
        subjects.push(Descriptor { annotations, ..Descriptor::hashed(&unique, "sha256", sha256) });
    }
    subjects
}

fn dependencies(built: &Built) -> Vec<Descriptor> {
    let source = built.base.as_ref().map(|commit| Descriptor {
        uri: built.remote.as_ref().and_then(|remote| source_uri(remote, commit)).unwrap_or_default(),
        annotations: built.branch.iter().map(|branch| ("branch".to_owned(), json!(branch))).collect(),
        ..Descriptor::hashed(SOURCE, "gitCommit", commit)
    });
    let patch = built.patch.as_ref().map(|sha256| Descriptor::hashed(PATCH_SET, "sha256", sha256));
    let on_top = built.patched_commit.as_ref();
    let on_top = on_top.map(|commit| Descriptor::hashed(PATCHED_COMMIT, "gitCommit", commit));
    let rules = built.rules.as_ref().map(|sha256| Descriptor::hashed(RULES, "sha256", sha256));
    let chaos = built.chaos.as_ref();
    let chaos = chaos.map(|sha256| Descriptor::hashed(CHAOS, "sha256", sha256.trim_start_matches("sha256:")));
    source.into_iter().chain(on_top).chain(patch).chain(rules).chain(chaos).collect()
}

/// Selects the variables that affect the build.
fn telling(environment: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let mut told: BTreeMap<&str, &str> = environment
        .iter()
        .filter(|(name, _)| TELLING.contains(&name.as_str()) || name.starts_with(SKIP))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    // MAKEFLAGS can also set such a make variable, beside others that must not be stored.
    let words = environment.get("MAKEFLAGS").into_iter().flat_map(|flags| flags.split_whitespace());
    for (name, value) in words.filter_map(|word| word.split_once('=')).filter(|(name, _)| *name == "PROVSUBDIRS") {
        told.entry(name).or_insert(value);
    }
    told
}

/// The URI of a commit in SPDX's format: `git+https://…@commit`. User names and tokens are removed.
fn source_uri(remote: &str, commit: &str) -> Option<String> {
    let (scheme, rest) = match remote.split_once("://") {
        Some((scheme, rest)) => (scheme.to_lowercase(), rest.to_owned()),
        None if remote.starts_with('/') => ("file".into(), remote.to_owned()),
        // host:path, as ssh accepts it. A path on this host has a slash before any colon.
        None => {
            let (host, path) = remote.split_once(':').filter(|(host, _)| !host.contains('/'))?;
            ("ssh".into(), format!("{host}/{}", path.trim_start_matches('/')))
        }
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default().to_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:/%[]".contains(c);
    let uri = format!("git+{scheme}://{host}/{path}@{commit}");
    (uri.chars().filter(|&c| c != '@').all(plain) && uri.matches('@').count() == 1).then_some(uri)
}

/// A time in UTC, in whole seconds, as both specifications require.
fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_uri_keeps_the_place_and_drops_what_lets_somebody_in() {
        let uri = |remote: &str| source_uri(remote, "c0ffee");
        let is = |remote: &str, expected: &str| assert_eq!(uri(remote).as_deref(), Some(expected), "{remote}");
        is("https://example.com/o/installer.git", "git+https://example.com/o/installer.git@c0ffee");
        is("https://user:secret@Example.com/o/installer?token=x#y", "git+https://example.com/o/installer@c0ffee");
        is("git@example.com:o/installer.git", "git+ssh://example.com/o/installer.git@c0ffee");
        is("ssh://git@example.com:22/o/installer", "git+ssh://example.com:22/o/installer@c0ffee");
        is("/srv/git/installer", "git+file:///srv/git/installer@c0ffee");
        assert_eq!([uri("../installer"), uri("https://e.com/a b"), uri("https://e.com/a@b")], [None, None, None]);
    }

    #[test]
    fn telling_drops_every_variable_that_does_not_change_the_build() {
        let all =
            [("MODE", "dev"), ("SKIP_ENVTEST", "y"), ("AWS_SECRET_ACCESS_KEY", "x"), ("GOPROXY", "https://u:p@h")];
        let all = all.into_iter().chain([("MAKEFLAGS", "-j2 TOKEN=x PROVSUBDIRS=vsphere"), ("HOME", "/root")]);
        let environment = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let told: Vec<_> = telling(&environment).into_iter().collect();
        assert_eq!(told, [("MODE", "dev"), ("PROVSUBDIRS", "vsphere"), ("SKIP_ENVTEST", "y")]);
    }

    #[test]
    fn time_is_in_whole_seconds_of_utc() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_767_225_600_999);
        assert_eq!(time(at), "2026-01-01T00:00:00Z");
    }
}
