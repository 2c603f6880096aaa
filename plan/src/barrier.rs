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

/// What a Sync's Inventory says, of whichever replica's pass it is, and from before a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Of the Inventory: an older one tells nothing.
    pub version: u64,
    /// At which sequence, and with which settings, its entries are what the Sync claims.
    pub judged: Option<(u64, String)>,
    /// With which settings it was applied as a whole.
    pub read: Option<String>,
    /// The Syncs among what it wants.
    pub brings: BTreeMap<SyncKey, Peer>,
}

/// All Syncs of a cluster, and those that are about to be.
#[derive(Debug, Default)]
pub struct Barrier {
    peers: BTreeMap<SyncKey, Peer>,
    /// By the Sync that brings them: what Git wants is there before the API server has it, and before it is recorded.
    expected: BTreeMap<SyncKey, BTreeMap<SyncKey, Peer>>,
    /// By passes of this process.
    judged: BTreeMap<SyncKey, (u64, String)>,
    recorded: BTreeMap<SyncKey, Recorded>,
}

impl Barrier {
    /// A Sync is there, or changed. Answers whether that is news.
    pub fn set(&mut self, sync: &SyncKey, peer: Peer) -> bool {
        self.peers.insert(sync.clone(), peer.clone()) != Some(peer)
    }

    /// A Sync is gone, or about to go: it will claim nothing more.
    pub fn remove(&mut self, sync: &SyncKey) {
        self.peers.remove(sync);
        self.recorded.remove(sync);
        self.give_up(sync);
    }

    /// Its passes are not made here any more: from here on its Inventory tells.
    pub fn give_up(&mut self, sync: &SyncKey) {
        self.expected.remove(sync);
        self.judged.remove(sync);
    }

    /// The claims of this Inventory are in the index of claims. Answers with the Syncs of which something else is expected by
    /// that than before.
    pub fn record(&mut self, sync: &SyncKey, recorded: Recorded) -> BTreeSet<SyncKey> {
        let old = self.recorded.get(sync);
        if old.is_some_and(|old| recorded.version < old.version) {
            return BTreeSet::new();
        }
        let none = BTreeMap::new();
        let (old, new) = (old.map_or(&none, |old| &old.brings), &recorded.brings);
        let all: BTreeSet<&SyncKey> = old.keys().chain(new.keys()).collect();
        let moved = all.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
        self.recorded.insert(sync.clone(), recorded);
        moved
    }

    /// The claims of a Sync at a revision are in the index of claims; these Syncs are among what it wants.
    pub fn judged(&mut self, sync: &SyncKey, sequence: u64, settings: &str, brings: BTreeMap<SyncKey, Peer>) {
        self.judged.insert(sync.clone(), (sequence, settings.to_owned()));
        // Most bring none, and all are looked through.
        match brings.is_empty() {
            true => drop(self.expected.remove(sync)),
            false => drop(self.expected.insert(sync.clone(), brings)),
        }
    }

    /// A Sync claims and brings at a revision what it did before.
    pub fn judged_as_before(&mut self, sync: &SyncKey, sequence: u64, settings: &str) {
        self.judged.insert(sync.clone(), (sequence, settings.to_owned()));
    }

    /// Whether what a Sync claims at a revision is known.
    #[must_use]
    pub fn is_judged(&self, sync: &SyncKey, sequence: u64) -> bool {
        let Some(settings) = self.settings_of(sync) else { return false };
        let recorded = self.recorded.get(sync).and_then(|recorded| recorded.judged.as_ref());
        let mut judged = self.judged.get(sync).into_iter().chain(recorded);
        judged.any(|(at, with)| (*at, with.as_str()) == (sequence, settings))
    }

    /// Which Syncs of a source may still claim something at a revision, this one aside.
    #[must_use]
    pub fn unjudged(&self, sync: &SyncKey, source: &SyncKey, sequence: u64) -> BTreeSet<SyncKey> {
        let all = self
            .peers
            .iter()
            .chain(self.brought().flatten())
            .filter(|(key, peer)| *key != sync && peer.source == *source);
        all.map(|(key, _)| key).filter(|key| !self.is_judged(key, sequence)).cloned().collect()
    }

