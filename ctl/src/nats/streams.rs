//! A stream's specification against what the server has: created, left as it is, or changed as far as can be. Knows which
//! settings a server never changes; must not know what the streams are for.

use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamError, GetStreamError, GetStreamErrorKind, UpdateStreamError};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde_json::Value;
use towline_proto::streams::{Discard, StreamSpec};

use super::Nats;
use crate::exit::{Exit, Fails};

/// The settings that are ours, by their names in the NATS API. Others (placement, compression, …) are the operator's.
const OURS: &[&str] = &[
    "description",
    "subjects",
    "storage",
    "retention",
    "discard",
    "max_msgs_per_subject",
    "max_age",
    "max_msg_size",
    "max_bytes",
    "max_consumers",
    "duplicate_window",
    "allow_direct",
    "allow_msg_ttl",
    "deny_delete",
    "deny_purge",
    "num_replicas",
];

/// What became of one stream.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    Created,
    Unchanged,
    Updated,
    /// What can be changed was; the rest needs a new stream.
    Differs,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settled {
    pub(crate) stream: &'static str,
    pub(crate) outcome: Outcome,
    /// As in `max_bytes: 1 → 2`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) changed: Vec<String>,
    /// As in `max_consumers: is 1000, should be 64`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cannot_change: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("look at the stream {stream}: the server refused: {reason}")]
    Refused { stream: &'static str, reason: String },
    #[error("look at the stream {stream}")]
    Look { stream: &'static str, source: GetStreamError },
    #[error("create the stream {stream}")]
    Create { stream: &'static str, source: CreateStreamError },
    #[error("update the stream {stream} ({changes})")]
    Update { stream: &'static str, changes: String, source: UpdateStreamError },
}

impl Fails for StreamError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

impl Nats {
    /// Makes the server's stream equal to the specification. Without a number of replicas an existing stream keeps its own.
    pub(crate) async fn settle(&self, spec: &StreamSpec, replicas: Option<usize>) -> Result<Settled, StreamError> {
        let jetstream = jetstream::new(self.client.clone());
        let stream = spec.name;
        let live = match jetstream.get_stream(stream).await {
            Ok(found) => found.cached_info().config.clone(),
            Err(error) if is_missing(&error) => {
                let config = wanted(spec, replicas, Config { num_replicas: 1, ..Config::default() });
                jetstream.create_stream(config).await.map_err(|source| StreamError::Create { stream, source })?;
                return Ok(Settled { stream, outcome: Outcome::Created, changed: vec![], cannot_change: vec![] });
            }
            // What may not be asked is never answered: without this a missing permission would read as a slow server.
            Err(source) => {
                return Err(match self.refusal() {
                    Some(reason) => StreamError::Refused { stream, reason },
                    None => StreamError::Look { stream, source },
                });
            }
        };
        let mut config = wanted(spec, replicas, live.clone());
        let cannot_change = keep_fixed(&live, &mut config);
        let changed = differences(&live, &config, " → ");
        if !changed.is_empty() {
            let changes = changed.join(", ");
            jetstream.update_stream(config).await.map_err(|source| StreamError::Update { stream, changes, source })?;
        }
        let outcome = match (cannot_change.is_empty(), changed.is_empty()) {
            (false, _) => Outcome::Differs,
            (true, false) => Outcome::Updated,
            (true, true) => Outcome::Unchanged,
        };
        Ok(Settled { stream, outcome, changed, cannot_change })
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// The specification over what is there.
fn wanted(spec: &StreamSpec, replicas: Option<usize>, live: Config) -> Config {
    Config {
        name: spec.name.to_owned(),
        description: Some(spec.description.to_owned()),
        subjects: spec.subjects.clone(),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: match spec.discard {
            Discard::Old => DiscardPolicy::Old,
            Discard::New => DiscardPolicy::New,
        },
        max_messages_per_subject: spec.max_msgs_per_subject,
        max_age: spec.max_age.unwrap_or_default(),
        max_message_size: spec.max_message_bytes,
        max_bytes: spec.max_bytes,
        max_consumers: spec.max_consumers,
        duplicate_window: spec.duplicate_window,
        allow_direct: spec.allow_direct,
        allow_message_ttl: spec.allow_msg_ttl,
        deny_delete: spec.deny_delete,
        deny_purge: spec.deny_purge,
        num_replicas: replicas.unwrap_or(live.num_replicas),
        ..live
    }
}

/// A server refuses a whole update for one of these: each is left as it is, and named.
fn keep_fixed(live: &Config, config: &mut Config) -> Vec<String> {
    let asked = config.clone();
    config.storage = live.storage;
    config.retention = live.retention;
    config.max_consumers = live.max_consumers;
    // These may be set later, and never taken back.
    config.deny_delete |= live.deny_delete;
    config.deny_purge |= live.deny_purge;
    config.allow_message_ttl |= live.allow_message_ttl;
    differences(config, &asked, ", should be ").iter().map(|line| line.replacen(": ", ": is ", 1)).collect()
}

fn differences(from: &Config, to: &Config, between: &str) -> Vec<String> {
    let fields = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let (from, to) = (fields(from), fields(to));
    let differing = OURS.iter().filter(|&&name| from[name] != to[name]);
    differing.map(|&name| format!("{name}: {}{between}{}", shown(name, &from[name]), shown(name, &to[name]))).collect()
}

/// The API counts time in nanoseconds and leaves out what is not set.
fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::Number(nanos) if matches!(name, "max_age" | "duplicate_window") => {
            format!("{}s", nanos.as_u64().unwrap_or_default() / 1_000_000_000)
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towline_proto::streams;

    #[test]
    fn what_a_server_cannot_change_is_named_and_kept() {
        let spec = streams::commits();
        let live = Config { max_consumers: 1000, deny_purge: true, ..wanted(&spec, None, Config::default()) };
        let mut config = wanted(&spec, None, live.clone());
        assert_eq!(
            keep_fixed(&live, &mut config),
            ["max_consumers: is 1000, should be 64", "deny_purge: is true, should be unset"]
        );
        assert_eq!(differences(&live, &config, " → "), [""; 0]);
    }

    #[test]
    fn the_operators_own_settings_stay() {
        let live = Config { num_replicas: 3, max_messages: 7, ..Config::default() };
        let config = wanted(&streams::events(), None, live.clone());
        assert_eq!((config.num_replicas, config.max_messages), (3, 7));
        let changes = differences(&live, &config, " → ");
        assert!(changes.contains(&"max_age: 0s → 7776000s".to_owned()), "{changes:?}");
    }
}
