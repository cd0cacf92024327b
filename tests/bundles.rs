//! `rr-patch traces pack` and `unpack`: what goes out comes in, and nothing else ever does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rr_patch::rr::bundle::{HEAD, MANIFEST, about};
use rr_patch::rr::trace::{Backing, FileStatus, Sidecar, Trace};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::end_to_end::real_rr;
use crate::harness::{Run, command, kill, skip};
use crate::streams::{self, Layout, Map, program};
use crate::traces::tool;
use crate::watched::stopped_at_work;
use snapbox::str;

const AWS: &str = "cluster-api-provider-aws";

/// A Go program with its sources in a git checkout, whose remote has a login in its address.
fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bundles");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("src")).unwrap();
        let folder = folder.canonicalize().unwrap();
        let source = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"recorded\") }\n";
        fs::write(folder.join("src/main.go"), source).unwrap();
        fs::write(folder.join("src/go.mod"), "module example.com/aws\n\ngo 1.20\n").unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let output = command(program).current_dir(folder.join("src")).args(arguments).output().unwrap();
            Run::of(output).exits(0)
        };
        run("git", &["init", "--quiet"]);
        run("git", &["add", "--all"]);
        run("git", &["commit", "--quiet", "--message", "all"]);
        run("git", &["remote", "add", "origin", "https://me:s3cret@git.example/aws"]);
        run("go", &["build", "-buildvcs=false", "-o", &format!("../{AWS}"), "."]);
        folder
    })
}

/// A store with a complete trace of that program: it is kept as a path, one library as a hard link, and
/// one as a copy.
struct Site {
    folder: TempDir,
    store: PathBuf,
    binary: PathBuf,
    library: PathBuf,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (store, binary, library) = (root.join("rr"), root.join(AWS), root.join("libhard.so"));
        fs::copy(built().join(AWS), &binary).unwrap();
        fs::write(&library, b"a library").unwrap();
        let trace = store.join(format!("{AWS}-0"));
        fs::create_dir_all(&trace).unwrap();
        fs::hard_link(&library, trace.join("mmap_hardlink_7_libhard.so")).unwrap();
        fs::write(trace.join("mmap_copy_9_libcopy.so"), b"stub").unwrap();
        let path = binary.to_str().unwrap();
        let maps = [
            program(&binary, path),
            Map { path: &library, backing: "mmap_hardlink_7_libhard.so", start: 0x7f00_0000_0000 },
            Map {
                path: Path::new("/nonexistent/libcopy.so"),
                backing: "mmap_copy_9_libcopy.so",
                start: 0x7f00_0010_0000,
            },
            // Mapped twice: one file all the same.
            Map { path: &library, backing: "mmap_hardlink_7_libhard.so", start: 0x7f00_0020_0000 },
        ];
        streams::complete(&trace, Layout::Rr59, &[path, "--v=2"], &maps);
        Self { folder, store, binary, library }
    }

    fn trace(&self) -> PathBuf {
        self.store.join(format!("{AWS}-0"))
    }

    fn bundle(&self) -> PathBuf {
        self.store.parent().unwrap().join("aws.tar.zst")
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::of(tool(&self.store, arguments).env("TOKEN", "s3cret").output().unwrap())
    }

    fn pack(&self, arguments: &[&str]) -> Run {
        self.run(&[&["pack", "aws", "-o", self.bundle().to_str().unwrap()], arguments].concat())
    }

    fn unpack(&self, file: &Path, arguments: &[&str]) -> Run {
        self.run(&[&["unpack", file.to_str().unwrap()], arguments].concat())
    }

    /// What lies beside the store.
    fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The files of a folder, and when they were written.
fn snapshot(folder: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let read = |name: String| {
        let path = folder.join(&name);
        let time = path.metadata().unwrap().modified().unwrap();
        (name, (fs::read(path).unwrap(), time))
    };
    names(folder).into_iter().map(read).collect()
}

/// An entry of a tar: its kind, its path, and its bytes.
#[derive(Clone)]
struct Entry {
    kind: tar::EntryType,
    path: String,
    bytes: Vec<u8>,
    /// What it claims to hold, if that is not what it holds.
    claims: Option<u64>,
}

fn file(path: &str, bytes: &[u8]) -> Entry {
    Entry { kind: tar::EntryType::Regular, path: path.into(), bytes: bytes.into(), claims: None }
}

fn entries(bundle: &Path) -> Vec<Entry> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(File::open(bundle).unwrap()).unwrap());
    let read = |entry: std::io::Result<tar::Entry<_>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        Entry { kind: entry.header().entry_type(), path, bytes, claims: None }
    };
    archive.entries().unwrap().map(read).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Writes entries as they are, with a header that no library would write.
fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for Entry { kind, path, bytes, claims } in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(claims.unwrap_or(bytes.len() as u64));
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..4].copy_from_slice(b"/etc");
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// A bundle of these entries, with a head and a manifest that say what is in it: made by somebody who
/// knows what is looked at.
fn forge(to: &Path, entries: &[Entry]) {
    let mut entries = entries.to_vec();
    let inner = |entry: &&Entry| ![HEAD, MANIFEST].contains(&entry.path.as_str());
    let (number, bytes) = (
        entries.iter().filter(inner).count(),
        entries
            .iter()
            .filter(inner)
            .filter(|entry| entry.kind.is_file())
            .map(|entry| entry.claims.unwrap_or(entry.bytes.len() as u64))
            .sum::<u64>(),
    );
    for entry in entries.iter_mut().filter(|entry| entry.path == HEAD) {
        let mut head: Value = serde_json::from_slice(&entry.bytes).unwrap();
        if head.is_object() {
            (head["entries"], head["bytes"]) = (json!(number), json!(bytes));
        }
        entry.bytes = head.to_string().into_bytes();
    }
    let sums: Vec<Value> = entries
        .iter()
        .filter(|entry| entry.path != MANIFEST)
        .map(|entry| json!({ "path": entry.path, "size": entry.bytes.len(), "sha256": sha256(&entry.bytes) }))
        .collect();
    for entry in entries.iter_mut().filter(|entry| entry.path == MANIFEST) {
        entry.bytes = json!({ "schema": "rr-patch/bundle-manifest/1", "entries": sums }).to_string().into_bytes();
    }
    fs::write(to, zstd::encode_all(tar_of(&entries).as_slice(), 1).unwrap()).unwrap();
}

