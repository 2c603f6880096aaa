//! HTTP in plain bytes over sockets that a test holds in its own hands: what no well-made client would send. A connection
//! may come from any address of 127.0.0.0/8. Knows no attack.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use towline_receiver::sign::SignedDelivery;

use crate::world::PATH;

/// A connection from this address.
pub async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Lets this process, and what it starts from now on, have so many files open.
pub fn raise_descriptors(count: usize) {
    let wanted = u64::try_from(count).unwrap();
    let mut limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= wanted), "{wanted} open files are needed: {limit:?}");
    limit.current = limit.current.map(|current| current.max(wanted));
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// A TLS client that believes this authority.
pub fn tls_client(authority: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A whole handshake.
pub async fn handshake(client: &TlsConnector, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::from(stream.peer_addr()?.ip());
    client.connect(name, stream).await
}

/// The head of a POST to the hook, up to the empty line.
pub fn head(headers: &[(&str, &str)]) -> String {
    let mut text = format!("POST {PATH} HTTP/1.1\r\nhost: receiver\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + "\r\n"
}

/// A delivery as it goes over the wire: head and body.
pub fn request(delivery: &SignedDelivery) -> (String, &[u8]) {
    let length = delivery.body.len().to_string();
    let mut headers: Vec<(&str, &str)> = vec![("content-length", &length)];
    headers.extend(delivery.headers.iter().map(|(name, value)| (*name, value.as_str())));
    (head(&headers), &delivery.body)
}

/// The status of the next answer; `None` when the connection ends without one.
pub async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut seen = Vec::new();
    // "HTTP/1.1 202".
    while seen.len() < 12 {
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    std::str::from_utf8(&seen[9..12]).ok()?.parse().ok()
}
