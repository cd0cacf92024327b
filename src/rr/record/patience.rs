//! What becomes of each request to stop. The first is carried out, the second is answered with what
//! would be lost, and only one that can have been made after reading that is carried out too.

use std::time::{Duration, Instant};

/// Whoever asks again sooner has not read the answer.
const READING: Duration = Duration::from_secs(2);
/// Whoever asks again later has forgotten it.
const FORGETTING: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the installer to stop.
    Stop,
    /// Tell what would be lost.
    Tell,
    /// It was just told.
    Ignore,
    /// Whatever is lost.
    Now,
}

#[derive(Debug, Default)]
pub struct Patience {
    asked: bool,
    told: Option<Instant>,
}

impl Patience {
    pub fn step(&mut self, now: Instant) -> Step {
        if !self.asked {
            self.asked = true;
            return Step::Stop;
        }
        match self.told.map(|told| now.saturating_duration_since(told)) {
            Some(since) if since < READING => Step::Ignore,
            Some(since) if since < FORGETTING => Step::Now,
            _ => {
                self.told = Some(now);
                Step::Tell
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_third_request_that_had_time_to_read_the_answer_is_carried_out() {
        let mut patience = Patience::default();
        let start = Instant::now();
        let steps = [0, 1, 2, 4, 60, 61, 63].map(|seconds| patience.step(start + Duration::from_secs(seconds)));
        let words = steps.map(|step| format!("{step:?}")).join(" ");
        assert_eq!(words, "Stop Tell Ignore Now Tell Ignore Now");
    }
}
