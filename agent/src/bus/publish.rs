//! The publishing task: takes reports from the queue while there is a connection, and tells the queue what came of them.
//!
//! Knows the connection, the heartbeat and the end: when everything is said. Must not know what a report says.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use towline_daemon::error::chain;
use towline_daemon::nats::Event;
use towline_daemon::shutdown::Shutdown;
use towline_proto::{ClusterName, Heartbeat};

use super::client::{self, PublishError};
use super::link::Link;
use super::outgoing::Failure;
use super::queue::Queue;
use super::refusal::{self, Refusal};
use super::seal::Sealed;

/// A console that calls a cluster stale after three of them says so within two minutes; 5,000 clusters are 170 messages a second.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

/// What a heartbeat counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) syncs: u32,
    pub(super) ready: u32,
    pub(super) sources: u32,
}

/// `None` in place of a sequence: a heartbeat, which nobody waits for.
type Publishing = BoxFuture<'static, (Option<u64>, Result<(), PublishError>)>;

pub(super) struct Publisher {
    pub(super) link: Link,
    pub(super) cluster: ClusterName,
    pub(super) started_at: Timestamp,
    pub(super) queue: Arc<Queue>,
    pub(super) numbers: watch::Receiver<Option<Numbers>>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) complaints: mpsc::Sender<String>,
    pub(super) shutdown: Shutdown,
    pub(super) stop: Shutdown,
    pub(super) course: Course,
    pub(super) under_way: FuturesUnordered<Publishing>,
}

/// How far things are.
#[derive(Default)]
pub(super) struct Course {
    connected: bool,
    next_heartbeat: Option<Instant>,
    draining: bool,
    /// Nobody is left who could report anything.
    abandoned: bool,
}

enum Happened {
    Link(Event),
    Queued,
    Published { sequence: Option<u64>, outcome: Result<(), PublishError> },
    NumbersKnown,
    Draining,
    Abandoned,
    Due,
    Stopped,
}

impl Publisher {
    pub(super) async fn run(mut self) -> Result<(), Infallible> {
        loop {
            self.start_what_may_go(Instant::now());
            let over = self.course.draining || (self.course.abandoned && self.shutdown.is_requested());
            if over && self.queue.lock().len() == 0 {
                return Ok(());
            }
            match self.wake().await {
                Happened::Stopped => return Ok(()),
                happened => self.handle(happened, Instant::now(), Timestamp::now()),
            }
        }
    }

    async fn wake(&mut self) -> Happened {
        let deadline = self.deadline(Instant::now());
        let due = super::until(deadline);
        tokio::select! {
            biased;
            () = self.stop.requested() => Happened::Stopped,
            event = self.link.next() => Happened::Link(event),
            Some((sequence, outcome)) = self.under_way.next(), if !self.under_way.is_empty() => {
                Happened::Published { sequence, outcome }
            }
            changed = self.draining.changed(), if !self.course.abandoned => match changed {
                Ok(()) => Happened::Draining,
                Err(_) => Happened::Abandoned,
            },
            Ok(()) = self.numbers.changed(), if self.course.next_heartbeat.is_none() => Happened::NumbersKnown,
            () = self.queue.filled() => Happened::Queued,
            () = self.shutdown.requested(), if self.course.abandoned && !self.shutdown.is_requested() => Happened::Due,
            () = due => Happened::Due,
        }
    }

    fn handle(&mut self, happened: Happened, now: Instant, at: Timestamp) {
        match happened {
            Happened::Link(event) => self.link_event(event, now, at),
            Happened::Published { sequence, outcome } => self.published(sequence, outcome, now, at),
            Happened::NumbersKnown => self.course.next_heartbeat = Some(now),
            Happened::Draining => {
                self.course.draining = true;
                self.queue.lock().drain();
            }
            Happened::Abandoned => self.course.abandoned = true,
            Happened::Queued | Happened::Due | Happened::Stopped => {}
        }
    }

    fn link_event(&mut self, event: Event, now: Instant, at: Timestamp) {
        match event {
            Event::Connected => {
                self.course.connected = true;
                self.course.next_heartbeat = self.course.next_heartbeat.map(|_| now);
                self.queue.lock().connected();
            }
            Event::Disconnected => self.course.connected = false,
            Event::ServerError(text) => {
                if let Refusal::Publish { subject } = refusal::read(&text) {
                    self.queue.lock().denied(&subject, now, at);
                }
            }
            Event::ClientError(_) | Event::SlowConsumer => {}
        }
    }

    fn published(&mut self, sequence: Option<u64>, outcome: Result<(), PublishError>, now: Instant, at: Timestamp) {
        match (outcome, sequence) {
            (Ok(()), Some(sequence)) => self.queue.lock().stored(sequence),
            (Ok(()), None) => {}
            (Err(error), sequence) => {
                let failure = if error.is_refusal() { Failure::Refused } else { Failure::Later };
                let is_news = sequence.is_none_or(|sequence| self.queue.lock().failed(sequence, failure, now, at));
                if is_news {
                    // Full: whoever listens has enough complaints to read already.
                    self.complaints.try_send(format!("failed to {}", chain(&error))).ok();
                }
            }
        }
    }

    fn start_what_may_go(&mut self, now: Instant) {
        if !self.course.connected {
            return;
        }
        if self.course.next_heartbeat.is_some_and(|next| next <= now) {
            self.course.next_heartbeat = Some(now + HEARTBEAT_INTERVAL);
            let heartbeat = self.heartbeat(Timestamp::now());
            let sealed = heartbeat.and_then(|heartbeat| self.queue.lock().heartbeat(heartbeat, Timestamp::now()));
            sealed.into_iter().for_each(|sealed| self.start(None, sealed));
        }
        loop {
            let next = self.queue.lock().next(now, Timestamp::now());
            let Some(sealed) = next else { return };
            self.start(Some(sealed.sequence), sealed);
        }
    }

    fn start(&mut self, sequence: Option<u64>, sealed: Sealed) {
        let client = self.link.client.clone();
        self.under_way.push(Box::pin(async move { (sequence, client::publish(&client, &sealed).await) }));
    }

    fn heartbeat(&self, at: Timestamp) -> Option<Heartbeat> {
        let Numbers { syncs, ready, sources } = (*self.numbers.borrow())?;
        Some(Heartbeat {
            version: Heartbeat::VERSION,
            cluster: self.cluster.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            at,
            syncs,
            ready,
            sources,
        })
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let queue = self.queue.lock().deadline(now);
        self.course.connected.then(|| queue.into_iter().chain(self.course.next_heartbeat).min()).flatten()
    }
}
