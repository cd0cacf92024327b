//! Packs traces into a bundle. Each file is read, hashed, compressed and written in one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use zstd::zstd_safe::CParameter;

use super::pipe::{BackgroundWriter, Chunk, ChunkReader};
use super::{
    Checkout, HEAD, Head, MANIFEST, MANIFEST_SCHEMA, Manifest, Packed, PackedSources, ProgramFacts, SCHEMA, SOURCES,
    Sum, about, pipe,
};
use crate::error::{Error, Shown};
use crate::patch::checkout::origin;
use crate::rr::trace::{Portable, State, Trace, rfc3339};
use crate::sys::write::{sweep_unfinished, sync, unfinished};

/// The levels of zstd that need less than 100 MB of memory.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=18;

/// The kind of the unfinished file. If we are killed, the next pack removes it.
const UNFINISHED: &str = "pack";

/// The largest file that is packed as a source.
const LARGEST_SOURCE: u64 = 16 << 20;

/// The name extensions of sources. DWARF can name any path; other files are not packed.
const ENDINGS: [&str; 10] = ["go", "s", "S", "c", "h", "cc", "cpp", "cxx", "hpp", "inc"];

/// Options for packing.
pub struct Packing<'a> {
    pub level: i32,
    /// The recipients who can read the bundle, in age's notation. If empty, the bundle is not encrypted.
    pub recipients: &'a [String],
    /// Called with the number of bytes done and the total. An error stops the packing.
    pub progress: &'a mut dyn FnMut(u64, u64) -> Result<()>,
}

/// A file to pack.
struct PackedFile {
    name: String,
    from: From,
    size: u64,
    mode: u32,
    time: SystemTime,
}

enum From {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// Packs traces into the file `to`, and returns its contents. An earlier file with this name is replaced at the end.
///
/// # Errors
/// A trace that is incomplete or lacks a file that a replay needs; an invalid recipient. After any error, the traces
/// and an earlier file are unchanged.
pub fn pack(traces: &[Trace], to: &Path, packing: Packing) -> Result<Head> {
    let recipients = recipients(packing.recipients)?;
    if to.is_dir() {
        return Err(Error::refused(format!("`{}` is a folder", to.shown())).hint("-o takes a file").into());
    }
    traces.iter().try_for_each(refuse_incomplete)?;
    // The locks are held to the end, so that prune does not remove the traces.
    let _held: Vec<File> = traces.iter().map(Trace::hold).collect::<Result<_>>()?;
    let (mut head, entries) = gather(traces)?;
    head.entries = entries.len() as u64;
    head.bytes = entries.iter().map(|entry| entry.size).sum();

    let folder = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sweep_unfinished(folder, UNFINISHED);
    let writing = || format!("cannot write `{}`", to.shown());
    let prefix = unfinished(UNFINISHED);
    let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder).with_context(writing)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).with_context(writing)?;
    let out = file.reopen().with_context(writing)?;
    write(out, &head, &entries, recipients, packing).with_context(writing)?;
    file.as_file().sync_all().with_context(writing)?;
    file.persist(to).map_err(|error| error.error).with_context(writing)?;
    sync(folder)?;
    Ok(head)
}

fn recipients(names: &[String]) -> Result<Vec<age::x25519::Recipient>> {
    let parse = |name: &String| {
        name.parse().map_err(|why| {
            Error::usage(format!("`{name}` is no recipient: {why}"))
                .detail("expected: what `age-keygen -y` prints, `age1…`")
                .into()
        })
    };
    names.iter().map(parse).collect()
}

fn refuse_incomplete(trace: &Trace) -> Result<()> {
    if trace.state == State::Complete {
        return Ok(());
    }
    let error = Error::refused(format!("`{}` is {}: there is nothing to pack", trace.name, trace.state.word()));
    let error = trace.check().obstacles.into_iter().fold(error, Error::detail);
    Err(error.hint("`rr-patch traces` lists which are complete").into())
}

