use std::collections::BTreeMap;

use jiff::SignedDuration;
use prometheus_client::encoding::text::encode;
use serde_json::json;
use towline_plan::check::Held;
use towline_plan::object::{GroupKind, ObjectId};
use towline_plan::schedule::sync::Trigger;
use towline_proto::{CommitEvent, RefName, RepositoryId};

use super::git::HOSTS_MAX;
use super::nats::Reports;
use super::*;
use crate::api::Sync;
use crate::cluster::Change;
use crate::pass::{Action, Deed};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn sync(uid: &str, conditions: &[(&str, &str)]) -> Sync {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(kind, status)| {
            json!({"type": kind, "status": status, "reason": "R", "message": "m",
                   "lastTransitionTime": "2026-01-01T00:00:00Z"})
        })
        .collect();
    serde_json::from_value(json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync",
        "metadata": {"name": "a", "namespace": "ns", "uid": uid},
        "spec": {"sourceRef": {"kind": "GitSource", "name": "s"}, "prune": true},
        "status": {"conditions": conditions},
    }))
    .unwrap()
}

fn pass(uid: &str) -> Pass {
    Pass { sync: Arc::new(sync(uid, &[])), ..crate::report::tests::pass(None, 1) }
}

fn id(name: &str) -> ObjectId {
    ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".to_owned()), name: name.to_owned() }
}

fn reverted(count: usize) -> Vec<Action> {
    (0..count)
        .map(|n| Action { id: id(&n.to_string()), deed: Deed::Reverted("was changed".to_owned().into()) })
        .collect()
}

