//! rr's trace store, read by rr's own rules (`src/TraceStream.h` says them above `class TraceWriter`):
//! which folders are traces, which of them are still being recorded, and what is in the complete ones.
//!
//! `rr ls` is no help: since 5.7 it stops at the first incomplete trace, before that it lists files that
//! are no traces. Nothing here starts rr, and nothing reads the environment that a trace holds.
//!
//! | in the folder | state |
//! | --- | --- |
//! | `version` | complete; or junk, where no program was started |
//! | `incomplete`, locked | being recorded |
//! | `incomplete` with text in it, not locked | dead: rr was killed; junk, where it had recorded nothing |
//! | an empty `incomplete`, or only empty streams | starting; junk after a minute |

mod check;
mod content;
mod portable;
mod prune;
mod sidecar;
mod stream;

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
pub use content::{Header, Kept, Mapped, Started, Still};
pub use portable::Portable;
pub use sidecar::{SIDECAR, Sidecar};

use crate::error::{Error, Shown};
use crate::sys::process::End;

/// The streams of every trace; rr makes them before anything else.
pub const STREAMS: [&str; 4] = ["events", "data", "mmaps", "tasks"];

/// rr writes to `incomplete` within milliseconds of making its folder.
const STARTING: Duration = Duration::from_secs(60);

/// How many folders below the store's are looked into: a run of `rr-patch record` has one of its own.
const DEPTH: usize = 2;

/// A folder of traces.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// What is in a store.
#[derive(Debug, Default)]
pub struct Listing {
    /// The newest first.
    pub traces: Vec<Trace>,
    /// What could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// What became of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// rr has made the folder, and has not begun to record.
    Starting,
    /// rr holds its lock.
    Recording,
    /// Closed by rr: it can be replayed.
    Complete,
    /// rr was killed, or died: what there is cannot be replayed.
    Dead,
    /// A recording that failed as it started. It holds nothing.
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

    /// Whether rr may still write to it.
    pub fn live(self) -> bool {
        matches!(self, Self::Starting | Self::Recording)
    }
}

/// A folder that rr made for a recording.
#[derive(Clone, Debug)]
pub struct Trace {
    pub path: PathBuf,
    /// Its path below the store.
    pub name: String,
    pub state: State,
    /// The bytes of all its files.
    pub size: u64,
    /// The bytes that nobody else has a link to: what its removal would free.
    pub own: u64,
    pub started: SystemTime,
    /// When rr closed it; of a dead one, when rr last wrote to it.
    pub ended: Option<SystemTime>,
    pub sidecar: Option<Sidecar>,
    /// Why there is no sidecar, although there is a file.
    pub sidecar_problem: Option<String>,
    /// The names of its files, in order.
    pub files: Vec<String>,
    decoded: Decoded,
}

/// What its streams say: each is decoded once, when it is asked for.
#[derive(Clone, Debug, Default)]
struct Decoded {
    started: OnceLock<Option<Started>>,
    mappings: OnceLock<Mappings>,
}

/// The recorded program, and where its bytes are.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path when it was recorded; not known of an incomplete trace.
    pub path: Option<PathBuf>,
    /// What it was started with; not known of an incomplete trace.
    pub arguments: Option<Vec<OsString>>,
    /// How it ended, where rr saw it end.
    pub end: Option<End>,
    /// How it is kept; nothing where rr kept its bytes in a stream, from which no debugger gets them.
    pub kept: Option<Kept>,
    /// The file that a debugger would open: in the trace, or the original.
    pub file: Option<PathBuf>,
    /// Whether that file is as it was recorded, as far as rr would notice.
    pub still: Option<Still>,
}

impl Store {
    /// rr's own store: `_RR_TRACE_DIR`, or below `XDG_DATA_HOME` or `HOME`. An older `~/.rr` counts if
    /// only that is there.
    pub fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        // As rr joins them: what is set to nothing makes a path from the root.
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

    /// All traces, the newest first. A store that is not there has none.
    pub fn traces(&self) -> Result<Vec<Trace>> {
        Ok(self.look()?.traces)
    }

