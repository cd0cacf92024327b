//! `rr-patch demo`: the whole way on a small installer in a temporary folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use include_dir::{Dir, DirEntry, include_dir};
use serde_json::json;

use super::{Changes, Where, apply::Apply, revert::Revert};
use crate::build::{Prepared, Request, View, seconds};
use crate::checkout::Checkout;
use crate::error::Error;
use crate::process::{Child, Environment};
use crate::report::{Format, Report};

static INSTALLER: Dir = include_dir!("$CARGO_MANIFEST_DIR/fixtures/installer");
static RECORDER: Dir = include_dir!("$CARGO_MANIFEST_DIR/fixtures/recorder");

#[derive(Args, Debug)]
pub struct Demo {
    /// Keep the folder, with the installer and its traces
    #[arg(long)]
    pub keep: bool,
}

/// Where the demo tells what it does.
struct Stage {
    out: Box<dyn Write>,
    step: usize,
}

impl Stage {
    fn step(&mut self, what: &str) -> Result<()> {
        self.step += 1;
        Ok(writeln!(self.out, "\n[{}/6] {what}", self.step)?)
    }

    fn show(&mut self, text: &[u8]) -> Result<()> {
        for line in String::from_utf8_lossy(text).lines() {
            writeln!(self.out, "    {line}")?;
        }
        Ok(self.out.flush()?)
    }
}

impl Demo {
    pub fn run(&self, format: Format) -> Result<Report> {
        let out: Box<dyn Write> = match format {
            Format::Text => Box::new(std::io::stdout()),
            Format::Json => Box::new(std::io::stderr()),
        };
        let mut folder = tempfile::Builder::new().prefix("rr-patch-demo-").tempdir().context("cannot make a folder")?;
        folder.disable_cleanup(self.keep);
        let result = play(folder.path(), &mut Stage { out, step: 0 });
        let kept = self.keep.then(|| folder.path().to_owned());
        let (recorder, traces) = result.with_context(|| match &kept {
            Some(folder) => format!("the demo in `{}`", folder.display()),
            None => "the demo (`--keep` leaves its folder to look at)".into(),
        })?;
        let text = match &kept {
            Some(folder) => format!("\nkept: {}\n", folder.display()),
            None => {
                "\nOn your own checkout: `rr-patch apply PATH`, `rr-patch build PATH`, `rr-patch revert PATH`\n".into()
            }
        };
        let data = json!({ "recorder": recorder, "traces": traces, "folder": kept });
        Ok(Report::new("rr-patch/demo/1", text, data))
    }
}

/// All steps. Returns which recorder was used and the names of the traces.
fn play(folder: &Path, stage: &mut Stage) -> Result<(&'static str, Vec<String>)> {
    let installer = folder.join("installer");
    stage.step("A small installer of our own, in the shape of the real one")?;
    lay_out(&INSTALLER, &installer)?;
    let before = contents(&installer)?;
    stage.show(format!("{} files in {}", before.len(), installer.display()).as_bytes())?;

    let place = Where { repo: Some(installer.clone()), root: None };
    stage.step("rr-patch apply: six changes, by structure")?;
    let apply = Apply {
        place: place.clone(),
        changes: Changes::default(),
        dry_run: false,
        verify: false,
        commit: false,
        branch: None,
    };
    stage.show(&apply.run()?.text)?;

    stage.step("rr-patch build: MODE=dev TAGS=release ./hack/build.sh (a minute or two if Go's cache is cold)")?;
    let checkout = Checkout::discover(Some(&installer), None)?;
    // The folder is in no repository, where build.sh looks for a version.
    let version = [("SOURCE_GIT_COMMIT", "demo"), ("BUILD_VERSION", "demo"), ("SKIP_ENVTEST", "y")];
    let version = version.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut live = Steps { stage, line: Vec::new() };
    let request = Request { environment: version.into(), patched: true, command: "demo".into(), ..Request::default() };
    let built = Prepared::new(&checkout, &request)?.run(View::Lines(&mut live))?;
    stage.show(format!("built {} in {}", built.path.display(), seconds(built.took)).as_bytes())?;

    stage.step("The installer runs: it starts a core controller and one provider, and records the provider")?;
    let (recorder, path) = recorder(folder, stage)?;
    let traces = run(folder, &built.path, &path, stage)?;

    stage.step("The trace: rr could close it, so it can be replayed")?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&traces).with_context(|| format!("no traces in `{}`", traces.display()))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.path().join("version").is_file() {
            return Err(Error::failed(format!("the trace `{name}` is incomplete")).into());
        }
        stage.show(format!("{name}: complete").as_bytes())?;
        names.push(name);
    }
    if names.is_empty() {
        return Err(Error::failed("the installer left no trace").into());
    }

    stage.step("rr-patch revert: every byte as before")?;
    stage.show(&Revert { place, force: false }.run()?.text)?;
    let after = contents(&installer)?;
    let changed = before.iter().find(|file| !after.contains(file));
    match changed {
        Some((path, _)) => Err(Error::failed(format!("`{}` is not as it was", path.display())).into()),
        None => {
            stage.show(format!("all {} files are as they were", before.len()).as_bytes())?;
            Ok((recorder, names))
        }
    }
}

