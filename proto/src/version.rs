//! Versions of messages: a message of a later version is refused clearly, before its other fields are looked at.
//!
//! Knows the field `version` only. Fields that are unknown at a known version are ignored: adding one needs no new version.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A message with a version and bounds.
pub trait Wire: DeserializeOwned {
    /// The version this build writes, and the highest it reads.
    const VERSION: u32;

    /// Itself, with every text cut and every list shortened to what may travel.
    #[must_use]
    fn bounded(self) -> Self;
}

/// Why a message could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    #[error("decode the message: it is not a JSON object of the expected form")]
    Malformed(#[source] serde_json::Error),
    #[error("decode the message: it has no version")]
    Missing,
    #[error("decode the message: its version {found} is not one of those known here, 1 to {known}")]
    Unknown { found: u64, known: u32 },
}

#[derive(Deserialize)]
struct Probe {
    version: Option<u64>,
}

/// Reads the version, then the message, and cuts what is too long: a stranger may have written it.
pub(crate) fn decode<T: Wire>(bytes: &[u8]) -> Result<T, VersionError> {
    check(bytes, T::VERSION)?;
    let message: T = serde_json::from_slice(bytes).map_err(VersionError::Malformed)?;
    Ok(message.bounded())
}

pub(crate) fn check(bytes: &[u8], known: u32) -> Result<(), VersionError> {
    let probe: Probe = serde_json::from_slice(bytes).map_err(VersionError::Malformed)?;
    match probe.version {
        None => Err(VersionError::Missing),
        Some(found) if found == 0 || found > u64::from(known) => Err(VersionError::Unknown { found, known }),
        Some(_) => Ok(()),
    }
}
