//! Azure DevOps: `Authorization: Basic <base64 of user:password>`, by its documentation "Webhooks" (service hooks). That is
//! all there is: neither the body nor the time is signed, and event and delivery are named in the body only. The event's
//! id in there tells bodies apart that would be equal otherwise.

use data_encoding::BASE64;
use http::HeaderMap;
use secrecy::zeroize::Zeroizing;

use super::Refusal;
use super::compare::{Code, any_is, digest};
use super::header::proof;
use crate::secret::Secret;

const AUTHORIZATION: &str = "authorization";

/// The scheme's name, which has no case, and the space after it.
const SCHEME: &str = "basic ";

pub(super) fn check(secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
    let malformed = Refusal::Malformed { header: AUTHORIZATION, form: "Basic and user:password in base64" };
    let credentials = credentials(proof(headers, AUTHORIZATION)?).ok_or(malformed)?;
    if !any_is(secrets.iter().filter_map(Secret::credentials), &credentials) {
        return Err(Refusal::Wrong(AUTHORIZATION));
    }
    Ok(digest(&[body]))
}

/// What is behind the scheme. Zeroed when dropped: it may be the secret.
fn credentials(value: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, encoded) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) || encoded.is_empty() {
        return None;
    }
    BASE64.decode(encoded.as_bytes()).ok().map(Zeroizing::new)
}
