//! What every replay of a trace has to be told.

use anyhow::Result;

use crate::doctor::Recorder;
use crate::error::Error;
use crate::rr::trace::Trace;

/// The option that an rr needs for a trace that was recorded with software counters.
///
/// # Errors
/// An rr that has no such counters.
pub fn counters(trace: &Trace, rr: &Recorder) -> Result<Option<&'static str>> {
    // Whoever sets RR_PATCH_RECORD to record with -W, records with it.
    let recorded_so = trace.software_counters().unwrap_or_else(|| rr.counts_in_software());
    if recorded_so && !rr.software_counters {
        return Err(Error::failed("this trace was recorded with software counters (`rr record -W`)")
            .detail(format!("rr {} at `{}` has none, and cannot replay it", rr.said(), rr.path.to_string_lossy()))
            .hint("put the rr that recorded it first in PATH")
            .into());
    }
    Ok(recorded_so.then_some("-W"))
}
