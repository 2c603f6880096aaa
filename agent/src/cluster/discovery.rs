//! Which kinds the cluster serves.
//!
//! A group whose discovery document is stale (its aggregated API server is down) is left out: of its kinds nothing is known.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::core::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscovery, APIVersionDiscovery};
use towline_plan::desired::{Kinds, Scope};
use towline_plan::object::{GroupKind, ObjectId};

use super::{Cluster, RequestError, bounded};

/// The kinds a cluster serves, and how to address them.
#[derive(Debug, Clone, Default)]
pub struct Served {
    pub kinds: Kinds,
    resources: HashMap<(GroupKind, String), ApiResource>,
    /// The version the server prefers.
    preferred: HashMap<GroupKind, String>,
    /// Groups of which at least one version could not be asked: what else they serve is unknown.
    stale: BTreeSet<String>,
    /// When this was; `None`: never.
    pub(super) at: Option<Instant>,
}

impl Served {
    /// How to address a kind in a version, or in the one the server prefers where that version is gone.
    pub(super) fn resource(&self, kind: &GroupKind, version: &str) -> Option<&ApiResource> {
        let in_version = |version: &str| self.resources.get(&(kind.clone(), version.to_owned()));
        in_version(version).or_else(|| in_version(self.preferred.get(kind)?))
    }

    /// Each kind once, in the version the server prefers.
    pub(super) fn preferred(&self) -> impl Iterator<Item = (&GroupKind, &ApiResource)> {
        self.preferred.iter().filter_map(|(kind, version)| Some((kind, self.resource(kind, version)?)))
    }

    /// The groups that did not answer for all they serve: of their kinds that are not here nothing is known.
    #[must_use]
    pub fn stale_groups(&self) -> &BTreeSet<String> {
        &self.stale
    }

    /// Whether the cluster says that it does not serve the kind. Of a stale group it says nothing.
    #[must_use]
    pub fn is_gone(&self, kind: &GroupKind) -> bool {
        !self.kinds.serves(kind) && !self.stale.contains(&kind.group)
    }

    /// The kind that a definition defines, if that is served.
    #[must_use]
    pub fn defined_by(&self, definition: &ObjectId) -> Option<&GroupKind> {
        if !definition.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            return None;
        }
        let (plural, group) = definition.name.split_once('.')?;
        let mut served = self.preferred().filter(|(kind, resource)| kind.group == group && resource.plural == plural);
        served.next().map(|(kind, _)| kind)
    }

    fn add(&mut self, groups: Vec<APIGroupDiscovery>) {
        for group in groups {
            let name = group.metadata.as_ref().and_then(|m| m.name.clone()).unwrap_or_default();
            for version in group.versions {
                match version.freshness.as_deref() {
                    Some("Stale") => drop(self.stale.insert(name.clone())),
                    _ => self.add_version(&name, version),
                }
            }
        }
    }

    fn add_version(&mut self, group: &str, discovery: APIVersionDiscovery) {
        let Some(version) = discovery.version else { return };
        for resource in discovery.resources {
            let (Some(plural), Some(kind)) =
                (resource.resource, resource.response_kind.and_then(|k| k.kind).filter(|k| !k.is_empty()))
            else {
                continue;
            };
            // What can be neither applied nor watched (reviews, bindings) is nothing a Sync can own.
            if !["patch", "list", "watch", "delete"].iter().all(|verb| resource.verbs.iter().any(|v| v == verb)) {
                continue;
            }
            let scope = match resource.scope.as_deref() {
                Some("Cluster") => Scope::Cluster,
                _ => Scope::Namespaced,
            };
            let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            let id = GroupKind::new(group, &kind);
            let (group, version) = (group.to_owned(), version.clone());
            self.kinds.add(id.clone(), &version, scope);
            // The server lists versions by preference.
            self.preferred.entry(id.clone()).or_insert_with(|| version.clone());
            self.resources.insert((id, version.clone()), ApiResource { group, version, api_version, kind, plural });
        }
    }
}

impl Cluster {
    /// The kinds as last discovered, unless that is longer ago than `age_max`: then they are asked for.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn served(&self, age_max: Duration) -> Result<Arc<Served>, RequestError> {
        let known = Arc::clone(&*self.served.read().await);
        match known.at.is_some_and(|at| at.elapsed() <= age_max) {
            true => Ok(known),
            false => self.discover().await,
        }
    }

    /// Asks the API server again which kinds it serves: two requests.
    ///
    /// # Errors
    /// The API server does not answer; what was known stays.
    pub async fn discover(&self) -> Result<Arc<Served>, RequestError> {
        let what = || "asking the API server which kinds it serves".to_owned();
        let (core, groups) = tokio::try_join!(
            bounded(what, self.client.list_core_api_versions_aggregated()),
            bounded(what, self.client.list_api_groups_aggregated()),
        )?;
        let mut served = Served { at: Some(Instant::now()), ..Served::default() };
        served.add(core.items);
        served.add(groups.items);
        let served = Arc::new(served);
        *self.served.write().await = Arc::clone(&served);
        Ok(served)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// What the cluster serves when its groups answer like this: group, version, freshness, kind.
    pub(in crate::cluster) fn served(versions: &[(&str, &str, &str, &str)]) -> Served {
        let mut served = Served { at: Some(Instant::now()), ..Served::default() };
        for (group, version, freshness, kind) in versions {
            let resource = json!({
                "resource": format!("{}s", kind.to_lowercase()), "scope": "Namespaced", "responseKind": {"kind": kind},
                "verbs": ["patch", "list", "watch", "delete"],
            });
            let version = json!({"version": version, "freshness": freshness, "resources": [resource]});
            let group = json!({"metadata": {"name": group}, "versions": [version]});
            served.add(vec![serde_json::from_value(group).unwrap()]);
        }
        served
    }

    #[test]
    fn of_a_stale_group_nothing_is_gone() {
        let served = served(&[
            ("", "v1", "Current", "ConfigMap"),
            ("a.test", "v1", "Stale", "A"),
            ("b.test", "v1", "Current", "B"),
        ]);
        let is_gone = |group: &str, kind: &str| served.is_gone(&GroupKind::new(group, kind));
        assert!(!is_gone("", "ConfigMap") && !is_gone("b.test", "B"));
        assert!(is_gone("b.test", "Other") && is_gone("c.test", "C"));
        assert!(!served.kinds.serves(&GroupKind::new("a.test", "A")), "what it served before is not relied upon");
        assert!(!is_gone("a.test", "A") && !is_gone("a.test", "Other"));
        assert_eq!(served.stale_groups().iter().collect::<Vec<_>>(), ["a.test"]);
    }

    /// As while one version is served by an API server that is down.
    #[test]
    fn a_group_with_one_stale_version_keeps_what_its_others_serve() {
        let served = served(&[("a.test", "v2", "Stale", "New"), ("a.test", "v1", "Current", "Old")]);
        assert!(served.kinds.serves(&GroupKind::new("a.test", "Old")));
        assert!(!served.is_gone(&GroupKind::new("a.test", "New")));
    }
}
