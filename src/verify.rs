//! Asking Go about the patched files: gofmt, go vet and go build of the packages that were touched.

use std::path::Path;

use anyhow::Result;

use crate::checkout::Checkout;
use crate::error::{Error, Shown};
use crate::plan::{Plan, folders};
use crate::process::{Child, Environment};

/// Asks with the toolchain that the checkout's own go.mod, GOFLAGS and vendor folder choose.
///
/// # Errors
/// What Go says against the patched files. What gofmt had to say against the originals too is not
/// ours: an edited checkout need not be gofmt-clean. `progress` is told each command before it runs:
/// on a cold cache one takes minutes.
pub fn verify(checkout: &Checkout, plan: &Plan, progress: &dyn Fn(&str)) -> Result<(), Error> {
    let gofmt = gofmt(checkout);
    let touched = plan.rewrites.iter().filter(|rewrite| rewrite.after.is_some());
    let mut fresh = Vec::new();
    for rewrite in touched {
        if rewrite.before.as_ref().is_none_or(|before| is_formatted(checkout, &gofmt, &before.bytes)) {
            fresh.push(rewrite.path.clone());
        }
    }
    let packages: Vec<String> = folders(&plan.rewrites).iter().map(|folder| format!("./{}", folder.shown())).collect();
    let none = Environment::new();
    let windows = Environment::from([("GOOS".into(), "windows".into()), ("CGO_ENABLED".into(), "0".into())]);

    let ask = |program: &str, arguments: Vec<String>, environment: &Environment| -> Result<(), Error> {
        let os = environment.get("GOOS").map_or(String::new(), |os| format!("GOOS={os} "));
        let asked = format!("{os}{program} {}", arguments.join(" "));
        progress(&asked);
        let (end, said) = Child { program, arguments: &arguments, folder: checkout.root(), environment }
            .capture()
            .map_err(|error| error.downcast().unwrap_or_else(|error| Error::failed(format!("{error:#}"))))?;
        let quiet = program != gofmt || said.is_empty();
        if end.success() && quiet {
            return Ok(());
        }
        Err(Error::failed(format!("Go does not take the patched files: `{asked}` says"))
            .detail(String::from_utf8_lossy(&said).trim_end().to_owned())
            .hint("if the same command says it of the unpatched checkout too, mend that first; else apply without --verify and look at `rr-patch diff`"))
    };
    ask(&gofmt, ["-l".into()].into_iter().chain(fresh).collect(), &none)?;
    ask("go", ["vet".into()].into_iter().chain(packages.iter().cloned()).collect(), &none)?;
    ask("go", ["build".into()].into_iter().chain(packages.iter().cloned()).collect(), &none)?;
    if plan.rewrites.iter().any(|rewrite| rewrite.path.ends_with("_windows.go")) {
        let process: Vec<String> = packages.iter().filter(|package| package.ends_with("/process")).cloned().collect();
        ask("go", ["build".into()].into_iter().chain(process).collect(), &windows)?;
    }
    Ok(())
}

/// The gofmt of the toolchain that the checkout chooses. Some packages of Go put only go into PATH.
fn gofmt(checkout: &Checkout) -> String {
    let (arguments, none) = (["env", "GOROOT"].map(str::to_owned), Environment::new());
    let asked = Child { program: "go", arguments: &arguments, folder: checkout.root(), environment: &none }.capture();
    let said = asked.map(|(_, said)| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    let path = Path::new(said.lines().last().unwrap_or_default()).join("bin/gofmt");
    if path.is_file() { path.to_string_lossy().into_owned() } else { "gofmt".into() }
}

fn is_formatted(checkout: &Checkout, gofmt: &str, bytes: &[u8]) -> bool {
    let Ok(file) = tempfile::Builder::new().suffix(".go").tempfile() else { return false };
    let arguments = ["-l".to_owned(), file.path().to_string_lossy().into_owned()];
    let none = Environment::new();
    std::fs::write(file.path(), bytes).is_ok()
        && Child { program: gofmt, arguments: &arguments, folder: checkout.root(), environment: &none }
            .capture()
            .is_ok_and(|(end, said)| end.success() && said.is_empty())
}
