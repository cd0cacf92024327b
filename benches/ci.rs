//! What CI waits for: the matrix of all branches; a build with an overlay against apply, build and revert; a build on a
//! runner that has nothing but a shared cache against one on a warm machine. In pairs.
//!
//! ```text
//! RR_PATCH_BENCH_REPOSITORY=~/src/installer \           # else no matrix is timed
//! RR_PATCH_BENCH_CHECKOUT=~/src/installer \             # else the fixture, in a temporary folder
//! RR_PATCH_BENCH_PLATFORM=vsphere \                     # else aws
//! RR_PATCH_BENCH_CACHE_PROGRAM="go-cacher" cargo bench --bench ci   # else only Go's own cache, copied
//! ```
//!
//! The limits: half a second for 300 references; no more than apply, build and revert; 1.5 times the warm build.
//! A checkout must not be patched, and all that git ignores in it goes before each build.

mod common;

use std::path::Path;
use std::process::Command;

use common::median;

const ROUNDS: usize = 5;

fn main() {
    if let Some(repository) = std::env::var_os("RR_PATCH_BENCH_REPOSITORY") {
        matrix(Path::new(&repository));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (checkout, _) = common::checkout(folder.path());
    println!("{}: {ROUNDS} rounds after one", checkout.display());
    overlay(&checkout);
    shared_cache(&checkout, folder.path());
}

/// All references of a repository, for one platform.
fn matrix(repository: &Path) {
    let plan = || {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_rr-patch"));
        tool.args(["ci", "matrix", "--refs", "refs/*", "--platform", "aws", "--limit", "100000", "--format", "json"]);
        common::run(tool.arg(repository), &[0])
    };
    let (_, printed) = plan();
    let printed: serde_json::Value = serde_json::from_slice(&printed).expect("a document");
    let length = |name: &str| printed[name].as_array().expect("a list").len();
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| plan().0).collect();
    println!("ci matrix: {:.3} s for {} rows and {} refused", median(&mut times), length("rows"), length("refused"));
}

fn platform() -> String {
    std::env::var("RR_PATCH_BENCH_PLATFORM").unwrap_or_else(|_| "aws".into())
}

fn tool(checkout: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> f64 {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_rr-patch"));
    seconds(tool.current_dir(checkout).args(arguments).envs(environment.iter().copied()))
}

fn build(checkout: &Path, overlay: bool, environment: &[(&str, &str)]) -> f64 {
    let platform = platform();
    // Each has an installer of its own: Go links none that is there already, and the two say another version.
    let output = if overlay { "bin/overlaid" } else { "bin/applied" };
    let mut arguments = vec!["build", "--skip-envtest", "--platform", &platform, "--output", output];
    arguments.extend(overlay.then_some("--overlay"));
    tool(checkout, &arguments, environment)
}

/// A build that compiles nothing anew but what the changes touch.
fn overlay(checkout: &Path) {
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        let with = || build(checkout, true, &[]);
        let without =
            || tool(checkout, &["apply"], &[]) + build(checkout, false, &[]) + tool(checkout, &["revert"], &[]);
        let (with, without) = if round % 2 == 0 {
            (with(), without())
        } else {
            let without = without();
            (with(), without)
        };
        // The first round fills the caches.
        if round > 0 {
            times.iter_mut().zip([with, without, with / without]).for_each(|(all, one)| all.push(one));
        }
    }
    let [with, without, ratio] = times;
    common::table([("build --overlay, s", with), ("apply, build, revert, s", without), ("ratio", ratio)]);
}

/// A fresh checkout with a warm cache, and with an empty one beside the shared one.
fn shared_cache(checkout: &Path, folder: &Path) {
    let at = |name: &str| folder.join(name).to_str().expect("a path that is text").to_owned();
    let (warm, shared) = (at("warm"), at("shared"));
    let program = std::env::var("RR_PATCH_BENCH_CACHE_PROGRAM").ok();
    let program = program.map(|program| format!("{program} --cache-dir {shared}"));
    let fresh = || seconds(Command::new("git").current_dir(checkout).args(["clean", "-fdxq"]));
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        fresh();
        let on_warm = build(checkout, true, &[("GOCACHE", &warm)]);
        fresh();
        let empty = at(&format!("runner-{round}"));
        let on_runner = match &program {
            Some(program) => build(checkout, true, &[("GOCACHE", &empty), ("GOCACHEPROG", program)]),
            None => {
                // As an engine hands it out.
                seconds(Command::new("cp").args(["-R", &warm, &empty]));
                build(checkout, true, &[("GOCACHE", &empty)])
            }
        };
        let _ = std::fs::remove_dir_all(&empty);
        if round > 0 {
            times.iter_mut().zip([on_warm, on_runner, on_runner / on_warm]).for_each(|(all, one)| all.push(one));
        }
    }
    let [warm, runner, ratio] = times;
    common::table([("warm build, s", warm), ("build on a runner, s", runner), ("ratio", ratio)]);
}

fn seconds(command: &mut Command) -> f64 {
    common::run(command, &[0]).0
}
