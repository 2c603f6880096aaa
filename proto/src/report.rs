//! What an agent says about its cluster: statuses, changes, heartbeats.
//!
//! Knows names, revisions, counts and field paths. Must not know a value: nothing here has room for one.
//! Everything is bounded; see `bounded()` of each type, which also runs on what is received.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bounds::cut;
use crate::commit_info::CommitInfo;
use crate::names::ClusterName;
use crate::version::Wire;

/// A screenful: the beginning of an error says what is wrong.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Nobody reads the 201st line of a change in a console; the count says how many there were.
pub const CHANGES_MAX: usize = 200;

/// A field path of a deep CRD is about 150 bytes; more than 16 of them say "much of it".
const FIELDS_MAX: usize = 16;
const FIELD_BYTES_MAX: usize = 256;

/// group/Kind (at most 253 + 63), namespace (63) and name (253).
const OBJECT_BYTES_MAX: usize = 640;

/// All changes of one event together: half of an envelope.
const CHANGES_BYTES_MAX: usize = 96 * 1024;

/// A Kubernetes object's name is at most 253 bytes.
const NAME_BYTES_MAX: usize = 253;

/// `main@sha256:<64 digits>` with a ref of 255 bytes.
const REVISION_BYTES_MAX: usize = 384;

/// Reasons, actions, triggers, delivery ids.
const WORD_BYTES_MAX: usize = 128;

macro_rules! event_kinds {
    ($($variant:ident = $token:literal),* $(,)?) => {
        /// The closed list of what an event can be about: each is named in the permissions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum EventKind { $($variant),* }

        impl EventKind {
            pub const ALL: &[EventKind] = &[$(EventKind::$variant),*];

            /// As it stands in a subject.
            pub fn token(self) -> &'static str {
                match self { $(EventKind::$variant => $token),* }
            }

            pub fn parse(token: &str) -> Result<Self, UnknownEventKind> {
                match token {
                    $($token => Ok(EventKind::$variant),)*
                    _ => Err(UnknownEventKind),
                }
            }
        }
    };
}

event_kinds! {
    Applied = "applied",
    Failed = "failed",
    DriftReverted = "drift-reverted",
    DriftDetected = "drift-detected",
    Pruned = "pruned",
    PruneHeld = "prune-held",
    SourceUpdated = "source-updated",
    SourceFailed = "source-failed",
    InventoryRebuilt = "inventory-rebuilt",
    AgentStarted = "agent-started",
    ReportsLost = "reports-lost",
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read the kind of event: it is not one of those known here")]
pub struct UnknownEventKind;

/// The status of the condition `Ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReadyStatus {
    True,
    False,
    Unknown,
}

/// The condition `Ready`, as in the Sync's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    pub status: ReadyStatus,
    pub reason: String,
    pub message: String,
}

/// Where a Sync stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    pub version: u32,
    pub cluster: ClusterName,
    pub namespace: String,
    pub name: String,
    pub generation: i64,
    pub ready: Readiness,
    /// The GitSource, as `namespace/name`.
    pub source: Option<String>,
    pub last_applied_revision: Option<String>,
    pub last_attempted_revision: Option<String>,
    /// The source's sequence that was applied: revisions compare by it.
    pub sequence: Option<u64>,
    pub inventory_entries: u32,
    pub at: Timestamp,
    /// The tombstone of a Sync that is gone.
    #[serde(default)]
    pub deleted: bool,
}

/// What a pass did, or what befell a source or an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEvent {
    pub version: u32,
    pub cluster: ClusterName,
    pub kind: EventKind,
    pub namespace: String,
    pub name: String,
    pub revision: Option<String>,
    pub sequence: Option<u64>,
    /// Whose change the revision is. Not known of what was applied before a restart and is not in the mirror any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitInfo>,
    /// What started it: `event`, `poll`, `drift`, `request`, …
    pub trigger: String,
    /// The delivery id of the commit event behind it, if one was.
    pub delivery: Option<String>,
    pub message: String,
    pub changes: Vec<ObjectChange>,
    /// How many more there were.
    #[serde(default)]
    pub changes_omitted: u32,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

