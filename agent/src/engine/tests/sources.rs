//! Sources: what is fetched when, what is recorded before anybody works from it, and whether events can arrive.

use serde_json::json;
use towline_plan::schedule::hosts::Answer;

use super::world::{World, commit, drift, fetch, interest, key, pass, woken, words, write};
use crate::api::{self, ConditionStatus, REQUESTED_AT};
use crate::bus::BusEvent;
use crate::cluster::{Change, ResourceEvent};
use crate::engine::{Action, Brought, Event, FetchFailure, OpenMirror, fetching};
use crate::pass::{End, Revision};
use crate::signature::Verified;

fn events_ready(world: &World, name: &str) -> (bool, String) {
    let verdict = world.engine.sources[&key(name)].wanted.events.clone().unwrap();
    (verdict.status == ConditionStatus::True, verdict.reason)
}

#[tokio::test]
async fn nothing_is_decided_before_all_lists_are_complete() {
    let mut world = World::new();
    let source = world.source("s", json!({}));
    let sync = world.sync("a", "s", json!({}));
    let list = |sources| Event::Resource(ResourceEvent::Source(None, Change::Listed(sources)));
    assert!(world.handle(list(vec![source.clone()])).is_empty());
    // A watch that was lost lists again: that is not the list of the inventories, which is still to come.
    assert!(world.handle(list(vec![source.clone()])).is_empty());
    assert!(world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(vec![sync])))).is_empty());
    assert!(world.handle(list(vec![source])).is_empty());
    assert!(!world.engine.is_listed());
    assert_eq!(world.next(), None);
    let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    assert_eq!(words(&actions), ["fetch s", "write s", "listen 1"]);
}

#[tokio::test]
async fn a_tip_is_recorded_before_anybody_works_from_it() {
    let (mut world, actions) = World::with(&["s"], &[("a", "s")]);
    let first_write = world.answer(write(&actions));
    let actions = world.fetched(&actions, 1);
    assert!(words(&actions).is_empty(), "one write at a time");
    let actions = world.handle(first_write);
    assert_eq!(words(&actions), ["write s"]);
    assert_eq!(write(&actions).wanted.tip, Some(commit(1)));
    let actions = world.written(&actions);
    assert_eq!(words(&actions), ["pass a"]);
}

#[tokio::test]
async fn an_event_wakes_the_sources_of_its_repository_and_ref_only() {
    let (mut world, actions) = World::with(&["one", "two"], &[]);
    assert_eq!(words(&actions), ["fetch one", "fetch two", "write one", "write two", "listen 2"]);
    world.handle(Event::Fetched {
        source: key("one"),
        number: 1,
        result: Ok(Brought { mirror: world.mirror(), verified: Verified::for_test(commit(1)), tag: None }),
    });
    world.handle(Event::Fetched {
        source: key("two"),
        number: 2,
        result: Ok(Brought { mirror: world.mirror(), verified: Verified::for_test(commit(1)), tag: None }),
    });
    let (one, two) = (world.answer(write(&actions[2..])), world.answer(write(&actions[3..])));
    let (one, two) = (world.handle(one), world.handle(two));
    world.written(&one);
    world.written(&two);
    assert_eq!(words(&world.handle(woken("two", 2))), ["fetch two"]);
    assert!(world.handle(woken("unknown", 2)).is_empty());
    let Event::Bus(BusEvent::Woken { repository, event, .. }) = woken("one", 2) else { unreachable!() };
    let reference = towline_proto::RefName::parse("refs/heads/other").unwrap();
    let other = BusEvent::Woken { repository, reference, event, undecodable: None };
    assert!(world.handle(Event::Bus(other)).is_empty());
}

#[tokio::test]
async fn an_event_that_cannot_be_read_wakes_as_well() {
    let mut world = World::settled();
    let (repository, reference) = (interest("s").repository.token(), interest("s").reference);
    let event = BusEvent::Woken { repository, reference, event: None, undecodable: Some("truncated".to_owned()) };
    assert_eq!(words(&world.handle(Event::Bus(event))), ["fetch s"]);
}

#[tokio::test]
async fn a_failed_fetch_is_said_and_the_last_revision_stays() {
    let mut world = World::settled();
    let actions = world.handle(woken("s", 2));
    let failure = FetchFailure {
        message: "connection refused".to_owned(),
        retryable: true,
        retry_after: None,
        answer: Answer::Answered,
        reason: "GitOperationFailed",
        verification: None,
    };
    let number = fetch(&actions).number;
    let actions = world.handle(Event::Fetched { source: key("s"), number, result: Err(failure) });
    assert_eq!(words(&actions), ["write s"]);
    assert_eq!(write(&actions).wanted.tip, Some(commit(1)));
    assert!(world.written(&actions).is_empty(), "the Sync has no reason to run");
    assert_eq!(world.next(), Some(2), "the fetch is tried again");
    assert_eq!(words(&world.handle(drift(key("a")))), ["pass a"], "drift is reverted while Git is down");
}

