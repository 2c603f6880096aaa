//! What real controllers write, and how it is judged: the fields that `plan` reads are those they write, and Pods are found by
//! the labels they put on them. Kubelets are the tests' own: Pods become what their status says.

use harness::{control_plane, wait_until};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use towline_plan::health::{self, Health, Status};

use crate::world::PATIENCE;

/// A namespace, and what stands in it.
struct Place {
    client: Client,
    namespace: String,
}

impl Place {
    async fn new(name: &str) -> Self {
        let plane = control_plane::shared().await;
        Self { client: plane.client().await.unwrap(), namespace: plane.namespace(name).await.unwrap() }
    }

    fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match kind {
            "PersistentVolume" | "Namespace" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), &self.namespace, &resource),
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create(&self, object: Value) {
        let api = self.api(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    async fn live(&self, api_version: &str, kind: &str, name: &str) -> Value {
        serde_json::to_value(self.api(api_version, kind).get(name).await.unwrap()).unwrap()
    }

    /// Waits until the object is judged so; the message is compared from its beginning.
    async fn becomes(&self, (api_version, kind, name): (&str, &str, &str), status: Status, message: &str) {
        let what = format!("{kind}/{name} is {status}: {message}");
        wait_until(&what, PATIENCE, async || {
            let health = health::judge(&self.live(api_version, kind, name).await);
            let seen = health.status == status && health.message.starts_with(message);
            if seen { Ok(()) } else { Err(health.to_string()) }
        })
        .await
        .unwrap();
    }

    /// Waits until the workload is judged so with its Pods, which are listed by its selector.
    async fn becomes_by_pods(&self, (api_version, kind, name): (&str, &str, &str), status: Status, message: &str) {
        let what = format!("{kind}/{name} with its Pods is {status}: {message}");
        wait_until(&what, PATIENCE, async || {
            let workload = self.live(api_version, kind, name).await;
            let health = judged_by_pods(self, &workload).await;
            let seen = health.status == status && health.message.contains(message);
            if seen { Ok(()) } else { Err(health.to_string()) }
        })
        .await
        .unwrap();
    }

    /// Waits until so many Pods are wanted by these labels, and gives them this status, as a kubelet would.
    async fn kubelet(&self, labels: &str, count: usize, status: &Value) {
        let what = format!("{count} Pods of {labels}");
        let pods = wait_until(&what, PATIENCE, async || {
            let pods = self.pods().list(&ListParams::default().labels(labels)).await.unwrap().items;
            let pods: Vec<_> = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
            if pods.len() == count { Ok(pods) } else { Err(format!("{} Pods", pods.len())) }
        });
        for pod in pods.await.unwrap() {
            let patch = Patch::Merge(json!({ "status": status }));
            self.pods().patch_status(&pod.metadata.name.unwrap(), &PatchParams::default(), &patch).await.unwrap();
        }
    }
}

async fn judged_by_pods(place: &Place, workload: &Value) -> Health {
    let judged = health::judge(workload);
    let Some(selector) = health::selector_of(workload) else { return judged };
    assert_eq!(selector.namespace(), place.namespace);
    let listed = place.pods().list(&ListParams::default().labels(&selector.to_string())).await.unwrap();
    let pods: Vec<Value> = listed.items.iter().map(|pod| serde_json::to_value(pod).unwrap()).collect();
    health::judge_pods(&judged, &pods)
}

fn ready() -> Value {
    json!({
        "phase": "Running",
        "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
        "containerStatuses": [{
            "name": "app", "image": "app", "imageID": "app", "ready": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        }],
    })
}

fn waiting(reason: &str, message: &str, restarts: u32) -> Value {
    json!({
        "phase": "Pending",
        "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
        "containerStatuses": [{
            "name": "app", "image": "app", "imageID": "app", "ready": false, "restartCount": restarts,
            "state": { "waiting": { "reason": reason, "message": message } },
        }],
    })
}

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "app", "image": image }], "terminationGracePeriodSeconds": 0 },
    })
}

