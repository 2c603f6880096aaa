//! Jobs beside the loop: whatever becomes of one, the loop hears of it.

use tokio::sync::mpsc;
use towline_proto::ClusterName;

use super::world::{World, drift, key};
use crate::engine::turns::Turns;
use crate::engine::{Action, Event, caught, passing};
use crate::pass::{End, Failure};

#[tokio::test]
async fn a_panic_is_an_answer_that_tells_nothing_it_should_not() {
    assert_eq!(caught(async { 1 }).await, Ok(1));
    let problem = caught(async { panic!("hunter2") }).await.map(|()| 0).unwrap_err();
    assert!(problem.starts_with("an internal error") && !problem.contains("hunter2"), "{problem}");
}

#[tokio::test]
async fn a_pass_that_panics_ends_and_is_tried_again() {
    let mut world = World::settled();
    world.handle(drift(key("a")));
    let (events, mut told) = mpsc::channel(1);
    let uid = Some("uid of a".to_owned());
    passing::finish(&key("a"), uid, async { panic!("a defect") }, &events).await;
    let event = told.recv().await.unwrap();
    let Event::Passed { passed, .. } = &event else { panic!("{event:?}") };
    assert!(matches!(passed.end, End::Failed(Failure { retryable: true, .. })), "{passed:?}");
    assert!(world.handle(event).is_empty());
    assert_eq!(world.next(), Some(60), "at the retry interval");
}

#[tokio::test]
async fn a_pass_that_is_called_off_before_its_turn_does_nothing() {
    let mut world = World::settled();
    let mut actions = world.handle(drift(key("a")));
    let Some(Action::Pass(job)) = actions.pop() else { panic!() };
    job.pass.halt.cancel();
    let (events, mut told) = mpsc::channel(1);
    let reporting = passing::Reporting {
        cluster: world.context.cluster.clone(),
        name: ClusterName::parse("prod").unwrap(),
        bus: None,
    };
    // All turns are taken: it does not wait for one either.
    passing::run(*job, world.context.clone(), Turns::new(0, 0), reporting, events).await;
    let event = told.recv().await.unwrap();
    let Event::Passed { passed, .. } = &event else { panic!("{event:?}") };
    assert_eq!(passed.end, End::Superseded);
}
