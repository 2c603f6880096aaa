//! Why something signed is refused, in words that an operator can act on.
//!
//! Names keys by fingerprint and id. Must not show contents of keys, signatures or commits.

use jiff::Timestamp;

/// What was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Refusal {
    /// The object: `commit 1234…` or `tag v1.2.3`.
    pub what: String,
    /// It is a tag's signature that is refused, not a commit's.
    pub is_tag: bool,
    pub why: Why,
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("it is not signed")]
    Unsigned,
    #[error("it is signed with {key}, which is not among the keys of the Secret")]
    UnknownKey { key: String },
    #[error("the signature with {key} is not one of this content: either was changed")]
    Mismatch { key: String },
    #[error("{key} expired at {at}, before this was signed")]
    ExpiredWhenSigned { key: String, at: Timestamp },
    #[error(
        "{key} expired at {at}, after this was signed; put a renewed key into the Secret, or sign with another one"
    )]
    Expired { key: String, at: Timestamp },
    #[error("{key} is not valid before {at}, and this was signed before that")]
    NotYetValid { key: String, at: Timestamp },
    #[error("{key} is revoked")]
    Revoked { key: String },
    #[error("{key} is not one for signing")]
    NotForSigning { key: String },
    #[error("{key} has no valid self-signature with a strong hash")]
    Unbound { key: String },
    #[error("{key} is too weak: RSA below 2048 bits, DSA and unknown algorithms are refused")]
    WeakKey { key: String },
    #[error("the signature uses the hash {hash}; at least SHA-256 is asked for")]
    WeakHash { hash: String },
    #[error("it was signed at {at}, which is still to come: one of the clocks is wrong")]
    FromFuture { at: Timestamp },
    #[error("the signature itself expired at {at}")]
    SignatureExpired { at: Timestamp },
    #[error("it carries several signatures, and exactly one is asked for")]
    Several,
    #[error("it carries a gpgsig-sha256 header, a signature over another form of it; that is not supported")]
    Sha256Header,
    #[error("it is signed with an X.509 certificate (gpgsm); OpenPGP and SSH signatures are supported")]
    X509,
    #[error("the form of its signature is not known; OpenPGP and SSH signatures are supported")]
    UnknownForm,
    #[error("its signature cannot be read: {cause}")]
    Unreadable { cause: String },
    #[error("it was signed for the namespace {namespace:?}, not for \"git\"")]
    Namespace { namespace: String },
    #[error("it is not formed as Git forms it: {cause}")]
    Malformed { cause: &'static str },
    #[error("the ref names a commit, not an annotated tag: there is no tag that could be signed")]
    Lightweight,
    #[error("verification of tags is asked for, and the ref to follow is not a tag")]
    NoTag,
    #[error("the tag calls itself {named:?}: it was signed for another ref")]
    TagName { named: String },
    #[error("the tag names {object}, not this commit")]
    TagTarget { object: String },
    #[error("{path} was changed, which {key} may not; keys in {allowed} may")]
    NotAllowed { path: String, key: String, allowed: String },
}
