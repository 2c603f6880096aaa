//! Desired, owned and seen: what is to be done.
//!
//! Knows every rule of creating, changing and keeping, and gives a reason with each step; what Git no longer has is `part`'s.
//! Must not know how steps are done; whether they may be done at all is judged by `check`.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use crate::claims::Claims;
use crate::contents::{self, Around};
use crate::desired::Desired;
use crate::diff::Drift;
use crate::inventory::{Entry, Inventory, State};
use crate::object::{GroupKind, ObjectId, SyncKey};
use crate::observed::{Found, Judgement, Observed};
use crate::order;
use crate::ownership;
use crate::part::{Prune, PruneRules, PruneStep, is_precious, part_with};
use crate::policy::Ssa;

/// What happens to an object Git wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "do", content = "why", rename_all = "kebab-case")]
pub enum Apply {
    /// It is as it should be.
    Keep,
    /// The live object asks to be left alone: how, in words.
    Leave(String),
    /// It does not exist and was never there.
    Create,
    /// Git changed it, or it is adopted.
    Configure,
    /// Git did not change, the cluster did: what happened to it.
    Revert(Drift),
    /// Git did not change, the cluster did, and that is to stay so: what happened to it.
    Drifted(Drift),
    /// It is deleted and created anew, because its fields cannot be changed and it allows that: why.
    Recreate(String),
    /// It is deleted and not gone yet; it is created when it is.
    AwaitEnd,
    /// Judged when the stages before it are done, and what goes before its own is deleted.
    WhenDefined,
    /// The API server refuses it; its stage is not begun.
    Refuse(String),
    /// It is another Sync's; its stage is not begun.
    Conflict(String),
    /// It cannot be judged now; it and later stages wait for the next pass.
    HoldBack(String),
}

/// What follows when an object is not as it was applied, and Git did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDrift {
    /// It is put back.
    #[default]
    Revert,
    /// It is reported, and stays.
    Warn,
    /// Nobody looks.
    Disregard,
}

impl OnDrift {
    fn apply(self, drift: Drift) -> Apply {
        match self {
            Self::Revert => Apply::Revert(drift),
            Self::Warn => Apply::Drifted(drift),
            Self::Disregard => Apply::Keep,
        }
    }
}

/// One object Git wants, and what happens to it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplyStep {
    pub desired: Desired,
    pub apply: Apply,
    /// Fields that people and other tools left on it are taken over first: it is adopted, or it is another object than the one
    /// that was applied.
    pub take_over: bool,
    /// The object this was decided about, where it exists and can be applied.
    pub seen: Option<Found>,
}

/// Everything one pass would do, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub apply: Vec<ApplyStep>,
    pub prune: Vec<PruneStep>,
    /// To be written before anything is created: what is owned, and what is about to be.
    pub inventory: Inventory,
    /// How many objects were owned before this plan, those of its Syncs included: what a ceiling on deletions is measured by.
    pub owned: usize,
    /// How many objects the deletions of this plan take with them: a Sync takes its own.
    pub deletions: usize,
}

/// Everything a decision is made from.
pub struct Situation<'a> {
    pub sync: &'a SyncKey,
    pub desired: Vec<Desired>,
    /// What Git asks to leave alone: neither applied nor pruned.
    pub left_alone: &'a BTreeSet<ObjectId>,
    pub inventory: &'a Inventory,
    pub observed: &'a Observed,
    pub claims: &'a Claims,
    pub prune: &'a PruneRules,
    pub on_drift: OnDrift,
    /// Seconds since the Unix epoch.
    pub now: i64,
}

