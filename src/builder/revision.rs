//! What the scripts of some revisions build only where they are told to, and what they build beside the
//! controllers.
//!
//! | revisions | hack/build.sh and what it sources |
//! | --- | --- |
//! | 2023-11 to 2024-04 | build controllers only where `OPENSHIFT_INSTALL_CLUSTER_API` is not empty |
//! | 2023-11 to 2025-04 | build Terraform and its providers first, unless `SKIP_TERRAFORM=y` |
//! | 2023-11 to 2024-06 | know no `SKIP_ENVTEST` |
//! | some of 2023-11 to 2024-05 | are of an installer that never starts a controller |
//!
//! (Seen in 142 references of one fork.) The scripts themselves are asked, and no date.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::controllers::{Sources, survey};
use super::prerequisites::{is_set, value};
use super::script::{SCRIPT, Scripts};
use crate::error::{Error, Shown};
use crate::patch::checkout::Checkout;
use crate::patch::go::holds;
use crate::sys::process::{Child, Environment};

/// Not empty: the controllers are built, and embedded.
const CONTROLLERS: &str = "OPENSHIFT_INSTALL_CLUSTER_API";

const SKIP_ENVTEST: &str = "SKIP_ENVTEST";
const SKIP_TERRAFORM: &str = "SKIP_TERRAFORM";

/// build.sh looks for these in TAGS, and then leaves Terraform out too.
const TAGS_WITHOUT_TERRAFORM: [&str; 2] = ["aro", "altinfra"];

/// Where the installer's own packages are.
const PACKAGES: [&str; 2] = ["cmd", "pkg"];

/// The package that starts controllers, and the call that it takes to make it do so.
const STARTS: &str = "pkg/clusterapi";
const CALL: &[u8] = b"clusterapi.System()";

/// Where Terraform's providers are, a folder each, and Terraform itself.
const PROVIDERS: &str = "terraform/providers";
const TERRAFORM: &str = "terraform/terraform";

/// Where build.sh puts Terraform to be embedded. It empties the folder only before it fills it.
const EMBEDDED: &str = "pkg/terraform/providers/mirror/terraform/terraform";

/// What becomes of the Terraform that a revision's build.sh builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Terraform {
    Built,
    /// Not built, and embedded as an earlier build left it.
    Earlier,
    LeftOut,
}

/// Sets what this revision's scripts have to be told, and says so.
///
/// Returns what becomes of Terraform, if the scripts know of it.
pub fn tell(
    scripts: &Scripts,
    checkout: &Checkout,
    of_platforms: bool,
    environment: &mut Environment,
    notes: &mut Vec<String>,
) -> Option<Terraform> {
    if scripts.say(CONTROLLERS) && is_empty(environment, CONTROLLERS) {
        environment.insert(CONTROLLERS.into(), "y".into());
        notes.push(format!("{CONTROLLERS}=y is set: without it {SCRIPT} of this revision builds no controllers"));
    }
    if scripts.say("envtest") && !scripts.say(SKIP_ENVTEST) && !is_empty(environment, SKIP_ENVTEST) {
        notes.push(format!(
            "the scripts of this revision know no {SKIP_ENVTEST}: they download etcd and kube-apiserver all the same"
        ));
    }
    if !scripts.say(SKIP_TERRAFORM) {
        return None;
    }
    let tags = value(environment, "TAGS").unwrap_or_default();
    let tagged = TAGS_WITHOUT_TERRAFORM.iter().any(|tag| tags.contains(tag) && scripts.say(tag));
    if tagged {
        return Some(left_out(checkout));
    }
    if of_platforms && is_empty(environment, SKIP_TERRAFORM) {
        environment.insert(SKIP_TERRAFORM.into(), "y".into());
        notes.push(format!(
            "Terraform is left out with --platform, since it runs no controller; `--env {SKIP_TERRAFORM}=n` builds it"
        ));
    }
    if is_set(environment, SKIP_TERRAFORM) {
        return Some(left_out(checkout));
    }
    let providers = folders(checkout).len();
    notes.push(format!(
        "{SCRIPT} of this revision builds Terraform and its providers ({providers}) too, and they run no controller: \
         `--skip-terraform` leaves them out"
    ));
    Some(Terraform::Built)
}

/// Refuses a revision whose installer starts no controller. 22 of the 56 that build controllers only on
/// request have all of Cluster API in their tree, and call it nowhere: the linker leaves it out, controllers
/// and all, and that was known only after the whole build.
///
/// # Errors
/// Such a revision, with the calls that are not built.
pub fn refuse_without_calls(scripts: &Scripts, checkout: &Checkout, environment: &Environment) -> Result<()> {
    if !scripts.say(CONTROLLERS) {
        return Ok(());
    }
    let tags = value(environment, "TAGS").unwrap_or_default();
    let arguments = ["list", "-deps", "-tags", &tags, "./cmd/openshift-install"].map(str::to_owned);
    let list = Child { program: "go", arguments: &arguments, folder: checkout.root(), environment };
    let (end, said) = list.capture()?;
    // What cannot be listed cannot be built either, and the build says more of that.
    if !end.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let mut calls = Vec::new();
    PACKAGES.iter().for_each(|folder| find_calls(checkout, folder, &mut calls));
    // By the names of packages, since a folder can have several through links.
    let built =
        |path: &PathBuf| said.lines().any(|package| path.parent().is_some_and(|of| Path::new(package).ends_with(of)));
    if calls.iter().any(built) {
        return Ok(());
    }
    let error = Error::refused("nothing in the installer of this revision starts controllers")
        .detail("expected: a call of `clusterapi.System()` in what `./cmd/openshift-install` is built from");
    let error = match calls.as_slice() {
        [] => error.detail("found: none in the whole checkout"),
        _ => calls.iter().fold(error, |error, path| {
            error.detail(format!("found: `{}` calls it, and is not built with TAGS={tags}", path.shown()))
        }),
    };
    Err(error
        .hint("take a later revision: those since 2024-05 can all install by Cluster API")
        .hint("`rr-patch build --unpatched` builds this one all the same")
        .into())
}

/// The files of packages other than the one called.
fn find_calls(checkout: &Checkout, folder: &str, calls: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(checkout.locate(folder)).into_iter().flatten().flatten() {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if path == STARTS {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_calls(checkout, &path, calls);
        } else if path.strip_suffix(".go").is_some_and(|name| !name.ends_with("_test")) {
            let text = fs::read(entry.path()).unwrap_or_default();
            if holds(&text, CALL) {
                calls.push(path.into());
            }
        }
    }
}

fn left_out(checkout: &Checkout) -> Terraform {
    if checkout.locate(EMBEDDED).is_file() { Terraform::Earlier } else { Terraform::LeftOut }
}

/// Bytes of Go in Terraform and in each of its providers.
pub fn terraform_sources(checkout: &Checkout) -> Vec<u64> {
    let folders = folders(checkout).into_iter().chain([TERRAFORM.to_owned()]);
    folders
        .map(|folder| {
            let mut sources = Sources::default();
            survey(&checkout.locate(&folder), &mut sources);
            sources.bytes
        })
        .collect()
}

fn folders(checkout: &Checkout) -> Vec<String> {
    let entries = fs::read_dir(checkout.locate(PROVIDERS)).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| format!("{PROVIDERS}/{}", entry.file_name().to_string_lossy())).collect()
}

fn is_empty(environment: &Environment, name: &str) -> bool {
    value(environment, name).is_none_or(|value| value.is_empty())
}
