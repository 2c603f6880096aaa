//! `targetNamespace`: one Sync's objects, put into one namespace.
//!
//! Knows what kustomize does with its `namespace` (which Flux relies on): namespaced objects go there, a Namespace takes that
//! name, and what refers to a moved object goes along. Must not know what the cluster holds.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::desired::{Kinds, Scope, defined_by};
use crate::manifest::Manifest;
use crate::object::{GroupKind, SyncKey, group_version};

/// A Service or ServiceAccount of the set, by kind, namespace and name: what others refer to by namespace.
type Moved = BTreeSet<(&'static str, String, String)>;

/// Puts manifests into a namespace. Objects of an unknown kind stay as they are: they are a mistake anyway.
pub fn place(manifests: &mut [Manifest], kinds: &Kinds, sync: &SyncKey, target: &str) {
    let coming = defined_by(manifests);
    let moved: Moved = manifests.iter().filter_map(|manifest| referable(manifest, sync)).collect();
    for manifest in manifests {
        let kind = GroupKind::new(group_version(&manifest.api_version).0, &manifest.kind);
        let scope = coming.scope_in_any_version(&kind).or_else(|| kinds.scope_in_any_version(&kind));
        if scope == Some(Scope::Namespaced) {
            manifest.namespace = Some(target.to_owned());
        }
        if kind.is("", "Namespace") {
            target.clone_into(&mut manifest.name);
            if let Some(name) = manifest.value.pointer_mut("/metadata/name") {
                *name = Value::from(target);
            }
        }
        redirect(&kind, &mut manifest.value, &moved, target);
    }
}

fn referable(manifest: &Manifest, sync: &SyncKey) -> Option<(&'static str, String, String)> {
    let kind = match (manifest.api_version.as_str(), manifest.kind.as_str()) {
        ("v1", "Service") => "Service",
        ("v1", "ServiceAccount") => "ServiceAccount",
        _ => return None,
    };
    let namespace = manifest.namespace.clone().unwrap_or_else(|| sync.namespace.clone());
    Some((kind, namespace, manifest.name.clone()))
}

/// References by namespace to what was moved.
fn redirect(kind: &GroupKind, value: &mut Value, moved: &Moved, target: &str) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            let subjects = value.get_mut("subjects").and_then(Value::as_array_mut);
            for subject in subjects.into_iter().flatten().filter(|subject| subject["kind"] == "ServiceAccount") {
                // Every namespace has one: the one of the target is meant.
                let is_default = subject["name"] == "default";
                follow(Some(subject), "ServiceAccount", moved, target, is_default);
            }
        }
        ("admissionregistration.k8s.io", _) => {
            let webhooks = value.get_mut("webhooks").and_then(Value::as_array_mut);
            for webhook in webhooks.into_iter().flatten() {
                follow(webhook.pointer_mut("/clientConfig/service"), "Service", moved, target, false);
            }
        }
        ("apiregistration.k8s.io", "APIService") => {
            follow(value.pointer_mut("/spec/service"), "Service", moved, target, false);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let service = value.pointer_mut("/spec/conversion/webhook/clientConfig/service");
            follow(service, "Service", moved, target, false);
        }
        _ => {}
    }
}

fn follow(reference: Option<&mut Value>, kind: &'static str, moved: &Moved, target: &str, always: bool) {
    let Some(reference) = reference.and_then(Value::as_object_mut) else { return };
    let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if always || moved.contains(&(kind, text("namespace"), text("name"))) {
        reference.insert("namespace".to_owned(), Value::from(target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;
    use crate::tree::{File, Tree};

    /// Compared with what kustomize 5.8 makes of the same files.
    #[test]
    fn objects_and_what_refers_to_them_are_moved_as_kustomize_does() {
        let text = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: app, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: b, namespace: other}
subjects:
- {kind: ServiceAccount, name: app, namespace: shop}
- {kind: ServiceAccount, name: default, namespace: shop}
- {kind: ServiceAccount, name: foreign, namespace: kube-system}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: v}
webhooks:
- {name: a.b.c, clientConfig: {service: {name: hook, namespace: shop}}}
- {name: d.e.f, clientConfig: {service: {name: hook, namespace: elsewhere}}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.x.y}
spec: {service: {name: hook, namespace: shop}}
---
apiVersion: unknown.test/v1
kind: Unknown
metadata: {name: u}
";
        let mut kinds = Kinds::default();
        for (group, kind, scope) in [
            ("", "Namespace", Scope::Cluster),
            ("", "ServiceAccount", Scope::Namespaced),
            ("", "Service", Scope::Namespaced),
            ("rbac.authorization.k8s.io", "RoleBinding", Scope::Namespaced),
        ] {
            kinds.add(GroupKind::new(group, kind), "v1", scope);
        }
        let files = vec![File { path: "f.yaml".into(), contents: text.as_bytes().to_vec() }];
        let mut manifests = manifest::read(&Tree { read: vec![], files }).unwrap();
        let sync = SyncKey { namespace: "towline-system".into(), name: "apps".into() };
        place(&mut manifests, &kinds, &sync, "target");
        let placed: Vec<_> =
            manifests.iter().map(|m| (&m.kind, &m.name, m.namespace.as_deref().unwrap_or("-"))).collect();
        insta::assert_snapshot!(format!(
            "{placed:?}\n{}\n{}\n{}",
            manifests[3].value["subjects"], manifests[4].value["webhooks"], manifests[5].value["spec"]
        ));
        assert_eq!(manifests[0].value["metadata"]["name"], "target");
    }
}