/// Collects all entries, in order.
fn gather(traces: &[Trace]) -> Result<(Head, Vec<PackedFile>)> {
    let mut head = Head {
        schema: SCHEMA.into(),
        tool: concat!("rr-patch ", env!("CARGO_PKG_VERSION")).into(),
        packed: rfc3339(SystemTime::now()),
        ..Head::default()
    };
    let (mut entries, mut names, mut wanted) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for trace in traces {
        let name = folder_name(trace, &mut names);
        let portable = trace.portable()?;
        let (packed, sources) = describe(trace, name, &portable)?;
        if !packed.dwarf {
            let program = &packed.path;
            head.warnings.push(format!("`{program}` has no DWARF: Delve shows neither its lines nor its variables"));
        }
        if packed.program.is_none() {
            head.warnings
                .push(format!("rr stored `{}` only for replays: a debugger needs the file at this path", packed.path));
        }
        head.warnings.extend(portable.warnings.iter().cloned());
        add_trace(trace, &packed.name, portable, &mut entries);
        wanted.extend(sources);
        head.traces.push(packed);
    }
    let began = traces.iter().map(|trace| trace.started).min().unwrap_or(UNIX_EPOCH);
    head.sources = add_sources(wanted, began, &mut entries);
    head.checkouts = checkouts(&entries);
    Ok((head, entries))
}

/// The trace's own name, made a unique folder name.
fn folder_name(trace: &Trace, names: &mut BTreeSet<String>) -> String {
    let last = trace.path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_control() || c == '/' { '_' } else { c };
    let mut name: String = last.trim_start_matches('.').chars().map(plain).collect();
    if name.is_empty() || [SOURCES, HEAD, MANIFEST].contains(&name.as_str()) {
        name = format!("trace-{name}");
    }
    let unique = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}_{n}") });
    let name = unique.into_iter().find(|name| !names.contains(name)).unwrap_or(name);
    names.insert(name.clone());
    name
}

/// Describes a trace for the head, and returns the sources that its program names.
fn describe(trace: &Trace, name: String, portable: &Portable) -> Result<(Packed, BTreeSet<String>)> {
    let program = trace.program()?;
    let in_trace = portable.program.as_ref().and_then(|name| portable.parts.iter().find(|part| part.name == *name));
    let file = in_trace.map(|part| part.from.clone()).or(program.file).filter(|file| file.is_file());
    let ProgramFacts { dwarf, sources, go, package, revision, modified } = match &file {
        // A program that is not a supported ELF file is packed anyway.
        Some(file) => about(file).unwrap_or_default(),
        None => ProgramFacts::default(),
    };
    let sidecar = trace.sidecar.as_ref();
    let packed = Packed {
        name,
        controller: trace.controller().into(),
        uuid: trace.header()?.uuid,
        started: rfc3339(trace.started),
        ended: trace.ended.map(rfc3339),
        software_counters: trace.software_counters(),
        rr_version: sidecar.map(|sidecar| sidecar.rr_version.clone()),
        program: portable.program.clone(),
        path: program.path.unwrap_or_default().to_string_lossy().into_owned(),
        dwarf,
        go_version: go.or_else(|| sidecar.and_then(|sidecar| sidecar.go_version.clone())),
        package,
        revision: revision.or_else(|| sidecar.and_then(|sidecar| sidecar.installer_commit.clone())),
        modified,
        remote: sidecar.and_then(|sidecar| sidecar.installer_remote.clone()),
    };
    Ok((packed, sources))
}

fn add_trace(trace: &Trace, folder: &str, portable: Portable, entries: &mut Vec<PackedFile>) {
    let ended = trace.ended.unwrap_or(trace.started);
    let size = portable.mmaps.len() as u64;
    let name = format!("{folder}/mmaps");
    entries.push(PackedFile { name, from: From::Bytes(portable.mmaps), size, mode: 0o400, time: ended });
    for part in portable.parts {
        // The same modes as rr's. A mapped file gets the start time of the recording, so that the length of the
        // recording is known after unpacking.
        let mapped = part.name.starts_with("mmap_");
        let (mode, time) = if mapped { (0o700, trace.started) } else { (0o400, ended) };
        let name = format!("{folder}/{}", part.name);
        entries.push(PackedFile { name, from: From::File(part.from), size: part.size, mode, time });
    }
}

