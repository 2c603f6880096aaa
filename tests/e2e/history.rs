//! What an object went through, as the API server recorded it: every version between two, not only those a look happened on.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;

/// The API server sends what it has at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every version of an object after the one given and up to the newest of now.
pub async fn since<K>(api: &Api<K>, name: &str, version: &str) -> Vec<K>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned,
{
    let newest = api.get(name).await.unwrap().resource_version();
    let mut versions = Vec::new();
    if newest.as_deref() == Some(version) {
        return versions;
    }
    let only_this = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = api.watch(&only_this, version).await.unwrap().boxed();
    loop {
        match tokio::time::timeout(PATIENCE, events.next()).await.expect("the watch shows the newest version") {
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                let is_newest = object.resource_version() == newest;
                versions.push(object);
                if is_newest {
                    return versions;
                }
            }
            other => panic!("{name} was to be changed in place and nothing else: {other:?}"),
        }
    }
}

/// The value of one of a world's ConfigMaps, in the order in which it changed, the first of them at `from`.
pub async fn values(api: &Api<ConfigMap>, from: &ConfigMap) -> Vec<String> {
    let value = |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get("value").cloned()).unwrap_or_default();
    let version = from.resource_version().unwrap();
    let mut values = vec![value(from)];
    values.extend(since(api, &from.name_any(), &version).await.iter().map(value));
    values.dedup();
    values
}
