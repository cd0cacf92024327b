//! How much room is left where the traces go. rr aborts when there is none (ENOSPC), and a trace that it could
//! not close is lost, so that a run has to end while there is still room to close all of them.

use std::path::PathBuf;

use bytesize::ByteSize;

use crate::doctor::Host;
use crate::error::Shown;

/// A limit for the free space of a file system.
#[derive(Debug)]
pub struct Room {
    host: Host,
    folder: PathBuf,
    /// What must stay free; 0 for no limit.
    least: ByteSize,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    Enough,
    /// Less than twice the limit.
    Near,
    /// Less than the limit: so many bytes.
    Little(u64),
    /// Less than a quarter of the limit: what writes has to end at once.
    Least(u64),
}

impl Room {
    /// A limit for the file system that holds a folder, which may be yet to be made.
    pub fn new(host: Host, folder: PathBuf, least: ByteSize) -> Self {
        Self { host, folder, least }
    }

    /// Asks the file system, which takes microseconds. One that does not answer has no limit: the recorder
    /// meets the same file system.
    pub fn look(&self) -> Free {
        let folder = self.folder.ancestors().find(|folder| folder.exists());
        let free = folder.filter(|_| self.least.0 > 0).and_then(|folder| self.host.free(folder).ok());
        free.map_or(Free::Enough, |free| grade(free, self.least.0))
    }

    /// What is free, and what was to be.
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
