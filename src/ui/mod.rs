//! How results look, as text and as JSON.

pub mod report;
