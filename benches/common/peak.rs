//! A whole process on a clock, and the most memory that it had at once.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs to the end, which must be a success, and returns the seconds it took and the most memory in kB that the
/// process itself had at once. What it prints is thrown away.
pub fn run(command: &mut Command) -> (f64, u64) {
    let words = tempfile::tempfile().expect("a temporary file");
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(words.try_clone().expect("the same file again"))
        .spawn()
        .expect("the program is there");
    let mut most = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        most = most.max(peak(child.id()));
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = began.elapsed().as_secs_f64();
    assert!(status.success(), "{command:?} ended with {status}: {}", text(words));
    (took, most)
}

/// The most memory in kB that a process had at once until now; nothing of one that has ended.
pub fn peak(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let most = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    most.and_then(|most| most.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// What a process wrote to a file.
pub fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    read.map_or_else(|error| error.to_string(), |_| String::from_utf8_lossy(&bytes).into_owned())
}
