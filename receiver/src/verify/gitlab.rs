//! GitLab, which has two schemes. Signed (Standard Webhooks): `webhook-signature: v1,<base64>`, several separated by
//! spaces, over `{webhook-id}.{webhook-timestamp}.{body}`. Token: `X-Gitlab-Token` is the secret itself, and nothing is
//! signed.
//!
//! Where the hook has a signing key and a delivery carries a signature, the signature decides: a token beside it, good
//! or not, changes nothing, so that a hook on its way from token to signature cannot be talked back.

use data_encoding::BASE64;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use subtle::{Choice, ConstantTimeEq};

use super::{Code, Refusal, any_matches, digest, single};
use crate::secret::Secret;

pub(crate) const SIGNATURE: &str = "webhook-signature";
pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const TOKEN: &str = "x-gitlab-token";

/// What Standard Webhooks recommend: clocks differ, and a sender's queue takes its time.
pub const TIMESTAMP_WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// One per key that is being replaced, with room; each is compared with each secret.
const SIGNATURES_MAX: usize = 8;

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Code, Refusal> {
    let can_verify_signatures = secrets.iter().any(|secret| secret.signing_key().is_some());
    match single(headers, SIGNATURE)? {
        Some(signatures) if can_verify_signatures => check_signature(secrets, headers, signatures, body, now),
        Some(_) | None => check_token(secrets, headers, body),
    }
}

fn check_signature(
    secrets: &[Secret],
    headers: &HeaderMap,
    signatures: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<Code, Refusal> {
    let id = single(headers, ID)?.ok_or(Refusal::Missing(ID))?;
    let timestamp = single(headers, TIMESTAMP)?.ok_or(Refusal::Missing(TIMESTAMP))?;
    let claimed: Vec<Code> = signatures.split(' ').take(SIGNATURES_MAX).filter_map(code_from_signature).collect();
    if claimed.is_empty() {
        return Err(Refusal::Malformed(SIGNATURE));
    }
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    if !any_matches(secrets.iter().filter_map(Secret::signing_key), &parts, &claimed) {
        return Err(Refusal::Wrong(SIGNATURE));
    }
    let sent = timestamp.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let age = now.duration_since(sent.ok_or(Refusal::Malformed(TIMESTAMP))?);
    if age.abs() > TIMESTAMP_WINDOW {
        return Err(Refusal::OutsideWindow { seconds: age.as_secs() });
    }
    Ok(digest(&parts))
}

fn check_token(secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
    let token = single(headers, TOKEN)?.ok_or(Refusal::Missing(TOKEN))?;
    if token.is_empty() {
        return Err(Refusal::Malformed(TOKEN));
    }
    // Digests are compared, so that not even the length of a token can be measured.
    let claimed = digest(&[token.as_bytes()]);
    let mut found = Choice::from(0);
    for secret in secrets.iter().filter_map(Secret::shared) {
        found |= digest(&[secret]).ct_eq(&claimed);
    }
    if !bool::from(found) {
        return Err(Refusal::Wrong(TOKEN));
    }
    Ok(digest(&[body]))
}

/// Signatures of versions other than 1 are not ours to judge and are passed over.
fn code_from_signature(signature: &str) -> Option<Code> {
    BASE64.decode(signature.strip_prefix("v1,")?.as_bytes()).ok()?.try_into().ok()
}
