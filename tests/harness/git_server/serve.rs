//! The server's loop: accepts connections, commits the fault of the moment, hands the rest to the CGI program.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use data_encoding::BASE64;
use futures::stream;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Fault, cgi};
use crate::certs::Identity;
use crate::failure::{Doing, Failure};
use crate::ports::Port;

pub(super) type Answer = Response<BoxBody<Bytes, io::Error>>;

#[derive(Clone)]
pub(super) struct Host {
    pub(super) root: PathBuf,
    pub(super) port: Arc<Port>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) credentials: Option<(String, String)>,
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    pub(super) faults: watch::Receiver<Fault>,
}

pub(super) fn acceptor(identity: &Identity) -> Result<TlsAcceptor, Failure> {
    let doing = || "set up TLS for the git server".to_owned();
    let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let certificates = certificates.collect::<Result<Vec<_>, _>>().doing(doing)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).doing(doing)?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key);
    Ok(TlsAcceptor::from(Arc::new(config.doing(doing)?)))
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
            if let Ok(stream) = tls.accept(stream).await {
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
        Fault::None | Fault::Down | Fault::Truncate => {}
        Fault::Stall => {
            // An error means that the server is going away, which ends the connection as well.
            let _ = host.faults.wait_for(|fault| *fault != Fault::Stall).await;
        }
        Fault::Status(code) => {
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return plain(code, "as the test wants it\n");
        }
    }
    if !allowed(&host, &request) {
        let mut refusal = plain(StatusCode::UNAUTHORIZED, "who are you?\n");
        refusal.headers_mut().insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Basic realm=\"git\""));
        return refusal;
    }
    match cgi::run(&host.root, request).await {
        Ok((head, body)) => {
            Response::from_parts(head, if fault == Fault::Truncate { half(&body) } else { whole(body) })
        }
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

fn whole(body: Bytes) -> BoxBody<Bytes, io::Error> {
    Full::new(body).map_err(|never| match never {}).boxed()
}

fn half(body: &Bytes) -> BoxBody<Bytes, io::Error> {
    let first = body.slice(..body.len() / 2);
    BodyExt::boxed(StreamBody::new(stream::iter([
        Ok(Frame::data(first)),
        Err(io::Error::other("cut off by the test")),
    ])))
}
