//! All that knows rr: recording, bundles of traces, the log of a recorded program, the trace store and what a trace holds.

pub mod record;
pub mod bundle;
pub mod log;
pub mod replay;
pub mod trace;
