//! The two calls that no package offers as safe functions. The rest of the crate has no unsafe code.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Once;

/// Makes libgit2 sync each object, reference and index that it writes, and their folders. The setting is global for
/// the process: one call covers every repository.
pub fn sync_git_writes() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        libgit2_sys::init();
        // SAFETY: `GIT_OPT_ENABLE_FSYNC_GITDIR` takes one int (libgit2's include/git2/common.h) and writes one
        // global. It must be called before this process writes, and it is.
        unsafe {
            libgit2_sys::git_libgit2_opts(libgit2_sys::GIT_OPT_ENABLE_FSYNC_GITDIR.cast_signed(), 1);
        }
    });
}

/// Whether any process, including this one, has the file open for writing.
///
/// The kernel grants a read lease only if no process has the file open for writing (fcntl(2), `F_SETLEASE`). The
/// lease is taken and returned at once. The caller has renamed the file to a name that no other program uses, so no
/// other program opens it while the lease is held; otherwise this process would get a signal.
///
/// # Errors
/// A file system without leases, a file of another owner.
pub fn is_open_for_writing(read_only: &File) -> io::Result<bool> {
    let lease = |kind: libc::c_int| {
        // SAFETY: `F_SETLEASE` takes one int and touches no memory of this process.
        match unsafe { libc::fcntl(read_only.as_raw_fd(), libc::F_SETLEASE, kind) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    match lease(libc::F_RDLCK) {
        Ok(()) => lease(libc::F_UNLCK).map(|()| false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_open_for_writing_as_long_as_somebody_holds_it_so() {
        let path = std::env::temp_dir().join(format!("rr-patch-lease-{}", std::process::id()));
        let held = File::create(&path).unwrap();
        let reading = File::open(&path).unwrap();
        let _another_reader = File::open(&path).unwrap();
        assert!(is_open_for_writing(&reading).unwrap());
        drop(held);
        assert!(!is_open_for_writing(&reading).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
