//! What is refused for its rate, what is not, and what is counted: the server in this process, without a port. NATS is
//! away, so what would be published is answered with 503; whether it was verified shows all the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame};
use prometheus_client::registry::Registry;
use towline_daemon::admin::Readiness;
use towline_daemon::shutdown::Shutdown;
use towline_receiver::metrics::Metrics;
use towline_receiver::publish::Publisher;
use towline_receiver::serve::Server;
use towline_receiver::sign::{self, Push};
use towline_receiver::{Provider, Secret, config};

const COMMIT: &str = "1111111111111111111111111111111111111111";

struct World {
    server: Arc<Server>,
    registry: Registry,
}

impl World {
    async fn new(limits: &str) -> Self {
        towline_daemon::tls::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nproxies = [\"10.0.0.0/8\"]\nsenders = [\"203.0.113.0/24\"]\n[nats]\nurl = \"nats://127.0.0.1:1\"\n\
             [limits]\npublish_timeout_ms = 50\n{limits}\n\
             [[hooks]]\npath = \"/hooks/github\"\nprovider = \"github\"\nhost = \"github.com\"\nsecrets = [\"{dir}/secret\"]\n"
        );
        let path = folder.path().join("receiver.toml");
        std::fs::write(&path, text).unwrap();
        let config = config::load(Some(&path)).unwrap();
        let timeout = config.limits().publish_timeout;
        let publisher = Publisher::connect(config.nats(), Readiness::new(), timeout, 8).await.unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let server = Arc::new(Server::new(&config, publisher, metrics, Shutdown::new()));
        server.register(&mut registry);
        Self { server, registry }
    }

    /// The status, and `Retry-After` where there is one.
    async fn send<B>(&self, peer: &str, request: Request<B>) -> (StatusCode, Option<u64>)
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let peer: IpAddr = peer.parse().unwrap();
        let Ok(response) = Arc::clone(&self.server).handle(request, peer).await;
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
        (response.status(), retry_after)
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics().lines().any(|found| found == format!("towline_receiver_{line}"))
    }
}

fn signed(secret: &str, event: &str) -> Request<Full<Bytes>> {
    let secret = Secret::parse(Provider::Github, secret.as_bytes()).unwrap();
    let body = Bytes::from_static(b"{}");
    let delivery = sign::sign(Provider::Github, &secret, event, body, "an-id", jiff::Timestamp::UNIX_EPOCH);
    request(delivery)
}

fn push(reference: &str) -> Request<Full<Bytes>> {
    let secret = Secret::parse(Provider::Github, b"secret").unwrap();
    let push = Push { repository: "org/app", reference, before: None, after: Some(COMMIT) };
    request(sign::delivery(Provider::Github, &secret, &push, "an-id", jiff::Timestamp::UNIX_EPOCH))
}

fn request(delivery: sign::SignedDelivery) -> Request<Full<Bytes>> {
    let mut request = Request::post("/hooks/github").header("content-length", delivery.body.len());
    for (name, value) in delivery.headers {
        request = request.header(name, value);
    }
    request.body(Full::new(delivery.body)).unwrap()
}

/// A body that nobody may look at.
struct Untouchable;

impl Body for Untouchable {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        panic!("the body was read")
    }
}

fn unread(forwarded_for: Option<&str>) -> Request<Untouchable> {
    let (mut head, _) = signed("secret", "ping").into_parts();
    if let Some(client) = forwarded_for {
        head.headers.insert("x-forwarded-for", client.parse().unwrap());
    }
    Request::from_parts(head, Untouchable)
}

const OK: (StatusCode, Option<u64>) = (StatusCode::OK, None);

