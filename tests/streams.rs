//! Traces made by hand: rr's streams and headers in other code than the tool's, for fixtures and tests.
//!
//! Blocks are brotli streams of one stored piece, messages are Cap'n Proto of one segment, packed without
//! runs. rr writes neither so; its readers, and ours, take both.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// What a pointer of a struct leads to.
pub enum Pointer {
    Null,
    Bytes(Vec<u8>),
    List(Vec<Vec<u8>>),
    Struct(Vec<u64>, Vec<Pointer>),
}

fn bytes(text: impl AsRef<[u8]>) -> Pointer {
    Pointer::Bytes(text.as_ref().to_vec())
}

/// Appends a struct's body to a segment whose words before `at` are there: its data, its pointers, and
/// what those lead to.
fn body(segment: &mut Vec<u64>, data: &[u64], pointers: &[Pointer]) {
    segment.extend(data);
    let first = segment.len();
    segment.resize(first + pointers.len(), 0);
    for (n, pointer) in pointers.iter().enumerate() {
        let offset = (segment.len() - (first + n) - 1) as u64;
        match pointer {
            Pointer::Null => {}
            Pointer::Bytes(bytes) => {
                segment[first + n] = list_pointer(offset, 2, bytes.len());
                words(segment, bytes);
            }
            Pointer::List(all) => {
                segment[first + n] = list_pointer(offset, 6, all.len());
                let list = segment.len();
                segment.resize(list + all.len(), 0);
                for (m, bytes) in all.iter().enumerate() {
                    segment[list + m] = list_pointer((segment.len() - (list + m) - 1) as u64, 2, bytes.len());
                    words(segment, bytes);
                }
            }
            Pointer::Struct(data, pointers) => {
                segment[first + n] = struct_pointer(offset, data.len(), pointers.len());
                body(segment, data, pointers);
            }
        }
    }
}

fn struct_pointer(offset: u64, data: usize, pointers: usize) -> u64 {
    offset << 2 | (data as u64) << 32 | (pointers as u64) << 48
}

fn list_pointer(offset: u64, kind: u64, count: usize) -> u64 {
    offset << 2 | 1 | kind << 32 | (count as u64) << 35
}

fn words(segment: &mut Vec<u64>, bytes: &[u8]) {
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        segment.push(u64::from_le_bytes(word));
    }
}

/// A packed message.
fn message(data: &[u64], pointers: &[Pointer]) -> Vec<u8> {
    let mut segment = vec![struct_pointer(0, data.len(), pointers.len())];
    body(&mut segment, data, pointers);
    // One segment, of so many words.
    segment.insert(0, (segment.len() as u64) << 32);
    let mut packed = Vec::new();
    for word in segment {
        let bytes = word.to_le_bytes();
        let tag = bytes.iter().enumerate().fold(0u8, |tag, (n, &byte)| tag | u8::from(byte != 0) << n);
        packed.push(tag);
        packed.extend(bytes.iter().filter(|&&byte| byte != 0));
        // After a word of zeros or of none: how many more of the kind follow.
        packed.extend([0].iter().filter(|_| tag == 0 || tag == 0xff));
    }
    packed
}

/// A stream that holds these bytes in one block.
pub fn stream(held: &[u8]) -> Vec<u8> {
    if held.is_empty() {
        return Vec::new();
    }
    assert!(held.len() <= 1 << 16);
    // A window of 2^16, then a piece that is not the last one, stored, of so many bytes; then an empty last one.
    let start = ((u32::try_from(held.len() - 1).unwrap()) << 4) | (1 << 20);
    let mut packed = start.to_le_bytes()[..3].to_vec();
    packed.extend(held);
    packed.push(3);
    let sizes = [packed.len(), held.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes());
    [sizes.as_flattened(), &packed].concat()
}

/// Which rr's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Rr56,
    Rr59,
}

impl Layout {
    pub const ALL: [Self; 2] = [Self::Rr56, Self::Rr59];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rr56 => "5.6",
            Self::Rr59 => "5.9",
        }
    }
}

/// The file `version` of a complete trace. rr 5.8 and later note the host.
pub fn version(layout: Layout) -> Vec<u8> {
    let mut data = vec![0; if layout == Layout::Rr56 { 8 } else { 9 }];
    // Bound to CPU 2; forward compatibility 3.
    data[0] = 2;
    data[6] = 3;
    let uuid = bytes([0x5a; 16]);
    let pointers = match layout {
        Layout::Rr56 => vec![uuid, Pointer::Null],
        Layout::Rr59 => {
            let uname = ["Linux", "recorder", "6.12.0", "#1 SMP", "x86_64", "(none)"].map(bytes);
            vec![uuid, Pointer::Null, Pointer::Struct(Vec::new(), uname.into())]
        }
    };
    [b"85\n".to_vec(), message(&data, &pointers)].concat()
}

const BASE: u64 = 0x40_0000;
const TID: u64 = 4711;

