use super::*;
use crate::manifest;
use crate::tree::{File, Tree};

fn kinds() -> Kinds {
    let mut kinds = Kinds::default();
    for (group, kind, scope) in [
        ("", "ConfigMap", Scope::Namespaced),
        ("", "Namespace", Scope::Cluster),
        ("apiextensions.k8s.io", "CustomResourceDefinition", Scope::Cluster),
    ] {
        kinds.add(GroupKind::new(group, kind), "v1", scope);
    }
    kinds
}

fn resolve_text(text: &str) -> Result<Vec<Desired>, Vec<Mistake>> {
    let files = vec![File { path: "f.yaml".into(), contents: text.as_bytes().to_vec() }];
    let sync = SyncKey { namespace: "towline-system".into(), name: "apps".into() };
    resolve(manifest::read(&Tree { read: vec![], files }).unwrap(), &kinds(), &sync)
}

#[test]
fn objects_are_owned_and_placed() {
    let desired = resolve_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, uid: x, labels: {app: a}}\nstatus: {}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: shop, labels: null}\n",
    )
    .unwrap();
    insta::assert_yaml_snapshot!(
        desired.iter().map(|d| (d.id.to_string(), &d.value, d.namespace_in_set)).collect::<Vec<_>>()
    );
}

#[test]
fn a_kind_may_come_with_its_definition() {
    let desired = resolve_text(
        "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.com}\nspec: {group: example.com, scope: Cluster, names: {kind: Widget}, versions: [{name: v1, served: true}]}\n",
    )
    .unwrap();
    assert_eq!(desired[0].id.to_string(), "CustomResourceDefinition/widgets.example.com");
    assert_eq!(desired[1].id.to_string(), "Widget/w");
    assert!(desired[1].awaits_definition && !desired[0].awaits_definition);
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let mistakes = resolve_text(
        "apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g}\n---\napiVersion: v2\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice}\n",
    )
    .unwrap_err();
    insta::assert_snapshot!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_is_left_alone_is_not_desired_and_not_gone() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {towline.dev/reconcile: disabled}}\n";
    assert!(resolve_text(text).unwrap().is_empty());
    let files = vec![File { path: "f.yaml".into(), contents: text.as_bytes().to_vec() }];
    let sync = SyncKey { namespace: "towline-system".into(), name: "apps".into() };
    let manifests = manifest::read(&Tree { read: vec![], files }).unwrap();
    let named = left_alone(&manifests, &kinds(), &sync);
    assert_eq!(named.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ConfigMap/towline-system/a"]);
}
