//! What Go would build with: `go env`, asked in the folder where it builds and with the build's
//! environment, since go.mod, GOFLAGS and GOTOOLCHAIN all have a say in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::error::Error;
use crate::sys::process::{Child, Environment};

/// What is asked for. Without names Go runs the C compiler to answer.
const ASKED: [&str; 18] = [
    "CC",
    "CGO_ENABLED",
    "GO386",
    "GOAMD64",
    "GOARCH",
    "GOARM",
    "GOARM64",
    "GOCACHE",
    "GOEXPERIMENT",
    "GOFLAGS",
    "GOHOSTARCH",
    "GOHOSTOS",
    "GOMODCACHE",
    "GOOS",
    "GOPPC64",
    "GOROOT",
    "GOTMPDIR",
    "GOVERSION",
];

/// The answers of one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchain {
    answers: BTreeMap<String, String>,
}

impl Toolchain {
    /// # Errors
    /// No Go, or one that does not answer.
    pub fn ask(folder: &Path, environment: &Environment) -> Result<Self> {
        Self::of_program("go", folder, environment)
    }

    /// The same of another program than the `go` in PATH.
    pub fn of_program(program: &str, folder: &Path, environment: &Environment) -> Result<Self> {
        let arguments: Vec<String> = ["env", "-json"].into_iter().chain(ASKED).map(str::to_owned).collect();
        let (end, said) = Child { program, arguments: &arguments, folder, environment }.capture()?;
        let said = String::from_utf8_lossy(&said);
        // Go says on the other stream when it downloads a toolchain first.
        let json = said.find('{').zip(said.rfind('}')).map(|(from, to)| &said[from..=to]);
        match json.and_then(|json| serde_json::from_str(json).ok()).filter(|_| end.success()) {
            Some(answers) => Ok(Self { answers }),
            None => Err(Error::failed(format!("`go env` ended with {end}")).detail(said.trim_end()).into()),
        }
    }

    /// One with these answers.
    #[cfg(test)]
    pub fn of<const N: usize>(answers: [(&str, &str); N]) -> Self {
        Self { answers: answers.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }

    pub fn get(&self, name: &str) -> &str {
        self.answers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// `go1.26.8`.
    pub fn version(&self) -> &str {
        self.get("GOVERSION")
    }

    /// `linux_amd64`, as the Makefile names its folder.
    pub fn target(&self) -> String {
        format!("{}_{}", self.get("GOOS"), self.get("GOARCH"))
    }

    /// Whether the target is the host.
    pub fn is_native(&self) -> bool {
        self.get("GOOS") == self.get("GOHOSTOS") && self.get("GOARCH") == self.get("GOHOSTARCH")
    }

    /// Whether cgo can build for the target, or why not: the compiler has to be there, and so have
    /// the C library's headers.
    pub fn c_compiler(&self, folder: &Path, environment: &Environment) -> Result<(), String> {
        let mut words = self.get("CC").split_whitespace();
        let Some(program) = words.next() else { return Err("Go knows no C compiler for this target".into()) };
        let probe = ["-fsyntax-only", "-include", "pthread.h", "-x", "c", "/dev/null"];
        let arguments: Vec<String> = words.chain(probe).map(str::to_owned).collect();
        match (Child { program, arguments: &arguments, folder, environment }).capture() {
            Ok((end, _)) if end.success() => Ok(()),
            Ok((end, said)) => {
                let said = String::from_utf8_lossy(&said);
                let why = said.lines().find(|line| line.contains("error")).unwrap_or_default();
                Err(format!("`{program}` ended with {end}: {}", why.trim()))
            }
            Err(_) => Err(format!("`{program}` is not there")),
        }
    }
}

/// The toolchains of the modules below a checkout: each go.mod may ask for another one.
#[derive(Debug, Default)]
pub struct Toolchains {
    known: BTreeMap<(String, String), Toolchain>,
}

impl Toolchains {
    /// The answer of one module is known.
    pub fn knowing(module: &Path, toolchain: &Toolchain) -> Self {
        Self { known: BTreeMap::from([(wanted(module), toolchain.clone())]) }
    }

    /// That of a module. Modules whose go.mod asks for the same share an answer.
    pub fn of(&mut self, module: &Path, environment: &Environment) -> Result<&Toolchain> {
        let key = wanted(module);
        if !self.known.contains_key(&key) {
            self.known.insert(key.clone(), Toolchain::ask(module, environment)?);
        }
        Ok(&self.known[&key])
    }
}

/// What a go.mod says of the toolchain: its lines `go` and `toolchain`.
fn wanted(module: &Path) -> (String, String) {
    let text = fs::read_to_string(module.join("go.mod")).unwrap_or_default();
    let line = |word: &str| {
        let value = |line: &str| Some(line.trim().strip_prefix(word)?.strip_prefix(' ')?.trim().to_owned());
        text.lines().find_map(value).unwrap_or_default()
    };
    (line("go"), line("toolchain"))
}

/// The folders beside a module that its go.mod takes packages from: `replace x => ../y`.
pub fn replaced_by_folders(module: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(module.join("go.mod")).unwrap_or_default();
    let target = |line: &str| {
        let target = line.split("//").next()?.split_once("=>")?.1.trim();
        let beside = target.starts_with("./") || target.starts_with("../");
        // Without the dots, for messages.
        beside.then(|| module.join(target).canonicalize().ok())?
    };
    text.lines().filter_map(target).collect()
}
