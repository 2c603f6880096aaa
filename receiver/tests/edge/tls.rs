//! TLS: both versions, the protocol that is spoken in it, and clients that do not get there.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::ping;
use crate::edge::{Edge, NEVER_MS, Settings};

async fn start(limits: &[(&str, u64)]) -> Edge {
    Edge::start_as(Settings { limits, proxies: "", tls: true }).await
}

async fn connect(
    edge: &Edge,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(edge.certificate.clone().unwrap())).unwrap();
    let mut config =
        ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(edge.address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let edge = start(&[]).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = connect(&edge, version, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        for _ in 0..2 {
            stream.write_all(&ping()).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            let mut rest = vec![0; 4096];
            assert!(stream.read(&mut rest).await.unwrap() > 0);
        }
    }
    assert!(connect(&edge, &rustls::version::TLS13, &["h2"]).await.is_err(), "nothing else is spoken");
    edge.wait_until_empty().await;
}

#[tokio::test]
async fn an_answer_before_the_body_is_read_in_tls_too() {
    let edge =
        start(&[("linger_timeout_ms", 60_000), ("body_bytes_max", 2_000_000), ("bodies_bytes_max", 4_000_000)]).await;
    let mut stream = connect(&edge, &rustls::version::TLS13, &[]).await.unwrap();
    stream.write_all(b"PUT /hooks/github HTTP/1.1\r\ncontent-length: 1500000\r\n\r\n").await.unwrap();
    stream.write_all(&vec![b'x'; 1_500_000]).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 405");
}

#[tokio::test]
async fn garbage_and_silence_get_no_further() {
    let edge = start(&[("handshake_timeout_ms", 300)]).await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for start in [&b""[..], &ping(), hello, &[0x16; 20_000], &[0xff; 300], b"\x15\x03\x03\x00\x02\x02\x28"] {
        let mut client = edge.connect().await;
        // Garbage may be refused, and the connection reset, before all of it is sent.
        let _sent = client.stream.write_all(start).await;
        assert!(!client.rest().await.starts_with("HTTP"));
    }
    edge.wait_until_empty().await;
    // The first byte of a handshake that goes on for ever, one byte at a time.
    let mut client = edge.connect().await;
    client.stream.write_all(b"\x16\x03\x01\x40\x00").await.unwrap();
    client.drip(1).await;
    edge.wait_until_empty().await;
}

#[tokio::test]
async fn handshakes_that_stop_half_way_keep_nobody_out() {
    let edge = start(&[("connections_max", 3), ("handshake_timeout_ms", NEVER_MS)]).await;
    let mut silent = Vec::new();
    for number in 0..20 {
        let mut client = edge.connect_from([127, 0, 1, number].into()).await;
        client.send(b"\x16\x03\x01\x02\x00").await;
        silent.push(client);
    }
    let mut stream = connect(&edge, &rustls::version::TLS13, &[]).await.unwrap();
    stream.write_all(&ping()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
