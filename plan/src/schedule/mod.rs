//! When to look and when to act: state machines without a clock.
//!
//! Knows waits, retries and the order of revisions; `now` and randomness come in as arguments. Must not know how anything is
//! fetched or applied. Each `handle`-like method answers with a decision; the driver only does it.

pub mod fights;
pub mod hosts;
pub mod source;
pub mod sync;
pub mod turns;

use jiff::{SignedDuration, Timestamp};

/// Spreads a wait over ±10%, so that a fleet started at once does not poll at once. `dice` is uniform in 0..1.
#[must_use]
pub fn jittered(wait: SignedDuration, dice: f64) -> SignedDuration {
    let spread = wait.as_secs_f64() * (0.9 + 0.2 * dice.clamp(0.0, 1.0));
    SignedDuration::try_from_secs_f64(spread).unwrap_or(wait)
}

/// The wait before try number `failures` + 1: doubles from `first`, at most `most`.
#[must_use]
pub fn backoff(first: SignedDuration, most: SignedDuration, failures: u32) -> SignedDuration {
    // 2^16 times a second is 18 hours: further doubling changes nothing that a cap has not cut already.
    let doubled = first.saturating_mul(1_i32 << failures.saturating_sub(1).min(16));
    doubled.min(most.max(first))
}

/// A server that asks for more is asked again after this all the same: hosts count requests by the hour, and a header that is wrong
/// must not end the poll.
const REST_MAX: SignedDuration = SignedDuration::from_hours(1);
/// All who were asked to come back at the same moment come within a tenth of their wait, and at least within this.
const REST_SPREAD_MIN: SignedDuration = SignedDuration::from_secs(5);

/// Until when a server that asks to be left alone for so long is.
fn rest(wait: SignedDuration, now: Timestamp, dice: f64) -> Timestamp {
    let wait = wait.clamp(SignedDuration::ZERO, REST_MAX);
    after(after(now, wait), part((wait / 10).max(REST_SPREAD_MIN), dice))
}

/// A random part of a wait. `dice` is uniform in 0..1.
fn part(wait: SignedDuration, dice: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(wait.as_secs_f64() * dice.clamp(0.0, 1.0)).unwrap_or(wait)
}

/// A moment later; the end of time instead of an overflow.
fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let (first, most) = (SignedDuration::from_secs(10), SignedDuration::from_secs(60));
        let waits: Vec<_> = (1..6).map(|n| backoff(first, most, n).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 60, 60]);
        assert_eq!(backoff(first, SignedDuration::from_secs(1), 9), first);
        assert_eq!(backoff(first, most, u32::MAX), most);
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let wait = SignedDuration::from_secs(100);
        assert_eq!(jittered(wait, 0.0).as_secs(), 90);
        assert_eq!(jittered(wait, 1.0).as_secs(), 110);
        assert_eq!(jittered(SignedDuration::MAX, 1.0), SignedDuration::MAX);
    }
}
