//! How results look, as text and as JSON: one file per result, and what several of them share.

pub mod apply;
pub mod build;
pub mod bundle;
pub mod changes;
pub mod chaos;
pub mod check;
pub mod ci;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod document;
pub mod hunt;
pub mod inspect;
pub mod manners;
pub mod progress;
pub mod record;
pub mod replay;
pub mod revert;
pub mod stage;
pub mod status;
pub mod table;
pub mod trace;
pub mod traces;
