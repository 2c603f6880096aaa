//! When to do what, so that replicas do not march in step and an API that has trouble is left alone. Pure: chance is an
//! argument, from 0 to 1.

use std::time::Duration;

use jiff::Timestamp;

/// GitHub asks for a second at least between requests that change something.
pub(super) const BETWEEN_REDELIVERIES: Duration = Duration::from_secs(1);

/// An interval is this much longer or shorter, so that two processes that started together part.
const JITTER: f64 = 0.1;

/// Doubled with each failure in a row up to this: who has mended a token or an API waits no longer for a sweep.
const BACKOFF_MAX: Duration = Duration::from_mins(10);

/// What GitHub's window for counting requests is long; an answer that asks for more is wrong.
pub(super) const DEMANDED_MAX: Duration = Duration::from_hours(1);

/// Longest time to stand aside for another replica, and the part of the interval for it: an attempt shows in the listing
/// within seconds.
const ASIDE_MAX: Duration = Duration::from_secs(10);
const ASIDE_PART: f64 = 0.25;

/// Before the first sweep: anywhere in an interval.
pub(super) fn first(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(chance.clamp(0.0, 1.0))
}

/// Between two sweeps, after so many failures in a row, and no less than the API demanded.
pub(super) fn next(interval: Duration, failures: u32, demanded: Option<Duration>, chance: f64) -> Duration {
    let backoff = interval.saturating_mul(2_u32.saturating_pow(failures)).min(BACKOFF_MAX.max(interval));
    let spread = backoff.mul_f64(1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0));
    let demanded = demanded.unwrap_or_default().min(DEMANDED_MAX);
    // The jitter stays on top: whoever is told the same moment must not come at the same moment.
    if spread >= demanded { spread } else { demanded + interval.mul_f64(JITTER * chance.clamp(0.0, 1.0)) }
}

/// Between seeing what is due and asking for it.
pub(super) fn aside(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(ASIDE_PART).min(ASIDE_MAX).mul_f64(chance.clamp(0.0, 1.0))
}

/// So long ago; the beginning of time where that is before it.
pub(super) fn before(now: Timestamp, ago: Duration) -> Timestamp {
    now.checked_sub(ago).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const MINUTE: Duration = Duration::from_mins(1);

    #[rstest]
    #[case::works(0, None, 60)]
    #[case::failed_once(1, None, 120)]
    #[case::fails_for_long(40, None, 600)]
    #[case::told_to_wait(1, Some(900), 903)]
    #[case::told_less_than_it_waits_anyway(2, Some(5), 240)]
    #[case::told_nonsense(1, Some(1_000_000), 3603)]
    fn next_sweeps(#[case] failures: u32, #[case] demanded: Option<u64>, #[case] seconds: u64) {
        let next = next(MINUTE, failures, demanded.map(Duration::from_secs), 0.5);
        assert_eq!(next, Duration::from_secs(seconds));
    }

    #[test]
    fn chance_moves_them_apart() {
        assert_eq!(first(MINUTE, 0.25), Duration::from_secs(15));
        assert_eq!((next(MINUTE, 0, None, 0.0).as_secs(), next(MINUTE, 0, None, 1.0).as_secs()), (54, 66));
        assert_eq!((aside(MINUTE, 1.0).as_secs(), aside(Duration::from_secs(4), 1.0).as_secs()), (10, 1));
    }

    #[test]
    fn a_long_interval_is_not_shortened_by_failing() {
        assert_eq!(next(Duration::from_hours(2), 3, None, 0.5), Duration::from_hours(2));
    }
}
