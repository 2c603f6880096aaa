//! Reporting keys: the Ed25519 pair with which a cluster signs what it says.
//!
//! Knows how keys are written. Must not know files or how a seed was drawn. It is not the cluster's NATS key.

use data_encoding::BASE64;
pub use ed25519_dalek::{SigningKey, VerifyingKey};

/// A cluster's signing key; zeroed when dropped, and without `Debug` so that no log can hold it.
pub struct ReportingKey(SigningKey);

/// Why a text is no key. The text is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("read the reporting key: it must be a seed of 32 bytes in base64")]
    Seed,
    #[error("read the verifying key: it must be 32 bytes in base64")]
    Verifying,
    #[error("read the verifying key: it is not a point that can be trusted")]
    Weak,
}

impl ReportingKey {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// From a file's content: the seed in base64, space around it ignored.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut bytes = BASE64.decode(text.trim().as_bytes()).map_err(|_| KeyError::Seed)?;
        let seed = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyError::Seed);
        bytes.fill(0);
        let mut seed = seed?;
        let key = Self::from_seed(&seed);
        seed.fill(0);
        Ok(key)
    }

    pub fn signing_key(&self) -> &SigningKey {
        &self.0
    }

    pub fn verifying_key(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// What the hub is told: the public half in base64.
    pub fn verifying_key_text(&self) -> String {
        verifying_key_text(&self.verifying_key())
    }
}

pub fn verifying_key_text(key: &VerifyingKey) -> String {
    BASE64.encode(key.as_bytes())
}

pub fn parse_verifying_key(text: &str) -> Result<VerifyingKey, KeyError> {
    let bytes = BASE64.decode(text.trim().as_bytes()).map_err(|_| KeyError::Verifying)?;
    let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyError::Verifying)?;
    let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Weak)?;
    if key.is_weak() { Err(KeyError::Weak) } else { Ok(key) }
}
