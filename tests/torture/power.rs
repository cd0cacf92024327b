//! The power fails: a file system of its own on a loop device is shut down by FS_IOC_SHUTDOWN in the middle
//! of a command, mounted again, and what is there is looked at on "another boot".
//!
//! Without a flush, all that was not synced is lost. With a flush of the file system's journal, names are
//! there whose bytes are not: ext4 gives a file its blocks later than its name.
//!
//! It needs root, loop devices and mkfs. The mounts are in a mount namespace of this program, so they go
//! with it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::checks::{Prepared, Trial};
use crate::harness::Run;
use crate::sandbox::{Place, copy};
use crate::tracer::{Act, Call, Kind, Moment, ioctl_by_tracee, trace};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Xfs,
}

/// Whether the file system writes its journal before it goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    Journal,
    Nothing,
}

/// Set in a program that has a mount namespace of its own.
const OWN_MOUNTS: &str = "RR_PATCH_TORTURE_MOUNTS";

/// The ioctl and its arguments (fs/ext4 and fs/xfs have the same).
const FS_IOC_SHUTDOWN: u64 = 0x8004_587d;
const WITH_JOURNAL: u32 = 1;
const WITHOUT_JOURNAL: u32 = 2;

/// How long a file system may stay in use by others.
const UNMOUNT: Duration = Duration::from_secs(60);

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl FileSystem {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The smallest that mkfs makes.
    fn size(self) -> u64 {
        match self {
            Self::Ext4 => 24 << 20,
            Self::Xfs => 300 << 20,
        }
    }
}

/// Starts this program again with mounts of its own, where the machine allows. Returns where it does not.
pub fn with_own_mounts() {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        return;
    }
    let unshare = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(program);
        command
    };
    let allowed = unshare("true".as_ref()).stderr(std::process::Stdio::null()).status();
    if allowed.is_ok_and(|status| status.success())
        && let Ok(own) = std::env::current_exe()
    {
        let _ = unshare(own.as_os_str()).args(std::env::args_os().skip(1)).env(OWN_MOUNTS, "1").exec();
    }
}

/// Whether the power can fail here on such a file system, and why not.
pub fn available(system: FileSystem, base: &Path) -> Result<(), String> {
    let why = |what: &str| format!("power failures on {}: {what}", system.name());
    if std::env::var_os(OWN_MOUNTS).is_none() {
        return Err(why("this machine does not let us mount"));
    }
    let folder = base.join(format!("try-{}", system.name()));
    let template = Place::new(folder.join("place"));
    let tried = Disk::make(system, &folder.join("image"), &template).and_then(|disk| {
        let mounted = disk.mount(&folder.join("mounted"))?;
        ioctl_by_tracee(&mounted.folder, FS_IOC_SHUTDOWN, WITHOUT_JOURNAL)
            .map_err(|error| format!("FS_IOC_SHUTDOWN: {error}"))?;
        match fs::write(mounted.folder.join("after"), "") {
            Ok(()) => Err("FS_IOC_SHUTDOWN did nothing".to_owned()),
            Err(_) => Ok(()),
        }
    });
    tried.map_err(|error| why(&error))
}

/// A file with a file system in it.
struct Disk {
    image: PathBuf,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.image);
    }
}

/// A mounted one.
struct Mounted {
    folder: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Between fork and exec, a child that another thread starts has what this thread has open. Mounting the
        // image while it is still mounted would give the file system that was shut down: all reads fail.
        let until = Instant::now() + UNMOUNT;
        while let Err(error) = run("umount", &[self.folder.as_os_str()]) {
            if Instant::now() > until {
                assert!(thread::panicking(), "{} stays mounted: {error}", self.folder.display());
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let run = Run::of(output);
    match run.code {
        0 => Ok(()),
        _ => Err(format!("{program}: {}", run.stderr.trim().replace('\n', " | "))),
    }
}

impl Disk {
    /// A new one with a place in it, synced.
    fn make(system: FileSystem, image: &Path, place: &Place) -> Result<Self, String> {
        fs::create_dir_all(image.parent().unwrap()).unwrap();
        File::create(image).and_then(|file| file.set_len(system.size())).map_err(|error| error.to_string())?;
        let disk = Self { image: image.to_owned() };
        let quiet = "-q".as_ref();
        match system {
            // Room for the calls of one command only: less to copy.
            FileSystem::Ext4 => run("mkfs.ext4", &[quiet, "-J".as_ref(), "size=4".as_ref(), image.as_os_str()])?,
            FileSystem::Xfs => run("mkfs.xfs", &[quiet, image.as_os_str()])?,
        }
        let mounted = disk.mount(&image.with_extension("mounted"))?;
        copy(place.base(), &mounted.folder.join("place"));
        drop(mounted);
        Ok(disk)
    }

    fn mount(&self, folder: &Path) -> Result<Mounted, String> {
        fs::create_dir_all(folder).unwrap();
        run("mount", &["-o".as_ref(), "loop".as_ref(), self.image.as_os_str(), folder.as_os_str()])?;
        Ok(Mounted { folder: folder.to_owned() })
    }
}

/// Whether a cut at this call is worth a try: all else happens between two of these.
pub fn applies(call: &Call) -> bool {
    matches!(call.kind, Kind::Rename | Kind::Exchange | Kind::Unlink | Kind::Link | Kind::Sync | Kind::SyncAll)
}

/// Cuts the power after the call, and checks what is there on the next boot.
pub fn cut(prepared: &Prepared, system: FileSystem, flush: Flush, number: usize) -> Option<Trial> {
    let folder = prepared.new_folder();
    let image = Disk::make(system, &folder.join("image"), &prepared.template).unwrap();
    let mounted = image.mount(&folder.join("mounted")).unwrap();
    let place = Place::new(mounted.folder.join("place"));
    let mut reached = None;
    let mut look = |moment: Moment, call: &Call| {
        if call.number != number || moment != Moment::After {
            return Act::Continue;
        }
        reached = Some(call.clone());
        let how = if flush == Flush::Journal { WITH_JOURNAL } else { WITHOUT_JOURNAL };
        ioctl_by_tracee(&mounted.folder, FS_IOC_SHUTDOWN, how).unwrap();
        Act::Kill
    };
    let command = place.tool(prepared.scenario.command);
    let ended = trace(&command, &folder, &[&place.tree()], &mut look).unwrap();
    // Dropped, it would be emptied.
    std::mem::forget(place);
    drop(mounted);
    let call = reached?;
    let mut trial = Trial::default();
    trial.log.push(format!("the power fails after {call}\n{}{}", ended.stdout, ended.stderr));
    let mounted = image.mount(&folder.join("mounted")).unwrap();
    let next_boot = folder.join("boot_id");
    fs::write(&next_boot, format!("00000000-0000-4000-8000-{number:012}\n")).unwrap();
    let place = Place::copy_of(&mounted.folder.join("place"), folder.join("next-boot")).on_boot(next_boot);
    drop((mounted, image));
    trial.follow(prepared, place);
    Some(trial.at(&call))
}

/// A program that sees another boot id.
pub fn on_boot(boot_id: &Path, program: &str) -> Command {
    let mut command = crate::harness::command("unshare");
    let script = format!(r#"mount --bind "$1" {BOOT_ID} || exit 99; shift; exec "$@""#);
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(boot_id).arg(program);
    command
}
