//! Bodies: chunked, too large, announced, compressed, ambiguous, and the answers that come before their end.

use std::net::IpAddr;

use tokio::io::AsyncWriteExt;

use crate::client::{JSON, ping, signed_parts, status_of};
use crate::edge::{DEADLINE, Edge};

const POST: &str = "POST /hooks/github HTTP/1.1\r\nhost: x\r\n";

fn chunked(body: &[u8], size: usize, trailers: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x};some=extension\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    bytes
}

fn chunked_ping(trailers: &str) -> Vec<u8> {
    let (headers, body) = signed_parts("ping", "{\"zen\": \"a few words to have some chunks\"}");
    [format!("{POST}{headers}transfer-encoding: chunked\r\n\r\n").as_bytes(), &chunked(&body, 7, trailers)].concat()
}

#[tokio::test]
async fn chunked_bodies_are_bodies() {
    let edge = Edge::start().await;
    let mut client = edge.connect().await;
    for trailers in ["", "x-hub-signature-256: sha256=00\r\ncontent-length: 3\r\n"] {
        client.send(&chunked_ping(trailers)).await;
        assert_eq!(status_of(&client.answer().await), 200, "trailers: {trailers:?}");
    }
}

#[tokio::test]
async fn trailers_are_bounded() {
    let edge = Edge::start().await;
    for trailers in [format!("x: {}\r\n", "y".repeat(40_000)), "x: y\r\n".repeat(200)] {
        assert_eq!(status_of(&edge.send(&chunked_ping(&trailers)).await), 400);
    }
    edge.wait_until_empty().await;
}

#[tokio::test]
async fn a_body_without_an_end_is_413_and_that_can_be_read() {
    let edge = Edge::start().await;
    let mut client = edge.connect().await;
    client.send(format!("{POST}{JSON}transfer-encoding: chunked\r\n\r\n").as_bytes()).await;
    let chunk = chunked(&[b'x'; 4096], 4096, "");
    let chunk = &chunk[..chunk.len() - b"0\r\n\r\n".len()];
    // Sends for ever, and looks at the answer only when that does not work any more.
    let flood = async { while client.stream.write_all(chunk).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, flood).await.expect("the connection to end");
    edge.wait_for_metric(
        "towline_receiver_deliveries_total{hook=\"/hooks/github\",provider=\"github\",event=\"\",outcome=\"body_too_large\"} 1",
    )
    .await;
    edge.wait_until_empty().await;
}

/// A socket that is closed with unread bytes is reset, and a reset throws away what the client has not read yet.
#[tokio::test]
async fn who_sends_all_before_reading_gets_its_answer() {
    let edge =
        Edge::with(&[("linger_timeout_ms", 60_000), ("body_bytes_max", 4_000_000), ("bodies_bytes_max", 8_000_000)])
            .await;
    for (expected, head, bytes) in [
        (413, format!("{POST}{JSON}content-length: 4000001\r\n\r\n"), 4_000_000),
        (404, format!("POST /none HTTP/1.1\r\n{JSON}content-length: 3000000\r\n\r\n"), 3_000_000),
        (415, format!("{POST}{JSON}content-encoding: gzip\r\ncontent-length: 3000000\r\n\r\n"), 3_000_000),
        (405, "PUT /hooks/github HTTP/1.1\r\ncontent-length: 3000000\r\n\r\n".to_owned(), 3_000_000),
        (431, format!("POST /none HTTP/1.1\r\nx: {}", "y".repeat(100_000)), 1_000_000),
        (400, "\u{1}\r\n".to_owned(), 1_000_000),
    ] {
        let mut client = edge.connect().await;
        client.send(head.as_bytes()).await;
        client.send(&vec![b'x'; bytes]).await;
        assert_eq!(status_of(&client.answer().await), expected);
    }
}

#[tokio::test]
async fn lingering_is_bounded() {
    let edge = Edge::with(&[("linger_timeout_ms", 100), ("connections_max", 1)]).await;
    let mut first = edge.connect().await;
    first.send(format!("{POST}{JSON}content-length: 100001\r\n\r\n").as_bytes()).await;
    assert_eq!(status_of(&first.answer().await), 413);
    first.drip(b'x').await;
    // And it is no reason to keep a place.
    let edge = Edge::with(&[("linger_timeout_ms", 600_000), ("connections_max", 1)]).await;
    let mut first = edge.connect().await;
    first.send(format!("{POST}{JSON}content-length: 100001\r\n\r\n").as_bytes()).await;
    assert_eq!(status_of(&first.answer().await), 413);
    let mut second = edge.connect_from([127, 0, 0, 2].into()).await;
    second.send(&ping()).await;
    assert_eq!(status_of(&second.answer().await), 200);
}

