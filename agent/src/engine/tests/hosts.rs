//! Git hosts: how many fetches run at one, and what one source learns of it for the others.

use serde_json::json;
use towline_plan::schedule::hosts::Answer;

use super::world::{World, key};
use crate::api::ConditionStatus;
use crate::engine::{Action, Event, FetchFailure};

fn unreachable() -> FetchFailure {
    FetchFailure {
        message: "no route to host".to_owned(),
        retryable: true,
        retry_after: None,
        answer: Answer::Outage,
        reason: "GitOperationFailed",
        verification: None,
    }
}

/// All writes of these actions are done, and those that follow. Answers with the sources whose fetches start.
fn fetches(world: &mut World, mut actions: Vec<Action>) -> Vec<String> {
    let mut started = Vec::new();
    while let Some(action) = actions.pop() {
        match action {
            Action::WriteSource(write) => {
                let event = world.answer(&write);
                actions.extend(world.handle(event));
            }
            Action::Fetch(job) => started.push(job.source.name),
            _ => {}
        }
    }
    started.sort_unstable();
    started
}

/// The running fetch of a source fails so.
fn fails(world: &mut World, name: &str, answer: Answer, wait: Option<u64>) -> Vec<String> {
    let failure = FetchFailure { retry_after: wait.map(std::time::Duration::from_secs), answer, ..unreachable() };
    let number = world.engine.sources[&key(name)].fetch;
    let actions = world.handle(Event::Fetched { source: key(name), number, result: Err(failure) });
    fetches(world, actions)
}

#[tokio::test]
async fn one_host_is_asked_a_few_things_at_once_and_each_source_has_its_turn() {
    let (mut world, actions) = World::with(&["a", "b", "c", "d", "e", "f"], &[]);
    assert_eq!(fetches(&mut world, actions), ["a", "b", "c", "d"]);
    assert!(world.next().is_none_or(|next| next > 0), "it does not go round and round for what has to wait");
    let elsewhere = world.source("z", json!({"url": "https://other.example/org/z"}));
    let actions = world.apply_source(elsewhere);
    assert_eq!(fetches(&mut world, actions), ["z"], "another host has its own turns");
    assert_eq!(fails(&mut world, "b", Answer::Answered, None), ["e"]);
    assert_eq!(fails(&mut world, "a", Answer::Answered, None), ["f"]);
}

#[tokio::test]
async fn what_a_host_asks_of_one_source_holds_for_all_of_the_same_account() {
    let (mut world, actions) = World::with(&["a"], &[]);
    assert_eq!(fetches(&mut world, actions), ["a"]);
    assert_eq!(fails(&mut world, "a", Answer::Answered, Some(200)), [""; 0]);
    let new = world.source("new", json!({}));
    let actions = world.apply_source(new);
    assert_eq!(fetches(&mut world, actions), [""; 0]);
    let ours = world.source("ours", json!({"secretRef": {"name": "token"}}));
    let actions = world.apply_source(ours);
    assert_eq!(fetches(&mut world, actions), ["ours"], "with credentials it is another account");
    let actions = world.wait(205);
    assert_eq!(fetches(&mut world, actions), [""; 0]);
    let actions = world.wait(10);
    assert_eq!(fetches(&mut world, actions), ["a", "new"], "a tenth later at the most");
}

#[tokio::test]
async fn a_host_that_is_down_is_asked_by_one_and_the_others_follow_when_it_answers() {
    let (mut world, actions) = World::with(&["a", "b", "c", "d", "e", "f"], &[]);
    assert_eq!(fetches(&mut world, actions), ["a", "b", "c", "d"]);
    assert_eq!(fails(&mut world, "a", Answer::Outage, None), ["e"], "one says nothing of the host");
    for name in ["b", "c", "d"] {
        assert_eq!(fails(&mut world, name, Answer::Outage, None), [""; 0]);
    }
    let actions = world.wait(60);
    assert_eq!(fetches(&mut world, actions), [""; 0], "one is still under way");
    assert_eq!(fails(&mut world, "e", Answer::Outage, None), [""; 0]);
    let actions = world.wait(60);
    let tries = fetches(&mut world, actions);
    assert_eq!(tries, ["f"], "who has waited longest");
    assert_eq!(fails(&mut world, "f", Answer::Answered, None), ["a", "b", "c", "d"]);
}

/// What the Ready condition of a source is to say.
fn said(world: &World, name: &str) -> (bool, String) {
    let ready = world.engine.sources[&key(name)].wanted.ready.clone();
    ready.map(|ready| (ready.status == ConditionStatus::True, ready.message)).unwrap_or_default()
}

#[tokio::test]
async fn a_source_that_is_kept_from_its_host_for_long_says_so() {
    let names: Vec<String> = ('a'..='p').map(String::from).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut world, actions) = World::with(&names, &[]);
    let mut started = fetches(&mut world, actions);
    for second in 0..70 {
        // Others are tried meanwhile, who has waited longest first.
        for name in std::mem::take(&mut started) {
            started.extend(fails(&mut world, &name, Answer::Outage, None));
        }
        assert_eq!(said(&world, "p").1.is_empty(), second < 60, "at {second}");
        let actions = world.wait(1);
        started.extend(fetches(&mut world, actions));
    }
    assert_eq!(said(&world, "a"), (false, "no route to host".to_owned()), "it was there itself");
    let held = "fetch from git.example: it gave other sources no answer, and one at a time tries it until it does";
    assert_eq!(said(&world, "p"), (false, held.to_owned()));
    assert_eq!(world.engine.sources[&key("p")].fetch, 0, "it has not tried");
}

#[tokio::test]
async fn a_rest_is_said_when_it_keeps_a_source_for_more_than_a_minute() {
    let mut world = World::settled();
    let other = world.source("other", json!({}));
    let actions = world.apply_source(other);
    assert_eq!(fetches(&mut world, actions), ["other"]);
    assert_eq!(fails(&mut world, "other", Answer::Answered, Some(3_000)), [""; 0]);
    let actions = world.wait(310);
    assert_eq!(fetches(&mut world, actions), [""; 0]);
    assert!(said(&world, "s").0, "a little late");
    let next = world.next().unwrap();
    assert!((1..=60).contains(&next), "{next}");
    let actions = world.wait(next + 1);
    fetches(&mut world, actions);
    assert_eq!(
        said(&world, "s"),
        (false, "fetch from git.example: it asks to be left alone until 1970-01-12T14:39:10Z".to_owned())
    );
    assert!(world.next().is_none_or(|next| next > 60), "said once");
}
