//! An installer checkout: its location, its git repository, and the bytes of its files.
//!
//! Only this module and `unified` use git2. The work tree is never walked, and the index is read only for commits: a
//! checkout has about 97,000 files.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use git2::{ErrorCode, MergeFileInput, Oid, Repository, RepositoryOpenFlags, RepositoryState};

use crate::error::{Error, Shown};

pub use ancestors::Ancestors;
pub use commit::{Commit, FileEdit, TakenBack, Undone};

pub use crate::words::short;
use odb::Objects;
pub use tree::Revised;

mod ancestors;
mod commit;
mod index;
mod odb;
mod tree;

/// The folder that identifies an installer.
const MARK: &str = "pkg/clusterapi";

/// An installer checkout on disk.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    top: PathBuf,
    state_dir: PathBuf,
    git: Option<Git>,
}

#[derive(Debug)]
struct Git {
    under_way: Option<&'static str>,
    head: Option<String>,
}

/// The bytes of a file and its permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub mode: u32,
}

impl Content {
    /// The git blob id of these bytes.
    pub fn hash(&self) -> Result<String> {
        Ok(self.oid()?.to_string())
    }

    fn oid(&self) -> Result<Oid> {
        Ok(Oid::hash_object(git2::ObjectType::Blob, &self.bytes)?)
    }

    fn is_executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// The mode in git's notation.
    pub fn git_mode(&self) -> &'static str {
        if self.is_executable() { "100755" } else { "100644" }
    }
}

impl Checkout {
    /// Finds the checkout that contains `place` (by default the current folder), or the installer in the folder
    /// `root` below its top.
    ///
    /// # Errors
    /// A place outside an installer checkout, a bare repository, a repository that git does not trust.
    pub fn discover(place: Option<&Path>, root: Option<&Path>) -> Result<Self> {
        let place = place.unwrap_or(Path::new("."));
        let place = place.canonicalize().map_err(|error| {
            Error::refused(format!("`{}` is not a checkout: {error}", place.shown()))
                .hint("name the folder of an openshift/installer checkout: `rr-patch COMMAND PATH`")
        })?;
        let place = if place.is_dir() { place } else { place.parent().unwrap_or(&place).to_owned() };
        let repository = open(&place)?;
        let git_dir = repository.as_ref().map(|repository| repository.path().to_owned());
        let top = match &repository {
            None => None,
            Some(repository) => match repository.workdir() {
                Some(top) => Some(top.canonicalize().with_context(|| format!("cannot look at `{}`", top.shown()))?),
                None => {
                    return Err(Error::refused(format!(
                        "`{}` is a bare repository: it has no files to patch",
                        place.shown()
                    ))
                    .hint("make a work tree of it: `git worktree add ../installer`")
                    .into());
                }
            },
        };

        let installer = match root {
            Some(root) => {
                let root = top.as_ref().unwrap_or(&place).join(root);
                let found =
                    root.canonicalize().ok().filter(|found| top.as_ref().is_none_or(|top| found.starts_with(top)));
                found.filter(|found| found.join(MARK).is_dir()).ok_or((root, "--root"))
            }
            None => place
                .ancestors()
                .take_while(|folder| top.as_ref().is_none_or(|top| folder.starts_with(top)))
                .find(|folder| folder.join(MARK).is_dir())
                .map(Path::to_owned)
                .ok_or_else(|| (place.clone(), "")),
        };
        let root = installer.map_err(|(looked_in, option)| {
            let message = format!("`{}` is not an installer checkout", looked_in.shown());
            let error = Error::refused(message).detail(format!(
                "expected: a folder `{MARK}` in it{}",
                if option.is_empty() { ", or in a folder above" } else { "" }
            ));
            if option.is_empty() {
                error.hint(
                    "name one: `rr-patch COMMAND PATH`; an installer vendored inside another checkout: `--root PATH`",
                )
            } else {
                error.hint("`--root` takes the installer's folder, relative to the top of the checkout")
            }
        })?;

        let top = top.unwrap_or_else(|| root.clone());
        let below = root.strip_prefix(&top).unwrap_or(Path::new(""));
        let state_dir = git_dir.map_or_else(|| root.join(".rr-patch"), |dir| dir.join("rr-patch")).join(key(below));
        let git = match &repository {
            Some(repository) => Some(Git { under_way: under_way(repository), head: head(repository)? }),
            None => None,
        };
        Ok(Self { root, top, state_dir, git })
    }

