//! Receivers keep nothing that another one lacks: deliveries may go to any of them, twice, or to the next when one dies.

use towline_proto::streams;

use crate::sender::{ADDRESS, Senders, client, delivery, new_commit, post};
use crate::world::{PATH, PATIENCE, PATIENT, Receiver, World, config};
use crate::{stored, wire};

async fn second(world: &World, limits: &str) -> Receiver {
    Receiver::start(&config(world.nats.access("receiver"), limits)).await
}

/// How many messages the stream ever took.
async fn taken(world: &World) -> u64 {
    let jetstream = async_nats::jetstream::new(world.nats.connect("admin").await.unwrap());
    jetstream.get_stream(streams::COMMITS).await.unwrap().cached_info().state.last_sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_spread_over_two() {
    let world = World::new("").await;
    let other = second(&world, "").await;
    let senders = Senders::start(4, &[&world.receiver, &other]);
    senders.see("deliveries are served", 50, |status| status == 202).await;
    let outcomes = senders.stop_served().await;
    assert_eq!(stored::every_202_is_stored(&world.nats, &outcomes).await, outcomes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_delivery_to_both_is_one_message() {
    let world = World::new("").await;
    let other = second(&world, "").await;
    let (client, urls) = (client(), [world.receiver.url(PATH), other.url(PATH)]);
    for already in 0..10 {
        let commit = new_commit();
        let both = urls.each_ref().map(|url| post(&client, url, &commit, delivery(&commit)));
        let outcomes = futures::future::join_all(both).await;
        let statuses: Vec<_> = outcomes.iter().map(|outcome| outcome.status.clone()).collect();
        assert_eq!(statuses, [Ok(202), Ok(202)]);
        assert_eq!(taken(&world).await, already + 1, "two receivers made two events of one delivery");
    }
}

/// Killed with a delivery half received, and with one handed to NATS and not acknowledged: the sender saw no answer, tries
/// again at the other receiver, and there is one event.
#[tokio::test(flavor = "multi_thread")]
async fn one_is_killed_in_the_middle_of_a_delivery() {
    let mut world = World::new(PATIENT).await;
    let other = second(&world, PATIENT).await;
    let (half, whole) = (new_commit(), new_commit());
    let (half_delivery, whole_delivery) = (delivery(&half), delivery(&whole));
    let (head, body) = wire::request(&half_delivery);
    let mut half_sent = wire::connect(ADDRESS, world.receiver.public).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half_sent, &[head.as_bytes(), &body[1..]].concat()).await.unwrap();

    world.nats.freeze();
    let (head, body) = wire::request(&whole_delivery);
    let mut whole_sent = wire::connect(ADDRESS, world.receiver.public).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut whole_sent, &[head.as_bytes(), body].concat()).await.unwrap();
    world.receiver.connections("both are there", |open| open == 2).await;
    world.receiver.daemon.kill();
    for stream in [&mut half_sent, &mut whole_sent] {
        let status = tokio::time::timeout(PATIENCE, wire::status(stream)).await.unwrap();
        assert_eq!(status, None, "nothing was promised");
    }
    world.nats.thaw();

    let (client, url) = (client(), other.url(PATH));
    for (commit, delivery) in [(&half, half_delivery), (&whole, whole_delivery)] {
        let outcome = post(&client, &url, commit, delivery).await;
        assert_eq!(outcome.status, Ok(202));
        stored::every_202_is_stored(&world.nats, &[outcome]).await;
    }
    assert_eq!(taken(&world).await, 2);
}
