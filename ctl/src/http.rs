//! One HTTP request to a receiver. The only file that imports the HTTP client; knows nothing of webhooks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::{Exit, Fails};

/// GitHub and GitLab give up after 10 s: what takes longer would not work for them either.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A receiver answers with a line. More is a proxy's error page, of which the beginning will do.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// The beginning of the body, as text.
    pub(crate) body: String,
}

/// Why nothing came back. The URL is shown as it was given, without what it may hold of user and password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("read the CA file {}", path.display())]
    CaRead { path: PathBuf, source: std::io::Error },
    #[error("use the CA file {}", path.display())]
    CaUse { path: PathBuf, source: reqwest::Error },
    #[error("make an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("post to {url}")]
    Send { url: String, source: reqwest::Error },
}

impl Fails for HttpError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Posts once. Redirects are not followed: no Git host follows them with a body.
pub(crate) async fn post(
    url: &reqwest::Url,
    headers: &[(&'static str, String)],
    body: Vec<u8>,
    ca: Option<&Path>,
) -> Result<Answer, HttpError> {
    let mut client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("towline/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca {
        let pem = std::fs::read(path).map_err(|source| HttpError::CaRead { path: path.to_owned(), source })?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|source| HttpError::CaUse { path: path.to_owned(), source })?;
        client = certificates.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
    }
    let client = client.build().map_err(HttpError::Client)?;
    let failed = |source: reqwest::Error| HttpError::Send { url: shown(url), source: source.without_url() };
    let request = headers.iter().fold(client.post(url.clone()), |request, (name, value)| request.header(*name, value));
    let mut response = request.body(body).send().await.map_err(failed)?;
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let status = response.status().as_u16();
    let mut answer = Vec::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        answer.extend_from_slice(&part);
        if answer.len() >= ANSWER_BYTES_MAX {
            answer.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    Ok(Answer { status, retry_after, body: String::from_utf8_lossy(&answer).trim_end().to_owned() })
}

/// A URL for people: without user and password.
pub(crate) fn shown(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    // Refused only where a URL has no host, and then it has no user either.
    let _no_host = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}
