//! The order in which kinds are applied; pruning goes the other way.
//!
//! Knows which kinds others depend on. Must not know single objects.

use crate::object::{GroupKind, ObjectId};

/// What is applied together. A stage begins when the one before it is done, and what it defines is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Custom resource definitions: their kinds exist once they are established.
    Definitions,
    /// Namespaces and cluster roles: what objects stand in and act as.
    Foundations,
    /// Service accounts and roles: a Pod or a binding that names one is refused before it is there.
    Accounts,
    /// `StorageClass`, `IngressClass` and the like: named by others, sometimes as a default at admission.
    Classes,
    Rest,
    /// Admission webhooks: in force before their servers are there, they would refuse the rest.
    Webhooks,
}

/// Within the rest, what others mount, name or are admitted by comes first; unlisted kinds come after the listed ones.
const REST: &[(&str, &str)] = &[
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("", "Secret"),
    ("", "ConfigMap"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Service"),
    ("policy", "PodDisruptionBudget"),
    ("", "Pod"),
    ("apps", "ReplicaSet"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "Ingress"),
];

/// The stage a kind belongs to.
#[must_use]
pub fn stage(kind: &GroupKind) -> Stage {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Stage::Definitions,
        ("", "Namespace") | ("rbac.authorization.k8s.io", "ClusterRole") => Stage::Foundations,
        ("", "ServiceAccount") | ("rbac.authorization.k8s.io", "Role") => Stage::Accounts,
        ("admissionregistration.k8s.io", _) => Stage::Webhooks,
        (_, name) if name.ends_with("Class") => Stage::Classes,
        _ => Stage::Rest,
    }
}

/// A kind's turn within its stage. What is of one rank is applied at once; the next begins when each of it is answered, so
/// that a Pod is admitted with the limits of its own commit. Kinds that are not listed are of one rank.
#[must_use]
pub fn rank(kind: &GroupKind) -> usize {
    REST.iter().position(|(group, name)| kind.is(group, name)).unwrap_or(REST.len())
}

/// Cuts what stands in the order of the plan into what may be done at once.
#[must_use]
pub fn ranks<T>(steps: impl IntoIterator<Item = T>, kind: impl Fn(&T) -> &GroupKind) -> Vec<Vec<T>> {
    let mut ranks: Vec<((Stage, usize), Vec<T>)> = Vec::new();
    for step in steps {
        let turn = (stage(kind(&step)), rank(kind(&step)));
        match ranks.last_mut() {
            Some((last, steps)) if *last == turn => steps.push(step),
            _ => ranks.push((turn, vec![step])),
        }
    }
    ranks.into_iter().map(|(_, steps)| steps).collect()
}

/// Sorts as applied: by stage, kind, then name, so that two plans of the same objects are equal.
#[must_use]
pub fn key(id: &ObjectId) -> (Stage, usize, &GroupKind, Option<&str>, &str) {
    (stage(&id.kind), rank(&id.kind), &id.kind, id.namespace.as_deref(), &id.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_first() {
        let kinds = [
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("", "Namespace"),
            ("", "ServiceAccount"),
            ("storage.k8s.io", "StorageClass"),
            ("", "Secret"),
            ("", "Service"),
            ("apps", "Deployment"),
            ("example.com", "Widget"),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ];
        let ids: Vec<_> = kinds
            .iter()
            .map(|(group, kind)| ObjectId { kind: GroupKind::new(group, kind), namespace: None, name: "x".into() })
            .collect();
        let mut shuffled = ids.clone();
        shuffled.reverse();
        shuffled.sort_by(|a, b| key(a).cmp(&key(b)));
        assert_eq!(shuffled, ids);
    }

    #[test]
    fn what_others_are_admitted_by_is_answered_before_they_are_sent() {
        let kind = |group: &str, name: &str| GroupKind::new(group, name);
        let limits = kind("", "LimitRange");
        let (pod, widget, gadget) = (kind("", "Pod"), kind("example.com", "Widget"), kind("example.org", "Gadget"));
        let classes = [kind("scheduling.k8s.io", "PriorityClass"), kind("storage.k8s.io", "StorageClass")];
        let order = [&classes[0], &classes[1], &limits, &limits, &pod, &widget, &gadget];
        let cut = ranks(order, |kind| kind);
        let expected = [vec![&classes[0], &classes[1]], vec![&limits, &limits], vec![&pod], vec![&widget, &gadget]];
        assert_eq!(cut, expected);
        let many = vec![&pod; 5_000];
        assert_eq!(ranks(many, |kind| kind).len(), 1, "one kind is one rank");
    }
}
