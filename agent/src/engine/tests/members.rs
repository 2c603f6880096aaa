//! A replica among others: what it does for what is its own, and for what is not.

use std::collections::BTreeSet;
use towline_plan::schedule::hosts::Answer;

use serde_json::json;
use towline_plan::members::{Matter, Share};
use towline_plan::object::SyncKey;
use towline_plan::schedule::sync::{Look, Trigger};

use super::world::{World, commit, drift, fetch, key, pass, woken, words};
use crate::api::{GitSource, GitSourceStatus, Sync};
use crate::cluster::{Change, ResourceEvent};
use crate::engine::{Action, Event, FetchFailure, Read};
use crate::pass::End;

/// The share of the replica `me` among `me` and `other`.
pub(super) fn half() -> Share {
    let members = ["me", "other"].map(str::to_owned).into();
    Share::Part { own: "me".to_owned(), members }
}

pub(super) fn whole() -> Share {
    Share::Part { own: "me".to_owned(), members: BTreeSet::from(["me".to_owned()]) }
}

/// The first of `a0`, `a1`, … that is this replica's among two, or is not.
fn name(of: fn(&SyncKey) -> Matter<'_>, prefix: &str, own: bool) -> String {
    let names = (0..).map(|n| format!("{prefix}{n}"));
    names.into_iter().find(|name| half().owns(of(&key(name))) == own).unwrap()
}

pub(super) fn sync(own: bool) -> String {
    name(|key| Matter::Sync(key), "a", own)
}

fn source(own: bool) -> String {
    name(|key| Matter::Source(key), "s", own)
}

/// A replica that has listed a source and a Sync of it, and has just got its share.
fn joined(source: &str, sync: &str, share: Share) -> (World, Vec<Action>) {
    let mut world = World::new();
    world.handle(Event::Divided(Share::Nothing));
    let (of, a) = (world.source(source, json!({})), world.sync(sync, source, json!({})));
    world.handle(Event::Resource(ResourceEvent::Source(None, Change::Listed(vec![of]))));
    world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Listed(vec![a]))));
    let actions = world.handle(Event::Resource(ResourceEvent::Inventory(None, Change::Listed(Vec::new()))));
    assert_eq!(words(&actions), Vec::<String>::new(), "nothing is its own yet");
    assert_eq!(world.next(), None);
    let actions = world.handle(Event::Divided(share));
    (world, actions)
}

/// The first read of these actions is answered with these.
fn read(world: &mut World, actions: &[Action], syncs: Vec<Sync>, sources: Vec<GitSource>) -> Vec<Action> {
    let number = number(actions);
    let syncs = syncs.into_iter().map(|sync| (crate::engine::key(&sync), Ok(Some(Box::new(sync))))).collect();
    world.handle(Event::Read { number, syncs, sources })
}

fn number(actions: &[Action]) -> u64 {
    let number = actions.iter().find_map(|action| match action {
        Action::Read(Read { number, .. }) => Some(*number),
        _ => None,
    });
    number.unwrap_or_else(|| panic!("no read in {:?}", words(actions)))
}

/// A source whose status names a commit, as its owner wrote it.
fn at(world: &mut World, name: &str, tip: u64, sequence: u64) -> GitSource {
    let mut source = world.source(name, json!({}));
    let revision = Some(format!("main@sha1:{}", commit(tip)));
    source.status = Some(GitSourceStatus { revision, sequence: Some(sequence), ..GitSourceStatus::default() });
    source
}

#[tokio::test]
async fn an_owner_of_a_source_writes_its_status_and_runs_no_pass_of_others() {
    let (source, sync) = (source(true), sync(false));
    let (mut world, actions) = joined(&source, &sync, half());
    assert_eq!(words(&actions), [format!("fetch {source}"), format!("write {source}"), "listen 1".to_owned()]);
    let first = world.answer(super::world::write(&actions));
    world.fetched(&actions, 1);
    let actions = world.handle(first);
    assert_eq!(words(&actions), [format!("write {source}")]);
    assert_eq!(words(&world.written(&actions)), Vec::<String>::new());
    assert_eq!(words(&world.handle(drift(key(&sync)))), Vec::<String>::new());
    assert_eq!(words(&world.wait(1_000)), [format!("fetch {source}")], "it polls");
    let gone = world.sync(&sync, &source, json!({}));
    let actions = world.handle(Event::Resource(ResourceEvent::Sync(None, Change::Gone(gone))));
    assert_eq!(words(&actions), Vec::<String>::new(), "its owner says so");
}

