//! A namespace does not go while something in it stays: with it, that would go, too.

use harness::wait_until;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_waits_for_what_is_in_it_and_asks() {
    let world = World::new("contents").await;
    let inner = format!("{}-inner", world.namespace);
    let inside = |name: &str, annotation: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {inner}\n  \
             annotations: {{towline.dev/prune: {annotation}}}\n"
        )
    };
    let files = [
        ("all/namespace.yaml", format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {inner}}}\n")),
        ("all/asks.yaml", inside("asks", "confirm")),
        ("all/goes.yaml", inside("goes", "enabled")),
        ("keep.yaml", world.config_map("keep", "1")),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    let policy = json!({"allowKinds": ["Namespace"], "maxDeletions": "100%"});
    world.sync_with(json!({}), json!({"prunePolicy": policy})).await;
    world.ready_at(&first).await;
    world.listening().await;

    let second = world.repo.remove("all").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    world
        .ready("it asks", |_, reason, message| {
            reason == "PruneHeld" && message.contains("asks") && message.contains(&second)
        })
        .await;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &inner);
    assert!(maps.get_opt("goes").await.unwrap().is_none(), "what does not ask is left");
    assert!(maps.get("asks").await.unwrap().metadata.deletion_timestamp.is_none());
    let namespaces = Api::<Namespace>::all(world.client.clone());
    assert!(namespaces.get(&inner).await.unwrap().metadata.deletion_timestamp.is_none(), "it takes with it what asks");

    let confirmed = json!({"metadata": {"annotations": {"towline.dev/prune-confirmed": "yes"}}});
    let by = PatchParams { field_manager: Some("operator".to_owned()), ..PatchParams::default() };
    maps.patch("asks", &by, &Patch::Merge(confirmed)).await.unwrap();
    wait_until("the namespace is gone", PATIENCE, async || {
        let left = namespaces.get_opt(&inner).await.map_err(|e| e.to_string())?;
        if left.is_none() { Ok(()) } else { Err(format!("{:?}", world.fleet().await.status)) }
    })
    .await
    .unwrap();
    world.ready_at(&second).await;
}
