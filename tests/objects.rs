//! Objects of a repository that are cut off, empty or something else: an error that names the file, and no hang.

use std::fs;
use std::path::PathBuf;

use crate::harness::{PROCESS, Run, SYSTEM, Tree};

/// Where an object lies that is not packed.
fn file_of(tree: &Tree, name: &str) -> PathBuf {
    let id = tree.git(&["rev-parse", name]);
    let (folder, file) = id.trim().split_at(2);
    tree.path(&format!(".git/objects/{folder}/{file}"))
}

fn damage(tree: &Tree, name: &str, damage: impl Fn(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let file = file_of(tree, name);
    let bytes = fs::read(&file).unwrap();
    // git makes these files read-only.
    fs::remove_file(&file).unwrap();
    fs::write(&file, damage(bytes)).unwrap();
    file
}

/// Runs the tool, which is ended where it hangs.
fn within_a_minute(tree: &Tree, arguments: &[&str]) -> Run {
    tree.run("timeout", &[&["60", env!("CARGO_BIN_EXE_rr-patch")], arguments].concat(), &[])
}

#[test]
fn a_broken_object_is_named_and_never_waited_for() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let kinds: [(Damage, &str); 5] = [
        (|bytes| bytes[..bytes.len() - 12].to_vec(), "is broken: it ends early, after "),
        (|bytes| bytes[..bytes.len() - 2].to_vec(), "is broken: it ends early, after "),
        (|_| Vec::new(), "is broken: the file is empty\n"),
        (|bytes| bytes.iter().map(|byte| !byte).collect(), "is broken: it cannot be inflated ("),
        (|bytes| bytes[..2].to_vec(), "is broken: it ends early, after 0 bytes\n"),
    ];
    for object in ["HEAD", "HEAD:", "HEAD:pkg/clusterapi", &format!("HEAD:{SYSTEM}")] {
        for (change, says) in kinds {
            let tree = Tree::new("installer");
            let commit = tree.git(&["rev-parse", "HEAD"]);
            let file = damage(&tree, object, change);
            let name = format!("the git object `{}` {says}", file.display());
            for revision in ["HEAD", "main", commit.trim(), &commit[..9], "HEAD~0", "main^{commit}"] {
                let run = within_a_minute(&tree, &["diff", "--rev", revision]).refuses();
                run.says(&[&name, "hint: `git fsck` "]);
            }
            let run = within_a_minute(&tree, &["check", "--all"]).exits(4);
            assert!(run.stdout.contains(&name), "{}", run.stdout);
        }
    }
}

#[test]
fn a_broken_object_stops_a_commit_before_anything_is_written() {
    for object in ["HEAD", "HEAD:", "HEAD:pkg/clusterapi"] {
        let tree = Tree::new("installer");
        let file = damage(&tree, object, |bytes| bytes[..bytes.len() - 12].to_vec());
        let before = (tree.snapshot(), tree.state());
        let run = within_a_minute(&tree, &["apply", "--commit"]).refuses();
        run.says(&[&format!("the git object `{}` is broken: ", file.display())]);
        assert!((tree.snapshot(), tree.state()) == before, "{object}");
        within_a_minute(&tree, &["apply"]).exits(0);
        within_a_minute(&tree, &["revert"]).exits(0);

        let tree = Tree::new("installer");
        tree.rr_patch(&["apply", "--commit"]).exits(0);
        let whole = file_of(&tree, object);
        let bytes = fs::read(&whole).unwrap();
        damage(&tree, &object.replace("HEAD", "HEAD^"), |bytes| bytes[..bytes.len() - 12].to_vec());
        let before = (tree.snapshot(), tree.state());
        within_a_minute(&tree, &["revert"]).refuses().says(&["the git object `", "is broken: it ends early, after "]);
        assert!((tree.snapshot(), tree.state()) == before, "{object}");
        assert_eq!(fs::read(&whole).unwrap(), bytes);
    }
}

#[test]
fn a_broken_object_of_the_patch_itself_is_not_committed() {
    let tree = Tree::new("installer");
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    let file = file_of(&tree, &format!("HEAD:{PROCESS}"));
    tree.rr_patch(&["revert"]).exits(0);
    // As after a power cut: libgit2 finds the object there, and does not write it again.
    fs::remove_file(&file).unwrap();
    fs::write(&file, "").unwrap();
    let run = within_a_minute(&tree, &["apply", "--commit"]).refuses();
    run.says(&[&format!("the git object `{}` is broken: the file is empty\n", file.display())]);
    fs::remove_file(&file).unwrap();
    tree.rr_patch(&["apply", "--commit"]).exits(0);
    tree.git(&["fsck", "--strict"]);
}

#[test]
fn objects_of_an_alternate_and_of_a_shared_folder_are_looked_at_too() {
    let tree = Tree::new("installer");
    tree.git(&["clone", "--quiet", "--shared", ".", "../clone"]);
    tree.git(&["worktree", "add", "--quiet", "../linked"]);
    let file = damage(&tree, &format!("HEAD:{SYSTEM}"), |bytes| bytes[..bytes.len() - 12].to_vec());
    for place in ["clone", "linked"] {
        let place = tree.beside(place);
        let place = place.to_str().unwrap();
        let run = within_a_minute(&tree, &["diff", "--rev", "HEAD", place]).refuses();
        run.says(&[&format!("the git object `{}` is broken: it ends early, after ", file.display())]);
    }
}

#[test]
fn revisions_are_found_by_every_name_that_git_takes() {
    let tree = Tree::new("installer");
    let first = tree.git(&["rev-parse", "HEAD"]).trim().to_owned();
    tree.write("notes.txt", "two\n");
    tree.commit("second");
    tree.git(&["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    tree.write("other.txt", "three\n");
    tree.commit("third");
    tree.git(&["merge", "--quiet", "--no-edit", "main"]);
    tree.git(&["tag", "--annotate", "--message", "a tag", "v1", "main"]);
    tree.git(&["tag", "--annotate", "--message", "a tag of a tag", "v2", "v1"]);
    tree.git(&["update-ref", "refs/remotes/origin/main", "main"]);
    let names = [
        "@",
        "HEAD",
        "main",
        "heads/main",
        "refs/heads/side",
        "v1",
        "v2",
        "tags/v2",
        "origin/main",
        "side^",
        "side^2",
        "side~1",
        "side^2~1",
        "side~2",
        "@~2",
        "v2^{commit}",
        "v2^0",
        "v2~1",
        "side@{0}",
        "side@{1}",
        ":/second",
        "HEAD^{/third}",
        &first,
        &first[..7],
        "v1-0-gabcdef^{}",
    ];
    for name in names {
        // Of `:/text` all that follows is text.
        let peeled = if name.starts_with(":/") { name.to_owned() } else { format!("{name}^{{commit}}") };
        let resolved = tree.run("git", &["rev-parse", "--verify", "--quiet", &peeled], &[]);
        let found = tree.rr_patch(&["check", "--rev", name, "--format", "json"]);
        match resolved.code {
            0 => assert_eq!(found.json()["revisions"][0]["commit"], resolved.stdout.trim(), "{name}"),
            _ => {
                assert_eq!(found.json()["kind"], "refused", "{name}");
                found.exits(3).says(&[&format!("error: `{name}` is not a revision of `"), "nothing was written"]);
            }
        }
    }
    for name in ["nothing", "main~9", "main^2", "HEAD:pkg", "abcdef0", ""] {
        tree.refuses(&["check", "--rev", name]).says(&[&format!("error: `{name}` is not a revision of `")]);
    }
}
