//! From configuration to a client.

use std::path::PathBuf;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::counted::Counted;
use crate::metrics::Metrics;

/// Where the cluster is. Default: in-cluster, else the kubeconfig of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectSettings {
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("reading the kubeconfig {path}")]
    Kubeconfig { path: PathBuf, source: Box<kube::config::KubeconfigError> },
    #[error("choosing the context in the kubeconfig")]
    Context(#[source] Box<kube::config::KubeconfigError>),
    #[error(
        "finding a cluster: neither in-cluster credentials nor a kubeconfig (set kubernetes.kubeconfig or KUBECONFIG)"
    )]
    Infer(#[source] Box<kube::config::InferConfigError>),
    #[error("building the client")]
    Client(#[source] Box<kube::Error>),
}

/// Connects; no request is made yet.
///
/// # Errors
/// An unreadable kubeconfig, an unknown context, broken certificates.
pub async fn connect(settings: &ConnectSettings, metrics: &Metrics) -> Result<kube::Client, ConnectError> {
    let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match (&settings.kubeconfig, &settings.context) {
        (Some(path), _) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .map_err(|e| ConnectError::Kubeconfig { path: path.clone(), source: Box::new(e) })?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|e| ConnectError::Context(Box::new(e)))?
        }
        (None, Some(_)) => {
            kube::Config::from_kubeconfig(&options).await.map_err(|e| ConnectError::Context(Box::new(e)))?
        }
        (None, None) => kube::Config::infer().await.map_err(|e| ConnectError::Infer(Box::new(e)))?,
    };
    config.connect_timeout = Some(Duration::from_secs(10));
    // Above the 290 s after which the API server ends a watch by itself: a connection that died silently is noticed.
    config.read_timeout = Some(Duration::from_secs(305));
    // A stage reports and the schedule decides when to try again; retries below it would only hide that.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|e| ConnectError::Client(Box::new(e)))?;
    Ok(builder.with_layer(&Counted(metrics.clone())).build())
}
