//! Whole objects, where what the watches keep of them is not enough: one by its name, and the Pods of a workload.
//!
//! Knows requests only, made as whoever the Sync acts as. What a body says is judged in `plan`.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;
use towline_plan::health::PodSelector;
use towline_plan::object::ObjectId;

use super::shown::whole;
use super::{Cluster, RequestError, Served, bounded};

/// Pods of one workload that are looked at: those of a large DaemonSet. What is wrong with more is wrong with these.
const PODS_MAX: u32 = 500;

impl Cluster {
    /// The live object, `None` if it does not exist.
    ///
    /// # Errors
    /// The API server does not answer or does not allow it.
    pub async fn body(&self, served: &Served, id: &ObjectId, version: &str) -> Result<Option<Value>, RequestError> {
        let api = self.objects(served, id, version)?;
        match bounded(|| format!("reading {id}"), api.get(&id.name)).await {
            Ok(object) => Ok(Some(serde_json::to_value(object).unwrap_or_default())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The Pods of a workload.
    ///
    /// # Errors
    /// The API server does not answer or does not allow it.
    pub async fn pods(&self, of: &PodSelector) -> Result<Vec<Value>, RequestError> {
        let (client, resource) = (self.acting.client.clone(), ApiResource::erase::<Pod>(&()));
        let api: Api<DynamicObject> = Api::namespaced_with(client, of.namespace(), &resource);
        let params = ListParams::default().labels(&of.to_string()).limit(PODS_MAX);
        let pods = bounded(|| format!("listing the Pods {of} in {}", of.namespace()), api.list(&params)).await?;
        Ok(pods.items.into_iter().map(|pod| whole(pod.data, pod.metadata, &resource)).collect())
    }
}
