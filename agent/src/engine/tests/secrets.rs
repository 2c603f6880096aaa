//! Secrets of sources: which are watched, and when their change has a source look again.

use serde_json::json;
use towline_plan::schedule::hosts::Answer;

use super::world::{World, fetch, key, words};
use crate::cluster::{Change, ResourceEvent, SecretKey, SecretSeen};
use crate::engine::{Action, Event, FetchFailure};

fn secret(name: &str) -> SecretKey {
    SecretKey { namespace: "ns".to_owned(), name: name.to_owned() }
}

fn seen(version: Option<&str>) -> Event {
    Event::Secret(SecretSeen { secret: secret("git"), version: version.map(str::to_owned) })
}

fn read(actions: &[Action], version: Option<&str>) -> Event {
    let read = [(secret("git"), version.map(str::to_owned))].into();
    Event::SecretsRead { source: key("s"), number: fetch(actions).number, read }
}

fn failed(actions: &[Action]) -> Event {
    let failure = FetchFailure {
        message: "no Secret".to_owned(),
        retryable: false,
        retry_after: None,
        answer: Answer::Answered,
        reason: "AuthenticationFailed",
        verification: None,
    };
    Event::Fetched { source: key("s"), number: fetch(actions).number, result: Err(failure) }
}

/// A source with a Secret, and what is done first.
fn world() -> (World, Vec<Action>) {
    let mut world = World::new();
    let source = world.source("s", json!({"secretRef": {"name": "git"}}));
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![source]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(Vec::new()))));
    let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    (world, actions)
}

#[tokio::test]
async fn a_secret_that_appears_has_its_source_look_at_once() {
    let (mut world, first) = world();
    assert_eq!(words(&first), ["fetch s", "write s", "watch 1", "listen 1"]);
    let write = world.answer(super::world::write(&first));
    world.handle(write);
    world.handle(read(&first, None));
    world.handle(seen(None));
    let actions = world.handle(failed(&first));
    assert_eq!(words(&actions), ["write s"]);
    world.written(&actions);
    let again = world.handle(seen(Some("7")));
    assert_eq!(words(&again), ["fetch s"]);
    world.handle(read(&again, Some("7")));
    let actions = world.fetched(&again, 1);
    world.written(&actions);
    assert!(words(&world.handle(seen(Some("7")))).is_empty(), "it was read");
}

#[tokio::test]
async fn a_change_during_a_fetch_is_not_lost_and_a_watch_that_is_behind_goes_not_round() {
    let (mut world, first) = world();
    let write = world.answer(super::world::write(&first));
    world.handle(write);
    // Seen before it was read, and the read was before the change.
    world.handle(seen(Some("8")));
    world.handle(read(&first, Some("7")));
    let actions = world.handle(failed(&first));
    let actions = if words(&actions).contains(&"fetch s".to_owned()) { actions } else { world.written(&actions) };
    assert!(words(&actions).contains(&"fetch s".to_owned()), "{:?}", words(&actions));
    // The watch shows 8 while 9 is read already: that was looked for once.
    world.handle(read(&actions, Some("9")));
    let actions = world.handle(failed(&actions));
    assert!(!words(&actions).contains(&"fetch s".to_owned()), "{:?}", words(&actions));
    assert!(words(&world.handle(seen(Some("9")))).is_empty());
}

#[tokio::test]
async fn what_no_source_names_is_not_watched() {
    let (mut world, first) = world();
    let write = world.answer(super::world::write(&first));
    world.handle(write);
    let other = world.source("s", json!({"proxySecretRef": {"name": "proxy"}}));
    let actions = world.handle(Event::Resource(ResourceEvent::Source(None, Change::Applied(other.clone()))));
    assert!(words(&actions).contains(&"watch 1".to_owned()), "{:?}", words(&actions));
    let actions = world.handle(Event::Resource(ResourceEvent::Source(None, Change::Gone(other))));
    assert!(words(&actions).contains(&"watch 0".to_owned()), "{:?}", words(&actions));
}
