//! One name for the rules that a build of rr-patch carries, for provenance and for what is built again.

use include_dir::Dir;

use super::PATCHES;
use crate::binary::hash;

/// The SHA-256 of the rules that this build carries: of the name and the bytes of each rule and of
/// each file that they add, in the order of names.
pub fn digest() -> String {
    fn add(folder: &Dir, bytes: &mut Vec<u8>) {
        let mut entries: Vec<_> = folder.entries().iter().collect();
        entries.sort_by_key(|entry| entry.path());
        for entry in entries {
            match (entry.as_dir(), entry.as_file()) {
                (Some(folder), _) => add(folder, bytes),
                (_, Some(file)) if !file.path().ends_with("README.md") => {
                    let name = file.path().as_os_str().as_encoded_bytes();
                    for part in [name, file.contents()] {
                        bytes.extend((part.len() as u64).to_be_bytes());
                        bytes.extend(part);
                    }
                }
                _ => {}
            }
        }
    }
    let mut bytes = Vec::new();
    ["rules", "support"].iter().filter_map(|name| PATCHES.get_dir(name)).for_each(|folder| add(folder, &mut bytes));
    hash(&bytes)
}
