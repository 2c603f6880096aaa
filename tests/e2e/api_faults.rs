//! The API server answers 429, 500, 503, not at all, or loses an answer, for one kind of request at a time: the agent says so,
//! claims nothing that is not so, and brings everything in order when it is over.

use harness::api_proxy::{ApiProxy, Armed, Fault, Seen};
use harness::wait_until;
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World};

const FAULTS: [Fault; 5] =
    [Fault::Status(429, Some(1)), Fault::Status(500, None), Fault::Status(503, None), Fault::Drop, Fault::LoseAnswer];

/// A world with a Sync of one ConfigMap that is Ready, and an agent that hears of pushes.
async fn ready(name: &str) -> (World, ApiProxy) {
    let (world, proxy) = World::behind(name).await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "0"))]).await.unwrap();
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": "100%"}})).await;
    world.ready_at(&first).await;
    world.listening().await;
    (world, proxy)
}

/// The Sync does not say that it is Ready at a commit.
async fn not_ready_at(world: &World, commit: &str) {
    let (status, _, message) = world.said_of("fleet").await;
    assert!(!(status == "True" && message.contains(commit)), "it says that it is Ready at {commit}: {message}");
}

/// Waits until a fault was committed and the Sync and a Warning Event say that the pass failed; it is not Ready before.
async fn announced(world: &World, armed: &Armed, commit: &str) {
    armed.committed(1, PATIENCE).await;
    let what = format!("the failure at {commit} is told");
    wait_until(&what, PATIENCE, async || {
        not_ready_at(world, commit).await;
        let (status, reason, message) = world.said_of("fleet").await;
        let events = world.events().await;
        let is_told = events.iter().any(|(kind, r, note)| kind == "Warning" && *r == reason && *note == message);
        if status == "False" && is_told { Ok(()) } else { Err(format!("{status} {reason} {message}; {events:#?}")) }
    })
    .await
    .unwrap();
    not_ready_at(world, commit).await;
}

fn is_apply(seen: &Seen) -> bool {
    seen.is("patch", "configmaps") && !seen.dry_run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_that_is_not_answered_holds_the_apply_back() {
    let (world, proxy) = ready("fault-dry-run").await;
    for (round, fault) in FAULTS.into_iter().enumerate() {
        let (before, value) = (round.to_string(), (round + 1).to_string());
        let mark = proxy.mark();
        let armed = proxy.while_on(fault, |seen| seen.is("patch", "configmaps") && seen.dry_run);
        let commit = world.push(&[("a.yaml", &world.config_map("a", &value))]).await;
        announced(&world, &armed, &commit).await;
        world.applied("a", &before).await;
        assert!(proxy.since(mark, is_apply).is_empty(), "{fault:?}: applied unseen");
        armed.end();
        world.ready_at(&commit).await;
        world.applied("a", &value).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_not_answered_is_made_again() {
    let (world, proxy) = ready("fault-apply").await;
    for (round, fault) in FAULTS.into_iter().enumerate() {
        let (name, value) = (format!("new-{round}"), (round + 1).to_string());
        let armed = proxy.while_on(fault, is_apply);
        let new = format!("{}---\n{}", world.config_map("a", &value), world.config_map(&name, &value));
        let commit = world.push(&[("a.yaml", &new)]).await;
        announced(&world, &armed, &commit).await;
        // What may exist without our knowing it is claimed.
        assert!(world.owned("fleet").await.contains(&name), "{fault:?}: {name} is not claimed");
        armed.end();
        world.ready_at(&commit).await;
        world.applied("a", &value).await;
        world.applied(&name, &value).await;
        assert_eq!(world.owned("fleet").await, ["a".to_owned(), name], "{fault:?}: what Git no longer has is pruned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_inventory_that_is_written_nothing_is_created() {
    let (world, proxy) = ready("fault-inventory").await;
    for (round, fault) in FAULTS.into_iter().enumerate() {
        let name = format!("new-{round}");
        let mark = proxy.mark();
        let armed = proxy.while_on(fault, |seen| seen.is("update", "inventories"));
        let commit = world.push(&[("new.yaml", &world.config_map(&name, "1"))]).await;
        announced(&world, &armed, &commit).await;
        if fault != Fault::LoseAnswer {
            // Where only the answer was lost, the claims are written, and a second look may find them.
            assert!(proxy.since(mark, is_apply).is_empty(), "{fault:?}: applied without a claim");
            assert!(world.config_maps().get_opt(&name).await.unwrap().is_none(), "{fault:?}: {name} is there");
        }
        armed.end();
        world.ready_at(&commit).await;
        world.applied(&name, "1").await;
        assert_eq!(world.owned("fleet").await, ["a".to_owned(), name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_not_answered_is_not_forgotten() {
    let (world, proxy) = ready("fault-delete").await;
    for (round, fault) in FAULTS.into_iter().enumerate() {
        let name = format!("old-{round}");
        let commit = world.push(&[("old.yaml", &world.config_map(&name, "1"))]).await;
        world.ready_at(&commit).await;
        let armed = proxy.while_on(fault, |seen| seen.is("delete", "configmaps"));
        let commit = world.push(&[("old.yaml", "")]).await;
        if fault == Fault::LoseAnswer {
            // Done, as the next look shows: there may be no time to tell of the failure in between.
            armed.committed(1, PATIENCE).await;
        } else {
            announced(&world, &armed, &commit).await;
            assert!(world.config_maps().get_opt(&name).await.unwrap().is_some());
            assert!(world.owned("fleet").await.contains(&name), "{fault:?}: {name} is forgotten");
        }
        armed.end();
        world.ready_at(&commit).await;
        world.gone(&name).await;
        assert_eq!(world.owned("fleet").await, ["a"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_could_not_be_written_is_written_later() {
    let (world, proxy) = ready("fault-status").await;
    for (round, fault) in FAULTS.into_iter().enumerate() {
        let value = (round + 1).to_string();
        let armed =
            proxy.while_on(fault, |seen| seen.is("update", "syncs") && seen.subresource.as_deref() == Some("status"));
        let commit = world.push(&[("a.yaml", &world.config_map("a", &value))]).await;
        armed.committed(1, PATIENCE).await;
        world.applied("a", &value).await;
        if fault != Fault::LoseAnswer {
            not_ready_at(&world, &commit).await;
        }
        armed.end();
        world.ready_at(&commit).await;
    }
}

/// The retry is an hour away: what waited for it would not come.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_somebody_else_was_faster_with_is_made_again_soon() {
    let (world, proxy) = ready("fault-conflict").await;
    world.edit::<Sync>("fleet", "operator", json!({"spec": {"retryInterval": "1h"}})).await;
    let armed = proxy.times(2, Fault::Status(409, None), is_apply);
    let commit = world.push(&[("new.yaml", &world.config_map("new", "1"))]).await;
    armed.committed(2, PATIENCE).await;
    world.applied("new", "1").await;
    world.ready_at(&commit).await;
}

/// No answer at all: every request has a time, and a pass has one.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_hangs_ends_in_time() {
    let (world, proxy) = ready("fault-hang").await;
    let armed = proxy.while_on(Fault::Hang, is_apply);
    let commit = world.push(&[("a.yaml", &world.config_map("a", "1"))]).await;
    announced(&world, &armed, &commit).await;
    armed.end();
    world.ready_at(&commit).await;
    world.applied("a", "1").await;
}
