//! Managed objects: dry-run, apply, look, delete; all of it as whoever the Sync acts as.

use std::borrow::Cow;

use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy, ValidationDirective};
use kube::core::DynamicObject;
use serde_json::Value;
use towline_plan::adopt;
use towline_plan::desired::Desired;
use towline_plan::object::ObjectId;
use towline_plan::observed::{FIELD_MANAGER, Live};

use super::live::{Meta, live};
use super::{Cluster, RequestError, Served, bounded};

/// What an apply, or the dry-run of one, answered.
#[derive(Debug, Clone)]
pub struct Applied {
    pub live: Live,
    /// The object was not there before: a dry-run of a creation has no resource version yet.
    pub created: bool,
}

impl Cluster {
    /// What a server-side apply of the object would answer; `exists`: without what is left to others.
    ///
    /// # Errors
    /// The API server refuses it, or cannot judge it.
    pub async fn dry_run(&self, served: &Served, object: &Desired, exists: bool) -> Result<Applied, RequestError> {
        let body = if exists { object.standing() } else { &object.value };
        self.patch(served, object, body, None, true).await
    }

    /// Applies the object. `on` is the uid and the resource version of the object that is meant: where it is another one,
    /// written since, or gone, nothing is written. What is left to others is applied without `on` only.
    ///
    /// # Errors
    /// It is not what `on` says (a conflict); the API server refuses it, or could not do it.
    pub async fn apply(
        &self,
        served: &Served,
        object: &Desired,
        on: Option<(&str, &str)>,
    ) -> Result<Applied, RequestError> {
        let body = if on.is_some() { object.standing() } else { &object.value };
        self.patch(served, object, body, on, false).await
    }

    async fn patch(
        &self,
        served: &Served,
        object: &Desired,
        body: &Value,
        on: Option<(&str, &str)>,
        dry_run: bool,
    ) -> Result<Applied, RequestError> {
        let params = PatchParams {
            dry_run,
            force: true,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            // A misspelt field that is dropped without a word would be a silent failure.
            field_validation: Some(ValidationDirective::Strict),
        };
        let api = self.objects(served, &object.id, &object.version)?;
        let mut value = Cow::Borrowed(body);
        if let Some((uid, resource_version)) = on {
            let metadata = &mut value.to_mut()["metadata"];
            metadata["uid"] = uid.into();
            metadata["resourceVersion"] = resource_version.into();
        }
        let patch = Patch::Apply(&*value);
        let what = || format!("{} {}", if dry_run { "dry-running" } else { "applying" }, object.id);
        let meta: Meta = bounded(what, api.patch_metadata(&object.id.name, &params, &patch)).await?;
        let live = live(&meta);
        Ok(Applied { created: live.resource_version.is_empty(), live })
    }

    /// Makes what people and other tools set on an object Towline's, so that the next apply removes what Git does not have.
    /// Nothing is written where they set nothing. `is_meant`: whether it is what was decided on. Answers with what it is then.
    ///
    /// # Errors
    /// It is gone or not what is meant; it changed since it was read (a conflict); the API server refuses.
    pub async fn take_over(
        &self,
        served: &Served,
        id: &ObjectId,
        version: &str,
        is_meant: &(dyn Fn(&Live) -> bool + Sync),
    ) -> Result<Live, RequestError> {
        let api = self.objects(served, id, version)?;
        let what = || format!("taking over {id}");
        let meta = bounded(|| format!("looking at {id}"), api.get_metadata(&id.name)).await?;
        let seen = live(&meta);
        if !is_meant(&seen) {
            return Err(RequestError::changed(what()));
        }
        let meta = serde_json::to_value(&meta.metadata).unwrap_or_default();
        let Some(patch) = adopt::take_over(&meta) else { return Ok(seen) };
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let written = bounded(what, api.patch_metadata(&id.name, &params, &Patch::Merge(patch))).await?;
        Ok(live(&written))
    }

