//! `rr-patch diff`: a patch that `git apply` takes, to the byte what apply does or has done.

use std::fs;
use std::process::Stdio;

use crate::harness::{
    ADDED, ADDED_UNIX, PROCESS, PROCESS_UNIX, Run, SHAPES, STATE, SYSTEM, Tree, copy, fixtures, skip,
};
use crate::shapes::VARIATIONS;
use snapbox::str;

/// Lets git apply a patch in the tree.
#[track_caller]
fn git_apply(tree: &Tree, options: &[&str], patch: &[u8]) {
    let file = tree.beside("the.patch");
    fs::write(&file, patch).unwrap();
    tree.git(&[&["apply", "--whitespace=nowarn"], options, &[file.to_str().unwrap()]].concat());
}

#[test]
fn diff_is_taken_by_git_apply_and_gives_what_apply_gives_on_every_shape() {
    for shape in SHAPES {
        let (tree, other) = (Tree::new(shape), Tree::patched(shape));
        let before = tree.snapshot();
        let patch = tree.prints(&["diff"]);
        assert!(tree.snapshot() == before && !tree.path(STATE).exists(), "{shape}: diff writes nothing");
        git_apply(&tree, &["--index"], &patch);
        assert!(tree.snapshot() == other.snapshot(), "{shape}");
        git_apply(&tree, &["--index", "--reverse"], &patch);
        assert!(tree.snapshot() == before, "{shape}");
        assert!(other.prints(&["diff"]) == patch, "{shape}: the same before and after");
    }
}

#[test]
fn diff_is_taken_by_git_apply_byte_for_byte_from_files_that_vary() {
    for (name, vary) in VARIATIONS {
        let varied = || {
            let tree = Tree::new("p2");
            [PROCESS, SYSTEM, PROCESS_UNIX].iter().for_each(|file| tree.write(file, vary(file, tree.read(file))));
            tree
        };
        let (tree, other) = (varied(), varied());
        let patch = tree.prints(&["diff"]);
        git_apply(&tree, &[], &patch);
        other.rr_patch(&["apply"]).exits(0);
        assert!(tree.snapshot() == other.snapshot(), "{name}");
        assert!(other.prints(&["diff"]) == patch, "{name}: the same before and after");
    }
}

#[test]
fn diff_keeps_modes_as_git_sees_them() {
    let varied = || {
        let tree = Tree::new("installer");
        tree.chmod(PROCESS, 0o755);
        tree
    };
    let (tree, other) = (varied(), varied());
    let patch = tree.prints(&["diff"]);
    git_apply(&tree, &[], &patch);
    other.rr_patch(&["apply"]).exits(0);
    assert!(tree.snapshot() == other.snapshot());
    let text = String::from_utf8(patch).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("index ") && line.ends_with(" 100755")).count(), 1);
    assert_eq!(text.matches("\nnew file mode 100644\n").count(), 2);
    assert!(!text.contains("old mode"));
}

