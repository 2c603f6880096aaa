//! Subject tokens: a name as base32, lower case, without padding.
//!
//! Knows the encoding only. Neither a dot nor a space nor a wildcard can come out, whatever goes in.

use data_encoding::BASE32_NOPAD;

/// Stands for the empty name, which base32 would turn into an empty token: two dots in a row make an invalid subject.
const EMPTY: &str = "-";

pub(crate) fn encode(name: &[u8]) -> String {
    if name.is_empty() {
        return EMPTY.to_owned();
    }
    BASE32_NOPAD.encode(name).to_ascii_lowercase()
}

/// `None` for everything [`encode`] does not produce, so that a name has one token and a token one name.
pub(crate) fn decode(token: &str) -> Option<Vec<u8>> {
    if token == EMPTY {
        return Some(Vec::new());
    }
    if token.is_empty() || token.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    BASE32_NOPAD.decode(token.to_ascii_uppercase().as_bytes()).ok()
}
