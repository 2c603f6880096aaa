//! One test's world: a repository, a receiver, an agent, and the questions tests ask of the cluster.

use std::time::Duration;

use harness::api_proxy::ApiProxy;
use harness::config::{AgentConfig, Hook, ReceiverConfig};
use harness::control_plane::{self, ControlPlane};
use harness::git_server::GitServer;
use harness::nats::{Nats, NatsAccess};
use harness::repo::Repo;
use harness::towline::Daemon;
use harness::wait_until;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use towline_agent::api::{GitSource, Inventory, Sync};
use towline_receiver::sign::{self, Push, SignedDelivery};
use towline_receiver::{Provider, Secret};

/// Patience on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The secret of every hook.
pub const SECRET: &str = "correct horse battery staple";
/// What the hooks' hosts call the repository.
pub const REPOSITORY: &str = "org/fleet";
/// What sources call it for their events.
pub const EVENT_REPOSITORY: &str = "git.test/org/fleet";

/// Everything one test needs.
pub struct World {
    pub plane: &'static ControlPlane,
    pub client: Client,
    pub namespace: String,
    pub nats: Nats,
    pub git: GitServer,
    pub repo: Repo,
    pub receiver: Daemon,
    /// Of the receiver.
    pub public_url: String,
    pub agent: Daemon,
}

impl World {
    /// Parts that run and know nothing of each other's past; the poll is an hour away.
    pub async fn new(name: &str) -> Self {
        Self::with_hooks(name, vec![Hook::new("github", "git.test", SECRET)]).await
    }

    pub async fn with_hooks(name: &str, hooks: Vec<Hook>) -> Self {
        Self::on(control_plane::shared().await, name, hooks).await
    }

    /// The same on a control plane of the test's own, whose API server it may stop.
    pub async fn on(plane: &'static ControlPlane, name: &str, hooks: Vec<Hook>) -> Self {
        let client = plane.client().await.unwrap();
        let namespace = plane.namespace(name).await.unwrap();
        let nats = Nats::start_with_streams().await.unwrap();
        let git = GitServer::start().await.unwrap();
        let repo = git.repository("fleet").await.unwrap();
        let mut receiver = Daemon::receiver(&ReceiverConfig::new(nats.access("receiver"), hooks)).await.unwrap();
        let public_url = receiver.public_url("").await.unwrap();
        let agent = Daemon::agent(&agent_config(plane, &namespace, nats.access("agent"))).await.unwrap();
        Self { plane, client, namespace, nats, git, repo, receiver, public_url, agent }
    }

    /// The same, with an agent whose every request to the API server goes through a proxy.
    pub async fn behind(name: &str) -> (Self, ApiProxy) {
        let mut world = Self::new(name).await;
        let proxy = ApiProxy::to(world.plane).await.unwrap();
        let mut config = agent_config(world.plane, &world.namespace, world.nats.access("agent"));
        config.kubeconfig = proxy.kubeconfig().to_owned();
        world.agent.kill();
        world.agent = Daemon::agent(&config).await.unwrap();
        (world, proxy)
    }

    /// The same, with an agent that logs as much as it can.
    pub async fn talkative(name: &str) -> Self {
        let mut world = Self::new(name).await;
        let mut config = agent_config(world.plane, &world.namespace, world.nats.access("agent"));
        config.log =
            Some("debug,kube=trace,kube_client=trace,kube_client::client=trace,towline_agent=trace".to_owned());
        world.agent.kill();
        world.agent = Daemon::agent(&config).await.unwrap();
        world
    }

    /// Puts an agent that reaches NATS in another way in place of the one that runs.
    pub async fn agent_with(&mut self, access: NatsAccess) {
        self.agent.kill();
        self.agent = Daemon::agent(&agent_config(self.plane, &self.namespace, access)).await.unwrap();
    }

    /// Puts an agent with these tables in its configuration in place of the one that runs.
    pub async fn agent_with_tables(&mut self, tables: &str) {
        let mut config = agent_config(self.plane, &self.namespace, self.nats.access("agent"));
        config.extra_tables = tables.to_owned();
        self.agent.kill();
        self.agent = Daemon::agent(&config).await.unwrap();
    }

    /// One more source of the repository.
    pub async fn another_source(&self, name: &str, source: serde_json::Value) {
        let base = json!({ "url": self.git.url("fleet"), "interval": "1h", "eventRepository": EVENT_REPOSITORY });
        self.create::<GitSource>("GitSource", name, merged(base, source)).await;
    }

    /// A source and a Sync of the whole repository.
    pub async fn sync(&self) {
        self.sync_with(json!({}), json!({})).await;
    }

    /// The same with more or other fields in their specs.
    pub async fn sync_with(&self, source: serde_json::Value, sync: serde_json::Value) {
        self.another_source("fleet", source).await;
        self.another_sync("fleet", sync).await;
    }

    /// One more Sync from the same source.
    pub async fn another_sync(&self, name: &str, sync: serde_json::Value) {
        let base = json!({
            "sourceRef": {"kind": "GitSource", "name": "fleet"}, "interval": "1h", "retryInterval": "1s", "prune": true,
        });
        self.create::<Sync>("Sync", name, merged(base, sync)).await;
    }

