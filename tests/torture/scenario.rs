//! What is tortured: a tree, a command, and what a user does next.

use std::fs;
use std::path::Path;

use crate::harness::{self, PROCESS, SYSTEM, fixtures};
use crate::sandbox::{Place, World, chmod};
use crate::streams::{self, Layout};

/// A command on a prepared tree.
pub struct Scenario {
    pub name: &'static str,
    pub command: &'static [&'static str],
    /// What is done to the fixture before.
    prepare: &'static [Prepare],
    /// What a user may do next. The first repeats the command.
    pub follow_ups: &'static [FollowUp],
    /// What the tree is in the end, as far as it differs from the fixture as committed.
    kept: &'static [Kept],
}

enum Prepare {
    /// The tool is run, and ends with 0.
    Tool(&'static [&'static str]),
    /// An edit far from what apply changes.
    Append(&'static str),
    /// An edit of a line that apply changed.
    Conflict,
    Mode(&'static str, u32),
    /// The fixture has more files, and a patch is beside it.
    Patch,
    /// No checkout, but a store with traces.
    Store,
}

/// What of a user's edits is there after the last revert.
enum Kept {
    Appended(&'static str),
    Edited(&'static str),
    Mode(&'static str, u32),
}

/// Commands that are run one after the other after a disturbance.
pub struct FollowUp {
    pub name: &'static str,
    pub steps: &'static [Step],
}

/// One of them.
pub struct Step {
    pub arguments: &'static [&'static str],
    /// The exit codes that are right.
    pub codes: &'static [i32],
    /// When the tree is then as if there had been no disturbance.
    pub exact: Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    Always,
    OnSuccess,
    Never,
}

const fn step(arguments: &'static [&'static str]) -> Step {
    Step { arguments, codes: &[0], exact: Exact::Always }
}

/// A command that may refuse: half reverted files with edits cannot always be patched.
const fn attempt(arguments: &'static [&'static str]) -> Step {
    Step { arguments, codes: &[0, 3], exact: Exact::Never }
}

const APPLY: &[&str] = &["apply"];
const OTHER: &[&str] = &["apply", "--signal", "rr", "--controllers", "all"];
const REVERT: &[&str] = &["revert"];
const FORCE: &[&str] = &["revert", "--force"];
const COMMIT: &[&str] = &["apply", "--commit"];
const BRANCH: &[&str] = &["apply", "--commit", "--branch", "debug/rr"];
const PATCH: &[&str] = &["apply", "--mode", "patch", "--patch", "../ours.patch"];
pub const PRUNE: &[&str] = &["traces", "prune", "--yes"];
const PACK: &[&str] = &["traces", "pack", "aws", "-o", "aws.tar.zst"];
const UNPACK: &[&str] = &["traces", "unpack", "aws.tar.zst", "-C", "other"];

/// The text of an edit.
pub const MINE: &str = "\n// mine\n";
const EXECUTABLE: &str = "pkg/clusterapi/internal/process/process_unix.go";

const fn again(steps: &'static [Step]) -> FollowUp {
    FollowUp { name: "again", steps }
}

const fn then_apply(steps: &'static [Step]) -> FollowUp {
    FollowUp { name: "apply", steps }
}

const BACK: FollowUp = FollowUp { name: "back", steps: &[step(REVERT)] };

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "apply",
        command: APPLY,
        prepare: &[],
        follow_ups: &[again(&[step(APPLY), step(REVERT)]), BACK],
        kept: &[],
    },
    Scenario {
        name: "apply-again",
        command: OTHER,
        prepare: &[Prepare::Tool(APPLY)],
        follow_ups: &[again(&[step(OTHER), step(REVERT)]), BACK],
        kept: &[],
    },
    Scenario {
        name: "revert",
        command: REVERT,
        prepare: &[Prepare::Tool(APPLY)],
        follow_ups: &[BACK, then_apply(&[step(APPLY), step(REVERT)])],
        kept: &[],
    },
    Scenario {
        name: "revert-merged",
        command: REVERT,
        prepare: &[
            Prepare::Tool(APPLY),
            Prepare::Append(SYSTEM),
            Prepare::Append(PROCESS),
            Prepare::Mode(EXECUTABLE, 0o755),
        ],
        follow_ups: &[BACK, then_apply(&[attempt(APPLY), step(REVERT)])],
        kept: &[Kept::Appended(SYSTEM), Kept::Appended(PROCESS), Kept::Mode(EXECUTABLE, 0o755)],
    },
    Scenario {
        name: "revert-force",
        command: FORCE,
        prepare: &[Prepare::Tool(APPLY), Prepare::Conflict],
        follow_ups: &[FollowUp { name: "back", steps: &[step(FORCE)] }, then_apply(&[attempt(APPLY), step(FORCE)])],
        kept: &[Kept::Edited(PROCESS)],
    },
    Scenario {
        name: "apply-commit",
        command: COMMIT,
        prepare: &[],
        follow_ups: &[again(&[step(COMMIT), step(REVERT)]), BACK],
        kept: &[],
    },
    Scenario {
        name: "apply-branch",
        command: BRANCH,
        prepare: &[],
        follow_ups: &[again(&[step(BRANCH), step(REVERT)]), BACK],
        kept: &[],
    },
    Scenario {
        name: "revert-commit",
        command: REVERT,
        prepare: &[Prepare::Tool(COMMIT)],
        follow_ups: &[BACK, then_apply(&[step(COMMIT), step(REVERT)])],
        kept: &[],
    },
    Scenario {
        name: "revert-branch",
        command: REVERT,
        prepare: &[Prepare::Tool(BRANCH)],
        follow_ups: &[BACK, then_apply(&[step(BRANCH), step(REVERT)])],
        kept: &[],
    },
    Scenario {
        name: "apply-patch",
        command: PATCH,
        prepare: &[Prepare::Patch],
        follow_ups: &[again(&[step(PATCH), step(REVERT)]), BACK],
        kept: &[],
    },
    Scenario {
        name: "revert-patch",
        command: REVERT,
        prepare: &[Prepare::Patch, Prepare::Tool(PATCH)],
        follow_ups: &[BACK, then_apply(&[step(PATCH), step(REVERT)])],
        kept: &[],
    },
    Scenario {
        name: "prune",
        command: PRUNE,
        prepare: &[Prepare::Store],
        follow_ups: &[again(&[step(PRUNE)])],
        kept: &[],
    },
    Scenario {
        name: "pack",
        command: PACK,
        prepare: &[Prepare::Store],
        follow_ups: &[
            again(&[step(PACK), step(UNPACK)]),
            // A bundle that is there is a whole one.
            FollowUp {
                name: "unpack",
                steps: &[Step { arguments: UNPACK, codes: &[0, 1, 3], exact: Exact::OnSuccess }],
            },
        ],
        kept: &[],
    },
    Scenario {
        name: "unpack",
        command: UNPACK,
        prepare: &[Prepare::Store, Prepare::Tool(PACK)],
        // What is unpacked already is refused.
        follow_ups: &[again(&[Step { arguments: UNPACK, codes: &[0, 3], exact: Exact::Always }])],
        kept: &[],
    },
];

