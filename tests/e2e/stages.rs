//! What comes before what, and goes after what, as the API server was asked; what is never made anew; what is let go of in the
//! background.

use harness::api_proxy::{ApiProxy, Seen};
use harness::wait_until;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World};

/// One object of each stage, in files whose names are in no order: cluster role, classes, the rest, webhook configuration.
fn files(world: &World) -> Vec<(String, String)> {
    let (name, namespace) = (format!("{}-x", world.namespace), &world.namespace);
    let meta = format!("metadata: {{name: {name}}}");
    let one = |file: &str, kind: &str, rest: &str| (format!("all/{file}.yaml"), format!("{kind}\n{meta}\n{rest}"));
    vec![
        (
            "all/a-account.yaml".to_owned(),
            format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: account, namespace: {namespace}}}\n"),
        ),
        one(
            "b-webhook",
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration",
            "webhooks: []\n",
        ),
        one(
            "c-mutating",
            "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration",
            "webhooks: []\n",
        ),
        ("all/d-map.yaml".to_owned(), world.config_map("map", "1")),
        one("e-storage", "apiVersion: storage.k8s.io/v1\nkind: StorageClass", "provisioner: e2e.test/none\n"),
        one("f-priority", "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass", "value: 10\n"),
        one("g-ingress", "apiVersion: networking.k8s.io/v1\nkind: IngressClass", "spec: {controller: e2e.test/none}\n"),
        one("h-role", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole", "rules: []\n"),
        ("keep.yaml".to_owned(), world.config_map("keep", "1")),
    ]
}

fn stage(resource: &str) -> usize {
    match resource {
        "clusterroles" | "serviceaccounts" => 0,
        "storageclasses" | "priorityclasses" | "ingressclasses" => 1,
        "configmaps" => 2,
        "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => 3,
        other => panic!("{other} was written"),
    }
}

/// The stages of the writes of one kind since a mark, in their order.
fn stages(proxy: &ApiProxy, mark: usize, verb: &str) -> Vec<usize> {
    let is_object = |seen: &Seen| {
        seen.verb == verb
            && !seen.dry_run
            && !["syncs", "gitsources", "inventories", "events"].contains(&&*seen.resource)
    };
    proxy.since(mark, is_object).iter().map(|seen| stage(&seen.resource)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_come_in_their_order_and_go_in_the_reverse() {
    let (world, proxy) = World::behind("stages").await;
    let files = files(&world);
    let borrowed: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mark = proxy.mark();
    let first = world.repo.commit(&borrowed).await.unwrap();
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": "100%"}})).await;
    world.ready_at(&first).await;
    assert_eq!(stages(&proxy, mark, "patch"), [0, 0, 1, 1, 1, 2, 2, 3, 3]);

    world.listening().await;
    let mark = proxy.mark();
    let second = world.repo.remove("all").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    world.ready_at(&second).await;
    world.gone("map").await;
    assert_eq!(stages(&proxy, mark, "delete"), [3, 3, 2, 1, 1, 1, 0, 0]);
    assert_eq!(world.owned("fleet").await, ["keep"]);
}

/// `towline.dev/force` or not: their loss is loss of data.
#[tokio::test(flavor = "multi_thread")]
async fn claims_and_definitions_are_never_made_anew() {
    let world = World::new("precious").await;
    let group = format!("{}.test", world.namespace);
    let claim = |size: &str, class: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\n  namespace: {}\n  annotations: \
             {{towline.dev/force: enabled}}\nspec:\n  accessModes: [ReadWriteOnce]\n  storageClassName: {class}\n  \
             resources: {{requests: {{storage: {size}}}}}\n",
            world.namespace
        )
    };
    let definition = |scope: &str| {
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: things.{group}\n  \
             annotations: {{towline.dev/force: enabled}}\nspec:\n  group: {group}\n  scope: {scope}\n  names: {{plural: \
             things, kind: Thing}}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: \
             {{openAPIV3Schema: {{type: object}}}}\n"
        )
    };
    let first = world.repo.commit(&[("c.yaml", &claim("1Gi", "one")), ("d.yaml", &definition("Namespaced"))]).await;
    world.sync().await;
    let first = first.unwrap();
    world.ready_at(&first).await;
    world.listening().await;
    let claims: Api<PersistentVolumeClaim> = world.api();
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let before =
        (claims.get("data").await.unwrap().uid(), definitions.get(&format!("things.{group}")).await.unwrap().uid());

    for (file, text) in [("c.yaml", claim("1Gi", "two")), ("d.yaml", definition("Cluster"))] {
        let broken = world.push(&[(file, &text)]).await;
        let place = format!("{file}:1");
        world
            .ready(&format!("the change of {file} is refused"), |status, _, message| {
                status == "False" && message.contains(&place)
            })
            .await;
        let attempted = world.fleet().await.status.unwrap().last_attempted_revision.unwrap_or_default();
        assert!(attempted.contains(&broken), "{attempted}");
        let fixed = world.repo.revert().await.unwrap();
        assert_eq!(world.deliver(&fixed).await, 202);
        world.ready_at(&fixed).await;
    }
    let after =
        (claims.get("data").await.unwrap().uid(), definitions.get(&format!("things.{group}")).await.unwrap().uid());
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_goes_only_where_its_kind_is_allowed() {
    let world = World::new("volumes").await;
    let name = format!("{}-v", world.namespace);
    let volume = format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  capacity: {{storage: 1Gi}}\n  \
         accessModes: [ReadWriteOnce]\n  storageClassName: e2e-none\n  hostPath: {{path: /nowhere}}\n"
    );
    let first = world.repo.commit(&[("keep.yaml", &world.config_map("keep", "1")), ("v.yaml", &volume)]).await.unwrap();
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": "100%"}})).await;
    world.ready_at(&first).await;
    world.listening().await;
    let second = world.repo.remove("v.yaml").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    let said = world.ready_at(&second).await.status.unwrap().conditions;
    let said = &said.iter().find(|c| c.type_ == "Ready").unwrap().message;
    assert!(said.contains(&name) && said.contains("allowKinds"), "{said}");
    let volumes: Api<PersistentVolume> = Api::all(world.client.clone());
    assert!(volumes.get(&name).await.unwrap().metadata.deletion_timestamp.is_none());
    let allow = json!({"spec": {"prunePolicy": {"allowKinds": ["PersistentVolume"]}}});
    world.edit::<Sync>("fleet", "operator", allow).await;
    wait_until("the volume is gone", PATIENCE, async || match volumes.get_opt(&name).await.unwrap() {
        None => Ok(()),
        Some(volume) => Err(format!("{:?} {:?}", volume.metadata, world.said_of("fleet").await)),
    })
    .await
    .unwrap();
}

