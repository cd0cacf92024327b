//! One file per command: its arguments, and the few lines that join the modules below.

pub mod apply;
pub mod build;
pub mod chaos;
pub mod check;
pub mod ci;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod hunt;
pub mod inspect;
pub mod man;
pub mod replay;
pub mod record;
pub mod revert;
pub mod rules;
pub mod schema;
pub mod status;
pub mod traces;

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::error::{Error, Shown, plain};
use crate::patch::checkout::Checkout;
use crate::patch::plan::PatchSource;
use crate::patch::rules::{Avx512, CHANGES, Options, Rules, Signal, shipped_patch};
use crate::patch::unified::{LIMIT, PatchFile};
use crate::rr::trace::Store;
use crate::ui::manners::{Verbosity, colours_on_stderr, columns_of_stderr, common, paint, verbosity};
use crate::words::quoted;

/// The headings of options in help.
pub const RECORDING: &str = "How to record";
pub const PLACES: &str = "What to change";
pub const GIT: &str = "Commit";
pub const PARTS: &str = "What to build";
pub const STORE: &str = "Which traces";
pub const DELVE: &str = "Where Delve listens";
pub const EDITOR: &str = "Editor";
pub const SECRETS: &str = "Secrets";

/// Which checkout.
#[derive(Args, Debug, Clone, Default)]
pub struct Where {
    /// A folder of the checkout [default: the current folder]
    pub repo: Option<PathBuf>,

    /// The installer's folder below the top of a checkout that vendors it
    #[arg(long, value_name = "PATH")]
    pub root: Option<PathBuf>,
}

impl Where {
    pub fn checkout(&self) -> Result<Checkout> {
        Checkout::discover(self.repo.as_deref(), self.root.as_deref())
    }

    /// A command about the same checkout, to be typed where this one was.
    fn command(&self, name: &str) -> String {
        let repo = self.repo.iter().map(|repo| quoted(&repo.shown()));
        let root = self.root.iter().map(|root| format!("--root {}", quoted(&root.shown())));
        ["rr-patch".to_owned(), name.to_owned()].into_iter().chain(repo).chain(root).collect::<Vec<_>>().join(" ")
    }
}

/// The traces of the folder that `--trace-dir` names, or of rr's own.
fn store(trace_dir: Option<&Path>) -> Store {
    trace_dir.map_or_else(|| Store::of(&|name| std::env::var_os(name)), |folder| Store::at(folder.into()))
}

/// Tells on stderr what is no result. With `--quiet` only warnings and errors are told. That nobody reads it is no
/// failure.
pub fn say(line: &str) {
    let matters =
        ["error:", "warning:", "hint:"].iter().any(|word| line.trim_start_matches("rr-patch: ").starts_with(word));
    if !matters && verbosity() == Verbosity::Quiet {
        return;
    }
    let text = format!("{}\n", plain(line));
    let _ = io::stderr().write_all(paint(&text, columns_of_stderr(), colours_on_stderr(), common).as_bytes());
}

/// An age or another duration, in one unit.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and `s`, `m`, `h`, `d` or `w`, like 7d".to_owned();
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        Some('w') => 7 * 24 * 60 * 60,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(expected)
}

/// What to record, and how.
#[derive(Args, Debug, Clone)]
pub struct Recording {
    /// Controllers to record: `providers`, `all` (with the core controller), or names like `aws`
    #[arg(long, value_name = "WHICH", value_delimiter = ',', default_value = "providers", value_parser = word)]
    pub controllers: Vec<String>,

    /// Use this recorder, rather than the `rr` found in PATH when the installer runs
    #[arg(long, value_name = "PATH", value_parser = program)]
    pub rr: Option<String>,

    /// Pass one more argument to `rr record` (repeatable), like --rr-arg=--chaos
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub rr_arg: Vec<String>,

    /// Bind recordings to a CPU, or `none`
    #[arg(long, value_name = "N", default_value = "0", value_parser = cpu)]
    pub bind_to_cpu: Cpu,

    /// What becomes of `--disable-avx-512`
    #[arg(long, value_enum, default_value_t = Avx512::Auto)]
    pub avx512: Avx512,

    /// Who gets the SIGTERM that ends a controller
    #[arg(long, value_enum, default_value_t = Signal::Group)]
    pub signal: Signal,
}

/// A CPU's number, or none. (A bare `Option` would be clap's word for an absent argument.)
#[derive(Debug, Clone, Copy)]
pub struct Cpu(Option<u32>);

fn cpu(text: &str) -> Result<Cpu, String> {
    match text {
        "none" => Ok(Cpu(None)),
        _ => text.parse().map(|n| Cpu(Some(n))).map_err(|_| "expected a CPU's number, or `none`".into()),
    }
}

fn word(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected `providers`, `all`, or the name of a controller".into()),
        name => Ok(name.into()),
    }
}

fn program(text: &str) -> Result<String, String> {
    match text {
        "" => Err("expected a program".into()),
        path if path.contains('/') && !path.starts_with('/') => {
            Err("expected an absolute path, or a name to look up in PATH: the installer may run anywhere".into())
        }
        path => Ok(path.into()),
    }
}

