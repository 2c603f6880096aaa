//! GitHub: `X-Hub-Signature-256: sha256=<64 hex>` over the body, by its documentation "Validating webhook deliveries". The
//! SHA-1 signature beside it, `X-Hub-Signature`, is never believed; a delivery that has only this is told apart in the log.

use http::HeaderMap;

use super::Refusal;
use super::compare::Code;
use super::hex_hmac::{Prefix, Scheme};
use crate::secret::Secret;

const SCHEME: Scheme = Scheme { header: "x-hub-signature-256", prefix: Prefix::Sha256 };
const OLD_SIGNATURE: &str = "x-hub-signature";

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
    SCHEME.check(secrets, headers, body).map_err(|refusal| match refusal {
        Refusal::Unsigned(_) if headers.contains_key(OLD_SIGNATURE) => Refusal::OnlySha1,
        other => other,
    })
}
