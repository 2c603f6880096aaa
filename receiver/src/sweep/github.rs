//! GitHub's REST API for webhook deliveries, as values: requests built and not sent, answers read and not fetched. Pure.
//!
//! Links in answers are not followed: of a `Link` only the cursor is taken, so that no answer decides where a token goes.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, ETAG, IF_NONE_MATCH, LINK, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::decide::{Attempt, AttemptResult, Event};
use super::settings::Scope;

/// The most that GitHub gives. A repository or an organisation has no more than 20 webhooks of an event.
pub(super) const PER_PAGE: usize = 100;

const ACCEPTED: HeaderValue = HeaderValue::from_static("application/vnd.github+json");

/// The version of the API that has all of what is asked here, and that Enterprise Servers know, too.
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-github-api-version"), HeaderValue::from_static("2022-11-28"));

/// A guid has 36 characters. More would be kept for nothing.
const GUID_BYTES_MAX: usize = 64;

/// `v1_` and a number of some twenty digits; more is not a cursor.
const CURSOR_BYTES_MAX: usize = 256;

/// The token may be used for other things: a sweep leaves them these. One more sweep needs some forty.
const REQUESTS_RESERVED: u64 = 100;

/// What GitHub asks for where it limits without saying for how long.
const WAIT_UNKNOWN: Duration = Duration::from_mins(1);

/// Where requests go and what proves that they may.
pub(super) struct Access<'a> {
    pub(super) api: &'a str,
    pub(super) authorization: HeaderValue,
}

/// What an answer says besides its body. Made by [`judge`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    /// As it was at the last request with this ETag.
    Unchanged,
}

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the API limits how much is asked (wait for {} s)", .wait.as_secs())]
    Limited { wait: Duration },
    #[error("the API does not take the token (401)")]
    Token,
    #[error("the token may not do this (403): it needs read and write access to webhooks")]
    Forbidden,
    #[error("the API knows no such webhook, or hides it from the token (404)")]
    NotFound,
    #[error("the API answers with a redirect ({0}), which is not followed: was the repository renamed?")]
    Redirect(u16),
    #[error("the API answers with status {0}")]
    Status(u16),
    #[error("the API's answer is not what is documented (line {line}, column {column})")]
    Unreadable { line: usize, column: usize },
    #[error("none of the webhooks delivers to {0}")]
    NoSuchUrl(String),
}

#[derive(Deserialize)]
struct RawAttempt {
    id: u64,
    guid: String,
    delivered_at: Timestamp,
    #[serde(default)]
    redelivery: bool,
    status_code: Option<u16>,
    event: String,
}

#[derive(Deserialize)]
struct RawHook {
    id: u64,
    #[serde(default)]
    config: RawHookConfig,
}

#[derive(Default, Deserialize)]
struct RawHookConfig {
    url: Option<String>,
}

impl Access<'_> {
    /// All webhooks, to find one by its URL.
    pub(super) fn hooks(&self, scope: &Scope) -> http::Result<Request<Bytes>> {
        self.request(Method::GET, &format!("{}/hooks?per_page={PER_PAGE}", path(scope)), None)
    }

    /// A page of attempts, the newest first.
    pub(super) fn deliveries(
        &self,
        scope: &Scope,
        hook_id: u64,
        cursor: Option<&str>,
        etag: Option<&HeaderValue>,
    ) -> http::Result<Request<Bytes>> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let path = format!("{}/hooks/{hook_id}/deliveries?per_page={PER_PAGE}{cursor}", path(scope));
        self.request(Method::GET, &path, etag)
    }

    /// Another attempt.
    pub(super) fn redeliver(&self, scope: &Scope, hook_id: u64, attempt: u64) -> http::Result<Request<Bytes>> {
        let path = format!("{}/hooks/{hook_id}/deliveries/{attempt}/attempts", path(scope));
        self.request(Method::POST, &path, None)
    }

    fn request(&self, method: Method, path: &str, etag: Option<&HeaderValue>) -> http::Result<Request<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.api))
            .header(ACCEPT, ACCEPTED)
            .header(VERSION.0, VERSION.1)
            .header(AUTHORIZATION, self.authorization.clone());
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        request.body(Bytes::new())
    }
}

