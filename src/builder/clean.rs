//! Removing what earlier builds left, as far as it is generated and git ignores it.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::controllers::{BIN, Removed, is_controller};
use crate::patch::checkout::Checkout;
use crate::provenance;
use crate::sys::write;

/// The folder that the installer embeds.
const MIRROR: &str = "pkg/clusterapi/mirror";

/// The zip of controllers in it.
pub const ZIP: &str = "pkg/clusterapi/mirror/cluster-api.zip";

/// What an ended `zip` left in the folder that the installer embeds: its temporary files are called
/// `zi` and six letters or digits.
pub fn half_zips(checkout: &Checkout) -> Vec<Removed> {
    let half =
        |name: &str| name.len() == 8 && name.starts_with("zi") && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let names = names(&checkout.locate(MIRROR)).into_iter().filter(|name| half(name));
    names
        .map(|name| Removed { path: format!("{MIRROR}/{name}"), why: "`zip` was ended while it wrote this".into() })
        .collect()
}

/// All that a build makes: the controllers, the zip, the installer and what lies beside it. envtest's
/// binaries stay, since they were downloaded. What git does not ignore stays too.
pub fn generated(checkout: &Checkout, installer: &Path) -> Result<Vec<Removed>> {
    let mut paths = vec![ZIP.to_owned()];
    for target in names(&checkout.locate(BIN)) {
        let in_it = names(&checkout.locate(BIN).join(&target)).into_iter();
        let made = in_it.filter(|name| is_controller(name) || name.ends_with(".tar.gz"));
        paths.extend(made.map(|name| format!("{BIN}/{target}/{name}")));
    }
    // An installer outside the checkout is the user's.
    let beside = [installer.to_owned(), provenance::path_of(installer)];
    let inside = beside.iter().filter_map(|path| path.strip_prefix(checkout.root()).ok()?.to_str());
    paths.extend(inside.map(str::to_owned));
    let mut removed = half_zips(checkout);
    for path in paths {
        if checkout.locate(&path).is_file() && checkout.ignores(&path)? {
            removed.push(Removed { path, why: "--clean".into() });
        }
    }
    Ok(removed)
}

/// Removes these files.
pub fn remove(checkout: &Checkout, removed: &[Removed]) -> Result<()> {
    removed.iter().try_for_each(|one| write::remove(&checkout.locate(&one.path)))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
