//! Checks from a trace's folder whether the trace can be replayed.

use anyhow::Result;

use super::{Backing, FileStatus, State, Trace};
use crate::error::Shown;

/// The compatibility number of rr 5.6 and later.
const COMPATIBILITY: i32 = 3;

/// The problems that a replay would have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Reasons why no rr can replay the trace here.
    pub obstacles: Vec<String>,
    /// Possible problems.
    pub warnings: Vec<String>,
}

impl Trace {
    /// Looks for problems that a replay would have.
    ///
    /// # Errors
    /// None: damage to the trace is reported as an obstacle.
    pub fn check(&self) -> Check {
        let mut check = Check::default();
        if let Some(problem) = &self.sidecar_problem {
            check.warnings.push(problem.clone());
        }
        let obstacle = match self.state {
            State::Complete => None,
            State::Starting => Some("rr has only made its folder: it is starting, or failed at its start".to_owned()),
            State::Recording => Some("rr is still recording it: replay it when rr has ended".into()),
            State::Dead => Some(format!(
                "rr was killed or crashed before it closed the trace: {} in place of `version`, and rr cannot repair it",
                if self.files.iter().any(|name| name == "incomplete") { "there is `incomplete`" } else { "nothing is" }
            )),
            State::Junk if self.files.iter().any(|name| name == "version") => {
                Some("its program could not be started: nothing was recorded".into())
            }
            State::Junk => Some("rr failed at its start: nothing was recorded".into()),
        };
        match obstacle {
            Some(obstacle) => check.obstacles.push(obstacle),
            None => {
                if let Err(error) = self.check_complete(&mut check) {
                    check.obstacles.push(format!("it is damaged: {error:#}"));
                }
            }
        }
        check
    }

    fn check_complete(&self, check: &mut Check) -> Result<()> {
        let header = self.header()?;
        if header.arch != std::env::consts::ARCH {
            let here = std::env::consts::ARCH;
            check.obstacles.push(format!("it was recorded on {}, and replays there only; this is {here}", header.arch));
        }
        if !header.ok {
            check.warnings.push("rr failed during the recording: a replay ends at that point".into());
        }
        if header.compatibility > COMPATIBILITY {
            let needs = header.compatibility;
            check.warnings.push(format!("it needs an rr of compatibility {needs}; rr 5.9.0 has {COMPATIBILITY}"));
        }
        for mapped in self.mapped()? {
            let name = mapped.original.shown();
            match (mapped.still(&self.path), mapped.kept) {
                (FileStatus::Same, _) => {}
                (FileStatus::Missing, Backing::Path) => {
                    check.obstacles.push(format!("`{name}` is missing, and the trace has only its path"));
                }
                (FileStatus::Missing, _) => {
                    check.obstacles.push(format!("`{}` is missing from its folder", mapped.backing.shown()));
                }
                (FileStatus::Changed(how), Backing::Path | Backing::HardLink) => {
                    check.warnings.push(format!("`{name}` was changed since the recording: {how}"));
                }
                (FileStatus::Changed(how), _) => {
                    check.warnings.push(format!("`{}` differs from what rr wrote: {how}", mapped.backing.shown()));
                }
            }
        }
        let program = self.program()?;
        if program.kept.is_none() {
            let file = program.file.unwrap_or_default();
            let there = if file.exists() { "it is still there" } else { "and it is gone" };
            check
                .warnings
                .push(format!("a debugger gets the program from `{}`, not from the trace: {there}", file.shown()));
        }
        Ok(())
    }
}
