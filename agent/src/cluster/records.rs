//! Towline's own objects: statuses, inventories and what brings them in.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{NamespaceResourceScope, ObjectMeta, PartialObjectMeta};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use towline_plan::object::SyncKey;

use super::{Cluster, RequestError, bounded};
use crate::api::{FINALIZER, GitSource, GitSourceSpec, Inventory, InventorySpec, Sync, SyncSpec};

/// Who writes statuses, inventories and bootstrap objects.
const RECORDS_MANAGER: &str = "towline-agent";

/// How often a write is repeated because somebody else wrote in between.
const CONFLICTS_MAX: usize = 5;

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
                hold(&mut new);
                bounded(what, api.replace(&sync.name, &params, &new)).await
            }
            None => {
                hold(&mut new);
                bounded(what, api.create(&params, &new)).await
            }
        }
    }

    /// Adds our finalizer to one of our own objects, or takes it away. Answers with the object as it is then; `None`: it is
    /// gone, or another one by now.
    ///
    /// # Errors
    /// A failed request.
    pub async fn set_finalizer<K: Record>(&self, object: &K, on: bool) -> Result<Option<K>, RequestError> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let what = || format!("writing the finalizer of {} {namespace}/{name}", K::kind(&()));
        let mut current = object.clone();
        for again in (0..CONFLICTS_MAX).rev() {
            let mut finalizers = current.finalizers().to_vec();
            if finalizers.iter().any(|name| name == FINALIZER) == on {
                return Ok(Some(current));
            }
            finalizers.retain(|name| name != FINALIZER);
            finalizers.extend(on.then(|| FINALIZER.to_owned()));
            let precondition = current.resource_version();
            let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": precondition}});
            let params = PatchParams { field_manager: Some(RECORDS_MANAGER.to_owned()), ..PatchParams::default() };
            match bounded(what, api.patch(&name, &params, &Patch::Merge(patch))).await {
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) if error.is_conflict() && again > 0 => {}
                answer => return answer.map(Some),
            }
            match self.read::<K>(&namespace, &name).await? {
                Some(read) if read.uid() == object.uid() => current = read,
                _ => return Ok(None),
            }
        }
        Ok(Some(current))
    }

    /// Whether the definition of Syncs goes or is gone: then their deletion says nothing of what they own.
    ///
    /// # Errors
    /// A failed request.
    pub async fn loses_syncs(&self) -> Result<bool, RequestError> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let name = format!("{}.{}", Sync::plural(&()), Sync::group(&()));
        loses(&name, definitions.get_metadata_opt(&name)).await
    }

    /// Whether a namespace goes or is gone.
    ///
    /// # Errors
    /// A failed request.
    pub async fn loses_namespace(&self, name: &str) -> Result<bool, RequestError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        loses(name, namespaces.get_metadata_opt(name)).await
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

/// An Inventory is not gone before its Sync has let go of it.
fn hold(inventory: &mut Inventory) {
    let finalizers = inventory.metadata.finalizers.get_or_insert_default();
    // What is being deleted takes no more of them.
    if inventory.metadata.deletion_timestamp.is_none() && !finalizers.iter().any(|name| name == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
}

async fn loses<K>(
    name: &str,
    look: impl Future<Output = Result<Option<PartialObjectMeta<K>>, kube::Error>>,
) -> Result<bool, RequestError> {
    let seen = bounded(|| format!("looking at {name}"), look).await?;
    Ok(seen.is_none_or(|seen| seen.metadata.deletion_timestamp.is_some()))
}
