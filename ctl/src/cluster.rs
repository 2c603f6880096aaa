//! The cluster's GitSources and Syncs. The only file that talks to an API server. Objects are taken as they are, not as the
//! types of `towline_agent::api`: one malformed object, or one of a later version, must not hide all others.

use std::path::PathBuf;
use std::time::Duration;

use kube::api::{Api, ApiResource, ListParams, Patch, PatchParams};
pub(crate) use kube::api::{DynamicObject, TypeMeta};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use towline_agent::api::{GitSource, Sync};

use crate::exit::{Exit, Fails};
use crate::target::Kind;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The client has none by itself. A list of some thousand objects takes a second.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Objects a page; the API server counts a page as one request of the same weight.
const PAGE: u32 = 500;

/// Which cluster, and where in it; they mean what they mean to kubectl.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// The namespace. Default: the context's
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig. Default: $KUBECONFIG, ~/.kube/config, or the Pod's own account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("read the kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("find a cluster: there is no kubeconfig, and this is no Pod")]
    Infer(#[from] kube::config::InferConfigError),
    #[error("make a client for the cluster")]
    Client(#[source] kube::Error),
    #[error("{doing}: there is no such object")]
    NotFound { doing: String },
    #[error("{doing}: the cluster does not know Towline's kinds; apply deploy/crds first")]
    NoKinds { doing: String },
    #[error("{doing}: the API server refused: {message}")]
    Refused { doing: String, message: String },
    #[error("{doing}")]
    Request { doing: String, source: kube::Error },
}

impl Fails for ClusterError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotFound { .. } => Exit::No,
            _ => Exit::Failed,
        }
    }
}

impl ClusterError {
    /// Whether the same question may be answered in a moment: nothing was said, or the server is not well.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Request { .. })
    }
}

pub(crate) struct Cluster {
    client: kube::Client,
    pub(crate) namespace: String,
}

impl Flags {
    pub(crate) async fn connect(&self) -> Result<Cluster, ClusterError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
            (None, Some(_)) => kube::Config::from_kubeconfig(&options).await?,
            (None, None) => kube::Config::infer().await?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // Who waits for an outcome tries again by itself, and who does not wants to know now.
        config.default_retry = false;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config).map_err(ClusterError::Client)?;
        Ok(Cluster { client, namespace })
    }
}

impl Cluster {
    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<DynamicObject, ClusterError> {
        let doing = || format!("get the {} {}/{name}", word(kind), self.namespace);
        self.api(kind).get(name).await.map_err(|error| explain(error, doing()))
    }

    /// All of a kind, in the namespace or in all of them, sorted by namespace and name as the API server does.
    pub(crate) async fn list(&self, kind: Kind, all_namespaces: bool) -> Result<Vec<DynamicObject>, ClusterError> {
        let resource = resource(kind);
        let api: Api<DynamicObject> = match all_namespaces {
            true => Api::all_with(self.client.clone(), &resource),
            false => self.api(kind),
        };
        let mut objects = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = api.list(&page).await.map_err(|error| explain(error, format!("list the {}s", word(kind))))?;
            objects.extend(list.items);
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }

    /// A merge patch: changes what it names and nothing else.
    pub(crate) async fn patch(&self, kind: Kind, name: &str, patch: &Value) -> Result<DynamicObject, ClusterError> {
        let doing = || format!("change the {} {}/{name}", word(kind), self.namespace);
        let patched = self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map_err(|error| explain(error, doing()))
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }
}

fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Source => ApiResource::erase::<GitSource>(&()),
        Kind::Sync => ApiResource::erase::<Sync>(&()),
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Source => "GitSource",
        Kind::Sync => "Sync",
    }
}

/// A missing object answers 404 with details, a missing kind 404 with plain text.
fn explain(error: kube::Error, doing: String) -> ClusterError {
    match error {
        kube::Error::Api(status) if status.code == 404 => match status.details.is_some() {
            true => ClusterError::NotFound { doing },
            false => ClusterError::NoKinds { doing },
        },
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
            ClusterError::Refused { doing, message: status.message.clone() }
        }
        source => ClusterError::Request { doing, source },
    }
}