    /// The folder that holds `pkg/clusterapi`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The top of the work tree, as a path without links.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// The folder for rr-patch's state about this checkout. It is in the git folder, where it does not disturb the
    /// user.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The commit that is checked out.
    pub fn head(&self) -> Option<&str> {
        self.git.as_ref()?.head.as_deref()
    }

    /// The URL of the remote that the branch follows, or else of `origin`.
    pub fn remote(&self) -> Option<String> {
        let repository = open(&self.root).ok()??;
        let head = repository.head().ok();
        let branch = head.as_ref().and_then(|head| head.name().ok());
        let followed = branch.and_then(|branch| repository.branch_upstream_remote(branch).ok());
        let name = followed.as_ref().and_then(|name| name.as_str().ok()).unwrap_or("origin");
        let remote = repository.find_remote(name).ok()?;
        remote.url().ok().map(str::to_owned)
    }

    /// The installer's folder, relative to the top of the work tree.
    pub fn below_top(&self) -> &Path {
        self.root.strip_prefix(&self.top).unwrap_or(Path::new(""))
    }

    /// Refuses a checkout with an unfinished git operation, such as a merge.
    pub fn refuse_operation_under_way(&self) -> Result<()> {
        match self.git.as_ref().and_then(|git| git.under_way) {
            None => Ok(()),
            Some(what) => Err(Error::refused(format!("a {what} is in progress in `{}`", self.top.shown()))
                .hint(format!("finish it first: `git {what} --continue` or `git {what} --abort`"))
                .into()),
        }
    }

    /// The full path of a file in the checkout. Does not access the disk.
    pub fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Whether git ignores a path, as it ignores build outputs. Without git every path counts as ignored.
    pub fn ignores(&self, path: &str) -> Result<bool> {
        let Some(repository) = open(&self.root)? else { return Ok(true) };
        let ignored = repository.is_path_ignored(self.below_top().join(path));
        ignored.map_err(|error| unreadable(&repository, &format!("the ignore rules for `{path}`"), &error).into())
    }

    /// Reads a file; `None` if it does not exist.
    ///
    /// # Errors
    /// A symlink or a folder in its place, a path that leaves the checkout.
    pub fn read(&self, path: &str) -> Result<Option<Content>> {
        const GONE: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        let mut here = self.root.clone();
        for part in Path::new(path).components() {
            let Component::Normal(name) = part else {
                return Err(Error::refused(format!("`{path}` leaves the checkout")).into());
            };
            here.push(name);
            let seen = match fs::symlink_metadata(&here) {
                Ok(seen) => seen,
                Err(error) if GONE.contains(&error.kind()) => return Ok(None),
                Err(error) => return Err(error).with_context(|| format!("cannot look at `{}`", here.shown())),
            };
            let last = here == self.root.join(path);
            if seen.is_symlink() {
                self.refuse_link(path, &here, last)?;
            } else if last && !seen.is_file() {
                return Err(Error::refused(format!("`{path}` is not a regular file"))
                    .detail(format!("found: {}", if seen.is_dir() { "a folder" } else { "a special file" }))
                    .into());
            }
        }
        // Bytes and mode of one file: another rr-patch, which may end just now, can take it away between two looks.
        let mut file = match File::open(&here) {
            Ok(file) => file,
            Err(error) if GONE.contains(&error.kind()) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", here.shown())),
        };
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read `{}`", here.shown()))?;
        Ok(Some(Content { bytes, mode }))
    }

