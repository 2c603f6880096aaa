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

/// What Standard Webhooks ask for. Their longest is 64 bytes; some senders have longer ones, which are no worse.
const SIGNING_KEY_BYTES_MIN: usize = 24;

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
    #[error("the signing key after whsec_ has less than {SIGNING_KEY_BYTES_MIN} bytes")]
    ShortSigningKey,
    #[error("the secret of a generic hook is a Standard Webhooks key: whsec_ and a base64 key after it")]
    NoSigningKey,
    #[error("GitLab's token is sent in a header: printable ASCII, no space at either end")]
    Token,
    #[error("the secret is user:password, and there is no password after the colon")]
    NoPassword,
    #[error("user:password cannot hold control characters, line breaks among them")]
    ControlCharacter,
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
        if text.iter().all(|byte| b" \t\r\n".contains(byte)) {
            return Err(SecretError::Empty);
        }
        let signing_key_text = text.strip_prefix(SIGNING_KEY_PREFIX);
        let kind = match provider {
            Provider::Gitlab => match signing_key_text {
                Some(encoded) => Kind::SigningKey(signing_key(encoded)?),
                None => Kind::Shared(token(text)?),
            },
            Provider::Generic => Kind::SigningKey(signing_key(signing_key_text.ok_or(SecretError::NoSigningKey)?)?),
            Provider::AzureDevops => Kind::Credentials(credentials(text)?),
            Provider::Github
            | Provider::Gitea
            | Provider::Forgejo
            | Provider::Bitbucket
            | Provider::BitbucketServer => Kind::Shared(text.to_vec().into()),
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
    let key = key.map_err(|_| SecretError::SigningKey)?;
    if key.is_empty() {
        return Err(SecretError::SigningKey);
    }
    if key.len() < SIGNING_KEY_BYTES_MIN {
        return Err(SecretError::ShortSigningKey);
    }
    Ok(key.into())
}

/// Another text could be typed into GitLab's form, and would never be received as it was typed.
fn token(text: &[u8]) -> Result<SecretSlice<u8>, SecretError> {
    let spaced = text.starts_with(b" ") || text.ends_with(b" ");
    if spaced || !text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(SecretError::Token);
    }
    Ok(text.to_vec().into())
}

/// Without a colon the text is the password of a user without a name: Azure DevOps' form leaves the name free. The first
/// colon ends the name, so a password with a colon in it needs one before it.
fn credentials(text: &[u8]) -> Result<SecretSlice<u8>, SecretError> {
    if text.iter().any(u8::is_ascii_control) {
        return Err(SecretError::ControlCharacter);
    }
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

    const KEY: &[u8] = b"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn error(provider: Provider, text: &[u8]) -> Option<String> {
        Secret::parse(provider, text).err().map(|error| error.to_string())
    }

    #[test]
    fn a_signing_key_is_gitlabs_and_the_generic_ones() {
        for provider in Provider::ALL {
            let secret = Secret::parse(provider, KEY).unwrap();
            let signs = matches!(provider, Provider::Gitlab | Provider::Generic);
            assert_eq!(secret.signing_key().map(<[u8]>::len), signs.then_some(24), "{provider}");
        }
        for provider in [Provider::Gitlab, Provider::Generic] {
            for bad in [&b"whsec_"[..], b"whsec_***", b"whsec_abc%", b"whsec_ C2FVsBQIhrscChlQIMV+b5sSYspob7oD"] {
                assert!(matches!(Secret::parse(provider, bad), Err(SecretError::SigningKey)));
            }
            assert!(matches!(Secret::parse(provider, b"whsec_b3RoZXI="), Err(SecretError::ShortSigningKey)));
        }
        for bad in [&b"secret"[..], b"WHSEC_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", b"C2FVsBQIhrscChlQIMV+b5sSYspob7oD"] {
            assert!(matches!(Secret::parse(Provider::Generic, bad), Err(SecretError::NoSigningKey)));
        }
    }

    #[test]
    fn gitlabs_token_must_survive_a_header() {
        assert!(Secret::parse(Provider::Gitlab, b"a token: with ~ everything!").is_ok());
        for bad in [&b" token"[..], b"token ", b"to\nken", b"to\tken", "tok\u{e9}n".as_bytes()] {
            assert!(matches!(Secret::parse(Provider::Gitlab, bad), Err(SecretError::Token)));
        }
    }

    #[test]
    fn credentials_without_a_user_are_the_password_alone() {
        let credentials = |text: &[u8]| {
            Secret::parse(Provider::AzureDevops, text)
                .map(|secret| String::from_utf8(secret.credentials().unwrap().to_vec()).unwrap())
        };
        assert_eq!(credentials(b"user:password\n").unwrap(), "user:password");
        assert_eq!(credentials(b"user:pass:word").unwrap(), "user:pass:word");
        assert_eq!(credentials(b"password").unwrap(), ":password");
        assert_eq!(credentials(b":pass:word").unwrap(), ":pass:word");
        assert!(matches!(credentials(b"user:"), Err(SecretError::NoPassword)));
        assert!(matches!(credentials(b":"), Err(SecretError::NoPassword)));
        assert!(matches!(credentials(b"user\npassword"), Err(SecretError::ControlCharacter)));
    }

    #[test]
    fn no_error_says_what_was_in_the_file() {
        for provider in Provider::ALL {
            for text in [&b"whsec_hunter2"[..], b"hunter2\nhunter2", b"hunter2 ", b"hunter2:", b"whsec_aHVudGVyMg=="] {
                let said = error(provider, text).unwrap_or_default();
                assert!(!said.contains("hunter2") && !said.contains("aHVudGVyMg"), "{provider}: {said}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_an_error_without_its_content() {
        let error = Secret::read(Provider::Github, Path::new("/nowhere/secret")).err().unwrap();
        assert!(towline_daemon::error::chain(&error).starts_with("failed to read the secret file: "));
    }
}
