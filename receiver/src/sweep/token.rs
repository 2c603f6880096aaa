//! The token of a sweep: read from its file, shown to nobody. Has no Debug and is zeroed when dropped.

use std::path::Path;

use http::HeaderValue;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use towline_daemon::watched::{self, ReadError};

/// The longest tokens are signed ones of some hundred characters.
const FILE_BYTES_MAX: usize = 4096;

pub(super) struct Token(SecretString);

/// Why a token cannot be used. Never says what was in the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("failed to read the token file")]
    Read(#[from] ReadError),
    #[error("the token is empty, or has characters that no token has")]
    NoToken,
}

impl Token {
    /// Reads it; white space around it does not belong to it.
    pub(super) fn read(path: &Path) -> Result<Self, TokenError> {
        let bytes = watched::read(path, FILE_BYTES_MAX)?;
        let text = bytes.trim_ascii();
        if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::NoToken);
        }
        let text = std::str::from_utf8(text).map_err(|_| TokenError::NoToken)?;
        Ok(Self(SecretString::from(text)))
    }

    /// `Authorization`, marked so that it is not shown.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", self.0.expose_secret()));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Token, TokenError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Token::read(file.path())
    }

    #[test]
    fn white_space_around_it_does_not_belong_to_it_and_it_is_not_shown() {
        let value = read(b" ghp_123\r\n").unwrap().authorization().unwrap();
        assert_eq!(value, "Bearer ghp_123");
        assert!(!format!("{value:?}").contains("ghp"));
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_told() {
        for text in [&b""[..], b" \n", b"two words", b"gh\xffp", b"a\nb", &[b'a'; 5000]] {
            let Err(error) = read(text) else { panic!("{text:?} is a token") };
            assert!(!error.to_string().contains("two"));
        }
    }
}
