//! Reads the content of a complete trace: its header, the recorded program, and the files that a replay needs. Never
//! reads the environment, which rr also stores.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};

use super::stream::{Blocks, Fields, read};
use crate::binary::hex;
use crate::error::{Error, Shown};

/// The version of rr's trace format, unchanged since 2017.
pub const FORMAT: u32 = 85;

/// The most mappings that are read.
const MOST_MAPPINGS: usize = 1_000_000;

/// The header, which rr writes when it closes a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// rr's own id for the trace, in hexadecimal digits.
    pub uuid: String,
    /// False if rr itself failed during the recording.
    pub ok: bool,
    /// The CPU that the recording was bound to.
    pub cpu: Option<i32>,
    /// The lowest compatibility number that a replaying rr must support.
    pub compatibility: i32,
    pub cpuid_faulting: bool,
    pub arch: &'static str,
    /// The host name and the kernel of the recording. rr stores them since version 5.8.
    pub host: Option<String>,
    pub kernel: Option<String>,
}

/// A program's start and its exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The executable, by the kernel's name for it.
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    /// The wait status of the process, if it ended during the recording.
    pub status: Option<i32>,
    base: u64,
}

/// Where a replay finds the bytes of a mapped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backing {
    /// A reflink in the trace.
    Clone,
    /// A copy in the trace.
    Copy,
    /// A copy made by `rr pack` or `rr-patch traces pack`.
    Pack,
    /// A hard link in the trace: a write to the original also changes it.
    HardLink,
    /// A symbolic link in the trace.
    Symlink,
    /// Not in the trace, which has only the path.
    Path,
}

impl Backing {
    /// Derives the kind from the name of a file in a trace folder.
    fn of(name: &str) -> Option<(Self, &str)> {
        let kinds = [
            ("mmap_clone_", Self::Clone),
            ("mmap_copy_", Self::Copy),
            ("mmap_pack_", Self::Pack),
            ("mmap_hardlink_", Self::HardLink),
            ("mmap_symlink_", Self::Symlink),
        ];
        let (kind, rest) = kinds.iter().find_map(|(start, kind)| Some((*kind, name.strip_prefix(start)?)))?;
        let (number, name) = rest.split_once('_')?;
        number.bytes().all(|byte| byte.is_ascii_digit()).then_some((kind, name))
    }

    pub fn says(self) -> &'static str {
        match self {
            Self::Clone => "a reflink in the trace",
            Self::Copy | Self::Pack => "a copy in the trace",
            Self::HardLink => "a hard link in the trace",
            Self::Symlink => "a symbolic link in the trace",
            Self::Path => "not in the trace: its path only",
        }
    }
}

/// A file that a replay needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The path that was mapped during the recording.
    pub original: PathBuf,
    /// The trace's own name for the file: the name of a file in its folder, or an absolute path.
    pub backing: PathBuf,
    pub kept: Backing,
    pub size: u64,
    /// The values that rr compares before a replay; `None` in a packed trace.
    stat: Option<Stat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    inode: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
}

/// Whether a file that a replay needs is unchanged, by the same checks as rr's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileStatus {
    Same,
    /// Differs from the recorded file; with the difference, the expected value and the found one.
    Changed(String),
    Missing,
}

impl Mapped {
    /// The file's path, for a trace in the folder `trace`.
    pub fn file(&self, trace: &Path) -> PathBuf {
        trace.join(&self.backing)
    }

    /// Does the same checks as rr before a replay: rr's own copies and reflinks only have to exist.
    pub fn still(&self, trace: &Path) -> FileStatus {
        let Ok(found) = self.file(trace).metadata() else { return FileStatus::Missing };
        match &self.stat {
            Some(stat) if !matches!(self.kept, Backing::Clone | Backing::Copy) => self.compare(stat, &found),
            _ if found.len() != self.size => FileStatus::Changed(format!("size {} is {} now", self.size, found.len())),
            _ => FileStatus::Same,
        }
    }

