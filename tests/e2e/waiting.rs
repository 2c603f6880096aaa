//! Waiting for health: what is applied has to work before anything is pruned and before it counts as applied. No kubelet runs
//! here: the tests say what becomes of Pods. All intervals are an hour.

use harness::wait_until;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World};

fn pod(world: &World, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {}}}\nspec:\n  automountServiceAccountToken: false\n  \
         containers: [{{name: c, image: 'c.test/c:1'}}]\n",
        world.namespace
    )
}

impl World {
    async fn pod_is(&self, name: &str, status: Value) {
        let kubelet = PatchParams { field_manager: Some("kubelet".to_owned()), ..PatchParams::default() };
        let patch = Patch::Strategic(json!({"status": status}));
        self.api::<Pod>().patch_status(name, &kubelet, &patch).await.unwrap();
    }

    pub async fn pod_runs(&self, name: &str) {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let container =
            json!({"name": "c", "ready": true, "restartCount": 0, "image": "", "imageID": "", "state": running});
        self.pod_is(name, json!({"phase": "Running", "conditions": [ready], "containerStatuses": [container]})).await;
    }

    async fn pod_cannot_pull(&self, name: &str) {
        let waiting =
            json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image c.test/c:1"}});
        let container =
            json!({"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": waiting});
        self.pod_is(name, json!({"phase": "Pending", "containerStatuses": [container]})).await;
    }

    /// The Healthy condition, as status and message.
    pub async fn healthy(&self) -> (String, String) {
        let conditions = self.fleet().await.status.unwrap_or_default().conditions;
        let found = conditions.into_iter().find(|c| c.type_ == "Healthy");
        found.map(|c| (c.status, c.message)).unwrap_or_default()
    }

    /// Waits until the Sync waits for an object to become healthy.
    pub async fn waits_for(&self, object: &str) {
        self.ready(&format!("the Sync waits for {object}"), |status, reason, message| {
            (status, reason) == ("Unknown", "Progressing") && message.contains(object)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_healthy_is_waited_for_before_anything_is_pruned_and_a_fix_ends_the_wait() {
    let world = World::new("healthy").await;
    let old = world.config_map("old", "1");
    let first = world.repo.commit(&[("a.yaml", &pod(&world, "a")), ("old.yaml", &old)]).await.unwrap();
    world.sync_with(json!({}), json!({"wait": true})).await;
    world.waits_for("/a (").await;
    assert_eq!(world.fleet().await.status.unwrap().last_applied_revision, None);
    assert_eq!(world.healthy().await.0, "Unknown");
    world.pod_runs("a").await;
    world.ready_at(&first).await;
    assert_eq!(world.healthy().await.0, "True");

    world.listening().await;
    let b = pod(&world, "b");
    world.repo.remove("old.yaml").await.unwrap();
    world.push(&[("b.yaml", &b)]).await;
    world.waits_for("/b (").await;
    assert!(world.config_maps().get_opt("old").await.unwrap().is_some(), "it was pruned before b was healthy");

    world.repo.remove("b.yaml").await.unwrap();
    let fixed = world.push(&[("fix.yaml", &world.config_map("fix", "1"))]).await;
    world.ready_at(&fixed).await;
    world.gone("old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waiting_cannot_help_fails_at_once_and_heals_without_a_retry() {
    let world = World::new("unhealthy").await;
    let commit = world.repo.commit(&[("a.yaml", &pod(&world, "a"))]).await.unwrap();
    world.sync_with(json!({}), json!({"wait": true, "retryInterval": "1h"})).await;
    world.waits_for("/a (").await;
    world.pod_cannot_pull("a").await;
    world
        .ready("it fails", |status, reason, message| {
            (status, reason) == ("False", "HealthCheckFailed") && message.contains("ImagePullBackOff")
        })
        .await;
    assert_eq!(world.healthy().await.0, "False");
    world.event("HealthCheckFailed", &["/a (", "ImagePullBackOff"]).await;
    world.pod_runs("a").await;
    world.ready_at(&commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_has_an_end_and_others_objects_can_be_waited_for() {
    let world = World::new("overdue").await;
    let commit = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    let check = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "elsewhere"});
    let spec = json!({"healthChecks": [check], "timeout": "3s", "retryInterval": "1h"});
    world.sync_with(json!({}), spec).await;
    world
        .ready("it is overdue", |_, reason, message| {
            reason == "HealthCheckFailed" && message.contains("/elsewhere (NotFound") && message.contains("within 3 s")
        })
        .await;
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "elsewhere"}})).unwrap();
    world.config_maps().create(&PostParams::default(), &map).await.unwrap();
    world.ready_at(&commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sync_is_told_to_look_at_of_its_own_is_looked_at_between_passes() {
    let world = World::new("between").await;
    let files = [("a.yaml", pod(&world, "a")), ("b.yaml", pod(&world, "b"))];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    let check = json!({"apiVersion": "v1", "kind": "Pod", "name": "a"});
    world.sync_with(json!({}), json!({"healthChecks": [check], "retryInterval": "1h"})).await;
    world.waits_for("/a (").await;
    world.pod_runs("a").await;
    world.ready_at(&commit).await;
    assert_eq!(world.healthy().await, ("True".to_owned(), "1 healthy".to_owned()));

    // It was not told to look at this one.
    world.pod_cannot_pull("b").await;
    world.pod_cannot_pull("a").await;
    wait_until("its Pod is seen to fail", PATIENCE, async || {
        let (status, message) = world.healthy().await;
        let is_seen = status == "False" && message.contains("/a (") && !message.contains("/b (");
        if is_seen { Ok(()) } else { Err(format!("{status}: {message}")) }
    })
    .await
    .unwrap();
    world.ready_at(&commit).await;
}
