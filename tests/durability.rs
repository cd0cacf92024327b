//! What is durable when: each command's writes, syncs, renames and removals are recorded in their order by
//! the tracer of the torture program, and looked at as a disk would keep them that keeps only what was
//! synced.
//!
//! The rule: when the journal is replaced or removed, every byte that nothing else holds has been synced
//! since it was written, and so has the folder that has its name. Before the first file of the checkout is
//! touched, the journal is durable. A user's edit goes only when what has it now is durable. A reference
//! comes after the objects that it names.

#[allow(dead_code, reason = "the torture program uses the rest")]
#[path = "torture/tracer/mod.rs"]
mod tracer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use memchr::memmem;
use tempfile::TempDir;

use crate::harness::{PROCESS, STATE, SYSTEM, Tree, command, copy, fixtures, skip};
use tracer::{Act, Call, Kind, Moment};

/// A file whatever its name: device and inode.
type Id = (u64, u64);

const TEMPORARY: &str = ".rr-patch-";

/// What a disk keeps, as far as POSIX promises it.
struct Disk<'a> {
    root: &'a Path,
    /// Files that were written since they were last synced.
    unsynced: BTreeSet<Id>,
    /// Names that were made or removed since their folder was last synced.
    names: BTreeMap<Id, BTreeSet<PathBuf>>,
    /// What the call that is under way will change.
    under_way: BTreeMap<i32, Before>,
    /// Whether a file of the checkout was touched.
    touched: bool,
    /// What broke the rule.
    broken: Vec<String>,
    /// How often the rule was asked about.
    asked: usize,
}

struct Before {
    existed: bool,
    parents: Vec<Id>,
}

fn id(path: &Path) -> Option<Id> {
    path.symlink_metadata().ok().map(|seen| (seen.dev(), seen.ino()))
}

fn is_temporary(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(TEMPORARY))
}

impl<'a> Disk<'a> {
    fn new(root: &'a Path) -> Self {
        let (unsynced, names, under_way) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { root, unsynced, names, under_way, touched: false, broken: Vec::new(), asked: 0 }
    }

    fn look(&mut self, moment: Moment, call: &Call) {
        match moment {
            Moment::Before => {
                self.ask(call);
                let existed = call.paths.last().is_some_and(|path| path.symlink_metadata().is_ok());
                let parents = call.paths.iter().filter_map(|path| id(path.parent()?)).collect();
                self.under_way.insert(call.pid, Before { existed, parents });
            }
            Moment::After => {
                let Some(before) = self.under_way.remove(&call.pid) else { return };
                if call.result.is_some_and(|result| result >= 0) {
                    self.done(call, &before);
                }
            }
        }
    }

    /// Keeps the books of a call that has succeeded.
    fn done(&mut self, call: &Call, before: &Before) {
        let held = call.held().and_then(|path| fs::metadata(path).ok()).map(|seen| (seen.dev(), seen.ino()));
        match call.kind {
            Kind::Open => {
                self.unsynced.extend(call.paths.last().and_then(|path| id(path)));
                if !before.existed {
                    self.named(call, before);
                }
            }
            Kind::Write | Kind::Truncate | Kind::Map => {
                let by_path = call.paths.last().and_then(|path| id(path));
                self.unsynced.extend(held.or(by_path));
            }
            Kind::Sync if call.name != "sync_file_range" => {
                if let Some(held) = held {
                    self.unsynced.remove(&held);
                    self.names.remove(&held);
                }
            }
            Kind::SyncAll => {
                self.unsynced.clear();
                self.names.clear();
            }
            Kind::Rename | Kind::Exchange | Kind::Link | Kind::Unlink | Kind::MakeFolder | Kind::RemoveFolder => {
                self.named(call, before);
            }
            Kind::Sync | Kind::Attributes | Kind::Lock | Kind::Lease => {}
        }
    }

