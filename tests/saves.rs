//! Saves by other programs while rr-patch writes: none is lost, and nothing is written by halves.
//!
//! The steps of a write are called one by one here, so that a save falls between two of them for certain.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use rr_patch::patch::checkout::{Checkout, Content};
use rr_patch::patch::plan::Rewrite;
use rr_patch::patch::swap::{Folder, Put, Verdict};
use rr_patch::patch::transaction::{Carrying, carry_out};

use crate::harness::{PROCESS, STATE, SYSTEM, Tree, skip};
use snapbox::str;

const NAME: &str = "file.go";

fn content(text: &str) -> Content {
    Content { bytes: text.into(), mode: 0o644 }
}

/// A folder with one file, which holds `before`.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        fs::write(path.join(NAME), "before").unwrap();
        Self { _folder: folder, path }
    }

    fn open(&self) -> Folder {
        Folder::open(&self.path, Path::new("")).unwrap().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.path.join(NAME)
    }

    /// As most editors save: a new file, renamed over the old one.
    fn save(&self, text: &str) {
        fs::write(self.path.join("4913"), text).unwrap();
        fs::rename(self.path.join("4913"), self.file()).unwrap();
    }

    /// Names and texts of all files.
    fn files(&self) -> Vec<(String, String)> {
        let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut all: Vec<(String, String)> = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (name(&entry), fs::read_to_string(entry.path()).unwrap()))
            .collect();
        all.sort();
        all
    }
}

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
}

#[test]
fn a_save_between_the_look_and_the_exchange_is_put_back() {
    let (place, before, after) = (Place::new(), content("before"), content("after"));
    let folder = place.open();
    let found = folder.read(NAME).unwrap();
    let prepared = folder.prepare(NAME, &after, found.as_ref(), false).unwrap();
    place.save("saved");
    let put = Put::in_place(&folder, NAME, Some(&before), Some(&after), Some(prepared)).unwrap();
    assert_eq!(fs::read_to_string(place.file()).unwrap(), "after");
    assert_eq!(put.verdict().unwrap(), Verdict::Saved);
    assert_eq!(put.take_back().unwrap(), None);
    assert_eq!(place.files(), owned(&[(NAME, "saved")]));
}

#[test]
fn a_second_save_while_the_first_is_put_back_is_kept_beside_it() {
    let (place, before, after) = (Place::new(), content("before"), content("after"));
    let folder = place.open();
    let prepared = folder.prepare(NAME, &after, None, false).unwrap();
    place.save("saved");
    let put = Put::in_place(&folder, NAME, Some(&before), Some(&after), Some(prepared)).unwrap();
    place.save("saved again");
    assert_eq!(put.verdict().unwrap(), Verdict::Saved);
    assert_eq!(put.take_back().unwrap().as_deref(), Some("file.go.edited"));
    assert_eq!(place.files(), owned(&[(NAME, "saved"), ("file.go.edited", "saved again")]));
}

#[test]
fn a_file_that_an_editor_holds_open_is_kept_for_what_it_writes_later() {
    let (place, before, after) = (Place::new(), content("before"), content("after"));
    let folder = place.open();
    let mut editor = File::options().append(true).open(place.file()).unwrap();
    let found = folder.read(NAME).unwrap();
    let prepared = folder.prepare(NAME, &after, found.as_ref(), false).unwrap();
    let put = Put::in_place(&folder, NAME, Some(&before), Some(&after), Some(prepared)).unwrap();
    let verdict = put.verdict().unwrap();
    assert_eq!(verdict, Verdict::Held);
    assert_eq!(put.finish(verdict).unwrap().as_deref(), Some("file.go.edited"));
    editor.write_all(b" and later").unwrap();
    assert_eq!(place.files(), owned(&[(NAME, "after"), ("file.go.edited", "before and later")]));
}

#[test]
fn a_program_that_only_reads_the_file_is_no_obstacle() {
    let (place, before, after) = (Place::new(), content("before"), content("after"));
    let folder = place.open();
    let _reader = File::open(place.file()).unwrap();
    let prepared = folder.prepare(NAME, &after, None, false).unwrap();
    let put = Put::in_place(&folder, NAME, Some(&before), Some(&after), Some(prepared)).unwrap();
    let verdict = put.verdict().unwrap();
    assert_eq!(verdict, Verdict::Same);
    assert_eq!(put.finish(verdict).unwrap(), None);
    assert_eq!(place.files(), owned(&[(NAME, "after")]));
}

#[test]
fn a_save_over_a_file_that_is_being_removed_is_put_back() {
    let (place, before) = (Place::new(), content("before"));
    let folder = place.open();
    place.save("saved");
    let put = Put::in_place(&folder, NAME, Some(&before), None, None).unwrap();
    assert_eq!(put.verdict().unwrap(), Verdict::Saved);
    assert_eq!(put.take_back().unwrap(), None);
    assert_eq!(place.files(), owned(&[(NAME, "saved")]));
}

#[test]
fn a_file_that_appears_where_one_would_be_added_is_not_replaced() {
    let (place, after) = (Place::new(), content("after"));
    let folder = place.open();
    fs::remove_file(place.file()).unwrap();
    let prepared = folder.prepare(NAME, &after, None, false).unwrap();
    place.save("saved");
    let refused = Put::in_place(&folder, NAME, None, Some(&after), Some(prepared)).unwrap_err();
    assert!(refused.to_string().contains("changed while rr-patch was reading it"), "{refused}");
    assert_eq!(place.files(), owned(&[(NAME, "saved")]));
}

