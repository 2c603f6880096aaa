//! The Pods of a workload, where waiting for it may not help: which they are, and what they say.
//!
//! Knows labels and container states. Must not know when Pods are listed: the agent does so for a workload that does not
//! progress, and judges the answer here.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::pod::{self, Trouble};
use super::rule::Rule;
use super::status::{count, text};
use super::{Health, Status, generic, judge, kind_of};

/// One requirement on a Pod's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// Which Pods are a workload's. `Display` is the `labelSelector` of a LIST in [`PodSelector::namespace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSelector {
    namespace: String,
    requirements: Vec<Requirement>,
}

/// On Pods of a Deployment: which of its ReplicaSets they belong to.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The Pods that tell why a workload is not current: those of its newest revision, where the workload says which one that is.
/// None where no Pod can tell: another kind, a workload that is current or going, a spec that its controller has not looked
/// at, a revision of which there is no Pod yet. An older revision may crash as it likes: that is what a rollout cures.
///
/// The status of a workload does not move when its Pods begin to fail, so they are worth another look for as long as it is on
/// its way, not only when it moves.
#[must_use]
pub fn selector_of(workload: &Value) -> Option<PodSelector> {
    match judge(workload).status {
        Status::InProgress | Status::Failed => {}
        Status::Current | Status::Terminating | Status::Unknown => return None,
    }
    if generic::unobserved(workload).is_some() {
        return None;
    }
    let mut requirements = requirements(workload.pointer("/spec/selector")?)?;
    match Rule::of(&kind_of(workload)?) {
        Rule::Deployment if count(workload, "/status/updatedReplicas") == 0 => return None,
        Rule::Deployment | Rule::ReplicaSet | Rule::Job => {}
        Rule::StatefulSet => {
            if let Some(revision) = text(workload, "/status/updateRevision") {
                requirements.push(Requirement::In("controller-revision-hash".to_owned(), vec![revision.to_owned()]));
            }
        }
        Rule::DaemonSet if count(workload, "/status/updatedNumberScheduled") == 0 => return None,
        Rule::DaemonSet => {
            let annotations = workload.pointer("/metadata/annotations");
            let generation = annotations.and_then(|all| all.get("deprecated.daemonset.template.generation"));
            if let Some(generation) = generation.and_then(Value::as_str) {
                requirements.push(Requirement::In("pod-template-generation".to_owned(), vec![generation.to_owned()]));
            }
        }
        Rule::Pod
        | Rule::CronJob
        | Rule::PersistentVolumeClaim
        | Rule::PodDisruptionBudget
        | Rule::HorizontalPodAutoscaler
        | Rule::Service
        | Rule::Ingress
        | Rule::CustomResourceDefinition
        | Rule::ApiService
        | Rule::Namespace
        | Rule::Towline
        | Rule::Plain
        | Rule::Other => return None,
    }
    // One without requirements would be all Pods of the namespace.
    let namespace = text(workload, "/metadata/namespace")?.to_owned();
    (!requirements.is_empty()).then_some(PodSelector { namespace, requirements })
}

/// Of a LabelSelector, or of a ReplicationController's plain labels. None if any of it cannot be read: without it, too many
/// Pods would be a workload's.
fn requirements(selector: &Value) -> Option<Vec<Requirement>> {
    let labels = match (selector.get("matchLabels"), selector.get("matchExpressions")) {
        (None, None) => Some(selector),
        (labels, _) => labels,
    };
    let mut requirements = Vec::new();
    for (key, value) in labels.map_or(Some(&serde_json::Map::new()), Value::as_object)? {
        requirements.push(Requirement::In(key.clone(), vec![value.as_str()?.to_owned()]));
    }
    let expressions = selector.get("matchExpressions").map_or(Some(&Vec::new()), Value::as_array)?.clone();
    for expression in expressions {
        let key = text(&expression, "/key")?.to_owned();
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values: Vec<String> = values.filter_map(Value::as_str).map(str::to_owned).collect();
        requirements.push(match text(&expression, "/operator")? {
            "In" => Requirement::In(key, values),
            "NotIn" => Requirement::NotIn(key, values),
            "Exists" => Requirement::Exists(key),
            "DoesNotExist" => Requirement::Absent(key),
            _ => return None,
        });
    }
    Some(requirements)
}

