//! The live objects a cluster's watches show, and the verdicts remembered about them.
//!
//! A plain index, driven by what watches and applies say: which objects carry owner labels, and which of them were found
//! equal to what Git wants. An object whose fingerprint moves away from its verdict has drifted. Must not know watches.

use std::collections::{BTreeSet, HashMap};

use crate::object::{GroupKind, ObjectId, SyncKey};
use crate::observed::Live;

/// Live objects and verdicts of one cluster.
#[derive(Debug, Default)]
pub struct Watched {
    kinds: HashMap<GroupKind, Kind>,
    verdicts: HashMap<ObjectId, Verdict>,
}

#[derive(Debug, Default)]
struct Kind {
    live: HashMap<ObjectId, Live>,
    /// A first list is complete and the watch goes on.
    synced: bool,
    /// Seen so far by a list under way.
    listing: Option<BTreeSet<ObjectId>>,
}

/// "This live object is what this digest wants."
#[derive(Debug)]
struct Verdict {
    sync: SyncKey,
    digest: String,
    uid: String,
    fingerprint: u64,
    resource_version: String,
    drifted: bool,
    /// Recorded since the list under way began: that list may not know the object yet.
    newer_than_list: bool,
}

impl Watched {
    /// A list of the kind begins: at the start, or after a watch was lost.
    pub fn begin_list(&mut self, kind: &GroupKind) {
        self.kinds.entry(kind.clone()).or_default().listing = Some(BTreeSet::new());
        for (_, verdict) in self.verdicts.iter_mut().filter(|(id, _)| id.kind == *kind) {
            verdict.newer_than_list = false;
        }
    }

    /// The list is complete: what it did not name is gone. Answers with the Syncs whose objects went.
    pub fn end_list(&mut self, kind: &GroupKind) -> BTreeSet<SyncKey> {
        let entry = self.kinds.entry(kind.clone()).or_default();
        entry.synced = true;
        let Some(listed) = entry.listing.take() else { return BTreeSet::new() };
        entry.live.retain(|id, _| listed.contains(id));
        let gone = self
            .verdicts
            .iter_mut()
            .filter(|(id, v)| id.kind == *kind && !listed.contains(*id) && !v.newer_than_list && !v.drifted);
        gone.map(|(_, verdict)| {
            verdict.drifted = true;
            verdict.sync.clone()
        })
        .collect()
    }

    /// The watch of the kind ended for good (its definition went): nothing is known of it any more. Answers with the Syncs
    /// that had verdicts about it: they must look for themselves.
    pub fn unwatch(&mut self, kind: &GroupKind) -> BTreeSet<SyncKey> {
        self.kinds.remove(kind);
        let dropped = self.verdicts.extract_if(|id, _| id.kind == *kind);
        dropped.map(|(_, verdict)| verdict.sync).collect()
    }

    /// An object is as given. Answers with its Sync if it has drifted by that.
    pub fn applied(&mut self, id: ObjectId, live: Live) -> Option<SyncKey> {
        let drifted = match self.verdicts.get_mut(&id) {
            // The watch runs behind our own writes: what it says of an older state is history.
            Some(verdict) if !is_newer(&live.resource_version, &verdict.resource_version) => None,
            Some(verdict) if verdict.uid == live.uid && verdict.fingerprint == live.fingerprint => {
                verdict.resource_version.clone_from(&live.resource_version);
                None
            }
            Some(verdict) => mark(verdict),
            None => None,
        };
        let kind = self.kinds.entry(id.kind.clone()).or_default();
        if let Some(listed) = &mut kind.listing {
            listed.insert(id.clone());
        }
        kind.live.insert(id, live);
        drifted
    }

    /// An object is gone, or lost its owner labels. Answers with its Sync if it has drifted by that.
    pub fn deleted(&mut self, id: &ObjectId, uid: &str, resource_version: &str) -> Option<SyncKey> {
        if let Some(kind) = self.kinds.get_mut(&id.kind) {
            kind.live.remove(id);
        }
        // Of a predecessor with the same name, or of labels that a pass has put back since: history, both.
        let verdict = self.verdicts.get_mut(id)?;
        let current = verdict.uid == uid && is_newer(resource_version, &verdict.resource_version);
        if current { mark(verdict) } else { None }
    }

