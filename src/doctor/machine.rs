//! The probes for the machine: processor, counters, kernel and its settings, the C library.

use std::io;

use super::Concerns::{self, Both, Recording};
use super::Probe::{self, Always, Perhaps};
use super::distribution::{Distribution, RR_PACKAGES};
use super::processor::{Maker, Microarchitecture, Processor, UNRELEASED};
use super::{BRANCHES, CheckContext, Event, Finding, Host, Purpose, Recorder, Software, Version};

/// In the order of the report.
pub const PROBES: [(Concerns, Probe); 12] = [
    (Both, Always(processor)),
    (Recording, Always(cpu)),
    (Both, Always(counters)),
    (Both, Perhaps(spec_lock_map)),
    (Both, Perhaps(freeze_on_smi)),
    (Both, Always(paranoid)),
    (Both, Perhaps(kernel_pointers)),
    (Recording, Perhaps(cpuid_faulting)),
    (Both, Always(ptrace_scope)),
    (Both, Always(sandbox)),
    (Both, Always(kernel)),
    (Recording, Perhaps(c_library)),
];

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;

/// The errno values that perf_event_open distinguishes.
const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;
const EACCES: i32 = 13;
const EPERM: i32 = 1;

const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
const KERNEL_POINTERS: &str = "/proc/sys/kernel/kptr_restrict";
const FREEZE_ON_SMI: &str = "/sys/devices/cpu/freeze_on_smi";
const P_CORES: &str = "/sys/devices/cpu_core/cpus";
const E_CORES: &str = "/sys/devices/cpu_atom/cpus";
const PTRACE_SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

fn processor(examination: &CheckContext) -> Finding {
    let finding = Finding::new("processor", "/proc/cpuinfo", "one that this rr supports");
    let Processor { maker, number, family, model, .. } = &examination.processor;
    if examination.host.read("/proc/cpuinfo").is_none() {
        return finding.skipped("/proc/cpuinfo cannot be read");
    }
    if maker.is_none() {
        return finding.trouble(format!("{model}; rr runs on Intel, AMD and arm64"));
    }
    let rr = examination.recorder.as_ref().ok();
    if examination.counts_in_software() {
        return finding.ok(format!("{model}; software counters work on any"));
    }
    if rr.is_some_and(forces_microarchitecture) {
        return finding.ok(format!("{model}; RR_PATCH_RECORD sets its type with -A"));
    }
    let Some(known) = examination.processor.microarchitecture() else {
        let number = match maker {
            Some(Maker::Arm(_)) => String::new(),
            _ => format!(" (CPU type {number:#x}, extended family {family:#x})"),
        };
        let finding = finding.trouble(format!("{model}{number}, which no known rr supports"));
        return instead(examination, finding.advise("look for a newer rr at rr-project.org"));
    };
    let Microarchitecture { name, since, branches } = known;
    let found = if model.contains(name) { model.clone() } else { format!("{model} ({name} to rr)") };
    if branches == 0 {
        return instead(examination, finding.trouble(format!("{found}, which rr cannot use")));
    }
    let release = if since == UNRELEASED { "rr's main branch".into() } else { format!("rr {since}") };
    match rr {
        None => finding.skipped(format!("{found}, supported by {release} and newer; no rr was found")),
        Some(rr) if rr.version >= since || since == UNRELEASED && rr.is_from_main() => finding.ok(found),
        Some(rr) => {
            let advice = if since == UNRELEASED { "build rr from its main branch" } else { RR_PACKAGES };
            let finding =
                finding.trouble(format!("{found}, supported by {release} and newer; this is rr {}", rr.said()));
            instead(examination, finding.advise(advice))
        }
    }
}

fn forces_microarchitecture(rr: &Recorder) -> bool {
    rr.arguments.iter().any(|argument| argument.starts_with("-A") || argument.starts_with("--microarch"))
}

/// Adds the alternative for machines without counters: software counters.
fn instead(examination: &CheckContext, finding: Finding) -> Finding {
    match &examination.recorder {
        Ok(rr) if rr.software_counters => {
            let program = match &examination.host.program("rr") {
                Some(found) if *found == rr.path => "rr".into(),
                _ => examination.host.shown(&rr.path),
            };
            finding
                .advise("this rr has software counters (-W), which need none; before starting the installer, type:")
                .advise(format!("export RR_PATCH_RECORD=\"{program} record -W --wait\""))
                .advise("such a trace is replayed with -W too: DELVE_RR_REPLAY_FLAGS=-W for `dlv replay`")
        }
        _ => finding
            .advise("use a recorder with software counters (an rr with the option -W, like rr.soft), and type:")
            .advise("export RR_PATCH_RECORD=\"rr record -W --wait\""),
    }
}

