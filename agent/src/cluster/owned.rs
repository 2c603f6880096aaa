//! What the cluster has of a Sync, by owner labels: to verify what is remembered, and for the rare case that an inventory is
//! lost.
//!
//! Knows where whom a Sync acts as may list. Must not know what becomes of the answer.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};
use towline_plan::identity::Identity;
use towline_plan::object::{GroupKind, LABEL_SYNC_NAME, LABEL_SYNC_NAMESPACE, ObjectId, SyncKey};
use towline_plan::observed::Live;
use towline_plan::watched::Scope;

use super::live::live;
use super::{CONCURRENT_REQUESTS, Cluster, RequestError, Served, bounded};

/// Objects of a page: some 4 MiB of metadata, and all there is of nearly every Sync.
const PAGE: u32 = 2_000;

/// Everything that was found, and where nobody could look.
#[derive(Debug, Default)]
pub struct Found {
    /// Each object with the version it was listed in.
    pub objects: Vec<(ObjectId, String, Live)>,
    /// Kinds that the account may not list, nowhere or not in each namespace that was asked for.
    pub unlisted: BTreeSet<GroupKind>,
}

impl Cluster {
    /// What a watch of own objects should show of a Sync, asked for: one LIST of metadata.
    ///
    /// # Errors
    /// The kind is not served, or may not be listed, or the API server does not answer: then nothing is known.
    pub async fn list_scope(
        &self,
        served: &Served,
        sync: &SyncKey,
        scope: &Scope,
    ) -> Result<Vec<(ObjectId, Live)>, RequestError> {
        let resource =
            served.resource(&scope.kind, "").ok_or_else(|| RequestError::unserved(format!("listing {scope}")))?;
        let params = ListParams::default().labels(&of_sync(sync));
        let objects = self.list_in(scope.namespace.as_deref(), &scope.kind, resource, &params).await?;
        Ok(objects.into_iter().map(|(id, _, live)| (id, live)).collect())
    }

    /// Everything in the cluster with the owner labels of a Sync, over all kinds served: one LIST for each. An account that
    /// may not list a kind everywhere is asked for `namespaces` one by one.
    ///
    /// # Errors
    /// The first list that fails for another reason than an account's rights: a part of the answer would be taken for all
    /// of it.
    pub async fn list_owned(
        &self,
        served: &Served,
        sync: &SyncKey,
        namespaces: &BTreeSet<String>,
    ) -> Result<Found, RequestError> {
        let params = ListParams::default().labels(&of_sync(sync));
        let lists: Vec<_> =
            served.preferred().map(|(kind, resource)| self.list(served, kind, resource, &params, namespaces)).collect();
        let lists: Vec<Found> =
            futures::stream::iter(lists).buffer_unordered(CONCURRENT_REQUESTS).try_collect().await?;
        let mut found = Found::default();
        for mut list in lists {
            found.objects.append(&mut list.objects);
            found.unlisted.append(&mut list.unlisted);
        }
        Ok(found)
    }

    async fn list(
        &self,
        served: &Served,
        kind: &GroupKind,
        resource: &ApiResource,
        params: &ListParams,
        namespaces: &BTreeSet<String>,
    ) -> Result<Found, RequestError> {
        let mut found = Found::default();
        match self.list_in(None, kind, resource, params).await {
            Ok(objects) => found.objects = objects,
            Err(error) if self.acting.identity == Identity::Agent || !error.is_forbidden() => return Err(error),
            Err(_) if !served.kinds.is_namespaced(kind) => drop(found.unlisted.insert(kind.clone())),
            Err(_) => {
                for namespace in namespaces {
                    match self.list_in(Some(namespace), kind, resource, params).await {
                        Ok(mut objects) => found.objects.append(&mut objects),
                        Err(error) if error.is_forbidden() => drop(found.unlisted.insert(kind.clone())),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(found)
    }

    async fn list_in(
        &self,
        namespace: Option<&str>,
        kind: &GroupKind,
        resource: &ApiResource,
        params: &ListParams,
    ) -> Result<Vec<(ObjectId, String, Live)>, RequestError> {
        let client = self.acting.client.clone();
        let api = match namespace {
            Some(namespace) => Api::<DynamicObject>::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        };
        let object = |meta: super::live::Meta| {
            let (namespace, name) = (meta.metadata.namespace.clone(), meta.name_any());
            (ObjectId { kind: kind.clone(), namespace, name }, resource.version.clone(), live(&meta))
        };
        let (mut params, mut objects) = (params.clone().limit(PAGE), Vec::new());
        loop {
            let list = bounded(|| format!("listing {kind}"), api.list_metadata(&params)).await?;
            objects.extend(list.items.into_iter().map(object));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }
}

fn of_sync(sync: &SyncKey) -> String {
    format!("{LABEL_SYNC_NAME}={},{LABEL_SYNC_NAMESPACE}={}", sync.name, sync.namespace)
}
