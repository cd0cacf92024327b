//! The controllers that lie in `cluster-api/bin`, and which of them must not be embedded again.
//!
//! The Makefile's targets depend on each provider's go.mod and on nothing else. So make takes what a
//! release build left for done, and build.sh zips whatever lies there. A file that is removed is made
//! anew; most of what it is made of is in Go's cache. That has to be a removal: where a cut-off
//! binary lies, `go build` reads the build id in its head and says that it is up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Serialize;

use super::platforms::PROVIDERS;
use super::toolchain::{Toolchain, Toolchains, replaced_by_folders};
use crate::binary::Facts;
use crate::error::{Error, Shown};
use crate::patch::build_lock::{TICK, Unfinished, written_since};
use crate::patch::checkout::Checkout;
use crate::sys::process::Environment;
use crate::sys::write;
use crate::words::seconds;

/// The folder of folders that make builds into.
pub const BIN: &str = "cluster-api/bin";

/// Where controllers wait that this build does not embed. Neither the shell's `*` nor the Makefile's
/// `bin/*` sees it.
const ASIDE: &str = "cluster-api/bin/.rr-patch-aside";

/// The core controller's binary, which is no provider.
pub const CORE: &str = "cluster-api";

/// What the name of a provider's binary begins with.
pub const PROVIDER: &str = "cluster-api-provider-";

/// Whether a binary of this name is one of the controllers that make builds.
pub fn is_controller(name: &str) -> bool {
    name == CORE || name.starts_with(PROVIDER)
}

/// Something that was removed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Removed {
    pub path: String,
    pub why: String,
}

/// The sources of one controller.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    newest: Option<(SystemTime, PathBuf)>,
    /// How many bytes of Go they hold, vendored ones included.
    pub bytes: u64,
}

/// How controllers have to be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    Dynamic,
    Static,
    /// This machine could not make a dynamic one, and one that is there is welcome.
    Either,
}

/// How controllers have to be built.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub linked: Linked,
    /// With the chaos overlay.
    pub chaos: bool,
}

/// The controllers of a checkout for one system and architecture.
pub struct Controllers<'a> {
    checkout: &'a Checkout,
    target: String,
    sources: BTreeMap<String, Sources>,
}

impl<'a> Controllers<'a> {
    /// Looks at the sources of the core controller and of some providers.
    pub fn survey(checkout: &'a Checkout, target: String, providers: &BTreeSet<String>) -> Self {
        let names = providers.iter().map(|name| format!("{PROVIDER}{name}")).chain([CORE.to_owned()]);
        let work: Vec<(String, PathBuf)> = names.map(|name| (name.clone(), checkout.locate(&module(&name)))).collect();
        // 80,000 files take a third of a second, of which most is waiting for the file system.
        let sources = thread::scope(|scope| {
            let looks: Vec<_> =
                work.iter().map(|(name, folder)| (name.clone(), scope.spawn(|| survey_module(folder)))).collect();
            looks.into_iter().map(|(name, look)| (name, look.join().unwrap_or_default())).collect()
        });
        Self { checkout, target, sources }
    }

    /// `cluster-api/bin/linux_amd64`.
    pub fn folder(&self) -> String {
        format!("{BIN}/{}", self.target)
    }

    /// The names of the controllers that are to be embedded, and the sources of each.
    pub fn sources(&self) -> &BTreeMap<String, Sources> {
        &self.sources
    }

    /// The files that lie there and are named like controllers.
    pub fn there(&self) -> Result<Vec<String>> {
        let names = names_in(&self.checkout.locate(&self.folder()))?;
        Ok(names.into_iter().filter(|name| is_controller(name)).collect())
    }

