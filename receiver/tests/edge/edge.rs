//! Starts an edge with the bounds that a test wants.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use towline_daemon::admin::Readiness;
use towline_daemon::shutdown::Shutdown;
use towline_receiver::metrics::Metrics;
use towline_receiver::publish::Publisher;
use towline_receiver::serve::Server;
use towline_receiver::{config, listener};

use crate::client::Client;

/// A slow machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Longer than any test: a bound that is not the subject of it.
pub(crate) const NEVER_MS: u64 = 600_000;

pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) readiness: Readiness,
    pub(crate) registry: Registry,
    pub(crate) ended: JoinHandle<()>,
    /// The certificate of an edge with TLS.
    pub(crate) certificate: Option<Vec<u8>>,
    _folder: tempfile::TempDir,
}

pub(crate) struct Settings<'a> {
    pub(crate) limits: &'a [(&'a str, u64)],
    pub(crate) proxies: &'a str,
    pub(crate) tls: bool,
}

impl Edge {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(limits: &[(&str, u64)]) -> Self {
        Self::start_as(Settings { limits, proxies: "", tls: false }).await
    }

    pub(crate) async fn start_as(settings: Settings<'_>) -> Self {
        towline_daemon::tls::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display();
        let mut limits = BTreeMap::from([
            ("body_bytes_max", 100_000),
            ("bodies_bytes_max", 200_000),
            ("header_timeout_ms", NEVER_MS),
            ("idle_timeout_ms", NEVER_MS),
            ("handshake_timeout_ms", NEVER_MS),
            ("body_timeout_ms", NEVER_MS),
            ("body_grace_ms", NEVER_MS),
            ("write_timeout_ms", NEVER_MS),
            ("drain_timeout_ms", 2 * NEVER_MS),
            ("publish_timeout_ms", 100),
        ]);
        limits.extend(settings.limits.iter().copied());
        let limits: String = limits.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let proxies = settings.proxies;
        let certificate = settings.tls.then(|| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
            std::fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
            made.cert.der().to_vec()
        });
        let tls = if settings.tls {
            format!("[tls]\ncert = \"{dir}/tls.crt\"\nkey = \"{dir}/tls.key\"")
        } else {
            String::new()
        };
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        let text = format!(
            r#"
listen = "127.0.0.1:0"
proxies = [{proxies}]
{tls}
[nats]
url = "nats://127.0.0.1:1"
[limits]
{limits}
[[hooks]]
path = "/hooks/github"
provider = "github"
host = "github.com"
secrets = ["{dir}/secret"]
repositories = ["org/*"]
"#
        );
        let path = folder.path().join("receiver.toml");
        std::fs::write(&path, text).unwrap();
        let config = config::load(Some(&path)).unwrap();
        let (limits, shutdown, readiness) = (config.limits(), Shutdown::new(), Readiness::new());
        let publisher = Publisher::connect(config.nats(), readiness.clone(), limits.publish_timeout, 8).await.unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let server = Arc::new(Server::new(&config, publisher, metrics, shutdown.clone()));
        server.register(&mut registry);
        let port = listener::bind(config.listen()).await.unwrap();
        let address = port.local_addr().unwrap();
        let running = listener::run(port, config.tls().cloned(), server, shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the test owns it and awaits it")]
        let ended = tokio::spawn(async move {
            let Ok(()) = running.await;
        });
        Self { address, shutdown, readiness, registry, ended, certificate, _folder: folder }
    }

    pub(crate) async fn connect(&self) -> Client {
        self.connect_from([127, 0, 0, 1].into()).await
    }

    pub(crate) async fn connect_from(&self, source: IpAddr) -> Client {
        Client::connect(source, self.address).await
    }

    /// Sends bytes and reads until the connection ends or an answer with its body is complete.
    pub(crate) async fn send(&self, request: &[u8]) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn wait_for_metric(&self, line: &str) {
        let found = async {
            while !self.metrics().lines().any(|other| other == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, found).await.is_err() {
            panic!("no {line} in\n{}", self.metrics());
        }
    }

    /// Waits until all bodies together take this much of the budget.
    pub(crate) async fn wait_for_memory(&self, bytes: u64) {
        self.wait_for_metric(&format!("towline_receiver_bodies_held_bytes {bytes}")).await;
    }

    /// Waits until nobody has a place any more: whatever happened to a connection, its place came back.
    pub(crate) async fn wait_until_empty(&self) {
        self.wait_for_metric("towline_receiver_connections 0").await;
    }
}
