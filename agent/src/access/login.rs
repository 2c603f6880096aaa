//! Who we are over HTTP.
//!
//! Knows the form of the `Authorization` header.

use data_encoding::BASE64;
use secrecy::{ExposeSecret as _, SecretString};

/// One of the two forms Git hosts take.
#[derive(Clone)]
pub enum Login {
    Basic { username: String, password: SecretString },
    Bearer(SecretString),
}

impl Login {
    /// The value of the `Authorization` header.
    #[must_use]
    pub fn header(&self) -> SecretString {
        match self {
            Self::Basic { username, password } => {
                let plain = SecretString::from(format!("{username}:{}", password.expose_secret()));
                SecretString::from(format!("Basic {}", BASE64.encode(plain.expose_secret().as_bytes())))
            }
            Self::Bearer(token) => SecretString::from(format!("Bearer {}", token.expose_secret())),
        }
    }
}
