//! The connection to NATS, the events that came over it, and how long they took to be applied.
//!
//! Knows names and units. Must not know what an event is good for.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::scrape;
use crate::bus::BusEvent;
use crate::cluster::locked;

/// Deliveries whose arrival is remembered until they are applied. A busy host has some ten a second; a pass takes seconds.
const DELIVERIES_MAX: usize = 1024;
/// From a push that is applied at once to one that waited for the poll.
const DELAY_BUCKETS_SECONDS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

pub(super) struct Nats {
    connected: Gauge,
    last_event: Gauge<f64, AtomicU64>,
    events: Counter,
    event_delay: Histogram,
    deliveries: Mutex<VecDeque<(String, Timestamp)>>,
    oldest_event: Arc<Mutex<Option<Timestamp>>>,
    /// What was received before is not how long this process takes.
    since: Timestamp,
}

impl Nats {
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            connected: Gauge::default(),
            last_event: Gauge::default(),
            events: Counter::default(),
            event_delay: Histogram::new(DELAY_BUCKETS_SECONDS),
            deliveries: Mutex::default(),
            oldest_event: Arc::default(),
            since,
        }
    }

    pub(super) fn take(&self, event: &BusEvent) {
        match event {
            BusEvent::Connected => drop(self.connected.set(1)),
            BusEvent::Disconnected { .. } => drop(self.connected.set(0)),
            BusEvent::Woken { event, .. } => {
                self.events.inc();
                let Some(event) = event else { return };
                // The last one of each ref is heard again with each connection.
                self.last_event.set(self.last_event.get().max(seconds(event.received_at)));
                if event.received_at < self.since {
                    return;
                }
                let mut deliveries = locked(&self.deliveries);
                if deliveries.len() >= DELIVERIES_MAX {
                    deliveries.pop_front();
                }
                deliveries.push_back((event.delivery.clone(), event.received_at));
            }
            BusEvent::ReconcileAll
            | BusEvent::Reconcile { .. }
            | BusEvent::Denied { .. }
            | BusEvent::Subscribed { .. }
            | BusEvent::Unsubscribable { .. } => {}
        }
    }

    /// A delivery was applied by one more Sync.
    pub(super) fn applied(&self, delivery: &str, now: Timestamp) {
        if let Some(received_at) = self.received_at(delivery) {
            self.event_delay.observe(now.duration_since(received_at).as_secs_f64().max(0.0));
        }
    }

    pub(super) fn oldest_event(&self, heard: Option<Timestamp>) {
        *locked(&self.oldest_event) = heard;
    }

    fn received_at(&self, delivery: &str) -> Option<Timestamp> {
        let deliveries = locked(&self.deliveries);
        deliveries.iter().rev().find(|(id, _)| id == delivery).map(|(_, at)| *at)
    }

    pub(super) fn register(&self, registry: &mut Registry, reports: Reports) {
        registry.register("nats_connected", "1 while there is a connection to NATS", self.connected.clone());
        registry.register("events", "Commit events that woke", self.events.clone());
        let help = "When the receiver took the last event that was heard";
        registry.register_with_unit("last_event_timestamp", help, Unit::Seconds, self.last_event.clone());
        let help = "From a receiver's taking a delivery to the end of the pass that applied it, for each Sync";
        registry.register_with_unit("event_apply_delay", help, Unit::Seconds, self.event_delay.clone());
        let oldest = Arc::clone(&self.oldest_event);
        scrape::register(registry, move |rows| {
            let heard = *locked(&oldest);
            let lag = heard.map_or(0.0, |heard| Timestamp::now().duration_since(heard).as_secs_f64().max(0.0));
            let help = "Since when the oldest event is heard that is not done with; 0: all are";
            rows.gauge("event_lag", help, Some(&Unit::Seconds), [([("", ""); 0], lag)])
        });
        scrape::register(registry, move |rows| {
            let (waiting, lost) = reports();
            rows.gauge("reports_queued", "Reports not known to be stored", None, [([("", ""); 0], waiting as f64)])?;
            rows.counter("reports_lost", "Reports that were given up", [([("", ""); 0], lost)])
        });
    }
}

/// How many reports wait, and how many were lost so far.
pub(super) type Reports = Box<dyn Fn() -> (usize, u64) + Send + Sync>;

pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
