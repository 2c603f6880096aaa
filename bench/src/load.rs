//! The load: signed deliveries, made beforehand, posted over kept-alive connections, each waiting for its answer before it
//! posts the next. Speaks just enough HTTP/1.1 to be cheap, because it shares its cores with what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::Failure;
use harness::failure::Doing as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use towline_receiver::sign;
use towline_receiver::{Provider, Secret};

use crate::sample::Round;

/// A head of an answer is some 200 bytes.
const ANSWER_BYTES_MAX: usize = 4096;

/// Where the load goes, and how wide it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
}

/// One delivery, ready to be sent.
pub(crate) type Request = Bytes;

/// Different deliveries of about that many bytes, on 64 refs of one repository: no two are duplicates of each other.
pub(crate) fn deliveries(path: &str, secret: &Secret, count: usize, body_bytes: usize) -> Vec<Request> {
    let filler = "x".repeat(body_bytes.saturating_sub(200));
    let nonce = fastrand::u64(..);
    (0..count)
        .map(|number| {
            let body = json!({
                "ref": format!("refs/heads/branch-{}", number % 64),
                "before": "0".repeat(40),
                "after": format!("{nonce:016x}{number:024x}"),
                "repository": { "full_name": "org/fleet" },
                "commits": [{ "message": filler }],
            });
            let body = Bytes::from(body.to_string());
            let signed = sign::sign(Provider::Github, secret, "push", body, &number.to_string(), Timestamp::now());
            let mut head = format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n", signed.body.len());
            for (name, value) in &signed.headers {
                head += &format!("{name}: {value}\r\n");
            }
            Bytes::from([head.as_bytes(), b"\r\n", &signed.body].concat())
        })
        .collect()
}

/// Posts every request once. An answer with another status than 202 is a failure: what is refused costs less.
pub(crate) async fn post_all(target: Target, requests: Vec<Request>) -> Result<Round, Failure> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let mut streams = Vec::new();
    for _ in 0..target.connections {
        let stream = TcpStream::connect(target.address).await.doing(|| format!("connect to {}", target.address))?;
        stream.set_nodelay(true).doing(|| "set TCP_NODELAY".to_owned())?;
        streams.push(stream);
    }
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for stream in streams {
        senders.spawn(send(stream, Arc::clone(&requests), Arc::clone(&next)));
    }
    let mut latencies = Vec::with_capacity(requests.len());
    while let Some(sent) = senders.join_next().await {
        latencies.extend(sent.doing(|| "send deliveries".to_owned())??);
    }
    Ok(Round::of(latencies, started.elapsed()))
}

async fn send(
    mut stream: TcpStream,
    requests: Arc<Vec<Request>>,
    next: Arc<AtomicUsize>,
) -> Result<Vec<Duration>, Failure> {
    let mut latencies = Vec::new();
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let started = Instant::now();
        stream.write_all(request).await.doing(|| "send a delivery".to_owned())?;
        read_answer(&mut stream, &mut buffer).await?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Failure> {
    let doing = || "read an answer".to_owned();
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.doing(doing)?;
        filled += read;
        if let Some(complete) = is_complete(&buffer[..filled]) {
            let said = || String::from_utf8_lossy(&buffer[..filled]).into_owned();
            return if complete { Ok(()) } else { Err(Failure::new(doing(), said())) };
        }
        if read == 0 || filled == buffer.len() {
            return Err(Failure::new(doing(), "it ended too early, or never"));
        }
    }
}

/// `None`: more has to come; otherwise whether it is the answer to hope for.
fn is_complete(answer: &[u8]) -> Option<bool> {
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    })?;
    (answer.len() >= head_end + length).then(|| head.starts_with("HTTP/1.1 202 "))
}
