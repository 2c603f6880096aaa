//! Towline's own objects: statuses, inventories and what brings them in.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{NamespaceResourceScope, ObjectMeta};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use towline_plan::object::SyncKey;

use super::{Cluster, RequestError, bounded};
use crate::api::{GitSource, GitSourceSpec, Inventory, InventorySpec, Sync, SyncSpec};

/// Who writes statuses, inventories and bootstrap objects.
const RECORDS_MANAGER: &str = "towline-agent";

/// One of Towline's own kinds.
pub trait Record:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + 'static
{
}

impl Record for GitSource {}
impl Record for Sync {}
impl Record for Inventory {}

impl Cluster {
    /// Writes the status `object` carries, if it is still the object that was read: its resource version is the
    /// precondition. Answers with the object as it is now.
    ///
    /// # Errors
    /// A conflict, if somebody wrote in between; a failed request.
    pub async fn write_status<K: Record>(&self, object: &K) -> Result<K, RequestError> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let params = PostParams { field_manager: Some(RECORDS_MANAGER.to_owned()), ..PostParams::default() };
        let what = || format!("writing the status of {} {namespace}/{name}", K::kind(&()));
        bounded(what, api.replace_status(&name, &params, object)).await
    }

    /// Reads one of our own objects.
    ///
    /// # Errors
    /// A failed request; that it does not exist is `None`.
    pub async fn read<K: Record>(&self, namespace: &str, name: &str) -> Result<Option<K>, RequestError> {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        bounded(|| format!("reading {} {namespace}/{name}", K::kind(&())), api.get_opt(name)).await
    }

    /// Writes an inventory over the one that was read, or creates it where none was.
    ///
    /// # Errors
    /// A conflict, if somebody wrote in between; a failed request.
    pub async fn write_inventory(
        &self,
        sync: &SyncKey,
        old: Option<&Inventory>,
        owner: Option<OwnerReference>,
        spec: InventorySpec,
    ) -> Result<Inventory, RequestError> {
        let api: Api<Inventory> = Api::namespaced(self.client.clone(), &sync.namespace);
        let mut new = Inventory::new(&sync.name, spec);
        new.metadata.namespace = Some(sync.namespace.clone());
        new.metadata.owner_references = owner.map(|owner| vec![owner]);
        let params = PostParams { field_manager: Some(RECORDS_MANAGER.to_owned()), ..PostParams::default() };
        let what = || format!("writing Inventory {sync}");
        match old {
            Some(old) => {
                let owner_references = new.metadata.owner_references.take();
                new.metadata = ObjectMeta { managed_fields: None, owner_references, ..old.metadata.clone() };
                bounded(what, api.replace(&sync.name, &params, &new)).await
            }
            None => bounded(what, api.create(&params, &new)).await,
        }
    }

    /// Creates or updates the source and the Sync that bring in all others.
    ///
    /// # Errors
    /// A failed request.
    pub async fn bootstrap(
        &self,
        namespace: &str,
        name: &str,
        source: GitSourceSpec,
        sync: SyncSpec,
    ) -> Result<(), RequestError> {
        let params = PatchParams::apply("towline-bootstrap").force();
        let sources: Api<GitSource> = Api::namespaced(self.client.clone(), namespace);
        let source = Patch::Apply(GitSource::new(name, source));
        bounded(
            || format!("applying the bootstrap GitSource {namespace}/{name}"),
            sources.patch(name, &params, &source),
        )
        .await?;
        let syncs: Api<Sync> = Api::namespaced(self.client.clone(), namespace);
        let sync = Patch::Apply(Sync::new(name, sync));
        bounded(|| format!("applying the bootstrap Sync {namespace}/{name}"), syncs.patch(name, &params, &sync))
            .await?;
        Ok(())
    }
}