/// The rr of this machine if it can record here, or else the stand-in, and what PATH finds it.
fn recorder(folder: &Path, stage: &mut Stage) -> Result<(&'static str, String)> {
    let path = std::env::var("PATH").unwrap_or_default();
    let probe = folder.join("probe").to_string_lossy().into_owned();
    let arguments = ["record", "-n", "-o", &probe, "true"].map(str::to_owned);
    let none = Environment::new();
    let tried = Child { program: "rr", arguments: &arguments, folder, environment: &none }.capture();
    let why = match tried {
        Ok((end, _)) if end.success() => {
            stage.show(b"recorder: the rr of this machine")?;
            return Ok(("rr", path));
        }
        Ok((end, said)) => {
            let said = String::from_utf8_lossy(&said);
            let reason = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("the rr of this machine cannot record here ({end}: {})", reason.trim())
        }
        Err(_) => "there is no rr on this machine".into(),
    };
    stage.show(
        format!("{why}:\na stand-in is used, which keeps rr's contract on signals and trace files and records nothing")
            .as_bytes(),
    )?;
    let source = folder.join("recorder");
    lay_out(&RECORDER, &source)?;
    let arguments = ["build", "-o", "rr", "."].map(str::to_owned);
    let (end, said) = Child { program: "go", arguments: &arguments, folder: &source, environment: &none }.capture()?;
    if !end.success() {
        return Err(Error::failed("the recorder stand-in does not build")
            .detail(String::from_utf8_lossy(&said))
            .into());
    }
    Ok(("stand-in", format!("{}:{path}", source.display())))
}

/// Runs the installer, and returns the folder of its traces.
fn run(folder: &Path, installer: &Path, path: &str, stage: &mut Stage) -> Result<PathBuf> {
    let (install, traces) = (folder.join("install"), folder.join("traces"));
    fs::create_dir(&install)?;
    fs::write(install.join("metadata.json"), "{\"platform\":\"aws\"}\n")?;
    let arguments = ["create", "cluster", "--dir", &install.to_string_lossy()].map(str::to_owned);
    let environment = Environment::from([
        ("PATH".to_owned(), path.to_owned()),
        ("_RR_TRACE_DIR".to_owned(), traces.to_string_lossy().into_owned()),
    ]);
    let program = installer.to_string_lossy();
    let child = Child { program: &program, arguments: &arguments, folder, environment: &environment };
    let (end, _) = child.stream(|text| stage.show(text))?;
    match end.success() {
        true => Ok(traces),
        false => Err(Error::failed(format!("the installer ended with {end}")).into()),
    }
}

fn lay_out(from: &Dir, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make `{}`", to.display()))?;
    for entry in from.entries() {
        let name = entry.path().file_name().unwrap_or_default();
        match entry {
            DirEntry::Dir(folder) => lay_out(folder, &to.join(name))?,
            DirEntry::File(file) => {
                let path = to.join(name);
                fs::write(&path, file.contents()).with_context(|| format!("cannot write `{}`", path.display()))?;
                // A build carries no modes.
                if path.extension().is_some_and(|extension| extension == "sh") {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                }
            }
        }
    }
    Ok(())
}

/// Every Go file below a folder.
fn contents(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(contents(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "go")
            && !path.ends_with("manifest_generated.go")
        {
            files.push((path.clone(), fs::read(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// Shows of a build only the programs that do its work.
struct Steps<'a> {
    stage: &'a mut Stage,
    line: Vec<u8>,
}

impl Write for Steps<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for &byte in bytes {
            self.line.push(byte);
            if byte == b'\n' {
                if ["make", "zip", "go generate", "go build"]
                    .iter()
                    .any(|work| self.line.starts_with(format!("+ {work} ").as_bytes()))
                {
                    self.stage.out.write_all(b"    ")?;
                    self.stage.out.write_all(&self.line)?;
                }
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stage.out.flush()
    }
}
