//! Sources of other replicas: fetched beside their owner, in the order the owner gives.
//!
//! A follower hears the same events and fetches at the same time, so that a push is handled no later than by the owner. But
//! what Syncs work from, and its place in the order, is what the owner has written into the source's status; a follower never
//! writes it, and does not poll.

use std::sync::Arc;

use super::members::Role;
use super::{Brought, Engine, FetchFailure, Moment, SourceKey};
use crate::pass::Revision;

impl Engine {
    /// Takes up what the status names, where it has been fetched; asks for it, where not.
    pub(super) fn follow(&mut self, source: &SourceKey, at: Moment) {
        let Some(entry) = self.sources.get_mut(source).filter(|entry| entry.role == Role::Follower) else { return };
        let Some(named) = entry.recorded() else {
            entry.schedule.poll(false, at.now);
            return;
        };
        match &entry.fetched {
            Some((mirror, verified)) if *verified.commit() == named.commit => {
                let delivery = entry.delivery.take();
                tracing::info!(%source, revision = named.name, sequence = named.sequence, delivery, "revision taken up");
                entry.mirror = Some(mirror.clone());
                entry.revision = Some(Revision { about: Some(Arc::clone(verified.about())), delivery, ..named });
                (entry.trouble, entry.asked) = (None, None);
                entry.schedule.poll(false, at.now);
                self.offer(source);
            }
            _ if entry.asked.as_ref() == Some(&named.commit) => {}
            // It may bring just that.
            _ if entry.schedule.is_fetching() => {}
            _ => {
                entry.asked = Some(named.commit.clone());
                entry.schedule.wake(Some(named.commit), at.now);
                // A host that does not serve it for now is asked again, and not only a few times.
                entry.schedule.poll(true, at.now);
            }
        }
    }

    pub(super) fn fetched_to_follow(&mut self, source: &SourceKey, result: Result<Brought, FetchFailure>, at: Moment) {
        let Some(entry) = self.sources.get_mut(source) else { return };
        match result {
            Ok(Brought { mirror, verified, .. }) => {
                entry.schedule.fetched(verified.commit(), at.now, at.dice);
                entry.trouble = None;
                entry.fetched = Some((mirror, verified));
                self.follow(source, at);
            }
            Err(failure) => {
                tracing::warn!(%source, error = failure.message, "fetch failed; the last good state stays");
                entry.schedule.failed(failure.retryable, at.now, at.dice);
                entry.trouble = Some(format!("the replica that runs this Sync cannot fetch: {}", failure.message));
            }
        }
    }
}
