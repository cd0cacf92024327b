//! The free disk space for traces. rr aborts when the disk is full (ENOSPC), and a trace that it could not close is
//! lost. Therefore a run must end while there is still enough space to close all traces.

use std::path::PathBuf;

use bytesize::ByteSize;

use crate::doctor::Host;
use crate::error::Shown;

/// A limit for the free space of a file system.
#[derive(Debug)]
pub struct Room {
    host: Host,
    folder: PathBuf,
    /// The space that must stay free; 0 means no limit.
    least: ByteSize,
}

/// The free space compared with the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    Enough,
    /// Less than twice the limit.
    Near,
    /// Less than the limit; with the number of free bytes.
    Little(u64),
    /// Less than a quarter of the limit: writers must end at once. With the number of free bytes.
    Least(u64),
}

impl Room {
    /// A limit for the file system of a folder. The folder does not have to exist yet.
    pub fn new(host: Host, folder: PathBuf, least: ByteSize) -> Self {
        Self { host, folder, least }
    }

    /// Queries the file system, which takes microseconds. If the query fails, no limit applies; the recorder will
    /// meet the same error.
    pub fn look(&self) -> Free {
        let folder = self.folder.ancestors().find(|folder| folder.exists());
        let free = folder.filter(|_| self.least.0 > 0).and_then(|folder| self.host.free(folder).ok());
        free.map_or(Free::Enough, |free| grade(free, self.least.0))
    }

    /// Describes the free space and the limit.
    pub fn describe(&self, free: u64) -> String {
        let (free, folder) = (ByteSize(free), self.folder.shown());
        format!("{free} free on the file system of `{folder}`, less than {} (--min-free)", self.least)
    }
}

fn grade(free: u64, least: u64) -> Free {
    match free {
        _ if free < least / 4 => Free::Least(free),
        _ if free < least => Free::Little(free),
        _ if free < least.saturating_mul(2) => Free::Near,
        _ => Free::Enough,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_graded_by_the_limit() {
        let grades = [2000, 1999, 1000, 999, 250, 249, 0].map(|free| grade(free, 1000));
        let (little, least) = (Free::Little, Free::Least);
        assert_eq!(grades, [Free::Enough, Free::Near, Free::Near, little(999), little(250), least(249), least(0)]);
    }

    #[test]
    fn room_is_that_of_the_folder_above_one_that_is_yet_to_be_made() {
        let folder = std::env::temp_dir().join("nonexistent/below");
        let look = |least| Room::new(Host::here(), folder.clone(), ByteSize(least)).look();
        assert_eq!(look(0), Free::Enough, "no limit");
        assert!(matches!(look(u64::MAX), Free::Little(_) | Free::Least(_)));
    }
}
