//! Fields that are left to others: applied once, and never again; what is left to whom is not taken back by leaving it out.
//! All intervals are an hour: only the watch, a commit or a change of the Sync can be a reason for a pass.

use harness::api_proxy::Fault;
use harness::wait_until;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use towline_agent::api::Sync;

use crate::history;
use crate::world::{PATIENCE, World};

fn deployment(world: &World, replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {}}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         containers: [{{name: web, image: 'web.test/web:{image}', args: [a, b]}}]\n",
        world.namespace
    )
}

fn ignoring(paths: &[&str], kind: &str) -> Value {
    json!({"driftDetection": {"ignore": [{"paths": paths, "target": {"kind": kind}}]}})
}

async fn web(world: &World) -> Deployment {
    world.api::<Deployment>().get("web").await.unwrap()
}

fn seen(web: &Deployment) -> (Option<i32>, String) {
    let containers = web.spec.template.spec.iter().flat_map(|spec| &spec.containers);
    (web.spec.replicas, containers.filter_map(|c| c.image.clone()).collect())
}

async fn is(world: &World, replicas: i32, image: &str) -> Deployment {
    let wanted = (Some(replicas), format!("web.test/web:{image}"));
    wait_until(&format!("the Deployment is {wanted:?}"), PATIENCE, async || {
        let web = world.api::<Deployment>().get("web").await.map_err(|e| e.to_string())?;
        if seen(&web) == wanted { Ok(web) } else { Err(format!("{:?}", seen(&web))) }
    })
    .await
    .unwrap()
}

/// As a HorizontalPodAutoscaler does it.
async fn scale(world: &World, replicas: u32) -> String {
    let params = PatchParams { field_manager: Some("some-scaler".to_owned()), ..PatchParams::default() };
    let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    world.api::<Deployment>().patch_scale("web", &params, &scale).await.unwrap();
    web(world).await.resource_version().unwrap()
}

/// Whether Towline's record of the object has this field.
fn holds(managed: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry], pointer: &str) -> bool {
    let own = managed.iter().filter(|m| m.manager.as_deref() == Some("towline"));
    own.filter_map(|m| m.fields_v1.as_ref()).any(|fields| fields.0.pointer(pointer).is_some())
}

/// Drift is taken up in its order: when this is reverted, what was done before was looked at. Told is it with its value in an
/// Event only: a report has none, and a digit in it is one of its time.
async fn looked(world: &World, value: &str) {
    world.meddle("probe", "some-editor", value).await;
    world.applied("probe", "1").await;
    world.event("DriftReverted", &["/probe reverted", &format!("data.value ({value:?} instead of \"1\")")]).await;
}

