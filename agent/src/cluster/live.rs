//! Object metadata to what `plan` knows of a live object.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::{DynamicObject, ObjectMeta, PartialObjectMeta};
use towline_plan::letting::{self, ANNOTATION_PRUNE_CONFIRMED, Letting};
use towline_plan::object::{LABEL_SYNC_NAME, LABEL_SYNC_NAMESPACE, SyncKey};
use towline_plan::observed::{FIELD_MANAGER, Live, Writer};

pub(super) type Meta = PartialObjectMeta<DynamicObject>;

/// What a live object's metadata says.
pub(super) fn live(meta: &Meta) -> Live {
    live_of(&meta.metadata)
}

/// The same of an object that came with its body.
pub(super) fn live_of(meta: &ObjectMeta) -> Live {
    let label = |key: &str| meta.labels.as_ref()?.get(key).filter(|value| !value.is_empty()).cloned();
    let annotation = |key: &str| meta.annotations.as_ref()?.get(key).map(String::as_str);
    let owner = label(LABEL_SYNC_NAME).zip(label(LABEL_SYNC_NAMESPACE));
    let managed_fields = meta.managed_fields.as_deref().unwrap_or_default();
    Live {
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        fingerprint: fingerprint(meta),
        owner: owner.map(|(name, namespace)| SyncKey { namespace, name }),
        applied: managed_fields.iter().any(is_our_apply),
        letting: Letting::of(annotation, confirmed_in_git(managed_fields)),
        deleting: meta.deletion_timestamp.is_some(),
        left_alone: letting::is_left_alone(annotation),
        last_writer: last_writer(managed_fields),
    }
}

/// Moves with everything but the status: uid, generation, labels, annotations, owners, finalizers, and which manager owns
/// which fields since when. Kinds without a generation (ConfigMap, Secret, Service, …) could change without any of these
/// within one second, so for them the resource version counts.
fn fingerprint(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    if meta.generation.is_none() {
        meta.resource_version.hash(&mut hasher);
    }
    meta.labels.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    for owner in meta.owner_references.iter().flatten() {
        owner.uid.hash(&mut hasher);
    }
    for entry in writes(meta.managed_fields.as_deref().unwrap_or_default()) {
        entry.manager.hash(&mut hasher);
        entry.operation.hash(&mut hasher);
        entry.time.as_ref().map(|t| t.0).hash(&mut hasher);
        entry.fields_v1.as_ref().map(|f| f.0.to_string()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Writes to the object itself; those to its status and scale come as subresources.
fn writes(entries: &[ManagedFieldsEntry]) -> impl Iterator<Item = &ManagedFieldsEntry> {
    entries.iter().filter(|e| e.subresource.as_deref() != Some("status"))
}

fn is_our_apply(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
}

/// Whether the confirmation of a deletion is one of the fields Towline applied.
fn confirmed_in_git(entries: &[ManagedFieldsEntry]) -> bool {
    let key = format!("f:{ANNOTATION_PRUNE_CONFIRMED}");
    let fields = entries.iter().filter(|e| is_our_apply(e)).filter_map(|e| e.fields_v1.as_ref());
    fields.map(|fields| &fields.0["f:metadata"]["f:annotations"]).any(|annotations| annotations.get(&key).is_some())
}

fn last_writer(entries: &[ManagedFieldsEntry]) -> Option<Writer> {
    let others = writes(entries).filter(|e| e.manager.as_deref() != Some(FIELD_MANAGER));
    let last = others.max_by_key(|e| e.time.as_ref().map(|t| t.0))?;
    Some(Writer { manager: last.manager.clone().unwrap_or_default(), at: last.time.as_ref().map(|t| t.0) })
}
