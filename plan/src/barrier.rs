//! Which Syncs have been judged at which revision: what they claim at it is known, so what nobody claims may go.
//!
//! Knows Syncs by source and settings, and what their passes said. A plain index; must not know passes, or who waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::object::SyncKey;

/// A Sync as others have to reckon with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub source: SyncKey,
    /// Over its settings that change what it claims: what it claimed with others says nothing.
    pub settings: String,
}

/// All Syncs of a cluster, and those that are about to be.
#[derive(Debug, Default)]
pub struct Barrier {
    peers: BTreeMap<SyncKey, Peer>,
    /// By the Sync that brings them: what Git wants is there before the API server has it.
    expected: BTreeMap<SyncKey, BTreeMap<SyncKey, Peer>>,
    judged: BTreeMap<SyncKey, (u64, String)>,
}

impl Barrier {
    /// A Sync is there, or changed.
    pub fn set(&mut self, sync: &SyncKey, peer: Peer) {
        self.peers.insert(sync.clone(), peer);
    }

    /// A Sync is gone, or about to go: it will claim nothing more.
    pub fn remove(&mut self, sync: &SyncKey) {
        self.peers.remove(sync);
        self.expected.remove(sync);
        self.judged.remove(sync);
    }

    /// The claims of a Sync at a revision are in the index of claims; these Syncs are among what it wants.
    pub fn judged(&mut self, sync: &SyncKey, sequence: u64, settings: &str, brings: BTreeMap<SyncKey, Peer>) {
        self.judged.insert(sync.clone(), (sequence, settings.to_owned()));
        self.expected.insert(sync.clone(), brings);
    }

    /// A Sync claims and brings at a revision what it did before.
    pub fn judged_as_before(&mut self, sync: &SyncKey, sequence: u64, settings: &str) {
        self.judged.insert(sync.clone(), (sequence, settings.to_owned()));
    }

    /// Whether what a Sync claims at a revision is known.
    #[must_use]
    pub fn is_judged(&self, sync: &SyncKey, sequence: u64) -> bool {
        let settings = self.settings(sync);
        let judged = self.judged.get(sync).map(|(at, with)| (*at, with.as_str()));
        settings.len() == 1 && settings.first().is_some_and(|settings| judged == Some((sequence, *settings)))
    }

    /// Which Syncs of a source may still claim something at a revision, this one aside.
    #[must_use]
    pub fn unjudged(&self, sync: &SyncKey, source: &SyncKey, sequence: u64) -> BTreeSet<SyncKey> {
        let expected = self.expected.values().flatten();
        let all = self.peers.iter().chain(expected).filter(|(key, peer)| *key != sync && peer.source == *source);
        all.map(|(key, _)| key).filter(|key| !self.is_judged(key, sequence)).cloned().collect()
    }

    /// Which of the Syncs that this one brings have not claimed anything yet with the settings they are to have, whatever
    /// their source.
    #[must_use]
    pub fn unjudged_of(&self, sync: &SyncKey) -> BTreeSet<SyncKey> {
        let brings = self.expected.get(sync).into_iter().flatten();
        let with = |key: &SyncKey| self.judged.get(key).map(|(_, settings)| settings);
        brings.filter(|(key, peer)| with(key) != Some(&peer.settings)).map(|(key, _)| key.clone()).collect()
    }

    /// The settings a Sync has, if it is there.
    #[must_use]
    pub fn settings_of(&self, sync: &SyncKey) -> Option<&str> {
        self.peers.get(sync).map(|peer| peer.settings.as_str())
    }

