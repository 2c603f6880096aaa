//! The public port: accepts, shakes hands, and gives each connection to hyper, all within bounds. Knows connections and
//! their times; who gets a place is `connections`' business, what a request means [`crate::serve`]'s.
//!
//! HTTP/1.1 only: no Git host sends webhooks over HTTP/2, and a connection that sends nothing would never time out under
//! a server that waits to find out which of the two is spoken.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use towline_daemon::shutdown::Shutdown;

use crate::arriving::Arriving;
use crate::connections::{Connections, Place};
use crate::descriptors;
use crate::limits::Limits;
use crate::metrics::ReasonLabels;
use crate::pace::Paced;
use crate::serve::Server;
use crate::tls::Tls;

/// What hyper may read beyond a head, and the least that it accepts as a buffer.
const READ_AHEAD_BYTES: usize = 8 * 1024;

/// At a time, of what is read to be thrown away.
const LINGER_CHUNK_BYTES: usize = 8 * 1024;

/// Connections that wait in the kernel. Of what comes when they are too many it forgets the last step, and a client that
/// believes itself connected sends into nothing for half a minute. Linux allows no more than this by default (`somaxconn`).
const BACKLOG: u32 = 4096;

/// After a failed accept (out of file descriptors, most likely): others need a moment to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// After shutdown is requested, for who was connected before it: to take what the kernel has of them, and for a place, a
/// handshake or a first request that is on its way, a few round trips each.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Why the public port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("failed to listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
}

/// Opens the public port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let wrong = |source| ListenError::Bind { address, source };
    let listener = listen(address).map_err(wrong)?;
    towline_daemon::announce_listener("public", listener.local_addr().map_err(wrong)?);
    Ok(listener)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last connections are still closing can be opened again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until shutdown, then lets open connections finish their requests, and every accepted delivery its work.
pub async fn run(
    listener: TcpListener,
    tls: Option<Tls>,
    server: Arc<Server>,
    shutdown: Shutdown,
) -> Result<(), std::convert::Infallible> {
    let limits = server.limits();
    let places = descriptors::make_room(limits.connections_max);
    let (per_address, proxies) = (limits.connections_per_address_max, server.proxies().clone());
    let connections = Connections::new(places, per_address, proxies, server.admission());
    let mut tasks = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.requested() => break,
            next = next(&listener, &connections, &server) => next,
        };
        while tasks.try_join_next().is_some() {}
        let place = tokio::select! {
            place = connections.take(peer) => place,
            () = last_call(&shutdown) => continue,
        };
        tasks.spawn(Connection::new(place, &server, &shutdown).run(stream, peer, tls.clone()));
    }
    let last_call = tokio::time::Instant::now() + LAST_CALL;
    for (stream, peer) in backlog(listener) {
        if !is_welcome(peer, &connections, &server) {
            continue;
        }
        let Ok(place) = tokio::time::timeout_at(last_call, connections.take(peer)).await else { break };
        tasks.spawn(Connection::new(place, &server, &shutdown).run(stream, peer, tls.clone()));
    }
    while tasks.join_next().await.is_some() {}
    server.drained().await;
    Ok(())
}

/// The next connection that may stay. It waits for a place then; while there is none, because all have a complete request
/// in work, further clients wait in the kernel's backlog.
async fn next(listener: &TcpListener, connections: &Connections, server: &Server) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if is_welcome(peer.ip(), connections, server) => return (stream, peer.ip()),
            Ok(_) => {}
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(error = %error, "failed to accept a connection");
                connections.send_one_away();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts it, whatever becomes of it.
fn is_welcome(peer: IpAddr, connections: &Connections, server: &Server) -> bool {
    server.metrics().connections_accepted.inc();
    if !server.may_connect(peer) {
        end_for(server, "rate");
        return false;
    }
    let allowed = connections.allows(peer);
    if !allowed {
        end_for(server, "per_address");
    }
    allowed
}

/// Those to whom the kernel has said yes, and who would be reset with the port.
fn backlog(listener: TcpListener) -> impl Iterator<Item = (TcpStream, IpAddr)> {
    let accepted =
        listener.into_std().into_iter().flat_map(|listener| std::iter::from_fn(move || listener.accept().ok()));
    accepted.take(BACKLOG as usize).filter_map(|(stream, peer)| {
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer.ip()))
    })
}

async fn last_call(shutdown: &Shutdown) {
    shutdown.requested().await;
    tokio::time::sleep(LAST_CALL).await;
}

/// It was gone before it was accepted, which says nothing about the next one.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn end_for(server: &Server, reason: &'static str) {
    server.metrics().connections_refused.get_or_create(&ReasonLabels { reason }).inc();
}

struct Connection {
    place: Arc<Place>,
    server: Arc<Server>,
    shutdown: Shutdown,
}

impl Connection {
    fn new(place: Place, server: &Arc<Server>, shutdown: &Shutdown) -> Self {
        Self { place: Arc::new(place), server: Arc::clone(server), shutdown: shutdown.clone() }
    }

