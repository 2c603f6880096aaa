//! GitHub: `X-Hub-Signature-256: sha256=<64 hex>` over the body. The SHA-1 signature beside it is not looked at.

use http::HeaderMap;

use super::{Code, Refusal, any_matches, code_from_hex, digest, single};
use crate::secret::Secret;

pub(crate) const SIGNATURE: &str = "x-hub-signature-256";

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
    let signature = single(headers, SIGNATURE)?.ok_or(Refusal::Missing(SIGNATURE))?;
    let claimed = signature.strip_prefix("sha256=").and_then(code_from_hex).ok_or(Refusal::Malformed(SIGNATURE))?;
    if !any_matches(secrets.iter().filter_map(Secret::shared), &[body], &[claimed]) {
        return Err(Refusal::Wrong(SIGNATURE));
    }
    Ok(digest(&[body]))
}
