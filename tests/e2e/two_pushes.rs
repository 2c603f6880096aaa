//! Pushes faster than they can be applied: the newest stays, and nothing older comes after something newer.

use std::iter;

use async_nats::jetstream;
use bytes::Bytes;
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use towline_proto::{RefName, RepositoryId, streams, subject};

use crate::history;
use crate::world::{EVENT_REPOSITORY, World};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pushes_in_quick_succession_the_newer_stays() {
    let (world, start) = started("two-pushes").await;
    let second = world.repo.commit(&[("a.yaml", &world.config_map("a", "02"))]).await.unwrap();
    let third = world.repo.commit(&[("a.yaml", &world.config_map("a", "03"))]).await.unwrap();
    let answers = tokio::join!(world.deliver(&second), world.deliver(&third));
    assert_eq!(answers, (202, 202));
    world.ready_at(&third).await;
    never_went_back(&world, &start, &["03"]).await;
}

/// A burst of ten, each commit delivered while others are pushed, by turns in the wrong order, and every event three
/// times: by the host, by the host again, and as somebody's replay.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_burst_out_of_order_and_duplicated_the_newest_stays() {
    let (world, start) = started("burst").await;
    let jetstream = jetstream::new(world.nats.connect("admin").await.unwrap());
    let commits = jetstream.get_stream(streams::COMMITS).await.unwrap();
    let branch = RefName::parse("refs/heads/main").unwrap();
    let subject = subject::commit(&RepositoryId::parse(EVENT_REPOSITORY).unwrap(), &branch);

    let mut heard: Vec<Bytes> = Vec::new();
    let mut newest = String::new();
    for pair in [2, 4, 6, 8, 10] {
        let mut commits_of_pair = Vec::new();
        for number in [pair, pair + 1] {
            let text = world.config_map("a", &format!("{number:02}"));
            commits_of_pair.push(world.repo.commit(&[("a.yaml", &text)]).await.unwrap());
        }
        let replays = heard.iter().cloned().map(|old| jetstream.publish(subject.clone(), old));
        join_all(replays).await.into_iter().for_each(|sent| drop(sent.unwrap()));
        newest = commits_of_pair[1].clone();
        for commit in commits_of_pair.iter().rev() {
            let twice = join_all(iter::repeat_n(commit, 2).map(|commit| world.deliver(commit))).await;
            assert_eq!(twice, [202, 202]);
            heard.push(commits.direct_get_last_for_subject(&subject).await.unwrap().payload);
        }
    }
    world.ready_at(&newest).await;
    // All of them once more, when nothing is new any more; whatever they cause comes before the next push is applied.
    for old in heard {
        jetstream.publish(subject.clone(), old).await.unwrap().await.unwrap();
    }
    let last = world.push(&[("a.yaml", &world.config_map("a", "12"))]).await;
    world.ready_at(&last).await;
    never_went_back(&world, &start, &["11", "12"]).await;
}

/// A world that is in sync at value `01`.
async fn started(name: &str) -> (World, ConfigMap) {
    let world = World::new(name).await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "01"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let start = world.config_maps().get("a").await.unwrap();
    (world, start)
}

/// By the API server's own record the values only rose, and ended with these.
async fn never_went_back(world: &World, start: &ConfigMap, end: &[&str]) {
    let values = history::values(&world.config_maps(), start).await;
    assert!(values.is_sorted(), "an older revision came after a newer one: {values:?}");
    assert!(values.iter().rev().zip(end.iter().rev()).all(|(value, end)| value == end), "{values:?}");
    assert!(values.len() > end.len(), "{values:?}");
}