/// Decides a whole pass.
#[must_use]
pub fn decide(situation: Situation<'_>) -> Plan {
    let Situation { sync, desired, left_alone, inventory, observed, claims, prune, on_drift, now } = situation;
    let inventory = &finish(inventory, observed);
    let mut ahead = inventory.clone();
    let apply: Vec<ApplyStep> = desired
        .into_iter()
        .map(|desired| {
            let (entry, judgement) = (inventory.0.get(&desired.id), observed.judgements.get(&desired.id));
            let claimed = entry.map(|entry| entry.claimed_at).filter(|at| *at != i64::MAX);
            let elsewhere = ownership::elsewhere(&desired.id, sync, entry, claims, observed);
            let only_absent = desired.policy.ssa == Ssa::IfNotPresent;
            let apply = match &elsewhere {
                // Another Sync has it or brings it: that is all that was asked for.
                Some(elsewhere) if only_absent => {
                    Apply::Leave(format!("towline.dev/ssa is IfNotPresent, and {}", elsewhere.why))
                }
                Some(elsewhere) => Apply::Conflict(elsewhere.why.clone()),
                // The pass that created it ended before it was entered.
                None if only_absent && is_entered_late(entry, judgement, sync) => Apply::Configure,
                None => judge(&desired, entry, judgement, on_drift),
            };
            // What it was never created as is another's, and no claim of this one.
            let is_claimed = entry.is_some_and(|entry| entry.state == State::Claimed);
            if only_absent && is_claimed && elsewhere.is_some() {
                ahead.0.remove(&desired.id);
            }
            // What another Sync has is claimed behind it: when it lets go, the object is handed over and not deleted.
            let claimed_at = match &elsewhere {
                _ if only_absent && !is_created(&apply) => None,
                Some(elsewhere) => Some(elsewhere.claimed_at.map_or(now, |at| now.max(at.saturating_add(1)))),
                None => claims_it(&apply).then_some(now),
            };
            if let (None, Some(claimed_at)) = (entry, claimed_at) {
                let version = desired.version.clone();
                let claim = Entry { version, uid: None, digest: None, claimed_at, state: State::Claimed };
                ahead.0.insert(desired.id.clone(), claim);
            } else if let (None, Some(claimed_at), Some(entry)) = (claimed, claimed_at, ahead.0.get_mut(&desired.id)) {
                entry.claimed_at = claimed_at;
            }
            let take_over = takes_over(&desired, entry, judgement);
            let seen = judgement.and_then(Judgement::found).cloned();
            ApplyStep { desired, apply, take_over, seen }
        })
        .collect();
    let apply = recreate_last(wait_for_earlier_stages(apply));
    let wanted: HashSet<&ObjectId> = apply.iter().map(|step| &step.desired.id).collect();
    let mut left: Vec<PruneStep> = inventory
        .0
        .iter()
        .filter(|(id, _)| !wanted.contains(id) && !left_alone.contains(id))
        .map(|(id, entry)| PruneStep {
            id: id.clone(),
            version: entry.version.clone(),
            prune: part_with(id, sync, observed.left.get(id), claims, prune),
        })
        .collect();
    left.sort_by(|a, b| order::key(&b.id).cmp(&order::key(&a.id)));
    contents::spare(&mut left, &Around { sync, wanted: &wanted, left_alone, observed, claims, rules: prune });
    for step in left.iter().filter(|step| matches!(step.prune, Prune::HandOver(_))) {
        if let Some(entry) = ahead.0.get_mut(&step.id) {
            entry.claimed_at = i64::MAX;
        }
    }
    let apply = wait_for_early_deletions(apply, &left);
    forget_what_changes(&mut ahead, &apply);
    let weight = |id: &ObjectId| 1 + id.as_sync().map_or(0, |child| claims.weight(&child));
    let owned = inventory.0.keys().map(weight).sum();
    let goes = left.iter().filter(|step| matches!(step.prune, Prune::Delete { .. }));
    let deletions = goes.map(|step| weight(&step.id)).sum();
    Plan { apply, prune: left, inventory: ahead, owned, deletions }
}

/// Records which of the objects that were applied ran to their end.
fn finish(inventory: &Inventory, observed: &Observed) -> Inventory {
    let mut inventory = inventory.clone();
    for (id, uid) in &observed.finished {
        if let Some(entry) = inventory.0.get_mut(id)
            && entry.state == State::Applied
            && entry.uid.as_ref() == Some(uid)
            && entry.digest.is_some()
        {
            entry.state = State::Finished;
        }
    }
    inventory
}

/// Whether an object is claimed by what happens to it: before it is created, not where it is none of ours.
fn claims_it(apply: &Apply) -> bool {
    match apply {
        Apply::Refuse(_) | Apply::Leave(_) => false,
        Apply::Keep | Apply::Create | Apply::Configure | Apply::Revert(_) => true,
        Apply::WhenDefined | Apply::Conflict(_) | Apply::HoldBack(_) => true,
        Apply::Recreate(_) | Apply::AwaitEnd | Apply::Drifted(_) => true,
    }
}