/// What a Deployment has made goes after it, and it does not wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_pruned_goes_at_once_and_what_it_made_follows() {
    let world = World::new("background").await;
    let web = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {}}}\nspec:\n  replicas: 1\n  selector: \
         {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: \
         [{{name: web, image: 'web.test/web:1'}}]}}\n",
        world.namespace
    );
    let first = world.repo.commit(&[("keep.yaml", &world.config_map("keep", "1")), ("w.yaml", &web)]).await.unwrap();
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": "100%"}})).await;
    world.ready_at(&first).await;
    world.listening().await;
    let sets: Api<ReplicaSet> = world.api();
    let of_web = ListParams::default().labels("app=web");
    let name = wait_until("it has a ReplicaSet", PATIENCE, async || {
        let sets = sets.list(&of_web).await.map_err(|e| e.to_string())?;
        sets.iter().next().map(|set| set.name_any()).ok_or_else(|| "none".to_owned())
    })
    .await
    .unwrap();
    // One that does not go: the Deployment would wait for it if it went in the foreground.
    world.edit::<ReplicaSet>(&name, "e2e", json!({"metadata": {"finalizers": ["e2e.test/hold"]}})).await;
    let second = world.repo.remove("w.yaml").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    world.ready_at(&second).await;
    assert!(world.api::<Deployment>().get_opt("web").await.unwrap().is_none());
    wait_until("the ReplicaSet is deleted, too", PATIENCE, async || {
        let set = sets.get(&name).await.map_err(|e| e.to_string())?;
        if set.metadata.deletion_timestamp.is_some() { Ok(()) } else { Err(format!("{:?}", set.metadata)) }
    })
    .await
    .unwrap();
    world.edit::<ReplicaSet>(&name, "e2e", json!({"metadata": {"finalizers": null}})).await;
}

/// The definition comes by another's hand, and changes by it: the retry is a matter of seconds, the interval an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_a_person_brings_is_noticed() {
    let world = World::new("their-definition").await;
    let group = format!("{}.test", world.namespace);
    let gadget = |version: &str| {
        format!(
            "apiVersion: {group}/{version}\nkind: Gadget\nmetadata: {{name: g, namespace: {}}}\nspec: {{size: 1}}\n",
            world.namespace
        )
    };
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version =
        |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let name = format!("gadgets.{group}");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
                 "versions": [version("v1", true)]},
    });
    let first = world.repo.commit(&[("g.yaml", &gadget("v1"))]).await.unwrap();
    world.sync().await;
    world.ready("the kind is unknown", |status, _, message| status == "False" && message.contains("g.yaml:1")).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    definitions.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    world.ready_at(&first).await;

    world.listening().await;
    let second = world.push(&[("g.yaml", &gadget("v2"))]).await;
    world.ready("the version is unknown", |status, _, message| status == "False" && message.contains("g.yaml:1")).await;
    let both = json!({"spec": {"versions": [version("v1", true), version("v2", false)]}});
    let params = kube::api::PatchParams::default();
    definitions.patch(&name, &params, &kube::api::Patch::Merge(both)).await.unwrap();
    world.ready_at(&second).await;
    definitions.delete(&name, &DeleteParams::default()).await.unwrap();
}
