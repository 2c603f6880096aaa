//! Watches of Towline's own kinds: what users and other replicas write.

use futures::StreamExt as _;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::mpsc;
use towline_daemon::BoxError;
use towline_daemon::admin::Readiness;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{Tasks, WhenItEnds};

use super::Cluster;
use super::records::Record;
use crate::api::{GitSource, Inventory, Sync};

/// One step of a watch.
#[derive(Debug)]
pub enum Change<K> {
    Listed(Vec<K>),
    Applied(K),
    Gone(K),
}

/// A step of one of our watches; `Listed` replaces everything known of the kind in `namespace` (`None`: everywhere).
#[derive(Debug)]
pub enum ResourceEvent {
    Source(Option<String>, Change<GitSource>),
    Sync(Option<String>, Change<Sync>),
    Inventory(Option<String>, Change<Inventory>),
}

/// Starts the watches of our kinds.
pub struct Resources<'a> {
    pub cluster: &'a Cluster,
    /// Empty: everywhere.
    pub namespaces: &'a [String],
    pub tasks: &'a Tasks,
    pub shutdown: &'a Shutdown,
    pub events: mpsc::Sender<ResourceEvent>,
    /// Told why a first list does not come.
    pub readiness: &'a Readiness,
}

impl Resources<'_> {
    /// One watch per kind and namespace. Answers with how many first lists are to be waited for.
    pub fn start(&self) -> usize {
        let everywhere = [None];
        let named: Vec<_> = self.namespaces.iter().cloned().map(Some).collect();
        let scopes: &[Option<String>] = if named.is_empty() { &everywhere } else { &named };
        for scope in scopes {
            self.watch("gitsources", scope.clone(), ResourceEvent::Source);
            self.watch("syncs", scope.clone(), ResourceEvent::Sync);
            self.watch("inventories", scope.clone(), ResourceEvent::Inventory);
        }
        scopes.len() * 3
    }

    fn watch<K: Record>(
        &self,
        plural: &'static str,
        scope: Option<String>,
        wrap: impl Fn(Option<String>, Change<K>) -> ResourceEvent + Send + 'static,
    ) {
        let (client, metrics) = (self.cluster.client.clone(), self.cluster.metrics.clone());
        let api: Api<K> = match &scope {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let (events, shutdown, readiness) = (self.events.clone(), self.shutdown.clone(), self.readiness.clone());
        let check = scope.as_ref().map_or(plural.to_owned(), |namespace| format!("{plural} in {namespace}"));
        let mut is_listed = false;
        let task = async move {
            let mut stream = watcher(api, watcher::Config::default()).default_backoff().boxed();
            let mut listing = Vec::new();
            loop {
                let event = tokio::select! {
                    event = stream.next() => event,
                    () = shutdown.requested() => return Ok::<(), BoxError>(()),
                };
                let change = match event {
                    Some(Ok(watcher::Event::Init)) => {
                        listing.clear();
                        continue;
                    }
                    Some(Ok(watcher::Event::InitApply(object))) => {
                        listing.push(object);
                        continue;
                    }
                    Some(Ok(watcher::Event::InitDone)) => {
                        is_listed = true;
                        readiness.set(&check, Ok(()));
                        Change::Listed(std::mem::take(&mut listing))
                    }
                    Some(Ok(watcher::Event::Apply(object))) => Change::Applied(object),
                    Some(Ok(watcher::Event::Delete(object))) => Change::Gone(object),
                    Some(Err(error)) => {
                        // Also while the definitions are not installed yet: the watch goes on trying.
                        metrics.watch_failed();
                        if !is_listed {
                            readiness.set(&check, Err(format!("cannot be listed: {error}")));
                        }
                        tracing::warn!(kind = plural, error = %error, "watch failed; it is tried again");
                        continue;
                    }
                    None => return Err("the watch ended".into()),
                };
                if events.send(wrap(scope.clone(), change)).await.is_err() {
                    // The loop has ended, and the process ends by that.
                    shutdown.requested().await;
                    return Ok(());
                }
            }
        };
        // Without it nothing would ever be heard of these again, and nobody would know.
        self.tasks.spawn(format!("watch {plural}"), WhenItEnds::StopsProcess, task);
    }
}