    /// Refuses a path if any of its elements is a symlink, including the last.
    pub fn refuse_links(&self, path: &str) -> Result<()> {
        let mut here = self.root.clone();
        for part in Path::new(path).components() {
            here.push(part);
            // If an element does not exist, nothing below it does.
            let Ok(seen) = fs::symlink_metadata(&here) else { break };
            if seen.is_symlink() {
                let shown = here.strip_prefix(&self.root).unwrap_or(&here).shown();
                return Err(Error::refused(format!("`{path}` goes through the symlink `{shown}`"))
                    .detail(format!("found: `{shown}` -> `{}`", fs::read_link(&here).unwrap_or_default().shown()))
                    .hint("use the file's real path in the patch")
                    .into());
            }
        }
        Ok(())
    }

    /// Reads a blob by its id, which may be abbreviated; `None` if the repository does not have it.
    pub fn blob(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let repository = if self.git.is_some() { open(&self.top)? } else { None };
        repository.map_or(Ok(None), |repository| blob(&Objects::new(repository), id))
    }

    /// Refuses symlinks, except a link to a folder inside the checkout. Other links would make us write in unexpected
    /// places.
    fn refuse_link(&self, path: &str, link: &Path, last: bool) -> Result<()> {
        let target = fs::read_link(link).unwrap_or_default();
        let inside = link.canonicalize().is_ok_and(|real| real.starts_with(&self.top));
        if !last && inside {
            return Ok(());
        }
        let shown = link.strip_prefix(&self.root).unwrap_or(link).shown();
        let message = match last {
            true => format!("`{path}` is a symlink, where a file should be"),
            false => format!("`{path}` leaves the checkout by the symlink `{shown}`"),
        };
        Err(Error::refused(message)
            .detail(format!("found: `{shown}` -> `{}`", target.shown()))
            .hint("replace the link by the file, or run rr-patch in the checkout that the link points to")
            .into())
    }
}

/// The revisions of a repository, read from its object database without a work tree.
pub struct History {
    objects: Objects,
    below: PathBuf,
}

/// A commit, with the name that the user gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub name: String,
    pub commit: String,
    /// The commit time, in seconds since 1970.
    pub time: i64,
}

/// A file of a revision: its blob id and its permission bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeEntry {
    pub path: String,
    pub blob: String,
    pub mode: u32,
}

impl History {
    /// Opens the repository that contains `place`, bare or not. The installer is in the folder `root` below its top.
    pub fn open(place: Option<&Path>, root: Option<&Path>) -> Result<Self> {
        let place = place.unwrap_or(Path::new("."));
        let repository = place.canonicalize().ok().map(|place| open(&place)).transpose()?.flatten();
        let Some(repository) = repository else {
            return Err(Error::refused(format!("`{}` is not in a git repository", place.shown()))
                .hint("revisions are read from a git repository: name a folder in one")
                .into());
        };
        Ok(Self { objects: Objects::new(repository), below: root.unwrap_or(Path::new("")).to_owned() })
    }

    /// The installer's folder, relative to the top.
    pub fn below_top(&self) -> &Path {
        &self.below
    }

    /// Resolves `name` to a commit. `name` can be anything that git accepts, or a branch of a remote if there is no
    /// local one.
    pub fn revision(&self, name: &str) -> Result<Revision> {
        let (commit, name) = match self.objects.revision(name).map_err(anyhow::Error::downcast::<git2::Error>) {
            Ok(commit) => (commit, name.to_owned()),
            Err(Err(error)) => return Err(error),
            Err(Ok(error)) => match self.remote_branch(name)? {
                Some(branch) => (self.objects.revision(&branch)?, branch),
                None => return Err(self.no_revision(name, &error).into()),
            },
        };
        Ok(Revision { name, commit: commit.id().to_string(), time: commit.time().seconds() })
    }

