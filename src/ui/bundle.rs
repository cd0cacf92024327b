//! Traces that were packed into a file, or unpacked from one.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use super::trace::Summary;
use crate::error::{Shown, plain_name};
use crate::rr::bundle::{self, HEAD, Head};
use crate::rr::trace::{Check, Trace, local};
use crate::words::{bytes, count, quoted};

/// What `pack` wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Packed {
    file: String,
    /// Its size.
    bytes: u64,
    encrypted: bool,
    /// What the file says of itself.
    head: Head,
    warnings: Vec<String>,
    /// What to type on the other host.
    next: Vec<String>,
}

impl Packed {
    pub fn new(file: &Path, bytes: u64, encrypted: bool, head: Head) -> Self {
        let mut warnings = head.warnings.clone();
        let newer = head.sources.newer;
        if newer > 0 {
            warnings.push(format!("{} changed since the recording: lines may not fit", count(newer, "source")));
        }
        if !encrypted {
            warnings.push(
                "it is not encrypted, and a trace holds all that its controller read: cloud credentials too. \
                 `--recipient age1…` encrypts it"
                    .into(),
            );
        }
        let identity = if encrypted { " --identity KEY" } else { "" };
        let next = vec![format!("rr-patch traces unpack {}{identity}", file.shown())];
        Self { file: file.in_json(), bytes, encrypted, head, warnings, next }
    }
}

impl Document for Packed {
    const SCHEMA: &'static str = "rr-patch/traces-pack/1";
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, bytes: size, head, warnings, next, .. } = self;
        let traces = count(head.traces.len(), "trace");
        writeln!(f, "packed {traces} into `{}`: {} of {}", plain_name(file), bytes(*size), bytes(head.bytes))?;
        for packed in &head.traces {
            let go = packed.go_version.as_deref().unwrap_or("Go not known");
            let dwarf = if packed.dwarf { "with DWARF" } else { "without DWARF" };
            writeln!(f, "  {}: `{}`, {go}, {dwarf}", plain_name(&packed.name), plain_name(&packed.path))?;
        }
        let sources = &head.sources;
        write!(f, "  {}", count(sources.packed, "source"))?;
        if !sources.missing.is_empty() {
            write!(f, ", and {} that are not here, as `{HEAD}` in it says", sources.missing.len())?;
        }
        writeln!(f)?;
        for checkout in &head.checkouts {
            let of = |remote: &String| format!(" of {}", plain_name(remote));
            let remote = checkout.remote.as_ref().map(of).unwrap_or_default();
            writeln!(f, "  of `{}`: commit {}{remote}", checkout.folder.shown(), checkout.commit)?;
        }
        warnings.iter().try_for_each(|warning| writeln!(f, "warning: {}", plain_name(warning)))?;
        writeln!(f, "next, on the other host:")?;
        next.iter().try_for_each(|next| writeln!(f, "  {next}"))
    }
}

/// What `unpack` verified and wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Unpacked {
    folder: String,
    traces: Vec<Summary>,
    /// The folder of the sources; nothing where the bundle has none.
    sources: Option<String>,
    /// What the file says of itself.
    head: Head,
    /// What to type next.
    next: Vec<String>,
    /// Of each trace when it was recorded, and what a replay would stumble over.
    #[serde(skip)]
    looked: Vec<(String, Check)>,
}

impl Unpacked {
    /// It lies in the store that `option` leads to, or `elsewhere`.
    pub fn new(unpacked: bundle::Unpacked, elsewhere: bool, option: &str) -> Self {
        let bundle::Unpacked { folder, head, traces, sources } = unpacked;
        let whole = folder.canonicalize().unwrap_or(folder);
        let replay = |packed: &bundle::Packed| match elsewhere {
            false => {
                let folder = whole.file_name().unwrap_or_default().to_string_lossy();
                format!("rr-patch replay{option} {}", quoted(&format!("{folder}/{}", packed.name)))
            }
            true => format!("rr-patch replay {}", quoted(&whole.join(&packed.name).to_string_lossy())),
        };
        let mut next: Vec<String> = head.traces.iter().take(traces.len()).map(replay).collect();
        let sources = sources.map(|_| whole.join(bundle::SOURCES));
        next.extend(sources.iter().map(|sources| format!("in Delve: config substitute-path / {}/", sources.shown())));
        let looked = |trace: &Trace| (local(trace.started), trace.check());
        Self {
            folder: whole.in_json(),
            looked: traces.iter().map(looked).collect(),
            traces: traces.iter().map(Summary::of).collect(),
            sources: sources.as_deref().map(Path::in_json),
            head,
            next,
        }
    }
}

impl Document for Unpacked {
    const SCHEMA: &'static str = "rr-patch/traces-unpack/1";
}

impl fmt::Display for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traces = count(self.traces.len(), "trace");
        writeln!(f, "verified and unpacked {traces} into `{}`", plain_name(&self.folder))?;
        for ((recorded, check), packed) in self.looked.iter().zip(&self.head.traces) {
            writeln!(f, "  {}: {}, recorded {recorded}", plain_name(&packed.name), plain_name(&packed.controller))?;
            for line in check.obstacles.iter().chain(&check.warnings) {
                writeln!(f, "    {}", plain_name(line))?;
            }
            if packed.software_counters == Some(true) {
                writeln!(f, "    recorded with software counters: a replay needs such an rr, and -W")?;
            }
            if let Some(rr) = packed.rr_version.as_ref().filter(|rr| !rr.is_empty()) {
                writeln!(f, "    recorded by rr {}: replay it with that or a later one", plain_name(rr))?;
            }
            if packed.program.is_none() {
                writeln!(f, "    a debugger looks for the program at `{}`", plain_name(&packed.path))?;
            }
        }
        if let Some(sources) = &self.sources {
            let packed = count(self.head.sources.packed, "source");
            writeln!(f, "  {packed} below `{}`", plain_name(sources))?;
        }
        writeln!(f, "next:")?;
        self.next.iter().try_for_each(|next| writeln!(f, "  {}", plain_name(next)))
    }
}
