//! What fetching costs, by host.
//!
//! Knows names, units and labels, and that a source's URL must not make any number of series.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::cluster::locked;

/// Different hosts in the labels of Git's metrics: more than any fleet has, and a bound on what a source's URL may do.
pub(super) const HOSTS_MAX: usize = 50;
/// The label of all hosts beyond that.
const OTHER_HOSTS: &str = "other";
/// From a fetch of nothing over a LAN to its default timeout (60 s).
const FETCH_BUCKETS_SECONDS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// By a host's name.
type HostLabels<const N: usize> = [(&'static str, String); N];

pub(super) struct Git {
    fetches: Family<HostLabels<2>, Counter>,
    duration: Family<HostLabels<1>, Histogram, fn() -> Histogram>,
    requests: Family<HostLabels<1>, Counter>,
    received: Family<HostLabels<1>, Counter>,
    hosts: Mutex<BTreeSet<String>>,
}

impl Git {
    pub(super) fn new() -> Self {
        Self {
            fetches: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(FETCH_BUCKETS_SECONDS)),
            requests: Family::default(),
            received: Family::default(),
            hosts: Mutex::default(),
        }
    }

    pub(super) fn fetched(&self, host: &str, outcome: &'static str, traffic: (u64, u64), elapsed: Duration) {
        let (requests, received_bytes) = traffic;
        let host = self.host(host);
        let by_host = [("host", host.clone())];
        self.fetches.get_or_create(&[("host", host), ("outcome", outcome.to_owned())]).inc();
        self.duration.get_or_create(&by_host).observe(elapsed.as_secs_f64());
        self.requests.get_or_create(&by_host).inc_by(requests);
        self.received.get_or_create(&by_host).inc_by(received_bytes);
    }

    fn host(&self, host: &str) -> String {
        let mut hosts = locked(&self.hosts);
        if !hosts.contains(host) && hosts.len() >= HOSTS_MAX {
            return OTHER_HOSTS.to_owned();
        }
        hosts.insert(host.to_owned());
        host.to_owned()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("git_fetches", "Fetches by host and outcome", self.fetches.clone());
        let help = "Duration of fetches by host";
        registry.register_with_unit("git_fetch_duration", help, Unit::Seconds, self.duration.clone());
        registry.register("git_requests", "HTTP requests to Git hosts", self.requests.clone());
        registry.register_with_unit("git_received", "Received from Git hosts", Unit::Bytes, self.received.clone());
    }
}
