//! `rr-patch build` against the bare `hack/build.sh` with the same environment, in pairs on a warm cache:
//! what looking before, watching and proving cost.
//!
//! ```text
//! RR_PATCH_BENCH_CHECKOUT=~/src/installer cargo bench --bench build   # else the fixture, in a temporary folder
//! ```
//!
//! The checkout must be patched and without changes since a build of it: what is timed is a build that
//! compiles nothing. The limit is half a second, or two of a hundred parts where that is more.

mod common;

use std::process::Command;

const ROUNDS: usize = 10;
const ENVIRONMENT: [(&str, &str); 3] = [("MODE", "dev"), ("TAGS", "release"), ("SKIP_ENVTEST", "y")];

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (checkout, ours) = common::checkout(folder.path());
    let command = |name: &str| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_rr-patch"));
        tool.current_dir(&checkout).arg(name);
        tool
    };
    if ours {
        run(&mut command("apply"));
    }
    let tool = || run(command("build").envs(ENVIRONMENT));
    let bare = || run(Command::new("./hack/build.sh").current_dir(&checkout).envs(ENVIRONMENT));

    println!("{}: {ROUNDS} rounds after one", checkout.display());
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        let (bare, tool) = if round % 2 == 0 { (bare(), tool()) } else { swapped(tool(), bare()) };
        // The first round fills the caches.
        if round > 0 {
            times.iter_mut().zip([bare, tool, tool - bare]).for_each(|(all, one)| all.push(one));
        }
    }
    let [bare, tool, difference] = times;
    let [bare, _, difference] =
        common::table([("hack/build.sh, s", bare), ("rr-patch build, s", tool), ("difference, s", difference)]);
    let limit = (bare * 0.02).max(0.5);
    println!("median of the differences {difference:.2} s, limit {limit:.2} s");
}

fn swapped(first: f64, second: f64) -> (f64, f64) {
    (second, first)
}

/// The seconds that a command took.
fn run(command: &mut Command) -> f64 {
    common::run(command, &[0]).0
}
