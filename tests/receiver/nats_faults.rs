//! NATS fails during a stream of deliveries. Every 202 is in the stream afterwards, every other answer was a 503 that says when
//! to try again, `/readyz` says why, and all of it ends by itself.

use std::time::Duration;

use harness::gate::Gate;
use harness::nats::{NatsAccess, Permissions};
use towline_proto::streams;

use crate::sender::{Outcome, Senders};
use crate::stored;
use crate::world::{PATIENT, Receiver, World, config};

/// Short, so that a refusal is soon seen.
const LIMITS: &str = "publish_timeout_ms = 1000";

/// Senders at once.
const SENDERS: usize = 4;

/// Deliveries that have to be seen before and after a fault, and refused during it.
const ENOUGH: usize = 20;

fn served(status: u16) -> bool {
    status == 202
}

fn unavailable(status: u16) -> bool {
    status == 503
}

/// Ends the senders and compares what they were told with what is stored.
async fn settle(world: &World, senders: Senders) -> usize {
    let outcomes = senders.stop().await;
    let wrong: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| match outcome.status {
            Ok(202) => false,
            Ok(503) => !outcome.retry_after,
            _ => true,
        })
        .collect();
    assert!(wrong.is_empty(), "neither 202 nor 503 with a time to try again: {wrong:?}");
    stored::every_202_is_stored(&world.nats, &outcomes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_is_killed_and_started_again() {
    let world = World::new(LIMITS).await;
    let senders = Senders::start(SENDERS, &[&world.receiver]);
    for _ in 0..2 {
        senders.see("deliveries are served", ENOUGH, served).await;
        world.nats.stop();
        senders.see("deliveries are refused", ENOUGH / 2, unavailable).await;
        world.receiver.readyz("NATS is gone", 503, "nats: failed to connect to nats://").await;
        world.nats.resume().await.unwrap();
        world.receiver.ready().await;
    }
    senders.see("deliveries are served again", ENOUGH, served).await;
    assert!(settle(&world, senders).await >= 3 * ENOUGH);
}

/// A restart shorter than the publish timeout is waited out by those who are there.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_restart_of_nats_refuses_nobody() {
    let world = World::new(PATIENT).await;
    let senders = Senders::start(SENDERS, &[&world.receiver]);
    senders.see("deliveries are served", ENOUGH, served).await;
    world.nats.restart().await.unwrap();
    senders.see("deliveries are served again", ENOUGH, served).await;
    let outcomes = senders.stop_served().await;
    stored::every_202_is_stored(&world.nats, &outcomes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_is_frozen_and_thawed() {
    let world = World::new(LIMITS).await;
    let senders = Senders::start(SENDERS, &[&world.receiver]);
    senders.see("deliveries are served", ENOUGH, served).await;
    world.nats.freeze();
    senders.see("deliveries are refused", ENOUGH / 2, unavailable).await;
    world.receiver.readyz("nothing answers", 503, "stream: failed to ask for stream COMMITS").await;
    world.nats.thaw();
    world.receiver.ready().await;
    senders.see("deliveries are served again", ENOUGH, served).await;
    settle(&world, senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_is_slow_and_then_too_slow() {
    let nats = harness::nats::Nats::start_with_streams().await.unwrap();
    let gate = Gate::to(nats.url().trim_start_matches("nats://").parse().unwrap()).await.unwrap();
    let access = NatsAccess { url: format!("nats://{}", gate.address()), ..nats.access("receiver") };
    let world = World { receiver: Receiver::start(&config(access, LIMITS)).await, nats };
    let senders = Senders::start(SENDERS, &[&world.receiver]);
    // There and back within the publish timeout: nobody is refused.
    gate.delay(Duration::from_millis(100));
    senders.see("deliveries are served slowly", ENOUGH, served).await;
    gate.delay(Duration::from_secs(5));
    senders.see("deliveries are refused", ENOUGH / 2, unavailable).await;
    gate.delay(Duration::ZERO);
    senders.see("deliveries are served again", ENOUGH, served).await;
    gate.close().await.unwrap();
    senders.see("deliveries are refused", ENOUGH / 2, unavailable).await;
    world.receiver.readyz("the way is cut", 503, "nats: ").await;
    gate.open().await.unwrap();
    world.receiver.ready().await;
    senders.see("deliveries are served again", ENOUGH, served).await;
    settle(&world, senders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_deleted_and_made_again() {
    let world = World::new(LIMITS).await;
    let senders = Senders::start(SENDERS, &[&world.receiver]);
    senders.see("deliveries are served", ENOUGH, served).await;
    // What it held goes with it: nobody was promised anything against that.
    let outcomes = senders.stop().await;
    stored::every_202_is_stored(&world.nats, &outcomes).await;
    let admin = world.nats.connect("admin").await.unwrap();
    async_nats::jetstream::new(admin).delete_stream(streams::COMMITS).await.unwrap();

    let senders = Senders::start(SENDERS, &[&world.receiver]);
    senders.see("deliveries are refused", ENOUGH / 2, unavailable).await;
    world.receiver.readyz("there is no stream", 503, "stream COMMITS does not exist: `towline fleet init`").await;
    world.nats.create_streams().await.unwrap();
    world.receiver.ready().await;
    senders.see("deliveries are served again", ENOUGH, served).await;
    settle(&world, senders).await;
}

/// A user that may look at the stream and not publish, until somebody lets him.
#[tokio::test(flavor = "multi_thread")]
async fn nats_refuses_by_permission() {
    let world = World::new(LIMITS).await;
    let look = Permissions {
        publish: Some(vec!["$JS.API.STREAM.INFO.COMMITS".to_owned()]),
        subscribe: Some(vec!["_INBOX.receiver.>".to_owned()]),
    };
    let access = world.nats.add_user("looker", look).await.unwrap();
    let looker = Receiver::start(&config(access, LIMITS)).await;
    let senders = Senders::start(SENDERS, &[&world.receiver, &looker]);
    senders.see("one receiver serves", ENOUGH, served).await;
    senders.see("the other refuses", ENOUGH / 2, unavailable).await;
    settle(&world, senders).await;
    let log = looker.daemon.log();
    assert!(log.contains("Permissions Violation for Publish to"), "nothing says why:\n{log}");

    // And one that may do nothing at all says so itself.
    let nothing =
        Permissions { publish: Some(vec!["none".to_owned()]), subscribe: Some(vec!["_INBOX.receiver.>".to_owned()]) };
    let access = world.nats.add_user("nobody", nothing).await.unwrap();
    let nobody = Receiver::start_unready(&config(access, LIMITS)).await;
    nobody.readyz("it may not ask", 503, "$JS.API.STREAM.INFO.COMMITS").await;
}
