//! Metadata watches over everything that carries owner labels, one per kind in use.
//!
//! Knows streams and restarts; what they say goes into `plan`'s index. Must not know what drift leads to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use kube::api::Api;
use kube::core::ApiResource;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use towline_daemon::BoxError;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{Tasks, WhenItEnds};
use towline_plan::object::{GroupKind, LABEL_SYNC_NAME, ObjectId, SyncKey};
use towline_plan::observed::Live;
use towline_plan::watched::Watched;

use super::live::{Meta, live};
use super::{Cluster, Served};

/// Locks a mutex whose holder may have panicked: the index behind it is valid after every single step.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watches of one cluster, cheap to clone.
#[derive(Clone)]
pub struct Watches {
    pub watched: Arc<Mutex<Watched>>,
    running: Arc<Mutex<HashMap<GroupKind, Running>>>,
    drift: mpsc::UnboundedSender<SyncKey>,
    tasks: Tasks,
    shutdown: Shutdown,
}

struct Running {
    /// Turns true when the first list is complete.
    synced: watch::Receiver<bool>,
    stop: Shutdown,
}

impl Watches {
    /// No watch yet; `drift` is told which Sync's object moved. Its messages are bounded by the number of verdicts: each
    /// is said once until the Sync's next pass.
    #[must_use]
    pub fn new(tasks: Tasks, shutdown: Shutdown, drift: mpsc::UnboundedSender<SyncKey>) -> Self {
        Self { watched: Arc::default(), running: Arc::default(), drift, tasks, shutdown }
    }

    /// Makes sure that a kind is watched; the answer turns true when its first list is complete. `None` for a kind that is
    /// not served.
    pub fn ensure(&self, cluster: &Cluster, served: &Served, kind: &GroupKind) -> Option<watch::Receiver<bool>> {
        let mut running = locked(&self.running);
        if let Some(running) = running.get(kind) {
            return Some(running.synced.clone());
        }
        let resource = served.resource(kind, "")?;
        let (ready, synced) = watch::channel(false);
        let stop = self.shutdown.child();
        let task = self.clone().run(cluster.clone(), kind.clone(), resource.clone(), ready, stop.clone());
        self.tasks.spawn(format!("watch {kind}"), WhenItEnds::IsFine, task);
        running.insert(kind.clone(), Running { synced: synced.clone(), stop });
        Some(synced)
    }

    /// Ends the watch of a kind that is no longer served.
    pub fn end(&self, kind: &GroupKind) {
        if let Some(running) = locked(&self.running).remove(kind) {
            running.stop.request();
            locked(&self.watched).unwatch(kind);
        }
    }

    /// Remembers that an object, as an apply answered it, is what Git wants. Where the watch has shown already that it moved on
    /// from there, that is drift like any other.
    pub fn remember(&self, sync: &SyncKey, id: &ObjectId, digest: &str, answer: &Live) {
        if locked(&self.watched).remember(sync, id, digest, answer) {
            // The receiver is gone only while the process ends.
            let _ = self.drift.send(sync.clone());
        }
    }

    /// The kinds being watched.
    #[must_use]
    pub fn kinds(&self) -> Vec<GroupKind> {
        locked(&self.running).keys().cloned().collect()
    }

    async fn run(
        self,
        cluster: Cluster,
        kind: GroupKind,
        resource: ApiResource,
        ready: watch::Sender<bool>,
        stop: Shutdown,
    ) -> Result<(), BoxError> {
        let api: Api<Meta> = Api::all_with(cluster.client.clone(), &resource);
        let config = watcher::Config::default().labels(LABEL_SYNC_NAME);
        let mut events = watcher(api, config).default_backoff().boxed();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = stop.requested() => return Ok(()),
            };
            match event {
                Some(Ok(event)) => {
                    let done = matches!(event, watcher::Event::InitDone);
                    self.take(&kind, event);
                    if done {
                        ready.send_replace(true);
                    }
                }
                Some(Err(error)) => tracing::warn!(%kind, error = %error, "watch failed; it is tried again"),
                None => return Ok(()),
            }
        }
    }

    fn take(&self, kind: &GroupKind, event: watcher::Event<Meta>) {
        let mut watched = locked(&self.watched);
        let drifted: Vec<SyncKey> = match event {
            watcher::Event::Init => {
                watched.begin_list(kind);
                Vec::new()
            }
            watcher::Event::InitDone => watched.end_list(kind).into_iter().collect(),
            watcher::Event::InitApply(meta) | watcher::Event::Apply(meta) => {
                watched.applied(id(kind, &meta), live(&meta)).into_iter().collect()
            }
            watcher::Event::Delete(meta) => {
                let (uid, version) = (meta.uid().unwrap_or_default(), meta.resource_version().unwrap_or_default());
                watched.deleted(&id(kind, &meta), &uid, &version).into_iter().collect()
            }
        };
        drop(watched);
        for sync in drifted {
            // The receiver is gone only while the process ends.
            let _ = self.drift.send(sync);
        }
    }
}

fn id(kind: &GroupKind, meta: &Meta) -> ObjectId {
    ObjectId { kind: kind.clone(), namespace: meta.meta().namespace.clone(), name: meta.name_any() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_overtakes_the_answer_of_an_apply_is_drift() {
        let (drift, mut drifted) = mpsc::unbounded_channel();
        let watches = Watches::new(Tasks::new(), Shutdown::new(), drift);
        let sync = SyncKey { namespace: "ns".to_owned(), name: "s".to_owned() };
        let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
        let live = |version: &str, fingerprint| Live {
            uid: "u".to_owned(),
            resource_version: version.to_owned(),
            fingerprint,
            owner: Some(sync.clone()),
            prune_disabled: false,
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
        assert_eq!(drifted.try_recv(), Ok(sync.clone()));
    }
}
