//! Commit events to JetStream, and whether it is fit to take them. The only file here that imports the NATS client.
//!
//! An event counts as published when JetStream acknowledged it, and not before. Within the time there is, an attempt
//! that stays unanswered is repeated with the same message id, so that the stream stores it once: a stream without a
//! leader answers "no responders", and a server that dies answers nothing.
//!
//! The stream is checked, never created: `towline fleet init` does that, with rights the receiver does not have.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode, stream};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use towline_daemon::admin::Readiness;
use towline_daemon::nats::{self, Event, NatsError, Settings};
use towline_daemon::shutdown::Shutdown;
use towline_proto::streams;

/// Below `_INBOX`, so that permissions for `_INBOX.>` do, and apart, so that narrower ones can be given.
const INBOX_PREFIX: &str = "_INBOX.receiver";

/// An acknowledgement takes a millisecond; one that took longer than this is lost with its connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Between attempts: an election takes a few of these.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// How often the stream is looked at while nothing happens.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// While something is missing, somebody is waiting for it to be there.
const STREAM_CHECK_INTERVAL_UNREADY: Duration = Duration::from_secs(2);

/// Names of the readiness checks.
const CHECK_CONNECTION: &str = "nats";
const CHECK_STREAM: &str = "stream";

const NOT_CONNECTED: &str = "not connected to NATS";

/// One event on its way.
#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    /// JetStream stores one message per id and deduplication window.
    pub id: String,
    pub payload: Bytes,
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
}

/// What the server refused last, and when: a missing permission is said beside the message, not in answer to it.
type LastRefusal = Arc<Mutex<Option<(Instant, String)>>>;

/// A connection to NATS that publishes. Clones share it.
#[derive(Clone)]
pub struct Publisher {
    jetstream: jetstream::Context,
    connected: watch::Receiver<bool>,
    last_refusal: LastRefusal,
    readiness: Readiness,
    timeout: Duration,
}

impl Publisher {
    /// Starts connecting and returns at once. `in_flight_max` bounds the events that wait for an acknowledgement.
    pub async fn connect(
        settings: &Settings,
        readiness: Readiness,
        timeout: Duration,
        in_flight_max: usize,
    ) -> Result<Self, NatsError> {
        readiness.set(CHECK_CONNECTION, Err("not connected yet".to_owned()));
        readiness.set(CHECK_STREAM, Err(NOT_CONNECTED.to_owned()));
        let (connected_sender, connected) = watch::channel(false);
        let last_refusal = LastRefusal::default();
        let (refusal, checks) = (Arc::clone(&last_refusal), readiness.clone());
        let client =
            nats::connect(settings, "towline-receiver", Some(INBOX_PREFIX.to_owned()), move |event| match event {
                Event::Connected => {
                    checks.set(CHECK_CONNECTION, Ok(()));
                    connected_sender.send_replace(true);
                }
                Event::Disconnected => {
                    checks.set(CHECK_CONNECTION, Err("disconnected".to_owned()));
                    connected_sender.send_replace(false);
                }
                Event::ServerError(text) => {
                    tracing::warn!(error = text, "nats server error");
                    *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), text));
                }
                Event::ClientError(text) => {
                    tracing::debug!(error = text, "nats client error");
                    if !*connected_sender.borrow() {
                        checks.set(CHECK_CONNECTION, Err(text));
                    }
                }
                Event::SlowConsumer => {}
            })
            .await?;
        let jetstream = ContextBuilder::new()
            .timeout(ATTEMPT_TIMEOUT.min(timeout))
            .max_ack_inflight(in_flight_max)
            .backpressure_on_inflight(true)
            .build(client);
        Ok(Self { jetstream, connected, last_refusal, readiness, timeout })
    }

    /// Publishes and waits for the acknowledgement, at most the publish timeout in all.
    pub async fn publish(&self, message: &Message) -> Result<Published, PublishError> {
        let started = Instant::now();
        let deadline = started + self.timeout;
        // Nothing is handed to a client that is not connected: it would be sent long after its sender was told 503.
        let mut connected = self.connected.clone();
        match tokio::time::timeout_at(deadline, connected.wait_for(|connected| *connected)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(PublishError::NotConnected),
        }
        loop {
            let attempt = tokio::time::timeout_at(deadline, self.attempt(message)).await;
            let error = match attempt.unwrap_or(Err(None)) {
                Ok(published) => return Ok(published),
                Err(Some(error @ PublishError::Refused(_))) => return Err(error),
                Err(Some(error)) => error,
                Err(None) => PublishError::NoAcknowledgement { refused: self.refused_since(started) },
            };
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn refused_since(&self, moment: Instant) -> Option<String> {
        let last = self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(when, _)| *when >= moment).map(|(_, text)| text.clone())
    }

    /// One attempt; `Err(None)` when nothing came back.
    async fn attempt(&self, message: &Message) -> Result<Published, Option<PublishError>> {
        let publish = PublishMessage::build().payload(message.payload.clone()).message_id(&message.id);
        let result = match self.jetstream.send_publish(message.subject.clone(), publish).await {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match result {
            Ok(stored) => Ok(Published { sequence: stored.sequence, duplicate: stored.duplicate }),
            Err(error) => Err(match error.kind() {
                PublishErrorKind::StreamNotFound => Some(PublishError::NoStream),
                PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => None,
                PublishErrorKind::WrongLastMessageId
                | PublishErrorKind::WrongLastSequence
                | PublishErrorKind::MaxAckPending
                | PublishErrorKind::MaxPayloadExceeded
                | PublishErrorKind::Other => Some(PublishError::Refused(towline_daemon::error::chain(&error))),
            }),
        }
    }

    /// Looks at the stream after every connect and now and then, until shutdown; the result is a readiness check.
    pub async fn watch_stream(self, shutdown: Shutdown) -> Result<(), std::convert::Infallible> {
        let mut connected = self.connected.clone();
        while !shutdown.is_requested() {
            let is_connected = *connected.borrow_and_update();
            let state = if is_connected { self.check_stream().await } else { Err(NOT_CONNECTED.to_owned()) };
            let pause = if state.is_ok() { STREAM_CHECK_INTERVAL } else { STREAM_CHECK_INTERVAL_UNREADY };
            self.readiness.set(CHECK_STREAM, state);
            tokio::select! {
                () = shutdown.requested() => {}
                () = tokio::time::sleep(pause) => {}
                Ok(()) = connected.changed() => {}
            }
        }
        Ok(())
    }

    async fn check_stream(&self) -> Result<(), String> {
        let wanted = streams::commits();
        match self.jetstream.get_stream(wanted.name).await {
            Ok(found) => judge_stream(&wanted, &found.cached_info().config),
            Err(error) => Err(match error.kind() {
                GetStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    format!("stream {} does not exist: `towline fleet init` creates it", wanted.name)
                }
                _ => format!(
                    "failed to ask for stream {} (subject $JS.API.STREAM.INFO.{}): {}",
                    wanted.name,
                    wanted.name,
                    towline_daemon::error::chain(&error)
                ),
            }),
        }
    }
}

