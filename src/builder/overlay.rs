//! Building a recording installer without a write to the checkout: `go build -overlay`.
//!
//! ```text
//! checkout ── rules ──▶ plan ──▶ patched files in the state folder ──▶ GOFLAGS=-overlay=… ──▶ build.sh
//!                                         └── after the build: kept beside the installer, for Delve
//! ```
//!
//! build.sh expands `${GOFLAGS}` without quotes, so the name of the file that `-overlay` takes may hold no blank
//! and no `*`, wherever the checkout, HOME and TMPDIR are. It is therefore a file in memory, named
//! `/proc/PID/fd/N`: such a name is always plain, and nothing is left of it when rr-patch is killed. The names in the
//! file are JSON, which no shell expands.
//!
//! Go compiles an overlaid file under the name that it stands for. So the debug information names files of the
//! checkout, where the original lies, or no file at all. The patched ones are kept beside the installer.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::{Map, json};

use super::chaos::Library;
use super::prerequisites::value;
use super::script::{Compilation, version};
use super::toolchain::Toolchain;
use crate::binary::hash;
use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::patch::plan::{PatchSource, Plan};
use crate::patch::recognise::Recognised;
use crate::patch::rules::{Options, Rules};
use crate::provenance::{Kept, Overlaid, sources_of};
use crate::sys::process::{Environment, for_child};

/// The folder in the state folder that the build reads from.
const FOLDER: &str = "overlay";

/// The release whose `-overlay` does not find added files: golang/go issue 71783.
const BROKEN: (u32, u32, u32) = (1, 24, 0);

/// What `rr-patch apply` would change here.
///
/// # Errors
/// A checkout that is patched already; sources that the rules do not understand.
pub fn plan(checkout: &Checkout, options: &Options) -> Result<Plan> {
    if Recognised::find(checkout)?.is_some() {
        return Err(Error::refused(format!("`{}` is patched already", checkout.root().shown()))
            .hint("leave `--overlay` out: `rr-patch build` builds what is there")
            .hint("`rr-patch revert` takes the changes back first")
            .into());
    }
    PatchSource::Structural(options.clone(), Rules::built_in()?).plan(&|path| checkout.read(path), None)
}

/// Refuses a Go whose overlay is broken.
pub fn refuse_broken(toolchain: &Toolchain) -> Result<(), Error> {
    if version(toolchain.version()) != Some(BROKEN) {
        return Ok(());
    }
    Err(Error::refused(format!("`go build -overlay` of {} does not find added files", toolchain.version()))
        .detail("expected: any other release (golang/go issue 71783, fixed in 1.24.1)")
        .hint("`GOTOOLCHAIN=go1.24.1` in the environment, or `--env GOTOOLCHAIN=go1.24.1`, builds with the next one"))
}

/// Files that a build reads in place of the checkout's, of Go's library, or of both. They go with this value.
#[derive(Debug)]
pub struct Overlay {
    folder: PathBuf,
    /// The JSON that `-overlay` takes.
    list: File,
    files: Vec<(Overlaid, Vec<u8>)>,
}

/// Removes what a killed build left in the state folder. Only with the build lock held.
pub fn clear(checkout: &Checkout) -> Result<()> {
    remove(&checkout.state_dir().join(FOLDER))
}

impl Overlay {
    /// Writes the files of a plan and the changed ones of toolchains into a folder of that name in the state folder.
    /// Only with the build lock held.
    pub fn write(checkout: &Checkout, name: &str, plan: Option<&Plan>, chaos: &[Library]) -> Result<Self> {
        let folder = checkout.state_dir().join(FOLDER).join(name);
        let list = memfd_create("overlay.json", MemfdFlags::CLOEXEC).context("cannot make a file in memory")?;
        let mut overlay = Self { folder, list: list.into(), files: Vec::new() };
        let mut replace = Map::new();
        for library in chaos {
            library.put(&overlay.folder, &mut replace)?;
        }
        for rewrite in plan.iter().flat_map(|plan| &plan.rewrites) {
            let place = for_child(&checkout.locate(&rewrite.path))?.to_owned();
            let Some(after) = &rewrite.after else {
                replace.insert(place, json!(""));
                continue;
            };
            let copy = put(&overlay.folder, &rewrite.path, &after.bytes)?;
            replace.insert(place, json!(for_child(&copy)?));
            let (path, sha256) = (rewrite.path.clone(), hash(&after.bytes));
            overlay.files.push((Overlaid { path, sha256, added: rewrite.before.is_none() }, after.bytes.clone()));
        }
        let text = json!({ "Replace": replace }).to_string();
        overlay.list.write_all(text.as_bytes()).context("cannot write a file in memory")?;
        Ok(overlay)
    }

    /// The environment of build.sh with this overlay in GOFLAGS. build.sh has a default for an empty one.
    pub fn tell(&self, environment: &mut Environment, checkout: &Checkout, toolchain: &Toolchain) -> Result<()> {
        let mut flags: Vec<String> = toolchain.get("GOFLAGS").split_whitespace().map(str::to_owned).collect();
        let default = Compilation::of(checkout).environment;
        let given = value(environment, "GOFLAGS").is_some_and(|flags| !flags.is_empty());
        flags.extend(default.get("GOFLAGS").filter(|_| !given).cloned());
        flags.push(format!("-overlay=/proc/{}/fd/{}", std::process::id(), self.list.as_raw_fd()));
        environment.insert("GOFLAGS".into(), flags.join(" "));
        // Go goes by this name of the current folder, and the overlay by the one without links.
        environment.insert("PWD".into(), for_child(checkout.root())?.to_owned());
        Ok(())
    }

    /// Keeps the files of the checkout beside the installer, if there are some.
    pub fn keep(&self, installer: &Path, checkout: &Checkout) -> Result<Option<Kept>> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let folder = sources_of(installer);
        self.files.iter().try_for_each(|(file, bytes)| put(&folder, &file.path, bytes).map(drop))?;
        let files = self.files.iter().map(|(file, _)| file.clone()).collect();
        Ok(Some(Kept { folder, root: checkout.root().in_json(), files }))
    }

    /// The sources that the installer's debug information names, and that are not in the checkout.
    pub fn absent(&self, checkout: &Checkout) -> Vec<String> {
        let added = self.files.iter().map(|(file, _)| file).filter(|file| file.added);
        let compiled = added.filter(|file| !file.path.ends_with("_windows.go"));
        compiled.map(|file| checkout.locate(&file.path).in_json()).collect()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // What cannot be removed is not in the way: the next build writes it anew.
        let _ = fs::remove_dir_all(&self.folder);
        let _ = self.folder.parent().map(fs::remove_dir);
    }
}

/// Removes the sources that an earlier overlay build kept beside the installer: they are not those of this one.
pub fn forget(installer: &Path) -> Result<()> {
    remove(&sources_of(installer))
}

fn put(folder: &Path, path: &str, bytes: &[u8]) -> Result<PathBuf> {
    let file = folder.join(path);
    let parent = file.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.shown()))?;
    fs::write(&file, bytes).with_context(|| format!("cannot write `{}`", file.shown()))?;
    Ok(file)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", folder.shown()))
        }
        _ => Ok(()),
    }
}
