//! Leases of an agent's replicas: taken, renewed, released, watched.
//!
//! Knows `coordination.k8s.io/v1` and the label by which replicas of one agent find each other. Must not know who is alive. Its
//! client is not behind the fence: a replica that may not write renews its Lease first of all.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use kube::runtime::watcher;
use serde_json::json;
use towline_plan::members::Sighting;
use towline_proto::ClusterName;

use super::{RequestError, bounded};

/// On the Lease of every replica; its value is the cluster's name in the fleet, so that two agents with different
/// configurations in one namespace do not take each other for replicas.
const LABEL: &str = "towline.dev/replicas-of";
/// The Pod a Lease was taken in.
const ANNOTATION_POD: &str = "towline.dev/pod";
const MANAGER: &str = "towline-agent";

/// Where a replica's Lease is, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettings {
    pub namespace: String,
    /// Of the Lease: no other process has the same, not even the one before in the same Pod.
    pub name: String,
    /// In a cluster: no two containers of it run at the same time.
    pub pod: Option<String>,
    /// Whole seconds: the API has no parts of them.
    pub lease: Duration,
    pub cluster: ClusterName,
}

/// The Leases of one agent's replicas.
#[derive(Clone)]
pub struct Leases {
    api: Api<Lease>,
    settings: LeaseSettings,
}

/// A Lease as the watch shows it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub sighting: Sighting,
    /// When it was renewed, by its replica's calendar.
    pub renewed: Option<Timestamp>,
    pub exactly: Exactly,
}

/// One version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exactly {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// One step of the watch, in the API server's order.
#[derive(Debug)]
pub enum LeaseEvent {
    /// Everything there is.
    Listed(Vec<Seen>),
    Changed(Box<Seen>),
    Gone(String),
}

/// The watch ended or was refused.
pub type WatchError = watcher::Error;

impl Leases {
    /// `client` must not be behind a fence.
    #[must_use]
    pub fn new(client: kube::Client, settings: LeaseSettings) -> Self {
        Self { api: Api::namespaced(client, &settings.namespace), settings }
    }

    #[must_use]
    pub fn settings(&self) -> &LeaseSettings {
        &self.settings
    }

    /// Renews the own Lease, or takes it if it is not there. `now` is what it says: another moment at each renewal.
    ///
    /// # Errors
    /// A failed request.
    pub async fn renew(&self, now: Timestamp) -> Result<(), RequestError> {
        let name = &self.settings.name;
        let patch = json!({ "spec": { "renewTime": MicroTime(now) } });
        let (params, patch) =
            (PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }, Patch::Merge(patch));
        match self.in_time(|| format!("renewing Lease {name}"), self.api.patch_metadata(name, &params, &patch)).await {
            Err(error) if error.is_not_found() => {}
            answer => return answer.map(drop),
        }
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let lease = self.lease(now);
        self.in_time(|| format!("taking Lease {name}"), self.api.create(&params, &lease)).await.map(drop)
    }

    /// Gives the own Lease up: others need not wait for its end.
    ///
    /// # Errors
    /// A failed request; that it was gone already is none.
    pub async fn release(&self) -> Result<(), RequestError> {
        let name = &self.settings.name;
        // Nobody holds it: one that is deleted by hand does not say so, and its replica still writes.
        let patch = Patch::Merge(json!({ "spec": { "holderIdentity": "" } }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let mark = self.api.patch_metadata(name, &params, &patch);
        found(self.in_time(|| format!("giving up Lease {name}"), mark).await)?;
        let params = DeleteParams::default();
        let request = self.api.delete(name, &params);
        found(self.in_time(|| format!("releasing Lease {name}"), request).await)
    }

    /// Deletes a Lease that nobody renews, if it is still as it was seen.
    ///
    /// # Errors
    /// A failed request; that it is gone or was renewed is none.
    pub async fn clear(&self, name: &str, seen: &Exactly) -> Result<(), RequestError> {
        let preconditions = Preconditions { uid: seen.uid.clone(), resource_version: seen.resource_version.clone() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let request = self.api.delete(name, &params);
        match self.in_time(|| format!("clearing away Lease {name}"), request).await {
            Err(error) if error.is_conflict() => Ok(()),
            answer => found(answer),
        }
    }

    /// The Leases of all replicas, this one's among them. After an error the stream goes on with a new list.
    pub fn watch(&self) -> BoxStream<'static, Result<LeaseEvent, WatchError>> {
        let config = watcher::Config::default().labels(&format!("{LABEL}={}", self.settings.cluster));
        let mut listing = Vec::new();
        let steps = watcher(self.api.clone(), config).map_ok(move |event| match event {
            watcher::Event::Init => {
                listing.clear();
                None
            }
            watcher::Event::InitApply(lease) => {
                listing.push(seen(&lease));
                None
            }
            watcher::Event::InitDone => Some(LeaseEvent::Listed(std::mem::take(&mut listing))),
            watcher::Event::Apply(lease) => Some(LeaseEvent::Changed(Box::new(seen(&lease)))),
            watcher::Event::Delete(lease) => Some(LeaseEvent::Gone(lease.name_any())),
        });
        steps.try_filter_map(|step| std::future::ready(Ok(step))).boxed()
    }

    fn lease(&self, now: Timestamp) -> Lease {
        let LeaseSettings { namespace, name, pod, lease, cluster } = self.settings.clone();
        Lease {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace),
                labels: Some(BTreeMap::from([(LABEL.to_owned(), cluster.to_string())])),
                annotations: pod.map(|pod| BTreeMap::from([(ANNOTATION_POD.to_owned(), pod)])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(name),
                lease_duration_seconds: Some(i32::try_from(lease.as_secs()).unwrap_or(i32::MAX)),
                acquire_time: Some(MicroTime(now)),
                renew_time: Some(MicroTime(now)),
                ..LeaseSpec::default()
            }),
        }
    }

    /// An answer that comes later than another try would is none.
    async fn in_time<T>(
        &self,
        what: impl Fn() -> String,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, RequestError> {
        // Two of them fit in between the moment a renewal is due and the one at which writing has to stop.
        let patience = self.settings.lease / 12;
        match tokio::time::timeout(patience, bounded(&what, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(RequestError::timeout(what(), patience)),
        }
    }
}

fn found<T>(answer: Result<T, RequestError>) -> Result<(), RequestError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(()),
        answer => answer.map(drop),
    }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
    let renewed = spec.renew_time.map(|time| time.0);
    let released = spec.holder_identity.as_deref() == Some("");
    Seen {
        sighting: Sighting {
            name: lease.name_any(),
            pod: lease.annotations().get(ANNOTATION_POD).cloned(),
            renewal: renewed.map(|time| time.to_string()).unwrap_or_default(),
            lease: Duration::from_secs(seconds),
            released,
        },
        renewed,
        exactly: Exactly { uid: lease.uid(), resource_version: lease.resource_version() },
    }
}
