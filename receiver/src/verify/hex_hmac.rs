//! The scheme most Git hosts share: the HMAC-SHA-256 of the body as 64 lower-case hexadecimal digits in one header, with
//! or without a word before them. Which header and which word is said by the provider's own file.

use data_encoding::HEXLOWER;
use http::HeaderMap;

use super::Refusal;
use super::compare::{Code, any_signs};
use super::header::proof;
use crate::secret::Secret;

/// One header that signs the body.
pub(super) struct Scheme {
    pub(super) header: &'static str,
    pub(super) prefix: Prefix,
}

/// What is before the digits.
#[derive(Clone, Copy)]
pub(super) enum Prefix {
    None,
    Sha256,
}

impl Scheme {
    pub(super) fn check(&self, secrets: &[Secret], headers: &HeaderMap, body: &[u8]) -> Result<Code, Refusal> {
        let signature = proof(headers, self.header)?;
        let (prefix, form) = self.prefix.facts();
        let claimed = signature.strip_prefix(prefix).and_then(code_from_hex);
        let claimed = claimed.ok_or(Refusal::Malformed { header: self.header, form })?;
        if !any_signs(secrets.iter().filter_map(Secret::shared), &[body], &[claimed]) {
            return Err(Refusal::Wrong(self.header));
        }
        // What was signed is told apart by its code, too, and hashing a body a second time would double what it costs.
        Ok(claimed)
    }
}

impl Prefix {
    /// The prefix, and the form of the header in words.
    fn facts(self) -> (&'static str, &'static str) {
        match self {
            Self::None => ("", "64 lower-case hexadecimal digits"),
            Self::Sha256 => ("sha256=", "sha256= and 64 lower-case hexadecimal digits"),
        }
    }
}

/// 64 lower-case hexadecimal digits and nothing else.
fn code_from_hex(text: &str) -> Option<Code> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
