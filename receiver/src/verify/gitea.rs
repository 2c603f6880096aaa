//! Gitea: `X-Gitea-Signature: <64 hex>` over the body. It sends GitHub's header too; only its own is looked at.

use http::HeaderMap;

use super::{Code, Refusal, any_matches, code_from_hex, digest, single};
use crate::secret::Secret;

pub(crate) const SIGNATURE: &str = "x-gitea-signature";

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
    let signature = single(headers, SIGNATURE)?.ok_or(Refusal::Missing(SIGNATURE))?;
    let claimed = code_from_hex(signature).ok_or(Refusal::Malformed(SIGNATURE))?;
    if !any_matches(secrets.iter().filter_map(Secret::shared), &[body], &[claimed]) {
        return Err(Refusal::Wrong(SIGNATURE));
    }
    Ok(digest(&[body]))
}
