//! What a Go program says of itself: whether Delve can debug it, what it was built from, and what it needs
//! to run; and the same of each controller in the zip that an installer embeds.
//!
//! ```text
//! openshift-install   ELF ── .go.buildinfo     Go, module, flags       → goinfo
//!                        ├── .debug_info …     producers, source files → dwarf
//!                        └── .rodata           a zip, as it is         → installer
//!                               └── cluster-api-provider-aws           → an ELF again
//! ```
//!
//! The only module that knows object, gimli, zip, sha2 and memchr.

mod dwarf;
mod elf;
mod goinfo;
mod installer;
mod scan;
mod verdict;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Shown};

pub use elf::hex;
pub use goinfo::GoInfo;
pub use installer::{Content, Entry, Installer, Scanned};
pub use scan::{Patch, hash, hash_file};
pub use verdict::{Finding, Kind, REBUILD};

/// What one ELF says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Facts {
    pub size: u64,
    pub sha256: String,
    /// As object names it: `x86_64`, `aarch64`.
    pub architecture: String,

    /// The toolchain, as `go1.26.8`; none in a program that is not Go's.
    pub go: Option<String>,
    /// The main package, as `github.com/openshift/installer/cmd/openshift-install`.
    pub package: Option<String>,
    pub module: Option<String>,
    pub version: Option<String>,
    /// The build settings that Go notes: `-gcflags`, `-ldflags`, `CGO_ENABLED`, `vcs.revision` and so on.
    pub settings: BTreeMap<String, String>,

    /// Whether there is debug information, and gimli reads all of its units.
    pub dwarf: bool,
    /// Why it cannot be read, where there is some.
    pub dwarf_error: Option<String>,
    pub dwarf_version: Option<u16>,
    /// Whether the compiler optimised or inlined. From the units' producers, which name `-N -l`, and where
    /// there are none from the setting `-gcflags`. None where neither is there.
    pub optimised: Option<bool>,
    pub units: Units,
    /// Without a symbol table.
    pub stripped: bool,

    /// Started by a dynamic loader: rr's syscall buffer loads into such programs only.
    pub dynamic: bool,
    pub interpreter: Option<String>,
    /// The newest glibc whose symbols it needs, as (2, 34).
    pub glibc: Option<(u32, u32)>,

    /// Go's own, which changes with every input.
    pub build_id: Option<String>,
    pub gnu_build_id: Option<String>,
    pub sources: Sources,
}

/// The compilation units of the debug information.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Units {
    /// Those that Go's compiler made.
    pub go: usize,
    /// Those of them compiled with optimisation or inlining, the runtime's own apart: the compiler never
    /// takes `-N` for them.
    pub optimised: usize,
    /// One of these, as an example.
    pub example: Option<String>,
}

/// The Go sources that the debug information names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sources {
    /// How many files are named by a whole path.
    pub named: usize,
    /// How many of these exist on this host.
    pub here: usize,
    /// The first that does not.
    pub missing: Option<String>,
    /// How many are named by a path that says not from where, as `-trimpath` leaves them.
    pub relative: usize,
    /// The folder of the main package.
    pub main: Option<String>,
}

impl Facts {
    /// Reads the ELF at `path`, in pieces: a debug build of the installer has half a gigabyte.
    ///
    /// # Errors
    /// A refusal where it is no ELF; a failure where it is one that is cut off or damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let cache = object::ReadCache::new(open(path)?);
        let facts = elf::facts(&cache).map_err(|error| explain(&error, &format!("`{}`", path.shown())))?;
        let (sha256, size) = hash_file(path)?;
        Ok(Self { size, sha256, ..facts })
    }

    /// The same without the hash, and with a look at the debug information that says only whether there is
    /// any: what a build asks of each controller before it begins.
    pub fn glance(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let size = file.metadata().with_context(|| format!("cannot read `{}`", path.shown()))?.len();
        let cache = object::ReadCache::new(file);
        let facts = elf::glance(&cache).map_err(|error| explain(&error, &format!("`{}`", path.shown())))?;
        Ok(Self { size, ..facts })
    }

    /// The same for an ELF that is in memory.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let facts = elf::facts(bytes).map_err(|error| explain(&error, "this"))?;
        Ok(Self { size: bytes.len() as u64, sha256: hash(bytes), ..facts })
    }

    /// What the linker was told to put into a variable, named by the end of its path: `version.Commit`.
    pub fn linked(&self, variable: &str) -> Option<String> {
        goinfo::linked(self.settings.get("-ldflags")?, variable)
    }
}

/// Why an ELF could not be read.
#[derive(Debug)]
enum Unread {
    /// It is none: these are its first bytes.
    NotElf(Vec<u8>),
    /// Something lies beyond its end.
    CutOff {
        what: String,
        needs: u64,
        has: u64,
    },
    Damaged(String),
}

/// Whether these bytes begin an ELF.
fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(elf::MAGIC)
}

/// The first bytes of a file, to tell a program from a text.
pub fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut first = Vec::new();
    let read = open(path)?.take(64).read_to_end(&mut first);
    read.with_context(|| format!("cannot read `{}`", path.shown()))?;
    Ok(first)
}

fn open(path: &Path) -> Result<File> {
    // Looked at first: opening a pipe would wait for somebody to write into it.
    let seen = fs::metadata(path).with_context(|| format!("cannot open `{}`", path.shown()))?;
    if !seen.is_file() {
        return Err(Error::refused(format!("`{}` is not a regular file", path.shown()))
            .hint("name an installer, a controller, or the file `….rr-patch.json` beside an installer")
            .into());
    }
    File::open(path).with_context(|| format!("cannot open `{}`", path.shown()))
}

fn explain(error: &Unread, what: &str) -> anyhow::Error {
    match error {
        Unread::NotElf(first) => Error::refused(format!("{what} is no ELF program"))
            .detail("expected: a program for Linux, which begins with `\\x7fELF`")
            .detail(format!("found: {}", begins(first)))
            .into(),
        Unread::CutOff { .. } | Unread::Damaged(_) => Error::failed(format!("{what} is no whole ELF program"))
            .detail(error.to_string())
            .hint("copy or build it again")
            .into(),
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotElf(first) => write!(f, "no ELF program: {}", begins(first)),
            Self::CutOff { what, needs, has } => {
                write!(f, "cut off: {what} ends at byte {needs}, and the file at {has}")
            }
            Self::Damaged(why) => write!(f, "damaged: {why}"),
        }
    }
}

/// The first bytes, for a message.
fn begins(first: &[u8]) -> String {
    match first {
        [] => "an empty file".into(),
        _ => format!("it begins with `{}`", first.escape_ascii()),
    }
}
