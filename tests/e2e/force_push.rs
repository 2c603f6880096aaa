//! The branch moves back: by force, with and without an event that says so, and by `git revert`. The cluster follows, and
//! each step counts as newer than the one before.

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_follows_a_branch_that_moves_back() {
    let world = World::new("force-push").await;
    let a = |value: &str| world.config_map("a", value);
    let first = world.repo.commit(&[("a.yaml", &a("1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let mut sequences = vec![sequence(&world).await];
    let second = world.push(&[("a.yaml", &a("2")), ("b.yaml", &world.config_map("b", "1"))]).await;
    world.ready_at(&second).await;
    sequences.push(sequence(&world).await);

    // Rolled back, and an event names the older commit. Events come late and can be forged: a second look decides.
    let looks = conversations(&world);
    world.repo.force_push(&first).await.unwrap();
    assert_eq!(world.deliver(&first).await, 202);
    world.applied("a", "1").await;
    world.gone("b").await;
    world.ready_at(&first).await;
    sequences.push(sequence(&world).await);
    assert_eq!(conversations(&world) - looks, 2, "{:#?}", world.git.requests());

    // Forward again, by force, to a commit with another history.
    let third = world.repo.commit(&[("a.yaml", &a("3")), ("c.yaml", &world.config_map("c", "1"))]).await.unwrap();
    assert_eq!(world.deliver(&third).await, 202);
    world.ready_at(&third).await;
    sequences.push(sequence(&world).await);

    // Back once more, to a commit superseded a moment ago, and no event says so: a lagging replica would look the same, so a
    // second look decides.
    let looks = conversations(&world);
    world.repo.force_push(&second).await.unwrap();
    world.request_fetch("now").await;
    world.applied("a", "2").await;
    world.applied("b", "1").await;
    world.gone("c").await;
    world.ready_at(&second).await;
    sequences.push(sequence(&world).await);
    assert_eq!(conversations(&world) - looks, 2, "{:#?}", world.git.requests());

    let revert = world.repo.revert().await.unwrap();
    assert_eq!(world.deliver(&revert).await, 202);
    world.applied("a", "1").await;
    world.gone("b").await;
    world.ready_at(&revert).await;
    sequences.push(sequence(&world).await);

    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
}

async fn sequence(world: &World) -> u64 {
    world.fleet().await.status.unwrap().last_attempted_sequence.unwrap()
}

/// How often the Git server was talked to: every conversation begins with the list of services.
fn conversations(world: &World) -> usize {
    world.git.requests().iter().filter(|request| request.contains("/info/refs")).count()
}
