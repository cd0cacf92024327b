//! The build's progress, read from what it prints.
//!
//! build.sh runs with `set -x`, so a line that begins with `+ ` names the command that runs now, and
//! make prints each recipe before it runs it. Neither says when a recipe has ended: the processes do
//! while they can be seen, and in the end the time of the file that it wrote.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use super::controllers::{PROVIDER, is_controller};
use super::script::SCRIPT;

/// How many of the last lines a failure shows.
const LAST_LINES: usize = 20;

/// The phase of the final `go build`.
pub const INSTALLER: &str = "installer";

const GENERATE: &str = "generate";

/// A part of the build with its times, in seconds since it began.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Phase {
    pub name: String,
    pub began: f64,
    pub seconds: f64,
}

/// A phase that goes on.
#[derive(Clone, Debug)]
pub struct Open {
    pub name: String,
    pub began: f64,
    /// The binary that it makes; a step of build.sh, which ends with the next one, makes none.
    target: Option<String>,
    /// Its `go build` was among the processes.
    seen: bool,
    /// What is compiled for it.
    pub works_on: String,
}

/// All phases so far, and the lines that tell them.
#[derive(Debug)]
pub struct Phases {
    began: Instant,
    wall: SystemTime,
    pub open: Vec<Open>,
    pub done: Vec<Phase>,
    /// How many controllers make has made.
    pub made: usize,
    partial: Vec<u8>,
    step: Option<String>,
    target: Option<String>,
    last: VecDeque<String>,
}

/// A binary's short name: that of the provider, `cluster-api`, or `terraform` and what of it.
pub fn short(binary: &str) -> String {
    match binary.strip_prefix("terraform-provider-") {
        Some(of_terraform) => format!("terraform {of_terraform}"),
        None => binary.strip_prefix(PROVIDER).unwrap_or(binary).to_owned(),
    }
}

