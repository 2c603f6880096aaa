//! What watches say of health, on a real API server: the agent's own library, without a pass around it.

use std::collections::BTreeSet;
use std::sync::Arc;

use harness::control_plane;
use harness::wait_until;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use towline_agent::cluster::{Cluster, Moved, Movement, Served, Watches, locked};
use towline_agent::metrics::Metrics;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::Tasks;
use towline_plan::health::{Health, HealthExprs, HealthRules, Status};
use towline_plan::object::{GroupKind, ObjectId, SyncKey};
use towline_plan::watched::Scope;

use crate::world::PATIENCE;

/// Watches for one Sync, and what they tell.
struct Watching {
    client: kube::Client,
    namespace: String,
    cluster: Cluster,
    served: Arc<Served>,
    watches: Watches,
    moved: mpsc::UnboundedReceiver<Moved>,
    sync: SyncKey,
}

impl Watching {
    async fn new(name: &str) -> Self {
        let plane = control_plane::shared().await;
        let (client, namespace) = (plane.client().await.unwrap(), plane.namespace(name).await.unwrap());
        let cluster = Cluster::new(client.clone(), Metrics::new());
        let served = cluster.discover().await.unwrap();
        let (told, moved) = mpsc::unbounded_channel();
        let watches = Watches::new(Tasks::new(), Shutdown::new(), told);
        let sync = SyncKey { namespace: namespace.clone(), name: "fleet".to_owned() };
        Self { client, namespace, cluster, served, watches, moved, sync }
    }

    fn id(&self, group: &str, kind: &str, name: &str) -> ObjectId {
        let namespace = Some(self.namespace.clone());
        ObjectId { kind: GroupKind::new(group, kind), namespace, name: name.to_owned() }
    }

    async fn apply(&self, id: &ObjectId, owned: bool, object: Value) {
        let resource = kube::api::ApiResource {
            group: id.kind.group.clone(),
            version: "v1".to_owned(),
            api_version: object["apiVersion"].as_str().unwrap().to_owned(),
            kind: id.kind.kind.clone(),
            plural: format!("{}s", id.kind.kind.to_lowercase()),
        };
        let mut object = object;
        object["metadata"]["name"] = json!(id.name);
        if owned {
            object["metadata"]["labels"]["towline.dev/sync-name"] = json!(self.sync.name);
            object["metadata"]["labels"]["towline.dev/sync-namespace"] = json!(self.sync.namespace);
        }
        let api: Api<kube::core::DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        api.patch(&id.name, &PatchParams::apply("towline").force(), &Patch::Apply(&object)).await.unwrap();
    }

    fn ensure(&self, scope: &Scope) {
        let _ = self.watches.ensure(&self.cluster, &self.served, &self.sync, scope).unwrap();
    }