#[test]
fn what_a_killed_run_left_is_removed_if_known_and_kept_if_not() {
    let place = Place::new();
    let swap = format!(".rr-patch-swap-{NAME}");
    for (left, expected) in
        [("before", owned(&[(NAME, "before")])), ("saved", owned(&[(NAME, "before"), ("file.go.edited", "saved")]))]
    {
        fs::write(place.path.join(&swap), left).unwrap();
        fs::write(place.path.join(".rr-patch-new-1-0"), "aft").unwrap();
        fs::write(place.path.join(".rr-patch-Ab3dE9"), "aft").unwrap();
        place.open().sweep(&|name, bytes| name == NAME && bytes == b"before").unwrap();
        assert_eq!(place.files(), expected);
    }
}

/// The first rewrite of a plan that fails at its second file.
fn two_rewrites(tree: &Tree) -> [Rewrite; 2] {
    [PROCESS, SYSTEM].map(|path| Rewrite {
        path: path.into(),
        before: Some(Content { bytes: tree.read(path), mode: 0o644 }),
        after: Some(Content { bytes: b"package after\n".to_vec(), mode: 0o644 }),
    })
}

#[test]
fn a_file_that_changed_refuses_all_rewrites_before_the_first() {
    let tree = Tree::new("installer");
    let rewrites = two_rewrites(&tree);
    tree.write(SYSTEM, [&tree.read(SYSTEM)[..], b"// An edit.\n"].concat());
    let before = tree.snapshot();
    let checkout = Checkout::discover(Some(tree.root()), None).unwrap();
    let failure = carry_out(&checkout, &rewrites, Carrying::default()).unwrap_err();
    assert!(failure.taken_back);
    assert!(failure.error.to_string().contains(SYSTEM), "{:#}", failure.error);
    assert!(tree.snapshot() == before);
}

#[test]
fn a_failed_write_gives_back_the_same_files_down_to_the_inode() {
    let tree = Tree::new("installer");
    let inode = |path: &str| fs::metadata(tree.path(path)).unwrap().ino();
    let (before, inodes) = (tree.snapshot(), [PROCESS, SYSTEM].map(inode));
    let [first, mut second] = two_rewrites(&tree);
    // A folder cannot become a file: the second rewrite fails after the first is in place.
    second.path = "pkg/clusterapi/internal".into();
    second.before = None;
    let checkout = Checkout::discover(Some(tree.root()), None).unwrap();
    let failure = carry_out(&checkout, &[first, second], Carrying::default()).unwrap_err();
    assert!(failure.taken_back, "{:#}", failure.error);
    assert!(tree.snapshot() == before);
    assert_eq!([PROCESS, SYSTEM].map(inode), inodes);
}

#[test]
fn a_folder_that_is_swapped_for_a_link_is_not_followed() {
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), place.path.join("folder")).unwrap();
    let refused = Folder::open(&place.path, Path::new("folder")).unwrap_err();
    assert!(refused.to_string().contains("was replaced"), "{refused}");
}

#[test]
fn apply_and_revert_keep_group_attributes_and_access_lists() {
    let tree = Tree::new("installer");
    let path = tree.path(PROCESS);
    if chown(&path, None, Some(12345)).is_err() {
        return skip(&["chown"], "no file can be given to another group here");
    }
    let set = |name: &str, value: &[u8]| rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty());
    if set("user.note", b"mine").is_err() {
        return skip(&["xattr"], "this file system has no user attributes");
    }
    // Version 2, and entries of tag, permissions and id: owner rw-, user 1 rw-, group r--, mask rw-, others r--.
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, 1), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let has_lists = set("system.posix_acl_access", &list).is_ok();
    let kept = || {
        let value = |name: &str| {
            let mut value = vec![0; 256];
            rustix::fs::getxattr(&path, name, &mut value[..]).map(|length| value[..length].to_vec())
        };
        assert_eq!(value("user.note").unwrap(), b"mine");
        assert!(!has_lists || value("system.posix_acl_access").unwrap() == list);
        let seen = fs::metadata(&path).unwrap();
        assert_eq!((seen.gid(), seen.mode() & 0o7777), (12345, if has_lists { 0o664 } else { 0o644 }));
    };
    kept();
    tree.rr_patch(&["apply"]).exits(0);
    kept();
    tree.rr_patch(&["revert"]).exits(0);
    kept();
}

#[test]
fn a_file_of_another_owner_is_refused() {
    let tree = Tree::new("installer");
    if chown(tree.path(SYSTEM), Some(65534), None).is_err() {
        return skip(&["chown"], "no file can be given to another user here");
    }
    let run = tree.refuses(&["apply"]);
    run.says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` belongs to another user
  expected: a file of the user 0, who runs rr-patch; found: one of the user 65534
hint: run rr-patch as that user, or `chown` the file
nothing was written
"#]]);
    assert!(!tree.path(STATE).exists());
}

#[test]
fn a_file_with_a_set_user_id_bit_is_refused() {
    let tree = Tree::new("installer");
    tree.chmod(SYSTEM, 0o4755);
    tree.refuses(&["apply"]).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` has the mode 4755
  expected: a source file without set-user-ID and sticky bits
hint: `chmod 755 pkg/clusterapi/system.go`
nothing was written
"#]]);
}