    async fn create<K>(&self, kind: &str, name: &str, spec: serde_json::Value)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let object = serde_json::from_value(json!({
            "apiVersion": "towline.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap();
        Api::<K>::namespaced(self.client.clone(), &self.namespace)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// A ConfigMap manifest for this world's namespace.
    pub fn config_map(&self, name: &str, value: &str) -> String {
        let namespace = &self.namespace;
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n  value: {value:?}\n"
        )
    }

    /// Sends what GitHub would for a push to main; answers with the status.
    pub async fn deliver(&self, after: &str) -> u16 {
        let secret = Secret::parse(Provider::Github, SECRET.as_bytes()).unwrap();
        self.deliver_as(Provider::Github, &secret, "/hooks/github", after).await
    }

    /// Sends what a provider would for a push to main; answers with the status.
    pub async fn deliver_as(&self, provider: Provider, secret: &Secret, path: &str, after: &str) -> u16 {
        let push = Push { repository: REPOSITORY, reference: "refs/heads/main", before: None, after: Some(after) };
        let id = delivery_id(after);
        self.post(path, sign::delivery(provider, secret, &push, &id, Timestamp::now())).await
    }

    /// Sends a delivery as it is; answers with the status.
    pub async fn post(&self, path: &str, delivery: SignedDelivery) -> u16 {
        let mut request = reqwest::Client::new().post(format!("{}{path}", self.public_url)).body(delivery.body);
        for (name, value) in delivery.headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// Commits, pushes and delivers the event for it.
    pub async fn push(&self, files: &[(&str, &str)]) -> String {
        let commit = self.repo.commit(files).await.unwrap();
        assert_eq!(self.deliver(&commit).await, 202);
        commit
    }

    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until a ConfigMap has a value.
    pub async fn applied(&self, name: &str, value: &str) {
        wait_until(&format!("ConfigMap {name} is {value:?}"), PATIENCE, async || {
            let seen = self.config_maps().get_opt(name).await.map_err(|e| e.to_string())?;
            let data = seen.and_then(|cm| cm.data).and_then(|data| data.get("value").cloned());
            if data.as_deref() == Some(value) { Ok(()) } else { Err(format!("{data:?}; {}", self.told().await)) }
        })
        .await
        .unwrap();
    }

    /// Waits until a ConfigMap is gone.
    pub async fn gone(&self, name: &str) {
        wait_until(&format!("ConfigMap {name} is gone"), PATIENCE, async || {
            match self.config_maps().get_opt(name).await.map_err(|e| e.to_string())? {
                None => Ok(()),
                Some(_) => Err(self.told().await),
            }
        })
        .await
        .unwrap();
    }

    pub async fn source(&self) -> GitSource {
        Api::namespaced(self.client.clone(), &self.namespace).get("fleet").await.unwrap()
    }

    pub async fn fleet(&self) -> Sync {
        Api::namespaced(self.client.clone(), &self.namespace).get("fleet").await.unwrap()
    }

    pub async fn inventory(&self) -> Option<Inventory> {
        Api::namespaced(self.client.clone(), &self.namespace).get_opt("fleet").await.unwrap()
    }

    /// Waits until the Sync's Ready condition is so.
    pub async fn ready(&self, what: &str, is: impl Fn(&str, &str, &str) -> bool) -> Sync {
        wait_until(what, PATIENCE, async || {
            let sync = self.fleet().await;
            let conditions = sync.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
            match conditions.iter().find(|c| c.type_ == "Ready") {
                Some(c) if is(&c.status, &c.reason, &c.message) => Ok(sync),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap()
    }

    /// Waits until the Sync is Ready at a commit.
    pub async fn ready_at(&self, commit: &str) -> Sync {
        self.ready(&format!("the Sync is ready at {commit}"), |status, _, message| {
            status == "True" && message.contains(commit)
        })
        .await
    }

    /// Waits until the source's EventsReady condition is so.
    pub async fn events_ready(&self, what: &str, is: impl Fn(&str, &str, &str) -> bool) {
        wait_until(what, PATIENCE, async || {
            let conditions = self.source().await.status.map(|status| status.conditions).unwrap_or_default();
            match conditions.iter().find(|c| c.type_ == "EventsReady") {
                Some(c) if is(&c.status, &c.reason, &c.message) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// Waits until events can arrive.
    pub async fn listening(&self) {
        self.events_ready("events can arrive", |status, reason, _| (status, reason) == ("True", "Subscribed")).await;
    }

    /// Waits until the agent knows that events cannot arrive.
    pub async fn cut_off(&self) {
        self.events_ready("no events can arrive", |status, reason, message| {
            (status, reason) == ("False", "NotConnected") && message.contains("failed to connect to nats://")
        })
        .await;
    }

    /// Source and Sync in their own words, for what a failed wait last saw.
    async fn told(&self) -> String {
        let sources: Api<GitSource> = Api::namespaced(self.client.clone(), &self.namespace);
        let syncs: Api<Sync> = Api::namespaced(self.client.clone(), &self.namespace);
        let source = sources.get_opt("fleet").await.ok().flatten().and_then(|s| s.status);
        let sync = syncs.get_opt("fleet").await.ok().flatten().and_then(|s| s.status);
        format!("source: {source:?}\nsync: {sync:?}")
    }
}

fn agent_config(plane: &ControlPlane, namespace: &str, nats: NatsAccess) -> AgentConfig {
    let mut config = AgentConfig::new(namespace, plane.kubeconfig());
    config.nats = Some(nats);
    config.namespaces = vec![namespace.to_owned()];
    config
}

/// The id under which a push is delivered.
pub fn delivery_id(after: &str) -> String {
    format!("delivery-{after}")
}

fn merged(mut base: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    if let (Some(base), serde_json::Value::Object(more)) = (base.as_object_mut(), more) {
        base.extend(more);
    }
    base
}

/// The uid of an object: it changes when it is deleted and created again.
pub async fn uid(world: &World, name: &str) -> String {
    world.config_maps().get(name).await.unwrap().uid().unwrap()
}
