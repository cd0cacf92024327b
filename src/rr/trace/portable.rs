//! Makes a trace self-contained, like `rr pack`, but without changing it: the files to copy, with their new names,
//! and a stream `mmaps` that uses those names.
//!
//! rr's own copies and reflinks are kept. A link or a mere path becomes a copy with the name that `rr pack` would
//! use. The values that rr compares with a file before a replay are set to zero, as in `rr pack`: inode and owner
//! differ on another host.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::content::{Backing, FILE, FileStatus, Mapped, open, source, unreadable};
use super::stream::{Blocks, MessageEdit, blocks, read};
use super::{SIDECAR, STREAMS, Trace};
use crate::error::{Error, Shown};

/// A file of a portable trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the folder.
    pub name: String,
    /// The current path of the file.
    pub from: PathBuf,
    pub size: u64,
}

/// A trace that needs no files from outside.
#[derive(Debug)]
pub struct Portable {
    /// The files to copy.
    pub parts: Vec<Part>,
    /// The stream `mmaps`.
    pub mmaps: Vec<u8>,
    /// The name of the program's file among the parts, if it has one.
    pub program: Option<String>,
    /// Possible problems.
    pub warnings: Vec<String>,
}

impl Trace {
    /// The parts of a portable copy.
    ///
    /// # Errors
    /// A file that a replay needs and that is missing.
    pub fn portable(&self) -> Result<Portable> {
        let mapped = self.mapped()?;
        let program = self.program()?.file;
        let (mut warnings, mut parts, mut names) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut taken: BTreeSet<String> = self.files.iter().cloned().collect();
        let mut number = 0;
        for file in mapped {
            let from = file.file(&self.path);
            match file.still(&self.path) {
                FileStatus::Same => {}
                FileStatus::Changed(how) => {
                    warnings.push(format!("`{}` was changed since the recording: {how}", file.original.shown()));
                }
                FileStatus::Missing => {
                    return Err(Error::refused(format!("`{}` cannot be replayed any more", self.path.shown()))
                        .detail(format!("missing: `{}`, which is {}", from.shown(), file.kept.says()))
                        .hint("put the file back as it was, and pack again")
                        .into());
                }
            }
            let name = new_name(file, &mut number, &mut taken);
            let size = from.metadata().with_context(|| format!("cannot read `{}`", from.shown()))?.len();
            parts.push(Part { name: name.clone(), from, size });
            names.insert(file.backing.clone(), name);
        }
        let program = mapped.iter().find(|file| Some(file.file(&self.path)) == program);
        let program = program.and_then(|file| names.get(&file.backing)).cloned();

        let streams = STREAMS.into_iter().filter(|&name| name != "mmaps").map(str::to_owned);
        // On file systems with reflinks, rr stores data that the program read from files in separate reflinks.
        let cloned = self.files.iter().filter(|name| name.starts_with("cloned_data_")).cloned();
        let sidecar = self.sidecar.is_some().then(|| SIDECAR.to_owned());
        for name in ["version".to_owned()].into_iter().chain(streams).chain(cloned).chain(sidecar) {
            let file = open(&self.path, &name)?;
            let size = file.metadata().with_context(|| unreadable(&self.path, &name))?.len();
            parts.push(Part { from: self.path.join(&name), name, size });
        }
        let mmaps = rewritten(&self.path, &names)?;
        Ok(Portable { parts, mmaps, program, warnings })
    }
}

/// The name of a mapped file in a portable trace.
fn new_name(file: &Mapped, number: &mut usize, taken: &mut BTreeSet<String>) -> String {
    if let (Backing::Copy | Backing::Clone | Backing::Pack, Some(name)) = (file.kept, file.backing.to_str()) {
        return name.to_owned();
    }
    let base = file.original.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let name = format!("mmap_pack_{number}_{base}");
        *number += 1;
        if taken.insert(name.clone()) {
            return name;
        }
    }
}

/// The stream `mmaps` of a trace, with new names for its files.
fn rewritten(trace: &Path, names: &BTreeMap<PathBuf, String>) -> Result<Vec<u8>> {
    let mut from = Blocks::new(BufReader::new(open(trace, "mmaps")?));
    let mut held = Vec::new();
    while let Some(message) = read(&mut from).with_context(|| unreadable(trace, "mmaps"))? {
        let mut change = MessageEdit::of(&message)?;
        let fields = message.fields()?;
        if source(&fields) == FILE {
            let backing = PathBuf::from(fields.text(1)?);
            let name = names.get(&backing).with_context(|| format!("`{}` was not found", backing.shown()))?;
            change.set_bytes(1, Path::new(name).as_os_str().as_bytes())?;
            // The words of mode, uid, gid and both halves of the time.
            for place in [14, 15, 16, 20, 21] {
                change.set_u32(place, 0)?;
            }
        }
        change.write(&mut held)?;
    }
    Ok(blocks(&held)?)
}
