//! Before the build: what is asked for, whether all that it needs is there, and what an earlier build
//! left that must go. Nothing is removed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::Result;
use procfs::Current;

use super::chaos::Library;
use super::clean::{ZIP, generated, half_zips};
use super::controllers::{Controllers, Linked, PROVIDER, Removed, Sources, Stash, Way, module, survey};
use super::linking::{Link, Linking};
use super::overlay;
use super::platforms::Platforms;
use super::prerequisites::{self, Space, is_set, value};
use super::revision::{self, Terraform};
use super::script::{SCRIPT, Scripts, version};
use super::toolchain::{Toolchain, Toolchains};
use crate::binary::Facts;
use crate::doctor::{Distribution, Host};
use crate::error::{Error, Exit, Shown, exit};
use crate::patch::build_lock::{BuildLock, Unfinished, written_since};
use crate::patch::checkout::Checkout;
use crate::patch::plan::Plan;
use crate::patch::rules::Rules;
use crate::sys::process::Environment;
use crate::words::{bytes, count};

/// What is asked for.
#[derive(Debug, Default)]
pub struct Request {
    /// For build.sh.
    pub arguments: Vec<String>,
    /// For build.sh, on top of `MODE=dev` and `TAGS=release`.
    pub environment: Environment,
    /// The platforms whose providers are built; all providers if none is named.
    pub platforms: Vec<String>,
    /// How many controllers make builds side by side.
    pub jobs: Option<usize>,
    pub link: Link,
    /// The installer has to carry the patch.
    pub patched: bool,
    /// The changes that the build reads from an overlay, and not from the checkout.
    pub overlay: Option<Plan>,
    /// The rules by which controllers get the chaos overlay.
    pub chaos: Option<Arc<Rules>>,
    /// What earlier builds made is removed first.
    pub clean: bool,
    /// The command line, for whoever finds the checkout locked.
    pub command: String,
}

/// A build that can begin. Its lock is held.
pub struct Prepared<'a> {
    pub(super) checkout: &'a Checkout,
    pub(super) request: &'a Request,
    pub(super) lock: BuildLock,
    /// All that is set on top of our own environment.
    pub(super) environment: Environment,
    pub(super) controllers: Controllers<'a>,
    /// The Go of each controller that is to be embedded.
    pub(super) go: BTreeMap<String, String>,
    /// What becomes of the library of each Go that builds a controller.
    pub(super) chaos: Vec<Library>,
    pub installer: PathBuf,
    pub toolchain: Toolchain,
    pub platforms: Platforms,
    /// The providers that the installer will have.
    pub selected: BTreeSet<String>,
    pub linking: Linking,
    pub jobs: usize,
    /// What becomes of Terraform, where build.sh knows of it.
    pub terraform: Option<Terraform>,
    pub removed: Vec<Removed>,
    /// Controllers that lie there, and are not embedded this time.
    pub aside: Vec<String>,
    /// The controllers that are made.
    pub to_be_made: Vec<String>,
    /// What the user should know, and no obstacle.
    pub notes: Vec<String>,
}

/// The folder in the state folder that holds links to toolchains. They stay, since debug information goes by them.
const LINKS: &str = "go";

/// What one of make's jobs may hold in memory, as far as it does not grow with the processors: the link of a
/// large controller, or its largest package, which took 2.0 and 1.6 GiB. Other compilations come on top,
/// and Go runs one per processor: most took 0.1 GiB.
const JOB: u64 = 2 << 30;
const COMPILATION: u64 = 1 << 28;

/// Processors that one of make's jobs keeps busy: somewhat fewer than the 5.8 of the whole, as links and the
/// largest packages come when there is nothing beside them.
const CORES_OF_A_JOB: usize = 4;