#[tokio::test]
async fn a_follower_fetches_with_the_owner_and_takes_up_what_the_owner_names() {
    let (source, sync) = (source(false), sync(true));
    let (mut world, actions) = joined(&source, &sync, half());
    assert_eq!(words(&actions), [format!("read {sync}"), format!("fetch {source}"), "listen 1".to_owned()]);
    let (fresh, of) = (world.sync(&sync, &source, json!({})), at(&mut world, &source, 1, 7));
    assert_eq!(words(&read(&mut world, &actions, vec![fresh], vec![of])), Vec::<String>::new());
    let actions = world.fetched(&actions, 1);
    assert_eq!(words(&actions), [format!("pass {sync}")]);
    assert_eq!(pass(&actions).pass.revision.sequence, 7);
    world.passed(&actions, End::Succeeded);
    let actions = world.wait(1_000);
    assert_eq!(words(&actions), [format!("pass {sync}")], "it does not poll");
    world.passed(&actions, End::Succeeded);

    // An event, and the follower is faster than the owner.
    let actions = world.handle(woken(&source, 2));
    assert_eq!(words(&actions), [format!("fetch {source}")]);
    assert_eq!(words(&world.fetched(&actions, 2)), Vec::<String>::new(), "the owner has not named it");
    let named = at(&mut world, &source, 2, 8);
    let running = world.apply_source(named);
    let revision = &pass(&running).pass.revision;
    assert_eq!((revision.sequence, revision.delivery.as_deref()), (8, Some("delivery-2")));

    // The owner has polled and found a newer one: the running pass is cut short as soon as that is fetched.
    let named = at(&mut world, &source, 3, 9);
    let actions = world.apply_source(named);
    assert_eq!(words(&actions), [format!("fetch {source}")]);
    assert!(!pass(&running).pass.halt.is_cancelled());
    world.fetched(&actions, 3);
    assert!(pass(&running).pass.halt.is_cancelled());
    assert_eq!(pass(&world.passed(&running, End::Superseded)).pass.revision.sequence, 9);
}

#[tokio::test]
async fn a_follower_looks_again_for_what_its_host_does_not_serve_yet() {
    let (source, sync) = (source(false), sync(true));
    let (mut world, actions) = joined(&source, &sync, half());
    let (fresh, of) = (world.sync(&sync, &source, json!({})), at(&mut world, &source, 2, 7));
    read(&mut world, &actions, vec![fresh], vec![of]);
    // The first fetch began before the status was read, so it says nothing: the next one is at once.
    let mut actions = world.fetched(&actions, 1);
    for wait in [0, 0, 0, 1, 2, 4, 8] {
        while actions.is_empty() {
            let next = world.next().unwrap();
            assert!(next <= wait, "{next} s instead of {wait}");
            world.now += jiff::SignedDuration::from_millis(250);
            actions = world.handle(Event::Due);
        }
        assert_eq!(words(&actions), [format!("fetch {source}")]);
        actions = world.fetched(&actions, 1);
    }
    // And then at every interval: it waits for nothing else.
    assert!(world.next().is_some_and(|next| next <= 330));
    let result = Err(FetchFailure {
        message: "refused".to_owned(),
        retryable: true,
        retry_after: None,
        answer: Answer::Answered,
        reason: "GitOperationFailed",
        verification: None,
    });
    let actions = world.wait(400);
    let number = fetch(&actions).number;
    let actions = world.handle(Event::Fetched { source: key(&source), number, result });
    assert_eq!(words(&actions), [format!("explain {sync}")]);
    let actions = world.wait(400);
    assert_eq!(words(&world.fetched(&actions, 2)), [format!("pass {sync}")]);
}

#[tokio::test]
async fn what_is_lost_ends_and_what_comes_back_starts_anew_from_what_the_api_server_has() {
    let (source, sync) = (source(true), sync(false));
    let (mut world, actions) = joined(&source, &sync, whole());
    let (fresh, of) = (world.sync(&sync, &source, json!({})), world.source(&source, json!({})));
    read(&mut world, &actions, vec![fresh], vec![of]);
    let first = world.answer(super::world::write(&actions));
    world.fetched(&actions, 1);
    let actions = world.handle(first);
    let running = world.written(&actions);
    assert_eq!(words(&running), [format!("pass {sync}")]);

    // Another replica has come.
    assert_eq!(words(&world.handle(Event::Divided(half()))), Vec::<String>::new());
    assert!(pass(&running).pass.halt.is_cancelled());
    // And has gone, before the pass has ended. It is read meanwhile, and waits.
    let actions = world.handle(Event::Divided(whole()));
    assert_eq!(words(&actions), [format!("read {sync}")]);
    let (fresh, of) = (world.sync(&sync, &source, json!({})), world.stored(&source));
    assert_eq!(words(&read(&mut world, &actions, vec![fresh], vec![of])), Vec::<String>::new());
    let again = world.passed(&running, End::Superseded);
    assert_eq!(words(&again), [format!("pass {sync}")]);
    let again = &pass(&again).pass;
    assert_eq!((again.trigger, again.look), (Trigger::Revision, Look::All));
}

