//! Which watches run: keyed by who watches, and what; started when a Sync first needs one, ended when none does any more.
//!
//! Knows who uses which watch. What a watch says goes into `plan`'s index in [`super::watching`]. Must not know what drift
//! leads to.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kube::core::ApiResource;
use kube::runtime::watcher::Event;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc, watch};
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{Tasks, WhenItEnds};
use towline_plan::awaited::{Awaited, Until};
use towline_plan::health::HealthRules;
use towline_plan::identity::Identity;
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_plan::observed::{Found, Live};
use towline_plan::watched::{News, Scope, Shown, Watched};

use super::listing::Listing;
use super::watching::Watching;
use super::{Cluster, Served};

/// Locks a mutex whose holder may have panicked: the index behind it is valid after every single step.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// News about what a Sync owns or waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub sync: SyncKey,
    pub what: Movement,
}

/// What moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    /// An object moved away from what Git says, or ran to its end, which is to be recorded.
    Drift,
    /// Something that a pass may wait for: an object's health, or its end.
    Progress,
    /// An object that its last pass ended waiting for, by name.
    Awaited,
}

/// The watches of one cluster as one identity has them, cheap to clone.
#[derive(Clone)]
pub struct Watches {
    /// What this identity is shown. Of another's watches it knows nothing.
    pub watched: Arc<Mutex<Watched>>,
    identity: Identity,
    shared: Arc<Shared>,
}

/// What the watches of all identities have in common.
struct Shared {
    indexes: Mutex<HashMap<Identity, Arc<Mutex<Watched>>>>,
    registry: Mutex<Registry>,
    awaited: Mutex<Awaited>,
    /// By which expressions the objects of a Sync are judged, of those that have any.
    rules: Mutex<HashMap<SyncKey, HealthRules>>,
    moved: mpsc::UnboundedSender<Moved>,
    /// A watch has shown something.
    shown: Notify,
    tasks: Tasks,
    shutdown: Shutdown,
}

type Key = (Identity, Scope);

#[derive(Default)]
struct Registry {
    running: HashMap<Key, Running>,
    /// What each Sync uses, so that a pass need not look at all that run.
    uses: HashMap<SyncKey, BTreeSet<Key>>,
}

struct Running {
    resource: ApiResource,
    /// When discovery showed that resource: an older answer does not take it back.
    served_at: Option<Instant>,
    listing: watch::Receiver<Listing>,
    /// The Syncs that need it.
    users: BTreeSet<SyncKey>,
    /// Those of them that had to do without it: told when it is complete.
    waiting: BTreeSet<SyncKey>,
    /// What it shows goes there.
    watched: Arc<Mutex<Watched>>,
    /// It is to be listed again: what its objects are judged by is another.
    relist: Arc<Notify>,
    stop: Shutdown,
}

impl Running {
    /// What a Sync's objects are judged by is another: they are listed again, and their health is not known before that.
    fn judge_anew(&self, scope: &Scope, sync: &SyncKey) {
        locked(&self.watched).rejudge(scope, sync);
        self.relist.notify_one();
    }
}

impl Watches {
    /// No watch yet, as the agent; `moved` is told which Sync's object moved. Its messages are bounded by the number of
    /// verdicts, each of which drifts once until the Sync's next pass, and by the changes of health that the API server tells.
    #[must_use]
    pub fn new(tasks: Tasks, shutdown: Shutdown, moved: mpsc::UnboundedSender<Moved>) -> Self {
        let watched = Arc::<Mutex<Watched>>::default();
        let indexes = Mutex::new(HashMap::from([(Identity::Agent, Arc::clone(&watched))]));
        let shared = Shared {
            indexes,
            registry: Mutex::default(),
            awaited: Mutex::default(),
            rules: Mutex::default(),
            moved,
            shown: Notify::new(),
            tasks,
            shutdown,
        };
        Self { watched, identity: Identity::Agent, shared: Arc::new(shared) }
    }

