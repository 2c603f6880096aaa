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
use towline_receiver::metrics::Metrics;
use towline_receiver::publish::Publisher;
use towline_receiver::serve::Server;
use towline_receiver::{Config, config, listener};

const REQUEST: &[u8] = b"GET /none HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn configured(folder: &std::path::Path, certificate: &str, key: &str) -> Config {
    std::fs::write(folder.join("tls.crt"), certificate).unwrap();
    std::fs::write(folder.join("tls.key"), key).unwrap();
    std::fs::write(folder.join("secret"), "secret").unwrap();
    let text = r#"
listen: "127.0.0.1:0"
tls: {cert: $DIR/tls.crt, key: $DIR/tls.key}
nats: {url: "nats://127.0.0.1:1"}
limits: {handshake_timeout_ms: 200}
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
            let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok() && !answer.starts_with(b"HTTP"));
        }
        shutdown.request();
    };
    let (Ok(()), ()) = tokio::join!(edge, client);
}
