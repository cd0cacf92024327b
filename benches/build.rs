//! `rr-patch build` against the bare `hack/build.sh` with the same environment, in pairs on a warm cache:
//! what looking before, watching and proving cost.
//!
//! ```text
//! RR_PATCH_BENCH_CHECKOUT=~/src/installer cargo bench --bench build   # else the fixture, in a temporary folder
//! ```
//!
//! The checkout must be patched and without changes since a build of it: what is timed is a build that
//! compiles nothing. The limit is half a second, or two of a hundred parts where that is more.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 10;
const ENVIRONMENT: [(&str, &str); 3] = [("MODE", "dev"), ("TAGS", "release"), ("SKIP_ENVTEST", "y")];

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkout = match std::env::var_os("RR_PATCH_BENCH_CHECKOUT") {
        Some(path) => PathBuf::from(path),
        None => fixture(folder.path()),
    };
    let tool =
        || run(Command::new(env!("CARGO_BIN_EXE_rr-patch")).current_dir(&checkout).arg("build").envs(ENVIRONMENT));
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
    println!("{:<24}{:>8}{:>8}{:>8}", "", "min", "median", "max");
    let mut medians = Vec::new();
    for (name, mut values) in ["hack/build.sh, s", "rr-patch build, s", "difference, s"].into_iter().zip(times) {
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        println!("{name:<24}{:>8.2}{median:>8.2}{:>8.2}", values[0], values[values.len() - 1]);
        medians.push(median);
    }
    let limit = (medians[0] * 0.02).max(0.5);
    println!("median of the differences {:.2} s, limit {limit:.2} s", medians[2]);
}

fn swapped(first: f64, second: f64) -> (f64, f64) {
    (second, first)
}

/// Runs to the end, and returns the seconds it took.
fn run(command: &mut Command) -> f64 {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program is there");
    let took = began.elapsed().as_secs_f64();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    took
}

/// The fixture, patched and in git.
fn fixture(folder: &Path) -> PathBuf {
    let checkout = folder.join("installer");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/installer");
    run(Command::new("cp").arg("-r").args([&from, &checkout]));
    let identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"];
    for arguments in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "fixture"]] {
        run(Command::new("git").current_dir(&checkout).args(identity).args(arguments));
    }
    run(Command::new(env!("CARGO_BIN_EXE_rr-patch")).current_dir(&checkout).arg("apply"));
    checkout
}
