//! The response to repeated stop requests. The first request stops the installer. The second shows what an immediate
//! end would lose. A later request ends at once, but only if it came after the user could read that message.

use std::time::{Duration, Instant};

/// A request that comes sooner is ignored: the user cannot have read the message yet.
const READING: Duration = Duration::from_secs(2);
/// A request that comes later shows the message again.
const FORGETTING: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the installer to stop.
    Stop,
    /// Show what an immediate end would lose.
    Tell,
    /// The message was shown just before.
    Ignore,
    /// End at once and accept the loss.
    Now,
}

#[derive(Debug, Default)]
pub struct InterruptPolicy {
    asked: bool,
    told: Option<Instant>,
}

impl InterruptPolicy {
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
        let mut patience = InterruptPolicy::default();
        let start = Instant::now();
        let steps = [0, 1, 2, 4, 60, 61, 63].map(|seconds| patience.step(start + Duration::from_secs(seconds)));
        let words = steps.map(|step| format!("{step:?}")).join(" ");
        assert_eq!(words, "Stop Tell Ignore Now Tell Ignore Now");
    }
}
