//! Reads facts from a Go program: whether it has DWARF, the source files in it, and how the program was built.
//!
//! Only the headers of the line programs are read, one unit at a time. A controller of 100 MB has some tens of MB of
//! line programs, and rr-patch has a memory limit of 100 MB.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::ZlibDecoder;
use gimli::{AttributeValue, DebugLine, DebugLineOffset, DebugLineStr, DebugStr, LittleEndian};
use object::read::elf::ElfFile64;
use object::{CompressionFormat, Object, ObjectSection, ReadCache};

use crate::binary::GoInfo;
use crate::error::Shown;

/// The largest unit that is read; units of Go programs are smaller.
const LARGEST_UNIT: u64 = 64 << 20;

/// The largest string section that is read; those of Go's line programs are smaller.
const LARGEST_STRINGS: u64 = 64 << 20;

/// The largest build note that is read; those of Go are smaller.
const LARGEST_NOTE: u64 = 4 << 20;

/// Facts about a program from its own file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Whether it has debug information for Delve.
    pub dwarf: bool,
    /// The paths of its sources, as the compiler wrote them.
    pub sources: BTreeSet<String>,
    /// The version of Go that built it.
    pub go: Option<String>,
    /// Its main package, and the commit that it was built from, if Go recorded them.
    pub package: Option<String>,
    pub revision: Option<String>,
    /// Whether the work tree had uncommitted changes.
    pub modified: bool,
}

/// The position of a section in a file.
struct Section {
    at: u64,
    size: u64,
    zlib: bool,
}

impl Section {
    /// Opens the section's content as a stream.
    fn open(&self, path: &Path) -> Result<Box<dyn Read>> {
        let open = || -> std::io::Result<File> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(self.at))?;
            Ok(file)
        };
        let file = open().with_context(|| format!("cannot read `{}`", path.shown()))?;
        let bytes = BufReader::new(file.take(self.size));
        Ok(if self.zlib { Box::new(BufReader::new(ZlibDecoder::new(bytes))) } else { Box::new(bytes) })
    }

    fn read(&self, path: &Path, largest: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.open(path)?.take(largest + 1).read_to_end(&mut bytes);
        read.with_context(|| format!("cannot read `{}`", path.shown()))?;
        if bytes.len() as u64 > largest {
            bail!("a section of more than {largest} bytes");
        }
        Ok(bytes)
    }
}

/// Reads the facts from a 64-bit little-endian ELF file, the only kind that Go builds for rr's platforms.
pub fn about(path: &Path) -> Result<ProgramFacts> {
    let reading = || format!("cannot read `{}`", path.shown());
    let cache = ReadCache::new(BufReader::new(File::open(path).with_context(reading)?));
    let elf = ElfFile64::<object::LittleEndian, _>::parse(&cache).with_context(reading)?;
    let section = |name: &str| {
        let section = elf.section_by_name(name)?;
        let range = section.compressed_file_range().ok()?;
        let zlib = match range.format {
            CompressionFormat::None => false,
            CompressionFormat::Zlib => true,
            _ => return None,
        };
        Some(Section { at: range.offset, size: range.compressed_size, zlib })
    };
    let mut about = ProgramFacts { dwarf: section(".debug_info").is_some(), ..ProgramFacts::default() };
    if let Some(note) = section(".go.buildinfo") {
        build_info(&note.read(path, LARGEST_NOTE).with_context(reading)?, &mut about);
    }
    if let Some(lines) = section(".debug_line") {
        let strings = |name: &str| match section(name) {
            Some(section) => section.read(path, LARGEST_STRINGS).with_context(reading),
            None => Ok(Vec::new()),
        };
        let names = Names { line: strings(".debug_line_str")?, plain: strings(".debug_str")? };
        about.sources = sources(lines.open(path).with_context(reading)?, &names)
            .with_context(|| format!("cannot read the DWARF of `{}`", path.shown()))?;
    }
    Ok(about)
}

struct Names {
    line: Vec<u8>,
    plain: Vec<u8>,
}

/// The file names in the line programs.
fn sources(mut lines: impl Read, names: &Names) -> Result<BTreeSet<String>> {
    let mut sources = BTreeSet::new();
    let mut unit = Vec::new();
    loop {
        unit.clear();
        // The unit's length, in 32-bit or 64-bit form.
        if (&mut lines).take(4).read_to_end(&mut unit)? < 4 {
            return Ok(sources);
        }
        let mut length = u64::from(u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        if length == 0xffff_ffff {
            let mut long = [0; 8];
            lines.read_exact(&mut long)?;
            unit.extend_from_slice(&long);
            length = u64::from_le_bytes(long);
        }
        if length > LARGEST_UNIT {
            bail!("a line program claims {length} bytes");
        }
        (&mut lines).take(length).read_to_end(&mut unit)?;
        add_sources(&unit, names, &mut sources)?;
    }
}

fn add_sources(unit: &[u8], names: &Names, sources: &mut BTreeSet<String>) -> Result<()> {
    // The header does not depend on the address size.
    let program = DebugLine::new(unit, LittleEndian).program(DebugLineOffset(0), 8, None, None)?;
    let header = program.header();
    let text = |value: AttributeValue<gimli::EndianSlice<'_, LittleEndian>>| {
        let text = match value {
            AttributeValue::String(text) => text.slice().to_vec(),
            AttributeValue::DebugLineStrRef(at) => {
                DebugLineStr::from(gimli::EndianSlice::new(&names.line, LittleEndian))
                    .get_str(at)
                    .ok()?
                    .slice()
                    .to_vec()
            }
            AttributeValue::DebugStrRef(at) => {
                DebugStr::from(gimli::EndianSlice::new(&names.plain, LittleEndian)).get_str(at).ok()?.slice().to_vec()
            }
            _ => return None,
        };
        String::from_utf8(text).ok()
    };
    for file in header.file_names() {
        let Some(name) = text(file.path_name()) else { continue };
        let folder = file.directory(header).and_then(text).unwrap_or_default();
        let whole = if name.starts_with('/') || folder.is_empty() { name } else { format!("{folder}/{name}") };
        sources.insert(whole);
    }
    Ok(())
}

/// Reads the build information that the linker writes into every Go program since 1.18.
fn build_info(note: &[u8], about: &mut ProgramFacts) {
    let Some(GoInfo { go, package, settings, .. }) = GoInfo::parse(note) else { return };
    about.go = Some(go).filter(|go| !go.is_empty());
    about.package = package;
    about.revision = settings.get("vcs.revision").cloned();
    about.modified = settings.get("vcs.modified").is_some_and(|modified| modified == "true");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_info_is_read_and_what_is_cut_off_is_not() {
        let settings = "path\texample.com/x\nbuild\tvcs.revision=abc\nbuild\tvcs.modified=true\n";
        let mut note = b"\xff Go buildinf:\x08\x02".to_vec();
        note.resize(32, 0);
        for text in ["go1.26.8".to_owned(), format!("{0:16}{settings}{0:16}", "")] {
            note.push(u8::try_from(text.len()).unwrap());
            note.extend(text.bytes());
        }
        let read = |note: &[u8]| {
            let mut about = ProgramFacts::default();
            build_info(note, &mut about);
            about
        };
        let about = read(&note);
        assert_eq!((about.go.as_deref(), about.package.as_deref()), (Some("go1.26.8"), Some("example.com/x")));
        assert_eq!((about.revision.as_deref(), about.modified), (Some("abc"), true));
        for cut in 0..note.len() {
            let about = read(&note[..cut]);
            assert_eq!(about.revision, None, "cut off after {cut} bytes");
        }
    }
}