    fn no_revision(&self, name: &str, error: &git2::Error) -> Error {
        let known: Vec<String> = ["refs/heads/*", "refs/remotes/*", "refs/tags/*"]
            .into_iter()
            .flat_map(|glob| self.matching(glob).unwrap_or_default())
            .map(|revision| revision.name)
            .collect();
        // A remote branch is also found without the name of its remote.
        let without = known.iter().filter_map(|name| Some(name.split_once('/')?.1));
        let names = known.iter().map(String::as_str).chain(without);
        Error::refused(format!(
            "`{name}` is not a revision of `{}`: {}",
            self.objects.repository().path().shown(),
            error.message()
        ))
        .did_you_mean(name, names)
        .hint("`git rev-parse` takes the same names; a shallow clone lacks the older commits")
    }

    /// `origin/NAME`, or the branch of that name on the only remote that has one.
    ///
    /// # Errors
    /// Several remotes have such a branch, and `origin` is not among them.
    fn remote_branch(&self, name: &str) -> Result<Option<String>> {
        let remotes = self.objects.repository().remotes()?;
        let branches: Vec<String> = remotes
            .iter()
            .filter_map(|remote| Some(format!("{}/{name}", remote.ok()??)))
            .filter(|branch| self.objects.repository().find_reference(&format!("refs/remotes/{branch}")).is_ok())
            .collect();
        let origin = format!("origin/{name}");
        match branches.as_slice() {
            [] => Ok(None),
            [branch] => Ok(Some(branch.clone())),
            _ if branches.contains(&origin) => Ok(Some(origin)),
            _ => {
                let error = Error::refused(format!("several remotes have a branch `{name}`"));
                let error = branches.iter().fold(error, |error, branch| error.detail(format!("found: {branch}")));
                Err(error.hint("name one of them").into())
            }
        }
    }

    /// The commits of all references that match a glob such as `refs/heads/*`. A glob without `refs/`, such as
    /// `release-*`, matches the last part of the names.
    pub fn matching(&self, glob: &str) -> Result<Vec<Revision>> {
        let glob = if glob.starts_with("refs/") { glob.to_owned() } else { format!("refs/*/{glob}") };
        let mut revisions = Vec::new();
        let unread = |error: &git2::Error| {
            let repository = self.objects.repository().path().shown();
            Error::refused(format!("the references of `{repository}` cannot be read: {}", error.message()))
                .hint("`git for-each-ref` shows whether git itself can read them")
        };
        let references = self.objects.repository().references_glob(&glob).map_err(|error| unread(&error))?;
        for reference in references {
            let reference = reference.map_err(|error| unread(&error))?;
            let Ok(name) = reference.name() else { continue };
            // `origin/HEAD` is a symbolic reference to a branch that is also listed.
            let Some(target) = reference.target() else { continue };
            let (commit, time) = match self.objects.commit(target) {
                Ok(commit) => (commit.id(), commit.time().seconds()),
                // A broken commit must fail only its own revision; the error is reported when its files are read.
                Err(error) if error.is::<Error>() => (target, 0),
                // A tag of a tree or a blob, or a commit that a shallow clone does not have.
                Err(_) => continue,
            };
            let name = ["refs/heads/", "refs/remotes/", "refs/tags/"]
                .iter()
                .find_map(|kind| name.strip_prefix(kind))
                .unwrap_or(name);
            revisions.push(Revision { name: name.to_owned(), commit: commit.to_string(), time });
        }
        Ok(revisions)
    }

    /// The files among `paths` that a revision has.
    pub fn entries(&self, revision: &Revision, paths: &[String]) -> Result<Vec<TreeEntry>> {
        let tree = self.objects.tree(self.objects.commit(Oid::from_str(&revision.commit)?)?.tree_id())?;
        let mut entries = Vec::new();
        for path in paths {
            let found = self.objects.entry(&tree, &self.below.join(path));
            match found.map_err(|error| absent(path, &revision.name, error))? {
                Some(entry) if entry.kind == Some(git2::ObjectType::Blob) && entry.mode != 0o120_000 => {
                    let mode = u32::try_from(entry.mode)? & 0o7777;
                    entries.push(TreeEntry { path: path.clone(), blob: entry.id.to_string(), mode });
                }
                Some(_) => {
                    return Err(Error::refused(format!("`{path}` is not a regular file in `{}`", revision.name)).into());
                }
                None => {}
            }
        }
        Ok(entries)
    }

