//! Folders to torture: copies of a template, what is in them, and the tool run there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::{Run, command};
use crate::power::on_boot;

/// What names of the tool's temporary files begin with.
pub const TEMPORARY: &str = ".rr-patch-";
/// What the names of edited versions hold that `revert --force` keeps.
pub const EDITED: &str = ".edited";

static TOOL: OnceLock<String> = OnceLock::new();

/// Tortures another tool than the one that was built with this program.
pub fn torture(tool: PathBuf) {
    let _ = TOOL.set(tool.into_os_string().into_string().expect("a path in UTF-8"));
}

fn tool() -> &'static str {
    TOOL.get().map_or(env!("CARGO_BIN_EXE_rr-patch"), String::as_str)
}

/// A folder of its own, removed when it is dropped: the tree in it, and what lies beside the tree.
#[derive(Debug)]
pub struct Place {
    base: PathBuf,
    /// A file with the boot id that the tool finds, if not this machine's.
    boot: Option<PathBuf>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

impl Place {
    /// A new and empty one.
    pub fn new(base: PathBuf) -> Self {
        fs::create_dir_all(base.join("tree")).unwrap();
        Self { base, boot: None }
    }

    /// Another one with the same content.
    pub fn copy(&self, base: PathBuf) -> Self {
        let mut copied = Self::copy_of(&self.base, base);
        copied.boot.clone_from(&self.boot);
        copied
    }

    /// A copy of what once was one.
    pub fn copy_of(from: &Path, base: PathBuf) -> Self {
        copy(from, &base);
        Self { base, boot: None }
    }

    /// As after a boot of the machine, which has this id.
    pub fn on_boot(mut self, boot_id: PathBuf) -> Self {
        self.boot = Some(boot_id);
        self
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Where commands run.
    pub fn tree(&self) -> PathBuf {
        self.base.join("tree")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.tree().join(name)
    }

    /// The tool, to be run in the tree.
    pub fn tool(&self, arguments: &[&str]) -> Command {
        self.program(tool(), arguments)
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = match &self.boot {
            Some(boot_id) => on_boot(boot_id, program),
            None => command(program),
        };
        command.current_dir(self.tree()).args(arguments).env("_RR_TRACE_DIR", self.path("rr"));
        command.env("GIT_OPTIONAL_LOCKS", "0");
        command
    }

    /// Runs the tool. One that does not end is killed, and its code is 137.
    pub fn run(&self, arguments: &[&str]) -> Run {
        let tool = ["-s", "KILL", "60", tool()];
        Run::of(self.program("timeout", &[&tool, arguments].concat()).output().unwrap())
    }

    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let run = self.run_git(arguments);
        assert_eq!(run.code, 0, "git {arguments:?}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    pub fn run_git(&self, arguments: &[&str]) -> Run {
        Run::of(self.program("git", arguments).output().unwrap())
    }

    pub fn world(&self) -> World {
        let mut entries = BTreeMap::new();
        collect(&self.tree(), Path::new(""), &mut entries);
        let git = self.path(".git").is_dir().then(|| Git::of(self));
        World { entries, git }
    }

    /// Files of the tool that a killed run left in its folder of the git folder.
    pub fn strays_in_state(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(".git/rr-patch")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => folders.push(entry.path()),
                    false if entry.file_name().as_bytes().starts_with(TEMPORARY.as_bytes()) => {
                        found.push(entry.path().strip_prefix(self.tree()).unwrap().display().to_string());
                    }
                    false => {}
                }
            }
        }
        found
    }

    /// Git's own lock files.
    pub fn git_locks(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(".git")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true if entry.file_name() == "rr-patch" || entry.file_name() == "objects" => {}
                    true => folders.push(path),
                    false if path.extension().is_some_and(|ending| ending == "lock") => found.push(path),
                    false => {}
                }
            }
        }
        found
    }
}

/// Copies a folder with modes. Times are not kept: git looks at the files again.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&path, &target);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path).unwrap(), &target).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
    fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
}

/// All that a user sees of a tree: files, folders, and what git says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    pub entries: BTreeMap<PathBuf, Entry>,
    pub git: Option<Git>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    File { bytes: Vec<u8>, mode: u32 },
    Folder { mode: u32 },
    Link(PathBuf),
}

/// What git has: where HEAD and the references point, and what is staged or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    /// The lines of `git status`.
    pub status: BTreeSet<String>,
    pub references: String,
}

impl Git {
    fn of(place: &Place) -> Self {
        let references = place.git(&["for-each-ref"]);
        let status = place.run_git(&["status", "--porcelain=v2", "--branch", "--untracked-files=all"]);
        let lines = status.stdout.lines().chain(status.stderr.lines());
        Self { status: lines.map(str::to_owned).collect(), references }
    }
}

impl Entry {
    pub fn contains(&self, text: &str) -> bool {
        matches!(self, Self::File { bytes, .. } if memchr::memmem::find(bytes, text.as_bytes()).is_some())
    }
}

/// How a tree differs from what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub kind: &'static str,
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)
    }
}

