//! The options of `rr-patch apply`: what each makes of the added file, and what makes no sense.

use crate::harness::{ADDED, ADDED_UNIX, STATE, Tree};
use snapbox::str;
/// The line of `rr_patch.go` that holds what the options make of the recorder's command line.
fn command_line(options: &[&str]) -> String {
    let tree = Tree::new("installer");
    tree.rr_patch(&[&["apply"], options].concat()).exits(0);
    assert_eq!(tree.unformatted(), "", "{options:?}");
    let added = tree.text(ADDED);
    added.lines().find_map(|line| line.trim().strip_prefix("recordCommand = ")).unwrap().to_owned()
}

#[test]
fn apply_options_make_the_recorders_command_line() {
    for (options, expected) in [
        (&[][..], r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#),
        (&["--rr", "rr-5.8"], r#"[]string{"rr-5.8", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#),
        (
            &["--rr", "/opt/my rr/bin/rr"],
            r#"[]string{"/opt/my rr/bin/rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#,
        ),
        (&["--bind-to-cpu", "17"], r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=17"}"#),
        (&["--bind-to-cpu", "none"], r#"[]string{"rr", "record", "--wait", "--disable-avx-512"}"#),
        (&["--avx512", "disable"], r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--bind-to-cpu=0"}"#),
        (&["--avx512", "keep"], r#"[]string{"rr", "record", "--wait", "--bind-to-cpu=0"}"#),
        (
            &["--rr-arg=--chaos", "--rr-arg", "-n", "--rr-arg", "--num-cores=1", "--bind-to-cpu=none"],
            r#"[]string{"rr", "record", "--wait", "--disable-avx-512", "--chaos", "-n", "--num-cores=1"}"#,
        ),
    ] {
        assert_eq!(command_line(options), expected, "{options:?}");
    }
}

#[test]
fn apply_rr_arg_is_handed_on_as_it_is() {
    let mut changed = Vec::new();
    for (argument, literal) in [
        (r#"--a="b" \c"#, r#""--a=\"b\" \\c""#),
        ("é\u{1f3ac}`%s`", "\"é\u{1f3ac}`%s`\""),
        ("two\nlines\tand a tab", r#""two\nlines\tand a tab""#),
        ("$HOME", r#""$HOME""#),
        ("$avx512_auto", r#""$avx512_auto""#),
        ("$signal_recorder_only $record_controllers", r#""$signal_recorder_only $record_controllers""#),
        ("", r#""""#),
    ] {
        let line = command_line(&[&format!("--rr-arg={argument}")]);
        if !line.ends_with(&format!(", {literal}}}")) {
            changed.push(format!("{argument:?} became {line}"));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

#[test]
fn apply_avx512_says_in_the_added_file_whether_the_cpu_is_asked() {
    for (given, expected) in [("auto", true), ("disable", false), ("keep", false)] {
        let tree = Tree::new("installer");
        tree.rr_patch(&["apply", "--avx512", given]).exits(0);
        let line = format!("\tavx512Auto = {expected}\n");
        assert!(tree.text(ADDED).contains(&line), "--avx512 {given}");
    }
}

#[test]
fn apply_signal_says_in_the_added_file_who_is_signalled() {
    for (given, expected) in [("group", false), ("rr", true)] {
        let tree = Tree::new("installer");
        tree.rr_patch(&["apply", "--signal", given]).exits(0);
        let line = format!("\nconst signalRecorderOnly = {expected}\n");
        assert!(tree.text(ADDED_UNIX).contains(&line), "--signal {given}");
        assert_eq!(tree.unformatted(), "");
    }
}

#[test]
fn apply_controllers_are_in_the_added_file() {
    for (given, expected) in [
        ("providers", r#"{"providers"}"#),
        ("all", r#"{"all"}"#),
        ("aws", r#"{"aws"}"#),
        ("aws,azureaso, cluster-api", r#"{"aws", "azureaso", "cluster-api"}"#),
        ("cluster-api-provider-azure", r#"{"cluster-api-provider-azure"}"#),
        ("aws infrastructure provider", r#"{"aws infrastructure provider"}"#),
        ("Cluster API", r#"{"Cluster API"}"#),
    ] {
        let tree = Tree::new("installer");
        tree.rr_patch(&["apply", "--controllers", given]).exits(0);
        let line = format!("\trecordControllers = []string{expected}\n");
        assert!(tree.text(ADDED).contains(&line), "--controllers {given}");
    }
}

#[test]
fn apply_controllers_refuses_a_name_that_the_installer_does_not_have() {
    let tree = Tree::new("installer");
    for (given, says) in [
        (
            "awss",
            str![[r#"
error: this installer has no controller `awss`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
hint: did you mean `aws`?
hint: name some of those, or `providers`, or `all`
nothing was written
"#]],
        ),
        (
            "aws,gcp",
            str![[r#"
error: this installer has no controller `gcp`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
hint: name some of those, or `providers`, or `all`
nothing was written
"#]],
        ),
        (
            "cluster-api-provider-gcp",
            str![[r#"
error: this installer has no controller `cluster-api-provider-gcp`
  found in pkg/clusterapi/providers.go: aws, azure, azureaso, and the core controller `cluster-api`
hint: name some of those, or `providers`, or `all`
nothing was written
"#]],
        ),
    ] {
        tree.refuses(&["apply", "--controllers", given]).says_exactly(says);
    }
}

#[test]
fn apply_options_that_make_no_sense_are_usage_errors() {
    let tree = Tree::new("installer");
    let before = tree.snapshot();
    for (options, says) in [
        (
            &["--rr", "bin/rr"][..],
            str![[r#"
error: invalid value 'bin/rr' for '--rr <PATH>': expected an absolute path, or a name to look up in PATH: the installer may run anywhere

For more information, try '--help'.
"#]],
        ),
        (
            &["--rr", "./rr"],
            str![[r#"
error: invalid value './rr' for '--rr <PATH>': expected an absolute path, or a name to look up in PATH: the installer may run anywhere

For more information, try '--help'.
"#]],
        ),
        (
            &["--rr", ""],
            str![[r#"
error: invalid value '' for '--rr <PATH>': expected a program

For more information, try '--help'.
"#]],
        ),
        (
            &["--bind-to-cpu", "first"],
            str![[r#"
error: invalid value 'first' for '--bind-to-cpu <N>': expected a CPU's number, or `none`

For more information, try '--help'.
"#]],
        ),
        (
            &["--bind-to-cpu=-1"],
            str![[r#"
error: invalid value '-1' for '--bind-to-cpu <N>': expected a CPU's number, or `none`

For more information, try '--help'.
"#]],
        ),
        (
            &["--avx512", "maybe"],
            str![[r#"
error: invalid value 'maybe' for '--avx512 <AVX512>'
  [possible values: auto, disable, keep]

For more information, try '--help'.
"#]],
        ),
        (
            &["--signal", "kill"],
            str![[r#"
error: invalid value 'kill' for '--signal <SIGNAL>'
  [possible values: group, rr]

For more information, try '--help'.
"#]],
        ),
        (
            &["--controllers", ""],
            str![[r#"
error: invalid value '' for '--controllers <WHICH>': expected `providers`, `all`, or the name of a controller

For more information, try '--help'.
"#]],
        ),
        (
            &["--controllers", "aws,,azure"],
            str![[r#"
error: invalid value '' for '--controllers <WHICH>': expected `providers`, `all`, or the name of a controller

For more information, try '--help'.
"#]],
        ),
        (
            &["--format", "xml"],
            str![[r#"
error: invalid value 'xml' for '--format <FORMAT>'
  [possible values: text, json]

For more information, try '--help'.
"#]],
        ),
        (
            &["--no-such-option"],
            str![[r#"
error: unexpected argument '--no-such-option' found

  tip: to pass '--no-such-option' as a value, use '-- --no-such-option'

Usage: rr-patch apply [OPTIONS] [REPO]

For more information, try '--help'.
"#]],
        ),
        (
            &["one", "two"],
            str![[r#"
error: unexpected argument 'two' found

Usage: rr-patch apply [OPTIONS] [REPO]

For more information, try '--help'.
"#]],
        ),
    ] {
        let run = tree.rr_patch(&[&["apply"], options].concat()).exits(2).says_exactly(says);
        assert_eq!(run.stdout, "", "{options:?}");
    }
    assert!(tree.snapshot() == before);
    assert!(!tree.path(STATE).exists());
}
