//! The streams that `towline fleet init` creates, as plain values.
//!
//! Knows what each stream must keep and why. Must not know a NATS client: who creates a stream, and who checks one, translates.
//! Replicas are a property of the server at hand, so they are an argument there and not here. `max_consumers` and
//! `deny_delete` cannot be changed once a stream exists.

use std::time::Duration;

use crate::subject;

pub const COMMITS: &str = "COMMITS";
pub const STATUS: &str = "STATUS";
pub const EVENTS: &str = "EVENTS";
pub const HEARTBEAT: &str = "HEARTBEAT";

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MIB: i64 = 1024 * 1024;

/// Who reads a stream with a consumer: the hub's replicas, a console at the hub, an operator's `nats` tool. Agents use core
/// subscriptions and direct get, and need none. 64 leaves room and keeps a mistake (a consumer per agent) from growing.
const CONSUMERS_MAX: i32 = 64;

/// NATS's own default, which it also takes for zero.
const DUPLICATES_DEFAULT: Duration = Duration::from_secs(120);

/// What a full stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// The oldest message goes.
    Old,
    /// The new message is refused, and its sender is told.
    New,
}

/// A stream's configuration. Integers have the types of the NATS API; -1 is its "no limit".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    pub name: &'static str,
    pub description: &'static str,
    pub subjects: Vec<String>,
    pub max_msgs_per_subject: i64,
    /// `None`: kept for ever.
    pub max_age: Option<Duration>,
    /// Headers included.
    pub max_message_bytes: i32,
    pub max_bytes: i64,
    pub duplicate_window: Duration,
    pub max_consumers: i32,
    pub allow_direct: bool,
    pub allow_msg_ttl: bool,
    pub deny_delete: bool,
    pub deny_purge: bool,
    pub discard: Discard,
}

/// All of them, in the order in which they are created.
pub fn specs() -> Vec<StreamSpec> {
    vec![commits(), status(), events(), heartbeat()]
}

/// The last commit event of each ref: what an agent that was away asks for.
pub fn commits() -> StreamSpec {
    StreamSpec {
        name: COMMITS,
        description: "Towline: the last commit event of each ref",
        subjects: vec![subject::COMMIT_WILDCARD.to_owned()],
        // Only the newest matters: the agent resolves the ref itself.
        max_msgs_per_subject: 1,
        // A ref that nobody pushed to for a month is covered by the poll. Branches that are gone disappear.
        max_age: Some(30 * DAY),
        // An event of 8 KiB and its headers (message id, trace).
        max_message_bytes: 16 * 1024,
        // About 400,000 refs of 600 bytes. What falls out costs latency, never the result.
        max_bytes: 256 * MIB,
        // Catches a provider's immediate retry, and lets a redelivery by hand through.
        duplicate_window: MINUTE,
        max_consumers: CONSUMERS_MAX,
        allow_direct: true,
        allow_msg_ttl: false,
        deny_delete: false,
        deny_purge: false,
        // A flood of invented refs must not keep the next push out.
        discard: Discard::Old,
    }
}

/// The last statuses of each Sync.
pub fn status() -> StreamSpec {
    StreamSpec {
        name: STATUS,
        description: "Towline: the last statuses of each Sync",
        subjects: vec![subject::STATUS_WILDCARD.to_owned()],
        // Any client of the account can make the server write to any subject: four forged messages leave the last true one.
        max_msgs_per_subject: 5,
        // A Sync that is quiet is not gone. One that is deleted ends with a tombstone that has a TTL.
        max_age: None,
        // An envelope of the largest size, and its headers.
        max_message_bytes: 272 * 1024,
        // 1,000 clusters with 50 Syncs of 5 statuses of 2 KiB, reserved.
        max_bytes: 512 * MIB,
        duplicate_window: DUPLICATES_DEFAULT,
        max_consumers: CONSUMERS_MAX,
        allow_direct: true,
        allow_msg_ttl: true,
        deny_delete: false,
        deny_purge: false,
        // Loud: dropping the oldest would make a quiet Sync vanish, and the fleet would look healthier than it is.
        discard: Discard::New,
    }
}

/// What happened: history and audit.
pub fn events() -> StreamSpec {
    StreamSpec {
        name: EVENTS,
        description: "Towline: what happened, for history and audit",
        subjects: vec![subject::EVENT_WILDCARD.to_owned()],
        max_msgs_per_subject: -1,
        // A quarter: what a review looks back on. The hub exports what must be kept longer.
        max_age: Some(90 * DAY),
        max_message_bytes: 272 * 1024,
        // 1,000 clusters with 500 events of 2 KiB.
        max_bytes: 1024 * MIB,
        // An agent that reconnects sends its spool again: ten minutes cover an acknowledgement that was lost on the way.
        duplicate_window: Duration::from_secs(10 * 60),
        max_consumers: CONSUMERS_MAX,
        allow_direct: true,
        allow_msg_ttl: false,
        // Append-only: nobody edits history.
        deny_delete: true,
        deny_purge: true,
        // The newest events are the ones that are looked for; a gap at the old end is visible as the first sequence.
        discard: Discard::Old,
    }
}

/// The last heartbeat of each cluster.
pub fn heartbeat() -> StreamSpec {
    StreamSpec {
        name: HEARTBEAT,
        description: "Towline: the last heartbeat of each cluster",
        subjects: vec![subject::HEARTBEAT_WILDCARD.to_owned()],
        max_msgs_per_subject: 1,
        // Staleness is judged by time, so the last one must stay, however old.
        max_age: None,
        // A heartbeat in its envelope is below 1 KiB.
        max_message_bytes: 8 * 1024,
        // 8,000 clusters at 2 KiB.
        max_bytes: 16 * MIB,
        duplicate_window: DUPLICATES_DEFAULT,
        max_consumers: CONSUMERS_MAX,
        allow_direct: true,
        allow_msg_ttl: false,
        deny_delete: false,
        deny_purge: false,
        discard: Discard::New,
    }
}
