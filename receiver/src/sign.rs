//! The opposite of `verify`: a push delivery as a provider would send it, for `towline webhook send` and for tests.
//! Pure: ids and the time are arguments. What it makes, `verify` accepts and `payload` reads; a law in the tests.
//!
//! ```
//! use towline_receiver::{Provider, Secret, sign};
//!
//! let secret = Secret::parse(Provider::Github, b"It's a Secret to Everybody")?;
//! let push = sign::Push {
//!     repository: "org/app",
//!     reference: "refs/heads/main",
//!     before: None,
//!     after: Some("0123456789012345678901234567890123456789"),
//! };
//! let delivery = sign::delivery(Provider::Github, &secret, &push, "an-id", jiff::Timestamp::UNIX_EPOCH);
//! assert!(delivery.headers.iter().any(|(name, _)| *name == "x-hub-signature-256"));
//! # Ok::<(), towline_receiver::SecretError>(())
//! ```

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;
use serde_json::json;

use crate::provider::Provider;
use crate::secret::Secret;
use crate::verify::code;

/// What Git hosts write where there is no commit.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// The push a delivery tells of.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The full name within the host: `org/app`.
    pub repository: &'a str,
    /// The full name of the ref: `refs/heads/main`, `refs/tags/v1`.
    pub reference: &'a str,
    /// None: the ref is new.
    pub before: Option<&'a str>,
    /// None: the ref was deleted.
    pub after: Option<&'a str>,
}

/// A request to post: these headers, exactly this body. Has no Debug, because GitLab's token is one of the headers.
pub struct SignedDelivery {
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// A push as the provider would deliver it. For GitLab the secret decides: a signing key signs, a token is sent along.
pub fn delivery(provider: Provider, secret: &Secret, push: &Push<'_>, id: &str, now: Timestamp) -> SignedDelivery {
    sign(provider, secret, event_name(provider, push), Bytes::from(body(provider, push).to_string()), id, now)
}

/// Any body, signed as the provider would sign it.
pub fn sign(provider: Provider, secret: &Secret, event: &str, body: Bytes, id: &str, now: Timestamp) -> SignedDelivery {
    let (event_header, id_header) = match provider {
        Provider::Github => ("x-github-event", "x-github-delivery"),
        Provider::Gitea => ("x-gitea-event", "x-gitea-delivery"),
        Provider::Gitlab => ("x-gitlab-event", "webhook-id"),
    };
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        (event_header, event.to_owned()),
        (id_header, id.to_owned()),
    ];
    let hex = |key: &[u8]| code(key, &[&body]).map(|code| HEXLOWER.encode(&code)).unwrap_or_default();
    match (provider, secret.shared(), secret.signing_key()) {
        (Provider::Github, Some(key), _) => headers.push(("x-hub-signature-256", format!("sha256={}", hex(key)))),
        (Provider::Gitea, Some(key), _) => headers.push(("x-gitea-signature", hex(key))),
        (Provider::Gitlab, Some(token), _) => {
            headers.push(("x-gitlab-token", String::from_utf8_lossy(token).into_owned()));
        }
        (Provider::Gitlab, None, Some(key)) => {
            let timestamp = now.as_second().to_string();
            let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &body];
            let signature = code(key, &parts).map(|code| BASE64.encode(&code)).unwrap_or_default();
            headers.push(("webhook-timestamp", timestamp));
            headers.push(("webhook-signature", format!("v1,{signature}")));
        }
        // A secret is one or the other, and only GitLab has signing keys.
        (Provider::Github | Provider::Gitea | Provider::Gitlab, None, _) => {}
    }
    SignedDelivery { headers, body }
}

fn event_name(provider: Provider, push: &Push<'_>) -> &'static str {
    match provider {
        Provider::Github | Provider::Gitea => "push",
        Provider::Gitlab if push.reference.starts_with("refs/tags/") => "Tag Push Hook",
        Provider::Gitlab => "Push Hook",
    }
}

fn body(provider: Provider, push: &Push<'_>) -> serde_json::Value {
    let (before, after) = (push.before.unwrap_or(NO_COMMIT), push.after.unwrap_or(NO_COMMIT));
    match provider {
        Provider::Github => json!({
            "ref": push.reference,
            "before": before,
            "after": after,
            "created": push.before.is_none(),
            "deleted": push.after.is_none(),
            "forced": false,
            "repository": { "full_name": push.repository },
        }),
        Provider::Gitea => json!({
            "ref": push.reference,
            "before": before,
            "after": after,
            "repository": { "full_name": push.repository },
        }),
        Provider::Gitlab => json!({
            "object_kind": if push.reference.starts_with("refs/tags/") { "tag_push" } else { "push" },
            "ref": push.reference,
            "before": before,
            "after": after,
            "checkout_sha": push.after,
            "project": { "path_with_namespace": push.repository },
        }),
    }
}