    /// Waits until the health of an own object is so.
    async fn own(&self, what: &str, id: &ObjectId, is: impl Fn(&Health) -> bool) {
        wait_until(what, PATIENCE, async || match locked(&self.watches.watched).health(id) {
            Some(health) if is(&health) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
        .unwrap();
    }

    /// Waits until the health of an object that is watched by name is so.
    async fn foreign(&self, what: &str, id: &ObjectId, status: Status) {
        wait_until(what, PATIENCE, async || match locked(&self.watches.watched).foreign_health(id, &self.sync) {
            Some(health) if health.status == status => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
        .unwrap();
    }

    /// Waits until the Sync is told of progress.
    async fn progressed(&mut self) {
        let told = tokio::time::timeout(PATIENCE, async {
            loop {
                let moved = self.moved.recv().await.unwrap();
                if moved.what == Movement::Progress && moved.sync == self.sync {
                    return;
                }
            }
        });
        told.await.unwrap();
        while self.moved.try_recv().is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_judged_by_its_status_and_by_its_pods() {
    let mut watching = Watching::new("health-pods").await;
    let web = watching.id("apps", "Deployment", "web");
    let scope = watching.watches.scope_of(&web);
    watching.ensure(&scope);
    watching.own("it is not there", &web, |health| *health == Health::absent()).await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web.test/web:1"}]},
        }},
    });
    watching.apply(&web, true, deployment).await;
    watching.own("it is on its way", &web, |health| health.status == Status::InProgress).await;
    watching.progressed().await;

    // Its Pods fail, and its own status says nothing of that.
    let pods: Api<Pod> = Api::namespaced(watching.client.clone(), &watching.namespace);
    let pod = wait_until("a Pod is there", PATIENCE, async || {
        let found = pods.list(&ListParams::default().labels("app=web")).await.map_err(|e| e.to_string())?;
        found.items.into_iter().find_map(|pod| pod.metadata.name).ok_or_else(|| "none".to_owned())
    });
    let waiting = json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image"});
    let status = json!({"status": {"phase": "Pending", "containerStatuses": [{
        "name": "web", "image": "web.test/web:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": waiting},
    }]}});
    let pod = pod.await.unwrap();
    pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let by_its_pod = |health: &Health| health.is_failed() && health.message.contains(&pod);
    watching.own("waiting does not help", &web, by_its_pod).await;
    watching.progressed().await;

    let deployments: Api<Deployment> = Api::namespaced(watching.client.clone(), &watching.namespace);
    deployments.delete("web", &Default::default()).await.unwrap();
    watching.own("it is gone", &web, |health| *health == Health::absent()).await;
    watching.progressed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_judge_from_the_moment_they_are_given_and_others_objects_too() {
    let mut watching = Watching::new("health-cel").await;
    let (own, foreign) = (watching.id("", "ConfigMap", "own"), watching.id("", "ConfigMap", "foreign"));
    let config_map =
        |ready: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"ready": ready}});
    let (scope, named) = (watching.watches.scope_of(&own), Scope::named(&foreign));
    watching.apply(&own, true, config_map("no")).await;
    watching.ensure(&scope);
    watching.ensure(&named);
    watching.own("it exists, which is all that is asked", &own, Health::is_current).await;
    watching.foreign("the other does not exist", &foreign, Status::InProgress).await;

    // A kind that was watched without bodies, and a watch that runs already.
    let rules = HealthRules::compile(&[HealthExprs {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        in_progress: None,
        failed: Some("data.ready == 'never'".to_owned()),
        current: "data.ready == 'yes'".to_owned(),
    }]);
    watching.watches.judge_by(&watching.sync, &rules.unwrap());
    watching.own("it is not ready", &own, |health| health.status == Status::InProgress).await;
    watching.apply(&own, true, config_map("yes")).await;
    watching.own("it is ready", &own, Health::is_current).await;
    watching.apply(&own, true, config_map("never")).await;
    watching.own("it will never be", &own, Health::is_failed).await;
    watching.progressed().await;

    // By name, whoever owns it.
    watching.apply(&foreign, false, config_map("no")).await;
    watching.foreign("the other is there", &foreign, Status::InProgress).await;
    watching.progressed().await;
    watching.apply(&foreign, false, config_map("yes")).await;
    watching.foreign("the other is ready", &foreign, Status::Current).await;
    watching.progressed().await;
    assert!(locked(&watching.watches.watched).live(&foreign).is_none(), "it is nobody's own");

    // Without expressions again, and without anything to watch.
    watching.watches.judge_by(&watching.sync, &HealthRules::default());
    watching.own("existing is enough again", &own, Health::is_current).await;
    watching.watches.keep(&watching.sync, &BTreeSet::new());
    assert!(watching.watches.kinds().is_empty());
    assert_eq!(locked(&watching.watches.watched).health(&own), None);
    let maps: Api<ConfigMap> = Api::namespaced(watching.client.clone(), &watching.namespace);
    assert!(maps.get_opt("own").await.unwrap().is_some());
}
