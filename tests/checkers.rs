//! The engines' own code, for checking and running what `rr-patch ci` prints: Go modules and an npm package at fixed
//! versions, built once into the user's cache and kept for other checkouts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::{command, copy, required, skip};

const ACTIONLINT: &str = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12";
const ACT: &str = "github.com/nektos/act@v0.2.89";
const GITLAB_CI_LOCAL: &str = "4.60.0";
/// A program for GOCACHEPROG from the Go modules, which keeps a cache in a folder.
const CACHE_PROGRAM: &str = "github.com/bradfitz/go-tool-cache/cmd/go-cacher@v0.0.0-20260722201841-0bb331e19f64";

/// Where tools are kept.
fn folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into()).join("rr-patch/checkers")
}

/// A program with the user's own home, where Go and npm keep what they download and their settings.
fn at_home(program: &str) -> Command {
    let mut command = command(program);
    for name in ["HOME", "GOFLAGS", "GOSUMDB", "GONOSUMDB", "npm_config_registry", "NPM_CONFIG_REGISTRY"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A tool that is made once for all tests, or why it cannot be.
type Made = Result<PathBuf, String>;

/// A tool in a folder that is named after its version. It is made beside its place first: another run of these tests
/// may make it at the same time.
fn made(name: &str, program: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Made {
    let place = folder().join(name);
    if !place.join(program).is_file() {
        fs::create_dir_all(folder()).unwrap();
        let beside = tempfile::Builder::new().prefix(".new-").tempdir_in(folder()).unwrap();
        make(beside.path()).map_err(|why| format!("{name} cannot be built: {why}"))?;
        // Whoever came first has the same.
        if fs::rename(beside.path(), &place).is_ok() {
            let _ = beside.keep();
        }
    }
    Ok(place.join(program))
}

/// The tool, or each test that asks for it is skipped.
fn had(made: &Made, need: &'static str) -> Option<PathBuf> {
    made.as_ref().map_err(|why| skip(&[need], why)).ok().cloned()
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed").to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn go_install(package: &'static str, program: &str) -> Made {
    let version = package.rsplit('@').next().unwrap();
    let install = |folder: &Path| run(at_home("go").args(["install", package]).env("GOBIN", folder));
    made(&format!("{program}-{version}"), program, install)
}

pub fn actionlint() -> Option<PathBuf> {
    static TOOL: OnceLock<Made> = OnceLock::new();
    had(TOOL.get_or_init(|| go_install(ACTIONLINT, "actionlint")), "actionlint")
}

pub fn act() -> Option<PathBuf> {
    static TOOL: OnceLock<Made> = OnceLock::new();
    had(TOOL.get_or_init(|| go_install(ACT, "act")), "act")
}

/// Only where it is asked for: its test compiles Go's library twice, which takes as long as those of all engines.
pub fn cache_program() -> Option<PathBuf> {
    static TOOL: OnceLock<Made> = OnceLock::new();
    if !required().iter().any(|need| need == "gocacheprog") {
        skip(&["gocacheprog"], "it takes minutes, and RR_PATCH_REQUIRE=gocacheprog runs it");
        return None;
    }
    had(TOOL.get_or_init(|| go_install(CACHE_PROGRAM, "go-cacher")), "gocacheprog")
}

/// gitlab-ci-local's program, for node. Its `re2` is compiled from C++ when it is installed, and has JavaScript's own
/// regular expressions for an equal here.
pub fn gitlab_ci_local() -> Option<PathBuf> {
    static TOOL: OnceLock<Made> = OnceLock::new();
    let install = |folder: &Path| {
        let dependency = format!("{{\"gitlab-ci-local\": \"{GITLAB_CI_LOCAL}\"}}");
        let package = format!(
            "{{\"private\": true, \"dependencies\": {dependency}, \"overrides\": {{\"re2\": \"file:./re2\"}}}}"
        );
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).map_err(|error| error.to_string());
        fs::create_dir(folder.join("re2")).map_err(|error| error.to_string())?;
        write("package.json", &package)?;
        write("re2/package.json", "{\"name\": \"re2\", \"version\": \"1.24.0\", \"main\": \"index.js\"}")?;
        write("re2/index.js", "module.exports = class RE2 extends RegExp {};\n")?;
        run(at_home("rsync").arg("--version")).map_err(|why| format!("rsync: {why}"))?;
        // Where the registry does not answer, npm would wait for minutes.
        let patience = ["--fetch-retries=1", "--fetch-timeout=30000"];
        let options = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--install-links"];
        run(at_home("npm").current_dir(folder).args(options).args(patience))
    };
    let name = format!("gitlab-ci-local-{GITLAB_CI_LOCAL}");
    let program = "node_modules/gitlab-ci-local/src/index.js";
    had(TOOL.get_or_init(|| made(&name, program, install)), "gitlab-ci-local")
}

/// A checker of `tests/checkers`: `tekton`, `intoto` or `yaml`.
pub fn checker(name: &'static str) -> Option<PathBuf> {
    static FOLDER: OnceLock<Made> = OnceLock::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkers");
    let mut all: Vec<Vec<u8>> = vec![fs::read(sources.join("go.mod")).unwrap()];
    all.extend(["tekton", "intoto", "yaml"].map(|name| fs::read(sources.join(name).join("main.go")).unwrap()));
    let version = &rr_patch::binary::hash(&all.concat())[..12];
    let build = |folder: &Path| {
        copy(&sources, &folder.join("src"));
        run(at_home("go").current_dir(folder.join("src")).args(["install", "./..."]).env("GOBIN", folder))
    };
    let folder = FOLDER.get_or_init(|| made(&format!("checkers-{version}"), "yaml", build));
    had(folder, "checkers").map(|yaml| yaml.with_file_name(name))
}
