//! What manifests, live objects and Syncs say of how and where things are applied, and whose an object is by its labels.

use harness::api_proxy::{Fault, Seen};
use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World};

fn with(manifest: &str, annotation: &str) -> String {
    manifest.replace("metadata:\n", &format!("metadata:\n  annotations: {{{annotation}}}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_says_how_an_object_is_applied() {
    let world = World::new("policies").await;
    world.create_config_map("there", json!({"value": "by hand"}), json!({})).await;
    let policy =
        |name: &str, value: &str, ssa: &str| with(&world.config_map(name, value), &format!("towline.dev/ssa: {ssa}"));
    let files = [
        ("there.yaml", policy("there", "git", "IfNotPresent")),
        ("new.yaml", policy("new", "git", "IfNotPresent")),
        ("ignored.yaml", policy("ignored", "git", "Ignore")),
        ("live.yaml", world.config_map("live", "1")),
    ];
    let first = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.applied("there", "by hand").await;
    world.applied("new", "git").await;
    assert!(world.config_maps().get_opt("ignored").await.unwrap().is_none());

    // Its own changes are nobody's drift; that it is deleted is.
    world.meddle("new", "some-controller", "theirs").await;
    let asks = json!({"metadata": {"annotations": {"towline.dev/reconcile": "disabled"}}, "data": {"value": "mine"}});
    world.edit::<ConfigMap>("live", "operator", asks).await;
    world.listening().await;
    let second = world
        .push(&[("live.yaml", &world.config_map("live", "2")), ("new.yaml", &policy("new", "git 2", "IfNotPresent"))])
        .await;
    let said = world.ready_at(&second).await.status.unwrap().conditions;
    let message = &said.iter().find(|c| c.type_ == "Ready").unwrap().message;
    assert!(message.contains("not applied: ConfigMap/") && message.contains("/live ("), "{message}");
    world.applied("live", "mine").await;
    world.applied("new", "theirs").await;
    world.delete("new").await;
    world.applied("new", "git 2").await;
    let no_more = json!({"metadata": {"annotations": {"towline.dev/reconcile": null}}});
    world.edit::<ConfigMap>("live", "operator", no_more).await;
    world.applied("live", "2").await;

    let bad = world.push(&[("live.yaml", &with(&world.config_map("live", "3"), "towline.dev/ssa: Sometimes"))]).await;
    let told = |_: &str, reason: &str, message: &str| {
        reason == "BuildFailed" && message.contains("live.yaml:1") && message.contains("\"Sometimes\"")
    };
    world.ready(&format!("the mistake in {bad} is told with its place"), told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_to_be_there_is_never_written_over_and_costs_nothing() {
    let (world, proxy) = World::behind("if-not-present").await;
    let only = |name: &str, value: &str| with(&world.config_map(name, value), "towline.dev/ssa: IfNotPresent");
    let first =
        [("a.yaml", only("raced", "git")), ("b.yaml", only("ours", "1")), ("c.yaml", world.config_map("c", "1"))];
    let first = world.repo.commit(&first.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    let is_creation = |seen: &Seen| {
        let is_written = matches!(seen.verb, "create" | "patch") && seen.meant == (None, None) && !seen.dry_run;
        is_written && seen.resource == "configmaps"
    };
    // It comes into being after the API server said that it is not there.
    let hold = proxy.while_on(Fault::Hold, is_creation);
    world.sync().await;
    hold.committed(3, PATIENCE).await;
    world.create_config_map("raced", json!({"value": "theirs"}), json!({})).await;
    hold.end();
    world.ready_at(&first).await;
    world.applied("raced", "theirs").await;
    world.applied("ours", "1").await;
    assert_eq!(world.owned("fleet").await, ["c", "ours"], "what somebody else made is claimed");

    world.listening().await;
    // Whoever works on what Towline created is left alone; that Towline created it is known all the same.
    world.meddle("ours", "some-controller", "theirs").await;
    let push = async |value: &str| {
        let commit = world.push(&[("c.yaml", &world.config_map("c", value))]).await;
        world.ready_at(&commit).await;
    };
    push("2").await;
    let mark = proxy.mark();
    push("3").await;
    let about = |seen: &Seen| matches!(seen.name.as_deref(), Some("raced" | "ours"));
    let asked = proxy.since(mark, |seen| about(seen) && seen.resource == "configmaps");
    assert!(asked.is_empty(), "what is to be left alone is asked about: {asked:#?}");
    world.applied("ours", "theirs").await;
    for path in ["a.yaml", "b.yaml"] {
        world.repo.remove(path).await.unwrap();
    }
    push("4").await;
    world.gone("ours").await;
    world.applied("raced", "theirs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_created_and_not_entered_is_owned_by_the_next_pass() {
    let (world, proxy) = World::behind("if-not-entered").await;
    let only = with(&world.config_map("a", "1"), "towline.dev/ssa: IfNotPresent");
    world.repo.commit(&[("a.yaml", &only), ("keep.yaml", &world.config_map("keep", "1"))]).await.unwrap();
    // What would follow its creation is not answered, as if the agent had ended between the two.
    let is_next = |seen: &Seen| seen.is("patch", "configmaps") && !seen.dry_run && seen.name.as_deref() == Some("a");
    let fault = proxy.while_on(Fault::Status(500, None), is_next);
    world.sync().await;
    fault.committed(1, PATIENCE).await;
    world.applied("a", "1").await;
    fault.end();
    world.ready("it is owned", |status, _, _| status == "True").await;
    world.listening().await;
    world.repo.remove("a.yaml").await.unwrap();
    world.push(&[("keep.yaml", &world.config_map("keep", "2"))]).await;
    world.gone("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_namespace_holds_everything_and_can_be_changed() {
    let world = World::new("target").await;
    let (one, two) = (format!("{}-one", world.namespace), format!("{}-two", world.namespace));
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: whatever}\n";
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1")), ("n.yaml", namespace)]).await.unwrap();
    let policy = json!({"allowKinds": ["Namespace"], "maxDeletions": "100%"});
    world.sync_with(json!({}), json!({"targetNamespace": one, "prunePolicy": policy})).await;
    world.ready_at(&first).await;
    let there = async |namespace: &str| {
        let api: Api<ConfigMap> = Api::namespaced(world.client.clone(), namespace);
        api.get_opt("a").await.unwrap().is_some_and(|a| a.metadata.deletion_timestamp.is_none())
    };
    assert!(there(&one).await && !there(&world.namespace).await);

    world.edit::<Sync>("fleet", "operator", json!({"spec": {"targetNamespace": two}})).await;
    wait_until("everything is in the other namespace", PATIENCE, async || {
        match (there(&one).await, there(&two).await) {
            (false, true) => Ok(()),
            seen => Err(format!("{seen:?} {:?}", world.said_of("fleet").await)),
        }
    })
    .await
    .unwrap();
}

/// The other Sync stands in a namespace that this agent does not watch: only labels tell of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_another_syncs_labels_are_on_is_refused_until_that_sync_is_gone() {
    let world = World::new("labels").await;
    let elsewhere = world.plane.namespace("labels-elsewhere").await.unwrap();
    let syncs: Api<Sync> = Api::namespaced(world.client.clone(), &elsewhere);
    let other = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "metadata": {"name": "other"},
        "spec": {"sourceRef": {"kind": "GitSource", "name": "none"}, "prune": true},
    });
    syncs.create(&PostParams::default(), &serde_json::from_value(other).unwrap()).await.unwrap();
    let labels = json!({"towline.dev/sync-name": "other", "towline.dev/sync-namespace": elsewhere});
    world.create_config_map("shared", json!({"value": "theirs"}), labels).await;

    let commit = world.repo.commit(&[("shared.yaml", &world.config_map("shared", "ours"))]).await.unwrap();
    world.sync().await;
    let names = [format!("{elsewhere}/other"), format!("{}/fleet", world.namespace)];
    let refused = |status: &str, _: &str, message: &str| status == "False" && names.iter().all(|n| message.contains(n));
    world.ready("the object is refused with both names", refused).await;
    world.applied("shared", "theirs").await;

    syncs.delete("other", &DeleteParams::default()).await.unwrap();
    world.ready_at(&commit).await;
    world.applied("shared", "ours").await;
    let live = world.config_maps().get("shared").await.unwrap();
    assert_eq!(live.labels()["towline.dev/sync-name"], "fleet");
}

impl World {
    /// Creates a ConfigMap as somebody else.
    async fn create_config_map(&self, name: &str, data: serde_json::Value, labels: serde_json::Value) {
        let object = json!({"metadata": {"name": name, "labels": labels}, "data": data});
        let object: ConfigMap = serde_json::from_value(object).unwrap();
        let by = PostParams { field_manager: Some("somebody".to_owned()), ..PostParams::default() };
        self.config_maps().create(&by, &object).await.unwrap();
    }
}
