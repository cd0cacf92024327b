//! The patch flow: path → Checkout → GoFile → rules or a unified patch → Plan → Journal → files.

pub mod again;
pub mod recognise;
pub mod journal;
pub mod build_lock;
pub mod transaction;
pub mod plan;
pub mod rules;
pub mod go;
pub mod edit;
pub mod hunks;
pub mod unified;
pub mod swap;
pub mod checkout;
