//! `rr-patch traces pack` against `tar | zstd` of the same files at the same level, both to the disk, and the
//! memory that ours takes.
//!
//! ```text
//! RR_PATCH_BENCH_TRACE=~/.local/share/rr/cluster-api-provider-aws-0 RR_PATCH_BENCH_LEVEL=3 cargo bench --bench pack
//! ```
//!
//! Without a trace it takes a stand-in: 300 MB that do not compress, as rr's own streams do not, and a
//! program of 100 MB.

#![expect(clippy::cast_precision_loss, reason = "sizes and times are small")]

#[expect(dead_code, reason = "the other benchmarks need more of it")]
mod common;
#[path = "common/peak.rs"]
mod peak;
#[path = "../tests/streams.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod streams;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::median;
use peak::run;
use streams::{Layout, complete, program};

const ROUNDS: usize = 5;
const PROGRAM: &str = "mmap_copy_3_cluster-api-provider-aws";

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = match std::env::var_os("RR_PATCH_BENCH_TRACE") {
        Some(trace) => PathBuf::from(trace),
        None => stand_in(folder.path()),
    };
    let level = std::env::var("RR_PATCH_BENCH_LEVEL").unwrap_or_else(|_| "3".into());
    let bundle = folder.path().join("bundle.tar.zst");
    let pack = || {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_rr-patch"));
        tool.args(["traces", "pack"]).arg(&trace).arg("-o").arg(&bundle).args(["--level", &level]);
        run(&mut tool)
    };
    let unpack = |name: &str| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_rr-patch"));
        tool.args(["traces", "unpack"]).arg(&bundle).arg("-C").arg(folder.path()).args(["--name", name]);
        run(&mut tool)
    };
    // What tar gets is what is in the bundle: the sources too.
    pack();
    unpack("unpacked");
    let files = folder.path().join("unpacked");
    let by_hand = folder.path().join("by-hand.tar.zst");
    // On the disk, as ours is when it says so.
    let (from, to) = (files.display(), by_hand.display());
    let tar = format!("tar -C '{from}' -cf - . | zstd -{level} -T0 -q -f -o '{to}' && sync '{to}'");
    let tar = || run(Command::new("sh").args(["-c", &tar]));
    // The shell's memory is not that of tar and zstd.
    let tar = || (tar().0, 0);
    let (mut ours, mut theirs, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(pack());
        theirs.push(tar());
        let name = format!("round-{round}");
        back.push(unpack(&name));
        fs::remove_dir_all(folder.path().join(name)).expect("what was unpacked can be removed");
    }
    let bytes = size(&files);
    println!("{:.1} MB at level {level}, {ROUNDS} rounds, medians", bytes as f64 / 1e6);
    let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours.0 / theirs.0).collect();
    let show = |what: &str, runs: Vec<(f64, u64)>, packed: Option<&Path>| {
        let seconds = median(&mut runs.iter().map(|run| run.0).collect::<Vec<_>>());
        let peak = runs.iter().map(|run| run.1).max().unwrap_or_default();
        let packed = packed.map(|packed| format!(", {:.1} MB", size(packed) as f64 / 1e6)).unwrap_or_default();
        let speed = bytes as f64 / 1e6 / seconds;
        let peak = if peak > 0 { format!(", peak {:.1} MB", peak as f64 / 1e3) } else { String::new() };
        println!("{what:<24} {seconds:>7.3} s, {speed:>6.0} MB/s{packed}{peak}");
    };
    show("rr-patch traces pack", ours, Some(&bundle));
    show("tar | zstd -T0, sync", theirs, Some(&by_hand));
    show("rr-patch traces unpack", back, None);
    println!("pack / by hand           {:>7.3}", median(&mut ratios));
}

fn stand_in(folder: &Path) -> PathBuf {
    let trace = folder.join("rr/cluster-api-provider-aws-0");
    fs::create_dir_all(&trace).expect("a folder");
    // A real program, as often as makes it as large as a controller.
    let own = fs::read(env!("CARGO_BIN_EXE_rr-patch")).expect("our own program");
    let mut copy = File::create(trace.join(PROGRAM)).expect("a file");
    (0..100_000_000 / own.len()).for_each(|_| copy.write_all(&own).expect("room for 400 MB"));
    let path = Path::new("/opt/cluster-api-provider-aws");
    // The size of the program is taken from the file.
    complete(&trace, Layout::Rr59, &["/opt/cluster-api-provider-aws"], &[program(path, PROGRAM)]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = File::create(trace.join("data")).expect("a file");
    for _ in 0..300 {
        let mut noise = Vec::with_capacity(1_000_000);
        while noise.len() < 1_000_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend_from_slice(&state.to_le_bytes());
        }
        data.write_all(&noise).expect("room for 400 MB");
    }
    trace
}

fn size(path: &Path) -> u64 {
    let seen = path.symlink_metadata().expect("what was written is there");
    if !seen.is_dir() {
        return seen.len();
    }
    fs::read_dir(path).expect("a folder").map(|entry| size(&entry.expect("an entry").path())).sum()
}
