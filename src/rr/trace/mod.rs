//! Reads rr's trace store by rr's own rules (see the comment above `class TraceWriter` in `src/TraceStream.h`): which
//! folders are traces, which traces are being recorded, and what complete traces contain.
//!
//! `rr ls` is not usable: since 5.7 it stops at the first incomplete trace, and earlier versions also list files that
//! are not traces. This module does not run rr, and does not read the environment in a trace.
//!
//! | in the folder | state |
//! | --- | --- |
//! | `version` | complete; junk if no program was started |
//! | `incomplete`, locked | being recorded |
//! | `incomplete` with text in it, not locked | dead: rr was killed; junk if nothing was recorded |
//! | an empty `incomplete`, or only empty streams | starting; junk after a minute |

mod check;
mod content;
mod portable;
mod prune;
mod sidecar;
mod stream;
mod timeline;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::{FlockOperation, flock};

pub use check::Check;
use content::Mappings;
pub use content::{Backing, FileStatus, Header, Mapped, Started};
pub use portable::Portable;
pub use sidecar::{SIDECAR, Sidecar};
pub use timeline::{Delivered, Timeline};

use crate::error::{Error, Shown};
use crate::sys::process::End;

/// The streams of every trace. rr makes them before any other file.
pub const STREAMS: [&str; 4] = ["events", "data", "mmaps", "tasks"];

/// How long a trace may be starting. rr writes to `incomplete` within milliseconds of making the folder.
const STARTING: Duration = Duration::from_secs(60);

/// How many levels below the store are searched. Each run of `rr-patch record` has its own folder, and so has each run
/// in the folder of a hunt.
const DEPTH: usize = 3;

/// A folder of traces.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// The content of a store.
#[derive(Debug, Default)]
pub struct Listing {
    /// The newest first.
    pub traces: Vec<Trace>,
    /// Traces that could not be read, with the reason.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// The state of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// rr has made the folder and has not begun to record.
    Starting,
    /// rr holds the trace's lock.
    Recording,
    /// Closed by rr: it can be replayed.
    Complete,
    /// rr was killed or crashed: the trace cannot be replayed.
    Dead,
    /// A recording that failed at its start. It has no content.
    Junk,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recording => "recording",
            Self::Complete => "complete",
            Self::Dead => "dead",
            Self::Junk => "junk",
        }
    }

    /// Whether rr may still write to the trace.
    pub fn live(self) -> bool {
        matches!(self, Self::Starting | Self::Recording)
    }
}

/// A folder that rr made for a recording.
#[derive(Clone, Debug)]
pub struct Trace {
    pub path: PathBuf,
    /// Its path relative to the store.
    pub name: String,
    pub state: State,
    /// The total size of its files, in bytes.
    pub size: u64,
    /// The bytes in files without other links: the space that removing the trace frees.
    pub own: u64,
    pub started: SystemTime,
    /// When rr closed the trace; for a dead trace, when rr last wrote to it.
    pub ended: Option<SystemTime>,
    pub sidecar: Option<Sidecar>,
    /// Why the sidecar file could not be read.
    pub sidecar_problem: Option<String>,
    /// The names of its files, sorted.
    pub files: Vec<String>,
    decoded: Decoded,
}

/// What its streams say: each is decoded once, when it is asked for.
#[derive(Clone, Debug, Default)]
struct Decoded {
    started: OnceLock<Option<Started>>,
    mappings: OnceLock<Mappings>,
    timeline: OnceLock<Timeline>,
}

/// What a cell holds, which is read if nobody has asked for it yet.
fn once<T>(cell: &OnceLock<T>, read: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let value = read()?;
    Ok(cell.get_or_init(|| value))
}

