//! What happens to owned objects that Git no longer has (invariant 6).
//!
//! Knows every rule of letting go, and gives a reason with each step. Must not know ceilings: whether a deletion is made at
//! all is judged by `check`.

use serde::Serialize;

use crate::claims::Claims;
use crate::letting::{ANNOTATION_PRUNE, Letting};
use crate::object::{GroupKind, ObjectId, SyncKey};
use crate::observed::Seen;

/// What happens to an owned object Git no longer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "do", content = "why", rename_all = "kebab-case")]
pub enum Prune {
    Delete {
        #[serde(skip)]
        uid: String,
        /// Before the stage of its kind is applied, and not after everything.
        early: bool,
    },
    /// It is deleted already and not gone yet.
    Going,
    /// It asks for a person's confirmation: it stays in the inventory until that is there.
    Ask,
    /// It leaves the inventory and is not touched.
    Forget(String),
    /// It stays in the inventory and is not touched.
    Keep(String),
    /// Another Sync wants it: it stays in the inventory behind that claim until its owner labels name the other. So it is
    /// never without an owner, in whichever order the two pass, and whether or not the other ever takes it.
    HandOver(String),
}

/// One object Git no longer has, and what happens to it.
#[derive(Debug, Clone, PartialEq)]
pub struct PruneStep {
    pub id: ObjectId,
    pub version: String,
    pub prune: Prune,
}

/// What the Sync says about deleting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneRules {
    pub enabled: bool,
    /// Kinds whose loss is loss of data and which may be deleted all the same.
    pub allow_kinds: Vec<String>,
}

/// Kinds whose loss is loss of data: deleted only where the Sync names them.
const PRECIOUS: &[(&str, &str)] = &[
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
];

/// Namespaces a cluster cannot be without.
const SYSTEM_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Whether the loss of a kind's objects is loss of data.
#[must_use]
pub fn is_precious(kind: &GroupKind) -> bool {
    PRECIOUS.iter().any(|(group, name)| kind.is(group, name))
}

/// What happens to one object that Git no longer has, given what is seen of it.
#[must_use]
pub fn part_with(id: &ObjectId, sync: &SyncKey, seen: Option<&Seen>, claims: &Claims, rules: &PruneRules) -> Prune {
    let live = match seen {
        None => return Prune::Keep("nothing is known of it".to_owned()),
        Some(Seen::Unknown(why)) => return Prune::Keep(why.clone()),
        Some(Seen::Absent) => return Prune::Forget("already gone".to_owned()),
        Some(Seen::Unlabelled) => return Prune::Forget("its owner labels were taken away".to_owned()),
        Some(Seen::Present(live)) => live,
    };
    match &live.owner {
        Some(owner) if owner == sync => {}
        Some(other) => return Prune::Forget(format!("its owner labels name Sync {other}")),
        None => return Prune::Forget("its owner labels were taken away".to_owned()),
    }
    // One that let go of it itself does not want it.
    if let Some((other, _)) = claims.other(id, sync).filter(|(_, at)| *at != i64::MAX) {
        return Prune::HandOver(format!("Sync {other} takes it over at its next pass"));
    }
    if !live.applied {
        return Prune::Forget("Towline applied nothing of it: its owner labels were copied".to_owned());
    }
    if !rules.enabled {
        return Prune::Forget("pruning is off".to_owned());
    }
    if live.letting == Letting::Never {
        return Prune::Forget(
            "an annotation keeps it: towline.dev/prune or towline.dev/reconcile: disabled".to_owned(),
        );
    }
    if id.kind.is("", "Namespace") && SYSTEM_NAMESPACES.contains(&id.name.as_str()) {
        return Prune::Forget("a cluster cannot be without it".to_owned());
    }
    if is_precious(&id.kind) && !rules.allow_kinds.contains(&id.kind.kind) {
        let kind = &id.kind.kind;
        return Prune::Keep(format!(
            "its loss may be loss of data: name {kind} in prunePolicy.allowKinds to delete it"
        ));
    }
    // What is decided about the living no longer matters to it.
    if live.deleting {
        return Prune::Going;
    }
    match live.letting {
        Letting::Late | Letting::Never => Prune::Delete { uid: live.uid.clone(), early: false },
        Letting::Early => Prune::Delete { uid: live.uid.clone(), early: true },
        Letting::Asks => Prune::Ask,
        Letting::Unreadable => Prune::Keep(format!(
            "its annotation {ANNOTATION_PRUNE} says what nobody understands: disabled, confirm, early and enabled are known"
        )),
    }
}