impl Scenario {
    /// Whether it is about a checkout.
    pub fn patches(&self) -> bool {
        !matches!(self.prepare.first(), Some(Prepare::Store))
    }

    /// Whether it makes or removes a commit.
    pub fn commits(&self) -> bool {
        let makes = |arguments: &[&str]| arguments.contains(&"--commit");
        makes(self.command) || self.prepare.iter().any(|done| matches!(done, Prepare::Tool(tool) if makes(tool)))
    }

    /// The tree as it is before the command, and what it must be when all is reverted.
    pub fn prepare(&self, base: &Path) -> (Place, Option<World>) {
        let place = Place::new(base.to_owned());
        if self.patches() {
            harness::copy(&fixtures().join("installer"), &place.tree());
            harness::copy(&fixtures().join("shapes/p2"), &place.tree());
            place.git(&["init", "--quiet", "--initial-branch=main", "--template="]);
            if self.prepare.iter().any(|done| matches!(done, Prepare::Patch)) {
                patch(&place);
            }
            place.git(&["add", "--all"]);
            place.git(&["commit", "--quiet", "--message", "the fixture"]);
        } else {
            store(&place);
        }
        let committed = self.patches().then(|| place.copy(base.with_extension("committed")));
        for done in self.prepare {
            match done {
                Prepare::Tool(arguments) => drop(place.run(arguments).exits(0)),
                Prepare::Append(name) => append(&place, name),
                Prepare::Conflict => conflict(&place),
                Prepare::Mode(name, mode) => chmod(&place.path(name), *mode),
                Prepare::Patch | Prepare::Store => {}
            }
        }
        let restored = committed.map(|committed| {
            for kept in self.kept {
                match kept {
                    Kept::Appended(name) => append(&committed, name),
                    Kept::Edited(name) => {
                        let beside = committed.path(&format!("{name}.edited"));
                        fs::copy(place.path(name), beside).unwrap();
                    }
                    Kept::Mode(name, mode) => chmod(&committed.path(name), *mode),
                }
            }
            committed.world()
        });
        (place, restored)
    }
}

fn append(place: &Place, name: &str) {
    let text = fs::read_to_string(place.path(name)).unwrap();
    fs::write(place.path(name), text + MINE).unwrap();
}

/// Edits a line that apply wrote.
fn conflict(place: &Place) {
    let text = fs::read_to_string(place.path(PROCESS)).unwrap();
    let line = text.lines().find(|line| line.contains("ps.Cmd.Cancel")).expect("apply writes such a line");
    fs::write(place.path(PROCESS), text.replace(line, &format!("{line} // mine"))).unwrap();
}

/// More files, and a patch of them that adds and removes some in folders that have no other.
fn patch(place: &Place) {
    let write = |name: &str, text: &str| {
        let path = place.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("docs/notes.txt", "one\ntwo\nthree\n");
    write("docs/deep/er/only.txt", "the only file\n");
    place.git(&["add", "--all"]);
    write("docs/notes.txt", "one\n2\nthree\n");
    write("docs/new/folder/new.txt", "new\n");
    write("docs/new/run.sh", "#!/bin/sh\n");
    chmod(&place.path("docs/new/run.sh"), 0o755);
    fs::remove_dir_all(place.path("docs/deep")).unwrap();
    place.git(&["add", "--intent-to-add", "--all"]);
    let patch = place.git(&["diff", "--no-renames"]);
    fs::write(place.base().join("ours.patch"), patch).unwrap();
    fs::remove_dir_all(place.path("docs/new")).unwrap();
    write("docs/notes.txt", "one\ntwo\nthree\n");
    write("docs/deep/er/only.txt", "the only file\n");
    chmod(&place.path("docs/deep"), 0o700);
}

fn store(place: &Place) {
    let store = place.path("rr");
    streams::store(&store, Layout::Rr59);
    // What it is depends on its age.
    fs::remove_dir_all(store.join("cluster-api-provider-gcp-0")).unwrap();
    // More than one block.
    let trace = store.join("cluster-api-provider-aws-0");
    fs::write(trace.join("data"), (0..40_u8).flat_map(|n| streams::stream(&vec![n; 40_000])).collect::<Vec<_>>())
        .unwrap();
}