    async fn run(self, stream: TcpStream, peer: IpAddr, tls: Option<Tls>) {
        self.server.metrics().connections.inc();
        self.serve(stream, peer, tls).await;
        self.server.metrics().connections.dec();
    }

    async fn serve(&self, stream: TcpStream, peer: IpAddr, tls: Option<Tls>) {
        // An answer is one small packet, and its sender waits for it.
        let _best_effort = stream.set_nodelay(true);
        tokio::select! {
            // First what the connection can do by itself: an answer that is there is sent before its place is given up.
            biased;
            () = self.talk(stream, peer, tls) => {}
            // Polled after it, so that what came with the connection was read.
            () = async {
                self.place.settle();
                self.place.told_to_go().await;
            } => end_for(&self.server, "made_room"),
        }
    }

    async fn talk(&self, mut stream: TcpStream, peer: IpAddr, tls: Option<Tls>) {
        let lingers = match tls {
            None => self.http(&mut stream, peer).await,
            Some(tls) => {
                let Some(mut tls_stream) = self.handshake(&mut stream, &tls).await else { return };
                self.http(&mut tls_stream, peer).await
            }
        };
        if lingers {
            // Whatever it was doing when hyper ended it.
            self.place.begin_waiting();
            linger(&mut stream, self.server.limits()).await;
        }
    }

    async fn handshake<'a>(
        &self,
        stream: &'a mut TcpStream,
        tls: &Tls,
    ) -> Option<tokio_rustls::server::TlsStream<&'a mut TcpStream>> {
        let failed =
            |reason| self.server.metrics().tls_handshake_failures.get_or_create(&ReasonLabels { reason }).inc();
        let handshake = tokio::time::timeout(self.server.limits().handshake_timeout, tls.acceptor().accept(stream));
        let handshaken = tokio::select! {
            () = last_call(&self.shutdown) => return None,
            handshaken = handshake => handshaken,
        };
        match handshaken {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => {
                failed("error");
                tracing::debug!(error = %error, "tls handshake failed");
            }
            Err(_elapsed) => {
                failed("timeout");
                tracing::debug!("tls handshake timed out");
            }
        }
        None
    }

    /// Until the connection ends. True if the client may still be sending, and has an answer to read.
    async fn http<S>(&self, stream: S, peer: IpAddr) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = self.server.limits();
        let (requests, closes) = (AtomicU64::new(0), AtomicBool::new(false));
        let service = service_fn(|request| async {
            let is_last = requests.fetch_add(1, Ordering::Relaxed) + 1 >= limits.requests_per_connection_max;
            let response = self.request(request, peer, is_last).await;
            closes.store(response.headers().contains_key(CONNECTION), Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(response)
        });
        let too_slow = Arc::new(AtomicBool::new(false));
        let stream = Paced::new(stream, Arc::clone(&self.place), limits, Arc::clone(&too_slow));
        let connection = http1::Builder::new()
            // A client may close its side after its request and still wait for the answer. And without this, a hang-up that
            // is read together with a request's last bytes ends the connection before the request is looked at: its event is lost.
            .half_close(true)
            // By `Paced`, which tells idle connections from slow heads.
            .header_read_timeout(None)
            .max_headers(limits.headers_max)
            .max_header_size(limits.header_bytes_max)
            .max_buf_size(limits.header_bytes_max + READ_AHEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.requested() => {
                // Its first request may be in the kernel, and would be reset.
                let is_new = requests.load(Ordering::Relaxed) == 0;
                let time = if is_new { LAST_CALL } else { Duration::ZERO };
                match tokio::time::timeout(time, connection.as_mut()).await {
                    Ok(ended) => ended,
                    Err(_elapsed) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
        };
        if too_slow.load(Ordering::Relaxed) {
            end_for(&self.server, "too_slow");
            return false;
        }
        let Err(error) = ended else { return closes.load(Ordering::Relaxed) };
        tracing::debug!(error = towline_daemon::error::chain(&error), "connection ended");
        if error.is_parse() {
            end_for(&self.server, "malformed");
        }
        error.is_parse()
    }

    async fn request(&self, request: Request<Incoming>, peer: IpAddr, is_last: bool) -> Response<Full<Bytes>> {
        if !self.place.begin_receiving() {
            // The place went to another: `serve` ends this connection before anything is said.
            return std::future::pending().await;
        }
        let request = request.map(|body| Arriving { body, place: Arc::clone(&self.place) });
        let Ok(mut response) = Arc::clone(&self.server).handle(request, peer).await;
        self.place.begin_waiting();
        if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Reads what still comes and throws it away, for a while and a bounded amount. A socket that is closed with unread
/// bytes is reset, and a client that is reset may never see the answer that it has already got.
async fn linger(stream: &mut TcpStream, limits: Limits) {
    let drain = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut left = limits.body_bytes_max;
        let mut chunk = vec![0; LINGER_CHUNK_BYTES];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            let Some(rest) = left.checked_sub(read as u64) else { return };
            left = rest;
        }
    };
    let _elapsed = tokio::time::timeout(limits.linger_timeout, drain).await;
}