fn workload(kind: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": "web" },
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": template("app:1") },
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

async fn new_image(place: &Place, kind: &str, image: &str) {
    let patch = Patch::Merge(json!({ "spec": { "template": template(image) } }));
    place.api("apps/v1", kind).patch("web", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_fails_by_its_newest_pods_only() {
    let place = Place::new("health-deployment").await;
    let web = ("apps/v1", "Deployment", "web");
    place.create(workload("Deployment", json!({ "replicas": 2 }))).await;
    place.becomes(web, Status::InProgress, "0 of 2 replicas available").await;

    place.kubelet("app=web", 2, &waiting("ImagePullBackOff", "Back-off pulling image \"app:1\"", 0)).await;
    place.becomes_by_pods(web, Status::Failed, "ImagePullBackOff: Back-off pulling image").await;

    // The rollout that cures it is not failed by what it cures.
    new_image(&place, "Deployment", "app:2").await;
    place.becomes(web, Status::InProgress, "1 of 2 replicas updated").await;
    place.becomes_by_pods(web, Status::InProgress, "1 of 2 replicas updated").await;

    // As its Pods become ready, the older ones go.
    wait_until("the rollout is complete", PATIENCE, async || {
        let (pods, parameters) = (place.pods(), PatchParams::default());
        for pod in pods.list(&ListParams::default().labels("app=web")).await.unwrap().items {
            if pod.spec.unwrap().containers[0].image.as_deref() == Some("app:2") {
                // One that has gone since is patched in vain.
                let patch = Patch::Merge(json!({ "status": ready() }));
                let _in_vain = pods.patch_status(&pod.metadata.name.unwrap(), &parameters, &patch).await;
            }
        }
        let health = health::judge(&place.live("apps/v1", "Deployment", "web").await);
        if health.is_current() { Ok(()) } else { Err(health.to_string()) }
    })
    .await
    .unwrap();
    place.becomes(web, Status::Current, "2 of 2 replicas available").await;

    place.kubelet("app=web", 2, &waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container", 9)).await;
    place.becomes_by_pods(web, Status::Failed, "restarted 9 times, waits 5m0s before it starts again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_makes_no_progress_fails_at_its_deadline() {
    let place = Place::new("health-deadline").await;
    place.create(workload("Deployment", json!({ "replicas": 1, "progressDeadlineSeconds": 1 }))).await;
    let web = ("apps/v1", "Deployment", "web");
    place.becomes(web, Status::Failed, "made no progress within 1 second: ReplicaSet").await;
    // And is current again when its Pods come to life all the same.
    place.kubelet("app=web", 1, &ready()).await;
    place.becomes(web, Status::Current, "1 of 1 replica available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_is_ready_one_by_one_and_fails_by_its_newest_revision() {
    let place = Place::new("health-statefulset").await;
    let web = ("apps/v1", "StatefulSet", "web");
    place.create(workload("StatefulSet", json!({ "replicas": 2, "serviceName": "web" }))).await;
    place.becomes(web, Status::InProgress, "1 of 2 replicas created").await;
    place.kubelet("app=web", 1, &ready()).await;
    place.kubelet("app=web", 2, &ready()).await;
    place.becomes(web, Status::Current, "2 of 2 replicas ready").await;

    new_image(&place, "StatefulSet", "nope").await;
    place.becomes(web, Status::InProgress, "1 of 2 replicas ready").await;
    let revision = wait_until("the newest revision has a Pod", PATIENCE, async || {
        let live = place.live("apps/v1", "StatefulSet", "web").await;
        match live["status"]["updatedReplicas"].as_i64() {
            Some(1) => Ok(live["status"]["updateRevision"].as_str().unwrap().to_owned()),
            _ => Err(live["status"].to_string()),
        }
    })
    .await
    .unwrap();
    let newest = format!("app=web,controller-revision-hash={revision}");
    place.kubelet(&newest, 1, &waiting("ErrImagePull", "not found", 0)).await;
    place.becomes_by_pods(web, Status::Failed, "Pod web-1: container app: ErrImagePull: not found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_current_when_they_end_and_fail_when_they_give_up() {
    let place = Place::new("health-jobs").await;
    let job = |name: &str, spec: Value| {
        let mut object = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name },
            "spec": { "backoffLimit": 0, "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "app", "image": "app" }] } } },
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    };
    place.create(job("good", json!({}))).await;
    place.create(job("bad", json!({}))).await;
    place.create(job("stuck", json!({}))).await;
    place.create(job("later", json!({ "suspend": true }))).await;
    place.becomes(("batch/v1", "Job", "good"), Status::InProgress, "0 of 1 Pod succeeded, 1 running").await;
    place.becomes(("batch/v1", "Job", "later"), Status::Current, "is suspended").await;
    place.kubelet("job-name=good", 1, &json!({ "phase": "Succeeded" })).await;
    place.kubelet("job-name=bad", 1, &json!({ "phase": "Failed" })).await;
    place.kubelet("job-name=stuck", 1, &waiting("InvalidImageName", "A:b:c", 0)).await;
    place.becomes(("batch/v1", "Job", "good"), Status::Current, "finished: 1 of 1 Pod succeeded").await;
    place.becomes(("batch/v1", "Job", "bad"), Status::Failed, "failed after 1 Pod: Job has reached").await;
    place.becomes_by_pods(("batch/v1", "Job", "stuck"), Status::Failed, "InvalidImageName").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_controllers_write_what_is_read() {
    let place = Place::new("health-others").await;
    // No node in this cluster: none is wanted, and that has been counted.
    place.create(workload("DaemonSet", json!({}))).await;
    place.becomes(("apps/v1", "DaemonSet", "web"), Status::Current, "0 of 0 Pods available").await;

    place.create(json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } } })).await;
    place.becomes(("policy/v1", "PodDisruptionBudget", "web"), Status::Current, "0 Pods may be evicted").await;

    place.create(json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" }, "spec": { "maxReplicas": 2, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "none" } } })).await;
    place.becomes(("autoscaling/v2", "HorizontalPodAutoscaler", "web"), Status::InProgress, "cannot scale: ").await;

    place.create(json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" }, "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }], "selector": { "app": "web" } } })).await;
    place.becomes(("v1", "Service", "web"), Status::Current, "exists; it has no address").await;

    place.create(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "held", "finalizers": ["towline.test/held"] } })).await;
    place.api("v1", "ConfigMap").delete("held", &kube::api::DeleteParams::default()).await.unwrap();
    place
        .becomes(
            ("v1", "ConfigMap", "held"),
            Status::Terminating,
            "is being deleted, and the finalizer towline.test/held holds it",
        )
        .await;
    place.api("v1", "Namespace").delete(&place.namespace, &kube::api::DeleteParams::default()).await.unwrap();
    place
        .becomes(
            ("v1", "Namespace", &place.namespace),
            Status::Terminating,
            "is being deleted: Some content in the namespace has finalizers remaining",
        )
        .await;
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    place.api("v1", "ConfigMap").patch("held", &PatchParams::default(), &free).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_bound_and_may_lose_its_volume() {
    let place = Place::new("health-claims").await;
    let volume = format!("{}-volume", place.namespace);
    let size = json!({ "storage": "1Mi" });
    let claim = ("v1", "PersistentVolumeClaim", "data");
    place.create(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" }, "spec": { "storageClassName": "", "volumeName": volume, "accessModes": ["ReadWriteOnce"], "resources": { "requests": size } } })).await;
    place.becomes(claim, Status::InProgress, "is not bound to a volume yet").await;
    place.create(json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": volume }, "spec": { "storageClassName": "", "capacity": size, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/nowhere" } } })).await;
    place.becomes(claim, Status::Current, "is bound to a volume").await;
    let volumes = place.api("v1", "PersistentVolume");
    volumes.delete(&volume, &kube::api::DeleteParams::default()).await.unwrap();
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    volumes.patch(&volume, &PatchParams::default(), &free).await.unwrap();
    place.becomes(claim, Status::Failed, "has lost its volume").await;
}
