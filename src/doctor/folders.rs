//! The probes for the folders of traces and of the installation: whether rr can write there, and how much.

use std::io;
use std::path::{Path, PathBuf};

use super::Concerns::{self, Recording};
use super::Probe::{self, Always, Perhaps};
use super::machine::short;
use super::{CheckContext, Finding, Host, LEAST_FREE};
use crate::error::Shown;
use crate::words::bytes;

/// In the order of the report.
pub const PROBES: [(Concerns, Probe); 3] =
    [(Recording, Always(trace_folder)), (Recording, Always(room)), (Recording, Perhaps(install_folder))];

/// rr's trace folder, by the rules in `TraceStream.cc` of every release since 5.3.
fn trace_root(host: &Host) -> (PathBuf, &'static str) {
    if let Some(folder) = host.variable("_RR_TRACE_DIR") {
        return (folder.into(), "_RR_TRACE_DIR");
    }
    let data = host.variable("XDG_DATA_HOME").map(|data| (Path::new(&data).join("rr"), "XDG_DATA_HOME"));
    let home = host.variable("HOME").map(|home| (Path::new(&home).join(".local/share/rr"), "HOME"));
    let Some((folder, from)) = data.or(home) else { return ("/tmp/rr".into(), "no HOME") };
    let old = host.variable("HOME").map(|home| Path::new(&home).join(".rr"));
    match old.filter(|old| !host.locate(&folder).exists() && host.locate(old).exists()) {
        Some(old) => (old, "HOME"),
        None => (folder, from),
    }
}

/// The folder, or its nearest existing parent.
fn existing(host: &Host, folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| host.locate(folder).exists()).unwrap_or(Path::new("/")).to_owned()
}

/// The mount point and the type of the file system that contains a path.
fn mount(host: &Host, path: &Path) -> Option<(String, String)> {
    let root = host.locate("/").canonicalize().ok()?;
    let real = host.locate(existing(host, path)).canonicalize().ok()?;
    let real = Path::new("/").join(real.strip_prefix(root).ok()?);
    let mounts = host.read("/proc/self/mounts")?;
    let lines = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.replace("\\040", " "), fields.next()?.to_owned()))
    });
    // If two file systems are mounted on one folder, the later one is visible.
    lines.filter(|(point, _)| real.starts_with(point)).max_by_key(|(point, _)| point.len())
}

fn trace_folder(examination: &CheckContext) -> Finding {
    let host = examination.host;
    let (folder, from) = trace_root(host);
    let finding = Finding::new("trace folder", format!("{} (by {from})", folder.shown()), "a folder to write to");
    let there = existing(host, &folder);
    let path = host.locate(&there);
    let other = "_RR_TRACE_DIR can name another folder";
    if !path.is_dir() {
        return finding.trouble(format!("{} is not a folder", there.shown())).advise(other);
    }
    let name = if there == folder { folder.shown() } else { format!("{}, to be made", folder.shown()) };
    match tempfile::Builder::new().prefix(".rr-patch-").tempfile_in(&path) {
        Err(error) => finding.trouble(format!("{}: {}", there.shown(), short(&io_error(&error)))).advise(other),
        Ok(_) => match mount(host, &folder) {
            Some((point, kind)) if kind == "tmpfs" || kind == "ramfs" => finding
                .warning(format!("{name}, in {kind} ({point}): traces fill the memory and are gone after a boot"))
                .advise(other),
            _ => finding.ok(name),
        },
    }
}

/// tempfile wraps the error and adds the path, which the finding already shows.
fn io_error(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error)
}

fn room(examination: &CheckContext) -> Finding {
    const ENOUGH: u64 = 2 << 30;
    let least = examination.question.least_free.unwrap_or(LEAST_FREE);
    let host = examination.host;
    let (folder, _) = trace_root(host);
    let there = existing(host, &folder);
    // Example: a trace of a vSphere controller has 106 MB; 102 of them are the copy of its program.
    let finding = Finding::new("room for traces", there.shown(), "2 GiB");
    let free = match host.free(&there) {
        Ok(free) => free,
        Err(error) => return finding.skipped(format!("cannot be probed: {}", short(&error))),
    };
    let found = format!("{} free", bytes(free));
    let advice = "`rr-patch traces prune` removes old traces; _RR_TRACE_DIR can name another folder";
    if free < least {
        finding.trouble(format!("{found}: rr aborts at a full disk, and the trace is lost")).advise(advice)
    } else if free < ENOUGH {
        finding.warning(found).advise(advice)
    } else {
        finding.ok(found)
    }
}

/// On the same file system rr links the recorded program into the trace. Otherwise the trace has only its path,
/// unless RR_COPY_ALL_FILES is set.
fn install_folder(examination: &CheckContext) -> Option<Finding> {
    let host = examination.host;
    let given = examination.question.install_dir.clone();
    let folder = given.or_else(|| host.variable("PWD").map(PathBuf::from))?;
    let finding = Finding::new("installation folder", folder.shown(), "");
    let mounts = mount(host, &folder).zip(mount(host, &trace_root(host).0));
    Some(match mounts {
        None => finding.skipped("/proc/self/mounts does not say where it is mounted"),
        Some((here, traces)) if here == traces => {
            finding.ok(format!("the traces' file system ({} on {})", here.1, here.0))
        }
        Some(((point, kind), (other, _))) => finding
            .ok(format!("{kind} on {point}, the traces on {other}: only those of a patched installer outlive it")),
    })
}
