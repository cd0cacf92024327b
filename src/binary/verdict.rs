//! Checks whether Delve can debug a program and whether an installer records, and suggests remedies.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Content, EmbeddedFile, Facts, Installer};

/// One problem of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// The program's name.
    pub program: String,
    pub what: String,
    pub remedy: String,
}

/// Go builds a controller again only if its go.mod changed, so a normal rebuild may not be enough.
pub const REBUILD: &str = "`rr-patch build --clean` rebuilds it for debugging";

/// The remedy for a program that is not part of an installer.
pub const REBUILD_OTHER: &str = "build it with `-gcflags 'all=-N -l'`, and without `-ldflags '-s -w'`";

impl Facts {
    /// The reasons why Delve cannot debug the program, each with its remedy. `rebuild` is the remedy for a wrong
    /// build. Empty if there are none.
    ///
    /// Missing sources are not a problem: Delve can be told where they are.
    pub fn lacks(&self, rebuild: &str) -> Vec<(String, String)> {
        let mut lacks = Vec::new();
        let mut lack = |what: String, remedy: &str| lacks.push((what, remedy.to_owned()));
        if self.go.is_none() {
            lack("is not a Go program, or was built by a Go before 1.18".into(), "Delve debugs programs that Go built");
            return lacks;
        }
        if let Some(why) = &self.dwarf_error {
            lack(format!("has debug information that cannot be read: {why}"), "copy or build it again");
        } else if !self.dwarf {
            let flags = self.settings.get("-ldflags").map(|flags| flags.split_whitespace().collect::<Vec<_>>());
            let told = flags.is_some_and(|flags| flags.contains(&"-s") || flags.contains(&"-w"));
            let cause = if told { "it was linked with `-s -w`, as a release is" } else { "it was stripped" };
            lack(format!("has no debug information: {cause}"), rebuild);
        }
        match self.optimised {
            Some(false) => {}
            Some(true) if self.units.optimised > 0 => {
                let example = self.units.example.as_deref().unwrap_or_default();
                let (some, all) = (self.units.optimised, self.units.go);
                lack(format!("was compiled without `-N -l`: {some} of {all} units, `{example}` among them"), rebuild);
            }
            Some(true) => lack("was compiled without `-gcflags 'all=-N -l'`".into(), rebuild),
            None => lack("does not say whether it was compiled with `-N -l`".into(), rebuild),
        }
        lacks
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Installer,
    Controller,
    /// Another program.
    Program,
}

impl Installer {
    pub fn kind(&self) -> Kind {
        let package = self.facts.package.as_deref().unwrap_or_default();
        let embeds = self.entries.iter().any(EmbeddedFile::controller);
        if embeds || !self.patch.found.is_empty() || package.ends_with("/cmd/openshift-install") {
            Kind::Installer
        } else if package.rsplit('/').next().is_some_and(EmbeddedFile::is_controller) {
            Kind::Controller
        } else {
            Kind::Program
        }
    }

    /// What is not in order of a program of that name, whatever it is.
    pub fn judged(&self, name: &str) -> Vec<Finding> {
        let rebuild = match self.kind() {
            Kind::Installer => return self.findings(name, false),
            Kind::Controller => REBUILD,
            Kind::Program => REBUILD_OTHER,
        };
        let lacks = self.facts.lacks(rebuild).into_iter();
        lacks.map(|(what, remedy)| Finding { program: name.to_owned(), what, remedy }).collect()
    }

    /// All problems of the installer, which messages call `name`, and of its controllers. Downloaded programs such as
    /// etcd are not checked. With `unpatched`, the installer need not record.
    pub fn findings(&self, name: &str, unpatched: bool) -> Vec<Finding> {
        let finding = |program: &str, what: &str, remedy: &str| Finding {
            program: program.to_owned(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        };
        let mut findings = Vec::new();
        if !unpatched && !self.patch.whole() {
            let (what, remedy) = match self.patch.found.as_slice() {
                [] => (
                    "does not carry rr-patch's change: it starts its controllers without a recorder".to_owned(),
                    "`rr-patch apply` patches a checkout, `rr-patch build` builds it",
                ),
                _ => (
                    format!("carries only a part of rr-patch's change: it lacks {}", self.patch.missing.join(", ")),
                    "`rr-patch status` shows what was edited since apply; restore the changes and build again",
                ),
            };
            findings.push(finding(name, &what, remedy));
        }
        findings.extend(self.facts.lacks(REBUILD).iter().map(|(what, remedy)| finding(name, what, remedy)));
        if !self.entries.iter().any(super::EmbeddedFile::controller) {
            findings.push(finding(
                name,
                "embeds no controllers: no zip in it names one",
                "`rr-patch build` builds and embeds them; a plain `go build` does not",
            ));
        }
        for entry in self.entries.iter().filter(|entry| entry.controller()) {
            match &entry.content {
                Content::Program(facts) => {
                    findings
                        .extend(facts.lacks(REBUILD).iter().map(|(what, remedy)| finding(&entry.name, what, remedy)));
                }
                Content::Other { .. } => findings.push(finding(&entry.name, "is no ELF program", REBUILD)),
                Content::Broken(why) => {
                    findings.push(finding(&entry.name, &format!("cannot be used: {why}"), "copy or build it again"));
                }
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lacks_is_empty_for_a_debug_build_only() {
        let good = Facts { go: Some("go1.26.8".into()), dwarf: true, optimised: Some(false), ..Facts::default() };
        assert_eq!(good.lacks(REBUILD), []);
        let lacks =
            |facts: Facts| facts.lacks(REBUILD).into_iter().map(|(what, _)| what).collect::<Vec<_>>().join("; ");
        assert!(lacks(Facts { dwarf: false, ..good.clone() }).contains("it was stripped"));
        assert!(lacks(Facts { optimised: None, ..good.clone() }).contains("does not say"));
        assert!(lacks(Facts { optimised: Some(true), ..good.clone() }).contains("without `-gcflags"));
        assert!(lacks(Facts { dwarf_error: Some("x".into()), dwarf: false, ..good.clone() }).ends_with("be read: x"));
        assert!(lacks(Facts { go: None, ..good }).contains("is not a Go program"));
    }
}
