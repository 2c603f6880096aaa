//! The API server of the agent's own cluster: the only place that imports the kube client.
//!
//! Knows requests and their answers, and turns both into values of `plan`. Must not decide anything.

mod bodies;
mod connect;
mod counted;
mod discovery;
mod error;
mod events;
mod fence;
mod identity;
mod ignored;
mod leases;
mod listing;
mod live;
mod objects;
mod owned;
mod place;
mod pods;
mod records;
mod resources;
mod secrets;
mod shown;
mod uptime;
mod watches;
mod watching;
mod whole;

pub use connect::{ConnectError, ConnectSettings, connect};
pub use discovery::Served;
pub use error::RequestError;
pub use events::EventKind;
pub use fence::{Fence, Fenced};
pub use kube::Client;
pub use leases::{Exactly, LeaseEvent, LeaseSettings, Leases, Seen, WatchError};
pub use listing::Listing;
pub use objects::Applied;
pub use owned::Found;
pub use place::Place;
pub use records::Record;
pub use resources::{Change, ResourceEvent, Resources};
pub use secrets::{SecretKey, SecretSeen, SecretWatches};
pub use uptime::uptime;
pub use watches::{Moved, Movement, Watches, locked};

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;

/// How long one request may take before it counts as unanswered. The API server itself gives up at 60 s; admission
/// webhooks, the slow part, are limited to 30 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);

/// Requests one pass has under way at once. A server-side apply takes the API server about 2 ms of one core: 16 keep several
/// cores busy over a network's latency, and stay far below the 200 a server's default flow control queues per client.
pub const CONCURRENT_REQUESTS: usize = 16;

/// A connection to the cluster, cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// The agent's own: for discovery, Towline's own objects and Events.
    client: kube::Client,
    /// For managed objects.
    acting: identity::Acting,
    default_account: Option<Arc<str>>,
    served: Arc<tokio::sync::RwLock<Arc<Served>>>,
    said: events::Said,
    metrics: Metrics,
    fence: Fence,
}

impl Cluster {
    /// A cluster by its client; nothing is asked of it yet.
    #[must_use]
    pub fn new(client: kube::Client, metrics: Metrics) -> Self {
        Self::behind(&Fence::open(), client, metrics)
    }

    /// The same, with its writes behind a fence.
    #[must_use]
    pub fn behind(fence: &Fence, client: kube::Client, metrics: Metrics) -> Self {
        let client = fence.around(client);
        let acting = identity::Acting::agent(client.clone());
        let (served, said, fence) = (Arc::default(), events::Said::default(), fence.clone());
        Self { client, acting, default_account: None, served, said, metrics, fence }
    }

    /// Whether writes pass: other replicas may be at work otherwise.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.fence.is_open()
    }

    /// Returns when writes pass.
    pub async fn writable(&self) {
        self.fence.opened().await;
    }
}

/// Bounds a request, and names it in its error.
async fn bounded<T>(
    what: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(RequestError::new(what(), error)),
        Err(_) => Err(RequestError::timeout(what(), REQUEST_TIMEOUT)),
    }
}

#[cfg(test)]
impl Cluster {
    /// A cluster that nobody asks anything, for tests of what is decided. Must be called inside a runtime.
    pub(crate) fn nowhere() -> Self {
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        Self::new(kube::Client::try_from(config).unwrap(), Metrics::new())
    }
}
