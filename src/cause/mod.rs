//! What is asked of a recording: from a log line to its cause.

pub mod alike;
pub mod credentials;
pub mod diff;
pub mod explain;
pub mod hunt;
pub mod own;
pub mod place;
pub mod source;
pub mod visits;
