//! What the receiver lets strangers cost it. Every bound has a default with its reason, and a key under `[limits]`.
//! A default that another bound makes impossible gives way to it; a value that was written is a mistake then.

mod rates;

use std::time::Duration;

use serde::Deserialize;
use towline_daemon::config::Mistakes;

pub use rates::Rates;
use rates::RawRates;
pub(crate) use rates::of_hook;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Less would refuse the Git hosts themselves; more is a place to put memory into.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = KIB..=MIB;

/// What a map of headers can hold at all is not much more.
const HEADERS_MOST: u64 = 10_000;

/// Of whatever is counted: no process has as many descriptors, and each costs some memory. Far below what a semaphore
/// counts to.
pub(crate) const COUNT_MOST: u64 = 1_000_000;

/// Of whatever is measured in bytes: no machine that receives webhooks has as much memory.
const BYTES_MOST: u64 = 1024 * 1024 * MIB;

/// Nothing here waits for a day; a number beyond is one in the wrong unit.
const MS_MOST: u64 = 24 * 60 * 60 * 1000;

/// The bounds in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. A thousand senders at once is more than a Git host's whole delivery queue opens; with buffers
    /// they cost some 64 KiB each, 64 MiB in all. Further ones take the places of those that send nothing.
    pub connections_max: usize,
    /// Of them from one address (IPv6: one /64), `proxies` excepted: an eighth, and more than the workers that one Git
    /// host sends from.
    pub connections_per_address_max: usize,
    /// Then it is closed: a proxy's connections find replicas that were started after they were opened.
    pub requests_per_connection_max: u64,
    /// GitHub sends 15, Gitea 20, an ingress adds 10. More is answered with 431.
    pub headers_max: usize,
    /// Request line and headers; GitHub's and GitLab's are below 2 KiB, an ingress adds some. More is answered with 431.
    pub header_bytes_max: usize,
    /// One body. 25 MiB is GitHub's maximum for a payload.
    pub body_bytes_max: u64,
    /// Memory for all bodies being received or verified, but for the first 16 KiB of each, which the connections account
    /// for: ten of the largest. Addresses from which nothing verified has come get half of it, all together.
    pub bodies_bytes_max: u64,
    /// Of it for one client (IPv6: one /64): a quarter, so that nobody has it all; two of the largest bodies.
    pub bodies_bytes_per_address_max: u64,
    /// From the TCP accept to the end of the TLS handshake: two round trips across the world, with a retransmission.
    pub handshake_timeout: Duration,
    /// From there, or from the first byte of a further request, to the end of the headers.
    pub header_timeout: Duration,
    /// From an answer to the first byte of a further request. Longer than proxies and load balancers keep connections
    /// (60 s): who closes first while the other one sends loses a delivery.
    pub idle_timeout: Duration,
    /// From the end of the headers to the end of the body: senders give up after 10 s in all.
    pub body_timeout: Duration,
    /// Within it a body has to come at a rate, but for this at the start: a lost packet and its retransmissions.
    pub body_grace: Duration,
    /// That rate: an ordinary push within the grace alone, a megabyte within a minute by the rate and so by the timeout.
    pub body_bytes_per_second_min: u64,
    /// For a client to take an answer that does not fit into the kernel's buffers, because it did not read others.
    pub write_timeout: Duration,
    /// After an answer that came before the body: how long the rest is read and thrown away, so that the client, which
    /// is still sending, gets to reading the answer. A round trip across the world, with a retransmission.
    pub linger_timeout: Duration,
    /// From a parsed delivery to JetStream's acknowledgement. GitHub and GitLab wait 10 s for an answer, so that our 503
    /// is seen by the sender and not taken for a timeout.
    pub publish_timeout: Duration,
    /// From SIGTERM to the end: body and publish timeouts in a row, and within a pod's grace period of 30 s.
    pub drain_timeout: Duration,
    /// How long a secret stays good after its file holds another one: senders give up after 10 s, so what was signed
    /// with it has arrived by then. Zero is allowed. Not for rotations that take longer: a hook can have two files.
    pub secret_overlap: Duration,
    pub rates: Rates,
}

