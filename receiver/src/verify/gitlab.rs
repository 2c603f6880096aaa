//! GitLab, which has two schemes, by its documentation "Webhooks". With a signing token it signs by Standard Webhooks. With
//! a secret token `X-Gitlab-Token` is the secret itself, and nothing is signed.
//!
//! Where the hook has a signing key and a delivery carries a signature, the signature decides: a token beside it, good
//! or not, changes nothing, so that a hook on its way from token to signature cannot be talked back.

use http::HeaderMap;
use jiff::Timestamp;

use super::{Code, Refusal, any_is, digest, single, standard_webhooks};
use crate::secret::Secret;

const TOKEN: &str = "x-gitlab-token";

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Code, Refusal> {
    let can_verify_signatures = secrets.iter().any(|secret| secret.signing_key().is_some());
    if can_verify_signatures && headers.contains_key(standard_webhooks::SIGNATURE) {
        return standard_webhooks::check(secrets, headers, body, now);
    }
    check_token(secrets, headers, body)
}

fn check_token(secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
    let token = single(headers, TOKEN)?.ok_or(Refusal::Missing(TOKEN))?;
    if token.is_empty() {
        return Err(Refusal::Malformed(TOKEN));
    }
    if !any_is(secrets.iter().filter_map(Secret::shared), token.as_bytes()) {
        return Err(Refusal::Wrong(TOKEN));
    }
    Ok(digest(&[body]))
}
