//! Syncs: what makes a pass run, what cuts it short, and what is left of one that is gone.

use serde_json::json;
use towline_plan::inventory::{Entry, Inventory as Owned, State};
use towline_plan::object::{GroupKind, ObjectId};
use towline_plan::schedule::sync::Trigger;

use super::world::{World, drift, key, pass, woken, words};
use crate::api::{ALLOW_DELETIONS, Inventory, InventorySpec, REQUESTED_AT, ResourceExt as _};
use crate::bus::BusEvent;
use crate::cluster::{Change, Moved, Movement, ResourceEvent, locked};
use crate::engine::unable::Why;
use crate::engine::{Action, Event, passing};
use crate::pass::{End, Failure};

#[tokio::test]
async fn a_newer_revision_cuts_a_running_pass_short() {
    let mut world = World::settled();
    let running = world.push("s", 2);
    assert_eq!(words(&running), ["pass a"]);
    let halt = pass(&running).pass.halt.clone();
    assert!(!halt.is_cancelled());
    assert!(world.push("s", 3).is_empty(), "one pass at a time");
    assert!(halt.is_cancelled());
    let actions = world.passed(&running, End::Superseded);
    assert_eq!(pass(&actions).pass.revision.commit, super::world::commit(3));
    assert!(pass(&actions).pass.revision.sequence > pass(&running).pass.revision.sequence);
    assert_eq!(pass(&actions).pass.revision.delivery.as_deref(), Some("delivery-3"));
}

#[tokio::test]
async fn a_changed_spec_cuts_a_running_pass_short() {
    let mut world = World::settled();
    let mut running = world.handle(drift(key("a")));
    // Three in a row: who edits on and on does not keep a pass from ever ending.
    for (edit, cut) in [(1, true), (2, true), (3, true), (4, false)] {
        let edited = world.sync("a", "s", json!({"prunePolicy": {"maxDeletions": edit}}));
        assert!(world.apply_sync(edited).is_empty(), "one pass at a time");
        assert_eq!(pass(&running).pass.halt.is_cancelled(), cut, "edit {edit}");
        running = world.passed(&running, if cut { End::Superseded } else { End::Succeeded });
        assert_eq!(words(&running), ["pass a"]);
        let ceiling = &pass(&running).pass.sync.spec.prune_policy.max_deletions;
        assert_eq!(serde_json::to_value(ceiling).unwrap(), json!(edit), "the next works with the new spec");
        assert!(!pass(&running).pass.halt.is_cancelled());
    }
}

#[tokio::test]
async fn drift_during_a_pass_leads_to_another() {
    let mut world = World::settled();
    let running = world.handle(drift(key("a")));
    assert_eq!(pass(&running).pass.trigger, Trigger::Drift);
    assert!(world.handle(drift(key("a"))).is_empty());
    assert_eq!(words(&world.passed(&running, End::Succeeded)), ["pass a"]);
}

#[tokio::test]
async fn a_fight_over_a_field_is_told_once_and_is_no_hot_loop() {
    let mut world = World::settled();
    let mut waited = 0;
    let mut told = Vec::new();
    for _ in 0..20 {
        let mut actions = world.handle(drift(key("a")));
        // The source is polled meanwhile, which is of no interest here.
        while !words(&actions).contains(&"pass a".to_owned()) {
            let next = world.next().unwrap();
            waited += next;
            actions = world.wait(next);
        }
        let actions = world.reverted(&actions, End::Succeeded, &["c"]);
        told.extend(actions.into_iter().filter_map(|action| match action {
            crate::engine::Action::Warn(warning) => Some(warning.message),
            _ => None,
        }));
    }
    assert!(waited > 300, "twenty corrections took {waited} s");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("ConfigMap/ns/c (it was changed by kubectl)"), "{told:?}");

    let running = world.handle(Event::Bus(BusEvent::ReconcileAll));
    assert!(pass(&running).pass.fights.as_ref().unwrap().contains("/ns/c"), "the condition tells while it lasts");
    world.passed(&running, End::Succeeded);
    world.wait(120);
    let running = world.handle(Event::Bus(BusEvent::ReconcileAll));
    assert_eq!(pass(&running).pass.fights, None);
}

#[tokio::test]
async fn many_objects_that_drift_once_each_are_no_fight() {
    let mut world = World::settled();
    for name in (0..20).map(|n| format!("c{n}")) {
        let actions = world.handle(drift(key("a")));
        assert_eq!(words(&actions), ["pass a"], "at once");
        assert!(world.reverted(&actions, End::Succeeded, &[&name]).is_empty());
    }
}

