//! Scans a file of half a gigabyte in one pass: its hash, the possible ends of zips, and the names of the functions
//! that rr-patch adds.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use memchr::memmem::Finder;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::elf::hex;
use super::open;
use crate::error::Shown;

/// The first bytes of a zip's end record.
pub const ZIP_END: &[u8] = b"PK\x05\x06";

/// The patched package, as a prefix of its functions' names.
const PACKAGE: &[u8] = b"clusterapi/internal/process.";

/// Functions of `patches/support` that are linked only if the patched sources call them. One each is called by Start,
/// runController, Stop and Teardown. Their names are in Go's function table, which `-s -w` does not remove, each
/// followed by a zero byte. Each has its current name and its name in version 0.1.
const FUNCTIONS: [[&str; 2]; 4] = [
    ["(*State).startSupervised", "(*State).supervise"],
    ["(*Supervisor).recorderFor", "recorderFor"],
    ["(*State).terminate", "(*State).terminate"],
    ["AwaitAll", "AwaitAll"],
];

const CHUNK: usize = 1 << 20;

/// Longer than any searched text.
const OVERLAP: usize = 64;

/// Whether a program contains the functions that `rr-patch apply` adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Patch {
    /// The added functions that were found.
    pub found: Vec<&'static str>,
    /// The added functions that were not found.
    pub missing: Vec<&'static str>,
}

impl Patch {
    /// Whether all functions were found.
    pub fn whole(&self) -> bool {
        self.missing.is_empty()
    }
}

#[derive(Debug)]
pub struct Scan {
    pub sha256: String,
    pub size: u64,
    /// The offsets where the end record of a zip may begin.
    pub zip_ends: Vec<u64>,
    pub patch: Patch,
}

impl Scan {
    pub fn of(mut file: impl Read) -> io::Result<Self> {
        let (zip_end, package) = (Finder::new(ZIP_END), Finder::new(PACKAGE));
        let mut found = [None; FUNCTIONS.len()];
        let mut zip_ends = Vec::new();
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; OVERLAP + CHUNK];
        // The number of bytes kept from the previous chunk, and the buffer's offset in the file.
        let (mut kept, mut begins) = (0, 0_u64);
        loop {
            let read = fill(&mut file, &mut buffer[kept..])?;
            hasher.update(&buffer[kept..kept + read]);
            let (bytes, last) = (&buffer[..kept + read], read == 0);
            // A match may be cut at the end of the buffer. The last bytes are searched again with the next chunk.
            let until = if last { bytes.len() } else { bytes.len().saturating_sub(OVERLAP) };
            zip_ends.extend(zip_end.find_iter(bytes).filter(|&at| at < until).map(|at| begins + at as u64));
            for at in package.find_iter(bytes).filter(|&at| at < until) {
                let rest = &bytes[at + PACKAGE.len()..];
                let is_named =
                    |name: &&str| rest.strip_prefix(name.as_bytes()).is_some_and(|after| after.first() == Some(&0));
                for (names, found) in FUNCTIONS.iter().zip(&mut found) {
                    *found = found.or(names.iter().copied().find(is_named));
                }
            }
            if last {
                begins += bytes.len() as u64;
                break;
            }
            begins += until as u64;
            kept = bytes.len() - until;
            buffer.copy_within(until..until + kept, 0);
        }
        let missing = FUNCTIONS.iter().zip(found).filter(|(_, found)| found.is_none()).map(|([today, _], _)| *today);
        let patch = Patch { found: found.into_iter().flatten().collect(), missing: missing.collect() };
        Ok(Self { sha256: hex(&hasher.finalize()), size: begins, zip_ends, patch })
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, and its size.
pub fn hash_file(path: &Path) -> Result<(String, u64)> {
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let read = fill(&mut file, &mut buffer).with_context(|| format!("cannot read `{}`", path.shown()))?;
        if read == 0 {
            return Ok((hex(&hasher.finalize()), size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Scans a file.
pub fn scan(path: &Path) -> Result<(File, Scan)> {
    let file = open(path)?;
    let scan = Scan::of(&file).with_context(|| format!("cannot read `{}`", path.shown()))?;
    Ok((file, scan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_sees_what_lies_across_the_seams_of_its_pieces_once() {
        for at in (CHUNK - 80..CHUNK + OVERLAP + 80).step_by(7) {
            let mut bytes = vec![b'x'; 3 * CHUNK];
            bytes[at..at + 4].copy_from_slice(ZIP_END);
            let name = b"clusterapi/internal/process.AwaitAll\0";
            bytes[CHUNK + at..CHUNK + at + name.len()].copy_from_slice(name);
            let scan = Scan::of(&bytes[..]).unwrap();
            assert_eq!((scan.zip_ends.as_slice(), scan.size), (&[at as u64][..], bytes.len() as u64));
            assert_eq!(scan.patch.found, ["AwaitAll"]);
            assert_eq!(scan.sha256, hash(&bytes));
        }
    }

    #[test]
    fn scan_takes_no_longer_name_for_the_function() {
        let scan = Scan::of(&b"clusterapi/internal/process.AwaitAllOthers\0 PK\x05\x06"[..]).unwrap();
        assert_eq!((scan.patch.found.len(), scan.zip_ends), (0, vec![44]));
    }
}