/// The CPU that recordings are bound to: 0 by default. If RR_PATCH_RECORD has options, it is the CPU in them, or
/// `None` if they do not bind recordings.
fn bound_to(examination: &CheckContext) -> Option<usize> {
    let Ok(rr) = &examination.recorder else { return Some(0) };
    if rr.arguments.is_empty() {
        return Some(0);
    }
    let mut arguments = rr.arguments.iter();
    while let Some(argument) = arguments.next() {
        if let Some(value) = argument.strip_prefix("--bind-to-cpu=") {
            return value.parse().ok();
        }
        if argument == "--bind-to-cpu" {
            return arguments.next()?.parse().ok();
        }
    }
    None
}

/// The processor's event that rr counts, or the kernel's generic event.
fn branches(processor: &Processor) -> (Event, String) {
    match processor.microarchitecture() {
        Some(known) if known.branches != 0 => (Event::Branches(known.branches), format!("r{:x}", known.branches)),
        _ => (Event::AnyBranches, "branches".into()),
    }
}

fn counters(examination: &CheckContext) -> Finding {
    let host = examination.host;
    let (event, name) = branches(&examination.processor);
    let finding =
        Finding::new("performance counters", format!("perf_event_open of {name}"), "a PMU that counts branches");
    if let Some(Software { line, .. }) = &examination.software {
        let found = "not used: this rr counts in software (-W), because it cannot use this machine's counters";
        if examination.question.purpose == Some(Purpose::Record) {
            return finding.ok(found);
        }
        return finding
            .warning(found)
            .advise("`rr-patch record` sets this for the installer; to start the installer in another way, first type:")
            .advise(format!("export RR_PATCH_RECORD=\"{line}\""));
    }
    if examination.counts_in_software() {
        return finding.ok("not needed: RR_PATCH_RECORD asks for software counters (-W)");
    }
    let fast = host.read(P_CORES).and_then(|list| numbers(&list).first().copied());
    match host.kernel.count(event, bound_to(examination).or(fast)) {
        Ok(counted) if counted >= BRANCHES => finding.ok("counting"),
        Ok(counted) => {
            let finding = finding.trouble(format!("{counted} counted of at least {BRANCHES}"));
            if host.read(E_CORES).is_some() {
                return finding.advise("rr cannot count on an E-core: see `CPU to record on`");
            }
            let finding = finding.advise(format!("`perf stat -e {name} true` must show a number above 0"));
            instead(examination, virtual_pmu(examination, finding))
        }
        Err(error) => match error.raw_os_error() {
            Some(ENOENT | ENODEV | EOPNOTSUPP) => {
                let of =
                    if examination.processor.is_virtual() { "none: a virtual machine without a PMU" } else { "none" };
                let finding = finding.trouble(of);
                instead(examination, virtual_pmu(examination, finding))
            }
            Some(EACCES | EPERM) if host.number(PARANOID).is_some_and(|level| level > 2) => {
                finding.skipped("forbidden by perf_event_paranoid: see that check")
            }
            Some(EACCES | EPERM) => {
                let finding = finding.trouble(format!("forbidden ({})", short(&error)));
                finding.advise("a seccomp filter or the container's runtime forbids it").advise(UNCONFINED)
            }
            _ => finding.skipped(format!("cannot be probed: {}", short(&error))),
        },
    }
}

/// An error without the errno that Rust appends.
pub fn short(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn virtual_pmu(examination: &CheckContext, finding: Finding) -> Finding {
    if !examination.processor.is_virtual() {
        return finding;
    }
    finding.advise(
        "the hypervisor can give it one: libvirt by <cpu mode='host-passthrough'/> and <pmu state='on'/>, \
             VMware by \"Virtualize CPU performance counters\", a cloud by a metal or larger instance",
    )
}

/// Parses a kernel list such as `0-3,8`.
fn numbers(list: &str) -> Vec<usize> {
    let range = |part: &str| -> Option<Vec<usize>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some((from.trim().parse().ok()?..=to.trim().parse().ok()?).collect())
    };
    list.split(',').filter_map(range).flatten().collect()
}

