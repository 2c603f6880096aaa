use super::*;

fn entry(manager: &str, operation: &str, subresource: &str, fields: Value) -> Value {
    json!({
        "manager": manager, "operation": operation, "subresource": subresource, "apiVersion": "apps/v1",
        "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
    })
}

fn metadata(entries: &[Value]) -> Value {
    json!({"uid": "u", "resourceVersion": "7", "managedFields": entries})
}

/// The managers of a patch, and what it makes Towline's.
fn taken(entries: &[Value]) -> (Vec<String>, Value) {
    let patch = take_over(&metadata(entries)).unwrap();
    assert_eq!((&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]), (&json!("u"), &json!("7")));
    let entries = patch["metadata"]["managedFields"].as_array().unwrap();
    let own: Vec<&Value> = entries.iter().filter(|e| is_own(e)).collect();
    assert_eq!(own.len(), 1, "the API server takes one record of an applier");
    (entries.iter().map(|e| e["manager"].as_str().unwrap().to_owned()).collect(), own[0]["fieldsV1"].clone())
}

#[test]
fn who_applied_before_is_taken_over_and_controllers_are_not() {
    let set = json!({"f:spec": {"f:a": {}}});
    let kept = [
        entry("kubectl-rollout", "Update", "", set.clone()),
        entry("kube-controller-manager", "Update", "", set.clone()),
        entry("kubectl-scale", "Update", "scale", set.clone()),
        entry("kubectl-edit", "Update", "status", set.clone()),
        entry("towline-ignored", "Apply", "", set.clone()),
        entry("helmsman", "Apply", "", set.clone()),
    ];
    assert_eq!(take_over(&metadata(&kept)), None);
    for (manager, operation) in [
        ("kubectl-client-side-apply", "Update"),
        ("kubectl", "Apply"),
        ("kubectl-edit", "Update"),
        ("before-first-apply", "Update"),
        ("helm", "Update"),
        ("kustomize-controller", "Apply"),
        ("argocd-controller", "Apply"),
        ("towline", "Update"),
    ] {
        let mut entries = vec![entry(manager, operation, "", set.clone())];
        entries.extend(kept.iter().cloned());
        let (managers, own) = taken(&entries);
        let mut expected: Vec<&str> = kept.iter().map(|e| e["manager"].as_str().unwrap()).collect();
        expected.push("towline");
        assert_eq!(
            (managers.iter().map(String::as_str).collect::<Vec<_>>(), own),
            (expected, set.clone()),
            "{manager}"
        );
    }
}

#[test]
fn sets_of_fields_are_joined_and_no_status_is_owned() {
    let (_, own) = taken(&[
        entry("towline", "Apply", "", json!({"f:data": {"f:a": {}, "f:leaf": {}, "f:map": {"f:x": {}}}})),
        entry("kubectl", "Apply", "", json!({"f:data": {".": {}, "f:b": {}, "f:leaf": {"f:y": {}}, "f:map": {}}})),
        entry("kubectl-edit", "Update", "", json!({"f:status": {"f:phase": {}}})),
    ]);
    let expected = json!({"f:data": {
        ".": {}, "f:a": {}, "f:b": {}, "f:leaf": {".": {}, "f:y": {}}, "f:map": {".": {}, "f:x": {}},
    }});
    assert_eq!(own, expected);
}

#[test]
fn what_kubectl_compares_with_goes_alone_too() {
    let mut metadata = metadata(&[entry("towline", "Apply", "", json!({"f:data": {}}))]);
    assert_eq!(take_over(&metadata), None);
    metadata["annotations"] = json!({LAST_APPLIED: "{}", "other": "kept"});
    let patch = json!({"metadata": {"uid": "u", "resourceVersion": "7", "annotations": {LAST_APPLIED: null}}});
    assert_eq!(take_over(&metadata), Some(patch));
}
