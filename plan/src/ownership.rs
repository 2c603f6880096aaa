//! Whose an object is that Git wants: by the claims of all inventories, and by the owner labels it carries.
//!
//! Knows which of both speaks first. Must not know how labels and inventories were read.

use crate::claims::Claims;
use crate::inventory::{Entry, Inventory, State};
use crate::object::{ObjectId, SyncKey};
use crate::observed::Observed;

/// What is known of a Sync that an object's labels name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// Neither the Sync nor its Inventory exists: what it left is free.
    Gone,
    /// It exists, and this is what it owns.
    Owns(Inventory),
    /// It exists or may exist, and what it owns cannot be told: why.
    Unclear(String),
}

/// Another Sync that has an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    pub sync: SyncKey,
    /// When it claimed it; `None`: that cannot be told.
    pub claimed_at: Option<i64>,
    /// In words, with both names.
    pub why: String,
}

/// Who has an object, if not this Sync: a claim that is stronger, or labels that no claim explains.
#[must_use]
pub fn elsewhere(
    id: &ObjectId,
    sync: &SyncKey,
    entry: Option<&Entry>,
    claims: &Claims,
    observed: &Observed,
) -> Option<Elsewhere> {
    let claimed = |(other, at): (&SyncKey, i64)| Elsewhere {
        sync: other.clone(),
        claimed_at: Some(at),
        why: format!("{id} belongs to Sync {other}, not to {sync}"),
    };
    // What it let go of and wants again it claims anew.
    let is_stronger = |(other, at): &(&SyncKey, i64)| match entry.filter(|entry| entry.claimed_at != i64::MAX) {
        Some(entry) => (*at, *other) < (entry.claimed_at, sync),
        // Who has not claimed it yet comes too late, even in the same second. What is handed over waits for anybody.
        None => *at != i64::MAX,
    };
    if let Some(other) = claims.other(id, sync) {
        return Some(other).filter(is_stronger).map(claimed);
    }
    let other = observed.owners.get(id).filter(|owner| *owner != sync)?;
    let unclear = |why: &str| Elsewhere {
        sync: other.clone(),
        claimed_at: None,
        why: format!("{id} carries the labels of Sync {other}, not of {sync}, and {why}"),
    };
    // What this Sync applied and still claims is not given away by labels that anybody can write.
    let is_ours = entry.is_some_and(|entry| entry.state != State::Claimed);
    match observed.others.get(other) {
        Some(Other::Gone) => None,
        Some(Other::Unclear(_)) | None if is_ours => None,
        // What is about to be owned is in the inventory before: what is not in it has been let go.
        Some(Other::Owns(inventory)) => {
            let at = inventory.0.get(id)?.claimed_at;
            Some((other, at)).filter(is_stronger).map(claimed)
        }
        Some(Other::Unclear(why)) => Some(unclear(why)),
        None => Some(unclear("whether that has it is not known")),
    }
}
