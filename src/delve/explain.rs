//! Explains errors of Delve and rr: the cause and the remedy.
//!
//! If rr exits before Delve can connect to it, Delve itself prints only `EOF`; rr's lines are above it. The texts
//! come from rr 5.3 to its main branch of 2026 (`src/PerfCounters*.cc`, `src/ReplaySession.cc`,
//! `src/ReplayTimeline.cc`, `src/TraceStream.cc`, `src/AutoRemoteSyscalls.cc`) and Delve 1.20 to 1.27
//! (`cmd/dlv/cmds/commands.go`, `pkg/proc/gdbserial/rr.go`, `pkg/goversion/compat.go`).

use super::port::Listen;
use crate::doctor::{Recorder, Version};

/// The cause of an error, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub what: String,
    pub hints: Vec<String>,
}

/// The circumstances of the failed replay.
pub struct Circumstances<'a> {
    pub rr: &'a Recorder,
    pub delve: Version,
    /// Whether rr was started with software counters.
    pub software: bool,
    pub listen: Option<Listen>,
    /// The commands that set `perf_event_paranoid` so that Delve replays, or advice in words if no command helps.
    pub allow_perf_events: Result<Vec<String>, String>,
    /// The command that installs a Delve for this rr.
    pub install_delve: String,
}

