//! One way to connect to NATS: with whatever proves who we are, patient when the server is away, and never in step with
//! a thousand others when it returns. The only file here that imports the client. Knows no subject and no stream.

mod credentials;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Auth, AuthError, ConnectOptions, ServerAddr};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use serde::Deserialize;

pub use credentials::CredentialsError;
use credentials::{Kept, Source};

/// A dead peer is noticed after two of these: soon enough for people to wait for it, at a cost of a few bytes.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// DNS, TCP and TLS across the world with one lost packet each.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The first delay of a reconnect is drawn from zero to this, later ones from zero to twice the one before.
const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(500);

/// 5,000 clients spread over this are 1,000 handshakes a second: what one server with TLS on two cores can do.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(5);

/// The `[nats]` section of a daemon's configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Settings {
    /// `nats://`, `tls://`, `ws://` or `wss://`; several servers of one cluster are separated by commas.
    pub url: String,
    /// A `.creds` file: user JWT and NKey seed.
    pub credentials: Option<PathBuf>,
    /// A file with an NKey seed.
    pub nkey: Option<PathBuf>,
    pub user: Option<String>,
    /// A file with the user's password.
    pub password: Option<PathBuf>,
    /// PEM certificates of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

/// Why a client could not be made. A server that cannot be reached is no such reason: it is tried for ever.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    #[error("failed to parse NATS server address {url:?}")]
    Address { url: String, source: std::io::Error },
    #[error("failed to read NATS authorities from {}", .path.display())]
    Authorities { path: PathBuf, source: pem::Error },
    #[error("failed to find a certificate in {}", .0.display())]
    NoAuthority(PathBuf),
    #[error("failed to read NATS credentials from {}", .path.display())]
    Credentials { path: PathBuf, source: CredentialsError },
    #[error("failed to use the user in the NATS address: set `user` and `password` (a file) instead")]
    UserInAddress,
    #[error("failed to choose NATS credentials: set one of credentials, nkey, or user and password")]
    Ambiguous,
    #[error("failed to start the NATS client")]
    Start(#[source] async_nats::ConnectError),
}

/// What happened on a connection, for conditions and readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Connected,
    Disconnected,
    /// The server refused something; a permission that is missing shows only here.
    ServerError(String),
    /// A connection attempt failed, or the client gave up on something.
    ClientError(String),
    /// A subscription did not keep up and lost messages.
    SlowConsumer,
}

impl Settings {
    /// Whether the settings can be used, without connecting: for validation of a configuration.
    pub fn check(&self) -> Result<(), NatsError> {
        if addresses(&self.url)?.iter().any(ServerAddr::has_user_pass) {
            return Err(NatsError::UserInAddress);
        }
        let ways = [self.credentials.is_some(), self.nkey.is_some(), self.user.is_some()];
        let password_alone = self.password.is_some() != self.user.is_some();
        if ways.iter().filter(|way| **way).count() > 1 || password_alone {
            return Err(NatsError::Ambiguous);
        }
        Ok(())
    }

    /// The servers' addresses, without what may be secret in them.
    pub fn shown_url(&self) -> String {
        shown(&self.url)
    }

    /// Reads the files that are named; what is wrong, by the keys of the settings. Opens no connection.
    pub fn check_files(&self) -> Vec<(&'static str, NatsError)> {
        let credentials = Source::of(self).and_then(|source| {
            let error = source.read().err()?;
            Some((source.key(), NatsError::Credentials { path: source.path().to_owned(), source: error }))
        });
        let ca = self.check_authorities().err().map(|error| ("ca", error));
        credentials.into_iter().chain(ca).collect()
    }

    fn check_authorities(&self) -> Result<(), NatsError> {
        let Some(path) = &self.ca else { return Ok(()) };
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(authorities) if authorities.is_empty() => Err(NatsError::NoAuthority(path.clone())),
            Ok(_) => Ok(()),
            Err(source) => Err(NatsError::Authorities { path: path.clone(), source }),
        }
    }
}

/// Starts a client and returns at once; it connects, and reconnects, by itself until it is dropped.
///
/// The events come one at a time, in order, on the client's own task: `on_event` must not block.
pub async fn connect(
    settings: &Settings,
    client_name: &str,
    inbox_prefix: Option<String>,
    on_event: impl Fn(Event) + Send + Sync + 'static,
) -> Result<async_nats::Client, NatsError> {
    settings.check()?;
    let was_connected = Arc::new(AtomicBool::new(false));
    let (on_event, connected) = (Arc::new(on_event), Arc::clone(&was_connected));
    let (is_connected, servers) = (Arc::new(AtomicBool::new(false)), Arc::<str>::from(shown(&settings.url)));
    let mut options = authenticated(settings)?
        .name(client_name)
        .retry_on_initial_connect()
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECTION_TIMEOUT)
        .reconnect_delay_callback(move |attempt| reconnect_delay(attempt, was_connected.load(Ordering::Relaxed)))
        .event_callback(move |event| {
            let (on_event, connected) = (Arc::clone(&on_event), Arc::clone(&connected));
            let (is_connected, servers) = (Arc::clone(&is_connected), Arc::clone(&servers));
            async move {
                let Some(mut event) = Event::from_client(event) else { return };
                match &mut event {
                    Event::Connected => {
                        connected.store(true, Ordering::Relaxed);
                        is_connected.store(true, Ordering::Relaxed);
                    }
                    Event::Disconnected => is_connected.store(false, Ordering::Relaxed),
                    // The client says "IO error" and no more.
                    Event::ClientError(text) if !is_connected.load(Ordering::Relaxed) => {
                        *text = format!("failed to connect to {servers}: {text}");
                    }
                    Event::ClientError(_) | Event::ServerError(_) | Event::SlowConsumer => {}
                }
                on_event(event);
            }
        });
    // Read here too, because the client would retry for ever on a file that is not there. It reads it at every connection.
    settings.check_authorities()?;
    if let Some(ca) = &settings.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some(prefix) = inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    async_nats::connect_with_options(addresses(&settings.url)?, options).await.map_err(NatsError::Start)
}

