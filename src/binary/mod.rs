//! Facts about a Go program from its binary: whether Delve can debug it, what it was built from, and what it needs to
//! run. For an installer, also the facts of each controller in its embedded zip.
//!
//! ```text
//! openshift-install   ELF ── .go.buildinfo     Go, module, flags       → goinfo
//!                        ├── .debug_info …     producers, source files → dwarf
//!                        └── .rodata           the zip, unchanged      → installer
//!                               └── cluster-api-provider-aws           → another ELF file
//! ```
//!
//! The only module that uses object, gimli, zip, sha2 and memchr.

mod core;
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

pub use self::core::Core;
pub use elf::hex;
pub use goinfo::GoInfo;
pub use installer::{Content, EmbeddedFile, Installer, Scanned};
pub use scan::{Patch, hash, hash_file};
pub use verdict::{Finding, Kind, REBUILD, REBUILD_OTHER};

/// The facts about one ELF file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Facts {
    pub size: u64,
    pub sha256: String,
    /// In object's notation: `x86_64`, `aarch64`.
    pub architecture: String,

    /// The toolchain, for example `go1.26.8`; `None` if the program was not built by Go.
    pub go: Option<String>,
    /// The main package, for example `github.com/openshift/installer/cmd/openshift-install`.
    pub package: Option<String>,
    pub module: Option<String>,
    pub version: Option<String>,
    /// The build settings recorded by Go: `-gcflags`, `-ldflags`, `CGO_ENABLED`, `vcs.revision` and so on.
    pub settings: BTreeMap<String, String>,

    /// Whether there is debug information and gimli can read all of its units.
    pub dwarf: bool,
    /// Why existing debug information cannot be read.
    pub dwarf_error: Option<String>,
    pub dwarf_version: Option<u16>,
    /// Whether the compiler optimised or inlined. Derived from the units' producers, which contain `-N -l`; without
    /// units, from the setting `-gcflags`. `None` without either.
    pub optimised: Option<bool>,
    /// Whether it was built with the chaos overlay: goroutines yield where they meet, if the environment asks for it.
    pub chaos: bool,
    pub units: Units,
    /// Whether the symbol table is missing.
    pub stripped: bool,

    /// Whether a dynamic loader starts the program. rr's syscall buffer works only in such programs.
    pub dynamic: bool,
    pub interpreter: Option<String>,
    /// The newest glibc version whose symbols it needs, for example (2, 34).
    pub glibc: Option<(u32, u32)>,

    /// Go's build id, which changes with every input.
    pub build_id: Option<String>,
    pub gnu_build_id: Option<String>,
    pub sources: SourceFiles,
}

/// The compilation units in the debug information.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Units {
    /// Units compiled by Go.
    pub go: usize,
    /// Those of them compiled with optimisation or inlining. Units of the runtime are not counted, because the
    /// compiler ignores `-N` for them.
    pub optimised: usize,
    /// An example of an optimised unit.
    pub example: Option<String>,
}

/// The Go sources in the debug information.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SourceFiles {
    /// The number of files with an absolute path.
    pub named: usize,
    /// How many of these exist on this host.
    pub here: usize,
    /// The first that does not exist.
    pub missing: Option<String>,
    /// The number of files with a relative path, as `-trimpath` leaves them.
    pub relative: usize,
    /// The folder of the main package.
    pub main: Option<String>,
}

impl Facts {
    /// Reads the ELF file at `path` in parts: a debug build of the installer has half a gigabyte.
    ///
    /// # Errors
    /// A refusal if it is not an ELF file; a failure if it is truncated or damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let cache = object::ReadCache::new(open(path)?);
        let facts = elf::facts(&cache).map_err(|error| explain(&error, &format!("`{}`", path.shown())))?;
        let (sha256, size) = hash_file(path)?;
        Ok(Self { size, sha256, ..facts })
    }

    /// Like [`Facts::read`], but without the hash and without reading the debug information: only its presence is
    /// checked. A build uses it for each controller before it begins.
    pub fn read_summary(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let size = file.metadata().with_context(|| format!("cannot read `{}`", path.shown()))?.len();
        let cache = object::ReadCache::new(file);
        let facts = elf::read_summary(&cache).map_err(|error| explain(&error, &format!("`{}`", path.shown())))?;
        Ok(Self { size, ..facts })
    }

    /// Like [`Facts::read`], for an ELF file in memory.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let facts = elf::facts(bytes).map_err(|error| explain(&error, "this"))?;
        Ok(Self { size: bytes.len() as u64, sha256: hash(bytes), ..facts })
    }

    /// The value that the linker was given for a variable. `variable` is the end of its path, for example
    /// `version.Commit`.
    pub fn linked(&self, variable: &str) -> Option<String> {
        goinfo::linked(self.settings.get("-ldflags")?, variable)
    }
}

/// Why an ELF file could not be read.
#[derive(Debug)]
enum Unread {
    /// Not an ELF file; with the file's first bytes.
    NotElf(Vec<u8>),
    /// The headers describe data beyond the end of the file.
    CutOff {
        what: String,
        needs: u64,
        has: u64,
    },
    Damaged(String),
}

/// Whether these are the first bytes of an ELF file.
fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(elf::MAGIC)
}

/// The first bytes of a file, which show whether it is a program or text.
pub fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut first = Vec::new();
    let read = open(path)?.take(64).read_to_end(&mut first);
    read.with_context(|| format!("cannot read `{}`", path.shown()))?;
    Ok(first)
}

fn open(path: &Path) -> Result<File> {
    // Checked before opening, because opening a pipe would block.
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
        Unread::CutOff { .. } | Unread::Damaged(_) => Error::failed(format!("{what} is not a complete ELF program"))
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
                write!(f, "truncated: {what} ends at byte {needs}, and the file at {has}")
            }
            Self::Damaged(why) => write!(f, "damaged: {why}"),
        }
    }
}

/// Describes the first bytes for a message.
fn begins(first: &[u8]) -> String {
    match first {
        [] => "an empty file".into(),
        _ => format!("it begins with `{}`", first.escape_ascii()),
    }
}
