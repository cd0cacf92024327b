//! rr-patch: one way through, `path → Checkout → GoFile → [Edit] → Plan → Journal → files → Report`.
//!
//! A module uses only those below it in this list, and each package has one home: `tests/house.rs`
//! keeps both.

pub mod build;
pub mod checkout;
pub mod cli;
pub mod commands;
pub mod edit;
pub mod error;
pub mod go;
pub mod journal;
pub mod plan;
pub mod process;
pub mod report;
pub mod rules;
pub mod verify;
pub mod write;
