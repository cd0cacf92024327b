//! A good patch, harmed in some thousand ways: whatever becomes of it, the tool does not panic, writes
//! nothing when it refuses, writes within the checkout when it does not, and can take that back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use rr_patch::patch::checkout::Content;
use rr_patch::patch::plan::classic;
use rr_patch::patch::unified::PatchFile;

use crate::harness::{Run, Tree};
use crate::patch_formats::{NOTES, made_by_git, notes, tree_with};

/// Numbers that are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())]
    }
}

/// Lines that matter to whoever reads a patch.
const LINES: [&[u8]; 30] = [
    b"diff --git a/docs/notes.txt b/docs/notes.txt\n",
    b"diff --git a/../outside.txt b/../outside.txt\n",
    b"diff --git \"a/.git/hooks/x\" \"b/.git/hooks/x\"\n",
    b"--- a/docs/notes.txt\n",
    b"+++ b/docs/notes.txt\n",
    b"--- /dev/null\n",
    b"+++ /dev/null\n",
    b"+++ b/../../outside.txt\n",
    b"+++ b/.git/config\n",
    b"+++ b/link/outside.txt\n",
    b"+++ b/docs/notes.txt/below\n",
    b"new file mode 100755\n",
    b"new file mode 120000\n",
    b"deleted file mode 100644\n",
    b"old mode 100644\n",
    b"new mode 100755\n",
    b"rename from docs/notes.txt\n",
    b"rename to docs/new/notes.txt\n",
    b"copy from docs/notes.txt\n",
    b"copy to ../outside.txt\n",
    b"index 0123456..789abcd 160000\n",
    b"@@ -1,3 +1,4 @@\n",
    b"@@ -0,0 +1 @@\n",
    b"@@ -4294967295,4294967295 +4294967295 @@\n",
    b"\\ No newline at end of file\n",
    b"GIT binary patch\n",
    b"+more\n",
    b"-line 10\n",
    b" line 10\n",
    b"\n",
];

/// A patch harmed in one or two ways.
fn harmed(patch: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = patch.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..=numbers.below(2) {
        let (at, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
        match numbers.below(9) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[other].clone()),
            2 => lines.swap(at, other),
            3 => lines[at] = numbers.one_of(&LINES).to_vec(),
            4 => lines.insert(at, numbers.one_of(&LINES).to_vec()),
            5 => lines.truncate(at.max(1)),
            6 => {
                // A digit, most likely of a count, a line or a mode.
                let digits: Vec<usize> = (0..lines[at].len()).filter(|&n| lines[at][n].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    lines[at][numbers.one_of(&digits)] = numbers.one_of(b"0123456789-,");
                }
            }
            7 => {
                let byte = numbers.below(lines[at].len());
                lines[at][byte] = numbers.one_of(b"\0\n\r\t /.\\\"+-@ a\xff\x1b");
            }
            _ => {
                let (from, to) = (at.min(other), at.max(other));
                let part: Vec<Vec<u8>> = lines[from..to].to_vec();
                lines.extend(part);
            }
        }
        if lines.is_empty() {
            lines.push(b"\n".to_vec());
        }
    }
    lines.concat()
}

/// A checkout, and patches to begin with: each kind of change, in git's format and in that of `diff -u`.
fn good() -> (Tree, Vec<Vec<u8>>) {
    let tree = tree_with(&[(NOTES, notes().as_bytes()), ("docs/other.txt", b"other\n"), ("docs/gone.txt", b"gone\n")]);
    let patch = made_by_git(&tree, &["-M"], |tree| {
        tree.edit(NOTES, "line 5\n", "line five\n");
        tree.edit(NOTES, "line 20\nline 21\n", "line 20\n");
        tree.write(NOTES, tree.text(NOTES).trim_end());
        tree.write("docs/new \"file\".txt", "new\n");
        tree.remove("docs/gone.txt");
        fs::rename(tree.path("docs/other.txt"), tree.path("docs/moved.txt")).unwrap();
        tree.chmod("hack/build.sh", 0o644);
    });
    let plain = String::from_utf8_lossy(&patch).lines().fold(String::new(), |text, line| {
        let git = ["diff ", "index ", "new ", "old ", "deleted ", "similarity ", "rename "];
        if git.iter().any(|start| line.starts_with(start)) { text } else { text + line + "\n" }
    });
    (tree, vec![patch, plain.into_bytes()])
}

