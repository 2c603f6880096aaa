//! Which rule judges a kind. Knows the built-in kinds by group and name; the rules stand in the files of their families.

use serde_json::Value;

use super::{Health, cluster, generic, jobs, network, pod, policy, storage, workloads};
use crate::object::GroupKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Deployment,
    StatefulSet,
    DaemonSet,
    /// A ReplicationController, too: its status has the same fields.
    ReplicaSet,
    Pod,
    Job,
    CronJob,
    PersistentVolumeClaim,
    PodDisruptionBudget,
    HorizontalPodAutoscaler,
    Service,
    Ingress,
    CustomResourceDefinition,
    ApiService,
    Namespace,
    /// Our own kinds, whose Ready condition is known to come.
    Towline,
    /// There is nothing to wait for once it exists.
    Plain,
    /// Unknown kinds: the generic conditions, and Ready.
    Other,
}

/// Kinds that have no status, or one that says nothing about them; a group with an empty kind stands for all of its kinds.
const PLAIN: &[(&str, &str)] = &[
    ("", "ConfigMap"),
    ("", "Endpoints"),
    ("", "Event"),
    ("", "LimitRange"),
    ("", "PodTemplate"),
    ("", "ResourceQuota"),
    ("", "Secret"),
    ("", "ServiceAccount"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apps", "ControllerRevision"),
    ("coordination.k8s.io", ""),
    ("discovery.k8s.io", ""),
    ("events.k8s.io", ""),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("node.k8s.io", ""),
    ("rbac.authorization.k8s.io", ""),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "CSIStorageCapacity"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttributesClass"),
];

impl Rule {
    pub(super) fn of(kind: &GroupKind) -> Self {
        match (kind.group.as_str(), kind.kind.as_str()) {
            ("apps", "Deployment") => Self::Deployment,
            ("apps", "StatefulSet") => Self::StatefulSet,
            ("apps", "DaemonSet") => Self::DaemonSet,
            ("apps", "ReplicaSet") | ("", "ReplicationController") => Self::ReplicaSet,
            ("", "Pod") => Self::Pod,
            ("batch", "Job") => Self::Job,
            ("batch", "CronJob") => Self::CronJob,
            ("", "PersistentVolumeClaim") => Self::PersistentVolumeClaim,
            ("policy", "PodDisruptionBudget") => Self::PodDisruptionBudget,
            ("autoscaling", "HorizontalPodAutoscaler") => Self::HorizontalPodAutoscaler,
            ("", "Service") => Self::Service,
            ("networking.k8s.io", "Ingress") => Self::Ingress,
            ("apiextensions.k8s.io", "CustomResourceDefinition") => Self::CustomResourceDefinition,
            ("apiregistration.k8s.io", "APIService") => Self::ApiService,
            ("", "Namespace") => Self::Namespace,
            ("towline.dev", "Sync" | "GitSource") => Self::Towline,
            (group, name) if PLAIN.iter().any(|(g, k)| *g == group && (k.is_empty() || *k == name)) => Self::Plain,
            _ => Self::Other,
        }
    }

    /// Whether the kind's controller is known to write `status.observedGeneration`, so that its absence means that nobody
    /// has looked yet. kstatus knows this of DaemonSets only, and so takes a StatefulSet with no replicas for current.
    pub(super) fn is_observed(self) -> bool {
        match self {
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::PodDisruptionBudget
            | Self::Towline => true,
            Self::Pod
            | Self::Job
            | Self::CronJob
            | Self::PersistentVolumeClaim
            | Self::HorizontalPodAutoscaler
            | Self::Service
            | Self::Ingress
            | Self::CustomResourceDefinition
            | Self::ApiService
            | Self::Namespace
            | Self::Plain
            | Self::Other => false,
        }
    }

    /// What the kind's own fields say, when the generic ones have said nothing.
    pub(super) fn judge(self, object: &Value) -> Health {
        match self {
            Self::Deployment => workloads::deployment(object),
            Self::StatefulSet => workloads::stateful_set(object),
            Self::DaemonSet => workloads::daemon_set(object),
            Self::ReplicaSet => workloads::replica_set(object),
            Self::Pod => pod::judge(object),
            Self::Job => jobs::job(object),
            Self::CronJob => jobs::cron_job(object),
            Self::PersistentVolumeClaim => storage::claim(object),
            Self::PodDisruptionBudget => policy::disruption_budget(object),
            Self::HorizontalPodAutoscaler => policy::autoscaler(object),
            Self::Service => network::service(object),
            Self::Ingress => network::ingress(object),
            Self::CustomResourceDefinition => cluster::definition(object),
            Self::ApiService => cluster::api_service(object),
            Self::Namespace => cluster::namespace(object),
            Self::Towline => generic::ready(object, true),
            Self::Plain => Health::exists(),
            Self::Other => generic::ready(object, false),
        }
    }
}
