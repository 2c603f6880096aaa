//! A Git server that fails is never an empty repository: nothing is pruned, the condition says what failed, and the last
//! good state stays and is kept up; from the mirror also after a restart, and without one nothing is touched.

use std::fs;
use std::time::{Duration, Instant};

use harness::git_server::{Fault, GitServer, Options};
use harness::wait_until;
use serde_json::json;
use towline_agent::api::GitSource;

use crate::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_state_stays_whatever_the_git_server_does() {
    let world = World::new("git-faults").await;
    let (a, b) = (world.config_map("a", "1"), world.config_map("b", "1"));
    let first = world.repo.commit(&[("a.yaml", &a), ("b.yaml", &b)]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    // What is waiting in Git would remove an object: it must not happen by accident.
    world.git.set_fault(Fault::Down).await.unwrap();
    let second = world.repo.remove("b.yaml").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    failing(&world, "cannot connect").await;
    world.event("GitOperationFailed", &["cannot connect"]).await;
    for (status, words) in [(500, "HTTP 500"), (404, "HTTP 404")] {
        world.git.set_fault(Fault::Status(status)).await.unwrap();
        world.request_fetch(words).await;
        failing(&world, words).await;
        world.event("GitOperationFailed", &[words]).await;
    }
    world.repo.delete_branch("main").await.unwrap();
    world.git.set_fault(Fault::None).await.unwrap();
    world.request_fetch("deleted").await;
    failing(&world, "no such ref").await;

    // The state is kept up, too, and nothing that failed on the way pruned anything.
    world.meddle("a", "some-editor", "2").await;
    world.applied("a", "1").await;
    world.applied("b", "1").await;
    let sync = world.ready_at(&first).await;
    let attempted = sync.status.and_then(|status| status.last_attempted_revision);
    assert_eq!(attempted, Some(format!("main@sha1:{first}")));
    assert_eq!(world.source().await.status.unwrap().revision, Some(format!("main@sha1:{first}")));

    world.repo.push().await.unwrap();
    world.request_fetch("again").await;
    world.gone("b").await;
    world.ready_at(&second).await;
    world.applied("a", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_git_works_from_the_mirror_and_without_a_mirror_not_at_all() {
    let mut world = World::new("git-restart").await;
    let (a, b) = (world.config_map("a", "1"), world.config_map("b", "1"));
    let first = world.repo.commit(&[("a.yaml", &a), ("b.yaml", &b)]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;

    world.agent.kill();
    world.git.set_fault(Fault::Down).await.unwrap();
    let second = world.repo.remove("b.yaml").await.unwrap();
    world.meddle("a", "some-editor", "2").await;
    world.agent.resume().unwrap();
    world.applied("a", "1").await;
    failing(&world, "cannot connect").await;
    world.ready_at(&first).await;
    world.applied("b", "1").await;

    world.agent.kill();
    fs::remove_dir_all(world.agent.dir().join("storage")).unwrap();
    world.meddle("a", "some-editor", "3").await;
    world.agent.resume().unwrap();
    let blind = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "SourceNotReady") && message.contains("cannot connect")
    };
    world.ready("the Sync says that it has nothing to work from", blind).await;
    world.event("SourceNotReady", &["cannot connect"]).await;
    // The pass that follows is the first: nothing was done before it.
    world.applied("a", "3").await;
    world.applied("b", "1").await;

    world.git.set_fault(Fault::None).await.unwrap();
    world.request_fetch("again").await;
    world.applied("a", "1").await;
    world.gone("b").await;
    world.ready_at(&second).await;
}

/// Everything that can be wrong with a server, or on the way to it, while a commit waits there: what the operator is told, that the
/// last good state is kept up, and that the same process goes on afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_recovers_without_a_restart() {
    let mut world = World::new("git-every").await;
    world.git = GitServer::start_with(Options { tls: true, credentials: None }).await.unwrap();
    world.repo = world.git.repository("fleet").await.unwrap();
    let ca = world.git.authority().unwrap().to_owned();
    world.git_secret(json!({ "ca.crt": ca })).await;
    let noise = noise();
    let mut last = world.repo.commit(&[("round-0.yaml", &world.config_map("round-0", "good"))]).await.unwrap();
    world.sync_with(json!({"secretRef": {"name": "git"}, "timeout": "5s"}), json!({})).await;
    world.ready_at(&last).await;
    world.listening().await;

    let faults = [
        (Fault::Down, "GitOperationFailed", "cannot connect"),
        (Fault::Status(401), "AuthenticationFailed", "name a Secret in spec.secretRef"),
        (Fault::Status(403), "AuthenticationFailed", "HTTP 403"),
        (Fault::Status(404), "GitOperationFailed", "there is no such repository"),
        (Fault::Status(429), "GitOperationFailed", "HTTP 429"),
        (Fault::Status(500), "GitOperationFailed", "HTTP 500"),
        (Fault::Status(502), "GitOperationFailed", "HTTP 502"),
        (
            Fault::Redirect("https://elsewhere.test/fleet.git"),
            "GitOperationFailed",
            "sends us to https://elsewhere.test",
        ),
        (Fault::WrongName, "GitOperationFailed", "not valid for name"),
        (Fault::Expired, "GitOperationFailed", "certificate expired"),
        (Fault::Stall, "GitOperationFailed", "not done in time"),
        (Fault::StallBody, "GitOperationFailed", "not done in time"),
        (Fault::Truncate, "GitOperationFailed", "the conversation broke"),
        (Fault::Reset, "GitOperationFailed", "the conversation broke"),
        (Fault::FlipPack, "GitOperationFailed", "the conversation broke"),
        (Fault::EndlessList, "GitOperationFailed", "the server sends more than"),
        (Fault::EndlessPack, "GitOperationFailed", "not done in time"),
    ];
    for (round, (fault, reason, words)) in faults.into_iter().enumerate() {
        world.git.set_fault(fault).await.unwrap();
        let (old, new) = (format!("round-{round}"), format!("round-{}", round + 1));
        let (file, manifest) = (format!("{new}.yaml"), world.config_map(&new, "good"));
        let commit = world.repo.commit(&[(&file, &manifest), ("noise.txt", &format!("{noise}{new}"))]).await.unwrap();
        assert_eq!(world.deliver(&commit).await, 202);
        let is = |status: &str, is: &str, message: &str| (status, is) == ("False", reason) && message.contains(words);
        world.source_ready(&format!("{fault:?}: the source says {words:?}"), is).await;
        world.ready_at(&last).await;
        world.meddle(&old, "some-editor", "bad").await;
        world.applied(&old, "good").await;

        world.git.set_fault(Fault::None).await.unwrap();
        world.request_fetch(&new).await;
        world.ready_at(&commit).await;
        world.applied(&new, "good").await;
        last = commit;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_an_address_is_told_and_a_mended_url_counts_at_once() {
    let world = World::new("git-dns").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync_with(json!({"url": "http://nowhere.invalid/fleet.git", "timeout": "20s"}), json!({})).await;
    let is = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "GitOperationFailed")
            && message.contains("nowhere.invalid")
            && (message.contains("cannot connect") && message.contains("dns"))
    };
    world.source_ready("the source says that the name has no address", is).await;
    world.edit::<GitSource>("fleet", "operator", json!({"spec": {"url": world.git.url("fleet")}})).await;
    world.ready_at(&first).await;
}

/// What a server asks of one source is for all that come to it as the same: another source of the same server asks it only then,
/// whatever wants it to look.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_to_be_left_alone_is_by_all_sources() {
    const REST: Duration = Duration::from_secs(6);
    let world = World::new("git-rest").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.another_source("other", json!({})).await;
    world.ready_at(&first).await;
    answered(&world, "other", "", &first).await;

    world.git.set_fault(Fault::LeaveAlone(6)).await.unwrap();
    let asked = Instant::now();
    world.request_fetch("now").await;
    failing(&world, "HTTP 429 and asks to be left alone for 6 s").await;
    world.git.set_fault(Fault::None).await.unwrap();
    let second = world.repo.commit(&[("a.yaml", &world.config_map("a", "2"))]).await.unwrap();
    let annotations = json!({"metadata": {"annotations": {"towline.dev/requested-at": "now"}}});
    world.edit::<GitSource>("other", "operator", annotations).await;
    answered(&world, "other", "now", &second).await;
    assert!(asked.elapsed() >= REST, "it was asked after {:?}", asked.elapsed());
    world.ready_at(&second).await;
}

/// Waits until a source is at a commit and has answered a request.
async fn answered(world: &World, source: &str, request: &str, commit: &str) {
    wait_until(&format!("{source} is at {commit}"), PATIENCE, async || {
        let status = world.api::<GitSource>().get(source).await.unwrap().status.unwrap_or_default();
        let handled = status.last_handled_reconcile_at.clone().unwrap_or_default();
        match handled == request && status.revision == Some(format!("main@sha1:{commit}")) {
            true => Ok(()),
            false => Err(format!("{status:?}")),
        }
    })
    .await
    .unwrap();
}

/// What no compression makes small, so that a pack has a middle.
fn noise() -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}\n")
    };
    (0..2_000).map(|_| next()).collect()
}

/// Waits until the source says that fetching failed, and how.
async fn failing(world: &World, words: &str) {
    let is = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "GitOperationFailed") && message.contains(words)
    };
    world.source_ready(&format!("the source says {words:?}"), is).await;
}