/// Whether a path can be a source file, and is not one that the compiler generated and removed.
fn is_source(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let made = name.starts_with('<') || name.starts_with("_cgo") || name.contains(".cgo") || path.contains("/_obj/");
    !made && name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

fn add_sources(wanted: BTreeSet<String>, began: SystemTime, entries: &mut Vec<PackedFile>) -> PackedSources {
    let mut sources = PackedSources::default();
    let mut places = BTreeSet::new();
    for path in wanted.into_iter().filter(|path| is_source(path)) {
        let Some(name) = place(&path) else {
            sources.missing.push(path);
            continue;
        };
        let from = PathBuf::from(&path);
        match from.metadata() {
            Ok(seen) if seen.is_file() && seen.len() <= LARGEST_SOURCE => {
                let time = seen.modified().unwrap_or(UNIX_EPOCH);
                if places.insert(name.clone()) {
                    sources.packed += 1;
                    sources.newer += usize::from(time > began);
                    entries.push(PackedFile { name, from: From::File(from), size: seen.len(), mode: 0o600, time });
                }
            }
            _ => sources.missing.push(path),
        }
    }
    sources
}

/// The place of a source in the bundle: its full path below one folder. `None` for a relative path.
fn place(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()).collect();
    let plain = parts.iter().all(|part| *part != "." && *part != ".." && !part.contains(char::is_control));
    (plain && !parts.is_empty()).then(|| format!("{SOURCES}/{}", parts.join("/")))
}

/// The git checkouts that contain the packed sources.
fn checkouts(entries: &[PackedFile]) -> Vec<Checkout> {
    let mut found: BTreeMap<PathBuf, Checkout> = BTreeMap::new();
    let mut outside: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.name.starts_with("sources/")) {
        let From::File(path) = &entry.from else { continue };
        let Some(folder) = path.parent() else { continue };
        if outside.contains(folder) || found.keys().any(|known| folder.starts_with(known)) {
            continue;
        }
        match origin(path) {
            Some((root, commit, remote)) => {
                found.insert(root.clone(), Checkout { folder: root, commit, remote });
            }
            None => {
                outside.insert(folder.to_owned());
            }
        }
    }
    found.into_values().collect()
}

/// Writes the bundle: tar in zstd, and in age if there are recipients.
fn write(
    file: File,
    head: &Head,
    entries: &[PackedFile],
    recipients: Vec<age::x25519::Recipient>,
    packing: Packing,
) -> Result<()> {
    let out = BackgroundWriter::new(file)?;
    let out = if recipients.is_empty() {
        compress(out, head, entries, packing)?
    } else {
        let all = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encrypted = age::Encryptor::with_recipients(all)?.wrap_output(out)?;
        compress(encrypted, head, entries, packing)?.finish()?
    };
    Ok(out.finish()?)
}

