//! A bundle: one file with traces that can be replayed on another host. The only module that uses tar, zstd, age and
//! SHA-256.
//!
//! ```text
//! rr-patch-bundle.json                the contents; always first, so a bundle can be refused before anything is
//! written
//! cluster-api-provider-aws-0/version  a trace, self-contained: see trace::portable
//! cluster-api-provider-aws-0/…
//! sources/usr/lib/go/src/…            the sources that the program's DWARF names, by their full paths
//! manifest.json                       size and SHA-256 of every entry before it; always last
//! ```
//!
//! The file is a tar of plain files, compressed with zstd, and encrypted with age if recipients are given. The
//! programs `tar`, `zstd` and `age` can unpack it too.

mod elf;
mod pack;
mod pipe;
mod unpack;

use std::io::{self, Read};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use elf::{ProgramFacts, about};
pub use pack::{LEVELS, Packing, pack};
pub use unpack::{Unpacked, Unpacking, target_name, unpack};

use crate::binary::hex;
use crate::rr::trace::Trace;

/// The name of the first entry.
pub const HEAD: &str = "rr-patch-bundle.json";

/// The name of the last entry.
pub const MANIFEST: &str = "manifest.json";

/// The folder of the sources.
pub const SOURCES: &str = "sources";

const SCHEMA: &str = "rr-patch/bundle/1";
const MANIFEST_SCHEMA: &str = "rr-patch/bundle-manifest/1";

/// The contents of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    pub schema: String,
    /// rr-patch's name and version.
    pub tool: String,
    /// When it was packed, in RFC 3339 format.
    pub packed: String,
    /// The number of entries between this one and the manifest, and their total size.
    pub entries: u64,
    pub bytes: u64,
    pub traces: Vec<Packed>,
    pub sources: PackedSources,
    /// The git checkouts of the sources, from which missing files can be fetched.
    pub checkouts: Vec<Checkout>,
    pub warnings: Vec<String>,
}

/// One trace of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packed {
    /// Its folder.
    pub name: String,
    pub controller: String,
    /// rr's own id for the trace.
    pub uuid: String,
    pub started: String,
    pub ended: Option<String>,
    /// Whether a replay needs `-W`; `None` if unknown.
    pub software_counters: Option<bool>,
    pub rr_version: Option<String>,
    /// The program's file in the folder, for a debugger; `None` if rr stored it in a stream.
    pub program: Option<String>,
    /// The path that it was recorded from.
    pub path: String,
    pub dwarf: bool,
    pub go_version: Option<String>,
    pub package: Option<String>,
    /// The commit from Go's build information or from the sidecar, and its remote.
    pub revision: Option<String>,
    pub modified: bool,
    pub remote: Option<String>,
}

/// The sources of all programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackedSources {
    pub packed: usize,
    /// Sources that were missing on the host that packed the bundle.
    pub missing: Vec<String>,
    /// The number of sources that were changed after the recording began: their line numbers may be wrong.
    pub newer: usize,
}

/// A git checkout that contains sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checkout {
    pub folder: PathBuf,
    pub commit: String,
    pub remote: Option<String>,
}

/// The checksums of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    schema: String,
    entries: Vec<Sum>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    path: String,
    size: u64,
    sha256: String,
}

/// A reader that hashes and counts the bytes that pass through it.
struct Hashing<'a, R> {
    from: R,
    hash: Sha256,
    size: u64,
    see: &'a mut dyn FnMut(u64) -> io::Result<()>,
}

impl<'a, R: Read> Hashing<'a, R> {
    fn new(from: R, see: &'a mut dyn FnMut(u64) -> io::Result<()>) -> Self {
        Self { from, hash: Sha256::new(), size: 0, see }
    }

    fn sum(self, path: &str) -> Sum {
        let sha256 = hex(&self.hash.finalize());
        Sum { path: path.into(), size: self.size, sha256 }
    }
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.size += read as u64;
        (self.see)(read as u64)?;
        Ok(read)
    }
}

/// The folder with the sources of an unpacked trace, stored by their full paths.
pub fn sources(trace: &Trace) -> Option<PathBuf> {
    let folder = trace.path.parent().filter(|folder| folder.join(HEAD).is_file())?;
    Some(folder.join(SOURCES)).filter(|sources| sources.is_dir())
}
