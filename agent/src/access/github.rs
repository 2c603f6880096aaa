//! GitHub's endpoint for installation tokens, and the tokens it gave.
//!
//! Knows the request, its answers, and until when a token is good. One is kept for each App, installation and key, and asked for
//! once however many sources wait for it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::app::{App, Identity};
use super::client::Refused;
use super::{Access, Client, Login};

/// The longest fetch is some minutes, and a token has to be good until its end. They live for an hour.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// An answer lists an installation's permissions: some KiB.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Who a token is, over HTTP.
const USERNAME: &str = "x-access-token";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "GitHub does not know the App by its key (HTTP 401): githubAppID and githubAppPrivateKey have to be of one App, and the clock right"
    )]
    Unknown,
    #[error(
        "GitHub has no such installation of the App (HTTP 404): see githubAppInstallationID, and whether it is still installed"
    )]
    NotInstalled,
    #[error("GitHub refuses a token (HTTP 403): the installation may be suspended")]
    Suspended,
    #[error("GitHub answers HTTP {0} when asked for a token")]
    Status(u16),
    #[error("GitHub cannot be asked for a token: {0}")]
    Unreachable(String),
    #[error("the App's key is not sent over plain http: githubAppBaseURL begins with https://")]
    PlainHttp,
    #[error("GitHub's answer has no token that can be read")]
    Unreadable,
    #[error("the App's key cannot sign")]
    Key,
}

impl TokenError {
    /// Whether asking again may help without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Status(status) => *status >= 500 || matches!(status, 408 | 429),
            Self::Unreachable(_) | Self::Unreadable => true,
            Self::Unknown | Self::NotInstalled | Self::Suspended | Self::PlainHttp | Self::Key => false,
        }
    }
}

struct Token {
    text: SecretString,
    /// By our clock.
    asked_at: Timestamp,
    expires_at: Timestamp,
}

impl Token {
    /// Whether it lives longer than any fetch. Of one that is from the future nothing is known: the clock was put back since, by
    /// minutes or by days.
    fn is_good(&self, now: Timestamp) -> bool {
        self.asked_at <= now && self.expires_at.duration_since(now) > RENEW_BEFORE
    }
}

/// What GitHub writes.
#[derive(Deserialize)]
struct Answer {
    token: String,
    expires_at: Timestamp,
}

type Slot = Arc<Mutex<Option<Token>>>;

/// All installation tokens. Clones share them.
#[derive(Clone, Default)]
pub struct Tokens(Arc<std::sync::Mutex<HashMap<Identity, Slot>>>);

impl Tokens {
    /// A login of the App's installation: the one that is kept, or a new one, asked for through `access`.
    ///
    /// # Errors
    /// What GitHub says.
    pub async fn login(&self, app: &App, access: &Access, now: Timestamp) -> Result<Login, TokenError> {
        let slot = self.slot(app, now);
        // Held while GitHub is asked: who comes meanwhile wants the same.
        let mut kept = slot.lock().await;
        let text = match kept.as_ref().filter(|token| token.is_good(now)) {
            Some(token) => token.text.clone(),
            None => {
                let token = ask(app, access, now).await?;
                kept.insert(token).text.clone()
            }
        };
        Ok(Login::Basic { username: USERNAME.to_owned(), password: text })
    }

    /// The host did not take it: the next one who asks gets a new one.
    pub fn forget(&self, app: &App) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&app.identity());
    }

    fn slot(&self, app: &App, now: Timestamp) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of keys that were replaced are nobody's any more, and expire. What is asked for now is held by who asks.
        let lives = |token: &Option<Token>| token.as_ref().is_some_and(|token| token.expires_at > now);
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|token| lives(&token)));
        Arc::clone(slots.entry(app.identity()).or_default())
    }
}

async fn ask(app: &App, access: &Access, now: Timestamp) -> Result<Token, TokenError> {
    let proof = app.proof(now).ok_or(TokenError::Key)?;
    // The same certificates and proxy, but the App's proof for a login.
    let access = Access { login: Some(Login::Bearer(proof)), ..access.clone() };
    let unreachable = |error: reqwest::Error| TokenError::Unreachable(causes(&error.without_url()));
    let client = Client::new(&access).map_err(unreachable)?;
    let url = format!("{}/app/installations/{}/access_tokens", app.api, app.installation);
    let request = client.request(&url, Some(Vec::new())).map_err(|refused| match refused {
        Refused::PlainHttp => TokenError::PlainHttp,
        Refused::Url => TokenError::Unreachable(refused.to_string()),
    })?;
    // GitHub refuses requests without a user agent.
    let request = request.header("accept", "application/vnd.github+json").header("user-agent", "towline");
    let mut response = request.send().await.map_err(unreachable)?;
    match response.status() {
        StatusCode::CREATED => {}
        StatusCode::UNAUTHORIZED => return Err(TokenError::Unknown),
        StatusCode::FORBIDDEN => return Err(TokenError::Suspended),
        StatusCode::NOT_FOUND => return Err(TokenError::NotInstalled),
        status => return Err(TokenError::Status(status.as_u16())),
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(TokenError::Unreadable);
        }
    }
    // The parser's words may quote the token.
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| TokenError::Unreadable)?;
    Ok(Token { text: SecretString::from(answer.token), asked_at: now, expires_at: answer.expires_at })
}

fn causes(error: &dyn std::error::Error) -> String {
    towline_daemon::error::chain(error)
}