    /// What lies there and must not be trusted, each with the reason.
    pub fn stale(
        &self,
        way: Way,
        environment: &Environment,
        toolchains: &mut Toolchains,
        unfinished: Option<Unfinished>,
        providers: &BTreeSet<String>,
    ) -> Result<Vec<Removed>> {
        let folder = self.checkout.locate(&self.folder());
        let mut stale = Vec::new();
        for name in names_in(&folder)? {
            let path = folder.join(&name);
            let controller = is_controller(&name);
            let why = match unfinished.filter(|left| written_since(&path, left.since)) {
                Some(left) if left.killed => Some("an earlier build was ended while it wrote this".to_owned()),
                Some(_) if !controller => Some("an earlier build failed after it began to write this".to_owned()),
                _ if !controller => None,
                _ => self.reason(&name, &path, way, environment, toolchains, providers)?,
            };
            stale.extend(why.map(|why| Removed { path: format!("{}/{name}", self.folder()), why }));
        }
        Ok(stale)
    }

    /// Why a controller must be built anew, if it must.
    fn reason(
        &self,
        name: &str,
        path: &Path,
        way: Way,
        environment: &Environment,
        toolchains: &mut Toolchains,
        providers: &BTreeSet<String>,
    ) -> Result<Option<String>> {
        if name.strip_prefix(PROVIDER).is_some_and(|provider| !providers.contains(provider)) {
            return Ok(Some("this checkout has no such provider".into()));
        }
        let facts = match Facts::read_summary(path) {
            Ok(facts) => facts,
            Err(error) => {
                let details = error.downcast_ref::<Error>().map(|known| known.details().join("; "));
                return Ok(Some(format!("it is no whole program: {}", details.unwrap_or_else(|| error.to_string()))));
            }
        };
        let toolchain = toolchains.of(&self.checkout.locate(&module(name)), environment)?;
        Ok(built_otherwise(&facts, way, toolchain).or_else(|| self.older_than_sources(name, path)))
    }

    fn older_than_sources(&self, name: &str, path: &Path) -> Option<String> {
        let written = fs::metadata(path).and_then(|seen| seen.modified()).ok()?;
        let (changed, source) = self.sources.get(name)?.newest.as_ref()?;
        let newer = changed.duration_since(written).ok().filter(|by| *by > Duration::ZERO)?;
        let shown = source.strip_prefix(self.checkout.root()).unwrap_or(source).shown();
        let by = seconds(newer);
        Some(match source.is_dir() {
            true => format!("a file was added to `{shown}` or removed from it {by} later"),
            false => format!("`{shown}` is newer, by {by}"),
        })
    }

    /// Whether a controller has to be made: it is not there, or is among what is stale.
    pub fn to_be_made(&self, stale: &[Removed]) -> Vec<&str> {
        let missing = |name: &&str| {
            let path = format!("{}/{name}", self.folder());
            !self.checkout.locate(&path).is_file() || stale.iter().any(|removed| removed.path == path)
        };
        self.sources.keys().map(String::as_str).filter(missing).collect()
    }

    /// Gives what was made since then the time at which its making began, or a little earlier, since
    /// file systems keep the time of a tick: a source that was edited meanwhile is newer than that.
    pub fn date(&self, began: SystemTime) -> Result<()> {
        for name in self.there()? {
            let path = self.checkout.locate(&self.folder()).join(name);
            if written_since(&path, began) {
                File::open(&path)
                    .and_then(|file| file.set_modified(began - TICK))
                    .with_context(|| format!("cannot set the time of `{}`", path.shown()))?;
            }
        }
        Ok(())
    }
}

