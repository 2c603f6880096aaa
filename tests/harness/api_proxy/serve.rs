//! The proxy's loop: accepts connections, hands requests on, and carries answers back piece by piece.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::stream;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Fault, Seen, Shared, WatchEnd, locked};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Ends when the owner of the proxy drops it.
pub(super) async fn serve(shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    // Nobody else takes a reserved port; whoever waits for the proxy sees if it does not open.
    let Ok(listener) = TcpListener::bind(shared.port.address()).await else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(Arc::clone(&shared), stream));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    // An error of ours breaks the connection, as it is meant to; a client that goes away is its own business.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let acts_as = request.headers().get("impersonate-user").and_then(|user| user.to_str().ok()).map(str::to_owned);
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, body.collect().await.map_err(io::Error::other)?.to_bytes());
    let seen = Seen::new(request.method(), request.uri(), request.body(), acts_as);
    let is_watch = seen.verb == "watch";
    let fault = shared.fault(&seen);
    locked(&shared.seen).push(seen);
    let broken = || io::Error::other("broken by the test");
    match fault {
        None => {}
        Some((Fault::Status(code, retry_after), _)) => return Ok(status(code, retry_after)),
        Some((Fault::Drop, _)) => return Err(broken()),
        Some((Fault::Hang, state)) => {
            let ended = state.ended.notified();
            if !state.over.load(Ordering::SeqCst) {
                ended.await;
            }
            return Err(broken());
        }
        Some((Fault::Hold, state)) => {
            let ended = state.ended.notified();
            if !state.over.load(Ordering::SeqCst) {
                ended.await;
            }
        }
        Some((Fault::LoseAnswer, _)) => {
            forward(&shared, request).await?.bytes().await.map_err(io::Error::other)?;
            return Err(broken());
        }
        Some((Fault::Expired, _)) => return Ok(Response::new(whole(expired()))),
    }
    // Subscribed before the server is asked: an order to end all watches counts for this one from here on.
    let ends = shared.ends.subscribe();
    let upstream = forward(&shared, request).await?;
    let (code, headers) = (upstream.status(), end_to_end(upstream.headers()));
    let body = match is_watch && code.is_success() {
        true => watched(Running::new(shared), ends, upstream),
        false => whole(upstream.bytes().await.map_err(io::Error::other)?),
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Asks the server the same.
async fn forward(shared: &Shared, request: Request<Bytes>) -> io::Result<reqwest::Response> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut headers = end_to_end(&head.headers);
    headers.remove(HOST);
    let url = format!("{}{target}", shared.upstream);
    let request = shared.client.request(head.method, url).headers(headers).body(body);
    request.send().await.map_err(io::Error::other)
}

/// Without what is between two neighbours only. The length is that of the body, which is told by whoever sends it.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
        headers.remove(name);
    }
    headers
}

/// A watch that runs, counted until it is dropped.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: Arc<Shared>) -> Self {
        shared.watches.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a watch that is carried stands.
struct Carried {
    _running: Running,
    upstream: reqwest::Response,
    ends: watch::Receiver<(u64, WatchEnd)>,
    /// How it is to end, as soon as the event that is under way is complete.
    ending: Option<WatchEnd>,
    is_complete: bool,
    is_over: bool,
}

/// Event by event, until the server or a test ends it.
fn watched(running: Running, ends: watch::Receiver<(u64, WatchEnd)>, upstream: reqwest::Response) -> Body {
    let carried = Carried { _running: running, upstream, ends, ending: None, is_complete: true, is_over: false };
    let pieces = stream::try_unfold(carried, |mut carried| async move {
        let piece = carried.next().await?;
        Ok(piece.map(|piece| (Frame::data(piece), carried)))
    });
    UnsyncBoxBody::new(StreamBody::new(pieces))
}

impl Carried {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.ending {
                _ if self.is_over => return Ok(None),
                Some(WatchEnd::Cut) => return Err(io::Error::other("cut off by the test")),
                Some(WatchEnd::Close) if self.is_complete => return Ok(None),
                Some(WatchEnd::Expired) if self.is_complete => {
                    self.is_over = true;
                    return Ok(Some(expired()));
                }
                Some(_) | None => {}
            }
            tokio::select! {
                Ok(()) = self.ends.changed() => self.ending = Some(self.ends.borrow_and_update().1),
                piece = self.upstream.chunk() => {
                    let Some(piece) = piece.map_err(io::Error::other)? else { return Ok(None) };
                    self.is_complete = piece.ends_with(b"\n");
                    return Ok(Some(piece));
                }
            }
        }
    }
}

/// As the API server says that it no longer knows what came after a version.
fn expired() -> Bytes {
    let about = "too old resource version: 1 (2)";
    let event = json!({ "type": "ERROR", "object": failure(410, "Expired", about) });
    Bytes::from(format!("{event}\n"))
}

fn failure(code: u16, reason: &str, message: &str) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn status(code: u16, retry_after: Option<u32>) -> Response<Body> {
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let text = failure(code, reason, "as the test wants it").to_string();
    let mut response = Response::new(whole(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}
