//! The agent's loop: everything that happens comes in as one event, a synchronous handler decides, the driver does it.
//!
//! Knows which sources and Syncs there are and what runs for each. Makes no request and reads no clock: `now` and randomness
//! come with each event, so the whole of it can be played through in a test.

mod claims;
mod depends;
mod driver;
mod fetching;
mod follow;
mod hear;
mod members;
mod passing;
mod reading;
mod source;
mod standing;
mod sync;
mod turns;

pub use driver::{Driver, Parts};
pub use members::{Read, ReadSync};

use std::collections::{BTreeMap, BTreeSet};

use crate::api::ResourceExt as _;
use futures::FutureExt as _;
use jiff::Timestamp;
use towline_plan::inventory::Inventory as Owned;
use towline_plan::members::Share;
use towline_plan::object::SyncKey;
use towline_proto::CommitId;

use crate::api::{GitSource, Inventory};
use crate::bus::{BusEvent, Interest};
use crate::cluster::{Change, Moved, ResourceEvent};
use crate::mirror::Mirror;
use crate::pass::{PANICKED, Revision};
use members::Hold;
use source::SourceEntry;
use sync::SyncEntry;

/// A GitSource by namespace and name.
pub type SourceKey = SyncKey;

/// Everything that can happen.
#[derive(Debug)]
pub enum Event {
    Resource(ResourceEvent),
    Bus(BusEvent),
    /// Something of a Sync's objects moved.
    Moved(Moved),
    /// The commit a status names is in the mirror: it can be worked from before Git was asked.
    Recovered {
        source: SourceKey,
        revision: Revision,
        mirror: OpenMirror,
    },
    /// The fetch of this number ended; only the newest one of a source counts.
    Fetched {
        source: SourceKey,
        number: u64,
        result: Result<(OpenMirror, CommitId), FetchFailure>,
    },
    /// A source's status was written, or could not be.
    Written {
        source: SourceKey,
        result: Result<Box<GitSource>, String>,
    },
    Passed {
        sync: SyncKey,
        passed: passing::Passed,
    },
    /// It was said on a Sync why it does not run, or could not be: then there is nothing written.
    Explained {
        sync: SyncKey,
        /// Of the Sync it was said of.
        uid: Option<String>,
        written: Option<Box<crate::api::Sync>>,
    },
    /// What this replica is to take care of from now on.
    Divided(Share),
    /// What came to this replica was read, by the read of this number.
    Read {
        number: u64,
        syncs: Vec<ReadSync>,
        sources: Vec<GitSource>,
    },
    /// It was said how a Sync stands, or could not be.
    Stood {
        sync: SyncKey,
        stood: standing::Stood,
    },
    /// A moment that was waited for has come.
    Due,
}

/// A mirror, without its insides in debug output.
#[derive(Clone)]
pub struct OpenMirror(pub Mirror);

impl std::fmt::Debug for OpenMirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.url())
    }
}

/// Why a fetch brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchFailure {
    pub message: String,
    pub retryable: bool,
}

/// What the driver is to do.
pub enum Action {
    Fetch(fetching::Job),
    /// Looks for what was fetched before a restart, without asking Git.
    Recover {
        source: SourceKey,
        url: String,
        revision: Revision,
    },
    WriteSource(Box<source::Write>),
    /// Tells what befell a source.
    Tell(Box<source::Tell>),
    Pass(Box<passing::Job>),
    /// Says why a Sync does not run.
    Explain(Box<passing::Explanation>),
    /// Says how a Sync stands between its passes.
    Stand(Box<standing::Stand>),
    /// Says that something works against a Sync.
    Warn(Box<passing::Warning>),
    /// Listen to these refs from now on.
    Listen(BTreeSet<Interest>),
    /// Syncs came to this replica: what the API server has of them now.
    Read(Read),
    /// Lets an Inventory go whose Sync is gone.
    Release(Box<Inventory>),
    /// A Sync is gone: its tombstone is reported.
    Bury(Box<crate::api::Sync>),
}

/// What an event is judged with, besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Timestamp,
    /// Uniform in 0..1.
    pub dice: f64,
}

