//! The API server or the agent dies in the middle of a pass: afterwards the cluster is as Git says, the Inventory knew of
//! every object that exists, and nothing was pruned that Git has.

use harness::config::Hook;
use harness::control_plane::{ControlPlane, Options};
use harness::wait_until;
use kube::api::ListParams;
use serde_json::json;

use crate::world::{PATIENCE, SECRET, World};

/// Enough to take an agent a second or so: the test has to come in between. With `--full`, as many as one Inventory is to hold
/// with ease.
fn objects() -> usize {
    if std::env::var_os("TOWLINE_TESTS_FULL").is_some() { 3_000 } else { 400 }
}

fn manifests(world: &World, range: std::ops::Range<usize>, value: &str) -> String {
    range.map(|i| world.config_map(&format!("c{i:04}"), value)).collect::<Vec<_>>().join("---\n")
}

async fn count(world: &World) -> usize {
    world.labelled("fleet").await.len()
}

/// Waits until the first of something is seen at the API server, then stops the agent where it stands.
async fn freeze_when(world: &mut World, what: &str, is: impl Fn(usize) -> bool) {
    let only_ours = ListParams::default().labels("towline.dev/sync-name=fleet");
    let api = world.config_maps();
    wait_until(what, PATIENCE, async || {
        let seen = api.list_metadata(&only_ours).await.map_err(|e| e.to_string())?.items.len();
        if is(seen) { Ok(()) } else { Err(format!("{seen} objects")) }
    })
    .await
    .unwrap();
    world.agent.process().unwrap().stop();
}

/// Every object that carries the owner labels is in the Inventory.
async fn nothing_is_orphaned(world: &World) {
    let owned = world.owned("fleet").await;
    for (name, _) in world.labelled("fleet").await {
        assert!(owned.contains(&name), "{name} exists and the Inventory does not know it");
    }
}

/// Waits until exactly these ConfigMaps are there with a value, and owned.
async fn exactly(world: &World, range: std::ops::Range<usize>, value: &str) {
    let wanted: Vec<String> = range.map(|i| format!("c{i:04}")).collect();
    let only_ours = ListParams::default().labels("towline.dev/sync-name=fleet");
    wait_until(&format!("exactly {} objects are {value:?}", wanted.len()), PATIENCE, async || {
        let list = world.config_maps().list(&only_ours).await.map_err(|e| e.to_string())?;
        let right = list.items.iter().filter(|c| c.data.as_ref().is_some_and(|d| d["value"] == value)).count();
        let names: Vec<String> = list.items.iter().filter_map(|c| c.metadata.name.clone()).collect();
        let seen = format!("{} objects, {right} right; {:?}", names.len(), world.said_of("fleet").await);
        if names == wanted && right == wanted.len() { Ok(()) } else { Err(seen) }
    })
    .await
    .unwrap();
    let mut owned = world.owned("fleet").await;
    owned.sort();
    assert_eq!(owned, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_in_the_middle_of_a_pass_finishes_it() {
    let mut world = World::new("crash-agent").await;
    let first = world.repo.commit(&[("all.yaml", &manifests(&world, 0..objects(), "1"))]).await.unwrap();
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": "100%"}})).await;
    freeze_when(&mut world, "the first object is there", |seen| seen > 0).await;
    let half = count(&world).await;
    assert!(half < objects(), "the pass was over before it could be cut short");
    world.agent.kill();
    nothing_is_orphaned(&world).await;
    world.agent.resume().unwrap();
    exactly(&world, 0..objects(), "1").await;
    world.ready_at(&first).await;
    let before = world.labelled("fleet").await;

    // Half of the objects go, and the other half changes.
    let second = world.push(&[("all.yaml", &manifests(&world, 0..objects() / 2, "2"))]).await;
    freeze_when(&mut world, "the first object is gone", |seen| seen < objects()).await;
    let left = count(&world).await;
    assert!(left > objects() / 2, "pruning was over before it could be cut short");
    world.agent.kill();
    nothing_is_orphaned(&world).await;
    world.agent.resume().unwrap();
    exactly(&world, 0..objects() / 2, "2").await;
    world.ready_at(&second).await;
    let after = world.labelled("fleet").await;
    assert!(after.iter().all(|object| before.contains(object)), "an object was deleted and made again");
}

/// Half of a commit is applied, and while the agent is away Git goes back to what the Sync read at its last success.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_pass_did_is_undone_where_git_went_back_meanwhile() {
    let mut world = World::new("crash-back").await;
    let first = world.repo.commit(&[("apps/all.yaml", &manifests(&world, 0..objects(), "1"))]).await.unwrap();
    world.sync_with(json!({}), json!({"path": "apps"})).await;
    world.ready_at(&first).await;
    world.listening().await;

    world.push(&[("apps/all.yaml", &manifests(&world, 0..objects(), "2"))]).await;
    let changed = async || {
        let list = world.config_maps().list(&ListParams::default().labels("towline.dev/sync-name=fleet")).await;
        let list = list.map_err(|e| e.to_string())?;
        let changed = list.items.iter().filter(|c| c.data.as_ref().is_some_and(|d| d["value"] == "2")).count();
        if changed > 0 { Ok(changed) } else { Err("nothing is changed yet".to_owned()) }
    };
    wait_until("the first object is changed", PATIENCE, changed).await.unwrap();
    world.agent.kill();
    world.repo.force_push(&first).await.unwrap();
    let back = world.repo.commit(&[("README", "not for the cluster")]).await.unwrap();
    world.agent.resume().unwrap();
    exactly(&world, 0..objects(), "1").await;
    world.ready_at(&back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_dies_in_the_middle_of_a_pass_holds_nothing_up_for_long() {
    let plane = ControlPlane::start(Options { controller_manager: false, crds: true }).await.unwrap();
    // It ends with the process, as the shared one does; what it takes is given back below.
    let plane: &'static ControlPlane = Box::leak(Box::new(plane));
    let world = World::on(plane, "crash-api", vec![Hook::new("github", "git.test", SECRET)]).await;
    let first = world.repo.commit(&[("all.yaml", &manifests(&world, 0..objects(), "1"))]).await.unwrap();
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": "100%"}})).await;
    some(&world, "the first object is there", |seen| seen > 0).await;
    plane.stop_apiserver();
    plane.start_apiserver().await.unwrap();
    exactly(&world, 0..objects(), "1").await;
    world.ready_at(&first).await;
    let before = world.labelled("fleet").await;

    let second = world.push(&[("all.yaml", &manifests(&world, 0..objects() / 2, "2"))]).await;
    some(&world, "the first object is gone", |seen| seen < objects()).await;
    plane.stop_apiserver();
    plane.start_apiserver().await.unwrap();
    exactly(&world, 0..objects() / 2, "2").await;
    world.ready_at(&second).await;
    let after = world.labelled("fleet").await;
    assert!(after.iter().all(|object| before.contains(object)), "an object was deleted and made again");
    plane.stop_apiserver();
}

async fn some(world: &World, what: &str, is: impl Fn(usize) -> bool) {
    wait_until(what, PATIENCE, async || {
        let seen = count(world).await;
        if is(seen) { Ok(()) } else { Err(format!("{seen} objects")) }
    })
    .await
    .unwrap();
}