    /// The same watches as somebody else has them.
    #[must_use]
    pub fn acting_as(&self, identity: &Identity) -> Self {
        let mut indexes = locked(&self.shared.indexes);
        // Nobody works with these, and nothing is watched for them.
        indexes.retain(|of, index| of == identity || *of == Identity::Agent || Arc::strong_count(index) > 1);
        let watched = Arc::clone(indexes.entry(identity.clone()).or_default());
        Self { watched, identity: identity.clone(), shared: Arc::clone(&self.shared) }
    }

    /// The watch that shows one of a Sync's own objects.
    #[must_use]
    pub fn scope_of(&self, id: &ObjectId) -> Scope {
        Scope::of(&self.identity, id)
    }

    /// Makes sure that a Sync has a watch, in a version that is served; the answer shows how far that is. `None` for a kind
    /// that is not served.
    pub fn ensure(
        &self,
        cluster: &Cluster,
        served: &Served,
        sync: &SyncKey,
        scope: &Scope,
    ) -> Option<watch::Receiver<Listing>> {
        let key = (self.identity.clone(), scope.clone());
        let mut registry = locked(&self.shared.registry);
        let resource = served.resource(&scope.kind, "");
        let (mut waiting, mut users) = (BTreeSet::new(), BTreeSet::from([sync.clone()]));
        if let Some(running) = registry.running.get_mut(&key) {
            if running.users.insert(sync.clone()) && self.rules_of(sync).contains(&scope.kind) {
                running.judge_anew(scope, sync);
            }
            // A version that is no longer served answers 404 for ever. Verdicts stay: the new list says what became of them.
            let moved = resource.is_some_and(|resource| *resource != running.resource);
            if !moved || served.at <= running.served_at {
                let listing = running.listing.clone();
                registry.uses.entry(sync.clone()).or_default().insert(key);
                return Some(listing);
            }
            running.stop.request();
            (waiting, users) = (std::mem::take(&mut running.waiting), std::mem::take(&mut running.users));
        }
        let (resource, served_at) = (resource?.clone(), served.at);
        let (told, listing) = watch::channel(Listing::NotYet);
        let (stop, relist) = (self.shared.shutdown.child(), Arc::<Notify>::default());
        let watching = Watching {
            watches: self.clone(),
            cluster: cluster.acting_as(&self.identity),
            scope: scope.clone(),
            resource: resource.clone(),
            told,
            relist: Arc::clone(&relist),
            stop: stop.clone(),
        };
        self.shared.tasks.spawn(format!("watch {scope}"), WhenItEnds::IsFine, watching.run());
        let watched = Arc::clone(&self.watched);
        let running = Running { resource, served_at, listing: listing.clone(), users, waiting, watched, relist, stop };
        registry.uses.entry(sync.clone()).or_default().insert(key.clone());
        registry.running.insert(key, running);
        Some(listing)
    }

    /// What a Sync needs from now on: of what else it used, it is a user no more, and what nobody uses ends. Verdicts of
    /// another identity, as which it acted before, go with that.
    pub fn keep(&self, sync: &SyncKey, scopes: &BTreeSet<Scope>) {
        self.release(sync, |(identity, scope)| *identity == self.identity && scopes.contains(scope));
    }

    /// By which expressions a Sync's objects, and those that it watches by name, are judged from now on. Where that is news,
    /// what is watched is listed again: say it before [`Watches::ensure`].
    pub fn judge_by(&self, sync: &SyncKey, rules: &HealthRules) {
        let old = {
            let mut all = locked(&self.shared.rules);
            match rules.is_empty() {
                true => all.remove(sync),
                false => all.insert(sync.clone(), rules.clone()),
            }
        };
        let old = old.unwrap_or_default();
        if old == *rules {
            return;
        }
        let registry = locked(&self.shared.registry);
        for key in registry.uses.get(sync).into_iter().flatten() {
            let concerned = old.contains(&key.1.kind) || rules.contains(&key.1.kind);
            if let Some(running) = registry.running.get(key).filter(|_| concerned) {
                running.judge_anew(&key.1, sync);
            }
        }
    }

