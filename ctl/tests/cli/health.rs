//! `towline health`: judgements of what is given, in every form, and how it ends.

use serde_json::{Value, json};

use crate::Place;

const READY: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, generation: 1}
spec: {replicas: 1, selector: {matchLabels: {app: web}}}
status: {observedGeneration: 1, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: 'True'}]}
";
const STARTING: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop, generation: 1}
spec: {replicas: 3, selector: {matchLabels: {app: api}}}
status: {observedGeneration: 1, replicas: 3, updatedReplicas: 3, availableReplicas: 1}
";
const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, namespace: shop}\n";

#[test]
fn a_table_of_all_documents_and_an_exit_code() {
    let place = Place::new();
    place.write("ready.yaml", &format!("{READY}---\n{MAP}")).write("live/starting.yaml", STARTING);
    let ready = place.towline(&["health", "-f", "ready.yaml"]);
    let table = "\
OBJECT                STATUS    REASON      MESSAGE
Deployment/shop/web   Current   Available   1 of 1 replica available
ConfigMap/shop/m      Current   Exists      exists
";
    assert_eq!((ready.code, ready.stdout.as_str(), ready.stderr.as_str()), (0, table, ""));

    let both = place.towline(&["health", "-f", "ready.yaml", "-f", "live"]);
    assert_eq!(both.code, 1, "one is not current");
    let last = both.stdout.lines().last().unwrap();
    assert_eq!(last, "Deployment/shop/api   InProgress   LessAvailable   1 of 3 replicas available");
}

#[test]
fn lists_come_from_stdin_and_programs_read_all_of_it() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "api-1", "namespace": "shop", "labels": { "app": "api" } },
        "status": { "phase": "Pending", "containerStatuses": [
            { "name": "app", "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } } },
        ] },
    });
    let starting: Value = serde_saphyr::from_str(STARTING).unwrap();
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" }, "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }] } });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [starting, pod, node] }).to_string();
    let ran = Place::new().towline_fed(&["health", "-f", "-", "-o", "json"], &list);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = json!({ "items": [
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "api",
            "status": "Failed", "reason": "ImagePullBackOff",
            "message": "1 of 3 replicas available; Pod api-1: container app: ImagePullBackOff: Back-off pulling image",
        },
        {
            "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "api-1",
            "status": "Failed", "reason": "ImagePullBackOff",
            "message": "container app: ImagePullBackOff: Back-off pulling image",
        },
        {
            "apiVersion": "v1", "kind": "Node", "name": "n",
            "status": "Current", "reason": "KubeletReady", "message": "is ready",
        },
    ] });
    assert_eq!(told, expected);
    let yaml = Place::new().towline_fed(&["health", "-f", "-", "-o", "yaml"], &list).stdout;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), expected);
}

#[test]
fn the_expressions_of_a_sync_judge_too() {
    let place = Place::new();
    let widget = |phase: &str| {
        format!("{{apiVersion: example.com/v1, kind: Widget, metadata: {{name: w}}, status: {{phase: {phase}}}}}")
    };
    let sync = |current: &str| {
        format!(
            "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {{name: s}}\nspec:\n  healthCheckExprs:\n  \
         - {{apiVersion: example.com/v1, kind: Widget, current: {current}}}\n"
        )
    };
    place.write("done.yaml", &widget("Done")).write("busy.yaml", &widget("Busy"));
    place
        .write("sync.yaml", &sync("status.phase == 'Done'"))
        .write("bad.yaml", &sync("status.phase =="))
        .write("map.yaml", MAP);
    assert_eq!(place.towline(&["health", "-f", "busy.yaml"]).code, 0, "nothing is known of the kind");
    assert_eq!(place.towline(&["health", "-f", "done.yaml", "--sync", "sync.yaml"]).code, 0);
    let busy = place.towline(&["health", "-f", "busy.yaml", "--sync", "sync.yaml"]);
    assert_eq!(busy.code, 1);
    assert!(busy.stdout.contains("InProgress   HealthCheckExpr   current is not true yet"), "{}", busy.stdout);
    for (sync, why) in [
        ("bad.yaml", "`status.phase ==` cannot be read"),
        ("map.yaml", "map.yaml holds no object with spec.healthCheckExprs"),
    ] {
        let ran = place.towline(&["health", "-f", "done.yaml", "--sync", sync]);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}

/// Whoever asks in a script must not take a mistake for "not healthy", nor nothing for "all healthy".
#[test]
fn what_cannot_be_judged_ends_with_3_and_says_why() {
    let place = Place::new();
    place
        .write("broken.yaml", "a: [unclosed\n")
        .write("kindless.yaml", "metadata: {name: x}\n")
        .write("empty.yaml", "# nothing\n");
    for (file, why) in [
        ("broken.yaml", "broken.yaml:"),
        ("kindless.yaml", "kindless.yaml:1: apiVersion and kind must both be set"),
        ("empty.yaml", "there is none in what is given"),
        ("nowhere.yaml", "no such file or folder"),
    ] {
        let ran = place.towline(&["health", "-f", file]);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{file}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{file}: {}", ran.stderr);
        assert!(ran.stderr.lines().last().unwrap().starts_with("error: failed to "), "{}", ran.stderr);
    }
    let from_stdin = place.towline_fed(&["health", "-f", "-"], "kind: X\n");
    assert!(from_stdin.code == 3 && from_stdin.stderr.starts_with("stdin:1: "), "{}", from_stdin.stderr);
    assert_eq!(place.towline(&["health"]).code, 2);
}

#[test]
fn a_message_is_cut_in_the_table_and_whole_in_the_wide_one() {
    let place = Place::new();
    let long = "word ".repeat(60);
    place.write("w.yaml", &format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: w}}\nstatus: {{conditions: [{{type: Ready, status: 'False', reason: Busy, message: '{long}'}}]}}\n"));
    assert!(place.towline(&["health", "-f", "w.yaml"]).stdout.ends_with("…\n"));
    assert!(place.towline(&["health", "-f", "w.yaml", "-o", "wide"]).stdout.contains(long.trim()));
}
