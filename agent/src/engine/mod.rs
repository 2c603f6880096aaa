//! The agent's loop: everything that happens comes in as one event, a synchronous handler decides, the driver does it.
//!
//! Knows which sources and Syncs there are and what runs for each. Makes no request and reads no clock: `now` and randomness
//! come with each event, so the whole of it can be played through in a test.

mod claims;
mod credentials;
mod depends;
mod driver;
mod ended;
mod event;
mod fetching;
mod follow;
mod hear;
mod members;
mod passing;
mod reading;
mod resources;
mod secrets;
mod source;
mod standing;
mod starting;
mod sync;
mod turns;
mod unable;
mod verifying;

pub use credentials::Keyring;
pub use driver::{Driver, Parts};
pub use event::{Action, Brought, Event, FetchFailure, Moment, OpenMirror};
pub use members::{Read, ReadSync};

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt as _;
use jiff::Timestamp;
use towline_plan::members::Share;
use towline_plan::object::SyncKey;
use towline_plan::schedule::hosts::Hosts;

use crate::api::Inventory;
use crate::bus::Interest;
use crate::pass::PANICKED;
use members::Hold;
use source::SourceEntry;
use sync::SyncEntry;

/// What a Git host is asked at once, unless the configuration says more: a browser opens six connections to one.
pub const FETCHES_PER_HOST: usize = 4;

/// A GitSource by namespace and name.
pub type SourceKey = SyncKey;

/// All sources, Syncs and inventories of a cluster.
pub struct Engine {
    sources: BTreeMap<SourceKey, SourceEntry>,
    syncs: BTreeMap<SyncKey, SyncEntry>,
    /// Syncs that are gone while their last pass has not ended: one of the same name waits for that.
    leaving: BTreeSet<SyncKey>,
    inventories: BTreeMap<SyncKey, Inventory>,
    /// Those that changed, or whose Sync went, since they were last looked at for strays.
    stirred: BTreeSet<SyncKey>,
    /// Inventories without their Sync, and when they are let go of next.
    strays: BTreeMap<SyncKey, Timestamp>,
    /// First lists that are waited for. Before them nothing is decided: a claim not seen yet would be no claim.
    lists: usize,
    /// Those that came, by kind and scope: a watch that was lost lists again.
    listed: BTreeSet<(&'static str, Option<String>)>,
    /// Why no events can arrive at all, if so.
    bus_down: Option<String>,
    listening: BTreeSet<Interest>,
    secrets: secrets::Secrets,
    /// What the server said of each ref listened to, for sources that come later.
    heard: BTreeMap<Interest, crate::api::Verdict>,
    /// What is asked of Git hosts at once, and what they ask for.
    hosts: Hosts<SourceKey>,
    /// Fetches started so far.
    fetches: u64,
    /// Whether a Sync may name sources and Syncs of other namespaces.
    cross_namespace: bool,
    /// What is this replica's.
    share: Share,
    /// Reads started so far.
    reads: u64,
    shared: crate::pass::Context,
}

impl Engine {
    /// Knows nothing yet; decides after `lists` first lists have come. `bus_down` says why there are no events.
    #[must_use]
    pub fn new(shared: crate::pass::Context, lists: usize, bus_down: Option<String>) -> Self {
        Self {
            sources: BTreeMap::new(),
            syncs: BTreeMap::new(),
            leaving: BTreeSet::new(),
            inventories: BTreeMap::new(),
            stirred: BTreeSet::new(),
            strays: BTreeMap::new(),
            lists,
            listed: BTreeSet::new(),
            bus_down,
            listening: BTreeSet::new(),
            secrets: secrets::Secrets::default(),
            heard: BTreeMap::new(),
            hosts: Hosts::new(FETCHES_PER_HOST),
            fetches: 0,
            cross_namespace: false,
            share: Share::All,
            reads: 0,
            shared,
        }
    }

    /// Says whether Syncs may name sources and Syncs of other namespaces; by default they may not.
    #[must_use]
    pub fn allowing_cross_namespace(self, allowed: bool) -> Self {
        Self { cross_namespace: allowed, ..self }
    }

    /// Says how many fetches may run at one host at once.
    #[must_use]
    pub fn with_fetches_per_host(self, fetches: usize) -> Self {
        Self { hosts: Hosts::new(fetches), ..self }
    }

