//! One watch: its stream, how far it is, and what of it goes into the index.
//!
//! Knows kube's watcher. Must not know who needs the watch.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::{BoxFuture, OptionFuture};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject, DynamicResourceScope};
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use towline_daemon::BoxError;
use towline_daemon::shutdown::Shutdown;
use towline_plan::health::{self, HealthRules, PodSelector};
use towline_plan::object::{LABEL_SYNC_NAME, ObjectId, SyncKey};
use towline_plan::watched::{News, Scope, Shown};

use super::listing::{Health, Listing};
use super::live::Meta;
use super::pods::Pods;
use super::shown::{Brought, unjudged};
use super::watches::{Watches, locked};
use super::{Cluster, RequestError};

/// Objects of a page of a list with bodies: each may have some 10 KiB, and five times that while it is looked at.
const BODIES_PAGE: u32 = 100;
/// The same with metadata only: some 2 KiB each.
const METADATA_PAGE: u32 = 500;

/// A watch to run.
pub(super) struct Watching {
    pub(super) watches: Watches,
    pub(super) cluster: Cluster,
    pub(super) scope: Scope,
    pub(super) resource: ApiResource,
    /// How far it is.
    pub(super) told: watch::Sender<Listing>,
    /// It is to be listed again.
    pub(super) relist: Arc<Notify>,
    pub(super) stop: Shutdown,
}

