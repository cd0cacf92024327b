//! A fresh folder, a cleared environment, exact output: what every test of the command line uses.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use snapbox::{Assert, IntoData, Redactions};
use tempfile::TempDir;

pub const PROCESS: &str = "pkg/clusterapi/internal/process/process.go";
pub const PROCESS_UNIX: &str = "pkg/clusterapi/internal/process/process_unix.go";
pub const SYSTEM: &str = "pkg/clusterapi/system.go";
/// Where the tool keeps its state about a git checkout.
pub const STATE: &str = ".git/rr-patch";
pub const JOURNAL: &str = ".git/rr-patch/checkout/journal";
pub const ADDED: &str = "pkg/clusterapi/internal/process/rr_patch.go";
pub const ADDED_UNIX: &str = "pkg/clusterapi/internal/process/rr_patch_unix.go";

/// All shapes that have a fixture; `installer` is the whole one.
pub const SHAPES: [&str; 9] = ["installer", "s1", "s2", "s3", "s4", "s5", "s6-second-goroutine", "s6-renamed", "p2"];

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// What a run of the tool printed and how it ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts a refusal: code 3, nothing on stdout, the promise on stderr.
    #[track_caller]
    pub fn refuses(self) -> Self {
        let run = self.exits(3);
        assert_eq!(run.stdout, "");
        assert!(run.stderr.ends_with("nothing was written\n"), "{}", run.stderr);
        run
    }

    /// Asserts that stderr holds all of these.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "stderr lacks `{part}`:\n{}", self.stderr);
        }
        self
    }

    /// Asserts that stdout holds all of these.
    #[track_caller]
    pub fn prints(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "stdout lacks `{part}`:\n{}", self.stdout);
        }
        self
    }

    /// Asserts the whole of stderr, without the end of its last line: `says_exactly(str![[r#"…"#]])`. What
    /// differs by machine or by run is a word in brackets there, see [`EXACTLY`], and `[..]` is any text in
    /// a line. `RR_PATCH_BLESS=overwrite cargo test …` writes what is said into the test; read it.
    #[track_caller]
    pub fn says_exactly(self, expected: impl IntoData) -> Self {
        is_exactly("stderr", &self.stderr, expected);
        self
    }

    /// The same of stdout.
    #[track_caller]
    pub fn prints_exactly(self, expected: impl IntoData) -> Self {
        is_exactly("stdout", &self.stdout, expected);
        self
    }

    /// stdout as JSON: a document, which is as its schema in `docs/schemas/` says.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let document = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout));
        is_as_its_schema_says(&document);
        document
    }
}

/// Compares texts, with a word in brackets for what differs by machine or by run.
static EXACTLY: LazyLock<Assert> = LazyLock::new(|| {
    let temporary = std::env::temp_dir();
    let temporary = [temporary.canonicalize().unwrap(), temporary].map(|path| regex::escape(path.to_str().unwrap()));
    let version = regex::escape(env!("CARGO_PKG_VERSION"));
    let mut words = Redactions::new();
    let mut by_pattern = |word, pattern: &str| words.insert(word, regex::Regex::new(pattern).unwrap()).unwrap();
    // Of the test's own: those of `Tree` and its like, and of `tempfile::tempdir()`.
    by_pattern("[FOLDER]", &format!(r"({})/+(rr-patch-[a-z]+|\.tmp)\w{{6}}", temporary.join("|")));
    by_pattern("[VERSION]", &format!("(this is|rr-patch,?) (?<redacted>{version})"));
    let paths = [
        ("[RR_PATCH]", env!("CARGO_BIN_EXE_rr-patch")),
        ("[SOURCES]", env!("CARGO_MANIFEST_DIR")),
        ("[TARGET]", env!("CARGO_TARGET_TMPDIR")),
    ];
    words.extend(paths).unwrap();
    Assert::new().action_env("RR_PATCH_BLESS").normalize_paths(false).redact_with(words)
});

#[track_caller]
fn is_exactly(stream: &str, text: &str, expected: impl IntoData) {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    assert!(text.is_empty() || text != lines, "{stream} ends within a line: `{text}`");
    if let Err(difference) = EXACTLY.try_eq(Some(&stream), lines.into_data(), expected.into_data()) {
        panic!("{difference}");
    }
}