#[tokio::test]
async fn who_asks_first_is_not_told_to_send_what_will_be_refused() {
    let edge = Edge::start().await;
    const EXPECT: &str = "expect: 100-continue\r\n";
    for (expected, head) in [
        (413, format!("{POST}{JSON}{EXPECT}content-length: 100001\r\n\r\n")),
        (415, format!("{POST}{EXPECT}content-length: 9\r\n\r\n")),
        (415, format!("{POST}{JSON}{EXPECT}content-encoding: deflate\r\ncontent-length: 9\r\n\r\n")),
        (404, format!("POST /none HTTP/1.1\r\n{JSON}{EXPECT}content-length: 9\r\n\r\n")),
        (405, format!("PUT /hooks/github HTTP/1.1\r\n{JSON}{EXPECT}content-length: 9\r\n\r\n")),
    ] {
        let answer = edge.send(head.as_bytes()).await;
        assert_eq!(status_of(&answer), expected, "{head}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    let (headers, body) = signed_parts("ping", "{}");
    let mut client = edge.connect().await;
    client.send(format!("{POST}{headers}{EXPECT}content-length: 2\r\n\r\n").as_bytes()).await;
    assert_eq!(status_of(&client.answer().await), 100);
    client.send(&body).await;
    assert_eq!(status_of(&client.answer().await), 200);
}

/// Request smuggling: where two readers could disagree about the end of a request, there is no further request.
#[tokio::test]
async fn an_ambiguous_length_ends_the_connection() {
    let edge = Edge::start().await;
    let (headers, body) = signed_parts("ping", "{}");
    let hidden = String::from_utf8(ping()).unwrap();
    let body = String::from_utf8(body).unwrap();
    let chunked = format!("transfer-encoding: chunked\r\n\r\n2\r\n{body}\r\n0\r\n\r\n{hidden}");
    for (expected, rest) in [
        (200, format!("content-length: 2\r\n{chunked}")),
        (200, format!("content-length: {}\r\n{chunked}", 500)),
        (200, format!("transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n2\r\n{body}\r\n0\r\n\r\n{hidden}")),
        (400, format!("content-length: 2\r\ncontent-length: 3\r\n\r\n{body}{hidden}")),
        (400, format!("content-length: 2, 2\r\n\r\n{body}{hidden}")),
        (400, format!("content-length: +2\r\n\r\n{body}{hidden}")),
        (400, format!("content-length: -2\r\n\r\n{body}{hidden}")),
        (400, format!("content-length: 0x2\r\n\r\n{body}{hidden}")),
        (400, format!("content-length: 99999999999999999999999\r\n\r\n{body}{hidden}")),
        (400, format!("content-length : 2\r\n\r\n{body}{hidden}")),
        (400, format!("transfer-encoding: chunked, gzip\r\n\r\n{body}{hidden}")),
        (400, format!("transfer-encoding: xchunked\r\n\r\n{body}{hidden}")),
        (415, format!("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{body}{hidden}")),
        (415, format!("transfer-encoding: gzip, chunked\r\n\r\n{body}{hidden}")),
    ] {
        let mut client = edge.connect().await;
        client.send(format!("{POST}{headers}{rest}").as_bytes()).await;
        assert_eq!(status_of(&client.answer().await), expected, "{rest}");
        assert_eq!(client.rest().await, "", "the hidden request was answered: {rest}");
    }
    let old = POST.replace("1.1", "1.0");
    let answer =
        edge.send(format!("{old}{headers}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n").as_bytes()).await;
    assert_eq!(status_of(&answer), 400);
}

#[tokio::test]
async fn one_client_does_not_get_the_memory_of_all() {
    let edge = Edge::with(&[("bodies_bytes_max", 400_000), ("bodies_bytes_per_address_max", 100_000)]).await;
    let (one, other): (IpAddr, IpAddr) = ([127, 0, 0, 2].into(), [127, 0, 0, 3].into());
    let head = format!("{POST}{JSON}content-length: 100000\r\n\r\n");
    let mut slow = edge.connect_from(one).await;
    slow.send(head.as_bytes()).await;
    slow.send(&[b'x'; 90_000]).await;
    // The first 16 KiB are not taken of the shared memory.
    edge.wait_for_memory(100_000 - 16 * 1024).await;
    let mut again = edge.connect_from(one).await;
    again.send(head.as_bytes()).await;
    again.send(&[b'x'; 90_000]).await;
    assert_eq!(status_of(&again.answer().await), 429);
    let mut good = edge.connect_from(other).await;
    good.send(head.as_bytes()).await;
    good.send(&[b'x'; 100_000]).await;
    assert_eq!(status_of(&good.answer().await), 401);
    drop(slow);
    edge.wait_for_memory(0).await;
}
