//! Whole processes, in turn: `rr-patch apply`, by structure and with a patch, against `git apply` of the
//! same change, and `rr-patch status`. criterion is left out: it repeats one call, and here each has to be undone before the next.
//!
//! ```text
//! RR_PATCH_BENCH_CHECKOUT=~/src/installer cargo bench --bench apply   # else the fixture, in a temporary folder
//! ```
//!
//! The checkout must not be patched, and is left as it was. Machines are noisy: the ratio is of each
//! pair, run one after the other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 40;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkout = match std::env::var_os("RR_PATCH_BENCH_CHECKOUT") {
        Some(path) => PathBuf::from(path),
        None => fixture(folder.path()),
    };
    let tool_with =
        |arguments: &[&str]| run(Command::new(env!("CARGO_BIN_EXE_rr-patch")).current_dir(&checkout).args(arguments));
    let tool = |command| tool_with(&[command]);
    let git = |arguments: &[&str]| run(Command::new("git").current_dir(&checkout).args(arguments));

    let (_, status) = tool("status");
    assert!(status.contains("is not patched"), "the checkout is patched: `rr-patch revert` first");
    let (_, patch) = tool("diff");
    let file = folder.path().join("change.patch");
    std::fs::write(&file, patch).expect("the patch can be written");
    let file = file.to_str().expect("a path that is text");
    let (_, files) = git(&["ls-files"]);
    println!("{}: {} files in the index, {ROUNDS} rounds after one", checkout.display(), files.lines().count());

    let mut times: [Vec<f64>; 5] = Default::default();
    for round in 0..=ROUNDS {
        let (apply, _) = tool("apply");
        let (status, _) = tool("status");
        let (revert, _) = tool("revert");
        let (patch, _) = tool_with(&["apply", "--patch", file]);
        tool("revert");
        let (git_apply, _) = git(&["apply", file]);
        git(&["apply", "--reverse", file]);
        // The first round fills the caches.
        if round > 0 {
            times.iter_mut().zip([apply, status, revert, patch, git_apply]).for_each(|(all, one)| all.push(one));
        }
    }
    let [apply, status, revert, patch, git_apply] = times;
    let ratio = |ours: &[f64]| ours.iter().zip(&git_apply).map(|(ours, theirs)| ours / theirs).collect();
    let ratios = (ratio(&apply), ratio(&patch));
    println!("{:<28}{:>8}{:>8}{:>8}", "", "min", "median", "max");
    let rows = [
        ("rr-patch apply, ms", apply),
        ("rr-patch status, ms", status),
        ("rr-patch revert, ms", revert),
        ("apply --patch, ms", patch),
        ("git apply, ms", git_apply),
        ("apply / git apply", ratios.0),
        ("apply --patch / git apply", ratios.1),
    ];
    for (name, mut values) in rows {
        values.sort_by(f64::total_cmp);
        println!("{name:<28}{:>8.2}{:>8.2}{:>8.2}", values[0], values[values.len() / 2], values[values.len() - 1]);
    }
}

/// Runs to the end, and returns the milliseconds it took and what it printed.
fn run(command: &mut Command) -> (f64, String) {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program is there");
    let took = began.elapsed().as_secs_f64() * 1000.0;
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (took, String::from_utf8_lossy(&output.stdout).into_owned())
}

fn fixture(folder: &Path) -> PathBuf {
    let checkout = folder.join("installer");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/installer");
    run(Command::new("cp").arg("-r").args([&from, &checkout]));
    let identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"];
    for arguments in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "fixture"]] {
        run(Command::new("git").current_dir(&checkout).args(identity).args(arguments));
    }
    checkout
}
