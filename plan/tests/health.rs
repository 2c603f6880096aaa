//! Every folder in `health/` is a case: a live object as the API server shows it, and how it is judged.
//!
//! `health.txt` is compared exactly; `UPDATE_SCENARIOS=1` writes it anew. The formats stand in `health/README.md`.

#![expect(clippy::unwrap_used, reason = "a scenario that cannot be read fails its test")]

mod folders;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use towline_plan::health::{self, Health, HealthExprs, HealthRules, Status};
use towline_plan::manifest;
use towline_plan::object::{GroupKind, group_version};
use towline_plan::tree::{File, Tree};

#[test]
fn every_scenario_gives_its_judgement() {
    folders::check("health", 100, "health.txt", judgement);
}

fn judgement(folder: &Path) -> String {
    let mut text = String::new();
    let rules = match rules(folder) {
        Ok(rules) => rules,
        Err(mistakes) => return mistakes,
    };
    for object in objects(&folder.join("object.yaml")) {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let (group, _) = group_version(object["apiVersion"].as_str().unwrap());
        let judged = rules.judge(&object);
        text.push_str(&format!("{kind}/{name} {judged}\n"));
        if folder.join("pods.yaml").exists() {
            text.push_str(&with_pods(&object, &judged, &objects(&folder.join("pods.yaml"))));
        }
        // A kind that is not watched with bodies is current as soon as it exists.
        let kind = GroupKind::new(group, kind);
        if !rules.contains(&kind) && !health::has_rule(&kind) {
            text.push_str(&format!("{} is not watched with bodies\n", kind.kind));
        }
    }
    text
}

/// A Sync's `healthCheckExprs`, if the folder has some.
fn rules(folder: &Path) -> Result<HealthRules, String> {
    let Ok(yaml) = fs::read_to_string(folder.join("exprs.yaml")) else { return Ok(HealthRules::default()) };
    let exprs: Vec<Value> = serde_saphyr::from_str(&yaml).unwrap();
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let exprs: Vec<HealthExprs> = exprs
        .iter()
        .map(|value| HealthExprs {
            api_version: text(value, "apiVersion").unwrap(),
            kind: text(value, "kind").unwrap(),
            in_progress: text(value, "inProgress"),
            failed: text(value, "failed"),
            current: text(value, "current").unwrap_or_default(),
        })
        .collect();
    HealthRules::compile(&exprs).map_err(|errors| errors.iter().map(|e| format!("mistake: {e}\n")).collect())
}

/// What the agent does with a workload that does not progress: lists its Pods and judges again.
fn with_pods(workload: &Value, judged: &Health, pods: &[Value]) -> String {
    let Some(selector) = health::selector_of(workload) else {
        return "its Pods are not asked\n".to_owned();
    };
    let pods: Vec<Value> = pods.iter().filter(|pod| selector.matches(pod)).cloned().collect();
    let namespace = selector.namespace();
    format!("{} Pods of {selector} in {namespace}\n  {}\n", pods.len(), health::judge_pods(judged, &pods))
}

fn objects(file: &Path) -> Vec<Value> {
    let contents = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let tree = Tree { read: vec![], files: vec![File { path: file.display().to_string(), contents }] };
    manifest::read(&tree)
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
        .into_iter()
        .map(|manifest| manifest.value)
        .collect()
}

/// JSON of any shape, with the words that the rules look for, also where they do not belong.
fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "True",
        "False",
        "Unknown",
        "Pending",
        "Running",
        "Failed",
        "Succeeded",
        "Bound",
        "Lost",
        "OnDelete",
        "Ready",
        "Reconciling",
        "Stalled",
        "Progressing",
        "Available",
        "CrashLoopBackOff",
        "back-off 99999999999999999999h1s",
        "",
        "2026-01-01T00:00:00Z",
        "LoadBalancer",
        "Never",
        "ä\n€",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        words.prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "conditions",
        "type",
        "reason",
        "message",
        "phase",
        "replicas",
        "readyReplicas",
        "observedGeneration",
        "generation",
        "deletionTimestamp",
        "finalizers",
        "updateStrategy",
        "rollingUpdate",
        "partition",
        "containerStatuses",
        "state",
        "waiting",
        "name",
        "selector",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "labels",
        "loadBalancer",
        "ingress",
        "desiredNumberScheduled",
        "restartCount",
        "completions",
        "parallelism",
        "suspend",
        "active",
    ]);
    leaf.prop_recursive(6, 96, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..8)
                .prop_map(|entries| entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()),
        ]
    })
}

