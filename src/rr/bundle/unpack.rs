//! Unpacks a bundle into a folder. The folder gets its name only after every byte was verified, and nothing is
//! written outside it.
//!
//! A bundle can come from anyone. Only plain files are accepted, in folders that the head names, each path once, with
//! the number and the sizes that the head states. They are written to a new folder beside the target, where no
//! existing link can redirect a path, and then compared with the manifest.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock, statvfs, syncfs};
use tempfile::TempDir;

use super::{HEAD, Hashing, Head, MANIFEST, MANIFEST_SCHEMA, Manifest, SCHEMA, SOURCES, Sum};
use crate::error::{Error, Shown};
use crate::rr::trace::{State, Trace};
use crate::sys::write::{rename_new, sweep_unfinished, sync, unfinished};
use crate::words::bytes;

const UNFINISHED: &str = "unpack";

/// The largest head or manifest that is accepted: both are kept in memory.
const LARGEST_HEAD: u64 = 16 << 20;
const LARGEST_MANIFEST: u64 = 48 << 20;

/// The longest path of an entry.
const LONGEST_PATH: u64 = 4096;

/// The most entries that are accepted, more than a bundle needs.
const MOST_ENTRIES: u64 = 1_000_000;

/// The largest window that is accepted: twice that of zstd's level 19.
const WINDOW_LOG: u32 = 24;

/// Options for unpacking.
pub struct Unpacking<'a> {
    /// The parent of the new folder.
    pub folder: &'a Path,
    /// The name of the new folder; by default that of the bundle.
    pub name: Option<&'a str>,
    /// The file with the key for an encrypted bundle.
    pub identity: Option<&'a Path>,
    /// Called with the number of bytes done and the total. An error stops the unpacking.
    pub progress: &'a mut dyn FnMut(u64, u64) -> Result<()>,
}

/// The unpacked traces and their location.
#[derive(Debug)]
pub struct Unpacked {
    pub folder: PathBuf,
    pub head: Head,
    pub traces: Vec<Trace>,
    /// The folder of the sources, if there are any.
    pub sources: Option<PathBuf>,
}

