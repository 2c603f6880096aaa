//! What the API server says of sources, Syncs and Inventories: one that changed, one that is gone, or a whole list.
//!
//! Knows which of two versions is the newer, and whose claims an Inventory holds. What follows for a source or a Sync stands
//! in its own file.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use towline_plan::inventory::Inventory as Owned;
use towline_plan::members::Matter;
use towline_plan::object::SyncKey;
use towline_plan::schedule::sync::Trigger;

use super::members::Hold;
use super::{Action, Engine, Moment, key};
use crate::api::{Inventory, ResourceExt as _};
use crate::cluster::{Change, ResourceEvent, locked};
use crate::pass::{recorded, version};

/// How long after an Inventory was let go of it is done once more, while it is there: the watch tells within a second.
const RELEASE_AGAIN: SignedDuration = SignedDuration::from_secs(5);

impl Engine {
    pub(super) fn resource(&mut self, event: ResourceEvent, at: Moment, actions: &mut Vec<Action>) {
        match event {
            ResourceEvent::Source(scope, change) => match change {
                Change::Applied(source) => self.source_applied(source, at),
                Change::Gone(source) => {
                    let key = key(&source);
                    // Another one may have taken its place already.
                    if self.sources.get(&key).is_none_or(|known| known.object.uid() == source.uid()) {
                        self.source_gone(&key);
                    }
                }
                Change::Listed(sources) => {
                    for gone in missing(self.sources.keys(), &scope, &sources) {
                        self.source_gone(&gone);
                    }
                    sources.into_iter().for_each(|source| self.source_applied(source, at));
                    self.listed.insert(("source", scope));
                }
            },
            ResourceEvent::Sync(scope, change) => match change {
                Change::Applied(sync) => self.sync_applied(sync, at, actions),
                Change::Gone(sync) => {
                    let key = key(&sync);
                    if self.syncs.get(&key).is_none_or(|known| known.object.uid() == sync.uid()) {
                        self.sync_gone(&key, actions);
                    }
                }
                Change::Listed(syncs) => {
                    for gone in missing(self.syncs.keys(), &scope, &syncs) {
                        self.sync_gone(&gone, actions);
                    }
                    syncs.into_iter().for_each(|sync| self.sync_applied(sync, at, actions));
                    self.listed.insert(("sync", scope));
                }
            },
            ResourceEvent::Inventory(scope, change) => match change {
                Change::Applied(inventory) => self.inventory_applied(inventory),
                Change::Gone(inventory) => {
                    let key = key(&inventory);
                    if self.inventories.get(&key).is_none_or(|known| known.uid() == inventory.uid()) {
                        self.inventory_gone(&key);
                    }
                }
                Change::Listed(inventories) => {
                    for gone in missing(self.inventories.keys(), &scope, &inventories) {
                        self.inventory_gone(&gone);
                    }
                    inventories.into_iter().for_each(|inventory| self.inventory_applied(inventory));
                    self.listed.insert(("inventory", scope));
                }
            },
        }
    }

    pub(super) fn inventory_applied(&mut self, inventory: Inventory) {
        let key = key(&inventory);
        let newer = self.inventories.get(&key).is_none_or(|known| is_newer(&inventory, known));
        if newer {
            let is_deleted = inventory.metadata.deletion_timestamp.is_some();
            let read = |inventory: &Inventory| inventory.spec.read.clone();
            let old = self.inventories.insert(key.clone(), inventory);
            // What another replica's pass came to may show in nothing else.
            if old.as_ref().and_then(read) != self.inventories.get(&key).and_then(read) {
                self.wake_all_dependents(&key);
            }
            if self.syncs.get(&key).is_some_and(|entry| entry.hold != Hold::Own) {
                // How far another replica has come with a Sync is known by nothing else.
                self.wake_all_dependents(&key);
                self.wake_those_who_wait_for(&key);
            }
            if !self.index(&key) || is_deleted {
                self.rebuild(&key);
            }
        }
    }

