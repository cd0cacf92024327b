//! Everything about rr: recording, bundles of traces, the trace store and the content of traces.

pub mod record;
pub mod bundle;
pub mod trace;
