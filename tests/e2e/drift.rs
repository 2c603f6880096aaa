//! Drift is reverted at once and told with who caused it; what Git does not set is nobody's drift. All intervals are an
//! hour: only the watch can have seen it.

use harness::git_server::Fault;
use harness::wait_until;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use towline_agent::api::Sync;
use towline_proto::report::EventKind;

use crate::history;
use crate::world::{PATIENCE, World, uid};

fn deployment(world: &World) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {}}}\nspec:\n  replicas: 1\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         containers: [{{name: web, image: 'web.test/web:1'}}]\n",
        world.namespace
    )
}

/// Waits until replicas and image are as Git says.
async fn deployment_is_right(world: &World) {
    wait_until("the Deployment is as Git says", PATIENCE, async || {
        let web = world.api::<Deployment>().get("web").await.map_err(|e| e.to_string())?;
        let spec = web.spec;
        let image = spec.template.spec.unwrap_or_default().containers.into_iter().find_map(|c| c.image);
        let seen = (spec.replicas, image);
        if seen == (Some(1), Some("web.test/web:1".to_owned())) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await
    .unwrap();
}

/// Waits until a ConfigMap is there again as a new object.
async fn comes_back(world: &World, name: &str) {
    let old = uid(world, name).await;
    world.delete(name).await;
    wait_until(&format!("ConfigMap {name} comes back"), PATIENCE, async || {
        let seen = world.config_maps().get_opt(name).await.map_err(|e| e.to_string())?;
        if seen.as_ref().and_then(|s| s.uid()).is_some_and(|new| new != old) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_reverted_at_once_and_told_with_who_did_it() {
    let world = World::new("drift").await;
    let files = [("a.yaml", world.config_map("a", "1")), ("web.yaml", deployment(&world))];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    world.sync().await;
    world.ready_at(&commit).await;

    world.meddle("a", "some-editor", "2").await;
    world.applied("a", "1").await;
    world.event("DriftReverted", &["ConfigMap/", "/a reverted", "some-editor"]).await;
    let report = world.report(EventKind::DriftReverted, &["some-editor"]).await;
    assert_eq!((report.trigger.as_str(), report.changes[0].action.as_str()), ("drift", "reverted"));
    assert_eq!(report.changes[0].fields, ["data.value"]);
    world.event("DriftReverted", &["some-editor", "data.value (\"2\" instead of \"1\")"]).await;

    let scale = PatchParams { field_manager: Some("some-scaler".to_owned()), ..PatchParams::default() };
    let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
    world.api::<Deployment>().patch_scale("web", &scale, &five).await.unwrap();
    deployment_is_right(&world).await;
    world.event("DriftReverted", &["/web reverted", "some-scaler", "spec.replicas (5 instead of 1)"]).await;

    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web.test/web:2"}]}}}});
    world.edit::<Deployment>("web", "some-patcher", image).await;
    deployment_is_right(&world).await;
    world
        .event("DriftReverted", &["/web reverted", "some-patcher", "spec.template.spec.containers[web].image ("])
        .await;

    comes_back(&world, "a").await;
    world.event("DriftReverted", &["/a reverted: it was deleted"]).await;

    let no_labels =
        json!({"metadata": {"labels": {"towline.dev/sync-name": null, "towline.dev/sync-namespace": null}}});
    let unlabelled = world.edit::<ConfigMap>("a", "some-cleaner", no_labels).await;
    assert!(unlabelled.labels().is_empty());
    wait_until("the owner labels are back", PATIENCE, async || {
        let labelled = world.labelled("fleet").await;
        if labelled.iter().any(|(name, _)| name == "a") { Ok(()) } else { Err(format!("{labelled:?}")) }
    })
    .await
    .unwrap();
    let reports = format!("{:#?}", world.reports().await);
    assert!(
        reports.contains("spec.replicas") && !reports.contains("instead of"),
        "a value left the cluster: {reports}"
    );
    // Nothing of it was taken for a new revision or an interval.
    world.ready_at(&commit).await;

    world.git.set_fault(Fault::Down).await.unwrap();
    let requests = world.git.request_count();
    world.meddle("a", "some-editor", "3").await;
    world.applied("a", "1").await;
    comes_back(&world, "a").await;
    assert_eq!(world.git.request_count(), requests, "drift asked the Git server");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_drifted_secret_the_field_is_told_and_no_value() {
    let world = World::new("drift-secret").await;
    let namespace = &world.namespace;
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: {namespace}}}\nstringData: {{password: first-hunter-1}}\n"
    );
    let commit = world.repo.commit(&[("keys.yaml", &secret)]).await.unwrap();
    world.sync().await;
    world.ready_at(&commit).await;
    let theirs = json!({"stringData": {"password": "second-hunter-2"}});
    world.edit::<Secret>("keys", "some-thief", theirs).await;
    world.event("DriftReverted", &["/keys reverted", "some-thief", "data.password (*** instead of ***)"]).await;
    let report = world.report(EventKind::DriftReverted, &["some-thief"]).await;
    assert_eq!(report.changes[0].fields, ["data.password"]);
    let live = world.api::<Secret>().get("keys").await.unwrap().data.unwrap();
    assert_eq!(live["password"].0, b"first-hunter-1");
    let mut told = format!("{:#?}\n{:#?}\n{:#?}", world.fleet().await, world.events().await, world.reports().await);
    told += &world.agent.log();
    for value in ["first-hunter-1", "second-hunter-2"] {
        let base64 = data_encoding::BASE64.encode(value.as_bytes());
        assert!(!told.contains(value) && !told.contains(&base64), "{value} was told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_git_does_not_set_is_left_alone() {
    let world = World::new("drift-not").await;
    let files = [
        ("a.yaml", world.config_map("a", "1")),
        ("b.yaml", world.config_map("b", "1")),
        ("web.yaml", deployment(&world)),
    ];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    world.sync().await;
    world.ready_at(&commit).await;

    let a = world.edit::<ConfigMap>("a", "some-editor", json!({"data": {"extra": "mine"}})).await;
    // As `kubectl rollout restart` does it.
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    let web = world.edit::<Deployment>("web", "kubectl-rollout", restart).await;
    let controller = PatchParams { field_manager: Some("some-controller".to_owned()), ..PatchParams::default() };
    let status = json!({"status": {"conditions": [{"type": "Told", "status": "True"}]}});
    world.api::<Deployment>().patch_status("web", &controller, &Patch::Merge(status)).await.unwrap();

    // Drift is taken up in its order: when this is reverted, the above was looked at.
    world.meddle("b", "some-editor", "2").await;
    world.applied("b", "1").await;
    world.report(EventKind::DriftReverted, &["/b reverted"]).await;

    assert_eq!(world.config_maps().get("a").await.unwrap().resource_version(), a.resource_version(), "a was written");
    let since = history::since(&world.api::<Deployment>(), "web", &web.resource_version().unwrap()).await;
    for version in since {
        assert_eq!(version.metadata.generation, web.metadata.generation, "the Deployment's spec was written");
        let template = version.spec.template.metadata.unwrap_or_default();
        assert!(template.annotations.unwrap_or_default().contains_key("kubectl.kubernetes.io/restartedAt"));
    }
    for report in world.reports().await {
        let reverted = report.changes.iter().filter(|c| c.action == "reverted");
        assert!(reverted.into_iter().all(|c| c.object.ends_with("/b")), "{report:#?}");
    }
}

/// The inventory says that nothing changed in Git; that nothing changed in the cluster while nobody watched, it cannot say.
#[tokio::test(flavor = "multi_thread")]
async fn drift_is_found_after_a_restart_and_beside_a_commit_that_touches_nothing() {
    let mut world = World::new("drift-restart").await;
    let (a, note) = (world.config_map("a", "1"), world.config_map("elsewhere", "1"));
    let commit = world.repo.commit(&[("apps/a.yaml", &a), ("other/b.yaml", &note)]).await.unwrap();
    world.sync_with(json!({}), json!({"path": "apps"})).await;
    world.ready_at(&commit).await;

    world.agent.kill();
    world.meddle("a", "some-editor", "2").await;
    world.agent.resume().unwrap();
    world.applied("a", "1").await;
    world.event("DriftReverted", &["/a reverted", "some-editor"]).await;
    world.meddle("a", "some-editor", "3").await;
    world.applied("a", "1").await;

    world.agent.kill();
    world.git.set_fault(Fault::Down).await.unwrap();
    world.meddle("a", "another-editor", "2").await;
    world.agent.resume().unwrap();
    world.applied("a", "1").await;
    world.git.set_fault(Fault::None).await.unwrap();

    // Both in one moment: the revision does not touch the Sync, and is no reason to pass over the drift.
    let value = world.config_map("elsewhere", "2");
    let commit = world.repo.commit(&[("other/b.yaml", &value)]).await.unwrap();
    let (_, status) = tokio::join!(world.meddle("a", "some-editor", "4"), world.deliver(&commit));
    assert_eq!(status, 202);
    world.applied("a", "1").await;
    world.source_ready("the commit is fetched", |_, _, message| message.contains(&commit)).await;
    let sync: Sync = world.fleet().await;
    assert!(sync.status.unwrap().last_applied_revision.is_some());
}
