//! The smoke test: records a tiny program and replays its trace to the end.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::{CheckContext, Finding, Recorder};
use crate::sys::process::Answer;

/// The variables that rr needs. The trace stores a copy of the environment, so no others are passed.
const ENVIRONMENT: [&str; 8] =
    ["PATH", "HOME", "TMPDIR", "RR_TMPDIR", "XDG_DATA_HOME", "_RR_TRACE_DIR", "_RR_CPU_LOCK_FILE", "LD_LIBRARY_PATH"];

/// The name of the finding.
pub const SMOKE_TEST: &str = "smoke test";

pub fn test(examination: &CheckContext) -> Finding {
    let finding = Finding::new(SMOKE_TEST, "`rr record true`, `rr replay`", "a recording that replays to the end");
    let Ok(rr) = &examination.recorder else { return finding.skipped("there is no rr") };
    let Some(program) = examination.host.program("true") else {
        return finding.skipped("there is no program `true` in PATH");
    };
    let program = program.to_string_lossy();
    match record_and_replay(examination, rr, &arguments(examination, rr), &program) {
        Ok(()) if examination.software.is_some() => finding.ok("recorded and replayed, with -W"),
        Ok(()) => finding.ok("recorded and replayed"),
        Err(why) if rr.software_counters && !rr.counts_in_software() => {
            match record_and_replay(examination, rr, &["record".into(), "-W".into(), "--wait".into()], &program) {
                Ok(()) => finding.trouble(format!("{why}; with -W it works")),
                Err(other) => finding.trouble(format!("{why}; with -W: {other}")),
            }
        }
        Err(why) => finding.trouble(why),
    }
}

/// The arguments that a patched installer passes to rr, unless RR_PATCH_RECORD sets others.
fn arguments(examination: &CheckContext, rr: &Recorder) -> Vec<String> {
    if !rr.arguments.is_empty() {
        return rr.arguments.clone();
    }
    let avx512 = examination.processor.has("cpuid_fault").then_some("--disable-avx-512");
    ["record", "--wait"].into_iter().chain(avx512).chain(["--bind-to-cpu=0"]).map(str::to_owned).collect()
}

fn record_and_replay(
    examination: &CheckContext,
    rr: &Recorder,
    arguments: &[String],
    program: &str,
) -> Result<(), String> {
    let host = examination.host;
    let environment: BTreeMap<String, OsString> =
        host.own_environment().into_iter().filter(|(name, _)| ENVIRONMENT.contains(&name.as_str())).collect();
    let folder = tempfile::Builder::new().prefix("rr-patch-doctor").tempdir();
    let folder = folder.map_err(|error| format!("no temporary folder: {error}"))?;
    let trace = folder.path().join("t");
    let trace_name = trace.to_string_lossy().into_owned();
    let run = |step: &str, arguments: &[&str]| {
        let answer = host.run_in(&environment, &rr.path, arguments).map_err(|error| error.to_string())?;
        if answer.end.success() {
            Ok(())
        } else {
            Err(format!("`rr {step}` ended with {}: {}", answer.end, cause(&answer)))
        }
    };
    let words: Vec<&str> = arguments.iter().map(String::as_str).chain(["-o", &trace_name, program]).collect();
    run("record", &words)?;
    if !trace.join("version").is_file() {
        return Err("`rr record` succeeded, but its trace is not complete".into());
    }
    let software = arguments.iter().any(|argument| ["-W", "--software-counters"].contains(&argument.as_str()));
    let words: &[&str] = if software { &["replay", "-W", "-a", &trace_name] } else { &["replay", "-a", &trace_name] };
    run("replay", words)
}

/// The line of rr's output with the cause of an error, without the source location in it.
fn cause(answer: &Answer) -> String {
    let lines: Vec<&str> = answer.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let fatal = lines.iter().position(|line| line.starts_with("[FATAL"));
    let Some(at) = fatal else {
        let telling = lines.iter().find(|line| line.starts_with("rr needs") || line.starts_with("rr:"));
        return telling.or(lines.last()).map_or_else(|| "it printed nothing".into(), ToString::to_string);
    };
    // The format is `[FATAL file:line:function() errno: NAME] text`; the text may be on the next lines.
    let text = lines[at].split_once("] ").map_or("", |(_, text)| text);
    let text = if text.is_empty() { lines.get(at + 1).copied().unwrap_or_default() } else { text };
    // Other findings answer rr's question and replace its link.
    let end = ["; are hardware perf events", " See http"].iter().filter_map(|rest| text.find(rest)).min();
    text[..end.unwrap_or(text.len())].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::End;

    fn cause_of(stderr: &str) -> String {
        cause(&Answer { end: End::Code(1), stdout: String::new(), stderr: stderr.into() })
    }

    #[test]
    fn cause_is_what_rr_says_without_its_own_place_and_links() {
        let fatal = "[FATAL ./src/PerfCounters.cc:306:start_counter() errno: ENOENT] Unable to open performance counter \
                     with 'perf_event_open'; are hardware perf events available? See https://github.com/x\n";
        assert_eq!(cause_of(fatal), "Unable to open performance counter with 'perf_event_open'");
        let next = "[FATAL src/P.cc:1:f()] \nGot 0 branch events, expected at least 500.\n";
        assert_eq!(cause_of(next), "Got 0 branch events, expected at least 500.");
        let plain = "rr needs /proc/sys/kernel/perf_event_paranoid <= 1, but it is 2.\nChange it to 1\n";
        assert_eq!(cause_of(plain), "rr needs /proc/sys/kernel/perf_event_paranoid <= 1, but it is 2.");
        assert_eq!(cause_of(""), "it printed nothing");
    }
}
