//! The commit event: "look at this ref again".
//!
//! Knows what the receiver may say about a push. Must not know what anybody does about it: nothing in it is believed, and one
//! that does not decode still wakes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::names::{CommitId, RefName};
use crate::repository::RepositoryId;
use crate::version::{self, VersionError, Wire};

/// Identity (512), ref (1,024), two commit ids (128) and short texts: about 2.5 KiB, doubled where JSON escapes every byte.
pub const EVENT_BYTES_MAX: usize = 8 * 1024;

/// Twice the longest delivery id in use (64 hexadecimal digits).
pub const DELIVERY_BYTES_MAX: usize = 128;

/// A hook's path is a line of configuration.
const HOOK_BYTES_MAX: usize = 128;

/// The longest provider's name is `bitbucket-server`.
const PROVIDER_BYTES_MAX: usize = 32;

/// What the receiver publishes for a push that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitEvent {
    pub version: u32,
    pub repository: RepositoryId,
    #[serde(rename = "ref")]
    pub reference: RefName,
    /// `None`: the ref is new.
    pub before: Option<CommitId>,
    /// `None`: the ref was deleted.
    pub after: Option<CommitId>,
    pub provider: String,
    /// The path of the hook that took the delivery.
    pub hook: String,
    /// The provider's id of the delivery: what one commit is followed by in the logs.
    pub delivery: String,
    pub received_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Why an event says nothing more than "wake up".
#[derive(Debug, thiserror::Error)]
pub enum CommitEventError {
    #[error("decode the commit event: {bytes} bytes are more than the {EVENT_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("decode the commit event")]
    Content(#[source] VersionError),
}

impl CommitEvent {
    pub const VERSION: u32 = 1;

    /// The bytes to publish, never more than [`EVENT_BYTES_MAX`]: texts that are too long are cut.
    pub fn encode(&self) -> Vec<u8> {
        // Texts, numbers and a time always encode. Were that ever to change: an empty event wakes as well.
        serde_json::to_vec(&self.clone().bounded()).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, CommitEventError> {
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(CommitEventError::TooLarge { bytes: bytes.len() });
        }
        version::decode(bytes).map_err(CommitEventError::Content)
    }
}

impl Wire for CommitEvent {
    const VERSION: u32 = Self::VERSION;

    fn bounded(mut self) -> Self {
        self.provider = bounds::identifier(&self.provider, PROVIDER_BYTES_MAX);
        self.hook = bounds::identifier(&self.hook, HOOK_BYTES_MAX);
        self.delivery = bounds::identifier(&self.delivery, DELIVERY_BYTES_MAX);
        self.traceparent = self.traceparent.filter(|text| is_traceparent(text));
        self
    }
}

/// Whether this is a W3C traceparent: version, trace, parent and flags in lower-case hexadecimal digits, no id all zeros,
/// and not the version that is none.
pub fn is_traceparent(text: &str) -> bool {
    let is_id = |part: &str| part.bytes().any(|b| b != b'0');
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.splitn(5, '-');
    let (Some(version), Some(trace), Some(parent), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_id(trace)
        && is_hex(parent, 16)
        && is_id(parent)
        && is_hex(flags, 2)
}