#[tokio::test]
async fn own_echoes_cause_no_pass_and_an_annotation_causes_one() {
    for (annotation, trigger) in [(REQUESTED_AT, Trigger::Request), (ALLOW_DELETIONS, Trigger::Settings)] {
        let mut world = World::settled();
        let mut echo = world.sync("a", "s", json!({}));
        assert!(world.apply_sync(echo.clone()).is_empty(), "a newer version of the same generation");
        assert!(world.apply_sync(echo.clone()).is_empty(), "the same version again");
        echo.metadata.annotations = Some([(annotation.to_owned(), "x".to_owned())].into());
        echo.metadata.resource_version = Some("900".to_owned());
        let actions = world.apply_sync(echo.clone());
        assert_eq!(pass(&actions).pass.trigger, trigger);
        assert!(world.passed(&actions, End::Succeeded).is_empty());
        echo.metadata.resource_version = Some("901".to_owned());
        assert!(world.apply_sync(echo).is_empty());
    }
}

#[tokio::test]
async fn a_spec_that_came_with_the_status_is_not_missed() {
    let mut world = World::settled();
    let running = world.handle(drift(key("a")));
    let changed = world.sync("a", "s", json!({"path": "./other"}));
    let passed = passing::Passed {
        uid: changed.uid(),
        end: End::Succeeded,
        object: Some(Box::new(changed.clone())),
        unwritten: false,
        inventory: None,
        looked: None,
        reverted: Vec::new(),
    };
    let actions = world.handle(Event::Passed { sync: pass(&running).pass.key.clone(), passed });
    assert_eq!(pass(&actions).pass.sync.spec.path, "./other");
    assert!(world.apply_sync(changed).is_empty(), "the watch is behind");
}

#[tokio::test]
async fn a_suspended_sync_rests_and_its_running_pass_ends() {
    let mut world = World::settled();
    let running = world.handle(drift(key("a")));
    let suspended = world.sync("a", "s", json!({"suspend": true}));
    assert!(world.apply_sync(suspended).is_empty());
    assert!(pass(&running).pass.halt.is_cancelled());
    let actions = world.passed(&running, End::Superseded);
    assert_eq!(words(&actions), ["stand a"], "it is said when no pass runs");
    assert!(world.stood(&actions, false).is_empty());
    assert_eq!(world.next(), Some(5), "it could not be written");
    let actions = world.wait(5);
    assert_eq!(words(&actions), ["stand a"]);
    assert!(world.stood(&actions, true).is_empty());
    assert!(world.handle(drift(key("a"))).is_empty());
    assert!(world.push("s", 2).is_empty());
    assert!(world.wait(3_600).iter().all(|action| !matches!(action, crate::engine::Action::Pass(_))));
    let resumed = world.sync("a", "s", json!({}));
    let actions = world.apply_sync(resumed);
    assert_eq!(pass(&actions).pass.revision.commit, super::world::commit(2));
}

#[tokio::test]
async fn a_sync_without_a_source_says_so_once_and_waits_quietly() {
    let (mut world, actions) = World::with(&[], &[("a", "s")]);
    assert_eq!(words(&actions), ["explain a"]);
    assert!(world.wait(60).is_empty());
    let mut echo = world.sync("a", "s", json!({}));
    let generation = echo.metadata.generation;
    let condition = json!([{"type": "Ready", "status": "False", "observedGeneration": generation, "reason": "SourceNotReady", "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "GitSource ns/s does not exist"}]);
    echo.status = Some(serde_json::from_value(json!({"conditions": condition})).unwrap());
    assert!(world.apply_sync(echo).is_empty(), "it has been said");
    assert_eq!(world.next(), None);
}

#[tokio::test]
async fn an_explanation_that_could_not_be_written_is_said_again_and_not_at_once() {
    let (mut world, actions) = World::with(&[], &[("a", "s")]);
    let explained = |written| Event::Explained { sync: key("a"), uid: Some("uid of a".to_owned()), written };
    assert_eq!(words(&actions), ["explain a"]);
    assert!(world.handle(explained(None)).is_empty());
    assert_eq!(world.next(), Some(5));
    let newer = world.sync("a", "s", json!({}));
    assert!(world.apply_sync(newer).is_empty(), "somebody writes all the time");
    assert!(world.wait(4).is_empty());
    let actions = world.wait(1);
    let Some(crate::engine::Action::Explain(explanation)) = actions.first() else { panic!("{:?}", words(&actions)) };
    let mut written = world.sync("a", "s", json!({}));
    written.status = Some(passing::unready(&explanation.sync, &explanation.why, world.now));
    assert!(world.handle(explained(Some(Box::new(written)))).is_empty());
    assert_eq!(world.next(), None);
    assert!(world.wait(3_600).is_empty());
}

#[tokio::test]
async fn a_source_that_counts_from_behind_is_said_where_nothing_is_applied_of_it() {
    let mut world = World::settled();
    let mut restored = world.stored("s");
    restored.metadata.uid = Some("another".to_owned());
    if let Some(status) = &mut restored.status {
        status.sequence = Some(7);
    }
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Gone(world.stored("s")))));
    let actions = world.apply_source(restored);
    let actions = world.fetched(&actions, 1);
    let Some(Action::Explain(explanation)) = actions.first() else { panic!("{:?}", words(&actions)) };
    assert!(explanation.why.message.contains("7 is older than"), "{}", explanation.why.message);
    assert!(!words(&world.handle(drift(key("a")))).contains(&"pass a".to_owned()));
}

