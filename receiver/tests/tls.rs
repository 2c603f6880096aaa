//! The public port with a certificate, to a client that checks it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use towline_daemon::admin::Readiness;
use towline_daemon::shutdown::Shutdown;
use towline_daemon::tasks::Tasks;
use towline_receiver::metrics::Metrics;
use towline_receiver::publish::Publisher;
use towline_receiver::reload::{self, ReloadMetrics};
use towline_receiver::serve::Server;
use towline_receiver::{Config, Provider, Secret, config, listener, sign};

const REQUEST: &[u8] = b"GET /none HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn configured(folder: &std::path::Path, certificate: &str, key: &str) -> Config {
    std::fs::write(folder.join("tls.crt"), certificate).unwrap();
    std::fs::write(folder.join("tls.key"), key).unwrap();
    std::fs::write(folder.join("secret"), "secret").unwrap();
    let text = r#"
listen: "127.0.0.1:0"
tls: {cert: $DIR/tls.crt, key: $DIR/tls.key}
nats: {url: "nats://127.0.0.1:1"}
limits: {handshake_timeout_ms: 2000, header_timeout_ms: 60000}
hooks:
- {path: /hooks/gitea, provider: gitea, host: git.example, secrets: [$DIR/secret]}
"#;
    let path = folder.join("receiver.yaml");
    std::fs::write(&path, text.replace("$DIR", &folder.display().to_string())).unwrap();
    config::load(Some(&path)).unwrap()
}

#[tokio::test]
async fn a_client_that_checks_the_certificate_is_served_and_one_without_tls_is_not() {
    towline_daemon::tls::install_crypto_provider();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), &made.cert.pem(), &made.signing_key.serialize_pem());
    let (limits, shutdown) = (config.limits(), Shutdown::new());
    let publisher = Publisher::connect(config.nats(), Readiness::new(), limits.publish_timeout, 1).await.unwrap();
    let metrics = Metrics::register(&mut Registry::default());
    let server = Arc::new(Server::new(&config, publisher, metrics, shutdown.clone()));
    let port = listener::bind(config.listen()).await.unwrap();
    let address = port.local_addr().unwrap();
    let edge = listener::run(port, config.tls().cloned(), server, shutdown.clone());
    let client = async {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 404");

        // Plain text, and nothing at all: the connection ends by itself.
        for start in [REQUEST, b""] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(start).await.unwrap();
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok() && !answer.starts_with(b"HTTP"));
        }
        shutdown.request();
    };
    let (Ok(()), ()) = tokio::join!(edge, client);
}

/// A handshake that trusts exactly this certificate.
async fn handshake(
    address: std::net::SocketAddr,
    trusted: &CertificateDer<'static>,
) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()
}

/// A delivery that needs nothing more than to be believed, on a connection that goes on after it.
async fn deliver(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) {
    let secret = Secret::parse(Provider::Gitea, b"secret").unwrap();
    let body = bytes::Bytes::from_static(b"{}");
    let signed = sign::sign(Provider::Gitea, &secret, "star", body, "an-id", jiff::Timestamp::UNIX_EPOCH);
    let mut request = "POST /hooks/gitea HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n".to_owned();
    for (name, value) in &signed.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(&[request.as_bytes(), b"\r\n{}"].concat()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") || answer.ends_with(b"\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_renewed_certificate_is_used_by_the_next_handshake_once_its_key_is_there() {
    towline_daemon::tls::install_crypto_provider();
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (old, new) = (make(), make());
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), &old.cert.pem(), &old.signing_key.serialize_pem());
    let (limits, shutdown, mut registry) = (config.limits(), Shutdown::new(), Registry::default());
    let publisher = Publisher::connect(config.nats(), Readiness::new(), limits.publish_timeout, 1).await.unwrap();
    let server = Arc::new(Server::new(&config, publisher, Metrics::register(&mut registry), shutdown.clone()));
    let port = listener::bind(config.listen()).await.unwrap();
    let address = port.local_addr().unwrap();
    let tasks = Tasks::new();
    reload::spawn(&tasks, &config, &ReloadMetrics::register(&mut registry), &shutdown);
    let edge = listener::run(port, config.tls().cloned(), server, shutdown.clone());
    let metric = |name: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let until = async |what: &str, condition: &dyn Fn() -> bool| {
        let met = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), met).await.is_ok(), "{what}");
    };
    let client = async {
        let mut connection = handshake(address, old.cert.der()).await.unwrap();
        deliver(&mut connection).await;
        // The certificate alone fits no key: the old pair stays in use.
        std::fs::write(folder.path().join("tls.crt"), new.cert.pem()).unwrap();
        until("the half is noticed", &|| metric("towline_receiver_tls_reload_failures_total") == "1").await;
        assert!(handshake(address, old.cert.der()).await.is_some());

        std::fs::write(folder.path().join("tls.key"), new.signing_key.serialize_pem()).unwrap();
        until("the pair is taken", &|| metric("towline_receiver_tls_reloads_total") == "1").await;
        assert!(handshake(address, old.cert.der()).await.is_none());
        deliver(&mut handshake(address, new.cert.der()).await.unwrap()).await;
        // What was there before goes on.
        deliver(&mut connection).await;
        until("its end shows", &|| metric("towline_receiver_tls_certificate_not_after_seconds").len() > 9).await;
        drop(connection);
        shutdown.request();
    };
    let (Ok(()), ()) = tokio::join!(edge, client);
    tasks.run_until_shutdown(shutdown, Duration::from_secs(60)).await.unwrap();
}
