//! The nats-server of the harness, tried: streams, users and their permissions, restarts.

use async_nats::jetstream;
use harness::nats::{Nats, Permissions};

use crate::SOON;

#[tokio::test]
async fn messages_survive_a_killed_server() {
    let nats = Nats::start_with_streams().await.unwrap();
    let receiver = jetstream::new(nats.connect("receiver").await.unwrap());
    let ack = receiver.publish("towline.commit.repo.ref", "one".into()).await.unwrap();
    assert_eq!(ack.await.unwrap().sequence, 1);

    nats.restart().await.unwrap();

    let agent = jetstream::new(nats.connect("agent").await.unwrap());
    let commits = agent.get_stream("COMMITS").await.unwrap();
    let last = commits.direct_get_last_for_subject("towline.commit.repo.ref").await.unwrap();
    assert_eq!(last.payload, "one");
}

#[tokio::test]
async fn a_stopped_server_takes_no_connections_and_comes_back_for_old_ones() {
    let nats = Nats::start().await.unwrap();
    let client = nats.connect("agent").await.unwrap();
    nats.stop();
    assert!(nats.connect("agent").await.is_err());
    nats.resume().await.unwrap();
    harness::wait_until("the old connection works again", SOON, async || {
        client.flush().await.map_err(|error| error.to_string())?;
        match client.connection_state() {
            async_nats::connection::State::Connected => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn users_are_told_apart() {
    let nats = Nats::start_with_streams().await.unwrap();
    let permissions = Permissions {
        publish: Some(vec!["towline.status.>".to_owned()]),
        subscribe: Some(vec!["_INBOX.>".to_owned()]),
    };
    nats.add_user("reporter", permissions).await.unwrap();
    let reporter = jetstream::new(nats.connect("reporter").await.unwrap());
    reporter.publish("towline.status.c.ns.sync", "fine".into()).await.unwrap().await.unwrap();
    reporter.publish("towline.commit.repo.ref", "forged".into()).await.unwrap().await.unwrap_err();

    let stranger = async_nats::connect(nats.url()).await;
    assert!(stranger.is_err(), "someone without a key was let in");
}
