//! Reads one ELF file with the object crate: headers, notes, version needs. The other readers parse its other
//! sections.

use memchr::memmem;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{ElfFile, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind, Object, ObjectSection, ReadRef};

use super::dwarf;
use super::goinfo::GoInfo;
use super::{Facts, Unread};

/// A function that the chaos overlay adds, as Go's table of functions names it.
const CHAOS: &[u8] = b"runtime.rrPatchWake\0";

pub const MAGIC: &[u8] = b"\x7fELF";

/// How many of the first bytes a message shows.
pub const SHOWN: usize = 16;

/// All facts except size and hash.
pub fn facts<'d, R: ReadRef<'d>>(data: R) -> Result<Facts, Unread> {
    read(data, true)
}

/// All facts except size, hash and those that need the units of the debug information.
pub fn read_summary<'d, R: ReadRef<'d>>(data: R) -> Result<Facts, Unread> {
    read(data, false)
}

fn read<'d, R: ReadRef<'d>>(data: R, units: bool) -> Result<Facts, Unread> {
    let size = data.len().unwrap_or_default();
    let first = data.read_bytes_at(0, size.min(SHOWN as u64)).unwrap_or_default();
    if !first.starts_with(MAGIC) {
        return Err(Unread::NotElf(first.to_vec()));
    }
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => of::<FileHeader64<Endianness>, R>(data, size, units),
        Ok(FileKind::Elf32) => of::<FileHeader32<Endianness>, R>(data, size, units),
        Ok(_) => Err(Unread::NotElf(first.to_vec())),
        Err(error) => Err(Unread::Damaged(error.to_string())),
    }
}

fn of<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    data: R,
    size: u64,
    units: bool,
) -> Result<Facts, Unread> {
    whole::<Elf, R>(data, size)?;
    let damaged = |error: object::Error| Unread::Damaged(error.to_string());
    let file = ElfFile::<Elf, R>::parse(data).map_err(damaged)?;
    let mut facts = Facts {
        architecture: format!("{:?}", file.architecture()).to_lowercase(),
        stripped: file.elf_section_table().iter().all(|section| section.sh_type(file.endian()) != elf::SHT_SYMTAB),
        interpreter: interpreter(&file).map_err(damaged)?,
        glibc: glibc(&file).map_err(damaged)?,
        build_id: go_build_id(&file).map_err(damaged)?,
        gnu_build_id: file.build_id().map_err(damaged)?.map(hex),
        ..Facts::default()
    };
    facts.dynamic = facts.interpreter.is_some();

    if let Some(section) = file.section_by_name(".go.buildinfo")
        && let Some(info) = GoInfo::parse(section.data().map_err(damaged)?)
    {
        let GoInfo { go, package, module, version, settings } = info;
        facts.optimised = (!settings.is_empty()).then(|| optimised(settings.get("-gcflags")));
        facts.go = Some(go);
        (facts.package, facts.module, facts.version, facts.settings) = (package, module, version, settings);
    }
    // The names of Go's functions, which `-s -w` does not remove, each followed by a zero byte.
    let names = [".gopclntab", ".data.rel.ro.gopclntab"].into_iter().find_map(|name| file.section_by_name(name));
    if let Some(section) = names {
        facts.chaos = memmem::find(section.data().map_err(damaged)?, CHAOS).is_some();
    }
    let debug = file.section_by_name(".debug_info").is_some_and(|section| section.size() > 0);
    facts.dwarf = debug && !units;
    if debug && units {
        match dwarf::read(&file) {
            Ok(debug) => {
                facts.dwarf = true;
                facts.dwarf_version = debug.version;
                facts.go = facts.go.or(debug.go);
                if debug.units.go > 0 {
                    facts.optimised = Some(debug.units.optimised > 0);
                }
                (facts.units, facts.sources) = (debug.units, debug.sources);
            }
            Err(why) => facts.dwarf_error = Some(why),
        }
    }
    Ok(facts)
}

