//! One watch: its stream, how far it is, and what of it goes into the index.
//!
//! Knows kube's watcher. Must not know who needs the watch.

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject, DynamicResourceScope};
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;
use tokio::time::Instant;
use towline_daemon::BoxError;
use towline_daemon::shutdown::Shutdown;
use towline_plan::health;
use towline_plan::object::LABEL_SYNC_NAME;
use towline_plan::watched::{News, Scope};

use super::listing::{Health, Listing};
use super::live::Meta;
use super::shown::Brought;
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
    pub(super) stop: Shutdown,
}

impl Watching {
    pub(super) async fn run(self) -> Result<(), BoxError> {
        let mut events = self.events();
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
                () = self.stop.requested() => return Ok(()),
                () = quiet => health.goes_on(),
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        match event {
                            Event::Init => health.list_begins(),
                            Event::InitApply(_) => {}
                            Event::InitDone => health.list_ends(Instant::now()),
                            Event::Apply(_) | Event::Delete(_) => health.goes_on(),
                        }
                        self.take(event);
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
        if health::has_rule(&self.scope.kind) {
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

    fn take(&self, event: Event<Brought>) {
        let (watches, scope) = (&self.watches, &self.scope);
        // Judged before anybody is made to wait for the index.
        let event = map(event, |brought| (brought.id(&scope.kind), brought.shown(&self.resource).0));
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
        if !self.stop.is_requested() {
            locked(&self.watches.watched).is_current(&self.scope, is_listed);
        }
        if is_listed {
            self.watches.is_listed(&self.scope, &self.stop);
        }
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
