//! The order of kinds within a stage: what others are admitted by, mount or name is answered before they are sent, and goes
//! after them. The whole stage is dry-run before any of it.

use harness::api_proxy::{ApiProxy, Fault, Seen};
use serde_json::json;

use crate::world::{PATIENCE, World};

fn manifest(world: &World, kind: &str, name: &str, rest: &str) -> String {
    let namespace = &world.namespace;
    format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n{rest}\n")
}

/// The requests for objects of these kinds in a world, in the order in which they came.
fn requests(world: &World, proxy: &ApiProxy, mark: usize, is: impl Fn(&Seen) -> bool) -> Vec<String> {
    let ours = |seen: &Seen| seen.namespace.as_ref() == Some(&world.namespace) && is(seen);
    proxy.since(mark, ours).iter().map(|seen| seen.resource.clone()).collect()
}

fn is_write(seen: &Seen) -> bool {
    let is_ours = ["limitranges", "secrets", "configmaps"].contains(&seen.resource.as_str());
    is_ours && !seen.dry_run && matches!(seen.verb, "patch" | "create" | "delete")
}

/// Gives the agent all the time it needs to do more than it may: another Sync becomes ready meanwhile.
async fn meanwhile(world: &World, name: &str) {
    world.another_sync(name, json!({"path": name})).await;
    world.other_ready(name, "it has had time", |status, _, _| status == "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_stage_kinds_wait_for_each_other_and_objects_of_one_kind_do_not() {
    let (world, proxy) = World::behind("order").await;
    let (one, two) = (world.config_map("one", "1"), world.config_map("two", "1"));
    let files = [
        ("fleet/1.yaml", one.as_str()),
        ("fleet/2.yaml", &two),
        ("fleet/3.yaml", &manifest(&world, "Secret", "s", "stringData: {a: '1'}")),
        ("fleet/4.yaml", &manifest(&world, "LimitRange", "l", "spec: {limits: [{type: Pod, max: {cpu: '4'}}]}")),
        ("fleet/keep.yaml", &world.config_map("keep", "1")),
        ("first/a.yaml", &world.config_map("first", "1")),
        ("second/a.yaml", &world.config_map("second", "1")),
        ("third/a.yaml", &world.config_map("third", "1")),
    ];
    let first = world.repo.commit(&files).await.unwrap();
    let maps = move |seen: &Seen| is_write(seen) && seen.resource == "configmaps";
    let limits = proxy.while_on(Fault::Hold, |seen| is_write(seen) && seen.resource == "limitranges");
    let secrets = proxy.while_on(Fault::Hold, |seen| is_write(seen) && seen.resource == "secrets");
    let fleet = json!({"path": "fleet", "prunePolicy": {"maxDeletions": "100%"}});
    world.sync_with(json!({}), fleet).await;
    limits.committed(1, PATIENCE).await;
    meanwhile(&world, "first").await;
    let of_fleet = |mark| {
        let is = |seen: &Seen| is_write(seen) && seen.name.as_deref() != Some("first");
        requests(&world, &proxy, mark, is)
    };
    assert_eq!(of_fleet(0), ["limitranges"], "what comes after it in the order of kinds was sent");
    let mut judged = requests(&world, &proxy, 0, |seen| seen.verb == "patch" && seen.dry_run);
    judged.truncate(5);
    judged.sort();
    assert_eq!(
        judged,
        ["configmaps", "configmaps", "configmaps", "limitranges", "secrets"],
        "the stage is judged whole"
    );
    limits.end();
    secrets.committed(1, PATIENCE).await;
    meanwhile(&world, "second").await;
    let is_late = move |seen: &Seen| maps(seen) && !matches!(seen.name.as_deref(), Some("first" | "second"));
    assert_eq!(requests(&world, &proxy, 0, is_late).len(), 0, "what mounts it was sent");
    // Of one kind all are sent, whether the others are answered or not.
    let at_once = proxy.while_on(Fault::Hold, is_late);
    secrets.end();
    at_once.committed(3, PATIENCE).await;
    at_once.end();
    world.ready_at(&first).await;
    world.listening().await;

    // To prune, the other way round.
    let mark = proxy.mark();
    let held = proxy.while_on(Fault::Hold, |seen| seen.is("delete", "configmaps"));
    for (path, _) in &files[..3] {
        world.repo.remove(path).await.unwrap();
    }
    let second = world.repo.remove(files[3].0).await.unwrap();
    world.deliver(&second).await;
    held.committed(2, PATIENCE).await;
    meanwhile(&world, "third").await;
    let deletions = || requests(&world, &proxy, mark, |seen| is_write(seen) && seen.verb == "delete");
    assert_eq!(deletions(), ["configmaps", "configmaps"], "what they mount goes before them");
    held.end();
    world.ready_at(&second).await;
    assert_eq!(deletions(), ["configmaps", "configmaps", "secrets", "limitranges"]);
}
