//! Which system calls change something, and which files they name.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use nix::libc::{self, c_long};

/// A call that changes something, or would.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its place among such calls of the program, from 1.
    pub number: usize,
    pub pid: i32,
    pub name: &'static str,
    pub kind: Kind,
    /// The files that it names: two for a rename or a link.
    pub paths: Vec<PathBuf>,
    /// The descriptor that it names.
    pub descriptor: Option<i32>,
    /// What the kernel returned: after the call only.
    pub result: Option<i64>,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens a file that it may create or empty.
    Open,
    Write,
    Truncate,
    Sync,
    /// Syncs a whole file system.
    SyncAll,
    Rename,
    Exchange,
    Link,
    Unlink,
    MakeFolder,
    RemoveFolder,
    /// Mode, owner, times, extended attributes.
    Attributes,
    Lock,
    Lease,
    /// A shared mapping that can be written to.
    Map,
}

/// Where a call's arguments name files.
#[derive(Clone, Copy)]
enum Names {
    /// A descriptor.
    Fd(usize),
    /// A path.
    Path(usize),
    /// A path below a folder's descriptor.
    At(usize, usize),
    /// Two of those.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only older processors have such calls"))]
    TwoPaths(usize, usize),
    TwoAt([usize; 4]),
}

/// Numbers, names and arguments of the calls.
const CALLS: &[(c_long, &str, Kind, Names)] = &[
    (libc::SYS_openat, "openat", Kind::Open, Names::At(0, 1)),
    (libc::SYS_openat2, "openat2", Kind::Open, Names::At(0, 1)),
    (libc::SYS_write, "write", Kind::Write, Names::Fd(0)),
    (libc::SYS_pwrite64, "pwrite64", Kind::Write, Names::Fd(0)),
    (libc::SYS_writev, "writev", Kind::Write, Names::Fd(0)),
    (libc::SYS_pwritev, "pwritev", Kind::Write, Names::Fd(0)),
    (libc::SYS_pwritev2, "pwritev2", Kind::Write, Names::Fd(0)),
    (libc::SYS_copy_file_range, "copy_file_range", Kind::Write, Names::Fd(2)),
    (libc::SYS_sendfile, "sendfile", Kind::Write, Names::Fd(0)),
    (libc::SYS_ftruncate, "ftruncate", Kind::Truncate, Names::Fd(0)),
    (libc::SYS_truncate, "truncate", Kind::Truncate, Names::Path(0)),
    (libc::SYS_fallocate, "fallocate", Kind::Truncate, Names::Fd(0)),
    (libc::SYS_fsync, "fsync", Kind::Sync, Names::Fd(0)),
    (libc::SYS_fdatasync, "fdatasync", Kind::Sync, Names::Fd(0)),
    (libc::SYS_sync_file_range, "sync_file_range", Kind::Sync, Names::Fd(0)),
    (libc::SYS_syncfs, "syncfs", Kind::SyncAll, Names::Fd(0)),
    (libc::SYS_renameat, "renameat", Kind::Rename, Names::TwoAt([0, 1, 2, 3])),
    (libc::SYS_renameat2, "renameat2", Kind::Rename, Names::TwoAt([0, 1, 2, 3])),
    (libc::SYS_linkat, "linkat", Kind::Link, Names::TwoAt([0, 1, 2, 3])),
    (libc::SYS_symlinkat, "symlinkat", Kind::Link, Names::At(1, 2)),
    (libc::SYS_mknodat, "mknodat", Kind::Link, Names::At(0, 1)),
    (libc::SYS_unlinkat, "unlinkat", Kind::Unlink, Names::At(0, 1)),
    (libc::SYS_mkdirat, "mkdirat", Kind::MakeFolder, Names::At(0, 1)),
    (libc::SYS_fchmod, "fchmod", Kind::Attributes, Names::Fd(0)),
    (libc::SYS_fchmodat, "fchmodat", Kind::Attributes, Names::At(0, 1)),
    (libc::SYS_fchown, "fchown", Kind::Attributes, Names::Fd(0)),
    (libc::SYS_fchownat, "fchownat", Kind::Attributes, Names::At(0, 1)),
    (libc::SYS_utimensat, "utimensat", Kind::Attributes, Names::At(0, 1)),
    (libc::SYS_fsetxattr, "fsetxattr", Kind::Attributes, Names::Fd(0)),
    (libc::SYS_fremovexattr, "fremovexattr", Kind::Attributes, Names::Fd(0)),
    (libc::SYS_setxattr, "setxattr", Kind::Attributes, Names::Path(0)),
    (libc::SYS_lsetxattr, "lsetxattr", Kind::Attributes, Names::Path(0)),
    (libc::SYS_removexattr, "removexattr", Kind::Attributes, Names::Path(0)),
    (libc::SYS_lremovexattr, "lremovexattr", Kind::Attributes, Names::Path(0)),
    (libc::SYS_flock, "flock", Kind::Lock, Names::Fd(0)),
    (libc::SYS_fcntl, "fcntl", Kind::Lock, Names::Fd(0)),
    (libc::SYS_ioctl, "ioctl", Kind::Write, Names::Fd(0)),
    (libc::SYS_mmap, "mmap", Kind::Map, Names::Fd(4)),
];

