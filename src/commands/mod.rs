//! One file per command: its arguments, and the few lines that join the modules below.

pub mod apply;
pub mod build;
pub mod check;
pub mod demo;
pub mod diff;
pub mod revert;
pub mod status;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::checkout::Checkout;
use crate::journal::{Seen, State};
use crate::plan::{Plan, structural};
use crate::rules::{Avx512, Options, Signal};

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
        let Options { controllers, rr, rr_args, bind_to_cpu, avx512, signal } = Options::default();
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
        }
    }
}

/// The plan for a checkout as it would be without what its journal knows: the originals where the
/// journal has them, the files on disk otherwise.
///
/// # Errors
/// A file that was edited since it was patched.
fn plan_from_originals(checkout: &Checkout, seen: &[Seen], options: &Options) -> Result<Plan> {
    structural(
        &|path| match seen.iter().find(|seen| seen.rewrite.path == path) {
            None => checkout.read(path),
            Some(Seen { rewrite, state: State::Patched | State::CutOff, .. }) => Ok(rewrite.before.clone()),
            Some(seen) => Ok(seen.current.clone()),
        },
        options,
    )
}
