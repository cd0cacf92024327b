//! What the benchmarks share: the checkout that they time on, whole processes on a clock, and rows of figures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The checkout that `RR_PATCH_BENCH_CHECKOUT` names, or else the fixture, in git below `folder`; and whether
/// it is the fixture.
pub fn checkout(folder: &Path) -> (PathBuf, bool) {
    if let Some(path) = std::env::var_os("RR_PATCH_BENCH_CHECKOUT") {
        return (path.into(), false);
    }
    let checkout = folder.join("installer");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/installer");
    run(Command::new("cp").arg("-r").args([&from, &checkout]), &[0]);
    let identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"];
    for arguments in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "fixture"]] {
        run(Command::new("git").current_dir(&checkout).args(identity).args(arguments), &[0]);
    }
    (checkout, true)
}

/// Runs to the end, which must be one of these exit codes, and returns the seconds it took and what it printed.
pub fn run(command: &mut Command, codes: &[i32]) -> (f64, Vec<u8>) {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the program is there");
    let took = began.elapsed().as_secs_f64();
    let ended = output.status.code().is_some_and(|code| codes.contains(&code));
    assert!(ended, "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (took, output.stdout)
}

/// The median; `values` are sorted then.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints rows of what was measured, and returns the median of each.
pub fn table<const N: usize>(rows: [(&str, Vec<f64>); N]) -> [f64; N] {
    println!("{:<28}{:>8}{:>8}{:>8}", "", "min", "median", "max");
    rows.map(|(name, mut values)| {
        let median = median(&mut values);
        println!("{name:<28}{:>8.2}{median:>8.2}{:>8.2}", values[0], values[values.len() - 1]);
        median
    })
}
