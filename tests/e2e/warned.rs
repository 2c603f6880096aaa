//! Drift that is reported and left (`driftDetection.mode: warn`), and drift that nobody looks for (`disabled`). All intervals
//! are an hour.

use std::time::Duration;

use harness::api_proxy::Seen;
use harness::wait_until;
use kube::ResourceExt as _;
use serde_json::json;
use towline_agent::api::Sync;
use towline_proto::report::EventKind;

use crate::world::{PATIENCE, World};

fn condition(sync: &Sync, kind: &str) -> Option<(String, String)> {
    let conditions = sync.status.iter().flat_map(|status| &status.conditions);
    conditions.clone().find(|c| c.type_ == kind).map(|c| (c.status.clone(), c.message.clone()))
}

async fn drifted(world: &World, words: &[&str]) -> Sync {
    world
        .ready(&format!("drift is told: {words:?}"), |status, reason, message| {
            (status, reason) == ("False", "DriftDetected") && words.iter().all(|word| message.contains(word))
        })
        .await
}

/// How often an Event with these words was published.
async fn told(world: &World, words: &[&str]) -> usize {
    let reports = world.reports().await;
    let is = |r: &&towline_proto::ChangeEvent| {
        r.kind == EventKind::DriftDetected && words.iter().all(|w| r.message.contains(w))
    };
    reports.iter().filter(is).count()
}