#[tokio::test]
async fn a_server_that_asks_to_be_left_alone_hears_nothing_whoever_sends_events() {
    let mut world = World::settled();
    let actions = world.handle(woken("s", 2));
    let failure = FetchFailure {
        message: "HTTP 429".to_owned(),
        retryable: true,
        retry_after: Some(std::time::Duration::from_secs(200)),
        answer: Answer::Answered,
        reason: "GitOperationFailed",
        verification: None,
    };
    let number = fetch(&actions).number;
    let actions = world.handle(Event::Fetched { source: key("s"), number, result: Err(failure) });
    world.written(&actions);
    assert_eq!(words(&world.handle(woken("s", 3))), [""; 0]);
    assert_eq!(words(&world.wait(150)), [""; 0]);
    assert_eq!(words(&world.wait(100)), ["fetch s"], "a tenth later at the most");
}

/// A fetch that fails so, and its status written. Answers with what was told since the last time.
fn failed(world: &mut World, actions: &[Action], message: &str) -> Vec<String> {
    let failure = FetchFailure {
        message: message.to_owned(),
        retryable: true,
        retry_after: None,
        answer: Answer::Answered,
        reason: "GitOperationFailed",
        verification: None,
    };
    let number = fetch(actions).number;
    let actions = world.handle(Event::Fetched { source: key("s"), number, result: Err(failure) });
    if !actions.is_empty() {
        world.written(&actions);
    }
    world.told()
}

#[tokio::test]
async fn a_failure_is_told_once_for_each_cause_and_so_is_its_end() {
    let mut world = World::settled();
    assert_eq!(world.told(), ["poll NewArtifact -"]);
    let actions = world.handle(woken("s", 2));
    assert_eq!(failed(&mut world, &actions, "refused"), ["event GitOperationFailed delivery-2"]);
    let again = world.wait(3);
    assert_eq!(failed(&mut world, &again, "refused"), [""; 0], "the same cause");
    let again = world.wait(6);
    assert_eq!(failed(&mut world, &again, "HTTP 500"), ["event GitOperationFailed delivery-2"], "another");
    // What the event announced is not served yet: it works again, which is told, and nothing is new.
    let again = world.wait(20);
    let actions = world.fetched(&again, 1);
    world.written(&actions);
    assert_eq!(world.told(), ["event Succeeded delivery-2"]);
    let again = world.wait(1);
    let actions = world.fetched(&again, 2);
    world.written(&actions);
    assert_eq!(world.told(), ["event NewArtifact delivery-2"]);
    let again = world.wait(400);
    world.fetched(&again, 2);
    assert_eq!(world.told(), [""; 0], "a poll that finds nothing");
    let again = world.wait(400);
    let actions = world.fetched(&again, 3);
    world.written(&actions);
    assert_eq!(world.told(), ["poll NewArtifact -"]);
}

#[tokio::test]
async fn what_was_told_before_a_restart_is_not_told_again() {
    let mut before = World::settled();
    let actions = before.handle(woken("s", 2));
    failed(&mut before, &actions, "refused");
    let mut stored = before.stored("s");
    stored.metadata.resource_version = Some("1".to_owned());
    let mut world = World::new();
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![stored]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(Vec::new()))));
    let start = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    assert_eq!(words(&start), ["fetch s", "listen 1"]);
    assert_eq!(failed(&mut world, &start, "refused"), [""; 0]);
    let again = world.wait(6);
    let actions = world.fetched(&again, 1);
    assert_eq!(words(&actions), ["write s"]);
    world.written(&actions);
    assert_eq!(world.told(), ["poll Succeeded -"]);
}

