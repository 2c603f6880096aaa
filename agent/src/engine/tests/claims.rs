//! What Syncs hear of each other's claims: who is woken and how often, and what is let go of when a Sync is another replica's.

use serde_json::json;
use towline_plan::barrier::{Peer, Recorded};
use towline_plan::inventory::{Entry, Inventory as Owned, State};
use towline_plan::members::Share;
use towline_plan::object::{GroupKind, ObjectId};

use super::members::{half, sync, whole};
use super::world::{World, drift, key, words, write};
use crate::api::{Inventory, InventorySpec};
use crate::cluster::{Change, Moved, Movement, ResourceEvent, locked};
use crate::engine::Event;
use crate::pass::{End, Failure};

fn owned(claims: &[(&str, i64)]) -> Owned {
    let claim = |(name, claimed_at): &(&str, i64)| {
        let id =
            ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: (*name).to_owned() };
        let state = State::Applied;
        (id, Entry { version: "v1".into(), uid: None, digest: None, claimed_at: *claimed_at, state })
    };
    Owned(claims.iter().map(claim).collect())
}

/// Syncs of one source, each after its first pass.
fn settled(names: &[&str]) -> World {
    let syncs: Vec<(&str, &str)> = names.iter().map(|name| (*name, "s")).collect();
    let (mut world, actions) = World::with(&["s"], &syncs);
    let first = world.answer(write(&actions));
    world.fetched(&actions, 1);
    let actions = world.handle(first);
    let mut actions = world.written(&actions);
    for _ in names {
        let mut more = world.passed(&actions, End::Succeeded);
        actions.remove(0);
        actions.append(&mut more);
    }
    world
}

/// Each keeps for the other what it has to be given first, and neither can apply anything.
#[tokio::test]
async fn two_that_wait_for_each_other_and_fail_do_not_press_the_cluster() {
    let mut world = settled(&["a", "b"]);
    locked(&world.context.claims).replace(&key("a"), &owned(&[("x", i64::MAX), ("y", 10)]));
    locked(&world.context.claims).replace(&key("b"), &owned(&[("y", i64::MAX), ("x", 10)]));
    let mut actions = world.handle(drift(key("a")));
    let mut passes = 0;
    while words(&actions).iter().any(|word| word.starts_with("pass")) {
        passes += 1;
        assert!(passes < 10, "they wake each other without end");
        actions = world.passed(&actions, End::Failed(Failure::reconciliation("refused".to_owned())));
    }
    assert_eq!(passes, 3, "each is told once of what the other lets go of");
}

#[tokio::test]
async fn what_was_waited_for_is_looked_at_at_once_and_then_at_a_pace() {
    let mut world = settled(&["a"]);
    let came = || Event::Moved(Moved { sync: key("a"), what: Movement::Awaited });
    let actions = world.handle(came());
    assert_eq!(words(&actions), ["pass a"]);
    // As from an index that is behind: each pass waits for what is said to have come already.
    assert!(world.handle(came()).is_empty());
    assert!(world.passed(&actions, End::Succeeded).is_empty(), "at once again");
    assert_eq!(world.next(), Some(1));
    assert_eq!(words(&world.wait(1)), ["pass a"]);
}

/// An app of apps that moves to another replica, which then takes one of its Syncs out.
#[tokio::test]
async fn what_a_sync_brought_counts_no_more_when_it_is_another_replicas() {
    let parent = sync(false);
    let mut world = settled(&[&parent]);
    world.handle(Event::Divided(whole()));
    let peer = || Peer { source: key("s"), settings: "1".into() };
    let unjudged = |world: &World| {
        let mut unjudged = locked(&world.context.barrier).unjudged(&key("me"), &key("s"), 1);
        unjudged.remove(&key(&parent));
        unjudged
    };
    locked(&world.context.barrier).judged(&key(&parent), 1, "1", [(key("child"), peer())].into());
    assert_eq!(unjudged(&world), [key("child")].into());
    world.handle(Event::Divided(half()));
    assert!(unjudged(&world).is_empty());
    // Its Inventory tells from here on.
    world.apply_inventory(inventory(&parent, 500, &["ns/child ns/s 1"]));
    assert_eq!(unjudged(&world), [key("child")].into());
    let recorded = Recorded { version: 501, ..Recorded::default() };
    assert_eq!(locked(&world.context.barrier).record(&key(&parent), recorded), [key("child")].into());
    assert!(unjudged(&world).is_empty());
}

fn inventory(sync: &str, version: u64, brings: &[&str]) -> Inventory {
    let (entries, digest) = owned(&[]).to_lines();
    let sync_uid = format!("uid of {sync}");
    let brings = brings.iter().map(|line| (*line).to_owned()).collect();
    let spec = InventorySpec { sync_uid, entries, digest, rebuilt: None, judged: None, brings, read: None };
    let mut inventory = Inventory::new(sync, spec);
    inventory.metadata.namespace = Some("ns".to_owned());
    inventory.metadata.uid = Some(format!("uid of the inventory of {sync}"));
    inventory.metadata.resource_version = Some(version.to_string());
    inventory
}

/// Somebody took a Sync's finalizer away while no agent ran.
#[tokio::test]
async fn an_inventory_whose_sync_is_gone_is_let_go_of_until_it_is_gone() {
    let name = sync(true);
    let mut stray = inventory(&name, 500, &[]);
    stray.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-23T00:00:00Z")).unwrap();
    let gone = |stray: &Inventory| Event::Resource(ResourceEvent::Inventory(None, Change::Gone(stray.clone())));
    let list = |stray: &Inventory| {
        let mut world = World::new();
        world.handle(Event::Divided(Share::Nothing));
        world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(Vec::new()))));
        world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(Vec::new()))));
        let listed = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(vec![stray.clone()]))));
        assert!(listed.is_empty(), "this replica may not write yet");
        world
    };
    let mut world = list(&stray);
    assert_eq!(words(&world.handle(Event::Divided(half()))), [format!("release {name}")]);
    assert!(world.wait(4).is_empty());
    assert_eq!(words(&world.wait(1)), [format!("release {name}")], "it may have failed");
    assert!(world.handle(gone(&stray)).is_empty());
    assert!(world.wait(60).is_empty());

    let name = sync(false);
    let mut stray = inventory(&name, 500, &[]);
    stray.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-23T00:00:00Z")).unwrap();
    let mut world = list(&stray);
    assert!(world.handle(Event::Divided(half())).is_empty(), "the other replica does");
    assert_eq!(world.next(), None);
}