fn path(scope: &Scope) -> String {
    match scope {
        Scope::Repository(name) => format!("/repos/{name}"),
        Scope::Organisation(name) => format!("/orgs/{name}"),
    }
}

/// What the head of an answer means.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Result<Status, ApiError> {
    let limited = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN && (headers.contains_key(RETRY_AFTER) || remaining(headers) == Some(0));
    if limited {
        return Err(ApiError::Limited { wait: wait(headers, now) });
    }
    match status.as_u16() {
        200..=299 => Ok(Status::Good),
        304 => Ok(Status::Unchanged),
        300..=399 => Err(ApiError::Redirect(status.as_u16())),
        401 => Err(ApiError::Token),
        403 => Err(ApiError::Forbidden),
        404 => Err(ApiError::NotFound),
        other => Err(ApiError::Status(other)),
    }
}

/// How long to ask nothing after a good answer, because few requests are left.
pub(super) fn spent(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    (remaining(headers)? < REQUESTS_RESERVED).then(|| wait(headers, now))
}

fn wait(headers: &HeaderMap, now: Timestamp) -> Duration {
    if let Some(seconds) = number(headers, "retry-after") {
        return Duration::from_secs(seconds);
    }
    let reset = number(headers, "x-ratelimit-reset").and_then(|seconds| i64::try_from(seconds).ok());
    let reset = reset.and_then(|seconds| Timestamp::from_second(seconds).ok());
    match reset {
        Some(reset) if remaining(headers).is_some_and(|left| left < REQUESTS_RESERVED) => {
            reset.duration_since(now).try_into().unwrap_or_default()
        }
        Some(_) | None => WAIT_UNKNOWN,
    }
}

fn remaining(headers: &HeaderMap) -> Option<u64> {
    number(headers, "x-ratelimit-remaining")
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// What makes the next request for the same thing cheap.
pub(super) fn etag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).cloned()
}

/// The cursor of the next page.
pub(super) fn next_cursor(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let (url, _) = next.trim().strip_prefix('<')?.split_once('>')?;
    let (_, query) = url.split_once('?')?;
    let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.~%".contains(&byte);
    (!cursor.is_empty() && cursor.len() <= CURSOR_BYTES_MAX && cursor.bytes().all(plain)).then(|| cursor.to_owned())
}

/// A page of attempts.
pub(super) fn attempts(body: &[u8]) -> Result<Vec<Attempt>, ApiError> {
    let raw: Vec<RawAttempt> = json(body)?;
    Ok(raw.into_iter().filter(|raw| raw.guid.len() <= GUID_BYTES_MAX).map(attempt).collect())
}

fn attempt(raw: RawAttempt) -> Attempt {
    // Nothing follows from a ping; what `create` and `delete` say, a push beside them says too.
    let event = if raw.event == "push" { Event::Push } else { Event::Other };
    Attempt {
        id: raw.id,
        guid: raw.guid,
        delivered_at: raw.delivered_at,
        is_redelivery: raw.redelivery,
        event,
        result: AttemptResult::of_status(raw.status_code),
    }
}

/// The id of the webhook that delivers to this URL.
pub(super) fn hook_id(body: &[u8], url: &str) -> Result<u64, ApiError> {
    let hooks: Vec<RawHook> = json(body)?;
    let wanted = url.trim_end_matches('/');
    let found = hooks.iter().find(|hook| {
        let url = hook.config.url.as_deref();
        url.is_some_and(|url| url.trim_end_matches('/') == wanted)
    });
    found.map(|hook| hook.id).ok_or_else(|| ApiError::NoSuchUrl(url.to_owned()))
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::Unreadable { line: error.line(), column: error.column() })
}

impl ApiError {
    /// A word for metrics; never changes.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Limited { .. } => "limited",
            Self::Token => "token",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Redirect(_) => "redirect",
            Self::Status(_) => "status",
            Self::Unreadable { .. } => "unreadable",
            Self::NoSuchUrl(_) => "no_such_url",
        }
    }
}

#[cfg(test)]
mod tests;
