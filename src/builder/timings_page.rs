//! The page of `--timings` beside an installer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Built, Page};
use crate::error::Shown;
use crate::words::{bytes, seconds};

/// The page of an installer, where no other file is named.
fn page_of(built: &Built) -> PathBuf {
    let mut path = built.path.clone().into_os_string();
    path.push(".timings.html");
    path.into()
}

/// Removes the page of an earlier build, which would be taken for that of this one.
pub fn remove_page(built: &Built) -> Result<()> {
    let path = page_of(built);
    match fs::read(&path) {
        Ok(bytes) if Page::is_one(&bytes) => {
            fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.shown()))
        }
        _ => Ok(()),
    }
}

/// Writes the page of `--timings`.
pub fn write_page(built: &Built, file: Option<&Path>) -> Result<PathBuf> {
    let path = match file {
        Some(file) => std::path::absolute(file)
            .with_context(|| format!("`--timings` takes a file, and not `{}`", file.shown()))?,
        None => page_of(built),
    };
    let about = vec![
        ("Processor time", seconds(Duration::from_secs_f64(built.cpu))),
        ("Most memory", bytes(built.peak_memory)),
        ("Go", built.go.clone()),
        ("Controllers at once", built.jobs.to_string()),
        ("Platforms", if built.serves.is_empty() { "none".into() } else { built.serves.join(", ") }),
    ];
    fs::write(&path, built.page(about).html()).with_context(|| format!("cannot write `{}`", path.shown()))?;
    Ok(path)
}
