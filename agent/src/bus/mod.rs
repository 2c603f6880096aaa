//! The agent's side of NATS: it listens for commit events and requests, and publishes what the agent has to say.
//!
//! Knows subjects, subscriptions, the last event of a ref, reports and their order. It alone imports `async_nats`. Must not know
//! what a source or a Sync does about any of it: an event wakes, a request asks, a report is somebody else's words.
//!
//! Hearing: `listen` drives what `attention` decides: which refs are listened to and asked for (`wanted`), how often a request
//! passes (`requests`), what a server refuses (`refusal`), and what waits to be told (`news`).
//!
//! Saying: `publish` drives what `outgoing` decides: statuses of which the newest counts (`coalesce`), changes in order and with
//! their gaps announced (`changes`), numbered and signed (`seal`), repeated after a while (`backoff`), left by anybody (`queue`).
//!
//! Both talk through `client` and hear of the connection by `link`. [`key`] holds what reports are signed with.

mod attention;
mod backoff;
mod changes;
mod client;
mod coalesce;
pub mod key;
mod link;
mod listen;
mod news;
mod outgoing;
mod publish;
mod queue;
mod refusal;
mod requests;
mod seal;
mod wanted;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, watch};
use towline_daemon::nats::{self, NatsError, Settings};
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::{Tasks, WhenItEnds};
use towline_proto::SyncStatus;
use towline_proto::{ChangeEvent, ClusterName, CommitEvent, RefName, ReportingKey, RepositoryId, RepositoryToken};

use attention::Attention;
use client::Subscriptions;
use link::Link;
use listen::Listener;
use outgoing::Outgoing;
use publish::{Course, Numbers, Publisher};
use queue::Queue;
use seal::Writer;

/// Told and not yet read. What waits behind it waits where newer news takes its place.
const NEWS_MAX: usize = 1;

/// Complaints of the publishing task that wait to be told. They repeat themselves.
const COMPLAINTS_MAX: usize = 16;

/// A ref of a repository whose events somebody waits for, or all below one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interest {
    pub repository: RepositoryId,
    pub reference: RefName,
    /// Not the ref itself but those below it, as all tags are below `refs/tags`.
    pub below: bool,
}

impl Interest {
    /// Whether an event of this ref is waited for.
    pub fn covers(&self, reference: &RefName) -> bool {
        let below =
            || reference.as_str().strip_prefix(self.reference.as_str()).is_some_and(|rest| rest.starts_with('/'));
        *reference == self.reference || (self.below && below())
    }
}

/// What comes from NATS. Where the reader is slow, of each ref, request and condition only the newest is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most are the large one, and few exist at a time")]
pub enum BusEvent {
    /// Look at this ref again. `event` is a hint for people and logs; one that cannot be read wakes as well, and says why.
    Woken {
        repository: RepositoryToken,
        reference: RefName,
        event: Option<CommitEvent>,
        undecodable: Option<String>,
    },
    /// An operator asks for a pass of every Sync.
    ReconcileAll,
    /// An operator asks for a pass of one Sync, which need not exist.
    Reconcile {
        namespace: String,
        name: String,
    },
    Connected,
    Disconnected {
        reason: String,
    },
    /// The server refuses something that is no interest, or a stream is missing or full. Attempts go on; the same words are
    /// repeated every five minutes.
    Denied {
        what: String,
    },
    /// The server has taken the subscription: events can arrive. Once per connection.
    Subscribed {
        interest: Interest,
    },
    /// Events cannot arrive. Attempts go on; [`BusEvent::Subscribed`] says when one succeeds.
    Unsubscribable {
        interest: Interest,
        reason: String,
    },
}

/// What the agent has to say.
#[derive(Debug, Clone)]
pub enum Report {
    Status(SyncStatus),
    Change(ChangeEvent),
}

/// A handle; clones are handles to the same connection.
///
/// The connection outlives the wish to end: it ends when [`Bus::drain`] returns, or with the last handle.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    interests: watch::Sender<BTreeSet<Interest>>,
    numbers: watch::Sender<Option<Numbers>>,
    draining: watch::Sender<bool>,
    queue: Arc<Queue>,
    stop: Shutdown,
    finished: watch::Receiver<()>,
}

/// Reports that were not stored in time. The next start cannot repeat them: they were in memory.
#[derive(Debug, thiserror::Error)]
#[error("publish {reports} reports within {within:?}")]
pub struct Undelivered {
    pub reports: usize,
    pub within: Duration,
}

