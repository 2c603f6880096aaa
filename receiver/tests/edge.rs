//! The edge in this process, on a real port, spoken to in plain bytes. NATS is away: what would be published is answered
//! with 503. That it is published when NATS is there is shown on real parts elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use towline_daemon::admin::Readiness;
use towline_daemon::shutdown::Shutdown;
use towline_receiver::metrics::Metrics;
use towline_receiver::publish::Publisher;
use towline_receiver::serve::Server;
use towline_receiver::sign::{self, Push};
use towline_receiver::{Provider, Secret, config, listener};

struct Edge {
    address: SocketAddr,
    shutdown: Shutdown,
    readiness: Readiness,
    registry: Registry,
    ended: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Edge {
    async fn start() -> Self {
        towline_daemon::tls::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        let text = format!(
            r#"
listen = "127.0.0.1:0"
[nats]
url = "nats://127.0.0.1:1"
[limits]
body_bytes_max = 100000
bodies_bytes_max = 200000
header_timeout_ms = 300
idle_timeout_ms = 300
body_timeout_ms = 300
publish_timeout_ms = 100
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
        let port = listener::bind(config.listen()).await.unwrap();
        let address = port.local_addr().unwrap();
        let running = listener::run(port, None, server, shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the test owns it and awaits it")]
        let ended = tokio::spawn(async move {
            let Ok(()) = running.await;
        });
        Self { address, shutdown, readiness, registry, ended, _folder: folder }
    }

    /// Sends bytes and reads until the connection ends or an answer with its body is complete.
    async fn send(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        answer(&mut stream).await
    }

    async fn status(&self, request: &str) -> u16 {
        status_of(&self.send(request.as_bytes()).await)
    }
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.contains("\r\n\r\n") && text.ends_with('\n') && !text.ends_with("\r\n\r\n") {
            return text;
        }
        match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut chunk)).await.expect("an answer in time") {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn post(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    [request.as_bytes(), body].concat()
}

fn signed_push(repository: &str, after: Option<&str>) -> Vec<u8> {
    let secret = Secret::parse(Provider::Github, b"secret").unwrap();
    let push = Push { repository, reference: "refs/heads/main", before: None, after };
    let delivery = sign::delivery(Provider::Github, &secret, &push, "an-id", jiff::Timestamp::UNIX_EPOCH);
    let headers: Vec<_> = delivery.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    post(&headers, &delivery.body)
}

fn signed(event: &str, body: &str) -> Vec<u8> {
    let secret = Secret::parse(Provider::Github, b"secret").unwrap();
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    let delivery = sign::sign(Provider::Github, &secret, event, body, "an-id", jiff::Timestamp::UNIX_EPOCH);
    let headers: Vec<_> = delivery.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    post(&headers, &delivery.body)
}

const COMMIT: &str = "1111111111111111111111111111111111111111";
const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn what_cannot_be_stored_is_503_and_says_when_to_try_again() {
    let edge = Edge::start().await;
    let answer = edge.send(&signed_push("org/app", Some(COMMIT))).await;
    assert_eq!(status_of(&answer), 503, "{answer}");
    assert!(answer.contains("retry-after: ") && answer.contains("x-request-id: "), "{answer}");
    assert!(edge.readiness.failing().iter().any(|check| check.starts_with("nats: ")));
}

#[tokio::test]
async fn what_is_verified_and_needs_nothing_is_200() {
    let edge = Edge::start().await;
    for (request, why) in [
        (signed("ping", "{}"), "a ping"),
        (signed("star", "not even json"), "event `star`"),
        (signed_push("other/app", Some(COMMIT)), "not in the hook's allow-list"),
        (signed_push("org/app", None), "was deleted"),
    ] {
        let answer = edge.send(&request).await;
        assert_eq!(status_of(&answer), 200, "{answer}");
        assert!(answer.contains(why), "{answer}");
    }
    assert_eq!(status_of(&edge.send(&signed("push", "{}")).await), 400);
    assert_eq!(status_of(&edge.send(&signed_push("org/../x", Some(COMMIT))).await), 200, "not in the allow-list");
}

#[tokio::test]
async fn a_bad_signature_is_401_and_nothing_more() {
    let edge = Edge::start().await;
    let wrong = format!("sha256={}", "0".repeat(64));
    for headers in [vec![], vec![("x-hub-signature-256", "sha256=")], vec![("x-hub-signature-256", wrong.as_str())]] {
        let headers = [&[("content-type", "application/json"), ("x-github-event", "push")][..], &headers].concat();
        let answer = edge.send(&post(&headers, b"{\"broken")).await;
        assert_eq!(status_of(&answer), 401, "{answer}");
        assert!(answer.ends_with("missing or bad signature\n"), "{answer}");
    }
    // The same answer, whether the body could be read or not: nothing is parsed before it is believed.
    let mut tampered = signed_push("org/app", Some(COMMIT));
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    assert_eq!(status_of(&edge.send(&tampered).await), 401);
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &edge.registry).unwrap();
    let line = "towline_receiver_deliveries_total{hook=\"/hooks/github\",provider=\"github\",event=\"push\",outcome=\"refused\"} 4";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn what_is_wrong_before_the_body_is_said_before_the_body() {
    let edge = Edge::start().await;
    for (expected, request) in [
        (404, format!("POST /hooks HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 9\r\n\r\n")),
        (404, format!("POST /hooks/github/ HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 9\r\n\r\n")),
        (405, "GET /hooks/github HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        (415, "POST /hooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n".to_owned()),
        (411, format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{JSON}\r\n")),
        (415, format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{JSON}transfer-encoding: gzip, chunked\r\n\r\n")),
        (413, format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 100001\r\n\r\n")),
        (431, format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(40_000))),
        (431, format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(80))),
        (400, "POST\r\n\r\n".to_owned()),
    ] {
        assert_eq!(edge.status(&request).await, expected, "{request:.120}");
    }
}

#[tokio::test]
async fn slow_and_silent_clients_are_sent_away() {
    let edge = Edge::start().await;
    let head = format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 9\r\n\r\n1234");
    assert_eq!(edge.status(&head).await, 408);
    // No request at all, and half a request line: the connection ends.
    for start in ["", "POST /hoo"] {
        let mut stream = TcpStream::connect(edge.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "the connection stayed open after {start:?}");
    }
    // One that was used and then left idle ends as well.
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(&signed("ping", "{}")).await.unwrap();
    assert_eq!(status_of(&answer(&mut stream).await), 200);
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "an idle connection stayed open");
}

#[tokio::test]
async fn a_connection_carries_one_delivery_after_another() {
    let edge = Edge::start().await;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(&signed("ping", "{}")).await.unwrap();
        assert_eq!(status_of(&answer(&mut stream).await), 200);
    }
}

#[tokio::test]
async fn shutdown_finishes_what_was_accepted_and_accepts_no_more() {
    let edge = Edge::start().await;
    // In the middle of its body, which comes after shutdown was requested.
    let request = signed_push("org/app", Some(COMMIT));
    let (start, rest) = request.split_at(request.len() - 5);
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(start).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    edge.shutdown.request();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(edge.address).await.is_err());
    stream.write_all(rest).await.unwrap();
    assert_eq!(status_of(&answer(&mut stream).await), 503);
    tokio::time::timeout(Duration::from_secs(5), edge.ended).await.expect("the edge ended").unwrap();
}

#[tokio::test]
async fn who_hangs_up_after_the_request_does_not_stop_its_work() {
    let edge = Edge::start().await;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(&signed_push("org/app", Some(COMMIT))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(stream);
    edge.shutdown.request();
    edge.ended.await.unwrap();
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &edge.registry).unwrap();
    assert!(metrics.contains("outcome=\"not_published\"} 1"), "the delivery was not worked to its end: {metrics}");
}