fn compress<W: Write>(out: W, head: &Head, entries: &[PackedFile], packing: Packing) -> Result<W> {
    let Packing { level, progress, .. } = packing;
    let mut tar = tar::Builder::new(encoder(out, level)?);
    let json = |name: &str, bytes: Vec<u8>| PackedFile {
        name: name.into(),
        size: bytes.len() as u64,
        from: From::Bytes(bytes),
        mode: 0o600,
        time: SystemTime::now(),
    };
    let first = json(HEAD, serde_json::to_vec_pretty(head)?);
    let mut sums = Vec::new();
    let (mut done, mut stopped) = (0, None);
    let mut see = |read: u64| {
        done += read;
        progress(done.min(head.bytes), head.bytes).map_err(|why| {
            stopped = Some(why);
            io::ErrorKind::Other.into()
        })
    };
    let appended = thread::scope(|scope| {
        let (sender, receiver) = pipe::ahead();
        let all = || iter::once(&first).chain(entries);
        let _reading = scope.spawn(move || all().all(|entry| pipe::read(entry.open(), &entry.name, &sender)));
        // The receiver is dropped when this function ends, in any way, and that ends the thread.
        let receiver = receiver;
        all().try_for_each(|entry| append(&mut tar, entry, &receiver, &mut see).map(|sum| sums.push(sum)))
    });
    match stopped {
        Some(why) => return Err(why),
        None => appended?,
    }
    let manifest = Manifest { schema: MANIFEST_SCHEMA.into(), entries: sums };
    let last = json(MANIFEST, serde_json::to_vec(&manifest)?);
    let (sender, receiver) = pipe::ahead();
    thread::scope(|scope| {
        let last = &last;
        scope.spawn(move || pipe::read(last.open(), &last.name, &sender));
        let receiver = receiver;
        append(&mut tar, last, &receiver, &mut |_| Ok(()))
    })?;
    Ok(tar.into_inner()?.finish()?)
}

/// An encoder that stays within 100 MB for this level, by limits on the number of threads, the size of their jobs and
/// the window.
fn encoder<W: Write>(out: W, level: i32) -> Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, level)?;
    encoder.include_checksum(true)?;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let (most, job) = match level {
        ..=6 => (4, 4 << 20),
        7..=9 => (2, 4 << 20),
        // The memory of one thread at these levels reaches the limit, so no worker threads are used.
        _ => (0, 0),
    };
    if most > 0 {
        encoder.multithread(u32::try_from(processors.min(most)).unwrap_or(1))?;
        encoder.set_parameter(CParameter::JobSize(job))?;
    }
    if level > 15 {
        encoder.window_log(21)?;
    }
    Ok(encoder)
}

impl PackedFile {
    /// Opens the entry, limited to the announced size: the file may have grown.
    fn open(&self) -> Result<io::Take<Box<dyn Read + '_>>> {
        let from: Box<dyn Read> = match &self.from {
            From::Bytes(bytes) => Box::new(bytes.as_slice()),
            From::File(path) => Box::new(open(path)?),
        };
        Ok(from.take(self.size))
    }
}

/// Appends an entry and returns its checksum.
fn append(
    tar: &mut tar::Builder<impl Write>,
    entry: &PackedFile,
    from: &Receiver<Chunk>,
    see: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result<Sum> {
    let mut header = tar::Header::new_gnu();
    header.set_size(entry.size);
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(entry.time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs());
    let mut arriving = ChunkReader::new(from, see);
    tar.append_data(&mut header, &entry.name, &mut arriving)
        .with_context(|| format!("cannot pack `{}`", entry.name))?;
    let sum = arriving.sum().context("the reading thread has ended")??;
    if sum.size != entry.size {
        return Err(Error::failed(format!("`{}` became shorter while it was packed", entry.name)).into());
    }
    Ok(sum)
}

/// Opens a regular file, but never a pipe, which could block.
fn open(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    let file = file.with_context(|| format!("cannot read `{}`", path.shown()))?;
    if !file.metadata().is_ok_and(|seen| seen.is_file()) {
        return Err(Error::failed(format!("`{}` is not a file", path.shown())).into());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_places_below_one_folder_and_none_outside() {
        assert_eq!(place("/usr/lib//go/a.go").as_deref(), Some("sources/usr/lib/go/a.go"));
        assert_eq!([place("a.go"), place("/"), place("/a/../b.go"), place("/a\n.go")], [None, None, None, None]);
    }

    #[test]
    fn sources_are_what_a_person_wrote() {
        let are = |path: &&str| is_source(path);
        let yes = ["/x/a.go", "/x/asm_amd64.s", "/x/b.c"];
        let no = ["./<autogenerated>", "./_cgo_gotypes.go", "/x/id_rsa", "/etc/shadow", "./?", "/x/a.cgo2.c"];
        assert!(yes.iter().all(are) && !no.iter().any(are));
    }
}
