//! Raw bytes, headers, secrets and the time to a proof that a hook's sender sent them. Pure: no clock, no file, no
//! network. Parses nothing of the body, and nothing may parse the body without a [`Verified`].
//!
//! One file per provider says what it sends and where that is written; `hex_hmac` and `standard_webhooks` are schemes that
//! several share, `compare` is where secrets are compared.

mod azure_devops;
mod bitbucket;
mod bitbucket_server;
mod compare;
mod forgejo;
mod generic;
mod gitea;
mod github;
mod gitlab;
mod header;
mod hex_hmac;
mod names;
mod refusal;
mod standard_webhooks;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use self::compare::Code;
use crate::provider::Provider;
use crate::secret::Secret;

pub(crate) use compare::code;
pub use names::{Names, names};
pub use refusal::Refusal;
pub use standard_webhooks::TIMESTAMP_WINDOW;

/// A body whose sender knows one of the hook's secrets. Made by [`verify`] only.
pub struct Verified {
    provider: Provider,
    names: Names,
    body: Bytes,
    /// Stands for all signed bytes: their digest, or their HMAC.
    signed: Code,
}

/// Checks who sent a body. The event's name and the delivery's id are read from headers that most providers do
/// not sign; they choose a parser and a log line, nothing else.
pub fn verify(
    provider: Provider,
    secrets: &[Secret],
    headers: &HeaderMap,
    body: Bytes,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let signed = match provider {
        Provider::Github => github::check(secrets, headers, &body)?,
        Provider::Gitlab => gitlab::check(secrets, headers, &body, now)?,
        Provider::Gitea => gitea::SCHEME.check(secrets, headers, &body)?,
        Provider::Forgejo => forgejo::SCHEME.check(secrets, headers, &body)?,
        Provider::Bitbucket => bitbucket::SCHEME.check(secrets, headers, &body)?,
        Provider::BitbucketServer => bitbucket_server::SCHEME.check(secrets, headers, &body)?,
        Provider::AzureDevops => azure_devops::check(secrets, headers, &body)?,
        Provider::Generic => generic::check(secrets, headers, &body, now)?,
    };
    let (event, delivery) = names::headers_of(provider);
    event.iter().chain(delivery).try_for_each(|name| header::once(headers, name))?;
    Ok(Verified { provider, names: names(provider, headers), body, signed })
}

impl Verified {
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The event's name as the headers give it, spaces as hyphens.
    pub fn event(&self) -> &str {
        &self.names.event
    }

    /// What the headers call the delivery.
    pub fn names(&self) -> &Names {
        &self.names
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What makes two deliveries one: all signed bytes, the provider, and where the event goes (repository and ref).
    /// The delivery's id is left out where the body is signed and it is not: a stranger could make a new message of an old
    /// one with it. Bodies of two pushes differ there by a time (GitHub's `pushed_at`) or an id.
    pub fn message_id(&self, subject: &str) -> String {
        let mut digest = Sha256::new();
        digest.update(self.signed);
        digest.update(self.provider.name());
        digest.update([0]);
        digest.update(subject);
        HEXLOWER.encode(&digest.finalize())
    }
}
