//! One name for a set of rules: of those that a build of rr-patch carries, for provenance and for what is built again,
//! and of those of a folder.

use include_dir::{Dir, File};

use super::PATCHES;
use crate::binary::hash;

/// The SHA-256 of the rules that this build carries: of the name and the bytes of each rule and of
/// each file that they add, in the order of names.
pub fn digest() -> String {
    digest_of(&["rules", "support"])
}

/// The same of other folders of what this build carries.
pub(super) fn digest_of(folders: &[&str]) -> String {
    fn add<'a>(folder: &'a Dir, all: &mut Vec<&'a File<'a>>) {
        let mut entries: Vec<_> = folder.entries().iter().collect();
        entries.sort_by_key(|entry| entry.path());
        for entry in entries {
            match (entry.as_dir(), entry.as_file()) {
                (Some(folder), _) => add(folder, all),
                (_, Some(file)) if !file.path().ends_with("README.md") => all.push(file),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    folders.iter().filter_map(|name| PATCHES.get_dir(name)).for_each(|folder| add(folder, &mut all));
    of(all.into_iter().map(|file| (file.path().as_os_str().as_encoded_bytes(), file.contents())))
}

/// The SHA-256 of files, each a name and its bytes, in the order given. A length stands before each part, so that
/// no bytes can pass from one to the next.
pub fn of<'a>(files: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> String {
    let mut bytes = Vec::new();
    for part in files.flat_map(|(name, contents)| [name, contents]) {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part);
    }
    hash(&bytes)
}
