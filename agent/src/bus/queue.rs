//! The place where loops leave reports and the publishing task takes them.
//!
//! Knows that both sides are never made to wait. Must not know what a report says.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::Report;
use super::outgoing::Outgoing;

pub(super) struct Queue {
    outgoing: Mutex<Outgoing>,
    filled: Notify,
}

impl Queue {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        Self { outgoing: Mutex::new(outgoing), filled: Notify::new() }
    }

    pub(super) fn put(&self, report: Report, at: Timestamp) {
        self.lock().put(report, at);
        self.filled.notify_one();
    }

    /// Returns when something was put since the last time.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Held for the time of a look-up or a signature, never across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, Outgoing> {
        // The queue is valid after each statement, so a panic elsewhere does not spoil it.
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
