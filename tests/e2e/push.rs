//! A push becomes applied objects, for every provider. The poll is an hour away: only the event can have done it.

use std::time::Instant;

use harness::config::Hook;
use harness::gitea::{self, Gitea};
use harness::towline::{Daemon, field};
use serde_json::{Value, json};
use towline_receiver::{Provider, Secret};

use crate::world::{PATIENCE, SECRET, World, delivery_id};

/// A signing key as GitLab makes them.
const SIGNING_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[tokio::test(flavor = "multi_thread")]
async fn a_github_delivery_becomes_objects() {
    let mut world = World::new("push-github").await;
    let commit = delivered_push_is_applied(&world, Provider::Github, SECRET, "/hooks/github").await;
    can_be_followed(&mut world, &commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gitlab_delivery_with_its_token_becomes_objects() {
    let world = World::with_hooks("push-gitlab-token", vec![Hook::new("gitlab", "git.test", SECRET)]).await;
    delivered_push_is_applied(&world, Provider::Gitlab, SECRET, "/hooks/gitlab").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gitlab_delivery_that_is_signed_becomes_objects() {
    let world = World::with_hooks("push-gitlab-signed", vec![Hook::new("gitlab", "git.test", SIGNING_KEY)]).await;
    delivered_push_is_applied(&world, Provider::Gitlab, SIGNING_KEY, "/hooks/gitlab").await;
}

/// `git push` is all that is done here: Gitea's own webhook does the rest, and the source needs no name but its URL.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_gitea_becomes_objects() {
    let gitea = Gitea::start().await.unwrap();
    let mut world = World::with_hooks("push-gitea", vec![Hook::new("gitea", &gitea.host(), SECRET)]).await;
    let repo = gitea.repository("fleet", false).await.unwrap();
    let hook = format!("{}/hooks/gitea", world.public_url);
    gitea.webhook("fleet", &hook, SECRET).await.unwrap();

    let first = repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync_with(json!({"url": gitea.clone_url("fleet"), "eventRepository": null}), json!({})).await;
    world.ready_at(&first).await;
    world.listening().await;
    // Its webhook may be late, and is not to be what brings the second.
    delivered_by_gitea(&mut world, &first).await;

    let started = Instant::now();
    let second = repo.commit(&[("a.yaml", &world.config_map("a", "2"))]).await.unwrap();
    world.applied("a", "2").await;
    eprintln!("git push to Gitea (the push included) → applied: {} ms", started.elapsed().as_millis());
    world.ready_at(&second).await;
    delivered_by_gitea(&mut world, &second).await;
}

/// Waits until the receiver has published what Gitea delivered, under the identity that the source's URL has as well.
async fn delivered_by_gitea(world: &mut World, commit: &str) {
    let identity = format!("127.0.0.1/{}/fleet", gitea::USER);
    let what = format!("Gitea's delivery of {commit} is accepted");
    let is_it = |line: &Value| {
        let fields = ["message", "outcome", "repository", "after"].map(|name| field(line, name));
        fields == ["delivery", "accepted", &identity, commit].map(Some)
    };
    world.receiver.wait_for_log(&what, PATIENCE, is_it).await.unwrap();
}

/// A first commit by the first fetch, a second one by its delivery, which is answered.
async fn delivered_push_is_applied(world: &World, provider: Provider, secret: &str, path: &str) -> String {
    let secret = Secret::parse(provider, secret.as_bytes()).unwrap();
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.applied("a", "1").await;
    world.listening().await;

    let second = world.repo.commit(&[("a.yaml", &world.config_map("a", "2"))]).await.unwrap();
    let started = Instant::now();
    assert_eq!(world.deliver_as(provider, &secret, path, &second).await, 202);
    world.applied("a", "2").await;
    eprintln!("{} delivery → applied: {} ms", provider.name(), started.elapsed().as_millis());
    let sync = world.ready_at(&second).await;
    assert_eq!(sync.status.unwrap().last_applied_revision, Some(format!("main@sha1:{second}")));
    second
}

/// The provider's delivery id leads from the receiver's line over the agent's to the object that changed.
async fn can_be_followed(world: &mut World, commit: &str) {
    let id = delivery_id(commit);
    let accepted = said(&mut world.receiver, "delivery", &id).await;
    assert_eq!((field(&accepted, "outcome"), field(&accepted, "after")), (Some("accepted"), Some(commit)));
    said(&mut world.agent, "woken by an event", &id).await;
    let published = said(&mut world.agent, "revision published", &id).await;
    assert_eq!(field(&published, "revision"), Some(format!("main@sha1:{commit}").as_str()));
    let passed = said(&mut world.agent, "pass succeeded", &id).await;
    assert_eq!(passed["span"]["sync"], format!("{}/fleet", world.namespace));
    let object = said(&mut world.agent, "applied", &id).await;
    assert_eq!(field(&object, "action"), Some("configured"));
    assert!(field(&object, "object").is_some_and(|object| object.starts_with("ConfigMap/")), "{object}");
}

/// The line with this message that speaks of a delivery, itself or by its span.
async fn said(daemon: &mut Daemon, message: &str, delivery: &str) -> Value {
    let what = format!("{message:?} is said of {delivery}");
    let of_it = |line: &Value| field(line, "delivery").or(line["span"]["delivery"].as_str()) == Some(delivery);
    daemon.wait_for_log(&what, PATIENCE, |line| field(line, "message") == Some(message) && of_it(line)).await.unwrap()
}
