//! Places: who gets one, who gives one up, and that all come back.

use std::net::IpAddr;

use tokio::io::AsyncWriteExt as _;

use crate::client::{COMMIT, Client, JSON, ping, signed_push, status_of};
use crate::edge::{DEADLINE, Edge, NEVER_MS, Settings};

fn source(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    [127, 1, high, low].into()
}

/// A connection whose delivery waits for NATS.
async fn working(edge: &Edge, source: IpAddr) -> Client {
    let mut client = edge.connect_from(source).await;
    client.send(&signed_push("org/app", Some(COMMIT))).await;
    client
}

#[tokio::test]
async fn silent_clients_however_many_keep_nobody_waiting() {
    let edge = Edge::with(&[("connections_max", 10)]).await;
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut client = edge.connect_from(source(number)).await;
        // Nothing, half a head, a head and no body, half a body, or a whole request and then nothing.
        match number % 5 {
            0 => {}
            1 => {
                client.send(format!("POST /hooks/github HTTP/1.1\r\n{JSON}content-length: 9\r\n\r\n").as_bytes()).await
            }
            2 => {
                client.send(format!("POST /hooks/github HTTP/1.1\r\n{JSON}content-length: 9\r\n\r\n1").as_bytes()).await
            }
            3 => client.send(b"POST /hooks/github HTTP/1.1\r\nhost:").await,
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

/// Heads without bodies, from one address each, more than there are places: none of them keeps its place.
#[tokio::test]
async fn bodies_that_do_not_come_keep_nobody_waiting() {
    let edge = Edge::with(&[("connections_max", 4)]).await;
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = edge.connect_from(source(number)).await;
        let head = format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 9\r\n\r\n");
        client.send(head.as_bytes()).await;
        clients.push(client);
    }
    assert_eq!(status_of(&edge.send(&ping()).await), 200);
    let ended = clients.first_mut().unwrap().rest().await;
    assert_eq!(ended, "", "the first one made room");
}

#[tokio::test]
async fn who_works_keeps_its_place_and_who_comes_waits_for_one() {
    let edge = Edge::with(&[("connections_max", 2), ("publish_timeout_ms", 2_000)]).await;
    let mut workers = [working(&edge, source(1)).await, working(&edge, source(2)).await];
    edge.wait_for_metric("towline_receiver_deliveries_in_flight 2").await;
    // All places work: further clients are not even accepted, and not sent away either.
    let mut waiting = Vec::new();
    for number in 3..8 {
        let mut client = edge.connect_from(source(number)).await;
        client.send(&ping()).await;
        waiting.push(client);
    }
    for client in &mut workers {
        assert_eq!(status_of(&client.answer().await), 503, "it was left alone");
    }
    for client in &mut waiting {
        assert_eq!(status_of(&client.answer().await), 200);
    }
}

#[tokio::test]
async fn one_address_has_its_share() {
    let limits = [("connections_max", 20), ("connections_per_address_max", 2), ("publish_timeout_ms", NEVER_MS)];
    let edge = Edge::with(&limits).await;
    let _workers = [working(&edge, source(1)).await, working(&edge, source(1)).await];
    edge.wait_for_metric("towline_receiver_deliveries_in_flight 2").await;
    assert_eq!(edge.connect_from(source(1)).await.rest().await, "", "the surplus is closed at once");
    assert_eq!(status_of(&edge.send(&ping()).await), 200, "others are not concerned");
    edge.wait_for_metric("towline_receiver_connections_refused_total{reason=\"per_address\"} 1").await;
}

#[tokio::test]
async fn an_address_at_its_bound_gives_up_its_own_idle_connections() {
    let edge = Edge::with(&[("connections_max", 20), ("connections_per_address_max", 2)]).await;
    let mut other = edge.connect_from(source(2)).await;
    other.send(&ping()).await;
    assert_eq!(status_of(&other.answer().await), 200);
    let mut idle = [edge.connect_from(source(1)).await, edge.connect_from(source(1)).await];
    edge.wait_for_metric("towline_receiver_connections 3").await;
    // Refused for as long as the others have just come.
    let served = async {
        loop {
            let mut client = edge.connect_from(source(1)).await;
            if client.stream.write_all(&ping()).await.is_ok() && status_of(&client.answer().await) == 200 {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, served).await.expect("to be served");
    assert_eq!(idle[0].rest().await, "", "it had waited for longest");
    other.send(&ping()).await;
    assert_eq!(status_of(&other.answer().await), 200, "others are not concerned");
    drop(idle);
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
async fn who_connects_too_often_is_closed_and_proxies_are_not() {
    let limits = [("address_connections_per_second", 1), ("address_connections_burst", 3)];
    let edge = Edge::start_as(Settings { limits: &limits, proxies: "\"127.1.0.9\"", tls: false }).await;
    for _ in 0..20 {
        let mut proxy = edge.connect_from(source(9)).await;
        proxy.send(&ping()).await;
        assert_eq!(status_of(&proxy.answer().await), 200);
    }
    // A token comes back in a second, on a slow machine in the middle of it.
    let refused = async {
        let refusals = "towline_receiver_connections_refused_total{reason=\"rate\"}";
        while !edge.metrics().contains(refusals) {
            drop(edge.connect_from(source(1)).await);
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("a connection to be refused");
    assert_eq!(status_of(&edge.send(&ping()).await), 200, "others are not concerned");
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