/// A secret that leaked has to be dead soon after its file was changed.
const SECRET_OVERLAP_MS_MAX: u64 = 10 * 60 * 1000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_address_max: 128,
            requests_per_connection_max: 1000,
            headers_max: 64,
            header_bytes_max: 16 * 1024,
            body_bytes_max: 25 * MIB,
            bodies_bytes_max: 256 * MIB,
            bodies_bytes_per_address_max: 64 * MIB,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(10),
            body_grace: Duration::from_secs(3),
            body_bytes_per_second_min: 16 * KIB,
            write_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(2),
            publish_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(20),
            secret_overlap: Duration::from_secs(10),
            rates: Rates::default(),
        }
    }
}

/// The `[limits]` section: times in milliseconds, so that a test can be quick.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RawLimits {
    connections_max: Option<u64>,
    connections_per_address_max: Option<u64>,
    requests_per_connection_max: Option<u64>,
    headers_max: Option<u64>,
    header_bytes_max: Option<u64>,
    body_bytes_max: Option<u64>,
    bodies_bytes_max: Option<u64>,
    bodies_bytes_per_address_max: Option<u64>,
    handshake_timeout_ms: Option<u64>,
    header_timeout_ms: Option<u64>,
    idle_timeout_ms: Option<u64>,
    body_timeout_ms: Option<u64>,
    body_grace_ms: Option<u64>,
    body_bytes_per_second_min: Option<u64>,
    write_timeout_ms: Option<u64>,
    linger_timeout_ms: Option<u64>,
    publish_timeout_ms: Option<u64>,
    drain_timeout_ms: Option<u64>,
    secret_overlap_ms: Option<u64>,
    address_connections_per_second: Option<u64>,
    address_connections_burst: Option<u64>,
    address_requests_per_second: Option<u64>,
    address_requests_burst: Option<u64>,
    requests_per_second: Option<u64>,
    requests_burst: Option<u64>,
    address_failures_per_second: Option<u64>,
    address_failures_burst: Option<u64>,
    deliveries_per_second: Option<u64>,
    deliveries_burst: Option<u64>,
    deliveries_in_flight_max: Option<u64>,
    refusals_log_interval_ms: Option<u64>,
}

impl RawLimits {
    pub(crate) fn validate(self, mistakes: &mut Mistakes) -> Limits {
        let default = Limits::default();
        let rates = self.rates().validate(mistakes);
        let mut read = Reader { mistakes };
        let connections_max = read.count("connections_max", self.connections_max, default.connections_max);
        let per_address = default.connections_per_address_max.min(connections_max);
        let body_bytes_max = read.bytes("body_bytes_max", self.body_bytes_max, default.body_bytes_max);
        let bodies_bytes_max = read.bytes("bodies_bytes_max", self.bodies_bytes_max, default.bodies_bytes_max);
        let bodies_of_one = default.bodies_bytes_per_address_max.min(bodies_bytes_max).max(body_bytes_max);
        let body_timeout = read.time("body_timeout_ms", self.body_timeout_ms, default.body_timeout);
        let limits = Limits {
            connections_max,
            connections_per_address_max: read.count(
                "connections_per_address_max",
                self.connections_per_address_max,
                per_address,
            ),
            requests_per_connection_max: read.at_most(
                COUNT_MOST,
                "requests_per_connection_max",
                self.requests_per_connection_max,
                default.requests_per_connection_max,
            ),
            headers_max: read.count("headers_max", self.headers_max, default.headers_max),
            header_bytes_max: read.count("header_bytes_max", self.header_bytes_max, default.header_bytes_max),
            body_bytes_max,
            bodies_bytes_max,
            bodies_bytes_per_address_max: read.bytes(
                "bodies_bytes_per_address_max",
                self.bodies_bytes_per_address_max,
                bodies_of_one,
            ),
            handshake_timeout: read.time("handshake_timeout_ms", self.handshake_timeout_ms, default.handshake_timeout),
            header_timeout: read.time("header_timeout_ms", self.header_timeout_ms, default.header_timeout),
            idle_timeout: read.time("idle_timeout_ms", self.idle_timeout_ms, default.idle_timeout),
            body_timeout,
            body_grace: read.time("body_grace_ms", self.body_grace_ms, default.body_grace.min(body_timeout)),
            body_bytes_per_second_min: read.bytes(
                "body_bytes_per_second_min",
                self.body_bytes_per_second_min,
                default.body_bytes_per_second_min,
            ),
            write_timeout: read.time("write_timeout_ms", self.write_timeout_ms, default.write_timeout),
            linger_timeout: read.time("linger_timeout_ms", self.linger_timeout_ms, default.linger_timeout),
            publish_timeout: read.time("publish_timeout_ms", self.publish_timeout_ms, default.publish_timeout),
            drain_timeout: read.time("drain_timeout_ms", self.drain_timeout_ms, default.drain_timeout),
            secret_overlap: self.secret_overlap_ms.map_or(default.secret_overlap, Duration::from_millis),
            rates,
        };
        limits.check_together(mistakes);
        limits
    }

