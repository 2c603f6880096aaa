//! What the receiver lets strangers cost it. Every bound has a default with its reason, and a key under `[limits]`.

use std::time::Duration;

use serde::Deserialize;
use towline_daemon::config::Mistakes;

const MIB: u64 = 1024 * 1024;

/// The bounds in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. A thousand senders at once is more than a Git host's whole delivery queue opens; with buffers
    /// they cost some 64 KiB each, 64 MiB in all. Further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// One body. 25 MiB is GitHub's maximum for a payload.
    pub body_bytes_max: u64,
    /// Memory for all bodies being received or verified: ten of the largest, or 25,000 ordinary ones of 10 KiB.
    pub bodies_bytes_max: u64,
    /// From the TCP accept to the end of the TLS handshake: two round trips across the world, with a retransmission.
    pub handshake_timeout: Duration,
    /// From there, or from the end of the request before, to the end of the headers.
    pub header_timeout: Duration,
    /// From the end of the headers to the end of the body: senders give up after 10 s in all.
    pub body_timeout: Duration,
    /// From a parsed delivery to JetStream's acknowledgement. GitHub and GitLab wait 10 s for an answer, so that our 503
    /// is seen by the sender and not taken for a timeout.
    pub publish_timeout: Duration,
    /// From SIGTERM to the end: body and publish timeouts in a row, and within a pod's grace period of 30 s.
    pub drain_timeout: Duration,
    /// How long a secret stays good after its file holds another one: senders give up after 10 s, so what was signed
    /// with it has arrived by then. Zero is allowed. Not for rotations that take longer: a hook can have two files.
    pub secret_overlap: Duration,
}

/// A secret that leaked has to be dead soon after its file was changed.
const SECRET_OVERLAP_MS_MAX: u64 = 10 * 60 * 1000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            body_bytes_max: 25 * MIB,
            bodies_bytes_max: 256 * MIB,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(20),
            secret_overlap: Duration::from_secs(10),
        }
    }
}

/// The `[limits]` section: times in milliseconds, so that a test can be quick.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RawLimits {
    connections_max: Option<u64>,
    body_bytes_max: Option<u64>,
    bodies_bytes_max: Option<u64>,
    handshake_timeout_ms: Option<u64>,
    header_timeout_ms: Option<u64>,
    body_timeout_ms: Option<u64>,
    publish_timeout_ms: Option<u64>,
    drain_timeout_ms: Option<u64>,
    secret_overlap_ms: Option<u64>,
}

impl RawLimits {
    pub(crate) fn validate(self, mistakes: &mut Mistakes) -> Limits {
        let default = Limits::default();
        let mut number = |key: &str, value: Option<u64>, default: u64| match value {
            Some(0) => {
                mistakes.add(format!("limits.{key}"), "must be greater than zero");
                default
            }
            Some(value) => value,
            None => default,
        };
        let connections_max = number("connections_max", self.connections_max, default.connections_max as u64);
        let body_bytes_max = number("body_bytes_max", self.body_bytes_max, default.body_bytes_max);
        let bodies_bytes_max = number("bodies_bytes_max", self.bodies_bytes_max, default.bodies_bytes_max);
        let mut time = |key: &str, value: Option<u64>, default: Duration| {
            Duration::from_millis(number(key, value, u64::try_from(default.as_millis()).unwrap_or(u64::MAX)))
        };
        let limits = Limits {
            connections_max: usize::try_from(connections_max).unwrap_or(default.connections_max),
            body_bytes_max,
            bodies_bytes_max,
            handshake_timeout: time("handshake_timeout_ms", self.handshake_timeout_ms, default.handshake_timeout),
            header_timeout: time("header_timeout_ms", self.header_timeout_ms, default.header_timeout),
            body_timeout: time("body_timeout_ms", self.body_timeout_ms, default.body_timeout),
            publish_timeout: time("publish_timeout_ms", self.publish_timeout_ms, default.publish_timeout),
            drain_timeout: time("drain_timeout_ms", self.drain_timeout_ms, default.drain_timeout),
            secret_overlap: self.secret_overlap_ms.map_or(default.secret_overlap, Duration::from_millis),
        };
        if self.secret_overlap_ms.is_some_and(|overlap| overlap > SECRET_OVERLAP_MS_MAX) {
            let problem =
                format!("must be at most {SECRET_OVERLAP_MS_MAX}: for longer, give the hook two secret files");
            mistakes.add("limits.secret_overlap_ms", problem);
        }
        if bodies_bytes_max < body_bytes_max {
            mistakes.add("limits.bodies_bytes_max", "must not be less than limits.body_bytes_max");
        }
        limits
    }
}
