//! Azure DevOps: `Authorization: Basic <base64 of user:password>`, by its documentation "Webhooks with Azure DevOps". That is
//! all there is: neither the body nor the time is signed, and event and delivery are named in the body only.

use data_encoding::BASE64;
use http::HeaderMap;
use secrecy::zeroize::Zeroizing;

use super::{Code, Refusal, any_is, digest, single};
use crate::secret::Secret;

const AUTHORIZATION: &str = "authorization";

/// The scheme's name and the space after it.
const SCHEME: &str = "basic ";

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
    let value = single(headers, AUTHORIZATION)?.ok_or(Refusal::Missing(AUTHORIZATION))?;
    let credentials = credentials(value).ok_or(Refusal::Malformed(AUTHORIZATION))?;
    if !any_is(secrets.iter().filter_map(Secret::credentials), &credentials) {
        return Err(Refusal::Wrong(AUTHORIZATION));
    }
    Ok(digest(&[body]))
}

/// What is behind the scheme, whose name has no case. Zeroed when dropped: it may be the secret.
fn credentials(value: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, encoded) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    BASE64.decode(encoded.as_bytes()).ok().map(Zeroizing::new)
}
