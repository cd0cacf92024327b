//! Which providers a platform needs, as the checkout's own `pkg/clusterapi` says it.
//!
//! ```go
//! AzureASO = infrastructureProvider("azureaso")        // a provider, and the folder it is built from
//! switch platform {
//! case azure.Name:                                     // a platform
//!     azProvider := Azure
//!     if cloudName == azure.StackCloud {
//!         azProvider = AzureStack                      // a variant of it: instead of Azure
//!     }
//!     … c.getInfrastructureController(&azProvider, …), c.getInfrastructureController(&AzureASO, …)
//! ```
//!
//! Releases add platforms, so no list of ours would stay right.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::error::{Error, Shown};
use crate::patch::checkout::{Checkout, Content, Revised};
use crate::patch::go::{GoFile, Match, Pattern, SyntaxNode, holds};

/// The folder whose Go files say it.
const SOURCES: &str = "pkg/clusterapi";

/// The folder whose folders are the providers.
pub const PROVIDERS: &str = "cluster-api/providers";

const DECLARED: &str = r"
(var_spec name: (identifier) @name value: (expression_list (call_expression
  function: (identifier) @function arguments: (argument_list . (interpreted_string_literal) @folder .))))
";

const CASE: &str = r"(expression_case value: (expression_list) @platforms) @case";

const INSIDE: &str = r"
(if_statement) @if
(short_var_declaration left: (expression_list . (identifier) @variable .) right: (expression_list . (identifier) @first .))
(assignment_statement left: (expression_list . (identifier) @variable .) right: (expression_list . (identifier) @instead .))
(unary_expression operand: (identifier) @used)
";

/// Platforms and the providers that each needs, by the names of their folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platforms {
    pub needs: BTreeMap<String, BTreeSet<String>>,
    /// The folders in `cluster-api/providers`.
    pub providers: BTreeSet<String>,
    /// The sources take etcd and kube-apiserver from the zip.
    pub control_plane: bool,
}

/// Where the sources are: a work tree, or a revision.
pub trait Sources {
    /// What a folder holds: each name, and whether it is a folder. Nothing where there is none.
    fn names(&self, folder: &str) -> Result<Vec<(String, bool)>>;

    /// What a file holds; nothing if it is not there.
    fn read(&self, path: &str) -> Result<Option<Content>>;
}

impl Sources for Checkout {
    fn names(&self, folder: &str) -> Result<Vec<(String, bool)>> {
        let folder = self.locate(folder);
        let name = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.with_context(|| format!("cannot read `{}`", folder.shown()))?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.path().is_dir()))
        };
        fs::read_dir(&folder).into_iter().flatten().map(name).collect()
    }

    fn read(&self, path: &str) -> Result<Option<Content>> {
        self.read(path)
    }
}

impl Sources for Revised<'_> {
    fn names(&self, folder: &str) -> Result<Vec<(String, bool)>> {
        self.names(folder)
    }

    fn read(&self, path: &str) -> Result<Option<Content>> {
        self.read(path)
    }
}

