//! GitLab, which has two schemes, by its documentation "Webhooks". With a signing token (GitLab 19.0 and later) it signs by
//! Standard Webhooks. With a secret token `X-Gitlab-Token` is the secret itself, and nothing is signed.
//!
//! Where the hook has a signing key and a delivery carries a signature, the signature decides: a token beside it, good
//! or not, changes nothing, so that a hook on its way from token to signature cannot be talked back. A hook that has
//! signing keys only takes signatures only.

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use super::compare::{Code, any_is, digest};
use super::header::proof;
use super::{Refusal, standard_webhooks};
use crate::secret::Secret;

const TOKEN: &str = "x-gitlab-token";

/// What tells one event from another with the same body: a branch that goes forth, back and forth again has three, of
/// which two are equal to the byte. The first that is there. The first (GitLab 17.4 and later) is the same when a delivery
/// is repeated; the last need not be, and then the repetition is published again, which costs a look.
const EVENT_IDS: [&str; 3] = ["idempotency-key", "webhook-id", "x-gitlab-event-uuid"];

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Code, Refusal> {
    let has_keys = secrets.iter().any(|secret| secret.signing_key().is_some());
    let has_tokens = secrets.iter().any(|secret| secret.shared().is_some());
    let is_signed = headers.contains_key(standard_webhooks::SIGNATURE);
    if has_keys && (is_signed || !has_tokens) {
        return standard_webhooks::check(secrets, headers, body, now);
    }
    check_token(secrets, headers, body)
}

fn check_token(secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
    let token = proof(headers, TOKEN)?;
    if !any_is(secrets.iter().filter_map(Secret::shared), token.as_bytes()) {
        return Err(Refusal::Wrong(TOKEN));
    }
    // Nothing is signed: who knows the token could have written the headers as well as the body.
    let event = EVENT_IDS.iter().find_map(|name| headers.get(*name)).map_or(&b""[..], HeaderValue::as_bytes);
    Ok(digest(&[&digest(&[body]), event]))
}
