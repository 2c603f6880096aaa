//! A range of versions: the newest tag in it is what runs, and its events are heard.

use harness::wait_until;
use jiff::Timestamp;
use serde_json::json;
use towline_receiver::provider::Provider;
use towline_receiver::secret::Secret;
use towline_receiver::sign::{self, Push};

use crate::world::{PATIENCE, REPOSITORY, SECRET, World, delivery_id};

impl World {
    /// A commit in which ConfigMap `a` has this value, and a tag on it.
    async fn release(&self, tag: &str, value: &str) -> String {
        let commit = self.repo.commit(&[("a.yaml", &self.config_map("a", value))]).await.unwrap();
        self.repo.tag(tag).await.unwrap();
        commit
    }

    /// Sends what GitHub would for a tag.
    async fn deliver_tag(&self, tag: &str, after: &str) {
        let secret = Secret::parse(Provider::Github, SECRET.as_bytes()).unwrap();
        let reference = format!("refs/tags/{tag}");
        let push = Push { repository: REPOSITORY, reference: &reference, before: None, after: Some(after) };
        let delivery = sign::delivery(Provider::Github, &secret, &push, &delivery_id(tag), Timestamp::now());
        assert_eq!(self.post("/hooks/github", delivery).await, 202);
    }

    async fn runs(&self, revision: &str) {
        wait_until(&format!("the Sync is ready at {revision}"), PATIENCE, async || {
            let status = self.fleet().await.status.unwrap_or_default();
            let is_ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            if is_ready && status.last_applied_revision.as_deref() == Some(revision) {
                return Ok(());
            }
            Err(format!("{status:?}; source: {:?}", self.source().await.status))
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_tag_of_a_range_is_followed() {
    let world = World::new("semver").await;
    let first = world.release("v1.9.0", "1").await;
    world.sync_with(json!({"ref": {"semver": "1.x"}}), json!({})).await;
    world.runs(&format!("v1.9.0@sha1:{first}")).await;
    world.listening().await;

    // The next look is an hour away: the event makes it look. By name v1.10.0 would come before v1.9.0.
    let second = world.release("v1.10.0", "2").await;
    world.deliver_tag("v1.10.0", &second).await;
    world.runs(&format!("v1.10.0@sha1:{second}")).await;
    world.applied("a", "2").await;

    // Neither what is above the range is run nor what is not released yet, nor a branch.
    let third = world.release("v2.0.0", "3").await;
    world.repo.tag("v1.11.0-rc.1").await.unwrap();
    world.deliver_tag("v2.0.0", &third).await;
    world.deliver_tag("v1.11.0-rc.1", &third).await;
    assert_eq!(world.deliver(&third).await, 202);
    let fourth = world.release("v1.11.0", "4").await;
    world.deliver_tag("v1.11.0", &fourth).await;
    world.runs(&format!("v1.11.0@sha1:{fourth}")).await;

    // What was released while nobody could hear of it is found when the connection is back.
    world.nats.stop();
    world.cut_off().await;
    let fifth = world.release("v1.11.1", "5").await;
    world.nats.restart().await.unwrap();
    world.runs(&format!("v1.11.1@sha1:{fifth}")).await;

    // A tag that goes leaves the one before it; when the last one goes, what was good stays.
    world.repo.git(&["push", "--quiet", "origin", "--delete", "v1.11.1"]).await.unwrap();
    world.request_fetch("it was withdrawn").await;
    world.runs(&format!("v1.11.0@sha1:{fourth}")).await;
    world.repo.git(&["push", "--quiet", "origin", "--delete", "v1.9.0", "v1.10.0", "v1.11.0"]).await.unwrap();
    world.request_fetch("all are gone").await;
    world.event("GitOperationFailed", &["newest tag in 1.x", "the newest is v2.0.0"]).await;
    world.applied("a", "4").await;
    world.runs(&format!("v1.11.0@sha1:{fourth}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_cannot_be_read_says_so() {
    let world = World::new("semver-invalid").await;
    world.release("v1.0.0", "1").await;
    world.sync_with(json!({"ref": {"semver": "one.x"}}), json!({})).await;
    world.event("InvalidSpec", &["spec.ref.semver", "\"one.x\" is no version"]).await;
}
