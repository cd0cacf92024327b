//! What `chaos overlay` wrote.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::document::Document;
use crate::builder::ChaosOverlay;
use crate::error::{Shown, plain_name};
use crate::patch::rules::Site;
use crate::patch::rules::chaos::{CHANGES, awake};
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
    /// The value of GOFLAGS that builds with it.
    goflags: String,
    /// What to type next.
    next: Vec<String>,
}

impl Written {
    pub fn new(made: &ChaosOverlay, goflags: String) -> Self {
        let flags = quoted(&goflags);
        Self {
            overlay: made.list.in_json(),
            go: made.go.clone(),
            goroot: made.goroot.in_json(),
            rules: made.rules.clone(),
            sites: made.sites.clone(),
            added: made.added.clone(),
            next: vec![
                format!("GOFLAGS={flags} go build -o PROGRAM ."),
                format!("{} ./PROGRAM", awake("1/4")),
                format!("{} GOFLAGS={flags} go test -count 20 ./...", awake("1/4")),
            ],
            goflags,
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
        writeln!(f, "\nGOFLAGS={}", quoted(&self.goflags))?;
        writeln!(f, "\nwhat is built with it behaves as ever until its environment asks for chaos:")?;
        writeln!(f, "  {:<20} a goroutine yields at one of four places where goroutines meet", awake("1/4"))?;
        writeln!(f, "  {:<20} each run is shuffled in another way\n", awake("mix"))?;
        self.next.iter().try_for_each(|next| writeln!(f, "next: `{next}`"))
    }
}