    /// Whether a first list of the kind is complete.
    #[must_use]
    pub fn is_synced(&self, kind: &GroupKind) -> bool {
        self.kinds.get(kind).is_some_and(|k| k.synced)
    }

    #[must_use]
    pub fn live(&self, id: &ObjectId) -> Option<&Live> {
        self.kinds.get(&id.kind)?.live.get(id)
    }

    /// The fingerprint of the newest state known of an object: by the watch, or by what a dry-run or an apply answered.
    #[must_use]
    pub fn fingerprint(&self, id: &ObjectId) -> Option<u64> {
        let (live, verdict) = (self.live(id), self.verdicts.get(id));
        match (live, verdict) {
            (Some(live), Some(verdict)) if !is_newer(&verdict.resource_version, &live.resource_version) => {
                Some(live.fingerprint)
            }
            (_, Some(verdict)) => Some(verdict.fingerprint),
            (live, None) => live.map(|live| live.fingerprint),
        }
    }

    /// All objects whose owner labels name the Sync.
    #[must_use]
    pub fn owned_by(&self, sync: &SyncKey) -> Vec<(&ObjectId, &Live)> {
        let live = self.kinds.values().flat_map(|kind| &kind.live);
        live.filter(|(_, live)| live.owner.as_ref() == Some(sync)).collect()
    }

    /// Remembers that `live`, as a dry-run or an apply answered it, is what `digest` wants.
    /// Answers whether the watch has already seen it move on from there.
    pub fn remember(&mut self, sync: &SyncKey, id: &ObjectId, digest: &str, live: &Live) -> bool {
        let seen = self.kinds.get(&id.kind).and_then(|kind| kind.live.get(id));
        let drifted = seen.is_some_and(|seen| {
            is_newer(&seen.resource_version, &live.resource_version) && seen.fingerprint != live.fingerprint
        });
        let verdict = Verdict {
            sync: sync.clone(),
            digest: digest.to_owned(),
            uid: live.uid.clone(),
            fingerprint: live.fingerprint,
            resource_version: live.resource_version.clone(),
            drifted,
            newer_than_list: true,
        };
        self.verdicts.insert(id.clone(), verdict);
        drifted
    }

    /// Remembers how an object is that is not what Git wants and stays so: that it changes is told all the same.
    pub fn look_out(&mut self, sync: &SyncKey, id: &ObjectId, live: &Live) {
        // No desired state has this digest.
        self.remember(sync, id, "", live);
    }

    /// Forgets a verdict: before a delete, and when an object leaves the Sync.
    pub fn forget(&mut self, id: &ObjectId) {
        self.verdicts.remove(id);
    }

    /// Forgets all verdicts of a Sync: it is gone, or everything is to be judged anew.
    pub fn forget_sync(&mut self, sync: &SyncKey) {
        self.verdicts.retain(|_, verdict| verdict.sync != *sync);
    }

    /// The uid of an object that is known to be what `digest` wants, with no request made.
    #[must_use]
    pub fn clean(&self, id: &ObjectId, digest: &str) -> Option<&str> {
        self.verdicts.get(id).filter(|v| !v.drifted && v.digest == digest).map(|v| v.uid.as_str())
    }
}

fn mark(verdict: &mut Verdict) -> Option<SyncKey> {
    (!std::mem::replace(&mut verdict.drifted, true)).then(|| verdict.sync.clone())
}