/// Those that newer processors no longer have.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(c_long, &str, Kind, Names)] = &[
    (libc::SYS_open, "open", Kind::Open, Names::Path(0)),
    (libc::SYS_creat, "creat", Kind::Open, Names::Path(0)),
    (libc::SYS_rename, "rename", Kind::Rename, Names::TwoPaths(0, 1)),
    (libc::SYS_link, "link", Kind::Link, Names::TwoPaths(0, 1)),
    (libc::SYS_symlink, "symlink", Kind::Link, Names::Path(1)),
    (libc::SYS_mknod, "mknod", Kind::Link, Names::Path(0)),
    (libc::SYS_unlink, "unlink", Kind::Unlink, Names::Path(0)),
    (libc::SYS_mkdir, "mkdir", Kind::MakeFolder, Names::Path(0)),
    (libc::SYS_rmdir, "rmdir", Kind::RemoveFolder, Names::Path(0)),
    (libc::SYS_chmod, "chmod", Kind::Attributes, Names::Path(0)),
    (libc::SYS_chown, "chown", Kind::Attributes, Names::Path(0)),
    (libc::SYS_lchown, "lchown", Kind::Attributes, Names::Path(0)),
    (libc::SYS_utimes, "utimes", Kind::Attributes, Names::Path(0)),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(c_long, &str, Kind, Names)] = &[];

/// The call that a stopped thread is about to make, if it may change something in one of the folders `below`.
pub fn decode(pid: i32, number: i64, arguments: [u64; 6], below: &[&Path]) -> Option<Call> {
    let &(_, name, kind, names) = CALLS.iter().chain(OLD_CALLS).find(|(known, ..)| *known == number)?;
    let kind = refine(pid, name, kind, arguments)?;
    let at = |folder: usize, path: usize| resolve(pid, low(arguments[folder]), &text(pid, arguments[path])?);
    let plain = |path: usize| resolve(pid, libc::AT_FDCWD, &text(pid, arguments[path])?);
    let mut descriptor = None;
    let paths = match names {
        Names::Fd(n) => {
            descriptor = Some(low(arguments[n]));
            vec![link(pid, low(arguments[n]))?]
        }
        // futimens(3) names a descriptor and no path.
        Names::At(n, path) if arguments[path] == 0 => {
            descriptor = Some(low(arguments[n]));
            vec![link(pid, low(arguments[n]))?]
        }
        Names::Path(n) => vec![plain(n)?],
        Names::At(folder, path) => vec![at(folder, path)?],
        Names::TwoPaths(from, to) => vec![plain(from)?, plain(to)?],
        Names::TwoAt([a, b, c, d]) => vec![at(a, b)?, at(c, d)?],
    };
    let ours = paths.iter().any(|path| below.iter().any(|folder| path.starts_with(folder)));
    ours.then_some(Call { number: 0, pid, name, kind, paths, descriptor, result: None })
}

