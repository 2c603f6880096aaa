//! Clients that take their time.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::client::{JSON, ping, status_of};
use crate::edge::{DEADLINE, Edge};

#[tokio::test]
async fn no_head_half_a_head_and_a_byte_at_a_time() {
    let edge = Edge::with(&[("header_timeout_ms", 300)]).await;
    for start in ["", "POST /hoo", "\r\n\r\n"] {
        let mut client = edge.connect().await;
        client.send(start.as_bytes()).await;
        assert_eq!(client.rest().await, "", "{start:?}");
    }
    let mut client = edge.connect().await;
    client.send(b"POST /hooks/github HTTP/1.1\r\nx: ").await;
    client.drip(b'y').await;
    // The same for a further request.
    let mut client = edge.connect().await;
    client.send(&ping()).await;
    assert_eq!(status_of(&client.answer().await), 200);
    client.send(b"POST /hooks/github HTTP/1.1\r\nx: ").await;
    client.drip(b'y').await;
    edge.wait_for_metric("towline_receiver_connections_refused_total{reason=\"too_slow\"} 5").await;
    edge.wait_until_empty().await;
}

#[tokio::test]
async fn an_unused_connection_may_be_kept_longer_than_a_head_may_take() {
    let edge = Edge::with(&[("header_timeout_ms", 200), ("write_timeout_ms", 200)]).await;
    let mut client = edge.connect().await;
    for _ in 0..2 {
        client.send(&ping()).await;
        assert_eq!(status_of(&client.answer().await), 200);
        // Longer than the bounds that must not matter here; a slow machine makes it longer still.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    client.send(&ping()).await;
    assert_eq!(status_of(&client.answer().await), 200);
}

#[tokio::test]
async fn an_unused_connection_is_closed_in_the_end() {
    let edge = Edge::with(&[("idle_timeout_ms", 200)]).await;
    let mut client = edge.connect().await;
    client.send(&ping()).await;
    assert_eq!(status_of(&client.answer().await), 200);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn half_a_body_and_a_byte_at_a_time() {
    let edge = Edge::with(&[("body_grace_ms", 300), ("body_bytes_per_second_min", 10_000)]).await;
    let head = format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{JSON}");
    for length in ["content-length: 90000\r\n\r\n1234", "transfer-encoding: chunked\r\n\r\n4\r\n1234\r\n"] {
        assert_eq!(status_of(&edge.send(format!("{head}{length}").as_bytes()).await), 408, "{length}");
    }
    let mut client = edge.connect().await;
    client.send(format!("{head}content-length: 90000\r\n\r\n").as_bytes()).await;
    client.drip(b'y').await;
    edge.wait_until_empty().await;
}

#[tokio::test]
async fn a_client_that_never_reads_its_answers() {
    let edge = Edge::with(&[("write_timeout_ms", 200), ("requests_per_connection_max", 1_000_000)]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut stream = socket.connect(edge.address).await.unwrap();
    let flood = async { while stream.write_all(&ping()).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, flood).await.expect("the connection to end while nothing is read");
    edge.wait_until_empty().await;
}