fn cpu(examination: &CheckContext) -> Finding {
    let host = examination.host;
    let bound = bound_to(examination);
    let needed = bound.map_or_else(|| "one that counts".into(), |cpu| format!("CPU {cpu}, where recordings are bound"));
    let finding = Finding::new("CPU to record on", "/proc/self/status, /sys/devices/cpu_core, cpu_atom", needed);
    let Some(allowed) = host.status("Cpus_allowed_list") else {
        return finding.skipped("/proc/self/status does not say which are allowed");
    };
    let cores = |path: &str| host.read(path).map(|list| list.trim().to_owned());
    let hybrid = cores(P_CORES).zip(cores(E_CORES));
    let first = |list: &str| numbers(list).into_iter().find(|cpu| numbers(&allowed).contains(cpu));
    let better = first(hybrid.as_ref().map_or(&allowed, |(fast, _)| fast)).unwrap_or_default();
    let bind = |finding: Finding| {
        finding.advise(format!("`rr-patch apply --bind-to-cpu {better}`, or --bind-to-cpu={better} in RR_PATCH_RECORD"))
    };
    // rr's main branch supports both kinds of cores since June 2025. Software counters need no support.
    let tells_apart =
        examination.counts_in_software() || examination.recorder.as_ref().is_ok_and(Recorder::is_from_main);
    match (bound, &hybrid) {
        (Some(cpu), _) if !numbers(&allowed).contains(&cpu) => {
            bind(finding.trouble(format!("CPU {cpu} is offline or not allowed here; allowed: {allowed}")))
        }
        (Some(cpu), Some((fast, slow))) => {
            let kinds = format!("P-cores {fast}, E-cores {slow}");
            if numbers(fast).contains(&cpu) {
                finding.ok(format!("CPU {cpu}, a P-core ({kinds})"))
            } else if tells_apart {
                finding.ok(format!("CPU {cpu}, an E-core ({kinds})"))
            } else {
                bind(finding.trouble(format!("CPU {cpu} is an E-core, where rr cannot count ({kinds})")))
            }
        }
        (None, Some((fast, slow))) if !tells_apart => bind(finding.trouble(format!(
            "not bound: rr uses any core, and cannot count on an E-core (P-cores {fast}, E-cores {slow})"
        ))),
        (Some(cpu), None) => finding.ok(format!("CPU {cpu} of {allowed}")),
        (None, _) => finding.ok(format!("not bound, one of {allowed}")),
    }
}

/// On Zen, rr is reliable with a single thread only, unless SpecLockMap is off (rr-debugger/rr#2034).
fn spec_lock_map(examination: &CheckContext) -> Option<Finding> {
    const SCRIPT: &str = "/usr/share/doc/rr/examples/zen_workaround.py"; // Debian's package
    let known = examination.processor.microarchitecture()?;
    if !known.is_zen() || examination.counts_in_software() {
        return None;
    }
    let host = examination.host;
    let finding = Finding::new("SpecLockMap", "perf_event_open of r510825", "off, on every Zen");
    Some(match host.kernel.count(Event::SpecLockMapCommits, bound_to(examination)) {
        Ok(0) => finding.ok("off"),
        Ok(_) => {
            let finding = finding.trouble("on: recordings of programs with threads cannot be replayed");
            if examination.processor.is_virtual() {
                finding.advise("only the host of this virtual machine can turn it off: rr's wiki, page Zen")
            } else if host.locate(SCRIPT).exists() {
                let root = |command: &str| examination.distribution.as_root(command);
                finding
                    .fix([root("modprobe msr"), root(&format!("python3 {SCRIPT}"))])
                    .advise("repeat this after every boot")
            } else {
                finding.advise(
                    "run scripts/zen_workaround.py of rr's sources as root, after every boot: rr's wiki, page Zen",
                )
            }
        }
        Err(error) => finding.skipped(format!("cannot be probed: {}", short(&error))),
    })
}

/// rr checks this from Comet Lake on: 5.6 to 5.9 warn, the main branch refuses.
fn freeze_on_smi(examination: &CheckContext) -> Option<Finding> {
    let known = examination.processor.microarchitecture()?;
    let concerned = examination.processor.maker == Some(Maker::Intel)
        && (known.name == "Intel Comet Lake" || known.branches & 0xff_ffff != 0x51_01c4);
    let frozen = examination.host.number(FREEZE_ON_SMI)?;
    if !concerned || examination.counts_in_software() {
        return None;
    }
    let finding = Finding::new("freeze_on_smi", FREEZE_ON_SMI, "1");
    if frozen == 1 {
        return Some(finding.ok("1"));
    }
    let fix = examination.distribution.sysfs(FREEZE_ON_SMI, "1", "60-rr-patch.conf");
    Some(match &examination.recorder {
        Ok(rr) if rr.is_from_main() => finding.trouble(format!("{frozen}: this rr refuses to record")).fix(fix),
        _ => finding.warning(format!("{frozen}: a recording may fail to replay")).fix(fix),
    })
}

