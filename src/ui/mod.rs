//! How results look, as text and as JSON.

pub mod document;
pub mod report;
