//! What the receiver answers: the one place that maps outcomes to a status, a text and headers.
//!
//! 2xx is said for what JetStream has stored, or for what provably needs nothing. What a stranger can see says nothing
//! about secrets; the reason of a 401 is in the log, under the request id that the answer carries.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// The id that is in the answer and in the log line.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer than a NATS client takes to find another server; senders that retry at all wait longer than this.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("10");

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Stored by JetStream; also when it had been before.
    Accepted {
        duplicate: bool,
    },
    /// A newer event of the same ref is stored, and stands for it.
    Coalesced,
    /// Verified, and nothing follows from it.
    Ignored {
        reason: String,
    },
    /// Verified, and not readable.
    Unreadable {
        reason: String,
    },
    /// No good signature.
    Refused,
    NoSuchHook,
    MethodNotAllowed,
    UnsupportedType,
    LengthRequired,
    BodyTooLarge,
    BodyTimeout,
    /// The client hung up, or stopped before the length it declared.
    BodyIncomplete,
    /// The bodies of others fill the memory there is, or their deliveries are as many as may be in work.
    Busy,
    /// More than a limit of rate allows; in so long there is a token.
    RateLimited {
        wait: Duration,
    },
    /// JetStream did not acknowledge in time.
    NotPublished,
    /// Verified, and beyond the hook's rate for longer than can be waited.
    HookBusy {
        wait: Duration,
    },
    /// Shutdown was requested.
    Draining,
}

impl Answer {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Accepted { .. } | Self::Coalesced => StatusCode::ACCEPTED,
            Self::Ignored { .. } => StatusCode::OK,
            Self::Unreadable { .. } | Self::BodyIncomplete => StatusCode::BAD_REQUEST,
            Self::Refused => StatusCode::UNAUTHORIZED,
            Self::NoSuchHook => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NotPublished | Self::HookBusy { .. } | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A word for logs and metrics; never changes.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Accepted { duplicate: false } => "accepted",
            Self::Accepted { duplicate: true } => "duplicate",
            Self::Coalesced => "coalesced",
            Self::Ignored { .. } => "ignored",
            Self::Unreadable { .. } => "unreadable",
            Self::Refused => "refused",
            Self::NoSuchHook => "no_such_hook",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedType => "unsupported_type",
            Self::LengthRequired => "length_required",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyIncomplete => "body_incomplete",
            Self::Busy => "busy",
            Self::RateLimited { .. } => "rate_limited",
            Self::NotPublished => "not_published",
            Self::HookBusy { .. } => "hook_busy",
            Self::Draining => "draining",
        }
    }

    /// The outcome's class, for what is measured and not only counted.
    pub fn class(&self) -> &'static str {
        match self.status().as_u16() {
            202 => "stored",
            200 => "nothing_to_do",
            500.. => "failed",
            _ => "refused",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Accepted { duplicate: false } => "accepted".to_owned(),
            Self::Accepted { duplicate: true } => "accepted: it was delivered before".to_owned(),
            Self::Coalesced => "accepted: a newer push of the same ref stands for it".to_owned(),
            Self::Ignored { reason } => format!("nothing to do: {reason}"),
            Self::Unreadable { reason } => format!("verified, and not readable: {reason}"),
            Self::Refused => "missing or bad signature".to_owned(),
            Self::NoSuchHook => "no such hook".to_owned(),
            Self::MethodNotAllowed => "only POST".to_owned(),
            Self::UnsupportedType => "only application/json (from GitHub a form, too), not compressed".to_owned(),
            Self::LengthRequired => "a Content-Length is required".to_owned(),
            Self::BodyTooLarge => "the body is too large".to_owned(),
            Self::BodyTimeout => "the body did not come in time".to_owned(),
            Self::BodyIncomplete => "the body ended before its declared length".to_owned(),
            Self::Busy => "too much at once, try again".to_owned(),
            Self::RateLimited { .. } => "too many requests, try again later".to_owned(),
            Self::NotPublished => "not stored, try again".to_owned(),
            Self::HookBusy { .. } => "too many deliveries, try again later".to_owned(),
            Self::Draining => "shutting down, try again".to_owned(),
        }
    }

    pub fn into_response(self, request_id: &str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.text() + "\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }
        match self {
            Self::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Busy | Self::NotPublished | Self::Draining => {
                headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            Self::RateLimited { wait } | Self::HookBusy { wait } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
            }
            _ => {}
        }
        if self.leaves_body_unread() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// After these the rest of the body may still be on its way: the connection cannot carry another request.
    fn leaves_body_unread(&self) -> bool {
        match self {
            Self::NoSuchHook
            | Self::MethodNotAllowed
            | Self::UnsupportedType
            | Self::LengthRequired
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BodyIncomplete
            | Self::Busy
            | Self::RateLimited { .. }
            | Self::Draining => true,
            Self::Accepted { .. }
            | Self::Coalesced
            | Self::HookBusy { .. }
            | Self::Ignored { .. }
            | Self::Unreadable { .. }
            | Self::Refused
            | Self::NotPublished => false,
        }
    }
}

/// Rounded up, and never zero: who comes back that late finds a token, if nobody else took it.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_refusal_says_nothing_more_and_carries_the_request_id() {
        let response = Answer::Refused.into_response("abc");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[REQUEST_ID], "abc");
        assert!(!response.headers().contains_key(RETRY_AFTER));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "missing or bad signature\n");
    }

    #[test]
    fn what_can_be_tried_again_says_when() {
        for answer in [Answer::Busy, Answer::NotPublished, Answer::Draining] {
            assert!(answer.into_response("x").headers().contains_key(RETRY_AFTER));
        }
        for (milliseconds, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")] {
            let answer = Answer::RateLimited { wait: Duration::from_millis(milliseconds) };
            assert_eq!(answer.into_response("x").headers()[RETRY_AFTER], seconds);
        }
        assert_eq!(Answer::MethodNotAllowed.into_response("x").headers()[ALLOW], "POST");
    }
}
