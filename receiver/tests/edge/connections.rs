//! Places: who gets one, who gives one up, and that all come back.

use std::net::IpAddr;

use crate::client::{JSON, ping, status_of};
use crate::edge::{Edge, Settings};

fn source(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    [127, 1, high, low].into()
}

fn half_a_body() -> String {
    format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 9\r\nexpect: 100-continue\r\n\r\n")
}

#[tokio::test]
async fn silent_clients_however_many_keep_nobody_waiting() {
    let edge = Edge::with(&[("connections_max", 10)]).await;
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut client = edge.connect_from(source(number)).await;
        // Nothing, half a head, or a whole request and then nothing: all of them wait.
        match number % 3 {
            0 => {}
            1 => client.send(b"POST /hooks/github HTTP/1.1\r\nhost:").await,
            _ => client.send(&ping()).await,
        }
        silent.push(client);
        if number % 10 == 0 {
            assert_eq!(status_of(&edge.send(&ping()).await), 200, "after {number} silent clients");
        }
    }
    assert!(edge.metrics().contains("connections_refused_total{reason=\"made_room\"}"), "{}", edge.metrics());
    drop(silent);
    edge.wait_until_empty().await;
}

#[tokio::test]
async fn who_works_keeps_its_place_and_who_comes_waits_for_one() {
    let edge = Edge::with(&[("connections_max", 2)]).await;
    let mut working = [edge.connect_from(source(1)).await, edge.connect_from(source(2)).await];
    for client in &mut working {
        client.send(half_a_body().as_bytes()).await;
        assert_eq!(status_of(&client.answer().await), 100, "the body is awaited");
    }
    // All places work: further clients are not even accepted, and not sent away either.
    let mut waiting = Vec::new();
    for number in 3..8 {
        let mut client = edge.connect_from(source(number)).await;
        client.send(&ping()).await;
        waiting.push(client);
    }
    let [first, mut second] = working;
    drop(first);
    for client in &mut waiting {
        assert_eq!(status_of(&client.answer().await), 200);
    }
    second.send(b"123456789").await;
    assert_eq!(status_of(&second.answer().await), 401, "it was left alone");
}

#[tokio::test]
async fn one_address_has_its_share() {
    let edge = Edge::with(&[("connections_max", 20), ("connections_per_address_max", 2)]).await;
    let mut first = [edge.connect_from(source(1)).await, edge.connect_from(source(1)).await];
    for client in &mut first {
        client.send(&ping()).await;
        assert_eq!(status_of(&client.answer().await), 200);
    }
    assert_eq!(edge.connect_from(source(1)).await.rest().await, "", "the surplus is closed at once");
    assert_eq!(status_of(&edge.send(&ping()).await), 200, "others are not concerned");
    edge.wait_for_metric("towline_receiver_connections_refused_total{reason=\"per_address\"} 1").await;
    drop(first);
    edge.wait_until_empty().await;
    let mut again = edge.connect_from(source(1)).await;
    again.send(&ping()).await;
    assert_eq!(status_of(&again.answer().await), 200, "the share came back");
}

#[tokio::test]
async fn proxies_speak_for_many() {
    let limits = [("connections_max", 20), ("connections_per_address_max", 1)];
    let edge = Edge::start_as(Settings { limits: &limits, proxies: "\"127.1.0.0/24\"", tls: false }).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut client = edge.connect_from(source(1)).await;
        client.send(&ping()).await;
        assert_eq!(status_of(&client.answer().await), 200);
        open.push(client);
    }
}

#[tokio::test]
async fn a_connection_carries_so_many_requests() {
    let edge = Edge::with(&[("requests_per_connection_max", 3)]).await;
    let mut client = edge.connect().await;
    for number in 1..=3 {
        client.send(&ping()).await;
        let answer = client.answer().await;
        assert_eq!(status_of(&answer), 200);
        assert_eq!(answer.contains("connection: close"), number == 3, "{answer}");
    }
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn every_place_comes_back() {
    let edge = Edge::with(&[("connections_max", 2), ("linger_timeout_ms", 100)]).await;
    for start in [
        &b""[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST /hooks/github HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n12",
        b"POST /hooks/github HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nffff\r\nab",
        b"GET /hooks/github HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        for reset in [false, true] {
            let mut client = edge.connect().await;
            client.send(start).await;
            if reset {
                client.stream.set_zero_linger().unwrap();
            }
            drop(client);
        }
    }
    edge.wait_until_empty().await;
    assert_eq!(status_of(&edge.send(&ping()).await), 200);
}
