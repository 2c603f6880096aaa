//! Manifests to desired objects: scope, namespace, owner labels, digest.
//!
//! Knows what a manifest becomes in a cluster whose kinds are given as a value. Must not know what the cluster holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::ignore::Ignored;
use crate::manifest::{Manifest, Mistake};
use crate::object::{
    GroupKind, LABEL_SYNC_NAME, LABEL_SYNC_NAMESPACE, ObjectId, Origin, SyncKey, digest, group_version,
};
use crate::order;
use crate::policy::{Policy, Ssa};

/// Whether a kind's objects stand in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// The kinds a cluster serves, as discovery told them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds(BTreeMap<GroupKind, (Scope, Vec<String>)>);

impl Kinds {
    /// Adds a served version of a kind.
    pub fn add(&mut self, kind: GroupKind, version: &str, scope: Scope) {
        let (_, versions) = self.0.entry(kind).or_insert((scope, Vec::new()));
        if !versions.iter().any(|v| v == version) {
            versions.push(version.to_owned());
        }
    }

    /// Whether the cluster serves the kind in any version.
    #[must_use]
    pub fn serves(&self, kind: &GroupKind) -> bool {
        self.0.contains_key(kind)
    }

    /// Whether the cluster serves the kind in this version.
    #[must_use]
    pub fn serves_in(&self, kind: &GroupKind, version: &str) -> bool {
        self.scope(kind, version).is_ok()
    }

    /// Whether the kind's objects stand in namespaces; `false` also where it is not served.
    #[must_use]
    pub fn is_namespaced(&self, kind: &GroupKind) -> bool {
        self.scope_in_any_version(kind) == Some(Scope::Namespaced)
    }

    pub(crate) fn scope_in_any_version(&self, kind: &GroupKind) -> Option<Scope> {
        self.0.get(kind).map(|(scope, _)| *scope)
    }

    fn scope(&self, kind: &GroupKind, version: &str) -> Result<Scope, String> {
        match self.0.get(kind) {
            Some((scope, versions)) if versions.iter().any(|v| v == version) => Ok(*scope),
            Some((_, versions)) => {
                Err(format!("the cluster serves {kind} in {}, not in {version}", versions.join(", ")))
            }
            None => Err(format!("the cluster knows no kind {kind}, and no CustomResourceDefinition here defines it")),
        }
    }
}

/// An object as Git wants it, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    pub id: ObjectId,
    pub version: String,
    /// With owner labels and the resolved namespace; without status.
    pub value: Value,
    /// Of what is applied to an object that exists: two equal digests need no second apply.
    pub digest: String,
    pub origin: Origin,
    pub policy: Policy,
    /// Its kind is defined by another object of the same set and not served yet.
    pub awaits_definition: bool,
    /// Its namespace is in the same set.
    pub namespace_in_set: bool,
    /// What of it is left to others once it exists.
    pub ignored: Ignored,
}

impl Desired {
    /// What is applied to an object that exists.
    #[must_use]
    pub fn standing(&self) -> &Value {
        self.ignored.rest.as_ref().unwrap_or(&self.value)
    }
}

/// Resolves manifests to desired objects, in the order in which they are applied.
///
/// # Errors
/// All mistakes: unknown kinds, wrong scopes, an object that stands twice (with both places).
pub fn resolve(manifests: Vec<Manifest>, kinds: &Kinds, sync: &SyncKey) -> Result<Vec<Desired>, Vec<Mistake>> {
    let coming = defined_by(&manifests);
    let left_alone = left_alone_at(&manifests, kinds, sync);
    let mut desired: Vec<Desired> = Vec::with_capacity(manifests.len());
    let mut mistakes = Vec::new();
    for manifest in manifests {
        if is_left_alone(&manifest.value) {
            continue;
        }
        let origin = manifest.origin.clone();
        match resolve_one(manifest, kinds, &coming, sync) {
            Ok(object) => desired.push(object),
            Err((problem, may_pass)) => mistakes.push(Mistake { origin, problem, may_pass }),
        }
    }
    desired.sort_by(|a, b| order::key(&a.id).cmp(&order::key(&b.id)).then_with(|| a.origin.cmp(&b.origin)));
    for pair in desired.windows(2) {
        if let [first, second] = pair
            && first.id == second.id
        {
            let problem = format!("{} stands twice: first at {}", second.id, first.origin);
            mistakes.push(Mistake { origin: second.origin.clone(), problem, may_pass: false });
        }
    }
    for object in &desired {
        if let Some(other) = left_alone.get(&object.id) {
            let problem = format!("{} stands twice: at {other} it is to be left alone", object.id);
            mistakes.push(Mistake { origin: object.origin.clone(), problem, may_pass: false });
        }
    }
    if !mistakes.is_empty() {
        mistakes.sort();
        return Err(mistakes);
    }
    mark_namespaces(&mut desired);
    Ok(desired)
}

/// The objects that Git has and asks to leave alone: not desired, and not gone from Git either, so never pruned.
///
/// An object whose kind is not served is not named: of such a kind nothing is deleted anyway (invariant 12).
#[must_use]
pub fn left_alone(manifests: &[Manifest], kinds: &Kinds, sync: &SyncKey) -> BTreeSet<ObjectId> {
    left_alone_at(manifests, kinds, sync).into_keys().collect()
}