impl<'a> Prepared<'a> {
    /// # Errors
    /// Whatever this machine lacks, all of it at once; another build of this checkout; a platform
    /// that is not known.
    pub fn new(checkout: &'a Checkout, request: &'a Request) -> Result<Self> {
        let scripts = Scripts::read(checkout)?;
        if !scripts.executable {
            return Err(Error::refused("`hack/build.sh` is not executable")
                .hint(format!("make it so: `chmod +x {}`", checkout.locate(SCRIPT).shown()))
                .into());
        }
        if let Some(mode) = request.environment.get("MODE").filter(|mode| *mode != "dev") {
            return Err(Error::usage(format!("`MODE={mode}` makes an installer that cannot be debugged"))
                .hint("leave MODE out: rr-patch sets MODE=dev; for another mode run hack/build.sh itself")
                .into());
        }
        let (lock, unfinished) = BuildLock::take(checkout, request.command.clone())?;
        Stash::recover(checkout)?;
        let mut environment = Environment::from([("MODE".into(), "dev".into()), ("TAGS".into(), "release".into())]);
        environment.extend(request.environment.clone());
        let mut notes = Vec::new();
        let of_platforms = !request.platforms.is_empty();
        let terraform = revision::tell(&scripts, checkout, of_platforms, &mut environment, &mut notes);
        refuse_half_generated(unfinished, &environment)?;

        let platforms = Platforms::read(checkout)?;
        let given = value(&environment, "MAKEFLAGS").unwrap_or_default();
        let selected = match request.platforms.as_slice() {
            [] => make_variable(&given, "PROVSUBDIRS").map_or_else(
                || platforms.providers.clone(),
                |value| value.split_whitespace().map(str::to_owned).collect(),
            ),
            names => platforms.providers_for(names)?,
        };
        let (toolchain, linking, controllers) = tools(checkout, request, &scripts, &environment, &selected)?;
        if request.overlay.is_some() {
            let without = "`rr-patch apply`, then `rr-patch build` without `--overlay` work with this one";
            overlay::refuse_broken(&toolchain).map_err(|error| error.hint(without))?;
        }
        if request.patched {
            revision::refuse_without_calls(&scripts, checkout, &environment)?;
        }
        let installer = value(&environment, "OUTPUT").filter(|path| !path.is_empty());
        let installer = checkout.root().join(installer.unwrap_or_else(|| "bin/openshift-install".into()));

        let mut aside = Vec::new();
        if !request.platforms.is_empty() {
            aside = controllers.there()?;
            aside.retain(|name| name.strip_prefix(PROVIDER).is_some_and(|name| !selected.contains(name)));
        }
        let mut toolchains = Toolchains::knowing(checkout.root(), &toolchain);
        let (linked, providers) = (linking.linked, &platforms.providers);
        let way = Way { linked, chaos: request.chaos.is_some() };
        let stale = controllers.stale(way, &environment, &mut toolchains, unfinished, providers)?;
        let removed = what_goes(checkout, request, &installer, unfinished, stale, &mut aside)?;
        let to_be_made: Vec<String> = controllers.to_be_made(&removed).into_iter().map(str::to_owned).collect();

        let cores = thread::available_parallelism().map_or(1, usize::from);
        let jobs = request.jobs.unwrap_or_else(|| sensible_jobs(cores, free_memory(), to_be_made.len()));
        let told = (request.jobs.is_some() || !sets_jobs(&given)).then_some(jobs);
        environment.insert("MAKEFLAGS".into(), make_flags(&given, told, &request.platforms, &selected));

        let (mut go, mut chaos) = (BTreeMap::new(), Vec::<Library>::new());
        let links = checkout.state_dir().join(LINKS);
        for name in controllers.sources().keys() {
            let of = toolchains.of(&checkout.locate(&module(name)), &environment)?;
            go.insert(name.clone(), of.version().to_owned());
            if let Some(rules) = request.chaos.as_ref().filter(|_| !chaos.iter().any(|known| known.is_of(of))) {
                chaos.push(Library::of(of, rules, &links)?);
            }
        }
        refuse_mixed(&chaos, &toolchain, linked)?;
        let mut prepared = Self {
            checkout,
            request,
            lock,
            environment,
            controllers,
            go,
            chaos,
            installer,
            toolchain,
            platforms,
            selected,
            linking,
            jobs,
            terraform,
            removed,
            aside,
            to_be_made,
            notes,
        };
        prepared.look_for_space()?;
        prepared.note_linking();
        Ok(prepared)
    }