/// Unpacks a bundle.
///
/// # Errors
/// A file that is not a bundle, is damaged, or contradicts its head; a wrong key; a target folder that exists.
/// Everything unpacked is then removed.
pub fn unpack(file: &Path, unpacking: Unpacking) -> Result<Unpacked> {
    let Unpacking { folder, name, identity, progress } = unpacking;
    let target = folder.join(target_name(file, name)?);
    if target.symlink_metadata().is_ok() {
        return Err(Error::refused(format!("`{}` exists already", target.shown()))
            .hint("--name NAME unpacks under another name, -C DIR into another folder")
            .into());
    }
    let stream = decompressed(file, identity)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| cannot_write(folder))?;
    sweep_unfinished(folder, UNFINISHED);
    let prefix = unfinished(UNFINISHED);
    let private = fs::Permissions::from_mode(0o700);
    let new = tempfile::Builder::new()
        .prefix(&prefix)
        .permissions(private)
        .tempdir_in(folder)
        .with_context(|| cannot_write(folder))?;
    let lock = File::open(new.path()).with_context(|| cannot_write(folder))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).with_context(|| cannot_write(folder))?;

    let mut reader = Reading { file, new: &new, progress, stopped: None };
    let read = reader.read(stream);
    let head = match reader.stopped {
        Some(why) => return Err(why),
        None => read?,
    };
    for packed in &head.traces {
        verify_trace(file, &new.path().join(&packed.name))?;
    }
    syncfs(&lock).with_context(|| cannot_write(folder))?;
    rename_new(new.path(), &target).with_context(|| cannot_write(&target))?;
    // The folder was renamed: there is nothing left to remove.
    let _ = new.keep();
    sync(folder)?;
    let traces = head.traces.iter().map(|packed| Trace::open(&target.join(&packed.name))).collect::<Result<_>>()?;
    let sources = Some(target.join(SOURCES)).filter(|sources| sources.is_dir());
    Ok(Unpacked { folder: target, head, traces, sources })
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`", path.shown())
}

/// The bundle's name without its extensions.
pub fn target_name(file: &Path, name: Option<&str>) -> Result<String> {
    let own = file.file_name().unwrap_or_default().to_string_lossy();
    let own =
        [".age", ".zst", ".tar"].into_iter().fold(own.as_ref(), |name, end| name.strip_suffix(end).unwrap_or(name));
    let name = name.unwrap_or(own);
    if name.is_empty() || name.starts_with('.') || name.contains('/') || name == "latest-trace" {
        return Err(Error::usage(format!("`{name}` cannot be a folder's name"))
            .detail("expected: a name without a slash, and without a dot first")
            .hint("--name NAME sets it")
            .into());
    }
    Ok(name.to_owned())
}

fn refused(file: &Path, why: &str) -> Error {
    Error::refused(format!("`{}` {why}", file.shown()))
}

/// The tar stream in a bundle.
fn decompressed(file: &Path, identity: Option<&Path>) -> Result<Box<dyn Read>> {
    let mut start = [0; 22];
    let mut opened = File::open(file).with_context(|| format!("cannot read `{}`", file.shown()))?;
    let mut length = 0;
    while length < start.len() {
        match opened.read(&mut start[length..]).with_context(|| format!("cannot read `{}`", file.shown()))? {
            0 => break,
            read => length += read,
        }
    }
    // Read the first bytes again, also from a file that cannot be rewound.
    let whole = BufReader::with_capacity(1 << 17, io::Cursor::new(start).take(length as u64).chain(opened));
    let compressed: Box<dyn Read> = match (&start, identity) {
        (b"age-encryption.org/v1\n", Some(identity)) => decrypted(file, whole, identity)?,
        (b"age-encryption.org/v1\n", None) => {
            return Err(refused(file, "is encrypted")
                .hint("--identity FILE names the key, as `age-keygen` writes it")
                .into());
        }
        (start, _) if start.starts_with(b"-----BEGIN AGE ENCRYP") => {
            return Err(refused(file, "is encrypted, in ASCII form")
                .hint("decrypt it first with `age --decrypt`")
                .into());
        }
        ([0x28, 0xb5, 0x2f, 0xfd, ..], _) => Box::new(whole),
        _ => {
            return Err(refused(file, "is not a bundle").detail("expected: what `rr-patch traces pack` writes").into());
        }
    };
    let mut decoder = zstd::Decoder::new(compressed)?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(Box::new(decoder))
}

fn decrypted(file: &Path, from: impl Read + 'static, identity: &Path) -> Result<Box<dyn Read>> {
    let key = || format!("cannot read `{}`", identity.shown());
    let mut text = Vec::new();
    File::open(identity).and_then(|file| file.take(1 << 20).read_to_end(&mut text)).with_context(key)?;
    let no_key = |why: String| {
        Error::usage(format!("`{}` holds no key: {why}", identity.shown()))
            .detail("expected: lines like `AGE-SECRET-KEY-1…`, as `age-keygen` writes them")
    };
    let keys = age::IdentityFile::from_buffer(text.as_slice()).map_err(|error| no_key(error.to_string()))?;
    let keys = keys.into_identities().map_err(|error| no_key(error.to_string()))?;
    if keys.is_empty() {
        return Err(no_key("it has no line of that kind".into()).into());
    }
    let decryptor = age::Decryptor::new(from).map_err(|error| refused(file, &format!("is damaged: {error}")))?;
    let stream = decryptor.decrypt(keys.iter().map(|key| &**key as &dyn age::Identity)).map_err(|error| {
        refused(file, &format!("cannot be decrypted: {error}")).detail(format!("with: `{}`", identity.shown()))
    })?;
    Ok(Box::new(stream))
}

/// One pass over a bundle.
struct Reading<'a> {
    file: &'a Path,
    new: &'a TempDir,
    progress: &'a mut dyn FnMut(u64, u64) -> Result<()>,
    stopped: Option<anyhow::Error>,
}

impl Reading<'_> {
    fn refused(&self, why: impl AsRef<str>) -> anyhow::Error {
        refused(self.file, why.as_ref()).hint("get it again, or pack it again").into()
    }

    fn read(&mut self, stream: impl Read) -> Result<Head> {
        let damaged = |this: &Self, error: io::Error| this.refused(format!("is damaged: {error}"));
        let mut archive = tar::Archive::new(stream);
        let (mut head, mut manifest) = (None::<Head>, None::<Manifest>);
        let mut sums: Vec<Sum> = Vec::new();
        let (mut long, mut done) = (None::<String>, 0);
        // Raw entries: only plain files are accepted, so the tar crate must not interpret names, links and
        // attributes.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry.map_err(|error| damaged(self, error))?;
            let kind = entry.header().entry_type();
            let size = entry.header().entry_size().map_err(|error| damaged(self, error))?;
            if kind.is_gnu_longname() && long.is_none() && size <= LONGEST_PATH {
                let mut name = Vec::new();
                entry.read_to_end(&mut name).map_err(|error| damaged(self, error))?;
                let name = name.strip_suffix(b"\0").unwrap_or(&name).to_vec();
                long = Some(String::from_utf8(name).map_err(|_| self.refused("has a path that is not UTF-8"))?);
                continue;
            }
            let short = String::from_utf8(entry.header().path_bytes().into_owned());
            let path = long.take().map_or(short, Ok).map_err(|_| self.refused("has a path that is not UTF-8"))?;
            if !kind.is_file() {
                return Err(self.refused(format!("has `{}`, which is not a plain file", path.escape_default())));
            }
            if manifest.is_some() {
                return Err(self.refused(format!("has an entry after its manifest: `{}`", path.escape_default())));
            }
            let mode = if entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0) { 0o700 } else { 0o600 };
            let time = UNIX_EPOCH.checked_add(Duration::from_secs(entry.header().mtime().unwrap_or(0)));
            match &head {
                None => {
                    let (read, sum) = self.document(&mut entry, &path, HEAD, size, LARGEST_HEAD)?;
                    head = Some(self.check_head(&read)?);
                    sums.push(sum);
                }
                Some(_) if path == MANIFEST => {
                    let (read, _) = self.document(&mut entry, &path, MANIFEST, size, LARGEST_MANIFEST)?;
                    manifest =
                        Some(serde_json::from_slice(&read).map_err(|_| self.refused("has an invalid manifest"))?);
                }
                Some(head) => {
                    self.check_path(head, &path)?;
                    done += size;
                    if sums.len() as u64 > head.entries || done > head.bytes {
                        return Err(self.refused("has more entries than its head says"));
                    }
                    let before = done - size;
                    let sum = self.write(&mut entry, &path, mode, (before, head.bytes))?;
                    if let Some(time) = time {
                        self.set_time(&path, time);
                    }
                    sums.push(sum);
                }
            }
        }
        let mut rest = archive.into_inner();
        self.drain(&mut rest)?;
        let (Some(head), Some(manifest)) = (head, manifest) else {
            return Err(self.refused("is truncated: its manifest is missing"));
        };
        self.compare(&head, &manifest, &sums, done)?;
        Ok(head)
    }

    /// Reads the head or the manifest, which is also written like any other entry.
    fn document(
        &mut self,
        entry: &mut impl Read,
        path: &str,
        name: &str,
        size: u64,
        most: u64,
    ) -> Result<(Vec<u8>, Sum)> {
        if path != name {
            return Err(self.refused(format!("begins with `{}` and not with `{name}`", path.escape_default())));
        }
        if size > most {
            return Err(self.refused(format!("has a `{name}` of {size} bytes")));
        }
        let sum = self.write(entry, path, 0o600, (0, 0))?;
        let read = fs::read(self.new.path().join(name)).with_context(|| cannot_write(self.new.path()))?;
        Ok((read, sum))
    }

    fn check_head(&self, read: &[u8]) -> Result<Head> {
        let head: Head =
            serde_json::from_slice(read).map_err(|error| self.refused(format!("has an invalid head: {error}")))?;
        if head.schema != SCHEMA {
            return Err(refused(self.file, "has another version")
                .detail(format!("expected: schema {SCHEMA}; found: {:?}", head.schema))
                .hint("use the rr-patch that packed it, or a later one")
                .into());
        }
        let names: Vec<&String> = head.traces.iter().map(|packed| &packed.name).collect();
        let plain = |name: &&&String| {
            !name.is_empty() && !name.starts_with('.') && !name.contains('/') && name.as_str() != SOURCES
        };
        if names.is_empty() || names.iter().filter(plain).count() != names.len() {
            return Err(self.refused("names no trace, or a trace with an invalid name"));
        }
        if head.entries > MOST_ENTRIES {
            return Err(self.refused(format!("claims to hold {} files", head.entries)));
        }
        let there = statvfs(self.new.path()).map(|seen| seen.f_bavail.saturating_mul(seen.f_frsize));
        if there.is_ok_and(|there| there < head.bytes) {
            let there = there.map(bytes).unwrap_or_default();
            return Err(refused(self.file, "does not fit on this disk")
                .detail(format!("needed: {}; free: {there}", bytes(head.bytes)))
                .hint("-C DIR unpacks into another folder")
                .into());
        }
        Ok(head)
    }

    /// Accepts only files of the bundle's traces, and sources. All other paths are refused here.
    fn check_path(&self, head: &Head, path: &str) -> Result<()> {
        let parts: Vec<&str> = path.split('/').collect();
        let plain = parts.iter().all(|part| !["", ".", ".."].contains(part) && !part.contains('\0'));
        let known = match parts.as_slice() {
            [SOURCES, _, ..] => true,
            [folder, name] => head.traces.iter().any(|packed| packed.name == *folder) && !name.starts_with('.'),
            _ => false,
        };
        if plain && known {
            Ok(())
        } else {
            Err(self.refused(format!("has `{}`, which does not belong in a bundle", path.escape_default())))
        }
    }

    /// Writes an entry to the new folder. The file system refuses a path that already exists.
    fn write(&mut self, entry: &mut impl Read, path: &str, mode: u32, done: (u64, u64)) -> Result<Sum> {
        let to = self.new.path().join(path);
        let parent = to.parent().unwrap_or(self.new.path());
        let opened = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        let opened = opened.and_then(|()| OpenOptions::new().write(true).create_new(true).mode(mode).open(&to));
        let out = match opened {
            Err(error) if [io::ErrorKind::AlreadyExists, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
                return Err(self.refused(format!("has `{}` twice", path.escape_default())));
            }
            opened => opened.with_context(|| cannot_write(&to))?,
        };
        let (mut before, all) = done;
        let mut see = |read: u64| {
            before += read;
            (self.progress)(before, all).map_err(|why| {
                self.stopped = Some(why);
                io::ErrorKind::Other.into()
            })
        };
        let mut hashing = Hashing::new(entry, &mut see);
        let mut out = BufWriter::with_capacity(1 << 17, out);
        // Read and write errors are handled separately: only read errors are the bundle's fault.
        let mut buffer = vec![0; 1 << 16];
        loop {
            match hashing.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => out.write_all(&buffer[..read]).with_context(|| cannot_write(&to))?,
                Err(error) => return Err(refused(self.file, &format!("is damaged: {error}")).into()),
            }
        }
        out.flush().with_context(|| cannot_write(&to))?;
        Ok(hashing.sum(path))
    }

    /// Sets a file's modification time, from which the time of the recording is derived. Best effort: the times are
    /// only displayed.
    fn set_time(&self, path: &str, time: std::time::SystemTime) {
        let file = OpenOptions::new().write(true).open(self.new.path().join(path));
        let _ = file.and_then(|file| file.set_modified(time));
    }

    /// Reads to the end, so that zstd and age check the whole stream for truncation and changes.
    fn drain(&self, rest: &mut impl Read) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        let mut more = 0;
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) if buffer[..read].iter().all(|&byte| byte == 0) && more < 1 << 20 => more += read,
                Ok(_) => return Err(self.refused("has data after its end")),
                Err(error) => return Err(self.refused(format!("is damaged: {error}"))),
            }
        }
    }

    fn compare(&self, head: &Head, manifest: &Manifest, sums: &[Sum], done: u64) -> Result<()> {
        if manifest.schema != MANIFEST_SCHEMA {
            return Err(self.refused(format!("has a manifest of schema {:?}", manifest.schema)));
        }
        let said: BTreeMap<&str, &Sum> = manifest.entries.iter().map(|sum| (sum.path.as_str(), sum)).collect();
        for sum in sums {
            match said.get(sum.path.as_str()) {
                Some(said) if *said == sum => {}
                Some(said) => {
                    return Err(refused(
                        self.file,
                        &format!("is damaged: `{}` differs from what was packed", sum.path),
                    )
                    .detail(format!("expected: {} bytes, SHA-256 {}", said.size, said.sha256))
                    .detail(format!("found: {} bytes, SHA-256 {}", sum.size, sum.sha256))
                    .hint("get it again, or pack it again")
                    .into());
                }
                None => return Err(self.refused(format!("has `{}`, which its manifest does not name", sum.path))),
            }
        }
        let all = said.len() == sums.len() && sums.len() as u64 == head.entries + 1 && done == head.bytes;
        if all { Ok(()) } else { Err(self.refused("has fewer entries than its manifest names")) }
    }
}

/// Checks that an unpacked folder is a trace and needs no files of this host.
fn verify_trace(file: &Path, folder: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let refused = |why: String| refused(file, &format!("has `{name}`, {why}"));
    let trace = Trace::open(folder).map_err(|error| refused(format!("which is not a trace: {error:#}")))?;
    if trace.state != State::Complete {
        return Err(refused(format!("which is {}", trace.state.word())).into());
    }
    let mapped = trace.mapped().map_err(|error| refused(format!("which is damaged: {error:#}")))?;
    for part in mapped {
        let inside = part.file(folder).parent() == Some(folder);
        if !inside || !part.file(folder).is_file() {
            return Err(refused(format!("which needs `{}` from outside the bundle", part.backing.shown())).into());
        }
    }
    Ok(())
}
