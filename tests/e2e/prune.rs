//! What is removed from Git is pruned only where that cannot be a mistake: ceilings, paths, protected objects.

use serde_json::json;
use towline_agent::api::Sync;
use towline_proto::report::EventKind;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_folder_is_held_until_somebody_says_that_it_is_meant() {
    let world = World::new("prune-emptied").await;
    let (a, b) = (world.config_map("a", "1"), world.config_map("b", "1"));
    let files = [("apps/a.yaml", a.as_str()), ("apps/b.yaml", &b), ("apps/.keep", ""), ("README", "")];
    let first = world.repo.commit(&files).await.unwrap();
    world.sync_with(json!({}), json!({"path": "./apps"})).await;
    world.ready_at(&first).await;
    world.listening().await;

    world.repo.git(&["rm", "--quiet", "apps/a.yaml", "apps/b.yaml"]).await.unwrap();
    let emptied = world.push(&[]).await;
    let message = held(&world, &emptied).await;
    for part in ["ConfigMap/", "/a", "/b", &format!("towline.dev/allow-deletions=main@sha1:{emptied}")] {
        assert!(message.contains(part), "{message}");
    }
    world.event("PruneHeld", &["towline.dev/allow-deletions", &emptied]).await;
    world.report(EventKind::PruneHeld, &[&emptied]).await;
    world.applied("a", "1").await;
    world.applied("b", "1").await;

    // What was allowed for one revision is not allowed for another.
    world.annotate("towline.dev/allow-deletions", &format!("main@sha1:{first}")).await;
    world.meddle("a", "some-editor", "2").await;
    let other = world.push(&[("README", "another commit"), ("apps/.keep", "another tree")]).await;
    held(&world, &other).await;
    // Git no longer says what is in it; it is kept, not kept up.
    world.applied("a", "2").await;
    world.applied("b", "1").await;

    world.annotate("towline.dev/allow-deletions", &format!("main@sha1:{other}")).await;
    world.gone("a").await;
    world.gone("b").await;
    world.ready_at(&other).await;
    assert!(world.owned("fleet").await.is_empty());

    // A path that is gone is no empty path.
    let back = world.push(&[("apps/a.yaml", &a)]).await;
    world.ready_at(&back).await;
    let gone = world.repo.remove("apps").await.unwrap();
    assert_eq!(world.deliver(&gone).await, 202);
    let failed = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "BuildFailed") && message.contains("\"apps\"") && message.contains(&gone)
    };
    world.ready("the Sync says that its path is gone", failed).await;
    world.event("BuildFailed", &["no such path"]).await;
    world.annotate("towline.dev/allow-deletions", &format!("main@sha1:{gone}")).await;
    // The pass that the annotation asks for ends like the one before; the next commit's comes after it.
    let good = world.push(&[("apps/c.yaml", &world.config_map("c", "1")), ("apps/a.yaml", &a)]).await;
    world.ready_at(&good).await;
    world.applied("c", "1").await;
    assert!(!world.log_says_deleted("a", &back), "a was deleted when its path was gone");
}

impl World {
    /// Whether a pass after the commit told that it deleted the ConfigMap.
    fn log_says_deleted(&self, name: &str, after: &str) -> bool {
        let log = self.agent.log();
        let since = log.rfind(after).unwrap_or_default();
        log[since..].contains(&format!("/{name} deleted"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_max_deletions_are_held_and_a_protected_object_stays() {
    let world = World::new("prune-max").await;
    let names = ["a", "b", "c", "d", "e", "f"];
    let texts = names.map(|name| (format!("{name}.yaml"), world.config_map(name, "1")));
    let files = texts.each_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": 1}})).await;
    world.ready_at(&first).await;
    world.listening().await;

    world.repo.git(&["rm", "--quiet", "a.yaml", "b.yaml", "c.yaml"]).await.unwrap();
    let second = world.push(&[("d.yaml", &world.config_map("d", "2"))]).await;
    let message = held(&world, &second).await;
    assert!(message.contains("would delete 3 of 6 objects") && message.contains("allows 1"), "{message}");
    world.applied("d", "2").await;

    // A third of six is two, a half is three.
    set_max_deletions(&world, "33%").await;
    world.ready("two are allowed", |_, reason, message| reason == "PruneHeld" && message.contains("allows 2")).await;
    for kept in ["a", "b", "c"] {
        world.applied(kept, "1").await;
    }
    set_max_deletions(&world, "50%").await;
    for gone in ["a", "b", "c"] {
        world.gone(gone).await;
    }
    world.ready_at(&second).await;

    // Protected in the cluster, by whoever may annotate it.
    let keep = json!({"metadata": {"annotations": {"towline.dev/prune": "disabled"}}});
    world.edit::<k8s_openapi::api::core::v1::ConfigMap>("d", "operator", keep).await;
    world.repo.git(&["rm", "--quiet", "d.yaml"]).await.unwrap();
    let third = world.repo.remove("e.yaml").await.unwrap();
    assert_eq!(world.deliver(&third).await, 202);
    world.gone("e").await;
    world.ready_at(&third).await;
    world.applied("d", "2").await;
    assert_eq!(world.owned("fleet").await, ["f"]);
}

async fn set_max_deletions(world: &World, max: &str) {
    world.edit::<Sync>("fleet", "operator", json!({"spec": {"prunePolicy": {"maxDeletions": max}}})).await;
}

/// Waits until the deletions of a commit are held. Answers with what the condition says.
async fn held(world: &World, commit: &str) -> String {
    let held = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "PruneHeld") && message.contains(commit)
    };
    world.ready(&format!("the deletions of {commit} are held"), held).await;
    world.said_of("fleet").await.2
}
