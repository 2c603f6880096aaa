//! Standard Webhooks 1.0, symmetric: `webhook-signature: v1,<base64>`, several separated by spaces, over
//! `{webhook-id}.{webhook-timestamp}.{body}`; the timestamp, in seconds, must be near this clock. GitLab signs so, and the
//! generic provider is this.

use data_encoding::BASE64;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use super::{Code, Refusal, any_matches, digest, single};
use crate::secret::Secret;

pub(crate) const SIGNATURE: &str = "webhook-signature";
pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";

/// What Standard Webhooks recommend: clocks differ, and a sender's queue takes its time.
pub const TIMESTAMP_WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// One per key that is being replaced, with room; each is compared with each secret.
const SIGNATURES_MAX: usize = 8;

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Code, Refusal> {
    let signatures = single(headers, SIGNATURE)?.ok_or(Refusal::Missing(SIGNATURE))?;
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

/// Signatures of versions other than 1 are not ours to judge and are passed over.
fn code_from_signature(signature: &str) -> Option<Code> {
    BASE64.decode(signature.strip_prefix("v1,")?.as_bytes()).ok()?.try_into().ok()
}
