//! How the schedule of a run is disturbed: by Go's own scheduler, if the program carries the chaos overlay, and by rr.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The variable that wakes the chaos overlay in a program.
pub const CHAOS: &str = "RR_PATCH_CHAOS";

/// The setting of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Setting {
    /// The value of `RR_PATCH_CHAOS`; without one the overlay sleeps.
    pub overlay: Option<String>,
    /// Whether rr shuffles threads, with its option `--chaos`.
    pub rr_chaos: bool,
}

impl Setting {
    /// One that is named by hand: `off`, `rr`, or a value of `RR_PATCH_CHAOS`, and `rr+VALUE` for both.
    pub fn named(name: &str) -> Self {
        let (rr_chaos, rest) = match name.strip_prefix("rr") {
            Some("") => (true, "off"),
            Some(rest) => rest.strip_prefix('+').map_or((false, name), |rest| (true, rest)),
            None => (false, name),
        };
        Self { overlay: (rest != "off").then(|| rest.to_owned()), rr_chaos }
    }

    /// The settings that runs go through, one after the other. Without an overlay in the program only rr can disturb
    /// it, and a plain run is as likely to fail.
    pub fn cycle(overlay: bool) -> Vec<Self> {
        let names: &[&str] = match overlay {
            true => &["1/4", "ranks", "stall", "1/8", "mix", "rr+1/4", "1/2", "off"],
            false => &["off", "rr"],
        };
        names.iter().map(|name| Self::named(name)).collect()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.overlay, self.rr_chaos) {
            (None, false) => f.write_str("plain"),
            (None, true) => f.write_str("rr --chaos"),
            (Some(overlay), false) => write!(f, "{CHAOS}={overlay}"),
            (Some(overlay), true) => write!(f, "{CHAOS}={overlay} and rr --chaos"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_by_hand() {
        let shown = ["off", "rr", "1/4", "rr+1/4"].map(|name| Setting::named(name).to_string());
        assert_eq!(shown, ["plain", "rr --chaos", "RR_PATCH_CHAOS=1/4", "RR_PATCH_CHAOS=1/4 and rr --chaos"]);
    }
}
