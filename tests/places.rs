//! Odd and hostile places: git folders that cannot be read, names that are not text, programs of the checkout in PATH,
//! escape codes in names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::harness::{JOURNAL, PROCESS, Run, Tree, command, copy, skip, write_program};
use snapbox::str;

const COMMANDS: [&[&str]; 5] = [&["apply"], &["apply", "--dry-run"], &["diff"], &["status"], &["revert"]];

/// A user who is not us.
const NOBODY: u32 = 65_534;

// The git folder.

/// Asserts that every command refuses, names `what`, and begins no second journal.
#[track_caller]
fn refused_everywhere(tree: &Tree, what: &[&str]) {
    let before = tree.snapshot();
    for arguments in COMMANDS {
        tree.rr_patch(arguments).refuses().says(what);
    }
    assert!(before == tree.snapshot());
}

#[test]
fn commands_refuse_a_git_file_that_leads_nowhere() {
    let tree = Tree::bare("installer");
    tree.write(".git", "gitdir: /nowhere/installer.git\n");
    refused_everywhere(
        &tree,
        &[
            &format!("error: the git folder of `{}` cannot be read: it is a file that contains", tree.root().display()),
            "`gitdir: /nowhere/installer.git`",
            "hint: `git -C ",
        ],
    );
}

#[test]
fn commands_refuse_a_git_link_that_leads_nowhere() {
    let tree = Tree::bare("installer");
    tree.link(".git", "/nowhere/installer.git");
    refused_everywhere(&tree, &["cannot be read: it is a link, and No such file or directory"]);
}

#[test]
fn commands_refuse_a_git_folder_with_a_folder_for_its_head() {
    let tree = Tree::patched("installer");
    tree.remove(".git/HEAD");
    fs::create_dir(tree.path(".git/HEAD")).unwrap();
    refused_everywhere(&tree, &["cannot be read: its `HEAD` is a folder\n", "looked at: `"]);
    assert!(tree.path(JOURNAL).is_file());
}

#[test]
fn commands_refuse_a_head_and_a_config_that_make_no_sense() {
    for (name, text) in [(".git/HEAD", "nonsense\n"), (".git/HEAD", ""), (".git/config", "[core\n")] {
        let tree = Tree::patched("installer");
        tree.write(name, text);
        refused_everywhere(&tree, &["error: cannot ", tree.root().to_str().unwrap(), "hint: `git "]);
    }
}

#[test]
fn commands_refuse_a_git_folder_that_lacks_a_part() {
    let tree = Tree::new("installer");
    fs::rename(tree.path(".git/objects"), tree.beside("objects")).unwrap();
    refused_everywhere(&tree, &["but lacks other parts of a repository\n"]);
}

