//! What `--version` says: the version, the commit and the target.
//!
//! The commit is that of this checkout, or what `cargo package` noted of it, or else RR_PATCH_COMMIT. Sources without any
//! of these (an archive, for example) are built all the same. A debug build names no commit, since it would be compiled
//! anew after each one.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RR_PATCH_COMMIT");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let home = variable("CARGO_MANIFEST_DIR");
    let commit = match variable("PROFILE").as_str() {
        "release" => commit(Path::new(&home)).unwrap_or_else(|| "commit not known".into()),
        profile => format!("{profile} build"),
    };
    let (version, target) = (variable("CARGO_PKG_VERSION"), variable("TARGET"));
    println!("cargo::rustc-env=RR_PATCH_VERSION={version} ({commit}, {target})");
}

fn commit(home: &Path) -> Option<String> {
    let told = env::var("RR_PATCH_COMMIT").ok().filter(|commit| !commit.is_empty());
    told.or_else(|| packaged(home)).or_else(|| checked_out(home)).map(|commit| commit.chars().take(18).collect())
}

/// What `cargo package` wrote beside the sources.
fn packaged(home: &Path) -> Option<String> {
    let note = fs::read_to_string(home.join(".cargo_vcs_info.json")).ok()?;
    let id = note.split("\"sha1\"").nth(1)?.split('"').nth(1)?;
    Some(short(id))
}

/// The commit of a checkout whose top this is, with `-dirty` where tracked files differ from it.
fn checked_out(home: &Path) -> Option<String> {
    let top = git(home, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != home.canonicalize().ok()? {
        return None;
    }
    // Whatever changes the answer: another commit, and what is compiled.
    for path in ["HEAD", "logs/HEAD"] {
        println!("cargo::rerun-if-changed={}", git(home, &["rev-parse", "--git-path", path])?);
    }
    ["src", "patches", "Cargo.toml", "Cargo.lock"].iter().for_each(|path| println!("cargo::rerun-if-changed={path}"));
    let id = short(&git(home, &["rev-parse", "HEAD"])?);
    let changed = git(home, &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { id } else { format!("{id}-dirty") })
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

fn git(home: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"].iter().for_each(|name| {
        git.env_remove(name);
    });
    let output = git.current_dir(home).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
