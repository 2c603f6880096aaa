//! Syncs that contain Syncs that contain Syncs: what goes, goes from the innermost outwards, and nothing is left behind.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt as _};
use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, WatchEvent, WatchParams};
use serde_json::json;
use towline_agent::api::{Inventory, Sync};

use crate::world::{PATIENCE, World};

/// A Sync of a folder with its name, as a manifest.
fn sync(world: &World, name: &str) -> String {
    format!(
        "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: {name}, namespace: {}}}\nspec:\n  sourceRef: {{kind: GitSource, name: fleet}}\n  path: {name}\n  interval: 1h\n  retryInterval: 1s\n  prune: true\n",
        world.namespace
    )
}

/// `root` has Sync `middle`, which has Sync `inner`; the two inner ones have ConfigMaps, and `root` has one that stays.
async fn three_levels(name: &str) -> World {
    let world = World::new(name).await;
    let files = [
        ("root/keep.yaml", world.config_map("keep", "1")),
        ("root/middle.yaml", sync(&world, "middle")),
        ("middle/inner.yaml", sync(&world, "inner")),
        ("middle/m.yaml", world.config_map("m", "1")),
        ("inner/i.yaml", format!("{}---\n{}", world.config_map("i1", "1"), world.config_map("i2", "1"))),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let commit = world.repo.commit(&files).await.unwrap();
    world.sync_with(json!({}), json!({"path": "root", "prunePolicy": {"maxDeletions": "100%"}})).await;
    all_ready(&world, &commit).await;
    world.listening().await;
    world
}

async fn all_ready(world: &World, commit: &str) {
    for name in ["fleet", "middle", "inner"] {
        let there = async || match world.api::<Sync>().get_opt(name).await.unwrap() {
            Some(_) => Ok(()),
            None => Err("it is not there".to_owned()),
        };
        wait_until(&format!("Sync {name} is there"), PATIENCE, there).await.unwrap();
        let is = |status: &str, _: &str, message: &str| status == "True" && message.contains(commit);
        world.other_ready(name, &format!("{name} is ready"), is).await;
    }
    for name in ["keep", "m", "i1", "i2"] {
        world.applied(name, "1").await;
    }
}

/// When each of these is gone, as the API server counts.
async fn ends<K>(
    events: impl Stream<Item = Result<WatchEvent<K>, kube::Error>>,
    names: &[&str],
) -> BTreeMap<String, u64>
where
    K: kube::Resource,
{
    let mut events = std::pin::pin!(events);
    let mut gone = BTreeMap::new();
    while gone.len() < names.len() {
        let event = tokio::time::timeout(PATIENCE, events.next()).await;
        let event = event.unwrap_or_else(|_| panic!("gone of {names:?}: {gone:?}")).unwrap().unwrap();
        if let WatchEvent::Deleted(object) = event
            && names.contains(&object.name_any().as_str())
        {
            gone.insert(object.name_any(), object.resource_version().unwrap().parse().unwrap());
        }
    }
    gone
}

/// Everything of the two inner Syncs goes while `end` is awaited, the innermost first.
async fn goes_from_the_inside(world: &World, end: impl Future<Output = ()>, syncs: &[&str], maps: &[&str]) {
    let (all_syncs, all_maps): (Api<Sync>, Api<ConfigMap>) = (world.api(), world.config_maps());
    let from_syncs = all_syncs.list_metadata(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let from_maps = all_maps.list_metadata(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let sync_events = all_syncs.watch(&WatchParams::default(), &from_syncs).await.unwrap();
    let map_events = all_maps.watch(&WatchParams::default(), &from_maps).await.unwrap();
    end.await;
    let (syncs, maps) = (ends(sync_events, syncs).await, ends(map_events, maps).await);
    assert!(maps["i1"] < syncs["inner"] && maps["i2"] < syncs["inner"], "{maps:?} {syncs:?}");
    assert!(syncs["inner"] < syncs["middle"] && maps["m"] < syncs["middle"], "{maps:?} {syncs:?}");
    if let Some(root) = syncs.get("fleet") {
        assert!(syncs["middle"] < *root, "{syncs:?}");
    }
}

/// Waits until these Inventories are gone.
async fn no_inventories(world: &World, names: &[&str]) {
    for name in names {
        wait_until(&format!("the inventory of {name} is gone"), PATIENCE, async || {
            match world.api::<Inventory>().get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(inventory) => Err(format!("{:?}", inventory.metadata)),
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_git_takes_all_below_it_along_and_comes_back_whole() {
    let world = three_levels("nested-git").await;
    let push = async {
        let commit = world.repo.remove("root/middle.yaml").await.unwrap();
        assert_eq!(world.deliver(&commit).await, 202);
    };
    goes_from_the_inside(&world, push, &["middle", "inner"], &["m", "i1", "i2"]).await;
    no_inventories(&world, &["middle", "inner"]).await;
    world.applied("keep", "1").await;
    let back = world.push(&[("root/middle.yaml", &sync(&world, "middle"))]).await;
    all_ready(&world, &back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_deleted_takes_all_below_it_along() {
    let world = three_levels("nested-delete").await;
    let root: Api<Sync> = world.api();
    let delete = async { drop(root.delete("fleet", &DeleteParams::default()).await.unwrap()) };
    let all = ["keep", "m", "i1", "i2"];
    goes_from_the_inside(&world, delete, &["fleet", "middle", "inner"], &all).await;
    no_inventories(&world, &["fleet", "middle", "inner"]).await;
}