/// Whether rr itself records and replays at this level; above 1 it depends on the kernel and the rr.
fn rr_works_at(examination: &CheckContext, level: i64) -> bool {
    let host = examination.host;
    let Ok(rr) = &examination.recorder else { return level <= 1 };
    if level <= 1 || rr.arguments.iter().any(|argument| argument == "-n" || argument == "--no-syscall-buffer") {
        return true;
    }
    if rr.version >= Version(5, 9, 0) {
        // rr uses a signal for context switches that kernels deliver correctly since 6.10.
        level <= 2 && release(host).is_some_and(|kernel| kernel >= Version(6, 10, 0))
    } else {
        host.capable(CAP_SYS_ADMIN) || host.capable(CAP_PERFMON)
    }
}

fn paranoid(examination: &CheckContext) -> Finding {
    let purpose = examination.question.purpose;
    let needed = match purpose {
        Some(Purpose::Record) => "1 or less",
        _ => "1 or less, for Delve",
    };
    let finding = Finding::new("perf_event_paranoid", PARANOID, needed);
    let Some(level) = examination.host.number(PARANOID) else {
        let counters = "the file cannot be read: a kernel without perf events, or a sandbox";
        return finding.skipped(counters);
    };
    if level <= 1 {
        return finding.ok(level.to_string());
    }
    let finding = match (purpose, rr_works_at(examination, level)) {
        _ if examination.recorder.is_err() => finding.trouble(format!("{level}: Delve refuses to replay")),
        (Some(Purpose::Record), true) => {
            finding.warning(format!("{level}: rr records, but Delve will not replay here"))
        }
        (Some(Purpose::Record), false) => finding.trouble(format!("{level}: rr refuses to record")),
        // Not even root is allowed.
        (_, true) => finding.trouble(format!("{level}: Delve refuses to replay, although rr may record")).of_replays(),
        (_, false) => finding.trouble(format!("{level}: rr and Delve refuse")),
    };
    match allow_perf_events(&examination.distribution) {
        Ok(commands) => finding.fix(commands),
        Err(words) => finding.advise(words),
    }
}

/// The commands that set `perf_event_paranoid` to 1, the highest level at which Delve replays.
pub fn allow_perf_events(distribution: &Distribution) -> Result<Vec<String>, String> {
    distribution.sysctl("kernel.perf_event_paranoid", 1, "60-rr-patch-perf.conf")
}

/// A warning, because instructions for rr often set this to 0, which shows kernel addresses to every user.
fn kernel_pointers(examination: &CheckContext) -> Option<Finding> {
    let level = examination.host.number(KERNEL_POINTERS)?;
    let finding = Finding::new("kptr_restrict", KERNEL_POINTERS, "");
    Some(finding.ok(format!(
        "{level}; not needed at any value: it hides the kernel's own addresses in /proc, and neither rr nor Delve reads them"
    )))
}

/// The kernel shows with this flag whether `arch_prctl(ARCH_SET_CPUID)` works.
fn cpuid_faulting(examination: &CheckContext) -> Option<Finding> {
    let rr = examination.recorder.as_ref().ok()?;
    if !examination.processor.is_x86() {
        return None;
    }
    let disables = rr
        .arguments
        .iter()
        .find(|argument| argument.starts_with("--disable-avx-512") || argument.starts_with("--disable-cpuid-features"));
    let needed = if disables.is_some() { "supported, since RR_PATCH_RECORD disables features" } else { "" };
    let finding = Finding::new("CPUID faulting", "/proc/cpuinfo, flag cpuid_fault", needed);
    Some(match (examination.processor.has("cpuid_fault"), disables) {
        (true, _) => finding.ok("supported"),
        (false, None) => finding.ok("none: traces replay on this model only, and --disable-avx-512 is left out"),
        (false, Some(option)) => finding
            .trouble(format!("not supported: rr aborts at {option}"))
            .advise(format!("leave {option} out of RR_PATCH_RECORD")),
    })
}

