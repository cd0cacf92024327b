//! Reads debug information: the compiler, the flags and the source files of each compilation unit.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use gimli::{AbbreviationsCacheStrategy, AttributeValue, DW_AT_producer, DwarfSections, EndianSlice, RunTimeEndian};
use gimli::{SectionId, Unit};
use object::{Object, ObjectSection};

use super::{SourceFiles, Units};

/// The prefix of Go's producer string: `Go cmd/compile go1.26.8; -N -l regabi`.
const COMPILER: &str = "Go cmd/compile ";

/// The largest section that is accepted. A damaged header may state a larger size.
const LARGEST: u64 = 4 << 30;

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;
type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;

#[derive(Debug, Default)]
pub struct Debug {
    pub version: Option<u16>,
    /// The compiler's version, for example `go1.26.8`.
    pub go: Option<String>,
    pub units: Units,
    pub sources: SourceFiles,
}

/// Reads every unit completely, with its file table.
///
/// # Errors
/// The error texts of gimli or object.
pub fn read<'d>(file: &impl Object<'d>) -> Result<Debug, String> {
    let sections: DwarfSections<Cow<'d, [u8]>> = DwarfSections::load(|id| section(file, id))?;
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let mut dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, endian));
    // Go's units share one abbreviation table.
    dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);

    let mut debug = Debug::default();
    let mut files = BTreeSet::new();
    let words = |error: gimli::Error| format!("{error} ({error:?})");
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().map_err(words)? {
        let unit = dwarf.unit(header).map_err(words)?;
        debug.version = debug.version.max(Some(header.version()));
        let producer = text(&dwarf, &unit, producer(&unit).map_err(words)?);
        walk(&unit).map_err(words)?;
        let Some(compiler) = producer.as_deref().and_then(|producer| producer.strip_prefix(COMPILER)) else { continue };
        let package = unit.name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (go, flags) = compiler.split_once(';').unwrap_or((compiler, ""));
        debug.go.get_or_insert_with(|| go.trim().to_owned());
        debug.units.go += 1;
        if optimised(&package, flags) {
            debug.units.optimised += 1;
            if debug.units.example.is_none() || package == "main" {
                debug.units.example = Some(package.clone());
            }
        }
        let named = named(&dwarf, &unit).map_err(words)?;
        if package == "main" && debug.sources.main.is_none() {
            debug.sources.main = named.iter().find_map(|file| main_folder(file));
        }
        files.extend(named);
    }
    look(&mut debug.sources, &files);
    Ok(debug)
}

/// Reads a section and decompresses it, if it is one of those that are needed.
fn section<'d>(file: &impl Object<'d>, id: SectionId) -> Result<Cow<'d, [u8]>, String> {
    let needed = [
        SectionId::DebugAbbrev,
        SectionId::DebugAddr,
        SectionId::DebugInfo,
        SectionId::DebugLine,
        SectionId::DebugLineStr,
        SectionId::DebugStr,
        SectionId::DebugStrOffsets,
    ];
    // With this name, object also finds a `.zdebug_` section.
    let Some(section) = needed.contains(&id).then(|| file.section_by_name(id.name())).flatten() else {
        return Ok(Cow::default());
    };
    let words = |error: object::Error| format!("{}: {error}", id.name());
    let data = section.compressed_data().map_err(words)?;
    if data.uncompressed_size > LARGEST {
        return Err(format!("{} claims to hold {} bytes", id.name(), data.uncompressed_size));
    }
    data.decompress().map_err(words)
}

fn producer<'a>(unit: &Unit<Slice<'a>>) -> gimli::Result<Option<AttributeValue<Slice<'a>>>> {
    let mut entries = unit.entries();
    Ok(entries.next_dfs()?.and_then(|root| root.attr_value(DW_AT_producer)))
}

/// Reads every entry of a unit, only to check that it can be read.
fn walk(unit: &Unit<Slice<'_>>) -> gimli::Result<()> {
    let mut entries = unit.entries_raw(None)?;
    while !entries.is_empty() {
        if let Some(abbreviation) = entries.read_abbreviation()? {
            entries.skip_attributes(abbreviation.attributes())?;
        }
    }
    Ok(())
}

fn text<'a>(dwarf: &Dwarf<'a>, unit: &Unit<Slice<'a>>, value: Option<AttributeValue<Slice<'a>>>) -> Option<String> {
    let bytes = dwarf.attr_string(unit, value?).ok()?;
    Some(bytes.to_string_lossy().into_owned())
}

/// Whether a unit's code was optimised, by Delve's rule. Exception: the compiler ignores `-N` for the packages of the
/// runtime, which are all below these two names.
fn optimised(package: &str, flags: &str) -> bool {
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let runtime = ["runtime", "internal"].contains(&package.split('/').next().unwrap_or_default());
    !(has("-l") && (has("-N") || runtime))
}

/// The files in a unit's line table.
fn named(dwarf: &Dwarf<'_>, unit: &Unit<Slice<'_>>) -> gimli::Result<Vec<String>> {
    let Some(program) = &unit.line_program else { return Ok(Vec::new()) };
    let header = program.header();
    let mut files = Vec::with_capacity(header.file_names().len());
    for file in header.file_names() {
        let name = dwarf.attr_string(unit, file.path_name())?.to_string_lossy().into_owned();
        let folder = match file.directory(header) {
            Some(folder) if !name.starts_with('/') => dwarf.attr_string(unit, folder)?.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        files.push(match folder.as_str() {
            "" | "." => name,
            folder => format!("{folder}/{name}"),
        });
    }
    Ok(files)
}

/// The folder of a hand-written file of package main.
fn main_folder(file: &str) -> Option<String> {
    let path = Path::new(file);
    let written = path.is_absolute() && path.extension().is_some_and(|ending| ending == "go");
    written.then(|| path.parent().map(|folder| folder.to_string_lossy().into_owned())).flatten()
}

/// Counts which of the files exist on this host.
fn look(sources: &mut SourceFiles, files: &BTreeSet<String>) {
    for file in files {
        let path = Path::new(file);
        // The other names are pseudo-files such as `<autogenerated>`, or files that cgo generated in a temporary
        // folder.
        if !path.extension().is_some_and(|ending| ending == "go" || ending == "s") || file.contains("_cgo_") {
            continue;
        }
        if path.is_relative() {
            sources.relative += 1;
            continue;
        }
        sources.named += 1;
        if path.exists() {
            sources.here += 1;
        } else {
            sources.missing.get_or_insert_with(|| file.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimised_wants_both_flags_but_for_the_runtime() {
        assert!(!optimised("main", " -N -l regabi"));
        assert!(optimised("main", " -l regabi"));
        assert!(optimised("main", " -N regabi"));
        assert!(optimised("example.com/internal/x", " -l regabi"));
        assert!(!optimised("internal/abi", " -l regabi"));
        assert!(optimised("runtime", " regabi"));
    }
}
