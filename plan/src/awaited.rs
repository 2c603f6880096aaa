//! Which objects Syncs ended their last pass waiting for, by name.
//!
//! Knows what about an object would be news to whom. A plain index, driven by what watches say; must not know watches.

use std::collections::{BTreeSet, HashMap};

use crate::letting::Letting;
use crate::object::{GroupKind, ObjectId, SyncKey};
use crate::observed::Live;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It is gone.
    Gone,
    /// Somebody has said that it may go, or changed what it says of that.
    Answered,
    /// Its owner labels no longer name the Sync that waits: whoever takes it over has it.
    HandedOver,
}

/// What every Sync waits for.
#[derive(Debug, Default)]
pub struct Awaited(HashMap<SyncKey, HashMap<ObjectId, Until>>);

impl Awaited {
    /// A pass of the Sync begins: it says anew what it waits for.
    pub fn forget(&mut self, sync: &SyncKey) {
        self.0.remove(sync);
    }

    pub fn expect(&mut self, sync: &SyncKey, id: &ObjectId, until: Until) {
        self.0.entry(sync.clone()).or_default().insert(id.clone(), until);
    }

    /// The Syncs to whom it is news that an object is as given; `None`: it is gone.
    #[must_use]
    pub fn moved(&self, id: &ObjectId, live: Option<&Live>) -> BTreeSet<SyncKey> {
        let is_news = |sync: &SyncKey, until: &Until| match (until, live) {
            (_, None) => true,
            (Until::Gone, Some(_)) => false,
            (Until::Answered, Some(live)) => live.deleting || live.letting != Letting::Asks,
            (Until::HandedOver, Some(live)) => live.owner.as_ref() != Some(sync),
        };
        self.waiting(|sync, waited| waited.get(id).is_some_and(|until| is_news(sync, until)))
    }

    /// The Syncs that wait for objects of a kind, of which something may have been missed.
    #[must_use]
    pub fn of_kind(&self, kind: &GroupKind) -> BTreeSet<SyncKey> {
        self.waiting(|_, waited| waited.keys().any(|id| id.kind == *kind))
    }

    fn waiting(&self, of: impl Fn(&SyncKey, &HashMap<ObjectId, Until>) -> bool) -> BTreeSet<SyncKey> {
        self.0.iter().filter(|(sync, waited)| of(sync, waited)).map(|(sync, _)| sync.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(owner: Option<&SyncKey>) -> Live {
        Live {
            uid: "u".into(),
            resource_version: "1".into(),
            fingerprint: 0,
            owner: owner.cloned(),
            applied: true,
            letting: Letting::Late,
            deleting: false,
            left_alone: false,
            last_writer: None,
        }
    }

    #[test]
    fn an_object_is_handed_over_when_its_labels_no_longer_name_who_waits() {
        let id = ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: None, name: "moves".into() };
        let key = |name: &str| SyncKey { namespace: "ns".into(), name: name.into() };
        let (old, new) = (key("old"), key("new"));
        let mut awaited = Awaited::default();
        awaited.expect(&old, &id, Until::HandedOver);
        for (what, live, is_news) in [
            ("nothing has happened", Some(labelled(Some(&old))), false),
            ("its status moved while it is deleted", Some(Live { deleting: true, ..labelled(Some(&old)) }), false),
            ("it is the other's", Some(labelled(Some(&new))), true),
            ("half of its labels are gone", Some(labelled(None)), true),
            ("it is gone, or all of its labels are", None, true),
        ] {
            assert_eq!(awaited.moved(&id, live.as_ref()) == [old.clone()].into(), is_news, "{what}");
        }
        // Both may wait for the same object: each is told what is news to it.
        awaited.expect(&new, &id, Until::HandedOver);
        assert_eq!(awaited.moved(&id, Some(&labelled(Some(&new)))), [old.clone()].into());
        assert_eq!(awaited.moved(&id, Some(&labelled(Some(&old)))), [new.clone()].into());
    }

    #[test]
    fn only_what_was_waited_for_is_news() {
        let id = |name: &str| ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: None, name: name.into() };
        let sync = SyncKey { namespace: "ns".into(), name: "s".into() };
        let live = |letting, deleting| Live { letting, deleting, ..labelled(None) };
        let mut awaited = Awaited::default();
        awaited.expect(&sync, &id("asks"), Until::Answered);
        awaited.expect(&sync, &id("goes"), Until::Gone);
        let news = BTreeSet::from([sync.clone()]);
        for (name, live, expected) in [
            ("asks", Some(live(Letting::Asks, false)), false),
            ("asks", Some(live(Letting::Late, false)), true),
            ("asks", Some(live(Letting::Asks, true)), true),
            ("asks", None, true),
            ("goes", Some(live(Letting::Late, true)), false),
            ("goes", None, true),
            ("another", None, false),
        ] {
            assert_eq!(awaited.moved(&id(name), live.as_ref()) == news, expected, "{name} {live:?}");
        }
        assert_eq!(awaited.of_kind(&GroupKind::new("", "ConfigMap")), news);
        assert!(awaited.of_kind(&GroupKind::new("", "Secret")).is_empty());
        awaited.forget(&sync);
        assert!(awaited.moved(&id("goes"), None).is_empty());
    }
}
