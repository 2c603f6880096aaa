//! A hook's secret: what it is made of and where it is kept. Has no Debug, is zeroed when dropped, and leaves this type
//! only as a borrowed key inside `verify` and `sign`.

use std::path::Path;
use std::sync::Arc;

use data_encoding::{BASE64, BASE64_NOPAD};
use secrecy::{ExposeSecret, SecretSlice};
use subtle::ConstantTimeEq;
use towline_daemon::watched::{self, ReadError};

use crate::provider::Provider;

/// What Standard Webhooks put before a signing key.
const SIGNING_KEY_PREFIX: &[u8] = b"whsec_";

/// GitHub's longest is 255 characters; a file that is larger is not a secret but a mistake.
pub(crate) const FILE_BYTES_MAX: usize = 4096;

/// What a sender and this hook share. Clones share the one place in memory where it is.
#[derive(Clone)]
pub struct Secret(Arc<Kind>);

enum Kind {
    /// Text as it was typed into the Git host's form: an HMAC key, or GitLab's token.
    Shared(SecretSlice<u8>),
    /// A Standard Webhooks key, decoded.
    SigningKey(SecretSlice<u8>),
    /// `user:password`, as basic authentication sends it; the user may be empty.
    Credentials(SecretSlice<u8>),
}

/// Why a secret cannot be used. Never says what was in the file.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("failed to read the secret file")]
    Read(#[from] ReadError),
    #[error("the secret is empty")]
    Empty,
    #[error("the secret starts with whsec_ and is not a base64 key after it")]
    SigningKey,
    #[error("the secret of a generic hook is a Standard Webhooks key: whsec_ and a base64 key after it")]
    NoSigningKey,
    #[error("the secret is user:password, and there is no password after the colon")]
    NoPassword,
}

impl Secret {
    /// Reads a secret from a file; line breaks at its end do not belong to it.
    pub fn read(provider: Provider, path: &Path) -> Result<Self, SecretError> {
        Self::parse(provider, &watched::read(path, FILE_BYTES_MAX)?)
    }

    /// A secret from its text. `whsec_…` is a signing key for GitLab, where it need not be one, and for generic hooks, where
    /// it must; for the others it is text like any other. For Azure DevOps it is `user:password`.
    pub fn parse(provider: Provider, text: &[u8]) -> Result<Self, SecretError> {
        let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        let text = &text[..end];
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(SecretError::Empty);
        }
        let kind = match (provider, text.strip_prefix(SIGNING_KEY_PREFIX)) {
            (Provider::Gitlab | Provider::Generic, Some(encoded)) => Kind::SigningKey(signing_key(encoded)?),
            (Provider::Generic, None) => return Err(SecretError::NoSigningKey),
            (Provider::AzureDevops, _) => Kind::Credentials(credentials(text)?),
            (
                Provider::Github
                | Provider::Gitlab
                | Provider::Gitea
                | Provider::Forgejo
                | Provider::Bitbucket
                | Provider::BitbucketServer,
                _,
            ) => Kind::Shared(text.to_vec().into()),
        };
        Ok(Self(Arc::new(kind)))
    }

    /// Whether two hooks believe the same sender. In constant time.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.bytes().ct_eq(other.bytes()).into()
    }

    fn bytes(&self) -> &[u8] {
        match &*self.0 {
            Kind::Shared(bytes) | Kind::SigningKey(bytes) | Kind::Credentials(bytes) => bytes.expose_secret(),
        }
    }

    /// The shared text, if this is one.
    pub(crate) fn shared(&self) -> Option<&[u8]> {
        match &*self.0 {
            Kind::Shared(text) => Some(text.expose_secret()),
            Kind::SigningKey(_) | Kind::Credentials(_) => None,
        }
    }

    /// The decoded signing key, if this is one.
    pub(crate) fn signing_key(&self) -> Option<&[u8]> {
        match &*self.0 {
            Kind::SigningKey(key) => Some(key.expose_secret()),
            Kind::Shared(_) | Kind::Credentials(_) => None,
        }
    }

    /// `user:password`, if this is one.
    pub(crate) fn credentials(&self) -> Option<&[u8]> {
        match &*self.0 {
            Kind::Credentials(text) => Some(text.expose_secret()),
            Kind::Shared(_) | Kind::SigningKey(_) => None,
        }
    }
}

fn signing_key(encoded: &[u8]) -> Result<SecretSlice<u8>, SecretError> {
    let key = BASE64.decode(encoded).or_else(|_| BASE64_NOPAD.decode(encoded));
    let key = key.ok().filter(|key| !key.is_empty()).ok_or(SecretError::SigningKey)?;
    Ok(key.into())
}

/// Without a colon the text is the password of a user without a name: Azure DevOps' form leaves the name free. The first
/// colon ends the name, so a password with a colon in it needs one before it.
fn credentials(text: &[u8]) -> Result<SecretSlice<u8>, SecretError> {
    match text.iter().position(|byte| *byte == b':') {
        Some(colon) if colon + 1 == text.len() => Err(SecretError::NoPassword),
        Some(_) => Ok(text.to_vec().into()),
        None => Ok([b":", text].concat().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_at_the_end_do_not_belong_to_it() {
        let secret = Secret::parse(Provider::Github, b" a b\r\n\n").unwrap();
        assert_eq!(secret.shared(), Some(&b" a b"[..]));
        assert!(matches!(Secret::parse(Provider::Github, b" \n"), Err(SecretError::Empty)));
    }

    #[test]
    fn a_signing_key_is_gitlabs_only() {
        let text = b"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n";
        let key = Secret::parse(Provider::Gitlab, text).unwrap();
        assert_eq!(key.signing_key().map(<[u8]>::len), Some(24));
        assert!(key.shared().is_none());
        assert!(Secret::parse(Provider::Gitea, text).unwrap().signing_key().is_none());
        for bad in [&b"whsec_"[..], b"whsec_***", b"whsec_abc%"] {
            assert!(matches!(Secret::parse(Provider::Gitlab, bad), Err(SecretError::SigningKey)));
        }
    }

    #[test]
    fn a_missing_file_is_an_error_without_its_content() {
        let error = Secret::read(Provider::Github, Path::new("/nowhere/secret")).err().unwrap();
        assert!(towline_daemon::error::chain(&error).starts_with("failed to read the secret file: "));
    }
}
