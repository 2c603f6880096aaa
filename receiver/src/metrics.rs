//! What is counted. Labels have few values: a hook's path, the provider, one of a few event names, the outcome; nothing
//! that a stranger chooses. `docs/operations-receiver.md` says what each is for.

use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// All names begin with this.
pub(crate) const PREFIX: &str = "towline_receiver";

/// From a delivery that costs nothing to the senders' patience of 10 s; finer where a healthy one is (below 20 ms).
const DURATION_BUCKETS_SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DeliveryLabels {
    pub(crate) hook: String,
    pub(crate) provider: &'static str,
    pub(crate) event: &'static str,
    pub(crate) outcome: &'static str,
}

/// Outcomes in four classes: a histogram for each outcome would be ten times the series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ClassLabels {
    pub(crate) class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HookLabels {
    pub(crate) hook: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FailureLabels {
    pub(crate) hook: String,
    pub(crate) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LimitLabels {
    pub(crate) limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// The receiver's metrics; clones share the same values.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) deliveries: Family<DeliveryLabels, Counter>,
    pub(crate) delivery_duration: Family<ClassLabels, Histogram, fn() -> Histogram>,
    pub(crate) deliveries_in_flight: Gauge,
    pub(crate) body_bytes: Counter<u64, AtomicU64>,
    pub(crate) connections: Gauge,
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_refused: Family<ReasonLabels, Counter>,
    pub(crate) tls_handshake_failures: Family<ReasonLabels, Counter>,
    pub(crate) rate_limited: Family<LimitLabels, Counter>,
    pub(crate) authentication_failures: Family<FailureLabels, Counter>,
    pub(crate) log_lines_left_out: Counter,
    pub(crate) events_coalesced: Family<HookLabels, Counter>,
    pub(crate) publish_attempts: Counter,
    pub(crate) publish_errors: Family<ReasonLabels, Counter>,
    pub(crate) publish_duration: Histogram,
}

impl Metrics {
    /// Registered under `towline_receiver_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            deliveries: Family::default(),
            delivery_duration: Family::new_with_constructor(durations),
            deliveries_in_flight: Gauge::default(),
            body_bytes: Counter::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Family::default(),
            tls_handshake_failures: Family::default(),
            rate_limited: Family::default(),
            authentication_failures: Family::default(),
            log_lines_left_out: Counter::default(),
            events_coalesced: Family::default(),
            publish_attempts: Counter::default(),
            publish_errors: Family::default(),
            publish_duration: durations(),
        };
        let registry = registry.sub_registry_with_prefix(PREFIX);
        registry.register(
            "build",
            "The running program",
            Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }),
        );
        metrics.register_deliveries(registry);
        metrics.register_edge(registry);
        metrics.register_publishing(registry);
        metrics
    }

    fn register_deliveries(&self, registry: &mut Registry) {
        registry.register("deliveries", "Requests by hook, provider, event and outcome", self.deliveries.clone());
        registry.register_with_unit(
            "delivery_duration",
            "Time from the end of a request's headers to its answer, by class of outcome",
            Unit::Seconds,
            self.delivery_duration.clone(),
        );
        registry.register(
            "deliveries_in_flight",
            "Deliveries whose body is complete and whose outcome is not known yet",
            self.deliveries_in_flight.clone(),
        );
        registry.register_with_unit("body", "Received bodies", Unit::Bytes, self.body_bytes.clone());
        registry.register(
            "authentication_failures",
            "Deliveries whose signature was missing or bad, by hook and reason",
            self.authentication_failures.clone(),
        );
        registry.register(
            "log_lines_left_out",
            "Refusals that were counted in a summary instead of having a log line each",
            self.log_lines_left_out.clone(),
        );
    }

    fn register_edge(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections on the public port", self.connections.clone());
        registry.register(
            "connections_accepted",
            "Connections accepted on the public port",
            self.connections_accepted.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that were ended for a bound or for not speaking HTTP, by reason",
            self.connections_refused.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "TLS handshakes that did not succeed, by reason",
            self.tls_handshake_failures.clone(),
        );
        registry.register("rate_limited", "Requests refused for their rate, by limit", self.rate_limited.clone());
    }

    fn register_publishing(&self, registry: &mut Registry) {
        registry.register(
            "events_coalesced",
            "Events that a newer one of the same ref stood for, by hook",
            self.events_coalesced.clone(),
        );
        registry.register(
            "publish_attempts",
            "Messages sent to JetStream, repetitions included",
            self.publish_attempts.clone(),
        );
        registry.register(
            "publish_errors",
            "Events that JetStream did not acknowledge, by reason",
            self.publish_errors.clone(),
        );
        registry.register_with_unit(
            "publish_duration",
            "Time from the first attempt to publish an event to its acknowledgement",
            Unit::Seconds,
            self.publish_duration.clone(),
        );
    }
}

fn durations() -> Histogram {
    Histogram::new(DURATION_BUCKETS_SECONDS)
}

/// A value that somebody else keeps, read when it is asked for.
pub(crate) struct ReadAtScrape<F> {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) unit: Option<Unit>,
    pub(crate) read: F,
}

impl<F: Fn() -> u64 + Send + Sync + 'static> ReadAtScrape<F> {
    pub(crate) fn register(self, registry: &mut Registry) {
        registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(self));
    }
}

impl<F: Fn() -> u64 + Send + Sync + 'static> Collector for ReadAtScrape<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Gauge)?;
        ConstGauge::new(i64::try_from((self.read)()).unwrap_or(i64::MAX)).encode(metric)
    }
}

impl<F> std::fmt::Debug for ReadAtScrape<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The label of an event's name: those that matter by name, all others together.
pub(crate) fn event_label(event: &str) -> &'static str {
    match event {
        "push" | "Push-Hook" | "repo:push" | "repo:refs_changed" | "git.push" | "repository_update" => "push",
        "Tag-Push-Hook" | "tag_push" => "tag_push",
        "ping" | "diagnostics:ping" => "ping",
        "" => "",
        _ => "other",
    }
}