/// The kind of a call by its flags; nothing for one that changes nothing.
fn refine(pid: i32, name: &str, kind: Kind, arguments: [u64; 6]) -> Option<Kind> {
    let creating = |flags: u64| low(flags) & (libc::O_CREAT | libc::O_TRUNC) != 0 || temporary(low(flags));
    let changes = match name {
        "open" => creating(arguments[1]),
        "openat" => creating(arguments[2]),
        "openat2" => creating(word(pid, arguments[2])?),
        "fcntl" => {
            let lock = [libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_SETLK, libc::F_OFD_SETLKW];
            if low(arguments[1]) == libc::F_SETLEASE {
                return Some(Kind::Lease);
            }
            lock.contains(&low(arguments[1]))
        }
        // FICLONE and FICLONERANGE share blocks of another file.
        "ioctl" => [0x4004_9409, 0x4020_940d].contains(&arguments[1]),
        "mmap" => low(arguments[2]) & libc::PROT_WRITE != 0 && low(arguments[3]) & libc::MAP_SHARED != 0,
        "unlinkat" if low(arguments[2]) & libc::AT_REMOVEDIR != 0 => return Some(Kind::RemoveFolder),
        "renameat2" if arguments[4] & u64::from(libc::RENAME_EXCHANGE) != 0 => return Some(Kind::Exchange),
        _ => true,
    };
    changes.then_some(kind)
}

fn temporary(flags: i32) -> bool {
    flags & libc::O_TMPFILE == libc::O_TMPFILE
}

/// The lower half of a register: descriptors and flags are ints.
#[expect(clippy::cast_possible_truncation, reason = "the upper half of such a register means nothing")]
fn low(register: u64) -> i32 {
    (register as u32).cast_signed()
}

/// A text of the thread's memory. Paths are shorter than a page.
fn text(pid: i32, address: u64) -> Option<Vec<u8>> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = Vec::new();
    // A page at a time: the next one may not be mapped.
    while bytes.len() < 8192 {
        let at = address + bytes.len() as u64;
        let mut part = vec![0; usize::try_from(4096 - at % 4096).ok()?];
        memory.read_exact_at(&mut part, at).ok()?;
        match part.iter().position(|&byte| byte == 0) {
            Some(end) => {
                bytes.extend(&part[..end]);
                return Some(bytes);
            }
            None => bytes.extend(part),
        }
    }
    None
}

fn word(pid: i32, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut bytes, address).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

/// What a descriptor is open on. Pipes and sockets have no such path.
fn link(pid: i32, descriptor: i32) -> Option<PathBuf> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
    link.is_absolute().then_some(link)
}

fn resolve(pid: i32, folder: i32, path: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let start = match folder {
        _ if path.is_absolute() => PathBuf::new(),
        libc::AT_FDCWD => fs::read_link(format!("/proc/{pid}/cwd")).ok()?,
        descriptor => link(pid, descriptor)?,
    };
    let mut whole = PathBuf::new();
    for part in start.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
    }
    Some(whole)
}

impl Call {
    /// The file behind its descriptor, also if that has no name any more.
    pub fn held(&self) -> Option<PathBuf> {
        Some(format!("/proc/{}/fd/{}", self.pid, self.descriptor?).into())
    }
}

/// Temporary names are random, so they are left out, and so is what lies above a tree.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &PathBuf| {
            let root = path.ancestors().find(|folder| folder.ends_with("tree"));
            let below = root.and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path);
            let part = |part: Component| {
                let part = part.as_os_str().to_string_lossy().into_owned();
                if part.starts_with(".rr-patch-") { ".rr-patch-*".to_owned() } else { part }
            };
            below.components().map(part).collect::<PathBuf>().display().to_string()
        };
        write!(f, "{}({})", self.name, self.paths.iter().map(name).collect::<Vec<_>>().join(" → "))
    }
}