#[tokio::test]
async fn whoever_asks_for_a_pass_that_cannot_run_is_answered() {
    let mut world = World::new();
    let mut sync = world.sync("a", "s", json!({}));
    let why = Why { reason: "SourceNotReady", message: "GitSource ns/s does not exist".to_owned(), stalled: false };
    sync.status = Some(passing::unready(&sync, &why, world.now));
    for list in [
        ResourceEvent::Source(None, Change::Listed(Vec::new())),
        ResourceEvent::Sync(None, Change::Listed(vec![sync.clone()])),
        ResourceEvent::Inventory(None, Change::Listed(Vec::new())),
    ] {
        assert!(world.handle(Event::Resource(list)).is_empty(), "it is said already");
    }
    let mut asked = world.sync("a", "s", json!({}));
    asked.metadata.annotations = Some([(REQUESTED_AT.to_owned(), "noon".to_owned())].into());
    asked.status = sync.status;
    let actions = world.apply_sync(asked);
    let Some(Action::Explain(explanation)) = actions.first() else { panic!("{:?}", words(&actions)) };
    let said = passing::unready(&explanation.sync, &explanation.why, world.now);
    assert_eq!(said.last_handled_reconcile_at.as_deref(), Some("noon"));
}

#[tokio::test]
async fn the_end_of_one_that_was_created_again_is_not_the_end_of_the_new_one() {
    let mut world = World::settled();
    let old = world.sync("a", "s", json!({}));
    let mut new = world.sync("a", "s", json!({}));
    new.metadata.uid = Some("another".to_owned());
    world.apply_sync(new);
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Gone(old))));
    assert!(world.engine.is_own(&key("a")));
    let old = world.stored("s");
    let mut new = old.clone();
    new.metadata.uid = Some("another".to_owned());
    world.apply_source(new);
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Gone(old))));
    assert!(world.engine.sources.contains_key(&key("s")));
}

#[tokio::test]
async fn health_that_could_not_be_written_is_said_again() {
    let mut world = World::settled();
    let waits = world.sync("a", "s", json!({"wait": true}));
    let actions = world.apply_sync(waits);
    world.passed(&actions, End::Succeeded);
    let moved = || Event::Moved(Moved { sync: key("a"), what: Movement::Progress });
    let actions = world.handle(moved());
    assert_eq!(words(&actions), ["stand a"]);
    assert!(world.stood(&actions, false).is_empty());
    let actions = world.wait(5);
    assert_eq!(words(&actions), ["stand a"], "the health is not said yet");
    world.stood(&actions, true);
    assert!(world.wait(5).is_empty());
}

#[tokio::test]
async fn an_explanation_of_another_spec_forgets_what_the_old_source_counted() {
    let mut world = World::new();
    let mut sync = world.sync("a", "s", json!({}));
    let status = json!({"observedGeneration": sync.metadata.generation, "lastAttemptedSequence": 7, "lastAppliedRevision": "main@sha1:1"});
    sync.status = Some(serde_json::from_value(status).unwrap());
    let why = Why { reason: "SourceNotReady", message: "the source is gone".to_owned(), stalled: false };
    let said = passing::unready(&sync, &why, world.now);
    assert_eq!((said.last_attempted_sequence, said.last_applied_revision.as_deref()), (Some(7), Some("main@sha1:1")));
    sync.metadata.generation = Some(1);
    let said = passing::unready(&sync, &why, world.now);
    assert_eq!((said.last_attempted_sequence, said.observed_generation), (None, Some(1)));
}