/// A query that is compiled once: that takes as long as all the rest.
fn pattern(compiled: &'static OnceLock<Pattern>, query: &str) -> Result<&'static Pattern> {
    match compiled.get() {
        Some(pattern) => Ok(pattern),
        None => Pattern::compile("platforms", query).map(|pattern| compiled.get_or_init(|| pattern)),
    }
}

impl Platforms {
    /// Those of a work tree.
    pub fn read(checkout: &Checkout) -> Result<Self> {
        Self::of(checkout)
    }

    /// What they depend on: two revisions with the same have the same platforms. Of the providers only the names count:
    /// what is vendored in them changes with every other branch.
    pub fn key(revised: &Revised) -> Result<String> {
        let names = revised.names(PROVIDERS)?.into_iter().filter(|(_, folder)| *folder).map(|(name, _)| name);
        Ok(revised.id(SOURCES)?.into_iter().chain(names).collect::<Vec<_>>().join("/"))
    }

    /// Where the source says nothing that is understood, each provider is a platform.
    pub fn of(checkout: &impl Sources) -> Result<Self> {
        static COMPILED: OnceLock<Pattern> = OnceLock::new();
        let providers = checkout.names(PROVIDERS)?.into_iter().filter(|(_, folder)| *folder).map(|(name, _)| name);
        let providers: BTreeSet<String> = providers.collect();
        let files = sources(checkout)?;
        let mut declared = BTreeMap::new();
        let pattern = pattern(&COMPILED, DECLARED)?;
        for file in &files {
            for found in file.matches(pattern, file.root()) {
                let text = |name| capture(&found, name).map(|piece| piece.text()).unwrap_or_default();
                let folder = text("folder").trim_matches('"').to_owned();
                if text("function").to_lowercase().contains("provider") && providers.contains(&folder) {
                    declared.insert(text("name"), folder);
                }
            }
        }
        let mut needs = BTreeMap::new();
        for file in &files {
            cases(checkout, file, &declared, &mut needs)?;
        }
        if needs.is_empty() {
            needs = providers.iter().map(|name| (name.clone(), BTreeSet::from([name.clone()]))).collect();
        }
        let control_plane = files.iter().any(|file| holds(file.bytes(), b"\"kube-apiserver\""));
        Ok(Self { needs, providers, control_plane })
    }

    /// The providers for some platforms.
    ///
    /// # Errors
    /// A platform that is not known, with those that are.
    pub fn providers_for(&self, platforms: &[String]) -> Result<BTreeSet<String>> {
        let unknown: Vec<String> =
            platforms.iter().filter(|name| !self.needs.contains_key(*name)).map(|name| format!("`{name}`")).collect();
        if !unknown.is_empty() {
            let mut error = Error::refused(format!("no such platform in this checkout: {}", unknown.join(", ")));
            for (platform, providers) in &self.needs {
                let providers: Vec<&str> = providers.iter().map(String::as_str).collect();
                error = error.detail(format!("known: {platform} (built from {})", providers.join(", ")));
            }
            let known = || self.needs.keys().map(String::as_str);
            let mistyped = platforms.iter().filter(|name| !self.needs.contains_key(*name));
            let error = mistyped.fold(error, |error, name| error.did_you_mean(name, known()));
            return Err(error
                .hint("platforms that Cluster API does not install, like baremetal or none, need no provider")
                .into());
        }
        Ok(platforms.iter().flat_map(|name| self.needs[name].clone()).collect())
    }

    /// The platforms that have all their providers, and those that lack one.
    pub fn served_by(&self, there: &BTreeSet<String>) -> (Vec<&str>, Vec<&str>) {
        let names = |served: bool| {
            let some = self.needs.iter().filter(|(_, needs)| needs.is_subset(there) == served);
            some.map(|(name, _)| name.as_str()).collect()
        };
        (names(true), names(false))
    }
}

/// The Go files that declare or start providers.
fn sources(checkout: &impl Sources) -> Result<Vec<GoFile>> {
    let mut files = Vec::new();
    for (name, _) in checkout.names(SOURCES)? {
        if name.strip_suffix(".go").is_none_or(|name| name.ends_with("_test")) {
            continue;
        }
        let path = format!("{SOURCES}/{name}");
        let Some(content) = checkout.read(&path)? else { continue };
        let says = |word: &str| holds(&content.bytes, word.as_bytes());
        if says("infrastructureProvider(") || says("getInfrastructureController(") {
            files.push(GoFile::parse(&path, content.bytes)?);
        }
    }
    Ok(files)
}

/// The platforms of a file's switches, with the providers that their cases name.
fn cases(
    checkout: &impl Sources,
    file: &GoFile,
    declared: &BTreeMap<String, String>,
    needs: &mut BTreeMap<String, BTreeSet<String>>,
) -> Result<()> {
    static CASES: OnceLock<Pattern> = OnceLock::new();
    static INSIDES: OnceLock<Pattern> = OnceLock::new();
    let (case, inside) = (pattern(&CASES, CASE)?, pattern(&INSIDES, INSIDE)?);
    for found in file.matches(case, file.root()) {
        let (Some(body), Some(platforms)) = (capture(&found, "case"), capture(&found, "platforms")) else { continue };
        let within = file.matches(inside, body);
        let ifs: Vec<Range<usize>> = within.iter().filter_map(|m| Some(capture(m, "if")?.range())).collect();
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        let (mut required, mut instead) = (BTreeSet::new(), Vec::new());
        for one in &within {
            let provider = |name| capture(one, name).and_then(|piece| declared.get(&piece.text()));
            let variable = capture(one, "variable").map(|piece| piece.text()).unwrap_or_default();
            if let Some(folder) = provider("first") {
                required.insert(folder.clone());
                first.insert(variable.clone(), folder.clone());
            }
            if let Some(folder) = provider("instead") {
                instead.push((first.get(&variable).cloned(), folder.clone()));
            }
            // What only some installs of a platform start is a variant too.
            if let (Some(folder), Some(piece)) = (provider("used"), capture(one, "used")) {
                match ifs.iter().any(|range| range.contains(&piece.range().start)) {
                    true => instead.push((None, folder.clone())),
                    false => drop(required.insert(folder.clone())),
                }
            }
        }
        if required.is_empty() {
            continue;
        }
        for (of, folder) in instead {
            let mut variant: BTreeSet<String> =
                required.iter().filter(|name| Some(*name) != of.as_ref()).cloned().collect();
            variant.insert(folder.clone());
            needs.entry(folder).or_insert(variant);
        }
        for platform in platforms.text().split(',').map(str::trim) {
            needs.insert(name_of(checkout, platform)?, required.clone());
        }
    }
    Ok(())
}

/// The platform behind `"aws"` or `aws.Name`: the constant `Name` of `pkg/types/aws`.
fn name_of(checkout: &impl Sources, value: &str) -> Result<String> {
    let Some((package, constant)) = value.split_once('.') else { return Ok(value.trim_matches('"').to_owned()) };
    let package = package.trim_end_matches("types");
    if let Some(content) = checkout.read(&format!("pkg/types/{package}/doc.go"))? {
        let text = String::from_utf8_lossy(&content.bytes).into_owned();
        let declared = text.lines().find_map(|line| {
            let (head, name) = line.trim().trim_start_matches("const ").split_once('=')?;
            (head.split_whitespace().next() == Some(constant)).then(|| name.trim().trim_matches('"').to_owned())
        });
        if let Some(name) = declared {
            return Ok(name);
        }
    }
    Ok(package.to_owned())
}

fn capture<'file>(found: &Match<'file>, name: &str) -> Option<SyntaxNode<'file>> {
    found.captures.iter().find(|(captured, _)| *captured == name).map(|(_, piece)| *piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Platforms as a checkout with these providers and this switch would have them.
    fn platforms(providers: &[&str], switch: &str) -> Platforms {
        let folder = tempfile::tempdir().unwrap();
        for provider in providers {
            fs::create_dir_all(folder.path().join(PROVIDERS).join(provider)).unwrap();
        }
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("pkg/types/powervs/doc.go", "package powervs\n\n// Name is it.\nconst Name string = \"powervs\"\n");
        write("pkg/types/azure/doc.go", "package azure\n\nconst Name string = \"azure\"\n");
        write(
            "pkg/clusterapi/providers.go",
            "package clusterapi\n\nvar (\n\tAzure = infrastructureProvider(\"azure\")\n\tStack = infrastructureProvider(\"azurestack\")\n\tASO = infrastructureProvider(\"azureaso\")\n\tIBM = infrastructureProvider(\"ibmcloud\")\n)\n",
        );
        write("pkg/clusterapi/system.go", &format!("package clusterapi\n\nfunc (c *system) Run() {{\n{switch}}}\n"));
        Platforms::read(&Checkout::discover(Some(folder.path()), None).unwrap()).unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const SWITCH: &str = "\tswitch platform {
	case azure.Name:
		az := Azure
		if cloud == azure.StackCloud {
			az = Stack
		}
		controllers = append(controllers, c.getInfrastructureController(&az, nil), c.getInfrastructureController(&ASO, nil))
	case powervs.Name, ibmcloud.Name:
		controllers = append(controllers, c.getInfrastructureController(&IBM, nil))
	default:
		return
	}
";

    #[test]
    fn platforms_are_those_of_the_switch_with_the_providers_of_each_case() {
        let platforms = platforms(&["azure", "azureaso", "azurestack", "ibmcloud"], SWITCH);
        let expected = [
            ("azure", set(&["azure", "azureaso"])),
            ("azurestack", set(&["azureaso", "azurestack"])),
            ("ibmcloud", set(&["ibmcloud"])),
            ("powervs", set(&["ibmcloud"])),
        ];
        assert_eq!(platforms.needs, expected.map(|(name, needs)| (name.to_owned(), needs)).into());
        assert_eq!(
            platforms.served_by(&set(&["ibmcloud", "azure"])),
            (vec!["ibmcloud", "powervs"], vec!["azure", "azurestack"])
        );
    }

    #[test]
    fn platforms_are_the_providers_where_no_switch_names_any() {
        let platforms = platforms(&["new", "other"], "\tstart(everything)\n");
        assert_eq!(
            platforms.needs,
            [("new", set(&["new"])), ("other", set(&["other"]))].map(|(n, s)| (n.to_owned(), s)).into()
        );
    }

    #[test]
    fn platforms_that_are_unknown_are_refused_with_those_that_are_known() {
        let error = platforms(&["ibmcloud"], SWITCH).providers_for(&["ibmcloud".into(), "aws".into()]).unwrap_err();
        let error: Error = error.downcast().unwrap();
        assert_eq!(error.to_string(), "no such platform in this checkout: `aws`");
        assert!(error.details().contains(&"known: powervs (built from ibmcloud)".to_owned()), "{error:?}");
    }
}
