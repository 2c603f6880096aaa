//! `Sync`: which path of a source is to be what the cluster runs.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use kube::core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::drift::{DriftDetection, DriftMode};
use super::schema;

/// Keeps the cluster equal to a path of a GitSource.
#[derive(CustomResource, Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq)]
#[kube(
    group = "towline.dev",
    version = "v1alpha1",
    kind = "Sync",
    namespaced,
    status = "SyncStatus",
    category = "towline",
    doc = "Keeps the cluster equal to a path of a GitSource.",
    validation = Rule::new("size(self.metadata.name) <= 63").message("a Sync's name is at most 63 bytes: it is also the value of a label"),
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.lastAppliedRevision"}"#,
    printcolumn = r#"{"name":"Objects","type":"integer","jsonPath":".status.inventory.entries"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SyncSpec {
    /// Where the manifests come from.
    pub source_ref: SourceReference,
    /// A folder or file of the repository. Default: all of it.
    #[serde(default)]
    #[schemars(length(max = 1024), transform = schema::path)]
    pub path: String,
    /// How often the cluster is verified in full, whether or not anything seems to have changed. Default 10m.
    #[serde(default = "default_interval")]
    #[schemars(transform = schema::duration)]
    pub interval: Duration,
    /// How soon a failed pass is tried again; doubles with every further failure up to `interval`. Default 1m.
    #[serde(default = "default_retry_interval")]
    #[schemars(transform = schema::duration)]
    pub retry_interval: Duration,
    /// How long one pass may take; and how long what was applied may take to become healthy, and what is deleted to be gone.
    /// Default 5m.
    #[serde(default = "default_timeout")]
    #[schemars(transform = schema::duration)]
    pub timeout: Duration,
    /// Deletes from the cluster what is no longer in Git.
    pub prune: bool,
    /// Bounds what pruning may do.
    #[serde(default)]
    pub prune_policy: PrunePolicy,
    /// The namespace that all namespaced objects are put into, whatever Git says. A Namespace of Git takes this name; none is
    /// made otherwise. What refers to a moved Service or ServiceAccount (role bindings, webhooks) goes along. Default: as Git
    /// says, and the Sync's own namespace where Git names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub target_namespace: Option<String>,
    /// What becomes of the objects when the Sync itself is deleted. Default MirrorPrune.
    #[serde(default, skip_serializing_if = "DeletionPolicy::is_default")]
    pub deletion_policy: DeletionPolicy,
    /// The service account in the Sync's namespace as which everything of its objects is done: dry-runs, applies, deletions,
    /// looks and watches. Default: `kubernetes.default_service_account` of the agent, else the agent's own rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,
    /// Syncs that have to be ready before this one is applied. Within one source they have to be done at the same revision, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub depends_on: Vec<DependencyReference>,
    /// Waits until everything that was applied is healthy, before anything is pruned and before the revision counts as applied.
    /// Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait: bool,
    /// Objects whose health is waited for, too, whoever owns them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub health_checks: Vec<HealthCheckReference>,
    /// How the health of kinds is judged that have a way of their own to tell it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub health_check_exprs: Vec<HealthCheckExprs>,
    /// What follows when something in the cluster is not as Git says, though Git did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_detection: Option<Box<DriftDetection>>,
    /// Neither applies, nor reverts, nor prunes.
    #[serde(default)]
    pub suspend: bool,
}

/// A source by kind and name.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SourceReference {
    /// What kind of source: GitSource.
    pub kind: SourceKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Default: the Sync's own; another one only where the agent allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// An object whose health is waited for.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckReference {
    /// As in a manifest: `apps/v1`.
    #[schemars(length(min = 1, max = 316))]
    pub api_version: String,
    /// As in a manifest: `Deployment`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Default: the Sync's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// CEL expressions over the fields of an object, that tell its health. `inProgress`, `failed` and `current` are asked in this
