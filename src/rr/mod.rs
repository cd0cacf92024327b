//! All that knows rr: recording, bundles of traces, the trace store and what a trace holds.

pub mod record;
pub mod bundle;
pub mod trace;