    fn compare(&self, stat: &Stat, found: &Metadata) -> FileStatus {
        let facts = [
            ("size", i128::from(self.size), i128::from(found.len())),
            ("mtime", i128::from(stat.mtime), i128::from(found.mtime())),
            ("inode", i128::from(stat.inode), i128::from(found.ino())),
            ("mode", i128::from(stat.mode), i128::from(found.mode())),
            ("uid", i128::from(stat.uid), i128::from(found.uid())),
            ("gid", i128::from(stat.gid), i128::from(found.gid())),
        ];
        let changed: Vec<String> = facts
            .iter()
            .filter(|(_, then, now)| then != now)
            .map(|(what, then, now)| format!("{what} {then} is {now} now"))
            .collect();
        if changed.is_empty() { FileStatus::Same } else { FileStatus::Changed(changed.join(", ")) }
    }
}

/// Opens a file of the trace folder itself. Never follows a link, and never opens a pipe, which could block.
pub(super) fn open(trace: &Path, name: &str) -> Result<File> {
    let path = trace.join(name);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map(File::from);
    let file = file.with_context(|| format!("cannot read `{}`", path.shown()))?;
    if !file.metadata().is_ok_and(|seen| seen.is_file()) {
        return Err(Error::failed(format!("`{}` is not a file", path.shown())).into());
    }
    Ok(file)
}

impl Header {
    pub fn read(trace: &Path) -> Result<Self> {
        let mut from = BufReader::new(open(trace, "version")?);
        let mut line = Vec::new();
        from.by_ref().take(20).read_until(b'\n', &mut line)?;
        let format = String::from_utf8_lossy(&line);
        if format.trim_end().parse() != Ok(FORMAT) {
            return Err(Error::failed("this trace has a format that rr has not read since 2017")
                .detail(format!("looked at: the first line of `{}`", trace.join("version").shown()))
                .detail(format!("expected: {FORMAT}; found: {:?}", format.trim_end()))
                .into());
        }
        let message = read(&mut from)
            .with_context(|| unreadable(trace, "version"))?
            .with_context(|| format!("the header of the trace `{}` is missing", trace.shown()))?;
        let fields = message.fields()?;
        let uname = fields.fields(2)?;
        let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned());
        Ok(Self {
            uuid: hex(fields.bytes(0)?),
            ok: fields.bit(33, true),
            cpu: Some(fields.i32(0)).filter(|&cpu| cpu >= 0),
            compatibility: fields.i32(12),
            cpuid_faulting: fields.bit(32, false),
            // The field stores the difference from the default, which is x86_64.
            arch: match fields.u16(9) ^ 1 {
                0 => "x86",
                1 => "x86_64",
                2 => "aarch64",
                _ => "unknown",
            },
            host: text(uname.bytes(1)?),
            kernel: text(uname.bytes(2)?),
        })
    }
}

/// The error text for a stream that cannot be read.
pub(super) fn unreadable(trace: &Path, stream: &str) -> String {
    format!("cannot read the stream `{stream}` of the trace `{}`", trace.shown())
}

/// The first program that ran; `None` if no program was started.
pub(super) fn started(trace: &Path) -> Result<Option<Started>> {
    let mut from = Blocks::new(BufReader::new(open(trace, "tasks")?));
    let mut first: Option<(i32, Started)> = None;
    while let Some(message) = read(&mut from).with_context(|| unreadable(trace, "tasks"))? {
        let fields = message.fields()?;
        let tid = fields.i32(2);
        match (fields.u16(12), &mut first) {
            // exec
            (1, None) => {
                let (path, arguments) = (fields.text(0)?.into(), fields.texts(1)?);
                first = Some((tid, Started { path, arguments, status: None, base: fields.u64(2) }));
            }
            // exit
            (2, Some((leader, started))) if *leader == tid => started.status = Some(fields.i32(3)),
            _ => {}
        }
    }
    Ok(first.map(|(_, started)| started))
}

/// The most events that are searched for one that only software counters produce. It is among the first 20.
const EVENTS: usize = 1000;

/// Whether rr used software counters, judged by the events. Such an rr records an event that upstream does not have
/// (`overlayProtect` in rr.soft) whenever the program makes code executable.
pub(super) fn software_counters(trace: &Path) -> Result<bool> {
    const OVERLAY_PROTECT: u16 = 15;
    let mut from = Blocks::new(BufReader::new(open(trace, "events")?));
    for _ in 0..EVENTS {
        match read(&mut from).with_context(|| unreadable(trace, "events"))? {
            Some(event) if event.fields()?.u16(3) == OVERLAY_PROTECT => return Ok(true),
            Some(_) => {}
            None => break,
        }
    }
    Ok(false)
}