#[test]
fn commands_refuse_a_damaged_git_folder_below_another_checkout() {
    let tree = Tree::vendored("third_party/installer");
    tree.write("third_party/installer/.git", "gitdir: ../nowhere\n");
    for arguments in COMMANDS {
        let run = tree.rr_patch_in("third_party/installer", arguments).refuses();
        run.says_exactly(str![[r#"
error: the git folder of `[FOLDER]/outer/third_party/installer` cannot be read: it is a file that contains `gitdir: ../nowhere`
  looked at: `[FOLDER]/outer/third_party/installer/.git`
  expected: a git folder, or a file that names one, since rr-patch keeps its journal there
hint: `git -C [FOLDER]/outer/third_party/installer status` shows more; rr-patch also works in a copy without `.git`
nothing was written
"#]]);
    }
    assert!(!tree.path(".git/rr-patch").exists());
}

#[test]
fn apply_takes_an_empty_git_folder_for_none_as_git_does() {
    let tree = Tree::bare("installer");
    fs::create_dir(tree.path(".git")).unwrap();
    assert!(tree.run("git", &["status"], &[]).says(&["not a git repository"]).code != 0);
    tree.rr_patch(&["apply"]).exits(0);
    assert!(tree.path(".rr-patch/checkout/journal").is_file());
    tree.rr_patch(&["revert"]).exits(0);
}

#[test]
fn apply_looks_for_a_repository_no_higher_than_git_may() {
    let tree = Tree::vendored("third_party/installer");
    let output = |arguments: &[&str]| {
        let mut tool = tree.tool();
        tool.current_dir(tree.path("third_party/installer")).env("GIT_CEILING_DIRECTORIES", tree.root());
        Run::of(tool.args(arguments).output().unwrap())
    };
    output(&["apply"]).exits(0);
    assert!(!tree.path(".git/rr-patch").exists());
    output(&["revert"]).exits(0);
}

#[test]
fn commands_refuse_a_git_folder_that_may_not_be_read() {
    let tree = Tree::patched("installer");
    if tree.run("chown", &["-R", &NOBODY.to_string(), ".."], &[]).code != 0 {
        return skip(&["chown"], "files can be given to nobody else here");
    }
    // A place for the program that this user may go to.
    let program = tree.beside("rr-patch");
    copy(Path::new(env!("CARGO_BIN_EXE_rr-patch")), &program);
    for (name, mode) in [(".git", 0), (".git/HEAD", 0), (".git", 0o311)] {
        let was = fs::metadata(tree.path(name)).unwrap().permissions();
        tree.chmod(name, mode);
        for arguments in COMMANDS {
            let mut tool = command(program.to_str().unwrap());
            let run = Run::of(tool.current_dir(tree.root()).args(arguments).uid(NOBODY).output().unwrap());
            // A folder that may be searched and not listed is no obstacle to git.
            if mode == 0 {
                run.refuses().says(&["cannot ", "ermission denied", tree.root().to_str().unwrap()]);
            }
            assert!(!tree.path(".rr-patch").exists(), "{name} {arguments:?}");
        }
        fs::set_permissions(tree.path(name), was).unwrap();
    }
}

#[test]
fn commands_never_take_a_checkout_for_one_without_git_when_no_file_can_be_opened() {
    let mut refused = 0;
    for number in 4..14 {
        let tree = Tree::new("installer");
        let limit = format!("--nofile={number}");
        let run = tree.run("prlimit", &[&limit, env!("CARGO_BIN_EXE_rr-patch"), "apply"], &[]);
        assert!(!tree.path(".rr-patch").exists(), "with {number} files:\n{}{}", run.stdout, run.stderr);
        refused += usize::from(run.code != 0);
        assert!(run.code != 101, "with {number} files:\n{}", run.stderr);
    }
    assert!(refused > 0);
}

// Names that are not text.

/// A checkout moved to a folder of that name.
fn moved(tree: &Tree, name: &[u8]) -> PathBuf {
    let root = tree.root().with_file_name(OsStr::from_bytes(name));
    fs::rename(tree.root(), &root).unwrap();
    root
}

fn run_in(folder: &Path, arguments: &[&str]) -> Run {
    Run::of(command(env!("CARGO_BIN_EXE_rr-patch")).current_dir(folder).args(arguments).output().unwrap())
}

#[test]
fn commands_work_in_a_root_that_is_not_utf8() {
    let tree = Tree::new("installer");
    let root = moved(&tree, b"inst\xffaller\xe9");
    let original = fs::read(root.join(PROCESS)).unwrap();
    let shown = format!("{}/inst\\xffaller\\xe9", root.parent().unwrap().display());
    for (arguments, code) in [
        (&["apply", "--dry-run"][..], 0),
        (&["status"], 0),
        (&["revert"], 0),
        (&["apply"], 0),
        (&["apply"], 0),
        (&["status"], 0),
        (&["diff"], 0),
        (&["revert"], 0),
        (&["traces"], 0),
    ] {
        let arguments = [&["--format", "json"], arguments].concat();
        let run = run_in(&root, &arguments);
        assert_eq!(run.code, code, "{arguments:?}\n{}{}", run.stdout, run.stderr);
        if !arguments.contains(&"diff") && !arguments.contains(&"traces") {
            assert_eq!(run.json()["root"], *shown, "{arguments:?}");
        }
    }
    run_in(&root, &["status"])
        .exits(0)
        .prints_exactly(str![[r#"`[FOLDER]/inst\xffaller\xe9` is not patched: `rr-patch apply` does it"#]]);
    assert_eq!(fs::read(root.join(PROCESS)).unwrap(), original);
}

#[test]
fn two_roots_that_differ_in_bytes_that_are_not_utf8_have_journals_of_their_own() {
    let tree = Tree::new("installer");
    let roots = [&b"one\xff"[..], b"one\xfe"].map(|name| tree.root().join(OsStr::from_bytes(name)));
    for root in &roots {
        fs::create_dir(root).unwrap();
        fs::rename(tree.path("pkg"), tree.path("was")).unwrap_or_default();
        copy(&tree.path("was"), &root.join("pkg"));
    }
    run_in(&roots[0], &["apply"]).exits(0);
    run_in(&roots[1], &["status"])
        .exits(0)
        .prints_exactly(str![[r#"`[FOLDER]/installer/one\xfe` is not patched: `rr-patch apply` does it"#]]);
    run_in(&roots[1], &["revert"])
        .exits(0)
        .prints_exactly(str![[r#"`[FOLDER]/installer/one\xfe` is not patched; nothing to do"#]]);
    run_in(&roots[0], &["status"]).exits(0).prints(&["nothing was edited since\n"]);
    run_in(&roots[0], &["revert"]).exits(0).prints_exactly(str![[r#"
reverted `[FOLDER]/installer/one\xff`: 4 files
  restored pkg/clusterapi/internal/process/process.go
  restored pkg/clusterapi/system.go
  removed  pkg/clusterapi/internal/process/rr_patch.go
  removed  pkg/clusterapi/internal/process/rr_patch_unix.go
"#]]);
}

#[test]
fn traces_of_a_folder_that_is_not_utf8_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join(OsStr::from_bytes(b"traces\xff"));
    fs::create_dir_all(store.join(OsStr::from_bytes(b"aws\xfe-0"))).unwrap();
    fs::write(store.join(OsStr::from_bytes(b"aws\xfe-0/incomplete")), "").unwrap();
    for arguments in [&["traces"][..], &["--format", "json", "traces"]] {
        let mut tool = command(env!("CARGO_BIN_EXE_rr-patch"));
        let run = Run::of(tool.args(arguments).env("_RR_TRACE_DIR", &store).output().unwrap());
        assert!([0, 4].contains(&run.code), "{}{}", run.stdout, run.stderr);
    }
}

// Programs of the checkout.

/// The commands that start programs in the checkout, each with a PATH that begins with the current folder.
#[test]
fn no_program_of_the_checkout_runs_because_path_names_the_current_folder() {
    let tree = Tree::new("installer");
    let programs =
        ["go", "gofmt", "git", "make", "rr", "dlv", "bash", "sh", "env", "true", "uname", "dirname", "mkdir"];
    for program in programs {
        write_program(
            &tree.path(program),
            format!("#!/bin/sh\necho {program} >> '{}'\nexit 1\n", tree.beside("ran").display()),
        );
        tree.chmod(program, 0o755);
    }
    let path = std::env::var("PATH").unwrap();
    let ran = |path: &str, arguments: &[&str]| {
        let output = tree.tool().args(arguments).env("PATH", path).output().unwrap();
        let ran = fs::read_to_string(tree.beside("ran")).unwrap_or_default();
        assert_eq!(ran, "", "{arguments:?} with PATH={path}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    let before = format!(".:{path}");
    ran(&before, &["apply", "--verify"]);
    ran(&before, &["build"]);
    ran(&before, &["doctor"]);
    for path in [format!(":{path}"), format!("pkg/..:{path}"), "./".into()] {
        ran(&path, &["build", "--dry-run"]);
    }
}

// Escape codes in names.

/// An escape code that sets a terminal's title, a line end, DEL, a C1 code in UTF-8, and one that turns the direction.
const HOSTILE: &str = "a\x1b]0;b\x07c\nd\x7fe\u{9b}f\u{202e}g";

#[track_caller]
fn nothing_active(run: &Run, what: &str) {
    for text in [&run.stdout, &run.stderr] {
        let active = |c: char| (c.is_control() && !['\n', '\t'].contains(&c)) || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(active), "{what}: {text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("d\x7f") || line.starts_with("d\\u{7f}")),
            "{what}: {text:?}"
        );
    }
}

#[test]
fn commands_print_no_escape_code_of_a_folder_s_name() {
    let tree = Tree::new("installer");
    let root = moved(&tree, HOSTILE.as_bytes());
    for arguments in [
        &["apply", "--dry-run"][..],
        &["apply"],
        &["apply"],
        &["status"],
        &["build", "--dry-run"],
        &["revert"],
        &["revert"],
        &["status"],
        &["inspect", "."],
        &["inspect", "no-such"],
        &["apply", "--patch", "no-such"],
        &["apply", "--root", "no-such"],
        &["traces", "--trace-dir", "."],
        &["record", "./no-such"],
        &["replay", "--trace-dir", ".", "no-such"],
        &["apply", "--commit"],
        &["revert"],
    ] {
        for format in [&[][..], &["--format", "json"]] {
            let run = run_in(&root, &[arguments, format].concat());
            nothing_active(&run, &format!("{arguments:?} {format:?}"));
            if let Ok(document) = serde_json::from_str::<serde_json::Value>(&run.stdout)
                && document["root"].is_string()
            {
                let named = document["root"].as_str().unwrap().ends_with(HOSTILE);
                assert!(named || arguments[0] == "traces", "JSON keeps the name: {document:#}");
            }
        }
    }
    run_in(&root, &["status"]).exits(0).prints_exactly(str![[
        r#"`[FOLDER]/a\u{1b}]0;b\u{7}c\nd\u{7f}e\u{9b}f\u{202e}g` is not patched: `rr-patch apply` does it"#
    ]]);
}

#[test]
fn diff_escapes_what_the_files_hold_at_a_terminal_only() {
    let tree = Tree::new("installer");
    let line = "\t// \u{1b}]0;title\u{7} \u{202e}\n";
    let source = tree.text(PROCESS);
    let at = source.find("ps.Cmd.Wait()").unwrap();
    let at = source[..at].rfind('\n').unwrap() + 1;
    tree.write(PROCESS, format!("{}{line}{}", &source[..at], &source[at..]));
    tree.commit("a comment");
    let patch = tree.prints(&["diff"]);
    assert!(String::from_utf8(patch.clone()).unwrap().contains(line), "a pipe gets the bytes of the file");
    fs::write(tree.beside("patch"), patch).unwrap();
    tree.git(&["apply", "--check", "../patch"]);

    let script = format!("'{}' diff", env!("CARGO_BIN_EXE_rr-patch"));
    for colour in [&[][..], &[("NO_COLOR", "1")]] {
        let shown = tree.run("script", &["--quiet", "--return", "--command", &script, "/dev/null"], colour);
        if shown.code != 0 {
            return skip(&["terminal"], "there is no `script`, or it cannot make a terminal here");
        }
        assert!(shown.stdout.contains("// \\u{1b}]0;title\\u{7} \\u{202e}"), "{}", shown.stdout);
        assert!(!shown.stdout.contains("\u{1b}]0") && !shown.stdout.contains('\u{202e}'));
    }
}