fn scrape(metrics: &Metrics) -> String {
    let mut registry = Registry::default();
    let nats: Reports = Box::new(|| (3, 2));
    let watches = Box::new(|| [("running", 2), ("starting", 1), ("failed", 0)]);
    metrics.register(&mut registry, Kept { watches, nats: Some(nats) });
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

/// The series with this beginning, without the prefix of all.
fn series(metrics: &Metrics, beginning: &str) -> Vec<String> {
    let text = scrape(metrics);
    let lines = text.lines().filter_map(|line| line.strip_prefix("towline_agent_"));
    lines.filter(|line| line.starts_with(beginning)).map(str::to_owned).collect()
}

#[test]
fn the_series_of_a_sync_begin_and_end_with_it() {
    let metrics = Metrics::new();
    metrics.resource(&ResourceEvent::Sync(
        None,
        Change::Applied(sync("u1", &[("Ready", "True"), ("Healthy", "Unknown")])),
    ));
    assert_eq!(
        series(&metrics, "condition{"),
        [
            r#"condition{kind="Sync",namespace="ns",name="a",type="Ready"} 1.0"#,
            r#"condition{kind="Sync",namespace="ns",name="a",type="Healthy"} 0.0"#
        ]
    );
    let outcome = Outcome { end: End::Succeeded, actions: reverted(2), ..Outcome::untouched() };
    metrics.passed(&pass("u1"), &outcome, at(7));
    metrics.fought(&pass("u1").key);
    let of_sync = series(&metrics, "sync_");
    for wanted in [
        r#"sync_last_success_timestamp_seconds{namespace="ns",name="a"} 1000007.0"#,
        r#"sync_last_pass{namespace="ns",name="a",outcome="succeeded"} 1.0"#,
        r#"sync_drift_corrections_total{namespace="ns",name="a"} 2"#,
        r#"sync_fights_total{namespace="ns",name="a"} 1"#,
    ] {
        assert!(of_sync.contains(&wanted.to_owned()), "{wanted} in {of_sync:#?}");
    }
    let held = End::Held(Held::Emptied { entries: 3 }, vec![id("x"), id("y")]);
    metrics.passed(&pass("u1"), &Outcome { end: held, ..Outcome::untouched() }, at(9));
    let of_sync = series(&metrics, "sync_");
    assert!(of_sync.contains(&r#"sync_prune_held_objects{namespace="ns",name="a"} 2.0"#.to_owned()), "{of_sync:#?}");
    assert!(of_sync.iter().any(|line| line.ends_with("1000007.0")), "held is no success: {of_sync:#?}");
    assert_eq!(series(&metrics, "prunes_held_total"), [r#"prunes_held_total{reason="emptied"} 1"#]);

    metrics.resource(&ResourceEvent::Sync(None, Change::Gone(sync("u1", &[]))));
    metrics.passed(&pass("u1"), &outcome, at(9));
    let left: Vec<_> = [series(&metrics, "sync_"), series(&metrics, "condition")].concat();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(series(&metrics, "passes_total").len(), 2, "passes are counted all the same");
}

#[test]
fn a_sync_of_the_same_name_and_a_list_without_it_begin_anew() {
    let metrics = Metrics::new();
    let listed = |syncs| metrics.resource(&ResourceEvent::Sync(Some("ns".to_owned()), Change::Listed(syncs)));
    listed(vec![sync("u1", &[])]);
    metrics.passed(&pass("u1"), &Outcome::untouched(), at(1));
    assert_eq!(series(&metrics, "sync_last_success").len(), 1);
    listed(vec![sync("u2", &[])]);
    metrics.passed(&pass("u1"), &Outcome::untouched(), at(2));
    assert_eq!(series(&metrics, "sync_last_success").len(), 0, "it is another one's");
    metrics.resource(&ResourceEvent::Sync(Some("elsewhere".to_owned()), Change::Listed(Vec::new())));
    assert_eq!(series(&metrics, "sync_fights").len(), 1, "a list of another namespace says nothing of it");
    listed(Vec::new());
    assert_eq!(series(&metrics, "sync_fights").len(), 0);
}

#[test]
fn what_passes_came_to_is_told_by_the_replica_that_runs_them() {
    let metrics = Metrics::new();
    metrics.resource(&ResourceEvent::Sync(None, Change::Applied(sync("u1", &[("Ready", "True")]))));
    let outcome = Outcome { end: End::Succeeded, actions: reverted(2), ..Outcome::untouched() };
    metrics.passed(&pass("u1"), &outcome, at(7));
    metrics.divided(|_| true);
    assert_eq!((series(&metrics, "sync_last_success").len(), series(&metrics, "sync_last_pass").len()), (1, 1));
    metrics.divided(|_| false);
    assert_eq!((series(&metrics, "sync_last_success").len(), series(&metrics, "sync_last_pass").len()), (0, 0));
    assert_eq!(series(&metrics, "condition{").len(), 1, "each replica sees the conditions");
    let corrected = series(&metrics, "sync_drift_corrections_total");
    assert!(corrected[0].ends_with(" 2"), "counters never fall: {corrected:?}");
}

#[test]
fn the_time_from_a_delivery_to_its_pass_is_taken_once_a_revision() {
    let metrics = Metrics::since(at(0));
    let event = CommitEvent {
        version: CommitEvent::VERSION,
        repository: RepositoryId::parse("git.example/org/s").unwrap(),
        reference: RefName::parse("refs/heads/main").unwrap(),
        before: None,
        after: None,
        provider: "github".to_owned(),
        hook: "/hooks/github".to_owned(),
        delivery: "delivery-1".to_owned(),
        received_at: at(0),
        traceparent: None,
    };
    let (repository, reference) = (event.repository.token(), event.reference.clone());
    let woken = |event: CommitEvent| {
        let (repository, reference) = (repository.clone(), reference.clone());
        metrics.bus(&BusEvent::Woken { repository, reference, event: Some(event), undecodable: None });
    };
    woken(event.clone());
    // The last one of another ref, from before this process.
    woken(CommitEvent { delivery: "delivery-0".to_owned(), received_at: at(-9), ..event });
    metrics.resource(&ResourceEvent::Sync(None, Change::Applied(sync("u1", &[]))));
    metrics.passed(&pass("u1"), &Outcome { end: End::Superseded, ..Outcome::untouched() }, at(2));
    metrics.passed(&pass("u1"), &Outcome::untouched(), at(4));
    metrics.passed(&Pass { trigger: Trigger::Drift, ..pass("u1") }, &Outcome::untouched(), at(500));
    assert_eq!(series(&metrics, "event_apply_delay_seconds_sum"), ["event_apply_delay_seconds_sum 4.0"]);
    assert_eq!(series(&metrics, "last_event"), ["last_event_timestamp_seconds 1000000.0"]);
    let revision = crate::pass::Revision { delivery: Some("delivery-0".to_owned()), ..pass("u1").revision };
    metrics.passed(&Pass { revision, ..pass("u1") }, &Outcome::untouched(), at(5));
    assert_eq!(series(&metrics, "event_apply_delay_seconds_count"), ["event_apply_delay_seconds_count 1"]);
    assert_eq!(series(&metrics, "event_lag"), ["event_lag_seconds{} 0.0"]);
    metrics.oldest_event(Some(at(0)));
    let lag = series(&metrics, "event_lag").join("");
    assert!(lag.strip_prefix("event_lag_seconds{} ").unwrap().parse::<f64>().unwrap() > 1_000.0, "{lag}");
}

#[test]
fn a_request_counts_once_however_it_ends() {
    let metrics = Metrics::new();
    metrics.api_request("patch").answered(200);
    metrics.api_request("patch").answered(418);
    drop(metrics.api_request("patch"));
    let mut counted = series(&metrics, "api_requests_total");
    counted.sort();
    assert_eq!(
        counted,
        [
            r#"api_requests_total{verb="patch",code="200"} 1"#,
            r#"api_requests_total{verb="patch",code="4xx"} 1"#,
            r#"api_requests_total{verb="patch",code="none"} 1"#
        ]
    );
}

#[test]
fn hosts_are_bounded() {
    let metrics = Metrics::new();
    for number in 0..2 * HOSTS_MAX {
        metrics.fetched(&format!("h{number}"), "succeeded", (2, 100), Duration::from_millis(1));
    }
    metrics.fetched("h0", "succeeded", (2, 100), Duration::from_millis(1));
    let requests = series(&metrics, "git_requests_total");
    assert_eq!(requests.len(), HOSTS_MAX + 1);
    assert!(requests.contains(&r#"git_requests_total{host="h0"} 4"#.to_owned()), "{requests:#?}");
    assert!(requests.contains(&format!(r#"git_requests_total{{host="other"}} {}"#, 2 * HOSTS_MAX)), "{requests:#?}");
}

#[test]
fn who_waits_is_seen_until_its_turn() {
    let metrics = Metrics::new();
    let (first, second) = (metrics.wait_in(Queue::Passes), metrics.wait_in(Queue::Passes));
    assert!(series(&metrics, "queue_depth").contains(&r#"queue_depth{queue="passes"} 2.0"#.to_owned()));
    let oldest = |metrics: &Metrics| -> f64 {
        let rows = series(metrics, r#"queue_oldest_wait_seconds{queue="passes"}"#);
        rows[0].rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(oldest(&metrics) > 0.0);
    drop((first, second));
    assert_eq!(oldest(&metrics).to_bits(), 0.0_f64.to_bits());
    assert_eq!(
        series(&metrics, "queue_wait_duration_seconds_count"),
        [r#"queue_wait_duration_seconds_count{queue="passes"} 2"#]
    );
}

/// What a Prometheus expects of names, and that each is there once.
#[test]
fn names_follow_the_conventions() {
    let metrics = Metrics::new();
    metrics.resource(&ResourceEvent::Sync(None, Change::Applied(sync("u1", &[("Ready", "True")]))));
    drop(metrics.time(Stage::Prune));
    let text = scrape(&metrics);
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(name.starts_with("towline_agent_"), "{name}");
        assert!(!name.ends_with("_total") && !name.contains("__"), "{name}");
        assert_eq!(kinds.insert(name, kind), None, "{name} is there twice");
    }
    for (name, kind) in kinds {
        let is_time = name.contains("duration") || name.contains("delay") || name.contains("timestamp");
        assert!(!is_time || name.ends_with("_seconds"), "{name} has no unit");
        assert!(kind != "unknown", "{name} has no type");
    }
    assert!(text.ends_with("# EOF\n"));
}