/// The stream `tasks` of a program that was started and ended with a wait status.
pub fn tasks(layout: Layout, arguments: &[&str], status: u32) -> Vec<u8> {
    let line = Pointer::List(arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect());
    let mut pointers = vec![bytes(arguments[0]), line, bytes("/lib64/ld-linux-x86-64.so.2")];
    if layout == Layout::Rr59 {
        pointers.push(Pointer::Struct(Vec::new(), vec![bytes("")]));
    }
    let exec = message(&[1, TID, BASE, 1, 0], &pointers);
    let clone = message(&[10, (TID + 1) | (TID << 32), 0, 0, 0], &[]);
    // A thread that ends before the process, with a status of its own.
    let thread = message(&[19, TID + 1, 0, 2, 0], &[]);
    let exit = message(&[20, TID | (u64::from(status) << 32), 0, 2, 0], &[]);
    stream(&[exec, clone, thread, exit].concat())
}

/// A mapped file, by its path and the name that the trace has for it.
pub struct Map<'a> {
    pub path: &'a Path,
    pub backing: &'a str,
    pub start: u64,
}

/// The program's mapping.
pub fn program<'a>(path: &'a Path, backing: &'a str) -> Map<'a> {
    Map { path, backing, start: BASE }
}

/// A stream `mmaps`: the stack, and these files as they are now. A file that is not there has size 4.
pub fn mmaps(maps: &[Map]) -> Vec<u8> {
    let stack = [1, 0x7ff0_0000_0000, 0x7ff0_0010_0000, 0, 0, 3 | (2 << 32), 0, 0, 1 << 32, 0, 0];
    let mut held = message(&stack, &[bytes("[stack]"), Pointer::Null, Pointer::Null]);
    for Map { path, backing, start } in maps {
        let (mode, uid, gid, size, mtime, inode) = match fs::metadata(path) {
            Ok(seen) => (
                seen.permissions().mode(),
                seen.uid(),
                seen.gid(),
                seen.len(),
                seen.mtime().cast_unsigned(),
                seen.ino(),
            ),
            Err(_) => (0o100_755, 0, 0, 4, 1, 1),
        };
        // What the bytes come from, a file, stands beside the gid.
        let (owner, group) = (u64::from(mode) | (u64::from(uid) << 32), u64::from(gid) | (2 << 32));
        let data = [1, *start, start + 0x1000, 0, inode, 5 | (2 << 32), 0, owner, group, size, mtime];
        held.extend(message(&data, &[bytes(path.to_str().unwrap()), bytes(backing), Pointer::Null]));
    }
    stream(&held)
}

/// A trace folder of a program that was started as `arguments` and ended with 7.
pub fn complete(folder: &Path, layout: Layout, arguments: &[&str], maps: &[Map]) {
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.join(name), bytes).unwrap();
    write("events", stream(b"a stand-in"));
    write("data", stream(b"a stand-in"));
    write("tasks", tasks(layout, arguments, 7 << 8));
    write("mmaps", mmaps(maps));
    write("version", version(layout));
}

/// What a recording is while it goes on, and stays if rr is killed.
pub fn dead(folder: &Path, program: &str) {
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    ["events", "mmaps", "tasks"].iter().for_each(|name| write(name, b""));
    write("data", &stream(b"a stand-in"));
    write("incomplete", b"85\n");
    write(&format!("mmap_copy_3_{program}"), b"stub");
}

/// What rr leaves that gives up as it starts.
pub fn junk(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    ["events", "data", "mmaps", "tasks"].iter().for_each(|name| fs::write(folder.join(name), b"").unwrap());
    fs::write(folder.join("incomplete"), b"85\n").unwrap();
}

/// A store with a trace in each state, and what else may lie in one.
pub fn store(root: &Path, layout: Layout) {
    let aws = "/opt/installer/cluster-api/cluster-api-provider-aws";
    let folder = root.join("cluster-api-provider-aws-0");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("mmap_copy_3_cluster-api-provider-aws"), b"stub").unwrap();
    let arguments = [aws, "--leader-elect=false", "-v=2"];
    complete(&folder, layout, &arguments, &[program(Path::new(aws), "mmap_copy_3_cluster-api-provider-aws")]);

    let gone = "/nonexistent/cluster-api/cluster-api-provider-vsphere";
    let folder = root.join("cluster-api-provider-vsphere-0");
    complete(&folder, layout, &[gone], &[program(Path::new(gone), gone)]);

    dead(&root.join("cluster-api-provider-aws-1"), "cluster-api-provider-aws");
    junk(&root.join("cluster-api-provider-azure-0"));
    let folder = root.join("cluster-api-provider-gcp-0");
    junk(&folder);
    fs::write(folder.join("incomplete"), b"").unwrap();

    // A program that could not be started: rr closes the trace all the same.
    let folder = root.join("no-such-program-0");
    complete(&folder, layout, &[gone], &[]);
    ["data", "mmaps", "tasks"].iter().for_each(|name| fs::write(folder.join(name), b"").unwrap());

    for folder in ["src", ".hidden", "notes"] {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join("note.txt"), b"no trace\n").unwrap();
    }
    fs::write(root.join("cpu_lock"), b"\0\0").unwrap();
}