/// Checks that everything that the headers describe lies within the file. Go writes the headers first, so those of a
/// truncated file are still readable.
fn whole<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(data: R, size: u64) -> Result<(), Unread> {
    let damaged = |error: object::Error| Unread::Damaged(error.to_string());
    let within = |what: String, start: u64, length: u64| match start.saturating_add(length) {
        needs if needs > size => Err(Unread::CutOff { what, needs, has: size }),
        _ => Ok(()),
    };
    let header = Elf::parse(data).map_err(|_| Unread::CutOff {
        what: "the header".into(),
        needs: size_of::<Elf>() as u64,
        has: size,
    })?;
    let endian = header.endian().map_err(damaged)?;
    let (start, each): (u64, u64) = (header.e_shoff(endian).into(), header.e_shentsize(endian).into());
    within("the table of sections".into(), start, each * u64::from(header.e_shnum(endian)))?;
    let (start, each): (u64, u64) = (header.e_phoff(endian).into(), header.e_phentsize(endian).into());
    within("the table of segments".into(), start, each * u64::from(header.e_phnum(endian)))?;
    for segment in header.program_headers(endian, data).map_err(damaged)? {
        let (start, length) = segment.file_range(endian);
        within("a segment".into(), start, length)?;
    }
    let sections = header.sections(endian, data).map_err(damaged)?;
    for section in sections.iter() {
        if let Some((start, length)) = section.file_range(endian) {
            let name = sections.section_name(endian, section).unwrap_or_default();
            within(format!("section {}", name.escape_ascii()), start, length)?;
        }
    }
    Ok(())
}

/// The dynamic loader that the program requests.
fn interpreter<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    file: &ElfFile<'d, Elf, R>,
) -> object::Result<Option<String>> {
    for segment in file.elf_program_headers() {
        if let Some(path) = segment.interpreter(file.endian(), file.data())? {
            return Ok(Some(String::from_utf8_lossy(path).into_owned()));
        }
    }
    Ok(None)
}

/// The newest glibc version among the program's required symbol versions, for example `GLIBC_2.34`.
fn glibc<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    file: &ElfFile<'d, Elf, R>,
) -> object::Result<Option<(u32, u32)>> {
    let (endian, sections) = (file.endian(), file.elf_section_table());
    let Some((mut files, strings)) = sections.gnu_verneed(endian, file.data())? else { return Ok(None) };
    let strings = sections.strings(endian, file.data(), strings)?;
    let mut newest = None;
    while let Some((_, mut versions)) = files.next()? {
        while let Some(version) = versions.next()? {
            newest = newest.max(release(version.name(endian, strings)?));
        }
    }
    Ok(newest)
}

/// Parses `GLIBC_2.2.5` to (2, 2).
fn release(name: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The build id in the note of Go's linker.
fn go_build_id<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    file: &ElfFile<'d, Elf, R>,
) -> object::Result<Option<String>> {
    let endian = file.endian();
    for section in file.elf_section_table().iter() {
        let Some(mut notes) = section.notes(endian, file.data())? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == elf::ELF_NOTE_GO && note.n_type(endian) == elf::NT_GO_BUILD_ID {
                return Ok(Some(String::from_utf8_lossy(note.desc()).into_owned()));
            }
        }
    }
    Ok(None)
}

/// Whether a program was optimised, by its `-gcflags` setting. Used for programs without debug information. Both
/// flags must apply to all packages.
fn optimised(gcflags: Option<&String>) -> bool {
    let Some(rest) = gcflags.and_then(|flags| flags.trim().strip_prefix("all=")) else { return true };
    let has = |flag: &str| rest.split_whitespace().any(|word| word == flag);
    !(has("-N") && has("-l"))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_takes_numbers_only() {
        let names: [&[u8]; 4] = [b"GLIBC_2.34", b"GLIBC_2.2.5", b"GLIBC_PRIVATE", b"GLIBCXX_3.4"];
        assert_eq!(names.map(release), [Some((2, 34)), Some((2, 2)), None, None]);
    }

    #[test]
    fn optimised_reads_the_flags_of_all_packages() {
        let said = |flags: &str| optimised(Some(&flags.to_owned()));
        assert!(!said(" all=-N -l") && !said("all=-l -N"));
        assert!(said("-N -l") && said("all=-l") && optimised(None));
    }
}