#[tokio::test]
async fn another_tip_right_after_a_restart_needs_a_second_look() {
    let mut stored = World::settled().stored("s");
    stored.metadata.resource_version = Some("1".to_owned());
    let mut world = World::new();
    world.now += jiff::SignedDuration::from_secs(30);
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![stored]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(Vec::new()))));
    let start = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    assert_eq!(words(&world.fetched(&start, 0)), [""; 0], "the host may lag");
    assert_eq!(world.next(), Some(5));
    let again = world.wait(5);
    assert_eq!(write(&world.fetched(&again, 0)).wanted.tip, Some(commit(0)), "it is so");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_taken_up_and_told_when_the_watch_shows_it() {
    let mut world = World::settled();
    let actions = world.handle(woken("s", 2));
    let actions = world.fetched(&actions, 2);
    world.answer(write(&actions));
    assert!(world.handle(Event::Written { source: key("s"), result: Err("timeout".to_owned()) }).is_empty());
    world.told();
    let seen = world.stored("s");
    assert_eq!(words(&world.apply_source(seen)), ["pass a"], "at once: no moment is waited for");
    assert_eq!(world.told(), ["event NewArtifact delivery-2"]);
}

#[tokio::test]
async fn a_spec_that_cannot_be_followed_is_told() {
    let (mut world, _) = World::with(&[], &[]);
    let broken = world.source("s", json!({"ref": {}}));
    let actions = world.apply_source(broken);
    world.written(&actions);
    assert_eq!(world.told(), ["settings InvalidSpec -"]);
}

#[tokio::test]
async fn a_failed_status_write_is_retried_after_two_seconds() {
    let mut world = World::settled();
    let actions = world.handle(woken("s", 2));
    let actions = world.fetched(&actions, 2);
    assert_eq!(words(&actions), ["write s"]);
    assert!(world.handle(Event::Written { source: key("s"), result: Err("503".to_owned()) }).is_empty());
    assert_eq!(world.next(), Some(2));
    assert!(world.wait(1).is_empty());
    let actions = world.wait(1);
    assert_eq!(words(&actions), ["write s"]);
    assert_eq!(words(&world.written(&actions)), ["pass a"]);
}

#[tokio::test]
async fn what_the_status_recorded_is_worked_from_before_git_answers() {
    let settled = World::settled();
    let recorded = settled.stored("s");
    let mut world = World::new();
    let sync = world.sync("a", "s", json!({}));
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![recorded]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(vec![sync]))));
    let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    let revision: Revision = fetch(&actions).recorded.clone().unwrap();
    assert_eq!(revision.commit, commit(1));
    let recovered = recovered(&revision, world.mirror());
    let passes = world.handle(recovered);
    assert_eq!(words(&passes), ["pass a"]);
    world.passed(&passes, End::Succeeded);
    let after = world.fetched(&actions, 1);
    assert!(!words(&after).contains(&"pass a".to_owned()), "the same commit is no news: {:?}", words(&after));
    assert_eq!(world.engine.sources[&key("s")].revision.as_ref().map(|r| r.sequence), Some(revision.sequence));
}

/// A process that begins so long after another one has published commit 2, and what it does first.
fn started_after(seconds: i64) -> (World, Vec<Action>) {
    let mut before = World::settled();
    let actions = before.push("s", 2);
    before.passed(&actions, End::Succeeded);
    let mut stored = before.stored("s");
    stored.metadata.resource_version = Some("1".to_owned());
    let mut world = World::new();
    world.now = before.now + jiff::SignedDuration::from_secs(seconds);
    let sync = world.sync("a", "s", json!({}));
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![stored]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(vec![sync]))));
    let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    (world, actions)
}

#[tokio::test]
async fn a_start_does_not_roll_back_to_what_a_lagging_host_serves() {
    let (mut world, actions) = started_after(10);
    assert_eq!(words(&world.fetched(&actions, 1)), [""; 0], "it may be what was superseded a moment ago");
    assert_eq!(world.next(), Some(5));
    let actions = world.wait(5);
    assert_eq!(words(&world.fetched(&actions, 2)), ["pass a"], "what is recorded is worked from at once");
    let (mut world, actions) = started_after(10);
    world.fetched(&actions, 1);
    let actions = world.wait(5);
    assert_eq!(words(&world.fetched(&actions, 1)), ["write s"], "somebody has pushed it back");
    let (mut world, actions) = started_after(60);
    assert_eq!(words(&world.fetched(&actions, 3)), ["write s"], "a push while nobody looked");
}

#[tokio::test]
async fn the_last_event_that_is_heard_again_after_a_start_is_no_ones_cause() {
    let (mut world, actions) = started_after(100);
    world.handle(woken("s", 2));
    let actions = world.fetched(&actions, 2);
    assert_eq!(words(&actions), ["fetch s", "pass a"]);
    assert_eq!(pass(&actions).pass.revision.delivery, None);
    world.fetched(&actions, 2);
    world.passed(&actions, End::Succeeded);
    let passes = world.push("s", 3);
    assert_eq!(pass(&passes).pass.revision.delivery.as_deref(), Some("delivery-3"));
}

