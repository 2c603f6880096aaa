//! The admin port: `/livez`, `/readyz`, `/metrics`. Small and bounded, never public. Knows names of checks and why they
//! fail; what is checked is the daemon's business.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::shutdown::Shutdown;

/// A kubelet, a Prometheus or two and somebody's curl; more than this is a mistake or an attack.
const CONNECTIONS_MAX: usize = 32;

/// Scrapers send their headers at once; an idle connection is closed after this and opened again by its client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// hyper's smallest buffer; no request here has more than a few headers.
const BUFFER_BYTES_MAX: usize = 8 * 1024;

/// Why an admin port could not be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("failed to listen on admin address {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
}

/// Named checks that say whether this process can do its work. Clones share the same checks; a check that was never
/// set does not exist, so set it before serving.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<String, Result<(), String>>>>,
}

impl Readiness {
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the state of a check; the reason is shown to whoever asks `/readyz`.
    pub fn set(&self, name: &str, state: Result<(), String>) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = checks.insert(name.to_owned(), state.clone());
        drop(checks);
        if previous.as_ref() == Some(&state) {
            return;
        }
        match state {
            Ok(()) => tracing::info!(check = name, "ready"),
            // What was never ready is starting, which is nothing to warn of.
            Err(reason) if previous.is_none() => tracing::debug!(check = name, reason, "not ready yet"),
            Err(reason) => tracing::warn!(check = name, reason, "not ready"),
        }
    }

    /// The failing checks as `name: reason`; empty when ready.
    pub fn failing(&self) -> Vec<String> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().filter_map(|(name, state)| Some(format!("{name}: {}", state.as_ref().err()?))).collect()
    }
}

/// Serves the admin port until shutdown. Failing to listen is an error; a bad client is not.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    registry: Arc<Registry>,
    shutdown: Shutdown,
) -> Result<(), AdminError> {
    let listener = TcpListener::bind(address).await.map_err(|source| AdminError::Bind { address, source })?;
    let address = listener.local_addr().map_err(|source| AdminError::Bind { address, source })?;
    crate::announce_listener("admin", address);

    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _peer)) = accepted else {
            // Out of file descriptors, most likely: give others time to close theirs.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (readiness, registry) = (readiness.clone(), Arc::clone(&registry));
        connections.spawn(async move {
            serve_connection(stream, &readiness, &registry).await;
            drop(place);
        });
    }
    Ok(())
}

async fn serve_connection(stream: TcpStream, readiness: &Readiness, registry: &Registry) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(request.method(), request.uri().path(), readiness, registry))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(error = crate::error::chain(&error), "admin connection ended");
    }
}

fn answer(method: &Method, path: &str, readiness: &Readiness, registry: &Registry) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (status, content_type, body) = match path {
        _ if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned())
        }
        "/livez" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => match readiness.failing() {
            failing if failing.is_empty() => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            failing => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready\n{}\n", failing.join("\n"))),
        },
        "/metrics" => {
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, registry) {
                Ok(()) => (StatusCode::OK, METRICS, text),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, "failed to write metrics\n".to_owned()),
            }
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "/livez /readyz /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn get(path: &str, readiness: &Readiness) -> (StatusCode, String) {
        let response = answer(&Method::GET, path, readiness, &Registry::default());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_lists_what_fails_and_why() {
        let readiness = Readiness::new();
        readiness.set("nats", Err("not connected".to_owned()));
        readiness.set("stream", Ok(()));
        let (status, body) = get("/readyz", &readiness).await;
        assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not ready\nnats: not connected\n"));
        assert_eq!(get("/livez", &readiness).await.0, StatusCode::OK);
        readiness.set("nats", Ok(()));
        assert_eq!(get("/readyz", &readiness).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let readiness = Readiness::new();
        assert_eq!(get("/", &readiness).await.0, StatusCode::NOT_FOUND);
        assert_eq!(get("/metrics", &readiness).await, (StatusCode::OK, "# EOF\n".to_owned()));
        let posted = answer(&Method::POST, "/livez", &readiness, &Registry::default());
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
