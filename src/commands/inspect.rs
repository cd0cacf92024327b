//! `rr-patch inspect`: is this a recording installer, of what, and can Delve debug it?

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::binary::{EmbeddedFile, Finding, Installer, Kind, REBUILD, first_bytes};
use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::provenance::{self, Statement};
use crate::ui;
use crate::ui::document::Report;
use crate::ui::inspect::{Inspected, Program, file_name};

const EXAMPLES: &str = "\
Examples:
  rr-patch inspect                              # bin/openshift-install of the checkout
  rr-patch inspect openshift-install.rr-patch.json
  rr-patch inspect cluster-api-provider-aws --format json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    /// An installer, a controller, the file that `rr-patch build` left beside an installer, or a folder of the
    /// checkout whose bin/openshift-install is meant [default: the current folder]
    pub file: Option<PathBuf>,
}

/// The file beside an installer, and whether it is about that installer.
struct Beside {
    path: PathBuf,
    statement: Statement,
    fits: Option<bool>,
}

impl Beside {
    fn shown(&self) -> ui::inspect::Beside<'_> {
        ui::inspect::Beside { path: &self.path, statement: &self.statement, fits: self.fits }
    }
}

impl Inspect {
    pub fn run(&self) -> Result<Report<Inspected>> {
        let file = &self.file()?;
        let is_text = first_bytes(file)?.trim_ascii_start().starts_with(b"{");
        if !is_text {
            return inspect(file, None);
        }
        let statement = provenance::read(file)?;
        let installer = file.with_file_name(&statement.installer().name);
        let beside = Beside { path: file.clone(), statement, fits: None };
        if installer.is_file() { inspect(&installer, Some(beside)) } else { Ok(from_statement(&installer, &beside)) }
    }
}

impl Inspect {
    /// The file that is meant: where a checkout's build puts its installer, if no file is named.
    fn file(&self) -> Result<PathBuf> {
        let checkout = match &self.file {
            None => Checkout::discover(None, None)?,
            Some(file) if !file.is_dir() => return Ok(file.clone()),
            // Any other folder is refused as what it is.
            Some(folder) => match Checkout::discover(Some(folder), None) {
                Ok(checkout) => checkout,
                Err(_) => return Ok(folder.clone()),
            },
        };
        let installer = checkout.locate("bin/openshift-install");
        if !installer.is_file() {
            return Err(Error::refused(format!("`{}` is not built", installer.shown()))
                .hint("`rr-patch build` makes it; `rr-patch inspect FILE` opens one from elsewhere")
                .into());
        }
        Ok(installer)
    }
}

/// Reads a program, and compares it with what the file beside it says.
fn inspect(file: &Path, beside: Option<Beside>) -> Result<Report<Inspected>> {
    let name = file_name(file);
    let installer = Installer::read(file)?;
    let mut findings = installer.judged(&name);
    let mut beside = match beside {
        None => read_beside(file, &name, &mut findings),
        given => given,
    };
    if let Some(beside) = &mut beside {
        let disagreements = beside.statement.disagreements(&beside.path, &name, &installer);
        beside.fits = Some(disagreements.is_empty());
        findings.extend(disagreements);
    }
    let beside = beside.as_ref().map(Beside::shown);
    let programs = Program::all(&name, &installer);
    Ok(Inspected::new(file, installer.kind(), Some(&installer.patch), programs, beside.as_ref(), findings))
}

/// What the statement itself says, where the installer that it is about is not there.
fn from_statement(installer: &Path, beside: &Beside) -> Report<Inspected> {
    let name = file_name(installer);
    let mut programs = Vec::new();
    let mut findings = vec![Finding {
        program: name.clone(),
        what: format!("is not beside `{}`, so that nothing could be verified", beside.path.shown()),
        remedy: "put both into one folder, under the names that they were built with".into(),
    }];
    for (number, subject) in beside.statement.subject.iter().enumerate() {
        let facts = subject.facts();
        let judged = number == 0 || EmbeddedFile::is_controller(&subject.name);
        let lacks = facts.iter().filter(|_| judged).flat_map(|facts| facts.lacks(REBUILD));
        findings.extend(lacks.map(|(what, remedy)| Finding { program: subject.name.clone(), what, remedy }));
        programs.push(Program { name: subject.name.clone(), built: judged, facts });
    }
    let beside = ui::inspect::Beside { fits: None, ..beside.shown() };
    Inspected::new(installer, Kind::Installer, None, programs, Some(&beside), findings)
}

/// The statement beside a program. One that cannot be read is a finding, none at all is not.
fn read_beside(file: &Path, name: &str, findings: &mut Vec<Finding>) -> Option<Beside> {
    let path = provenance::path_of(file);
    if !path.is_file() {
        return None;
    }
    match provenance::read(&path) {
        Ok(statement) => Some(Beside { path, statement, fits: None }),
        Err(error) => {
            findings.push(Finding {
                program: name.to_owned(),
                what: error.to_string(),
                remedy: format!("move `{}` away, or build again", path.shown()),
            });
            None
        }
    }
}