#[tokio::test]
async fn an_event_is_done_with_when_each_sync_has_ended_a_pass_at_what_it_led_to() {
    let mut world = World::settled();
    assert_eq!(world.engine.oldest_event(), None);
    let heard = world.now;
    let fetching = world.handle(woken("s", 2));
    world.wait(1);
    world.handle(woken("s", 2));
    assert_eq!(world.engine.oldest_event(), Some(heard));
    let actions = world.fetched(&fetching, 2);
    let first = world.answer(write(&actions));
    world.fetched(&actions, 2);
    let passes = world.handle(first);
    assert_eq!(world.engine.oldest_event(), Some(heard), "applied by nobody");
    world.passed(&passes, End::Failed(crate::pass::Failure::build("a mistake".to_owned())));
    assert_eq!(world.engine.oldest_event(), None, "what is wrong is said by the condition");
    // Of what is known already nothing is expected; what is never found is given up.
    world.handle(woken("s", 2));
    assert_eq!(world.engine.oldest_event(), None);
}

#[tokio::test]
async fn what_a_suspended_source_had_fetched_stays_in_use_over_a_restart() {
    let mut stored = World::settled().stored("s");
    stored.spec.suspend = true;
    let mut world = World::new();
    let sync = world.sync("a", "s", json!({}));
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![stored]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(vec![sync]))));
    let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    let Some(Action::Recover { revision, .. }) = actions.iter().find(|a| matches!(a, Action::Recover { .. })) else {
        panic!("{:?}", words(&actions))
    };
    let recovered = recovered(revision, world.mirror());
    assert_eq!(words(&world.handle(recovered)), ["pass a"]);
    assert!(!words(&world.wait(3_600)).iter().any(|word| word.starts_with("recover")), "once is enough");
}

#[tokio::test]
async fn a_fetch_of_what_is_followed_no_longer_does_not_count() {
    let mut world = World::settled();
    let old = world.handle(woken("s", 2));
    let moved = world.source("s", json!({"ref": {"branch": "release"}}));
    let new = world.apply_source(moved);
    assert!(words(&new).contains(&"fetch s".to_owned()), "{:?}", words(&new));
    let late = world.fetched(&old, 2);
    assert!(late.is_empty(), "a commit of main is no tip of release: {:?}", words(&late));
    assert_eq!(words(&world.handle(drift(key("a")))), ["pass a"], "the last good state keeps running meanwhile");
    let unsubscribed = world.answer(write(&new));
    world.fetched(&new, 3);
    let actions = world.handle(unsubscribed);
    assert_eq!(write(&actions).wanted.tip, Some(commit(3)));
}

#[tokio::test]
async fn a_spec_that_came_with_the_answer_to_a_write_is_not_missed() {
    let mut world = World::settled();
    let actions = world.handle(woken("s", 2));
    let actions = world.fetched(&actions, 2);
    let Event::Written { source, result: Ok(mut object) } = world.answer(write(&actions)) else { unreachable!() };
    let changed = world.source("s", json!({"interval": "7s"}));
    (object.spec, object.metadata.generation) = (changed.spec, changed.metadata.generation);
    let actions = world.handle(Event::Written { source, result: Ok(object) });
    assert!(words(&actions).contains(&"fetch s".to_owned()), "{:?}", words(&actions));
}

#[tokio::test]
async fn own_echoes_cause_no_work_and_a_request_causes_one_fetch() {
    let mut world = World::settled();
    let mut echo = world.stored("s");
    assert!(world.apply_source(echo.clone()).is_empty());
    echo.metadata.annotations = Some([(REQUESTED_AT.to_owned(), "now".to_owned())].into());
    echo.metadata.resource_version = Some("900".to_owned());
    let actions = world.apply_source(echo.clone());
    assert_eq!(words(&actions), ["fetch s"]);
    echo.metadata.resource_version = Some("901".to_owned());
    assert!(world.apply_source(echo).is_empty());
    let actions = world.fetched(&actions, 1);
    assert_eq!(write(&actions).wanted.handled.as_deref(), Some("now"));
}