impl Bus {
    /// Starts both tasks and returns at once: a server that cannot be reached is tried for ever. `incarnation` must be higher
    /// with each start of this writer.
    pub async fn start(
        settings: &Settings,
        cluster: ClusterName,
        key: ReportingKey,
        incarnation: u64,
        tasks: &Tasks,
        shutdown: Shutdown,
    ) -> Result<(Self, mpsc::Receiver<BusEvent>), NatsError> {
        let (events, for_listener) = broadcast::channel(link::EVENTS_MAX);
        let for_publisher = events.subscribe();
        let on_event = move |event| drop(events.send(event));
        let inbox = format!("_INBOX_{cluster}");
        let client = nats::connect(settings, &format!("towline-agent {cluster}"), Some(inbox), on_event).await?;

        let (news, told) = mpsc::channel(NEWS_MAX);
        let (complaints, complained) = mpsc::channel(COMPLAINTS_MAX);
        let (interests, wanted) = watch::channel(BTreeSet::new());
        let (numbers, counted) = watch::channel(None);
        let (draining, drain) = watch::channel(false);
        let (finishing, finished) = watch::channel(());
        let stop = Shutdown::new();
        let queue = Arc::new(Queue::new(Outgoing::new(Writer::new(cluster.clone(), key, incarnation))));

        let listener = Listener {
            link: Link { client: client.clone(), events: for_listener },
            interests: wanted,
            complaints: complained,
            news,
            shutdown: shutdown.clone(),
            attention: Attention::new(&cluster),
            subscriptions: Subscriptions::default(),
            questions: FuturesUnordered::new(),
        };
        let publisher = Publisher {
            link: Link { client, events: for_publisher },
            cluster,
            started_at: Timestamp::now(),
            queue: Arc::clone(&queue),
            numbers: counted,
            draining: drain,
            complaints,
            shutdown,
            stop: stop.clone(),
            course: Course::default(),
            under_way: FuturesUnordered::new(),
        };
        tasks.spawn("bus-listen", WhenItEnds::StopsProcess, listener.run());
        tasks.spawn("bus-publish", WhenItEnds::StopsProcess, async move {
            let end = publisher.run().await;
            // Dropped with the task, however it ends: that is how the end is seen.
            drop(finishing);
            end
        });
        Ok((Self { shared: Arc::new(Shared { interests, numbers, draining, queue, stop, finished }) }, told))
    }

    /// How many reports wait, and how many were lost so far, at the time of each call. Holds no connection.
    pub fn backlog(&self) -> impl Fn() -> (usize, u64) + Send + Sync + 'static {
        let queue = Arc::clone(&self.shared.queue);
        move || {
            let queue = queue.lock();
            (queue.len(), queue.lost())
        }
    }

    /// What to listen to from now on; everything else is given up.
    pub fn interests(&self, interests: BTreeSet<Interest>) {
        self.shared.interests.send_if_modified(|known| {
            let changed = *known != interests;
            *known = interests;
            changed
        });
    }

    /// Leaves a report to be published. Never waits: without a connection reports pile up within bounds, of statuses the newest
    /// of each Sync, and the changes that had to go are announced as lost.
    pub fn report(&self, report: Report) {
        self.shared.queue.put(report, Timestamp::now());
    }

    /// What the next heartbeats count. The first one goes out when this is called for the first time.
    pub fn heartbeat(&self, syncs: u32, ready: u32, sources: u32) {
        self.shared.numbers.send_replace(Some(Numbers { syncs, ready, sources }));
    }

    /// Another replica says how the cluster is.
    pub fn no_heartbeat(&self) {
        self.shared.numbers.send_if_modified(|numbers| numbers.take().is_some());
    }

    /// From now on reports are numbered above everything that was numbered with a smaller incarnation, by whomever.
    pub fn begin_again(&self, incarnation: u64) {
        self.shared.queue.lock().begin_again(incarnation);
    }

    /// Publishes what is left and ends the connection, both within a time. To be called when nobody reports any more.
    pub async fn drain(&self, within: Duration) -> Result<(), Undelivered> {
        self.shared.draining.send_replace(true);
        let mut finished = self.shared.finished.clone();
        // Nothing is ever sent: the publisher's end of it goes when the publisher does.
        let drained = tokio::time::timeout(within, finished.changed()).await;
        self.shared.stop.request();
        match drained {
            Ok(_) => Ok(()),
            Err(_) => Err(Undelivered { reports: self.shared.queue.lock().len(), within }),
        }
    }
}

impl fmt::Display for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.repository, self.reference)
    }
}

/// A number that rises with time: with every start, also where the clock is off by less than the last start lasted, and
/// from one replica to the one that takes over from it. In microseconds, so that no two replicas have the same.
#[must_use]
pub fn incarnation(now: Timestamp) -> u64 {
    u64::try_from(now.as_microsecond()).unwrap_or_default()
}

/// Waits for a deadline; for ever where there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