/// Resource versions are decimal numbers that grow (KEP-5504); one that is not counts as newer, which costs a dry-run.
fn is_newer(a: &str, b: &str) -> bool {
    match (a.parse::<u128>(), b.parse::<u128>()) {
        (Ok(a), Ok(b)) => a > b,
        _ => a != b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letting::Letting;

    fn id() -> ObjectId {
        ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: Some("ns".into()), name: "c".into() }
    }

    fn sync() -> SyncKey {
        SyncKey { namespace: "ns".into(), name: "s".into() }
    }

    fn live(resource_version: u32, fingerprint: u64) -> Live {
        Live {
            uid: "u".into(),
            resource_version: resource_version.to_string(),
            fingerprint,
            owner: Some(sync()),
            applied: true,
            letting: Letting::Late,
            deleting: false,
            left_alone: false,
            last_writer: None,
        }
    }

    fn watched() -> Watched {
        let mut watched = Watched::default();
        watched.remember(&sync(), &id(), "d", &live(10, 1));
        watched
    }

    #[test]
    fn our_own_writes_are_not_drift() {
        let mut watched = watched();
        assert_eq!(watched.applied(id(), live(9, 0)), None, "the watch is behind");
        assert_eq!(watched.applied(id(), live(10, 1)), None);
        assert_eq!(watched.applied(id(), live(11, 1)), None, "a status update");
        assert_eq!(watched.clean(&id(), "d"), Some("u"));
        assert_eq!(watched.clean(&id(), "e"), None);
    }

    #[test]
    fn a_moved_fingerprint_is_drift_and_said_once() {
        let mut watched = watched();
        assert_eq!(watched.applied(id(), live(11, 2)), Some(sync()));
        assert_eq!(watched.applied(id(), live(12, 3)), None);
        assert_eq!(watched.clean(&id(), "d"), None);
        assert!(!watched.remember(&sync(), &id(), "d", &live(13, 1)));
        assert_eq!(watched.clean(&id(), "d"), Some("u"));
    }

    #[test]
    fn a_change_seen_before_the_verdict_is_not_lost() {
        let mut watched = Watched::default();
        watched.applied(id(), live(11, 2));
        assert!(watched.remember(&sync(), &id(), "d", &live(10, 1)));
        assert_eq!(watched.clean(&id(), "d"), None);
    }

    #[test]
    fn the_newest_state_is_the_watchs_or_our_own() {
        let mut watched = Watched::default();
        assert_eq!(watched.fingerprint(&id()), None);
        watched.remember(&sync(), &id(), "d", &live(10, 1));
        assert_eq!(watched.fingerprint(&id()), Some(1), "the watch has not seen it");
        watched.applied(id(), live(9, 0));
        assert_eq!(watched.fingerprint(&id()), Some(1), "the watch is behind");
        watched.applied(id(), live(11, 2));
        assert_eq!(watched.fingerprint(&id()), Some(2));
        watched.forget(&id());
        assert_eq!(watched.fingerprint(&id()), Some(2));
    }

    #[test]
    fn a_deletion_is_drift_but_not_that_of_a_predecessor() {
        let mut watched = watched();
        assert_eq!(watched.deleted(&id(), "older", "11"), None);
        assert_eq!(watched.deleted(&id(), "u", "10"), None, "its labels were put back since");
        assert_eq!(watched.deleted(&id(), "u", "11"), Some(sync()));
        let mut watched = self::watched();
        watched.forget(&id());
        assert_eq!(watched.deleted(&id(), "u", "11"), None, "we deleted it ourselves");
    }

    #[test]
    fn with_a_kind_its_verdicts_go_and_their_syncs_are_named() {
        let mut watched = watched();
        let other = ObjectId { kind: GroupKind::new("", "Secret"), ..id() };
        let bystander = SyncKey { namespace: "ns".into(), name: "bystander".into() };
        watched.remember(&bystander, &other, "d", &live(10, 1));
        watched.applied(id(), live(10, 1));
        assert_eq!(watched.unwatch(&id().kind), BTreeSet::from([sync()]));
        assert_eq!((watched.live(&id()), watched.clean(&id(), "d")), (None, None));
        assert_eq!(watched.clean(&other, "d"), Some("u"));
        assert_eq!(watched.unwatch(&id().kind), BTreeSet::new());
    }

    #[test]
    fn a_new_list_finds_what_went_while_the_watch_was_away() {
        let mut watched = watched();
        let kind = id().kind;
        watched.begin_list(&kind);
        assert!(!watched.is_synced(&kind));
        assert_eq!(watched.end_list(&kind), BTreeSet::from([sync()]));
        assert!(watched.is_synced(&kind));
        watched.begin_list(&kind);
        watched.remember(&sync(), &id(), "d", &live(12, 1));
        assert_eq!(watched.end_list(&kind), BTreeSet::new(), "created while the list was under way");
    }
}