#[tokio::test]
async fn a_request_is_not_answered_by_a_fetch_that_began_before_it() {
    let mut world = World::settled();
    let running = world.handle(woken("s", 2));
    let mut asked = world.stored("s");
    asked.metadata.annotations = Some([(REQUESTED_AT.to_owned(), "now".to_owned())].into());
    asked.metadata.resource_version = Some("900".to_owned());
    assert!(world.apply_source(asked).is_empty(), "one fetch at a time");
    let actions = world.fetched(&running, 2);
    assert_eq!(words(&actions), ["fetch s", "write s"]);
    assert_eq!(write(&actions).wanted.handled, None);
    let first = world.answer(write(&actions));
    world.fetched(&actions, 2);
    let actions = world.handle(first);
    assert_eq!(write(&actions).wanted.handled.as_deref(), Some("now"));
}

#[tokio::test]
async fn what_was_found_for_one_spec_is_not_written_to_another() {
    let mut world = World::settled();
    let judged = world.stored("s");
    let mut touched = judged.clone();
    touched.metadata.resource_version = Some("900".to_owned());
    touched.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
    assert!(fetching::is_still(&judged, &touched), "that is taken in");
    touched.status.as_mut().unwrap().sequence = Some(u64::MAX);
    assert!(!fetching::is_still(&judged, &touched), "another replica has published meanwhile");
    let moved = world.source("s", json!({"ref": {"branch": "release"}}));
    assert!(!fetching::is_still(&judged, &moved));
    let mut again = judged.clone();
    again.metadata.uid = Some("another".to_owned());
    assert!(!fetching::is_still(&judged, &again));
}

#[tokio::test]
async fn another_ref_is_not_ready_because_the_one_before_was() {
    let mut world = World::settled();
    let mut moved = world.source("s", json!({"ref": {"branch": "release"}}));
    moved.status = world.stored("s").status;
    let actions = world.apply_source(moved);
    let written = write(&actions);
    let status = crate::engine::source::status(&written.object, &written.wanted, world.now);
    assert_ne!(status.observed_generation, written.object.metadata.generation, "nobody has looked at it yet");
    assert!(status.revision.unwrap().starts_with("main@"));
}

#[tokio::test]
async fn a_suspended_source_is_neither_fetched_nor_listened_for() {
    let mut world = World::settled();
    let suspended = world.source("s", json!({"suspend": true}));
    let actions = words(&world.apply_source(suspended));
    assert!(actions.contains(&"listen 0".to_owned()) && !actions.contains(&"fetch s".to_owned()), "{actions:?}");
    assert!(!words(&world.handle(woken("s", 2))).contains(&"fetch s".to_owned()));
    assert!(!words(&world.wait(3_600)).contains(&"fetch s".to_owned()));
}

#[tokio::test]
async fn events_are_ready_while_the_subscription_stands() {
    let mut world = World::settled();
    assert_eq!(events_ready(&world, "s"), (false, "Progressing".to_owned()));
    let actions = world.handle(Event::Bus(BusEvent::Subscribed { interest: interest("s") }));
    assert_eq!(words(&actions), ["write s"]);
    world.written(&actions);
    let actions = world.handle(Event::Bus(BusEvent::Disconnected { reason: "connection reset".to_owned() }));
    let conditions =
        crate::engine::source::status(&write(&actions).object, &write(&actions).wanted, world.now).conditions;
    let events = conditions.iter().find(|c| c.type_ == api::EVENTS_READY).unwrap();
    assert_eq!((events.status.as_str(), events.message.as_str()), ("False", "connection reset"));
    world.written(&actions);
    world.handle(Event::Bus(BusEvent::Connected));
    let actions = world.handle(Event::Bus(BusEvent::Subscribed { interest: interest("s") }));
    assert_eq!(words(&actions), ["write s"]);
    assert_eq!(events_ready(&world, "s"), (true, "Subscribed".to_owned()));
    let reason = "permissions violation".to_owned();
    world.handle(Event::Bus(BusEvent::Unsubscribable { interest: interest("s"), reason }));
    assert_eq!(events_ready(&world, "s"), (false, "Denied".to_owned()));
}

#[tokio::test]
async fn a_source_that_comes_later_hears_what_is_heard_already() {
    let mut world = World::settled();
    world.handle(Event::Bus(BusEvent::Subscribed { interest: interest("s") }));
    let second = world.source("again", json!({"url": "https://git.example/org/s.git"}));
    assert!(!words(&world.apply_source(second)).contains(&"listen 1".to_owned()), "the server is not asked twice");
    assert_eq!(events_ready(&world, "again"), (true, "Subscribed".to_owned()));
}

fn recovered(revision: &Revision, mirror: OpenMirror) -> Event {
    let verified = Verified::for_test(revision.commit.clone());
    Event::Recovered { source: key("s"), revision: revision.clone(), verified, mirror }
}
