//! A report as it is published: signed, numbered, with its id.
//!
//! Knows the key, the incarnation and the last number given. Must not know queues: whoever seals in the order in which it
//! wants things read gets numbers that rise in this order.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use towline_proto::{ClusterName, EnvelopeError, ReportingKey, envelope};

/// Published as it stands, as often as it takes: the same bytes under the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) sequence: u64,
    pub(super) subject: String,
    /// `Nats-Msg-Id`: a stream takes it once within its window.
    pub(super) id: String,
    /// How long the stream keeps it, where not for as long as anything else.
    pub(super) ttl: Option<Duration>,
    pub(super) bytes: Bytes,
}

pub(super) struct Writer {
    cluster: ClusterName,
    key: ReportingKey,
    incarnation: u64,
    sequence: u64,
}

impl Writer {
    pub(super) fn new(cluster: ClusterName, key: ReportingKey, incarnation: u64) -> Self {
        Self { cluster, key, incarnation, sequence: 0 }
    }

    /// Numbers go on rising within the larger incarnation: what is under way is known by its number alone.
    pub(super) fn begin_again(&mut self, incarnation: u64) {
        self.incarnation = self.incarnation.max(incarnation);
    }

    pub(super) fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    pub(super) fn seal<P: Serialize>(
        &mut self,
        subject: String,
        at: Timestamp,
        payload: &P,
    ) -> Result<Sealed, EnvelopeError> {
        let sequence = self.sequence + 1;
        let key = self.key.signing_key();
        let bytes = envelope::seal(key, &subject, self.incarnation, sequence, at, payload)?;
        self.sequence = sequence;
        let id = format!("{}-{}-{sequence}", self.cluster, self.incarnation);
        Ok(Sealed { sequence, subject, id, ttl: None, bytes: bytes.into() })
    }
}