#[test]
fn diff_names_the_files_and_their_versions_as_git_does() {
    let tree = Tree::new("installer");
    let ours = String::from_utf8(tree.prints(&["diff"])).unwrap();
    tree.rr_patch(&["apply"]).exits(0);
    tree.git(&["add", "--intent-to-add", ADDED, ADDED_UNIX]);
    let gits = tree.git(&["diff", "--full-index"]);
    let heads = |patch: &str| -> Vec<String> {
        let head =
            |line: &&str| ["diff --git", "index", "---", "+++", "new file"].iter().any(|word| line.starts_with(word));
        let mut lines: Vec<String> = patch.lines().filter(head).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(heads(&ours), heads(&gits));
}

#[test]
fn diff_after_apply_prints_what_was_applied_with_its_options() {
    let tree = Tree::new("installer");
    let options = ["--controllers", "all", "--rr-arg=--chaos"];
    let would = tree.prints(&[&["diff"], &options[..]].concat());
    tree.rr_patch(&[&["apply"], &options[..]].concat()).exits(0);
    assert!(tree.prints(&["diff"]) == would);
    assert!(tree.prints(&[&["diff"], &options[..]].concat()) == would);
    // Edits made since are the user's, not ours.
    tree.edit(SYSTEM, "lcp := &localControlPlane{}", "lcp := &localControlPlane{} // local");
    assert!(tree.prints(&["diff"]) == would);
}

#[test]
fn diff_with_other_options_prints_what_apply_would_do_with_them() {
    let tree = Tree::new("installer");
    let would = tree.prints(&["diff", "--signal", "rr", "--avx512", "keep"]);
    assert!(String::from_utf8_lossy(&would).contains("\n+const signalRecorderOnly = true\n"));
    assert!(would != tree.prints(&["diff"]));
    tree.rr_patch(&["apply"]).exits(0);
    let before = (tree.snapshot(), tree.state());
    assert!(tree.prints(&["diff", "--signal", "rr", "--avx512", "keep"]) == would);
    assert!(before == (tree.snapshot(), tree.state()));
}

#[test]
fn diff_on_another_branch_prints_what_apply_would_do_there() {
    let tree = Tree::new("installer");
    tree.git(&["checkout", "--quiet", "-b", "older"]);
    copy(&fixtures().join("shapes/s1"), tree.root());
    tree.commit("older sources");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.rr_patch(&["apply"]).exits(0);
    tree.git(&["checkout", "--quiet", "--force", "older"]);
    tree.git(&["clean", "--quiet", "--force"]);
    let (found, expected) = (tree.prints(&["diff"]), Tree::new("s1").prints(&["diff"]));
    assert!(found == expected, "{}", String::from_utf8_lossy(&found));
}

/// Hunks of a patch by file: header and lines, without what git says behind the header.
fn hunks(patch: &str) -> Vec<(String, Vec<String>)> {
    let mut files: Vec<(String, Vec<String>)> = Vec::new();
    for line in patch.lines() {
        match (line.strip_prefix("diff --git "), line.strip_prefix("@@ ")) {
            (Some(names), _) => files.push((names.to_owned(), Vec::new())),
            (_, Some(header)) => files.last_mut().unwrap().1.push(header.split(" @@").next().unwrap().to_owned()),
            _ => {
                if let Some(hunk) = files.last_mut().unwrap().1.last_mut() {
                    *hunk = format!("{hunk}\n{line}");
                }
            }
        }
    }
    files.sort();
    files
}

#[test]
fn diff_context_gives_the_hunks_that_git_diff_gives() {
    for shape in ["p2", "s4"] {
        let (tree, patched) = (Tree::new(shape), Tree::patched(shape));
        patched.git(&["add", "--intent-to-add", "."]);
        for lines in ["1", "2", "3", "7", "40", "1000"] {
            let ours = String::from_utf8(tree.prints(&["diff", "--context", lines])).unwrap();
            let gits = patched.git(&["diff", &format!("-U{lines}")]);
            assert_eq!(hunks(&ours), hunks(&gits), "{shape}, --context {lines}");
            assert!(ours.matches("\n@@ ").count() >= 4);
            git_apply(&tree, &["--check"], ours.as_bytes());
        }
        assert!(tree.prints(&["diff", "--context", "3"]) == tree.prints(&["diff"]));
    }
}

#[test]
fn diff_context_refuses_what_is_no_number_of_lines() {
    let tree = Tree::new("installer");
    for bad in ["0", "-1", "1001", "99999999999999999999", "", "few", "Least", "3.5"] {
        tree.rr_patch(&["diff", &format!("--context={bad}")]).exits(2).says_exactly(format!(
            "error: invalid value '{bad}' for '--context <N>': expected a number from 1 to 1000, or `least`\n\n\
             For more information, try '--help'."
        ));
    }
}

#[test]
fn diff_context_least_fits_more_of_the_other_shapes_than_three_lines_do() {
    let trees: Vec<Tree> = SHAPES.into_iter().map(Tree::new).collect();
    let mut fits = [0, 0];
    for tree in &trees {
        let patches = ["least", "3"].map(|context| tree.prints(&["diff", "--context", context]));
        for other in &trees {
            let taken = patches.each_ref().map(|patch| {
                fs::write(other.beside("the.patch"), patch).unwrap();
                other.run("git", &["apply", "--check", "../the.patch"], &[]).code == 0
            });
            assert!(taken[0] || !taken[1], "least fits wherever three lines do");
            assert!(taken[0] || other.root() != tree.root(), "its own shape");
            fits = [fits[0] + usize::from(taken[0]), fits[1] + usize::from(taken[1])];
        }
    }
    // Of 81 pairs, nine of them of one shape with itself: 34 against 18 when this was written.
    assert!(fits[0] >= fits[1] + 15, "least fits {}, three lines fit {}", fits[0], fits[1]);
}

#[test]
fn diff_context_least_is_taken_by_git_apply_and_leads_to_the_same_files_on_every_shape() {
    for shape in SHAPES {
        let (tree, other) = (Tree::new(shape), Tree::patched(shape));
        let least = tree.prints(&["diff", "--context", "least"]);
        assert!(least.len() < tree.prints(&["diff"]).len());
        git_apply(&tree, &[], &least);
        assert!(tree.snapshot() == other.snapshot(), "{shape}");
    }
}

#[test]
fn diff_context_least_tells_alike_places_apart_and_no_hunk_reaches_into_another() {
    let tree = Tree::new("p2");
    let name = "docs/alike.txt";
    let apart = |lines: &[&str]| lines.concat();
    let (a, b) = ("a\nb\n".repeat(12), "a\nb\n".repeat(40));
    for (before, after) in [
        (apart(&[&a, "one\n", &a]), apart(&[&a, "ONE\n", &a])),
        (b.clone(), b.replacen("a\n", "X\n", 11).replacen("X\n", "a\n", 10)),
        // Two changes, three lines apart, where nothing is the only one of its kind.
        (b.clone(), apart(&[&b[..40], "X\nb\na\nb\na\nY\n", &b[52..]])),
        (b.clone(), apart(&["X\n", &b[2..60], "Y\n", &b[62..64], "Z\n", &b[66..]])),
        (apart(&[&a, "x\n", &a, "x\n", &a]), apart(&[&a, "y\n", &a, "z\n", &a])),
    ] {
        tree.write(name, &before);
        tree.commit("before");
        tree.write(name, &after);
        fs::write(tree.beside("full.patch"), tree.git(&["diff", "-U20"])).unwrap();
        tree.git(&["checkout", "--quiet", "--", name]);
        let least = tree.prints(&["diff", "--context", "least", "--patch", "../full.patch"]);
        let text = String::from_utf8(least.clone()).unwrap();
        let mut free = 1;
        for header in text.lines().filter_map(|line| line.strip_prefix("@@ -")) {
            let (start, count) = header.split(' ').next().unwrap().split_once(',').unwrap();
            let (start, count): (usize, usize) = (start.parse().unwrap(), count.parse().unwrap());
            assert!(start >= free, "{text}");
            free = start + count;
        }
        fs::write(tree.beside("least.patch"), &least).unwrap();
        tree.rr_patch(&["apply", "--patch", "../least.patch"]).exits(0);
        assert_eq!(tree.text(name), after);
        tree.rr_patch(&["revert"]).exits(0);
        git_apply(&tree, &[], &least);
        assert_eq!(tree.text(name), after);
        tree.git(&["checkout", "--quiet", "--", name]);
    }
}

#[test]
fn diff_root_gives_paths_from_the_top_of_the_checkout() {
    let below = "third_party/my \"installer\"\té";
    let tree = Tree::vendored(below);
    let before = tree.snapshot();
    let patch = tree.prints(&["diff", "--root", below]);
    git_apply(&tree, &[], &patch);
    let by_git = tree.snapshot();
    git_apply(&tree, &["--reverse"], &patch);
    assert!(tree.snapshot() == before);

    tree.rr_patch(&["apply", "--root", below]).exits(0);
    assert!(tree.snapshot() == by_git);
    assert!(tree.prints(&["diff", "--root", below]) == patch);
    let inside = tree.tool().current_dir(tree.path(below).join("pkg")).arg("diff").output().unwrap();
    assert!(inside.stdout == patch);
}

#[test]
fn diff_of_a_tree_without_git_is_taken_by_git_apply() {
    let (tree, other) = (Tree::bare("installer"), Tree::patched("installer"));
    let patch = tree.prints(&["diff"]);
    git_apply(&tree, &[], &patch);
    assert!(tree.snapshot() == other.snapshot());
}

#[test]
fn diff_prints_colours_at_a_terminal_only() {
    let tree = Tree::new("installer");
    assert!(!tree.prints(&["diff"]).contains(&0x1b));

    let at_terminal = |environment: &[(&str, &str)]| {
        let tool = format!("{} diff", env!("CARGO_BIN_EXE_rr-patch"));
        let environment = [&[("TERM", "xterm-256color")], environment].concat();
        tree.run("script", &["--quiet", "--return", "--command", &tool, "/dev/null"], &environment)
    };
    let probe = "command -v script && script --quiet --return --command true /dev/null";
    if tree.run("sh", &["-c", probe], &[]).code != 0 {
        skip(&["terminal"], "there is no `script`, or it cannot make a terminal here");
        return;
    }
    let plain = String::from_utf8(tree.prints(&["diff"])).unwrap();
    let coloured = at_terminal(&[]).exits(0).stdout.replace("\r\n", "\n");
    for part in [
        "\x1b[1mdiff --git a/",
        "\n\x1b[36m@@ -",
        "\n\x1b[32m+\tps.Cmd.Cancel = ps.terminate\x1b[m\n",
        "\n\x1b[31m-\ttimedOut := time.After(ps.StartTimeout)\x1b[m\n",
    ] {
        assert!(coloured.contains(part), "{part:?} is not in {coloured}");
    }
    let bare = ["\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[m"]
        .iter()
        .fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(bare, plain, "colours add nothing else");
    assert_eq!(at_terminal(&[("NO_COLOR", "1")]).exits(0).stdout.replace("\r\n", "\n"), plain);
}

#[test]
fn diff_format_json_holds_the_patch_and_says_whether_it_is_applied() {
    let tree = Tree::new("installer");
    let report = tree.rr_patch(&["diff", "--format", "json"]).exits(0).json();
    assert_eq!(report["schema"], "rr-patch/diff/1");
    assert_eq!(report["applied"], false);
    assert_eq!(report["shape"], "P1+S6");
    assert_eq!(report["patch"].as_str().unwrap().as_bytes(), tree.prints(&["diff"]));
    tree.rr_patch(&["apply"]).exits(0);
    assert_eq!(tree.rr_patch(&["diff", "--format", "json"]).json()["applied"], true);
    assert_eq!(tree.rr_patch(&["diff", "--format", "json", "--signal", "rr"]).json()["applied"], false);
}

#[test]
fn diff_refuses_what_apply_refuses() {
    let tree = Tree::new("installer");
    tree.refuses(&["diff", "--controllers", "gcp"]).says_exactly(str![[r#"
error: this installer has no controller `gcp`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
hint: name some of those, or `providers`, or `all`
nothing was written
"#]]);
    tree.edit(SYSTEM, "func (c *system) runController(", "func (c *system) startController(");
    tree.refuses(&["diff"]).says_exactly(str![[r#"
error: this shape of the installer's sources is not understood
  `pkg/clusterapi/system.go:1`
    looked for: a parameter `CT *controller` and `PR := &process.State{…}` in `System.runController`, once
    found: no function `System.runController`
hint: a newer release? see "A new installer release" in rr-patch's README for how to mend a rule
nothing was written
"#]]);
}

#[test]
fn diff_to_a_reader_that_has_gone_away_is_no_failure() {
    let tree = Tree::new("installer");
    let mut child = tree.tool().arg("diff").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn diff_of_a_patch_that_removes_a_file_and_changes_modes_is_taken_by_git_apply() {
    let tree = Tree::new("installer");
    tree.write("docs/gone.txt", "gone\n");
    tree.write("docs/run.sh", "run\n");
    tree.commit("documents");
    let given = "diff --git a/docs/gone.txt b/docs/gone.txt\ndeleted file mode 100644\n--- a/docs/gone.txt\n+++ /dev/null\n\
                 @@ -1 +0,0 @@\n-gone\ndiff --git a/docs/run.sh b/docs/run.sh\nold mode 100644\nnew mode 100755\n";
    fs::write(tree.beside("given.patch"), given).unwrap();
    let patch = tree.prints(&["diff", "--patch", "../given.patch"]);
    let text = String::from_utf8(patch.clone()).unwrap();
    assert_eq!(
        text.replace(
            &format!("index {}..{}\n", tree.git(&["rev-parse", "HEAD:docs/gone.txt"]).trim(), "0".repeat(40)),
            ""
        ),
        given
    );
    git_apply(&tree, &[], &patch);
    assert!(!tree.path("docs/gone.txt").exists());
    assert_eq!(tree.mode("docs/run.sh"), 0o755);
}
