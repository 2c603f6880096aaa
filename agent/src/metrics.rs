//! What is counted: all families, and what is recorded where something ends. `docs/operations-agent.md` says what each is for.
//!
//! Knows names, units and labels. Labels have few values, none of them secret: words of closed lists, hosts of sources (at most
//! `HOSTS_MAX`), and names of our own objects, whose series go when the object does (`objects`). Must not decide anything.

mod objects;
mod queues;
mod scrape;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use queues::{Queue, Turn};

use crate::bus::BusEvent;
use crate::cluster::{ResourceEvent, locked};
use crate::pass::{End, Outcome, Pass};

/// All names begin with this.
const PREFIX: &str = "towline_agent";
/// Different hosts in the labels of Git's metrics: more than any fleet has, and a bound on what a source's URL may do.
const HOSTS_MAX: usize = 50;
/// The label of all hosts beyond that.
const OTHER_HOSTS: &str = "other";
/// Deliveries whose arrival is remembered until they are applied. A busy host has some ten a second; a pass takes seconds.
const DELIVERIES_MAX: usize = 1024;
/// From a decision in memory to the patience of a pass.
const STAGE_BUCKETS_SECONDS: [f64; 13] = [0.0005, 0.002, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];
/// From an API server that is idle to our patience with it (35 s).
const REQUEST_BUCKETS_SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 35.0];
/// From a fetch of nothing over a LAN to its default timeout (60 s).
const FETCH_BUCKETS_SECONDS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];
/// From a push that is applied at once to one that waited for the poll.
const DELAY_BUCKETS_SECONDS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Durations<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;
/// By a host's name.
type HostLabels<const N: usize> = [(&'static str, String); N];

/// A part of a pass that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From the mirror to manifests.
    Read,
    /// Which kinds there are, and what manifests become with them.
    Discover,
    /// The Inventory, the watches and the dry-runs.
    Observe,
    Decide,
    Apply,
    Prune,
    /// Writing what the pass came to.
    Settle,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Discover => "discover",
            Self::Observe => "observe",
            Self::Decide => "decide",
            Self::Apply => "apply",
            Self::Prune => "prune",
            Self::Settle => "settle",
        }
    }
}

