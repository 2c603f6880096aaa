//! The scheme most Git hosts share: the HMAC-SHA-256 of the body as 64 lower-case hexadecimal digits in one header, with
//! or without a word before them. Which header and which word is said by the provider's own file.

use data_encoding::HEXLOWER;
use http::HeaderMap;

use super::{Code, Refusal, any_matches, digest, single};
use crate::secret::Secret;

/// One header that signs the body.
pub(super) struct Scheme {
    pub(super) header: &'static str,
    pub(super) prefix: &'static str,
}

impl Scheme {
    pub(super) fn check(&self, secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
        let signature = single(headers, self.header)?.ok_or(Refusal::Missing(self.header))?;
        let claimed = signature.strip_prefix(self.prefix).and_then(code_from_hex);
        let claimed = claimed.ok_or(Refusal::Malformed(self.header))?;
        if !any_matches(secrets.iter().filter_map(Secret::shared), &[body], &[claimed]) {
            return Err(Refusal::Wrong(self.header));
        }
        Ok(digest(&[body]))
    }
}

/// 64 lower-case hexadecimal digits and nothing else.
fn code_from_hex(text: &str) -> Option<Code> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
