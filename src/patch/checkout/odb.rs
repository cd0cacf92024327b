//! Reads objects of a repository. Each loose object is inflated here before libgit2 reads it.
//!
//! libgit2 1.9 inflates a loose object until it has the number of bytes in the object's header or the compressed
//! stream ends (`git_zstream_get_output`). A truncated file reaches neither, and the call never returns. Names are
//! resolved here too, because libgit2 reads objects to resolve `HEAD~2` or an abbreviated hash.

use std::cell::RefCell;
use std::collections::{BTreeSet, BinaryHeap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::{Decompress, FlushDecompress, Status};
use git2::{Commit, ErrorCode, ObjectType, Oid, Repository, Tree};

use crate::error::{Error, Shown};
use crate::sys::write;

/// The depth to which alternates of alternates are followed, as in libgit2 and git.
const ALTERNATES: usize = 5;

/// The longest header of a loose object: a type, a space, a length of 20 digits, a NUL.
const HEADER: usize = 32;

/// The tolerance for wrong clocks, in seconds: a commit may be older than its parents.
const CLOCK_SKEW: i64 = 86_400;

/// A repository that checks loose objects before they are read.
pub struct Objects {
    repository: Repository,
    /// The folders with loose objects: first the repository's own, then its alternates.
    folders: Vec<PathBuf>,
    sound: RefCell<HashSet<Oid>>,
}

/// A file or a folder in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    pub id: Oid,
    pub mode: i32,
    pub kind: Option<ObjectType>,
}

impl Objects {
    pub fn new(repository: Repository) -> Self {
        // A linked worktree has its objects in the shared git folder.
        let mut folders = Vec::new();
        add_folder(&mut folders, repository.commondir().join("objects"), 0);
        Self { repository, folders, sound: RefCell::default() }
    }

    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Checks an object if it is loose. Packed and missing objects are left to libgit2.
    ///
    /// # Errors
    /// A file that is empty, truncated, not compressed, or of another length than its header says. The error names
    /// the path.
    pub fn check(&self, id: Oid) -> Result<(), Error> {
        if self.sound.borrow().contains(&id) {
            return Ok(());
        }
        for folder in &self.folders {
            let file = loose_file(folder, id);
            match inflate(&file) {
                Ok(()) => break,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(broken(&file, &error.to_string())),
            }
        }
        self.sound.borrow_mut().insert(id);
        Ok(())
    }

