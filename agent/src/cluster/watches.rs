//! Metadata watches over everything that carries owner labels, one per kind in use.
//!
//! Knows streams and restarts; what they say goes into `plan`'s index. Must not know what drift leads to.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::StreamExt as _;
use kube::api::Api;
use kube::core::ApiResource;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use towline_daemon::BoxError;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{Tasks, WhenItEnds};
use towline_plan::awaited::{Awaited, Until};
use towline_plan::object::{GroupKind, LABEL_SYNC_NAME, ObjectId, SyncKey};
use towline_plan::observed::Live;
use towline_plan::watched::Watched;

use super::listing::{Health, Listing};
use super::live::{Meta, live};
use super::{Cluster, RequestError, Served};

/// Locks a mutex whose holder may have panicked: the index behind it is valid after every single step.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// News about what a Sync owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub sync: SyncKey,
    pub what: Movement,
}

/// What moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    /// An object moved away from what Git says.
    Drift,
    /// Something that a pass may wait for: an object's health, or its end.
    Progress,
    /// An object that its last pass ended waiting for, by name.
    Awaited,
}

/// The watches of one cluster, cheap to clone.
#[derive(Clone)]
pub struct Watches {
    pub watched: Arc<Mutex<Watched>>,
    awaited: Arc<Mutex<Awaited>>,
    running: Arc<Mutex<HashMap<GroupKind, Running>>>,
    moved: mpsc::UnboundedSender<Moved>,
    tasks: Tasks,
    shutdown: Shutdown,
}

struct Running {
    resource: ApiResource,
    /// When discovery showed that resource: an older answer does not take it back.
    served_at: Option<Instant>,
    listing: watch::Receiver<Listing>,
    /// The Syncs that had to do without it: told when it is complete.
    waiting: BTreeSet<SyncKey>,
    stop: Shutdown,
}

impl Watches {
    /// No watch yet; `moved` is told which Sync's object moved. Its messages are bounded by the number of verdicts: each
    /// is said once until the Sync's next pass.
    #[must_use]
    pub fn new(tasks: Tasks, shutdown: Shutdown, moved: mpsc::UnboundedSender<Moved>) -> Self {
        Self { watched: Arc::default(), awaited: Arc::default(), running: Arc::default(), moved, tasks, shutdown }
    }

    /// Makes sure that a kind is watched, in a version that is served; the answer shows how far that is. `None` for a kind
    /// that is not served.
    pub fn ensure(&self, cluster: &Cluster, served: &Served, kind: &GroupKind) -> Option<watch::Receiver<Listing>> {
        let mut running = locked(&self.running);
        let resource = served.resource(kind, "");
        let mut waiting = BTreeSet::new();
        if let Some(running) = running.get_mut(kind) {
            // A version that is no longer served answers 404 for ever. Verdicts stay: the new list says what became of them.
            let moved = resource.is_some_and(|resource| *resource != running.resource);
            if !moved || served.at <= running.served_at {
                return Some(running.listing.clone());
            }
            running.stop.request();
            waiting = std::mem::take(&mut running.waiting);
        }
        let (resource, served_at) = (resource?.clone(), served.at);
        let (told, listing) = watch::channel(Listing::NotYet);
        let stop = self.shutdown.child();
        let task = self.clone().run(cluster.clone(), kind.clone(), resource.clone(), told, stop.clone());
        self.tasks.spawn(format!("watch {kind}"), WhenItEnds::IsFine, task);
        running.insert(kind.clone(), Running { resource, served_at, listing: listing.clone(), waiting, stop });
        Some(listing)
    }

    /// Ends the watch of a kind that is no longer served. The Syncs that relied on it look for themselves.
    pub fn end(&self, kind: &GroupKind) {
        // Held to the end, so that a new watch of the kind begins after the old one is forgotten.
        let mut running = locked(&self.running);
        if let Some(Running { stop, mut waiting, .. }) = running.remove(kind) {
            stop.request();
            waiting.append(&mut locked(&self.watched).unwatch(kind));
            self.say_drift(waiting);
        }
    }

