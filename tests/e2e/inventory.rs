//! What a Sync owns: one owner per object, and an Inventory that is never believed without proof.

use serde_json::json;
use towline_agent::api::Inventory;
use towline_proto::report::EventKind;

use crate::world::{World, uid};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_has_one_owner_and_is_handed_over_without_being_deleted() {
    let world = World::new("two-owners").await;
    let shared = world.config_map("shared", "1");
    let (one, two) = (world.config_map("one", "1"), world.config_map("two", "1"));
    let first = [("one/shared.yaml", shared.as_str()), ("one/one.yaml", &one), ("two/two.yaml", &two)];
    let first = world.repo.commit(&first).await.unwrap();
    world.sync_with(json!({}), json!({"path": "one"})).await;
    world.another_sync("second", json!({"path": "two"})).await;
    world.ready_at(&first).await;
    world.other_ready("second", "the other is ready", |status, _, _| status == "True").await;
    world.listening().await;
    let before = uid(&world, "shared").await;

    let claimed = world.push(&[("two/shared.yaml", &world.config_map("shared", "2"))]).await;
    let names = [format!("{}/fleet", world.namespace), format!("{}/second", world.namespace)];
    let refused = world.other_ready("second", "the claim is refused", |status, _, message| {
        status == "False" && names.iter().all(|name| message.contains(name))
    });
    let refused = refused.await;
    assert!(refused.contains("/shared"), "{refused}");
    world.event("ReconciliationFailed", &["/shared", &names[0], &names[1]]).await;
    world.source_ready("the claim is in Git", |_, _, message| message.contains(&claimed)).await;
    world.applied("shared", "1").await;

    let moved = world.repo.remove("one/shared.yaml").await.unwrap();
    assert_eq!(world.deliver(&moved).await, 202);
    world.applied("shared", "2").await;
    world.ready_at(&moved).await;
    world.other_ready("second", "the other owns it", |status, _, _| status == "True").await;
    assert_eq!(uid(&world, "shared").await, before, "the object was deleted on its way to the other Sync");
    // What was let go of stays behind the new owner's claim until a pass has seen the new owner's labels.
    let later = world.push(&[("one/one.yaml", &world.config_map("one", "2"))]).await;
    world.ready_at(&later).await;
    assert_eq!(world.owned("fleet").await, ["one"]);
    let mut owned = world.owned("second").await;
    owned.sort();
    assert_eq!(owned, ["shared", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_inventory_is_rebuilt_and_nothing_is_pruned_until_that_is_accepted() {
    let world = World::new("inventory-lost").await;
    let names = ["a", "b", "c", "d", "e", "f"];
    let texts = names.map(|name| (format!("{name}.yaml"), world.config_map(name, "1")));
    let files = texts.each_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    // Gone, while an object goes from Git.
    world.lose_inventory().await;
    world.event("InventoryRebuilt", &["it is gone"]).await;
    world.report(EventKind::InventoryRebuilt, &[]).await;
    held_and_accepted(&world, "a").await;

    // Truncated: what is missing is found by its labels.
    let entries = world.inventory().await.unwrap().spec.entries;
    let truncated = json!({"spec": {"entries": entries[..2]}});
    world.edit::<Inventory>("fleet", "some-editor", truncated).await;
    world.event("InventoryRebuilt", &["truncated or edited"]).await;
    held_and_accepted(&world, "b").await;

    // Another's.
    world.edit::<Inventory>("fleet", "some-editor", json!({"spec": {"syncUid": "somebody-else"}})).await;
    world.event("InventoryRebuilt", &["another Sync"]).await;
    held_and_accepted(&world, "c").await;

    let mut owned = world.owned("fleet").await;
    owned.sort();
    assert_eq!(owned, ["d", "e", "f"]);
}

/// Removes a ConfigMap from Git: it stays until the rebuilt inventory is accepted by its digest.
async fn held_and_accepted(world: &World, name: &str) {
    let removed = world.repo.remove(&format!("{name}.yaml")).await.unwrap();
    assert_eq!(world.deliver(&removed).await, 202);
    let held = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "PruneHeld") && message.contains(&removed)
    };
    world.ready("nothing is pruned by a rebuilt inventory", held).await;
    let message = world.said_of("fleet").await.2;
    assert!(message.contains(&format!("/{name}")), "{message}");
    let digest = message.split("towline.dev/accept-inventory=").nth(1).expect("the annotation is named");
    let digest = digest.split([';', ' ']).next().unwrap_or_default();
    assert_eq!(world.inventory().await.unwrap().spec.rebuilt.as_deref(), Some(digest));
    // To allow deletions is not to accept the inventory.
    world.annotate("towline.dev/accept-inventory", "another").await;
    world.annotate("towline.dev/allow-deletions", &format!("main@sha1:{removed}")).await;
    world.meddle("f", "some-editor", "2").await;
    world.applied("f", "1").await;
    world.applied(name, "1").await;

    world.annotate("towline.dev/accept-inventory", digest).await;
    world.gone(name).await;
    world.ready_at(&removed).await;
    assert_eq!(world.inventory().await.unwrap().spec.rebuilt, None);
}