    /// Checks every loose object of the repository and its alternates.
    fn check_all(&self) -> Result<()> {
        for folder in &self.folders {
            for fan_out in fs::read_dir(folder).into_iter().flatten().flatten() {
                let prefix = fan_out.file_name();
                if prefix.len() != 2 {
                    continue;
                }
                for file in fs::read_dir(fan_out.path()).into_iter().flatten().flatten() {
                    let name = [prefix.as_bytes(), file.file_name().as_bytes()].concat();
                    if let Some(id) = str::from_utf8(&name).ok().filter(|name| name.len() == 40)
                        && let Ok(id) = Oid::from_str(id)
                    {
                        self.check(id)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The file to name in an error about an object: the loose file if there is one.
    fn describe(&self, id: Oid) -> String {
        let file = self.folders.iter().map(|folder| loose_file(folder, id)).find(|file| file.exists());
        file.map_or_else(|| id.to_string(), |file| file.shown())
    }

    /// Converts a libgit2 error about an object. A missing object is not reported as broken: the caller can explain
    /// it better.
    fn failed(&self, id: Oid, error: git2::Error) -> anyhow::Error {
        match error.code() {
            ErrorCode::NotFound => error.into(),
            _ => broken(Path::new(&self.describe(id)), error.message()).into(),
        }
    }

    /// The commit with this id, or the commit that the tag with this id points to.
    pub fn commit(&self, mut id: Oid) -> Result<Commit<'_>> {
        loop {
            self.check(id)?;
            let object = self.repository.find_object(id, None).map_err(|error| self.failed(id, error))?;
            match object.as_tag() {
                Some(tag) => id = tag.target_id(),
                None => return Ok(object.peel_to_commit()?),
            }
        }
    }

    pub fn tree(&self, id: Oid) -> Result<Tree<'_>> {
        self.check(id)?;
        self.repository.find_tree(id).map_err(|error| self.failed(id, error))
    }

    pub fn blob(&self, id: Oid) -> Result<Vec<u8>> {
        self.check(id)?;
        let blob = self.repository.find_blob(id).map_err(|error| self.failed(id, error))?;
        Ok(blob.content().to_vec())
    }

    /// The object whose id begins with `name`, if there is exactly one.
    pub fn abbreviated(&self, name: &str) -> Option<Oid> {
        let hexadecimal = (4..=40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let prefix = hexadecimal.then(|| Oid::from_str(name).ok()).flatten()?;
        // This compares file names and pack indexes, and does not read an object.
        self.repository.odb().ok()?.exists_prefix(prefix, name.len()).ok()
    }

    /// The entry at a path in a tree.
    pub fn entry(&self, tree: &Tree, path: &Path) -> Result<Option<TreeEntry>> {
        let find = |tree: &Tree, name: &[u8]| {
            let entry = tree.get_name_bytes(name);
            entry.map(|entry| TreeEntry { id: entry.id(), mode: entry.filemode(), kind: entry.kind() })
        };
        let mut names = path.iter().map(OsStrExt::as_bytes).peekable();
        let mut below: Option<Tree> = None;
        while let Some(name) = names.next() {
            let entry = find(below.as_ref().unwrap_or(tree), name);
            match entry {
                Some(entry) if names.peek().is_some() && entry.kind == Some(ObjectType::Tree) => {
                    below = Some(self.tree(entry.id)?);
                }
                Some(_) if names.peek().is_some() => return Ok(None),
                entry => return Ok(entry),
            }
        }
        Ok(None)
    }

    /// Resolves `name` to a commit, in any form that git accepts.
    pub fn revision(&self, name: &str) -> Result<Commit<'_>> {
        let end = name.find(['~', '^']).unwrap_or(name.len());
        let (start, steps) = name.split_at(end);
        if let Some(start) = self.start(start)
            && let Some(steps) = parse_steps(steps)
        {
            let mut commit = self.commit(start)?;
            for (number, parent) in steps {
                for _ in 0..number {
                    commit = self.commit(commit.parent_id(parent)?)?;
                }
            }
            return Ok(commit);
        }
        // Other forms, such as `main@{yesterday}`, `:/text` or `v4.20-3-gabcdef`, can read any object.
        self.check_all()?;
        Ok(self.repository.revparse_single(name)?.peel_to_commit()?)
    }

    /// The object of a reference or a hash.
    fn start(&self, name: &str) -> Option<Oid> {
        let name = match name {
            "" => return None,
            "@" => "HEAD",
            name => name,
        };
        if name.len() == 40
            && let Some(id) = self.abbreviated(name)
        {
            return Some(id);
        }
        let reference = self.repository.resolve_reference_from_short_name(name).ok();
        let target = reference.and_then(|reference| reference.resolve().ok()?.target());
        target.or_else(|| self.abbreviated(name))
    }

    /// Whether `ancestor` is an ancestor of `commit`. Assumes that `ancestor` is not older than its own ancestors.
    pub fn descends(&self, commit: Oid, ancestor: Oid) -> Result<bool> {
        let oldest = self.commit(ancestor)?.time().seconds() - CLOCK_SKEW;
        let mut known = HashSet::from([commit]);
        let mut next = BinaryHeap::from([(self.commit(commit)?.time().seconds(), commit)]);
        while let Some((time, id)) = next.pop() {
            if time < oldest {
                break;
            }
            for parent in self.commit(id)?.parent_ids() {
                if parent == ancestor {
                    return Ok(true);
                }
                // A shallow clone does not have all parents.
                if known.insert(parent)
                    && let Ok(commit) = self.commit(parent)
                {
                    next.push((commit.time().seconds(), parent));
                }
            }
        }
        Ok(false)
    }

    /// Syncs new objects. Also syncs objects that already existed: libgit2 does not write those again, and whoever
    /// wrote them may not have synced them.
    pub fn sync(&self, ids: &BTreeSet<Oid>) -> Result<()> {
        let Some(folder) = self.folders.first() else { return Ok(()) };
        let mut changed = BTreeSet::from([folder.clone()]);
        for &id in ids {
            self.check(id)?;
            let file = loose_file(folder, id);
            if file.exists() {
                write::sync(&file)?;
                changed.extend(file.parent().map(Path::to_owned));
            }
        }
        changed.iter().try_for_each(|folder| write::sync(folder))
    }
}

/// Parses steps such as `~2^3`: how often, and to which parent, from 0. `None` if there is any other kind of step.
fn parse_steps(text: &str) -> Option<Vec<(usize, usize)>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while let Some(kind) = rest.chars().next() {
        let digits = rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1);
        let number = match &rest[1..=digits] {
            "" => 1,
            number => number.parse().ok()?,
        };
        steps.push(match (kind, number) {
            ('~', number) => (number, 0),
            ('^', 0) => (0, 0),
            ('^', number) => (1, number - 1),
            _ => return None,
        });
        rest = &rest[1 + digits..];
    }
    Some(steps)
}

fn add_folder(folders: &mut Vec<PathBuf>, folder: PathBuf, depth: usize) {
    let alternates = fs::read(folder.join("info/alternates")).unwrap_or_default();
    if depth > ALTERNATES || folders.contains(&folder) {
        return;
    }
    folders.push(folder.clone());
    for line in alternates.split(|&byte| byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#') {
        let alternate = folder.join(OsStr::from_bytes(line));
        add_folder(folders, alternate.canonicalize().unwrap_or(alternate), depth + 1);
    }
}

fn loose_file(folder: &Path, id: Oid) -> PathBuf {
    let name = id.to_string();
    folder.join(&name[..2]).join(&name[2..])
}

fn broken(file: &Path, why: &str) -> Error {
    Error::refused(format!("the git object `{}` is broken: {why}", file.shown()))
        .detail("expected: a complete object")
        .hint("`git fsck` lists what is broken")
        .hint("if another clone has the object: remove the broken file, then `git fetch --refetch`")
}

/// Inflates a loose object to its end and discards the data. libgit2 checks the hash when it reads the object.
fn inflate(file: &Path) -> io::Result<()> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut input = BufReader::with_capacity(1 << 16, File::open(file)?);
    let mut stream = Decompress::new(true);
    let mut output = [0; 1 << 14];
    let mut head = Vec::new();
    if input.fill_buf()?.is_empty() {
        return Err(wrong("the file is empty".into()));
    }
    loop {
        let compressed = input.fill_buf()?;
        let at_end = compressed.is_empty();
        let (taken, given) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(compressed, &mut output, FlushDecompress::None)
            .map_err(|error| wrong(format!("it cannot be inflated ({error})")))?;
        let taken = usize::try_from(stream.total_in() - taken).unwrap_or_default();
        let given = usize::try_from(stream.total_out() - given).unwrap_or_default();
        input.consume(taken);
        if head.len() < HEADER {
            head.extend_from_slice(&output[..given.min(HEADER - head.len())]);
        }
        if status == Status::StreamEnd {
            break;
        }
        if at_end && given == 0 {
            return Err(wrong(format!("it ends early, after {} bytes", stream.total_out())));
        }
        // An object that is longer than its header says is not inflated further.
        if head.len() == HEADER && stream.total_out() > length(&head).unwrap_or_default() {
            break;
        }
    }
    match length(&head) {
        None => Err(wrong("it does not begin with a type and a length".into())),
        Some(length) if length != stream.total_out() => Err(wrong("it is not as long as its header says".into())),
        Some(_) => Ok(()),
    }
}