impl Default for Recording {
    fn default() -> Self {
        Options::default().into()
    }
}

impl From<Options> for Recording {
    fn from(options: Options) -> Self {
        let Options { controllers, rr, rr_args, bind_to_cpu, avx512, signal, rules: _ } = options;
        Self { controllers, rr, rr_arg: rr_args, bind_to_cpu: Cpu(bind_to_cpu), avx512, signal }
    }
}

impl Recording {
    pub fn options(&self) -> Options {
        Options {
            controllers: self.controllers.clone(),
            rr: self.rr.clone(),
            rr_args: self.rr_arg.clone(),
            bind_to_cpu: self.bind_to_cpu.0,
            avx512: self.avx512,
            signal: self.signal,
            rules: None,
        }
    }
}

/// Where the changes come from.
#[derive(Args, Debug, Clone, Default)]
pub struct Changes {
    #[command(flatten, next_help_heading = RECORDING)]
    pub recording: Recording,

    /// How the places to change are found
    #[arg(long, help_heading = PLACES, value_enum, default_value_t = Mode::Auto)]
    pub mode: Mode,

    #[command(flatten)]
    pub folder: RulesOf,

    /// Apply this patch, and not the shipped one (repeatable: in this order; `-` is standard input)
    #[arg(long, help_heading = PLACES, value_name = "FILE")]
    pub patch: Vec<PathBuf>,

    /// Strip N elements from the front of the names in patches, to get paths below the installer's root
    #[arg(short = 'p', help_heading = PLACES, value_name = "N", default_value_t = 1, requires = "patch")]
    pub strip: usize,

    /// Where a patch does not fit, merge it, if the repository has what it was made from
    #[arg(long = "3way", help_heading = PLACES)]
    pub three_way: bool,
}

/// Which rules.
#[derive(Args, Debug, Clone, Default)]
pub struct RulesOf {
    /// Use the rules of this folder in place of the built-in ones (`rr-patch rules export DIR` writes those)
    #[arg(long, help_heading = PLACES, value_name = "DIR")]
    pub rules: Option<PathBuf>,
}

impl RulesOf {
    /// The rules of the folder, if one is named.
    ///
    /// # Errors
    /// A folder without rules, a file in it that is no rule.
    pub fn read(&self) -> Result<Option<Arc<Rules>>> {
        let changes = CHANGES.map(|(name, _)| name);
        self.rules.as_deref().map(|folder| Rules::read(folder, &changes).map(Arc::new)).transpose()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// By structure, unless a patch is given
    #[default]
    Auto,
    /// By the structure of the Go sources: any revision since 2023-11
    Structural,
    /// As a patch says: the shipped rr-debugging.patch, or those given
    Patch,
}

impl Changes {
    /// # Errors
    /// Options that contradict each other, a patch that cannot be read or is none.
    pub fn recipe(&self) -> Result<PatchSource> {
        let structural = self.mode == Mode::Structural || (self.mode == Mode::Auto && self.patch.is_empty());
        let mut options = self.recording.options();
        if structural {
            if !self.patch.is_empty() || self.three_way {
                return Err(Error::usage("the structural changes take neither `--patch` nor `--3way`")
                    .hint("leave `--mode structural` out, or the patch")
                    .into());
            }
            let rules = self.folder.read()?.map_or_else(Rules::built_in, Ok)?;
            options.rules = rules.digest().map(str::to_owned);
            return Ok(PatchSource::Structural(options, rules));
        }
        if self.folder.rules.is_some() {
            return Err(Error::usage("`--rules` is for the structural changes, and not for a patch")
                .hint("leave `--rules` out, or the patch")
                .into());
        }
        if options != Options::default() {
            return Err(Error::usage("how to record cannot be chosen for a patch: it has a command line of its own")
                .hint("choose when the installer runs: `RR_PATCH_RECORD=…` replaces it; or leave `--mode patch` out")
                .into());
        }
        let patches = match self.patch.is_empty() {
            true => {
                let (name, bytes) = shipped_patch();
                vec![PatchFile::parse(name, bytes, 1)?]
            }
            false => self.patch.iter().map(|path| self.read_patch(path)).collect::<Result<_>>()?,
        };
        Ok(PatchSource::Classic(patches))
    }

    fn read_patch(&self, path: &Path) -> Result<PatchFile> {
        let standard_input = path == Path::new("-");
        let name = match standard_input {
            true => "standard input".into(),
            false => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        };
        let mut bytes = Vec::new();
        let read = match standard_input {
            true => io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes),
            false => File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)),
        };
        read.map_err(|error| {
            Error::refused(format!("cannot read the patch `{}`: {error}", path.shown()))
                .hint("`--patch` takes a file; without it `--mode patch` applies the shipped one")
        })?;
        if bytes.len() as u64 > LIMIT {
            return Err(Error::refused(format!("the patch `{}` is larger than {} MiB", path.shown(), LIMIT >> 20))
                .detail("expected: a patch of some source files")
                .hint("`git apply` knows no such limit")
                .into());
        }
        PatchFile::parse(&name, &bytes, self.strip)
    }
}
