//! rr-patch: one floor plan for its four flows.
//!
//! | flow | way |
//! | --- | --- |
//! | patch | path → Checkout → GoFile → rules or a unified patch → Plan → Journal → files |
//! | build | Checkout → prerequisites → stale outputs removed → make, build.sh → what came out, opened → provenance |
//! | record | installer → rr under a supervisor → traces closed → store → bundle |
//! | debug | trace → log → Delve at an event → stack, variables, suspects, editor |
//!
//! A module uses only those below it in this list; so do the modules that a floor lists in its own `mod.rs`.
//! Each package has one home. `tests/house.rs` keeps all of that.

pub mod cli;
pub mod commands;
pub mod ui;
pub mod ci;
pub mod builder;
pub mod cause;
pub mod delve;
pub mod rr;
pub mod patch;
pub mod doctor;
pub mod provenance;
pub mod binary;
pub mod sys;
pub mod words;
pub mod error;