#[test]
fn harmed_patches_are_read_and_placed_without_a_panic_or_a_path_outside() {
    let (tree, patches) = good();
    let files: BTreeMap<String, Content> = tree
        .snapshot()
        .into_iter()
        .map(|(name, (bytes, mode))| (name.to_str().unwrap().to_owned(), Content { bytes, mode: mode & 0o7777 }))
        .collect();
    let read = |path: &str| Ok(files.get(path).cloned());
    let (mut numbers, mut fit) = (Numbers(0x9e37_79b9_7f4a_7c15), 0);
    for number in 0..4000 {
        let bytes = harmed(&patches[number % patches.len()], &mut numbers);
        let strip = numbers.one_of(&[1, 1, 1, 1, 1, 1, 0, 2]);
        let plan = PatchFile::parse("harmed", &bytes, strip).and_then(|patch| classic(&[patch], &read, None));
        let Ok(plan) = plan else { continue };
        fit += 1;
        for rewrite in &plan.rewrites {
            let shown = String::from_utf8_lossy(&bytes);
            let parts: Vec<Component> = Path::new(&rewrite.path).components().collect();
            let inside = parts.iter().all(|part| matches!(part, Component::Normal(name) if *name != ".git"));
            assert!(inside && !parts.is_empty(), "{:?} of\n{shown}", rewrite.path);
            assert!(rewrite.before.as_ref() == files.get(&rewrite.path), "{:?} of\n{shown}", rewrite.path);
            assert!(rewrite.before != rewrite.after, "{:?} of\n{shown}", rewrite.path);
        }
        for site in &plan.sites {
            let rewrite = plan.rewrites.iter().find(|rewrite| rewrite.path == site.path).unwrap();
            let lines = rewrite.after.as_ref().unwrap().bytes.split_inclusive(|&byte| byte == b'\n').count();
            assert!((1..=lines.max(1)).contains(&site.line), "{site:?} of\n{}", String::from_utf8_lossy(&bytes));
        }
    }
    assert!((100..3900).contains(&fit), "{fit} of 4000 fit: too few or too many harm nothing");
}

#[test]
fn harmed_patches_are_refused_without_a_trace_or_applied_and_taken_back() {
    let (tree, patches) = good();
    fs::write(tree.beside("outside.txt"), notes()).unwrap();
    fs::create_dir(tree.beside("outside")).unwrap();
    tree.link("link", "../outside");
    let beside =
        || tree.run("find", &["..", "-path", "../installer", "-prune", "-o", "-printf", "%p %s %T@\\n"], &[]).stdout;
    let (before, mut numbers, mut codes) = (tree.snapshot(), Numbers(0x2545_f491_4f6c_dd1d), [0, 0]);
    let hooks = || fs::read_dir(tree.path(".git/hooks")).unwrap().count();
    let hooks_before = hooks();
    for number in 0..160 {
        let bytes = harmed(&patches[number % patches.len()], &mut numbers);
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        fs::write(tree.beside("the.patch"), &bytes).unwrap();
        let outside = beside();
        let run = tree.rr_patch(&["apply", "--patch", "../the.patch"]);
        assert!(outside == beside() && hooks() == hooks_before, "written outside the checkout by\n{shown}");
        match run.code {
            0 => {
                assert!(tree.snapshot() != before, "{}\nby\n{shown}", run.stdout);
                tree.rr_patch(&["revert"]).exits(0);
                codes[0] += 1;
            }
            _ => {
                let Run { stderr, .. } = run.refuses();
                assert!(stderr.starts_with("error: ") && !stderr.contains("panicked"), "{stderr}\nby\n{shown}");
                codes[1] += 1;
            }
        }
        assert!(tree.snapshot() == before && tree.state().is_empty(), "something is left of\n{shown}");
    }
    assert!(codes.iter().all(|&count| count > 5), "{codes:?}: applied, refused");
}
