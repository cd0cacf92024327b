//! Whether controllers are linked dynamically.
//!
//! rr's syscall buffer is a library that the dynamic loader puts into a program. Into a static one it
//! does not come, and recording a static Go server took 11 to 22 times its own time, where a
//! dynamic one took 1.6 to 2 times (both measured). build.sh exports `CGO_ENABLED=0`, so a dynamic
//! controller is built before it, by the same Makefile.

use std::path::Path;

use super::controllers::Linked;
use super::prerequisites::{Need, c_compiler, value};
use super::script::Scripts;
use super::toolchain::Toolchain;
use crate::doctor::Distribution;
use crate::sys::process::Environment;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Auto,
    Dynamic,
    Static,
}

/// What is done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linking {
    pub linked: Linked,
    /// Why not dynamically, where that was not asked for, and what would change it.
    pub why_not: Option<String>,
}

impl Linking {
    /// # Errors
    /// What `--link dynamic` lacks here.
    pub fn choose(
        link: Link,
        scripts: &Scripts,
        toolchain: &Toolchain,
        folder: &Path,
        environment: &Environment,
        distribution: &Distribution,
    ) -> Result<Self, Need> {
        let fixed = link == Link::Static;
        let why_not = if fixed { None } else { obstacle(link, scripts, toolchain, folder, environment) };
        let Some(Obstacle { why, linked, compiler }) = why_not else {
            let linked = if fixed { Linked::Static } else { Linked::Dynamic };
            return Ok(Self { linked, why_not: None });
        };
        let need = c_compiler(why, distribution);
        match link {
            Link::Dynamic => Err(need),
            _ if compiler => Ok(Self { linked, why_not: Some(format!("{}; {}", need.found, need.fix)) }),
            _ => Ok(Self { linked, why_not: Some(need.found) }),
        }
    }
}

/// What stands against dynamic controllers.
struct Obstacle {
    why: String,
    linked: Linked,
    /// A C compiler would help.
    compiler: bool,
}

fn obstacle(
    link: Link,
    scripts: &Scripts,
    toolchain: &Toolchain,
    folder: &Path,
    environment: &Environment,
) -> Option<Obstacle> {
    let of = |why: String, linked, compiler| Some(Obstacle { why, linked, compiler });
    let system = toolchain.get("GOOS");
    if !scripts.have_makefile() {
        return of("the checkout has no cluster-api/Makefile".into(), Linked::Either, false);
    }
    if system != "linux" {
        return of(format!("rr records on Linux, and this is for {system}"), Linked::Either, false);
    }
    if link == Link::Auto && value(environment, "CGO_ENABLED").is_some_and(|cgo| cgo == "0") {
        return of("CGO_ENABLED=0 is set".into(), Linked::Static, false);
    }
    // Go says so where it would have to build for another system and knows no compiler for that.
    if link == Link::Auto && toolchain.get("CGO_ENABLED") != "1" {
        let target = toolchain.target().replace('_', "/");
        return of(format!("Go finds no C compiler for {target}"), Linked::Either, toolchain.is_native());
    }
    let why = toolchain.c_compiler(folder, environment).err()?;
    of(why, Linked::Either, toolchain.is_native())
}