    /// Whether what is written will fit: as far as it is sure that it will be written, or else it is
    /// refused; a cold cache is only warned of, since how much of it is there nobody knows.
    fn look_for_space(&mut self) -> Result<()> {
        let folder = self.checkout.locate(&self.controllers.folder());
        let (mut made, mut all, mut largest, mut sources, mut most) = (0, 0, 0, 0, 0);
        for (name, source) in self.controllers.sources() {
            let size = match self.to_be_made.contains(name) {
                true => binary_size(source.bytes),
                false => fs::metadata(folder.join(name)).map_or(0, |seen| seen.len()),
            };
            if self.to_be_made.contains(name) {
                made += size;
                sources += source.bytes;
                most = source.bytes.max(most);
            }
            largest = largest.max(size);
            all += size;
        }
        let zip = all * 2 / 5;
        let (terraform, packed) = self.look_at_terraform(&mut sources);
        let mut own = Sources::default();
        ["vendor", "pkg", "cmd", "data"].iter().for_each(|folder| survey(&self.checkout.locate(folder), &mut own));
        let without_zip = binary_size(own.bytes);
        let installer = without_zip + zip + packed;
        let output = self.installer.parent().unwrap_or(self.checkout.root());
        let mut space = Space::default();
        space.want(self.checkout.root(), made, "controllers");
        space.want(self.checkout.root(), zip, "the zip of them");
        if terraform > 0 {
            space.want(self.checkout.root(), terraform, "Terraform and its providers");
        }
        space.want(output, installer, "the installer");
        let work = match self.toolchain.get("GOTMPDIR") {
            "" => value(&self.environment, "TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from),
            folder => folder.into(),
        };
        let links = if self.to_be_made.is_empty() { 0 } else { largest * self.jobs as u64 };
        space.want(&work, installer + links, "Go's work folder");
        prerequisites::refuse(&space.missing())?;
        let cache = (sources + own.bytes) * CACHE_PER_SOURCE;
        space.want(Path::new(self.toolchain.get("GOCACHE")), cache, "Go's cache, if nothing of this is in it yet");
        // Nothing that a `go build` compiles leaves its work folder before it ends.
        let compiled = own.bytes.max(most * self.jobs as u64) * CACHE_PER_SOURCE;
        space.want(&work, compiled, "what one `go build` of it compiles, in Go's work folder");
        let missing = space.missing().into_iter();
        self.notes
            .extend(missing.map(|need| format!("a cold build needs {}; {}: {}", need.what, need.found, need.fix)));
        self.note_memory(without_zip * LINK_PER_OWN_BYTE + (zip + packed) * LINK_PER_EMBEDDED_BYTE, &work, compiled);
        Ok(())
    }

    /// Whether there is memory to link the installer with, beside a work folder that is in memory itself.
    fn note_memory(&mut self, link: u64, work: &Path, compiled: u64) {
        const TMPFS: i64 = 0x0102_1994; // TMPFS_MAGIC, statfs(2)
        let free = free_memory();
        let in_memory = rustix::fs::statfs(work).is_ok_and(|system| system.f_type == TMPFS);
        if link + if in_memory { compiled } else { 0 } <= free {
            return;
        }
        let mut note =
            format!("linking the installer takes about {} of memory, and {} are free", bytes(link), bytes(free));
        if in_memory {
            note.push_str(&format!(
                "; Go's work folder `{}` is in memory too, with up to {} in a cold build: \
                 `--env GOTMPDIR=/var/tmp` puts it on a disk",
                work.shown(),
                bytes(compiled)
            ));
        }
        self.notes.push(note);
    }

    /// Bytes that Terraform and its providers take if they are built, and those of them that go into the
    /// installer: a zip of each, which lies there twice. (Terraform itself goes in as it is, one of many.)
    fn look_at_terraform(&self, sources: &mut u64) -> (u64, u64) {
        if self.terraform != Some(Terraform::Built) {
            return (0, 0);
        }
        revision::terraform_sources(self.checkout).into_iter().fold((0, 0), |(disk, embedded), bytes| {
            *sources += bytes;
            let (binary, zip) = (binary_size(bytes), binary_size(bytes) * 2 / 5);
            (disk + binary + 2 * zip, embedded + zip)
        })
    }

    fn note_linking(&mut self) {
        let Some(why) = &self.linking.why_not else { return };
        let slow = "controllers are linked statically, and recording them takes many times as long";
        self.notes.push(format!("{slow}: {why}"));
    }

    /// What would be done, for `--dry-run`.
    pub fn told(&self) -> String {
        let mut text = String::new();
        for Removed { path, why } in &self.removed {
            text.push_str(&format!("would remove {path}: {why}\n"));
        }
        for name in &self.aside {
            text.push_str(&format!("would leave out {name}\n"));
        }
        let made = if self.to_be_made.is_empty() { "no controller".to_owned() } else { self.to_be_made.join(", ") };
        let how = match self.linking.linked {
            Linked::Dynamic => "dynamically linked",
            Linked::Static | Linked::Either => "statically linked",
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for Library { chaos, .. } in &self.chaos {
            let files = chaos.changed.len() + chaos.added.len();
            text.push_str(&format!("would overlay {} of {}'s library, for chaos\n", count(files, "file"), chaos.go));
        }
        if let Some(plan) = &self.request.overlay {
            text.push_str(&format!(
                "would overlay {} of the sources, and write none of them\n",
                count(plan.rewrites.len(), "file")
            ));
        }
        text.push_str(&format!(
            "would build {made} ({how}, {} at once, with {} of memory reckoned for each){}, and `{}` with {}\n",
            self.jobs,
            bytes(memory_of_a_job(cores)),
            if self.terraform == Some(Terraform::Built) { ", Terraform and its providers" } else { "" },
            self.installer.shown(),
            self.toolchain.version()
        ));
        text
    }

    /// The platforms that the installer will be able to install by Cluster API, and those that not.
    pub fn serves(&self) -> (Vec<&str>, Vec<&str>) {
        self.platforms.served_by(&self.selected)
    }
}

/// The Go that builds, how controllers are linked, and what they are made of: if all is there that the
/// scripts run.
fn tools<'a>(
    checkout: &'a Checkout,
    request: &Request,
    scripts: &Scripts,
    environment: &Environment,
    selected: &BTreeSet<String>,
) -> Result<(Toolchain, Linking, Controllers<'a>)> {
    // Programs are looked for where the build would find them.
    let host = &environment.iter().fold(Host::here(), |host, (name, value)| host.with(name, value));
    let distribution = &Distribution::of(host);
    let asked = Toolchain::ask(checkout.root(), environment);
    let mut missing: Vec<_> = prerequisites::go(scripts, &asked, distribution).into_iter().collect();
    missing.extend(prerequisites::programs(scripts, environment, host, distribution));
    // Without Go nobody knows for which system the C compiler would have to be.
    let Ok(toolchain) = asked else { return Err(prerequisites::refusal(&missing).into()) };
    // The compiler is tried while the sources are looked at.
    let (linking, controllers) = thread::scope(|scope| {
        let choose = || Linking::choose(request.link, scripts, &toolchain, checkout.root(), environment, distribution);
        let linking = scope.spawn(choose);
        let controllers = Controllers::survey(checkout, toolchain.target(), selected);
        (linking.join().expect("no thread panics"), controllers)
    });
    match linking {
        Ok(linking) => prerequisites::refuse(&missing).map(|()| (toolchain, linking, controllers)).map_err(Into::into),
        Err(need) => {
            missing.push(need);
            Err(prerequisites::refusal(&missing).into())
        }
    }
}

/// What must not be there when build.sh runs: what is stale, what was cut off, what `--clean` asks for.
/// A controller that waits aside is no part of this build, but one that was cut off shall not wait.
fn what_goes(
    checkout: &Checkout,
    request: &Request,
    installer: &Path,
    unfinished: Option<Unfinished>,
    stale: Vec<Removed>,
    aside: &mut Vec<String>,
) -> Result<Vec<Removed>> {
    let named = |removed: &Removed, name: &String| removed.path.rsplit('/').next() == Some(name);
    let killed = |path: &Path| unfinished.is_some_and(|left| left.killed && written_since(path, left.since));
    let mut removed = match request.clean {
        true => generated(checkout, installer)?,
        false => half_zips(checkout),
    };
    for stale in stale {
        let waits = aside.iter().any(|name| named(&stale, name)) && !killed(&checkout.locate(&stale.path));
        if !waits && removed.iter().all(|known| known.path != stale.path) {
            removed.push(stale);
        }
    }
    aside.retain(|name| removed.iter().all(|removed| !named(removed, name)));
    // A cut-off installer whose head is whole would be up to date for `go build`. What is no program at all
    // is none that a build left.
    let cut_off = || Facts::read_summary(installer).is_err_and(|error| exit(&error) == Exit::Failed);
    let path = installer.strip_prefix(checkout.root()).unwrap_or(installer).to_string_lossy().into_owned();
    if installer.is_file() && removed.iter().all(|known| known.path != path) {
        let why = match killed(installer) {
            true => Some("an earlier build was ended while it wrote this"),
            false => cut_off().then_some("it is no whole program"),
        };
        removed.extend(why.map(|why| Removed { path, why: why.into() }));
    }
    // `zip` adds to an archive. build.sh means to remove it first, but its pattern stands in quotes.
    let zip = checkout.locate(ZIP).is_file() && removed.iter().all(|known| known.path != ZIP);
    if zip && !(removed.is_empty() && aside.is_empty()) {
        removed
            .push(Removed { path: ZIP.into(), why: "`zip` adds to it, and what is no longer built would stay".into() });
    }
    Ok(removed)
}

/// A toolchain that is reached by a link has to be the only one: each `go` of a step finds the same.
fn refuse_mixed(chaos: &[Library], installer: &Toolchain, linked: Linked) -> Result<(), Error> {
    let Some(first) = chaos.iter().find(|library| library.is_linked()) else { return Ok(()) };
    // build.sh builds the installer, and static controllers with it.
    if chaos.len() == 1 && (linked == Linked::Dynamic || first.is_of(installer)) {
        return Ok(());
    }
    let all = chaos.iter().map(|library| library.chaos.go.as_str()).chain([installer.version()]);
    let all: BTreeSet<&str> = all.collect();
    let newest = all.iter().max_by_key(|go| version(go)).copied().unwrap_or_default();
    let names: Vec<&str> = all.iter().copied().collect();
    Err(Error::refused("the chaos overlay needs one Go for all controllers, where Go downloaded it")
        .detail(format!("found: {}", names.join(", ")))
        .hint(format!("`--env GOTOOLCHAIN={newest}` builds all with one")))
}

fn refuse_half_generated(unfinished: Option<Unfinished>, environment: &Environment) -> Result<(), Error> {
    if is_set(environment, "SKIP_GENERATION") && unfinished.is_some_and(|left| left.generated) {
        return Err(Error::refused("an earlier build was ended while `go generate` ran: its output may be cut off")
            .hint("build once without `--skip-generation`"));
    }
    Ok(())
}

/// What a cold build puts into Go's cache for a byte of source: 5.4 GiB for 415 MB of two controllers and
/// the installer, 15.4 GiB for 1160 MB of ten.
const CACHE_PER_SOURCE: u64 = 14;

/// What linking the installer holds in memory for a byte of its own and for one of the embedded zip: 4.3 GiB
/// with two controllers in it (405 and 72 MB), 5.0 GiB with ten (405 and 450 MB).
const LINK_PER_OWN_BYTE: u64 = 11;
const LINK_PER_EMBEDDED_BYTE: u64 = 2;

/// How large a debug build gets: 61 MB of Go gave 89 MB, 66 MB gave 104 MB, 288 MB gave 405 MB. What is
/// no one's own is Go's runtime.
fn binary_size(sources: u64) -> u64 {
    (10 << 20) + sources * 8 / 5
}

fn memory_of_a_job(cores: usize) -> u64 {
    JOB + COMPILATION * cores as u64
}

/// As many of make's jobs as processors, controllers and memory have work for.
///
/// One `go build` of a controller keeps several processors busy: 147 s of work lay on a path of 25 s. Two
/// at once gain nothing on two processors: ten controllers took 15 min 16 s, and 14 min 52 s one by one.
fn sensible_jobs(cores: usize, memory: u64, controllers: usize) -> usize {
    let fit = usize::try_from(memory / memory_of_a_job(cores)).unwrap_or(usize::MAX);
    cores.div_ceil(CORES_OF_A_JOB).min(controllers).min(fit).max(1)
}

/// The memory that is free to use, here and in the control group that we may be held in.
fn free_memory() -> u64 {
    let system = procfs::Meminfo::current().ok().and_then(|memory| memory.mem_available).unwrap_or(u64::MAX);
    let number = |name: &str| {
        let text = fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let group = number("memory.max").map(|limit| limit.saturating_sub(number("memory.current").unwrap_or(0)));
    system.min(group.unwrap_or(u64::MAX))
}

/// MAKEFLAGS with our words around those that are given. make takes a first word without a dash for
/// single letters, so that a word before it has to give it one.
fn make_flags(given: &str, jobs: Option<usize>, platforms: &[String], selected: &BTreeSet<String>) -> String {
    let mut words: Vec<String> = jobs.iter().map(|jobs| format!("-j{jobs}")).collect();
    let letters = given.split_whitespace().next().filter(|word| !word.starts_with('-') && !word.contains('='));
    match letters {
        Some(_) if given.starts_with(' ') => words.push(given.trim().to_owned()),
        Some(_) => words.push(format!("-{given}")),
        None if given.trim().is_empty() => {}
        None => words.push(given.trim().to_owned()),
    }
    if !platforms.is_empty() {
        let names: Vec<&str> = selected.iter().map(String::as_str).collect();
        words.push(format!("PROVSUBDIRS={}", names.join("\\ ")));
    }
    words.join(" ")
}

/// Whether MAKEFLAGS says how many jobs there are.
fn sets_jobs(flags: &str) -> bool {
    flags.split_whitespace().any(|word| {
        let short = word.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-') && rest.contains('j'));
        short || word.starts_with("--jobs")
    })
}

/// The value of a variable that MAKEFLAGS sets; blanks in it are escaped.
fn make_variable(flags: &str, name: &str) -> Option<String> {
    let flags = flags.replace("\\ ", "\u{0}");
    let value = flags.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).next_back()?;
    Some(value.replace('\u{0}', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected() -> BTreeSet<String> {
        ["azure", "azureaso"].map(str::to_owned).into()
    }

    #[test]
    fn make_flags_keep_what_is_given() {
        let platforms = ["azure".to_owned()];
        assert_eq!(make_flags("", Some(2), &platforms, &selected()), "-j2 PROVSUBDIRS=azure\\ azureaso");
        assert_eq!(make_flags("ks", Some(2), &[], &selected()), "-j2 -ks");
        assert_eq!(make_flags("PROVSUBDIRS=aws", None, &[], &selected()), "PROVSUBDIRS=aws");
        assert_eq!(make_flags("-j8 --no-print-directory", None, &[], &selected()), "-j8 --no-print-directory");
    }

    #[test]
    fn make_variables_and_jobs_are_read_as_make_reads_them() {
        assert_eq!(make_variable("-j2 PROVSUBDIRS=aws\\ azure X=1", "PROVSUBDIRS").as_deref(), Some("aws azure"));
        assert_eq!(make_variable("-j2", "PROVSUBDIRS"), None);
        assert!(sets_jobs("-kj4") && sets_jobs("--jobs=4") && !sets_jobs("-k --no-print-directory X=-y"));
    }

    #[test]
    fn jobs_fit_processors_controllers_and_memory() {
        assert_eq!(sensible_jobs(2, 20 << 30, 10), 1);
        assert_eq!(sensible_jobs(6, 20 << 30, 10), 2);
        assert_eq!(sensible_jobs(16, 28 << 30, 10), 4);
        assert_eq!(sensible_jobs(16, 1 << 30, 10), 1);
        assert_eq!(sensible_jobs(16, 1 << 40, 3), 3);
        assert_eq!(sensible_jobs(16, 1 << 40, 0), 1);
    }
}
