//! How the schedule of a run is disturbed: by Go's own scheduler, if the program carries the chaos overlay, and by rr.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::patch::rules::chaos::awake;

/// The setting of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Setting {
    /// The value of `RR_PATCH_CHAOS`; without one the overlay sleeps.
    pub overlay: Option<String>,
    /// Whether rr shuffles threads, with its option `--chaos`. It pretends to have some cores then, too.
    pub rr_chaos: bool,
    /// How many cores rr pretends to have; one if nothing is said.
    pub cores: Option<u8>,
}

impl Setting {
    /// One that is named by hand: words with `+` between them. `rr` is rr's own `--chaos`, `cores=N` are its cores,
    /// `off` is nothing, and any other word is a value of `RR_PATCH_CHAOS`.
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut setting = Self::default();
        for word in text.split('+') {
            match (word, word.strip_prefix("cores=")) {
                ("off", _) => {}
                ("rr", _) => setting.rr_chaos = true,
                (_, Some(cores)) => {
                    let cores = cores.parse().ok().filter(|cores| (1..=128).contains(cores));
                    setting.cores = Some(cores.ok_or("expected a number of cores from 1 to 128, like cores=4")?);
                }
                _ if setting.overlay.is_none() && is_value(word) => setting.overlay = Some(word.to_owned()),
                _ => {
                    return Err("expected a value of RR_PATCH_CHAOS (a fraction like 1/4, `ranks` or `mix`), `rr`, \
                                `cores=N` or `off`, with `+` between them"
                        .into());
                }
            }
        }
        Ok(setting)
    }

    /// The settings that runs go through, one after the other. Without an overlay in the program only rr can disturb
    /// it, and a plain run is as likely to fail.
    pub fn cycle(overlay: bool) -> Vec<Self> {
        let names: &[&str] = match overlay {
            // What one strategy finds best the other finds worst, and some orders need more than one core. What `ranks`
            // alone finds is found the least often, so that it has the most runs.
            true => &["1/4", "ranks", "1/2+cores=4", "ranks", "rr+mix"],
            false => &["off", "rr"],
        };
        names.iter().filter_map(|name| Self::parse(name).ok()).collect()
    }

    /// The options that this setting takes of `rr record`.
    pub fn options(&self) -> Vec<String> {
        let chaos = self.rr_chaos.then(|| "--chaos".to_owned());
        chaos.into_iter().chain(self.cores.map(|cores| format!("--num-cores={cores}"))).collect()
    }

    /// The variable that wakes the overlay, and its value. It is `off` where the overlay is to sleep, since our own
    /// environment may ask for chaos.
    pub fn variable(&self) -> (String, String) {
        let assignment = awake(self.overlay.as_deref().unwrap_or("off"));
        let (name, value) = assignment.split_once('=').unwrap_or((&assignment, ""));
        (name.to_owned(), value.to_owned())
    }

    /// Without what only rr's command line can say.
    pub fn without_options(&self) -> Self {
        Self { overlay: self.overlay.clone(), ..Self::default() }
    }
}

/// Whether the overlay knows a value.
fn is_value(word: &str) -> bool {
    let fraction = || {
        let (part, whole) = word.split_once('/')?;
        Some((part.parse::<u16>().ok()?, whole.parse::<u16>().ok()?))
    };
    ["ranks", "mix"].contains(&word) || fraction().is_some_and(|(part, whole)| 0 < part && part <= whole)
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let overlay = self.overlay.as_deref().map(awake);
        let words: Vec<String> = overlay.into_iter().chain(self.options().iter().map(|o| format!("rr {o}"))).collect();
        f.write_str(if words.is_empty() { "plain".into() } else { words.join(", ") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_by_hand() {
        let shown =
            ["off", "rr", "1/4", "ranks+cores=4", "rr+mix"].map(|name| Setting::parse(name).unwrap().to_string());
        let expected = [
            "plain",
            "rr --chaos",
            "RR_PATCH_CHAOS=1/4",
            "RR_PATCH_CHAOS=ranks, rr --num-cores=4",
            "RR_PATCH_CHAOS=mix, rr --chaos",
        ];
        assert_eq!(shown, expected);
    }

    /// The overlay ends a program at a value that it does not know, which would look like a failure.
    #[test]
    fn a_value_that_the_overlay_does_not_know_is_refused() {
        for name in ["", "1/0", "5/4", "0/4", "x", "1/4+1/2", "cores=0", "cores=x", "1/4x"] {
            assert!(Setting::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn every_setting_of_the_cycles_is_one() {
        assert_eq!((Setting::cycle(true).len(), Setting::cycle(false).len()), (5, 2));
    }
}
