//! A Git server that fails is never an empty repository: nothing is pruned, the condition says what failed, and the last
//! good state stays and is kept up; from the mirror also after a restart, and without one nothing is touched.

use harness::git_server::Fault;
use std::fs;

use crate::world::World;

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

/// Waits until the source says that fetching failed, and how.
async fn failing(world: &World, words: &str) {
    let is = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "GitOperationFailed") && message.contains(words)
    };
    world.source_ready(&format!("the source says {words:?}"), is).await;
}
