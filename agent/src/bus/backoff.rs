//! How long to wait after a failure, and after the next one.
//!
//! Knows counting and doubling. Must not know a clock nor what failed. There is no jitter: all clients that lose a server
//! come back spread out already, and what is retried here begins when they do.

use std::time::{Duration, Instant};

/// Soon enough to ride out a leader election (two to four seconds) without being noticed.
const FIRST: Duration = Duration::from_secs(1);

/// What is retried here is covered by the poll or waits in a bounded queue: two requests a minute are enough.
const LONGEST: Duration = Duration::from_secs(30);

/// The wait after so many failures in a row.
pub(super) fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST)
}

/// A pause that grows with each failure and ends with the first success.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    /// Failures of requests that were under way together count once.
    pub(super) fn lengthen(&mut self, now: Instant) {
        if !self.is_over(now) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + delay(self.failures));
    }

    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let seconds: Vec<u64> = [1, 2, 3, 5, 6, u32::MAX].map(|failures| delay(failures).as_secs()).to_vec();
        assert_eq!(seconds, [1, 2, 4, 16, 30, 30]);
    }

    #[test]
    fn failures_together_count_once() {
        let (mut pause, now) = (Pause::default(), Instant::now());
        assert!(pause.is_over(now));
        (0..5).for_each(|_| pause.lengthen(now));
        assert_eq!(pause.until(), Some(now + FIRST));
        pause.lengthen(now + FIRST);
        assert_eq!(pause.until(), Some(now + FIRST + 2 * FIRST));
        pause.end();
        assert!(pause.is_over(now));
    }
}
