//! Syncs that depend on each other: one push runs through a chain in its order, what fails holds back what needs it and
//! nothing else, and a fix goes on at once. All intervals are an hour.

use kube::ResourceExt as _;
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::World;

/// Syncs `a`, `b` and `c` of folders of the same names, each needing the one before.
async fn chain(world: &World) {
    world.sync_with(json!({}), json!({"path": "a"})).await;
    world.another_sync("b", json!({"path": "b", "dependsOn": [{"name": "fleet"}]})).await;
    world.another_sync("c", json!({"path": "c", "dependsOn": [{"name": "b"}]})).await;
}

async fn version(world: &World, name: &str) -> u64 {
    world.config_maps().get(name).await.unwrap().resource_version().unwrap().parse().unwrap()
}

async fn done_at(world: &World, sync: &str, commit: &str) {
    world.other_ready(sync, &format!("{sync} is ready at {commit}"), |s, _, m| s == "True" && m.contains(commit)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_push_runs_through_a_chain_in_its_order() {
    let world = World::new("chain").await;
    let maps = |value: &str| ["a", "b", "c"].map(|name| world.config_map(name, value));
    let [a, b, c] = maps("1");
    let first = world.repo.commit(&[("a/a.yaml", &a), ("b/b.yaml", &b), ("c/c.yaml", &c)]).await.unwrap();
    chain(&world).await;
    done_at(&world, "c", &first).await;
    assert!(version(&world, "a").await < version(&world, "b").await);
    assert!(version(&world, "b").await < version(&world, "c").await);

    world.listening().await;
    let [a, b, c] = maps("2");
    let second = world.push(&[("a/a.yaml", &a), ("b/b.yaml", &b), ("c/c.yaml", &c)]).await;
    done_at(&world, "c", &second).await;
    assert!(version(&world, "a").await < version(&world, "b").await);
    assert!(version(&world, "b").await < version(&world, "c").await);

    // Untouched ones are done at a revision that is not theirs.
    let third = world.push(&[("c/c.yaml", &world.config_map("c", "3"))]).await;
    world.applied("c", "3").await;
    done_at(&world, "c", &third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_holds_back_what_needs_it_and_a_fix_goes_on_at_once() {
    let world = World::new("chain-broken").await;
    let maps = |value: &str| ["a", "b", "c"].map(|name| world.config_map(name, value));
    let [a, b, c] = maps("1");
    let first = world.repo.commit(&[("a/a.yaml", &a), ("b/b.yaml", &b), ("c/c.yaml", &c)]).await.unwrap();
    chain(&world).await;
    done_at(&world, "c", &first).await;
    world.listening().await;

    let new = world.config_map("b-new", "1");
    world.push(&[("a/a.yaml", "kind: {"), ("b/new.yaml", &new), ("c/c.yaml", &world.config_map("c", "2"))]).await;
    world.ready("a is broken", |_, reason, _| reason == "BuildFailed").await;
    let waits = |status: &str, reason: &str, message: &str, on: &str| {
        (status, reason) == ("Unknown", "DependencyNotReady") && message.contains(on)
    };
    let on = format!("{}/fleet (not ready: BuildFailed)", world.namespace);
    world.other_ready("b", "b waits for a", |s, r, m| waits(s, r, m, &on)).await;
    let on = format!("{}/b (not ready: DependencyNotReady)", world.namespace);
    world.other_ready("c", "c waits for b", |s, r, m| waits(s, r, m, &on)).await;
    assert!(world.owned("b").await.contains(&"b-new".to_owned()), "it is claimed before it may be applied");
    assert!(world.config_maps().get_opt("b-new").await.unwrap().is_none());
    world.event("DependencyNotReady", &["BuildFailed"]).await;

    world.push(&[("a/a.yaml", &world.config_map("a", "2"))]).await;
    world.applied("b-new", "1").await;
    world.applied("c", "2").await;
}

/// Every time is an hour away: that it goes on can only be the event of what it needs.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_needed_wakes_what_needs_it_and_no_time_does() {
    let world = World::new("chain-event").await;
    let gate = world.config_map("gate", "shut");
    let b = world.config_map("b", "1");
    let commit = world.repo.commit(&[("a/gate.yaml", &gate), ("b/b.yaml", &b)]).await.unwrap();
    let hours = json!({"path": "a", "retryInterval": "1h", "timeout": "1h"});
    let check = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "namespace": world.namespace}]);
    let mut first = hours.clone();
    first["healthChecks"] = check;
    world.sync_with(json!({}), first).await;
    let mut second = hours;
    second["path"] = json!("b");
    second["dependsOn"] = json!([{"name": "fleet"}]);
    world.another_sync("b", second).await;
    world.other_ready("b", "b waits for a", |s, r, _| (s, r) == ("Unknown", "DependencyNotReady")).await;
    world.ready("a waits for somebody", |status, _, message| status == "Unknown" && message.contains("theirs")).await;
    assert!(world.config_maps().get_opt("b").await.unwrap().is_none());

    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}});
    world.config_maps().create(&Default::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    world.ready_at(&commit).await;
    done_at(&world, "b", &commit).await;
    world.applied("b", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_is_named_and_heals_when_it_is_opened() {
    let world = World::new("circle").await;
    let a = world.config_map("a", "1");
    world.repo.commit(&[("a/a.yaml", &a), ("b/b.yaml", &world.config_map("b", "1"))]).await.unwrap();
    world.sync_with(json!({}), json!({"path": "a", "dependsOn": [{"name": "b"}]})).await;
    world.another_sync("b", json!({"path": "b", "dependsOn": [{"name": "fleet"}]})).await;
    let ns = &world.namespace;
    let circle = format!("{ns}/fleet → {ns}/b → {ns}/fleet");
    world
        .ready("the circle is named", |_, reason, message| reason == "DependencyCycle" && message.contains(&circle))
        .await;
    world.event("DependencyCycle", &[&circle]).await;
    world.edit::<Sync>("fleet", "operator", json!({"spec": {"dependsOn": []}})).await;
    world.applied("a", "1").await;
    world.applied("b", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_namespace_is_refused() {
    let world = World::new("elsewhere").await;
    world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync_with(json!({}), json!({"dependsOn": [{"name": "infra", "namespace": "infra"}]})).await;
    let is_denied = |reason: &str, message: &str| reason == "AccessDenied" && message.contains("infra/infra");
    world.ready("the reference is refused", |status, r, m| status == "False" && is_denied(r, m)).await;
    world.event("AccessDenied", &["Sync infra/infra"]).await;
    assert!(world.config_maps().get_opt("a").await.unwrap().is_none());

    let source = json!({"spec": {"dependsOn": [], "sourceRef": {"namespace": "infra"}}});
    world.edit::<Sync>("fleet", "operator", source).await;
    world.ready("the source is refused", |_, r, m| r == "AccessDenied" && m.contains("GitSource infra/fleet")).await;
    world.edit::<Sync>("fleet", "operator", json!({"spec": {"sourceRef": {"namespace": null}}})).await;
    world.applied("a", "1").await;
}
