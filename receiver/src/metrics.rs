//! What is counted. Labels have few values: a hook's path, the provider, one of a few event names, the outcome; nothing
//! that a stranger chooses.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a delivery that costs nothing to the senders' patience of 10 s.
const DURATION_BUCKETS_SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0];

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DeliveryLabels {
    pub(crate) hook: String,
    pub(crate) provider: &'static str,
    pub(crate) event: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) reason: &'static str,
}

/// The receiver's metrics; clones share the same values.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) deliveries: Family<DeliveryLabels, Counter>,
    pub(crate) delivery_duration: Histogram,
    pub(crate) body_bytes: Counter<u64, AtomicU64>,
    pub(crate) connections: Gauge,
    pub(crate) publish_failures: Family<ReasonLabels, Counter>,
}

impl Metrics {
    /// Registered under `towline_receiver_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            deliveries: Family::default(),
            delivery_duration: Histogram::new(DURATION_BUCKETS_SECONDS),
            body_bytes: Counter::default(),
            connections: Gauge::default(),
            publish_failures: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("towline_receiver");
        registry.register("deliveries", "Requests by hook, provider, event and outcome", metrics.deliveries.clone());
        registry.register_with_unit(
            "delivery_duration",
            "Time from the end of a request's headers to its answer",
            Unit::Seconds,
            metrics.delivery_duration.clone(),
        );
        registry.register_with_unit("body", "Received body bytes", Unit::Bytes, metrics.body_bytes.clone());
        registry.register("connections", "Open connections on the public port", metrics.connections.clone());
        registry.register(
            "publish_failures",
            "Events that JetStream did not acknowledge, by reason",
            metrics.publish_failures.clone(),
        );
        metrics
    }
}

/// The label of an event's name: those that matter by name, all others together.
pub(crate) fn event_label(event: &str) -> &'static str {
    match event {
        "push" | "Push-Hook" | "repo:push" | "repo:refs_changed" | "git.push" => "push",
        "Tag-Push-Hook" => "tag_push",
        "ping" | "diagnostics:ping" => "ping",
        "" => "",
        _ => "other",
    }
}
