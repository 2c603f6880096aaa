//! Raw bytes, headers, secrets and the time to a proof that a hook's sender sent them. Pure: no clock, no file, no
//! network. Parses nothing of the body, and nothing may parse the body without a [`Verified`].
//!
//! All secrets of a hook are tried, always all of them, in constant time: how long it takes says nothing about which
//! secret was closer, and while a secret is being replaced both are good.

mod gitea;
mod github;
mod gitlab;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use towline_proto::bounds;
use towline_proto::commit_event::DELIVERY_BYTES_MAX;

use crate::provider::Provider;
use crate::secret::Secret;

pub use gitlab::TIMESTAMP_WINDOW;

/// The longest event name in use has 40 characters.
const EVENT_BYTES_MAX: usize = 64;

/// The output of SHA-256.
type Code = [u8; 32];

/// A body whose sender knows one of the hook's secrets. Made by [`verify`] only.
pub struct Verified {
    provider: Provider,
    event: String,
    delivery: String,
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
    #[error("the header {0} matches none of the hook's secrets")]
    Wrong(&'static str),
    #[error("the signature is good, and its timestamp is {seconds} seconds away from this clock")]
    OutsideWindow { seconds: i64 },
}

/// Checks who sent a body. The event's name and the delivery's id are read from headers that GitHub and Gitea do not
/// sign; they choose a parser and a log line, nothing else.
pub fn verify(
    provider: Provider,
    secrets: &[Secret],
    headers: &HeaderMap,
    body: Bytes,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let signed = match provider {
        Provider::Github => github::check(secrets, headers, &body)?,
        Provider::Gitea => gitea::check(secrets, headers, &body)?,
        Provider::Gitlab => gitlab::check(secrets, headers, &body, now)?,
    };
    let (event, delivery) = names(provider, headers);
    Ok(Verified { provider, event, delivery, body, signed })
}

/// The event's name and the delivery's id as the headers give them, made safe for a log; empty where there is none.
pub fn names(provider: Provider, headers: &HeaderMap) -> (String, String) {
    let (event, delivery): (_, &[&str]) = match provider {
        Provider::Github => ("x-github-event", &["x-github-delivery"]),
        Provider::Gitea => ("x-gitea-event", &["x-gitea-delivery"]),
        Provider::Gitlab => ("x-gitlab-event", &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"]),
    };
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    // "Push Hook" has a space, which an identifier has not.
    let event = text(event).unwrap_or_default().replace(' ', "-");
    let delivery = delivery.iter().find_map(|name| text(name)).unwrap_or_default();
    (bounds::identifier(&event, EVENT_BYTES_MAX), bounds::identifier(&delivery, DELIVERY_BYTES_MAX))
}

impl Verified {
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The event's name, spaces as hyphens.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The sender's id of the delivery.
    pub fn delivery(&self) -> &str {
        &self.delivery
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

/// 64 lower-case hexadecimal digits and nothing else.
fn code_from_hex(text: &str) -> Option<Code> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
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

fn digest(parts: &[&[u8]]) -> Code {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}