const KINDS: &[(&str, &str)] = &[
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "ReplicaSet"),
    ("v1", "Pod"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("v1", "PersistentVolumeClaim"),
    ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("v1", "Service"),
    ("networking.k8s.io/v1", "Ingress"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("apiregistration.k8s.io/v1", "APIService"),
    ("v1", "Namespace"),
    ("v1", "ConfigMap"),
    ("towline.dev/v1alpha1", "Sync"),
    ("example.com/v1", "Widget"),
];

/// An object of a known or unknown kind with anything in its fields.
fn any_object() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(KINDS.to_vec());
    (kind, any_json(), any_json(), any_json()).prop_map(|((api_version, kind), metadata, spec, status)| {
        json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status })
    })
}

/// Conditions of different types, some of which rules look for.
fn any_conditions() -> impl Strategy<Value = Vec<Value>> {
    let kinds = vec![
        "Ready",
        "Reconciling",
        "Stalled",
        "Available",
        "Progressing",
        "Complete",
        "Failed",
        "Suspended",
        "Established",
        "NamesAccepted",
        "AbleToScale",
        "ScalingActive",
        "PodScheduled",
        "ReplicaFailure",
    ];
    let status = prop::sample::select(vec!["True", "False", "Unknown"]);
    prop::sample::subsequence(kinds, 0..6).prop_flat_map(move |kinds| {
        let statuses = prop::collection::vec(status.clone(), kinds.len());
        statuses.prop_map(move |statuses| {
            let pairs = kinds.iter().zip(statuses);
            pairs.map(|(kind, status)| json!({ "type": kind, "status": status, "reason": kind })).collect()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_json_makes_it_panic(value in any_json()) {
        let _judged = health::judge(&value);
    }

    #[test]
    fn no_object_makes_it_panic_and_every_judgement_is_one_short_line(object in any_object()) {
        let health = health::judge(&object);
        prop_assert!(!health.reason.is_empty() && !health.message.is_empty(), "{health:?}");
        prop_assert!(health.message.chars().count() <= health::MESSAGE_CHARS_MAX && !health.message.contains('\n'));
    }

    #[test]
    fn no_pods_make_it_panic_nor_a_healthy_workload_fail(object in any_object(), pods in prop::collection::vec(any_object(), 0..4)) {
        let judged = health::judge(&object);
        let selector = health::selector_of(&object);
        prop_assert!(selector.is_none_or(|s| !s.to_string().is_empty()));
        let again = health::judge_pods(&judged, &pods);
        if judged.status != Status::InProgress {
            prop_assert_eq!(again.status, judged.status);
        }
        prop_assert!([Status::InProgress, Status::Failed].contains(&again.status) || again == judged);
    }

    #[test]
    fn a_deleted_object_is_terminating(mut object in any_object()) {
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        prop_assert_eq!(health::judge(&object).status, Status::Terminating);
    }

    /// Conditions are a map by their types; in which order a controller writes them says nothing.
    #[test]
    fn the_order_of_conditions_does_not_count(mut object in any_object(), conditions in any_conditions(), shift in 0..5_usize) {
        object["status"] = json!({ "observedGeneration": 1, "phase": "Running", "conditions": conditions });
        object["metadata"] = json!({ "generation": 1 });
        let judged = health::judge(&object);
        let length = conditions.len().max(1);
        let mut turned = conditions;
        turned.rotate_left(shift % length);
        object["status"]["conditions"] = json!(turned);
        prop_assert_eq!(health::judge(&object), judged);
    }

    /// What nobody has looked at since it was changed is never current; of ours, whoever suspends one knows that.
    #[test]
    fn an_older_generation_is_never_current(mut object in any_object()) {
        object["metadata"] = json!({ "generation": 3 });
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("suspend");
        }
        if !object["status"].is_object() {
            object["status"] = json!({});
        }
        object["status"]["observedGeneration"] = json!(2);
        prop_assert_eq!(health::judge(&object).status, Status::InProgress);
    }
}
