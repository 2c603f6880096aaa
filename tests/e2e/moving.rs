//! An object moves from one Sync to another in one commit: it is never deleted on its way, whoever passes first and whatever
//! becomes of the other.

use harness::wait_until;
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World, uid};

/// Two Syncs, `fleet` of `one/` and `second` of `two/`; `shared` is in the first.
async fn two(name: &str, second: serde_json::Value) -> World {
    let world = World::new(name).await;
    let files = [("one/a", "a"), ("one/b", "b"), ("one/shared", "shared"), ("two/c", "c"), ("two/d", "d")];
    let texts = files.map(|(path, name)| (format!("{path}.yaml"), world.config_map(name, "1")));
    let files = texts.each_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    world.sync_with(json!({}), json!({"path": "one"})).await;
    let mut spec = json!({"path": "two"});
    spec.as_object_mut().unwrap().extend(second.as_object().unwrap().clone());
    world.another_sync("second", spec).await;
    world.ready_at(&first).await;
    world
        .other_ready("second", "the other is ready", |status, _, message| status == "True" && message.contains(&first))
        .await;
    world.listening().await;
    world
}

/// Moves `shared` from one folder to another in a commit that is not told yet.
async fn moved(world: &World, from: &str, to: &str, value: &str) -> String {
    world.repo.git(&["rm", "--quiet", &format!("{from}/shared.yaml")]).await.unwrap();
    world.repo.commit(&[(&format!("{to}/shared.yaml"), &world.config_map("shared", value))]).await.unwrap()
}

async fn both_ready(world: &World, commit: &str) {
    world.ready_at(commit).await;
    let is = |status: &str, _: &str, message: &str| status == "True" && message.contains(commit);
    world.other_ready("second", &format!("the other is ready at {commit}"), is).await;
}

