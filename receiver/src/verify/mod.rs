//! Raw bytes, headers, secrets and the time to a proof that a hook's sender sent them. Pure: no clock, no file, no
//! network. Parses nothing of the body, and nothing may parse the body without a [`Verified`].
//!
//! All secrets of a hook are tried, always all of them, in constant time: how long it takes says nothing about which
//! secret was closer, and while a secret is being replaced both are good.

mod azure_devops;
mod bitbucket;
mod bitbucket_server;
mod forgejo;
mod generic;
mod gitea;
mod github;
mod gitlab;
mod hex_hmac;
mod names;
pub(crate) mod standard_webhooks;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::provider::Provider;
use crate::secret::Secret;

pub use names::{Names, names};
pub use standard_webhooks::TIMESTAMP_WINDOW;

/// The output of SHA-256.
type Code = [u8; 32];

/// A body whose sender knows one of the hook's secrets. Made by [`verify`] only.
pub struct Verified {
    provider: Provider,
    names: Names,
    body: Bytes,
    signed: Code,
}

/// Why a delivery is not believed: for the log of whoever runs the receiver, never for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the header {0} is missing")]
    Missing(&'static str),
    #[error("the header {0} was sent more than once")]
    Repeated(&'static str),
    #[error("the header {0} does not have the form it must have")]
    Malformed(&'static str),
    #[error("only the SHA-1 signature x-hub-signature was sent; x-hub-signature-256 is needed")]
    OnlySha1,
    #[error("the header {0} matches none of the hook's secrets")]
    Wrong(&'static str),
    #[error("the signature is good, and its timestamp is {seconds} seconds away from this clock")]
    OutsideWindow { seconds: i64 },
}

impl Refusal {
    /// A word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Repeated(_) => "repeated",
            Self::Malformed(_) => "malformed",
            Self::OnlySha1 => "only_sha1",
            Self::Wrong(_) => "wrong",
            Self::OutsideWindow { .. } => "outside_window",
        }
    }
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
    /// The delivery's id is left out where it is not signed: a stranger could make a new message of an old one with it.
    pub fn message_id(&self, subject: &str) -> String {
        let mut digest = Sha256::new();
        digest.update(self.signed);
        digest.update(self.provider.name());
        digest.update([0]);
        digest.update(subject);
        HEXLOWER.encode(&digest.finalize())
    }
}

/// A header's value if it is there exactly once, as visible ASCII.
fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Repeated(name));
    }
    value.to_str().map(Some).map_err(|_| Refusal::Malformed(name))
}

/// HMAC-SHA-256 over the concatenated parts.
pub(crate) fn code(key: &[u8], parts: &[&[u8]]) -> Option<Code> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}

/// Whether any key makes any of the claimed codes; looks at all of both.
fn any_matches<'k>(keys: impl Iterator<Item = &'k [u8]>, parts: &[&[u8]], claimed: &[Code]) -> bool {
    let mut found = Choice::from(0);
    for made in keys.filter_map(|key| code(key, parts)) {
        for claim in claimed {
            found |= made.ct_eq(claim);
        }
    }
    found.into()
}

/// Whether any of the texts is the claimed one; looks at all. Digests are compared, so that not even a length can be
/// measured.
fn any_is<'k>(texts: impl Iterator<Item = &'k [u8]>, claimed: &[u8]) -> bool {
    let claimed = digest(&[claimed]);
    let mut found = Choice::from(0);
    for text in texts {
        found |= digest(&[text]).ct_eq(&claimed);
    }
    found.into()
}

fn digest(parts: &[&[u8]]) -> Code {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}
