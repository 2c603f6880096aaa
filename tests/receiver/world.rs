//! What a test of the receiver works on: a NATS server with Towline's streams, and receivers that publish to it. Knows how
//! they are configured, and no delivery.

use std::net::SocketAddr;
use std::time::Duration;

use harness::certs::Authority;
use harness::config::{Hook, ReceiverConfig};
use harness::guard;
use harness::nats::{Nats, NatsAccess};
use harness::towline::Daemon;
use harness::wait_until;

/// Patience on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The secret of every hook that has no other.
pub const SECRET: &str = "correct horse battery staple";
/// Where GitHub's deliveries go.
pub const PATH: &str = "/hooks/github";
/// What the hook's host is called.
pub const HOST: &str = "git.test";

/// Lines of the `[limits]` table for who waits out what a test does to NATS.
pub const PATIENT: &str = "publish_timeout_ms = 60000\ndrain_timeout_ms = 80000";

/// NATS and one receiver.
pub struct World {
    pub nats: Nats,
    pub receiver: Receiver,
}

/// A receiver, and where it listens.
pub struct Receiver {
    pub daemon: Daemon,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// The authority of its certificate, if it has one.
    pub authority: Option<String>,
}

impl World {
    /// One GitHub hook; `limits` are lines of the `[limits]` table, the others keep their defaults.
    pub async fn new(limits: &str) -> Self {
        let nats = Nats::start_with_streams().await.unwrap();
        let receiver = Receiver::start(&config(nats.access("receiver"), limits)).await;
        Self { nats, receiver }
    }

    /// The same with a certificate on the public port.
    pub async fn with_tls(limits: &str) -> Self {
        let authority = Authority::new("receiver").unwrap();
        let identity = authority.server(&["127.0.0.1"]).unwrap();
        let folder = guard::scratch("certificate");
        let (cert, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&cert, identity.certificate).unwrap();
        std::fs::write(&key, identity.key).unwrap();
        let nats = Nats::start_with_streams().await.unwrap();
        let mut config = config(nats.access("receiver"), limits);
        config.extra_tables += &format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n");
        let mut receiver = Receiver::start(&config).await;
        receiver.authority = Some(authority.certificate().to_owned());
        Self { nats, receiver }
    }
}

/// One GitHub hook, and NATS at this access.
pub fn config(nats: NatsAccess, limits: &str) -> ReceiverConfig {
    let mut config = ReceiverConfig::new(nats, vec![Hook::new("github", HOST, SECRET)]);
    config.extra_tables = format!("[limits]\n{limits}\n");
    config
}

impl Receiver {
    /// Returns when it is ready to publish.
    pub async fn start(config: &ReceiverConfig) -> Self {
        let receiver = Self::start_unready(config).await;
        receiver.ready().await;
        receiver
    }

    /// Returns when its ports are open.
    pub async fn start_unready(config: &ReceiverConfig) -> Self {
        let mut daemon = Daemon::receiver(config).await.unwrap();
        let (public, admin) = (daemon.address("public").await.unwrap(), daemon.address("admin").await.unwrap());
        Self { daemon, public, admin, authority: None }
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.public)
    }

    /// Waits until `/readyz` says 200.
    pub async fn ready(&self) {
        self.readyz("it is ready", 200, "ok").await;
    }

    /// Waits until `/readyz` answers so; a reason is a part of its text.
    pub async fn readyz(&self, what: &str, status: u16, reason: &str) {
        wait_until(&format!("/readyz says {status} {reason:?}: {what}"), PATIENCE, async || {
            let (seen, text) = self.ask("/readyz").await?;
            if seen == status && text.contains(reason) { Ok(()) } else { Err(format!("{seen}: {text}")) }
        })
        .await
        .unwrap();
    }

    /// Waits until so many connections are open on the public port.
    pub async fn connections(&self, what: &str, fits: impl Fn(u64) -> bool) {
        wait_until(what, PATIENCE, async || {
            let (_, metrics) = self.ask("/metrics").await?;
            let open = metric(&metrics, "towline_receiver_connections").ok_or("there is no such metric")?;
            if fits(open) { Ok(()) } else { Err(format!("{open} connections are open")) }
        })
        .await
        .unwrap();
    }

    /// What the admin port says.
    pub async fn ask(&self, path: &str) -> Result<(u16, String), String> {
        let answer = reqwest::get(format!("http://{}{path}", self.admin)).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(|error| error.to_string())?))
    }
}

/// The value of a metric without labels.
pub fn metric(metrics: &str, name: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
