//! Running the installer's own `hack/build.sh`, so that what comes out can be debugged.
//!
//! ```text
//! checkout ── needs, toolchain, platforms ──▶ what has to be built, and is all there for it?
//!          ── controllers, clean ──────────▶ remove what an earlier build left that misleads make, go or zip
//!          ── overlay ─────────────────────▶ patched sources that the checkout does not hold, if so asked
//!          ── make, build.sh ──────────────▶ phases (what they print), sample (their processes), view
//!          ── proof ───────────────────────▶ the installer and its controllers, opened
//! ```
//!
//! None of the installer's files is edited: all goes through the variables that its scripts and make
//! take.

mod carried;
mod chaos;
mod clean;
mod controllers;
mod linking;
mod prerequisites;
pub mod overlay;
mod phases;
mod platforms;
mod prepare;
mod verification;
mod revision;
mod run;
mod sample;
mod script;
mod timings;
mod timings_page;
mod toolchain;
pub mod verify;
mod view;

pub use carried::{Patch, patch};
pub use chaos::{ChaosOverlay, make as make_chaos};
pub use controllers::{CORE, Removed};
pub use linking::Link;
pub use phases::Phase;
pub use platforms::Platforms;
pub use prepare::{Prepared, Request};
pub use revision::Terraform;
pub use run::Built;
pub use script::Compilation;
pub use timings::Page;
pub use timings_page::{remove_page, write_page};
pub use view::View;