impl Phases {
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            wall: SystemTime::now(),
            open: Vec::new(),
            done: Vec::new(),
            made: 0,
            partial: Vec::new(),
            step: None,
            target: None,
            last: VecDeque::new(),
        }
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Reads what was printed.
    pub fn see(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_of_line();
            }
        }
    }

    /// Ends a line that may not be whole.
    pub fn end_of_line(&mut self) {
        if self.partial.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        if let Some(step) = line.strip_prefix("+ ") {
            self.step(step);
            self.step = Some(step.to_owned());
        } else if let Some(binary) = output_of(&line) {
            self.start(short(&binary), Some(binary));
        }
        if line.starts_with("make") && line.contains("***") {
            self.target = self.target.take().or_else(|| Some(line.clone()));
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// A command of build.sh ends the one before it.
    fn step(&mut self, command: &str) {
        let program = command.split_whitespace().find(|word| !word.contains('=')).unwrap_or_default();
        let name = match program {
            "zip" => Some("zip"),
            "curl" | "tar" => Some("envtest"),
            "go" if command.contains("go generate") => Some(GENERATE),
            "go" if output_of(command).is_some() => Some(INSTALLER),
            _ => None,
        };
        let same = |open: &Open| open.target.is_none() && Some(open.name.as_str()) == name;
        if self.open.iter().any(same) {
            return;
        }
        self.close_where(|open| open.target.is_none());
        if let Some(name) = name {
            self.start(name.to_owned(), None);
        }
    }

    fn start(&mut self, name: String, target: Option<String>) {
        let began = self.elapsed().as_secs_f64();
        self.open.push(Open { name, began, target, seen: false, works_on: String::new() });
    }

    fn close_where(&mut self, ended: impl Fn(&Open) -> bool) {
        let now = self.elapsed().as_secs_f64();
        let (done, made) = (&mut self.done, &mut self.made);
        self.open.retain(|open| {
            let over = ended(open);
            if over {
                *made += usize::from(open.target.as_deref().is_some_and(is_controller));
                done.push(Phase { name: open.name.clone(), began: open.began, seconds: now - open.began });
            }
            !over
        });
    }

    /// What the processes show: the binaries that are being made, and what is compiled for each.
    pub fn look(&mut self, building: &BTreeSet<String>, packages: &BTreeMap<String, String>) {
        for open in &mut self.open {
            let works_on = match &open.target {
                Some(target) => {
                    open.seen |= building.contains(target);
                    packages.get(target)
                }
                None if open.name == INSTALLER => {
                    packages.iter().find(|(of, _)| building.contains(*of)).map(|(_, p)| p)
                }
                None => None,
            };
            if let Some(works_on) = works_on {
                open.works_on.clone_from(works_on);
            }
        }
        self.close_where(|open| open.seen && open.target.as_ref().is_some_and(|target| !building.contains(target)));
    }

    /// A child has ended: nothing goes on. Binaries in `folder` tell when they were made.
    pub fn close(&mut self, folder: &Path) {
        self.end_of_line();
        let made: BTreeMap<String, String> =
            self.open.iter().filter_map(|open| Some((open.name.clone(), open.target.clone()?))).collect();
        self.close_where(|_| true);
        let wall = self.wall;
        for phase in &mut self.done {
            let Some(target) = made.get(&phase.name) else { continue };
            let written = std::fs::metadata(folder.join(target)).and_then(|seen| seen.modified()).ok();
            let at = written.and_then(|at| at.duration_since(wall).ok()).map(|at| at.as_secs_f64());
            if let Some(at) = at.filter(|at| *at >= phase.began && *at < phase.began + phase.seconds) {
                phase.seconds = at - phase.began;
            }
        }
        self.done.sort_by(|a, b| a.began.total_cmp(&b.began));
    }

    /// The command that runs, or ran last.
    pub fn current(&self) -> String {
        self.step.clone().unwrap_or_else(|| format!("./{SCRIPT}"))
    }

    /// Says what runs that no line tells.
    pub fn runs(&mut self, command: &str) {
        self.step = Some(command.to_owned());
    }

    /// Whether `go generate` runs now.
    pub fn generates(&self) -> bool {
        self.open.iter().any(|open| open.name == GENERATE)
    }

    /// What make said of the target that failed first.
    pub fn failed_target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    pub fn last_line(&self) -> &str {
        self.last.back().map(String::as_str).unwrap_or_default()
    }

    pub fn last_lines(&self) -> String {
        self.last.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// The name of what a line with a `go build … -o PATH` makes.
fn output_of(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("go build")?;
    let path = rest.split_once(" -o ")?.1.split_whitespace().next()?;
    Some(path.trim_matches(['"', '\'']).rsplit('/').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_name_the_traced_command_and_makes_target_across_chunks() {
        let mut phases = Phases::begin();
        for chunk in [
            "+ make -C clus",
            "ter-api all\n++ go env GOOS\ncd x; go build\n",
            "make: *** [Makefile:3: bin/x] Error 1\npart",
        ] {
            phases.see(chunk.as_bytes());
        }
        phases.end_of_line();
        assert_eq!(phases.current(), "make -C cluster-api all");
        assert_eq!(phases.failed_target(), Some("make: *** [Makefile:3: bin/x] Error 1"));
        assert!(phases.last_lines().ends_with("\npart"));
    }

    #[test]
    fn phases_are_the_recipes_of_make_and_the_steps_of_the_script() {
        let mut phases = Phases::begin();
        phases.see(b"+ make -C cluster-api all\ncd providers/aws; \\\nif [ -f main.go ]; then path=\".\"; fi; \\\n");
        phases.see(b"go build -gcflags \"all=-N -l\" -ldflags \"\" -o ../../bin/linux_amd64/cluster-api-provider-aws \"$path\";\n");
        phases.see(b"go build -o ../bin/linux_amd64/cluster-api ./vendor/x\n");
        let open: Vec<&str> = phases.open.iter().map(|open| open.name.as_str()).collect();
        assert_eq!(open, ["aws", "cluster-api"]);
        phases.look(&["cluster-api-provider-aws", "cluster-api"].map(str::to_owned).into(), &BTreeMap::new());
        phases.look(&["cluster-api"].map(str::to_owned).into(), &BTreeMap::new());
        assert_eq!(phases.done[0].name, "aws", "its process has gone");
        phases.see(b"+ curl -fL x\n+ tar -xzf x\n+ zip -j1 a b\n+ GOOS= GOARCH= go generate ./data\n+ echo building\n");
        phases.see(b"+ go build -mod=vendor -o bin/openshift-install ./cmd/openshift-install\n");
        phases.close(Path::new("/nonexistent"));
        let names: Vec<&str> = phases.done.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["aws", "cluster-api", "envtest", "zip", "generate", "installer"]);
        assert!(phases.done.iter().all(|phase| phase.seconds >= 0.0));
    }
}
