//! Syncs that depend on others: what a pass is told of them, who is woken, and which references are refused.

use serde_json::json;
use towline_plan::object::SyncKey;
use towline_plan::schedule::sync::Trigger;
use towline_plan::wait::Wait;

use super::world::{World, key, pass, words, write};
use crate::api::Sync;
use crate::cluster::{Change, ResourceEvent};
use crate::engine::{Action, Event};
use crate::pass::{End, Failure, Follows, Pass, Reason};

/// Sync `b`, which depends on `a`, and `a`, both of source `s`, with the first passes of both begun.
fn dependent() -> (World, Vec<Action>) {
    let mut world = World::new();
    let source = world.source("s", json!({}));
    let syncs = vec![world.sync("a", "s", json!({})), world.sync("b", "s", json!({"dependsOn": [{"name": "a"}]}))];
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![source]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(syncs))));
    let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    let first = world.answer(write(&actions));
    world.fetched(&actions, 1);
    let actions = world.handle(first);
    let actions = world.written(&actions);
    assert_eq!(words(&actions), ["pass a", "pass b"]);
    (world, actions)
}

fn waits_for(name: &str) -> End {
    End::Waiting(vec![Wait::Dependencies(vec![(key(name), "not done at this revision".to_owned())])])
}

/// The pass of one Sync among these actions.
fn of<'a>(actions: &'a [Action], name: &str) -> &'a Pass {
    let pass = actions.iter().find_map(|action| match action {
        Action::Pass(job) if job.pass.key.name == name => Some(&job.pass),
        _ => None,
    });
    pass.unwrap_or_else(|| panic!("no pass of {name} in {:?}", words(actions)))
}

fn ready(mut sync: Sync, status: &str) -> Sync {
    let generation = sync.metadata.generation;
    let condition = json!({"type": "Ready", "status": status, "reason": "R", "message": "", "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    sync.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
    sync
}

#[tokio::test]
async fn a_sync_that_waits_runs_in_the_moment_in_which_what_it_waits_for_is_done() {
    let (mut world, actions) = dependent();
    let needs = &of(&actions, "b").needs;
    assert_eq!((needs.dependencies.len(), &needs.cycle), (1, &None));
    assert_eq!(needs.dependencies[0].revision, Follows::NotYet(None));
    assert!(of(&actions, "a").needs.dependencies.is_empty());

    let (first, second) = actions.split_at(1);
    assert!(world.passed(second, waits_for("a")).is_empty());
    let woken = world.passed(first, End::Succeeded);
    assert_eq!((words(&woken), of(&woken, "b").trigger), (vec!["pass b".to_owned()], Trigger::Progress));
    assert_eq!(of(&woken, "b").needs.dependencies[0].revision, Follows::Done);
    assert!(world.passed(&woken, End::Succeeded).is_empty());
    let again = world.sync("a", "s", json!({}));
    assert!(world.apply_sync(ready(again, "True")).is_empty(), "nobody waits any more");
}

#[tokio::test]
async fn what_moves_while_the_pass_looks_is_looked_at_again() {
    let (mut world, actions) = dependent();
    let (first, second) = actions.split_at(1);
    assert!(world.passed(first, End::Succeeded).is_empty(), "b runs, with what was known when it began");
    assert_eq!(words(&world.passed(second, waits_for("a"))), ["pass b"]);
}

#[tokio::test]
async fn a_status_that_changes_wakes_and_one_that_says_the_same_does_not() {
    let (mut world, actions) = dependent();
    let (first, second) = actions.split_at(1);
    world.passed(second, waits_for("a"));
    world.passed(first, End::Failed(Failure::reconciliation("no".to_owned())));
    let failed = world.sync("a", "s", json!({}));
    let actions = world.apply_sync(ready(failed, "False"));
    assert_eq!(words(&actions), ["pass b"]);
    world.passed(&actions, waits_for("a"));
    let same = world.sync("a", "s", json!({}));
    assert!(world.apply_sync(ready(same, "False")).is_empty());
    let healed = world.sync("a", "s", json!({}));
    assert_eq!(words(&world.apply_sync(ready(healed, "True"))), ["pass b"]);
}

#[tokio::test]
async fn a_newer_revision_ends_a_wait() {
    let (mut world, actions) = dependent();
    let (first, second) = actions.split_at(1);
    world.passed(second, waits_for("a"));
    world.passed(first, End::Failed(Failure::build("broken".to_owned())));
    let actions = world.push("s", 2);
    assert_eq!(words(&actions), ["pass a", "pass b"]);
    assert_eq!(of(&actions, "b").needs.dependencies[0].revision, Follows::NotYet(None));
    assert_eq!(of(&actions, "b").trigger, Trigger::Revision);
}

#[tokio::test]
async fn one_that_does_not_exist_is_waited_for_until_it_does() {
    let (mut world, actions) = dependent();
    let gone = world.sync("a", "s", json!({}));
    world.passed(&actions[1..], End::Succeeded);
    world.passed(&actions[..1], End::Succeeded);
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Gone(gone))));
    let running = world.push("s", 2);
    assert!(of(&running, "b").needs.dependencies[0].sync.is_none());
    assert!(world.passed(&running, waits_for("a")).is_empty());
    let created = world.sync("a", "s", json!({}));
    assert_eq!(words(&world.apply_sync(created)), ["pass a", "pass b"]);
}