fn left_alone_at(manifests: &[Manifest], kinds: &Kinds, sync: &SyncKey) -> BTreeMap<ObjectId, Origin> {
    let coming = defined_by(manifests);
    let place = |m: &Manifest| {
        let kind = GroupKind::new(group_version(&m.api_version).0, &m.kind);
        let namespace = match kinds.scope_in_any_version(&kind).or_else(|| coming.scope_in_any_version(&kind))? {
            Scope::Cluster => None,
            Scope::Namespaced => Some(m.namespace.clone().unwrap_or_else(|| sync.namespace.clone())),
        };
        Some((ObjectId { kind, namespace, name: m.name.clone() }, m.origin.clone()))
    };
    manifests.iter().filter(|m| is_left_alone(&m.value)).filter_map(place).collect()
}

/// `towline.dev/reconcile: disabled` or `towline.dev/ssa: Ignore`.
fn is_left_alone(value: &Value) -> bool {
    Policy::of(value).is_ok_and(|policy| policy.ssa == Ssa::Ignore)
}

/// The kinds that custom resource definitions of the set bring.
pub(crate) fn defined_by(manifests: &[Manifest]) -> Kinds {
    let mut kinds = Kinds::default();
    for m in manifests
        .iter()
        .filter(|m| m.kind == "CustomResourceDefinition" && group_version(&m.api_version).0 == "apiextensions.k8s.io")
    {
        let spec = &m.value["spec"];
        let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["kind"].as_str()) else { continue };
        let scope = if spec["scope"].as_str() == Some("Cluster") { Scope::Cluster } else { Scope::Namespaced };
        for version in spec["versions"].as_array().into_iter().flatten() {
            if let (Some(name), Some(true)) = (version["name"].as_str(), version["served"].as_bool()) {
                kinds.add(GroupKind::new(group, kind), name, scope);
            }
        }
    }
    kinds
}

/// The error says, too, whether it may pass without another commit: a kind may still come.
fn resolve_one(manifest: Manifest, kinds: &Kinds, coming: &Kinds, sync: &SyncKey) -> Result<Desired, (String, bool)> {
    let (group, version) = group_version(&manifest.api_version);
    let (kind, version) = (GroupKind::new(group, &manifest.kind), version.to_owned());
    // A definition in the set may add a version or replace a scope: it speaks first, and then has to be waited for.
    let served = kinds.scope(&kind, &version);
    let scope = coming.scope(&kind, &version).or_else(|_| served.clone()).map_err(|problem| (problem, true))?;
    let namespace = match (scope, manifest.namespace) {
        (Scope::Cluster, None) => None,
        (Scope::Cluster, Some(namespace)) => {
            let problem = format!("{kind} is cluster-scoped and has metadata.namespace {namespace}: remove it");
            return Err((problem, false));
        }
        (Scope::Namespaced, Some(namespace)) => Some(namespace),
        // As `kubectl apply -n`: what names no namespace goes where its Sync is.
        (Scope::Namespaced, None) => Some(sync.namespace.clone()),
    };
    let mut value = manifest.value;
    let policy = Policy::of(&value).map_err(|problem| (problem, false))?;
    if kind.is("", "Secret") {
        encode_strings(&mut value);
    }
    own(&mut value, namespace.as_deref(), sync).map_err(|problem| (problem, false))?;
    let id = ObjectId { kind, namespace, name: manifest.name };
    let digest = digest(&value);
    let (origin, awaits_definition) = (manifest.origin, served.is_err());
    let (namespace_in_set, ignored) = (false, Ignored::default());
    Ok(Desired { id, version, value, digest, origin, policy, awaits_definition, namespace_in_set, ignored })
}

/// `stringData` becomes `data`, as the server does it. Applied as it stands, it owns no field of what is stored: a change of
/// that would not be drift.
fn encode_strings(secret: &mut Value) {
    let Some(strings) = secret["stringData"].as_object().filter(|map| map.values().all(Value::is_string)).cloned()
    else {
        return;
    };
    let Some(object) = secret.as_object_mut() else { return };
    let data = object.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    // What is no mapping the server refuses.
    let Some(data) = data.as_object_mut() else { return };
    for (key, text) in strings {
        let bytes = text.as_str().unwrap_or_default().as_bytes();
        data.insert(key, Value::from(data_encoding::BASE64.encode(bytes)));
    }
    object.remove("stringData");
}

/// Writes namespace and owner labels into an object, and takes out what an apply must not carry.
fn own(value: &mut Value, namespace: Option<&str>, sync: &SyncKey) -> Result<(), String> {
    let Some(object) = value.as_object_mut() else { return Err("not a mapping".to_owned()) };
    object.remove("status");
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Err("metadata is not a mapping".to_owned());
    };
    // The server's own fields: in a manifest they are left over from `kubectl get -o yaml`, and an apply with a
    // resourceVersion or uid would be refused for ever.
    for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"] {
        metadata.remove(field);
    }
    match namespace {
        Some(namespace) => metadata.insert("namespace".to_owned(), Value::from(namespace)),
        None => metadata.remove("namespace"),
    };
    let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if labels.is_null() {
        *labels = Value::Object(Map::new());
    }
    let Some(labels) = labels.as_object_mut() else { return Err("metadata.labels is not a mapping".to_owned()) };
    labels.insert(LABEL_SYNC_NAME.to_owned(), Value::from(sync.name.as_str()));
    labels.insert(LABEL_SYNC_NAMESPACE.to_owned(), Value::from(sync.namespace.as_str()));
    Ok(())
}

fn mark_namespaces(desired: &mut [Desired]) {
    let names: Vec<String> =
        desired.iter().filter(|d| d.id.kind.is("", "Namespace")).map(|d| d.id.name.clone()).collect();
    for object in desired {
        object.namespace_in_set = object.id.namespace.as_ref().is_some_and(|n| names.contains(n));
    }
}

#[cfg(test)]
mod tests;
