//! Reads the controllers embedded in an installer. `//go:embed` stores the bytes of the zip unchanged in the
//! read-only data, so the zip is found by its end record, which begins with `PK\5\6`.
//!
//! These four bytes also occur in compressed data and in code that searches for them. Therefore a record counts only
//! if it is consistent: the directory before it must begin with `PK\1\2`, and the first file with `PK\3\4`. Zips of
//! more than 4 GiB (zip64) are not supported.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use memchr::memmem;
use object::ReadCache;
use zip::ZipArchive;

use super::scan::{Patch, Scan, ZIP_END, scan};
use super::{Facts, Unread, elf, explain, first_bytes, is_elf, open};
use crate::error::{Error, Shown};
use crate::sys::parallel;

/// The prefix of all controllers' names, from the Makefile that builds them.
const CONTROLLER: &str = "cluster-api";

/// How many programs are in memory at the same time; each can have 200 MB.
const AT_ONCE: usize = 4;

/// The largest program that is accepted. A damaged directory may state a larger size.
const LARGEST: u64 = 2 << 30;

/// An installer with its embedded programs.
#[derive(Debug)]
pub struct Installer {
    pub facts: Facts,
    pub patch: Patch,
    /// The files in its zips of controllers. Other zips are ignored.
    pub entries: Vec<EmbeddedFile>,
}

/// A file in a zip of controllers.
#[derive(Debug)]
pub struct EmbeddedFile {
    pub name: String,
    pub content: Content,
}

#[derive(Debug)]
pub enum Content {
    Program(Box<Facts>),
    /// Not an ELF file.
    Other {
        size: u64,
        sha256: String,
    },
    /// The file could not be unpacked or read; with the reason.
    Broken(String),
}

impl EmbeddedFile {
    /// Whether this is a program that is built with the installer. The others, etcd and kube-apiserver, are
    /// downloaded, and their vendors stripped them.
    pub fn controller(&self) -> bool {
        Self::is_controller(&self.name)
    }

    /// Like [`EmbeddedFile::controller`], for a name.
    pub fn is_controller(name: &str) -> bool {
        name.rsplit('/').next().is_some_and(|name| name.starts_with(CONTROLLER))
    }

    pub fn facts(&self) -> Option<&Facts> {
        match &self.content {
            Content::Program(facts) => Some(facts),
            Content::Other { .. } | Content::Broken(_) => None,
        }
    }

    /// The hash and the size.
    pub fn digest(&self) -> Option<(&str, u64)> {
        match &self.content {
            Content::Program(facts) => Some((&facts.sha256, facts.size)),
            Content::Other { sha256, size } => Some((sha256, *size)),
            Content::Broken(_) => None,
        }
    }
}

impl Installer {
    /// Reads an installer and unpacks its embedded programs in memory, a few at a time.
    ///
    /// # Errors
    /// A file that is not a complete ELF file. Errors of an embedded program are in its entry.
    pub fn read(path: &Path) -> Result<Self> {
        let first = first_bytes(path)?;
        if !is_elf(&first) {
            let first = first.into_iter().take(elf::SHOWN).collect();
            return Err(explain(&Unread::NotElf(first), &format!("`{}`", path.shown())));
        }
        // A separate handle, because two readers cannot share one file position.
        let program = open(path)?;
        let (facts, rest) = thread::scope(|scope| {
            let facts = scope.spawn(move || elf::facts(&ReadCache::new(program)));
            let rest = scan(path).and_then(|(file, scan)| Ok((entries(&file, &scan.zip_ends)?, scan)));
            (facts.join().expect("no thread panics"), rest)
        });
        let facts = facts.map_err(|error| explain(&error, &format!("`{}`", path.shown())))?;
        let (entries, scan) = rest.with_context(|| format!("cannot read `{}`", path.shown()))?;
        Ok(Self { facts: Facts { size: scan.size, sha256: scan.sha256, ..facts }, patch: scan.patch, entries })
    }
}

/// An installer that was read once from its beginning to its end.
#[derive(Debug)]
pub struct Scanned<'a> {
    path: &'a Path,
    file: File,
    scan: Scan,
}

impl<'a> Scanned<'a> {
    /// # Errors
    /// A file that cannot be read.
    pub fn open(path: &'a Path) -> Result<Self> {
        let (file, scan) = scan(path)?;
        Ok(Self { path, file, scan })
    }

    /// What it carries of rr-patch's change.
    pub fn patch(&self) -> &Patch {
        &self.scan.patch
    }

    /// Every controller inside it, by name.
    ///
    /// # Errors
    /// A controller that cannot be unpacked, or is not an ELF file.
    pub fn controllers(&self) -> Result<Vec<(String, Facts)>> {
        let unread = || format!("cannot read `{}`", self.path.shown());
        let entries = entries(&self.file, &self.scan.zip_ends).with_context(unread)?;
        let controllers = entries.into_iter().filter(EmbeddedFile::controller).map(|entry| match entry.content {
            Content::Program(facts) => Ok((entry.name, *facts)),
            Content::Other { .. } => Err(unusable(self.path, &entry.name, "no ELF program")),
            Content::Broken(why) => Err(unusable(self.path, &entry.name, &why)),
        });
        controllers.collect()
    }
}

fn unusable(installer: &Path, name: &str, why: &str) -> anyhow::Error {
    Error::failed(format!("`{name}` inside `{}` cannot be used", installer.shown()))
        .detail(why)
        .hint("build the installer again")
        .into()
}

