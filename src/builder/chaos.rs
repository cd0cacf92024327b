//! The chaos overlay of a toolchain, in a folder: what `-overlay` of `go build` and `go test` takes.
//!
//! ```text
//! DIR/overlay.json                   what stands for what
//! DIR/go1.26.8/runtime/chan.go …     the files themselves
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::overlay::refuse_broken;
use super::toolchain::Toolchain;
use crate::error::{Error, Shown};
use crate::patch::rules::chaos::{self, Chaos};
use crate::patch::rules::{Rules, Site};
use crate::sys::process::{Environment, for_child};
use crate::sys::write;

/// What `-overlay` takes, in the folder.
const LIST: &str = "overlay.json";

/// A chaos overlay that lies in a folder.
#[derive(Debug)]
pub struct ChaosOverlay {
    /// What `-overlay` takes: an absolute path.
    pub list: PathBuf,
    /// The version of Go that it is for.
    pub go: String,
    pub goroot: PathBuf,
    /// The SHA-256 of the rules and of what they add.
    pub rules: String,
    pub sites: Vec<Site>,
    /// The files that are added, by their names below `GOROOT/src`.
    pub added: Vec<String>,
}

/// Writes the overlay for the Go that builds in the folder `at` into the folder `into`. `go` is the program: `go`, or a
/// path.
///
/// # Errors
/// A Go that does not answer, whose overlay is broken, or whose files the rules do not fit; a folder that holds
/// something else.
pub fn make(go: &str, at: &Path, rules: &Rules, into: &Path) -> Result<ChaosOverlay> {
    let toolchain = Toolchain::of_program(go, at, &Environment::new())?;
    let chaos = changed(&toolchain, rules)?;
    fs::create_dir_all(into).with_context(|| format!("cannot make the folder `{}`", into.shown()))?;
    let into = into.canonicalize().with_context(|| format!("cannot find the folder `{}`", into.shown()))?;
    let mut entries = fs::read_dir(&into).with_context(|| format!("cannot read the folder `{}`", into.shown()))?;
    let list = into.join(LIST);
    if !list.is_file() && entries.next().is_some() {
        return Err(Error::refused(format!("`{}` holds something else than a chaos overlay", into.shown()))
            .hint("name a folder that is not there yet, or one of an earlier `rr-patch chaos overlay`")
            .into());
    }
    let mut replace = Map::new();
    put(&toolchain, &chaos, &into, &mut replace)?;
    write::replace(&list, json!({ "Replace": replace }).to_string().as_bytes(), 0o644)?;
    Ok(ChaosOverlay {
        list,
        go: chaos.go,
        goroot: toolchain.get("GOROOT").into(),
        rules: chaos::digest_of(rules),
        sites: chaos.sites,
        added: chaos.added.into_iter().map(|(name, _)| name).collect(),
    })
}

/// What becomes of the files of a toolchain.
///
/// # Errors
/// A Go whose overlay is broken, or whose files the rules do not fit.
pub(super) fn changed(toolchain: &Toolchain, rules: &Rules) -> Result<Chaos> {
    refuse_broken(toolchain)?;
    Chaos::of(rules, Path::new(toolchain.get("GOROOT")), toolchain.version())
}

/// Writes the files below a folder, and says in `replace` what they stand for.
pub(super) fn put(toolchain: &Toolchain, chaos: &Chaos, into: &Path, replace: &mut Map<String, Value>) -> Result<()> {
    let sources = Path::new(toolchain.get("GOROOT")).join("src");
    let folder = into.join(&chaos.go);
    for (name, bytes) in chaos.changed.iter().chain(&chaos.added) {
        let file = folder.join(name);
        let parent = file.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder `{}`", parent.shown()))?;
        write::replace(&file, bytes, 0o644)?;
        replace.insert(for_child(&sources.join(name))?.to_owned(), json!(for_child(&file)?));
    }
    Ok(())
}