fn addresses(url: &str) -> Result<Vec<ServerAddr>, NatsError> {
    let parse =
        |part: &str| part.trim().parse().map_err(|source| NatsError::Address { url: without_password(part), source });
    url.split(',').map(parse).collect()
}

fn shown(url: &str) -> String {
    url.split(',').map(|part| without_password(part.trim())).collect::<Vec<_>>().join(", ")
}

/// A URL may carry a password, and this one goes into an error message.
fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &url[..scheme + 3], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

/// The client asks for a proof at every connection, which is when the file is read again.
fn authenticated(settings: &Settings) -> Result<ConnectOptions, NatsError> {
    let Some(source) = Source::of(settings) else { return Ok(ConnectOptions::new()) };
    let path = source.path().to_owned();
    let kept = Kept::read(source).map_err(|source| NatsError::Credentials { path, source })?;
    let kept = Arc::new(kept);
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let kept = Arc::clone(&kept);
        async move {
            let proof = tokio::task::spawn_blocking(move || kept.newest().proof(&nonce)).await;
            let proof = proof.map_err(AuthError::new)?.map_err(AuthError::new)?;
            let mut auth = Auth::new();
            (auth.jwt, auth.nkey, auth.signature) = (proof.jwt, proof.nkey, proof.signature);
            (auth.username, auth.password) = (proof.user, proof.password);
            Ok(auth)
        }
    }))
}

/// Full jitter, because all clients of a server lose it in the same moment. Only a first connection starts at once.
fn reconnect_delay(attempt: usize, was_connected: bool) -> Duration {
    if attempt <= 1 && !was_connected {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let ceiling = RECONNECT_DELAY_FIRST.saturating_mul(1 << doublings).min(RECONNECT_DELAY_MAX);
    ceiling.mul_f64(fastrand::f64())
}

impl Event {
    fn from_client(event: async_nats::Event) -> Option<Self> {
        Some(match event {
            async_nats::Event::Connected => Self::Connected,
            async_nats::Event::Disconnected | async_nats::Event::Closed => Self::Disconnected,
            async_nats::Event::ServerError(async_nats::ServerError::Other(text)) => Self::ServerError(text),
            async_nats::Event::ServerError(error) => Self::ServerError(error.to_string()),
            async_nats::Event::ClientError(async_nats::ClientError::Other(text)) => Self::ClientError(text),
            async_nats::Event::ClientError(error) => Self::ClientError(error.to_string()),
            async_nats::Event::SlowConsumer(_) => Self::SlowConsumer,
            async_nats::Event::LameDuckMode | async_nats::Event::Draining => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings { url: url.to_owned(), credentials: None, nkey: None, user: None, password: None, ca: None }
    }

    #[test]
    fn only_nats_and_websocket_addresses() {
        for url in ["nats://a:4222", "tls://a", "ws://a/x", "wss://a", "a:4222", "nats://a, nats://b"] {
            assert!(settings(url).check().is_ok(), "{url}");
        }
        let error = settings("https://user:secret@a").check().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(shown("nats://user:secret@a:1, tls://b"), "nats://a:1, tls://b");
    }

    #[test]
    fn one_way_to_prove_who_we_are() {
        let two = Settings { credentials: Some("/a".into()), nkey: Some("/b".into()), ..settings("nats://a") };
        assert!(matches!(two.check(), Err(NatsError::Ambiguous)));
        let half = Settings { user: Some("me".into()), ..settings("nats://a") };
        assert!(matches!(half.check(), Err(NatsError::Ambiguous)));
    }

    #[test]
    fn delays_are_bounded_and_the_first_connection_is_at_once() {
        assert_eq!(reconnect_delay(1, false), Duration::ZERO);
        for attempt in [1, 2, 5, 20, usize::MAX] {
            assert!(reconnect_delay(attempt, true) <= RECONNECT_DELAY_MAX);
        }
        assert!(reconnect_delay(1, true) <= RECONNECT_DELAY_FIRST);
        let draws: std::collections::BTreeSet<_> = (0..20).map(|_| reconnect_delay(9, true)).collect();
        assert!(draws.len() > 10, "no jitter: {draws:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_no_error() {
        crate::tls::install_crypto_provider();
        let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
        let client =
            connect(&settings("nats://127.0.0.1:1"), "test", None, move |event| drop(sender.send(event))).await;
        assert!(client.is_ok());
        let Some(Event::ClientError(text)) = events.recv().await else {
            panic!("nothing is said of the failed attempt")
        };
        assert!(text.starts_with("failed to connect to nats://127.0.0.1:1: "), "{text}");
    }
}