    /// All traces, and what could not be read.
    ///
    /// # Errors
    /// A store that cannot be read itself.
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
            // `latest-trace` is a link; a name with a dot first is ours, half removed, or nobody's trace.
            if name == "latest-trace" || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // Through a link too: a trace may lie on a larger disk.
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
                // Removed while we looked.
                Err(_) if !path.exists() => {}
                Err(error) => listing.unreadable.push((path, format!("{error:#}"))),
            }
        }
    }

    /// One trace: the newest complete one for no name; else by path or name, as rr finds it (a word without
    /// a slash is looked up here first, then in the store); else the newest complete one of a controller.
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

    /// One trace by its name or path alone, whatever became of it.
    pub fn named(&self, name: &str) -> Result<Trace> {
        let found = if name.is_empty() { None } else { self.at_name(name)? };
        found.ok_or_else(|| {
            let error = no_trace(name).detail(format!("looked in: `{}`", self.root.shown()));
            self.did_you_mean(name, error.into())
        })
    }

    /// Adds the trace or the controller that may have been meant.
    fn did_you_mean(&self, name: &str, error: anyhow::Error) -> anyhow::Error {
        let traces = self.traces().unwrap_or_default();
        let controllers = traces.iter().map(|trace| short(trace.controller()));
        let names: Vec<&str> = traces.iter().map(|trace| trace.name.as_str()).chain(controllers).collect();
        // One that is there was not mistyped; what became of it is said.
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
            // A folder of that name here that is no trace does not hide one in the store.
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
        Err(error.hint("`rr-patch traces` lists all; `--trace-dir DIR` looks elsewhere").into())
    }
}

/// A provider's name without what all of them begin with.
fn short(controller: &str) -> &str {
    controller.strip_prefix("cluster-api-provider-").unwrap_or(controller)
}

fn no_trace(name: &str) -> Error {
    Error::failed(format!("`{name}` is not a trace"))
        .detail("expected: a folder with a file `version` or `incomplete`")
        .hint("`rr-patch traces` lists the traces; `--trace-dir DIR` looks elsewhere")
}

impl Trace {
    /// The trace in a folder.
    pub fn open(path: &Path) -> Result<Self> {
        let whole = path.canonicalize().with_context(|| format!("cannot read `{}`", path.shown()))?;
        let parent = whole.parent().unwrap_or(&whole).to_owned();
        Self::look(&whole, &parent, false)?.ok_or_else(|| no_trace(&path.to_string_lossy()).into())
    }