    /// Takes an event in and answers with everything that is to be done now.
    pub fn handle(&mut self, event: Event, at: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Resource(event) => self.resource(event, at, &mut actions),
            Event::Bus(event) => self.bus(event, at),
            Event::Moved(moved) => self.moved(&moved, at.now),
            Event::Recovered { source, revision, verified, mirror } => {
                self.recovered(&source, revision, &verified, mirror)
            }
            Event::Refused { source, commit, failure } => self.refused(&source, &commit, &failure),
            Event::Fetched { source, number, result } => self.fetched(&source, number, result, at),
            Event::SecretsRead { source, number, read } => self.secrets_read(&source, number, read, at),
            Event::Secret(seen) => self.secret_seen(seen, at),
            Event::Written { source, result } => self.written(&source, result, at),
            Event::Passed { sync, passed } => self.passed(&sync, passed, at, &mut actions),
            Event::Explained { sync, uid, written } => self.explained(&sync, uid, written, at, &mut actions),
            Event::Divided(share) => self.divided(share),
            Event::Read { number, syncs, sources } => self.read(number, syncs, sources, at, &mut actions),
            Event::Stood { sync, stood } => self.stood(&sync, stood, at, &mut actions),
            Event::Due => {}
        }
        if self.is_listed() {
            self.release_strays(at, &mut actions);
            self.start_due(at, &mut actions);
        }
        actions
    }

    /// Whether all first lists have come.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed.len() >= self.lists
    }

    /// When something is due next.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_listed() {
            return None;
        }
        let sources = self.sources.values().filter_map(|source| source.next(&self.hosts, now));
        // Without a revision to work from nothing could be started, however due it is.
        let runnable =
            self.own_syncs().filter(|(key, sync)| self.can_run(sync).is_some() && !self.leaving.contains(*key));
        let runnable = runnable.filter(|(_, sync)| sync.is_wanted());
        let syncs = runnable.filter_map(|(_, sync)| sync.schedule.next(now));
        // Of those that cannot run some could not be told why.
        let unexplained = self.own_syncs().filter(|(_, sync)| sync.is_wanted() && self.can_run(sync).is_none());
        let explanations = unexplained.filter_map(|(_, sync)| sync.explain_after).filter(|after| *after > now);
        let standings = self.own_syncs().filter_map(|(_, sync)| sync.next_standing(now));
        sources
            .chain(syncs)
            .chain(explanations)
            .chain(standings)
            .chain(self.next_read(now))
            .chain(self.next_release())
            .min()
    }

    /// The Syncs this replica takes care of.
    fn own_syncs(&self) -> impl Iterator<Item = (&SyncKey, &SyncEntry)> {
        self.syncs.iter().filter(|(_, entry)| entry.hold == Hold::Own)
    }

    /// Whether this replica takes care of a Sync.
    #[must_use]
    pub fn is_own(&self, sync: &SyncKey) -> bool {
        self.syncs.get(sync).is_some_and(|entry| entry.hold == Hold::Own)
    }

    /// Counts for the heartbeat: Syncs, Syncs that are ready, sources.
    #[must_use]
    pub fn counts(&self) -> (u32, u32, u32) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let ready = self.syncs.values().filter(|s| s.is_ready()).count();
        (count(self.syncs.len()), count(ready), count(self.sources.len()))
    }

    fn start_due(&mut self, at: Moment, actions: &mut Vec<Action>) {
        self.start_reads(at, actions);
        self.assign_sources(at);
        self.start_fetches(at, actions);
        self.say_held(at);
        self.start_writes(at, actions);
        self.start_passes(at, actions);
        self.start_standings(at, actions);
        self.done_with_events();
        self.watch_secrets(actions);
        let wanted: BTreeSet<Interest> = self.sources.values().filter_map(SourceEntry::interest).collect();
        if wanted != self.listening {
            self.listening.clone_from(&wanted);
            self.heard.retain(|interest, _| wanted.contains(interest));
            actions.push(Action::Listen(wanted));
        }
    }
}

/// Runs work whose end the loop waits for: a defect that panics is an answer like any other, or what waits for it would rest
/// until the process is started again. The words of a panic are in the log only: they may show what must not be told.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let work = std::panic::AssertUnwindSafe(work).catch_unwind();
    work.await.map_err(|_| PANICKED.to_owned())
}

/// The key of one of our objects.
fn key(object: &impl crate::api::ResourceExt) -> SyncKey {
    SyncKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

#[cfg(test)]
mod tests;
