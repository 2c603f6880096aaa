//! A client that goes away once its request is complete: its event is published all the same.

use harness::wait_until;
use tokio::io::AsyncWriteExt as _;

use crate::sender::{ADDRESS, delivery, new_commit};
use crate::world::{PATIENCE, PATIENT, World};
use crate::{stored, wire};

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_after_the_last_byte_loses_nothing() {
    let world = World::new(PATIENT).await;
    // Frozen, so that no event is out before its client is gone.
    world.nats.freeze();
    let mut commits = Vec::new();
    for closing in ["in both directions", "for writing", "by reset"] {
        let commit = new_commit();
        let delivery = delivery(&commit);
        let (head, body) = wire::request(&delivery);
        let mut stream = wire::connect(ADDRESS, world.receiver.public).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        match closing {
            "for writing" => stream.shutdown().await.unwrap(),
            "by reset" => stream.set_zero_linger().unwrap(),
            _ => {}
        }
        drop(stream);
        commits.push(commit);
    }
    world.nats.thaw();
    wait_until("the events are in the stream", PATIENCE, async || {
        let mut seen: Vec<String> =
            stored::events(&world.nats).await.into_iter().filter_map(|event| Some(event.after?.to_string())).collect();
        seen.sort();
        if seen == commits { Ok(()) } else { Err(format!("{seen:?} instead of {commits:?}")) }
    })
    .await
    .unwrap();
}

/// Closing one's own direction says only that no more requests follow.
#[tokio::test(flavor = "multi_thread")]
async fn who_closes_for_writing_gets_his_answer() {
    let world = World::new("").await;
    let delivery = delivery(&new_commit());
    let (head, body) = wire::request(&delivery);
    let mut stream = wire::connect(ADDRESS, world.receiver.public).await.unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(wire::status(&mut stream).await, Some(202));
}