async fn request(world: &World, at: &str) {
    let asked = json!({"metadata": {"annotations": {"towline.dev/requested-at": at}}});
    world.edit::<Sync>("fleet", "some-person", asked).await;
    wait_until("the request is answered", PATIENCE, async || {
        let status = world.fleet().await.status.unwrap_or_default();
        if status.last_handled_reconcile_at.as_deref() == Some(at) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await
    .unwrap();
}

async fn value(world: &World, name: &str) -> Option<String> {
    let live = world.config_maps().get_opt(name).await.unwrap();
    live.and_then(|live| live.data.unwrap_or_default().remove("value"))
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_told_once_and_left_until_somebody_puts_it_back() {
    let mut world = World::new("warned").await;
    let files = ["a", "b", "c"].map(|name| (format!("{name}.yaml"), world.config_map(name, "1")));
    let first = world.repo.commit(&files.each_ref().map(|(path, text)| (path.as_str(), text.as_str()))).await.unwrap();
    world.sync_with(json!({}), json!({"driftDetection": {"mode": "warn"}})).await;
    world.ready_at(&first).await;
    assert_eq!(condition(&world.fleet().await, "Drifted"), None);

    world.meddle("a", "some-editor", "2").await;
    let sync =
        drifted(&world, &["/a (it was changed by some-editor", "data.value (\"2\" instead of \"1\")", &first]).await;
    let (status, message) = condition(&sync, "Drifted").unwrap();
    assert!(status == "True" && message.contains("some-editor"), "{message}");
    world
        .event("DriftDetected", &["/a drifted and is left so", "some-editor", "data.value (\"2\" instead of \"1\")"])
        .await;
    let report = world.report(EventKind::DriftDetected, &["some-editor"]).await;
    assert_eq!((report.changes[0].action.as_str(), report.changes[0].fields[0].as_str()), ("drifted", "data.value"));
    let version = world.config_maps().get("a").await.unwrap().resource_version();

    // Deleted is drift, too; what is deleted stays away.
    world.delete("b").await;
    drifted(&world, &["/a (", "/b (it was deleted)"]).await;
    world.event("DriftDetected", &["/b drifted and is left so: it was deleted"]).await;

    // Neither a request nor a restart puts it back or tells it again.
    request(&world, "once").await;
    world.agent.kill();
    world.agent.resume().unwrap();
    request(&world, "twice").await;
    drifted(&world, &["/a (", "/b (it was deleted)"]).await;
    assert_eq!((value(&world, "a").await.as_deref(), value(&world, "b").await), (Some("2"), None));
    assert_eq!(world.config_maps().get("a").await.unwrap().resource_version(), version, "it was written");
    assert_eq!((told(&world, &["/a drifted"]).await, told(&world, &["/b drifted"]).await), (1, 1));

    // What Git changes is applied, and what is new is made; the rest stays as it was found.
    world.listening().await;
    let (c, d) = (world.config_map("c", "2"), world.config_map("d", "1"));
    let second = world.push(&[("c.yaml", &c), ("d.yaml", &d)]).await;
    world.applied("c", "2").await;
    world.applied("d", "1").await;
    drifted(&world, &[&second, "/a (", "/b ("]).await;
    assert_eq!(value(&world, "a").await.as_deref(), Some("2"));
    assert!(world.fleet().await.status.unwrap().last_applied_revision.is_some_and(|at| at.contains(&first)));

    // Put back by hand, or by Git.
    world.meddle("a", "some-editor", "1").await;
    drifted(&world, &["/b ("]).await;
    world.ready("only one is left", |_, _, message| !message.contains("/a (")).await;
    let b = world.config_map("b", "2");
    let third = world.push(&[("b.yaml", &b)]).await;
    world.applied("b", "2").await;
    let sync = world.ready_at(&third).await;
    assert_eq!(condition(&sync, "Drifted"), None);

    // Enabled again, it is put back.
    world.meddle("a", "some-editor", "3").await;
    drifted(&world, &["/a ("]).await;
    world.edit::<Sync>("fleet", "some-person", json!({"spec": {"driftDetection": null}})).await;
    world.applied("a", "1").await;
    world.ready_at(&third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_looks_for_nothing_and_says_so() {
    let world = World::new("unsought").await;
    let files = ["a", "b", "c"].map(|name| (format!("{name}.yaml"), world.config_map(name, "1")));
    let first = world.repo.commit(&files.each_ref().map(|(path, text)| (path.as_str(), text.as_str()))).await.unwrap();
    world.sync_with(json!({}), json!({"driftDetection": {"mode": "disabled"}})).await;
    let sync = world.ready_at(&first).await;
    assert!(condition(&sync, "Ready").unwrap().1.contains("drift is not looked for"));
    world.meddle("a", "some-editor", "2").await;
    world.delete("b").await;
    world.listening().await;
    let second = world.push(&[("c.yaml", &world.config_map("c", "2"))]).await;
    world.applied("c", "2").await;
    world.ready_at(&second).await;
    request(&world, "once").await;
    assert_eq!((value(&world, "a").await.as_deref(), value(&world, "b").await), (Some("2"), None));
    assert_eq!(told(&world, &[]).await, 0);
    // Git's changes of what drifted are applied all the same.
    let third = world.push(&[("a.yaml", &world.config_map("a", "3")), ("b.yaml", &world.config_map("b", "3"))]).await;
    world.ready_at(&third).await;
    world.applied("a", "3").await;
    world.applied("b", "3").await;
}

/// Drift that stands costs nothing while nothing moves.
#[tokio::test(flavor = "multi_thread")]
async fn drift_that_is_left_is_asked_about_no_more() {
    let (world, proxy) = World::behind("warned-rest").await;
    let files = [("a.yaml", world.config_map("a", "1")), ("b.yaml", world.config_map("b", "1"))];
    world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    world.sync_with(json!({}), json!({"driftDetection": {"mode": "warn"}})).await;
    world.ready("it is applied", |status, _, _| status == "True").await;
    world.meddle("a", "some-editor", "2").await;
    world.delete("b").await;
    drifted(&world, &["/a (", "/b (it was deleted)"]).await;
    // Watches are cluster-wide: what becomes of other tests' workloads is looked at, too.
    let namespace = world.namespace.clone();
    let is_own = move |seen: &Seen| !seen.is_rest() && seen.namespace.as_ref().is_none_or(|of| *of == namespace);
    proxy.quiet(Duration::from_secs(15), PATIENCE, is_own).await.unwrap();
    drifted(&world, &["/a (", "/b (it was deleted)"]).await;
}
