//! What `chaos overlay` wrote.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use crate::builder::ChaosOverlay;
use crate::error::{Shown, plain_name};
use crate::patch::rules::Site;
use crate::patch::rules::chaos::{CHANGES, awake};
use crate::sys::process::Environment;
use crate::words::{count, quoted};

/// A chaos overlay that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Written {
    /// What `-overlay` takes.
    overlay: String,
    /// The version of Go that it is for.
    go: String,
    goroot: String,
    /// The SHA-256 of the rules and of what they add.
    rules: String,
    /// The places that change, in files below `GOROOT/src`.
    sites: Vec<Site>,
    /// The files that are added, below `GOROOT/src`.
    added: Vec<String>,
    /// What has to be set for `go`, to build with it.
    environment: Environment,
    /// What to type next.
    next: Vec<String>,
    /// The environment as a shell takes it.
    #[serde(skip)]
    set: String,
}

impl Written {
    /// `list` is what -overlay takes, as GOFLAGS names it.
    pub fn new(made: &ChaosOverlay, list: &str) -> Self {
        let mut environment = made.environment.clone();
        environment.insert("GOFLAGS".into(), format!("-overlay={list}"));
        // PATH is that of whoever types it.
        let own = environment.get("PATH").map(|path| path.split(':').next().unwrap_or_default().to_owned());
        let set = environment.iter().map(|(name, value)| match (&own, name.as_str()) {
            (Some(own), "PATH") => format!("PATH={}:\"$PATH\"", quoted(own)),
            _ => format!("{name}={}", quoted(value)),
        });
        let set = set.collect::<Vec<_>>().join(" ");
        Self {
            overlay: made.list.in_json(),
            go: made.go.clone(),
            goroot: made.goroot.in_json(),
            rules: made.rules.clone(),
            sites: made.sites.clone(),
            added: made.added.clone(),
            next: vec![
                format!("{set} go build -o PROGRAM ."),
                format!("{} ./PROGRAM", awake("1/4")),
                format!("{} {set} go test -count 20 ./...", awake("mix")),
            ],
            set,
            environment,
        }
    }
}

impl Document for Written {
    const SCHEMA: &'static str = "rr-patch/chaos-overlay/1";
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files: Vec<&str> = self.sites.iter().map(|site| site.path.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        writeln!(
            f,
            "wrote `{}`: {} of {} in `{}` changed, {} added",
            plain_name(&self.overlay),
            count(files.len(), "file"),
            self.go,
            plain_name(&self.goroot),
            count(self.added.len(), "file")
        )?;
        writeln!(f)?;
        for (change, what) in CHANGES {
            let places = self.sites.iter().filter(|site| site.change == change).count();
            writeln!(f, "  {change:<10} {:>10}  {what}", count(places, "place"))?;
        }
        writeln!(f, "\n{}", self.set)?;
        writeln!(f, "\nwhat is built with it behaves as ever until its environment asks for chaos:")?;
        writeln!(f, "  {:<20} a goroutine yields at one of four places where goroutines meet", awake("1/4"))?;
        writeln!(f, "  {:<20} each run is shuffled in another way\n", awake("mix"))?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}
