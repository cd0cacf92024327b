//! `rr-patch revert`: every byte and mode as before, later edits kept, and none of them lost.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::harness::{ADDED, ADDED_UNIX, JOURNAL, PROCESS, PROCESS_UNIX, Run, STATE, SYSTEM, Tree};
use snapbox::str;

/// Edits of one's own that are far from any change: file, old, new.
const ELSEWHERE: [(&str, &str, &str); 4] = [
    (PROCESS, "// Package process starts", "// Package process (edited) starts"),
    (
        PROCESS,
        "\tStopTimeout, StartTimeout time.Duration\n",
        "\tStopTimeout, StartTimeout time.Duration\n\n\t// Local is local.\n\tLocal int\n",
    ),
    (SYSTEM, "\tproviderArgs := []string{\n", "\tproviderArgs := []string{\n\t\t\"--local\",\n"),
    (SYSTEM, "// controller is a program to run, with its process once it runs.\n", ""),
];

fn set_modified(tree: &Tree, file: &str, time: SystemTime) {
    fs::File::options().append(true).open(tree.path(file)).unwrap().set_modified(time).unwrap();
}

/// Edits of lines that apply changed.
fn edit_changed_lines(tree: &Tree) {
    tree.edit(PROCESS, "\tps.Cmd.Cancel = ps.terminate\n", "\tps.Cmd.Cancel = ps.myOwn\n");
}

#[test]
fn revert_says_what_it_did_and_forgets_the_originals() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    assert!(tree.path(JOURNAL).exists());
    let run = tree.rr_patch(&["revert"]).exits(0);
    let expected = format!(
        "reverted `{}`: 4 files\n  restored {PROCESS}\n  restored {SYSTEM}\n{}",
        tree.root().display(),
        format_args!("  removed  {ADDED}\n  removed  {ADDED_UNIX}\n")
    );
    assert_eq!(run.stdout, expected);
    assert!(tree.snapshot() == before);
    assert!(!tree.path(STATE).exists());
    assert_eq!(tree.git(&["status", "--porcelain", "--ignored"]), "");
}