/// Whether a claim's object is there with the Sync's own labels: it was created, and nobody wrote down that it was.
fn is_entered_late(entry: Option<&Entry>, judgement: Option<&Judgement>, sync: &SyncKey) -> bool {
    let owner = judgement.and_then(Judgement::found).and_then(|found| found.owner.as_ref());
    entry.is_some_and(|entry| entry.state == State::Claimed) && owner == Some(sync)
}

/// Whether an object is created by what happens to it, or may be.
fn is_created(apply: &Apply) -> bool {
    match apply {
        Apply::Create | Apply::Revert(_) | Apply::WhenDefined | Apply::Recreate(_) | Apply::AwaitEnd => true,
        Apply::Keep | Apply::Configure | Apply::Leave(_) | Apply::Drifted(_) => false,
        Apply::Refuse(_) | Apply::Conflict(_) | Apply::HoldBack(_) => false,
    }
}

/// What an object was refused for may be what an earlier stage of the same pass brings: a Pod's ServiceAccount, a binding's
/// role, a webhook's server. It is judged again when that stage is done.
fn wait_for_earlier_stages(mut steps: Vec<ApplyStep>) -> Vec<ApplyStep> {
    let writes = |step: &&ApplyStep| {
        matches!(step.apply, Apply::Create | Apply::Configure | Apply::Revert(_) | Apply::WhenDefined)
    };
    let Some(first) = steps.iter().filter(writes).map(|step| order::stage(&step.desired.id.kind)).min() else {
        return steps;
    };
    for step in &mut steps {
        if matches!(step.apply, Apply::Refuse(_) | Apply::HoldBack(_)) && first < order::stage(&step.desired.id.kind) {
            step.apply = Apply::WhenDefined;
        }
    }
    steps
}

/// What an object was refused for may be what another of its kind still holds, a port for example, and is about to give up.
fn wait_for_early_deletions(mut steps: Vec<ApplyStep>, left: &[PruneStep]) -> Vec<ApplyStep> {
    let early = left.iter().filter(|step| matches!(step.prune, Prune::Delete { early: true, .. }));
    let kinds: HashSet<&GroupKind> = early.map(|step| &step.id.kind).collect();
    for step in steps.iter_mut().filter(|step| kinds.contains(&step.desired.id.kind)) {
        if matches!(step.apply, Apply::Refuse(_)) {
            step.apply = Apply::WhenDefined;
        }
    }
    steps
}

/// Nothing is deleted to be created anew while it is not known that everything else can be applied.
fn recreate_last(mut steps: Vec<ApplyStep>) -> Vec<ApplyStep> {
    let is_open = |step: &ApplyStep| match &step.apply {
        Apply::Refuse(_) | Apply::Conflict(_) | Apply::HoldBack(_) | Apply::WhenDefined | Apply::AwaitEnd => true,
        Apply::Keep | Apply::Leave(_) | Apply::Drifted(_) => false,
        Apply::Create | Apply::Configure | Apply::Revert(_) | Apply::Recreate(_) => false,
    };
    if steps.iter().any(is_open) {
        for step in &mut steps {
            if let Apply::Recreate(why) = &step.apply {
                step.apply = Apply::HoldBack(format!("{why}; it is created anew when everything else can be applied"));
            }
        }
    }
    steps
}

/// What is about to be written differently is not known to be there until it was. A pass that dies in between thus leaves no
/// digest: within one second, the metadata of what it wrote looks like that of what Git wants next.
fn forget_what_changes(ahead: &mut Inventory, steps: &[ApplyStep]) {
    for step in steps {
        if let Apply::Create | Apply::Configure | Apply::WhenDefined | Apply::Recreate(_) = step.apply
            && let Some(entry) = ahead.0.get_mut(&step.desired.id)
            && entry.digest.as_deref() != Some(&step.desired.digest)
        {
            entry.digest = None;
        }
    }
}

