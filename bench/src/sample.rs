//! Durations to what is told of them. Pure.

use std::time::Duration;

use serde::Serialize;

/// What one round of requests came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Round {
    pub(crate) requests: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// Of several rounds: the least, the middle and the greatest of a figure.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Round {
    /// From the latencies of all requests and the time they took together.
    pub(crate) fn of(mut latencies: Vec<Duration>, took: Duration) -> Self {
        latencies.sort_unstable();
        Self {
            requests: latencies.len(),
            per_second: latencies.len() as f64 / took.as_secs_f64(),
            p50_ms: percentile_ms(&latencies, 0.50),
            p90_ms: percentile_ms(&latencies, 0.90),
            p99_ms: percentile_ms(&latencies, 0.99),
            max_ms: percentile_ms(&latencies, 1.0),
        }
    }
}

/// The smallest value that at least this part of the sorted values does not exceed; 0 of none.
fn percentile_ms(sorted: &[Duration], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |value| value.as_secs_f64() * 1000.0)
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        Self { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let round = Round::of((1..=100).rev().map(Duration::from_millis).collect(), Duration::from_secs(2));
        assert_eq!((round.p50_ms, round.p90_ms, round.p99_ms, round.max_ms), (50.0, 90.0, 99.0, 100.0));
        assert_eq!((round.requests, round.per_second), (100, 50.0));
        assert_eq!(Round::of(Vec::new(), Duration::from_secs(1)).p99_ms, 0.0);
    }

    #[test]
    fn a_spread_is_of_the_values_in_order() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
    }
}
