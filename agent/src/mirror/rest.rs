//! How long a server asks to be left alone.
//!
//! Knows `Retry-After` and the rate-limit headers of GitHub, GitLab and Gitea. Must not know who waits, nor that a wait has a bound.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// What is left of a limit, and when it is full again: the names that GitLab, the IETF's draft, GitHub and Gitea use.
const LIMITS: [(&str, &str); 2] =
    [("ratelimit-remaining", "ratelimit-reset"), ("x-ratelimit-remaining", "x-ratelimit-reset")];

/// A reset above this is a time since 1970 (2001 and later), below it a number of seconds (up to 31 years).
const EPOCH_MIN: i64 = 1_000_000_000;

/// What the headers of a refusal ask for: the longest of what they say. `now` counts only where the server does not tell its own time:
/// its clock may disagree with ours.
pub(super) fn rest(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let now = text(headers, DATE.as_str()).and_then(date).unwrap_or(now);
    let retry_after = text(headers, RETRY_AFTER.as_str()).and_then(|value| {
        let seconds = value.parse().ok().map(Duration::from_secs);
        seconds.or_else(|| date(value).map(|at| until(at, now)))
    });
    let exhausted = LIMITS.iter().filter(|(remaining, _)| text(headers, remaining) == Some("0"));
    let resets = exhausted.filter_map(|(_, reset)| text(headers, reset)?.parse().ok());
    resets.filter_map(|reset| full_again(reset, now)).chain(retry_after).max()
}

fn full_again(reset: i64, now: Timestamp) -> Option<Duration> {
    if reset >= EPOCH_MIN {
        return Timestamp::from_second(reset).ok().map(|at| until(at, now));
    }
    u64::try_from(reset).ok().map(Duration::from_secs)
}

/// What is over already is no wait.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

fn date(value: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(value).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sunday, 6 November 1994, 08:49:37.
    const NOW: i64 = 784_111_777;

    fn seconds(headers: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| ((*name).try_into().unwrap(), value.parse().unwrap()));
        rest(&HeaderMap::from_iter(headers), Timestamp::from_second(NOW).unwrap()).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(seconds(&[("retry-after", " 120 ")]), Some(120));
        assert_eq!(seconds(&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]), Some(60));
        assert_eq!(seconds(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(0), "over");
        for nonsense in ["", "soon", "-5", "1.5", "99999999999999999999999"] {
            assert_eq!(seconds(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn a_date_counts_by_the_clock_that_wrote_it() {
        let (date, after) = ("Sun, 06 Nov 1994 10:00:00 GMT", "Sun, 06 Nov 1994 10:00:30 GMT");
        assert_eq!(seconds(&[("date", date), ("retry-after", after)]), Some(30));
    }

    #[test]
    fn a_limit_that_is_used_up_asks_until_its_reset() {
        let later = "2000000060";
        let date = ("date", "Wed, 18 May 2033 03:33:20 GMT");
        assert_eq!(seconds(&[date, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", later)]), Some(60));
        assert_eq!(seconds(&[date, ("ratelimit-remaining", "0"), ("ratelimit-reset", later)]), Some(60));
        assert_eq!(seconds(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "45")]), Some(45));
        assert_eq!(seconds(&[("ratelimit-remaining", "1"), ("ratelimit-reset", "45")]), None, "some is left");
        assert_eq!(seconds(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "-45")]), None);
        let both = [("retry-after", "50"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "45")];
        assert_eq!(seconds(&both), Some(50), "the longest");
    }
}
