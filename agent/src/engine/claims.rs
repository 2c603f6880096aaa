//! What Syncs have to know of each other's claims: who is waited for, who is asked, and who is woken.
//!
//! Knows who waits. Which Sync was judged where stands in `plan`'s barrier.

use std::collections::BTreeSet;

use towline_plan::object::SyncKey;
use towline_plan::schedule::sync::Trigger;

use super::Engine;
use crate::cluster::locked;
use crate::pass::peer;

impl Engine {
    /// A Sync came, changed or went: others reckon with what it is now.
    pub(super) fn reckon_with(&mut self, key: &SyncKey) {
        let live = self.syncs.get(key).filter(|entry| entry.object.metadata.deletion_timestamp.is_none());
        match live.map(|entry| peer(&entry.object)) {
            Some(peer) => {
                let is_news = locked(&self.shared.barrier).set(key, peer);
                if is_news {
                    self.wake_those_who_wait_for(key);
                }
            }
            None => {
                locked(&self.shared.barrier).remove(key);
                self.wake_those_who_wait_for(key);
            }
        }
    }

    /// A pass waits to hear what these claim: those that would not run by themselves do so now.
    pub(super) fn ask(&mut self, unjudged: &BTreeSet<SyncKey>) {
        for key in unjudged {
            if let Some(entry) = self.syncs.get_mut(key) {
                entry.schedule.ask();
            }
        }
    }

    /// A pass of a Sync ended: what it claims may be known now, and what it lets go of may be taken over.
    pub(super) fn claims_known(&mut self, key: &SyncKey) {
        let sequence = self.syncs.get(key).and_then(|entry| self.sources.get(&super::depends::source(&entry.object)));
        let sequence = sequence.and_then(|source| source.revision.as_ref()).map(|revision| revision.sequence);
        if sequence.is_some_and(|sequence| locked(&self.shared.barrier).is_judged(key, sequence)) {
            self.wake_those_who_wait_for(key);
        }
        // What it kept for others before, too, is no news to them: two that wait for each other would never rest.
        let Some(entry) = self.syncs.get_mut(key) else { return };
        let others: BTreeSet<SyncKey> = {
            let claims = locked(&self.shared.claims);
            let before = std::mem::replace(&mut entry.handed_over, claims.handed_over(key));
            let new = entry.handed_over.difference(&before);
            new.flat_map(|id| claims.others(id, key)).cloned().collect()
        };
        for other in others {
            if let Some(entry) = self.syncs.get_mut(&other) {
                entry.schedule.want(Trigger::Progress);
            }
        }
    }

    pub(super) fn wake_those_who_wait_for(&mut self, key: &SyncKey) {
        for entry in self.syncs.values_mut().filter(|entry| entry.unjudged.contains(key)) {
            entry.unjudged.remove(key);
            entry.schedule.want(Trigger::Progress);
        }
    }
}
