//! What cannot be changed is deleted and created anew only where the object allows it and everything else can be applied.

use harness::api_proxy::Fault;
use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use serde_json::json;

use crate::world::{PATIENCE, World, uid};

/// A ConfigMap whose data the API server does not let be changed.
fn fixed(world: &World, name: &str, value: &str, force: &str) -> String {
    let text = world.config_map(name, value) + "immutable: true\n";
    text.replace("metadata:\n", &format!("metadata:\n  annotations: {{towline.dev/force: {force}}}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_object_is_created_anew_where_it_allows_that_and_everything_else_is_right() {
    let world = World::new("recreate").await;
    let first = [fixed(&world, "allows", "1", "enabled"), fixed(&world, "does-not", "1", "disabled")];
    let first = world.repo.commit(&[("a.yaml", &first[0]), ("b.yaml", &first[1])]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let before = uid(&world, "allows").await;

    // One that does not allow it holds the other, too.
    let second = [fixed(&world, "allows", "2", "enabled"), fixed(&world, "does-not", "2", "disabled")];
    world.push(&[("a.yaml", &second[0]), ("b.yaml", &second[1])]).await;
    let refused = |status: &str, _: &str, message: &str| {
        status == "False" && message.contains("/does-not (b.yaml:1)") && message.contains("when everything else can be")
    };
    world.ready("what does not allow it is refused", refused).await;
    assert_eq!(uid(&world, "allows").await, before, "it was deleted while something else is refused");

    // What could not be created is not deleted.
    let wrong = fixed(&world, "allows", "2", "enabled").replace("  value:", "  not a key:");
    world.push(&[("a.yaml", &wrong), ("b.yaml", &fixed(&world, "does-not", "1", "disabled"))]).await;
    let refused = |status: &str, _: &str, message: &str| status == "False" && message.contains("not a key");
    world.ready("what could not be created is refused", refused).await;
    assert_eq!(uid(&world, "allows").await, before, "it was deleted and cannot be created");

    let third = world.push(&[("a.yaml", &fixed(&world, "allows", "2", "enabled"))]).await;
    world.ready_at(&third).await;
    world.applied("allows", "2").await;
    assert_ne!(uid(&world, "allows").await, before);
    world.event("ReconciliationSucceeded", &["/allows recreated", "immutable"]).await;
    world.applied("does-not", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_its_time_to_go_is_waited_for() {
    let world = World::new("recreate-wait").await;
    let first = world.repo.commit(&[("a.yaml", &fixed(&world, "a", "1", "enabled"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    world.edit::<ConfigMap>("a", "operator", json!({"metadata": {"finalizers": ["e2e.test/hold"]}})).await;
    let before = uid(&world, "a").await;

    let second = world.push(&[("a.yaml", &fixed(&world, "a", "2", "enabled"))]).await;
    let waits = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("Unknown", "Progressing") && message.contains("/a to be gone")
    };
    world.ready("it is waited for", waits).await;
    let live = world.config_maps().get("a").await.unwrap();
    assert!(live.metadata.deletion_timestamp.is_some() && live.uid() == Some(before.clone()));
    world.edit::<ConfigMap>("a", "operator", json!({"metadata": {"finalizers": null}})).await;
    wait_until("it is another object", PATIENCE, async || {
        let seen = world.config_maps().get_opt("a").await.map_err(|e| e.to_string())?;
        if seen.and_then(|s| s.uid()).is_some_and(|uid| uid != before) { Ok(()) } else { Err(String::new()) }
    })
    .await
    .unwrap();
    world.ready_at(&second).await;
    world.applied("a", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_it_is_about_to_go_is_looked_at_again() {
    let (world, proxy) = World::behind("recreate-busy").await;
    let first = world.repo.commit(&[("a.yaml", &fixed(&world, "a", "1", "enabled"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let before = uid(&world, "a").await;
    let mark = proxy.mark();
    let hold = proxy.while_on(Fault::Hold, |seen| seen.is("delete", "configmaps"));
    let second = world.push(&[("a.yaml", &fixed(&world, "a", "2", "enabled"))]).await;
    hold.committed(1, PATIENCE).await;
    world.edit::<ConfigMap>("a", "busy", json!({"metadata": {"annotations": {"e2e.test/seen": "1"}}})).await;
    hold.end();
    world.ready_at(&second).await;
    world.applied("a", "2").await;
    let between = uid(&world, "a").await;
    assert_ne!(between, before);
    let deletions = proxy.since(mark, |seen| seen.is("delete", "configmaps"));
    assert_eq!(deletions.len(), 2, "{deletions:#?}");
    let mut failed = world.events().await;
    failed.retain(|(kind, reason, _)| kind == "Warning" && reason == "ReconciliationFailed");
    assert!(failed.is_empty(), "the pass failed over it: {failed:#?}");

    // What protects it by then counts.
    let hold = proxy.while_on(Fault::Hold, |seen| seen.is("delete", "configmaps"));
    world.push(&[("a.yaml", &fixed(&world, "a", "3", "enabled"))]).await;
    hold.committed(1, PATIENCE).await;
    let protected = json!({"metadata": {"annotations": {"towline.dev/prune": "disabled"}}});
    world.edit::<ConfigMap>("a", "operator", protected).await;
    hold.end();
    world.ready("it is refused", |status, _, message| status == "False" && message.contains("immutable")).await;
    assert_eq!(uid(&world, "a").await, between);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_deleted_and_is_not_gone_is_named() {
    let world = World::new("going").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let before = uid(&world, "a").await;
    world.edit::<ConfigMap>("a", "operator", json!({"metadata": {"finalizers": ["e2e.test/hold"]}})).await;
    world.delete("a").await;
    let named = |status: &str, _: &str, message: &str| {
        status == "True" && message.contains("/a (somebody deleted it") && message.contains("not gone yet")
    };
    world.ready("it is named", named).await;
    world.edit::<ConfigMap>("a", "operator", json!({"metadata": {"finalizers": null}})).await;
    wait_until("it is another object", PATIENCE, async || {
        let seen = world.config_maps().get_opt("a").await.map_err(|e| e.to_string())?;
        if seen.and_then(|s| s.uid()).is_some_and(|uid| uid != before) { Ok(()) } else { Err(String::new()) }
    })
    .await
    .unwrap();
    world.ready("it is no longer named", |status, _, message| status == "True" && !message.contains("/a (")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_failure_to_be_deleted_is_named() {
    let world = World::new("unpruned").await;
    let files = [("a.yaml", world.config_map("a", "1")), ("b.yaml", world.config_map("b", "1"))];
    let first = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    world.repo.remove("b.yaml").await.unwrap();
    world.push(&[("a.yaml", &world.config_map("a", "2").replace("  value:", "  not a key:"))]).await;
    let named = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "ReconciliationFailed")
            && message.contains("not a key")
            && message.contains("1 no longer in Git, kept until everything else is applied: ConfigMap/")
    };
    world.ready("what is not pruned is named", named).await;
    world.applied("b", "1").await;
}