/// How a controller differs from what would be built now.
fn built_otherwise(facts: &Facts, Way { linked, chaos }: Way, toolchain: &Toolchain) -> Option<String> {
    let setting = |name: &str| facts.settings.get(name).map(String::as_str).unwrap_or_default();
    if !facts.dwarf {
        return Some(match &facts.dwarf_error {
            Some(why) => format!("its debug information cannot be read: {why}"),
            None => "it has no debug information: it was built with `-s -w`".into(),
        });
    }
    if facts.stripped {
        return Some("it is stripped of its symbols".into());
    }
    if facts.optimised == Some(true) {
        return Some("it was built with optimisation: without `-gcflags=all=-N -l`".into());
    }
    let release = |version: &str| version.split_whitespace().next().unwrap_or_default().to_owned();
    let (was, is) = (release(facts.go.as_deref().unwrap_or_default()), release(toolchain.version()));
    if was != is {
        return Some(format!("it was built with {was}, and {is} will build"));
    }
    if facts.chaos != chaos {
        let with = if facts.chaos { "with" } else { "without" };
        return Some(format!("it was built {with} the chaos overlay"));
    }
    let cgo = setting("CGO_ENABLED");
    match linked {
        Linked::Dynamic if cgo == "0" => {
            return Some("it is linked statically: recording it would take many times as long".into());
        }
        Linked::Static if cgo == "1" => return Some("it was built with cgo, and is asked for without".into()),
        _ => {}
    }
    for name in ["GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOARM", "GO386", "GOPPC64", "GOEXPERIMENT"] {
        let (was, is) = (setting(name), toolchain.get(name));
        if was != is && facts.settings.contains_key(name) {
            return Some(format!("it was built with {name}={was}, and {name}={is} is set"));
        }
    }
    for flag in ["-tags", "-trimpath", "-race", "-msan", "-asan"] {
        let (was, is) = (setting(flag), flag_in(toolchain.get("GOFLAGS"), flag));
        if was != is {
            let told = |value: &str| match value {
                "" => format!("without {flag}"),
                "true" => format!("with {flag}"),
                value => format!("with {flag}={value}"),
            };
            return Some(format!("it was built {}, and GOFLAGS builds {}", told(was), told(is)));
        }
    }
    None
}

/// The value of a flag in GOFLAGS; `true` for one without.
fn flag_in<'a>(flags: &'a str, flag: &str) -> &'a str {
    let value = |word: &'a str| {
        let word = word.trim_matches(['\'', '"']);
        let rest = word.strip_prefix(flag).or_else(|| word.strip_prefix('-')?.strip_prefix(flag))?;
        match rest.strip_prefix('=') {
            Some("false") => Some(""),
            Some(value) => Some(value),
            None => rest.is_empty().then_some("true"),
        }
    };
    flags.split_whitespace().filter_map(value).next_back().unwrap_or_default()
}

/// The folder of a controller's module.
pub fn module(name: &str) -> String {
    match name.strip_prefix(PROVIDER) {
        Some(provider) => format!("{PROVIDERS}/{provider}"),
        None => "cluster-api/cluster-api".into(),
    }
}

/// A module with the folders beside it that it takes packages from.
fn survey_module(folder: &Path) -> Sources {
    let mut sources = Sources::default();
    survey(folder, &mut sources);
    for folder in replaced_by_folders(folder) {
        survey(&folder, &mut sources);
    }
    sources
}

/// The newest of what Go reads below a folder, and how much of it is Go. Folders count too: one
/// changes when a file in it goes.
pub fn survey(folder: &Path, sources: &mut Sources) {
    let mut folders = vec![folder.to_owned()];
    let mut see = |path: &Path, seen: &fs::Metadata| {
        if path.extension().is_some_and(|extension| extension == "go") {
            sources.bytes += seen.len();
        }
        let Ok(changed) = seen.modified() else { return };
        if sources.newest.as_ref().is_none_or(|(newest, _)| changed > *newest) {
            sources.newest = Some((changed, path.to_owned()));
        }
    };
    if let Ok(seen) = fs::metadata(folder) {
        see(folder, &seen);
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            if name.ends_with(b"_test.go") || name.starts_with(b".") || name.ends_with(b".md") {
                continue;
            }
            let (path, Ok(seen)) = (entry.path(), entry.metadata()) else { continue };
            see(&path, &seen);
            if seen.is_dir() {
                folders.push(path);
            }
        }
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read `{}`", folder.shown()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read `{}`", folder.shown()))?;
        if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Controllers that wait outside the folder that build.sh zips, and go back when this is dropped.
#[derive(Debug, Default)]
pub struct Stash {
    moved: Vec<(PathBuf, PathBuf)>,
}

