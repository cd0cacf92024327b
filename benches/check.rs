//! `rr-patch check --all` against what a maintainer would type: for each branch `git show` of the two
//! files, and `git apply --check` of a patch on them.
//!
//! ```text
//! RR_PATCH_BENCH_REPOSITORY=~/src/installer cargo bench --bench check
//! ```
//!
//! There is no stand-in for a repository with a hundred branches: without the variable nothing is timed.

#![expect(clippy::cast_precision_loss, reason = "counts of revisions are small")]

#[expect(dead_code, reason = "the other benchmarks need more of it")]
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::median;

const ROUNDS: usize = 10;
const FILES: [&str; 2] = ["pkg/clusterapi/internal/process/process.go", "pkg/clusterapi/system.go"];

fn main() {
    let Some(repository) = std::env::var_os("RR_PATCH_BENCH_REPOSITORY") else {
        println!("RR_PATCH_BENCH_REPOSITORY names no repository: nothing to time");
        return;
    };
    let repository = Path::new(&repository);
    let check = || {
        run(Command::new(env!("CARGO_BIN_EXE_rr-patch"))
            .arg("check")
            .arg(repository)
            .args(["--all", "--format", "json"]))
    };
    let (_, report) = check();
    let report: serde_json::Value = serde_json::from_slice(&report).expect("check prints JSON");
    let rows = report["revisions"].as_array().expect("a list of revisions");
    let with_files: Vec<&str> =
        rows.iter().filter(|row| row["ok"] == true).filter_map(|row| row["commit"].as_str()).collect();
    let newest = rows.iter().filter(|row| row["ok"] == true).max_by_key(|row| row["date"].as_str().map(str::to_owned));
    let newest = newest.and_then(|row| row["commit"].as_str()).expect("a revision that can be patched");
    let (_, patch) =
        run(Command::new(env!("CARGO_BIN_EXE_rr-patch")).arg("diff").arg(repository).args(["--rev", newest]));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("change.patch");
    std::fs::write(&file, patch).expect("the patch can be written");
    let tree = folder.path().join("tree");
    let mut times: [Vec<f64>; 2] = Default::default();
    let mut fits = 0;
    for _ in 0..ROUNDS {
        times[0].push(check().0);
        let began = Instant::now();
        fits = with_files.iter().filter(|commit| by_hand(repository, commit, &tree, &file)).count();
        times[1].push(began.elapsed().as_secs_f64());
    }
    println!(
        "{} revisions, {} of them with the files; the newest one's patch fits {fits}",
        rows.len(),
        with_files.len()
    );
    let mut ratios: Vec<f64> = times[0].iter().zip(&times[1]).map(|(ours, theirs)| ours / theirs).collect();
    let [mut ours, mut theirs] = times;
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!("rr-patch check --all        {ours:>7.3} s, {:>7.0} revisions a second", rows.len() as f64 / ours);
    println!(
        "git show, git apply --check {theirs:>7.3} s, {:>7.0} revisions a second",
        with_files.len() as f64 / theirs
    );
    println!("check / by hand             {:>7.3}", median(&mut ratios));
}

fn by_hand(repository: &Path, commit: &str, tree: &Path, patch: &Path) -> bool {
    for path in FILES {
        let (_, bytes) = run(Command::new("git").arg("-C").arg(repository).args(["show", &format!("{commit}:{path}")]));
        let to = tree.join(path);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder can be made");
        std::fs::write(to, bytes).expect("a file can be written");
    }
    let apply =
        Command::new("git").current_dir(tree).args(["apply", "--check"]).arg(patch).stderr(Stdio::null()).status();
    apply.expect("git is there").success()
}

/// `check` ends with 4 where a branch does not fit.
fn run(command: &mut Command) -> (f64, Vec<u8>) {
    common::run(command, &[0, 4])
}