/// What happens to one object Git wants, given what the API server says of it.
#[must_use]
pub fn judge(desired: &Desired, entry: Option<&Entry>, judgement: Option<&Judgement>, on_drift: OnDrift) -> Apply {
    // Applied before with this very content: any difference was made in the cluster.
    let unchanged_in_git = entry.is_some_and(|e| e.digest.as_deref() == Some(&desired.digest));
    match judgement {
        None => Apply::HoldBack("it was not judged".to_owned()),
        Some(Judgement::LeftAlone(why)) => Apply::Leave(why.clone()),
        Some(Judgement::Clean(_) | Judgement::Differs(_)) if desired.policy.ssa == Ssa::IfNotPresent => {
            Apply::Leave("it exists, and towline.dev/ssa is IfNotPresent".to_owned())
        }
        Some(Judgement::Clean(_)) if unchanged_in_git => Apply::Keep,
        // The metadata of a ConfigMap changed twice within a second can look untouched; the digests cannot.
        Some(Judgement::Clean(_)) => Apply::Configure,
        // It runs again when Git has another one.
        Some(Judgement::Absent) if unchanged_in_git && entry.is_some_and(|e| e.state == State::Finished) => Apply::Keep,
        Some(Judgement::Absent) if unchanged_in_git => on_drift.apply("it was deleted".to_owned().into()),
        Some(Judgement::Absent) => Apply::Create,
        Some(Judgement::Differs(found)) if unchanged_in_git => {
            on_drift.apply(found.detail.clone().unwrap_or_default().drift(found.last_writer.as_ref()))
        }
        Some(Judgement::Differs(_)) => Apply::Configure,
        Some(Judgement::Later) => Apply::WhenDefined,
        Some(Judgement::Immutable(why, _)) if unchanged_in_git && on_drift != OnDrift::Revert => {
            on_drift.apply(why.clone().into())
        }
        // Whatever it allows: its loss is loss of data.
        Some(Judgement::Immutable(why, _)) if is_precious(&desired.id.kind) => Apply::Refuse(why.clone()),
        Some(Judgement::Immutable(why, _)) => Apply::Recreate(why.clone()),
        Some(Judgement::Going) => Apply::AwaitEnd,
        Some(Judgement::Refused(why)) => Apply::Refuse(why.clone()),
        Some(Judgement::Unjudged(why)) => Apply::HoldBack(why.clone()),
    }
}

/// Whether what is there was not applied by this Sync: then fields that people and other tools left on it are taken over, once.
/// Later they are not: a restart by `kubectl rollout` and what Git does not set survive.
#[must_use]
pub fn takes_over(desired: &Desired, entry: Option<&Entry>, judgement: Option<&Judgement>) -> bool {
    if desired.policy.ssa == Ssa::Merge {
        return false;
    }
    let is_applied = entry.is_some_and(|e| e.state != State::Claimed);
    match judgement {
        Some(Judgement::Differs(found)) => {
            let is_another = entry.and_then(|e| e.uid.as_ref()).is_some_and(|uid| *uid != found.uid);
            !is_applied || is_another
        }
        Some(Judgement::Clean(_)) => !is_applied,
        None | Some(Judgement::LeftAlone(_) | Judgement::Absent | Judgement::Later) => false,
        // Created anew, it has nobody's fields.
        Some(Judgement::Immutable(..) | Judgement::Going) => false,
        Some(Judgement::Refused(_) | Judgement::Unjudged(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Origin;

    #[test]
    fn what_is_about_to_change_has_no_digest_ahead_of_it() {
        let id = |name: &str| ObjectId { kind: GroupKind::new("", "ConfigMap"), namespace: None, name: name.into() };
        let object = |name: &str, digest: &str| Desired {
            id: id(name),
            version: "v1".into(),
            value: serde_json::Value::Null,
            digest: digest.into(),
            origin: Origin { path: String::new(), line: 1 },
            policy: Default::default(),
            awaits_definition: false,
            namespace_in_set: false,
            ignored: Default::default(),
        };
        let step = |name: &str, digest: &str, apply| ApplyStep {
            desired: object(name, digest),
            apply,
            take_over: false,
            seen: None,
        };
        let entry =
            Entry { version: "v1".into(), uid: None, digest: Some("old".into()), claimed_at: 1, state: State::Applied };
        let mut ahead = Inventory(["kept", "changed", "reverted"].map(|name| (id(name), entry.clone())).into());
        let steps = [
            step("kept", "old", Apply::Keep),
            step("changed", "new", Apply::Configure),
            step("reverted", "old", Apply::Revert(Drift::default())),
        ];
        forget_what_changes(&mut ahead, &steps);
        let digests: Vec<_> = ahead.0.iter().map(|(id, e)| (id.name.as_str(), e.digest.as_deref())).collect();
        assert_eq!(digests, [("changed", None), ("kept", Some("old")), ("reverted", Some("old"))]);
    }
}
