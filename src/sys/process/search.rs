//! The search path for programs: PATH, then the Go that scripts/setup put into the user's cache.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The oldest Go that can download the toolchain that a go.mod requires.
const OLDEST: (u32, u32) = (1, 21);

/// The PATH of child processes, unless they are given another one; `None` if it is not set.
pub fn search_path() -> Option<&'static OsStr> {
    static PATH: OnceLock<Option<OsString>> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let path = std::env::var_os("PATH")?;
        Some(match cache(|name| std::env::var_os(name)) {
            Some(cache) => with_go(&path, &cache.join("rr-patch/go/bin")),
            None => path,
        })
    });
    path.as_deref()
}

/// The user's cache folder, by the same rules as in scripts/setup.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))).filter(|folder| folder.is_absolute())
}

/// Adds the folder of a Go to a PATH: at the end if PATH has no Go, at the front if its Go is too old.
fn with_go(path: &OsStr, folder: &Path) -> OsString {
    if !is_program(&folder.join("go")) {
        return path.to_owned();
    }
    let folders = || std::env::split_paths(path);
    let found = folders().map(|folder| folder.join("go")).find(|go| go.is_absolute() && is_program(go));
    let added = std::iter::once(folder.to_owned());
    let joined = match found {
        None => std::env::join_paths(folders().chain(added)),
        Some(go) if release(&go).is_some_and(|release| release < OLDEST) => {
            std::env::join_paths(added.chain(folders()))
        }
        Some(_) => return path.to_owned(),
    };
    // Joining fails only if a folder's name contains a colon.
    joined.unwrap_or_else(|_| path.to_owned())
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|seen| seen.is_file() && seen.permissions().mode() & 0o111 != 0)
}

/// The release of a Go, from the file VERSION in its GOROOT, for example `go1.19.8`.
fn release(go: &Path) -> Option<(u32, u32)> {
    let root = go.canonicalize().ok()?.parent()?.parent()?.to_owned();
    let version = fs::read_to_string(root.join("VERSION")).ok()?;
    let mut numbers = version.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a GOROOT with a Go of this release.
    fn goroot(folder: &Path, release: &str) -> PathBuf {
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::write(folder.join("VERSION"), format!("{release}\ntime 2026-01-01T00:00:00Z\n")).unwrap();
        fs::write(folder.join("bin/go"), "").unwrap();
        fs::set_permissions(folder.join("bin/go"), fs::Permissions::from_mode(0o755)).unwrap();
        folder.join("bin")
    }

    #[test]
    fn the_go_of_the_cache_comes_last_and_only_before_one_that_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (old, new) = (goroot(&at("old"), "go1.19.8"), goroot(&at("new"), "go1.21.0"));
        let path = |folders: &[&Path]| std::env::join_paths(folders).unwrap();
        let bin = Path::new("/nonexistent/bin");

        let cached = at("cache/bin");
        assert_eq!(with_go(&path(&[bin]), &cached), path(&[bin]), "there is none in the cache");
        let cached = goroot(&at("cache"), "go1.27.3");
        assert_eq!(with_go(&path(&[bin]), &cached), path(&[bin, &cached]));
        assert_eq!(with_go(&path(&[bin, &new]), &cached), path(&[bin, &new]));
        assert_eq!(with_go(&path(&[bin, &old]), &cached), path(&[&cached, bin, &old]));
        // Debian links /usr/bin/go in this way.
        fs::create_dir(at("links")).unwrap();
        std::os::unix::fs::symlink(old.join("go"), at("links/go")).unwrap();
        assert_eq!(with_go(&path(&[&at("links")]), &cached), path(&[&cached, &at("links")]));
    }

    #[test]
    fn the_cache_is_xdg_cache_home_or_below_home() {
        let of = |variables: &[(&str, &str)]| {
            cache(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        assert_eq!(of(&[("HOME", "/home/a")]), Some("/home/a/.cache".into()));
        assert_eq!(of(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "")]), Some("/home/a/.cache".into()));
        assert_eq!(of(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/var/c")]), Some("/var/c".into()));
        assert_eq!(of(&[]), None);
    }
}
