//! Never older after newer, also over a restart: what Git went on to meanwhile is applied, and a Git host that shows an older
//! tip for a moment takes nothing back.

use std::fs;

use futures::StreamExt as _;
use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{WatchEvent, WatchParams};
use serde_json::json;

use crate::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lags_when_the_agent_starts_takes_nothing_back() {
    let mut world = World::new("newer-lag").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    let second = world.repo.commit(&[("a.yaml", &world.config_map("a", "2"))]).await.unwrap();
    world.request_fetch("second").await;
    world.ready_at(&second).await;
    let sequence = world.source().await.status.unwrap().sequence;
    let mut seen = world.config_maps().watch(&WatchParams::default(), "0").await.unwrap().boxed();

    for keeps_its_mirror in [true, false] {
        world.agent.kill();
        world.repo.force_push(&first).await.unwrap();
        if !keeps_its_mirror {
            fs::remove_dir_all(world.agent.dir().join("storage")).unwrap();
        }
        // As young as it would be had it only just been written: that a machine is slow is not what is tested.
        let now = json!({"status": {"lastAttempt": jiff::Timestamp::now().to_string()}});
        let sources: kube::Api<towline_agent::api::GitSource> = world.api();
        sources.patch_status("fleet", &Default::default(), &kube::api::Patch::Merge(now)).await.unwrap();
        let before = world.git.request_count();
        world.agent.resume().unwrap();
        // Both requests of a conversation that brings something: the older tip has been seen.
        let asked = async || {
            let now = world.git.request_count();
            if now >= before + 2 { Ok(()) } else { Err(format!("{now} requests, {before} before")) }
        };
        wait_until("the agent has seen the older tip", PATIENCE, asked).await.unwrap();
        world.repo.force_push(&second).await.unwrap();
        // A commit later everything in between has been seen.
        world.ready_at(&second).await;
    }
    let third = world.repo.commit(&[("a.yaml", &world.config_map("a", "3"))]).await.unwrap();
    world.request_fetch("third").await;
    world.applied("a", "3").await;
    world.ready_at(&third).await;
    let status = world.source().await.status.unwrap();
    assert_eq!(status.sequence, sequence.map(|sequence| sequence + 1), "something was published in between");
    let mut last = 0;
    while last < 3 {
        let event = tokio::time::timeout(PATIENCE, seen.next()).await.unwrap().unwrap().unwrap();
        let (WatchEvent::Added(map) | WatchEvent::Modified(map)) = event else { continue };
        let map: ConfigMap = map;
        if map.name_any() == "a" {
            let value: u32 = map.data.unwrap()["value"].parse().unwrap();
            assert!(value >= last && value >= 2, "it went back from {last} to {value}");
            last = value;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_git_went_on_to_while_the_agent_was_down_is_applied_with_and_without_its_mirror() {
    let mut world = World::new("newer-down").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    let mut sequences = vec![world.fleet().await.status.unwrap().last_attempted_sequence];
    for value in ["2", "3"] {
        world.agent.kill();
        let next = world.repo.commit(&[("a.yaml", &world.config_map("a", value))]).await.unwrap();
        if value == "3" {
            fs::remove_dir_all(world.agent.dir().join("storage")).unwrap();
        }
        world.agent.resume().unwrap();
        world.applied("a", value).await;
        world.ready_at(&next).await;
        sequences.push(world.fleet().await.status.unwrap().last_attempted_sequence);
    }
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
}
