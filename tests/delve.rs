//! A real Delve, built from its Go module at one version, for the tests that need a debugger.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::{command, skip};

/// Delve replays nothing where this is above 1.
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
/// Mounts the first argument there, and runs the others.
const WITH_ANOTHER: &str = r#"mount --bind "$1" /proc/sys/kernel/perf_event_paranoid && shift && exec "$@""#;

/// The release that is built: 1.27.1 takes programs of Go 1.25 to 1.27, and 1.26.3 those of the Go 1.24 of Debian 13.
pub fn version() -> &'static str {
    if go_minor() < 25 { "1.26.3" } else { "1.27.1" }
}

/// The minor version of the Go in PATH: 26 of Go 1.26.8.
pub fn go_minor() -> u32 {
    static MINOR: OnceLock<u32> = OnceLock::new();
    *MINOR.get_or_init(|| {
        let answer = command("go").env("GOTOOLCHAIN", "local").args(["env", "GOVERSION"]).output().unwrap();
        let version = String::from_utf8(answer.stdout).unwrap();
        version.split('.').nth(1).unwrap().trim().parse().unwrap()
    })
}

/// A `dlv` of [`version`], alone in its folder, which is kept below `target`. Nothing, with a word
/// why, where it cannot be built: there is no network, or Go is older than Delve needs.
pub fn delve() -> Option<PathBuf> {
    static DELVE: OnceLock<Option<PathBuf>> = OnceLock::new();
    DELVE.get_or_init(build).clone()
}

fn build() -> Option<PathBuf> {
    let version = version();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("delve-{version}"));
    let program = folder.join("dlv");
    if program.is_file() {
        return Some(program);
    }
    let mut go = command("go");
    go.args(["install", &format!("github.com/go-delve/delve/cmd/dlv@v{version}")]).env("GOBIN", &folder);
    // Where Go keeps its modules and its own settings, the proxy among them.
    if let Some(home) = std::env::var_os("HOME") {
        go.env("HOME", home);
    }
    match go.output() {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => {
            skip(&["dlv"], &format!("Delve {version} cannot be built: {}", String::from_utf8_lossy(&output.stderr)));
            None
        }
        Err(error) => {
            skip(&["dlv"], &format!("Delve {version} cannot be built: go: {error}"));
            None
        }
    }
}

/// The same program where Delve finds `perf_event_paranoid` at 1: here, or in a mount namespace of its own
/// with another file in that place. Nothing, with a word why, where neither can be.
pub fn where_it_replays(program: Command) -> Option<Command> {
    let level = fs::read_to_string(PARANOID).ok().and_then(|level| level.trim().parse::<i32>().ok());
    if level.is_none_or(|level| level <= 1) {
        return Some(program);
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("perf_event_paranoid");
    fs::write(&file, "1\n").unwrap();
    let namespace = || {
        let mut namespace = command("unshare");
        namespace.args(["--mount", "sh", "-c", WITH_ANOTHER, "sh"]).arg(&file);
        namespace
    };
    let tried = namespace().args(["cat", PARANOID]).output();
    if !tried.as_ref().is_ok_and(|output| output.stdout == b"1\n") {
        skip(&["dlv", "mount"], &format!("{PARANOID} is above 1, and nothing can be mounted on it: {tried:?}"));
        return None;
    }
    let mut inside = namespace();
    inside.arg(program.get_program()).args(program.get_args());
    program.get_envs().for_each(|(name, value)| {
        inside.env(name, value.unwrap_or_default());
    });
    program.get_current_dir().map(|folder| inside.current_dir(folder));
    Some(inside)
}

#[test]
fn delve_is_built_at_its_version_from_its_go_module() {
    let Some(program) = delve() else { return };
    let output = command(program.to_str().unwrap()).arg("version").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("Version: {}\n", version())));
}
