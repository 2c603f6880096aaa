//! What is in the stream of commit events, read as an administrator would. Knows the stream's name and the event.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures::TryStreamExt as _;
use harness::nats::Nats;
use towline_proto::{CommitEvent, streams};

use crate::sender::Outcome;

/// What is waiting comes at once; this ends a fetch that came out short.
const FETCH: Duration = Duration::from_secs(30);

/// Every event in the stream, in its order.
pub async fn events(nats: &Nats) -> Vec<CommitEvent> {
    let jetstream = jetstream::new(nats.connect("admin").await.unwrap());
    let mut stream = jetstream.get_stream(streams::COMMITS).await.unwrap();
    let count = usize::try_from(stream.info().await.unwrap().state.messages).unwrap();
    if count == 0 {
        return Vec::new();
    }
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.fetch().max_messages(count).expires(FETCH).messages().await.unwrap();
    let events: Vec<_> =
        messages.map_ok(|message| CommitEvent::decode(&message.payload).unwrap()).try_collect().await.unwrap();
    assert_eq!(events.len(), count, "the stream tells of more than it hands out");
    events
}

/// What the receiver promised is there, and once: every 202's commit is in the stream. Returns how many there were.
pub async fn every_202_is_stored(nats: &Nats, outcomes: &[Outcome]) -> usize {
    let events = events(nats).await;
    let commits: Vec<String> = events.iter().filter_map(|event| Some(event.after.as_ref()?.to_string())).collect();
    let stored: BTreeSet<&str> = commits.iter().map(String::as_str).collect();
    assert_eq!(stored.len(), commits.len(), "an event was stored twice");
    let accepted: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.status == Ok(202)).collect();
    let lost: Vec<&&Outcome> = accepted.iter().filter(|outcome| !stored.contains(outcome.commit.as_str())).collect();
    assert!(
        lost.is_empty(),
        "{} of {} accepted deliveries are not in the stream: {lost:?}",
        lost.len(),
        accepted.len()
    );
    accepted.len()
}
