//! Asking Go about the patched files: gofmt, go vet and go build of the packages that were touched.
//!
//! On a cold cache that takes many minutes, since vendored Kubernetes is compiled first.

use std::path::Path;

use super::Compilation;
use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::patch::plan::{Plan, folders};
use crate::sys::process::{Child, End, Environment, Interrupt};
use crate::words::quoted;

/// What Go is asked, and how far it has come with that.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A command begins.
    Asks(&'a str),
    /// So many packages were compiled for it; the last is named.
    Compiled(usize, &'a str),
}

/// Asks with the toolchain that the checkout's own go.mod and vendor folder choose, and with the flags and the
/// environment of its build, so that the build finds in Go's cache what was compiled here.
///
/// # Errors
/// What Go says against the patched files. What gofmt had to say against the originals too is not
/// ours: an edited checkout need not be gofmt-clean. An interruption, once a signal has come: `interrupt` knows which.
pub fn verify(
    checkout: &Checkout,
    plan: &Plan,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let gofmt = gofmt(checkout);
    let touched = plan.rewrites.iter().filter(|rewrite| rewrite.after.is_some());
    let mut fresh = Vec::new();
    for rewrite in touched {
        if rewrite.before.as_ref().is_none_or(|before| is_formatted(checkout, &gofmt, &before.bytes)) {
            fresh.push(rewrite.path.clone());
        }
    }
    let packages: Vec<String> = folders(&plan.rewrites).iter().map(|folder| format!("./{}", folder.shown())).collect();
    let mut asker = Asker { checkout, interrupt, progress };
    asker.ask(&gofmt, &["-l".into()], &fresh, &Environment::new())?;

    let Compilation { mut flags, tags, environment } = Compilation::of(checkout);
    if !tags.is_empty() && asker.compiles_with(&flags, &tags, &environment)? {
        flags.extend(tags);
    }
    let go = |command: &str| [&[command.to_owned()], flags.as_slice()].concat();
    asker.ask("go", &go("vet"), &packages, &environment)?;
    asker.ask("go", &go("build"), &packages, &environment)?;
    if plan.rewrites.iter().any(|rewrite| rewrite.path.ends_with("_windows.go")) {
        let process: Vec<String> = packages.iter().filter(|package| package.ends_with("/process")).cloned().collect();
        let mut windows = environment;
        windows.extend([("GOOS".into(), "windows".into()), ("CGO_ENABLED".into(), "0".into())]);
        asker.ask("go", &go("build"), &process, &windows)?;
    }
    Ok(())
}

struct Asker<'a> {
    checkout: &'a Checkout,
    interrupt: &'a Interrupt,
    progress: &'a mut dyn FnMut(Progress),
}

impl Asker<'_> {
    /// # Errors
    /// What the program says against the packages or files.
    fn ask(
        &mut self,
        program: &str,
        arguments: &[String],
        about: &[String],
        environment: &Environment,
    ) -> Result<(), Error> {
        // In the order of their names; what tells one command from another comes last: GOOS.
        let variables = environment.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = [program.to_owned()].into_iter().chain(arguments.iter().chain(about).cloned());
        let asked = variables.chain(words.map(|word| quoted(&word))).collect::<Vec<_>>().join(" ");
        (self.progress)(Progress::Asks(&asked));
        let (end, said) = self.run(program, arguments, about, environment)?;
        // gofmt names the files that it would change, and ends well.
        if end.success() && (program == "go" || said.is_empty()) {
            return Ok(());
        }
        Err(Error::failed(format!("Go does not take the patched files: `{asked}` says"))
            .detail(said.trim_end().to_owned())
            .hint("if the same command says it of the unpatched checkout too, mend that first; else apply without --verify and look at `rr-patch diff`"))
    }

    /// Whether package `data` compiles with the build's tags: only with the file that `go generate` makes of it.
    /// Without the tags only that package and those that use it are compiled again by the build.
    fn compiles_with(&mut self, flags: &[String], tags: &[String], environment: &Environment) -> Result<bool, Error> {
        const DATA: &str = "data";
        if !self.checkout.locate(DATA).is_dir() {
            return Ok(true);
        }
        let arguments = [&["build".to_owned()], flags, tags].concat();
        let (end, _) = self.run("go", &arguments, &[format!("./{DATA}")], environment)?;
        Ok(end.success())
    }

    /// Runs a program, and returns how it ended and what it printed but for the names of compiled packages.
    fn run(
        &mut self,
        program: &str,
        arguments: &[String],
        about: &[String],
        environment: &Environment,
    ) -> Result<(End, String), Error> {
        self.go_on()?;
        let mut arguments = arguments.to_vec();
        if program == "go" {
            arguments.push("-v".into()); // names each package as it is compiled
        }
        arguments.extend(about.iter().cloned());
        let mut said = Vec::new();
        let mut compiled = 0;
        let child = Child { program, arguments: &arguments, folder: self.checkout.root(), environment };
        let mut seen = 0;
        let (end, _) = child
            .stream(|bytes| {
                said.extend_from_slice(bytes);
                while let Some(length) = said[seen..].iter().position(|byte| *byte == b'\n') {
                    let line = String::from_utf8_lossy(&said[seen..seen + length]).into_owned();
                    if program == "go" && is_package(&line) {
                        compiled += 1;
                        (self.progress)(Progress::Compiled(compiled, &line));
                        said.drain(seen..=seen + length);
                    } else {
                        seen += length + 1;
                    }
                }
                Ok(())
            })
            .map_err(|error| error.downcast().unwrap_or_else(|error| Error::failed(format!("{error:#}"))))?;
        self.go_on().map(|()| (end, String::from_utf8_lossy(&said).into_owned()))
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.interrupt.came() { Err(Error::interrupted("interrupted")) } else { Ok(()) }
    }
}

/// Whether a line is an import path, which `-v` prints alone; what is said against a package begins with `#` or
/// with a place.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.contains([' ', '\t', ':', '#'])
}

/// The gofmt of the toolchain that the checkout chooses. Some packages of Go put only go into PATH.
fn gofmt(checkout: &Checkout) -> String {
    let (arguments, none) = (["env", "GOROOT"].map(str::to_owned), Environment::new());
    let asked = Child { program: "go", arguments: &arguments, folder: checkout.root(), environment: &none }.capture();
    let said = asked.map(|(_, said)| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    let path = Path::new(said.lines().last().unwrap_or_default()).join("bin/gofmt");
    if path.is_file() { path.to_string_lossy().into_owned() } else { "gofmt".into() }
}

fn is_formatted(checkout: &Checkout, gofmt: &str, bytes: &[u8]) -> bool {
    let Ok(file) = tempfile::Builder::new().suffix(".go").tempfile() else { return false };
    let arguments = ["-l".to_owned(), file.path().to_string_lossy().into_owned()];
    let none = Environment::new();
    std::fs::write(file.path(), bytes).is_ok()
        && Child { program: gofmt, arguments: &arguments, folder: checkout.root(), environment: &none }
            .capture()
            .is_ok_and(|(end, said)| end.success() && said.is_empty())
}
