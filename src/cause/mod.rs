//! What is asked of a recording: from a log line to its cause.

pub mod credentials;
pub mod place;