    /// Reads a blob by its id, which may be abbreviated; `None` if the repository does not have it.
    pub fn blob(&self, id: &str) -> Result<Option<Vec<u8>>> {
        blob(&self.objects, id)
    }

    /// Reads the content of an entry.
    pub fn read(&self, entry: &TreeEntry, revision: &Revision) -> Result<Content> {
        let bytes = self.objects.blob(Oid::from_str(&entry.blob)?);
        let bytes = bytes.map_err(|error| absent(&entry.path, &revision.name, error))?;
        Ok(Content { bytes, mode: entry.mode })
    }
}

fn blob(objects: &Objects, id: &str) -> Result<Option<Vec<u8>>> {
    let Some(id) = objects.abbreviated(id) else { return Ok(None) };
    match objects.blob(id) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is::<Error>() => Err(error),
        Err(_) => Ok(None),
    }
}

fn unreadable(repository: &Repository, what: &str, error: &git2::Error) -> Error {
    let place = repository.path();
    Error::failed(format!("cannot read {what} in `{}`: {}", place.shown(), error.message()))
        .hint(format!("`git -C {} fsck` shows what is damaged", place.shown()))
}

fn absent(path: &str, revision: &str, error: anyhow::Error) -> anyhow::Error {
    let error = match error.downcast::<git2::Error>() {
        Ok(error) => error,
        Err(error) => return error,
    };
    Error::refused(format!("`{path}` of `{revision}` is not in this repository: {}", error.message()))
        .hint(format!("a partial clone leaves blobs out: `git show {revision}:{path}` fetches this one"))
        .into()
}

/// A three-way merge of the changes from `base` to `ours` and from `base` to `theirs`.
///
/// # Errors
/// The merged text with conflict markers, if both changed the same lines.
pub fn merge(base: &[u8], ours: &[u8], theirs: &[u8], labels: [&str; 2]) -> Result<Result<Vec<u8>, Vec<u8>>> {
    let (mut inputs, texts) =
        ([MergeFileInput::new(), MergeFileInput::new(), MergeFileInput::new()], [base, ours, theirs]);
    for (input, text) in inputs.iter_mut().zip(texts) {
        input.content(text);
    }
    let mut options = git2::MergeFileOptions::new();
    options.our_label(labels[0]).their_label(labels[1]);
    let [base, ours, theirs] = &inputs;
    let merged = git2::merge_file(base, ours, theirs, Some(&mut options))?;
    let text = merged.content().to_vec();
    Ok(if merged.is_automergeable() { Ok(text) } else { Err(text) })
}

/// The lines between conflict markers in a merged text.
pub fn conflict_lines(text: &[u8]) -> String {
    let mut shown = String::new();
    let mut inside = false;
    for line in String::from_utf8_lossy(text).lines() {
        inside |= line.starts_with("<<<<<<< ");
        if inside {
            shown.push('\n');
            shown.push_str(line);
        }
        inside &= !line.starts_with(">>>>>>> ");
    }
    shown
}

/// Opens the repository that contains `place`; `None` if there is none.
///
/// libgit2 ignores a git folder that it cannot read, and continues with the repository above it or finds none.
/// rr-patch would then look for its journal in the wrong place, and report a patched checkout as unpatched. Therefore
/// each `.git` that libgit2 ignored is checked here.
fn open(place: &Path) -> Result<Option<Repository>> {
    let limits = std::env::var_os("GIT_CEILING_DIRECTORIES").unwrap_or_default();
    let limits: Vec<PathBuf> = std::env::split_paths(&limits).filter(|limit| limit.is_absolute()).collect();
    match Repository::open_ext(place, RepositoryOpenFlags::empty(), &limits) {
        Ok(repository) => {
            let top = repository.workdir().unwrap_or_else(|| repository.path());
            refuse_passed_over(place, &limits, Some(top))?;
            Ok(Some(repository))
        }
        Err(error) if error.code() == ErrorCode::NotFound => {
            refuse_passed_over(place, &limits, None)?;
            Ok(None)
        }
        Err(error) if error.code() == ErrorCode::Owner => {
            Err(Error::refused(format!("git does not trust `{}`: another user owns it", place.shown()))
                .hint(format!("if you trust it: `git config --global --add safe.directory {}`", place.shown()))
                .into())
        }
        Err(error) if error.message().contains("object format") => {
            let why = error.message();
            Err(Error::refused(format!("the git repository of `{}` cannot be read: {why}", place.shown()))
                .hint("rr-patch's git library supports only SHA-1 repositories; rr-patch also works in a copy without `.git`")
                .into())
        }
        Err(error) => {
            Err(Error::refused(format!("cannot open the git repository of `{}`: {}", place.shown(), error.message()))
                .hint("`git -C PATH status` shows whether git itself can open it")
                .into())
        }
    }
}

