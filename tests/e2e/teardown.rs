//! A Sync is deleted: what it owns goes or stays as it says, and stays where its deletion looks like somebody else's mistake.

use harness::config::Hook;
use harness::control_plane::{ControlPlane, Options};
use harness::wait_until;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use towline_agent::api::{GitSource, Inventory, Sync};

use crate::world::{PATIENCE, SECRET, World, uid};

impl World {
    /// ConfigMaps `a`, `b` and `c`, applied by a Sync with these fields. Answers with the commit.
    async fn three(&self, sync: Value) -> String {
        let texts = ["a", "b", "c"].map(|name| (format!("{name}.yaml"), self.config_map(name, "1")));
        let files = texts.each_ref().map(|(path, text)| (path.as_str(), text.as_str()));
        let first = self.repo.commit(&files).await.unwrap();
        self.sync_with(json!({}), sync).await;
        self.ready_at(&first).await;
        first
    }

    async fn delete_sync(&self, name: &str) {
        self.api::<Sync>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the Sync and its Inventory are gone.
    async fn torn_down(&self, name: &str) {
        wait_until(&format!("Sync {name} is gone"), PATIENCE, async || {
            let (sync, inventory) =
                (self.api::<Sync>().get_opt(name).await, self.api::<Inventory>().get_opt(name).await);
            match (sync.unwrap(), inventory.unwrap()) {
                (None, None) => Ok(()),
                (sync, inventory) => Err(format!("{:?} {inventory:?}", sync.map(|sync| (sync.metadata, sync.status)))),
            }
        })
        .await
        .unwrap();
    }

    async fn restart(&mut self) {
        let access = self.nats.access("agent");
        self.agent_with(access).await;
    }

    /// Takes the Inventory away in spite of its finalizer.
    pub async fn lose_inventory(&self) {
        self.edit::<Inventory>("fleet", "some-editor", json!({"metadata": {"finalizers": null}})).await;
        self.api::<Inventory>().delete("fleet", &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_objects_go_with_it_also_without_a_source_and_after_a_restart() {
    let mut world = World::new("teardown").await;
    world.three(json!({})).await;
    let keep = json!({"metadata": {"annotations": {"towline.dev/prune": "disabled"}}});
    world.edit::<ConfigMap>("c", "operator", keep).await;
    world.agent.kill();
    world.api::<GitSource>().delete("fleet", &DeleteParams::default()).await.unwrap();
    // In the foreground Kubernetes deletes the Inventory first: its finalizer keeps it readable.
    world.api::<Sync>().delete("fleet", &DeleteParams::foreground()).await.unwrap();
    world.restart().await;
    world.torn_down("fleet").await;
    world.gone("a").await;
    world.gone("b").await;
    world.applied("c", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_policy_says_what_becomes_of_its_objects() {
    let world = World::new("teardown-policy").await;
    let first = world.repo.commit(&[("first/it.yaml", &world.config_map("first", "1"))]).await.unwrap();
    world.sync_with(json!({}), json!({"path": "first"})).await;
    world.ready_at(&first).await;
    world.listening().await;
    for (policy, suspend, prune, goes) in [
        ("Orphan", false, true, false),
        ("MirrorPrune", false, false, false),
        ("Delete", true, true, false),
        ("Delete", false, false, true),
    ] {
        let name = format!("{}-{suspend}-{prune}", policy.to_lowercase());
        let text = world.config_map(&name, "1");
        let commit = world.repo.commit(&[(&format!("{name}/it.yaml"), &text)]).await.unwrap();
        assert_eq!(world.deliver(&commit).await, 202);
        world.another_sync(&name, json!({"path": name, "prune": prune, "deletionPolicy": policy})).await;
        world.applied(&name, "1").await;
        let ready = |status: &str, _: &str, message: &str| status == "True" && message.contains(&commit);
        world.other_ready(&name, "it is applied", ready).await;
        world.edit::<Sync>(&name, "operator", json!({"spec": {"suspend": suspend}})).await;
        world.delete_sync(&name).await;
        world.torn_down(&name).await;
        match goes {
            true => world.gone(&name).await,
            false => world.applied(&name, "1").await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_written_ceiling_holds_it_and_orphan_lets_it_go() {
    let world = World::new("teardown-held").await;
    world.three(json!({"prunePolicy": {"maxDeletions": 2}})).await;
    world.delete_sync("fleet").await;
    let held = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "PruneHeld") && message.contains("allows 2") && message.contains("/c")
    };
    world.ready("the ceiling holds", held).await;
    world.applied("a", "1").await;
    world.edit::<Sync>("fleet", "operator", json!({"spec": {"deletionPolicy": "Orphan"}})).await;
    world.torn_down("fleet").await;
    world.applied("a", "1").await;
    world.event("ObjectsOrphaned", &["deletionPolicy is Orphan"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_for_termination_waits() {
    let world = World::new("teardown-waits").await;
    world.three(json!({"deletionPolicy": "WaitForTermination"})).await;
    let busy = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    world.edit::<ConfigMap>("b", "operator", busy(json!(["test.towline.dev/busy"]))).await;
    world.delete_sync("fleet").await;
    let waits = |_: &str, reason: &str, message: &str| reason == "Progressing" && message.contains("/b to be gone");
    world.ready("it waits for b", waits).await;
    world.gone("a").await;
    world.gone("c").await;
    world.edit::<ConfigMap>("b", "operator", busy(json!(null))).await;
    world.torn_down("fleet").await;
}

/// What it was told to look at may be gone, or be what it deletes first.
#[tokio::test(flavor = "multi_thread")]
async fn what_it_was_to_look_at_keeps_nothing_from_going() {
    let world = World::new("teardown-unwell").await;
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "elsewhere"}})).unwrap();
    world.config_maps().create(&PostParams::default(), &map).await.unwrap();
    let check = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name});
    let checks = json!([check("elsewhere"), check("a")]);
    let spec = json!({"deletionPolicy": "WaitForTermination", "wait": true, "healthChecks": checks, "timeout": "3s"});
    world.three(spec).await;
    world.config_maps().delete("elsewhere", &DeleteParams::default()).await.unwrap();
    let busy = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    world.edit::<ConfigMap>("b", "operator", busy(json!(["test.towline.dev/busy"]))).await;
    world.delete_sync("fleet").await;
    world.gone("a").await;
    world.gone("c").await;
    world.edit::<ConfigMap>("b", "operator", busy(json!(null))).await;
    world.torn_down("fleet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_while_its_inventory_is_lost() {
    let mut world = World::new("teardown-lost").await;
    world.three(json!({})).await;
    world.agent.kill();
    world.lose_inventory().await;
    world.delete_sync("fleet").await;
    world.restart().await;
    let held = |_: &str, reason: &str, message: &str| reason == "PruneHeld" && message.contains("accept-inventory=");
    world.ready("the rebuilt inventory is to be accepted", held).await;
    world.applied("a", "1").await;
    let message = world.said_of("fleet").await.2;
    let digest = message.split("towline.dev/accept-inventory=").nth(1).unwrap();
    world.annotate("towline.dev/accept-inventory", digest.split([';', ' ']).next().unwrap()).await;
    world.torn_down("fleet").await;
    world.gone("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_inventory_comes_back_as_it_was() {
    let world = World::new("inventory-deleted").await;
    world.three(json!({})).await;
    let before = world.inventory().await.unwrap();
    world.api::<Inventory>().delete("fleet", &DeleteParams::default()).await.unwrap();
    let after = wait_until("the inventory is there again", PATIENCE, async || match world.inventory().await {
        Some(now) if now.metadata.uid != before.metadata.uid => Ok(now),
        other => Err(format!("{other:?}")),
    });
    let after = after.await.unwrap();
    assert_eq!((after.spec.entries, after.spec.rebuilt), (before.spec.entries, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_syncs_that_goes_takes_no_objects_elsewhere_with_it() {
    let world = World::new("teardown-namespace").await;
    let elsewhere = world.plane.namespace("teardown-elsewhere").await.unwrap();
    let text = world.config_map("a", "1").replace(&world.namespace, &elsewhere);
    let commit = world.repo.commit(&[("a.yaml", &text)]).await.unwrap();
    world.sync_with(json!({}), json!({"deletionPolicy": "Delete"})).await;
    world.ready_at(&commit).await;
    let objects: Api<ConfigMap> = Api::namespaced(world.client.clone(), &elsewhere);
    let before = objects.get("a").await.unwrap().metadata;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    wait_until("the namespace is gone", PATIENCE, async || match namespaces.get_opt(&world.namespace).await.unwrap() {
        None => Ok(()),
        Some(there) => Err(format!("{:?}", there.status)),
    })
    .await
    .unwrap();
    let after = objects.get("a").await.unwrap().metadata;
    assert_eq!((after.uid, after.deletion_timestamp), (before.uid, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_definition_of_syncs_takes_nothing_with_it() {
    let plane = ControlPlane::start(Options { controller_manager: true, crds: true }).await.unwrap();
    let plane: &'static ControlPlane = Box::leak(Box::new(plane));
    let world = World::on(plane, "teardown-definition", vec![Hook::new("github", "git.test", SECRET)]).await;
    world.three(json!({"deletionPolicy": "Delete"})).await;
    let before = uid(&world, "a").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    for name in ["syncs.towline.dev", "inventories.towline.dev", "gitsources.towline.dev"] {
        definitions.delete(name, &DeleteParams::default()).await.unwrap();
    }
    wait_until("the definition is gone", PATIENCE, async || {
        match definitions.get_opt("syncs.towline.dev").await.unwrap() {
            None => Ok(()),
            Some(_) => Err(world.agent.log()),
        }
    })
    .await
    .unwrap();
    assert_eq!(uid(&world, "a").await, before);
    world.applied("b", "1").await;
    world.applied("c", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_account_its_objects_stay() {
    let world = World::new("teardown-account").await;
    world.three(json!({"deletionPolicy": "Delete"})).await;
    world.edit::<Sync>("fleet", "operator", json!({"spec": {"serviceAccountName": "nobody"}})).await;
    world.delete_sync("fleet").await;
    world.torn_down("fleet").await;
    world.applied("a", "1").await;
    world.event("ObjectsOrphaned", &["nobody", "does not exist"]).await;
}
