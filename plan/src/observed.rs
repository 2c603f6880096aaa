//! What was seen of the cluster, as values.
//!
//! Knows what a watch and a dry-run can tell. Must not know requests.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::diff::Detail;
use crate::letting::Letting;
use crate::object::{GroupKind, ObjectId, SyncKey};
use crate::ownership::Other;

/// The field manager Towline applies with.
pub const FIELD_MANAGER: &str = "towline";

/// Who last wrote an object's fields, other than Towline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    pub manager: String,
    pub at: Option<Timestamp>,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} at {at}", self.manager),
            None => f.write_str(&self.manager),
        }
    }
}

/// A live object that carries owner labels, by its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub uid: String,
    pub resource_version: String,
    /// Moves with everything that is not the status: see the agent's `fingerprint`.
    pub fingerprint: u64,
    /// The Sync its owner labels name; `None` where only one of the two labels is there.
    pub owner: Option<SyncKey>,
    /// Towline applied fields of it. Controllers copy labels (a Service's to its EndpointSlices, a custom resource's to what
    /// it stands for): labels alone make nothing ours.
    pub applied: bool,
    /// What its annotations say of its deletion.
    pub letting: Letting,
    /// It is deleted and not gone yet.
    pub deleting: bool,
    /// `towline.dev/reconcile: disabled`, or `towline.dev/ssa: Ignore`, on the live object.
    pub left_alone: bool,
    pub last_writer: Option<Writer>,
}

/// What is known of an object in the inventory that Git no longer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Its kind is not served or cannot be watched, discovery is stale, or the object could not be looked at: nothing may be
    /// concluded (invariant 12). Why, in words.
    Unknown(String),
    /// The API server says it does not exist.
    Absent,
    /// It exists without owner labels.
    Unlabelled,
    Present(Live),
}

/// The live object that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub uid: String,
    /// What was judged: an apply that answers with the same one changed nothing.
    pub resource_version: String,
    /// The Sync its owner labels named before it was asked what an apply would do.
    pub owner: Option<SyncKey>,
    pub deleting: bool,
    pub last_writer: Option<Writer>,
    /// What differs, where Git did not change.
    pub detail: Option<Detail>,
    /// It was found so before, and has not moved since.
    pub remembered: bool,
}

impl Found {
    /// Whether a Sync may write over what the object is now, as it was decided to: somebody wrote it since it was judged. What
    /// they changed otherwise is put right by the write; whose it is, and whether it may be written at all, is not.
    #[must_use]
    pub fn is_still(&self, live: &Live, sync: &SyncKey) -> bool {
        let is_same_owner = live.owner == self.owner || live.owner.as_ref() == Some(sync);
        live.uid == self.uid && is_same_owner && !live.left_alone && live.deleting == self.deleting
    }
}

/// What the API server says of an object Git wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// An apply would change nothing; `None`: nobody looked, because what was applied is not looked at any more.
    Clean(Option<Found>),
    /// It exists and asks to be left alone: how, in words.
    LeftAlone(String),
    /// It does not exist.
    Absent,
    /// It exists, and an apply would or might change it.
    Differs(Found),
    /// Its kind or namespace comes in an earlier stage of this pass: judged when that stage is done.
    Later,
    /// Its fields cannot be changed to what Git says, and it may be deleted and created anew: why, and which object it is.
    Immutable(String, Found),
    /// It is deleted and not gone yet; what Git wants cannot be applied before.
    Going,
    /// The API server refuses it (4xx).
    Refused(String),
    /// The API server could not judge it (5xx, timeout, its admission webhook is down).
    Unjudged(String),
}

impl Judgement {
    /// The object that was judged, where there is one that can be applied.
    #[must_use]
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Clean(found) => found.as_ref(),
            Self::Differs(found) | Self::Immutable(_, found) => Some(found),
            Self::Going | Self::LeftAlone(_) | Self::Absent | Self::Later | Self::Refused(_) | Self::Unjudged(_) => {
                None
            }
        }
    }
}

/// Everything seen for one pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// For each desired object.
    pub judgements: BTreeMap<ObjectId, Judgement>,
    /// For each object of the inventory that is no longer desired.
    pub left: BTreeMap<ObjectId, Seen>,
    /// The Jobs and Pods that ran to their end, there or gone, by their uids.
    pub finished: BTreeMap<ObjectId, String>,
    /// The Syncs that live objects' labels name, where it is another one.
    pub owners: BTreeMap<ObjectId, SyncKey>,
    /// What is known of these Syncs.
    pub others: BTreeMap<SyncKey, Other>,
    /// The kinds that definitions of the inventory define, where they are served.
    pub defined: BTreeMap<ObjectId, GroupKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_judged_is_written_over_only_while_it_is_whose_it_was() {
        let sync = |name: &str| SyncKey { namespace: "ns".into(), name: name.into() };
        let found = |owner: Option<&str>| Found {
            uid: "u".into(),
            resource_version: "1".into(),
            owner: owner.map(sync),
            deleting: false,
            last_writer: None,
            detail: None,
            remembered: false,
        };
        let live = |owner: Option<&str>| Live {
            uid: "u".into(),
            resource_version: "2".into(),
            fingerprint: 2,
            owner: owner.map(sync),
            applied: true,
            letting: Letting::Late,
            deleting: false,
            left_alone: false,
            last_writer: None,
        };
        let may = |judged, now: Live| found(judged).is_still(&now, &sync("ours"));
        assert!(may(None, live(None)) && may(Some("ours"), live(Some("ours"))));
        assert!(may(Some("gone"), live(Some("gone"))), "its labels name a Sync that is gone");
        assert!(may(None, live(Some("ours"))), "a try of ours whose answer was lost");
        assert!(!may(None, live(Some("other"))) && !may(Some("ours"), live(Some("other"))));
        assert!(!may(Some("ours"), live(None)), "its labels were taken away");
        assert!(!may(None, Live { uid: "another".into(), ..live(None) }));
        assert!(!may(None, Live { left_alone: true, ..live(None) }));
        assert!(!may(None, Live { deleting: true, ..live(None) }));
    }
}
