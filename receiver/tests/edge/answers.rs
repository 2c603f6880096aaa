//! What is answered to what, and that the work goes on when the client does not.

use tokio::net::TcpStream;

use crate::client::{COMMIT, Client, JSON, post, signed, signed_push, status_of};
use crate::edge::{DEADLINE, Edge};

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
    let metrics = edge.metrics();
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
        assert_eq!(status_of(&edge.send(request.as_bytes()).await), expected, "{request:.120}");
    }
}

#[tokio::test]
async fn a_connection_carries_one_delivery_after_another() {
    let edge = Edge::start().await;
    let mut client = edge.connect().await;
    for _ in 0..3 {
        client.send(&signed("ping", "{}")).await;
        assert_eq!(status_of(&client.answer().await), 200);
    }
}

#[tokio::test]
async fn shutdown_finishes_what_was_accepted_and_accepts_no_more() {
    let edge = Edge::start().await;
    // In the middle of its body, which comes after shutdown was requested.
    let request = String::from_utf8(signed_push("org/app", Some(COMMIT))).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut client = edge.connect().await;
    client.send(format!("{head}\r\nexpect: 100-continue\r\n\r\n").as_bytes()).await;
    assert_eq!(status_of(&client.answer().await), 100, "the body is awaited");
    edge.shutdown.request();
    let refused = async { while TcpStream::connect(edge.address).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, refused).await.expect("the port to be closed");
    client.send(body.as_bytes()).await;
    assert_eq!(status_of(&client.answer().await), 503);
    tokio::time::timeout(DEADLINE, edge.ended).await.expect("the edge to end").unwrap();
}

/// They are in the kernel's backlog: this runtime has one thread, and nothing is awaited before shutdown is requested.
#[tokio::test]
async fn shutdown_answers_who_was_connected_before_it() {
    let edge = Edge::start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = std::net::TcpStream::connect(edge.address).unwrap();
        std::io::Write::write_all(&mut client, &signed("ping", "{}")).unwrap();
        clients.push(client);
    }
    edge.shutdown.request();
    for client in clients {
        client.set_nonblocking(true).unwrap();
        let mut client = Client::of(TcpStream::from_std(client).unwrap());
        let answer = client.answer().await;
        assert!(matches!(status_of(&answer), 200 | 503), "{answer:?}");
    }
    tokio::time::timeout(DEADLINE, edge.ended).await.expect("the edge to end").unwrap();
}

#[tokio::test]
async fn who_hangs_up_after_the_request_does_not_stop_its_work() {
    let edge = Edge::start().await;
    let mut client = edge.connect().await;
    client.send(&signed_push("org/app", Some(COMMIT))).await;
    drop(client);
    let line = "towline_receiver_deliveries_total{hook=\"/hooks/github\",provider=\"github\",event=\"push\",outcome=\"not_published\"} 1";
    edge.wait_for_metric(line).await;
    edge.shutdown.request();
    tokio::time::timeout(DEADLINE, edge.ended).await.expect("the edge to end").unwrap();
}