#[test]
fn traces_pack_and_unpack_bring_a_whole_trace_to_another_host() {
    let site = Site::new();
    let before = snapshot(&site.trace());
    let run = site.pack(&[]).exits(0);
    let run = run.prints(&[
        "packed 1 trace into `",
        &format!("`{}`, go1.", site.binary.display()),
        ", with DWARF",
        "it is not encrypted",
    ]);
    assert!(snapshot(&site.trace()) == before, "the trace is as it was");
    assert_eq!(site.bundle().metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // Taken apart by other code: a head, the files, a manifest with the right sums, nothing else.
    let all = entries(&site.bundle());
    assert_eq!((all[0].path.as_str(), all[all.len() - 1].path.as_str()), (HEAD, MANIFEST));
    let manifest: Value = serde_json::from_slice(&all[all.len() - 1].bytes).unwrap();
    let sums = manifest["entries"].as_array().unwrap();
    assert_eq!(sums.len(), all.len() - 1);
    for (entry, sum) in all.iter().zip(sums) {
        assert_eq!(entry.kind, tar::EntryType::Regular, "{}", entry.path);
        assert_eq!(*sum, json!({ "path": entry.path, "size": entry.bytes.len(), "sha256": sha256(&entry.bytes) }));
    }
    let head: Value = serde_json::from_slice(&all[0].bytes).unwrap();
    assert_eq!(head["traces"][0]["package"], "example.com/aws");
    assert_eq!(head["checkouts"][0]["remote"], "https://git.example/aws");
    assert_eq!(head["sources"]["missing"], json!([]));
    let texts = [&all[0].bytes, &all[all.len() - 1].bytes, run.stdout.as_bytes(), run.stderr.as_bytes()];
    assert!(
        texts.iter().all(|text| !String::from_utf8_lossy(text).contains("s3cret")),
        "neither a login nor a variable"
    );

    // Nothing of this host is needed where it goes.
    let program = fs::read(&site.binary).unwrap();
    [&site.binary, &site.library].into_iter().for_each(|path| fs::remove_file(path).unwrap());
    let other = site.folder.path().join("other");
    let run = site.unpack(&site.bundle(), &["-C", other.to_str().unwrap()]).exits(0);
    let folder = other.canonicalize().unwrap().join("aws");
    let unpacked = folder.join(format!("{AWS}-0"));
    let sources = folder.join("sources");
    run.prints_exactly(str![[r#"
verified and unpacked 1 trace into `[FOLDER]/other/aws`
  cluster-api-provider-aws-0: cluster-api-provider-aws, recorded 20[..]
  [..] sources below `[FOLDER]/other/aws/sources`
next:
  rr-patch replay [FOLDER]/other/aws/cluster-api-provider-aws-0
  in Delve: config substitute-path / [FOLDER]/other/aws/sources/
"#]]);
    let trace = Trace::open(&unpacked).unwrap();
    let files = trace.mapped().unwrap();
    assert_eq!(files.iter().map(|file| file.kept).collect::<Vec<_>>(), [Backing::Pack, Backing::Pack, Backing::Copy]);
    assert!(files.iter().all(|file| file.still(&unpacked) == FileStatus::Same && file.file(&unpacked).is_file()));
    assert_eq!(fs::read(trace.program().unwrap().file.unwrap()).unwrap(), program);
    assert_eq!(trace.program().unwrap().path.unwrap(), site.binary);
    assert_eq!(trace.check().obstacles, [] as [String; 0]);
    for stream in ["events", "data", "tasks", "version"] {
        assert!(fs::read(unpacked.join(stream)).unwrap() == before[stream].0, "{stream}");
    }
    let source = built().join("src/main.go");
    assert!(fs::read(sources.join(source.strip_prefix("/").unwrap())).unwrap() == fs::read(&source).unwrap());
    assert_eq!(rr_patch::rr::bundle::sources(&trace), Some(sources));
    let apart = |a: SystemTime, b: SystemTime| a.duration_since(b).or_else(|_| b.duration_since(a)).unwrap();
    let original = Trace::open(&site.trace()).unwrap();
    assert!(apart(original.started, trace.started) <= Duration::from_secs(1), "when it was recorded is kept");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&unpacked.join("data"))), (0o700, 0o600));
}

#[test]
fn traces_unpack_puts_a_bundle_into_the_store_where_the_other_commands_find_it() {
    let site = Site::new();
    Sidecar { controller: "the-controller".into(), software_counters: true, ..Sidecar::default() }
        .write(&site.trace())
        .unwrap();
    site.run(&["pack", "the-controller", "-o", site.bundle().to_str().unwrap()]).exits(0);
    fs::remove_dir_all(site.trace()).unwrap();
    let run = site.unpack(&site.bundle(), &[]).exits(0);
    let name = format!("aws/{AWS}-0");
    run.prints(&[&format!("rr-patch replay {name}\n"), "a replay needs such an rr, and -W"]);
    site.run(&["show", "the-controller"]).exits(0).prints(&[&format!("{name}: complete, it can be replayed")]);
    let run = site.unpack(&site.bundle(), &[]).refuses();
    run.says_exactly(str![[r#"
error: `[FOLDER]/rr/aws` exists already
hint: --name NAME unpacks under another name, -C DIR into another folder
nothing was written
"#]]);
    site.unpack(&site.bundle(), &["--name", "again"]).exits(0);
    for name in ["..", "a/b", ".hidden", "latest-trace", ""] {
        site.unpack(&site.bundle(), &["--name", name]).exits(2).says(&["cannot be a folder's name"]);
    }
    site.run(&["prune", "--yes", &name]).exits(0).prints(&["removed 1 trace"]);
}

#[test]
fn traces_pack_encrypts_for_a_recipient_and_unpack_takes_only_that_ones_key() {
    let site = Site::new();
    let keys = [age::x25519::Identity::generate(), age::x25519::Identity::generate()];
    let paths: Vec<PathBuf> = (0..2).map(|n| site.folder.path().join(format!("key-{n}"))).collect();
    for (key, path) in keys.iter().zip(&paths) {
        use age::secrecy::ExposeSecret;
        fs::write(path, format!("# a key of a test\n{}\n", key.to_string().expose_secret())).unwrap();
    }
    let recipient = keys[0].to_public().to_string();
    let run = site.pack(&["--recipient", &recipient]).exits(0);
    assert!(!run.stdout.contains("not encrypted"), "{}", run.stdout);
    run.prints(&["--identity KEY"]);
    let bytes = fs::read(site.bundle()).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    let identity = |n: usize| ["--identity", paths[n].to_str().unwrap()];
    site.unpack(&site.bundle(), &[]).refuses().says_exactly(str![[r#"
error: `[FOLDER]/aws.tar.zst` is encrypted
hint: --identity FILE names the key, as `age-keygen` writes it
nothing was written
"#]]);
    site.unpack(&site.bundle(), &identity(1)).refuses().says_exactly(str![[r#"
error: `[FOLDER]/aws.tar.zst` cannot be decrypted: No matching keys found
  with: `[FOLDER]/key-1`
nothing was written
"#]]);
    site.unpack(&site.bundle(), &["--identity", "/dev/null"]).exits(2).says_exactly(str![[r#"
error: `/dev/null` holds no key: it has no line of that kind
  expected: lines like `AGE-SECRET-KEY-1…`, as `age-keygen` writes them
"#]]);
    // One bit, and the last chunk: age notices both.
    let mut damaged = bytes.clone();
    let middle = bytes.len() / 2;
    damaged[middle] ^= 1;
    let broken = site.folder.path().join("broken.tar.zst.age");
    for bytes in [&damaged[..], &bytes[..bytes.len() - 70]] {
        fs::write(&broken, bytes).unwrap();
        site.unpack(&broken, &identity(0)).refuses().says_exactly(str![[r#"
error: `[FOLDER]/broken.tar.zst.age` is damaged: decryption error
nothing was written
"#]]);
    }
    assert_eq!(names(&site.store), [format!("{AWS}-0")]);
    site.unpack(&site.bundle(), &identity(0)).exits(0);
    site.pack(&["--recipient", "age1nobody"]).exits(2).says_exactly(str![[r#"
error: `age1nobody` is no recipient: invalid Bech32 encoding
  expected: what `age-keygen -y` prints, `age1…`
"#]]);
}

#[test]
fn traces_pack_refuses_what_is_not_complete_and_keeps_an_earlier_file() {
    let site = Site::new();
    fs::write(site.bundle(), b"earlier").unwrap();
    let dead = site.store.join("dead-0");
    streams::dead(&dead, "dead");
    streams::junk(&site.store.join("junk-0"));
    let pack = |name: &str| site.run(&["pack", name, "-o", site.bundle().to_str().unwrap()]);
    pack("dead-0").refuses().says_exactly(str![[r#"
error: `dead-0` is dead: there is nothing to pack
  rr was killed or crashed before it closed the trace: there is `incomplete` in place of `version`, and rr cannot repair it
hint: `rr-patch traces` lists which are complete
nothing was written
"#]]);
    pack("junk-0").refuses().says_exactly(str![[r#"
error: `junk-0` is junk: there is nothing to pack
  rr failed at its start: nothing was recorded
hint: `rr-patch traces` lists which are complete
nothing was written
"#]]);
    let marker = File::open(dead.join("incomplete")).unwrap();
    flock(&marker, FlockOperation::NonBlockingLockExclusive).unwrap();
    pack("dead-0").refuses().says_exactly(str![[r#"
error: `dead-0` is recording: there is nothing to pack
  rr is still recording it: replay it when rr has ended
hint: `rr-patch traces` lists which are complete
nothing was written
"#]]);
    let below = site.library.join("x");
    site.run(&["pack", "aws", "-o", below.to_str().unwrap()]).exits(1).says_exactly(str![[r#"error: cannot write `[FOLDER]/libhard.so/x`: Not a directory (os error 20) at path "[FOLDER]/libhard.so/.rr-patch-pack-[..]""#]]);
    fs::remove_file(&site.binary).unwrap();
    pack("aws").refuses().says_exactly(str![[r#"
error: `[FOLDER]/rr/cluster-api-provider-aws-0` cannot be replayed any more
  missing: `[FOLDER]/cluster-api-provider-aws`, which is not in the trace: its path only
hint: put the file back as it was, and pack again
nothing was written
"#]]);
    site.run(&["pack", "aws", "-o", site.store.to_str().unwrap()]).refuses().says_exactly(str![[r#"
error: `[FOLDER]/rr` is a folder
hint: -o takes a file
nothing was written
"#]]);
    assert_eq!(fs::read(site.bundle()).unwrap(), b"earlier");
    assert_eq!(site.names(), ["aws.tar.zst", "libhard.so", "rr"]);
}

#[test]
fn traces_pack_says_what_may_be_wrong_with_the_program() {
    let site = Site::new();
    // No ELF file, and not as it was recorded.
    fs::write(&site.binary, b"#!/bin/sh\n").unwrap();
    let run = site.pack(&[]).exits(0);
    run.prints_exactly(str![[r#"
packed 1 trace into `[FOLDER]/aws.tar.zst`: [..]
  cluster-api-provider-aws-0: `[FOLDER]/cluster-api-provider-aws`, Go not known, without DWARF
  0 sources
warning: `[FOLDER]/cluster-api-provider-aws` has no DWARF: Delve shows neither its lines nor its variables
warning: `[FOLDER]/cluster-api-provider-aws` was changed since the recording: size [..] is 10 now
warning: it is not encrypted, and a trace holds all that its controller read: cloud credentials too. `--recipient age1…` encrypts it
next, on the other host:
  rr-patch traces unpack [FOLDER]/aws.tar.zst
"#]]);
}

#[test]
fn a_go_program_tells_its_sources_toolchain_and_package() {
    let told = about(&built().join(AWS)).unwrap();
    let source = built().join("src/main.go");
    assert!(told.dwarf && told.sources.contains(source.to_str().unwrap()), "{:?}", told.sources);
    assert!(told.sources.iter().any(|path| path.ends_with("/runtime/proc.go")));
    assert!(told.go.as_ref().is_some_and(|go| go.starts_with("go1.")), "{:?}", told.go);
    assert_eq!(told.package.as_deref(), Some("example.com/aws"));
    // Cut off anywhere, it is an error or less is known; never a panic, never a wrong word.
    let bytes = fs::read(built().join(AWS)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut");
    for part in 1..40 {
        fs::write(&cut, &bytes[..bytes.len() * part / 40]).unwrap();
        if let Ok(known) = about(&cut) {
            assert!(known.sources.is_subset(&told.sources));
        }
    }
}

/// Each with what is said of it.
fn hostile(good: &[Entry]) -> Vec<(&'static str, Vec<Entry>)> {
    let with = |entry: Entry| {
        let mut entries = good.to_vec();
        entries.insert(1, entry);
        entries
    };
    let special = |kind: tar::EntryType, path: &str| Entry { kind, path: path.into(), bytes: Vec::new(), claims: None };
    let trace = |name: &str| format!("{AWS}-0/{name}");
    let changed = |path: &str, change: &dyn Fn(&mut Entry)| {
        let mut entries = good.to_vec();
        entries.iter_mut().filter(|entry| entry.path == path).for_each(change);
        entries
    };
    let head = |key: &str, value: Value| {
        changed(HEAD, &|entry| {
            let mut head: Value = serde_json::from_slice(&entry.bytes).unwrap();
            *head.pointer_mut(key).unwrap() = value.clone();
            entry.bytes = head.to_string().into_bytes();
        })
    };
    let outside = Path::new("/etc/passwd");
    let mapping = |backing: &str| streams::mmaps(&[program(outside, backing)]);
    let (mut reversed, mut twice) = (good.to_vec(), good.to_vec());
    reversed.reverse();
    twice.push(file("sources/late.go", b""));
    // A file, and then a folder of its name.
    let mut below = with(file("sources/a/b", b"x"));
    below.insert(1, file("sources/a", b"x"));
    vec![
        ("does not belong in a bundle", with(file("/tmp/evil", b"x"))),
        ("does not belong in a bundle", with(file("../evil", b"x"))),
        ("does not belong in a bundle", with(file("sources/../../evil", b"x"))),
        ("does not belong in a bundle", with(file(&trace("../evil"), b"x"))),
        ("does not belong in a bundle", with(file("sources//evil", b"x"))),
        ("does not belong in a bundle", with(file("sources/./evil", b"x"))),
        ("does not belong in a bundle", with(file("sources", b"x"))),
        ("does not belong in a bundle", with(file("evil", b"x"))),
        ("does not belong in a bundle", with(file("other-0/version", b"x"))),
        ("does not belong in a bundle", with(file(&trace(".hidden"), b"x"))),
        ("does not belong in a bundle", with(file(&trace("a/b"), b"x"))),
        ("does not belong in a bundle", with(file("", b"x"))),
        ("not a plain file", with(special(tar::EntryType::Symlink, "sources/link"))),
        ("not a plain file", with(special(tar::EntryType::Link, "sources/link"))),
        ("not a plain file", with(special(tar::EntryType::Char, "sources/device"))),
        ("not a plain file", with(special(tar::EntryType::Block, "sources/device"))),
        ("not a plain file", with(special(tar::EntryType::Fifo, "sources/pipe"))),
        ("not a plain file", with(special(tar::EntryType::Directory, "sources/folder/"))),
        ("not a plain file", with(special(tar::EntryType::XHeader, "sources/attributes"))),
        ("not a plain file", with(special(tar::EntryType::GNULongLink, "sources/long"))),
        ("twice", with(file(&trace("version"), b"85\n"))),
        ("twice", below),
        ("not a plain file", with(Entry { claims: Some(1 << 40), ..special(tar::EntryType::GNULongName, "long") })),
        ("does not fit on this disk", with(Entry { claims: Some(1 << 60), ..file("sources/huge", b"x") })),
        ("is damaged", with(Entry { claims: Some(1 << 30), ..file("sources/large", b"x") })),
        ("begins with", reversed),
        ("begins with", good[1..].to_vec()),
        ("has an entry after its manifest", twice),
        ("its manifest is missing", good[..good.len() - 1].to_vec()),
        ("has another version", head("/schema", json!("rr-patch/bundle/9"))),
        ("a trace with an invalid name", head("/traces/0/name", json!("../evil"))),
        ("a trace with an invalid name", head("/traces/0/name", json!(".evil"))),
        ("a trace with an invalid name", head("/traces/0/name", json!("sources"))),
        ("names no trace", head("/traces", json!([]))),
        ("does not belong in a bundle", head("/traces/0/name", json!("another-0"))),
        ("an invalid head", changed(HEAD, &|entry| entry.bytes = b"[]".to_vec())),
        ("needs `/etc/passwd` from outside", changed(&trace("mmaps"), &|entry| entry.bytes = mapping("/etc/passwd"))),
        ("outside of it", changed(&trace("mmaps"), &|entry| entry.bytes = mapping("../../../etc/passwd"))),
        ("from outside", changed(&trace("mmaps"), &|entry| entry.bytes = mapping("mmap_pack_9_gone"))),
        ("which is damaged", changed(&trace("mmaps"), &|entry| entry.bytes = vec![9; 64])),
        ("which is junk", changed(&trace("tasks"), &|entry| entry.bytes.clear())),
    ]
}

#[test]
fn traces_unpack_refuses_every_hostile_bundle_and_leaves_nothing() {
    let site = Site::new();
    site.pack(&[]).exits(0);
    let good = entries(&site.bundle());
    // Small: what matters is the form.
    let small: Vec<Entry> = good.into_iter().filter(|entry| !entry.path.starts_with("sources/")).collect();
    let forged = site.folder.path().join("forged.tar.zst");
    let target = site.folder.path().join("below/target");
    let unpack = || site.unpack(&forged, &["-C", target.to_str().unwrap()]);
    forge(&forged, &small);
    unpack().exits(0);
    fs::remove_dir_all(target.join("forged")).unwrap();
    let around = site.names();
    for (number, (said, entries)) in hostile(&small).iter().enumerate() {
        forge(&forged, entries);
        let run = unpack();
        assert!(run.code == 3 && run.stderr.contains(said), "{number}: {said}: {run:?}");
        run.refuses();
        assert_eq!(names(&target), [] as [String; 0], "{number}: {said}");
        assert_eq!((site.names(), names(target.parent().unwrap())), (around.clone(), vec!["target".to_owned()]));
    }
    assert!(!Path::new("/tmp/evil").exists());
}

#[test]
fn traces_unpack_notices_every_byte_that_is_not_as_it_was_packed() {
    let site = Site::new();
    site.pack(&[]).exits(0);
    let small: Vec<Entry> =
        entries(&site.bundle()).into_iter().filter(|entry| !entry.path.starts_with("sources/")).collect();
    let broken = site.folder.path().join("broken.tar.zst");
    forge(&broken, &small);
    let forged = entries(&broken);
    let write =
        |entries: &[Entry]| fs::write(&broken, zstd::encode_all(tar_of(entries).as_slice(), 1).unwrap()).unwrap();
    let refused = |said: &str| {
        site.unpack(&broken, &[]).refuses().says(&[said]);
        assert_eq!(names(&site.store), [format!("{AWS}-0")]);
    };
    // A byte of an entry, which only the manifest tells; an entry less; one more than the manifest has.
    let mut changed = forged.clone();
    changed[3].bytes[0] ^= 1;
    write(&changed);
    refused("differs from what was packed");
    let mut fewer = forged.clone();
    fewer.remove(2);
    write(&fewer);
    refused("has fewer entries than its manifest names");
    let mut more = forged.clone();
    more.insert(1, file("sources/more.go", b""));
    write(&more);
    refused("has more entries than its head says");
    // What zstd itself tells, wherever it is cut off, and what comes after the end.
    write(&forged);
    let whole = fs::read(&broken).unwrap();
    for part in 1..20 {
        fs::write(&broken, &whole[..whole.len() * part / 20]).unwrap();
        refused("is ");
    }
    let more = [whole.clone(), zstd::encode_all(&b"more"[..], 1).unwrap()].concat();
    fs::write(&broken, more).unwrap();
    refused("has data after its end");
    for (bytes, said) in [
        (&b""[..], "is not a bundle"),
        (b"PK\x03\x04", "is not a bundle"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "in ASCII form"),
    ] {
        fs::write(&broken, bytes).unwrap();
        refused(said);
    }
    fs::write(&broken, whole).unwrap();
    site.unpack(&broken, &[]).exits(0);
}

/// A trace that takes a while to pack: so many bytes that nothing compresses.
fn large(site: &Site, bytes: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(1 << 17)
    .flatten()
    .collect();
    let mut data = File::options().append(true).open(site.trace().join("data")).unwrap();
    (0..bytes / noise.len()).for_each(|_| data.write_all(&noise).unwrap());
}

/// Starts the tool, once all is `ready`, and stops it when a new file or folder of that name is in a folder
/// and holds something.
fn stopped(ready: impl Fn(), site: &Site, arguments: &[&str], folder: &Path, name: &str) -> (Child, PathBuf) {
    let before = names(folder);
    let start = || {
        ready();
        tool(&site.store, arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let new = |found: &String| found.starts_with(name) && !before.contains(found);
    let holds = |path: &PathBuf| path.metadata().is_ok_and(|seen| seen.is_dir() || seen.len() > 0);
    stopped_at_work(start, || names(folder).into_iter().find(new).map(|found| folder.join(found)).filter(holds))
}

fn make_old(path: &Path) {
    File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

#[test]
fn traces_pack_that_is_killed_leaves_the_trace_and_an_earlier_file_as_they_were() {
    let site = Site::new();
    large(&site, 8 << 20);
    let earlier = || fs::write(site.bundle(), b"earlier").unwrap();
    let (bundle, root) = (site.bundle(), site.store.parent().unwrap().to_owned());
    let before: Vec<_> = names(&site.trace())
        .into_iter()
        .map(|name| (site.trace().join(&name).metadata().unwrap().len(), name))
        .collect();
    let arguments = ["pack", "aws", "-o", bundle.to_str().unwrap(), "--level", "9"];
    let (mut child, part) = stopped(earlier, &site, &arguments, &root, ".rr-patch-pack-");
    child.kill().unwrap();
    child.wait().unwrap();
    let after: Vec<_> = names(&site.trace())
        .into_iter()
        .map(|name| (site.trace().join(&name).metadata().unwrap().len(), name))
        .collect();
    assert_eq!((fs::read(&bundle).unwrap().as_slice(), before), (&b"earlier"[..], after));
    assert!(part.is_file(), "what was written so far");

    // A signal that can be heard takes it back at once.
    let (child, _) = stopped(earlier, &site, &arguments, &root, ".rr-patch-pack-");
    kill("INT", child.id());
    kill("CONT", child.id());
    let run = Run::of(child.wait_with_output().unwrap()).exits(130);
    let expected = format!(
        "interrupted by signal 2 (SIGINT): `{}` was not written; the traces are as they were\n",
        bundle.display()
    );
    assert_eq!((run.stdout.as_str(), run.stderr), ("", expected));
    assert_eq!(fs::read(&bundle).unwrap(), b"earlier");

    assert!(!part.exists(), "the next pack removes it");
    // What 0.1 left has no process in its name, and goes when it is old enough to be nobody's.
    let old = root.join(".rr-patch-pack-Xy12Zz");
    fs::write(&old, "old").unwrap();
    make_old(&old);
    site.pack(&["--level", "1"]).exits(0);
    assert_eq!(names(&root), ["aws.tar.zst", AWS, "libhard.so", "rr"]);
    site.unpack(&bundle, &["--name", "whole"]).exits(0);
}

#[test]
fn traces_prune_leaves_a_trace_alone_that_is_being_packed() {
    let site = Site::new();
    large(&site, 8 << 20);
    let (bundle, root) = (site.bundle(), site.store.parent().unwrap().to_owned());
    let arguments = ["pack", "aws", "-o", bundle.to_str().unwrap(), "--level", "12"];
    let (mut child, _) = stopped(|| (), &site, &arguments, &root, ".rr-patch-pack-");
    let run = site.run(&["prune", "--yes", "--keep", "0"]).exits(4);
    run.prints_exactly(str![[r#"
...
cluster-api-provider-aws-0: `[FOLDER]/rr/cluster-api-provider-aws-0` is in use: rr is recording it, or another rr-patch holds its lock

removed 0 traces, 0 B
"#]]);
    kill("CONT", child.id());
    assert!(child.wait().unwrap().success());
    site.run(&["prune", "--yes", "--keep", "0"]).exits(0).prints(&["removed 1 trace"]);
    site.unpack(&bundle, &[]).exits(0);
}

#[test]
fn traces_unpack_that_is_killed_leaves_nothing_under_its_name() {
    let site = Site::new();
    large(&site, 8 << 20);
    site.pack(&["--level", "1"]).exits(0);
    let (bundle, target) = (site.bundle(), site.folder.path().join("target"));
    let arguments = ["unpack", bundle.to_str().unwrap(), "-C", target.to_str().unwrap()];
    let nothing_yet = || drop(fs::remove_dir_all(target.join("aws")));
    let (mut child, part) = stopped(nothing_yet, &site, &arguments, &target, ".rr-patch-unpack-");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(&target), [part.file_name().unwrap().to_str().unwrap()]);
    let (child, _) = stopped(nothing_yet, &site, &arguments, &target, ".rr-patch-unpack-");
    kill("TERM", child.id());
    kill("CONT", child.id());
    let run = Run::of(child.wait_with_output().unwrap()).exits(130);
    let expected = format!(
        "interrupted by signal 15 (SIGTERM): nothing of `{}` is left in `{}`\n",
        bundle.display(),
        target.display()
    );
    assert_eq!((run.stdout.as_str(), run.stderr), ("", expected));
    assert_eq!(names(&target), Vec::<String>::new(), "the next unpack removes what the killed one left");
    // What 0.1 left has no process in its name, and goes when it is old enough to be nobody's.
    let old = target.join(".rr-patch-unpack-Xy12Zz");
    fs::create_dir(&old).unwrap();
    make_old(&old);
    site.unpack(&bundle, &["-C", target.to_str().unwrap()]).exits(0);
    assert_eq!(names(&target), ["aws"]);
}

#[test]
fn traces_pack_bundles_several_traces_and_their_sources_once() {
    let site = Site::new();
    let second = site.store.join("run/again-1");
    crate::harness::copy(&site.trace(), &second);
    // The same name in the folder of another run.
    let third = site.store.join("run").join(format!("{AWS}-0"));
    crate::harness::copy(&site.trace(), &third);
    let bundle = site.bundle();
    let names_of =
        [AWS, "run/again-1"].map(str::to_owned).into_iter().chain([format!("run/{AWS}-0"), format!("{AWS}-0")]);
    let mut arguments: Vec<String> = vec!["pack".into()];
    arguments.extend(names_of);
    arguments.extend(["-o".into(), bundle.to_str().unwrap().into(), "--format".into(), "json".into()]);
    let report = site.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).exits(0).json();
    let packed: Vec<&Value> = report["head"]["traces"].as_array().unwrap().iter().map(|trace| &trace["name"]).collect();
    assert_eq!(packed.len(), 3, "each once: {packed:?}");
    assert!(
        packed.contains(&&json!(format!("{AWS}-0"))) && packed.contains(&&json!(format!("{AWS}-0_2"))),
        "{packed:?}"
    );
    site.unpack(&bundle, &["--name", "three"]).exits(0).prints(&["unpacked 3 traces"]);
}

/// What no stand-in shows: that a real rr replays what was packed here and unpacked there.
#[test]
fn traces_that_a_real_rr_recorded_replay_after_pack_and_unpack() {
    let Some((rr, Some(options))) = real_rr() else {
        skip(&["rr"], "no rr of this machine can record here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (store, binary) = (root.join("rr"), root.join(AWS));
    fs::copy(built().join(AWS), &binary).unwrap();
    let mut record = command(rr.to_str().unwrap());
    record.arg("record").args(options).arg("--wait").arg(&binary).arg("--v=2").env("_RR_TRACE_DIR", &store);
    let recorded = Run::of(record.env("TOKEN", "s3cret").output().unwrap()).exits(0);
    recorded.prints(&["recorded\n"]);
    let run = |arguments: &[&str]| Run::of(tool(&store, arguments).output().unwrap());
    let shown = run(&["show", "aws"]).exits(0);
    let shown =
        shown.prints(&[": complete, it can be replayed", "arguments:  --v=2\n", "ended:      with exit status 0\n"]);
    assert!(!shown.stdout.contains("s3cret"));
    let bundle = root.join("real.tar.zst");
    run(&["pack", "aws", "-o", bundle.to_str().unwrap()]).exits(0);
    fs::remove_file(&binary).unwrap();
    fs::remove_dir_all(&store).unwrap();
    run(&["unpack", bundle.to_str().unwrap()]).exits(0);
    let mut replay = command(rr.to_str().unwrap());
    replay.arg("replay").args(options).arg("--autopilot").arg(store.join("real").join(format!("{AWS}-0")));
    Run::of(replay.output().unwrap()).exits(0).prints(&["recorded\n"]);
}