impl World {
    /// Waits until the Inventory of a Sync has exactly these ConfigMaps. Intervals are an hour away.
    pub async fn owns(&self, sync: &str, names: &[&str]) {
        wait_until(&format!("{sync} owns {names:?}"), PATIENCE, async || {
            let mut owned = self.owned(sync).await;
            owned.sort();
            if owned == names { Ok(()) } else { Err(format!("{owned:?}")) }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_and_fro_also_across_restarts() {
    let mut world = two("moving", json!({})).await;
    let before = uid(&world, "shared").await;
    for turn in 0..8_u64 {
        let (from, to) = if turn % 2 == 0 { ("one", "two") } else { ("two", "one") };
        let commit = moved(&world, from, to, &turn.to_string()).await;
        assert_eq!(world.deliver(&commit).await, 202);
        if turn >= 4 {
            // Somewhere in between: each turn a little later.
            tokio::time::sleep(std::time::Duration::from_millis(40 * (turn - 3))).await;
            world.agent.kill();
            let access = world.nats.access("agent");
            world.agent_with(access).await;
        }
        world.applied("shared", &turn.to_string()).await;
        both_ready(&world, &commit).await;
        assert_eq!(uid(&world, "shared").await, before, "it was deleted on its way in turn {turn}");
        // Whoever had it lets it go at once.
        let (fleet, second): (&[&str], &[&str]) = match to {
            "one" => (&["a", "b", "shared"], &["c", "d"]),
            _ => (&["a", "b"], &["c", "d", "shared"]),
        };
        world.owns("fleet", fleet).await;
        world.owns("second", second).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_one_that_fails_first_or_depends_on_the_other() {
    let dependent = json!({"dependsOn": [{"name": "fleet"}]});
    let world = two("moving-depends", dependent).await;
    let before = uid(&world, "shared").await;
    let commit = moved(&world, "one", "two", "2").await;
    assert_eq!(world.deliver(&commit).await, 202);
    both_ready(&world, &commit).await;
    world.applied("shared", "2").await;
    assert_eq!(uid(&world, "shared").await, before);

    // Back again, while the first cannot be read: it is asked for, by name.
    world.repo.git(&["rm", "--quiet", "two/shared.yaml"]).await.unwrap();
    let broken = [("one/broken.yaml", "kind: [".to_owned()), ("one/shared.yaml", world.config_map("shared", "3"))];
    let broken = broken.each_ref().map(|(path, text)| (*path, text.as_str()));
    let commit = world.push(&broken).await;
    world
        .ready("the first cannot be read", |_, reason, message| reason == "BuildFailed" && message.contains("broken"))
        .await;
    world.edit::<Sync>("second", "operator", json!({"spec": {"dependsOn": null}})).await;
    let waits = format!("waiting for {}/fleet to say what they claim", world.namespace);
    let waits = |_: &str, _: &str, message: &str| message.contains(&waits) && message.contains(&commit);
    world.other_ready("second", "it waits for the first", waits).await;
    assert_eq!(uid(&world, "shared").await, before);
    let mended = world.repo.remove("one/broken.yaml").await.unwrap();
    assert_eq!(world.deliver(&mended).await, 202);
    world.applied("shared", "3").await;
    both_ready(&world, &mended).await;
    assert_eq!(uid(&world, "shared").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_one_that_is_suspended() {
    let world = two("moving-suspended", json!({})).await;
    let before = uid(&world, "shared").await;
    world.edit::<Sync>("second", "operator", json!({"spec": {"suspend": true}})).await;
    let commit = moved(&world, "one", "two", "2").await;
    assert_eq!(world.deliver(&commit).await, 202);
    world.ready_at(&commit).await;
    world.applied("shared", "1").await;
    assert!(world.owned("second").await.contains(&"shared".to_owned()), "it has claimed nothing");
    // What it did not take meanwhile is not taken from the first.
    world.owns("fleet", &["a", "b", "shared"]).await;
    // A commit that is nothing to the first, which waits all the same.
    let commit = world.push(&[("two/e.yaml", &world.config_map("e", "1"))]).await;
    world.source_ready("the source has it", |_, _, message| message.contains(&commit)).await;
    world.edit::<Sync>("second", "operator", json!({"spec": {"suspend": false}})).await;
    world.applied("shared", "2").await;
    both_ready(&world, &commit).await;
    assert_eq!(uid(&world, "shared").await, before);
    world.owns("fleet", &["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_one_that_cannot_be_judged_until_somebody_allows_it() {
    let world = two("moving-allowed", json!({})).await;
    world.push(&[("two/broken.yaml", "kind: [")]).await;
    let is = |_: &str, reason: &str, message: &str| reason == "BuildFailed" && message.contains("broken");
    world.other_ready("second", "the other cannot be read", is).await;
    let commit = world.repo.remove("one/a.yaml").await.unwrap();
    assert_eq!(world.deliver(&commit).await, 202);
    let waits = |_: &str, _: &str, message: &str| {
        message.contains("/second to say what they claim") && message.contains(&commit)
    };
    world.ready("it waits for the other", waits).await;
    world.applied("a", "1").await;
    world.annotate("towline.dev/allow-deletions", &format!("main@sha1:{commit}")).await;
    world.gone("a").await;
    world.ready_at(&commit).await;
}

/// A Sync as a manifest.
fn sync(world: &World, name: &str, path: &str) -> String {
    format!(
        "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: {name}, namespace: {}}}\nspec:\n  sourceRef: {{kind: GitSource, name: fleet}}\n  path: {path}\n  interval: 1h\n  retryInterval: 1s\n  prune: true\n",
        world.namespace
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_sync_that_goes_to_one_that_comes() {
    let world = World::new("moving-nested").await;
    let files = [
        ("root/old.yaml", sync(&world, "old", "old")),
        ("root/keep.yaml", world.config_map("keep", "1")),
        ("root/kept.yaml", world.config_map("kept", "1")),
        ("old/shared.yaml", world.config_map("shared", "1")),
        ("old/gone.yaml", world.config_map("gone", "1")),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    let policy = json!({"maxDeletions": "100%"});
    world.sync_with(json!({}), json!({"path": "root", "prunePolicy": policy})).await;
    world.ready_at(&first).await;
    world.applied("shared", "1").await;
    world.applied("gone", "1").await;
    world.listening().await;
    let before = uid(&world, "shared").await;

    world.repo.git(&["rm", "-r", "--quiet", "old", "root/old.yaml"]).await.unwrap();
    let new = [("root/new.yaml", sync(&world, "new", "new")), ("new/shared.yaml", world.config_map("shared", "2"))];
    let new = new.each_ref().map(|(path, text)| (*path, text.as_str()));
    let second = world.push(&new).await;
    world.applied("shared", "2").await;
    world.gone("gone").await;
    world.ready_at(&second).await;
    let is = |status: &str, _: &str, message: &str| status == "True" && message.contains(&second);
    world.other_ready("new", "the new one is ready", is).await;
    assert!(world.api::<Sync>().get_opt("old").await.unwrap().is_none());
    assert_eq!(uid(&world, "shared").await, before, "it was deleted on its way");
}

/// The new one does not exist while what brings it is refused, and nobody remembers it after a restart but an Inventory.
#[tokio::test(flavor = "multi_thread")]
async fn to_one_that_comes_with_what_is_refused() {
    let mut world = World::new("moving-refused").await;
    let files = [
        ("root/old.yaml", sync(&world, "old", "old")),
        ("root/keep.yaml", world.config_map("keep", "1")),
        ("old/shared.yaml", world.config_map("shared", "1")),
        ("old/stays.yaml", world.config_map("stays", "1")),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    world.sync_with(json!({}), json!({"path": "root"})).await;
    world.ready_at(&first).await;
    world.applied("shared", "1").await;
    world.applied("stays", "1").await;
    world.listening().await;
    let before = uid(&world, "shared").await;

    world.repo.git(&["rm", "--quiet", "old/shared.yaml"]).await.unwrap();
    let new = [
        ("root/new.yaml", sync(&world, "new", "new")),
        ("root/refused.yaml", format!("{}  no key: x\n", world.config_map("refused", "1"))),
        ("new/shared.yaml", world.config_map("shared", "2")),
    ];
    let new = new.each_ref().map(|(path, text)| (*path, text.as_str()));
    let second = world.push(&new).await;
    let waits = async |world: &World, commit: &str| {
        let new = format!("waiting for {}/new to say what they claim", world.namespace);
        let waits = |_: &str, _: &str, message: &str| message.contains(&new) && message.contains(commit);
        world.other_ready("old", "it waits for the new one", waits).await;
    };
    waits(&world, &second).await;
    world.agent.kill();
    let access = world.nats.access("agent");
    world.agent_with(access).await;
    world.listening().await;
    let third = world.push(&[("root/keep.yaml", &world.config_map("keep", "2"))]).await;
    waits(&world, &third).await;
    assert_eq!(uid(&world, "shared").await, before);

    let mended = world.repo.remove("root/refused.yaml").await.unwrap();
    assert_eq!(world.deliver(&mended).await, 202);
    world.applied("shared", "2").await;
    world.ready_at(&mended).await;
    let is = |status: &str, _: &str, message: &str| status == "True" && message.contains(&mended);
    for name in ["old", "new"] {
        world.other_ready(name, "it is ready", is).await;
    }
    assert_eq!(uid(&world, "shared").await, before, "it was deleted on its way");
}
