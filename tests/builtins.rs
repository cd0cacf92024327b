//! Go whose calls of `new` and `make` the parser's grammar does not know; gofmt and go vet say what is valid.

use std::fs;

use crate::harness::{PROCESS, Tree, command, skip};

/// Valid declarations, which also pass go vet.
const VALID: [&str; 16] = [
    "var _ = new(3)",
    "var _ = new(\"a\" + \"b\")",
    "var _ = *new(new(3)) == nil",
    "var _ = new([]int{1, 2})",
    "var _ = new(func() rune { return *new(')') }())",
    "var _, _, _ = new(int), new([]int), make(map[string][]int, *new(3))",
    "var _ = new /* of a value */ (3.5)",
    "var _ = new(\n\tlen(\"(\"),\n)",
    "func _(new func(...int) int) int { return new(1, 2) + new() }",
    "func _(make func(...int) int, some []int) int { return make(some...) }",
    "func _(make func(a, b string)) { make(\"a\", \"b\"); go make(\"c\", \"d\"); defer make(\"e\", \"f\") }",
    "func _() int { new := 3; new++; return new }",
    "type t struct{ new, make int }\n\nfunc (v t) sum() int { return v.new + v.make }",
    "type u struct{ make func(int) int }\n\nfunc (v u) sum() int { return v.make(3) + u{make: v.make}.make(1+1) }",
    "func _() int {\n\tmake := func(a, b int) int { return a + b }\n\treturn make(1, make(2+3, 4))\n}",
    "func _(make func(chan int, int)) { make(make2(), 1) }\n\nfunc make2() chan int { return make(chan int, 1) }",
];

/// What gofmt does not parse.
const BROKEN: [&str; 8] = [
    "var _ = new(3",
    "var _ = new(3 +)",
    "var _ = new(= 3)",
    "var _ = new(3))",
    "var _ = new(3 4)",
    "var _ = make([]int, 3 3)",
    "var _ = new 3",
    "func _() { new(3; x := = 1 }",
];

fn gofmt_takes(source: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.go");
    fs::write(&path, source).unwrap();
    command("gofmt").arg("-e").arg(&path).output().unwrap().status.success()
}

#[test]
fn apply_takes_new_and_make_called_with_values_as_gofmt_does() {
    for declaration in VALID {
        assert!(gofmt_takes(&format!("package p\n\n{declaration}\n")), "{declaration}");
        let tree = Tree::bare("installer");
        let source = format!("{}\n{declaration}\n", tree.text(PROCESS));
        tree.write(PROCESS, &source);
        let run = tree.rr_patch(&["apply"]);
        assert_eq!(run.code, 0, "{declaration}\n{}", run.stderr);
        assert!(tree.text(PROCESS).ends_with(&format!("\n{declaration}\n")), "{declaration}");
        tree.rr_patch(&["revert"]).exits(0);
        assert_eq!(tree.text(PROCESS), source);
    }
}

#[test]
fn apply_refuses_broken_calls_of_new_and_make_as_gofmt_does() {
    for declaration in BROKEN {
        assert!(!gofmt_takes(&format!("package p\n\n{declaration}\n")), "{declaration}");
        let tree = Tree::bare("installer");
        let before = tree.text(PROCESS);
        tree.write(PROCESS, format!("{before}\n{declaration}\n"));
        let run = tree.refuses(&["apply"]);
        let named = run.stderr.split(&format!("error: `{PROCESS}:")).nth(1).unwrap_or_else(|| panic!("{declaration}"));
        let line: usize = named.split(':').next().unwrap().parse().unwrap();
        assert!(line > before.lines().count(), "{declaration}\n{}", run.stderr);
    }
}

#[test]
fn go_vet_takes_the_declarations_that_are_called_valid() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("go.mod"), "module m\n\ngo 1.26\n").unwrap();
    fs::write(folder.path().join("t.go"), format!("package m\n\n{}\n", VALID.join("\n\n"))).unwrap();
    // An older Go downloads the one that go.mod asks for.
    if !command("go").arg("version").current_dir(folder.path()).status().unwrap().success() {
        skip(&["go"], "Go 1.26 is not here, and cannot be downloaded");
        return;
    }
    let output = command("go").args(["vet", "."]).env("GOPROXY", "off").current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
