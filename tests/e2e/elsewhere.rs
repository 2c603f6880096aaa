//! Sources and Syncs of other namespaces, where the agent's configuration allows them.

use harness::config::AgentConfig;
use harness::towline::Daemon;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::json;
use towline_agent::api::{GitSource, Sync};

use crate::world::{EVENT_REPOSITORY, World};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_is_followed_and_waited_for() {
    let mut world = World::new("allowed").await;
    let infra = world.plane.namespace("allowed-infra").await.unwrap();
    world.agent.kill();
    let mut config = AgentConfig::new(&world.namespace, world.plane.kubeconfig());
    config.nats = Some(world.nats.access("agent"));
    config.namespaces = vec![world.namespace.clone(), infra.clone()];
    config.kubernetes_keys = "allow_cross_namespace_references = true".to_owned();
    world.agent = Daemon::agent(&config).await.unwrap();

    let base = |value: &str| world.config_map("base", value);
    let app = |value: &str| world.config_map("app", value);
    let first = world.repo.commit(&[("base/base.yaml", &base("1")), ("app/app.yaml", &app("1"))]).await.unwrap();
    let source = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "GitSource", "metadata": {"name": "fleet"},
        "spec": {"url": world.git.url("fleet"), "ref": {"branch": "main"}, "interval": "1h", "eventRepository": EVENT_REPOSITORY},
    });
    let sources: Api<GitSource> = Api::namespaced(world.client.clone(), &infra);
    sources.create(&PostParams::default(), &serde_json::from_value(source).unwrap()).await.unwrap();
    let sync = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": {"name": "base"},
        "spec": {"sourceRef": {"kind": "GitSource", "name": "fleet"}, "path": "base", "interval": "1h", "prune": true},
    });
    let syncs: Api<Sync> = Api::namespaced(world.client.clone(), &infra);
    let there = json!({"kind": "GitSource", "name": "fleet", "namespace": infra});
    let depends = json!([{"name": "base", "namespace": infra}]);
    world.another_sync("fleet", json!({"sourceRef": there, "path": "app", "dependsOn": depends})).await;
    let waits = |_: &str, reason: &str, message: &str| {
        reason == "DependencyNotReady" && message.contains(&format!("{infra}/base"))
    };
    world.ready("it waits for one that does not exist yet", waits).await;
    syncs.create(&PostParams::default(), &serde_json::from_value(sync).unwrap()).await.unwrap();
    world.ready_at(&first).await;
    let version = async |name: &str| -> u64 {
        world.config_maps().get(name).await.unwrap().resource_version().unwrap().parse().unwrap()
    };
    assert!(version("base").await < version("app").await);

    // Each push runs through both, in the same order; what fails over there holds back what is here.
    let broken = [("base/base.yaml", "kind: {"), ("app/app.yaml", &app("2"))];
    world.repo.commit(&broken).await.unwrap();
    let look = json!({"metadata": {"annotations": {"towline.dev/requested-at": "now"}}});
    let look = kube::api::Patch::Merge(look);
    sources.patch("fleet", &kube::api::PatchParams::default(), &look).await.unwrap();
    let waits =
        |_: &str, reason: &str, message: &str| reason == "DependencyNotReady" && message.contains("BuildFailed");
    world.ready("it waits for the broken one", waits).await;
    world.applied("app", "1").await;
    let fixed = world.push(&[("base/base.yaml", &base("2"))]).await;
    world.applied("base", "2").await;
    world.applied("app", "2").await;
    world.ready_at(&fixed).await;
    assert!(version("base").await < version("app").await);
}
