//! What costs no requests: a cluster at rest, a busy workload's status, a watch that ends.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::api_proxy::{ApiProxy, Fault, Seen, WatchEnd};
use harness::wait_until;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use towline_agent::api::Sync;

use crate::world::{PATIENCE, World};

/// The rest that the design speaks of.
const REST: Duration = Duration::from_secs(60);
/// Long enough for what follows an event at once to be over, on a busy machine too.
const CALM: Duration = Duration::from_secs(5);

const SYNCS: usize = 100;
const OBJECTS: usize = 4;

fn costs(seen: &Seen) -> bool {
    // The Pods of a workload that does not progress are looked at when it was listed or its status has changed.
    !seen.is_rest() && !seen.is("list", "pods")
}

fn is_write(seen: &Seen) -> bool {
    !seen.dry_run && matches!(seen.verb, "patch" | "update" | "create" | "delete")
}

fn is_dry_run(seen: &Seen) -> bool {
    seen.dry_run
}

/// Waits until nothing is asked for a while, and answers with the place in the log from which to count.
async fn calm(proxy: &ApiProxy) -> usize {
    proxy.quiet(CALM, PATIENCE, costs).await.unwrap();
    proxy.mark()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resting_cluster_is_asked_nothing() {
    let (world, proxy) = World::behind("resting").await;
    let manifests: Vec<(String, String)> = (0..SYNCS)
        .map(|sync| {
            let objects = (0..OBJECTS).map(|n| world.config_map(&format!("c{sync}-{n}"), "1"));
            (format!("{sync}/all.yaml"), objects.collect::<Vec<_>>().join("---\n"))
        })
        .collect();
    let files: Vec<(&str, &str)> = manifests.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let commit = world.repo.commit(&files).await.unwrap();
    world.sync_with(json!({}), json!({"path": "0"})).await;
    for sync in 1..SYNCS {
        world.another_sync(&format!("s{sync}"), json!({"path": sync.to_string()})).await;
    }
    wait_until("all Syncs are Ready", 2 * PATIENCE, async || {
        let syncs = world.api::<Sync>().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let is_ready = |sync: &&Sync| {
            let conditions = sync.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
            conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True" && c.message.contains(&commit))
        };
        let ready = syncs.items.iter().filter(is_ready).count();
        if ready == SYNCS { Ok(()) } else { Err(format!("{ready} of {SYNCS}")) }
    })
    .await
    .unwrap();
    assert_eq!(
        world
            .config_maps()
            .list_metadata(&ListParams::default().labels("towline.dev/sync-name"))
            .await
            .unwrap()
            .items
            .len(),
        SYNCS * OBJECTS
    );
    // Watches are cluster-wide: what becomes of other tests' workloads is looked at, too.
    let namespace = world.namespace.clone();
    let is_own = move |seen: &Seen| seen.namespace.as_ref().is_none_or(|of| *of == namespace);
    proxy.quiet(REST, 4 * REST, |seen| !seen.is_rest() && is_own(seen)).await.unwrap();
}

fn deployment(world: &World) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: busy, namespace: {}}}\nspec:\n  replicas: 1\n  \
         selector: {{matchLabels: {{app: busy}}}}\n  template:\n    metadata: {{labels: {{app: busy}}}}\n    \
         spec: {{containers: [{{name: main, image: none.test/none}}]}}\n",
        world.namespace
    )
}

/// Its status is written all the time, and its health goes up and down with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_busy_workload_costs_no_dry_runs() {
    let (world, proxy) = World::behind("storm").await;
    let commit = world.repo.commit(&[("all.yaml", &deployment(&world))]).await.unwrap();
    world.sync_with(json!({}), json!({"wait": false})).await;
    world.ready_at(&commit).await;
    let mark = calm(&proxy).await;
    for number in 0..200 {
        let ready = number % 2;
        let status = json!({"status": {"replicas": 1, "readyReplicas": ready, "availableReplicas": ready}});
        let params = PatchParams { field_manager: Some("kubelet".to_owned()), ..PatchParams::default() };
        world.api::<Deployment>().patch_status("busy", &params, &Patch::Merge(status)).await.unwrap();
    }
    calm(&proxy).await;
    let asked = proxy.since(mark, is_dry_run);
    assert!(asked.is_empty(), "{} dry-runs, the first: {}", asked.len(), asked[0]);
    let written = proxy.since(mark, |seen| is_write(seen) && seen.resource == "deployments");
    assert!(written.is_empty(), "{written:?}");

    // It was watched all the time: what is drift is found.
    world.edit::<Deployment>("busy", "kubectl-edit", json!({"spec": {"replicas": 7}})).await;
    wait_until("the drift is put back", PATIENCE, async || {
        let replicas = world.api::<Deployment>().get("busy").await.map_err(|e| e.to_string())?.spec.replicas;
        if replicas == Some(1) { Ok(()) } else { Err(format!("{replicas:?}")) }
    })
    .await
    .unwrap();
}

/// Waits until as many watches run as before, and nothing is asked any more.
async fn watched_again(proxy: &ApiProxy, running: usize) {
    wait_until(&format!("{running} watches run"), PATIENCE, async || {
        let seen = proxy.watches();
        if seen >= running { Ok(()) } else { Err(seen.to_string()) }
    })
    .await
    .unwrap();
    calm(proxy).await;
}