impl Watching {
    pub(super) async fn run(self) -> Result<(), BoxError> {
        let mut events = self.events();
        let (mut health, mut pods) = (Health::new(), Pods::default());
        // One look at a time: many workloads on their way wait for each other, not the API server for them.
        let mut look: OptionFuture<BoxFuture<'_, (ObjectId, Vec<Value>)>> = None.into();
        let mut is_looking = false;
        loop {
            let look_at = pods.next().filter(|_| !is_looking);
            tokio::select! {
                () = self.stop.requested() => return Ok(()),
                () = until(health.quiet_at()) => health.goes_on(),
                () = self.relist.notified() => events = self.events(),
                () = until(look_at) => if let Some((id, selector)) = self.workload_to_look_at(&mut pods) {
                    look = Some(self.pods_of(id, selector).boxed()).into();
                    is_looking = true;
                },
                Some((id, found)) = &mut look, if is_looking => {
                    is_looking = false;
                    self.told(&id, pods.told(&id, &found));
                }
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        match event {
                            Event::Init => health.list_begins(),
                            Event::InitApply(_) => {}
                            Event::InitDone => health.list_ends(Instant::now()),
                            Event::Apply(_) | Event::Delete(_) => health.goes_on(),
                        }
                        self.take(event, &mut pods).await;
                    }
                    Some(Err(error)) => self.failed(error, &mut health),
                    None => return Ok(()),
                },
            }
            self.tell(health.listing());
        }
    }

    /// What the API server says, with bodies only where health is in them.
    fn events(&self) -> BoxStream<'static, Result<Event<Brought>, Error>> {
        let config = match &self.scope.name {
            Some(name) => Config::default().fields(&format!("metadata.name={name}")),
            None => Config::default().labels(LABEL_SYNC_NAME),
        };
        if health::has_rule(&self.scope.kind) || !self.watches.rules_for(&self.scope).is_empty() {
            let events = watcher(self.api::<DynamicObject>(), config.page_size(BODIES_PAGE)).default_backoff();
            events.map_ok(|event| map(event, |object| Brought::Body(Box::new(object)))).boxed()
        } else {
            let events = watcher(self.api::<Meta>(), config.page_size(METADATA_PAGE)).default_backoff();
            events.map_ok(|event| map(event, |meta| Brought::Metadata(Box::new(meta)))).boxed()
        }
    }

    fn api<K: kube::Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>>(&self) -> Api<K> {
        let client = self.cluster.acting.client.clone();
        match &self.scope.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.resource),
            None => Api::all_with(client, &self.resource),
        }
    }

    async fn take(&self, event: Event<Brought>, pods: &mut Pods) {
        let (watches, scope) = (&self.watches, &self.scope);
        // Judged before anybody is made to wait for the index.
        let event = match event {
            Event::Apply(object) => Event::Apply(self.judged(object, pods).await),
            Event::InitApply(object) => Event::InitApply(self.judged(object, pods).await),
            Event::Delete(object) => {
                let id = object.id(&scope.kind);
                pods.gone(&id);
                Event::Delete((id, object.shown(&self.resource).0))
            }
            Event::Init => {
                pods.begin_list();
                Event::Init
            }
            Event::InitDone => {
                pods.end_list();
                Event::InitDone
            }
        };
        let mut watched = locked(&watches.watched);
        // Asked under the lock under which the scope is forgotten: nothing of it comes back after that.
        if self.stop.is_requested() {
            return;
        }
        let awaited = watches.awaited(scope, &event);
        let news = match event {
            Event::Init => {
                watched.begin_list(scope);
                News::default()
            }
            Event::InitDone => watched.end_list(scope),
            Event::InitApply((id, shown)) | Event::Apply((id, shown)) => watched.applied(scope, id, shown),
            Event::Delete((id, last)) => watched.deleted(scope, &id, &last),
        };
        drop(watched);
        watches.tell(scope, news, awaited);
    }

    /// What the index keeps of an object, judged by the expressions of whom it concerns, or with what its Pods said.
    async fn judged(&self, object: Brought, pods: &mut Pods) -> (ObjectId, Shown) {
        let id = object.id(&self.scope.kind);
        let (mut shown, object) = object.shown(&self.resource);
        if self.scope.name.is_some() {
            for (sync, rules) in self.watches.rules_for(&self.scope) {
                let health = expressed(rules, object.clone()).await;
                shown.judged_for.push((sync, health));
            }
        } else if let Some(owner) = &shown.live.owner {
            let rules = self.watches.rules_of(owner);
            if rules.contains(&self.scope.kind) {
                shown.health = Some(Box::new(expressed(rules, object).await));
                pods.gone(&id);
                return (id, shown);
            }
        }
        pods.seen(&id, &mut shown, &object, Instant::now());
        (id, shown)
    }

    /// A watch by label shows the workloads of all Syncs, also of those in namespaces that are not ours and of other replicas.
    fn workload_to_look_at(&self, pods: &mut Pods) -> Option<(ObjectId, PodSelector)> {
        let users = self.watches.users(&self.scope);
        let is_ours =
            |owner: Option<&SyncKey>| self.scope.name.is_some() || owner.is_some_and(|owner| users.contains(owner));
        pods.look(Instant::now(), is_ours)
    }

    /// The Pods of a workload. Whoever may not list them does without.
    async fn pods_of(&self, id: ObjectId, selector: PodSelector) -> (ObjectId, Vec<Value>) {
        let pods = self.cluster.pods(&selector).await.unwrap_or_else(|error| {
            tracing::debug!(%id, error = %towline_daemon::error::chain(&error), "a workload is judged without its Pods");
            Vec::new()
        });
        (id, pods)
    }

    /// Pods have told more of a workload than its own status did.
    fn told(&self, id: &ObjectId, told: Option<(String, health::Health)>) {
        let Some((uid, health)) = told else { return };
        let mut watched = locked(&self.watches.watched);
        if self.stop.is_requested() {
            return;
        }
        let news = watched.judged(&self.scope, id, &uid, health);
        drop(watched);
        self.watches.tell(&self.scope, news, BTreeSet::new());
    }

    fn failed(&self, error: Error, health: &mut Health) {
        tracing::warn!(scope = %self.scope, who = %self.cluster.acts_as(), error = %error, "watch failed; it is tried again");
        self.cluster.metrics.watch_failed();
        let (why, is_refusal) = cause(error);
        health.failed(why, is_refusal, Instant::now());
    }

    /// Says how far the watch is, where that is news.
    fn tell(&self, listing: &Listing) {
        let news = self.told.send_if_modified(|old| match old == listing {
            true => false,
            false => {
                old.clone_from(listing);
                true
            }
        });
        if !news {
            return;
        }
        let is_listed = *listing == Listing::Listed;
        let news = {
            let mut watched = locked(&self.watches.watched);
            match self.stop.is_requested() {
                true => News::default(),
                false => watched.is_current(&self.scope, is_listed),
            }
        };
        self.watches.tell(&self.scope, news, BTreeSet::new());
        if is_listed {
            self.watches.is_listed(&self.scope, &self.stop);
        }
    }
}

/// By expressions, which nothing bounds but the thread they run on: not one that others wait for.
async fn expressed(rules: HealthRules, object: Value) -> health::Health {
    let judged = tokio::task::spawn_blocking(move || rules.judge(&object)).await;
    judged.unwrap_or_else(|_| unjudged())
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The same event of something made of its object.
fn map<A, B>(event: Event<A>, make: impl FnOnce(A) -> B) -> Event<B> {
    match event {
        Event::Apply(object) => Event::Apply(make(object)),
        Event::Delete(object) => Event::Delete(make(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(make(object)),
        Event::InitDone => Event::InitDone,
    }
}

/// The API server's words or the failure in ours, and whether it is a refusal. The same failure has the same words: they end
/// up in a condition.
fn cause(error: Error) -> (String, bool) {
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            let error = RequestError::new(String::new(), error);
            (error.cause(), error.is_refusal())
        }
        Error::WatchError(status) => (status.message.clone(), false),
        Error::NoResourceVersion => (error.to_string(), false),
    }
}
