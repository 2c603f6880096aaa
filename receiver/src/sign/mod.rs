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

mod body;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;

use crate::provider::Provider;
use crate::secret::Secret;
use crate::verify::code;

const GITLAB_TOKEN: &str = "x-gitlab-token";
const AUTHORIZATION: &str = "authorization";

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

/// A request to post: these headers, exactly this body. Has no Debug, because some headers are the secret itself.
pub struct SignedDelivery {
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// Whether a header carries the secret itself; a signature gives nothing away.
pub fn is_secret(header: &str) -> bool {
    [GITLAB_TOKEN, AUTHORIZATION].contains(&header)
}

/// A push as the provider would deliver it. For GitLab the secret decides: a signing key signs, a token is sent along.
pub fn delivery(provider: Provider, secret: &Secret, push: &Push<'_>, id: &str, now: Timestamp) -> SignedDelivery {
    let body = Bytes::from(body::of_push(provider, push, id).to_string());
    sign(provider, secret, event_name(provider, push), body, id, now)
}

/// Any body, signed as the provider would sign it. Where event and id have no header they are for the body to say.
pub fn sign(provider: Provider, secret: &Secret, event: &str, body: Bytes, id: &str, now: Timestamp) -> SignedDelivery {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    let (event_header, id_header) = name_headers(provider);
    headers.extend(event_header.map(|name| (name, event.to_owned())));
    headers.extend(id_header.map(|name| (name, id.to_owned())));
    headers.extend(proof(provider, secret, &body, id, now));
    SignedDelivery { headers, body }
}

/// The headers of the event's name and the delivery's id.
fn name_headers(provider: Provider) -> (Option<&'static str>, Option<&'static str>) {
    match provider {
        Provider::Github => (Some("x-github-event"), Some("x-github-delivery")),
        Provider::Gitlab => (Some("x-gitlab-event"), Some("webhook-id")),
        Provider::Gitea => (Some("x-gitea-event"), Some("x-gitea-delivery")),
        Provider::Forgejo => (Some("x-forgejo-event"), Some("x-forgejo-delivery")),
        Provider::Bitbucket => (Some("x-event-key"), Some("x-request-uuid")),
        Provider::BitbucketServer => (Some("x-event-key"), Some("x-request-id")),
        Provider::AzureDevops => (None, None),
        Provider::Generic => (None, Some("webhook-id")),
    }
}

/// The headers that prove who sent it; none where the secret is of another kind than the provider takes, which
/// [`Secret::parse`] does not make.
fn proof(provider: Provider, secret: &Secret, body: &[u8], id: &str, now: Timestamp) -> Vec<(&'static str, String)> {
    let hex = |name, prefix: &str| {
        let made = secret.shared().and_then(|key| code(key, &[body]));
        made.map(|code| vec![(name, format!("{prefix}{}", HEXLOWER.encode(&code)))]).unwrap_or_default()
    };
    match provider {
        Provider::Github => hex("x-hub-signature-256", "sha256="),
        Provider::Gitea => hex("x-gitea-signature", ""),
        Provider::Forgejo => hex("x-forgejo-signature", ""),
        Provider::Bitbucket | Provider::BitbucketServer => hex("x-hub-signature", "sha256="),
        Provider::Gitlab => match secret.shared() {
            Some(token) => vec![(GITLAB_TOKEN, String::from_utf8_lossy(token).into_owned())],
            None => standard_webhooks(secret, body, id, now),
        },
        Provider::Generic => standard_webhooks(secret, body, id, now),
        Provider::AzureDevops => {
            let credentials = secret.credentials().map(|bytes| format!("Basic {}", BASE64.encode(bytes)));
            credentials.map(|value| (AUTHORIZATION, value)).into_iter().collect()
        }
    }
}

fn standard_webhooks(secret: &Secret, body: &[u8], id: &str, now: Timestamp) -> Vec<(&'static str, String)> {
    let timestamp = now.as_second().to_string();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let made = secret.signing_key().and_then(|key| code(key, &parts));
    let signature = made.map(|code| format!("v1,{}", BASE64.encode(&code)));
    signature
        .map(|signature| vec![("webhook-timestamp", timestamp), ("webhook-signature", signature)])
        .unwrap_or_default()
}

fn event_name(provider: Provider, push: &Push<'_>) -> &'static str {
    match provider {
        Provider::Github | Provider::Gitea | Provider::Forgejo | Provider::Generic => "push",
        Provider::Gitlab if push.is_tag() => "Tag Push Hook",
        Provider::Gitlab => "Push Hook",
        Provider::Bitbucket => "repo:push",
        Provider::BitbucketServer => "repo:refs_changed",
        Provider::AzureDevops => "git.push",
    }
}

impl Push<'_> {
    fn is_tag(&self) -> bool {
        self.reference.starts_with("refs/tags/")
    }
}
