//! Child processes, signals, files that are written whole, and the calls that need `unsafe`.

pub mod process;
pub mod write;
pub mod ffi;