#[tokio::test]
async fn a_sync_whose_source_is_gone_does_not_keep_the_loop_busy() {
    let mut world = World::settled();
    let source = world.stored("s");
    let actions = world.handle(Event::Resource(ResourceEvent::Source(None, Change::Gone(source))));
    assert_eq!(words(&actions), ["explain a", "listen 0"]);
    world.handle(drift(key("a")));
    assert_eq!(world.next(), None, "nothing could be started");
}

#[tokio::test]
async fn a_source_that_is_created_again_is_followed() {
    let mut world = World::settled();
    let source = world.stored("s");
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Gone(source))));
    let mut again = world.source("s", json!({}));
    again.metadata.uid = Some("another".to_owned());
    world.now += jiff::SignedDuration::from_secs(10);
    let actions = world.apply_source(again);
    let write = world.answer(super::world::write(&actions));
    world.fetched(&actions, 1);
    let actions = world.handle(write);
    assert_eq!(words(&world.written(&actions)), ["pass a"]);
}

#[tokio::test]
async fn a_deleted_sync_lets_go_of_its_claims_and_is_buried() {
    let mut world = World::settled();
    let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
    world.apply_inventory(inventory("a", &id));
    assert!(locked(&world.context.claims).other(&id, &key("b")).is_some());
    let running = world.handle(drift(key("a")));
    let gone = world.sync("a", "s", json!({}));
    let actions = world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Gone(gone))));
    assert_eq!(words(&actions), ["bury a"]);
    assert!(pass(&running).pass.halt.is_cancelled());
    assert!(locked(&world.context.claims).other(&id, &key("b")).is_none());
    world.apply_inventory(inventory("a", &id));
    assert!(locked(&world.context.claims).other(&id, &key("b")).is_none(), "what it left behind claims nothing");
    assert!(world.passed(&running, End::Superseded).is_empty());
}

/// Deleted and created again, whether the watch tells of both or a new list shows the result only.
#[tokio::test]
async fn a_sync_created_again_waits_for_the_last_pass_of_the_one_before() {
    let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
    for relisted in [false, true] {
        let mut world = World::settled();
        world.apply_inventory(inventory("a", &id));
        let running = world.handle(drift(key("a")));
        let gone = world.sync("a", "s", json!({}));
        let mut again = gone.clone();
        again.metadata.uid = Some("another".to_owned());
        let actions = match relisted {
            true => world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(vec![again])))),
            false => {
                let actions = world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Gone(gone))));
                assert!(world.apply_sync(again).is_empty());
                actions
            }
        };
        assert_eq!(words(&actions), ["bury a"]);
        assert!(pass(&running).pass.halt.is_cancelled());
        assert!(locked(&world.context.claims).other(&id, &key("b")).is_none());
        assert_eq!(world.next(), Some(300), "the poll: until the old pass has ended there is nothing to start");
        // It was about to claim something when it was stopped.
        let owned = Owned::from_lines(&inventory("a", &id).spec.entries, &inventory("a", &id).spec.digest).unwrap();
        locked(&world.context.claims).replace(&key("a"), &owned);
        let actions = world.passed(&running, End::Superseded);
        assert_eq!(pass(&actions).pass.sync.uid().as_deref(), Some("another"));
        assert!(locked(&world.context.claims).other(&id, &key("b")).is_none(), "phantom");
        assert!(world.handle(drift(key("a"))).is_empty(), "its own pass is running");
    }
}

#[tokio::test]
async fn what_the_last_pass_of_a_deleted_sync_claims_is_nobodys() {
    let mut world = World::settled();
    let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
    let running = world.handle(drift(key("a")));
    let gone = world.sync("a", "s", json!({}));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Gone(gone))));
    let written = inventory("a", &id);
    let owned = Owned::from_lines(&written.spec.entries, &written.spec.digest).unwrap();
    locked(&world.context.claims).replace(&key("a"), &owned);
    let passed = passing::Passed {
        uid: pass(&running).pass.sync.uid(),
        end: End::Superseded,
        object: None,
        unwritten: false,
        inventory: Some(written),
        looked: None,
        reverted: Vec::new(),
    };
    world.handle(Event::Passed { sync: key("a"), passed });
    assert!(locked(&world.context.claims).other(&id, &key("b")).is_none());
}

#[tokio::test]
async fn a_list_without_a_sync_buries_it() {
    let mut world = World::settled();
    let actions = world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(Vec::new()))));
    assert_eq!(words(&actions), ["bury a"]);
}

