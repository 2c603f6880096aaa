//! HTTP requests, one at a time: bounded in time and in what is read, never redirected. The only folder that imports the
//! HTTP client; knows nothing of webhooks.

mod trouble;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::{Exit, Fails};

pub(crate) use reqwest::{Method, Url};

/// Git hosts give a receiver 10 s, and their own APIs answer sooner; GitLab's answer to a test waits for the receiver.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client with its certificates, for several requests.
pub(crate) struct Client(reqwest::Client);

/// What is sent. Has no Debug: headers hold tokens, bodies hold secrets.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: reqwest::header::HeaderMap,
    /// The body, or its beginning.
    pub(crate) body: Vec<u8>,
    /// Whether the body is longer than the caller wanted to read.
    pub(crate) cut: bool,
}

/// Why nothing came back. The URL is shown without what it may hold of user and password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("read the CA file {}", path.display())]
    CaRead { path: PathBuf, source: std::io::Error },
    #[error("use the CA file {}", path.display())]
    CaUse { path: PathBuf, source: reqwest::Error },
    #[error("make an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("{doing} {url}: {trouble}")]
    Send { doing: &'static str, url: String, trouble: &'static str, source: reqwest::Error },
}

impl Fails for HttpError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

impl Client {
    /// For this address and those below it. Trusts what the system trusts, and the certificates in `ca`.
    pub(crate) fn new(address: &Url, ca: Option<&Path>) -> Result<Self, HttpError> {
        let mut client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // No Git host follows one with a delivery, and a token must not follow one either.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("towline/", env!("CARGO_PKG_VERSION")));
        // What is meant for this machine does not take a way over a proxy, which could read it.
        if is_this_machine(address) {
            client = client.no_proxy();
        }
        if let Some(path) = ca {
            let pem = std::fs::read(path).map_err(|source| HttpError::CaRead { path: path.to_owned(), source })?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|source| HttpError::CaUse { path: path.to_owned(), source })?;
            client = certificates.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        }
        client.build().map(Self).map_err(HttpError::Client)
    }

    /// Sends once, and reads at most so much of the answer.
    pub(crate) async fn send(&self, request: Request, body_bytes_max: usize) -> Result<Answer, HttpError> {
        let Request { method, url, headers, body } = request;
        let (doing, shown) = (doing(&method), shown(&url));
        let failed = |source: reqwest::Error| {
            let source = source.without_url();
            let trouble = trouble::explain(&source, source.is_timeout());
            HttpError::Send { doing, url: shown.clone(), trouble, source }
        };
        let mut request = self.0.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let mut response = request.send().await.map_err(failed)?;
        let mut answer = Vec::new();
        let mut cut = false;
        while let Some(part) = response.chunk().await.map_err(failed)? {
            answer.extend_from_slice(&part);
            cut = answer.len() > body_bytes_max;
            if cut {
                answer.truncate(body_bytes_max);
                break;
            }
        }
        let status = response.status().as_u16();
        Ok(Answer { status, headers: std::mem::take(response.headers_mut()), body: answer, cut })
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

fn doing(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "POST" => "post to",
        "DELETE" => "delete",
        _ => "change",
    }
}

/// Whether a request to it stays within this machine.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A URL for people: without user and password.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Refused only where a URL has no host, and then it has no user either.
    let _no_host = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}