/// The recorded program and its executable.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path during the recording; `None` for an incomplete trace.
    pub path: Option<PathBuf>,
    /// Its arguments; `None` for an incomplete trace.
    pub arguments: Option<Vec<OsString>>,
    /// How it ended, if it ended during the recording.
    pub end: Option<End>,
    /// How the executable is stored; `None` if rr stored it in a stream, where debuggers cannot read it.
    pub kept: Option<Backing>,
    /// The file for a debugger: in the trace, or the original.
    pub file: Option<PathBuf>,
    /// Whether that file is unchanged, by rr's checks.
    pub still: Option<FileStatus>,
}

impl Store {
    /// rr's own store: `_RR_TRACE_DIR`, or a folder below `XDG_DATA_HOME` or `HOME`. The older `~/.rr` is used only
    /// if it exists and the new folder does not.
    pub fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        // rr joins paths in the same way: an empty variable results in a path from the root.
        let below = |mut start: OsString, end: &str| {
            start.push(end);
            PathBuf::from(start)
        };
        if let Some(root) = variable("_RR_TRACE_DIR") {
            return Self::at(root.into());
        }
        let home = variable("HOME");
        let standard = variable("XDG_DATA_HOME").map(|data| below(data, "/rr"));
        let standard = standard.or_else(|| home.clone().map(|home| below(home, "/.local/share/rr")));
        let old = home.map(|home| below(home, "/.rr"));
        let root = match (standard, old) {
            (Some(standard), Some(old)) if !standard.exists() && old.exists() => old,
            (Some(standard), _) => standard,
            (None, _) => "/tmp/rr".into(),
        };
        Self::at(root)
    }

    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All traces, the newest first. A store that does not exist has no traces.
    pub fn traces(&self) -> Result<Vec<Trace>> {
        Ok(self.look()?.traces)
    }

    /// All traces, and the folders that could not be read.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn look(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            entries => {
                let entries = entries.with_context(|| format!("cannot read `{}`", self.root.shown()))?;
                self.look_at(entries, 1, &mut listing);
            }
        }
        listing.traces.sort_by(|a, b| (b.started, &b.name).cmp(&(a.started, &a.name)));
        listing.unreadable.sort();
        Ok(listing)
    }

    fn look_at(&self, entries: fs::ReadDir, depth: usize, listing: &mut Listing) {
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            // `latest-trace` is a link. A name that begins with a dot is a trace being removed by us, or not a trace.
            if name == "latest-trace" || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // Links are followed: a trace may be stored on a larger disk.
            if !fs::metadata(&path).is_ok_and(|seen| seen.is_dir()) {
                continue;
            }
            match Trace::look(&path, &self.root, false) {
                Ok(Some(trace)) => listing.traces.push(trace),
                Ok(None) if depth < DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                    match fs::read_dir(&path) {
                        Ok(entries) => self.look_at(entries, depth + 1, listing),
                        Err(error) => listing.unreadable.push((path, error.to_string())),
                    }
                }
                Ok(None) => {}
                // Removed during the search.
                Err(_) if !path.exists() => {}
                Err(error) => listing.unreadable.push((path, format!("{error:#}"))),
            }
        }
    }

    /// Finds a trace. Without a name: the newest complete one. Otherwise by path or name, as rr does (a name without
    /// a slash is looked up in the current folder first, then in the store). Otherwise the newest complete trace of
    /// the controller with this name.
    pub fn find(&self, name: &str) -> Result<Trace> {
        if name.is_empty() {
            return self.newest(|_| true, "no complete trace");
        }
        match self.at_name(name)? {
            Some(trace) => Ok(trace),
            None if name.contains('/') => Err(no_trace(name).into()),
            None => {
                let nothing = format!("no trace `{name}`, and no complete one of such a controller,");
                self.newest(|trace| trace.is_of(name), &nothing).map_err(|error| self.did_you_mean(name, error))
            }
        }
    }

    /// Finds a trace by its name or path alone, in any state.
    pub fn named(&self, name: &str) -> Result<Trace> {
        let found = if name.is_empty() { None } else { self.at_name(name)? };
        found.ok_or_else(|| {
            let error = no_trace(name).detail(format!("looked in: `{}`", self.root.shown()));
            self.did_you_mean(name, error.into())
        })
    }

    /// Adds suggestions for a mistyped name of a trace or a controller.
    fn did_you_mean(&self, name: &str, error: anyhow::Error) -> anyhow::Error {
        let traces = self.traces().unwrap_or_default();
        let controllers = traces.iter().map(|trace| short(trace.controller()));
        let names: Vec<&str> = traces.iter().map(|trace| trace.name.as_str()).chain(controllers).collect();
        // An existing trace was not mistyped; the error already tells its state.
        if names.contains(&short(name)) {
            return error;
        }
        match error.downcast::<Error>() {
            Ok(error) => error.did_you_mean(name, names).into(),
            Err(error) => error,
        }
    }

    fn at_name(&self, name: &str) -> Result<Option<Trace>> {
        let path = Path::new(name);
        let stored = self.root.join(path);
        for path in [path, &stored].into_iter().filter(|path| path.is_dir()) {
            // A folder with this name in the current folder must not hide a trace in the store.
            let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
            if let Some(trace) = Trace::look(&path.canonicalize().unwrap_or_else(|_| path.into()), &root, false)? {
                return Ok(Some(trace));
            }
        }
        Ok(None)
    }

    fn newest(&self, wanted: impl Fn(&Trace) -> bool, nothing: &str) -> Result<Trace> {
        let traces = self.traces()?;
        let mut others: Vec<String> = Vec::new();
        for trace in traces.into_iter().filter(wanted) {
            match trace.state {
                State::Complete => return Ok(trace),
                state => others.push(format!("`{}` is {}", trace.name, state.word())),
            }
        }
        let error = Error::failed(format!("{nothing} is in `{}`", self.root.shown()));
        let error = others.into_iter().take(5).fold(error, Error::detail);
        Err(error.hint("`rr-patch traces` lists all; `--trace-dir DIR` names another folder").into())
    }
}