/// All sources, Syncs and inventories of a cluster.
pub struct Engine {
    sources: BTreeMap<SourceKey, SourceEntry>,
    syncs: BTreeMap<SyncKey, SyncEntry>,
    /// Syncs that are gone while their last pass has not ended: one of the same name waits for that.
    leaving: BTreeSet<SyncKey>,
    inventories: BTreeMap<SyncKey, Inventory>,
    /// Those that changed, or whose Sync went, since they were last looked at for strays.
    stirred: BTreeSet<SyncKey>,
    /// First lists that are waited for. Before them nothing is decided: a claim not seen yet would be no claim.
    lists: usize,
    /// Those that came, by kind and scope: a watch that was lost lists again.
    listed: BTreeSet<(&'static str, Option<String>)>,
    /// Why no events can arrive at all, if so.
    bus_down: Option<String>,
    listening: BTreeSet<Interest>,
    /// What the server said of each ref listened to, for sources that come later.
    heard: BTreeMap<Interest, crate::api::Verdict>,
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
            lists,
            listed: BTreeSet::new(),
            bus_down,
            listening: BTreeSet::new(),
            heard: BTreeMap::new(),
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

    /// Takes an event in and answers with everything that is to be done now.
    pub fn handle(&mut self, event: Event, at: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Resource(event) => self.resource(event, at, &mut actions),
            Event::Bus(event) => self.bus(event, at),
            Event::Moved(moved) => self.moved(&moved),
            Event::Recovered { source, revision, mirror } => self.recovered(&source, revision, mirror),
            Event::Fetched { source, number, result } => self.fetched(&source, number, result, at),
            Event::Written { source, result } => self.written(&source, result, at),
            Event::Passed { sync, passed } => self.passed(&sync, passed, at, &mut actions),
            Event::Explained { sync, uid, written } => self.explained(&sync, uid, written, at, &mut actions),
            Event::Divided(share) => self.divided(share),
            Event::Read { number, syncs, sources } => self.read(number, syncs, sources, at, &mut actions),
            Event::Stood { sync, stood } => self.stood(&sync, stood, at, &mut actions),
            Event::Due => {}
        }
        if self.is_listed() {
            self.release_strays(&mut actions);
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
        let sources = self.sources.values().filter_map(SourceEntry::next);
        // Without a revision to work from nothing could be started, however due it is.
        let runnable =
            self.own_syncs().filter(|(key, sync)| self.can_run(sync).is_some() && !self.leaving.contains(*key));
        let runnable = runnable.filter(|(_, sync)| sync.is_wanted());
        let syncs = runnable.filter_map(|(_, sync)| sync.schedule.next(now));
        // Of those that cannot run some could not be told why.
        let unexplained = self.own_syncs().filter(|(_, sync)| sync.is_wanted() && self.can_run(sync).is_none());
        let explanations = unexplained.filter_map(|(_, sync)| sync.explain_after).filter(|after| *after > now);
        let standings = self.own_syncs().filter_map(|(_, sync)| sync.next_standing(now));
        sources.chain(syncs).chain(explanations).chain(standings).chain(self.next_read(now)).min()
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

    fn resource(&mut self, event: ResourceEvent, at: Moment, actions: &mut Vec<Action>) {
        match event {
            ResourceEvent::Source(scope, change) => match change {
                Change::Applied(source) => self.source_applied(source, at),
                Change::Gone(source) => self.source_gone(&key(&source)),
                Change::Listed(sources) => {
                    for gone in missing(self.sources.keys(), &scope, &sources) {
                        self.source_gone(&gone);
                    }
                    sources.into_iter().for_each(|source| self.source_applied(source, at));
                    self.listed.insert(("source", scope));
                }
            },
            ResourceEvent::Sync(scope, change) => match change {
                Change::Applied(sync) => self.sync_applied(sync, at, actions),
                Change::Gone(sync) => self.sync_gone(&key(&sync), actions),
                Change::Listed(syncs) => {
                    for gone in missing(self.syncs.keys(), &scope, &syncs) {
                        self.sync_gone(&gone, actions);
                    }
                    syncs.into_iter().for_each(|sync| self.sync_applied(sync, at, actions));
                    self.listed.insert(("sync", scope));
                }
            },
            ResourceEvent::Inventory(scope, change) => match change {
                Change::Applied(inventory) => self.inventory_applied(inventory),
                Change::Gone(inventory) => {
                    let key = key(&inventory);
                    // Another one may have taken its place already.
                    if self.inventories.get(&key).is_none_or(|known| known.uid() == inventory.uid()) {
                        self.inventory_gone(&key);
                    }
                }
                Change::Listed(inventories) => {
                    for gone in missing(self.inventories.keys(), &scope, &inventories) {
                        self.inventory_gone(&gone);
                    }
                    inventories.into_iter().for_each(|inventory| self.inventory_applied(inventory));
                    self.listed.insert(("inventory", scope));
                }
            },
        }
    }

    fn inventory_applied(&mut self, inventory: Inventory) {
        let key = key(&inventory);
        let newer = self.inventories.get(&key).is_none_or(|known| is_newer(&inventory, known));
        if newer {
            let is_deleted = inventory.metadata.deletion_timestamp.is_some();
            let read = |inventory: &Inventory| inventory.spec.read.clone();
            let old = self.inventories.insert(key.clone(), inventory);
            // What another replica's pass came to may show in nothing else.
            if old.as_ref().and_then(read) != self.inventories.get(&key).and_then(read) {
                self.wake_all_dependents(&key);
            }
            if self.syncs.get(&key).is_some_and(|entry| entry.hold != Hold::Own) {
                // How far another replica has come with a Sync is known by nothing else.
                self.wake_all_dependents(&key);
                self.wake_those_who_wait_for(&key);
            }
            if !self.index(&key) || is_deleted {
                self.rebuild(&key);
            }
        }
    }

    fn inventory_gone(&mut self, key: &SyncKey) {
        self.inventories.remove(key);
        self.index(key);
        self.rebuild(key);
    }

    /// Lets inventories go whose Sync is gone, however it went: nobody else would. Once each; a list brings them up again.
    fn release_strays(&mut self, actions: &mut Vec<Action>) {
        for key in std::mem::take(&mut self.stirred) {
            let Some(inventory) = self.inventories.get(&key) else { continue };
            let owner = self.syncs.get(&key).and_then(|entry| entry.object.uid());
            if inventory.metadata.deletion_timestamp.is_some() && owner.as_ref() != Some(&inventory.spec.sync_uid) {
                actions.push(Action::Release(Box::new(inventory.clone())));
            }
        }
    }

    /// At once: until then nobody else may believe the objects are free.
    fn rebuild(&mut self, key: &SyncKey) {
        if let Some(entry) = self.syncs.get_mut(key) {
            entry.schedule.want(towline_plan::schedule::sync::Trigger::Settings);
        }
    }

    /// Claims count while their Sync exists, also while its inventory is lost: exactly then nobody else may believe the
    /// objects are free. What a deleted Sync left behind may be taken over. Answers `false` where there is an inventory that
    /// cannot be believed.
    fn index(&mut self, key: &SyncKey) -> bool {
        self.stirred.insert(key.clone());
        let mut claims = crate::cluster::locked(&self.shared.claims);
        let Some(entry) = self.syncs.get(key) else {
            claims.remove(key);
            return true;
        };
        let Some(inventory) = self.inventories.get(key) else { return true };
        let own = Some(inventory).filter(|i| Some(&i.spec.sync_uid) == entry.object.uid().as_ref());
        let owned = own.and_then(|i| Owned::from_lines(&i.spec.entries, &i.spec.digest).ok());
        if let Some(owned) = &owned {
            claims.replace(key, owned);
        }
        owned.is_some()
    }

    fn start_due(&mut self, at: Moment, actions: &mut Vec<Action>) {
        self.start_reads(at, actions);
        self.assign_sources(at);
        self.start_fetches(at, actions);
        self.start_writes(at, actions);
        self.start_passes(at, actions);
        self.start_standings(at, actions);
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

/// What a complete list of a scope no longer has.
fn missing<'a, K: crate::api::ResourceExt>(
    known: impl Iterator<Item = &'a SyncKey>,
    scope: &Option<String>,
    listed: &[K],
) -> Vec<SyncKey> {
    let listed: BTreeSet<SyncKey> = listed.iter().map(key).collect();
    let in_scope = |key: &&SyncKey| scope.as_ref().is_none_or(|namespace| *namespace == key.namespace);
    known.filter(in_scope).filter(|key| !listed.contains(key)).cloned().collect()
}

/// Whether the watch says something newer than what is known: it runs behind our own writes.
fn is_newer(new: &impl crate::api::ResourceExt, known: &impl crate::api::ResourceExt) -> bool {
    if new.uid() != known.uid() {
        return true;
    }
    let version = |object: Option<String>| object.and_then(|v| v.parse::<u128>().ok());
    match (version(new.resource_version()), version(known.resource_version())) {
        (Some(new), Some(known)) => new > known,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
