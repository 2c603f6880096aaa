//! Secrets that sources name: read when they are needed, and watched for whether they change.
//!
//! Knows requests. A watch is by name and shows metadata only, so that a Role may name the very Secrets the agent reads. What a
//! Secret holds is handed on in types without an outlet, and kept nowhere here.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use secrecy::SecretSlice;
use tokio::sync::mpsc;
use towline_daemon::BoxError;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{Tasks, WhenItEnds};
use towline_plan::object::SyncKey;

use super::{Cluster, RequestError, bounded};
use crate::access::Data;

/// A Secret by namespace and name.
pub type SecretKey = SyncKey;

/// What a watch shows of a Secret: its version, `None` if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSeen {
    pub secret: SecretKey,
    pub version: Option<String>,
}

impl Cluster {
    /// A Secret's version and data, as the agent itself; `None` if there is none.
    ///
    /// # Errors
    /// A failed request.
    pub async fn secret(&self, key: &SecretKey) -> Result<Option<(String, Data)>, RequestError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let secret = bounded(|| format!("reading Secret {key}"), api.get_opt(&key.name)).await?;
        Ok(secret.map(|secret| {
            let data = secret.data.unwrap_or_default().into_iter();
            let data = data.map(|(key, value)| (key, SecretSlice::from(value.0))).collect();
            (secret.metadata.resource_version.unwrap_or_default(), data)
        }))
    }
}

/// The watches of Secrets that are running.
pub struct SecretWatches {
    cluster: Cluster,
    tasks: Tasks,
    shutdown: Shutdown,
    seen: mpsc::Sender<SecretSeen>,
    running: BTreeMap<SecretKey, Shutdown>,
}

impl SecretWatches {
    #[must_use]
    pub fn new(cluster: Cluster, tasks: Tasks, shutdown: Shutdown, seen: mpsc::Sender<SecretSeen>) -> Self {
        Self { cluster, tasks, shutdown, seen, running: BTreeMap::new() }
    }

    /// These and no others from now on.
    pub fn set(&mut self, wanted: &BTreeSet<SecretKey>) {
        self.running.retain(|key, stop| {
            let keep = wanted.contains(key);
            if !keep {
                stop.request();
            }
            keep
        });
        for key in wanted {
            if !self.running.contains_key(key) {
                let stop = self.shutdown.child();
                let watch = watch(self.cluster.clone(), key.clone(), self.seen.clone(), stop.clone());
                self.tasks.spawn(format!("watch Secret {key}"), WhenItEnds::IsFine, watch);
                self.running.insert(key.clone(), stop);
            }
        }
    }
}

async fn watch(
    cluster: Cluster,
    secret: SecretKey,
    seen: mpsc::Sender<SecretSeen>,
    stop: Shutdown,
) -> Result<(), BoxError> {
    let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(cluster.client.clone(), &secret.namespace);
    let config = Config::default().fields(&format!("metadata.name={}", secret.name));
    let mut stream = watcher(api, config).default_backoff().boxed();
    let (mut version, mut is_failing) = (None, false);
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = stop.requested() => return Ok(()),
        };
        match event {
            Some(Ok(Event::Init)) => {
                version = None;
                continue;
            }
            Some(Ok(Event::InitApply(object))) => {
                version = object.metadata.resource_version;
                continue;
            }
            Some(Ok(Event::InitDone)) => is_failing = false,
            Some(Ok(Event::Apply(object))) => version = object.metadata.resource_version,
            Some(Ok(Event::Delete(_))) => version = None,
            Some(Err(error)) => {
                cluster.metrics.watch_failed();
                // Once: where it may be read and not watched, that stays so.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%secret, %error, "a Secret is not watched for now: it is read at each fetch only");
                }
                continue;
            }
            None => return Ok(()),
        }
        if seen.send(SecretSeen { secret: secret.clone(), version: version.clone() }).await.is_err() {
            return Ok(());
        }
    }
}
