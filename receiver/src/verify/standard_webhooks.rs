//! Standard Webhooks 1.0, symmetric: `webhook-signature: v1,<base64>`, several separated by spaces, over
//! `{webhook-id}.{webhook-timestamp}.{body}`; the timestamp, in seconds, must be near this clock. GitLab signs so, and the
//! generic provider is this.
//!
//! An id with a dot and a time that is more than digits are refused: with them the signed text could be cut in another
//! way, so that a piece of the body, which strangers write commit messages into, becomes the time.

use data_encoding::BASE64;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use super::Refusal;
use super::compare::{Code, any_signs, digest};
use super::header::{proof, single};
use crate::secret::Secret;

pub(crate) const SIGNATURE: &str = "webhook-signature";
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";

/// What Standard Webhooks recommend: clocks differ, and a sender's queue takes its time.
pub const TIMESTAMP_WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// One per key that is being replaced, with room; each is compared with each secret.
const SIGNATURES_MAX: usize = 8;

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Code, Refusal> {
    let claimed = codes(proof(headers, SIGNATURE)?);
    let form = "v1, and base64 of 32 bytes; no more than eight of them, a space between";
    let claimed = claimed.ok_or(Refusal::Malformed { header: SIGNATURE, form })?;
    let id = single(headers, ID)?.ok_or(Refusal::Missing(ID))?;
    if id.is_empty() || id.contains('.') {
        return Err(Refusal::Malformed { header: ID, form: "an id without dots" });
    }
    let timestamp = single(headers, TIMESTAMP)?.ok_or(Refusal::Missing(TIMESTAMP))?;
    let sent = seconds(timestamp).ok_or(Refusal::Malformed { header: TIMESTAMP, form: "a time in seconds" })?;
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    if !any_signs(secrets.iter().filter_map(Secret::signing_key), &parts, &claimed) {
        return Err(Refusal::Wrong(SIGNATURE));
    }
    let age = now.duration_since(sent);
    if age.abs() > TIMESTAMP_WINDOW {
        return Err(Refusal::OutsideWindow { seconds: age.as_secs() });
    }
    Ok(digest(&parts))
}

/// The codes of version 1; there is one at least. Those of other versions are not ours to judge and are passed over.
fn codes(signatures: &str) -> Option<Vec<Code>> {
    let mut codes = Vec::new();
    for (index, signature) in signatures.split(' ').enumerate() {
        let (version, encoded) = signature.split_once(',')?;
        if index >= SIGNATURES_MAX {
            return None;
        }
        match version {
            "" => return None,
            "v1" => codes.push(BASE64.decode(encoded.as_bytes()).ok()?.try_into().ok()?),
            _other => {}
        }
    }
    Some(codes).filter(|codes| !codes.is_empty())
}

fn seconds(text: &str) -> Option<Timestamp> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    Timestamp::from_second(text.parse().ok().filter(|_| digits)?).ok()
}