#[tokio::test]
async fn another_namespaces_list_says_nothing_of_ours() {
    let mut world = World::settled();
    let elsewhere = Some("elsewhere".to_owned());
    assert!(world.handle(Event::Resource(ResourceEvent::Sync(elsewhere, Change::Listed(Vec::new())))).is_empty());
}

#[tokio::test]
async fn a_lost_inventory_is_rebuilt_at_once() {
    let mut world = World::settled();
    let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
    world.apply_inventory(inventory("a", &id));
    let gone = Event::Resource(ResourceEvent::Inventory(None, Change::Gone(inventory("a", &id))));
    assert_eq!(words(&world.handle(gone)), ["pass a"]);
    assert!(locked(&world.context.claims).other(&id, &key("b")).is_some(), "nobody may take it meanwhile");
    let gone = world.sync("a", "s", json!({}));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Gone(gone))));
    assert!(locked(&world.context.claims).other(&id, &key("b")).is_none());
}

#[tokio::test]
async fn an_inventory_that_cannot_be_believed_is_rebuilt_at_once() {
    let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
    let truncate: fn(&mut Inventory) = |inventory| inventory.spec.entries.clear();
    let take: fn(&mut Inventory) = |inventory| inventory.spec.sync_uid = "of another".to_owned();
    for spoil in [truncate, take] {
        let mut world = World::settled();
        assert!(world.apply_inventory(inventory("a", &id)).is_empty());
        let mut spoiled = inventory("a", &id);
        spoil(&mut spoiled);
        assert_eq!(words(&world.apply_inventory(spoiled)), ["pass a"]);
        assert!(locked(&world.context.claims).other(&id, &key("b")).is_some(), "nobody may take it meanwhile");
    }
}

/// The claims of a pass are written ahead without what was read; of one that could not record its end, only that is there.
#[tokio::test]
async fn what_a_pass_that_recorded_nothing_was_given_is_not_believed_any_more() {
    let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() };
    for (end, kept) in [(End::Superseded, false), (End::Untouched, true)] {
        let mut world = World::settled();
        world.apply_inventory(inventory("a", &id));
        let actions = world.handle(drift(key("a")));
        assert!(pass(&actions).pass.inventory.is_some());
        world.passed(&actions, end.clone());
        assert_eq!(world.engine.inventories.contains_key(&key("a")), kept, "{end:?}");
        assert!(locked(&world.context.claims).other(&id, &key("b")).is_some(), "claimed all the same");
    }
}

#[tokio::test]
async fn an_operator_asks_for_a_pass_and_a_fetch() {
    let mut world = World::settled();
    let asked = BusEvent::Reconcile { namespace: "ns".to_owned(), name: "a".to_owned() };
    assert_eq!(words(&world.handle(Event::Bus(asked))), ["fetch s", "pass a"]);
    let unknown = BusEvent::Reconcile { namespace: "ns".to_owned(), name: "nobody".to_owned() };
    assert!(world.handle(Event::Bus(unknown)).is_empty());
}

#[tokio::test]
async fn failures_are_retried_later_and_later() {
    let mut world = World::settled();
    let failed = |text: &str| End::Failed(Failure::reconciliation(text.to_owned()));
    let mut actions = world.handle(drift(key("a")));
    for wait in [60, 120] {
        assert!(world.passed(&actions, failed("503")).is_empty());
        assert!(world.wait(wait - 1).iter().all(|a| !matches!(a, crate::engine::Action::Pass(_))));
        actions = world.wait(1);
        assert_eq!(pass(&actions).pass.trigger, Trigger::Retry);
    }
    assert!(world.passed(&actions, failed("503")).is_empty());
    assert_eq!(words(&world.push("s", 2)), ["pass a"], "a new revision does not wait");
    assert!(words(&world.handle(woken("s", 2))).contains(&"fetch s".to_owned()));
}

fn inventory(sync: &str, id: &ObjectId) -> Inventory {
    let entry = Entry { version: "v1".into(), uid: None, digest: None, claimed_at: 1, state: State::Claimed };
    let (entries, digest) = Owned([(id.clone(), entry)].into()).to_lines();
    let spec = InventorySpec {
        sync_uid: format!("uid of {sync}"),
        entries,
        digest,
        rebuilt: None,
        judged: None,
        brings: Vec::new(),
        read: None,
    };
    let mut inventory = Inventory::new(sync, spec);
    inventory.metadata.namespace = Some("ns".to_owned());
    inventory
}
