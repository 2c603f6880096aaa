//! Objects near the limits of the API server and of etcd: applied, put right, watched and pruned like any other.

use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::world::{PATIENCE, World, uid};

/// A ConfigMap's data may have 1 MiB together.
const BIG: usize = 1024 * 1024 - 64;

/// A definition of some 400 KiB, as operators with many embedded types bring them.
fn definition(group: &str, text: &str) -> String {
    let properties: String = (0..1_000)
        .map(|n| {
            format!("              field{n}: {{type: string, description: '{n} {}'}}\n", text.repeat(360 / text.len()))
        })
        .collect();
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: giants.{group}}}\n\
         spec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: giants, kind: Giant}}\n  versions:\n  \
         - name: v1\n    served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        \
         type: object\n        properties:\n          spec:\n            type: object\n            properties:\n{properties}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_applied_reverted_and_pruned() {
    let world = World::new("large").await;
    let group = format!("{}.test", world.namespace);
    let files = [
        ("big.yaml", world.config_map("big", &"x".repeat(BIG))),
        ("giant.yaml", definition(&group, "one ")),
        ("keep.yaml", world.config_map("keep", "1")),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    let policy = json!({"maxDeletions": "100%", "allowKinds": ["CustomResourceDefinition"]});
    world.sync_with(json!({}), json!({"wait": true, "prunePolicy": policy})).await;
    world.ready_at(&first).await;
    world.listening().await;
    let before = uid(&world, "big").await;

    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let name = format!("giants.{group}");
    let size = serde_json::to_vec(&definitions.get(&name).await.unwrap()).unwrap().len();
    assert!(size > 400 * 1024, "{size} bytes");

    // Drift in both.
    world.meddle("big", "some-editor", &"y".repeat(BIG)).await;
    let meddled = json!({"spec": {"names": {"shortNames": ["gi"], "singular": "mine"}}});
    definitions.patch(&name, &PatchParams::default(), &Patch::Merge(meddled)).await.unwrap();
    let is_x = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["value"].starts_with('x'));
    wait_until("the big ConfigMap is put right", PATIENCE, async || match world.config_maps().get("big").await {
        Ok(map) if is_x(&map) => Ok(()),
        other => Err(format!("{:?}; {:?}", other.map(|map| map.metadata), world.said_of("fleet").await)),
    })
    .await
    .unwrap();
    world.event("DriftReverted", &["/big"]).await;
    assert_eq!(uid(&world, "big").await, before);

    let second = world.push(&[("giant.yaml", &definition(&group, "two "))]).await;
    world.ready_at(&second).await;
    let text = serde_json::to_string(&definitions.get(&name).await.unwrap().spec).unwrap();
    assert!(text.contains("999 two two") && !text.contains("one one"));

    world.repo.git(&["rm", "--quiet", "big.yaml", "giant.yaml"]).await.unwrap();
    let third = world.push(&[("keep.yaml", &world.config_map("keep", "2"))]).await;
    world.gone("big").await;
    wait_until("the definition is gone", PATIENCE, async || match definitions.get_opt(&name).await.unwrap() {
        None => Ok(()),
        Some(there) => Err(format!("{:?}", there.metadata.deletion_timestamp)),
    })
    .await
    .unwrap();
    world.ready_at(&third).await;
    assert_eq!(world.owned("fleet").await, ["keep"]);
}
