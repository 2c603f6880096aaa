//! The only place where something received is compared with something secret. Always in constant time, always with all of
//! a hook's secrets: how long it takes says nothing about which was closer, and while a secret is being replaced both are
//! good. Knows keys and bytes, no header.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The output of SHA-256.
pub(crate) type Code = [u8; 32];

/// HMAC-SHA-256 over the concatenated parts.
pub(crate) fn code(key: &[u8], parts: &[&[u8]]) -> Option<Code> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}

/// Whether any key makes any of the claimed codes; looks at all of both.
pub(super) fn any_signs<'k>(keys: impl Iterator<Item = &'k [u8]>, parts: &[&[u8]], claimed: &[Code]) -> bool {
    let mut found = Choice::from(0);
    for made in keys.filter_map(|key| code(key, parts)) {
        for claim in claimed {
            found |= made.ct_eq(claim);
        }
    }
    found.into()
}

/// Whether any of the texts is the claimed one; looks at all. Digests are compared, so that not even a length can be
/// measured.
pub(super) fn any_is<'k>(texts: impl Iterator<Item = &'k [u8]>, claimed: &[u8]) -> bool {
    let claimed = digest(&[claimed]);
    let mut found = Choice::from(0);
    for text in texts {
        found |= digest(&[text]).ct_eq(&claimed);
    }
    found.into()
}

/// SHA-256 over the concatenated parts.
pub(super) fn digest(parts: &[&[u8]]) -> Code {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever secret is the right one, as many are tried.
    #[test]
    fn no_secret_is_passed_over() {
        let secrets: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
        for right in secrets.iter().chain(&[&b"none of them"[..]]) {
            let claimed = [code(right, &[b"body"]).unwrap()];
            let mut tried = 0;
            let signs = any_signs(secrets.iter().copied().inspect(|_| tried += 1), &[b"body"], &claimed);
            assert_eq!((signs, tried), (secrets.contains(right), 4));
            let mut tried = 0;
            let is = any_is(secrets.iter().copied().inspect(|_| tried += 1), right);
            assert_eq!((is, tried), (secrets.contains(right), 4));
        }
    }

    /// No secrets believe nobody, not even who claims nothing.
    #[test]
    fn nothing_matches_nothing() {
        assert!(!any_signs(std::iter::empty(), &[b""], &[[0; 32]]));
        assert!(!any_signs([&b"k"[..]].into_iter(), &[b""], &[]));
        assert!(!any_is(std::iter::empty(), b""));
    }
}
