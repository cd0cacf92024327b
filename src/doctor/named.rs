//! The programs that are named to a doctor.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::Program;
use crate::binary::{Facts, Installer, first_bytes};
use crate::error::{Error, Shown};

/// The program, those of a folder, or the controllers that an installer embeds.
///
/// # Errors
/// A file that is no program, a folder that holds none.
pub fn programs(path: &Path) -> Result<Vec<Program>> {
    if path.is_dir() {
        let entries = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
        let mut files = entries.with_context(|| format!("cannot read `{}`", path.shown()))?;
        files.retain(|file| file.is_file() && first_bytes(file).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")));
        files.sort();
        if files.is_empty() {
            return Err(Error::failed(format!("`{}` holds no programs", path.shown()))
                .hint("an installer's controllers are in cluster-api/bin/<os>_<architecture>")
                .into());
        }
        return Ok(files.iter().map(|file| programs(file)).collect::<Result<Vec<_>>>()?.concat());
    }
    let installer = Installer::read(path)?;
    let of = |name: &str, facts: Facts| Program { name: name.to_owned(), file: path.to_owned(), facts };
    let controllers = installer.entries.iter().filter(|entry| entry.controller());
    let embedded: Vec<Program> =
        controllers.filter_map(|entry| Some(of(&entry.name, entry.facts()?.clone()))).collect();
    if embedded.is_empty() {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        return Ok(vec![of(&name, installer.facts)]);
    }
    Ok(embedded)
}
