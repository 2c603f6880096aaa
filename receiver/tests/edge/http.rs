//! HTTP as strangers speak it: methods, targets, versions, pipelining, and clients that close their side.

use tokio::io::AsyncWriteExt;

use crate::client::{JSON, ping, signed_parts, status_of};
use crate::edge::Edge;

#[tokio::test]
async fn only_post() {
    let edge = Edge::start().await;
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "POTS", "post"] {
        let answer =
            edge.send(format!("{method} /hooks/github HTTP/1.1\r\nhost: x\r\nx: echoed\r\n\r\n").as_bytes()).await;
        assert_eq!(status_of(&answer), 405, "{method}");
        assert!(answer.contains("allow: POST\r\n") && !answer.contains("echoed"), "{answer}");
    }
    let upgrade = "GET /hooks/github HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    assert_eq!(status_of(&edge.send(upgrade.as_bytes()).await), 405);
    for target in ["CONNECT x:443", "OPTIONS *"] {
        assert_eq!(status_of(&edge.send(format!("{target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await), 404);
    }
}

/// The path is compared as it is: nothing is decoded, joined or trimmed. A query says nothing to us; a whole URL is what
/// clients of a proxy send, and its path counts.
#[tokio::test]
async fn a_path_is_a_hooks_or_is_not() {
    let edge = Edge::start().await;
    let (headers, body) = signed_parts("ping", "{}");
    let body = String::from_utf8(body).unwrap();
    for (expected, target) in [
        (200, "/hooks/github"),
        (200, "/hooks/github?"),
        (200, "/hooks/github?secret=x&a=/../"),
        (200, "http://other.example/hooks/github"),
        (404, "/"),
        (404, "/hooks"),
        (404, "/hooks/github/"),
        (404, "//hooks/github"),
        (404, "/hooks//github"),
        (404, "/hooks/./github"),
        (404, "/hooks/x/../github"),
        (404, "/hooks/%67ithub"),
        (404, "/hooks%2fgithub"),
        (404, "/hooks/github%2e"),
        (404, "/hooks/github%00"),
        (404, "/HOOKS/github"),
        (404, "/hooks/github;x=y"),
        (404, "http://other.example//hooks/github"),
        (404, "http://other.example"),
        (400, "hooks/github"),
        (400, "/hooks/git hub"),
    ] {
        let request = format!("POST {target} HTTP/1.1\r\nhost: x\r\n{headers}content-length: 2\r\n\r\n{body}");
        assert_eq!(status_of(&edge.send(request.as_bytes()).await), expected, "{target}");
    }
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let edge = Edge::start().await;
    let request = String::from_utf8(ping()).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut client = edge.connect().await;
    client.send(request.as_bytes()).await;
    assert_eq!(status_of(&client.answer().await), 200);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let edge = Edge::start().await;
    let unsigned = format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{JSON}content-length: 2\r\n\r\n{{}}");
    let mut client = edge.connect().await;
    client.send(&[&ping(), unsigned.as_bytes(), &ping()].concat()).await;
    for expected in [200, 401, 200] {
        assert_eq!(status_of(&client.answer().await), expected);
    }
    // What was refused before its body was read ends the connection, and the rest with it.
    client.send(&[b"GET /hooks/github HTTP/1.1\r\nhost: x\r\n\r\n", &ping()[..]].concat()).await;
    assert_eq!(status_of(&client.answer().await), 405);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn who_closes_its_side_still_gets_the_answer() {
    let edge = Edge::start().await;
    let mut client = edge.connect().await;
    client.send(&crate::client::signed_push("org/app", Some(crate::client::COMMIT))).await;
    client.stream.shutdown().await.unwrap();
    let answer = client.answer().await;
    assert_eq!(status_of(&answer), 503, "{answer}");
    assert_eq!(client.rest().await, "");
    // In the middle of a body, nothing more can come.
    let mut client = edge.connect().await;
    client.send(format!("POST /hooks/github HTTP/1.1\r\n{JSON}content-length: 9\r\n\r\n123").as_bytes()).await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(status_of(&client.answer().await), 400);
    edge.wait_until_empty().await;
}

#[tokio::test]
async fn heads_are_as_large_as_configured() {
    let edge = Edge::with(&[("headers_max", 10), ("header_bytes_max", 2000)]).await;
    let get = |headers: &str| format!("GET /hooks/github HTTP/1.1\r\n{headers}\r\n");
    for (expected, request) in [
        (405, get(&"x: y\r\n".repeat(10))),
        (431, get(&"x: y\r\n".repeat(11))),
        (405, get(&format!("x: {}\r\n", "y".repeat(1900)))),
        (431, get(&format!("x: {}\r\n", "y".repeat(2000)))),
        (431, format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(2000))),
    ] {
        assert_eq!(status_of(&edge.send(request.as_bytes()).await), expected, "{request:.80}");
    }
    // More than hyper allows by itself.
    let edge = Edge::with(&[("headers_max", 300), ("header_bytes_max", 500_000)]).await;
    let large = get(&format!("x: {}\r\n{}", "y".repeat(450_000), "x: y\r\n".repeat(250)));
    assert_eq!(status_of(&edge.send(large.as_bytes()).await), 405);
}