/// Refuses a `.git` that libgit2 ignored, between `place` and the `top` of the repository that it found. Like git,
/// the search stops at the folders of GIT_CEILING_DIRECTORIES and at file system boundaries.
fn refuse_passed_over(place: &Path, limits: &[PathBuf], top: Option<&Path>) -> Result<()> {
    let is_limit = |folder: &Path| limits.iter().any(|limit| limit == folder || is_same(limit, folder));
    let device = device(place);
    let within = place.ancestors().take_while(|folder| top.is_none_or(|top| !is_same(top, folder)));
    for folder in within.take_while(|folder| *folder == place || !(is_limit(folder) || self::device(folder) != device))
    {
        let path = folder.join(".git");
        let Some(cause) = why_unusable(&path) else { continue };
        return Err(Error::refused(format!("the git folder of `{}` cannot be read: {cause}", folder.shown()))
            .detail(format!("looked at: `{}`", path.shown()))
            .detail("expected: a git folder, or a file that names one, since rr-patch keeps its journal there")
            .hint(format!(
                "`git -C {} status` shows more; rr-patch also works in a copy without `.git`",
                folder.shown()
            ))
            .into());
    }
    Ok(())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|seen| (seen.dev(), seen.ino())).ok();
    one == other || id(one).is_some_and(|found| id(other) == Some(found))
}

fn device(folder: &Path) -> Option<u64> {
    fs::metadata(folder).map(|seen| seen.dev()).ok()
}

/// Why git cannot use `path` as its `.git`; `None` if it does not exist or is a folder without any of git's files.
fn why_unusable(path: &Path) -> Option<String> {
    let absent = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let link = match fs::symlink_metadata(path) {
        Ok(seen) => seen.is_symlink(),
        Err(error) => return (!absent(&error)).then(|| error.to_string()),
    };
    match fs::metadata(path) {
        Err(error) if link => return Some(format!("it is a link, and {error}")),
        Err(error) => return Some(error.to_string()),
        Ok(seen) if !seen.is_dir() => {
            return Some(match fs::read(path) {
                Ok(text) => {
                    format!(
                        "it is a file that contains `{}`",
                        String::from_utf8_lossy(&text[..text.len().min(200)]).trim()
                    )
                }
                Err(error) => error.to_string(),
            });
        }
        Ok(_) => {}
    }
    let names = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries.into_iter().map(|entry| entry.file_name()).collect::<Vec<_>>(),
        Err(error) => return Some(error.to_string()),
    };
    let part = names.iter().find(|name| ["HEAD", "objects", "refs", "config"].iter().any(|part| *name == part))?;
    let found = match fs::metadata(path.join("HEAD")) {
        Err(error) => format!("its `HEAD`: {error}"),
        Ok(seen) if seen.is_dir() => "its `HEAD` is a folder".into(),
        Ok(_) => match fs::read(path.join("HEAD")) {
            Err(error) => format!("its `HEAD`: {error}"),
            Ok(_) => format!("it has `{}`, but lacks other parts of a repository", part.shown()),
        },
    };
    Some(found)
}