    /// Which of the Syncs that this one brings have not claimed anything yet with the settings they are to have, whatever
    /// their source.
    #[must_use]
    pub fn unjudged_of(&self, sync: &SyncKey) -> BTreeSet<SyncKey> {
        let brings = self.expected.get(sync).into_iter().flatten();
        let has_claimed = |key: &SyncKey, settings: &String| {
            let recorded = self.recorded.get(key);
            let judged = recorded.and_then(|recorded| recorded.judged.as_ref());
            let mut with = self.judged.get(key).into_iter().chain(judged).map(|(_, with)| with);
            with.any(|with| with == settings) || recorded.and_then(|r| r.read.as_ref()) == Some(settings)
        };
        brings.filter(|(key, peer)| !has_claimed(key, &peer.settings)).map(|(key, _)| key.clone()).collect()
    }

    /// Whether a Sync is there.
    #[must_use]
    pub fn is_there(&self, sync: &SyncKey) -> bool {
        self.peers.contains_key(sync)
    }

    /// The settings that a Sync has and is to have. `None`: they are about to change, or nobody knows it.
    #[must_use]
    pub fn settings_of(&self, sync: &SyncKey) -> Option<&str> {
        let brought = self.brought().filter_map(|brings| brings.get(sync));
        let mut all = self.peers.get(sync).into_iter().chain(brought).map(|peer| peer.settings.as_str());
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    fn brought(&self) -> impl Iterator<Item = &BTreeMap<SyncKey, Peer>> {
        let recorded = self.recorded.values().map(|recorded| &recorded.brings).filter(|brings| !brings.is_empty());
        self.expected.values().chain(recorded)
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

    /// What an Inventory of this version says of a Sync that was judged at a sequence and brings another.
    fn recorded(version: u64, sequence: u64, brings: &[(&str, &str)]) -> Recorded {
        let brings = brings.iter().map(|(name, settings)| (key(name), peer(settings))).collect();
        Recorded { version, judged: Some((sequence, "1".into())), read: None, brings }
    }

    #[test]
    fn what_another_replica_or_a_process_before_brought_is_in_its_inventory() {
        let mut barrier = Barrier::default();
        barrier.set(&key("parent"), peer("1"));
        assert_eq!(barrier.record(&key("parent"), recorded(5, 7, &[("new", "1")])), [key("new")].into());
        assert_eq!(unjudged(&barrier, 7), ["new"], "it may claim something when it comes");
        assert_eq!(unjudged(&barrier, 8), ["new", "parent"]);
        barrier.set(&key("new"), peer("0"));
        barrier.record(&key("new"), Recorded { version: 6, judged: Some((7, "0".into())), ..Recorded::default() });
        assert_eq!(unjudged(&barrier, 7), ["new"], "its settings are about to change");
        assert_eq!(barrier.settings_of(&key("new")), None);
        barrier.set(&key("new"), peer("1"));
        barrier.record(&key("new"), recorded(8, 7, &[]));
        assert!(unjudged(&barrier, 7).is_empty());
        // What a watch shows that runs behind.
        assert!(barrier.record(&key("new"), recorded(7, 6, &[])).is_empty());
        assert!(unjudged(&barrier, 7).is_empty());
        assert_eq!(barrier.record(&key("parent"), recorded(9, 7, &[])), [key("new")].into());
    }

    #[test]
    fn what_a_sync_brought_that_is_anothers_now_is_not_held_against_anybody() {
        let mut barrier = Barrier::default();
        barrier.set(&key("parent"), peer("1"));
        barrier.judged(&key("parent"), 7, "1", [(key("child"), peer("1"))].into());
        assert_eq!(unjudged(&barrier, 7), ["child"]);
        barrier.give_up(&key("parent"));
        barrier.record(&key("parent"), recorded(5, 8, &[]));
        assert!(unjudged(&barrier, 8).is_empty());
    }

    #[test]
    fn who_takes_the_place_of_one_that_goes_may_be_another_replicas() {
        let mut barrier = Barrier::default();
        barrier.judged(&key("parent"), 7, "1", [(key("new"), peer("1"))].into());
        assert_eq!(barrier.unjudged_of(&key("parent")), [key("new")].into());
        barrier.record(&key("new"), Recorded { read: Some("1".into()), ..Recorded::default() });
        assert!(barrier.unjudged_of(&key("parent")).is_empty());
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