impl World {
    /// The same without the traces that are all as they were `before`, where `after` has none of that name.
    pub fn without_whole_traces(&self, before: &Self, after: &Self) -> Self {
        let in_store = |path: &PathBuf| path.starts_with("rr") && path.components().count() == 2;
        let mut all = self.clone();
        for trace in before.entries.keys().filter(|path| in_store(path) && !after.entries.contains_key(*path)) {
            let of = |world: &Self| -> BTreeMap<PathBuf, Entry> {
                let inside = world.entries.iter().filter(|(path, _)| path.starts_with(trace));
                inside.map(|(path, entry)| (path.clone(), entry.clone())).collect()
            };
            if of(self) == of(before) {
                all.entries.retain(|path, _| !path.starts_with(trace));
            }
        }
        all
    }

    /// What is other than in `expected`.
    pub fn differences(&self, expected: &Self) -> Vec<Difference> {
        let mut all = Vec::new();
        let mut push = |kind, what: String| all.push(Difference { kind, what });
        for (path, entry) in &self.entries {
            let name = path.display();
            match (entry, expected.entries.get(path)) {
                (_, None) if is_temporary(path) => push("stray file", format!("{name}")),
                (Entry::Folder { .. }, None) => push("stray folder", format!("{name}")),
                (_, None) => push("unexpected file", format!("{name}")),
                (Entry::File { bytes: a, .. }, Some(Entry::File { bytes: b, .. })) if a != b => {
                    push("wrong bytes", format!("{name} has {} bytes, expected {}", a.len(), b.len()));
                }
                (Entry::File { mode: a, .. }, Some(Entry::File { mode: b, .. }))
                | (Entry::Folder { mode: a }, Some(Entry::Folder { mode: b }))
                    if a != b =>
                {
                    push("wrong mode", format!("{name} has mode {a:o}, expected {b:o}"));
                }
                (entry, Some(other)) if entry != other => push("wrong kind of file", format!("{name}")),
                _ => {}
            }
        }
        for path in expected.entries.keys().filter(|path| !self.entries.contains_key(*path)) {
            push("missing file", format!("{}", path.display()));
        }
        if let (Some(git), Some(expected)) = (&self.git, &expected.git) {
            if git.references != expected.references {
                let (found, expected) = (&git.references, &expected.references);
                push("wrong references", format!("found {found:?}, expected {expected:?}"));
            }
            // Temporary files are named above.
            let lines = |git: &Git| {
                let known = git.status.iter().filter(|line| !line.contains(TEMPORARY)).cloned();
                known.collect::<BTreeSet<_>>()
            };
            let (found, expected) = (lines(git), lines(expected));
            if found != expected {
                let only = |a: &BTreeSet<String>, b| a.difference(b).map(String::as_str).collect::<Vec<_>>().join("; ");
                let (more, less) = (only(&found, &expected), only(&expected, &found));
                push("wrong git status", format!("found `{more}`, expected `{less}`"));
            }
        }
        all
    }

    /// Whether a file holds a text.
    pub fn has(&self, name: &Path, text: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.contains(text))
    }

    /// Whether a text is in a file, or beside it under the name of an edited version.
    pub fn holds(&self, name: &Path, text: &str) -> bool {
        self.has(name, text) || self.beside(name).any(|entry| entry.contains(text))
    }

    /// Whether an edited version of a file has these bytes.
    pub fn keeps_beside(&self, name: &Path, kept: &[u8]) -> bool {
        self.beside(name).any(|entry| matches!(entry, Entry::File { bytes, .. } if bytes == kept))
    }

    /// The edited versions of a file.
    fn beside(&self, name: &Path) -> impl Iterator<Item = &Entry> {
        let start = format!("{}{EDITED}", name.display());
        self.entries.iter().filter(move |(path, _)| path.to_string_lossy().starts_with(&start)).map(|(_, entry)| entry)
    }

    /// Without the tool's temporary files, which the next command removes.
    pub fn without_temporary(mut self) -> Self {
        self.entries.retain(|path, _| !is_temporary(path));
        self
    }
}

/// Whether it is a temporary file of the tool, or lies in such a folder.
fn is_temporary(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().as_bytes().starts_with(TEMPORARY.as_bytes()))
}

fn collect(root: &Path, below: &Path, entries: &mut BTreeMap<PathBuf, Entry>) {
    for entry in fs::read_dir(root.join(below)).unwrap().map(Result::unwrap) {
        if entry.file_name() == ".git" {
            continue;
        }
        let name = below.join(entry.file_name());
        let path = entry.path();
        let Ok(seen) = path.symlink_metadata() else { continue };
        let mode = seen.permissions().mode() & 0o7777;
        if seen.is_dir() {
            entries.insert(name.clone(), Entry::Folder { mode });
            collect(root, &name, entries);
        } else if seen.is_symlink() {
            entries.insert(name, Entry::Link(fs::read_link(path).unwrap()));
        } else {
            let bytes = if dated(&name) { b"dated".to_vec() } else { fs::read(&path).unwrap_or_default() };
            entries.insert(name, Entry::File { bytes, mode });
        }
    }
}

/// Bundles hold the time when they were packed.
fn dated(name: &Path) -> bool {
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".tar.zst") || ["rr-patch-bundle.json", "manifest.json"].contains(&&*name)
}

/// Sets a file's permission bits.
pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
