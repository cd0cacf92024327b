//! What `--version` says of a release build: `build.rs`, compiled and run as cargo does it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::{Run, command};

/// The build script as a program.
fn script(folder: &Path) -> std::path::PathBuf {
    let program = folder.join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let mut rustc = command("rustc");
    if let Some(home) =
        std::env::var_os("RUSTUP_HOME").or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".rustup").into()))
    {
        rustc.env("RUSTUP_HOME", home);
    }
    let output = rustc.args(["--edition", "2024", "-o"]).args([&program, &source]).output().unwrap();
    Run::of(output).exits(0);
    program
}

/// The version that the script gives sources in a folder.
fn version(script: &Path, sources: &Path, variables: &[(&str, &str)]) -> String {
    let mut run = command(script.to_str().unwrap());
    run.current_dir(sources).env("CARGO_MANIFEST_DIR", sources).env("CARGO_PKG_VERSION", "1.2.3");
    run.env("PROFILE", "release").env("TARGET", "x86_64-unknown-linux-musl").envs(variables.iter().copied());
    let said = Run::of(run.output().unwrap()).exits(0).stdout;
    let version = said.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=RR_PATCH_VERSION="));
    version.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn version_names_the_commit_of_a_checkout_and_of_a_package_and_does_without() {
    let folder = TempDir::new().unwrap();
    let script = script(folder.path());
    let home = folder.path().join("sources");
    fs::create_dir(&home).unwrap();
    let is = |commit: &str| format!("1.2.3 ({commit}, x86_64-unknown-linux-musl)");
    assert_eq!(version(&script, &home, &[]), is("commit not known"));
    assert_eq!(version(&script, &home, &[("RR_PATCH_COMMIT", "abc")]), is("abc"));
    assert_eq!(version(&script, &home, &[("PROFILE", "debug")]), is("debug build"));

    let git = |arguments: &[&str]| {
        Run::of(command("git").current_dir(&home).args(arguments).output().unwrap()).exits(0).stdout
    };
    git(&["init", "--quiet"]);
    fs::write(home.join("file"), "1").unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "one"]);
    let id = git(&["rev-parse", "--short=12", "HEAD"]);
    assert_eq!(version(&script, &home, &[]), is(id.trim()));
    fs::write(home.join("file"), "2").unwrap();
    assert_eq!(version(&script, &home, &[]), is(&format!("{}-dirty", id.trim())));

    // Sources that were unpacked inside another checkout are not that checkout's.
    let package = home.join("package");
    fs::create_dir(&package).unwrap();
    assert_eq!(version(&script, &package, &[]), is("commit not known"));
    let note = r#"{ "git": { "sha1": "0123456789abcdef0123456789abcdef01234567" }, "path_in_vcs": "" }"#;
    fs::write(package.join(".cargo_vcs_info.json"), note).unwrap();
    assert_eq!(version(&script, &package, &[]), is("0123456789ab"));
}
