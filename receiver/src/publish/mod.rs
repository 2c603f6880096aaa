//! Commit events to JetStream, and whether it is fit to take them. The only file here that imports the NATS client.
//!
//! An event counts as published when JetStream acknowledged it, and not before. Within the time there is, an attempt
//! that stays unanswered is repeated with the same message id, so that the stream stores it once: a stream without a
//! leader answers "no responders", and a server that dies answers nothing.
//!
//! The stream is checked, never created: `towline fleet init` does that, with rights the receiver does not have.

mod acks;
mod link;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::{HeaderMap, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use towline_daemon::admin::Readiness;
use towline_daemon::nats::{self, NatsError, Settings};
use towline_daemon::shutdown::Shutdown;
use towline_proto::streams;

use crate::trace::TraceContext;
use acks::{Acks, Expected, Reply};
use link::Link;

/// Below `_INBOX`, so that permissions for `_INBOX.>` do, and apart, so that narrower ones can be given.
const INBOX_PREFIX: &str = "_INBOX.receiver";

/// An acknowledgement takes a millisecond; one that took longer than this is lost with its connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Between attempts: an election takes a few of these.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// Between two looks at the connection's state while it is away. The client's events say it sooner, and can be lost where
/// very many come at once.
const STATE_PAUSE: Duration = Duration::from_millis(50);

/// How often the stream is looked at while nothing happens.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// While something is missing, somebody is waiting for it to be there.
const STREAM_CHECK_INTERVAL_UNREADY: Duration = Duration::from_secs(2);

/// The name of the readiness check.
const CHECK_STREAM: &str = "stream";

const NOT_CONNECTED: &str = "not connected to NATS";

/// One event on its way.
#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    /// JetStream stores one message per id and deduplication window.
    pub id: String,
    pub payload: Bytes,
    pub trace: Option<TraceContext>,
}

/// JetStream has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub sequence: u64,
    /// It had it before.
    pub duplicate: bool,
}

/// Why an event was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("not connected to NATS")]
    NotConnected,
    #[error("no stream takes the subject (no responders)")]
    NoStream,
    #[error("no acknowledgement in time{}", .refused.as_ref().map(|text| format!("; the server said: {text}")).unwrap_or_default())]
    NoAcknowledgement { refused: Option<String> },
    #[error("JetStream refused the event: {0}")]
    Refused(String),
    #[error("the delivery whose turn it was ended before it")]
    Abandoned,
}

/// Why there is no publisher.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Nats(#[from] NatsError),
    #[error("failed to subscribe to acknowledgements")]
    Subscribe(#[source] async_nats::SubscribeError),
}

/// A connection to NATS that publishes. Clones share it.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    jetstream: jetstream::Context,
    link: Arc<Link>,
    acks: Arc<Acks>,
    /// One for each event that waits for its acknowledgement.
    places: Arc<Semaphore>,
    /// Gives acknowledgements to those who wait for them; ends with the last clone.
    _router: Arc<JoinSet<()>>,
    router_ended: CancellationToken,
    readiness: Readiness,
}

impl Publisher {
    /// Starts connecting and returns at once. `in_flight_max` bounds the events that wait for an acknowledgement.
    pub async fn connect(
        settings: &Settings,
        readiness: Readiness,
        timeout: Duration,
        in_flight_max: usize,
    ) -> Result<Self, ConnectError> {
        let link = Arc::new(Link::new(readiness.clone()));
        readiness.set(CHECK_STREAM, Err(NOT_CONNECTED.to_owned()));
        let told = Arc::clone(&link);
        let inbox = Some(INBOX_PREFIX.to_owned());
        let client = nats::connect(settings, "towline-receiver", inbox, move |event| told.tell(event)).await?;
        let acks = Acks::new(&client.new_inbox(), streams::COMMITS);
        // Before any event in the same connection's order, and repeated by the client after every reconnect.
        let replies = client.subscribe(acks.wildcard()).await.map_err(ConnectError::Subscribe)?;
        let router_ended = CancellationToken::new();
        let mut router = JoinSet::new();
        router.spawn(route(replies, Arc::clone(&acks), router_ended.clone().drop_guard()));
        let jetstream = ContextBuilder::new().timeout(ATTEMPT_TIMEOUT.min(timeout)).build(client.clone());
        Ok(Self {
            client,
            jetstream,
            link,
            acks,
            places: Arc::new(Semaphore::new(in_flight_max)),
            _router: Arc::new(router),
            router_ended,
            readiness,
        })
    }

