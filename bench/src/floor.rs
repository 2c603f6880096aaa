//! What a receiver cannot be faster than: the same HTTP server whose handler only reads the body and answers, and publishing
//! alone. Knows nothing of signatures.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_nats::jetstream;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use harness::Failure;
use harness::failure::Doing as _;
use harness::nats::Nats;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use towline_proto::{RefName, RepositoryId, subject};

use crate::sample::Round;

/// What the floor says first, before its address.
pub(crate) const LISTENING: &str = "listening on ";

/// Serves until it is killed.
pub(crate) async fn http() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.doing(|| "listen".to_owned())?;
    let address: SocketAddr = listener.local_addr().doing(|| "read the address".to_owned())?;
    println!("{LISTENING}{address}");
    let mut connections = JoinSet::new();
    loop {
        let (stream, _peer) = listener.accept().await.doing(|| "accept".to_owned())?;
        let _best_effort = stream.set_nodelay(true);
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            // A client that goes away is the end of its round.
            let _ended = connection.await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // An error is a client that went away; nobody reads the answer then.
    let _body = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(b"accepted\n")));
    *response.status_mut() = hyper::StatusCode::ACCEPTED;
    Ok(response)
}

/// Publishes that many events of the usual size with message ids, so many at a time, and waits for each acknowledgement.
pub(crate) async fn publish(nats: &Nats, events: usize, at_once: usize) -> Result<Round, Failure> {
    let client = nats.connect("receiver").await?;
    let context = ContextBuilder::new().max_ack_inflight(at_once).backpressure_on_inflight(true).build(client);
    let doing = || "name a ref".to_owned();
    let repository = RepositoryId::parse("git.test/org/floor").doing(doing)?;
    let subjects: Result<Vec<String>, Failure> = (0..64)
        .map(|number| {
            let reference = RefName::parse(&format!("refs/heads/branch-{number}")).doing(doing)?;
            Ok(subject::commit(&repository, &reference))
        })
        .collect();
    let (subjects, next) = (Arc::new(subjects?), Arc::new(AtomicUsize::new(0)));
    let nonce = fastrand::u64(..);
    let started = Instant::now();
    let mut publishers = JoinSet::new();
    for _ in 0..at_once {
        let (context, subjects, next) = (context.clone(), Arc::clone(&subjects), Arc::clone(&next));
        publishers.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    return Ok::<_, Failure>(latencies);
                }
                let started = Instant::now();
                one(&context, &subjects[number % subjects.len()], &format!("{nonce:016x}{number:048x}")).await?;
                latencies.push(started.elapsed());
            }
        });
    }
    let mut latencies = Vec::with_capacity(events);
    while let Some(published) = publishers.join_next().await {
        latencies.extend(published.doing(|| "publish events".to_owned())??);
    }
    Ok(Round::of(latencies, started.elapsed()))
}

async fn one(context: &jetstream::Context, subject: &str, id: &str) -> Result<(), Failure> {
    /// A commit event has about this size.
    static EVENT: [u8; 400] = [b'x'; 400];
    let message = PublishMessage::build().payload(Bytes::from_static(&EVENT)).message_id(id);
    let doing = || "publish an event".to_owned();
    context.send_publish(subject.to_owned(), message).await.doing(doing)?.await.doing(doing).map(drop)
}
