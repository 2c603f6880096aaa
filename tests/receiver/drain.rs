//! SIGTERM during a stream of deliveries: no new connections, an answer for what is in work, and an end in time.

use harness::wait_until;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::sender::{ADDRESS, Outcome, Senders, delivery, new_commit};
use crate::world::{PATIENCE, Receiver, World};
use crate::{stored, wire};

/// A connection that has sent all of its delivery but the last byte, which is returned.
async fn all_but_the_last_byte(receiver: &Receiver, commit: &str) -> (TcpStream, u8) {
    let delivery = delivery(commit);
    let (head, body) = wire::request(&delivery);
    let mut stream = wire::connect(ADDRESS, receiver.public).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (last, rest) = body.split_last().unwrap();
    stream.write_all(rest).await.unwrap();
    (stream, *last)
}

async fn takes_no_more_connections(receiver: &Receiver) {
    wait_until("no more connections are taken", PATIENCE, async || {
        match wire::connect(ADDRESS, receiver.public).await {
            Err(_) => Ok(()),
            Ok(_) => Err("it is open".to_owned()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_work_is_answered_and_the_exit_code_is_zero() {
    let mut world = World::new("body_timeout_ms = 60000\nbody_grace_ms = 60000\ndrain_timeout_ms = 80000").await;
    let senders = Senders::start(4, &[&world.receiver]);
    senders.see("deliveries are served", 20, |status| status == 202).await;
    let late = new_commit();
    let (mut stream, last) = all_but_the_last_byte(&world.receiver, &late).await;
    // One more served delivery: the receiver is past the moment in which it took the late one's connection.
    senders.see("deliveries are served", 4, |status| status == 202).await;

    world.receiver.daemon.begin_to_terminate();
    takes_no_more_connections(&world.receiver).await;
    world.receiver.readyz("it drains", 503, "draining").await;
    assert_eq!(world.receiver.ask("/metrics").await.unwrap().0, 200, "whoever watches sees the end");
    stream.write_all(&[last]).await.unwrap();
    assert_eq!(wire::status(&mut stream).await, Some(202), "the late one was in work");
    drop(stream);
    let outcomes = senders.stop().await;
    let ended = world.receiver.daemon.ended(PATIENCE).await.unwrap();
    assert!(ended.success(), "{ended}; {}", world.receiver.daemon.log());

    let wrong: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| !matches!(outcome.status, Ok(202 | 503) | Err(_))).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let late = Outcome { commit: late, status: Ok(202), retry_after: false };
    stored::every_202_is_stored(&world.nats, &[&outcomes[..], &[late]].concat()).await;
}

/// Whoever hangs in its body is sent away when the body's time is over, and the end is an orderly one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_delays_the_end_at_most_by_the_drain_time() {
    let limits = "body_timeout_ms = 3000\npublish_timeout_ms = 1000\ndrain_timeout_ms = 30000";
    let mut world = World::new(limits).await;
    let (mut hangs, _never_sent) = all_but_the_last_byte(&world.receiver, &new_commit()).await;
    world.receiver.connections("it is there", |open| open == 1).await;
    world.receiver.daemon.begin_to_terminate();
    takes_no_more_connections(&world.receiver).await;
    let ended = world.receiver.daemon.ended(PATIENCE).await.unwrap();
    assert!(ended.success(), "{ended}; {}", world.receiver.daemon.log());
    assert_eq!(wire::status(&mut hangs).await, Some(408));
    assert!(stored::events(&world.nats).await.is_empty());
}
