use serde_json::json;

use super::*;
use crate::object::GroupKind;

fn id(kind: &str) -> ObjectId {
    ObjectId { kind: GroupKind::new("", kind), namespace: Some("ns".into()), name: "x".into() }
}

fn detail(kind: &str, live: Value, wanted: Value) -> Detail {
    Detail::of(&id(kind), &live, &wanted, &Redactor::default())
}

#[test]
fn fields_are_named_with_both_values_and_servers_own_are_not() {
    let live = json!({
        "metadata": {"resourceVersion": "2", "generation": 2, "labels": {"a.b/c": "x"}},
        "spec": {"replicas": 5, "containers": [{"name": "web", "image": "b"}, {"name": "extra"}], "args": ["1"]},
        "status": {"replicas": 5},
    });
    let wanted = json!({
        "metadata": {"resourceVersion": "1", "generation": 3, "labels": {}},
        "spec": {"replicas": 1, "containers": [{"name": "web", "image": "a"}], "args": ["1", "2"]},
    });
    let detail = detail("Deployment", live, wanted);
    insta::assert_snapshot!(detail.drift(None));
    assert_eq!(
        detail.drift(None).brief,
        "it was changed: metadata.labels[\"a.b/c\"], spec.args[1], spec.containers[extra], spec.containers[web].image, \
         spec.replicas"
    );
    assert_eq!(detail.fields.len(), 5);
}

#[test]
fn of_a_secret_no_value_is_said_and_elsewhere_none_that_is_known() {
    let live = json!({"data": {"password": "aHVudGVyMg=="}, "metadata": {"annotations": {"copy": "hunter2"}}});
    let told = detail("Secret", live, json!({"data": {"password": "b2xk"}, "metadata": {}})).drift(None);
    assert!(told.what.contains("data.password (*** instead of ***)"), "{told}");
    assert!(
        !told.what.contains("hunter2") && !told.what.contains("aHVudGVyMg") && !told.what.contains("b2xk"),
        "{told}"
    );
    assert_eq!(told.fields, ["data.password", "metadata.annotations"]);
}

#[test]
fn what_is_much_is_counted_and_what_is_long_is_cut() {
    let live: Map<String, Value> = (0..30).map(|n| (format!("k{n:02}"), json!("ä".repeat(200)))).collect();
    let detail = detail("ConfigMap", json!({"data": live}), json!({"data": {}}));
    assert_eq!((detail.changes.len(), detail.fields.len(), detail.omitted), (10, 16, 20));
    assert!(detail.changes.iter().all(|change| change.len() < 200), "{:?}", detail.changes);
    let drift = detail.drift(None);
    assert!(drift.what.ends_with("and 20 more fields"));
    assert!(drift.brief.ends_with("data.k08, data.k09 and 20 more fields"), "{}", drift.brief);
}

#[test]
fn who_owns_a_changed_field_did_it_not_who_wrote_last() {
    let entry =
        |manager: &str, time: &str, fields: Value| json!({"manager": manager, "time": time, "fieldsV1": fields});
    let managed = json!([
        entry("towline", "2026-01-05T00:00:00Z", json!({"f:spec": {"f:replicas": {}}})),
        entry("scaler", "2026-01-01T00:00:00Z", json!({"f:spec": {"f:replicas": {}}})),
        entry("older", "2025-01-01T00:00:00Z", json!({"f:spec": {"f:replicas": {}}})),
        entry("labeller", "2026-01-02T00:00:00Z", json!({"f:metadata": {"f:labels": {}}})),
    ]);
    let live = json!({"metadata": {"managedFields": managed}, "spec": {"replicas": 5}});
    let detail = detail("Deployment", live, json!({"metadata": {}, "spec": {"replicas": 1}}));
    let told = detail.drift(None).what;
    assert!(
        told.starts_with("it was changed by scaler at 2026-01-01T00:00:00Z: spec.replicas (5 instead of 1)"),
        "{told}"
    );
}