#[tokio::test]
async fn a_circle_is_named_and_ends_where_one_of_it_changes() {
    let (mut world, actions) = dependent();
    world.passed(&actions[1..], End::Succeeded);
    world.passed(&actions[..1], End::Succeeded);
    let closed = world.sync("a", "s", json!({"dependsOn": [{"name": "b"}]}));
    let running = world.apply_sync(closed);
    let cycle = [key("a"), key("b"), key("a")];
    assert_eq!(of(&running, "a").needs.cycle.as_deref(), Some(cycle.as_slice()));
    let stalled = || {
        let (message, retryable) = ("a circle".to_owned(), false);
        End::Failed(Failure { reason: Reason::DependencyCycle, message, retryable })
    };
    assert!(world.passed(&running, stalled()).is_empty());
    assert!(world.wait(60).iter().all(|action| !matches!(action, Action::Pass(_))), "nothing is tried again");
    let open = world.sync("b", "s", json!({"path": "./b"}));
    let actions = world.apply_sync(open);
    assert_eq!(words(&actions), ["pass a", "pass b"]);
    assert_eq!(of(&actions, "a").needs.cycle, None);
}

#[tokio::test]
async fn references_into_other_namespaces_are_refused_unless_allowed() {
    let source = || json!({"sourceRef": {"kind": "GitSource", "name": "s", "namespace": "other"}});
    let dependency = || json!({"dependsOn": [{"name": "a", "namespace": "other"}]});
    for spec in [source(), dependency()] {
        let mut world = World::settled();
        let sync = world.sync("b", "s", spec);
        let actions = world.apply_sync(sync);
        let Some(Action::Explain(explanation)) = actions.first() else { panic!("{:?}", words(&actions)) };
        assert_eq!((explanation.why.reason, explanation.why.stalled), ("AccessDenied", true));
        assert!(explanation.why.message.contains(" other/"), "{}", explanation.why.message);
        assert!(
            world.push("s", 2).iter().all(|action| !words(std::slice::from_ref(action)).contains(&"pass b".into()))
        );
    }
    let mut world = World::settled();
    world.allow_cross_namespace();
    let sync = world.sync("b", "s", dependency());
    let actions = world.apply_sync(sync);
    let other = SyncKey { namespace: "other".to_owned(), name: "a".to_owned() };
    assert_eq!(pass(&actions).pass.needs.dependencies[0].key, other);
}

#[tokio::test]
async fn a_status_that_could_not_be_written_is_tried_again() {
    let mut world = World::settled();
    let running = world.push("s", 2);
    assert!(world.unwritten(&running, End::Succeeded).is_empty());
    assert!(world.next().unwrap() <= 66, "{:?}", world.next());
}