#[test]
fn revert_leaves_nothing_behind_in_a_tree_without_git() {
    let tree = Tree::bare("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    assert!(tree.path(".rr-patch/checkout/journal").is_file());
    tree.rr_patch_in("hack", &["revert"]).exits(0);
    assert!(tree.snapshot() == before);
    assert!(!tree.path(".rr-patch").exists());
}

#[test]
fn revert_with_nothing_to_revert_says_so_and_writes_nothing() {
    for tree in [Tree::new("installer"), Tree::bare("installer")] {
        let before = tree.snapshot();
        let run = tree.rr_patch(&["revert"]).exits(0);
        assert_eq!(run.stdout, format!("`{}` is not patched; nothing to do\n", tree.root().display()));
        let report = tree.rr_patch(&["revert", "--format", "json"]).exits(0).json();
        let expected = json!({"schema": "rr-patch/revert/1", "outcome": "unchanged", "root": tree.root(), "files": []});
        assert_eq!(report, expected);
        assert!(tree.snapshot() == before);
        assert!(!tree.path(STATE).exists() && !tree.path(".rr-patch").exists());
    }
}

#[test]
fn revert_keeps_edits_elsewhere_in_the_patched_files() {
    let (tree, expected) = (Tree::patched("installer"), Tree::new("installer"));
    for (file, old, new) in ELSEWHERE {
        tree.edit(file, old, new);
        expected.edit(file, old, new);
    }
    tree.rr_patch(&["revert"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 4 files
  merged   pkg/clusterapi/internal/process/process.go; what was edited since is kept
  merged   pkg/clusterapi/system.go; what was edited since is kept
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
"#]]);
    assert!(tree.snapshot() == expected.snapshot());
    assert!(!tree.path(STATE).exists());
}

#[test]
fn revert_keeps_edits_elsewhere_byte_for_byte_in_files_that_vary() {
    for (name, vary) in crate::shapes::VARIATIONS {
        let varied = || {
            let tree = Tree::new("p2");
            [PROCESS, SYSTEM, PROCESS_UNIX].iter().for_each(|file| tree.write(file, vary(file, tree.read(file))));
            tree
        };
        let (tree, expected) = (varied(), varied());
        tree.rr_patch(&["apply"]).exits(0);
        for tree in [&tree, &expected] {
            for file in [PROCESS, SYSTEM, PROCESS_UNIX] {
                let bytes = tree.read(file);
                let at = bytes.windows(8).position(|window| window == b"import (").unwrap();
                tree.write(file, [&bytes[..at], b"// An edit \xff of our own.\n", &bytes[at..]].concat());
            }
        }
        tree.rr_patch(&["revert"]).exits(0);
        for file in [PROCESS, SYSTEM, PROCESS_UNIX] {
            let (found, wanted) = (tree.read(file), expected.read(file));
            let (shown, hoped) = (String::from_utf8_lossy(&found), String::from_utf8_lossy(&wanted));
            assert!(found == wanted, "{name}: {file}, found:\n{shown:?}\nexpected:\n{hoped:?}");
        }
        assert!(tree.snapshot() == expected.snapshot(), "{name}");
    }
}

#[test]
fn revert_takes_a_change_that_was_undone_by_hand_for_no_conflict() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    tree.edit(PROCESS, "\tps.Cmd.Cancel = ps.terminate\n", "");
    tree.edit(PROCESS, "if err := ps.terminate(); err", "if err := ps.Cmd.Process.Signal(syscall.SIGTERM); err");
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn revert_refuses_a_file_edited_in_the_changed_lines_and_shows_them() {
    let tree = Tree::patched("installer");
    edit_changed_lines(&tree);
    tree.edit(SYSTEM, "\t\t\tprocess.AwaitAll(&c.supervisor)\n", "\t\t\tprocess.AwaitAll(&c.supervisor) // local\n");
    // Only the lines in question.
    tree.refuses(&["revert"]).says_exactly(str![[r#"
error: edits made since apply touch the lines that it changed
  `pkg/clusterapi/internal/process/process.go`
    <<<<<<< edited since apply
    	ps.Cmd.Cancel = ps.myOwn
    =======
    >>>>>>> original
  `pkg/clusterapi/system.go`
    <<<<<<< edited since apply
    			process.AwaitAll(&c.supervisor) // local
    =======
    >>>>>>> original
hint: undo those edits, or `rr-patch revert --force`, which keeps the edited version beside the original
nothing was written
"#]]);
    assert!(tree.path(JOURNAL).exists());
}

#[test]
fn revert_force_keeps_the_edited_version_beside_the_original() {
    let (tree, expected) = (Tree::patched("installer"), Tree::new("installer"));
    edit_changed_lines(&tree);
    tree.chmod(PROCESS, 0o600);
    let edited = tree.read(PROCESS);
    // A file that merges is merged all the same.
    let (file, old, new) = ELSEWHERE[2];
    tree.edit(file, old, new);
    expected.edit(file, old, new);

    let run = tree.rr_patch(&["revert", "--force"]).exits(0);
    run.prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 4 files
  restored pkg/clusterapi/internal/process/process.go; the edited version is pkg/clusterapi/internal/process/process.go.edited
  merged   pkg/clusterapi/system.go; what was edited since is kept
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
"#]]);
    assert_eq!(tree.read(&format!("{PROCESS}.edited")), edited);
    let mut found = tree.snapshot();
    let (_, mode) = found.remove(std::path::Path::new(&format!("{PROCESS}.edited"))).unwrap();
    assert_eq!(mode & 0o7777, 0o600);
    assert!(found == expected.snapshot());
    tree.go(&["vet", "./pkg/clusterapi/..."], &[]).exits(0);
    assert!(!tree.path(STATE).exists());
}

#[test]
fn revert_force_never_writes_over_an_earlier_backup() {
    let tree = Tree::new("installer");
    for (number, backup) in [".edited", ".edited-2", ".edited-3"].into_iter().enumerate() {
        tree.rr_patch(&["apply"]).exits(0);
        tree.edit(PROCESS, "ps.Cmd.Cancel = ps.terminate", &format!("ps.Cmd.Cancel = ps.own{number}"));
        let report = tree.rr_patch(&["revert", "--force", "--format", "json"]).exits(0).json();
        let expected = json!({"path": PROCESS, "done": "restored", "backup": format!("{PROCESS}{backup}")});
        assert_eq!(report["files"][0], expected);
        assert_eq!(report["files"].as_array().unwrap().len(), 4);
    }
    for (number, backup) in [".edited", ".edited-2", ".edited-3"].into_iter().enumerate() {
        assert!(tree.text(&format!("{PROCESS}{backup}")).contains(&format!("ps.Cmd.Cancel = ps.own{number}\n")));
    }
    assert_eq!(tree.git(&["diff", "--name-only"]), "");
}

#[test]
fn revert_force_counts_the_files_that_it_reverts_and_not_the_backups() {
    let tree = Tree::patched("installer");
    edit_changed_lines(&tree);
    let run = tree.rr_patch(&["revert", "--force"]).exits(0);
    let listed = run.stdout.lines().filter(|line| line.starts_with("  ")).count();
    assert!(run.stdout.contains(&format!(": {listed} files\n")), "{}", run.stdout);
}

#[test]
fn revert_refuses_to_remove_an_added_file_that_was_edited() {
    let tree = Tree::patched("installer");
    let before = tree.git(&["diff", "--name-only", "HEAD"]);
    tree.edit(ADDED, "waitNotice = 10 * time.Second", "waitNotice = time.Second");
    let edited = tree.read(ADDED);
    tree.refuses(&["revert"]).says_exactly(str![[r#"
error: edits made since apply touch the lines that it changed
  `pkg/clusterapi/internal/process/rr_patch.go`: a file that apply added was edited since
hint: undo those edits, or `rr-patch revert --force`, which keeps the edited version beside the original
nothing was written
"#]]);
    assert_eq!(tree.git(&["diff", "--name-only", "HEAD"]), before);

    let run = tree.rr_patch(&["revert", "--force"]).exits(0);
    run.prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 4 files
  restored pkg/clusterapi/internal/process/process.go
  restored pkg/clusterapi/system.go
  removed  pkg/clusterapi/internal/process/rr_patch.go; the edited version is pkg/clusterapi/internal/process/rr_patch.go.edited
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
"#]]);
    assert_eq!(tree.read(&format!("{ADDED}.edited")), edited);
    assert_eq!(tree.git(&["status", "--porcelain"]), format!("?? {ADDED}.edited\n"));
}

#[test]
fn revert_does_not_miss_an_added_file_that_was_deleted() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    tree.remove(ADDED);
    tree.remove(ADDED_UNIX);
    tree.rr_patch(&["revert"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 2 files
  restored pkg/clusterapi/internal/process/process.go
  restored pkg/clusterapi/system.go
"#]]);
    assert!(tree.snapshot() == before);
}

#[test]
fn revert_refuses_when_an_original_file_was_deleted_and_force_brings_it_back() {
    let tree = Tree::new("installer");
    tree.chmod(SYSTEM, 0o755);
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    tree.remove(SYSTEM);
    tree.refuses(&["revert"]).says_exactly(str![[r#"
error: files that apply changed were deleted since
  `pkg/clusterapi/system.go` was deleted since
hint: `rr-patch revert --force` brings them back as they were before apply
nothing was written
"#]]);
    tree.rr_patch(&["revert", "--force"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn revert_force_brings_back_files_whose_folder_was_deleted() {
    let tree = Tree::new("installer");
    tree.rr_patch(&["apply"]).exits(0);
    fs::remove_dir_all(tree.path("pkg/clusterapi/internal/process")).unwrap();
    tree.refuses(&["revert"]).says_exactly(str![[r#"
error: files that apply changed were deleted since
  `pkg/clusterapi/internal/process/process.go` was deleted since
hint: `rr-patch revert --force` brings them back as they were before apply
nothing was written
"#]]);
    tree.rr_patch(&["revert", "--force"]).exits(0);
    assert_eq!(tree.git(&["status", "--porcelain", "--", PROCESS, SYSTEM, ADDED, ADDED_UNIX]), "");
}

#[test]
fn revert_keeps_modes_that_were_changed_since() {
    let (tree, expected) = (Tree::new("installer"), Tree::new("installer"));
    tree.chmod(PROCESS, 0o640);
    tree.rr_patch(&["apply"]).exits(0);
    for tree in [&tree, &expected] {
        tree.chmod(PROCESS, 0o777);
        tree.chmod(SYSTEM, 0o600);
    }
    tree.chmod(ADDED, 0o755);
    // A mode is no reason to patch again.
    tree.rr_patch(&["apply"]).exits(0).prints_exactly(str!["`[FOLDER]/installer` is patched already; nothing to do"]);
    // Other options are, and the modes stay.
    tree.rr_patch(&["apply", "--signal", "rr"]).exits(0);
    assert_eq!((tree.mode(PROCESS), tree.mode(SYSTEM)), (0o777, 0o600));
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == expected.snapshot());
}

#[test]
fn revert_takes_a_shortened_file_for_an_edit_in_the_boot_that_patched_it() {
    for name in ["last function deleted", "final newline dropped", "emptied"] {
        for file in [PROCESS, SYSTEM] {
            let tree = Tree::patched("installer");
            let whole = tree.read(file);
            let end = match name {
                "last function deleted" => whole.windows(6).rposition(|window| window == b"\nfunc ").unwrap() + 1,
                "final newline dropped" => whole.len() - 1,
                _ => 0,
            };
            tree.write(file, &whole[..end]);
            let shortened = tree.read(file);
            tree.rr_patch(&["status"]).prints(&[&format!("  {file} was edited since apply")]);
            let run = tree.rr_patch(&["revert"]);
            match run.code {
                // Merged: the end is gone from the original too.
                0 => {
                    run.prints(&[&format!("  merged   {file}; what was edited since is kept\n")]);
                    let ending = &whole[whole.len() - 20..];
                    assert!(!tree.read(file).ends_with(ending), "{name}: {file}");
                }
                _ => {
                    run.refuses();
                    assert_eq!(tree.read(file), shortened, "{name}: {file}");
                    tree.rr_patch(&["revert", "--force"]).exits(0);
                    assert_eq!(tree.read(&format!("{file}.edited")), shortened, "{name}: {file}");
                }
            }
        }
    }
}

#[test]
fn a_file_that_was_shortened_long_after_apply_is_an_edit_though_the_machine_went_down() {
    let tree = Tree::patched("installer");
    let two_minutes_ago = SystemTime::now() - Duration::from_secs(120);
    tree.reboot();
    set_modified(&tree, JOURNAL, two_minutes_ago);
    let whole = tree.read(PROCESS);
    tree.write(PROCESS, &whole[..whole.len() - 1]);
    tree.rr_patch(&["status"]).prints(&[&format!("  {PROCESS} was edited since apply")]);
}

#[test]
fn an_edit_right_after_apply_is_no_damage_of_a_crash() {
    for (file, old, new) in ELSEWHERE {
        let (tree, expected) = (Tree::patched("installer"), Tree::new("installer"));
        tree.reboot();
        [&tree, &expected].iter().for_each(|tree| tree.edit(file, old, new));
        tree.rr_patch(&["status"]).prints(&[&format!("  {file} was edited since apply")]);
        tree.rr_patch(&["revert"]).exits(0);
        assert!(tree.snapshot() == expected.snapshot(), "{file}");
    }
    for length in [0, 4096] {
        let tree = Tree::patched("installer");
        tree.reboot();
        let start = tree.read(SYSTEM)[..length].to_vec();
        tree.write(SYSTEM, [start, b"~".to_vec()].concat());
        tree.rr_patch(&["status"]).prints(&[&format!("  {SYSTEM} was edited since apply")]);
    }
}

#[test]
fn a_save_that_a_killed_run_put_aside_is_kept_unless_a_crash_cut_it_off() {
    let (aside, kept) = ("pkg/clusterapi/.rr-patch-swap-system.go", format!("{SYSTEM}.edited"));
    for (reboot, length, end, is_kept) in [(false, 4096, "", true), (true, 4096, "", false), (true, 4096, "~", true)] {
        let tree = Tree::patched("p2");
        if reboot {
            tree.reboot();
        }
        let bytes = [&tree.read(SYSTEM)[..length], end.as_bytes()].concat();
        tree.write(aside, &bytes);
        tree.rr_patch(&["revert"]).exits(0);
        assert!(!tree.path(aside).exists());
        assert_eq!(tree.path(&kept).exists().then(|| tree.read(&kept)), is_kept.then_some(bytes), "{reboot} {end}");
    }
}

#[test]
fn the_time_of_a_journal_without_a_boot_id_tells_whether_the_machine_went_down() {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for (written, state) in [(Some(long_ago), "is cut off"), (None, "was edited since apply")] {
        let tree = Tree::patched("installer");
        let journal = tree.text(JOURNAL);
        let (before, boot) = journal.split_once(",\"boot\":\"").unwrap();
        let (_, after) = boot.split_once('"').unwrap();
        tree.write(JOURNAL, format!("{before}{after}"));
        let whole = tree.read(PROCESS);
        tree.write(PROCESS, &whole[..whole.len() - 1]);
        if let Some(time) = written {
            [JOURNAL, PROCESS].iter().for_each(|file| set_modified(&tree, file, time));
        }
        tree.rr_patch(&["status"]).prints(&[&format!("  {PROCESS} {state}")]);
    }
}

#[test]
fn revert_gives_a_folder_that_a_patch_removed_its_mode_again() {
    let tree = Tree::new("p2");
    tree.write("docs/deep/only.txt", "only\n");
    tree.chmod("docs", 0o2770);
    tree.chmod("docs/deep", 0o700);
    let before = tree.snapshot();
    let patch = "--- a/docs/deep/only.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-only\n";
    fs::write(tree.beside("the.patch"), patch).unwrap();
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
    assert!(!tree.path("docs").exists());
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
    assert_eq!((tree.mode("docs"), tree.mode("docs/deep")), (0o2770, 0o700));
}

#[test]
fn revert_with_nothing_to_undo_clears_what_a_killed_apply_left() {
    let tree = Tree::new("p2");
    let before = tree.snapshot();
    let patch = "--- /dev/null\n+++ b/extra/deep/new.txt\n@@ -0,0 +1 @@\n+new\n";
    fs::write(tree.beside("the.patch"), patch).unwrap();
    tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
    // As if apply had been killed before it put anything in place.
    tree.remove("extra/deep/new.txt");
    tree.write("extra/deep/.rr-patch-new-1-0", "ne");
    tree.write("extra/deep/.rr-patch-swap-new.txt", "new\n");
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before && !tree.path("extra").exists() && !tree.path(STATE).exists());

    // Killed before it had a journal, or after.
    for left in [&[][..], &["lock"], &["lock", ".rr-patch-Ab12cD"]] {
        let state = tree.path(STATE).join("checkout");
        fs::create_dir_all(&state).unwrap();
        left.iter().for_each(|name| fs::write(state.join(name), "half a jour").unwrap());
        tree.rr_patch(&["revert"]).exits(0).prints_exactly(str!["`[FOLDER]/installer` is not patched; nothing to do"]);
        assert!(!tree.path(STATE).exists(), "{left:?}");
    }
}

#[test]
fn a_killed_revert_of_edited_files_leaves_no_second_copy_of_the_edits() {
    let swap = "pkg/clusterapi/internal/process/.rr-patch-swap-process.go";
    let (file, old, new) = ELSEWHERE[0];
    let (tree, expected) = (Tree::patched("installer"), Tree::new("installer"));
    tree.edit(file, old, new);
    expected.edit(file, old, new);
    // As if it had been killed after the exchange: the merged file is in place, the edited one beside it.
    let edited = tree.read(PROCESS);
    tree.write(PROCESS, expected.read(PROCESS));
    tree.write(swap, edited);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == expected.snapshot());

    // And with --force: after the backup, and after the exchange.
    let tree = Tree::patched("installer");
    edit_changed_lines(&tree);
    let edited = tree.read(PROCESS);
    tree.write(&format!("{PROCESS}.edited"), &edited);
    tree.rr_patch(&["revert", "--force"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 4 files
  restored pkg/clusterapi/internal/process/process.go; the edited version is pkg/clusterapi/internal/process/process.go.edited
  restored pkg/clusterapi/system.go
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
"#]]);
    assert!(!tree.path(&format!("{PROCESS}.edited-2")).exists());

    let tree = Tree::patched("installer");
    tree.write(PROCESS, Tree::new("installer").read(PROCESS));
    tree.write(&format!("{PROCESS}.edited"), &edited);
    tree.write(swap, &edited);
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!(tree.git(&["status", "--porcelain"]), format!("?? {PROCESS}.edited\n"));
    assert_eq!(tree.read(&format!("{PROCESS}.edited")), edited);
}

#[test]
fn a_journal_is_believed_only_on_paths_and_modes_that_a_plan_can_have() {
    let file = |path: &str| format!("{{\"path\":\"{path}\",\"before\"");
    let mode = |number: u32| format!("\"mode\":{number}");
    for (from, old, new, why) in [
        (
            "",
            file(PROCESS),
            file("../../../../../../../../outside/process.go"),
            "it has the invalid path `../../../../../../../../outside/process.go`",
        ),
        ("", file(SYSTEM), file(".git/hooks/post-commit"), "it has the invalid path `.git/hooks/post-commit`"),
        (
            "",
            mode(0o644),
            mode(0o4755),
            "`pkg/clusterapi/internal/process/process.go` in it has the invalid modes 4755 and 644",
        ),
        (
            "\"after\"",
            mode(0o644),
            mode(0o2644),
            "`pkg/clusterapi/internal/process/process.go` in it has the invalid modes 644 and 2644",
        ),
        ("\"folders\"", "[[\"".into(), "[[\"../".into(), "it has the invalid folder `../pkg`"),
        ("\"folders\"", "[\"pkg\",".into(), "[\"pkg\",9".into(), "it has the invalid folder `pkg`"),
    ] {
        let tree = Tree::patched("installer");
        let journal = tree.read(JOURNAL);
        let end = journal.iter().position(|&byte| byte == b'\n').unwrap();
        let header = String::from_utf8(journal[..end].to_vec()).unwrap();
        let (start, rest) = header.split_at(header.find(from).unwrap());
        let rest = rest.replacen(&old, &new, 1);
        tree.write(JOURNAL, [start.as_bytes(), rest.as_bytes(), &journal[end..]].concat());
        let before = tree.snapshot();
        for command in ["revert", "apply", "status"] {
            tree.rr_patch(&[command]).exits(3).says_exactly(format!(
                "error: the journal `[FOLDER]/installer/{JOURNAL}` is damaged: {why}\n\
                 hint: it holds the originals: keep a copy, \
                 get the files back with `git checkout -- pkg/clusterapi`, then remove it\n\
                 nothing was written"
            ));
        }
        assert!(tree.snapshot() == before);
    }
}

#[test]
fn revert_works_while_a_merge_is_in_progress() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.git(&["checkout", "--quiet", "-b", "side"]);
    tree.commit("on a side branch");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.commit("on the main branch");
    tree.rr_patch(&["apply"]).exits(0);
    tree.git(&["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    assert!(tree.path(".git/MERGE_HEAD").exists());
    tree.refuses(&["apply", "--controllers", "all"]).says_exactly(str![[r#"
error: a merge is in progress in `[FOLDER]/installer`
hint: finish it first: `git merge --continue` or `git merge --abort`
nothing was written
"#]]);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn revert_after_git_has_brought_back_the_originals_removes_what_was_added() {
    for gone in [&["stash", "--quiet"][..], &["checkout", "--quiet", "--", "."], &["reset", "--quiet", "--hard"]] {
        let tree = Tree::new("installer");
        let before = tree.snapshot();
        tree.rr_patch(&["apply"]).exits(0);
        tree.git(gone);
        tree.rr_patch(&["revert"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer`: 2 files
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
"#]]);
        assert!(tree.snapshot() == before, "{gone:?}");
    }
}

#[test]
fn revert_restores_the_originals_even_if_the_patch_was_committed() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    tree.commit("the patched sources");
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn revert_on_another_branch_leaves_its_sources_as_they_are() {
    let tree = Tree::new("installer");
    tree.git(&["checkout", "--quiet", "-b", "other"]);
    for (file, old, new) in ELSEWHERE {
        tree.edit(file, old, new);
    }
    tree.commit("other sources");
    let other = tree.snapshot();
    tree.git(&["checkout", "--quiet", "main"]);
    tree.rr_patch(&["apply"]).exits(0);
    tree.git(&["checkout", "--quiet", "--force", "other"]);
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == other);
}

#[test]
fn revert_takes_everything_back_when_a_file_cannot_be_replaced() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    let patched = (tree.snapshot(), tree.state());
    for busy in [SYSTEM, ADDED_UNIX] {
        let Some(run) = tree.rr_patch_while_busy(busy, &["revert"]) else { return };
        run.exits(1).says_exactly(format!(
            "error: cannot [..] `[FOLDER]/installer/{busy}`: Device or resource busy (os error 16)\n  \
             all changes were rolled back"
        ));
        assert!(patched == (tree.snapshot(), tree.state()), "{busy}");
    }
    tree.rr_patch(&["revert"]).exits(0);
    assert!(tree.snapshot() == before);
}

#[test]
fn revert_refuses_a_link_or_a_folder_in_the_place_of_a_patched_file() {
    let tree = Tree::patched("installer");
    fs::rename(tree.path(SYSTEM), tree.beside("system.go")).unwrap();
    tree.link(SYSTEM, tree.beside("system.go"));
    for options in [&["revert"][..], &["revert", "--force"]] {
        tree.refuses(options).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` is a symlink, where a file should be
  found: `pkg/clusterapi/system.go` -> `[FOLDER]/system.go`
hint: replace the link by the file, or run rr-patch in the checkout that the link points to
nothing was written
"#]]);
    }
    tree.remove(SYSTEM);
    fs::create_dir(tree.path(SYSTEM)).unwrap();
    for options in [&["revert"][..], &["revert", "--force"]] {
        tree.refuses(options).says_exactly(str![[r#"
error: `pkg/clusterapi/system.go` is not a regular file
  found: a folder
nothing was written
"#]]);
    }
}

#[test]
fn revert_several_at_once_end_in_order() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    let revert = || Run::of(tree.tool().arg("revert").output().unwrap());
    for _ in 0..15 {
        tree.rr_patch(&["apply"]).exits(0);
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..6).map(|_| scope.spawn(revert)).collect();
            for run in calls.into_iter().map(|call| call.join().unwrap()) {
                assert!([0, 3].contains(&run.code), "exit {}: {}", run.code, run.stderr);
            }
        });
        assert!(tree.snapshot() == before);
    }
}

#[test]
fn revert_and_apply_make_files_whole_that_a_crash_cut_off() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    tree.rr_patch(&["apply"]).exits(0);
    tree.reboot();
    let after = tree.snapshot();
    // What a file system may leave of a file that was renamed into place before its bytes were on
    // disk: nothing, a beginning, or zeros.
    let cut = |tree: &Tree| {
        tree.write(PROCESS, "");
        let system = tree.read(SYSTEM);
        tree.write(SYSTEM, [&system[..4096], &[0; 100]].concat());
        tree.write(ADDED, &tree.read(ADDED)[..10]);
    };
    cut(&tree);
    tree.rr_patch(&["status"])
        .exits(0)
        .prints(&[&format!("{SYSTEM} is cut off: `rr-patch apply` or `rr-patch revert`")]);
    tree.rr_patch(&["build"]).refuses();
    tree.rr_patch(&["apply"]).exits(0);
    assert_eq!(tree.snapshot(), after);
    tree.reboot();
    cut(&tree);
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn revert_removes_the_folders_that_a_patch_made_and_brings_back_those_that_it_emptied() {
    for tree in [Tree::new("p2"), Tree::bare("p2")] {
        tree.write("docs/deep/er/only.txt", "only\n");
        let patch = "--- /dev/null\n+++ b/extra/deep/er/new.txt\n@@ -0,0 +1 @@\n+new\n\
                     --- a/docs/deep/er/only.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-only\n";
        fs::write(tree.beside("the.patch"), patch).unwrap();
        tree.rr_patch(&["apply", "--patch", "../the.patch"]).exits(0);
        assert!(tree.path("extra/deep/er/new.txt").exists() && !tree.path("docs").exists());
        tree.rr_patch(&["revert"]).exits(0);
        assert!(!tree.path("extra").exists() && tree.text("docs/deep/er/only.txt") == "only\n");
    }
}

#[test]
fn what_a_killed_revert_had_prepared_is_no_edit() {
    let (edited, merged) = ("// mine\n", "pkg/clusterapi/.rr-patch-swap-system.go");
    let tree = Tree::new("p2");
    let original = tree.text(SYSTEM) + edited;
    tree.rr_patch(&["apply"]).exits(0);
    tree.write(SYSTEM, tree.text(SYSTEM) + edited);
    // Killed with the merged version beside the edited one.
    tree.write(merged, &original);
    tree.rr_patch(&["revert"]).exits(0);
    assert_eq!(tree.text(SYSTEM), original);
    assert!(!tree.path(&format!("{SYSTEM}.edited")).exists());

    let prepared = "pkg/clusterapi/internal/process/.rr-patch-swap-process.go.edited";
    let tree = Tree::patched("p2");
    edit_changed_lines(&tree);
    let edited = tree.read(PROCESS);
    // Killed with a copy of the edited version that had not got its name yet.
    tree.write(prepared, &edited);
    tree.rr_patch(&["revert", "--force"]).exits(0);
    assert_eq!(tree.read(&format!("{PROCESS}.edited")), edited);
    assert!(!tree.path(&format!("{PROCESS}.edited.edited")).exists());
    assert!(!tree.path(prepared).exists());
}
