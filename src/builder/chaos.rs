//! The chaos overlay of a toolchain, in a folder: what `-overlay` of `go build` and `go test` takes.
//!
//! ```text
//! DIR/overlay.json                   what stands for what
//! DIR/go1.26.8/runtime/chan.go …     the files themselves
//! DIR/goroot-go1.26.8                a link to the toolchain, if Go downloaded it
//! ```
//!
//! Since 1.25 Go takes no overlay of what lies below GOMODCACHE, where it keeps the toolchains that it downloads. It
//! goes by names: reached by a link from elsewhere, the same toolchain takes one. Debug information names its files by
//! the link, too.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
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
    /// Where that Go lies, as the overlay names it.
    pub goroot: PathBuf,
    /// What else has to be set for `go`: nothing for most toolchains, and PATH among it for one that was downloaded.
    pub environment: Environment,
    /// The SHA-256 of the rules and of what they add.
    pub rules: String,
    pub sites: Vec<Site>,
    /// The files that are added, by their names below `GOROOT/src`.
    pub added: Vec<String>,
}

/// What becomes of the library of one toolchain.
#[derive(Debug)]
pub struct Library {
    pub chaos: Chaos,
    /// Where the toolchain lies.
    real: PathBuf,
    /// How the overlay names that place: as it is, or by a link.
    pub goroot: PathBuf,
}

/// Writes the overlay for the Go that builds in the folder `at` into the folder `into`. `go` is the program: `go`, or a
/// path.
///
/// # Errors
/// A Go that does not answer, whose overlay is broken, or whose files the rules do not fit; a folder that holds
/// something else.
pub fn make(go: &str, at: &Path, rules: &Rules, into: &Path) -> Result<ChaosOverlay> {
    let toolchain = Toolchain::of_program(go, at, &Environment::new())?;
    let mut library = Library::of(&toolchain, rules, into)?;
    fs::create_dir_all(into).with_context(|| format!("cannot make the folder `{}`", into.shown()))?;
    let into = into.canonicalize().with_context(|| format!("cannot find the folder `{}`", into.shown()))?;
    let mut entries = fs::read_dir(&into).with_context(|| format!("cannot read the folder `{}`", into.shown()))?;
    let list = into.join(LIST);
    if !list.is_file() && entries.next().is_some() {
        return Err(Error::refused(format!("`{}` holds something else than a chaos overlay", into.shown()))
            .hint("name a folder that is not there yet, or one of an earlier `rr-patch chaos overlay`")
            .into());
    }
    library.reach_from(&toolchain, &into);
    let mut replace = Map::new();
    library.put(&into, &mut replace)?;
    write::replace(&list, json!({ "Replace": replace }).to_string().as_bytes(), 0o644)?;
    Ok(ChaosOverlay {
        list,
        environment: library.environment(env::var("PATH").unwrap_or_default().as_str())?,
        go: library.chaos.go,
        goroot: library.goroot,
        rules: chaos::digest_of(rules),
        sites: library.chaos.sites,
        added: library.chaos.added.into_iter().map(|(name, _)| name).collect(),
    })
}

impl Library {
    /// What becomes of the library of a toolchain, whose link would lie in the folder `links`. Nothing is written.
    ///
    /// # Errors
    /// A Go whose overlay is broken, or whose files the rules do not fit.
    pub fn of(toolchain: &Toolchain, rules: &Rules, links: &Path) -> Result<Self> {
        refuse_broken(toolchain)?;
        let real = PathBuf::from(toolchain.get("GOROOT"));
        let chaos = Chaos::of(rules, &real, toolchain.version())?;
        let mut library = Self { chaos, goroot: real.clone(), real };
        library.reach_from(toolchain, links);
        Ok(library)
    }

    fn reach_from(&mut self, toolchain: &Toolchain, links: &Path) {
        if self.real.starts_with(toolchain.get("GOMODCACHE")) {
            self.goroot = links.join(format!("goroot-{}", self.chaos.go));
        }
    }

    /// Whether this is the toolchain's.
    pub fn is_of(&self, toolchain: &Toolchain) -> bool {
        self.real == Path::new(toolchain.get("GOROOT"))
    }

    /// Whether the toolchain is reached by a link: only what [`Library::environment`] sets finds it there.
    pub fn is_linked(&self) -> bool {
        self.goroot != self.real
    }

    /// What makes `go` the one that is reached by the link, in front of `path`.
    pub fn environment(&self, path: &str) -> Result<Environment> {
        if !self.is_linked() {
            return Ok(Environment::new());
        }
        let goroot = for_child(&self.goroot)?;
        let set = [
            ("GOROOT", goroot.to_owned()),
            ("GOTOOLCHAIN", "local".to_owned()),
            ("PATH", format!("{goroot}/bin:{path}")),
        ];
        Ok(set.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// The files that are added, as debug information names them.
    pub fn absent(&self) -> impl Iterator<Item = String> {
        let sources = self.goroot.join("src");
        self.chaos.added.iter().map(move |(name, _)| sources.join(name).in_json())
    }

    /// Writes the files below a folder, and says in `replace` what they stand for.
    pub fn put(&self, into: &Path, replace: &mut Map<String, Value>) -> Result<()> {
        if self.is_linked() {
            let link = &self.goroot;
            let parent = link.parent().unwrap_or(into);
            fs::create_dir_all(parent).with_context(|| format!("cannot make the folder `{}`", parent.shown()))?;
            match symlink(&self.real, link) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    write::remove(link)?;
                    symlink(&self.real, link)
                }
                made => made,
            }
            .with_context(|| format!("cannot make the link `{}`", link.shown()))?;
        }
        let sources = self.goroot.join("src");
        let folder = into.join(&self.chaos.go);
        for (name, bytes) in self.chaos.changed.iter().chain(&self.chaos.added) {
            let file = folder.join(name);
            let parent = file.parent().unwrap_or(&folder);
            fs::create_dir_all(parent).with_context(|| format!("cannot make the folder `{}`", parent.shown()))?;
            write::replace(&file, bytes, 0o644)?;
            replace.insert(for_child(&sources.join(name))?.to_owned(), json!(for_child(&file)?));
        }
        Ok(())
    }
}