    /// Publishes and waits for the acknowledgement until the deadline.
    ///
    /// What is given up may still be stored; that is harmless, and its sender was told that it was not.
    pub async fn publish(
        &self,
        message: Message,
        deadline: Instant,
        attempts: &Counter,
    ) -> Result<Published, PublishError> {
        let started = Instant::now();
        let unanswered = || PublishError::NoAcknowledgement { refused: self.link.refused_since(started) };
        let place = tokio::time::timeout_at(deadline, self.places.acquire()).await;
        let (Ok(Ok(_place)), expected) = (place, self.acks.expect()) else { return Err(unanswered()) };
        let headers = headers(&message);
        let mut last_error = None;
        loop {
            // Nothing is handed to a client that is not connected: it would be sent long after its sender was told 503.
            if !self.is_connected_until(deadline).await {
                return Err(last_error.unwrap_or(PublishError::NotConnected));
            }
            attempts.inc();
            let sent = self.client.publish_with_reply_and_headers(
                message.subject.clone(),
                expected.reply_subject(),
                headers.clone(),
                message.payload.clone(),
            );
            match tokio::time::timeout_at(deadline, sent).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(PublishError::Refused(towline_daemon::error::chain(&error))),
                Err(_elapsed) => return Err(unanswered()),
            }
            let until = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
            match self.reply(&expected, until).await {
                Some(Reply::Stored(published)) => return Ok(published),
                Some(Reply::Refused(text)) => return Err(PublishError::Refused(text)),
                Some(Reply::Later(text)) => last_error = Some(PublishError::Refused(text)),
                Some(Reply::NoResponders) => last_error = Some(PublishError::NoStream),
                None => last_error = Some(unanswered()),
            }
            // The pause before another attempt, in which the answer to one before may come.
            let until = deadline.min(Instant::now() + RETRY_PAUSE);
            if let Ok(Reply::Stored(published)) = tokio::time::timeout_at(until, expected.reply()).await {
                return Ok(published);
            }
            if Instant::now() >= deadline {
                return Err(last_error.unwrap_or_else(unanswered));
            }
        }
    }

    /// What comes back for an event; nothing in time, or nothing any more because the connection is lost.
    async fn reply(&self, expected: &Expected, until: Instant) -> Option<Reply> {
        let mut connected = self.link.subscribe();
        tokio::select! {
            reply = expected.reply() => Some(reply),
            Ok(_) = connected.wait_for(|connected| !connected) => None,
            () = tokio::time::sleep_until(until) => None,
        }
    }

    async fn is_connected_until(&self, deadline: Instant) -> bool {
        let mut changes = self.link.subscribe();
        while self.client.connection_state() != State::Connected {
            if Instant::now() >= deadline {
                return false;
            }
            let until = deadline.min(Instant::now() + STATE_PAUSE);
            let _either_way = tokio::time::timeout_at(until, changes.changed()).await;
        }
        true
    }

    /// Looks at connection and stream after every connect and now and then, until shutdown; the results are readiness checks.
    pub async fn watch_stream(self, shutdown: Shutdown) -> Result<(), std::convert::Infallible> {
        let mut connected = self.link.subscribe();
        while !shutdown.is_requested() {
            connected.borrow_and_update();
            let is_connected = self.client.connection_state() == State::Connected;
            self.link.see(is_connected);
            let state = if is_connected { stream::check(&self.jetstream).await } else { Err(NOT_CONNECTED.to_owned()) };
            let pause = if state.is_ok() { STREAM_CHECK_INTERVAL } else { STREAM_CHECK_INTERVAL_UNREADY };
            self.readiness.set(CHECK_STREAM, state);
            tokio::select! {
                () = shutdown.requested() => {}
                () = self.router_ended.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                Ok(()) = connected.changed() => {}
            }
        }
        Ok(())
    }
}

async fn route(mut replies: Subscriber, acks: Arc<Acks>, _ended: DropGuard) {
    while let Some(message) = replies.next().await {
        acks.deliver(&message.subject, message.status, &message.payload);
    }
}

fn headers(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // JetStream stores one message per id and deduplication window, and none in a stream that took the subject by mistake.
    headers.insert(NATS_MESSAGE_ID, message.id.as_str());
    headers.insert(NATS_EXPECTED_STREAM, streams::COMMITS);
    if let Some(trace) = &message.trace {
        headers.insert("traceparent", trace.traceparent());
        if let Some(tracestate) = trace.tracestate() {
            headers.insert("tracestate", tracestate);
        }
    }
    headers
}

impl PublishError {
    /// A word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::NoStream => "no_stream",
            Self::NoAcknowledgement { .. } => "no_acknowledgement",
            Self::Refused(_) => "refused",
            Self::Abandoned => "abandoned",
        }
    }
}
