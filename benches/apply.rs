//! Whole processes, in turn: `rr-patch apply`, by structure and with a patch, against `git apply` of the
//! same change, and `rr-patch status`. criterion is left out: it repeats one call, and here each has to be undone before the next.
//!
//! ```text
//! RR_PATCH_BENCH_CHECKOUT=~/src/installer cargo bench --bench apply   # else the fixture, in a temporary folder
//! ```
//!
//! The checkout must not be patched, and is left as it was. Machines are noisy: the ratio is of each
//! pair, run one after the other.

mod common;

use std::process::Command;

const ROUNDS: usize = 40;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (checkout, _) = common::checkout(folder.path());
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
    common::table([
        ("rr-patch apply, ms", apply),
        ("rr-patch status, ms", status),
        ("rr-patch revert, ms", revert),
        ("apply --patch, ms", patch),
        ("git apply, ms", git_apply),
        ("apply / git apply", ratios.0),
        ("apply --patch / git apply", ratios.1),
    ]);
}

/// The milliseconds that a command took, and what it printed.
fn run(command: &mut Command) -> (f64, String) {
    let (seconds, printed) = common::run(command, &[0]);
    (seconds * 1000.0, String::from_utf8_lossy(&printed).into_owned())
}
