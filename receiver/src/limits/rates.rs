//! How often. Each pair of keys in `[limits]` is a rate and what may come at once.

use std::time::Duration;

use towline_daemon::config::Mistakes;

use super::{COUNT_MOST, MS_MOST};
use crate::rate::Rate;

/// Rates, and what depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Connections of one address (IPv6: one /64), `proxies` excepted: a TLS handshake costs the receiver more than its
    /// client, and comes before there is a request to count. As many as requests, which may have a connection each; who
    /// is above it is closed without a word.
    pub connections: Rate,
    /// Requests of one address (IPv6: one /64). A whole organisation's hooks may come from one: a thousand pushes in a
    /// minute, with twenty events for each where all were subscribed to, are 340 a second; this is three times that, and
    /// a twentieth of what two cores verify. A script that pushes thousands of refs sends them at once.
    pub address: Rate,
    /// Requests of all addresses together from which nothing verified has come yet: a quarter of what two cores verify.
    /// Whoever is known does not share it: strangers cannot use it up for the Git host.
    pub strangers: Rate,
    /// Failed authentications of one such address. A person who sets up a webhook fails a few times. The address may be
    /// shared with strangers (they can make the Git host itself send to us, with their secret), so it is not a few: ten
    /// a second let the real sender through, too, and cost a sixth of a core with the largest bodies (250 MB of SHA-256).
    pub failures: Rate,
    /// Events of one hook's verified deliveries, most of which have one. Each wakes all agents of its repository: with a thousand agents this makes
    /// 200,000 messages a second, which one NATS server bears. The burst: an organisation that mirrors its branches.
    pub hook: Rate,
    /// Deliveries between their last byte and their outcome. Four for each place of a connection (who hangs up leaves
    /// his delivery behind); with some 8 KiB each (task, headers, events) they are 32 MiB.
    pub deliveries_in_flight_max: usize,
    /// Refusals that have no line each are told of together this often.
    pub refusals_log_interval: Duration,
}

/// As written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RawRates {
    pub(super) connections: Pair,
    pub(super) address: Pair,
    pub(super) strangers: Pair,
    pub(super) failures: Pair,
    pub(super) hook: Pair,
    pub(super) deliveries_in_flight_max: Option<u64>,
    pub(super) refusals_log_interval_ms: Option<u64>,
}

/// Tokens in a second, and how many there are at most.
pub(crate) type Pair = (Option<u64>, Option<u64>);

const ADDRESS: (u32, u32) = (1_000, 5_000);
const STRANGERS: (u32, u32) = (5_000, 10_000);
const FAILURES: (u32, u32) = (10, 100);
const HOOK: (u32, u32) = (200, 1_000);
const DELIVERIES_IN_FLIGHT_MAX: u64 = 4_096;
const REFUSALS_LOG_INTERVAL_MS: u64 = 60_000;

impl Default for Rates {
    fn default() -> Self {
        RawRates::default().validate(&mut Mistakes::new(None))
    }
}

impl RawRates {
    pub(super) fn validate(self, mistakes: &mut Mistakes) -> Rates {
        let mut count = |key: &str, value: Option<u64>, most: u64, default: u64| match value {
            Some(value) if !(1..=most).contains(&value) => {
                mistakes.add(format!("limits.{key}"), format!("must be between 1 and {most}"));
                default
            }
            Some(value) => value,
            None => default,
        };
        let in_flight = self.deliveries_in_flight_max;
        let in_flight = count("deliveries_in_flight_max", in_flight, COUNT_MOST, DELIVERIES_IN_FLIGHT_MAX);
        let interval = self.refusals_log_interval_ms;
        let interval = count("refusals_log_interval_ms", interval, MS_MOST, REFUSALS_LOG_INTERVAL_MS);
        Rates {
            connections: rate(
                "limits.address_connections",
                self.connections,
                at_least(self.address, ADDRESS),
                mistakes,
            ),
            address: rate("limits.address_requests", self.address, ADDRESS, mistakes),
            strangers: rate("limits.requests", self.strangers, STRANGERS, mistakes),
            failures: rate("limits.address_failures", self.failures, FAILURES, mistakes),
            hook: rate("limits.deliveries", self.hook, HOOK, mistakes),
            deliveries_in_flight_max: usize::try_from(in_flight).unwrap_or(usize::MAX),
            refusals_log_interval: Duration::from_millis(interval),
        }
    }
}

/// What is written where it is more. So a request rate that was raised does not fail for its connections, and one that was
/// lowered is said by its answer and not by a closed connection.
fn at_least((per_second, burst): Pair, least: (u32, u32)) -> (u32, u32) {
    let more = |value: Option<u64>, least: u32| {
        value.and_then(|value| u32::try_from(value).ok()).map_or(least, |value| value.max(least))
    };
    (more(per_second, least.0), more(burst, least.1))
}

/// A hook's own rate, where it has one; what it does not say is the default's.
pub(crate) fn of_hook(key: &str, raw: Pair, mistakes: &mut Mistakes) -> Option<Rate> {
    (raw != (None, None)).then(|| rate(&format!("{key}.deliveries"), raw, HOOK, mistakes))
}

fn rate(name: &str, (per_second, burst): Pair, default: (u32, u32), mistakes: &mut Mistakes) -> Rate {
    // Beyond it a token would take no time to come back that a clock can tell, which is no limit.
    let mut read = |what: &str, value: Option<u64>, default: u32| match value.map(u32::try_from) {
        None => default,
        Some(Ok(value)) if (1..=COUNT_MOST).contains(&value.into()) => value,
        Some(_) => {
            mistakes.add(format!("{name}_{what}"), format!("must be between 1 and {COUNT_MOST}"));
            default
        }
    };
    let per_second = read("per_second", per_second, default.0);
    // A burst below the rate would make the rate a little less than what is written.
    Rate::new(per_second, read("burst", burst, default.1.max(per_second)))
}