impl PodSelector {
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether a Pod is one of the workload's.
    #[must_use]
    pub fn matches(&self, pod: &Value) -> bool {
        let label = |key: &str| pod.pointer("/metadata/labels").and_then(|all| all.get(key)).and_then(Value::as_str);
        let fits = |requirement: &Requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|has| values.iter().any(|value| value == has)),
            Requirement::NotIn(key, values) => !label(key).is_some_and(|has| values.iter().any(|value| value == has)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        };
        kind_of(pod).is_some_and(|kind| kind.is("", "Pod"))
            && text(pod, "/metadata/namespace") == Some(&self.namespace)
            && self.requirements.iter().all(fits)
    }
}

impl fmt::Display for PodSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(",")),
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(",")),
                Requirement::Exists(key) => f.write_str(key),
                Requirement::Absent(key) => write!(f, "!{key}"),
            }?;
        }
        Ok(())
    }
}

/// The judgement of a workload, with what its Pods say: one that is on its way has failed if waiting for its Pods does not
/// help. `pods` are those of its selector; a workload that is not on its way stays what it is.
#[must_use]
pub fn judge_pods(workload: &Health, pods: &[Value]) -> Health {
    match workload.status {
        Status::InProgress | Status::Failed => {}
        Status::Current | Status::Terminating | Status::Unknown => return workload.clone(),
    }
    // Of several groups any may be the newest one: the mildest is believed.
    let groups = newest(pods).into_iter().map(|group| worst(&group));
    let mildest = groups.min_by_key(|worst| worst.as_ref().map(|(_, trouble, _)| trouble.is_final)).flatten();
    let Some((pod, trouble, troubled)) = mildest else { return workload.clone() };
    let name = text(pod, "/metadata/name").unwrap_or("?");
    let others = match troubled - 1 {
        0 => String::new(),
        1 => " (1 other Pod has trouble, too)".to_owned(),
        others => format!(" ({others} other Pods have trouble, too)"),
    };
    let message = format!("{}; Pod {name}: {}{others}", workload.message.trim_end_matches('.'), trouble.message);
    match (workload.status, trouble.is_final) {
        (Status::InProgress, true) => Health::failed(trouble.reason, message),
        (status, _) => Health::new(status, workload.reason.clone(), message),
    }
}

/// The Pod of a group that is in the worst trouble, and how many are in some.
fn worst<'p>(pods: &[&'p Value]) -> Option<(&'p Value, Trouble, usize)> {
    let mut worst: Option<(&Value, Trouble)> = None;
    let mut troubled = 0;
    for &pod in pods {
        let Some(trouble) = pod::trouble(pod) else { continue };
        troubled += 1;
        if worst.as_ref().is_none_or(|(_, worst)| trouble.is_final && !worst.is_final) {
            worst = Some((pod, trouble));
        }
    }
    worst.map(|(pod, trouble)| (pod, trouble, troubled))
}

/// The Pods that are to stay: not those that are going or have ended, and of a Deployment's only those of the ReplicaSet
/// that made the newest one. Several groups where several ReplicaSets made one in the same second.
fn newest(pods: &[Value]) -> Vec<Vec<&Value>> {
    let ended = |pod: &Value| matches!(generic::phase(pod), Some("Succeeded" | "Failed"));
    let staying: Vec<&Value> = pods.iter().filter(|pod| !generic::is_deleted(pod) && !ended(pod)).collect();
    // Times of the API are all in UTC and of one length, so they compare as text.
    let made = |pod: &Value| text(pod, "/metadata/creationTimestamp").unwrap_or_default().to_owned();
    let hash = |pod: &Value| {
        let labels = pod.pointer("/metadata/labels");
        labels.and_then(|all| all.get(TEMPLATE_HASH)).and_then(Value::as_str).map(str::to_owned)
    };
    let last = staying.iter().map(|pod| made(pod)).max();
    let hashes: BTreeSet<Option<String>> =
        staying.iter().filter(|pod| Some(made(pod)) == last).map(|pod| hash(pod)).collect();
    hashes.iter().map(|wanted| staying.iter().copied().filter(|pod| hash(pod) == *wanted).collect()).collect()
}
