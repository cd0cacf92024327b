//! Everything about rr: recording, bundles of traces, the log of a recorded program, the trace store and the content of
//! traces.

pub mod record;
pub mod bundle;
pub mod log;
pub mod replay;
pub mod trace;
