//! Taking over an object that people or other tools made: their fields become Towline's, so that what Git does not have goes.
//!
//! Knows field managers and how the API server records them. Must not know when an object is adopted; `decide` does.

use serde_json::{Map, Value, json};

use crate::observed::FIELD_MANAGER;

/// What `kubectl apply` leaves on an object to compare with next time. It holds the whole manifest, of Secrets too.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Managers that stand for a person or for a tool that brought Git's state to the cluster before, as they name themselves.
/// Controllers that work on (autoscalers, injectors, operators) are not here: what they set is theirs.
const PREDECESSORS: &[&str] = &[
    "before-first-apply",
    "argocd-application-controller",
    "argocd-controller",
    "fleetagent",
    "helm",
    "helm-controller",
    "kapp-server-side-apply",
    "kustomize-controller",
    "Mozilla",
    "Terraform",
    FIELD_MANAGER,
];

/// kubectl names itself after its commands: `kubectl`, `kubectl-client-side-apply`, `kubectl-edit`, …
const KUBECTL: &str = "kubectl";
/// Only `restartedAt` is its own: without it, all Pods would be replaced once more.
const KUBECTL_ROLLOUT: &str = "kubectl-rollout";

/// The merge patch that folds what others left on an object into Towline's own record, given its metadata; `None`: they left
/// nothing. It carries uid and resourceVersion: of an object that changed since, the API server refuses it.
#[must_use]
pub fn take_over(metadata: &Value) -> Option<Value> {
    let entries = metadata["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (folded, mut kept): (Vec<&Value>, Vec<&Value>) = entries.iter().partition(|entry| is_folded(entry));
    let annotated = metadata["annotations"].get(LAST_APPLIED).is_some();
    let others = folded.iter().any(|entry| !is_own(entry));
    if !annotated && !others {
        return None;
    }
    let mut patch = Map::new();
    for field in ["uid", "resourceVersion"] {
        patch.insert(field.to_owned(), metadata[field].clone());
    }
    if annotated {
        patch.insert("annotations".to_owned(), json!({ LAST_APPLIED: null }));
    }
    let own = others.then(|| fold(&folded));
    if let Some(own) = &own {
        kept.push(own);
        patch.insert("managedFields".to_owned(), json!(kept));
    }
    Some(json!({ "metadata": patch }))
}

/// Ours, or a predecessor's, and about the object itself: what came as a subresource (status, scale) is nobody's manifest.
fn is_folded(entry: &Value) -> bool {
    let manager = entry["manager"].as_str().unwrap_or_default();
    let is_kubectl = manager.starts_with(KUBECTL) && manager != KUBECTL_ROLLOUT;
    let is_whole = entry["subresource"].as_str().unwrap_or_default().is_empty();
    is_whole && (is_kubectl || PREDECESSORS.contains(&manager))
}

fn is_own(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply"
}

/// One record of all their fields. Where Towline had one, it stays in its version.
fn fold(entries: &[&Value]) -> Value {
    let model = entries.iter().find(|entry| is_own(entry)).or(entries.first());
    let mut fields = Map::new();
    for entry in entries.iter().filter_map(|entry| entry["fieldsV1"].as_object()) {
        join(&mut fields, entry);
    }
    // A manifest's status is never applied, so owning one could only mean to remove it.
    fields.remove("f:status");
    let of_model = |field: &str| model.map_or(Value::Null, |model| model[field].clone());
    json!({
        "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": of_model("apiVersion"), "time": of_model("time"),
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    })
}

/// The union of two sets of fields: an empty mapping is the field itself, `.` the field beside its children.
fn join(into: &mut Map<String, Value>, other: &Map<String, Value>) {
    for (key, value) in other {
        let known = into.entry(key.clone()).or_insert_with(|| value.clone());
        let (Some(known), Some(value)) = (known.as_object_mut(), value.as_object()) else { continue };
        if known.is_empty() != value.is_empty() {
            known.insert(".".to_owned(), json!({}));
        }
        join(known, value);
    }
}

#[cfg(test)]
mod tests;