    /// Tells the Sync when the watch of the kind is complete, at once if it is: it had to do without.
    pub fn tell_when_listed(&self, kind: &GroupKind, sync: &SyncKey) {
        if let Some(running) = locked(&self.running).get_mut(kind) {
            match *running.listing.borrow() {
                Listing::Listed => self.say_drift([sync.clone()]),
                Listing::NotYet | Listing::Failed(_) => drop(running.waiting.insert(sync.clone())),
            }
        }
    }

    /// Why the kind cannot be watched now; `None`: it can, or nothing is known yet, or nobody tried.
    #[must_use]
    pub fn failure(&self, kind: &GroupKind) -> Option<String> {
        match &*locked(&self.running).get(kind)?.listing.borrow() {
            Listing::Failed(why) => Some(why.clone()),
            Listing::NotYet | Listing::Listed => None,
        }
    }

    /// Remembers that an object, as an apply answered it, is what Git wants. Where the watch has shown already that it moved on
    /// from there, that is drift like any other.
    pub fn remember(&self, sync: &SyncKey, id: &ObjectId, digest: &str, answer: &Live) {
        if locked(&self.watched).remember(sync, id, digest, answer) {
            self.say_drift([sync.clone()]);
        }
    }

    /// A pass of the Sync begins, which will say anew what it waits for.
    pub fn expect_nothing(&self, sync: &SyncKey) {
        locked(&self.awaited).forget(sync);
    }

    /// From now on it is news to the Sync what becomes of an object.
    pub fn expect(&self, sync: &SyncKey, id: &ObjectId, until: Until) {
        locked(&self.awaited).expect(sync, id, until);
    }

    /// What a Sync waits for has come.
    pub fn say_awaited(&self, sync: &SyncKey) {
        let _ = self.moved.send(Moved { sync: sync.clone(), what: Movement::Awaited });
    }

    fn say_drift(&self, syncs: impl IntoIterator<Item = SyncKey>) {
        for sync in syncs {
            // The receiver is gone only while the process ends.
            let _ = self.moved.send(Moved { sync, what: Movement::Drift });
        }
    }

    /// The kinds being watched.
    #[must_use]
    pub fn kinds(&self) -> Vec<GroupKind> {
        locked(&self.running).keys().cloned().collect()
    }

    /// How many are complete, have no first list yet, and have failed, for the metrics.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, usize); 3] {
        let (mut running, mut starting, mut failed) = (0, 0, 0);
        for watch in locked(&self.running).values() {
            match *watch.listing.borrow() {
                Listing::Listed => running += 1,
                Listing::NotYet => starting += 1,
                Listing::Failed(_) => failed += 1,
            }
        }
        [("running", running), ("starting", starting), ("failed", failed)]
    }

    async fn run(
        self,
        cluster: Cluster,
        kind: GroupKind,
        resource: ApiResource,
        told: watch::Sender<Listing>,
        stop: Shutdown,
    ) -> Result<(), BoxError> {
        let api: Api<Meta> = Api::all_with(cluster.client.clone(), &resource);
        let config = watcher::Config::default().labels(LABEL_SYNC_NAME);
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut health = Health::new();
        loop {
            let quiet_at = health.quiet_at();
            let quiet = async {
                match quiet_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.requested() => return Ok(()),
                () = quiet => health.goes_on(),
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        match event {
                            watcher::Event::Init => health.list_begins(),
                            watcher::Event::InitApply(_) => {}
                            watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_) => {
                                health.goes_on();
                            }
                        }
                        self.take(&kind, event, &stop);
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%kind, error = %error, "watch failed; it is tried again");
                        cluster.metrics.watch_failed();
                        let (why, is_refusal) = cause(error);
                        health.failed(why, is_refusal, tokio::time::Instant::now());
                    }
                    None => return Ok(()),
                },
            }
            self.tell(&kind, &told, health.listing(), &stop);
        }
    }

    /// Says how far a watch is, where that is news.
    fn tell(&self, kind: &GroupKind, told: &watch::Sender<Listing>, listing: &Listing, stop: &Shutdown) {
        let news = told.send_if_modified(|old| match old == listing {
            true => false,
            false => {
                old.clone_from(listing);
                true
            }
        });
        if !news || *listing != Listing::Listed {
            return;
        }
        let mut running = locked(&self.running);
        // The entry of a watch that was stopped is its successor's.
        if let Some(running) = running.get_mut(kind).filter(|_| !stop.is_requested()) {
            self.say_drift(std::mem::take(&mut running.waiting));
        }
    }

    /// Who waits for what an event tells. A list may leave out what went while nobody watched.
    fn news(&self, kind: &GroupKind, event: &watcher::Event<Meta>) -> BTreeSet<SyncKey> {
        let awaited = locked(&self.awaited);
        match event {
            watcher::Event::Init | watcher::Event::InitApply(_) => BTreeSet::new(),
            watcher::Event::InitDone => awaited.of_kind(kind),
            watcher::Event::Apply(meta) => awaited.moved(&id(kind, meta), Some(&live(meta))),
            watcher::Event::Delete(meta) => awaited.moved(&id(kind, meta), None),
        }
    }

    fn take(&self, kind: &GroupKind, event: watcher::Event<Meta>, stop: &Shutdown) {
        let mut watched = locked(&self.watched);
        // Asked under the lock under which the kind is forgotten: nothing of it comes back after that.
        if stop.is_requested() {
            return;
        }
        let news = self.news(kind, &event);
        let drifted: BTreeSet<SyncKey> = match event {
            watcher::Event::Init => {
                watched.begin_list(kind);
                BTreeSet::new()
            }
            watcher::Event::InitDone => watched.end_list(kind),
            watcher::Event::InitApply(meta) | watcher::Event::Apply(meta) => {
                watched.applied(id(kind, &meta), live(&meta)).into_iter().collect()
            }
            watcher::Event::Delete(meta) => {
                let (uid, version) = (meta.uid().unwrap_or_default(), meta.resource_version().unwrap_or_default());
                watched.deleted(&id(kind, &meta), &uid, &version).into_iter().collect()
            }
        };
        drop(watched);
        self.say_drift(drifted);
        news.iter().for_each(|sync| self.say_awaited(sync));
    }
}

