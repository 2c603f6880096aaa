//! What tests ask of a world besides its ConfigMaps (conditions, Events, reports, inventories), and what people do by hand.

use std::fmt::Debug;
use std::fs;

use async_nats::jetstream;
use harness::wait_until;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use towline_agent::api::{GitSource, Inventory, Sync};
use towline_proto::report::{ChangeEvent, EventKind};
use towline_proto::{ClusterName, ReportingKey, envelope, subject};

use crate::world::{PATIENCE, World};

impl World {
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Changes an object as somebody else: a merge patch under another field manager. Answers with the object.
    pub async fn edit<K>(&self, name: &str, manager: &str, patch: Value) -> K
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        self.api::<K>().patch(name, &params, &Patch::Merge(patch)).await.unwrap()
    }

    /// Changes the value of a ConfigMap as somebody else.
    pub async fn meddle(&self, name: &str, manager: &str, value: &str) {
        self.edit::<ConfigMap>(name, manager, json!({"data": {"value": value}})).await;
    }

    /// Deletes a ConfigMap as somebody else.
    pub async fn delete(&self, name: &str) {
        self.config_maps().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Annotates the Sync.
    pub async fn annotate(&self, key: &str, value: &str) {
        self.edit::<Sync>("fleet", "operator", json!({"metadata": {"annotations": {key: value}}})).await;
    }

    /// Asks for a look at the ref, naming no commit.
    pub async fn request_fetch(&self, value: &str) {
        let annotations = json!({"metadata": {"annotations": {"towline.dev/requested-at": value}}});
        self.edit::<GitSource>("fleet", "operator", annotations).await;
    }

    /// The Ready condition of a Sync, as status, reason and message.
    pub async fn said_of(&self, sync: &str) -> (String, String, String) {
        let status = self.api::<Sync>().get(sync).await.unwrap().status.unwrap_or_default();
        let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready");
        ready.map(|c| (c.status, c.reason, c.message)).unwrap_or_default()
    }

    /// Waits until the Ready condition of another Sync is so.
    pub async fn other_ready(&self, sync: &str, what: &str, is: impl Fn(&str, &str, &str) -> bool) -> String {
        wait_until(what, PATIENCE, async || {
            let said = self.said_of(sync).await;
            if is(&said.0, &said.1, &said.2) { Ok(said.2) } else { Err(format!("{said:?}")) }
        })
        .await
        .unwrap()
    }

    /// Waits until the source's Ready condition is so.
    pub async fn source_ready(&self, what: &str, is: impl Fn(&str, &str, &str) -> bool) -> GitSource {
        wait_until(what, PATIENCE, async || {
            let source = self.source().await;
            let conditions = source.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
            match conditions.iter().find(|c| c.type_ == "Ready") {
                Some(c) if is(&c.status, &c.reason, &c.message) => Ok(source),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap()
    }

    /// The Kubernetes Events about the Sync and the source, as type, reason and note.
    pub async fn events(&self) -> Vec<(String, String, String)> {
        let events = self.api::<Event>().list(&ListParams::default()).await.unwrap();
        let of_ours = events.items.into_iter().filter(|e| {
            e.regarding.as_ref().and_then(|r| r.kind.as_deref()).is_some_and(|k| ["Sync", "GitSource"].contains(&k))
        });
        let or_none = Option::unwrap_or_default;
        of_ours.map(|e| (or_none(e.type_), or_none(e.reason), or_none(e.note))).collect()
    }

    /// Waits for a Kubernetes Event of a reason whose note holds all these.
    pub async fn event(&self, reason: &str, holds: &[&str]) -> String {
        wait_until(&format!("there is an Event {reason} with {holds:?}"), PATIENCE, async || {
            let events = self.events().await;
            let fits = |note: &str| holds.iter().all(|part| note.contains(part));
            let found = events.iter().find(|(_, r, note)| r == reason && fits(note));
            found.map(|(_, _, note)| note.clone()).ok_or_else(|| format!("{events:#?}"))
        })
        .await
        .unwrap()
    }

    /// Everything in the EVENTS stream, each opened with the agent's key.
    pub async fn reports(&self) -> Vec<ChangeEvent> {
        let key = fs::read_to_string(self.agent.dir().join("storage/report.key")).unwrap();
        let key = ReportingKey::parse(key.trim()).unwrap().verifying_key();
        let jetstream = jetstream::new(self.nats.connect("admin").await.unwrap());
        let stream = jetstream.get_stream("EVENTS").await.unwrap();
        let state = stream.get_info().await.unwrap().state;
        let mut reports = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let opened = envelope::open(&message.payload, &message.subject, &key).unwrap();
            let report: ChangeEvent = opened.payload().unwrap();
            let cluster = ClusterName::parse(&self.namespace).unwrap();
            assert_eq!(message.subject.as_str(), subject::event(&cluster, report.kind));
            reports.push(report);
        }
        reports
    }

    /// Waits for a report of a kind whose message holds all these.
    pub async fn report(&self, kind: EventKind, holds: &[&str]) -> ChangeEvent {
        wait_until(&format!("there is a report {kind:?} with {holds:?}"), PATIENCE, async || {
            let reports = self.reports().await;
            let fits = |r: &&ChangeEvent| r.kind == kind && holds.iter().all(|part| r.message.contains(part));
            reports.iter().find(fits).cloned().ok_or_else(|| format!("{reports:#?}"))
        })
        .await
        .unwrap()
    }

    /// The ConfigMaps with the owner labels of a Sync, by name, with their uids.
    pub async fn labelled(&self, sync: &str) -> Vec<(String, String)> {
        let ours = ListParams::default().labels(&format!("towline.dev/sync-name={sync}"));
        let found = self.config_maps().list_metadata(&ours).await.unwrap();
        found.items.iter().map(|o| (o.name_any(), o.uid().unwrap_or_default())).collect()
    }

    /// The names of the ConfigMaps of this namespace that a Sync's Inventory holds.
    pub async fn owned(&self, sync: &str) -> Vec<String> {
        let inventory = self.api::<Inventory>().get_opt(sync).await.unwrap();
        let lines = inventory.map(|i| i.spec.entries).unwrap_or_default();
        let name = |line: &String| {
            let id = line.split(' ').next().unwrap_or_default();
            let rest = id.strip_prefix(&format!("{}_", self.namespace))?;
            rest.strip_suffix("__ConfigMap").map(str::to_owned)
        };
        lines.iter().filter_map(name).collect()
    }
}