/// Where the schema of a document is: `rr-patch/check/1` is in `docs/schemas/check-1.json`.
pub fn schema_path(name: &str) -> PathBuf {
    let name = name.strip_prefix("rr-patch/").unwrap_or(name).replace('/', "-");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.json"))
}

#[track_caller]
fn is_as_its_schema_says(document: &serde_json::Value) {
    let name = document["schema"].as_str().unwrap_or_else(|| panic!("no schema is named in\n{document:#}"));
    let schema = fs::read(schema_path(name)).unwrap_or_else(|error| panic!("the schema of {name}: {error}"));
    let schema = serde_json::from_slice(&schema).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{name}:\n{}\n{document:#}", wrong.join("\n"));
}

/// A checkout of our own in a temporary folder.
pub struct Tree {
    _folder: TempDir,
    root: PathBuf,
}

/// Every file of a tree but git's own: bytes and mode.
pub type Snapshot = BTreeMap<PathBuf, (Vec<u8>, u32)>;

impl Tree {
    /// The fixture of a shape, without git.
    pub fn bare(shape: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("rr-patch-test").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("installer");
        copy(&fixtures().join("installer"), &root);
        if shape != "installer" {
            copy(&fixtures().join("shapes").join(shape), &root);
        }
        Self { _folder: folder, root }
    }

    /// A copy of a folder, in a folder of the tree, without git.
    pub fn holding(folder: &Path, below: &str) -> Self {
        let temporary = tempfile::Builder::new().prefix("rr-patch-test").tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap().join("installer");
        copy(folder, &root.join(below));
        Self { _folder: temporary, root }
    }

    /// The fixture of a shape as a git checkout with one commit.
    pub fn new(shape: &str) -> Self {
        let tree = Self::bare(shape);
        tree.git(&["init", "--quiet", "--initial-branch=main"]);
        tree.commit("the fixture");
        tree
    }

    /// The fixture of a shape as a git checkout that was patched with the defaults.
    #[track_caller]
    pub fn patched(shape: &str) -> Self {
        let tree = Self::new(shape);
        tree.rr_patch(&["apply"]).exits(0);
        tree
    }

    /// A git checkout that holds the fixture in a folder below its top.
    pub fn vendored(below: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("rr-patch-test").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("outer");
        copy(&fixtures().join("installer"), &root.join(below));
        let tree = Self { _folder: folder, root };
        tree.git(&["init", "--quiet", "--initial-branch=main"]);
        tree.commit("the fixture, vendored");
        tree
    }

    /// Makes the journal one of an earlier boot: as if the machine had gone down since.
    pub fn reboot(&self) {
        let journal = fs::read(self.path(JOURNAL)).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let boot = boot.trim().as_bytes();
        let at = journal.windows(boot.len()).position(|window| window == boot).expect("the journal has the boot id");
        let other = b"00000000-0000-4000-8000-000000000000";
        fs::write(self.path(JOURNAL), [&journal[..at], other, &journal[at + boot.len()..]].concat()).unwrap();
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that holds the tree: a place for what is not in it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.parent().unwrap().join(name)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.metadata().is_ok_and(|seen| seen.permissions().mode() & 0o111 != 0) {
            write_program(&path, bytes);
        } else {
            fs::write(path, bytes).unwrap();
        }
    }

    /// Replaces the one place where `old` stands.
    #[track_caller]
    pub fn edit(&self, name: &str, old: &str, new: &str) {
        let text = self.text(name);
        assert_eq!(text.matches(old).count(), 1, "`{old}` in {name}");
        self.write(name, text.replace(old, new));
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap().permissions().mode() & 0o7777
    }

    pub fn link(&self, name: &str, target: impl AsRef<Path>) {
        symlink(target, self.path(name)).unwrap();
    }

    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = command("git").current_dir(&self.root).args(arguments).output().unwrap();
        let run = Run::of(output);
        assert_eq!(run.code, 0, "git {arguments:?}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut files = Snapshot::new();
        collect(&self.root, &self.root, &mut files);
        files
    }

    /// What the tool keeps in the git folder.
    pub fn state(&self) -> Snapshot {
        let mut files = Snapshot::new();
        let folder = self.path(STATE);
        if folder.exists() {
            collect(&folder, &folder, &mut files);
        }
        files
    }

    /// Runs the tool in the tree, and asserts a refusal that changed neither the tree nor what the
    /// tool keeps.
    #[track_caller]
    pub fn refuses(&self, arguments: &[&str]) -> Run {
        let before = (self.snapshot(), self.state());
        let run = self.rr_patch(arguments).refuses();
        assert!(before == (self.snapshot(), self.state()), "{arguments:?} was refused, and yet something was written");
        run
    }

    /// Runs the tool while one file cannot be replaced: something is mounted on it. Nothing where
    /// this machine does not let us mount.
    pub fn rr_patch_while_busy(&self, name: &str, arguments: &[&str]) -> Option<Run> {
        let script = r#"mount --bind "$1" "$1" || exit 99; shift; exec "$@""#;
        let tool = [&["--mount", "sh", "-c", script, "sh", name, env!("CARGO_BIN_EXE_rr-patch")], arguments].concat();
        let run = self.run("unshare", &tool, &[]);
        // unshare itself ends with 1, and says so under its own name.
        let refused = run.code == 99 || run.stderr.starts_with("unshare:");
        if refused {
            skip(&["mount"], &format!("nothing can be mounted here: {}", run.stderr));
        }
        (!refused).then_some(run)
    }

    /// When each file was last written, and what the tool keeps.
    pub fn times(&self) -> BTreeMap<PathBuf, std::time::SystemTime> {
        let names = self.snapshot().into_keys().chain(self.state().into_keys().map(|name| Path::new(STATE).join(name)));
        let time = |name: &PathBuf| fs::symlink_metadata(self.root.join(name)).unwrap().modified().unwrap();
        names.map(|name| (name.clone(), time(&name))).collect()
    }

    /// What the tool prints, to the byte.
    #[track_caller]
    pub fn prints(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.tool().args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Runs Go in the tree, without a network.
    pub fn go(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
        self.run("go", arguments, &[&[("GOPROXY", "off")], environment].concat())
    }

    /// Runs the tool in the tree.
    pub fn rr_patch(&self, arguments: &[&str]) -> Run {
        self.rr_patch_in(".", arguments)
    }

    /// Runs the tool in a folder of the tree.
    pub fn rr_patch_in(&self, folder: &str, arguments: &[&str]) -> Run {
        Run::of(self.tool().current_dir(self.path(folder)).args(arguments).output().unwrap())
    }

    /// The tool, to be run in the tree.
    pub fn tool(&self) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_rr-patch"));
        command.current_dir(&self.root);
        command
    }

    /// Runs Go or another program in the tree.
    pub fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
        Run::of(
            command(program)
                .current_dir(&self.root)
                .args(arguments)
                .envs(environment.iter().copied())
                .output()
                .unwrap(),
        )
    }

    /// The tree's Go files that gofmt would change.
    pub fn unformatted(&self) -> String {
        self.run("gofmt", &["-l", "pkg", "cmd"], &[]).exits(0).stdout
    }
}

