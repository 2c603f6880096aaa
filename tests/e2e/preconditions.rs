//! What a server-side apply says of the object it is meant for: proved on the API server itself, because replicas rely on it.

use harness::control_plane;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

fn applied(uid: Option<&str>, resource_version: Option<&str>, value: &str) -> Patch<Value> {
    let mut object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "v": value } });
    uid.inspect(|uid| object["metadata"]["uid"] = json!(uid));
    resource_version.inspect(|version| object["metadata"]["resourceVersion"] = json!(version));
    Patch::Apply(object)
}

#[tokio::test]
async fn an_apply_that_names_uid_and_resource_version_changes_that_very_object_or_nothing() {
    let plane = control_plane::shared().await;
    let namespace = plane.namespace("preconditions").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await.unwrap(), &namespace);
    let params = PatchParams::apply("towline").force();
    let apply = async |patch: Patch<Value>| maps.patch("c", &params, &patch).await;
    let refused = |answer: Result<ConfigMap, kube::Error>, with: (u16, &str), why: &str| match answer {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), with, "{why}"),
        other => panic!("{why}: {other:?}"),
    };
    let conflict = |answer, why: &str| refused(answer, (409, "Conflict"), why);

    let first = apply(applied(None, None, "1")).await.unwrap();
    let (uid, version) = (first.uid().unwrap(), first.resource_version().unwrap());
    let second = apply(applied(Some(&uid), Some(&version), "2")).await.unwrap();
    assert_eq!(second.uid().as_deref(), Some(uid.as_str()));
    conflict(apply(applied(Some(&uid), Some(&version), "3")).await, "it was written since");
    conflict(apply(applied(Some("another"), Some(&version), "3")).await, "it is another object");
    // The uid alone is a field that cannot be changed.
    refused(apply(applied(Some("another"), None, "3")).await, (422, "Invalid"), "it is another object");
    // Neither of the two becomes a field that somebody owns.
    let fields = serde_json::to_string(&second.metadata.managed_fields).unwrap();
    assert!(!fields.contains("f:uid") && !fields.contains("f:resourceVersion"), "{fields}");

    maps.delete("c", &DeleteParams::default()).await.unwrap();
    let version = second.resource_version().unwrap();
    conflict(apply(applied(Some(&uid), Some(&version), "3")).await, "it is gone");
    conflict(apply(applied(Some(&uid), None, "3")).await, "it is gone");
    assert!(maps.get_opt("c").await.unwrap().is_none(), "nothing was created");
}
