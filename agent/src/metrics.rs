//! What is counted: all families, and what is recorded where something ends. `docs/operations-agent.md` says what each is for.
//!
//! Knows names, units and labels. Labels have few values, none of them secret: words of closed lists, hosts of sources (at most
//! `git::HOSTS_MAX`), and names of our own objects, whose series go when the object does (`objects`). Must not decide anything.

mod git;
mod nats;
mod objects;
mod queues;
mod requests;
mod scrape;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use queues::{Queue, Turn};
pub use requests::Asked;

use crate::bus::BusEvent;
use crate::cluster::{ResourceEvent, locked};
use crate::pass::{End, Outcome, Pass};

/// All names begin with this.
const PREFIX: &str = "towline_agent";
/// From a decision in memory to the patience of a pass.
const STAGE_BUCKETS_SECONDS: [f64; 13] = [0.0005, 0.002, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];
type Labels<const N: usize> = [(&'static str, &'static str); N];
type Durations<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;
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
    api: requests::Requests,
    git: git::Git,
    nats: nats::Nats,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        Self::since(Timestamp::now())
    }

    /// Of a process that began at this moment.
    fn since(since: Timestamp) -> Self {
        Self(Arc::new(Families {
            passes: Family::default(),
            pass_duration: stage_durations(),
            stages: Family::new_with_constructor(stage_durations),
            objects_changed: Family::default(),
            prunes_held: Family::default(),
            queue_wait: Family::new_with_constructor(stage_durations),
            queues: queues::Queues::default(),
            objects: Mutex::default(),
            api: requests::Requests::new(),
            git: git::Git::new(),
            nats: nats::Nats::new(since),
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
        if let Some(delivery) = brought {
            self.0.nats.applied(&delivery, now);
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

    /// A pass of a Sync ended that is another replica's by now: what it came to is not told.
    pub fn lost(&self, sync: &towline_plan::object::SyncKey) {
        locked(&self.0.objects).divided(|other| other != sync);
    }

    /// When the oldest event was heard that is not done with.
    pub fn oldest_event(&self, heard: Option<Timestamp>) {
        self.0.nats.oldest_event(heard);
    }

    /// What the watches of our own kinds tell.
    pub fn resource(&self, event: &ResourceEvent) {
        locked(&self.0.objects).take(event);
    }

    /// What comes from NATS.
    pub fn bus(&self, event: &BusEvent) {
        self.0.nats.take(event);
    }

    /// A request to the API server begins. Counted when it is answered, or dropped without an answer.
    pub fn api_request(&self, verb: &'static str) -> Asked {
        Asked::new(self.clone(), verb)
    }

    /// A watch failed, and is tried again.
    pub fn watch_failed(&self) {
        self.0.api.watch_failures.inc();
    }

    /// A fetch ended: `outcome` is a word of a closed list, `traffic` its requests and received bytes.
    pub fn fetched(&self, host: &str, outcome: &'static str, traffic: (u64, u64), elapsed: Duration) {
        self.0.git.fetched(host, outcome, traffic, elapsed);
    }

    /// Registers everything under `towline_agent_…`, with what others keep and is read at a scrape.
    pub fn register(&self, registry: &mut Registry, kept: Kept) {
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", version);
        self.register_passes(registry);
        self.0.api.register(registry);
        self.0.git.register(registry);
        // Without NATS there is nothing to be connected to, and no alert to raise.
        if let Some(reports) = kept.nats {
            self.0.nats.register(registry, reports);
        }
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
}

/// What others keep, read at a scrape.
pub struct Kept {
    /// Watches of managed kinds by their state.
    pub watches: Box<dyn Fn() -> [(&'static str, usize); 3] + Send + Sync>,
    /// `None`: no NATS is configured.
    pub nats: Option<nats::Reports>,
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

fn stage_durations() -> Histogram {
    Histogram::new(STAGE_BUCKETS_SECONDS)
}

#[cfg(test)]
mod tests;