/// The files in all zips of controllers.
fn entries(file: &File, ends: &[u64]) -> io::Result<Vec<EmbeddedFile>> {
    let mut zips: Vec<Zip> = Vec::new();
    // Starting from the last, so that a zip stored inside another zip comes after it.
    for &end in ends.iter().rev() {
        if !zips.iter().any(|zip| zip.holds(end))
            && let Some(zip) = Zip::before(file, end)?
        {
            zips.push(zip);
        }
    }
    let mut entries = Vec::new();
    for zip in zips.iter().rev() {
        if zip.of_controllers(file)? {
            entries.extend(zip.entries(file));
        }
    }
    Ok(entries)
}

/// The position of a zip in a file.
#[derive(Clone, Copy, Debug)]
struct Zip {
    start: u64,
    directory: u64,
    end: u64,
}

impl Zip {
    /// The zip with its end record at `record`, if there is one.
    fn before(file: &File, record: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; 22];
        if !read_at(file, &mut bytes, record)? || !bytes.starts_with(ZIP_END) {
            return Ok(None);
        }
        let short = |at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let long = |at: usize| short(at) | short(at + 2) << 16;
        let (disks, files, size, offset, comment) = (long(4), (short(8), short(10)), long(12), long(16), short(20));
        if disks != 0 || files.0 != files.1 || files.0 == 0 {
            return Ok(None);
        }
        let Some(directory) = record.checked_sub(size) else { return Ok(None) };
        let Some(start) = directory.checked_sub(offset) else { return Ok(None) };
        let end = record + 22 + comment;
        let mut head = [0; 46];
        if end > file.metadata()?.len() || !read_at(file, &mut head, directory)? || !head.starts_with(b"PK\x01\x02") {
            return Ok(None);
        }
        let first = start + u64::from(u32::from_le_bytes([head[42], head[43], head[44], head[45]]));
        let mut head = [0; 4];
        let begins = read_at(file, &mut head, first)? && head == *b"PK\x03\x04";
        Ok(begins.then_some(Self { start, directory, end }))
    }

    fn holds(&self, at: u64) -> bool {
        (self.start..self.end).contains(&at)
    }

    /// Whether its directory contains a controller.
    fn of_controllers(&self, file: &File) -> io::Result<bool> {
        let mut directory = Vec::new();
        Window::new(file, self.directory, self.end).read_to_end(&mut directory)?;
        Ok(memmem::find(&directory, CONTROLLER.as_bytes()).is_some())
    }

    /// Unpacks the zip, a few files at a time, in the order of its directory.
    fn entries(&self, file: &File) -> Vec<EmbeddedFile> {
        let open = || ZipArchive::new(BufReader::new(Window::new(file, self.start, self.end)));
        let count = match open() {
            Ok(archive) => archive.len(),
            Err(error) => return vec![broken(format!("{CONTROLLER}.zip"), error.to_string())],
        };
        // It was opened before, so opening it does not fail.
        let one = |archive: &mut Option<_>, number| archive.as_mut().and_then(|archive| entry(archive, number));
        parallel::map(count, AT_ONCE, || open().ok(), one).into_iter().flatten().collect()
    }
}

fn broken(name: String, why: String) -> EmbeddedFile {
    EmbeddedFile { name, content: Content::Broken(why) }
}

/// Unpacks one file of a zip; `None` for a folder.
fn entry(archive: &mut ZipArchive<impl Read + Seek>, number: usize) -> Option<EmbeddedFile> {
    let mut packed = match archive.by_index(number) {
        Ok(packed) if packed.is_dir() => return None,
        Ok(packed) => packed,
        Err(error) => return Some(broken(format!("{CONTROLLER}.zip, file {}", number + 1), error.to_string())),
    };
    let name = String::from_utf8_lossy(packed.name_raw()).into_owned();
    let size = packed.size();
    Some(match unpack(&mut packed, size) {
        Err(why) => broken(name, why),
        Ok(bytes) => EmbeddedFile { content: content(&bytes), name },
    })
}

/// Unpacks a file whose directory entry states `size` bytes.
fn unpack(packed: &mut impl Read, size: u64) -> Result<Vec<u8>, String> {
    if size > LARGEST {
        return Err(format!("the zip says that it has {size} bytes"));
    }
    let mut bytes = Vec::new();
    // The zip crate stops at files larger than stated and checks the checksum, but does not detect files that are too
    // short.
    packed.take(size + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.len() as u64 {
        found if found == size => Ok(bytes),
        found => Err(format!("the zip says that it has {size} bytes, but it has {found}")),
    }
}

fn content(bytes: &[u8]) -> Content {
    match Facts::of(bytes) {
        Ok(facts) => Content::Program(Box::new(facts)),
        Err(error) if is_elf(bytes) => {
            let known = error.downcast_ref::<Error>();
            Content::Broken(known.map_or(error.to_string(), |known| known.details().join("; ")))
        }
        Err(_) => Content::Other { size: bytes.len() as u64, sha256: super::hash(bytes) },
    }
}

/// Fills the buffer from offset `at`. Returns false if the file ends first.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A part of a file, usable as a file.
#[derive(Debug)]
struct Window<'a> {
    file: &'a File,
    start: u64,
    length: u64,
    at: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a File, start: u64, end: u64) -> Self {
        Self { file, start, length: end - start, at: 0 }
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.start + self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
