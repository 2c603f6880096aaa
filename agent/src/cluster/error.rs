//! A request that failed: what it was for, and what kind of failure it is.
//!
//! Knows status codes. Must not know what a caller makes of a refusal.

use std::time::Duration;

use super::Fenced;

/// How kube-apiserver's answer begins when an applied object does not fit its schema (seen on 1.37): its status is 500, and
/// its reason says no more.
const UNTYPED: &str = "failed to create typed patch object";

/// A failed request to the API server.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct RequestError {
    what: String,
    source: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    /// The API server's own words.
    #[error("{message}")]
    Status { code: u16, reason: String, message: String, about: Option<String> },
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Not sent: what it would do cannot be what was asked for.
    #[error("{0}")]
    Impossible(String),
    #[error("it is another object, another's or to be left alone by now, and is judged again")]
    Changed,
    #[error("the cluster does not serve its kind in that version now")]
    Unserved,
    #[error(transparent)]
    Fenced(Fenced),
    #[error("the API server cannot be reached")]
    Transport(#[source] Box<kube::Error>),
}

impl RequestError {
    pub(super) fn new(what: String, error: kube::Error) -> Self {
        let source = match error {
            // A path that is not served is answered in plain text, without a Status: that says nothing of any object.
            kube::Error::Api(status) if status.code == 404 && status.reason != "NotFound" => Cause::Unserved,
            kube::Error::Api(status) => Cause::Status {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                about: status.details.as_ref().map(|d| d.kind.clone()),
            },
            kube::Error::Service(error) if error.is::<Fenced>() => Cause::Fenced(Fenced),
            other => Cause::Transport(Box::new(other)),
        };
        Self { what, source }
    }

    pub(super) fn timeout(what: String, after: Duration) -> Self {
        Self { what, source: Cause::Timeout(after) }
    }

    pub(super) fn unserved(what: String) -> Self {
        Self { what, source: Cause::Unserved }
    }

    /// What an object was decided on is not so any more: it was not written.
    pub fn changed(what: String) -> Self {
        Self { what, source: Cause::Changed }
    }

    pub(super) fn impossible(what: String, why: String) -> Self {
        Self { what, source: Cause::Impossible(why) }
    }

    /// The kind is not served, now or in the version asked for: nothing is known of the object.
    #[must_use]
    pub fn is_unserved(&self) -> bool {
        matches!(self.source, Cause::Unserved)
    }

    /// It was not sent, or not waited for: this replica may not write now.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self.source, Cause::Fenced(_))
    }

    fn code(&self) -> Option<u16> {
        match &self.source {
            Cause::Status { code, .. } => Some(*code),
            Cause::Unserved | Cause::Timeout(_) | Cause::Fenced(_) | Cause::Transport(_) => None,
            Cause::Impossible(_) | Cause::Changed => None,
        }
    }

    /// The API server judged the request and will judge it the same way again: 4xx, except those that say "later".
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        if matches!(self.source, Cause::Impossible(_)) {
            return true;
        }
        // The server answers 500 where a field is not in the schema; no other try will put it there.
        if matches!(&self.source, Cause::Status { code: 500, message, .. } if message.starts_with(UNTYPED)) {
            return true;
        }
        // 401: our credentials, not the object. 408, 429: later. 409: somebody was faster.
        matches!(self.code(), Some(code @ 400..=499) if !matches!(code, 401 | 408 | 409 | 429))
    }

    /// Whoever asked may not do that.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Somebody else wrote first, or the object is another one by now.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The API server finds the object itself wrong: by its code and reason, not by its words.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(&self.source, Cause::Status { code: 422, reason, .. } if reason == "Invalid")
    }

    /// An object of that name is there already. The API server says so of a creation that it would have taken otherwise.
    #[must_use]
    pub fn is_there_already(&self) -> bool {
        matches!(&self.source, Cause::Status { code: 409, reason, .. } if reason == "AlreadyExists")
    }

    /// The object's namespace does not exist.
    #[must_use]
    pub fn is_missing_namespace(&self) -> bool {
        matches!(&self.source, Cause::Status { code: 404, about: Some(about), .. } if about == "namespaces")
    }

    /// The API server's words or the failure in ours, without what was attempted.
    #[must_use]
    pub fn cause(&self) -> String {
        match &self.source {
            Cause::Status { message, reason, code, .. } if message.is_empty() => format!("{code} {reason}"),
            Cause::Status { message, .. } => message.clone(),
            cause => towline_daemon::error::chain(cause),
        }
    }
}