    fn inventory_gone(&mut self, key: &SyncKey) {
        self.inventories.remove(key);
        self.index(key);
        self.rebuild(key);
    }

    /// Lets inventories go whose Sync is gone, however it went: nobody else would. Again and again until they are gone: the
    /// request may fail, and does while this replica may not write yet.
    pub(super) fn release_strays(&mut self, at: Moment, actions: &mut Vec<Action>) {
        for key in std::mem::take(&mut self.stirred) {
            self.strays.entry(key).or_insert(at.now);
        }
        let (mut strays, again) =
            (std::mem::take(&mut self.strays), at.now.checked_add(RELEASE_AGAIN).unwrap_or(at.now));
        strays.retain(|key, due| {
            let Some(inventory) = self.inventories.get(key) else { return false };
            let owner = self.syncs.get(key).and_then(|entry| entry.object.uid());
            if inventory.metadata.deletion_timestamp.is_none() || owner.as_ref() == Some(&inventory.spec.sync_uid) {
                return false;
            }
            if *due <= at.now && self.share.owns(Matter::Sync(key)) {
                *due = again;
                actions.push(Action::Release(Box::new(inventory.clone())));
            }
            true
        });
        self.strays = strays;
    }

    /// When a stray is released again that is this replica's.
    pub(super) fn next_release(&self) -> Option<Timestamp> {
        let own = self.strays.iter().filter(|(key, _)| self.share.owns(Matter::Sync(key)));
        own.map(|(_, due)| *due).min()
    }

    /// At once: until then nobody else may believe the objects are free.
    fn rebuild(&mut self, key: &SyncKey) {
        if let Some(entry) = self.syncs.get_mut(key) {
            entry.schedule.want(Trigger::Settings);
        }
    }

    /// Claims count while their Sync exists, also while its inventory is lost: exactly then nobody else may believe the
    /// objects are free. What a deleted Sync left behind may be taken over. Answers `false` where there is an inventory that
    /// cannot be believed.
    pub(super) fn index(&mut self, key: &SyncKey) -> bool {
        self.stirred.insert(key.clone());
        let mut claims = locked(&self.shared.claims);
        let Some(entry) = self.syncs.get(key) else {
            claims.remove(key);
            return true;
        };
        let Some(inventory) = self.inventories.get(key) else { return true };
        let own = Some(inventory).filter(|i| Some(&i.spec.sync_uid) == entry.object.uid().as_ref());
        let owned = own.and_then(|i| Owned::from_lines(&i.spec.entries, &i.spec.digest).ok());
        let Some(owned) = owned else { return false };
        claims.replace_at(key, &owned, version(inventory));
        // One that is going brings nothing more.
        let is_going = entry.object.metadata.deletion_timestamp.is_some();
        let moved =
            if is_going { BTreeSet::new() } else { locked(&self.shared.barrier).record(key, recorded(inventory)) };
        drop(claims);
        moved.iter().for_each(|child| self.wake_those_who_wait_for(child));
        true
    }
}

/// What a complete list of a scope no longer has.
fn missing<'a, K: crate::api::ResourceExt>(
    known: impl Iterator<Item = &'a SyncKey>,
    scope: &Option<String>,
    listed: &[K],
) -> Vec<SyncKey> {
    let listed: BTreeSet<SyncKey> = listed.iter().map(key).collect();
    let in_scope = |key: &&SyncKey| scope.as_ref().is_none_or(|namespace| *namespace == key.namespace);
    known.filter(in_scope).filter(|key| !listed.contains(key)).cloned().collect()
}

/// Whether the watch says something newer than what is known: it runs behind our own writes.
pub(super) fn is_newer(new: &impl crate::api::ResourceExt, known: &impl crate::api::ResourceExt) -> bool {
    if new.uid() != known.uid() {
        return true;
    }
    let version = |object: Option<String>| object.and_then(|v| v.parse::<u128>().ok());
    match (version(new.resource_version()), version(known.resource_version())) {
        (Some(new), Some(known)) => new > known,
        _ => true,
    }
}