/// A program with nothing in its environment but what it needs, and nothing of the user's own.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOTOOLCHAIN", "CARGO_HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if std::env::var_os("GOCACHE").is_none() {
        let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
        command.env("GOCACHE", home.join(".cache/go-build"));
    }
    command
        .env("HOME", "/nonexistent")
        .env("GOFLAGS", "")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
        .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")])
        .envs([("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"), ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")]);
    command
}

/// What a test may need that not every machine has: the names that [`skip`] and `RR_PATCH_REQUIRE` take.
pub const NEEDS: [&str; 23] = [
    "act",
    "actionlint",
    "ast-grep",        // the program, in PATH or named by AST_GREP
    "cc",              // the C compiler that Go asks for
    "checkers",        // the programs of tests/checkers, which go install builds
    "chown",           // files can be given to another user
    "core",            // a kernel that writes core dumps into the folder of a program
    "dlv",             // a Delve that go install builds, and a kernel that lets it work
    "git-sha256",      // a git that makes SHA-256 repositories
    "gitlab-ci-local", // that package of npm, node and rsync
    "go",              // no test is skipped for want of it: without Go they fail
    "gocacheprog",     // a program for GOCACHEPROG, which go install builds
    "mdbook",          // the program that makes the book
    "mount",           // a mount namespace of one's own
    "no-terminal",     // standard input is none
    "ptrace",          // programs may be traced
    "readelf",
    "refusing-rr", // an rr that cannot record here; excludes `rr`
    "rr",          // an rr that can record here
    "task-io",     // a kernel that counts the bytes that a process reads
    "terminal",    // script(1), which makes one
    "toolchains",  // older releases of Go, which its module proxy gives
    "xattr",       // a file system with user attributes for temporary files
];

/// Notes that the current test, or the rest of it, is left out because one of `needs` is missing. It returns
/// afterwards. `RR_PATCH_REQUIRE=rr,dlv` makes a failure of it, and `RR_PATCH_SKIPPED` names the file that
/// scripts/test counts from: the output of a test that passes is not shown.
#[track_caller]
pub fn skip(needs: &[&str], why: &str) {
    assert!(needs.iter().all(|need| NEEDS.contains(need)), "{needs:?} is not among NEEDS");
    let required = required();
    let missing: Vec<_> = needs.iter().filter(|need| required.iter().any(|name| name == *need)).collect();
    assert!(missing.is_empty(), "RR_PATCH_REQUIRE asks for {missing:?}, and this test would be skipped: {why}");
    let why = why.trim().lines().next().unwrap_or_default();
    eprintln!("skipped: {why}");
    let Some(file) = std::env::var_os("RR_PATCH_SKIPPED") else { return };
    // The harness names a thread after its test, unless there is only one.
    let name = std::thread::current()
        .name()
        .filter(|name| *name != "main")
        .map_or_else(|| std::panic::Location::caller().to_string(), str::to_owned);
    // One write for each line: tests run side by side.
    let line = format!("{name}: {why} ({})\n", needs.join(", "));
    fs::OpenOptions::new().create(true).append(true).open(file).unwrap().write_all(line.as_bytes()).unwrap();
}

/// The names in `RR_PATCH_REQUIRE`.
pub fn required() -> Vec<String> {
    let names = std::env::var("RR_PATCH_REQUIRE").unwrap_or_default();
    names.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A cache folder that holds this machine's Go where scripts/setup puts one, for XDG_CACHE_HOME.
#[track_caller]
pub fn cache_with_go() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let goroot = Run::of(command("go").args(["env", "GOROOT"]).output().unwrap()).exits(0).stdout;
    fs::create_dir(folder.path().join("rr-patch")).unwrap();
    symlink(goroot.trim_end(), folder.path().join("rr-patch/go")).unwrap();
    folder
}

/// Sends a signal to a process: by the shell, since a small system has no `kill` of its own.
#[track_caller]
pub fn kill(signal: &str, pid: u32) {
    let sent = command("sh").args(["-c", &format!("kill -s {signal} {pid}")]).status().unwrap();
    assert!(sent.success(), "kill -s {signal} {pid}");
}

/// A copy of a file, or of what is in a folder: by a process of its own, since the copy may be a program
/// (see [`write_program`]).
#[track_caller]
pub fn copy(from: &Path, to: &Path) {
    let mut copy = command("cp");
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        copy.arg("-RL").arg(from.join("."));
    } else {
        copy.arg(from);
    }
    let run = Run::of(copy.arg(to).output().unwrap());
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// Writes a file that is run soon after, by a process of its own. A file that this one has open for writing
/// is open in every child too that another test forks meanwhile, until the child comes to its exec; and
/// whoever runs a program that is open for writing is told ETXTBSY.
#[track_caller]
pub fn write_program(path: &Path, bytes: impl AsRef<[u8]>) {
    let mut writer = command("dd");
    writer.arg("status=none").arg(format!("of={}", path.display())).stdin(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    writer.stdin.take().unwrap().write_all(bytes.as_ref()).unwrap();
    assert!(writer.wait().unwrap().success(), "{}", path.display());
}

fn collect(root: &Path, folder: &Path, files: &mut Snapshot) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let seen = fs::symlink_metadata(&path).unwrap();
        if entry.file_name() == ".git" {
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_owned();
        if seen.is_dir() {
            collect(root, &path, files);
        } else if seen.is_symlink() {
            files.insert(name, (fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(), 0o120_000));
        } else {
            files.insert(name, (fs::read(&path).unwrap(), seen.permissions().mode()));
        }
    }
}