    /// The trace in a folder, if it is one. With the lock in our own hands it says nothing.
    fn look(path: &Path, root: &Path, ours: bool) -> Result<Option<Self>> {
        let mut files = Vec::new();
        let (mut size, mut own, mut written) = (0, 0, None::<SystemTime>);
        let mut began = None::<SystemTime>;
        let (mut filled, mut mapped) = (false, false);
        for entry in fs::read_dir(path).with_context(|| format!("cannot read `{}`", path.shown()))? {
            let entry = entry.with_context(|| format!("cannot read `{}`", path.shown()))?;
            // Gone since: `incomplete` becomes `version`, say.
            let Ok(seen) = entry.path().symlink_metadata() else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if seen.is_file() {
                size += seen.len();
                own += if seen.nlink() == 1 { seen.len() } else { 0 };
                let stream = STREAMS.contains(&name.as_str());
                filled |= stream && seen.len() > 0;
                let hardlink = name.starts_with("mmap_hardlink_");
                mapped |= name.starts_with("mmap_") || name.starts_with("cloned_data_");
                // A hard link has the times of the file that it is.
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
        // In this order: rr renames the one to the other.
        let lock = incomplete(path, ours);
        let complete = path.join("version").symlink_metadata().is_ok();
        let state = if complete {
            content::open(path, "version")?;
            // rr closes a trace even if the program could not be started.
            let empty = fs::metadata(path.join("tasks")).is_ok_and(|tasks| tasks.len() == 0);
            if empty { State::Junk } else { State::Complete }
        } else {
            match lock? {
                Some(Lock::Held) => State::Recording,
                Some(Lock::Empty) | None if young => State::Starting,
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
        // Copying a trace changes the times of its files; what was noted stays.
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

    /// The controller's name: as the sidecar says, or that of the folder without rr's number.
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

    /// Whether it is one of a controller, by its whole name or by the provider's.
    fn is_of(&self, name: &str) -> bool {
        short(self.controller()) == short(name)
    }

    /// How long it was recorded, as far as the times of its files tell.
    pub fn length(&self) -> Option<Duration> {
        self.ended.and_then(|ended| ended.duration_since(self.started).ok())
    }

    /// Whether a replay needs an rr with software counters, and `-W`: by the sidecar, or else by what only
    /// such an rr writes. Nothing where neither tells.
    pub fn software_counters(&self) -> Option<bool> {
        let noted = self.sidecar.as_ref().map(|sidecar| sidecar.software_counters);
        noted.or_else(|| content::software_counters(&self.path).ok().filter(|&found| found))
    }

    /// The header of a complete trace.
    pub fn header(&self) -> Result<Header> {
        Header::read(&self.path)
    }

    /// A file of the trace that is held locked for reading: [`Trace::remove`] of anybody leaves the trace
    /// alone for as long.
    pub fn hold(&self) -> Result<File> {
        let file = content::open(&self.path, "version")?;
        flock(&file, FlockOperation::NonBlockingLockShared)
            .map_err(|_| Error::refused(format!("`{}` is in use by another rr-patch", self.path.shown())))?;
        Ok(file)
    }

    /// The files that a replay of a complete trace needs, but for the trace's own streams.
    pub fn mapped(&self) -> Result<&[Mapped]> {
        Ok(&self.mappings()?.files)
    }

    fn mappings(&self) -> Result<&Mappings> {
        if let Some(known) = self.decoded.mappings.get() {
            return Ok(known);
        }
        // Without a program in `tasks` the files can still be told.
        let started = self.first_program().ok().flatten();
        let mappings = content::mapped(&self.path, started)?;
        Ok(self.decoded.mappings.get_or_init(|| mappings))
    }

    fn first_program(&self) -> Result<Option<&Started>> {
        if let Some(known) = self.decoded.started.get() {
            return Ok(known.as_ref());
        }
        let started = content::started(&self.path)?;
        Ok(self.decoded.started.get_or_init(|| started).as_ref())
    }

    /// The recorded program. Of a trace that is not complete only a file by the name in the trace's own
    /// name can be known.
    pub fn program(&self) -> Result<Program> {
        if self.state != State::Complete {
            let name = self.controller();
            let found = content::by_name(self.files.iter().map(String::as_str), name);
            let file = found.map(|(_, file)| self.path.join(file));
            let kept = found.map(|(kept, _)| kept);
            return Ok(Program { path: None, arguments: None, end: None, kept, file, still: None });
        }
        let Some(started) = self.first_program()? else {
            return Err(Error::failed(format!("`{}` holds no program", self.path.shown()))
                .detail("looked at: its stream `tasks`; found: no program that was started")
                .into());
        };
        let mappings = self.mappings()?;
        let mapped = mappings.image.as_ref().and_then(|(_, number)| number.map(|number| &mappings.files[number]));
        let (kept, still) = (mapped.map(|mapped| mapped.kept), mapped.map(|mapped| mapped.still(&self.path)));
        let image = mappings.image.as_ref().map_or(&started.path, |(path, _)| path);
        // Without a file of its own, a debugger is given the original.
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

/// A time as RFC 3339 has it, to the second.
pub fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The same with its fraction of a second, for what is computed with.
pub fn rfc3339_exact(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".into(), |time| time.to_string())
}

/// A time for people, where they are.
pub fn local(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).map(|time| time.to_zoned(TimeZone::system()));
    time.map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// The lock on `incomplete`.
enum Lock {
    Held,
    Free,
    /// There is nothing in the file: rr may be about to take the lock, so that we do not.
    Empty,
}

/// Looks whether rr holds the lock that it keeps for as long as it records. Nothing without the file.
fn incomplete(trace: &Path, ours: bool) -> Result<Option<Lock>> {
    let Ok(seen) = trace.join("incomplete").symlink_metadata() else { return Ok(None) };
    // Between making the file and writing to it rr locks it, and gives up if it cannot.
    if seen.is_file() && seen.len() == 0 {
        return Ok(Some(Lock::Empty));
    }
    // Renamed to `version` since, perhaps.
    let Ok(file) = content::open(trace, "incomplete") else {
        return if seen.is_file() { Ok(None) } else { content::open(trace, "incomplete").map(|_| None) };
    };
    Ok(Some(if !ours && locked(&file) { Lock::Held } else { Lock::Free }))
}

/// Shared, so that two of us that look at once do not take each other for rr. Where locks cannot be had
/// at all, better too much is taken for a recording than too little.
fn locked(file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => flock(file, FlockOperation::Unlock).is_err(),
        Err(_) => true,
    }
}