/// The source of a mapping's bytes: none, the stream `data`, or a separate file.
pub(super) fn source(mapping: &Fields) -> u16 {
    mapping.u16(34)
}

/// A separate file.
pub(super) const FILE: u16 = 2;

/// The content of the stream `mmaps`.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings {
    /// The files that a replay needs, without duplicates.
    pub files: Vec<Mapped>,
    /// The program's path, and the index of its file in `files` if it has one.
    pub image: Option<(PathBuf, Option<usize>)>,
}

/// Reads the stream. The program is identified by its start address, because the path that it was started with may be
/// relative or a link.
pub(super) fn mapped(trace: &Path, program: Option<&Started>) -> Result<Mappings> {
    let mut from = Blocks::new(BufReader::new(open(trace, "mmaps")?));
    let mut mappings = Mappings::default();
    let mut known: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for _ in 0..MOST_MAPPINGS {
        let Some(message) = read(&mut from).with_context(|| unreadable(trace, "mmaps"))? else { break };
        let fields = message.fields()?;
        let original = PathBuf::from(fields.text(0)?);
        let number = if source(&fields) == FILE {
            let backing = PathBuf::from(fields.text(1)?);
            let number = *known.entry(backing.clone()).or_insert(mappings.files.len());
            if number == mappings.files.len() {
                mappings.files.push(file(&fields, original.clone(), backing)?);
            }
            Some(number)
        } else {
            None
        };
        let holds = |program: &Started| (fields.u64(1)..fields.u64(2)).contains(&program.base);
        if mappings.image.is_none() && original.is_absolute() && program.is_some_and(holds) {
            mappings.image = Some((original, number));
        }
    }
    Ok(mappings)
}

fn file(fields: &Fields, original: PathBuf, backing: PathBuf) -> Result<Mapped> {
    let stat = Stat {
        inode: fields.u64(4),
        mode: fields.u32(14),
        uid: fields.u32(15),
        gid: fields.u32(16),
        mtime: fields.i64(10),
    };
    let kept = match backing.to_str().and_then(Backing::of) {
        _ if backing.is_absolute() => Backing::Path,
        Some((kept, _)) => kept,
        // rr never writes such a name, but a replay would look for it in the trace folder.
        None if backing.as_os_str().as_bytes().contains(&b'/') => {
            return Err(Error::failed(format!("the trace names `{}`, which is outside of it", backing.shown())).into());
        }
        None => Backing::Copy,
    };
    let size = u64::try_from(fields.i64(9))
        .with_context(|| format!("the trace gives `{}` a negative size", backing.shown()))?;
    // rr detects a packed trace in the same way: these values are all zero.
    let there = (stat.mode, stat.uid, stat.gid, stat.mtime) != (0, 0, 0, 0);
    Ok(Mapped { original, backing, kept, size, stat: there.then_some(stat) })
}

/// Finds the file of a trace folder that holds a program with this name, by the file names alone.
pub(super) fn by_name<'a>(names: impl Iterator<Item = &'a str>, program: &str) -> Option<(Backing, &'a str)> {
    names
        .filter_map(|name| Backing::of(name).map(|(kept, of)| (kept, of, name)))
        .find_map(|(kept, of, name)| (of == program).then_some((kept, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mapped_files_tell_how_they_are_kept() {
        let of = |name| Backing::of(name);
        assert_eq!(of("mmap_copy_3_cluster-api-provider-aws"), Some((Backing::Copy, "cluster-api-provider-aws")));
        assert_eq!(of("mmap_hardlink_27_libc.so.6"), Some((Backing::HardLink, "libc.so.6")));
        assert_eq!(of("mmap_pack_0_a_b"), Some((Backing::Pack, "a_b")));
        assert_eq!((of("mmap_copy_x_a"), of("mmap_copy_3"), of("data")), (None, None, None));
    }
}
