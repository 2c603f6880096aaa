//! How objects go that Git no longer has: when a person confirms it, before what replaces them, after what they hold.

use harness::api_proxy::Fault;
use harness::wait_until;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::world::{PATIENCE, World};

/// Adds an annotation to a manifest.
fn annotated(manifest: &str, key: &str, value: &str) -> String {
    manifest.replacen("metadata:\n", &format!("metadata:\n  annotations: {{{key}: {value:?}}}\n"), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_it_goes_when_a_person_has_confirmed_it() {
    let world = World::new("prune-confirm").await;
    let database = annotated(&world.config_map("database", "1"), "towline.dev/prune", "confirm");
    // What stands in Git when the object is made is no answer to a question nobody has asked yet.
    let database = database.replacen("confirm\"", "confirm\", towline.dev/prune-confirmed: \"true\"", 1);
    let files = ["a", "b", "c"].map(|name| (format!("{name}.yaml"), world.config_map(name, "1")));
    let mut all: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    all.push(("database.yaml", &database));
    let first = world.repo.commit(&all).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    world.repo.git(&["rm", "--quiet", "database.yaml"]).await.unwrap();
    let second = world.repo.remove("a.yaml").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    let held = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "PruneHeld") && message.contains(&second)
    };
    world.ready("the deletion waits for a confirmation", held).await;
    let message = world.said_of("fleet").await.2;
    assert!(message.contains("/database") && message.contains("towline.dev/prune-confirmed=true"), "{message}");
    world.event("PruneHeld", &["/database", "towline.dev/prune-confirmed"]).await;
    world.gone("a").await;
    world.applied("database", "1").await;
    let mut owned = world.owned("fleet").await;
    owned.sort();
    assert_eq!(owned, ["b", "c", "database"]);

    let confirm = |value: &str| json!({"metadata": {"annotations": {"towline.dev/prune-confirmed": value}}});
    world.edit::<ConfigMap>("database", "operator", confirm("false")).await;
    let third = world.push(&[("b.yaml", &world.config_map("b", "2"))]).await;
    let held = |_: &str, reason: &str, message: &str| reason == "PruneHeld" && message.contains(&third);
    world.ready("a denial confirms nothing", held).await;
    world.applied("database", "1").await;

    world.edit::<ConfigMap>("database", "operator", confirm("yes, OPS-12")).await;
    world.gone("database").await;
    world.ready_at(&third).await;
}

fn service(world: &World, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {}\n  annotations: {{towline.dev/prune: early}}\nspec:\n  type: NodePort\n  ports:\n  - {{port: 80, nodePort: 31817}}\n",
        world.namespace
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_a_port_goes_before_what_needs_it() {
    let world = World::new("prune-early").await;
    let keep = world.config_map("keep", "1");
    let first = world.repo.commit(&[("keep.yaml", &keep), ("old.yaml", &service(&world, "old"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    world.repo.git(&["rm", "--quiet", "old.yaml"]).await.unwrap();
    let second = world.push(&[("new.yaml", &service(&world, "new"))]).await;
    world.ready_at(&second).await;
    let services: Api<Service> = world.api();
    assert!(services.get_opt("old").await.unwrap().is_none());
    assert_eq!(services.get("new").await.unwrap().spec.unwrap().ports.unwrap()[0].node_port, Some(31817));

    // What the ceiling holds is held early, too.
    world
        .edit::<towline_agent::api::Sync>("fleet", "operator", json!({"spec": {"prunePolicy": {"maxDeletions": 0}}}))
        .await;
    world.repo.git(&["rm", "--quiet", "new.yaml"]).await.unwrap();
    let third = world.push(&[("newer.yaml", &service(&world, "newer"))]).await;
    let refused = |status: &str, _: &str, message: &str| status == "False" && message.contains("31817");
    world.ready(&format!("the port is taken at {third}"), refused).await;
    assert!(services.get_opt("new").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_when_what_is_in_it_is_gone() {
    let world = World::new("prune-waits").await;
    let namespace = format!("{}-inner", world.namespace);
    let inner = world.config_map("inner", "1").replace(&world.namespace, &namespace);
    let files = [
        ("keep.yaml", world.config_map("keep", "1")),
        ("all/inner.yaml", inner),
        ("all/ns.yaml", format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n")),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    let policy = json!({"allowKinds": ["Namespace"], "maxDeletions": "100%"});
    world.sync_with(json!({}), json!({"prunePolicy": policy})).await;
    world.ready_at(&first).await;
    world.listening().await;
    let contents: Api<ConfigMap> = Api::namespaced(world.client.clone(), &namespace);
    let finalizers = |finalizers: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let by = PatchParams::default();
    contents.patch("inner", &by, &finalizers(json!(["test.towline.dev/busy"]))).await.unwrap();

    let second = world.repo.remove("all").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    let waits = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("Unknown", "Progressing") && message.contains(&format!("{namespace}/inner to be gone"))
    };
    world.ready("the pass waits for what is in the namespace", waits).await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    assert_eq!(namespaces.get(&namespace).await.unwrap().metadata.deletion_timestamp, None);

    contents.patch("inner", &by, &finalizers(json!(null))).await.unwrap();
    world.ready_at(&second).await;
    wait_until("the namespace is gone", PATIENCE, async || match namespaces.get_opt(&namespace).await.unwrap() {
        None => Ok(()),
        Some(there) => Err(format!("{:?}", there.status)),
    })
    .await
    .unwrap();
    assert_eq!(world.owned("fleet").await, ["keep"]);
}

/// What is refused is known only when an earlier stage is done; by then nothing may be gone for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_early_stays_while_something_else_is_refused() {
    let world = World::new("prune-early-refused").await;
    let early = |name: &str| annotated(&world.config_map(name, "1"), "towline.dev/prune", "early");
    let first = world.repo.commit(&[("keep.yaml", &world.config_map("keep", "1")), ("old.yaml", &early("old"))]).await;
    let first = first.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;

    let account =
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: first, namespace: {}}}\n", world.namespace);
    let refused = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: refused, namespace: {}}}\nspec: {{ports: [{{port: 0}}]}}\n",
        world.namespace
    );
    world.repo.git(&["rm", "--quiet", "old.yaml"]).await.unwrap();
    let files = [("account.yaml", account), ("new.yaml", early("new")), ("refused.yaml", refused)];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    world.push(&files).await;
    let failed = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "ReconciliationFailed") && message.contains("Service/")
    };
    world.ready("something is refused", failed).await;
    world.applied("old", "1").await;
    assert!(world.config_maps().get_opt("new").await.unwrap().is_none());

    let mended = world.repo.remove("refused.yaml").await.unwrap();
    assert_eq!(world.deliver(&mended).await, 202);
    world.applied("new", "1").await;
    world.gone("old").await;
    world.ready_at(&mended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_right_before_its_deletion_is_looked_at_again() {
    let (world, proxy) = World::behind("prune-conflict").await;
    let files = ["a", "b", "c"].map(|name| (format!("{name}.yaml"), world.config_map(name, "1")));
    let files = files.each_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let first = world.repo.commit(&files).await.unwrap();
    // No second try would come in time.
    world.sync_with(json!({}), json!({"retryInterval": "1h"})).await;
    world.ready_at(&first).await;
    world.listening().await;
    let conflict = proxy.times(2, Fault::Status(409, None), |seen| seen.is("delete", "configmaps"));
    let second = world.repo.remove("a.yaml").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    world.gone("a").await;
    world.ready_at(&second).await;
    assert_eq!(conflict.hits(), 2);
}
