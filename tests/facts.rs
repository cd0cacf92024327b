//! What is asked once in a command: the bytes of an installer, what a trace holds, the versions of rr and Delve.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tempfile::TempDir;

use crate::end_to_end::installer;
use crate::harness::{Run, command, copy, fixtures, skip, write_program};
use crate::{debugger, recorder};

const AWS: &str = "cluster-api-provider-aws-0";

/// So many bytes that nothing else of a command counts beside them.
const PADDING: u64 = 256 << 20;

/// The patched installer of the fixture, in a folder of its own and with [`PADDING`] behind it.
fn padded() -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("rr-patch-facts").tempdir().unwrap();
    let path = folder.path().join("openshift-install");
    copy(&installer(true), &path);
    let mut truncate = command("truncate");
    Run::of(truncate.arg(format!("--size=+{PADDING}")).arg(&path).output().unwrap()).exits(0);
    (folder, path)
}

/// How many bytes a program and what it started read; nothing where the kernel does not count them.
fn bytes_read(mut program: Command) -> Option<(u64, Run)> {
    let child = program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    // It is a zombie until it is waited for, and its counters are still there.
    let output = std::thread::spawn(move || {
        let id = WaitId::Pid(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap());
        waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let counters = fs::read_to_string(format!("/proc/{pid}/io"));
        (counters, Run::of(child.wait_with_output().unwrap()))
    });
    let (counters, run) = output.join().unwrap();
    let Ok(counters) = counters else {
        skip(&["task-io"], "this kernel does not say how many bytes a process read");
        return None;
    };
    let read = counters.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    Some((read.parse().unwrap(), run))
}

#[test]
fn inspect_reads_an_installer_once() {
    let (_folder, path) = padded();
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    tool.arg("inspect").arg(&path);
    let Some((read, run)) = bytes_read(tool) else { return };
    run.exits(0).prints(&["is a recording installer"]);
    let size = path.metadata().unwrap().len();
    assert!(read > size && read < 2 * PADDING, "{read} bytes were read of {size}");
}

#[test]
fn record_reads_an_installer_once() {
    let (folder, path) = padded();
    let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
    // Refused after all of it was looked into.
    tool.current_dir(folder.path()).env("RR_PATCH_RECORD", "off");
    tool.arg("record").arg(&path).args(["--trace-dir", "traces", "--", "create", "cluster"]);
    let Some((read, run)) = bytes_read(tool) else { return };
    run.exits(2).says(&["RR_PATCH_RECORD is `off`"]);
    let size = path.metadata().unwrap().len();
    assert!(read > size && read < 2 * PADDING, "{read} bytes were read of {size}");
}

/// Counts how often a file is opened.
pub struct Opens(OwnedFd);

impl Opens {
    pub fn of(file: &Path) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        // With the ends between them, two opens are never merged into one.
        inotify::add_watch(&watch, file, WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE).unwrap();
        Self(watch)
    }

    pub fn count(&self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut count = 0;
        while let Ok(event) = reader.next() {
            count += usize::from(event.events().contains(inotify::ReadFlags::OPEN));
        }
        count
    }
}

/// The store of the fixture of rr 5.9, with wrappers of the stand-ins that note what they are asked.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rr-patch-facts").tempdir().unwrap();
        let desk = Self { folder };
        copy(&fixtures().join("traces/5.9"), &desk.path("rr"));
        fs::create_dir(desk.path("programs")).unwrap();
        for (name, stand_in) in [("rr", recorder::folder()), ("dlv", debugger::folder())] {
            let (path, calls) = (desk.path("programs").join(name), desk.path(name).with_extension("calls"));
            let line =
                format!("#!/bin/sh\necho \"$*\" >> {}\nexec {}/{name} \"$@\"\n", calls.display(), stand_in.display());
            write_program(&path, line);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        let path = std::env::var("PATH").unwrap();
        tool.current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("programs").display()))
            .env("_RR_TRACE_DIR", self.path("rr"))
            .args(arguments);
        Run::of(tool.output().unwrap())
    }

    /// How often a stand-in was asked this.
    fn asked(&self, program: &str, question: &str) -> usize {
        let calls = fs::read_to_string(self.path(program).with_extension("calls")).unwrap_or_default();
        calls.lines().filter(|call| *call == question).count()
    }

    #[track_caller]
    fn asked_once(&self, delve: usize) {
        for question in ["--version", "help record", "-W -N"] {
            assert_eq!(self.asked("rr", question), 1, "rr {question}");
        }
        assert_eq!(self.asked("dlv", "version"), delve, "dlv version");
    }
}

#[test]
fn what_a_trace_maps_is_decoded_once() {
    let desk = Desk::new();
    let opens = Opens::of(&desk.path("rr").join(AWS).join("mmaps"));
    desk.run(&["traces", "show", AWS]).exits(0).prints(&["it can be replayed"]);
    assert_eq!(opens.count(), 1, "traces show");
    desk.run(&["replay", AWS, "--print"]).exits(0);
    assert_eq!(opens.count(), 1, "replay");
    // Once to decode it, and once to write it anew with other names.
    desk.run(&["traces", "pack", AWS, "-o", "aws.tar.zst"]).exits(0);
    assert_eq!(opens.count(), 2, "traces pack");
}

#[test]
fn doctor_asks_rr_and_delve_once() {
    let desk = Desk::new();
    let run = desk.run(&["doctor", "--quick"]);
    assert!(run.stdout.contains("Delve for this rr"), "{}", run.stdout);
    desk.asked_once(1);
    let desk = Desk::new();
    desk.run(&["doctor", "--quick", "--rr", desk.path("programs/rr").to_str().unwrap()]);
    desk.asked_once(1);
}

#[test]
fn replay_asks_rr_and_delve_once() {
    let desk = Desk::new();
    desk.run(&["replay", AWS, "--print"]).exits(0);
    desk.asked_once(1);
}

#[test]
fn record_asks_rr_and_delve_once() {
    let desk = Desk::new();
    fs::create_dir(desk.path("install")).unwrap();
    fs::write(desk.path("install/metadata.json"), "{\"platform\":\"aws\"}").unwrap();
    let (installer, install) = (installer(true), desk.path("install"));
    let arguments = ["record", "--unchecked", installer.to_str().unwrap(), "--", "create", "cluster", "--dir"];
    desk.run(&[&arguments[..], &[install.to_str().unwrap()]].concat()).prints(&["1 trace in `"]);
    desk.asked_once(1);
}
