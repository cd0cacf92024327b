//! Running the installer's own `hack/build.sh`, so that what comes out can be debugged.
//!
//! ```text
//! checkout ── needs, toolchain, platforms ──▶ what has to be built, and is all there for it?
//!          ── controllers, clean ──────────▶ remove what an earlier build left that misleads make, go or zip
//!          ── make, build.sh ──────────────▶ phases (what they print), sample (their processes), view
//!          ── proof ───────────────────────▶ the installer and its controllers, opened
//! ```
//!
//! None of the installer's files is edited: all goes through the variables that its scripts and make
//! take.

mod clean;
mod controllers;
mod linking;
mod lock;
mod needs;
mod phases;
mod platforms;
mod prepare;
mod proof;
mod revision;
mod run;
mod sample;
mod script;
mod timings;
mod toolchain;
mod view;

use std::time::Duration;

pub use controllers::{CORE, Removed};
pub use linking::Link;
pub use lock::refuse_while_building;
pub use phases::Phase;
pub use platforms::Platforms;
pub use prepare::{Prepared, Request};
pub use revision::Terraform;
pub use run::Built;
pub use script::Compilation;
pub use timings::Page;
pub use view::{View, bytes};

/// A duration for people.
pub fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", took.as_secs() / 60, took.as_secs() % 60),
        whole => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_grow_into_minutes_and_hours() {
        let shown: Vec<_> = [1.25, 61.0, 7325.0].map(|s| seconds(Duration::from_secs_f64(s))).into();
        assert_eq!(shown, ["1.2 s", "1 min 01 s", "2 h 02 min"]);
    }
}