/// The commit that is checked out; `None` before the first commit.
fn head(repository: &Repository) -> Result<Option<String>> {
    let unborn = |code| matches!(code, ErrorCode::UnbornBranch | ErrorCode::NotFound);
    match repository.head() {
        Ok(head) => Ok(head.target().map(|id| id.to_string())),
        Err(error) if unborn(error.code()) => Ok(None),
        Err(error) => {
            let file = repository.path().join("HEAD");
            Err(Error::refused(format!("cannot read `{}`: {}", file.shown(), error.message()))
                .detail("expected: the name of a branch or of a commit")
                .hint("`git symbolic-ref HEAD refs/heads/BRANCH` sets it; `git fsck` shows what else is damaged")
                .into())
        }
    }
}

/// The name of the state folder for an installer in the folder `below` the top of its work tree. Different paths have
/// different names, even if they are not UTF-8.
fn key(below: &Path) -> String {
    if below.as_os_str().is_empty() {
        return "checkout".into();
    }
    let mut key = String::new();
    for chunk in below.as_os_str().as_bytes().utf8_chunks() {
        key.push_str(&chunk.valid().replace('%', "%25").replace('/', "%2F"));
        // Percent signs in the path are already escaped, so this cannot collide.
        chunk.invalid().iter().for_each(|byte| key.push_str(&format!("%{byte:02X}")));
    }
    key
}

/// The name of an unfinished git operation. A bisection does not count: patching during a bisection is supported.
fn under_way(repository: &Repository) -> Option<&'static str> {
    match repository.state() {
        RepositoryState::Clean | RepositoryState::Bisect => None,
        RepositoryState::Merge => Some("merge"),
        RepositoryState::Revert | RepositoryState::RevertSequence => Some("revert"),
        RepositoryState::CherryPick | RepositoryState::CherryPickSequence => Some("cherry-pick"),
        RepositoryState::Rebase | RepositoryState::RebaseInteractive | RepositoryState::RebaseMerge => Some("rebase"),
        RepositoryState::ApplyMailbox | RepositoryState::ApplyMailboxOrRebase => Some("am"),
    }
}

/// The git checkout whose HEAD contains a file: its root, the commit, and the URL of `origin` without login data.
pub fn origin(file: &Path) -> Option<(PathBuf, String, Option<String>)> {
    let repository = Repository::discover(file.parent()?).ok()?;
    let root = repository.workdir()?.to_owned();
    let objects = Objects::new(repository);
    let commit = objects.commit(objects.repository().head().ok()?.target()?).ok()?;
    // The file must be in the commit: a home folder under git, for example, contains many files of other projects.
    objects.entry(&objects.tree(commit.tree_id()).ok()?, file.strip_prefix(&root).ok()?).ok()??;
    let remote = objects.repository().find_remote("origin").ok();
    let remote = remote.and_then(|remote| remote.url().map(without_login).ok());
    Some((root.clone(), commit.id().to_string(), remote))
}

/// A URL without the part before `@`. `git@host:path` is returned unchanged, because it has no secret.
fn without_login(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.into() };
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_another_for_every_path_and_as_before_for_text() {
        use std::ffi::OsStr;
        let of = |bytes: &[u8]| key(Path::new(OsStr::from_bytes(bytes)));
        let told = [&b""[..], b"third_party/installer", b"50%", "\u{e4}".as_bytes()].map(of);
        assert_eq!(told, ["checkout", "third_party%2Finstaller", "50%25", "\u{e4}"]);
        let mut keys = [&b"a\xff"[..], b"a\xfe", b"a%FF", b"a%25FF", "a\u{fffd}".as_bytes(), b"a\xef\xbf"].map(of);
        assert_eq!(keys[0], "a%FF");
        keys.sort();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
    }

    #[test]
    fn addresses_are_told_without_their_logins() {
        let told = ["https://me:secret@host.example/a/b", "https://token@host.example", "git@host.example:a/b", "/a/b"];
        let told = told.map(without_login);
        assert_eq!(told, ["https://host.example/a/b", "https://host.example", "git@host.example:a/b", "/a/b"]);
    }
}
