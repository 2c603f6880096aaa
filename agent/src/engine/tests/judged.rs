//! Sources with `verify`: nothing is worked from that was not verified by what is demanded now.

use serde_json::json;
use towline_plan::schedule::hosts::Answer;

use super::world::{World, commit, drift, fetch, key, words};
use crate::engine::{Action, Event, FetchFailure};
use crate::pass::Revision;
use crate::signature::Verified;

fn refusal(message: &str) -> FetchFailure {
    FetchFailure {
        message: message.to_owned(),
        retryable: false,
        retry_after: None,
        answer: Answer::Answered,
        reason: "VerificationError",
        verification: Some("InvalidCommitSignature"),
    }
}

/// A settled world whose source demands signatures, and what was decided then.
fn demanding() -> (World, Vec<Action>) {
    let mut world = World::settled();
    let mut source = world.source("s", json!({"verify": {"secretRef": {"name": "keys"}}}));
    source.status = world.stored("s").status;
    let actions = world.apply_source(source);
    if words(&actions).contains(&"write s".to_owned()) {
        world.written(&actions);
    }
    (world, actions)
}

fn recovered(world: &World, revision: &Revision, of: u64) -> Event {
    let (revision, verified) = (revision.clone(), Verified::for_test(commit(of)));
    Event::Recovered { source: key("s"), revision, verified, mirror: world.mirror() }
}

#[tokio::test]
async fn a_demand_that_is_new_holds_for_what_is_in_use() {
    let (mut world, actions) = demanding();
    assert!(words(&actions).contains(&"fetch s".to_owned()), "{:?}", words(&actions));
    assert!(words(&actions).contains(&"watch 1".to_owned()), "{:?}", words(&actions));
    assert!(!words(&world.handle(drift(key("a")))).contains(&"pass a".to_owned()), "not verified yet");
    let recorded = fetch(&actions).in_use.clone().unwrap();
    assert_eq!(recorded.commit, commit(1), "judged before Git answers");
    let other = recovered(&world, &recorded, 2);
    assert!(!words(&world.handle(other)).contains(&"pass a".to_owned()), "what was verified is another commit");
    let same = recovered(&world, &recorded, 1);
    assert!(words(&world.handle(same)).contains(&"pass a".to_owned()), "it is what is demanded");
}

#[tokio::test]
async fn what_is_refused_later_is_taken_back_and_nothing_else() {
    let (mut world, actions) = demanding();
    let recorded = fetch(&actions).in_use.clone().unwrap();
    let same = recovered(&world, &recorded, 1);
    world.handle(same);
    let refused = |of| Event::Refused { source: key("s"), commit: commit(of), failure: refusal("its key is gone") };
    world.handle(refused(7));
    assert!(world.engine.sources[&key("s")].revision.is_some(), "another commit's refusal");
    world.handle(refused(1));
    let source = &world.engine.sources[&key("s")];
    assert!(source.revision.is_none());
    assert_eq!(source.wanted.ready.as_ref().unwrap().reason, "VerificationError");
    assert_eq!(source.wanted.verified.as_ref().unwrap().reason, "InvalidCommitSignature");
}

#[tokio::test]
async fn a_tip_that_is_refused_leaves_the_revision_alone() {
    let (mut world, actions) = demanding();
    let (number, recorded) = (fetch(&actions).number, fetch(&actions).in_use.clone().unwrap());
    let same = recovered(&world, &recorded, 1);
    world.handle(same);
    world.handle(Event::Fetched { source: key("s"), number, result: Err(refusal("it is not signed")) });
    assert_eq!(world.engine.sources[&key("s")].wanted.tip, None);
    let revision = world.engine.sources[&key("s")].revision.as_ref().map(|revision| revision.commit.clone());
    assert_eq!(revision, Some(commit(1)), "the last good state keeps running");
}
