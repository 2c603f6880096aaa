//! Sends one request and returns one answer, bounded in time and bytes. The only file of the receiver that imports the
//! HTTP client. Knows neither GitHub nor what a token is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use reqwest::redirect::Policy;

/// A host that is there answers a SYN in less than a second; this leaves room for retransmissions and a TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A hundred deliveries are some 50 KB, a hundred webhooks some 100 KB.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How requests get to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Over a proxy, where the environment names one.
    AsTheEnvironmentSays,
    /// Past any proxy: what is meant for this machine may be in clear text, and a proxy could read it.
    Direct,
}

pub(super) struct Wire {
    client: reqwest::Client,
}

/// Why there is no answer. Shows neither headers nor URLs.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("failed to read the authorities in {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to use the authorities in {}", .path.display())]
    Authorities { path: PathBuf, source: reqwest::Error },
    #[error("{} has no certificate", .0.display())]
    NoAuthority(PathBuf),
    #[error("failed to make an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("failed to ask the API")]
    Send(#[source] reqwest::Error),
    #[error("the API did not answer in time")]
    Timeout,
    #[error("the API's answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

/// The certificates of a PEM file.
pub(super) fn read_authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, WireError> {
    let pem = std::fs::read(path).map_err(|source| WireError::Read { path: path.to_owned(), source })?;
    let list = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|source| WireError::Authorities { path: path.to_owned(), source })?;
    if list.is_empty() { Err(WireError::NoAuthority(path.to_owned())) } else { Ok(list) }
}

impl Wire {
    /// The authorities are trusted besides the system's.
    pub(super) fn new(route: Route, authorities: Option<&Path>, timeout: Duration) -> Result<Self, WireError> {
        // A redirect would take the token to wherever it leads.
        let mut client = reqwest::Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            .user_agent(concat!("towline-receiver/", env!("CARGO_PKG_VERSION")));
        if route == Route::Direct {
            client = client.no_proxy();
        }
        for certificate in authorities.map(read_authorities).transpose()?.unwrap_or_default() {
            client = client.add_root_certificate(certificate);
        }
        Ok(Self { client: client.build().map_err(WireError::Client)? })
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, WireError> {
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let mut response = self.client.execute(request).await.map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(WireError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        let mut answer = Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

fn failed(error: reqwest::Error) -> WireError {
    if error.is_timeout() { WireError::Timeout } else { WireError::Send(error.without_url()) }
}
