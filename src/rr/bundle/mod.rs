//! A bundle: traces that replay on another host, in one file. The only module that knows tar, zstd, age
//! and SHA-256.
//!
//! ```text
//! rr-patch-bundle.json                what is in it; always first, so that nothing need be written to refuse it
//! cluster-api-provider-aws-0/version  a trace, self-contained: see trace::portable
//! cluster-api-provider-aws-0/…
//! sources/usr/lib/go/src/…            the sources that its program's DWARF names, by their whole paths
//! manifest.json                       size and SHA-256 of every entry before it; always last
//! ```
//!
//! It is a tar of plain files, compressed with zstd, and encrypted with age if somebody is named who may
//! read it. `tar`, `zstd` and `age` take it apart as well.

mod elf;
mod pack;
mod pipe;
mod unpack;

use std::io::{self, Read};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use elf::{About, about};
pub use pack::{LEVELS, Packing, pack};
pub use unpack::{Unpacked, Unpacking, target_name, unpack};

use crate::binary::hex;
use crate::rr::trace::Trace;

/// The first entry.
pub const HEAD: &str = "rr-patch-bundle.json";

/// The last entry.
pub const MANIFEST: &str = "manifest.json";

/// The folder of the sources.
pub const SOURCES: &str = "sources";

const SCHEMA: &str = "rr-patch/bundle/1";
const MANIFEST_SCHEMA: &str = "rr-patch/bundle-manifest/1";

/// What is in a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    pub schema: String,
    /// Our name and version.
    pub tool: String,
    /// When it was packed, as RFC 3339 has it.
    pub packed: String,
    /// How many entries lie between this one and the manifest, and their bytes.
    pub entries: u64,
    pub bytes: u64,
    pub traces: Vec<Packed>,
    pub sources: Sources,
    /// The checkouts that the sources lie in: where what is missing can be had.
    pub checkouts: Vec<Checkout>,
    pub warnings: Vec<String>,
}

/// One trace of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packed {
    /// Its folder.
    pub name: String,
    pub controller: String,
    /// rr's own name for it.
    pub uuid: String,
    pub started: String,
    pub ended: Option<String>,
    /// Whether a replay needs `-W`; nothing where nobody noted it.
    pub software_counters: Option<bool>,
    pub rr_version: Option<String>,
    /// The program's file in the folder, for a debugger; nothing where rr keeps its bytes in a stream.
    pub program: Option<String>,
    /// The path that it was recorded from.
    pub path: String,
    pub dwarf: bool,
    pub go_version: Option<String>,
    pub package: Option<String>,
    /// The commit that Go noted, or that the sidecar names, and where it can be had.
    pub revision: Option<String>,
    pub modified: bool,
    pub remote: Option<String>,
}

/// The sources of all programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sources {
    pub packed: usize,
    /// Those that are not on the host that packed.
    pub missing: Vec<String>,
    /// How many were written to after the recording had begun: their lines may have moved.
    pub newer: usize,
}

/// A git checkout that sources lie in.
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

/// Hashes what is read through it, and tells how much that is.
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

/// The folder with the sources of an unpacked trace, named there by their whole paths.
pub fn sources(trace: &Trace) -> Option<PathBuf> {
    let folder = trace.path.parent().filter(|folder| folder.join(HEAD).is_file())?;
    Some(folder.join(SOURCES)).filter(|sources| sources.is_dir())
}