/// order, and the first that is true decides; if none is, the object is in progress.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckExprs {
    /// Of the objects that are judged so: `cert-manager.io/v1`. Versions of a kind are not told apart.
    #[schemars(length(min = 1, max = 316))]
    pub api_version: String,
    /// Of the objects that are judged so.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// True when it is healthy.
    #[schemars(length(min = 1, max = 4096))]
    pub current: String,
    /// True while waiting may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub in_progress: Option<String>,
    /// True when waiting does not help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub failed: Option<String>,
}

/// A Sync that another one depends on.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DependencyReference {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its namespace. Default: the Sync's own; another one only where the agent allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// A CEL expression over `dep`, the other Sync, and `self`, this one, that is true when the other one is ready. It takes
    /// the place of what is asked of it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub ready_expr: Option<String>,
}

#[derive(Deserialize, Serialize, Clone, Copy, Debug, JsonSchema, PartialEq, Eq)]
pub enum SourceKind {
    GitSource,
}

/// What becomes of a Sync's objects when the Sync is deleted.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, Default, JsonSchema, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// They are deleted if `prune` is true, and stay otherwise.
    #[default]
    MirrorPrune,
    /// They are deleted.
    Delete,
    /// They are deleted, and the Sync is there until they are gone.
    WaitForTermination,
    /// They stay.
    Orphan,
}

impl DeletionPolicy {
    fn is_default(&self) -> bool {
        *self == Self::MirrorPrune
    }
}

/// What may be deleted because it left Git.
#[derive(Deserialize, Serialize, Clone, Debug, Default, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PrunePolicy {
    /// Deletions one pass may make: a number, or a percentage of the inventory rounded up. Above it none is made and the
    /// condition says which were meant. Without it: 50%, and never all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = schema::count_or_percentage)]
    pub max_deletions: Option<IntOrString>,
    /// Kinds whose loss is loss of data and which may be deleted all the same: Namespace, CustomResourceDefinition,
    /// PersistentVolumeClaim, PersistentVolume. Unnamed, they stay.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(transform = schema::set)]
    pub allow_kinds: BTreeSet<String>,
}

impl SyncSpec {
    /// What follows from drift.
    #[must_use]
    pub fn drift_mode(&self) -> DriftMode {
        self.drift_detection.as_ref().map(|drift| drift.mode).unwrap_or_default()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn default_interval() -> Duration {
    std::time::Duration::from_secs(600).into()
}

fn default_retry_interval() -> Duration {
    std::time::Duration::from_secs(60).into()
}

fn default_timeout() -> Duration {
    std::time::Duration::from_secs(300).into()
}

/// What was done, and what the cluster is known to equal.
#[derive(Deserialize, Serialize, Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// `Ready`; `Drifted`, `Reconciling` and `Stalled` while they are true.
    #[serde(default)]
    #[schemars(transform = schema::conditions)]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest revision the cluster is known to equal, as in `main@sha1:<40 hex digits>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// The newest revision that changed what this Sync reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_changed_revision: Option<String>,
    /// The revision of the newest pass, however it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    /// The source's count at the last attempted revision; a smaller one is never applied after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = schema::count)]
    pub last_attempted_sequence: Option<u64>,
    /// The newest value of `towline.dev/requested-at` that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// What the Sync owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventoryReference>,
    /// The last ten passes that changed something or failed, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

/// The Inventory of a Sync.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InventoryReference {
    /// Its name, in the Sync's namespace.
    pub name: String,
    /// How many objects it names.
    #[schemars(transform = schema::count)]
    pub entries: u32,
}

/// One pass that changed something or failed.
#[derive(Deserialize, Serialize, Clone, Debug, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The revision it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it ended.
    pub at: Time,
    /// The reason of the Ready condition it ended with.
    pub reason: String,
    /// How many passes in a row ended so.
    #[schemars(transform = schema::count)]
    pub times: u32,
    /// What was done, in words: `2 created, 1 configured`.
    pub summary: String,
}
