//! rr-patch: one way through, `path → Checkout → GoFile → [Edit] → Plan → Journal → files → Report`.
//!
//! A module uses only those below it in this list, and each package has one home: `tests/house.rs`
//! keeps both.

pub mod cli;
pub mod commands;
pub mod recognise;
pub mod report;
pub mod verify;
pub mod journal;
pub mod transaction;
pub mod plan;
pub mod rules;
pub mod build;
pub mod replay;
pub mod record;
pub mod editor;
pub mod host;
pub mod bundle;
pub mod trace;
pub mod go;
pub mod provenance;
pub mod binary;
pub mod process;
pub mod edit;
pub mod hunks;
pub mod patchfile;
pub mod swap;
pub mod checkout;
pub mod write;
pub mod error;
pub mod ffi;