async fn edit_sync(world: &World, spec: Value) {
    world.edit::<Sync>("fleet", "some-person", json!({ "spec": spec })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_an_autoscalers_and_the_image_is_gits() {
    let world = World::new("ignored-hpa").await;
    let probe = world.config_map("probe", "1");
    let commit = world.repo.commit(&[("web.yaml", &deployment(&world, 2, "1")), ("probe.yaml", &probe)]).await.unwrap();
    world.sync_with(json!({}), ignoring(&["/spec/replicas"], "Deployment")).await;
    world.ready_at(&commit).await;
    let created = is(&world, 2, "1").await;
    assert!(!holds(created.managed_fields(), "/f:spec/f:replicas"), "{:#?}", created.managed_fields());

    let since = scale(&world, 5).await;
    looked(&world, "2").await;
    // And when every object is asked about.
    let asked = json!({"metadata": {"annotations": {"towline.dev/requested-at": "now"}}});
    world.edit::<Sync>("fleet", "some-person", asked).await;
    wait_until("the request is answered", PATIENCE, async || {
        let status = world.fleet().await.status.unwrap_or_default();
        if status.last_handled_reconcile_at.as_deref() == Some("now") { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await
    .unwrap();
    for version in history::since(&world.api::<Deployment>(), "web", &since).await {
        assert_eq!(version.spec.replicas, Some(5), "it was reset");
        assert_eq!(version.metadata.generation, web(&world).await.metadata.generation, "its spec was written");
    }

    world.listening().await;
    let since = web(&world).await.resource_version().unwrap();
    let second = world.push(&[("web.yaml", &deployment(&world, 3, "2"))]).await;
    world.ready_at(&second).await;
    is(&world, 5, "2").await;
    for version in history::since(&world.api::<Deployment>(), "web", &since).await {
        assert_eq!(version.spec.replicas, Some(5), "it was reset in between");
    }
    // A commit that changes nothing but what is ignored changes nothing.
    let third = world.push(&[("web.yaml", &deployment(&world, 4, "2"))]).await;
    world.ready_at(&third).await;
    assert_eq!(web(&world).await.spec.replicas, Some(5));

    // Made anew it is as Git says, and the autoscaler's again from then on.
    world.api::<Deployment>().delete("web", &kube::api::DeleteParams::default()).await.unwrap();
    is(&world, 4, "2").await;
    scale(&world, 6).await;
    looked(&world, "3").await;
    assert_eq!(web(&world).await.spec.replicas, Some(6));

    // Without the rule it is Git's, and goes with Git.
    edit_sync(&world, json!({"driftDetection": null})).await;
    is(&world, 4, "2").await;
    scale(&world, 7).await;
    let held = is(&world, 4, "2").await;
    assert!(holds(held.managed_fields(), "/f:spec/f:replicas"));
    let fourth = world.push(&[("web.yaml", &deployment(&world, 4, "3").replace("  replicas: 4\n", ""))]).await;
    world.ready_at(&fourth).await;
    is(&world, 1, "3").await;
}

/// What this is all for: the API server resets what an apply leaves out and nobody else has.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_for_what_is_applied_already_resets_nothing() {
    let world = World::new("ignored-late").await;
    let commit = world.repo.commit(&[("web.yaml", &deployment(&world, 3, "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&commit).await;
    let before = is(&world, 3, "1").await;
    assert!(holds(before.managed_fields(), "/f:spec/f:replicas"));
    let first = ["/spec/replicas", "/spec/template/spec/containers/0/image"];
    edit_sync(&world, ignoring(&first, "Deploy.*")).await;
    wait_until("the fields are let go of", PATIENCE, async || {
        let managed = web(&world).await.managed_fields().to_vec();
        let image = "/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}/f:image";
        if holds(&managed, "/f:spec/f:replicas") || holds(&managed, image) {
            Err(format!("{managed:#?}"))
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    for version in history::since(&world.api::<Deployment>(), "web", &before.resource_version().unwrap()).await {
        assert_eq!(seen(&version), seen(&before));
        assert_eq!(version.metadata.generation, before.metadata.generation);
    }
    // The element of a list is another's in part.
    let theirs =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web.test/web:theirs"}]}}}});
    world.edit::<Deployment>("web", "some-updater", theirs).await;
    world.listening().await;
    let second = world.push(&[("web.yaml", &deployment(&world, 3, "2").replace("args: [a, b]", "args: [c]"))]).await;
    world.ready_at(&second).await;
    let web = is(&world, 3, "theirs").await;
    assert_eq!(web.spec.template.spec.unwrap().containers[0].args.as_deref(), Some(&["c".to_owned()][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_there_keeps_what_is_ignored() {
    let world = World::new("ignored-adopted").await;
    let theirs = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("a".into()), ..Default::default() },
        data: Some([("value".to_owned(), "theirs".to_owned()), ("other".to_owned(), "old".to_owned())].into()),
        ..ConfigMap::default()
    };
    let kubectl = kube::api::PostParams { field_manager: Some("kubectl-create".to_owned()), ..Default::default() };
    world.config_maps().create(&kubectl, &theirs).await.unwrap();
    let text = world.config_map("a", "git") + "  other: new\n";
    let commit =
        world.repo.commit(&[("a.yaml", &text), ("probe.yaml", &world.config_map("probe", "1"))]).await.unwrap();
    let rule = json!([{"paths": ["/data/value"], "target": {"name": "a"}}]);
    world.sync_with(json!({}), json!({"driftDetection": {"ignore": rule}})).await;
    world.ready_at(&commit).await;
    let data = world.config_maps().get("a").await.unwrap().data.unwrap();
    assert_eq!((data["value"].as_str(), data["other"].as_str()), ("theirs", "new"));
    world.meddle("a", "some-editor", "anything").await;
    looked(&world, "2").await;
    let live = world.config_maps().get("a").await.unwrap();
    assert_eq!(live.data.as_ref().unwrap()["value"], "anything");
    assert!(!holds(live.managed_fields(), "/f:data/f:value") && holds(live.managed_fields(), "/f:data/f:other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_cannot_be_followed_is_told_and_changes_nothing() {
    let world = World::new("ignored-wrong").await;
    let commit = world.repo.commit(&[("web.yaml", &deployment(&world, 2, "1"))]).await.unwrap();
    world.sync_with(json!({}), ignoring(&["/metadata/name"], "Deployment")).await;
    let told = world.ready("the rule is refused", |status, reason, message| {
        (status, reason) == ("False", "BuildFailed")
            && message.contains("spec.driftDetection.ignore[0].paths[0]: \"/metadata/name\"")
    });
    let conditions = told.await.status.unwrap().conditions;
    assert!(conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True"), "{conditions:?}");
    assert!(world.api::<Deployment>().get_opt("web").await.unwrap().is_none());
    // What is no pointer does not even get to the agent.
    let params = PatchParams::default();
    let wrong = Patch::Merge(json!({"spec": ignoring(&["spec/replicas"], "Deployment")}));
    let syncs = world.api::<Sync>();
    assert!(syncs.patch("fleet", &params, &wrong).await.unwrap_err().to_string().contains("paths[0]"));

    // A part of what the API server keeps as one.
    edit_sync(&world, json!({"driftDetection": null})).await;
    world.ready_at(&commit).await;
    let before = web(&world).await;
    edit_sync(&world, ignoring(&["/spec/template/spec/containers/0/args/1"], "Deployment")).await;
    world
        .ready("the part is refused", |status, _, message| {
            status == "False" && message.contains("ignore /spec/template/spec/containers/0/args or nothing of it")
        })
        .await;
    let after = web(&world).await;
    assert_eq!((after.metadata.generation, seen(&after)), (before.metadata.generation, seen(&before)));
}

/// Killed when the field is let go of and the rest is not applied yet, it goes on with the field as others left it.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_between_letting_go_and_applying_resets_nothing() {
    let (mut world, proxy) = World::behind("ignored-crash").await;
    let commit = world.repo.commit(&[("web.yaml", &deployment(&world, 3, "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&commit).await;
    world.listening().await;
    let before = is(&world, 3, "1").await;
    let held = proxy.while_on(Fault::Hang, |seen| {
        seen.is("patch", "deployments") && !seen.dry_run && seen.query.contains("force=true")
    });
    edit_sync(&world, ignoring(&["/spec/replicas"], "Deployment")).await;
    let second = world.push(&[("web.yaml", &deployment(&world, 3, "2"))]).await;
    held.committed(1, PATIENCE).await;
    let live = web(&world).await;
    assert!(!holds(live.managed_fields(), "/f:spec/f:replicas"), "it is not let go of yet");
    world.agent.kill();
    held.end();
    scale(&world, 5).await;
    world.agent.resume().unwrap();
    world.ready_at(&second).await;
    is(&world, 5, "2").await;
    for version in history::since(&world.api::<Deployment>(), "web", &before.resource_version().unwrap()).await {
        assert!([Some(3), Some(5)].contains(&version.spec.replicas), "it was reset");
    }
}