/// Whatever way a watch ends, its kind is listed at most once more, nothing is applied anew, and what happened meanwhile is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_ends_costs_a_list_and_no_apply() {
    let (world, proxy) = World::behind("watch-end").await;
    let objects = (0..20).map(|n| world.config_map(&format!("c{n:02}"), "1"));
    let manifests = objects.chain([deployment(&world)]).collect::<Vec<_>>().join("---\n");
    let commit = world.repo.commit(&[("all.yaml", &manifests)]).await.unwrap();
    world.sync_with(json!({}), json!({"wait": false})).await;
    world.ready_at(&commit).await;
    for how in [WatchEnd::Close, WatchEnd::Cut, WatchEnd::Expired] {
        let mark = calm(&proxy).await;
        let running = proxy.watches();
        assert!(running >= 5, "our three kinds and two of the Sync's: {running}");
        proxy.end_watches(how);
        watched_again(&proxy, running).await;
        let begun = proxy.since(mark, |seen| seen.verb == "watch").len();
        assert!(begun >= running, "{how:?}: {begun} of {running} watches were begun again");
        let asked = proxy.since(mark, costs);
        assert!(asked.iter().all(|seen| seen.verb == "list"), "{how:?}: {asked:#?}");
        // Other tests have objects of these kinds, too: a list may have several pages.
        // The Deployment never becomes available, so its Pods are looked at now and then, whatever its watch does.
        let is_relist = |seen: &&Seen| seen.resource != "pods" && !seen.query.contains("continue=");
        let lists = asked.iter().filter(is_relist).count();
        assert!(lists <= running, "{how:?}: {lists} lists for {running} watches: {asked:#?}");

        // While nobody watches, one object changes and one goes.
        let away = proxy.while_on(Fault::Drop, |seen| matches!(seen.verb, "watch" | "list"));
        proxy.end_watches(how);
        away.committed(1, PATIENCE).await;
        world.meddle("c03", "somebody", "2").await;
        world.delete("c07").await;
        away.end();
        world.applied("c03", "1").await;
        world.applied("c07", "1").await;
        watched_again(&proxy, running).await;
        let objects = |is: fn(&Seen) -> bool| -> BTreeSet<Option<String>> {
            let of_sync =
                move |seen: &Seen| is(seen) && ["configmaps", "deployments"].contains(&seen.resource.as_str());
            proxy.since(mark, of_sync).into_iter().map(|seen| seen.name).collect()
        };
        let wanted = BTreeSet::from(["c03", "c07"].map(|name| Some(name.to_owned())));
        assert_eq!((objects(is_write), objects(is_dry_run)), (wanted.clone(), wanted), "{how:?}");
    }
}

/// Three objects that are not healthy yet: one by the rule of its kind, one by an expression of the Sync, and one that is
/// another's. The watches show all three, so nothing is asked while none moves, and nothing is read when one has.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_health_asks_nothing() {
    let (world, proxy) = World::behind("quiet-wait").await;
    let namespace = world.namespace.clone();
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: slow, namespace: {namespace}}}\nspec:\n  \
         automountServiceAccountToken: false\n  containers: [{{name: c, image: 'c.test/c:1'}}]\n"
    );
    let theirs = serde_json::from_value(json!({"metadata": {"name": "theirs"}})).unwrap();
    world.config_maps().create(&PostParams::default(), &theirs).await.unwrap();
    let files = [("pod.yaml", pod), ("ours.yaml", world.config_map("ours", "1"))];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    let expression = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "current": "'done' in data", "inProgress": "!('done' in data)",
    });
    let check = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs"});
    let spec = json!({
        "wait": true, "timeout": "1h", "retryInterval": "1s", "healthCheckExprs": [expression], "healthChecks": [check],
    });
    world.sync_with(json!({}), spec).await;
    // Without data it has nothing to look into, which is as bad as not done.
    world.config_map_says("theirs", "slow", "yes").await;
    let waits = |left: &'static [&'static str]| {
        move |status: &str, reason: &str, message: &str| {
            let named = |name: &str| message.contains(&format!("/{name} ("));
            (status, reason) == ("Unknown", "Progressing")
                && ["ours", "theirs", "slow"].iter().all(|name| named(name) == left.contains(name))
        }
    };
    world.ready("it waits for all three", waits(&["ours", "theirs", "slow"])).await;

    let is_own = move |seen: &Seen| seen.namespace.as_ref().is_none_or(|of| *of == namespace);
    let costs = |seen: &Seen| !seen.is_rest() && is_own(seen);
    proxy.quiet(4 * CALM, PATIENCE, costs).await.unwrap();
    let mark = proxy.mark();
    world.config_map_says("theirs", "done", "yes").await;
    world.ready("it waits for two", waits(&["ours", "slow"])).await;
    world.config_map_says("ours", "done", "yes").await;
    world.ready("it waits for one", waits(&["slow"])).await;
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = Patch::Merge(json!({"status": {"phase": "Running", "conditions": [ready]}}));
    world.api::<Pod>().patch_status("slow", &PatchParams::default(), &status).await.unwrap();
    world.ready_at(&commit).await;
    let reads =
        proxy.since(mark, |seen| seen.is("get", "configmaps") || seen.is("get", "pods") || seen.is("list", "pods"));
    assert!(reads.is_empty(), "{reads:#?}");
}

impl World {
    /// Somebody else writes a field that Git does not have.
    async fn config_map_says(&self, name: &str, key: &str, value: &str) {
        let patch = Patch::Merge(json!({"data": {key: value}}));
        self.config_maps().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }
}
