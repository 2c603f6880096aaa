//! The cluster API: group `towline.dev`, version `v1alpha1`.
//!
//! Knows the shape of what users write and read. Must not know what is done with it. Field names, condition types and
//! reasons follow Flux's where the meaning is the same.

mod condition;
mod drift;
mod git_source;
mod inventory;
mod schema;
mod sync;
mod verification;

pub use condition::{
    ConditionStatus, Conditions, DRIFT_DETECTED, DRIFT_REPEATED, DRIFTED, EVENTS_READY, HEALTHY, READY, RECONCILING,
    SOURCE_VERIFIED, STALLED, SUSPENDED, Verdict,
};
pub use drift::{DriftDetection, DriftMode, IgnoreRule, IgnoreTarget};
pub use git_source::{GitRef, GitSource, GitSourceSpec, GitSourceStatus, LastEvent, SecretReference};
pub use inventory::{Inventory, InventoryJudged, InventoryRead, InventorySpec};
pub use kube::core::Duration;
pub use kube::{Resource, ResourceExt};
pub use sync::{
    DeletionPolicy, DependencyReference, HealthCheckExprs, HealthCheckReference, HistoryEntry, InventoryReference,
    PrunePolicy, SourceKind, SourceReference, Sync, SyncSpec, SyncStatus,
};

pub use verification::{PathSigners, Verification, VerificationMode};

/// The API group of all of Towline's kinds.
pub const GROUP: &str = "towline.dev";

/// Asks for a pass now, on a Sync or a GitSource; the value is free, usually a time (as Flux's `requestedAt`).
pub const REQUESTED_AT: &str = "towline.dev/requested-at";
/// Lifts the deletion ceiling of a Sync once; the value is the revision it is lifted for.
pub const ALLOW_DELETIONS: &str = "towline.dev/allow-deletions";
/// Accepts a rebuilt inventory, so that pruning goes on; the value is the digest the condition names.
pub const ACCEPT_INVENTORY: &str = "towline.dev/accept-inventory";

/// On Syncs and Inventories: they are not gone before their agent has let go of what they own.
pub const FINALIZER: &str = "towline.dev/finalizer";

/// The custom resource definitions, in the order they are documented.
#[must_use]
pub fn definitions() -> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>
{
    use kube::CustomResourceExt as _;
    vec![GitSource::crd(), Sync::crd(), Inventory::crd()]
}
