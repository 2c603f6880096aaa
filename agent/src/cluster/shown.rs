//! Watched objects to what the index keeps of them: metadata and health. The rest is dropped at once.
//!
//! Knows how kube hands objects over. What healthy means is `plan`'s to say.

use kube::core::{ApiResource, DynamicObject, ObjectMeta};
use serde_json::{Value, json};
use towline_plan::health::{self, Health};
use towline_plan::object::{GroupKind, ObjectId};
use towline_plan::watched::Shown;

use super::live::{Meta, live_of};

/// An object as a watch brings it.
#[derive(Debug, Clone)]
pub(super) enum Brought {
    Metadata(Box<Meta>),
    Body(Box<DynamicObject>),
}

impl Brought {
    fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Metadata(meta) => &meta.metadata,
            Self::Body(object) => &object.metadata,
        }
    }

    pub(super) fn id(&self, kind: &GroupKind) -> ObjectId {
        let meta = self.metadata();
        let name = meta.name.clone().unwrap_or_default();
        ObjectId { kind: kind.clone(), namespace: meta.namespace.clone(), name }
    }

    /// What the index keeps, and the object that was judged.
    pub(super) fn shown(self, resource: &ApiResource) -> (Shown, Value) {
        let live = live_of(self.metadata());
        let is_terminating = self.metadata().deletion_timestamp.is_some();
        let (object, judged) = match self {
            // Without a body there is only one thing that can be wrong with it.
            Self::Metadata(meta) => (whole(Value::Null, meta.metadata, resource), is_terminating),
            Self::Body(object) => (whole(object.data, object.metadata, resource), true),
        };
        let health = judged.then(|| Box::new(health::judge(&object)));
        let finished = has_finished(&object);
        (Shown { health, finished, ..Shown::plain(live) }, object)
    }
}

/// The object as the API server has it. In a list the server leaves its kind out.
pub(super) fn whole(data: Value, mut metadata: ObjectMeta, resource: &ApiResource) -> Value {
    // Half of an object, and nothing that a judgement or an expression asks for.
    metadata.managed_fields = None;
    let mut object = match data {
        object @ Value::Object(_) => object,
        _ => json!({}),
    };
    object["apiVersion"] = Value::from(resource.api_version.as_str());
    object["kind"] = Value::from(resource.kind.as_str());
    object["metadata"] = serde_json::to_value(metadata).unwrap_or_default();
    object
}

/// A Job or a Pod that has run to its end, well or not: it will not run again, and may be removed for that.
fn has_finished(object: &Value) -> bool {
    match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some("batch/v1"), Some("Job")) => {
            let conditions = object["status"]["conditions"].as_array();
            let ends = |c: &Value| c["status"] == "True" && (c["type"] == "Complete" || c["type"] == "Failed");
            conditions.is_some_and(|conditions| conditions.iter().any(ends))
        }
        (Some("v1"), Some("Pod")) => matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")),
        _ => false,
    }
}

/// Of an object whose expressions could not be evaluated at all.
pub(super) fn unjudged() -> Health {
    Health {
        status: health::Status::Unknown,
        reason: "HealthCheckExprFailed".into(),
        message: "its evaluation panicked".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(api_version: &str, kind: &str) -> ApiResource {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let (group, version, kind) = (group.to_owned(), version.to_owned(), kind.to_owned());
        ApiResource {
            plural: format!("{}s", kind.to_lowercase()),
            api_version: api_version.to_owned(),
            group,
            version,
            kind,
        }
    }

    fn body(resource: &ApiResource, object: Value) -> Shown {
        // As in a list: without apiVersion and kind.
        Brought::Body(serde_json::from_value(object).unwrap()).shown(resource).0
    }

    #[test]
    fn a_body_is_judged_and_dropped() {
        let deployment = resource("apps/v1", "Deployment");
        let metadata = json!({"name": "web", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2});
        let shown = body(&deployment, json!({"metadata": metadata, "spec": {"replicas": 1}, "status": {}}));
        let health = shown.health.unwrap();
        assert_eq!((health.status, shown.finished), (health::Status::InProgress, false), "{health}");
        assert_eq!(shown.live.resource_version, "7");
    }

    #[test]
    fn metadata_alone_tells_what_is_being_deleted() {
        let config_map = resource("v1", "ConfigMap");
        let brought = |metadata: Value| {
            let meta = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
            Brought::Metadata(serde_json::from_value(meta).unwrap()).shown(&config_map).0
        };
        assert_eq!(brought(json!({"name": "a", "uid": "u"})).health, None);
        let going = brought(json!({"name": "a", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        assert_eq!(going.health.unwrap().status, health::Status::Terminating);
    }

    #[test]
    fn a_job_and_a_pod_that_ran_to_their_end_have_finished() {
        let job = |conditions: Value| {
            let object = json!({"metadata": {"name": "j"}, "status": {"conditions": conditions}});
            body(&resource("batch/v1", "Job"), object).finished
        };
        assert!(
            job(json!([{"type": "Complete", "status": "True"}])) && job(json!([{"type": "Failed", "status": "True"}]))
        );
        assert!(!job(json!([{"type": "Failed", "status": "False"}, {"type": "Suspended", "status": "True"}])));
        let pod = |phase| body(&resource("v1", "Pod"), json!({"metadata": {"name": "p"}, "status": {"phase": phase}}));
        assert!(pod("Succeeded").finished && pod("Failed").finished && !pod("Running").finished);
        let other = json!({"metadata": {"name": "p"}, "status": {"phase": "Succeeded"}});
        assert!(!body(&resource("a.test/v1", "Pod"), other).finished);
    }

    /// `cargo test -p towline-agent --release -- --ignored --nocapture what_a_watched_object_costs`
    #[test]
    #[ignore = "measures, and asserts nothing"]
    fn what_a_watched_object_costs() {
        use towline_plan::identity::Identity;
        use towline_plan::object::SyncKey;
        use towline_plan::watched::{Scope, Watched};
        const OBJECTS: usize = 20_000;
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        let deployment = resource("apps/v1", "Deployment");
        let kind = GroupKind::new("apps", "Deployment");
        let sync = SyncKey { namespace: "towline-system".to_owned(), name: "applications".to_owned() };
        let (mut watched, before) = (Watched::default(), resident());
        let told = |what: &str| println!("{what}: {} bytes an object", resident().saturating_sub(before) / OBJECTS);
        for number in 0..OBJECTS {
            let name = format!("some-application-{number}");
            let fields = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {}}}}});
            let written =
                json!({"manager": "towline", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields});
            let object = json!({
                "metadata": {
                    "name": name, "namespace": "applications", "uid": format!("{number:08}-8888-4444-4444-121212121212"),
                    "resourceVersion": (1_000_000 + number).to_string(), "generation": 1, "managedFields": [written],
                    "labels": {"towline.dev/sync-name": sync.name, "towline.dev/sync-namespace": sync.namespace},
                },
                "spec": {"replicas": 3}, "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 1},
            });
            let brought = Brought::Body(serde_json::from_value(object).unwrap());
            let (id, shown) = (brought.id(&kind), brought.shown(&deployment).0);
            let digest = towline_plan::object::digest(&Value::from(number));
            watched.remember(&sync, &id, &digest, &shown.live);
            watched.applied(&Scope::of(&Identity::Agent, &id), id, shown);
        }
        told("with health and verdict");
        watched.forget_sync(&sync);
    }
}