/// The API server's words or the failure in ours, and whether it is a refusal. The same failure has the same words: they end
/// up in a condition.
fn cause(error: watcher::Error) -> (String, bool) {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            let error = RequestError::new(String::new(), error);
            (error.cause(), error.is_refusal())
        }
        watcher::Error::WatchError(status) => (status.message.clone(), false),
        watcher::Error::NoResourceVersion => (error.to_string(), false),
    }
}

fn id(kind: &GroupKind, meta: &Meta) -> ObjectId {
    ObjectId { kind: kind.clone(), namespace: meta.meta().namespace.clone(), name: meta.name_any() }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use towline_plan::letting::Letting;

    use super::super::discovery::tests::served;
    use super::*;

    fn drift(sync: SyncKey) -> Moved {
        Moved { sync, what: Movement::Drift }
    }

    #[test]
    fn a_change_that_overtakes_the_answer_of_an_apply_is_drift() {
        let (moved, mut drifted) = mpsc::unbounded_channel();
        let watches = Watches::new(Tasks::new(), Shutdown::new(), moved);
        let sync = SyncKey { namespace: "ns".to_owned(), name: "s".to_owned() };
        let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
        let live = |version: &str, fingerprint| Live {
            uid: "u".to_owned(),
            resource_version: version.to_owned(),
            fingerprint,
            owner: Some(sync.clone()),
            applied: true,
            letting: Letting::Late,
            deleting: false,
            left_alone: false,
            last_writer: None,
        };
        locked(&watches.watched).applied(id.clone(), live("10", 1));
        watches.remember(&sync, &id, "d", &live("10", 1));
        assert!(drifted.try_recv().is_err(), "the watch shows what was applied");
        watches.remember(&sync, &id, "d", &live("11", 2));
        assert!(drifted.try_recv().is_err(), "the watch is behind");
        locked(&watches.watched).forget(&id);
        locked(&watches.watched).applied(id.clone(), live("13", 3));
        watches.remember(&sync, &id, "d", &live("12", 2));
        assert_eq!(drifted.try_recv(), Ok(drift(sync.clone())));
    }

    fn sync(name: &str) -> SyncKey {
        SyncKey { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn kind() -> GroupKind {
        GroupKind::new("a.test", "Widget")
    }

    /// A cluster that answers requests one after the other, and then no more.
    async fn cluster(answers: Vec<(u16, String)>) -> Cluster {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Tasks::new().spawn("api server", WhenItEnds::IsFine, async move {
            for (code, body) in answers {
                let (mut stream, _) = listener.accept().await?;
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await?);
                }
                let head = "content-type: application/json\r\nconnection: close\r\ncontent-length:";
                let answer = format!("HTTP/1.1 {code} -\r\n{head} {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await?;
            }
            // Watches begin and say nothing.
            std::future::pending::<Result<(), std::io::Error>>().await
        });
        Cluster::new(kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap(), Default::default())
    }

    async fn until(listing: &mut watch::Receiver<Listing>, is: impl Fn(&Listing) -> bool) -> Listing {
        let found = tokio::time::timeout(std::time::Duration::from_secs(30), listing.wait_for(|l| is(l))).await;
        found.unwrap().unwrap().clone()
    }

    #[tokio::test]
    async fn a_kind_that_may_not_be_listed_says_so_until_it_may() {
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
            "message": "widgets is forbidden", "metadata": {},
        });
        let list = serde_json::json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "7"},
            "items": [],
        });
        let cluster = cluster(vec![(403, status.to_string()), (200, list.to_string())]).await;
        let (moved, mut drifted) = mpsc::unbounded_channel();
        let watches = Watches::new(Tasks::new(), Shutdown::new(), moved);
        let served = served(&[("a.test", "v1", "Current", "Widget")]);
        let mut listing = watches.ensure(&cluster, &served, &kind()).unwrap();
        let seen = until(&mut listing, |l| *l != Listing::NotYet).await;
        assert_eq!(seen, Listing::Failed("widgets is forbidden".to_owned()));
        assert_eq!(watches.failure(&kind()).as_deref(), Some("widgets is forbidden"));
        watches.tell_when_listed(&kind(), &sync("a"));
        assert!(drifted.try_recv().is_err());
        until(&mut listing, |l| *l == Listing::Listed).await;
        assert_eq!((drifted.recv().await, watches.failure(&kind())), (Some(drift(sync("a"))), None));
        watches.tell_when_listed(&kind(), &sync("b"));
        assert_eq!(drifted.try_recv(), Ok(drift(sync("b"))), "it is complete already");
    }

    #[tokio::test]
    async fn a_watch_moves_to_another_version_when_its_own_goes_and_ends_with_its_kind() {
        let cluster = cluster(Vec::new()).await;
        let (moved, mut drifted) = mpsc::unbounded_channel();
        let watches = Watches::new(Tasks::new(), Shutdown::new(), moved);
        let old = served(&[("a.test", "v1alpha1", "Current", "Widget")]);
        let first = watches.ensure(&cluster, &old, &kind()).unwrap();
        let same = |a: &watch::Receiver<Listing>, b: &watch::Receiver<Listing>| a.same_channel(b);
        assert!(same(&first, &watches.ensure(&cluster, &old, &kind()).unwrap()));
        watches.tell_when_listed(&kind(), &sync("waits"));

        let new = served(&[("a.test", "v1", "Current", "Widget")]);
        let second = watches.ensure(&cluster, &new, &kind()).unwrap();
        assert!(!same(&first, &second), "its version is gone");
        assert!(same(&second, &watches.ensure(&cluster, &old, &kind()).unwrap()), "an older answer takes nothing back");
        let stale = served(&[("a.test", "v1", "Stale", "Widget")]);
        assert!(same(&second, &watches.ensure(&cluster, &stale, &kind()).unwrap()), "of it nothing is known");

        let live = Live {
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            fingerprint: 1,
            owner: Some(sync("owns")),
            applied: true,
            letting: Letting::Late,
            deleting: false,
            left_alone: false,
            last_writer: None,
        };
        let id = ObjectId { kind: kind(), namespace: None, name: "w".to_owned() };
        watches.remember(&sync("owns"), &id, "d", &live);
        watches.end(&kind());
        assert_eq!((drifted.try_recv(), drifted.try_recv()), (Ok(drift(sync("owns"))), Ok(drift(sync("waits")))));
        assert!(watches.kinds().is_empty() && watches.ensure(&cluster, &served(&[]), &kind()).is_none());
    }
}