    pub(super) fn rules_of(&self, sync: &SyncKey) -> HealthRules {
        locked(&self.shared.rules).get(sync).cloned().unwrap_or_default()
    }

    /// The Syncs that use a watch.
    pub(super) fn users(&self, scope: &Scope) -> BTreeSet<SyncKey> {
        let key = (self.identity.clone(), scope.clone());
        let registry = locked(&self.shared.registry);
        registry.running.get(&key).map(|running| running.users.clone()).unwrap_or_default()
    }

    /// The rules for its kind of those that use a watch.
    pub(super) fn rules_for(&self, scope: &Scope) -> Vec<(SyncKey, HealthRules)> {
        let users = self.users(scope);
        let rules = locked(&self.shared.rules);
        let rule = |user: SyncKey| rules.get(&user).filter(|r| r.contains(&scope.kind)).cloned().map(|r| (user, r));
        users.into_iter().filter_map(rule).collect()
    }

    /// A Sync is gone, or what is known of it is not to be believed any more.
    pub fn forget_sync(&self, sync: &SyncKey) {
        locked(&self.shared.rules).remove(sync);
        self.release(sync, |_| false);
        self.expect_nothing(sync);
        locked(&self.watched).forget_sync(sync);
    }

    fn release(&self, sync: &SyncKey, is_kept: impl Fn(&Key) -> bool) {
        // Held to the end, so that a new watch of the scope begins after the old one is forgotten.
        let mut registry = locked(&self.shared.registry);
        let Registry { running, uses } = &mut *registry;
        let Some(used) = uses.get_mut(sync) else { return };
        for key in used.extract_if(.., |key| !is_kept(key)) {
            let Some(entry) = running.get_mut(&key) else { continue };
            entry.users.remove(sync);
            entry.waiting.remove(sync);
            locked(&entry.watched).forget_scope(sync, &key.1);
            if entry.users.is_empty() {
                entry.stop.request();
                locked(&entry.watched).unwatch(&key.1);
                running.remove(&key);
            }
        }
        if used.is_empty() {
            uses.remove(sync);
        }
    }

    /// Ends all watches of a kind that is no longer served. The Syncs that relied on them look for themselves.
    pub fn end(&self, kind: &GroupKind) {
        let mut registry = locked(&self.shared.registry);
        let Registry { running, uses } = &mut *registry;
        for ((_, scope), mut entry) in running.extract_if(|(_, scope), _| scope.kind == *kind) {
            entry.stop.request();
            let mut relied = locked(&entry.watched).unwatch(&scope);
            relied.append(&mut entry.waiting);
            self.say(relied, Movement::Drift);
        }
        uses.retain(|_, used| {
            used.retain(|(_, scope)| scope.kind != *kind);
            !used.is_empty()
        });
    }

    /// Tells the Sync when a watch is complete, at once if it is: it had to do without.
    pub fn tell_when_listed(&self, scope: &Scope, sync: &SyncKey) {
        let key = (self.identity.clone(), scope.clone());
        if let Some(running) = locked(&self.shared.registry).running.get_mut(&key) {
            match *running.listing.borrow() {
                Listing::Listed => self.say([sync.clone()], Movement::Drift),
                Listing::NotYet | Listing::Failed(_) => drop(running.waiting.insert(sync.clone())),
            }
        }
    }

    /// Why there is no watch now; `None`: there is, or nothing is known yet, or nobody tried.
    #[must_use]
    pub fn failure(&self, scope: &Scope) -> Option<String> {
        let key = (self.identity.clone(), scope.clone());
        match &*locked(&self.shared.registry).running.get(&key)?.listing.borrow() {
            Listing::Failed(why) => Some(why.clone()),
            Listing::NotYet | Listing::Listed => None,
        }
    }