#[tokio::test]
async fn a_read_from_before_a_loss_proves_nothing() {
    let (source, sync) = (source(false), sync(true));
    let (mut world, first) = joined(&source, &sync, half());
    world.handle(Event::Divided(Share::Nothing));
    let second = world.handle(Event::Divided(half()));
    assert_ne!(number(&first), number(&second));
    let (old, of) = (world.sync(&sync, &source, json!({})), at(&mut world, &source, 1, 7));
    read(&mut world, &first, vec![old], vec![of]);
    assert_eq!(words(&world.fetched(&second, 1)), Vec::<String>::new(), "it is still being read");
    let fresh = world.sync(&sync, &source, json!({}));
    assert_eq!(words(&read(&mut world, &second, vec![fresh], Vec::new())), [format!("pass {sync}")]);
}

/// A Sync comes to a replica that has its source at 7, while 8 is what the one before may have begun with. Answers with the
/// fetch that follows.
fn behind_what_was_attempted(source: &str, sync: &str) -> (World, Vec<Action>) {
    let (mut world, actions) = joined(source, sync, half());
    // The watch is behind: it shows sequence 7, which this replica has.
    let behind = at(&mut world, source, 1, 7);
    world.apply_source(behind);
    world.fetched(&actions, 1);
    let (fresh, of) = (world.sync(sync, source, json!({})), at(&mut world, source, 2, 8));
    let actions = read(&mut world, &actions, vec![fresh], vec![of]);
    assert_eq!(words(&actions), [format!("fetch {source}")], "no pass at 7");
    (world, actions)
}

#[tokio::test]
async fn nothing_older_is_applied_than_what_the_replica_before_may_have_begun_with() {
    let (source, sync) = (source(false), sync(true));
    let (mut world, actions) = behind_what_was_attempted(&source, &sync);
    assert_eq!(words(&world.handle(drift(key(&sync)))), Vec::<String>::new());
    let actions = world.fetched(&actions, 2);
    assert_eq!(pass(&actions).pass.revision.sequence, 8);
}

#[tokio::test]
async fn a_sync_that_rests_because_its_replica_cannot_fetch_what_was_attempted_says_so() {
    let (source, sync) = (source(false), sync(true));
    let (mut world, actions) = behind_what_was_attempted(&source, &sync);
    let result = Err(FetchFailure {
        message: "refused".to_owned(),
        retryable: true,
        retry_after: None,
        answer: Answer::Answered,
        reason: "GitOperationFailed",
        verification: None,
    });
    let number = fetch(&actions).number;
    let actions = world.handle(Event::Fetched { source: key(&source), number, result });
    let Some(Action::Explain(explanation)) = actions.first() else { panic!("{:?}", words(&actions)) };
    assert!(explanation.why.message.ends_with("the replica that runs this Sync cannot fetch: refused"));
    let actions = world.wait(3);
    assert_eq!(pass(&world.fetched(&actions, 2)).pass.revision.sequence, 8);
}

#[tokio::test]
async fn a_read_that_fails_is_tried_again() {
    let (source, sync) = (source(false), sync(true));
    let (mut world, actions) = joined(&source, &sync, half());
    let syncs = vec![(key(&sync), Err("503".to_owned()))];
    world.handle(Event::Read { number: number(&actions), syncs, sources: Vec::new() });
    assert_eq!(world.next(), Some(2));
    assert_eq!(words(&world.wait(2)), [format!("read {sync}")]);
}

#[tokio::test]
async fn a_replica_that_takes_a_source_over_goes_on_with_what_it_has() {
    let (source, sync) = (source(false), sync(true));
    let (mut world, actions) = joined(&source, &sync, half());
    let (fresh, of) = (world.sync(&sync, &source, json!({})), at(&mut world, &source, 1, 7));
    read(&mut world, &actions, vec![fresh], vec![of]);
    let actions = world.fetched(&actions, 1);
    world.passed(&actions, End::Succeeded);

    let actions = world.handle(Event::Divided(whole()));
    assert_eq!(words(&actions), [format!("fetch {source}"), format!("write {source}")]);
    assert_eq!(words(&world.handle(drift(key(&sync)))), [format!("pass {sync}")], "before Git has answered");
    world.fetched(&actions, 2);
    let first = world.answer(super::world::write(&actions));
    let actions = world.handle(first);
    let written = &super::world::write(&actions).wanted;
    assert_eq!(written.tip, Some(commit(2)));
}
