//! A client that says what it is told to, and what is said to it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use towline_receiver::sign::{self, Push};
use towline_receiver::{Provider, Secret};

use crate::edge::DEADLINE;

pub(crate) const COMMIT: &str = "1111111111111111111111111111111111111111";
pub(crate) const JSON: &str = "content-type: application/json\r\n";

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Read, and not part of an answer that was asked for.
    unread: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(source: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        Self::of(socket.connect(address).await.unwrap())
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer with its body, as long as it says; or what came until the connection ended.
    pub(crate) async fn answer(&mut self) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.unread).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
                if body.len() >= length {
                    self.unread.drain(..head.len() + 4 + length);
                    return text[..head.len() + 4 + length].to_owned();
                }
            }
            if !self.read_some().await {
                return String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned();
            }
        }
    }

    /// What still comes, until the connection ends, however it does.
    pub(crate) async fn rest(&mut self) -> String {
        while self.read_some().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    async fn read_some(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(DEADLINE, self.stream.read(&mut chunk)).await.expect("bytes or an end in time");
        let Ok(read @ 1..) = read else { return false };
        self.unread.extend_from_slice(&chunk[..read]);
        true
    }

    /// Sends a byte again and again until that does not work any more.
    pub(crate) async fn drip(&mut self, byte: u8) {
        let dripping = async {
            while self.stream.write_all(&[byte]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, dripping).await.expect("the connection to end while bytes are sent");
    }
}

pub(crate) fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

pub(crate) fn post(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    [request.as_bytes(), body].concat()
}

pub(crate) fn signed_push(repository: &str, after: Option<&str>) -> Vec<u8> {
    let secret = Secret::parse(Provider::Github, b"secret").unwrap();
    let push = Push { repository, reference: "refs/heads/main", before: None, after };
    let delivery = sign::delivery(Provider::Github, &secret, &push, "an-id", jiff::Timestamp::UNIX_EPOCH);
    let headers: Vec<_> = delivery.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    post(&headers, &delivery.body)
}

/// The signed headers and body of an event, to be sent in a form of the test's own.
pub(crate) fn signed_parts(event: &str, body: &str) -> (String, Vec<u8>) {
    let secret = Secret::parse(Provider::Github, b"secret").unwrap();
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    let delivery = sign::sign(Provider::Github, &secret, event, body, "an-id", jiff::Timestamp::UNIX_EPOCH);
    let headers = delivery.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    (headers, delivery.body.to_vec())
}

pub(crate) fn signed(event: &str, body: &str) -> Vec<u8> {
    let (headers, body) = signed_parts(event, body);
    let head = format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), &body].concat()
}

pub(crate) fn ping() -> Vec<u8> {
    signed("ping", "{}")
}