fn ptrace_scope(examination: &CheckContext) -> Finding {
    let host = examination.host;
    let capable = host.capable(CAP_SYS_PTRACE);
    let finding = Finding::new("ptrace_scope", PTRACE_SCOPE, "0 or 1; 2 with CAP_SYS_PTRACE");
    let Some(scope) = host.number(PTRACE_SCOPE) else {
        return finding.ok("this kernel has no Yama");
    };
    let setting = || examination.distribution.sysctl("kernel.yama.ptrace_scope", 1, "60-rr-patch-ptrace.conf");
    match scope {
        ..=1 => finding.ok(scope.to_string()),
        2 if capable => finding.ok("2, with CAP_SYS_PTRACE"),
        2 => match setting() {
            Ok(commands) => finding.trouble("2: only root may trace").fix(commands),
            Err(words) => finding.trouble("2: only root may trace").advise(words),
        },
        _ => {
            let finding = finding.trouble(format!("{scope}: nobody may trace until the next boot"));
            match setting() {
                // The kernel does not allow lowering the value from 3; the file takes effect at the next boot.
                Ok(commands) => finding.fix(commands.into_iter().take(1)).advise("then reboot"),
                Err(words) => finding.advise(words).advise("then reboot that machine"),
            }
        }
    }
}

const UNCONFINED: &str = "start the container with --cap-add=SYS_PTRACE --security-opt seccomp=unconfined";

fn sandbox(examination: &CheckContext) -> Finding {
    let host = examination.host;
    let finding =
        Finding::new("sandbox", "/proc/self/status, /run/.containerenv, /.dockerenv", "ptrace and perf_event_open");
    let Some(seccomp) = host.status("Seccomp") else {
        return finding.skipped("/proc/self/status does not say whether there is a seccomp filter");
    };
    let filtered = seccomp != "0";
    match (host.container(), filtered) {
        (None, false) => finding.ok("none"),
        (Some(mark), false) => finding.ok(format!("a container ({mark}) without a seccomp filter")),
        (None, true) => finding.ok("a seccomp filter, and no sign of a container"),
        (Some(mark), true) => finding
            .warning(format!("a container ({mark}) with a seccomp filter, which may forbid what rr does"))
            .advise(UNCONFINED),
    }
}

fn release(host: &Host) -> Option<Version> {
    Version::find(&host.read("/proc/sys/kernel/osrelease")?)
}

fn kernel(examination: &CheckContext) -> Finding {
    let old = examination.recorder.as_ref().is_ok_and(|rr| rr.version < Version(5, 7, 0));
    let needed = if old { Version(3, 11, 0) } else { Version(4, 7, 0) };
    let finding = Finding::new("kernel", "/proc/sys/kernel/osrelease", format!("{}.{} or newer", needed.0, needed.1));
    match release(examination.host) {
        None => finding.skipped("/proc/sys/kernel/osrelease cannot be read"),
        Some(found) if found >= needed => finding.ok(found.to_string()),
        Some(found) => finding.trouble(found.to_string()).advise("a newer kernel, or an older rr"),
    }
}

/// The version of this host's glibc; `None` if it has another C library.
pub fn c_library_version(examination: &CheckContext) -> Option<Version> {
    let host = examination.host;
    let answer = host.run(&host.program("ldd")?, &["--version"]).ok()?;
    let first = answer.stdout.lines().next()?;
    first.to_lowercase().contains("libc").then(|| Version::find(first))?
}

/// glibc 2.42 makes guard pages of stacks with an madvise at which rr 5.9.0 aborts (rr-debugger/rr#4036). rr's main
/// branch supports it since August 2025.
fn c_library(examination: &CheckContext) -> Option<Finding> {
    const BREAKS: Version = Version(2, 42, 0);
    let rr = examination.recorder.as_ref().ok()?;
    let version = c_library_version(examination)?;
    let finding = Finding::new("C library", "`ldd --version`", "before 2.42, for rr 5.9.0");
    let found = format!("glibc {}.{}", version.0, version.1);
    if version < BREAKS || rr.version > Version(5, 9, 0) || rr.is_from_main() {
        return Some(finding.ok(found));
    }
    Some(
        finding
            .warning(format!("{found}: recording a dynamically linked program with threads can fail"))
            .advise("build the controllers without cgo (CGO_ENABLED=0), or build rr from its main branch"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_writes_lists() {
        assert_eq!(numbers("0-2,8"), [0, 1, 2, 8]);
        assert_eq!(numbers("5\n"), [5]);
        assert_eq!(numbers(""), [] as [usize; 0]);
    }
}
