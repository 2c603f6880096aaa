//! The public port: accepts, shakes hands, and gives each connection to hyper, all within bounds. Knows connections and
//! their times; what a request means is [`crate::serve`]'s business.
//!
//! HTTP/1.1 only: no Git host sends webhooks over HTTP/2, and a connection that sends nothing would never time out under
//! a server that waits to find out which of the two is spoken.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use towline_daemon::shutdown::Shutdown;

use crate::serve::Server;
use crate::tls::Tls;

/// Request line and headers; GitHub's and GitLab's are below 2 KiB, an ingress adds some. More is answered with 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// What hyper may read ahead on one connection; it wants some beyond the head.
const BUFFER_BYTES_MAX: usize = 2 * HEAD_BYTES_MAX;

/// GitHub sends 15, Gitea 20, an ingress adds 10. More is answered with 431.
const HEADERS_MAX: usize = 64;

/// After a failed accept (out of file descriptors, most likely): others need a moment to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the public port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("failed to listen on {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
}

/// Opens the public port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let wrong = |source| ListenError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    towline_daemon::announce_listener("public", listener.local_addr().map_err(wrong)?);
    Ok(listener)
}

/// Accepts until shutdown, then lets open connections finish their requests, and every accepted delivery its work.
pub async fn run(
    listener: TcpListener,
    tls: Option<Tls>,
    server: Arc<Server>,
    shutdown: Shutdown,
) -> Result<(), std::convert::Infallible> {
    let places = Arc::new(Semaphore::new(server.limits().connections_max));
    let mut connections = JoinSet::new();
    while !shutdown.is_requested() {
        // A place first: clients beyond the bound wait in the kernel's backlog, where they cost nothing here.
        let place = tokio::select! {
            () = shutdown.requested() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                tracing::warn!(error = %error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, server, shutdown) = (tls.clone(), Arc::clone(&server), shutdown.clone());
        connections.spawn(async move {
            server.metrics().connections.inc();
            serve_connection(stream, peer, tls, &server, shutdown).await;
            server.metrics().connections.dec();
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    server.drained().await;
    Ok(())
}

async fn serve_connection(stream: TcpStream, peer: IpAddr, tls: Option<Tls>, server: &Arc<Server>, shutdown: Shutdown) {
    // An answer is one small packet, and its sender waits for it.
    let _best_effort = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve_http(stream, peer, server, shutdown).await };
    let handshake = tokio::time::timeout(server.limits().handshake_timeout, tls.acceptor().accept(stream));
    let handshaken = tokio::select! {
        () = shutdown.requested() => return,
        handshaken = handshake => handshaken,
    };
    match handshaken {
        Ok(Ok(stream)) => serve_http(stream, peer, server, shutdown).await,
        Ok(Err(error)) => tracing::debug!(error = %error, "tls handshake failed"),
        Err(_elapsed) => tracing::debug!("tls handshake timed out"),
    }
}

async fn serve_http<S>(stream: S, peer: IpAddr, server: &Arc<Server>, shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| Arc::clone(server).handle(request, peer));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.limits().header_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = towline_daemon::error::chain(&error), "connection ended");
    }
}