/// What happened to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectChange {
    /// `Kind/namespace/name`, or as the report writes it.
    pub object: String,
    /// `created`, `configured`, `deleted`, `skipped`, …
    pub action: String,
    /// Paths of the fields that changed; never their values.
    #[serde(default)]
    pub fields: Vec<String>,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fields_omitted: u32,
}

/// A cluster's sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub version: u32,
    pub cluster: ClusterName,
    pub agent_version: String,
    pub started_at: Timestamp,
    pub at: Timestamp,
    pub syncs: u32,
    pub ready: u32,
    pub sources: u32,
}

impl SyncStatus {
    pub const VERSION: u32 = 1;
}

impl ChangeEvent {
    pub const VERSION: u32 = 1;
}

impl Heartbeat {
    pub const VERSION: u32 = 1;
}

impl ObjectChange {
    pub fn new(object: impl Into<String>, action: impl Into<String>, fields: Vec<String>) -> Self {
        Self { object: object.into(), action: action.into(), fields, fields_omitted: 0 }
    }

    fn bounded(mut self) -> Self {
        self.object = cut(&self.object, OBJECT_BYTES_MAX);
        self.action = cut(&self.action, WORD_BYTES_MAX);
        self.fields_omitted = self.fields_omitted.saturating_add(excess(self.fields.len(), FIELDS_MAX));
        self.fields.truncate(FIELDS_MAX);
        self.fields.iter_mut().for_each(|field| *field = cut(field, FIELD_BYTES_MAX));
        self
    }

    fn bytes(&self) -> usize {
        self.object.len() + self.action.len() + self.fields.iter().map(String::len).sum::<usize>()
    }
}

impl Wire for SyncStatus {
    const VERSION: u32 = Self::VERSION;

    fn bounded(mut self) -> Self {
        self.namespace = cut(&self.namespace, NAME_BYTES_MAX);
        self.name = cut(&self.name, NAME_BYTES_MAX);
        self.ready.reason = cut(&self.ready.reason, WORD_BYTES_MAX);
        self.ready.message = cut(&self.ready.message, MESSAGE_BYTES_MAX);
        self.source = self.source.map(|text| cut(&text, 2 * NAME_BYTES_MAX));
        self.last_applied_revision = self.last_applied_revision.map(|text| cut(&text, REVISION_BYTES_MAX));
        self.last_attempted_revision = self.last_attempted_revision.map(|text| cut(&text, REVISION_BYTES_MAX));
        self
    }
}

impl Wire for ChangeEvent {
    const VERSION: u32 = Self::VERSION;

    fn bounded(mut self) -> Self {
        self.namespace = cut(&self.namespace, NAME_BYTES_MAX);
        self.name = cut(&self.name, NAME_BYTES_MAX);
        self.revision = self.revision.map(|text| cut(&text, REVISION_BYTES_MAX));
        self.commit = self.commit.map(CommitInfo::bounded);
        self.trigger = cut(&self.trigger, WORD_BYTES_MAX);
        self.delivery = self.delivery.map(|text| cut(&text, WORD_BYTES_MAX));
        self.message = cut(&self.message, MESSAGE_BYTES_MAX);
        let before = self.changes.len();
        let mut room = CHANGES_BYTES_MAX;
        let fits = |change: &ObjectChange| match room.checked_sub(change.bytes()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        };
        self.changes = self.changes.into_iter().take(CHANGES_MAX).map(ObjectChange::bounded).take_while(fits).collect();
        self.changes_omitted = self.changes_omitted.saturating_add(excess(before, self.changes.len()));
        self
    }
}

impl Wire for Heartbeat {
    const VERSION: u32 = Self::VERSION;

    fn bounded(mut self) -> Self {
        self.agent_version = cut(&self.agent_version, WORD_BYTES_MAX);
        self
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

fn excess(count: usize, max: usize) -> u32 {
    u32::try_from(count.saturating_sub(max)).unwrap_or(u32::MAX)
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
