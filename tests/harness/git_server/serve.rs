//! The server's loop: accepts connections, commits the fault of the moment, hands the rest to the CGI program.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::spoil::{Body, spoiled, whole};
use super::tls::Acceptors;
use super::{Fault, cgi};
use crate::ports::Port;

pub(super) type Answer = Response<Body>;

#[derive(Clone)]
pub(super) struct Host {
    pub(super) root: PathBuf,
    pub(super) port: Arc<Port>,
    pub(super) tls: Option<Acceptors>,
    pub(super) credentials: Option<(String, String)>,
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    pub(super) faults: watch::Receiver<Fault>,
}

/// Ends when the owner of the server drops it.
pub(super) async fn serve(mut host: Host) {
    loop {
        if host.faults.wait_for(|fault| *fault != Fault::Down).await.is_err() {
            return;
        }
        // Nobody else takes a reserved port; whoever waits for the server sees if it does not open.
        let Ok(listener) = TcpListener::bind(host.port.address()).await else { return };
        if !serve_until_down(&mut host, &listener).await {
            return;
        }
    }
}

/// Whether the server goes on later. Dropping the set ends all connections.
async fn serve_until_down(host: &mut Host, listener: &TcpListener) -> bool {
    let mut connections = JoinSet::new();
    let mut faults = host.faults.clone();
    loop {
        tokio::select! {
            down = faults.wait_for(|fault| *fault == Fault::Down) => return down.is_ok(),
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(host.clone(), stream));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(host: Host, stream: TcpStream) {
    // Without it each small answer waits 40 ms for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let fault = *host.faults.borrow();
    if fault == Fault::Reset {
        // What is closed without waiting for what was sent is reset.
        let _ = stream.set_zero_linger();
    }
    let tls = host.tls.clone();
    let service = service_fn(move |request| {
        let host = host.clone();
        async move { Ok::<_, Infallible>(answer(host, request).await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // A client that goes away is its own business.
    match tls {
        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
        Some(tls) => {
            if let Ok(stream) = tls.under(fault).accept(stream).await {
                drop(http.serve_connection(TokioIo::new(stream), service).await);
            }
        }
    }
}

async fn answer(mut host: Host, request: Request<Incoming>) -> Answer {
    let line = format!("{} {}", request.method(), request.uri());
    host.requests.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    let fault = *host.faults.borrow_and_update();
    match fault {
        Fault::Stall => {
            // An error means that the server is going away, which ends the connection as well.
            let _ = host.faults.wait_for(|fault| *fault != Fault::Stall).await;
        }
        Fault::Status(code) => {
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return plain(code, "as the test wants it\n");
        }
        Fault::LeaveAlone(seconds) => {
            let mut later = plain(StatusCode::TOO_MANY_REQUESTS, "not now\n");
            later.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
            return later;
        }
        Fault::Redirect(to) => {
            let mut elsewhere = plain(StatusCode::FOUND, "go there\n");
            elsewhere.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
            return elsewhere;
        }
        _ => {}
    }
    if !allowed(&host, &request) {
        let mut refusal = plain(StatusCode::UNAUTHORIZED, "who are you?\n");
        refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"git\""));
        return refusal;
    }
    match cgi::run(&host.root, request).await {
        Ok((head, body)) => Response::from_parts(head, spoiled(body, fault)),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn allowed(host: &Host, request: &Request<Incoming>) -> bool {
    let Some((user, password)) = &host.credentials else { return true };
    let wanted = format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()));
    request.headers().get(AUTHORIZATION).is_some_and(|given| given.as_bytes() == wanted.as_bytes())
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let mut response = Response::new(whole(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}