    /// What it has, and what those that bring it want it to have.
    fn settings(&self, sync: &SyncKey) -> BTreeSet<&str> {
        let expected = self.expected.values().filter_map(|brings| brings.get(sync));
        self.peers.get(sync).into_iter().chain(expected).map(|peer| peer.settings.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> SyncKey {
        SyncKey { namespace: "ns".into(), name: name.into() }
    }

    fn peer(settings: &str) -> Peer {
        Peer { source: key("source"), settings: settings.into() }
    }

    fn unjudged(barrier: &Barrier, sequence: u64) -> Vec<String> {
        barrier.unjudged(&key("a"), &key("source"), sequence).into_iter().map(|key| key.name).collect()
    }

    #[test]
    fn others_count_at_the_revision_and_with_their_settings() {
        let mut barrier = Barrier::default();
        barrier.set(&key("a"), peer("1"));
        barrier.set(&key("b"), peer("1"));
        barrier.set(&key("c"), Peer { source: key("another"), settings: "1".into() });
        assert_eq!(unjudged(&barrier, 2), ["b"]);
        barrier.judged(&key("b"), 1, "1", BTreeMap::new());
        assert_eq!(unjudged(&barrier, 2), ["b"], "judged at an older revision");
        barrier.judged(&key("b"), 2, "1", BTreeMap::new());
        assert!(unjudged(&barrier, 2).is_empty());
        assert_eq!(unjudged(&barrier, 1), ["b"], "it may have claimed there what it no longer does");
        barrier.set(&key("b"), peer("2"));
        assert_eq!(unjudged(&barrier, 2), ["b"], "it has another path by now");
        barrier.remove(&key("b"));
        assert!(unjudged(&barrier, 2).is_empty());
    }

    #[test]
    fn a_sync_that_another_brings_counts_before_it_is_there() {
        let mut barrier = Barrier::default();
        barrier.set(&key("parent"), peer("1"));
        assert_eq!(unjudged(&barrier, 2), ["parent"]);
        barrier.judged(&key("parent"), 2, "1", [(key("new"), peer("1"))].into());
        assert_eq!(unjudged(&barrier, 2), ["new"]);
        assert_eq!(barrier.unjudged_of(&key("parent")), [key("new")].into());
        barrier.set(&key("new"), peer("0"));
        barrier.judged(&key("new"), 2, "0", BTreeMap::new());
        assert_eq!(unjudged(&barrier, 2), ["new"], "it is about to change");
        barrier.set(&key("new"), peer("1"));
        barrier.judged(&key("new"), 2, "1", BTreeMap::new());
        assert!(unjudged(&barrier, 2).is_empty() && barrier.unjudged_of(&key("parent")).is_empty());
    }

    /// What happens to the other: its pass claims, it restarts (and forgets), its settings change, it looks again.
    fn step() -> impl Strategy<Value = (bool, u8)> {
        (any::<bool>(), 0..4_u8)
    }

    proptest! {
        /// An object moves from one Sync to another in one commit. Whatever the order of their passes, of restarts and of
        /// new settings: it is never deleted, and once both were judged it is handed over.
        #[test]
        fn what_moves_is_never_deleted(steps in proptest::collection::vec(step(), 1..30)) {
            let (mut barrier, mut claimed, mut settings) = (Barrier::default(), false, 0_u32);
            barrier.set(&key("a"), peer("0"));
            barrier.set(&key("b"), peer("0"));
            for (first, what) in steps {
                match (first, what) {
                    // The pass of the one that loses it: it deletes where nobody claims and everybody was judged.
                    (true, 0..=2) => {
                        let may_delete = barrier.unjudged(&key("a"), &key("source"), 7).is_empty();
                        prop_assert!(!may_delete || claimed);
                    }
                    // A restart: what was only remembered is gone; what was written is not.
                    (true, _) => {
                        barrier = Barrier::default();
                        barrier.set(&key("a"), peer("0"));
                        barrier.set(&key("b"), peer(&settings.to_string()));
                    }
                    // The pass of the one that gets it, which may fail after its claims are written.
                    (false, 0 | 1) => {
                        claimed = true;
                        barrier.judged(&key("b"), 7, &settings.to_string(), BTreeMap::new());
                    }
                    // It fails before.
                    (false, 2) => {}
                    (false, _) => {
                        settings += 1;
                        barrier.set(&key("b"), peer(&settings.to_string()));
                    }
                }
            }
        }
    }
}
