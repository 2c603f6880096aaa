//! A push becomes applied objects, for every provider. The poll is an hour away: only the event can have done it.

use harness::config::Hook;
use towline_receiver::{Provider, Secret};

use crate::world::{SECRET, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_github_delivery_becomes_objects() {
    let world = World::new("push-github").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.applied("a", "1").await;
    let second = world.push(&[("a.yaml", &world.config_map("a", "2"))]).await;
    world.applied("a", "2").await;
    let sync = world.ready_at(&second).await;
    assert_eq!(sync.status.unwrap().last_applied_revision, Some(format!("main@sha1:{second}")));
}
