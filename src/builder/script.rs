//! What the checkout's own build scripts say: which programs they run, and which Go is their minimum.

use std::collections::BTreeSet;

use anyhow::Result;

use super::prerequisites::value;
use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::sys::process::Environment;

/// The script, as the installer's documents call it.
pub const SCRIPT: &str = "hack/build.sh";

/// The controllers' Makefile.
pub const MAKEFILE: &str = "cluster-api/Makefile";

/// The text of build.sh, of what it sources, and of the Makefile.
#[derive(Debug)]
pub struct Scripts {
    files: Vec<(String, String)>,
    pub executable: bool,
}

/// Flags for `go build` and `go vet`, and their environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compilation {
    pub flags: Vec<String>,
    /// Apart, since with them package `data` compiles only where the build has generated a file of it.
    pub tags: Vec<String>,
    pub environment: Environment,
}

impl Compilation {
    /// That of the build. A checkout without build.sh has none to match.
    pub fn of(checkout: &Checkout) -> Self {
        Scripts::read(checkout).map(|scripts| scripts.compilation(checkout)).unwrap_or_default()
    }
}

/// A version of Go as far as it can be compared. Pre-releases count as the release.
pub type Version = (u32, u32, u32);

/// Reads `go1.26.8`, `1.23` or `1.25rc1`.
pub fn version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches("go");
    let mut parts = text.split('.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse::<u32>().ok()
    });
    let (major, minor) = (parts.next()??, parts.next().flatten().unwrap_or_default());
    Some((major, minor, parts.next().flatten().unwrap_or_default()))
}

impl Scripts {
    /// # Errors
    /// A checkout without the script.
    pub fn read(checkout: &Checkout) -> Result<Self> {
        let Some(main) = checkout.read(SCRIPT)? else {
            return Err(Error::refused("`hack/build.sh` is missing")
                .detail(format!("expected: the installer's build script in `{}`", checkout.root().shown()))
                .hint("`git checkout -- hack` brings it back")
                .into());
        };
        let executable = main.mode & 0o111 != 0;
        let main = String::from_utf8_lossy(&main.bytes).into_owned();
        let mut files = vec![(SCRIPT.to_owned(), main)];
        // build.sh sources its neighbours as `"$(dirname "$0")/x.sh"` or `./hack/x.sh`.
        let sourced: BTreeSet<String> = code(&files[0].1)
            .filter(|line| line.trim_start().starts_with(". ") || line.trim_start().starts_with("source "))
            .filter_map(|line| Some(line.rsplit_once('/')?.1.trim_matches(['"', '\'', ' ', ')']).to_owned()))
            .filter_map(|name| Some(format!("hack/{}.sh", name.strip_suffix(".sh")?)))
            .collect();
        for path in sourced.into_iter().chain([MAKEFILE.to_owned()]) {
            if let Some(content) = checkout.read(&path)? {
                files.push((path, String::from_utf8_lossy(&content.bytes).into_owned()));
            }
        }
        Ok(Self { files, executable })
    }

    /// The script that runs a program, if one does.
    pub fn that_runs(&self, program: &str) -> Option<&str> {
        let names = |line: &str| {
            line.split(|c: char| !c.is_alphanumeric() && !['-', '_', '.', '/', '='].contains(&c))
                .any(|word| word == program)
        };
        self.files.iter().find(|(_, text)| code(text).any(names)).map(|(path, _)| path.as_str())
    }

    /// Whether any script says this.
    pub fn say(&self, text: &str) -> bool {
        self.files.iter().any(|(_, file)| code(file).any(|line| line.contains(text)))
    }

    /// Whether there is a Makefile that builds the controllers.
    pub fn have_makefile(&self) -> bool {
        self.files.iter().any(|(path, _)| path == MAKEFILE)
    }

    /// How build.sh compiles the installer's own packages with `MODE=dev` and `TAGS=release`, which
    /// `rr-patch build` sets, as far as Go's cache goes by it.
    pub fn compilation(&self, checkout: &Checkout) -> Compilation {
        let mut flags = Vec::new();
        let mut environment = Environment::new();
        if self.say("all=-N -l") {
            flags.extend(["-gcflags", "all=-N -l"].map(str::to_owned));
        }
        if self.say("export CGO_ENABLED=0") {
            environment.insert("CGO_ENABLED".into(), "0".into());
        }
        let given = value(&environment, "GOFLAGS").is_some_and(|flags| !flags.is_empty());
        if self.say("-mod=vendor") && !given && checkout.locate("vendor/modules.txt").is_file() {
            environment.insert("GOFLAGS".into(), "-mod=vendor".into());
        }
        let tags = if self.say("TAGS") { vec!["-tags".to_owned(), "release".to_owned()] } else { Vec::new() };
        Compilation { flags, tags, environment }
    }

    /// The minimum version of Go as build.sh states it: a variable like `minimum_go_version=1.23`.
    pub fn minimum_go(&self) -> Option<(Version, String)> {
        self.files.iter().flat_map(|(_, text)| code(text)).find_map(|line| {
            let (name, value) = line.trim().split_once('=')?;
            let value = value.trim_matches(['"', '\'']);
            let named = name.contains("go_version") || name.contains("GO_VERSION");
            let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            (named && plain).then(|| Some((version(value)?, value.to_owned())))?
        })
    }
}

/// The lines that are no comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts(text: &str) -> Scripts {
        Scripts { files: vec![(SCRIPT.into(), text.into())], executable: true }
    }

    #[test]
    fn minimum_go_is_read_from_the_forms_that_revisions_have() {
        let minimum = |text: &str| scripts(text).minimum_go().map(|(version, _)| version);
        assert_eq!(minimum("set -ex\nminimum_go_version=1.23\ncurrent_go_version=$(go version)\n"), Some((1, 23, 0)));
        assert_eq!(minimum("  MINIMUM_GO_VERSION=\"1.25.3\"\n"), Some((1, 25, 3)));
        assert_eq!(minimum("# minimum_go_version=1.2\ncurrent_go_version=$(go version | cut -d ' ' -f 3)\n"), None);
    }

    #[test]
    fn programs_are_found_as_words_of_code_and_not_in_names_or_comments() {
        let scripts =
            scripts("# curl is not used\nzip -j1 \"${DIR}/x.zip\" \"${DIR}\"/*\nv=$(git describe)\nmakefile=1\n");
        let found = ["zip", "git", "curl", "make", "x"].map(|program| scripts.that_runs(program).is_some());
        assert_eq!(found, [true, true, false, false, false]);
    }

    #[test]
    fn versions_of_go_compare_by_number() {
        assert_eq!(version("go1.26.8"), Some((1, 26, 8)));
        assert_eq!(version("go1.25rc1"), Some((1, 25, 0)));
        assert!(version("1.9") < version("1.23"));
        assert_eq!(version("devel"), None);
    }
}
