//! Core dumps in Delve: `dlv core PROGRAM CORE`. One moment of a program, which nobody can go back from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::explain::{NEWER_GO, OLDER_GO};
use super::{Listen, Ready, Served, serve_from};
use crate::binary::{Core, Facts};
use crate::doctor::{Delve, Host, Version, delve, delve_takes_go};
use crate::error::{Error, Shown};
use crate::sys::process::{Child, Environment, Streams, SupervisedChild, become_subreaper, for_child};
use crate::words::quoted;

/// A core dump that can be opened.
#[derive(Debug)]
pub struct CorePlan {
    pub path: PathBuf,
    pub core: Core,
    pub program: PathBuf,
    pub facts: Facts,
    pub delve: Delve,
    /// What could not be verified.
    pub warnings: Vec<String>,
}

/// Finds a core dump's program, and checks that Delve can open both.
///
/// # Errors
/// A file that is not a whole core dump, a program that is missing or another one, a Delve that is missing or too old.
pub fn prepare_core(host: &Host, path: &Path, program: Option<&Path>) -> Result<CorePlan> {
    let core = Core::read(path)?;
    let named = "`--program PATH` names it";
    let Some(program) = program.or(core.program.as_deref()).map(Path::to_owned) else {
        return Err(Error::failed(format!("`{}` does not say which program wrote it", path.shown()))
            .hint(named)
            .into());
    };
    if !program.is_file() {
        return Err(Error::failed(format!(
            "the program that wrote `{}` is missing: `{}`",
            path.shown(),
            program.shown()
        ))
        .hint(named)
        .into());
    }
    let mut warnings = Vec::new();
    match core.is_of(&program)? {
        Some(true) => {}
        Some(false) => {
            let error =
                Error::failed(format!("`{}` is not the program that wrote `{}`", program.shown(), path.shown()))
                    .detail("looked at: the beginning of the file, and of the same file in the core dump's memory");
            let error = core
                .program
                .iter()
                .fold(error, |error, program| error.detail(format!("the core dump names `{}`", program.shown())));
            return Err(error.hint(format!("a program that was built anew is another one; {named}")).into());
        }
        None => warnings.push(
            "the core dump holds nothing of its program's file, so that another program would not be noticed"
                .to_owned(),
        ),
    }
    let delve = delve(host)?;
    let facts = Facts::read_summary(&program)?;
    if let Some(go) = facts.go.as_deref().and_then(Version::find) {
        delve_takes_go(delve.version, (go.0, go.1)).map_err(|why| {
            Error::failed(why)
                .detail(format!("found: `{}`; `{}` was built with Go {go}", delve.path.shown(), program.shown()))
                .hint("`go install github.com/go-delve/delve/cmd/dlv@vVERSION` installs a given one")
        })?;
    } else {
        return Err(Error::failed(format!("`{}` was not built by Go", program.shown()))
            .detail("looked for: Go's build information")
            .hint("`gdb PROGRAM CORE` opens core dumps of other programs")
            .into());
    }
    let program = program.canonicalize().with_context(|| format!("cannot read `{}`", program.shown()))?;
    let path = path.canonicalize().with_context(|| format!("cannot read `{}`", path.shown()))?;
    Ok(CorePlan { path, core, program, facts, delve, warnings })
}

impl CorePlan {
    /// The command that opens it at a terminal.
    pub fn line(&self) -> String {
        let words = [self.delve.path.as_path(), Path::new("core"), &self.program, &self.path];
        words.map(|word| quoted(&word.to_string_lossy())).join(" ")
    }

    /// Serves clients until one of them or a signal ends that, as [`super::ReplayPlan::serve`] does.
    ///
    /// # Errors
    /// A Delve that cannot open the core dump.
    pub fn serve(&self, ready: &mut dyn FnMut(&Ready) -> Result<()>, say: &mut dyn FnMut(&str)) -> Result<Served> {
        let listen = Listen::loopback(0);
        let mut arguments: Vec<String> =
            vec!["core".into(), for_child(&self.program)?.into(), for_child(&self.path)?.into()];
        arguments.extend(["--headless=true", "--api-version=2", "--accept-multiclient"].map(str::to_owned));
        arguments.push(format!("--listen={listen}"));
        become_subreaper()?;
        let folder = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let child = Child {
            program: for_child(&self.delve.path)?,
            arguments: &arguments,
            folder: &folder,
            environment: &Environment::new(),
        };
        let supervised = SupervisedChild::start(&child, Streams::Captured)?;
        serve_from(supervised, &listen, ready, say, &|end, lines| {
            let error = Error::failed(format!("Delve cannot open the core dump `{}`", self.path.shown()))
                .detail(format!("looked at: `{}`", self.line()))
                .detail(format!("Delve ended with {end}"));
            let error =
                if lines.is_empty() { error } else { error.detail(format!("last lines:\n{}", lines.join("\n"))) };
            match lines.iter().any(|line| line.contains(OLDER_GO)) {
                true => error.hint(NEWER_GO).into(),
                false => error.into(),
            }
        })
    }
}
