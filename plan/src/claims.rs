//! Which Sync claims which object, over all inventories of the cluster.
//!
//! Knows claims and which of two holds. A plain index, driven by what the watch of inventories says; must not know watches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::inventory::Inventory;
use crate::object::{ObjectId, SyncKey};

/// The claims of all Syncs. Inventories are written before objects are created, so a claim exists before its object.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    by_object: HashMap<ObjectId, BTreeMap<SyncKey, i64>>,
    by_sync: HashMap<SyncKey, Vec<ObjectId>>,
    /// The version of the inventory that was taken over last.
    versions: HashMap<SyncKey, u64>,
}

impl Claims {
    /// Takes over what a Sync's inventory says in a version: not what a watch shows that runs behind.
    pub fn replace_at(&mut self, sync: &SyncKey, inventory: &Inventory, version: u64) {
        if self.versions.get(sync).is_none_or(|known| *known <= version) {
            self.replace(sync, inventory);
            self.versions.insert(sync.clone(), version);
        }
    }

    /// Takes over what a Sync's inventory is about to say.
    pub fn replace(&mut self, sync: &SyncKey, inventory: &Inventory) {
        self.forget(sync);
        for (id, entry) in &inventory.0 {
            self.by_object.entry(id.clone()).or_default().insert(sync.clone(), entry.claimed_at);
        }
        self.by_sync.insert(sync.clone(), inventory.0.keys().cloned().collect());
    }

    /// Forgets a Sync whose inventory is gone.
    pub fn remove(&mut self, sync: &SyncKey) {
        self.forget(sync);
        self.versions.remove(sync);
    }

    fn forget(&mut self, sync: &SyncKey) {
        for id in self.by_sync.remove(sync).unwrap_or_default() {
            if let Some(claims) = self.by_object.get_mut(&id) {
                claims.remove(sync);
                if claims.is_empty() {
                    self.by_object.remove(&id);
                }
            }
        }
    }

    /// Another Sync that claims the object and since when, the strongest if there are several.
    #[must_use]
    pub fn other(&self, id: &ObjectId, sync: &SyncKey) -> Option<(&SyncKey, i64)> {
        self.strongest(id, |claimant| claimant != sync)
    }

    /// The other Syncs that claim an object.
    pub fn others(&self, id: &ObjectId, sync: &SyncKey) -> impl Iterator<Item = &SyncKey> {
        self.by_object.get(id).into_iter().flat_map(|claims| claims.keys()).filter(move |other| *other != sync)
    }

    /// What a Sync only keeps until others have it.
    #[must_use]
    pub fn handed_over(&self, sync: &SyncKey) -> BTreeSet<ObjectId> {
        let is_handed_over =
            |id: &&ObjectId| self.by_object.get(*id).and_then(|claims| claims.get(sync)) == Some(&i64::MAX);
        self.of(sync).iter().filter(is_handed_over).cloned().collect()
    }

    /// Syncs that claim something this one claims, too.
    #[must_use]
    pub fn contenders(&self, sync: &SyncKey) -> BTreeSet<SyncKey> {
        let claims = self.by_sync.get(sync).into_iter().flatten().filter_map(|id| self.by_object.get(id));
        claims.flat_map(|claims| claims.keys()).filter(|other| *other != sync).cloned().collect()
    }

    /// How many objects go with a Sync: its own, and those of the Syncs among them, and so on.
    #[must_use]
    pub fn weight(&self, sync: &SyncKey) -> usize {
        self.families([sync.clone()].into_iter()).iter().map(|sync| self.of(sync).len()).sum()
    }

    /// Syncs and those among what they claim, and so on.
    #[must_use]
    pub fn families(&self, syncs: impl Iterator<Item = SyncKey>) -> BTreeSet<SyncKey> {
        let (mut seen, mut left): (_, Vec<SyncKey>) = (BTreeSet::new(), syncs.collect());
        while let Some(sync) = left.pop() {
            // Two that own each other would go on for ever.
            if !seen.contains(&sync) {
                left.extend(self.of(&sync).iter().filter_map(ObjectId::as_sync));
                seen.insert(sync);
            }
        }
        seen
    }

    /// What other Syncs claim and since when, in no order.
    pub fn of_others(&self, sync: &SyncKey) -> impl Iterator<Item = (&ObjectId, &SyncKey, i64)> {
        let all = self.by_object.iter().flat_map(|(id, claims)| claims.iter().map(move |(by, at)| (id, by, *at)));
        all.filter(move |(_, by, _)| *by != sync)
    }

    /// The Syncs that claim anything, in no order.
    pub fn syncs(&self) -> impl Iterator<Item = &SyncKey> {
        self.by_sync.keys()
    }

    fn of(&self, sync: &SyncKey) -> &[ObjectId] {
        self.by_sync.get(sync).map(Vec::as_slice).unwrap_or_default()
    }

    fn strongest(&self, id: &ObjectId, of: impl Fn(&SyncKey) -> bool) -> Option<(&SyncKey, i64)> {
        self.by_object.get(id)?.iter().filter(|(s, _)| of(s)).map(|(s, at)| (s, *at)).min_by_key(|(s, at)| (*at, *s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Entry, State};
    use crate::object::GroupKind;

    #[test]
    fn the_older_claim_holds_then_the_smaller_name() {
        let sync = |name: &str| SyncKey { namespace: "ns".into(), name: name.into() };
        let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("x".into()), name: "c".into() };
        let inventory = |claimed_at| {
            let entry = Entry { version: "v1".into(), uid: None, digest: None, claimed_at, state: State::Claimed };
            Inventory([(id.clone(), entry)].into())
        };
        let mut claims = Claims::default();
        claims.replace(&sync("b"), &inventory(10));
        claims.replace(&sync("c"), &inventory(10));
        claims.replace(&sync("d"), &inventory(11));
        assert_eq!(claims.other(&id, &sync("a")), Some((&sync("b"), 10)));
        claims.remove(&sync("c"));
        claims.remove(&sync("d"));
        assert_eq!(claims.other(&id, &sync("b")), None);
        claims.replace_at(&sync("b"), &inventory(10), 7);
        claims.replace_at(&sync("b"), &Inventory::default(), 6);
        assert_eq!(claims.other(&id, &sync("a")), Some((&sync("b"), 10)), "older than what is known");
        claims.remove(&sync("b"));
        assert_eq!(claims.other(&id, &sync("a")), None);
    }
}
