//! What follows when something that was verified is judged again: by other keys, or under another demand.
//!
//! A revision that is not what is demanded is taken back: Syncs rest, and what is applied stays as it is. Must not know
//! signatures.

use towline_proto::CommitId;

use super::SourceEntry;
use crate::api::{ConditionStatus, Verdict};
use crate::engine::members::Role;
use crate::engine::{Engine, FetchFailure, SourceKey};
use crate::signature::Verified;

impl Engine {
    /// What is in use, or was recorded, is not what is demanded.
    pub(in crate::engine) fn refused(&mut self, source: &SourceKey, commit: &CommitId, failure: &FetchFailure) {
        let Some(entry) = self.sources.get_mut(source) else { return };
        tracing::warn!(%source, %commit, error = failure.message, "the revision is not verified any more; its Syncs rest");
        entry.say_failure(failure);
        if entry.role == Role::Follower {
            entry.trouble = Some(failure.message.clone());
        }
        if entry.revision.as_ref().is_some_and(|revision| revision.commit == *commit) {
            self.withdraw(source);
        }
    }

    /// Nothing of the source is worked from until something is verified again.
    pub(in crate::engine) fn withdraw(&mut self, source: &SourceKey) {
        let Some(entry) = self.sources.get_mut(source) else { return };
        entry.revision = None;
        for sync in self.syncs.values().filter(|sync| sync.source() == *source) {
            if let Some(halt) = &sync.halt {
                halt.cancel();
            }
        }
    }
}

impl SourceEntry {
    /// Whose signature it was, for the condition.
    pub(in crate::engine) fn say_verified(&mut self, verified: &Verified) {
        if !verified.signers().is_empty() {
            let message = format!("verified signature of {}", verified.signers().join(" and of "));
            self.wanted.verified =
                Some(Verdict { status: ConditionStatus::True, reason: "Succeeded".to_owned(), message });
        }
    }

    /// For its conditions.
    pub(in crate::engine) fn say_failure(&mut self, failure: &FetchFailure) {
        if self.role != Role::Owner {
            return;
        }
        let verdict = |reason: &str| {
            let (reason, message) = (reason.to_owned(), failure.message.clone());
            Verdict { status: ConditionStatus::False, reason, message }
        };
        if let Some(reason) = failure.verification {
            self.wanted.verified = Some(verdict(reason));
        }
        self.wanted.ready = Some(verdict(failure.reason));
    }
}