    /// The live object's metadata, `None` if it does not exist.
    ///
    /// # Errors
    /// The API server does not answer or does not allow it.
    pub async fn look(&self, served: &Served, id: &ObjectId, version: &str) -> Result<Option<Live>, RequestError> {
        let api = self.objects(served, id, version)?;
        match bounded(|| format!("looking at {id}"), api.get_metadata(&id.name)).await {
            Ok(meta) => Ok(Some(live(&meta))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes exactly the object that was looked at. Answers whether it is gone already: finalizers, and Pods that end, take
    /// their time.
    ///
    /// # Errors
    /// It changed or was replaced since (a conflict), or the API server refuses.
    pub async fn delete(
        &self,
        served: &Served,
        id: &ObjectId,
        version: &str,
        (uid, resource_version): (&str, &str),
    ) -> Result<bool, RequestError> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: Some(resource_version.to_owned()),
            }),
            ..DeleteParams::default()
        };
        let api = self.objects(served, id, version)?;
        // The object for as long as it is there; a Status once it is not.
        bounded(|| format!("deleting {id}"), api.delete(&id.name, &params)).await.map(|answer| answer.is_right())
    }

    /// Whether a custom resource definition is established: its kinds can be used.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn is_established(&self, served: &Served, id: &ObjectId, version: &str) -> Result<bool, RequestError> {
        let api = self.objects(served, id, version)?;
        let definition = bounded(|| format!("looking at {id}"), api.get(&id.name)).await?;
        let conditions = definition.data["status"]["conditions"].as_array();
        let is_true = |c: &&Value| c["type"] == "Established" && c["status"] == "True";
        Ok(conditions.is_some_and(|conditions| conditions.iter().any(|c| is_true(&c))))
    }

    pub(super) fn objects(
        &self,
        served: &Served,
        id: &ObjectId,
        version: &str,
    ) -> Result<Api<DynamicObject>, RequestError> {
        let resource = served
            .resource(&id.kind, version)
            .ok_or_else(|| RequestError::unserved(format!("addressing {id} in {version}")))?;
        Ok(match &id.namespace {
            Some(namespace) => Api::namespaced_with(self.acting.client.clone(), namespace, resource),
            None => Api::all_with(self.acting.client.clone(), resource),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kube::client::Body;
    use towline_plan::object::GroupKind;

    use super::super::discovery::tests::served;
    use super::*;

    /// Invariant 6.
    #[tokio::test]
    async fn a_deletion_names_the_very_object_that_was_looked_at() {
        let bodies = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let seen = Arc::clone(&bodies);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let seen = Arc::clone(&seen);
            async move {
                let what = format!("{} {}", request.method(), request.uri().path());
                let body = request.into_body().collect_bytes().await.unwrap();
                seen.lock().unwrap().push((what, serde_json::from_slice(&body).unwrap()));
                let gone = r#"{"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"}"#;
                Ok::<_, kube::Error>(http::Response::new(Body::from(gone.as_bytes().to_vec())))
            }
        });
        let cluster = Cluster::new(kube::Client::new(service, "default"), Default::default());
        let served = served(&[("", "v1", "Current", "ConfigMap")]);
        let (kind, namespace) = (GroupKind::new("", "ConfigMap"), Some("ns".to_owned()));
        let id = ObjectId { kind, namespace, name: "c".to_owned() };
        assert!(cluster.delete(&served, &id, "v1", ("the uid", "17")).await.unwrap());
        let bodies = bodies.lock().unwrap();
        let [(what, body)] = bodies.as_slice() else { panic!("{bodies:?}") };
        assert_eq!(what, "DELETE /api/v1/namespaces/ns/configmaps/c");
        assert_eq!(body["preconditions"], serde_json::json!({"uid": "the uid", "resourceVersion": "17"}));
        assert_eq!(body["propagationPolicy"], "Background");
    }
}
