//! A real Delve, built from its Go module at one version, for the tests that need a debugger.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::harness::{command, skip};

/// The release that is built; it takes programs of Go 1.25 to 1.27.
pub const VERSION: &str = "1.27.1";

/// A `dlv` of [`VERSION`], alone in its folder, which is kept below `target`. Nothing, with a word
/// why, where it cannot be built: there is no network, or Go is older than Delve needs.
pub fn delve() -> Option<PathBuf> {
    static DELVE: OnceLock<Option<PathBuf>> = OnceLock::new();
    DELVE.get_or_init(build).clone()
}

fn build() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("delve-{VERSION}"));
    let program = folder.join("dlv");
    if program.is_file() {
        return Some(program);
    }
    let mut go = command("go");
    go.args(["install", &format!("github.com/go-delve/delve/cmd/dlv@v{VERSION}")]).env("GOBIN", &folder);
    // Where Go keeps its modules and its own settings, the proxy among them.
    if let Some(home) = std::env::var_os("HOME") {
        go.env("HOME", home);
    }
    match go.output() {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => {
            skip(&["dlv"], &format!("Delve {VERSION} cannot be built: {}", String::from_utf8_lossy(&output.stderr)));
            None
        }
        Err(error) => {
            skip(&["dlv"], &format!("Delve {VERSION} cannot be built: go: {error}"));
            None
        }
    }
}

#[test]
fn delve_is_built_at_its_version_from_its_go_module() {
    let Some(program) = delve() else { return };
    let output = command(program.to_str().unwrap()).arg("version").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("Version: {VERSION}\n")));
}