    fn named(&mut self, call: &Call, before: &Before) {
        for (path, parent) in call.paths.iter().zip(&before.parents) {
            self.names.entry(*parent).or_default().insert(path.clone());
        }
    }

    fn state(&self) -> PathBuf {
        self.root.join(".git/rr-patch")
    }

    fn is_journal(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.starts_with(self.state()) && name.starts_with("journal")
    }

    fn in_tree(&self, path: &Path) -> bool {
        path.starts_with(self.root) && !path.starts_with(self.root.join(".git"))
    }

    /// Whether a call may come now.
    fn ask(&mut self, call: &Call) {
        let moves = matches!(call.kind, Kind::Rename | Kind::Exchange);
        let goes: Vec<PathBuf> = match call.kind {
            Kind::Rename | Kind::Exchange | Kind::Unlink => call.paths.clone(),
            _ => Vec::new(),
        };
        if let Some(journal) = goes.iter().find(|path| self.is_journal(path) && path.exists()).cloned() {
            self.asked += 1;
            self.all_is_durable(&format!("{call}, which takes `{}` away", journal.display()));
        }
        let to = call.paths.last().cloned().unwrap_or_default();
        if moves && self.is_journal(&to) {
            self.asked += 1;
            self.is_durable(&call.paths[0], call);
        }
        let touches = goes.iter().any(|path| self.in_tree(path) && !is_temporary(path) && !path.is_dir())
            || matches!(call.kind, Kind::Truncate)
                && call.paths.iter().any(|path| self.in_tree(path) && !is_temporary(path));
        if touches && !self.touched && self.root.join(".git").is_dir() {
            self.touched = true;
            self.asked += 1;
            self.journal_is_durable(call);
        }
        if goes.iter().any(|path| self.in_tree(path)) {
            self.edits_are_kept(call);
        }
        let references = [".git/refs", ".git/HEAD", ".git/packed-refs"].map(|name| self.root.join(name));
        if moves && references.iter().any(|reference| to.starts_with(reference)) {
            self.asked += 1;
            self.is_durable(&call.paths[0], call);
            self.below_is_durable(&self.root.join(".git/objects"), &format!("{call}, which may name a new object"));
        }
    }

    fn is_durable(&mut self, path: &Path, call: &Call) {
        if id(path).is_some_and(|id| self.unsynced.contains(&id)) {
            self.broken.push(format!("`{}` is not synced before {call}", path.display()));
        }
    }

    /// A journal is there, and would be after a crash.
    fn journal_is_durable(&mut self, call: &Call) {
        let journals: Vec<PathBuf> =
            Self::files(&self.state()).into_iter().filter(|path| self.is_journal(path)).collect();
        if journals.is_empty() {
            self.broken.push(format!("there is no journal before {call}"));
        }
        for journal in journals {
            self.is_durable(&journal, call);
            let above = journal.ancestors().take_while(|path| path.starts_with(self.state()));
            let lost: Vec<PathBuf> = above.filter(|path| self.name_is_unsynced(path)).map(Path::to_owned).collect();
            for path in lost {
                self.broken.push(format!("the name `{}` is not synced before {call}", path.display()));
            }
        }
    }

    fn name_is_unsynced(&self, path: &Path) -> bool {
        let folder = path.parent().and_then(id);
        folder.and_then(|folder| self.names.get(&folder)).is_some_and(|names| names.contains(path))
    }

    /// All that was written outside the tool's own folder would be there after a crash: nothing else has it
    /// when the journal is gone.
    fn all_is_durable(&mut self, when: &str) {
        self.below_is_durable(self.root, when);
        // What was removed from the checkout may not come back either.
        let removed: Vec<PathBuf> = self.names.values().flatten().filter(|path| self.in_tree(path)).cloned().collect();
        for path in removed.into_iter().filter(|path| !is_temporary(path) && path.symlink_metadata().is_err()) {
            if path.parent().is_some_and(Path::exists) {
                self.broken.push(format!("the removal of `{}` is not synced before {when}", path.display()));
            }
        }
    }

