//! Admission that is in the way: a webhook that does not answer holds back what it guards and no more, and a policy that writes
//! something else into what is applied is a fight.

use harness::wait_until;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use towline_proto::report::EventKind;

use crate::world::{PATIENCE, World};

/// A webhook that nobody serves, for the ConfigMaps of this world with the label `guarded`.
fn unserved(world: &World, name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "unserved.e2e.test", "clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": "Fail",
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                       "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
            "objectSelector": {"matchLabels": {"guarded": "yes"}},
        }],
    })
}

fn guarded(world: &World, name: &str, value: &str) -> String {
    world.config_map(name, value).replace("metadata:\n", "metadata:\n  labels: {guarded: 'yes'}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_that_is_down_guards_waits_and_the_rest_of_its_stage_is_applied() {
    let world = World::new("webhook-down").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(world.client.clone());
    let name = format!("{}-unserved", world.namespace);
    let webhook = serde_json::from_value(unserved(&world, &name)).unwrap();
    webhooks.create(&PostParams::default(), &webhook).await.unwrap();
    wait_until("the API server asks the webhook", PATIENCE, async || {
        let params = PatchParams { dry_run: true, ..PatchParams::apply("e2e") };
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "labels": {"guarded": "yes"}}});
        match world.config_maps().patch("x", &params, &Patch::Apply(&object)).await {
            Ok(_) => Err("not yet".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await
    .unwrap();

    // Later stages wait for it: this one matches nothing.
    let later = format!("{}-later", world.namespace);
    let last = unserved(&world, &later).to_string().replace("\"yes\"", "\"never\"");
    let files = [
        ("a.yaml", guarded(&world, "a", "2")),
        ("b.yaml", world.config_map("b", "1")),
        ("c.yaml", guarded(&world, "c", "1")),
        ("d.yaml", world.config_map("d", "1")),
        ("later.yaml", last),
    ];
    let second = world.push(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await;
    world.applied("b", "1").await;
    world.applied("d", "1").await;
    let told = ["unserved.e2e.test", "a.yaml:1", "c.yaml:1"];
    let is_told = |status: &str, reason: &str, message: &str| {
        (status, reason) == ("False", "ReconciliationFailed") && told.iter().all(|part| message.contains(part))
    };
    world.ready("what is held back is named", is_told).await;
    world.applied("a", "1").await;
    assert!(world.config_maps().get_opt("c").await.unwrap().is_none());
    assert!(webhooks.get_opt(&later).await.unwrap().is_none(), "a later stage was applied");
    let applied = world.fleet().await.status.unwrap().last_applied_revision;
    assert_eq!(applied, Some(format!("main@sha1:{first}")));

    webhooks.delete(&name, &DeleteParams::default()).await.unwrap();
    world.ready_at(&second).await;
    world.applied("a", "2").await;
    world.applied("c", "1").await;
    webhooks.get(&later).await.unwrap();
    webhooks.delete(&later, &DeleteParams::default()).await.unwrap();
}

/// Has the API server write another value into `a` with every write.
async fn mutate(world: &World) {
    let api = |kind: &str, plural: &str| -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        Api::all_with(world.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
    };
    let name = format!("{}-mutates", world.namespace);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
                                   "resources": ["configmaps"]}],
            },
            "matchConditions": [{"name": "a", "expression": "object.metadata.name == 'a'"}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'replace', path: '/data/value', value: oldObject.data.value == 'x' ? 'y' : 'x'}]"}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name},
    });
    let policies = api("MutatingAdmissionPolicy", "mutatingadmissionpolicies");
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    let bindings = api("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings");
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    wait_until("the policy is in force", PATIENCE, async || {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Merge(json!({"data": {"value": "tried"}}));
        let tried = world.config_maps().patch("a", &params, &patch).await.map_err(|e| e.to_string())?;
        let value = tried.data.unwrap_or_default().remove("value");
        if value.as_deref() == Some("tried") { Err(format!("{value:?}")) } else { Ok(()) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mutated_on_its_way_in_each_time_anew_is_told_as_a_fight() {
    let world = World::new("mutated").await;
    let first = world.repo.commit(&[("a.yaml", &world.config_map("a", "1"))]).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.listening().await;
    mutate(&world).await;
    let second = world.push(&[("a.yaml", &world.config_map("a", "2"))]).await;
    world.ready("it is taken up", |_, _, message| message.contains(&second)).await;
    // A write within the second of the last one leaves metadata as it was where a kind has no generation, so each look is for
    // itself and some see nothing.
    let mut round = 0;
    wait_until("a fight is told", PATIENCE, async || {
        round += 1;
        let at = format!("round-{round}");
        world.annotate("towline.dev/requested-at", &at).await;
        wait_until("the request is answered", PATIENCE, async || {
            let status = world.fleet().await.status.unwrap_or_default();
            if status.last_handled_reconcile_at.as_ref() == Some(&at) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await
        .map_err(|e| e.to_string())?;
        let events = world.events().await;
        if events.iter().any(|(_, reason, _)| reason == "DriftRepeated") { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await
    .unwrap();
    // Nobody but Towline wrote it, so nobody else is named.
    world.event("DriftRepeated", &["/a (it was changed: data.value"]).await;
    world.report(EventKind::Failed, &["/a (", "data.value"]).await;
}
