//! A definition and its objects, a namespace and its contents, in one commit and out again in one; and that both stay where
//! the Sync does not allow such deletions.

use harness::wait_until;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::json;

use crate::world::{PATIENCE, World};

/// What one commit brings: named after the test's namespace, because both are cluster-wide.
struct Set<'w> {
    world: &'w World,
    group: String,
    namespace: String,
}

impl<'w> Set<'w> {
    fn of(world: &'w World) -> Self {
        Self { world, group: format!("{}.test", world.namespace), namespace: format!("{}-inner", world.namespace) }
    }

    async fn commit(&self) -> String {
        let Self { world, group, namespace } = self;
        let definition = format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.{group}}}\n\
             spec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: widgets, kind: Widget}}\n  versions:\n  \
             - name: v1\n    served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        \
             type: object\n        properties: {{spec: {{type: object, properties: {{size: {{type: integer}}}}}}}}\n"
        );
        let widget = |name: &str, namespace: &str| {
            format!(
                "apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                 spec: {{size: 1}}\n"
            )
        };
        // Sorted by name, everything would come in the wrong order.
        let files = [
            ("all/a-widget.yaml", widget("here", &world.namespace)),
            ("all/b-widget.yaml", widget("inner", namespace)),
            (
                "all/c-inner.yaml",
                world
                    .config_map("inner", "1")
                    .replace(&format!("namespace: {}", world.namespace), &format!("namespace: {namespace}")),
            ),
            ("all/d-namespace.yaml", format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n")),
            ("all/e-definition.yaml", definition),
            ("keep.yaml", world.config_map("keep", "1")),
        ];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
        world.repo.commit(&files).await.unwrap()
    }

    fn widgets(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(&self.group, "v1", "Widget");
        let resource = ApiResource::from_gvk_with_plural(&kind, "widgets");
        Api::namespaced_with(self.world.client.clone(), namespace, &resource)
    }

    fn definitions(&self) -> Api<CustomResourceDefinition> {
        Api::all(self.world.client.clone())
    }

    async fn definition(&self) -> Option<CustomResourceDefinition> {
        self.definitions().get_opt(&format!("widgets.{}", self.group)).await.unwrap()
    }

    async fn inner_namespace(&self) -> Option<Namespace> {
        Api::<Namespace>::all(self.world.client.clone()).get_opt(&self.namespace).await.unwrap()
    }

    fn inner_config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }

    async fn is_there(&self) {
        self.widgets(&self.world.namespace).get("here").await.unwrap();
        self.widgets(&self.namespace).get("inner").await.unwrap();
        self.inner_config_maps().get("inner").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_and_a_namespace_come_and_go_with_their_contents() {
    let world = World::new("definitions").await;
    let set = Set::of(&world);
    let first = set.commit().await;
    let allowed = ["Namespace", "CustomResourceDefinition"];
    world.sync_with(json!({}), json!({"prunePolicy": {"allowKinds": allowed, "maxDeletions": "100%"}})).await;
    world.ready_at(&first).await;
    set.is_there().await;
    world.listening().await;

    let second = world.repo.remove("all").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    world.ready_at(&second).await;
    wait_until("the definition and the namespace are gone", PATIENCE, async || {
        match (set.definition().await, set.inner_namespace().await) {
            (None, None) => Ok(()),
            (definition, namespace) => {
                Err(format!("{:?} {:?}", definition.map(|d| d.status), namespace.map(|n| n.status)))
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(world.owned("fleet").await, ["keep"]);
    assert_eq!(world.fleet().await.status.unwrap().inventory.unwrap().entries, 1);

    // And once more: what was known of the kind is known anew.
    let third = world.repo.revert().await.unwrap();
    assert_eq!(world.deliver(&third).await, 202);
    world.ready_at(&third).await;
    set.is_there().await;
    let smaller = json!({"spec": {"size": 0}});
    let by = PatchParams { field_manager: Some("some-editor".to_owned()), ..PatchParams::default() };
    set.widgets(&world.namespace).patch("here", &by, &Patch::Merge(smaller)).await.unwrap();
    has_size(&set, 1).await;

    // One more version of the kind, and an object in it.
    let file = |name: &str| std::fs::read_to_string(world.repo.work().join("all").join(name)).unwrap();
    let version = file("e-definition.yaml");
    let at = version.find("  - name: v1").unwrap();
    let second_version = version[at..].replace("name: v1", "name: v2").replace("storage: true", "storage: false");
    let widget = file("a-widget.yaml").replace("/v1", "/v2").replace("size: 1", "size: 2");
    let definition = version + &second_version;
    let fourth = world.push(&[("all/e-definition.yaml", &definition), ("all/a-widget.yaml", &widget)]).await;
    world.ready_at(&fourth).await;
    has_size(&set, 2).await;
}

async fn has_size(set: &Set<'_>, size: i64) {
    wait_until(&format!("the widget's size is {size}"), PATIENCE, async || {
        let widget = set.widgets(&set.world.namespace).get("here").await.map_err(|e| e.to_string())?;
        if widget.data["spec"]["size"] == size { Ok(()) } else { Err(widget.data.to_string()) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_and_a_namespace_stay_where_their_deletion_is_not_allowed() {
    let world = World::new("definitions-kept").await;
    let set = Set::of(&world);
    let first = set.commit().await;
    world.sync_with(json!({}), json!({"prunePolicy": {"maxDeletions": "100%"}})).await;
    world.ready_at(&first).await;
    set.is_there().await;
    world.listening().await;
    let (definition, namespace) = (set.definition().await.unwrap(), set.inner_namespace().await.unwrap());

    let second = world.repo.remove("all").await.unwrap();
    assert_eq!(world.deliver(&second).await, 202);
    world.ready_at(&second).await;
    let message = world.said_of("fleet").await.2;
    for kept in [format!("Namespace/{}", set.namespace), format!("CustomResourceDefinition/widgets.{}", set.group)] {
        assert!(message.contains(&kept), "{message}");
    }
    assert!(message.contains("prunePolicy.allowKinds"), "{message}");
    assert!(set.widgets(&world.namespace).get_opt("here").await.unwrap().is_none(), "a widget is left: {message}");
    assert!(set.inner_config_maps().get_opt("inner").await.unwrap().is_none(), "a ConfigMap is left");
    assert_eq!(set.definition().await.unwrap().metadata.uid, definition.metadata.uid);
    let there = set.inner_namespace().await.unwrap();
    assert_eq!((there.metadata.uid, there.metadata.deletion_timestamp), (namespace.metadata.uid, None));
    // They are owned on, so that allowing it later deletes them.
    assert_eq!(world.fleet().await.status.unwrap().inventory.unwrap().entries, 3);

    let allow = json!({"spec": {"prunePolicy": {"allowKinds": ["Namespace", "CustomResourceDefinition"]}}});
    world.edit::<towline_agent::api::Sync>("fleet", "operator", allow).await;
    wait_until("both are deleted once it is allowed", PATIENCE, async || {
        match (set.definition().await, set.inner_namespace().await) {
            (None, None) => Ok(()),
            left => Err(format!("{} {}: {:?}", left.0.is_some(), left.1.is_some(), world.said_of("fleet").await)),
        }
    })
    .await
    .unwrap();
}
