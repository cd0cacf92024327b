//! Child processes, signals, atomic writes, and the calls that need `unsafe`.

pub mod parallel;
pub mod process;
pub mod terminal;
pub mod write;
pub mod ffi;
