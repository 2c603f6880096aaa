//! Waiting for what real controllers make of workloads, for kinds that only an expression can judge, and for a Sync that another
//! one asks with an expression of its own. Intervals are an hour.

use harness::wait_until;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World};

fn deployment(world: &World, replicas: u32, image: &str, deadline_seconds: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {}}}\nspec:\n  replicas: {replicas}\n  \
         progressDeadlineSeconds: {deadline_seconds}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    \
         metadata: {{labels: {{app: web}}}}\n    spec:\n      automountServiceAccountToken: false\n      \
         containers: [{{name: web, image: '{image}'}}]\n",
        world.namespace
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_waited_for_and_one_that_does_not_progress_fails_in_words() {
    let world = World::new("workloads").await;
    let none = deployment(&world, 0, "web.test/web:1", 600);
    let first = world.repo.commit(&[("web.yaml", &none)]).await.unwrap();
    world.sync_with(json!({}), json!({"wait": true, "timeout": "10m"})).await;
    world.ready_at(&first).await;
    world.listening().await;

    // No kubelet takes its Pod: it is on its way until its deadline, and then it has failed, long before the timeout.
    let stuck = world.push(&[("web.yaml", &deployment(&world, 1, "web.test/web:2", 2))]).await;
    let failed = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "HealthCheckFailed") && message.contains("Deployment") && message.contains("/web")
    };
    let said = world.ready("it says that the Deployment does not progress", failed).await;
    let said = said.status.unwrap().conditions.into_iter().find(|c| c.type_ == "Ready").unwrap().message;
    assert!(said.contains("progress"), "{said}");
    world.event("HealthCheckFailed", &["/web"]).await;
    assert!(!said.is_empty() && !stuck.is_empty());

    // The test is the kubelet.
    let works = world.push(&[("web.yaml", &deployment(&world, 1, "web.test/web:3", 600))]).await;
    let waits = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("Unknown", "Progressing") && message.contains("/web") && message.contains(&works)
    };
    world.ready("it waits for the Deployment", waits).await;
    let pods: Api<Pod> = world.api();
    let pod = wait_until("the newest Pod is there", PATIENCE, async || {
        let all = pods.list(&ListParams::default().labels("app=web")).await.map_err(|e| e.to_string())?;
        let image = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
        let newest = all.items.iter().find(|pod| image(pod).as_deref() == Some("web.test/web:3"));
        newest.and_then(|pod| pod.metadata.name.clone()).ok_or_else(|| format!("{} Pods", all.items.len()))
    });
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"phase": "Running", "conditions": [ready]}});
    pods.patch_status(&pod.await.unwrap(), &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    world.ready_at(&works).await;
}

/// A kind without conditions, cluster-wide under a group of the test's own.
async fn define(world: &World) -> (String, Api<DynamicObject>) {
    let group = format!("{}.test", world.namespace);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("lamps.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "lamps", "kind": "Lamp"}, "versions": [{
            "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}},
        }]},
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    definitions.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    let kind = GroupVersionKind::gvk(&group, "v1", "Lamp");
    let resource = ApiResource::from_gvk_with_plural(&kind, "lamps");
    let api = Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    wait_until("the kind is served", PATIENCE, async || {
        api.list(&ListParams::default()).await.map(drop).map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    (group, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_judge_a_kind_of_ones_own() {
    let world = World::new("expressions").await;
    let (group, lamps) = define(&world).await;
    let lamp = |size: u32| {
        format!(
            "apiVersion: {group}/v1\nkind: Lamp\nmetadata: {{name: lamp, namespace: {}}}\nspec: {{size: {size}}}\n",
            world.namespace
        )
    };
    let first = world.repo.commit(&[("lamp.yaml", &lamp(1))]).await.unwrap();
    let exprs = json!([{
        "apiVersion": format!("{group}/v1"), "kind": "Lamp",
        "current": "has(status.light) && status.light == 'on'",
        "failed": "has(status.light) && status.light == 'broken'",
    }]);
    world.sync_with(json!({}), json!({"wait": true, "timeout": "10m", "healthCheckExprs": exprs})).await;
    let waits = |status: &str, _: &str, message: &str| status == "Unknown" && message.contains("/lamp");
    world.ready("it waits for the lamp", waits).await;
    let light = async |light: &str| {
        let status = json!({"status": {"light": light}});
        lamps.patch_status("lamp", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    };
    light("broken").await;
    let failed = |_: &str, reason: &str, message: &str| reason == "HealthCheckFailed" && message.contains("/lamp");
    world.ready("a broken lamp does not come on by waiting", failed).await;
    light("on").await;
    world.ready_at(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_sync_has_to_be_is_an_expression() {
    let world = World::new("ready-expr").await;
    let (a, b) = (world.config_map("a", "1"), world.config_map("b", "1"));
    let first = world.repo.commit(&[("a/a.yaml", &a), ("b/b.yaml", &b)]).await.unwrap();
    world.sync_with(json!({}), json!({"path": "a"})).await;
    let expr = "has(dep.metadata.labels) && dep.metadata.labels['stage'] == self.spec.path";
    world.another_sync("b", json!({"path": "b", "dependsOn": [{"name": "fleet", "readyExpr": expr}]})).await;
    world.ready_at(&first).await;
    let waits = |_: &str, reason: &str, message: &str| reason == "DependencyNotReady" && message.contains("/fleet");
    world.other_ready("b", "Ready alone is not what is asked", waits).await;
    assert!(world.config_maps().get_opt("b").await.unwrap().is_none());
    world.edit::<Sync>("fleet", "operator", json!({"metadata": {"labels": {"stage": "b"}}})).await;
    world.applied("b", "1").await;
}