    fn below_is_durable(&mut self, folder: &Path, when: &str) {
        let state = self.state();
        let counts = |path: &PathBuf| {
            // The reflog is history only, and nothing is lost with it.
            !is_temporary(path)
                && !path.starts_with(&state)
                && !path.starts_with(self.root.join(".git/logs"))
                && path.extension().is_none_or(|ending| ending != "lock")
        };
        let mut broken = Vec::new();
        for path in Self::files(folder).into_iter().filter(counts) {
            if id(&path).is_some_and(|id| self.unsynced.contains(&id)) {
                broken.push(format!("the bytes of `{}` are not synced before {when}", path.display()));
            }
            let unsynced = path.ancestors().take_while(|above| above.starts_with(folder) && *above != folder);
            for above in unsynced.filter(|above| self.name_is_unsynced(above)) {
                broken.push(format!("the name `{}` is not synced before {when}", above.display()));
            }
        }
        self.broken.extend(broken);
    }

    /// Bytes of the checkout that no journal holds go only when all that replaces them is durable.
    fn edits_are_kept(&mut self, call: &Call) {
        let journals: Vec<Vec<u8>> = Self::files(&self.state())
            .into_iter()
            .filter(|path| self.is_journal(path))
            .filter_map(|path| fs::read(path).ok())
            .collect();
        let in_journal = |bytes: &[u8]| journals.iter().any(|journal| memmem::find(journal, bytes).is_some());
        // An exchange takes nothing away.
        let victim = match call.kind {
            Kind::Rename | Kind::Unlink => call.paths.last(),
            _ => None,
        };
        let Some(victim) = victim.filter(|path| self.in_tree(path) && path.is_file()) else { return };
        let bytes = fs::read(victim).unwrap_or_default();
        let never_seen = self.unsynced.contains(&id(victim).unwrap_or_default()) && is_temporary(victim);
        if in_journal(&bytes) || bytes.is_empty() || never_seen {
            return;
        }
        self.asked += 1;
        let heirs: Vec<PathBuf> = Self::files(self.root).into_iter().filter(|path| self.in_tree(path)).collect();
        for heir in heirs.into_iter().filter(|path| path != victim) {
            let own = fs::read(&heir).unwrap_or_default();
            if id(&heir).is_some_and(|id| self.unsynced.contains(&id)) && !in_journal(&own) {
                self.broken.push(format!(
                    "the bytes of `{}` are not synced before {call}, with which an edit goes that nothing else holds",
                    heir.display()
                ));
            }
        }
    }

    /// All files below a folder.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut folders = vec![folder.to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_file() => files.push(entry.path()),
                    _ => {}
                }
            }
        }
        files
    }
}

/// Runs a command to its end and returns what broke the rule, and how often it was asked about. What it wrote
/// below the folders of `kept` must be durable at its end.
#[track_caller]
fn watched(tool: &Command, root: &Path, kept: &[&Path]) -> (Vec<String>, usize) {
    let mut disk = Disk::new(root);
    let ended = tracer::trace(tool, root.parent().unwrap(), &[root], &mut |moment, call| {
        disk.look(moment, call);
        Act::Continue
    });
    let ended = ended.unwrap();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    for folder in kept {
        disk.asked += 1;
        disk.below_is_durable(folder, "its end");
    }
    // One is enough to see it, and a commit has many objects.
    disk.broken.truncate(12);
    let below = |line: String| line.replace(&format!("{}/", root.display()), "");
    (disk.broken.into_iter().map(below).collect(), disk.asked)
}