/// A text in the output of Delve or rr, and its meaning. `found` is the line that contains it.
struct Known {
    text: &'static str,
    means: fn(found: &str, at: &Circumstances<'_>) -> Cause,
}

fn cause(what: impl Into<String>, hints: &[&str]) -> Cause {
    Cause { what: what.into(), hints: hints.iter().map(|&hint| hint.to_owned()).collect() }
}

/// What a Delve says that does not read the program's debug information, whatever it opens, and what to do.
pub(super) const OLDER_GO: &str = "Delve must be built with Go version";
pub(super) const NEWER_GO: &str = "build Delve with a newer Go: `go install github.com/go-delve/delve/cmd/dlv@latest`";

/// The first match counts, so rr's own messages come before the errors that follow from them.
const KNOWN: [Known; 27] = [
    Known { text: "/proc/sys/kernel/perf_event_paranoid <=", means: paranoid },
    Known {
        text: "unknown command \"replay\"",
        means: |_, _| {
            cause(
                "Delve has no command `replay`, because it found no `rr` in PATH",
                &["install rr, or put its folder in PATH; `rr-patch doctor` says how"],
            )
        },
    },
    Known {
        text: "recording terminated abnormally and the trace is incomplete",
        means: |_, _| {
            cause(
                "the trace is incomplete: rr was killed before it could close it, and cannot repair it",
                &["`rr-patch traces` lists the complete ones; `rr-patch record` waits until each trace is closed"],
            )
        },
    },
    Known {
        text: "Premature EOF",
        means: |_, _| {
            cause(
                "the trace is damaged: one of its files ends too early",
                &["copy it again if it was copied; `rr-patch traces pack` makes a copy that is verified"],
            )
        },
    },
    Known {
        text: "There is no trace there",
        means: |_, _| cause("there is no trace in that folder", &["`rr-patch traces` lists the traces"]),
    },
    Known { text: "defines ticks differently", means: ticks },
    Known {
        text: "Invalid option -W",
        means: |_, at| {
            cause(
                format!("rr {} has no software counters (`-W`), with which this trace was recorded", at.rr.said()),
                &["put the rr that recorded it first in PATH"],
            )
        },
    },
    Known {
        text: "Invalid option",
        means: |found, _| {
            cause(
                format!("rr does not support an option that it was given: {}", found.trim()),
                &["look at DELVE_RR_REPLAY_FLAGS; `rr help replay` lists the options"],
            )
        },
    },
    Known { text: "does not support CPUID faulting", means: processor },
    Known { text: "different CPUID values", means: processor },
    Known { text: "XSAVE ", means: processor },
    Known { text: "bit virtual addresses but this system", means: processor },
    Known {
        text: "Can't bind to requested CPU",
        means: |_, _| {
            cause(
                "the CPU that the recording was bound to does not exist here, or is not allowed",
                &["allow it (`taskset`, or the container's cpuset), or set DELVE_RR_REPLAY_FLAGS=-u"],
            )
        },
    },
    Known {
        text: "This rr build is too old to replay the trace",
        means: |_, at| {
            cause(
                format!("rr {} is older than the one that recorded this trace", at.rr.said()),
                &["install the rr that recorded it, or a newer one; `rr-patch doctor` says how"],
            )
        },
    },
    Known { text: "CPU type ", means: unknown_processor },
    Known { text: "Unknown CPU vendor", means: unknown_processor },
    Known { text: "icroarchitecture", means: unknown_processor },
    Known { text: "perf_event_open", means: counters },
    Known { text: "hardware performance counter seems to not be working", means: counters },
    Known { text: "replay is impossible", means: missing },
    Known { text: "failed with errno ENOENT opening ", means: missing },
    Known { text: "Failed to parse debugger request", means: old_delve },
    Known {
        text: "address already in use",
        means: |_, at| {
            match at.listen.filter(|listen| listen.port() != 0) {
                Some(listen) => {
                    cause(format!("{listen} is taken"), &["`--port 0` chooses a free port, `--port N` another one"])
                }
                // rr and Delve chose it, each for the other.
                None => {
                    cause("another program took the port that was free a moment ago", &["run the same command again"])
                }
            }
        },
    },
    Known {
        text: "check-go-version=false",
        means: |found, _| {
            let said = found.split(", suppress").next().unwrap_or(found).trim();
            cause(
                format!("{said})"),
                &["`go install github.com/go-delve/delve/cmd/dlv@vVERSION` installs one that supports this Go"],
            )
        },
    },
    Known {
        text: OLDER_GO,
        means: |_, _| {
            cause("this Delve was built with a Go that does not support DWARF 5, which the program has", &[NEWER_GO])
        },
    },
    Known { text: "could not open debug info", means: no_dwarf },
    Known { text: "could not read debug info", means: no_dwarf },
];

/// The cause that the lines show.
pub fn explain(lines: &[String], at: &Circumstances<'_>) -> Cause {
    let known = KNOWN.iter().find_map(|known| {
        let found = lines.iter().find(|line| line.contains(known.text))?;
        Some((known.means)(found, at))
    });
    known.unwrap_or_else(|| match lines.iter().any(|line| line.contains("Launch debugger with")) {
        // An older Delve prints the packet that it does not understand.
        true => old_delve("", at),
        false => cause(
            "Delve could not open the trace",
            &["`rr-patch doctor` records and replays a tiny program, and shows what fails"],
        ),
    })
}

fn paranoid(found: &str, at: &Circumstances<'_>) -> Cause {
    let value = found.rsplit(' ').next().unwrap_or_default();
    let hints = match &at.allow_perf_events {
        Ok(commands) => commands.iter().map(|command| format!("`{command}`")).collect(),
        Err(words) => vec![words.clone()],
    };
    let what = format!(
        "Delve replays only with /proc/sys/kernel/perf_event_paranoid at 1 or less, and it is {value} \
         (rr itself may be content with it)"
    );
    let more = [
        "`sysctl -w kernel.perf_event_paranoid=1`, as root, lasts until the next boot",
        "`rr-patch doctor --fix` runs the commands that it shows",
    ];
    Cause { what, hints: hints.into_iter().chain(more.map(str::to_owned)).collect() }
}

fn ticks(_: &str, at: &Circumstances<'_>) -> Cause {
    match (at.software, at.rr.software_counters) {
        (false, true) => cause(
            "the trace was recorded with software counters, but rr was started without -W",
            &[
                "set DELVE_RR_REPLAY_FLAGS=-W; `rr-patch record` stores this in the trace, and `rr-patch replay` then sets it",
            ],
        ),
        (true, _) => cause(
            "the trace was recorded with hardware counters, but rr was started with -W",
            &["remove -W from DELVE_RR_REPLAY_FLAGS"],
        ),
        (false, false) => cause(
            "the trace was recorded on a CPU that counts differently, or with software counters",
            &["replay it on a machine like the one that recorded it, with the rr that recorded it"],
        ),
    }
}

fn processor(_: &str, _: &Circumstances<'_>) -> Cause {
    cause(
        "the trace was recorded on a CPU with other CPUID values than this one",
        &[
            "replay it on the machine that recorded it, or on one of the same model",
            "if the recording CPU supports CPUID faulting, record there with the options that `rr cpufeatures` prints here",
        ],
    )
}

fn unknown_processor(_: &str, at: &Circumstances<'_>) -> Cause {
    let mut cause = cause(format!("rr {} does not support this CPU", at.rr.said()), &[]);
    cause.hints.push("install a newer rr; `rr-patch doctor` shows which one supports it".into());
    cause
}

fn counters(_: &str, at: &Circumstances<'_>) -> Cause {
    let mut cause = cause(
        "rr cannot use this machine's performance counters: a virtual machine often has none, and a container may not be allowed to open them",
        &["`rr-patch doctor` shows what is missing here"],
    );
    if at.rr.software_counters && !at.software {
        cause
            .hints
            .push("a trace that was recorded with software counters replays with DELVE_RR_REPLAY_FLAGS=-W".into());
    }
    cause
}

fn missing(found: &str, _: &Circumstances<'_>) -> Cause {
    let after = found.split_once("Failed to stat ").or_else(|| found.split_once("ENOENT opening "));
    let file = after.map_or("a file", |(_, rest)| rest.split([' ', ':']).next().unwrap_or(rest));
    cause(
        format!("`{file}` is missing, and the trace has no copy of it"),
        &[
            "put the same file back: a replay needs it",
            "a patched installer sets RR_COPY_ALL_FILES, so that its traces are complete",
        ],
    )
}

fn old_delve(_: &str, at: &Circumstances<'_>) -> Cause {
    cause(
        format!("Delve {} does not understand the output of rr {}", at.delve, at.rr.said()),
        &[&format!("`{}` installs one that does", at.install_delve)],
    )
}

fn no_dwarf(_: &str, _: &Circumstances<'_>) -> Cause {
    cause(
        "the recorded program has no debug information that Delve can read",
        &["`rr-patch build` makes an installer whose controllers have it; record again with that one"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn recorder(software_counters: bool) -> Recorder {
        Recorder {
            path: "/usr/bin/rr".into(),
            version: Version(5, 9, 0),
            extra: None,
            options: BTreeSet::new(),
            software_counters,
            arguments: Vec::new(),
        }
    }

    fn what(text: &str, able: bool, software: bool) -> Cause {
        let rr = recorder(able);
        let at = Circumstances {
            rr: &rr,
            delve: Version(1, 20, 2),
            software,
            listen: None,
            allow_perf_events: Ok(vec!["sysctl".into()]),
            install_delve: "go install dlv".into(),
        };
        explain(&text.lines().map(str::to_owned).collect::<Vec<_>>(), &at)
    }

    /// Output of the programs, observed or copied from their sources, and a word of the expected cause.
    const SAID: [(&str, &str); 18] = [
        ("  what():  kj/io.c++:117: failed: expected result.size() > 0 [0 > 0]; Premature EOF\nEOF", "is damaged"),
        ("rr needs /proc/sys/kernel/perf_event_paranoid <= 1, but it is 2", "1 or less, and it is 2"),
        ("Error: unknown command \"replay\" for \"dlv\"\nRun 'dlv --help' for usage.", "found no `rr` in PATH"),
        (
            "\nrr: Trace file `/t/incomplete' found.\nrr recording terminated abnormally and the trace is incomplete.\n\nEOF",
            "incomplete",
        ),
        ("rr: Trace file `x/version' not found. There is no trace there.\n\nEOF", "no trace in that folder"),
        (
            "[FATAL src/ReplaySession.cc:252:ReplaySession()] Trace was recorded on a machine that defines ticks differently\nto this machine; replay will not work.\nEOF",
            "counts differently",
        ),
        ("Invalid option -W\n rr replay [OPTION]... [<trace-dir>]\nEOF", "has no software counters"),
        (
            "Invalid option --nosuch\n rr replay\nEOF",
            "does not support an option that it was given: Invalid option --nosuch",
        ),
        (
            "[FATAL ./src/PerfCounters_x86.h:114:compute_cpu_microarch()] AMD CPU type 0xf20 (ext family 0xb) unknown\nEOF",
            "does not support this CPU",
        ),
        (
            "Trace was recorded with CPUID faulting enabled, but this system does not support CPUID faulting.\nEOF",
            "other CPUID values than this one",
        ),
        (
            "Trace was recorded on a machine with different CPUID values and CPUID faulting is not enabled; replay will not work.\nEOF",
            "other CPUID values than this one",
        ),
        (
            "[FATAL ./src/PerfCounters.cc:306:start_counter() errno: ENOENT] Unable to open performance counter with 'perf_event_open'; are hardware perf events available?\nEOF",
            "performance counters",
        ),
        (
            "FATAL Failed to stat /i/cluster-api-provider-aws: replay is impossible\nEOF",
            "`/i/cluster-api-provider-aws` is missing",
        ),
        (
            " -> Assertion `false' failed to hold. Syscall openat failed with errno ENOENT opening /t/mmap_copy_3_x arg1=0xf\nEOF",
            "`/t/mmap_copy_3_x` is missing",
        ),
        (
            "Failed to parse debugger request\nwrite: broken pipe",
            "Delve 1.20.2 does not understand the output of rr 5.9.0",
        ),
        ("Launch debugger with\n  'gdb' '-l' '10000'", "Delve 1.20.2 does not understand"),
        (
            "Version of Delve is too old for Go version 1.28 (maximum supported version 1.27, suppress this error with --check-go-version=false)",
            "(maximum supported version 1.27)",
        ),
        ("EOF", "could not open the trace"),
    ];

    #[test]
    fn every_known_failure_is_met_with_its_cause_and_what_to_do() {
        for (said, means) in SAID {
            let cause = what(said, false, false);
            assert!(cause.what.contains(means), "{said}\nmeans {cause:?}");
            assert!(!cause.hints.is_empty() && cause.hints.iter().all(|hint| !hint.ends_with('.')), "{cause:?}");
        }
    }

    #[test]
    fn ticks_that_differ_are_software_counters_where_rr_has_them() {
        let said = SAID[5].0;
        assert!(what(said, true, false).what.contains("was started without -W"));
        assert!(what(said, true, true).what.contains("recorded with hardware counters"));
    }
}
