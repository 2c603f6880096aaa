//! What holds a Sync back and says so: `spec.suspend`, and others that change its objects again and again.

use harness::wait_until;
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World};

impl World {
    /// Waits until the Sync has a condition, or has it no more; answers with its message.
    async fn condition(&self, kind: &str, is_there: bool) -> String {
        wait_until(&format!("{kind} is there: {is_there}"), PATIENCE, async || {
            let conditions = self.fleet().await.status.unwrap_or_default().conditions;
            let found = conditions.iter().find(|c| c.type_ == kind && c.status == "True");
            match found.is_some() == is_there {
                true => Ok(found.map(|c| c.message.clone()).unwrap_or_default()),
                false => Err(format!("{conditions:?}")),
            }
        })
        .await
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_sync_does_nothing_and_says_so() {
    let world = World::new("suspend").await;
    let commit = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&commit).await;
    world.listening().await;

    world.edit::<Sync>("fleet", "operator", json!({"spec": {"suspend": true}})).await;
    assert!(world.condition("Suspended", true).await.contains("neither applied, nor reverted, nor pruned"));
    world.event("Suspended", &["spec.suspend"]).await;
    world.meddle("a", "some-editor", "2").await;
    let second = world.push(&[("b.yaml", &world.config_map("b", "1"))]).await;
    world.source_ready("the commit is fetched", |_, _, message| message.contains(&second)).await;
    let map = world.config_maps().get("a").await.unwrap();
    assert_eq!(map.data.unwrap()["value"], "2", "it was reverted");
    assert!(world.config_maps().get_opt("b").await.unwrap().is_none(), "it was applied");

    world.edit::<Sync>("fleet", "operator", json!({"spec": {"suspend": false}})).await;
    world.applied("a", "1").await;
    world.applied("b", "1").await;
    world.condition("Suspended", false).await;
    world.event("Resumed", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fight_is_told_while_it_lasts() {
    let world = World::new("fight").await;
    let commit = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync_with(json!({}), json!({"retryInterval": "5s"})).await;
    world.ready_at(&commit).await;
    for round in 0..7 {
        world.meddle("a", "some-operator", &format!("mine {round}")).await;
        world.applied("a", "1").await;
    }
    let message = world.condition("DriftRepeated", true).await;
    assert!(message.contains("/a (") && message.contains("some-operator"), "{message}");
    world.event("DriftRepeated", &["/a", "some-operator"]).await;
    let told = world.events().await.into_iter().filter(|(_, reason, _)| reason == "DriftRepeated").count();
    assert_eq!(told, 1);
    // What leaves the cluster names fields only.
    world.report(towline_proto::report::EventKind::Failed, &["/a (", "some-operator", "data.value"]).await;
    let reports = format!("{:#?}", world.reports().await);
    assert!(!reports.contains("mine ") && !reports.contains("instead of"), "{reports}");
    world.condition("DriftRepeated", false).await;
}
