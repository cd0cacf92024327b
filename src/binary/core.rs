//! Core dumps of Linux: which program wrote one, which signal ended it, and whether a program file is that program.
//!
//! The kernel writes one segment for each mapping, and notes: `NT_FILE` names the mapped files, `NT_AUXV` holds the
//! addresses that the program was started with, `NT_PRSTATUS` the signal (see core(5) and `fs/binfmt_elf.c`). With the
//! default `coredump_filter` it keeps the first page of each mapped ELF file, where its headers and build id are.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};

use crate::error::{Error, Shown};

/// The first page of a mapped file that the kernel keeps.
const PAGE: usize = 4096;

/// `AT_ENTRY` of <elf.h>: where the program begins.
const AT_ENTRY: u64 = 9;

/// What a core dump says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// The signal that ended the process; nothing if it went on.
    pub signal: Option<i32>,
    /// The file of the program, as the kernel named it.
    pub program: Option<PathBuf>,
    /// The beginning of that file in the process's memory, as far as the kernel kept it.
    head: Vec<u8>,
}

impl Core {
    /// Reads a core dump's headers and notes.
    ///
    /// # Errors
    /// A file that is not a core dump of a 64-bit process, or was cut off.
    pub fn read(path: &Path) -> Result<Self> {
        let not = |found: &str| {
            Error::failed(format!("`{}` is not a core dump", path.shown()))
                .detail("expected: an ELF file of type core, of a 64-bit process")
                .detail(format!("found: {found}"))
                .hint("GOTRACEBACK=crash and `ulimit -c unlimited` make a Go program that crashes write one; /proc/sys/kernel/core_pattern says where")
        };
        let file = File::open(path).with_context(|| format!("cannot read `{}`", path.shown()))?;
        let cache = ReadCache::new(file);
        let size = cache.len().unwrap_or_default();
        let first = cache.read_bytes_at(0, size.min(16)).unwrap_or_default();
        if !first.starts_with(super::elf::MAGIC) {
            return Err(not(&format!("a file that begins with `{}`", first.escape_ascii())).into());
        }
        let header = FileHeader64::<Endianness>::parse(&cache).map_err(|error| not(&error.to_string()))?;
        let endian = header.endian().map_err(|error| not(&error.to_string()))?;
        if header.e_type(endian) != elf::ET_CORE {
            return Err(not(&format!("an ELF file of type {}", header.e_type(endian))).into());
        }
        let segments =
            header.program_headers(endian, &cache).map_err(|_| cut_off(path, "its table of segments", size))?;
        for segment in segments {
            let (start, length) = segment.file_range(endian);
            if start.saturating_add(length) > size {
                return Err(
                    cut_off(path, &format!("segments up to byte {}", start.saturating_add(length)), size).into()
                );
            }
        }
        let mut core = Self::default();
        let (mut files, mut entry) = (Vec::new(), None);
        for segment in segments {
            let Ok(Some(mut notes)) = segment.notes(endian, &cache) else { continue };
            while let Ok(Some(note)) = notes.next() {
                match (note.name(), note.n_type(endian)) {
                    (b"CORE", elf::NT_FILE) => files = mapped(note.desc()),
                    (b"CORE", elf::NT_AUXV) => {
                        let pairs = note.desc().chunks_exact(16);
                        entry = entry.or(pairs
                            .map(|pair| (word(pair, 0), word(pair, 8)))
                            .find_map(|(key, value)| (key == AT_ENTRY).then_some(value)));
                    }
                    // pr_info.si_signo, and pr_cursig after it, of the thread that comes first.
                    (b"CORE", elf::NT_PRSTATUS) if core.signal.is_none() => {
                        let number =
                            note.desc().get(12..14).map_or(0, |bytes| i32::from(bytes[0]) | i32::from(bytes[1]) << 8);
                        core.signal = (number != 0).then_some(number);
                    }
                    _ => {}
                }
            }
        }
        let of_program = entry.and_then(|entry| files.iter().find(|file| (file.start..file.end).contains(&entry)));
        if let Some(of_program) = of_program {
            let begins = files.iter().find(|file| file.name == of_program.name && file.offset == 0);
            core.head = begins.map_or_else(Vec::new, |begins| {
                let within = segments.iter().find(|segment| segment.p_vaddr(endian) == begins.start);
                let (start, length) = within.map_or((0, 0), |segment| segment.file_range(endian));
                cache.read_bytes_at(start, length.min(PAGE as u64)).unwrap_or_default().to_vec()
            });
            core.program = Some(of_program.name.trim_end_matches(" (deleted)").into());
        }
        Ok(core)
    }

    /// Whether a file is the program that wrote this; nothing where the kernel kept nothing of it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn is_of(&self, program: &Path) -> Result<Option<bool>> {
        if self.head.is_empty() {
            return Ok(None);
        }
        let mut head = Vec::new();
        let file = File::open(program).with_context(|| format!("cannot read `{}`", program.shown()))?;
        file.take(self.head.len() as u64)
            .read_to_end(&mut head)
            .with_context(|| format!("cannot read `{}`", program.shown()))?;
        Ok(Some(head == self.head))
    }
}

fn cut_off(path: &Path, needs: &str, size: u64) -> Error {
    Error::failed(format!("the core dump `{}` is cut off", path.shown()))
        .detail(format!("expected: {needs}"))
        .detail(format!("found: {size} bytes"))
        .hint("`ulimit -c unlimited` and room on the disk let the kernel write all of it")
}

/// A mapped file.
struct MappedFile {
    start: u64,
    end: u64,
    /// In pages.
    offset: u64,
    name: String,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The content of `NT_FILE`: how many, the page size, then start, end and offset of each, then their names.
fn mapped(note: &[u8]) -> Vec<MappedFile> {
    let count = usize::try_from(word(note, 0)).unwrap_or_default().min(note.len() / 24);
    let names = note.get(16 + 24 * count..).unwrap_or_default();
    let names = names.split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned());
    let place = |number: usize| 16 + 24 * number;
    let file = |(number, name): (usize, String)| MappedFile {
        start: word(note, place(number)),
        end: word(note, place(number) + 8),
        offset: word(note, place(number) + 16),
        name,
    };
    names.take(count).enumerate().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_of_mapped_files_is_read_and_a_damaged_one_is_empty() {
        let mut note: Vec<u8> =
            [2_u64, 4096, 0x1000, 0x2000, 0, 0x3000, 0x4000, 7].iter().flat_map(|word| word.to_le_bytes()).collect();
        note.extend(b"/bin/a\0/lib/b\0");
        let files = mapped(&note);
        assert_eq!(files.len(), 2);
        assert_eq!(
            (files[1].start, files[1].end, files[1].offset, files[1].name.as_str()),
            (0x3000, 0x4000, 7, "/lib/b")
        );
        assert!(mapped(&[0xff; 9]).is_empty());
    }
}