/// The agent's metrics; clones share the same values.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    passes: Family<Labels<2>, Counter>,
    pass_duration: Histogram,
    stages: Durations<1>,
    objects_changed: Family<Labels<1>, Counter>,
    prunes_held: Family<Labels<1>, Counter>,
    queue_wait: Durations<1>,
    queues: queues::Queues,
    objects: Mutex<objects::Objects>,
    api_requests: Family<Labels<2>, Counter>,
    api_duration: Durations<1>,
    watch_failures: Counter,
    fetches: Family<HostLabels<2>, Counter>,
    fetch_duration: Family<HostLabels<1>, Histogram, fn() -> Histogram>,
    git_requests: Family<HostLabels<1>, Counter>,
    git_received: Family<HostLabels<1>, Counter>,
    hosts: Mutex<BTreeSet<String>>,
    nats_connected: Gauge,
    last_event: Gauge<f64, AtomicU64>,
    events: Counter,
    event_delay: Histogram,
    deliveries: Mutex<VecDeque<(String, Timestamp)>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Families {
            passes: Family::default(),
            pass_duration: stage_durations(),
            stages: Family::new_with_constructor(stage_durations),
            objects_changed: Family::default(),
            prunes_held: Family::default(),
            queue_wait: Family::new_with_constructor(stage_durations),
            queues: queues::Queues::default(),
            objects: Mutex::default(),
            api_requests: Family::default(),
            api_duration: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS_SECONDS)),
            watch_failures: Counter::default(),
            fetches: Family::default(),
            fetch_duration: Family::new_with_constructor(|| Histogram::new(FETCH_BUCKETS_SECONDS)),
            git_requests: Family::default(),
            git_received: Family::default(),
            hosts: Mutex::default(),
            nats_connected: Gauge::default(),
            last_event: Gauge::default(),
            events: Counter::default(),
            event_delay: Histogram::new(DELAY_BUCKETS_SECONDS),
            deliveries: Mutex::default(),
        }))
    }

    /// Times a part of a pass until the answer is dropped, whatever the part comes to.
    pub fn time(&self, stage: Stage) -> Timing {
        Timing { duration: self.0.stages.get_or_create_owned(&[("stage", stage.word())]), since: Instant::now() }
    }

    /// Times a whole pass, from its turn on.
    pub fn time_pass(&self) -> Timing {
        Timing { duration: self.0.pass_duration.clone(), since: Instant::now() }
    }

    /// Somebody waits for a turn, until it is dropped or the turn has come.
    pub fn wait_in(&self, queue: Queue) -> Turn {
        Turn::new(self.clone(), queue)
    }

    /// A pass ended.
    pub fn passed(&self, pass: &Pass, outcome: &Outcome, now: Timestamp) {
        let outcome_word = outcome.end.word();
        let labels = [("outcome", outcome_word), ("trigger", pass.trigger.as_str())];
        self.0.passes.get_or_create(&labels).inc();
        for action in &outcome.actions {
            self.0.objects_changed.get_or_create(&[("action", action.deed.word())]).inc();
        }
        if let End::Held(held, _) = &outcome.end {
            self.0.prunes_held.get_or_create(&[("reason", held.word())]).inc();
        }
        let brought = locked(&self.0.objects).passed(pass, outcome, now);
        if let Some(received_at) = brought.and_then(|delivery| self.delivered(&delivery)) {
            self.0.event_delay.observe(now.duration_since(received_at).as_secs_f64().max(0.0));
        }
    }

    /// Something changes again and again what passes of this Sync put back.
    pub fn fought(&self, sync: &towline_plan::object::SyncKey) {
        locked(&self.0.objects).fought(sync);
    }

    /// Replicas divided the Syncs anew: what passes of those that are others' came to is no longer told.
    pub fn divided(&self, is_own: impl Fn(&towline_plan::object::SyncKey) -> bool) {
        locked(&self.0.objects).divided(is_own);
    }

    /// What the watches of our own kinds tell.
    pub fn resource(&self, event: &ResourceEvent) {
        locked(&self.0.objects).take(event);
    }

    /// What comes from NATS.
    pub fn bus(&self, event: &BusEvent) {
        match event {
            BusEvent::Connected => drop(self.0.nats_connected.set(1)),
            BusEvent::Disconnected { .. } => drop(self.0.nats_connected.set(0)),
            BusEvent::Woken { event, .. } => {
                self.0.events.inc();
                let Some(event) = event else { return };
                self.0.last_event.set(seconds(event.received_at));
                let mut deliveries = locked(&self.0.deliveries);
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

    fn delivered(&self, delivery: &str) -> Option<Timestamp> {
        let deliveries = locked(&self.0.deliveries);
        deliveries.iter().rev().find(|(id, _)| id == delivery).map(|(_, at)| *at)
    }

    /// A request to the API server begins. Counted when it is answered, or dropped without an answer.
    pub fn api_request(&self, verb: &'static str) -> Asked {
        Asked { metrics: self.clone(), verb, since: Instant::now(), is_over: false }
    }

    /// A watch failed, and is tried again.
    pub fn watch_failed(&self) {
        self.0.watch_failures.inc();
    }

    /// A fetch ended: `outcome` is a word of a closed list.
    pub fn fetched(&self, host: &str, outcome: &'static str, requests: u64, received_bytes: u64, elapsed: Duration) {
        let host = self.host(host);
        let by_host = [("host", host.clone())];
        self.0.fetches.get_or_create(&[("host", host), ("outcome", outcome.to_owned())]).inc();
        self.0.fetch_duration.get_or_create(&by_host).observe(elapsed.as_secs_f64());
        self.0.git_requests.get_or_create(&by_host).inc_by(requests);
        self.0.git_received.get_or_create(&by_host).inc_by(received_bytes);
    }

    fn host(&self, host: &str) -> String {
        let mut hosts = locked(&self.0.hosts);
        if !hosts.contains(host) && hosts.len() >= HOSTS_MAX {
            return OTHER_HOSTS.to_owned();
        }
        hosts.insert(host.to_owned());
        host.to_owned()
    }

    /// Registers everything under `towline_agent_…`, with what others keep and is read at a scrape.
    pub fn register(&self, registry: &mut Registry, kept: Kept) {
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", version);
        self.register_passes(registry);
        self.register_api(registry);
        self.register_git(registry);
        self.register_nats(registry, kept.nats);
        let metrics = self.clone();
        scrape::register(registry, move |rows| locked(&metrics.0.objects).write(rows));
        let metrics = self.clone();
        scrape::register(registry, move |rows| metrics.0.queues.write(rows));
        let watches = kept.watches;
        scrape::register(registry, move |rows| {
            let rows_of = watches().map(|(state, count)| ([("state", state)], count as f64));
            rows.gauge("watches", "Watches of managed kinds, by what is known of them", None, rows_of)
        });
    }

    fn register_passes(&self, registry: &mut Registry) {
        let of = &self.0;
        registry.register("passes", "Passes by outcome and by what they were run for", of.passes.clone());
        let help = "Duration of passes, from their turn to their end";
        registry.register_with_unit("pass_duration", help, Unit::Seconds, of.pass_duration.clone());
        let help = "Duration of the stages of passes";
        registry.register_with_unit("pass_stage_duration", help, Unit::Seconds, of.stages.clone());
        registry.register("objects_changed", "What passes did to objects", of.objects_changed.clone());
        registry.register("prunes_held", "Passes that held their deletions back, by reason", of.prunes_held.clone());
        let help = "Time that passes and fetches waited for their turn";
        registry.register_with_unit("queue_wait_duration", help, Unit::Seconds, of.queue_wait.clone());
    }

    fn register_api(&self, registry: &mut Registry) {
        let of = &self.0;
        let help = "Requests to the API server by verb and status code; `none`: no answer";
        registry.register("api_requests", help, of.api_requests.clone());
        let help = "Time from a request to the API server to the head of its answer";
        registry.register_with_unit("api_request_duration", help, Unit::Seconds, of.api_duration.clone());
        registry.register("watch_failures", "Watches that broke off and were begun again", of.watch_failures.clone());
    }

    fn register_git(&self, registry: &mut Registry) {
        let of = &self.0;
        registry.register("git_fetches", "Fetches by host and outcome", of.fetches.clone());
        let help = "Duration of fetches by host";
        registry.register_with_unit("git_fetch_duration", help, Unit::Seconds, of.fetch_duration.clone());
        registry.register("git_requests", "HTTP requests to Git hosts", of.git_requests.clone());
        registry.register_with_unit("git_received", "Received from Git hosts", Unit::Bytes, of.git_received.clone());
    }

    fn register_nats(&self, registry: &mut Registry, reports: Option<Reports>) {
        let of = &self.0;
        // Without NATS there is nothing to be connected to, and no alert to raise.
        let Some(reports) = reports else { return };
        registry.register("nats_connected", "1 while there is a connection to NATS", of.nats_connected.clone());
        registry.register("events", "Commit events that woke", of.events.clone());
        let help = "When the receiver took the last event that was heard";
        registry.register_with_unit("last_event_timestamp", help, Unit::Seconds, of.last_event.clone());
        let help = "From a receiver's taking a delivery to the end of the pass that applied it, for each Sync";
        registry.register_with_unit("event_apply_delay", help, Unit::Seconds, of.event_delay.clone());
        scrape::register(registry, move |rows| {
            let (waiting, lost) = reports();
            rows.gauge("reports_queued", "Reports not known to be stored", None, [([("", ""); 0], waiting as f64)])?;
            rows.counter("reports_lost", "Reports that were given up", [([("", ""); 0], lost)])
        });
    }
}

/// How many reports wait, and how many were lost so far.
type Reports = Box<dyn Fn() -> (usize, u64) + Send + Sync>;

/// What others keep, read at a scrape.
pub struct Kept {
    /// Watches of managed kinds by their state.
    pub watches: Box<dyn Fn() -> [(&'static str, usize); 3] + Send + Sync>,
    /// `None`: no NATS is configured.
    pub nats: Option<Reports>,
}

/// Records the time since it was made when it is dropped.
pub struct Timing {
    duration: Histogram,
    since: Instant,
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.duration.observe(self.since.elapsed().as_secs_f64());
    }
}

/// A request under way.
pub struct Asked {
    metrics: Metrics,
    verb: &'static str,
    since: Instant,
    is_over: bool,
}

impl Asked {
    /// The head of an answer came.
    pub fn answered(mut self, code: u16) {
        self.is_over = true;
        self.count(code_word(code));
        let duration = self.metrics.0.api_duration.get_or_create_owned(&[("verb", self.verb)]);
        duration.observe(self.since.elapsed().as_secs_f64());
    }

    fn count(&self, code: &'static str) {
        self.metrics.0.api_requests.get_or_create(&[("verb", self.verb), ("code", code)]).inc();
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_over {
            self.count("none");
        }
    }
}

/// The codes an API server answers with by name; of others only the class.
fn code_word(code: u16) -> &'static str {
    match code {
        200 => "200",
        201 => "201",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        410 => "410",
        413 => "413",
        422 => "422",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => match code / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}

fn stage_durations() -> Histogram {
    Histogram::new(STAGE_BUCKETS_SECONDS)
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