    /// Remembers that an object, as an apply answered it, is what Git wants. Where the watch has shown already that it moved on
    /// from there, that is drift like any other.
    pub fn remember(&self, sync: &SyncKey, id: &ObjectId, digest: &str, answer: &Live) {
        if locked(&self.watched).remember(sync, id, digest, answer) {
            self.say([sync.clone()], Movement::Drift);
        }
    }

    /// Remembers that an object is not what Git wants, and stays so. Where it has moved on already, somebody has to look.
    pub fn remember_drift(&self, sync: &SyncKey, id: &ObjectId, digest: &str, live: &Live, found: Found) {
        if locked(&self.watched).remember_drift(sync, id, digest, live, found) {
            self.say([sync.clone()], Movement::Drift);
        }
    }

    /// A pass of the Sync begins, which will say anew what it waits for.
    pub fn expect_nothing(&self, sync: &SyncKey) {
        locked(&self.shared.awaited).forget(sync);
    }

    /// From now on it is news to the Sync what becomes of an object.
    pub fn expect(&self, sync: &SyncKey, id: &ObjectId, until: Until) {
        locked(&self.shared.awaited).expect(sync, id, until);
    }

    /// What a Sync waits for has come.
    pub fn say_awaited(&self, sync: &SyncKey) {
        self.say([sync.clone()], Movement::Awaited);
    }

    /// The kinds being watched, by whomever.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<GroupKind> {
        locked(&self.shared.registry).running.keys().map(|(_, scope)| scope.kind.clone()).collect()
    }

    /// How many are complete, have no first list yet, and have failed, for the metrics.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, usize); 3] {
        let (mut running, mut starting, mut failed) = (0, 0, 0);
        for watch in locked(&self.shared.registry).running.values() {
            match *watch.listing.borrow() {
                Listing::Listed => running += 1,
                Listing::NotYet => starting += 1,
                Listing::Failed(_) => failed += 1,
            }
        }
        [("running", running), ("starting", starting), ("failed", failed)]
    }

    fn say(&self, syncs: impl IntoIterator<Item = SyncKey>, what: Movement) {
        for sync in syncs {
            // The receiver is gone only while the process ends.
            let _ = self.shared.moved.send(Moved { sync, what });
        }
    }

    /// Who waits for what an event tells, by name. A list may leave out what went while nobody watched.
    pub(super) fn awaited(&self, scope: &Scope, event: &Event<(ObjectId, Shown)>) -> BTreeSet<SyncKey> {
        let awaited = locked(&self.shared.awaited);
        match event {
            Event::Init | Event::InitApply(_) => BTreeSet::new(),
            Event::InitDone => awaited.of_kind(&scope.kind),
            Event::Apply((id, shown)) => awaited.moved(id, Some(&shown.live)),
            Event::Delete((id, _)) => awaited.moved(id, None),
        }
    }

    /// The next that a watch shows, from now on.
    pub fn next_shown(&self) -> Notified<'_> {
        self.shared.shown.notified()
    }

    /// Tells whom it concerns.
    pub(super) fn tell(&self, scope: &Scope, news: News, awaited: BTreeSet<SyncKey>) {
        self.say(awaited, Movement::Awaited);
        self.say(news.drifted, Movement::Drift);
        self.say(news.progressed, Movement::Progress);
        if news.named {
            self.say(self.users(scope), Movement::Progress);
        }
        self.shared.shown.notify_waiters();
    }

    /// A watch is complete: those that had to do without it look again.
    pub(super) fn is_listed(&self, scope: &Scope, stop: &Shutdown) {
        let key = (self.identity.clone(), scope.clone());
        let mut registry = locked(&self.shared.registry);
        // The entry of a watch that was stopped is its successor's.
        if let Some(running) = registry.running.get_mut(&key).filter(|_| !stop.is_requested()) {
            self.say(std::mem::take(&mut running.waiting), Movement::Drift);
        }
    }
}

#[cfg(test)]
mod tests;