/// Runs the tool in a tree, and asserts the rule. It is asked about at least once.
#[track_caller]
fn keeps_the_rule(tree: &Tree, arguments: &[&str]) {
    let mut tool = tree.tool();
    tool.args(arguments);
    // With the journal, a revert forgets all that it could mend. What git has been given is git's.
    let git = tree.path(".git");
    let kept = if arguments[0] == "revert" { [tree.root()] } else { [git.as_path()] };
    let (broken, asked) = watched(&tool, tree.root(), &kept);
    assert!(broken.is_empty(), "{arguments:?}:\n{}", broken.join("\n"));
    assert!(asked > kept.len(), "{arguments:?}: there was nothing to ask about");
}

/// Why nothing can be traced here.
fn untraceable() -> Option<String> {
    tracer::available().err()
}

const APPLY: &[&str] = &["apply"];
const OTHER: &[&str] = &["apply", "--signal", "rr", "--controllers", "all"];
const CLASSIC: &[&str] = &["apply", "--mode", "patch"];

#[test]
fn apply_and_revert_sync_what_nothing_else_holds_before_the_journal_changes() {
    if let Some(why) = untraceable() {
        skip(&["ptrace"], &why);
        return;
    }
    for (shape, first) in [("installer", APPLY), ("installer", OTHER), ("p2", APPLY), ("p2", CLASSIC)] {
        let tree = Tree::new(shape);
        keeps_the_rule(&tree, first);
        keeps_the_rule(&tree, &["revert"]);
    }
}

#[test]
fn apply_with_other_options_syncs_the_originals_before_it_replaces_their_journal() {
    if let Some(why) = untraceable() {
        skip(&["ptrace"], &why);
        return;
    }
    for (first, second) in [(APPLY, OTHER), (OTHER, APPLY), (APPLY, CLASSIC), (CLASSIC, APPLY)] {
        let tree = Tree::new("p2");
        keeps_the_rule(&tree, first);
        keeps_the_rule(&tree, second);
        keeps_the_rule(&tree, &["revert"]);
    }
}

#[test]
fn revert_syncs_merged_files_and_edited_versions_before_anything_else_of_them_goes() {
    if let Some(why) = untraceable() {
        skip(&["ptrace"], &why);
        return;
    }
    for forced in [false, true] {
        let tree = Tree::new("p2");
        keeps_the_rule(&tree, APPLY);
        edit(&tree, forced);
        keeps_the_rule(&tree, if forced { &["revert", "--force"] } else { &["revert"] });
    }
}

/// Edits patched files, beside what apply changed and in it.
fn edit(tree: &Tree, conflicts: bool) {
    for name in [SYSTEM, PROCESS] {
        tree.write(name, format!("{}\n// mine\n", tree.text(name)));
    }
    if conflicts {
        let text = tree.text(PROCESS);
        let line = text.lines().find(|line| line.contains("ps.Cmd.Cancel")).unwrap();
        tree.write(PROCESS, text.replace(line, &format!("{line} // mine")));
    }
}

#[test]
fn apply_and_revert_of_a_commit_sync_objects_references_and_the_index() {
    if let Some(why) = untraceable() {
        skip(&["ptrace"], &why);
        return;
    }
    let onto_a_branch: &[&str] = &["apply", "--commit", "--branch", "debug/rr"];
    for first in [&["apply", "--commit"][..], onto_a_branch] {
        for (edited, revert) in [(false, &["revert"][..]), (true, &["revert"]), (true, &["revert", "--force"])] {
            let tree = Tree::new("p2");
            if edited {
                keeps_the_rule(&tree, APPLY);
            }
            keeps_the_rule(&tree, first);
            if edited {
                edit(&tree, revert.contains(&"--force"));
            }
            keeps_the_rule(&tree, revert);
        }
    }
}