    fn rates(&self) -> RawRates {
        RawRates {
            connections: (self.address_connections_per_second, self.address_connections_burst),
            address: (self.address_requests_per_second, self.address_requests_burst),
            strangers: (self.requests_per_second, self.requests_burst),
            failures: (self.address_failures_per_second, self.address_failures_burst),
            hook: (self.deliveries_per_second, self.deliveries_burst),
            deliveries_in_flight_max: self.deliveries_in_flight_max,
            refusals_log_interval_ms: self.refusals_log_interval_ms,
        }
    }
}

impl Limits {
    /// What each value allows alone and all of them do not.
    fn check_together(&self, mistakes: &mut Mistakes) {
        let mut not_less = |key: &str, holds: bool, than: &str| {
            if !holds {
                mistakes.add(format!("limits.{key}"), format!("must not be less than {than}"));
            }
        };
        let of_one = self.bodies_bytes_per_address_max;
        not_less(
            "connections_max",
            self.connections_max >= self.connections_per_address_max,
            "limits.connections_per_address_max",
        );
        not_less("bodies_bytes_max", self.bodies_bytes_max >= self.body_bytes_max, "limits.body_bytes_max");
        not_less("bodies_bytes_per_address_max", of_one >= self.body_bytes_max, "limits.body_bytes_max");
        // Said already where it follows from that.
        let within = self.bodies_bytes_max >= of_one || self.bodies_bytes_max < self.body_bytes_max;
        not_less("bodies_bytes_max", within, "limits.bodies_bytes_per_address_max");
        not_less("body_timeout_ms", self.body_timeout >= self.body_grace, "limits.body_grace_ms");
        let drained = self.drain_timeout >= self.body_timeout + self.publish_timeout;
        not_less("drain_timeout_ms", drained, "limits.body_timeout_ms and limits.publish_timeout_ms together");
        let header_bytes = self.header_bytes_max as u64;
        if !HEADER_BYTES.contains(&header_bytes) {
            let (least, most) = (HEADER_BYTES.start(), HEADER_BYTES.end());
            mistakes.add("limits.header_bytes_max", format!("must be between {least} and {most}"));
        }
        if self.secret_overlap.as_millis() > u128::from(SECRET_OVERLAP_MS_MAX) {
            let problem =
                format!("must be at most {SECRET_OVERLAP_MS_MAX}: for longer, give the hook two secret files");
            mistakes.add("limits.secret_overlap_ms", problem);
        }
        if self.headers_max as u64 > HEADERS_MOST {
            mistakes.add("limits.headers_max", format!("must be at most {HEADERS_MOST}"));
        }
    }
}

struct Reader<'a> {
    mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    fn number(&mut self, key: &str, value: Option<u64>, default: u64) -> u64 {
        match value {
            Some(0) => {
                self.mistakes.add(format!("limits.{key}"), "must be greater than zero");
                default
            }
            Some(value) => value,
            None => default,
        }
    }

    fn count(&mut self, key: &str, value: Option<u64>, default: usize) -> usize {
        usize::try_from(self.at_most(COUNT_MOST, key, value, default as u64)).unwrap_or(default)
    }

    fn bytes(&mut self, key: &str, value: Option<u64>, default: u64) -> u64 {
        self.at_most(BYTES_MOST, key, value, default)
    }

    fn at_most(&mut self, most: u64, key: &str, value: Option<u64>, default: u64) -> u64 {
        let number = self.number(key, value, default);
        if number > most {
            self.mistakes.add(format!("limits.{key}"), format!("must be at most {most}"));
            return default;
        }
        number
    }

    fn time(&mut self, key: &str, value: Option<u64>, default: Duration) -> Duration {
        let milliseconds = self.number(key, value, u64::try_from(default.as_millis()).unwrap_or(MS_MOST));
        if milliseconds > MS_MOST {
            self.mistakes.add(format!("limits.{key}"), format!("must be at most {MS_MOST}, which is a day"));
            return default;
        }
        Duration::from_millis(milliseconds)
    }
}
