//! What a server-side apply says of the object it is meant for: proved on the API server itself, because replicas rely on it;
//! and that every write to an object that is there says it.

use harness::api_proxy::Fault;
use harness::control_plane;
use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World};

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

#[tokio::test(flavor = "multi_thread")]
async fn every_write_to_an_object_that_is_there_names_its_uid_and_resource_version() {
    let (mut world, proxy) = World::behind("writes-exactly").await;
    // One that is as Git will have it, made by a person; one that is not; one that a controller made.
    for (name, manager, value) in [("equal", "kubectl", "1"), ("other", "kubectl", "0"), ("theirs", "controller", "0")]
    {
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": {"value": value}})).unwrap();
        let made_by = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        world.config_maps().create(&made_by, &map).await.unwrap();
    }
    let texts = ["equal", "other", "theirs", "new"].map(|name| (format!("{name}.yaml"), world.config_map(name, "1")));
    let first = world.repo.commit(&texts.each_ref().map(|(path, text)| (path.as_str(), text.as_str()))).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let second = world.push(&[("new.yaml", &world.config_map("new", "2"))]).await;
    world.ready_at(&second).await;
    world.meddle("new", "some-editor", "x").await;
    world.applied("new", "2").await;
    // Nothing is known any more of what is there, which is as it should be.
    world.agent.kill();
    world.lose_inventory().await;
    world.agent.resume().unwrap();
    wait_until("the inventory is there again", PATIENCE, async || match world.inventory().await {
        Some(now) if now.spec.entries.iter().all(|line| line.ends_with(" applied")) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();

    let ours = world.namespace.clone();
    let writes = proxy.since(0, |seen| seen.is("patch", "configmaps") && !seen.dry_run);
    let writes: Vec<_> = writes.into_iter().filter(|seen| seen.namespace.as_ref() == Some(&ours)).collect();
    let creates: Vec<_> = writes.iter().filter(|seen| seen.meant == (None, None)).collect();
    let names: Vec<_> = creates.iter().filter_map(|seen| seen.name.as_deref()).collect();
    assert_eq!(names, ["new"], "{writes:#?}");
    let inexact = writes.iter().filter(|seen| seen.meant.0.is_none() != seen.meant.1.is_none());
    assert_eq!(inexact.count(), 0, "{writes:#?}");
    for name in ["equal", "other", "theirs", "new"] {
        let of_it = writes.iter().filter(|seen| seen.name.as_deref() == Some(name) && seen.meant.0.is_some());
        assert!(of_it.count() > 0, "{name}: {writes:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_asks_to_leave_alone_while_it_is_about_to_be_written_stays_theirs() {
    let (world, proxy) = World::behind("writes-give-up").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let hold = proxy.while_on(Fault::Hold, |seen| seen.is("patch", "configmaps") && !seen.dry_run);
    let second = world.push(&[("a.yaml", &world.config_map("a", "2"))]).await;
    hold.committed(1, PATIENCE).await;
    let by_hand = json!({
        "metadata": {"annotations": {"towline.dev/reconcile": "disabled"}}, "data": {"value": "by hand"},
    });
    world.edit::<ConfigMap>("a", "operator", by_hand).await;
    hold.end();
    let left = |status: &str, _: &str, message: &str| {
        status == "True" && message.contains(&second) && message.contains("not applied")
    };
    world.ready("it is left alone", left).await;
    world.applied("a", "by hand").await;
}