#[test]
fn apply_syncs_what_a_patch_adds_and_removes_in_folders_of_its_own() {
    if let Some(why) = untraceable() {
        skip(&["ptrace"], &why);
        return;
    }
    let tree = Tree::new("installer");
    tree.write("docs/deep/er/only.txt", "the only file\n");
    tree.write("docs/notes.txt", "one\ntwo\n");
    tree.commit("more files");
    tree.write("docs/notes.txt", "one\n2\n");
    tree.write("docs/new/folder/new.txt", "new\n");
    tree.remove("docs/deep/er/only.txt");
    tree.git(&["add", "--all"]);
    fs::write(tree.beside("ours.patch"), tree.git(&["diff", "--cached", "--no-renames"])).unwrap();
    tree.git(&["reset", "--quiet", "--hard"]);
    tree.git(&["clean", "--quiet", "--force", "-d"]);
    keeps_the_rule(&tree, &["apply", "--patch", "../ours.patch"]);
    keeps_the_rule(&tree, &["revert"]);
}

#[test]
fn status_diff_and_dry_runs_change_nothing_at_all() {
    if let Some(why) = untraceable() {
        skip(&["ptrace"], &why);
        return;
    }
    let tree = Tree::new("p2");
    let looks: [&[&str]; 4] = [&["status"], &["diff"], &["apply", "--dry-run"], &["apply", "--commit", "--dry-run"]];
    for patched in [false, true] {
        if patched {
            keeps_the_rule(&tree, APPLY);
        }
        // Where nothing is patched, a revert does not even take the lock.
        let nothing_to_do: &[&[&str]] = if patched { &[] } else { &[&["revert"]] };
        for arguments in looks.iter().chain(nothing_to_do) {
            let mut tool = tree.tool();
            tool.args(*arguments);
            let mut calls = Vec::new();
            let ended = tracer::trace(&tool, tree.root().parent().unwrap(), &[tree.root()], &mut |_, call| {
                calls.push(call.to_string());
                Act::Continue
            });
            assert_eq!(ended.unwrap().code, Some(0), "{arguments:?}");
            assert!(calls.is_empty(), "{arguments:?}, patched: {patched}:\n{}", calls.join("\n"));
        }
    }
}

#[test]
fn apply_takes_the_lock_though_others_remove_its_folder() {
    if let Some(why) = untraceable() {
        skip(&["ptrace"], &why);
        return;
    }
    let tree = Tree::new("p2");
    let state = tree.path(STATE).join("checkout");
    let lock = state.join("lock");
    let mut tool = tree.tool();
    tool.arg("apply");
    let mut removed = 0;
    // What an rr-patch does that ends while this one begins.
    let ended = tracer::trace(&tool, tree.root().parent().unwrap(), &[tree.root()], &mut |moment, call| {
        if moment == Moment::Before && call.kind == Kind::Open && call.paths.contains(&lock) && removed < 20 {
            fs::remove_dir(&state).unwrap();
            removed += 1;
        }
        Act::Continue
    });
    let ended = ended.unwrap();
    assert_eq!((ended.code, removed), (Some(0), 20), "{}{}", ended.stdout, ended.stderr);
    tree.rr_patch(&["status"]).exits(0).prints(&["nothing was edited since\n"]);
}

#[test]
fn traces_pack_and_unpack_sync_what_they_write_and_its_name() {
    if let Some(why) = untraceable() {
        skip(&["ptrace"], &why);
        return;
    }
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap().join("here");
    let store = root.join("rr");
    copy(&fixtures().join("traces/5.9"), &store);
    let commands: [&[&str]; 5] = [
        &["pack", "aws", "-o", "aws.tar.zst"],
        &["pack", "aws", "-o", "aws.tar.zst", "--level", "9"],
        &["unpack", "aws.tar.zst", "-C", "other/folder"],
        &["unpack", "aws.tar.zst", "--name", "again"],
        &["prune", "--yes"],
    ];
    for arguments in commands {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        tool.current_dir(&root).arg("traces").args(arguments).env("_RR_TRACE_DIR", &store);
        let (broken, _) = watched(&tool, &root, &[&root]);
        assert!(broken.is_empty(), "{arguments:?}:\n{}", broken.join("\n"));
    }
    assert!(root.join("other/folder/aws").is_dir() && store.join("again").is_dir());
}