/// Everything by which the stream at hand is not the one that is needed.
fn judge_stream(wanted: &streams::StreamSpec, found: &stream::Config) -> Result<(), String> {
    let mut missing = Vec::new();
    for subject in wanted.subjects.iter().filter(|subject| !found.subjects.contains(subject)) {
        missing.push(format!("does not take subject {subject}"));
    }
    if found.max_messages_per_subject != wanted.max_msgs_per_subject {
        missing.push(format!(
            "keeps {} messages per subject instead of {}",
            found.max_messages_per_subject, wanted.max_msgs_per_subject
        ));
    }
    if wanted.allow_direct && !found.allow_direct {
        missing.push("does not allow direct get".to_owned());
    }
    if found.duplicate_window != wanted.duplicate_window {
        missing.push(format!(
            "has a deduplication window of {:?} instead of {:?}",
            found.duplicate_window, wanted.duplicate_window
        ));
    }
    if found.no_ack {
        missing.push("does not acknowledge".to_owned());
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("stream {}: it {}", wanted.name, missing.join(", it "))) }
}

impl PublishError {
    /// A word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::NoStream => "no_stream",
            Self::NoAcknowledgement { .. } => "no_acknowledgement",
            Self::Refused(_) => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_judged_by_everything_that_matters() {
        let wanted = streams::commits();
        let good = stream::Config {
            subjects: wanted.subjects.clone(),
            max_messages_per_subject: wanted.max_msgs_per_subject,
            allow_direct: true,
            duplicate_window: wanted.duplicate_window,
            ..stream::Config::default()
        };
        assert_eq!(judge_stream(&wanted, &good), Ok(()));
        let bad = judge_stream(
            &wanted,
            &stream::Config { subjects: vec!["other.>".to_owned()], ..stream::Config::default() },
        );
        let text = bad.unwrap_err();
        for part in ["does not take subject towline.commit.*.*", "messages per subject", "direct get", "deduplication"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
