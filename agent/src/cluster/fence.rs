//! Until when this process may write: everything that is sent to the API server and is no question passes here.
//!
//! Knows a moment after which other replicas may act for this one. Must not know Leases: their loop says the moment. It stands
//! below the client that all requests for objects, statuses, Inventories and Events are made with, on whosever behalf, so that
//! no way to write can go around it. Only the Leases themselves are written with another client.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use tokio::sync::watch;
use towline_plan::members::Uptime;

use super::uptime::uptime;

/// Between two looks at the clock while a write is under way: timers stop while the machine is suspended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// This replica does not hold its Lease: others may be writing.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this replica does not hold its Lease now: nothing is written")]
pub struct Fenced;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// There are no other replicas.
    Open,
    Until(Uptime),
    Closed,
}

/// Whether writes pass. Clones are handles to the same fence.
#[derive(Debug, Clone)]
pub struct Fence {
    gate: Arc<watch::Sender<Gate>>,
}

impl Fence {
    /// One that is always open: for an agent without replicas, and for commands.
    #[must_use]
    pub fn open() -> Self {
        Self { gate: Arc::new(watch::Sender::new(Gate::Open)) }
    }

    /// One that is closed until [`Fence::until`] says otherwise.
    #[must_use]
    pub fn closed() -> Self {
        Self { gate: Arc::new(watch::Sender::new(Gate::Closed)) }
    }

    /// Writes pass until then; `None`: not now.
    pub fn until(&self, deadline: Option<Uptime>) {
        let new = deadline.map_or(Gate::Closed, Gate::Until);
        self.gate.send_if_modified(|gate| std::mem::replace(gate, new) != new);
    }

    /// Whether a write passes now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match *self.gate.borrow() {
            Gate::Open => true,
            Gate::Closed => false,
            // A clock that cannot be read proves nothing.
            Gate::Until(deadline) => uptime().is_ok_and(|now| now < deadline),
        }
    }

    /// Returns when writes pass, at once if they do.
    pub async fn opened(&self) {
        let mut gate = self.gate.subscribe();
        while !self.is_open() {
            // The sender is this one.
            let _ = gate.changed().await;
        }
    }

    /// Returns when no write passes any more.
    async fn shut(&self) {
        let mut gate = self.gate.subscribe();
        while self.is_open() {
            tokio::select! {
                _ = gate.changed() => {}
                () = tokio::time::sleep(self.look_again()) => {}
            }
        }
    }

    fn look_again(&self) -> Duration {
        match *self.gate.borrow() {
            Gate::Until(deadline) => uptime().map_or(LOOK_EVERY, |now| deadline.saturating_sub(now).min(LOOK_EVERY)),
            Gate::Open => Duration::MAX,
            Gate::Closed => LOOK_EVERY,
        }
    }

    /// A client over another whose writes are sent while the fence is open only. One that has no answer when it closes is
    /// given up: whoever waits for it must not wait longer than others wait for this replica.
    #[must_use]
    pub fn around(&self, client: kube::Client) -> kube::Client {
        let (fence, namespace) = (self.clone(), client.default_namespace().to_owned());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (fence, client) = (fence.clone(), client.clone());
            async move {
                if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
                    return client.send(request).await;
                }
                tokio::select! {
                    biased;
                    () = fence.shut() => Err(kube::Error::Service(Box::new(Fenced))),
                    answer = client.send(request) => answer,
                }
            }
        });
        kube::Client::new(service, namespace)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::{Cluster, RequestError};
    use super::*;

    /// A client whose server takes requests and answers none, and how many it took.
    fn silent() -> (kube::Client, Arc<AtomicUsize>) {
        let taken = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&taken);
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<http::Response<Body>, kube::Error>>()
        });
        (kube::Client::new(service, "default"), taken)
    }

    async fn write(cluster: &Cluster) -> Result<(), RequestError> {
        let sync = towline_plan::object::SyncKey { namespace: "ns".to_owned(), name: "s".to_owned() };
        let spec = crate::api::InventorySpec {
            sync_uid: String::new(),
            entries: Vec::new(),
            digest: String::new(),
            rebuilt: None,
            judged: None,
            brings: Vec::new(),
            read: None,
        };
        cluster.write_inventory(&sync, None, None, spec).await.map(drop)
    }

    async fn within<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(60), work).await.unwrap()
    }

    #[tokio::test]
    async fn a_write_is_sent_while_the_fence_is_open_only_and_a_question_always() {
        let (client, taken) = silent();
        let fence = Fence::closed();
        let cluster = Cluster::behind(&fence, client, Default::default());
        let error = within(write(&cluster)).await.unwrap_err();
        assert!(error.is_fenced() && !error.is_refusal(), "{error:?}");
        fence.until(Some(uptime().unwrap().saturating_sub(Duration::from_secs(1))));
        assert!(within(write(&cluster)).await.unwrap_err().is_fenced(), "over");
        assert_eq!(taken.load(Ordering::SeqCst), 0);
        let question = cluster.read::<crate::api::Sync>("ns", "s");
        assert!(tokio::time::timeout(Duration::from_millis(200), question).await.is_err(), "nobody answers");
        assert_eq!(taken.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_write_under_way_is_given_up_when_the_fence_closes() {
        for closes_by_itself in [true, false] {
            let (client, taken) = silent();
            let fence = Fence::closed();
            let cluster = Cluster::behind(&fence, client, Default::default());
            let left = Duration::from_secs(if closes_by_itself { 1 } else { 3_600 });
            fence.until(Some(uptime().unwrap() + left));
            within(fence.opened()).await;
            let close = async {
                while taken.load(Ordering::SeqCst) == 0 {
                    tokio::task::yield_now().await;
                }
                if !closes_by_itself {
                    fence.until(None);
                }
            };
            let (answer, ()) = within(async { tokio::join!(write(&cluster), close) }).await;
            assert!(answer.unwrap_err().is_fenced());
        }
    }
}