/// A provider's name without the common prefix.
fn short(controller: &str) -> &str {
    controller.strip_prefix("cluster-api-provider-").unwrap_or(controller)
}

fn no_trace(name: &str) -> Error {
    Error::failed(format!("`{name}` is not a trace"))
        .detail("expected: a folder with a file `version` or `incomplete`")
        .hint("`rr-patch traces` lists the traces; `--trace-dir DIR` names another folder")
}

impl Trace {
    /// Opens the trace in a folder.
    pub fn open(path: &Path) -> Result<Self> {
        let whole = path.canonicalize().with_context(|| format!("cannot read `{}`", path.shown()))?;
        let parent = whole.parent().unwrap_or(&whole).to_owned();
        Self::look(&whole, &parent, false)?.ok_or_else(|| no_trace(&path.to_string_lossy()).into())
    }

    /// Reads the trace in a folder; `None` if it is not one. With `ours`, we hold the lock ourselves, so it is not
    /// checked.
    fn look(path: &Path, root: &Path, ours: bool) -> Result<Option<Self>> {
        let mut files = Vec::new();
        let (mut size, mut own, mut written) = (0, 0, None::<SystemTime>);
        let mut began = None::<SystemTime>;
        let (mut filled, mut mapped) = (false, false);
        for entry in fs::read_dir(path).with_context(|| format!("cannot read `{}`", path.shown()))? {
            let entry = entry.with_context(|| format!("cannot read `{}`", path.shown()))?;
            // The file may have disappeared: for example, rr renames `incomplete` to `version`.
            let Ok(seen) = entry.path().symlink_metadata() else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if seen.is_file() {
                size += seen.len();
                own += if seen.nlink() == 1 { seen.len() } else { 0 };
                let stream = STREAMS.contains(&name.as_str());
                filled |= stream && seen.len() > 0;
                let hardlink = name.starts_with("mmap_hardlink_");
                mapped |= name.starts_with("mmap_") || name.starts_with("cloned_data_");
                // A hard link has the times of the original file.
                if !hardlink && name != SIDECAR {
                    let born = [seen.created().ok(), seen.modified().ok()].into_iter().flatten().min();
                    began = [began, born].into_iter().flatten().min();
                }
                if stream || name == "version" {
                    written = written.max(seen.modified().ok());
                }
            }
            files.push(name);
        }
        let has = |name: &str| files.iter().any(|file| file == name);
        let streams = STREAMS.iter().any(|name| has(name));
        if !has("version") && !has("incomplete") && !streams {
            return Ok(None);
        }
        files.sort();
        let started = began.unwrap_or(SystemTime::UNIX_EPOCH);
        let young = started.elapsed().map_or(true, |age| age < STARTING);
        // In this order, because rr renames `incomplete` to `version`.
        let lock = incomplete(path, ours);
        let complete = path.join("version").symlink_metadata().is_ok();
        let state = if complete {
            content::open(path, "version")?;
            // rr also closes a trace if the program could not be started.
            let empty = fs::metadata(path.join("tasks")).is_ok_and(|tasks| tasks.len() == 0);
            if empty { State::Junk } else { State::Complete }
        } else {
            match lock? {
                Some(TraceLock::Held) => State::Recording,
                Some(TraceLock::Empty) | None if young => State::Starting,
                _ if filled || mapped => State::Dead,
                _ => State::Junk,
            }
        };
        let (sidecar, sidecar_problem) = match Sidecar::read(path) {
            Ok(sidecar) => (sidecar, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let name = path.strip_prefix(root).ok().filter(|name| !name.as_os_str().is_empty());
        let name = name.map_or_else(|| path.to_string_lossy(), Path::to_string_lossy).into_owned();
        // Copying a trace changes the times of its files, so the times in the sidecar are preferred.
        let noted = |time: &Option<String>| time.as_ref()?.parse::<Timestamp>().ok().map(SystemTime::from);
        let started = sidecar.as_ref().and_then(|sidecar| noted(&sidecar.started)).unwrap_or(started);
        let ended = sidecar.as_ref().and_then(|sidecar| noted(&sidecar.ended)).or(written);
        let ended = ended.filter(|_| !state.live());
        let decoded = Decoded::default();
        Ok(Some(Self {
            path: path.into(),
            name,
            state,
            size,
            own,
            started,
            ended,
            sidecar,
            sidecar_problem,
            files,
            decoded,
        }))
    }

    /// The controller's name: from the sidecar, or else the folder's name without rr's number.
    pub fn controller(&self) -> &str {
        if let Some(sidecar) = self.sidecar.as_ref().filter(|sidecar| !sidecar.controller.is_empty()) {
            return &sidecar.controller;
        }
        let name = self.name.rsplit('/').next().unwrap_or(&self.name);
        match name.rsplit_once('-') {
            Some((program, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                program
            }
            _ => name,
        }
    }

    /// Whether the trace belongs to this controller, given by its full name or its provider's name.
    fn is_of(&self, name: &str) -> bool {
        short(self.controller()) == short(name)
    }

    /// The length of the recording, from the times of the files.
    pub fn length(&self) -> Option<Duration> {
        self.ended.and_then(|ended| ended.duration_since(self.started).ok())
    }

    /// Whether a replay needs an rr with software counters and `-W`: from the sidecar, or else from events that only
    /// such an rr records. `None` if neither shows it.
    pub fn software_counters(&self) -> Option<bool> {
        let noted = self.sidecar.as_ref().map(|sidecar| sidecar.software_counters);
        noted.or_else(|| content::software_counters(&self.path).ok().filter(|&found| found))
    }

    /// When what happened in a complete trace.
    pub fn timeline(&self) -> Result<&Timeline> {
        once(&self.decoded.timeline, || Timeline::read(&self.path))
    }

    /// The header of a complete trace.
    pub fn header(&self) -> Result<Header> {
        Header::read(&self.path)
    }

    /// Opens a file of the trace with a read lock. While it is held, [`Trace::remove`] does not remove the trace, in
    /// any process.
    pub fn hold(&self) -> Result<File> {
        let file = content::open(&self.path, "version")?;
        flock(&file, FlockOperation::NonBlockingLockShared)
            .map_err(|_| Error::refused(format!("`{}` is in use by another rr-patch", self.path.shown())))?;
        Ok(file)
    }

    /// The files that a replay of a complete trace needs, without the trace's own streams.
    pub fn mapped(&self) -> Result<&[Mapped]> {
        Ok(&self.mappings()?.files)
    }

    fn mappings(&self) -> Result<&Mappings> {
        // Without a program in `tasks` the files can still be told.
        once(&self.decoded.mappings, || content::mapped(&self.path, self.first_program().ok().flatten()))
    }

    fn first_program(&self) -> Result<Option<&Started>> {
        Ok(once(&self.decoded.started, || content::started(&self.path))?.as_ref())
    }

    /// The recorded program. For an incomplete trace, only a file with the name from the trace's name can be found.
    pub fn program(&self) -> Result<Program> {
        if self.state != State::Complete {
            let name = self.controller();
            let found = content::by_name(self.files.iter().map(String::as_str), name);
            let file = found.map(|(_, file)| self.path.join(file));
            let kept = found.map(|(kept, _)| kept);
            return Ok(Program { path: None, arguments: None, end: None, kept, file, still: None });
        }
        let Some(started) = self.first_program()? else {
            return Err(Error::failed(format!("`{}` has no recorded program", self.path.shown()))
                .detail("looked at: its stream `tasks`; found: no started program")
                .into());
        };
        let mappings = self.mappings()?;
        let mapped = mappings.image.as_ref().and_then(|(_, number)| number.map(|number| &mappings.files[number]));
        let (kept, still) = (mapped.map(|mapped| mapped.kept), mapped.map(|mapped| mapped.still(&self.path)));
        let image = mappings.image.as_ref().map_or(&started.path, |(path, _)| path);
        // If the trace has no file for it, a debugger opens the original.
        let file = mapped.map_or_else(|| image.clone(), |mapped| mapped.file(&self.path));
        let path = Some(image.clone());
        let Started { arguments, status, .. } = started.clone();
        let end = status.map(ExitStatus::from_raw).map(|status| match status.code() {
            Some(code) => End::Code(code),
            None => End::Signal(status.signal().unwrap_or_default()),
        });
        Ok(Program { path, arguments: Some(arguments), end, kept, file: Some(file), still })
    }
}

/// A time in RFC 3339 format, to the second.
pub fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A time in RFC 3339 format with fractions of a second, for calculations.
pub fn rfc3339_exact(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".into(), |time| time.to_string())
}

/// A time for people, in their time zone.
pub fn local(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).map(|time| time.to_zoned(TimeZone::system()));
    time.map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// The state of the lock on `incomplete`.
enum TraceLock {
    Held,
    Free,
    /// The file is empty: rr may be about to take the lock, so we must not take it.
    Empty,
}

/// Checks whether rr holds the lock, which it keeps during the whole recording. `None` if the file does not exist.
fn incomplete(trace: &Path, ours: bool) -> Result<Option<TraceLock>> {
    let Ok(seen) = trace.join("incomplete").symlink_metadata() else { return Ok(None) };
    // rr locks the file between making it and writing to it, and aborts if it cannot.
    if seen.is_file() && seen.len() == 0 {
        return Ok(Some(TraceLock::Empty));
    }
    // rr may have renamed it to `version`.
    let Ok(file) = content::open(trace, "incomplete") else {
        return if seen.is_file() { Ok(None) } else { content::open(trace, "incomplete").map(|_| None) };
    };
    Ok(Some(if !ours && locked(&file) { TraceLock::Held } else { TraceLock::Free }))
}

/// Uses a shared lock, so that two rr-patch processes do not mistake each other for rr. If locks are not supported,
/// the trace counts as being recorded, which is the safe answer.
fn locked(file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => flock(file, FlockOperation::Unlock).is_err(),
        Err(_) => true,
    }
}