/// The length of an object including its header, according to the header.
fn length(head: &[u8]) -> Option<u64> {
    let end = head.iter().position(|&byte| byte == 0)?;
    let (kind, length) = str::from_utf8(&head[..end]).ok()?.split_once(' ')?;
    let known = ["blob", "tree", "commit", "tag"].contains(&kind);
    let digits = known && length.bytes().all(|byte| byte.is_ascii_digit());
    length.parse::<u64>().ok().filter(|_| digits)?.checked_add(end as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_to_ancestors_are_read_as_git_reads_them() {
        assert_eq!(parse_steps(""), Some(vec![]));
        assert_eq!(parse_steps("~"), Some(vec![(1, 0)]));
        assert_eq!(parse_steps("~12^2^0^"), Some(vec![(12, 0), (1, 1), (0, 0), (1, 0)]));
        assert_eq!(parse_steps("^{commit}"), None);
        assert_eq!(parse_steps("~1:path"), None);
    }

    #[test]
    fn a_loose_objects_header_names_its_whole_length() {
        assert_eq!(length(b"blob 12\0abc"), Some(20));
        assert_eq!(length(b"blob +12\0"), None);
        assert_eq!(length(b"blob 12"), None);
        assert_eq!(length(b"file 12\0"), None);
        assert_eq!(length(b"blob 18446744073709551615\0"), None);
    }
}
