//! Which sources and Syncs are this replica's, and what happens when that changes.
//!
//! Knows the share that was given to it. Must not know Leases. What another replica owns is only watched: its claims count,
//! nothing is fetched, passed, said or reported for it. A Sync that comes to this replica starts as after a restart, from what
//! the API server has now: the watch may be behind what the replica before wrote.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use towline_plan::members::{Matter, Share};
use towline_plan::object::SyncKey;

use super::sync::SyncEntry;
use super::{Action, Engine, Moment, SourceKey};
use crate::api::{GitSource, Sync};
use crate::cluster::locked;

/// How long after a failed read it is tried again: long enough not to press an API server that is down.
const READ_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// Whether a Sync is this replica's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Another replica's, or nobody's yet.
    Others,
    /// It has come to this replica, and is to be read, not before a moment.
    Unread(Option<Timestamp>),
    /// It is being read, by the read of this number.
    Reading(u64),
    Own,
}

/// What this replica does for a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Fetches, orders the revisions, writes its status.
    Owner,
    /// Has Syncs of it: fetches what the owner's status names.
    Follower,
    None,
}

/// Reads Syncs that came to this replica, and their sources.
pub struct Read {
    pub number: u64,
    pub syncs: Vec<SyncKey>,
}

/// What was read of a Sync. `None`: it does not exist; an error: it or its source could not be read.
pub type ReadSync = (SyncKey, Result<Option<Box<Sync>>, String>);

impl Engine {
    /// An agent with replicas takes care of nothing until it is told its share.
    #[must_use]
    pub fn with_share(self, share: Share) -> Self {
        Self { share, ..self }
    }

    /// Whether this replica does what one does for all.
    #[must_use]
    pub fn speaks_for_all(&self) -> bool {
        self.share.owns(Matter::Cluster)
    }

    pub(super) fn hold_of_new(&self, sync: &SyncKey) -> Hold {
        match (&self.share, self.share.owns(Matter::Sync(sync))) {
            // Nobody else can have worked on it.
            (Share::All, _) => Hold::Own,
            (_, true) => Hold::Unread(None),
            (_, false) => Hold::Others,
        }
    }

    pub(super) fn role_of_new(&self) -> Role {
        if self.share == Share::All { Role::Owner } else { Role::None }
    }

    pub(super) fn divided(&mut self, share: Share) {
        self.share = share;
        let keys: Vec<SyncKey> = self.syncs.keys().cloned().collect();
        for key in keys {
            let owns = self.share.owns(Matter::Sync(&key));
            let Some(entry) = self.syncs.get_mut(&key) else { continue };
            match (entry.hold, owns) {
                (Hold::Others, true) => entry.hold = Hold::Unread(None),
                (Hold::Others, false) | (Hold::Unread(_) | Hold::Reading(_) | Hold::Own, true) => {}
                (Hold::Unread(_) | Hold::Reading(_) | Hold::Own, false) => self.lose(&key),
            }
        }
    }

    /// Its running pass is cut short; it comes back no sooner than that has ended.
    fn lose(&mut self, key: &SyncKey) {
        let Some(entry) = self.syncs.get_mut(key) else { return };
        entry.hold = Hold::Others;
        if let Some(halt) = entry.halt.take() {
            halt.cancel();
            self.leaving.insert(key.clone());
        }
        locked(&self.shared.barrier).give_up(key);
        self.index(key);
        self.shared.watches.forget_sync(key);
    }

    /// Everything that came to this replica is read at once.
    pub(super) fn start_reads(&mut self, at: Moment, actions: &mut Vec<Action>) {
        let number = self.reads + 1;
        let mut syncs = Vec::new();
        for (key, entry) in &mut self.syncs {
            if let Hold::Unread(after) = entry.hold
                && after.is_none_or(|after| after <= at.now)
            {
                entry.hold = Hold::Reading(number);
                syncs.push(key.clone());
            }
        }
        if !syncs.is_empty() {
            self.reads = number;
            actions.push(Action::Read(Read { number, syncs }));
        }
    }

    pub(super) fn read(
        &mut self,
        number: u64,
        syncs: Vec<ReadSync>,
        sources: Vec<GitSource>,
        at: Moment,
        actions: &mut Vec<Action>,
    ) {
        for source in sources {
            self.source_applied(source, at);
        }
        for (key, read) in syncs {
            let is_this = |entry: &&mut SyncEntry| entry.hold == Hold::Reading(number);
            let Some(entry) = self.syncs.get_mut(&key).filter(|entry| is_this(entry)) else { continue };
            match read {
                Ok(Some(sync)) => {
                    // Before it is this replica's: one that was deleted and created again is read again.
                    self.sync_applied(*sync, at, actions);
                    self.gain(&key, number, at);
                }
                // The watch will say so.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(sync = %key, error, "failed to read what came to this replica; it is tried again");
                    entry.hold = Hold::Unread(at.now.checked_add(READ_AGAIN).ok());
                }
            }
        }
    }

    fn gain(&mut self, key: &SyncKey, number: u64, at: Moment) {
        let Some(entry) = self.syncs.get(key).filter(|entry| entry.hold == Hold::Reading(number)) else { return };
        // Whoever had it may have begun with everything its source's status has named.
        let source = self.sources.get(&entry.source()).and_then(|source| source.object.status.as_ref());
        let named = source.and_then(|status| status.sequence).unwrap_or(0);
        let fresh = SyncEntry::new((*entry.object).clone(), Hold::Own, named, at.now);
        self.syncs.insert(key.clone(), fresh);
        // What is known of it may be older than what the replica before wrote: the pass reads it.
        self.inventories.remove(key);
        self.offer_to(key);
    }

    /// When something that came to this replica is read again.
    pub(super) fn next_read(&self, now: Timestamp) -> Option<Timestamp> {
        let after = self.syncs.values().filter_map(|entry| match entry.hold {
            Hold::Unread(after) => Some(after.unwrap_or(now)),
            Hold::Others | Hold::Reading(_) | Hold::Own => None,
        });
        after.min()
    }

    /// What this replica does for each source follows from its share and its Syncs.
    pub(super) fn assign_sources(&mut self, at: Moment) {
        if self.share == Share::All {
            return;
        }
        let ours = self.syncs.values().filter(|entry| entry.hold != Hold::Others);
        let followed: BTreeSet<SourceKey> = ours.map(SyncEntry::source).collect();
        let mut turned = Vec::new();
        for (key, entry) in &mut self.sources {
            let role = match self.share.owns(Matter::Source(key)) {
                true => Role::Owner,
                false if followed.contains(key) => Role::Follower,
                false => Role::None,
            };
            if role != entry.role {
                entry.turn(role, at);
                turned.push(key.clone());
            }
        }
        for key in turned {
            self.say_events(&key);
            self.follow(&key, at);
        }
    }
}
