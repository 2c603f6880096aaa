//! The conversation with NATS: subscribe, ask for a last event, publish and wait for the acknowledgement.
//!
//! Knows the client library: nothing else in the agent talks to it but its neighbours here, which hold the connection. Must
//! not know when to do any of this, and repeats nothing.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::stream::{SelectAll, Stream, StreamExt};
use towline_proto::{streams, subject};

use super::seal::Sealed;

/// A leader election takes up to four seconds; the answer otherwise takes a round trip.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The client queues 2,048 commands. It takes longer only if the connection went away in this moment.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The client tells errors on another task than answers. A refused subscription is known by then, before an answer makes it
/// look granted.
const ERRORS_FIRST: Duration = Duration::from_millis(50);

/// Why it is not known what the last event of a ref is.
#[derive(Debug, thiserror::Error)]
pub(super) enum LastEventError {
    #[error(
        "ask for the last commit event: nobody answers (is there a stream {}, and does it allow direct get?)",
        streams::COMMITS
    )]
    NoResponders,
    #[error("ask for the last commit event: no answer within {ANSWER_TIMEOUT:?}")]
    TimedOut,
    #[error("ask for the last commit event: the server answers {status}")]
    Status { status: String },
    #[error("ask for the last commit event")]
    Client(#[source] async_nats::RequestError),
}

/// Why a report is not known to be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("publish a report: nobody answers (is there a stream for it?)")]
    NoResponders,
    #[error("publish a report: no acknowledgement within {ANSWER_TIMEOUT:?}")]
    TimedOut,
    #[error("publish a report: the stream refuses it: {0}")]
    Refused(async_nats::jetstream::Error),
    #[error("publish a report: the acknowledgement cannot be read")]
    Unreadable(#[source] serde_json::Error),
    #[error("publish a report")]
    Client(#[source] async_nats::RequestError),
}

/// Why a subscription was not even sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubscribeError {
    #[error("subscribe: the client takes no more commands")]
    TimedOut,
    #[error("subscribe")]
    Client(#[source] async_nats::SubscribeError),
}

impl LastEventError {
    /// Whether somebody answered at all.
    pub(super) fn is_an_answer(&self) -> bool {
        matches!(self, Self::NoResponders | Self::Status { .. })
    }
}

impl PublishError {
    /// Whether the same message will be refused again, as far as one can know.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            // 4xx: too large, no TTL allowed. A stream that is full or has no leader says 503.
            Self::Refused(error) => (400..500).contains(&error.code()),
            Self::Client(error) => {
                matches!(error.kind(), RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject)
            }
            Self::NoResponders | Self::TimedOut | Self::Unreadable(_) => false,
        }
    }
}

/// Asks the stream's replicas for the last event of a commit subject. `None`: there is none.
pub(super) async fn last_event(client: &Client, subject: &str) -> Result<Option<Bytes>, LastEventError> {
    // An inbox of its own: the shared one of the client keeps an entry for ever for each question that nobody answers.
    let request = Request::new().timeout(Some(ANSWER_TIMEOUT)).inbox(client.new_inbox());
    let answer = client.send_request(subject::direct_get(streams::COMMITS, subject), request).await;
    tokio::time::sleep(ERRORS_FIRST).await;
    let message = answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => LastEventError::NoResponders,
        RequestErrorKind::TimedOut => LastEventError::TimedOut,
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::Other => {
            LastEventError::Client(error)
        }
    })?;
    match message.status {
        None => Ok(Some(message.payload)),
        Some(StatusCode::NOT_FOUND) => Ok(None),
        Some(status) => {
            let description = message.description.unwrap_or_default();
            Err(LastEventError::Status { status: format!("{status} {description}") })
        }
    }
}

/// Publishes to whatever stream takes the subject, and returns when it is stored there.
pub(super) async fn publish(client: &Client, sealed: &Sealed) -> Result<(), PublishError> {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, sealed.id.as_str());
    if let Some(ttl) = sealed.ttl {
        headers.insert(async_nats::header::NATS_MESSAGE_TTL, ttl.as_secs().to_string());
    }
    let request = Request::new()
        .timeout(Some(ANSWER_TIMEOUT))
        .inbox(client.new_inbox())
        .headers(headers)
        .payload(sealed.bytes.clone());
    let answer = client.send_request(sealed.subject.clone(), request).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => PublishError::NoResponders,
        RequestErrorKind::TimedOut => PublishError::TimedOut,
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::Other => {
            PublishError::Client(error)
        }
    })?;
    match serde_json::from_slice(&answer.payload).map_err(PublishError::Unreadable)? {
        Response::Ok(PublishAck { .. }) => Ok(()),
        Response::Err { error } => Err(PublishError::Refused(error)),
    }
}

/// All subscriptions as one stream of messages.
#[derive(Default)]
pub(super) struct Subscriptions {
    all: SelectAll<Subscription>,
}

struct Subscription {
    subject: String,
    messages: Subscriber,
}

impl Subscriptions {
    /// Sends the subscription. Whether the server grants it is known only from what follows.
    pub(super) async fn subscribe(&mut self, client: &Client, subject: &str) -> Result<(), SubscribeError> {
        if self.all.iter().any(|known| known.subject == subject) {
            return Ok(());
        }
        let subscribing = tokio::time::timeout(SUBSCRIBE_TIMEOUT, client.subscribe(subject.to_owned()));
        let messages = subscribing.await.map_err(|_| SubscribeError::TimedOut)?.map_err(SubscribeError::Client)?;
        self.all.push(Subscription { subject: subject.to_owned(), messages });
        Ok(())
    }

    /// Dropping a subscription unsubscribes it.
    pub(super) fn unsubscribe(&mut self, subject: &str) {
        self.all = std::mem::take(&mut self.all).into_iter().filter(|known| known.subject != subject).collect();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) async fn next(&mut self) -> Option<Message> {
        self.all.next().await
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.messages.poll_next_unpin(context)
    }
}