#[tokio::test]
async fn an_address_beyond_its_rate_is_answered_before_its_body() {
    let world = World::new("address_requests_per_second = 1\naddress_requests_burst = 3").await;
    for _ in 0..3 {
        assert_eq!(world.send("192.0.2.1", signed("secret", "ping")).await, OK);
    }
    assert_eq!(world.send("192.0.2.1", unread(None)).await, (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    // Another one is not concerned, and a proxy's word is taken for who it is.
    assert_eq!(world.send("192.0.2.2", signed("secret", "ping")).await, OK);
    assert_eq!(world.send("10.0.0.1", unread(Some("192.0.2.1"))).await.0, StatusCode::TOO_MANY_REQUESTS);
    assert!(world.counted("rate_limited_total{limit=\"address\"} 2"), "{}", world.metrics());
}

#[tokio::test]
async fn unknown_paths_have_no_more_requests() {
    let world = World::new("address_requests_per_second = 1\naddress_requests_burst = 3").await;
    let unknown = || Request::post("/none").body(Untouchable).unwrap();
    for _ in 0..3 {
        assert_eq!(world.send("192.0.2.1", unknown()).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(world.send("192.0.2.1", unknown()).await, (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    assert_eq!(world.send("192.0.2.2", signed("secret", "ping")).await, OK);
}

#[tokio::test]
async fn failures_turn_a_stranger_away_and_no_sender_who_shares_his_address() {
    let world = World::new("address_failures_per_second = 1\naddress_failures_burst = 5").await;
    assert_eq!(world.send("192.0.2.2", signed("secret", "ping")).await, OK);
    for peer in ["192.0.2.1", "192.0.2.2"] {
        for _ in 0..5 {
            assert_eq!(world.send(peer, signed("guess", "ping")).await, (StatusCode::UNAUTHORIZED, None));
        }
    }
    assert_eq!(world.send("192.0.2.1", unread(None)).await, (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    assert_eq!(world.send("192.0.2.2", signed("guess", "ping")).await, (StatusCode::UNAUTHORIZED, None));
    assert_eq!(world.send("192.0.2.2", signed("secret", "ping")).await, OK);
    let line = "authentication_failures_total{hook=\"/hooks/github\",reason=\"wrong\"} 11";
    assert!(world.counted(line), "{}", world.metrics());
    assert!(world.counted("log_lines_left_out_total 1"), "{}", world.metrics());
}

/// A wrong path is the commonest mistake in setting up a hook: it has its line, and not without end.
#[tokio::test]
async fn a_wrong_path_and_a_wrong_method_have_their_log_lines() {
    let world = World::new("").await;
    for _ in 0..6 {
        let (mut head, body) = signed("secret", "ping").into_parts();
        head.uri = "/hooks/githab".parse().unwrap();
        assert_eq!(world.send("192.0.2.1", Request::from_parts(head, body)).await.0, StatusCode::NOT_FOUND);
    }
    assert!(world.counted("log_lines_left_out_total 1"), "{}", world.metrics());
    for _ in 0..6 {
        let (mut head, body) = signed("secret", "ping").into_parts();
        head.method = http::Method::PUT;
        assert_eq!(world.send("192.0.2.1", Request::from_parts(head, body)).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(world.counted("log_lines_left_out_total 2"), "{}", world.metrics());
}

#[tokio::test]
async fn all_strangers_together_have_a_rate_and_known_senders_have_their_own() {
    let world = World::new("requests_per_second = 1\nrequests_burst = 4").await;
    assert_eq!(world.send("192.0.2.2", signed("secret", "ping")).await, OK);
    for n in 0..3 {
        let peer = format!("198.51.100.{n}");
        assert_eq!(world.send(&peer, signed("guess", "ping")).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.send("198.51.100.9", unread(None)).await, (StatusCode::TOO_MANY_REQUESTS, Some(1)));
    for _ in 0..9 {
        assert_eq!(world.send("192.0.2.2", signed("secret", "ping")).await, OK);
    }
    // Never seen, and named in `senders`.
    for _ in 0..9 {
        assert_eq!(world.send("203.0.113.1", signed("secret", "ping")).await, OK);
    }
}

#[tokio::test]
async fn a_hook_beyond_its_rate_is_told_when_and_no_other_client_is_concerned() {
    let world = World::new("deliveries_per_second = 1\ndeliveries_burst = 1").await;
    // Both end without NATS; the second would have to wait for longer than there is.
    assert_eq!(world.send("192.0.2.1", push("refs/heads/a")).await, (StatusCode::SERVICE_UNAVAILABLE, Some(10)));
    assert_eq!(world.send("192.0.2.1", push("refs/heads/b")).await, (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
    assert!(world.counted("rate_limited_total{limit=\"hook\"} 1"), "{}", world.metrics());
    assert!(world.counted("deliveries_in_flight 0"), "{}", world.metrics());
    assert_eq!(world.send("192.0.2.1", signed("secret", "ping")).await, OK, "only what is published costs a token");
}

/// Names, units, HELP and TYPE as Prometheus and OpenMetrics want them, for whatever is exposed.
#[tokio::test]
async fn metrics_keep_to_the_conventions() {
    let world = World::new("").await;
    world.send("192.0.2.1", signed("secret", "ping")).await;
    world.send("192.0.2.1", signed("guess", "ping")).await;
    world.send("192.0.2.1", push("refs/heads/main")).await;
    let text = world.metrics();
    assert!(text.ends_with("# EOF\n"));
    let mut family: Option<(String, String)> = None;
    let (mut helped, mut families) = (String::new(), 0);
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("towline_receiver_"), "{line}");
            assert!(!["seconds", "bytes", "ms "].iter().any(|unit| help.contains(unit)), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "HELP comes first");
            assert!(!name.ends_with("_total") && !name.contains("_ms") && !name.contains("milli"), "{line}");
            families += 1;
            family = Some((name.to_owned(), kind.to_owned()));
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(["seconds", "bytes"].contains(&unit) && name.ends_with(unit), "{line}");
        } else {
            let (name, kind) = family.as_ref().unwrap();
            let sample = line.split(['{', ' ']).next().unwrap();
            let suffix = sample.strip_prefix(name.as_str()).unwrap_or_else(|| panic!("{line} is not of {name}"));
            let suffixes: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                other => panic!("{other} of {name}"),
            };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(families > 12, "{text}");
    let documented = include_str!("../../docs/operations-receiver.md");
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        let short = name.strip_prefix("towline_receiver_").unwrap();
        assert!(documented.contains(short), "docs/operations-receiver.md does not know {name}");
    }
}
