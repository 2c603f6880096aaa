//! A commit with a mistake changes nothing and is reported with the mistake's place; the next good commit goes through.

use harness::wait_until;
use towline_proto::report::{ChangeEvent, EventKind};

use crate::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_with_a_mistake_changes_nothing_and_names_its_place() {
    let world = World::new("broken-yaml").await;
    let (a, c) = (world.config_map("a", "1"), world.config_map("c", "1"));
    let first = world.repo.commit(&[("a.yaml", &a), ("c.yaml", &c)]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    // A change, a new object, a removal and a mistake: all or nothing.
    let (a, b) = (world.config_map("a", "2"), world.config_map("b", "1"));
    world.repo.git(&["rm", "--quiet", "c.yaml"]).await.unwrap();
    let broken = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [unclosed\n";
    let second = world.push(&[("a.yaml", &a), ("b.yaml", &b), ("deep/er/broken.yaml", broken)]).await;
    let line = reported(&world, &second, "deep/er/broken.yaml:").await;
    assert!(line.contains("broken.yaml:4") || line.contains("broken.yaml:5"), "{line}");

    // Another mistake at another place, in valid YAML, and two of them: each is told anew.
    let nameless = "apiVersion: v1\nkind: ConfigMap\n---\nkind: Nothing\n";
    let third = world.push(&[("deep/er/broken.yaml", nameless)]).await;
    reported(&world, &third, "deep/er/broken.yaml:1").await;
    reported(&world, &third, "deep/er/broken.yaml:4").await;

    // A kind that nobody knows stands somewhere, too.
    let unknown = "apiVersion: example.test/v1\nkind: Unknown\nmetadata: {name: x}\n";
    let fourth = world.push(&[("deep/er/broken.yaml", unknown)]).await;
    reported(&world, &fourth, "deep/er/broken.yaml:1").await;

    world.applied("a", "1").await;
    world.applied("c", "1").await;
    assert!(world.config_maps().get_opt("b").await.unwrap().is_none());
    let status = world.fleet().await.status.unwrap();
    assert_eq!(status.last_applied_revision, Some(format!("main@sha1:{first}")));
    assert_eq!(status.last_attempted_revision, Some(format!("main@sha1:{fourth}")));

    let good = world.repo.remove("deep").await.unwrap();
    assert_eq!(world.deliver(&good).await, 202);
    world.ready_at(&good).await;
    world.applied("a", "2").await;
    world.applied("b", "1").await;
    world.gone("c").await;
}

/// Waits until condition, Event and report of a commit name a place. Answers with the condition's message.
async fn reported(world: &World, commit: &str, place: &str) -> String {
    let revision = Some(format!("main@sha1:{commit}"));
    let what = format!("the Sync names {place} of {commit}");
    let message = wait_until(&what, PATIENCE, async || {
        let attempted = world.fleet().await.status.unwrap_or_default().last_attempted_revision;
        let (status, reason, message) = world.said_of("fleet").await;
        let fits = (status.as_str(), reason.as_str()) == ("False", "BuildFailed") && message.contains(place);
        if fits && attempted == revision { Ok(message) } else { Err(format!("{attempted:?}: {reason}: {message}")) }
    })
    .await
    .unwrap();
    world.event("BuildFailed", &[place]).await;
    wait_until(&format!("{place} of {commit} is reported"), PATIENCE, async || {
        let reports = world.reports().await;
        let fits = |r: &ChangeEvent| r.kind == EventKind::Failed && r.revision == revision && r.message == message;
        if reports.iter().any(fits) { Ok(()) } else { Err(format!("{reports:#?}")) }
    })
    .await
    .unwrap();
    message
}