impl Stash {
    /// Moves some controllers away.
    pub fn put(checkout: &Checkout, target: &str, names: &[String]) -> Result<Self> {
        let mut aside = Self::default();
        let folder = checkout.locate(ASIDE).join(target);
        for name in names {
            fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.shown()))?;
            let (from, to) = (checkout.locate(BIN).join(target).join(name), folder.join(name));
            fs::rename(&from, &to).with_context(|| format!("cannot move `{}` away", from.shown()))?;
            aside.moved.push((from, to));
        }
        Ok(aside)
    }

    /// Puts back what a build moved away that did not come to its end.
    pub fn recover(checkout: &Checkout) -> Result<()> {
        let folder = checkout.locate(ASIDE);
        for target in fs::read_dir(&folder).into_iter().flatten().flatten() {
            for name in names_in(&target.path())? {
                let (from, to) = (target.path().join(&name), checkout.locate(BIN).join(target.file_name()).join(&name));
                // One that has been built since is the better one.
                if to.exists() {
                    write::remove(&from)?;
                } else {
                    fs::rename(&from, &to).with_context(|| format!("cannot put `{}` back", to.shown()))?;
                }
            }
            let _ = fs::remove_dir(target.path());
        }
        let _ = fs::remove_dir(&folder);
        Ok(())
    }
}

impl Drop for Stash {
    fn drop(&mut self) {
        for (from, to) in &self.moved {
            // What stays there is put back by the next build.
            let _ = fs::rename(to, from);
        }
        for folder in self.moved.first().into_iter().flat_map(|(_, to)| to.ancestors().skip(1).take(2)) {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_goflags_and_the_last_one_holds() {
        assert_eq!(flag_in("-mod=vendor -trimpath", "-trimpath"), "true");
        assert_eq!(flag_in("-tags=a,b --tags=c", "-tags"), "c");
        assert_eq!(flag_in("-race -race=false", "-race"), "");
        assert_eq!(flag_in("-tagset=x", "-tags"), "");
    }

    #[test]
    fn a_controller_is_stale_by_what_it_says_of_its_build() {
        let toolchain = Toolchain::of([("GOVERSION", "go1.26.8"), ("GOAMD64", "v1"), ("GOFLAGS", "-mod=vendor")]);
        let settings =
            [("CGO_ENABLED", "0"), ("GOAMD64", "v1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let good = Facts {
            go: Some("go1.26.8".into()),
            dwarf: true,
            optimised: Some(false),
            settings: settings.into(),
            ..Facts::default()
        };
        let why = |facts: &Facts, linked| {
            built_otherwise(facts, Way { linked, chaos: false }, &toolchain).unwrap_or_default()
        };
        assert_eq!(why(&good, Linked::Static) + &why(&good, Linked::Either), "");
        assert!(why(&good, Linked::Dynamic).contains("linked statically"));
        assert!(why(&Facts { dwarf: false, ..good.clone() }, Linked::Static).contains("-s -w"));
        assert!(why(&Facts { optimised: Some(true), ..good.clone() }, Linked::Static).contains("-N -l"));
        let old = Facts { go: Some("go1.23.5".into()), ..good.clone() };
        assert_eq!(why(&old, Linked::Static), "it was built with go1.23.5, and go1.26.8 will build");
        let chaos = Facts { chaos: true, ..good.clone() };
        assert_eq!(why(&chaos, Linked::Static), "it was built with the chaos overlay");
        let way = Way { linked: Linked::Static, chaos: true };
        let without = built_otherwise(&good, way, &toolchain).unwrap();
        assert_eq!(without, "it was built without the chaos overlay");
        let mut trimmed = good.clone();
        trimmed.settings.insert("-trimpath".into(), "true".into());
        assert_eq!(why(&trimmed, Linked::Static), "it was built with -trimpath, and GOFLAGS builds without -trimpath");
        let mut newer = good;
        newer.settings.insert("GOAMD64".into(), "v3".into());
        assert_eq!(why(&newer, Linked::Static), "it was built with GOAMD64=v3, and GOAMD64=v1 is set");
    }
}
