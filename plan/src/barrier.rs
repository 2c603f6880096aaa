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
    use crate::claims::Claims;
    use crate::decide::{Apply, Plan, Situation, decide};
    use crate::desired::Desired;
    use crate::inventory::{Entry, Inventory, State};
    use crate::letting::Letting;
    use crate::object::{GroupKind, ObjectId, Origin};
    use crate::observed::{Found, Judgement, Live, Observed, Seen};
    use crate::part::{Prune, PruneRules};

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

    /// One object that moves from Sync `a` to Sync `b` in the commit of sequence 7; decided by what really decides.
    struct Model {
        barrier: Barrier,
        claims: Claims,
        inventories: BTreeMap<SyncKey, Inventory>,
        /// Whom its labels name; `None`: it was deleted.
        owner: Option<SyncKey>,
        settings: u32,
        now: i64,
    }

    fn id() -> ObjectId {
        ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "moves".into() }
    }

    fn desired() -> Desired {
        Desired {
            id: id(),
            version: "v1".into(),
            value: serde_json::Value::Null,
            digest: "new".into(),
            origin: Origin { path: String::new(), line: 1 },
            policy: Default::default(),
            awaits_definition: false,
            namespace_in_set: false,
            ignored: Default::default(),
        }
    }

    impl Model {
        fn new() -> Self {
            let entry = Entry { version: "v1".into(), uid: None, digest: None, claimed_at: 1, state: State::Applied };
            let inventories = [(key("a"), Inventory([(id(), entry)].into())), (key("b"), Inventory::default())].into();
            let (barrier, claims) = Default::default();
            let mut model = Self { barrier, claims, inventories, owner: Some(key("a")), settings: 0, now: 10 };
            model.restart();
            model
        }

        /// What was only remembered is gone; what was written is not.
        fn restart(&mut self) {
            (self.barrier, self.claims) = Default::default();
            self.barrier.set(&key("a"), peer("0"));
            self.barrier.set(&key("b"), peer(&self.settings.to_string()));
            for (sync, inventory) in &self.inventories {
                self.claims.replace(sync, inventory);
            }
        }

        fn decide(&mut self, sync: &SyncKey, desired: Vec<Desired>) -> Plan {
            self.now += 1;
            let live = self.owner.clone().map(|owner| Live {
                uid: "u".into(),
                resource_version: "1".into(),
                fingerprint: 0,
                owner: Some(owner),
                applied: true,
                letting: Letting::Late,
                deleting: false,
                left_alone: false,
                last_writer: None,
            });
            let (uid, resource_version) = ("u".to_owned(), "1".to_owned());
            let owner = self.owner.clone();
            let found = Found {
                uid,
                resource_version,
                owner,
                deleting: false,
                last_writer: None,
                detail: None,
                remembered: false,
            };
            let seen = live.map_or(Seen::Absent, Seen::Present);
            let observed = Observed {
                judgements: desired.iter().map(|d| (d.id.clone(), Judgement::Differs(found.clone()))).collect(),
                left: [(id(), seen)].into(),
                ..Observed::default()
            };
            let plan = decide(Situation {
                sync,
                desired,
                left_alone: &BTreeSet::new(),
                inventory: &self.inventories[sync],
                observed: &observed,
                claims: &self.claims,
                on_drift: Default::default(),
                prune: &PruneRules { enabled: true, allow_kinds: Vec::new() },
                now: self.now,
            });
            let settings = if *sync == key("b") { self.settings.to_string() } else { "0".to_owned() };
            self.write(sync, plan.inventory.clone());
            self.barrier.judged(sync, 7, &settings, BTreeMap::new());
            plan
        }

        fn write(&mut self, sync: &SyncKey, inventory: Inventory) {
            self.claims.replace(sync, &inventory);
            self.inventories.insert(sync.clone(), inventory);
        }

        /// The pass of the one that loses it.
        fn loses(&mut self) {
            let plan = self.decide(&key("a"), Vec::new());
            for step in plan.prune {
                match step.prune {
                    Prune::Delete { .. } if self.barrier.unjudged(&key("a"), &key("source"), 7).is_empty() => {
                        self.owner = None;
                    }
                    Prune::Forget(_) => self.write(&key("a"), Inventory::default()),
                    _ => {}
                }
            }
        }

        /// The pass of the one that gets it; `whole`: it does not end when its claims are written.
        fn gets(&mut self, whole: bool) {
            let plan = self.decide(&key("b"), vec![desired()]);
            let takes = matches!(plan.apply[0].apply, Apply::Create | Apply::Configure | Apply::Revert(_));
            if takes && whole {
                self.owner = Some(key("b"));
                let mut inventory = plan.inventory;
                if let Some(entry) = inventory.0.get_mut(&id()) {
                    entry.state = State::Applied;
                }
                self.write(&key("b"), inventory);
            }
        }
    }

    proptest! {
        /// Whatever the order of their passes, of restarts, of new settings and of passes that end half-way: it is never
        /// deleted, and once both have passed in peace it is the other's, and in no other Inventory.
        #[test]
        fn what_moves_is_never_deleted(steps in proptest::collection::vec(0..6_u8, 0..30)) {
            let mut model = Model::new();
            for step in steps {
                match step {
                    0 | 1 => model.loses(),
                    2 => model.gets(true),
                    3 => model.gets(false),
                    4 => model.restart(),
                    _ => {
                        model.settings += 1;
                        model.barrier.set(&key("b"), peer(&model.settings.to_string()));
                    }
                }
                prop_assert!(model.owner.is_some(), "it was deleted");
            }
            for _ in 0..2 {
                model.gets(true);
                model.loses();
            }
            prop_assert_eq!(&model.owner, &Some(key("b")));
            prop_assert!(model.inventories[&key("a")].0.is_empty());
            prop_assert!(model.inventories[&key("b")].0.contains_key(&id()));
        }
    }
}
