//! What a repository must not hold, or not so much of: named, and never taken for something that is not there.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_above_a_limit_is_refused_and_what_was_good_stays() {
    let mut world = World::new("limits").await;
    world.agent_with_tables("[git]\nfiles_max = 3\n").await;
    let (a, b) = (world.config_map("a", "1"), world.config_map("b", "1"));
    let first = world.repo.commit(&[("a.yaml", &a), ("b.yaml", &b)]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    world.repo.commit(&[("x/1.txt", ""), ("x/2.txt", "")]).await.unwrap();
    let second = world.repo.remove("b.yaml").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202, "three files: allowed");
    world.gone("b").await;
    let third = world.push(&[("b.yaml", &b), ("a.yaml", &world.config_map("a", "3"))]).await;
    let is = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "GitOperationFailed")
            && message.contains("more than 3 files")
            && message.contains("git.files_max of the agent's configuration")
    };
    world.source_ready("the limit and its key are named", is).await;
    world.ready_at(&second).await;
    world.meddle("a", "some-editor", "drifted").await;
    world.applied("a", "1").await;
    world.gone("b").await;

    world.agent_with_tables("[git]\nfiles_max = 4\n").await;
    world.ready_at(&third).await;
    world.applied("a", "3").await;
    world.applied("b", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_became_a_submodule_is_not_pruned_and_a_pointer_is_no_manifest() {
    let world = World::new("submodule").await;
    let (a, b) = (world.config_map("a", "1"), world.config_map("b", "1"));
    let first = world.repo.commit(&[("apps/a.yaml", &a), ("apps/team/b.yaml", &b)]).await.unwrap();
    world.sync_with(json!({}), json!({"path": "./apps", "prunePolicy": {"maxDeletions": "100%"}})).await;
    world.ready_at(&first).await;
    world.listening().await;

    world.repo.git(&["rm", "-r", "--quiet", "apps/team"]).await.unwrap();
    let link = format!("160000,{first},apps/team");
    world.repo.git(&["update-index", "--add", "--cacheinfo", &link]).await.unwrap();
    world.repo.git(&["commit", "--quiet", "-m", "move the team's part"]).await.unwrap();
    let second = world.repo.push().await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    let says = |words: &'static str, path: &'static str| {
        move |status: &str, reason: &str, message: &str| {
            (status, reason) == ("False", "BuildFailed") && message.contains(words) && message.contains(path)
        }
    };
    world.ready("the submodule is named", says("it is a submodule", "apps/team")).await;
    world.event("BuildFailed", &["apps/team", "it is a submodule"]).await;
    world.applied("b", "1").await;

    world.repo.git(&["rm", "--quiet", "--cached", "apps/team"]).await.unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    world.push(&[("apps/team/b.yaml", pointer)]).await;
    world.ready("the pointer is named", says("it is a pointer of Git LFS", "apps/team/b.yaml")).await;
    world.applied("b", "1").await;
    world.push(&[("apps/team/b.yaml", &world.config_map("b", "4"))]).await;
    world.applied("b", "4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_followed_inside_the_repository_and_not_out_of_it() {
    let world = World::new("links").await;
    let (a, b) = (world.config_map("a", "1"), world.config_map("b", "1"));
    std::fs::create_dir_all(world.repo.work().join("clusters/one")).unwrap();
    symlink("../../base/a.yaml", world.repo.work().join("clusters/one/a.yaml")).unwrap();
    symlink("clusters/one", world.repo.work().join("current")).unwrap();
    world.repo.commit(&[("base/a.yaml", &a), ("clusters/one/b.yaml", &b)]).await.unwrap();
    world.sync_with(json!({}), json!({"path": "./current"})).await;
    world.applied("a", "1").await;
    world.applied("b", "1").await;
    world.listening().await;
    // Nothing below the path changes by this but what the link names.
    let second = world.push(&[("base/a.yaml", &world.config_map("a", "2"))]).await;
    world.applied("a", "2").await;
    world.ready_at(&second).await;

    std::fs::remove_file(world.repo.work().join("clusters/one/a.yaml")).unwrap();
    symlink("../../../../etc/passwd.yaml", world.repo.work().join("clusters/one/a.yaml")).unwrap();
    world.push(&[("notes.txt", "a link that leads out")]).await;
    let out = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "BuildFailed")
            && message.contains("clusters/one/a.yaml")
            && message.contains("leads out of the repository")
    };
    world.ready("the link is named", out).await;
    world.applied("a", "2").await;

    // The path leads elsewhere, by the link alone.
    std::fs::remove_file(world.repo.work().join("current")).unwrap();
    symlink("clusters/two", world.repo.work().join("current")).unwrap();
    world.push(&[("clusters/two/a.yaml", &world.config_map("a", "two"))]).await;
    world.applied("a", "two").await;
    world.gone("b").await;
}
