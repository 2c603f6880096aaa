//! The signed envelope around what an agent says.
//!
//! Knows signatures, subjects and rising sequences. Must not know what is inside, nor where keys come from.
//!
//! NATS lets any client of an account put a stored message on any subject, so a subject proves nothing about its writer. The
//! signature is over these bytes, each part after its length as eight bytes, big-endian:
//!
//! ```text
//! "towline-report-v1\0"
//! len(subject)  subject
//! 8             incarnation, big-endian
//! 8             sequence, big-endian
//! 16            time in nanoseconds since 1970, signed, big-endian
//! len(payload)  payload, the very bytes of the JSON in the envelope
//! ```

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::keys::{SigningKey, VerifyingKey};
use crate::version::{self, VersionError, Wire};

/// A change event at its bounds (96 KiB of changes, 4 KiB of message), doubled where JSON escapes every byte, and the rest. A
/// quarter of the megabyte a NATS server takes by default.
pub const ENVELOPE_BYTES_MAX: usize = 256 * 1024;

const VERSION: u32 = 1;
const DOMAIN: &[u8] = b"towline-report-v1\0";

/// The envelope as it travels. Reading one proves nothing: only [`open`] does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    pub version: u32,
    pub subject: String,
    /// Rises with each start of the writer.
    pub incarnation: u64,
    /// Rises with each message of an incarnation.
    pub sequence: u64,
    pub at: Timestamp,
    pub payload: Box<RawValue>,
    /// Ed25519, base64.
    pub signature: String,
}

/// Proof that the holder of a cluster's reporting key wrote this for this subject.
#[derive(Debug, Clone)]
pub struct Opened {
    incarnation: u64,
    sequence: u64,
    at: Timestamp,
    payload: Box<RawValue>,
}

/// Why a message could not be sealed, or is not believed.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error("encode the report")]
    Encode(#[source] serde_json::Error),
    #[error("fit the report into an envelope: {bytes} bytes are more than the {ENVELOPE_BYTES_MAX} allowed")]
    TooLarge { bytes: usize },
    #[error("open the envelope")]
    Content(#[source] VersionError),
    #[error("open the envelope: it was written for another subject")]
    Subject,
    #[error("open the envelope: the signature is not the cluster's")]
    Signature,
    #[error("read the report in the envelope")]
    Payload(#[source] VersionError),
}

/// Signs a payload for a subject. `incarnation` rises with each start of the writer, `sequence` with each message.
pub fn seal<P: Serialize>(
    key: &SigningKey,
    subject: &str,
    incarnation: u64,
    sequence: u64,
    at: Timestamp,
    payload: &P,
) -> Result<Vec<u8>, EnvelopeError> {
    let payload = serde_json::value::to_raw_value(payload).map_err(EnvelopeError::Encode)?;
    let signature = key.sign(&signed_bytes(subject, incarnation, sequence, at, payload.get()));
    let envelope = Envelope {
        version: VERSION,
        subject: subject.to_owned(),
        incarnation,
        sequence,
        at,
        payload,
        signature: BASE64.encode(&signature.to_bytes()),
    };
    let bytes = serde_json::to_vec(&envelope).map_err(EnvelopeError::Encode)?;
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Believes a message that came on `subject` only if the holder of `key` wrote it for this subject. That it is not an old one
/// is for [`Rising`] to say.
pub fn open(bytes: &[u8], subject: &str, key: &VerifyingKey) -> Result<Opened, EnvelopeError> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { bytes: bytes.len() });
    }
    version::check(bytes, VERSION).map_err(EnvelopeError::Content)?;
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|error| EnvelopeError::Content(VersionError::Malformed(error)))?;
    if envelope.subject != subject {
        return Err(EnvelopeError::Subject);
    }
    let Envelope { incarnation, sequence, at, payload, signature, .. } = envelope;
    let signature = BASE64.decode(signature.as_bytes()).map_err(|_| EnvelopeError::Signature)?;
    let signature = Signature::from_slice(&signature).map_err(|_| EnvelopeError::Signature)?;
    let signed = signed_bytes(subject, incarnation, sequence, at, payload.get());
    key.verify_strict(&signed, &signature).map_err(|_| EnvelopeError::Signature)?;
    Ok(Opened { incarnation, sequence, at, payload })
}

fn signed_bytes(subject: &str, incarnation: u64, sequence: u64, at: Timestamp, payload: &str) -> Vec<u8> {
    let parts: [&[u8]; 5] = [
        subject.as_bytes(),
        &incarnation.to_be_bytes(),
        &sequence.to_be_bytes(),
        &at.as_nanosecond().to_be_bytes(),
        payload.as_bytes(),
    ];
    let mut bytes = DOMAIN.to_vec();
    for part in parts {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

impl Opened {
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What was said, at a version known here and cut to its bounds.
    pub fn payload<T: Wire>(&self) -> Result<T, EnvelopeError> {
        version::decode(self.payload.get().as_bytes()).map_err(EnvelopeError::Payload)
    }
}

/// The last message believed of one writer on one subject. Replicas of an agent write events of one kind at the same time: there,
/// keep one per subject and incarnation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rising {
    last: Option<(u64, u64)>,
}

/// A message that was genuine once, and is not new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "believe the report: {incarnation}/{sequence} does not rise above {last_incarnation}/{last_sequence}, the last one believed"
)]
pub struct Replay {
    pub incarnation: u64,
    pub sequence: u64,
    pub last_incarnation: u64,
    pub last_sequence: u64,
}

impl Rising {
    /// Takes note of a message, or says that it is not newer than the last one.
    pub fn accept(&mut self, opened: &Opened) -> Result<(), Replay> {
        let (incarnation, sequence) = (opened.incarnation, opened.sequence);
        if let Some((last_incarnation, last_sequence)) = self.last
            && (incarnation, sequence) <= (last_incarnation, last_sequence)
        {
            return Err(Replay { incarnation, sequence, last_incarnation, last_sequence });
        }
        self.last = Some((incarnation, sequence));
        Ok(())
    }
}
